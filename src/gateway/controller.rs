//! Runs the controller of a cluster where the settings say so.

use std::sync::{Arc, PoisonError};

use tokio::sync::watch;

use super::Gateway;
use super::configuration::added_file;
use crate::admin::{ClusterReport, ReloadOutcome, Source, Unwatched};
use crate::auth::users::Actor;
use crate::config::{self, Endpoint, KubernetesSettings};
use crate::controller::{self, ClusterFacts, Host, PortFacts, Taken};

/// Who reloads, for the audit log.
const ACTOR: &str = "kubernetes";

impl Gateway {
    /// Follows the cluster whenever the settings say so, until dropped.
    pub(super) async fn follow_cluster(
        self: Arc<Self>,
        mut settings: watch::Receiver<KubernetesSettings>,
    ) {
        loop {
            let now = settings.borrow_and_update().clone();
            let changed = match now.controller {
                true => {
                    let file = added_file(&self.options.state_dir);
                    let folder = file.parent().unwrap_or(&file).to_owned();
                    tokio::select! {
                        changed = settings.changed() => changed,
                        never = controller::run(Arc::clone(&self), now, folder) => match never {},
                    }
                }
                false => {
                    self.set_cluster(None);
                    settings.changed().await
                }
            };
            if changed.is_err() {
                return std::future::pending().await;
            }
        }
    }

    fn set_cluster(&self, report: Option<ClusterReport>) {
        *self
            .cluster_report
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = report;
    }
}

impl Host for Gateway {
    fn taken(&self) -> Taken {
        let configuration = self.configuration();
        let files = configuration.files();
        let authentications = files.authentications.iter();
        let authorizations = files.authorizations.iter();
        let http = files.admin.http.map(|http| http.port());
        Taken {
            listeners: files.listeners.clone(),
            authentications: authentications.map(|one| one.name.to_string()).collect(),
            authorizations: authorizations.map(|one| one.name.to_string()).collect(),
            ports: http.into_iter().collect(),
            key_algorithm: files.ca.algorithm,
        }
    }

    fn ports(&self) -> Vec<PortFacts> {
        let settings = self.configuration().settings().clone();
        let reports = self.serving.ports();
        let facts = settings.ports().filter_map(|port| {
            let Endpoint::Tcp {
                port: number,
                bind: None,
                ..
            } = port.endpoint
            else {
                return None;
            };
            let name = port.endpoint.to_string();
            let report = reports.iter().find(|report| report.endpoint == name)?;
            Some(PortFacts {
                port: number,
                state: report.state.clone(),
                detail: report.detail.clone(),
            })
        });
        facts.collect()
    }

    async fn check(&self, text: String) -> Result<(), String> {
        let Some(main) = self.configuration().next_main() else {
            return Err("the gateway has no configuration file".to_owned());
        };
        let added = added_file(&self.options.state_dir);
        let checked =
            tokio::task::spawn_blocking(move || config::load_over(&main, &added, &text)).await;
        match checked {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(report)) => {
                let errors: Vec<String> = report.errors().map(ToString::to_string).collect();
                Err(errors.join("; "))
            }
            Err(error) => Err(error.to_string()),
        }
    }

    fn hear(&self, facts: ClusterFacts) {
        let unwatched = facts.unwatched.into_iter();
        self.set_cluster(Some(ClusterReport {
            namespace: facts.namespace,
            connected: facts.is_complete && unwatched.len() == 0,
            unwatched: unwatched
                .map(|(collection, fault)| Unwatched { collection, fault })
                .collect(),
            fault: facts.fault,
            accepted: facts.accepted as u64,
            refused: facts.refused as u64,
        }));
    }

    async fn reload(&self) -> Result<(), String> {
        let actor = Actor {
            name: ACTOR.into(),
            peer: "cluster".into(),
        };
        let report = Source::reload(self, actor).await;
        match report.outcome {
            ReloadOutcome::Applied | ReloadOutcome::Unchanged => Ok(()),
            ReloadOutcome::Refused => Err(report.summary.unwrap_or_default()),
        }
    }
}
