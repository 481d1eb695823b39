//! Sessions, takeover, keep alive.

use std::time::{Duration, Instant};

use crate::support::{Connect, Publish, TestGateway, V3_1, V5, Version, property};

super::every_version! {
    first_packet_must_be_connect,
    second_connect_ends_the_connection,
    clean_session_starts_anew,
    kept_session_queues_while_away,
    subscriptions_outlive_the_connection,
    messages_at_most_once_are_not_queued_twice,
    second_connection_takes_the_session_over,
    keep_alive_is_enforced,
    keep_alive_counts_any_packet,
    keep_alive_zero_never_ends,
    client_identifier_may_have_23_plain_characters,
    username_and_password_are_taken,
    packets_after_a_refused_connect_are_not_processed,
    disconnect_closes_the_connection,
    many_sessions_do_not_mix,
}

fn durable(version: Version, client_id: &str) -> Connect {
    let connect = Connect::new(version, client_id).resume();
    if version == V5 {
        connect.with(property::SESSION_EXPIRY_INTERVAL, 600u32)
    } else {
        connect
    }
}

/// MQTT-3.1.0-1
fn first_packet_must_be_connect(version: Version) {
    let gateway = TestGateway::start();
    for packet in [
        "C0 00",
        "E0 00",
        "30 [ 'a' 00 ]",
        "82 [ 0001 00 'a' 00 ]",
        "A2 [ 0001 00 'a' ]",
        "40 02 0001",
        "50 02 0001",
        "62 02 0001",
        "70 02 0001",
        "20 02 0000",
        "90 03 000100",
        "D0 00",
        "F0 00",
        "00 00",
        "16 03 01 02 00 01 00 01 FC 03 03",
        "`GET / HTTP/1.1` 0D0A 0D0A",
    ] {
        let mut client = gateway.open(version);
        client.hex(packet);
        client.expect_closed();
    }
    gateway
        .connect(&Connect::new(version, "bystander"))
        .0
        .disconnect();
}

/// MQTT-3.1.0-2
fn second_connect_ends_the_connection(version: Version) {
    let gateway = TestGateway::start();
    let mut client = gateway.connect(&Connect::new(version, "client")).0;
    client.send(Connect::new(version, "client").encode());
    client.expect_disconnect(0x82);
}

/// MQTT-3.1.2-4, MQTT-3.2.2-2
fn clean_session_starts_anew(version: Version) {
    let gateway = TestGateway::start();
    let mut client = gateway.connect(&durable(version, "client")).0;
    client.subscribe("a", 1);
    client.disconnect();
    let (client, connack) = gateway.connect(&Connect::new(version, "client"));
    assert!(!connack.session_present);
    client.disconnect();
    let (mut client, connack) = gateway.connect(&durable(version, "client"));
    assert!(!connack.session_present, "the clean session was not kept");
    client.send_publish(&Publish::new("a", "x"));
    assert_eq!(client.ping(), [], "the subscription is gone");
}

/// MQTT-4.5.0-1, MQTT-3.1.2-5, and MQTT-3.1.2-5 of MQTT 3.1.1.
fn kept_session_queues_while_away(version: Version) {
    let gateway = TestGateway::start();
    let mut client = gateway.connect(&durable(version, "client")).0;
    client.subscribe("queue/#", 2);
    client.disconnect();
    let mut publisher = gateway.connect(&Connect::new(version, "publisher")).0;
    for number in 1..=10 {
        publisher.publish(&Publish::new("queue/1", number.to_string()).qos(1, number));
        publisher.publish(&Publish::new("queue/2", number.to_string()).qos(2, number));
    }
    let (mut client, connack) = gateway.connect(&durable(version, "client"));
    assert_eq!(connack.session_present, version != V3_1, "MQTT-3.2.2-3");
    let found: Vec<_> = (0..20).map(|_| client.next_publish()).collect();
    for qos in [1, 2] {
        let numbers: Vec<_> = found
            .iter()
            .filter(|each| each.qos == qos)
            .map(|each| each.payload_text())
            .collect();
        assert_eq!(
            numbers,
            (1..=10)
                .map(|number| number.to_string())
                .collect::<Vec<_>>()
        );
    }
    assert!(
        found.iter().all(|publish| !publish.dup),
        "sent for the first time"
    );
}

fn subscriptions_outlive_the_connection(version: Version) {
    let gateway = TestGateway::start();
    let mut client = gateway.connect(&durable(version, "client")).0;
    client.subscribe("live", 1);
    client.cut();
    let mut client = gateway.connect(&durable(version, "client")).0;
    gateway
        .connect(&Connect::new(version, "publisher"))
        .0
        .say("live", "x");
    assert_eq!(client.take().payload_text(), "x");
}

fn messages_at_most_once_are_not_queued_twice(version: Version) {
    let gateway = TestGateway::start();
    let mut client = gateway.connect(&durable(version, "client")).0;
    client.subscribe("q0", 0);
    gateway
        .connect(&Connect::new(version, "publisher"))
        .0
        .say("q0", "x");
    assert_eq!(client.take().payload_text(), "x");
    client.cut();
    let mut client = gateway.connect(&durable(version, "client")).0;
    assert_eq!(client.ping(), []);
}

/// MQTT-3.1.4-3
fn second_connection_takes_the_session_over(version: Version) {
    let gateway = TestGateway::start();
    let mut first = gateway.connect(&durable(version, "client")).0;
    first.subscribe("over", 1);
    let (mut second, connack) = gateway.connect(&durable(version, "client"));
    assert_eq!(connack.session_present, version != V3_1);
    first.expect_disconnect(0x8E);
    gateway
        .connect(&Connect::new(version, "publisher"))
        .0
        .say("over", "x");
    assert_eq!(second.take().payload_text(), "x");
    let (mut third, connack) = gateway.connect(&Connect::new(version, "client"));
    assert!(!connack.session_present);
    second.expect_disconnect(0x8E);
    assert_eq!(third.ping(), []);
}

/// MQTT-3.1.2-22: one and a half times the keep alive.
fn keep_alive_is_enforced(version: Version) {
    let gateway = TestGateway::start();
    let start = Instant::now();
    let mut client = gateway
        .connect(&Connect::new(version, "client").keep_alive(1))
        .0;
    client.expect_disconnect(0x8D);
    let took = start.elapsed();
    assert!(
        took >= Duration::from_millis(1400),
        "closed too early, after {took:?}"
    );
    assert!(
        took < Duration::from_secs(15),
        "closed too late, after {took:?}"
    );
}

fn keep_alive_counts_any_packet(version: Version) {
    let gateway = TestGateway::start();
    let mut client = gateway
        .connect(&Connect::new(version, "client").keep_alive(3))
        .0;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(6) {
        client.expect_silence(Duration::from_millis(500));
        client.send_publish(&Publish::new("alive", ""));
    }
    assert_eq!(client.ping(), []);
}

/// MQTT-3.1.2-20: with 0 the client need not send anything.
fn keep_alive_zero_never_ends(version: Version) {
    let gateway = TestGateway::start();
    let mut client = gateway
        .connect(&Connect::new(version, "client").keep_alive(0))
        .0;
    client.expect_silence(Duration::from_millis(2500));
    assert_eq!(client.ping(), []);
}

/// MQTT-3.1.3-5
fn client_identifier_may_have_23_plain_characters(version: Version) {
    let gateway = TestGateway::start();
    for client_id in [
        "0",
        "0123456789abcdefghijklm",
        "nopqrstuvwxyzABCDEFGHIJ",
        "KLMNOPQRSTUVWXYZ",
    ] {
        gateway
            .connect(&Connect::new(version, client_id))
            .0
            .disconnect();
    }
}

/// MQTT-3.1.2-17, MQTT-3.1.2-19; a password may hold any bytes, and be empty.
fn username_and_password_are_taken(version: Version) {
    let gateway = TestGateway::start();
    let named = Connect::new(version, "client").username("user");
    gateway.connect(&named).0.disconnect();
    gateway.connect(&named.clone().password(b"")).0.disconnect();
    gateway
        .connect(&named.password(&[0, 0xFF, 0xC0, 0x80]))
        .0
        .disconnect();
}

/// MQTT-3.1.4-6, and MQTT-3.1.4-5 of MQTT 3.1.1.
fn packets_after_a_refused_connect_are_not_processed(version: Version) {
    let gateway = TestGateway::start();
    let mut watcher = gateway.connect(&Connect::new(version, "watcher")).0;
    watcher.subscribe("#", 0);
    let mut client = gateway.open(version);
    let mut bytes = Connect::new(version, "client").encode();
    bytes[4] = b'X';
    bytes.extend(Publish::new("sneaked", "in").encode(version));
    client.send(bytes);
    while client.receive_or_end().is_some() {}
    assert_eq!(watcher.ping(), []);
}

/// MQTT-3.14.4-2 as seen from the server.
fn disconnect_closes_the_connection(version: Version) {
    let gateway = TestGateway::start();
    gateway
        .connect(&Connect::new(version, "client"))
        .0
        .disconnect();
}

/// MQTT-3.1.3-2
fn many_sessions_do_not_mix(version: Version) {
    let gateway = TestGateway::start();
    let mut clients: Vec<_> = (0..50)
        .map(|number| {
            let mut client = gateway
                .connect(&Connect::new(version, &format!("client{number}")))
                .0;
            client.subscribe(&format!("own/{number}"), 1);
            client
        })
        .collect();
    let mut publisher = gateway.connect(&Connect::new(version, "publisher")).0;
    for number in 0..50u16 {
        publisher.publish(
            &Publish::new(&format!("own/{number}"), number.to_string()).qos(1, number + 1),
        );
    }
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.take().payload_text(), number.to_string());
        assert_eq!(client.ping(), []);
    }
}
