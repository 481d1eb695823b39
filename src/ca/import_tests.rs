//! Intermediates of other authorities: those that fit, and those that do not.

use std::path::{Path, PathBuf};

use super::certificate::{AuthorityOrder, CaCertificate};
use super::rig::{Rig, START, client_key, server_says};
use super::time::DAY;
use super::*;

const YEAR: u64 = 365 * DAY;

fn read(rig: &Rig, name: &str) -> String {
    std::fs::read_to_string(rig.dir.path().join("ca").join(name)).unwrap()
}

fn import(chain: &str, key: &str) -> CaRequest {
    CaRequest::Import {
        chain: chain.to_owned(),
        chain_file: PathBuf::from("stick/chain.pem"),
        key: SecretText(key.to_owned().into()),
        key_file: PathBuf::from("stick/issuing.key"),
        name: "gateway-7".to_owned(),
    }
}

fn apply(rig: &Rig, request: &CaRequest, now: u64) -> Result<CaReply, CaError> {
    let reading = Reading::settled(now);
    rig.authority.apply(request, reading, &Asker::default())
}

#[test]
fn imported_intermediate_issues_in_the_place_of_the_own_one() {
    let company = Rig::made(KeyAlgorithm::EcP384);
    let chain = read(&company, "issuing-2.crt") + &read(&company, "root-1.crt");
    let request = import(&chain, &read(&company, "issuing-2.key"));
    let start = Reading::settled(START);
    let bundle = company.authority.trust_pem(start).unwrap();
    for rig in [
        Rig::empty(Lifetimes::default()),
        Rig::made(KeyAlgorithm::EcP256),
    ] {
        let had_own = rig.authority.is_there();
        apply(&rig, &request, START).unwrap();
        let made = rig.sign("pump-7", START).unwrap();
        server_says(&bundle, &made.chain_pem(), "", START).unwrap();
        let status = rig.authority.status(start).unwrap();
        assert_eq!(status.algorithm, KeyAlgorithm::EcP384);
        assert_eq!(status.next, None, "it is renewed where it comes from");
        assert_eq!(status.problems, Vec::<String>::new());
        let trusted = rig.authority.trusted_roots(start).unwrap().len();
        assert_eq!(trusted, if had_own { 2 } else { 1 });
        let rig = rig.reopen();
        rig.sign("pump-8", START).unwrap();
        let later = Reading::settled(START + 4 * YEAR);
        assert!(rig.authority.maintain(later).unwrap().is_empty());
        let soon = Reading::settled(START + 5 * YEAR - 10 * DAY);
        let problems = rig.authority.status(soon).unwrap().problems.join("; ");
        assert!(problems.contains("ca import"), "{problems}");
        let ended = rig.sign("a", START + 5 * YEAR + DAY);
        if !had_own {
            let fault = ended.unwrap_err();
            assert!(matches!(fault, CaError::IssuerExpired { .. }), "{fault}");
            assert!(fault.to_string().contains("issuing-2.crt"), "{fault}");
        }
    }
}

/// An issuer on P-256 below the root of an authority on P-384, with its key.
fn mixed(company: &Rig) -> (String, String) {
    let file = Path::new("x");
    let root = read(company, "root-1.crt");
    let root_der = pem::certificates(root.as_bytes(), file).unwrap().remove(0);
    let certificate = CaCertificate::parse(root_der, file).unwrap();
    let root_key = read(company, "root-1.key");
    let root_key = certificate
        .read_key(root_key.as_bytes(), file, file)
        .unwrap();
    let key = client_key();
    let order = AuthorityOrder {
        name: "mixed",
        serial: &[1],
        validity: Validity {
            not_before: START,
            not_after: START + YEAR,
        },
        path_len: 0,
        constraints: &NameConstraints::default(),
    };
    let der = order.signed_by(&key, &certificate, &root_key).unwrap();
    let chain = pem::encode_chain([der.as_slice()]) + &root;
    (chain, key.pem().as_str().to_owned())
}

#[test]
fn imports_that_do_not_fit_are_refused_with_file_and_hint() {
    let company = Rig::made(KeyAlgorithm::EcP384);
    let other = Rig::made(KeyAlgorithm::EcP256);
    let (issuing, root) = (
        read(&company, "issuing-2.crt"),
        read(&company, "root-1.crt"),
    );
    let key = read(&company, "issuing-2.key");
    let leaf = company.sign("pump-7", START).unwrap().chain_pem();
    let (mixed, mixed_key) = mixed(&company);
    let whole = format!("{issuing}{root}");
    let foreign = issuing.clone() + &read(&other, "root-1.crt");
    let foreign_key = read(&other, "issuing-2.key");
    let (chain_file, key_file) = ("stick/chain.pem", "stick/issuing.key");
    let expired = START + 6 * YEAR;
    let cases = [
        (&whole, &key, expired, "has expired", chain_file),
        (&issuing, &key, START, "does not end in a root", chain_file),
        (
            &(root.clone() + &issuing),
            &key,
            START,
            "not issued by",
            chain_file,
        ),
        (&foreign, &key, START, "not issued by", chain_file),
        (&(leaf + &root), &key, START, "may not issue", chain_file),
        (
            &mixed,
            &mixed_key,
            START,
            "mixes kinds of keys: EC P-256, EC P-384",
            chain_file,
        ),
        (&whole, &"nothing".to_owned(), START, "damaged", key_file),
        (&whole, &foreign_key, START, "does not belong", key_file),
        (
            &"nothing".to_owned(),
            &key,
            START,
            "no certificate",
            chain_file,
        ),
    ];
    let rig = Rig::empty(Lifetimes::default());
    for (chain, key, now, expected, file) in cases {
        let fault = apply(&rig, &import(chain, key), now).unwrap_err();
        let said = fault.to_string();
        assert!(said.contains(expected) && said.contains(file), "{said}");
        assert!(!fault.hint().is_empty());
        assert!(!rig.authority.is_there(), "{said}");
    }
}
