//! Floor 4: the gateway as the broker of a cluster. Resources of its namespace open and close its ports.
//!
//! * `client`, `fault`, `lines`: the API server, as far as it is needed.
//! * `collection`, `follow`, `listing`, `cache`: what is watched, and what of it is known.
//! * `retry`: what failed and is tried again.
//! * `vault`: Secrets and ConfigMaps that resources name, and no others.
//! * `plan`: from resources to a configuration, by the importer; what is bad leaves the others alone.
//! * `manifests`: services, policy and certificates that go with it.
//! * `writer`, `teller`: what is written to the cluster, until it is there.
//! * `folder`, `loader`: all of it on the disk, so that a gateway starts without its cluster, and in force.
//! * `statement`, `status`: what the cluster is told.
//! * `reconcile`: the order of it all.
//!
//! Who runs it is a [`Host`]. It takes a configuration whole or not at all, by the way of every other reload, so a port that is
//! the same stays open. While the API server is away nothing changes.

mod cache;
mod client;
mod collection;
mod fault;
mod folder;
mod follow;
mod lines;
mod listing;
mod loader;
mod manifests;
mod plan;
mod reconcile;
mod retry;
mod statement;
mod status;
mod teller;
mod vault;
mod writer;

use std::convert::Infallible;
use std::future::{Future, pending};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{self, Instant, sleep};
use tracing::{info, warn};

use self::cache::Cache;
use self::client::{ApiClient, Detail};
use self::collection::Collection;
use self::fault::ApiFault;
use self::folder::Folder;
use self::follow::{ABSENCE, Follower};
pub use self::plan::Taken;
use self::reconcile::Controller;
use crate::auth::{HttpClient, cluster_means, read_secret};
use crate::config::KubernetesSettings;

/// Time between two looks whether cert-manager is there.
const DISCOVERY_PAUSE: Duration = Duration::from_secs(60);

/// The same while the API server does not answer.
const DISCOVERY_RETRY: Duration = Duration::from_secs(3);

/// A port as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortFacts {
    /// Its number.
    pub port: u16,
    /// The word of the status: `listening`, `awaiting-certificate` and so on.
    pub state: String,
    /// What it waits for.
    pub detail: Option<String>,
}

/// How a gateway and its cluster get on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterFacts {
    /// The namespace whose resources count.
    pub namespace: String,
    /// Whether everything there is to know has come once; before that no resource counts.
    pub is_complete: bool,
    /// What cannot be watched now, with what the API server says.
    pub unwatched: Vec<(String, String)>,
    /// What went wrong with the last change and is tried again.
    pub fault: Option<String>,
    /// Resources that are in force as they stand.
    pub accepted: usize,
    /// Resources that are not.
    pub refused: usize,
}

/// The gateway that a controller works for.
pub trait Host: Send + Sync + 'static {
    /// What the configuration file has by itself.
    fn taken(&self) -> Taken;

    /// All ports that accept from everywhere.
    fn ports(&self) -> Vec<PortFacts>;

    /// Whether a configuration can be laid over the file, or why not.
    fn check(&self, text: String) -> impl Future<Output = Result<(), String>> + Send;

    /// Is told how it gets on with its cluster, whenever that changes.
    fn hear(&self, facts: ClusterFacts);

    /// Loads the file anew, with what is laid over it now.
    fn reload(&self) -> impl Future<Output = Result<(), String>> + Send;
}

/// Follows the resources of a cluster, until dropped. `folder` is where everything is kept.
pub async fn run<H: Host>(
    host: Arc<H>,
    settings: KubernetesSettings,
    folder: PathBuf,
) -> Infallible {
    let means = cluster_means(settings.api_server.clone(), settings.token_file.clone());
    let Some(means) = means else {
        warn!(
            "no resources are watched: no `api_server` is given, and this is no pod of a cluster"
        );
        return pending().await;
    };
    let namespace = match &settings.namespace {
        Some(namespace) => namespace.to_string(),
        None => namespace_of(&means.namespace).await,
    };
    info!(namespace, "resources of the cluster are watched");
    let prefix = means.server.url.path.clone();
    let client = ApiClient::new(HttpClient::new(&means.server), &prefix, means.token);
    let client = Arc::new(client);
    let namespace: Arc<str> = namespace.into();
    loop {
        run_once(&host, &settings, &folder, &client, &namespace).await;
        sleep(DISCOVERY_RETRY).await;
    }
}

/// Follows the resources until a part of it panics, which would leave the others with what it knew last.
async fn run_once<H: Host>(
    host: &Arc<H>,
    settings: &KubernetesSettings,
    folder: &Path,
    client: &Arc<ApiClient>,
    namespace: &Arc<str>,
) {
    let cache = Arc::new(Cache::default());
    let (mut tasks, folder) = (JoinSet::new(), Folder::new(folder.to_owned()));
    let former = folder.former();
    for collection in Collection::all() {
        let follower = Follower {
            client: Arc::clone(client),
            cache: Arc::clone(&cache),
            namespace: Arc::clone(namespace),
            collection,
            // Kinds of the cluster itself are always there.
            is_expected: collection.is_auxiliary() || collection.is_among(&former),
        };
        tasks.spawn(follower.run());
    }
    let (found, cert_manager) = watch::channel(None);
    let cert_manager_presence = Presence {
        was_there: former.contains_key(plan::ISSUED),
        absent_since: None,
    };
    let means = (Arc::clone(client), Arc::clone(&cache));
    tasks.spawn(discover(means, cert_manager_presence, found));
    let controller = Controller::new(
        Arc::clone(host),
        (Arc::clone(client), cache),
        folder,
        Arc::clone(namespace),
        settings,
        cert_manager,
    );
    tokio::select! {
        never = controller.run() => match never {},
        Some(ended) = tasks.join_next() => {
            tracing::error!(?ended, "a part of the controller ended by itself; it begins anew");
        }
    }
}

/// The namespace of this pod; waits until there is one.
async fn namespace_of(file: &Path) -> String {
    let mut said = false;
    loop {
        let path = file.to_owned();
        let read = spawn_blocking(move || read_secret(&path)).await;
        match read {
            Ok(Ok(name)) if collection::is_plain(&name) => return name.to_string(),
            _ if said => {}
            _ => warn!("{} does not name the namespace", file.display()),
        }
        said = true;
        sleep(DISCOVERY_RETRY).await;
    }
}

/// Looks whether cert-manager is there, again and again.
async fn discover(
    (client, cache): (Arc<ApiClient>, Arc<Cache>),
    mut presence: Presence,
    found: watch::Sender<Option<bool>>,
) -> Infallible {
    loop {
        let asked = client.get("/apis/cert-manager.io/v1", Detail::Whole).await;
        let (is_there, pause) = presence.after(asked.map(drop));
        let is_news = is_there.is_some()
            && found.send_if_modified(|known| std::mem::replace(known, is_there) != is_there);
        if is_news {
            cache.touch();
        }
        sleep(pause).await;
    }
}

/// What the API server has said about cert-manager.
#[derive(Debug)]
struct Presence {
    /// Whether it was there, so that it is not taken for gone at the first word: all its certificates would give way to others.
    was_there: bool,
    /// Since when every answer has been that it is not there.
    absent_since: Option<Instant>,
}

impl Presence {
    /// Whether it is there, if that is certain after an answer, and the time until the next look.
    fn after(&mut self, answer: Result<(), ApiFault>) -> (Option<bool>, Duration) {
        match answer {
            Ok(()) => {
                (self.was_there, self.absent_since) = (true, None);
                (Some(true), DISCOVERY_PAUSE)
            }
            Err(ApiFault::NotFound | ApiFault::Forbidden(_)) => {
                let since = *self.absent_since.get_or_insert_with(time::Instant::now);
                if self.was_there && since.elapsed() < ABSENCE {
                    return (None, DISCOVERY_RETRY);
                }
                self.was_there = false;
                (Some(false), DISCOVERY_PAUSE)
            }
            Err(fault) => {
                self.absent_since = None;
                let pause = fault.pause().unwrap_or_default();
                (None, pause.max(DISCOVERY_RETRY))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_was_there_is_gone_when_it_stays_away() {
        let absent = || Err(ApiFault::NotFound);
        let mut presence = Presence {
            was_there: false,
            absent_since: None,
        };
        let (first, _) = presence.after(absent());
        assert_eq!(first, Some(false), "it was never there");
        assert_eq!(presence.after(Ok(())), (Some(true), DISCOVERY_PAUSE));

        advance(DISCOVERY_PAUSE).await;
        assert_eq!(presence.after(absent()), (None, DISCOVERY_RETRY));
        advance(ABSENCE / 2).await;
        let refused = Err(ApiFault::Forbidden(String::new()));
        assert_eq!(presence.after(refused).0, None);
        // Nobody knows whether it was away meanwhile.
        assert_eq!(presence.after(Err(ApiFault::Timeout)).0, None);
        advance(ABSENCE / 2).await;
        assert_eq!(presence.after(absent()).0, None);
        advance(ABSENCE).await;
        assert_eq!(presence.after(absent()), (Some(false), DISCOVERY_PAUSE));
        assert_eq!(presence.after(absent()).0, Some(false), "it stays so");
        assert_eq!(presence.after(Ok(())).0, Some(true));
    }
}
