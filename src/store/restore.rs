//! What the core gets back at the start. Messages of sessions stay where they are; only their deliveries are counted.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;

use super::arrivals::{Key, SharedArrivals};
use super::rows::{self, Columns, DeliveryRow};
use super::time::SavedTime;
use crate::broker::{Batch, Change, Message, Restored, RestoredSession, StoreId, Timestamp};

/// What was read from a database.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) restored: Restored,
    pub(super) time: SavedTime,
    pub(super) arrivals: SharedArrivals,
    /// What is over or belongs to nothing, to be deleted.
    pub(super) over: Batch,
}

/// Why a database could not be read.
#[derive(Debug)]
pub(super) enum Unreadable {
    /// SQLite says so.
    Sqlite(rusqlite::Error),
    /// A row of this table is not what was written.
    Row(&'static str),
}

impl From<rusqlite::Error> for Unreadable {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// Reads everything but messages of sessions. One row that is damaged is an error.
pub(super) fn read(connection: &Connection, wall: u64) -> Result<Read, Unreadable> {
    let mut reading = Reading::default();
    let mut saved = SavedTime::default();
    let mut next_session = 1;
    each(connection, "meta", META, rows::meta, |(key, value)| {
        let value = value.max(0).cast_unsigned();
        match key.as_str() {
            "time" => saved.time = value,
            "wall" => saved.wall = value,
            "next_session" => next_session = value,
            _ => {}
        }
    })?;
    each(connection, "session", SESSIONS, rows::session, |record| {
        next_session = next_session.max(record.id.get().saturating_add(1));
        reading.sessions.push(RestoredSession::new(record));
    })?;
    reading.subscriptions(connection)?;
    reading.received(connection)?;
    reading.deliveries(connection)?;
    reading.arrivals(connection)?;
    let mut retained = Vec::new();
    each(
        connection,
        "retained",
        RETAINED,
        rows::retained,
        |message| {
            retained.push(message);
        },
    )?;
    let (last_message, proven) = last_message(connection)?;
    let proven = retained
        .iter()
        .map(|message| message.received_at().as_millis())
        .fold(proven, u64::max);
    let now = Timestamp::from_millis(saved.resume(wall).max(proven));
    let over = reading.take_over(now, &mut retained);
    Ok(Read {
        restored: Restored {
            now,
            sessions: reading.sessions,
            retained,
            next_session,
            next_message: last_message.max(reading.last_message).saturating_add(1),
        },
        time: SavedTime {
            time: now.as_millis(),
            // Not saved yet: the first commit does it.
            wall: 0,
        },
        arrivals: SharedArrivals::restored(reading.arrivals),
        over,
    })
}

const META: &str = "SELECT key, value, seal FROM meta";
const SESSIONS: &str = "SELECT id, client_id, mount_point, owner, endpoint, expiry_interval,
     expires_at, sent_through, window, will, seal FROM session ORDER BY id";
const SUBSCRIPTIONS: &str = "SELECT session, filter, options, identifier, seal FROM subscription
     ORDER BY session, filter";
const RECEIVED: &str = "SELECT session, packet_id, seal FROM received ORDER BY session, packet_id";
const DELIVERIES: &str = "SELECT session, number, message, flags, bytes, identifiers, seal
     FROM delivery ORDER BY session, number";
const ARRIVALS: &str = "SELECT place, session, number, message, flags, bytes, identifiers, seal
     FROM arrival ORDER BY place";
const RETAINED: &str =
    "SELECT topic, qos, received_at, expires_at, forwarded, payload, seal FROM retained";
const LAST_MESSAGE: &str =
    "SELECT id, refs, qos, received_at, expires_at, topic, forwarded, payload, seal
     FROM message ORDER BY id DESC LIMIT 1";

/// Sessions in the order of their numbers, and what was found of them so far.
#[derive(Default)]
struct Reading {
    sessions: Vec<RestoredSession>,
    /// Where the session of the last row stands. Rows of one session stand together.
    at: usize,
    /// Numbers of sessions that are not there and that something belongs to.
    strays: BTreeSet<u64>,
    last_message: u64,
    arrivals: BTreeMap<Key, i64>,
}

impl Reading {
    fn subscriptions(&mut self, connection: &Connection) -> Result<(), Unreadable> {
        self.at = 0;
        each(
            connection,
            "subscription",
            SUBSCRIPTIONS,
            rows::subscription,
            |(id, record)| {
                if let Some(session) = self.session(id) {
                    session.subscriptions.push(record);
                }
            },
        )
    }

    fn received(&mut self, connection: &Connection) -> Result<(), Unreadable> {
        self.at = 0;
        each(
            connection,
            "received",
            RECEIVED,
            rows::received,
            |(id, packet_id)| {
                if let Some(session) = self.session(id) {
                    session.received.push(packet_id);
                }
            },
        )
    }

    fn deliveries(&mut self, connection: &Connection) -> Result<(), Unreadable> {
        self.at = 0;
        each(
            connection,
            "delivery",
            DELIVERIES,
            rows::delivery,
            |delivery| {
                self.last_message = self.last_message.max(delivery.message.unwrap_or(0));
                self.count(&delivery);
            },
        )
    }

    fn arrivals(&mut self, connection: &Connection) -> Result<(), Unreadable> {
        each(
            connection,
            "arrival",
            ARRIVALS,
            rows::placed,
            |(place, delivery)| {
                self.at = 0;
                self.last_message = self.last_message.max(delivery.message.unwrap_or(0));
                let key = (delivery.session, delivery.number);
                self.arrivals.insert(key, place);
                self.count(&delivery);
            },
        )
    }

    fn count(&mut self, delivery: &DeliveryRow) {
        if let Some(session) = self.session(delivery.session) {
            session.add_delivery(delivery.number, delivery.bytes);
        }
    }

    /// The session with a number that is at least the last one asked for.
    fn session(&mut self, id: u64) -> Option<&mut RestoredSession> {
        let behind = self.sessions.get(self.at..)?;
        let step = match behind.first() {
            Some(session) if session.record.id.get() == id => 0,
            _ => behind.partition_point(|session| session.record.id.get() < id),
        };
        self.at += step;
        let found = self.sessions.get_mut(self.at);
        let found = found.filter(|session| session.record.id.get() == id);
        if found.is_none() {
            self.strays.insert(id);
        }
        found
    }

    /// Takes out what is over. A session with a will is not: the core has to publish that.
    fn take_over(&mut self, now: Timestamp, retained: &mut Vec<Message>) -> Batch {
        let is_past = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        let mut changes: Vec<Change> = Vec::new();
        let strays = std::mem::take(&mut self.strays);
        changes.extend(
            strays
                .into_iter()
                .map(|id| Change::SessionEnd(StoreId::new(id))),
        );
        self.sessions.retain(|session| {
            let is_over = session.record.will.is_none() && is_past(session.record.expires_at);
            if is_over {
                changes.push(Change::SessionEnd(session.record.id));
            }
            !is_over
        });
        retained.retain(|message| {
            let is_over = is_past(message.expires_at());
            if is_over {
                changes.push(Change::RetainedEnd(message.topic().into()));
            }
            !is_over
        });
        Batch {
            number: 0,
            taken_at: now,
            changes,
        }
    }
}

/// The greatest number of a message, and when that came.
fn last_message(connection: &Connection) -> Result<(u64, u64), Unreadable> {
    let mut last = (0, 0);
    each(
        connection,
        "message",
        LAST_MESSAGE,
        rows::message,
        |message| {
            last = (message.store_id(), message.received_at().as_millis());
        },
    )?;
    Ok(last)
}

/// Every row of a table; one that is damaged is an error.
pub(super) fn each<T>(
    connection: &Connection,
    table: &'static str,
    sql: &str,
    parse: fn(&dyn Columns) -> Option<T>,
    mut found: impl FnMut(T),
) -> Result<(), Unreadable> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        found(parse(row).ok_or(Unreadable::Row(table))?);
    }
    Ok(())
}
