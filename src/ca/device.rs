//! The authority of a gateway with the time that it goes by; made when something first needs it.

use std::collections::{BTreeMap, BTreeSet};
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

/// Seconds between two attempts to do what is due because a port needs it.
const TRY_PAUSE: u64 = 300;

/// Begins what is said of a port.
const PORT: &str = "port ";

/// The authority of this gateway.
#[derive(Debug)]
pub struct DeviceAuthority {
    ca: Arc<CertificateAuthority>,
    clock: TrustedClock,
    /// What it is to be like if there is none and something needs one.
    plan: Mutex<Option<Plan>>,
    /// What went wrong when it was looked after last, and when each port asked for its certificate last.
    faults: Mutex<BTreeMap<String, String>>,
    /// When a port has found something due last, in seconds since 1970.
    tried: Mutex<Option<u64>>,
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
            faults: Mutex::default(),
            tried: Mutex::default(),
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
            faults: Mutex::default(),
            tried: Mutex::default(),
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
        // Not held while keys are made, which may take minutes.
        let plan = self
            .plan
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let Some(plan) = plan else {
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
        let done = self.ensure().and_then(|()| self.ca.maintain(self.read()));
        self.note("the authority", done.as_ref().err());
        done
    }

    /// What is wrong now that is not in the files of the authority, one sentence each.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let faults = faults.iter();
        faults
            .map(|(what, fault)| format!("{what}: {fault}"))
            .collect()
    }

    /// Forgets what was wrong with ports that are not among these.
    pub fn keep_ports(&self, ports: &BTreeSet<String>) {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        faults.retain(|what, _| {
            let port = what.strip_prefix(PORT);
            port.is_none_or(|port| ports.contains(port))
        });
    }

    fn note(&self, what: &str, fault: Option<&CaError>) {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        match fault {
            Some(fault) => {
                let text = format!("{fault}; {}", fault.hint());
                faults.insert(what.to_owned(), text);
            }
            None => {
                faults.remove(what);
            }
        }
    }

    /// Whether something is due that was not tried just now.
    fn is_urgent(&self, reading: Reading) -> bool {
        if !self.ca.has_due(reading) {
            return false;
        }
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = tried.is_none_or(|tried| tried.abs_diff(reading.now) >= TRY_PAUSE);
        if is_new {
            *tried = Some(reading.now);
        }
        is_new
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
        let made = self.ensure().and_then(|()| match self.is_urgent(reading) {
            true => self.ca.maintain(reading).map(drop),
            false => Ok(()),
        });
        let (changed, renewed) = self.ca.renew_port(port, machine, reading);
        // Why there is no authority says more than that there is none.
        let done = made.and(renewed);
        self.note(&format!("{PORT}{}", port.name()), done.as_ref().err());
        (changed, done)
    }
}
