//! One gateway per state folder: a lock file that names its owner.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Name of the lock file in the state folder.
const FILE_NAME: &str = "fieldgate.lock";

/// The state folder, held by this process until the value is dropped.
#[derive(Debug)]
pub struct StateLock {
    file: File,
}

/// Why a state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LockFault {
    /// The folder is missing and cannot be made.
    #[error("cannot make the state folder `{}`", path.display())]
    Create {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The lock file cannot be opened, written or locked.
    #[error("cannot use the lock file `{}`", path.display())]
    File {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another gateway holds the folder.
    #[error("the state folder `{}` is in use by another gateway{}", path.display(), owner(*pid))]
    Taken {
        /// The folder.
        path: PathBuf,
        /// The process that holds it, if its file says so.
        pid: Option<u32>,
    },
}

/// What the lock file says about the gateway that holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Its process.
    pub pid: u32,
    /// Its control socket, once it listens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_socket: Option<PathBuf>,
}

impl LockFault {
    /// Whether the folder cannot be written, so that nobody else can use it either.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        let (Self::Create { source, .. } | Self::File { source, .. }) = self else {
            return false;
        };
        matches!(
            source.kind(),
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied
        )
    }
}

impl StateLock {
    /// Makes the state folder if it is missing and takes it for this process.
    pub fn acquire(state_dir: &Path) -> Result<Self, LockFault> {
        let mut builder = DirBuilder::new();
        // Keys and messages are nobody else's business; the group may pass through to the control socket.
        builder.recursive(true).mode(0o750);
        builder
            .create(state_dir)
            .map_err(|source| LockFault::Create {
                path: state_dir.to_owned(),
                source,
            })?;
        let path = state_dir.join(FILE_NAME);
        let fault = |source| LockFault::File {
            path: path.clone(),
            source,
        };
        // Not truncated here: until the lock is ours the content belongs to somebody else.
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(fault)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = Owner::parse(file).map(|owner| owner.pid);
                return Err(LockFault::Taken {
                    path: state_dir.to_owned(),
                    pid,
                });
            }
            Err(TryLockError::Error(source)) => return Err(fault(source)),
        }
        let mut lock = Self { file };
        let written = lock.write(&Owner {
            pid: std::process::id(),
            control_socket: None,
        });
        match written {
            // The lock holds all the same; only commands that know just the folder do not find us.
            Err(error) if error.kind() == io::ErrorKind::StorageFull => Ok(lock),
            written => written.map(|()| lock).map_err(fault),
        }
    }

    /// Records where this gateway can be reached, for commands that know only the state folder.
    pub fn record_control_socket(&mut self, path: &Path) -> io::Result<()> {
        self.write(&Owner {
            pid: std::process::id(),
            control_socket: Some(path.to_owned()),
        })
    }

    fn write(&mut self, owner: &Owner) -> io::Result<()> {
        let mut text = serde_json::to_vec(owner)?;
        text.push(b'\n');
        // Written over what is there before it is shortened: on a full volume this needs no room.
        self.file.rewind()?;
        self.file.write_all(&text)?;
        self.file
            .set_len(u64::try_from(text.len()).unwrap_or(u64::MAX))
    }
}

impl Drop for StateLock {
    /// Lets the folder go at once: closing the file alone leaves it with a child that was started a moment ago and has a copy of
    /// the descriptor until it runs its program.
    fn drop(&mut self) {
        // What cannot be unlocked is let go with the last copy.
        let _ = self.file.unlock();
    }
}

impl Owner {
    /// Reads who holds, or last held, a state folder.
    #[must_use]
    pub fn of(state_dir: &Path) -> Option<Self> {
        Self::parse(File::open(state_dir.join(FILE_NAME)).ok()?)
    }

    fn parse(file: File) -> Option<Self> {
        let mut text = String::new();
        file.take(4096).read_to_string(&mut text).ok()?;
        serde_json::from_str(&text).ok()
    }
}

fn owner(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (process {pid})"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_gateway_on_one_folder_learns_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let state_dir = folder.path().join("a/b");
        let mut lock = StateLock::acquire(&state_dir).unwrap();
        lock.record_control_socket(Path::new("/run/x/control.sock"))
            .unwrap();

        let LockFault::Taken { pid, .. } = StateLock::acquire(&state_dir).unwrap_err() else {
            panic!("expected the folder to be taken");
        };

        assert_eq!(pid, Some(std::process::id()));
        assert_eq!(
            Owner::of(&state_dir).unwrap().control_socket.unwrap(),
            Path::new("/run/x/control.sock")
        );
        drop(lock);
        StateLock::acquire(&state_dir).unwrap();
    }

    #[test]
    fn folder_is_let_go_although_a_child_has_a_copy_of_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let lock = StateLock::acquire(folder.path()).unwrap();
        let copy = lock.file.try_clone().unwrap();
        drop(lock);
        StateLock::acquire(folder.path()).unwrap();
        drop(copy);
    }

    #[test]
    fn folder_below_a_file_cannot_be_made() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let fault = StateLock::acquire(&file.path().join("state")).unwrap_err();
        assert!(matches!(fault, LockFault::Create { .. }), "{fault}");
    }
}
