//! The threads of the store: one writes what the core wants to have stored, one reads what clients wait for.
//!
//! While a batch is being stored the next one fills, so that under load one sync of the disk serves many clients. The
//! writer also tells the core what the store can take: nothing more for clients that are away when space is short, nothing
//! at all while a commit fails.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tracing::{debug, error, info, warn};

use crate::admin::{StoreReport, StoreState};
use crate::broker::{Batch, SessionId, StoreCondition, Timestamp};
use crate::clock;
use crate::config::StoreSettings;
use crate::net::{Hub, StoreLink};
use crate::store::{
    CertificateRecord, Job, JobQueue, Jobs, Level, Opened, Reader, Space, Store, StoreError,
    UserRecord, Writer,
};

/// Longest time that the writer waits for more to store together, while more keeps coming.
const GATHER_MAX: Duration = Duration::from_millis(5);

/// Nothing new within this time means that everybody waits for the commit.
const GATHER_STEP: Duration = Duration::from_micros(200);

/// Changes that are worth a commit of their own: with so many the pages of the database are well filled.
const GATHER_CHANGES: usize = 1000;

/// Changes below which waiting for more costs time and saves nothing.
const GATHER_CHANGES_MIN: usize = 16;

/// Time between two looks at the volume while nothing is stored, and at least while something is.
const SPACE_INTERVAL: Duration = Duration::from_secs(5);
const SPACE_INTERVAL_MIN: Duration = Duration::from_millis(100);

/// Changes that are stored together while commits fail: little enough for the room that the reserve leaves.
const RETRY_CHANGES: usize = 256;

/// Jobs of other parts that are done before the next batch gets its turn.
const JOBS_PER_ROUND: usize = 16;

/// First and longest time before a commit that failed is tried again.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Characters of what is said about a damaged database.
const DAMAGE_LEN_MAX: usize = 600;

/// Time before messages that could not be read are read again.
const READ_RETRY: Duration = Duration::from_secs(1);

/// The store of a gateway, or what is wrong with it.
#[derive(Debug)]
pub(crate) struct Storing {
    shared: Arc<Shared>,
    threads: Mutex<Option<Threads>>,
}

#[derive(Debug)]
struct Threads {
    writer: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    settings: Mutex<StoreSettings>,
    report: Mutex<StoreReport>,
    stopping: AtomicBool,
    /// The database is damaged and the process has to begin anew.
    broken: Notify,
}

/// What was found when the store was opened.
#[derive(Debug)]
pub(crate) struct Found {
    opened: Option<(Opened, Reader, Space)>,
    report: StoreReport,
    jobs: Jobs,
    /// None where there is no store that could do anything.
    queue: Option<JobQueue>,
}

impl Found {
    /// Opens the store of a state folder. Whatever is wrong with it, the gateway starts.
    pub(crate) fn open(state_dir: &Path, settings: &StoreSettings) -> Self {
        let mut report = StoreReport {
            path: state_dir.to_owned(),
            ..StoreReport::default()
        };
        let (jobs, queue) = Jobs::queue(state_dir);
        let opened = Store::open(state_dir, settings, Arc::new(clock::wall))
            .and_then(|opened| opened.readers.open().map(|reader| (opened, reader)));
        let (opened, reader) = match opened {
            Ok(opened) => opened,
            Err(fault) => {
                error!(
                    hint = fault.hint(),
                    "{fault}; nothing is stored: messages for clients that are away are refused"
                );
                report.state = StoreState::Missing;
                report.detail = Some(format!("{fault}; {}", fault.hint()));
                return Self {
                    opened: None,
                    report,
                    jobs,
                    queue: None,
                };
            }
        };
        report.path = opened.writer.path().to_owned();
        report.state = StoreState::Ready;
        if let Some(complaint) = opened.condition.complaint() {
            error!("{complaint}");
            report.state = StoreState::Degraded;
            report.damage = Some(shortened(&complaint));
        }
        let space = Space::new(state_dir, settings);
        Self {
            opened: Some((opened, reader, space)),
            report,
            jobs,
            queue: Some(queue),
        }
    }

    /// Where jobs for the database are handed over. They are done from [`Storing::begin`] on.
    pub(crate) fn jobs(&self) -> Jobs {
        self.jobs.clone()
    }

    /// The local users as they were found; none where there is no store.
    pub(crate) fn take_users(&mut self) -> Option<Vec<UserRecord>> {
        let (opened, ..) = self.opened.as_mut()?;
        Some(std::mem::take(&mut opened.users))
    }

    /// What the authority has issued, as it was found; nothing where there is no store.
    pub(crate) fn take_certificates(&mut self) -> Vec<CertificateRecord> {
        let opened = self.opened.as_mut();
        opened.map_or_else(Vec::new, |(opened, ..)| {
            std::mem::take(&mut opened.certificates)
        })
    }

    /// The time of the core at which it goes on.
    pub(crate) fn base(&self) -> Timestamp {
        self.opened
            .as_ref()
            .map_or_else(Timestamp::default, |(opened, ..)| opened.restored.now)
    }
}

impl Storing {
    /// Gives what was stored to the core, and stores from here on what it wants.
    pub(crate) fn begin(found: Found, hub: &Arc<Hub>, settings: &StoreSettings) -> Self {
        let shared = Arc::new(Shared {
            settings: Mutex::new(settings.clone()),
            report: Mutex::new(found.report),
            stopping: AtomicBool::new(false),
            broken: Notify::new(),
        });
        let storing = Self {
            shared,
            threads: Mutex::new(None),
        };
        match (found.opened, found.queue) {
            (Some((opened, reader, space)), Some(jobs)) => {
                storing.spawn(opened, reader, space, jobs, hub);
            }
            _ => hub.with(|broker, _| broker.set_store_condition(StoreCondition::Missing)),
        }
        storing
    }

    fn spawn(&self, opened: Opened, reader: Reader, space: Space, jobs: JobQueue, hub: &Arc<Hub>) {
        let (loads, requests) = mpsc::channel();
        let writing = Writing {
            hub: Arc::clone(hub),
            shared: Arc::clone(&self.shared),
            writer: opened.writer,
            space,
            jobs,
            space_looked_at: None,
            stored_at: clock::now(),
        };
        let (ready, begin) = mpsc::channel::<()>();
        let writer = thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || {
                // The core has to know everything before anything is taken from it.
                if begin.recv().is_ok() {
                    writing.jobs.attend(thread::current());
                    writing.run();
                }
            });
        let (hub_of_reader, shared) = (Arc::downgrade(hub), Arc::clone(&self.shared));
        let reading = thread::Builder::new()
            .name("store-reader".to_owned())
            .spawn(move || read(&hub_of_reader, &shared, reader, &requests));
        let (Ok(writer), Ok(_)) = (writer, reading) else {
            let mut report = lock(&self.shared.report);
            report.state = StoreState::Missing;
            report.detail = Some("the system gives no thread for the store".to_owned());
            return hub.with(|broker, _| broker.set_store_condition(StoreCondition::Missing));
        };
        let link = StoreLink {
            writer: writer.thread().clone(),
            loads,
        };
        hub.restore(opened.restored, link);
        // The writer waits for this; it cannot be gone.
        let _ = ready.send(());
        *lock(&self.threads) = Some(Threads { writer });
    }

    /// Goes by other intervals from here on.
    pub(crate) fn set(&self, settings: &StoreSettings) {
        *lock(&self.shared.settings) = settings.clone();
        if let Some(writer) = self.writer() {
            writer.unpark();
        }
    }

    /// What there is to say about the store.
    pub(crate) fn report(&self) -> StoreReport {
        lock(&self.shared.report).clone()
    }

    /// Completes when the database has turned out to be damaged: only a new start can save what is left of it.
    pub(crate) async fn broken(&self) {
        self.shared.broken.notified().await;
    }

    /// Stores what is left and closes the database. May take as long as the disk does.
    pub(crate) fn finish(&self) {
        self.shared.stopping.store(true, Ordering::Release);
        let threads = lock(&self.threads).take();
        if let Some(threads) = threads {
            threads.writer.thread().unpark();
            if threads.writer.join().is_err() {
                error!("the writer of the store has failed");
            }
        }
    }

    fn writer(&self) -> Option<Thread> {
        let threads = lock(&self.threads);
        threads.as_ref().map(|t| t.writer.thread().clone())
    }
}

/// The thread that writes.
struct Writing {
    hub: Arc<Hub>,
    shared: Arc<Shared>,
    writer: Writer,
    space: Space,
    jobs: JobQueue,
    space_looked_at: Option<Instant>,
    stored_at: Instant,
}

impl Writing {
    fn run(mut self) {
        let mut is_sound = true;
        while !self.is_stopping() {
            self.look_at_space(SPACE_INTERVAL);
            let is_done = self.do_jobs();
            match self.wait() {
                Some(_) if !is_done => {}
                Some(pause) => {
                    if pause > GATHER_STEP {
                        self.keep_house(true);
                    }
                    thread::park_timeout(pause);
                }
                None => {
                    self.gather();
                    is_sound = self.store_pending();
                    self.keep_house(false);
                }
            }
        }
        self.do_jobs();
        // What comes later must not be stored without what came before.
        if is_sound {
            self.store_pending();
        }
        let now = self.hub.now();
        match self.writer.close(now) {
            Ok(_) => info!("the database is closed"),
            Err(fault) => error!("{fault}"),
        }
    }

    /// Does what other parts of the gateway want to have done; false if there is more of it than for one round.
    fn do_jobs(&mut self) -> bool {
        for _ in 0..JOBS_PER_ROUND {
            let Some(mut job) = self.jobs.take() else {
                return true;
            };
            match self.do_job(&mut job) {
                Ok(()) => self.keep_house(false),
                Err(fault) => {
                    if !fault.is_passing() {
                        self.report_fault(&fault);
                    }
                    job.refuse(fault);
                }
            }
        }
        false
    }

    /// Does a job. Where there is no room it is tried again with what a checkpoint gives back, and then with the reserve.
    fn do_job(&mut self, job: &mut Job) -> Result<(), StoreError> {
        let mut done = job.attempt(&mut self.writer);
        if matches!(done, Err(StoreError::Full { .. })) && self.writer.checkpoint().is_ok() {
            done = job.attempt(&mut self.writer);
        }
        if matches!(done, Err(StoreError::Full { .. })) && self.space.release_reserve()? {
            done = job.attempt(&mut self.writer);
        }
        done
    }

    /// How long there is nothing to do; `None` if there is something to store now.
    fn wait(&self) -> Option<Duration> {
        let (is_awaited, changes) = self
            .hub
            .with(|broker, _| (broker.is_store_awaited(), broker.pending_changes()));
        let settings = lock(&self.shared.settings);
        let since = clock::now().duration_since(self.stored_at);
        let due = match (is_awaited, changes) {
            (true, _) => settings.commit_interval,
            (false, 0) => return Some(SPACE_INTERVAL),
            (false, _) => settings.flush_interval,
        };
        due.checked_sub(since).filter(|left| !left.is_zero())
    }

    /// Waits while more to store keeps coming: a commit costs the same with one message and with a thousand.
    fn gather(&self) {
        let began = clock::now();
        let mut seen = 0;
        loop {
            let changes = self.hub.with(|broker, _| broker.pending_changes());
            let is_growing = changes >= GATHER_CHANGES_MIN && changes > seen;
            let is_enough = changes >= GATHER_CHANGES;
            let is_late = clock::now().duration_since(began) >= GATHER_MAX;
            if !is_growing || is_enough || is_late || self.is_stopping() {
                return;
            }
            seen = changes;
            thread::park_timeout(GATHER_STEP);
        }
    }

    /// Stores what is pending; false if the gateway stops before that has worked.
    fn store_pending(&mut self) -> bool {
        self.look_at_space(SPACE_INTERVAL_MIN);
        let Some(batch) = self.hub.with(|broker, now| broker.take_batch(now)) else {
            return true;
        };
        let number = batch.number;
        let is_stored = self.store(batch);
        if is_stored {
            self.hub
                .with(|broker, now| broker.handle_committed(number, now));
        }
        self.stored_at = clock::now();
        self.write_report();
        is_stored
    }

    /// Stores a batch, however long it takes; false if the gateway stops meanwhile.
    fn store(&mut self, mut batch: Batch) -> bool {
        let Err(fault) = self.writer.commit(&batch) else {
            return true;
        };
        error!(hint = fault.hint(), "{fault}; it is tried again");
        self.report_fault(&fault);
        self.hub
            .with(|broker, _| broker.handle_commit_failed(&batch));
        batch.changes.retain(|change| !change.is_refusable());
        if let Err(fault) = self.space.release_reserve() {
            warn!("{fault}");
        }
        let mut pause = RETRY_MIN;
        while let Err(fault) = self.store_in_parts(&mut batch) {
            self.report_fault(&fault);
            if self.is_stopping() {
                return false;
            }
            // These may be small enough to work; whoever waits for them has to know.
            self.do_jobs();
            thread::park_timeout(pause);
            pause = (pause * 2).min(RETRY_MAX);
        }
        info!("the store takes changes again");
        lock(&self.shared.report).detail = None;
        self.look_at_space(Duration::ZERO);
        true
    }

    /// Stores what is left of a batch bit by bit, and takes off what is stored. Nobody was promised that the rest of it is
    /// stored at once, and a full volume has room for a little at a time: after each checkpoint the log begins anew.
    fn store_in_parts(&mut self, batch: &mut Batch) -> Result<(), StoreError> {
        if let Err(fault) = self.writer.checkpoint() {
            debug!("{fault}");
        }
        while !batch.changes.is_empty() {
            let rest = batch
                .changes
                .split_off(batch.changes.len().min(RETRY_CHANGES));
            let stored = self.writer.commit(batch);
            match stored {
                Ok(()) => batch.changes = rest,
                Err(fault) => {
                    batch.changes.extend(rest);
                    return Err(fault);
                }
            }
            self.writer.checkpoint()?;
        }
        // A batch of which nothing was left has shown nothing.
        self.writer.probe(self.hub.now())
    }

    fn report_fault(&self, fault: &StoreError) {
        let mut report = lock(&self.shared.report);
        report.commit_failures += 1;
        report.detail = Some(format!("{fault}; {}", fault.hint()));
        report.state = StoreState::Failing;
        if !fault.is_passing() {
            self.shared.broken.notify_one();
        }
    }

    fn keep_house(&mut self, is_idle: bool) {
        let done = if self.space.is_tight() {
            self.writer.checkpoint()
        } else {
            self.writer.housekeeping(is_idle)
        };
        if let Err(fault) = done {
            warn!(hint = fault.hint(), "{fault}");
        }
    }

    fn look_at_space(&mut self, interval: Duration) {
        let now = clock::now();
        let is_due = self
            .space_looked_at
            .is_none_or(|at| now.duration_since(at) >= interval);
        if !is_due {
            return;
        }
        self.space_looked_at = Some(now);
        if !self.writer.is_in_place() {
            let text =
                "the files of the database were removed, replaced or cut while the gateway runs";
            error!("{text}");
            lock(&self.shared.report).detail = Some(text.to_owned());
            self.shared.broken.notify_one();
        }
        let before = self.space.level();
        self.space.configure(&lock(&self.shared.settings));
        let unused = self.writer.unused_bytes();
        let level = self.space.look(unused).unwrap_or_else(|fault| {
            warn!(hint = fault.hint(), "{fault}");
            self.space.level()
        });
        if level != before {
            match level {
                Level::Low => warn!(
                    free_bytes = self.space.free_bytes(),
                    "the volume of the store is nearly full: messages for clients that are away are refused"
                ),
                Level::Ample => info!("the volume of the store has room again"),
            }
        }
        let condition = match level {
            Level::Ample => StoreCondition::Ready,
            Level::Low => StoreCondition::Full,
        };
        self.hub
            .with(|broker, _| broker.set_store_condition(condition));
        self.write_report();
    }

    fn write_report(&self) {
        let statistics = self.writer.statistics();
        let mut report = lock(&self.shared.report);
        report.state = match (self.space.level(), &report.damage) {
            (Level::Low, _) => StoreState::Full,
            (Level::Ample, Some(_)) => StoreState::Degraded,
            (Level::Ample, None) => StoreState::Ready,
        };
        report.commits = statistics.commits;
        report.rows = statistics.rows;
        report.bytes_written = statistics.bytes;
        report.checkpoints = statistics.checkpoints;
        report.database_bytes = statistics.database_bytes;
        report.wal_bytes = statistics.wal_bytes;
        report.free_bytes = self.space.free_bytes();
    }

    fn is_stopping(&self) -> bool {
        self.shared.stopping.load(Ordering::Acquire)
    }
}

/// The thread that reads, until the hub is gone.
fn read(hub: &Weak<Hub>, shared: &Shared, mut reader: Reader, requests: &Receiver<SessionId>) {
    while let Ok(session) = requests.recv() {
        let mut is_reported = false;
        while let Some(hub) = hub.upgrade()
            && let Some((request, load)) = hub.with(|broker, _| broker.load_request(session))
        {
            let fault = match reader.load(&request) {
                Ok(deliveries) => {
                    let unreadable = reader.take_unreadable();
                    shared.note_unreadable(unreadable.len());
                    hub.with(|broker, now| {
                        for (_, number) in unreadable {
                            broker.handle_unreadable(session, number);
                        }
                        broker.handle_loaded(session, load, deliveries, now);
                    });
                    break;
                }
                Err(fault) => fault,
            };
            if !std::mem::replace(&mut is_reported, true) {
                error!(hint = fault.hint(), "{fault}");
            }
            if !fault.is_passing() {
                shared.broken.notify_one();
            }
            if shared.stopping.load(Ordering::Acquire) {
                return;
            }
            drop(hub);
            thread::park_timeout(READ_RETRY);
        }
    }
}

impl Shared {
    /// Says in the report that messages in the database are damaged.
    fn note_unreadable(&self, messages: usize) {
        if messages == 0 {
            return;
        }
        error!(messages, "messages in the database are damaged and lost");
        let mut report = lock(&self.report);
        let text = format!("{messages} messages could not be read");
        report.damage = Some(match report.damage.take() {
            Some(known) if known.len() < DAMAGE_LEN_MAX => format!("{known}; {text}"),
            Some(known) => known,
            None => text,
        });
    }
}

/// A text that SQLite may have made long, on one line.
fn shortened(text: &str) -> String {
    let mut line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = line.char_indices().nth(DAMAGE_LEN_MAX) {
        line.truncate(end);
        line.push('…');
    }
    line
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
