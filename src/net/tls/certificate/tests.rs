use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::clock;
use crate::net::testing::{Authority, ECDSA, ED25519, Files, params};

fn fault_of(cert: &str, key: &str) -> CertificateFault {
    let files = Files::with(cert, key);
    let fault = load(&files.cert(), &files.key()).unwrap_err();
    assert!(fault.hint().is_some(), "{fault}");
    fault
}

#[test]
fn a_chain_of_three_is_taken() {
    let root = Authority::new("root", ECDSA);
    let middle = root.below("middle", ECDSA);
    let leaf = middle.issue("gw-01");
    let chain = [leaf.cert, middle.pem(), root.pem()].concat();
    let files = Files::with(&chain, &leaf.key);
    let mut mode = std::fs::metadata(files.key()).unwrap().permissions();
    mode.set_mode(0o600);
    std::fs::set_permissions(files.key(), mode).unwrap();
    let identity = load(&files.cert(), &files.key()).unwrap();
    assert_eq!(identity.certified.cert.len(), 3);
    assert_eq!(identity.summary.subject, "CN=gw-01");
    assert_eq!(identity.summary.issuer, "CN=middle");
    assert_eq!(identity.summary.notes, Vec::<String>::new());
    assert_eq!(identity.summary.validity_note(clock::wall()), None);
}

#[test]
fn a_missing_file_is_waited_for() {
    let files = Files::empty();
    let fault = load(&files.cert(), &files.key()).unwrap_err();
    assert!(fault.is_missing());
    assert!(
        fault.to_string().ends_with("server.crt is not there yet"),
        "{fault}"
    );
    let leaf = Authority::new("root", ECDSA).issue("gw");
    std::fs::write(files.cert(), leaf.cert).unwrap();
    let fault = load(&files.cert(), &files.key()).unwrap_err();
    assert!(fault.is_missing());
    assert!(
        fault.to_string().ends_with("server.key is not there yet"),
        "{fault}"
    );
    let fault = load(&files.cert().join("below/a/file"), &files.key()).unwrap_err();
    assert!(fault.is_missing());
}

#[test]
fn a_folder_in_place_of_a_file_cannot_be_read() {
    let files = Files::empty();
    let fault = load(files.path(), &files.key()).unwrap_err();
    assert!(
        matches!(fault, CertificateFault::Unreadable { .. }),
        "{fault}"
    );
}

#[test]
fn a_certificate_out_of_place_is_named_with_the_right_order() {
    let root = Authority::new("root", ECDSA);
    let middle = root.below("middle", ECDSA);
    let leaf = middle.issue("gw");
    let fault = fault_of(
        &[&*leaf.cert, &root.pem(), &middle.pem()].concat(),
        &leaf.key,
    );
    assert_eq!(
        fault.to_string().split_once("server.crt ").unwrap().1,
        "(CN=root) is out of place: the certificate before it was issued by CN=middle"
    );
    assert!(
        fault
            .hint()
            .unwrap()
            .ends_with("the order would be 1, 3, 2")
    );
}

#[test]
fn a_certificate_of_another_chain_has_no_right_order() {
    let (root, other) = (
        Authority::new("root", ECDSA),
        Authority::new("other", ECDSA),
    );
    let leaf = root.issue("gw");
    let fault = fault_of(&[&*leaf.cert, &other.pem()].concat(), &leaf.key);
    assert!(
        matches!(
            &fault,
            CertificateFault::OutOfPlace {
                place: 2,
                order: None,
                ..
            }
        ),
        "{fault:?}"
    );
}

#[test]
fn a_namesake_that_did_not_sign_is_no_issuer() {
    let (root, namesake) = (Authority::new("root", ECDSA), Authority::new("root", ECDSA));
    let leaf = root.issue("gw");
    let fault = fault_of(&[&*leaf.cert, &namesake.pem()].concat(), &leaf.key);
    assert!(
        matches!(fault, CertificateFault::NotIssuer { place: 2, .. }),
        "{fault:?}"
    );
}

#[test]
fn a_chain_has_one_key_algorithm() {
    let root = Authority::new("root", ED25519);
    let leaf = root.issue("gw");
    let fault = fault_of(&[&*leaf.cert, &root.pem()].concat(), &leaf.key);
    assert!(
        fault
            .to_string()
            .ends_with("mixes key algorithms: ECDSA, Ed25519"),
        "{fault}"
    );
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let root = Authority::new("root", ECDSA);
    let (leaf, other) = (root.issue("gw"), root.issue("gw"));
    let fault = fault_of(&leaf.cert, &other.key);
    assert!(matches!(
        fault,
        CertificateFault::KeyMismatch {
            belongs_to: None,
            ..
        }
    ));
    let key = root.0.key().serialize_pem();
    let fault = fault_of(&[&*leaf.cert, &root.pem()].concat(), &key);
    assert!(matches!(
        fault,
        CertificateFault::KeyMismatch {
            belongs_to: Some(2),
            ..
        }
    ));
}

#[test]
fn swapped_files_are_recognised() {
    let leaf = Authority::new("root", ECDSA).issue("gw");
    let fault = fault_of(&leaf.key, &leaf.cert);
    assert!(matches!(
        fault,
        CertificateFault::NoCertificate {
            holds_key: true,
            ..
        }
    ));
    let fault = fault_of(&leaf.cert, &leaf.cert);
    assert!(matches!(
        fault,
        CertificateFault::NoKey {
            holds_certificate: true,
            ..
        }
    ));
}

#[test]
fn what_is_no_pem_is_refused() {
    let leaf = Authority::new("root", ECDSA).issue("gw");
    let fault = |cert: &str, key: &str| fault_of(cert, key);
    assert!(matches!(
        fault("", &leaf.key),
        CertificateFault::NoCertificate {
            holds_key: false,
            ..
        }
    ));
    assert!(matches!(
        fault(&leaf.cert, ""),
        CertificateFault::NoKey {
            holds_certificate: false,
            ..
        }
    ));
    let cut = &leaf.cert[..leaf.cert.len() / 2];
    assert!(matches!(
        fault(cut, &leaf.key),
        CertificateFault::NotPem { .. }
    ));
    let damaged = leaf.cert.replacen("MII", "AAA", 1);
    assert!(matches!(
        fault(&damaged, &leaf.key),
        CertificateFault::NotPem { .. } | CertificateFault::Malformed { place: 1, .. }
    ));
    let foreign = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    assert!(matches!(
        fault(&leaf.cert, foreign),
        CertificateFault::KeyUnusable { .. }
    ));
}

#[test]
fn a_key_with_a_pass_phrase_is_named_as_such() {
    let leaf = Authority::new("root", ECDSA).issue("gw");
    let pkcs8 =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let old = "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END EC PRIVATE KEY-----\n";
    for key in [pkcs8, old] {
        let fault = fault_of(&leaf.cert, key);
        assert!(
            matches!(fault, CertificateFault::KeyEncrypted { .. }),
            "{fault}"
        );
    }
}

#[test]
fn validity_is_a_note_and_no_fault() {
    let root = Authority::new("root", ECDSA);
    let mut expired = params("gw");
    expired.not_before = rcgen::date_time_ymd(2001, 1, 1);
    expired.not_after = rcgen::date_time_ymd(2002, 1, 1);
    let leaf = root.issue_with(expired, ECDSA);
    let files = Files::with(&leaf.cert, &leaf.key);
    let summary = load(&files.cert(), &files.key()).unwrap().summary;
    let note = |at: SystemTime| summary.validity_note(at).unwrap_or_default();
    assert_eq!(note(clock::wall()), "the certificate has expired");
    assert!(note(UNIX_EPOCH).starts_with("the certificate is not valid yet"));
    let week_before = summary.not_after - Duration::from_secs(7 * 24 * 3600);
    assert_eq!(note(week_before), "the certificate expires in 7 days");
}

#[test]
fn what_may_surprise_is_noted() {
    let root = Authority::new("root", ECDSA);
    let mut nameless = params("gw");
    nameless.subject_alt_names.clear();
    nameless.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let leaf = root.issue_with(nameless, ECDSA);
    let files = Files::with(&leaf.cert, &leaf.key);
    std::fs::set_permissions(files.key(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let notes = load(&files.cert(), &files.key()).unwrap().summary.notes;
    let [host, server, key] = &notes[..] else {
        panic!("{notes:?}");
    };
    assert!(host.contains("names no host"));
    assert!(server.contains("not meant for servers"));
    assert!(key.starts_with("everybody on this machine may read"));
}
