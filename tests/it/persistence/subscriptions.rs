//! Subscriptions over a restart, with all of their options (MQTT 5, 3.8.3.1 and 4.8.2).

use super::{Ending, begin, durable, gateway, message, publish, restart, resume};
use crate::support::{
    Publish, TestClient, TestGateway, V3_1_1, V5, Version, property::SUBSCRIPTION_IDENTIFIER,
};

/// Bits of the options byte.
const NO_LOCAL: u8 = 0x04;
const RETAIN_AS_PUBLISHED: u8 = 0x08;

use super::{restarts, restarts_v5};

restarts! {
    granted_qos_is_kept
    last_answer_is_in_force
    retained_messages_are_not_sent_again
}

restarts_v5! {
    no_local_is_kept
    retain_as_published_is_kept
    identifiers_are_kept
    shared_subscriptions_are_kept
    options_are_replaced
}

/// The next message, past whatever else comes.
#[track_caller]
fn taken(client: &mut TestClient, payload: &str) -> Publish {
    let found = client.take();
    assert_eq!(found.payload_text(), payload);
    found
}

fn granted_qos_is_kept(version: Version, ending: Ending) {
    let Some(mut gateway) = gateway() else { return };
    let mut client = begin(&gateway, &durable(version, "one"));
    for (filter, qos) in [("zero/+", 0), ("one/#", 1), ("two/x", 2)] {
        assert_eq!(client.subscribe(filter, qos), qos);
    }
    restart(&mut gateway, ending);
    let mut client = resume(&gateway, &durable(version, "one"));
    for (topic, qos) in [("zero/x", 0), ("one/x", 1), ("two/x", 2)] {
        publish(&gateway, [Publish::new(topic, topic).qos(2, 1)]);
        assert_eq!(taken(&mut client, topic).qos, qos);
    }
}

fn last_answer_is_in_force(version: Version, ending: Ending) {
    let Some(mut gateway) = gateway() else { return };
    let mut client = begin(&gateway, &durable(version, "one"));
    client.subscribe("a", 1);
    client.subscribe("b", 1);
    client.subscribe("c", 1);
    client.unsubscribe(&["a"]);
    client.unsubscribe(&["b"]);
    client.subscribe("b", 1);
    restart(&mut gateway, ending);
    let mut client = resume(&gateway, &durable(version, "one"));
    publish(&gateway, ["a", "b", "c"].map(|topic| message(topic, topic)));
    taken(&mut client, "b");
    taken(&mut client, "c");
    client.unsubscribe(&["b"]);
    restart(&mut gateway, ending);
    let mut client = resume(&gateway, &durable(version, "one"));
    publish(&gateway, ["b", "c"].map(|topic| message(topic, topic)));
    taken(&mut client, "c");
}

fn retained_messages_are_not_sent_again(version: Version, ending: Ending) {
    let Some(mut gateway) = gateway() else { return };
    publish(&gateway, [message("a", "kept").retain()]);
    let mut client = begin(&gateway, &durable(version, "one"));
    client.subscribe("a", 1);
    taken(&mut client, "kept");
    client.disconnect();
    restart(&mut gateway, ending);
    let mut client = resume(&gateway, &durable(version, "one"));
    publish(&gateway, [message("a", "new")]);
    let mut first = client.take();
    if ending == Ending::Killed && first.dup {
        // That the client has acknowledged need not be stored when it is killed.
        assert_eq!(first.payload_text(), "kept");
        first = client.take();
    }
    assert_eq!(first.payload_text(), "new");
}

fn no_local_is_kept(ending: Ending) {
    let Some(mut gateway) = gateway() else { return };
    let mut client = begin(&gateway, &durable(V5, "one"));
    client.subscribe("a", 1 | NO_LOCAL);
    restart(&mut gateway, ending);
    let mut client = resume(&gateway, &durable(V5, "one"));
    assert!(client.publish(&Publish::new("a", "own").qos(1, 9)) < 0x80);
    publish(&gateway, [message("a", "other")]);
    taken(&mut client, "other");
}

fn retain_as_published_is_kept(ending: Ending) {
    let Some(mut gateway) = gateway() else { return };
    let mut client = begin(&gateway, &durable(V5, "one"));
    client.subscribe("a", 1 | RETAIN_AS_PUBLISHED);
    client.subscribe("b", 1);
    restart(&mut gateway, ending);
    let mut client = resume(&gateway, &durable(V5, "one"));
    publish(
        &gateway,
        ["a", "b"].map(|topic| message(topic, topic).retain()),
    );
    assert!(taken(&mut client, "a").retain);
    assert!(!taken(&mut client, "b").retain);
}

fn identifiers_are_kept(ending: Ending) {
    let Some(mut gateway) = gateway() else { return };
    let mut client = begin(&gateway, &durable(V5, "one"));
    client.subscribe_with(Some(7), &[("a/#", 1)]);
    client.subscribe_with(Some(268_435_455), &[("a/b", 1)]);
    client.disconnect();
    restart(&mut gateway, ending);
    let check = |gateway: &TestGateway, found: &Publish| {
        let mut numbers = found.properties.numbers(SUBSCRIPTION_IDENTIFIER);
        numbers.sort_unstable();
        assert_eq!(numbers, [7, 268_435_455], "{}", gateway.log());
    };
    // Once from the queue over another restart, once directly.
    publish(&gateway, [message("a/b", "queued")]);
    restart(&mut gateway, ending);
    let mut client = resume(&gateway, &durable(V5, "one"));
    check(&gateway, &taken(&mut client, "queued"));
    publish(&gateway, [message("a/b", "live")]);
    check(&gateway, &taken(&mut client, "live"));
}

fn shared_subscriptions_are_kept(ending: Ending) {
    let Some(mut gateway) = gateway() else { return };
    for client_id in ["one", "two"] {
        let mut client = begin(&gateway, &durable(V5, client_id));
        client.subscribe("$share/group/a/+", 1);
    }
    restart(&mut gateway, ending);
    let mut one = resume(&gateway, &durable(V5, "one"));
    let mut two = resume(&gateway, &durable(V5, "two"));
    let payloads: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    publish(
        &gateway,
        payloads.iter().map(|payload| message("a/b", payload)),
    );
    let mut found = one.ping();
    found.extend(two.ping());
    let mut numbers: Vec<u32> = found
        .iter()
        .map(|found| found.payload_text().parse().expect("a number"))
        .collect();
    numbers.sort_unstable();
    assert!(
        numbers.iter().copied().eq(0..20),
        "each message goes to one: {numbers:?}"
    );
}

fn options_are_replaced(ending: Ending) {
    let Some(mut gateway) = gateway() else { return };
    let mut client = begin(&gateway, &durable(V5, "one"));
    client.subscribe_with(Some(3), &[("a", 2 | NO_LOCAL | RETAIN_AS_PUBLISHED)]);
    client.subscribe_with(None, &[("a", 1)]);
    restart(&mut gateway, ending);
    let mut client = resume(&gateway, &durable(V5, "one"));
    client.send_publish(&Publish::new("a", "own").qos(2, 9).retain());
    let mut found = client.receive();
    while !matches!(found, crate::support::Received::Publish(_)) {
        found = client.receive();
    }
    let crate::support::Received::Publish(found) = found else {
        return;
    };
    assert_eq!((found.qos, found.retain), (1, false));
    assert!(!found.properties.has(SUBSCRIPTION_IDENTIFIER));
}

/// A session goes on in the other version of the protocol.
#[test]
fn session_is_taken_on_in_another_version() {
    for (first, then) in [(V5, V3_1_1), (V3_1_1, V5)] {
        let Some(mut gateway) = gateway() else { return };
        let mut client = begin(&gateway, &durable(first, "one"));
        client.subscribe("a", 2);
        client.disconnect();
        publish(&gateway, [Publish::new("a", "queued").qos(2, 1)]);
        restart(&mut gateway, Ending::Killed);
        let mut client = resume(&gateway, &durable(then, "one"));
        assert_eq!(taken(&mut client, "queued").qos, 2);
    }
}
