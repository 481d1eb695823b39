//! 3.4 PUBACK, 3.5 PUBREC, 3.6 PUBREL, 3.7 PUBCOMP.

use crate::support::packet::{PUBCOMP, PUBREC, ack};
use crate::support::{Connect, Publish, TestGateway, V5, property};

/// 3.4.2.1, 3.5.2.1, 3.6.2.1, 3.7.2.1: reason and properties may be left out, given, or be given empty.
#[test]
fn every_form_of_an_acknowledgement_is_taken() {
    let gateway = TestGateway::start();
    let mut client = gateway.v5("client");
    client.subscribe("forms", 2);
    let mut publisher = gateway.v5("publisher");
    for form in [
        "",
        "00",
        "00 00",
        "00 [ 1F 'fine' ]",
        "00 [ 26 'k' 'v' 26 'k' 'v' 1F 'fine' ]",
    ] {
        publisher.publish(&Publish::new("forms", form).qos(1, 1));
        let found = client.next_publish();
        client.hex(&format!("40 [ {:04x} {form} ]", found.packet_id));
        assert_eq!(client.ping(), []);
    }
    for form in ["", "00", "00 00", "00 [ 1F 'fine' ]", "00 [ 26 'k' 'v' ]"] {
        publisher.publish(&Publish::new("forms", form).qos(2, 1));
        let found = client.next_publish();
        client.hex(&format!("50 [ {:04x} {form} ]", found.packet_id));
        assert_eq!(client.pubrel().packet_id, found.packet_id);
        client.hex(&format!("70 [ {:04x} {form} ]", found.packet_id));
        publisher.send_publish(&Publish::new("elsewhere", form).qos(2, 2));
        assert_eq!(publisher.pubrec().packet_id, 2);
        publisher.hex(&format!("62 [ 0002 {form} ]"));
        assert_eq!(publisher.pubcomp().packet_id, 2);
    }
    assert_eq!(client.ping(), []);
}

/// 3.5.2.1: every error code in PUBREC ends the flow, and the identifier is free again.
#[test]
fn errors_in_pubrec_end_the_flow() {
    let gateway = TestGateway::start();
    let connect = Connect::new(V5, "client").with(property::RECEIVE_MAXIMUM, 1u16);
    let (mut client, _) = gateway.connect(&connect);
    client.subscribe("errors", 2);
    let mut publisher = gateway.v5("publisher");
    for reason in [0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99] {
        publisher.publish(&Publish::new("errors", "").qos(2, 1));
        let found = client.next_publish();
        client.hex(&format!("50 [ {:04x} {reason:02x} ]", found.packet_id));
        assert_eq!(client.ping(), []);
    }
}

/// 3.5.4: a PUBREC for an unknown packet is answered with PUBREL 0x92, so that its sender can finish.
#[test]
fn pubrec_of_an_unknown_packet_is_answered() {
    let gateway = TestGateway::start();
    let mut client = gateway.v5("client");
    client.send(ack(PUBREC, 0x1234));
    let found = client.pubrel();
    assert_eq!((found.packet_id, found.reason), (0x1234, 0x92));
    client.send(ack(PUBCOMP, 0x1234));
    assert_eq!(client.ping(), []);
}

/// PUBACK and PUBCOMP of an unknown packet end nothing and disturb nobody.
#[test]
fn stray_acknowledgements_are_survived() {
    let gateway = TestGateway::start();
    for stray in ["40 02 1234", "70 02 1234", "40 03 1234 92", "70 03 1234 92"] {
        let mut client = gateway.v5("client");
        client.hex(stray);
        client.hex("C0 00");
        while let Some(found) = client.raw_packet() {
            if found == [0xD0, 0] {
                break;
            }
            assert!(matches!(found[0], 0xE0), "{found:02x?}");
        }
    }
    assert_eq!(gateway.v5("bystander").ping(), []);
}

/// A PUBREL that is repeated while the flow is unfinished is answered each time.
#[test]
fn repeated_pubrel_is_answered_each_time() {
    let gateway = TestGateway::start();
    let mut client = gateway.v5("client");
    client.send_publish(&Publish::new("x", "").qos(2, 3));
    assert_eq!(client.pubrec().reason & 0x80, 0);
    client.hex("62 02 0003 62 02 0003");
    assert_eq!(client.pubcomp().reason, 0);
    assert_eq!(client.pubcomp().reason, 0x92);
}

/// PUBREC again for a flow that waits for PUBCOMP is answered with PUBREL again.
#[test]
fn repeated_pubrec_is_answered_each_time() {
    let gateway = TestGateway::start();
    let mut client = gateway.v5("client");
    client.subscribe("rec", 2);
    gateway
        .v5("publisher")
        .publish(&Publish::new("rec", "").qos(2, 1));
    let found = client.next_publish();
    for _ in 0..3 {
        client.send(ack(PUBREC, found.packet_id));
        let rel = client.pubrel();
        assert_eq!((rel.packet_id, rel.reason), (found.packet_id, 0));
    }
    client.send(ack(PUBCOMP, found.packet_id));
    assert_eq!(client.ping(), []);
}
