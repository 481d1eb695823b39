//! Reading what waits for a session, beside the writer.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, params};

use super::arrivals::SharedArrivals;
use super::fault::{About, StoreError};
use super::rows::{self, Columns, int};
use super::schema;
use crate::broker::{LoadRequest, LoadedDelivery, StoreId};

/// Opens readers of one database. Cheap to keep and to clone.
#[derive(Clone, Debug)]
pub struct Readers {
    path: PathBuf,
    arrivals: SharedArrivals,
}

impl Readers {
    pub(super) fn new(path: &Path, arrivals: &SharedArrivals) -> Self {
        Self {
            path: path.to_owned(),
            arrivals: arrivals.clone(),
        }
    }

    /// Opens one more reader; each belongs to one thread at a time.
    pub fn open(&self) -> Result<Reader, StoreError> {
        Ok(Reader {
            connection: schema::open_reading(&self.path)?,
            path: self.path.clone(),
            arrivals: self.arrivals.clone(),
            unreadable: Vec::new(),
            statistics: ReaderStatistics::default(),
        })
    }
}

/// Reads what was committed.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
    path: PathBuf,
    arrivals: SharedArrivals,
    unreadable: Vec<(StoreId, u64)>,
    statistics: ReaderStatistics,
}

/// What a reader has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReaderStatistics {
    /// Deliveries that were read.
    pub deliveries: u64,
    /// Bytes of their messages.
    pub bytes: u64,
    /// Deliveries that could not be read, because they or their messages are damaged.
    pub unreadable: u64,
}

const SORTED: &str =
    "SELECT d.session, d.number, d.message, d.flags, d.bytes, d.identifiers, d.seal,
     m.id, m.refs, m.qos, m.received_at, m.expires_at, m.topic, m.forwarded, m.payload, m.seal
     FROM delivery d LEFT JOIN message m ON m.id = d.message
     WHERE d.session = ?1 AND d.number > ?2 ORDER BY d.number";

const ARRIVED: &str =
    "SELECT d.session, d.number, d.message, d.flags, d.bytes, d.identifiers, d.seal,
     m.id, m.refs, m.qos, m.received_at, m.expires_at, m.topic, m.forwarded, m.payload, m.seal
     FROM arrival d LEFT JOIN message m ON m.id = d.message
     WHERE d.place = ?1 AND d.session = ?2 AND d.number = ?3";

/// The first column of the message in a row of [`SORTED`] and [`ARRIVED`].
const MESSAGE: usize = 7;

impl Reader {
    /// Reads a part of what waits for a session, in order. Less than was asked for, by number and by bytes, means that there
    /// is no more. What cannot be read is left out, see [`Reader::take_unreadable`].
    pub fn load(&mut self, request: &LoadRequest) -> Result<Vec<LoadedDelivery>, StoreError> {
        let mut page = Page::new(request);
        read(&self.connection, &self.arrivals, &mut page).about(&self.path, "read")?;
        self.statistics.deliveries += page.found.len() as u64;
        self.statistics.bytes += page.bytes;
        self.statistics.unreadable += page.unreadable.len() as u64;
        self.unreadable.append(&mut page.unreadable);
        Ok(page.found)
    }

    /// Deliveries that could not be read since the last call. They stay in the store until they are ended.
    pub fn take_unreadable(&mut self) -> Vec<(StoreId, u64)> {
        std::mem::take(&mut self.unreadable)
    }

    /// What was done so far.
    #[must_use]
    pub fn statistics(&self) -> ReaderStatistics {
        self.statistics
    }
}

/// What is read at one time.
struct Page<'a> {
    request: &'a LoadRequest,
    found: Vec<LoadedDelivery>,
    bytes: u64,
    unreadable: Vec<(StoreId, u64)>,
}

impl<'a> Page<'a> {
    fn new(request: &'a LoadRequest) -> Self {
        Self {
            request,
            found: Vec::new(),
            bytes: 0,
            unreadable: Vec::new(),
        }
    }

    fn most(&self) -> usize {
        usize::try_from(self.request.deliveries_max).unwrap_or(usize::MAX)
    }

    fn is_full(&self) -> bool {
        let is_large = !self.found.is_empty() && self.bytes >= self.request.bytes_max;
        is_large || self.found.len() >= self.most()
    }

    fn add(&mut self, row: &rusqlite::Row<'_>) {
        if let Some(delivery) = delivery(row) {
            self.bytes = self.bytes.saturating_add(delivery.bytes);
            self.found.push(delivery);
        } else {
            let number = row.number(1).unwrap_or(0);
            self.unreadable.push((self.request.session, number));
        }
    }
}

fn read(
    connection: &Connection,
    arrivals: &SharedArrivals,
    page: &mut Page<'_>,
) -> rusqlite::Result<()> {
    let session = page.request.session.get();
    let reading = connection.unchecked_transaction()?;
    let arrived: Vec<(u64, i64)> = {
        let arrivals = arrivals.lock();
        // From the first statement on, all of them see the same state of the database.
        let mut begin = reading.prepare_cached("SELECT count(*) FROM meta")?;
        begin.query_row([], |_| Ok(()))?;
        let of_session = arrivals.of(session, page.request.after);
        of_session.take(page.most()).collect()
    };
    let mut arrived = arrived.into_iter().peekable();
    let mut lookup = reading.prepare_cached(ARRIVED)?;
    let mut add_arrived = |page: &mut Page<'_>, number: u64, place: i64| -> rusqlite::Result<()> {
        let mut rows = lookup.query(params![place, int(session), int(number)])?;
        // One that is not there is about to be stored, or has just ended.
        if let Some(row) = rows.next()? {
            page.add(row);
        }
        Ok(())
    };
    let mut statement = reading.prepare_cached(SORTED)?;
    let mut rows = statement.query(params![int(session), int(page.request.after)])?;
    while !page.is_full() {
        let Some(row) = rows.next()? else {
            break;
        };
        let next = row.number(1).unwrap_or(0);
        while !page.is_full()
            && let Some((number, place)) = arrived.next_if(|(number, _)| *number < next)
        {
            add_arrived(page, number, place)?;
        }
        if !page.is_full() {
            page.add(row);
        }
    }
    for (number, place) in arrived {
        if page.is_full() {
            break;
        }
        add_arrived(page, number, place)?;
    }
    Ok(())
}

fn delivery(row: &rusqlite::Row<'_>) -> Option<LoadedDelivery> {
    let delivery = rows::delivery(row)?;
    let message = match delivery.message {
        None => None,
        Some(_) => Some(rows::message(&rows::Part(row, MESSAGE))?),
    };
    Some(LoadedDelivery {
        number: delivery.number,
        message,
        qos: delivery.qos,
        retain: delivery.retain,
        identifiers: delivery.identifiers,
        bytes: delivery.bytes,
    })
}
