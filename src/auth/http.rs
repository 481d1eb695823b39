//! The method `http`: an HTTP server as the plug-ins of mosquitto ask it.

use super::{Credentials, Outcome};
use crate::config::{HttpSettings, WhenUnavailable};

/// Asks the back end.
#[derive(Debug)]
pub(super) struct HttpUsers {
    settings: HttpSettings,
}

impl HttpUsers {
    pub(super) fn new(settings: &HttpSettings) -> Self {
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
