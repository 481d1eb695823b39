//! All ports of the gateway: opened, changed and closed as the configuration says.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tracing::info;

use super::access_counters::LoginOutcome;
use super::admission::{Admission, Gate};
use super::listener::PassedSockets;
use super::port::{PortContext, PortEnd, PortTerms, Refusal};
use super::serving::{Means, PortState, Serve, Serving, Shown};
use super::tls::{CertificateSource, CertificateStore, CertificateSummary};
use crate::auth::{Access, ClientTrust, TrustSummary};
use crate::broker::PortPolicy;
use crate::clock;
use crate::config::{
    Endpoint, InterfaceName, ListenerName, PortSettings, Protocol, Settings, TlsSettings,
    WebSocketPath,
};

/// Time for which [`Ports::apply`] waits until new ports are up or say what they wait for: disks may not answer.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);

/// All ports of the gateway.
#[derive(Debug)]
pub struct Ports<S> {
    means: Arc<Means<S>>,
    gate: Arc<Gate>,
    ports: Mutex<Vec<Port>>,
    certificates: AbortHandle,
}

#[derive(Debug)]
struct Port {
    context: Arc<PortContext>,
    settings: watch::Sender<Arc<PortSettings>>,
    shown: watch::Receiver<Shown>,
}

/// What a port is doing and has counted.
#[derive(Clone, Debug)]
pub struct PortStatus {
    /// Name of the port, `127.0.0.1:1883`.
    pub endpoint: String,
    /// The group that it belongs to.
    pub listener: ListenerName,
    /// What is spoken above TCP or TLS.
    pub protocol: Protocol,
    /// Whether it speaks TLS.
    pub tls: bool,
    /// What it is doing.
    pub state: PortState,
    /// Where it accepts, if it does and that is an address of the network.
    pub address: Option<SocketAddr>,
    /// Where it accepts, if that is a file.
    pub path: Option<PathBuf>,
    /// The network interface that it is bound to.
    pub interface: Option<InterfaceName>,
    /// Path that a WebSocket request must ask for, if there is one.
    pub websocket_path: Option<WebSocketPath>,
    /// Whether every connection begins with a PROXY header.
    pub proxy_protocol: bool,
    /// The certificate that clients see.
    pub certificate: Option<Arc<CertificateSummary>>,
    /// What is wrong with the files of the certificate now, although a former certificate may be in use.
    pub certificate_fault: Option<String>,
    /// When the gateway will renew the certificate itself, in seconds since 1970.
    pub certificate_renewal_at: Option<u64>,
    /// Whose certificates clients may present, if they are asked for any.
    pub client_trust: Option<TrustSummary>,
    /// Connections served now.
    pub connections: u32,
    /// Connections taken in.
    pub accepted: u64,
    /// Connections not taken because a bound was reached, by the bound.
    pub refused: [(Refusal, u64); Refusal::ALL.len()],
    /// Logins by method and outcome.
    pub logins: Vec<(&'static str, LoginOutcome, u64)>,
    /// Handshakes that failed.
    pub handshakes_failed: u64,
    /// Handshakes that took too long.
    pub handshakes_timed_out: u64,
    /// Times that the system gave no connection although one was waiting.
    pub accept_errors: u64,
}

/// A port that accepts connections from the network.
#[derive(Clone, Debug)]
pub struct OpenPort {
    /// What it is to be like.
    pub settings: Arc<PortSettings>,
    /// Where it accepts.
    pub address: SocketAddr,
}

impl<S: Serve> Ports<S> {
    /// No port yet. Links and ports become tasks of `runtime`.
    pub fn new(service: S, runtime: Handle, passed: PassedSockets, access: Arc<Access>) -> Self {
        let certificates = Arc::new(CertificateStore::new(Arc::clone(access.device())));
        let store = Arc::clone(&certificates);
        let watch = runtime.spawn(async move { store.run().await });
        Self {
            means: Arc::new(Means {
                service,
                runtime,
                passed,
                certificates,
                access,
            }),
            gate: Arc::new(Gate::new(0)),
            ports: Mutex::default(),
            certificates: watch.abort_handle(),
        }
    }

    /// Opens, changes and closes ports so that they are as the settings say. Ports that did not change, and those whose
    /// change needs no other socket, keep their clients.
    ///
    /// Returns when closed ports are closed and new ones are up or say what they wait for.
    pub async fn apply(&self, settings: &Settings) {
        self.gate.set_max(settings.limits.connections_max);
        let wanted: Vec<&PortSettings> = settings.ports().collect();
        for closing in self.replace(&wanted) {
            closed(closing).await;
        }
        // Asked by somebody who may have just put new files in place.
        self.check_certificates();
        let settled = self.settled();
        // A port that does not settle in time goes on trying; the others are not to wait for it.
        let _ = timeout(SETTLE_TIMEOUT, settled).await;
    }

    /// Looks at all certificates again, soon.
    pub fn check_certificates(&self) {
        self.means.certificates.check_soon();
    }

    /// Stops accepting, tells every link to end, and returns when the last one has.
    pub async fn stop(&self) {
        let stopping: Vec<_> = self
            .lock()
            .iter()
            .map(|port| {
                port.context.finish(PortEnd::Stopping);
                port.shown.clone()
            })
            .collect();
        for port in stopping {
            closed(port).await;
        }
        self.gate.emptied().await;
    }

    /// Where a certificate comes from that is no port's, but is looked after with theirs. Clients may show certificates, and
    /// only those that `trust` trusts.
    pub(crate) async fn open_certificate(
        &self,
        name: &str,
        tls: &TlsSettings,
        trust: Arc<ClientTrust>,
    ) -> Arc<CertificateSource> {
        self.means.certificates.open(name, tls, Some(trust)).await
    }

    /// Every port in the order of the configuration.
    pub fn status(&self) -> Vec<PortStatus> {
        self.lock().iter().map(Port::status).collect()
    }

    /// Every port that accepts connections at an address of the network.
    pub fn open(&self) -> Vec<OpenPort> {
        let ports = self.lock();
        let open = ports.iter().filter_map(|port| {
            let shown = port.shown.borrow();
            let address = shown
                .address
                .filter(|_| shown.state == PortState::Listening)?;
            let settings = Arc::clone(&port.settings.borrow());
            Some(OpenPort { settings, address })
        });
        open.collect()
    }

    /// What the core goes by on each port.
    pub fn policies(&self) -> Vec<Arc<PortPolicy>> {
        let ports = self.lock();
        let policies = ports.iter().map(|port| &port.context);
        policies
            .map(|context| Arc::clone(&context.terms().policy))
            .collect()
    }

    /// Connections served now, on all ports and those that are closing.
    pub fn connections(&self) -> u32 {
        self.gate.connections()
    }

    /// Starts what is new, changes what can change, and returns what ends.
    fn replace(&self, wanted: &[&PortSettings]) -> Vec<watch::Receiver<Shown>> {
        let mut ports = self.lock();
        let mut old: BTreeMap<String, Port> = std::mem::take(&mut *ports)
            .into_iter()
            .map(|port| (port.context.endpoint().to_owned(), port))
            .collect();
        let mut kept = BTreeMap::new();
        for settings in wanted {
            let endpoint = settings.endpoint.to_string();
            if let Some(port) = old.remove(&endpoint) {
                if port.can_become(settings) {
                    port.change(settings, &self.means.access);
                    kept.insert(endpoint, port);
                } else {
                    old.insert(endpoint, port);
                }
            }
        }
        let mut closing: BTreeMap<String, watch::Receiver<Shown>> = old
            .into_iter()
            .map(|(endpoint, port)| {
                port.context.finish(PortEnd::Removed);
                (endpoint, port.shown)
            })
            .collect();
        for settings in wanted {
            let endpoint = settings.endpoint.to_string();
            let port = match kept.remove(&endpoint) {
                Some(port) => port,
                None => self.start(settings, closing.remove(&endpoint)),
            };
            ports.push(port);
        }
        closing.into_values().collect()
    }

    /// Starts a port, as soon as the one that had its endpoint before has closed it.
    fn start(&self, settings: &PortSettings, before: Option<watch::Receiver<Shown>>) -> Port {
        let context = Arc::new(PortContext::new(settings, &self.means.access));
        let admission = Admission::new(Arc::clone(&self.gate), Arc::clone(&context));
        let (settings, settings_seen) = watch::channel(Arc::new(settings.clone()));
        let shown = Arc::new(watch::Sender::new(Shown::default()));
        let shown_seen = shown.subscribe();
        let serving = Serving::new(
            Arc::clone(&self.means),
            Arc::new(admission),
            settings_seen,
            shown,
        );
        self.means.runtime.spawn(async move {
            if let Some(before) = before {
                closed(before).await;
            }
            serving.run().await;
        });
        Port {
            context,
            settings,
            shown: shown_seen,
        }
    }

    /// Returns when no port is in the state that it was made in.
    async fn settled(&self) {
        let shown: Vec<_> = self.lock().iter().map(|port| port.shown.clone()).collect();
        for mut shown in shown {
            // The sender is gone with the task; then there is nothing to wait for.
            let _ = shown
                .wait_for(|shown| shown.state != PortState::Opening)
                .await;
        }
    }
}

/// Returns when the sockets of a port are closed.
async fn closed(mut port: watch::Receiver<Shown>) {
    // A port whose task has ended in whatever way has no sockets any more.
    let _ = port
        .wait_for(|shown| shown.state == PortState::Closed)
        .await;
}

impl<S> Ports<S> {
    fn lock(&self) -> MutexGuard<'_, Vec<Port>> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Drop for Ports<S> {
    fn drop(&mut self) {
        self.certificates.abort();
        for port in self.lock().iter() {
            port.context.finish(PortEnd::Stopping);
        }
    }
}

impl Port {
    /// Whether the settings can be taken over without closing the sockets and the connections.
    fn can_become(&self, settings: &PortSettings) -> bool {
        let now = self.settings.borrow();
        // What a connection has been through before its first packet cannot change under it.
        now.protocol == settings.protocol
            && now.proxy_protocol == settings.proxy_protocol
            && now.tls.is_some() == settings.tls.is_some()
            && now.listener == settings.listener
    }

    fn change(&self, settings: &PortSettings, access: &Arc<Access>) {
        if **self.settings.borrow() == *settings {
            return;
        }
        info!(port = self.context.endpoint(), "port changed");
        self.context.set_terms(PortTerms::new(settings, access));
        self.settings.send_replace(Arc::new(settings.clone()));
    }

    fn status(&self) -> PortStatus {
        let settings = self.settings.borrow();
        let shown = self.shown.borrow();
        let counters = self.context.counters();
        let trust = self.context.terms().authenticator.client_trust();
        PortStatus {
            endpoint: self.context.endpoint().to_owned(),
            listener: self.context.listener().clone(),
            protocol: self.context.protocol(),
            tls: settings.tls.is_some(),
            state: shown.state.clone(),
            address: shown.address,
            path: match &settings.endpoint {
                Endpoint::Unix { path, .. } => Some(path.clone()),
                Endpoint::Tcp { .. } | Endpoint::Systemd { .. } => None,
            },
            interface: match &settings.endpoint {
                Endpoint::Tcp { interface, .. } => interface.clone(),
                Endpoint::Unix { .. } | Endpoint::Systemd { .. } => None,
            },
            websocket_path: settings.websocket_path.clone(),
            proxy_protocol: settings.proxy_protocol,
            certificate: shown.certificate.summary.clone(),
            certificate_fault: shown.certificate.fault.as_ref().map(ToString::to_string),
            certificate_renewal_at: shown.certificate.renewal_at,
            client_trust: trust.map(|trust| trust.summary(clock::wall())),
            connections: counters.connections(),
            accepted: counters.accepted(),
            refused: Refusal::ALL.map(|reason| (reason, counters.refused(reason))),
            logins: counters.logins().counts(),
            handshakes_failed: counters.handshakes_failed(),
            handshakes_timed_out: counters.handshakes_timed_out(),
            accept_errors: counters.accept_errors(),
        }
    }
}

#[cfg(test)]
mod tests;
