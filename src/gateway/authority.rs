//! The certificate authority of a running gateway: looked after every few minutes, asked over the control socket.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

use super::Gateway;
use super::expiry::Notices;
use crate::admin::{AuthorityReport, EstReport};
use crate::ca::{Asker, CaError, CaReply, CaRequest, ClockTrust, DeviceAuthority, Plan};
use crate::config::Settings;
use crate::store::{CertificateRecord, Jobs};

/// Time between two looks at the clocks, so that a jump is seen.
const CLOCK_INTERVAL: Duration = Duration::from_secs(60);

/// Looks at the clocks between two looks at the certificates, as long as the clock does not change its mind.
const CLOCK_LOOKS: u32 = 5;

/// The authority with the time that it goes by.
#[derive(Clone, Debug)]
pub(super) struct Authority {
    device: Arc<DeviceAuthority>,
    /// How it fared when it was looked at last: looking at it may wait for the disk.
    seen: Arc<Mutex<AuthorityReport>>,
}

impl Authority {
    /// Opens what a state folder has. Reads files, and may ask systemd for keys.
    pub(super) fn open(
        state_dir: &Path,
        records: Vec<CertificateRecord>,
        jobs: Jobs,
        settings: &Settings,
    ) -> Self {
        let authority = Self {
            device: Arc::new(DeviceAuthority::open(state_dir, records, jobs)),
            seen: Arc::default(),
        };
        authority.set(settings);
        authority.look(None);
        authority
    }

    /// What ports and authentication use of it.
    pub(super) fn device(&self) -> Arc<DeviceAuthority> {
        Arc::clone(&self.device)
    }

    /// Goes by changed settings. An authority that is there stays as it is.
    pub(super) fn set(&self, settings: &Settings) {
        self.device
            .ca()
            .set_audit_rows_max(settings.protection.audit_rows_max);
        let plan = settings.needs_authority().then(|| Plan::of(settings));
        self.device.set_plan(plan);
        let ports = settings.ports().map(|port| port.endpoint.to_string());
        let est = settings.est.https.map(|_| EstReport::NAME.to_owned());
        self.device.keep_ports(&ports.chain(est).collect());
    }

    /// Does what is asked for.
    pub(super) async fn apply(&self, request: CaRequest, asker: Asker) -> Result<CaReply, CaError> {
        let device = self.device();
        let applied = spawn_blocking(move || {
            let mut reply = device.ca().apply(&request, device.read(), &asker);
            if let Ok(CaReply::Status(status)) = &mut reply {
                status.problems.extend(device.faults());
            }
            reply
        });
        applied
            .await
            .unwrap_or_else(|error| Err(CaError::failed(&error)))
    }

    /// How it fared when it was looked at last.
    pub(super) fn report(&self) -> AuthorityReport {
        self.lock().clone()
    }

    /// Looks at it. `fault` is what has just gone wrong.
    fn look(&self, fault: Option<&CaError>) {
        let ca = self.device.ca();
        let status = ca.is_there().then(|| ca.status(self.device.read()));
        let (status, unreadable) = match status {
            Some(Ok(status)) => (Some(status), None),
            Some(Err(fault)) => (None, Some(text(&fault))),
            None => (None, None),
        };
        *self.lock() = AuthorityReport {
            status,
            fault: unreadable.or_else(|| fault.map(text)),
        };
    }

    fn lock(&self) -> MutexGuard<'_, AuthorityReport> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what is due, and looks at what came of it.
    async fn maintain(&self) -> Option<CaError> {
        let this = self.clone();
        let maintained = spawn_blocking(move || {
            let fault = this.device.maintain().err();
            this.look(fault.as_ref());
            fault
        });
        maintained.await.ok()?
    }

    /// Notes the last time seen.
    pub(super) async fn stop(&self) {
        let fault = self.in_background(|device| device.keep_time(true)).await;
        report(fault, &mut None);
    }

    /// Does something on a thread that may wait, and says what went wrong.
    async fn in_background(
        &self,
        act: impl FnOnce(&DeviceAuthority) -> Result<(), CaError> + Send + 'static,
    ) -> Option<CaError> {
        let device = self.device();
        // When the runtime goes down there is nothing left to do.
        spawn_blocking(move || act(&device)).await.ok()?.err()
    }
}

impl Gateway {
    /// Looks after the certificates and notes the time, for ever.
    pub(super) async fn keep_authority(&self) {
        let authority = &self.authority;
        let mut ticks = interval(CLOCK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut looks, mut trust) = (0, None);
        let (mut said_of_certificates, mut said_of_time) = (None, None);
        let mut notices = Notices::default();
        loop {
            ticks.tick().await;
            let reading = authority.device.read();
            if looks == 0 || trust != Some(reading.trust) {
                let fault = authority.maintain().await;
                report(fault, &mut said_of_certificates);
                self.note_expiry(&mut notices);
                if trust.is_some_and(|before| before != reading.trust) {
                    self.follow_clock(reading.trust).await;
                }
                trust = Some(reading.trust);
            }
            looks = (looks + 1) % CLOCK_LOOKS;
            let fault = authority
                .in_background(|device| device.keep_time(false))
                .await;
            report(fault, &mut said_of_time);
        }
    }

    /// What was not judged while the time was not known is judged now.
    async fn follow_clock(&self, trust: ClockTrust) {
        self.serving.check_certificates();
        if trust == ClockTrust::Settled {
            self.review_clients().await;
        }
    }

    /// Has ports and connections go by what the authority has changed, for ever.
    pub(super) async fn follow_authority(&self) {
        let mut changes = self.authority.device.ca().changes();
        // The sender lives as long as the gateway.
        while changes.changed().await.is_ok() {
            let authority = self.authority.clone();
            let looked = spawn_blocking(move || authority.look(None)).await;
            if looked.is_err() {
                return;
            }
            self.serving.check_certificates();
            self.review_clients().await;
        }
    }

    /// Says which certificates end soon that nothing renews.
    fn note_expiry(&self, notices: &mut Notices) {
        let authority = self.authority.report().status;
        let now = self.authority.device.read().now;
        let mut ports = self.serving.ports();
        ports.push(self.enrolment.as_port(now));
        for text in notices.due(&ports, authority.as_ref(), now) {
            warn!("{text}");
        }
    }
}

fn text(fault: &CaError) -> String {
    format!("{fault}; {}", fault.hint())
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
