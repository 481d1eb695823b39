//! What the gateway runs on: plain data, resolved from the configuration file.
//!
//! Everything here compares with `==`, so that a reload can be applied as a difference.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::access::{
    Authentication, AuthenticationSettings, Authorization, AuthorizationSettings, HttpServer,
    Network, ProtectionSettings,
};
use super::certificate_names::{DnsName, KeyAlgorithm};
use super::names::{
    GatewayName, InstanceName, InterfaceName, ListenerName, MountPoint, ServiceName, SocketName,
    WebSocketPath,
};
use crate::limits::{Limits, PortLimits};

/// Everything that the configuration file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `[gateway]`
    pub gateway: GatewaySettings,
    /// `[[listener]]`, in the order of the file.
    pub listeners: Vec<ListenerSettings>,
    /// `[limits]`
    pub limits: Limits,
    /// `[authentication.NAME]`, by name, those that no port uses included.
    pub authentications: Vec<Arc<AuthenticationSettings>>,
    /// `[authorization.NAME]`, by name, those that no port uses included.
    pub authorizations: Vec<Arc<AuthorizationSettings>>,
    /// `[protection]`
    pub protection: ProtectionSettings,
    /// `[est]`
    pub est: EstSettings,
    /// `[ca]`
    pub ca: CaSettings,
    /// `[kubernetes]`
    pub kubernetes: KubernetesSettings,
    /// `[discovery]`
    pub discovery: DiscoverySettings,
    /// `[admin]`
    pub admin: AdminSettings,
    /// `[store]`
    pub store: StoreSettings,
    /// `[log]`
    pub log: LogSettings,
}

impl Settings {
    /// Every port of every listener, in the order of the file.
    pub fn ports(&self) -> impl Iterator<Item = &PortSettings> {
        self.listeners.iter().flat_map(|listener| &listener.ports)
    }

    /// Whether anything needs a certificate of the authority of the gateway.
    pub fn needs_authority(&self) -> bool {
        let mut certificates = self.ports().filter_map(|port| port.tls.as_ref());
        let is_automatic = |tls: &TlsSettings| matches!(tls.mode, TlsMode::Automatic(_));
        self.est.https.is_some() || certificates.any(is_automatic)
    }
}

impl Default for Settings {
    /// What the embedded default file says: one plain port, reachable from this machine only.
    fn default() -> Self {
        let limits = Limits::default();
        let listener = ListenerName::fallback();
        let port = PortSettings {
            listener: listener.clone(),
            endpoint: Endpoint::Tcp {
                port: 1883,
                bind: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
                interface: None,
            },
            protocol: Protocol::Mqtt,
            websocket_path: None,
            authentication: Authentication::None,
            authorization: Authorization::None,
            tls: None,
            proxy_protocol: false,
            mount_point: None,
            limits: limits.port.clone(),
            node_port: None,
        };
        Self {
            gateway: GatewaySettings::default(),
            listeners: vec![ListenerSettings {
                name: listener,
                service_type: ServiceType::ClusterIp,
                service_name: None,
                ports: vec![port],
            }],
            limits,
            authentications: Vec::new(),
            authorizations: Vec::new(),
            protection: ProtectionSettings::default(),
            est: EstSettings::default(),
            ca: CaSettings::default(),
            kubernetes: KubernetesSettings::default(),
            discovery: DiscoverySettings::default(),
            admin: AdminSettings::default(),
            store: StoreSettings::default(),
            log: LogSettings::default(),
        }
    }
}

/// `[gateway]`: what this gateway is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewaySettings {
    /// Name in status, logs and metrics.
    pub name: GatewayName,
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self {
            name: GatewayName::of_this_machine(),
        }
    }
}

/// `[[listener]]`: a named group of ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerSettings {
    /// Name of the group; no two listeners share one.
    pub name: ListenerName,
    /// How a cluster makes the ports reachable. Means nothing outside of one.
    pub service_type: ServiceType,
    /// Name of the service in a cluster; the name of the listener where absent.
    pub service_name: Option<ServiceName>,
    /// At least one.
    pub ports: Vec<PortSettings>,
}

/// `[[listener.port]]`: one place where clients connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortSettings {
    /// The group that the port belongs to.
    pub listener: ListenerName,
    /// Where it accepts. No two ports share one; its `Display` is the name of the port in logs, metrics and status.
    pub endpoint: Endpoint,
    /// What is spoken above TCP or TLS.
    pub protocol: Protocol,
    /// Path that a WebSocket request must ask for; any where absent. Only with [`Protocol::WebSockets`].
    pub websocket_path: Option<WebSocketPath>,
    /// Who clients must prove to be.
    pub authentication: Authentication,
    /// What clients may do.
    pub authorization: Authorization,
    /// TLS, or plain text where absent.
    pub tls: Option<TlsSettings>,
    /// Whether every connection begins with a PROXY protocol header (version 1 or 2).
    pub proxy_protocol: bool,
    /// Prefix of every topic of the port's clients.
    pub mount_point: Option<MountPoint>,
    /// Bounds of the port: `[limits]` with what the port's own `limits` table changes.
    pub limits: PortLimits,
    /// Port on the nodes of a cluster. Only with [`ServiceType::NodePort`].
    pub node_port: Option<u16>,
}

/// Where a port accepts connections.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `port = 1883`
    Tcp {
        /// Port number; 0 lets the system choose a free one, so that ports on several addresses may have it.
        port: u16,
        /// The address; `None` is every address, IPv4 and IPv6. `::` is every IPv6 address only.
        bind: Option<IpAddr>,
        /// Network interface to accept on; also the scope of a link-local IPv6 address.
        interface: Option<InterfaceName>,
    },
    /// `path = "/run/fieldgate/mqtt.sock"`
    Unix {
        /// Absolute path of the socket.
        path: PathBuf,
        /// Permission bits of the socket, at most 0o777.
        mode: u32,
    },
    /// `systemd = "mqtt"`: a listening socket that systemd passes under this name.
    Systemd {
        /// `FileDescriptorName=` of the socket unit.
        name: SocketName,
    },
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp {
                port,
                bind,
                interface,
            } => {
                match bind {
                    None => f.write_str("*")?,
                    Some(IpAddr::V4(address)) => write!(f, "{address}")?,
                    Some(IpAddr::V6(address)) => write!(f, "[{address}]")?,
                }
                if let Some(interface) = interface {
                    write!(f, "%{interface}")?;
                }
                write!(f, ":{port}")
            }
            Self::Unix { path, .. } => write!(f, "unix:{}", path.display()),
            Self::Systemd { name } => write!(f, "systemd:{name}"),
        }
    }
}

/// What is spoken on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// MQTT packets directly on the byte stream.
    Mqtt,
    /// MQTT packets in WebSocket frames.
    WebSockets,
}

/// How a cluster makes the ports of a listener reachable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServiceType {
    /// From inside the cluster.
    ClusterIp,
    /// Through an address outside of the cluster.
    LoadBalancer,
    /// Through a port of every node.
    NodePort,
}

/// `tls = { … }`: the certificate of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// Where the certificate comes from.
    pub mode: TlsMode,
    /// Oldest version that a client may speak.
    pub min_version: TlsVersion,
}

/// Where the certificate of a port comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// From files that the operator puts there and renews.
    Manual {
        /// PEM file with the certificate of the server first, then its issuers.
        cert: PathBuf,
        /// PEM file with the private key.
        key: PathBuf,
    },
    /// From the authority of the gateway, which renews it.
    Automatic(AutomaticCertificate),
}

/// What the certificate of a port is to be like that the gateway makes itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AutomaticCertificate {
    /// DNS names beside those of this machine.
    pub dns: BTreeSet<DnsName>,
    /// Addresses beside those of this machine.
    pub ip: BTreeSet<IpAddr>,
    /// The kind of the key; as the authority has it where absent.
    pub key_algorithm: Option<KeyAlgorithm>,
    /// What becomes of the key when the certificate is renewed.
    pub rotation_policy: RotationPolicy,
    /// How long a certificate is valid.
    pub duration: Duration,
    /// How long before its end it is renewed; shorter than `duration`.
    pub renew_before: Duration,
}

impl Default for AutomaticCertificate {
    fn default() -> Self {
        Self {
            dns: BTreeSet::new(),
            ip: BTreeSet::new(),
            key_algorithm: None,
            rotation_policy: RotationPolicy::Always,
            duration: Duration::from_secs(90 * 24 * 3600),
            renew_before: Duration::from_secs(30 * 24 * 3600),
        }
    }
}

/// What becomes of a key when its certificate is renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RotationPolicy {
    /// Each certificate has a key of its own.
    Always,
    /// The key stays, for clients that know it.
    Never,
}

/// `[ca]`: what the authority of the gateway is like when it is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaSettings {
    /// The kind of all keys.
    pub algorithm: KeyAlgorithm,
    /// Domains for which it may issue; any where empty.
    pub permit_dns: Vec<DnsName>,
    /// Networks for which it may issue; any where empty.
    pub permit_ip: Vec<Network>,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsVersion {
    /// TLS 1.2
    V1_2,
    /// TLS 1.3
    V1_3,
}

/// `[est]`: how devices get certificates over the network, and clients the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EstSettings {
    /// Where devices enrol; `None` lets nobody enrol over the network.
    pub https: Option<SocketAddr>,
    /// Where the root and the revocation lists are served without TLS; `None` serves them nowhere.
    pub http: Option<SocketAddr>,
    /// Certificate of `https`.
    pub tls: TlsSettings,
    /// Whether local users may enrol with their passwords.
    pub users: bool,
    /// Connections at one time, at each address.
    pub connections_max: u32,
    /// Requests for certificates of one address in a minute.
    pub attempts_per_address_max: u32,
    /// Requests for certificates of all addresses in a minute.
    pub attempts_max: u32,
}

impl Default for EstSettings {
    fn default() -> Self {
        Self {
            https: None,
            http: None,
            tls: TlsSettings {
                mode: TlsMode::Automatic(AutomaticCertificate::default()),
                min_version: TlsVersion::V1_2,
            },
            users: false,
            connections_max: 32,
            attempts_per_address_max: 30,
            attempts_max: 300,
        }
    }
}

/// `[kubernetes]`: the gateway as the broker of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesSettings {
    /// Whether the resources of the namespace are watched.
    pub controller: bool,
    /// The label of the gateway's own pod that tells it from other gateways.
    pub instance: ServiceName,
    /// Where the resources are; the namespace of the pod where absent.
    pub namespace: Option<ServiceName>,
    /// The API server; found as every pod finds it where absent.
    pub api_server: Option<HttpServer>,
    /// File with the token that is presented to it; that of the service account where absent.
    pub token_file: Option<PathBuf>,
}

impl Default for KubernetesSettings {
    fn default() -> Self {
        Self {
            controller: false,
            instance: ServiceName::of_the_program(),
            namespace: None,
            api_server: None,
            token_file: None,
        }
    }
}

/// `[discovery]`: how clients in the same network find the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscoverySettings {
    /// Whether open ports are announced.
    pub enabled: bool,
    /// Where; everywhere but on loopback where empty.
    pub interfaces: Vec<InterfaceName>,
    /// Under which name; that of the gateway where absent.
    pub instance: Option<InstanceName>,
}

impl Default for DiscoverySettings {
    fn default() -> Self {
        Self {
            enabled: true,
            interfaces: Vec::new(),
            instance: None,
        }
    }
}

/// `[admin]`: how the gateway is watched and commanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminSettings {
    /// Where `/livez`, `/readyz` and `/metrics` are served; `None` serves them nowhere.
    pub http: Option<SocketAddr>,
    /// Path of the control socket; in the runtime folder or the state folder where absent.
    pub control_socket: Option<PathBuf>,
}

impl Default for AdminSettings {
    fn default() -> Self {
        Self {
            http: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 9600))),
            control_socket: None,
        }
    }
}

/// `[store]`: how sessions, their messages and retained messages are kept on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    /// Time between two commits that somebody waits for; zero commits as soon as the disk is free.
    pub commit_interval: Duration,
    /// Latest time at which changes are written that nobody waits for.
    pub flush_interval: Duration,
    /// Bytes of the write-ahead log from which on it is brought into the database.
    pub wal_bytes_max: u64,
    /// Bytes of the file that is kept so that there is room when the disk is full.
    pub reserve_bytes: u64,
    /// Free bytes of the volume below which nothing more is queued for clients that are away.
    pub free_bytes_min: u64,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            commit_interval: Duration::ZERO,
            flush_interval: Duration::from_secs(1),
            wal_bytes_max: 16 << 20,
            reserve_bytes: 32 << 20,
            free_bytes_min: 64 << 20,
        }
    }
}

/// `[log]`: what is written down and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// The least important entries that are still written.
    pub level: LogLevel,
    /// The form of an entry.
    pub format: LogFormat,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            level: LogLevel::Info,
            format: LogFormat::Auto,
        }
    }
}

/// Importance of a log entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogLevel {
    /// What needs an operator.
    Error,
    /// What may need an operator.
    Warn,
    /// What happens: connections, faults of clients.
    Info,
    /// What a developer of clients wants to know.
    Debug,
    /// Everything.
    Trace,
}

/// Form of a log entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogFormat {
    /// The journal's own form under systemd, lines of text elsewhere.
    Auto,
    /// Lines of text.
    Text,
    /// One JSON object per line.
    Json,
    /// Fields of the journal.
    Journald,
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    #[test]
    fn an_endpoint_is_shown_as_it_is_dialled() {
        let tcp = |bind, interface: Option<&str>| {
            Endpoint::Tcp {
                port: 1883,
                bind,
                interface: interface.map(|name| InterfaceName::try_from(name).unwrap()),
            }
            .to_string()
        };
        assert_eq!(tcp(None, None), "*:1883");
        assert_eq!(
            tcp(Some(Ipv4Addr::LOCALHOST.into()), None),
            "127.0.0.1:1883"
        );
        assert_eq!(tcp(Some(Ipv6Addr::LOCALHOST.into()), None), "[::1]:1883");
        assert_eq!(tcp(None, Some("eth0")), "*%eth0:1883");
        let unix = Endpoint::Unix {
            path: "/run/x.sock".into(),
            mode: 0o660,
        };
        assert_eq!(unix.to_string(), "unix:/run/x.sock");
        let systemd = Endpoint::Systemd {
            name: SocketName::try_from("mqtt").unwrap(),
        };
        assert_eq!(systemd.to_string(), "systemd:mqtt");
    }
}
