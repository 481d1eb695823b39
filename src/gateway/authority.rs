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

    /// Who issues, and what time it goes by.
    pub(super) fn parts(&self) -> (Arc<CertificateAuthority>, Arc<TrustedClock>) {
        (Arc::clone(&self.ca), Arc::clone(&self.clock))
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
        let (mut said_of_certificates, mut said_of_time) = (None, None);
        loop {
            ticks.tick().await;
            let reading = self.clock.read();
            if looks == 0 || trust != Some(reading.trust) {
                let maintain = |this: &Self| this.ca.maintain(this.clock.read()).map(drop);
                let fault = self.in_background(maintain).await;
                report(fault, &mut said_of_certificates);
                trust = Some(reading.trust);
            }
            looks = (looks + 1) % CLOCK_LOOKS;
            let fault = self.in_background(|this| this.clock.keep(false)).await;
            report(fault, &mut said_of_time);
        }
    }

    /// Notes the last time seen.
    pub(super) async fn stop(&self) {
        let fault = self.in_background(|this| this.clock.keep(true)).await;
        report(fault, &mut None);
    }

    /// Does something on a thread that may wait, and says what went wrong.
    async fn in_background(
        &self,
        act: impl FnOnce(&Self) -> Result<(), CaError> + Send + 'static,
    ) -> Option<CaError> {
        let this = self.clone();
        // When the runtime goes down there is nothing left to do.
        spawn_blocking(move || act(&this)).await.ok()?.err()
    }
}

/// Writes down what went wrong, once until it is something else.
fn report(fault: Option<CaError>, said: &mut Option<String>) {
    let text = fault.as_ref().map(ToString::to_string);
    if let (Some(fault), true) = (&fault, text != *said) {
        warn!(
            hint = fault.hint(),
            "the certificate authority cannot be looked after: {fault}"
        );
    }
    *said = text;
}
