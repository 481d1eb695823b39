//! The rules of a port, ready to be asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::client_ids::ClientIds;
use super::filters::{Filters, FiltersBuilder, Grants};
use super::principal::{Attributes, Who};
use super::rule::{Effect, Principals, Rule, RuleSet};

/// Rules with an index: a connection costs a few look-ups, a decision a walk along the levels of its topic, however many
/// rules there are.
///
/// Rules are sorted by whom they are about. Everybody, a user name, a client identifier and a set of attributes each lead to
/// one *class*, the filters of all rules that name it. Made once when the rules change, outside of the core's lock.
#[derive(Debug)]
pub struct CompiledRules {
    set: Arc<RuleSet>,
    filters: Filters,
    classes: Vec<Class>,
    everyone: Option<usize>,
    usernames: BTreeMap<Box<str>, usize>,
    client_ids: BTreeMap<Box<str>, usize>,
    attributes: AttributeSets,
    /// Whether a rule allows clients to connect at all.
    pub(super) allows_connect: bool,
}

/// The rules that come with one name, by what they are about.
#[derive(Debug)]
pub(super) struct Class {
    pub(super) publish: u32,
    pub(super) subscribe: u32,
    pub(super) connect: ClientIds,
}

/// Sets of attributes that rules name, found by their rarest attribute.
#[derive(Debug, Default)]
struct AttributeSets {
    sets: Vec<(Attributes, usize)>,
    by_pair: BTreeMap<Box<str>, BTreeMap<Box<str>, Vec<usize>>>,
}

impl PartialEq for CompiledRules {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.set, &other.set) || self.set == other.set
    }
}

impl Eq for CompiledRules {}

impl CompiledRules {
    /// Sorts rules.
    #[must_use]
    pub fn new(set: &Arc<RuleSet>) -> Self {
        let named = Named::of(&set.rules);
        let mut builder = Classes {
            rules: &set.rules,
            filters: FiltersBuilder::default(),
            classes: Vec::new(),
            known: BTreeMap::new(),
        };
        let everyone = (!named.everyone.is_empty()).then(|| builder.class(named.everyone));
        let mut by_name = |names: BTreeMap<&str, Vec<u32>>| {
            let classes = names.into_iter();
            classes
                .map(|(name, rules)| (name.into(), builder.class(rules)))
                .collect()
        };
        let usernames = by_name(named.usernames);
        let client_ids = by_name(named.client_ids);
        let sets = named.attributes.into_iter();
        let sets = sets.map(|(set, rules)| (set.clone(), builder.class(rules)));
        let attributes = AttributeSets::new(sets.collect());
        let allows = |rule: &Rule| rule.effect == Effect::Allow && !rule.connect.is_empty();
        Self {
            allows_connect: set.rules.iter().any(allows),
            set: Arc::clone(set),
            filters: builder.filters.build(),
            classes: builder.classes,
            everyone,
            usernames,
            client_ids,
            attributes,
        }
    }

    /// What was written.
    #[must_use]
    pub fn rules(&self) -> &RuleSet {
        &self.set
    }

    /// A rule by its number.
    pub(super) fn rule(&self, number: u32) -> Option<&Rule> {
        let rules = self.set.rules.get(usize::try_from(number).ok()?..)?;
        rules.first()
    }

    pub(super) fn filters(&self) -> &Filters {
        &self.filters
    }

    pub(super) fn class(&self, class: usize) -> Option<&Class> {
        self.classes.get(class)
    }

    /// The classes that a client belongs to.
    pub(super) fn classes_of(&self, who: Who<'_>) -> Box<[usize]> {
        let mut classes = Vec::new();
        classes.extend(self.everyone);
        classes.extend(self.usernames.get(&who.principal.username));
        classes.extend(self.client_ids.get(who.client_id));
        self.attributes
            .collect(&who.principal.attributes, &mut classes);
        classes.sort_unstable();
        classes.dedup();
        classes.into()
    }
}

impl AttributeSets {
    fn new(sets: Vec<(Attributes, usize)>) -> Self {
        let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for (name, value) in sets.iter().flat_map(|(set, _)| set) {
            *counts.entry((name, value)).or_default() += 1;
        }
        let mut by_pair: BTreeMap<Box<str>, BTreeMap<Box<str>, Vec<usize>>> = BTreeMap::new();
        for (at, (set, _)) in sets.iter().enumerate() {
            let rarest = set
                .iter()
                .min_by_key(|(name, value)| counts.get(&(&***name, &***value)).copied());
            if let Some((name, value)) = rarest {
                let values = by_pair.entry(name.clone()).or_default();
                values.entry(value.clone()).or_default().push(at);
            }
        }
        Self { sets, by_pair }
    }

    fn collect(&self, attributes: &Attributes, classes: &mut Vec<usize>) {
        for (name, value) in attributes {
            let values = self.by_pair.get(name);
            let found = values.and_then(|values| values.get(value));
            for (set, class) in found
                .into_iter()
                .flatten()
                .filter_map(|at| self.sets.get(*at))
            {
                let mut pairs = set.iter();
                if pairs.all(|(name, value)| attributes.get(name) == Some(value)) {
                    classes.push(*class);
                }
            }
        }
    }
}

/// Numbers of rules, in order, by whom they are about.
#[derive(Default)]
struct Named<'a> {
    everyone: Vec<u32>,
    usernames: BTreeMap<&'a str, Vec<u32>>,
    client_ids: BTreeMap<&'a str, Vec<u32>>,
    attributes: BTreeMap<&'a Attributes, Vec<u32>>,
}

impl<'a> Named<'a> {
    fn of(rules: &'a [Rule]) -> Self {
        let mut named = Self::default();
        for (number, rule) in (0..).zip(rules) {
            match &rule.principals {
                Principals::Everyone => named.everyone.push(number),
                Principals::Listed {
                    usernames,
                    client_ids,
                    attributes,
                } => {
                    for username in usernames {
                        note(named.usernames.entry(username).or_default(), number);
                    }
                    for client_id in client_ids {
                        note(named.client_ids.entry(client_id).or_default(), number);
                    }
                    for set in attributes {
                        // Whoever must have nothing is everybody.
                        match set.is_empty() {
                            true => note(&mut named.everyone, number),
                            false => note(named.attributes.entry(set).or_default(), number),
                        }
                    }
                }
            }
        }
        named
    }
}

/// A rule may say the same name twice.
fn note(rules: &mut Vec<u32>, number: u32) {
    if rules.last() != Some(&number) {
        rules.push(number);
    }
}

/// Classes while they are made: names with the same rules share one.
struct Classes<'a> {
    rules: &'a [Rule],
    filters: FiltersBuilder,
    classes: Vec<Class>,
    known: BTreeMap<Vec<u32>, usize>,
}

impl Classes<'_> {
    fn class(&mut self, rules: Vec<u32>) -> usize {
        if let Some(class) = self.known.get(&rules) {
            return *class;
        }
        let mut class = Class {
            publish: self.filters.root(),
            subscribe: self.filters.root(),
            connect: ClientIds::default(),
        };
        for number in &rules {
            let at = usize::try_from(*number).unwrap_or(usize::MAX);
            let Some(rule) = self.rules.get(at) else {
                continue;
            };
            class.connect.add(*number, rule);
            let (publish, subscribe) = match rule.effect {
                // How much a rule would allow does not narrow what it denies.
                Effect::Deny => (Grants::of_deny(*number), Grants::of_deny(*number)),
                Effect::Allow => (
                    Grants::of_allow(*number, rule.qos, rule.retain),
                    Grants::of_allow(*number, rule.qos, true),
                ),
            };
            for pattern in &rule.publish {
                self.filters.add(class.publish, pattern, &publish);
            }
            for pattern in &rule.subscribe {
                self.filters.add(class.subscribe, pattern, &subscribe);
            }
        }
        self.classes.push(class);
        self.known.insert(rules, self.classes.len() - 1);
        self.classes.len() - 1
    }
}
