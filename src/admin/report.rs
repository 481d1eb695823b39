//! What a gateway tells about itself: the data of `status`, `clients`, `reload`, `/readyz` and `/metrics`.
//!
//! The names of the fields are the names in the JSON, in the metrics and in the manual.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::access_report::AccessReport;
use super::est_report::EstReport;
use crate::ca::CaStatus;

/// Everything about a gateway but its clients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// `[gateway] name`.
    pub name: String,
    /// Version of the program.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_seconds: u64,
    /// Whether it is up, and what it waits for.
    pub readiness: ReadinessReport,
    /// What needs somebody's attention now.
    pub alarms: Vec<Alarm>,
    /// Where the configuration comes from and what became of it.
    pub configuration: ConfigurationReport,
    /// Folder of the state.
    pub state_dir: PathBuf,
    /// Where commands are taken.
    pub control_socket: PathBuf,
    /// Where health and metrics are served.
    pub admin: AdminReport,
    /// Every port, in the order of the configuration.
    pub ports: Vec<PortReport>,
    /// What the broker core holds and has counted.
    pub broker: BrokerReport,
    /// Who may connect, and who tries.
    #[serde(default)]
    pub access: AccessReport,
    /// Enrolment over the network.
    #[serde(default)]
    pub est: EstReport,
    /// How the store fares.
    #[serde(default)]
    pub store: StoreReport,
    /// The certificate authority of the gateway.
    #[serde(default)]
    pub authority: AuthorityReport,
    /// Where the gateway announces itself; nothing while no port is open to a network, or `[discovery]` says so.
    #[serde(default)]
    pub discovery: Vec<DiscoveryReport>,
    /// The cluster whose resources open ports; absent where none is followed.
    #[serde(default)]
    pub cluster: Option<ClusterReport>,
    /// Rates over the last minute.
    pub rates: Rates,
    /// What the process uses.
    pub process: ProcessReport,
}

/// The certificate authority of a gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorityReport {
    /// How it fares; absent where there is none, and where it cannot be read.
    pub status: Option<CaStatus>,
    /// Why it cannot be read, made or looked after.
    pub fault: Option<String>,
}

/// How a gateway announces itself on one interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiscoveryReport {
    /// Name of the interface.
    pub interface: String,
    /// Name under which the machine is found, without `.local`; absent while it is not known to be free.
    pub host: Option<String>,
    /// Why nothing is told.
    pub fault: Option<String>,
}

/// How a gateway and its cluster get on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterReport {
    /// The namespace whose resources count.
    pub namespace: String,
    /// Everything there is to know has come, and changes come.
    pub connected: bool,
    /// What cannot be watched now.
    pub unwatched: Vec<Unwatched>,
    /// What went wrong with the last change and is tried again.
    pub fault: Option<String>,
    /// Resources that are in force as they stand.
    pub accepted: u64,
    /// Resources that are not.
    pub refused: u64,
}

/// Objects of a cluster that cannot be watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unwatched {
    /// Their kind, such as `secrets`.
    pub collection: String,
    /// Why.
    pub fault: String,
}

impl ClusterReport {
    /// What is wrong, in one sentence.
    #[must_use]
    pub fn complaint(&self) -> Option<String> {
        let unwatched = self.unwatched.first();
        unwatched
            .map(|first| format!("{} cannot be watched: {}", first.collection, first.fault))
            .or_else(|| self.fault.clone())
    }
}

/// Whether a gateway is up, and what it waits for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadinessReport {
    /// Everything is up or in a defined waiting state.
    pub ready: bool,
    /// What is awaited, also when ready: a certificate, an address.
    pub awaiting: Vec<String>,
    /// What is served less well than it should be, and why.
    #[serde(default)]
    pub degraded: Option<String>,
}

/// How the store fares.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StoreReport {
    /// In one word.
    pub state: StoreState,
    /// What is wrong now, and what to do about it.
    pub detail: Option<String>,
    /// What was lost when the database was found damaged at the start.
    pub damage: Option<String>,
    /// The database, or the folder where it should be.
    pub path: PathBuf,
    /// Messages stored for sessions.
    pub messages: u64,
    /// What they count in the bound of stored bytes.
    pub bytes: u64,
    /// Bytes of the database with its write-ahead log.
    pub database_bytes: u64,
    /// Bytes of the write-ahead log that are not in the database yet.
    pub wal_bytes: u64,
    /// Free bytes of the volume.
    pub free_bytes: u64,
    /// Commits since the start.
    pub commits: u64,
    /// Commits that failed.
    pub commit_failures: u64,
    /// Rows written.
    pub rows: u64,
    /// Bytes written to the volume.
    pub bytes_written: u64,
    /// Times that the write-ahead log was brought into the database.
    pub checkpoints: u64,
}

impl StoreReport {
    /// What is wrong with it, in a sentence.
    #[must_use]
    pub fn complaint(&self) -> Option<String> {
        let detail = self.detail.as_deref().unwrap_or_default();
        match self.state {
            StoreState::Ready => None,
            StoreState::Degraded => {
                let damage = self.damage.as_deref().unwrap_or_default();
                Some(damage.to_owned())
            }
            StoreState::Full => {
                Some("the volume of the store is nearly full: messages for clients that are away are refused".to_owned())
            }
            StoreState::Failing => Some(format!("nothing can be stored: {detail}")),
            StoreState::Missing => Some(format!("there is no store: {detail}")),
        }
    }
}

/// State of the store, in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StoreState {
    /// It takes everything, and has everything that it took.
    #[default]
    Ready,
    /// It takes everything, but not all that it had could be read at the start.
    Degraded,
    /// Space is short: nothing more is taken for clients that are away.
    Full,
    /// The newest changes cannot be stored; they are tried again.
    Failing,
    /// It could not be opened: nothing outlives the process.
    Missing,
}

impl StoreState {
    /// The word that JSON and metrics have for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::Full => "full",
            Self::Failing => "failing",
            Self::Missing => "missing",
        }
    }
}

/// Something that needs attention.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    /// One word for programs.
    pub name: String,
    /// What it is about: a port, an address; empty when it is about the gateway.
    pub subject: String,
    /// One sentence for people.
    pub text: String,
}

/// Where the configuration comes from and what became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigurationReport {
    /// The files in the order in which they were merged; none stands for the embedded default.
    pub sources: Vec<PathBuf>,
    /// Seconds since 1970 when what is in force was loaded.
    pub loaded_at_seconds: u64,
    /// What is odd about it.
    pub warnings: Vec<String>,
    /// Attempts to load it again that succeeded.
    pub reloads_applied: u64,
    /// Attempts to load it again that were refused.
    pub reloads_refused: u64,
    /// The newest attempt to load it again.
    pub last_reload: Option<ReloadReport>,
}

/// What came of loading the configuration again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadReport {
    /// Seconds since 1970.
    pub at_seconds: u64,
    /// In one word.
    pub outcome: ReloadOutcome,
    /// What changed, one sentence each.
    pub changes: Vec<String>,
    /// What is odd, or takes effect only at the next start.
    pub warnings: Vec<String>,
    /// The first fault in one line, when refused.
    pub summary: Option<String>,
    /// Every fault, rendered for a person, when refused.
    pub faults: Option<String>,
}

impl ReloadReport {
    /// A configuration that was not taken, because of what `summary` says in one line and `faults` says in full.
    #[must_use]
    pub fn refused(at_seconds: u64, summary: String, faults: String) -> Self {
        Self {
            at_seconds,
            outcome: ReloadOutcome::Refused,
            changes: Vec::new(),
            warnings: Vec::new(),
            summary: Some(summary),
            faults: Some(faults),
        }
    }
}

/// What came of loading the configuration again, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReloadOutcome {
    /// It is in force.
    Applied,
    /// It says what it said before.
    Unchanged,
    /// It has faults; what was in force stays in force.
    Refused,
}

/// Where health and metrics are served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminReport {
    /// The address, with the number that the system chose when the configuration says 0.
    pub address: Option<String>,
    /// In one word.
    pub state: AdminState,
    /// Why it is not there yet.
    pub detail: Option<String>,
}

/// State of the HTTP server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdminState {
    /// The configuration wants none.
    Off,
    /// It serves.
    Listening,
    /// The address is taken or not there yet.
    AwaitingAddress,
}

/// One port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortReport {
    /// The group that it belongs to.
    pub listener: String,
    /// Its name: the address as the configuration has it.
    pub endpoint: String,
    /// The address that it listens on, with the number that the system chose when the configuration says 0.
    pub address: Option<String>,
    /// `Mqtt` or `WebSockets`.
    pub protocol: String,
    /// Whether it speaks TLS.
    pub tls: bool,
    /// In one word: `listening`, `awaiting-certificate`, `awaiting-address`, …
    pub state: String,
    /// Why it is in that state.
    pub detail: Option<String>,
    /// The certificate that clients see.
    pub certificate: Option<CertificateReport>,
    /// Whose certificates clients may present, if they are asked for any.
    #[serde(default)]
    pub client_trust: Option<ClientTrustReport>,
    /// Connections served now.
    pub connections: u64,
    /// Connections accepted so far.
    pub accepted: u64,
    /// Connections not taken because a bound was reached, by the bound.
    pub refused: BTreeMap<String, u64>,
    /// What became of logins.
    #[serde(default)]
    pub logins: Vec<LoginReport>,
    /// Handshakes that failed.
    pub handshakes_failed: u64,
    /// Handshakes that took too long.
    pub handshakes_timed_out: u64,
    /// Times that the system gave no connection although one was waiting.
    pub accept_errors: u64,
}

/// Logins of a port that had the same outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginReport {
    /// The method that decided, as the configuration has it; `none` where no method was asked or none knew the credentials.
    pub method: String,
    /// `accepted`, `refused`, `unavailable` or `banned`.
    pub outcome: String,
    /// How many.
    pub count: u64,
}

/// The certificate of a port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateReport {
    /// Subject of the server's own certificate.
    pub subject: String,
    /// Issuer of the server's own certificate.
    pub issuer: String,
    /// First second since 1970 at which the whole chain is valid.
    pub not_before_seconds: u64,
    /// Last second since 1970 at which the whole chain is valid.
    pub not_after_seconds: u64,
    /// Seconds until then; negative when it has ended.
    #[serde(default)]
    pub seconds_left: i64,
    /// When the gateway renews it itself, in seconds since 1970.
    #[serde(default)]
    pub renewal_seconds: Option<u64>,
    /// What is wrong with it or with the files that are to replace it.
    pub notes: Vec<String>,
}

/// Whose certificates the clients of a port may present.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientTrustReport {
    /// Trusted certificates, of roots and of intermediate authorities.
    pub authorities: u64,
    /// Last second since 1970 at which all of them are valid.
    pub not_after_seconds: Option<u64>,
    /// Every revocation list.
    pub revocation_lists: Vec<RevocationListReport>,
    /// What is wrong with the files, or will be soon.
    pub notes: Vec<String>,
}

/// A revocation list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevocationListReport {
    /// Whose list it is.
    pub issuer: String,
    /// Second since 1970 at which it was made.
    pub this_update_seconds: u64,
    /// Second since 1970 at which there will be a newer one.
    pub next_update_seconds: Option<u64>,
    /// Whether there should be a newer one by now. It stays in force.
    pub stale: bool,
    /// Certificates that it names.
    pub revoked: u64,
}

/// What the broker core holds now and has counted since it started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BrokerReport {
    /// Clients connected now.
    pub connections: u64,
    /// The most clients that were connected at one time.
    pub connections_peak: u64,
    /// Clients that connected so far.
    pub connections_total: u64,
    /// Bound of the connections.
    pub connections_max: u64,
    /// Sessions now, connected or not.
    pub sessions: u64,
    /// Bound of the sessions.
    pub sessions_max: u64,
    /// Sessions that ended because their expiry interval had passed.
    pub sessions_expired: u64,
    /// Subscriptions of all sessions now.
    pub subscriptions: u64,
    /// Bound of the subscriptions.
    pub subscriptions_max: u64,
    /// Retained messages now.
    pub retained_messages: u64,
    /// Bound of the retained messages.
    pub retained_messages_max: u64,
    /// Bytes of the retained messages.
    pub retained_bytes: u64,
    /// Bound of these bytes.
    pub retained_bytes_max: u64,
    /// Messages queued or in flight for sessions now.
    pub queued_messages: u64,
    /// Bytes of these messages, each message counted once.
    pub queued_bytes: u64,
    /// Bound of these bytes.
    pub queued_bytes_max: u64,
    /// Messages stored for sessions that outlive the process.
    pub stored_messages: u64,
    /// What they count in the bound of stored bytes.
    pub stored_bytes: u64,
    /// Bound of these bytes.
    pub stored_bytes_max: u64,
    /// Control packets from clients.
    pub packets_received: u64,
    /// Control packets to clients.
    pub packets_sent: u64,
    /// Bytes from clients.
    pub bytes_received: u64,
    /// Bytes to clients.
    pub bytes_sent: u64,
    /// PUBLISH packets from clients, by QoS.
    pub messages_received: [u64; 3],
    /// PUBLISH packets to clients, by QoS.
    pub messages_sent: [u64; 3],
    /// Payload bytes from clients.
    pub payload_bytes_received: u64,
    /// Payload bytes to clients.
    pub payload_bytes_sent: u64,
    /// Messages that a session should have got and did not, because a bound was reached.
    pub messages_dropped: u64,
    /// Messages that expired before they could be sent.
    pub messages_expired: u64,
    /// Messages that were larger than their receiver takes.
    pub messages_too_large: u64,
    /// Publications and subscriptions that were refused because a bound was reached.
    pub quota_refusals: u64,
    /// Publications and subscriptions that the rules denied.
    pub authorization_denials: u64,
    /// Rules that clients broke, and how often; each time ended a connection or refused one.
    pub violations: Vec<ViolationCount>,
    /// Times that a publisher was told to wait for a receiver.
    pub publisher_pauses: u64,
}

/// How often a rule of the standard was broken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViolationCount {
    /// The clause of the standard.
    pub clause: String,
    /// The name of the rule.
    pub violation: String,
    /// How often since the start.
    pub count: u64,
}

/// Rates, per second over the last minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// Messages from clients.
    pub messages_received: f64,
    /// Messages to clients.
    pub messages_sent: f64,
    /// Messages dropped.
    pub messages_dropped: f64,
}

/// What the process uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessReport {
    /// Resident memory.
    pub resident_bytes: u64,
    /// Processor time.
    pub cpu_seconds: f64,
    /// Open descriptors.
    pub descriptors: u64,
    /// Descriptors that may be open.
    pub descriptors_max: u64,
}

/// One client that has a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClientReport {
    /// Its client identifier.
    pub client_id: String,
    /// Who was authenticated.
    pub principal: String,
    /// Endpoint of the port of the newest connection.
    pub port: String,
    /// The connection; none while the session waits for its client.
    pub connection: Option<ConnectionReport>,
    /// Seconds that the session stays without a connection; none for ever.
    pub session_expiry_interval: Option<u32>,
    /// Subscriptions.
    pub subscriptions: u64,
    /// Messages sent and not yet acknowledged.
    pub inflight_messages: u64,
    /// Messages queued.
    pub queued_messages: u64,
    /// Bytes of the queued messages.
    pub queued_bytes: u64,
    /// Messages dropped because a bound was reached.
    pub dropped_messages: u64,
}

/// The connection of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConnectionReport {
    /// Address of the client.
    pub address: String,
    /// `tcp`, `tls`, `websocket` and so on.
    pub transport: String,
    /// `3.1`, `3.1.1` or `5.0`.
    pub protocol_version: String,
    /// Seconds since it was accepted.
    pub connected_seconds: u64,
    /// The keep alive in force, in seconds.
    pub keep_alive: u16,
    /// Messages that the client published over it.
    pub received_messages: u64,
    /// Bytes that wait for its socket.
    pub outbox_bytes: u64,
}
