//! Services, policy and certificates, until the cluster has them. What fails is tried again by itself, and holds up no other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use tokio::time::Instant;
use tracing::{debug, info};

use super::cache::Cache;
use super::client::{ApiClient, Detail};
use super::collection::{Collection, Kind, LISTENER_LABEL};
use super::fault::ApiFault;
use super::manifests::{Manifest, Place, is_made_by};
use super::plan::{Fate, Key, Plan, Resource};
use super::retry::Retries;

/// Writes objects.
pub(super) struct Writer {
    client: Arc<ApiClient>,
    cache: Arc<Cache>,
    namespace: Arc<str>,
    instance: String,
    /// Objects as they were applied last, by path.
    applied: BTreeMap<String, Value>,
    retries: Retries,
}

/// What is not as it should be.
#[derive(Debug, Default)]
pub(super) struct Unwritten {
    pub(super) faults: Vec<String>,
    /// Why a listener has no Service.
    pub(super) services: BTreeMap<Key, String>,
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
            retries: Retries::default(),
        }
    }

    /// Has everything written anew, whatever has become of it.
    pub(super) fn forget(&mut self) {
        self.applied.clear();
    }

    /// When something is to be tried again.
    pub(super) fn next(&self) -> Option<Instant> {
        self.retries.next()
    }

    /// Services, so that they have addresses before anything else is there, then certificates.
    pub(super) async fn write(&mut self, resources: &[Resource], plan: &Plan) -> Unwritten {
        let wanted = self.wanted(resources, plan);
        let mut unwritten = Unwritten::default();
        self.retries.begin();
        for service in &wanted.services {
            if let Err(fault) = self.apply_service(service).await {
                let text = fault.to_string();
                unwritten
                    .faults
                    .push(format!("the Service {}: {fault}", service.name));
                unwritten.services.insert(service.owner.clone(), text);
            }
        }
        self.remove_services(&wanted.services, &mut unwritten.faults)
            .await;
        if let Some(policy) = &wanted.policy
            && let Err(fault) = self.apply(policy).await
        {
            let text = format!("the NetworkPolicy {}: {fault}", policy.name);
            unwritten.faults.push(text);
        }
        for certificate in &wanted.certificates {
            if let Err(fault) = self.apply(certificate).await {
                let text = format!("the Certificate {}: {fault}", certificate.name);
                unwritten.faults.push(text.clone());
                let owner = certificate.owner.clone();
                unwritten.certificates.insert(owner, text);
            }
        }
        let paths: BTreeSet<&str> = wanted.all().map(|manifest| &*manifest.path).collect();
        self.applied.retain(|path, _| paths.contains(&**path));
        self.retries.end();
        unwritten
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
            .filter_map(|service| owner(&service.owner.name))
            .collect();
        let policy = place.network_policy(&owners, plan);
        let is_there = |name: &str| self.cache.object(Collection::Services, name).is_some();
        let services = place.beside_the_file(services, &plan.taken, is_there);
        let certificates = plan.certificates.iter();
        Wanted {
            policy,
            certificates: certificates
                .filter_map(|(key, wanted)| Some(place.certificate(owner(&key.name)?, wanted)))
                .collect(),
            services,
        }
    }

    async fn apply_service(&mut self, service: &Manifest) -> Result<(), ApiFault> {
        let known = self.cache.object(Collection::Services, &service.name);
        if known.is_some() {
            return self.apply(service).await;
        }
        // It may be there and belong to somebody else, or have been removed by somebody.
        self.applied.remove(&service.path);
        let client = &self.client;
        let request = async {
            match client.get(&service.path, Detail::Whole).await {
                Ok(found) if !is_of_a_listener(&found) => Err(ApiFault::Foreign("Service")),
                Ok(_) | Err(ApiFault::NotFound) => {
                    client.apply(&service.path, &service.object).await
                }
                Err(fault) => Err(fault),
            }
        };
        self.retries
            .attempt(&service.path, &service.object, request)
            .await?;
        self.note(service);
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
            let client = &self.client;
            let request = async {
                match client.delete(&path).await {
                    Ok(()) | Err(ApiFault::NotFound) => Ok(()),
                    Err(fault) => Err(fault),
                }
            };
            match self.retries.attempt(&path, &Value::Null, request).await {
                Ok(()) => info!(service = name, "service removed"),
                Err(fault) => faults.push(format!("the Service {name}: {fault}")),
            }
        }
    }
}

impl Wanted {
    fn all(&self) -> impl Iterator<Item = &Manifest> {
        let services = self.services.iter().chain(&self.policy);
        services.chain(&self.certificates)
    }
}

fn is_of_a_listener(service: &Value) -> bool {
    let labels = service.pointer("/metadata/labels");
    labels.is_some_and(|labels| labels.get(LISTENER_LABEL).is_some())
}
