//! Messages that wait for a client over a restart.

use super::{
    Ending, absent, begin, durable, end, gateway, message, pass, publish, restart, resume,
};
use crate::support::{
    Publish, TestClient, V5, Version,
    property::{
        CONTENT_TYPE, CORRELATION_DATA, MESSAGE_EXPIRY_INTERVAL, PAYLOAD_FORMAT_INDICATOR,
        RESPONSE_TOPIC, USER_PROPERTY,
    },
};

use super::{restarts, restarts_v5};

restarts! {
    queued_messages_come_in_order
    queue_is_taken_in_parts
    long_queue_comes_whole
}

restarts_v5! {
    properties_are_kept
    expiry_is_counted
    message_expires_while_the_gateway_is_down
    message_expires_after_the_restart
}

/// Takes messages until one has this payload; a QoS 2 exchange does not stop others from coming.
#[track_caller]
fn take_through(client: &mut TestClient, last: &str) -> Vec<Publish> {
    let mut found: Vec<Publish> = Vec::new();
    let mut taken = 0;
    while found
        .last()
        .is_none_or(|found| found.payload_text() != last)
        || taken < found.len()
    {
        if taken == found.len() {
            found.push(client.next_publish());
        }
        let next = found[taken].clone();
        client.acknowledge_collecting(&next, &mut found);
        taken += 1;
    }
    found
}

fn payloads(found: &[Publish]) -> Vec<&str> {
    found.iter().map(Publish::payload_text).collect()
}

fn queued_messages_come_in_order(version: Version, ending: Ending) {
    let Some(mut gateway) = gateway() else { return };
    absent(&gateway, version, "one", "a/#", 2);
    let texts: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    let qos = |number: usize| 1 + number.is_multiple_of(3) as u8;
    let messages = texts.iter().enumerate();
    publish(
        &gateway,
        messages.map(|(number, text)| Publish::new("a/b", text).qos(qos(number), 1)),
    );
    restart(&mut gateway, ending);
    publish(&gateway, [message("a/c", "last")]);
    restart(&mut gateway, ending);
    let mut client = resume(&gateway, &durable(version, "one"));
    let found = take_through(&mut client, "last");
    let mut expected: Vec<&str> = texts.iter().map(String::as_str).collect();
    expected.push("last");
    assert_eq!(payloads(&found), expected);
    for (number, found) in found.iter().take(100).enumerate() {
        assert_eq!(found.qos, qos(number));
        assert!(!found.dup, "it was never sent before");
    }
}

fn queue_is_taken_in_parts(version: Version, ending: Ending) {
    let Some(mut gateway) = gateway() else { return };
    absent(&gateway, version, "one", "a", 1);
    publish(
        &gateway,
        ["1", "2", "3", "4"].map(|text| message("a", text)),
    );
    restart(&mut gateway, ending);
    let mut client = resume(&gateway, &durable(version, "one"));
    assert_eq!(payloads(&take_through(&mut client, "2")), ["1", "2"]);
    // The acknowledgements have come; of the rest some is on the way.
    client.ping();
    client.cut();
    publish(&gateway, [message("a", "5")]);
    restart(&mut gateway, ending);
    let mut client = resume(&gateway, &durable(version, "one"));
    let found = take_through(&mut client, "5");
    let again = found
        .iter()
        .take_while(|found| ["1", "2"].contains(&found.payload_text()));
    let again = again.count();
    assert!(
        ending == Ending::Killed || again == 0,
        "what was acknowledged is over"
    );
    assert_eq!(payloads(&found[again..]), ["3", "4", "5"]);
}

/// Longer than what is loaded at a time, and than what is on the way at a time.
fn long_queue_comes_whole(version: Version, ending: Ending) {
    let Some(mut gateway) = gateway() else { return };
    absent(&gateway, version, "one", "a", 1);
    let texts: Vec<String> = (0..2_500).map(|number| format!("{number:0>200}")).collect();
    let mut client = gateway.v5("writer");
    for (number, text) in texts.iter().enumerate() {
        client.send_publish(&Publish::new("a", text).qos(1, 1 + (number % 500) as u16));
        if number % 500 == 499 {
            (0..500).for_each(|_| assert_eq!(client.puback().reason, 0));
        }
    }
    restart(&mut gateway, ending);
    let mut client = resume(&gateway, &durable(version, "one"));
    let found = take_through(&mut client, &texts[2_499]);
    assert!(
        payloads(&found)
            .into_iter()
            .eq(texts.iter().map(String::as_str))
    );
}

fn properties_are_kept(ending: Ending) {
    let Some(mut gateway) = gateway() else { return };
    absent(&gateway, V5, "one", "a", 1);
    let sent = message("a", "text")
        .with(PAYLOAD_FORMAT_INDICATOR, 1_u8)
        .with(CONTENT_TYPE, "text/plain")
        .with(RESPONSE_TOPIC, "answers")
        .with(CORRELATION_DATA, [0_u8, 255].as_slice())
        .with(USER_PROPERTY, ("first", "1"))
        .with(USER_PROPERTY, ("first", "2"));
    publish(&gateway, [sent.clone()]);
    restart(&mut gateway, ending);
    let found = resume(&gateway, &durable(V5, "one")).take();
    for id in [CONTENT_TYPE, RESPONSE_TOPIC] {
        assert_eq!(found.properties.text(id), sent.properties.text(id));
    }
    assert_eq!(found.properties.number(PAYLOAD_FORMAT_INDICATOR), Some(1));
    assert_eq!(
        found.properties.bytes(CORRELATION_DATA),
        Some([0, 255].as_slice())
    );
    assert_eq!(found.properties.user(), [("first", "1"), ("first", "2")]);
}

fn expiry_is_counted(ending: Ending) {
    let Some(mut gateway) = gateway() else { return };
    absent(&gateway, V5, "one", "a", 1);
    publish(
        &gateway,
        [message("a", "text").with(MESSAGE_EXPIRY_INTERVAL, 100_u32)],
    );
    pass(1_100);
    end(&mut gateway, ending);
    pass(1_100);
    gateway.run();
    let found = resume(&gateway, &durable(V5, "one")).take();
    let left = found
        .properties
        .number(MESSAGE_EXPIRY_INTERVAL)
        .expect("an expiry");
    assert!((80..=98).contains(&left), "{left} s are left of 100");
}

fn message_expires_while_the_gateway_is_down(ending: Ending) {
    let Some(mut gateway) = gateway() else { return };
    absent(&gateway, V5, "one", "a", 1);
    publish(
        &gateway,
        [
            message("a", "short").with(MESSAGE_EXPIRY_INTERVAL, 1_u32),
            message("a", "long").with(MESSAGE_EXPIRY_INTERVAL, 1_000_u32),
        ],
    );
    end(&mut gateway, ending);
    pass(2_000);
    gateway.run();
    let mut client = resume(&gateway, &durable(V5, "one"));
    assert_eq!(client.take().payload_text(), "long");
}

fn message_expires_after_the_restart(ending: Ending) {
    let Some(mut gateway) = gateway() else { return };
    absent(&gateway, V5, "one", "a", 1);
    publish(
        &gateway,
        [message("a", "short").with(MESSAGE_EXPIRY_INTERVAL, 2_u32)],
    );
    restart(&mut gateway, ending);
    pass(3_000);
    publish(&gateway, [message("a", "new")]);
    let mut client = resume(&gateway, &durable(V5, "one"));
    assert_eq!(client.take().payload_text(), "new");
}

/// What comes while a client is there counts as much as what came while it was away.
#[test]
fn queue_and_live_messages_are_in_one_order() {
    let Some(mut gateway) = gateway() else { return };
    let mut client = begin(&gateway, &durable(V5, "one"));
    client.subscribe("a", 1);
    client.disconnect();
    let texts: Vec<String> = (0..300).map(|number| number.to_string()).collect();
    publish(&gateway, texts[..200].iter().map(|text| message("a", text)));
    restart(&mut gateway, Ending::Killed);
    let mut client = resume(&gateway, &durable(V5, "one"));
    publish(&gateway, texts[200..].iter().map(|text| message("a", text)));
    let found = take_through(&mut client, "299");
    assert!(
        payloads(&found)
            .into_iter()
            .eq(texts.iter().map(String::as_str))
    );
}
