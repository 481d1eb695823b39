//! PUBLISH on its way out (3.3): the packet that a broker sends most.

use super::super::property::id;
use super::super::{PacketId, ProtocolVersion, QoS};
use super::{Sink, fitting};

/// What a PUBLISH to a subscriber is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishParts<'a> {
    /// Topic name; empty only together with a topic alias.
    pub topic: &'a str,
    /// The message.
    pub payload: &'a [u8],
    /// Quality of service.
    pub qos: QoS,
    /// The RETAIN flag (3.3.1.3).
    pub retain: bool,
    /// Sent again (3.3.1.1).
    pub dup: bool,
    /// Present exactly with QoS 1 and 2.
    pub packet_id: Option<PacketId>,
    /// What is left of the lifetime, in seconds (3.3.2.3.3).
    pub message_expiry_interval: Option<u32>,
    /// Alias of the topic on this connection (3.3.2.3.4).
    pub topic_alias: Option<u16>,
    /// Identifiers of the subscriptions that matched (3.3.2.3.8).
    pub subscription_identifiers: &'a [u32],
    /// The properties of the publisher, as [`ForwardedProperties`](crate::mqtt::ForwardedProperties) has them.
    pub forwarded: &'a [u8],
}

/// The length of the packet that [`publish`] appends.
#[inline]
pub fn publish_len(version: ProtocolVersion, parts: &PublishParts<'_>) -> usize {
    let remaining = whole_remaining_len(version, parts);
    1 + variable_byte_integer_len(remaining) + remaining
}

/// Appends the whole packet.
#[inline]
pub fn publish(out: &mut Vec<u8>, version: ProtocolVersion, parts: &PublishParts<'_>) {
    publish_head(out, version, parts, parts.payload.len());
    out.extend_from_slice(parts.payload);
}

/// Appends everything before the payload, which is to have `payload_len` bytes; `parts.payload` is not looked at.
#[inline]
pub fn publish_head(
    out: &mut Vec<u8>,
    version: ProtocolVersion,
    parts: &PublishParts<'_>,
    payload_len: usize,
) {
    let properties_len = if version.is_v5() {
        properties_len(parts)
    } else {
        0
    };
    let remaining = remaining_len(version, parts, payload_len, properties_len);
    out.reserve(5 + remaining);
    let first = first_byte(parts.qos, parts.retain, parts.dup);
    let topic = fitting(parts.topic);
    let topic_len = u16::try_from(topic.len()).unwrap_or(u16::MAX);
    let [high, low] = topic_len.to_be_bytes();
    // As few pieces as possible: each costs a look at the capacity.
    match u8::try_from(remaining) {
        Ok(length) if length < 0x80 => out.extend_from_slice(&[first, length, high, low]),
        _ => {
            out.u8(first);
            out.variable_byte_integer(u32::try_from(remaining).unwrap_or(u32::MAX));
            out.extend_from_slice(&[high, low]);
        }
    }
    out.extend_from_slice(topic.as_bytes());
    let id = parts.packet_id.map(|id| id.value().to_be_bytes());
    match (id, version.is_v5()) {
        (None, false) => {}
        (Some(id), false) => out.extend_from_slice(&id),
        (Some([high, low]), true) if properties_len == 0 => out.extend_from_slice(&[high, low, 0]),
        (None, true) if properties_len == 0 => out.push(0),
        (id, true) => {
            out.extend_from_slice(id.as_ref().map_or(&[][..], |id| id));
            out.variable_byte_integer(u32::try_from(properties_len).unwrap_or(u32::MAX));
            properties(out, parts);
        }
    }
}

/// Where the packet identifier stands in the packet that [`publish`] appends, counted from its first byte.
///
/// With it one encoded image serves many receivers, each with a packet identifier of its own.
#[inline]
pub fn publish_packet_id_offset(
    version: ProtocolVersion,
    parts: &PublishParts<'_>,
) -> Option<usize> {
    parts.packet_id?;
    let remaining = whole_remaining_len(version, parts);
    Some(1 + variable_byte_integer_len(remaining) + 2 + fitting(parts.topic).len())
}

/// The first byte of a PUBLISH (3.3.1).
#[inline]
pub(super) fn first_byte(qos: QoS, retain: bool, dup: bool) -> u8 {
    let flag = |condition: bool, flag: u8| u8::from(condition) * flag;
    0x30 | qos.as_u8() << 1 | flag(retain, 0x01) | flag(dup, 0x08)
}

#[inline]
fn whole_remaining_len(version: ProtocolVersion, parts: &PublishParts<'_>) -> usize {
    let properties_len = if version.is_v5() {
        properties_len(parts)
    } else {
        0
    };
    remaining_len(version, parts, parts.payload.len(), properties_len)
}

#[inline]
fn remaining_len(
    version: ProtocolVersion,
    parts: &PublishParts<'_>,
    payload_len: usize,
    properties_len: usize,
) -> usize {
    let id_len = if parts.packet_id.is_some() { 2 } else { 0 };
    let length = 2 + fitting(parts.topic).len() + id_len + payload_len;
    if version.is_v5() {
        length + variable_byte_integer_len(properties_len) + properties_len
    } else {
        length
    }
}

#[inline]
fn properties_len(parts: &PublishParts<'_>) -> usize {
    let mut length = parts.forwarded.len();
    if parts.message_expiry_interval.is_some() {
        length += 5;
    }
    if parts.topic_alias.is_some() {
        length += 3;
    }
    for &identifier in parts.subscription_identifiers {
        length += 1 + variable_byte_integer_len(usize::try_from(identifier).unwrap_or(usize::MAX));
    }
    length
}

fn properties(out: &mut Vec<u8>, parts: &PublishParts<'_>) {
    out.property_u32(id::MESSAGE_EXPIRY_INTERVAL, parts.message_expiry_interval);
    out.property_u16(id::TOPIC_ALIAS, parts.topic_alias);
    for &identifier in parts.subscription_identifiers {
        out.u8(id::SUBSCRIPTION_IDENTIFIER);
        out.variable_byte_integer(identifier);
    }
    out.extend_from_slice(parts.forwarded);
}

/// How many bytes a Variable Byte Integer takes (1.5.5).
#[inline]
const fn variable_byte_integer_len(value: usize) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}
