//! Who gets a message, how often, and in what form.

use std::time::Duration;

use super::world::{Message, Opening, Received, World, packet_id, world, world_with};
use crate::broker::Next;
use crate::mqtt::{AckKind, QoS, ReasonCode, RetainHandling, SubscriptionOptions, Violation};

fn options(qos: QoS) -> SubscriptionOptions {
    SubscriptionOptions {
        qos,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::SendAtSubscribe,
    }
}

fn retain(world: &mut World, id: crate::broker::ConnectionId, topic: &str, payload: &str) {
    world
        .publish_with(id, topic, payload, 0, |parts| parts.retain = true)
        .unwrap();
}

#[test]
fn the_lower_qos_of_publication_and_subscription_counts() {
    for published in 0..=2 {
        for granted in 0..=2 {
            let mut world = world();
            let publisher = world.connect(&Opening::v5("p"));
            let subscriber = world.connect(&Opening::v5("s"));
            world.subscribe(subscriber, "t", granted);
            world.publish(publisher, "t", "x", published).unwrap();
            let message = world.messages(subscriber).remove(0);
            assert_eq!(message.qos, published.min(granted));
        }
    }
}

#[test]
fn a_qos_2_message_that_comes_twice_is_delivered_once() {
    let mut world = world();
    let publisher = world.connect(&Opening::v5("p"));
    let subscriber = world.connect(&Opening::v5("s"));
    world.subscribe(subscriber, "t", 2);
    world.publish(publisher, "t", "x", 2).unwrap();
    world
        .publish_with(publisher, "t", "x", 2, |parts| parts.dup = true)
        .unwrap();
    assert_eq!(world.messages(subscriber).len(), 1);
    let rec = Received::Ack(AckKind::PubRec, 100, ReasonCode::Success);
    assert_eq!(world.received(publisher), [rec.clone(), rec]);
    world.ack(publisher, AckKind::PubRel, 100);
    world.ack(publisher, AckKind::PubRel, 100);
    let comp = |reason| Received::Ack(AckKind::PubComp, 100, reason);
    let answers = [
        comp(ReasonCode::Success),
        comp(ReasonCode::PacketIdentifierNotFound),
    ];
    assert_eq!(world.received(publisher), answers);
    world.publish(publisher, "t", "y", 2).unwrap();
    assert_eq!(world.payloads(subscriber), ["y"]);
}

#[test]
fn overlapping_subscriptions_make_one_message_with_the_highest_qos_and_all_identifiers() {
    let mut world = world();
    let client = world.connect(&Opening::v5("c"));
    world.subscribe_with(client, "a/+", options(QoS::AtMostOnce), Some(7));
    world.subscribe_with(client, "a/#", options(QoS::AtLeastOnce), Some(9));
    world.subscribe_with(client, "+/b", options(QoS::AtMostOnce), None);
    world.publish(client, "a/b", "x", 2).unwrap();
    let messages = world.messages(client);
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].qos, 1);
    let mut identifiers = messages[0].identifiers.clone();
    identifiers.sort_unstable();
    assert_eq!(identifiers, [7, 9]);
}

#[test]
fn no_local_holds_back_what_the_client_published_itself_and_nothing_else() {
    let mut world = world();
    let one = world.connect(&Opening::v5("one"));
    let two = world.connect(&Opening::v5("two"));
    let no_local = SubscriptionOptions {
        no_local: true,
        ..options(QoS::AtMostOnce)
    };
    world.subscribe_with(one, "t", no_local, None);
    world.publish(one, "t", "own", 0).unwrap();
    world.publish(two, "t", "other", 0).unwrap();
    assert_eq!(world.payloads(one), ["other"]);
    // A second subscription without no local brings the own message as well.
    world.subscribe_with(one, "+", options(QoS::AtMostOnce), Some(3));
    world.publish(one, "t", "own", 0).unwrap();
    let message = world.messages(one).remove(0);
    assert_eq!(message.identifiers, [3]);
}

#[test]
fn wildcards_at_the_front_do_not_match_topics_of_the_broker() {
    let mut world = world();
    let client = world.connect(&Opening::v5("c"));
    for filter in ["#", "+/x", "$own/x"] {
        world.subscribe(client, filter, 0);
    }
    world.publish(client, "$own/x", "1", 0).unwrap();
    assert_eq!(world.messages(client).len(), 1);
    world.publish(client, "$other/x", "2", 0).unwrap();
    assert_eq!(world.messages(client).len(), 0);
}

#[test]
fn a_new_subscription_gets_retained_messages_and_a_known_one_only_if_it_asks() {
    let mut world = world();
    let client = world.connect(&Opening::v5("c"));
    retain(&mut world, client, "a/1", "one");
    retain(&mut world, client, "a/2", "two");
    world.subscribe(client, "a/+", 0);
    let messages = world.messages(client);
    assert!(messages.iter().all(|message| message.retain));
    assert_eq!(messages.len(), 2);
    let if_new = SubscriptionOptions {
        retain_handling: RetainHandling::SendIfNew,
        ..options(QoS::AtMostOnce)
    };
    world.subscribe_with(client, "a/+", if_new, None);
    assert_eq!(world.messages(client).len(), 0);
    world.subscribe(client, "a/+", 0);
    assert_eq!(world.messages(client).len(), 2);
    retain(&mut world, client, "a/1", "");
    assert_eq!(world.payloads(client), [""]);
    world.subscribe(client, "a/+", 0);
    assert_eq!(world.payloads(client), ["two"]);
}

#[test]
fn retain_as_published_keeps_the_flag_on_live_messages() {
    let mut world = world();
    let plain = world.connect(&Opening::v5("plain"));
    let kept = world.connect(&Opening::v5("kept"));
    world.subscribe(plain, "t", 0);
    let as_published = SubscriptionOptions {
        retain_as_published: true,
        ..options(QoS::AtMostOnce)
    };
    world.subscribe_with(kept, "t", as_published, None);
    retain(&mut world, plain, "t", "x");
    assert!(!world.messages(plain).remove(0).retain);
    assert!(world.messages(kept).remove(0).retain);
}

#[test]
fn all_retained_messages_reach_a_client_with_a_small_receive_maximum() {
    let mut world = world();
    let client = world.connect(&Opening::v5("c").receive_maximum(3));
    for number in 0..50 {
        world
            .publish_with(client, &format!("r/{number}"), "x", 1, |p| p.retain = true)
            .unwrap();
    }
    world.received(client);
    world.subscribe(client, "r/#", 1);
    let mut total = 0;
    loop {
        let messages = world.messages(client);
        if messages.is_empty() {
            break;
        }
        assert!(messages.len() <= 3);
        total += messages.len();
        for message in messages {
            world.ack(client, AckKind::PubAck, message.packet_id.unwrap());
        }
    }
    assert_eq!(total, 50);
}

#[test]
fn subscriptions_that_look_at_many_retained_topics_do_so_over_many_turns() {
    let mut world = world();
    let client = world.connect(&Opening::v5("c"));
    for number in 0..3000 {
        retain(&mut world, client, &format!("r{number}/b"), "x");
    }
    retain(&mut world, client, "z/last", "found");
    let sent = world.send_raw(client, |out, version| {
        let filters: Vec<String> = (0..50).map(|n| format!("+/c{n}")).collect();
        let filters = filters
            .iter()
            .map(|filter| (filter.as_str(), options(QoS::AtMostOnce)));
        let filters: Vec<_> = filters
            .chain([("+/last", options(QoS::AtMostOnce))])
            .collect();
        let none = crate::mqtt::UserProperties::default();
        crate::mqtt::encode::subscribe(out, version, packet_id(1), None, none, filters);
    });
    assert_eq!(sent, Ok(Next::Continue));
    assert!(
        world.broker.is_walking(client),
        "one turn does not do it all"
    );
    let mut turns = 0;
    while world.broker.is_walking(client) {
        world.collect(client);
        turns += 1;
    }
    assert!(turns > 20, "{turns}");
    world.run();
    assert_eq!(world.payloads(client), ["found"]);
}

#[test]
fn the_receive_maximum_of_the_client_bounds_what_is_under_way_and_order_holds() {
    let mut world = world();
    let publisher = world.connect(&Opening::v5("p"));
    let subscriber = world.connect(&Opening::v5("s").receive_maximum(2));
    world.subscribe(subscriber, "t", 1);
    for number in 0..6 {
        world
            .publish(publisher, "t", &number.to_string(), 1)
            .unwrap();
    }
    let mut payloads = Vec::new();
    for _ in 0..3 {
        let messages = world.messages(subscriber);
        assert_eq!(messages.len(), 2);
        for message in messages {
            payloads.push(String::from_utf8(message.payload).unwrap());
        }
        let id = u16::try_from(payloads.len()).unwrap();
        world.ack(subscriber, AckKind::PubAck, id - 1);
        world.ack(subscriber, AckKind::PubAck, id);
    }
    assert_eq!(payloads, ["0", "1", "2", "3", "4", "5"]);
}

#[test]
fn a_publisher_beyond_the_receive_maximum_is_disconnected() {
    let mut world = world_with(|limits| limits.receive_maximum = 1);
    let client = world.connect(&Opening::v5("c"));
    world.publish(client, "t", "x", 2).unwrap();
    world.ack(client, AckKind::PubRel, 100);
    world.publish(client, "t", "x", 2).unwrap();
    let second = world.publish_with(client, "t", "y", 2, |parts| {
        parts.packet_id = Some(packet_id(101));
    });
    assert_eq!(second, Err(Violation::ReceiveMaximumExceeded));
    let last = world.received(client).pop();
    let reason = ReasonCode::ReceiveMaximumExceeded;
    assert_eq!(last, Some(Received::Disconnect(reason)));
    assert!(world.is_closed(client));
}

#[test]
fn an_alias_stands_for_the_topic_it_was_set_to() {
    let mut world = world_with(|limits| limits.topic_alias_maximum = 2);
    let client = world.connect(&Opening::v5("c"));
    world.subscribe(client, "#", 0);
    let alias = |alias| {
        move |parts: &mut crate::mqtt::encode::PublishParts<'_>| {
            parts.topic_alias = Some(alias);
        }
    };
    world.publish_with(client, "a", "1", 0, alias(2)).unwrap();
    world.publish_with(client, "", "2", 0, alias(2)).unwrap();
    world.publish_with(client, "b", "3", 0, alias(2)).unwrap();
    world.publish_with(client, "", "4", 0, alias(2)).unwrap();
    let topics: Vec<String> = world
        .messages(client)
        .into_iter()
        .map(|m| m.topic)
        .collect();
    assert_eq!(topics, ["a", "a", "b", "b"]);
    let unknown = world.publish_with(client, "", "5", 0, alias(1));
    assert_eq!(unknown, Err(Violation::TopicAliasUnknown));
    let client = world.connect(&Opening::v5("d"));
    let above = world.publish_with(client, "a", "6", 0, alias(3));
    assert_eq!(above, Err(Violation::TopicAliasAboveMaximum));
}

#[test]
fn an_alias_never_makes_a_packet_larger_than_the_client_takes() {
    let mut world = world();
    let publisher = world.connect(&Opening::v5("p"));
    let mut opening = Opening::v5("s");
    opening.properties.topic_alias_maximum = 1;
    opening.properties.maximum_packet_size = Some(40);
    let subscriber = world.connect(&opening);
    world.subscribe(subscriber, "a", 0);
    // With topic and header 40 bytes; an alias would add three, or two where it replaces the topic.
    let full = "x".repeat(34);
    let mut aliases = Vec::new();
    for payload in [&*full, "small", &*full] {
        world.publish(publisher, "a", payload, 0).unwrap();
        let message = world.messages(subscriber).remove(0);
        aliases.push((message.topic, message.alias));
    }
    let expected = [("a", None), ("a", Some(1)), ("a", None)];
    assert_eq!(
        aliases,
        expected.map(|(topic, alias)| (topic.to_owned(), alias))
    );
}

#[test]
fn a_client_that_allows_aliases_is_sent_them() {
    let mut world = world();
    let mut opening = Opening::v5("c");
    opening.properties.topic_alias_maximum = 1;
    let client = world.connect(&opening);
    world.subscribe(client, "#", 0);
    for topic in ["long/topic", "long/topic", "other"] {
        world.publish(client, topic, "x", 0).unwrap();
    }
    let got: Vec<(String, Option<u16>)> = world
        .messages(client)
        .into_iter()
        .map(|message| (message.topic, message.alias))
        .collect();
    let expected = [("long/topic", Some(1)), ("", Some(1)), ("other", None)];
    assert_eq!(
        got,
        expected.map(|(topic, alias)| (topic.to_owned(), alias))
    );
}

#[test]
fn a_message_larger_than_the_client_takes_is_left_out_and_counts_as_done() {
    let mut world = world();
    let mut opening = Opening::v5("s").receive_maximum(1);
    opening.properties.maximum_packet_size = Some(40);
    let subscriber = world.connect(&opening);
    let publisher = world.connect(&Opening::v5("p"));
    world.subscribe(subscriber, "t", 1);
    world.publish(publisher, "t", &"x".repeat(50), 1).unwrap();
    world.publish(publisher, "t", "small", 1).unwrap();
    assert_eq!(world.payloads(subscriber), ["small"]);
    assert_eq!(world.broker.statistics().messages_too_large, 1);
}

#[test]
fn the_expiry_interval_counts_down_while_a_message_waits() {
    let mut world = world();
    let publisher = world.connect(&Opening::v5("p"));
    let opening = Opening::v5("s").durable(3600);
    let subscriber = world.connect(&opening);
    world.subscribe(subscriber, "t", 1);
    world.lose(subscriber);
    for (payload, expiry) in [("short", Some(5)), ("long", Some(60)), ("none", None)] {
        world
            .publish_with(publisher, "t", payload, 1, |parts| {
                parts.message_expiry_interval = expiry;
            })
            .unwrap();
    }
    world.advance(Duration::from_secs(10));
    let subscriber = world.connect(&opening);
    let got: Vec<Message> = world.messages(subscriber);
    assert_eq!(got.len(), 2);
    assert_eq!(
        (&got[0].payload[..], got[0].expiry),
        (&b"long"[..], Some(50))
    );
    assert_eq!(got[1].expiry, None);
    assert_eq!(world.broker.statistics().messages_expired, 1);
}

#[test]
fn publishing_to_the_topics_of_the_broker_is_denied() {
    let mut world = world();
    let client = world.connect(&Opening::v5("c"));
    world.publish(client, "$SYS/broker/uptime", "x", 1).unwrap();
    let denied = Received::Ack(AckKind::PubAck, 100, ReasonCode::NotAuthorized);
    assert_eq!(world.received(client), [denied]);
}

#[test]
fn sys_topics_say_what_is_going_on() {
    let mut world = world();
    let client = world.connect(&Opening::v5("c"));
    world.advance(Duration::from_secs(11));
    world.subscribe(client, "$SYS/broker/clients/connected", 0);
    world.subscribe(client, "$SYS/broker/uptime", 0);
    assert_eq!(world.payloads(client), ["1", "10 seconds"]);
}

#[test]
fn a_mount_point_keeps_its_clients_apart_and_out_of_sight() {
    let mut world = world();
    let outside = world.connect(&Opening::v5("c"));
    world.subscribe(outside, "#", 0);
    let mut port = (*world.port).clone();
    port.mount_point = "site/".into();
    world.port = port.into();
    let inside = world.connect(&Opening::v5("c"));
    assert!(
        !world.is_closed(outside),
        "the same identifier elsewhere is another client"
    );
    world.subscribe(inside, "a/#", 0);
    world.publish(inside, "a/b", "in", 0).unwrap();
    world.publish(outside, "a/b", "out", 0).unwrap();
    let seen_inside = world.messages(inside);
    assert_eq!(seen_inside.len(), 1);
    assert_eq!(seen_inside[0].topic, "a/b");
    let seen_outside: Vec<String> = world
        .messages(outside)
        .into_iter()
        .map(|m| m.topic)
        .collect();
    assert_eq!(seen_outside, ["site/a/b", "a/b"]);
    world.subscribe(inside, "#", 0);
    world.publish(outside, "site/$x/y", "hidden", 0).unwrap();
    assert_eq!(
        world.messages(inside).len(),
        0,
        "a wildcard does not match a topic with $ in front"
    );
}

#[test]
fn a_topic_with_dollar_behind_a_mount_point_is_found_by_its_name_alone() {
    let mut world = world();
    let mut port = (*world.port).clone();
    port.mount_point = "site/a/".into();
    world.port = port.into();
    let publisher = world.connect(&Opening::v5("p"));
    let by_name = world.connect(&Opening::v5("named"));
    let by_wildcard = world.connect(&Opening::v5("wild"));
    for filter in ["$own/x", "$own/+", "$share/g/$own/#"] {
        world.subscribe(by_name, filter, 0);
    }
    for filter in ["#", "+/x", "$share/g/#", "$share/g/+/x", "$SYS/#"] {
        world.subscribe(by_wildcard, filter, 0);
    }
    world
        .publish_with(publisher, "$own/x", "1", 1, |parts| parts.retain = true)
        .unwrap();
    let topics = |world: &mut World, id| -> Vec<String> {
        let messages = world.messages(id);
        messages.into_iter().map(|message| message.topic).collect()
    };
    assert_eq!(topics(&mut world, by_name), ["$own/x", "$own/x"]);
    world.advance(Duration::from_secs(60));
    assert_eq!(topics(&mut world, by_wildcard), [""; 0]);
    world.subscribe(by_wildcard, "#", 0);
    world.subscribe(by_wildcard, "+/x", 0);
    assert_eq!(topics(&mut world, by_wildcard), [""; 0]);
    world.subscribe(by_wildcard, "$own/#", 0);
    assert_eq!(topics(&mut world, by_wildcard), ["$own/x"]);
}

#[test]
fn a_publication_that_nobody_wants_says_so() {
    let mut world = world();
    let client = world.connect(&Opening::v5("c"));
    assert_eq!(world.publish(client, "t", "x", 1), Ok(Next::Continue));
    let answer = Received::Ack(AckKind::PubAck, 100, ReasonCode::NoMatchingSubscribers);
    assert_eq!(world.received(client), [answer]);
}

#[test]
fn what_a_port_does_not_offer_is_refused_by_its_reason_code() {
    let mut world = world_with(|limits| {
        limits.wildcard_subscription_available = false;
        limits.shared_subscription_available = false;
        limits.subscription_identifiers_available = false;
        limits.subscriptions_per_client_max = 2;
        limits.maximum_qos = QoS::AtLeastOnce;
        limits.retain_available = false;
    });
    let client = world.connect(&Opening::v5("c"));
    let reasons = [
        ("a", ReasonCode::GrantedQoS1),
        ("b", ReasonCode::GrantedQoS1),
        ("c", ReasonCode::QuotaExceeded),
        ("a", ReasonCode::GrantedQoS1),
    ];
    for (filter, reason) in reasons {
        assert_eq!(world.subscribe(client, filter, 2), reason, "{filter}");
    }
    let mut next = {
        let mut number = 0;
        move |world: &mut World| {
            number += 1;
            world.connect(&Opening::v5(["d", "e", "f", "g", "h"][number - 1]))
        }
    };
    let options = options(QoS::AtMostOnce);
    for (filter, identifier, violation) in [
        ("a/#", None, Violation::WildcardSubscriptionNotAvailable),
        (
            "$share/g/a",
            None,
            Violation::SharedSubscriptionNotAvailable,
        ),
        ("a", Some(1), Violation::SubscriptionIdentifierNotAvailable),
    ] {
        let client = next(&mut world);
        let result = world.send_subscribe(client, filter, options, identifier);
        assert_eq!(result, Err(violation));
        let told = Received::Disconnect(violation.reason());
        assert_eq!(world.received(client), [told]);
    }
    let client = next(&mut world);
    assert_eq!(
        world.publish(client, "a", "x", 2),
        Err(Violation::QoSAboveMaximum)
    );
    let client = next(&mut world);
    let retained = world.publish_with(client, "a", "x", 0, |parts| parts.retain = true);
    assert_eq!(retained, Err(Violation::RetainNotAvailable));
    // MQTT 3.1.1 has no words for what is available: each filter is answered.
    let client = world.connect(&Opening::v3("old"));
    for filter in ["a/#", "$share/g/a"] {
        assert_eq!(
            world.subscribe(client, filter, 0),
            ReasonCode::UnspecifiedError
        );
    }
}
