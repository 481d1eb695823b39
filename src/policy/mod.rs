//! Who a client is and what it may do. Pure data: a decision is a function of the principal, the action and the rules.

mod distinguished_name;
mod pattern;
mod rule;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use distinguished_name::{COMMON_NAME, DistinguishedName, NameAttribute, NameFault, NameValue};
pub use pattern::{ClientIdPattern, FilterPattern, Level, PatternFault, Piece, Token};
pub use rule::{DeniedPublish, Effect, Principals, Rule, RuleSet, WideSubscription};

/// Who was authenticated on a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Principal {
    /// The name that rules and the journal use, and that owns sessions; empty for a client of a port without
    /// authentication.
    pub username: Box<str>,
    /// What is known of it besides, for rules.
    pub attributes: BTreeMap<Box<str>, Box<str>>,
    /// Rules do not hold it back; what only the broker does stays the broker's.
    pub is_superuser: bool,
}

/// What a client asks to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action<'a> {
    /// Publish to this topic name, or have a will published to it.
    Publish(&'a str),
    /// Subscribe to this topic filter, given without a share name.
    Subscribe(&'a str),
}

/// The answer to an [`Action`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The client may.
    Allowed,
    /// The client may not; the peer gets 0x87.
    Denied,
}

/// The rules of a port, a closed set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Authorization {
    /// `authorization = "none"`: every client may publish and subscribe to everything that is not the broker's own.
    #[default]
    None,
    /// `[authorization.NAME]`
    Rules(Arc<RuleSet>),
}

impl Authorization {
    /// Decides for `principal`.
    #[must_use]
    pub fn decide(&self, _principal: &Arc<Principal>, action: Action<'_>) -> Decision {
        match (self, action) {
            // Topics that only the broker publishes to, whatever the rules say.
            (_, Action::Publish(topic)) if is_reserved(topic) => Decision::Denied,
            (Self::None, Action::Publish(_) | Action::Subscribe(_)) => Decision::Allowed,
            (Self::Rules(_), _) => Decision::Denied,
        }
    }
}

/// `$SYS/…` is the broker's; `$share/…` is no topic name that a subscription could reach.
fn is_reserved(topic: &str) -> bool {
    topic == "$SYS" || topic.starts_with("$SYS/") || topic.starts_with("$share/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_publishes_to_the_topics_of_the_broker() {
        let nobody = Arc::new(Principal::default());
        let decide = |action| Authorization::None.decide(&nobody, action);
        assert_eq!(
            decide(Action::Publish("$SYS/broker/uptime")),
            Decision::Denied
        );
        assert_eq!(decide(Action::Publish("$share/a/b")), Decision::Denied);
        assert_eq!(decide(Action::Publish("$SYSTEM")), Decision::Allowed);
        assert_eq!(decide(Action::Publish("$own/x")), Decision::Allowed);
        assert_eq!(decide(Action::Subscribe("$SYS/#")), Decision::Allowed);
    }
}
