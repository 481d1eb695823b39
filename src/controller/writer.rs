//! Services, policy and certificates, until the cluster has them. What fails is tried again by itself, and holds up no other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use tokio::time::Instant;
use tracing::{debug, info};

use super::cache::{Cache, Object, metadata};
use super::client::{ApiClient, Detail};
use super::collection::{Collection, Kind, is_plain};
use super::fault::ApiFault;
use super::listing::encoded;
use super::manifests::{Manifest, Place, certificates_path, is_made_by, is_of, leads_as, made_by};
use super::plan::{Fate, Key, Plan, Resource};
use super::retry::Retries;

/// Certificates of ours that are looked at to find those that are left over.
const CERTIFICATES_MAX: usize = 500;

/// Writes objects.
pub(super) struct Writer {
    client: Arc<ApiClient>,
    cache: Arc<Cache>,
    namespace: Arc<str>,
    instance: String,
    /// Objects as they were applied last, by path.
    applied: BTreeMap<String, Value>,
    /// Which version of a service was known when it was applied last, by path.
    mended: BTreeMap<String, Option<String>>,
    /// Names of Certificates, and listeners by `uid`, for which nothing was left over.
    swept: Option<(BTreeSet<String>, BTreeSet<String>)>,
    retries: Retries,
}

/// What is not as it should be.
#[derive(Debug, Default)]
pub(super) struct Unwritten {
    pub(super) faults: Vec<String>,
    /// Why a listener has no Service.
    pub(super) services: BTreeMap<Key, String>,
    /// Listeners whose Service has not had its turn.
    pub(super) waiting: BTreeSet<Key>,
    /// Services of somebody else that do as they are, by name: no watch may tell of them.
    pub(super) of_others: BTreeMap<String, Object>,
    /// Why a listener has no Certificate.
    pub(super) certificates: BTreeMap<Key, String>,
}

/// What should be there.
struct Wanted {
    services: Vec<Manifest>,
    policy: Option<Manifest>,
    certificates: Vec<Manifest>,
}

impl Writer {
    pub(super) fn new(
        (client, cache): (Arc<ApiClient>, Arc<Cache>),
        namespace: Arc<str>,
        instance: String,
    ) -> Self {
        Self {
            client,
            cache,
            namespace,
            instance,
            applied: BTreeMap::new(),
            mended: BTreeMap::new(),
            swept: None,
            retries: Retries::default(),
        }
    }

    /// Has everything written anew, whatever has become of it.
    pub(super) fn forget(&mut self) {
        self.applied.clear();
        self.swept = None;
    }

    /// When something is to be tried again.
    pub(super) fn next(&self) -> Option<Instant> {
        self.retries.next()
    }

    /// Services, so that they have addresses before anything else is there, then certificates. [`Writer::sweep`] ends what this begins.
    pub(super) async fn write(&mut self, resources: &[Resource], plan: &Plan) -> Unwritten {
        let wanted = self.wanted(resources, plan);
        let mut unwritten = Unwritten::default();
        self.retries.begin();
        self.write_all(&wanted, &mut unwritten).await;
        let paths: BTreeSet<&str> = wanted.all().map(|manifest| &*manifest.path).collect();
        self.applied.retain(|path, _| paths.contains(&**path));
        self.mended.retain(|path, _| paths.contains(&**path));
        unwritten
    }

    /// Removes Certificates that nobody wishes for, where it is certain that cert-manager is there, that the plan was made so, and
    /// that it counts. Returns what failed.
    pub(super) async fn sweep(
        &mut self,
        resources: &[Resource],
        plan: &Plan,
        is_certain: bool,
    ) -> Vec<String> {
        let mut faults = Vec::new();
        if is_certain {
            let wanted = plan.certificates.iter();
            let names = wanted.map(|(_, wanted)| wanted.secret.clone()).collect();
            let sweep = (names, uids(resources, plan));
            self.remove_certificates(sweep, &mut faults).await;
        }
        self.retries.end();
        faults
    }

    async fn write_all(&mut self, wanted: &Wanted, unwritten: &mut Unwritten) {
        for service in &wanted.services {
            match self.apply_service(service, unwritten).await {
                Ok(()) => {}
                Err(ApiFault::Postponed) => {
                    unwritten.waiting.extend(service.owners.iter().cloned());
                }
                Err(fault) => {
                    let text = format!("the Service {}: {fault}", service.name);
                    unwritten.faults.push(text.clone());
                    let owners = service.owners.iter().cloned();
                    unwritten
                        .services
                        .extend(owners.map(|key| (key, text.clone())));
                }
            }
        }
        self.remove_services(&wanted.services, &mut unwritten.faults)
            .await;
        if let Some(policy) = &wanted.policy
            && let Err(fault) = self.apply_own(policy).await
            && fault != ApiFault::Postponed
        {
            let text = format!("the NetworkPolicy {}: {fault}", policy.name);
            unwritten.faults.push(text);
        }
        for certificate in &wanted.certificates {
            if let Err(fault) = self.apply_own(certificate).await
                && fault != ApiFault::Postponed
            {
                let text = format!("the Certificate {}: {fault}", certificate.name);
                unwritten.faults.push(text.clone());
                let owners = certificate.owners.iter().cloned();
                unwritten
                    .certificates
                    .extend(owners.map(|key| (key, text.clone())));
            }
        }
    }

    fn wanted(&self, resources: &[Resource], plan: &Plan) -> Wanted {
        let place = Place {
            namespace: &self.namespace,
            instance: &self.instance,
        };
        let owner = |name: &str| {
            let mut owners = resources.iter().filter(|resource| {
                let key = &resource.key;
                let counts = plan.fates.get(key).is_some_and(Fate::counts);
                key.kind == Kind::Listener && key.name == name && counts
            });
            owners.next().map(|owner| (&owner.key, &owner.object))
        };
        let listeners = plan
            .settings
            .iter()
            .flat_map(|settings| &settings.listeners);
        let services: Vec<Manifest> = listeners
            .filter_map(|listener| place.service(owner(listener.name.as_str())?, listener))
            .collect();
        let owners: Vec<_> = services
            .iter()
            .flat_map(|service| &service.owners)
            .filter_map(|key| owner(&key.name))
            .collect();
        let policy = place.network_policy(&owners, plan);
        let certificates = plan.certificates.iter().filter_map(|(keys, wanted)| {
            let owners = keys.iter().filter_map(|key| owner(&key.name));
            let owners: Vec<_> = owners.collect();
            (!owners.is_empty()).then(|| place.certificate(&owners, wanted))
        });
        Wanted {
            policy,
            certificates: certificates.collect(),
            services,
        }
    }

    /// Makes a service, or mends one of ours. One of somebody else is never written: it does as it is, or it is a fault.
    async fn apply_service(
        &mut self,
        service: &Manifest,
        unwritten: &mut Unwritten,
    ) -> Result<(), ApiFault> {
        let known = self.cache.object(Collection::Services, &service.name);
        let version = known.as_ref().and_then(|known| {
            let version = metadata(known, "resourceVersion")?;
            Some(version.to_owned())
        });
        if let Some(known) = known {
            if !is_made_by(&self.instance, &known) {
                return of_others(&known, service);
            }
            // One that has not moved since may only not have come back yet.
            if !leads_as(&known, &service.object)
                && self.mended.get(&service.path) != Some(&version)
            {
                self.applied.remove(&service.path);
            }
            let is_applied = self.applied.get(&service.path) == Some(&service.object);
            self.apply(service).await?;
            if !is_applied {
                self.mended.insert(service.path.clone(), version);
            }
            return Ok(());
        }
        // It may be there and belong to somebody else, or have been removed by somebody.
        self.applied.remove(&service.path);
        let (client, instance) = (&self.client, &self.instance);
        let request = async {
            match client.get(&service.path, Detail::Whole).await {
                Ok(found) if !is_made_by(instance, &found) => {
                    of_others(&found, service).map(|()| Some(found))
                }
                Ok(_) | Err(ApiFault::NotFound) => {
                    let applied = client.apply(&service.path, &service.object).await;
                    applied.map(|()| None)
                }
                Err(fault) => Err(fault),
            }
        };
        let wish = &service.object;
        match self.retries.attempt(&service.path, wish, request).await? {
            Some(found) => {
                let name = service.name.clone();
                unwritten.of_others.insert(name, Arc::new(found));
            }
            None => {
                self.mended.insert(service.path.clone(), None);
                self.note(service);
            }
        }
        Ok(())
    }

    /// Applies an object unless it was applied as it is.
    async fn apply(&mut self, manifest: &Manifest) -> Result<(), ApiFault> {
        if self.applied.get(&manifest.path) == Some(&manifest.object) {
            return Ok(());
        }
        // Whether it is there is not known before there is an answer.
        self.applied.remove(&manifest.path);
        let request = self.client.apply(&manifest.path, &manifest.object);
        self.retries
            .attempt(&manifest.path, &manifest.object, request)
            .await?;
        self.note(manifest);
        Ok(())
    }

    /// As [`Self::apply`], of what nobody watches: one that somebody else has made is never written.
    async fn apply_own(&mut self, manifest: &Manifest) -> Result<(), ApiFault> {
        let Manifest { path, object, .. } = manifest;
        if self.applied.get(path) == Some(object) {
            return Ok(());
        }
        self.applied.remove(path);
        let (client, instance) = (&self.client, &self.instance);
        let request = async {
            match client.get(path, Detail::Whole).await {
                Ok(found) if !is_made_by(instance, &found) => Err(ApiFault::OfOthers),
                Ok(_) | Err(ApiFault::NotFound) => client.apply(path, object).await,
                Err(fault) => Err(fault),
            }
        };
        self.retries.attempt(path, object, request).await?;
        self.note(manifest);
        Ok(())
    }

    fn note(&mut self, manifest: &Manifest) {
        debug!(path = manifest.path, "applied");
        self.applied
            .insert(manifest.path.clone(), manifest.object.clone());
    }

    /// Removes services that we have made and that no listener has any more.
    async fn remove_services(&mut self, wanted: &[Manifest], faults: &mut Vec<String>) {
        for (name, object) in self.cache.objects(Collection::Services) {
            let is_ours = is_made_by(&self.instance, &object);
            if !is_ours || wanted.iter().any(|service| service.name == name) {
                continue;
            }
            let path = format!("/api/v1/namespaces/{}/services/{name}", self.namespace);
            match self.remove(&path).await {
                Ok(()) => info!(service = name, "service removed"),
                Err(ApiFault::Postponed) => {}
                Err(fault) => faults.push(format!("the Service {name}: {fault}")),
            }
        }
    }

    async fn remove(&mut self, path: &str) -> Result<(), ApiFault> {
        let client = &self.client;
        let request = async {
            match client.delete(path).await {
                Ok(()) | Err(ApiFault::NotFound) => Ok(()),
                Err(fault) => Err(fault),
            }
        };
        self.retries.attempt(path, &Value::Null, request).await
    }

    /// Removes Certificates that we have made for listeners that wish for none, or for another, any more. Those of a listener
    /// that is not here stay: it may only not be known, and where it is gone the cluster removes them.
    async fn remove_certificates(
        &mut self,
        sweep: (BTreeSet<String>, BTreeSet<String>),
        faults: &mut Vec<String>,
    ) {
        if self.swept.as_ref() == Some(&sweep) {
            return;
        }
        let path = certificates_path(&self.namespace);
        let selector = encoded(&made_by(&self.instance));
        let query = format!("{path}?limit={CERTIFICATES_MAX}&labelSelector={selector}");
        let request = self.client.get(&query, Detail::Metadata);
        let found = match self.retries.attempt(&path, &Value::Null, request).await {
            Ok(found) => found,
            Err(ApiFault::Postponed) => return,
            Err(fault) => {
                faults.push(format!("the Certificates: {fault}"));
                return;
            }
        };
        let mut is_done = true;
        let items = found.get("items").and_then(Value::as_array);
        for found in items.into_iter().flatten() {
            let name = metadata(found, "name").unwrap_or_default();
            let is_ours = is_made_by(&self.instance, found) && is_of(&sweep.1, found);
            if !is_ours || !is_plain(name) || sweep.0.contains(name) {
                continue;
            }
            match self.remove(&format!("{path}/{name}")).await {
                Ok(()) => info!(certificate = name, "certificate removed"),
                Err(fault) => {
                    is_done = false;
                    if fault != ApiFault::Postponed {
                        faults.push(format!("the Certificate {name}: {fault}"));
                    }
                }
            }
        }
        self.swept = is_done.then_some(sweep);
    }
}

/// Listeners that count, by `uid`.
fn uids(resources: &[Resource], plan: &Plan) -> BTreeSet<String> {
    let counting = resources.iter().filter(|resource| {
        let fate = plan.fates.get(&resource.key);
        resource.key.kind == Kind::Listener && fate.is_some_and(Fate::counts)
    });
    let uids = counting.filter_map(|resource| metadata(&resource.object, "uid"));
    uids.map(ToOwned::to_owned).collect()
}

impl Wanted {
    fn all(&self) -> impl Iterator<Item = &Manifest> {
        let services = self.services.iter().chain(&self.policy);
        services.chain(&self.certificates)
    }
}

/// Whether a service of somebody else does as it is.
fn of_others(found: &Value, service: &Manifest) -> Result<(), ApiFault> {
    match leads_as(found, &service.object) {
        true => Ok(()),
        false => Err(ApiFault::Foreign),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::time::{Duration, advance};

    use super::*;
    use crate::controller::client::nobody;
    use crate::controller::collection::Group;

    #[tokio::test(start_paused = true)]
    async fn what_waits_for_its_turn_has_not_failed() {
        let key = Key {
            kind: Kind::Listener,
            group: Group::Own,
            name: "plain".to_owned(),
        };
        let object = json!({"metadata": {"uid": "u"}});
        let resource = Resource {
            key: key.clone(),
            object: Arc::new(object),
        };
        let settings = crate::config::parse(
            "[[listener]]\nname = \"plain\"\n[[listener.port]]\nport = 1883\nauthentication = \"none\"\nauthorization = \"none\"\n",
        );
        let plan = Plan {
            settings: settings.ok(),
            fates: BTreeMap::from([(key.clone(), Fate::InForce(String::new()))]),
            ..Plan::default()
        };
        let means = (Arc::new(nobody()), Arc::new(Cache::default()));
        let mut writer = Writer::new(means, "plant".into(), "edge".to_owned());
        let wanted = writer.wanted(&[resource], &plan);
        writer.retries.begin();
        advance(Duration::from_secs(60)).await;
        let mut unwritten = Unwritten::default();
        writer.write_all(&wanted, &mut unwritten).await;
        assert!(unwritten.services.is_empty() && unwritten.faults.is_empty());
        assert!(unwritten.waiting.contains(&key));
        assert!(writer.next().is_some(), "it has its turn later");
    }
}
