//! Who may do what, and what becomes of it when that changes.

use std::time::Duration;

use super::power::stored_world;
use super::world::{Opening, Received, World, world};
use crate::broker::{ConnectionId, DeniedAction, Next, RefusalCause};
use crate::mqtt::{AckKind, QoS, ReasonCode, Will};
use crate::policy::testing::{principal, rule_set};
use crate::policy::{DeniedPublish, RuleSet, WideSubscription};

fn world_of(rules: &[&str]) -> World {
    let mut world = world();
    world.set_rules(rule_set(rules));
    world
}

fn narrowing(rules: &[&str]) -> RuleSet {
    RuleSet {
        wide_subscription: WideSubscription::Narrow,
        ..rule_set(rules)
    }
}

pub(super) fn asking(rules: &[&str]) -> RuleSet {
    RuleSet {
        asks: true,
        ..rule_set(rules)
    }
}

const EVERYTHING: &str = "allow connect=* publish=# subscribe=#";

pub(super) fn user(name: &'static str) -> Opening {
    Opening::v5(name).principal(name)
}

pub(super) fn acks(world: &mut World, id: ConnectionId) -> Vec<(AckKind, ReasonCode)> {
    let received = world.received(id).into_iter();
    let acks = received.filter_map(|received| match received {
        Received::Ack(kind, _, reason) => Some((kind, reason)),
        _ => None,
    });
    acks.collect()
}

#[test]
fn a_client_connects_only_with_an_identifier_that_it_may_have() {
    let mut world = world_of(&["allow user=u connect=good-*"]);
    world.connect(&Opening::v5("good-1").principal("u"));
    let refused = world
        .try_connect(&Opening::v5("bad").principal("u"))
        .unwrap_err();
    assert_eq!(refused.reason, ReasonCode::NotAuthorized);
    assert_eq!(refused.cause, RefusalCause::NotAllowed);
    let refused = world.try_connect(&Opening::v5("good-2").principal("v"));
    assert_eq!(refused.unwrap_err().reason, ReasonCode::NotAuthorized);
    let denial = &world.denials[0];
    assert_eq!(
        (denial.action, &*denial.client_id),
        (DeniedAction::Connect, "bad")
    );
    assert_eq!(denial.rule, None);
    assert_eq!(world.broker.statistics().connect_denials, 2);
    assert_eq!(world.broker.statistics().authorization_denials, 2);
}

#[test]
fn a_session_of_another_principal_is_told_apart() {
    let mut world = world_of(&[EVERYTHING]);
    world.connect(&Opening::v5("c").principal("u").durable(60));
    let refused = world
        .try_connect(&Opening::v5("c").principal("v"))
        .unwrap_err();
    assert_eq!(refused.cause, RefusalCause::SessionOfAnother);
    assert_eq!(refused.reason, ReasonCode::NotAuthorized);
}

#[test]
fn a_will_needs_the_right_to_publish_it() {
    let rules = ["allow connect=* publish=w qos=1 retain=no"];
    let mut world = world_of(&rules);
    let opening = |topic, qos, retain| {
        let mut opening = user("c").will(topic, 0);
        opening.will = opening.will.map(|will| Will {
            qos,
            retain,
            ..will
        });
        opening
    };
    for (topic, qos, retain) in [
        ("x", QoS::AtMostOnce, false),
        ("w", QoS::ExactlyOnce, false),
        ("w", QoS::AtMostOnce, true),
        ("$SYS/w", QoS::AtMostOnce, false),
    ] {
        let refused = world.try_connect(&opening(topic, qos, retain)).unwrap_err();
        assert_eq!(refused.reason, ReasonCode::NotAuthorized);
    }
    world.connect(&opening("w", QoS::AtLeastOnce, false));
    assert_eq!(world.broker.statistics().publish_denials, 4);
    assert_eq!(world.denials[0].action, DeniedAction::Will);
}

#[test]
fn a_client_of_version_5_is_told_that_it_may_not_publish() {
    let mut world = world_of(&[EVERYTHING, "deny user=p publish=secret"]);
    let subscriber = world.connect(&user("s"));
    world.subscribe(subscriber, "#", 2);
    let publisher = world.connect(&user("p"));
    for qos in 0..3 {
        assert_eq!(
            world.publish(publisher, "secret", "x", qos),
            Ok(Next::Continue)
        );
    }
    assert_eq!(
        acks(&mut world, publisher),
        [
            (AckKind::PubAck, ReasonCode::NotAuthorized),
            (AckKind::PubRec, ReasonCode::NotAuthorized)
        ]
    );
    assert!(world.messages(subscriber).is_empty());
    let denial = &world.denials[2];
    assert_eq!(denial.rule.as_deref(), Some("deny user=p publish=secret"));
    assert_eq!((&*denial.topic, &*denial.port.endpoint), ("secret", "test"));
    // The identifier of the refused QoS 2 message is free for another one.
    world.publish(publisher, "open", "y", 2).unwrap();
    assert_eq!(world.payloads(subscriber), ["y"]);
}

#[test]
fn an_older_client_is_answered_or_closed_as_the_rules_say() {
    let mut set = rule_set(&["allow connect=*"]);
    let mut world = world();
    world.set_rules(set.clone());
    let publisher = world.connect(&Opening::v3("a"));
    world.publish(publisher, "t", "x", 1).unwrap();
    world.publish(publisher, "t", "x", 2).unwrap();
    assert_eq!(acks(&mut world, publisher).len(), 2);
    set.denied_publish = DeniedPublish::Disconnect;
    world.set_rules(set);
    for qos in 0..3 {
        let publisher = world.connect(&Opening::v3("b"));
        assert_eq!(world.publish(publisher, "t", "x", qos), Ok(Next::Close));
        assert!(world.is_closed(publisher));
    }
    let newer = world.connect(&user("c"));
    world.publish(newer, "t", "x", 1).unwrap();
    assert!(!world.is_closed(newer));
}

#[test]
fn a_subscription_is_granted_as_far_as_the_rules_go() {
    let mut world = world_of(&[
        "allow connect=* subscribe=a/#,$share qos=1",
        "deny subscribe=a/secret",
    ]);
    let v5 = world.connect(&user("a"));
    assert_eq!(world.subscribe(v5, "a/x", 2), ReasonCode::GrantedQoS1);
    assert_eq!(world.subscribe(v5, "a/x", 0), ReasonCode::Success);
    assert_eq!(
        world.subscribe(v5, "$share/g/a/x", 2),
        ReasonCode::GrantedQoS1
    );
    for filter in ["a/#", "a/+", "a/secret", "$share/g/a/+", "b", "#"] {
        assert_eq!(
            world.subscribe(v5, filter, 0),
            ReasonCode::NotAuthorized,
            "{filter}"
        );
    }
    let v3 = world.connect(&Opening::v3("b"));
    assert_eq!(world.subscribe(v3, "b", 0), ReasonCode::UnspecifiedError);
    assert_eq!(world.broker.statistics().subscribe_denials, 7);
    assert_eq!(&*world.denials[3].topic, "$share/g/a/+");
}

#[test]
fn rules_are_about_topics_without_the_mount_point() {
    let mut world = world_of(&["allow connect=* publish=t/# subscribe=t/#"]);
    let mut port = (*world.port).clone();
    port.mount_point = "site/".into();
    world.port = port.into();
    let client = world.connect(&user("a"));
    assert_eq!(world.subscribe(client, "t/+", 0), ReasonCode::Success);
    assert_eq!(
        world.subscribe(client, "site/t/+", 0),
        ReasonCode::NotAuthorized
    );
    world.publish(client, "t/1", "x", 0).unwrap();
    assert_eq!(world.payloads(client), ["x"]);
}

#[test]
fn a_narrowed_subscription_brings_only_what_may_be_read() {
    let mut world = world();
    world.set_rules(narrowing(&[
        "allow connect=* publish=# subscribe=a/+/state",
        "deny subscribe=a/x/#",
        "allow user=all subscribe=#",
    ]));
    let publisher = world.connect(&user("p"));
    world
        .publish_with(publisher, "a/y/state", "kept", 0, |parts| {
            parts.retain = true
        })
        .unwrap();
    world
        .publish_with(publisher, "a/y/secret", "kept", 0, |parts| {
            parts.retain = true
        })
        .unwrap();
    let reader = world.connect(&user("r"));
    assert_eq!(world.subscribe(reader, "a/#", 1), ReasonCode::GrantedQoS1);
    assert_eq!(world.payloads(reader), ["kept"]);
    for qos in 0..2 {
        for topic in ["a/y/state", "a/y/secret", "a/x/state", "a/z/state"] {
            world.publish(publisher, topic, topic, qos).unwrap();
            world.ack(reader, AckKind::PubAck, 1);
        }
    }
    let expected = ["a/y/state", "a/z/state", "a/y/state", "a/z/state"];
    assert_eq!(world.payloads(reader), expected);
    assert_eq!(world.broker.statistics().read_denials, 5);
    assert_eq!(world.subscribe(reader, "b/#", 1), ReasonCode::NotAuthorized);
}

#[test]
fn a_publisher_hears_that_nobody_may_read() {
    let mut world = world();
    world.set_rules(narrowing(&["allow connect=* publish=# subscribe=a"]));
    let reader = world.connect(&user("r"));
    world.subscribe(reader, "#", 1);
    let publisher = world.connect(&user("p"));
    world.publish(publisher, "b", "x", 1).unwrap();
    let expected = [(AckKind::PubAck, ReasonCode::NoMatchingSubscribers)];
    assert_eq!(acks(&mut world, publisher), expected);
}

#[test]
fn a_member_that_may_not_read_is_not_chosen() {
    let mut world = world();
    world.set_rules(narrowing(&[
        "allow connect=* publish=#",
        "allow user=a subscribe=t/a",
        "allow user=b subscribe=t/b",
    ]));
    let (a, b) = (world.connect(&user("a")), world.connect(&user("b")));
    for id in [a, b] {
        assert_eq!(
            world.subscribe(id, "$share/g/t/+", 1),
            ReasonCode::GrantedQoS1
        );
    }
    let publisher = world.connect(&user("p"));
    for _ in 0..3 {
        world.publish(publisher, "t/a", "a", 0).unwrap();
        world.publish(publisher, "t/b", "b", 1).unwrap();
    }
    assert_eq!(world.payloads(a), ["a"; 3]);
    assert_eq!(world.payloads(b), ["b"; 3]);
}

#[test]
fn what_was_queued_is_checked_when_the_client_comes_back() {
    let rules = [
        "allow connect=* publish=# subscribe=t/1,t/2",
        "deny subscribe=t/2",
    ];
    for is_stored in [false, true] {
        let mut world = if is_stored { stored_world() } else { world() };
        world.set_rules(rule_set(&rules[..1]));
        let opening = user("s").durable(3600);
        let subscriber = world.connect(&opening);
        world.subscribe(subscriber, "t/1", 1);
        world.subscribe(subscriber, "t/2", 2);
        world.lose(subscriber);
        let publisher = world.connect(&user("p"));
        for topic in ["t/1", "t/2", "t/1"] {
            world.publish(publisher, topic, topic, 2).unwrap();
            world.ack(publisher, AckKind::PubRel, 100);
        }
        world.set_rules(rule_set(&rules));
        let subscriber = world.connect(&opening);
        assert_eq!(world.payloads(subscriber), ["t/1", "t/1"]);
        assert_eq!(&*world.denials[0].topic, "t/2");
        assert_eq!(world.denials[0].rule.as_deref(), Some(rules[1]));
        world.publish(publisher, "t/2", "late", 1).unwrap();
        assert!(world.payloads(subscriber).is_empty());
        if is_stored {
            // What was removed is removed for good.
            world.settle();
            world.crash(false);
            world.set_rules(rule_set(&rules[..1]));
            let subscriber = world.connect(&opening);
            let publisher = world.connect(&user("p"));
            world.messages(subscriber);
            world.publish(publisher, "t/2", "later", 1).unwrap();
            assert!(world.payloads(subscriber).is_empty());
        }
    }
}

#[test]
fn what_was_under_way_is_not_sent_again_if_it_may_not_be_read() {
    let mut world = world_of(&["allow connect=* publish=# subscribe=#"]);
    let opening = user("s").durable(3600);
    let subscriber = world.connect(&opening);
    world.subscribe(subscriber, "#", 1);
    let publisher = world.connect(&user("p"));
    for topic in ["a", "b", "c"] {
        world.publish(publisher, topic, topic, 1).unwrap();
    }
    assert_eq!(world.payloads(subscriber).len(), 3);
    world.lose(subscriber);
    world.set_rules(narrowing(&[
        "allow connect=* subscribe=#",
        "deny subscribe=b",
    ]));
    let subscriber = world.connect(&opening);
    assert_eq!(world.payloads(subscriber), ["a", "c"]);
}

#[test]
fn a_rate_bounds_what_a_rule_allows() {
    let mut world = world_of(&[
        "allow connect=* publish=m messages=2",
        "allow publish=b bytes=10",
        "allow publish=free subscribe=#",
    ]);
    let subscriber = world.connect(&user("s"));
    world.subscribe(subscriber, "#", 0);
    let publisher = world.connect(&user("p"));
    for qos in [0, 0, 0, 1, 2] {
        world.publish(publisher, "m", "m", qos).unwrap();
    }
    assert_eq!(
        acks(&mut world, publisher),
        [
            (AckKind::PubAck, ReasonCode::QuotaExceeded),
            (AckKind::PubRec, ReasonCode::QuotaExceeded)
        ]
    );
    world.publish(publisher, "b", "1234567", 0).unwrap();
    world.publish(publisher, "b", "1234", 0).unwrap();
    world.publish(publisher, "b", "123", 0).unwrap();
    world.publish(publisher, "free", "f", 0).unwrap();
    assert_eq!(
        world.payloads(subscriber),
        ["m", "m", "1234567", "123", "f"]
    );
    assert_eq!(world.broker.statistics().rate_refusals, 4);
    assert_eq!(world.broker.statistics().authorization_denials, 0);
    // Another connection has a rate of its own.
    let other = world.connect(&user("q"));
    world.publish(other, "m", "m", 0).unwrap();
    world.advance(Duration::from_millis(500));
    world.publish(publisher, "m", "m", 0).unwrap();
    world.publish(publisher, "m", "m", 0).unwrap();
    assert_eq!(world.payloads(subscriber), ["m", "m"]);
}

#[test]
fn a_message_that_comes_twice_costs_its_rate_once() {
    let mut world = world_of(&["allow connect=* publish=m messages=2"]);
    let publisher = world.connect(&user("p"));
    for _ in 0..5 {
        world
            .publish_with(publisher, "m", "m", 2, |parts| parts.dup = true)
            .unwrap();
    }
    assert_eq!(world.broker.statistics().rate_refusals, 0);
}

#[test]
fn denials_are_noted_up_to_a_bound_and_counted_beyond() {
    let mut world = world_of(&["allow connect=*"]);
    let publisher = world.connect(&user("p"));
    for _ in 0..100 {
        world
            .send_raw(publisher, |out, version| {
                let parts = crate::mqtt::encode::PublishParts {
                    topic: "t",
                    payload: b"",
                    qos: QoS::AtMostOnce,
                    retain: false,
                    dup: false,
                    packet_id: None,
                    message_expiry_interval: None,
                    topic_alias: None,
                    subscription_identifiers: &[],
                    forwarded: &[],
                };
                crate::mqtt::encode::publish(out, version, &parts);
            })
            .unwrap();
    }
    let (denials, unnoted) = world.broker.take_denials();
    assert_eq!((denials.len(), unnoted), (64, 36));
    assert_eq!(world.broker.statistics().publish_denials, 100);
    world.run();
}

#[test]
fn a_change_touches_only_whom_it_concerns() {
    let before = [EVERYTHING, "allow user=u subscribe=x"];
    let mut world = world_of(&before);
    let kept = world.connect(&user("kept").will("w", 0));
    let gone = world.connect(&user("gone"));
    let narrowed = world.connect(&user("u"));
    for id in [kept, gone, narrowed] {
        world.subscribe(id, "t/#", 1);
        world.subscribe(id, "x", 1);
    }
    world.publish(kept, "t/1", "before", 1).unwrap();
    let same = world.change_rules(rule_set(&before));
    assert_eq!(same.reviewed, 0);
    let review = world.change_rules(rule_set(&[
        EVERYTHING,
        "deny user=gone connect=*",
        "deny user=u subscribe=t/#",
    ]));
    assert_eq!(review.reviewed, 3);
    assert_eq!(review.disconnected, ["gone".into()]);
    let expected = ("u".into(), "t/#".into());
    assert!(review.unsubscribed.contains(&expected));
    assert_eq!(review.unsubscribed.len(), 1);
    assert!(review.wills_removed.is_empty());
    assert!(world.is_closed(gone) && !world.is_closed(kept) && !world.is_closed(narrowed));
    let said = world.received(gone);
    assert_eq!(
        said.last(),
        Some(&Received::Disconnect(ReasonCode::NotAuthorized))
    );
    world.publish(kept, "t/1", "after", 1).unwrap();
    world.publish(kept, "x", "x", 0).unwrap();
    assert_eq!(world.payloads(kept), ["before", "after", "x"]);
    assert_eq!(world.payloads(narrowed), ["before", "x"]);
    // The right that was taken is given back, and the subscription is the client's to make.
    world.change_rules(rule_set(&[EVERYTHING]));
    assert_eq!(world.subscribe(narrowed, "t/#", 1), ReasonCode::GrantedQoS1);
}

#[test]
fn a_decision_is_not_remembered_over_a_change() {
    let mut world = world_of(&[EVERYTHING]);
    let publisher = world.connect(&user("p"));
    world.publish(publisher, "t", "x", 1).unwrap();
    world.change_rules(rule_set(&["allow connect=*"]));
    world.publish(publisher, "t", "x", 1).unwrap();
    let reasons: Vec<_> = acks(&mut world, publisher)
        .into_iter()
        .map(|(_, reason)| reason)
        .collect();
    assert_eq!(
        reasons,
        [ReasonCode::NoMatchingSubscribers, ReasonCode::NotAuthorized]
    );
}

#[test]
fn rules_come_to_a_port_that_had_none_and_go_again() {
    let mut world = world();
    let client = world.connect(&user("c"));
    world.subscribe(client, "#", 1);
    let without = std::sync::Arc::clone(&world.port);
    let review = world.change_rules(narrowing(&["allow connect=* publish=a,b subscribe=a"]));
    assert!(review.unsubscribed.is_empty());
    for topic in ["a", "b", "c"] {
        world.publish(client, topic, topic, 0).unwrap();
    }
    assert_eq!(world.payloads(client), ["a"]);
    let now = world.now;
    world
        .broker
        .handle_policy_changed("test", &without, 0..9, now);
    world.run();
    world.publish(client, "c", "c", 0).unwrap();
    assert_eq!(world.payloads(client), ["c"]);
}

#[test]
fn a_change_reaches_sessions_that_are_away() {
    let mut world = world_of(&[EVERYTHING]);
    let away = world.connect(&user("away").durable(3600).will("w", 60));
    world.subscribe(away, "t", 1);
    world.lose(away);
    let review = world.change_rules(rule_set(&["allow connect=* publish=t subscribe=w"]));
    assert_eq!(review.wills_removed, ["away".into()]);
    assert_eq!(review.unsubscribed, [("away".into(), "t".into())]);
    let watcher = world.connect(&user("watcher"));
    world.subscribe(watcher, "w", 0);
    world.advance(Duration::from_secs(100));
    assert!(world.messages(watcher).is_empty());
}

#[test]
fn a_queue_that_is_waiting_is_checked_after_a_change() {
    let mut world = world_of(&[EVERYTHING]);
    let reader = world.connect(&user("r").receive_maximum(1));
    world.subscribe(reader, "+", 1);
    let publisher = world.connect(&user("p"));
    for topic in ["a", "b", "c"] {
        world.publish(publisher, topic, topic, 1).unwrap();
    }
    world.change_rules(narrowing(&[EVERYTHING, "deny user=r subscribe=b"]));
    world.ack(reader, AckKind::PubAck, 1);
    assert_eq!(world.payloads(reader), ["a", "c"]);
}

#[test]
fn attributes_that_change_change_rights() {
    let rules = [
        "allow attr=floor:1 connect=* publish=a subscribe=a",
        "allow attr=floor:2 connect=* subscribe=b",
    ];
    let mut world = world_of(&rules);
    let mut opening = user("u");
    opening.attributes = "floor:1";
    let client = world.connect(&opening);
    world.subscribe(client, "a", 0);
    let now = world.now;
    let same = world
        .broker
        .handle_principal_changed(client, principal("u", "floor:1"), now);
    assert_eq!(same.reviewed, 0);
    let review = world
        .broker
        .handle_principal_changed(client, principal("u", "floor:2"), now);
    world.run();
    assert_eq!(review.unsubscribed, [("u".into(), "a".into())]);
    assert!(!world.is_closed(client));
    assert_eq!(world.subscribe(client, "b", 0), ReasonCode::Success);
    let review = world
        .broker
        .handle_principal_changed(client, principal("v", "floor:2"), now);
    world.run();
    assert_eq!(review.disconnected, ["u".into()]);
    assert!(world.is_closed(client));
}
