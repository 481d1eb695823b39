//! Keys: made, read and written; erased from memory when they are dropped.

use std::fmt;
use std::path::Path;

use rcgen::{PublicKeyData, SignatureAlgorithm, SigningKey};
use rsa::pkcs8::EncodePrivateKey;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_parser::x509::SubjectPublicKeyInfo;
use yasna::models::ObjectIdentifier;
use zeroize::{Zeroize, Zeroizing};

use super::chance::Chance;
use super::error::CaError;
use super::pem;
pub use crate::config::KeyAlgorithm;

/// Object identifiers of kinds of keys.
const RSA: &str = "1.2.840.113549.1.1.1";
const EC: &str = "1.2.840.10045.2.1";
const P256: &str = "1.2.840.10045.3.1.7";
const P384: &str = "1.3.132.0.34";
const ED25519: &str = "1.3.101.112";

impl KeyAlgorithm {
    fn rcgen(self) -> &'static SignatureAlgorithm {
        match self {
            Self::EcP256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Self::EcP384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            Self::Ed25519 => &rcgen::PKCS_ED25519,
            Self::Rsa3072 | Self::Rsa4096 => &rcgen::PKCS_RSA_SHA256,
        }
    }

    /// The kind of the key of a certificate; RSA by its length. `None` for a kind or a length that no authority has.
    pub(super) fn of(key: &SubjectPublicKeyInfo<'_>) -> Option<Self> {
        match PublicKeyKind::of(key)? {
            PublicKeyKind::EcP256 => Some(Self::EcP256),
            PublicKeyKind::EcP384 => Some(Self::EcP384),
            PublicKeyKind::Ed25519 => Some(Self::Ed25519),
            PublicKeyKind::Rsa(bits) if bits >= 4096 => Some(Self::Rsa4096),
            PublicKeyKind::Rsa(bits) if bits >= 3072 => Some(Self::Rsa3072),
            PublicKeyKind::Rsa(_) => None,
        }
    }
}

/// A public key that somebody has brought, by kind and strength.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PublicKeyKind {
    EcP256,
    EcP384,
    Ed25519,
    /// With so many bits.
    Rsa(usize),
}

impl PublicKeyKind {
    pub(super) fn of(key: &SubjectPublicKeyInfo<'_>) -> Option<Self> {
        let curve = || {
            let parameters = key.algorithm.parameters.as_ref()?;
            Some(parameters.as_oid().ok()?.to_id_string())
        };
        match key.algorithm.algorithm.to_id_string().as_str() {
            ED25519 => Some(Self::Ed25519),
            RSA => match key.parsed().ok()? {
                x509_parser::public_key::PublicKey::RSA(rsa) => Some(Self::Rsa(rsa.key_size())),
                _ => None,
            },
            EC => match curve()?.as_str() {
                P256 => Some(Self::EcP256),
                P384 => Some(Self::EcP384),
                _ => None,
            },
            _ => None,
        }
    }

    /// What certificates of it are called in one chain: the length of an RSA key is no matter there.
    pub(super) fn family(self) -> &'static str {
        match self {
            Self::EcP256 => KeyAlgorithm::EcP256.family(),
            Self::EcP384 => KeyAlgorithm::EcP384.family(),
            Self::Ed25519 => KeyAlgorithm::Ed25519.family(),
            Self::Rsa(_) => KeyAlgorithm::Rsa4096.family(),
        }
    }
}

/// A private key. Neither the text of an error nor of the log ever has it.
pub struct SecretKey {
    pair: rcgen::KeyPair,
    pkcs8: Zeroizing<Vec<u8>>,
    algorithm: KeyAlgorithm,
}

impl SecretKey {
    /// Makes a key. RSA takes seconds, on small boards longer than a minute.
    pub fn generate(algorithm: KeyAlgorithm, chance: &dyn Chance) -> Result<Self, CaError> {
        let pkcs8 = match algorithm {
            KeyAlgorithm::EcP256 | KeyAlgorithm::EcP384 => {
                let mut pair =
                    rcgen::KeyPair::generate_for(algorithm.rcgen()).map_err(CaError::crypto)?;
                let pkcs8 = Zeroizing::new(pair.serialize_der());
                pair.zeroize();
                pkcs8
            }
            KeyAlgorithm::Ed25519 => generate_ed25519(chance)?,
            KeyAlgorithm::Rsa3072 => generate_rsa(3072, chance)?,
            KeyAlgorithm::Rsa4096 => generate_rsa(4096, chance)?,
        };
        Self::from_pkcs8(pkcs8, algorithm).ok_or(CaError::Chance)
    }

    /// Reads a key that belongs to a certificate.
    pub(super) fn parse(
        text: &[u8],
        file: &Path,
        certificate: &SubjectPublicKeyInfo<'_>,
        certificate_file: &Path,
    ) -> Result<Self, CaError> {
        let malformed = || CaError::KeyMalformed {
            file: file.to_owned(),
        };
        let algorithm = KeyAlgorithm::of(certificate).ok_or_else(|| CaError::KeyUnsupported {
            file: certificate_file.to_owned(),
        })?;
        let der = pem::private_key(text, file)?;
        let mismatch = || CaError::KeyMismatch {
            key: file.to_owned(),
            certificate: certificate_file.to_owned(),
        };
        // What is a key of another kind does not belong to the certificate; what is no key at all is damaged.
        let Some(key) = wrapped(&der, algorithm).and_then(|der| Self::from_pkcs8(der, algorithm))
        else {
            let is_key = rustls::crypto::ring::sign::any_supported_type(&der).is_ok();
            return Err(if is_key { mismatch() } else { malformed() });
        };
        if key.public_key() == certificate.raw {
            Ok(key)
        } else {
            Err(mismatch())
        }
    }

    fn from_pkcs8(pkcs8: Zeroizing<Vec<u8>>, algorithm: KeyAlgorithm) -> Option<Self> {
        let der = PrivatePkcs8KeyDer::from(pkcs8.as_slice());
        let pair = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&der, algorithm.rcgen()).ok()?;
        Some(Self {
            pair,
            pkcs8,
            algorithm,
        })
    }

    /// The kind of the key.
    #[must_use]
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// The public key with its algorithm, in DER.
    #[must_use]
    pub fn public_key(&self) -> Vec<u8> {
        self.pair.subject_public_key_info()
    }

    /// PKCS#8 in DER.
    #[must_use]
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// PKCS#8 as text.
    #[must_use]
    pub fn pem(&self) -> Zeroizing<String> {
        pem::encode(pem::PRIVATE_KEY, &self.pkcs8)
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretKey")
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

impl Drop for SecretKey {
    fn drop(&mut self) {
        self.pair.zeroize();
    }
}

impl PublicKeyData for SecretKey {
    fn der_bytes(&self) -> &[u8] {
        self.pair.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        PublicKeyData::algorithm(&self.pair)
    }
}

impl SigningKey for SecretKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.pair.sign(message)
    }
}

/// PKCS#8 around a key that is written in the older form of its kind.
fn wrapped(key: &PrivateKeyDer<'_>, algorithm: KeyAlgorithm) -> Option<Zeroizing<Vec<u8>>> {
    let inner = match key {
        PrivateKeyDer::Pkcs8(der) => return Some(Zeroizing::new(der.secret_pkcs8_der().to_vec())),
        PrivateKeyDer::Pkcs1(der) => der.secret_pkcs1_der(),
        PrivateKeyDer::Sec1(der) => der.secret_sec1_der(),
        _ => return None,
    };
    let (kind, curve): (&[u64], &[u64]) = match algorithm {
        KeyAlgorithm::EcP256 => (&[1, 2, 840, 10045, 2, 1], &[1, 2, 840, 10045, 3, 1, 7]),
        KeyAlgorithm::EcP384 => (&[1, 2, 840, 10045, 2, 1], &[1, 3, 132, 0, 34]),
        KeyAlgorithm::Rsa3072 | KeyAlgorithm::Rsa4096 => (&[1, 2, 840, 113_549, 1, 1, 1], &[]),
        KeyAlgorithm::Ed25519 => return None,
    };
    Some(Zeroizing::new(yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_u8(0);
            writer.next().write_sequence(|writer| {
                writer.next().write_oid(&ObjectIdentifier::from_slice(kind));
                if curve.is_empty() {
                    writer.next().write_null();
                } else {
                    writer
                        .next()
                        .write_oid(&ObjectIdentifier::from_slice(curve));
                }
            });
            writer.next().write_bytes(inner);
        });
    })))
}

/// The first version of PKCS#8, without the public key: OpenSSL 3.0 reads no other.
fn generate_ed25519(chance: &dyn Chance) -> Result<Zeroizing<Vec<u8>>, CaError> {
    let mut seed = Zeroizing::new([0; 32]);
    chance.fill(&mut *seed)?;
    let inner = Zeroizing::new(yasna::construct_der(|writer| writer.write_bytes(&*seed)));
    Ok(Zeroizing::new(yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_u8(0);
            writer.next().write_sequence(|writer| {
                let kind = ObjectIdentifier::from_slice(&[1, 3, 101, 112]);
                writer.next().write_oid(&kind);
            });
            writer.next().write_bytes(&inner);
        });
    })))
}

fn generate_rsa(bits: usize, chance: &dyn Chance) -> Result<Zeroizing<Vec<u8>>, CaError> {
    let key = rsa::PrivateKey::new(&mut RsaChance(chance), bits).map_err(|_| CaError::Chance)?;
    let der = key.to_pkcs8_der().map_err(|_| CaError::Chance)?;
    Ok(Zeroizing::new(der.as_bytes().to_vec()))
}

/// Chance as the library for RSA wants it.
struct RsaChance<'a>(&'a dyn Chance);

impl rsa::rand_core::TryRng for RsaChance<'_> {
    type Error = CaError;

    fn try_next_u32(&mut self) -> Result<u32, CaError> {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, CaError> {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), CaError> {
        self.0.fill(bytes)
    }
}

impl rsa::rand_core::TryCryptoRng for RsaChance<'_> {}

#[cfg(test)]
#[path = "key_tests.rs"]
mod tests;
