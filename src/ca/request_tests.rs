//! Requests that are taken, and those that are not.

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};

use super::*;
use crate::ca::{KeyAlgorithm, SecretKey, SystemChance, make_request};

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    if !name.is_empty() {
        params.distinguished_name.push(DnType::CommonName, name);
    }
    params
}

fn der_of(params: &CertificateParams) -> Vec<u8> {
    let key = KeyPair::generate().unwrap();
    params.serialize_request(&key).unwrap().der().to_vec()
}

fn refusal(params: &CertificateParams) -> RequestFault {
    SigningRequest::parse(&der_of(params)).unwrap_err()
}

#[test]
fn request_is_read_in_every_form() {
    let key = SecretKey::generate(KeyAlgorithm::Ed25519, &SystemChance::default()).unwrap();
    let dns = [DnsName::parse("gw.local").unwrap()];
    let ip = ["10.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
    let text = make_request("pump-7", &dns, &ip, &key).unwrap();
    let der = super::der(text.as_bytes()).unwrap();
    let bare = data_encoding::BASE64.encode(&der);
    let lines = bare
        .as_bytes()
        .chunks(60)
        .collect::<Vec<_>>()
        .join(&b"\r\n"[..]);
    for bytes in [text.as_bytes(), &der, bare.as_bytes(), &lines] {
        let request = SigningRequest::parse(bytes).unwrap();
        assert_eq!(request.name.unwrap().as_str(), "pump-7");
        assert_eq!(
            (request.dns.as_slice(), request.ip.as_slice()),
            (&dns[..], &ip[..])
        );
        assert_eq!(request.kind, PublicKeyKind::Ed25519);
    }
}

#[test]
fn common_name_may_be_missing_but_not_unusable() {
    assert_eq!(
        SigningRequest::parse(&der_of(&params(""))).unwrap().name,
        None
    );
    let long = params(&"x".repeat(65));
    assert!(matches!(refusal(&long), RequestFault::Name(_)));
    assert!(matches!(
        refusal(&params("a\u{202e}b")),
        RequestFault::Name(_)
    ));
}

#[test]
fn whoever_asks_must_have_the_key() {
    let mut der = der_of(&params("a"));
    let last = der.len() - 1;
    der[last] ^= 1;
    assert_eq!(
        SigningRequest::parse(&der).unwrap_err(),
        RequestFault::NotSigned
    );
    // Another name under the same signature.
    let mut der = der_of(&params("pump-7"));
    let at = der.windows(6).position(|part| part == b"pump-7").unwrap();
    der[at + 5] = b'8';
    assert_eq!(
        SigningRequest::parse(&der).unwrap_err(),
        RequestFault::NotSigned
    );
}

#[test]
fn what_is_never_given_is_refused() {
    let mut authority = params("a");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    assert_eq!(refusal(&authority), RequestFault::Authority);

    let mut mail = params("a");
    mail.subject_alt_names = vec![SanType::Rfc822Name("a@example.org".try_into().unwrap())];
    assert_eq!(refusal(&mail), RequestFault::NameKind);

    let mut odd = params("a");
    odd.subject_alt_names = vec![SanType::DnsName("a b".try_into().unwrap())];
    assert!(matches!(refusal(&odd), RequestFault::AlternativeName(_)));

    let mut many = params("a");
    many.subject_alt_names = (0..=ALTERNATIVE_NAMES_MAX)
        .map(|n| SanType::DnsName(format!("n{n}").try_into().unwrap()))
        .collect();
    assert_eq!(refusal(&many), RequestFault::TooManyNames);

    let mut other = params("a");
    other.custom_extensions = vec![CustomExtension::from_oid_content(&[1, 2, 3], vec![5, 0])];
    let oid = "1.2.3".to_owned();
    assert_eq!(refusal(&other), RequestFault::Extension { oid });
}

#[test]
fn what_clients_ask_for_by_themselves_is_passed_over() {
    let mut usual = params("a");
    usual.is_ca = IsCa::ExplicitNoCa;
    usual.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
    ];
    usual.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    SigningRequest::parse(&der_of(&usual)).unwrap();
}

#[test]
fn what_is_no_request_is_refused() {
    let der = der_of(&params("a"));
    let mut longer = der.clone();
    longer.push(0);
    let half = &der[..der.len() / 2];
    let key = KeyPair::generate().unwrap();
    let certificate = params("a").self_signed(&key).unwrap();
    for bytes in [
        b"".as_slice(),
        b"\x30",
        b"hello",
        b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        &longer,
        half,
        certificate.der(),
        certificate.pem().as_bytes(),
    ] {
        assert_eq!(
            SigningRequest::parse(bytes).unwrap_err(),
            RequestFault::Malformed
        );
    }
    let long = vec![b'A'; REQUEST_BYTES_MAX + 1];
    assert_eq!(
        SigningRequest::parse(&long).unwrap_err(),
        RequestFault::TooLong
    );
}

/// A request with an RSA key of so many bytes, and a signature that nobody has made: the length is looked at first.
fn with_rsa(bytes: usize) -> Vec<u8> {
    let rsa = yasna::models::ObjectIdentifier::from_slice(&[1, 2, 840, 113_549, 1, 1, 1]);
    let sha = yasna::models::ObjectIdentifier::from_slice(&[1, 2, 840, 113_549, 1, 1, 11]);
    let key = yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_bigint_bytes(&vec![0xff; bytes], true);
            writer.next().write_u32(65_537);
        });
    });
    yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_sequence(|writer| {
                writer.next().write_u8(0);
                writer.next().write_sequence(|_| {});
                writer.next().write_sequence(|writer| {
                    writer.next().write_sequence(|writer| {
                        writer.next().write_oid(&rsa);
                        writer.next().write_null();
                    });
                    writer.next().write_bitvec_bytes(&key, key.len() * 8);
                });
                let attributes = yasna::Tag::context(0);
                writer
                    .next()
                    .write_tagged_implicit(attributes, |writer| writer.write_set(|_| {}));
            });
            writer.next().write_sequence(|writer| {
                writer.next().write_oid(&sha);
                writer.next().write_null();
            });
            writer.next().write_bitvec_bytes(&vec![1; bytes], bytes * 8);
        });
    })
}

#[test]
fn keys_that_are_too_short_or_too_long_are_refused() {
    let refusal = |bytes| SigningRequest::parse(&with_rsa(bytes)).unwrap_err();
    assert_eq!(refusal(128), RequestFault::KeyLength { bits: 1024 });
    assert_eq!(refusal(255), RequestFault::KeyLength { bits: 2040 });
    assert_eq!(refusal(1025), RequestFault::KeyLength { bits: 8200 });
    assert_eq!(refusal(256), RequestFault::NotSigned);
}

#[test]
fn no_flipped_bit_changes_what_is_taken() {
    let key = SecretKey::generate(KeyAlgorithm::Ed25519, &SystemChance::default()).unwrap();
    let dns = [DnsName::parse("gw.local").unwrap()];
    let text = make_request("pump-7", &dns, &["10.0.0.1".parse().unwrap()], &key).unwrap();
    let whole = super::der(text.as_bytes()).unwrap();
    let taken = |request: &SigningRequest| {
        let names = (
            request.name.clone(),
            request.dns.clone(),
            request.ip.clone(),
        );
        (names, request.public_key.clone())
    };
    let sound = taken(&SigningRequest::parse(&whole).unwrap());
    for at in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[at / 8] ^= 1 << (at % 8);
        // What the signature does not cover may be written in more than one way.
        if let Ok(request) = SigningRequest::parse(&flipped) {
            assert_eq!(taken(&request), sound, "bit {at}");
        }
    }
    for length in 0..whole.len() {
        assert!(
            SigningRequest::parse(&whole[..length]).is_err(),
            "{length} bytes"
        );
    }
}
