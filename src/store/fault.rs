//! What can go wrong with the store, for whoever runs the gateway.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{ErrorCode, ffi};

/// A database that could not be used as it was meant to be. Names the file, what was tried, and the way out.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no database.
    #[error("cannot open `{}`: there is no such file", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// There is no space left.
    #[error("cannot {operation} `{}`: no space left", path.display())]
    Full {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        operation: &'static str,
    },
    /// The folder or the file may not be written.
    #[error("cannot {operation} `{}`: it is read-only", path.display())]
    ReadOnly {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        operation: &'static str,
    },
    /// The database was written by a newer version of the program.
    #[error("`{}` has format {found}, this version knows formats up to {known}", path.display())]
    Newer {
        /// The database.
        path: PathBuf,
        /// The format that it has.
        found: i64,
        /// The newest format that is known here.
        known: i64,
    },
    /// The content is damaged, or was never a database of ours.
    #[error("cannot {operation} `{}`: {detail}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What was tried.
        operation: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// A backup would take the place of a file of the gateway itself.
    #[error("cannot write a backup to `{}`: that name belongs to the gateway itself", path.display())]
    Target {
        /// The file that was named.
        path: PathBuf,
    },
    /// The system failed to read or write.
    #[error("cannot {operation} `{}`: {detail}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        operation: &'static str,
        /// What the system said.
        detail: String,
    },
    /// There is no store that takes anything at the moment: it could not be opened, or it is closed.
    #[error("the database `{}` is not open", path.display())]
    Closed {
        /// The database.
        path: PathBuf,
    },
    /// More is waiting to be done than can be.
    #[error("the database `{}` has too much to do", path.display())]
    Overloaded {
        /// The database.
        path: PathBuf,
    },
    /// Another process holds what is needed.
    #[error("cannot {operation} `{}`: it is in use", path.display())]
    Busy {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        operation: &'static str,
    },
}

impl StoreError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Missing { .. } => {
                "see whether the name is right; the state folder of a gateway is named with `--state-dir`"
            }
            Self::Full { .. } => {
                "free space on the volume, or move the state folder to a larger one"
            }
            Self::ReadOnly { .. } => {
                "let the user of the gateway write to the folder, or mount the volume for writing"
            }
            Self::Newer { .. } => {
                "run the version that wrote it, or move the file away to begin with an empty store"
            }
            Self::Corrupt { .. } => {
                "restore a backup with `fieldgate restore FILE`, or start the gateway, which keeps what can be read"
            }
            Self::Target { .. } => "name a file outside of the state folder",
            Self::Io { .. } => "look at the journal of the kernel for faults of the device",
            Self::Closed { .. } => {
                "`fieldgate status` and the journal say what is wrong with the store"
            }
            Self::Overloaded { .. } => "try again in a while",
            Self::Busy { .. } => "wait until the other process is done, or stop it",
        }
    }

    /// Whether it may pass by itself, so that the same is worth trying again.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Full { .. }
                | Self::Busy { .. }
                | Self::Io { .. }
                | Self::Closed { .. }
                | Self::Overloaded { .. }
        )
    }

    pub(super) fn sqlite(path: &Path, operation: &'static str, error: &rusqlite::Error) -> Self {
        let path = path.to_owned();
        let detail = error.to_string();
        let rusqlite::Error::SqliteFailure(failure, _) = error else {
            // Every other kind is about a value that is not what the schema says.
            return Self::Corrupt {
                path,
                operation,
                detail,
            };
        };
        // Memory that is shared between processes is a file too, and grows by a code of its own.
        let is_full = failure.extended_code == ffi::SQLITE_IOERR_SHMSIZE;
        // A device that cannot read what it has stored is damage like any other.
        let is_damage = matches!(
            failure.extended_code,
            ffi::SQLITE_IOERR_READ | ffi::SQLITE_IOERR_SHORT_READ | ffi::SQLITE_IOERR_CORRUPTFS
        );
        match failure.code {
            ErrorCode::SystemIoFailure if is_damage => Self::Corrupt {
                path,
                operation,
                detail,
            },
            ErrorCode::DiskFull => Self::Full { path, operation },
            ErrorCode::SystemIoFailure if is_full => Self::Full { path, operation },
            ErrorCode::ReadOnly | ErrorCode::PermissionDenied => Self::ReadOnly { path, operation },
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Self::Busy { path, operation },
            ErrorCode::DatabaseCorrupt
            | ErrorCode::NotADatabase
            | ErrorCode::ConstraintViolation
            | ErrorCode::TypeMismatch
            | ErrorCode::Unknown => Self::Corrupt {
                path,
                operation,
                detail,
            },
            _ => Self::Io {
                path,
                operation,
                detail,
            },
        }
    }

    pub(super) fn system(path: &Path, operation: &'static str, error: &io::Error) -> Self {
        let path = path.to_owned();
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::Full { path, operation }
            }
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                Self::ReadOnly { path, operation }
            }
            _ => Self::Io {
                path,
                operation,
                detail: error.to_string(),
            },
        }
    }
}

/// Turns what SQLite and the system say into a [`StoreError`] about one file.
pub(super) trait About<T> {
    /// Says which file it was about, and what was tried with it.
    fn about(self, path: &Path, operation: &'static str) -> Result<T, StoreError>;
}

impl<T> About<T> for rusqlite::Result<T> {
    fn about(self, path: &Path, operation: &'static str) -> Result<T, StoreError> {
        self.map_err(|error| StoreError::sqlite(path, operation, &error))
    }
}

impl<T> About<T> for io::Result<T> {
    fn about(self, path: &Path, operation: &'static str) -> Result<T, StoreError> {
        self.map_err(|error| StoreError::system(path, operation, &error))
    }
}
