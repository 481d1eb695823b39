//! Resolves `[est]`.

use std::net::SocketAddr;

use super::address;
use super::certificate::{self, tls};
use super::conflicts::{PlacedListener, overlap};
use super::faults::{Draft, Faults};
use super::limit_keys::Setting;
use super::port_keys::TLS;
use super::reader::{Scope, read, unknown_keys};
use super::report::FaultCode;
use super::settings::{AdminSettings, CaSettings, Endpoint, EstSettings, TlsMode};
use super::source::At;
use super::value;

pub(super) fn est(scope: Option<&Scope<'_>>, faults: &mut Faults) -> EstSettings {
    let mut est = EstSettings::default();
    let Some(scope) = scope else {
        return est;
    };
    unknown_keys(scope, faults);
    for (key, field) in [("https", &mut est.https), ("http", &mut est.http)] {
        let read = read(scope, key, faults, |v, _| address::socket_address(v));
        *field = read.flatten();
    }
    let written = scope.table("tls", &TLS, faults);
    if let Some(tls) = written.and_then(|scope| tls(&scope, faults)) {
        est.tls = tls;
    }
    if let Some(users) = read(scope, "users", faults, |v, _| value::switch(v)) {
        est.users = users;
    }
    for key in scope.spec.own_keys {
        let field = match key.name {
            "connections_max" => &mut est.connections_max,
            "attempts_per_address_max" => &mut est.attempts_per_address_max,
            "attempts_max" => &mut est.attempts_max,
            _ => continue,
        };
        let set = read(scope, key.name, faults, |v, _| value::setting(v, key.kind));
        if let Some(Setting::Number(Some(number))) = set {
            *field = u32::try_from(number).unwrap_or(u32::MAX);
        }
    }
    est
}

/// Notes addresses that something else accepts on.
pub(super) fn check(
    est: &EstSettings,
    scope: Option<&Scope<'_>>,
    listeners: &[PlacedListener<'_>],
    (admin, admin_scope): (&AdminSettings, Option<&Scope<'_>>),
    faults: &mut Faults,
) {
    let Some(scope) = scope else { return };
    let mut seen: Vec<(SocketAddr, &str, Option<At>)> = Vec::new();
    if let Some(http) = admin.http {
        let entry = admin_scope.and_then(|scope| scope.entry("http"));
        seen.push((http, "[admin]", entry.map(|entry| entry.node.at)));
    }
    for port in listeners.iter().flat_map(|listener| &listener.ports) {
        if let Endpoint::Tcp {
            port: number, bind, ..
        } = &port.settings.endpoint
        {
            let any = std::net::Ipv6Addr::UNSPECIFIED.into();
            let address = SocketAddr::new(bind.unwrap_or(any), *number);
            seen.push((address, "a [[listener.port]]", Some(port.at)));
        }
    }
    for (key, address) in [("https", est.https), ("http", est.http)] {
        let (Some(address), Some(entry)) = (address, scope.entry(key)) else {
            continue;
        };
        let first = seen.iter().find(|(other, _, _)| {
            let is_same = address.port() != 0 && address.port() == other.port();
            is_same && wants_the_same(*other, address)
        });
        if let Some((_, what, at)) = first {
            let message = format!("port {} is used by {what} too", address.port());
            let mut draft = Draft::error(FaultCode::Duplicate, entry.node.at, message)
                .key(scope.path_of(key))
                .hint("choose another port number for one of them");
            if let Some(at) = at {
                draft = draft.related(*at, "it is written here");
            }
            faults.push(draft);
        }
        seen.push((address, "the other address of [est]", Some(entry.node.at)));
    }
}

/// Notes a key of another kind than the authority has.
pub(super) fn check_algorithm(
    est: &EstSettings,
    scope: Option<&Scope<'_>>,
    ca: &CaSettings,
    faults: &mut Faults,
) {
    let TlsMode::Automatic(wanted) = &est.tls.mode else {
        return;
    };
    if let Some(scope) = scope.and_then(|scope| scope.table("tls", &TLS, &mut Faults::default())) {
        certificate::check_algorithm(&scope, wanted.key_algorithm, ca, faults);
    }
}

/// Whether two sockets would want the same connections. One on every IPv6 address takes those of IPv4 as well.
fn wants_the_same(one: SocketAddr, other: SocketAddr) -> bool {
    let is_every = |address: SocketAddr| address.is_ipv6() && address.ip().is_unspecified();
    is_every(one) || is_every(other) || overlap(Some(one.ip()), other.ip())
}
