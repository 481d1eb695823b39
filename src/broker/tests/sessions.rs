//! How sessions begin, go on and end; wills; shared subscriptions.

use std::time::Duration;

use super::world::{Message, Opening, Received, packet_id, world, world_with};
use crate::mqtt::encode;
use crate::mqtt::{AckKind, Disconnect, DisconnectProperties, ReasonCode, Violation};

#[test]
fn a_session_that_outlives_its_connection_gets_what_it_missed_in_order() {
    let mut world = world();
    let publisher = world.connect(&Opening::v3("p"));
    let opening = Opening::v5("s").durable(60);
    let subscriber = world.connect(&opening);
    world.subscribe(subscriber, "t", 2);
    world.lose(subscriber);
    for number in 0..5 {
        world
            .publish(publisher, "t", &number.to_string(), 1)
            .unwrap();
    }
    world.publish(publisher, "t", "at most once", 0).unwrap();
    let again = world.try_connect(&opening).unwrap();
    let received = world.received(again);
    assert!(matches!(
        received[0],
        Received::ConnAck {
            session_present: true,
            ..
        }
    ));
    assert_eq!(received.len(), 6);
}

#[test]
fn what_was_not_acknowledged_comes_again_with_dup_and_the_same_identifier() {
    let mut world = world();
    let publisher = world.connect(&Opening::v5("p"));
    let opening = Opening::v5("s").durable(60);
    let subscriber = world.connect(&opening);
    world.subscribe(subscriber, "t", 2);
    for (payload, qos) in [("one", 1), ("two", 2), ("released", 2)] {
        world
            .publish_with(publisher, "t", payload, qos, |parts| {
                parts.packet_id = Some(packet_id(u16::from(payload.len() as u8)));
            })
            .unwrap();
        world.ack(publisher, AckKind::PubRel, payload.len() as u16);
    }
    let first = world.messages(subscriber);
    let released = first[2].packet_id.unwrap();
    world.ack(subscriber, AckKind::PubRec, released);
    world.lose(subscriber);
    let subscriber = world.connect(&opening);
    let again = world.received(subscriber);
    let resent = |message: &Message| {
        Received::Publish(Message {
            dup: true,
            ..message.clone()
        })
    };
    let pubrel = Received::Ack(AckKind::PubRel, released, ReasonCode::Success);
    assert_eq!(again, [resent(&first[0]), resent(&first[1]), pubrel]);
}

#[test]
fn a_smaller_receive_maximum_holds_for_what_comes_again() {
    let mut world = world();
    let publisher = world.connect(&Opening::v3("p"));
    let opening = Opening::v5("s").durable(60);
    let subscriber = world.connect(&opening);
    world.subscribe(subscriber, "t", 1);
    for number in 0..5 {
        world
            .publish(publisher, "t", &number.to_string(), 1)
            .unwrap();
    }
    assert_eq!(world.messages(subscriber).len(), 5);
    world.lose(subscriber);
    let subscriber = world.connect(&opening.receive_maximum(2));
    world.publish(publisher, "t", "new", 1).unwrap();
    let mut payloads = Vec::new();
    for _ in 0..3 {
        let messages = world.messages(subscriber);
        assert_eq!(messages.len(), 2);
        for message in messages {
            assert_eq!(message.dup, message.payload != b"new");
            world.ack(subscriber, AckKind::PubAck, message.packet_id.unwrap());
            payloads.push(String::from_utf8(message.payload).unwrap());
        }
    }
    assert_eq!(payloads, ["0", "1", "2", "3", "4", "new"]);
}

#[test]
fn a_connection_that_was_taken_over_takes_nothing_from_the_next() {
    let mut world = world();
    let publisher = world.connect(&Opening::v3("p"));
    let opening = Opening::v5("s").durable(60);
    let old = world.connect(&opening);
    world.subscribe(old, "t", 1);
    for number in 0..10 {
        world
            .publish(publisher, "t", &number.to_string(), 1)
            .unwrap();
    }
    world.received(old);
    // The old link comes for its DISCONNECT while the new connection has still eight to get.
    let new = world.connect(&opening.receive_maximum(2));
    assert_eq!(
        world.received(old),
        [Received::Disconnect(ReasonCode::SessionTakenOver)]
    );
    let mut payloads = Vec::new();
    for _ in 0..5 {
        for message in world.messages(new) {
            world.ack(new, AckKind::PubAck, message.packet_id.unwrap());
            payloads.push(String::from_utf8(message.payload).unwrap());
        }
    }
    assert_eq!(payloads.len(), 10);
}

#[test]
fn a_reason_string_is_left_out_where_the_client_takes_no_packet_that_long() {
    let mut world = world();
    let mut opening = Opening::v5("c");
    opening.properties.maximum_packet_size = Some(40);
    let client = world.connect(&opening);
    world.broker.disconnect(
        client,
        ReasonCode::AdministrativeAction,
        "The port is no longer served",
    );
    world.run();
    let told = Received::Disconnect(ReasonCode::AdministrativeAction);
    assert_eq!(world.received(client), [told]);
}

#[test]
fn a_session_ends_when_its_expiry_interval_has_passed() {
    let mut world = world();
    let opening = Opening::v5("s").durable(60);
    let client = world.connect(&opening);
    world.subscribe(client, "t", 1);
    world.lose(client);
    world.advance(Duration::from_secs(59));
    assert_eq!(world.broker.statistics().sessions, 1);
    world.advance(Duration::from_secs(2));
    assert_eq!(world.broker.statistics().sessions, 0);
    assert_eq!(world.broker.statistics().subscriptions, 0);
    let client = world.try_connect(&opening).unwrap();
    let connack = world.received(client).remove(0);
    assert!(matches!(
        connack,
        Received::ConnAck {
            session_present: false,
            ..
        }
    ));
}

#[test]
fn disconnect_changes_the_expiry_interval_but_not_from_zero() {
    let mut world = world();
    let farewell = |expiry| Disconnect {
        reason: ReasonCode::Success,
        properties: DisconnectProperties {
            session_expiry_interval: Some(expiry),
            ..DisconnectProperties::default()
        },
    };
    let client = world.connect(&Opening::v5("s").durable(60));
    let _ = world.send(client, |out, version| {
        encode::disconnect(out, version, &farewell(0))
    });
    assert_eq!(world.broker.statistics().sessions, 0);
    let client = world.connect(&Opening::v5("s"));
    let result = world.send(client, |out, version| {
        encode::disconnect(out, version, &farewell(5))
    });
    assert_eq!(result, Err(Violation::SessionExpiryRaisedFromZero));
    assert_eq!(
        world.received(client),
        [Received::Disconnect(ReasonCode::ProtocolError)]
    );
}

#[test]
fn the_port_caps_the_expiry_interval_and_says_so() {
    let mut world = world_with(|limits| limits.max_session_expiry = Some(Duration::from_secs(30)));
    let client = world.try_connect(&Opening::v5("s").durable(60)).unwrap();
    let connack = world.received(client).remove(0);
    assert!(matches!(
        connack,
        Received::ConnAck {
            expiry: Some(30),
            ..
        }
    ));
}

#[test]
fn the_second_connection_of_a_client_takes_the_session_over() {
    let mut world = world();
    let old = world.connect(&Opening::v5("c").durable(60));
    world.subscribe(old, "t", 0);
    let new = world.try_connect(&Opening::v5("c").durable(60)).unwrap();
    assert_eq!(
        world.received(old),
        [Received::Disconnect(ReasonCode::SessionTakenOver)]
    );
    assert!(world.is_closed(old));
    let connack = world.received(new).remove(0);
    assert!(matches!(
        connack,
        Received::ConnAck {
            session_present: true,
            ..
        }
    ));
    world.publish(new, "t", "x", 0).unwrap();
    assert_eq!(world.payloads(new), ["x"]);
}

#[test]
fn a_session_belongs_to_the_principal_that_opened_it() {
    let mut world = world();
    let owner = Opening {
        principal: "owner",
        ..Opening::v5("c").durable(60)
    };
    let client = world.connect(&owner);
    let thief = Opening {
        principal: "thief",
        ..owner.clone()
    };
    let refused = world.try_connect(&thief).unwrap_err();
    assert_eq!(refused.reason, ReasonCode::NotAuthorized);
    assert!(!world.is_closed(client));
}

/// Else a port without authentication could keep devices out of the others, by their client identifiers.
#[test]
fn a_session_that_nobody_opened_gives_way_and_leaves_nothing() {
    let mut world = world();
    let nobody = world.connect(&Opening::v5("c").durable(60));
    world.subscribe(nobody, "t", 1);
    let somebody = Opening {
        principal: "press-1",
        ..Opening::v5("c").durable(60)
    };
    let client = world.try_connect(&somebody).unwrap();
    assert!(world.is_closed(nobody));
    let connack = world.received(client).remove(0);
    assert!(
        matches!(
            connack,
            Received::ConnAck {
                session_present: false,
                ..
            }
        ),
        "{connack:?}"
    );
    world.publish(client, "t", "x", 0).unwrap();
    assert!(world.payloads(client).is_empty());
    let again = world
        .try_connect(&Opening::v5("c").durable(60))
        .unwrap_err();
    assert_eq!(again.reason, ReasonCode::NotAuthorized);
}

#[test]
fn an_empty_identifier_is_assigned() {
    let mut world = world();
    let client = world.try_connect(&Opening::v5("")).unwrap();
    let connack = world.received(client).remove(0);
    let Received::ConnAck { assigned, .. } = connack else {
        panic!("{connack:?}")
    };
    assert_eq!(assigned.as_deref(), Some("assigned"));
}

#[test]
fn silence_for_one_and_a_half_keep_alives_ends_a_connection() {
    let mut world = world();
    let client = world.connect(&Opening {
        keep_alive: 10,
        ..Opening::v5("c")
    });
    world.advance(Duration::from_secs(14));
    world.send(client, |out, _| encode::pingreq(out)).unwrap();
    world.advance(Duration::from_secs(14));
    assert!(!world.is_closed(client));
    world.advance(Duration::from_secs(2));
    assert!(world.is_closed(client));
    let last = world.received(client).pop();
    assert_eq!(
        last,
        Some(Received::Disconnect(ReasonCode::KeepAliveTimeout))
    );
}

#[test]
fn a_will_is_published_unless_the_client_says_goodbye() {
    for (reason, published) in [
        (Some(ReasonCode::Success), false),
        (Some(ReasonCode::DisconnectWithWillMessage), true),
        (None, true),
    ] {
        let mut world = world();
        let watcher = world.connect(&Opening::v5("w"));
        world.subscribe(watcher, "will", 1);
        let client = world.connect(&Opening::v5("c").will("will", 0));
        match reason {
            Some(reason) => world.disconnect(client, reason),
            None => world.lose(client),
        }
        assert_eq!(
            world.messages(watcher).len(),
            usize::from(published),
            "{reason:?}"
        );
    }
}

#[test]
fn a_delayed_will_waits_and_a_client_that_comes_back_takes_it_away() {
    let mut world = world();
    let watcher = world.connect(&Opening::v5("w"));
    world.subscribe(watcher, "will", 1);
    let opening = Opening::v5("c").durable(100).will("will", 10);
    let client = world.connect(&opening);
    world.lose(client);
    world.advance(Duration::from_secs(9));
    let client = world.connect(&opening);
    world.advance(Duration::from_secs(60));
    assert_eq!(world.messages(watcher).len(), 0);
    world.lose(client);
    world.advance(Duration::from_secs(10));
    assert_eq!(world.messages(watcher).len(), 1);
    world.advance(Duration::from_secs(200));
    assert_eq!(world.messages(watcher).len(), 0);
}

#[test]
fn the_end_of_a_session_does_not_wait_for_the_will_delay() {
    let mut world = world();
    let watcher = world.connect(&Opening::v5("w"));
    world.subscribe(watcher, "will", 0);
    let client = world.connect(&Opening::v5("c").durable(5).will("will", 600));
    world.lose(client);
    world.advance(Duration::from_secs(5));
    assert_eq!(world.messages(watcher).len(), 1);
    let client = world.connect(&Opening::v5("c").durable(60).will("will", 600));
    world.lose(client);
    world.connect(&Opening::v5("c"));
    assert_eq!(world.messages(watcher).len(), 1);
}

#[test]
fn one_member_of_a_shared_subscription_gets_each_message() {
    let mut world = world();
    let publisher = world.connect(&Opening::v5("p"));
    let members = ["a", "b", "c"].map(|name| world.connect(&Opening::v5(name)));
    for member in members {
        world.subscribe(member, "$share/g/t", 1);
    }
    for number in 0..9 {
        world
            .publish(publisher, "t", &number.to_string(), 1)
            .unwrap();
    }
    let counts = members.map(|member| world.messages(member).len());
    assert_eq!(counts, [3, 3, 3]);
}

#[test]
fn the_least_loaded_member_is_chosen() {
    let mut world = world();
    let publisher = world.connect(&Opening::v5("p"));
    let slow = world.connect(&Opening::v5("slow"));
    let fast = world.connect(&Opening::v5("fast"));
    for member in [slow, fast] {
        world.subscribe(member, "$share/g/t", 1);
    }
    let mut from_fast = 0;
    for _ in 0..10 {
        world.publish(publisher, "t", "x", 1).unwrap();
        for message in world.messages(fast) {
            from_fast += 1;
            world.ack(fast, AckKind::PubAck, message.packet_id.unwrap());
        }
    }
    assert_eq!(world.messages(slow).len(), 1);
    assert_eq!(from_fast, 9);
}

#[test]
fn what_a_member_did_not_acknowledge_goes_to_another_when_it_leaves_for_good() {
    let mut world = world();
    let publisher = world.connect(&Opening::v5("p"));
    let first = world.connect(&Opening::v5("first"));
    world.subscribe(first, "$share/g/t", 1);
    world.publish(publisher, "t", "x", 1).unwrap();
    let second = world.connect(&Opening::v5("second"));
    world.subscribe(second, "$share/g/t", 1);
    assert_eq!(world.messages(second).len(), 0);
    world.lose(first);
    assert_eq!(world.payloads(second), ["x"]);
}

#[test]
fn a_member_that_is_away_does_not_keep_messages_from_those_present() {
    let mut world = world();
    let publisher = world.connect(&Opening::v5("p"));
    let away = world.connect(&Opening::v5("away").durable(60));
    world.subscribe(away, "$share/g/t", 1);
    world.lose(away);
    world
        .publish(publisher, "t", "for whoever comes back", 1)
        .unwrap();
    let here = world.connect(&Opening::v5("here"));
    world.subscribe(here, "$share/g/t", 1);
    world.publish(publisher, "t", "x", 1).unwrap();
    assert_eq!(world.payloads(here), ["x"]);
    let away = world.connect(&Opening::v5("away").durable(60));
    assert_eq!(world.payloads(away), ["for whoever comes back"]);
}

#[test]
fn unsubscribing_ends_a_subscription_and_says_if_there_was_none() {
    let mut world = world();
    let client = world.connect(&Opening::v5("c"));
    world.subscribe(client, "t", 0);
    world.unsubscribe(client, "t");
    world.unsubscribe(client, "t");
    let answer = |reason| Received::UnsubAck(vec![reason]);
    let expected = [
        answer(ReasonCode::Success),
        answer(ReasonCode::NoSubscriptionExisted),
    ];
    assert_eq!(world.received(client), expected);
    world.publish(client, "t", "x", 0).unwrap();
    assert_eq!(world.messages(client).len(), 0);
}

#[test]
fn a_listing_in_pieces_finds_every_client_once() {
    let mut world = world();
    let names = ["a1", "b1", "a2", "b2", "a3", "a4"];
    let ids = names.map(|name| world.connect(&Opening::v5(name)));
    world.lose(ids[2]);
    world.lose(ids[3]);
    let broker = &world.broker;
    let pieces = |prefix| -> Vec<Vec<String>> {
        let piece = |number: usize| {
            let clients = broker.clients_in(2 * number..2 * number + 2, prefix, world.now)?;
            Some(clients.map(|client| client.client_id).collect())
        };
        (0..).map_while(piece).collect()
    };
    let piece = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        pieces(""),
        [piece(&["a1", "b1"]), piece(&[]), piece(&["a3", "a4"])],
        "a piece without clients is not the end"
    );
    assert_eq!(pieces("b"), [piece(&["b1"]), piece(&[]), piece(&[])]);
    assert_eq!(broker.clients(world.now).count(), 4);
}
