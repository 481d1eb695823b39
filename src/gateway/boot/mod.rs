//! Takes a configuration from the boot partition, which people can write on any computer before the device has ever run.
//!
//! Each file is taken once, and all new files together or none of them. [`install`] says how that survives a power cut.

mod card;
mod install;
mod notes;
mod plan;
mod record;

use std::cell::Cell;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::unistd::{Gid, Group, fchown, geteuid};

use super::lock::StateLock;
use super::offline::{self, OfflineFault};
use crate::appliance::reset;
use crate::auth::users::UserFault;
use crate::auth::users::rfc3339;
use crate::ca::CaError;
use crate::clock;
use crate::config;
use card::CardFile;
use install::Workplace;
use notes::{ERRORS, IMPORTED};

/// Folder of the boot partition.
const FOLDER: &str = "fieldgate";

/// Folder beside the configuration in which imports are prepared and remembered. A reset writes over what is in it.
const WORK: &str = reset::IMPORT;

/// The gateway reads what is said in there by its name, and lists nothing.
const WORK_MODE: u32 = 0o710;
const ERRORS_MODE: u32 = 0o640;

/// The group that the gateway runs as.
const GROUP: &str = "fieldgate";

/// From where to where.
#[derive(Debug)]
pub struct BootImport {
    card: PathBuf,
    etc: PathBuf,
    state_dir: PathBuf,
    host_name_file: Option<PathBuf>,
    group: Option<Gid>,
    /// Steps until the power goes away, in tests.
    power: Cell<Option<u32>>,
}

/// Something wrong on the card, and how it is mended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, as it is called on the card.
    pub file: String,
    /// What is wrong.
    pub text: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Whether the text is a report that names its places itself.
    is_whole: bool,
}

/// What came of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BootReport {
    /// Files of the card that were taken; none where there was nothing new.
    pub taken: Vec<String>,
    /// What could not be done although they were taken.
    pub warnings: Vec<String>,
}

/// Why nothing was taken.
#[derive(Debug, thiserror::Error)]
pub enum BootFault {
    /// The files are not right.
    #[error("{}", notes::render(.0).trim_end())]
    Refused(Vec<Problem>),
    /// The card or the disk cannot be used.
    #[error("cannot use `{}`", path.display())]
    Io {
        /// What was used.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The database cannot be changed.
    #[error(transparent)]
    Offline(#[from] OfflineFault),
    /// The users cannot be made.
    #[error(transparent)]
    Users(#[from] UserFault),
    /// The authority does not take the intermediate.
    #[error(transparent)]
    Authority(#[from] CaError),
}

impl BootFault {
    fn io(path: &Path, source: io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            source,
        }
    }

    /// Whether it would be the same at every start.
    fn is_lasting(&self) -> bool {
        match self {
            Self::Refused(_) => true,
            Self::Users(fault) => !matches!(fault, UserFault::Store(_)),
            Self::Authority(fault) => !matches!(fault, CaError::Io { .. } | CaError::Store(_)),
            Self::Io { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::IsADirectory
                    | io::ErrorKind::NotADirectory
                    | io::ErrorKind::NotFound
                    | io::ErrorKind::InvalidData
                    | io::ErrorKind::UnexpectedEof
            ),
            Self::Offline(_) => false,
        }
    }
}

impl Problem {
    fn of(file: &str, text: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            text: text.into(),
            hint: None,
            is_whole: false,
        }
    }

    fn hint(self, hint: &str) -> Self {
        Self {
            hint: Some(hint.to_owned()),
            ..self
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_whole {
            return f.write_str(&self.text);
        }
        write!(f, "error: {}: {}", self.file, self.text)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl BootImport {
    /// From the boot partition that is mounted at `boot` to the folders of a gateway. `host_name_file` is where this machine
    /// takes its name from.
    #[must_use]
    pub fn new(boot: &Path, etc: &Path, state_dir: &Path, host_name_file: Option<&Path>) -> Self {
        let group = Group::from_name(GROUP).ok().flatten();
        Self {
            card: boot.join(FOLDER),
            etc: etc.to_owned(),
            state_dir: state_dir.to_owned(),
            host_name_file: host_name_file.map(Path::to_owned),
            group: group.map(|group| group.gid),
            power: Cell::new(None),
        }
    }

    /// What the last import had to say against the card; `None` where it said nothing.
    pub fn last_errors(etc: &Path) -> io::Result<Option<String>> {
        match fs::read_to_string(etc.join(WORK).join(ERRORS)) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Finishes what was begun, and takes what is new. The gateway must not run meanwhile.
    pub fn run(&self) -> Result<BootReport, BootFault> {
        let mut report = BootReport::default();
        match self.take_all(&mut report) {
            Ok(()) => Ok(report),
            Err(fault) => {
                self.tell_errors(&fault, &report.warnings);
                Err(fault)
            }
        }
    }

    fn take_all(&self, report: &mut BootReport) -> Result<(), BootFault> {
        let place = Workplace::open(self).map_err(|error| BootFault::io(&self.etc, error))?;
        let at_work = |error| BootFault::io(&self.work_folder(), error);
        match self.finish(&place, &mut report.warnings) {
            Ok(taken) => report.taken = taken,
            // The card may be another one by now, and must not wait for what never succeeds.
            Err(fault) if fault.is_lasting() => {
                report.warnings.push(format!(
                    "an import that was begun cannot be finished and is given up; some of it may be in place: {}",
                    chain(&fault)
                ));
                place.give_up().map_err(at_work)?;
            }
            Err(fault) => return Err(fault),
        }
        place.clear().map_err(at_work)?;
        let read = card::read(&self.card).map_err(|error| BootFault::io(&self.card, error))?;
        let Some((files, problems)) = read else {
            self.forget_errors();
            return Ok(());
        };
        let taken = self.take_new(&place, &files, problems, &mut report.warnings)?;
        report.taken.extend(taken);
        self.tidy_card(&files, report);
        Ok(())
    }

    /// Finishes what was decided before.
    fn finish(
        &self,
        place: &Workplace<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<String>, BootFault> {
        let list = place.unfinished();
        let Some(list) = list.map_err(|error| BootFault::io(&self.work_folder(), error))? else {
            return Ok(Vec::new());
        };
        place.carry_out(&list, warnings)?;
        Ok(list.taken.into_iter().map(|(name, _)| name).collect())
    }

    /// Takes all files that are not known, if all of them are right.
    fn take_new(
        &self,
        place: &Workplace<'_>,
        files: &[CardFile],
        mut problems: Vec<Problem>,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<String>, BootFault> {
        // Found out before anything is decided.
        drop(StateLock::acquire(&self.state_dir).map_err(OfflineFault::from)?);
        offline::give_away(&self.state_dir);
        let record = place.record(warnings)?;
        let digests: Vec<String> = files.iter().map(|file| record.digest(file)).collect();
        let new: Vec<(&CardFile, &String)> = files
            .iter()
            .zip(&digests)
            .filter(|(_, digest)| !record.knows(digest))
            .collect();
        if new.is_empty() && problems.is_empty() {
            return Ok(Vec::new());
        }
        let only: Vec<&CardFile> = new.iter().map(|(file, _)| *file).collect();
        let mut plan = plan::plan(self, &only, files, &mut problems);
        if !problems.is_empty() {
            return Err(BootFault::Refused(problems));
        }
        let at_work = |error| BootFault::io(&self.work_folder(), error);
        place.stage(&plan).map_err(at_work)?;
        if let Some(settings) = self.settings_with(&plan) {
            let staged = |index| place.staged(index);
            plan::check_certificates(self, &settings, &plan, &staged, &mut problems);
        }
        if problems.is_empty() {
            problems.extend(plan.hash_passwords().err());
        }
        if problems.is_empty() {
            match place.try_users(&plan.users) {
                Err(fault @ BootFault::Users(_)) if fault.is_lasting() => {
                    problems.push(Problem::of("users", fault.to_string()));
                }
                tried => tried?,
            }
        }
        if !problems.is_empty() {
            place.clear().map_err(at_work)?;
            return Err(BootFault::Refused(problems));
        }
        place.stage_users(&plan.users).map_err(at_work)?;
        let taken = new
            .iter()
            .map(|(file, digest)| (file.name.clone(), (*digest).clone()));
        let list = place.decide(&plan, taken.collect()).map_err(at_work)?;
        place.carry_out(&list, warnings)?;
        Ok(list.taken.into_iter().map(|(name, _)| name).collect())
    }

    /// What the gateway is going to run on.
    fn settings_with(&self, plan: &plan::Plan) -> Option<config::Settings> {
        let main = self.main();
        let new = plan
            .files
            .iter()
            .find(|file| file.to == plan::CONFIGURATION);
        let loaded = match new {
            Some(file) => {
                let text = std::str::from_utf8(&file.content).ok()?;
                config::load_with(&main, &main, text)
            }
            None => config::load(Some(main.as_path()).filter(|main| main.exists())),
        };
        loaded.ok().map(|loaded| loaded.settings)
    }

    /// Takes secrets off the card, and says on it what was taken.
    fn tidy_card(&self, files: &[CardFile], report: &mut BootReport) {
        self.forget_errors();
        for file in files.iter().filter(|file| file.is_secret()) {
            let erased = self.step().and_then(|()| file.erase());
            if let Err(error) = erased {
                report.warnings.push(format!(
                    "`{}` holds secrets and cannot be taken off the boot partition: {error}",
                    file.name
                ));
            }
        }
        if report.taken.is_empty() {
            return;
        }
        let mut text = format!("Taken at {} (UTC):\n\n", rfc3339(clock::wall_seconds()));
        for name in &report.taken {
            let file = files.iter().find(|file| file.name == *name);
            let is_gone = file.is_none_or(CardFile::is_secret);
            let note = if is_gone {
                ", and taken away from here"
            } else {
                ""
            };
            text.push_str(&format!("  {name}{note}\n"));
        }
        text.push_str("\nEach file is taken once. To change something, change the file here, or use the gateway's own commands.\n");
        if let Err(error) = notes::write(&self.card, IMPORTED, &text) {
            let warning =
                format!("what was taken cannot be written to the boot partition: {error}");
            report.warnings.push(warning);
        }
    }

    /// Says on the card and on the console what is wrong.
    fn tell_errors(&self, fault: &BootFault, warnings: &[String]) {
        let mut text = match fault {
            BootFault::Refused(problems) => notes::render(problems),
            other => format!(
                "The files could not be taken, and are tried again at the next start.\n\nerror: {}\n",
                chain(other)
            ),
        };
        for warning in warnings {
            text.push_str(&format!("\nwarning: {warning}\n"));
        }
        // Where it cannot be written the service manager has it none the less.
        let _ = notes::write(&self.card, ERRORS, &text);
        let _ = self.keep_errors(&text);
    }

    /// Says it to the gateway and the console, which do not read the card.
    fn keep_errors(&self, text: &str) -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(self.work_folder().join(ERRORS))?;
        self.let_gateway_read(&file, ERRORS_MODE)?;
        file.write_all(text.as_bytes())
    }

    /// Gives something to the group of the gateway, whatever the mask of this process is.
    fn let_gateway_read(&self, file: &File, mode: u32) -> io::Result<()> {
        if self.group.is_some() && geteuid().is_root() {
            fchown(file, None, self.group)?;
            file.set_permissions(fs::Permissions::from_mode(mode))?;
        }
        Ok(())
    }

    fn forget_errors(&self) {
        let _ = notes::remove(&self.card, ERRORS);
        let _ = notes::remove(&self.work_folder(), ERRORS);
    }

    fn main(&self) -> PathBuf {
        self.etc.join(plan::CONFIGURATION)
    }

    fn work_folder(&self) -> PathBuf {
        self.etc.join(WORK)
    }

    /// Between any two of these the power may go away.
    fn step(&self) -> io::Result<()> {
        match self.power.get() {
            None => Ok(()),
            Some(0) => Err(io::Error::other("the power is gone")),
            Some(left) => {
                self.power.set(Some(left - 1));
                Ok(())
            }
        }
    }
}

/// An error with what it comes from.
fn chain(fault: &BootFault) -> String {
    let mut text = fault.to_string();
    let mut source = std::error::Error::source(fault);
    while let Some(inner) = source {
        text.push_str(&format!(": {inner}"));
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests;
