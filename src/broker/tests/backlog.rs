//! Messages that are only on the disk: read page by page, bounded, dropped, and counted.

use super::power::{stored_world, stored_world_with};
use super::world::{Opening, World, packet_id};
use crate::broker::ConnectionId;
use crate::limits::{Limits, QueueOverflow};
use crate::mqtt::AckKind;

fn durable(name: &'static str) -> Opening {
    Opening::v5(name).durable(3600)
}

/// Acknowledges what has come, one message at a time, and returns the payloads.
fn drain(world: &mut World, id: ConnectionId) -> Vec<String> {
    let mut payloads = Vec::new();
    loop {
        let messages = world.messages(id);
        if messages.is_empty() {
            return payloads;
        }
        for message in messages {
            world.ack(id, AckKind::PubAck, message.packet_id.unwrap());
            payloads.push(String::from_utf8(message.payload).unwrap());
        }
    }
}

fn tell_all(world: &mut World, publisher: ConnectionId, numbers: std::ops::Range<u16>) {
    for number in numbers {
        world.tell(publisher, &number.to_string(), 1, number + 1);
        world.received(publisher);
    }
}

fn texts(numbers: std::ops::Range<u16>) -> Vec<String> {
    numbers.map(|number| number.to_string()).collect()
}

fn assert_empty(world: &mut World) {
    world.settle();
    let pending = &world.broker.clients.pending;
    assert_eq!((pending.stored_bytes, pending.stored_deliveries), (0, 0));
    assert_eq!(world.broker.statistics().queued_bytes, 0);
    assert_eq!(world.broker.statistics().queued_messages, 0);
}

#[test]
fn a_session_without_a_connection_holds_nothing_in_memory() {
    let mut world = stored_world();
    world.absent_subscriber(&durable("s"));
    let publisher = world.connect(&Opening::v5("p"));
    tell_all(&mut world, publisher, 0..100);
    assert_eq!(world.broker.statistics().queued_bytes, 0);
    assert_eq!(world.broker.statistics().queued_messages, 100);
    assert_eq!(world.disk().payloads("s").len(), 100);
}

#[test]
fn a_long_backlog_is_read_page_by_page_while_new_messages_come() {
    for is_restart in [false, true] {
        let mut world = stored_world();
        world.absent_subscriber(&durable("s"));
        let publisher = world.connect(&Opening::v5("p"));
        tell_all(&mut world, publisher, 0..5000);
        if is_restart {
            world.restart();
        }
        let publisher = world.connect(&Opening::v5("p"));
        let id = world.connect(&durable("s").receive_maximum(50));
        let mut payloads = Vec::new();
        for round in 0..10 {
            // New ones come while old ones are still on the disk.
            tell_all(&mut world, publisher, 5000 + round * 50..5050 + round * 50);
            for message in world.messages(id) {
                world.ack(id, AckKind::PubAck, message.packet_id.unwrap());
                payloads.push(String::from_utf8(message.payload).unwrap());
            }
            assert!(world.broker.statistics().queued_bytes < 2_000_000);
        }
        payloads.append(&mut drain(&mut world, id));
        assert_eq!(payloads, texts(0..5500));
        assert!(world.reads >= 5, "{}", world.reads);
        assert_empty(&mut world);
    }
}

#[test]
fn what_comes_during_a_read_follows_what_was_read() {
    let mut world = stored_world();
    world.absent_subscriber(&durable("s"));
    let publisher = world.connect(&Opening::v5("p"));
    tell_all(&mut world, publisher, 0..10);
    world.store().is_reading_held = true;
    let id = world.try_connect(&durable("s")).unwrap();
    tell_all(&mut world, publisher, 10..20);
    assert_eq!(world.messages(id).len(), 0);
    world.release_reads();
    assert_eq!(drain(&mut world, id), texts(0..20));
    assert_empty(&mut world);
}

#[test]
fn a_session_that_is_taken_over_while_it_is_read_gets_everything_once() {
    let mut world = stored_world();
    world.absent_subscriber(&durable("s"));
    let publisher = world.connect(&Opening::v5("p"));
    tell_all(&mut world, publisher, 0..10);
    world.store().is_reading_held = true;
    world.try_connect(&durable("s")).unwrap();
    tell_all(&mut world, publisher, 10..15);
    let id = world.try_connect(&durable("s")).unwrap();
    tell_all(&mut world, publisher, 15..20);
    world.release_reads();
    assert_eq!(drain(&mut world, id), texts(0..20));
    assert_empty(&mut world);
}

#[test]
fn the_newest_messages_of_a_session_that_ends_are_returned_to_the_budget() {
    let mut world = stored_world();
    world.absent_subscriber(&durable("s"));
    let publisher = world.connect(&Opening::v5("p"));
    tell_all(&mut world, publisher, 0..10);
    world.store().is_reading_held = true;
    let mut opening = Opening::v5("s");
    opening.clean_start = false;
    let id = world.try_connect(&opening).unwrap();
    tell_all(&mut world, publisher, 10..15);
    assert!(world.broker.statistics().queued_bytes > 0);
    world.lose(id);
    assert_empty(&mut world);
}

#[test]
fn a_message_exactly_once_reaches_a_client_that_does_nothing_while_memory_is_short() {
    let mut world = stored_world_with(|limits| limits.port.queue_bytes_per_client_max = 200);
    let id = world.subscriber(&durable("s"));
    let publisher = world.connect(&Opening::v5("p"));
    world.tell(publisher, "x", 2, 1);
    assert_eq!(world.brief(id), ["PUBLISH x"]);
}

#[test]
fn a_read_that_finds_nothing_waits_for_the_commit() {
    let mut world = stored_world_with(|limits| limits.port.queue_bytes_per_client_max = 200);
    let id = world.subscriber(&durable("s").receive_maximum(1));
    let publisher = world.connect(&Opening::v5("p"));
    world.hold_store();
    tell_all(&mut world, publisher, 0..3);
    assert!(world.reads < 5, "{}", world.reads);
    world.store().is_prompt = true;
    world.settle();
    assert_eq!(drain(&mut world, id), texts(0..3));
    assert_empty(&mut world);
}

#[test]
fn a_read_that_fails_is_tried_again_when_the_client_does_something() {
    let mut world = stored_world();
    world.absent_subscriber(&durable("s"));
    let publisher = world.connect(&Opening::v5("p"));
    tell_all(&mut world, publisher, 0..3);
    world.store().is_reading_held = true;
    let id = world.try_connect(&durable("s")).unwrap();
    world.fail_reads();
    world.release_reads();
    world
        .send(id, |out, _| crate::mqtt::encode::pingreq(out))
        .unwrap();
    assert_eq!(drain(&mut world, id), texts(0..3));
}

#[test]
fn what_is_lost_on_the_disk_is_counted_and_holds_up_nothing() {
    let mut world = stored_world();
    world.absent_subscriber(&durable("s"));
    let publisher = world.connect(&Opening::v5("p"));
    tell_all(&mut world, publisher, 0..3);
    world.store().disk.lose_deliveries("s");
    let id = world.connect(&durable("s"));
    assert_eq!(world.broker.statistics().messages_dropped, 3);
    tell_all(&mut world, publisher, 3..5);
    assert_eq!(drain(&mut world, id), texts(3..5));
    assert_empty(&mut world);
}

fn overflow(policy: QueueOverflow) -> World {
    stored_world_with(|limits: &mut Limits| {
        limits.port.queue_messages_per_client_max = 4;
        limits.port.queue_overflow = policy;
    })
}

#[test]
fn a_full_queue_rejects_the_newest() {
    let mut world = overflow(QueueOverflow::RejectNewest);
    world.absent_subscriber(&durable("s"));
    let publisher = world.connect(&Opening::v5("p"));
    for number in 0..6 {
        world.tell(publisher, &number.to_string(), 1, number + 1);
    }
    let told = world.brief(publisher);
    assert_eq!(told[3..5], ["PubAck 4", "PubAck 5 QuotaExceeded"]);
    assert_eq!(world.overflows, 1);
    let id = world.connect(&durable("s"));
    assert_eq!(drain(&mut world, id), texts(0..4));
    assert_empty(&mut world);
}

#[test]
fn a_full_queue_drops_the_oldest_that_was_not_sent() {
    for is_restart in [false, true] {
        let mut world = overflow(QueueOverflow::DropOldest);
        let opening = durable("s").receive_maximum(2);
        let id = world.subscriber(&opening);
        let mut publisher = world.connect(&Opening::v5("p"));
        tell_all(&mut world, publisher, 0..3);
        assert_eq!(world.messages(id).len(), 2);
        if is_restart {
            world.restart();
            publisher = world.connect(&Opening::v5("p"));
        } else {
            world.lose(id);
        }
        tell_all(&mut world, publisher, 3..9);
        world.settle();
        // After a restart all that was there may have been sent.
        let left = match is_restart {
            false => ["0", "1", "7", "8"],
            true => ["0", "1", "2", "8"],
        };
        assert_eq!(world.disk().payloads("s"), left);
        let id = world.connect(&opening);
        assert_eq!(drain(&mut world, id), left);
        assert_empty(&mut world);
    }
}

#[test]
fn nothing_is_dropped_for_a_message_if_everything_was_sent() {
    let mut world = overflow(QueueOverflow::DropOldest);
    let id = world.subscriber(&durable("s"));
    let publisher = world.connect(&Opening::v5("p"));
    tell_all(&mut world, publisher, 0..4);
    world.lose(id);
    tell_all(&mut world, publisher, 4..5);
    let id = world.connect(&durable("s"));
    assert_eq!(drain(&mut world, id), texts(0..4));
    assert_empty(&mut world);
}

#[test]
fn the_oldest_is_dropped_while_it_is_being_read() {
    let mut world = overflow(QueueOverflow::DropOldest);
    world.absent_subscriber(&durable("s"));
    let publisher = world.connect(&Opening::v5("p"));
    tell_all(&mut world, publisher, 0..4);
    world.store().is_reading_held = true;
    let id = world.try_connect(&durable("s")).unwrap();
    world.hold_store();
    tell_all(&mut world, publisher, 4..6);
    world.release_reads();
    world.settle();
    assert_eq!(drain(&mut world, id), texts(2..6));
    assert_empty(&mut world);
}

#[test]
fn a_message_that_can_never_fit_drops_nothing() {
    let mut world = stored_world_with(|limits: &mut Limits| {
        limits.port.queue_bytes_per_client_max = 1000;
        limits.port.queue_overflow = QueueOverflow::DropOldest;
    });
    world.absent_subscriber(&durable("s"));
    let publisher = world.connect(&Opening::v5("p"));
    tell_all(&mut world, publisher, 0..3);
    world.tell(publisher, &"x".repeat(2000), 1, 9);
    assert_eq!(world.brief(publisher), ["PubAck 9 QuotaExceeded"]);
    assert_eq!(world.disk().payloads("s"), texts(0..3));
}

#[test]
fn bytes_that_were_dropped_unseen_are_made_good() {
    let mut world = overflow(QueueOverflow::DropOldest);
    world.absent_subscriber(&durable("s"));
    let publisher = world.connect(&Opening::v5("p"));
    for number in 0..8 {
        let payload = "x".repeat(usize::from(number) * 100);
        world.tell(publisher, &payload, 1, number + 1);
    }
    let id = world.connect(&durable("s"));
    assert_eq!(drain(&mut world, id).len(), 4);
    assert_empty(&mut world);
}

#[test]
fn the_bytes_of_all_sessions_have_a_bound() {
    let mut world = stored_world_with(|limits| limits.stored_bytes_max = 1000);
    for name in ["a", "b"] {
        world.absent_subscriber(&durable(name));
    }
    let publisher = world.connect(&Opening::v5("p"));
    for number in 0..10 {
        world.tell(publisher, &"x".repeat(100), 1, 1 + number);
    }
    let pending = &world.broker.clients.pending;
    assert!(pending.stored_bytes <= 1000 && pending.stored_bytes > 800);
    let told = world.brief(publisher);
    assert_eq!(
        (&*told[2], &*told[9]),
        ("PubAck 3", "PubAck 10 QuotaExceeded")
    );
    for name in ["a", "b"] {
        let id = world.connect(&durable(name));
        drain(&mut world, id);
    }
    assert_empty(&mut world);
}

#[test]
fn messages_exactly_once_are_counted_out_when_the_client_has_them() {
    let mut world = stored_world();
    let id = world.subscriber(&durable("s"));
    let publisher = world.connect(&Opening::v5("p"));
    world
        .publish_with(publisher, "t", "x", 2, |parts| {
            parts.packet_id = Some(packet_id(1));
        })
        .unwrap();
    world.ack(id, AckKind::PubRec, 1);
    let pending = &world.broker.clients.pending;
    assert_eq!((pending.stored_bytes, pending.stored_deliveries), (0, 1));
    world.restart();
    let id = world.connect(&durable("s"));
    assert_eq!(world.brief(id), ["PubRel 1"]);
    world.ack(id, AckKind::PubComp, 1);
    assert_empty(&mut world);
}
