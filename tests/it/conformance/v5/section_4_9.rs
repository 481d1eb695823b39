//! 4.9 Flow control.

use crate::support::{Connect, Publish, TestGateway, V5, property};

/// MQTT-4.9.0-3: with no credit left, everything but PUBLISH goes on.
#[test]
fn other_packets_flow_without_credit() {
    let gateway = TestGateway::start();
    let (mut client, _) =
        gateway.connect(&Connect::new(V5, "client").with(property::RECEIVE_MAXIMUM, 1u16));
    client.subscribe("flow", 1);
    let mut publisher = gateway.v5("publisher");
    for number in 1..=3u16 {
        publisher.publish(&Publish::new("flow", number.to_string()).qos(1, number));
    }
    let first = client.next_publish();
    assert_eq!(client.subscribe("other", 2), 2);
    assert_eq!(client.unsubscribe(&["other"]).codes, [0]);
    client.publish(&Publish::new("elsewhere", "").qos(1, 100));
    client.publish(&Publish::new("elsewhere", "").qos(2, 101));
    assert_eq!(client.ping(), []);
    client.acknowledge(&first);
    assert_eq!(client.take().payload_text(), "2");
    assert_eq!(client.take().payload_text(), "3");
}

/// 4.9: with QoS 2 the credit comes back with PUBCOMP.
#[test]
fn credit_of_exactly_once_returns_with_pubcomp() {
    let gateway = TestGateway::start();
    let (mut client, _) =
        gateway.connect(&Connect::new(V5, "client").with(property::RECEIVE_MAXIMUM, 1u16));
    client.subscribe("flow", 2);
    let mut publisher = gateway.v5("publisher");
    publisher.publish(&Publish::new("flow", "1").qos(2, 1));
    publisher.publish(&Publish::new("flow", "2").qos(2, 2));
    let first = client.next_publish();
    client.send(crate::support::packet::ack(0x50, first.packet_id));
    assert_eq!(client.pubrel().packet_id, first.packet_id);
    assert_eq!(client.ping(), [], "PUBREC alone gives no credit");
    client.send(crate::support::packet::ack(0x70, first.packet_id));
    assert_eq!(client.take().payload_text(), "2");
}

/// 3.1.2.11.3: absent means 65,535.
#[test]
fn many_messages_flow_without_a_receive_maximum() {
    let gateway = TestGateway::start();
    let mut client = gateway.v5("client");
    client.subscribe("flow", 1);
    let mut publisher = gateway.v5("publisher");
    let mut burst = Vec::new();
    for number in 1..=500u16 {
        burst.extend(
            Publish::new("flow", number.to_string())
                .qos(1, number)
                .encode(V5),
        );
    }
    publisher.send(burst);
    for number in 1..=500u16 {
        assert_eq!(publisher.puback().packet_id, number);
    }
    assert_eq!(client.ping().len(), 500);
}

/// A subscriber that never acknowledges slows nobody else down.
#[test]
fn stuck_subscriber_costs_only_itself() {
    let gateway = TestGateway::start();
    let (mut stuck, _) =
        gateway.connect(&Connect::new(V5, "stuck").with(property::RECEIVE_MAXIMUM, 1u16));
    stuck.subscribe("flow", 2);
    let mut quick = gateway.v5("quick");
    quick.subscribe("flow", 1);
    let mut publisher = gateway.v5("publisher");
    for number in 1..=300u16 {
        publisher.publish(&Publish::new("flow", number.to_string()).qos(1, number));
        assert_eq!(quick.take().payload_text(), number.to_string());
    }
    assert_eq!(stuck.ping().len(), 1);
}
