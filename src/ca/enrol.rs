//! How devices get their certificates by themselves, and what everybody may have of the authority.

use super::authority::{Asker, CertificateAuthority};
use super::certificate::Leaf;
use super::error::CaError;
use super::files;
use super::issue::{IssuedCertificate, Order, Origin};
use super::issued::serial_text;
use super::name::{Attributes, CommonName};
use super::request::{RequestFault, SigningRequest};
use super::time::Reading;

/// Certificates of one name that may live at one time before nobody enrols for it by himself any more. A device has two; one
/// that asks at each start must not fill the table for all others.
pub const ENROLLED_PER_NAME_MAX: usize = 32;

impl CertificateAuthority {
    /// The certificates that a client needs to trust and to build chains, in DER: all roots, the one of what is issued now
    /// first, then every issuer that has not ended.
    pub fn published(&self, reading: Reading) -> Result<Vec<Vec<u8>>, CaError> {
        self.look(|hierarchy| {
            let roots = hierarchy.trusted(reading.now);
            let roots = roots.iter().map(|root| &root.certificate);
            let issuers = hierarchy.issuers.iter();
            let issuers = issuers
                .filter(|issuer| reading.now <= issuer.validity.not_after)
                .flat_map(|issuer| &issuer.chain);
            let mut published: Vec<Vec<u8>> = Vec::new();
            for certificate in roots.chain(issuers) {
                let der = certificate.der.to_vec();
                if !published.contains(&der) {
                    published.push(der);
                }
            }
            Ok(published)
        })
    }

    /// The revocation lists as text, as they were written last.
    pub fn crl_pem(&self) -> Result<Vec<u8>, CaError> {
        self.look(|_| Ok(()))?;
        Ok(files::read(&self.crl_file())?.to_vec())
    }

    /// Signs the request of a user who has shown the right password: for the user's own name and with the user's attributes.
    pub fn enrol_user(
        &self,
        username: &str,
        attributes: &Attributes,
        request: &SigningRequest,
        reading: Reading,
        asker: &Asker,
    ) -> Result<IssuedCertificate, CaError> {
        let name = CommonName::parse(username).map_err(RequestFault::Name)?;
        request.check_names(&name)?;
        let _enrolling = self.enrolling();
        self.check_living(name.as_str(), reading)?;
        let order = Order {
            name: Some(name),
            attributes: attributes.clone(),
            ..Order::default()
        };
        self.sign(request, order, Origin::Enrolled, reading, asker)
    }

    /// Issues a client's certificate again for whoever has shown it: with the same names and attributes, for the key of the
    /// request. The one that was shown stays valid until its end.
    ///
    /// It must be one that was issued here, and be neither revoked nor over; that its owner has the key is for the caller to
    /// know.
    pub fn re_enrol(
        &self,
        certificate_der: &[u8],
        request: &SigningRequest,
        reading: Reading,
        asker: &Asker,
    ) -> Result<IssuedCertificate, CaError> {
        let leaf = Leaf::parse(certificate_der);
        let serial = leaf.as_ref().map(|leaf| serial_text(&leaf.serial));
        let unknown = || CaError::Unknown {
            which: serial.as_deref().unwrap_or_default().to_owned(),
        };
        let leaf = leaf.as_ref().ok_or_else(unknown)?;
        // What is revoked meanwhile must not leave another certificate behind.
        let _enrolling = self.enrolling();
        let found = self.issued.find(&leaf.issuer_der, &leaf.serial);
        let record = self.whole(&*found.ok_or_else(unknown)?)?;
        if *record.der != *certificate_der {
            return Err(unknown());
        }
        let serial = record.serial.to_string();
        if record.revoked_at.is_some() {
            return Err(CaError::Revoked { serial });
        }
        let judged_at = reading.judging_at(record.not_before);
        if !(record.not_before..=record.not_after).contains(&judged_at) {
            return Err(CaError::Ended { serial });
        }
        if request.name.as_ref().map(CommonName::as_str) != Some(&*record.name) {
            return Err(RequestFault::OtherName.into());
        }
        let is_same_host = request.dns.iter().all(|name| leaf.dns.contains(name));
        let is_same_address = request.ip.iter().all(|address| leaf.ip.contains(address));
        if !is_same_host || !is_same_address {
            return Err(RequestFault::OtherAlternativeName.into());
        }
        self.check_living(&record.name, reading)?;
        self.renew(
            &serial,
            Some(request),
            None,
            Origin::Enrolled,
            reading,
            asker,
        )
    }

    /// Refuses a name of which many certificates live that were enrolled.
    pub(super) fn check_living(&self, name: &str, reading: Reading) -> Result<(), CaError> {
        let living = self.issued.count(|record| {
            *record.name == *name
                && *record.origin == *Origin::Enrolled.word()
                && record.revoked_at.is_none()
                && record.not_after >= reading.now
        });
        if living >= ENROLLED_PER_NAME_MAX {
            return Err(CaError::Full {
                what: "enrolled certificates of this name that have not ended",
                max: ENROLLED_PER_NAME_MAX as u64,
            });
        }
        Ok(())
    }
}

impl SigningRequest {
    /// Refuses names that are not those of whoever asks. Clients may be known by their first DNS name, so nobody gets one that
    /// is not his.
    pub(super) fn check_names(&self, name: &CommonName) -> Result<(), RequestFault> {
        if self.name.as_ref().is_some_and(|asked| asked != name) {
            return Err(RequestFault::OtherName);
        }
        let is_own = |asked: &str| asked.eq_ignore_ascii_case(name.as_str());
        if self.ip.is_empty() && self.dns.iter().all(|asked| is_own(asked.as_str())) {
            Ok(())
        } else {
            Err(RequestFault::OtherAlternativeName)
        }
    }
}

#[cfg(test)]
#[path = "enrol_tests.rs"]
mod tests;
