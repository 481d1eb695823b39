//! Statuses and events, until the cluster has them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde_json::{Value, json};
use tracing::warn;

use super::cache::{Cache, Object, metadata};
use super::client::{ApiClient, Detail};
use super::collection::{Collection, group_name};
use super::fault::ApiFault;
use super::manifests::api_version;
use super::plan::{Key, Resource};
use super::retry::Retries;
use super::status::{Statement, event, is_said, timestamp};
use crate::clock;

/// Times that a status is written anew at once because the resource has changed meanwhile.
const CONFLICTS_MAX: u32 = 4;

/// Events that wait until they are written.
const EVENTS_MAX: usize = 128;

/// Tells the cluster about resources.
pub(super) struct Teller {
    client: Arc<ApiClient>,
    cache: Arc<Cache>,
    namespace: Arc<str>,
    /// What was said last about each resource.
    told: BTreeMap<Key, (Option<String>, Value)>,
    /// Objects as they were before a status of which nobody said whether it was written.
    unsure: BTreeMap<Key, Value>,
    /// Events that are not written yet, by their names.
    events: VecDeque<(String, Value)>,
    /// Events so far, which tells one from another.
    count: u64,
    retries: Retries,
}

impl Teller {
    pub(super) fn new((client, cache): (Arc<ApiClient>, Arc<Cache>), namespace: Arc<str>) -> Self {
        Self {
            client,
            cache,
            namespace,
            told: BTreeMap::new(),
            unsure: BTreeMap::new(),
            events: VecDeque::new(),
            count: 0,
            retries: Retries::default(),
        }
    }

    /// Whether something is to be tried again now.
    pub(super) fn is_due(&self) -> bool {
        self.retries.is_due()
    }

    /// Writes every status that is another, and what has become of it as events. Returns what went wrong.
    pub(super) async fn tell(&mut self, said: &[(&Resource, Statement)]) -> Vec<String> {
        let mut faults = Vec::new();
        self.retries.begin();
        for (resource, statement) in said {
            if let Err(fault) = self.tell_about(resource, statement).await {
                let key = &resource.key;
                let (kind, name) = (key.kind.word(), &key.name);
                faults.push(format!("the status of {kind} {name}: {fault}"));
            }
        }
        let keys: BTreeSet<&Key> = said.iter().map(|(resource, _)| &resource.key).collect();
        self.told.retain(|key, _| keys.contains(key));
        self.unsure.retain(|key, _| keys.contains(key));
        faults.extend(self.announce().await);
        self.retries.end();
        faults
    }

    /// Writes a status where it is another.
    async fn tell_about(
        &mut self,
        resource: &Resource,
        statement: &Statement,
    ) -> Result<(), ApiFault> {
        let key = &resource.key;
        let collection = Collection::Resources(key.group, key.kind);
        // The newest one that is known; it may have gone.
        let Some(newest) = self.cache.object(collection, &key.name) else {
            return Ok(());
        };
        let now = timestamp(clock::wall_seconds());
        let before = self.before(resource, &newest);
        if is_said(&before, &statement.status(&before, &now)) {
            if let Some(before) = self.unsure.remove(key) {
                self.queue(key, &before, statement, &now);
            }
            return Ok(());
        }
        let wish = statement.status(&json!({}), "");
        let attempt = Attempt {
            client: &self.client,
            path: self.path(key, &newest),
            told: self.told.get(key),
        };
        let request = attempt.write(resource, statement, newest, &now);
        let written = match self.retries.attempt(&key.path(), &wish, request).await {
            Ok(written) => written,
            Err(fault) => {
                if fault.is_outage() {
                    self.unsure.entry(key.clone()).or_insert(before);
                }
                return Err(fault);
            }
        };
        let unsure = self.unsure.remove(key);
        let Some((before, status)) = written else {
            return Ok(());
        };
        let uid = metadata(&before, "uid").map(ToOwned::to_owned);
        self.told.insert(key.clone(), (uid, status));
        self.queue(key, &unsure.unwrap_or(before), statement, &now);
        Ok(())
    }

    fn path(&self, key: &Key, object: &Value) -> String {
        let api_version = api_version(key.group, object);
        let version = api_version.rsplit('/').next().unwrap_or_default();
        format!(
            "/apis/{}/{version}/namespaces/{}/{}/{}",
            group_name(key.group),
            self.namespace,
            key.kind.plural(),
            key.name
        )
    }

    fn before(&self, resource: &Resource, object: &Value) -> Value {
        before(resource, object, self.told.get(&resource.key))
    }

    /// An event for each condition that has changed its mind.
    fn queue(&mut self, key: &Key, before: &Value, statement: &Statement, now: &str) {
        let api_version = api_version(key.group, before);
        for transition in statement.transitions(before) {
            self.count += 1;
            let resource = (api_version.as_str(), key.kind.word());
            let event = event(resource, before, &transition, (now, self.count));
            if self.events.len() >= EVENTS_MAX {
                warn!("too many events wait to be written; the oldest one is not");
                self.events.pop_front();
            }
            let name = metadata(&event, "name").unwrap_or_default().to_owned();
            self.events.push_back((name, event));
        }
    }

    /// Writes the events that wait, in their order; one that cannot be written holds up no other.
    async fn announce(&mut self) -> Option<String> {
        let path = format!("/api/v1/namespaces/{}/events", self.namespace);
        let mut first = None;
        for (name, event) in std::mem::take(&mut self.events) {
            let client = &self.client;
            let request = async {
                match client.create(&path, &event).await {
                    // It was written, and only the answer was lost.
                    Ok(()) | Err(ApiFault::Conflict) => Ok(()),
                    Err(fault) => Err(fault),
                }
            };
            match self.retries.attempt(&name, &name, request).await {
                Ok(()) => {}
                Err(fault) if fault.is_passing() => {
                    first.get_or_insert_with(|| format!("an event: {fault}"));
                    self.events.push_back((name, event));
                }
                // The status says the same.
                Err(fault) => warn!("an event is not written: {fault}"),
            }
        }
        first
    }
}

/// A status that is to be written.
struct Attempt<'a> {
    client: &'a ApiClient,
    path: String,
    told: Option<&'a (Option<String>, Value)>,
}

impl Attempt<'_> {
    /// Writes it, anew where the object has changed meanwhile. Returns what the object was before and what its status is now,
    /// unless it has gone or says so already.
    async fn write(
        &self,
        resource: &Resource,
        statement: &Statement,
        mut object: Object,
        now: &str,
    ) -> Result<Option<(Value, Value)>, ApiFault> {
        let mut first = None;
        for _ in 0..CONFLICTS_MAX {
            let before = before(resource, &object, self.told);
            let status = statement.status(&before, now);
            if is_said(&before, &status) {
                // It was written after all, and only the answer was lost.
                return Ok(first.map(|first| (first, status)));
            }
            let first = first.get_or_insert(before).clone();
            let change = json!({
                "metadata": {"resourceVersion": metadata(&object, "resourceVersion")},
                "status": status,
            });
            let path = format!("{}/status", self.path);
            match self.client.merge(&path, &change).await {
                Ok(()) => return Ok(Some((first, status))),
                Err(ApiFault::Conflict) => match self.client.get(&self.path, Detail::Whole).await {
                    Ok(found) => object = Arc::new(found),
                    Err(ApiFault::NotFound) => return Ok(None),
                    Err(fault) => return Err(fault),
                },
                // It has gone, or its kind has no status.
                Err(ApiFault::NotFound) => return Ok(None),
                Err(fault) => return Err(fault),
            }
        }
        Err(ApiFault::Conflict)
    }
}

/// An object with the status that was written last, which the watch may not have brought yet, or of which the cluster may
/// keep only a part. Its generation is the one that is spoken of, which need not be the newest.
fn before(resource: &Resource, object: &Value, told: Option<&(Option<String>, Value)>) -> Value {
    let mut before = object.clone();
    let uid = metadata(object, "uid");
    if let Some((known, status)) = told
        && known.as_deref() == uid
    {
        before["status"] = status.clone();
    }
    if let Some(generation) = resource.object.pointer("/metadata/generation")
        && metadata(&resource.object, "uid") == uid
    {
        before["metadata"]["generation"] = generation.clone();
    }
    before
}
