//! Exchanges of QoS 1 and 2 that a restart cuts, at each packet, in both directions (4.3 and 4.4).

use super::{Ending, absent, begin, durable, gateway, message, publish, restart, resume};
use crate::support::packet::{PUBACK, PUBCOMP, PUBREC, PUBREL, ack};
use crate::support::{Publish, Received, TestClient, V5, Version, property::RECEIVE_MAXIMUM};

restarts! {
    unacknowledged_messages_come_again
    acknowledged_message_is_over
    outgoing_qos_2_is_cut_behind_publish
    outgoing_qos_2_is_cut_behind_pubrec
    outgoing_qos_2_is_cut_behind_pubrel
    outgoing_qos_2_is_cut_behind_pubcomp
    incoming_qos_1_is_cut_behind_publish
    incoming_qos_2_is_cut_behind_publish
    incoming_qos_2_is_cut_behind_pubrec
    incoming_qos_2_is_cut_behind_pubrel
    incoming_qos_2_is_cut_behind_pubcomp
}

restarts_v5! {
    receive_maximum_holds_for_what_comes_again
    what_was_seen_is_marked_behind_what_was_acknowledged
}

use super::{restarts, restarts_v5};

/// Connects, and gives what was on the way when the gateway ended.
#[track_caller]
fn on_the_way(client: &mut TestClient, count: usize) -> Vec<Publish> {
    (0..count).map(|_| client.next_publish()).collect()
}

#[track_caller]
fn assert_again(again: &Publish, before: &Publish) {
    assert!(again.dup, "DUP is set: {again:?}");
    let mut again = again.clone();
    again.dup = before.dup;
    assert_eq!(&again, before);
}

fn unacknowledged_messages_come_again(version: Version, ending: Ending) {
    let Some(mut gateway) = gateway() else { return };
    let mut client = begin(&gateway, &durable(version, "one"));
    client.subscribe("a", 2);
    let texts = ["1", "2", "3", "4", "5", "6"].into_iter().enumerate();
    publish(
        &gateway,
        texts.map(|(number, text)| Publish::new("a", text).qos(1 + (number % 2) as u8, 1)),
    );
    let before = on_the_way(&mut client, 6);
    for _ in 0..2 {
        restart(&mut gateway, ending);
        client = resume(&gateway, &durable(version, "one"));
        let again = on_the_way(&mut client, 6);
        for (again, before) in again.iter().zip(&before) {
            assert_again(again, before);
        }
    }
    // New messages come behind them, under other identifiers.
    publish(&gateway, [message("a", "new")]);
    let new = client.next_publish();
    assert!(
        !new.dup
            && before
                .iter()
                .all(|before| before.packet_id != new.packet_id)
    );
}

/// Over a stop only: an acknowledgement never forces a write, so it may be forgotten by a kill.
fn acknowledged_message_is_over(version: Version, ending: Ending) {
    let Some(mut gateway) = gateway() else { return };
    let mut client = begin(&gateway, &durable(version, "one"));
    client.subscribe("a", 1);
    publish(&gateway, [message("a", "old")]);
    let old = client.take();
    assert_eq!(client.ping(), []);
    restart(&mut gateway, ending);
    let mut client = resume(&gateway, &durable(version, "one"));
    publish(&gateway, [message("a", "new")]);
    let mut found = client.take();
    if ending == Ending::Killed && found.dup {
        assert_again(&found, &old);
        found = client.take();
    }
    assert_eq!(found.payload_text(), "new");
}

/// A QoS 2 message on its way to a client.
#[track_caller]
fn outgoing(version: Version) -> Option<(crate::support::TestGateway, TestClient, Publish)> {
    let gateway = gateway()?;
    let mut client = begin(&gateway, &durable(version, "one"));
    client.subscribe("a", 2);
    publish(&gateway, [Publish::new("a", "once").qos(2, 1)]);
    let found = client.next_publish();
    Some((gateway, client, found))
}

/// Nothing of the message comes any more but PUBREL; what comes next is new.
#[track_caller]
fn assert_over(gateway: &crate::support::TestGateway, client: &mut TestClient, old: &Publish) {
    publish(gateway, [Publish::new("a", "new").qos(2, 1)]);
    loop {
        match client.receive() {
            Received::PubRel(found) if found.packet_id == old.packet_id => {
                client.send(ack(PUBCOMP, old.packet_id));
            }
            Received::Publish(found) => {
                assert_eq!(found.payload_text(), "new");
                return client.acknowledge(&found);
            }
            other => panic!("expected the new message, found {other:?}"),
        }
    }
}

fn outgoing_qos_2_is_cut_behind_publish(version: Version, ending: Ending) {
    let Some((mut gateway, _client, before)) = outgoing(version) else {
        return;
    };
    restart(&mut gateway, ending);
    let mut client = resume(&gateway, &durable(version, "one"));
    let again = client.take();
    assert_again(&again, &before);
    assert_over(&gateway, &mut client, &before);
}

/// Whether the gateway has seen the PUBREC is not known to the client, so PUBLISH may come again as well as PUBREL.
fn outgoing_qos_2_is_cut_behind_pubrec(version: Version, ending: Ending) {
    let Some((mut gateway, mut client, before)) = outgoing(version) else {
        return;
    };
    client.send(ack(PUBREC, before.packet_id));
    restart(&mut gateway, ending);
    let mut client = resume(&gateway, &durable(version, "one"));
    match client.receive() {
        Received::Publish(again) => {
            assert_again(&again, &before);
            client.acknowledge(&again);
        }
        Received::PubRel(found) => {
            assert_eq!(found.packet_id, before.packet_id);
            client.send(ack(PUBCOMP, before.packet_id));
        }
        other => panic!("expected PUBLISH or PUBREL, found {other:?}"),
    }
    assert_over(&gateway, &mut client, &before);
}

/// A PUBREL says that the PUBREC is stored: from then on PUBLISH never comes again.
fn outgoing_qos_2_is_cut_behind_pubrel(version: Version, ending: Ending) {
    let Some((mut gateway, mut client, before)) = outgoing(version) else {
        return;
    };
    client.send(ack(PUBREC, before.packet_id));
    assert_eq!(client.pubrel().packet_id, before.packet_id);
    for _ in 0..2 {
        restart(&mut gateway, ending);
        client = resume(&gateway, &durable(version, "one"));
        assert_eq!(client.pubrel().packet_id, before.packet_id);
    }
    client.send(ack(PUBCOMP, before.packet_id));
    assert_over(&gateway, &mut client, &before);
}

fn outgoing_qos_2_is_cut_behind_pubcomp(version: Version, ending: Ending) {
    let Some((mut gateway, mut client, before)) = outgoing(version) else {
        return;
    };
    client.acknowledge(&before);
    assert_eq!(client.ping(), []);
    restart(&mut gateway, ending);
    let mut client = resume(&gateway, &durable(version, "one"));
    assert_over(&gateway, &mut client, &before);
}

/// A gateway, a publisher with a session, and a durable QoS 2 subscriber that is away.
#[track_caller]
fn incoming(version: Version) -> Option<(crate::support::TestGateway, TestClient)> {
    let gateway = gateway()?;
    absent(&gateway, version, "reader", "a", 2);
    let client = begin(&gateway, &durable(version, "writer"));
    Some((gateway, client))
}

/// The subscriber gets these messages, each once and in order.
#[track_caller]
fn assert_reads(gateway: &crate::support::TestGateway, version: Version, texts: &[&str]) {
    publish(gateway, [Publish::new("a", "last").qos(2, 1)]);
    let mut client = resume(gateway, &durable(version, "reader"));
    let mut later = Vec::new();
    let mut found = Vec::new();
    while found.last().is_none_or(|text| text != "last") {
        let next = if later.is_empty() {
            client.next_publish()
        } else {
            later.remove(0)
        };
        client.acknowledge_collecting(&next, &mut later);
        found.push(next.payload_text().to_owned());
    }
    found.pop();
    assert_eq!(found, texts);
}

fn incoming_qos_1_is_cut_behind_publish(version: Version, ending: Ending) {
    let Some((mut gateway, mut writer)) = incoming(version) else {
        return;
    };
    let sent = message("a", "text");
    writer.send_publish(&sent);
    restart(&mut gateway, ending);
    let mut writer = resume(&gateway, &durable(version, "writer"));
    assert_eq!(writer.publish(&sent.dup()), 0);
    publish(&gateway, [Publish::new("a", "last").qos(2, 1)]);
    let mut reader = resume(&gateway, &durable(version, "reader"));
    let mut texts = Vec::new();
    while texts.last().is_none_or(|text| text != "last") {
        texts.push(reader.take().payload_text().to_owned());
    }
    texts.dedup();
    assert_eq!(texts, ["text", "last"], "at least once");
}

fn incoming_qos_2_is_cut_behind_publish(version: Version, ending: Ending) {
    let Some((mut gateway, mut writer)) = incoming(version) else {
        return;
    };
    let sent = Publish::new("a", "once").qos(2, 5);
    writer.send_publish(&sent);
    restart(&mut gateway, ending);
    let mut writer = resume(&gateway, &durable(version, "writer"));
    assert_eq!(writer.publish(&sent.dup()), 0);
    assert_reads(&gateway, version, &["once"]);
}

fn incoming_qos_2_is_cut_behind_pubrec(version: Version, ending: Ending) {
    let Some((mut gateway, mut writer)) = incoming(version) else {
        return;
    };
    let sent = Publish::new("a", "once").qos(2, 5);
    writer.send_publish(&sent);
    assert_eq!(writer.pubrec().reason, 0);
    restart(&mut gateway, ending);
    let mut writer = resume(&gateway, &durable(version, "writer"));
    // As a client does that has lost the PUBREC, and then one that has not.
    writer.send_publish(&sent.clone().dup());
    assert_eq!(writer.pubrec().packet_id, 5);
    restart(&mut gateway, ending);
    let mut writer = resume(&gateway, &durable(version, "writer"));
    writer.send(ack(PUBREL, 5));
    assert_eq!(writer.pubcomp().reason, 0);
    assert_reads(&gateway, version, &["once"]);
}

fn incoming_qos_2_is_cut_behind_pubrel(version: Version, ending: Ending) {
    let Some((mut gateway, mut writer)) = incoming(version) else {
        return;
    };
    writer.send_publish(&Publish::new("a", "once").qos(2, 5));
    assert_eq!(writer.pubrec().reason, 0);
    writer.send(ack(PUBREL, 5));
    restart(&mut gateway, ending);
    let mut writer = resume(&gateway, &durable(version, "writer"));
    writer.send(ack(PUBREL, 5));
    let reason = writer.pubcomp().reason;
    assert!([0, 0x92].contains(&reason), "PUBCOMP {reason:#04x}");
    assert_reads(&gateway, version, &["once"]);
}

/// Behind PUBCOMP the identifier is free: the next message that has it is new.
fn incoming_qos_2_is_cut_behind_pubcomp(version: Version, ending: Ending) {
    let Some((mut gateway, mut writer)) = incoming(version) else {
        return;
    };
    assert_eq!(writer.publish(&Publish::new("a", "first").qos(2, 5)), 0);
    restart(&mut gateway, ending);
    let mut writer = resume(&gateway, &durable(version, "writer"));
    assert_eq!(writer.publish(&Publish::new("a", "second").qos(2, 5)), 0);
    assert_reads(&gateway, version, &["first", "second"]);
}

fn receive_maximum_holds_for_what_comes_again(ending: Ending) {
    let Some(mut gateway) = gateway() else { return };
    let mut client = begin(&gateway, &durable(V5, "one"));
    client.subscribe("a", 1);
    publish(
        &gateway,
        ["1", "2", "3", "4"].map(|text| message("a", text)),
    );
    let before = on_the_way(&mut client, 4);
    restart(&mut gateway, ending);
    let mut client = resume(&gateway, &durable(V5, "one").with(RECEIVE_MAXIMUM, 2_u16));
    for (number, before) in before.iter().enumerate() {
        let again = client.next_publish();
        assert_again(&again, before);
        if number == 1 {
            assert_eq!(client.ping(), [], "no more than two are on the way");
            client.send(ack(PUBACK, before.packet_id - 1));
            client.send(ack(PUBACK, before.packet_id));
        }
    }
}

/// More was acknowledged than may be on the way at a time; none of it need be stored, all of it was seen.
fn what_was_seen_is_marked_behind_what_was_acknowledged(ending: Ending) {
    let Some(mut gateway) = gateway() else { return };
    let connect = durable(V5, "one");
    let mut client = begin(&gateway, &connect.clone().with(RECEIVE_MAXIMUM, 2_u16));
    client.subscribe("a", 1);
    let texts: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    publish(&gateway, texts.iter().map(|text| message("a", text)));
    let mut seen: Vec<Publish> = (0..18).map(|_| client.take()).collect();
    seen.extend(on_the_way(&mut client, 2));
    restart(&mut gateway, ending);
    let mut client = resume(&gateway, &connect);
    let mut again = vec![client.next_publish()];
    while again.last().is_some_and(|last| last.payload != b"19") {
        again.push(client.next_publish());
    }
    assert!(again.len() >= 2, "what was not acknowledged comes again");
    for (again, before) in again.iter().rev().zip(seen.iter().rev()) {
        assert_again(again, before);
    }
}
