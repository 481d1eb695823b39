//! Bytes through the codec, and every view that it gives on them.

use fieldgate::mqtt::{
    ConnAck, DecodeOptions, Packet, ProtocolVersion, PublishProperties, Role, decode,
    decode_connect, encode, packet_len,
};

/// Larger than anything the fuzzer makes, so that it is the input that decides.
pub const MAX_PACKET_SIZE: u32 = 1 << 20;

/// Decodes all packets that stand in `bytes`, as a link does.
pub fn decode_all(mut bytes: &[u8], version: ProtocolVersion, sender: Role) {
    let options = DecodeOptions {
        version,
        max_packet_size: MAX_PACKET_SIZE,
        sender,
    };
    while let Ok(Some((packet, used))) = decode(bytes, &options) {
        assert_eq!(
            packet_len(bytes),
            Ok(Some(used)),
            "both tell the same length"
        );
        look_at(&packet);
        assert_stable(&packet, &options);
        bytes = &bytes[used..];
    }
}

/// The first packet of a client, and the answer to it.
pub fn decode_first(bytes: &[u8]) {
    match decode_connect(bytes, MAX_PACKET_SIZE) {
        Ok(Some((connect, used))) => {
            assert!(used <= bytes.len());
            connect.properties.user_properties.for_each(drop);
            if let Some(will) = &connect.will {
                look_at_properties(&will.properties);
            }
            let mut again = Vec::new();
            encode::connect(&mut again, &connect);
            assert_eq!(
                decode_connect(&again, MAX_PACKET_SIZE),
                Ok(Some((connect, again.len())))
            );
        }
        Ok(None) => {}
        Err(fault) => {
            if let (Some(version), Some(reason)) = (fault.version, fault.connack_reason()) {
                let mut answer = Vec::new();
                encode::connack(&mut answer, version, &ConnAck::refusal(reason));
                decode_all(&answer, version, Role::Server);
            }
        }
    }
}

/// What was decoded is encoded to bytes that are decoded to the same, and from then on to the same bytes.
pub fn assert_stable(packet: &Packet<'_>, options: &DecodeOptions) {
    let mut first = Vec::new();
    encode::packet(&mut first, options.version, packet);
    let again = decode(&first, options);
    assert_eq!(again, Ok(Some((*packet, first.len()))));
    let mut second = Vec::new();
    if let Ok(Some((packet, _))) = again {
        encode::packet(&mut second, options.version, &packet);
    }
    assert_eq!(first, second);
}

fn look_at(packet: &Packet<'_>) {
    match packet {
        Packet::Publish(publish) => {
            assert!(!publish.topic.contains(['+', '#', '\0']));
            assert_eq!(
                publish.topic.is_empty(),
                publish.topic.is_empty() && publish.properties.topic_alias.is_some()
            );
            look_at_properties(&publish.properties);
        }
        Packet::Subscribe(subscribe) => {
            assert!(subscribe.filters.len() > 0);
            assert_eq!(subscribe.filters.len(), subscribe.filters.count());
            subscribe.user_properties.for_each(drop);
        }
        Packet::Unsubscribe(unsubscribe) => {
            assert!(unsubscribe.filters.len() > 0);
            assert_eq!(unsubscribe.filters.len(), unsubscribe.filters.count());
        }
        Packet::SubAck(suback) => {
            assert_eq!(suback.reason_codes.len(), suback.reason_codes.count())
        }
        Packet::UnsubAck(unsuback) => {
            assert_eq!(unsuback.reason_codes.len(), unsuback.reason_codes.count());
        }
        _ => {}
    }
}

fn look_at_properties(properties: &PublishProperties<'_>) {
    let mut forwarded = Vec::new();
    properties.forwarded.append_to(&mut forwarded);
    assert_eq!(forwarded.len(), properties.forwarded.len());
    if let Some(slice) = properties.forwarded.as_slice() {
        assert_eq!(slice, forwarded);
    }
    if let Some(topic) = properties.response_topic() {
        assert!(!topic.is_empty() && !topic.contains(['+', '#', '\0']));
    }
    if let Some(indicator) = properties.payload_format_indicator() {
        assert!(indicator <= 1);
    }
    properties.correlation_data();
    properties.content_type();
    properties.user_properties().for_each(drop);
    assert!(
        properties
            .subscription_identifiers()
            .all(|identifier| identifier != 0)
    );
}
