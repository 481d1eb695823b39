//! Delivery of QoS 0, 1 and 2, in both directions.

use crate::support::packet::{PUBACK, PUBCOMP, PUBREC, PUBREL, ack};
use crate::support::{Connect, Publish, Received, TestGateway, V5, Version, property};

super::every_version! {
    quality_is_the_minimum_of_publish_and_subscription,
    exactly_once_takes_a_repeated_publish_once,
    exactly_once_takes_the_packet_id_again_after_pubcomp,
    at_least_once_takes_every_publish_as_new,
    pubrel_of_an_unknown_packet_is_answered,
    unacknowledged_publish_comes_again_after_reconnect,
    unfinished_pubrel_comes_again_after_reconnect,
    incoming_exactly_once_survives_a_reconnect,
    order_is_kept_for_each_quality,
    acknowledgements_come_in_order,
    packets_in_one_segment_are_all_taken,
    packet_in_single_bytes_is_taken,
    payloads_pass_unaltered,
    many_in_flight_have_identifiers_of_their_own,
    ping_is_answered,
    self_delivery_is_the_rule,
}

/// A client whose session outlives its connection.
fn durable(version: Version, client_id: &str) -> Connect {
    let connect = Connect::new(version, client_id).resume();
    if version == V5 {
        connect.with(property::SESSION_EXPIRY_INTERVAL, 600u32)
    } else {
        connect
    }
}

/// MQTT-3.3.4-1, MQTT-3.8.4-8, MQTT-4.3.1-1, MQTT-4.3.2-4, MQTT-4.3.3-8, MQTT-4.3.3-11
fn quality_is_the_minimum_of_publish_and_subscription(version: Version) {
    let gateway = TestGateway::start();
    let mut publisher = gateway.connect(&Connect::new(version, "publisher")).0;
    for granted in 0..=2 {
        let mut subscriber = gateway
            .connect(&Connect::new(version, &format!("subscriber{granted}")))
            .0;
        assert_eq!(subscriber.subscribe("quality", granted), granted);
        for published in 0..=2 {
            let payload = format!("{published} to {granted}");
            let packet_id = if published > 0 {
                publisher.packet_id()
            } else {
                0
            };
            publisher.publish(&Publish::new("quality", &payload).qos(published, packet_id));
            let found = subscriber.take();
            assert_eq!(found.payload_text(), payload);
            assert_eq!(found.qos, published.min(granted), "quality of {payload}");
            assert_eq!(
                (found.topic.as_str(), found.dup, found.retain),
                ("quality", false, false)
            );
        }
        assert_eq!(subscriber.ping(), [], "each message came once");
        subscriber.disconnect();
    }
}

/// MQTT-4.3.3-10: the same packet identifier before PUBREL is the same message.
fn exactly_once_takes_a_repeated_publish_once(version: Version) {
    let gateway = TestGateway::start();
    let mut subscriber = gateway.connect(&Connect::new(version, "subscriber")).0;
    subscriber.subscribe("once", 2);
    let mut publisher = gateway.connect(&Connect::new(version, "publisher")).0;
    let publish = Publish::new("once", "first").qos(2, 7);
    for repeat in [publish.clone(), publish.clone().dup(), publish.dup()] {
        publisher.send_publish(&repeat);
        assert_eq!(publisher.pubrec().packet_id, 7);
    }
    publisher.send(ack(PUBREL, 7));
    assert_eq!(publisher.pubcomp().packet_id, 7);
    assert_eq!(subscriber.take().payload_text(), "first");
    assert_eq!(
        subscriber.ping(),
        [],
        "no onward copy of a repeated publish"
    );
}

/// MQTT-4.3.3-12
fn exactly_once_takes_the_packet_id_again_after_pubcomp(version: Version) {
    let gateway = TestGateway::start();
    let mut subscriber = gateway.connect(&Connect::new(version, "subscriber")).0;
    subscriber.subscribe("again", 0);
    let mut publisher = gateway.connect(&Connect::new(version, "publisher")).0;
    for payload in ["first", "second", "third"] {
        publisher.publish(&Publish::new("again", payload).qos(2, 1));
        assert_eq!(subscriber.take().payload_text(), payload);
    }
}

/// MQTT-4.3.2-5: after PUBACK even a DUP publish with the same identifier is new.
fn at_least_once_takes_every_publish_as_new(version: Version) {
    let gateway = TestGateway::start();
    let mut subscriber = gateway.connect(&Connect::new(version, "subscriber")).0;
    subscriber.subscribe("twice", 1);
    let mut publisher = gateway.connect(&Connect::new(version, "publisher")).0;
    publisher.publish(&Publish::new("twice", "a").qos(1, 9));
    publisher.publish(&Publish::new("twice", "b").qos(1, 9).dup());
    let found = [subscriber.take(), subscriber.take()];
    assert_eq!(found[0].payload_text(), "a");
    assert_eq!(found[1].payload_text(), "b");
    assert!(
        !found[1].dup,
        "MQTT-3.3.1-3: DUP of the publisher is not passed on"
    );
}

/// MQTT-4.3.3-11: a PUBREL that comes again after PUBCOMP must still end the flow.
fn pubrel_of_an_unknown_packet_is_answered(version: Version) {
    let gateway = TestGateway::start();
    let mut client = gateway.connect(&Connect::new(version, "client")).0;
    client.send(ack(PUBREL, 77));
    let found = client.pubcomp();
    assert_eq!(found.packet_id, 77);
    assert_eq!(found.reason, if version == V5 { 0x92 } else { 0 });
    assert_eq!(client.ping(), []);
}

/// MQTT-4.4.0-1, MQTT-3.3.1-1: same identifier, DUP, same order.
fn unacknowledged_publish_comes_again_after_reconnect(version: Version) {
    let gateway = TestGateway::start();
    let mut subscriber = gateway.connect(&durable(version, "subscriber")).0;
    subscriber.subscribe("again/#", 2);
    let mut publisher = gateway.connect(&Connect::new(version, "publisher")).0;
    for (packet_id, qos, payload) in [(1, 1, "one"), (2, 2, "two"), (3, 1, "three")] {
        publisher.publish(&Publish::new("again/x", payload).qos(qos, packet_id));
    }
    let first: Vec<_> = (0..3).map(|_| subscriber.next_publish()).collect();
    assert!(
        first.iter().all(|publish| !publish.dup),
        "MQTT-4.3.2-2: DUP is 0 at first"
    );
    subscriber.cut();

    let (mut subscriber, connack) = gateway.connect(&durable(version, "subscriber"));
    assert_eq!(connack.session_present, version != crate::support::V3_1);
    for expected in first {
        let found = subscriber.next_publish();
        assert!(found.dup, "MQTT-3.3.1-1");
        assert_eq!(
            found,
            Publish {
                dup: true,
                ..expected
            },
            "identifier, quality and order stay"
        );
        if found.qos == 1 {
            subscriber.acknowledge(&found);
        } else {
            subscriber.send(ack(PUBREC, found.packet_id));
        }
    }
    let released = subscriber.pubrel();
    subscriber.send(ack(PUBCOMP, released.packet_id));
    assert_eq!(subscriber.ping(), []);
    subscriber.cut();
    let mut subscriber = gateway.connect(&durable(version, "subscriber")).0;
    assert_eq!(
        subscriber.ping(),
        [],
        "what was acknowledged does not come again"
    );
}

/// MQTT-4.4.0-1, MQTT-4.3.3-6: after PUBREC only PUBREL comes again.
fn unfinished_pubrel_comes_again_after_reconnect(version: Version) {
    let gateway = TestGateway::start();
    let mut subscriber = gateway.connect(&durable(version, "subscriber")).0;
    subscriber.subscribe("rel", 2);
    let mut publisher = gateway.connect(&Connect::new(version, "publisher")).0;
    publisher.publish(&Publish::new("rel", "x").qos(2, 1));
    let publish = subscriber.next_publish();
    subscriber.send(ack(PUBREC, publish.packet_id));
    assert_eq!(subscriber.pubrel().packet_id, publish.packet_id);
    subscriber.cut();

    for _ in 0..2 {
        let mut subscriber = gateway.connect(&durable(version, "subscriber")).0;
        assert_eq!(subscriber.pubrel().packet_id, publish.packet_id);
        subscriber.cut();
    }
    let mut subscriber = gateway.connect(&durable(version, "subscriber")).0;
    assert_eq!(subscriber.pubrel().packet_id, publish.packet_id);
    subscriber.send(ack(PUBCOMP, publish.packet_id));
    assert_eq!(subscriber.ping(), []);
    subscriber.cut();
    let mut subscriber = gateway.connect(&durable(version, "subscriber")).0;
    assert_eq!(subscriber.ping(), [], "the flow has ended");
}

/// MQTT-4.3.3-10 across connections: the state of a receiver of QoS 2 belongs to the session.
fn incoming_exactly_once_survives_a_reconnect(version: Version) {
    let gateway = TestGateway::start();
    let mut subscriber = gateway.connect(&Connect::new(version, "subscriber")).0;
    subscriber.subscribe("in", 2);
    let mut publisher = gateway.connect(&durable(version, "publisher")).0;
    publisher.send_publish(&Publish::new("in", "x").qos(2, 5));
    assert_eq!(publisher.pubrec().packet_id, 5);
    publisher.cut();

    let mut publisher = gateway.connect(&durable(version, "publisher")).0;
    publisher.send_publish(&Publish::new("in", "x").qos(2, 5).dup());
    assert_eq!(publisher.pubrec().packet_id, 5);
    publisher.send(ack(PUBREL, 5));
    assert_eq!(publisher.pubcomp().reason, 0);
    assert_eq!(subscriber.take().payload_text(), "x");
    assert_eq!(subscriber.ping(), [], "one message, although sent twice");
}

/// MQTT-4.6.0-5, MQTT-4.6.0-6
fn order_is_kept_for_each_quality(version: Version) {
    let gateway = TestGateway::start();
    let mut subscriber = gateway.connect(&Connect::new(version, "subscriber")).0;
    subscriber.subscribe("order/#", 2);
    let mut publisher = gateway.connect(&Connect::new(version, "publisher")).0;
    let mut burst = Vec::new();
    for number in 1..=200u16 {
        for qos in 0..=2u8 {
            let packet_id = if qos > 0 {
                number * 2 + u16::from(qos)
            } else {
                0
            };
            burst.extend(
                Publish::new(&format!("order/{qos}"), number.to_string())
                    .qos(qos, packet_id)
                    .encode(version),
            );
            if qos == 2 {
                burst.extend(ack(PUBREL, packet_id));
            }
        }
    }
    publisher.send(burst);
    let mut last = [0u16; 3];
    let mut released = 0;
    while last != [200; 3] || released < 200 {
        match subscriber.receive() {
            Received::Publish(found) => {
                let number: u16 = found.payload_text().parse().expect("a number");
                let before = &mut last[usize::from(found.qos)];
                assert_eq!(number, *before + 1, "order of QoS {}", found.qos);
                *before = number;
                match found.qos {
                    1 => subscriber.send(ack(PUBACK, found.packet_id)),
                    2 => subscriber.send(ack(PUBREC, found.packet_id)),
                    _ => {}
                }
            }
            Received::PubRel(found) => {
                released += 1;
                subscriber.send(ack(PUBCOMP, found.packet_id));
            }
            other => panic!("unexpected {other:?}"),
        }
    }
}

/// MQTT-4.6.0-2 to MQTT-4.6.0-4, which a server keeps as a receiver.
fn acknowledgements_come_in_order(version: Version) {
    let gateway = TestGateway::start();
    let mut client = gateway.connect(&Connect::new(version, "client")).0;
    let numbers = [3u16, 1, 4, 15, 9, 2, 6, 5, 35];
    for qos in [1, 2] {
        for number in numbers {
            client.send_publish(&Publish::new("acks", "").qos(qos, number));
        }
        for number in numbers {
            let found = if qos == 1 {
                client.puback()
            } else {
                client.pubrec()
            };
            assert_eq!(found.packet_id, number);
        }
    }
    for number in numbers {
        client.send(ack(PUBREL, number));
    }
    for number in numbers {
        assert_eq!(client.pubcomp().packet_id, number);
    }
}

fn packets_in_one_segment_are_all_taken(version: Version) {
    let gateway = TestGateway::start();
    let mut client = gateway.open(version);
    let mut burst = Connect::new(version, "client").encode();
    burst.extend(crate::support::packet::subscribe(
        version,
        1,
        None,
        &[("burst", 0)],
    ));
    for number in 0..100 {
        burst.extend(Publish::new("burst", number.to_string()).encode(version));
    }
    burst.extend([0xC0, 0]);
    client.send(burst);
    assert_eq!(client.connack().code, 0);
    assert_eq!(client.suback().codes, [0]);
    for number in 0..100 {
        assert_eq!(client.next_publish().payload_text(), number.to_string());
    }
    assert_eq!(client.receive(), Received::PingResp);
}

fn packet_in_single_bytes_is_taken(version: Version) {
    let gateway = TestGateway::start();
    let mut client = gateway.open(version);
    for byte in Connect::new(version, "client").encode() {
        client.send([byte]);
    }
    assert_eq!(client.connack().code, 0);
    client.subscribe("slow", 0);
    for byte in Publish::new("slow", "arrives").encode(version) {
        client.send([byte]);
    }
    assert_eq!(client.take().payload_text(), "arrives");
}

/// Any bytes, and sizes on both sides of each length of the remaining length field.
fn payloads_pass_unaltered(version: Version) {
    let gateway = TestGateway::start();
    let mut subscriber = gateway.connect(&Connect::new(version, "subscriber")).0;
    subscriber.subscribe("bytes", 1);
    let mut publisher = gateway.connect(&Connect::new(version, "publisher")).0;
    for size in [
        0, 1, 116, 117, 118, 119, 120, 121, 122, 16_370, 16_373, 16_374, 16_375, 16_376, 16_380,
        70_000, 1_000_000,
    ] {
        let payload: Vec<u8> = (0..size).map(|at| (at * 31 % 257) as u8).collect();
        let packet_id = publisher.packet_id();
        publisher.publish(&Publish::new("bytes", &payload).qos(1, packet_id));
        assert!(subscriber.take().payload == payload, "{size} bytes pass");
    }
}

/// MQTT-2.2.1-4, MQTT-4.3.2-1
fn many_in_flight_have_identifiers_of_their_own(version: Version) {
    let gateway = TestGateway::start();
    let mut subscriber = gateway.connect(&Connect::new(version, "subscriber")).0;
    subscriber.subscribe("many", 1);
    let mut publisher = gateway.connect(&Connect::new(version, "publisher")).0;
    for number in 1..=20 {
        publisher.publish(&Publish::new("many", "").qos(1, number));
    }
    let mut identifiers: Vec<_> = (0..20)
        .map(|_| subscriber.next_publish().packet_id)
        .collect();
    identifiers.sort_unstable();
    identifiers.dedup();
    assert_eq!(identifiers.len(), 20);
}

/// MQTT-3.12.4-1
fn ping_is_answered(version: Version) {
    let gateway = TestGateway::start();
    let mut client = gateway.connect(&Connect::new(version, "client")).0;
    client.hex("C0 00 C0 00 C0 00");
    for _ in 0..3 {
        client.expect("D0 00");
    }
}

fn self_delivery_is_the_rule(version: Version) {
    let gateway = TestGateway::start();
    let mut client = gateway.connect(&Connect::new(version, "client")).0;
    client.subscribe("mirror", 0);
    client.send_publish(&Publish::new("mirror", "me"));
    assert_eq!(client.take().payload_text(), "me");
}
