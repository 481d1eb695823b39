//! The tables, how a database is opened, and how an older one becomes a current one.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::fault::{About, StoreError};
use super::{put, rows};

/// Name of the database in the state folder.
pub const FILE_NAME: &str = "gateway.db";

/// Marks a database as ours (`PRAGMA application_id`): "FGat".
pub(super) const APPLICATION_ID: i64 = 0x4647_6174;

/// The format that this version writes (`PRAGMA user_version`): the number of migrations.
pub(super) const VERSION: i64 = MIGRATIONS.len() as i64;

/// The format of the oldest program that can work with a database of this format: it finds its own tables and columns as they
/// were, and whatever it does not know takes no harm from what it does. A step that only adds leaves this number alone, and a
/// program that falls back over it goes on with the same database; one that changes what is there sets it to its own number.
const READABLE_SINCE: i64 = 3;

/// Where a database keeps that number, in the table `meta`. One that has none is of a format before there was one, or a program
/// has written it that nobody older can follow.
pub(super) const READABLE_KEY: &str = "readable_since";

/// Steps from one format to the next; the first makes the tables. A step that was released is never changed.
const MIGRATIONS: &[&str] = &[TABLES, ACCESS_TABLES, AUTHORITY_TABLES];

/// The format since which there are users and an audit log.
pub(super) const ACCESS_SINCE: i64 = 2;

/// The format since which there are certificates and enrolment tokens.
pub(super) const AUTHORITY_SINCE: i64 = 3;

/// Bytes of a page.
pub(super) const PAGE_BYTES: u64 = 4096;

/// Time that a statement waits for another process, such as a backup.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// KiB of pages that a connection keeps in memory.
const CACHE_KIB: i64 = 4096;

/// Prepared statements that a connection keeps.
const STATEMENTS_MAX: usize = 48;

/// Each row carries a checksum in `seal`. Rows are short, because whole pages are written: names that belong to the whole row
/// are packed into `options` and `flags`. Deliveries are in `arrival` first, see `arrivals.rs`. Messages are only appended and deleted, in the order of their numbers; deliveries
/// stand together by session, in the order in which they are read.
const TABLES: &str = "
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value INTEGER NOT NULL,
    seal INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE session (
    id INTEGER PRIMARY KEY,
    client_id TEXT NOT NULL,
    mount_point TEXT NOT NULL,
    owner TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    expiry_interval INTEGER NOT NULL,
    expires_at INTEGER,
    sent_through INTEGER NOT NULL,
    window INTEGER NOT NULL,
    will BLOB,
    seal INTEGER NOT NULL
);
CREATE TABLE subscription (
    session INTEGER NOT NULL,
    filter TEXT NOT NULL,
    options INTEGER NOT NULL,
    identifier INTEGER NOT NULL,
    seal INTEGER NOT NULL,
    PRIMARY KEY (session, filter)
) WITHOUT ROWID;
CREATE TABLE message (
    id INTEGER PRIMARY KEY,
    refs INTEGER NOT NULL,
    qos INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    expires_at INTEGER,
    topic TEXT NOT NULL,
    forwarded BLOB,
    payload BLOB NOT NULL,
    seal INTEGER NOT NULL
);
CREATE TABLE delivery (
    session INTEGER NOT NULL,
    number INTEGER NOT NULL,
    message INTEGER,
    flags INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    identifiers BLOB,
    seal INTEGER NOT NULL,
    PRIMARY KEY (session, number)
) WITHOUT ROWID;
CREATE TABLE received (
    session INTEGER NOT NULL,
    packet_id INTEGER NOT NULL,
    seal INTEGER NOT NULL,
    PRIMARY KEY (session, packet_id)
) WITHOUT ROWID;
CREATE TABLE retained (
    topic TEXT PRIMARY KEY,
    qos INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    expires_at INTEGER,
    forwarded BLOB,
    payload BLOB NOT NULL,
    seal INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE arrival (
    place INTEGER PRIMARY KEY,
    session INTEGER NOT NULL,
    number INTEGER NOT NULL,
    message INTEGER,
    flags INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    identifiers BLOB,
    seal INTEGER NOT NULL
);
";

/// Users and the audit log. When somebody was last seen is no part of the checksum: it changes all the time, and nothing
/// depends on it.
const ACCESS_TABLES: &str = "
CREATE TABLE user (
    username TEXT PRIMARY KEY,
    hash TEXT NOT NULL,
    generation INTEGER NOT NULL,
    attributes TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    expires_at INTEGER,
    note TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    last_seen_at INTEGER,
    seal INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE audit (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    actor TEXT NOT NULL,
    subject TEXT NOT NULL,
    port TEXT NOT NULL,
    peer TEXT NOT NULL,
    detail TEXT NOT NULL,
    seal INTEGER NOT NULL
);
";

/// What the certificate authority has issued, and who may enrol.
const AUTHORITY_TABLES: &str = "
CREATE TABLE certificate (
    issuer TEXT NOT NULL,
    serial TEXT NOT NULL,
    name TEXT NOT NULL,
    purpose TEXT NOT NULL,
    origin TEXT NOT NULL,
    attributes TEXT NOT NULL,
    not_before INTEGER NOT NULL,
    not_after INTEGER NOT NULL,
    issued_at INTEGER NOT NULL,
    provisional INTEGER NOT NULL,
    revoked_at INTEGER,
    reason INTEGER NOT NULL,
    der BLOB NOT NULL,
    seal INTEGER NOT NULL,
    PRIMARY KEY (issuer, serial)
) WITHOUT ROWID;
CREATE TABLE enrolment_token (
    hash TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    attributes TEXT NOT NULL,
    lifetime INTEGER,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    seal INTEGER NOT NULL
) WITHOUT ROWID;
";

/// Opens a database for writing, or makes it, with everything set but the format.
pub(super) fn open_writing(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if !path.exists() {
        make_file(path).about(path, "make")?;
    }
    let connection = Connection::open_with_flags(path, flags).about(path, "open")?;
    settle(&connection)
        .and_then(|()| {
            // The size of a page is fixed with the first write and can be told only before.
            connection.pragma_update(None, "page_size", PAGE_BYTES as i64)?;
            let mode: String =
                connection
                    .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            connection.pragma_update(None, "wal_autocheckpoint", 0)?;
            connection.pragma_update(None, "journal_size_limit", -1)?;
            Ok(mode)
        })
        .about(path, "open")
        .and_then(|mode| {
            if mode.eq_ignore_ascii_case("wal") {
                return Ok(connection);
            }
            Err(StoreError::Io {
                path: path.to_owned(),
                operation: "open",
                detail: format!("the volume does not allow a write-ahead log, only `{mode}`"),
            })
        })
}

/// Makes an empty file, which is a new database, for nobody else to read: hashes of passwords will be in it. What SQLite puts
/// beside it gets the same mode.
pub(super) fn make_file(path: &Path) -> io::Result<()> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map(drop)
}

/// Opens a database that another connection may be writing to.
pub(super) fn open_reading(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).about(path, "open")?;
    settle(&connection).about(path, "open")?;
    Ok(connection)
}

/// What holds for every connection. A database is content from a disk and trusted no further than that.
fn settle(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "foreign_keys", false)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "mmap_size", 0)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)
}

/// The format of a database, 0 if it has none yet.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Refuses a database that a newer version wrote and that this one cannot work with.
pub(super) fn check_readable(connection: &Connection, path: &Path) -> Result<i64, StoreError> {
    let found = version(connection).about(path, "open")?;
    if found <= VERSION || readable_since(connection).is_some_and(|since| since <= VERSION) {
        return Ok(found);
    }
    Err(StoreError::Newer {
        path: path.to_owned(),
        found,
        known: VERSION,
    })
}

/// The oldest format whose programs can work with a database. A newer format may have anything in it, so nothing is expected.
fn readable_since(connection: &Connection) -> Option<i64> {
    let sql = "SELECT value, seal FROM meta WHERE key = ?1";
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let (value, seal): (i64, i64) = connection.query_row(sql, [READABLE_KEY], row).ok()?;
    (seal == rows::meta_seal(READABLE_KEY, value)).then_some(value)
}

/// Whether a database with a format is ours.
pub(super) fn is_ours(connection: &Connection) -> rusqlite::Result<bool> {
    let id: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    Ok(id == APPLICATION_ID)
}

/// The format since which there is a table.
pub(super) fn since(table: &str) -> i64 {
    match table {
        "user" | "audit" => ACCESS_SINCE,
        "certificate" | "enrolment_token" => AUTHORITY_SINCE,
        _ => 1,
    }
}

/// Brings a database to the current format, whole or not at all. What an older version wrote is copied first.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let from = version(connection).about(path, "open")?;
    migrate_by(connection, path, from, MIGRATIONS)
}

fn migrate_by(
    connection: &mut Connection,
    path: &Path,
    from: i64,
    steps: &[&str],
) -> Result<(), StoreError> {
    let operation = "bring to the current format";
    if from > 0 {
        let copy = copy_of(path, from);
        super::backup::copy(connection, &copy)?;
    }
    let done = usize::try_from(from).unwrap_or(0);
    let migrate = |connection: &mut Connection| {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for step in steps.iter().skip(done) {
            transaction.execute_batch(step)?;
        }
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", steps.len() as i64)?;
        put::write_meta(&transaction, READABLE_KEY, READABLE_SINCE)?;
        transaction.commit()
    };
    migrate(connection).about(path, operation)
}

/// The copy of a database of a format that is made before the format changes.
pub(super) fn copy_of(path: &Path, format: i64) -> PathBuf {
    beside(path, &format!(".v{format}.bak"))
}

/// A file beside another one, by what is appended to its name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Whether a database holds nothing at all.
pub(super) fn is_empty(connection: &Connection) -> rusqlite::Result<bool> {
    let count: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(count == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_database_is_copied_and_brought_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        let mut connection = open_writing(&path).unwrap();
        migrate_by(&mut connection, &path, 0, &[TABLES]).unwrap();
        let count = |connection: &Connection| -> rusqlite::Result<i64> {
            connection.query_row("SELECT count(*) FROM later", [], |row| row.get(0))
        };
        assert!(!beside(&path, ".v0.bak").exists(), "nothing was there");

        let steps = [
            TABLES,
            "CREATE TABLE later (a); INSERT INTO later VALUES (1)",
        ];
        migrate_by(&mut connection, &path, 1, &steps).unwrap();
        assert_eq!(version(&connection).unwrap(), 2);
        assert_eq!(count(&connection).unwrap(), 1);
        let copy = open_reading(&beside(&path, ".v1.bak")).unwrap();
        assert_eq!(version(&copy).unwrap(), 1);
        assert!(count(&copy).is_err());
    }

    #[test]
    fn step_that_fails_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        let mut connection = open_writing(&path).unwrap();
        migrate_by(&mut connection, &path, 0, &[TABLES]).unwrap();
        let steps = [TABLES, "CREATE TABLE later (a)", "CREATE TABLE later (a)"];
        migrate_by(&mut connection, &path, 1, &steps).unwrap_err();
        assert_eq!(version(&connection).unwrap(), 1);
        assert!(connection.prepare("SELECT * FROM later").is_err());
    }
}
