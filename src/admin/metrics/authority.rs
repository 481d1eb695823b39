//! Metrics of certificates and of the certificate authority.

use super::{PORT, Row, each_port, row};
use crate::admin::{EstReport, Status};
use crate::ca::{CaStatus, ClockTrust};
use crate::metrics::{Kind, Samples};

/// A gauge of the authority, where there is one.
fn of(status: &Status, samples: &mut Samples<'_>, value: fn(&CaStatus) -> u64) {
    if let Some(authority) = &status.authority.status {
        samples.add_count(&[], value(authority));
    }
}

/// Every family about certificates, in the order of the page.
pub(super) const ROWS: &[Row] = &[
    row(
        "certificate_expiry_seconds",
        Kind::Gauge,
        PORT,
        "Seconds until the certificate that clients see ends; negative when it has ended.",
        |status, samples| {
            each_port(status, |port, labels| {
                if let Some(certificate) = &port.certificate {
                    samples.add(labels, certificate.seconds_left as f64);
                }
            });
            if let Some(certificate) = &status.est.certificate {
                let labels = [EstReport::NAME, EstReport::NAME];
                samples.add(&labels, certificate.seconds_left as f64);
            }
        },
    ),
    row(
        "authority_certificate_expiry_seconds",
        Kind::Gauge,
        &["role", "number"],
        "Seconds until a certificate of the authority of the gateway ends; negative when it has ended.",
        |status, samples| {
            if let Some(authority) = &status.authority.status {
                for certificate in &authority.certificates {
                    let end = certificate.validity.not_after.cast_signed();
                    let left = end.saturating_sub(authority.now.cast_signed());
                    let number = certificate.number.to_string();
                    samples.add(&[certificate.role.word(), &number], left as f64);
                }
            }
        },
    ),
    row(
        "authority_certificates",
        Kind::Gauge,
        &[],
        "Certificates that the authority has issued and that have not ended long ago.",
        |status, samples| of(status, samples, |authority| authority.issued),
    ),
    row(
        "authority_certificates_revoked",
        Kind::Gauge,
        &[],
        "How many of them are revoked.",
        |status, samples| of(status, samples, |authority| authority.revoked),
    ),
    row(
        "authority_certificates_provisional",
        Kind::Gauge,
        &[],
        "How many of them were issued before the time was known, and not replaced yet.",
        |status, samples| of(status, samples, |authority| authority.provisional),
    ),
    row(
        "authority_clock_behind",
        Kind::Gauge,
        &[],
        "1 while the clock shows a time that cannot be right.",
        |status, samples| {
            of(status, samples, |authority| {
                u64::from(authority.clock == ClockTrust::Behind)
            });
        },
    ),
];
