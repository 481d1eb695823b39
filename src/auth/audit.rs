//! Who did what: logins, failures, bans, changes of users and rules. Each event is a line of the journal and a row of a
//! bounded table in the database.
//!
//! [`Audit::note`] never waits: it writes to the journal and to memory, and [`Audit::run`] brings what is in memory into the
//! database, many rows at a time. What comes too often from one place is summarised, so that an attack fills neither the
//! journal nor the flash.

mod event;
mod summary;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::{info, warn};

pub use event::{AuditEvent, AuditKind};

use crate::clock;
use crate::config::ProtectionSettings;
use crate::store::{AuditFilter, AuditRecord, Jobs, StoreError, audit};
use summary::{Summaries, Turn};

/// Events that wait for the database; more are dropped and counted.
const PENDING_MAX: usize = 4096;

/// Rows that are written in one transaction, so that no other work of the database waits for long.
const ROWS_PER_JOB_MAX: usize = 512;

/// How long rows are gathered that nobody is in a hurry for.
const GATHER_TIME: Duration = Duration::from_secs(5);

/// How long rows of changes are gathered: a burst of them is written together.
const HURRY_TIME: Duration = Duration::from_millis(200);

/// Pause after the database has refused rows.
const RETRY_TIME: Duration = Duration::from_secs(30);

/// Takes events, writes them to the journal and to the bounded table of the database.
#[derive(Debug)]
pub struct Audit {
    state: Mutex<State>,
    /// Something came that is not to wait for the others.
    hurry: Notify,
    rows_max: AtomicU32,
}

struct State {
    jobs: Option<Jobs>,
    pending: VecDeque<AuditRecord>,
    /// Events that found no place.
    dropped: u64,
    summaries: Summaries,
    statistics: AuditStatistics,
}

/// What the audit log has done since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditStatistics {
    /// Events that were noted.
    pub events: u64,
    /// Events that were counted in a summary and have no line of their own.
    pub summarised: u64,
    /// Rows that are in the database.
    pub rows: u64,
    /// Events that have no row because the database was behind.
    pub dropped: u64,
}

impl Default for Audit {
    fn default() -> Self {
        let rows_max = ProtectionSettings::default().audit_rows_max;
        Self {
            state: Mutex::new(State {
                jobs: None,
                pending: VecDeque::new(),
                dropped: 0,
                summaries: Summaries::default(),
                statistics: AuditStatistics::default(),
            }),
            hurry: Notify::new(),
            rows_max: AtomicU32::new(rows_max),
        }
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("pending", &self.pending.len())
            .finish_non_exhaustive()
    }
}

impl Audit {
    /// Has rows written to a database from here on. Without one the events are in the journal alone.
    pub fn attach(&self, jobs: Jobs) {
        self.lock().jobs = Some(jobs);
    }

    /// Goes on with other settings.
    pub fn set(&self, settings: &ProtectionSettings) {
        self.rows_max
            .store(settings.audit_rows_max, Ordering::Relaxed);
    }

    /// Notes an event that happens now.
    pub fn note(&self, event: AuditEvent) {
        self.note_at(event, clock::wall_seconds(), clock::now());
    }

    fn note_at(&self, event: AuditEvent, wall: u64, now: Instant) {
        let mut lines;
        {
            let mut state = self.lock();
            state.statistics.events += 1;
            lines = state.summaries.poll(now);
            state.push_all(&lines, wall);
            match state.summaries.turn(&event, now) {
                Turn::Own => {
                    state.push(event.to_record(wall));
                    lines.push(event);
                }
                Turn::Summarised => state.statistics.summarised += 1,
            }
        }
        if lines.iter().any(|event| event.kind.is_urgent()) {
            self.hurry.notify_one();
        }
        lines.iter().for_each(log);
    }

    /// Brings events into the database until it is dropped. Logins are gathered for a few seconds, changes for a moment.
    pub async fn run(&self) {
        loop {
            tokio::select! {
                () = sleep(GATHER_TIME) => {}
                () = self.hurry.notified() => sleep(HURRY_TIME).await,
            }
            self.end_summaries(clock::wall_seconds(), clock::now());
            if let Err(fault) = self.write_pending().await {
                warn!(
                    hint = fault.hint(),
                    "the audit log cannot be written, its events are in the journal alone: {fault}"
                );
                sleep(RETRY_TIME).await;
            }
        }
    }

    /// Brings everything into the database that was noted so far, with the counts of the minute that is not over yet: for a
    /// stop.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let summaries = {
            let mut state = self.lock();
            let summaries = state.summaries.finish();
            state.push_all(&summaries, clock::wall_seconds());
            summaries
        };
        summaries.iter().for_each(log);
        self.write_pending().await
    }

    /// Events of the log, the newest first, those that were just noted included.
    pub async fn read(&self, filter: AuditFilter) -> Result<Vec<AuditRecord>, StoreError> {
        self.write_pending().await?;
        let jobs = self.lock().jobs.clone();
        match jobs {
            Some(jobs) => {
                jobs.run_async(move |transaction| audit::read(transaction, &filter))
                    .await
            }
            None => Ok(Vec::new()),
        }
    }

    /// What was done so far.
    #[must_use]
    pub fn statistics(&self) -> AuditStatistics {
        self.lock().statistics
    }

    fn end_summaries(&self, wall: u64, now: Instant) {
        let summaries = {
            let mut state = self.lock();
            let summaries = state.summaries.poll(now);
            state.push_all(&summaries, wall);
            summaries
        };
        summaries.iter().for_each(log);
    }

    async fn write_pending(&self) -> Result<(), StoreError> {
        loop {
            let (jobs, records) = {
                let mut state = self.lock();
                let Some(jobs) = state.jobs.clone() else {
                    state.pending.clear();
                    return Ok(());
                };
                (jobs, state.take())
            };
            if records.is_empty() {
                return Ok(());
            }
            let rows_max = self.rows_max.load(Ordering::Relaxed);
            let count = records.len() as u64;
            let rows = records.clone();
            let written = jobs
                .run_async(move |transaction| audit::append(transaction, &rows, rows_max))
                .await;
            let mut state = self.lock();
            match written {
                Ok(()) => state.statistics.rows += count,
                Err(fault) => {
                    state.put_back(records);
                    return Err(fault);
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn push_all(&mut self, events: &[AuditEvent], wall: u64) {
        for event in events {
            self.push(event.to_record(wall));
        }
    }

    fn push(&mut self, record: AuditRecord) {
        if self.pending.len() >= PENDING_MAX {
            self.pending.pop_front();
            self.count_dropped(1);
        }
        self.pending.push_back(record);
    }

    fn count_dropped(&mut self, count: u64) {
        self.dropped += count;
        self.statistics.dropped += count;
    }

    /// The oldest records, and one that says how many before them are missing.
    fn take(&mut self) -> Vec<AuditRecord> {
        let count = self.pending.len().min(ROWS_PER_JOB_MAX);
        let mut records: Vec<AuditRecord> = Vec::with_capacity(count + 1);
        if self.dropped > 0 {
            let dropped = std::mem::take(&mut self.dropped);
            let at = self.pending.front().map_or(0, |record| record.at);
            records.push(AuditRecord {
                at,
                kind: AuditKind::Lost.as_str().into(),
                detail: format!("{dropped} events are in the journal alone").into(),
                ..AuditRecord::default()
            });
        }
        records.extend(self.pending.drain(..count));
        records
    }

    /// Records that were not written wait again, as far as there is room.
    fn put_back(&mut self, records: Vec<AuditRecord>) {
        for record in records.into_iter().rev() {
            if self.pending.len() >= PENDING_MAX {
                self.count_dropped(1);
            } else {
                self.pending.push_front(record);
            }
        }
    }
}

/// One line of the journal for one event.
fn log(event: &AuditEvent) {
    let AuditEvent {
        kind,
        actor,
        subject,
        port,
        peer,
        client_id,
        detail,
    } = event;
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let peer = peer.map(tracing::field::display);
    info!(
        audit = kind.as_str(),
        actor = some(actor),
        subject = some(subject),
        port = some(port),
        peer,
        client_id = some(client_id),
        detail = some(detail),
        "{}",
        kind.sentence()
    );
}
