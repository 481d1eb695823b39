//! What went wrong when the authority was tried from outside.

use std::fs;
use std::path::{Path, PathBuf};

use super::rig::{Rig, START, client_says, make_request_for, plan, server_order, server_says};
use super::time::DAY;
use super::*;
use crate::config::AutomaticCertificate;

const YEAR: u64 = 365 * DAY;

fn read(rig: &Rig, name: &str) -> String {
    fs::read_to_string(rig.dir.path().join("ca").join(name)).unwrap()
}

fn apply(rig: &Rig, request: &CaRequest) -> Result<CaReply, CaError> {
    let reading = Reading::settled(START);
    rig.authority.apply(request, reading, &Asker::default())
}

fn constrained() -> Rig {
    let rig = Rig::empty(Lifetimes::default());
    let mut plan = plan(KeyAlgorithm::EcP256);
    plan.constraints.dns = vec![DnsName::parse("plant.example").unwrap()];
    plan.constraints.ip = vec!["10.0.0.0/8".to_owned()];
    let reading = Reading::settled(START);
    rig.authority
        .init(&plan, reading, &Asker::default())
        .unwrap();
    rig
}

/// Has the intermediate of a company issue for a gateway.
fn imported(company: &Rig) -> Rig {
    let rig = Rig::empty(Lifetimes::default());
    let request = CaRequest::Import {
        chain: read(company, "issuing-2.crt") + &read(company, "root-1.crt"),
        chain_file: PathBuf::from("chain.pem"),
        key: SecretText(read(company, "issuing-2.key").into()),
        key_file: PathBuf::from("issuing.key"),
        name: "gateway-7".to_owned(),
    };
    apply(&rig, &request).unwrap();
    rig
}

#[test]
fn nothing_is_issued_that_nobody_would_take() {
    for rig in [constrained(), imported(&constrained())] {
        let reading = Reading::settled(START);
        for (dns, ip) in [
            ("evil.example", "10.0.0.1"),
            ("gw.plant.example", "192.0.2.1"),
        ] {
            let key = rig::client_key();
            let order = server_order(dns, ip, DAY);
            let fault = rig.authority.issue_for(&key, &order, reading).unwrap_err();
            assert!(matches!(fault, CaError::NotPermitted { .. }), "{fault}");
            let request = make_request_for("pump-7", &[dns], &[ip]);
            let signed = rig.authority.sign(
                &request,
                Order::default(),
                Origin::Signed,
                reading,
                &Asker::default(),
            );
            assert!(matches!(signed, Err(CaError::NotPermitted { .. })));
        }
        assert!(rig.authority.issued().is_empty(), "nothing is on record");
        // Ports leave out what they may not have, as with constraints of the own authority.
        let mut port = PortCertificates::new("*:8883", AutomaticCertificate::default());
        let machine = MachineNames {
            host: "gw.plant.example".to_owned(),
            addresses: ["10.1.2.3".parse().unwrap(), "192.0.2.1".parse().unwrap()].into(),
        };
        rig.authority
            .renew_port(&mut port, &machine, reading)
            .1
            .unwrap();
        let chain = pem::encode_chain(port.held().unwrap().chain().iter().map(AsRef::as_ref));
        let bundle = rig.authority.trust_pem(reading).unwrap();
        for name in ["gw.plant.example", "10.1.2.3"] {
            client_says(&bundle, &chain, name, START).unwrap();
        }
    }
}

#[test]
fn clients_are_not_taken_from_the_other_issuers_of_a_company() {
    let company = Rig::made(KeyAlgorithm::EcP256);
    let rig = imported(&company);
    assert_eq!(read(&rig, "issuers.pem"), read(&company, "issuing-2.crt"));
    let own = rig.sign("pump-7", START).unwrap();
    server_says(&read(&rig, "issuers.pem"), &own.chain_pem(), "", START).unwrap();
    // Another issuer below the same root.
    let reading = Reading::settled(START + 3 * YEAR);
    company.authority.maintain(reading).unwrap();
    let other = company.sign("admin", START + 3 * YEAR).unwrap();
    let at = START + 3 * YEAR;
    server_says(&read(&rig, "trust.pem"), &other.chain_pem(), "", at).unwrap();
    server_says(&read(&rig, "issuers.pem"), &other.chain_pem(), "", at).unwrap_err();
}

#[test]
fn authority_that_takes_the_place_of_another_one_is_used_at_once() {
    let rig = Rig::made(KeyAlgorithm::EcP256);
    rig.sign("pump-7", START).unwrap();
    let ca = rig.dir.path().join("ca");
    fs::rename(&ca, rig.dir.path().join("ca.old")).unwrap();
    let reading = Reading::settled(START);
    rig.authority
        .init(&plan(KeyAlgorithm::EcP256), reading, &Asker::default())
        .unwrap();
    let made = rig.sign("pump-8", START).unwrap();
    server_says(&read(&rig, "trust.pem"), &made.chain_pem(), "", START).unwrap();
}

#[test]
fn gateway_that_never_hears_the_time_again_renews_what_must_be_due() {
    let rig = Rig::made(KeyAlgorithm::EcP256);
    let bundle = rig.authority.trust_pem(Reading::settled(START)).unwrap();
    let mut port = PortCertificates::new("*:8883", AutomaticCertificate::default());
    let machine = MachineNames {
        host: "gw".to_owned(),
        ..MachineNames::default()
    };
    // The least that it can be goes on while the gateway runs; its clock shows 1970.
    for quarter in 0..48 {
        let now = START + quarter * YEAR / 4;
        let behind = Reading {
            now,
            trust: ClockTrust::Behind,
            least: now,
        };
        rig.authority.maintain(behind).unwrap();
        rig.authority
            .renew_port(&mut port, &machine, behind)
            .1
            .unwrap();
        let chain = pem::encode_chain(port.held().unwrap().chain().iter().map(AsRef::as_ref));
        client_says(&bundle, &chain, "gw", now).unwrap();
    }
}

#[test]
fn revocation_counts_for_what_has_ended_by_a_wrong_clock_only() {
    let rig = Rig::made(KeyAlgorithm::EcP256);
    rig.sign("pump-7", START).unwrap();
    rig.sign("pump-7", START + DAY).unwrap();
    let ahead = Reading {
        now: START + 2 * YEAR,
        trust: ClockTrust::New,
        least: START + 2 * DAY,
    };
    let reason = RevocationReason::KeyCompromise;
    let revoked = rig
        .authority
        .revoke("pump-7", reason, ahead, &Asker::default())
        .unwrap();
    assert_eq!(revoked.len(), 2);
}

fn list(rig: &Rig) -> super::crl::Read {
    super::crl::read_all(read(rig, "crl.pem").as_bytes())
        .pop()
        .unwrap()
}

#[test]
fn list_that_a_wrong_clock_has_made_is_made_anew() {
    let rig = Rig::made(KeyAlgorithm::EcP256);
    rig.sign("pump-7", START).unwrap();
    let ahead = Reading {
        now: START + 2 * YEAR,
        trust: ClockTrust::New,
        least: START,
    };
    let reason = RevocationReason::KeyCompromise;
    rig.authority
        .revoke("pump-7", reason, ahead, &Asker::default())
        .unwrap();
    assert!(list(&rig).this_update > START + YEAR);
    let back = Reading::settled(START + DAY);
    rig.authority.maintain(back).unwrap();
    assert!(list(&rig).this_update <= back.now);
    assert_eq!(list(&rig).revocations.len(), 1);
}

#[test]
fn revocation_whose_list_was_not_written_is_on_it_soon() {
    let rig = Rig::made(KeyAlgorithm::EcP256);
    rig.sign("pump-7", START).unwrap();
    let (reading, asker) = (Reading::settled(START), Asker::default());
    let before = read(&rig, "crl.pem");
    let reason = RevocationReason::KeyCompromise;
    let revoke = || rig.authority.revoke("pump-7", reason, reading, &asker);
    let cut = |rig: &Rig| fs::write(rig.dir.path().join("ca/crl.pem"), &before).unwrap();
    revoke().unwrap();
    // As if the power had failed after the row was kept.
    cut(&rig);
    rig.authority.maintain(reading).unwrap();
    assert_eq!(list(&rig).revocations.len(), 1);
    cut(&rig);
    assert!(matches!(revoke(), Err(CaError::Revoked { .. })));
    assert_eq!(list(&rig).revocations.len(), 1);
}

#[test]
fn key_of_the_root_that_is_missing_is_told_and_keeps_nothing_else_from_being_done() {
    let rig = Rig::made(KeyAlgorithm::EcP256);
    fs::remove_file(rig.dir.path().join("ca/root-1.key")).unwrap();
    let rig = rig.reopen();
    let later = Reading::settled(START + 4 * YEAR);
    let problems = rig.authority.status(later).unwrap().problems.join("; ");
    assert!(problems.contains("root-1.key"), "{problems}");
    let fault = rig.authority.maintain(later).unwrap_err();
    assert!(fault.to_string().contains("root-1.key"), "{fault}");
    assert!(list(&rig).next_update > later.now, "the list is renewed");
}

#[test]
fn keys_of_all_roots_leave_and_come_back() {
    let rig = Rig::made(KeyAlgorithm::EcP256);
    apply(&rig, &CaRequest::Rollover {}).unwrap();
    let key = export_root_key(rig.dir.path(), &Sealing::none()).unwrap();
    assert_eq!(key.matches("BEGIN PRIVATE KEY").count(), 2);
    apply(&rig, &CaRequest::RemoveRootKey {}).unwrap();
    let places = |rig: &Rig| -> Vec<KeyPlace> {
        let status = rig.authority.status(Reading::settled(START)).unwrap();
        let roots = status.certificates.iter();
        roots
            .filter(|found| found.role == Role::Root)
            .map(|root| root.key)
            .collect()
    };
    assert_eq!(places(&rig), [KeyPlace::Absent, KeyPlace::Absent]);
    let request = CaRequest::RestoreRootKey {
        key: SecretText(key),
        file: PathBuf::from("rk.pem"),
    };
    apply(&rig, &request).unwrap();
    assert_eq!(places(&rig), [KeyPlace::File, KeyPlace::File]);
}

#[test]
fn folders_that_a_backup_has_left_out_are_made_again() {
    let rig = Rig::made(KeyAlgorithm::EcP256);
    let ca = rig.dir.path().join("ca");
    let remove = |name: &str| fs::remove_dir_all(Path::new(&ca).join(name)).unwrap();
    remove("trust");
    remove("sealed");
    let rig = rig.reopen();
    rig.authority.maintain(Reading::settled(START)).unwrap();
    apply(&rig, &CaRequest::Rollover {}).unwrap();
    assert_eq!(fs::read_dir(ca.join("trust")).unwrap().count(), 2);
}

#[test]
fn clock_that_is_a_little_behind_is_no_clock_of_1970() {
    let mut time = TrustedTime::new(Some(START), 0);
    // The machine had local time, and was corrected by an hour.
    let reading = time.observe(START - 3600, 0);
    assert!(reading.is_plausible());
    assert_eq!(reading.now, START);
    assert!(time.observe(START - 3600 + 7200, 7200).is_settled());
    let mut time = TrustedTime::new(Some(START), 0);
    assert!(!time.observe(START - 2 * DAY, 0).is_plausible());
}

#[test]
fn revoked_name_loses_its_tokens() {
    let rig = Rig::made(KeyAlgorithm::EcP256);
    let (reading, asker) = (Reading::settled(START), Asker::default());
    let token = |name: &str| {
        let order = Order {
            name: Some(CommonName::parse(name).unwrap()),
            ..Order::default()
        };
        let made = rig.authority.make_token(&order, DAY, reading, &asker);
        made.unwrap().0
    };
    let (stolen, other, waiting) = (token("pump-7"), token("pump-8"), token("fan"));
    rig.sign("pump-7", START).unwrap();
    assert_eq!(rig.authority.tokens(reading).unwrap().len(), 3);
    let reason = RevocationReason::KeyCompromise;
    let revoke = |name| rig.authority.revoke(name, reason, reading, &asker);
    assert_eq!(revoke("pump-7").unwrap().len(), 1);
    assert!(revoke("fan").unwrap().is_empty(), "it had a token only");
    assert!(matches!(revoke("fan"), Err(CaError::Unknown { .. })));
    let redeem = |name: &str, token: &str| {
        let request = make_request_for(name, &[], &[]);
        rig.authority.redeem(token, &request, reading, &asker)
    };
    assert!(matches!(redeem("pump-7", &stolen), Err(CaError::Token)));
    assert!(matches!(redeem("fan", &waiting), Err(CaError::Token)));
    redeem("pump-8", &other).unwrap();
    assert!(rig.authority.tokens(reading).unwrap().is_empty());
}

#[test]
fn enrolled_device_gets_no_address_and_no_table_full_of_certificates() {
    let rig = Rig::made(KeyAlgorithm::EcP256);
    let (reading, asker) = (Reading::settled(START), Asker::default());
    let order = Order {
        name: Some(CommonName::parse("pump-7").unwrap()),
        ..Order::default()
    };
    let enrol = |ip: &[&str]| {
        let token = rig.authority.make_token(&order, DAY, reading, &asker);
        let request = make_request_for("pump-7", &[], ip);
        rig.authority
            .redeem(&token.unwrap().0, &request, reading, &asker)
    };
    assert!(matches!(enrol(&["127.0.0.1"]), Err(CaError::Request(_))));
    for _ in 0..32 {
        enrol(&[]).unwrap();
    }
    assert!(matches!(enrol(&[]), Err(CaError::Full { .. })));
}
