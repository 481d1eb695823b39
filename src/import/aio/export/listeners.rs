//! Listeners and their ports.

use std::time::Duration;

use serde_json::{Value, json};

use super::{BROKER, Export};
use crate::config::{
    Authentication, Authorization, AutomaticCertificate, Endpoint, KeyAlgorithm, ListenerSettings,
    PortSettings, Protocol, RotationPolicy, ServiceType, TlsMode, TlsVersion,
};

impl Export<'_> {
    /// The resource of a listener; none where no port is left.
    pub(super) fn listener(&mut self, listener: &ListenerSettings) -> Option<Value> {
        let service_type = match listener.service_type {
            ServiceType::ClusterIp => "ClusterIp",
            ServiceType::LoadBalancer => "LoadBalancer",
            ServiceType::NodePort => "NodePort",
        };
        let mut listeners = self.settings.listeners.iter();
        let first = listeners.find(|other| other.service_type == listener.service_type);
        let place = format!("listener {}", listener.name);
        if let Some(first) = first.filter(|first| first.name != listener.name) {
            let why = format!(
                "the cluster broker has one listener of each service type, and {} is {service_type} already; the ports are left out",
                first.name
            );
            self.note(place, why);
            return None;
        }
        let ports: Vec<Value> = listener
            .ports
            .iter()
            .filter_map(|port| self.port(port))
            .collect();
        if ports.is_empty() {
            self.note(place, "no port is left, so there is no listener");
            return None;
        }
        let mut spec = json!({"brokerRef": BROKER, "serviceType": service_type, "ports": ports});
        if let Some(name) = &listener.service_name {
            spec["serviceName"] = json!(name.as_str());
        }
        Some(self.resource("BrokerListener", listener.name.as_str(), &spec))
    }

    fn port(&mut self, port: &PortSettings) -> Option<Value> {
        let place = format!("port {}", port.endpoint);
        let number = match &port.endpoint {
            Endpoint::Tcp { port: 0, .. } => None,
            Endpoint::Tcp {
                port,
                bind,
                interface,
            } => {
                if bind.is_some() || interface.is_some() {
                    self.note(&place, "`bind` and `interface`: a port of a cluster accepts on the address of its service");
                }
                Some(*port)
            }
            Endpoint::Unix { .. } | Endpoint::Systemd { .. } => None,
        };
        let Some(number) = number else {
            self.note(
                place,
                "only a TCP port with a number can be one of a service; it is left out",
            );
            return None;
        };
        let mut entry = json!({
            "port": number,
            "protocol": match port.protocol {
                Protocol::Mqtt => "Mqtt",
                Protocol::WebSockets => "WebSockets",
            },
        });
        if let Some(node_port) = port.node_port {
            entry["nodePort"] = json!(node_port);
        }
        if let Authentication::Named(named) = &port.authentication {
            entry["authenticationRef"] = json!(named.name.as_str());
        }
        if let Authorization::Named(named) = &port.authorization {
            entry["authorizationRef"] = json!(named.name.as_str());
            if port.authentication == Authentication::None {
                let why = "without an authentication the cluster broker applies no rules, so the port is left out";
                self.note(place, why);
                return None;
            }
        }
        if let Some(tls) = &port.tls {
            if tls.min_version != TlsVersion::V1_2 {
                self.note(
                    format!("{place} tls.min_version"),
                    "the cluster broker chooses the versions of TLS",
                );
            }
            entry["tls"] = match &tls.mode {
                TlsMode::Manual { cert, key } => {
                    let secret = self.key_pair(&format!("{place} tls"), cert, key)?;
                    json!({"mode": "Manual", "manual": {"secretRef": secret}})
                }
                TlsMode::Automatic(certificate) => self.automatic(&place, certificate),
            };
        }
        self.further(&place, port);
        Some(entry)
    }

    /// What a port of the cluster broker does not have.
    fn further(&mut self, place: &str, port: &PortSettings) {
        if port.proxy_protocol {
            self.note(
                format!("{place} proxy_protocol"),
                "the cluster broker reads no PROXY headers",
            );
        }
        if port.mount_point.is_some() {
            self.note(
                format!("{place} mount_point"),
                "topics have no prefix there; write it into rules and clients",
            );
        }
        if port.websocket_path.is_some() {
            self.note(
                format!("{place} websocket_path"),
                "every path is served there",
            );
        }
        if port.limits != self.settings.limits.port {
            self.note(
                format!("{place} limits"),
                "bounds are those of the Broker, for all ports",
            );
        }
    }

    fn automatic(&mut self, place: &str, certificate: &AutomaticCertificate) -> Value {
        let default = AutomaticCertificate::default();
        let mut spec = json!({"issuerRef": {
            "name": self.options.issuer,
            "kind": if self.options.is_of_cluster { "ClusterIssuer" } else { "Issuer" },
            "group": "cert-manager.io",
        }});
        let is_short =
            certificate.renew_before == default.renew_before.min(certificate.duration / 3);
        if certificate.duration != default.duration {
            spec["duration"] = json!(go_duration(certificate.duration));
        }
        if !is_short {
            spec["renewBefore"] = json!(go_duration(certificate.renew_before));
        }
        let is_kept = certificate.rotation_policy == RotationPolicy::Never;
        if is_kept || certificate.key_algorithm.is_some() {
            let algorithm = certificate
                .key_algorithm
                .unwrap_or(self.settings.ca.algorithm);
            spec["privateKey"] = json!({
                "algorithm": self.algorithm(place, algorithm),
                "rotationPolicy": if is_kept { "Never" } else { "Always" },
            });
        }
        let (dns, ip) = (&certificate.dns, &certificate.ip);
        if !dns.is_empty() || !ip.is_empty() {
            let dns: Vec<&str> = dns.iter().map(|name| name.as_str()).collect();
            let ip: Vec<String> = ip.iter().map(ToString::to_string).collect();
            spec["san"] = json!({"dns": dns, "ip": ip});
        }
        json!({"mode": "Automatic", "certManagerCertificateSpec": spec})
    }

    fn algorithm(&mut self, place: &str, algorithm: KeyAlgorithm) -> &'static str {
        match algorithm {
            KeyAlgorithm::EcP256 => "Ec256",
            KeyAlgorithm::EcP384 => "Ec384",
            KeyAlgorithm::Ed25519 => "Ed25519",
            KeyAlgorithm::Rsa4096 => "Rsa4096",
            KeyAlgorithm::Rsa3072 => {
                let why = "cert-manager of the cluster broker makes no RSA keys of 3072 bits; it is asked for 4096";
                self.note(format!("{place} tls.key_algorithm"), why);
                "Rsa4096"
            }
        }
    }
}

/// A duration as Go writes it.
fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    for (unit, name) in [(3600, "h"), (60, "m")] {
        if seconds.is_multiple_of(unit) {
            return format!("{}{name}", seconds / unit);
        }
    }
    format!("{seconds}s")
}
