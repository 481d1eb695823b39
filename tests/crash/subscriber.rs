//! A durable subscriber: what came to it, whether that was right, and whether all came that had to.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::book::{Key, Sent, key_of};
use crate::chance::Chance;
use crate::stage::{Phase, Stage, rest};
use crate::support::packet::{
    Connect, PUBACK, PUBCOMP, PUBREC, Publish, Received, V5, Version, ack, subscribe,
};
use crate::support::property::{RECEIVE_MAXIMUM, SESSION_EXPIRY_INTERVAL};
use crate::wire::{Gone, Wire};

const SUBACK_DEADLINE: Duration = Duration::from_secs(20);

/// When a subscriber is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Habit {
    /// Always.
    Steady,
    /// Comes and goes.
    Passing,
    /// Only to subscribe, and at the end.
    Away,
}

/// A PUBLISH that came and was not answered yet.
#[derive(Clone, Copy, Debug)]
struct Open {
    key: Key,
    qos: u8,
    generation: u64,
    /// Counts what came to this client.
    place: u64,
}

#[derive(Debug)]
pub(crate) struct Subscriber {
    name: String,
    version: Version,
    habit: Habit,
    qos: u8,
    receive_maximum: Option<u16>,
    /// Acknowledges late, and so has something open when the gateway dies.
    is_lazy: bool,
    chance: Chance,
    is_subscribed: bool,
    has_session: bool,
    places: u64,
    /// The identifier under which each message came last.
    arrived: BTreeMap<Key, u16>,
    /// Newest message of each publisher, topic and QoS.
    newest: BTreeMap<(u16, String, u8), u32>,
    /// By identifier, with QoS 1 and 2.
    open: BTreeMap<u16, Open>,
    /// QoS 2 identifiers that came and are not released, with what came.
    unreleased: BTreeMap<u16, Open>,
    /// What the gateway must send again on this connection.
    owed: BTreeMap<u16, Open>,
    redelivered_place: u64,
    /// Heads and identifiers that are yet to be sent.
    answers: VecDeque<(u8, u16)>,
}

/// The filter of every subscriber, and the topics below it.
const FILTER: &str = "load/#";
const PREFIX: &str = "load/";

impl Subscriber {
    pub(crate) fn new(
        index: u16,
        version: Version,
        habit: Habit,
        qos: u8,
        chance: &Chance,
    ) -> Self {
        let mut chance = chance.branch(2000 + u64::from(index));
        let receive_maximum = [None, Some(10), Some(40), Some(100)][chance.below(4) as usize];
        Self {
            name: format!("subscriber-{index}-{habit:?}-{version:?}-qos{qos}").to_lowercase(),
            version,
            habit,
            qos,
            receive_maximum,
            is_lazy: false,
            chance,
            is_subscribed: false,
            has_session: false,
            places: 0,
            arrived: BTreeMap::new(),
            newest: BTreeMap::new(),
            open: BTreeMap::new(),
            unreleased: BTreeMap::new(),
            owed: BTreeMap::new(),
            redelivered_place: 0,
            answers: VecDeque::new(),
        }
    }

    /// Works until the end; `settled` is raised when all that is due has come.
    pub(crate) fn run(mut self, stage: &Stage, subscribed: &AtomicBool, settled: &AtomicBool) {
        while let Some(place) = stage.await_place() {
            if self.habit == Habit::Away && self.is_subscribed && stage.phase() < Phase::Drain {
                rest(20);
                continue;
            }
            let connect = self.connect();
            if let Ok((mut wire, connack)) = Wire::open(place, &connect) {
                self.begin(&wire, connack.session_present, stage);
                if self.serve(&mut wire, stage, subscribed, settled).is_ok() {
                    wire.disconnect();
                }
                self.answers.clear();
            }
            if self.habit == Habit::Passing && stage.phase() == Phase::Load {
                rest(self.chance.between(5, 600));
            } else {
                rest(5);
            }
        }
        self.audit(stage);
    }

    fn connect(&self) -> Connect {
        let connect = Connect::new(self.version, &self.name).resume();
        if self.version != V5 {
            return connect;
        }
        let connect = connect.with(SESSION_EXPIRY_INTERVAL, 3600_u32);
        match self.receive_maximum {
            Some(maximum) => connect.with(RECEIVE_MAXIMUM, maximum),
            None => connect,
        }
    }

    /// A connection begins: what was open has to come again, unless the gateway that sent it had not promised anything yet.
    fn begin(&mut self, wire: &Wire, session_present: bool, stage: &Stage) {
        let mut book = stage.book();
        if self.has_session && !session_present {
            book.fault(format!("{} has no session any more", self.name));
        }
        self.has_session = true;
        let kept = |open: &&Open| {
            open.generation == wire.generation || book.is_kept(open.key, open.generation)
        };
        let owed = self.open.iter().filter(|(_, open)| kept(open));
        self.owed = owed.map(|(id, open)| (*id, *open)).collect();
        self.open.clear();
        self.redelivered_place = 0;
    }

    fn serve(
        &mut self,
        wire: &mut Wire,
        stage: &Stage,
        subscribed: &AtomicBool,
        settled: &AtomicBool,
    ) -> Result<(), Gone> {
        if !self.is_subscribed {
            wire.send(&subscribe(self.version, 1, None, &[(FILTER, self.qos)]))?;
            match wire.hear(SUBACK_DEADLINE)? {
                Some(Received::SubAck(found)) => assert_eq!(found.codes, [self.qos]),
                other => panic!("expected SUBACK, found {other:?}"),
            }
            self.is_subscribed = true;
            subscribed.store(true, Ordering::SeqCst);
        }
        loop {
            let heard = wire.hear(Duration::from_millis(50))?;
            let idle = heard.is_none();
            if let Some(packet) = heard {
                self.handle(packet, wire, stage)?;
            }
            let loading = stage.phase() == Phase::Load;
            if self.chance.percent(3) {
                self.is_lazy = !self.is_lazy;
            }
            if !self.is_lazy || !loading {
                self.answer(wire)?;
            }
            if stage.phase() == Phase::End {
                return Ok(());
            }
            if stage.phase() == Phase::Drain && idle {
                settled.store(self.missing(stage).is_empty(), Ordering::SeqCst);
            }
            if loading && self.habit == Habit::Away {
                return Ok(());
            }
            if loading && self.habit == Habit::Passing && self.chance.below(120) == 0 {
                // With and without a word.
                return if self.chance.percent(50) {
                    Ok(())
                } else {
                    Err(Gone)
                };
            }
        }
    }

    /// Sends what is due, in order.
    fn answer(&mut self, wire: &mut Wire) -> Result<(), Gone> {
        while let Some((head, packet_id)) = self.answers.pop_front() {
            wire.send(&ack(head, packet_id))?;
            if head != PUBCOMP {
                self.open.remove(&packet_id);
            }
        }
        Ok(())
    }

    fn handle(&mut self, packet: Received, wire: &Wire, stage: &Stage) -> Result<(), Gone> {
        match packet {
            Received::Publish(publish) => self.handle_publish(&publish, wire.generation, stage),
            Received::PubRel(found) => {
                self.unreleased.remove(&found.packet_id);
                self.answers.push_back((PUBCOMP, found.packet_id));
            }
            Received::Disconnect(_) => return Err(Gone),
            other => panic!("{} found {other:?}", self.name),
        }
        Ok(())
    }

    fn handle_publish(&mut self, publish: &Publish, generation: u64, stage: &Stage) {
        let mut book = stage.book();
        book.count("delivered");
        let Some((key, sent)) = key_of(&publish.payload)
            .and_then(|key| Some((key, book.message(key).cloned()?)))
            .filter(|(_, sent)| sent.topic == publish.topic)
        else {
            book.fault(format!(
                "{} got what nobody sent to {}",
                self.name, publish.topic
            ));
            return;
        };
        if publish.qos != sent.qos.min(self.qos) {
            let text = format!("{} got {key:?} with QoS {}", self.name, publish.qos);
            book.fault(text);
        }
        let packet_id = publish.packet_id;
        self.places += 1;
        let open = Open {
            qos: publish.qos,
            key,
            generation,
            place: self.places,
        };
        let mut faults = self.check_redelivery(publish, open);
        let head = if publish.qos == 1 { PUBACK } else { PUBREC };
        self.answers.push_back((head, packet_id));
        if publish.qos == 2 && self.unreleased.contains_key(&packet_id) {
            let kept = |open: &Open| {
                open.generation == generation || book.is_kept(open.key, open.generation)
            };
            faults.extend(self.check_unreleased(publish, key, kept));
            book.count("discarded as known");
        } else {
            faults.extend(self.deliver(publish, key, &sent));
            self.unreleased
                .extend((publish.qos == 2).then_some((packet_id, open)));
        }
        self.open.insert(packet_id, open);
        for fault in faults {
            book.fault(format!("{}: {key:?} as {packet_id} {fault}", self.name));
        }
    }

    /// What had been seen and not answered comes with the same identifier, marked, and in the same order.
    fn check_redelivery(&mut self, publish: &Publish, open: Open) -> Vec<String> {
        let mut faults = Vec::new();
        if let Some(before) = self.open.get(&publish.packet_id) {
            faults.push(format!("while {:?} has that identifier", before.key));
        }
        let owed = self.owed.iter().find(|(_, owed)| owed.key == open.key);
        let Some((packet_id, before)) = owed.map(|(packet_id, before)| (*packet_id, *before))
        else {
            // What went out at QoS 1 before it was stored does not come again, and its number is free.
            let owed = self.owed.get(&publish.packet_id);
            if let Some(before) = owed.filter(|owed| owed.qos == 2) {
                faults.push(format!(
                    "although {:?} is to come again as that",
                    before.key
                ));
            }
            return faults;
        };
        self.owed.remove(&packet_id);
        if packet_id != publish.packet_id && publish.qos == 1 {
            // It went out before it was stored, and its publisher sent it again: this is another delivery.
            return faults;
        }
        if packet_id != publish.packet_id {
            faults.push(format!("was {packet_id} before"));
        } else if !publish.dup {
            faults.push("comes again without DUP".to_owned());
        }
        if before.place < self.redelivered_place {
            faults.push("comes again out of order".to_owned());
        }
        self.redelivered_place = before.place;
        faults
    }

    /// QoS 2: the identifier is not released, so this is no new delivery (method B of figure 4.3).
    fn check_unreleased(
        &self,
        publish: &Publish,
        key: Key,
        kept: impl Fn(&Open) -> bool,
    ) -> Option<String> {
        let before = self.unreleased.get(&publish.packet_id)?;
        if before.key != key {
            Some(format!("is lost: {:?} is not released", before.key))
        } else if !publish.dup && kept(before) {
            Some("comes again without DUP".to_owned())
        } else {
            None
        }
    }

    /// A delivery to the application.
    fn deliver(&mut self, publish: &Publish, key: Key, sent: &Sent) -> Option<String> {
        let before = self.arrived.insert(key, publish.packet_id);
        let Some(before) = before else {
            let flow = (key.0, publish.topic.clone(), sent.qos);
            let newest = self.newest.insert(flow, key.1).unwrap_or(0);
            return (newest > key.1).then(|| format!("comes behind number {newest}"));
        };
        if publish.qos == 2 {
            return Some(format!("is a duplicate, before as {before}"));
        }
        let again = publish.dup && before == publish.packet_id;
        (!again && sent.sends == 1).then(|| format!("is a second delivery, before as {before}"))
    }

    /// What has not come and was promised.
    fn missing(&self, stage: &Stage) -> Vec<String> {
        let book = stage.book();
        let owed = book
            .owed(PREFIX)
            .filter(|key| !self.arrived.contains_key(key));
        let mut missing: Vec<_> = owed.map(|key| format!("{key:?} is lost")).collect();
        missing.extend(
            self.owed.iter().map(|(packet_id, open)| {
                format!("{:?} as {packet_id} did not come again", open.key)
            }),
        );
        let unreleased = self.unreleased.iter();
        let kept = unreleased.filter(|(_, open)| book.is_kept(open.key, open.generation));
        missing.extend(
            kept.map(|(packet_id, open)| format!("{:?} as {packet_id} was not released", open.key)),
        );
        missing
    }

    fn audit(&self, stage: &Stage) {
        let missing = self.missing(stage);
        let mut book = stage.book();
        book.add("first deliveries", self.arrived.len() as u64);
        book.add("missing", missing.len() as u64);
        for text in missing {
            book.fault(format!("{}: {text}", self.name));
        }
    }
}
