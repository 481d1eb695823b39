//! What the rules of a port say about one client.

use std::fmt;
use std::sync::Arc;

use super::client_ids::ClientIdGrants;
use super::compiled::{Class, CompiledRules};
use super::filters::{Grants, Wanted};
use super::is_reserved;
use super::principal::{Principal, Who};
use super::rule::{DeniedPublish, Rule, WideSubscription};
use crate::mqtt::QoS;

/// What a client may do by the rules of its port. Made when it connects, and anew when rules or attributes change.
#[derive(Debug)]
pub struct Rights {
    rules: Arc<CompiledRules>,
    principal: Arc<Principal>,
    client_id: Box<str>,
    classes: Box<[usize]>,
}

/// The answer to a question about rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Yes or no, or somebody else is to be asked.
    pub decision: Decision,
    /// What decides.
    pub by: By,
}

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The client may.
    Allowed,
    /// The client may not; the peer gets 0x87.
    Denied,
    /// No rule says so or so, and the port has a back end to ask.
    Ask,
}

/// What decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// A rule.
    Rule(RuleNumber),
    /// That there is no rule.
    NoRule,
    /// The client is a superuser, or the port has no rules.
    Unrestricted,
    /// The topic is the broker's own.
    Reserved,
    /// The back end of the port.
    BackEnd,
}

/// A rule, by its place among the rules of its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleNumber(pub(super) u32);

/// What the rules say about publishing to one topic, whatever the QoS and RETAIN. Worth remembering for a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicRights {
    grants: Grants,
    is_unrestricted: bool,
    asks: bool,
}

/// What becomes of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscriptionVerdict {
    /// Whether it is granted.
    pub verdict: Verdict,
    /// With which QoS at most.
    pub qos: QoS,
    /// The client may not read everything that the filter matches: each message is to be checked with [`Rights::read`].
    pub is_narrowed: bool,
}

impl SubscriptionVerdict {
    /// What is said where a port has no rules.
    pub const UNRESTRICTED: Self = Self {
        verdict: Verdict {
            decision: Decision::Allowed,
            by: By::Unrestricted,
        },
        qos: QoS::ExactlyOnce,
        is_narrowed: false,
    };
}

impl Verdict {
    pub(super) fn new(decision: Decision, by: By) -> Self {
        Self { decision, by }
    }

    /// Whether the answer is yes.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.decision == Decision::Allowed
    }
}

impl TopicRights {
    /// The highest QoS that a rule allows.
    #[must_use]
    pub fn qos_max(&self) -> QoS {
        match self.grants.highest() {
            Some((qos, _)) if !self.is_unrestricted => qos,
            _ => QoS::ExactlyOnce,
        }
    }

    /// The answer for one message.
    #[must_use]
    #[inline]
    pub fn verdict(&self, qos: QoS, retain: bool) -> Verdict {
        if self.is_unrestricted {
            return Verdict::new(Decision::Allowed, By::Unrestricted);
        }
        if let Some(rule) = self.grants.deny() {
            return Verdict::new(Decision::Denied, By::Rule(RuleNumber(rule)));
        }
        match self.grants.allow(qos, retain) {
            Some(rule) => Verdict::new(Decision::Allowed, By::Rule(RuleNumber(rule))),
            None if self.asks => Verdict::new(Decision::Ask, By::BackEnd),
            None => Verdict::new(Decision::Denied, By::NoRule),
        }
    }
}

impl Rights {
    /// The rights of a client.
    #[must_use]
    pub fn new(rules: &Arc<CompiledRules>, principal: &Arc<Principal>, client_id: &str) -> Self {
        let who = Who {
            principal,
            client_id,
        };
        Self {
            classes: rules.classes_of(who),
            rules: Arc::clone(rules),
            principal: Arc::clone(principal),
            client_id: client_id.into(),
        }
    }

    /// Whether the client may connect with its client identifier.
    ///
    /// A back end that is asked about topics knows nothing of connecting: where no rule of the port allows that to anybody,
    /// whoever has been authenticated may.
    #[must_use]
    pub fn connect(&self) -> Verdict {
        if self.principal.is_superuser {
            return Verdict::new(Decision::Allowed, By::Unrestricted);
        }
        let who = self.who();
        let mut found = ClientIdGrants::NOTHING;
        for class in self.classes() {
            found.merge(class.connect.matching(who));
        }
        if let Some(rule) = found.deny() {
            return Verdict::new(Decision::Denied, By::Rule(RuleNumber(rule)));
        }
        match found.allow() {
            Some(rule) => Verdict::new(Decision::Allowed, By::Rule(RuleNumber(rule))),
            None if self.asks() && !self.rules.allows_connect => {
                Verdict::new(Decision::Allowed, By::NoRule)
            }
            None => Verdict::new(Decision::Denied, By::NoRule),
        }
    }

    /// Whether the client may publish a message, or have it published as its will.
    #[must_use]
    pub fn publish(&self, topic: &str, qos: QoS, retain: bool) -> Verdict {
        if is_reserved(topic) {
            return Verdict::new(Decision::Denied, By::Reserved);
        }
        self.publish_to(topic).verdict(qos, retain)
    }

    /// What the client may publish to a topic that is not the broker's own.
    #[must_use]
    pub fn publish_to(&self, topic: &str) -> TopicRights {
        self.topic_rights(topic, |class| class.publish)
    }

    /// What the client may get of a topic: [`TopicRights::verdict`] for a QoS, without RETAIN.
    #[must_use]
    pub fn read(&self, topic: &str) -> TopicRights {
        self.topic_rights(topic, |class| class.subscribe)
    }

    /// What becomes of a subscription to a filter, given without a share name.
    #[must_use]
    pub fn subscribe(&self, filter: &str) -> SubscriptionVerdict {
        let plain = |decision, by, qos| SubscriptionVerdict {
            verdict: Verdict::new(decision, by),
            qos,
            is_narrowed: false,
        };
        if self.principal.is_superuser {
            return plain(Decision::Allowed, By::Unrestricted, QoS::ExactlyOnce);
        }
        let (who, filters) = (self.who(), self.rules.filters());
        let collect = |find: &dyn Fn(u32) -> Grants| {
            let mut found = Grants::NOTHING;
            for class in self.classes() {
                found.merge(&find(class.subscribe));
            }
            found
        };
        let covering = collect(&|root| filters.covering(root, filter, who));
        if let Some(rule) = covering.deny() {
            return plain(
                Decision::Denied,
                By::Rule(RuleNumber(rule)),
                QoS::ExactlyOnce,
            );
        }
        let denied = collect(&|root| filters.overlapping(root, filter, who, Wanted::Deny)).deny();
        let narrows = self.rules.rules().wide_subscription == WideSubscription::Narrow;
        if let (Some((qos, rule)), None) = (covering.highest(), denied) {
            return plain(Decision::Allowed, By::Rule(RuleNumber(rule)), qos);
        }
        if narrows {
            let some = collect(&|root| filters.overlapping(root, filter, who, Wanted::Allow));
            if let Some((qos, rule)) = some.highest() {
                return SubscriptionVerdict {
                    is_narrowed: true,
                    ..plain(Decision::Allowed, By::Rule(RuleNumber(rule)), qos)
                };
            }
        }
        match denied {
            Some(rule) if !(narrows && self.asks()) => plain(
                Decision::Denied,
                By::Rule(RuleNumber(rule)),
                QoS::ExactlyOnce,
            ),
            // What the back end grants, it grants message by message.
            _ if self.asks() => SubscriptionVerdict {
                is_narrowed: true,
                ..plain(Decision::Ask, By::BackEnd, QoS::ExactlyOnce)
            },
            _ => plain(Decision::Denied, By::NoRule, QoS::ExactlyOnce),
        }
    }

    /// A rule that a verdict names.
    #[must_use]
    pub fn rule(&self, number: RuleNumber) -> Option<&Rule> {
        self.rules.rule(number.0)
    }

    /// Where the rule of a verdict is written; `None` where no rule decides.
    #[must_use]
    pub fn place(&self, by: By) -> Option<&str> {
        match by {
            By::Rule(number) => self.rule(number).map(|rule| &*rule.place),
            By::NoRule | By::Unrestricted | By::Reserved | By::BackEnd => None,
        }
    }

    /// Whose rights these are.
    #[must_use]
    pub fn principal(&self) -> &Arc<Principal> {
        &self.principal
    }

    /// The client identifier of the client.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// What happens to a denied PUBLISH of a client that cannot be told so.
    #[must_use]
    pub fn denied_publish(&self) -> DeniedPublish {
        self.rules.rules().denied_publish
    }

    /// Whether somebody else is asked about what no rule decides.
    #[must_use]
    pub fn asks(&self) -> bool {
        self.rules.rules().asks
    }

    pub(super) fn who(&self) -> Who<'_> {
        Who {
            principal: &self.principal,
            client_id: &self.client_id,
        }
    }

    fn classes(&self) -> impl Iterator<Item = &Class> {
        self.classes
            .iter()
            .filter_map(|class| self.rules.class(*class))
    }

    fn topic_rights(&self, topic: &str, root: impl Fn(&Class) -> u32) -> TopicRights {
        let mut grants = Grants::NOTHING;
        let is_unrestricted = self.principal.is_superuser;
        if !is_unrestricted {
            for class in self.classes() {
                let filters = self.rules.filters();
                grants.merge(&filters.matching(root(class), topic, self.who()));
            }
        }
        TopicRights {
            grants,
            is_unrestricted,
            asks: self.asks(),
        }
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rule(_) => "a rule",
            Self::NoRule => "no rule",
            Self::Unrestricted => "no restriction",
            Self::Reserved => "a topic of the broker",
            Self::BackEnd => "the back end",
        })
    }
}
