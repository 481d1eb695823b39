//! The method `x509`: certificates of the TLS handshake.
//!
//! * `files`: certificates and revocation lists on the disk, as they were when they could last be read.
//! * `anchors`: trusted authorities, and paths to them.
//! * `crl`: revocation lists.
//! * `identity`: what certificates say about whose they are.
//! * `moment`: the time at which they are judged.
//! * `trust`: all of it together, swapped when files change.
//!
//! The handshake asks [`ClientTrust::check`], so that a client with a bad certificate hears of it in the words of TLS. The
//! method judges again: a handshake that resumes an earlier one looks at no certificate.

mod anchors;
mod crl;
mod files;
mod identity;
mod moment;
mod trust;
mod unfit;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Acceptance, Access, Credential, Credentials, Outcome, Refused, Standing, Unavailable};
use crate::clock;
use crate::config::{CertificateIdentity, X509Settings};
use crate::mqtt::ReasonCode;
use crate::policy::{DistinguishedName, Principal};
use anchors::Path;

pub use moment::Moment;
pub use trust::{ClientTrust, RevocationListSummary, TrustSummary};
pub use unfit::{UnfitCertificate, UnfitReason};

/// Judges the certificate that a client has presented.
#[derive(Debug)]
pub(super) struct X509 {
    trust: Arc<ClientTrust>,
    identity: CertificateIdentity,
    attributes: Vec<SubjectAttributes>,
}

/// What clients have in whose path a subject is.
#[derive(Debug)]
struct SubjectAttributes {
    subject: DistinguishedName,
    attributes: BTreeMap<Box<str>, Box<str>>,
}

impl X509 {
    pub(super) fn new(settings: &X509Settings, access: &Access) -> Self {
        let attributes = settings.attributes.iter().filter_map(|entry| {
            Some(SubjectAttributes {
                // The configuration takes nothing that cannot be parsed.
                subject: DistinguishedName::parse(&entry.subject).ok()?,
                attributes: entry.attributes.clone(),
            })
        });
        Self {
            trust: Arc::new(ClientTrust::notifying(settings, access)),
            identity: settings.identity,
            attributes: attributes.collect(),
        }
    }

    pub(super) fn trust(&self) -> Arc<ClientTrust> {
        Arc::clone(&self.trust)
    }

    pub(super) fn begin(&self, credentials: &Credentials<'_>) -> Outcome {
        self.begin_at(credentials, self.trust.moment(), clock::now())
    }

    pub(super) fn review(&self, credential: &Credential, principal: &Principal) -> Standing {
        self.review_at(credential, principal, self.trust.moment())
    }

    /// When the credential ends by the time that is known now; `None` while that may be wrong.
    pub(super) fn end(&self, credential: &Credential) -> Option<Option<Instant>> {
        let (Credential::Certificate(chain), at) = (credential, self.trust.moment()) else {
            return None;
        };
        if at.is_new {
            return None;
        }
        let path = self.trust.judge(ders(chain), at).ok()?;
        Some(end(&path, at, clock::now()))
    }

    fn begin_at(
        &self,
        credentials: &Credentials<'_>,
        at: impl Into<Moment>,
        now: Instant,
    ) -> Outcome {
        let at = at.into();
        if credentials.method.is_some() || credentials.certificates.is_empty() {
            return Outcome::NotMine;
        }
        let chain = credentials.certificates;
        let path = match self.trust.judge(ders(chain), at) {
            Ok(path) => path,
            Err(unfit) if unfit.reason == UnfitReason::NotLoaded => {
                return Outcome::Unavailable(Unavailable::new(unfit.to_string()));
            }
            Err(unfit) => return refused(unfit.to_string()),
        };
        let principal = match self.principal(chain, &path) {
            Ok(principal) => principal,
            Err(sentence) => return refused(sentence),
        };
        Outcome::Accepted(Acceptance {
            expires_at: end(&path, at, now),
            credential: Credential::Certificate(chain.into()),
            ..principal.into()
        })
    }

    fn review_at(
        &self,
        credential: &Credential,
        principal: &Principal,
        at: impl Into<Moment>,
    ) -> Standing {
        let at = at.into();
        let Credential::Certificate(chain) = credential else {
            return Standing::Gone("The port asks for a certificate now");
        };
        let path = match self.trust.judge(ders(chain), at) {
            Ok(path) => path,
            Err(unfit) => return standing(unfit.reason, at),
        };
        match self.principal(chain, &path) {
            Ok(found) if found == *principal => Standing::Same,
            Ok(found) if found.username == principal.username => Standing::Changed(Arc::new(found)),
            _ => Standing::Gone("The certificate gives the client another name now"),
        }
    }

    fn principal(&self, chain: &[Box<[u8]>], path: &Path) -> Result<Principal, &'static str> {
        let own = chain.first().map(AsRef::as_ref).unwrap_or_default();
        Ok(Principal {
            username: identity::username(own, self.identity)?,
            attributes: self.attributes(own, path),
            is_superuser: false,
        })
    }

    /// What was given to the certificate when it was issued here, and what belongs to the first subject of the path, from the
    /// client's on, that the configuration knows. The configuration has the last word.
    fn attributes(&self, own: &[u8], path: &Path) -> BTreeMap<Box<str>, Box<str>> {
        let found = path.members().find_map(|member| {
            let mut entries = self.attributes.iter();
            entries.find(|entry| entry.subject.matches(&member.subject))
        });
        let issued = self.trust.issued(own, path);
        let mut attributes = issued.map_or_else(BTreeMap::new, |record| record.attributes.clone());
        if let Some(entry) = found {
            attributes.extend(entry.attributes.clone());
        }
        attributes
    }
}

/// When a path ends. While the clock may be wrong it does not: that is made up for when the clock is believed.
fn end(path: &Path, at: Moment, now: Instant) -> Option<Instant> {
    let left = path.not_after()?.duration_since(at.now).unwrap_or_default();
    // It is good for the whole of its last second (RFC 5280, 4.1.2.5).
    now.checked_add(left + Duration::from_secs(1))
        .filter(|_| !at.is_new)
}

fn ders(chain: &[Box<[u8]>]) -> impl Iterator<Item = &[u8]> + Clone {
    chain.iter().map(AsRef::as_ref)
}

fn refused(sentence: impl Into<std::borrow::Cow<'static, str>>) -> Outcome {
    Refused::new(ReasonCode::NotAuthorized, sentence).into()
}

/// What a client is told whose certificate was good before.
fn standing(reason: UnfitReason, at: Moment) -> Standing {
    match reason {
        // It was good for whom was trusted before; those who look at the files will have it looked at again.
        UnfitReason::NotLoaded => Standing::Same,
        UnfitReason::Revoked | UnfitReason::AuthorityRevoked => {
            Standing::Gone("The certificate has been revoked")
        }
        // Nobody is dropped by a clock that may be wrong.
        UnfitReason::Expired | UnfitReason::AuthorityNotValid | UnfitReason::NotYetValid
            if at.is_new =>
        {
            Standing::Same
        }
        UnfitReason::Expired | UnfitReason::AuthorityNotValid => {
            Standing::Gone("The certificate has expired")
        }
        UnfitReason::NotYetValid => Standing::Gone("The certificate is not valid yet"),
        UnfitReason::TooLong
        | UnfitReason::Malformed
        | UnfitReason::UnknownIssuer
        | UnfitReason::BadSignature
        | UnfitReason::UnsupportedSignature
        | UnfitReason::WrongPurpose
        | UnfitReason::NotAllowed => Standing::Gone("The certificate is not trusted any more"),
    }
}

#[cfg(test)]
mod awaited_tests;
#[cfg(test)]
mod malformed_tests;
#[cfg(test)]
mod moment_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
