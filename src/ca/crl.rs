//! Revocation lists (RFC 5280, section 5): one for each issuer that lives.

use std::collections::BTreeMap;

use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber};
use rustls::pki_types::pem::{PemObject, SectionKind};
use serde::{Deserialize, Serialize};
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use super::certificate::{CaCertificate, moment};
use super::error::CaError;
use super::key::SecretKey;
use super::time::DAY;

/// Time for which a list is good: clients that look at it take nobody's certificate when it has ended.
pub(super) const LIFETIME: u64 = 30 * DAY;

/// Time before its end from which on a list is made anew.
pub(super) const LEAD: u64 = 15 * DAY;

/// Why a certificate is revoked (RFC 5280, 5.3.1). There is no `certificate-hold`: what was revoked stays revoked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RevocationReason {
    /// None is given.
    #[default]
    Unspecified,
    /// Somebody else may have the key: a device was lost or stolen.
    KeyCompromise,
    /// Somebody else may have the key of the authority.
    CaCompromise,
    /// The device belongs to somebody else now.
    AffiliationChanged,
    /// Another certificate has taken its place.
    Superseded,
    /// The device is used no more.
    CessationOfOperation,
    /// The device may do less than before.
    PrivilegeWithdrawn,
}

impl RevocationReason {
    /// Every reason, in the order of their codes.
    pub const ALL: [Self; 7] = [
        Self::Unspecified,
        Self::KeyCompromise,
        Self::CaCompromise,
        Self::AffiliationChanged,
        Self::Superseded,
        Self::CessationOfOperation,
        Self::PrivilegeWithdrawn,
    ];

    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "key-compromise",
            Self::CaCompromise => "ca-compromise",
            Self::AffiliationChanged => "affiliation-changed",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessation-of-operation",
            Self::PrivilegeWithdrawn => "privilege-withdrawn",
        }
    }

    /// The code of the standard.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Unspecified => 0,
            Self::KeyCompromise => 1,
            Self::CaCompromise => 2,
            Self::AffiliationChanged => 3,
            Self::Superseded => 4,
            Self::CessationOfOperation => 5,
            Self::PrivilegeWithdrawn => 9,
        }
    }

    /// The reason that has a code; a code that is not ours is as good as none.
    #[must_use]
    pub fn of_code(code: u8) -> Self {
        let found = Self::ALL.into_iter().find(|reason| reason.code() == code);
        found.unwrap_or_default()
    }

    fn rcgen(self) -> Option<rcgen::RevocationReason> {
        match self {
            // The standard wants no code rather than this one.
            Self::Unspecified => None,
            Self::KeyCompromise => Some(rcgen::RevocationReason::KeyCompromise),
            Self::CaCompromise => Some(rcgen::RevocationReason::CaCompromise),
            Self::AffiliationChanged => Some(rcgen::RevocationReason::AffiliationChanged),
            Self::Superseded => Some(rcgen::RevocationReason::Superseded),
            Self::CessationOfOperation => Some(rcgen::RevocationReason::CessationOfOperation),
            Self::PrivilegeWithdrawn => Some(rcgen::RevocationReason::PrivilegeWithdrawn),
        }
    }
}

/// When and why a certificate was revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Revocation {
    pub(super) at: u64,
    pub(super) reason: RevocationReason,
}

/// What is revoked, by serial number.
pub(super) type Revocations = BTreeMap<Vec<u8>, Revocation>;

/// A list that was read.
#[derive(Debug)]
pub(super) struct Read {
    /// The list itself.
    pub(super) der: Vec<u8>,
    /// The name of its issuer in DER.
    pub(super) issuer_der: Vec<u8>,
    pub(super) number: u64,
    pub(super) this_update: u64,
    pub(super) next_update: u64,
    pub(super) revocations: Revocations,
}

/// Makes the list of an issuer.
pub(super) fn make(
    issuer: &CaCertificate,
    key: &SecretKey,
    number: u64,
    this_update: u64,
    next_update: u64,
    revocations: &Revocations,
) -> Result<Vec<u8>, CaError> {
    let mut revoked = Vec::with_capacity(revocations.len());
    for (serial, revocation) in revocations {
        revoked.push(RevokedCertParams {
            serial_number: SerialNumber::from_slice(serial),
            revocation_time: moment(revocation.at)?,
            reason_code: revocation.reason.rcgen(),
            invalidity_date: None,
        });
    }
    let params = CertificateRevocationListParams {
        this_update: moment(this_update)?,
        next_update: moment(next_update)?,
        crl_number: SerialNumber::from(number),
        issuing_distribution_point: None,
        revoked_certs: revoked,
        key_identifier_method: KeyIdMethod::PreSpecified(issuer.key_id.clone()),
    };
    let made = params
        .signed_by(&issuer.issuer(key)?)
        .map_err(CaError::crypto)?;
    Ok(made.der().to_vec())
}

/// Reads the lists of a file. What cannot be read is left out: it is made anew.
pub(super) fn read_all(text: &[u8]) -> Vec<Read> {
    <(SectionKind, Vec<u8>)>::pem_slice_iter(text)
        .filter_map(Result::ok)
        .filter(|(kind, _)| *kind == SectionKind::Crl)
        .filter_map(|(_, der)| read(&der))
        .collect()
}

fn read(der: &[u8]) -> Option<Read> {
    let (_, list) = CertificateRevocationList::from_der(der).ok()?;
    let seconds = |time: i64| u64::try_from(time).unwrap_or(0);
    let number = list.crl_number()?.to_bytes_be();
    let mut revocations = Revocations::new();
    for entry in list.iter_revoked_certificates() {
        let code = entry.reason_code().map_or(0, |(_, code)| code.0);
        let revocation = Revocation {
            at: seconds(entry.revocation_date.timestamp()),
            reason: RevocationReason::of_code(code),
        };
        revocations.insert(entry.raw_serial().to_vec(), revocation);
    }
    Some(Read {
        der: der.to_vec(),
        issuer_der: list.issuer().as_raw().to_vec(),
        number: number.iter().fold(0, |number: u64, byte| {
            number.wrapping_shl(8) | u64::from(*byte)
        }),
        this_update: seconds(list.last_update().timestamp()),
        next_update: list
            .next_update()
            .map_or(0, |time| seconds(time.timestamp())),
        revocations,
    })
}
