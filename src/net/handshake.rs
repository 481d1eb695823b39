//! What comes before the first MQTT packet: PROXY header, TLS, WebSocket, in this order, each where the port has it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ServerConfig;

use super::Peer;
use super::proxy_protocol::{self, ProxyFault};
use super::socket::Socket;
use super::stream::{Carrier, Stream};
use super::tls::TlsStream;
use super::websocket::{UpgradeFault, WebSocketStream};

/// The handshakes of a port as they are when a connection is accepted.
#[derive(Clone, Debug, Default)]
pub(super) struct Handshake {
    /// Whether a PROXY header comes first.
    pub(super) proxy_protocol: bool,
    /// The settings of TLS, if the port has it.
    pub(super) tls: Option<Arc<ServerConfig>>,
    /// Whether WebSocket comes last, and at which path.
    pub(super) websocket: Option<WebSocketPath>,
}

/// The path of a WebSocket; any where absent.
pub(super) type WebSocketPath = Option<Box<str>>;

/// Why a connection did not get to its first packet.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeFault {
    #[error("{0}")]
    Proxy(#[from] ProxyFault),
    #[error("the TLS handshake failed: {0}")]
    Tls(io::Error),
    #[error("{0}")]
    Upgrade(#[from] UpgradeFault),
}

impl HandshakeFault {
    /// Whether the peer simply went away, as the health checks of load balancers do.
    pub(crate) fn is_silent_end(&self) -> bool {
        let error = match self {
            Self::Proxy(ProxyFault::Io(error))
            | Self::Tls(error)
            | Self::Upgrade(UpgradeFault::Io(error)) => error,
            Self::Proxy(_) | Self::Upgrade(_) => return false,
        };
        matches!(
            error.kind(),
            io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::BrokenPipe
        )
    }
}

impl Handshake {
    /// Whether the first byte of a connection is already MQTT.
    pub(super) fn is_empty(&self) -> bool {
        !self.proxy_protocol && self.tls.is_none() && self.websocket.is_none()
    }

    /// The client's address as the proxy tells it. Only with `proxy_protocol`.
    pub(super) async fn read_proxy_header(
        &self,
        socket: &Socket,
        address: Option<SocketAddr>,
    ) -> Result<Peer, HandshakeFault> {
        let client = proxy_protocol::read_header(socket).await?;
        Ok(Peer {
            address: client.or(address),
            proxy: client.and(address),
            ..Peer::default()
        })
    }

    /// The handshakes behind the PROXY header.
    pub(super) async fn complete(
        &self,
        socket: Socket,
        peer: &mut Peer,
    ) -> Result<Stream, HandshakeFault> {
        let carrier = match &self.tls {
            Some(config) => {
                let stream = TlsStream::accept(socket, Arc::clone(config))
                    .await
                    .map_err(HandshakeFault::Tls)?;
                peer.tls = Some(Box::new(stream.peer()));
                Carrier::Tls(stream)
            }
            None => Carrier::Plain(socket),
        };
        Ok(match &self.websocket {
            Some(path) => WebSocketStream::accept(carrier, path.as_deref())
                .await?
                .into(),
            None => carrier.into(),
        })
    }
}
