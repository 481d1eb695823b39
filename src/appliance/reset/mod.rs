//! Factory reset: nothing of the owner is left, the installed slots stay, and the next start is a first one.
//!
//! Everything is done in an order in which it can be interrupted: a marker comes first and goes last, keys are destroyed before
//! anything else, and every step may be done again.

mod cause;
mod erase;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use tracing::{info, warn};

pub use cause::Cause;
pub(super) use erase::write as write_durably;

use super::{Appliance, gpio};
use cause::Causes;

/// Says that a reset was begun and is not complete. On the data partition, outside of what is removed.
const MARKER: &str = "factory-reset";

/// Causes that a reset was made for and that have not gone since.
const DONE: &str = "factory-reset.done";

/// The file on the boot partition that asks for a reset.
const BOOT_FILE: &str = "factory-reset";

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

/// Makes the reset that somebody has asked for, by whichever way. For the start, before anything uses the data partition.
pub fn run(appliance: &Appliance) -> Result<Outcome, ResetFault> {
    run_with(appliance, &mut |_| Ok(()))
}

/// Destroys the state of a gateway that is no appliance and does not run. What `keep` names in the folder stays.
pub fn wipe(folder: &Path, keep: &[&str]) -> Result<(), ResetFault> {
    wipe_with(folder, keep, &mut |_| Ok(()))
}

/// Destroys a folder or a file, keys first. It may be gone already.
pub fn destroy(path: &Path) -> Result<(), ResetFault> {
    remove(path, &mut |_| Ok(()))
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
                self.remember(&left)?;
            }
            return Ok(Outcome::NotAsked);
        };
        info!("factory reset, because of {}", cause.in_words());
        let marker = self.marker();
        self.reach(&marker)?;
        erase::write(&marker, cause.word()).map_err(ResetFault::at("write", &marker))?;
        self.erase()?;
        self.forget_machine_id();
        self.end(&causes)?;
        Ok(Outcome::Done(cause))
    }

    /// Everything of the owner, the worst first.
    fn erase(&mut self) -> Result<(), ResetFault> {
        let home = self.appliance.home();
        destroy_secrets(&home, self.seam)?;
        for name in ["state", "etc", "update", "journal", "systemd"] {
            remove(&home.join(name), self.seam)?;
        }
        // Name, proven slots, that there was a first start, and whatever else there is.
        remove(&home, self.seam)
    }

    /// What asked for it goes before the marker: a reset is made once for each cause.
    fn end(&mut self, causes: &Causes) -> Result<(), ResetFault> {
        self.trim();
        let file = self.appliance.boot().join(BOOT_FILE);
        self.reach(&file)?;
        let mut stays = causes.clone();
        match erase::unlink(&file) {
            Ok(()) => stays.remove(Cause::BootFile),
            // Others may write there, and a card can be write-protected.
            Err(error) => warn!(%error, "`{}` cannot be removed", file.display()),
        }
        self.remember(&stays)?;
        let marker = self.marker();
        self.reach(&marker)?;
        erase::unlink(&marker).map_err(ResetFault::at("remove", &marker))
    }

    /// Which causes there are now.
    fn look(&self) -> Causes {
        let mut causes = Causes::default();
        if self.appliance.boot().join(BOOT_FILE).exists() {
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

    /// The cause of a reset that was asked for by command or is not complete.
    fn begun(&self) -> Option<Cause> {
        let text = fs::read_to_string(self.marker()).ok()?;
        Some(Cause::from_word(text.trim()).unwrap_or(Cause::Command))
    }

    fn done(&self) -> Causes {
        let text = fs::read_to_string(self.appliance.data().join(DONE)).unwrap_or_default();
        Causes::parse(&text)
    }

    fn remember(&mut self, causes: &Causes) -> Result<(), ResetFault> {
        let path = self.appliance.data().join(DONE);
        self.reach(&path)?;
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

fn wipe_with(folder: &Path, keep: &[&str], seam: Seam<'_>) -> Result<(), ResetFault> {
    destroy_secrets(folder, seam)?;
    let entries = erase::entries(folder).map_err(ResetFault::at("read", folder))?;
    for path in entries {
        let is_kept = keep
            .iter()
            .any(|name| path.file_name() == Some(name.as_ref()));
        if !is_kept {
            remove(&path, seam)?;
        }
    }
    Ok(())
}

/// Overwrites and removes every file with a secret: one that is interrupted after this has nothing left that is worth stealing.
fn destroy_secrets(folder: &Path, seam: Seam<'_>) -> Result<(), ResetFault> {
    let files = erase::files(folder).map_err(ResetFault::at("read", folder))?;
    for path in files.iter().filter(|path| erase::is_secret(path)) {
        seam(path).map_err(ResetFault::at("overwrite", path))?;
        erase::overwrite(path).map_err(ResetFault::at("overwrite", path))?;
    }
    Ok(())
}

/// Removes what is there, the deepest first, so that a step is one entry.
fn remove(path: &Path, seam: Seam<'_>) -> Result<(), ResetFault> {
    if erase::is_folder(path) {
        let entries = erase::entries(path).map_err(ResetFault::at("read", path))?;
        for entry in entries {
            remove(&entry, seam)?;
        }
    }
    seam(path).map_err(ResetFault::at("remove", path))?;
    erase::unlink(path).map_err(ResetFault::at("remove", path))
}
