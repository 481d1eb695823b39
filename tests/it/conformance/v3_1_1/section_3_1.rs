//! 3.1 CONNECT and 3.2 CONNACK.

use crate::support::{Connect, TestGateway, V3_1_1, V5, Will, property};

/// MQTT-3.2.0-1: the answer has exactly these bytes.
#[test]
fn connack_has_two_bytes() {
    let gateway = TestGateway::start();
    let mut client = gateway.open(V3_1_1);
    client.hex("10 [ 'MQTT' 04 02 003C 'client' ]");
    client.expect("20 02 00 00");
}

/// MQTT-3.1.3-6 to MQTT-3.1.3-9
#[test]
fn empty_client_identifier_needs_a_clean_session() {
    let gateway = TestGateway::start();
    let (mut one, _) = gateway.connect(&Connect::new(V3_1_1, ""));
    let (mut two, _) = gateway.connect(&Connect::new(V3_1_1, ""));
    assert_eq!(
        (one.ping(), two.ping()),
        (vec![], vec![]),
        "each has its own identifier"
    );
    let mut client = gateway.open(V3_1_1);
    client.send(Connect::new(V3_1_1, "").resume().encode());
    client.expect_refused(0x02);
}

/// MQTT-3.1.2-2
#[test]
fn unknown_protocol_level_is_refused_with_its_code() {
    let gateway = TestGateway::start();
    let mut client = gateway.open(V3_1_1);
    client.hex("10 [ 'MQTT' 07 02 003C 'client' ]");
    match client.raw_packet() {
        None => {}
        Some(found) => {
            assert!(
                found == [0x20, 2, 0, 1] || found.starts_with(&[0x20]) && found[3] == 0x84,
                "{found:02x?}"
            );
            assert!(client.raw_packet().is_none());
        }
    }
}

/// MQTT-3.2.2-2, MQTT-3.2.2-3: a kept session is kept, and a clean one is not.
#[test]
fn session_present_tells_what_is_kept() {
    let gateway = TestGateway::start();
    let kept = Connect::new(V3_1_1, "client").resume();
    for expected in [false, true, true] {
        let (client, connack) = gateway.connect(&kept);
        assert_eq!(connack.session_present, expected);
        client.disconnect();
    }
    assert!(
        !gateway
            .connect(&Connect::new(V3_1_1, "client"))
            .1
            .session_present,
        "MQTT-3.2.2-1"
    );
    assert!(!gateway.connect(&kept).1.session_present);
}

/// Clean session 1 ends the session with its connection, clean session 0 keeps it: what one version began, another goes on
/// with.
#[test]
fn session_goes_on_in_another_version() {
    let gateway = TestGateway::start();
    let (mut old, _) = gateway.connect(&Connect::new(V3_1_1, "client").resume());
    old.subscribe("a", 1);
    old.disconnect();
    let new = Connect::new(V5, "client")
        .resume()
        .with(property::SESSION_EXPIRY_INTERVAL, 600u32);
    let (mut new, connack) = gateway.connect(&new);
    assert!(connack.session_present);
    new.send_publish(&crate::support::Publish::new("a", "x"));
    assert_eq!(new.take().payload_text(), "x");
    new.disconnect();
    assert!(
        gateway
            .connect(&Connect::new(V3_1_1, "client").resume())
            .1
            .session_present
    );
}

/// 3.1.2.5: an unclean end of a client of the old version publishes its will at once, session kept or not.
#[test]
fn will_of_a_kept_session_is_published_at_once() {
    let gateway = TestGateway::start();
    let mut watcher = gateway.v3("watcher");
    watcher.subscribe("will", 1);
    gateway
        .connect(
            &Connect::new(V3_1_1, "mortal")
                .resume()
                .will(Will::new("will", "gone").qos(1)),
        )
        .0
        .cut();
    assert_eq!(watcher.take().payload_text(), "gone");
}

/// 3.2.2.3: limits of the port have no property to be announced by, so the connection is closed.
#[test]
fn limits_close_the_connection() {
    let Some(gateway) = TestGateway::with_limits(
        "maximum_qos = 1\nretain_available = false\nmax_packet_size = 500",
    ) else {
        return;
    };
    for packet in ["34 [ 'a' 0001 `x` ]", "31 [ 'a' `x` ]", "30 [ 'a' 78*600 ]"] {
        let mut client = gateway.v3("client");
        client.hex(packet);
        client.expect_closed();
    }
    for connect in [
        "10 [ 'MQTT' 04 16 0000 'client' 'w' '' ]",
        "10 [ 'MQTT' 04 26 0000 'client' 'w' '' ]",
    ] {
        let mut client = gateway.open(V3_1_1);
        client.hex(connect);
        if let Some(found) = client.raw_packet() {
            assert!(
                found.starts_with(&[0x20, 2, 0]) && found[3] != 0,
                "{found:02x?}"
            );
            assert!(client.raw_packet().is_none());
        }
    }
    let mut client = gateway.v3("client");
    assert_eq!(
        client.subscribe_with(None, &[("a", 2), ("b", 1)]).codes,
        [1, 1]
    );
}
