//! What is right by itself and wrong together.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};

use super::certificate;
use super::faults::{Draft, Faults};
use super::names::{ListenerName, ServiceName};
use super::port_keys::TLS;
use super::reader::Scope;
use super::report::FaultCode;
use super::settings::{
    AdminSettings, CaSettings, Endpoint, ListenerSettings, PortSettings, ServiceType, TlsMode,
};
use super::source::At;
use super::units::render_size;
use crate::limits::Limits;

/// A listener and where it is written.
pub(super) struct PlacedListener<'a> {
    /// Absent where it is missing or wrong, which is noted.
    pub(super) name: Option<ListenerName>,
    pub(super) service_type: ServiceType,
    pub(super) service_name: Option<ServiceName>,
    pub(super) ports: Vec<PlacedPort<'a>>,
    pub(super) scope: Scope<'a>,
}

/// A port and where it is written.
pub(super) struct PlacedPort<'a> {
    pub(super) settings: PortSettings,
    /// Where the number, path or name is written that makes it one place.
    pub(super) at: At,
    pub(super) scope: Scope<'a>,
}

impl PlacedListener<'_> {
    pub(super) fn settings(self) -> ListenerSettings {
        ListenerSettings {
            name: self.name.unwrap_or_else(ListenerName::fallback),
            service_type: self.service_type,
            service_name: self.service_name,
            ports: self.ports.into_iter().map(|port| port.settings).collect(),
        }
    }
}

/// Notes a key that is written where another choice excludes it.
pub(super) fn refuse(scope: &Scope<'_>, key: &str, why: &str, faults: &mut Faults) {
    if let Some(entry) = scope.entry(key) {
        let message = format!("`{key}` {why}");
        faults.push(
            Draft::error(FaultCode::Conflict, entry.key_at, message)
                .key(scope.path_of(key))
                .hint(format!("remove `{key}`")),
        );
    }
}

/// Compares the listeners with each other and with the rest.
pub(super) fn check(
    listeners: &[PlacedListener<'_>],
    admin: &AdminSettings,
    admin_scope: Option<&Scope<'_>>,
    faults: &mut Faults,
) {
    check_names(listeners, faults);
    check_service_types(listeners, faults);
    check_service_names(listeners, faults);
    let ports: Vec<&PlacedPort<'_>> = listeners.iter().flat_map(|l| &l.ports).collect();
    check_endpoints(&ports, faults);
    check_node_ports(&ports, faults);
    check_plain_text(&ports, faults);
    if let Some(http) = admin.http {
        check_admin_http(&ports, http, admin_scope, faults);
    }
    check_control_socket(&ports, admin, admin_scope, faults);
}

/// Where each thing was seen first.
struct Seen<K>(HashMap<K, At>);

impl<K: Eq + Hash> Seen<K> {
    fn new() -> Self {
        Self(HashMap::new())
    }

    /// Where the same was seen before; from now on it is seen here.
    fn before(&mut self, key: K, at: At) -> Option<At> {
        match self.0.entry(key) {
            std::collections::hash_map::Entry::Occupied(first) => Some(*first.get()),
            std::collections::hash_map::Entry::Vacant(slot) => {
                slot.insert(at);
                None
            }
        }
    }
}

fn check_names(listeners: &[PlacedListener<'_>], faults: &mut Faults) {
    let mut seen = Seen::new();
    for listener in listeners {
        let (Some(name), Some(entry)) = (&listener.name, listener.scope.entry("name")) else {
            continue;
        };
        let at = entry.node.at;
        if let Some(first) = seen.before(name, at) {
            faults.push(
                Draft::error(
                    FaultCode::Duplicate,
                    at,
                    format!("two listeners have the name \"{name}\""),
                )
                .key(listener.scope.path_of("name"))
                .related(first, "first used here")
                .hint("choose another name, or put the ports under the first listener"),
            );
        }
    }
}

/// The cluster's rule means nothing until a file is written with a cluster in mind.
fn check_service_types(listeners: &[PlacedListener<'_>], faults: &mut Faults) {
    let is_written = |l: &PlacedListener<'_>| l.scope.entry("service_type").is_some();
    if !listeners.iter().any(is_written) {
        return;
    }
    let mut seen = Seen::new();
    for listener in listeners {
        let entry = listener.scope.entry("service_type");
        let at = entry.map_or(listener.scope.place(), |entry| entry.node.at);
        if let Some(first) = seen.before(listener.service_type, at) {
            let message = "a cluster has only one listener of each service type";
            faults.push(
                Draft::warning(FaultCode::Surprising, at, message)
                    .key(listener.scope.path_of("service_type"))
                    .related(first, "the other one of this type")
                    .hint("outside of a cluster this has no effect; in one, put the ports under one listener"),
            );
        }
    }
}

fn check_service_names(listeners: &[PlacedListener<'_>], faults: &mut Faults) {
    let mut seen = Seen::new();
    for listener in listeners {
        let entry = listener.scope.entry("service_name");
        let at = entry.map_or(listener.scope.place(), |entry| entry.node.at);
        let name = match (&listener.service_name, &listener.name) {
            (Some(name), _) => name.as_str(),
            (None, Some(name)) => name.as_str(),
            (None, None) => continue,
        };
        if let Some(first) = seen.before(name, at)
            && entry.is_some()
        {
            let message = format!("two services would have the name \"{name}\" in a cluster");
            faults.push(
                Draft::warning(FaultCode::Surprising, at, message)
                    .key(listener.scope.path_of("service_name"))
                    .related(first, "the other one"),
            );
        }
    }
}

fn check_endpoints(ports: &[&PlacedPort<'_>], faults: &mut Faults) {
    let (mut numbers, mut paths, mut names) = (Seen::new(), Seen::new(), Seen::new());
    let mut unnumbered = Seen::new();
    for port in ports {
        let at = port.at;
        let (key, first, what) = match &port.settings.endpoint {
            // The system never chooses a number twice, but a reload could not tell the two ports apart.
            Endpoint::Tcp { port: 0, .. } => {
                let name = port.settings.endpoint.to_string();
                let what = "port 0 of one address".to_owned();
                ("port", unnumbered.before(name, at), what)
            }
            Endpoint::Tcp { port, .. } => {
                ("port", numbers.before(*port, at), format!("port {port}"))
            }
            Endpoint::Unix { path, .. } => {
                let what = format!("the socket {}", path.display());
                ("path", paths.before(path.clone(), at), what)
            }
            Endpoint::Systemd { name } => {
                let what = format!("the systemd socket \"{name}\"");
                ("systemd", names.before(name.clone(), at), what)
            }
        };
        let Some(first) = first else {
            continue;
        };
        let is_unnumbered = matches!(port.settings.endpoint, Endpoint::Tcp { port: 0, .. });
        let hint = match key {
            "port" if is_unnumbered => "give each a number, or a `bind` of its own",
            "port" => {
                "a number is used once in the whole file; without `bind` one port accepts on every address, IPv4 and IPv6"
            }
            _ => "each is used once in the whole file",
        };
        faults.push(
            Draft::error(FaultCode::Duplicate, at, format!("{what} is used twice"))
                .key(port.scope.path_of(key))
                .related(first, "first used here")
                .hint(hint),
        );
    }
}

fn check_node_ports(ports: &[&PlacedPort<'_>], faults: &mut Faults) {
    let mut seen = Seen::new();
    for port in ports {
        let (Some(number), Some(entry)) = (port.settings.node_port, port.scope.entry("node_port"))
        else {
            continue;
        };
        let at = entry.node.at;
        let key = port.scope.path_of("node_port");
        if let Some(first) = seen.before(number, at) {
            let message = format!("node port {number} is used twice");
            faults.push(
                Draft::error(FaultCode::Duplicate, at, message)
                    .key(key)
                    .related(first, "first used here")
                    .hint("choose another, or none: then the cluster does"),
            );
        } else if !(30_000..=32_767).contains(&number) {
            let message =
                format!("a cluster gives out node ports from 30000 to 32767, not {number}");
            faults.push(
                Draft::warning(FaultCode::Surprising, at, message)
                    .key(key)
                    .hint("unless the cluster was set up with another range, it will refuse this"),
            );
        }
    }
}

/// A port that every client takes for an encrypted one and that is not.
fn check_plain_text(ports: &[&PlacedPort<'_>], faults: &mut Faults) {
    for port in ports {
        let settings = &port.settings;
        let number = match &settings.endpoint {
            Endpoint::Tcp { port, .. } => *port,
            Endpoint::Unix { .. } | Endpoint::Systemd { .. } => continue,
        };
        // Behind a proxy the encryption may end at the proxy.
        let has_tls = port.scope.entry("tls").is_some() || port.scope.is_meant("tls");
        if matches!(number, 8883 | 443) && !has_tls && !settings.proxy_protocol {
            let message =
                format!("clients expect TLS on port {number}, and this port has no `tls`");
            faults.push(
                Draft::warning(FaultCode::Surprising, port.at, message)
                    .key(port.scope.path_of("port"))
                    .hint("add tls = { mode = \"Automatic\" }, or choose another number"),
            );
        }
    }
}

fn check_admin_http(
    ports: &[&PlacedPort<'_>],
    http: SocketAddr,
    admin: Option<&Scope<'_>>,
    faults: &mut Faults,
) {
    let entry = admin.and_then(|scope| scope.entry("http"));
    for port in ports {
        let Endpoint::Tcp {
            port: number, bind, ..
        } = &port.settings.endpoint
        else {
            continue;
        };
        if *number == 0 || *number != http.port() || !overlap(*bind, http.ip()) {
            continue;
        }
        let draft = match entry {
            Some(entry) => {
                let message = format!("port {number} is used by [admin] too");
                Draft::error(FaultCode::Duplicate, port.at, message)
                    .related(entry.node.at, "`http` is written here")
                    .hint("choose another port number for one of them")
            }
            None => {
                let message = format!("port {number} is where health and metrics are served");
                Draft::error(FaultCode::Duplicate, port.at, message).hint(
                    "choose another port number; or write [admin] with http = \"127.0.0.1:9601\", or \"off\"",
                )
            }
        };
        faults.push(draft.key(port.scope.path_of("port")));
    }
}

/// Where `[ca]` does not say of which kind the keys are to be, the first port does that says it. Notes ports that want another
/// kind than that.
pub(super) fn choose_algorithm(
    listeners: &[PlacedListener<'_>],
    ca_scope: Option<&Scope<'_>>,
    ca: &mut CaSettings,
    faults: &mut Faults,
) {
    let ports = listeners.iter().flat_map(|listener| &listener.ports);
    let wanted = |port: &PlacedPort<'_>| match &port.settings.tls.as_ref()?.mode {
        TlsMode::Automatic(wanted) => wanted.key_algorithm,
        TlsMode::Manual { .. } => None,
    };
    let is_written = ca_scope.is_some_and(|scope| scope.entry("algorithm").is_some());
    if !is_written && let Some(first) = ports.clone().find_map(wanted) {
        ca.algorithm = first;
    }
    for port in ports {
        if let Some(scope) = port.scope.table("tls", &TLS, &mut Faults::default()) {
            certificate::check_algorithm(&scope, wanted(port), ca, faults);
        }
    }
}

/// Whether a socket on `bind` and one on `address` would want the same connections.
pub(super) fn overlap(bind: Option<IpAddr>, address: IpAddr) -> bool {
    match bind {
        None => true,
        Some(bind) => {
            let same_family = bind.is_ipv4() == address.is_ipv4();
            same_family && (bind == address || bind.is_unspecified() || address.is_unspecified())
        }
    }
}

fn check_control_socket(
    ports: &[&PlacedPort<'_>],
    admin: &AdminSettings,
    scope: Option<&Scope<'_>>,
    faults: &mut Faults,
) {
    let entry = scope.and_then(|scope| scope.entry("control_socket"));
    let (Some(control), Some(entry)) = (&admin.control_socket, entry) else {
        return;
    };
    for port in ports {
        if matches!(&port.settings.endpoint, Endpoint::Unix { path, .. } if path == control) {
            let message = format!("the socket {} is the control socket", control.display());
            faults.push(
                Draft::error(FaultCode::Duplicate, port.at, message)
                    .key(port.scope.path_of("path"))
                    .related(entry.node.at, "`control_socket` is written here")
                    .hint("choose another path for one of them"),
            );
        }
    }
}

/// Compares the bounds of a table with each other and with those that it inherits.
pub(super) fn check_limits(scope: &Scope<'_>, limits: &Limits, faults: &mut Faults) {
    let port = &limits.port;
    let packet = u64::from(port.max_packet_size);
    let queue = port.queue_bytes_per_client_max;
    if queue < packet {
        warn(
            scope,
            &["queue_bytes_per_client_max", "max_packet_size"],
            &format!(
                "a client may send {}, and the queue of a client holds {}: such a message would be dropped",
                render_size(packet),
                render_size(queue)
            ),
            "make `queue_bytes_per_client_max` at least as large as `max_packet_size`",
            faults,
        );
    }
    if limits.queue_bytes_max < queue {
        warn(
            scope,
            &["queue_bytes_per_client_max", "queue_bytes_max"],
            &format!(
                "one client may queue {}, and all together {}: one client that is away can take everything",
                render_size(queue),
                render_size(limits.queue_bytes_max)
            ),
            "make `queue_bytes_max` several times as large as `queue_bytes_per_client_max`",
            faults,
        );
    }
    if port
        .connections_max
        .is_some_and(|own| own > limits.connections_max)
    {
        warn(
            scope,
            &["connections_max"],
            &format!(
                "`connections_max` has no effect here: the whole gateway takes {}",
                limits.connections_max
            ),
            "raise `connections_max` in [limits], or leave it out here",
            faults,
        );
    }
}

/// Warns at the first of the keys that the table itself has; a table that has none is not to blame.
fn warn(scope: &Scope<'_>, keys: &[&str], message: &str, hint: &str, faults: &mut Faults) {
    let declared = keys.iter().filter(|key| scope.spec.key(key).is_some());
    let entry = declared.filter_map(|key| scope.entry(key)).next();
    if let Some(entry) = entry {
        faults.push(
            Draft::warning(FaultCode::Surprising, entry.node.at, message)
                .key(scope.path_of(&entry.key))
                .hint(hint),
        );
    }
}
