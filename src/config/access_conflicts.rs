//! What is right by itself and wrong together, of ports and of the access that they refer to.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::access::{
    Authentication, AuthenticationSettings, Authorization, AuthorizationSettings, MethodSettings,
};
use super::authentication::Section;
use super::conflicts::{PlacedListener, PlacedPort};
use super::faults::{Draft, Faults};
use super::nearest::nearest;
use super::reader::{Scope, missing, read};
use super::report::FaultCode;
use super::settings::Endpoint;
use super::source::quoted;
use super::tree::Value;
use super::value::{self, Complaint, enumerate};
use crate::policy::Principals;

/// Names that a report lists.
const NAMES_SHOWN_MAX: usize = 8;

/// Every section of the file.
pub(super) struct Sections<'a> {
    /// The file as a whole.
    pub(super) root: Scope<'a>,
    pub(super) authentications: Vec<Section<'a, AuthenticationSettings>>,
    pub(super) authorizations: Vec<Section<'a, AuthorizationSettings>>,
}

impl Sections<'_> {
    /// What a port refers to as `authentication`; nothing where that is wrong, which is noted.
    pub(super) fn authentication(&self, port: &Scope<'_>, faults: &mut Faults) -> Authentication {
        refer(
            port,
            "authentication",
            &self.authentications,
            &self.root,
            faults,
        )
        .map_or(Authentication::None, Authentication::Named)
    }

    /// What a port refers to as `authorization`.
    pub(super) fn authorization(&self, port: &Scope<'_>, faults: &mut Faults) -> Authorization {
        refer(
            port,
            "authorization",
            &self.authorizations,
            &self.root,
            faults,
        )
        .map_or(Authorization::None, Authorization::Named)
    }

    /// Compares the ports with what they refer to.
    pub(super) fn check(&self, listeners: &[PlacedListener<'_>], faults: &mut Faults) {
        let ports: Vec<&PlacedPort<'_>> = listeners.iter().flat_map(|l| &l.ports).collect();
        for port in &ports {
            check_certificates(port, faults);
            check_plain_text(port, faults);
            check_rules_for_nobody(port, faults);
        }
        check_unused(&self.authentications, "authentication", listeners, faults);
        check_unused(&self.authorizations, "authorization", listeners, faults);
    }
}

/// What is written of each section, in the order of the names.
pub(super) fn settings_of<T>(sections: Vec<Section<'_, T>>) -> Vec<Arc<T>> {
    let mut sections = sections;
    sections.sort_by(|one, other| one.name.cmp(other.name));
    let settings = sections.into_iter().filter_map(|section| section.settings);
    settings.collect()
}

fn refer<T>(
    port: &Scope<'_>,
    key: &str,
    sections: &[Section<'_, T>],
    root: &Scope<'_>,
    faults: &mut Faults,
) -> Option<Arc<T>> {
    if port.entry(key).is_none() {
        missing(port, key, faults);
        return None;
    }
    if is_broken(port, key, root) {
        return None;
    }
    let section = read(port, key, faults, |value, _| {
        find(value, key, sections).map(|found| found.map(|section| section.settings.clone()))
    });
    section.flatten().flatten()
}

/// Whether the section that a port names is there in a form that is wrong, which is noted.
fn is_broken(port: &Scope<'_>, key: &str, root: &Scope<'_>) -> bool {
    let named = match port.entry(key).map(|entry| &entry.node.value) {
        Some(Value::Text(name)) => name,
        _ => return false,
    };
    match root.entry(key).map(|entry| &entry.node.value) {
        Some(Value::Table(table)) => table
            .get(named)
            .is_some_and(|entry| !matches!(entry.node.value, Value::Table(_))),
        Some(Value::List(_)) => !named.eq_ignore_ascii_case("none"),
        _ => false,
    }
}

/// The section that is named; `None` for `"none"`.
fn find<'s, 'a, T>(
    value: &Value,
    key: &str,
    sections: &'s [Section<'a, T>],
) -> Result<Option<&'s Section<'a, T>>, Complaint> {
    let effect = match key {
        "authentication" => "serves every client without a check",
        _ => "lets every client publish and read everything",
    };
    let none = format!("write \"none\", which {effect}");
    let takes = format!("\"none\", or the name of an [{key}.NAME]");
    let name = value::text(value, &takes).map_err(|complaint| match value {
        Value::Text(_) | Value::List(_) | Value::Integer { .. } => complaint,
        _ => complaint.hint(none.clone()),
    })?;
    if name.eq_ignore_ascii_case("none") {
        return Ok(None);
    }
    if let Some(section) = sections.iter().find(|section| section.name == name) {
        return Ok(Some(section));
    }
    let hint = match nearest(name, sections.iter().map(|section| section.name)) {
        Some(near) => format!("write {}", quoted(near)),
        None if sections.is_empty() => format!("begin a table [{key}.{}]; or {none}", plain(name)),
        None => {
            let names = sections.iter().take(NAMES_SHOWN_MAX);
            let names: Vec<String> = names.map(|section| quoted(section.name)).collect();
            format!("there is {}; or {none}", enumerate(&names))
        }
    };
    Err(Complaint {
        code: FaultCode::MissingReference,
        message: format!("names {}, and there is none of that name", quoted(name)),
        hint: Some(hint),
    })
}

/// A name as it may stand in a header.
fn plain(name: &str) -> &str {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let fits = !name.is_empty() && name.len() < 64 && name.chars().all(is_plain);
    if fits { name } else { "NAME" }
}

fn methods<'p>(port: &'p PlacedPort<'_>) -> &'p [MethodSettings] {
    match &port.settings.authentication {
        Authentication::None => &[],
        Authentication::Named(named) => &named.methods,
    }
}

/// Without TLS no client can present a certificate.
fn check_certificates(port: &PlacedPort<'_>, faults: &mut Faults) {
    let asks = |method: &MethodSettings| matches!(method, MethodSettings::X509(_));
    let has_tls = port.scope.entry("tls").is_some() || port.scope.is_meant("tls");
    let Some(entry) = port.scope.entry("authentication") else {
        return;
    };
    if has_tls || !methods(port).iter().any(asks) {
        return;
    }
    let message = "the method \"x509\" needs `tls`: without it no client can present a certificate";
    faults.push(
        Draft::error(FaultCode::Conflict, entry.node.at, message)
            .key(port.scope.path_of("authentication"))
            .hint("add tls = { mode = \"Automatic\" }, or an authentication without \"x509\""),
    );
}

/// Passwords and tokens that everybody on the network can read.
fn check_plain_text(port: &PlacedPort<'_>, faults: &mut Faults) {
    let is_local = match &port.settings.endpoint {
        Endpoint::Tcp { bind, .. } => bind.is_some_and(|address| address.is_loopback()),
        // Who may pass a socket knows whom it serves.
        Endpoint::Unix { .. } | Endpoint::Systemd { .. } => true,
    };
    let has_tls = port.scope.entry("tls").is_some() || port.scope.is_meant("tls");
    // Behind a proxy the encryption may end at the proxy.
    if is_local || has_tls || port.settings.proxy_protocol {
        return;
    }
    let secret = |method: &&MethodSettings| match method {
        MethodSettings::Password(_)
        | MethodSettings::ServiceAccountToken(_)
        | MethodSettings::Custom(_)
        | MethodSettings::Http(_) => true,
        MethodSettings::X509(_) | MethodSettings::Anonymous(_) => false,
    };
    let Some(method) = methods(port).iter().find(secret) else {
        return;
    };
    let what = match method {
        MethodSettings::ServiceAccountToken(_) => "tokens",
        _ => "passwords",
    };
    let message = format!(
        "clients send {what} over this port, and it has no `tls`: everybody on the network can read them"
    );
    faults.push(
        Draft::warning(FaultCode::Surprising, port.at, message)
            .key(port.scope.path_of("tls"))
            .hint(
                "add tls = { mode = \"Automatic\" }, or bind = \"127.0.0.1\" for clients of this machine",
            ),
    );
}

/// Rules about names, on a port where nobody has one.
fn check_rules_for_nobody(port: &PlacedPort<'_>, faults: &mut Faults) {
    let Authorization::Named(named) = &port.settings.authorization else {
        return;
    };
    let asks_nobody = port.scope.entry("authentication").is_some_and(
        |entry| matches!(&entry.node.value, Value::Text(text) if text.eq_ignore_ascii_case("none")),
    );
    let Some(entry) = port.scope.entry("authorization").filter(|_| asks_nobody) else {
        return;
    };
    let rules = named.rules.rules.iter();
    let is_about = |wanted: fn(&Principals) -> bool| rules.clone().any(|r| wanted(&r.principals));
    let names = |principals: &Principals| {
        matches!(
            principals,
            Principals::Listed { usernames, attributes, .. }
                if !usernames.is_empty() || !attributes.is_empty()
        )
    };
    let client_ids = |principals: &Principals| matches!(principals, Principals::Listed { client_ids, .. } if !client_ids.is_empty());
    let (message, hint) = if is_about(names) || named.rules.asks {
        (
            "with authentication = \"none\" no client has a user name or attributes, so rules about these fit nobody",
            "name an authentication; rules about client_ids and everyone hold as they are",
        )
    } else if is_about(client_ids) {
        (
            "with authentication = \"none\" clients choose their client identifiers freely, so rules about these hold back \
             nobody who lies",
            "name an authentication, so that clients prove who they are",
        )
    } else {
        return;
    };
    faults.push(
        Draft::warning(FaultCode::Surprising, entry.node.at, message)
            .key(port.scope.path_of("authorization"))
            .hint(hint),
    );
}

/// Sections that no port names.
fn check_unused<T>(
    sections: &[Section<'_, T>],
    key: &str,
    listeners: &[PlacedListener<'_>],
    faults: &mut Faults,
) {
    let ports = listeners.iter().flat_map(|listener| &listener.ports);
    let mut named = BTreeSet::new();
    for port in ports {
        match port.scope.entry(key).map(|entry| &entry.node.value) {
            Some(Value::Text(name)) if name.eq_ignore_ascii_case("none") => {}
            Some(Value::Text(name)) if sections.iter().any(|section| section.name == name) => {
                named.insert(name.as_str());
            }
            // A port that says something wrong may mean any of them.
            _ => return,
        }
    }
    for section in sections
        .iter()
        .filter(|section| section.settings.is_some() && !named.contains(section.name))
    {
        let title = section.scope.title();
        faults.push(
            Draft::warning(
                FaultCode::NoEffect,
                section.at,
                format!("no port names {title}, so it has no effect"),
            )
            .key(&section.scope.path)
            .hint(format!(
                "write {key} = {} in a [[listener.port]], or remove it",
                quoted(section.name)
            )),
        );
    }
}
