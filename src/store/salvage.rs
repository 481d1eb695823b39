//! What can be read of a damaged database, and how it becomes a new one.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use serde::Serialize;

use super::fault::{About, StoreError};
use super::pages::{Damage, Pages, Visited};
use super::rows::{self, Columns, DeliveryRow, Values, int};
use super::schema::{self, beside};
use super::{audit, certificates, files, put, users};

/// What became of a damaged database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Salvage {
    /// What was wrong.
    pub reason: String,
    /// The folder to which the damaged files were moved.
    pub moved_to: PathBuf,
    /// What could be read, and is in the new database.
    pub saved: Counts,
    /// Rows that were found and could not be read.
    pub damaged_rows: u64,
    /// Pages that could not be read, with all rows that were in them.
    pub damaged_pages: u64,
}

/// Rows of a database by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Sessions.
    pub sessions: u64,
    /// Subscriptions.
    pub subscriptions: u64,
    /// Retained messages.
    pub retained: u64,
    /// Messages that wait for sessions, each counted once.
    pub messages: u64,
    /// Messages on their way to a session, counted for each session.
    pub deliveries: u64,
    /// Local users.
    pub users: u64,
    /// Entries of the audit log.
    pub audit_rows: u64,
    /// Certificates of the authority.
    pub certificates: u64,
}

/// Makes a new database of what can be read of the damaged one at `path`, and moves the damaged files away.
pub(super) fn rescue(path: &Path, reason: String, wall: u64) -> Result<Salvage, StoreError> {
    let fresh = beside(path, files::PARTIAL);
    files::remove_database(&fresh).about(&fresh, "remove")?;
    let (saved, damage) = copy(path, &fresh)?;
    let moved_to = files::replace(path, "corrupt", wall)?;
    Ok(Salvage {
        reason,
        moved_to: moved_to.unwrap_or_default(),
        saved,
        damaged_rows: damage.rows,
        damaged_pages: damage.pages,
    })
}

fn copy(from: &Path, to: &Path) -> Result<(Counts, Damage), StoreError> {
    let pages = Pages::open(from).about(from, "read")?;
    let mut connection = schema::open_writing(to)?;
    schema::migrate(&mut connection, to)?;
    let mut damage = Damage::default();
    let source = Source::survey(&pages, &mut damage);
    let saved = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .and_then(|transaction| {
            let counts = Rescue::new(&transaction).run(&source)?;
            transaction.commit()?;
            Ok(counts)
        })
        .about(to, "write to")?;
    close(connection, to)?;
    Ok((saved, damage))
}

/// Closes a database so that nothing of it is left in a write-ahead log.
fn close(connection: Connection, path: &Path) -> Result<(), StoreError> {
    connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .about(path, "write to")?;
    connection
        .close()
        .map_err(|(_, error)| StoreError::sqlite(path, "close", &error))
}

/// The tables, with the first page of each: the first eight in every database that was ever made, the others in one that
/// did not begin without them.
const TABLES: [(&str, u32); 12] = [
    ("meta", 2),
    ("session", 3),
    ("subscription", 4),
    ("message", 5),
    ("delivery", 6),
    ("received", 7),
    ("retained", 8),
    ("arrival", 9),
    ("user", 10),
    ("audit", 11),
    ("certificate", 12),
    ("enrolment_token", 13),
];

/// A damaged database, of which is known where its tables are.
struct Source<'a> {
    pages: &'a Pages,
    roots: HashMap<&'static str, u32>,
    /// Pages that belong to a table, but nobody knows to which.
    stray: Vec<u32>,
}

impl<'a> Source<'a> {
    fn survey(pages: &'a Pages, damage: &mut Damage) -> Self {
        let mut visited = pages.visited();
        let roots = roots(pages, &mut visited, damage);
        let mut source = Self {
            pages,
            roots,
            stray: Vec::new(),
        };
        for (table, root) in TABLES {
            // The page of a table that came later belongs to another one in an older database.
            if schema::since(table) > 1 && !source.place_later(table, root, &visited) {
                continue;
            }
            source.walk(table, &mut visited, damage, &mut |values| {
                is_whole(table, values)
            });
        }
        // Where it is stood in a row that could not be read, unless the database never had it.
        let is_lost = source.roots.len() < TABLES.len();
        if damage.pages > 0 || is_lost {
            source.stray = pages.unvisited(&visited).unwrap_or_default();
        }
        source
    }

    /// Lets a table begin where it does in a new database, if that page is nobody else's. Says whether it has a place.
    fn place_later(&mut self, table: &'static str, root: u32, visited: &Visited) -> bool {
        if !self.roots.contains_key(table) && visited.is_new(root) {
            self.roots.insert(table, root);
        }
        self.roots.contains_key(table)
    }

    /// Every row of a table that is whole.
    fn each<T>(
        &self,
        table: &'static str,
        parse: fn(&dyn Columns) -> Option<T>,
        mut found: impl FnMut(T) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        let mut result = Ok(());
        let mut visit = |values: &[ValueRef<'_>]| {
            if let (Ok(()), Some(row)) = (&result, parse(&Values(values))) {
                result = found(row);
            }
            true
        };
        let (mut visited, mut damage) = (self.pages.visited(), Damage::default());
        self.walk(table, &mut visited, &mut damage, &mut visit);
        for page in &self.stray {
            let mut visit = |row, values: &[ValueRef<'_>]| with_row(row, values, &mut visit);
            self.pages
                .scan(*page, &mut visited, &mut damage, &mut visit);
        }
        result
    }

    fn walk(
        &self,
        table: &'static str,
        visited: &mut Visited,
        damage: &mut Damage,
        visit: &mut dyn FnMut(&[ValueRef<'_>]) -> bool,
    ) {
        if let Some(root) = self.roots.get(table) {
            let mut visit = |row, values: &[ValueRef<'_>]| with_row(row, values, visit);
            self.pages.walk(*root, visited, damage, &mut visit);
        }
    }
}

/// A table whose key is the number of the row has nothing in its place.
fn with_row(
    row: Option<i64>,
    values: &[ValueRef<'_>],
    visit: &mut dyn FnMut(&[ValueRef<'_>]) -> bool,
) -> bool {
    let Some(row) = row else {
        return visit(values);
    };
    let mut values = values.to_vec();
    if let Some(key @ ValueRef::Null) = values.first_mut() {
        *key = ValueRef::Integer(row);
    }
    visit(&values)
}

/// Where the tables begin: as the first page says, or where they always do.
fn roots(pages: &Pages, visited: &mut Visited, damage: &mut Damage) -> HashMap<&'static str, u32> {
    let mut roots: HashMap<&'static str, u32> = HashMap::new();
    // Columns `type, name, tbl_name, rootpage, sql`.
    pages.walk(1, visited, damage, &mut |_, values| {
        let values = Values(values);
        let name = values.text(1).unwrap_or_default();
        let known = TABLES.iter().find(|(table, _)| *table == name);
        let root = values.number(3).and_then(|root| u32::try_from(root).ok());
        if let (Some((table, _)), Some(root), Some("table")) = (known, root, values.text(0)) {
            roots.insert(table, root);
        }
        true
    });
    let taken: BTreeSet<u32> = TABLES
        .iter()
        .filter_map(|(table, _)| roots.get(table).copied())
        .collect();
    for (table, root) in TABLES {
        if !taken.contains(&root) && schema::since(table) == 1 {
            roots.entry(table).or_insert(root);
        }
    }
    roots
}

fn is_whole(table: &str, values: &[ValueRef<'_>]) -> bool {
    let row = &Values(values);
    match table {
        "meta" => rows::meta(row).is_some(),
        "session" => rows::session(row).is_some(),
        "subscription" => rows::subscription(row).is_some(),
        "message" => rows::message(row).is_some(),
        "delivery" => rows::delivery(row).is_some(),
        "arrival" => rows::arrival(row).is_some(),
        "received" => rows::received(row).is_some(),
        "user" => rows::user(row).is_some(),
        "audit" => rows::audit(row).is_some(),
        "certificate" => rows::certificate(row).is_some(),
        "enrolment_token" => rows::token(row).is_some(),
        _ => rows::retained(row).is_some(),
    }
}

type ParseDelivery = fn(&dyn Columns) -> Option<DeliveryRow>;

/// The tables of deliveries.
const DELIVERIES: [(&str, ParseDelivery); 2] =
    [("delivery", rows::delivery), ("arrival", rows::arrival)];

/// A new database in the making.
struct Rescue<'a> {
    to: &'a Transaction<'a>,
    counts: Counts,
    sessions: HashSet<u64>,
    /// How many deliveries need a message.
    needs: HashMap<u64, i64>,
    /// Messages that could be read.
    messages: HashSet<u64>,
}

impl<'a> Rescue<'a> {
    fn new(to: &'a Transaction<'a>) -> Self {
        Self {
            to,
            counts: Counts::default(),
            sessions: HashSet::new(),
            needs: HashMap::new(),
            messages: HashSet::new(),
        }
    }

    fn run(mut self, from: &Source<'_>) -> rusqlite::Result<Counts> {
        self.sessions(from)?;
        self.deliveries(from)?;
        from.each("retained", rows::retained, |message| {
            self.counts.retained += 1;
            put::put_retained(self.to, &message)
        })?;
        from.each("user", rows::user, |record| {
            self.counts.users += 1;
            users::put(self.to, &record)
        })?;
        from.each("audit", rows::audit, |record| {
            self.counts.audit_rows += 1;
            audit::put(self.to, &record)
        })?;
        from.each("certificate", rows::certificate, |record| {
            self.counts.certificates += 1;
            certificates::put(self.to, &record)
        })?;
        from.each("enrolment_token", rows::token, |record| {
            certificates::put_token(self.to, &record)
        })?;
        Ok(self.counts)
    }

    /// Sessions, and what belongs to one of them.
    fn sessions(&mut self, from: &Source<'_>) -> rusqlite::Result<()> {
        let mut next_session = 1;
        from.each("meta", rows::meta, |(key, value)| {
            if key == schema::READABLE_KEY {
                // Said of the new database already.
                return Ok(());
            }
            if key == "next_session" {
                next_session = next_session.max(value);
            }
            put::write_meta(self.to, &key, value)
        })?;
        from.each("session", rows::session, |record| {
            next_session = next_session.max(int(record.id.get().saturating_add(1)));
            if self.sessions.insert(record.id.get()) {
                self.counts.sessions += 1;
            }
            put::put_session(self.to, &record)
        })?;
        put::write_meta(self.to, "next_session", next_session)?;
        from.each("subscription", rows::subscription, |(session, record)| {
            if !self.sessions.contains(&session) {
                return Ok(());
            }
            self.counts.subscriptions += 1;
            put::put_subscription(self.to, session, &record)
        })?;
        from.each("received", rows::received, |(session, packet_id)| {
            if !self.sessions.contains(&session) {
                return Ok(());
            }
            put::put_received(self.to, session, packet_id)
        })
    }

    /// Messages that a delivery needs, and deliveries whose message is there.
    fn deliveries(&mut self, from: &Source<'_>) -> rusqlite::Result<()> {
        for (table, parse) in DELIVERIES {
            from.each(table, parse, |row| {
                if let (true, Some(id)) = (self.sessions.contains(&row.session), row.message) {
                    *self.needs.entry(id).or_default() += 1;
                }
                Ok(())
            })?;
        }
        from.each("message", rows::message, |message| {
            let id = message.store_id();
            let Some(refs) = self.needs.get(&id) else {
                return Ok(());
            };
            if !self.messages.insert(id) {
                return Ok(());
            }
            self.counts.messages += 1;
            put::put_message(self.to, id, *refs, &message)
        })?;
        for (table, parse) in DELIVERIES {
            from.each(table, parse, |row| {
                let has_message = row.message.is_none_or(|id| self.messages.contains(&id));
                if !has_message || !self.sessions.contains(&row.session) {
                    return Ok(());
                }
                let added = put::put_delivery(self.to, &row)?;
                self.counts.deliveries += u64::try_from(added).unwrap_or(0);
                Ok(())
            })?;
        }
        Ok(())
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} sessions, {} subscriptions, {} retained messages, {} queued messages, {} users",
            self.sessions, self.subscriptions, self.retained, self.deliveries, self.users
        )
    }
}

impl fmt::Display for Salvage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the database was damaged ({}); kept: {}; lost: {} rows and what was in {} pages; the damaged files are in `{}`",
            self.reason,
            self.saved,
            self.damaged_rows,
            self.damaged_pages,
            self.moved_to.display()
        )
    }
}
