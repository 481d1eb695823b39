//! Keys: of every kind and in every form, and those that belong to something else.

use rustls::pki_types::pem::PemObject;

use super::*;
use crate::ca::SystemChance;

fn spki(der: &[u8]) -> SubjectPublicKeyInfo<'_> {
    use x509_parser::prelude::FromDer;
    SubjectPublicKeyInfo::from_der(der).unwrap().1
}

fn parse(text: &[u8], public_key: &[u8]) -> Result<SecretKey, CaError> {
    let (key, certificate) = (Path::new("ca.key"), Path::new("ca.crt"));
    SecretKey::parse(text, key, &spki(public_key), certificate)
}

#[test]
fn key_is_read_as_it_was_written_and_never_shown() {
    for algorithm in [
        KeyAlgorithm::EcP256,
        KeyAlgorithm::EcP384,
        KeyAlgorithm::Ed25519,
    ] {
        let key = SecretKey::generate(algorithm, &SystemChance::default()).unwrap();
        let public_key = key.public_key();
        assert_eq!(KeyAlgorithm::of(&spki(&public_key)), Some(algorithm));
        let again = parse(key.pem().as_bytes(), &public_key).unwrap();
        assert_eq!((again.pkcs8(), again.algorithm()), (key.pkcs8(), algorithm));
        assert_eq!(
            format!("{key:?}"),
            format!("SecretKey {{ algorithm: {algorithm:?}, .. }}")
        );
    }
}

#[test]
fn older_forms_of_keys_are_read() {
    // The inner part of PKCS#8 is the older form.
    let key = SecretKey::generate(KeyAlgorithm::EcP384, &SystemChance::default()).unwrap();
    let inner = yasna::parse_der(key.pkcs8(), |reader| {
        reader.read_sequence(|reader| {
            reader.next().read_u8()?;
            reader.next().read_sequence(|reader| {
                reader.next().read_oid()?;
                reader.next().read_oid()
            })?;
            reader.next().read_bytes()
        })
    })
    .unwrap();
    let text = pem::encode("EC PRIVATE KEY", &inner);
    assert!(matches!(
        PrivateKeyDer::from_pem_slice(text.as_bytes()).unwrap(),
        PrivateKeyDer::Sec1(_)
    ));
    let again = parse(text.as_bytes(), &key.public_key()).unwrap();
    assert_eq!(again.public_key(), key.public_key());
}

#[test]
fn other_key_and_damaged_key_are_told_apart() {
    let new = |algorithm| SecretKey::generate(algorithm, &SystemChance::default()).unwrap();
    let own = new(KeyAlgorithm::EcP256);
    for algorithm in [
        KeyAlgorithm::EcP256,
        KeyAlgorithm::EcP384,
        KeyAlgorithm::Ed25519,
    ] {
        let fault = parse(new(algorithm).pem().as_bytes(), &own.public_key()).unwrap_err();
        assert!(matches!(fault, CaError::KeyMismatch { .. }), "{fault}");
        assert!(fault.to_string().contains("ca.key"), "{fault}");
        assert!(fault.to_string().contains("ca.crt"), "{fault}");
    }
    let mut der = own.pkcs8().to_vec();
    der.truncate(20);
    let damaged = pem::encode(pem::PRIVATE_KEY, &der);
    let fault = parse(damaged.as_bytes(), &own.public_key()).unwrap_err();
    assert!(matches!(fault, CaError::KeyMalformed { .. }), "{fault}");
}
