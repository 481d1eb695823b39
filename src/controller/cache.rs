//! What the cluster has, as far as it is known.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::sync::Notify;

use super::collection::Collection;

/// Bytes of all objects of a collection, as they came.
const BYTES_MAX: usize = 16 << 20;

/// An object that is shared by the cache and who works with it.
pub(super) type Object = Arc<Value>;

/// The objects of one collection by name.
#[derive(Debug, Default)]
struct Held {
    /// Whether they were all there once, or are known not to exist.
    is_known: bool,
    objects: BTreeMap<String, (Object, usize)>,
    bytes: usize,
}

/// The objects of all collections.
#[derive(Debug, Default)]
pub(super) struct Cache {
    held: Mutex<BTreeMap<Collection, Held>>,
    /// What cannot be watched now, with why.
    faults: Mutex<BTreeMap<Collection, String>>,
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
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        match fault {
            Some(fault) => faults.insert(collection, fault),
            None => faults.remove(&collection),
        };
    }

    /// What cannot be watched now, by its name, with why.
    pub(super) fn faults(&self) -> Vec<(String, String)> {
        let faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let faults = faults.iter();
        faults
            .map(|(collection, fault)| (collection.name(), fault.clone()))
            .collect()
    }

    /// Whether everything was there once: before that, what is missing may only not have come yet.
    pub(super) fn is_complete(&self) -> bool {
        let held = self.lock();
        Collection::all().all(|collection| held.get(&collection).is_some_and(|held| held.is_known))
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

    /// Takes a whole list in place of what was there. Returns how many objects there was no room for.
    pub(super) fn replace(&self, collection: Collection, list: Vec<(Value, usize)>) -> usize {
        let mut fresh = Held {
            is_known: true,
            ..Held::default()
        };
        let mut left_out = 0;
        for (object, bytes) in list {
            left_out += usize::from(!fresh.put(collection, object, bytes));
        }
        self.lock().insert(collection, fresh);
        self.touch();
        left_out
    }

    /// Takes an object that is new or has changed. Returns whether there was room for it.
    pub(super) fn put(&self, collection: Collection, object: Value, bytes: usize) -> bool {
        let has_room = self
            .lock()
            .entry(collection)
            .or_default()
            .put(collection, object, bytes);
        self.touch();
        has_room
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
}

impl Held {
    fn put(&mut self, collection: Collection, object: Value, bytes: usize) -> bool {
        let Some(name) = name_of(&object).map(ToOwned::to_owned) else {
            return true;
        };
        self.remove(&name);
        if self.objects.len() >= collection.objects_max() || self.bytes + bytes > BYTES_MAX {
            return false;
        }
        self.bytes += bytes;
        self.objects.insert(name, (Arc::new(object), bytes));
        true
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
        assert!(cache.put(Collection::Services, object("a"), 10));
        assert_eq!(
            cache.replace(Collection::Services, vec![(object("b"), 10)]),
            0
        );
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
            cache.replace(collection, Vec::new());
        }
        assert!(cache.is_complete());
    }

    #[test]
    fn number_and_bytes_are_bounded() {
        let cache = Cache::default();
        let max = Collection::Services.objects_max();
        let list = (0..max + 3)
            .map(|n| (object(&format!("s{n}")), 1))
            .collect();
        assert_eq!(cache.replace(Collection::Services, list), 3);
        assert!(!cache.put(Collection::Secrets, object("a"), BYTES_MAX + 1));
        assert!(cache.put(Collection::Secrets, object("a"), BYTES_MAX));
        assert!(!cache.put(Collection::Secrets, object("b"), 1));
        assert!(
            cache.put(Collection::Secrets, object("a"), 5),
            "one that is there makes room for itself"
        );
        assert!(cache.put(Collection::Secrets, object("b"), 1));
    }
}
