//! Resolves `[authorization.NAME]`.

use std::sync::Arc;

use super::access::AuthorizationSettings;
use super::authentication::{Section, resource_name};
use super::authorization_keys::{AUTHORIZATION, AUTHORIZATION_HTTP, PRINCIPALS, RULE};
use super::backend;
use super::conflicts::refuse;
use super::faults::{Draft, Faults};
use super::limit_keys::Setting;
use super::names::ResourceName;
use super::reader::{Scope, choose, missing, named_tables, read, tables, unknown_keys};
use super::report::FaultCode;
use super::schema::Kind;
use super::source::quoted;
use super::texts::{plain, read_list, read_sets};
use super::tree::Value;
use super::value::{self, Complaint};
use crate::limits::AUTHORIZATION_RULES_MAX;
use crate::mqtt::QoS;
use crate::policy::{
    ClientIdPattern, DeniedPublish, Effect, FilterPattern, Level, PatternFault, Principals, Rule,
    RuleSet, WideSubscription,
};

/// Every section, in the order of the file.
pub(super) fn sections<'a>(
    root: &Scope<'a>,
    faults: &mut Faults,
) -> Vec<Section<'a, AuthorizationSettings>> {
    let mut rules_left = AUTHORIZATION_RULES_MAX;
    named_tables(root, "authorization", &AUTHORIZATION, faults)
        .into_iter()
        .map(|(entry, scope)| {
            let name = resource_name(entry, "authorization", faults);
            let settings = section(&scope, name, &mut rules_left, faults);
            Section {
                name: &entry.key,
                at: entry.key_at,
                settings: settings.map(Arc::new),
                scope,
            }
        })
        .collect()
}

fn section(
    scope: &Scope<'_>,
    name: Option<ResourceName>,
    rules_left: &mut usize,
    faults: &mut Faults,
) -> Option<AuthorizationSettings> {
    unknown_keys(scope, faults);
    let denied_publish = match choose(scope, "denied_publish", faults) {
        Some(1) => DeniedPublish::Disconnect,
        _ => DeniedPublish::Acknowledge,
    };
    let wide_subscription = match choose(scope, "wide_subscription", faults) {
        Some(1) => WideSubscription::Narrow,
        _ => WideSubscription::Refuse,
    };
    let http_scope = scope.table("http", &AUTHORIZATION_HTTP, faults);
    let http = http_scope.as_ref().and_then(|scope| {
        unknown_keys(scope, faults);
        backend::http(scope, faults)
    });
    let asks = scope.entry("http").is_some();
    let may_be_absent = asks || scope.is_meant("http");
    let rules = match scope.entry("rule").is_none() && may_be_absent {
        true => Vec::new(),
        false => rules(scope, asks, rules_left, faults),
    };
    let name = name?;
    Some(AuthorizationSettings {
        rules: Arc::new(RuleSet {
            name: name.as_str().into(),
            rules,
            denied_publish,
            wide_subscription,
            asks,
        }),
        name,
        http,
    })
}

/// The rules that are right, as many as may still be taken.
fn rules(scope: &Scope<'_>, asks: bool, rules_left: &mut usize, faults: &mut Faults) -> Vec<Rule> {
    let scopes = tables(scope, "rule", &RULE, faults);
    if let Some(first) = scopes.get(*rules_left) {
        let message = format!("the files hold more than {AUTHORIZATION_RULES_MAX} rules");
        faults.push(
            Draft::error(FaultCode::BadValue, first.place(), message)
                .key(&first.path)
                .hint("one rule with {principal.username} or attributes does for many clients"),
        );
    }
    let taken = scopes.len().min(*rules_left);
    *rules_left -= taken;
    let rules: Vec<Rule> = scopes
        .iter()
        .take(taken)
        .filter_map(|scope| rule(scope, faults))
        .collect();
    let opens = |(scope, rule): (&Scope<'_>, &Rule)| {
        rule.effect == Effect::Allow && is_typed(scope, &["connect"])
    };
    let is_whole = rules.len() == scopes.len() && !scopes.is_empty();
    if is_whole && !asks && !scopes.iter().zip(&rules).any(opens) {
        check_way_in(scope, faults);
    }
    rules
}

/// Warns where no client could ever connect.
fn check_way_in(scope: &Scope<'_>, faults: &mut Faults) {
    faults.push(
        Draft::warning(
            FaultCode::Surprising,
            scope.place(),
            format!("no rule of {} lets a client connect", scope.title()),
        )
        .key(&scope.path)
        .hint("write connect = [\"*\"] in a rule, or which client identifiers may"),
    );
}

fn rule(scope: &Scope<'_>, faults: &mut Faults) -> Option<Rule> {
    unknown_keys(scope, faults);
    let principals = principals(scope, faults);
    let effect = match choose(scope, "effect", faults) {
        Some(1) => Effect::Deny,
        _ => Effect::Allow,
    };
    let connect = read_list(scope, "connect", faults, |value, _| {
        pattern(value, ClientIdPattern::parse)
    });
    let publish = filters(scope, "publish", faults);
    let subscribe = filters(scope, "subscribe", faults);
    let qos = match number(scope, "qos", faults) {
        Some(0) => QoS::AtMostOnce,
        Some(1) => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    };
    let retain = read(scope, "retain", faults, |value, _| value::switch(value));
    let rule = Rule {
        effect,
        principals: principals?,
        connect: connect.unwrap_or_default(),
        publish: publish.unwrap_or_default(),
        subscribe: subscribe.unwrap_or_default(),
        qos,
        retain: retain.unwrap_or(true),
        message_rate_max: number(scope, "message_rate_max", faults),
        byte_rate_max: number(scope, "byte_rate_max", faults),
        place: place(scope),
    };
    check_rule(scope, &rule, faults);
    Some(rule)
}

fn place(scope: &Scope<'_>) -> Box<str> {
    let at = scope.place();
    match scope.sources.get(at.source) {
        Some(source) => {
            format!("{}:{}", source.path.display(), source.line_of(at.start) + 1).into()
        }
        None => Box::default(),
    }
}

fn number(scope: &Scope<'_>, key: &str, faults: &mut Faults) -> Option<u32> {
    let kind = scope.spec.key(key).map_or(Kind::Switch, |key| key.kind);
    match read(scope, key, faults, |value, _| value::setting(value, kind)) {
        Some(Setting::Number(number)) => number.map(|n| u32::try_from(n).unwrap_or(u32::MAX)),
        _ => None,
    }
}

fn filters(scope: &Scope<'_>, key: &str, faults: &mut Faults) -> Option<Vec<FilterPattern>> {
    let filters = read_list(scope, key, faults, |value, _| {
        pattern(value, FilterPattern::parse)
    })?;
    check_levels(scope, key, &filters, faults);
    Some(filters)
}

/// Warns of levels that mean something to other brokers and are plain text here.
fn check_levels(scope: &Scope<'_>, key: &str, filters: &[FilterPattern], faults: &mut Faults) {
    let meant = |level: &Level| match level {
        Level::Text(text) => match &**text {
            "%u" | "${username}" => Some((text.clone(), "{principal.username}")),
            "%c" | "${clientid}" => Some((text.clone(), "{principal.clientId}")),
            "*" => Some((text.clone(), "+, or # at the end")),
            _ => None,
        },
        Level::Any | Level::Rest | Level::Token(_) => None,
    };
    let Some(entry) = scope.entry(key) else {
        return;
    };
    let levels = filters.iter().flat_map(FilterPattern::levels);
    if let Some((found, meant)) = levels.filter_map(meant).next() {
        let message = format!("`{key}` has the level `{found}`, which is plain text here");
        faults.push(
            Draft::warning(FaultCode::Surprising, entry.node.at, message)
                .key(scope.path_of(key))
                .hint(format!("write {meant}")),
        );
    }
}

fn pattern<T>(value: &Value, parse: fn(&str) -> Result<T, PatternFault>) -> Result<T, Complaint> {
    let typed = value::text(value, "text in quotes")?;
    parse(typed).map_err(|fault| {
        let complaint = Complaint::bad(format!("has {}, which {fault}", quoted(typed)));
        match &fault {
            PatternFault::Token { found } => complaint.maybe_hint(token_hint(typed, found)),
            PatternFault::TokenNotAlone { .. } => {
                complaint.hint("put the token between two `/`, with nothing beside it")
            }
            PatternFault::Shared => {
                complaint.hint("write the topic filter that follows the name of the share")
            }
            PatternFault::WildcardNotLast => {
                complaint.hint("only the end can be left open: write `*` there alone")
            }
            PatternFault::Topic(_) if typed.contains('*') => {
                complaint.hint("in topics the wildcards are `+` for one level and `#` for the rest")
            }
            PatternFault::Topic(_) | PatternFault::Empty | PatternFault::TooDeep => complaint,
        }
    })
}

/// What was meant by tokens of other brokers and other spellings.
fn token_hint(typed: &str, found: &str) -> Option<String> {
    let name = found.trim_matches(['{', '}']).to_ascii_lowercase();
    let name = name
        .rsplit('.')
        .next()
        .unwrap_or_default()
        .replace(['_', '-'], "");
    let token = match name.as_str() {
        "username" | "user" => "{principal.username}",
        "clientid" => "{principal.clientId}",
        _ => return None,
    };
    let better = typed.replacen(found, token, 1);
    (found.ends_with('}')).then(|| format!("write {}", quoted(&better)))
}

fn principals(outer: &Scope<'_>, faults: &mut Faults) -> Option<Principals> {
    if outer.entry("principals").is_none() {
        missing(outer, "principals", faults);
    }
    let scope = &outer.table("principals", &PRINCIPALS, faults)?;
    unknown_keys(scope, faults);
    let everyone = read(scope, "everyone", faults, |value, _| value::switch(value));
    let usernames = read_list(scope, "usernames", faults, |value, _| plain(value));
    let client_ids = read_list(scope, "client_ids", faults, |value, _| plain(value));
    let attributes = read_sets(scope, "attributes", faults);
    if everyone == Some(true) {
        for key in ["usernames", "client_ids", "attributes"] {
            refuse(scope, key, "says nothing beside everyone = true", faults);
        }
        return Some(Principals::Everyone);
    }
    let is_star = |names: &Option<Vec<Box<str>>>| {
        let mut names = names.iter().flatten();
        names.any(|name| &**name == "*")
    };
    for (key, names) in [("usernames", &usernames), ("client_ids", &client_ids)] {
        if let (true, Some(entry)) = (is_star(names), scope.entry(key)) {
            let message = format!("`{key}` has \"*\", which is a name here and no wildcard");
            faults.push(
                Draft::warning(FaultCode::Surprising, entry.node.at, message)
                    .key(scope.path_of(key))
                    .hint("for every client write principals = { everyone = true }"),
            );
        }
    }
    Some(Principals::Listed {
        usernames: usernames.unwrap_or_default(),
        client_ids: client_ids.unwrap_or_default(),
        attributes: attributes.unwrap_or_default(),
    })
}

/// Whether something is written for one of the keys, right or wrong.
fn is_typed(scope: &Scope<'_>, keys: &[&str]) -> bool {
    keys.iter().any(|key| {
        let value = scope.entry(key).map(|entry| &entry.node.value);
        let is_empty = matches!(value, Some(Value::List(items)) if items.is_empty());
        (value.is_some() && !is_empty) || scope.is_meant(key)
    })
}

/// Warns of rules, and of parts of rules, that have no effect.
fn check_rule(scope: &Scope<'_>, rule: &Rule, faults: &mut Faults) {
    let written = |key: &str| scope.entry(key).is_some();
    if rule.effect == Effect::Deny {
        for key in ["qos", "retain", "message_rate_max", "byte_rate_max"] {
            refuse(scope, key, "is only for a rule that allows", faults);
        }
    }
    let verb = match rule.effect {
        Effect::Allow => "allows",
        Effect::Deny => "denies",
    };
    let lists_nobody = matches!(
        &rule.principals,
        Principals::Listed { usernames, client_ids, attributes }
            if usernames.is_empty() && client_ids.is_empty() && attributes.is_empty()
    );
    let is_empty = rule.connect.is_empty() && rule.publish.is_empty() && rule.subscribe.is_empty();
    let (message, hint) = if lists_nobody {
        let keys = ["usernames", "client_ids", "attributes"];
        let below = scope.table("principals", &PRINCIPALS, faults);
        if below.is_some_and(|below| is_typed(&below, &keys)) {
            return;
        }
        (
            format!("this rule is about nobody, so it {verb} nothing"),
            "name somebody in `principals`; for every client write principals = { everyone = true }",
        )
    } else if is_empty {
        // A list in which everything is wrong is noted already.
        if is_typed(scope, &["connect", "publish", "subscribe"]) {
            return;
        }
        (
            format!("this rule {verb} nothing"),
            "write what it is about: connect, publish or subscribe",
        )
    } else if let Some(key) = ["retain", "message_rate_max", "byte_rate_max"]
        .into_iter()
        .find(|key| rule.publish.is_empty() && written(key) && rule.effect == Effect::Allow)
    {
        (
            format!("`{key}` is about publishing, and this rule allows to publish nothing"),
            "remove it, or write `publish`",
        )
    } else {
        return;
    };
    faults.push(
        Draft::warning(FaultCode::NoEffect, scope.place(), message)
            .key(&scope.path)
            .hint(hint),
    );
}
