//! How certificates are issued, renewed and revoked, and who may enrol.

use std::net::IpAddr;
use std::sync::Arc;

use rcgen::PublicKeyData;
use rusqlite::Transaction;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::audit_kind;
use super::authority::{Asker, CertificateAuthority};
use super::certificate::{Leaf, LeafOrder, Purpose};
use super::chance;
use super::crl::RevocationReason;
use super::error::CaError;
use super::issued::{CERTIFICATES_MAX, issuer_id, serial_text};
use super::key::{PublicKeyKind, SecretKey};
use super::name::{Attributes, CommonName, DnsName, check_attributes};
use super::pem;
use super::request::{ALTERNATIVE_NAMES_MAX, RequestFault, SigningRequest};
use super::time::{DAY, Reading};
use super::token::{is_good, token_hash};
use crate::store::{AuditRecord, CertificateRecord, audit, certificates};

/// Certificates of ports that are kept on record: the newest ones. Addresses that come and go must not fill the table.
const PORT_ROWS_MAX: usize = 500;

/// What is to be issued.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Order {
    /// The common name; that of the request where it is missing.
    pub name: Option<CommonName>,
    /// For what.
    pub purpose: Purpose,
    /// DNS names beside those of the request.
    pub dns: Vec<DnsName>,
    /// Addresses beside those of the request.
    pub ip: Vec<IpAddr>,
    /// What rules may ask for.
    pub attributes: Attributes,
    /// For how many seconds; as long as usual where it is missing.
    pub lifetime: Option<u64>,
}

/// What was issued.
#[derive(Clone, Debug)]
pub struct IssuedCertificate {
    /// The row that is kept of it, with the certificate in DER.
    pub record: CertificateRecord,
    /// The certificates between it and its root, in DER; the issuer first.
    pub issuers: Vec<Vec<u8>>,
}

impl IssuedCertificate {
    /// The certificate with its issuers as text, as servers and clients present it.
    #[must_use]
    pub fn chain_pem(&self) -> String {
        let own = std::iter::once(&*self.record.der);
        pem::encode_chain(own.chain(self.issuers.iter().map(Vec::as_slice)))
    }
}

/// How a certificate came to be issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// For a port of this gateway.
    Port,
    /// By the command line.
    Signed,
    /// Over the network.
    Enrolled,
}

impl Origin {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Port => "port",
            Self::Signed => "signed",
            Self::Enrolled => "enrolled",
        }
    }
}

/// The key that a certificate is for.
struct Subject<'a, K> {
    key: &'a K,
    kind: PublicKeyKind,
}

/// Something that happens in the transaction in which a certificate is kept; `false` keeps it from being kept.
type Condition = Box<dyn Fn(&Transaction<'_>) -> rusqlite::Result<bool> + Send>;

impl CertificateAuthority {
    /// Signs a request that was checked.
    ///
    /// `name` and alternative names are those of the request where the order has none, and the request may not have another
    /// name than the order.
    pub fn sign(
        &self,
        request: &SigningRequest,
        order: Order,
        origin: Origin,
        reading: Reading,
        asker: &Asker,
    ) -> Result<IssuedCertificate, CaError> {
        let subject = Subject {
            key: &request.public_key,
            kind: request.kind,
        };
        let order = completed(request, order)?;
        self.issue(&subject, &order, origin, reading, asker, None)
    }

    /// Issues a certificate for a key of this gateway: for its ports.
    pub fn issue_for(
        &self,
        key: &SecretKey,
        order: &Order,
        reading: Reading,
    ) -> Result<IssuedCertificate, CaError> {
        let der = key.public_key();
        let kind = kind_of(&der)?;
        let subject = Subject { key, kind };
        let asker = Asker::default();
        self.issue(&subject, order, Origin::Port, reading, &asker, None)
    }

    /// Signs the request of somebody who has an enrolment token. The token is used up with the certificate, not before.
    pub fn redeem(
        &self,
        token: &str,
        request: &SigningRequest,
        reading: Reading,
        asker: &Asker,
    ) -> Result<IssuedCertificate, CaError> {
        let hash = token_hash(token);
        let key = hash.clone();
        let found = self
            .jobs
            .run(move |transaction| certificates::read_token(transaction, &key))?;
        let found = found
            .filter(|found| is_good(found, reading))
            .ok_or(CaError::Token)?;
        let name =
            CommonName::parse(&found.name).map_err(|fault| CaError::input(&*found.name, fault))?;
        request.check_names(&name)?;
        // What is revoked meanwhile takes the tokens of the name with it.
        let _enrolling = self.enrolling();
        self.check_living(name.as_str(), reading)?;
        let order = Order {
            name: Some(name),
            attributes: found.attributes,
            lifetime: found.lifetime,
            ..Order::default()
        };
        let order = completed(request, order)?;
        let subject = Subject {
            key: &request.public_key,
            kind: request.kind,
        };
        // Whoever removes it first has it; the other one gets nothing.
        let remove: Condition =
            Box::new(move |transaction| certificates::remove_token(transaction, &hash));
        self.issue(
            &subject,
            &order,
            Origin::Enrolled,
            reading,
            asker,
            Some(remove),
        )
    }

    /// Issues the newest certificate of a name, or the one with a serial number, again: with the same names, attributes and
    /// lifetime; for another key where a request brings one.
    pub fn renew(
        &self,
        which: &str,
        request: Option<&SigningRequest>,
        lifetime: Option<u64>,
        origin: Origin,
        reading: Reading,
        asker: &Asker,
    ) -> Result<IssuedCertificate, CaError> {
        let meant = self.issued.meant_by(which);
        let Some(newest) = meant.first() else {
            return Err(unknown(which));
        };
        let alive = meant.iter().find(|record| record.revoked_at.is_none());
        let record = alive.ok_or_else(|| CaError::Revoked {
            serial: newest.serial.to_string(),
        })?;
        let record = self.whole(record)?;
        let leaf = Leaf::parse(&record.der).ok_or_else(|| unknown(which))?;
        let former = record.not_after.saturating_sub(record.issued_at);
        let order = Order {
            name: CommonName::parse(&record.name).ok(),
            purpose: purpose_of(&record),
            dns: leaf.dns.clone(),
            ip: leaf.ip.clone(),
            attributes: record.attributes.clone(),
            lifetime: lifetime.or((!record.provisional).then_some(former)),
        };
        match request {
            Some(request) => {
                let mut same_names = request.clone();
                same_names.dns.clear();
                same_names.ip.clear();
                self.sign(&same_names, order, origin, reading, asker)
            }
            None => {
                let key = leaf.public_key()?;
                let kind = kind_of(&leaf.public_key_der)?;
                let subject = Subject { key: &key, kind };
                self.issue(&subject, &order, origin, reading, asker, None)
            }
        }
    }

    /// Revokes the certificate with a serial number, or all of a name that have not ended, at once and for good. What was
    /// revoked is returned. A name loses its enrolment tokens as well: whoever took a device may have one of them.
    pub fn revoke(
        &self,
        which: &str,
        reason: RevocationReason,
        reading: Reading,
        asker: &Asker,
    ) -> Result<Vec<CertificateRecord>, CaError> {
        let _enrolling = self.enrolling();
        let mut meant = self.issued.meant_by(which);
        let withdrawn = match CommonName::parse(which) {
            Ok(name) => self.withdraw_tokens(&name, reading, asker)?,
            Err(_) => 0,
        };
        if meant.is_empty() && withdrawn > 0 {
            return Ok(Vec::new());
        }
        if meant.is_empty() {
            return Err(unknown(which));
        }
        let serial = meant.first().map(|record| record.serial.to_string());
        meant.retain(|record| record.revoked_at.is_none());
        // What has ended by a clock that may be wrong may not have ended.
        let lives = |record: &Arc<CertificateRecord>| record.not_after >= reading.now;
        if reading.is_settled() && meant.iter().any(lives) {
            meant.retain(lives);
        }
        if meant.is_empty() {
            // Whoever asks again may do so because the first time was cut short.
            if self.is_crl_due(reading) {
                self.write_crl(reading)?;
                self.changed();
            }
            let serial = serial.unwrap_or_default();
            return Err(CaError::Revoked { serial });
        }
        let mut revoked = Vec::with_capacity(meant.len());
        for record in meant {
            let mut record = self.whole(&record)?;
            record.revoked_at = Some(reading.now);
            record.reason = reason.code();
            revoked.push(record);
        }
        let entries: Vec<AuditRecord> = revoked
            .iter()
            .map(|record| {
                let detail = format!("{}, {}", record.serial, reason.word());
                self.entry(audit_kind::REVOKED, &record.name, detail, reading, asker)
            })
            .collect();
        let (rows, rows_max) = (revoked.clone(), self.audit_rows_max());
        self.jobs.run(move |transaction| {
            for record in &rows {
                certificates::put(transaction, record)?;
            }
            audit::append(transaction, &entries, rows_max)
        })?;
        for record in &revoked {
            info!(name = %record.name, serial = %record.serial, reason = reason.word(), "certificate revoked");
            self.issued.put(record.clone());
        }
        // Whoever is connected with it is looked at first, and the list is written then.
        self.changed();
        self.write_crl(reading)?;
        self.changed();
        Ok(revoked)
    }

    /// A row with its certificate.
    pub(super) fn whole(&self, record: &CertificateRecord) -> Result<CertificateRecord, CaError> {
        let (issuer, serial) = (record.issuer.clone(), record.serial.clone());
        let found = self
            .jobs
            .run(move |transaction| certificates::read(transaction, &issuer, &serial))?;
        found.ok_or_else(|| unknown(&record.serial))
    }

    pub(super) fn check_lifetime(&self, lifetime: Option<u64>) -> Result<(), CaError> {
        match lifetime {
            Some(lifetime) if lifetime < DAY / 24 || lifetime > self.lifetimes.leaf_max => {
                Err(CaError::input(
                    "the lifetime",
                    "it is at least an hour and at most five years",
                ))
            }
            _ => Ok(()),
        }
    }

    fn check_order(&self, order: &Order, origin: Origin) -> Result<(), CaError> {
        check_attributes(&order.attributes)
            .map_err(|fault| CaError::input("the attributes", fault))?;
        self.check_lifetime(order.lifetime)?;
        if order.dns.len() + order.ip.len() > ALTERNATIVE_NAMES_MAX {
            return Err(RequestFault::TooManyNames.into());
        }
        // Those of ports have a bound of their own, so that nobody can keep a port from having one.
        if origin != Origin::Port && self.issued.len() >= CERTIFICATES_MAX {
            return Err(CaError::Full {
                what: "certificates",
                max: CERTIFICATES_MAX as u64,
            });
        }
        Ok(())
    }

    fn issue(
        &self,
        subject: &Subject<'_, impl PublicKeyData>,
        order: &Order,
        origin: Origin,
        reading: Reading,
        asker: &Asker,
        condition: Option<Condition>,
    ) -> Result<IssuedCertificate, CaError> {
        self.check_order(order, origin)?;
        let made = self.make(subject, order, origin, reading)?;
        let record = &made.record;
        let detail = format!("{}, {}", record.serial, origin.word());
        let entry = self.entry(audit_kind::ISSUED, &record.name, detail, reading, asker);
        let (row, rows_max) = (record.clone(), self.audit_rows_max());
        let kept = self.jobs.run(move |transaction| {
            if let Some(condition) = &condition
                && !condition(transaction)?
            {
                return Ok(false);
            }
            certificates::put(transaction, &row)?;
            if origin == Origin::Port {
                certificates::prune_origin(transaction, &row.origin, PORT_ROWS_MAX)?;
            }
            audit::append(transaction, std::slice::from_ref(&entry), rows_max)?;
            Ok(true)
        });
        match kept {
            Ok(true) => {}
            Ok(false) => return Err(CaError::Token),
            // A port has to have its certificate on a disk that takes nothing, too.
            Err(fault) if origin == Origin::Port => {
                warn!(hint = fault.hint(), name = %record.name, "the certificate of a port is not on record: {fault}");
            }
            Err(fault) => return Err(fault.into()),
        }
        info!(name = %record.name, serial = %record.serial, origin = origin.word(), "certificate issued");
        self.issued.put(record.clone());
        if origin == Origin::Port {
            self.issued.prune_origin(origin.word(), PORT_ROWS_MAX);
        }
        Ok(made)
    }

    fn make(
        &self,
        subject: &Subject<'_, impl PublicKeyData>,
        order: &Order,
        origin: Origin,
        reading: Reading,
    ) -> Result<IssuedCertificate, CaError> {
        let name = order.name.as_ref().ok_or(RequestFault::NoName)?;
        let serial = chance::serial(self.chance())?;
        self.look(|hierarchy| {
            let issuer = hierarchy.current(reading.now)?;
            issuer.check_alive(reading.now)?;
            check_kind(order.purpose, subject.kind, issuer.certificate.kind)?;
            let lifetime = order.lifetime.unwrap_or(self.lifetimes.client);
            let (validity, provisional) = match origin {
                Origin::Port => reading.validity_of_port(lifetime, issuer.validity),
                Origin::Signed | Origin::Enrolled => reading.validity(lifetime, issuer.validity),
            };
            let key = issuer.key(self.sealing(), &self.folder)?;
            let leaf = LeafOrder {
                name: name.as_str(),
                serial: &serial,
                validity,
                purpose: order.purpose,
                dns: &order.dns,
                ip: &order.ip,
            };
            let der = leaf.signed_by(subject.key, &issuer.certificate, &key)?;
            let is_right = Leaf::parse(&der)
                .is_some_and(|leaf| leaf.issuer_der == issuer.certificate.subject_der);
            if !is_right {
                return Err(CaError::crypto("the name of the issuer cannot be written"));
            }
            hierarchy.verify(issuer, &der, order.purpose, validity.not_before)?;
            Ok(IssuedCertificate {
                record: CertificateRecord {
                    issuer: issuer_id(&issuer.certificate.subject_der),
                    serial: serial_text(&serial),
                    name: name.as_str().into(),
                    purpose: order.purpose.word().into(),
                    origin: origin.word().into(),
                    attributes: order.attributes.clone(),
                    not_before: validity.not_before,
                    not_after: validity.not_after,
                    issued_at: reading.now,
                    provisional,
                    revoked_at: None,
                    reason: 0,
                    der: der.into(),
                },
                issuers: issuer.chain.iter().map(|link| link.der.to_vec()).collect(),
            })
        })
    }
}

/// The order with what the request has and the order leaves open.
fn completed(request: &SigningRequest, mut order: Order) -> Result<Order, CaError> {
    match (&order.name, &request.name) {
        (Some(wanted), Some(asked)) if wanted != asked => {
            return Err(RequestFault::OtherName.into());
        }
        (None, asked) => order.name.clone_from(asked),
        (Some(_), _) => {}
    }
    order.dns.extend(request.dns.iter().cloned());
    order.ip.extend(request.ip.iter().copied());
    order.dns.sort();
    order.dns.dedup();
    order.ip.sort();
    order.ip.dedup();
    Ok(order)
}

/// A server's chain has keys of one kind, because some clients know only one; a client may have the key that it has.
fn check_kind(
    purpose: Purpose,
    found: PublicKeyKind,
    wanted: Option<PublicKeyKind>,
) -> Result<(), RequestFault> {
    let (found, wanted) = (found.family(), wanted.map_or("", PublicKeyKind::family));
    if purpose == Purpose::Server && found != wanted {
        return Err(RequestFault::KeyKind { found, wanted });
    }
    Ok(())
}

fn kind_of(public_key_der: &[u8]) -> Result<PublicKeyKind, CaError> {
    let (_, key) = SubjectPublicKeyInfo::from_der(public_key_der).map_err(CaError::crypto)?;
    Ok(PublicKeyKind::of(&key).ok_or(RequestFault::KeyUnsupported)?)
}

fn purpose_of(record: &CertificateRecord) -> Purpose {
    if *record.purpose == *Purpose::Server.word() {
        Purpose::Server
    } else {
        Purpose::Client
    }
}

fn unknown(which: &str) -> CaError {
    CaError::Unknown {
        which: which.to_owned(),
    }
}

/// What a lookup by a client's certificate needs.
#[must_use]
pub fn issuer_and_serial(certificate_der: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let leaf = Leaf::parse(certificate_der)?;
    Some((leaf.issuer_der, leaf.serial))
}

impl super::issued::Issued {
    /// The row of a certificate that a client has presented, in DER.
    #[must_use]
    pub fn find_certificate(&self, certificate_der: &[u8]) -> Option<Arc<CertificateRecord>> {
        let (issuer_der, serial) = issuer_and_serial(certificate_der)?;
        self.find(&issuer_der, &serial)
    }
}
