//! The tables of issued certificates and of enrolment tokens.

use std::collections::BTreeMap;
use std::fmt;

use rusqlite::types::ToSql;
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::restore::{Unreadable, each};
use super::rows::{self, int};

/// A certificate that the authority of the gateway has issued.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateRecord {
    /// Stands for the name of its issuer; with the serial number it is the key.
    pub issuer: Box<str>,
    /// Its serial number in hexadecimal digits.
    pub serial: Box<str>,
    /// The common name of its subject.
    pub name: Box<str>,
    /// For what it was issued, one word.
    pub purpose: Box<str>,
    /// How it came to be issued, one word.
    pub origin: Box<str>,
    /// What rules may ask for.
    pub attributes: BTreeMap<Box<str>, Box<str>>,
    /// From when on it is valid, in seconds since 1970.
    pub not_before: u64,
    /// Until when it is valid.
    pub not_after: u64,
    /// When it was issued.
    pub issued_at: u64,
    /// Issued before the time was known.
    pub provisional: bool,
    /// When it was revoked, if it was.
    pub revoked_at: Option<u64>,
    /// Why it was revoked, by the code of RFC 5280.
    pub reason: u8,
    /// The certificate itself in DER; empty in lists.
    pub der: Box<[u8]>,
}

/// A token that lets somebody enrol once.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// A hash of the token, which is the key.
    pub hash: Box<str>,
    /// The name that the certificate gets.
    pub name: Box<str>,
    /// The attributes that it gets.
    pub attributes: BTreeMap<Box<str>, Box<str>>,
    /// For how many seconds the certificate is valid, if not as long as usual.
    pub lifetime: Option<u64>,
    /// When the token was made, in seconds since 1970.
    pub created_at: u64,
    /// When the token ends.
    pub expires_at: u64,
}

impl fmt::Debug for TokenRecord {
    /// Without the hash: this ends in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenRecord")
            .field("name", &self.name)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

const SELECT: &str = "SELECT issuer, serial, name, purpose, origin, attributes, not_before, not_after,
     issued_at, provisional, revoked_at, reason, der, seal FROM certificate ORDER BY issuer, serial";
const SELECT_ONE: &str = "SELECT issuer, serial, name, purpose, origin, attributes, not_before,
     not_after, issued_at, provisional, revoked_at, reason, der, seal FROM certificate
     WHERE issuer = ?1 AND serial = ?2";
const INSERT: &str = "INSERT OR REPLACE INTO certificate (issuer, serial, name, purpose, origin,
     attributes, not_before, not_after, issued_at, provisional, revoked_at, reason, der, seal)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";
const PRUNE: &str = "DELETE FROM certificate WHERE not_after < ?1";
const PRUNE_ORIGIN: &str = "DELETE FROM certificate WHERE origin = ?1 AND (issuer, serial) NOT IN
     (SELECT issuer, serial FROM certificate WHERE origin = ?1 ORDER BY issued_at DESC, issuer, serial LIMIT ?2)";

const INSERT_TOKEN: &str = "INSERT OR REPLACE INTO enrolment_token
     (hash, name, attributes, lifetime, created_at, expires_at, seal)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
const SELECT_TOKENS: &str = "SELECT hash, name, attributes, lifetime, created_at, expires_at, seal
     FROM enrolment_token ORDER BY name, expires_at";
const SELECT_TOKEN: &str = "SELECT hash, name, attributes, lifetime, created_at, expires_at, seal
     FROM enrolment_token WHERE hash = ?1";

/// Every certificate without the certificate itself, in order. One that is damaged is an error.
pub(super) fn load(connection: &Connection) -> Result<Vec<CertificateRecord>, Unreadable> {
    let mut found = Vec::new();
    each(
        connection,
        "certificate",
        SELECT,
        rows::certificate,
        |record| {
            found.push(CertificateRecord {
                der: Box::default(),
                ..record
            });
        },
    )?;
    let select = "SELECT hash, name, attributes, lifetime, created_at, expires_at, seal FROM enrolment_token";
    each(connection, "enrolment_token", select, rows::token, |_| {})?;
    Ok(found)
}

/// One certificate.
pub fn read(
    transaction: &Transaction<'_>,
    issuer: &str,
    serial: &str,
) -> rusqlite::Result<Option<CertificateRecord>> {
    let mut statement = transaction.prepare_cached(SELECT_ONE)?;
    let found = statement.query_row([issuer, serial], |row| Ok(rows::certificate(row)));
    Ok(found.optional()?.flatten())
}

/// Adds a certificate, or puts it in the place of the one with its key.
pub fn put(transaction: &Transaction<'_>, record: &CertificateRecord) -> rusqlite::Result<()> {
    let attributes = json(&record.attributes)?;
    let values: [&dyn ToSql; 14] = [
        &record.issuer,
        &record.serial,
        &record.name,
        &record.purpose,
        &record.origin,
        &attributes,
        &int(record.not_before),
        &int(record.not_after),
        &int(record.issued_at),
        &record.provisional,
        &record.revoked_at.map(int),
        &record.reason,
        &record.der,
        &rows::certificate_seal(record, &attributes),
    ];
    transaction.prepare_cached(INSERT)?.execute(values)?;
    Ok(())
}

/// Removes what has ended before a time; says how many.
pub fn prune(transaction: &Transaction<'_>, before: u64) -> rusqlite::Result<usize> {
    transaction.prepare_cached(PRUNE)?.execute([int(before)])
}

/// Removes all of one origin but the newest.
pub fn prune_origin(
    transaction: &Transaction<'_>,
    origin: &str,
    max: usize,
) -> rusqlite::Result<usize> {
    let max = i64::try_from(max).unwrap_or(i64::MAX);
    let values = params![origin, max];
    transaction.prepare_cached(PRUNE_ORIGIN)?.execute(values)
}

/// Adds a token.
pub fn put_token(transaction: &Transaction<'_>, record: &TokenRecord) -> rusqlite::Result<()> {
    let attributes = json(&record.attributes)?;
    transaction.prepare_cached(INSERT_TOKEN)?.execute(params![
        record.hash,
        record.name,
        attributes,
        record.lifetime.map(int),
        int(record.created_at),
        int(record.expires_at),
        rows::token_seal(record, &attributes),
    ])?;
    Ok(())
}

/// The token with a hash, which stays.
pub fn read_token(
    transaction: &Transaction<'_>,
    hash: &str,
) -> rusqlite::Result<Option<TokenRecord>> {
    let mut statement = transaction.prepare_cached(SELECT_TOKEN)?;
    let found = statement.query_row([hash], |row| Ok(rows::token(row)));
    Ok(found.optional()?.flatten())
}

/// Every token, by name; one that is damaged is left out.
pub fn read_tokens(transaction: &Transaction<'_>) -> rusqlite::Result<Vec<TokenRecord>> {
    let mut statement = transaction.prepare_cached(SELECT_TOKENS)?;
    let found = statement.query_map([], |row| Ok(rows::token(row)))?;
    found.filter_map(Result::transpose).collect()
}

/// Removes the tokens of a name; says how many there were.
pub fn remove_tokens_of(transaction: &Transaction<'_>, name: &str) -> rusqlite::Result<usize> {
    let sql = "DELETE FROM enrolment_token WHERE name = ?1";
    transaction.prepare_cached(sql)?.execute([name])
}

/// Removes a token; says whether there was one.
pub fn remove_token(transaction: &Transaction<'_>, hash: &str) -> rusqlite::Result<bool> {
    let sql = "DELETE FROM enrolment_token WHERE hash = ?1";
    Ok(transaction.prepare_cached(sql)?.execute([hash])? > 0)
}

/// Removes the tokens that have ended, and says how many are left.
pub fn prune_tokens(transaction: &Transaction<'_>, now: u64) -> rusqlite::Result<u64> {
    let sql = "DELETE FROM enrolment_token WHERE expires_at < ?1";
    transaction.prepare_cached(sql)?.execute([int(now)])?;
    let sql = "SELECT count(*) FROM enrolment_token";
    let count: i64 = transaction
        .prepare_cached(sql)?
        .query_row([], |row| row.get(0))?;
    Ok(count.max(0).cast_unsigned())
}

fn json(attributes: &BTreeMap<Box<str>, Box<str>>) -> rusqlite::Result<String> {
    serde_json::to_string(attributes)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}
