//! How the ports are reached.

use serde_json::{Value, json};

use super::mounts::Mounts;
use super::workload::is_reachable;
use super::{LISTENER_LABEL, Rendering};
use crate::config::{Endpoint, ListenerSettings, PortSettings, Protocol, ServiceType, TlsMode};

/// Label of pods that may read health and metrics.
pub(super) const METRICS_LABEL: &str = "fieldgate/metrics";

impl Rendering<'_> {
    /// One for each listener that others than this pod reach.
    pub(super) fn services(&self) -> Vec<Value> {
        let listeners = self.settings.listeners.iter();
        listeners
            .filter_map(|listener| self.service(listener))
            .collect()
    }

    fn service(&self, listener: &ListenerSettings) -> Option<Value> {
        let mut metadata = self.metadata(service_name(listener));
        if self.settings.kubernetes.controller {
            // A resource of the listener's name may take its place.
            metadata["labels"][LISTENER_LABEL] = json!(listener.name.as_str());
        }
        Some(json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": spec(listener, self.selector())?,
        }))
    }

    /// Who may connect: everybody to the ports, and pods with a label to the metrics.
    pub(super) fn network_policy(&self) -> Value {
        let number = |port: u16| json!({"protocol": "TCP", "port": port});
        let ports: Vec<Value> = self
            .ports()
            .into_iter()
            .map(|(_, port)| number(port))
            .collect();
        let mut ingress = Vec::new();
        if !ports.is_empty() {
            ingress.push(json!({"ports": ports}));
        }
        if let Some(port) = self.metrics_port() {
            ingress.push(json!({
                "from": [{
                    "namespaceSelector": {},
                    "podSelector": {"matchLabels": {METRICS_LABEL: "true"}},
                }],
                "ports": [number(port)],
            }));
        }
        json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": self.metadata(&self.options.name),
            "spec": {
                "podSelector": {"matchLabels": self.selector()},
                "policyTypes": ["Ingress"],
                "ingress": ingress,
            },
        })
    }

    /// One for each Secret of a port, for the names of the services that lead there.
    pub(super) fn certificates(&self, mounts: &Mounts) -> Vec<Value> {
        let Some(issuer) = &self.options.issuer else {
            return Vec::new();
        };
        let mut secrets: Vec<(&str, Vec<String>)> = Vec::new();
        for listener in &self.settings.listeners {
            for (port, _) in reachable(listener) {
                let Some(TlsMode::Manual { cert, .. }) = port.tls.as_ref().map(|tls| &tls.mode)
                else {
                    continue;
                };
                let Some(secret) = mounts.secret_of(cert) else {
                    continue;
                };
                let at = secrets.iter().position(|(known, _)| *known == secret);
                let at = at.unwrap_or_else(|| {
                    secrets.push((secret, Vec::new()));
                    secrets.len() - 1
                });
                if let Some((_, names)) = secrets.get_mut(at) {
                    for name in self.names(listener) {
                        if !names.contains(&name) {
                            names.push(name);
                        }
                    }
                }
            }
        }
        let certificates = secrets.into_iter().map(|(secret, names)| {
            json!({
                "apiVersion": "cert-manager.io/v1",
                "kind": "Certificate",
                "metadata": self.metadata(secret),
                "spec": {
                    "secretName": secret,
                    "dnsNames": names,
                    "usages": ["server auth"],
                    "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"},
                    "issuerRef": {
                        "name": issuer.name,
                        "kind": if issuer.is_of_cluster { "ClusterIssuer" } else { "Issuer" },
                        "group": "cert-manager.io",
                    },
                },
            })
        });
        certificates.collect()
    }

    /// The names under which pods reach a listener.
    pub(super) fn names(&self, listener: &ListenerSettings) -> Vec<String> {
        super::service_names(service_name(listener), &self.options.namespace)
    }
}

/// What a service of a listener is like that leads to the pods with these labels; `None` where no port is reached.
pub(crate) fn spec(listener: &ListenerSettings, selector: Value) -> Option<Value> {
    let ports: Vec<Value> = reachable(listener)
        .map(|(port, number)| {
            let mut entry = json!({
                "name": port_name(port, number),
                "protocol": "TCP",
                "port": number,
                "targetPort": number,
            });
            if let Some(node_port) = port.node_port {
                entry["nodePort"] = json!(node_port);
            }
            entry
        })
        .collect();
    if ports.is_empty() {
        return None;
    }
    let kind = match listener.service_type {
        ServiceType::ClusterIp => "ClusterIP",
        ServiceType::LoadBalancer => "LoadBalancer",
        ServiceType::NodePort => "NodePort",
    };
    let mut spec = json!({"type": kind, "selector": selector, "ports": ports});
    if listener.service_type != ServiceType::ClusterIp {
        // So that the gateway sees the addresses of its clients, for bans and bounds.
        spec["externalTrafficPolicy"] = json!("Local");
    }
    Some(spec)
}

/// Ports of a listener that others than this pod reach.
pub(crate) fn reachable(listener: &ListenerSettings) -> impl Iterator<Item = (&PortSettings, u16)> {
    let ports = listener
        .ports
        .iter()
        .filter(|port| is_reachable(&port.endpoint));
    ports.filter_map(|port| match port.endpoint {
        Endpoint::Tcp { port: number, .. } => Some((port, number)),
        Endpoint::Unix { .. } | Endpoint::Systemd { .. } => None,
    })
}

pub(crate) fn service_name(listener: &ListenerSettings) -> &str {
    match &listener.service_name {
        Some(name) => name.as_str(),
        None => listener.name.as_str(),
    }
}

/// The name of a port in services: at most 15 characters.
pub(super) fn port_name(port: &PortSettings, number: u16) -> String {
    let scheme = match (port.protocol, port.tls.is_some()) {
        (Protocol::Mqtt, false) => "mqtt",
        (Protocol::Mqtt, true) => "mqtts",
        (Protocol::WebSockets, false) => "ws",
        (Protocol::WebSockets, true) => "wss",
    };
    format!("{scheme}-{number}")
}
