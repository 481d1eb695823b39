//! The certificates of the authority: read, checked, and what is to be done about them next.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::certificate::{CaCertificate, Purpose, Validity};
use super::error::CaError;
use super::key::{KeyAlgorithm, SecretKey};
use super::layout::{self, IssuerEntry, KeyPlace, Role, RootEntry, State};
use super::name::DnsName;
use super::seal::Sealing;
use super::time::{DAY, Reading};
use super::{files, pem, permitted};

const YEAR: u64 = 365 * DAY;

/// How long certificates are valid, and how long before their end others take their place; in seconds.
///
/// Everything that is issued lives its whole life: an issuer is followed early enough that what it issues last does not end
/// with it, and so is a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// Of a root.
    pub root: u64,
    /// Before the end of a root the next one is published.
    pub root_lead: u64,
    /// So long both are published before the new one issues: clients get the new root meanwhile.
    pub overlap: u64,
    /// Of an issuer.
    pub issuing: u64,
    /// Before the end of an issuer the next one takes over.
    pub issuing_lead: u64,
    /// Of a client's certificate, unless something else is asked for.
    pub client: u64,
    /// The longest that a client's or server's certificate may be asked for.
    pub leaf_max: u64,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            root: 20 * YEAR,
            root_lead: 6 * YEAR,
            overlap: YEAR,
            issuing: 5 * YEAR,
            issuing_lead: 2 * YEAR,
            client: YEAR,
            leaf_max: 5 * YEAR,
        }
    }
}

/// What is to be done about the certificates of the authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make a root with an issuer, and publish it beside the one that there is.
    NewRoot,
    /// Make an issuer below the newest root.
    NewIssuing,
    /// Forget an issuer: everything that it has issued has ended.
    RetireIssuing {
        /// Its number.
        number: u32,
    },
    /// Forget a root: everything below it has ended.
    RetireRoot {
        /// Its number.
        number: u32,
    },
}

/// A root.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) entry: RootEntry,
    pub(super) certificate: CaCertificate,
    /// Why its key could not be used, years from now, when it is needed.
    pub(super) problem: Option<CaError>,
}

/// An issuer.
#[derive(Debug)]
pub(super) struct IssuingCa {
    pub(super) entry: IssuerEntry,
    /// Its certificate and those between it and its root.
    pub(super) chain: Vec<CaCertificate>,
    pub(super) certificate: CaCertificate,
    /// Its key, or why there is none.
    key: Result<SecretKey, CaError>,
    file: PathBuf,
    /// Until when its whole chain is valid, and from when on.
    pub(super) validity: Validity,
}

/// Everything that there is.
#[derive(Debug)]
pub(super) struct Hierarchy {
    pub(super) state: State,
    pub(super) roots: Vec<Root>,
    pub(super) issuers: Vec<IssuingCa>,
}

impl IssuingCa {
    /// The key, to sign something with it.
    pub(super) fn key(&self, sealing: &Sealing, folder: &Path) -> Result<KeyRef<'_>, CaError> {
        match &self.key {
            Ok(key) => Ok(KeyRef::Kept(key)),
            // It may be there now; if not this says why.
            Err(_) => {
                let key = read_key(
                    folder,
                    sealing,
                    (Role::Issuing, self.entry.number, self.entry.key),
                    &self.certificate,
                )?;
                Ok(KeyRef::Read(Box::new(key)))
            }
        }
    }

    /// What keeps the issuer from issuing.
    pub(super) fn problem(&self) -> Option<&CaError> {
        self.key.as_ref().err()
    }

    /// Refuses when the issuer has ended.
    pub(super) fn check_alive(&self, now: u64) -> Result<(), CaError> {
        if now <= self.validity.not_after {
            return Ok(());
        }
        Err(CaError::IssuerExpired {
            file: self.file.clone(),
            subject: self.certificate.subject.clone(),
        })
    }
}

impl IssuingCa {
    /// Its certificate, those between it and its root, and the root.
    fn path<'a>(&'a self, root: Option<&'a Root>) -> impl Iterator<Item = &'a CaCertificate> {
        let root = root.map(|root| &root.certificate);
        self.chain.iter().chain(root)
    }
}

/// A key that is kept, or that was read just now.
pub(super) enum KeyRef<'a> {
    Kept(&'a SecretKey),
    Read(Box<SecretKey>),
}

impl std::ops::Deref for KeyRef<'_> {
    type Target = SecretKey;

    fn deref(&self) -> &SecretKey {
        match self {
            Self::Kept(key) => key,
            Self::Read(key) => key,
        }
    }
}

impl Hierarchy {
    /// Reads and checks everything in a folder. A key that cannot be read keeps only its own certificate from signing.
    pub(super) fn load(folder: &Path, sealing: &Sealing) -> Result<Self, CaError> {
        let state = State::load(folder)?;
        let mut roots = Vec::new();
        for entry in &state.roots {
            let file = layout::certificate_file(folder, Role::Root, entry.number);
            let mut chain = pem::certificates(&files::read(&file)?, &file)?;
            chain.truncate(1);
            let der = chain
                .pop()
                .ok_or_else(|| CaError::NoCertificate { file: file.clone() })?;
            let certificate = CaCertificate::parse(der, &file)?;
            if !certificate.is_root || !certificate.is_issued_by(&certificate, &file)? {
                return Err(CaError::NoRoot { file });
            }
            let problem = match entry.key {
                KeyPlace::File => {
                    let what = (Role::Root, entry.number, entry.key);
                    read_key(folder, sealing, what, &certificate).err()
                }
                // To open it a program of the system is run, and whoever runs here may not be allowed to.
                KeyPlace::Sealed => {
                    files::read(&layout::sealed_file(folder, Role::Root, entry.number)).err()
                }
                KeyPlace::Absent => None,
            };
            roots.push(Root {
                entry: entry.clone(),
                certificate,
                problem,
            });
        }
        let mut issuers = Vec::new();
        for entry in &state.issuers {
            let root = roots.iter().find(|root| root.entry.number == entry.root);
            let Some(root) = root else { continue };
            issuers.push(load_issuer(folder, sealing, entry, root)?);
        }
        Ok(Self {
            state,
            roots,
            issuers,
        })
    }

    /// The issuer that issues.
    pub(super) fn current(&self, now: u64) -> Result<&IssuingCa, CaError> {
        let begun = self.issuers.iter().filter(|issuer| {
            issuer.entry.since <= now && issuer.certificate.validity.not_before <= now
        });
        let alive = begun
            .clone()
            .rfind(|issuer| now <= issuer.validity.not_after);
        let found = alive
            .or_else(|| begun.clone().next_back())
            .or_else(|| self.issuers.first());
        // There is always one: a state without issuers is refused.
        found.ok_or(CaError::RootKeyAbsent)
    }

    /// The root with a number.
    pub(super) fn root(&self, number: u32) -> Option<&Root> {
        self.roots.iter().find(|root| root.entry.number == number)
    }

    /// Whether a certificate of an issuer may have a DNS name.
    pub(super) fn permits_dns(&self, issuer: &IssuingCa, name: &DnsName) -> bool {
        let mut path = issuer.path(self.root(issuer.entry.root));
        path.all(|certificate| certificate.limits.permits_dns(name))
    }

    /// Whether a certificate of an issuer may have an address.
    pub(super) fn permits_ip(&self, issuer: &IssuingCa, ip: IpAddr) -> bool {
        let mut path = issuer.path(self.root(issuer.entry.root));
        path.all(|certificate| certificate.limits.permits_ip(ip))
    }

    /// Whether others will take a certificate that was just made.
    pub(super) fn verify(
        &self,
        issuer: &IssuingCa,
        der: &[u8],
        purpose: Purpose,
        at: u64,
    ) -> Result<(), CaError> {
        let root = self.root(issuer.entry.root).ok_or(CaError::RootKeyAbsent)?;
        let issuers: Vec<_> = issuer.chain.iter().map(|link| link.der.clone()).collect();
        permitted::verify(der, &issuers, &root.certificate.der, purpose, at)
    }

    /// The newest root of those whose time has come.
    fn newest_root(&self, now: u64) -> Option<&Root> {
        let begun = |root: &&Root| root.certificate.validity.not_before <= now;
        self.roots.iter().rfind(begun).or(self.roots.last())
    }

    /// The newest issuer of those whose time has come.
    fn newest_issuer(&self, now: u64) -> Option<&IssuingCa> {
        let begun = |issuer: &&IssuingCa| issuer.certificate.validity.not_before <= now;
        self.issuers.iter().rfind(begun).or(self.issuers.last())
    }

    /// The public keys of all issuers.
    pub(super) fn issuer_keys(&self) -> impl Iterator<Item = &[u8]> {
        self.issuers
            .iter()
            .map(|issuer| issuer.certificate.public_key_der.as_slice())
    }

    /// When the newest certificate of the authority begins.
    pub(super) fn newest_begin(&self) -> Option<u64> {
        let roots = self
            .roots
            .iter()
            .map(|root| root.certificate.validity.not_before);
        let issuers = self
            .issuers
            .iter()
            .map(|issuer| issuer.certificate.validity.not_before);
        roots.chain(issuers).max()
    }

    /// What is to be done next. While the clock is behind it is at least as late as the last time seen, so what is due by that
    /// is due; what is provisional waits for the time.
    pub(super) fn due(&self, reading: Reading, lifetimes: &Lifetimes) -> Option<Step> {
        let is_provisional = self
            .newest_issuer(reading.now)
            .is_some_and(|issuer| issuer.entry.provisional);
        if !reading.is_plausible() && is_provisional {
            return None;
        }
        let step = self
            .renewal_at(lifetimes, reading.now)
            .and_then(|(step, at)| (at <= reading.now).then_some(step));
        step.or_else(|| self.retirement(reading))
    }

    /// When a root or an issuer is to be made next, whether or not that can be done.
    pub(super) fn renewal_at(&self, lifetimes: &Lifetimes, now: u64) -> Option<(Step, u64)> {
        let (root, issuer) = (self.newest_root(now)?, self.newest_issuer(now)?);
        // What was brought from elsewhere is renewed there, and without its key a root makes nothing.
        if issuer.entry.imported || root.entry.key == KeyPlace::Absent {
            return None;
        }
        let root_at = root
            .certificate
            .validity
            .not_after
            .saturating_sub(lifetimes.root_lead);
        let issuing_at = if issuer.entry.provisional {
            0
        } else {
            issuer
                .validity
                .not_after
                .saturating_sub(lifetimes.issuing_lead)
        };
        let current = self.current(now).ok()?;
        // After years on a shelf the clients still know the old root: what they are shown next is below it.
        let is_cut_short = current.entry.number == issuer.entry.number
            && issuer.validity.not_after < now.saturating_add(lifetimes.client)
            && root.certificate.validity.not_after >= now.saturating_add(lifetimes.client);
        Some(
            if !is_cut_short && (root_at <= issuing_at || root_at <= now) {
                (Step::NewRoot, root_at)
            } else {
                (Step::NewIssuing, issuing_at)
            },
        )
    }

    fn retirement(&self, reading: Reading) -> Option<Step> {
        // A clock that was set wrongly for a moment must not end anything for good.
        if !reading.is_settled() {
            return None;
        }
        let current = self.current(reading.now).ok()?.entry.number;
        let is_over = |validity: &Validity| {
            validity.not_after < reading.now || validity.not_before > reading.now + DAY
        };
        let issuer = self.issuers.iter().find(|issuer| {
            let has_begun = issuer.entry.since <= reading.now;
            issuer.entry.number != current
                && is_over(&issuer.certificate.validity)
                && (has_begun || issuer.certificate.validity.not_before > reading.now + DAY)
        });
        if let Some(issuer) = issuer {
            let number = issuer.entry.number;
            return Some(Step::RetireIssuing { number });
        }
        let unused = self.roots.iter().find(|root| {
            let number = root.entry.number;
            self.issuers
                .iter()
                .all(|issuer| issuer.entry.root != number)
        });
        unused.map(|root| Step::RetireRoot {
            number: root.entry.number,
        })
    }

    /// What others trust: the root of what is issued now, then the others.
    pub(super) fn trusted(&self, now: u64) -> Vec<&Root> {
        let first = self.current(now).map_or(0, |issuer| issuer.entry.root);
        let mut roots: Vec<&Root> = self.roots.iter().collect();
        roots.sort_by_key(|root| (root.entry.number != first, root.entry.number));
        roots
    }

    /// From when on an issuer below a new root issues.
    pub(super) fn begin_of_next(&self, now: u64, lifetimes: &Lifetimes) -> u64 {
        let Ok(current) = self.current(now) else {
            return now;
        };
        let latest = current.validity.not_after.saturating_sub(lifetimes.client);
        now.saturating_add(lifetimes.overlap).min(latest).max(now)
    }
}

fn load_issuer(
    folder: &Path,
    sealing: &Sealing,
    entry: &IssuerEntry,
    root: &Root,
) -> Result<IssuingCa, CaError> {
    let file = layout::certificate_file(folder, Role::Issuing, entry.number);
    let chain = pem::certificates(&files::read(&file)?, &file)?;
    let chain = chain
        .into_iter()
        .map(|der| CaCertificate::parse(der, &file))
        .collect::<Result<Vec<_>, _>>()?;
    let whole: Vec<&CaCertificate> = chain.iter().chain([&root.certificate]).collect();
    check_chain(&whole, &file)?;
    let Some(certificate) = chain.first().cloned() else {
        return Err(CaError::NoCertificate { file });
    };
    let key = read_key(
        folder,
        sealing,
        (Role::Issuing, entry.number, entry.key),
        &certificate,
    );
    Ok(IssuingCa {
        entry: entry.clone(),
        validity: common_validity(&whole),
        certificate,
        chain,
        key,
        file,
    })
}

/// Checks that each certificate was issued by the next one, and that all keys are of one kind.
pub(super) fn check_chain(
    chain: &[&CaCertificate],
    file: &Path,
) -> Result<Option<KeyAlgorithm>, CaError> {
    for pair in chain.windows(2) {
        let [issued, issuer] = pair else { continue };
        // A root is issued by itself, and belongs at the end only.
        if issued.is_root || !issued.is_issued_by(issuer, file)? {
            return Err(CaError::BrokenChain {
                file: file.to_owned(),
                subject: issued.subject.clone(),
            });
        }
    }
    let mut kinds = Vec::new();
    for certificate in chain {
        let kind = certificate.kind.ok_or_else(|| CaError::KeyUnsupported {
            file: file.to_owned(),
        })?;
        kinds.push(kind.family().to_owned());
    }
    if kinds.windows(2).any(|pair| pair.first() != pair.last()) {
        return Err(CaError::MixedAlgorithms {
            file: file.to_owned(),
            kinds,
        });
    }
    Ok(chain.first().and_then(|first| first.algorithm))
}

/// When all certificates of a chain are valid.
pub(super) fn common_validity(chain: &[&CaCertificate]) -> Validity {
    let begins = chain
        .iter()
        .map(|certificate| certificate.validity.not_before);
    let ends = chain
        .iter()
        .map(|certificate| certificate.validity.not_after);
    Validity {
        not_before: begins.max().unwrap_or(0),
        not_after: ends.min().unwrap_or(0),
    }
}

/// The text of a key, wherever it is.
pub(super) fn read_key_text(
    folder: &Path,
    sealing: &Sealing,
    (role, number, place): (Role, u32, KeyPlace),
) -> Result<(Zeroizing<Vec<u8>>, PathBuf), CaError> {
    match place {
        KeyPlace::File => {
            let file = layout::key_file(folder, role, number);
            Ok((files::read(&file)?, file))
        }
        KeyPlace::Sealed => {
            let file = layout::sealed_file(folder, role, number);
            Ok((sealing.open(&file)?, file))
        }
        KeyPlace::Absent => Err(CaError::RootKeyAbsent),
    }
}

/// The keys of all roots of a state folder that are on this device, as PEM text; read from the files alone.
pub fn export_root_key(state_dir: &Path, sealing: &Sealing) -> Result<Zeroizing<String>, CaError> {
    let folder = state_dir.join(layout::FOLDER);
    let hierarchy = Hierarchy::load(&folder, sealing)?;
    let here = hierarchy
        .roots
        .iter()
        .filter(|root| root.entry.key != KeyPlace::Absent);
    let mut keys = Vec::new();
    for root in here {
        let what = (Role::Root, root.entry.number, root.entry.key);
        keys.push(read_key(&folder, sealing, what, &root.certificate)?.pem());
    }
    if keys.is_empty() {
        return Err(CaError::RootKeyAbsent);
    }
    // With its room from the start: a text that grows leaves copies of keys behind.
    let length = keys.iter().map(|key| key.len()).sum();
    let mut text = Zeroizing::new(String::with_capacity(length));
    for key in &keys {
        text.push_str(key);
    }
    Ok(text)
}

/// A key, wherever it is, checked against its certificate.
pub(super) fn read_key(
    folder: &Path,
    sealing: &Sealing,
    what: (Role, u32, KeyPlace),
    certificate: &CaCertificate,
) -> Result<SecretKey, CaError> {
    let (text, file) = read_key_text(folder, sealing, what)?;
    let (role, number, _) = what;
    let certificate_file = layout::certificate_file(folder, role, number);
    certificate.read_key(&text, &file, &certificate_file)
}
