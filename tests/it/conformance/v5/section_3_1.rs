//! 3.1 CONNECT. Wills are in `section_3_1_will`.

use std::time::Duration;

use crate::support::packet::{PUBREC, ack};
use crate::support::{Connect, Publish, Received, TestGateway, V5, property};

/// MQTT-3.1.2-4: clean start says nothing about the end of the session.
#[test]
fn session_of_a_clean_start_is_kept_for_its_expiry_interval() {
    let gateway = TestGateway::start();
    let connect = Connect::new(V5, "client").with(property::SESSION_EXPIRY_INTERVAL, 600u32);
    let (mut client, connack) = gateway.connect(&connect);
    assert!(!connack.session_present);
    client.subscribe("a", 1);
    client.disconnect();
    let (mut client, connack) = gateway.connect(&connect.clone().resume());
    assert!(connack.session_present, "MQTT-3.2.2-3");
    client.send_publish(&Publish::new("a", "x"));
    assert_eq!(client.take().payload_text(), "x");
    client.disconnect();
    assert!(!gateway.connect(&connect).1.session_present, "MQTT-3.2.2-2");
}

/// 3.1.2.11.2: absent is zero, and then the session ends with the connection.
#[test]
fn session_without_expiry_interval_ends_with_its_connection() {
    let gateway = TestGateway::start();
    let connect = Connect::new(V5, "client").resume();
    for _ in 0..3 {
        let (client, connack) = gateway.connect(&connect);
        assert!(!connack.session_present, "MQTT-3.1.2-6");
        client.disconnect();
    }
}

/// MQTT-3.1.2-21 of the state table, 4.1.0-2: after the interval the session is gone.
#[test]
fn session_expires() {
    let gateway = TestGateway::start();
    let connect = Connect::new(V5, "client")
        .resume()
        .with(property::SESSION_EXPIRY_INTERVAL, 1u32);
    let (mut client, _) = gateway.connect(&connect);
    client.subscribe("a", 1);
    client.disconnect();
    let mut clock = gateway.v5("clock");
    clock.expect_silence(Duration::from_millis(2100));
    assert!(!gateway.connect(&connect).1.session_present);
}

/// 3.1.2.11.2: 0xFFFFFFFF never expires, unless the server says otherwise.
#[test]
fn endless_session_is_kept_or_the_server_says_for_how_long() {
    let gateway = TestGateway::start();
    let connect = Connect::new(V5, "client")
        .resume()
        .with(property::SESSION_EXPIRY_INTERVAL, u32::MAX);
    let (client, connack) = gateway.connect(&connect);
    if let Some(interval) = connack.properties.number(property::SESSION_EXPIRY_INTERVAL) {
        assert!(interval > 3600, "{interval}");
    }
    client.disconnect();
    assert!(gateway.connect(&connect).1.session_present);
}

/// The interval of a new connection counts, not the one of the connection before it.
#[test]
fn expiry_interval_is_that_of_the_newest_connection() {
    let gateway = TestGateway::start();
    let long = Connect::new(V5, "client")
        .resume()
        .with(property::SESSION_EXPIRY_INTERVAL, 600u32);
    gateway.connect(&long).0.disconnect();
    let short = Connect::new(V5, "client").resume();
    let (client, connack) = gateway.connect(&short);
    assert!(connack.session_present);
    client.disconnect();
    assert!(!gateway.connect(&long).1.session_present);
}

/// MQTT-3.1.3-6, MQTT-3.1.3-7, MQTT-3.2.2-16
#[test]
fn empty_client_identifier_is_replaced_by_one_of_its_own() {
    let gateway = TestGateway::start();
    let mut names = Vec::new();
    for number in 0..20 {
        let connect = Connect::new(V5, "");
        let connect = if number % 2 == 0 {
            connect
        } else {
            connect.resume()
        };
        let (client, connack) = gateway.connect(&connect);
        assert!(!connack.session_present);
        let name = connack
            .properties
            .text(property::ASSIGNED_CLIENT_IDENTIFIER)
            .expect("an assigned identifier");
        assert!(!name.is_empty());
        names.push(name.to_owned());
        client.disconnect();
    }
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "each one is new");
}

/// MQTT-3.1.3-7: the session goes on under the assigned identifier.
#[test]
fn assigned_client_identifier_finds_its_session() {
    let gateway = TestGateway::start();
    let connect = Connect::new(V5, "").with(property::SESSION_EXPIRY_INTERVAL, 600u32);
    let (client, connack) = gateway.connect(&connect);
    let name = connack
        .properties
        .text(property::ASSIGNED_CLIENT_IDENTIFIER)
        .expect("an assigned identifier");
    client.disconnect();
    let again = Connect::new(V5, name)
        .resume()
        .with(property::SESSION_EXPIRY_INTERVAL, 600u32);
    let (_client, connack) = gateway.connect(&again);
    assert!(connack.session_present);
    assert!(
        !connack.properties.has(property::ASSIGNED_CLIENT_IDENTIFIER),
        "only for an empty identifier"
    );
}

/// MQTT-3.1.3-5 allows more than its 23 characters.
#[test]
fn client_identifiers_may_be_long_and_odd() {
    let gateway = TestGateway::start();
    for client_id in [
        "x".repeat(200),
        "#/+".to_owned(),
        "$SYS".to_owned(),
        " ".to_owned(),
        "ü/é".to_owned(),
    ] {
        gateway
            .connect(&Connect::new(V5, &client_id))
            .0
            .disconnect();
    }
}

/// 3.1.2.9: version 5 allows a password without a user name.
#[test]
fn password_may_come_without_user_name() {
    let gateway = TestGateway::start();
    gateway
        .connect(&Connect::new(V5, "client").password(b"secret"))
        .0
        .disconnect();
}

/// MQTT-3.1.2-24, MQTT-3.1.2-25: a message that is too large is dropped as if it had been delivered.
#[test]
fn message_above_the_clients_maximum_packet_size_is_dropped() {
    let gateway = TestGateway::start();
    let connect = Connect::new(V5, "small").with(property::MAXIMUM_PACKET_SIZE, 40u32);
    let (mut small, _) = gateway.connect(&connect);
    small.subscribe("size", 2);
    let mut publisher = gateway.v5("publisher");
    for qos in 0..=2u8 {
        let packet_id = u16::from(qos);
        publisher.publish(&Publish::new("size", "x".repeat(100)).qos(qos, packet_id));
        publisher.publish(&Publish::new("size", format!("fits {qos}")).qos(qos, packet_id));
        assert_eq!(small.take().payload_text(), format!("fits {qos}"));
    }
    assert_eq!(small.ping(), []);
}

/// The limit is on the whole packet: with its fixed header, and to the byte.
#[test]
fn maximum_packet_size_is_exact() {
    let gateway = TestGateway::start();
    let connect = Connect::new(V5, "small").with(property::MAXIMUM_PACKET_SIZE, 50u32);
    let (mut small, _) = gateway.connect(&connect);
    small.subscribe("size", 0);
    let mut publisher = gateway.v5("publisher");
    let overhead = 2 + 2 + 4 + 1;
    publisher.say("size", &"y".repeat(50 - overhead + 1));
    publisher.say("size", &"x".repeat(50 - overhead));
    let found = small.ping();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].payload.len(), 50 - overhead);
}

/// A retained message and a queued one are no exception.
#[test]
fn maximum_packet_size_holds_for_retained_and_queued_messages() {
    let gateway = TestGateway::start();
    let durable = Connect::new(V5, "small")
        .resume()
        .with(property::SESSION_EXPIRY_INTERVAL, 600u32);
    let (mut small, _) = gateway.connect(&durable);
    small.subscribe("size/#", 1);
    small.disconnect();
    let mut publisher = gateway.v5("publisher");
    publisher.publish(
        &Publish::new("size/kept", "x".repeat(200))
            .qos(1, 1)
            .retain(),
    );
    publisher.publish(&Publish::new("size/fits", "x").qos(1, 2).retain());
    let (mut small, _) = gateway.connect(&durable.with(property::MAXIMUM_PACKET_SIZE, 60u32));
    assert_eq!(small.take().topic, "size/fits");
    small.subscribe("size/+", 1);
    assert_eq!(small.take().topic, "size/fits");
    assert_eq!(small.ping(), []);
}

/// MQTT-3.1.2-28
#[test]
fn response_information_is_not_given_unasked() {
    let gateway = TestGateway::start();
    for connect in [
        Connect::new(V5, "a"),
        Connect::new(V5, "b").with(property::REQUEST_RESPONSE_INFORMATION, 0u8),
    ] {
        let (client, connack) = gateway.connect(&connect);
        assert!(!connack.properties.has(property::RESPONSE_INFORMATION));
        client.disconnect();
    }
    let asks = Connect::new(V5, "c").with(property::REQUEST_RESPONSE_INFORMATION, 1u8);
    gateway.connect(&asks).0.disconnect();
}

/// MQTT-3.1.2-29
#[test]
fn reason_strings_are_left_out_when_not_wanted() {
    let gateway = TestGateway::start();
    let connect = Connect::new(V5, "client").with(property::REQUEST_PROBLEM_INFORMATION, 0u8);
    let (mut client, _) = gateway.connect(&connect);
    client.hex("82 [ 0001 00 'a/#/b' 00 '$share//x' 00 ]");
    let found = client.suback();
    assert!(
        found.codes.iter().all(|code| *code >= 0x80),
        "{:02x?}",
        found.codes
    );
    assert!(found.properties.0.is_empty(), "{:?}", found.properties);
    client.hex("A2 [ 0001 00 'never' ]");
    assert!(client.unsuback().properties.0.is_empty());
    client.hex("62 02 0042");
    let found = client.pubcomp();
    assert_eq!(found.reason, 0x92);
    assert!(found.properties.0.is_empty());
    client.publish(&Publish::new("x", "").qos(1, 1));
}

/// MQTT-3.1.2-30 and 4.12.0-1: this gateway has no authentication method yet.
#[test]
fn authentication_method_is_refused() {
    let gateway = TestGateway::start();
    let connect = Connect::new(V5, "client")
        .with(property::AUTHENTICATION_METHOD, "SCRAM-SHA-256")
        .with(property::AUTHENTICATION_DATA, &b"n,,n=user,r=nonce"[..]);
    let mut client = gateway.open(V5);
    client.send(connect.encode());
    client.expect_refused(0x8C);
}

/// MQTT-3.1.2-1, MQTT-3.1.2-2: another protocol, or a version that nobody knows.
#[test]
fn unknown_protocols_are_refused() {
    let gateway = TestGateway::start();
    for (connect, told) in [
        ("10 [ 'MQTT' 06 02 0000 00 'client' ]", true),
        ("10 [ 'MQTT' 00 02 0000 'client' ]", true),
        ("10 [ 'MQTT' 03 02 0000 'client' ]", true),
        ("10 [ 'MQTT' FF 02 0000 00 'client' ]", true),
        ("10 [ 'MQIsdp' 04 02 0000 'client' ]", true),
        ("10 [ 'mqtt' 05 02 0000 00 'client' ]", false),
        ("10 [ 'MQTTX' 05 02 0000 00 'client' ]", false),
        ("10 [ '' 05 02 0000 00 'client' ]", false),
        ("10 [ 'hj' 05 02 0000 00 'client' ]", false),
    ] {
        let mut client = gateway.open(V5);
        client.hex(connect);
        match client.raw_packet() {
            None => {}
            Some(found) => {
                assert!(told, "{connect} is answered with {found:02x?}");
                assert!(found.starts_with(&[0x20]), "{found:02x?}");
                assert!(matches!(found[3], 0x84 | 0x01), "{connect}: {found:02x?}");
                assert!(client.raw_packet().is_none(), "closed after the refusal");
            }
        }
    }
}

/// 3.1.4: a client need not wait for CONNACK, but what it sends must wait.
#[test]
fn connack_comes_before_everything_else() {
    let gateway = TestGateway::start();
    let durable = Connect::new(V5, "client")
        .resume()
        .with(property::SESSION_EXPIRY_INTERVAL, 600u32);
    let (mut client, _) = gateway.connect(&durable);
    client.subscribe("a", 2);
    client.disconnect();
    let mut publisher = gateway.v5("publisher");
    publisher.publish(&Publish::new("a", "waiting").qos(2, 1));
    let mut client = gateway.open(V5);
    let mut bytes = durable.encode();
    bytes.extend([0xC0, 0]);
    client.send(bytes);
    assert!(client.connack().session_present, "MQTT-3.2.0-1");
    let mut found = [client.receive(), client.receive()];
    found.sort_by_key(|packet| matches!(packet, Received::PingResp));
    assert!(
        matches!(&found[0], Received::Publish(publish) if publish.payload_text() == "waiting"),
        "{found:?}"
    );
    assert_eq!(found[1], Received::PingResp);
}

/// Takeover in the middle of a flow: the new connection gets what the old one did not finish.
#[test]
fn takeover_carries_on_with_unfinished_flows() {
    let gateway = TestGateway::start();
    let durable = Connect::new(V5, "client")
        .resume()
        .with(property::SESSION_EXPIRY_INTERVAL, 600u32);
    let (mut first, _) = gateway.connect(&durable);
    first.subscribe("a", 2);
    let mut publisher = gateway.v5("publisher");
    publisher.publish(&Publish::new("a", "one").qos(2, 1));
    publisher.publish(&Publish::new("a", "two").qos(2, 2));
    let (one, two) = (first.next_publish(), first.next_publish());
    first.send(ack(PUBREC, one.packet_id));
    assert_eq!(first.pubrel().packet_id, one.packet_id);

    let (mut second, _) = gateway.connect(&durable);
    first.expect_disconnect(0x8E);
    let mut found = [second.receive(), second.receive()];
    found.sort_by_key(|packet| matches!(packet, Received::Publish(_)));
    assert!(
        matches!(&found[0], Received::PubRel(rel) if rel.packet_id == one.packet_id),
        "{found:?}"
    );
    assert!(
        matches!(&found[1], Received::Publish(p) if p.packet_id == two.packet_id && p.dup),
        "{found:?}"
    );
}

/// 3.1.2.10, 3.2.2.3.14: what the client asks for holds when the server does not name a value.
#[test]
fn keep_alive_of_the_client_is_accepted_by_default() {
    let gateway = TestGateway::start();
    for seconds in [0, 1, 60, 0xFFFF] {
        let (client, connack) = gateway.connect(&Connect::new(V5, "client").keep_alive(seconds));
        if let Some(named) = connack.properties.number(property::SERVER_KEEP_ALIVE) {
            assert_ne!(named, u32::from(seconds), "only a different value is named");
        }
        client.disconnect();
    }
}
