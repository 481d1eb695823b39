//! What is asked over HTTP, whatever it speaks.
//!
//! * `client`: one HTTP server, with its connections.
//! * `tls`: whom it must prove to be, and who we are to it.
//! * `breaker`: leaves a server alone that does not answer.
//! * `cache`: answers that are remembered, bounded in number and bytes.
//! * `counters`: what has been asked and what became of it.
//! * `form`, `json`: how questions are written.
//! * `until`: ends that others tell in the time of the wall clock.
//!
//! A [`Backend`] bounds how a server is asked: one deadline for everything that a question takes, so many questions at a
//! time, and none while the server is known to be down. Nothing is shared between back ends, so a dead one delays nobody
//! who does not ask it.

mod breaker;
mod cache;
mod client;
mod counters;
pub(super) mod form;
pub(super) mod json;
#[cfg(test)]
pub(super) mod testing;
mod tls;
mod until;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{Shared, WeakShared};
use hashbrown::HashMap;
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::time::{self, Instant, sleep, timeout_at};
use tracing::{info, warn};

use self::breaker::{Breaker, Change};
use self::cache::{Cache, Keys};
use self::counters::Counters;
use super::Unavailable;
use crate::config::{BackendSettings, HttpServer};

pub(super) use cache::Key;
pub(crate) use client::{HttpClient, Request, read_secret};
pub(super) use client::{Reply, body_of};
pub use counters::{BackendStatistics, LATENCY_BOUNDS_MS};
pub(super) use until::Until;

/// Time between two tries of a question; twice as long before each further one.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Time between two complaints about answers that cannot be used.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

/// A back end and what it has been asked, for metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendReport {
    /// What it is asked for: `custom`, `http`, `service_account_token` or `acl`.
    pub kind: &'static str,
    /// Its address: `https://host:port`.
    pub server: Box<str>,
    /// Whether it is left alone at the moment, because it did not answer.
    pub is_resting: bool,
    /// What became of the questions.
    pub statistics: BackendStatistics,
}

impl BackendReport {
    /// One report for each kind and server, in their order.
    pub(super) fn add_up(reports: Vec<Self>) -> Vec<Self> {
        let mut sums = BTreeMap::<_, Self>::new();
        for report in reports {
            match sums.entry((report.kind, report.server.clone())) {
                Entry::Vacant(entry) => {
                    entry.insert(report);
                }
                Entry::Occupied(mut entry) => {
                    let sum = entry.get_mut();
                    sum.is_resting |= report.is_resting;
                    sum.statistics.add(&report.statistics);
                }
            }
        }
        sums.into_values().collect()
    }
}

/// What a back end decides.
pub(super) trait Verdict: Clone + Send + Sync + 'static {
    /// Whether it is a yes.
    fn is_allowed(&self) -> bool;

    /// When it ends, however long verdicts are remembered.
    fn ends_at(&self) -> Option<Instant> {
        None
    }

    /// Bytes that it holds beyond its own size.
    fn bytes(&self) -> usize {
        0
    }
}

impl Verdict for bool {
    fn is_allowed(&self) -> bool {
        *self
    }
}

/// A verdict and how long it may be gone by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answered<T> {
    pub(super) verdict: T,
    /// Time that it may still be remembered.
    pub(super) good_for: Duration,
}

/// Why there is no verdict.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum Fault {
    #[error("the back end is left alone for a while, because it did not answer before")]
    Resting,
    #[error("too many questions are under way at the back end")]
    Busy,
    #[error("the back end did not answer in time")]
    Timeout,
    #[error("the back end cannot be reached: {0}")]
    Unreachable(Arc<str>),
    #[error("the back end answered with the status {0}")]
    Status(u16),
    #[error("the back end answered with {0}")]
    Answer(&'static str),
    /// Something on our side.
    #[error("the back end cannot be asked: {0}")]
    Setup(Arc<str>),
}

impl Fault {
    /// Whether it says that the server is down. Other faults are about one question, and a client that asks them on
    /// purpose must not shut out the others.
    fn is_outage(&self) -> bool {
        match self {
            Self::Timeout | Self::Unreachable(_) | Self::Setup(_) => true,
            Self::Status(status) => *status >= 500,
            Self::Resting | Self::Busy | Self::Answer(_) => false,
        }
    }

    /// Whether the same question may be answered if it is asked again.
    fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Status(status) => *status >= 500,
            Self::Timeout | Self::Setup(_) | Self::Resting | Self::Busy | Self::Answer(_) => false,
        }
    }

    /// Whether an operator has to look at it although the server is there.
    fn is_complaint(&self) -> bool {
        match self {
            Self::Setup(_) | Self::Answer(_) => true,
            Self::Status(status) => *status < 500,
            Self::Timeout | Self::Unreachable(_) | Self::Resting | Self::Busy => false,
        }
    }
}

impl From<Fault> for Unavailable {
    fn from(fault: Fault) -> Self {
        Self::new(fault.to_string())
    }
}

type Asked<T> = Pin<Box<dyn Future<Output = Result<Answered<T>, Fault>> + Send>>;

/// How one server is asked.
pub(super) struct Backend<T: Verdict>(Arc<Inner<T>>);

struct Inner<T: Verdict> {
    kind: &'static str,
    server: Box<str>,
    settings: BackendSettings,
    keys: Keys,
    permits: Semaphore,
    breaker: Breaker,
    counters: Counters,
    cache: Mutex<Cache<T>>,
    under_way: Mutex<UnderWay<T>>,
    complained_at: Mutex<Option<Instant>>,
}

/// Questions that have no answer yet; who asks the same one meanwhile gets the same answer.
struct UnderWay<T: Verdict> {
    questions: HashMap<Key, (u64, WeakShared<Asked<T>>)>,
    last: u64,
}

impl<T: Verdict> fmt::Debug for Backend<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend")
            .field("kind", &self.0.kind)
            .field("server", &self.0.server)
            .finish_non_exhaustive()
    }
}

impl<T: Verdict> Backend<T> {
    pub(super) fn new(kind: &'static str, server: &HttpServer, settings: &BackendSettings) -> Self {
        Self::named(kind, client::origin(&server.url).into(), settings)
    }

    pub(super) fn named(kind: &'static str, server: Box<str>, settings: &BackendSettings) -> Self {
        let permits = usize::try_from(settings.concurrency_max).unwrap_or(usize::MAX);
        Self(Arc::new(Inner {
            kind,
            server,
            keys: Keys::new(),
            permits: Semaphore::new(permits.clamp(1, Semaphore::MAX_PERMITS)),
            breaker: Breaker::new(settings.breaker_errors, settings.breaker_pause),
            counters: Counters::default(),
            cache: Mutex::new(Cache::new()),
            under_way: Mutex::new(UnderWay {
                questions: HashMap::new(),
                last: 0,
            }),
            complained_at: Mutex::new(None),
            settings: settings.clone(),
        }))
    }

    /// Under which a question is remembered. It tells nothing about the parts to who does not know them.
    pub(super) fn key(&self, parts: &[&[u8]]) -> Option<Key> {
        self.0.keys.key(parts)
    }

    /// Gets a verdict: a remembered one, that of the same question under way, or by asking. Without a key each asks for
    /// itself.
    pub(super) async fn ask<Q, F>(
        &self,
        key: Option<Key>,
        question: Q,
    ) -> Result<Answered<T>, Fault>
    where
        Q: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<T, Fault>> + Send + 'static,
    {
        let Some(key) = key else {
            return self.0.carry_out(question).await;
        };
        if let Some(answered) = lock(&self.0.cache).find(&key, time::Instant::now()) {
            self.0.counters.note_cache_hit();
            return Ok(answered);
        }
        self.share(key, question).await
    }

    fn share<Q, F>(&self, key: Key, question: Q) -> Shared<Asked<T>>
    where
        Q: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<T, Fault>> + Send + 'static,
    {
        let mut under_way = lock(&self.0.under_way);
        let found = under_way.questions.get(&key);
        if let Some(asked) = found.and_then(|(_, asked)| asked.upgrade()) {
            self.0.counters.note_shared();
            return asked;
        }
        under_way.last += 1;
        let number = under_way.last;
        let entry = Registered {
            inner: Arc::clone(&self.0),
            key,
            number,
        };
        let asked: Asked<T> = Box::pin(async move {
            let answered = entry.inner.carry_out(question).await;
            if let Ok(answered) = &answered {
                lock(&entry.inner.cache).remember(entry.key, answered, time::Instant::now());
            }
            answered
        });
        let asked = asked.shared();
        if let Some(weak) = asked.downgrade() {
            under_way.questions.insert(key, (number, weak));
        }
        asked
    }

    /// What became of the questions so far.
    pub(super) fn report(&self) -> BackendReport {
        BackendReport {
            kind: self.0.kind,
            server: self.0.server.clone(),
            is_resting: self.0.breaker.is_open(time::Instant::now()),
            statistics: self.0.counters.read(),
        }
    }
}

/// The entry of a question under way, removed when there is an answer or nobody waits for it any more.
struct Registered<T: Verdict> {
    inner: Arc<Inner<T>>,
    key: Key,
    number: u64,
}

impl<T: Verdict> Drop for Registered<T> {
    fn drop(&mut self) {
        let mut under_way = lock(&self.inner.under_way);
        // The key may have been taken by the same question, asked again meanwhile.
        let found = under_way.questions.get(&self.key);
        if found.is_some_and(|(number, _)| *number == self.number) {
            under_way.questions.remove(&self.key);
        }
    }
}

impl<T: Verdict> Inner<T> {
    /// Asks the server, within the bounds. The time that the question waits for its turn is part of its time, and so are
    /// all tries.
    async fn carry_out<Q, F>(&self, question: Q) -> Result<Answered<T>, Fault>
    where
        Q: Fn() -> F,
        F: Future<Output = Result<T, Fault>>,
    {
        let begin = time::Instant::now();
        let end = begin + self.settings.timeout;
        if self.breaker.is_open(begin) {
            self.counters.note_rested();
            return Err(Fault::Resting);
        }
        let permit = timeout_at(end, self.permits.acquire()).await;
        let (Ok(Ok(_permit)), true) = (permit, time::Instant::now() < end) else {
            self.counters.note_error();
            return Err(Fault::Busy);
        };
        // Those that were asked before this one may have found out meanwhile.
        let Some(pass) = self.breaker.pass(time::Instant::now()) else {
            self.counters.note_rested();
            return Err(Fault::Resting);
        };
        self.counters.note_asked();
        let result = timeout_at(end, self.try_often(question)).await;
        let result = result.unwrap_or(Err(Fault::Timeout));
        let now = time::Instant::now();
        self.counters.note_latency(now.duration_since(begin));
        match result {
            Ok(verdict) => {
                self.note_change(pass.succeeded(), None);
                self.counters.note_verdict(verdict.is_allowed());
                Ok(self.dated(verdict, now))
            }
            Err(fault) => {
                self.counters.note_error();
                let change = match fault.is_outage() {
                    true => pass.failed(now),
                    false => pass.succeeded(),
                };
                self.note_change(change, Some(&fault));
                self.complain(&fault, now);
                Err(fault)
            }
        }
    }

    async fn try_often<Q, F>(&self, question: Q) -> Result<T, Fault>
    where
        Q: Fn() -> F,
        F: Future<Output = Result<T, Fault>>,
    {
        let mut pause = RETRY_PAUSE;
        for _ in 0..self.settings.retries {
            match question().await {
                Err(fault) if fault.is_passing() => {}
                result => return result,
            }
            sleep(pause).await;
            pause = pause.saturating_mul(2);
        }
        question().await
    }

    /// A verdict with the time that it may be remembered.
    fn dated(&self, verdict: T, now: Instant) -> Answered<T> {
        let time = match verdict.is_allowed() {
            true => self.settings.cache_time,
            false => self.settings.negative_cache_time,
        };
        let left = verdict.ends_at().map(|end| end.duration_since(now));
        Answered {
            verdict,
            good_for: left.map_or(time, |left| left.min(time)),
        }
    }

    fn note_change(&self, change: Option<Change>, fault: Option<&Fault>) {
        let (kind, server) = (self.kind, &*self.server);
        match (change, fault) {
            (Some(Change::Opened), Some(fault)) => {
                warn!(kind, server, "Back end is left alone for a while: {fault}");
            }
            (Some(Change::Closed), _) => info!(kind, server, "Back end answers again"),
            _ => {}
        }
    }

    fn complain(&self, fault: &Fault, now: Instant) {
        if !fault.is_complaint() {
            return;
        }
        let mut complained_at = lock(&self.complained_at);
        if complained_at.is_none_or(|last| now.duration_since(last) >= COMPLAINT_INTERVAL) {
            *complained_at = Some(now);
            warn!(
                kind = self.kind,
                server = &*self.server,
                "Back end is of no use: {fault}"
            );
        }
    }
}

/// Locks what is consistent between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
