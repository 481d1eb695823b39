//! What can go wrong with the authority, for whoever runs the gateway: which file, why, and the way out.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::request::RequestFault;
use crate::store::StoreError;

/// Why the authority cannot do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// There is no authority yet.
    #[error("there is no certificate authority in `{}` yet", folder.display())]
    Absent {
        /// Where it would be.
        folder: PathBuf,
    },
    /// There is an authority already.
    #[error("there is a certificate authority in `{}` already", folder.display())]
    Present {
        /// Where it is.
        folder: PathBuf,
    },
    /// There are files where an authority would be, and none that says what there is.
    #[error("`{}` has files, but no certificate authority: `state.json` is missing", folder.display())]
    LeftOver {
        /// The folder.
        folder: PathBuf,
    },
    /// A file or folder cannot be read or written.
    #[error("cannot {operation} `{}`: {error}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        operation: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// The file that says what there is cannot be understood.
    #[error("`{}` does not say which certificates there are: {detail}", file.display())]
    State {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// A file should be PEM text and is not.
    #[error("`{}` is not PEM text", file.display())]
    NotPem {
        /// The file.
        file: PathBuf,
    },
    /// A file should hold a certificate and does not.
    #[error("`{}` holds no certificate", file.display())]
    NoCertificate {
        /// The file.
        file: PathBuf,
    },
    /// A certificate cannot be understood.
    #[error("a certificate in `{}` is damaged", file.display())]
    CertificateMalformed {
        /// The file.
        file: PathBuf,
    },
    /// A private key cannot be understood.
    #[error("the private key in `{}` is damaged, or none", file.display())]
    KeyMalformed {
        /// The file.
        file: PathBuf,
    },
    /// A private key is protected by a pass phrase.
    #[error("the private key in `{}` is protected by a pass phrase", file.display())]
    KeyEncrypted {
        /// The file.
        file: PathBuf,
    },
    /// A certificate has a key of a kind, or of a length, that no authority has here.
    #[error("the key of the certificate in `{}` is of a kind that cannot be used", file.display())]
    KeyUnsupported {
        /// The file.
        file: PathBuf,
    },
    /// A private key belongs to another certificate.
    #[error("the private key in `{}` does not belong to the certificate in `{}`", key.display(), certificate.display())]
    KeyMismatch {
        /// File of the key.
        key: PathBuf,
        /// File of the certificate.
        certificate: PathBuf,
    },
    /// A sealed key cannot be opened.
    #[error("the sealed key `{}` cannot be opened: {detail}", file.display())]
    Sealed {
        /// The file.
        file: PathBuf,
        /// What was said about it.
        detail: String,
    },
    /// The key of the root is not on this device.
    #[error("the private key of the root is not on this device")]
    RootKeyAbsent,
    /// The chain has keys of more than one kind.
    #[error("the chain in `{}` mixes kinds of keys: {}", file.display(), kinds.join(", "))]
    MixedAlgorithms {
        /// The file.
        file: PathBuf,
        /// The kinds, in the order of the chain.
        kinds: Vec<String>,
    },
    /// A certificate may not issue others.
    #[error("the certificate in `{}` ({subject}) may not issue certificates", file.display())]
    NotAuthority {
        /// The file.
        file: PathBuf,
        /// Its subject.
        subject: String,
    },
    /// A certificate was not issued by the next one.
    #[error("the certificate in `{}` ({subject}) was not issued by the one that stands behind it", file.display())]
    BrokenChain {
        /// The file.
        file: PathBuf,
        /// Its subject.
        subject: String,
    },
    /// A chain that is to be imported does not end in a root.
    #[error("the chain in `{}` does not end in a root", file.display())]
    NoRoot {
        /// The file.
        file: PathBuf,
    },
    /// An issuer has ended.
    #[error("the certificate of the issuer in `{}` ({subject}) has expired", file.display())]
    IssuerExpired {
        /// The file.
        file: PathBuf,
        /// Its subject.
        subject: String,
    },
    /// A request for a certificate is refused.
    #[error("the request is refused: {0}")]
    Request(#[from] RequestFault),
    /// A name, an attribute or a number is not one that can be used.
    #[error("{what}: {problem}")]
    Input {
        /// What was given.
        what: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// No certificate is meant.
    #[error("there is no certificate of the name or with the serial number `{which}`")]
    Unknown {
        /// What was asked for.
        which: String,
    },
    /// The certificate was revoked already.
    #[error("the certificate with the serial number {serial} is revoked already")]
    Revoked {
        /// Its serial number.
        serial: String,
    },
    /// The certificate has expired, or has not begun.
    #[error("the certificate with the serial number {serial} is not valid now")]
    Ended {
        /// Its serial number.
        serial: String,
    },
    /// A bound is reached.
    #[error("there are {max} {what}, which is as many as there may be")]
    Full {
        /// Of what.
        what: &'static str,
        /// The bound.
        max: u64,
    },
    /// A certificate above the issuer does not permit what is to be issued.
    #[error("the authority may not issue for {what}")]
    NotPermitted {
        /// For whom or what.
        what: &'static str,
    },
    /// An enrolment token is unknown, used or expired.
    #[error("the enrolment token is unknown, was used, or has expired")]
    Token,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system gives no random numbers, so that no key can be made.
    #[error("no key can be made: the system gives no random numbers")]
    Chance,
    /// A certificate could not be made.
    #[error("the certificate cannot be made: {detail}")]
    Crypto {
        /// What the library said.
        detail: String,
    },
}

impl CaError {
    pub(super) fn io(path: &Path, operation: &'static str, error: io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            operation,
            error,
        }
    }

    /// Something that was begun and did not come to an end.
    pub fn failed(error: impl fmt::Display) -> Self {
        Self::crypto(error)
    }

    pub(super) fn crypto(error: impl fmt::Display) -> Self {
        Self::Crypto {
            detail: error.to_string(),
        }
    }

    pub(super) fn input(what: impl Into<String>, problem: &'static str) -> Self {
        Self::Input {
            what: what.into(),
            problem,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Absent { .. } => "make one with `fieldgate ca init`",
            Self::Present { .. } => {
                "`fieldgate ca status` shows it; to begin anew stop the gateway and move the folder away"
            }
            Self::Io { error, .. } => io_hint(error.kind()),
            Self::State { .. } | Self::LeftOver { .. } => {
                "bring the folder `ca` back from a backup, or move it away and make a new authority"
            }
            Self::NotPem { .. } | Self::NoCertificate { .. } => {
                "the file must hold PEM text with BEGIN CERTIFICATE lines; a DER file is converted by: openssl x509 -inform der -in FILE -out ca.crt"
            }
            Self::CertificateMalformed { .. } => {
                "write the file again from its source, or bring it back from a backup"
            }
            Self::KeyMalformed { .. } => {
                "the file must hold PEM text with a BEGIN PRIVATE KEY line; bring it back from a backup"
            }
            Self::KeyEncrypted { .. } => {
                "remove the pass phrase: openssl pkey -in FILE -out ca.key"
            }
            Self::KeyUnsupported { .. } => {
                "EC P-256, EC P-384, Ed25519, and RSA from 3072 bits can be used"
            }
            Self::KeyMismatch { .. } => "take the key that the certificate was requested with",
            Self::Sealed { .. } => {
                "a sealed key is opened only on the machine that sealed it, by root or by systemd: see LoadCredentialEncrypted= in docs/ca.md"
            }
            Self::RootKeyAbsent => {
                "bring it back with `fieldgate ca root-key restore FILE`, or begin a new root with `fieldgate ca rollover`"
            }
            Self::MixedAlgorithms { .. } => {
                "let an authority with the same kind of key issue the intermediate"
            }
            Self::NotAuthority { .. } => {
                "an intermediate is issued with CA:TRUE and the key usage keyCertSign and cRLSign"
            }
            Self::BrokenChain { .. } => {
                "the intermediate comes first, then each issuer, the root last"
            }
            Self::NoRoot { .. } => "append the certificate of the root to the chain",
            Self::IssuerExpired { .. } => {
                "see whether the clock is right; an imported intermediate is renewed with `fieldgate ca import`"
            }
            Self::Request(fault) => fault.hint(),
            Self::Input { .. } => "see `fieldgate ca --help`",
            Self::Unknown { .. } | Self::Revoked { .. } | Self::Ended { .. } => {
                "`fieldgate ca list` shows all of them"
            }
            Self::Full { .. } => {
                "what has expired is removed after a while; see `fieldgate ca list`"
            }
            Self::NotPermitted { .. } => {
                "see permit_dns and permit_ip in `fieldgate ca status`; an imported intermediate has its constraints from whoever issued it"
            }
            Self::Token => "make another one with `fieldgate ca token NAME`",
            Self::Store(fault) => fault.hint(),
            Self::Chance => "see whether the system has a source of random numbers",
            Self::Crypto { .. } => "report this as a fault of the program",
        }
    }

    /// Whether it may pass by itself, so that the same is worth trying again.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Store(fault) => fault.is_passing(),
            Self::Io { .. } | Self::Chance => true,
            _ => false,
        }
    }
}

fn io_hint(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::PermissionDenied => {
            "run as root, or as the user that the gateway runs as, to whom the folder belongs"
        }
        io::ErrorKind::NotFound => "bring the file back from a backup of the state folder",
        io::ErrorKind::InvalidInput | io::ErrorKind::IsADirectory => {
            "something else stands in the place of the file: move it away, and bring the file back from a backup"
        }
        io::ErrorKind::StorageFull => "free space on the volume",
        io::ErrorKind::ReadOnlyFilesystem => "mount the volume of the state folder for writing",
        _ => "look at the journal of the kernel for faults of the device",
    }
}
