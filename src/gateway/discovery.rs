//! Which ports are announced in the network.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::Gateway;
use crate::admin::DiscoveryReport;
use crate::config::{DiscoverySettings, Endpoint, GatewayName, Protocol};
use crate::discovery::{Announcement, OpenService, Service, ServiceKind};
use crate::net::OpenPort;

/// Time between two looks at the ports and at the name of the machine.
const LOOK: Duration = Duration::from_secs(1);

/// Name of a machine that has none, or one that means something else.
const HOST: &str = "fieldgate";

impl Gateway {
    /// Has the ports announced that are open.
    pub(super) async fn announce(&self) -> Infallible {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            let ports = self.serving.open_ports();
            let (name, settings) = {
                let configuration = self.configuration();
                let settings = configuration.settings();
                (settings.gateway.name.clone(), settings.discovery.clone())
            };
            let machine = GatewayName::of_this_machine();
            self.discovery
                .set(announcement(&settings, &name, machine.as_str(), &ports));
        }
    }

    /// How the ports are announced on each interface.
    pub(super) fn discovery_report(&self) -> Vec<DiscoveryReport> {
        let links = self.discovery.report().into_iter();
        links
            .map(|link| DiscoveryReport {
                interface: link.interface,
                host: link.host,
                fault: link.fault,
            })
            .collect()
    }
}

/// What is announced; nothing where nobody could connect.
fn announcement(
    settings: &DiscoverySettings,
    name: &GatewayName,
    machine: &str,
    ports: &[OpenPort],
) -> Option<Announcement> {
    let services: Vec<OpenService> = ports.iter().filter_map(service).collect();
    if !settings.enabled || services.is_empty() {
        return None;
    }
    let label = machine.split('.').next().unwrap_or_default();
    let is_own = !label.is_empty() && !label.eq_ignore_ascii_case("localhost");
    let instance = match &settings.instance {
        Some(instance) => instance.as_str(),
        None => name.as_str(),
    };
    let interfaces = settings.interfaces.iter();
    Some(Announcement {
        host: if is_own { label } else { HOST }.to_owned(),
        instance: instance.to_owned(),
        interfaces: interfaces.map(|name| name.as_str().to_owned()).collect(),
        services,
    })
}

/// A port as a service that clients can use as they find it. There is no name for MQTT in WebSocket, and behind a proxy it is
/// the proxy that clients connect to.
fn service(port: &OpenPort) -> Option<OpenService> {
    let settings = &port.settings;
    if settings.protocol != Protocol::Mqtt || settings.proxy_protocol {
        return None;
    }
    let interface = match &settings.endpoint {
        Endpoint::Tcp { interface, .. } => interface.as_ref(),
        Endpoint::Unix { .. } | Endpoint::Systemd { .. } => None,
    };
    let kind = match settings.tls {
        Some(_) => ServiceKind::SecureMqtt,
        None => ServiceKind::Mqtt,
    };
    Some(OpenService {
        service: Service {
            kind,
            port: port.address.port(),
        },
        address: port.address.ip().to_canonical(),
        interface: interface.map(|name| name.as_str().to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::{InstanceName, Settings};

    fn port(address: &str) -> OpenPort {
        OpenPort {
            settings: Arc::new(Settings::default().ports().next().unwrap().clone()),
            address: address.parse().unwrap(),
        }
    }

    fn announced(
        settings: &DiscoverySettings,
        machine: &str,
        ports: &[OpenPort],
    ) -> Option<Announcement> {
        let name = GatewayName::try_from("gw.example").unwrap();
        announcement(settings, &name, machine, ports)
    }

    #[test]
    fn only_what_clients_can_use_is_announced() {
        let settings = DiscoverySettings::default();
        assert_eq!(announced(&settings, "gw", &[]), None);
        let plain = port("[::]:1883");
        let mut proxied = plain.clone();
        Arc::make_mut(&mut proxied.settings).proxy_protocol = true;
        let mut web = plain.clone();
        Arc::make_mut(&mut web.settings).protocol = Protocol::WebSockets;
        assert_eq!(announced(&settings, "gw", &[proxied, web]), None);
        let mut off = settings.clone();
        off.enabled = false;
        assert_eq!(announced(&off, "gw", std::slice::from_ref(&plain)), None);
        let found = announced(&settings, "gw", &[plain]).unwrap();
        assert_eq!(found.services[0].service.port, 1883);
        assert_eq!(found.services[0].service.kind, ServiceKind::Mqtt);
    }

    #[test]
    fn names_are_those_of_the_machine_and_of_the_gateway() {
        let mut settings = DiscoverySettings::default();
        let ports = [port("192.0.2.7:1883")];
        let found = announced(&settings, "gw-7.plant.example", &ports).unwrap();
        assert_eq!(
            (found.host.as_str(), found.instance.as_str()),
            ("gw-7", "gw.example")
        );
        settings.instance = Some(InstanceName::try_from("Hall 3").unwrap());
        let found = announced(&settings, "localhost", &ports).unwrap();
        assert_eq!(
            (found.host.as_str(), found.instance.as_str()),
            ("fieldgate", "Hall 3")
        );
    }
}
