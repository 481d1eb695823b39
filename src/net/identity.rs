//! Who the clients of links are, so that they can be looked at again when something changes.

use std::sync::Arc;
use std::time::Instant;

use super::port::PortContext;
use crate::auth::{
    Acceptance, Audit, AuditEvent, AuditKind, Authenticator, Credential, Proof, Standing,
};
use crate::broker::Review;
use crate::policy::Principal;

/// Who the client of a link is, and what it has proven.
#[derive(Clone, Debug)]
pub struct Identity {
    port: Arc<PortContext>,
    /// Who has accepted it.
    authenticator: Arc<Authenticator>,
    client_id: Box<str>,
    principal: Arc<Principal>,
    credential: Credential,
    method: &'static str,
}

impl Identity {
    /// What an authenticator has accepted on a port. `client_id` is the one that the client has sent.
    pub(super) fn new(
        port: &Arc<PortContext>,
        authenticator: &Arc<Authenticator>,
        client_id: &str,
        acceptance: &Acceptance,
    ) -> Self {
        Self {
            port: Arc::clone(port),
            authenticator: Arc::clone(authenticator),
            client_id: client_id.into(),
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
        terms.authenticator.review(&self.proof())
    }

    /// When the credential ends now, where that is known by its user; the end may have been moved.
    #[must_use]
    pub fn end(&self) -> Option<Option<Instant>> {
        let terms = self.port.terms();
        terms.authenticator.end(&self.proof())
    }

    fn proof(&self) -> Proof<'_> {
        Proof {
            credential: &self.credential,
            principal: &self.principal,
            client_id: &self.client_id,
            method: self.method,
            accepted_by: &self.authenticator,
        }
    }

    /// The same client with other attributes.
    #[must_use]
    pub fn with_principal(self, principal: Arc<Principal>) -> Self {
        Self { principal, ..self }
    }
}

/// Writes down who has lost what.
pub fn note_review(audit: &Audit, port: &str, review: &Review) {
    for client_id in &review.disconnected {
        let event = AuditEvent::new(AuditKind::RightGone, client_id);
        let event = event.client(port, None, client_id);
        audit.note(event.detail("the rules do not let it connect any more"));
    }
    for (client_id, filter) in &review.unsubscribed {
        let event = AuditEvent::new(AuditKind::SubscriptionRemoved, filter);
        audit.note(event.client(port, None, client_id));
    }
    for client_id in &review.wills_removed {
        let event = AuditEvent::new(AuditKind::SubscriptionRemoved, "will");
        let event = event.client(port, None, client_id);
        audit.note(event.detail("the rules do not allow the topic of its will any more"));
    }
}
