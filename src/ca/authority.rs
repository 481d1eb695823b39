//! The authority of a gateway: its certificates in files, what it has issued in rows, one lock around each.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tokio::sync::watch;
use tracing::{info, warn};

use super::audit_kind;
use super::certificate::Purpose;
use super::chance::{Chance, SystemChance};
use super::error::CaError;
use super::files::{Disk, Files};
use super::hierarchy::{Hierarchy, Lifetimes, Step};
use super::issued::Issued;
use super::layout;
use super::provision::{self, NewKeys, Plan, Workshop};
use super::seal::Sealing;
use super::time::Reading;
use crate::config::ProtectionSettings;
use crate::store::{AuditRecord, CertificateRecord, Jobs, audit};

/// Steps that are done in one go: more than can be due at one time.
const STEPS_MAX: usize = 16;

/// Who asks for something, for the audit log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asker {
    /// Who.
    pub name: Box<str>,
    /// From where.
    pub peer: Box<str>,
}

/// The certificate authority of a gateway, whether it has been made yet or not.
///
/// Its functions wait for the disk and for the database, so they must not be called on a thread that runs tasks.
#[derive(Debug)]
pub struct CertificateAuthority {
    state_dir: PathBuf,
    pub(super) folder: PathBuf,
    files: Box<dyn Files>,
    chance: Box<dyn Chance>,
    sealing: Sealing,
    pub(super) lifetimes: Lifetimes,
    hierarchy: Mutex<Option<Hierarchy>>,
    /// Keys of the issuers, as they were when they were read last: whoever logs in must not wait for the disk.
    issuer_keys: RwLock<BTreeSet<Box<[u8]>>>,
    /// Held while the certificates of the authority change, so that keys are made without holding up who signs.
    changing: Mutex<()>,
    /// Held while the revocation lists are written, so that an older one does not take the place of a newer one.
    listing: Mutex<()>,
    /// Held while a certificate is issued because of another one, and while certificates are revoked.
    enrolling: Mutex<()>,
    pub(super) issued: Arc<Issued>,
    pub(super) jobs: Jobs,
    audit_rows_max: AtomicU32,
    changes: watch::Sender<u64>,
}

impl CertificateAuthority {
    /// The authority of a state folder, with what it has issued so far.
    #[must_use]
    pub fn new(
        state_dir: &Path,
        sealing: Sealing,
        records: Vec<CertificateRecord>,
        jobs: Jobs,
    ) -> Self {
        Self::with(
            state_dir,
            sealing,
            records,
            jobs,
            (Box::new(Disk), Box::new(SystemChance::default())),
            Lifetimes::default(),
        )
    }

    pub(super) fn with(
        state_dir: &Path,
        sealing: Sealing,
        records: Vec<CertificateRecord>,
        jobs: Jobs,
        (files, chance): (Box<dyn Files>, Box<dyn Chance>),
        lifetimes: Lifetimes,
    ) -> Self {
        Self {
            state_dir: state_dir.to_owned(),
            folder: state_dir.join(layout::FOLDER),
            files,
            chance,
            sealing,
            lifetimes,
            hierarchy: Mutex::default(),
            issuer_keys: RwLock::default(),
            changing: Mutex::default(),
            listing: Mutex::default(),
            enrolling: Mutex::default(),
            issued: Arc::new(Issued::new(records)),
            jobs,
            audit_rows_max: AtomicU32::new(ProtectionSettings::default().audit_rows_max),
            changes: watch::Sender::new(0),
        }
    }

    /// Keeps at most so many entries of the audit log from here on.
    pub fn set_audit_rows_max(&self, rows_max: u32) {
        self.audit_rows_max.store(rows_max, Ordering::Relaxed);
    }

    /// What was issued.
    #[must_use]
    pub fn issued(&self) -> &Arc<Issued> {
        &self.issued
    }

    /// Changes whenever something was revoked, or the trusted roots or the issuer are others: what depends on them has to be
    /// looked at again.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The file with all roots that others are to trust.
    #[must_use]
    pub fn trust_file(&self) -> PathBuf {
        self.folder.join(layout::BUNDLE)
    }

    /// The file with the revocation lists.
    #[must_use]
    pub fn crl_file(&self) -> PathBuf {
        self.folder.join(layout::CRL)
    }

    /// Whether a key is one of those with which this authority issues; `SubjectPublicKeyInfo` in DER.
    #[must_use]
    pub fn has_issuer_key(&self, key: &[u8]) -> bool {
        let keys = self.issuer_keys.read();
        keys.unwrap_or_else(PoisonError::into_inner).contains(key)
    }

    /// Whether one of the keys with which this authority issues is as wanted.
    pub fn any_issuer_key(&self, is_wanted: impl Fn(&[u8]) -> bool) -> bool {
        let keys = self.issuer_keys.read();
        let keys = keys.unwrap_or_else(PoisonError::into_inner);
        keys.iter().any(|key| is_wanted(key))
    }

    /// Whether there is an authority, usable or not.
    #[must_use]
    pub fn is_there(&self) -> bool {
        layout::has_state(&self.folder)
    }

    /// When the newest certificate of the authority begins; `None` where there is none.
    #[must_use]
    pub fn newest_begin(&self) -> Option<u64> {
        self.look(|hierarchy| Ok(hierarchy.newest_begin())).ok()?
    }

    /// Makes a root and an issuer, whole or not at all. With RSA this takes a while.
    pub fn init(&self, plan: &Plan, reading: Reading, asker: &Asker) -> Result<(), CaError> {
        let _changing = self.changing();
        if self.is_there() {
            return Err(CaError::Present {
                folder: self.folder.clone(),
            });
        }
        // Before keys are made, which may take minutes.
        layout::check_vacant(&self.folder)?;
        let keys = NewKeys::make(true, plan.algorithm, &*self.chance)?;
        let made = provision::provision(&self.state_dir, self.shop(), plan, &keys, reading);
        // Another one may have been in its place before.
        *self.hierarchy() = None;
        made?;
        info!(folder = %self.folder.display(), algorithm = %plan.algorithm, "a certificate authority was made");
        self.note(
            audit_kind::MADE,
            &plan.name,
            plan.algorithm.word(),
            reading,
            asker,
        );
        self.write_crl(reading)?;
        self.changed();
        Ok(())
    }

    /// Does what is due: renews the certificates of the authority, retires old ones, refreshes the revocation lists, and
    /// forgets what has ended long ago. To be called at the start and every few minutes.
    pub fn maintain(&self, reading: Reading) -> Result<Vec<Step>, CaError> {
        if !self.is_there() {
            return Ok(Vec::new());
        }
        let _changing = self.changing();
        let mut done = Vec::new();
        // Whatever keeps one thing from being done, the others are done.
        let stepped = self.take_steps(reading, &mut done);
        let published = self.look(|hierarchy| self.shop().publish(hierarchy, reading.now));
        if matches!(published, Ok(true)) {
            self.changed();
        }
        let listed = match !done.is_empty() || self.is_crl_due(reading) {
            true => self.write_crl(reading),
            false => Ok(()),
        };
        let pruned = self.prune(reading);
        stepped?;
        published?;
        listed?;
        pruned?;
        Ok(done)
    }

    fn take_steps(&self, reading: Reading, done: &mut Vec<Step>) -> Result<(), CaError> {
        while done.len() < STEPS_MAX {
            let due = self.look(|hierarchy| Ok(hierarchy.due(reading, &self.lifetimes)))?;
            let Some(step) = due else { break };
            self.perform(step, reading, &Asker::default())?;
            done.push(step);
        }
        Ok(())
    }

    /// Whether a certificate of the authority is to be made or retired now. One that cannot be read has nothing to do.
    pub(super) fn has_due(&self, reading: Reading) -> bool {
        let due = self.look(|hierarchy| Ok(hierarchy.due(reading, &self.lifetimes)));
        matches!(due, Ok(Some(_)))
    }

    /// Makes a new root now, beside the one that there is.
    pub(super) fn roll_over(&self, reading: Reading, asker: &Asker) -> Result<(), CaError> {
        let _changing = self.changing();
        self.perform(Step::NewRoot, reading, asker)?;
        self.look(|hierarchy| self.shop().publish(hierarchy, reading.now))?;
        self.write_crl(reading)?;
        self.changed();
        Ok(())
    }

    fn perform(&self, step: Step, reading: Reading, asker: &Asker) -> Result<(), CaError> {
        let algorithm = self.look(|hierarchy| Ok(hierarchy.state.algorithm))?;
        if step == Step::NewIssuing {
            // Keys are made for nothing without the one of the root.
            self.look(|hierarchy| self.shop().check_root_key(hierarchy, reading))?;
        }
        let keys = match step {
            Step::NewRoot | Step::NewIssuing => Some(NewKeys::make(
                step == Step::NewRoot,
                algorithm,
                &*self.chance,
            )?),
            Step::RetireIssuing { .. } | Step::RetireRoot { .. } => None,
        };
        self.change(|hierarchy| self.shop().perform(hierarchy, step, keys.as_ref(), reading))?;
        let what = match step {
            Step::NewRoot => "a new root was made, which is published beside the old one",
            Step::NewIssuing => "a new issuer was made",
            Step::RetireIssuing { .. } => "an issuer has ended and was removed",
            Step::RetireRoot { .. } => "a root has ended and was removed",
        };
        info!("certificate authority: {what}");
        self.note(audit_kind::CHANGED, "", what, reading, asker);
        self.changed();
        Ok(())
    }

    /// Notes something in the audit log that is no change of the database otherwise.
    pub(super) fn note(
        &self,
        kind: &str,
        subject: &str,
        detail: &str,
        reading: Reading,
        asker: &Asker,
    ) {
        let entry = self.entry(kind, subject, detail.to_owned(), reading, asker);
        let rows_max = self.audit_rows_max();
        let noted = self.jobs.run(move |transaction| {
            audit::append(transaction, std::slice::from_ref(&entry), rows_max)
        });
        if let Err(fault) = noted {
            warn!(hint = fault.hint(), "not noted in the audit log: {fault}");
        }
    }

    pub(super) fn entry(
        &self,
        kind: &str,
        subject: &str,
        detail: String,
        reading: Reading,
        asker: &Asker,
    ) -> AuditRecord {
        AuditRecord {
            at: reading.now,
            kind: kind.into(),
            actor: asker.name.clone(),
            subject: subject.into(),
            peer: asker.peer.clone(),
            detail: detail.into(),
            ..AuditRecord::default()
        }
    }

    pub(super) fn audit_rows_max(&self) -> u32 {
        self.audit_rows_max.load(Ordering::Relaxed)
    }

    pub(super) fn changed(&self) {
        self.changes
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    pub(super) fn chance(&self) -> &dyn Chance {
        &*self.chance
    }

    pub(super) fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    pub(super) fn files(&self) -> &dyn Files {
        &*self.files
    }

    pub(super) fn sealing(&self) -> &Sealing {
        &self.sealing
    }

    pub(super) fn shop(&self) -> Workshop<'_> {
        Workshop {
            folder: &self.folder,
            files: &*self.files,
            chance: &*self.chance,
            sealing: &self.sealing,
            lifetimes: &self.lifetimes,
        }
    }

    /// Looks at the certificates of the authority, which are read first if they have not been.
    pub(super) fn look<T>(
        &self,
        look: impl FnOnce(&Hierarchy) -> Result<T, CaError>,
    ) -> Result<T, CaError> {
        let mut hierarchy = self.hierarchy();
        let loaded = match hierarchy.take() {
            Some(loaded) => loaded,
            None => {
                let loaded = Hierarchy::load(&self.folder, &self.sealing)?;
                let keys = loaded.issuer_keys().map(Into::into).collect();
                *self
                    .issuer_keys
                    .write()
                    .unwrap_or_else(PoisonError::into_inner) = keys;
                loaded
            }
        };
        look(hierarchy.insert(loaded))
    }

    /// Changes the certificates of the authority on the disk and reads them again, whatever came of it.
    pub(super) fn change<T>(
        &self,
        change: impl FnOnce(&Hierarchy) -> Result<T, CaError>,
    ) -> Result<T, CaError> {
        let done = self.look(change);
        *self.hierarchy() = None;
        done
    }

    pub(super) fn hierarchy(&self) -> MutexGuard<'_, Option<Hierarchy>> {
        self.hierarchy
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn listing(&self) -> MutexGuard<'_, ()> {
        self.listing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enrolling(&self) -> MutexGuard<'_, ()> {
        self.enrolling
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Purpose {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}
