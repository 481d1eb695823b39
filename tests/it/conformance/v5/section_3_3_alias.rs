//! 3.3.2.3.4 Topic alias, both ways.

use crate::support::{Connect, Publish, TestClient, TestGateway, V5, property};

fn with_alias(topic: &str, payload: &str, alias: u16) -> Publish {
    Publish::new(topic, payload).with(property::TOPIC_ALIAS, alias)
}

fn client_with_aliases(gateway: &TestGateway) -> (TestClient, u16) {
    let (client, connack) = gateway.connect(&Connect::new(V5, "client"));
    let maximum = connack
        .properties
        .number(property::TOPIC_ALIAS_MAXIMUM)
        .expect("aliases are taken");
    (client, maximum as u16)
}

/// MQTT-3.3.2-12
#[test]
fn alias_stands_for_its_topic() {
    let gateway = TestGateway::start();
    let mut subscriber = gateway.v5("subscriber");
    subscriber.subscribe("#", 0);
    let (mut client, maximum) = client_with_aliases(&gateway);
    for alias in [1, maximum] {
        client.send_publish(&with_alias(&format!("topic/{alias}"), "set", alias));
    }
    for alias in [maximum, 1] {
        client.send_publish(&with_alias("", "used", alias));
    }
    let found: Vec<_> = (0..4).map(|_| subscriber.take()).collect();
    let topics: Vec<_> = found.iter().map(|each| each.topic.clone()).collect();
    let (one, last) = ("topic/1".to_owned(), format!("topic/{maximum}"));
    assert_eq!(topics, [one.clone(), last.clone(), last, one]);
    assert!(
        found
            .iter()
            .all(|each| !each.properties.has(property::TOPIC_ALIAS)),
        "MQTT-3.1.2-27"
    );
}

/// 3.3.2.3.4: an alias may be given to another topic at any time.
#[test]
fn alias_can_be_set_again() {
    let gateway = TestGateway::start();
    let mut subscriber = gateway.v5("subscriber");
    subscriber.subscribe("#", 0);
    let (mut client, _) = client_with_aliases(&gateway);
    for (topic, expected) in [
        ("a", "a"),
        ("", "a"),
        ("b", "b"),
        ("", "b"),
        ("a", "a"),
        ("", "a"),
    ] {
        client.publish(&with_alias(topic, "", 1).qos(1, 1));
        assert_eq!(subscriber.take().topic, expected);
    }
}

/// 3.3.2.3.4: an alias without a topic that was never set is a protocol error.
#[test]
fn unknown_alias_ends_the_connection() {
    let gateway = TestGateway::start();
    let (mut client, _) = client_with_aliases(&gateway);
    client.send_publish(&with_alias("a", "", 1));
    client.send_publish(&with_alias("", "", 2));
    let found = client.disconnect_reason();
    assert!(matches!(found, 0x82 | 0x94), "{found:#04x}");
}

/// MQTT-3.3.2-8, MQTT-3.3.2-9
#[test]
fn alias_out_of_range_ends_the_connection() {
    let gateway = TestGateway::start();
    let (mut client, maximum) = client_with_aliases(&gateway);
    client.send_publish(&with_alias("a", "", maximum + 1));
    client.expect_disconnect(0x94);
    let (mut client, _) = client_with_aliases(&gateway);
    client.send_publish(&with_alias("a", "", 0));
    client.expect_disconnect(0x94);
}

/// MQTT-3.3.2-7: aliases end with their connection, even if the session does not.
#[test]
fn aliases_end_with_their_connection() {
    let gateway = TestGateway::start();
    let durable = Connect::new(V5, "client")
        .resume()
        .with(property::SESSION_EXPIRY_INTERVAL, 600u32);
    let (mut client, _) = gateway.connect(&durable);
    client.publish(&with_alias("a", "", 1).qos(1, 1));
    client.disconnect();
    let (mut client, _) = gateway.connect(&durable);
    client.send_publish(&with_alias("", "", 1));
    let found = client.disconnect_reason();
    assert!(matches!(found, 0x82 | 0x94), "{found:#04x}");
}

/// A publish that is refused or dropped sets its alias nevertheless.
#[test]
fn alias_of_a_retained_removal_is_set() {
    let gateway = TestGateway::start();
    let mut subscriber = gateway.v5("subscriber");
    subscriber.subscribe("a", 0);
    let (mut client, _) = client_with_aliases(&gateway);
    client.send_publish(&with_alias("a", "", 1).retain());
    client.send_publish(&with_alias("", "x", 1));
    assert_eq!(subscriber.take().payload_text(), "");
    assert_eq!(subscriber.take().payload_text(), "x");
}

/// MQTT-3.3.2-11, MQTT-3.1.2-26: no alias above the client's maximum, and each one is set before it is used.
#[test]
fn aliases_of_the_server_can_be_followed() {
    let gateway = TestGateway::start();
    for maximum in [1u16, 2, 10, 0xFFFF] {
        let connect = Connect::new(V5, "subscriber").with(property::TOPIC_ALIAS_MAXIMUM, maximum);
        let (mut subscriber, _) = gateway.connect(&connect);
        subscriber.subscribe("alias/#", 1);
        let mut publisher = gateway.v5("publisher");
        let mut known = std::collections::HashMap::new();
        for round in 0..100u16 {
            let topic = format!("alias/{}", round * 7 % 13);
            publisher.publish(&Publish::new(&topic, &topic).qos(1, 1));
            let found = subscriber.take();
            let alias = found.properties.number(property::TOPIC_ALIAS);
            if let Some(alias) = alias {
                assert!(
                    alias >= 1 && alias <= u32::from(maximum),
                    "alias {alias} of {maximum}"
                );
                if !found.topic.is_empty() {
                    known.insert(alias, found.topic.clone());
                }
            }
            let meant = if found.topic.is_empty() {
                known
                    .get(&alias.expect("an empty topic has an alias"))
                    .expect("the alias was set")
                    .clone()
            } else {
                found.topic.clone()
            };
            assert_eq!(meant, found.payload_text());
        }
        subscriber.disconnect();
    }
}

/// 3.1.2.11.5: a client that takes aliases gets them.
#[test]
fn server_uses_an_alias_that_the_client_allows() {
    let gateway = TestGateway::start();
    let connect = Connect::new(V5, "client").with(property::TOPIC_ALIAS_MAXIMUM, 1u16);
    let (mut client, _) = gateway.connect(&connect);
    client.subscribe("alias", 0);
    client.send_publish(&Publish::new("alias", "x"));
    client.send_publish(&Publish::new("alias", "y"));
    let (first, second) = (client.take(), client.take());
    assert_eq!(
        (
            first.topic.as_str(),
            first.properties.number(property::TOPIC_ALIAS)
        ),
        ("alias", Some(1))
    );
    assert_eq!(
        (
            second.topic.as_str(),
            second.properties.number(property::TOPIC_ALIAS)
        ),
        ("", Some(1))
    );
}

/// 4.4: a publish that comes again on a new connection names its topic, whatever aliases the old one had.
#[test]
fn repeated_publish_names_its_topic_anew() {
    let gateway = TestGateway::start();
    let durable = Connect::new(V5, "client")
        .resume()
        .with(property::SESSION_EXPIRY_INTERVAL, 600u32)
        .with(property::TOPIC_ALIAS_MAXIMUM, 5u16);
    let (mut client, _) = gateway.connect(&durable);
    client.subscribe("alias", 1);
    let mut publisher = gateway.v5("publisher");
    publisher.publish(&Publish::new("alias", "x").qos(1, 1));
    publisher.publish(&Publish::new("alias", "y").qos(1, 2));
    assert_eq!(client.next_publish().topic, "alias");
    client.next_publish();
    client.cut();
    let (mut client, _) = gateway.connect(&durable);
    let again = client.next_publish();
    assert_eq!((again.topic.as_str(), again.dup), ("alias", true));
}
