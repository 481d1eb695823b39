//! The answer to a connection that is not taken because a bound of connections is reached.
//!
//! It costs little and is bounded itself: so many at one time, each for so long, and none where TLS would come first.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::time::timeout;

use super::Peer;
use super::admission::Admission;
use super::admit::{ConnectError, read_connect, refuse};
use super::handshake::Handshake;
use super::port::Refusal;
use super::socket::Socket;
use super::stream::Stream;
use crate::limits::{REFUSAL_TIMEOUT, REFUSED_CONNECT_BYTES_MAX};
use crate::mqtt::{self, ProtocolVersion, ReasonCode, Violation};

/// A connection that is not taken, and not closed yet.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) socket: Socket,
    /// The handshakes that are still to come.
    pub(super) handshake: Handshake,
    pub(super) reason: Refusal,
}

/// On the heap of its own, so that no link carries its size.
type Answer = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Refused {
    /// Tells the client why it is not served. `None`, and the connection is closed at once, if that would cost too much.
    pub(super) fn answer(self, admission: &Admission) -> Option<Answer> {
        // The asymmetric part of the handshake is what the bounds are to protect from.
        if self.handshake.tls.is_some() {
            return None;
        }
        let place = admission.place_to_answer()?;
        let port = Arc::clone(admission.context());
        Some(Box::pin(async move {
            tokio::select! {
                // Running out of time ends the same way as an answer: the socket is dropped.
                _ = timeout(REFUSAL_TIMEOUT, self.tell()) => {}
                _ = port.ended() => {}
            }
            drop(place);
        }))
    }

    async fn tell(self) {
        let reason = self.reason.reason_code();
        let Some(mut stream) = self.shake_hands().await else {
            return;
        };
        let Some(version) = read_version(&mut stream).await else {
            return;
        };
        refuse(&mut stream, Some((version, reason)), None).await;
        stream.close(REFUSAL_TIMEOUT).await;
    }

    /// What is left of the handshakes; `None` if they fail, which nobody has to know of a client that is not served.
    async fn shake_hands(self) -> Option<Stream> {
        let mut peer = Peer::default();
        if self.handshake.proxy_protocol {
            let header = self.handshake.read_proxy_header(&self.socket, None);
            peer = header.await.ok()?;
        }
        self.handshake.complete(self.socket, &mut peer).await.ok()
    }
}

/// The version in which the client wants to speak, from its CONNECT.
async fn read_version(stream: &mut Stream) -> Option<ProtocolVersion> {
    let mut input = Vec::new();
    match read_connect(stream, &mut input, REFUSED_CONNECT_BYTES_MAX).await {
        Ok(_) => {
            let connect = mqtt::decode_connect(&input, REFUSED_CONNECT_BYTES_MAX);
            connect.ok()?.map(|(connect, _)| connect.version)
        }
        // Larger than what is read of a client that is not served; where the version has come that is enough.
        Err(ConnectError::Fault(fault)) if fault.violation == Violation::PacketTooLarge => {
            fault.version
        }
        Err(ConnectError::Closed | ConnectError::Fault(_)) => None,
    }
}

impl Refusal {
    /// What the client is told (3.2.2.2).
    fn reason_code(self) -> ReasonCode {
        match self {
            Self::GatewayFull | Self::PortFull | Self::AddressFull => ReasonCode::QuotaExceeded,
            Self::AddressRate => ReasonCode::ConnectionRateExceeded,
            Self::AddressBanned => ReasonCode::Banned,
        }
    }
}
