//! The Secrets and ConfigMaps that resources name, as they are now. Others are never read.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::{self, Instant};
use zeroize::Zeroizing;

use super::cache::{Cache, metadata};
use super::client::{ApiClient, Detail};
use super::collection::Collection;
use super::fault::ApiFault;
use super::retry::Retries;

/// Objects that are kept.
const OBJECTS_MAX: usize = 512;

/// Bytes of one object. A Secret holds 1 MiB, a third more as text.
const OBJECT_BYTES_MAX: usize = 2 << 20;

/// Bytes of all of them.
const BYTES_MAX: usize = 16 << 20;

/// Time between two looks at objects that no watch tells of.
const LOOK: Duration = Duration::from_secs(60);

/// `Secret` or `ConfigMap`, and the name.
pub(super) type ObjectName = (&'static str, String);

/// Objects with the version that they were read at.
#[derive(Default)]
pub(super) struct Vault {
    versions: BTreeMap<ObjectName, String>,
    pub(super) objects: BTreeMap<ObjectName, Zeroizing<String>>,
    /// Objects that were looked for and are not there.
    pub(super) absent: BTreeSet<ObjectName>,
    /// Why an object is not known, or not as it is now.
    pub(super) faults: BTreeMap<ObjectName, String>,
    /// Objects that were looked at although no watch tells of them.
    looked: BTreeSet<ObjectName>,
    look_at: Option<Instant>,
    retries: Retries,
}

impl Vault {
    /// Begins to look at everything that is named.
    pub(super) fn begin(&mut self) {
        self.retries.begin();
        self.looked.clear();
        self.look_at = None;
    }

    /// Everything that is named has been looked at.
    pub(super) fn end(&mut self) {
        self.retries.end();
    }

    /// When to look again although nothing is known to have changed.
    pub(super) fn next(&self) -> Option<Instant> {
        self.retries.next().into_iter().chain(self.look_at).min()
    }

    /// Reads what is named and has changed, and forgets what is not named. Returns whether anything is other than before;
    /// what could not be read stays as it was.
    pub(super) async fn refresh(
        &mut self,
        named: &BTreeSet<ObjectName>,
        (client, cache): (&ApiClient, &Cache),
        namespace: &str,
    ) -> bool {
        let kept: BTreeSet<&ObjectName> = named.iter().take(OBJECTS_MAX).collect();
        self.versions.retain(|name, _| kept.contains(name));
        self.objects.retain(|name, _| kept.contains(name));
        self.absent.retain(|name| kept.contains(name));
        self.faults.retain(|name, _| kept.contains(name));
        let path = |(kind, object): &ObjectName| {
            let plural = collection_of(kind).name();
            format!("/api/v1/namespaces/{namespace}/{plural}/{object}")
        };
        for name in named.iter().skip(OBJECTS_MAX) {
            let text = format!("more than {OBJECTS_MAX} of them are named");
            self.faults.insert(name.clone(), text);
        }
        let mut changed = false;
        for name in kept {
            changed |= self.look(name, (client, cache), &path(name)).await;
        }
        changed
    }

    async fn look(
        &mut self,
        name: &ObjectName,
        (client, cache): (&ApiClient, &Cache),
        path: &str,
    ) -> bool {
        let collection = collection_of(name.0);
        let known = cache.object(collection, &name.1);
        let version = known.as_ref().and_then(|known| {
            let version = metadata(known, "resourceVersion")?;
            Some(version.to_owned())
        });
        match &version {
            Some(version) if self.versions.get(name) == Some(version) => return false,
            Some(_) => {}
            None if cache.is_whole(collection) => return self.forget(name),
            // It may be there, and no watch tells of it.
            None if !self.looked.insert(name.clone()) => return false,
            None => self.look_at = Some(time::Instant::now() + LOOK),
        }
        let others = self.objects.iter().filter(|(other, _)| *other != name);
        let room = BYTES_MAX.saturating_sub(others.map(|(_, text)| text.len()).sum());
        let request = async {
            let text = client.get_text(path, Detail::Whole).await?;
            match text.len() <= OBJECT_BYTES_MAX.min(room) {
                true => Ok(text),
                false => Err(ApiFault::TooLarge),
            }
        };
        match self.retries.attempt(path, &version, request).await {
            Ok(text) => {
                self.faults.remove(name);
                self.absent.remove(name);
                self.versions
                    .insert(name.clone(), version.unwrap_or_default());
                let text = String::from_utf8_lossy(&text).into_owned();
                let text = Zeroizing::new(text);
                let former = self.objects.insert(name.clone(), text.clone());
                former.is_none_or(|former| former != text)
            }
            // Where it is watched, the watch will say so.
            Err(ApiFault::NotFound) if known.is_none() => self.forget(name),
            // Nothing is known of it that was not known before.
            Err(ApiFault::Postponed) => false,
            Err(fault) => {
                self.faults.insert(name.clone(), fault.to_string());
                false
            }
        }
    }

    /// An object is not there. Returns whether that is news.
    fn forget(&mut self, name: &ObjectName) -> bool {
        self.faults.remove(name);
        self.versions.remove(name);
        self.objects.remove(name);
        self.absent.insert(name.clone())
    }
}

fn collection_of(kind: &str) -> Collection {
    match kind {
        "Secret" => Collection::Secrets,
        _ => Collection::ConfigMaps,
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::controller::client::nobody;

    #[tokio::test]
    async fn what_is_not_there_is_known_where_all_of_it_is() {
        let (mut vault, cache) = (Vault::default(), Cache::default());
        let name = ("ConfigMap", "client-ca".to_owned());
        let named = BTreeSet::from([name.clone()]);
        let means = (&nobody(), &cache);
        assert!(!vault.refresh(&named, means, "plant").await);
        assert!(vault.absent.is_empty(), "nobody could be asked");
        cache.replace(Collection::ConfigMaps, Vec::new(), false);
        assert!(vault.refresh(&named, means, "plant").await, "it is news");
        assert!(!vault.refresh(&named, means, "plant").await);
        assert_eq!(vault.absent, named);
        vault.refresh(&BTreeSet::new(), means, "plant").await;
        assert!(vault.absent.is_empty(), "nobody names it any more");
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_for_its_turn_is_not_unreadable() {
        let mut vault = Vault::default();
        let named = BTreeSet::from([("Secret", "late".to_owned())]);
        vault.begin();
        advance(Duration::from_secs(60)).await;
        let means = (&nobody(), &Cache::default());
        assert!(!vault.refresh(&named, means, "plant").await);
        vault.end();
        assert!(vault.faults.is_empty(), "{:?}", vault.faults);
        let next = vault.next().unwrap();
        assert!(next < time::Instant::now() + LOOK, "it has its turn soon");
    }
}
