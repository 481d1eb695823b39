//! Factory reset: nothing of the owner is left, the installed slots stay, and the next start is a first one.
//!
//! Everything is done in an order in which it can be interrupted: a marker comes first and goes last, keys are destroyed before
//! anything else, and every step may be done again.

mod cause;
mod erase;
mod removal;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use tracing::{info, warn};

pub use cause::Cause;
pub(crate) use erase::holds_key;
pub(super) use erase::write as write_durably;

use super::{Appliance, gpio, proven};
use cause::Causes;
use erase::Folder;
use removal::Removal;

/// Says that a reset was begun and is not complete. On the data partition, outside of what is removed.
const MARKER: &str = "factory-reset";

/// Causes that a reset was made for and that have not gone since.
const DONE: &str = "factory-reset.done";

/// Files on the boot partition that ask for a reset. Windows shows no ends of names that it knows, so people get the second.
const BOOT_FILES: [&str; 2] = ["factory-reset", "factory-reset.txt"];

/// Folder on the boot partition for what was there before a reset. Nothing is imported from it.
pub(crate) const BEFORE_RESET: &str = "before-reset";

/// Folder beside the configuration in which files of the boot partition wait for their places, and the end of the name of one that is
/// on its way.
pub(crate) const IMPORT: &str = ".import";

/// Everything of ours on the data partition.
const HOME: &str = "fieldgate";

/// What the slots need on the data partition.
const RAUC: &str = "rauc";

/// The folder of the file system itself, for what a check finds.
const LOST_AND_FOUND: &str = "lost+found";

/// Why a reset is not complete. It goes on at the next start.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} `{}`", path.display())]
pub struct ResetFault {
    operation: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl ResetFault {
    fn at(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self {
            operation,
            path,
            source,
        }
    }
}

impl From<ResetFault> for io::Error {
    fn from(fault: ResetFault) -> Self {
        Self::new(fault.source.kind(), fault)
    }
}

/// Told before each step; a test lets the power fail there.
type Seam<'a> = &'a mut dyn FnMut(&Path) -> io::Result<()>;

/// What a look for causes came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nobody has asked for a reset.
    NotAsked,
    /// Everything is as it came from the factory, and the machine has to start again.
    Done(Cause),
}

/// Asks for a reset at the next start. When this returns, a power cut does not lose it.
pub fn ask(appliance: &Appliance) -> Result<(), ResetFault> {
    let marker = appliance.data().join(MARKER);
    erase::write(&marker, Cause::Command.word()).map_err(ResetFault::at("write", &marker))
}

/// Whether a file of this name on the boot partition asks for a reset.
pub(crate) fn is_asked_by(name: &OsStr) -> bool {
    BOOT_FILES
        .iter()
        .any(|file| name.eq_ignore_ascii_case(file))
}

/// Makes the reset that somebody has asked for, by whichever way. For the start, before anything uses the data partition.
pub fn run(appliance: &Appliance) -> Result<Outcome, ResetFault> {
    run_with(appliance, &mut |_| Ok(()))
}

/// Destroys the state of a gateway that is no appliance and does not run. What `keep` names in the folder stays. Where
/// something cannot be destroyed, everything else is.
pub fn wipe(folder: &Path, keep: &[&str]) -> Result<(), ResetFault> {
    let mut seam = |_: &Path| Ok(());
    let mut removal = Removal::new(&mut seam);
    if let Some(folder) = removal.open(folder) {
        removal.secrets(&folder, erase::is_secret)?;
        removal.contents(&folder, keep)?;
    }
    removal.end().map_or(Ok(()), Err)
}

/// Removes a folder or a file. It may be gone already.
pub fn destroy(path: &Path) -> Result<(), ResetFault> {
    let mut seam = |_: &Path| Ok(());
    let mut removal = Removal::new(&mut seam);
    if let (Some(folder), Some(name)) = (path.parent(), path.file_name())
        && let Some(folder) = removal.open(folder)
    {
        removal.entry(&folder, name)?;
    }
    removal.end().map_or(Ok(()), Err)
}

/// Writes over a file, or over all files of a folder, and removes it. It may be gone already.
pub(crate) fn destroy_secrets(path: &Path) -> Result<(), ResetFault> {
    let mut seam = |_: &Path| Ok(());
    let mut removal = Removal::new(&mut seam);
    if let (Some(folder), Some(name)) = (path.parent(), path.file_name())
        && let Some(folder) = removal.open(folder)
    {
        removal.secrets_of(&folder, name, |_, _| Ok(true))?;
        removal.entry(&folder, name)?;
    }
    removal.end().map_or(Ok(()), Err)
}

fn run_with(appliance: &Appliance, seam: Seam<'_>) -> Result<Outcome, ResetFault> {
    let reset = Reset { appliance, seam };
    reset.run()
}

struct Reset<'a, 'b> {
    appliance: &'a Appliance,
    seam: Seam<'b>,
}

impl Reset<'_, '_> {
    fn run(mut self) -> Result<Outcome, ResetFault> {
        let causes = self.look();
        let done = self.done();
        let Some(cause) = self.begun().or_else(|| causes.first_new(&done)) else {
            // What has gone counts anew when it comes again.
            let left = causes.kept(&done);
            if left != done {
                self.reach(&self.done_file())?;
                // A start of which nobody has asked a reset does not fail for that.
                if let Err(fault) = self.put_done(&left) {
                    warn!(error = %fault.source, "{fault}");
                }
            }
            return Ok(Outcome::NotAsked);
        };
        info!("factory reset, because of {}", cause.in_words());
        let marker = self.marker();
        self.reach(&marker)?;
        if let Err(error) = erase::write(&marker, cause.word()) {
            // On a partition that is full there is room for it only afterwards. The cause is still there if this is cut.
            warn!(%error, "`{}` cannot be written", marker.display());
        }
        self.erase()?;
        self.forget_machine_id();
        self.put_card_aside()?;
        self.end(&causes)?;
        Ok(Outcome::Done(cause))
    }

    /// Everything of the owner. Where it does not succeed, it is tried once more: a file that cannot be written over has been
    /// removed all the same, and that is the most that can be done about it.
    fn erase(&mut self) -> Result<(), ResetFault> {
        let Some(fault) = self.erase_once()? else {
            return Ok(());
        };
        warn!(error = %fault.source, "{fault}");
        self.erase_once()?.map_or(Ok(()), Err)
    }

    /// The worst first. Gives back what could not be done.
    fn erase_once(&mut self) -> Result<Option<ResetFault>, ResetFault> {
        let mut removal = Removal::new(self.seam);
        if let Some(data) = removal.open(&self.appliance.data()) {
            let mut owned = removal.names(&data);
            owned.retain(|name| ![RAUC, MARKER, DONE].iter().any(|kept| name == kept));
            for name in &owned {
                removal.secrets_of(&data, name, erase::is_secret)?;
            }
            if let Some(home) = removal.child(&data, HOME) {
                for name in ["state", "etc", "update", "journal", "systemd"] {
                    removal.entry(&home, name.as_ref())?;
                }
                // Name, that there was a first start, and whatever else is there. The slots stay, and what has proved good is not
                // put to the test again.
                let mut kept = Vec::new();
                if let Some(proven) = removal.child(&home, proven::FOLDER) {
                    removal.contents(&proven, &proven::SLOTS)?;
                    if !removal.names(&proven).is_empty() {
                        kept.push(proven::FOLDER);
                    }
                }
                removal.contents(&home, &kept)?;
                if removal.names(&home).is_empty() {
                    removal.entry(&data, HOME.as_ref())?;
                }
                owned.retain(|name| name != HOME);
            }
            // Of other services as well.
            for name in owned.iter().filter(|name| *name != LOST_AND_FOUND) {
                removal.entry(&data, name)?;
            }
            if let Some(lost) = removal.child(&data, LOST_AND_FOUND) {
                removal.contents(&lost, &[])?;
            }
        }
        Ok(removal.end())
    }

    /// Puts aside what is on the boot partition: what was taken once is forgotten, and the next start would take it for new.
    fn put_card_aside(&mut self) -> Result<(), ResetFault> {
        self.open_card();
        let mut removal = Removal::new(self.seam);
        let Some(boot) = removal.open(&self.appliance.boot()) else {
            return Ok(());
        };
        removal.secrets(&boot, erase::is_secret_of_card)?;
        for name in removal.names(&boot) {
            if !name.eq_ignore_ascii_case(BEFORE_RESET) && !is_asked_by(&name) {
                removal.put_aside(&boot, &name, BEFORE_RESET.as_ref())?;
            }
        }
        if let Some(fault) = removal.end() {
            // A card can be write-protected. The reset of everything else holds none the less.
            warn!(error = %fault.source, "{fault}; what is on the boot partition is taken again");
        }
        Ok(())
    }

    /// What asked for it goes before the marker: a reset is made once for each cause.
    fn end(&mut self, causes: &Causes) -> Result<(), ResetFault> {
        self.trim();
        let mut stays = causes.clone();
        stays.remove(Cause::BootFile);
        for file in self.asking_files() {
            self.reach(&file)?;
            if let Err(error) = erase::unlink(&file) {
                // Others may write there, and a card can be write-protected.
                warn!(%error, "`{}` cannot be removed", file.display());
                stays.add(Cause::BootFile);
            }
        }
        self.reach(&self.done_file())?;
        self.put_done(&stays)?;
        let marker = self.marker();
        self.reach(&marker)?;
        erase::unlink(&marker).map_err(ResetFault::at("remove", &marker))
    }

    /// Which causes there are now.
    fn look(&self) -> Causes {
        let mut causes = Causes::default();
        if !self.asking_files().is_empty() {
            causes.add(Cause::BootFile);
        }
        let line = fs::read_to_string(self.appliance.command_line()).unwrap_or_default();
        if cause::is_on_command_line(&line) {
            causes.add(Cause::CommandLine);
        }
        match self.appliance.conf() {
            Ok(conf) => match conf.reset_line.as_ref().map(gpio::is_held) {
                Some(Ok(true)) => causes.add(Cause::Button),
                Some(Err(error)) => warn!(%error, "the reset button cannot be read"),
                Some(Ok(false)) | None => {}
            },
            Err(fault) => warn!("{fault}"),
        }
        causes
    }

    fn asking_files(&self) -> Vec<PathBuf> {
        let boot = Folder::open(&self.appliance.boot()).ok().flatten();
        let names = boot.and_then(|boot| boot.names().ok()).unwrap_or_default();
        let asking = names.iter().filter(|name| is_asked_by(name));
        asking
            .map(|name| self.appliance.boot().join(name))
            .collect()
    }

    /// The cause of a reset that was asked for by command or is not complete.
    fn begun(&self) -> Option<Cause> {
        let text = fs::read_to_string(self.marker()).ok()?;
        Some(Cause::from_word(text.trim()).unwrap_or(Cause::Command))
    }

    fn done(&self) -> Causes {
        let text = fs::read_to_string(self.done_file()).unwrap_or_default();
        Causes::parse(&text)
    }

    fn done_file(&self) -> PathBuf {
        self.appliance.data().join(DONE)
    }

    fn put_done(&self, causes: &Causes) -> Result<(), ResetFault> {
        let path = self.done_file();
        if causes.is_empty() {
            return erase::unlink(&path).map_err(ResetFault::at("remove", &path));
        }
        erase::write(&path, &causes.render()).map_err(ResetFault::at("write", &path))
    }

    /// U-Boot hands the machine id to every start. Without it the next one makes another.
    fn forget_machine_id(&self) {
        if !self.appliance.boot_variables().exists() {
            return;
        }
        best_effort(Command::new("fw_setenv").arg("machine_id"));
    }

    /// Once there is a cause: a start that has none does not write to the boot partition. The unit closes it.
    fn open_card(&self) {
        let program = self.appliance.boot_program();
        if !program.exists() {
            return;
        }
        // It says itself what it cannot do.
        if let Err(error) = Command::new(&program).arg("open").status() {
            warn!(%error, "`{}` cannot be run", program.display());
        }
    }

    /// Tells the medium which blocks nobody needs any more.
    fn trim(&self) {
        best_effort(Command::new("fstrim").arg(self.appliance.data()));
    }

    fn marker(&self) -> PathBuf {
        self.appliance.data().join(MARKER)
    }

    fn reach(&mut self, path: &Path) -> Result<(), ResetFault> {
        (self.seam)(path).map_err(ResetFault::at("change", path))
    }
}

/// Something that helps where it can be done. A reset that ended here would never be complete.
fn best_effort(command: &mut Command) {
    let name = command.get_program().to_string_lossy().into_owned();
    match command.output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            warn!("{name} failed: {}", said.trim());
        }
        Err(error) => warn!(%error, "{name} cannot be run"),
    }
}
