//! From a change in the cluster to ports that are open, in this order: services, certificates, configuration, status.
//!
//! Each of them remembers what failed and when to try it again, so that none waits for another to be well.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{self, Instant, MissedTickBehavior, interval, sleep};
use tracing::{info, warn};

use super::cache::{Cache, Object, metadata};
use super::client::ApiClient;
use super::collection::{Collection, Group, Kind};
use super::folder::Folder;
use super::loader::Loader;
use super::plan::{self, Input, Key, Plan, Resource, Taken};
use super::retry::Backoff;
use super::statement::Facts;
use super::status::Statement;
use super::teller::Teller;
use super::vault::{ObjectName, Vault};
use super::writer::{Unwritten, Writer};
use super::{ClusterFacts, Host, PortFacts};
use crate::config::KubernetesSettings;

/// Time between a change and what comes of it, so that a file with ten resources is one change.
const SETTLE: Duration = Duration::from_millis(250);

/// Time between two looks at the ports, at the configuration file and at what is to be tried again.
const LOOK: Duration = Duration::from_secs(1);

/// Time after which objects are applied anew, whatever has become of them.
const RESYNC: Duration = Duration::from_secs(600);

/// Rounds of a plan: what is read may name more.
const ROUNDS_MAX: usize = 4;

/// Time for which nothing is done because nobody says whether cert-manager is there. After that whoever wishes for it waits,
/// and nobody else.
const DISCOVERY_PATIENCE: Duration = Duration::from_secs(10);

/// What came of the last change.
struct Done {
    resources: Vec<Resource>,
    plan: Plan,
    /// Why the gateway does not take it.
    refused: Option<String>,
    unwritten: Unwritten,
}

/// Brings a gateway to what the resources of its cluster say.
pub(super) struct Controller<H> {
    host: Arc<H>,
    client: Arc<ApiClient>,
    cache: Arc<Cache>,
    files: std::path::PathBuf,
    namespace: Arc<str>,
    /// Keys of the configuration that say how the API server is asked about tokens.
    api_server: Vec<(&'static str, String)>,
    cert_manager: watch::Receiver<Option<bool>>,
    begun: Instant,
    vault: Vault,
    loader: Loader<H>,
    writer: Writer,
    teller: Teller,
    /// For plans that cannot be made.
    planning: Backoff,
    taken: Taken,
    ports: Vec<PortFacts>,
    /// Resources that are in force as they stand, and those that are not.
    counts: (usize, usize),
    heard: ClusterFacts,
    done: Option<Done>,
    /// What went wrong when the last change was brought about.
    faults: Vec<String>,
    /// What went wrong when the cluster was told.
    untold: Vec<String>,
    /// Faults that were said already.
    said: Option<String>,
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
        let means = || (Arc::clone(&client), Arc::clone(&cache));
        let now = time::Instant::now();
        Self {
            files: folder.files(),
            loader: Loader::new(Arc::clone(&host), folder),
            writer: Writer::new(
                means(),
                Arc::clone(&namespace),
                settings.instance.to_string(),
            ),
            teller: Teller::new(means(), Arc::clone(&namespace)),
            vault: Vault::default(),
            planning: Backoff::default(),
            host,
            client,
            cache,
            namespace,
            api_server: keys_of(settings),
            cert_manager,
            begun: now,
            taken: Taken::default(),
            ports: Vec::new(),
            counts: (0, 0),
            heard: ClusterFacts::default(),
            done: None,
            faults: Vec::new(),
            untold: Vec::new(),
            said: None,
            resync_at: now + RESYNC,
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
            if !self.is_ready() {
                continue;
            }
            let now = time::Instant::now();
            is_due |= self.next().is_some_and(|at| at <= now);
            is_due |= self.done.is_none() || self.host.taken() != self.taken;
            if self.resync_at <= now {
                self.resync_at = now + RESYNC;
                self.writer.forget();
                is_due = true;
            }
            if std::mem::take(&mut is_due) {
                self.reconcile().await;
            } else if self.host.ports() != self.ports || self.teller.is_due() {
                self.tell().await;
            } else {
                continue;
            }
            self.note();
            self.report();
        }
    }

    /// Whether what is missing does not only have not come yet.
    fn is_ready(&self) -> bool {
        let is_sure =
            self.cert_manager.borrow().is_some() || self.begun.elapsed() >= DISCOVERY_PATIENCE;
        is_sure && self.cache.is_complete()
    }

    /// When something is to be tried again, but for what the cluster is told.
    fn next(&self) -> Option<Instant> {
        let all = [self.vault.next(), self.writer.next(), self.loader.next()];
        // Without a plan the others have nothing to do.
        let planning = self.planning.at();
        planning.or_else(|| all.into_iter().flatten().min())
    }

    /// Tells the gateway how it gets on with the cluster, where that has changed.
    fn report(&mut self) {
        let (accepted, refused) = self.counts;
        let faults = self.said.iter().cloned().chain(self.left_out());
        let fault = faults.collect::<Vec<_>>().join("; ");
        let facts = ClusterFacts {
            namespace: self.namespace.to_string(),
            is_complete: self.cache.is_complete(),
            unwatched: self.cache.faults(),
            fault: (!fault.is_empty()).then_some(fault),
            accepted,
            refused,
        };
        if facts != self.heard {
            self.heard = facts.clone();
            self.host.hear(facts);
        }
    }

    /// Bounds that the cluster is beyond.
    fn left_out(&self) -> impl Iterator<Item = String> {
        let partial = self.cache.partial().into_iter();
        partial.map(|collection| {
            let (name, max) = (collection.name(), collection.objects_max());
            format!("there are more {name} than the gateway looks at, which is {max} or 4 MiB")
        })
    }

    /// Says what is wrong, once.
    fn note(&mut self) {
        let faults: Vec<&str> = self
            .faults
            .iter()
            .chain(&self.untold)
            .map(String::as_str)
            .collect();
        let text = faults.join("; ");
        if text.is_empty() {
            if self.said.take().is_some() {
                info!("the cluster has been brought up to date");
            }
            return;
        }
        if self.said.as_ref() != Some(&text) {
            warn!("resources of the cluster: {text}; trying again");
        }
        self.said = Some(text);
    }

    /// Does everything that the resources ask for; what went wrong is noted and tried again.
    async fn reconcile(&mut self) {
        self.faults.clear();
        self.taken = self.host.taken();
        let resources = self.resources();
        let cert_manager = *self.cert_manager.borrow();
        let plan = self.plan(&resources, cert_manager.unwrap_or(true)).await;
        let (plan, refused, unwritten) = match plan {
            Ok(plan) => {
                self.planning.succeeded();
                let unwritten = self.writer.write(&resources, &plan).await;
                self.faults.extend(unwritten.faults.iter().cloned());
                let refused = self.loader.load(&plan).await.err();
                // What the gateway still goes by is not taken from it.
                let is_certain = cert_manager == Some(true) && refused.is_none();
                let left = self.writer.sweep(&resources, &plan, is_certain).await;
                self.faults.extend(left);
                (plan, refused, unwritten)
            }
            Err(why) => {
                self.planning.failed(None);
                (Plan::default(), Some(why), Unwritten::default())
            }
        };
        if let Some(why) = &refused {
            self.faults
                .push(format!("the configuration is refused: {why}"));
        }
        self.done = Some(Done {
            resources,
            plan,
            refused,
            unwritten,
        });
        self.tell().await;
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
        has_cert_manager: bool,
    ) -> Result<Plan, String> {
        self.vault.begin();
        let plan = self.plan_in_rounds(resources, has_cert_manager).await;
        self.vault.end();
        let unread = self.vault.faults.iter();
        self.faults
            .extend(unread.map(|((kind, name), fault)| format!("the {kind} {name}: {fault}")));
        plan
    }

    async fn plan_in_rounds(
        &mut self,
        resources: &[Resource],
        has_cert_manager: bool,
    ) -> Result<Plan, String> {
        let mut round = 0;
        loop {
            round += 1;
            let plan = plan::make(&Input {
                resources,
                former: &self.loader.former,
                objects: &self.vault.objects,
                absent: &self.vault.absent,
                taken: &self.taken,
                namespace: &self.namespace,
                has_cert_manager,
                api_server: &self.api_server,
                folder: &self.files,
            })?;
            let named = plan.needed.iter().map(|need| &need.object);
            let named: BTreeSet<ObjectName> = named
                .map(|object| (object.kind, object.name.clone()))
                .collect();
            let means = (&*self.client, &*self.cache);
            let changed = self.vault.refresh(&named, means, &self.namespace).await;
            if changed && round >= ROUNDS_MAX {
                // What was read last is not in this plan; it will be in the next one.
                self.cache.touch();
            } else if changed {
                continue;
            }
            return Ok(plan);
        }
    }

    /// Tells the cluster about every resource.
    async fn tell(&mut self) {
        self.ports = self.host.ports();
        let Some(done) = &self.done else {
            return;
        };
        let services: BTreeMap<String, Object> = self
            .cache
            .objects(Collection::Services)
            .into_iter()
            .chain(done.unwritten.of_others.clone())
            .collect();
        let facts = Facts {
            plan: &done.plan,
            ports: &self.ports,
            refused: done.refused.as_deref(),
            unwritten: &done.unwritten,
            unread: &self.vault.faults,
            services: &services,
            namespace: &self.namespace,
        };
        let resources = done.resources.iter();
        let statements: Vec<(&Resource, Statement)> = resources
            .map(|resource| (resource, facts.statement(resource)))
            .collect();
        let accepted = statements.iter().filter(|(_, it)| it.is_accepted());
        let accepted = accepted.count();
        self.counts = (accepted, statements.len() - accepted);
        self.untold = self.teller.tell(&statements).await;
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
