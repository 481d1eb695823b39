//! Retained messages.

use crate::support::{Connect, Publish, TestGateway, Version};

super::every_version! {
    newest_retained_message_is_sent_to_a_new_subscription,
    empty_payload_removes_the_retained_message,
    plain_publish_leaves_the_retained_message_alone,
    live_copy_of_a_retained_message_is_not_marked,
    wildcards_find_every_retained_message,
    retained_message_keeps_its_quality,
    retained_message_outlives_its_publisher,
    subscribing_again_sends_it_again,
}

/// MQTT-3.3.1-5, MQTT-3.3.1-9
fn newest_retained_message_is_sent_to_a_new_subscription(version: Version) {
    let gateway = TestGateway::start();
    let mut publisher = gateway.connect(&Connect::new(version, "publisher")).0;
    for payload in ["old", "newer", "newest"] {
        publisher.publish(&Publish::new("state", payload).retain());
    }
    let mut subscriber = gateway.connect(&Connect::new(version, "subscriber")).0;
    subscriber.subscribe("state", 0);
    let found = subscriber.take();
    assert_eq!(
        (found.payload_text(), found.retain, found.dup),
        ("newest", true, false)
    );
    assert_eq!(subscriber.ping(), []);
}

/// MQTT-3.3.1-6, MQTT-3.3.1-7
fn empty_payload_removes_the_retained_message(version: Version) {
    let gateway = TestGateway::start();
    let mut watcher = gateway.connect(&Connect::new(version, "watcher")).0;
    watcher.subscribe("gone", 0);
    let mut publisher = gateway.connect(&Connect::new(version, "publisher")).0;
    publisher.publish(&Publish::new("gone", "here").retain());
    publisher.publish(&Publish::new("gone", "").qos(1, 1).retain());
    assert_eq!(watcher.take().payload_text(), "here");
    assert_eq!(
        watcher.take().payload_text(),
        "",
        "it is passed on like any message"
    );
    let mut subscriber = gateway.connect(&Connect::new(version, "subscriber")).0;
    subscriber.subscribe("gone", 0);
    assert_eq!(subscriber.ping(), []);
}

/// MQTT-3.3.1-8
fn plain_publish_leaves_the_retained_message_alone(version: Version) {
    let gateway = TestGateway::start();
    let mut publisher = gateway.connect(&Connect::new(version, "publisher")).0;
    publisher.publish(&Publish::new("keep", "kept").retain());
    publisher.publish(&Publish::new("keep", "passing"));
    publisher.publish(&Publish::new("keep", ""));
    publisher.publish(&Publish::new("other", "passing"));
    let mut subscriber = gateway.connect(&Connect::new(version, "subscriber")).0;
    subscriber.subscribe("keep", 0);
    assert_eq!(subscriber.take().payload_text(), "kept");
    subscriber.subscribe("other", 0);
    assert_eq!(
        subscriber.ping(),
        [],
        "a message without RETAIN is not kept"
    );
}

/// MQTT-3.3.1-12, and MQTT-3.3.1-9 of MQTT 3.1.1.
fn live_copy_of_a_retained_message_is_not_marked(version: Version) {
    let gateway = TestGateway::start();
    let mut subscriber = gateway.connect(&Connect::new(version, "subscriber")).0;
    subscriber.subscribe("live", 0);
    let mut publisher = gateway.connect(&Connect::new(version, "publisher")).0;
    publisher.publish(&Publish::new("live", "now").retain());
    assert!(!subscriber.take().retain);
}

fn wildcards_find_every_retained_message(version: Version) {
    let gateway = TestGateway::start();
    let mut publisher = gateway.connect(&Connect::new(version, "publisher")).0;
    let topics = ["a", "a/b", "a/b/c", "a//c", "/a", "b/b/c"];
    for topic in topics {
        publisher.publish(&Publish::new(topic, topic).retain());
    }
    for (filter, expected) in [
        ("#", &["a", "a/b", "a/b/c", "a//c", "/a", "b/b/c"][..]),
        ("a/#", &["a", "a/b", "a/b/c", "a//c"]),
        ("a/+", &["a/b"]),
        ("a/+/c", &["a/b/c", "a//c"]),
        ("+/b/#", &["a/b", "a/b/c", "b/b/c"]),
        ("+/+", &["a/b", "/a"]),
        ("/+", &["/a"]),
        ("a", &["a"]),
        ("c/#", &[]),
    ] {
        let mut subscriber = gateway.connect(&Connect::new(version, "subscriber")).0;
        subscriber.subscribe(filter, 0);
        let mut found: Vec<_> = subscriber
            .ping()
            .into_iter()
            .map(|publish| publish.topic)
            .collect();
        found.retain(|topic| !topic.starts_with('$'));
        found.sort_unstable();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(found, expected, "retained messages for {filter}");
        subscriber.disconnect();
    }
}

fn retained_message_keeps_its_quality(version: Version) {
    let gateway = TestGateway::start();
    let mut publisher = gateway.connect(&Connect::new(version, "publisher")).0;
    for qos in 0..=2 {
        let packet_id = if qos > 0 { publisher.packet_id() } else { 0 };
        publisher.publish(
            &Publish::new(&format!("kept/{qos}"), "x")
                .qos(qos, packet_id)
                .retain(),
        );
    }
    for granted in 0..=2 {
        for published in 0..=2 {
            let mut subscriber = gateway.connect(&Connect::new(version, "subscriber")).0;
            subscriber.subscribe(&format!("kept/{published}"), granted);
            assert_eq!(subscriber.take().qos, published.min(granted));
            subscriber.disconnect();
        }
    }
}

/// MQTT-3.1.2-7 of MQTT 3.1.1: retained messages are no part of the session.
fn retained_message_outlives_its_publisher(version: Version) {
    let gateway = TestGateway::start();
    let mut publisher = gateway.connect(&Connect::new(version, "publisher")).0;
    publisher.publish(&Publish::new("testament", "x").retain());
    publisher.disconnect();
    gateway
        .connect(&Connect::new(version, "publisher"))
        .0
        .disconnect();
    let mut subscriber = gateway.connect(&Connect::new(version, "subscriber")).0;
    subscriber.subscribe("testament", 0);
    assert_eq!(subscriber.take().payload_text(), "x");
}

/// MQTT-3.8.4-4, and MQTT-3.8.4-3 of MQTT 3.1.1.
fn subscribing_again_sends_it_again(version: Version) {
    let gateway = TestGateway::start();
    let mut client = gateway.connect(&Connect::new(version, "client")).0;
    client.publish(&Publish::new("again", "x").retain());
    for qos in [0, 1, 0] {
        client.subscribe("again", qos);
        let found = client.take();
        assert_eq!(
            (found.payload_text(), found.retain, found.qos),
            ("x", true, 0)
        );
    }
    client.send_publish(&Publish::new("again", "y"));
    let found = client.ping();
    assert_eq!(found.len(), 1, "subscribing again replaces: {found:?}");
}
