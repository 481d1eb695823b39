//! Certificates: how those of the authority and those that it issues are made, and how they are read.

use std::net::IpAddr;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyUsagePurpose, PublicKeyData, SanType,
    SerialNumber, SubjectPublicKeyInfo,
};
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::error::CaError;
use super::key::{KeyAlgorithm, PublicKeyKind, SecretKey};
use super::name::{self, DnsName};
use super::pem;
use super::permitted::NameLimits;

/// From when to when something is valid, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validity {
    /// The first second.
    pub not_before: u64,
    /// The last second.
    pub not_after: u64,
}

/// For what a certificate is issued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// A client of a port.
    #[default]
    Client,
    /// A port, or another server.
    Server,
}

/// What an authority may issue certificates for. Empty lists permit everything of their kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NameConstraints {
    /// Domains with everything below them.
    pub dns: Vec<DnsName>,
    /// Networks, as `10.0.0.0/8`.
    pub ip: Vec<String>,
}

impl NameConstraints {
    fn subtrees(&self) -> Result<Option<rcgen::NameConstraints>, CaError> {
        let mut permitted = Vec::new();
        for domain in &self.dns {
            permitted.push(GeneralSubtree::DnsName(domain.as_str().to_owned()));
        }
        for network in &self.ip {
            let subnet: CidrSubnet = network
                .parse()
                .map_err(|()| CaError::input(network, "it is no network such as 10.0.0.0/8"))?;
            permitted.push(GeneralSubtree::IpAddress(subnet));
        }
        if permitted.is_empty() {
            return Ok(None);
        }
        Ok(Some(rcgen::NameConstraints {
            permitted_subtrees: permitted,
            excluded_subtrees: Vec::new(),
        }))
    }
}

/// A certificate of an authority that is to be made.
pub(super) struct AuthorityOrder<'a> {
    pub(super) name: &'a str,
    pub(super) serial: &'a [u8],
    pub(super) validity: Validity,
    /// How many more authorities may stand below it.
    pub(super) path_len: u8,
    pub(super) constraints: &'a NameConstraints,
}

impl AuthorityOrder<'_> {
    fn params(&self) -> Result<CertificateParams, CaError> {
        let mut params = base(self.name, self.serial, self.validity)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(self.path_len));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.name_constraints = self.constraints.subtrees()?;
        Ok(params)
    }

    /// Makes a root.
    pub(super) fn self_signed(&self, key: &SecretKey) -> Result<Vec<u8>, CaError> {
        let made = self.params()?.self_signed(key).map_err(CaError::crypto)?;
        Ok(made.der().to_vec())
    }

    /// Makes an intermediate.
    pub(super) fn signed_by(
        &self,
        key: &SecretKey,
        issuer: &CaCertificate,
        issuer_key: &SecretKey,
    ) -> Result<Vec<u8>, CaError> {
        sign(&self.params()?, key, issuer, issuer_key)
    }
}

/// A certificate of a client or server that is to be made.
pub(super) struct LeafOrder<'a> {
    pub(super) name: &'a str,
    pub(super) serial: &'a [u8],
    pub(super) validity: Validity,
    pub(super) purpose: Purpose,
    pub(super) dns: &'a [DnsName],
    pub(super) ip: &'a [IpAddr],
}

impl LeafOrder<'_> {
    /// Makes the certificate for a key.
    pub(super) fn signed_by(
        &self,
        key: &impl PublicKeyData,
        issuer: &CaCertificate,
        issuer_key: &SecretKey,
    ) -> Result<Vec<u8>, CaError> {
        let mut params = base(self.name, self.serial, self.validity)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match self.purpose {
            Purpose::Client => ExtendedKeyUsagePurpose::ClientAuth,
            Purpose::Server => ExtendedKeyUsagePurpose::ServerAuth,
        }];
        for name in self.dns {
            let name = name.as_str().try_into().map_err(CaError::crypto)?;
            params.subject_alt_names.push(SanType::DnsName(name));
        }
        let addresses = self.ip.iter().copied().map(SanType::IpAddress);
        params.subject_alt_names.extend(addresses);
        sign(&params, key, issuer, issuer_key)
    }
}

/// Makes a request for a certificate, with the key that it is for, as PEM text.
pub fn make_request(
    name: &str,
    dns: &[DnsName],
    ip: &[IpAddr],
    key: &SecretKey,
) -> Result<String, CaError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = distinguished(name);
    for name in dns {
        let name = name.as_str().try_into().map_err(CaError::crypto)?;
        params.subject_alt_names.push(SanType::DnsName(name));
    }
    let addresses = ip.iter().copied().map(SanType::IpAddress);
    params.subject_alt_names.extend(addresses);
    let made = params.serialize_request(key).map_err(CaError::crypto)?;
    Ok(pem::encode(pem::REQUEST, made.der()).as_str().to_owned())
}

fn sign(
    params: &CertificateParams,
    key: &impl PublicKeyData,
    issuer: &CaCertificate,
    issuer_key: &SecretKey,
) -> Result<Vec<u8>, CaError> {
    let issuer = issuer.issuer(issuer_key)?;
    let made = params.signed_by(key, &issuer).map_err(CaError::crypto)?;
    Ok(made.der().to_vec())
}

fn base(name: &str, serial: &[u8], validity: Validity) -> Result<CertificateParams, CaError> {
    let mut params = CertificateParams::default();
    params.not_before = moment(validity.not_before)?;
    params.not_after = moment(validity.not_after)?;
    params.serial_number = Some(SerialNumber::from_slice(serial));
    params.distinguished_name = distinguished(name);
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn distinguished(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// A second as certificates have it.
pub(super) fn moment(seconds: u64) -> Result<OffsetDateTime, CaError> {
    let seconds = i64::try_from(seconds).map_err(CaError::crypto)?;
    OffsetDateTime::from_unix_timestamp(seconds).map_err(CaError::crypto)
}

/// A certificate of an authority, with what has to be known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CaCertificate {
    pub(super) der: CertificateDer<'static>,
    /// For people.
    pub(super) subject: String,
    /// The subject in DER, which is what certificates have as their issuer.
    pub(super) subject_der: Vec<u8>,
    pub(super) validity: Validity,
    pub(super) kind: Option<PublicKeyKind>,
    pub(super) algorithm: Option<KeyAlgorithm>,
    /// It is its own issuer.
    pub(super) is_root: bool,
    pub(super) key_id: Vec<u8>,
    /// `SubjectPublicKeyInfo`.
    pub(super) public_key_der: Vec<u8>,
    /// What it permits those below it to be called.
    pub(super) limits: NameLimits,
}

impl CaCertificate {
    /// Reads a certificate that may issue others.
    pub(super) fn parse(der: CertificateDer<'static>, file: &Path) -> Result<Self, CaError> {
        let certificate = read(&der, file)?;
        let subject = certificate.subject().to_string();
        let constraints = certificate.basic_constraints();
        let is_authority = matches!(&constraints, Ok(Some(found)) if found.value.ca);
        let may_sign = match certificate.key_usage() {
            Ok(Some(usage)) => usage.value.key_cert_sign() && usage.value.crl_sign(),
            Ok(None) => true,
            Err(_) => false,
        };
        if !is_authority || !may_sign {
            let file = file.to_owned();
            return Err(CaError::NotAuthority { file, subject });
        }
        let key = certificate.public_key();
        Ok(Self {
            subject_der: certificate.subject().as_raw().to_vec(),
            validity: validity(&certificate),
            kind: PublicKeyKind::of(key),
            algorithm: KeyAlgorithm::of(key),
            is_root: certificate.issuer().as_raw() == certificate.subject().as_raw(),
            key_id: key_id(&certificate),
            public_key_der: key.raw.to_vec(),
            limits: NameLimits::of(&certificate),
            subject,
            der,
        })
    }

    /// Reads the key that belongs to the certificate.
    pub(super) fn read_key(
        &self,
        text: &[u8],
        key_file: &Path,
        file: &Path,
    ) -> Result<SecretKey, CaError> {
        SecretKey::parse(text, key_file, read(&self.der, file)?.public_key(), file)
    }

    /// Whether the next certificate of a chain has issued this one.
    pub(super) fn is_issued_by(&self, issuer: &Self, file: &Path) -> Result<bool, CaError> {
        let (own, other) = (read(&self.der, file)?, read(&issuer.der, file)?);
        Ok(own.issuer().as_raw() == other.subject().as_raw()
            && own.verify_signature(Some(other.public_key())).is_ok())
    }

    /// The same for the library that signs.
    pub(super) fn issuer<'a>(
        &self,
        key: &'a SecretKey,
    ) -> Result<Issuer<'a, &'a SecretKey>, CaError> {
        Issuer::from_ca_cert_der(&self.der, key).map_err(CaError::crypto)
    }
}

/// What a certificate of a client or server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leaf {
    pub(super) serial: Vec<u8>,
    pub(super) issuer_der: Vec<u8>,
    pub(super) validity: Validity,
    pub(super) dns: Vec<DnsName>,
    pub(super) ip: Vec<IpAddr>,
    pub(super) public_key_der: Vec<u8>,
}

impl Leaf {
    pub(super) fn parse(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let mut leaf = Self {
            serial: certificate.raw_serial().to_vec(),
            issuer_der: certificate.issuer().as_raw().to_vec(),
            validity: validity(&certificate),
            dns: Vec::new(),
            ip: Vec::new(),
            public_key_der: certificate.public_key().raw.to_vec(),
        };
        if let Ok(Some(names)) = certificate.subject_alternative_name() {
            for found in &names.value.general_names {
                match found {
                    x509_parser::extensions::GeneralName::DNSName(text) => {
                        leaf.dns.extend(DnsName::parse(text).ok());
                    }
                    x509_parser::extensions::GeneralName::IPAddress(bytes) => {
                        leaf.ip.extend(name::address(bytes));
                    }
                    _ => {}
                }
            }
        }
        Some(leaf)
    }

    /// Reads the key that belongs to the certificate from the same file.
    pub(super) fn read_key(&self, text: &[u8], file: &Path) -> Result<SecretKey, CaError> {
        let (_, key) = x509_parser::x509::SubjectPublicKeyInfo::from_der(&self.public_key_der)
            .map_err(CaError::crypto)?;
        SecretKey::parse(text, file, &key, file)
    }

    /// The key, for another certificate of it.
    pub(super) fn public_key(&self) -> Result<SubjectPublicKeyInfo, CaError> {
        SubjectPublicKeyInfo::from_der(&self.public_key_der).map_err(CaError::crypto)
    }
}

fn read<'a>(der: &'a [u8], file: &Path) -> Result<X509Certificate<'a>, CaError> {
    let (rest, certificate) =
        X509Certificate::from_der(der).map_err(|_| CaError::CertificateMalformed {
            file: file.to_owned(),
        })?;
    if !rest.is_empty() {
        return Err(CaError::CertificateMalformed {
            file: file.to_owned(),
        });
    }
    Ok(certificate)
}

fn validity(certificate: &X509Certificate<'_>) -> Validity {
    let seconds = |time: i64| u64::try_from(time).unwrap_or(0);
    Validity {
        not_before: seconds(certificate.validity().not_before.timestamp()),
        not_after: seconds(certificate.validity().not_after.timestamp()),
    }
}

/// The subject key identifier, or what it would be.
fn key_id(certificate: &X509Certificate<'_>) -> Vec<u8> {
    let found =
        certificate
            .iter_extensions()
            .find_map(|extension| match extension.parsed_extension() {
                x509_parser::extensions::ParsedExtension::SubjectKeyIdentifier(id) => {
                    Some(id.0.to_vec())
                }
                _ => None,
            });
    found.unwrap_or_else(|| {
        let hash = ring::digest::digest(&ring::digest::SHA256, certificate.public_key().raw);
        hash.as_ref().iter().take(20).copied().collect()
    })
}
