//! Questions to somebody else about topics: `[authorization.NAME.http]`.

use std::time::Duration;

use crate::config::HttpSettings;
use crate::policy::Principal;

pub use crate::policy::{Question, TopicAccess};

/// What the back end says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether the client may.
    pub allowed: bool,
    /// For how long whoever asked may go by this without asking again; zero if the answer could not be had. Links remember
    /// answers for a short time themselves, so that a message costs no task and no lock.
    pub good_for: Duration,
}

impl Answer {
    /// The answer when none can be had: a denial that is not remembered.
    pub const UNKNOWN: Self = Self {
        allowed: false,
        good_for: Duration::ZERO,
    };
}

/// Asks the back end of an authorization, and remembers its answers.
#[derive(Debug)]
pub struct Acl {}

impl Acl {
    /// One that asks as the settings say.
    #[must_use]
    pub fn new(_settings: &HttpSettings) -> Self {
        Self {}
    }

    /// Whether a client may do what is asked; [`Answer::UNKNOWN`] if nobody can tell.
    pub async fn ask(
        &self,
        _principal: &Principal,
        _client_id: &str,
        _question: &Question,
    ) -> Answer {
        Answer::UNKNOWN
    }
}
