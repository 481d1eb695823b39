//! From a change in the cluster to ports that are open, in this order: services, certificates, configuration, status.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{self, Instant, MissedTickBehavior, interval, sleep};
use tracing::{debug, info, warn};

use super::cache::{Cache, Object, metadata};
use super::client::{ApiClient, Detail};
use super::collection::{Collection, Group, Kind, LISTENER_LABEL, group_name};
use super::fault::ApiFault;
use super::folder::Folder;
use super::manifests::{Manifest, Place, api_version, is_made_by};
use super::plan::{self, Input, Key, Plan, Resource, Taken};
use super::statement::Facts;
use super::status::{Statement, event, is_said, timestamp};
use super::vault::{ObjectName, Vault};
use super::{ClusterFacts, Host, PortFacts};
use crate::clock;
use crate::config::KubernetesSettings;

/// Time between a change and what comes of it, so that a file with ten resources is one change.
const SETTLE: Duration = Duration::from_millis(250);

/// Time between two looks at the ports and at the configuration file.
const LOOK: Duration = Duration::from_secs(1);

/// Pauses before something is tried again that failed.
const RETRY_MIN: Duration = Duration::from_secs(2);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// Time after which objects are applied anew, whatever has become of them.
const RESYNC: Duration = Duration::from_secs(600);

/// Rounds of a plan: what is read may name more.
const ROUNDS_MAX: usize = 4;

/// Times that a status is written anew because the resource has changed meanwhile.
const CONFLICTS_MAX: u32 = 4;

/// What came of the last change.
struct Done {
    resources: Vec<Resource>,
    plan: Plan,
    /// Why the gateway does not take it.
    refused: Option<String>,
    object_faults: BTreeMap<Key, String>,
}

/// Brings a gateway to what the resources of its cluster say.
pub(super) struct Controller<H> {
    host: Arc<H>,
    client: Arc<ApiClient>,
    cache: Arc<Cache>,
    folder: Folder,
    namespace: Arc<str>,
    instance: String,
    /// Keys of the configuration that say how the API server is asked about tokens.
    api_server: Vec<(&'static str, String)>,
    cert_manager: watch::Receiver<Option<bool>>,
    vault: Vault,
    /// Documents that were good, by the path of their resource.
    former: BTreeMap<String, String>,
    /// Objects as they were applied last, by path.
    applied: BTreeMap<String, Value>,
    /// What was said last about each resource.
    told: BTreeMap<Key, (Option<String>, Value)>,
    taken: Taken,
    ports: Vec<PortFacts>,
    /// Resources that are in force as they stand, and those that are not.
    counts: (usize, usize),
    heard: ClusterFacts,
    done: Option<Done>,
    /// Faults that were said already.
    said: Option<String>,
    retry_at: Option<Instant>,
    retry_pause: Duration,
    resync_at: Instant,
}

impl<H: Host> Controller<H> {
    pub(super) fn new(
        host: Arc<H>,
        (client, cache): (Arc<ApiClient>, Arc<Cache>),
        folder: Folder,
        namespace: Arc<str>,
        settings: &KubernetesSettings,
        cert_manager: watch::Receiver<Option<bool>>,
    ) -> Self {
        Self {
            host,
            client,
            cache,
            namespace,
            instance: settings.instance.to_string(),
            api_server: keys_of(settings),
            cert_manager,
            vault: Vault::default(),
            former: folder.former(),
            folder,
            applied: BTreeMap::new(),
            told: BTreeMap::new(),
            taken: Taken::default(),
            ports: Vec::new(),
            counts: (0, 0),
            heard: ClusterFacts::default(),
            done: None,
            said: None,
            retry_at: None,
            retry_pause: Duration::ZERO,
            resync_at: time::Instant::now() + RESYNC,
        }
    }

    pub(super) async fn run(mut self) -> Infallible {
        let cache = Arc::clone(&self.cache);
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_due = false;
        loop {
            tokio::select! {
                () = cache.changed() => {
                    sleep(SETTLE).await;
                    is_due = true;
                }
                _ = look.tick() => {}
            }
            self.report();
            // Before that what is missing may only not have come yet.
            if !cache.is_complete() || self.cert_manager.borrow().is_none() {
                continue;
            }
            is_due |= self.retry_at.is_some_and(|at| at <= time::Instant::now());
            is_due |= self.done.is_some() && self.host.taken() != self.taken;
            if self.resync_at <= time::Instant::now() {
                self.resync_at = time::Instant::now() + RESYNC;
                self.applied.clear();
                is_due = true;
            }
            let faults = match std::mem::take(&mut is_due) {
                true => self.reconcile().await,
                false if self.host.ports() != self.ports => self.tell().await,
                false => continue,
            };
            self.note(faults);
            self.report();
        }
    }

    /// Tells the gateway how it gets on with the cluster, where that has changed.
    fn report(&mut self) {
        let (accepted, refused) = self.counts;
        let facts = ClusterFacts {
            namespace: self.namespace.to_string(),
            is_complete: self.cache.is_complete(),
            unwatched: self.cache.faults(),
            fault: self.said.clone(),
            accepted,
            refused,
        };
        if facts != self.heard {
            self.heard = facts.clone();
            self.host.hear(facts);
        }
    }

    /// Says what went wrong, once, and when it is tried again.
    fn note(&mut self, faults: Vec<String>) {
        let text = faults.join("; ");
        if text.is_empty() {
            if self.said.take().is_some() {
                info!("the cluster has been brought up to date");
            }
            (self.retry_at, self.retry_pause) = (None, Duration::ZERO);
            return;
        }
        self.retry_pause = (self.retry_pause * 2).clamp(RETRY_MIN, RETRY_MAX);
        self.retry_at = Some(time::Instant::now() + self.retry_pause);
        if self.said.as_ref() != Some(&text) {
            warn!("resources of the cluster: {text}; trying again");
        }
        self.said = Some(text);
    }

    /// Does everything that the resources ask for; returns what went wrong and is worth another try.
    async fn reconcile(&mut self) -> Vec<String> {
        let mut faults = Vec::new();
        self.taken = self.host.taken();
        let resources = self.resources();
        let plan = match self.plan(&resources, &mut faults).await {
            Ok(plan) => plan,
            Err(why) => {
                faults.push(why.clone());
                self.done = Some(Done {
                    resources,
                    plan: Plan::default(),
                    refused: Some(why),
                    object_faults: BTreeMap::new(),
                });
                faults.extend(self.tell().await);
                return faults;
            }
        };
        let object_faults = self.apply_objects(&resources, &plan, &mut faults).await;
        let refused = self.host.check(plan.text.clone()).await.err();
        if refused.is_none() {
            self.put_into_force(&plan, &mut faults).await;
        }
        self.done = Some(Done {
            resources,
            plan,
            refused,
            object_faults,
        });
        faults.extend(self.tell().await);
        faults
    }

    /// Every resource that may count: our own before those of the other group, older ones before newer ones.
    fn resources(&self) -> Vec<Resource> {
        let mut resources = Vec::new();
        for group in [Group::Own, Group::Foreign] {
            for kind in Kind::ALL {
                let objects = self.cache.objects(Collection::Resources(group, kind));
                resources.extend(objects.into_iter().map(|(name, object)| Resource {
                    key: Key { kind, group, name },
                    object,
                }));
            }
        }
        resources.retain(|resource| metadata(&resource.object, "deletionTimestamp").is_none());
        resources.sort_by(|one, other| {
            let place = |resource: &Resource| {
                let created = metadata(&resource.object, "creationTimestamp");
                let created = created.unwrap_or_default().to_owned();
                (resource.key.group, created, resource.key.clone())
            };
            place(one).cmp(&place(other))
        });
        resources
    }

    /// Makes a plan with everything that the resources name.
    async fn plan(
        &mut self,
        resources: &[Resource],
        faults: &mut Vec<String>,
    ) -> Result<Plan, String> {
        let mut round = 0;
        loop {
            round += 1;
            let files = self.folder.files();
            let plan = plan::make(&Input {
                resources,
                former: &self.former,
                objects: &self.vault.objects,
                taken: &self.taken,
                namespace: &self.namespace,
                has_cert_manager: self.cert_manager.borrow().unwrap_or_default(),
                api_server: &self.api_server,
                folder: &files,
            })?;
            let named = plan.needed.iter().map(|need| &need.object);
            let named: BTreeSet<ObjectName> = named
                .map(|object| (object.kind, object.name.clone()))
                .collect();
            let means = (&*self.client, &*self.cache);
            let (changed, fault) = self.vault.refresh(&named, means, &self.namespace).await;
            if !changed || round >= ROUNDS_MAX {
                faults.extend(fault.map(|fault| format!("a Secret or ConfigMap: {fault}")));
                return Ok(plan);
            }
        }
    }

    /// Services, so that they have addresses before anything else is there, then certificates. Returns what is wrong with
    /// those of a listener.
    async fn apply_objects(
        &mut self,
        resources: &[Resource],
        plan: &Plan,
        faults: &mut Vec<String>,
    ) -> BTreeMap<Key, String> {
        let place = Place {
            namespace: &self.namespace,
            instance: &self.instance,
        };
        let owner = |name: &str| {
            let mut owners = resources.iter().filter(|resource| {
                let key = &resource.key;
                let counts = plan.fates.get(key).is_some_and(plan::Fate::counts);
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
        let certificates: Vec<Manifest> = plan
            .certificates
            .iter()
            .filter_map(|(key, wanted)| Some(place.certificate(owner(&key.name)?, wanted)))
            .collect();
        let mut object_faults = BTreeMap::new();
        for service in &services {
            if let Err(why) = self.apply_service(service).await {
                faults.push(format!("the Service {}: {why}", service.name));
                object_faults.insert(service.owner.clone(), why);
            }
        }
        self.remove_services(&services, faults).await;
        for manifest in policy.iter().chain(&certificates) {
            if let Err(fault) = self.apply(manifest).await {
                let what = manifest.object["kind"].as_str().unwrap_or_default();
                faults.push(format!("the {what} {}: {fault}", manifest.name));
            }
        }
        object_faults
    }

    async fn apply_service(&mut self, service: &Manifest) -> Result<(), String> {
        let is_ours = self
            .cache
            .object(Collection::Services, &service.name)
            .is_some();
        if !is_ours {
            // It may be there and belong to somebody else, or have been removed by somebody.
            self.applied.remove(&service.path);
            match self.client.get(&service.path, Detail::Whole).await {
                Ok(found)
                    if found
                        .pointer("/metadata/labels")
                        .is_none_or(|labels| labels.get(LISTENER_LABEL).is_none()) =>
                {
                    return Err("a Service of this name is there and is none of ours".to_owned());
                }
                Ok(_) | Err(ApiFault::NotFound) => {}
                Err(fault) => return Err(fault.to_string()),
            }
        }
        self.apply(service).await.map_err(|fault| fault.to_string())
    }

    /// Applies an object unless it was applied as it is.
    async fn apply(&mut self, manifest: &Manifest) -> Result<(), ApiFault> {
        if self.applied.get(&manifest.path) == Some(&manifest.object) {
            return Ok(());
        }
        self.client.apply(&manifest.path, &manifest.object).await?;
        debug!(path = manifest.path, "applied");
        self.applied
            .insert(manifest.path.clone(), manifest.object.clone());
        Ok(())
    }

    /// Removes services that we have made and that no listener has any more.
    async fn remove_services(&mut self, wanted: &[Manifest], faults: &mut Vec<String>) {
        for (name, object) in self.cache.objects(Collection::Services) {
            if !is_made_by(&self.instance, &object)
                || wanted.iter().any(|service| service.name == name)
            {
                continue;
            }
            let path = format!("/api/v1/namespaces/{}/services/{name}", self.namespace);
            self.applied.remove(&path);
            match self.client.delete(&path).await {
                Ok(()) | Err(ApiFault::NotFound) => info!(service = name, "service removed"),
                Err(fault) => faults.push(format!("the Service {name}: {fault}")),
            }
        }
    }

    /// Writes the configuration and has the gateway load it, where it is another.
    async fn put_into_force(&mut self, plan: &Plan, faults: &mut Vec<String>) {
        let folder = self.folder.clone();
        let (text, documents) = (plan.text.clone(), plan.documents.clone());
        let files = plan.files.iter().map(|file| crate::import::ImportedFile {
            name: file.name.clone(),
            content: file.content.clone(),
            is_secret: file.is_secret,
        });
        let files: Vec<_> = files.collect();
        let written = spawn_blocking(move || folder.write(&text, &files, &documents)).await;
        match written {
            Ok(Ok(true)) => {
                if let Err(why) = self.host.reload().await {
                    faults.push(format!("the configuration is refused: {why}"));
                }
            }
            Ok(Ok(false)) => {}
            Ok(Err(fault)) => {
                faults.push(fault.to_string());
                return;
            }
            Err(error) => {
                faults.push(error.to_string());
                return;
            }
        }
        self.former.clone_from(&plan.documents);
        let made = plan.files.iter().map(|file| file.name.clone());
        let needed = plan.needed.iter().map(|need| need.object.file.clone());
        let named: BTreeSet<String> = made.chain(needed).collect();
        let folder = self.folder.clone();
        // What is left over costs nothing but room.
        let _ = spawn_blocking(move || folder.tidy(&named)).await;
    }

    /// Tells the cluster about every resource; returns what went wrong.
    async fn tell(&mut self) -> Vec<String> {
        self.ports = self.host.ports();
        let Some(done) = self.done.take() else {
            return Vec::new();
        };
        let services: BTreeMap<String, Object> = self
            .cache
            .objects(Collection::Services)
            .into_iter()
            .collect();
        let facts = Facts {
            plan: &done.plan,
            ports: &self.ports,
            refused: done.refused.as_deref(),
            object_faults: &done.object_faults,
            services: &services,
            namespace: &self.namespace,
        };
        let statements: Vec<Statement> = done
            .resources
            .iter()
            .map(|resource| facts.statement(resource))
            .collect();
        let accepted = statements.iter().filter(|it| it.is_accepted()).count();
        self.counts = (accepted, statements.len() - accepted);
        let mut faults = Vec::new();
        for (resource, statement) in done.resources.iter().zip(&statements) {
            if let Err(fault) = self.tell_about(resource, statement).await {
                let key = &resource.key;
                faults.push(format!(
                    "the status of {} {}: {fault}",
                    key.kind.word(),
                    key.name
                ));
            }
        }
        let is_there = |key: &Key| done.resources.iter().any(|resource| resource.key == *key);
        self.told.retain(|key, _| is_there(key));
        self.done = Some(done);
        faults
    }

    /// Writes a status where it is another, with an event for each condition that has changed its mind.
    async fn tell_about(
        &mut self,
        resource: &Resource,
        statement: &Statement,
    ) -> Result<(), ApiFault> {
        let key = &resource.key;
        let collection = Collection::Resources(key.group, key.kind);
        // The newest one that is known; it may have gone.
        let Some(mut object) = self.cache.object(collection, &key.name) else {
            return Ok(());
        };
        let now = timestamp(clock::wall_seconds());
        let api_version = api_version(key.group, &object);
        let version = api_version.rsplit('/').next().unwrap_or_default();
        let path = format!(
            "/apis/{}/{version}/namespaces/{}/{}/{}",
            group_name(key.group),
            self.namespace,
            key.kind.plural(),
            key.name
        );
        for _ in 0..CONFLICTS_MAX {
            let before = self.before(key, &object);
            let status = statement.status(&before, &now);
            if is_said(&before, &status) {
                return Ok(());
            }
            let change = json!({
                "metadata": {"resourceVersion": metadata(&object, "resourceVersion")},
                "status": status,
            });
            match self.client.merge(&format!("{path}/status"), &change).await {
                Ok(()) => {
                    let uid = metadata(&object, "uid").map(ToOwned::to_owned);
                    self.told.insert(key.clone(), (uid, status));
                    let resource = (api_version.as_str(), key.kind.word());
                    return self.announce(resource, &before, statement, &now).await;
                }
                Err(ApiFault::Conflict) => {
                    object = Arc::new(self.client.get(&path, Detail::Whole).await?);
                }
                // It has gone, or its kind has no status.
                Err(ApiFault::NotFound) => return Ok(()),
                Err(fault) => return Err(fault),
            }
        }
        Err(ApiFault::Conflict)
    }

    /// An object with the status that was written last, which the watch may not have brought yet, or of which the cluster may
    /// keep only a part.
    fn before(&self, key: &Key, object: &Value) -> Value {
        let mut before = object.clone();
        let uid = metadata(object, "uid");
        if let Some((known, status)) = self.told.get(key)
            && known.as_deref() == uid
        {
            before["status"] = status.clone();
        }
        before
    }

    async fn announce(
        &self,
        resource: (&str, &str),
        before: &Value,
        statement: &Statement,
        now: &str,
    ) -> Result<(), ApiFault> {
        let path = format!("/api/v1/namespaces/{}/events", self.namespace);
        for transition in statement.transitions(before) {
            let event = event(resource, before, &transition, now);
            // An event is worth one try: the status says the same.
            if let Err(fault) = self.client.create(&path, &event).await {
                debug!("an event was not written: {fault}");
            }
        }
        Ok(())
    }
}

/// How the API server is asked that is written in the file, as an authentication writes it.
fn keys_of(settings: &KubernetesSettings) -> Vec<(&'static str, String)> {
    let mut keys = Vec::new();
    if let Some(server) = &settings.api_server {
        keys.push(("api_server", server.url.to_string()));
        let ca = server.ca.iter();
        keys.extend(ca.map(|ca| ("ca", ca.display().to_string())));
    }
    let token = settings.token_file.iter();
    keys.extend(token.map(|token| ("token_file", token.display().to_string())));
    keys
}
