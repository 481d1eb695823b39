//! The matcher of the broker against the naive one: filters are subscribed to, names are published to, and what arrives
//! carries the subscription identifiers of exactly the filters that the naive matcher selects. Then the same backwards,
//! with retained messages.
#![no_main]

use std::collections::BTreeSet;

use arbitrary::Arbitrary;
use fieldgate::mqtt::{TopicFilter, TopicName, topic};
use fieldgate_fuzz::world::{ConnectOptions, World};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
struct Input {
    filters: Vec<Vec<u8>>,
    removed: Vec<u8>,
    names: Vec<Vec<u8>>,
}

fuzz_target!(|input: Input| {
    let filters: Vec<String> = input
        .filters
        .iter()
        .take(24)
        .map(|levels| text(levels))
        .collect();
    let names: Vec<String> = input
        .names
        .iter()
        .take(24)
        .map(|levels| text(levels))
        .collect();
    let names: Vec<&str> = names
        .iter()
        .map(String::as_str)
        .filter(|name| publishable(name))
        .collect();

    let mut world = World::new(fieldgate::limits::Limits::default());
    let subscriber = world
        .connect(&ConnectOptions::v5("subscriber"))
        .expect("accepted");
    let publisher = world
        .connect(&ConnectOptions::v5("publisher"))
        .expect("accepted");
    let mut expected: Vec<(&str, u32)> = Vec::new();
    for (identifier, filter) in (1_u32..).zip(&filters) {
        let granted = world.subscribe(subscriber, filter, Some(identifier));
        let legal = TopicFilter::parse(filter).is_ok_and(|filter| filter.share_name().is_none());
        if legal {
            assert!(granted, "{filter:?} is refused");
            expected.retain(|(known, _)| known != filter);
            expected.push((filter, identifier));
        } else if TopicFilter::parse(filter).is_err() {
            assert!(!granted, "{filter:?} is granted");
        } else {
            world.unsubscribe(subscriber, filter);
        }
    }
    for index in &input.removed {
        if let Some(filter) = filters.get(usize::from(*index)) {
            world.unsubscribe(subscriber, filter);
            expected.retain(|(known, _)| known != filter);
        }
    }
    for name in &names {
        world.publish(publisher, name, b"x", true);
        let found: BTreeSet<u32> = world
            .received(subscriber)
            .into_iter()
            .inspect(|message| assert_eq!(message.topic, *name))
            .flat_map(|message| message.subscription_identifiers)
            .collect();
        let wanted: BTreeSet<u32> = expected
            .iter()
            .filter(|(filter, _)| topic::matches(filter, name))
            .map(|(_, id)| *id)
            .collect();
        assert_eq!(found, wanted, "{name:?} against {expected:?}");
    }

    let retained: BTreeSet<&str> = names.into_iter().collect();
    for filter in filters
        .iter()
        .filter(|filter| TopicFilter::parse(filter).is_ok_and(|f| f.share_name().is_none()))
    {
        let late = world
            .connect(&ConnectOptions::v5("late"))
            .expect("accepted");
        world.subscribe(late, filter, None);
        let found: Vec<String> = world
            .received(late)
            .into_iter()
            .map(|message| message.topic)
            .collect();
        let wanted: BTreeSet<&str> = retained
            .iter()
            .copied()
            .filter(|name| topic::matches(filter, name))
            .collect();
        assert_eq!(
            found.len(),
            wanted.len(),
            "{filter:?}: {found:?} for {wanted:?}"
        );
        assert_eq!(
            found.iter().map(String::as_str).collect::<BTreeSet<_>>(),
            wanted,
            "{filter:?}"
        );
        world.close(late);
    }
});

fn publishable(name: &str) -> bool {
    TopicName::new(name).is_ok()
        && name != "$SYS"
        && !name.starts_with("$SYS/")
        && !name.starts_with("$share/")
}

/// Few levels of few kinds, so that filters and names meet.
fn text(levels: &[u8]) -> String {
    const LEVELS: [&str; 16] = [
        "a", "b", "+", "#", "", "a", "b", "ab", "$SYS", "$x", "é", "a+", "$share", "c", "+", "d",
    ];
    let levels: Vec<&str> = levels
        .iter()
        .take(8)
        .map(|index| LEVELS[usize::from(index % 16)])
        .collect();
    levels.join("/")
}
