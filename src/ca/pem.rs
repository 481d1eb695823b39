//! PEM text of certificates, requests and keys.

use std::path::Path;

use data_encoding::BASE64;
use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::error::CaError;

/// Characters of a line (RFC 7468, section 2).
const LINE: usize = 64;

pub(super) const CERTIFICATE: &str = "CERTIFICATE";
pub(super) const PRIVATE_KEY: &str = "PRIVATE KEY";
pub(super) const REQUEST: &str = "CERTIFICATE REQUEST";
pub(super) const CRL: &str = "X509 CRL";

/// The text of one object. It is erased when it is dropped, as it may be a key.
pub(super) fn encode(label: &str, der: &[u8]) -> Zeroizing<String> {
    let base64 = Zeroizing::new(BASE64.encode(der));
    let length = base64.len() + base64.len() / LINE + 2 * label.len() + 64;
    let mut text = Zeroizing::new(String::with_capacity(length));
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, next) = rest.split_at(rest.len().min(LINE));
        text.push_str(line);
        text.push('\n');
        rest = next;
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}

/// The text of certificates, one after the other.
pub(super) fn encode_chain<'a>(chain: impl IntoIterator<Item = &'a [u8]>) -> String {
    chain
        .into_iter()
        .map(|der| encode(CERTIFICATE, der).as_str().to_owned())
        .collect()
}

/// All certificates of a file; at least one.
pub(super) fn certificates(
    text: &[u8],
    file: &Path,
) -> Result<Vec<CertificateDer<'static>>, CaError> {
    let mut chain = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text) {
        let (kind, der) = section.map_err(|_| CaError::NotPem {
            file: file.to_owned(),
        })?;
        if kind == SectionKind::Certificate {
            chain.push(CertificateDer::from(der));
        }
    }
    if chain.is_empty() {
        return Err(CaError::NoCertificate {
            file: file.to_owned(),
        });
    }
    Ok(chain)
}

/// The text of each private key of a file; at least one.
pub(super) fn private_keys(text: &[u8], file: &Path) -> Result<Vec<Zeroizing<Vec<u8>>>, CaError> {
    // The whole file says more about what is wrong with the only key in it.
    const END: &[u8] = b"PRIVATE KEY-----";
    let mut keys = Vec::new();
    let (mut begin, mut at, mut marks) = (0, 0, 0);
    while let Some(found) = text
        .get(at..)
        .and_then(|rest| rest.windows(END.len()).position(|part| part == END))
    {
        at += found + END.len();
        marks += 1;
        if marks % 2 == 0 {
            keys.push(Zeroizing::new(
                text.get(begin..at).unwrap_or_default().to_vec(),
            ));
            begin = at;
        }
    }
    if keys.is_empty() {
        private_key(text, file)?;
        keys.push(Zeroizing::new(text.to_vec()));
    }
    Ok(keys)
}

/// The private key of a file.
pub(super) fn private_key(text: &[u8], file: &Path) -> Result<PrivateKeyDer<'static>, CaError> {
    let file = file.to_owned();
    let encrypted = text
        .windows(b"ENCRYPTED".len())
        .any(|part| part == b"ENCRYPTED");
    if encrypted {
        return Err(CaError::KeyEncrypted { file });
    }
    PrivateKeyDer::from_pem_slice(text).map_err(|_| CaError::KeyMalformed { file })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_again_as_it_was_written() {
        for length in [0, 1, 47, 48, 49, 1000] {
            let der = vec![7; length];
            let text = encode_chain([der.as_slice(), b"second"]);
            assert!(text.lines().all(|line| line.len() <= LINE), "{text}");
            let chain = certificates(text.as_bytes(), Path::new("x")).unwrap();
            assert_eq!(chain, [der.into(), b"second".to_vec().into()]);
        }
    }

    #[test]
    fn what_is_no_certificate_or_key_is_told_apart() {
        let file = Path::new("x");
        let none = certificates(b"", file).unwrap_err();
        assert!(matches!(none, CaError::NoCertificate { .. }));
        let broken = certificates(b"-----BEGIN CERTIFICATE-----\n*\n", file).unwrap_err();
        assert!(matches!(broken, CaError::NotPem { .. }));
        let locked = private_key(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n", file).unwrap_err();
        assert!(matches!(locked, CaError::KeyEncrypted { .. }));
        let damaged = private_key(b"-----BEGIN PRIVATE KEY-----\nAA", file).unwrap_err();
        assert!(matches!(damaged, CaError::KeyMalformed { .. }));
    }
}
