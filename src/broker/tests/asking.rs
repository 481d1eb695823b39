//! Somebody else is asked about what no rule decides: packets wait, messages are held, and nobody else notices.

use std::time::Duration;

use super::authorization::{acks, asking, user};
use super::power::stored_world;
use super::world::{Opening, Received, World, packet_id, world};
use crate::broker::{Asked, ConnectionId, Next};
use crate::mqtt::{AckKind, QoS, ReasonCode, RetainHandling, SubscriptionOptions, Violation};
use crate::policy::TopicAccess;

pub(super) fn options(qos: QoS) -> SubscriptionOptions {
    SubscriptionOptions {
        qos,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::SendAtSubscribe,
    }
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
    // Good for now only, so it is not remembered.
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
        let options = options(QoS::AtLeastOnce);
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
pub(super) fn reading(opening: &Opening, stored: bool) -> (World, ConnectionId, ConnectionId) {
    let mut world = if stored { stored_world() } else { world() };
    world.set_rules(asking(&["allow user=p publish=#"]));
    let reader = world.connect(opening);
    let options = options(QoS::ExactlyOnce);
    let asked = world.send_subscribe(reader, "t/#", options, None);
    assert_eq!(asked, Ok(Next::Ask));
    world.answer(0, |_| true);
    world.received(reader);
    let publisher = world.connect(&user("p"));
    (world, reader, publisher)
}

pub(super) fn publish_all(
    world: &mut World,
    publisher: ConnectionId,
    messages: &[(&str, &str, u8)],
) {
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
            .handle_acl_answer(id, &asked, Some(true), good_for, now);
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
    let options = options(QoS::AtLeastOnce);
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
    let options = options(QoS::AtLeastOnce);
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
