//! Retained messages over a restart (MQTT 5, 3.3.1.3).

use super::{Ending, end, gateway, message, pass, restart};
use crate::support::{
    Connect, Publish, TestGateway, V5, Version,
    property::{CONTENT_TYPE, MESSAGE_EXPIRY_INTERVAL, USER_PROPERTY},
};

restarts! {
    retained_messages_are_kept
    newest_message_counts
}

restarts_v5! {
    properties_are_kept
    expiry_is_counted
    message_expires_while_the_gateway_is_down
}

use super::{restarts, restarts_v5};

/// Topics and payloads of what is retained below a filter, sorted.
#[track_caller]
fn kept(gateway: &TestGateway, version: Version, filter: &str) -> Vec<(String, String)> {
    let (mut client, _) = gateway.connect(&Connect::new(version, "reader"));
    assert_eq!(client.subscribe(filter, 0), 0);
    let found = client.ping();
    client.disconnect();
    let pairs = found.iter().map(|found| {
        assert!(found.retain);
        (found.topic.clone(), found.payload_text().to_owned())
    });
    let mut pairs: Vec<_> = pairs.collect();
    pairs.sort();
    pairs
}

fn pair(topic: &str, payload: &str) -> (String, String) {
    (topic.to_owned(), payload.to_owned())
}

fn retained_messages_are_kept(version: Version, ending: Ending) {
    let Some(mut gateway) = gateway() else { return };
    let (mut client, _) = gateway.connect(&Connect::new(version, "writer"));
    for (topic, qos) in [("a/one", 1), ("a/two", 2)] {
        assert!(client.publish(&Publish::new(topic, topic).qos(qos, 1).retain()) < 0x80);
    }
    if ending == Ending::Stopped {
        client.publish(&Publish::new("a/zero", "a/zero").retain());
    }
    drop(client);
    for _ in 0..2 {
        restart(&mut gateway, ending);
        let mut expected = vec![pair("a/one", "a/one"), pair("a/two", "a/two")];
        if ending == Ending::Stopped {
            expected.push(pair("a/zero", "a/zero"));
        }
        assert_eq!(kept(&gateway, version, "a/#"), expected);
    }
}

fn newest_message_counts(version: Version, ending: Ending) {
    let Some(mut gateway) = gateway() else { return };
    let (mut client, _) = gateway.connect(&Connect::new(version, "writer"));
    let mut retain = |topic: &str, payload: &str| {
        assert!(client.publish(&Publish::new(topic, payload).qos(1, 1).retain()) < 0x80);
    };
    for topic in ["a/replaced", "a/cleared", "a/cleared/and/set"] {
        retain(topic, "old");
    }
    retain("a/replaced", "new");
    retain("a/cleared", "");
    retain("a/cleared/and/set", "");
    retain("a/cleared/and/set", "new");
    restart(&mut gateway, ending);
    let expected = [pair("a/cleared/and/set", "new"), pair("a/replaced", "new")];
    assert_eq!(kept(&gateway, version, "a/#"), expected);
    let (mut client, _) = gateway.connect(&Connect::new(version, "writer"));
    assert!(client.publish(&Publish::new("a/replaced", "").qos(1, 1).retain()) < 0x80);
    restart(&mut gateway, ending);
    assert_eq!(kept(&gateway, version, "a/#"), expected[..1]);
}

fn properties_are_kept(ending: Ending) {
    let Some(mut gateway) = gateway() else { return };
    let sent = message("a", "text")
        .retain()
        .with(CONTENT_TYPE, "text/plain")
        .with(USER_PROPERTY, ("name", "value"));
    gateway.v5("writer").publish(&sent);
    restart(&mut gateway, ending);
    let mut client = gateway.v5("reader");
    client.subscribe("a", 2);
    let found = client.take();
    assert_eq!((found.qos, found.retain, found.dup), (1, true, false));
    assert_eq!(found.properties.text(CONTENT_TYPE), Some("text/plain"));
    assert_eq!(found.properties.user(), [("name", "value")]);
}

fn expiry_is_counted(ending: Ending) {
    let Some(mut gateway) = gateway() else { return };
    let sent = message("a", "text")
        .retain()
        .with(MESSAGE_EXPIRY_INTERVAL, 100_u32);
    gateway.v5("writer").publish(&sent);
    end(&mut gateway, ending);
    pass(2_100);
    gateway.run();
    let mut client = gateway.v5("reader");
    client.subscribe("a", 1);
    let left = client.take().properties.number(MESSAGE_EXPIRY_INTERVAL);
    let left = left.expect("an expiry");
    assert!((80..=98).contains(&left), "{left} s are left of 100");
}

fn message_expires_while_the_gateway_is_down(ending: Ending) {
    let Some(mut gateway) = gateway() else { return };
    let mut writer = gateway.v5("writer");
    let short = message("a/short", "text").retain();
    writer.publish(&short.with(MESSAGE_EXPIRY_INTERVAL, 1_u32));
    writer.publish(&message("a/long", "text").retain());
    end(&mut gateway, ending);
    pass(2_000);
    gateway.run();
    assert_eq!(kept(&gateway, V5, "a/#"), [pair("a/long", "text")]);
}

/// More than fit into one answer of the store, or one outbox.
#[test]
fn many_retained_messages_are_kept() {
    let Some(mut gateway) = gateway() else { return };
    let topics: Vec<String> = (0..2_000).map(|number| format!("a/{number:04}")).collect();
    let messages = topics.iter().map(|topic| message(topic, topic).retain());
    let mut writer = gateway.v5("writer");
    messages.for_each(|message| assert!(writer.publish(&message) < 0x80));
    restart(&mut gateway, Ending::Killed);
    let mut client = gateway.v5("reader");
    client.subscribe("a/#", 1);
    let mut found: Vec<String> = topics.iter().map(|_| client.take().topic).collect();
    found.sort();
    assert_eq!(found, topics);
}
