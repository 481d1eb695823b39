//! The method `password`: users of the local database.

use std::sync::Arc;

use super::{Access, Credential, Credentials, Outcome, Standing, Users};
use crate::config::{PasswordSettings, UnknownUser};
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

    pub(super) async fn begin(&self, _credentials: &Credentials<'_>) -> Outcome {
        let _ = (&self.users, self.unknown_user);
        Outcome::NotMine
    }

    pub(super) fn review(&self, _credential: &Credential, _principal: &Principal) -> Standing {
        Standing::Same
    }
}
