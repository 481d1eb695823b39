//! One link: its sockets and the time, around a responder.

use std::collections::hash_map::RandomState;
use std::future::pending;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::time::{Duration, Instant};

use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::time::{sleep, sleep_until};
use tracing::{debug, info, warn};

use super::responder::{Destination, PORT, Renaming, Responder};
use super::{LinkReport, Shown, Terms};
use crate::clock;

const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);

/// Largest message that is received (RFC 6762, section 17).
const PACKET_BYTES_MAX: usize = 9_000;

/// Pause between two attempts to open sockets, and after one that cannot be read.
const OPEN_PAUSE: Duration = Duration::from_secs(30);
const READ_PAUSE: Duration = Duration::from_secs(1);

/// Pause between two looks at names that are worth a line in the log.
const TELL_PAUSE: Duration = Duration::from_secs(30);

/// Nothing that is older counts where a message comes back unanswered.
const HOPS: u32 = 255;

/// Speaks on one interface until there is nothing more to say there.
pub(super) async fn run(
    interface: &str,
    index: u32,
    mut wanted: watch::Receiver<Option<Terms>>,
    shown: &Shown,
) {
    let Some(mut terms) = wanted.borrow_and_update().clone() else {
        return;
    };
    let mut link = Link {
        interface,
        index,
        sockets: Sockets::default(),
        responder: Responder::new(terms.clone(), seed(), clock::now()),
        report: LinkReport {
            interface: interface.to_owned(),
            ..LinkReport::default()
        },
        said: None,
        told_at: None,
    };
    let mut buffer = vec![0; PACKET_BYTES_MAX];
    let mut next_opening = clock::now();
    loop {
        if next_opening <= clock::now() {
            link.open(&terms);
            next_opening = clock::now() + OPEN_PAUSE;
        }
        link.send().await;
        let more_to_tell = link.tell(shown);
        let deadline = link.responder.poll_timeout();
        tokio::select! {
            changed = wanted.changed() => {
                let next = wanted.borrow_and_update().clone();
                let Some(next) = next.filter(|_| changed.is_ok()) else {
                    break;
                };
                link.responder.set(next.clone(), clock::now());
                terms = next;
                next_opening = clock::now();
            }
            (length, from) = link.sockets.receive(&mut buffer) => {
                let packet = buffer.get(..length).unwrap_or_default();
                link.responder.handle_packet(from, packet, clock::now());
            }
            () = until(deadline) => link.responder.handle_timeout(clock::now()),
            () = until(more_to_tell) => {}
            () = until(Some(next_opening)), if link.report.fault.is_some() => {}
        }
    }
    link.responder.withdraw();
    link.send().await;
    debug!(interface, "nothing is announced here any more");
}

/// One interface, while something is announced on it.
struct Link<'a> {
    interface: &'a str,
    index: u32,
    sockets: Sockets,
    responder: Responder,
    report: LinkReport,
    /// The names that were last written to the log.
    said: Option<Vec<String>>,
    /// When anything of names was written to it.
    told_at: Option<Instant>,
}

impl Link<'_> {
    /// Opens what is missing for the addresses that there are.
    fn open(&mut self, terms: &Terms) {
        let mut fault = None;
        if self.sockets.v4.is_none() && terms.addresses.iter().any(IpAddr::is_ipv4) {
            match open_v4(self.interface, self.index) {
                Ok(socket) => self.sockets.v4 = Some(socket),
                Err(error) => fault = Some(error.to_string()),
            }
        }
        if self.sockets.v6.is_none() && terms.addresses.iter().any(IpAddr::is_ipv6) {
            match open_v6(self.interface, self.index) {
                Ok(socket) => self.sockets.v6 = Some(socket),
                Err(error) => fault = Some(error.to_string()),
            }
        }
        if let Some(fault) = fault.as_ref().filter(|_| fault != self.report.fault) {
            let interface = self.interface;
            warn!(
                interface,
                "the gateway cannot be announced: {fault}; trying again"
            );
        }
        self.report.fault = fault;
    }

    /// Sends what the responder has to say. What cannot be sent is lost, as it may be on the way.
    async fn send(&mut self) {
        while let Some((to, bytes)) = self.responder.poll_transmit() {
            for (socket, group) in [
                (&self.sockets.v4, group_v4()),
                (&self.sockets.v6, group_v6(self.index)),
            ] {
                let Some(socket) = socket else { continue };
                let to = match to {
                    Destination::Group => group,
                    Destination::One(one) if one.is_ipv4() == group.is_ipv4() => one,
                    Destination::One(_) => continue,
                };
                if let Err(error) = socket.send_to(&bytes, to).await {
                    debug!(interface = self.interface, %to, %error, "a message was not sent");
                }
            }
        }
    }

    /// Writes down what names are in use, when that changes. Returns when there is more to be written.
    fn tell(&mut self, shown: &Shown) -> Option<Instant> {
        let settled = self.responder.settled();
        let is_new = settled.is_some() && self.said != settled;
        let now = clock::now();
        let mut more_at = None;
        if is_new || self.responder.has_renaming() {
            // Whoever takes every name away is not to fill the log.
            more_at = self.told_at.map(|at| at + TELL_PAUSE);
            more_at = more_at.filter(|at| *at > now);
            if more_at.is_none() {
                self.told_at = Some(now);
                self.say(settled.as_ref());
            }
        }
        let host = settled.and_then(|names| names.into_iter().next());
        self.report.host = host;
        let mut shown = shown.lock();
        if shown.get(&self.index) != Some(&self.report) {
            shown.insert(self.index, self.report.clone());
        }
        more_at
    }

    fn say(&mut self, settled: Option<&Vec<String>>) {
        let interface = self.interface;
        while let Some(Renaming { from, to }) = self.responder.poll_renaming() {
            warn!(
                interface,
                "another machine has the name {from:?}; this one is announced as {to:?}"
            );
        }
        if let Some(names) = settled.filter(|names| self.said.as_ref() != Some(names)) {
            self.said = Some(names.clone());
            let names = names.join(", ");
            info!(interface, "announced by mDNS: {names}");
        }
    }
}

#[derive(Debug, Default)]
struct Sockets {
    v4: Option<UdpSocket>,
    v6: Option<UdpSocket>,
}

impl Sockets {
    /// The next message of anybody.
    async fn receive(&self, buffer: &mut [u8]) -> (usize, SocketAddr) {
        loop {
            let socket = tokio::select! {
                socket = readable(self.v4.as_ref()) => socket,
                socket = readable(self.v6.as_ref()) => socket,
            };
            match socket.try_recv_from(buffer) {
                Ok(received) => return received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    debug!(%error, "a message was not received");
                    sleep(READ_PAUSE).await;
                }
            }
        }
    }
}

/// The socket, once there is something in it.
async fn readable(socket: Option<&UdpSocket>) -> &UdpSocket {
    let Some(socket) = socket else {
        return pending().await;
    };
    match socket.readable().await {
        Ok(()) => socket,
        Err(_) => pending().await,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => pending().await,
    }
}

fn group_v4() -> SocketAddr {
    SocketAddrV4::new(GROUP_V4, PORT).into()
}

fn group_v6(index: u32) -> SocketAddr {
    SocketAddrV6::new(GROUP_V6, PORT, 0, index).into()
}

/// Bound to the group and not to every address: what is sent to this machine alone is for whoever else speaks mDNS on it.
fn open_v4(interface: &str, index: u32) -> io::Result<UdpSocket> {
    let socket = open(Domain::IPV4, interface)?;
    socket.set_multicast_all_v4(false)?;
    socket.set_multicast_ttl_v4(HOPS)?;
    socket.set_ttl_v4(HOPS)?;
    socket.bind(&group_v4().into())?;
    socket.join_multicast_v4_n(&GROUP_V4, &InterfaceIndexOrAddress::Index(index))?;
    UdpSocket::from_std(socket.into())
}

fn open_v6(interface: &str, index: u32) -> io::Result<UdpSocket> {
    let socket = open(Domain::IPV6, interface)?;
    socket.set_only_v6(true)?;
    socket.set_multicast_all_v6(false)?;
    socket.set_multicast_hops_v6(HOPS)?;
    socket.set_unicast_hops_v6(HOPS)?;
    socket.set_multicast_if_v6(index)?;
    socket.bind(&group_v6(index).into())?;
    socket.join_multicast_v6(&GROUP_V6, index)?;
    UdpSocket::from_std(socket.into())
}

fn open(domain: Domain, interface: &str) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    // Others on this machine speak it as well.
    socket.set_reuse_address(true)?;
    // Whichever way the routes go, what is said here is about this interface.
    socket.bind_device(Some(interface.as_bytes()))?;
    Ok(socket)
}

/// Something that differs from machine to machine and from start to start.
fn seed() -> u64 {
    RandomState::new().build_hasher().finish()
}
