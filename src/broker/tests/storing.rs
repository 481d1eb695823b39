//! What waits for the store, what does not, and what becomes of it when the store fails.

use std::time::Duration;

use super::power::{stored_world, stored_world_with};
use super::world::{Opening, packet_id, world};
use crate::broker::{ConnectionId, StoreCondition};
use crate::mqtt::encode;
use crate::mqtt::{AckKind, ReasonCode, RetainHandling, SubscriptionOptions};

fn durable(name: &'static str) -> Opening {
    Opening::v5(name).durable(3600)
}

#[test]
fn puback_and_pubrec_wait_until_the_message_is_stored() {
    let mut world = stored_world();
    world.absent_subscriber(&durable("s"));
    let publisher = world.connect(&Opening::v5("p"));
    world.hold_store();
    world.tell(publisher, "one", 1, 1);
    world.tell(publisher, "two", 2, 2);
    assert_eq!(world.brief(publisher), [""; 0]);
    assert!(world.take_batch());
    world.tell(publisher, "three", 1, 3);
    world.confirm();
    assert_eq!(world.brief(publisher), ["PubAck 1", "PubRec 2"]);
    world.settle();
    assert_eq!(world.brief(publisher), ["PubAck 3"]);
    assert_eq!(world.disk().payloads("s"), ["one", "two", "three"]);
}

#[test]
fn an_answer_that_promises_nothing_waits_behind_one_that_does() {
    let mut world = stored_world();
    world.absent_subscriber(&durable("s"));
    let publisher = world.connect(&Opening::v3("p"));
    world.hold_store();
    world.tell(publisher, "stored", 1, 1);
    world.publish(publisher, "nobody", "x", 1).unwrap();
    assert_eq!(world.brief(publisher), [""; 0]);
    world.settle();
    assert_eq!(world.brief(publisher), ["PubAck 1", "PubAck 100"]);
}

#[test]
fn nothing_is_withheld_where_nothing_is_stored() {
    let mut world = stored_world();
    world.hold_store();
    let subscriber = world.connect(&Opening::v5("s"));
    world.subscribe(subscriber, "t", 2);
    let publisher = world.connect(&Opening::v5("p"));
    world.tell(publisher, "one", 1, 1);
    world.tell(publisher, "two", 2, 2);
    world.ack(publisher, AckKind::PubRel, 2);
    assert_eq!(
        world.brief(publisher),
        ["PubAck 1", "PubRec 2", "PubComp 2"]
    );
    assert_eq!(world.brief(subscriber), ["PUBLISH one", "PUBLISH two"]);
    world.ack(subscriber, AckKind::PubRec, 2);
    assert_eq!(world.brief(subscriber), ["PubRel 2"]);
    world.unsubscribe(subscriber, "t");
    assert_eq!(world.brief(subscriber), ["UNSUBACK"]);
    assert!(!world.take_batch());
}

#[test]
fn connack_waits_until_the_session_is_stored() {
    let mut world = stored_world();
    world.hold_store();
    let client = world.try_connect(&durable("s")).unwrap();
    assert_eq!(world.brief(client), [""; 0]);
    world.settle();
    assert_eq!(world.brief(client), ["CONNACK false"]);
    assert_eq!(world.disk().of("s").unwrap().record.expiry_interval, 3600);
}

#[test]
fn connack_of_a_clean_start_waits_until_the_old_session_is_gone_from_the_disk() {
    let mut world = stored_world();
    world.absent_subscriber(&durable("s"));
    world.hold_store();
    let client = world.try_connect(&Opening::v5("s")).unwrap();
    assert_eq!(world.brief(client), [""; 0]);
    world.settle();
    assert_eq!(world.brief(client), ["CONNACK false"]);
    assert!(world.disk().of("s").is_none());
}

#[test]
fn suback_and_unsuback_of_a_stored_session_wait() {
    let mut world = stored_world();
    let client = world.connect(&durable("s"));
    world.hold_store();
    let options = SubscriptionOptions {
        qos: crate::mqtt::QoS::AtLeastOnce,
        no_local: false,
        retain_as_published: true,
        retain_handling: RetainHandling::SendAtSubscribe,
    };
    world.send_subscribe(client, "t", options, Some(9)).unwrap();
    world.send(client, |out, _| encode::pingreq(out)).unwrap();
    assert_eq!(world.brief(client), ["PINGRESP"]);
    world.settle();
    assert_eq!(world.brief(client), ["SUBACK"]);
    let stored = world.disk().of("s").unwrap().subscriptions["t"].clone();
    assert_eq!((stored.identifier, stored.retain_as_published), (9, true));
    world.unsubscribe(client, "t");
    assert_eq!(world.brief(client), [""; 0]);
    world.settle();
    assert_eq!(world.brief(client), ["UNSUBACK"]);
    assert!(world.disk().of("s").unwrap().subscriptions.is_empty());
}

#[test]
fn pubcomp_waits_until_the_identifier_is_forgotten_on_the_disk() {
    let mut world = stored_world();
    let publisher = world.connect(&durable("p"));
    world.tell(publisher, "x", 2, 7);
    assert_eq!(world.disk().of("p").unwrap().received.len(), 1);
    world.hold_store();
    world.ack(publisher, AckKind::PubRel, 7);
    assert_eq!(world.brief(publisher), ["PubRec 7 NoMatchingSubscribers"]);
    world.settle();
    assert_eq!(world.brief(publisher), ["PubComp 7"]);
    assert!(world.disk().of("p").unwrap().received.is_empty());
}

#[test]
fn pubrel_waits_until_the_disk_knows_that_the_client_has_the_message() {
    let mut world = stored_world();
    let subscriber = world.subscriber(&durable("s"));
    let publisher = world.connect(&Opening::v5("p"));
    world.tell(publisher, "x", 2, 1);
    assert_eq!(world.brief(subscriber), ["PUBLISH x"]);
    world.hold_store();
    world.ack(subscriber, AckKind::PubRec, 1);
    assert_eq!(world.brief(subscriber), [""; 0]);
    world.settle();
    assert_eq!(world.brief(subscriber), ["PubRel 1"]);
    world.ack(subscriber, AckKind::PubComp, 1);
    world.settle();
    assert!(world.disk().of("s").unwrap().deliveries.is_empty());
}

#[test]
fn messages_at_most_once_and_at_least_once_do_not_wait_on_their_way_to_a_client() {
    let mut world = stored_world();
    let subscriber = world.subscriber(&durable("s"));
    let publisher = world.connect(&Opening::v5("p"));
    world.hold_store();
    world.tell(publisher, "zero", 0, 0);
    world.tell(publisher, "one", 1, 1);
    assert_eq!(world.brief(subscriber), ["PUBLISH zero", "PUBLISH one"]);
    assert_eq!(world.brief(publisher), [""; 0]);
}

#[test]
fn a_message_exactly_once_waits_until_it_is_stored() {
    let mut world = stored_world();
    let subscriber = world.subscriber(&durable("s"));
    let publisher = world.connect(&Opening::v5("p"));
    world.hold_store();
    world.tell(publisher, "first", 2, 1);
    world.tell(publisher, "second", 1, 2);
    assert_eq!(world.brief(subscriber), [""; 0]);
    assert!(world.take_batch());
    assert_eq!(world.brief(subscriber), [""; 0]);
    world.confirm();
    assert_eq!(world.brief(subscriber), ["PUBLISH first", "PUBLISH second"]);
}

#[test]
fn a_message_exactly_once_of_a_will_has_itself_stored() {
    let mut world = stored_world();
    let subscriber = world.subscriber(&durable("s"));
    let mut opening = Opening::v5("c").will("t", 0);
    opening.will.as_mut().unwrap().qos = crate::mqtt::QoS::ExactlyOnce;
    let client = world.connect(&opening);
    world.lose(client);
    assert_eq!(world.brief(subscriber), ["PUBLISH gone"]);
}

#[test]
fn retained_messages_exactly_once_come_all_however_many() {
    let mut world = stored_world();
    let publisher = world.connect(&Opening::v5("p"));
    for number in 0..200 {
        let topic = format!("r/{number:03}");
        world
            .publish_with(publisher, &topic, "x", 2, |parts| parts.retain = true)
            .unwrap();
        world.ack(publisher, AckKind::PubRel, 100);
    }
    let subscriber = world.connect(&durable("s").receive_maximum(3));
    world.subscribe(subscriber, "r/+", 2);
    let mut count = 0;
    for _ in 0..200 {
        for message in world.messages(subscriber) {
            assert!(!message.dup);
            count += 1;
            let packet = message.packet_id.unwrap();
            world.ack(subscriber, AckKind::PubRec, packet);
            world.ack(subscriber, AckKind::PubComp, packet);
        }
    }
    assert_eq!(count, 200);
}

#[test]
fn what_its_only_receiver_has_acknowledged_is_never_written() {
    let mut world = stored_world();
    let subscriber = world.subscriber(&durable("s"));
    let publisher = world.connect(&Opening::v5("p"));
    world.hold_store();
    for number in 1..=10 {
        world.tell(publisher, "x", 1, number);
        world.ack(subscriber, AckKind::PubAck, number);
    }
    world.settle();
    assert_eq!(world.brief(publisher).len(), 10);
    assert_eq!(world.disk().written, 0);
    assert_eq!(world.broker.clients.pending.stored_bytes, 0);
}

#[test]
fn a_message_that_was_taken_to_the_disk_is_ended_there_when_it_is_acknowledged() {
    let mut world = stored_world();
    let subscriber = world.subscriber(&durable("s"));
    let publisher = world.connect(&Opening::v5("p"));
    world.hold_store();
    world.tell(publisher, "x", 1, 1);
    assert!(world.take_batch());
    world.ack(subscriber, AckKind::PubAck, 1);
    world.confirm();
    assert_eq!(world.disk().payloads("s"), ["x"]);
    world.settle();
    assert_eq!(world.disk().payloads("s"), [""; 0]);
}

/// A publisher of a version has sent messages whose batch has failed.
fn failed(version: fn(&'static str) -> Opening) -> (super::world::World, ConnectionId) {
    let mut world = stored_world();
    world.absent_subscriber(&durable("s"));
    let publisher = world.connect(&version("p"));
    world.hold_store();
    world.tell(publisher, "one", 1, 1);
    world.tell(publisher, "two", 2, 2);
    assert!(world.take_batch());
    world.fail();
    (world, publisher)
}

#[test]
fn a_failed_commit_is_told_to_a_publisher_of_version_5() {
    let (mut world, publisher) = failed(Opening::v5);
    assert_eq!(
        world.brief(publisher),
        ["PubAck 1 QuotaExceeded", "PubRec 2 QuotaExceeded"]
    );
    assert_eq!(world.broker.store_condition(), StoreCondition::Failing);
    world.tell(publisher, "three", 1, 3);
    assert_eq!(world.brief(publisher), ["PubAck 3 QuotaExceeded"]);
    world.confirm();
    assert_eq!(world.broker.store_condition(), StoreCondition::Ready);
    assert_eq!(world.disk().payloads("s"), [""; 0]);
    // The identifiers are free again.
    world.tell(publisher, "one", 1, 1);
    world.tell(publisher, "two", 2, 2);
    world.settle();
    assert_eq!(world.brief(publisher), ["PubAck 1", "PubRec 2"]);
    assert_eq!(world.disk().payloads("s"), ["one", "two"]);
    let subscriber = world.try_connect(&durable("s")).unwrap();
    world.settle();
    assert_eq!(
        world.brief(subscriber),
        ["CONNACK true", "PUBLISH one", "PUBLISH two"]
    );
}

#[test]
fn a_failed_commit_ends_the_connection_of_a_publisher_of_version_3() {
    let (mut world, publisher) = failed(Opening::v3);
    assert_eq!(world.brief(publisher), [""; 0]);
    assert!(world.is_closed(publisher));
    world.confirm();
    assert_eq!(world.disk().payloads("s"), [""; 0]);
}

#[test]
fn answers_keep_their_order_when_a_commit_fails() {
    let mut world = stored_world();
    world.absent_subscriber(&durable("s"));
    let publisher = world.connect(&durable("p"));
    world.hold_store();
    world.tell(publisher, "one", 1, 1);
    world.publish(publisher, "nobody", "x", 1).unwrap();
    world.tell(publisher, "two", 1, 2);
    assert!(world.take_batch());
    world.fail();
    let expected = [
        "PubAck 1 QuotaExceeded",
        "PubAck 100 NoMatchingSubscribers",
        "PubAck 2 QuotaExceeded",
    ];
    assert_eq!(world.brief(publisher), expected);
}

#[test]
fn a_failed_commit_takes_back_what_nobody_has_and_leaves_what_somebody_has() {
    let mut world = stored_world();
    let subscriber = world.subscriber(&durable("s"));
    let publisher = world.connect(&Opening::v5("p"));
    world.hold_store();
    world.tell(publisher, "sent", 1, 1);
    world.tell(publisher, "waits", 2, 2);
    assert!(world.take_batch());
    world.fail();
    world.confirm();
    assert_eq!(world.brief(subscriber), ["PUBLISH sent"]);
    // It is not on the disk, and is not missed there when the client comes again.
    world.lose(subscriber);
    let subscriber = world.try_connect(&durable("s")).unwrap();
    world.settle();
    assert_eq!(world.brief(subscriber), ["CONNACK true"]);
    assert_eq!(world.broker.statistics().messages_dropped, 0);
    assert_eq!(world.broker.clients.pending.stored_bytes, 0);
}

#[test]
fn a_session_and_its_subscription_are_tried_again_until_they_are_stored() {
    let mut world = stored_world();
    world.hold_store();
    let client = world.try_connect(&durable("s")).unwrap();
    assert!(world.take_batch());
    for _ in 0..3 {
        world.fail();
    }
    assert_eq!(world.brief(client), [""; 0]);
    let refused = world.try_connect(&durable("other")).unwrap_err();
    assert_eq!(refused.reason, ReasonCode::ServerUnavailable);
    world.confirm();
    assert_eq!(world.brief(client), ["CONNACK false"]);
    assert!(world.disk().of("s").is_some());
    assert!(world.try_connect(&durable("other")).is_ok());
}

#[test]
fn a_subscription_is_refused_while_the_store_fails() {
    let mut world = stored_world();
    let client = world.connect(&durable("s"));
    let other = world.connect(&Opening::v5("other"));
    world.broker.set_store_condition(StoreCondition::Failing);
    assert_eq!(world.subscribe(client, "t", 1), ReasonCode::QuotaExceeded);
    assert_eq!(world.subscribe(other, "t", 1), ReasonCode::GrantedQoS1);
}

#[test]
fn what_is_not_stored_goes_on_while_the_store_fails() {
    let mut world = stored_world();
    let client = world.connect(&Opening::v5("s"));
    world.subscribe(client, "t", 1);
    world.broker.set_store_condition(StoreCondition::Failing);
    let publisher = world.connect(&Opening::v5("p"));
    world.tell(publisher, "x", 1, 1);
    assert_eq!(world.brief(publisher), ["PubAck 1"]);
    assert_eq!(world.brief(client), ["PUBLISH x"]);
}

#[test]
fn a_qos_2_identifier_of_a_refused_message_is_free_for_the_next() {
    let mut world = stored_world();
    let subscriber = world.subscriber(&durable("s"));
    let publisher = world.connect(&Opening::v5("p"));
    world.hold_store();
    world.tell(publisher, "refused", 2, 1);
    assert!(world.take_batch());
    world.fail();
    world.confirm();
    assert_eq!(world.brief(publisher), ["PubRec 1 QuotaExceeded"]);
    world.tell(publisher, "another", 2, 1);
    world.settle();
    assert_eq!(world.brief(publisher), ["PubRec 1"]);
    assert_eq!(world.brief(subscriber), ["PUBLISH another"]);
}

#[test]
fn a_full_disk_takes_nothing_more_for_who_is_away() {
    let mut world = stored_world();
    world.absent_subscriber(&durable("away"));
    let publisher = world.connect(&Opening::v5("p"));
    let here = world.connect(&durable("here"));
    world.subscribe(here, "h", 1);
    let retain = |world: &mut super::world::World, topic: &str, payload: &str, qos| {
        world
            .publish_with(publisher, topic, payload, qos, |parts| parts.retain = true)
            .unwrap();
        world.brief(publisher)
    };
    retain(&mut world, "known", "old", 1);
    world.broker.set_store_condition(StoreCondition::Full);
    world.tell(publisher, "x", 1, 1);
    assert_eq!(world.brief(publisher), ["PubAck 1 QuotaExceeded"]);
    world.publish(publisher, "h", "x", 1).unwrap();
    assert_eq!(world.brief(publisher), ["PubAck 100"]);
    assert_eq!(world.brief(here), ["PUBLISH x"]);
    let told = retain(&mut world, "known", "new", 1);
    assert_eq!(told, ["PubAck 100 NoMatchingSubscribers"]);
    let told = retain(&mut world, "unknown", "new", 1);
    assert_eq!(told, ["PubAck 100 QuotaExceeded"]);
    retain(&mut world, "unknown", "at most once", 0);
    world.settle();
    let topics: Vec<_> = world.disk().retained.keys().map(|t| &**t).collect();
    assert_eq!(topics, ["known"]);
    assert_eq!(world.disk().retained["known"].payload(), b"new");
    world.broker.set_store_condition(StoreCondition::Ready);
    world.tell(publisher, "x", 1, 1);
    assert_eq!(world.brief(publisher), ["PubAck 1"]);
}

#[test]
fn a_publisher_of_version_3_is_cut_off_by_what_cannot_be_stored() {
    let mut world = stored_world();
    world.absent_subscriber(&durable("away"));
    let publisher = world.connect(&Opening::v3("p"));
    world.broker.set_store_condition(StoreCondition::Full);
    world.tell(publisher, "x", 1, 1);
    assert_eq!(world.brief(publisher), [""; 0]);
    assert!(world.is_closed(publisher));
}

#[test]
fn without_the_store_that_should_be_there_nothing_is_promised_to_who_is_away() {
    let mut world = world();
    world.broker.set_store_condition(StoreCondition::Missing);
    let away = world.connect(&durable("away"));
    world.subscribe(away, "t", 1);
    let publisher = world.connect(&Opening::v5("p"));
    world.tell(publisher, "x", 1, 1);
    assert_eq!(world.brief(publisher), ["PubAck 1"]);
    assert_eq!(world.brief(away), ["SUBACK", "PUBLISH x"][1..]);
    world.ack(away, AckKind::PubAck, 1);
    world.lose(away);
    world.tell(publisher, "y", 1, 2);
    assert_eq!(world.brief(publisher), ["PubAck 2 QuotaExceeded"]);
    world
        .publish_with(publisher, "r", "x", 1, |parts| parts.retain = true)
        .unwrap();
    assert_eq!(world.brief(publisher), ["PubAck 100 QuotaExceeded"]);
}

#[test]
fn publishers_wait_while_too_much_is_pending() {
    let mut world = stored_world_with(|limits| {
        limits.port.queue_bytes_per_client_max = 64 * 1024 * 1024;
    });
    world.absent_subscriber(&durable("away"));
    let publisher = world.connect(&Opening::v5("p"));
    world.hold_store();
    let large = "x".repeat(1024 * 1024);
    for number in 0..9 {
        let _ = world.publish_with(publisher, "t", &large, 1, |parts| {
            parts.packet_id = Some(packet_id(1 + number));
        });
    }
    assert!(world.paused.contains("p"));
    world.settle();
    assert!(world.paused.is_empty());
    assert_eq!(world.brief(publisher).len(), 9);
}

#[test]
fn a_disk_that_does_not_answer_does_not_fill_the_memory_with_sessions() {
    let mut world = stored_world();
    world.hold_store();
    const NAMES: [&str; 20] = [
        "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r",
        "s", "t",
    ];
    let opening = |name| {
        let mut opening = durable(name).will("gone", 0);
        if let Some(will) = &mut opening.will {
            will.payload = &[b'x'; 1 << 20];
        }
        opening
    };
    // One client that comes again and again has one record; many have many.
    for _ in 0..100 {
        world.try_connect(&opening("a")).unwrap();
    }
    let attempts = NAMES.map(|name| world.try_connect(&opening(name)));
    let refused = attempts.into_iter().filter_map(Result::err).next_back();
    assert_eq!(
        refused.map(|refusal| refusal.reason),
        Some(ReasonCode::ServerUnavailable)
    );
    let bytes = world.broker.clients.pending.bytes();
    assert!(bytes < 40 << 20, "{bytes}");
    world.settle();
    world.try_connect(&opening("t")).unwrap();
}

#[test]
fn a_client_that_is_not_read_because_of_the_disk_keeps_its_connection() {
    let mut world = stored_world_with(|limits| {
        limits.port.queue_bytes_per_client_max = 64 * 1024 * 1024;
    });
    world.absent_subscriber(&durable("away"));
    let mut opening = Opening::v5("p");
    opening.keep_alive = 10;
    let publisher = world.connect(&opening);
    world.hold_store();
    let large = "x".repeat(1024 * 1024);
    for number in 0..9 {
        let _ = world.publish_with(publisher, "t", &large, 1, |parts| {
            parts.packet_id = Some(packet_id(1 + number));
        });
    }
    assert!(world.paused.contains("p"));
    world.advance(Duration::from_secs(60));
    world.settle();
    assert_eq!(world.brief(publisher).len(), 9, "no DISCONNECT");
    world.advance(Duration::from_secs(60));
    assert_eq!(world.brief(publisher), ["DISCONNECT KeepAliveTimeout"]);
}

#[test]
fn retained_messages_at_most_once_never_wait_for_the_disk() {
    let mut world = stored_world();
    let publisher = world.connect(&Opening::v5("p"));
    world.hold_store();
    let large = "x".repeat(1024 * 1024);
    for _ in 0..20 {
        world
            .publish_with(publisher, "t", &large, 0, |parts| parts.retain = true)
            .unwrap();
    }
    assert!(world.paused.is_empty());
    assert_eq!(world.broker.pending_changes(), 1);
}
