//! Packets made of arbitrary fields: what is encoded must be decoded to the same fields.
#![no_main]

use arbitrary::Arbitrary;
use fieldgate::mqtt::encode::{self, PublishParts};
use fieldgate::mqtt::{
    DecodeOptions, Packet, PacketId, PropertiesBuf, ProtocolVersion, QoS, Role, TopicName, decode,
};
use fieldgate_fuzz::packets::{MAX_PACKET_SIZE, assert_stable};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    version: u8,
    topic: &'a str,
    payload: &'a [u8],
    qos: u8,
    retain: bool,
    dup: bool,
    packet_id: u16,
    message_expiry_interval: Option<u32>,
    topic_alias: Option<u16>,
    subscription_identifiers: Vec<u32>,
    properties: Vec<Property<'a>>,
}

#[derive(Debug, Arbitrary)]
enum Property<'a> {
    PayloadFormatIndicator(bool),
    ResponseTopic(&'a str),
    CorrelationData(&'a [u8]),
    ContentType(&'a str),
    User(&'a str, &'a str),
}

fuzz_target!(|input: Input<'_>| {
    let version = match input.version % 3 {
        0 => ProtocolVersion::V3_1,
        1 => ProtocolVersion::V3_1_1,
        _ => ProtocolVersion::V5,
    };
    let v5 = version.is_v5();
    let (Ok(topic), Some(qos)) = (TopicName::new(input.topic), QoS::from_u8(input.qos % 3)) else {
        return;
    };
    let forwarded = forwarded(&input.properties);
    let identifiers: Vec<u32> = input
        .subscription_identifiers
        .iter()
        .map(|id| id.clamp(&1, &268_435_455))
        .copied()
        .collect();
    let parts = PublishParts {
        topic: topic.as_str(),
        payload: input.payload,
        qos,
        retain: input.retain,
        dup: input.dup && qos != QoS::AtMostOnce,
        packet_id: PacketId::new(input.packet_id.max(1)).filter(|_| qos != QoS::AtMostOnce),
        message_expiry_interval: input.message_expiry_interval.filter(|_| v5),
        topic_alias: input.topic_alias.filter(|alias| v5 && *alias != 0),
        subscription_identifiers: if v5 { &identifiers } else { &[] },
        forwarded: if v5 { forwarded.as_bytes() } else { &[] },
    };
    let mut bytes = Vec::new();
    encode::publish(&mut bytes, version, &parts);
    assert_eq!(bytes.len(), encode::publish_len(version, &parts));
    let options = DecodeOptions {
        version,
        max_packet_size: MAX_PACKET_SIZE,
        sender: Role::Server,
    };
    let decoded = decode(&bytes, &options);
    let Ok(Some((Packet::Publish(publish), used))) = decoded else {
        panic!("{decoded:?}");
    };
    assert_eq!(used, bytes.len());
    assert_eq!(publish.topic, parts.topic);
    assert_eq!(publish.payload, parts.payload);
    assert_eq!(
        (publish.qos, publish.retain, publish.dup),
        (parts.qos, parts.retain, parts.dup)
    );
    assert_eq!(publish.packet_id, parts.packet_id);
    assert_eq!(
        publish.properties.message_expiry_interval,
        parts.message_expiry_interval
    );
    assert_eq!(publish.properties.topic_alias, parts.topic_alias);
    assert!(
        publish
            .properties
            .subscription_identifiers()
            .eq(parts.subscription_identifiers.iter().copied())
    );
    let mut pieces = Vec::new();
    publish.properties.forwarded.append_to(&mut pieces);
    assert_eq!(pieces, parts.forwarded);
    assert_stable(&Packet::Publish(publish), &options);
});

/// The standard allows all but user properties once.
fn forwarded(properties: &[Property<'_>]) -> PropertiesBuf {
    let mut buf = PropertiesBuf::new();
    let mut seen = [false; 4];
    let mut once = |index: usize| !std::mem::replace(&mut seen[index], true);
    for property in properties {
        match property {
            Property::PayloadFormatIndicator(is_utf8) if once(0) => {
                buf.push_payload_format_indicator(*is_utf8);
            }
            Property::ResponseTopic(topic) => {
                if let Ok(topic) = TopicName::new(topic)
                    && once(1)
                {
                    buf.push_response_topic(&topic);
                }
            }
            Property::CorrelationData(data) if once(2) => buf.push_correlation_data(data),
            Property::ContentType(text) if !text.contains('\0') && once(3) => {
                buf.push_content_type(text);
            }
            Property::User(name, value) if !name.contains('\0') && !value.contains('\0') => {
                buf.push_user_property(name, value);
            }
            _ => {}
        }
    }
    buf
}
