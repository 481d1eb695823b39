//! Clients that authenticate again by AUTH (MQTT 5, 4.12.1) with a back end that cannot be asked.

use super::{Challenge, Exchange, Outcome, State, Unavailable};
use crate::config::WhenUnavailable;

/// A client that has been let in before and proves again who it is.
#[derive(Debug)]
pub(super) struct Again {
    /// Its authentication method.
    pub(super) method: Box<str>,
    /// Who it is so far.
    pub(super) username: Box<str>,
}

impl Again {
    /// What happens when nobody can tell. What the client has proven before is still good, so it is not sent away: it is told
    /// to continue, as by the cluster's broker, and may try until its credential ends.
    pub(super) fn stay(self, fault: Unavailable, when: WhenUnavailable) -> Outcome {
        match when {
            WhenUnavailable::NextMethod => Outcome::Unavailable(fault),
            WhenUnavailable::Refuse => Outcome::Continue(Challenge {
                data: None,
                exchange: Exchange {
                    method: 0,
                    state: State::Again(self),
                },
            }),
        }
    }
}
