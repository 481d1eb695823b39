//! Clients that keep to the standard, a store that is late, fails or never answers, and a process that dies at any moment:
//! what was acknowledged arrives, exactly once where that was promised, and in order.

use std::collections::{BTreeMap, BTreeSet};

use super::operations::{Named, Random};
use super::power::stored_world;
use super::world::{Message, Opening, Received, World, packet_id};
use crate::broker::{ConnectionId, StoreCondition};
use crate::mqtt::{AckKind, ReasonCode};

const PUBLISHERS: [&str; 2] = ["p0", "p1"];
const SUBSCRIBERS: [&str; 3] = ["s0", "s1", "s2"];

/// What a publisher has sent and was not answered for good.
#[derive(Clone, Copy)]
struct Outstanding {
    number: u32,
    qos: u8,
    has_pubrec: bool,
}

struct Publisher {
    name: &'static str,
    is_v5: bool,
    connection: Option<ConnectionId>,
    has_session: bool,
    /// It has sent again what it had to, and may go on.
    is_ready: bool,
    next: u32,
    outstanding: BTreeMap<u32, (u16, Outstanding)>,
    acknowledged: BTreeSet<(u8, u32)>,
    /// What it may have been refused without hearing of it, and sends again behind what was taken.
    late: BTreeSet<u32>,
}

struct Subscriber {
    name: &'static str,
    connection: Option<ConnectionId>,
    has_session: bool,
    /// QoS 2 messages that it has and that are not released.
    unreleased: BTreeSet<u16>,
    /// What it has not answered yet.
    owed: Vec<(AckKind, u16)>,
    /// What arrived, by publisher and QoS.
    got: BTreeMap<(usize, u8), Vec<u32>>,
}

struct Run {
    world: World,
    random: Random,
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
}

fn publisher(index: usize, random: &mut Random) -> Publisher {
    Publisher {
        name: PUBLISHERS[index],
        is_v5: random.chance(60),
        connection: None,
        has_session: false,
        is_ready: false,
        next: 0,
        outstanding: BTreeMap::new(),
        acknowledged: BTreeSet::new(),
        late: BTreeSet::new(),
    }
}

fn subscriber(name: &'static str) -> Subscriber {
    Subscriber {
        name,
        connection: None,
        has_session: false,
        unreleased: BTreeSet::new(),
        owed: Vec::new(),
        got: BTreeMap::new(),
    }
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut run = Self {
            world: stored_world(),
            publishers: (0..2).map(|index| publisher(index, &mut random)).collect(),
            subscribers: SUBSCRIBERS.map(subscriber).into(),
            random,
        };
        for index in 0..SUBSCRIBERS.len() {
            run.connect_subscriber(index);
            let id = run.subscribers[index].connection.unwrap();
            run.world.subscribe(id, "t/+", 2);
            run.take(index);
        }
        run.world.hold_store();
        run
    }

    /// The process is dead, or about to find that it is.
    fn is_dead(&self) -> bool {
        self.world.power == Some(0)
    }

    fn connect_publisher(&mut self, index: usize) {
        let publisher = &mut self.publishers[index];
        let name = publisher.name;
        publisher.is_ready = false;
        let opening = match publisher.is_v5 {
            true => Opening::v5(name),
            false => Opening::v3(name),
        };
        publisher.connection = self.world.try_connect(&opening.durable(u32::MAX)).ok();
    }

    fn connect_subscriber(&mut self, index: usize) {
        let opening = Opening::v5(self.subscribers[index].name).durable(u32::MAX);
        let opening = match self.random.next(3) {
            0 => opening.receive_maximum(1 + self.random.next(4) as u16),
            _ => opening,
        };
        let subscriber = &mut self.subscribers[index];
        subscriber.owed.clear();
        subscriber.connection = self.world.try_connect(&opening).ok();
    }

    fn publish(&mut self, index: usize) {
        let publisher = &mut self.publishers[index];
        let Some(id) = publisher.connection else {
            return;
        };
        if !publisher.is_ready || publisher.outstanding.len() > 5 {
            return;
        }
        let used: BTreeSet<u16> = publisher.outstanding.values().map(|(id, _)| *id).collect();
        let packet = (1..).find(|id| !used.contains(id)).unwrap();
        let outstanding = Outstanding {
            number: publisher.next,
            qos: 1 + self.random.next(2) as u8,
            has_pubrec: false,
        };
        publisher.next += 1;
        publisher
            .outstanding
            .insert(outstanding.number, (packet, outstanding));
        self.send_publish(id, index, packet, outstanding, false);
    }

    fn send_publish(
        &mut self,
        id: ConnectionId,
        index: usize,
        packet: u16,
        what: Outstanding,
        dup: bool,
    ) {
        if self.world.broker.store_condition() == StoreCondition::Failing {
            self.publishers[index].late.insert(what.number);
        }
        let topic = format!("t/{index}");
        let payload = what.number.to_string();
        let _ = self
            .world
            .publish_with(id, &topic, &payload, what.qos, |parts| {
                parts.packet_id = Some(packet_id(packet));
                parts.dup = dup;
            });
    }

    /// A publisher takes what came for it.
    fn hear(&mut self, index: usize) {
        let Some(id) = self.publishers[index].connection else {
            return;
        };
        for received in self.world.received(id) {
            if self.is_dead() || self.world.is_closed(id) {
                return;
            }
            match received {
                Received::ConnAck {
                    session_present, ..
                } => self.resume(index, id, session_present),
                Received::Ack(kind, packet, reason) => {
                    self.hear_ack(index, id, kind, packet, reason);
                }
                _ => {}
            }
        }
    }

    fn resume(&mut self, index: usize, id: ConnectionId, session_present: bool) {
        let publisher = &mut self.publishers[index];
        assert!(
            session_present || !publisher.has_session,
            "a session is lost"
        );
        publisher.has_session = true;
        publisher.is_ready = true;
        let outstanding: Vec<_> = publisher.outstanding.values().copied().collect();
        for (packet, what) in outstanding {
            if self.is_dead() || self.world.is_closed(id) {
                return;
            }
            if what.has_pubrec {
                self.world.ack(id, AckKind::PubRel, packet);
            } else {
                self.send_publish(id, index, packet, what, true);
            }
        }
    }

    fn hear_ack(
        &mut self,
        index: usize,
        id: ConnectionId,
        kind: AckKind,
        packet: u16,
        reason: ReasonCode,
    ) {
        let publisher = &mut self.publishers[index];
        let mut all = publisher.outstanding.values_mut();
        let Some((_, what)) = all.find(|(known, _)| *known == packet) else {
            return;
        };
        let number = what.number;
        match kind {
            _ if reason.is_error() && kind != AckKind::PubComp => {
                publisher.outstanding.remove(&number);
            }
            AckKind::PubRec => {
                assert_eq!(what.qos, 2);
                what.has_pubrec = true;
                publisher.acknowledged.insert((2, number));
                self.world.ack(id, AckKind::PubRel, packet);
            }
            AckKind::PubAck => {
                assert_eq!(what.qos, 1);
                publisher.acknowledged.insert((1, number));
                publisher.outstanding.remove(&number);
            }
            AckKind::PubComp => {
                assert!(what.has_pubrec);
                publisher.outstanding.remove(&number);
            }
            AckKind::PubRel => {}
        }
    }

    /// A subscriber takes what came for it.
    fn take(&mut self, index: usize) {
        let Some(id) = self.subscribers[index].connection else {
            return;
        };
        let subscriber = &mut self.subscribers[index];
        for received in self.world.received(id) {
            match received {
                Received::ConnAck {
                    session_present, ..
                } => {
                    assert!(
                        session_present || !subscriber.has_session,
                        "a session is lost"
                    );
                    subscriber.has_session = true;
                }
                Received::Publish(message) => subscriber.take(&message),
                Received::Ack(AckKind::PubRel, packet, _) => {
                    subscriber.unreleased.remove(&packet);
                    subscriber.owed.push((AckKind::PubComp, packet));
                }
                _ => {}
            }
        }
    }

    fn answer(&mut self, index: usize, share: u64) {
        let subscriber = &mut self.subscribers[index];
        let Some(id) = subscriber.connection else {
            return;
        };
        for (kind, packet) in std::mem::take(&mut subscriber.owed) {
            if self.is_dead() || self.world.is_closed(id) {
                return;
            }
            if self.random.chance(share) {
                self.world.ack(id, kind, packet);
            } else {
                self.subscribers[index].owed.push((kind, packet));
            }
        }
    }

    fn step(&mut self) {
        if self.random.chance(4) {
            self.world.power = Some(self.random.next(6));
        }
        match self.random.next(16) {
            0 => self.come_or_go(),
            1..=3 => self.store(),
            4 => self.run_ahead(),
            5..=9 => {
                let index = self.random.next(2) as usize;
                self.publish(index);
            }
            10..=12 => {
                let index = self.random.next(2) as usize;
                self.hear(index);
            }
            _ => {
                let index = self.random.next(3) as usize;
                self.take(index);
                self.answer(index, 70);
            }
        }
        if self.world.power.is_some() {
            self.crash();
        }
        self.note_closed();
    }

    /// The store does something, or does not come to it.
    fn store(&mut self) {
        if !self.world.is_taken() {
            self.world.take_batch();
        } else if self.random.chance(20) {
            for publisher in &mut self.publishers {
                publisher.late.extend(publisher.outstanding.keys());
            }
            self.world.fail();
        } else {
            self.world.confirm();
        }
    }

    fn run_ahead(&mut self) {
        let is_held = self.random.chance(30);
        self.world.store().is_reading_held = is_held;
        let millis = self.random.next(100);
        self.world.advance(std::time::Duration::from_millis(millis));
    }

    fn crash(&mut self) {
        let is_written = self.random.chance(50);
        self.world.crash(is_written);
        self.world.hold_store();
        for publisher in &mut self.publishers {
            publisher.connection = None;
        }
        for subscriber in &mut self.subscribers {
            subscriber.connection = None;
        }
    }

    fn come_or_go(&mut self) {
        let index = self.random.next(5) as usize;
        if index < 2 {
            match self.publishers[index].connection.take() {
                Some(id) if self.random.chance(50) => self.world.lose(id),
                Some(_) | None => self.connect_publisher(index),
            }
        } else {
            match self.subscribers[index - 2].connection.take() {
                Some(id) if self.random.chance(30) => self.world.lose(id),
                Some(id) if self.random.chance(40) => {
                    self.world.disconnect(id, ReasonCode::Success);
                }
                Some(_) | None => self.connect_subscriber(index - 2),
            }
        }
    }

    fn note_closed(&mut self) {
        let connections = self.publishers.iter_mut().map(|p| &mut p.connection);
        let others = self.subscribers.iter_mut().map(|s| &mut s.connection);
        for connection in connections.chain(others) {
            if connection.is_some_and(|id| self.world.is_closed(id)) {
                *connection = None;
            }
        }
    }

    /// Everybody is there, everything works, and everything is finished.
    fn finish(&mut self) {
        if self.world.is_taken() {
            self.world.confirm();
        }
        self.world.store().is_prompt = true;
        self.world.store().is_reading_held = false;
        self.world.run();
        for index in 0..2 {
            self.connect_publisher(index);
        }
        for index in 0..3 {
            self.connect_subscriber(index);
        }
        for _ in 0..200 {
            for index in 0..2 {
                self.hear(index);
            }
            for index in 0..3 {
                self.take(index);
                self.answer(index, 100);
            }
        }
        self.world.settle();
    }

    fn check_ledger(&self) {
        for (index, publisher) in self.publishers.iter().enumerate() {
            assert_eq!(publisher.outstanding.len(), 0, "an exchange is not over");
            for subscriber in &self.subscribers {
                for qos in [1, 2] {
                    let got = subscriber.got.get(&(index, qos));
                    let got = got.map_or(&[][..], Vec::as_slice);
                    let acknowledged = publisher.acknowledged.iter().filter(|(q, _)| *q == qos);
                    for (_, number) in acknowledged {
                        assert!(got.contains(number), "{number} at QoS {qos} is lost");
                    }
                    let mut seen = BTreeSet::new();
                    let firsts: Vec<_> = got.iter().filter(|n| seen.insert(**n)).collect();
                    assert!(qos == 1 || firsts.len() == got.len(), "twice: {got:?}");
                    let on_time = firsts.iter().filter(|n| !publisher.late.contains(n));
                    assert!(on_time.is_sorted(), "QoS {qos}: {got:?}");
                }
            }
        }
        for subscriber in &self.subscribers {
            assert!(subscriber.unreleased.is_empty());
        }
        for session in self.world.disk().sessions.values() {
            assert!(session.deliveries.is_empty());
            assert!(session.received.is_empty());
        }
        let pending = &self.world.broker.clients.pending;
        assert_eq!((pending.stored_bytes, pending.stored_deliveries), (0, 0));
        assert_eq!(self.world.broker.statistics().messages_dropped, 0);
    }
}

impl Subscriber {
    fn take(&mut self, message: &Message) {
        let packet = message.packet_id.unwrap();
        let publisher = usize::from(message.topic.as_bytes()[2] - b'0');
        let number: u32 = std::str::from_utf8(&message.payload)
            .unwrap()
            .parse()
            .unwrap();
        if message.qos == 1 {
            self.owed.push((AckKind::PubAck, packet));
        } else {
            self.owed.push((AckKind::PubRec, packet));
            if !self.unreleased.insert(packet) {
                return;
            }
        }
        let got = self.got.entry((publisher, message.qos)).or_default();
        got.push(number);
    }
}

fn history(seed: u64, steps: usize) {
    let _named = Named(seed);
    let mut run = Run::new(seed);
    for _ in 0..steps {
        run.step();
    }
    run.finish();
    run.check_ledger();
}

#[test]
fn what_was_acknowledged_arrives_whatever_the_store_and_the_power_do() {
    let seeds = std::env::var("FIELDGATE_SIM_SEEDS");
    let seeds = seeds.map_or(400, |seeds| seeds.parse().unwrap());
    for seed in 1..=seeds {
        history(seed, 120);
    }
}
