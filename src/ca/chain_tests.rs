//! Chains as others see them: rustls-webpki, and the `openssl` command where it is installed.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::rig::{Rig, START, client_says, plan, server_order, server_says};
use super::time::DAY;
use super::*;

const YEAR: u64 = 365 * DAY;

/// Runs openssl with words; `None` where there is none.
fn openssl(folder: &Path, words: &str) -> Option<(bool, String)> {
    let output = Command::new("openssl")
        .args(words.split_whitespace())
        .current_dir(folder)
        .output()
        .ok()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    Some((output.status.success(), text))
}

#[track_caller]
fn openssl_takes(folder: &Path, words: &str) -> String {
    let Some((success, text)) = openssl(folder, words) else {
        return String::new();
    };
    assert!(success, "openssl {words}: {text}");
    text
}

fn check_chains(algorithm: KeyAlgorithm) {
    let rig = Rig::made(algorithm);
    let reading = Reading::settled(START);
    let bundle = rig.authority.trust_pem(reading).unwrap();
    let key = SecretKey::generate(algorithm, &SystemChance::default()).unwrap();
    let server = rig
        .authority
        .issue_for(
            &key,
            &server_order("gw.local", "192.0.2.7", 90 * DAY),
            reading,
        )
        .unwrap();
    let server_chain = server.chain_pem();
    client_says(&bundle, &server_chain, "gw.local", START).unwrap();
    client_says(&bundle, &server_chain, "192.0.2.7", START + 90 * DAY - 1).unwrap();
    client_says(&bundle, &server_chain, "gw.local", START - BACKDATE).unwrap();
    client_says(&bundle, &server_chain, "other.local", START).unwrap_err();
    client_says(&bundle, &server_chain, "gw.local", START + 91 * DAY).unwrap_err();
    let client = rig.sign("pump-7", START).unwrap();
    let client_chain = client.chain_pem();
    server_says(&bundle, &client_chain, "", START).unwrap();
    server_says(&bundle, &server_chain, "", START).unwrap_err();

    let files = [
        ("server.pem", server_chain.as_str()),
        ("server.key", key.pem().as_str()),
        ("client.pem", client_chain.as_str()),
    ]
    .map(|(name, text)| (name, text.to_owned()));
    for (name, text) in files {
        fs::write(rig.dir.path().join(name), text).unwrap();
    }
    openssl_agrees(rig.dir.path());
    openssl_describes(rig.dir.path());
}

fn openssl_agrees(folder: &Path) {
    let trust = format!("verify -attime {START} -CAfile ca/trust.pem");
    for (purpose, file) in [("sslserver", "server.pem"), ("sslclient", "client.pem")] {
        let words = format!("{trust} -x509_strict -purpose {purpose} -untrusted {file} {file}");
        let said = openssl_takes(folder, &words);
        assert!(said.is_empty() || said.contains("OK"), "{said}");
    }
    let list = "-crl_check -CRLfile ca/crl.pem -untrusted client.pem client.pem";
    openssl_takes(folder, &format!("{trust} {list}"));
}

fn openssl_describes(folder: &Path) {
    let cases: [(&str, &[&str]); 3] = [
        (
            "ca/root-1.crt",
            &[
                "CA:TRUE, pathlen:1",
                "Certificate Sign, CRL Sign",
                "gateway-7 root 1 (",
            ],
        ),
        (
            "ca/issuing-2.crt",
            &["CA:TRUE, pathlen:0", "Authority Key Identifier"],
        ),
        (
            "server.pem",
            &[
                "CA:FALSE",
                "Digital Signature",
                "TLS Web Server",
                "DNS:gw.local",
                "IP Address:192.0.2.7",
            ],
        ),
    ];
    for (file, parts) in cases {
        let text = openssl_takes(folder, &format!("x509 -in {file} -noout -text"));
        for part in parts.iter().filter(|_| !text.is_empty()) {
            assert!(text.contains(part), "{file}, {part}: {text}");
        }
    }
    let from_key = openssl_takes(folder, "pkey -in server.key -pubout");
    let from_chain = openssl_takes(folder, "x509 -in server.pem -noout -pubkey");
    assert_eq!(from_key, from_chain);
}

#[test]
fn chains_of_elliptic_curves_are_valid() {
    for algorithm in [
        KeyAlgorithm::EcP256,
        KeyAlgorithm::EcP384,
        KeyAlgorithm::Ed25519,
    ] {
        check_chains(algorithm);
    }
}

#[test]
fn chains_of_rsa_are_valid() {
    check_chains(KeyAlgorithm::Rsa3072);
}

#[test]
fn two_gateways_of_one_name_have_different_authorities() {
    let lifetimes = Lifetimes::default();
    let (one, two) = (Rig::empty(lifetimes), Rig::empty(lifetimes));
    let reading = Reading::settled(START);
    let asker = Asker::default();
    one.authority
        .init(&plan(KeyAlgorithm::EcP256), reading, &asker)
        .unwrap();
    let two = CertificateAuthority::new(
        two.dir.path(),
        Sealing::none(),
        Vec::new(),
        crate::store::Jobs::none(two.dir.path()),
    );
    two.init(&plan(KeyAlgorithm::EcP256), reading, &asker)
        .unwrap();
    let (one, two) = (
        one.authority.status(reading).unwrap(),
        two.status(reading).unwrap(),
    );
    assert_ne!(one.id, two.id);
    assert_ne!(one.certificates[0].subject, two.certificates[0].subject);
    assert_ne!(
        one.certificates[0].fingerprint,
        two.certificates[0].fingerprint
    );
}

#[test]
fn names_inside_of_the_constraints_are_trusted() {
    let rig = Rig::empty(Lifetimes::default());
    let plan = Plan {
        constraints: NameConstraints {
            dns: vec![DnsName::parse("plant.example").unwrap()],
            ip: vec!["10.0.0.0/8".to_owned()],
        },
        ..plan(KeyAlgorithm::EcP256)
    };
    let reading = Reading::settled(START);
    rig.authority
        .init(&plan, reading, &Asker::default())
        .unwrap();
    let bundle = rig.authority.trust_pem(reading).unwrap();
    let key = rig::client_key();
    let chain = |dns, ip| {
        let order = server_order(dns, ip, DAY);
        rig.authority
            .issue_for(&key, &order, reading)
            .unwrap()
            .chain_pem()
    };
    let inside = chain("gw.plant.example", "10.1.2.3");
    client_says(&bundle, &inside, "gw.plant.example", START).unwrap();
    client_says(&bundle, &inside, "10.1.2.3", START).unwrap();
}

#[test]
fn revoked_client_is_on_the_list_and_others_are_not() {
    let rig = Rig::made(KeyAlgorithm::EcP256);
    let (stolen, other) = (
        rig.sign("pump-7", START).unwrap(),
        rig.sign("fan", START).unwrap(),
    );
    let later = Reading::settled(START + DAY);
    let bundle = rig.authority.trust_pem(later).unwrap();
    let crl = || fs::read_to_string(rig.authority.crl_file()).unwrap();
    let before = crl();
    server_says(&bundle, &stolen.chain_pem(), &before, START).unwrap();
    let mut changes = rig.authority.changes();
    changes.mark_unchanged();
    let reason = RevocationReason::KeyCompromise;
    let revoked = rig
        .authority
        .revoke("pump-7", reason, later, &Asker::default())
        .unwrap();
    assert_eq!(revoked.len(), 1);
    assert!(changes.has_changed().unwrap());
    server_says(&bundle, &stolen.chain_pem(), &crl(), START + DAY).unwrap_err();
    server_says(&bundle, &other.chain_pem(), &crl(), START + DAY).unwrap();
    let folder = rig.dir.path();
    fs::write(folder.join("stolen.pem"), stolen.chain_pem()).unwrap();
    let later = START + DAY;
    let words = format!(
        "verify -crl_check -attime {later} -CAfile ca/trust.pem -CRLfile ca/crl.pem -untrusted stolen.pem stolen.pem"
    );
    if let Some((success, said)) = openssl(folder, &words) {
        assert!(!success && said.contains("revoked"), "{said}");
        let said = openssl_takes(folder, "crl -in ca/crl.pem -noout -text");
        assert!(said.contains("Key Compromise"), "{said}");
    }
    let numbers = |text: &str| super::crl::read_all(text.as_bytes())[0].number;
    assert!(numbers(&crl()) > numbers(&before));
    // A list that ends is made anew by itself, and so is one that is gone.
    let much_later = Reading::settled(START + 20 * DAY);
    rig.authority.maintain(much_later).unwrap();
    let refreshed = crl();
    assert!(numbers(&refreshed) >= much_later.now);
    rig.authority.maintain(much_later).unwrap();
    assert_eq!(crl(), refreshed, "not more often than needed");
    fs::remove_file(rig.authority.crl_file()).unwrap();
    rig.authority.maintain(much_later).unwrap();
    server_says(&bundle, &stolen.chain_pem(), &crl(), START + 21 * DAY).unwrap_err();
}

#[test]
fn revocation_outlives_the_loss_of_its_row() {
    let rig = Rig::made(KeyAlgorithm::EcP256);
    let stolen = rig.sign("pump-7", START).unwrap();
    let reading = Reading::settled(START);
    let asker = Asker::default();
    rig.authority
        .revoke("pump-7", RevocationReason::KeyCompromise, reading, &asker)
        .unwrap();
    let Rig { dir, authority } = rig;
    drop(authority);
    for name in ["gateway.db", "gateway.db-wal", "gateway.db-shm"] {
        let _ = fs::remove_file(dir.path().join(name));
    }
    let authority = rig::open(dir.path(), Sealing::none(), Lifetimes::default());
    assert!(authority.issued().is_empty());
    authority
        .maintain(Reading::settled(START + 20 * DAY))
        .unwrap();
    let crl = fs::read_to_string(authority.crl_file()).unwrap();
    let bundle = authority.trust_pem(reading).unwrap();
    server_says(&bundle, &stolen.chain_pem(), &crl, START + 21 * DAY).unwrap_err();
}

#[test]
fn what_has_ended_leaves_the_table_and_the_list() {
    let rig = Rig::made(KeyAlgorithm::EcP256);
    rig.sign("pump-7", START).unwrap();
    let reading = Reading::settled(START);
    rig.authority
        .revoke(
            "pump-7",
            RevocationReason::Superseded,
            reading,
            &Asker::default(),
        )
        .unwrap();
    let entries = |rig: &Rig| {
        let text = fs::read(rig.authority.crl_file()).unwrap();
        super::crl::read_all(&text)[0].revocations.len()
    };
    assert_eq!((rig.authority.issued().len(), entries(&rig)), (1, 1));
    let unsettled = Reading {
        now: START + 2 * YEAR,
        trust: ClockTrust::New,
        least: 0,
    };
    rig.authority.maintain(unsettled).unwrap();
    assert_eq!(rig.authority.issued().len(), 1, "the clock may be wrong");
    rig.authority
        .maintain(Reading::settled(START + 2 * YEAR))
        .unwrap();
    assert_eq!((rig.authority.issued().len(), entries(&rig)), (0, 0));
    assert!(rig.reopen().authority.issued().is_empty());
}
