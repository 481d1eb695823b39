//! The authority of a gateway with the time that it goes by; made when something first needs it.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::authority::{Asker, CertificateAuthority};
use super::error::CaError;
use super::hierarchy::Step;
use super::port::{MachineNames, PortCertificates};
use super::provision::Plan;
use super::seal::Sealing;
use super::time::{Reading, TrustedClock};
use crate::store::{CertificateRecord, Jobs};

/// The authority of this gateway.
#[derive(Debug)]
pub struct DeviceAuthority {
    ca: Arc<CertificateAuthority>,
    clock: TrustedClock,
    /// What it is to be like if there is none and something needs one.
    plan: Mutex<Option<Plan>>,
}

impl DeviceAuthority {
    /// What a state folder has. Reads files, and may ask systemd for keys.
    #[must_use]
    pub fn open(state_dir: &Path, records: Vec<CertificateRecord>, jobs: Jobs) -> Self {
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(Into::into);
        let sealing = Sealing::of_machine(state_dir, credentials);
        let ca = CertificateAuthority::new(state_dir, sealing, records, jobs);
        let clock = TrustedClock::open(state_dir, ca.newest_begin());
        Self {
            ca: Arc::new(ca),
            clock,
            plan: Mutex::default(),
        }
    }

    /// One that is not there and is never made, for tests of what stands above.
    #[must_use]
    pub fn none(state_dir: &Path) -> Self {
        let jobs = Jobs::none(state_dir);
        Self {
            ca: Arc::new(CertificateAuthority::new(
                state_dir,
                Sealing::none(),
                Vec::new(),
                jobs,
            )),
            clock: TrustedClock::unkept(),
            plan: Mutex::default(),
        }
    }

    /// Certificates, and what they are made with.
    #[must_use]
    pub fn ca(&self) -> &Arc<CertificateAuthority> {
        &self.ca
    }

    /// What time it is.
    #[must_use]
    pub fn read(&self) -> Reading {
        self.clock.read()
    }

    /// Says what the authority is to be like when it is made; `None` where nothing needs one.
    pub fn set_plan(&self, plan: Option<Plan>) {
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = plan;
    }

    /// Makes the authority if there is none and something needs one.
    pub fn ensure(&self) -> Result<(), CaError> {
        if self.ca.is_there() {
            return Ok(());
        }
        let plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(plan) = plan.clone() else {
            return Ok(());
        };
        let asker = Asker {
            name: "gateway".into(),
            peer: Box::default(),
        };
        match self.ca.init(&plan, self.read(), &asker) {
            // Somebody else has made it meanwhile.
            Err(CaError::Present { .. }) => Ok(()),
            made => made,
        }
    }

    /// Does what is due: see [`CertificateAuthority::maintain`].
    pub fn maintain(&self) -> Result<Vec<Step>, CaError> {
        self.ensure()?;
        self.ca.maintain(self.read())
    }

    /// Notes the last time seen: see [`TrustedClock::keep`].
    pub fn keep_time(&self, is_stop: bool) -> Result<(), CaError> {
        self.clock.keep(is_stop)
    }

    /// Sees to it that a port has a certificate that is good now: see [`CertificateAuthority::renew_port`].
    pub fn renew_port(
        &self,
        port: &mut PortCertificates,
        machine: &MachineNames,
    ) -> (bool, Result<(), CaError>) {
        let reading = self.read();
        // After a jump of the clock the issuer may have ended, and the next look at it may be minutes away.
        let made = self.ensure().and_then(|()| match self.ca.has_due(reading) {
            true => self.ca.maintain(reading).map(drop),
            false => Ok(()),
        });
        let (changed, renewed) = self.ca.renew_port(port, machine, reading);
        // Why there is no authority says more than that there is none.
        (changed, made.and(renewed))
    }
}
