//! The one connection that writes: whole batches, each in one transaction that is on the disk when it returns.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tracing::warn;

use super::arrivals::{ARRIVALS_MAX, SharedArrivals, Undo, sort_in};
use super::fault::{About, StoreError};
use super::put;
use super::rows::int;
use super::schema::{PAGE_BYTES, beside};
use super::time::{Clock, SavedTime};
use super::work::Work;
use crate::broker::{Batch, Timestamp};

/// Bytes that the write-ahead log has for each page beside the page.
const FRAME_BYTES: u64 = 24;

/// Writes what the core wants to have stored.
#[derive(Debug)]
pub struct Writer {
    connection: Connection,
    path: PathBuf,
    clock: Clock,
    time: SavedTime,
    /// Below it are all numbers of sessions that were ever given.
    next_session: u64,
    wal_bytes_max: u64,
    arrivals: SharedArrivals,
    /// Frames in the write-ahead log.
    wal_frames: u64,
    /// How many of them are in the database already.
    wal_frames_done: u64,
    statistics: WriterStatistics,
    identity: Option<(u64, u64)>,
}

/// What a writer has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriterStatistics {
    /// Batches that were stored.
    pub commits: u64,
    /// Batches that could not be stored.
    pub failures: u64,
    /// Rows that were inserted, changed or deleted.
    pub rows: u64,
    /// Bytes that were written to the write-ahead log and to the database.
    pub bytes: u64,
    /// Times that the write-ahead log was brought into the database.
    pub checkpoints: u64,
    /// Bytes of the database with what is in the write-ahead log.
    pub database_bytes: u64,
    /// Bytes of the write-ahead log that are not in the database yet.
    pub wal_bytes: u64,
}

impl Writer {
    pub(super) fn new(
        connection: Connection,
        path: &Path,
        clock: Clock,
        time: SavedTime,
        arrivals: SharedArrivals,
        next_session: u64,
        wal_bytes_max: u64,
    ) -> Self {
        Self {
            connection,
            path: path.to_owned(),
            identity: identity(path),
            clock,
            time,
            next_session,
            wal_bytes_max,
            arrivals,
            wal_frames: 0,
            wal_frames_done: 0,
            statistics: WriterStatistics::default(),
        }
    }

    /// Stores a whole batch, or nothing of it. When this returns without an error the batch outlives a power cut.
    pub fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let before = self.connection.total_changes();
        let mut undo = Undo::new();
        match self.try_commit(batch, &mut undo) {
            Ok(()) => {
                self.statistics.commits += 1;
                self.statistics.rows += self.connection.total_changes().saturating_sub(before);
                self.measure();
                // Housekeeping has been left out for long.
                if self.arrivals.lock().len() >= 2 * ARRIVALS_MAX
                    && let Err(fault) = self.sort_in()
                {
                    // The batch is stored all the same.
                    warn!(hint = fault.hint(), "{fault}");
                }
                Ok(())
            }
            Err(error) => {
                self.arrivals.lock().put_back(undo);
                self.statistics.failures += 1;
                Err(StoreError::sqlite(&self.path, "write to", &error))
            }
        }
    }

    fn try_commit(&mut self, batch: &Batch, undo: &mut Undo) -> rusqlite::Result<()> {
        let wall = self.clock.millis();
        let saved = self.time.at_commit(batch.taken_at, wall);
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        if let Some(saved) = saved {
            saved.write(&transaction)?;
        }
        let work = Work::new(&transaction, &self.arrivals, undo, self.next_session)?;
        let next_session = work.run(&batch.changes)?;
        if next_session != self.next_session {
            put::write_meta(&transaction, "next_session", int(next_session))?;
        }
        transaction.commit()?;
        self.next_session = next_session;
        if let Some(saved) = saved {
            self.time = saved;
        }
        Ok(())
    }

    /// Does something of another part of the gateway, whole or not at all. When this returns without an error, what it has
    /// written outlives a power cut.
    pub fn run<T>(
        &mut self,
        job: &mut dyn FnMut(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let before = self.connection.total_changes();
        let done = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .and_then(|transaction| {
                let done = job(&transaction)?;
                transaction.commit()?;
                Ok(done)
            })
            .about(&self.path, "write to");
        if done.is_err() {
            self.statistics.failures += 1;
            return done;
        }
        self.statistics.rows += self.connection.total_changes().saturating_sub(before);
        self.measure();
        done
    }

    /// Writes something, to see whether that is possible.
    pub fn probe(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let saved = self.time.now(now, self.clock.millis());
        self.connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .and_then(|transaction| {
                saved.write(&transaction)?;
                transaction.commit()
            })
            .about(&self.path, "write to")?;
        self.time = saved;
        self.measure();
        Ok(())
    }

    /// Whether the files are those that were opened, and as long as they have to be: what is written to a file that was
    /// removed or cut is lost.
    pub fn is_in_place(&mut self) -> bool {
        if identity(&self.path) != self.identity {
            return false;
        }
        if !self.has_log() {
            // Somebody else may have brought the log into the database and made it short.
            self.measure();
        }
        self.has_log()
    }

    /// Whether the write-ahead log is as long as what is in it.
    fn has_log(&self) -> bool {
        let log = beside(&self.path, "-wal");
        let bytes = self.wal_frames * (PAGE_BYTES + FRAME_BYTES);
        self.wal_frames == 0 || log.metadata().is_ok_and(|log| log.len() >= bytes)
    }

    /// Brings the write-ahead log into the database if it has become long, or if there is nothing else to do. To be called
    /// after each commit whose answers are out, and when idle.
    pub fn housekeeping(&mut self, is_idle: bool) -> Result<(), StoreError> {
        if self.arrivals.lock().len() >= ARRIVALS_MAX {
            self.sort_in()?;
        }
        let pending = self.wal_frames.saturating_sub(self.wal_frames_done) * PAGE_BYTES;
        let is_long = self.wal_frames * (PAGE_BYTES + FRAME_BYTES) > self.wal_bytes_max;
        // While idle a short log stays: each page that changes again before it is long is written once less.
        if pending == 0 || !(is_long || is_idle && pending > self.wal_bytes_max / 4) {
            return Ok(());
        }
        self.checkpoint()
    }

    /// Sorts deliveries by session that have stayed.
    pub(super) fn sort_in(&mut self) -> Result<(), StoreError> {
        sort_in(&mut self.connection, &self.arrivals).about(&self.path, "write to")?;
        self.measure();
        Ok(())
    }

    /// Brings the write-ahead log into the database, as far as nobody reads an older state of it.
    pub fn checkpoint(&mut self) -> Result<(), StoreError> {
        let before = self.wal_frames_done;
        let (frames, done) = self
            .run_checkpoint("PASSIVE")
            .about(&self.path, "write to")?;
        self.statistics.checkpoints += 1;
        self.count_checkpoint(before, frames, done);
        Ok(())
    }

    /// Notes the time, brings everything into the database and shortens the write-ahead log, for a stop in good order.
    pub fn close(mut self, now: Timestamp) -> Result<WriterStatistics, StoreError> {
        let saved = self.time.now(now, self.clock.millis());
        self.connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .and_then(|transaction| {
                saved.write(&transaction)?;
                transaction.commit()
            })
            .about(&self.path, "write to")?;
        self.measure();
        let before = self.wal_frames_done;
        let pending = self.wal_frames;
        self.run_checkpoint("TRUNCATE")
            .about(&self.path, "write to")?;
        self.count_checkpoint(before, pending, pending);
        let statistics = self.statistics;
        let path = self.path;
        self.connection
            .close()
            .map_err(|(_, error)| StoreError::sqlite(&path, "close", &error))?;
        Ok(statistics)
    }

    /// What was done so far.
    #[must_use]
    pub fn statistics(&self) -> WriterStatistics {
        self.statistics
    }

    pub(super) fn arrivals(&self) -> &SharedArrivals {
        &self.arrivals
    }

    /// Bytes inside of the database that are free for what comes.
    #[must_use]
    pub fn unused_bytes(&self) -> u64 {
        let pages = self
            .connection
            .pragma_query_value(None, "freelist_count", |row| row.get::<_, i64>(0));
        pages.map_or(0, |pages| pages.max(0).cast_unsigned() * PAGE_BYTES)
    }

    /// The database file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Frames in the write-ahead log, and how many of them are in the database.
    fn run_checkpoint(&self, mode: &str) -> rusqlite::Result<(u64, u64)> {
        let sql = match mode {
            "PASSIVE" => "PRAGMA wal_checkpoint(PASSIVE)",
            "TRUNCATE" => "PRAGMA wal_checkpoint(TRUNCATE)",
            _ => "PRAGMA wal_checkpoint(NOOP)",
        };
        let mut statement = self.connection.prepare_cached(sql)?;
        statement.query_row([], |row| {
            let count = |index| {
                row.get(index)
                    .map(|count: i64| count.max(0).cast_unsigned())
            };
            Ok((count(1)?, count(2)?))
        })
    }

    /// Counts what the last commit has written.
    fn measure(&mut self) {
        let Ok((frames, done)) = self.run_checkpoint("NOOP") else {
            return;
        };
        // A log that was wholly in the database begins anew with the next commit.
        let added = if frames >= self.wal_frames && done >= self.wal_frames_done {
            frames - self.wal_frames
        } else {
            frames
        };
        self.statistics.bytes += added * (PAGE_BYTES + FRAME_BYTES);
        self.wal_frames = frames;
        self.wal_frames_done = done;
        self.statistics.wal_bytes = frames.saturating_sub(done) * PAGE_BYTES;
        let pages = self
            .connection
            .pragma_query_value(None, "page_count", |row| row.get::<_, i64>(0));
        if let Ok(pages) = pages {
            self.statistics.database_bytes = pages.max(0).cast_unsigned() * PAGE_BYTES;
        }
    }

    /// A page that is in the log several times is written once; counted is the most that it can be.
    fn count_checkpoint(&mut self, before: u64, frames: u64, done: u64) {
        let pages = done.saturating_sub(before) * PAGE_BYTES;
        self.statistics.bytes += pages.min(self.statistics.database_bytes);
        self.wal_frames = frames;
        self.wal_frames_done = done;
        self.statistics.wal_bytes = frames.saturating_sub(done) * PAGE_BYTES;
    }
}

/// Which file it is, whatever its name.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = path.metadata().ok()?;
    Some((metadata.dev(), metadata.ino()))
}
