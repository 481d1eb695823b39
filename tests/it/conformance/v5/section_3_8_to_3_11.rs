//! 3.8 SUBSCRIBE, 3.9 SUBACK, 3.10 UNSUBSCRIBE, 3.11 UNSUBACK.

use crate::support::packet;
use crate::support::{Publish, TestGateway, V5, property};

/// MQTT-3.9.3-2, 3.8.4: a bad filter costs itself only.
#[test]
fn bad_filter_is_refused_and_the_others_are_served() {
    let gateway = TestGateway::start();
    let mut client = gateway.v5("client");
    let bad = [
        "a/#/b", "a#", "#a", "+a", "a+", "a/+b", "##", "a/##", "++", "a/++/b",
    ];
    for filter in bad {
        let packet_id = client.packet_id();
        client.send(packet::subscribe(
            V5,
            packet_id,
            None,
            &[("good", 1), (filter, 2), ("better", 2)],
        ));
        let found = client.suback();
        assert_eq!(found.codes, [1, 0x8F, 2], "{filter}");
    }
    client.send_publish(&Publish::new("good", "x"));
    assert_eq!(client.take().payload_text(), "x");
}

/// MQTT-4.8.2-1, MQTT-4.8.2-2
#[test]
fn bad_shared_filters_are_refused() {
    let gateway = TestGateway::start();
    let mut client = gateway.v5("client");
    for filter in [
        "$share/",
        "$share/s",
        "$share/s/",
        "$share//a",
        "$share/s+/a",
        "$share/#/a",
        "$share/+/a",
        "$share/s/a#",
    ] {
        assert_eq!(client.subscribe(filter, 0), 0x8F, "{filter}");
    }
    for filter in [
        "$share/s/a",
        "$share/s//",
        "$share/s/#",
        "$share/ü/+",
        "$SHARE/s/a",
        "$shared/s",
    ] {
        assert_eq!(client.subscribe(filter, 0), 0, "{filter}");
    }
}

/// 3.8.3.1: every combination of options that the standard allows.
#[test]
fn every_legal_combination_of_options_is_granted() {
    let gateway = TestGateway::start();
    let mut client = gateway.v5("client");
    for options in 0..=0x2Fu8 {
        if options & 3 == 3 || options & 0x30 == 0x30 {
            continue;
        }
        assert_eq!(
            client.subscribe("options", options),
            options & 3,
            "{options:#04x}"
        );
    }
}

/// MQTT-3.8.3-4
#[test]
fn no_local_on_a_shared_subscription_is_a_protocol_error() {
    let gateway = TestGateway::start();
    let mut client = gateway.v5("client");
    client.send(packet::subscribe(V5, 1, None, &[("$share/s/a", 4)]));
    client.expect_disconnect(0x82);
}

/// 3.8.2.1.2: 1 to 268,435,455, and only once.
#[test]
fn subscription_identifier_has_its_range() {
    let gateway = TestGateway::start();
    let mut client = gateway.v5("client");
    for identifier in [
        1,
        127,
        128,
        16_383,
        16_384,
        2_097_151,
        2_097_152,
        268_435_455,
    ] {
        client.subscribe_with(Some(identifier), &[("id", 0)]);
        client.send_publish(&Publish::new("id", ""));
        assert_eq!(
            client
                .take()
                .properties
                .numbers(property::SUBSCRIPTION_IDENTIFIER),
            [identifier]
        );
    }
    client.hex("82 [ 0001 [ 0B 00 ] 'a' 00 ]");
    client.expect_disconnect(0x82);
    let mut client = gateway.v5("client");
    client.hex("82 [ 0001 [ 0B 01 0B 02 ] 'a' 00 ]");
    client.expect_disconnect(0x82);
}

/// MQTT-3.8.4-4: replacing a subscription loses nothing.
#[test]
fn replacing_a_subscription_loses_nothing() {
    let gateway = TestGateway::start();
    let mut client = gateway.v5("client");
    let mut burst = packet::subscribe(V5, 1, None, &[("lossless", 0)]);
    for number in 0..50u16 {
        burst.extend(Publish::new("lossless", number.to_string()).encode(V5));
        burst.extend(packet::subscribe(
            V5,
            number + 2,
            Some(u32::from(number) + 1),
            &[("lossless", 0)],
        ));
    }
    client.send(burst);
    let mut next = 0;
    let mut acknowledged = 0;
    while next < 50 || acknowledged < 51 {
        match client.receive() {
            crate::support::Received::Publish(found) => {
                assert_eq!(found.payload_text(), next.to_string());
                next += 1;
            }
            crate::support::Received::SubAck(found) => {
                assert_eq!(found.codes, [0]);
                acknowledged += 1;
            }
            other => panic!("unexpected {other:?}"),
        }
    }
}

/// MQTT-3.8.4-5 with a large packet: as many filters as fit.
#[test]
fn thousand_filters_in_one_packet_are_served() {
    let gateway = TestGateway::start();
    let mut client = gateway.v5("client");
    let names: Vec<_> = (0..1000)
        .map(|number| format!("filter/{number}/+"))
        .collect();
    let filters: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(at, name)| (name.as_str(), (at % 3) as u8))
        .collect();
    let found = client.subscribe_with(None, &filters);
    let expected: Vec<_> = (0..1000).map(|at| (at % 3) as u8).collect();
    assert_eq!(found.codes, expected);
    client.send_publish(&Publish::new("filter/777/x", "x"));
    assert_eq!(client.take().payload_text(), "x");
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    assert_eq!(client.unsubscribe(&names).codes, vec![0; 1000]);
    assert_eq!(client.unsubscribe(&names).codes, vec![0x11; 1000]);
}

/// 3.10.4: shared and non-shared subscriptions are told apart.
#[test]
fn unsubscribe_tells_shared_from_plain() {
    let gateway = TestGateway::start();
    let mut client = gateway.v5("client");
    client.subscribe_with(None, &[("a", 0), ("$share/s/a", 0)]);
    assert_eq!(
        client
            .unsubscribe(&["$share/t/a", "$share/s/a", "$share/s/a"])
            .codes,
        [0x11, 0, 0x11]
    );
    client.send_publish(&Publish::new("a", "x"));
    assert_eq!(client.ping().len(), 1);
    assert_eq!(client.unsubscribe(&["a"]).codes, [0]);
}

/// 3.11.3: a filter that could never have been subscribed to is no reason to close.
#[test]
fn unsubscribe_of_a_bad_filter_is_answered() {
    let gateway = TestGateway::start();
    let mut client = gateway.v5("client");
    let found = client.unsubscribe(&["a/#/b", "good"]);
    assert!(
        matches!(found.codes[0], 0x11 | 0x8F),
        "{:02x?}",
        found.codes
    );
    assert_eq!(found.codes[1], 0x11);
}

/// 3.9.3: a filter that the operator refuses gets a code that gives no reason away, in every version.
#[test]
fn refused_filters_are_refused() {
    let Some(gateway) = TestGateway::with_limits("refused_filters = [\"secret/door\", \"+/door\"]")
    else {
        return;
    };
    let mut client = gateway.v5("client");
    let asked = [
        ("secret/door", 2),
        ("$share/s/secret/door", 0),
        ("+/door", 1),
        ("secret/#", 1),
        ("secret", 0),
    ];
    assert_eq!(
        client.subscribe_with(None, &asked).codes,
        [0x80, 0x80, 0x80, 1, 0]
    );
    let mut old = gateway.v3("old");
    assert_eq!(old.subscribe_with(None, &asked[..1]).codes, [0x80]);
}
