//! 3.2 CONNACK: what the server says about itself, and that it holds to it.

use std::time::Instant;

use crate::support::client::DEADLINE;
use crate::support::{Connect, Publish, TestGateway, V5, Will, property};

/// 3.2.2.3: a property that has its default value need not be sent, and no property is sent twice.
#[test]
fn properties_of_connack_are_plausible() {
    let gateway = TestGateway::start();
    let (_client, connack) = gateway.connect(&Connect::new(V5, "client"));
    let properties = &connack.properties;
    let mut seen: Vec<_> = properties
        .0
        .iter()
        .map(|(id, _)| *id)
        .filter(|id| *id != property::USER_PROPERTY)
        .collect();
    seen.sort_unstable();
    let count = seen.len();
    seen.dedup();
    assert_eq!(seen.len(), count, "each property once: {properties:?}");
    assert_ne!(properties.number(property::RECEIVE_MAXIMUM), Some(0));
    assert_ne!(properties.number(property::MAXIMUM_PACKET_SIZE), Some(0));
    assert!(
        properties
            .number(property::MAXIMUM_QOS)
            .is_none_or(|qos| qos < 2),
        "QoS 2 is the default, and no value"
    );
    assert!(!properties.has(property::ASSIGNED_CLIENT_IDENTIFIER));
    assert!(
        !properties.has(property::AUTHENTICATION_METHOD),
        "MQTT-4.12.0-6"
    );
    assert!(!properties.has(property::SERVER_REFERENCE));
}

/// MQTT-3.2.2-9 to MQTT-3.2.2-12
#[test]
fn maximum_qos_is_announced_and_enforced() {
    for maximum in [0u8, 1] {
        let Some(gateway) = TestGateway::with_limits(&format!("maximum_qos = {maximum}")) else {
            return;
        };
        let (mut client, connack) = gateway.connect(&Connect::new(V5, "client"));
        assert_eq!(
            connack.properties.number(property::MAXIMUM_QOS),
            Some(u32::from(maximum))
        );
        let granted = client
            .subscribe_with(None, &[("a", 0), ("b", 1), ("c", 2)])
            .codes;
        assert_eq!(granted, [0, maximum.min(1), maximum]);
        client.publish(&Publish::new("x", "").qos(maximum, u16::from(maximum)));
        client.send_publish(&Publish::new("x", "").qos(maximum + 1, 1));
        client.expect_disconnect(0x9B);
        let mut mortal = gateway.open(V5);
        mortal.send(
            Connect::new(V5, "mortal")
                .will(Will::new("w", "").qos(maximum + 1))
                .encode(),
        );
        mortal.expect_refused(0x9B);
    }
}

/// MQTT-3.2.2-13, MQTT-3.2.2-14
#[test]
fn retain_not_available_is_announced_and_enforced() {
    let Some(gateway) = TestGateway::with_limits("retain_available = false") else {
        return;
    };
    let (mut client, connack) = gateway.connect(&Connect::new(V5, "client"));
    assert_eq!(
        connack.properties.number(property::RETAIN_AVAILABLE),
        Some(0)
    );
    client.send_publish(&Publish::new("x", "y").retain());
    client.expect_disconnect(0x9A);
    let mut mortal = gateway.open(V5);
    mortal.send(
        Connect::new(V5, "mortal")
            .will(Will::new("w", "").retain())
            .encode(),
    );
    mortal.expect_refused(0x9A);
}

/// 3.2.2.3.6, MQTT-3.2.2-15
#[test]
fn maximum_packet_size_is_announced_and_enforced() {
    let Some(gateway) = TestGateway::with_limits("max_packet_size = 1000") else {
        return;
    };
    let (mut client, connack) = gateway.connect(&Connect::new(V5, "client"));
    assert_eq!(
        connack.properties.number(property::MAXIMUM_PACKET_SIZE),
        Some(1000)
    );
    client.subscribe("x", 0);
    let overhead = 3 + 2 + 1 + 1;
    client.send_publish(&Publish::new("x", vec![b'y'; 1000 - overhead]));
    assert_eq!(client.take().payload.len(), 1000 - overhead);
    client.send_publish(&Publish::new("x", vec![b'y'; 1001 - overhead]));
    client.expect_disconnect(0x95);
    let mut client = gateway.v5("from the header alone");
    client.hex("30 FF FF FF 7F");
    client.expect_disconnect(0x95);
    let mut large = gateway.open(V5);
    large.send(Connect::new(V5, &"c".repeat(1000)).encode());
    large.expect_refused(0x95);
}

/// 3.2.2.3.3, MQTT-3.3.4-7
#[test]
fn receive_maximum_is_announced_and_enforced() {
    let Some(gateway) = TestGateway::with_limits("receive_maximum = 3") else {
        return;
    };
    let (mut client, connack) = gateway.connect(&Connect::new(V5, "client"));
    assert_eq!(
        connack.properties.number(property::RECEIVE_MAXIMUM),
        Some(3)
    );
    for packet_id in 1..=3 {
        client.send_publish(&Publish::new("x", "").qos(2, packet_id));
        assert_eq!(client.pubrec().packet_id, packet_id);
    }
    client.hex("62 02 0001");
    assert_eq!(client.pubcomp().packet_id, 1);
    client.send_publish(&Publish::new("x", "").qos(2, 4));
    assert_eq!(client.pubrec().packet_id, 4);
    client.say("x", "quality 0 does not count");
    client.send_publish(&Publish::new("x", "").qos(2, 5));
    client.expect_disconnect(0x93);
}

/// 3.2.2.3.8, MQTT-3.2.2-17, MQTT-3.2.2-18
#[test]
fn topic_alias_maximum_is_announced_and_enforced() {
    let Some(gateway) = TestGateway::with_limits("topic_alias_maximum = 2") else {
        return;
    };
    let (mut client, connack) = gateway.connect(&Connect::new(V5, "client"));
    assert_eq!(
        connack.properties.number(property::TOPIC_ALIAS_MAXIMUM),
        Some(2)
    );
    client.publish(&Publish::new("x", "").with(property::TOPIC_ALIAS, 2u16));
    client.send_publish(&Publish::new("x", "").with(property::TOPIC_ALIAS, 3u16));
    client.expect_disconnect(0x94);

    let Some(gateway) = TestGateway::with_limits("topic_alias_maximum = 0") else {
        return;
    };
    let (mut client, connack) = gateway.connect(&Connect::new(V5, "client"));
    assert_eq!(
        connack
            .properties
            .number(property::TOPIC_ALIAS_MAXIMUM)
            .unwrap_or(0),
        0
    );
    client.send_publish(&Publish::new("x", "").with(property::TOPIC_ALIAS, 1u16));
    client.expect_disconnect(0x94);
}

/// 3.2.2.3.2
#[test]
fn longest_session_expiry_is_announced() {
    let Some(gateway) = TestGateway::with_limits("max_session_expiry = \"1h\"") else {
        return;
    };
    for (asked, told) in [
        (0u32, None),
        (60, None),
        (3600, None),
        (3601, Some(3600)),
        (u32::MAX, Some(3600)),
    ] {
        let connect = Connect::new(V5, "client").with(property::SESSION_EXPIRY_INTERVAL, asked);
        let (client, connack) = gateway.connect(&connect);
        assert_eq!(
            connack.properties.number(property::SESSION_EXPIRY_INTERVAL),
            told,
            "asked for {asked}"
        );
        client.disconnect();
    }
}

/// MQTT-3.2.2-21, MQTT-3.2.2-22, MQTT-3.1.2-21
#[test]
fn longest_keep_alive_is_announced_and_enforced() {
    let Some(gateway) = TestGateway::with_limits("max_keep_alive = 1") else {
        return;
    };
    for (asked, told) in [(1u16, None), (2, Some(1)), (0xFFFF, Some(1)), (0, Some(1))] {
        let (mut client, connack) = gateway.connect(&Connect::new(V5, "client").keep_alive(asked));
        assert_eq!(
            connack.properties.number(property::SERVER_KEEP_ALIVE),
            told,
            "asked for {asked}"
        );
        if asked == 0 {
            client.expect_disconnect(0x8D);
        }
    }
}

/// 3.2.2.3.11, 3.8: 0xA2
#[test]
fn wildcard_subscription_not_available_is_announced_and_enforced() {
    let Some(gateway) = TestGateway::with_limits("wildcard_subscription_available = false") else {
        return;
    };
    for filter in ["a/+", "#", "$share/s/+"] {
        let (mut client, connack) = gateway.connect(&Connect::new(V5, "client"));
        let available = connack
            .properties
            .number(property::WILDCARD_SUBSCRIPTION_AVAILABLE);
        assert_eq!(available, Some(0));
        let found = client.subscribe_with(None, &[("plain", 1), ("$share/s/a", 0)]);
        assert_eq!(found.codes, [1, 0]);
        client.send(crate::support::packet::subscribe(
            V5,
            9,
            None,
            &[("b", 0), (filter, 0)],
        ));
        client.expect_disconnect(0xA2);
    }
    let mut old = gateway.v3("old");
    let found = old.subscribe_with(None, &[("a/+", 0), ("plain", 1)]);
    assert_eq!(found.codes, [0x80, 1], "version 3.1.1 has no way to know");
}

/// 3.2.2.3.12, 3.8: 0xA1
#[test]
fn subscription_identifier_not_available_is_announced_and_enforced() {
    let Some(gateway) = TestGateway::with_limits("subscription_identifiers_available = false")
    else {
        return;
    };
    let (mut client, connack) = gateway.connect(&Connect::new(V5, "client"));
    assert_eq!(
        connack
            .properties
            .number(property::SUBSCRIPTION_IDENTIFIER_AVAILABLE),
        Some(0)
    );
    assert_eq!(client.subscribe("a", 0), 0);
    client.send(crate::support::packet::subscribe(
        V5,
        9,
        Some(1),
        &[("b", 0)],
    ));
    client.expect_disconnect(0xA1);
}

/// 3.2.2.3.13, 3.8: 0x9E
#[test]
fn shared_subscription_not_available_is_announced_and_enforced() {
    let Some(gateway) = TestGateway::with_limits("shared_subscription_available = false") else {
        return;
    };
    let (mut client, connack) = gateway.connect(&Connect::new(V5, "client"));
    assert_eq!(
        connack
            .properties
            .number(property::SHARED_SUBSCRIPTION_AVAILABLE),
        Some(0)
    );
    assert_eq!(client.subscribe("a", 0), 0);
    let packet = crate::support::packet::subscribe(V5, 9, None, &[("$share/s/a", 0)]);
    client.send(packet);
    client.expect_disconnect(0x9E);
}

/// 3.9.3: 0x97 for each filter above the bound; what is there already may be replaced.
#[test]
fn subscriptions_are_bounded() {
    let Some(gateway) = TestGateway::with_limits("subscriptions_per_client_max = 2") else {
        return;
    };
    let mut client = gateway.v5("client");
    assert_eq!(
        client
            .subscribe_with(None, &[("a", 0), ("b", 1), ("c", 2)])
            .codes,
        [0, 1, 0x97]
    );
    assert_eq!(client.subscribe("b", 2), 2);
    assert_eq!(client.unsubscribe(&["a"]).codes, [0]);
    assert_eq!(client.subscribe("c", 0), 0);
}

/// 3.2.2.2: 0x97 when the gateway or the port is full; those who are in stay in.
#[test]
fn connections_are_bounded() {
    let Some(gateway) = TestGateway::with_limits("connections_max = 2") else {
        return;
    };
    let (mut first, mut second) = (gateway.v5("first"), gateway.v5("second"));
    let mut third = gateway.open(V5);
    third.send(Connect::new(V5, "third").encode());
    third.expect_refused(0x97);
    assert_eq!(first.ping(), []);
    second.disconnect();
    let end = Instant::now() + DEADLINE;
    second = loop {
        let mut client = gateway.open(V5);
        client.send(Connect::new(V5, "third").encode());
        match client.raw_packet() {
            Some(found) if found[3] == 0 => break client,
            _ => assert!(
                Instant::now() < end,
                "the place of a client that left is free again"
            ),
        }
    };
    assert_eq!(second.ping(), []);
}

/// MQTT-3.2.2-19, MQTT-3.2.2-20: what does not fit is left out, and the client is served all the same.
#[test]
fn connack_respects_the_clients_maximum_packet_size() {
    let gateway = TestGateway::start();
    for size in [20u32, 30, 50, 100] {
        let connect = Connect::new(V5, "client").with(property::MAXIMUM_PACKET_SIZE, size);
        let mut client = gateway.open(V5);
        client.send(connect.encode());
        if let Some(found) = client.raw_packet() {
            assert!(
                found.len() <= size as usize,
                "{} bytes for a client that takes {size}",
                found.len()
            );
        }
    }
}
