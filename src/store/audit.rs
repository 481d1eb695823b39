//! The table of the audit log: bounded, the oldest entries go first.

use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, Transaction, params, params_from_iter};

use super::fault::{About, StoreError};
use super::rows::{self, int};
use super::{inspect, schema};

/// An entry of the audit log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditRecord {
    /// Its number, given by the table.
    pub id: u64,
    /// When it happened, in seconds since 1970.
    pub at: u64,
    /// What happened, one word.
    pub kind: Box<str>,
    /// Who did it; empty if nobody was known.
    pub actor: Box<str>,
    /// To whom or to what.
    pub subject: Box<str>,
    /// The port that it happened on; empty if it was none.
    pub port: Box<str>,
    /// Where the actor came from; empty if from nowhere.
    pub peer: Box<str>,
    /// What else there is to know.
    pub detail: Box<str>,
}

/// Which entries are asked for. An absent condition holds for all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Of this kind.
    pub kind: Option<Box<str>>,
    /// Done by this actor.
    pub actor: Option<Box<str>>,
    /// About this subject.
    pub subject: Option<Box<str>>,
    /// On this port.
    pub port: Option<Box<str>>,
    /// Not before this time, in seconds since 1970.
    pub since: Option<u64>,
    /// Not after this time.
    pub until: Option<u64>,
    /// With a smaller number than this: the next page.
    pub before_id: Option<u64>,
    /// At most so many.
    pub rows_max: u32,
}

const INSERT: &str = "INSERT OR REPLACE INTO audit
     (id, at, kind, actor, subject, port, peer, detail, seal) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
const LAST: &str = "SELECT ifnull(max(id), 0) FROM audit";
/// The newest entries that clients cause, and the newest of the others, are kept each by itself: whoever logs in a thousand
/// times must not make anybody forget what operators did.
const TRIM: &str = "DELETE FROM audit WHERE id IN (
    SELECT id FROM audit
    WHERE (kind GLOB 'user*' OR kind GLOB 'configuration-*' OR kind IN ('trust-changed', 'ban-lifted')) = ?1
    ORDER BY id DESC LIMIT -1 OFFSET ?2)";

/// Appends entries, which get their numbers here, and removes the oldest so that at most `rows_max` are left: half of them of
/// what operators did, half of what clients did.
pub fn append(
    transaction: &Transaction<'_>,
    records: &[AuditRecord],
    rows_max: u32,
) -> rusqlite::Result<()> {
    let last: i64 = transaction
        .prepare_cached(LAST)?
        .query_row([], |row| row.get(0))?;
    for (id, record) in (last.max(0).cast_unsigned() + 1..).zip(records) {
        let record = AuditRecord {
            id,
            ..record.clone()
        };
        put(transaction, &record)?;
    }
    let of_operators_max = rows_max / 2;
    let mut trim = transaction.prepare_cached(TRIM)?;
    trim.execute(params![true, of_operators_max])?;
    trim.execute(params![false, rows_max - of_operators_max])?;
    Ok(())
}

/// Puts an entry where its number says.
pub(super) fn put(transaction: &Transaction<'_>, record: &AuditRecord) -> rusqlite::Result<()> {
    transaction.prepare_cached(INSERT)?.execute(params![
        int(record.id),
        int(record.at),
        record.kind,
        record.actor,
        record.subject,
        record.port,
        record.peer,
        record.detail,
        rows::audit_seal(record),
    ])?;
    Ok(())
}

/// Entries, the newest first. Damaged ones are left out.
pub fn read(connection: &Connection, filter: &AuditFilter) -> rusqlite::Result<Vec<AuditRecord>> {
    let mut sql =
        "SELECT id, at, kind, actor, subject, port, peer, detail, seal FROM audit WHERE 1"
            .to_owned();
    let mut values = Vec::new();
    let mut only = |condition: &str, value: Option<Value>| {
        if let Some(value) = value {
            sql.push_str(" AND ");
            sql.push_str(condition);
            values.push(value);
        }
    };
    let text = |text: &Option<Box<str>>| text.as_ref().map(|text| Value::Text(text.to_string()));
    let number = |number: Option<u64>| number.map(|number| Value::Integer(int(number)));
    only("kind = ?", text(&filter.kind));
    only("actor = ?", text(&filter.actor));
    only("subject = ?", text(&filter.subject));
    only("port = ?", text(&filter.port));
    only("at >= ?", number(filter.since));
    only("at <= ?", number(filter.until));
    only("id < ?", number(filter.before_id));
    sql.push_str(" ORDER BY id DESC LIMIT ?");
    values.push(Value::Integer(filter.rows_max.into()));
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        records.extend(rows::audit(row));
    }
    Ok(records)
}

/// Entries of the database of a state folder, whether a gateway is writing to it or not.
pub fn read_audit(folder: &Path, filter: &AuditFilter) -> Result<Vec<AuditRecord>, StoreError> {
    let path = folder.join(schema::FILE_NAME);
    let connection = inspect::open(&path)?;
    if schema::version(&connection).about(&path, "read")? < schema::ACCESS_SINCE {
        return Ok(Vec::new());
    }
    read(&connection, filter).about(&path, "read")
}
