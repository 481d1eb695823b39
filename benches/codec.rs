//! What a packet costs to decode and to encode, in nanoseconds: `cargo bench --bench codec`.
//!
//! The broker spends about 0.3 microseconds on a message in all, so the hot packets have to stay in the tens.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use fieldgate::mqtt::encode::{self, PublishParts};
use fieldgate::mqtt::{
    AckKind, DecodeOptions, PacketId, PropertiesBuf, ProtocolVersion, QoS, ReasonCode, Role,
    SubscriptionOptions, UserProperties, decode, decode_connect, topic,
};

const TOPIC: &str = "plant/line7/press";
const PAYLOAD: [u8; 64] = [0x20; 64];
const VERSIONS: [ProtocolVersion; 2] = [ProtocolVersion::V3_1_1, ProtocolVersion::V5];

fn options(version: ProtocolVersion) -> DecodeOptions {
    DecodeOptions {
        version,
        max_packet_size: 1 << 20,
        sender: Role::Client,
    }
}

fn parts(qos: QoS) -> PublishParts<'static> {
    PublishParts {
        topic: TOPIC,
        payload: &PAYLOAD,
        qos,
        retain: false,
        dup: false,
        packet_id: (qos != QoS::AtMostOnce).then_some(PacketId::MIN),
        message_expiry_interval: None,
        topic_alias: None,
        subscription_identifiers: &[],
        forwarded: &[],
    }
}

fn bench_decode(c: &mut Criterion, name: &str, version: ProtocolVersion, bytes: &[u8]) {
    let options = options(version);
    assert!(matches!(decode(bytes, &options), Ok(Some(_))), "{name}");
    c.bench_function(&format!("decode/{version}/{name}"), |b| {
        b.iter(|| {
            // By reference: to hand the result over by value would measure a copy of it.
            black_box(&decode(black_box(bytes), black_box(&options)));
        });
    });
}

fn decoding(c: &mut Criterion) {
    for version in VERSIONS {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
            let mut bytes = Vec::new();
            encode::publish(&mut bytes, version, &parts(qos));
            bench_decode(
                c,
                &format!("publish q{} 64 B", qos.as_u8()),
                version,
                &bytes,
            );
        }
        let mut bytes = Vec::new();
        let id = PacketId::MIN;
        encode::ack(
            &mut bytes,
            version,
            AckKind::PubAck,
            id,
            ReasonCode::Success,
            None,
        );
        bench_decode(c, "puback", version, &bytes);
        bytes.clear();
        let filters = [("plant/+/press", SubscriptionOptions::default())];
        encode::subscribe(
            &mut bytes,
            version,
            id,
            None,
            UserProperties::EMPTY,
            filters,
        );
        bench_decode(c, "subscribe", version, &bytes);
        bytes.clear();
        encode::pingreq(&mut bytes);
        bench_decode(c, "pingreq", version, &bytes);
    }

    let mut user_properties = PropertiesBuf::new();
    user_properties.push_user_property("unit", "bar");
    user_properties.push_user_property("site", "Görlitz");
    let raw = user_properties.as_bytes();
    let mut bytes = Vec::new();
    let parts = PublishParts {
        forwarded: raw,
        topic_alias: Some(3),
        ..parts(QoS::AtLeastOnce)
    };
    encode::publish(&mut bytes, ProtocolVersion::V5, &parts);
    bench_decode(
        c,
        "publish q1 64 B, alias and two user properties",
        ProtocolVersion::V5,
        &bytes,
    );

    let connect = [
        0x10, 0x12, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 60, 0, 0, 5, b'p', b'r', b'e', b's',
        b's',
    ];
    c.bench_function("decode/5.0/connect", |b| {
        b.iter(|| {
            black_box(&decode_connect(black_box(&connect), 1 << 20));
        });
    });
}

fn encoding(c: &mut Criterion) {
    let mut out = Vec::with_capacity(4096);
    for version in VERSIONS {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
            let parts = parts(qos);
            c.bench_function(
                &format!("encode/{version}/publish q{} 64 B", qos.as_u8()),
                |b| {
                    b.iter(|| {
                        out.clear();
                        encode::publish(&mut out, version, black_box(&parts));
                        out.len()
                    });
                },
            );
        }
        c.bench_function(&format!("encode/{version}/puback"), |b| {
            b.iter(|| {
                out.clear();
                let id = black_box(PacketId::MIN);
                encode::ack(
                    &mut out,
                    version,
                    AckKind::PubAck,
                    id,
                    ReasonCode::Success,
                    None,
                );
                out.len()
            });
        });
    }
}

fn topics(c: &mut Criterion) {
    c.bench_function("topic/check_name", |b| {
        b.iter(|| topic::check_name(black_box(TOPIC)))
    });
    c.bench_function("topic/check_filter", |b| {
        b.iter(|| topic::check_filter(black_box("plant/+/press/#")));
    });
    c.bench_function("topic/matches", |b| {
        b.iter(|| topic::matches(black_box("plant/+/press"), black_box(TOPIC)));
    });
}

criterion_group!(benches, decoding, encoding, topics);
criterion_main!(benches);
