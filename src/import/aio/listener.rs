//! `BrokerListener`: ports, with what they refer to.

use super::authentication::AuthenticationPlan;
use super::authorization::AuthorizationPlan;
use super::fields::{At, Fields, Notes, Word};
use super::objects::Materials;
use super::resources::Resource;
use super::tls::{self, TlsPlan};
use crate::config::{KeyAlgorithm, ServiceName};
use crate::import::report::ImportReport;

const SERVICE_TYPES: &[Word] = &[("ClusterIp", &[]), ("LoadBalancer", &[]), ("NodePort", &[])];

const PROTOCOLS: &[Word] = &[("Mqtt", &[]), ("WebSockets", &["websocket"])];

/// `[[listener]]`
pub(super) struct ListenerPlan {
    pub(super) name: String,
    pub(super) service_type: &'static str,
    pub(super) service_name: Option<String>,
    pub(super) ports: Vec<PortPlan>,
}

/// `[[listener.port]]`
pub(super) struct PortPlan {
    pub(super) port: u16,
    pub(super) node_port: Option<u16>,
    pub(super) is_websocket: bool,
    /// Name of the resource.
    pub(super) authentication: Option<String>,
    pub(super) authorization: Option<String>,
    pub(super) tls: Option<TlsPlan>,
    pub(super) comments: Vec<String>,
}

/// What was said so far.
pub(super) struct Known<'k> {
    pub(super) authentications: &'k mut Vec<AuthenticationPlan>,
    pub(super) authorizations: &'k [AuthorizationPlan],
    pub(super) listeners: &'k [ListenerPlan],
    /// Where the Broker wants its metrics.
    pub(super) metrics: Option<u16>,
    pub(super) materials: &'k mut Materials,
    /// The kind of the keys that the gateway makes: that of its authority, or what the first port wants that says something
    /// about it.
    pub(super) chain: &'k mut Option<KeyAlgorithm>,
}

pub(super) fn translate(
    resource: &Resource,
    known: Known<'_>,
    report: &mut ImportReport,
) -> ListenerPlan {
    let mut reading = Reading {
        notes: resource.notes(report),
        namespace: resource.namespace.as_deref(),
        known,
        plan: ListenerPlan {
            name: resource.name.clone(),
            service_type: "ClusterIp",
            service_name: None,
            ports: Vec::new(),
        },
    };
    reading.spec(&resource.spec());
    reading.plan
}

struct Reading<'r> {
    notes: Notes<'r>,
    namespace: Option<&'r str>,
    known: Known<'r>,
    plan: ListenerPlan,
}

/// Keys of a port.
const PORT_KEYS: &[&str] = &[
    "port",
    "nodePort",
    "protocol",
    "authenticationRef",
    "authorizationRef",
    "tls",
];

/// Keys of a listener of one port, as older resources have them.
const OLDER_KEYS: &[&str] = &[
    "port",
    "nodePort",
    "protocol",
    "authenticationEnabled",
    "authorizationEnabled",
    "websocketsEnabled|websocketEnabled",
    "tls",
];

impl Reading<'_> {
    fn spec(&mut self, spec: &At<'_>) {
        let mut keys = vec!["brokerRef", "serviceType", "serviceName", "ports"];
        keys.extend_from_slice(OLDER_KEYS);
        let Some(fields) = self.notes.fields(spec, &keys) else {
            return;
        };
        if let Some(at) = fields.get("brokerRef") {
            self.notes.not_needed(at, "there is one gateway");
        }
        self.service(&fields);
        match fields.get("ports") {
            Some(at) => {
                for (_, other) in fields.iter().filter(|(key, _)| {
                    OLDER_KEYS
                        .iter()
                        .any(|older| older.split('|').next() == Some(key))
                }) {
                    self.notes.bad(other, "it belongs into one of `ports`");
                }
                for port in self.notes.list(at) {
                    if let Some(fields) = self.notes.fields(&port, PORT_KEYS) {
                        self.port(&fields);
                    }
                }
                if self.plan.ports.is_empty() {
                    self.notes
                        .no_equivalent(at, "no port is left, so the listener is left out");
                }
            }
            None if fields.get("port").is_some() => self.port(&fields),
            None => self.notes.missing(&fields, "ports"),
        }
    }

    fn service(&mut self, fields: &Fields<'_>) {
        let name_at = fields.get("serviceType").unwrap_or(&fields.at);
        if let Some(at) = fields.get("serviceType")
            && let Some(word) = self.notes.word(at, SERVICE_TYPES)
        {
            self.plan.service_type = word;
            self.notes
                .translated(at, format!("service_type = \"{word}\""));
        }
        let service_type = self.plan.service_type;
        let mut others = self.known.listeners.iter();
        if let Some(other) = others.find(|other| other.service_type == service_type) {
            let why = format!(
                "the listener {} has this service type already; a cluster has at most one of each",
                other.name
            );
            self.notes.bad(name_at, why);
        }
        let at = fields.get("serviceName");
        if let Some(at) = at
            && let Some(name) = self.notes.text(at)
        {
            match ServiceName::try_from(name) {
                Ok(_) => {
                    self.plan.service_name = Some(name.to_owned());
                    self.notes.translated(at, "service_name");
                }
                Err(fault) => self.notes.bad(at, format!("the name {fault}")),
            }
        }
        let own = self.plan.service_name.as_deref().unwrap_or(&self.plan.name);
        let mut others = self.known.listeners.iter();
        let twin = others.find(|other| other.service_name.as_deref().unwrap_or(&other.name) == own);
        if let Some(other) = twin {
            let why = format!("the listener {} has this service name already", other.name);
            self.notes.bad(at.unwrap_or(&fields.at), why);
        }
    }

    fn port(&mut self, fields: &Fields<'_>) {
        let port = match fields.get("port") {
            Some(at) => self.port_number(at),
            None => {
                self.notes.missing(fields, "port");
                None
            }
        };
        let mut plan = PortPlan {
            port: port.unwrap_or(1),
            node_port: fields.get("nodePort").and_then(|at| self.node_port(at)),
            is_websocket: self.is_websocket(fields),
            authentication: self.authentication(fields),
            authorization: self.authorization(fields),
            tls: None,
            comments: Vec::new(),
        };
        let tls_at = fields.get("tls");
        if let Some(at) = tls_at {
            let place = tls::Place {
                listener: &self.plan.name,
                service: self.plan.service_name.as_deref(),
                port: plan.port,
                namespace: self.namespace,
                materials: self.known.materials,
                chain: self.known.chain,
            };
            plan.tls = tls::translate(&mut self.notes, at, place);
            if plan.tls.is_none() {
                return;
            }
        }
        if port.is_some() && self.is_consistent(fields, &mut plan) {
            self.plan.ports.push(plan);
        }
    }

    fn port_number(&mut self, at: &At<'_>) -> Option<u16> {
        let port = self.notes.number(at, 1, 65535)?;
        let port = u16::try_from(port).ok()?;
        let own = self.plan.ports.iter();
        let others = self
            .known
            .listeners
            .iter()
            .flat_map(|listener| &listener.ports);
        if own.chain(others).any(|other| other.port == port) {
            self.notes.bad(
                at,
                "this port is taken by another one; a number is used once over all listeners",
            );
            return None;
        }
        if self.known.metrics == Some(port) {
            self.notes
                .bad(at, "the Broker has its metrics at this port");
            return None;
        }
        self.notes.translated(at, format!("port = {port}"));
        Some(port)
    }

    fn node_port(&mut self, at: &At<'_>) -> Option<u16> {
        let port = u16::try_from(self.notes.number(at, 0, 65535)?).ok()?;
        if port == 0 {
            self.notes.not_needed(at, "the cluster chooses one");
            return None;
        }
        if self.plan.service_type != "NodePort" {
            self.notes
                .no_equivalent(at, "it is only for a listener with serviceType: NodePort");
            return None;
        }
        let own = self.plan.ports.iter();
        let others = self
            .known
            .listeners
            .iter()
            .flat_map(|listener| &listener.ports);
        if own.chain(others).any(|other| other.node_port == Some(port)) {
            self.notes.bad(at, "this node port is taken by another one");
            return None;
        }
        self.notes.translated(at, format!("node_port = {port}"));
        Some(port)
    }

    fn is_websocket(&mut self, fields: &Fields<'_>) -> bool {
        let mut is_websocket = false;
        if let Some(at) = fields.get("protocol")
            && let Some(word) = self.notes.word(at, PROTOCOLS)
        {
            is_websocket = word == "WebSockets";
            self.notes.translated(at, format!("protocol = \"{word}\""));
        }
        if let Some(at) = fields.get("websocketsEnabled")
            && let Some(is_on) = self.notes.switch(at)
        {
            is_websocket |= is_on;
            self.notes.translated(at, "protocol");
        }
        is_websocket
    }

    /// The resource that a port refers to, or that refers to its listener.
    fn authentication(&mut self, fields: &Fields<'_>) -> Option<String> {
        if let Some(at) = fields.get("authenticationRef") {
            let name = self.notes.text(at)?;
            let is_known =
                |plans: &[AuthenticationPlan]| plans.iter().any(|plan| plan.resource == name);
            if is_known(self.known.authentications) {
                self.notes.translated(at, "authentication");
            } else if name == "default" {
                let how = "the BrokerAuthentication default is not in the files; it is taken as the cluster broker installs \
                     it, with tokens of service accounts";
                self.notes.differs(at, how);
                self.known
                    .authentications
                    .push(AuthenticationPlan::installed(
                        self.known.materials.cluster.as_ref(),
                    ));
            } else {
                let why = "there is no BrokerAuthentication of that name in the files; name its file, too";
                self.notes.bad(at, why);
            }
            return Some(name.to_owned());
        }
        let plans = self.known.authentications.iter();
        let listener = &self.plan.name;
        let mut named = plans.filter(|plan| plan.listeners.contains(listener));
        let named = named.next().map(|plan| plan.resource.clone());
        self.enabled(
            fields,
            "authenticationEnabled",
            "BrokerAuthentication",
            named,
        )
    }

    fn authorization(&mut self, fields: &Fields<'_>) -> Option<String> {
        if let Some(at) = fields.get("authorizationRef") {
            let name = self.notes.text(at)?;
            if self
                .known
                .authorizations
                .iter()
                .any(|plan| plan.resource == name)
            {
                self.notes.translated(at, "authorization");
            } else {
                let why =
                    "there is no BrokerAuthorization of that name in the files; name its file, too";
                self.notes.bad(at, why);
            }
            return Some(name.to_owned());
        }
        let plans = self.known.authorizations.iter();
        let listener = &self.plan.name;
        let mut named = plans.filter(|plan| plan.listeners.contains(listener));
        let named = named.next().map(|plan| plan.resource.clone());
        self.enabled(fields, "authorizationEnabled", "BrokerAuthorization", named)
    }

    /// The older shape: a switch here and the name of the listener there.
    fn enabled(
        &mut self,
        fields: &Fields<'_>,
        key: &str,
        kind: &str,
        named: Option<String>,
    ) -> Option<String> {
        let Some(at) = fields.get(key) else {
            return named;
        };
        let is_on = self.notes.switch(at)?;
        match (is_on, named) {
            (true, Some(name)) => {
                self.notes
                    .translated(at, format!("what {kind} {name} says"));
                Some(name)
            }
            (true, None) => {
                let why = format!(
                    "no {kind} in the files names this listener by `listenerRef`; name its file, too"
                );
                self.notes.bad(at, why);
                None
            }
            (false, Some(name)) => {
                let how = format!("\"none\", although {kind} {name} names this listener");
                self.notes.differs(at, how);
                None
            }
            (false, None) => {
                self.notes.translated(at, "\"none\"");
                None
            }
        }
    }

    /// Whether a port can be opened as it is described; what behaves otherwise is noted.
    fn is_consistent(&mut self, fields: &Fields<'_>, plan: &mut PortPlan) -> bool {
        if plan.authentication.is_none() && plan.authorization.is_some() {
            let at = fields.get("authorizationRef").unwrap_or(&fields.at);
            let how = "without authenticationRef the cluster broker ignores it; here the rules hold for every client";
            self.notes.differs(at, how);
            plan.comments.push(
                "The cluster broker would not apply the rules, because nobody is asked who he is."
                    .to_owned(),
            );
        }
        if plan.tls.is_some() {
            return true;
        }
        let named = plan.authentication.as_ref();
        let mut known = self.known.authentications.iter();
        let Some(authentication) = known.find(|known| Some(&known.resource) == named) else {
            return true;
        };
        if !authentication.asks_certificates() {
            return true;
        }
        let at = fields.get("authenticationRef").unwrap_or(&fields.at);
        if authentication.methods.len() == 1 {
            let why = "without TLS no client can present a certificate, so nobody could come in; the port is left out";
            self.notes.no_equivalent(at, why);
            return false;
        }
        let how =
            "without TLS no client can present a certificate; the port asks the other methods only";
        self.notes.differs(at, how);
        true
    }
}
