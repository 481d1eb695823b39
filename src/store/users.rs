//! The table of local users.

use std::collections::BTreeMap;
use std::fmt;

use rusqlite::{Connection, Transaction, params};

use super::restore::{Unreadable, each};
use super::rows::{self, int};

/// A local user.
#[derive(Clone, PartialEq, Eq)]
pub struct UserRecord {
    /// The name, which is the key.
    pub username: Box<str>,
    /// The hash of the password, as its kind is written.
    pub hash: Box<str>,
    /// Given anew with each password, never twice while a gateway runs.
    pub generation: u64,
    /// What rules may ask for.
    pub attributes: BTreeMap<Box<str>, Box<str>>,
    /// Whether the user may log in.
    pub enabled: bool,
    /// When the user may log in no more, in seconds since 1970.
    pub expires_at: Option<u64>,
    /// For people.
    pub note: Box<str>,
    /// When the user was made, in seconds since 1970.
    pub created_at: u64,
    /// When the user has last logged in, in seconds since 1970.
    pub last_seen_at: Option<u64>,
}

impl fmt::Debug for UserRecord {
    /// Without the hash: this ends in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserRecord")
            .field("username", &self.username)
            .field("generation", &self.generation)
            .field("attributes", &self.attributes)
            .field("enabled", &self.enabled)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

const SELECT: &str = "SELECT username, hash, generation, attributes, enabled, expires_at, note,
     created_at, last_seen_at, seal FROM user ORDER BY username";
const INSERT: &str = "INSERT OR REPLACE INTO user (username, hash, generation, attributes, enabled,
     expires_at, note, created_at, last_seen_at, seal) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
const TOUCH: &str =
    "UPDATE user SET last_seen_at = max(ifnull(last_seen_at, 0), ?2) WHERE username = ?1";

/// Every user, in order. One that is damaged is an error.
pub(super) fn load(connection: &Connection) -> Result<Vec<UserRecord>, Unreadable> {
    let mut users = Vec::new();
    each(connection, "user", SELECT, rows::user, |record| {
        users.push(record);
    })?;
    Ok(users)
}

/// Adds a user, or puts it in the place of the one with its name.
pub fn put(transaction: &Transaction<'_>, record: &UserRecord) -> rusqlite::Result<()> {
    let attributes = serde_json::to_string(&record.attributes)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    transaction.prepare_cached(INSERT)?.execute(params![
        record.username,
        record.hash,
        int(record.generation),
        attributes,
        record.enabled,
        record.expires_at.map(int),
        record.note,
        int(record.created_at),
        record.last_seen_at.map(int),
        rows::user_seal(record, &attributes),
    ])?;
    Ok(())
}

/// Removes a user; says whether there was one.
pub fn remove(transaction: &Transaction<'_>, username: &str) -> rusqlite::Result<bool> {
    let mut statement = transaction.prepare_cached("DELETE FROM user WHERE username = ?1")?;
    Ok(statement.execute([username])? > 0)
}

/// Notes when users were seen. Those who are gone meanwhile stay gone.
pub fn touch(transaction: &Transaction<'_>, seen: &[(Box<str>, u64)]) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare_cached(TOUCH)?;
    for (username, at) in seen {
        statement.execute(params![username, int(*at)])?;
    }
    Ok(())
}
