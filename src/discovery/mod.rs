//! Floor 4: tells clients in the same network where the gateway is, by mDNS and DNS-SD (RFC 6762, RFC 6763).
//!
//! Only what is open to the network anyway is told: while no port is, no socket is opened. Each link has a task and a
//! [`responder::Responder`] of its own, so a machine is told only where it can be reached.

mod changes;
mod interfaces;
mod link;
mod message;
mod responder;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::pending;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::warn;

use crate::config::Network;
use changes::Changes;
use interfaces::Interface;

/// Time after which the interfaces are looked at again, whatever the kernel said about them.
const LOOK: Duration = Duration::from_secs(30);

/// Interfaces come and go together with their addresses; they are looked at once it is quiet.
const QUIET: Duration = Duration::from_millis(200);

/// Time for the last words.
const WITHDRAW_TIMEOUT: Duration = Duration::from_secs(1);

/// Links on which anything is announced.
const LINKS_MAX: usize = 32;

/// Services on one link.
const SERVICES_MAX: usize = 32;

/// Addresses of each kind that are told on one link.
const ADDRESSES_MAX: usize = 8;

/// A kind of service, as it is registered at IANA. There is none for MQTT in WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServiceKind {
    /// `_mqtt._tcp`
    Mqtt,
    /// `_secure-mqtt._tcp`, MQTT in TLS.
    SecureMqtt,
}

impl ServiceKind {
    fn label(self) -> &'static str {
        match self {
            Self::Mqtt => "_mqtt",
            Self::SecureMqtt => "_secure-mqtt",
        }
    }
}

/// A service at a port of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Service {
    /// What it speaks.
    pub kind: ServiceKind,
    /// Number of the port.
    pub port: u16,
}

/// A service, and where it can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenService {
    /// The service.
    pub service: Service,
    /// Where it accepts; an unspecified address is every one of its kind, and that of IPv6 every one.
    pub address: IpAddr,
    /// The one interface on which it accepts, if it is only one.
    pub interface: Option<String>,
}

/// What is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// Name of the machine, without a domain.
    pub host: String,
    /// Name of the gateway, for people.
    pub instance: String,
    /// Interfaces on which it is told; where empty, all but loopback that know multicast.
    pub interfaces: Vec<String>,
    /// What there is, in the order of the configuration.
    pub services: Vec<OpenService>,
}

/// What is told on one link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Terms {
    host: String,
    instance: String,
    addresses: Vec<IpAddr>,
    /// Those of all links.
    machine: Vec<IpAddr>,
    /// Where those are who can be answered alone.
    networks: Vec<Network>,
    services: Vec<Service>,
}

/// What a link says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkReport {
    /// Name of the interface.
    pub interface: String,
    /// Name under which the machine is found, without `.local`; `None` while it is not known to be free.
    pub host: Option<String>,
    /// Why nothing is told, if so.
    pub fault: Option<String>,
}

/// Announces what it is told to, until told otherwise.
#[derive(Debug)]
pub struct Discovery {
    wanted: watch::Sender<Option<Arc<Announcement>>>,
    is_closed: AtomicBool,
    shown: Arc<Shown>,
    links: watch::Sender<usize>,
}

/// Where the links stand, shared with who reports it.
#[derive(Debug, Default)]
struct Shown(Mutex<BTreeMap<u32, LinkReport>>);

impl Shown {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, LinkReport>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Link {
    terms: watch::Sender<Option<Terms>>,
}

impl Default for Discovery {
    fn default() -> Self {
        Self {
            wanted: watch::Sender::new(None),
            is_closed: AtomicBool::new(false),
            shown: Arc::default(),
            links: watch::Sender::new(0),
        }
    }
}

impl Discovery {
    /// Has this announced from now on; `None` withdraws everything.
    pub fn set(&self, announcement: Option<Announcement>) {
        self.wanted.send_if_modified(|wanted| {
            // Looked at in here, so that nothing comes after the last word.
            let announcement = announcement.filter(|_| !self.is_closed.load(Ordering::Relaxed));
            let is_other = wanted.as_deref() != announcement.as_ref();
            if is_other {
                *wanted = announcement.map(Arc::new);
            }
            is_other
        });
    }

    /// Every link on which something is announced.
    pub fn report(&self) -> Vec<LinkReport> {
        self.shown.lock().values().cloned().collect()
    }

    /// Withdraws everything for good, and returns when that was said, or could not be in time.
    pub async fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
        self.set(None);
        let mut links = self.links.subscribe();
        // Whatever is not said expires within two minutes.
        let _ = timeout(WITHDRAW_TIMEOUT, links.wait_for(|links| *links == 0)).await;
    }

    /// Follows the interfaces and what is wanted, until dropped.
    pub async fn run(&self) -> Infallible {
        let mut wanted = self.wanted.subscribe();
        let mut changes = None;
        let mut is_told = true;
        let mut links: BTreeMap<u32, Link> = BTreeMap::new();
        let mut tasks: JoinSet<u32> = JoinSet::new();
        loop {
            let announcement = wanted.borrow_and_update().clone();
            let is_idle = announcement.is_none();
            self.follow(announcement.as_deref(), &mut links, &mut tasks);
            if is_idle {
                changes = None;
            } else if changes.is_none() && is_told {
                changes = Changes::watch();
            }
            self.links.send_replace(tasks.len());
            tokio::select! {
                // The sender lives as long as this.
                _ = wanted.changed() => {}
                Some(ended) = tasks.join_next() => {
                    if let Ok(index) = ended {
                        links.remove(&index);
                        self.shown.lock().remove(&index);
                    }
                }
                has_more = next(changes.as_mut()) => {
                    if !has_more {
                        changes = None;
                        is_told = false;
                    }
                    sleep(QUIET).await;
                }
                () = sleep(LOOK), if !is_idle => {}
            }
        }
    }

    /// Starts, changes and ends links.
    fn follow(
        &self,
        announcement: Option<&Announcement>,
        links: &mut BTreeMap<u32, Link>,
        tasks: &mut JoinSet<u32>,
    ) {
        let interfaces = match announcement {
            Some(_) => interfaces::interfaces(),
            None => Vec::new(),
        };
        let machine: Vec<IpAddr> = interfaces
            .iter()
            .flat_map(|interface| interface.addresses.iter().copied())
            .collect();
        let wanted: BTreeMap<u32, (String, Terms)> = announcement
            .into_iter()
            .flat_map(|announcement| {
                let machine = &machine;
                interfaces.iter().filter_map(move |interface| {
                    let terms = terms(announcement, interface, machine)?;
                    Some((interface.index, (interface.name.clone(), terms)))
                })
            })
            .take(LINKS_MAX)
            .collect();
        for (index, link) in links.iter() {
            let terms = wanted.get(index).map(|(_, terms)| terms.clone());
            link.terms.send_if_modified(|current| {
                let is_other = *current != terms;
                if is_other {
                    *current = terms;
                }
                is_other
            });
        }
        for (index, (name, terms)) in wanted {
            if links.contains_key(&index) {
                continue;
            }
            let (terms, seen) = watch::channel(Some(terms));
            let shown = Arc::clone(&self.shown);
            tasks.spawn(async move {
                link::run(&name, index, seen, &shown).await;
                index
            });
            links.insert(index, Link { terms });
        }
    }
}

async fn next(changes: Option<&mut Changes>) -> bool {
    match changes {
        Some(changes) => changes.next().await,
        None => pending().await,
    }
}

/// What is told on a link; nothing where no service can be reached through it.
fn terms(announcement: &Announcement, interface: &Interface, machine: &[IpAddr]) -> Option<Terms> {
    let is_chosen = match announcement.interfaces.as_slice() {
        [] => interface.is_usual,
        names => names.contains(&interface.name),
    };
    if !is_chosen || interface.addresses.is_empty() {
        return None;
    }
    let is_here = |open: &&OpenService| {
        let by_name = open
            .interface
            .as_ref()
            .is_none_or(|name| *name == interface.name);
        let by_address = match open.address {
            IpAddr::V4(ip) if ip.is_unspecified() => {
                interface.addresses.iter().any(IpAddr::is_ipv4)
            }
            IpAddr::V6(ip) if ip.is_unspecified() => true,
            ip => interface.addresses.contains(&ip),
        };
        by_name && by_address
    };
    let mut services: Vec<Service> = Vec::new();
    for open in announcement.services.iter().filter(is_here) {
        if services.contains(&open.service) {
            continue;
        }
        if services.len() == SERVICES_MAX {
            warn!(interface = %interface.name, "only {SERVICES_MAX} ports are announced");
            break;
        }
        services.push(open.service);
    }
    (!services.is_empty()).then(|| Terms {
        host: announcement.host.clone(),
        instance: announcement.instance.clone(),
        addresses: told(&interface.addresses),
        machine: machine.to_vec(),
        networks: interface.networks.clone(),
        services,
    })
}

/// The addresses that are told: of each kind those that mean something everywhere, or where there are none, the others.
fn told(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let is_local = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    let mut told = Vec::new();
    for is_v4 in [true, false] {
        let of_kind = || addresses.iter().filter(move |ip| ip.is_ipv4() == is_v4);
        let has_wide = of_kind().any(|ip| !is_local(ip));
        let chosen = of_kind().filter(|ip| !has_wide || !is_local(ip));
        told.extend(chosen.take(ADDRESSES_MAX).copied());
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn interface(name: &str, addresses: &[&str]) -> Interface {
        Interface {
            name: name.to_owned(),
            index: 2,
            is_usual: name != "lo",
            addresses: addresses.iter().map(|text| ip(text)).collect(),
            networks: Vec::new(),
        }
    }

    fn announced(bind: &str, on: Option<&str>, only: &[&str], interface: &Interface) -> bool {
        let announcement = Announcement {
            host: "gw".to_owned(),
            instance: "gw".to_owned(),
            interfaces: only.iter().map(|name| (*name).to_owned()).collect(),
            services: vec![OpenService {
                service: Service {
                    kind: ServiceKind::Mqtt,
                    port: 1883,
                },
                address: ip(bind),
                interface: on.map(str::to_owned),
            }],
        };
        terms(&announcement, interface, &[]).is_some()
    }

    #[test]
    fn service_is_told_where_it_can_be_reached() {
        let lan = interface("eth0", &["192.0.2.7", "fe80::7"]);
        let six = interface("eth1", &["fe80::8"]);
        let lo = interface("lo", &["127.0.0.1", "::1"]);
        for (bind, on, only, interface, expected) in [
            ("::", None, &[][..], &lan, true),
            ("::", None, &[], &six, true),
            ("::", None, &[], &lo, false),
            ("0.0.0.0", None, &[], &lan, true),
            ("0.0.0.0", None, &[], &six, false),
            ("192.0.2.7", None, &[], &lan, true),
            ("192.0.2.8", None, &[], &lan, false),
            ("127.0.0.1", None, &[], &lan, false),
            ("127.0.0.1", None, &[], &lo, false),
            ("127.0.0.1", None, &["lo"], &lo, true),
            ("::", Some("eth1"), &[], &lan, false),
            ("::", Some("eth1"), &[], &six, true),
            ("::", None, &["eth1"], &lan, false),
        ] {
            let found = announced(bind, on, only, interface);
            assert_eq!(found, expected, "{bind} {on:?} {only:?} {}", interface.name);
        }
    }

    #[test]
    fn addresses_that_need_an_interface_are_told_only_where_there_are_no_others() {
        let all = ["192.0.2.7", "169.254.1.1", "fe80::7"].map(ip);
        assert_eq!(told(&all), ["192.0.2.7", "fe80::7"].map(ip));
        let all = ["169.254.1.1", "2001:db8::7", "fe80::7"].map(ip);
        assert_eq!(told(&all), ["169.254.1.1", "2001:db8::7"].map(ip));
    }

    #[tokio::test]
    async fn nothing_to_tell_is_withdrawn_at_once() {
        let discovery = Discovery::default();
        discovery.close().await;
        assert!(discovery.report().is_empty());
        let announcement = Announcement {
            host: "gw".to_owned(),
            instance: "gw".to_owned(),
            interfaces: Vec::new(),
            services: Vec::new(),
        };
        discovery.set(Some(announcement));
        assert!(
            discovery.wanted.borrow().is_none(),
            "it has said its last word"
        );
    }
}
