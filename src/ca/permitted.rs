//! What the certificates above a new one permit it to be (RFC 5280, 4.2.1.10 and 4.2.1.12).
//!
//! Two answers to the same question: which names of the machine are worth trying, and whether the certificate that came of it
//! will be taken by those who verify it.

use std::net::IpAddr;

use rustls::pki_types::{CertificateDer, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, GeneralSubtree, ParsedExtension};

use super::certificate::Purpose;
use super::error::CaError;
use super::name::DnsName;

/// The name constraints of one certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NameLimits {
    permitted: Vec<Subtree>,
    excluded: Vec<Subtree>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Subtree {
    /// A domain in lower case; with a dot in front only what is below it.
    Dns(String),
    /// Address and mask, of one length.
    Ip(Vec<u8>),
}

impl NameLimits {
    pub(super) fn of(certificate: &X509Certificate<'_>) -> Self {
        let found = certificate.iter_extensions().find_map(|extension| {
            match extension.parsed_extension() {
                ParsedExtension::NameConstraints(found) => Some(found),
                _ => None,
            }
        });
        let subtrees = |list: &Option<Vec<GeneralSubtree<'_>>>| {
            let list = list.iter().flatten();
            list.filter_map(|subtree| Subtree::of(&subtree.base))
                .collect()
        };
        found.map_or_else(Self::default, |found| Self {
            permitted: subtrees(&found.permitted_subtrees),
            excluded: subtrees(&found.excluded_subtrees),
        })
    }

    pub(super) fn permits_dns(&self, name: &DnsName) -> bool {
        let of_kind = |subtree: &&Subtree| matches!(subtree, Subtree::Dns(_));
        self.permits(of_kind, |subtree| subtree.has_dns(name.as_str()))
    }

    pub(super) fn permits_ip(&self, ip: IpAddr) -> bool {
        let of_kind = |subtree: &&Subtree| matches!(subtree, Subtree::Ip(_));
        self.permits(of_kind, |subtree| subtree.has_ip(ip))
    }

    /// What is not constrained in its kind is permitted.
    fn permits(&self, of_kind: impl Fn(&&Subtree) -> bool, has: impl Fn(&Subtree) -> bool) -> bool {
        let mut of_this_kind = self.permitted.iter().filter(of_kind).peekable();
        let is_permitted = of_this_kind.peek().is_none() || of_this_kind.any(&has);
        is_permitted && !self.excluded.iter().any(has)
    }
}

impl Subtree {
    fn of(name: &GeneralName<'_>) -> Option<Self> {
        match name {
            GeneralName::DNSName(domain) => Some(Self::Dns(domain.to_ascii_lowercase())),
            GeneralName::IPAddress(bytes) => Some(Self::Ip(bytes.to_vec())),
            _ => None,
        }
    }

    fn has_dns(&self, name: &str) -> bool {
        let Self::Dns(domain) = self else {
            return false;
        };
        let name = name.trim_start_matches("*.");
        match domain.strip_prefix('.') {
            Some(_) => name.ends_with(domain.as_str()),
            None => {
                let above = name.strip_suffix(domain.as_str());
                above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
                    || domain.is_empty()
            }
        }
    }

    fn has_ip(&self, ip: IpAddr) -> bool {
        let Self::Ip(bytes) = self else {
            return false;
        };
        let (network, mask) = bytes.split_at(bytes.len() / 2);
        let own = match ip {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        own.len() == network.len()
            && own
                .iter()
                .zip(network)
                .zip(mask)
                .all(|((own, network), mask)| own & mask == network & mask)
    }
}

/// Verifies a certificate that was just made, as those will that it is shown to.
///
/// `issuers` are the certificates between it and the root; `at` is a second at which all of them are valid.
pub(super) fn verify(
    der: &[u8],
    issuers: &[CertificateDer<'_>],
    root: &CertificateDer<'_>,
    purpose: Purpose,
    at: u64,
) -> Result<(), CaError> {
    let anchor = webpki::anchor_from_trusted_cert(root).map_err(CaError::crypto)?;
    let own = CertificateDer::from(der);
    let own = webpki::EndEntityCert::try_from(&own).map_err(CaError::crypto)?;
    let usage = match purpose {
        Purpose::Client => webpki::KeyUsage::client_auth(),
        Purpose::Server => webpki::KeyUsage::server_auth(),
    };
    let anchors = [anchor];
    let verified = own.verify_for_usage(
        rustls::crypto::ring::default_provider()
            .signature_verification_algorithms
            .all,
        &anchors,
        issuers,
        UnixTime::since_unix_epoch(std::time::Duration::from_secs(at)),
        usage,
        None,
        None,
    );
    match verified {
        Ok(_) => Ok(()),
        Err(webpki::Error::NameConstraintViolation) => Err(CaError::NotPermitted {
            what: "these names or addresses",
        }),
        Err(webpki::Error::RequiredEkuNotFoundContext(_)) => Err(CaError::NotPermitted {
            what: match purpose {
                Purpose::Client => "clients",
                Purpose::Server => "servers",
            },
        }),
        Err(error) => Err(CaError::crypto(error)),
    }
}
