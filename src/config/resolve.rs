//! From what was typed to what the gateway runs on.
//!
//! Nothing stops at a fault: each is noted, a default takes the place of what is wrong, and the result is thrown away at
//! the end if anything was.

use std::net::IpAddr;
use std::time::Duration;

use super::access_conflicts::{Sections, settings_of};
use super::address;
use super::authentication;
use super::authorization;
use super::certificate::{self, tls};
use super::conflicts::{self, PlacedListener, PlacedPort};
use super::discovery::{DISCOVERY, discovery};
use super::est;
use super::est_keys::EST;
use super::faults::{Draft, Faults};
use super::kubernetes::kubernetes;
use super::kubernetes_keys::KUBERNETES;
use super::limit_keys::{LimitSpec, Setting};
use super::names::ListenerName;
use super::port_keys::{LISTENER, PORT, PORT_LIMITS_TABLE, TLS};
use super::protection::protection;
use super::reader::{Scope, choose, missing, read, tables, unknown_keys};
use super::report::FaultCode;
use super::schema::{self, Bounds, Kind};
use super::settings::{
    AdminSettings, Endpoint, GatewaySettings, LogFormat, LogLevel, LogSettings, PortSettings,
    Protocol, ServiceType, Settings, StoreSettings,
};
use super::source::{At, Source};
use super::tree::{Table, Value};
use super::value::{self, Complaint};
use crate::limits::Limits;

/// Reads the whole file. The settings are what was meant only while `faults` is usable.
pub(super) fn resolve(root: &Table, sources: &[Source], faults: &mut Faults) -> Settings {
    let scope = Scope {
        table: root,
        at: None,
        spec: &schema::ROOT,
        path: String::new(),
        sources,
    };
    unknown_keys(&scope, faults);
    let gateway = gateway(scope.table("gateway", &schema::GATEWAY, faults), faults);
    let limits_scope = scope.table("limits", &schema::LIMITS, faults);
    let mut limits = Limits::default();
    if let Some(scope) = &limits_scope {
        apply_limits(scope, &mut limits, faults);
        conflicts::check_limits(scope, &limits, faults);
    }
    let admin_scope = scope.table("admin", &schema::ADMIN, faults);
    let admin = admin(admin_scope.as_ref(), faults);
    let est_scope = scope.table("est", &EST, faults);
    let est = est::est(est_scope.as_ref(), faults);
    let store = store(scope.table("store", &schema::STORE, faults), faults);
    let log = log(scope.table("log", &schema::LOG, faults), faults);
    let protection_scope = scope.table("protection", &schema::PROTECTION, faults);
    let protection = protection(protection_scope.as_ref(), faults);
    let sections = Sections {
        root: scope.clone(),
        authentications: authentication::sections(&scope, faults),
        authorizations: authorization::sections(&scope, faults),
    };
    let ca_scope = scope.table("ca", &schema::CA, faults);
    let mut ca = certificate::ca(ca_scope.as_ref(), faults);
    let discovery_scope = scope.table("discovery", &DISCOVERY, faults);
    let discovery = discovery(discovery_scope.as_ref(), faults);
    let kubernetes_scope = scope.table("kubernetes", &KUBERNETES, faults);
    let kubernetes = kubernetes(kubernetes_scope.as_ref(), faults);
    // A cluster may say where clients connect.
    let is_whole = kubernetes.controller && scope.entry("listener").is_none();
    let listeners = match is_whole {
        true => Vec::new(),
        false => listeners(&scope, &limits, &sections, faults),
    };
    conflicts::check(&listeners, &admin, admin_scope.as_ref(), faults);
    let admin_written = (&admin, admin_scope.as_ref());
    est::check(&est, est_scope.as_ref(), &listeners, admin_written, faults);
    conflicts::choose_algorithm(&listeners, ca_scope.as_ref(), &mut ca, faults);
    est::check_algorithm(&est, est_scope.as_ref(), &ca, faults);
    sections.check(&listeners, faults);
    Settings {
        gateway,
        listeners: listeners
            .into_iter()
            .map(PlacedListener::settings)
            .collect(),
        limits,
        authentications: settings_of(sections.authentications),
        authorizations: settings_of(sections.authorizations),
        protection,
        est,
        ca,
        discovery,
        kubernetes,
        admin,
        store,
        log,
    }
}

fn gateway(scope: Option<Scope<'_>>, faults: &mut Faults) -> GatewaySettings {
    let name = scope.and_then(|scope| {
        unknown_keys(&scope, faults);
        read(&scope, "name", faults, |value, _| value::label(value))
    });
    name.map_or_else(GatewaySettings::default, |name| GatewaySettings { name })
}

fn admin(scope: Option<&Scope<'_>>, faults: &mut Faults) -> AdminSettings {
    let mut admin = AdminSettings::default();
    let Some(scope) = scope else {
        return admin;
    };
    unknown_keys(scope, faults);
    if let Some(http) = read(scope, "http", faults, |v, _| address::socket_address(v)) {
        admin.http = http;
    }
    admin.control_socket = read(scope, "control_socket", faults, |v, beside| {
        value::socket_path(v, beside)
    });
    admin
}

fn store(scope: Option<Scope<'_>>, faults: &mut Faults) -> StoreSettings {
    let mut store = StoreSettings::default();
    let Some(scope) = scope else {
        return store;
    };
    unknown_keys(&scope, faults);
    for key in scope.spec.own_keys {
        let set = read(&scope, key.name, faults, |v, _| value::setting(v, key.kind));
        let Some(Setting::Number(Some(number))) = set else {
            continue;
        };
        match key.name {
            "commit_interval" => store.commit_interval = Duration::from_millis(number),
            "flush_interval" => store.flush_interval = Duration::from_millis(number),
            "wal_bytes_max" => store.wal_bytes_max = number,
            "reserve_bytes" => store.reserve_bytes = number,
            _ => store.free_bytes_min = number,
        }
    }
    store
}

fn log(scope: Option<Scope<'_>>, faults: &mut Faults) -> LogSettings {
    let mut log = LogSettings::default();
    let Some(scope) = scope else {
        return log;
    };
    unknown_keys(&scope, faults);
    if let Some(level) = choose(&scope, "level", faults) {
        log.level = match level {
            0 => LogLevel::Error,
            1 => LogLevel::Warn,
            2 => LogLevel::Info,
            3 => LogLevel::Debug,
            _ => LogLevel::Trace,
        };
    }
    if let Some(format) = choose(&scope, "format", faults) {
        log.format = match format {
            0 => LogFormat::Auto,
            1 => LogFormat::Text,
            2 => LogFormat::Json,
            _ => LogFormat::Journald,
        };
    }
    log
}

/// Sets every bound that the table names.
fn apply_limits(scope: &Scope<'_>, limits: &mut Limits, faults: &mut Faults) {
    unknown_keys(scope, faults);
    let specs = scope.spec.limits.iter().flat_map(|group| group.iter());
    for LimitSpec { key, field } in specs {
        let set = read(scope, key.name, faults, |v, _| value::setting(v, key.kind));
        if let Some(set) = set {
            field(limits).set(set);
        }
    }
}

fn listeners<'a>(
    root: &Scope<'a>,
    limits: &Limits,
    sections: &Sections<'_>,
    faults: &mut Faults,
) -> Vec<PlacedListener<'a>> {
    let scopes = tables(root, "listener", &LISTENER, faults);
    scopes
        .into_iter()
        .map(|scope| listener(scope, limits, sections, faults))
        .collect()
}

fn listener<'a>(
    scope: Scope<'a>,
    limits: &Limits,
    sections: &Sections<'_>,
    faults: &mut Faults,
) -> PlacedListener<'a> {
    unknown_keys(&scope, faults);
    if scope.entry("name").is_none() {
        missing(&scope, "name", faults);
    }
    let name: Option<ListenerName> = read(&scope, "name", faults, |v, _| value::label(v));
    let service_type = match choose(&scope, "service_type", faults) {
        Some(1) => ServiceType::LoadBalancer,
        Some(2) => ServiceType::NodePort,
        _ => ServiceType::ClusterIp,
    };
    let service_name = read(&scope, "service_name", faults, |v, _| value::label(v));
    let group = Group {
        name: name.clone().unwrap_or_else(ListenerName::fallback),
        service_type,
        limits,
        sections,
    };
    let ports = tables(&scope, "port", &PORT, faults)
        .into_iter()
        .filter_map(|scope| port(scope, &group, faults))
        .collect();
    PlacedListener {
        name,
        service_type,
        service_name,
        ports,
        scope,
    }
}

/// What a port inherits from what is around it.
struct Group<'a> {
    name: ListenerName,
    service_type: ServiceType,
    limits: &'a Limits,
    sections: &'a Sections<'a>,
}

fn port<'a>(scope: Scope<'a>, group: &Group<'_>, faults: &mut Faults) -> Option<PlacedPort<'a>> {
    unknown_keys(&scope, faults);
    let placed = endpoint(&scope, faults);
    let protocol = match choose(&scope, "protocol", faults) {
        Some(1) => Protocol::WebSockets,
        _ => Protocol::Mqtt,
    };
    let websocket_path = read(&scope, "websocket_path", faults, |v, _| {
        value::websocket_path(v)
    });
    if protocol == Protocol::Mqtt {
        let only = "is only for protocol = \"WebSockets\"";
        conflicts::refuse(&scope, "websocket_path", only, faults);
    }
    let authentication = group.sections.authentication(&scope, faults);
    let authorization = group.sections.authorization(&scope, faults);
    let tls = scope
        .table("tls", &TLS, faults)
        .and_then(|scope| tls(&scope, faults));
    let proxy_protocol = read(&scope, "proxy_protocol", faults, |v, _| value::switch(v));
    let mount_point = read(&scope, "mount_point", faults, |v, _| value::name(v));
    let mut limits = group.limits.clone();
    if let Some(scope) = scope.table("limits", &PORT_LIMITS_TABLE, faults) {
        apply_limits(&scope, &mut limits, faults);
        conflicts::check_limits(&scope, &limits, faults);
    }
    let node_port = integer(&scope, "node_port", faults);
    if group.service_type != ServiceType::NodePort {
        let only = "is only for listeners with service_type = \"NodePort\"";
        conflicts::refuse(&scope, "node_port", only, faults);
    }
    let (endpoint, at) = placed?;
    let settings = PortSettings {
        listener: group.name.clone(),
        endpoint,
        protocol,
        websocket_path,
        authentication,
        authorization,
        tls,
        proxy_protocol: proxy_protocol.unwrap_or(false),
        mount_point,
        limits: limits.port,
        node_port,
    };
    Some(PlacedPort {
        settings,
        at,
        scope,
    })
}

/// A number of a key of kind [`Kind::Count`] that fits into a port number.
fn integer(scope: &Scope<'_>, key: &str, faults: &mut Faults) -> Option<u16> {
    let bounds = match scope.spec.key(key).map(|key| key.kind) {
        Some(Kind::Count(bounds)) => bounds,
        _ => Bounds::new(0, u16::MAX.into()),
    };
    let number = read(scope, key, faults, |v, _| {
        value::number(v, bounds).map_err(|complaint| match v {
            Value::List(_) => Complaint {
                hint: Some("begin a [[listener.port]] of its own for each".to_owned()),
                ..complaint
            },
            _ => complaint,
        })
    });
    number.and_then(|n| u16::try_from(n).ok())
}

/// Where the port accepts, and where that is written.
fn endpoint(scope: &Scope<'_>, faults: &mut Faults) -> Option<(Endpoint, At)> {
    let written = ["port", "path", "systemd"].map(|key| scope.entry(key));
    let mut written = written.into_iter().flatten();
    let Some(first) = written.next() else {
        if ["port", "path", "systemd"]
            .iter()
            .any(|key| scope.is_meant(key))
        {
            return None;
        }
        let message = "this [[listener.port]] does not say where it accepts";
        faults.push(
            Draft::error(FaultCode::MissingKey, scope.place(), message)
                .key(&scope.path)
                .hint("write port = 1883; or path = \"…\" for a Unix socket, or systemd = \"…\""),
        );
        return None;
    };
    for other in written {
        let message = format!("`{}` cannot stand beside `{}`", other.key, first.key);
        faults.push(
            Draft::error(FaultCode::Conflict, other.key_at, message)
                .key(scope.path_of(&other.key))
                .related(first.key_at, format!("`{}` is written here", first.key))
                .hint("a port is one place: begin another [[listener.port]] for the second"),
        );
    }
    let at = first.node.at;
    let this = match first.key.as_str() {
        "port" => "a TCP port",
        "path" => "a Unix socket",
        _ => "a socket of systemd",
    };
    for (key, only, what) in [
        ("bind", "port", "a TCP port"),
        ("interface", "port", "a TCP port"),
        ("node_port", "port", "a TCP port"),
        ("mode", "path", "a Unix socket"),
    ] {
        if first.key != only {
            conflicts::refuse(
                scope,
                key,
                &format!("is for {what}, and this is {this}"),
                faults,
            );
        }
    }
    match first.key.as_str() {
        "port" => tcp(scope, faults).map(|endpoint| (endpoint, at)),
        "path" => {
            let path = read(scope, "path", faults, value::socket_path);
            let mode = read(scope, "mode", faults, |v, _| value::mode(v));
            let mode = mode.unwrap_or(0o660);
            path.map(|path| (Endpoint::Unix { path, mode }, at))
        }
        _ => {
            let name = read(scope, "systemd", faults, |v, _| value::name(v));
            name.map(|name| (Endpoint::Systemd { name }, at))
        }
    }
}

fn tcp(scope: &Scope<'_>, faults: &mut Faults) -> Option<Endpoint> {
    let port = integer(scope, "port", faults);
    if port == Some(0)
        && let Some(entry) = scope.entry("port")
    {
        let message = "the system chooses this port number, another at each start";
        faults.push(
            Draft::warning(FaultCode::Surprising, entry.node.at, message)
                .key(scope.path_of("port")),
        );
    }
    let bind = read(scope, "bind", faults, |v, _| address::bind(v)).flatten();
    let interface = read(scope, "interface", faults, |v, _| value::name(v));
    if let (Some(IpAddr::V6(address)), Some(entry)) = (bind, scope.entry("bind"))
        && address.is_unicast_link_local()
        && scope.entry("interface").is_none()
    {
        let message = "`bind` is a link-local address, which every interface has one of";
        faults.push(
            Draft::error(FaultCode::Conflict, entry.node.at, message)
                .key(scope.path_of("bind"))
                .hint("add interface = \"eth0\", or whichever it is"),
        );
    }
    port.map(|port| Endpoint::Tcp {
        port,
        bind,
        interface,
    })
}
