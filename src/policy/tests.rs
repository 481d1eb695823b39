use std::sync::Arc;

use super::explain::{covers, overlaps};
use super::testing::{authorization, principal, rule_set};
use super::*;
use crate::mqtt::topic;

fn rights(rules: &[&str], username: &str, attributes: &str, client_id: &str) -> Rights {
    let who = principal(username, attributes);
    authorization(rule_set(rules))
        .rights(&who, client_id)
        .unwrap()
}

fn publishes(rights: &Rights, topic: &str) -> bool {
    rights.publish(topic, QoS::AtMostOnce, false).is_allowed()
}

fn subscribes(rights: &Rights, filter: &str) -> bool {
    rights.subscribe(filter).verdict.is_allowed()
}

#[test]
fn nobody_publishes_to_the_topics_of_the_broker() {
    let all = rights(&["allow publish=#,$SYS/#,$share"], "u", "", "c");
    for topic in ["$SYS", "$SYS/broker/uptime", "$share/a/b"] {
        let verdict = all.publish(topic, QoS::AtMostOnce, false);
        assert_eq!(verdict, Verdict::new(Decision::Denied, By::Reserved));
        assert!(is_reserved(topic));
    }
    assert!(!is_reserved("$SYSTEM") && !is_reserved("$own/x"));
}

#[test]
fn what_no_rule_allows_is_denied() {
    let none = rights(&[], "u", "", "c");
    assert_eq!(none.connect(), Verdict::new(Decision::Denied, By::NoRule));
    assert!(!publishes(&none, "a"));
    assert!(!subscribes(&none, "a"));
}

#[test]
fn a_rule_is_about_whom_it_names() {
    let rules = [
        "allow user=u1 publish=user/#",
        "allow client=c1 publish=client/#",
        "allow attr=floor:1+kind:x,floor:2 publish=attr/#",
        "allow user=u1 attr=kind:x client=c1 publish=any/#",
        "allow publish=all/#",
    ];
    let may = |username, attributes, client_id| {
        let rights = rights(&rules, username, attributes, client_id);
        let topics = ["user/a", "client/a", "attr/a", "any/a", "all/a"];
        topics.map(|topic| u8::from(publishes(&rights, topic)))
    };
    assert_eq!(may("u1", "", "c0"), [1, 0, 0, 1, 1]);
    assert_eq!(may("u0", "", "c1"), [0, 1, 0, 1, 1]);
    assert_eq!(may("u0", "floor:1", "c0"), [0, 0, 0, 0, 1]);
    assert_eq!(may("u0", "floor:1+kind:x", "c0"), [0, 0, 1, 1, 1]);
    assert_eq!(may("u0", "floor:2+kind:y", "c0"), [0, 0, 1, 0, 1]);
    assert_eq!(may("U1", "", "C1"), [0, 0, 0, 0, 1]);
}

#[test]
fn the_example_of_the_manual_works() {
    let rules = [
        "allow user=press-1 attr=floor:1 connect=press-* publish=plant/{principal.username}/# subscribe=plant/+/state",
    ];
    let press = rights(&rules, "press-1", "", "press-7");
    assert!(press.connect().is_allowed());
    assert!(publishes(&press, "plant/press-1/temp"));
    assert!(publishes(&press, "plant/press-1"));
    assert!(!publishes(&press, "plant/press-2/temp"));
    assert!(subscribes(&press, "plant/+/state"));
    assert!(subscribes(&press, "plant/x/state"));
    assert!(!subscribes(&press, "plant/#"));
    let other = rights(&rules, "press-2", "floor:1", "other");
    assert!(!other.connect().is_allowed());
    assert!(publishes(&other, "plant/press-2/temp"));
    assert!(!publishes(
        &rights(&rules, "press-2", "floor:2", "c"),
        "plant/press-2/temp"
    ));
}

#[test]
fn a_rule_that_denies_wins() {
    let rules = [
        "allow publish=a/# subscribe=a/#",
        "deny user=u publish=a/secret/# subscribe=a/+/key qos=0 retain=no",
    ];
    let user = rights(&rules, "u", "", "c");
    assert!(publishes(&user, "a/x"));
    assert!(!publishes(&user, "a/secret/x"));
    let verdict = user.publish("a/secret", QoS::ExactlyOnce, true);
    assert_eq!(user.place(verdict.by), Some(rules[1]));
    assert!(subscribes(&user, "a/x/y"));
    for filter in ["a/x/key", "a/x/#", "a/#", "a/+/+", "a/+/key"] {
        assert!(!subscribes(&user, filter), "{filter}");
    }
    assert!(subscribes(&rights(&rules, "v", "", "c"), "a/#"));
}

#[test]
fn qos_and_retain_bound_what_is_allowed() {
    let user = rights(
        &["allow publish=a subscribe=s/# qos=1 retain=no"],
        "u",
        "",
        "c",
    );
    let may = |qos, retain| user.publish("a", qos, retain).is_allowed();
    assert!(may(QoS::AtMostOnce, false) && may(QoS::AtLeastOnce, false));
    assert!(!may(QoS::ExactlyOnce, false) && !may(QoS::AtMostOnce, true));
    assert_eq!(user.subscribe("s/x").qos, QoS::AtLeastOnce);
    let both = rights(
        &["allow subscribe=s/# qos=0", "allow subscribe=s/x qos=2"],
        "u",
        "",
        "c",
    );
    assert_eq!(both.subscribe("s/x").qos, QoS::ExactlyOnce);
    assert_eq!(both.subscribe("s/+").qos, QoS::AtMostOnce);
    assert_eq!(both.read("s/y").qos_max(), QoS::AtMostOnce);
}

#[test]
fn the_first_rule_in_the_file_decides_how_much() {
    let rules = [
        "allow publish=+/x qos=0",
        "allow user=u publish=a/+ messages=5",
        "allow publish=a/x",
    ];
    let user = rights(&rules, "u", "", "c");
    let place = |qos| user.place(user.publish("a/x", qos, false).by).unwrap();
    assert_eq!(place(QoS::AtMostOnce), rules[0]);
    assert_eq!(place(QoS::AtLeastOnce), rules[1]);
}

#[test]
fn a_name_leads_no_further_than_one_level() {
    let rules = [
        "allow publish=u/{principal.username}/# subscribe=u/{principal.username}/#,{principal.username}/#",
        "allow publish=f/{principal.attributes.floor} connect={principal.attributes.floor}*",
    ];
    for (name, topics) in [
        ("", ["u//x", "u/"]),
        ("a/b", ["u/a/b/x", "u/a"]),
        ("+", ["u/a/x", "u/+"]),
        ("#", ["u/a/x", "u/a"]),
    ] {
        let rights = rights(&rules, name, "", "c");
        for topic in topics {
            assert!(!publishes(&rights, topic), "{name} {topic}");
            assert!(!subscribes(&rights, topic), "{name} {topic}");
        }
        for filter in ["u/#", "u/+/#", "#", "u/+/x"] {
            assert!(!subscribes(&rights, filter), "{name} {filter}");
        }
    }
    let dollar = rights(&rules, "$SYS", "", "c");
    assert!(!subscribes(&dollar, "$SYS/#"));
    assert!(publishes(&dollar, "u/$SYS/x"));
    let without = rights(&rules, "u", "", "c");
    assert!(!publishes(&without, "f/") && !without.connect().is_allowed());
    let empty = rights(&rules, "u", "floor:", "c");
    assert!(!publishes(&empty, "f/") && !empty.connect().is_allowed());
}

#[test]
fn client_identifiers_are_matched_whole() {
    let rules = [
        "allow connect=one,pre-*,{principal.username}-{principal.attributes.n}-x,é*",
        "deny connect=pre-bad*",
        "allow user=root connect=*",
    ];
    let may = |username, client_id| {
        rights(&rules, username, "n:7", client_id)
            .connect()
            .is_allowed()
    };
    for (username, client_id) in [
        ("u", "one"),
        ("u", "pre-"),
        ("u", "pre-1"),
        ("u", "u-7-x"),
        ("u", "éa"),
        ("root", ""),
    ] {
        assert!(may(username, client_id), "{client_id}");
    }
    for (username, client_id) in [
        ("u", "one1"),
        ("u", "pre"),
        ("u", "pre-bad"),
        ("u", "pre-bad-1"),
        ("u", "u-7-xy"),
        ("v", "u-7-x"),
        ("root", "pre-bad"),
    ] {
        assert!(!may(username, client_id), "{client_id}");
    }
}

#[test]
fn a_superuser_is_not_held_back() {
    let mut who = (*principal("u", "")).clone();
    who.is_superuser = true;
    let set = rule_set(&["deny publish=# subscribe=# connect=*"]);
    let rights = authorization(set).rights(&Arc::new(who), "c").unwrap();
    assert!(rights.connect().is_allowed() && subscribes(&rights, "$SYS/#"));
    assert!(publishes(&rights, "a") && !publishes(&rights, "$SYS/a"));
    assert_eq!(rights.read("a").qos_max(), QoS::ExactlyOnce);
}

#[test]
fn a_wide_subscription_is_narrowed_where_that_is_wanted() {
    let mut set = rule_set(&["allow subscribe=a/+/state,b qos=1", "deny subscribe=a/x/#"]);
    set.wide_subscription = WideSubscription::Narrow;
    let rights = authorization(set).rights(&principal("u", ""), "c").unwrap();
    let about = |filter| {
        let answer = rights.subscribe(filter);
        (answer.verdict.decision, answer.is_narrowed, answer.qos)
    };
    let narrowed = (Decision::Allowed, true, QoS::AtLeastOnce);
    assert_eq!(about("a/#"), narrowed);
    assert_eq!(about("a/+/state"), narrowed);
    assert_eq!(
        about("a/y/state"),
        (Decision::Allowed, false, QoS::AtLeastOnce)
    );
    assert_eq!(about("#"), narrowed);
    assert_eq!(about("a/x/state").0, Decision::Denied);
    assert_eq!(about("a/x/#").0, Decision::Denied);
    assert_eq!(about("c/#").0, Decision::Denied);
    let reads = |topic| {
        rights
            .read(topic)
            .verdict(QoS::AtMostOnce, false)
            .is_allowed()
    };
    assert!(reads("a/y/state") && !reads("a/x/state") && !reads("a/y/z"));
}

#[test]
fn a_back_end_is_asked_about_what_no_rule_decides() {
    let mut set = rule_set(&[
        "allow publish=a/# subscribe=a/#",
        "deny publish=b/# subscribe=b/#",
    ]);
    set.asks = true;
    let rights = authorization(set.clone())
        .rights(&principal("u", ""), "c")
        .unwrap();
    let publish = |topic| rights.publish(topic, QoS::AtMostOnce, false).decision;
    assert_eq!(publish("a/x"), Decision::Allowed);
    assert_eq!(publish("b/x"), Decision::Denied);
    assert_eq!(publish("c/x"), Decision::Ask);
    assert_eq!(publish("$SYS/x"), Decision::Denied);
    let subscribe = |filter| rights.subscribe(filter).verdict.decision;
    assert_eq!(subscribe("a/+"), Decision::Allowed);
    assert_eq!(subscribe("#"), Decision::Denied);
    assert_eq!(subscribe("c/#"), Decision::Ask);
    assert!(
        rights.connect().is_allowed(),
        "no rule speaks of connecting"
    );
    set.rules.push(testing::rule("allow connect=x"));
    let rights = authorization(set).rights(&principal("u", ""), "c").unwrap();
    assert!(!rights.connect().is_allowed());
}

/// Filters and names of up to three levels over a small alphabet, in which everything that is special occurs.
fn texts(levels: &[&str], depth: usize) -> Vec<String> {
    let mut texts: Vec<String> = levels.iter().map(|level| (*level).to_owned()).collect();
    let mut last = texts.clone();
    for _ in 1..depth {
        let longer = last
            .iter()
            .flat_map(|text| levels.iter().map(move |level| format!("{text}/{level}")));
        last = longer.collect();
        texts.extend(last.iter().cloned());
    }
    texts.retain(|text| !text.is_empty());
    texts
}

fn all_filters() -> Vec<String> {
    let mut filters = texts(&["", "a", "$b", "+", "#"], 3);
    filters.retain(|filter| topic::check_filter(filter).is_ok());
    filters
}

#[test]
fn covering_and_overlapping_are_what_matching_says() {
    let filters = all_filters();
    let mut names = texts(&["", "a", "$b", "c"], 4);
    // No topic, but the rules of matching know it, and it spares a special case in which nobody is interested.
    names.push(String::new());
    let sets: Vec<Vec<bool>> = filters
        .iter()
        .map(|filter| {
            names
                .iter()
                .map(|name| topic::matches(filter, name))
                .collect()
        })
        .collect();
    for (one, set) in filters.iter().zip(&sets) {
        for (two, other) in filters.iter().zip(&sets) {
            let pairs = || set.iter().zip(other);
            let truly_covers = pairs().all(|(a, b)| *a || !*b) && other.contains(&true);
            assert_eq!(covers(one, two), truly_covers, "{one} covers {two}");
            let truly_overlaps = pairs().any(|(a, b)| *a && *b);
            assert_eq!(overlaps(one, two), truly_overlaps, "{one} overlaps {two}");
        }
    }
}

#[test]
fn the_tree_says_what_a_look_at_each_rule_says() {
    let filters = all_filters();
    let names = texts(&["", "a", "$b", "c"], 3);
    let mut seed = 7_u64;
    let mut random = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed >> 11).unwrap() % below
    };
    // A token stands for `c`, `a` and nothing.
    let tokens = [
        "{principal.username}",
        "{principal.clientId}",
        "{principal.attributes.n}",
    ];
    for _ in 0..150 {
        let mut lines = Vec::new();
        for _ in 0..1 + random(6) {
            let effect = ["allow", "allow", "deny"][random(3)];
            let mut pattern = filters[random(filters.len())].clone();
            if random(3) == 0 {
                let mut levels: Vec<&str> = pattern.split('/').collect();
                let at = random(levels.len());
                if levels[at] != "#" {
                    levels[at] = tokens[random(3)];
                }
                pattern = levels.join("/");
            }
            let whom = ["", " user=c", " client=a", " attr=m:1"][random(4)];
            lines.push(format!(
                "{effect}{whom} publish={pattern} subscribe={pattern} qos={}",
                random(3)
            ));
        }
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let mut set = rule_set(&lines);
        set.wide_subscription = [WideSubscription::Refuse, WideSubscription::Narrow][random(2)];
        let who = principal("c", ["m:1", "m:2"][random(2)]);
        let rights = authorization(set.clone()).rights(&who, "a").unwrap();
        for name in &names {
            check_name(&rights, &set, name, &lines);
        }
        for _ in 0..60 {
            check_filter(&rights, &set, &filters[random(filters.len())], &lines);
        }
    }
}

/// Rules of one effect that are about the client, with their filters filled.
fn filled<'a>(
    rights: &'a Rights,
    set: &'a RuleSet,
    effect: Effect,
) -> impl Iterator<Item = (&'a Rule, String)> {
    let who = rights.who();
    set.rules
        .iter()
        .filter(move |rule| {
            let is_about = match &rule.principals {
                Principals::Everyone => true,
                Principals::Listed {
                    usernames,
                    client_ids,
                    attributes,
                } => {
                    usernames.contains(&who.principal.username)
                        || client_ids.iter().any(|id| **id == *who.client_id)
                        || attributes.iter().any(|set| {
                            set.iter()
                                .all(|(n, v)| who.principal.attributes.get(n) == Some(v))
                        })
                }
            };
            is_about && rule.effect == effect
        })
        .filter_map(move |rule| Some((rule, super::explain::fill(&rule.subscribe[0], who)?)))
}

fn check_name(rights: &Rights, set: &RuleSet, name: &str, lines: &[&str]) {
    let matching = |effect| {
        filled(rights, set, effect)
            .filter(|(_, filter)| topic::matches(filter, name))
            .map(|(rule, _)| rule)
    };
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let denied = matching(Effect::Deny).next();
        let allowed = matching(Effect::Allow).find(|rule| rule.qos >= qos);
        let verdict = rights.publish_to(name).verdict(qos, false);
        assert_eq!(
            verdict.is_allowed(),
            denied.is_none() && allowed.is_some(),
            "{name} {lines:?}"
        );
        let place = denied.or(allowed).map(|rule| &*rule.place);
        assert_eq!(rights.place(verdict.by), place, "{name} {lines:?}");
        assert_eq!(rights.read(name).verdict(qos, false), verdict);
    }
}

fn check_filter(rights: &Rights, set: &RuleSet, wanted: &str, lines: &[&str]) {
    let any = |effect, is: fn(&str, &str) -> bool| {
        filled(rights, set, effect)
            .filter(|(_, filter)| is(filter, wanted))
            .map(|(rule, _)| rule.qos)
            .max()
    };
    let denies = any(Effect::Deny, overlaps).is_some();
    let covered = any(Effect::Allow, covers);
    let touched = any(Effect::Allow, overlaps);
    let expected = match (covered, touched) {
        _ if any(Effect::Deny, covers).is_some() => None,
        (Some(qos), _) if !denies => Some((qos, false)),
        (_, Some(qos)) if set.wide_subscription == WideSubscription::Narrow => Some((qos, true)),
        _ => None,
    };
    let answer = rights.subscribe(wanted);
    let found = answer
        .verdict
        .is_allowed()
        .then_some((answer.qos, answer.is_narrowed));
    assert_eq!(found, expected, "{wanted} {lines:?}");
}

#[test]
fn a_decision_is_explained() {
    let rules = [
        "allow user=press-1 connect=press-* publish=x,plant/{principal.username}/# subscribe=plant/+/state",
        "deny publish=plant/+/secret",
    ];
    let press = rights(&rules, "press-1", "", "press-1-a");
    let publish = |topic| {
        press.explain(Action::Publish {
            topic,
            qos: QoS::AtMostOnce,
            retain: false,
        })
    };
    let allowed = publish("plant/press-1/t");
    assert_eq!(allowed.decision, Decision::Allowed);
    assert_eq!(allowed.place.as_deref(), Some(rules[0]));
    assert_eq!(
        allowed.pattern.as_deref(),
        Some("plant/{principal.username}/#")
    );
    assert_eq!(allowed.filled.as_deref(), Some("plant/press-1/#"));
    let denied = publish("plant/press-1/secret");
    assert_eq!(denied.decision, Decision::Denied);
    assert_eq!(denied.place.as_deref(), Some(rules[1]));
    let none = publish("plant/press-2/t");
    assert_eq!(
        (none.decision, none.by, none.place),
        (Decision::Denied, By::NoRule, None)
    );
    let connect = press.explain(Action::Connect);
    assert_eq!(connect.filled.as_deref(), Some("press-*"));
    let subscribe = press.explain(Action::Subscribe("plant/+/state"));
    assert_eq!(subscribe.qos, Some(QoS::ExactlyOnce));
    assert_eq!(subscribe.filled.as_deref(), Some("plant/+/state"));
    assert_eq!(
        press.explain(Action::Read("plant/x/state")).decision,
        Decision::Allowed
    );
}
