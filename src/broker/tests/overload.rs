//! What happens at the bounds.

use std::sync::Arc;
use std::time::Duration;

use super::world::{Opening, Received, World, world, world_with};
use crate::broker::Next;
use crate::limits::Limits;
use crate::mqtt::{AckKind, ReasonCode};

#[test]
fn a_full_outbox_drops_and_counts_at_qos_0_and_costs_nobody_else() {
    let mut world = world_with(|limits| limits.outbox_bytes_max = 10_000);
    let publisher = world.connect(&Opening::v5("p"));
    let slow = world.connect(&Opening::v5("slow"));
    let other = world.connect(&Opening::v5("other"));
    world.subscribe(slow, "t", 0);
    world.subscribe(other, "t", 0);
    world.stuck.insert("slow");
    let payload = "x".repeat(1000);
    for _ in 0..50 {
        if world.publish(publisher, "t", &payload, 0).unwrap() == Next::Pause {
            assert!(world.paused.contains("p"));
            world.advance(Duration::from_millis(50));
            assert!(!world.paused.contains("p"));
        }
    }
    assert_eq!(world.messages(other).len(), 50);
    assert_eq!(world.overflows, 1, "a burst is reported once");
    let dropped = world.broker.statistics().messages_dropped;
    world.stuck.clear();
    world.run();
    let arrived = u64::try_from(world.messages(slow).len()).unwrap();
    assert!(arrived >= 9);
    assert_eq!(arrived + dropped, 50);
    assert_eq!(world.broker.statistics().pauses, 1);
}

#[test]
fn a_message_that_is_dropped_at_qos_0_was_refused_to_nobody() {
    let mut world = world_with(|limits| limits.outbox_bytes_max = 5_000);
    let publisher = world.connect(&Opening::v5("p"));
    let slow = world.connect(&Opening::v5("slow"));
    world.subscribe(slow, "t", 0);
    world.stuck.insert("slow");
    for _ in 0..10 {
        world.publish(publisher, "t", &"x".repeat(1000), 0).unwrap();
        world.advance(Duration::from_millis(50));
    }
    let statistics = world.broker.statistics();
    assert!(statistics.messages_dropped > 0);
    assert_eq!(statistics.quota_refusals, 0);
}

#[test]
fn what_comes_while_a_connection_ends_is_no_loss() {
    let mut world = world();
    let publisher = world.connect(&Opening::v5("p"));
    let leaving = world.connect(&Opening::v5("leaving").durable(60));
    world.subscribe(leaving, "t", 1);
    let reason = ReasonCode::AdministrativeAction;
    world.broker.disconnect(leaving, reason, "for the test");
    world.publish(publisher, "t", "nobody's", 0).unwrap();
    assert_eq!(world.broker.statistics().messages_dropped, 0);
    assert_eq!(world.overflows, 0);
    assert_eq!(world.broker.statistics().quota_refusals, 0);
}

#[test]
fn a_publisher_goes_on_as_soon_as_its_receiver_has_caught_up() {
    let mut world = world_with(|limits| limits.outbox_bytes_max = 10_000);
    let publisher = world.connect(&Opening::v5("p"));
    let slow = world.connect(&Opening::v5("slow"));
    world.subscribe(slow, "t", 0);
    world.stuck.insert("slow");
    let payload = "x".repeat(1000);
    while world.publish(publisher, "t", &payload, 0).unwrap() != Next::Pause {}
    world.stuck.clear();
    world.run();
    assert!(!world.paused.contains("p"));
    assert_eq!(world.broker.statistics().messages_dropped, 0);
}

#[test]
fn a_full_queue_refuses_the_publication_if_nobody_else_takes_it() {
    let mut world = world_with(|limits| limits.queue_messages_per_client_max = 3);
    let publisher = world.connect(&Opening::v5("p"));
    let away = world.connect(&Opening::v5("away").durable(60));
    world.subscribe(away, "t", 1);
    world.lose(away);
    for _ in 0..4 {
        world.publish(publisher, "t", "x", 1).unwrap();
    }
    let last = world.received(publisher).pop();
    let refused = Received::Ack(AckKind::PubAck, 100, ReasonCode::QuotaExceeded);
    assert_eq!(last, Some(refused));
    let here = world.connect(&Opening::v5("here"));
    world.subscribe(here, "t", 1);
    world.publish(publisher, "t", "y", 1).unwrap();
    let last = world.received(publisher).pop();
    assert_eq!(
        last,
        Some(Received::Ack(AckKind::PubAck, 100, ReasonCode::Success))
    );
    assert_eq!(world.payloads(here), ["y"]);
    assert_eq!(world.broker.statistics().messages_dropped, 2);
    assert_eq!(world.overflows, 1);
}

#[test]
fn the_budget_of_the_gateway_counts_a_shared_message_once() {
    let limits = Limits {
        queue_bytes_max: 10_000,
        ..Limits::default()
    };
    let mut world = World::new(limits);
    let publisher = world.connect(&Opening::v5("p"));
    for name in ["a", "b", "c", "d"] {
        let away = world.connect(&Opening::v5(name).durable(60));
        world.subscribe(away, "t", 1);
        world.lose(away);
    }
    let payload = "x".repeat(4000);
    for _ in 0..3 {
        world.publish(publisher, "t", &payload, 1).unwrap();
    }
    let statistics = world.broker.statistics();
    assert_eq!(statistics.queued_messages, 4);
    assert!(statistics.queued_bytes <= 7_500);
    assert_eq!(statistics.messages_dropped, 8);
}

#[test]
fn absent_sessions_that_use_up_the_budget_cost_a_client_that_keeps_up_nothing() {
    let limits = Limits {
        queue_bytes_max: 10_000,
        ..Limits::default()
    };
    let mut world = World::new(limits);
    let publisher = world.connect(&Opening::v3("p"));
    let away = world.connect(&Opening::v5("away").durable(60));
    world.subscribe(away, "t", 1);
    world.lose(away);
    for _ in 0..50 {
        world.publish(publisher, "t", &"x".repeat(500), 1).unwrap();
    }
    assert!(world.broker.statistics().messages_dropped > 0);
    let here = world.connect(&Opening::v5("here").durable(60));
    world.subscribe(here, "t", 1);
    for _ in 0..50 {
        world.publish(publisher, "t", &"y".repeat(500), 1).unwrap();
        let message = world.messages(here).remove(0);
        world.ack(here, AckKind::PubAck, message.packet_id.unwrap());
    }
}

#[test]
fn readers_that_do_not_read_share_one_bound() {
    let limits = Limits {
        queue_bytes_max: 20_000,
        ..Limits::default()
    };
    let mut world = World::new(limits);
    let publisher = world.connect(&Opening::v5("p"));
    for name in ["a", "b", "c", "d"] {
        let reader = world.connect(&Opening::v5(name));
        world.subscribe(reader, "t", 0);
        world.stuck.insert(name);
    }
    let payload = "x".repeat(1000);
    for _ in 0..50 {
        world.publish(publisher, "t", &payload, 0).unwrap();
        world.advance(Duration::from_millis(60));
    }
    assert!(world.broker.clients.outbox_bytes < 26_000);
    let dropped = world.broker.statistics().messages_dropped;
    assert!(dropped >= 4 * 50 - 25, "{dropped}");
    // Somebody who reads is served all the same.
    let reader = world.connect(&Opening::v5("reader"));
    world.subscribe(reader, "t", 0);
    world.publish(publisher, "t", "hello", 0).unwrap();
    assert_eq!(world.payloads(reader), ["hello"]);
}

#[test]
fn retained_messages_are_bounded_and_known_topics_can_still_change() {
    let limits = Limits {
        retained_messages_max: 2,
        ..Limits::default()
    };
    let mut world = World::new(limits);
    let client = world.connect(&Opening::v5("c"));
    let mut retain = |topic: &str| {
        world
            .publish_with(client, topic, "x", 1, |parts| parts.retain = true)
            .unwrap();
        world.received(client).pop()
    };
    let answer = |reason| Some(Received::Ack(AckKind::PubAck, 100, reason));
    assert_eq!(retain("a"), answer(ReasonCode::NoMatchingSubscribers));
    assert_eq!(retain("b"), answer(ReasonCode::NoMatchingSubscribers));
    assert_eq!(retain("c"), answer(ReasonCode::QuotaExceeded));
    assert_eq!(retain("a"), answer(ReasonCode::NoMatchingSubscribers));
}

#[test]
fn sessions_are_bounded() {
    let limits = Limits {
        sessions_max: 1,
        ..Limits::default()
    };
    let mut world = World::new(limits);
    world.connect(&Opening::v5("a"));
    let refused = world.try_connect(&Opening::v5("b")).unwrap_err();
    assert_eq!(refused.reason, ReasonCode::QuotaExceeded);
    world.connect(&Opening::v5("a"));
}

#[test]
fn subscriptions_of_all_clients_together_are_bounded() {
    let limits = Limits {
        subscriptions_max: 3,
        ..Limits::default()
    };
    let mut world = World::new(limits);
    let [one, two] = ["a", "b"].map(|name| world.connect(&Opening::v5(name)));
    assert_eq!(world.subscribe(one, "x", 0), ReasonCode::Success);
    assert_eq!(world.subscribe(one, "$share/g/x", 0), ReasonCode::Success);
    assert_eq!(world.subscribe(two, "x", 0), ReasonCode::Success);
    assert_eq!(world.subscribe(two, "y", 0), ReasonCode::QuotaExceeded);
    assert_eq!(world.broker.statistics().quota_refusals, 1);
    let granted = world.subscribe(two, "x", 1);
    assert_eq!(granted, ReasonCode::GrantedQoS1, "replacing needs no room");
    world.unsubscribe(one, "x");
    assert_eq!(world.subscribe(two, "y", 0), ReasonCode::Success);
}

#[test]
fn deep_and_long_filters_fill_the_index_before_their_number_does() {
    let limits = Limits {
        subscriptions_max: 20_000,
        ..Limits::default()
    };
    let mut world = World::new(limits.clone());
    let clients = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    let granted = |world: &mut World, filter: &dyn Fn(usize) -> String| {
        let clients = clients.map(|name| world.connect(&Opening::v5(name)));
        let granted = |number: &usize| {
            let client = clients[number / 400];
            world.subscribe(client, &filter(*number), 0) == ReasonCode::Success
        };
        (0..4_000).take_while(granted).count()
    };
    let deep = granted(&mut world, &|n| format!("{n}/{}", "a/".repeat(150)));
    assert!((400..1_000).contains(&deep), "{deep} deep filters");
    let mut world = World::new(limits);
    let long = granted(&mut world, &|n| format!("{n}-{}", "a".repeat(2_000)));
    assert!((2_000..4_000).contains(&long), "{long} long filters");
}

#[test]
fn a_filter_of_many_levels_is_refused() {
    let mut world = world();
    let client = world.connect(&Opening::v5("c"));
    let deep = vec!["a"; 201].join("/");
    assert_eq!(world.subscribe(client, &deep, 0), ReasonCode::QuotaExceeded);
    let topic = vec!["a"; 5000].join("/");
    world.subscribe(client, "a/#", 0);
    world.publish(client, &topic, "x", 0).unwrap();
    assert_eq!(world.payloads(client), ["x"]);
}

#[test]
fn a_large_payload_reaches_all_receivers_unharmed() {
    let mut world = world();
    let publisher = world.connect(&Opening::v5("p"));
    let receivers = ["a", "b", "c"].map(|name| {
        let id = world.connect(&Opening::v5(name).durable(60));
        world.subscribe(id, "t", 1);
        id
    });
    let payload: String = (0..40_000)
        .map(|n| char::from(b'a' + (n % 26) as u8))
        .collect();
    world.publish(publisher, "t", &payload, 1).unwrap();
    world.publish(publisher, "t", "small", 1).unwrap();
    for id in receivers {
        assert_eq!(world.payloads(id), [payload.as_str(), "small"]);
    }
    assert_eq!(Arc::strong_count(&world.port), 4 + 4 + 1);
}
