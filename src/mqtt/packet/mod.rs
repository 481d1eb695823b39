//! The control packets (2.1.2), one file each: fields, decoder, encoder.

mod ack;
mod auth;
mod connack;
mod connect;
mod disconnect;
mod publish;
mod suback;
mod subscribe;
mod unsuback;
mod unsubscribe;

pub use ack::{Ack, AckKind, AckProperties};
pub use auth::{Auth, AuthProperties};
pub use connack::{ConnAck, ConnAckProperties};
pub use connect::{Connect, ConnectProperties, Will};
pub use disconnect::{Disconnect, DisconnectProperties};
pub use publish::{Publish, PublishProperties};
pub use suback::{ReasonCodes, SubAck};
pub use subscribe::{RetainHandling, Subscribe, SubscribeFilters, SubscriptionOptions};
pub use unsuback::UnsubAck;
pub use unsubscribe::{Unsubscribe, UnsubscribeFilters};

pub(super) use subscribe::SubscribeBody;
pub(super) use unsubscribe::UnsubscribeBody;

/// A control packet after CONNECT, borrowed from the buffer that it was read from.
///
/// CONNECT is not among them: it comes once, before the version is known, from
/// [`decode_connect`](super::decode_connect).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// Connect acknowledgement (3.2).
    ConnAck(ConnAck<'a>),
    /// A message (3.3).
    Publish(Publish<'a>),
    /// Answer to a PUBLISH with QoS 1 (3.4).
    PubAck(Ack<'a>),
    /// First answer to a PUBLISH with QoS 2 (3.5).
    PubRec(Ack<'a>),
    /// Release of a PUBLISH with QoS 2 (3.6).
    PubRel(Ack<'a>),
    /// Last answer to a PUBLISH with QoS 2 (3.7).
    PubComp(Ack<'a>),
    /// Subscribe request (3.8).
    Subscribe(Subscribe<'a>),
    /// Subscribe acknowledgement (3.9).
    SubAck(SubAck<'a>),
    /// Unsubscribe request (3.10).
    Unsubscribe(Unsubscribe<'a>),
    /// Unsubscribe acknowledgement (3.11).
    UnsubAck(UnsubAck<'a>),
    /// Ping request (3.12).
    PingReq,
    /// Ping response (3.13).
    PingResp,
    /// The end of a connection (3.14).
    Disconnect(Disconnect<'a>),
    /// A step of enhanced authentication (3.15).
    Auth(Auth<'a>),
}
