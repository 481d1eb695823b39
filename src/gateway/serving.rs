//! What serves clients, the hub and the ports, in the words of the reports.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use data_encoding::HEXLOWER;
use tokio::runtime::Handle;

use crate::admin::{
    BrokerReport, CertificateReport, ClientReport, ClientTrustReport, ConnectionReport,
    ExplainInput, ExplainReport, LoginReport, PortReport, ProbePort, RevocationListReport,
    ViolationCount,
};
use crate::auth::{Access, ClientTrust, TrustSummary};
use crate::broker::{ClientInfo, ConnectionInfo, PortPolicy, Timestamp};
use crate::config::{Protocol, Settings, TlsSettings};
use crate::mqtt::Violation;
use crate::net::tls::{CertificateSource, CertificateSummary};
use crate::net::{
    Hub, LoginOutcome, OpenPort, PassedSockets, Peer, PortContext, PortState, PortStatus, Ports,
    Serve, Stream, link,
};

/// Sessions that a listing looks at before it lets clients have their turn: less than a millisecond.
const CLIENTS_PER_LOOK: usize = 500;

/// The hub and the ports.
#[derive(Debug)]
pub(crate) struct Serving {
    hub: Arc<Hub>,
    ports: Ports<Links>,
    access: Arc<Access>,
}

/// Serves what ports accept with links to the hub.
#[derive(Clone, Debug)]
struct Links(Arc<Hub>);

impl Serve for Links {
    fn serve(
        self,
        stream: Stream,
        port: Arc<PortContext>,
        peer: Peer,
    ) -> impl Future<Output = ()> + Send + 'static {
        link::serve(stream, port, peer, self.0)
    }
}

impl Serving {
    /// A hub and no port yet. Must be called within the runtime that links are to run on.
    pub(crate) fn new(
        settings: &Settings,
        passed: PassedSockets,
        base: Timestamp,
        access: Arc<Access>,
    ) -> Self {
        let hub = Arc::new(Hub::new(settings.limits.clone(), base));
        let links = Links(Arc::clone(&hub));
        let ports = Ports::new(links, Handle::current(), passed, Arc::clone(&access));
        Self { hub, ports, access }
    }

    /// Who may connect and what they may do.
    pub(crate) fn access(&self) -> &Arc<Access> {
        &self.access
    }

    /// Ports at which somebody in the network may connect.
    pub(crate) fn open_ports(&self) -> Vec<OpenPort> {
        self.ports.open()
    }

    /// What the core goes by on each port.
    pub(crate) fn policies(&self) -> Vec<Arc<PortPolicy>> {
        self.ports.policies()
    }

    /// Where links meet the core.
    pub(crate) fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// Opens, changes and closes ports so that they are as the settings say. Clients of ports that do not change stay.
    pub(crate) async fn apply(&self, settings: &Settings) {
        let limits = settings.limits.clone();
        self.hub.with(|broker, now| broker.set_limits(limits, now));
        self.ports.apply(settings).await;
    }

    /// Where a certificate comes from that is no port's, but is looked after with theirs.
    pub(crate) async fn open_certificate(
        &self,
        name: &str,
        tls: &TlsSettings,
        trust: Arc<ClientTrust>,
    ) -> Arc<CertificateSource> {
        self.ports.open_certificate(name, tls, trust).await
    }

    /// Looks at the certificates of all ports again, soon.
    pub(crate) fn check_certificates(&self) {
        self.ports.check_certificates();
    }

    /// Runs the timers of the core until dropped.
    pub(crate) async fn run_timers(&self) {
        self.hub.run_timers().await;
    }

    /// Returns when the core has answered.
    pub(crate) fn round_trip(&self) {
        self.hub.round_trip();
    }

    /// Stops accepting, tells every client and waits until all are gone.
    pub(crate) async fn stop(&self) {
        self.ports.stop().await;
    }

    pub(crate) fn ports(&self) -> Vec<PortReport> {
        let now = self.access.device().read().now;
        let ports = self.ports.status().into_iter();
        ports.map(|port| port_report(port, now)).collect()
    }

    /// The ports, as a probe has to know them.
    pub(crate) fn probe_ports(&self) -> Vec<ProbePort> {
        self.ports.status().into_iter().map(probe_port).collect()
    }

    /// Every client whose identifier begins with `prefix`, in order. Who comes or goes meanwhile may be missing, or be there
    /// twice.
    pub(crate) fn clients(&self, prefix: &str) -> Vec<ClientReport> {
        let page = |number: usize| {
            let first = number * CLIENTS_PER_LOOK;
            self.hub.with(|broker, now| {
                let clients = broker.clients_in(first..first + CLIENTS_PER_LOOK, prefix, now)?;
                Some(clients.collect::<Vec<_>>())
            })
        };
        let pages = (0..).map_while(page);
        let mut clients: Vec<_> = pages.flatten().map(client_report).collect();
        clients.sort_by(|a, b| a.client_id.cmp(&b.client_id));
        clients
    }

    /// Why clients with an identifier may do something, or may not.
    pub(crate) fn explain(&self, input: &ExplainInput) -> Result<Vec<ExplainReport>, String> {
        let action = input.action()?;
        let page = |number: usize| {
            let first = number * CLIENTS_PER_LOOK;
            let places = first..first + CLIENTS_PER_LOOK;
            self.hub
                .with(|broker, _| broker.explain(places, &input.client_id, action))
        };
        let explained = (0..).map_while(page).flatten();
        Ok(explained
            .map(|said| input.report(&said.port, &said.principal, said.explanation))
            .collect())
    }

    pub(crate) fn broker(&self, settings: &Settings) -> BrokerReport {
        let statistics = self.hub.with(|broker, _| broker.statistics());
        let limits = &settings.limits;
        BrokerReport {
            connections: statistics.connections,
            connections_peak: statistics.connections_peak,
            connections_total: statistics.connections_total,
            connections_max: limits.connections_max.into(),
            sessions: statistics.sessions,
            sessions_max: limits.sessions_max.into(),
            sessions_expired: statistics.sessions_expired,
            subscriptions: statistics.subscriptions,
            subscriptions_max: limits.subscriptions_max.into(),
            retained_messages: statistics.retained_messages,
            retained_messages_max: limits.retained_messages_max.into(),
            retained_bytes: statistics.retained_bytes,
            retained_bytes_max: limits.retained_bytes_max,
            queued_messages: statistics.queued_messages,
            queued_bytes: statistics.queued_bytes,
            queued_bytes_max: limits.queue_bytes_max,
            stored_messages: statistics.stored_messages,
            stored_bytes: statistics.stored_bytes,
            stored_bytes_max: limits.stored_bytes_max,
            packets_received: statistics.packets_received,
            packets_sent: statistics.packets_sent,
            bytes_received: statistics.bytes_received,
            bytes_sent: statistics.bytes_sent,
            messages_received: statistics.publishes_received,
            messages_sent: statistics.publishes_sent,
            payload_bytes_received: statistics.payload_bytes_received,
            payload_bytes_sent: statistics.payload_bytes_sent,
            messages_dropped: statistics.messages_dropped,
            messages_expired: statistics.messages_expired,
            messages_too_large: statistics.messages_too_large,
            quota_refusals: statistics.quota_refusals,
            authorization_denials: statistics.authorization_denials,
            violations: self
                .hub
                .faults()
                .counts()
                .into_iter()
                .map(violation_count)
                .collect(),
            publisher_pauses: statistics.pauses,
        }
    }
}

fn violation_count((violation, count): (Violation, u64)) -> ViolationCount {
    ViolationCount {
        clause: violation.clause().to_owned(),
        violation: violation.name().to_owned(),
        count,
    }
}

fn port_state(state: PortState) -> (&'static str, Option<String>) {
    match state {
        PortState::Opening => ("opening", None),
        PortState::AwaitingCertificate { reason } => ("awaiting-certificate", Some(reason)),
        PortState::AwaitingAddress { reason } => ("awaiting-address", Some(reason)),
        PortState::Listening => ("listening", None),
        PortState::Closed => ("closed", None),
    }
}

fn probe_port(port: PortStatus) -> ProbePort {
    let (state, detail) = port_state(port.state);
    let certificate = port.certificate.as_ref();
    ProbePort {
        endpoint: port.endpoint,
        state: state.to_owned(),
        detail,
        address: port.address.map(|address| address.to_string()),
        path: port.path,
        interface: port.interface.map(|interface| interface.to_string()),
        websocket_path: (port.protocol == Protocol::WebSockets).then(|| {
            let path = port.websocket_path.as_ref();
            path.map_or("/mqtt", |path| path.as_str()).to_owned()
        }),
        tls: port.tls,
        proxy_protocol: port.proxy_protocol,
        certificate_sha256: certificate
            .map(|certificate| HEXLOWER.encode(&certificate.fingerprint)),
        certificate_fault: port.certificate_fault,
    }
}

/// `now` is the time that is believed.
fn port_report(port: PortStatus, now: u64) -> PortReport {
    let (state, detail) = port_state(port.state);
    let refused = port
        .refused
        .iter()
        .map(|(reason, count)| (reason.to_string(), *count));
    let fault = port.certificate_fault.filter(|_| state == "listening");
    PortReport {
        listener: port.listener.to_string(),
        endpoint: port.endpoint,
        address: port.address.map(|address| address.to_string()),
        protocol: match port.protocol {
            Protocol::Mqtt => "Mqtt",
            Protocol::WebSockets => "WebSockets",
        }
        .to_owned(),
        tls: port.tls,
        state: state.to_owned(),
        detail,
        certificate: port.certificate.map(|certificate| {
            certificate_report(&certificate, port.certificate_renewal_at, fault, now)
        }),
        client_trust: port.client_trust.map(client_trust_report),
        connections: port.connections.into(),
        accepted: port.accepted,
        refused: refused.collect(),
        logins: port.logins.into_iter().map(login_report).collect(),
        handshakes_failed: port.handshakes_failed,
        handshakes_timed_out: port.handshakes_timed_out,
        accept_errors: port.accept_errors,
    }
}

fn login_report((method, outcome, count): (&str, LoginOutcome, u64)) -> LoginReport {
    LoginReport {
        method: method.to_owned(),
        outcome: outcome.as_str().to_owned(),
        count,
    }
}

/// `fault` is what is wrong with what is to replace the certificate.
pub(super) fn certificate_report(
    certificate: &CertificateSummary,
    renewal_at: Option<u64>,
    fault: Option<String>,
    now: u64,
) -> CertificateReport {
    let mut notes = certificate.notes.clone();
    // One that is renewed in time needs nobody's attention.
    let is_late = renewal_at.is_none_or(|renewal| renewal < now);
    let at = UNIX_EPOCH.checked_add(Duration::from_secs(now));
    notes.extend(
        at.filter(|_| is_late)
            .and_then(|at| certificate.validity_note(at)),
    );
    notes.extend(fault);
    CertificateReport {
        subject: certificate.subject.clone(),
        issuer: certificate.issuer.clone(),
        not_before_seconds: seconds(certificate.not_before),
        not_after_seconds: seconds(certificate.not_after),
        seconds_left: seconds(certificate.not_after)
            .cast_signed()
            .saturating_sub(now.cast_signed()),
        renewal_seconds: renewal_at,
        notes,
    }
}

fn client_trust_report(trust: TrustSummary) -> ClientTrustReport {
    let lists = trust.lists.into_iter().map(|list| RevocationListReport {
        issuer: list.issuer,
        this_update_seconds: seconds(list.this_update),
        next_update_seconds: list.next_update.map(seconds),
        stale: list.is_stale,
        revoked: count(list.revoked),
    });
    ClientTrustReport {
        authorities: count(trust.authorities),
        not_after_seconds: trust.not_after.map(seconds),
        revocation_lists: lists.collect(),
        notes: trust.faults,
    }
}

fn client_report(client: ClientInfo) -> ClientReport {
    ClientReport {
        client_id: client.client_id,
        principal: client.principal,
        port: client.port,
        connection: client.connection.map(connection_report),
        session_expiry_interval: Some(client.session_expiry_interval)
            .filter(|time| *time != u32::MAX),
        subscriptions: count(client.subscriptions),
        inflight_messages: count(client.inflight_messages),
        queued_messages: count(client.queued_messages),
        queued_bytes: client.queued_bytes,
        dropped_messages: client.dropped_messages,
    }
}

fn connection_report(connection: ConnectionInfo) -> ConnectionReport {
    ConnectionReport {
        address: connection.peer,
        transport: connection.transport.to_owned(),
        protocol_version: connection.protocol_version.to_owned(),
        connected_seconds: connection.connected_millis / 1000,
        keep_alive: connection.keep_alive,
        received_messages: connection.received_messages,
        outbox_bytes: count(connection.outbox_bytes),
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}

fn count(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
