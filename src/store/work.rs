//! One batch on its way into the database.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard};

use rusqlite::{CachedStatement, OptionalExtension, Transaction, params};

use super::arrivals::{Arrivals, SharedArrivals, Undo};
use super::put;
use super::rows::{self, DeliveryRow, int};
use crate::broker::{Change, DeliveryRecord, Message, SessionRecord, StoreId, SubscriptionRecord};
use crate::mqtt::PacketId;

/// What a batch does to one message.
#[derive(Default)]
struct Need<'a> {
    /// Deliveries of the batch that need it, less those that need it no more.
    refs: i64,
    /// The message, if the batch has it.
    message: Option<&'a Arc<Message>>,
}

/// A batch on its way into the database.
pub(super) struct Work<'a, 'c> {
    connection: &'c Transaction<'c>,
    insert_arrival: CachedStatement<'c>,
    delete_arrival: CachedStatement<'c>,
    arrivals: MutexGuard<'c, Arrivals>,
    undo: &'c mut Undo,
    /// In the order of their numbers, so that messages are appended.
    needs: BTreeMap<u64, Need<'a>>,
    /// The last word of the batch about each topic.
    retained: BTreeMap<&'a str, Option<&'a Arc<Message>>>,
    next_session: u64,
}

/// Numbers of sessions that are reserved with one write.
const SESSIONS_RESERVED: u64 = 1000;

/// The statements for one table of deliveries. Their first two parameters are the key: the session or the place, and the
/// number.
struct Table {
    delete: &'static str,
    select: &'static str,
    release: &'static str,
}

const SORTED: Table = Table {
    delete: "DELETE FROM delivery WHERE session = ?1 AND number = ?2 RETURNING message",
    select: "SELECT session, number, message, flags, bytes, identifiers, seal FROM delivery
         WHERE session = ?1 AND number = ?2",
    release:
        "UPDATE delivery SET message = NULL, flags = ?3, bytes = ?4, identifiers = ?5, seal = ?6
         WHERE session = ?1 AND number = ?2",
};

const ARRIVED: Table = Table {
    delete: "DELETE FROM arrival WHERE place = ?1 AND number = ?2 RETURNING message",
    select: "SELECT session, number, message, flags, bytes, identifiers, seal FROM arrival
         WHERE place = ?1 AND number = ?2",
    release:
        "UPDATE arrival SET message = NULL, flags = ?3, bytes = ?4, identifiers = ?5, seal = ?6
         WHERE place = ?1 AND number = ?2",
};

impl<'a, 'c> Work<'a, 'c> {
    pub(super) fn new(
        connection: &'c Transaction<'c>,
        arrivals: &'c SharedArrivals,
        undo: &'c mut Undo,
        next_session: u64,
    ) -> rusqlite::Result<Self> {
        Ok(Self {
            connection,
            insert_arrival: connection.prepare_cached(put::INSERT_ARRIVAL)?,
            delete_arrival: connection.prepare_cached(ARRIVED.delete)?,
            arrivals: arrivals.lock(),
            undo,
            needs: BTreeMap::new(),
            retained: BTreeMap::new(),
            next_session,
        })
    }

    /// Writes all changes, and returns the number from which on no number of a session was given.
    pub(super) fn run(mut self, changes: &'a [Change]) -> rusqlite::Result<u64> {
        for change in changes {
            self.apply(change)?;
        }
        self.finish()
    }

    fn apply(&mut self, change: &'a Change) -> rusqlite::Result<()> {
        match change {
            Change::Withdrawn => Ok(()),
            Change::Session(record) => self.put_session(record),
            Change::SessionEnd(id) => self.end_session(*id),
            Change::Subscription(id, record) => self.put_subscription(*id, record),
            Change::SubscriptionEnd(id, filter) => self.execute(
                "DELETE FROM subscription WHERE session = ?1 AND filter = ?2",
                params![int(id.get()), filter],
            ),
            Change::Delivery(record) => self.put_delivery(record),
            Change::DeliveryReleased(id, number) => self.release_delivery(*id, *number),
            Change::DeliveryEnd(id, number) => self.end_delivery(*id, *number),
            Change::OldestDropped(id, after) => self.drop_oldest(*id, *after),
            Change::Received(id, packet_id) => self.put_received(*id, *packet_id),
            Change::ReceivedEnd(id, packet_id) => self.execute(
                "DELETE FROM received WHERE session = ?1 AND packet_id = ?2",
                params![int(id.get()), packet_id.value()],
            ),
            Change::Retained(message) => {
                self.retained.insert(message.topic(), Some(message));
                Ok(())
            }
            Change::RetainedEnd(topic) => {
                self.retained.insert(topic, None);
                Ok(())
            }
        }
    }

    /// Writes what was gathered.
    fn finish(self) -> rusqlite::Result<u64> {
        for (topic, message) in &self.retained {
            match message {
                None => self.execute("DELETE FROM retained WHERE topic = ?1", [topic])?,
                Some(message) => self.put_retained(message)?,
            }
        }
        for (id, need) in &self.needs {
            match need.refs {
                0 => {}
                refs if refs < 0 => put::lessen(self.connection, *id, -refs)?,
                refs => {
                    if let Some(message) = need.message {
                        put::put_message(self.connection, *id, refs, message)?;
                    }
                }
            }
        }
        Ok(self.next_session)
    }

    fn execute(&self, sql: &str, params: impl rusqlite::Params) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.execute(params)?;
        Ok(())
    }

    fn put_session(&mut self, record: &SessionRecord) -> rusqlite::Result<()> {
        if record.id.get() >= self.next_session {
            self.next_session = record.id.get().saturating_add(SESSIONS_RESERVED);
        }
        put::put_session(self.connection, record)
    }

    fn end_session(&mut self, id: StoreId) -> rusqlite::Result<()> {
        let key = [int(id.get())];
        let arrived: Vec<u64> = self
            .arrivals
            .of(id.get(), 0)
            .map(|(number, _)| number)
            .collect();
        for number in arrived {
            self.end_delivery(id, number)?;
        }
        let mut ended: Vec<Option<i64>> = Vec::new();
        {
            let sql = "DELETE FROM delivery WHERE session = ?1 RETURNING message";
            let mut statement = self.connection.prepare_cached(sql)?;
            let mut rows = statement.query(key)?;
            while let Some(row) = rows.next()? {
                ended.push(row.get(0)?);
            }
        }
        for message in ended {
            self.need_less(Some(message));
        }
        self.execute("DELETE FROM subscription WHERE session = ?1", key)?;
        self.execute("DELETE FROM received WHERE session = ?1", key)?;
        self.execute("DELETE FROM session WHERE id = ?1", key)
    }

    fn put_subscription(&self, id: StoreId, record: &SubscriptionRecord) -> rusqlite::Result<()> {
        put::put_subscription(self.connection, id.get(), record)
    }

    fn end_delivery(&mut self, id: StoreId, number: u64) -> rusqlite::Result<()> {
        let place = self.arrivals.remove((id.get(), number), self.undo);
        let ended = match place {
            Some(place) => {
                let key = params![place, int(number)];
                self.delete_arrival.query_row(key, first).optional()?
            }
            None => {
                let key = params![int(id.get()), int(number)];
                let mut statement = self.connection.prepare_cached(SORTED.delete)?;
                statement.query_row(key, first).optional()?
            }
        };
        self.need_less(ended);
        Ok(())
    }

    fn drop_oldest(&mut self, id: StoreId, after: u64) -> rusqlite::Result<()> {
        let sql = "SELECT min(number) FROM delivery WHERE session = ?1 AND number > ?2";
        let sorted: Option<i64> = self
            .connection
            .prepare_cached(sql)?
            .query_row(params![int(id.get()), int(after)], first)?;
        let sorted = sorted.and_then(|number| u64::try_from(number).ok());
        let arrived = self
            .arrivals
            .of(id.get(), after)
            .next()
            .map(|(number, _)| number);
        match sorted.into_iter().chain(arrived).min() {
            Some(oldest) => self.end_delivery(id, oldest),
            None => Ok(()),
        }
    }

    fn put_delivery(&mut self, record: &'a DeliveryRecord) -> rusqlite::Result<()> {
        let key = (record.session.get(), record.number);
        let Some(place) = self.arrivals.add(key, self.undo) else {
            return Ok(());
        };
        let row = DeliveryRow {
            session: record.session.get(),
            number: record.number,
            message: Some(record.message.store_id()),
            qos: record.qos,
            retain: record.retain,
            bytes: record.bytes(),
            identifiers: record.identifiers.clone(),
        };
        put::insert_arrival(&mut self.insert_arrival, place, &row)?;
        let need = self.needs.entry(record.message.store_id()).or_default();
        need.refs += 1;
        need.message = Some(&record.message);
        Ok(())
    }

    fn release_delivery(&mut self, id: StoreId, number: u64) -> rusqlite::Result<()> {
        let (table, first) = match self.arrivals.get((id.get(), number)) {
            Some(place) => (ARRIVED, place),
            None => (SORTED, int(id.get())),
        };
        let mut statement = self.connection.prepare_cached(table.select)?;
        let known = statement
            .query_row(params![first, int(number)], |row| {
                Ok((rows::delivery(row), row.get(2)?))
            })
            .optional()?;
        let Some((row, message)) = known else {
            return Ok(());
        };
        // A damaged row becomes a whole one: all that is left to say is in the key.
        let mut row = row.unwrap_or_else(|| DeliveryRow::released(id.get(), number));
        row.message = None;
        row.identifiers = Box::default();
        let values = params![
            first,
            int(number),
            row.flags(),
            int(row.bytes),
            row.identifiers_blob(),
            row.seal(),
        ];
        self.execute(table.release, values)?;
        self.need_less(Some(message));
        Ok(())
    }

    fn put_received(&self, id: StoreId, packet_id: PacketId) -> rusqlite::Result<()> {
        put::put_received(self.connection, id.get(), packet_id)
    }

    fn put_retained(&self, message: &Message) -> rusqlite::Result<()> {
        put::put_retained(self.connection, message)
    }

    /// A delivery is gone, with the message that it named.
    fn need_less(&mut self, ended: Option<Option<i64>>) {
        if let Some(id) = ended.flatten().and_then(|id| u64::try_from(id).ok()) {
            self.needs.entry(id).or_default().refs -= 1;
        }
    }
}

fn first(row: &rusqlite::Row<'_>) -> rusqlite::Result<Option<i64>> {
    row.get(0)
}
