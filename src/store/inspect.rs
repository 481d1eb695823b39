//! What is in a database and whether it is as it should be, beside a gateway that may be using it.

use std::path::Path;

use rusqlite::Connection;
use serde::Serialize;

use super::fault::{About, StoreError};
use super::rows::{self, Columns};
use super::salvage::Counts;
use super::schema::{self, PAGE_BYTES, beside};

/// Faults that are named one by one; more are only counted.
const FAULTS_MAX: usize = 20;

/// What a check has found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// Rows that are as they should be.
    pub rows: Counts,
    /// What is wrong, the first faults of each kind.
    pub faults: Vec<String>,
}

/// What a store holds and what it takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Format of the database.
    pub format: i64,
    /// Bytes of the database file.
    pub database_bytes: u64,
    /// Bytes of the write-ahead log.
    pub wal_bytes: u64,
    /// Bytes of the database file that are free for new rows.
    pub unused_bytes: u64,
    /// Free bytes of the volume.
    pub volume_free_bytes: u64,
    /// Rows by kind.
    #[serde(flatten)]
    pub rows: Counts,
    /// Bytes of queued messages, as the budgets count them.
    pub delivery_bytes: u64,
    /// Bytes of the payloads of retained messages.
    pub retained_bytes: u64,
    /// The most messages that wait for one session.
    pub deliveries_of_one_max: u64,
}

/// Opens a database of ours for reading.
pub(super) fn open(path: &Path) -> Result<Connection, StoreError> {
    if !path.exists() {
        return Err(StoreError::Missing {
            path: path.to_owned(),
        });
    }
    let connection = schema::open_reading(path)?;
    let found = schema::check_readable(&connection, path)?;
    if found <= 0 || !schema::is_ours(&connection).about(path, "open")? {
        return Err(StoreError::Corrupt {
            path: path.to_owned(),
            operation: "open",
            detail: "it is not a database of this program".to_owned(),
        });
    }
    Ok(connection)
}

/// Reads the whole database of a state folder and says what is wrong with it.
pub fn check(folder: &Path) -> Result<CheckReport, StoreError> {
    check_file(&folder.join(schema::FILE_NAME))
}

pub(super) fn check_file(path: &Path) -> Result<CheckReport, StoreError> {
    let connection = open(path)?;
    let mut report = CheckReport::default();
    let checked = connection
        .unchecked_transaction()
        .and_then(|_reading| check_all(&connection, &mut report));
    match checked.about(path, "read") {
        Ok(()) => {}
        Err(StoreError::Corrupt { detail, .. }) => report.faults.push(detail),
        Err(error) => return Err(error),
    }
    Ok(report)
}

/// A table to be checked.
struct Table<'a> {
    name: &'static str,
    key: &'static str,
    /// The format since which there is such a table.
    since: i64,
    is_whole: fn(&dyn Columns) -> bool,
    /// How many rows are whole.
    count: &'a mut u64,
}

fn check_all(connection: &Connection, report: &mut CheckReport) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(&format!("PRAGMA integrity_check({FAULTS_MAX})"))?;
    let lines = statement.query_map([], |row| row.get::<_, String>(0))?;
    for line in lines {
        let line = line?;
        if line != "ok" {
            report.faults.push(line);
        }
    }
    check_rows(connection, report)?;
    for (sql, what) in RELATIONS {
        let sql = format!("{WAITING}{sql}");
        let count: i64 = connection.query_row(&sql, [], |row| row.get(0))?;
        if count > 0 {
            report.faults.push(format!("{count} {what}"));
        }
    }
    Ok(())
}

fn check_rows(connection: &Connection, report: &mut CheckReport) -> rusqlite::Result<()> {
    let format = schema::version(connection)?;
    let (mut other, mut tokens) = ([0, 0, 0], 0);
    let core = tables(&mut report.rows, &mut other).into_iter();
    let core = core.map(|table| check_known(connection, format, table));
    let mut damaged: Vec<_> = core.collect::<rusqlite::Result<_>>()?;
    for table in later_tables(&mut report.rows, &mut tokens) {
        damaged.push(check_known(connection, format, table)?);
    }
    for (name, damaged) in damaged {
        if damaged > 0 {
            let fault = format!("{damaged} rows of the table `{name}` are damaged");
            report.faults.push(fault);
        }
    }
    let [_, _, arrived] = other;
    report.rows.deliveries += arrived;
    Ok(())
}

/// The tables that every database has. What is not counted by itself is counted in `other`: `meta`, `received` and `arrival`.
fn tables<'a>(counts: &'a mut Counts, other: &'a mut [u64; 3]) -> [Table<'a>; 8] {
    let [meta, received, arrived] = other;
    let table = |name, key, is_whole, count| Table {
        name,
        key,
        since: schema::since(name),
        is_whole,
        count,
    };
    [
        table("meta", "key", |row| rows::meta(row).is_some(), meta),
        table(
            "session",
            "id",
            |row| rows::session(row).is_some(),
            &mut counts.sessions,
        ),
        table(
            "subscription",
            "session",
            |row| rows::subscription(row).is_some(),
            &mut counts.subscriptions,
        ),
        table(
            "message",
            "id",
            |row| rows::message(row).is_some(),
            &mut counts.messages,
        ),
        table(
            "delivery",
            "session",
            |row| rows::delivery(row).is_some(),
            &mut counts.deliveries,
        ),
        table(
            "arrival",
            "place",
            |row| rows::arrival(row).is_some(),
            arrived,
        ),
        table(
            "received",
            "session",
            |row| rows::received(row).is_some(),
            received,
        ),
        table(
            "retained",
            "topic",
            |row| rows::retained(row).is_some(),
            &mut counts.retained,
        ),
    ]
}

/// The tables that came later.
fn later_tables<'a>(counts: &'a mut Counts, tokens: &'a mut u64) -> [Table<'a>; 4] {
    let table = |name, key, is_whole, count| Table {
        name,
        key,
        since: schema::since(name),
        is_whole,
        count,
    };
    [
        table(
            "user",
            "username",
            |row| rows::user(row).is_some(),
            &mut counts.users,
        ),
        table(
            "audit",
            "id",
            |row| rows::audit(row).is_some(),
            &mut counts.audit_rows,
        ),
        table(
            "certificate",
            "issuer",
            |row| rows::certificate(row).is_some(),
            &mut counts.certificates,
        ),
        table(
            "enrolment_token",
            "hash",
            |row| rows::token(row).is_some(),
            tokens,
        ),
    ]
}

/// Deliveries of both tables, in front of a query.
const WAITING: &str = "WITH waiting AS (SELECT session, message, bytes FROM delivery
     UNION ALL SELECT session, message, bytes FROM arrival) ";

const RELATIONS: [(&str, &str); 3] = [
    (
        "SELECT count(*) FROM waiting d LEFT JOIN message m ON m.id = d.message
         WHERE d.message IS NOT NULL AND m.id IS NULL",
        "messages are missing that wait for a session",
    ),
    (
        "SELECT count(*) FROM message m LEFT JOIN
         (SELECT message, count(*) AS refs FROM waiting GROUP BY message) d ON d.message = m.id
         WHERE m.refs <> ifnull(d.refs, 0)",
        "messages do not know how many sessions need them",
    ),
    (
        "SELECT count(*) FROM (SELECT session FROM subscription UNION SELECT session FROM waiting
         UNION SELECT session FROM received EXCEPT SELECT id FROM session)",
        "sessions are missing to which something belongs",
    ),
];

/// As [`check_table`], for a table that a database of this format may not have.
fn check_known(
    connection: &Connection,
    format: i64,
    table: Table<'_>,
) -> rusqlite::Result<(&'static str, u64)> {
    let name = table.name;
    if format < table.since {
        return Ok((name, 0));
    }
    Ok((name, check_table(connection, table)?))
}

/// Counts the rows of a table; says how many are damaged.
fn check_table(connection: &Connection, table: Table<'_>) -> rusqlite::Result<u64> {
    let (name, key) = (table.name, table.key);
    let mut statement = connection.prepare(&format!("SELECT * FROM {name} ORDER BY {key}"))?;
    let mut rows = statement.query([])?;
    let mut damaged = 0;
    while let Some(row) = rows.next()? {
        if (table.is_whole)(row) {
            *table.count += 1;
        } else {
            damaged += 1;
        }
    }
    Ok(damaged)
}

/// What the store of a state folder holds and what it takes.
pub fn stats(folder: &Path) -> Result<Stats, StoreError> {
    let path = folder.join(schema::FILE_NAME);
    let connection = open(&path)?;
    let mut stats = Stats {
        volume_free_bytes: super::space::free_bytes(folder)?,
        ..Stats::default()
    };
    let length = |path: &Path| path.metadata().map_or(0, |metadata| metadata.len());
    stats.wal_bytes = length(&beside(&path, "-wal"));
    stats.database_bytes = length(&path);
    connection
        .unchecked_transaction()
        .and_then(|_reading| count(&connection, &mut stats))
        .about(&path, "read")?;
    Ok(stats)
}

fn count(connection: &Connection, stats: &mut Stats) -> rusqlite::Result<()> {
    let number = |sql: &str| -> rusqlite::Result<u64> {
        let sql = if sql.starts_with("SELECT") {
            format!("{WAITING}{sql}")
        } else {
            sql.to_owned()
        };
        let number: Option<i64> = connection.query_row(&sql, [], |row| row.get(0))?;
        Ok(number.unwrap_or(0).max(0).cast_unsigned())
    };
    stats.format = schema::version(connection)?;
    stats.unused_bytes = number("PRAGMA freelist_count")? * PAGE_BYTES;
    stats.rows = Counts {
        sessions: number("SELECT count(*) FROM session")?,
        subscriptions: number("SELECT count(*) FROM subscription")?,
        retained: number("SELECT count(*) FROM retained")?,
        messages: number("SELECT count(*) FROM message")?,
        deliveries: number("SELECT count(*) FROM waiting")?,
        ..Counts::default()
    };
    if stats.format >= schema::ACCESS_SINCE {
        stats.rows.users = number("SELECT count(*) FROM user")?;
        stats.rows.audit_rows = number("SELECT count(*) FROM audit")?;
    }
    if stats.format >= schema::AUTHORITY_SINCE {
        stats.rows.certificates = number("SELECT count(*) FROM certificate")?;
    }
    stats.delivery_bytes = number("SELECT sum(bytes) FROM waiting")?;
    stats.retained_bytes = number("SELECT sum(length(payload)) FROM retained")?;
    stats.deliveries_of_one_max =
        number("SELECT max(most) FROM (SELECT count(*) AS most FROM waiting GROUP BY session)")?;
    Ok(())
}
