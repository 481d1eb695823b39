//! What goes into certificates, as files and command lines write it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Characters of a DNS name, and of one of its labels (RFC 1035, 2.3.4).
const DNS_NAME_CHARS_MAX: usize = 253;
const DNS_LABEL_CHARS_MAX: usize = 63;

/// A DNS name, which may begin with `*.`; in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DnsName(Box<str>);

impl DnsName {
    /// Checks a name.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let name = text.strip_prefix("*.").unwrap_or(text);
        if name.is_empty() || text.len() > DNS_NAME_CHARS_MAX {
            return Err("a DNS name has 1 to 253 characters");
        }
        for label in name.split('.') {
            if label.is_empty() || label.len() > DNS_LABEL_CHARS_MAX {
                return Err("a part of a DNS name has 1 to 63 characters");
            }
            let is_right = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            if !label.bytes().all(is_right) || label.starts_with('-') || label.ends_with('-') {
                return Err("a DNS name has only letters, digits and hyphens between its dots");
            }
        }
        if name
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
        {
            return Err("it is an address or a number, not a DNS name");
        }
        Ok(Self(text.to_ascii_lowercase().into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for DnsName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        Self::parse(text)
    }
}

impl TryFrom<String> for DnsName {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        Self::parse(&text)
    }
}

impl From<DnsName> for String {
    fn from(name: DnsName) -> Self {
        name.0.into()
    }
}

/// The kinds of keys that an authority can have. Everything in its chain has keys of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyAlgorithm {
    /// ECDSA on P-256 with SHA-256: small, fast, known to every client.
    #[default]
    EcP256,
    /// ECDSA on P-384 with SHA-384.
    EcP384,
    /// Ed25519.
    Ed25519,
    /// RSA with 3072 bits and SHA-256.
    Rsa3072,
    /// RSA with 4096 bits and SHA-256.
    Rsa4096,
}

impl KeyAlgorithm {
    /// Every kind, in the order in which they are listed.
    pub const ALL: [Self; 5] = [
        Self::EcP256,
        Self::EcP384,
        Self::Ed25519,
        Self::Rsa3072,
        Self::Rsa4096,
    ];

    /// The word for it on the command line and in files.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::EcP256 => "ec-p256",
            Self::EcP384 => "ec-p384",
            Self::Ed25519 => "ed25519",
            Self::Rsa3072 => "rsa3072",
            Self::Rsa4096 => "rsa4096",
        }
    }

    /// What certificates of it are called in one chain: the length of an RSA key is no matter there.
    #[must_use]
    pub fn family(self) -> &'static str {
        match self {
            Self::EcP256 => "EC P-256",
            Self::EcP384 => "EC P-384",
            Self::Ed25519 => "Ed25519",
            Self::Rsa3072 | Self::Rsa4096 => "RSA",
        }
    }
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
