//! What serves clients, the hub and the ports, in the words of the reports.

use crate::admin::{BrokerReport, ClientReport, PortReport};
use crate::config::Settings;

/// The hub and the ports.
#[derive(Debug)]
pub(crate) struct Serving {}

impl Serving {
    pub(crate) fn new(_settings: &Settings) -> Self {
        Self {}
    }

    /// Opens, changes and closes ports so that they are as the settings say. Clients of ports that do not change stay.
    #[expect(clippy::unused_async, reason = "waits for the ports that close")]
    pub(crate) async fn apply(&self, _settings: &Settings) {}

    /// Runs the timers of the core until dropped.
    pub(crate) async fn run_timers(&self) {
        std::future::pending().await
    }

    /// Returns when the core has answered.
    pub(crate) fn round_trip(&self) {}

    /// Stops accepting, tells every client and waits until all are gone.
    #[expect(clippy::unused_async, reason = "waits for the clients")]
    pub(crate) async fn stop(&self) {}

    pub(crate) fn broker(&self, _settings: &Settings) -> BrokerReport {
        BrokerReport::default()
    }

    pub(crate) fn ports(&self) -> Vec<PortReport> {
        Vec::new()
    }

    /// Every client whose identifier begins with `prefix`, in order.
    pub(crate) fn clients(&self, _prefix: &str) -> Vec<ClientReport> {
        Vec::new()
    }
}
