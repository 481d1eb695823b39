//! The method `x509`: certificates of the TLS handshake.

use std::sync::Arc;

use super::{Access, Credential, Credentials, Outcome, Standing};
use crate::config::X509Settings;
use crate::policy::Principal;

/// Whose certificates are trusted, as the newest files say.
#[derive(Debug)]
pub struct ClientTrust {}

/// Judges the certificate that a client has presented.
#[derive(Debug)]
pub(super) struct X509 {
    trust: Arc<ClientTrust>,
}

impl X509 {
    pub(super) fn new(_settings: &X509Settings, _access: &Access) -> Self {
        Self {
            trust: Arc::new(ClientTrust {}),
        }
    }

    pub(super) fn trust(&self) -> Arc<ClientTrust> {
        Arc::clone(&self.trust)
    }

    pub(super) fn begin(&self, _credentials: &Credentials<'_>) -> Outcome {
        Outcome::NotMine
    }

    pub(super) fn review(&self, _credential: &Credential, _principal: &Principal) -> Standing {
        Standing::Same
    }
}
