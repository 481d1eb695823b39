//! Questions to somebody else about topics: `[authorization.NAME.http]`.

use std::time::Duration;

use tracing::debug;

use super::backend::{Answered, BackendReport};
use super::mosquitto::{self, Plugin};
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

impl From<Answered<bool>> for Answer {
    fn from(answered: Answered<bool>) -> Self {
        Self {
            allowed: answered.verdict,
            good_for: answered.good_for,
        }
    }
}

/// Asks the back end of an authorization, and remembers its answers.
#[derive(Debug)]
pub struct Acl {
    plugin: Plugin,
    superusers: Vec<Box<str>>,
    superuser_path: Option<Box<str>>,
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
            superusers: settings.superusers.clone(),
            superuser_path: settings.superuser_path.clone(),
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
        if username.is_empty() {
            return self.own(false);
        }
        if self.superusers.iter().any(|glob| matches(glob, username)) {
            return self.own(true);
        }
        let superuser = self.is_superuser(username).await;
        if let Some(answer) = superuser.filter(|answer| answer.allowed) {
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
            Ok(answer) if answer.allowed => answer,
            // It could have been a superuser.
            Ok(_) if superuser.is_none() => Answer::UNKNOWN,
            Ok(answer) => answer,
            Err(fault) => {
                debug!(
                    username,
                    client_id,
                    topic = &*question.topic,
                    "Denied, because {fault}"
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

    /// `None` if nobody can tell.
    async fn is_superuser(&self, username: &str) -> Option<Answer> {
        let Some(path) = &self.superuser_path else {
            return Some(self.own(false));
        };
        let question = mosquitto::Question::Superuser { username };
        self.plugin.ask(path, question).await.ok().map(Answer::from)
    }

    /// An answer of the settings.
    fn own(&self, allowed: bool) -> Answer {
        Answer {
            allowed,
            good_for: self.own_time,
        }
    }
}

/// Whether a text is what a pattern with `*` and `?` describes.
fn matches(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    // Where to go on if what follows the last `*` does not fit: it takes one character more then.
    let mut star = None;
    loop {
        let here = text.clone();
        match (pattern.next(), text.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                star = Some((pattern.clone(), here.clone()));
                text = here;
            }
            (Some(wanted), Some(found)) if wanted == '?' || wanted == found => {}
            _ => {
                let Some((after, mut taken)) = star.take() else {
                    return false;
                };
                if taken.next().is_none() {
                    return false;
                }
                (pattern, text) = (after.clone(), taken.clone());
                star = Some((after, taken));
            }
        }
    }
}

#[cfg(test)]
#[path = "acl_tests.rs"]
mod tests;
