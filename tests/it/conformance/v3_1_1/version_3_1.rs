//! MQTT 3.1, which old field devices speak.

use crate::support::{Connect, TestGateway, V3_1, V3_1_1};

#[test]
fn old_protocol_name_is_accepted() {
    let gateway = TestGateway::start();
    let mut client = gateway.open(V3_1);
    client.hex("10 [ 'MQIsdp' 03 02 003C 'client' ]");
    client.expect("20 02 00 00");
    client.hex("82 [ 0001 'a' 01 ]");
    client.expect("90 03 0001 01");
}

/// CONNACK of 3.1 has no session present flag: its first byte is reserved.
#[test]
fn session_present_is_not_told_to_old_clients() {
    let gateway = TestGateway::start();
    let kept = Connect::new(V3_1, "client").resume();
    gateway.connect(&kept).0.disconnect();
    let mut client = gateway.open(V3_1);
    client.send(kept.encode());
    client.expect("20 02 00 00");
}

/// The protocol name belongs to the level.
#[test]
fn name_and_level_must_fit() {
    let gateway = TestGateway::start();
    for connect in [
        "10 [ 'MQIsdp' 04 02 003C 'client' ]",
        "10 [ 'MQTT' 03 02 003C 'client' ]",
    ] {
        let mut client = gateway.open(V3_1_1);
        client.hex(connect);
        if let Some(found) = client.raw_packet() {
            assert!(found.starts_with(&[0x20]) && found[3] != 0, "{found:02x?}");
            assert!(client.raw_packet().is_none());
        }
    }
}

/// 3.1: 1 to 23 characters.
#[test]
fn empty_client_identifier_is_refused() {
    let gateway = TestGateway::start();
    let mut client = gateway.open(V3_1);
    client.send(Connect::new(V3_1, "").encode());
    client.expect_refused(0x02);
}
