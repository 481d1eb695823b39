//! What is encoded is decoded to the same, and what is decoded is encoded to the same.

use fieldgate::mqtt::encode::{self, PublishParts};
use fieldgate::mqtt::{
    Ack, AckKind, AckProperties, Auth, AuthProperties, ConnAck, ConnAckProperties, Connect,
    ConnectProperties, DecodeOptions, Disconnect, DisconnectProperties, MAX_PACKET_SIZE, Packet,
    PacketId, ProtocolVersion, PublishProperties, QoS, ReasonCode, RetainHandling, Role,
    SubscriptionOptions, Will, decode, decode_connect,
};

use super::random::Random;

const ROUNDS: u64 = 4_000;
const VERSIONS: [ProtocolVersion; 3] = [
    ProtocolVersion::V3_1,
    ProtocolVersion::V3_1_1,
    ProtocolVersion::V5,
];

fn options(version: ProtocolVersion, sender: Role) -> DecodeOptions {
    DecodeOptions {
        version,
        max_packet_size: MAX_PACKET_SIZE,
        sender,
    }
}

/// Decodes the one packet in `bytes`, and encodes it again to the same bytes.
fn decoded<'a>(bytes: &'a [u8], version: ProtocolVersion, sender: Role) -> Packet<'a> {
    let (packet, used) = decode(bytes, &options(version, sender))
        .expect("legal")
        .expect("whole");
    assert_eq!(used, bytes.len());
    let mut again = Vec::new();
    encode::packet(&mut again, version, &packet);
    assert_eq!(again, bytes);
    packet
}

#[expect(
    clippy::print_stderr,
    reason = "the seed is what a failing run is repeated with"
)]
fn rounds(mut round: impl FnMut(&mut Random, ProtocolVersion)) {
    for seed in 0..ROUNDS {
        for version in VERSIONS {
            let run = std::panic::AssertUnwindSafe(|| round(&mut Random::new(seed), version));
            if let Err(panic) = std::panic::catch_unwind(run) {
                eprintln!("seed {seed}, version {version}");
                std::panic::resume_unwind(panic);
            }
        }
    }
}

fn packet_id(random: &mut Random) -> PacketId {
    PacketId::new(random.u16()).unwrap_or(PacketId::MAX)
}

#[test]
fn publish() {
    rounds(|random, version| {
        let v5 = version.is_v5();
        let qos = random.qos();
        let topic = random.topic();
        let payload = random.bytes(300);
        let forwarded = if v5 {
            random.forwarded()
        } else {
            Default::default()
        };
        let identifiers: Vec<u32> = (0..random.below(3))
            .map(|_| random.u32().clamp(1, 268_435_455))
            .collect();
        let parts = PublishParts {
            topic: topic.as_str(),
            payload: &payload,
            qos,
            retain: random.chance(),
            dup: qos != QoS::AtMostOnce && random.chance(),
            packet_id: (qos != QoS::AtMostOnce).then(|| packet_id(random)),
            message_expiry_interval: random.option(Random::u32).filter(|_| v5),
            topic_alias: random.option(|random| random.u16().max(1)).filter(|_| v5),
            subscription_identifiers: if v5 { &identifiers } else { &[] },
            forwarded: forwarded.as_bytes(),
        };
        let mut bytes = vec![0xAA];
        encode::publish(&mut bytes, version, &parts);
        let bytes = &bytes[1..];
        assert_eq!(bytes.len(), encode::publish_len(version, &parts));
        let Packet::Publish(publish) = decoded(bytes, version, Role::Server) else {
            panic!("no PUBLISH");
        };
        assert_eq!(publish.topic, parts.topic);
        assert_eq!(publish.payload, parts.payload);
        assert_eq!(
            (publish.qos, publish.retain, publish.dup),
            (parts.qos, parts.retain, parts.dup)
        );
        assert_eq!(publish.packet_id, parts.packet_id);
        let properties = publish.properties;
        assert_eq!(
            properties.message_expiry_interval,
            parts.message_expiry_interval
        );
        assert_eq!(properties.topic_alias, parts.topic_alias);
        assert!(
            properties
                .subscription_identifiers()
                .eq(parts.subscription_identifiers.iter().copied())
        );
        assert_eq!(properties.forwarded, forwarded.forwarded());

        let mut head = Vec::new();
        encode::publish_head(&mut head, version, &parts, payload.len());
        assert_eq!([&head, payload.as_slice()].concat(), bytes);
        let offset = encode::publish_packet_id_offset(version, &parts);
        assert_eq!(offset.is_some(), parts.packet_id.is_some());
        if let (Some(offset), Some(packet_id)) = (offset, parts.packet_id) {
            assert_eq!(bytes[offset..offset + 2], packet_id.value().to_be_bytes());
        }
    });
}

#[test]
fn acknowledgements() {
    use ReasonCode as R;
    const RECEIVED: [R; 5] = [
        R::Success,
        R::NotAuthorized,
        R::QuotaExceeded,
        R::TopicNameInvalid,
        R::UnspecifiedError,
    ];
    const RELEASED: [R; 2] = [R::Success, R::PacketIdentifierNotFound];
    rounds(|random, version| {
        let kind = *random.one_of(&[
            AckKind::PubAck,
            AckKind::PubRec,
            AckKind::PubRel,
            AckKind::PubComp,
        ]);
        let reasons: &[R] = match kind {
            AckKind::PubAck | AckKind::PubRec => &RECEIVED,
            AckKind::PubRel | AckKind::PubComp => &RELEASED,
        };
        let v5 = version.is_v5();
        let reason = if v5 {
            *random.one_of(reasons)
        } else {
            R::Success
        };
        let reason_string = random.option(|random| random.text(20)).filter(|_| v5);
        let user_properties = if v5 {
            random.user_properties()
        } else {
            Default::default()
        };
        let mut ack = Ack::new(packet_id(random), reason);
        ack.properties.reason_string = reason_string.as_deref();

        let mut bytes = Vec::new();
        encode::ack(
            &mut bytes,
            version,
            kind,
            ack.packet_id,
            reason,
            reason_string.as_deref(),
        );
        assert_eq!(
            decoded(&bytes, version, Role::Client),
            ack_packet(kind, ack)
        );

        ack.properties.user_properties = user_properties.user_properties();
        bytes.clear();
        encode::packet(&mut bytes, version, &ack_packet(kind, ack));
        assert_eq!(
            decoded(&bytes, version, Role::Server),
            ack_packet(kind, ack)
        );
    });
}

fn ack_packet(kind: AckKind, ack: Ack<'_>) -> Packet<'_> {
    match kind {
        AckKind::PubAck => Packet::PubAck(ack),
        AckKind::PubRec => Packet::PubRec(ack),
        AckKind::PubRel => Packet::PubRel(ack),
        AckKind::PubComp => Packet::PubComp(ack),
    }
}

#[test]
fn subscribe_and_its_answer() {
    rounds(|random, version| {
        let v5 = version.is_v5();
        let id = packet_id(random);
        let filters: Vec<_> = (0..=random.below(5))
            .map(|_| (random.text(20), subscription(random, v5)))
            .collect();
        let filters = filters
            .iter()
            .map(|(filter, options)| (filter.as_str(), *options));
        let identifier = random
            .option(|random| random.u32().clamp(1, 268_435_455))
            .filter(|_| v5);
        let user_properties = if v5 {
            random.user_properties()
        } else {
            Default::default()
        };
        let user_properties = user_properties.user_properties();
        let mut bytes = Vec::new();
        encode::subscribe(
            &mut bytes,
            version,
            id,
            identifier,
            user_properties,
            filters.clone(),
        );
        let Packet::Subscribe(subscribe) = decoded(&bytes, version, Role::Client) else {
            panic!("no SUBSCRIBE");
        };
        assert_eq!(subscribe.packet_id, id);
        assert_eq!(subscribe.subscription_identifier, identifier);
        assert_eq!(subscribe.user_properties, user_properties);
        assert_eq!(subscribe.filters.len(), filters.len());
        assert!(subscribe.filters.eq(filters.clone()));

        let codes: Vec<_> = filters
            .map(|(_, options)| ReasonCode::granted(options.qos))
            .collect();
        let reason_string = random.option(|random| random.text(20)).filter(|_| v5);
        bytes.clear();
        encode::suback(&mut bytes, version, id, &codes, reason_string.as_deref());
        let Packet::SubAck(suback) = decoded(&bytes, version, Role::Server) else {
            panic!("no SUBACK");
        };
        assert_eq!(suback.packet_id, id);
        assert!(suback.reason_codes.eq(codes.iter().copied()));
        assert_eq!(suback.properties.reason_string, reason_string.as_deref());
    });
}

fn subscription(random: &mut Random, v5: bool) -> SubscriptionOptions {
    let qos = random.qos();
    if !v5 {
        return SubscriptionOptions {
            qos,
            ..SubscriptionOptions::default()
        };
    }
    SubscriptionOptions {
        qos,
        no_local: random.chance(),
        retain_as_published: random.chance(),
        retain_handling: *random.one_of(&[
            RetainHandling::SendAtSubscribe,
            RetainHandling::SendIfNew,
            RetainHandling::DoNotSend,
        ]),
    }
}

#[test]
fn unsubscribe_and_its_answer() {
    rounds(|random, version| {
        let id = packet_id(random);
        let filters: Vec<_> = (0..=random.below(5)).map(|_| random.text(20)).collect();
        let filters = filters.iter().map(String::as_str);
        let user_properties = if version.is_v5() {
            random.user_properties()
        } else {
            Default::default()
        };
        let mut bytes = Vec::new();
        encode::unsubscribe(
            &mut bytes,
            version,
            id,
            user_properties.user_properties(),
            filters.clone(),
        );
        let Packet::Unsubscribe(unsubscribe) = decoded(&bytes, version, Role::Client) else {
            panic!("no UNSUBSCRIBE");
        };
        assert_eq!(unsubscribe.packet_id, id);
        assert_eq!(
            unsubscribe.user_properties,
            user_properties.user_properties()
        );
        assert!(unsubscribe.filters.eq(filters.clone()));

        let codes = vec![ReasonCode::NoSubscriptionExisted; filters.len()];
        bytes.clear();
        encode::unsuback(&mut bytes, version, id, &codes, None);
        let Packet::UnsubAck(unsuback) = decoded(&bytes, version, Role::Server) else {
            panic!("no UNSUBACK");
        };
        let expected = if version.is_v5() { codes.len() } else { 0 };
        assert_eq!(
            (unsuback.packet_id, unsuback.reason_codes.len()),
            (id, expected)
        );
    });
}

#[test]
fn connect() {
    rounds(|random, version| {
        let v5 = version.is_v5();
        let client_id = format!("c{}", random.text(20));
        let username = random.text(20);
        let password = random.bytes(20);
        let method = random.text(10);
        let (topic, payload) = (random.topic(), random.bytes(40));
        let user_properties = if v5 {
            random.user_properties()
        } else {
            Default::default()
        };
        let forwarded = if v5 {
            random.forwarded()
        } else {
            Default::default()
        };
        let clean_start = random.chance();
        let mut properties = ConnectProperties::default();
        if v5 {
            properties.session_expiry_interval = random.u32();
            properties.receive_maximum = random.u16().max(1);
            properties.maximum_packet_size = random.option(|random| random.u32().max(1));
            properties.topic_alias_maximum = random.u16();
            properties.request_response_information = random.chance();
            properties.request_problem_information = random.chance();
            properties.authentication_method = random.option(|_| method.as_str());
            properties.authentication_data = properties
                .authentication_method
                .map(|method| method.as_bytes());
            properties.user_properties = user_properties.user_properties();
        } else {
            properties.session_expiry_interval = if clean_start { 0 } else { u32::MAX };
        }
        let username = random.option(|_| username.as_str());
        let connect = Connect {
            version,
            client_id: &client_id,
            clean_start,
            keep_alive: random.u16(),
            username,
            password: random
                .option(|_| password.as_slice())
                .filter(|_| v5 || username.is_some()),
            will: random.option(|random| Will {
                topic: topic.as_str(),
                payload: &payload,
                qos: random.qos(),
                retain: random.chance(),
                delay_interval: if v5 { random.u32() } else { 0 },
                properties: PublishProperties {
                    message_expiry_interval: random.option(Random::u32).filter(|_| v5),
                    topic_alias: None,
                    forwarded: forwarded.forwarded(),
                },
            }),
            properties,
        };
        let mut bytes = Vec::new();
        encode::connect(&mut bytes, &connect);
        assert_eq!(
            decode_connect(&bytes, MAX_PACKET_SIZE),
            Ok(Some((connect, bytes.len())))
        );
    });
}

#[test]
fn connack() {
    rounds(|random, version| {
        let reason = *random.one_of(&[
            ReasonCode::Success,
            ReasonCode::NotAuthorized,
            ReasonCode::ClientIdentifierNotValid,
            ReasonCode::ServerUnavailable,
        ]);
        let (text, data, user_properties) =
            (random.text(20), random.bytes(9), random.user_properties());
        let text = text.as_str();
        let mut properties = ConnAckProperties::default();
        if version.is_v5() {
            properties = ConnAckProperties {
                session_expiry_interval: random.option(Random::u32),
                receive_maximum: random.option(|random| random.u16().max(1)),
                maximum_qos: random
                    .option(|random| *random.one_of(&[QoS::AtMostOnce, QoS::AtLeastOnce])),
                retain_available: random.option(Random::chance),
                maximum_packet_size: random.option(|random| random.u32().max(1)),
                assigned_client_identifier: random.option(|_| text),
                topic_alias_maximum: random.option(Random::u16),
                reason_string: random.option(|_| text),
                user_properties: user_properties.user_properties(),
                wildcard_subscription_available: random.option(Random::chance),
                subscription_identifiers_available: random.option(Random::chance),
                shared_subscription_available: random.option(Random::chance),
                server_keep_alive: random.option(Random::u16),
                response_information: random.option(|_| text),
                server_reference: random.option(|_| text),
                authentication_method: random.option(|_| text),
                authentication_data: random.option(|_| data.as_slice()),
            };
        }
        let present = version != ProtocolVersion::V3_1 && !reason.is_error() && random.chance();
        let connack = ConnAck {
            session_present: present,
            reason,
            properties,
        };
        let mut bytes = Vec::new();
        encode::connack(&mut bytes, version, &connack);
        assert_eq!(
            decoded(&bytes, version, Role::Server),
            Packet::ConnAck(connack)
        );
    });
}

#[test]
fn disconnect_and_auth() {
    rounds(|random, version| {
        let v5 = version.is_v5();
        let (text, data, user_properties) =
            (random.text(20), random.bytes(9), random.user_properties());
        let text = text.as_str();
        let mut disconnect = Disconnect::new(ReasonCode::Success);
        if v5 {
            let reasons = [ReasonCode::Success, ReasonCode::DisconnectWithWillMessage];
            disconnect.reason = *random.one_of(&reasons);
            disconnect.properties = DisconnectProperties {
                session_expiry_interval: random.option(Random::u32),
                reason_string: random.option(|_| text),
                user_properties: user_properties.user_properties(),
                server_reference: random.option(|_| text),
            };
        }
        let mut bytes = Vec::new();
        encode::disconnect(&mut bytes, version, &disconnect);
        assert_eq!(
            decoded(&bytes, version, Role::Client),
            Packet::Disconnect(disconnect)
        );
        if v5 {
            let auth = Auth {
                reason: ReasonCode::ContinueAuthentication,
                properties: AuthProperties {
                    authentication_method: Some(text),
                    authentication_data: random.option(|_| data.as_slice()),
                    reason_string: random.option(|_| text),
                    user_properties: user_properties.user_properties(),
                },
            };
            bytes.clear();
            encode::auth(&mut bytes, &auth);
            assert_eq!(decoded(&bytes, version, Role::Client), Packet::Auth(auth));
        }
    });
}

#[test]
fn what_does_not_fit_is_cut_off() {
    let long = "ä".repeat(40_000);
    let mut bytes = Vec::new();
    let (id, reason) = (PacketId::MIN, ReasonCode::QuotaExceeded);
    encode::ack(
        &mut bytes,
        ProtocolVersion::V5,
        AckKind::PubAck,
        id,
        reason,
        Some(&long),
    );
    let Packet::PubAck(ack) = decoded(&bytes, ProtocolVersion::V5, Role::Server) else {
        panic!("no PUBACK");
    };
    assert_eq!(ack.properties.reason_string.map(str::len), Some(65_534));
    assert_eq!(AckProperties::default().reason_string, None);
}
