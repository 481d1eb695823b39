//! The method `anonymous`: everybody, under one name.

use std::sync::Arc;

use super::{Credentials, Outcome, Standing};
use crate::config::AnonymousSettings;
use crate::policy::Principal;

/// Accepts everybody who does not ask for an exchange.
#[derive(Debug)]
pub(super) struct Anonymous {
    principal: Arc<Principal>,
}

impl Anonymous {
    pub(super) fn new(settings: &AnonymousSettings) -> Self {
        Self {
            principal: Arc::new(Principal {
                username: settings.username.clone(),
                attributes: settings.attributes.clone(),
                is_superuser: false,
            }),
        }
    }

    pub(super) fn begin(&self, credentials: &Credentials<'_>) -> Outcome {
        if credentials.method.is_some() {
            return Outcome::NotMine;
        }
        Outcome::Accepted((*self.principal).clone().into())
    }

    pub(super) fn review(&self, principal: &Principal) -> Standing {
        if *principal == *self.principal {
            Standing::Same
        } else if principal.username == self.principal.username {
            Standing::Changed(Arc::clone(&self.principal))
        } else {
            Standing::Gone("The port serves anonymous clients under another name now")
        }
    }
}
