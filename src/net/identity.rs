//! Who the clients of links are, so that they can be looked at again when something changes.

use std::sync::Arc;

use super::port::PortContext;
use crate::auth::{Acceptance, Credential, Standing};
use crate::policy::Principal;

/// Who the client of a link is, and what it has proven.
#[derive(Clone, Debug)]
pub struct Identity {
    port: Arc<PortContext>,
    principal: Arc<Principal>,
    credential: Credential,
    method: &'static str,
}

impl Identity {
    /// What an authenticator has accepted on a port.
    pub(super) fn new(port: &Arc<PortContext>, acceptance: &Acceptance) -> Self {
        Self {
            port: Arc::clone(port),
            principal: Arc::clone(&acceptance.principal),
            credential: acceptance.credential.clone(),
            method: acceptance.method,
        }
    }

    /// The port that the client came by.
    #[must_use]
    pub fn port(&self) -> &PortContext {
        &self.port
    }

    /// Who the client is.
    #[must_use]
    pub fn principal(&self) -> &Arc<Principal> {
        &self.principal
    }

    /// What the authenticator that the port has now says of it.
    #[must_use]
    pub fn review(&self) -> Standing {
        let terms = self.port.terms();
        let authenticator = &terms.authenticator;
        authenticator.review(&self.credential, &self.principal, self.method)
    }

    /// The same client with other attributes.
    #[must_use]
    pub fn with_principal(self, principal: Arc<Principal>) -> Self {
        Self { principal, ..self }
    }
}
