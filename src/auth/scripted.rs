//! An authenticator that follows a script, so that every way through an exchange can be tried.

use super::{Acceptance, Challenge, Credentials, Exchange, Outcome, Refused, State, Unavailable};
use crate::mqtt::ReasonCode;
use crate::policy::Principal;

/// Knows one method. Every answer of the client must be what the script expects; then comes the next challenge.
#[derive(Clone, Debug)]
pub struct Script {
    /// The method, and what its first data must be.
    pub method: &'static str,
    /// What the client must say, in turn; the first with its CONNECT.
    pub answers: Vec<&'static [u8]>,
    /// Who the client is at the end.
    pub name: &'static str,
    /// Nobody can tell at the moment.
    pub unavailable: bool,
}

/// How far an exchange is.
#[derive(Debug)]
pub struct Progress {
    script: Script,
    answered: usize,
}

impl Script {
    /// `method` with a challenge `challenge-1`, `challenge-2`, … before each answer but the first.
    pub fn new(method: &'static str, answers: &[&'static [u8]]) -> Self {
        Self {
            method,
            answers: answers.to_vec(),
            name: "scripted",
            unavailable: false,
        }
    }

    pub(super) fn begin(&self, credentials: Credentials<'_>) -> Outcome {
        if credentials.method != Some(self.method) {
            return match credentials.method {
                Some(_) => {
                    Refused::new(ReasonCode::BadAuthenticationMethod, "another method").into()
                }
                None => Outcome::NotMine,
            };
        }
        if self.unavailable {
            return Outcome::Unavailable(Unavailable::new("scripted"));
        }
        let progress = Progress {
            script: self.clone(),
            answered: 0,
        };
        progress.resume(credentials.data)
    }
}

impl Progress {
    pub(super) fn resume(mut self, data: Option<&[u8]>) -> Outcome {
        if self.script.answers.get(self.answered).copied() != data {
            return Refused::new(ReasonCode::NotAuthorized, "another answer").into();
        }
        self.answered += 1;
        if self.answered == self.script.answers.len() {
            let principal = Principal {
                username: self.script.name.into(),
                ..Principal::default()
            };
            return Outcome::Accepted(Acceptance {
                data: Some(b"welcome".to_vec()),
                ..principal.into()
            });
        }
        Outcome::Continue(Challenge {
            data: Some(format!("challenge-{}", self.answered).into_bytes()),
            exchange: Exchange {
                method: 0,
                state: State::Scripted(self),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Authenticator;
    use super::*;

    #[tokio::test]
    async fn an_exchange_goes_to_its_end() {
        let script = Script::new("TEST", &[b"one", b"two"]);
        let authenticator = Authenticator::scripted(script);
        let credentials = |data| Credentials {
            method: Some("TEST"),
            data: Some(data),
            ..Credentials::default()
        };
        let Outcome::Continue(challenge) = authenticator.begin(credentials(b"one")).await else {
            panic!("no challenge");
        };
        assert_eq!(challenge.data.as_deref(), Some(&b"challenge-1"[..]));
        let end = authenticator.resume(challenge.exchange, Some(b"two")).await;
        let Outcome::Accepted(acceptance) = end else {
            panic!("{end:?}");
        };
        assert_eq!(&*acceptance.principal.username, "scripted");
        assert_eq!(acceptance.data.as_deref(), Some(&b"welcome"[..]));
        let wrong = authenticator.begin(credentials(b"1")).await;
        let Outcome::Refused(refused) = wrong else {
            panic!("{wrong:?}");
        };
        assert_eq!(refused.reason, ReasonCode::NotAuthorized);
    }
}
