//! Rules in one line each, for tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{
    Authorization, ClientIdPattern, CompiledRules, DeniedPublish, Effect, FilterPattern, Principal,
    Principals, Rule, RuleSet, WideSubscription,
};
use crate::mqtt::QoS;

/// A rule such as `deny user=a,b attr=floor:1+kind:x publish=p/#,q qos=1 retain=no`. Without `user`, `client` and `attr` it is
/// about everybody. The text is its place.
pub(crate) fn rule(text: &str) -> Rule {
    let (effect, rest) = text.split_once(' ').unwrap();
    let mut rule = Rule {
        effect: match effect {
            "allow" => Effect::Allow,
            "deny" => Effect::Deny,
            other => panic!("{other}"),
        },
        principals: Principals::Everyone,
        connect: Vec::new(),
        publish: Vec::new(),
        subscribe: Vec::new(),
        qos: QoS::ExactlyOnce,
        retain: true,
        message_rate_max: None,
        byte_rate_max: None,
        place: text.into(),
    };
    let (mut usernames, mut client_ids, mut attributes) = (Vec::new(), Vec::new(), Vec::new());
    for part in rest.split(' ') {
        let (key, value) = part.split_once('=').unwrap();
        let values = value.split(',');
        let filters = || {
            values
                .clone()
                .map(|text| FilterPattern::parse(text).unwrap())
        };
        match key {
            "user" => usernames.extend(values.map(Into::into)),
            "client" => client_ids.extend(values.map(Into::into)),
            "attr" => attributes.extend(values.map(pairs)),
            "connect" => {
                let patterns = values.map(|text| ClientIdPattern::parse(text).unwrap());
                rule.connect.extend(patterns);
            }
            "publish" => rule.publish.extend(filters()),
            "subscribe" => rule.subscribe.extend(filters()),
            "qos" => rule.qos = QoS::from_u8(value.parse().unwrap()).unwrap(),
            "retain" => rule.retain = value == "yes",
            "messages" => rule.message_rate_max = Some(value.parse().unwrap()),
            "bytes" => rule.byte_rate_max = Some(value.parse().unwrap()),
            other => panic!("{other}"),
        }
    }
    if !usernames.is_empty() || !client_ids.is_empty() || !attributes.is_empty() {
        rule.principals = Principals::Listed {
            usernames,
            client_ids,
            attributes,
        };
    }
    rule
}

fn pairs(text: &str) -> BTreeMap<Box<str>, Box<str>> {
    let pairs = text.split('+').map(|pair| pair.split_once(':').unwrap());
    pairs
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

/// Rules that refuse wide subscriptions, acknowledge denied publications and ask nobody.
pub(crate) fn rule_set(rules: &[&str]) -> RuleSet {
    RuleSet {
        name: "test".into(),
        rules: rules.iter().map(|text| rule(text)).collect(),
        denied_publish: DeniedPublish::Acknowledge,
        wide_subscription: WideSubscription::Refuse,
        asks: false,
    }
}

/// The same ready to be asked.
pub(crate) fn authorization(set: RuleSet) -> Authorization {
    Authorization::Rules(Arc::new(CompiledRules::new(&Arc::new(set))))
}

/// A principal with attributes such as `floor:1+kind:x`.
pub(crate) fn principal(username: &str, attributes: &str) -> Arc<Principal> {
    Arc::new(Principal {
        username: username.into(),
        attributes: match attributes {
            "" => BTreeMap::new(),
            attributes => pairs(attributes),
        },
        is_superuser: false,
    })
}
