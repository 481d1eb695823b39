//! Questions to somebody else about topics: `[authorization.NAME.http]`.

use std::time::Duration;

use tracing::debug;

use super::backend::{Answered, BackendReport};
use super::mosquitto::{self, Plugin, Superusers};
use crate::config::HttpSettings;
use crate::policy::Principal;

pub use crate::policy::{Question, TopicAccess};

/// What the back end says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether the client may; none if nobody can tell.
    pub allowed: Option<bool>,
    /// For how long whoever asked may go by this without asking again; zero if the answer could not be had. Links remember
    /// answers for a short time themselves, so that a message costs no task and no lock.
    pub good_for: Duration,
}

impl Answer {
    /// The answer when none can be had. What a client asks for is denied then, and that is not remembered; messages for it
    /// wait.
    pub const UNKNOWN: Self = Self {
        allowed: None,
        good_for: Duration::ZERO,
    };
}

impl From<Answered<bool>> for Answer {
    fn from(answered: Answered<bool>) -> Self {
        Self {
            allowed: Some(answered.verdict),
            good_for: answered.good_for,
        }
    }
}

/// Asks the back end of an authorization, and remembers its answers.
#[derive(Debug)]
pub struct Acl {
    plugin: Plugin,
    superusers: Superusers,
    aclcheck_path: Option<Box<str>>,
    /// For how long an answer is good that nobody had to be asked for.
    own_time: Duration,
}

impl Acl {
    /// One that asks as the settings say.
    #[must_use]
    pub fn new(settings: &HttpSettings) -> Self {
        Self {
            plugin: Plugin::new("acl", settings),
            superusers: Superusers::new(settings),
            aclcheck_path: settings.aclcheck_path.clone(),
            own_time: settings.backend.cache_time,
        }
    }

    /// Whether a client may do what is asked; [`Answer::UNKNOWN`] if nobody can tell.
    ///
    /// First the names that the settings list, then the question whether the user may do everything, then the one about the
    /// topic, as the plug-ins do.
    pub async fn ask(&self, principal: &Principal, client_id: &str, question: &Question) -> Answer {
        let username = &*principal.username;
        if username.is_empty() || principal.is_superuser {
            return self.own(principal.is_superuser);
        }
        let superuser = self.superusers.ask(&self.plugin, username).await;
        let superuser = superuser.map(Answer::from).ok();
        if let Some(answer) = superuser.filter(|answer| answer.allowed == Some(true)) {
            return answer;
        }
        let Some(path) = &self.aclcheck_path else {
            return self.own(false);
        };
        let asked = mosquitto::Question::Topic {
            username,
            client_id,
            topic: &question.topic,
            access: question.access,
        };
        match self.plugin.ask(path, asked).await.map(Answer::from) {
            Ok(answer) if answer.allowed == Some(true) => answer,
            // It could have been a superuser.
            Ok(_) if superuser.is_none() => Answer::UNKNOWN,
            Ok(answer) => answer,
            Err(fault) => {
                debug!(
                    username,
                    client_id,
                    topic = &*question.topic,
                    "Nobody can tell, because {fault}"
                );
                Answer::UNKNOWN
            }
        }
    }

    /// What the back end has been asked.
    #[must_use]
    pub fn report(&self) -> BackendReport {
        self.plugin.backend.report()
    }

    /// An answer of the settings.
    fn own(&self, allowed: bool) -> Answer {
        Answer {
            allowed: Some(allowed),
            good_for: self.own_time,
        }
    }
}

#[cfg(test)]
#[path = "acl_tests.rs"]
mod tests;
