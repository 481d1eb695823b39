//! The method `service_account_token`: tokens of Kubernetes service accounts.

use super::{Credentials, Outcome};
use crate::config::{ServiceAccountTokenSettings, WhenUnavailable};

/// Asks the back end.
#[derive(Debug)]
pub(super) struct ServiceAccountToken {
    settings: ServiceAccountTokenSettings,
}

impl ServiceAccountToken {
    pub(super) fn new(settings: &ServiceAccountTokenSettings) -> Self {
        Self {
            settings: settings.clone(),
        }
    }

    pub(super) async fn begin(&self, _credentials: &Credentials<'_>) -> Outcome {
        Outcome::NotMine
    }

    pub(super) fn when_unavailable(&self) -> WhenUnavailable {
        self.settings.backend.when_unavailable
    }
}
