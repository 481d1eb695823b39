//! The method `custom`: an HTTPS server that decides.

use super::{Credentials, Outcome};
use crate::config::{CustomSettings, WhenUnavailable};

/// Asks the back end.
#[derive(Debug)]
pub(super) struct Custom {
    settings: CustomSettings,
}

impl Custom {
    pub(super) fn new(settings: &CustomSettings) -> Self {
        Self {
            settings: settings.clone(),
        }
    }

    pub(super) async fn begin(&self, _credentials: &Credentials<'_>) -> Outcome {
        Outcome::NotMine
    }

    pub(super) async fn resume(&self, _data: Option<&[u8]>) -> Outcome {
        Outcome::NotMine
    }

    pub(super) fn when_unavailable(&self) -> WhenUnavailable {
        self.settings.backend.when_unavailable
    }
}
