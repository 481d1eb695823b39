//! SUBSCRIBE and UNSUBSCRIBE.

use crate::support::packet::{PUBACK, ack};
use crate::support::{Connect, Publish, Received, TestGateway, V5, Version};

super::every_version! {
    suback_has_a_code_for_each_filter_in_order,
    subscribing_again_replaces_the_subscription,
    overlapping_subscriptions_deliver_at_the_highest_quality,
    unsubscribe_ends_delivery,
    unsubscribe_compares_filters_as_text,
    unsubscribe_of_an_unknown_filter_is_acknowledged,
    unsubscribe_takes_many_filters,
    unsubscribe_finishes_what_is_in_flight,
    subscription_takes_effect_with_its_suback,
    duplicate_filters_in_one_packet_count_once,
}

/// MQTT-3.8.4-1, MQTT-3.8.4-2, MQTT-3.8.4-5 to MQTT-3.8.4-7, MQTT-3.9.3-1
fn suback_has_a_code_for_each_filter_in_order(version: Version) {
    let gateway = TestGateway::start();
    let mut client = gateway.connect(&Connect::new(version, "client")).0;
    let found = client.subscribe_with(
        None,
        &[
            ("a", 2),
            ("b/+", 0),
            ("c/#", 1),
            ("#", 2),
            ("+", 0),
            ("/", 1),
        ],
    );
    assert_eq!(found.codes, [2, 0, 1, 2, 0, 1]);
    client.send(crate::support::packet::subscribe(
        version,
        0xFFFF,
        None,
        &[("d", 0)],
    ));
    assert_eq!(client.suback().packet_id, 0xFFFF);
}

/// MQTT-3.8.4-3
fn subscribing_again_replaces_the_subscription(version: Version) {
    let gateway = TestGateway::start();
    let mut client = gateway.connect(&Connect::new(version, "client")).0;
    let mut publisher = gateway.connect(&Connect::new(version, "publisher")).0;
    for qos in [0, 2, 1] {
        client.subscribe("replace", qos);
        publisher.publish(&Publish::new("replace", "x").qos(2, 1));
        assert_eq!(client.take().qos, qos);
        assert_eq!(client.ping(), [], "one subscription, one message");
    }
}

/// MQTT-3.3.4-2, and MQTT-3.3.5-1 of MQTT 3.1.1: this broker sends one copy, at the highest quality.
fn overlapping_subscriptions_deliver_at_the_highest_quality(version: Version) {
    let gateway = TestGateway::start();
    let mut client = gateway.connect(&Connect::new(version, "client")).0;
    client.subscribe_with(
        None,
        &[("over/#", 0), ("over/+", 2), ("over/lap", 1), ("+/lap", 0)],
    );
    let mut publisher = gateway.connect(&Connect::new(version, "publisher")).0;
    publisher.publish(&Publish::new("over/lap", "x").qos(2, 1));
    let found = client.take();
    assert_eq!((found.qos, found.payload_text()), (2, "x"));
    assert_eq!(client.ping(), []);
}

/// MQTT-3.10.4-1, MQTT-3.10.4-2, MQTT-3.10.4-4, MQTT-3.10.4-5
fn unsubscribe_ends_delivery(version: Version) {
    let gateway = TestGateway::start();
    let mut client = gateway.connect(&Connect::new(version, "client")).0;
    client.subscribe_with(None, &[("stay", 0), ("leave", 0)]);
    let found = client.unsubscribe(&["leave"]);
    assert_eq!(found.codes, if version == V5 { vec![0] } else { vec![] });
    let mut publisher = gateway.connect(&Connect::new(version, "publisher")).0;
    publisher.say("leave", "gone");
    publisher.say("stay", "here");
    let found = client.ping();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].topic, "stay");
}

/// MQTT-3.10.4-1: not by what they match.
fn unsubscribe_compares_filters_as_text(version: Version) {
    let gateway = TestGateway::start();
    let mut client = gateway.connect(&Connect::new(version, "client")).0;
    client.subscribe("text/+", 0);
    client.unsubscribe(&["text/#", "text/a", "#", "+/+", "TEXT/+"]);
    client.send_publish(&Publish::new("text/a", "x"));
    assert_eq!(client.take().payload_text(), "x");
    client.unsubscribe(&["text/+"]);
    client.send_publish(&Publish::new("text/a", "x"));
    assert_eq!(client.ping(), []);
}

/// MQTT-3.10.4-5
fn unsubscribe_of_an_unknown_filter_is_acknowledged(version: Version) {
    let gateway = TestGateway::start();
    let mut client = gateway.connect(&Connect::new(version, "client")).0;
    let found = client.unsubscribe(&["never"]);
    assert_eq!(found.codes, if version == V5 { vec![0x11] } else { vec![] });
}

/// MQTT-3.10.4-6, MQTT-3.11.3-1
fn unsubscribe_takes_many_filters(version: Version) {
    let gateway = TestGateway::start();
    let mut client = gateway.connect(&Connect::new(version, "client")).0;
    client.subscribe_with(None, &[("a", 0), ("b", 0), ("c", 0)]);
    let found = client.unsubscribe(&["c", "never", "a"]);
    assert_eq!(
        found.codes,
        if version == V5 {
            vec![0, 0x11, 0]
        } else {
            vec![]
        }
    );
    let mut publisher = gateway.connect(&Connect::new(version, "publisher")).0;
    for topic in ["a", "b", "c"] {
        publisher.say(topic, topic);
    }
    let found = client.ping();
    assert_eq!(
        found
            .iter()
            .map(|each| each.topic.as_str())
            .collect::<Vec<_>>(),
        ["b"]
    );
}

/// MQTT-3.10.4-3
fn unsubscribe_finishes_what_is_in_flight(version: Version) {
    let gateway = TestGateway::start();
    let mut client = gateway.connect(&Connect::new(version, "client")).0;
    client.subscribe("flight", 2);
    let mut publisher = gateway.connect(&Connect::new(version, "publisher")).0;
    publisher.publish(&Publish::new("flight", "x").qos(2, 1));
    let found = client.next_publish();
    client.unsubscribe(&["flight"]);
    client.acknowledge(&found);
    assert_eq!(client.ping(), []);
}

/// Nothing published after the SUBACK is missed, nothing before it is sent.
fn subscription_takes_effect_with_its_suback(version: Version) {
    let gateway = TestGateway::start();
    let mut client = gateway.connect(&Connect::new(version, "client")).0;
    let mut publisher = gateway.connect(&Connect::new(version, "publisher")).0;
    for round in 0..50u16 {
        let topic = format!("effect/{round}");
        publisher.publish(&Publish::new(&topic, "early").qos(1, 1));
        client.subscribe(&topic, 1);
        publisher.publish(&Publish::new(&topic, "due").qos(1, 2));
        match client.receive() {
            Received::Publish(found) => {
                assert_eq!(found.payload_text(), "due");
                client.send(ack(PUBACK, found.packet_id));
            }
            other => panic!("expected PUBLISH, found {other:?}"),
        }
    }
}

/// MQTT-3.8.4-5: a packet with many filters is like many packets.
fn duplicate_filters_in_one_packet_count_once(version: Version) {
    let gateway = TestGateway::start();
    let mut client = gateway.connect(&Connect::new(version, "client")).0;
    let found = client.subscribe_with(None, &[("same", 2), ("same", 1), ("same", 0)]);
    assert_eq!(found.codes, [2, 1, 0]);
    let mut publisher = gateway.connect(&Connect::new(version, "publisher")).0;
    publisher.publish(&Publish::new("same", "x").qos(2, 1));
    assert_eq!(client.take().qos, 0, "the last one replaced the others");
    assert_eq!(client.ping(), []);
}
