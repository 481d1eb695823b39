//! What there is to know about the authority, for people and programs.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::authority::CertificateAuthority;
use super::certificate::{NameConstraints, Validity};
use super::error::CaError;
use super::hierarchy::{Hierarchy, Step};
use super::key::KeyAlgorithm;
use super::layout::{KeyPlace, Role};
use super::name::Attributes;
use super::port::PortCertificateReport;
use super::time::{ClockTrust, DAY, Reading};
use super::{crl, pem};
use crate::store::CertificateRecord;

/// Days before the end of a certificate at which its end is announced.
pub const NOTICE_DAYS: [u64; 4] = [30, 14, 7, 1];

/// How the authority fares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaStatus {
    /// The name of the gateway when the authority was made.
    pub name: String,
    /// Tells this authority from those of other gateways.
    pub id: String,
    /// The kind of its keys.
    pub algorithm: KeyAlgorithm,
    /// What it may issue.
    pub constraints: NameConstraints,
    /// Where its files are.
    pub folder: PathBuf,
    /// The file that others are to trust.
    pub trust_file: PathBuf,
    /// The file with the revocation lists.
    pub crl_file: PathBuf,
    /// Its certificates: the roots, then the issuers.
    pub certificates: Vec<AuthorityCertificate>,
    /// Those of the ports.
    #[serde(default)]
    pub ports: Vec<PortCertificateReport>,
    /// What happens next by itself, and when, in seconds since 1970.
    pub next: Option<NextStep>,
    /// Certificates that were issued and have not ended long ago.
    pub issued: u64,
    /// How many of them are revoked.
    pub revoked: u64,
    /// Issued before the time was known, and not replaced yet.
    pub provisional: u64,
    /// What time it is, in seconds since 1970.
    pub now: u64,
    /// How far that is believed.
    pub clock: ClockTrust,
    /// What is wrong, one sentence each.
    pub problems: Vec<String>,
}

/// A certificate of the authority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorityCertificate {
    /// What it is.
    pub role: Role,
    /// Its number.
    pub number: u32,
    /// Its subject.
    pub subject: String,
    /// When it is valid.
    #[serde(flatten)]
    pub validity: Validity,
    /// Whole days until its end; negative when it has ended.
    pub days_left: i64,
    /// Where its key is.
    pub key: KeyPlace,
    /// It issues now, or is the root of what does.
    pub is_current: bool,
    /// From when on it issues, if that is to come.
    pub since: Option<u64>,
    /// Made before the time was known.
    pub is_provisional: bool,
    /// Brought from elsewhere.
    pub is_imported: bool,
    /// SHA-256 of the certificate, for people to compare.
    pub fingerprint: String,
}

/// What happens next by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextStep {
    /// In a sentence.
    pub what: String,
    /// When, in seconds since 1970.
    pub at: u64,
}

/// A certificate that was issued.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateReport {
    /// The common name of its subject.
    pub name: String,
    /// Its serial number in hexadecimal digits.
    pub serial: String,
    /// `client` or `server`.
    pub purpose: String,
    /// How it came to be issued.
    pub origin: String,
    /// What rules may ask for.
    pub attributes: Attributes,
    /// From when on it is valid, in seconds since 1970.
    pub not_before: u64,
    /// Until when it is valid.
    pub not_after: u64,
    /// When it was issued.
    pub issued_at: u64,
    /// Whole days until its end; negative when it has ended.
    pub days_left: i64,
    /// Issued before the time was known.
    pub provisional: bool,
    /// When it was revoked.
    pub revoked_at: Option<u64>,
    /// Why it was revoked.
    pub reason: Option<String>,
}

impl CertificateReport {
    pub(super) fn new(record: &CertificateRecord, now: u64) -> Self {
        let reason = crl::RevocationReason::of_code(record.reason);
        Self {
            name: record.name.to_string(),
            serial: record.serial.to_string(),
            purpose: record.purpose.to_string(),
            origin: record.origin.to_string(),
            attributes: record.attributes.clone(),
            not_before: record.not_before,
            not_after: record.not_after,
            issued_at: record.issued_at,
            days_left: days_left(record.not_after, now),
            provisional: record.provisional,
            revoked_at: record.revoked_at,
            reason: record.revoked_at.map(|_| reason.word().to_owned()),
        }
    }
}

impl CertificateAuthority {
    /// How the authority fares.
    pub fn status(&self, reading: Reading) -> Result<CaStatus, CaError> {
        let issued = self.issued.all();
        let ports = self.ports(reading.now);
        let count = |is: fn(&CertificateRecord) -> bool| {
            u64::try_from(issued.iter().filter(|record| is(record)).count()).unwrap_or(u64::MAX)
        };
        self.look(|hierarchy| {
            let next = hierarchy.renewal_at(&self.lifetimes, reading.now);
            Ok(CaStatus {
                name: hierarchy.state.name.clone(),
                id: hierarchy.state.id.clone(),
                algorithm: hierarchy.state.algorithm,
                constraints: hierarchy.state.constraints.clone(),
                folder: self.folder.clone(),
                trust_file: self.trust_file(),
                crl_file: self.crl_file(),
                certificates: certificates(hierarchy, reading.now),
                ports,
                next: next.map(|(step, at)| NextStep {
                    what: sentence(step).to_owned(),
                    at,
                }),
                issued: count(|_| true),
                revoked: count(|record| record.revoked_at.is_some()),
                provisional: count(|record| record.provisional && record.revoked_at.is_none()),
                now: reading.now,
                clock: reading.trust,
                problems: problems(hierarchy, reading),
            })
        })
    }

    /// All roots that others are to trust, as text: the one of what is issued now first.
    pub fn trust_pem(&self, reading: Reading) -> Result<String, CaError> {
        self.look(|hierarchy| {
            let trusted = hierarchy.trusted(reading.now);
            Ok(pem::encode_chain(
                trusted.iter().map(|root| root.certificate.der.as_ref()),
            ))
        })
    }

    /// The same in DER, one by one.
    pub fn trusted_roots(&self, reading: Reading) -> Result<Vec<Vec<u8>>, CaError> {
        self.look(|hierarchy| {
            let trusted = hierarchy.trusted(reading.now);
            Ok(trusted
                .iter()
                .map(|root| root.certificate.der.to_vec())
                .collect())
        })
    }

    /// The kind of the keys of the authority, which servers have to have as well.
    pub fn algorithm(&self) -> Result<KeyAlgorithm, CaError> {
        self.look(|hierarchy| Ok(hierarchy.state.algorithm))
    }
}

fn certificates(hierarchy: &Hierarchy, now: u64) -> Vec<AuthorityCertificate> {
    let current = hierarchy.current(now).ok();
    let fingerprint = |der: &[u8]| {
        let hash = ring::digest::digest(&ring::digest::SHA256, der);
        data_encoding::HEXLOWER.encode(hash.as_ref())
    };
    let roots = hierarchy.roots.iter().map(|root| AuthorityCertificate {
        role: Role::Root,
        number: root.entry.number,
        subject: root.certificate.subject.clone(),
        validity: root.certificate.validity,
        days_left: days_left(root.certificate.validity.not_after, now),
        key: root.entry.key,
        is_current: current.is_some_and(|issuer| issuer.entry.root == root.entry.number),
        since: begin_of(hierarchy, root.entry.number).filter(|since| *since > now),
        is_provisional: false,
        is_imported: hierarchy
            .issuers
            .iter()
            .any(|issuer| issuer.entry.root == root.entry.number && issuer.entry.imported),
        fingerprint: fingerprint(&root.certificate.der),
    });
    let issuers = hierarchy.issuers.iter().map(|issuer| AuthorityCertificate {
        role: Role::Issuing,
        number: issuer.entry.number,
        subject: issuer.certificate.subject.clone(),
        validity: issuer.certificate.validity,
        days_left: days_left(issuer.certificate.validity.not_after, now),
        key: issuer.entry.key,
        is_current: current.is_some_and(|current| current.entry.number == issuer.entry.number),
        since: (issuer.entry.since > now).then_some(issuer.entry.since),
        is_provisional: issuer.entry.provisional,
        is_imported: issuer.entry.imported,
        fingerprint: fingerprint(&issuer.certificate.der),
    });
    roots.chain(issuers).collect()
}

/// From when on something is issued below a root.
fn begin_of(hierarchy: &Hierarchy, root: u32) -> Option<u64> {
    let below = hierarchy
        .issuers
        .iter()
        .filter(|issuer| issuer.entry.root == root);
    below.map(|issuer| issuer.entry.since).min()
}

fn problems(hierarchy: &Hierarchy, reading: Reading) -> Vec<String> {
    let mut problems = Vec::new();
    for fault in hierarchy
        .roots
        .iter()
        .filter_map(|root| root.problem.as_ref())
    {
        problems.push(format!("{fault}; {}", fault.hint()));
    }
    for issuer in &hierarchy.issuers {
        if let Some(fault) = issuer.problem() {
            problems.push(format!("{fault}; {}", fault.hint()));
        }
    }
    if let Ok(current) = hierarchy.current(reading.now) {
        if let Err(fault) = current.check_alive(reading.now) {
            problems.push(format!("{fault}; {}", fault.hint()));
        }
        let root = hierarchy.root(current.entry.root);
        let renews =
            !current.entry.imported && root.is_some_and(|root| root.entry.key != KeyPlace::Absent);
        let days = days_left(current.validity.not_after, reading.now);
        let is_soon = NOTICE_DAYS
            .first()
            .is_some_and(|first| days <= first.cast_signed());
        if !renews && is_soon && days >= 0 {
            let fault = if current.entry.imported {
                "bring the next one with `fieldgate ca import`".to_owned()
            } else {
                CaError::RootKeyAbsent.hint().to_owned()
            };
            problems.push(format!(
                "the issuer ends in {days} days and cannot be renewed here; {fault}"
            ));
        }
    }
    if !reading.is_plausible() {
        problems.push(
            "the clock is behind: it shows a time before the last one seen. What is issued now is provisional, and made anew when the clock is set"
                .to_owned(),
        );
    }
    problems
}

fn sentence(step: Step) -> &'static str {
    match step {
        Step::NewRoot => "a new root is made and published beside the old one",
        Step::NewIssuing => "a new issuer is made below the same root",
        Step::RetireIssuing { .. } => "an issuer that has ended is removed",
        Step::RetireRoot { .. } => "a root that has ended is removed",
    }
}

/// Whole days until a time; negative when it has passed.
#[must_use]
pub fn days_left(until: u64, now: u64) -> i64 {
    let seconds = until.cast_signed().saturating_sub(now.cast_signed());
    seconds.div_euclid(DAY.cast_signed())
}
