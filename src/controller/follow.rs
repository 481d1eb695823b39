//! Keeps the cache up to date with one collection: list, then watch, and again where that breaks.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{self, Instant, sleep, timeout};
use tracing::{debug, info, warn};

use super::cache::{Cache, name_of};
use super::client::ApiClient;
use super::collection::Collection;
use super::fault::ApiFault;
use super::listing::{Listed, Listing, encoded, fitted};

/// How long the API server is asked to watch; then it ends the answer, and another watch begins where it ended.
const WATCH_SECONDS: u64 = 120;

/// Time without a line after which a watch is given up: the API server should have ended it.
const IDLE_MAX: Duration = Duration::from_secs(WATCH_SECONDS + 20);

/// Pauses between tries that fail.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Time between a watch whose beginning is forgotten and the list; where that happens again and again, pauses grow.
const RELIST_PAUSE: Duration = Duration::from_millis(200);

/// Time after a list for which it must be of use; otherwise the next one waits longer.
const FRESH: Duration = Duration::from_secs(10);

/// Time between two looks for a kind that does not exist.
const DISCOVERY_PAUSE_MAX: Duration = Duration::from_secs(60);

/// Time for which a kind must not exist before its objects are taken for gone: an API server that starts knows kinds later
/// than it answers.
pub(super) const ABSENCE: Duration = Duration::from_secs(30);

/// A watch that ends sooner than this has hardly begun.
const SHORT: Duration = Duration::from_secs(1);

/// Follows a collection.
pub(super) struct Follower {
    pub(super) client: Arc<ApiClient>,
    pub(super) cache: Arc<Cache>,
    pub(super) namespace: Arc<str>,
    pub(super) collection: Collection,
    /// Whether there were objects before, so that they are not taken for gone at the first word.
    pub(super) is_expected: bool,
}

impl Follower {
    /// Runs until dropped.
    pub(super) async fn run(self) -> Infallible {
        let (mut pause, mut relist) = (Pause::default(), Pause::default());
        loop {
            let begun = time::Instant::now();
            let fault = match self.begin().await {
                Ok((path, version)) => {
                    pause.reset();
                    self.cache.set_fault(self.collection, None);
                    debug!(collection = self.collection.name(), "listed");
                    self.watch_on(&path, version, &mut pause).await
                }
                Err(fault) => fault,
            };
            let wait = match fault {
                ApiFault::Gone | ApiFault::TooLarge if begun.elapsed() >= FRESH => {
                    relist.reset();
                    RELIST_PAUSE
                }
                // As one whose lists are forgotten before they are read.
                ApiFault::Gone | ApiFault::TooLarge => {
                    let fault = fault.to_string();
                    self.cache.set_fault(self.collection, Some(fault));
                    relist.next(&ApiFault::Gone, PAUSE_MAX)
                }
                fault => self.complain(fault, &mut pause),
            };
            sleep(wait).await;
        }
    }

    /// Says what is wrong, once, and how long to wait.
    fn complain(&self, fault: ApiFault, pause: &mut Pause) -> Duration {
        let is_optional = self.collection.is_optional();
        let is_absent = match &fault {
            ApiFault::NotFound => true,
            ApiFault::Forbidden(_) => is_optional,
            _ => false,
        };
        let is_news = pause.is_news(&fault);
        let is_fault = !(is_absent && is_optional);
        self.cache
            .set_fault(self.collection, is_fault.then(|| fault.to_string()));
        let has_objects = self.is_expected || !self.cache.objects(self.collection).is_empty();
        if is_absent && (!has_objects || pause.has_lasted(ABSENCE)) {
            // As if there were none: others must not wait for what may never come.
            self.cache.replace(self.collection, Vec::new(), false);
        }
        if is_news {
            match is_absent && is_optional {
                true => debug!(collection = self.collection.name(), "{fault}"),
                false if is_absent => {
                    warn!(
                        collection = self.collection.name(),
                        "{fault}; are the CRDs there?"
                    );
                }
                false => warn!(collection = self.collection.name(), "{fault}; trying again"),
            }
        }
        let is_sure = !has_objects || pause.has_lasted(ABSENCE);
        let max = if is_absent && is_sure {
            DISCOVERY_PAUSE_MAX
        } else {
            PAUSE_MAX
        };
        pause.next(&fault, max)
    }

    /// Lists everything; returns where it is and the version to watch from.
    async fn begin(&self) -> Result<(String, String), ApiFault> {
        let path = self.collection.path(&self.client, &self.namespace).await?;
        let listed = self.list(&path).await?;
        let is_news = self
            .cache
            .replace(self.collection, listed.objects, listed.is_partial);
        self.note_partial(is_news);
        Ok((path, listed.version))
    }

    /// Reads a list. One whose rest is forgotten meanwhile (410) has to be read from its beginning.
    async fn list(&self, path: &str) -> Result<Listed, ApiFault> {
        let mut listing = Listing::new(self.collection);
        loop {
            let query = listing.query(path);
            let page = self.client.get(&query, self.collection.detail()).await;
            match page {
                Ok(page) => {
                    if listing.take(page)? {
                        return Ok(listing.finish());
                    }
                }
                Err(ApiFault::TooLarge) if listing.shrink() => {}
                Err(fault) => return Err(fault),
            }
        }
    }

    /// Watches from a version on; returns what makes a list necessary.
    async fn watch_on(&self, path: &str, mut version: String, pause: &mut Pause) -> ApiFault {
        loop {
            let begun = time::Instant::now();
            let watched = self.watch(path, &mut version).await;
            match watched {
                // What there was no room for may have room by now, and no event would say so.
                Ok(()) if !self.cache.is_whole(self.collection) => return ApiFault::Gone,
                Ok(()) if begun.elapsed() >= SHORT => pause.reset(),
                // One that ends at once must not be begun at once, again and again.
                Ok(()) => sleep(pause.next(&ApiFault::Timeout, PAUSE_MAX)).await,
                Err(fault @ (ApiFault::Gone | ApiFault::NotFound | ApiFault::TooLarge)) => {
                    return fault;
                }
                Err(fault) => {
                    if begun.elapsed() >= SHORT {
                        pause.reset();
                    }
                    let wait = self.complain(fault, pause);
                    sleep(wait).await;
                }
            }
        }
    }

    /// One watch, to its end; `version` follows what has come.
    async fn watch(&self, path: &str, version: &mut String) -> Result<(), ApiFault> {
        let query = format!(
            "{path}?watch=1&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}&resourceVersion={}{}",
            encoded(version),
            self.collection.selector()
        );
        let mut lines = self.client.watch(&query, self.collection.detail()).await?;
        self.cache.set_fault(self.collection, None);
        loop {
            let line = timeout(IDLE_MAX, lines.next()).await;
            let Some(line) = line.map_err(|_| ApiFault::Timeout)?? else {
                return Ok(());
            };
            if line.is_empty() {
                continue;
            }
            let event: Value = serde_json::from_slice(&line)
                .map_err(|_| ApiFault::Answer("an event that is none"))?;
            self.take(event, version)?;
        }
    }

    /// Takes one event of a watch.
    fn take(&self, mut event: Value, version: &mut String) -> Result<(), ApiFault> {
        let kind = event
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let kind = kind.to_owned();
        let object = event.get_mut("object").map(Value::take).unwrap_or_default();
        if kind == "ERROR" {
            return Err(ApiFault::of_event(&object));
        }
        if let Some(newer) = super::cache::metadata(&object, "resourceVersion") {
            newer.clone_into(version);
        }
        match kind.as_str() {
            "ADDED" | "MODIFIED" => {
                let (object, bytes) = fitted(object, self.collection.detail());
                let is_news = self.cache.put(self.collection, object, bytes);
                self.note_partial(is_news);
            }
            "DELETED" => {
                if let Some(name) = name_of(&object) {
                    self.cache.remove(self.collection, name);
                }
            }
            "BOOKMARK" => {}
            _ => return Err(ApiFault::Answer("an event of an unknown type")),
        }
        Ok(())
    }

    fn note_partial(&self, is_news: bool) {
        if is_news {
            warn!(
                collection = self.collection.name(),
                "objects are left out: there are more than {} of them, or they are too large together",
                self.collection.objects_max()
            );
        }
    }
}

/// Pauses that become longer while something fails.
#[derive(Debug, Default)]
struct Pause {
    last: Duration,
    said: Option<ApiFault>,
    /// Since when it fails in this way.
    since: Option<Instant>,
}

impl Pause {
    fn reset(&mut self) {
        if self.said.take().is_some() {
            info!("the API server answers again");
        }
        self.last = Duration::ZERO;
    }

    /// Whether a fault is another than the last one.
    fn is_news(&mut self, fault: &ApiFault) -> bool {
        let is_news = self.said.as_ref() != Some(fault);
        self.said = Some(fault.clone());
        if is_news {
            self.since = Some(time::Instant::now());
        }
        is_news
    }

    /// Whether the fault that was said last has been there for so long.
    fn has_lasted(&self, time: Duration) -> bool {
        self.since.is_some_and(|since| since.elapsed() >= time)
    }

    fn next(&mut self, fault: &ApiFault, max: Duration) -> Duration {
        self.last = (self.last * 2).clamp(PAUSE_MIN, max);
        self.last.max(fault.pause().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound_and_begin_anew() {
        let mut pause = Pause::default();
        let mut next = |fault: &ApiFault| pause.next(fault, PAUSE_MAX);
        assert_eq!(next(&ApiFault::Timeout), PAUSE_MIN);
        assert_eq!(next(&ApiFault::Timeout), PAUSE_MIN * 2);
        for _ in 0..20 {
            assert!(next(&ApiFault::Timeout) <= PAUSE_MAX);
        }
        let busy = ApiFault::Busy {
            retry_after: Some(Duration::from_secs(50)),
        };
        assert_eq!(next(&busy), Duration::from_secs(50));
        pause.reset();
        assert_eq!(pause.next(&ApiFault::Timeout, PAUSE_MAX), PAUSE_MIN);
    }

    #[test]
    fn the_same_fault_is_said_once() {
        let mut pause = Pause::default();
        assert!(pause.is_news(&ApiFault::Timeout));
        assert!(!pause.is_news(&ApiFault::Timeout));
        assert!(pause.is_news(&ApiFault::Unauthorized));
        pause.reset();
        assert!(pause.is_news(&ApiFault::Unauthorized));
    }
}
