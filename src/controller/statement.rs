//! What is said about each resource.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::PortFacts;
use super::collection::Kind;
use super::plan::{Fate, Key, Need, Plan, Resource};
use super::status::{Condition, Statement};
use super::vault::ObjectName;
use super::writer::Unwritten;
use crate::config::ListenerSettings;
use crate::kubernetes::{reachable, service_name};

/// What is known when statements are made.
pub(super) struct Facts<'f> {
    pub(super) plan: &'f Plan,
    pub(super) ports: &'f [PortFacts],
    /// Why the gateway does not take the plan.
    pub(super) refused: Option<&'f str>,
    /// What could not be written.
    pub(super) unwritten: &'f Unwritten,
    /// Why Secrets and ConfigMaps could not be read.
    pub(super) unread: &'f BTreeMap<ObjectName, String>,
    /// Services by name.
    pub(super) services: &'f BTreeMap<String, super::cache::Object>,
    pub(super) namespace: &'f str,
}

impl Facts<'_> {
    /// What is said about a resource.
    pub(super) fn statement(&self, resource: &Resource) -> Statement {
        let key = &resource.key;
        let fate = self.plan.fates.get(key);
        let mut statement = Statement::default();
        statement.conditions.push(self.accepted(fate));
        statement.conditions.push(self.resolved(resource));
        let counts = fate.is_some_and(Fate::counts);
        if key.kind == Kind::Listener && counts && self.refused.is_none() {
            let listeners = self
                .plan
                .settings
                .iter()
                .flat_map(|settings| &settings.listeners);
            let mut listeners = listeners.filter(|listener| listener.name.as_str() == key.name);
            match listeners.next() {
                Some(listener) => self.listener(resource, listener, &mut statement),
                None => statement.conditions.push(Condition::new(
                    "Ready",
                    false,
                    "NoPorts",
                    "no port is left of it; see the condition Accepted",
                )),
            }
            return statement;
        }
        statement.conditions.push(match (counts, self.refused) {
            (false, _) => Condition::new("Ready", false, "NotAccepted", "it does not count"),
            (true, Some(why)) => Condition::new("Ready", false, "Refused", why),
            (true, None) => match self.missing(key).next() {
                Some(need) => self.awaiting("Ready", need),
                None => Condition::new("Ready", true, "InForce", "it is in force"),
            },
        });
        statement
    }

    fn accepted(&self, fate: Option<&Fate>) -> Condition {
        match fate {
            Some(Fate::InForce(notes)) => {
                let message = match notes.is_empty() {
                    true => "everything in it is understood".to_owned(),
                    false => format!("with differences: {notes}"),
                };
                Condition::new("Accepted", true, "Accepted", message)
            }
            Some(Fate::Former(why)) => {
                let message = format!("{why}; what it said before stays in force");
                Condition::new("Accepted", false, "Invalid", message)
            }
            Some(Fate::Out(why)) => Condition::new("Accepted", false, "Invalid", why),
            None => Condition::new(
                "Accepted",
                false,
                "Refused",
                self.refused.unwrap_or_default(),
            ),
        }
    }

    fn resolved(&self, resource: &Resource) -> Condition {
        let missing: Vec<&Need> = self.missing(&resource.key).collect();
        if let Some(first) = missing.first() {
            let words = missing
                .iter()
                .map(|need| self.awaiting("ResolvedRefs", need));
            let mut words: Vec<String> = words.map(|condition| condition.message).collect();
            words.dedup();
            let message = words.join("; ");
            return Condition {
                message,
                ..self.awaiting("ResolvedRefs", first)
            };
        }
        match self.unknown_reference(resource) {
            Some((kind, name)) => {
                let message = format!("there is no {kind} {name} that counts");
                Condition::new("ResolvedRefs", false, "RefNotFound", message)
            }
            None => Condition::new(
                "ResolvedRefs",
                true,
                "Resolved",
                "everything it names is there",
            ),
        }
    }

    /// Objects that a resource names and that are not there.
    fn missing(&self, key: &Key) -> impl Iterator<Item = &Need> {
        let needed = self.plan.needed.iter();
        needed.filter(move |need| need.by == *key && !need.object.is_there)
    }

    /// That an object is awaited, and why it is not known where it may be there.
    fn awaiting(&self, kind: &'static str, need: &Need) -> Condition {
        let object = &need.object;
        let unread = self.unread.get(&(object.kind, object.name.clone()));
        let reason = match (object.kind, unread) {
            ("Secret", None) => "SecretNotFound",
            ("Secret", Some(_)) => "SecretUnreadable",
            (_, None) => "ConfigMapNotFound",
            (_, Some(_)) => "ConfigMapUnreadable",
        };
        let message = match unread {
            Some(fault) => format!("{}: {fault}", awaited(need)),
            None => awaited(need),
        };
        Condition::new(kind, false, reason, message)
    }

    /// A resource that a listener names and that does not count.
    fn unknown_reference(&self, resource: &Resource) -> Option<(&'static str, String)> {
        let ports = resource.object.pointer("/spec/ports")?.as_array()?;
        for port in ports {
            for (field, kind) in [
                ("authenticationRef", Kind::Authentication),
                ("authorizationRef", Kind::Authorization),
            ] {
                let Some(name) = port.get(field).and_then(Value::as_str) else {
                    continue;
                };
                let mut fates = self.plan.fates.iter();
                let counts =
                    fates.any(|(key, fate)| key.kind == kind && key.name == name && fate.counts());
                // The cluster broker brings this one along, and so does the gateway.
                let is_installed = kind == Kind::Authentication && name == "default";
                if !counts && !is_installed {
                    return Some((kind.word(), name.to_owned()));
                }
            }
        }
        None
    }

    fn listener(
        &self,
        resource: &Resource,
        listener: &ListenerSettings,
        statement: &mut Statement,
    ) {
        let numbers: Vec<u16> = reachable(listener).map(|(_, number)| number).collect();
        let fact = |number: &u16| self.fact(*number);
        let service = service_name(listener);
        let object = self.services.get(service);
        let missing = self.missing(&resource.key).next();
        let closed = numbers.iter().find_map(|number| {
            let found = fact(number);
            let is_open = found.is_some_and(|port| port.state == "listening");
            (!is_open).then_some((*number, found))
        });
        let ready = match (self.unwritten.services.get(&resource.key), closed) {
            (Some(fault), _) => Condition::new("Ready", false, "ServiceFailed", fault),
            (None, _) if object.is_none() && self.unwritten.waiting.contains(&resource.key) => {
                let message = format!("the Service {service} waits for its turn");
                Condition::new("Ready", false, "Opening", message)
            }
            (None, None) => {
                let numbers: Vec<String> = numbers.iter().map(u16::to_string).collect();
                let message = format!("clients are served on {}", numbers.join(", "));
                Condition::new("Ready", true, "Listening", message)
            }
            (None, Some((number, found))) => {
                let state = found.map_or("opening", |port| &port.state);
                let detail = found.and_then(|port| port.detail.clone());
                let message = format!("port {number}: {}", detail.unwrap_or_else(|| state.into()));
                match (missing, state) {
                    (Some(need), "awaiting-certificate") => {
                        let mut condition = self.awaiting("Ready", need);
                        if let Some(fault) = self.unwritten.certificates.get(&resource.key) {
                            condition.message = format!("{}; {fault}", condition.message);
                        }
                        condition
                    }
                    (None, "awaiting-certificate") => {
                        Condition::new("Ready", false, "CertificateUnusable", message)
                    }
                    (_, "awaiting-address") => {
                        Condition::new("Ready", false, "AddressInUse", message)
                    }
                    _ => Condition::new("Ready", false, "Opening", message),
                }
            }
        };
        statement.conditions.push(ready);
        statement.more = self.reached(service, &numbers);
    }

    fn fact(&self, number: u16) -> Option<&PortFacts> {
        self.ports.iter().find(|port| port.port == number)
    }

    /// How clients reach a listener.
    fn reached(&self, service: &str, numbers: &[u16]) -> Map<String, Value> {
        let object = self.services.get(service);
        let ports = numbers.iter().map(|number| {
            let state = self.fact(*number).map_or("opening", |port| &port.state);
            json!({"port": number, "state": state})
        });
        Map::from_iter([
            ("service".to_owned(), json!(service)),
            ("ports".to_owned(), ports.collect()),
            (
                "portNumbers".to_owned(),
                json!(
                    numbers
                        .iter()
                        .map(u16::to_string)
                        .collect::<Vec<_>>()
                        .join(",")
                ),
            ),
            (
                "addresses".to_owned(),
                addresses(service, self.namespace, object.map(|object| &**object)),
            ),
        ])
    }
}

/// Where clients find a service: by name inside of the cluster, and whatever the cluster has given it.
fn addresses(service: &str, namespace: &str, object: Option<&Value>) -> Value {
    let mut addresses =
        vec![json!({"type": "Hostname", "value": format!("{service}.{namespace}.svc")})];
    let Some(object) = object else {
        return Value::Array(addresses);
    };
    let mut add = |kind: &str, value: Option<&Value>| {
        let value = value.and_then(Value::as_str);
        if let Some(value) = value.filter(|value| !value.is_empty() && *value != "None") {
            addresses.push(json!({"type": kind, "value": value}));
        }
    };
    add("ClusterIP", object.pointer("/spec/clusterIP"));
    let ingress = object.pointer("/status/loadBalancer/ingress");
    for entry in ingress.and_then(Value::as_array).into_iter().flatten() {
        add("IPAddress", entry.get("ip"));
        add("Hostname", entry.get("hostname"));
    }
    let ports = object.pointer("/spec/ports").and_then(Value::as_array);
    for port in ports.into_iter().flatten() {
        if let Some(number) = port.get("nodePort").and_then(Value::as_u64) {
            addresses.push(json!({"type": "NodePort", "value": number.to_string()}));
        }
    }
    Value::Array(addresses)
}

fn awaited(need: &Need) -> String {
    let object = &need.object;
    match object.key {
        Some(key) => format!("waiting for the {} {} with {key}", object.kind, object.name),
        None => format!("waiting for the {} {}", object.kind, object.name),
    }
}
