//! An intermediate of another authority in the place of the own issuer.

use std::path::Path;

use tracing::info;

use super::audit_kind;
use super::authority::{Asker, CertificateAuthority};
use super::certificate::CaCertificate;
use super::error::CaError;
use super::key::{KeyAlgorithm, SecretKey};
use super::layout::{IssuerEntry, KeyPlace, Role, RootEntry, State};
use super::provision::{self, Plan, Workshop};
use super::time::Reading;
use super::{hierarchy, pem};
use crate::clock;

/// A chain and a key that were made elsewhere.
#[derive(Debug)]
pub(super) struct Imported<'a> {
    pub(super) chain: &'a [u8],
    pub(super) chain_file: &'a Path,
    pub(super) key: &'a [u8],
    pub(super) key_file: &'a Path,
    /// The name of the gateway, for an authority that is not there yet.
    pub(super) name: &'a str,
}

/// The same, checked.
struct Intermediate {
    root: CaCertificate,
    /// Its own certificate, and those between it and the root.
    chain: Vec<CaCertificate>,
    subject: String,
    key: SecretKey,
    algorithm: KeyAlgorithm,
}

impl Imported<'_> {
    fn check(&self, reading: Reading) -> Result<Intermediate, CaError> {
        let file = self.chain_file;
        let mut chain = pem::certificates(self.chain, file)?
            .into_iter()
            .map(|der| CaCertificate::parse(der, file))
            .collect::<Result<Vec<_>, _>>()?;
        let whole: Vec<&CaCertificate> = chain.iter().collect();
        let algorithm = hierarchy::check_chain(&whole, file)?;
        let validity = hierarchy::common_validity(&whole);
        let no_root = || CaError::NoRoot {
            file: file.to_owned(),
        };
        let root = chain
            .pop()
            .filter(|root| root.is_root)
            .ok_or_else(no_root)?;
        let issuer = chain.first().ok_or_else(no_root)?;
        if !root.is_issued_by(&root, file)? {
            return Err(no_root());
        }
        let subject = issuer.subject.clone();
        if reading.is_plausible() && validity.not_after < reading.now {
            return Err(CaError::IssuerExpired {
                file: file.to_owned(),
                subject,
            });
        }
        Ok(Intermediate {
            key: issuer.read_key(self.key, self.key_file, file)?,
            algorithm: algorithm.unwrap_or_default(),
            subject,
            root,
            chain,
        })
    }
}

/// Whether a chain and a key can be imported.
pub fn check_import(
    chain: &[u8],
    chain_file: &Path,
    key: &[u8],
    key_file: &Path,
) -> Result<(), CaError> {
    let imported = Imported {
        chain,
        chain_file,
        key,
        key_file,
        name: "",
    };
    imported
        .check(Reading::settled(clock::wall_seconds()))
        .map(drop)
}

impl Intermediate {
    /// Puts it beside what there is, below a root that is known by its number already or is not.
    fn add(
        &self,
        shop: Workshop<'_>,
        state: &mut State,
        root: Option<u32>,
        reading: Reading,
    ) -> Result<(), CaError> {
        let root = match root {
            Some(number) => number,
            None => {
                let number = state.take_number();
                shop.put_certificates(Role::Root, number, [&self.root])?;
                state.roots.push(RootEntry {
                    number,
                    key: KeyPlace::Absent,
                });
                number
            }
        };
        let number = state.take_number();
        shop.put_certificates(Role::Issuing, number, &self.chain)?;
        let key = shop.put_key(Role::Issuing, number, &self.key)?;
        state.issuers.push(IssuerEntry {
            number,
            root,
            since: reading.now,
            key,
            provisional: false,
            imported: true,
        });
        Ok(())
    }
}

impl CertificateAuthority {
    /// Whether the first certificate of a chain is that of an issuer already.
    #[must_use]
    pub fn issues_by(&self, chain: &[u8]) -> bool {
        let certificates = pem::certificates(chain, Path::new("")).unwrap_or_default();
        let Some(first) = certificates.first().filter(|_| self.is_there()) else {
            return false;
        };
        let is_known = self.look(|hierarchy| {
            let mut issuers = hierarchy.issuers.iter();
            Ok(issuers.any(|issuer| issuer.certificate.der == *first))
        });
        is_known.unwrap_or(false)
    }

    /// Takes an intermediate of another authority, which issues from here on.
    pub(super) fn import(
        &self,
        imported: &Imported<'_>,
        reading: Reading,
        asker: &Asker,
    ) -> Result<(), CaError> {
        let _changing = self.changing();
        let found = imported.check(reading)?;
        if self.is_there() {
            self.change(|hierarchy| {
                let mut state = hierarchy.state.clone();
                state.algorithm = found.algorithm;
                let mut roots = hierarchy.roots.iter();
                let known = roots.find(|known| known.certificate.der == found.root.der);
                let number = known.map(|known| known.entry.number);
                found.add(self.shop(), &mut state, number, reading)?;
                self.shop().commit(&state)
            })?;
            self.look(|hierarchy| self.shop().publish(hierarchy, reading.now))?;
        } else {
            let plan = Plan {
                name: imported.name.to_owned(),
                algorithm: found.algorithm,
                ..Plan::default()
            };
            let fill =
                |shop: Workshop<'_>, state: &mut State| found.add(shop, state, None, reading);
            let made =
                provision::provision_with(self.state_dir(), self.shop(), &plan, reading, fill);
            *self.hierarchy() = None;
            made?;
        }
        info!(
            subject = found.subject,
            "certificate authority: an imported issuer issues from here on"
        );
        self.note(audit_kind::IMPORTED, &found.subject, "", reading, asker);
        self.write_crl(reading)?;
        self.changed();
        Ok(())
    }
}
