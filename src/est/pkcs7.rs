//! What clients get: certificates in a PKCS#7 without a signature (RFC 5272, section 4.1), and what a request should have
//! (RFC 7030, 4.5.2). Pure.

use data_encoding::BASE64;
use yasna::models::ObjectIdentifier;
use yasna::{Tag, construct_der};

use crate::ca::KeyAlgorithm;

/// Characters of a line. Some programs that decode Base64 take no longer ones.
const LINE: usize = 64;

const DATA: &[u64] = &[1, 2, 840, 113_549, 1, 7, 1];
const SIGNED_DATA: &[u64] = &[1, 2, 840, 113_549, 1, 7, 2];
const EC_PUBLIC_KEY: &[u64] = &[1, 2, 840, 10_045, 2, 1];
const P256: &[u64] = &[1, 2, 840, 10_045, 3, 1, 7];
const P384: &[u64] = &[1, 3, 132, 0, 34];
const ECDSA_WITH_SHA256: &[u64] = &[1, 2, 840, 10_045, 4, 3, 2];
const ECDSA_WITH_SHA384: &[u64] = &[1, 2, 840, 10_045, 4, 3, 3];
const ED25519: &[u64] = &[1, 3, 101, 112];
const RSA_ENCRYPTION: &[u64] = &[1, 2, 840, 113_549, 1, 1, 1];
const SHA256_WITH_RSA: &[u64] = &[1, 2, 840, 113_549, 1, 1, 11];

/// Certificates and nothing else.
pub(super) fn certificates_only<'a>(certificates: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_oid(&oid(SIGNED_DATA));
            writer.next().write_tagged(Tag::context(0), |writer| {
                writer.write_sequence(|writer| {
                    writer.next().write_u8(1);
                    writer.next().write_set(|_| {});
                    writer.next().write_sequence(|writer| {
                        writer.next().write_oid(&oid(DATA));
                    });
                    writer
                        .next()
                        .write_tagged_implicit(Tag::context(0), |writer| {
                            writer.write_set_of(|writer| {
                                for certificate in certificates {
                                    writer.next().write_der(certificate);
                                }
                            });
                        });
                    writer.next().write_set(|_| {});
                });
            });
        });
    })
}

/// The kind of key and of signature that the authority has itself. Clients may have others.
pub(super) fn request_attributes(algorithm: KeyAlgorithm) -> Vec<u8> {
    let (key, signature) = match algorithm {
        KeyAlgorithm::EcP256 => (Some(P256), ECDSA_WITH_SHA256),
        KeyAlgorithm::EcP384 => (Some(P384), ECDSA_WITH_SHA384),
        KeyAlgorithm::Ed25519 => (None, ED25519),
        KeyAlgorithm::Rsa3072 | KeyAlgorithm::Rsa4096 => (None, SHA256_WITH_RSA),
    };
    let bits = match algorithm {
        KeyAlgorithm::Rsa3072 => Some(3072),
        KeyAlgorithm::Rsa4096 => Some(4096),
        KeyAlgorithm::EcP256 | KeyAlgorithm::EcP384 | KeyAlgorithm::Ed25519 => None,
    };
    construct_der(|writer| {
        writer.write_sequence(|writer| {
            if let Some(curve) = key {
                writer.next().write_sequence(|writer| {
                    writer.next().write_oid(&oid(EC_PUBLIC_KEY));
                    writer
                        .next()
                        .write_set_of(|writer| writer.next().write_oid(&oid(curve)));
                });
            }
            if let Some(bits) = bits {
                writer.next().write_sequence(|writer| {
                    writer.next().write_oid(&oid(RSA_ENCRYPTION));
                    writer
                        .next()
                        .write_set_of(|writer| writer.next().write_u32(bits));
                });
            }
            writer.next().write_oid(&oid(signature));
        });
    })
}

/// Base64 in lines.
pub(super) fn base64(der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let mut lines = String::with_capacity(text.len() + text.len() / LINE + 1);
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, next) = rest.split_at(rest.len().min(LINE));
        lines.push_str(line);
        lines.push('\n');
        rest = next;
    }
    lines
}

fn oid(components: &[u64]) -> ObjectIdentifier {
    ObjectIdentifier::from_slice(components)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    /// What openssl says about it; `None` where there is no openssl.
    fn openssl(args: &[&str], input: &[u8]) -> Option<(bool, String)> {
        let mut child = Command::new("openssl")
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .ok()?;
        child.stdin.take()?.write_all(input).ok()?;
        let output = child.wait_with_output().ok()?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        Some((output.status.success(), text))
    }

    fn certificate(name: &str) -> Vec<u8> {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn certificates_are_found_by_others() {
        let all = [certificate("one"), certificate("two")];
        for count in [0, 1, 2] {
            let der = certificates_only(all.iter().take(count).map(Vec::as_slice));
            let args = ["pkcs7", "-inform", "DER", "-print_certs"];
            let Some((success, said)) = openssl(&args, &der) else {
                return;
            };
            assert!(success, "{said}");
            assert_eq!(said.matches("BEGIN CERTIFICATE").count(), count, "{said}");
        }
    }

    #[test]
    fn attributes_name_what_the_authority_has() {
        for (algorithm, words) in [
            (
                KeyAlgorithm::EcP256,
                &["id-ecPublicKey", "prime256v1", "ecdsa-with-SHA256"][..],
            ),
            (
                KeyAlgorithm::EcP384,
                &["id-ecPublicKey", "secp384r1", "ecdsa-with-SHA384"],
            ),
            (KeyAlgorithm::Ed25519, &["ED25519"]),
            (
                KeyAlgorithm::Rsa3072,
                &["rsaEncryption", "0C00", "sha256WithRSAEncryption"],
            ),
            (
                KeyAlgorithm::Rsa4096,
                &["rsaEncryption", "1000", "sha256WithRSAEncryption"],
            ),
        ] {
            let der = request_attributes(algorithm);
            let Some((success, said)) = openssl(&["asn1parse", "-inform", "DER"], &der) else {
                return;
            };
            assert!(success, "{said}");
            for word in words {
                assert!(said.contains(word), "{word}: {said}");
            }
        }
    }

    #[test]
    fn base64_has_short_lines() {
        for length in [0, 1, 47, 48, 49, 96, 1000] {
            let der = vec![7; length];
            let text = base64(&der);
            assert!(text.lines().all(|line| (1..=LINE).contains(&line.len())));
            let joined: String = text.lines().collect();
            assert_eq!(BASE64.decode(joined.as_bytes()).unwrap(), der);
        }
    }
}
