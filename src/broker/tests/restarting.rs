//! What a process that starts anew makes of what is on the disk.

use std::time::Duration;

use super::power::{stored_world, stored_world_with};
use super::world::{Message, Opening, World, packet_id};
use crate::broker::ConnectionId;
use crate::mqtt::{AckKind, QoS, ReasonCode};

fn durable(name: &'static str) -> Opening {
    Opening::v5(name).durable(3600)
}

fn acknowledge_all(world: &mut World, id: ConnectionId) -> Vec<Message> {
    let mut all = Vec::new();
    loop {
        let messages = world.messages(id);
        if messages.is_empty() {
            return all;
        }
        for message in messages {
            let packet = message.packet_id.unwrap();
            if message.qos == 1 {
                world.ack(id, AckKind::PubAck, packet);
            } else {
                world.ack(id, AckKind::PubRec, packet);
                world.ack(id, AckKind::PubComp, packet);
            }
            all.push(message);
        }
    }
}

#[test]
fn sessions_subscriptions_and_messages_are_there_after_a_restart() {
    let mut world = stored_world();
    world.absent_subscriber(&durable("s"));
    let publisher = world.connect(&Opening::v5("p"));
    for number in 1..=5 {
        world.tell(publisher, &number.to_string(), 1, number);
    }
    world.restart();
    assert_eq!(world.broker.statistics().sessions, 1);
    assert_eq!(world.broker.statistics().queued_bytes, 0);
    let subscriber = world.try_connect(&durable("s")).unwrap();
    let publisher = world.connect(&Opening::v5("p"));
    world.tell(publisher, "6", 2, 6);
    let received = world.brief(subscriber);
    assert_eq!(received[0], "CONNACK true");
    let expected = ["1", "2", "3", "4", "5", "6"].map(|n| format!("PUBLISH {n}"));
    assert_eq!(received[1..], expected);
}

#[test]
fn what_was_sent_comes_again_with_dup_and_the_same_identifier() {
    for is_restart in [false, true] {
        let mut world = stored_world();
        let opening = durable("s").receive_maximum(3);
        let subscriber = world.subscriber(&opening);
        let publisher = world.connect(&Opening::v5("p"));
        for number in 1..=6 {
            world.tell(publisher, &number.to_string(), 1 + number as u8 % 2, number);
        }
        let first = world.messages(subscriber);
        assert_eq!(first.len(), 3);
        if is_restart {
            world.restart();
        } else {
            world.lose(subscriber);
        }
        let subscriber = world.connect(&opening);
        let again = acknowledge_all(&mut world, subscriber);
        assert_eq!(again.len(), 6);
        for (number, message) in again.iter().enumerate() {
            // A process that starts does not know how much its forerunner has sent.
            assert_eq!(message.dup, is_restart || number < 3, "{message:?}");
            assert_eq!(message.packet_id, Some(number as u16 + 1));
        }
        world.settle();
        assert!(world.disk().payloads("s").is_empty());
    }
}

#[test]
fn what_may_have_been_sent_before_a_restart_has_dup_however_late_it_is_sent() {
    let mut world = stored_world();
    let subscriber = world.subscriber(&durable("s").receive_maximum(6));
    let publisher = world.connect(&Opening::v5("p"));
    for number in 1..=6 {
        world.tell(publisher, &number.to_string(), 1, number);
    }
    assert_eq!(world.messages(subscriber).len(), 6);
    world.restart();
    let opening = durable("s").receive_maximum(2);
    let subscriber = world.connect(&opening);
    assert_eq!(world.messages(subscriber).len(), 2);
    world.lose(subscriber);
    let subscriber = world.connect(&opening);
    let again = acknowledge_all(&mut world, subscriber);
    assert_eq!(again.len(), 6);
    assert!(again.iter().all(|message| message.dup));
    // What comes later was never sent.
    world.lose(subscriber);
    let publisher = world.connect(&Opening::v5("p"));
    world.tell(publisher, "new", 1, 1);
    let subscriber = world.connect(&opening);
    assert_eq!(world.brief(subscriber), ["PUBLISH new"]);
}

#[test]
fn a_smaller_receive_maximum_holds_after_a_restart() {
    let mut world = stored_world();
    let subscriber = world.subscriber(&durable("s"));
    let publisher = world.connect(&Opening::v5("p"));
    for number in 1..=5 {
        world.tell(publisher, &number.to_string(), 1, number);
    }
    assert_eq!(world.messages(subscriber).len(), 5);
    world.restart();
    let subscriber = world.connect(&durable("s").receive_maximum(2));
    let publisher = world.connect(&Opening::v5("p"));
    world.tell(publisher, "6", 1, 6);
    let mut payloads = Vec::new();
    for _ in 0..3 {
        let messages = world.messages(subscriber);
        assert_eq!(messages.len(), 2);
        for message in messages {
            world.ack(subscriber, AckKind::PubAck, message.packet_id.unwrap());
            payloads.push(String::from_utf8(message.payload).unwrap());
        }
    }
    assert_eq!(payloads, ["1", "2", "3", "4", "5", "6"]);
}

/// A publisher sends one message exactly once, and the process dies after `steps` of its packets were answered. It goes on
/// where it was; the message arrives once.
#[test]
fn a_publisher_goes_on_with_an_exchange_after_a_restart() {
    for is_written in [false, true] {
        for steps in 0..4 {
            let mut world = stored_world();
            world.absent_subscriber(&durable("s"));
            let mut publisher = world.connect(&durable("p"));
            world.hold_store();
            let mut expected = "PubRec 7";
            for step in 0..4 {
                match expected {
                    "PubRec 7" => world.tell(publisher, "x", 2, 7),
                    _ => world.ack(publisher, AckKind::PubRel, 7),
                }
                world.take_batch();
                if step == steps {
                    world.crash(is_written);
                    world.store().is_prompt = true;
                    publisher = world.connect(&durable("p"));
                    world.hold_store();
                    continue;
                }
                if world.is_taken() {
                    world.confirm();
                }
                let received = world.brief(publisher);
                assert!(received[0].starts_with(expected), "{received:?}");
                if expected == "PubComp 7" {
                    break;
                }
                expected = "PubComp 7";
            }
            world.settle();
            assert_eq!(world.disk().payloads("s"), ["x"], "{steps} {is_written}");
            assert!(world.disk().of("p").unwrap().received.is_empty());
        }
    }
}

/// A subscriber gets one message exactly once, and the process dies after `steps` of its packets.
#[test]
fn a_subscriber_goes_on_with_an_exchange_after_a_restart() {
    for is_written in [false, true] {
        for steps in 0..3 {
            let mut world = stored_world();
            let mut subscriber = world.subscriber(&durable("s"));
            let publisher = world.connect(&Opening::v5("p"));
            world.tell(publisher, "x", 2, 9);
            let mut has_message = false;
            let mut copies = 0;
            let mut is_over = false;
            for step in 0..5 {
                world.hold_store();
                for received in world.received(subscriber) {
                    match super::power::brief(&[received])[0].as_str() {
                        "PUBLISH x" | "PUBLISH x again" => {
                            copies += usize::from(!has_message);
                            has_message = true;
                            world.ack(subscriber, AckKind::PubRec, 1);
                        }
                        "PubRel 1" => {
                            has_message = false;
                            is_over = true;
                            world.ack(subscriber, AckKind::PubComp, 1);
                        }
                        _ => {}
                    }
                }
                world.take_batch();
                if step == steps {
                    world.crash(is_written);
                    world.store().is_prompt = true;
                    subscriber = world.connect(&durable("s"));
                } else if world.is_taken() {
                    world.confirm();
                }
            }
            world.settle();
            assert!(is_over, "{steps} {is_written}");
            assert_eq!(copies, 1, "{steps} {is_written}");
            assert!(world.disk().of("s").unwrap().deliveries.is_empty());
        }
    }
}

#[test]
fn a_number_that_was_sent_is_not_given_to_another_message_after_a_restart() {
    let mut world = stored_world();
    let opening = durable("s");
    let subscriber = world.subscriber(&opening);
    let publisher = world.connect(&Opening::v5("p"));
    for number in 1..=4 {
        world.tell(publisher, "old", 1, number);
    }
    assert_eq!(acknowledge_all(&mut world, subscriber).len(), 4);
    world.lose(subscriber);
    world.restart();
    let subscriber = world.connect(&opening);
    let publisher = world.connect(&Opening::v5("p"));
    world.tell(publisher, "new", 1, 1);
    let message = world.messages(subscriber).remove(0);
    assert_eq!((message.packet_id, message.dup), (Some(5), false));
    world.lose(subscriber);
    world.tell(publisher, "newer", 1, 2);
    let subscriber = world.connect(&opening);
    assert_eq!(
        world.brief(subscriber),
        ["PUBLISH new again", "PUBLISH newer"]
    );
}

#[test]
fn a_delayed_will_is_published_after_a_restart() {
    for (delay, wait) in [(0, 0), (30, 29)] {
        let mut world = stored_world();
        world.absent_subscriber(&durable("s"));
        world.connect(&durable("c").will("t", delay));
        world.restart();
        let subscriber = world.connect(&durable("s"));
        world.advance(Duration::from_secs(wait));
        assert_eq!(world.messages(subscriber).len(), usize::from(delay == 0));
        world.advance(Duration::from_secs(2));
        assert_eq!(world.messages(subscriber).len(), usize::from(delay > 0));
        // It was published for good.
        world.restart();
        world.advance(Duration::from_secs(100));
        let subscriber = world.connect(&durable("s"));
        let again = world.messages(subscriber);
        assert!(again.iter().all(|message| message.dup), "{again:?}");
        assert_eq!(again.len(), 1);
    }
}

#[test]
fn the_delay_of_a_will_goes_on_over_a_restart() {
    let mut world = stored_world();
    let client = world.connect(&durable("c").will("t", 30));
    world.lose(client);
    world.advance(Duration::from_secs(20));
    let other = world.connect(&durable("s"));
    world.subscribe(other, "t", 1);
    world.restart();
    let subscriber = world.connect(&durable("s"));
    world.advance(Duration::from_secs(9));
    assert_eq!(world.messages(subscriber).len(), 0);
    world.advance(Duration::from_secs(2));
    assert_eq!(world.messages(subscriber).len(), 1);
}

#[test]
fn a_client_that_comes_back_takes_its_will_away_after_a_restart_as_well() {
    let mut world = stored_world();
    let client = world.connect(&durable("c").will("t", 30));
    world.lose(client);
    world.absent_subscriber(&durable("s"));
    world.restart();
    world.connect(&durable("c"));
    world.restart();
    world.advance(Duration::from_secs(100));
    let subscriber = world.connect(&durable("s"));
    assert_eq!(world.messages(subscriber).len(), 0);
}

#[test]
fn a_normal_disconnect_forgets_the_will_on_the_disk() {
    let mut world = stored_world();
    let client = world.connect(&durable("c").will("t", 30));
    world.absent_subscriber(&durable("s"));
    world.disconnect(client, ReasonCode::Success);
    // The store was told at once.
    world.crash(false);
    world.advance(Duration::from_secs(100));
    let subscriber = world.connect(&durable("s"));
    assert_eq!(world.messages(subscriber).len(), 0);
}

#[test]
fn a_clean_start_removes_everything_for_good() {
    let mut world = stored_world();
    world.absent_subscriber(&durable("s"));
    let publisher = world.connect(&Opening::v5("p"));
    world.tell(publisher, "x", 2, 1);
    let mut opening = durable("s");
    opening.clean_start = true;
    let subscriber = world.try_connect(&opening).unwrap();
    assert_eq!(world.brief(subscriber), ["CONNACK false"]);
    assert_eq!(world.broker.clients.pending.stored_bytes, 0);
    world.crash(false);
    let subscriber = world.try_connect(&durable("s")).unwrap();
    assert_eq!(world.brief(subscriber), ["CONNACK true"]);
    let publisher = world.connect(&Opening::v5("p"));
    world.tell(publisher, "y", 1, 1);
    assert_eq!(world.brief(publisher), ["PubAck 1 NoMatchingSubscribers"]);
}

#[test]
fn a_session_that_was_resumed_without_an_expiry_interval_ends_with_its_connection() {
    for is_restart in [false, true] {
        let mut world = stored_world();
        world.absent_subscriber(&durable("s"));
        let publisher = world.connect(&Opening::v5("p"));
        for number in 1..=5 {
            world.tell(publisher, "x", 1, number);
        }
        let mut opening = Opening::v5("s").receive_maximum(2);
        opening.clean_start = false;
        let subscriber = world.try_connect(&opening).unwrap();
        assert_eq!(
            world.brief(subscriber),
            ["CONNACK true", "PUBLISH x", "PUBLISH x"]
        );
        world.tell(publisher, "y", 1, 6);
        if is_restart {
            world.restart();
        } else {
            world.lose(subscriber);
        }
        world.settle();
        assert_eq!(world.broker.statistics().sessions, u64::from(!is_restart));
        assert!(world.disk().of("s").is_none());
        assert_eq!(world.broker.clients.pending.stored_bytes, 0);
    }
}

#[test]
fn a_session_expires_over_a_restart() {
    let mut world = stored_world();
    let opening = Opening::v5("s").durable(60);
    world.absent_subscriber(&opening);
    world.connect(&Opening::v5("connected").durable(60));
    world.advance(Duration::from_secs(40));
    world.connect(&Opening::v5("other").durable(3600));
    world.restart();
    assert_eq!(world.broker.statistics().sessions, 3);
    world.advance(Duration::from_secs(21));
    assert_eq!(world.broker.statistics().sessions, 2);
    world.settle();
    assert!(world.disk().of("s").is_none());
    // The one that was connected has lost its connection with the process.
    world.advance(Duration::from_secs(40));
    assert_eq!(world.broker.statistics().sessions, 1);
}

#[test]
fn the_expiry_of_a_session_goes_on_over_several_restarts() {
    let mut world = stored_world();
    world.connect(&Opening::v5("s").durable(60));
    for _ in 0..3 {
        world.advance(Duration::from_secs(15));
        world.connect(&Opening::v5("other").durable(3600));
        world.restart();
    }
    world.advance(Duration::from_secs(50));
    world.settle();
    assert!(world.disk().of("s").is_none());
}

#[test]
fn retained_messages_are_set_cleared_and_expired_for_good() {
    let mut world = stored_world();
    let publisher = world.connect(&Opening::v5("p"));
    let mut retain = |topic: &str, payload: &str, expiry| {
        world
            .publish_with(publisher, topic, payload, 1, |parts| {
                parts.retain = true;
                parts.message_expiry_interval = expiry;
            })
            .unwrap();
    };
    retain("r/set", "old", None);
    retain("r/set", "new", None);
    retain("r/cleared", "x", None);
    retain("r/cleared", "", None);
    retain("r/short", "x", Some(20));
    retain("r/long", "x", Some(100));
    world.restart();
    world.advance(Duration::from_secs(30));
    world.settle();
    let topics: Vec<_> = world.disk().retained.keys().cloned().collect();
    assert_eq!(topics, ["r/long".into(), "r/set".into()]);
    let subscriber = world.connect(&durable("s"));
    world.subscribe(subscriber, "r/+", 1);
    let messages = world.messages(subscriber);
    assert_eq!(messages.len(), 2);
    assert_eq!(messages[0].expiry, Some(70));
    assert_eq!(messages[1].payload, b"new");
    assert!(messages.iter().all(|message| message.retain));
}

#[test]
fn a_message_expires_on_the_disk_unless_it_was_sent() {
    let mut world = stored_world();
    let opening = durable("s").receive_maximum(1);
    let subscriber = world.subscriber(&opening);
    let publisher = world.connect(&Opening::v5("p"));
    for (payload, expiry) in [("sent", 10), ("expires", 10), ("lasts", 100)] {
        world
            .publish_with(publisher, "t", payload, 2, |parts| {
                parts.message_expiry_interval = Some(expiry);
                parts.packet_id = Some(packet_id(payload.len() as u16));
            })
            .unwrap();
    }
    assert_eq!(world.brief(subscriber), ["PUBLISH sent"]);
    world.lose(subscriber);
    world.advance(Duration::from_secs(20));
    world.restart();
    let subscriber = world.connect(&opening);
    let messages = acknowledge_all(&mut world, subscriber);
    let told: Vec<_> = messages.iter().map(|m| (&*m.payload, m.dup)).collect();
    assert_eq!(told, [(&b"sent"[..], true), (&b"lasts"[..], false)]);
    world.settle();
    assert_eq!(world.broker.clients.pending.stored_bytes, 0);
}

#[test]
fn a_shared_subscription_keeps_what_its_stored_member_has() {
    let mut world = stored_world_with(|limits| limits.port.queue_messages_per_client_max = 50);
    let publisher = world.connect(&Opening::v5("p"));
    let member = world.connect(&durable("m"));
    world.subscribe(member, "$share/g/t", 1);
    world.lose(member);
    for number in 1..=3 {
        world.tell(publisher, &number.to_string(), 1, number);
    }
    world.restart();
    let publisher = world.connect(&Opening::v5("p"));
    world.tell(publisher, "4", 1, 4);
    let member = world.connect(&durable("m"));
    let expected = ["1", "2", "3", "4"].map(|number| format!("PUBLISH {number}"));
    assert_eq!(world.brief(member), expected);
}

#[test]
fn what_a_stored_member_was_not_sent_goes_to_one_that_is_here_or_stays_in_its_place() {
    for has_other in [false, true] {
        let mut world = stored_world();
        let publisher = world.connect(&Opening::v5("p"));
        let opening = durable("m").receive_maximum(1);
        let member = world.connect(&opening);
        world.subscribe(member, "$share/g/t", 1);
        for number in 1..=3 {
            world.tell(publisher, &number.to_string(), 1, number);
        }
        assert_eq!(world.brief(member)[1..], ["PUBLISH 1"][1..]);
        let other = has_other.then(|| {
            let other = world.connect(&Opening::v5("other"));
            world.subscribe(other, "$share/g/t", 1);
            other
        });
        world.lose(member);
        if let Some(other) = other {
            assert_eq!(world.brief(other), ["PUBLISH 2", "PUBLISH 3"]);
        }
        world.restart();
        let member = world.connect(&opening);
        let payloads: Vec<_> = acknowledge_all(&mut world, member)
            .into_iter()
            .map(|message| String::from_utf8(message.payload).unwrap())
            .collect();
        let expected: &[&str] = if has_other { &["1"] } else { &["1", "2", "3"] };
        assert_eq!(payloads, expected);
    }
}

#[test]
fn a_mount_point_and_the_options_of_a_subscription_are_kept() {
    let mut world = stored_world();
    let mut port = (*world.port).clone();
    port.mount_point = "plant/".into();
    world.port = std::sync::Arc::new(port);
    let client = world.connect(&durable("s"));
    let options = crate::mqtt::SubscriptionOptions {
        qos: QoS::AtLeastOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: crate::mqtt::RetainHandling::DoNotSend,
    };
    world.subscribe_with(client, "+/x", options, Some(7));
    world.subscribe(client, "$share/g/s", 1);
    world.restart();
    let client = world.connect(&durable("s"));
    let publisher = world.connect(&Opening::v5("p"));
    world.publish(client, "a/x", "own", 1).unwrap();
    world
        .publish_with(publisher, "a/x", "x", 1, |parts| parts.retain = true)
        .unwrap();
    world.publish(publisher, "s", "shared", 1).unwrap();
    let messages = world.messages(client);
    assert_eq!(messages.len(), 2, "{messages:?}");
    assert_eq!(messages[0].topic, "a/x");
    assert_eq!(
        (messages[0].retain, &*messages[0].identifiers),
        (true, &[7][..])
    );
    world.unsubscribe(client, "+/x");
    world.unsubscribe(client, "$share/g/s");
    assert_eq!(world.broker.statistics().subscriptions, 0);
    world.settle();
    assert!(world.disk().of("s").unwrap().subscriptions.is_empty());
}
