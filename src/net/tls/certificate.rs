//! Reads and checks the certificate chain and the private key of a port.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ring::digest::{SHA256, digest};
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::error::X509Error;
use x509_parser::prelude::FromDer;

/// Bytes of a certificate or key file that are read at most. A chain of three is about 5 KiB.
const FILE_LEN_MAX: u64 = 1024 * 1024;

/// Time before the end of a certificate from which on its end is announced.
const EXPIRY_NOTICE: Duration = Duration::from_secs(14 * 24 * 3600);

/// A certificate chain with its key, checked.
#[derive(Debug)]
pub(crate) struct Identity {
    /// What rustls signs with.
    pub(crate) certified: Arc<CertifiedKey>,
    /// What a person wants to know about it.
    pub(crate) summary: CertificateSummary,
}

/// What is known about the certificate of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateSummary {
    /// Subject of the server's own certificate.
    pub subject: String,
    /// Issuer of the server's own certificate.
    pub issuer: String,
    /// First moment at which the whole chain is valid.
    pub not_before: SystemTime,
    /// Last moment at which the whole chain is valid.
    pub not_after: SystemTime,
    /// SHA-256 of the server's own certificate.
    pub fingerprint: [u8; 32],
    /// What may surprise the operator although TLS works with it.
    pub notes: Vec<String>,
}

impl CertificateSummary {
    /// What is to be said about the validity of the chain at `now`.
    pub fn validity_note(&self, now: SystemTime) -> Option<String> {
        if now > self.not_after {
            return Some("the certificate has expired".to_owned());
        }
        if now < self.not_before {
            return Some(
                "the certificate is not valid yet; or the clock of this machine is behind"
                    .to_owned(),
            );
        }
        let left = self.not_after.duration_since(now).unwrap_or_default();
        (left < EXPIRY_NOTICE).then(|| {
            let days = left.as_secs() / (24 * 3600);
            format!("the certificate expires in {days} days")
        })
    }
}

/// Why a certificate or key cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub enum CertificateFault {
    /// The file is not there.
    Missing {
        /// The file.
        file: PathBuf,
    },
    /// The file is there but cannot be read.
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        kind: io::ErrorKind,
    },
    /// No `BEGIN CERTIFICATE` in the file.
    NoCertificate {
        /// The file.
        file: PathBuf,
        /// Whether there is a private key instead.
        holds_key: bool,
    },
    /// The file is not PEM.
    NotPem {
        /// The file.
        file: PathBuf,
    },
    /// A certificate that cannot be parsed.
    Malformed {
        /// The file.
        file: PathBuf,
        /// Its place in the file, from 1.
        place: usize,
    },
    /// A certificate that does not stand behind the one that it issued.
    OutOfPlace {
        /// The file.
        file: PathBuf,
        /// Its place in the file, from 1.
        place: usize,
        /// Its subject.
        subject: String,
        /// The issuer that the certificate before it names.
        wanted: String,
        /// The right order of the places, where there is one.
        order: Option<Vec<usize>>,
    },
    /// A certificate that has the name of the issuer but not its key.
    NotIssuer {
        /// The file.
        file: PathBuf,
        /// Its place in the file, from 1.
        place: usize,
        /// Its subject.
        subject: String,
    },
    /// More than one key algorithm in the chain.
    MixedKeyAlgorithms {
        /// The file.
        file: PathBuf,
        /// Algorithm of each certificate, in order.
        algorithms: Vec<String>,
    },
    /// No private key in the file.
    NoKey {
        /// The file.
        file: PathBuf,
        /// Whether there is a certificate instead.
        holds_certificate: bool,
    },
    /// The private key is protected by a pass phrase.
    KeyEncrypted {
        /// The file.
        file: PathBuf,
    },
    /// The private key is of a kind that is not supported, or damaged.
    KeyUnusable {
        /// The file.
        file: PathBuf,
    },
    /// The private key belongs to another certificate.
    KeyMismatch {
        /// File of the key.
        key: PathBuf,
        /// File of the certificates.
        cert: PathBuf,
        /// Place in the file of the certificate that the key belongs to, if it is one of them.
        belongs_to: Option<usize>,
    },
    /// The authority of the gateway cannot issue one.
    NotIssued {
        /// Why, in a sentence.
        reason: String,
        /// What to do about it.
        hint: String,
    },
}

impl CertificateFault {
    /// Whether the port has only to wait for the files.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Missing { .. })
    }

    /// What the operator may do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { file } => Some(format!(
                "put the file there; the port opens by itself when {} appears",
                file.display()
            )),
            Self::Unreadable { file, kind } => Some(match kind {
                io::ErrorKind::PermissionDenied => format!(
                    "the gateway runs as user {}; give its group the right to read, for example: chgrp fieldgate {file} && chmod 640 {file}",
                    nix::unistd::geteuid(),
                    file = file.display(),
                ),
                _ => "check the file and the disk that it is on".to_owned(),
            }),
            Self::NoCertificate { holds_key, .. } if *holds_key => {
                Some("`cert` and `key` may be swapped".to_owned())
            }
            Self::NoKey {
                holds_certificate, ..
            } if *holds_certificate => Some("`cert` and `key` may be swapped".to_owned()),
            Self::NoCertificate { .. } | Self::NotPem { .. } => {
                Some("the file must hold PEM text with BEGIN CERTIFICATE lines; a DER file is converted by: openssl x509 -inform der -in FILE -out server.crt".to_owned())
            }
            Self::NoKey { .. } => Some("the file must hold PEM text with a BEGIN PRIVATE KEY line".to_owned()),
            Self::Malformed { .. } => Some("write the file again from its source".to_owned()),
            Self::OutOfPlace { order, .. } => Some(match order {
                Some(order) => format!(
                    "the server's certificate comes first, then each issuer; in this file the order would be {}",
                    order.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
                ),
                None => "the server's certificate comes first, then each issuer; remove what belongs to another chain".to_owned(),
            }),
            Self::NotIssuer { .. } => Some("the issuer may have been renewed with a new key; take the certificate that was handed out together with the server's".to_owned()),
            Self::MixedKeyAlgorithms { .. } => Some("let an authority with the same kind of key issue the server's certificate".to_owned()),
            Self::KeyEncrypted { file } => Some(format!("remove the pass phrase: openssl pkey -in {} -out server.key", file.display())),
            Self::KeyUnusable { .. } => Some("RSA from 2048 bits, ECDSA P-256 and P-384, and Ed25519 keys are supported, as PKCS#8, PKCS#1 or SEC1".to_owned()),
            Self::NotIssued { hint, .. } => Some(hint.clone()),
            Self::KeyMismatch { belongs_to, .. } => Some(match belongs_to {
                Some(place) => format!("the key belongs to certificate {place} of the file; the server's certificate must come first"),
                None => "take the key that the certificate was requested with".to_owned(),
            }),
        }
    }
}

impl fmt::Display for CertificateFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { file } => write!(f, "{} is not there yet", file.display()),
            Self::Unreadable { file, kind } => {
                write!(f, "{} cannot be read: {kind}", file.display())
            }
            Self::NoCertificate { file, .. } => {
                write!(f, "{} holds no certificate", file.display())
            }
            Self::NotPem { file } => write!(f, "{} is not PEM text", file.display()),
            Self::Malformed { file, place } => write!(
                f,
                "certificate {place} of {} cannot be understood",
                file.display()
            ),
            Self::OutOfPlace {
                file,
                place,
                subject,
                wanted,
                ..
            } => write!(
                f,
                "certificate {place} of {} ({subject}) is out of place: the certificate before it was issued by {wanted}",
                file.display()
            ),
            Self::NotIssuer {
                file,
                place,
                subject,
            } => write!(
                f,
                "certificate {place} of {} ({subject}) has the name of the issuer of the certificate before it, but did not sign it",
                file.display()
            ),
            Self::MixedKeyAlgorithms { file, algorithms } => write!(
                f,
                "the chain in {} mixes key algorithms: {}",
                file.display(),
                algorithms.join(", ")
            ),
            Self::NoKey { file, .. } => write!(f, "{} holds no private key", file.display()),
            Self::KeyEncrypted { file } => write!(
                f,
                "the private key in {} is protected by a pass phrase",
                file.display()
            ),
            Self::KeyUnusable { file } => {
                write!(f, "the private key in {} cannot be used", file.display())
            }
            Self::NotIssued { reason, .. } => f.write_str(reason),
            Self::KeyMismatch { key, cert, .. } => write!(
                f,
                "the private key in {} does not belong to the first certificate in {}",
                key.display(),
                cert.display()
            ),
        }
    }
}

impl std::error::Error for CertificateFault {}

/// Reads and checks the files of a port.
pub(crate) fn load(cert: &Path, key: &Path) -> Result<Identity, CertificateFault> {
    let cert_text = read(cert)?;
    let key_text = read(key)?;
    let chain = parse_chain(&cert_text, cert)?;
    let mut identity = check(&chain, &parse_key(&key_text, key)?, cert, key)?;
    identity.summary.notes.extend(key_note(key));
    Ok(identity)
}

/// What the authority of the gateway has issued for a port.
pub(super) fn issued(
    chain: &[CertificateDer<'static>],
    key_pkcs8: &[u8],
) -> Result<Identity, CertificateFault> {
    let nowhere = Path::new("the certificate of the port");
    let key = PrivateKeyDer::Pkcs8(key_pkcs8.into());
    check(chain, &key, nowhere, nowhere)
}

fn check(
    chain: &[CertificateDer<'static>],
    private_key: &PrivateKeyDer<'_>,
    cert: &Path,
    key: &Path,
) -> Result<Identity, CertificateFault> {
    let mut parsed = Vec::with_capacity(chain.len());
    for (at, der) in chain.iter().enumerate() {
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|_| CertificateFault::Malformed {
                file: cert.to_owned(),
                place: at + 1,
            })?;
        parsed.push(certificate);
    }
    let signing_key =
        any_supported_type(private_key).map_err(|_| CertificateFault::KeyUnusable {
            file: key.to_owned(),
        })?;
    let public_key = signing_key.public_key();
    check_order(&parsed, cert)?;
    check_algorithms(&parsed, cert)?;
    if let Some(public_key) = &public_key {
        check_key(&parsed, public_key, cert, key)?;
    }
    Ok(Identity {
        certified: Arc::new(CertifiedKey::new(chain.to_vec(), signing_key)),
        summary: summarise(&parsed, chain, cert)?,
    })
}

fn read(file: &Path) -> Result<Vec<u8>, CertificateFault> {
    let fault = |error: io::Error| match error.kind() {
        // A folder that is not there, or a link into one, is the same to the operator.
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => CertificateFault::Missing {
            file: file.to_owned(),
        },
        kind => CertificateFault::Unreadable {
            file: file.to_owned(),
            kind,
        },
    };
    // A pipe would wait for a writer, for ever.
    if !std::fs::metadata(file).map_err(fault)?.is_file() {
        return Err(fault(io::ErrorKind::InvalidInput.into()));
    }
    let mut text = Vec::new();
    std::fs::File::open(file)
        .and_then(|opened| opened.take(FILE_LEN_MAX).read_to_end(&mut text))
        .map_err(fault)?;
    Ok(text)
}

fn parse_chain(text: &[u8], file: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateFault> {
    let mut chain = Vec::new();
    let mut holds_key = false;
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text) {
        let (kind, der) = section.map_err(|_| CertificateFault::NotPem {
            file: file.to_owned(),
        })?;
        match kind {
            SectionKind::Certificate => chain.push(CertificateDer::from(der)),
            other => holds_key |= is_key(other),
        }
    }
    if chain.is_empty() {
        return Err(CertificateFault::NoCertificate {
            file: file.to_owned(),
            holds_key,
        });
    }
    Ok(chain)
}

fn is_key(kind: SectionKind) -> bool {
    kind == SectionKind::PrivateKey
        || kind == SectionKind::RsaPrivateKey
        || kind == SectionKind::EcPrivateKey
}

fn parse_key(text: &[u8], file: &Path) -> Result<PrivateKeyDer<'static>, CertificateFault> {
    if let Ok(key) = PrivateKeyDer::from_pem_slice(text)
        && !contains(text, b"Proc-Type: 4,ENCRYPTED")
    {
        return Ok(key);
    }
    let file = file.to_owned();
    Err(if contains(text, b"ENCRYPTED") {
        CertificateFault::KeyEncrypted { file }
    } else if contains(text, b"PRIVATE KEY-----") {
        CertificateFault::KeyUnusable { file }
    } else {
        CertificateFault::NoKey {
            file,
            holds_certificate: contains(text, b"-----BEGIN CERTIFICATE-----"),
        }
    })
}

fn contains(text: &[u8], wanted: &[u8]) -> bool {
    text.windows(wanted.len()).any(|part| part == wanted)
}

fn check_order(chain: &[X509Certificate<'_>], file: &Path) -> Result<(), CertificateFault> {
    for (at, pair) in chain.windows(2).enumerate() {
        let [issued, issuer] = pair else { continue };
        if issued.issuer().as_raw() != issuer.subject().as_raw() {
            return Err(CertificateFault::OutOfPlace {
                file: file.to_owned(),
                place: at + 2,
                subject: issuer.subject().to_string(),
                wanted: issued.issuer().to_string(),
                order: right_order(chain),
            });
        }
        // An algorithm that cannot be checked here is left to the clients.
        if let Err(X509Error::SignatureVerificationError) =
            issued.verify_signature(Some(issuer.public_key()))
        {
            return Err(CertificateFault::NotIssuer {
                file: file.to_owned(),
                place: at + 2,
                subject: issuer.subject().to_string(),
            });
        }
    }
    Ok(())
}

/// The places of the file in the order leaf, issuer, issuer of the issuer; none if they are not one chain.
fn right_order(chain: &[X509Certificate<'_>]) -> Option<Vec<usize>> {
    let is_issuer = |candidate: usize| {
        chain.iter().enumerate().any(|(at, certificate)| {
            at != candidate
                && chain
                    .get(candidate)
                    .is_some_and(|c| c.subject().as_raw() == certificate.issuer().as_raw())
        })
    };
    let mut at = (0..chain.len()).find(|candidate| !is_issuer(*candidate))?;
    let mut order = vec![at + 1];
    while order.len() < chain.len() {
        let issuer = chain.get(at)?.issuer().as_raw();
        at = (0..chain.len()).find(|next| {
            !order.contains(&(next + 1))
                && chain
                    .get(*next)
                    .is_some_and(|c| c.subject().as_raw() == issuer)
        })?;
        order.push(at + 1);
    }
    Some(order)
}

fn check_algorithms(chain: &[X509Certificate<'_>], file: &Path) -> Result<(), CertificateFault> {
    let algorithms: Vec<String> = chain.iter().map(key_algorithm).collect();
    if algorithms
        .windows(2)
        .any(|pair| pair.first() != pair.last())
    {
        return Err(CertificateFault::MixedKeyAlgorithms {
            file: file.to_owned(),
            algorithms,
        });
    }
    Ok(())
}

fn key_algorithm(certificate: &X509Certificate<'_>) -> String {
    let oid = certificate.public_key().algorithm.algorithm.to_id_string();
    match oid.as_str() {
        "1.2.840.113549.1.1.1" | "1.2.840.113549.1.1.10" => "RSA".to_owned(),
        "1.2.840.10045.2.1" => "ECDSA".to_owned(),
        "1.3.101.112" => "Ed25519".to_owned(),
        _ => oid,
    }
}

fn check_key(
    chain: &[X509Certificate<'_>],
    public_key: &[u8],
    cert: &Path,
    key: &Path,
) -> Result<(), CertificateFault> {
    let place = chain
        .iter()
        .position(|certificate| certificate.public_key().raw == public_key);
    match place {
        Some(0) => Ok(()),
        other => Err(CertificateFault::KeyMismatch {
            key: key.to_owned(),
            cert: cert.to_owned(),
            belongs_to: other.map(|at| at + 1),
        }),
    }
}

fn summarise(
    chain: &[X509Certificate<'_>],
    ders: &[CertificateDer<'_>],
    file: &Path,
) -> Result<CertificateSummary, CertificateFault> {
    let (Some(leaf), Some(der)) = (chain.first(), ders.first()) else {
        return Err(CertificateFault::NoCertificate {
            file: file.to_owned(),
            holds_key: false,
        });
    };
    let begin = chain.iter().map(|c| c.validity().not_before.timestamp());
    let end = chain.iter().map(|c| c.validity().not_after.timestamp());
    let mut notes = Vec::new();
    if !matches!(leaf.subject_alternative_name(), Ok(Some(_))) {
        notes.push(
            "the certificate names no host (no subject alternative name); clients that check the name will refuse it"
                .to_owned(),
        );
    }
    if let Ok(Some(usage)) = leaf.extended_key_usage()
        && !usage.value.server_auth
        && !usage.value.any
    {
        notes.push(
            "the certificate is not meant for servers (no serverAuth in its extended key usage)"
                .to_owned(),
        );
    }
    Ok(CertificateSummary {
        subject: leaf.subject().to_string(),
        issuer: leaf.issuer().to_string(),
        not_before: moment(begin.max().unwrap_or(0)),
        not_after: moment(end.min().unwrap_or(0)),
        fingerprint: fingerprint(der),
        notes,
    })
}

/// SHA-256 of a certificate.
pub fn fingerprint(der: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, der).as_ref());
    hash
}

fn moment(unix_seconds: i64) -> SystemTime {
    match u64::try_from(unix_seconds) {
        Ok(seconds) => UNIX_EPOCH
            .checked_add(Duration::from_secs(seconds))
            .unwrap_or(UNIX_EPOCH),
        Err(_) => UNIX_EPOCH,
    }
}

fn key_note(key: &Path) -> Option<String> {
    use std::os::unix::fs::PermissionsExt;
    let file = key.canonicalize().ok()?;
    // Secrets of Kubernetes are readable for everybody in a pod that has nobody else, in a folder named `..2026_…`.
    let in_a_pod = file
        .components()
        .any(|part| part.as_os_str().as_encoded_bytes().starts_with(b".."));
    let mode = std::fs::metadata(&file).ok()?.permissions().mode();
    (mode & 0o004 != 0 && !in_a_pod).then(|| {
        format!(
            "everybody on this machine may read the private key {}",
            key.display()
        )
    })
}

#[cfg(test)]
mod tests;
