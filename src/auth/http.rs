//! The method `http`: an HTTP server that says whether a user has a password, asked as the plug-ins of mosquitto ask it.

use std::collections::BTreeMap;

use super::backend::BackendReport;
use super::mosquitto::{Plugin, Question, Superusers};
use super::{Credentials, Outcome, Refused};
use crate::config::{HttpSettings, WhenUnavailable};
use crate::mqtt::ReasonCode;
use crate::policy::Principal;

/// Asks the server.
#[derive(Debug)]
pub(super) struct HttpUsers {
    plugin: Plugin,
    getuser_path: Box<str>,
    superusers: Superusers,
    when_unavailable: WhenUnavailable,
}

impl HttpUsers {
    pub(super) fn new(settings: &HttpSettings) -> Self {
        Self {
            plugin: Plugin::new("http", settings),
            getuser_path: settings.getuser_path.clone().unwrap_or_default(),
            superusers: Superusers::new(settings),
            when_unavailable: settings.backend.when_unavailable,
        }
    }

    pub(super) async fn begin(&self, credentials: &Credentials<'_>) -> Outcome {
        let username = match (credentials.method, credentials.username) {
            (None, Some(username)) if !username.is_empty() => username,
            _ => return Outcome::NotMine,
        };
        let password = credentials.password.unwrap_or_default();
        // The plug-ins do not ask either: many directories take an empty password for a guest and say yes.
        if password.is_empty() {
            return bad("there is no password");
        }
        if self.plugin.writes_text() && std::str::from_utf8(password).is_err() {
            return bad("the password is no text");
        }
        let question = Question::User {
            username,
            password,
            client_id: credentials.client_id,
        };
        let judged = match self.plugin.ask(&self.getuser_path, question).await {
            Ok(answered) if !answered.verdict => {
                return bad("the server does not know the user with this password");
            }
            Ok(_) => self.superusers.ask(&self.plugin, username).await,
            Err(fault) => Err(fault),
        };
        match judged {
            Ok(superuser) => Outcome::Accepted(
                Principal {
                    username: username.into(),
                    attributes: BTreeMap::new(),
                    is_superuser: superuser.verdict,
                }
                .into(),
            ),
            // One that may do everything must not be let in to be refused everything.
            Err(fault) => Outcome::Unavailable(fault.into()),
        }
    }

    pub(super) fn when_unavailable(&self) -> WhenUnavailable {
        self.when_unavailable
    }

    pub(super) fn report(&self) -> BackendReport {
        self.plugin.backend.report()
    }
}

fn bad(sentence: &'static str) -> Outcome {
    Refused::new(ReasonCode::BadUserNameOrPassword, sentence).into()
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
