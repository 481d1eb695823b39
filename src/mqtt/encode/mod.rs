//! Packets to bytes. Every function appends one packet to a buffer and allocates nothing else.
//!
//! What does not fit the format is made to fit, so that no function can fail: a string is cut off at 65,535 bytes (1.5.4).
//! A packet above [`MAX_PACKET_SIZE`](super::MAX_PACKET_SIZE) cannot be written down; the caller asks for the length
//! first, as it has to for the maximum packet size of the receiver.

mod publish;
mod sink;

pub use publish::{PublishParts, publish, publish_head, publish_len, publish_packet_id_offset};
pub(super) use sink::{Body, Properties, Sink};

use super::packet::{SubscribeBody, UnsubscribeBody};
use super::property::id;
use super::{
    AckKind, Auth, ConnAck, Connect, Disconnect, Packet, PacketId, ProtocolVersion, ReasonCode,
    SubscriptionOptions, UserProperties,
};
use sink::{fitting, frame};

/// CONNECT in the version that it names (3.1).
pub fn connect(out: &mut Vec<u8>, connect: &Connect<'_>) {
    frame(out, 0x10, connect, connect.version);
}

/// CONNACK (3.2). Before MQTT 5 a return code is made of the reason, and nothing else is sent.
pub fn connack(out: &mut Vec<u8>, version: ProtocolVersion, connack: &ConnAck<'_>) {
    frame(out, 0x20, connack, version);
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP (3.4 to 3.7) in its shortest form.
///
/// Before MQTT 5 neither reason nor reason string can be sent; the caller closes the connection instead where the reason
/// is an error.
#[inline]
pub fn ack(
    out: &mut Vec<u8>,
    version: ProtocolVersion,
    kind: AckKind,
    packet_id: PacketId,
    reason: ReasonCode,
    reason_string: Option<&str>,
) {
    if !version.is_v5() || (reason == ReasonCode::Success && reason_string.is_none()) {
        let [high, low] = packet_id.value().to_be_bytes();
        out.extend_from_slice(&[kind.first_byte(), 2, high, low]);
        return;
    }
    let mut ack = super::Ack::new(packet_id, reason);
    ack.properties.reason_string = reason_string;
    frame(out, kind.first_byte(), &ack, version);
}

/// SUBSCRIBE (3.8). Before MQTT 5 the filters and their QoS are all that is sent.
pub fn subscribe<'f>(
    out: &mut Vec<u8>,
    version: ProtocolVersion,
    packet_id: PacketId,
    subscription_identifier: Option<u32>,
    user_properties: UserProperties<'_>,
    filters: impl IntoIterator<Item = (&'f str, SubscriptionOptions), IntoIter: Clone>,
) {
    let filters = filters.into_iter();
    let body = SubscribeBody {
        packet_id,
        subscription_identifier,
        user_properties,
        filters,
    };
    frame(out, 0x82, &body, version);
}

/// SUBACK with one reason code for each topic filter, in order (3.9). Before MQTT 5 every error is 0x80.
pub fn suback(
    out: &mut Vec<u8>,
    version: ProtocolVersion,
    packet_id: PacketId,
    reason_codes: &[ReasonCode],
    reason_string: Option<&str>,
) {
    frame(
        out,
        0x90,
        &Answer {
            packet_id,
            reason_codes,
            reason_string,
            bare_v3: false,
        },
        version,
    );
}

/// UNSUBSCRIBE (3.10).
pub fn unsubscribe<'f>(
    out: &mut Vec<u8>,
    version: ProtocolVersion,
    packet_id: PacketId,
    user_properties: UserProperties<'_>,
    filters: impl IntoIterator<Item = &'f str, IntoIter: Clone>,
) {
    let filters = filters.into_iter();
    let body = UnsubscribeBody {
        packet_id,
        user_properties,
        filters,
    };
    frame(out, 0xA2, &body, version);
}

/// UNSUBACK with one reason code for each topic filter, in order (3.11). Before MQTT 5 there are none.
pub fn unsuback(
    out: &mut Vec<u8>,
    version: ProtocolVersion,
    packet_id: PacketId,
    reason_codes: &[ReasonCode],
    reason_string: Option<&str>,
) {
    frame(
        out,
        0xB0,
        &Answer {
            packet_id,
            reason_codes,
            reason_string,
            bare_v3: true,
        },
        version,
    );
}

/// PINGREQ (3.12).
pub fn pingreq(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xC0, 0]);
}

/// PINGRESP (3.13).
pub fn pingresp(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xD0, 0]);
}

/// DISCONNECT in its shortest form (3.14).
///
/// Before MQTT 5 only a client sends it, and it says nothing.
pub fn disconnect(out: &mut Vec<u8>, version: ProtocolVersion, disconnect: &Disconnect<'_>) {
    frame(out, 0xE0, disconnect, version);
}

/// AUTH (3.15), which only MQTT 5 has.
pub fn auth(out: &mut Vec<u8>, auth: &Auth<'_>) {
    frame(out, 0xF0, auth, ProtocolVersion::V5);
}

/// Any packet, as it would be decoded again.
pub fn packet(out: &mut Vec<u8>, version: ProtocolVersion, packet: &Packet<'_>) {
    match packet {
        Packet::ConnAck(body) => frame(out, 0x20, body, version),
        Packet::Publish(body) => {
            let first = publish::first_byte(body.qos, body.retain, body.dup);
            frame(out, first, body, version);
        }
        Packet::PubAck(body) => frame(out, AckKind::PubAck.first_byte(), body, version),
        Packet::PubRec(body) => frame(out, AckKind::PubRec.first_byte(), body, version),
        Packet::PubRel(body) => frame(out, AckKind::PubRel.first_byte(), body, version),
        Packet::PubComp(body) => frame(out, AckKind::PubComp.first_byte(), body, version),
        Packet::Subscribe(body) => subscribe(
            out,
            version,
            body.packet_id,
            body.subscription_identifier,
            body.user_properties,
            body.filters,
        ),
        Packet::SubAck(body) => frame(out, 0x90, body, version),
        Packet::Unsubscribe(body) => {
            unsubscribe(
                out,
                version,
                body.packet_id,
                body.user_properties,
                body.filters,
            );
        }
        Packet::UnsubAck(body) => frame(out, 0xB0, body, version),
        Packet::PingReq => pingreq(out),
        Packet::PingResp => pingresp(out),
        Packet::Disconnect(body) => disconnect(out, version, body),
        Packet::Auth(body) => auth(out, body),
    }
}

/// What a SUBACK or an UNSUBACK of a server is made of.
struct Answer<'a> {
    packet_id: PacketId,
    reason_codes: &'a [ReasonCode],
    reason_string: Option<&'a str>,
    /// No reason codes before MQTT 5.
    bare_v3: bool,
}

impl Properties for Answer<'_> {
    fn write<S: Sink>(&self, sink: &mut S) {
        sink.property_string(id::REASON_STRING, self.reason_string);
    }
}

impl Body for Answer<'_> {
    fn write<S: Sink>(&self, sink: &mut S, version: ProtocolVersion) {
        sink.u16(self.packet_id.value());
        if version.is_v5() {
            sink.properties(self);
            self.reason_codes
                .iter()
                .for_each(|reason| sink.u8(reason.as_u8()));
        } else if !self.bare_v3 {
            self.reason_codes
                .iter()
                .for_each(|reason| sink.u8(reason.v3_suback_code()));
        }
    }
}
