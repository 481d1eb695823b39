//! Copies of the database: while the gateway runs, and back again.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::fault::{About, StoreError};
use super::files::{self, PARTIAL};
use super::inspect::{self, CheckReport};
use super::schema::{self, beside};

/// A backup that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupReport {
    /// Bytes of the file.
    pub bytes: u64,
    /// What is in it.
    pub content: CheckReport,
}

/// A backup that has become the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreReport {
    /// The folder to which the former database was moved, if there was one.
    pub replaced: Option<PathBuf>,
    /// What is in the database now.
    pub content: CheckReport,
}

/// Copies the database of a state folder into one file, as it is at one moment, whether a gateway is writing to it or not.
/// The file appears when it is complete and was checked.
pub fn backup(folder: &Path, file: &Path) -> Result<BackupReport, StoreError> {
    let path = folder.join(schema::FILE_NAME);
    if is_ours(folder, file) {
        return Err(StoreError::Target {
            path: file.to_owned(),
        });
    }
    let connection = inspect::open(&path)?;
    let partial = beside(file, PARTIAL);
    let made = copy(&connection, &partial).and_then(|()| sound(&partial));
    let content = match made {
        Ok(content) => content,
        Err(error) => {
            // What is there is of no use; the error that led here is the one to tell.
            let _ = files::remove_database(&partial);
            return Err(error);
        }
    };
    fs::rename(&partial, file).about(file, "write the backup to")?;
    files::sync_folder(files::folder_of(file))?;
    let bytes = file.metadata().map_or(0, |metadata| metadata.len());
    Ok(BackupReport { bytes, content })
}

/// Whether a name belongs to the gateway itself: a file of the state folder that it reads or writes.
fn is_ours(folder: &Path, file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let is_there = match (folder.canonicalize(), files::folder_of(file).canonicalize()) {
        (Ok(folder), Ok(other)) => folder == other,
        _ => false,
    };
    is_there && (name.starts_with("gateway.") || name.starts_with("fieldgate."))
}

/// Makes a backup the database of a state folder, whose lock the caller holds. What was there before is moved to a folder of
/// its own, named after `wall`, milliseconds since 1970.
pub fn restore(file: &Path, folder: &Path, wall: u64) -> Result<RestoreReport, StoreError> {
    let source = inspect::open(file)?;
    let content = sound(file)?;
    fs::create_dir_all(folder).about(folder, "make")?;
    let path = folder.join(schema::FILE_NAME);
    files::finish_interrupted(&path)?;
    let partial = beside(&path, PARTIAL);
    copy(&source, &partial)?;
    let replaced = files::replace(&path, "replaced", wall)?;
    Ok(RestoreReport { replaced, content })
}

/// What is in a database, if nothing is wrong with it.
fn sound(file: &Path) -> Result<CheckReport, StoreError> {
    let report = inspect::check_file(file)?;
    match report.faults.first() {
        None => Ok(report),
        Some(fault) => Err(StoreError::Corrupt {
            path: file.to_owned(),
            operation: "use",
            detail: fault.clone(),
        }),
    }
}

/// Copies a whole database into a new file that stands alone, and that is on the disk when this returns.
pub(super) fn copy(from: &Connection, to: &Path) -> Result<(), StoreError> {
    let operation = "write a copy to";
    files::remove_database(to).about(to, operation)?;
    schema::make_file(to).about(to, operation)?;
    let mut target = Connection::open(to).about(to, operation)?;
    {
        // All pages in one step: that reads one state of the database, and no writer has to wait.
        let backup = Backup::new(from, &mut target).about(to, operation)?;
        match backup.step(-1).about(to, operation)? {
            StepResult::Done => {}
            _ => {
                return Err(StoreError::Busy {
                    path: to.to_owned(),
                    operation,
                });
            }
        }
    }
    target
        .pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(()))
        .about(to, operation)?;
    target
        .close()
        .map_err(|(_, error)| StoreError::sqlite(to, operation, &error))?;
    File::open(to)
        .and_then(|file| file.sync_all())
        .about(to, operation)
}
