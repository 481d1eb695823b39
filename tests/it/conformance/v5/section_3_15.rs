//! 3.15 AUTH and 4.12 Enhanced authentication, as far as this gateway goes: it offers no method yet, and says so.

use crate::support::{Connect, TestGateway, V5, property};

/// MQTT-4.12.0-1
#[test]
fn unknown_method_is_refused_at_connect() {
    let gateway = TestGateway::start();
    for method in ["SCRAM-SHA-1", "", "K8S-SAT", "x"] {
        let mut client = gateway.open(V5);
        client.send(
            Connect::new(V5, "client")
                .with(property::AUTHENTICATION_METHOD, method)
                .encode(),
        );
        client.expect_refused(0x8C);
    }
}

/// 3.1.2.11.10: data without a method.
#[test]
fn authentication_data_without_method_is_a_protocol_error() {
    let gateway = TestGateway::start();
    let mut client = gateway.open(V5);
    client.send(
        Connect::new(V5, "client")
            .with(property::AUTHENTICATION_DATA, &b"x"[..])
            .encode(),
    );
    client.expect_refused(0x82);
}

/// MQTT-4.12.0-7: AUTH on a connection that began without a method.
#[test]
fn auth_without_method_in_connect_is_a_protocol_error() {
    let gateway = TestGateway::start();
    for packet in [
        "F0 00",
        "F0 01 18",
        "F0 01 19",
        "F0 [ 19 [ 15 'm' ] ]",
        "F0 [ 18 [ 15 'm' 16 'd' ] ]",
    ] {
        let mut client = gateway.v5("client");
        client.hex(packet);
        client.expect_disconnect(0x82);
    }
}

/// MQTT-3.1.0-1: AUTH is no first packet.
#[test]
fn auth_before_connect_closes() {
    let gateway = TestGateway::start();
    let mut client = gateway.open(V5);
    client.hex("F0 [ 18 [ 15 'm' ] ]");
    client.expect_closed();
}
