//! Requests for certificates (PKCS#10, RFC 2986): what is taken from them, and what is refused.

use std::net::IpAddr;

use data_encoding::BASE64;
use rcgen::SubjectPublicKeyInfo;
use rustls::pki_types::pem::{PemObject, SectionKind};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::cri_attributes::ParsedCriAttribute;
use x509_parser::extensions::{GeneralName, ParsedExtension, X509Extension};
use x509_parser::prelude::FromDer;

use super::key::PublicKeyKind;
use super::name::{self, CommonName, DnsName};

/// Bytes of a request, as text or not.
pub const REQUEST_BYTES_MAX: usize = 64 * 1024;

/// Alternative names of one certificate. A gateway has a few addresses and names; each is looked at by every client.
pub const ALTERNATIVE_NAMES_MAX: usize = 64;

/// Bits of an RSA key that somebody brings, at least.
const RSA_BITS_MIN: usize = 2048;

/// Bits of an RSA key at most: checking a signature of a longer one costs much and gives nothing.
const RSA_BITS_MAX: usize = 8192;

/// Extensions that may be asked for although what is issued does not depend on them: key usage, extended key usage, subject
/// key identifier, and the Microsoft names of templates, which its tools add by themselves.
const PASSED_OVER: [&str; 5] = [
    "2.5.29.15",
    "2.5.29.37",
    "2.5.29.14",
    "1.3.6.1.4.1.311.20.2",
    "1.3.6.1.4.1.311.21.7",
];

/// A request that was checked: whoever made it has the key, the key is strong enough, and nothing is asked for that is not
/// given.
#[derive(Clone, Debug)]
pub struct SigningRequest {
    /// The common name of the subject, if there is one. The rest of the subject is passed over.
    pub name: Option<CommonName>,
    /// Alternative names that are asked for.
    pub dns: Vec<DnsName>,
    /// Alternative addresses that are asked for.
    pub ip: Vec<IpAddr>,
    pub(super) kind: PublicKeyKind,
    pub(super) public_key: SubjectPublicKeyInfo,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestFault {
    /// It is longer than any request is.
    #[error("it is longer than {REQUEST_BYTES_MAX} bytes")]
    TooLong,
    /// It cannot be understood.
    #[error("it is no PKCS#10 request")]
    Malformed,
    /// Its signature is not made with the key that it holds.
    #[error("its signature is not made with its own key")]
    NotSigned,
    /// The key is of a kind that is not supported.
    #[error("its key is of a kind that is not supported")]
    KeyUnsupported,
    /// The key is shorter or longer than permitted.
    #[error("its RSA key has {bits} bits")]
    KeyLength {
        /// Its length.
        bits: usize,
    },
    /// A certificate for a server needs a key of the kind that its issuers have.
    #[error("its key is of the kind {found}, the issuer's is of the kind {wanted}")]
    KeyKind {
        /// What it is.
        found: &'static str,
        /// What it should be.
        wanted: &'static str,
    },
    /// There is no name to put into the certificate.
    #[error("it has no common name, and none was given")]
    NoName,
    /// The common name cannot be used.
    #[error("its common name cannot be used: {0}")]
    Name(&'static str),
    /// The common name is another one than that of whoever asks.
    #[error("its common name is not that of whoever asks")]
    OtherName,
    /// An alternative name is another one than that of whoever asks.
    #[error("it asks for an alternative name that is not that of whoever asks")]
    OtherAlternativeName,
    /// A certificate that may issue others is asked for.
    #[error("it asks for a certificate that may issue others")]
    Authority,
    /// An extension is asked for that is never given.
    #[error("it asks for the extension {oid}")]
    Extension {
        /// Which.
        oid: String,
    },
    /// An alternative name of a kind that is never given.
    #[error("it asks for an alternative name that is neither a DNS name nor an address")]
    NameKind,
    /// An alternative name that is no name.
    #[error("it asks for an alternative name that cannot be used: {0}")]
    AlternativeName(&'static str),
    /// More alternative names than permitted.
    #[error("it asks for more than {ALTERNATIVE_NAMES_MAX} alternative names")]
    TooManyNames,
}

impl RequestFault {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::TooLong | Self::Malformed => {
                "a request is made by: openssl req -new -key FILE -subj /CN=NAME -out FILE"
            }
            Self::NotSigned => "make the request anew with the key that it is for",
            Self::KeyUnsupported | Self::KeyLength { .. } => {
                "EC P-256, EC P-384, Ed25519, and RSA with 2048 to 8192 bits can be used"
            }
            Self::KeyKind { .. } => "make the request with a key of the kind of the authority",
            Self::NoName => "give a name with `--name`",
            Self::Name(_) | Self::AlternativeName(_) => name::HINT,
            Self::OtherName => "ask for a certificate with your own name",
            Self::OtherAlternativeName => "ask for no DNS name but your own name",
            Self::Authority | Self::Extension { .. } => {
                "ask for no extension but the alternative names"
            }
            Self::NameKind => "ask for DNS names and addresses only",
            Self::TooManyNames => "ask for fewer names",
        }
    }
}

impl SigningRequest {
    /// Reads and checks a request: DER, PEM, or the bare Base64 of EST (RFC 8951).
    pub fn parse(bytes: &[u8]) -> Result<Self, RequestFault> {
        if bytes.len() > REQUEST_BYTES_MAX {
            return Err(RequestFault::TooLong);
        }
        let der = der(bytes)?;
        let (rest, request) =
            X509CertificationRequest::from_der(&der).map_err(|_| RequestFault::Malformed)?;
        if !rest.is_empty() {
            return Err(RequestFault::Malformed);
        }
        let key = &request.certification_request_info.subject_pki;
        let kind = PublicKeyKind::of(key).ok_or(RequestFault::KeyUnsupported)?;
        if let PublicKeyKind::Rsa(bits) = kind
            && !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits)
        {
            return Err(RequestFault::KeyLength { bits });
        }
        request
            .verify_signature()
            .map_err(|_| RequestFault::NotSigned)?;
        let mut checked = Self {
            name: common_name(&request)?,
            dns: Vec::new(),
            ip: Vec::new(),
            kind,
            public_key: SubjectPublicKeyInfo::from_der(key.raw)
                .map_err(|_| RequestFault::KeyUnsupported)?,
        };
        checked.take_extensions(&request)?;
        Ok(checked)
    }

    fn take_extensions(
        &mut self,
        request: &X509CertificationRequest<'_>,
    ) -> Result<(), RequestFault> {
        for attribute in request.certification_request_info.iter_attributes() {
            if let ParsedCriAttribute::ExtensionRequest(requested) = attribute.parsed_attribute() {
                for extension in &requested.extensions {
                    self.take_extension(extension)?;
                }
            }
        }
        Ok(())
    }

    fn take_extension(&mut self, extension: &X509Extension<'_>) -> Result<(), RequestFault> {
        match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(names) => {
                for name in &names.general_names {
                    self.take_name(name)?;
                }
                Ok(())
            }
            ParsedExtension::BasicConstraints(constraints) if constraints.ca => {
                Err(RequestFault::Authority)
            }
            ParsedExtension::BasicConstraints(_) => Ok(()),
            _ => {
                let oid = extension.oid.to_id_string();
                if PASSED_OVER.contains(&oid.as_str()) {
                    return Ok(());
                }
                Err(RequestFault::Extension { oid })
            }
        }
    }

    fn take_name(&mut self, name: &GeneralName<'_>) -> Result<(), RequestFault> {
        if self.dns.len() + self.ip.len() >= ALTERNATIVE_NAMES_MAX {
            return Err(RequestFault::TooManyNames);
        }
        match name {
            GeneralName::DNSName(text) => {
                let name = DnsName::parse(text).map_err(RequestFault::AlternativeName)?;
                self.dns.push(name);
            }
            GeneralName::IPAddress(bytes) => {
                let address = name::address(bytes).ok_or(RequestFault::AlternativeName(
                    "an address has 4 or 16 bytes",
                ))?;
                self.ip.push(address);
            }
            _ => return Err(RequestFault::NameKind),
        }
        Ok(())
    }
}

/// The one common name of the subject.
fn common_name(request: &X509CertificationRequest<'_>) -> Result<Option<CommonName>, RequestFault> {
    let mut names = request
        .certification_request_info
        .subject
        .iter_common_name();
    let Some(first) = names.next() else {
        return Ok(None);
    };
    if names.next().is_some() {
        return Err(RequestFault::Name("there is more than one"));
    }
    let text = first
        .as_str()
        .map_err(|_| RequestFault::Name("it is no text"))?;
    if text.is_empty() {
        return Ok(None);
    }
    CommonName::parse(text)
        .map(Some)
        .map_err(RequestFault::Name)
}

/// The request without its wrapping.
fn der(bytes: &[u8]) -> Result<Vec<u8>, RequestFault> {
    // The first byte of DER is that of a sequence, which no text begins with.
    if bytes.first() == Some(&0x30) && bytes.get(1).is_some_and(|length| *length >= 0x80) {
        return Ok(bytes.to_vec());
    }
    if bytes.windows(11).any(|part| part == b"-----BEGIN ") {
        let mut sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(bytes);
        return sections
            .find_map(|section| match section {
                Ok((SectionKind::Csr, der)) => Some(der),
                _ => None,
            })
            .ok_or(RequestFault::Malformed);
    }
    let bare: Vec<u8> = bytes
        .iter()
        .copied()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    BASE64.decode(&bare).map_err(|_| RequestFault::Malformed)
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
