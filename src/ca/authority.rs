//! The authority of a gateway: its certificates in files, what it has issued in rows, one lock around each.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tracing::{info, warn};

use super::certificate::{CaCertificate, Purpose};
use super::chance::{Chance, SystemChance};
use super::crl;
use super::error::CaError;
use super::files::{self, Audience, Disk, Files};
use super::hierarchy::{self, Hierarchy, Lifetimes, Step};
use super::issued::Issued;
use super::layout::{self, IssuerEntry, KeyPlace, Role, RootEntry, State};
use super::pem;
use super::provision::{self, NewKeys, Plan, Workshop};
use super::seal::Sealing;
use super::time::{BACKDATE, DAY, Reading};
use crate::config::ProtectionSettings;
use crate::store::{AuditRecord, CertificateRecord, Jobs, audit, certificates};

/// Time for which what has ended is kept in the table.
const KEPT_AFTER_END: u64 = 30 * DAY;

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
    /// Held while the certificates of the authority change, so that keys are made without holding up who signs.
    changing: Mutex<()>,
    pub(super) issued: Arc<Issued>,
    pub(super) jobs: Jobs,
    audit_rows_max: AtomicU32,
    changes: watch::Sender<u64>,
}

/// A chain and a key that were made elsewhere.
#[derive(Debug)]
pub(super) struct Imported<'a> {
    pub(super) chain: &'a [u8],
    pub(super) chain_file: &'a Path,
    pub(super) key: &'a [u8],
    pub(super) key_file: &'a Path,
    /// The name of the gateway, for an authority that is not there yet.
    pub(super) name: &'a str,
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
            changing: Mutex::default(),
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

    /// Whether there is an authority, usable or not.
    #[must_use]
    pub fn is_there(&self) -> bool {
        files::names(&self.folder).is_ok_and(|names| !names.is_empty())
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
        let keys = NewKeys::make(true, plan.algorithm, &*self.chance)?;
        provision::provision(&self.state_dir, self.shop(), plan, &keys, reading)?;
        info!(folder = %self.folder.display(), algorithm = %plan.algorithm, "a certificate authority was made");
        self.note("ca-made", &plan.name, plan.algorithm.word(), reading, asker);
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
        while done.len() < STEPS_MAX {
            let due = self.look(|hierarchy| Ok(hierarchy.due(reading, &self.lifetimes)))?;
            let Some(step) = due else { break };
            self.perform(step, reading, &Asker::default())?;
            done.push(step);
        }
        if self.look(|hierarchy| self.shop().publish(hierarchy, reading.now))? {
            self.changed();
        }
        if !done.is_empty() || self.is_crl_due(reading) {
            self.write_crl(reading)?;
        }
        self.prune(reading)?;
        Ok(done)
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
        self.note("ca-changed", "", what, reading, asker);
        self.changed();
        Ok(())
    }

    /// Takes an intermediate of another authority, which issues from here on.
    pub(super) fn import(
        &self,
        imported: &Imported<'_>,
        reading: Reading,
        asker: &Asker,
    ) -> Result<(), CaError> {
        let _changing = self.changing();
        let file = imported.chain_file;
        let mut chain = pem::certificates(imported.chain, file)?
            .into_iter()
            .map(|der| CaCertificate::parse(der, file))
            .collect::<Result<Vec<_>, _>>()?;
        let no_root = || CaError::NoRoot {
            file: file.to_owned(),
        };
        let algorithm = hierarchy::check_chain(&chain.iter().collect::<Vec<_>>(), file)?;
        let validity = hierarchy::common_validity(&chain.iter().collect::<Vec<_>>());
        let root = chain.pop().ok_or_else(no_root)?;
        let Some(issuer) = chain.first().filter(|_| root.is_root) else {
            return Err(no_root());
        };
        if !root.is_issued_by(&root, file)? {
            return Err(no_root());
        }
        if reading.is_plausible() && validity.not_after < reading.now {
            return Err(CaError::IssuerExpired {
                file: file.to_owned(),
                subject: issuer.subject.clone(),
            });
        }
        let key = issuer.read_key(imported.key, imported.key_file, file)?;
        let algorithm = algorithm.unwrap_or_default();
        if !self.is_there() {
            let plan = Plan {
                name: imported.name.to_owned(),
                algorithm,
                ..Plan::default()
            };
            provision::provision_with(
                &self.state_dir,
                self.shop(),
                &plan,
                reading,
                |shop, state| add_imported(shop, state, None, &root, &chain, &key, reading),
            )?;
        } else {
            self.change(|hierarchy| {
                let mut state = hierarchy.state.clone();
                state.algorithm = algorithm;
                let known = hierarchy
                    .roots
                    .iter()
                    .find(|known| known.certificate.der == root.der);
                let number = known.map(|known| known.entry.number);
                add_imported(
                    self.shop(),
                    &mut state,
                    number,
                    &root,
                    &chain,
                    &key,
                    reading,
                )?;
                self.shop().commit(&state)
            })?;
            self.look(|hierarchy| self.shop().publish(hierarchy, reading.now))?;
        }
        info!(
            subject = issuer.subject,
            "certificate authority: an imported issuer issues from here on"
        );
        self.note("ca-imported", &issuer.subject, "", reading, asker);
        self.write_crl(reading)?;
        self.changed();
        Ok(())
    }

    /// Removes the keys of all roots from this device.
    pub(super) fn remove_root_keys(&self, reading: Reading, asker: &Asker) -> Result<(), CaError> {
        let _changing = self.changing();
        self.change(|hierarchy| {
            let mut state = hierarchy.state.clone();
            for root in &mut state.roots {
                root.key = KeyPlace::Absent;
            }
            self.shop().commit(&state)
        })?;
        self.look(|hierarchy| self.shop().publish(hierarchy, reading.now))?;
        self.note("ca-root-key", "", "removed", reading, asker);
        Ok(())
    }

    /// Brings the key of a root back to this device.
    pub(super) fn restore_root_key(
        &self,
        key: &[u8],
        file: &Path,
        reading: Reading,
        asker: &Asker,
    ) -> Result<(), CaError> {
        let _changing = self.changing();
        self.change(|hierarchy| {
            let mut state = hierarchy.state.clone();
            let mut last = None;
            for root in hierarchy.roots.iter().rev() {
                let number = root.entry.number;
                let certificate_file = layout::certificate_file(&self.folder, Role::Root, number);
                match root.certificate.read_key(key, file, &certificate_file) {
                    Ok(key) => {
                        let place = self.shop().put_key(Role::Root, number, &key)?;
                        for entry in state
                            .roots
                            .iter_mut()
                            .filter(|entry| entry.number == number)
                        {
                            entry.key = place;
                        }
                        return self.shop().commit(&state);
                    }
                    Err(fault) => last = last.or(Some(fault)),
                }
            }
            Err(last.unwrap_or(CaError::RootKeyAbsent))
        })?;
        self.note("ca-root-key", "", "restored", reading, asker);
        Ok(())
    }

    /// Seals the keys that are in plain files; says how many.
    pub(super) fn seal(&self, reading: Reading, asker: &Asker) -> Result<u32, CaError> {
        let _changing = self.changing();
        let sealed = self.change(|hierarchy| {
            let mut state = hierarchy.state.clone();
            let roots = state
                .roots
                .iter_mut()
                .map(|root| (Role::Root, root.number, &mut root.key));
            let issuers = state
                .issuers
                .iter_mut()
                .map(|issuer| (Role::Issuing, issuer.number, &mut issuer.key));
            let mut sealed = 0;
            for (role, number, place) in roots.chain(issuers) {
                if *place == KeyPlace::File {
                    self.seal_one(role, number)?;
                    *place = KeyPlace::Sealed;
                    sealed += 1;
                }
            }
            self.shop().commit(&state)?;
            Ok(sealed)
        })?;
        self.look(|hierarchy| self.shop().publish(hierarchy, reading.now))?;
        self.note("ca-sealed", "", &format!("{sealed} keys"), reading, asker);
        Ok(sealed)
    }

    fn seal_one(&self, role: Role, number: u32) -> Result<(), CaError> {
        let what = (role, number, KeyPlace::File);
        let (text, _) = hierarchy::read_key_text(&self.folder, &self.sealing, what)?;
        let file = layout::sealed_file(&self.folder, role, number);
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let sealed = self
            .sealing
            .seal(&name, &text)
            .ok_or_else(|| CaError::Sealed {
                file: file.clone(),
                detail: "systemd-creds cannot seal anything here".to_owned(),
            })?;
        files::replace(&*self.files, &file, &sealed, Audience::Private)
    }

    /// Forgets what has ended long ago. Nothing is forgotten while the clock may be wrong.
    fn prune(&self, reading: Reading) -> Result<(), CaError> {
        let before = reading.now.saturating_sub(KEPT_AFTER_END);
        let has_old = self
            .issued
            .all()
            .iter()
            .any(|record| record.not_after < before);
        if !reading.is_settled() || !has_old {
            return Ok(());
        }
        // A revocation of which no row knows is kept in the list for ever: it has to be gone from there first.
        if self.issued.has_old_revocations(before) {
            self.write_crl(reading)?;
        }
        self.jobs
            .run(move |transaction| certificates::prune(transaction, before))?;
        self.issued.prune(before);
        Ok(())
    }

    fn is_crl_due(&self, reading: Reading) -> bool {
        let text = files::read_if_there(&self.crl_file());
        let lists = text
            .ok()
            .flatten()
            .map(|text| crl::read_all(&text))
            .unwrap_or_default();
        let current = self.look(|hierarchy| {
            let alive = hierarchy
                .issuers
                .iter()
                .filter(|issuer| issuer.certificate.validity.not_after >= reading.now);
            Ok(alive
                .map(|issuer| issuer.certificate.subject_der.clone())
                .collect::<Vec<_>>())
        });
        let current = current.unwrap_or_default();
        let is_good = |issuer: &Vec<u8>| {
            lists.iter().any(|list| {
                list.issuer_der == *issuer && list.next_update > reading.now + crl::LEAD
            })
        };
        !current.iter().all(is_good)
    }

    /// Writes the revocation lists of all issuers that live.
    pub(super) fn write_crl(&self, reading: Reading) -> Result<(), CaError> {
        let before = files::read_if_there(&self.crl_file())?;
        let before = before.map(|text| crl::read_all(&text)).unwrap_or_default();
        let mut text = String::new();
        self.look(|hierarchy| {
            for issuer in &hierarchy.issuers {
                let certificate = &issuer.certificate;
                if certificate.validity.not_after < reading.now {
                    continue;
                }
                let old = before
                    .iter()
                    .find(|list| list.issuer_der == certificate.subject_der);
                let key = match issuer.key(&self.sealing, &self.folder) {
                    Ok(key) => key,
                    Err(fault) => {
                        warn!(
                            hint = fault.hint(),
                            "a revocation list cannot be made: {fault}"
                        );
                        if let Some(old) = old {
                            text.push_str(&pem::encode(pem::CRL, &old.der));
                        }
                        continue;
                    }
                };
                let mut revocations = self
                    .issued
                    .revocations(&certificate.subject_der, reading.now);
                for (serial, revocation) in old.iter().flat_map(|old| &old.revocations) {
                    // Rows that were lost with a database are not forgotten here.
                    if self.issued.find(&certificate.subject_der, serial).is_none() {
                        revocations.entry(serial.clone()).or_insert(*revocation);
                    }
                }
                let number = old.map_or(0, |old| old.number + 1).max(reading.now);
                let end = if reading.is_plausible() {
                    reading.now.saturating_add(crl::LIFETIME)
                } else {
                    certificate.validity.not_after
                };
                let begin = reading.now.saturating_sub(BACKDATE);
                let list = crl::make(certificate, &key, number, begin, end, &revocations)?;
                text.push_str(&pem::encode(pem::CRL, &list));
            }
            Ok(())
        })?;
        files::replace(
            &*self.files,
            &self.crl_file(),
            text.as_bytes(),
            Audience::Public,
        )?;
        self.shop().sync(&self.folder)
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

    pub(super) fn sealing(&self) -> &Sealing {
        &self.sealing
    }

    fn shop(&self) -> Workshop<'_> {
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
            None => Hierarchy::load(&self.folder, &self.sealing)?,
        };
        look(hierarchy.insert(loaded))
    }

    /// Changes the certificates of the authority on the disk and reads them again, whatever came of it.
    fn change<T>(
        &self,
        change: impl FnOnce(&Hierarchy) -> Result<T, CaError>,
    ) -> Result<T, CaError> {
        let done = self.look(change);
        *self.hierarchy() = None;
        done
    }

    fn hierarchy(&self) -> MutexGuard<'_, Option<Hierarchy>> {
        self.hierarchy
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An imported issuer below its root.
fn add_imported(
    shop: Workshop<'_>,
    state: &mut State,
    root_number: Option<u32>,
    root: &CaCertificate,
    chain: &[CaCertificate],
    key: &super::key::SecretKey,
    reading: Reading,
) -> Result<(), CaError> {
    let root_number = match root_number {
        Some(number) => number,
        None => {
            let number = state.take_number();
            shop.put_certificates(Role::Root, number, [root])?;
            state.roots.push(RootEntry {
                number,
                key: KeyPlace::Absent,
            });
            number
        }
    };
    let number = state.take_number();
    shop.put_certificates(Role::Issuing, number, chain)?;
    let place = shop.put_key(Role::Issuing, number, key)?;
    state.issuers.push(IssuerEntry {
        number,
        root: root_number,
        since: reading.now,
        key: place,
        provisional: false,
        imported: true,
    });
    Ok(())
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
