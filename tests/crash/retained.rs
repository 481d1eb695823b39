//! Looks at retained values: never older than the last one acknowledged, never newer than the last one sent.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::book::{Span, key_of};
use crate::chance::Chance;
use crate::stage::{Phase, Stage, rest};
use crate::support::packet::{Connect, PUBACK, Received, V3_1_1, V5, ack, frame, subscribe};
use crate::wire::{Gone, Wire};

const DEADLINE: Duration = Duration::from_secs(20);

/// Looks again and again, first of all after each start of the gateway, and once more at the end.
pub(crate) fn run(stage: &Stage, publishers: &[u16], mut chance: Chance) {
    let mut looked_at_end = false;
    while !looked_at_end {
        let is_end = stage.phase() >= Phase::Drain;
        let Some(place) = stage.await_place() else {
            return;
        };
        let version = if chance.percent(50) { V5 } else { V3_1_1 };
        let opened = Wire::open(place, &Connect::new(version, "retained-reader"));
        let looked = opened.and_then(|(mut wire, _)| {
            for publisher in publishers {
                look(&mut wire, version, *publisher, stage)?;
            }
            wire.disconnect();
            Ok(())
        });
        looked_at_end = is_end && looked.is_ok();
        rest(chance.between(1, 120));
        while stage.place().is_none() && stage.phase() < Phase::End {
            rest(1);
        }
    }
}

fn look(
    wire: &mut Wire,
    version: crate::support::Version,
    publisher: u16,
    stage: &Stage,
) -> Result<(), Gone> {
    let floors = stage.book().spans(publisher);
    let filter = format!("retained/{publisher}/#");
    wire.send(&subscribe(version, publisher, None, &[(&filter, 1)]))?;
    wire.send(&frame(0xC0, &[]))?;
    let mut values: BTreeMap<String, Option<u32>> = BTreeMap::new();
    loop {
        match wire.hear(DEADLINE)? {
            Some(Received::SubAck(found)) => assert_eq!(found.codes, [1]),
            Some(Received::Publish(found)) => {
                wire.send(&ack(PUBACK, found.packet_id))?;
                if found.retain {
                    let number = key_of(&found.payload).map(|key| key.1);
                    values.insert(found.topic, number);
                }
            }
            Some(Received::PingResp) => break,
            // The gateway is being stopped.
            Some(Received::Disconnect(_)) => return Err(Gone),
            other => panic!("the reader of retained messages found {other:?}"),
        }
    }
    let mut book = stage.book();
    book.count("looks at retained messages");
    for floor in floors {
        let spans = book.spans(publisher);
        let span = spans.iter().find(|span| span.topic == floor.topic);
        let Some(&Span { sent, .. }) = span else {
            continue;
        };
        let low = floor.acknowledged.unwrap_or(0);
        let is_right = match values.get(&floor.topic) {
            Some(Some(value)) => {
                let own = (publisher, *value);
                let is_of_topic = book
                    .message(own)
                    .is_some_and(|sent| sent.topic == floor.topic && !sent.clears);
                is_of_topic && (low..=sent).contains(value)
            }
            Some(None) => false,
            None => low == 0 || book.clears_between(publisher, &floor.topic, low, sent),
        };
        if !is_right {
            let value = values.get(&floor.topic);
            let topic = &floor.topic;
            book.fault(format!(
                "{topic} has {value:?}, of {low} acknowledged and {sent} sent"
            ));
        }
    }
    Ok(())
}
