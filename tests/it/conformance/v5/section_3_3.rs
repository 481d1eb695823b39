//! 3.3 PUBLISH. Topic aliases are in `section_3_3_alias`.

use std::time::Duration;

use crate::support::packet::{self};
use crate::support::{Connect, Publish, TestGateway, V5, property};

const NO_LOCAL: u8 = 0x04;
const RETAIN_AS_PUBLISHED: u8 = 0x08;
const SEND_IF_NEW: u8 = 0x10;
const DO_NOT_SEND: u8 = 0x20;

/// MQTT-3.3.1-9 to MQTT-3.3.1-11
#[test]
fn retain_handling_decides_when_retained_messages_are_sent() {
    let gateway = TestGateway::start();
    let mut publisher = gateway.v5("publisher");
    publisher.publish(&Publish::new("kept", "x").retain());
    let mut client = gateway.v5("client");
    let mut count = |options: u8| {
        assert_eq!(client.subscribe("kept", options), options & 3);
        client.ping().len()
    };
    assert_eq!(count(DO_NOT_SEND), 0, "2: never");
    assert_eq!(count(SEND_IF_NEW), 0, "1: the subscription was there");
    assert_eq!(count(0), 1, "0: always");
    assert_eq!(count(0), 1, "0: always");
    assert_eq!(
        count(SEND_IF_NEW | 1),
        0,
        "1: another QoS is no other subscription"
    );
    client.unsubscribe(&["kept"]);
    let mut count = |options: u8| {
        client.subscribe("kept", options);
        client.ping().len()
    };
    assert_eq!(count(SEND_IF_NEW), 1, "1: new again");
    assert_eq!(count(SEND_IF_NEW), 0);
}

/// MQTT-3.3.1-10: a subscription that was kept with its session did exist.
#[test]
fn retain_handling_knows_subscriptions_of_kept_sessions() {
    let gateway = TestGateway::start();
    gateway
        .v5("publisher")
        .publish(&Publish::new("kept", "x").retain());
    let durable = Connect::new(V5, "client")
        .resume()
        .with(property::SESSION_EXPIRY_INTERVAL, 600u32);
    let (mut client, _) = gateway.connect(&durable);
    client.subscribe("kept", SEND_IF_NEW);
    assert_eq!(client.ping().len(), 1);
    client.disconnect();
    let (mut client, _) = gateway.connect(&durable);
    client.subscribe("kept", SEND_IF_NEW);
    assert_eq!(client.ping().len(), 0);
}

/// MQTT-3.3.1-12, MQTT-3.3.1-13
#[test]
fn retain_as_published_keeps_the_flag() {
    let gateway = TestGateway::start();
    let mut keeps = gateway.v5("keeps");
    keeps.subscribe("flag", RETAIN_AS_PUBLISHED);
    let mut drops = gateway.v5("drops");
    drops.subscribe("flag", 0);
    let mut publisher = gateway.v5("publisher");
    publisher.publish(&Publish::new("flag", "a").retain());
    publisher.publish(&Publish::new("flag", "b"));
    assert!(keeps.take().retain);
    assert!(!keeps.take().retain);
    assert!(!drops.take().retain);
    assert!(!drops.take().retain);
    drops.subscribe("flag", 0);
    assert!(
        drops.take().retain,
        "3.3.1.3: 1 for a message that is sent because of the subscription"
    );
}

/// MQTT-3.8.3-3
#[test]
fn no_local_leaves_out_the_publisher() {
    let gateway = TestGateway::start();
    let mut client = gateway.v5("client");
    client.subscribe("own/#", NO_LOCAL);
    let mut other = gateway.v5("other");
    other.subscribe("own/#", NO_LOCAL);
    client.send_publish(&Publish::new("own/a", "x"));
    assert_eq!(client.ping(), []);
    assert_eq!(other.take().payload_text(), "x");
    client.subscribe("own/a", 0);
    client.send_publish(&Publish::new("own/a", "y"));
    assert_eq!(
        client.take().payload_text(),
        "y",
        "by the other subscription"
    );
    client.send_publish(&Publish::new("own/b", "z"));
    assert_eq!(client.ping(), []);
}

/// 3.3.1.3 with no local: a retained message of the client itself is sent when it subscribes later.
#[test]
fn no_local_is_by_client_identifier_not_by_connection() {
    let gateway = TestGateway::start();
    let durable = Connect::new(V5, "client")
        .resume()
        .with(property::SESSION_EXPIRY_INTERVAL, 600u32);
    let (mut client, _) = gateway.connect(&durable);
    client.subscribe("own", NO_LOCAL);
    client.disconnect();
    let (mut client, _) = gateway.connect(&durable);
    client.send_publish(&Publish::new("own", "x"));
    assert_eq!(client.ping(), []);
}

/// MQTT-3.3.2-4, MQTT-3.3.2-15 to MQTT-3.3.2-18, MQTT-3.3.2-20
#[test]
fn properties_are_passed_on_unaltered_and_in_order() {
    let gateway = TestGateway::start();
    let mut live = gateway.v5("live");
    live.subscribe("props", 1);
    let durable = Connect::new(V5, "away")
        .resume()
        .with(property::SESSION_EXPIRY_INTERVAL, 600u32);
    let (mut away, _) = gateway.connect(&durable);
    away.subscribe("props", 1);
    away.disconnect();
    let mut publish = Publish::new("props", "payload").qos(1, 1).retain();
    for (name, value) in [("z", "1"), ("a", "2"), ("z", "3"), ("", ""), ("ü", "🦀")] {
        publish = publish.with(property::USER_PROPERTY, (name, value));
    }
    publish = publish
        .with(property::PAYLOAD_FORMAT_INDICATOR, 1u8)
        .with(property::CONTENT_TYPE, "application/json")
        .with(property::RESPONSE_TOPIC, "answer")
        .with(property::USER_PROPERTY, ("last", "one"))
        .with(property::CORRELATION_DATA, &[0u8, 0xFF, 0x80][..]);
    gateway.v5("publisher").publish(&publish);
    let (mut away, _) = gateway.connect(&durable);
    let mut late = gateway.v5("late");
    late.subscribe("props", 1);
    for (who, client) in [
        ("live", &mut live),
        ("away", &mut away),
        ("retained", &mut late),
    ] {
        let found = client.take().properties;
        assert_eq!(
            found.number(property::PAYLOAD_FORMAT_INDICATOR),
            Some(1),
            "{who}"
        );
        assert_eq!(
            found.text(property::CONTENT_TYPE),
            Some("application/json"),
            "{who}"
        );
        assert_eq!(
            found.text(property::RESPONSE_TOPIC),
            Some("answer"),
            "{who}"
        );
        assert_eq!(
            found.bytes(property::CORRELATION_DATA),
            Some(&[0u8, 0xFF, 0x80][..]),
            "{who}"
        );
        let expected = [
            ("z", "1"),
            ("a", "2"),
            ("z", "3"),
            ("", ""),
            ("ü", "🦀"),
            ("last", "one"),
        ];
        assert_eq!(found.user(), expected, "{who}");
        assert_eq!(found.0.len(), 10, "{who}: nothing is added");
    }
}

/// 3.3.2.3.2: 0 is a value of its own, and is passed on.
#[test]
fn payload_format_zero_is_passed_on_or_left_out() {
    let gateway = TestGateway::start();
    let mut client = gateway.v5("client");
    client.subscribe("format", 0);
    client.send_publish(
        &Publish::new("format", [0xFF]).with(property::PAYLOAD_FORMAT_INDICATOR, 0u8),
    );
    assert_eq!(
        client
            .take()
            .properties
            .number(property::PAYLOAD_FORMAT_INDICATOR)
            .unwrap_or(0),
        0
    );
}

/// MQTT-3.3.2-6: the time in the queue is taken off.
#[test]
fn message_expiry_is_counted_down_while_queued() {
    let gateway = TestGateway::start();
    let durable = Connect::new(V5, "away")
        .resume()
        .with(property::SESSION_EXPIRY_INTERVAL, 600u32);
    let (mut away, _) = gateway.connect(&durable);
    away.subscribe("expiry/#", 1);
    away.disconnect();
    let mut publisher = gateway.v5("publisher");
    for (packet_id, seconds) in [(1, 1u32), (2, 100), (3, 2)] {
        let publish = Publish::new(&format!("expiry/{seconds}"), "x")
            .qos(1, packet_id)
            .retain();
        publisher.publish(&publish.with(property::MESSAGE_EXPIRY_INTERVAL, seconds));
    }
    publisher.expect_silence(Duration::from_millis(2200));
    let (mut away, _) = gateway.connect(&durable);
    let found = away.take();
    assert_eq!(found.topic, "expiry/100");
    let left = found
        .properties
        .number(property::MESSAGE_EXPIRY_INTERVAL)
        .expect("an interval");
    assert!((90..=98).contains(&left), "{left} seconds left");
    assert_eq!(away.ping(), [], "MQTT-3.3.2-5: the others have expired");

    let mut late = gateway.v5("late");
    late.subscribe("expiry/+", 0);
    let found = late.ping();
    assert_eq!(found.len(), 1, "retained messages expire, too: {found:?}");
    let left = found[0]
        .properties
        .number(property::MESSAGE_EXPIRY_INTERVAL)
        .expect("an interval");
    assert!((90..=98).contains(&left), "{left} seconds left");
}

#[test]
fn message_expiry_of_a_message_passed_on_at_once_stays() {
    let gateway = TestGateway::start();
    let mut client = gateway.v5("client");
    client.subscribe("fresh", 0);
    for seconds in [5u32, 3600, u32::MAX] {
        client.send_publish(
            &Publish::new("fresh", "x").with(property::MESSAGE_EXPIRY_INTERVAL, seconds),
        );
        let left = client
            .take()
            .properties
            .number(property::MESSAGE_EXPIRY_INTERVAL)
            .expect("an interval");
        assert!(
            left == seconds || left == seconds - 1,
            "{left} of {seconds}"
        );
    }
    client.send_publish(&Publish::new("fresh", "x"));
    assert!(
        !client
            .take()
            .properties
            .has(property::MESSAGE_EXPIRY_INTERVAL)
    );
}

/// MQTT-4.3.3-7, MQTT-4.3.3-13: what was sent once does not expire any more.
#[test]
fn message_in_flight_does_not_expire() {
    let gateway = TestGateway::start();
    let durable = Connect::new(V5, "client")
        .resume()
        .with(property::SESSION_EXPIRY_INTERVAL, 600u32);
    let (mut client, _) = gateway.connect(&durable);
    client.subscribe("flight", 2);
    let mut publisher = gateway.v5("publisher");
    publisher.publish(
        &Publish::new("flight", "x")
            .qos(2, 1)
            .with(property::MESSAGE_EXPIRY_INTERVAL, 5u32),
    );
    let first = client.next_publish();
    client.cut();
    publisher.expect_silence(Duration::from_secs(6));
    let (mut client, _) = gateway.connect(&durable);
    let again = client.next_publish();
    assert_eq!((again.packet_id, again.dup), (first.packet_id, true));
    client.acknowledge(&again);
    assert_eq!(client.ping(), []);
}

/// MQTT-3.3.4-3, MQTT-3.3.4-4
#[test]
fn every_matching_subscription_identifier_is_sent() {
    let gateway = TestGateway::start();
    let mut client = gateway.v5("client");
    client.subscribe_with(Some(1), &[("id/+", 0)]);
    client.subscribe_with(Some(268_435_455), &[("id/#", 1)]);
    client.subscribe_with(Some(128), &[("other", 0)]);
    client.subscribe_with(None, &[("id/a", 0)]);
    let mut publisher = gateway.v5("publisher");
    publisher.publish(
        &Publish::new("id/a", "x")
            .qos(1, 1)
            .with(property::USER_PROPERTY, ("k", "v")),
    );
    let found = client.take();
    let mut identifiers = found.properties.numbers(property::SUBSCRIPTION_IDENTIFIER);
    identifiers.sort_unstable();
    assert_eq!((found.qos, identifiers), (1, vec![1, 268_435_455]));
    assert_eq!(found.properties.user(), [("k", "v")]);
    assert_eq!(client.ping(), [], "one copy");
    publisher.say("other", "x");
    assert_eq!(
        client
            .take()
            .properties
            .numbers(property::SUBSCRIPTION_IDENTIFIER),
        [128]
    );
}

/// 3.8.4: subscribing again replaces the identifier, also by none.
#[test]
fn subscription_identifier_is_replaced_with_its_subscription() {
    let gateway = TestGateway::start();
    let mut client = gateway.v5("client");
    let mut publisher = gateway.v5("publisher");
    for (identifier, expected) in [(Some(5), vec![5]), (Some(6), vec![6]), (None, vec![])] {
        client.subscribe_with(identifier, &[("id", 0)]);
        publisher.say("id", "x");
        assert_eq!(
            client
                .take()
                .properties
                .numbers(property::SUBSCRIPTION_IDENTIFIER),
            expected
        );
    }
}

/// 3.3.4: retained, queued and repeated messages carry the identifier, too.
#[test]
fn subscription_identifier_comes_with_every_kind_of_delivery() {
    let gateway = TestGateway::start();
    let durable = Connect::new(V5, "client")
        .resume()
        .with(property::SESSION_EXPIRY_INTERVAL, 600u32);
    let mut publisher = gateway.v5("publisher");
    publisher.publish(&Publish::new("id/kept", "x").retain());
    let (mut client, _) = gateway.connect(&durable);
    client.subscribe_with(Some(7), &[("id/#", 1)]);
    assert_eq!(
        client
            .take()
            .properties
            .numbers(property::SUBSCRIPTION_IDENTIFIER),
        [7]
    );
    client.disconnect();
    publisher.publish(&Publish::new("id/x", "queued").qos(1, 1));
    for dup in [false, true] {
        let (mut client, _) = gateway.connect(&durable);
        let found = client.next_publish();
        assert_eq!((found.dup, found.payload_text()), (dup, "queued"));
        assert_eq!(
            found.properties.numbers(property::SUBSCRIPTION_IDENTIFIER),
            [7]
        );
        client.cut();
    }
}

/// MQTT-3.3.4-9, MQTT-4.9.0-2
#[test]
fn receive_maximum_of_the_client_is_respected() {
    let gateway = TestGateway::start();
    let connect = Connect::new(V5, "client").with(property::RECEIVE_MAXIMUM, 2u16);
    let (mut client, _) = gateway.connect(&connect);
    client.subscribe("flow", 2);
    let mut publisher = gateway.v5("publisher");
    for number in 1..=5u16 {
        publisher
            .publish(&Publish::new("flow", number.to_string()).qos(1 + (number % 2) as u8, number));
    }
    let mut found = client.ping();
    assert_eq!(found.len(), 2, "MQTT-3.3.4-10: PINGRESP does not wait");
    let mut taken = Vec::new();
    while let Some(publish) = (!found.is_empty()).then(|| found.remove(0)) {
        taken.push(publish.payload_text().to_owned());
        client.acknowledge_collecting(&publish, &mut found);
        found.extend(client.ping());
        assert!(found.len() <= 2, "{found:?}");
    }
    assert_eq!(taken, ["1", "2", "3", "4", "5"]);
}

/// 4.9: QoS 0 needs no credit.
#[test]
fn quality_zero_passes_a_full_window() {
    let gateway = TestGateway::start();
    let connect = Connect::new(V5, "client").with(property::RECEIVE_MAXIMUM, 1u16);
    let (mut client, _) = gateway.connect(&connect);
    client.subscribe("flow/#", 1);
    let mut publisher = gateway.v5("publisher");
    publisher.publish(&Publish::new("flow/1", "a").qos(1, 1));
    publisher.publish(&Publish::new("flow/1", "b").qos(1, 2));
    publisher.publish(&Publish::new("flow/0", "c"));
    let found = client.ping();
    let payloads: Vec<_> = found.iter().map(|each| each.payload_text()).collect();
    assert_eq!(payloads, ["a", "c"]);
}

/// MQTT-4.4.0-2: a refusal by the receiver ends the flow and gives its credit back.
#[test]
fn refused_publish_does_not_come_again() {
    let gateway = TestGateway::start();
    let durable = Connect::new(V5, "client")
        .resume()
        .with(property::SESSION_EXPIRY_INTERVAL, 600u32)
        .with(property::RECEIVE_MAXIMUM, 1u16);
    let (mut client, _) = gateway.connect(&durable);
    client.subscribe("refuse", 2);
    let mut publisher = gateway.v5("publisher");
    for (packet_id, qos) in [(1, 1), (2, 2), (3, 1)] {
        publisher.publish(&Publish::new("refuse", packet_id.to_string()).qos(qos, packet_id));
    }
    let first = client.next_publish();
    client.send(packet::frame(
        0x40,
        &[first.packet_id.to_be_bytes().as_slice(), &[0x83]].concat(),
    ));
    let second = client.next_publish();
    assert_eq!((second.qos, second.payload_text()), (2, "2"));
    client.send(packet::frame(
        0x50,
        &[second.packet_id.to_be_bytes().as_slice(), &[0x97]].concat(),
    ));
    assert_eq!(client.take().payload_text(), "3");
    assert_eq!(client.ping(), []);
    client.disconnect();
    let (mut client, _) = gateway.connect(&durable);
    assert_eq!(client.ping(), []);
}

/// 3.4.2.1: the publisher may be told that nobody listens.
#[test]
fn publish_without_subscribers_succeeds() {
    let gateway = TestGateway::start();
    let mut client = gateway.v5("client");
    for qos in [1, 2] {
        let reason = client.publish(&Publish::new("nobody", "x").qos(qos, 1));
        assert!(matches!(reason, 0x00 | 0x10), "{reason:#04x}");
    }
}

/// MQTT-3.3.1-7 with properties: a retained message is replaced with all that belongs to it.
#[test]
fn retained_message_is_replaced_with_its_properties() {
    let gateway = TestGateway::start();
    let mut client = gateway.v5("client");
    client.publish(
        &Publish::new("kept", "a")
            .qos(2, 1)
            .retain()
            .with(property::CONTENT_TYPE, "first"),
    );
    client.publish(&Publish::new("kept", "b").retain());
    client.subscribe("kept", 2);
    let found = client.take();
    assert_eq!((found.payload_text(), found.qos), ("b", 0));
    assert!(found.properties.0.is_empty());
}
