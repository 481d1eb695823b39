use super::super::rig::{Rig, START, client_key, client_says};
use super::super::time::DAY;
use super::super::{
    DnsName, KeyAlgorithm, Purpose, RevocationReason, SecretKey, issuer_and_serial, make_request,
};
use super::*;

const YEAR: u64 = 365 * DAY;

fn at(now: u64) -> Reading {
    Reading::settled(now)
}

fn asked_with(name: &str, dns: &[&str], key: &SecretKey) -> SigningRequest {
    let dns: Vec<_> = dns
        .iter()
        .map(|name| DnsName::parse(name).unwrap())
        .collect();
    let text = make_request(name, &dns, &[], key).unwrap();
    SigningRequest::parse(text.as_bytes()).unwrap()
}

fn asked(name: &str, dns: &[&str]) -> SigningRequest {
    asked_with(name, dns, &client_key())
}

fn asker() -> Asker {
    Asker {
        name: "pump-7".into(),
        peer: "192.0.2.7".into(),
    }
}

fn attributes() -> Attributes {
    [("hall".into(), "2".into())].into()
}

/// A certificate that a user has enrolled.
fn enrolled(rig: &Rig, name: &str, now: u64) -> Result<IssuedCertificate, CaError> {
    let request = asked(name, &[]);
    rig.authority
        .enrol_user(name, &attributes(), &request, at(now), &asker())
}

fn again(
    rig: &Rig,
    shown: &IssuedCertificate,
    request: &SigningRequest,
    reading: Reading,
) -> Result<IssuedCertificate, CaError> {
    rig.authority
        .re_enrol(&shown.record.der, request, reading, &asker())
}

#[test]
fn everything_that_chains_need_is_published() {
    let rig = Rig::made(KeyAlgorithm::EcP256);
    let made = enrolled(&rig, "pump-7", START).unwrap();
    let published = rig.authority.published(at(START)).unwrap();
    let roots = rig.authority.trusted_roots(at(START)).unwrap();
    assert_eq!(published.len(), 2);
    assert_eq!(published[0], roots[0]);
    assert!(made.issuers.contains(&published[1]));
    rig.authority.roll_over(at(START), &asker()).unwrap();
    assert_eq!(rig.authority.published(at(START)).unwrap().len(), 4);
    let over = rig.authority.published(at(START + 6 * YEAR)).unwrap();
    assert_eq!(over.len(), 2, "the roots alone");
}

#[test]
fn user_enrols_for_the_own_name_only() {
    let rig = Rig::made(KeyAlgorithm::EcP256);
    let made = enrolled(&rig, "pump-7", START).unwrap();
    let record = &made.record;
    assert_eq!((&*record.name, &*record.origin), ("pump-7", "enrolled"));
    assert_eq!(
        (&record.attributes, &*record.purpose),
        (&attributes(), "client")
    );
    let enrol = |request: &SigningRequest| {
        rig.authority
            .enrol_user("pump-7", &attributes(), request, at(START), &asker())
    };
    let unnamed = enrol(&asked("", &["Pump-7"])).unwrap();
    assert_eq!(&*unnamed.record.name, "pump-7");
    assert!(matches!(
        enrol(&asked("fan", &[])),
        Err(CaError::Request(RequestFault::OtherName))
    ));
    for other in [&["fan"][..], &["pump-7", "fan"], &["pump-7.local"]] {
        assert!(matches!(
            enrol(&asked("pump-7", other)),
            Err(CaError::Request(RequestFault::OtherAlternativeName))
        ));
    }
}

#[test]
fn token_gives_no_host_name_of_another() {
    let rig = Rig::made(KeyAlgorithm::EcP256);
    let order = Order {
        name: CommonName::parse("pump-7").ok(),
        ..Order::default()
    };
    let made = rig.authority.make_token(&order, 60, at(START), &asker());
    let (token, _) = made.unwrap();
    let redeem = |request: &SigningRequest| {
        rig.authority
            .redeem(&token, request, at(START), &asker())
            .map(drop)
    };
    assert!(matches!(
        redeem(&asked("pump-7", &["fan"])),
        Err(CaError::Request(RequestFault::OtherAlternativeName))
    ));
    redeem(&asked("pump-7", &["pump-7"])).unwrap();
}

#[test]
fn certificate_is_issued_again_for_another_key_with_everything_else_the_same() {
    let rig = Rig::made(KeyAlgorithm::EcP256);
    let first = rig.authority.enrol_user(
        "pump-7",
        &attributes(),
        &asked("pump-7", &["pump-7"]),
        at(START),
        &asker(),
    );
    let first = first.unwrap();
    let key = client_key();
    let later = at(START + YEAR / 2);
    let second = again(&rig, &first, &asked_with("pump-7", &[], &key), later).unwrap();
    let record = &second.record;
    assert_eq!(
        (&*record.name, &record.attributes),
        ("pump-7", &attributes())
    );
    assert_eq!(record.not_after, later.now + YEAR);
    let leaf = Leaf::parse(&record.der).unwrap();
    assert_eq!(leaf.public_key_der, key.public_key());
    assert_eq!(leaf.dns, [DnsName::parse("pump-7").unwrap()]);
    let (issuer, serial) = issuer_and_serial(&first.record.der).unwrap();
    let first_row = rig.authority.issued().find(&issuer, &serial).unwrap();
    assert_eq!(first_row.revoked_at, None);
    let third = again(&rig, &first, &asked("pump-7", &["pump-7"]), later).unwrap();
    assert_ne!(third.record.serial, second.record.serial);
}

#[test]
fn certificate_is_not_issued_again_for_whoever_may_not() {
    let rig = Rig::made(KeyAlgorithm::EcP256);
    let other = Rig::made(KeyAlgorithm::EcP256);
    let made = enrolled(&rig, "pump-7", START).unwrap();
    let own = asked("pump-7", &[]);
    let soon = at(START + 60);
    for name in ["fan", ""] {
        assert!(matches!(
            again(&rig, &made, &asked(name, &[]), soon),
            Err(CaError::Request(RequestFault::OtherName))
        ));
    }
    assert!(matches!(
        again(&rig, &made, &asked("pump-7", &["fan"]), soon),
        Err(CaError::Request(RequestFault::OtherAlternativeName))
    ));
    let foreign = enrolled(&other, "pump-7", START).unwrap();
    assert!(matches!(
        again(&rig, &foreign, &own, soon),
        Err(CaError::Unknown { .. })
    ));
    let mut forged = made.clone();
    let mut der = forged.record.der.to_vec();
    *der.last_mut().unwrap() ^= 1;
    forged.record.der = der.into();
    assert!(matches!(
        again(&rig, &forged, &own, soon),
        Err(CaError::Unknown { .. })
    ));
    assert!(matches!(
        rig.authority.re_enrol(b"nothing", &own, soon, &asker()),
        Err(CaError::Unknown { .. })
    ));
    let over = at(made.record.not_after + 1);
    assert!(matches!(
        again(&rig, &made, &own, over),
        Err(CaError::Ended { .. })
    ));
    again(&rig, &made, &own, at(made.record.not_after)).unwrap();
    rig.authority
        .revoke(
            &made.record.serial,
            RevocationReason::default(),
            soon,
            &asker(),
        )
        .unwrap();
    assert!(matches!(
        again(&rig, &made, &own, soon),
        Err(CaError::Revoked { .. })
    ));
}

#[test]
fn clock_that_is_behind_does_not_keep_a_device_from_coming_again() {
    let rig = Rig::made(KeyAlgorithm::EcP256);
    let made = enrolled(&rig, "pump-7", START).unwrap();
    let behind = Reading {
        now: START - YEAR,
        trust: super::super::ClockTrust::Behind,
        least: START - YEAR,
    };
    let second = again(&rig, &made, &asked("pump-7", &[]), behind).unwrap();
    assert!(second.record.provisional);
    let ahead_of_us = at(START - 3 * DAY);
    assert!(matches!(
        again(&rig, &made, &asked("pump-7", &[]), ahead_of_us),
        Err(CaError::Ended { .. })
    ));
}

#[test]
fn one_name_does_not_fill_the_table() {
    let rig = Rig::made(KeyAlgorithm::EcP256);
    let first = enrolled(&rig, "pump-7", START).unwrap();
    for _ in 1..ENROLLED_PER_NAME_MAX {
        enrolled(&rig, "pump-7", START + DAY).unwrap();
    }
    let full = |made: Result<IssuedCertificate, CaError>| {
        assert!(matches!(made, Err(CaError::Full { .. })), "{made:?}");
    };
    full(enrolled(&rig, "pump-7", START + DAY));
    full(again(&rig, &first, &asked("pump-7", &[]), at(START + DAY)));
    enrolled(&rig, "fan", START + DAY).unwrap();
    // What was signed by hand does not count, and neither does what has ended or is revoked.
    rig.sign("pump-7", START + DAY).unwrap();
    enrolled(&rig, "pump-7", first.record.not_after + 1).unwrap();
    rig.authority
        .revoke(
            "pump-7",
            RevocationReason::default(),
            at(START + DAY),
            &asker(),
        )
        .unwrap();
    enrolled(&rig, "pump-7", START + DAY).unwrap();
}

#[test]
fn what_is_enrolled_is_taken_by_whoever_trusts_the_published_roots() {
    let rig = Rig::made(KeyAlgorithm::EcP256);
    let made = enrolled(&rig, "pump-7", START).unwrap();
    let bundle = rig.authority.trust_pem(at(START)).unwrap();
    super::super::rig::server_says(&bundle, &made.chain_pem(), "", START).unwrap();
    let as_server = client_says(&bundle, &made.chain_pem(), "pump-7", START);
    assert!(as_server.is_err(), "{:?} only", Purpose::Client);
}

#[test]
fn what_is_revoked_at_the_same_moment_leaves_nothing_behind() {
    let rig = Rig::made(KeyAlgorithm::EcP256);
    let request = asked("pump-7", &[]);
    for round in 0..20 {
        let now = START + round;
        let made = enrolled(&rig, "pump-7", now).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| again(&rig, &made, &request, at(now)).map(drop));
            scope.spawn(|| {
                let reason = RevocationReason::default();
                rig.authority.revoke("pump-7", reason, at(now), &asker())
            });
        });
        let alive = |record: &crate::store::CertificateRecord| record.revoked_at.is_none();
        assert_eq!(rig.authority.issued().count(alive), 0, "round {round}");
    }
}
