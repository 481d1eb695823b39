//! 3.1.2.5 to 3.1.3.2: the will of a version 5 client.

use std::time::{Duration, Instant};

use crate::support::{Connect, Publish, TestClient, TestGateway, V5, Will, property};

fn watcher(gateway: &TestGateway) -> TestClient {
    let mut watcher = gateway.v5("watcher");
    watcher.subscribe("will/#", 2);
    watcher
}

fn delayed(seconds: u32) -> Will {
    Will::new("will/x", "gone").with(property::WILL_DELAY_INTERVAL, seconds)
}

/// 3.1.3.2.2, MQTT-3.1.2-8
#[test]
fn will_waits_for_its_delay() {
    let gateway = TestGateway::start();
    let mut watcher = watcher(&gateway);
    let connect = Connect::new(V5, "mortal")
        .with(property::SESSION_EXPIRY_INTERVAL, 60u32)
        .will(delayed(1));
    let (client, _) = gateway.connect(&connect);
    let start = Instant::now();
    client.cut();
    assert_eq!(watcher.take().payload_text(), "gone");
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(900), "after {took:?}");
    assert!(took < Duration::from_secs(15), "after {took:?}");
}

/// MQTT-3.1.3-9, and the last part of MQTT-3.1.2-8.
#[test]
fn will_is_dropped_when_the_client_returns_within_the_delay() {
    let gateway = TestGateway::start();
    let mut watcher = watcher(&gateway);
    let connect = Connect::new(V5, "mortal")
        .resume()
        .with(property::SESSION_EXPIRY_INTERVAL, 60u32);
    gateway.connect(&connect.clone().will(delayed(5))).0.cut();
    let (mut back, connack) = gateway.connect(&connect);
    assert!(connack.session_present);
    watcher.expect_silence(Duration::from_secs(6));
    back.ping();
    assert_eq!(watcher.ping(), []);
}

/// 3.1.3.2.2: the end of the session comes before the end of the delay.
#[test]
fn will_does_not_wait_longer_than_the_session() {
    let gateway = TestGateway::start();
    let mut watcher = watcher(&gateway);
    let start = Instant::now();
    gateway
        .connect(&Connect::new(V5, "mortal").will(delayed(60)))
        .0
        .cut();
    assert_eq!(watcher.take().payload_text(), "gone");
    let short = Connect::new(V5, "mortal")
        .with(property::SESSION_EXPIRY_INTERVAL, 1u32)
        .will(delayed(60));
    gateway.connect(&short).0.cut();
    assert_eq!(watcher.take().payload_text(), "gone");
    assert!(
        start.elapsed() < Duration::from_secs(15),
        "after {:?}",
        start.elapsed()
    );
}

/// 3.1.2.5: a clean start ends the session, and so the delay.
#[test]
fn clean_start_publishes_a_waiting_will() {
    let gateway = TestGateway::start();
    let mut watcher = watcher(&gateway);
    let connect = Connect::new(V5, "mortal").with(property::SESSION_EXPIRY_INTERVAL, 600u32);
    gateway.connect(&connect.clone().will(delayed(600))).0.cut();
    gateway.connect(&connect).0.disconnect();
    assert_eq!(watcher.take().payload_text(), "gone");
}

/// 3.1.4-3 and 3.1.2.5: a takeover that goes on with the session within the delay drops the will.
#[test]
fn takeover_within_the_delay_drops_the_will() {
    let gateway = TestGateway::start();
    let mut watcher = watcher(&gateway);
    let connect = Connect::new(V5, "mortal")
        .resume()
        .with(property::SESSION_EXPIRY_INTERVAL, 600u32);
    let (mut first, _) = gateway.connect(&connect.clone().will(delayed(600)));
    let (second, connack) = gateway.connect(&connect);
    assert!(connack.session_present);
    first.expect_disconnect(0x8E);
    assert_eq!(watcher.ping(), []);
    second.disconnect();
    assert_eq!(watcher.ping(), []);
}

/// MQTT-3.14.4-3 and 3.14.2.1: only the reason 0x00 drops the will.
#[test]
fn disconnect_with_will_message_publishes_the_will() {
    let gateway = TestGateway::start();
    let mut watcher = watcher(&gateway);
    for reason in [
        0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99,
    ] {
        let connect = Connect::new(V5, "mortal").will(Will::new("will/x", format!("{reason:02x}")));
        gateway.connect(&connect).0.disconnect_with(reason, None);
        assert_eq!(watcher.take().payload_text(), format!("{reason:02x}"));
    }
    gateway
        .connect(&Connect::new(V5, "mortal").will(delayed(0)))
        .0
        .disconnect_with(0x00, None);
    assert_eq!(watcher.ping(), []);
}

/// 3.14.2.1 with a delay: 0x04 starts it, the return of the client ends it.
#[test]
fn disconnect_with_will_message_starts_the_delay() {
    let gateway = TestGateway::start();
    let mut watcher = watcher(&gateway);
    let connect = Connect::new(V5, "mortal")
        .resume()
        .with(property::SESSION_EXPIRY_INTERVAL, 600u32);
    gateway
        .connect(&connect.clone().will(delayed(600)))
        .0
        .disconnect_with(0x04, None);
    assert_eq!(watcher.ping(), []);
    gateway.connect(&connect).0.disconnect();
    assert_eq!(watcher.ping(), []);
}

/// 3.1.3.2: properties of the will become properties of the message, except its delay.
#[test]
fn will_properties_become_message_properties() {
    let gateway = TestGateway::start();
    let mut watcher = watcher(&gateway);
    let will = Will::new("will/x", "gone")
        .qos(1)
        .with(property::WILL_DELAY_INTERVAL, 0u32)
        .with(property::PAYLOAD_FORMAT_INDICATOR, 1u8)
        .with(property::MESSAGE_EXPIRY_INTERVAL, 300u32)
        .with(property::CONTENT_TYPE, "text/plain")
        .with(property::RESPONSE_TOPIC, "answer/here")
        .with(property::CORRELATION_DATA, &[0u8, 1, 0xFF][..])
        .with(property::USER_PROPERTY, ("a", "1"))
        .with(property::USER_PROPERTY, ("b", "2"))
        .with(property::USER_PROPERTY, ("a", "3"));
    gateway
        .connect(&Connect::new(V5, "mortal").will(will))
        .0
        .cut();
    let found = watcher.take().properties;
    assert_eq!(found.number(property::PAYLOAD_FORMAT_INDICATOR), Some(1));
    assert_eq!(found.number(property::MESSAGE_EXPIRY_INTERVAL), Some(300));
    assert_eq!(found.text(property::CONTENT_TYPE), Some("text/plain"));
    assert_eq!(found.text(property::RESPONSE_TOPIC), Some("answer/here"));
    assert_eq!(
        found.bytes(property::CORRELATION_DATA),
        Some(&[0u8, 1, 0xFF][..])
    );
    assert_eq!(found.user(), [("a", "1"), ("b", "2"), ("a", "3")]);
    assert!(!found.has(property::WILL_DELAY_INTERVAL));
}

/// 3.1.3.2.4: the lifetime of the will begins when it is published.
#[test]
fn will_expiry_counts_from_publication() {
    let gateway = TestGateway::start();
    let mut watcher = watcher(&gateway);
    let will = delayed(1).with(property::MESSAGE_EXPIRY_INTERVAL, 100u32);
    let connect = Connect::new(V5, "mortal")
        .with(property::SESSION_EXPIRY_INTERVAL, 60u32)
        .will(will);
    gateway.connect(&connect).0.cut();
    assert_eq!(
        watcher
            .take()
            .properties
            .number(property::MESSAGE_EXPIRY_INTERVAL),
        Some(100)
    );
}

/// A will goes the way of any message: subscription identifiers, retain as published, sessions that are away.
#[test]
fn will_is_routed_like_any_message() {
    let gateway = TestGateway::start();
    let durable = Connect::new(V5, "away")
        .resume()
        .with(property::SESSION_EXPIRY_INTERVAL, 600u32);
    let (mut away, _) = gateway.connect(&durable);
    away.subscribe_with(Some(42), &[("will/#", 1 | 8)]);
    away.disconnect();
    let will = Will::new("will/x", "gone").qos(1).retain();
    gateway
        .connect(&Connect::new(V5, "mortal").will(will))
        .0
        .cut();
    let mut watcher = gateway.v5("watcher");
    watcher.subscribe("will/x", 0);
    let published = watcher.take();
    assert_eq!(published.payload_text(), "gone");
    let (mut away, _) = gateway.connect(&durable);
    let found = away.take();
    assert_eq!(
        (found.payload_text(), found.qos, found.retain),
        ("gone", 1, true)
    );
    assert_eq!(
        found.properties.numbers(property::SUBSCRIPTION_IDENTIFIER),
        [42]
    );
}

/// A second connection brings its own will; the old one is gone after a normal DISCONNECT.
#[test]
fn each_connection_has_its_own_will() {
    let gateway = TestGateway::start();
    let mut watcher = watcher(&gateway);
    let durable = Connect::new(V5, "mortal")
        .resume()
        .with(property::SESSION_EXPIRY_INTERVAL, 600u32);
    gateway
        .connect(&durable.clone().will(Will::new("will/first", "")))
        .0
        .disconnect();
    gateway
        .connect(&durable.clone().will(Will::new("will/second", "")))
        .0
        .cut();
    assert_eq!(watcher.take().topic, "will/second");
    gateway.connect(&durable).0.cut();
    watcher.send_publish(&Publish::new("will/end", ""));
    assert_eq!(watcher.take().topic, "will/end");
}
