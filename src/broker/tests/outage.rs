//! Nobody can tell who may read: messages that were acknowledged wait, and whoever waits asks again in good time.

use std::time::Duration;

use super::asking::{options, publish_all, reading};
use super::authorization::{acks, asking, user};
use super::world::{World, world};
use crate::broker::{Asked, ConnectionId, Next};
use crate::mqtt::{AckKind, QoS, ReasonCode};

/// The back end is away for so long; returns how often somebody asked it.
fn outage(world: &mut World, seconds: u64) -> usize {
    let mut asked = world.cannot_tell();
    for _ in 0..seconds {
        world.advance(Duration::from_secs(1));
        asked += world.cannot_tell();
    }
    asked
}

/// The back end is there again, and says yes to all but `t/no`.
fn recover(world: &mut World) {
    world.advance(Duration::from_secs(30));
    while !world.questions.is_empty() {
        world.answer(60, |question| &*question.topic != "t/no");
    }
}

const MIXED: [(&str, &str, u8); 6] = [
    ("t/a", "1", 1),
    ("t/b", "2", 2),
    ("t/no", "3", 1),
    ("t/a", "4", 0),
    ("t/c", "5", 1),
    ("t/a", "6", 2),
];

#[test]
fn an_outage_of_the_back_end_costs_no_message_of_a_client_that_is_there() {
    for stored in [false, true] {
        let opening = user("r").durable(36_000);
        let (mut world, reader, publisher) = reading(&opening, stored);
        publish_all(&mut world, publisher, &MIXED);
        outage(&mut world, 600);
        assert!(world.messages(reader).is_empty());
        assert_eq!(world.broker.statistics().read_denials, 0);
        recover(&mut world);
        assert_eq!(world.payloads(reader), ["1", "2", "4", "5", "6"]);
        assert_eq!(world.broker.statistics().read_denials, 1);
    }
}

#[test]
fn an_outage_of_the_back_end_costs_no_message_of_a_client_that_comes_back() {
    for stored in [false, true] {
        let opening = user("r").durable(36_000);
        let (mut world, reader, publisher) = reading(&opening, stored);
        world.lose(reader);
        publish_all(&mut world, publisher, &MIXED);
        let mut reader = world.connect(&opening);
        outage(&mut world, 60);
        world.lose(reader);
        world.questions.clear();
        reader = world.connect(&opening);
        outage(&mut world, 60);
        assert!(world.messages(reader).is_empty());
        assert_eq!(world.broker.statistics().read_denials, 0);
        recover(&mut world);
        assert_eq!(world.payloads(reader), ["1", "2", "5", "6"]);
    }
}

#[test]
fn what_was_under_way_waits_for_the_back_end_and_stays_first() {
    for stored in [false, true] {
        let opening = user("r").durable(36_000);
        let (mut world, reader, publisher) = reading(&opening, stored);
        publish_all(&mut world, publisher, &[("t/a", "1", 1), ("t/a", "2", 2)]);
        world.answer(0, |_| true);
        assert_eq!(world.payloads(reader), ["1", "2"]);
        world.lose(reader);
        publish_all(&mut world, publisher, &[("t/b", "3", 1)]);
        let reader = world.connect(&opening);
        outage(&mut world, 60);
        assert!(world.messages(reader).is_empty());
        recover(&mut world);
        assert_eq!(world.payloads(reader), ["1", "2", "3"]);
    }
}

#[test]
fn retained_messages_wait_for_the_back_end() {
    let mut world = world();
    world.set_rules(asking(&["allow user=p publish=#"]));
    let publisher = world.connect(&user("p"));
    for topic in ["t/1", "t/2", "t/no"] {
        world
            .publish_with(publisher, topic, topic, 0, |parts| parts.retain = true)
            .unwrap();
    }
    let reader = world.connect(&user("r"));
    let options = options(QoS::AtLeastOnce);
    world.send_subscribe(reader, "t/+", options, None).unwrap();
    world.answer(0, |_| true);
    outage(&mut world, 60);
    assert!(world.messages(reader).is_empty());
    recover(&mut world);
    assert_eq!(world.payloads(reader), ["t/1", "t/2"]);
}

#[test]
fn a_back_end_that_is_away_is_asked_again_after_pauses_that_grow() {
    let (mut world, reader, publisher) = reading(&user("r"), false);
    publish_all(&mut world, publisher, &[("t/a", "1", 1)]);
    let asked: Vec<u64> = (0..120)
        .filter(|_| {
            let asked = world.cannot_tell();
            assert!(asked <= 1);
            world.advance(Duration::from_secs(1));
            asked > 0
        })
        .collect();
    assert_eq!(asked, [0, 1, 3, 7, 15, 31, 61, 91]);
    // A client that has gone asks no more.
    world.cannot_tell();
    world.lose(reader);
    assert_eq!(outage(&mut world, 60), 0);
}

#[test]
fn what_a_client_asks_for_is_denied_while_nobody_can_tell() {
    let (mut world, reader, _) = reading(&user("r"), false);
    for _ in 0..2 {
        assert_eq!(world.publish(reader, "t/a", "1", 1), Ok(Next::Ask));
        assert_eq!(world.cannot_tell(), 1);
        let denied = (AckKind::PubAck, ReasonCode::NotAuthorized);
        assert_eq!(acks(&mut world, reader), [denied]);
        world.advance(Duration::from_millis(1));
    }
}

#[test]
fn what_expires_while_nobody_can_tell_gives_way_to_nothing_unasked() {
    let opening = user("r").durable(36_000);
    let (mut world, reader, publisher) = reading(&opening, false);
    world
        .publish_with(publisher, "t/a", "1", 1, |parts| {
            parts.message_expiry_interval = Some(10);
        })
        .unwrap();
    publish_all(&mut world, publisher, &[("t/no", "2", 1), ("t/b", "3", 1)]);
    outage(&mut world, 15);
    recover(&mut world);
    assert_eq!(world.payloads(reader), ["3"]);
    assert_eq!(world.broker.statistics().messages_expired, 1);
}

/// Answers what was asked before with yes, and returns what is asked now.
fn answer_late(world: &mut World, change: impl FnOnce(&mut World)) -> Vec<String> {
    let late = std::mem::take(&mut world.questions);
    assert!(!late.is_empty());
    change(world);
    let now = world.now;
    for (id, asked) in late {
        let good_for = Duration::from_secs(60);
        world
            .broker
            .handle_acl_answer(id, &asked, Some(true), good_for, now);
        world.run();
    }
    let topic = |(_, asked): &(ConnectionId, Asked)| asked.question.topic.to_string();
    world.questions.iter().map(topic).collect()
}

#[test]
fn an_answer_by_rights_of_before_says_nothing() {
    let one = || asking(&["allow user=p publish=#", "allow user=x publish=x"]);
    let other = || asking(&["allow user=p publish=#", "allow user=x publish=y"]);
    let (mut world, reader, publisher) = reading(&user("r").durable(3600), false);
    publish_all(&mut world, publisher, &[("t/a", "1", 1), ("t/b", "2", 0)]);
    let asked = answer_late(&mut world, |world| {
        world.change_rules(one());
    });
    assert_eq!(asked, ["t/a"], "what is first asks again");
    assert!(world.messages(reader).is_empty());
    world.answer(60, |_| false);
    world.answer(60, |_| true);
    assert_eq!(world.payloads(reader), ["2"]);
    // Nor does one that is late by a pause.
    publish_all(&mut world, publisher, &[("t/c", "3", 1)]);
    world.cannot_tell();
    world.change_rules(other());
    assert_eq!(world.questions.len(), 1, "there is no pause after a change");
    world.answer(60, |_| true);
    assert_eq!(world.payloads(reader), ["3"]);
    world.advance(Duration::from_secs(2));
    assert!(world.questions.is_empty());
}

#[test]
fn a_packet_is_asked_about_again_if_rights_have_changed_meanwhile() {
    let (mut world, reader, _) = reading(&user("r"), false);
    assert_eq!(world.publish(reader, "t/a", "1", 1), Ok(Next::Ask));
    answer_late(&mut world, |world| {
        world.change_rules(asking(&[]));
    });
    // The link hands the packet over with the answers.
    world.answer(0, |_| false);
    assert!(acks(&mut world, reader).is_empty());
    world.answer(0, |_| false);
    let denied = (AckKind::PubAck, ReasonCode::NotAuthorized);
    assert_eq!(acks(&mut world, reader), [denied]);
}
