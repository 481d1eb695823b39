//! PKCS#12 (RFC 7292): a key and its chain in one file, as Windows, Android and Java import it.
//!
//! Only written, never read. The key is encrypted with AES-256 under PBKDF2 (PBES2, RFC 8018); the chain is public and is
//! not; the whole is under a MAC with SHA-256.

use aes::Aes256;
use cbc::Encryptor;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeEncrypt, KeyIvInit};
use ring::digest::{Context, SHA256};
use ring::{hmac, pbkdf2};
use std::num::NonZeroU32;
use yasna::models::ObjectIdentifier;
use yasna::{DERWriter, Tag, construct_der};
use zeroize::Zeroizing;

use super::chance::{self, Chance};
use super::error::CaError;
use super::key::SecretKey;

/// Rounds of both derivations: a tenth of a second on a small board, and the password is not one that is guessed.
const ROUNDS: u32 = 100_000;

/// Letters of a password that is made for a file: 80 bits.
const PASSWORD_LETTERS: usize = 16;

const SALT_BYTES: usize = 16;
const BLOCK: usize = 16;

/// Bytes that SHA-256 takes at a time, for the derivation of the key of the MAC.
const HASH_BLOCK: usize = 64;

const DATA: &[u64] = &[1, 2, 840, 113_549, 1, 7, 1];
const SHROUDED_KEY_BAG: &[u64] = &[1, 2, 840, 113_549, 1, 12, 10, 1, 2];
const CERT_BAG: &[u64] = &[1, 2, 840, 113_549, 1, 12, 10, 1, 3];
const X509: &[u64] = &[1, 2, 840, 113_549, 1, 9, 22, 1];
const FRIENDLY_NAME: &[u64] = &[1, 2, 840, 113_549, 1, 9, 20];
const LOCAL_KEY_ID: &[u64] = &[1, 2, 840, 113_549, 1, 9, 21];
const PBES2: &[u64] = &[1, 2, 840, 113_549, 1, 5, 13];
const PBKDF2: &[u64] = &[1, 2, 840, 113_549, 1, 5, 12];
const HMAC_SHA256: &[u64] = &[1, 2, 840, 113_549, 2, 9];
const AES_256_CBC: &[u64] = &[2, 16, 840, 1, 101, 3, 4, 1, 42];
const SHA_256: &[u64] = &[2, 16, 840, 1, 101, 3, 4, 2, 1];

/// A password for a file.
pub fn make_password(chance: &dyn Chance) -> Result<Zeroizing<String>, CaError> {
    chance::letters(chance, PASSWORD_LETTERS).map(Zeroizing::new)
}

/// Puts a key and its chain, the own certificate first, under a name and a password.
pub fn encode(
    name: &str,
    key: &SecretKey,
    chain: &[Vec<u8>],
    password: &str,
    chance: &dyn Chance,
) -> Result<Vec<u8>, CaError> {
    let mut random = [0; 2 * SALT_BYTES + BLOCK];
    chance.fill(&mut random)?;
    let (salts, iv) = random.split_at(2 * SALT_BYTES);
    let (key_salt, mac_salt) = salts.split_at(SALT_BYTES);
    let shrouded = encrypt(key.pkcs8(), password, key_salt, iv)?;
    let contents = construct_der(|writer| {
        writer.write_sequence(|writer| {
            write_key(writer.next(), name, key_salt, iv, &shrouded);
            for (place, certificate) in chain.iter().enumerate() {
                write_certificate(writer.next(), certificate, (place == 0).then_some(name));
            }
        });
    });
    let safe = construct_der(|writer| {
        writer.write_sequence(|writer| write_data(writer.next(), &contents));
    });
    let mac_key = hmac::Key::new(hmac::HMAC_SHA256, &mac_key(password, mac_salt));
    let mac = hmac::sign(&mac_key, &safe);
    Ok(construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_u8(3);
            write_data(writer.next(), &safe);
            writer.next().write_sequence(|writer| {
                writer.next().write_sequence(|writer| {
                    write_algorithm(writer.next(), SHA_256);
                    writer.next().write_bytes(mac.as_ref());
                });
                writer.next().write_bytes(mac_salt);
                writer.next().write_u32(ROUNDS);
            });
        });
    }))
}

fn write_key(writer: DERWriter<'_>, name: &str, salt: &[u8], iv: &[u8], shrouded: &[u8]) {
    writer.write_sequence(|writer| {
        writer
            .next()
            .write_oid(&ObjectIdentifier::from_slice(SHROUDED_KEY_BAG));
        writer.next().write_tagged(Tag::context(0), |writer| {
            writer.write_sequence(|writer| {
                writer.next().write_sequence(|writer| {
                    writer
                        .next()
                        .write_oid(&ObjectIdentifier::from_slice(PBES2));
                    writer.next().write_sequence(|writer| {
                        writer.next().write_sequence(|writer| {
                            writer
                                .next()
                                .write_oid(&ObjectIdentifier::from_slice(PBKDF2));
                            writer.next().write_sequence(|writer| {
                                writer.next().write_bytes(salt);
                                writer.next().write_u32(ROUNDS);
                                write_algorithm(writer.next(), HMAC_SHA256);
                            });
                        });
                        writer.next().write_sequence(|writer| {
                            writer
                                .next()
                                .write_oid(&ObjectIdentifier::from_slice(AES_256_CBC));
                            writer.next().write_bytes(iv);
                        });
                    });
                });
                writer.next().write_bytes(shrouded);
            });
        });
        write_attributes(writer.next(), name);
    });
}

fn write_certificate(writer: DERWriter<'_>, certificate: &[u8], name: Option<&str>) {
    writer.write_sequence(|writer| {
        writer
            .next()
            .write_oid(&ObjectIdentifier::from_slice(CERT_BAG));
        writer.next().write_tagged(Tag::context(0), |writer| {
            writer.write_sequence(|writer| {
                writer.next().write_oid(&ObjectIdentifier::from_slice(X509));
                writer
                    .next()
                    .write_tagged(Tag::context(0), |writer| writer.write_bytes(certificate));
            });
        });
        if let Some(name) = name {
            write_attributes(writer.next(), name);
        }
    });
}

/// The name for people, and what tells which certificate the key belongs to.
fn write_attributes(writer: DERWriter<'_>, name: &str) {
    writer.write_set_of(|writer| {
        writer.next().write_sequence(|writer| {
            writer
                .next()
                .write_oid(&ObjectIdentifier::from_slice(FRIENDLY_NAME));
            writer
                .next()
                .write_set_of(|writer| writer.next().write_bmp_string(name));
        });
        writer.next().write_sequence(|writer| {
            writer
                .next()
                .write_oid(&ObjectIdentifier::from_slice(LOCAL_KEY_ID));
            writer
                .next()
                .write_set_of(|writer| writer.next().write_bytes(&[1]));
        });
    });
}

fn write_data(writer: DERWriter<'_>, content: &[u8]) {
    writer.write_sequence(|writer| {
        writer.next().write_oid(&ObjectIdentifier::from_slice(DATA));
        writer
            .next()
            .write_tagged(Tag::context(0), |writer| writer.write_bytes(content));
    });
}

fn write_algorithm(writer: DERWriter<'_>, algorithm: &[u64]) {
    writer.write_sequence(|writer| {
        writer
            .next()
            .write_oid(&ObjectIdentifier::from_slice(algorithm));
        writer.next().write_null();
    });
}

fn encrypt(plain: &[u8], password: &str, salt: &[u8], iv: &[u8]) -> Result<Vec<u8>, CaError> {
    let rounds = NonZeroU32::new(ROUNDS).unwrap_or(NonZeroU32::MIN);
    let mut key = Zeroizing::new([0; 32]);
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        rounds,
        salt,
        password.as_bytes(),
        &mut *key,
    );
    let encryptor = Encryptor::<Aes256>::new_from_slices(&*key, iv).map_err(CaError::crypto)?;
    let mut shrouded = vec![0; plain.len() + BLOCK];
    let length = encryptor
        .encrypt_padded_b2b::<Pkcs7>(plain, &mut shrouded)
        .map_err(CaError::crypto)?
        .len();
    shrouded.truncate(length);
    Ok(shrouded)
}

/// The key of the MAC (RFC 7292, appendix B.2, with the identifier 3). One block of the hash is all that it takes.
fn mac_key(password: &str, salt: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut text = Zeroizing::new(Vec::with_capacity(2 * password.len() + 2));
    for unit in password.encode_utf16().chain([0]) {
        text.extend_from_slice(&unit.to_be_bytes());
    }
    let mut block = Context::new(&SHA256);
    block.update(&[3; HASH_BLOCK]);
    for part in [salt, text.as_slice()] {
        let length = part.len().div_ceil(HASH_BLOCK) * HASH_BLOCK;
        let repeated: Zeroizing<Vec<u8>> =
            Zeroizing::new(part.iter().copied().cycle().take(length).collect());
        block.update(&repeated);
    }
    let mut hash = block.finish();
    for _ in 1..ROUNDS {
        hash = ring::digest::digest(&SHA256, hash.as_ref());
    }
    Zeroizing::new(hash.as_ref().to_vec())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::super::rig::{Rig, START, client_key};
    use super::super::{Order, Origin, Reading, SigningRequest, SystemChance, make_request};
    use super::*;

    #[test]
    fn file_is_opened_by_others_with_its_password_only() {
        let rig = Rig::made(super::super::KeyAlgorithm::EcP256);
        let key = client_key();
        let text = make_request("pump ü", &[], &[], &key).unwrap();
        let request = SigningRequest::parse(text.as_bytes()).unwrap();
        let reading = Reading::settled(START);
        let made = rig
            .authority
            .sign(
                &request,
                Order::default(),
                Origin::Signed,
                reading,
                &Default::default(),
            )
            .unwrap();
        let mut chain = vec![made.record.der.to_vec()];
        chain.extend(made.issuers.clone());
        let chance = SystemChance::default();
        let password = make_password(&chance).unwrap();
        let file = encode("pump ü", &key, &chain, &password, &chance).unwrap();
        assert!(!file.windows(20).any(|part| part == &key.pkcs8()[40..60]));
        let path = rig.dir.path().join("pump.p12");
        fs::write(&path, &file).unwrap();
        let open = |password: &str| {
            Command::new("openssl")
                .args(["pkcs12", "-nodes", "-in"])
                .arg(&path)
                .args(["-passin", &format!("pass:{password}")])
                .output()
        };
        // Where there is no openssl nobody is asked.
        let Ok(opened) = open(&password) else { return };
        let said = String::from_utf8_lossy(&opened.stderr).into_owned();
        assert!(opened.status.success(), "{said}");
        let text = String::from_utf8_lossy(&opened.stdout).into_owned();
        assert!(text.contains(key.pem().lines().nth(1).unwrap()), "{text}");
        assert_eq!(text.matches("BEGIN CERTIFICATE").count(), 2);
        assert!(!open("other").unwrap().status.success());
    }
}
