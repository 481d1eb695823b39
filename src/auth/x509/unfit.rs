//! Why a certificate of a client is not accepted.

use std::cell::Cell;
use std::fmt;

thread_local! {
    /// The certificate that was refused last on this thread. The TLS library has no place for more than the kind of the error,
    /// and the journal wants to know whose it was.
    static REFUSED: Cell<Option<Box<UnfitCertificate>>> = const { Cell::new(None) };
}

/// A certificate of a client that is not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnfitCertificate {
    /// Its subject, as far as it can be read; whatever its maker wrote, without control characters.
    pub subject: Option<String>,
    /// Why.
    pub reason: UnfitReason,
}

/// Why a certificate is not accepted.
///
/// The sentence of its `Display` continues "the certificate …".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnfitReason {
    /// Nobody has looked yet whom to trust.
    NotLoaded,
    /// The client presents more certificates, or larger ones, than anybody looks at.
    TooLong,
    /// It cannot be understood.
    Malformed,
    /// No trusted authority has issued it, as far as the certificates that came with it show.
    UnknownIssuer,
    /// Its signature, or one in its chain, is wrong.
    BadSignature,
    /// Its signature, or one in its chain, is of a kind that is not supported.
    UnsupportedSignature,
    /// It is not valid yet.
    NotYetValid,
    /// It is valid no more.
    Expired,
    /// An authority in its chain is not valid now.
    AuthorityNotValid,
    /// Its issuer has revoked it.
    Revoked,
    /// An authority in its chain has been revoked.
    AuthorityRevoked,
    /// It is not meant for clients.
    WrongPurpose,
    /// An authority in its chain may not issue it.
    NotAllowed,
}

impl UnfitCertificate {
    /// Keeps it for whoever does the handshake on this thread.
    pub fn keep(self) {
        REFUSED.set(Some(Box::new(self)));
    }

    /// The certificate that has just been refused on this thread, if one has.
    #[must_use]
    pub fn take_refused() -> Option<Box<Self>> {
        REFUSED.take()
    }
}

impl fmt::Display for UnfitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotLoaded => "cannot be judged yet",
            Self::TooLong => "comes with more than anybody looks at",
            Self::Malformed => "cannot be understood",
            Self::UnknownIssuer => "was issued by nobody who is trusted",
            Self::BadSignature => "has a wrong signature in its chain",
            Self::UnsupportedSignature => "has a signature of an unsupported kind in its chain",
            Self::NotYetValid => "is not valid yet, or the clock of this machine is behind",
            Self::Expired => "has expired",
            Self::AuthorityNotValid => "has an authority in its chain that is not valid now",
            Self::Revoked => "has been revoked",
            Self::AuthorityRevoked => "has an authority in its chain that has been revoked",
            Self::WrongPurpose => "is not meant for clients",
            Self::NotAllowed => "has an authority in its chain that may not issue it",
        })
    }
}

impl fmt::Display for UnfitCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.subject {
            Some(subject) => write!(f, "the certificate of {subject:?} {}", self.reason),
            None => write!(f, "the certificate {}", self.reason),
        }
    }
}

impl std::error::Error for UnfitCertificate {}

impl From<&webpki::Error> for UnfitReason {
    fn from(error: &webpki::Error) -> Self {
        use webpki::Error;
        match error {
            Error::UnknownIssuer => Self::UnknownIssuer,
            Error::CertExpired { .. } => Self::Expired,
            Error::CertNotValidYet { .. } => Self::NotYetValid,
            Error::InvalidSignatureForPublicKey => Self::BadSignature,
            Error::UnsupportedSignatureAlgorithmContext(_)
            | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
                Self::UnsupportedSignature
            }
            Error::RequiredEkuNotFoundContext(_) | Error::EmptyEkuExtension => Self::WrongPurpose,
            Error::CaUsedAsEndEntity
            | Error::EndEntityUsedAsCa
            | Error::PathLenConstraintViolated
            | Error::NameConstraintViolation => Self::NotAllowed,
            Error::MaximumSignatureChecksExceeded
            | Error::MaximumPathBuildCallsExceeded
            | Error::MaximumPathDepthExceeded
            | Error::MaximumNameConstraintComparisonsExceeded => Self::TooLong,
            _ => Self::Malformed,
        }
    }
}
