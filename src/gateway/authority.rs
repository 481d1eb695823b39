//! The certificate authority of a running gateway: looked after every few minutes, asked over the control socket.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

use crate::ca::{Asker, CaError, CaReply, CaRequest, CertificateAuthority, Sealing, TrustedClock};
use crate::store::{CertificateRecord, Jobs};

/// Time between two looks at the clocks, so that a jump is seen.
const CLOCK_INTERVAL: Duration = Duration::from_secs(60);

/// Looks at the clocks between two looks at the certificates, as long as the clock does not change its mind.
const CLOCK_LOOKS: u32 = 5;

/// The authority with the time that it goes by.
#[derive(Clone, Debug)]
pub(super) struct Authority {
    ca: Arc<CertificateAuthority>,
    clock: Arc<TrustedClock>,
}

impl Authority {
    /// Opens what a state folder has. Reads files, and may ask systemd for keys.
    pub(super) fn open(
        state_dir: &Path,
        records: Vec<CertificateRecord>,
        jobs: Jobs,
        audit_rows_max: u32,
    ) -> Self {
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(Into::into);
        let sealing = Sealing::of_machine(state_dir, credentials);
        let ca = CertificateAuthority::new(state_dir, sealing, records, jobs);
        ca.set_audit_rows_max(audit_rows_max);
        let clock = TrustedClock::open(state_dir, ca.newest_begin());
        Self {
            ca: Arc::new(ca),
            clock: Arc::new(clock),
        }
    }

    /// Does what is asked for.
    pub(super) async fn apply(&self, request: CaRequest, asker: Asker) -> Result<CaReply, CaError> {
        let this = self.clone();
        let applied = spawn_blocking(move || {
            let reading = this.clock.read();
            this.ca.apply(&request, reading, &asker)
        });
        applied
            .await
            .unwrap_or_else(|error| Err(CaError::failed(&error)))
    }

    /// Looks after the certificates and notes the time, for ever.
    pub(super) async fn keep(&self) {
        let mut ticks = interval(CLOCK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut looks, mut trust) = (0, None);
        loop {
            ticks.tick().await;
            let reading = self.clock.read();
            if looks == 0 || trust != Some(reading.trust) {
                self.in_background("looked after", |this| {
                    this.ca.maintain(this.clock.read()).map(drop)
                })
                .await;
                trust = Some(reading.trust);
            }
            looks = (looks + 1) % CLOCK_LOOKS;
            self.in_background("told the time", |this| this.clock.keep(false))
                .await;
        }
    }

    /// Notes the last time seen.
    pub(super) async fn stop(&self) {
        self.in_background("told the time", |this| this.clock.keep(true))
            .await;
    }

    async fn in_background(
        &self,
        what: &str,
        act: impl FnOnce(&Self) -> Result<(), CaError> + Send + 'static,
    ) {
        let this = self.clone();
        // When the runtime goes down there is nothing left to do.
        if let Ok(Err(fault)) = spawn_blocking(move || act(&this)).await {
            warn!(
                hint = fault.hint(),
                "the certificate authority cannot be {what}: {fault}"
            );
        }
    }
}
