//! Random operations, the invariants after each, and what must hold for every history.

use std::time::Duration;

use super::power::stored_world_with;
use super::world::{Message, Opening, World, packet_id};
use crate::broker::{ConnectionId, Effect, Next};
use crate::limits::{Limits, QueueOverflow};
use crate::mqtt::{AckKind, QoS, ReasonCode, RetainHandling, SubscriptionOptions};

/// A small generator of numbers; the seed is the whole of a run.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(super) fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % below
    }

    pub(super) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[usize::try_from(self.next(from.len() as u64)).unwrap()]
    }

    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.next(100) < percent
    }
}

/// The seed that is being run, for whoever looks at a failure.
pub(super) struct Named(pub(super) u64);

impl Drop for Named {
    #[expect(clippy::print_stderr, reason = "whoever reads it has a failed test")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the seed is {}", self.0);
        }
    }
}

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const FILTERS: [&str; 9] = [
    "#",
    "t/+",
    "t/1",
    "t/2",
    "+/1",
    "$share/g/t/+",
    "$share/h/t/1",
    "t/#",
    "$SYS/#",
];
const TOPICS: [&str; 5] = ["t/1", "t/2", "t", "u/1", "t/1/x"];

pub(super) fn tight() -> Limits {
    let mut limits = Limits {
        queue_bytes_max: 6_000,
        retained_messages_max: 120,
        sys_interval: Duration::from_secs(600),
        ..Limits::default()
    };
    limits.port.max_session_expiry = Some(Duration::from_secs(3600));
    limits.port.queue_messages_per_client_max = 8;
    limits.port.queue_bytes_per_client_max = 2_500;
    limits.port.outbox_bytes_max = 900;
    limits.port.subscriptions_per_client_max = 5;
    limits
}

fn opening(random: &mut Random) -> Opening {
    let name = *random.pick(&NAMES);
    let mut opening = if random.chance(50) {
        Opening::v5(name)
    } else {
        Opening::v3(name)
    };
    if random.chance(60) {
        opening = opening.durable(*random.pick(&[3, 60, u32::MAX]));
        opening.clean_start = random.chance(20);
    }
    if random.chance(30) {
        opening = opening.will("t/1", *random.pick(&[0, 2, 100]));
    }
    if random.chance(30) {
        opening = opening.receive_maximum(*random.pick(&[1, 2, 5]));
        if opening.version.is_v5() {
            opening.properties.topic_alias_maximum = 2;
        }
    }
    opening.keep_alive = *random.pick(&[0, 5]);
    opening
}

fn subscribe(world: &mut World, random: &mut Random, id: ConnectionId) {
    let filter = *random.pick(&FILTERS);
    let options = SubscriptionOptions {
        qos: *random.pick(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]),
        no_local: !filter.starts_with("$share") && random.chance(20),
        retain_as_published: random.chance(20),
        retain_handling: *random
            .pick(&[RetainHandling::SendAtSubscribe, RetainHandling::SendIfNew]),
    };
    let identifier = random.chance(30).then_some(5);
    let sent = world.send_subscribe(id, filter, options, identifier);
    assert!(matches!(sent, Ok(Next::Continue | Next::Ask)), "{sent:?}");
}

fn publish(world: &mut World, random: &mut Random, id: ConnectionId) {
    let qos = u8::try_from(random.next(3)).unwrap();
    let payload = "x".repeat(usize::try_from(random.next(300)).unwrap());
    let packet = packet_id(u16::try_from(1 + random.next(20)).unwrap());
    let topic = *random.pick(&TOPICS);
    let (retain, expiry) = (random.chance(15), random.chance(20).then_some(4));
    let _ = world.publish_with(id, topic, &payload, qos, |parts| {
        parts.packet_id = (qos > 0).then_some(packet);
        parts.retain = retain;
        parts.message_expiry_interval = expiry;
    });
}

fn acknowledge(world: &mut World, random: &mut Random, id: ConnectionId) {
    for message in world.messages(id) {
        let Some(packet) = message.packet_id.filter(|_| random.chance(80)) else {
            continue;
        };
        if message.qos == 1 {
            world.ack(id, AckKind::PubAck, packet);
        } else {
            world.ack(id, AckKind::PubRec, packet);
            if random.chance(70) {
                world.ack(id, AckKind::PubComp, packet);
            }
        }
    }
    let released = u16::try_from(1 + random.next(20)).unwrap();
    world.ack(id, AckKind::PubRel, released);
}

pub(super) fn step(world: &mut World, random: &mut Random, open: &mut Vec<ConnectionId>) {
    open.retain(|id| !world.is_closed(*id));
    if open.is_empty() || random.chance(8) {
        let opening = opening(random);
        open.extend(world.try_connect(&opening));
        return;
    }
    let id = *random.pick(open);
    if world.is_asking(id) {
        return world.answer(random.next(9), |question| question.topic.len() % 2 == 1);
    }
    match random.next(20) {
        0 => world.lose(id),
        1 => {
            let reason = [ReasonCode::Success, ReasonCode::DisconnectWithWillMessage];
            world.disconnect(id, *random.pick(&reason[..]));
        }
        2..=4 => subscribe(world, random, id),
        5 => {
            let filter = *random.pick(&FILTERS);
            world.unsubscribe(id, filter);
        }
        6..=8 => acknowledge(world, random, id),
        9 => {
            let name = *random.pick(&NAMES);
            if !world.stuck.remove(name) {
                world.stuck.insert(name);
            }
            world.run();
        }
        10 => world.advance(Duration::from_millis(random.next(4_000))),
        _ => publish(world, random, id),
    }
}

fn history(seed: u64, steps: usize) -> Vec<Effect> {
    let mut world = World::new(tight());
    let mut random = Random::new(seed);
    let mut open = Vec::new();
    for _ in 0..steps {
        step(&mut world, &mut random, &mut open);
    }
    leave(&mut world, &open);
    assert_nothing_left(&mut world, seed);
    world.trace
}

/// The same with a store that does what it likes, and a process that dies.
fn stored_history(seed: u64, steps: usize) {
    let mut random = Random::new(seed);
    let overflow = *random.pick(&[QueueOverflow::RejectNewest, QueueOverflow::DropOldest]);
    let mut world = stored_world_with(|limits| {
        *limits = tight();
        limits.stored_bytes_max = 9_000;
        limits.port.queue_overflow = overflow;
    });
    world.hold_store();
    let mut open = Vec::new();
    for _ in 0..steps {
        if random.chance(30) {
            step_store(&mut world, &mut random, &mut open);
        } else {
            step(&mut world, &mut random, &mut open);
        }
    }
    if world.is_taken() {
        world.confirm();
    }
    world.store().is_prompt = true;
    world.store().is_reading_held = false;
    leave(&mut world, &open);
    assert_nothing_left(&mut world, seed);
    world.settle();
    assert!(world.disk().sessions.is_empty(), "seed {seed}");
    let pending = &world.broker.clients.pending;
    let left = (pending.stored_bytes, pending.stored_deliveries);
    assert_eq!(left, (0, 0), "seed {seed}");
}

pub(super) fn step_store(world: &mut World, random: &mut Random, open: &mut Vec<ConnectionId>) {
    match random.next(12) {
        0 => {
            world.crash(random.chance(50));
            world.hold_store();
            open.clear();
        }
        1 => world.store().is_reading_held = random.chance(50),
        2 if world.is_taken() => world.fail(),
        3 => world.settle(),
        _ if world.is_taken() => world.confirm(),
        _ => {
            world.take_batch();
        }
    }
}

/// In the end everybody goes.
pub(super) fn leave(world: &mut World, open: &[ConnectionId]) {
    world.stuck.clear();
    for id in open {
        if !world.is_closed(*id) {
            world.lose(*id);
        }
    }
    world.run();
    world.advance(Duration::from_secs(3601));
}

pub(super) fn assert_nothing_left(world: &mut World, seed: u64) {
    let statistics = world.broker.statistics();
    assert_eq!(statistics.sessions, 0, "seed {seed}");
    assert_eq!(statistics.connections, 0, "seed {seed}");
    assert_eq!(statistics.subscriptions, 0, "seed {seed}");
    assert_eq!(statistics.queued_bytes, 0, "seed {seed}");
}

#[test]
fn the_invariants_hold_in_every_history_with_a_store() {
    let seeds = std::env::var("FIELDGATE_SIM_SEEDS");
    let seeds = seeds.map_or(200, |seeds| seeds.parse().unwrap());
    for seed in 1..=seeds {
        let _named = Named(seed);
        stored_history(seed, 150);
    }
}

#[test]
fn the_invariants_hold_in_every_history() {
    for seed in 1..=60 {
        history(seed, 300);
    }
}

#[test]
fn the_same_history_has_the_same_effects() {
    assert_eq!(history(42, 600), history(42, 600));
}

/// One publisher and one durable subscriber that comes, goes, is slow and acknowledges as it likes: every message arrives,
/// QoS 2 exactly once, and each QoS in the order of publication.
#[test]
fn nothing_that_a_durable_session_waits_for_is_lost_or_reordered() {
    for seed in 1..=60 {
        let mut random = Random(seed * 7919);
        let mut world = World::new(Limits::default());
        let publisher = world.connect(&Opening::v5("p"));
        let opening = Opening::v5("s").durable(3600).receive_maximum(3);
        let mut subscriber = Some(world.connect(&opening));
        world.subscribe(subscriber.unwrap(), "t", 2);
        let mut got: [Vec<String>; 3] = Default::default();
        let mut released = Vec::new();
        for number in 0..200_u16 {
            let qos = 1 + u8::try_from(random.next(2)).unwrap();
            world
                .publish_with(publisher, "t", &number.to_string(), qos, |parts| {
                    parts.packet_id = Some(packet_id(number + 1));
                })
                .unwrap();
            world.ack(publisher, AckKind::PubRel, number + 1);
            match subscriber {
                Some(id) if random.chance(10) => {
                    world.lose(id);
                    subscriber = None;
                }
                Some(id) => take(&mut world, &mut random, id, &mut got, &mut released),
                None if random.chance(30) => subscriber = Some(world.connect(&opening)),
                None => {}
            }
        }
        // In the end the client comes back and acknowledges everything.
        if let Some(id) = subscriber {
            take(&mut world, &mut random, id, &mut got, &mut released);
            world.lose(id);
        }
        let id = world.connect(&opening);
        let mut sure = Random(0);
        for _ in 0..200 {
            take(&mut world, &mut sure, id, &mut got, &mut released);
        }
        let mut seen = std::collections::BTreeSet::new();
        got[1].retain(|payload| seen.insert(payload.clone()));
        let order = |texts: &[String]| {
            texts
                .iter()
                .map(|t| t.parse().unwrap())
                .collect::<Vec<u16>>()
        };
        let (once, exactly) = (order(&got[1]), order(&got[2]));
        assert!(once.is_sorted(), "seed {seed}: {once:?}");
        assert!(
            exactly.is_sorted_by(|a, b| a < b),
            "seed {seed}: {exactly:?}"
        );
        let mut all: Vec<u16> = once.iter().chain(&exactly).copied().collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all, (0..200).collect::<Vec<u16>>(), "seed {seed}");
    }
}

/// The subscriber takes what has come. It keeps QoS 2 messages by identifier until they are released.
fn take(
    world: &mut World,
    random: &mut Random,
    id: ConnectionId,
    got: &mut [Vec<String>; 3],
    unreleased: &mut Vec<u16>,
) {
    use super::world::Received;
    for received in world.received(id) {
        match received {
            Received::Publish(Message {
                qos: 1,
                payload,
                packet_id,
                ..
            }) => {
                got[1].push(String::from_utf8(payload).unwrap());
                if random.chance(80) {
                    world.ack(id, AckKind::PubAck, packet_id.unwrap());
                }
            }
            Received::Publish(Message {
                payload, packet_id, ..
            }) => {
                let packet = packet_id.unwrap();
                if !unreleased.contains(&packet) {
                    unreleased.push(packet);
                    got[2].push(String::from_utf8(payload).unwrap());
                }
                world.ack(id, AckKind::PubRec, packet);
            }
            Received::Ack(AckKind::PubRel, packet, _) => {
                unreleased.retain(|known| *known != packet);
                world.ack(id, AckKind::PubComp, packet);
            }
            _ => {}
        }
    }
}
