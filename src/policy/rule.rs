//! The rules of a port as they are written.

use std::collections::BTreeMap;

use super::pattern::{ClientIdPattern, FilterPattern};
use crate::mqtt::QoS;

/// What a rule does with what it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Allows it, unless another rule denies it.
    Allow,
    /// Denies it, whatever other rules say.
    Deny,
}

/// Whom a rule is about. Its three kinds are alternatives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principals {
    /// Every client of the port.
    Everyone,
    /// Clients that one of these describes.
    Listed {
        /// Names of principals, exactly.
        usernames: Vec<Box<str>>,
        /// Client identifiers, exactly.
        client_ids: Vec<Box<str>>,
        /// Sets of attributes; a principal must have all of one set.
        attributes: Vec<BTreeMap<Box<str>, Box<str>>>,
    },
}

/// One rule of `[authorization.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Whether it allows or denies.
    pub effect: Effect,
    /// Whom it is about.
    pub principals: Principals,
    /// Client identifiers to connect with.
    pub connect: Vec<ClientIdPattern>,
    /// Topics to publish to.
    pub publish: Vec<FilterPattern>,
    /// Topics to subscribe to and to get messages of.
    pub subscribe: Vec<FilterPattern>,
    /// Highest QoS of what the rule allows.
    pub qos: QoS,
    /// Whether the rule allows to publish retained messages.
    pub retain: bool,
    /// Messages a second that one connection may publish by this rule.
    pub message_rate_max: Option<u32>,
    /// Bytes of payload a second that one connection may publish by this rule.
    pub byte_rate_max: Option<u32>,
    /// Where it is written, for people: `gateway.toml:42`.
    pub place: Box<str>,
}

/// What happens to a denied PUBLISH of a client whose version cannot be told so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeniedPublish {
    /// It is acknowledged and dropped, as the cluster's broker does.
    #[default]
    Acknowledge,
    /// The connection is closed.
    Disconnect,
}

/// What happens to a subscription that is wider than the rights of the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WideSubscription {
    /// It is refused.
    #[default]
    Refuse,
    /// It is granted, and only messages that the client may read are delivered.
    Narrow,
}

/// Everything that `[authorization.NAME]` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleSet {
    /// The name that ports refer to.
    pub name: Box<str>,
    /// In the order of the file.
    pub rules: Vec<Rule>,
    /// For clients of MQTT 3.1 and 3.1.1.
    pub denied_publish: DeniedPublish,
    /// For subscriptions that no rule covers whole.
    pub wide_subscription: WideSubscription,
    /// Whether somebody else is asked about what no rule decides.
    pub asks: bool,
}
