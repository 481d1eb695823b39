//! What is issued, renewed, revoked and enrolled, and what is refused.

use std::path::PathBuf;

use super::rig::{Rig, START, client_key, client_says, server_order, server_says};
use super::time::DAY;
use super::*;
use crate::store::{AuditFilter, read_audit};

const YEAR: u64 = 365 * DAY;

fn settled(now: u64) -> Reading {
    Reading::settled(now)
}

fn request(name: &str) -> SigningRequest {
    let text = make_request(name, &[], &[], &client_key()).unwrap();
    SigningRequest::parse(text.as_bytes()).unwrap()
}

fn order(name: &str) -> Order {
    Order {
        name: Some(CommonName::parse(name).unwrap()),
        attributes: [("hall".into(), "2".into())].into(),
        ..Order::default()
    }
}

fn sign(rig: &Rig, request: &SigningRequest, order: Order) -> Result<IssuedCertificate, CaError> {
    let asker = Asker {
        name: "uid 0".into(),
        peer: "control socket".into(),
    };
    rig.authority
        .sign(request, order, Origin::Signed, settled(START), &asker)
}

fn apply(rig: &Rig, request: CaRequest) -> Result<CaReply, CaError> {
    rig.authority
        .apply(&request, settled(START), &Asker::default())
}

#[test]
fn certificate_brings_its_attributes_to_whoever_asks() {
    let rig = Rig::made(KeyAlgorithm::EcP256);
    let made = sign(&rig, &request("pump-7"), order("pump-7")).unwrap();
    assert_eq!(made.record.not_after, START + YEAR);
    let (issuer, serial) = issuer_and_serial(&made.record.der).unwrap();
    let rig = rig.reopen();
    let attributes = rig
        .authority
        .issued()
        .find(&issuer, &serial)
        .unwrap()
        .attributes
        .clone();
    assert_eq!(&*attributes["hall"], "2");
    let found = rig
        .authority
        .issued()
        .find_certificate(&made.record.der)
        .unwrap();
    assert_eq!(&*found.name, "pump-7");
    assert!(rig.authority.issued().find_certificate(b"none").is_none());
    let audit = read_audit(
        rig.dir.path(),
        &AuditFilter {
            rows_max: 9,
            ..AuditFilter::default()
        },
    )
    .unwrap();
    assert_eq!(
        (&*audit[0].kind, &*audit[0].actor, &*audit[0].subject),
        ("certificate-issued", "uid 0", "pump-7")
    );
}

#[test]
fn order_and_request_must_agree() {
    let rig = Rig::made(KeyAlgorithm::EcP256);
    let refusal =
        |request: &SigningRequest, order: Order| match sign(&rig, request, order).unwrap_err() {
            CaError::Request(fault) => fault,
            other => panic!("{other}"),
        };
    assert_eq!(
        refusal(&request("fan"), order("pump-7")),
        RequestFault::OtherName
    );
    let nameless = request("");
    assert_eq!(refusal(&nameless, Order::default()), RequestFault::NoName);
    sign(&rig, &nameless, order("pump-7")).unwrap();
    let other_key = SecretKey::generate(KeyAlgorithm::Ed25519, &SystemChance::default()).unwrap();
    let text = make_request("gw", &[], &[], &other_key).unwrap();
    let foreign = SigningRequest::parse(text.as_bytes()).unwrap();
    let server = Order {
        purpose: Purpose::Server,
        ..Order::default()
    };
    assert!(matches!(
        refusal(&foreign, server),
        RequestFault::KeyKind { .. }
    ));
    sign(&rig, &foreign, Order::default()).unwrap();
    let long = Order {
        lifetime: Some(6 * YEAR),
        ..order("pump-7")
    };
    assert!(matches!(
        sign(&rig, &request("pump-7"), long),
        Err(CaError::Input { .. })
    ));
    let odd = Order {
        attributes: [("".into(), "".into())].into(),
        ..order("pump-7")
    };
    assert!(matches!(
        sign(&rig, &request("pump-7"), odd),
        Err(CaError::Input { .. })
    ));
}

#[test]
fn names_of_the_request_are_issued() {
    let rig = Rig::made(KeyAlgorithm::EcP256);
    let dns = [DnsName::parse("press.local").unwrap()];
    let text = make_request("press", &dns, &[], &client_key()).unwrap();
    let request = SigningRequest::parse(text.as_bytes()).unwrap();
    let server = Order {
        purpose: Purpose::Server,
        dns: vec![dns[0].clone(), DnsName::parse("press").unwrap()],
        ..Order::default()
    };
    let made = sign(&rig, &request, server).unwrap();
    let bundle = rig.authority.trust_pem(settled(START)).unwrap();
    for name in ["press.local", "press"] {
        client_says(&bundle, &made.chain_pem(), name, START).unwrap();
    }
}

#[test]
fn renewal_keeps_names_attributes_and_key_or_takes_another_key() {
    let rig = Rig::made(KeyAlgorithm::EcP256);
    let order = Order {
        lifetime: Some(90 * DAY),
        ..order("pump-7")
    };
    let first = sign(&rig, &request("pump-7"), order).unwrap();
    let later = settled(START + 60 * DAY);
    let renew = |which: &str, request: Option<SigningRequest>| {
        rig.authority.renew(
            which,
            request.as_ref(),
            None,
            Origin::Signed,
            later,
            &Asker::default(),
        )
    };
    let second = renew("pump-7", None).unwrap();
    assert_eq!(second.record.attributes, first.record.attributes);
    assert_eq!(second.record.not_after, later.now + 90 * DAY);
    assert_ne!(second.record.serial, first.record.serial);
    let key_of = |made: &IssuedCertificate| {
        super::certificate::Leaf::parse(&made.record.der)
            .unwrap()
            .public_key_der
    };
    assert_eq!(key_of(&second), key_of(&first));
    let third = renew(&first.record.serial, Some(request("pump-7"))).unwrap();
    assert_ne!(key_of(&third), key_of(&first));
    assert!(matches!(renew("none", None), Err(CaError::Unknown { .. })));
    let other = renew("pump-7", Some(request("fan"))).unwrap_err();
    assert!(matches!(other, CaError::Request(RequestFault::OtherName)));
    let reason = RevocationReason::KeyCompromise;
    rig.authority
        .revoke("pump-7", reason, later, &Asker::default())
        .unwrap();
    assert!(matches!(
        renew("pump-7", None),
        Err(CaError::Revoked { .. })
    ));
}

#[test]
fn name_stands_for_all_its_certificates_when_it_is_revoked() {
    let rig = Rig::made(KeyAlgorithm::EcP256);
    let short = Order {
        lifetime: Some(DAY),
        ..order("pump-7")
    };
    sign(&rig, &request("pump-7"), short).unwrap();
    for _ in 0..2 {
        sign(&rig, &request("pump-7"), order("pump-7")).unwrap();
    }
    let one = sign(&rig, &request("fan"), order("fan")).unwrap();
    let later = settled(START + 2 * DAY);
    let revoke = |which: &str| {
        let reason = RevocationReason::default();
        rig.authority
            .revoke(which, reason, later, &Asker::default())
    };
    assert_eq!(
        revoke("pump-7").unwrap().len(),
        2,
        "what has ended needs no revocation"
    );
    assert_eq!(revoke(&one.record.serial.to_uppercase()).unwrap().len(), 1);
    assert!(matches!(
        revoke(&one.record.serial),
        Err(CaError::Revoked { .. })
    ));
    assert!(matches!(revoke("none"), Err(CaError::Unknown { .. })));
    let status = rig.authority.status(later).unwrap();
    assert_eq!((status.issued, status.revoked), (4, 3));
    let rig = rig.reopen();
    assert!(
        rig.authority
            .issued()
            .find_certificate(&one.record.der)
            .unwrap()
            .revoked_at
            .is_some()
    );
}

#[test]
fn token_is_good_for_one_certificate_under_its_name() {
    let rig = Rig::made(KeyAlgorithm::EcP256);
    let make = |good_for| {
        rig.authority.make_token(
            &order("pump-7"),
            good_for,
            settled(START),
            &Asker::default(),
        )
    };
    let redeem = |token: &str, request: &SigningRequest, now| {
        rig.authority
            .redeem(token, request, settled(now), &Asker::default())
    };
    let (token, expires_at) = make(3600).unwrap();
    assert_eq!((token.len(), expires_at), (32, START + 3600));
    let refused = redeem(&token, &request("fan"), START).unwrap_err();
    assert!(
        matches!(refused, CaError::Request(RequestFault::OtherName)),
        "the token is not used up"
    );
    assert!(matches!(
        redeem("other", &request("pump-7"), START),
        Err(CaError::Token)
    ));
    assert!(matches!(
        redeem(&token, &request("pump-7"), expires_at + 1),
        Err(CaError::Token)
    ));
    // Made by a clock that was far ahead, and looked at when that has been set right.
    let early = START - 2 * DAY;
    assert!(matches!(
        redeem(&token, &request("pump-7"), early),
        Err(CaError::Token)
    ));
    let made = redeem(&token, &request(""), expires_at).unwrap();
    assert_eq!(
        (&*made.record.name, &*made.record.origin),
        ("pump-7", "enrolled")
    );
    assert_eq!(&*made.record.attributes["hall"], "2");
    assert!(
        matches!(
            redeem(&token, &request("pump-7"), START),
            Err(CaError::Token)
        ),
        "used"
    );
    assert!(matches!(make(0), Err(CaError::Input { .. })));
    assert!(matches!(make(31 * DAY), Err(CaError::Input { .. })));
    let database = std::fs::read(rig.dir.path().join("gateway.db-wal")).unwrap();
    let is_there = database
        .windows(token.len())
        .any(|part| part == token.as_bytes());
    assert!(!is_there, "only its hash is kept");
}

#[test]
fn tokens_are_bounded_and_make_room_when_they_end() {
    let rig = Rig::made(KeyAlgorithm::EcP256);
    let make = |now| {
        rig.authority
            .make_token(&order("pump-7"), 3600, settled(now), &Asker::default())
    };
    for _ in 0..TOKENS_MAX {
        make(START).unwrap();
    }
    assert!(matches!(make(START), Err(CaError::Full { .. })));
    make(START + 3601).unwrap();
}

#[test]
fn requests_are_answered_alike_wherever_they_come_from() {
    let rig = Rig::empty(Lifetimes::default());
    let absent = apply(&rig, CaRequest::Status {}).unwrap_err();
    assert!(matches!(absent, CaError::Absent { .. }) && absent.hint().contains("ca init"));
    let init = CaRequest::Init {
        name: "gateway-7".to_owned(),
        algorithm: KeyAlgorithm::EcP256,
        constraints: NameConstraints::default(),
    };
    assert_eq!(apply(&rig, init.clone()).unwrap(), CaReply::Done);
    assert!(matches!(apply(&rig, init), Err(CaError::Present { .. })));
    let text = make_request("pump-7", &[], &[], &client_key()).unwrap();
    let sign = CaRequest::Sign {
        request: text,
        order: Order::default(),
    };
    // What goes over the socket is the same.
    let json = serde_json::to_string(&sign).unwrap();
    let CaReply::Issued(issued) = apply(&rig, serde_json::from_str(&json).unwrap()).unwrap() else {
        panic!("not issued");
    };
    assert_eq!(issued.report.days_left, 365);
    server_says(&issued.trust, &issued.chain, "", START).unwrap();
    let CaReply::Certificates {
        certificates,
        total,
    } = apply(&rig, CaRequest::List { skip: 0 }).unwrap()
    else {
        panic!("not listed");
    };
    assert_eq!((certificates.len(), total), (1, 1));
    let which = "pump-7".to_owned();
    let CaReply::Shown(shown) = apply(&rig, CaRequest::Show { which }).unwrap() else {
        panic!("not shown");
    };
    assert!(issued.chain.starts_with(&shown[0].1));
    let CaReply::Text(trust) = apply(&rig, CaRequest::Trust {}).unwrap() else {
        panic!("no text");
    };
    assert_eq!(trust, issued.trust);
    let CaReply::Text(crl) = apply(&rig, CaRequest::Crl {}).unwrap() else {
        panic!("no text");
    };
    assert!(crl.starts_with("-----BEGIN X509 CRL-----"));
    let token = CaRequest::Token {
        order: order("pump-8"),
        good_for: 60,
    };
    let CaReply::Token { token, .. } = apply(&rig, token).unwrap() else {
        panic!("no token");
    };
    assert_eq!(format!("{token:?}"), "SecretText");
}

#[test]
fn token_outlives_a_start_without_the_time_and_a_moment_of_a_wrong_one() {
    let rig = Rig::made(KeyAlgorithm::EcP256);
    let asker = Asker::default();
    let make = |reading| {
        rig.authority
            .make_token(&order("pump-7"), 3600, reading, &asker)
    };
    let (token, _) = make(settled(START)).unwrap();
    let wrong = Reading {
        now: START + 400 * DAY,
        trust: ClockTrust::New,
        least: START,
    };
    make(wrong).unwrap();
    let behind = Reading {
        now: START - 2 * DAY,
        trust: ClockTrust::Behind,
        least: START - 2 * DAY,
    };
    let request = request("pump-7");
    rig.authority
        .redeem(&token, &request, behind, &asker)
        .unwrap();
}

#[test]
fn root_key_leaves_and_comes_back() {
    let rig = Rig::made(KeyAlgorithm::EcP256);
    let key = std::fs::read_to_string(rig.dir.path().join("ca/root-1.key")).unwrap();
    apply(&rig, CaRequest::RemoveRootKey {}).unwrap();
    assert!(!rig.dir.path().join("ca/root-1.key").exists());
    let rig = rig.reopen();
    sign(&rig, &request("pump-7"), order("pump-7")).unwrap();
    // Its time has come, but nobody can renew the issuer.
    let late = settled(START + 5 * YEAR - 20 * DAY);
    assert!(rig.authority.maintain(late).unwrap().is_empty());
    let problems = rig.authority.status(late).unwrap().problems.join("; ");
    assert!(
        problems.contains("20 days") && problems.contains("root-key restore"),
        "{problems}"
    );
    let restore = |key: &str| CaRequest::RestoreRootKey {
        key: SecretText(key.to_owned().into()),
        file: PathBuf::from("stick/root.key"),
    };
    let other = client_key();
    let fault = apply(&rig, restore(&other.pem())).unwrap_err();
    assert!(fault.to_string().contains("stick/root.key"), "{fault}");
    apply(&rig, restore(&key)).unwrap();
    assert_eq!(rig.authority.maintain(late).unwrap(), [Step::NewIssuing]);
    sign(&rig, &request("pump-8"), order("pump-8")).unwrap();
}

#[test]
fn new_root_is_published_before_it_issues() {
    let rig = Rig::made(KeyAlgorithm::EcP256);
    apply(&rig, CaRequest::Rollover {}).unwrap();
    let order = server_order("gw.local", "192.0.2.7", 90 * DAY);
    let issued_at = |now| {
        rig.authority
            .issue_for(&client_key(), &order, settled(now))
            .unwrap()
            .chain_pem()
    };
    let bundle = std::fs::read_to_string(rig.authority.trust_file()).unwrap();
    let (first, second) = bundle.split_at(bundle.len() / 2 + 1);
    let first_root = &bundle[..bundle.find("-----END CERTIFICATE-----").unwrap() + 26];
    assert!(first.contains("BEGIN") && second.contains("END"));
    client_says(first_root, &issued_at(START), "gw.local", START).unwrap();
    let later = START + YEAR + DAY;
    client_says(first_root, &issued_at(later), "gw.local", later).unwrap_err();
    client_says(&bundle, &issued_at(later), "gw.local", later).unwrap();
}
