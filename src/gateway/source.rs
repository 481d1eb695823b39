//! What the gateway tells about itself.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::UnixStream;
use tokio::sync::oneshot;

use super::alarms::{Facts, alarms};
use super::{Gateway, enrolment, process};
use crate::admin::{
    AdminState, ClientReport, ExplainInput, ExplainReport, PortReport, ProbeReport,
    ReadinessReport, ReloadReport, Source, Status, StoreReport,
};
use crate::auth::Access;
use crate::auth::users::{Actor, UserFault, UserReply, UserRequest};
use crate::ca::{Asker, CaError, CaReply, CaRequest};
use crate::clock;
use crate::net::serve_probe;
use crate::store::StoreError;

impl Source for Gateway {
    fn status(&self) -> Status {
        let ports = self.serving.ports();
        let (configuration, refused, name, broker) = {
            let configuration = self.configuration();
            let settings = configuration.settings();
            (
                configuration.report(),
                configuration.refused().cloned(),
                settings.gateway.name.to_string(),
                self.serving.broker(settings),
            )
        };
        let rates = self
            .rates
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .rates(clock::now(), &broker);
        let (admin, process) = (self.admin.report(), process::usage());
        let store = StoreReport {
            messages: broker.stored_messages,
            bytes: broker.stored_bytes,
            ..self.storing.report()
        };
        let (control, cluster) = (copy(&self.control_fault), copy(&self.cluster_report));
        let (access, est) = (
            self.access_report(),
            self.enrolment.report(self.authority.device().read().now),
        );
        let authority = self.authority.report();
        let alarms = alarms(&Facts {
            access: &access,
            authority: &authority,
            cluster: cluster.as_ref(),
            ports: &ports,
            admin: &admin,
            est: &est,
            incidents: &self.incidents,
            refused: refused.as_ref(),
            control: control.as_deref(),
            broker: &broker,
            store: &store,
            rates: &rates,
            process: &process,
        });
        Status {
            name,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_seconds: clock::now().duration_since(self.started).as_secs(),
            readiness: self.readiness(),
            alarms,
            configuration,
            state_dir: self.options.state_dir.clone(),
            control_socket: self.control_socket.clone(),
            admin,
            ports,
            broker,
            access,
            est,
            store,
            authority,
            discovery: self.discovery_report(),
            cluster,
            rates,
            process,
        }
    }

    fn clients(&self, prefix: &str) -> Vec<ClientReport> {
        self.serving.clients(prefix)
    }

    fn explain(&self, input: &ExplainInput) -> Result<Vec<ExplainReport>, String> {
        self.serving.explain(input)
    }

    fn readiness(&self) -> ReadinessReport {
        let mut awaiting: Vec<String> = self
            .readiness
            .awaited()
            .iter()
            .map(ToString::to_string)
            .collect();
        awaiting.extend(self.serving.ports().iter().filter_map(awaited));
        let admin = self.admin.report();
        if admin.state == AdminState::AwaitingAddress {
            awaiting.push(format!("address {}", admin.address.unwrap_or_default()));
        }
        let now = self.authority.device().read().now;
        awaiting.extend(enrolment::awaited(&self.enrolment.report(now)));
        ReadinessReport {
            ready: self.readiness.is_ready(),
            awaiting,
            degraded: self.storing.report().complaint(),
        }
    }

    async fn heartbeat(&self) -> bool {
        self.heartbeat.beat().await
    }

    fn probe(&self) -> Result<ProbeReport, String> {
        let probes = self.serving.access().probes();
        let ticket = probes
            .issue(clock::now())
            .map_err(|fault| fault.to_string())?;
        Ok(ProbeReport::new(&ticket, self.serving.probe_ports()))
    }

    async fn serve_probe(&self, stream: UnixStream) {
        let hub = Arc::clone(self.serving.hub());
        serve_probe(stream, self.serving.access(), hub).await;
    }

    fn access(&self) -> &Arc<Access> {
        self.serving.access()
    }

    async fn user(&self, request: UserRequest, actor: Actor) -> Result<UserReply, UserFault> {
        let users = Arc::clone(self.serving.access().users());
        let removed = match &request {
            UserRequest::Remove { username } => Some(username.clone()),
            _ => None,
        };
        let applied = tokio::task::spawn_blocking(move || users.apply(&request, &actor));
        let applied = applied.await.unwrap_or_else(|_| {
            let path = self.options.state_dir.clone();
            Err(StoreError::Closed { path }.into())
        });
        if let (Ok(_), Some(username)) = (&applied, removed) {
            // Whoever gets the name later is not to find what waited for the user before.
            self.review_clients().await;
            let hub = self.serving.hub();
            hub.with(|broker, now| broker.end_sessions_of(&username, now));
        }
        applied
    }

    async fn ca(&self, request: CaRequest, asker: Asker) -> Result<CaReply, CaError> {
        let reply = self.authority.apply(request, asker).await;
        // Whoever was told that something is issued may use it at once.
        let settings = self.configuration().settings().clone();
        self.prepare_access(&settings).await;
        reply
    }

    async fn reload(&self, actor: Actor) -> ReloadReport {
        let (reply, report) = oneshot::channel();
        // Whoever steers takes one request after the other; both ends are gone when the gateway stops.
        let asked = self.reloads.send((actor, reply)).await.is_ok();
        match report.await {
            Ok(report) if asked => report,
            Ok(_) | Err(_) => {
                let summary = "the gateway is stopping".to_owned();
                let faults = format!("error: {summary}\n");
                ReloadReport::refused(clock::wall_seconds(), summary, faults)
            }
        }
    }
}

fn copy<T: Clone>(shared: &Mutex<T>) -> T {
    shared
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
}

/// What a port waits for, if it does.
fn awaited(port: &PortReport) -> Option<String> {
    let what = port.state.strip_prefix("awaiting-")?;
    Some(format!(
        "{} for port {}",
        what.replace('-', " "),
        port.endpoint
    ))
}
