//! Plans as the text of a configuration.

use std::fmt::Write;
use std::path::Path;

use super::authentication::AuthenticationPlan;
use super::authorization::AuthorizationPlan;
use super::broker::BrokerPlan;
use super::listener::{ListenerPlan, PortPlan};
use crate::config::KeyAlgorithm;
use crate::import::text::{comment, quote};

/// Everything that was understood.
pub(super) struct Plans<'p> {
    pub(super) broker: &'p BrokerPlan,
    /// The kind of the keys that the gateway makes, where that is for the resources to say.
    pub(super) chain: Option<KeyAlgorithm>,
    pub(super) listeners: &'p [ListenerPlan],
    pub(super) authentications: &'p [AuthenticationPlan],
    pub(super) authorizations: &'p [AuthorizationPlan],
}

impl Plans<'_> {
    pub(super) fn render(&self, sources: &[&Path]) -> String {
        let names: Vec<String> = sources
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        let mut text = comment(&format!(
            "Made from {} by `fieldgate import aio`.",
            names.join(", ")
        ));
        text.push_str("\n\n");
        if self.listeners.is_empty() {
            let note = "No listener is in it, so this is no configuration by itself: put it into a file of conf.d.";
            text.push_str(&format!("{}\n\n", comment(note)));
        }
        for listener in self.listeners {
            self.listener(listener, &mut text);
        }
        for plan in self.authentications {
            let name = section_name(&plan.resource);
            if self.is_named(plan, true) || !self.is_named(plan, false) {
                text.push_str(&plan.render(&name, true));
            }
            if self.is_named(plan, false) && plan.asks_certificates() {
                text.push_str(&plan.render(&without_certificates(&name), false));
            } else if self.is_named(plan, false) && !self.is_named(plan, true) {
                text.push_str(&plan.render(&name, true));
            }
        }
        for plan in self.authorizations {
            text.push_str(&plan.render(&section_name(&plan.resource)));
        }
        let default = KeyAlgorithm::default().family();
        if let Some(algorithm) = self.chain.filter(|algorithm| algorithm.family() != default) {
            let _ = writeln!(text, "[ca]\nalgorithm = {}\n", quote(algorithm.word()));
        }
        text.push_str(&self.broker.render());
        let end = text.trim_end().len();
        text.truncate(end);
        text.push('\n');
        text
    }

    /// Whether a port names an authentication, one with TLS or one without.
    fn is_named(&self, plan: &AuthenticationPlan, has_tls: bool) -> bool {
        let mut ports = self.listeners.iter().flat_map(|listener| &listener.ports);
        ports.any(|port| {
            port.authentication.as_ref() == Some(&plan.resource) && port.tls.is_some() == has_tls
        })
    }

    fn listener(&self, listener: &ListenerPlan, text: &mut String) {
        // Writing to a String does not fail.
        let _ = writeln!(text, "[[listener]]\nname = {}", quote(&listener.name));
        let _ = writeln!(text, "service_type = {}", quote(listener.service_type));
        if let Some(name) = &listener.service_name {
            let _ = writeln!(text, "service_name = {}", quote(name));
        }
        text.push('\n');
        for port in &listener.ports {
            self.port(port, text);
        }
    }

    fn port(&self, port: &PortPlan, text: &mut String) {
        text.push_str("[[listener.port]]\n");
        for note in &port.comments {
            let _ = writeln!(text, "{}", comment(note));
        }
        let _ = writeln!(text, "port = {}", port.port);
        if let Some(number) = port.node_port {
            let _ = writeln!(text, "node_port = {number}");
        }
        if port.is_websocket {
            text.push_str("protocol = \"WebSockets\"\n");
        }
        let authentication = port.authentication.as_ref().map(|resource| {
            let name = section_name(resource);
            let mut plans = self.authentications.iter();
            let plan = plans.find(|plan| plan.resource == *resource);
            match plan.is_some_and(AuthenticationPlan::asks_certificates) && port.tls.is_none() {
                true => without_certificates(&name),
                false => name,
            }
        });
        let authorization = port.authorization.as_deref().map(section_name);
        for (key, name) in [
            ("authentication", authentication),
            ("authorization", authorization),
        ] {
            let name = name.unwrap_or_else(|| "none".to_owned());
            let _ = writeln!(text, "{key} = {}", quote(&name));
        }
        if let Some(tls) = &port.tls {
            let _ = writeln!(text, "tls = {}", tls.render());
        }
        text.push('\n');
    }
}

/// The sections that may be made of a BrokerAuthentication or BrokerAuthorization.
#[cfg(feature = "kube")]
pub(crate) fn aio_sections(resource: &str) -> [String; 2] {
    let name = section_name(resource);
    [without_certificates(&name), name]
}

/// A section that is named as its resource is, where such a name is possible.
fn section_name(resource: &str) -> String {
    let name: String = resource.replace('.', "-");
    if name == "none" || name.len() < 2 {
        return format!("aio-{name}");
    }
    // A name of the cluster may be longer than one of a section.
    let name: String = name.chars().take(63).collect();
    name.trim_end_matches('-').to_owned()
}

fn without_certificates(name: &str) -> String {
    const END: &str = "-without-x509";
    let name: String = name.chars().take(63 - END.len()).collect();
    format!("{name}{END}")
}
