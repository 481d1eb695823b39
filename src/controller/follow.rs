//! Keeps the cache up to date with one collection: list, then watch, and again where that breaks.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{self, Instant, sleep, timeout};
use tracing::{debug, info, warn};

use super::cache::{Cache, name_of};
use super::client::{ApiClient, Detail};
use super::collection::Collection;
use super::fault::ApiFault;

/// Objects of one page of a list.
const PAGE_OBJECTS: usize = 250;

/// Pages of one list.
const PAGES_MAX: usize = 200;

/// How long the API server is asked to watch; then it ends the answer, and another watch begins where it ended.
const WATCH_SECONDS: u64 = 120;

/// Time without a line after which a watch is given up: the API server should have ended it.
const IDLE_MAX: Duration = Duration::from_secs(WATCH_SECONDS + 20);

/// Pauses between tries that fail.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Time between a watch whose beginning is forgotten and the list.
const RELIST_PAUSE: Duration = Duration::from_millis(200);

/// Time between two looks for a kind that does not exist.
const DISCOVERY_PAUSE_MAX: Duration = Duration::from_secs(60);

/// Time for which a kind must not exist before its objects are taken for gone: an API server that starts knows kinds later
/// than it answers.
const ABSENCE: Duration = Duration::from_secs(30);

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
        let mut pause = Pause::default();
        loop {
            let fault = match self.begin().await {
                Ok((path, version)) => {
                    pause.reset();
                    self.cache.set_fault(self.collection, None);
                    debug!(collection = self.collection.name(), "listed");
                    self.watch_on(&path, version, &mut pause).await
                }
                Err(fault) => fault,
            };
            let wait = self.complain(fault, &mut pause);
            sleep(wait).await;
        }
    }

    /// Says what is wrong, once, and how long to wait.
    fn complain(&self, fault: ApiFault, pause: &mut Pause) -> Duration {
        let is_optional = self.collection.is_optional();
        let is_absent = match &fault {
            ApiFault::Gone => return RELIST_PAUSE,
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
            self.cache.replace(self.collection, Vec::new());
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
        let (list, version) = self.list(&path).await?;
        let left_out = self.cache.replace(self.collection, list);
        self.note_left_out(left_out);
        Ok((path, version))
    }

    async fn list(&self, path: &str) -> Result<(Vec<(Value, usize)>, String), ApiFault> {
        let mut objects = Vec::new();
        let mut next = String::new();
        for _ in 0..PAGES_MAX {
            let query = format!(
                "{path}?limit={PAGE_OBJECTS}{}{next}",
                self.collection.selector()
            );
            let mut page = self.client.get(&query, self.collection.detail()).await?;
            let text = |key: &str| {
                let value = page.get("metadata").and_then(|metadata| metadata.get(key));
                value.and_then(Value::as_str).unwrap_or_default().to_owned()
            };
            let (version, token) = (text("resourceVersion"), text("continue"));
            let items = match page.get_mut("items").map(Value::take) {
                Some(Value::Array(items)) => items,
                // As the API server writes an empty list of metadata.
                Some(Value::Null) => Vec::new(),
                _ => return Err(ApiFault::Answer("a list without items")),
            };
            if version.is_empty() {
                return Err(ApiFault::Answer("a list without a version"));
            }
            let detail = self.collection.detail();
            objects.extend(items.into_iter().map(|item| {
                let item = slim(item, detail);
                let bytes = item.to_string().len();
                (item, bytes)
            }));
            if token.is_empty() {
                return Ok((objects, version));
            }
            next = format!("&continue={}", encoded(&token));
        }
        Err(ApiFault::Answer("a list that does not end"))
    }

    /// Watches from a version on; returns what makes a list necessary.
    async fn watch_on(&self, path: &str, mut version: String, pause: &mut Pause) -> ApiFault {
        loop {
            let begun = time::Instant::now();
            let watched = self.watch(path, &mut version).await;
            match watched {
                Ok(()) if begun.elapsed() >= SHORT => pause.reset(),
                // One that ends at once must not be begun at once, again and again.
                Ok(()) => sleep(pause.next(&ApiFault::Timeout, PAUSE_MAX)).await,
                Err(fault @ (ApiFault::Gone | ApiFault::NotFound)) => return fault,
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
            self.take(event, line.len(), version)?;
        }
    }

    /// Takes one event of a watch.
    fn take(&self, mut event: Value, bytes: usize, version: &mut String) -> Result<(), ApiFault> {
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
                let object = slim(object, self.collection.detail());
                let has_room = self.cache.put(self.collection, object, bytes);
                self.note_left_out(usize::from(!has_room));
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

    fn note_left_out(&self, count: usize) {
        if count > 0 {
            warn!(
                collection = self.collection.name(),
                "{count} objects are left out: there are more than the gateway looks at"
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

/// An object without what nobody here reads. Where a server sends more than names and versions, the rest is forgotten at once.
fn slim(mut object: Value, detail: Detail) -> Value {
    match detail {
        Detail::Whole => {
            if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
                metadata.remove("managedFields");
            }
            object
        }
        Detail::Metadata => {
            let text = |key| super::cache::metadata(&object, key).unwrap_or_default();
            json!({"metadata": {"name": text("name"), "resourceVersion": text("resourceVersion")}})
        }
    }
}

/// A value of a query.
fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
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

    #[test]
    fn of_secrets_nothing_but_names_is_kept() {
        let secret =
            json!({"metadata": {"name": "a", "resourceVersion": "7"}, "data": {"k": "djo="}});
        let slim = slim(secret, Detail::Metadata);
        assert_eq!(
            slim,
            json!({"metadata": {"name": "a", "resourceVersion": "7"}})
        );
    }

    #[test]
    fn tokens_of_pages_come_into_queries_whole() {
        assert_eq!(encoded("a+/=&b"), "a%2B%2F%3D%26b");
    }
}
