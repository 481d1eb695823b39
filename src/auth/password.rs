//! The method `password`: users of the local database.

use std::sync::Arc;

use super::users::Verdict;
use super::{
    Acceptance, Access, Credential, Credentials, Outcome, Refused, Standing, Unavailable, Users,
};
use crate::config::{PasswordSettings, UnknownUser};
use crate::mqtt::ReasonCode;
use crate::policy::Principal;

/// Asks the local users.
#[derive(Debug)]
pub(super) struct Password {
    users: Arc<Users>,
    unknown_user: UnknownUser,
}

impl Password {
    pub(super) fn new(settings: &PasswordSettings, access: &Access) -> Self {
        Self {
            users: Arc::clone(access.users()),
            unknown_user: settings.unknown_user,
        }
    }

    pub(super) async fn begin(&self, credentials: &Credentials<'_>) -> Outcome {
        let (None, Some(username), Some(password)) = (
            credentials.method,
            credentials.username,
            credentials.password,
        ) else {
            return Outcome::NotMine;
        };
        let refused = |sentence: &'static str| {
            Refused::new(ReasonCode::BadUserNameOrPassword, sentence).into()
        };
        match self.users.verify(username, password).await {
            Verdict::Right {
                principal,
                generation,
                expires_at,
            } => Outcome::Accepted(Acceptance {
                principal,
                expires_at,
                data: None,
                credential: Credential::Password { generation },
                method: "",
            }),
            Verdict::UnknownUser if self.unknown_user == UnknownUser::NextMethod => {
                Outcome::NotMine
            }
            Verdict::UnknownUser => refused("there is no such user"),
            Verdict::WrongPassword => refused("the password is wrong"),
            Verdict::Disabled => refused("the user is disabled"),
            Verdict::Expired => refused("the time of the user is over"),
            Verdict::Unavailable(sentence) => Outcome::Unavailable(Unavailable::new(sentence)),
        }
    }

    pub(super) fn review(&self, credential: &Credential, principal: &Principal) -> Standing {
        match credential {
            Credential::Password { generation } => self.users.review(*generation, principal),
            Credential::Lasting | Credential::Certificate(_) => {
                Standing::Gone("The client has shown no password")
            }
        }
    }
}
