//! Revocation lists.

use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use rustls::pki_types::pem::SectionKind;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::files::Kind;
use super::identity::{moment, name_of};
use crate::policy::DistinguishedName;

/// Keys of which is remembered whether they have signed a list. There is one key to a name, but where a key was replaced.
const KEYS_MAX: usize = 64;

/// Object identifiers of what marks lists that need more than is done here: lists of changes, and lists about the
/// certificates of others.
const DELTA_LIST: &str = "2.5.29.27";
const ENTRY_ISSUER: &str = "2.5.29.29";
const SCOPE: &str = "2.5.29.28";

/// Files with revocation lists.
pub(super) static REVOCATION_LISTS: Kind = Kind {
    name: "revocation list",
    section: SectionKind::Crl,
    endings: &["pem", "crl", "der", "r0", "r1"],
    file_len_max: 8 * 1024 * 1024,
    is_one: |bytes| {
        CertificateRevocationList::from_der(bytes).is_ok_and(|(rest, _)| rest.is_empty())
    },
    check: |der| RevocationList::new(der).map(drop),
};

/// A list of certificates that their issuer has revoked.
#[derive(Debug)]
pub(super) struct RevocationList {
    /// Who says so.
    pub(super) issuer: DistinguishedName,
    /// When it was made.
    pub(super) this_update: SystemTime,
    /// When there will be a newer one.
    pub(super) next_update: Option<SystemTime>,
    /// What it is about, where its issuer has several for different certificates.
    scope: Option<Box<[u8]>>,
    /// Serial numbers, in order.
    serials: Vec<Box<[u8]>>,
    der: Box<[u8]>,
    /// Whether these keys have signed it.
    keys: Mutex<Vec<(Box<[u8]>, bool)>>,
}

impl RevocationList {
    /// Reads a list; the fault continues the name of its file.
    pub(super) fn new(der: &[u8]) -> Result<Self, &'static str> {
        let Ok((_, list)) = CertificateRevocationList::from_der(der) else {
            return Err("holds a revocation list that cannot be understood");
        };
        let extension = |wanted: &str| {
            let mut extensions = list.extensions().iter();
            extensions.find(|extension| extension.oid.to_id_string() == wanted)
        };
        let is_about_others = list.iter_revoked_certificates().any(|entry| {
            let mut extensions = entry.extensions().iter();
            extensions.any(|extension| extension.oid.to_id_string() == ENTRY_ISSUER)
        });
        if extension(DELTA_LIST).is_some() || is_about_others {
            return Err(
                "holds a revocation list of changes, or about certificates of other issuers, which is not supported",
            );
        }
        let serials = list.iter_revoked_certificates();
        let mut serials: Vec<Box<[u8]>> = serials
            .map(|entry| without_zeros(entry.raw_serial()).into())
            .collect();
        serials.sort();
        Ok(Self {
            issuer: name_of(list.issuer()),
            this_update: moment(list.last_update()),
            next_update: list.next_update().map(moment),
            scope: extension(SCOPE).map(|extension| extension.value.into()),
            serials,
            der: der.into(),
            keys: Mutex::default(),
        })
    }

    /// What it was read from.
    pub(super) fn der(&self) -> &[u8] {
        &self.der
    }

    /// Certificates that it names.
    pub(super) fn len(&self) -> usize {
        self.serials.len()
    }

    /// Whether it names a certificate of its issuer.
    pub(super) fn names(&self, serial: &[u8]) -> bool {
        let serial = without_zeros(serial);
        let found = self.serials.binary_search_by(|known| (**known).cmp(serial));
        found.is_ok()
    }

    /// Whether the owner of a key has signed it. `key` is a `SubjectPublicKeyInfo` in DER.
    pub(super) fn is_signed_by(&self, key: &[u8]) -> bool {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = keys.iter().find(|(known, _)| **known == *key) {
            return *known;
        }
        let is_signed = self.verify(key);
        if keys.len() < KEYS_MAX {
            keys.push((key.into(), is_signed));
        }
        is_signed
    }

    /// Whether its issuer has replaced it by a newer one, or should have.
    pub(super) fn is_stale(&self, now: SystemTime) -> bool {
        self.next_update.is_some_and(|next| next < now)
    }

    /// Whether this is the same list in a newer edition.
    pub(super) fn replaces(&self, other: &Self) -> bool {
        self.issuer == other.issuer
            && self.scope == other.scope
            && self.this_update > other.this_update
    }

    fn verify(&self, key: &[u8]) -> bool {
        let list = CertificateRevocationList::from_der(&self.der);
        let key = SubjectPublicKeyInfo::from_der(key);
        match (list, key) {
            (Ok((_, list)), Ok((_, key))) => list.verify_signature(&key).is_ok(),
            _ => false,
        }
    }
}

/// A number is the same number with zeros in front.
fn without_zeros(serial: &[u8]) -> &[u8] {
    let begin = serial.iter().position(|byte| *byte != 0);
    serial
        .get(begin.unwrap_or(serial.len())..)
        .unwrap_or_default()
}
