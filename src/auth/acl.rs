//! Questions to somebody else about topics: `[authorization.NAME.http]`.

use crate::config::HttpSettings;
use crate::policy::Principal;

/// What a client wants to do with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TopicAccess {
    /// Get a message of the topic.
    Read,
    /// Publish to the topic.
    Write,
    /// Subscribe to the topic filter.
    Subscribe,
}

/// A question about a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// What for.
    pub access: TopicAccess,
    /// The topic name or topic filter.
    pub topic: Box<str>,
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

    /// Whether a client may do what is asked; an answer that cannot be had is a denial, and is not remembered.
    pub async fn ask(
        &self,
        _principal: &Principal,
        _client_id: &str,
        _question: &Question,
    ) -> bool {
        false
    }
}
