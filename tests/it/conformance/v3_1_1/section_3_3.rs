//! 3.3 PUBLISH, and how the versions meet in one message.

use crate::support::{Publish, TestGateway, V3_1, V3_1_1, V5, Version, property};

/// A message passes between any two versions; what the receiver's version cannot say is left out.
#[test]
fn messages_pass_between_versions() {
    let gateway = TestGateway::start();
    let connect = |version: Version, name: &str| {
        gateway
            .connect(&crate::support::Connect::new(version, name))
            .0
    };
    for from in [V3_1, V3_1_1, V5] {
        for to in [V3_1, V3_1_1, V5] {
            let mut subscriber = connect(to, "subscriber");
            subscriber.subscribe("between", 2);
            let mut publisher = connect(from, "publisher");
            for qos in 0..=2 {
                let publish = Publish::new("between", "x")
                    .qos(qos, u16::from(qos > 0))
                    .with(property::USER_PROPERTY, ("k", "v"))
                    .with(property::CONTENT_TYPE, "text");
                publisher.publish(&publish);
                let found = subscriber.take();
                assert_eq!(
                    (found.topic.as_str(), found.payload_text(), found.qos),
                    ("between", "x", qos)
                );
                assert_eq!(
                    found.properties.0.len(),
                    if from == V5 && to == V5 { 2 } else { 0 }
                );
            }
        }
    }
}

/// The expiry of a message holds for receivers that cannot be told about it.
#[test]
fn message_expiry_holds_for_old_receivers() {
    let gateway = TestGateway::start();
    let kept = crate::support::Connect::new(V3_1_1, "away").resume();
    let (mut away, _) = gateway.connect(&kept);
    away.subscribe("expiry", 1);
    away.disconnect();
    let mut publisher = gateway.v5("publisher");
    publisher.publish(
        &Publish::new("expiry", "x")
            .qos(1, 1)
            .with(property::MESSAGE_EXPIRY_INTERVAL, 1u32),
    );
    publisher.publish(&Publish::new("expiry", "y").qos(1, 2));
    publisher.expect_silence(std::time::Duration::from_millis(2100));
    let (mut away, _) = gateway.connect(&kept);
    assert_eq!(away.take().payload_text(), "y");
}

/// Shared subscriptions are version 5, but nothing forbids the filter to older clients, and it is useful to them.
#[test]
fn old_clients_may_share_subscriptions() {
    let gateway = TestGateway::start();
    let mut one = gateway.v3("one");
    let mut two = gateway.v3("two");
    one.subscribe("$share/group/a", 1);
    two.subscribe("$share/group/a", 1);
    let mut publisher = gateway.v3("publisher");
    for number in 1..=10 {
        publisher.publish(&Publish::new("a", "x").qos(1, number));
    }
    assert_eq!(one.ping().len() + two.ping().len(), 10);
}
