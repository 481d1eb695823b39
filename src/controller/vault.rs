//! The Secrets and ConfigMaps that resources name, as they are now. Others are never read.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use zeroize::Zeroizing;

use super::cache::{Cache, metadata};
use super::client::{ApiClient, Detail};
use super::collection::Collection;
use super::fault::ApiFault;

/// Objects that are kept.
const OBJECTS_MAX: usize = 512;

/// Bytes of one object. A Secret holds 1 MiB, a third more as text.
const OBJECT_BYTES_MAX: usize = 2 << 20;

/// `Secret` or `ConfigMap`, and the name.
pub(super) type ObjectName = (&'static str, String);

/// Objects with the version that they were read at.
#[derive(Default)]
pub(super) struct Vault {
    versions: BTreeMap<ObjectName, String>,
    pub(super) objects: BTreeMap<ObjectName, Zeroizing<String>>,
}

impl Vault {
    /// Reads what is named and has changed, and forgets what is not named. Returns whether anything is other than before,
    /// and the first fault; what could not be read stays as it was.
    pub(super) async fn refresh(
        &mut self,
        named: &BTreeSet<ObjectName>,
        (client, cache): (&ApiClient, &Cache),
        namespace: &str,
    ) -> (bool, Option<ApiFault>) {
        let (mut changed, mut fault) = (false, None);
        self.versions.retain(|name, _| named.contains(name));
        self.objects.retain(|name, _| named.contains(name));
        for name in named.iter().take(OBJECTS_MAX) {
            let (kind, object) = name;
            let (collection, plural) = match *kind {
                "Secret" => (Collection::Secrets, "secrets"),
                _ => (Collection::ConfigMaps, "configmaps"),
            };
            let Some(known) = cache.object(collection, object) else {
                self.versions.remove(name);
                changed |= self.objects.remove(name).is_some();
                continue;
            };
            let version = metadata(&known, "resourceVersion").unwrap_or_default();
            if self.versions.get(name).is_some_and(|read| read == version) {
                continue;
            }
            let path = format!("/api/v1/namespaces/{namespace}/{plural}/{object}");
            match client.get_text(&path, Detail::Whole).await {
                Ok(text) if text.len() <= OBJECT_BYTES_MAX => {
                    self.versions.insert(name.clone(), version.to_owned());
                    if let Ok(text) = std::str::from_utf8(&text) {
                        self.objects
                            .insert(name.clone(), Zeroizing::new(text.to_owned()));
                        changed = true;
                    }
                }
                Ok(_) => fault = Some(ApiFault::Answer("an object of more than 2 MiB")),
                // It has gone since, which the watch will say.
                Err(ApiFault::NotFound) => {}
                Err(error) => fault = fault.or(Some(error)),
            }
        }
        (changed, fault)
    }
}
