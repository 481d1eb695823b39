//! What rules cost: the index when they change, the rights of a client when it connects, and decisions.
//!
//! `own` are 10,000 rules of which one is about the client, as a plant writes them by hand; `all` are 10,000 rules that are
//! all about the client.

mod rig;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fieldgate::broker::PortPolicy;
use fieldgate::mqtt::{ProtocolVersion, QoS};
use fieldgate::policy::{
    Authorization, ClientIdPattern, CompiledRules, DeniedPublish, Effect, FilterPattern, Principal,
    Principals, Rights, Rule, RuleSet, WideSubscription,
};
use rig::Rig;

const RULES: usize = 10_000;

fn rule(index: usize, effect: Effect, principals: Principals) -> Rule {
    let filter = |text: String| FilterPattern::parse(&text).unwrap();
    let connect = ClientIdPattern::parse(&format!("machine-{index}*")).unwrap();
    Rule {
        effect,
        principals,
        connect: vec![connect],
        publish: vec![
            filter(format!("plant/{}/machine-{index}/#", index % 100)),
            filter(format!(
                "plant/{}/{{principal.username}}/+/{index}",
                index % 100
            )),
        ],
        subscribe: vec![filter(format!(
            "plant/{}/machine-{index}/+/set",
            index % 100
        ))],
        qos: QoS::ExactlyOnce,
        retain: true,
        message_rate_max: None,
        byte_rate_max: None,
        place: format!("gateway.toml:{index}").into(),
    }
}

fn rule_set(rules: Vec<Rule>) -> Arc<RuleSet> {
    Arc::new(RuleSet {
        name: "bench".into(),
        rules,
        denied_publish: DeniedPublish::Acknowledge,
        wide_subscription: WideSubscription::Refuse,
        asks: false,
    })
}

fn own() -> Arc<RuleSet> {
    let rules = (0..RULES).map(|index| {
        let principals = Principals::Listed {
            usernames: vec![format!("machine-{index}").into()],
            client_ids: Vec::new(),
            attributes: Vec::new(),
        };
        rule(index, Effect::Allow, principals)
    });
    rule_set(rules.collect())
}

/// One in ten denies.
fn all() -> Arc<RuleSet> {
    let rules = (0..RULES).map(|index| {
        let effect = match index % 10 {
            9 => Effect::Deny,
            _ => Effect::Allow,
        };
        rule(index, effect, Principals::Everyone)
    });
    rule_set(rules.collect())
}

fn principal() -> Arc<Principal> {
    Arc::new(Principal {
        username: "machine-4200".into(),
        attributes: BTreeMap::new(),
        is_superuser: false,
    })
}

fn rules(criterion: &mut Criterion) {
    for (label, set) in [("own", own()), ("all", all())] {
        let mut group = criterion.benchmark_group(label);
        group.sample_size(10);
        group.bench_function("index", |bencher| {
            bencher.iter(|| CompiledRules::new(black_box(&set)));
        });
        group.sample_size(100);
        let compiled = Arc::new(CompiledRules::new(&set));
        let principal = principal();
        group.bench_function("rights and connect", |bencher| {
            bencher.iter(|| {
                let rights = Rights::new(&compiled, &principal, black_box("machine-4200-a"));
                rights.connect()
            });
        });
        let rights = Rights::new(&compiled, &principal, "machine-4200-a");
        group.bench_function("publish", |bencher| {
            bencher.iter(|| {
                let topic = black_box("plant/0/machine-4200/line/temp");
                rights.publish(topic, QoS::AtLeastOnce, false)
            });
        });
        group.bench_function("publish denied", |bencher| {
            bencher.iter(|| {
                let topic = black_box("plant/0/machine-none/line/temp");
                rights.publish(topic, QoS::AtLeastOnce, false)
            });
        });
        for (name, filter) in [
            ("subscribe", "plant/0/machine-4200/+/set"),
            (
                "subscribe with a wildcard in the middle",
                "plant/0/+/line/set",
            ),
            ("subscribe to everything", "#"),
        ] {
            group.bench_function(name, |bencher| {
                bencher.iter(|| rights.subscribe(black_box(filter)));
            });
        }
    }
}

/// A message through the core to one subscriber: without rules, with rules and one topic, whose decision is remembered, and
/// with rules and more topics than are remembered.
fn messages(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("message");
    group.throughput(Throughput::Elements(1));
    let rules = Authorization::Rules(Arc::new(CompiledRules::new(&all())));
    for (label, authorization, topics) in [
        ("without rules, one topic", Authorization::None, 1),
        ("without rules, many topics", Authorization::None, 1000),
        ("with rules, one topic", rules.clone(), 1),
        ("with rules, many topics", rules, 1000),
    ] {
        let mut rig = Rig::new(ProtocolVersion::V3_1_1);
        let subscriber = rig.connect("subscriber");
        rig.subscribe(subscriber, "#");
        rig.port = Arc::new(PortPolicy {
            authorization,
            ..PortPolicy::default()
        });
        let publisher = rig.connect("machine-4200-a");
        let packets: Vec<Vec<u8>> = (0..topics)
            .map(|index| format!("plant/0/machine-4200/{index}/temp"))
            .map(|topic| rig.publish_bytes(&topic, &[0; 64], QoS::AtMostOnce))
            .collect();
        let mut next = 0;
        group.bench_function(label, |bencher| {
            bencher.iter(|| {
                rig.handle(publisher, &packets[next]);
                next = (next + 1) % packets.len();
                assert_ne!(rig.drain(), 0);
            });
        });
    }
}

criterion_group!(benches, rules, messages);
criterion_main!(benches);
