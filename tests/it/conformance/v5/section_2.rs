//! 2 MQTT Control Packet format.

use crate::support::packet::{self, PUBREC};
use crate::support::{Connect, Publish, Received, TestGateway, V5, property};

/// MQTT-2.2.1-2, MQTT-2.2.2-1: exact bytes of the simplest packets.
#[test]
fn smallest_packets_have_their_bytes() {
    let gateway = TestGateway::start();
    let mut client = gateway.v5("client");
    client.hex("82 [ 0102 00 'a/b' 00 ]");
    client.expect("90 [ 0102 00 00 ]");
    client.hex("30 [ 'a/b' 00 `hi` ]");
    client.expect("30 [ 'a/b' 00 `hi` ]");
    client.hex("A2 [ 0103 00 'a/b' ]");
    client.expect("B0 [ 0103 00 00 ]");
    client.hex("C0 00");
    client.expect("D0 00");
    client.hex("34 [ 'b' 0009 00 `x` ]");
    let pubrec = client.pubrec();
    assert_eq!(pubrec.packet_id, 9);
    client.hex("62 02 0009");
    client.expect("70 02 0009");
}

/// MQTT-2.2.1-5, MQTT-2.2.1-6: any identifier that is not zero.
#[test]
fn every_packet_identifier_is_answered_with_itself() {
    let gateway = TestGateway::start();
    let mut client = gateway.v5("client");
    for packet_id in [
        1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF,
    ] {
        client.publish(&Publish::new("x", "").qos(1, packet_id));
        client.publish(&Publish::new("x", "").qos(2, packet_id));
        client.send(packet::subscribe(V5, packet_id, None, &[("y", 0)]));
        assert_eq!(client.suback().packet_id, packet_id);
        client.send(packet::unsubscribe(V5, packet_id, &["y"]));
        assert_eq!(client.unsuback().packet_id, packet_id);
    }
}

/// 2.2.1: client and server give out identifiers independently of each other.
#[test]
fn identifiers_of_both_sides_do_not_mix() {
    let gateway = TestGateway::start();
    let mut client = gateway.v5("client");
    client.subscribe("mirror", 2);
    let mut publisher = gateway.v5("publisher");
    publisher.publish(&Publish::new("mirror", "x").qos(2, 1));
    let found = client.next_publish();
    client.send_publish(&Publish::new("elsewhere", "y").qos(2, found.packet_id));
    assert_eq!(client.pubrec().packet_id, found.packet_id);
    client.send(packet::ack(PUBREC, found.packet_id));
    assert_eq!(client.pubrel().packet_id, found.packet_id);
    client.send(packet::ack(packet::PUBREL, found.packet_id));
    assert_eq!(client.pubcomp().packet_id, found.packet_id);
    client.send(packet::ack(packet::PUBCOMP, found.packet_id));
    assert_eq!(client.ping(), []);
}

/// 2.2.2.2: user properties may come more than once, also with the same name, wherever they are allowed.
#[test]
fn user_properties_are_taken_in_every_packet() {
    let gateway = TestGateway::start();
    let pair = "26 'k' 'v' 26 'k' '' 26 '' 'v'";
    let mut client = gateway.open(V5);
    client.hex(&format!(
        "10 [ 'MQTT' 05 06 0000 [ {pair} ] 'client' [ {pair} ] 'will' '' ]"
    ));
    assert_eq!(client.connack().code, 0);
    client.hex(&format!("82 [ 0001 [ {pair} ] 'a' 02 ]"));
    assert_eq!(client.suback().codes, [2]);
    client.hex(&format!("34 [ 'a' 0001 [ {pair} ] `x` ]"));
    let mut publish = None;
    let mut completed = false;
    while publish.is_none() || !completed {
        match client.receive() {
            Received::PubRec(found) => {
                assert_eq!(found.packet_id, 1);
                client.hex(&format!("62 [ 0001 00 [ {pair} ] ]"));
            }
            Received::PubComp(found) => completed = found.packet_id == 1,
            Received::Publish(found) => publish = Some(found),
            other => panic!("unexpected {other:?}"),
        }
    }
    let publish = publish.expect("the message");
    assert_eq!(
        publish.properties.user(),
        [("k", "v"), ("k", ""), ("", "v")]
    );
    let packet_id = publish.packet_id;
    client.hex(&format!("50 [ {packet_id:04x} 00 [ {pair} ] ]"));
    assert_eq!(client.pubrel().packet_id, packet_id);
    client.hex(&format!("70 [ {packet_id:04x} 00 [ {pair} ] ]"));
    client.hex(&format!("A2 [ 0002 [ {pair} ] 'a' ]"));
    assert_eq!(client.unsuback().codes, [0]);
    client.hex(&format!("E0 [ 00 [ {pair} ] ]"));
    client.expect_closed();
}

/// MQTT-1.5.4-1, MQTT-3.1.3-12: text beyond ASCII in every string.
#[test]
fn text_beyond_ascii_passes_unaltered() {
    let gateway = TestGateway::start();
    let text = "grüße 日本語 🦀 \u{10000} \u{E000} \u{FFFD} \u{7FF}\u{800}";
    let (mut client, _) = gateway.connect(&Connect::new(V5, text).username(text));
    client.subscribe("a", 0);
    let publish = Publish::new("a", text)
        .with(property::CONTENT_TYPE, text)
        .with(property::RESPONSE_TOPIC, text)
        .with(property::USER_PROPERTY, (text, text));
    client.send_publish(&publish);
    assert_eq!(client.take().properties, publish.properties);
}
