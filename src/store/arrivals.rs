//! Deliveries in the order in which they came.
//!
//! Deliveries are read by session, so they have to stand by session. Written there one by one, each would cost a page of its
//! session. So new ones are appended to the table `arrival` first, where many share a page and most of them end, and what
//! is left is sorted into the table `delivery` when there are many. Where each of them stands is kept in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, TransactionBehavior};

/// Arrivals from which on they are sorted in: about 3 MiB of memory.
pub(super) const ARRIVALS_MAX: usize = 65_536;

/// A session, and the number of one of its deliveries.
pub(super) type Key = (u64, u64);

/// Where the rows of the table `arrival` stand.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    places: BTreeMap<Key, i64>,
    last: i64,
}

/// What has to be put back if a batch fails, in the order in which it was changed.
pub(super) type Undo = Vec<(Key, Option<i64>)>;

impl Arrivals {
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn get(&self, key: Key) -> Option<i64> {
        self.places.get(&key).copied()
    }

    /// Gives a new delivery a place, unless it has one.
    pub(super) fn add(&mut self, key: Key, undo: &mut Undo) -> Option<i64> {
        if self.places.contains_key(&key) {
            return None;
        }
        self.last += 1;
        self.places.insert(key, self.last);
        undo.push((key, None));
        Some(self.last)
    }

    pub(super) fn remove(&mut self, key: Key, undo: &mut Undo) -> Option<i64> {
        let place = self.places.remove(&key)?;
        undo.push((key, Some(place)));
        Some(place)
    }

    /// Numbers and places of a session's deliveries behind a number.
    pub(super) fn of(&self, session: u64, after: u64) -> impl Iterator<Item = (u64, i64)> + '_ {
        let behind = (session, after.saturating_add(1))..=(session, u64::MAX);
        self.places
            .range(behind)
            .map(|((_, number), place)| (*number, *place))
    }

    pub(super) fn put_back(&mut self, undo: Undo) {
        for (key, place) in undo.into_iter().rev() {
            match place {
                Some(place) => self.places.insert(key, place),
                None => self.places.remove(&key),
            };
        }
    }
}

/// The same for the writer and all readers. A reader holds the lock while it begins to read, so that it sees a delivery in
/// one of the two tables.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedArrivals(Arc<Mutex<Arrivals>>);

impl SharedArrivals {
    /// Arrivals that an earlier run has left.
    pub(super) fn restored(places: BTreeMap<Key, i64>) -> Self {
        let last = places.values().copied().max().unwrap_or(0);
        Self(Arc::new(Mutex::new(Arrivals { places, last })))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Arrivals> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sorts all arrivals in.
pub(super) fn sort_in(
    connection: &mut Connection,
    arrivals: &SharedArrivals,
) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute(
        "INSERT INTO delivery (session, number, message, flags, bytes, identifiers, seal)
         SELECT session, number, message, flags, bytes, identifiers, seal FROM arrival
         WHERE true ORDER BY session, number ON CONFLICT DO NOTHING",
        [],
    )?;
    transaction.execute("DELETE FROM arrival", [])?;
    let mut arrivals = arrivals.lock();
    transaction.commit()?;
    arrivals.places.clear();
    Ok(())
}
