//! Who may do what, and what becomes of it when that changes.

use std::time::Duration;

use super::power::stored_world;
use super::world::{Opening, Received, World, packet_id, world};
use crate::broker::{Asked, ConnectionId, DeniedAction, Next, RefusalCause};
use crate::mqtt::{AckKind, QoS, ReasonCode, Violation, Will};
use crate::policy::testing::{principal, rule_set};
use crate::policy::{DeniedPublish, RuleSet, TopicAccess, WideSubscription};

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

fn asking(rules: &[&str]) -> RuleSet {
    RuleSet {
        asks: true,
        ..rule_set(rules)
    }
}

const EVERYTHING: &str = "allow connect=* publish=# subscribe=#";

fn user(name: &'static str) -> Opening {
    Opening::v5(name).principal(name)
}

fn acks(world: &mut World, id: ConnectionId) -> Vec<(AckKind, ReasonCode)> {
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

#[test]
fn a_publication_waits_for_the_answer_of_the_back_end() {
    let mut world = world();
    world.set_rules(asking(&["allow publish=known subscribe=#"]));
    let subscriber = world.connect(&user("s"));
    world.subscribe(subscriber, "#", 1);
    let publisher = world.connect(&user("p"));
    let before = world.broker.statistics();
    let next = world.publish_with(publisher, "t", "1", 1, |parts| parts.topic_alias = Some(1));
    assert_eq!(next, Ok(Next::Ask));
    assert_eq!(
        world.broker.statistics(),
        before,
        "it counts when it comes again"
    );
    assert_eq!(world.questions.len(), 1);
    assert_eq!(world.questions[0].1.question.access, TopicAccess::Write);
    assert!(world.questions[0].1.is_for_packet);
    world.answer(10, |question| &*question.topic == "t");
    assert_eq!(world.payloads(subscriber), ["1"]);
    assert_eq!(
        acks(&mut world, publisher),
        [(AckKind::PubAck, ReasonCode::Success)]
    );
    // Remembered, also by its alias.
    let next = world.publish_with(publisher, "", "2", 1, |parts| parts.topic_alias = Some(1));
    assert_eq!(next, Ok(Next::Continue));
    world.advance(Duration::from_secs(11));
    let next = world.publish_with(publisher, "", "3", 1, |parts| parts.topic_alias = Some(1));
    assert_eq!(next, Ok(Next::Ask));
    world.answer(0, |_| false);
    assert_eq!(acks(&mut world, publisher)[1].1, ReasonCode::NotAuthorized);
    // Nobody could tell, and that is not remembered.
    assert_eq!(world.publish(publisher, "t", "4", 0), Ok(Next::Continue));
    world.advance(Duration::from_millis(1));
    assert_eq!(world.publish(publisher, "t", "4", 0), Ok(Next::Ask));
    world.answer(0, |_| true);
    assert_eq!(world.payloads(subscriber), ["2", "4"]);
    assert_eq!(
        world.publish(publisher, "known", "5", 0),
        Ok(Next::Continue)
    );
}

#[test]
fn subscriptions_wait_for_the_answer_of_the_back_end() {
    let mut world = world();
    world.set_rules(asking(&["allow subscribe=known/#", "deny subscribe=never"]));
    let client = world.connect(&user("c"));
    let sent = world.send(client, |out, version| {
        let options = crate::mqtt::SubscriptionOptions {
            qos: QoS::AtLeastOnce,
            no_local: false,
            retain_as_published: false,
            retain_handling: crate::mqtt::RetainHandling::SendAtSubscribe,
        };
        let filters = ["known/1", "yes", "no", "never", "$share/g/yes"];
        let filters = filters.map(|filter| (filter, options));
        let properties = crate::mqtt::UserProperties::default();
        crate::mqtt::encode::subscribe(out, version, packet_id(1), None, properties, filters);
    });
    assert_eq!(sent, Ok(Next::Ask));
    let asked: Vec<_> = world
        .questions
        .iter()
        .map(|(_, asked)| &*asked.question.topic)
        .collect();
    assert_eq!(asked, ["yes", "no", "yes"]);
    world.answer(0, |question| &*question.topic == "yes");
    let (yes, no) = (ReasonCode::GrantedQoS1, ReasonCode::NotAuthorized);
    assert_eq!(
        world.received(client),
        [Received::SubAck(vec![yes, yes, no, no, yes])]
    );
}

#[test]
fn a_will_goes_by_the_answer_that_came_with_it() {
    let mut world = world();
    world.set_rules(asking(&[]));
    assert!(world.try_connect(&user("c").will("w", 0)).is_err());
    world.will_answer = Some(false);
    assert!(world.try_connect(&user("c").will("w", 0)).is_err());
    world.will_answer = Some(true);
    assert!(world.try_connect(&user("c").will("$SYS/w", 0)).is_err());
    world.connect(&user("c").will("w", 0));
}

/// A client that reads what the back end allows, subscribed to `t/#`, and a publisher that may do everything.
fn reading(opening: &Opening, stored: bool) -> (World, ConnectionId, ConnectionId) {
    let mut world = if stored { stored_world() } else { world() };
    world.set_rules(asking(&["allow user=p publish=#"]));
    let reader = world.connect(opening);
    let options = crate::mqtt::SubscriptionOptions {
        qos: QoS::ExactlyOnce,
        no_local: false,
        retain_as_published: false,
        retain_handling: crate::mqtt::RetainHandling::SendAtSubscribe,
    };
    let asked = world.send_subscribe(reader, "t/#", options, None);
    assert_eq!(asked, Ok(Next::Ask));
    world.answer(0, |_| true);
    world.received(reader);
    let publisher = world.connect(&user("p"));
    (world, reader, publisher)
}

fn publish_all(world: &mut World, publisher: ConnectionId, messages: &[(&str, &str, u8)]) {
    for (at, (topic, payload, qos)) in messages.iter().enumerate() {
        let packet = packet_id(1 + u16::try_from(at).unwrap());
        let sent = world.publish_with(publisher, topic, payload, *qos, |parts| {
            parts.packet_id = (*qos > 0).then_some(packet);
        });
        assert_eq!(sent, Ok(Next::Continue));
    }
}

#[test]
fn messages_are_held_in_order_until_it_is_known_whether_they_may_be_read() {
    let ephemeral = user("r");
    let durable = user("r").durable(3600);
    for (opening, stored) in [(&ephemeral, false), (&durable, false), (&durable, true)] {
        let (mut world, reader, publisher) = reading(opening, stored);
        publish_all(
            &mut world,
            publisher,
            &[
                ("t/a", "1", 0),
                ("t/b", "2", 1),
                ("t/no", "3", 0),
                ("t/a", "4", 1),
                ("t/no", "5", 1),
                ("t/a", "6", 0),
                ("t/c", "7", 2),
                ("t/b", "8", 0),
            ],
        );
        assert!(world.messages(reader).is_empty());
        let asked: Vec<_> = world
            .questions
            .iter()
            .map(|(_, asked)| asked.question.topic.to_string())
            .collect();
        assert_eq!(
            asked,
            ["t/a", "t/b", "t/no", "t/c"],
            "each topic is asked about once"
        );
        world.answer(60, |question| &*question.topic != "t/no");
        assert_eq!(world.payloads(reader), ["1", "2", "4", "6", "7", "8"]);
        assert_eq!(world.broker.statistics().read_denials, 2);
        // Known by now: nothing waits.
        publish_all(
            &mut world,
            publisher,
            &[("t/a", "9", 0), ("t/no", "10", 1), ("t/b", "11", 1)],
        );
        assert_eq!(world.payloads(reader), ["9", "11"]);
        assert!(world.questions.is_empty());
    }
}

#[test]
fn an_answer_lets_go_what_waits_for_it_and_nothing_behind() {
    let (mut world, reader, publisher) = reading(&user("r"), false);
    publish_all(
        &mut world,
        publisher,
        &[("t/a", "1", 0), ("t/b", "2", 1), ("t/a", "3", 0)],
    );
    let answer = |world: &mut World, topic: &str| {
        let asked = |(_, asked): &(_, Asked)| &*asked.question.topic == topic;
        let at = world.questions.iter().position(asked).unwrap();
        let (id, asked) = world.questions.remove(at);
        let (good_for, now) = (Duration::from_secs(60), world.now);
        world
            .broker
            .handle_acl_answer(id, &asked.question, true, good_for, now);
        world.run();
        world.payloads(reader)
    };
    assert_eq!(answer(&mut world, "t/a"), ["1"]);
    assert_eq!(answer(&mut world, "t/b"), ["2", "3"]);
}

#[test]
fn qos_0_that_is_held_has_a_bound_and_waits_for_no_acknowledgement() {
    let (mut world, reader, publisher) = reading(&user("r").receive_maximum(1), false);
    publish_all(
        &mut world,
        publisher,
        &[("t/a", "1", 1), ("t/a", "2", 1), ("t/a", "3", 0)],
    );
    world.answer(60, |_| true);
    assert_eq!(world.payloads(reader), ["1", "3"]);
    for _ in 0..1500 {
        world.publish(publisher, "t/new", "x", 0).unwrap();
    }
    assert_eq!(world.broker.statistics().messages_dropped, 500);
    world.answer(60, |_| true);
    assert_eq!(world.payloads(reader).len(), 1000);
}

#[test]
fn what_waits_for_an_answer_survives_the_connection() {
    let opening = user("r").durable(3600);
    for stored in [false, true] {
        let (mut world, reader, publisher) = reading(&opening, stored);
        publish_all(&mut world, publisher, &[("t/a", "1", 1), ("t/a", "2", 2)]);
        world.lose(reader);
        world.questions.clear();
        let reader = world.connect(&opening);
        assert!(world.messages(reader).is_empty());
        world.answer(60, |_| true);
        assert_eq!(world.payloads(reader), ["1", "2"]);
    }
}

#[test]
fn retained_messages_wait_for_their_answers() {
    let mut world = world();
    world.set_rules(asking(&["allow user=p publish=#"]));
    let publisher = world.connect(&user("p"));
    for topic in ["t/1", "t/2", "t/3"] {
        world
            .publish_with(publisher, topic, topic, 0, |parts| parts.retain = true)
            .unwrap();
    }
    let reader = world.connect(&user("r"));
    let options = crate::mqtt::SubscriptionOptions {
        qos: QoS::AtLeastOnce,
        no_local: false,
        retain_as_published: false,
        retain_handling: crate::mqtt::RetainHandling::SendAtSubscribe,
    };
    world.send_subscribe(reader, "t/+", options, None).unwrap();
    world.answer(0, |_| true);
    for _ in 0..3 {
        world.answer(60, |question| &*question.topic != "t/2");
    }
    assert_eq!(world.payloads(reader), ["t/1", "t/3"]);
}

#[test]
fn another_member_gets_what_the_chosen_one_may_not_read() {
    let mut world = world();
    world.set_rules(asking(&[
        "allow user=p publish=#",
        "allow user=b subscribe=t",
    ]));
    let a = world.connect(&user("a"));
    let options = crate::mqtt::SubscriptionOptions {
        qos: QoS::AtLeastOnce,
        no_local: false,
        retain_as_published: false,
        retain_handling: crate::mqtt::RetainHandling::SendAtSubscribe,
    };
    world
        .send_subscribe(a, "$share/g/t", options, None)
        .unwrap();
    world.answer(0, |_| true);
    let publisher = world.connect(&user("p"));
    publish_all(&mut world, publisher, &[("t", "1", 0), ("t", "2", 1)]);
    let b = world.connect(&user("b"));
    assert_eq!(world.subscribe(b, "$share/g/t", 1), ReasonCode::GrantedQoS1);
    publish_all(&mut world, publisher, &[("t", "3", 0)]);
    assert_eq!(world.payloads(b), ["3"], "whoever surely may comes first");
    world.answer(0, |_| false);
    assert_eq!(world.payloads(b), ["1", "2"]);
    assert!(world.messages(a).is_empty());
}

#[test]
fn a_client_that_waits_for_an_answer_is_not_silent() {
    let mut world = world();
    world.set_rules(asking(&[]));
    let mut opening = user("p");
    opening.keep_alive = 1;
    let publisher = world.connect(&opening);
    assert_eq!(world.publish(publisher, "t", "x", 0), Ok(Next::Ask));
    world.advance(Duration::from_secs(5));
    assert!(!world.is_closed(publisher));
    world.answer(0, |_| true);
    world.advance(Duration::from_secs(5));
    assert!(world.is_closed(publisher));
    let ended = Violation::KeepAliveTimeout;
    assert_eq!(ended.reason(), ReasonCode::KeepAliveTimeout);
}
