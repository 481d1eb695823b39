//! Floor 4: the network. Listeners, transports and links: bytes to packets to the core, and back.
//!
//! ```text
//! ports ── serving: one task per port ── listener: accept, admission
//!                                            └ handshake: PROXY header, TLS, WebSocket
//!                                                 └ link: CONNECT to close, over a Stream
//! ```
//!
//! * [`ports`]: all ports of the gateway, opened, changed and closed as the configuration says.
//! * [`stream`]: one type for every transport, so that a link does not know which one it serves.
//! * [`port`]: what the links of one port share: bounds, authenticator, counters, and the signal that the port ends.

mod access_counters;
mod admission;
mod admit;
mod asking;
mod denials;
mod exchange;
mod faults;
mod handshake;
pub mod hub;
mod identity;
mod journal;
pub mod link;
mod listener;
pub mod port;
pub mod ports;
mod probe;
pub mod proxy_protocol;
mod refusal;
mod scratch;
mod serving;
mod socket;
pub mod stream;
#[cfg(test)]
mod testing;
pub mod tls;
pub mod websocket;

use std::fmt;
use std::net::SocketAddr;

pub use access_counters::{LoginCounters, LoginOutcome};
pub use faults::Faults;
pub use hub::{Hub, Reviewed, StoreLink};
pub use identity::{Identity, note_review};
pub use listener::PassedSockets;
pub use port::{PortContext, PortCounters, PortEnd, PortTerms, Refusal};
pub use ports::{OpenPort, PortStatus, Ports};
pub use probe::serve_probe;
pub use serving::{PortState, Serve};
pub use stream::{Stream, Transport};

/// Who is at the other end of a connection, as far as the transport knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Address of the client; the one in the PROXY header where there was one. None over a Unix socket.
    pub address: Option<SocketAddr>,
    /// Address of the proxy, where a PROXY header named the client.
    pub proxy: Option<SocketAddr>,
    /// What the TLS handshake settled; none over plain text.
    pub tls: Option<Box<TlsPeer>>,
}

impl Peer {
    /// Whether it is on this machine, and no proxy that speaks for somebody else.
    pub fn is_local(&self) -> bool {
        let is_loopback = |address: SocketAddr| address.ip().to_canonical().is_loopback();
        self.proxy.is_none() && self.address.is_none_or(is_loopback)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => address.fmt(f),
            None => f.write_str("local"),
        }
    }
}

/// What a TLS handshake settled about the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsPeer {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// Name of the cipher suite as the registry of TLS has it.
    pub cipher: &'static str,
    /// Whether the handshake resumed an earlier one.
    pub resumed: bool,
    /// Certificates that the client presented, its own first, in DER. Empty if it has none, or was
    /// not asked for any.
    pub certificates: Vec<Box<[u8]>>,
}
