//! Topic names and filters.

use crate::support::{Connect, Publish, TestGateway, Version};

super::every_version! {
    filters_match_by_the_rules,
    topics_are_not_normalised,
    wildcards_do_not_match_dollar_topics,
    byte_order_mark_is_kept,
    longest_topic_is_served,
    many_levels_are_served,
    broker_topics_tell_about_the_broker,
}

/// MQTT-3.3.2-3, MQTT-4.7.1-1 to MQTT-4.7.1-3
fn filters_match_by_the_rules(version: Version) {
    let gateway = TestGateway::start();
    let mut publisher = gateway.connect(&Connect::new(version, "publisher")).0;
    for (filter, matching, other) in [
        ("a", &["a"][..], &["A", "a/", "/a", "a/b", "b"][..]),
        (
            "#",
            &["a", "/", "a/b/c", "//", " ", "a b", "é"],
            &["$a", "$a/b"],
        ),
        (
            "a/#",
            &["a", "a/", "a/b", "a/b/c", "a//"],
            &["b", "/a", "ab", "A/b"],
        ),
        ("+", &["a", "é", " "], &["/a", "a/", "a/b", "/", "$a"]),
        ("/+", &["/a", "/"], &["a", "//", "/a/b", "a/a"]),
        (
            "+/+",
            &["/", "a/b", "/b", "a/"],
            &["a", "a/b/c", "//", "$a/b"],
        ),
        (
            "a/+/c",
            &["a/b/c", "a//c"],
            &["a/c", "a/b/d", "a/b/c/", "a/b/b/c"],
        ),
        (
            "+/b/#",
            &["a/b", "/b", "a/b/c/d"],
            &["a", "b", "a/c/b", "a/bb"],
        ),
        ("a/+", &["a/", "a/b"], &["a", "a/b/", "a/b/c"]),
        ("//", &["//"], &["/", "///", "a//"]),
        (
            "a b/ü/日本/🦀",
            &["a b/ü/日本/🦀"],
            &["a b/u/日本/🦀", "a b/ü/日本"],
        ),
        ("$odd/+", &["$odd/a"], &["$odd", "odd/a"]),
        ("$odd/#", &["$odd", "$odd/a/b"], &["$oddity"]),
    ] {
        let mut subscriber = gateway.connect(&Connect::new(version, "subscriber")).0;
        assert_eq!(subscriber.subscribe(filter, 0), 0);
        for topic in other.iter().chain(matching) {
            publisher.send_publish(&Publish::new(topic, "x"));
        }
        assert_eq!(publisher.ping(), []);
        let found: Vec<_> = subscriber
            .ping()
            .into_iter()
            .map(|publish| publish.topic)
            .collect();
        assert_eq!(found, matching, "topics for {filter}");
        subscriber.disconnect();
    }
}

/// MQTT-4.7.3-4: composed and decomposed forms are two topics, and case counts.
fn topics_are_not_normalised(version: Version) {
    let gateway = TestGateway::start();
    let mut client = gateway.connect(&Connect::new(version, "client")).0;
    client.subscribe("caf\u{E9}", 0);
    for topic in ["cafe\u{301}", "CAF\u{C9}", "caf\u{E9} ", "cafe"] {
        client.send_publish(&Publish::new(topic, "x"));
    }
    assert_eq!(client.ping(), []);
    client.send_publish(&Publish::new("caf\u{E9}", "x"));
    assert_eq!(client.take().topic, "caf\u{E9}");
}

/// MQTT-4.7.2-1
fn wildcards_do_not_match_dollar_topics(version: Version) {
    let gateway = TestGateway::start();
    let mut client = gateway.connect(&Connect::new(version, "client")).0;
    client.subscribe_with(None, &[("#", 0), ("+/monitor/#", 0), ("+", 0)]);
    client.send_publish(&Publish::new("$own/monitor/x", "x"));
    client.send_publish(&Publish::new("$own", "x"));
    assert_eq!(client.ping(), []);
    client.subscribe("$own/monitor/+", 0);
    client.send_publish(&Publish::new("$own/monitor/x", "x"));
    assert_eq!(client.take().topic, "$own/monitor/x");
}

/// MQTT-1.5.4-3, and MQTT-1.5.3-3 of MQTT 3.1.1.
fn byte_order_mark_is_kept(version: Version) {
    let gateway = TestGateway::start();
    let mut client = gateway.connect(&Connect::new(version, "client")).0;
    client.subscribe("mark", 0);
    client.subscribe("\u{FEFF}mark", 0);
    client.send_publish(&Publish::new("\u{FEFF}mark", "x"));
    let found = client.ping();
    assert_eq!(
        found
            .iter()
            .map(|each| each.topic.as_str())
            .collect::<Vec<_>>(),
        ["\u{FEFF}mark"]
    );
}

/// MQTT-4.7.3-3
fn longest_topic_is_served(version: Version) {
    let gateway = TestGateway::start();
    let mut client = gateway.connect(&Connect::new(version, "client")).0;
    let topic = "t".repeat(65_535);
    client.subscribe("+", 0);
    client.send_publish(&Publish::new(&topic, "x"));
    assert!(client.take().topic == topic);
    client.unsubscribe(&["+"]);
    assert_eq!(client.subscribe(&topic, 0), 0);
    client.send_publish(&Publish::new(&topic, "x").retain());
    assert!(client.take().topic == topic);
}

fn many_levels_are_served(version: Version) {
    let gateway = TestGateway::start();
    let mut client = gateway.connect(&Connect::new(version, "client")).0;
    let topic = "a/".repeat(100);
    let filter = "+/".repeat(100) + "#";
    assert_eq!(client.subscribe(&filter, 0), 0);
    client.send_publish(&Publish::new(&topic, "x").retain());
    assert_eq!(client.take().topic, topic);
}

/// The names are mosquitto's, so that its tools work.
fn broker_topics_tell_about_the_broker(version: Version) {
    let gateway = TestGateway::start();
    let mut client = gateway.connect(&Connect::new(version, "client")).0;
    client.subscribe("$SYS/broker/version", 0);
    assert!(!client.take().payload.is_empty());
    client.subscribe("$SYS/#", 0);
    let topic = client.take().topic;
    assert!(topic.starts_with("$SYS/broker/"), "{topic}");
}
