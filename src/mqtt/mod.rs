//! Floor 0: the standard. Bytes in, packets out, and back; nothing of ours.
//!
//! | module | what it holds |
//! |---|---|
//! | [`codec`] | the fixed header, and [`decode`]: bytes to [`Packet`] |
//! | [`encode`] | packets to bytes |
//! | [`packet`] | one file for each control packet: its fields, its decoder, its encoder |
//! | [`property`] | MQTT 5 properties |
//! | [`topic`] | topic names and topic filters |
//! | [`reason`] | reason codes, and the return codes of MQTT 3 made from them |
//! | [`violation`] | every way in which a peer can break a rule of the standard |
//!
//! A decoded packet borrows from the buffer that it was read from. Nothing here allocates for a peer, and nothing here
//! panics on what a peer sends.
//!
//! Clauses are those of MQTT 5.0 unless the text says "MQTT 3.1.1" or "MQTT 3.1".

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::wildcard_enum_match_arm,
        clippy::match_wildcard_for_single_variants,
        clippy::as_conversions
    )
)]

use std::fmt;
use std::num::NonZeroU16;

pub mod client_id;
pub mod codec;
pub mod encode;
pub mod packet;
pub mod property;
mod read;
pub mod reason;
pub mod topic;
pub mod violation;

pub use client_id::{ClientId, ClientIdFault};
pub use codec::{ConnectFault, DecodeOptions, MAX_PACKET_SIZE, decode, decode_connect, packet_len};
pub use packet::{
    Ack, AckKind, AckProperties, Auth, AuthProperties, ConnAck, ConnAckProperties, Connect,
    ConnectProperties, Disconnect, DisconnectProperties, Packet, Publish, PublishProperties,
    ReasonCodes, RetainHandling, SubAck, Subscribe, SubscribeFilters, SubscriptionOptions,
    UnsubAck, Unsubscribe, UnsubscribeFilters, Will,
};
pub use property::{ForwardedProperties, PropertiesBuf, SubscriptionIdentifiers, UserProperties};
pub use reason::ReasonCode;
pub use topic::{TopicFault, TopicFilter, TopicName};
pub use violation::Violation;

/// Version of the protocol that a client speaks, told by the protocol level of its CONNECT (3.1.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProtocolVersion {
    /// MQTT 3.1: protocol name `MQIsdp`, level 3.
    V3_1,
    /// MQTT 3.1.1: protocol name `MQTT`, level 4.
    V3_1_1,
    /// MQTT 5.0: protocol name `MQTT`, level 5.
    V5,
}

impl ProtocolVersion {
    /// Whether packets have properties and reason codes.
    #[inline]
    pub const fn is_v5(self) -> bool {
        matches!(self, Self::V5)
    }

    /// The protocol level as it stands in CONNECT (3.1.2.2).
    pub const fn level(self) -> u8 {
        match self {
            Self::V3_1 => 3,
            Self::V3_1_1 => 4,
            Self::V5 => 5,
        }
    }

    /// The protocol name as it stands in CONNECT (3.1.2.1).
    pub const fn protocol_name(self) -> &'static str {
        match self {
            Self::V3_1 => "MQIsdp",
            Self::V3_1_1 | Self::V5 => "MQTT",
        }
    }
}

impl fmt::Display for ProtocolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V3_1 => "3.1",
            Self::V3_1_1 => "3.1.1",
            Self::V5 => "5.0",
        })
    }
}

/// Who sent a packet; each direction has its own legal packets and reason codes (2.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The party that opened the connection.
    Client,
    /// The broker.
    Server,
}

/// Quality of service of a message (4.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum QoS {
    /// At most once: no acknowledgement (4.3.1).
    #[default]
    AtMostOnce = 0,
    /// At least once: PUBACK (4.3.2).
    AtLeastOnce = 1,
    /// Exactly once: PUBREC, PUBREL, PUBCOMP (4.3.3).
    ExactlyOnce = 2,
}

impl QoS {
    /// The QoS of a two-bit field; 3 is none (3.3.1.2).
    #[inline]
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }

    /// The value on the wire (3.3.1.2).
    #[inline]
    pub const fn as_u8(self) -> u8 {
        match self {
            Self::AtMostOnce => 0,
            Self::AtLeastOnce => 1,
            Self::ExactlyOnce => 2,
        }
    }
}

/// Packet identifier: never zero (2.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PacketId(NonZeroU16);

impl PacketId {
    /// The lowest packet identifier.
    pub const MIN: Self = Self(NonZeroU16::MIN);
    /// The highest packet identifier.
    pub const MAX: Self = Self(NonZeroU16::MAX);

    /// A packet identifier, unless `value` is zero.
    #[inline]
    pub const fn new(value: u16) -> Option<Self> {
        match NonZeroU16::new(value) {
            Some(value) => Some(Self(value)),
            None => None,
        }
    }

    /// The value on the wire.
    #[inline]
    pub const fn value(self) -> u16 {
        self.0.get()
    }

    /// The next identifier in turn; 1 comes after 65,535.
    #[inline]
    #[must_use]
    pub const fn next(self) -> Self {
        match self.0.checked_add(1) {
            Some(value) => Self(value),
            None => Self::MIN,
        }
    }
}

impl fmt::Display for PacketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
