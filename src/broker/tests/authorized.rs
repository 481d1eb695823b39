//! Random operations of clients with rights that change: what they get is what they may read, and nothing gets stuck.

use std::sync::Arc;

use super::operations::{Named, Random, assert_nothing_left, leave, step, step_store, tight};
use super::power::stored_world_with;
use super::world::World;
use crate::broker::{ConnectionId, Effect};
use crate::policy::testing::rule_set;
use crate::policy::{Question, RuleSet, TopicAccess, WideSubscription};

const RULES: [&str; 9] = [
    "allow connect=* publish=#",
    "allow publish=# subscribe=#",
    "allow subscribe=t/+,$SYS/# qos=1",
    "allow client=a,b subscribe=t/1 qos=0",
    "allow publish=t/# messages=3",
    "deny subscribe=t/1",
    "deny client=c,d subscribe=t/#",
    "deny publish=u/#,t/2",
    "deny client=e connect=*",
];

fn rules(random: &mut Random) -> RuleSet {
    let mut lines = vec!["allow connect=*"];
    lines.extend(RULES.iter().filter(|_| random.chance(40)));
    RuleSet {
        wide_subscription: *random.pick(&[WideSubscription::Refuse, WideSubscription::Narrow]),
        asks: random.chance(50),
        ..rule_set(&lines)
    }
}

/// The back end does not change its mind.
fn allows(question: &Question) -> bool {
    question.access != TopicAccess::Read || question.topic.len() % 2 == 1
}

/// A history in which nobody has rights but by the newest rules.
fn history(world: &mut World, random: &mut Random, steps: usize, has_store: bool) {
    let mut open: Vec<ConnectionId> = Vec::new();
    world.set_rules(rules(random));
    for _ in 0..steps {
        match random.next(20) {
            0 => {
                let rules = rules(random);
                world.change_rules(rules);
            }
            1..=6 => world.answer(random.next(5), allows),
            7 | 8 if has_store => step_store(world, random, &mut open),
            _ => step(world, random, &mut open),
        }
    }
    if has_store {
        if world.is_taken() {
            world.confirm();
        }
        world.store().is_prompt = true;
        world.store().is_reading_held = false;
    }
    while !world.questions.is_empty() {
        world.answer(0, allows);
    }
    leave(world, &open);
}

fn plain(seed: u64, steps: usize) -> Vec<Effect> {
    let mut world = World::new(tight());
    let mut random = Random::new(seed);
    history(&mut world, &mut random, steps, false);
    assert_nothing_left(&mut world, seed);
    world.trace
}

#[test]
fn the_invariants_hold_whatever_the_rights_are() {
    for seed in 1..=120 {
        let _named = Named(seed);
        plain(seed, 250);
    }
}

#[test]
fn the_same_rights_have_the_same_effects() {
    assert_eq!(plain(42, 600), plain(42, 600));
}

#[test]
fn the_invariants_hold_whatever_the_rights_are_with_a_store() {
    for seed in 1..=80 {
        let _named = Named(seed);
        let mut random = Random::new(seed);
        let mut world = stored_world_with(|limits| {
            *limits = tight();
            limits.stored_bytes_max = 9_000;
        });
        world.hold_store();
        history(&mut world, &mut random, 200, true);
        assert_nothing_left(&mut world, seed);
        world.settle();
        assert!(world.disk().sessions.is_empty(), "seed {seed}");
    }
}

/// Clients that subscribe to everything, under rules that change at any time: after each step nobody has got what the rules
/// of that time do not let it read.
#[test]
fn nobody_gets_what_it_may_not_read() {
    for seed in 1..=60 {
        let _named = Named(seed);
        let mut random = Random::new(seed * 31);
        let mut world = World::new(tight());
        let mut set = RuleSet {
            asks: false,
            ..rules(&mut random)
        };
        world.set_rules(set.clone());
        let mut open: Vec<ConnectionId> = Vec::new();
        for _ in 0..250 {
            if random.chance(6) {
                set = RuleSet {
                    asks: false,
                    ..rules(&mut random)
                };
                // What was encoded before is on its way already.
                world.stuck.clear();
                world.run();
                for id in &open {
                    world.received(*id);
                }
                world.change_rules(set.clone());
            } else {
                step(&mut world, &mut random, &mut open);
            }
            let port = Arc::clone(&world.port);
            open.retain(|id| !world.is_closed(*id));
            for id in open.clone() {
                let Some(client_id) = world.broker.connection_client_id(id) else {
                    continue;
                };
                let who = crate::policy::testing::principal("", "");
                let rights = port.authorization.rights(&who, client_id).unwrap();
                for message in world.peek_messages(id) {
                    let verdict = rights
                        .read(&message.topic)
                        .verdict(crate::mqtt::QoS::AtMostOnce, false);
                    assert!(
                        verdict.is_allowed() || message.alias.is_some(),
                        "{message:?}"
                    );
                }
            }
        }
    }
}
