//! Trusted authorities, and the paths from certificates of clients to them.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::path::Path as FilePath;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use ring::digest::{Context, SHA256};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::SectionKind;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::crl::RevocationList;
use super::files::Kind;
use super::identity::{moment, name_of, shown, shown_subject};
use super::moment::Moment;
use super::unfit::{UnfitCertificate, UnfitReason};
use crate::policy::DistinguishedName;

/// Certificates that a client may present, its own included. Looking for a path takes time that grows faster than their
/// number; real chains have three or four.
const CHAIN_LEN_MAX: usize = 6;

/// Bytes of one certificate, and of all that a client presents.
const CERTIFICATE_BYTES_MAX: usize = 16 * 1024;
const CHAIN_BYTES_MAX: usize = 32 * 1024;

/// Authorities that are trusted at most. A bundle for the whole internet has 150.
const AUTHORITIES_MAX: usize = 2048;

/// Authorities above an anchor that are looked at.
const PARENTS_MAX: usize = 8;

/// Paths that are remembered, so that a client that comes again, or is looked at again, costs no signatures.
const PATHS_MAX: usize = 10_000;

/// Time before the end of an authority from which on its end is announced.
const EXPIRY_NOTICE: Duration = Duration::from_secs(14 * 24 * 3600);

/// Files with certificates of authorities.
pub(super) static CERTIFICATES: Kind = Kind {
    name: "certificate",
    section: SectionKind::Certificate,
    endings: &["pem", "crt", "cer"],
    file_len_max: 4 * 1024 * 1024,
    is_one: |bytes| X509Certificate::from_der(bytes).is_ok_and(|(rest, _)| rest.is_empty()),
    check: |_| Ok(()),
};

/// One certificate of a path.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) subject: DistinguishedName,
    issuer: DistinguishedName,
    serial: Box<[u8]>,
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
    /// `SubjectPublicKeyInfo` in DER.
    key: Box<[u8]>,
}

impl Member {
    fn new(certificate: &X509Certificate<'_>) -> Self {
        Self {
            subject: name_of(certificate.subject()),
            issuer: name_of(certificate.issuer()),
            serial: certificate.raw_serial().into(),
            not_before: moment(certificate.validity().not_before),
            not_after: moment(certificate.validity().not_after),
            key: certificate.public_key().raw.into(),
        }
    }

    fn is_valid(&self, at: Moment) -> bool {
        self.not_before <= at.begun && at.now <= self.not_after
    }

    /// Whether its issuer, which has this key, has revoked it.
    fn is_revoked(&self, issuer_key: &[u8], lists: &[Arc<RevocationList>]) -> bool {
        let of_issuer = || {
            lists
                .iter()
                .filter(|list| list.issuer == self.issuer && list.is_signed_by(issuer_key))
        };
        of_issuer()
            .any(|list| list.names(&self.serial) && !of_issuer().any(|newer| newer.replaces(list)))
    }
}

/// From the certificate of a client to a trusted authority, and on to those above it that are trusted as well.
#[derive(Debug)]
pub(super) struct Path {
    members: Vec<Arc<Member>>,
    /// How many of the members, from the client's on, must be valid.
    needed: usize,
}

impl Path {
    /// Every certificate, the client's first.
    pub(super) fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().map(Arc::as_ref)
    }

    /// When the first of the certificates that are needed ends.
    pub(super) fn not_after(&self) -> Option<SystemTime> {
        self.members
            .iter()
            .take(self.needed)
            .map(|member| member.not_after)
            .min()
    }

    /// The key that has signed the client's certificate, `SubjectPublicKeyInfo` in DER.
    pub(super) fn issuer_key(&self) -> &[u8] {
        self.members.get(1).map_or(&[], |issuer| &issuer.key)
    }

    /// What time and revocations make of a path with good signatures.
    fn check(&self, lists: &[Arc<RevocationList>], at: Moment) -> Result<(), UnfitReason> {
        for (place, member) in self.members.iter().take(self.needed).enumerate() {
            match place {
                _ if member.is_valid(at) => {}
                0 if at.begun < member.not_before => return Err(UnfitReason::NotYetValid),
                0 => return Err(UnfitReason::Expired),
                _ => return Err(UnfitReason::AuthorityNotValid),
            }
        }
        for (at, member) in self.members.iter().enumerate() {
            // The last one is its own issuer, or nobody here knows its issuer.
            let issuer = self.members.get(at + 1).unwrap_or(member);
            if member.is_revoked(&issuer.key, lists) {
                return Err(match at {
                    0 => UnfitReason::Revoked,
                    _ => UnfitReason::AuthorityRevoked,
                });
            }
        }
        Ok(())
    }
}

/// The authorities that are trusted.
#[derive(Debug, Default)]
pub(super) struct Anchors {
    anchors: Vec<TrustAnchor<'static>>,
    /// One for each anchor.
    authorities: Vec<Authority>,
    /// What is odd about the certificates that were given.
    pub(super) faults: Vec<String>,
    known: Mutex<KnownPaths>,
}

#[derive(Debug)]
struct Authority {
    member: Arc<Member>,
    /// The place of its issuer among the authorities.
    parent: Option<usize>,
}

impl Anchors {
    /// The authorities among these certificates.
    pub(super) fn new<'a>(certificates: impl Iterator<Item = (&'a FilePath, &'a [u8])>) -> Self {
        let mut anchors = Self::default();
        let mut ders: Vec<&[u8]> = Vec::new();
        for (file, der) in certificates {
            if ders.contains(&der) {
                continue;
            }
            if ders.len() == AUTHORITIES_MAX {
                let fault = format!("only {AUTHORITIES_MAX} certificates are trusted");
                anchors.faults.push(fault);
                break;
            }
            match authority(der) {
                Ok((anchor, member)) => {
                    ders.push(der);
                    anchors.anchors.push(anchor);
                    let member = Arc::new(member);
                    let parent = None;
                    anchors.authorities.push(Authority { member, parent });
                }
                Err(fault) => {
                    let subject = shown_subject(der).unwrap_or_default();
                    let file = file.display();
                    let fault = format!("a certificate in {file} ({subject}) {fault}");
                    anchors.faults.push(fault);
                }
            }
        }
        anchors.find_parents(&ders);
        anchors
    }

    /// Whom an authority has its certificate from matters for attributes and revocations.
    fn find_parents(&mut self, ders: &[&[u8]]) {
        for (at, der) in ders.iter().enumerate() {
            let Ok((_, certificate)) = X509Certificate::from_der(der) else {
                continue;
            };
            let issuer = name_of(certificate.issuer());
            let parent = ders.iter().enumerate().position(|(other, der)| {
                let has_name = self
                    .authorities
                    .get(other)
                    .is_some_and(|authority| authority.member.subject == issuer);
                other != at
                    && has_name
                    && X509Certificate::from_der(der).is_ok_and(|(_, parent)| {
                        certificate
                            .verify_signature(Some(parent.public_key()))
                            .is_ok()
                    })
            });
            if let Some(authority) = self.authorities.get_mut(at) {
                authority.parent = parent;
            }
        }
    }

    /// Number of authorities.
    pub(super) fn len(&self) -> usize {
        self.authorities.len()
    }

    /// The certificates of the authorities.
    pub(super) fn members(&self) -> impl Iterator<Item = &Member> {
        self.authorities.iter().map(|authority| &*authority.member)
    }

    /// Whether an authority has this name, and whether the one that has it has signed the list.
    pub(super) fn stand_behind(&self, list: &RevocationList) -> (bool, bool) {
        let of_name = || {
            self.members()
                .filter(|member| member.subject == list.issuer)
        };
        let is_known = of_name().next().is_some();
        (
            is_known,
            of_name().any(|member| list.is_signed_by(&member.key)),
        )
    }

    /// What there is to say about the validity of the authorities.
    pub(super) fn remarks(&self, now: SystemTime) -> impl Iterator<Item = String> {
        self.members().filter_map(move |member| {
            let subject = shown(&member.subject);
            if now > member.not_after {
                return Some(format!(
                    "the trusted certificate of {subject:?} has expired; clients that have theirs from it are refused"
                ));
            }
            if now < member.not_before {
                return Some(format!(
                    "the trusted certificate of {subject:?} is not valid yet, or the clock of this machine is behind"
                ));
            }
            let left = member.not_after.duration_since(now).unwrap_or_default();
            let days = left.as_secs() / (24 * 3600);
            (left < EXPIRY_NOTICE)
                .then(|| format!("the trusted certificate of {subject:?} expires in {days} days"))
        })
    }

    /// The path from a client's certificate to an authority, if there is a good one now. `chain` begins with the client's
    /// own certificate.
    pub(super) fn judge<'a>(
        &self,
        chain: impl Iterator<Item = &'a [u8]> + Clone,
        lists: &[Arc<RevocationList>],
        at: Moment,
    ) -> Result<Arc<Path>, UnfitCertificate> {
        let unfit = |reason| UnfitCertificate {
            subject: chain.clone().next().and_then(|der| match der.len() {
                0..=CERTIFICATE_BYTES_MAX => shown_subject(der),
                _ => None,
            }),
            reason,
        };
        check_size(chain.clone()).map_err(unfit)?;
        let key = Fingerprint::new(chain.clone());
        if let Some(path) = self.lock().get(&key)
            && path.check(lists, at).is_ok()
        {
            return Ok(path);
        }
        let path = self.find_path(chain.clone(), lists, at).map_err(unfit)?;
        let path = Arc::new(path);
        self.lock().insert(key, &path);
        Ok(path)
    }

    fn find_path<'a>(
        &self,
        mut chain: impl Iterator<Item = &'a [u8]>,
        lists: &[Arc<RevocationList>],
        at: Moment,
    ) -> Result<Path, UnfitReason> {
        let leaf = CertificateDer::from(chain.next().unwrap_or_default());
        let intermediates: Vec<_> = chain.map(CertificateDer::from).collect();
        let leaf = EndEntityCert::try_from(&leaf).map_err(|error| UnfitReason::from(&error))?;
        let time = time_for(&leaf.der(), &intermediates, at);
        let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        // What became of the paths that lead to an authority: the last good one, and the reason against the first bad one.
        let found: RefCell<Option<Path>> = RefCell::default();
        let against: RefCell<Option<UnfitReason>> = RefCell::default();
        let look_at = |verified: &VerifiedPath<'_>| {
            let path = self.path(verified, at);
            let path = path.and_then(|path| path.check(lists, at).map(|()| path));
            match path {
                Ok(path) => {
                    found.replace(Some(path));
                    Ok(())
                }
                Err(reason) => {
                    against.borrow_mut().get_or_insert(reason);
                    // Another path may be better.
                    Err(webpki::Error::UnknownIssuer)
                }
            }
        };
        let verified = leaf.verify_for_usage(
            default_provider().signature_verification_algorithms.all,
            &self.anchors,
            &intermediates,
            UnixTime::since_unix_epoch(since_epoch),
            KeyUsage::client_auth(),
            None,
            Some(&look_at),
        );
        match (verified, found.take(), against.take()) {
            (Ok(_), Some(path), _) => Ok(path),
            (_, _, Some(reason)) => Err(reason),
            (Err(error), _, None) => Err(self.reason(&error, &leaf, at)),
            (Ok(_), None, None) => Err(UnfitReason::Malformed),
        }
    }

    /// The reason behind an error; the library does not say of which certificate it speaks.
    fn reason(&self, error: &webpki::Error, leaf: &EndEntityCert<'_>, at: Moment) -> UnfitReason {
        let reason = UnfitReason::from(error);
        let is_about_time = matches!(reason, UnfitReason::Expired | UnfitReason::NotYetValid);
        let der = leaf.der();
        match X509Certificate::from_der(&der) {
            Ok((_, certificate)) if is_about_time && Member::new(&certificate).is_valid(at) => {
                UnfitReason::AuthorityNotValid
            }
            _ => reason,
        }
    }

    /// What the library has found, with what it does not look at.
    fn path(&self, verified: &VerifiedPath<'_>, at: Moment) -> Result<Path, UnfitReason> {
        let mut members = Vec::new();
        let leaf = verified.end_entity().der();
        let between = verified.intermediate_certificates();
        let ders = std::iter::once(leaf).chain(between.map(|certificate| certificate.der()));
        for (at, der) in ders.enumerate() {
            let parsed = X509Certificate::from_der(&der);
            let (_, certificate) = parsed.map_err(|_| UnfitReason::Malformed)?;
            let usage = certificate
                .key_usage()
                .map_err(|_| UnfitReason::Malformed)?;
            match (at, usage) {
                (0, Some(usage)) if !usage.value.digital_signature() => {
                    return Err(UnfitReason::WrongPurpose);
                }
                (1.., Some(usage)) if !usage.value.key_cert_sign() => {
                    return Err(UnfitReason::NotAllowed);
                }
                _ => members.push(Arc::new(Member::new(&certificate))),
            }
        }
        let is_anchor = |(anchor, _): &(&TrustAnchor<'_>, &Authority)| {
            anchor.subject == verified.anchor().subject
                && anchor.subject_public_key_info == verified.anchor().subject_public_key_info
        };
        let pairs = || self.anchors.iter().zip(&self.authorities);
        // An authority that was renewed with its key stands here twice.
        let authority = pairs()
            .filter(is_anchor)
            .find(|(_, authority)| authority.member.is_valid(at))
            .or_else(|| pairs().find(is_anchor));
        let mut next = authority.map(|(_, authority)| authority);
        let needed = members.len() + 1;
        while let Some(authority) = next.filter(|_| members.len() < needed + PARENTS_MAX) {
            members.push(Arc::clone(&authority.member));
            next = authority.parent.and_then(|at| self.authorities.get(at));
        }
        Ok(Path { members, needed })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, KnownPaths> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time for the library, which knows only one: that of the newest certificate of those that count as begun.
fn time_for(leaf: &[u8], intermediates: &[CertificateDer<'_>], at: Moment) -> SystemTime {
    let chain = std::iter::once(leaf).chain(intermediates.iter().map(AsRef::as_ref));
    let begins = chain.filter_map(|der| {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        Some(moment(certificate.validity().not_before))
    });
    begins
        .filter(|begin| *begin <= at.begun)
        .fold(at.now, SystemTime::max)
}

fn check_size<'a>(chain: impl Iterator<Item = &'a [u8]>) -> Result<(), UnfitReason> {
    let (mut count, mut bytes) = (0, 0);
    for der in chain {
        (count, bytes) = (count + 1, bytes + der.len());
        if count > CHAIN_LEN_MAX || der.len() > CERTIFICATE_BYTES_MAX || bytes > CHAIN_BYTES_MAX {
            return Err(UnfitReason::TooLong);
        }
    }
    Ok(())
}

/// An authority, or why the certificate is not that of one. The fault continues "the certificate …".
fn authority(der: &[u8]) -> Result<(TrustAnchor<'static>, Member), &'static str> {
    let malformed = "cannot be understood, and is not used";
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| malformed)?;
    let borrowed = CertificateDer::from(der);
    let anchor = webpki::anchor_from_trusted_cert(&borrowed).map_err(|_| malformed)?;
    let constraints = certificate.basic_constraints().map_err(|_| malformed)?;
    let usage = certificate.key_usage().map_err(|_| malformed)?;
    // The first version of certificates has no place to say so.
    let is_old_root = certificate.version().0 == 0
        && certificate.subject().as_raw() == certificate.issuer().as_raw();
    let is_authority = constraints.is_some_and(|constraints| constraints.value.ca);
    if !is_authority && !is_old_root {
        return Err("is not that of an authority, and is not used");
    }
    if usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
        return Err("is that of an authority that may not issue certificates, and is not used");
    }
    Ok((anchor.to_owned(), Member::new(&certificate)))
}

/// What tells one chain from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Fingerprint([u8; 32]);

impl Fingerprint {
    fn new<'a>(chain: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut context = Context::new(&SHA256);
        for der in chain {
            context.update(&der.len().to_be_bytes());
            context.update(der);
        }
        let digest = context.finish();
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        Self(bytes)
    }
}

/// Paths with good signatures, the oldest forgotten first.
#[derive(Debug)]
struct KnownPaths {
    paths: HashMap<Fingerprint, Arc<Path>, FixedState>,
    order: VecDeque<Fingerprint>,
}

impl Default for KnownPaths {
    fn default() -> Self {
        Self {
            paths: HashMap::with_hasher(FixedState::default()),
            order: VecDeque::new(),
        }
    }
}

impl KnownPaths {
    fn get(&self, key: &Fingerprint) -> Option<Arc<Path>> {
        self.paths.get(key).cloned()
    }

    fn insert(&mut self, key: Fingerprint, path: &Arc<Path>) {
        if self.paths.insert(key, Arc::clone(path)).is_some() {
            return;
        }
        self.order.push_back(key);
        if self.order.len() > PATHS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.paths.remove(&oldest);
        }
    }
}
