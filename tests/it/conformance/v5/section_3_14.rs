//! 3.14 DISCONNECT.

use std::time::Duration;

use crate::support::packet::{self, disconnect};
use crate::support::properties::{Properties, Value};
use crate::support::{Connect, Publish, TestGateway, V5, property};

/// 3.14.2.1: reason and properties may be left out.
#[test]
fn every_form_of_disconnect_is_taken() {
    let gateway = TestGateway::start();
    for form in [
        "E0 00",
        "E0 01 00",
        "E0 02 00 00",
        "E0 [ 00 [ 1F 'bye' ] ]",
        "E0 [ 04 [ 26 'k' 'v' 26 'k' 'v' ] ]",
        "E0 01 04",
        "E0 01 80",
    ] {
        let mut client = gateway.v5("client");
        client.hex(form);
        client.expect_closed();
    }
}

/// 3.14.2.2.2: the interval can be changed at the end.
#[test]
fn session_expiry_changes_at_disconnect() {
    let gateway = TestGateway::start();
    let durable = |seconds: u32| {
        Connect::new(V5, "client")
            .resume()
            .with(property::SESSION_EXPIRY_INTERVAL, seconds)
    };
    let expiry = |seconds: u32| Some((property::SESSION_EXPIRY_INTERVAL, Value::Four(seconds)));

    gateway
        .connect(&durable(600))
        .0
        .disconnect_with(0, expiry(0));
    let (client, connack) = gateway.connect(&durable(1));
    assert!(!connack.session_present, "600 became 0");
    client.disconnect_with(0, expiry(600));
    gateway
        .v5("clock")
        .expect_silence(Duration::from_millis(2100));
    let (client, connack) = gateway.connect(&durable(600));
    assert!(connack.session_present, "1 became 600");
    client.disconnect_with(0, None);
    assert!(
        gateway.connect(&durable(600)).1.session_present,
        "absent leaves it as it was"
    );
}

/// 3.14.2.2.2: a session that was to end with its connection cannot be prolonged.
#[test]
fn session_expiry_of_zero_cannot_be_raised_at_disconnect() {
    let gateway = TestGateway::start();
    for connect in [
        Connect::new(V5, "client"),
        Connect::new(V5, "client").with(property::SESSION_EXPIRY_INTERVAL, 0u32),
    ] {
        let (mut client, _) = gateway.connect(&connect);
        let properties = Properties::default().with(property::SESSION_EXPIRY_INTERVAL, 10u32);
        client.send(disconnect(0, &properties));
        client.expect_disconnect(0x82);
        assert!(!gateway.connect(&connect.resume()).1.session_present);
        let (mut client, _) = gateway.connect(&Connect::new(V5, "client"));
        client.send(disconnect(
            0,
            &Properties::default().with(property::SESSION_EXPIRY_INTERVAL, 0u32),
        ));
        client.expect_closed();
    }
}

/// MQTT-3.14.4-1 as seen from the server: nothing after DISCONNECT counts.
#[test]
fn packets_after_disconnect_are_not_processed() {
    let gateway = TestGateway::start();
    let mut watcher = gateway.v5("watcher");
    watcher.subscribe("#", 0);
    let mut client = gateway.v5("client");
    let mut bytes = packet::frame(0xE0, &[]);
    bytes.extend(Publish::new("late", "x").encode(V5));
    client.send(bytes);
    client.expect_closed();
    assert_eq!(watcher.ping(), []);
}

/// 3.14.2.1: codes that a client may not send, and codes that nobody knows.
#[test]
fn unknown_reason_is_an_error() {
    let gateway = TestGateway::start();
    for reason in [0x01u8, 0x03, 0x05, 0x7F, 0xFF, 0xA3] {
        let mut client = gateway.v5("client");
        client.send(packet::frame(0xE0, &[reason]));
        let found = client.disconnect_reason();
        assert!(
            matches!(found, 0x81 | 0x82),
            "{reason:#04x} gives {found:#04x}"
        );
    }
}

/// MQTT-3.14.2-2, MQTT-3.14.2-3, 3.1.2.11.7: what the server says at the end.
#[test]
fn disconnect_of_the_server_is_well_formed() {
    let gateway = TestGateway::start();
    for wanted in [0u8, 1] {
        let connect = Connect::new(V5, "client")
            .with(property::REQUEST_PROBLEM_INFORMATION, wanted)
            .with(property::MAXIMUM_PACKET_SIZE, 30u32);
        let (mut client, _) = gateway.connect(&connect);
        client.hex("30 [ 'a/#' 00 ]");
        let found = client.raw_packet().expect("a DISCONNECT");
        assert!(found.len() <= 30, "{} bytes", found.len());
        assert!(client.raw_packet().is_none());
        let mut client = gateway.connect(&Connect::new(V5, "client")).0;
        client.hex("D0 00");
        let properties = client.expect_disconnect(0x82);
        assert!(!properties.has(property::SESSION_EXPIRY_INTERVAL));
    }
}
