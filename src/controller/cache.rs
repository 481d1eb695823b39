//! What the cluster has, as far as it is known.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::{self, Instant};

use super::collection::Collection;
use super::listing::BYTES_MAX;

/// Time for which something cannot be listed before the rest does without it.
const PATIENCE: Duration = Duration::from_secs(30);

/// An object that is shared by the cache and who works with it.
pub(super) type Object = Arc<Value>;

/// The objects of one collection by name.
#[derive(Debug, Default)]
struct Held {
    /// Whether they were all there once, or are known not to exist.
    is_known: bool,
    /// Whether there are objects that there was no room for.
    is_partial: bool,
    objects: BTreeMap<String, (Object, usize)>,
    bytes: usize,
}

/// The objects of all collections.
#[derive(Debug, Default)]
pub(super) struct Cache {
    held: Mutex<BTreeMap<Collection, Held>>,
    /// What cannot be watched now, with why and since when.
    faults: Mutex<BTreeMap<Collection, (String, Instant)>>,
    changed: Notify,
}

impl Cache {
    /// Returns when something has changed since it returned last.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Has whoever waits look again.
    pub(super) fn touch(&self) {
        self.changed.notify_one();
    }

    /// Notes that a collection cannot be watched, or that it can be again.
    pub(super) fn set_fault(&self, collection: Collection, fault: Option<String>) {
        let mut faults = self.lock_faults();
        let Some(fault) = fault else {
            faults.remove(&collection);
            return;
        };
        let now = time::Instant::now();
        let since = faults.get(&collection).map_or(now, |(_, since)| *since);
        faults.insert(collection, (fault, since));
    }

    /// What cannot be watched now, by its name, with why.
    pub(super) fn faults(&self) -> Vec<(String, String)> {
        let faults = self.lock_faults();
        let faults = faults.iter();
        faults
            .map(|(collection, (fault, _))| (collection.name(), fault.clone()))
            .collect()
    }

    /// Whether everything was there once: before that, what is missing may only not have come yet. What resources only name
    /// is not waited for without an end.
    pub(super) fn is_complete(&self) -> bool {
        let held = self.lock();
        let faults = self.lock_faults();
        Collection::all().all(|collection| {
            let is_known = held.get(&collection).is_some_and(|held| held.is_known);
            let is_given_up = collection.is_auxiliary()
                && faults
                    .get(&collection)
                    .is_some_and(|(_, since)| since.elapsed() >= PATIENCE);
            is_known || is_given_up
        })
    }

    /// Whether what is not there does not exist.
    pub(super) fn is_whole(&self, collection: Collection) -> bool {
        let held = self.lock();
        let held = held.get(&collection);
        held.is_some_and(|held| held.is_known && !held.is_partial)
    }

    /// Collections of which there is more than is kept.
    pub(super) fn partial(&self) -> Vec<Collection> {
        let held = self.lock();
        let partial = held.iter().filter(|(_, held)| held.is_partial);
        partial.map(|(collection, _)| *collection).collect()
    }

    /// The objects of a collection by their names.
    pub(super) fn objects(&self, collection: Collection) -> Vec<(String, Object)> {
        let held = self.lock();
        let objects = held.get(&collection).into_iter();
        let objects = objects.flat_map(|held| &held.objects);
        objects
            .map(|(name, (object, _))| (name.clone(), Arc::clone(object)))
            .collect()
    }

    pub(super) fn object(&self, collection: Collection, name: &str) -> Option<Object> {
        let held = self.lock();
        let (object, _) = held.get(&collection)?.objects.get(name)?;
        Some(Arc::clone(object))
    }

    /// Takes a list in place of what was there; `is_partial` where it is not whole. Returns whether there is no room for all
    /// of it where there was before.
    pub(super) fn replace(
        &self,
        collection: Collection,
        list: Vec<(Value, usize)>,
        is_partial: bool,
    ) -> bool {
        let mut fresh = Held {
            is_known: true,
            is_partial,
            ..Held::default()
        };
        for (object, bytes) in list {
            fresh.put(collection, object, bytes);
        }
        let is_partial = fresh.is_partial;
        let former = self.lock().insert(collection, fresh);
        self.touch();
        is_partial && !former.is_some_and(|former| former.is_partial)
    }

    /// Takes an object that is new or has changed. Returns whether it is the first that there is no room for.
    pub(super) fn put(&self, collection: Collection, object: Value, bytes: usize) -> bool {
        let mut all = self.lock();
        let held = all.entry(collection).or_default();
        let was_partial = held.is_partial;
        held.put(collection, object, bytes);
        let is_news = held.is_partial && !was_partial;
        drop(all);
        self.touch();
        is_news
    }

    pub(super) fn remove(&self, collection: Collection, name: &str) {
        if let Some(held) = self.lock().get_mut(&collection) {
            held.remove(name);
        }
        self.touch();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Collection, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_faults(&self) -> MutexGuard<'_, BTreeMap<Collection, (String, Instant)>> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn put(&mut self, collection: Collection, object: Value, bytes: usize) {
        let Some(name) = name_of(&object).map(ToOwned::to_owned) else {
            return;
        };
        let former = self.objects.get(&name).map(|(_, bytes)| *bytes);
        let others = self.objects.len() - usize::from(former.is_some());
        let room = BYTES_MAX - (self.bytes - former.unwrap_or_default());
        if others >= collection.objects_max() || bytes > room {
            // What it was before is better than nothing.
            self.is_partial = true;
            return;
        }
        self.remove(&name);
        self.bytes += bytes;
        self.objects.insert(name, (Arc::new(object), bytes));
    }

    fn remove(&mut self, name: &str) {
        if let Some((_, bytes)) = self.objects.remove(name) {
            self.bytes -= bytes;
        }
    }
}

/// `metadata.name`
pub(super) fn name_of(object: &Value) -> Option<&str> {
    metadata(object, "name")
}

/// A text of `metadata`.
pub(super) fn metadata<'v>(object: &'v Value, key: &str) -> Option<&'v str> {
    object.get("metadata")?.get(key)?.as_str()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(name: &str) -> Value {
        json!({"metadata": {"name": name, "resourceVersion": "1"}})
    }

    #[test]
    fn a_list_takes_the_place_of_what_was_there() {
        let cache = Cache::default();
        cache.put(Collection::Services, object("a"), 10);
        let list = vec![(object("b"), 10)];
        assert!(!cache.replace(Collection::Services, list, false));
        assert!(cache.object(Collection::Services, "a").is_none());
        assert!(cache.object(Collection::Services, "b").is_some());
        cache.remove(Collection::Services, "b");
        assert!(cache.objects(Collection::Services).is_empty());
    }

    #[test]
    fn everything_is_known_when_every_collection_is() {
        let cache = Cache::default();
        for collection in Collection::all() {
            assert!(!cache.is_complete(), "{collection:?}");
            cache.replace(collection, Vec::new(), false);
        }
        assert!(cache.is_complete());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_only_named_is_not_awaited_without_an_end() {
        let cache = Cache::default();
        for collection in Collection::all().filter(|one| !one.is_auxiliary()) {
            cache.replace(collection, Vec::new(), false);
        }
        let refused = || Some("no right".to_owned());
        for collection in Collection::all().filter(|one| one.is_auxiliary()) {
            cache.set_fault(collection, refused());
        }
        time::advance(PATIENCE / 2).await;
        cache.set_fault(Collection::Secrets, refused());
        assert!(!cache.is_complete());
        time::advance(PATIENCE / 2).await;
        assert!(cache.is_complete());
        assert!(!cache.is_whole(Collection::Secrets));
    }

    #[test]
    fn number_and_bytes_are_bounded() {
        let cache = Cache::default();
        let (services, secrets) = (Collection::Services, Collection::Secrets);
        let list = (0..services.objects_max() + 3)
            .map(|n| (object(&format!("s{n}")), 1))
            .collect();
        assert!(cache.replace(services, list, false));
        assert_eq!(cache.objects(services).len(), services.objects_max());
        assert_eq!(cache.partial(), [services]);
        assert!(!cache.put(services, object("more"), 1), "it is said once");

        cache.replace(secrets, Vec::new(), false);
        assert!(cache.put(secrets, object("a"), BYTES_MAX + 1));
        cache.replace(secrets, Vec::new(), false);
        assert!(cache.is_whole(secrets), "another list, another look");
        assert!(!cache.put(secrets, object("a"), BYTES_MAX));
        assert!(cache.put(secrets, object("b"), 1));
        assert!(!cache.is_whole(secrets));
        cache.put(secrets, object("a"), 5);
        cache.put(secrets, object("b"), 1);
        let held = cache.objects(secrets).len();
        assert_eq!(held, 2, "one that is there makes room for itself");
        cache.put(secrets, object("b"), BYTES_MAX);
        let held = cache.objects(secrets).len();
        assert_eq!(held, 2, "one that grows too large stays as it was");
    }
}
