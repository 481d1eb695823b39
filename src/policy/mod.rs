//! Who a client is and what it may do. Pure data: a decision is a function of the principal, the action and the rules.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::unreachable,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::wildcard_enum_match_arm,
    clippy::match_wildcard_for_single_variants,
    clippy::as_conversions
)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::wildcard_enum_match_arm,
        clippy::as_conversions
    )
)]

mod client_ids;
mod compiled;
mod distinguished_name;
mod explain;
mod filters;
mod pattern;
mod principal;
mod rights;
mod rule;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::mqtt::QoS;

pub use compiled::CompiledRules;
pub use distinguished_name::{COMMON_NAME, DistinguishedName, NameAttribute, NameFault, NameValue};
pub use explain::Explanation;
pub use pattern::{ClientIdPattern, FilterPattern, Level, PatternFault, Piece, Token};
pub use principal::Principal;
pub use rights::{By, Decision, Rights, RuleNumber, SubscriptionVerdict, TopicRights, Verdict};
pub use rule::{DeniedPublish, Effect, Principals, Rule, RuleSet, WideSubscription};

/// What a client wants to do with a topic, for whoever is asked about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TopicAccess {
    /// Get a message of the topic.
    Read,
    /// Publish to the topic.
    Write,
    /// Subscribe to the topic filter.
    Subscribe,
}

/// A question about a topic, for somebody else than the rules.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Question {
    /// What for.
    pub access: TopicAccess,
    /// The topic name or topic filter, as the client knows it.
    pub topic: Box<str>,
}

/// What a client asks to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action<'a> {
    /// Connect with its client identifier.
    Connect,
    /// Publish to a topic name, or have a will published to it.
    Publish {
        /// The topic name.
        topic: &'a str,
        /// The QoS of the message.
        qos: QoS,
        /// Whether it is to be retained.
        retain: bool,
    },
    /// Subscribe to this topic filter, given without a share name.
    Subscribe(&'a str),
    /// Get a message of this topic.
    Read(&'a str),
}

/// The rules of a port, a closed set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Authorization {
    /// `authorization = "none"`: every client may publish and subscribe to everything that is not the broker's own.
    #[default]
    None,
    /// `[authorization.NAME]`
    Rules(Arc<CompiledRules>),
}

impl Authorization {
    /// What a client may do; `None` if it may do everything that is not the broker's own.
    #[must_use]
    pub fn rights(&self, principal: &Arc<Principal>, client_id: &str) -> Option<Rights> {
        match self {
            Self::None => None,
            Self::Rules(rules) => Some(Rights::new(rules, principal, client_id)),
        }
    }
}

/// Whether only the broker publishes to a topic, whatever the rules say. `$SYS/…` is its own; `$share/…` is no topic name that a
/// subscription could reach.
#[must_use]
pub fn is_reserved(topic: &str) -> bool {
    topic == "$SYS" || topic.starts_with("$SYS/") || topic.starts_with("$share/")
}
