//! 4.1 Session state, 4.4 Message delivery retry, 4.6 Message ordering.

use crate::support::packet::{PUBACK, PUBREC, ack};
use crate::support::{Connect, Publish, Received, TestGateway, V5, property};

fn durable(client_id: &str) -> Connect {
    Connect::new(V5, client_id)
        .resume()
        .with(property::SESSION_EXPIRY_INTERVAL, 600u32)
}

/// MQTT-4.4.0-1: messages come again at a reconnect, and at no other time.
#[test]
fn nothing_is_repeated_on_an_open_connection() {
    let gateway = TestGateway::start();
    let mut client = gateway.v5("client");
    client.subscribe("a", 2);
    gateway
        .v5("publisher")
        .publish(&Publish::new("a", "x").qos(2, 1));
    client.next_publish();
    client.expect_silence(std::time::Duration::from_millis(1500));
    assert_eq!(client.ping(), []);
}

/// 4.4, 4.6: what was in flight comes first, then what was queued, in the order of publication.
#[test]
fn reconnect_sends_flights_before_the_queue() {
    let gateway = TestGateway::start();
    let connect = durable("client").with(property::RECEIVE_MAXIMUM, 3u16);
    let (mut client, _) = gateway.connect(&connect);
    client.subscribe("q", 1);
    let mut publisher = gateway.v5("publisher");
    for number in 1..=6u16 {
        publisher.publish(&Publish::new("q", number.to_string()).qos(1, number));
    }
    let first: Vec<_> = (0..3).map(|_| client.next_publish()).collect();
    client.send(ack(PUBACK, first[1].packet_id));
    assert_eq!(client.next_publish().payload_text(), "4");
    client.cut();
    let (mut client, _) = gateway.connect(&connect);
    let mut found = Vec::new();
    while found.len() < 5 {
        let publish = client.take();
        found.push((publish.payload_text().to_owned(), publish.dup));
    }
    let expected = [
        ("1", true),
        ("3", true),
        ("4", true),
        ("5", false),
        ("6", false),
    ];
    assert_eq!(
        found,
        expected.map(|(payload, dup)| (payload.to_owned(), dup))
    );
}

/// 4.1: identifiers of the server's messages stay taken while a flow is open, across reconnects.
#[test]
fn identifiers_in_flight_are_not_given_twice() {
    let gateway = TestGateway::start();
    let (mut client, _) = gateway.connect(&durable("client"));
    client.subscribe("q", 2);
    let mut publisher = gateway.v5("publisher");
    publisher.publish(&Publish::new("q", "a").qos(2, 1));
    let first = client.next_publish();
    client.send(ack(PUBREC, first.packet_id));
    client.pubrel();
    client.cut();
    let (mut client, _) = gateway.connect(&durable("client"));
    assert_eq!(client.pubrel().packet_id, first.packet_id);
    for number in 2..=20u16 {
        publisher.publish(&Publish::new("q", "").qos(1, number));
        assert_ne!(client.next_publish().packet_id, first.packet_id);
    }
}

/// MQTT-4.1.0-1: a session whose connection is open does not expire.
#[test]
fn session_does_not_expire_while_connected() {
    let gateway = TestGateway::start();
    let connect = Connect::new(V5, "client")
        .resume()
        .with(property::SESSION_EXPIRY_INTERVAL, 1u32);
    let (mut client, _) = gateway.connect(&connect);
    client.subscribe("a", 1);
    client.expect_silence(std::time::Duration::from_millis(2100));
    client.send_publish(&Publish::new("a", "x"));
    assert_eq!(client.take().payload_text(), "x");
    // From here on it would expire: longer than it takes to come back.
    client.disconnect_with(0, Some((property::SESSION_EXPIRY_INTERVAL, 600u32.into())));
    assert!(gateway.connect(&connect).1.session_present);
}

/// MQTT-4.6.0-6, from the queue to the live messages.
#[test]
fn order_holds_between_publishers_topics_and_queues() {
    let gateway = TestGateway::start();
    let (mut client, _) = gateway.connect(&durable("client"));
    client.subscribe("o/#", 1);
    client.disconnect();
    let mut one = gateway.v5("one");
    let mut two = gateway.v5("two");
    for number in 0..50u16 {
        one.publish(&Publish::new("o/one", number.to_string()).qos(1, number + 1));
        two.publish(&Publish::new("o/two", number.to_string()).qos(1, number + 1));
    }
    let (mut client, _) = gateway.connect(&durable("client"));
    for number in 0..50u16 {
        one.publish(&Publish::new("o/one", (number + 50).to_string()).qos(1, number + 1));
    }
    let mut last = std::collections::BTreeMap::new();
    let mut count = 0;
    while count < 150 {
        let Received::Publish(found) = client.receive() else {
            panic!("expected PUBLISH")
        };
        client.acknowledge(&found);
        let number: i32 = found.payload_text().parse().expect("a number");
        let before = last.insert(found.topic.clone(), number).unwrap_or(-1);
        assert_eq!(number, before + 1, "order of {}", found.topic);
        count += 1;
    }
}

/// A smaller receive maximum at the reconnect holds for what comes again, too.
#[test]
fn receive_maximum_holds_for_repeated_messages() {
    for takeover in [false, true] {
        let gateway = TestGateway::start();
        let (mut old, _) = gateway.connect(&durable("client"));
        old.subscribe("q", 1);
        let mut publisher = gateway.v5("publisher");
        for number in 1..=5u16 {
            publisher.publish(&Publish::new("q", number.to_string()).qos(1, number));
        }
        assert_eq!(old.ping().len(), 5);
        let again = durable("client").with(property::RECEIVE_MAXIMUM, 2u16);
        let (mut client, _) = if takeover {
            let new = gateway.connect(&again);
            old.expect_disconnect(0x8E);
            new
        } else {
            old.disconnect();
            gateway.connect(&again)
        };
        let mut under_way = std::collections::VecDeque::from(client.ping());
        for number in 1..=5 {
            assert_eq!(under_way.len(), 2.min(6 - number), "{under_way:?}");
            let publish = under_way.pop_front().expect("a message under way");
            assert_eq!(publish.payload_text(), number.to_string());
            client.acknowledge(&publish);
            if number <= 3 {
                under_way.push_back(client.next_publish());
            }
        }
        assert_eq!(client.ping(), []);
    }
}
