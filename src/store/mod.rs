//! Floor 3: what outlives the process. One SQLite database in the state folder, one writer, any number of readers.
//!
//! [`Store::open`] brings back what was committed; a [`Writer`] stores the batches of the core, each whole or not at all; a
//! [`Reader`] reads what waits for a session when its client comes. Whatever is wrong with the content of the file, a store
//! opens: what can be read is kept, and the [`Condition`] says what happened.

mod arrivals;
pub mod audit;
mod backup;
pub mod certificates;
mod fall_back;
mod fault;
mod files;
mod inspect;
mod jobs;
mod pages;
mod put;
mod reader;
mod restore;
mod rows;
mod salvage;
mod schema;
mod seal;
mod space;
mod time;
pub mod users;
mod work;
mod writer;

#[cfg(test)]
mod access_tests;
#[cfg(test)]
mod certificate_tests;
#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod restart_tests;
#[cfg(test)]
mod tests;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use nix::unistd::{AccessFlags, access};
use rusqlite::Connection;

use fault::About;
use restore::{Read, Unreadable};
use time::Clock;

pub use audit::{AuditFilter, AuditRecord, read_audit};
pub use backup::{BackupReport, RestoreReport, backup, restore};
pub use certificates::{CertificateRecord, TokenRecord};
pub use fall_back::{FellBack, drop_copies};
pub use fault::StoreError;
pub use inspect::{CheckReport, Stats, check, stats};
pub use jobs::{Job, JobQueue, Jobs};
pub use reader::{Reader, ReaderStatistics, Readers};
pub use salvage::{Counts, Salvage};
pub use schema::FILE_NAME as DATABASE;
pub use space::{Level, Space, free_bytes};
pub use time::WallClock;
pub use users::UserRecord;
pub use writer::{Writer, WriterStatistics};

use crate::broker::Restored;
use crate::config::StoreSettings;

/// Bytes of a database up to which its whole structure is checked at each start; of a larger one only what is read.
const CHECKED_BYTES_MAX: u64 = 32 << 20;

/// The durable store of a gateway.
#[derive(Debug)]
pub struct Store;

/// A store that was opened.
#[derive(Debug)]
pub struct Opened {
    /// Writes to it.
    pub writer: Writer,
    /// Opens readers of it.
    pub readers: Readers,
    /// What it held.
    pub restored: Restored,
    /// The local users.
    pub users: Vec<UserRecord>,
    /// What the authority has issued, without the certificates themselves.
    pub certificates: Vec<CertificateRecord>,
    /// Whether that is all that was ever committed.
    pub condition: Condition,
}

/// In which condition a store was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Everything that was committed is there.
    Sound,
    /// The file was damaged. A new one holds what could be read of it.
    Degraded(Box<Salvage>),
    /// A newer version had changed the database, and the copy of before is at work. What came meanwhile is in a folder.
    FellBack(Box<FellBack>),
}

impl Condition {
    /// What there is to complain about, in a sentence.
    #[must_use]
    pub fn complaint(&self) -> Option<String> {
        match self {
            Self::Sound => None,
            Self::Degraded(salvage) => Some(salvage.to_string()),
            Self::FellBack(fell_back) => Some(fell_back.to_string()),
        }
    }
}

impl Store {
    /// Whether a state folder has a database.
    #[must_use]
    pub fn is_there(folder: &Path) -> bool {
        folder.join(schema::FILE_NAME).exists()
    }

    /// Opens the database of a state folder, or makes both.
    pub fn open(
        folder: &Path,
        settings: &StoreSettings,
        clock: WallClock,
    ) -> Result<Opened, StoreError> {
        make_folder(folder)?;
        let path = folder.join(schema::FILE_NAME);
        let clock = Clock(clock);
        files::finish_interrupted(&path)?;
        fall_back::finish_interrupted(&path)?;
        match open_or_rescue(&path, settings, &clock) {
            // The log that the last run has left behind takes room before it gives any.
            Err(StoreError::Full { .. }) if space::release_reserve(folder)? => {
                open_or_rescue(&path, settings, &clock)
            }
            result => result,
        }
    }
}

/// Opens the database. One that is damaged is replaced by what can be read of it.
fn open_or_rescue(
    path: &Path,
    settings: &StoreSettings,
    clock: &Clock,
) -> Result<Opened, StoreError> {
    let reason = match open_or_fall_back(path, settings, clock) {
        Err(StoreError::Corrupt { detail, .. }) => detail,
        result => return result,
    };
    let salvage = salvage::rescue(path, reason, clock.millis())?;
    let mut opened = open_database(path, settings, clock)?;
    opened.condition = Condition::Degraded(Box::new(salvage));
    Ok(opened)
}

/// Opens the database. In the place of one that a newer version has changed too much comes the copy of before.
fn open_or_fall_back(
    path: &Path,
    settings: &StoreSettings,
    clock: &Clock,
) -> Result<Opened, StoreError> {
    let mut opened = match open_database(path, settings, clock) {
        Err(newer @ StoreError::Newer { .. }) => {
            if !fall_back::restore(path, clock.millis())? {
                return Err(newer);
            }
            open_database(path, settings, clock)?
        }
        result => result?,
    };
    if let Some(fell_back) = fall_back::found(path) {
        opened.condition = Condition::FellBack(Box::new(fell_back));
    }
    Ok(opened)
}

/// Makes the state folder if it is missing, and sees whether it can be written.
fn make_folder(folder: &Path) -> Result<(), StoreError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o750);
    builder.create(folder).about(folder, "make")?;
    let database = folder.join(schema::FILE_NAME);
    for path in [folder, &database] {
        if let Err(error) = access(path, AccessFlags::W_OK)
            && error != nix::errno::Errno::ENOENT
        {
            return Err(StoreError::system(path, "write to", &error.into()));
        }
    }
    Ok(())
}

fn open_database(
    path: &Path,
    settings: &StoreSettings,
    clock: &Clock,
) -> Result<Opened, StoreError> {
    let mut connection = schema::open_writing(path)?;
    bring_up_to_date(&mut connection, path)?;
    complete_file(&connection, path)?;
    check_structure(&connection, path)?;
    let read = restore::read(&connection, clock.millis())
        .map_err(|unreadable| damage(path, unreadable))?;
    let users = users::load(&connection).map_err(|unreadable| damage(path, unreadable))?;
    let certificates =
        certificates::load(&connection).map_err(|unreadable| damage(path, unreadable))?;
    let Read {
        restored,
        time,
        arrivals,
        over,
    } = read;
    let mut writer = Writer::new(
        connection,
        path,
        clock.clone(),
        time,
        arrivals,
        restored.next_session,
        settings.wal_bytes_max,
    );
    if !over.changes.is_empty() {
        writer.commit(&over)?;
    }
    let readers = Readers::new(path, writer.arrivals());
    Ok(Opened {
        writer,
        readers,
        restored,
        users,
        certificates,
        condition: Condition::Sound,
    })
}

/// Refuses what a newer version wrote and what is not ours, and brings on what an older version wrote.
fn bring_up_to_date(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let found = schema::check_readable(connection, path)?;
    let is_new = found == 0 && schema::is_empty(connection).about(path, "open")?;
    if !is_new && (found <= 0 || !schema::is_ours(connection).about(path, "open")?) {
        return Err(StoreError::Corrupt {
            path: path.to_owned(),
            operation: "open",
            detail: "it is not a database of this program".to_owned(),
        });
    }
    if found >= schema::VERSION {
        return Ok(());
    }
    schema::migrate(connection, path)
}

/// Makes the file as long as the pages that belong to it, with what is in the write-ahead log. A file that was cut has holes
/// then, which are damaged rows like any other; SQLite reads long values past the end of a file as a fault of the disk, which
/// would come again with every start.
fn complete_file(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let pages: i64 = connection
        .pragma_query_value(None, "page_count", |row| row.get(0))
        .about(path, "check")?;
    let whole = pages.max(0).cast_unsigned() * schema::PAGE_BYTES;
    let length = || path.metadata().map_or(0, |metadata| metadata.len());
    if length() >= whole {
        return Ok(());
    }
    let completed = connection
        .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
        .about(path, "check");
    match completed {
        // On a full volume the pages stay in the log, and are read from there.
        Err(StoreError::Full { .. }) => return Ok(()),
        completed => completed?,
    }
    if length() >= whole {
        return Ok(());
    }
    Err(StoreError::Corrupt {
        path: path.to_owned(),
        operation: "check",
        detail: "the file is shorter than it should be".to_owned(),
    })
}

fn check_structure(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let bytes = path.metadata().map_or(0, |metadata| metadata.len());
    if bytes > CHECKED_BYTES_MAX {
        return Ok(());
    }
    let answer: String = connection
        .pragma_query_value(None, "quick_check", |row| row.get(0))
        .about(path, "check")?;
    if answer == "ok" {
        return Ok(());
    }
    Err(StoreError::Corrupt {
        path: path.to_owned(),
        operation: "check",
        detail: answer,
    })
}

fn damage(path: &Path, unreadable: Unreadable) -> StoreError {
    match unreadable {
        Unreadable::Sqlite(error) => StoreError::sqlite(path, "read", &error),
        Unreadable::Row(table) => StoreError::Corrupt {
            path: path.to_owned(),
            operation: "read",
            detail: format!("a row of the table `{table}` is damaged"),
        },
    }
}
