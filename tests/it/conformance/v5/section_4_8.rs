//! 4.8 Subscriptions: shared ones.

use crate::support::packet::{PUBACK, ack};
use crate::support::{Connect, Publish, TestClient, TestGateway, V5, property};

fn member(gateway: &TestGateway, client_id: &str, filter: &str, qos: u8) -> TestClient {
    let mut member = gateway.v5(client_id);
    assert_eq!(member.subscribe(filter, qos), qos);
    member
}

/// 4.8.2: each message goes to one member, and every member works.
#[test]
fn messages_are_shared_out() {
    let gateway = TestGateway::start();
    let mut members: Vec<_> = (0..4)
        .map(|number| {
            member(
                &gateway,
                &format!("member{number}"),
                "$share/group/work/+",
                1,
            )
        })
        .collect();
    let mut publisher = gateway.v5("publisher");
    for number in 0..100u16 {
        publisher.publish(&Publish::new("work/x", number.to_string()).qos(1, number + 1));
    }
    let mut all = Vec::new();
    for member in &mut members {
        let found = member.ping();
        assert!(!found.is_empty(), "every member gets some");
        all.extend(
            found
                .iter()
                .map(|publish| publish.payload_text().parse::<u16>().expect("a number")),
        );
    }
    all.sort_unstable();
    assert_eq!(all, (0..100).collect::<Vec<_>>());
}

/// 4.8.2: groups and plain subscriptions each get their copy.
#[test]
fn groups_and_plain_subscriptions_are_independent() {
    let gateway = TestGateway::start();
    let mut one = member(&gateway, "one", "$share/first/a", 0);
    let mut two = member(&gateway, "two", "$share/second/a", 0);
    let mut three = member(&gateway, "three", "$share/first/+", 0);
    let mut plain = member(&gateway, "plain", "a", 0);
    let mut both = member(&gateway, "both", "a", 0);
    both.subscribe("$share/third/a", 0);
    gateway.v5("publisher").say("a", "x");
    for client in [&mut one, &mut two, &mut three, &mut plain] {
        assert_eq!(client.ping().len(), 1);
    }
    assert_eq!(both.ping().len(), 2, "one for each of its subscriptions");
}

/// MQTT-4.8.2-3: each member at its own quality.
#[test]
fn each_member_is_served_at_its_own_quality() {
    let gateway = TestGateway::start();
    for qos in 0..=2 {
        let mut alone = member(&gateway, "alone", "$share/group/q", qos);
        let mut publisher = gateway.v5("publisher");
        publisher.publish(&Publish::new("q", "x").qos(2, 1));
        assert_eq!(alone.take().qos, qos);
        alone.disconnect();
    }
}

/// 3.8.4: retained messages are not sent to shared subscriptions.
#[test]
fn retained_messages_are_not_sent_to_shared_subscriptions() {
    let gateway = TestGateway::start();
    let mut publisher = gateway.v5("publisher");
    publisher.publish(&Publish::new("kept", "x").retain());
    let mut client = member(&gateway, "client", "$share/group/kept", 1);
    assert_eq!(client.ping(), []);
    publisher.publish(&Publish::new("kept", "y").retain());
    assert_eq!(client.take().payload_text(), "y");
}

/// 4.8.2: a member that is online is preferred to one that is away.
#[test]
fn members_that_are_online_come_first() {
    let gateway = TestGateway::start();
    let durable = Connect::new(V5, "away")
        .resume()
        .with(property::SESSION_EXPIRY_INTERVAL, 600u32);
    let (mut away, _) = gateway.connect(&durable);
    away.subscribe("$share/group/a", 1);
    away.disconnect();
    let mut online = member(&gateway, "online", "$share/group/a", 1);
    let mut publisher = gateway.v5("publisher");
    for number in 1..=20u16 {
        publisher.publish(&Publish::new("a", "").qos(1, number));
    }
    assert_eq!(online.ping().len(), 20);
    let (mut away, _) = gateway.connect(&durable);
    assert_eq!(away.ping(), []);
}

/// 4.8.2: nobody online, then the message waits with a member's session.
#[test]
fn messages_wait_when_nobody_is_online() {
    let gateway = TestGateway::start();
    let durable = Connect::new(V5, "away")
        .resume()
        .with(property::SESSION_EXPIRY_INTERVAL, 600u32);
    let (mut away, _) = gateway.connect(&durable);
    away.subscribe("$share/group/a", 1);
    away.disconnect();
    let mut publisher = gateway.v5("publisher");
    for number in 1..=5u16 {
        publisher.publish(&Publish::new("a", "").qos(1, number));
    }
    let (mut away, _) = gateway.connect(&durable);
    for _ in 0..5 {
        away.take();
    }
    assert_eq!(away.ping(), []);
}

/// A member that leaves leaves its share to the others.
#[test]
fn others_take_over_when_a_member_leaves() {
    let gateway = TestGateway::start();
    let leaving = member(&gateway, "leaving", "$share/group/a", 1);
    let mut unsubscribing = member(&gateway, "unsubscribing", "$share/group/a", 1);
    let mut staying = member(&gateway, "staying", "$share/group/a", 1);
    leaving.disconnect();
    assert_eq!(unsubscribing.unsubscribe(&["$share/group/a"]).codes, [0]);
    let mut publisher = gateway.v5("publisher");
    for number in 1..=30u16 {
        publisher.publish(&Publish::new("a", "").qos(1, number));
    }
    assert_eq!(staying.ping().len(), 30);
    assert_eq!(unsubscribing.ping(), []);
}

/// 4.8.2: QoS 1 messages that a leaving member did not acknowledge may go to others; none is lost, none comes twice.
#[test]
fn unacknowledged_messages_of_an_ended_session_are_not_lost() {
    let gateway = TestGateway::start();
    let connect = Connect::new(V5, "leaving").with(property::RECEIVE_MAXIMUM, 2u16);
    let (mut leaving, _) = gateway.connect(&connect);
    leaving.subscribe("$share/group/a", 1);
    let mut publisher = gateway.v5("publisher");
    for number in 1..=6u16 {
        publisher.publish(&Publish::new("a", number.to_string()).qos(1, number));
    }
    let first = leaving.next_publish();
    assert_eq!(first.payload_text(), "1");
    leaving.send(ack(PUBACK, first.packet_id));
    leaving.next_publish();
    let mut staying = member(&gateway, "staying", "$share/group/a", 1);
    leaving.cut();
    let mut found = Vec::new();
    while found.len() < 3 {
        found.push(staying.take().payload_text().to_owned());
    }
    found.sort_unstable();
    found.dedup();
    assert!(
        !found.contains(&"1".to_owned()),
        "acknowledged messages do not come again: {found:?}"
    );
}

/// The least loaded member gets the next message: one that does not acknowledge does not starve the group.
#[test]
fn member_that_does_not_acknowledge_does_not_hold_the_group_up() {
    let gateway = TestGateway::start();
    let connect = Connect::new(V5, "stuck").with(property::RECEIVE_MAXIMUM, 1u16);
    let (mut stuck, _) = gateway.connect(&connect);
    stuck.subscribe("$share/group/a", 1);
    let mut busy = member(&gateway, "busy", "$share/group/a", 1);
    let mut publisher = gateway.v5("publisher");
    let mut taken = 0;
    for number in 1..=40u16 {
        publisher.publish(&Publish::new("a", "").qos(1, number));
        for publish in busy.ping() {
            busy.acknowledge(&publish);
            taken += 1;
        }
    }
    assert!(
        taken >= 36,
        "the member that acknowledges got {taken} of 40"
    );
}

/// 3.3.4, 4.8.2: the identifier of the shared subscription comes with its messages.
#[test]
fn shared_subscription_has_its_identifier() {
    let gateway = TestGateway::start();
    let mut client = gateway.v5("client");
    client.subscribe_with(Some(77), &[("$share/group/a", 0)]);
    client.send_publish(&Publish::new("a", "x"));
    assert_eq!(
        client
            .take()
            .properties
            .numbers(property::SUBSCRIPTION_IDENTIFIER),
        [77]
    );
}
