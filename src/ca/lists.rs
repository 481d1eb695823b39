//! The revocation lists of an authority, and what is forgotten when it has ended.

use tracing::warn;

use super::authority::CertificateAuthority;
use super::error::CaError;
use super::files::{self, Audience};
use super::time::{BACKDATE, DAY, Reading};
use super::{crl, pem};
use crate::store::certificates;

/// Time for which what has ended is kept in the table.
const KEPT_AFTER_END: u64 = 30 * DAY;

impl CertificateAuthority {
    /// Forgets what has ended long ago. Nothing is forgotten while the clock may be wrong.
    pub(super) fn prune(&self, reading: Reading) -> Result<(), CaError> {
        let before = reading.now.saturating_sub(KEPT_AFTER_END);
        if reading.is_settled() {
            self.prune_ports(reading.now)?;
        }
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

    pub(super) fn is_crl_due(&self, reading: Reading) -> bool {
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
        // The power may have failed after a revocation was kept and before the list was written.
        let names_all = |list: &crl::Read, issuer: &[u8]| {
            let revoked = self.issued.revocations(issuer, reading.now);
            revoked
                .keys()
                .all(|serial| list.revocations.contains_key(serial))
        };
        let is_good = |issuer: &Vec<u8>| {
            lists.iter().any(|list| {
                // Made by a clock that was ahead, it is not valid yet for anybody else.
                let is_ahead = reading.is_plausible() && list.this_update > reading.now;
                list.issuer_der == *issuer
                    && !is_ahead
                    && list.next_update > reading.now.saturating_add(crl::LEAD)
                    && names_all(list, issuer)
            })
        };
        !current.iter().all(is_good)
    }

    /// Writes the revocation lists of all issuers that live.
    pub(super) fn write_crl(&self, reading: Reading) -> Result<(), CaError> {
        let _listing = self.listing();
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
                let key = match issuer.key(self.sealing(), &self.folder) {
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
            self.files(),
            &self.crl_file(),
            text.as_bytes(),
            Audience::Public,
        )?;
        self.shop().sync(&self.folder)
    }
}
