use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, DnValue, ExtendedKeyUsagePurpose, IsCa,
    KeyUsagePurpose, SanType, date_time_ymd,
};

use super::testing::{Ca, Site, client, day, params};
use super::*;
use crate::config::{SubjectAttributes as Entry, TrustSource};

fn method(site: &Site, settings: &X509Settings) -> X509 {
    let access = site.access();
    let method = X509::new(settings, &access);
    method.trust().refresh_at(day(2, 1));
    method
}

fn begin(method: &X509, chain: &[Box<[u8]>]) -> Outcome {
    begin_on(method, chain, day(2, 1))
}

fn begin_on(method: &X509, chain: &[Box<[u8]>], wall: SystemTime) -> Outcome {
    let credentials = Credentials {
        certificates: chain,
        username: Some("somebody"),
        ..Credentials::default()
    };
    method.begin_at(&credentials, wall, clock::now())
}

#[track_caller]
fn accepted(outcome: Outcome) -> Acceptance {
    match outcome {
        Outcome::Accepted(acceptance) => acceptance,
        other => panic!("not accepted: {other:?}"),
    }
}

#[track_caller]
fn sentence(outcome: Outcome) -> String {
    match outcome {
        Outcome::Refused(refused) => {
            assert_eq!(refused.reason, ReasonCode::NotAuthorized);
            refused.sentence.into_owned()
        }
        other => panic!("not refused: {other:?}"),
    }
}

fn reason(trust: &ClientTrust, chain: &[Box<[u8]>], wall: SystemTime) -> Option<UnfitReason> {
    trust
        .check(ders(chain), wall)
        .err()
        .map(|unfit| unfit.reason)
}

#[test]
fn a_client_is_who_its_certificate_says() {
    let root = Ca::root("Root");
    let site = Site::new(&[&root]);
    let method = method(&site, &site.settings());
    let chain = [root.client("press-1")];
    let now = clock::now();
    let credentials = Credentials {
        certificates: &chain,
        username: Some("somebody else"),
        password: Some(b"anything"),
        ..Credentials::default()
    };
    let acceptance = accepted(method.begin_at(&credentials, day(2, 1), now));
    assert_eq!(&*acceptance.principal.username, "press-1");
    assert!(acceptance.principal.attributes.is_empty());
    let ends_on = std::time::UNIX_EPOCH + Duration::from_secs(1_798_761_600);
    assert_eq!(
        acceptance.expires_at.unwrap() - now,
        ends_on.duration_since(day(2, 1)).unwrap() + Duration::from_secs(1)
    );
    let Credential::Certificate(proven) = acceptance.credential else {
        panic!("another credential");
    };
    assert_eq!(*proven, chain);
}

#[test]
fn clients_without_a_certificate_are_for_other_methods() {
    let site = Site::new(&[&Ca::root("Root")]);
    let method = method(&site, &site.settings());
    assert!(matches!(begin(&method, &[]), Outcome::NotMine));
    let chain = [Ca::root("Other").client("press-1")];
    let credentials = Credentials {
        certificates: &chain,
        method: Some("K8S-SAT"),
        ..Credentials::default()
    };
    assert!(matches!(method.begin(&credentials), Outcome::NotMine));
}

#[test]
fn before_anybody_has_looked_nobody_is_judged() {
    let root = Ca::root("Root");
    let site = Site::new(&[&root]);
    let access = site.access();
    let method = X509::new(&site.settings(), &access);
    let chain = [root.client("press-1")];
    assert!(matches!(begin(&method, &chain), Outcome::Unavailable(_)));
    let credential = Credential::Certificate(chain.as_slice().into());
    let standing = method.review_at(&credential, &Principal::default(), day(2, 1));
    assert_eq!(standing, Standing::Same);
}

#[test]
fn any_certificate_of_the_way_may_be_the_trusted_one() {
    let root = Ca::root("Root");
    let middle = root.below("Middle");
    let low = middle.below("Low");
    let leaf = low.client("press-1");
    let chain = |cas: &[&Ca]| -> Vec<Box<[u8]>> {
        let cas = cas.iter().map(|ca| ca.der());
        std::iter::once(leaf.clone()).chain(cas).collect()
    };
    for (trusted, presented, is_good) in [
        (&[&root][..], &[&low, &middle][..], true),
        (&[&root], &[&middle, &low], true),
        (&[&root], &[&low, &middle, &root], true),
        (&[&root], &[&low], false),
        (&[&root], &[], false),
        (&[&middle], &[&low], true),
        (&[&low], &[], true),
        (&[&low], &[&low, &middle, &root], true),
        (&[&root, &middle], &[&low], true),
    ] {
        let site = Site::new(trusted);
        let trust = site.trust_of(&site.settings());
        let found = reason(&trust, &chain(presented), day(2, 1));
        let wanted = (!is_good).then_some(UnfitReason::UnknownIssuer);
        assert_eq!(found, wanted, "{} trusted", trusted.len());
    }
}

#[test]
fn every_unfit_certificate_is_refused_with_its_reason() {
    use UnfitReason::*;
    let root = Ca::root("Root");
    let site = Site::new(&[&root]);
    let trust = site.trust_of(&site.settings());
    let alter = |change: &dyn Fn(&mut CertificateParams)| {
        let mut params = client("press-1");
        change(&mut params);
        vec![root.sign(&params)]
    };
    let mut of_server = params("press-1");
    of_server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let brief = root.brief("Brief", 2);
    let mut silent = params("Silent");
    silent.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    silent.key_usages = vec![KeyUsagePurpose::CrlSign];
    let silent = root.below_with(silent);
    let mut narrow = params("Narrow");
    narrow.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let narrow = root.below_with(narrow);
    let below_narrow = narrow.below("Below");
    let no_authority = root.below_with(client("No authority"));
    let mut broken = root.client("press-1");
    *broken.last_mut().unwrap() ^= 1;
    for (chain, wanted) in [
        (vec![Ca::root("Other").client("press-1")], UnknownIssuer),
        (vec![Ca::root("Root").client("press-1")], BadSignature),
        (vec![broken], BadSignature),
        (
            alter(&|p| p.not_after = date_time_ymd(2026, 1, 15)),
            Expired,
        ),
        (
            alter(&|p| p.not_before = date_time_ymd(2026, 6, 1)),
            NotYetValid,
        ),
        (vec![root.sign(&of_server)], WrongPurpose),
        (
            alter(&|p| p.key_usages = vec![KeyUsagePurpose::KeyEncipherment]),
            WrongPurpose,
        ),
        (vec![root.der()], NotAllowed),
        (
            vec![brief.client("press-1"), brief.der()],
            AuthorityNotValid,
        ),
        (vec![silent.client("press-1"), silent.der()], NotAllowed),
        (
            vec![
                below_narrow.client("press-1"),
                below_narrow.der(),
                narrow.der(),
            ],
            NotAllowed,
        ),
        (
            vec![no_authority.client("press-1"), no_authority.der()],
            NotAllowed,
        ),
        (vec![Box::from(&b"nothing"[..])], Malformed),
        (vec![Box::default()], Malformed),
        (vec![root.client("press-1"); 7], TooLong),
        (vec![vec![0; 17 * 1024].into()], TooLong),
    ] {
        let unfit = trust.check(ders(&chain), day(2, 15)).unwrap_err();
        assert_eq!(unfit.reason, wanted, "{unfit}");
    }
}

#[test]
fn what_is_refused_is_named() {
    let root = Ca::root("Root");
    let site = Site::new(&[&root]);
    let trust = site.trust_of(&site.settings());
    let unfit = trust.check(ders(&[root.client("press-1")]), day(13, 15));
    assert_eq!(
        unfit.unwrap_err().to_string(),
        "the certificate of \"CN=press-1\" has expired"
    );
}

#[test]
fn an_authority_that_is_not_valid_vouches_for_nobody() {
    let mut params = params("Root");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_after = date_time_ymd(2026, 3, 1);
    let root = Ca::root_with(params);
    let site = Site::new(&[&root]);
    let method = method(&site, &site.settings());
    let chain = [root.client("press-1")];
    let acceptance = accepted(begin(&method, &chain));
    // The connection ends with the first of them.
    let left = acceptance.expires_at.unwrap() - clock::now();
    assert!(left < Duration::from_secs(60 * 24 * 3600), "{left:?}");
    assert_eq!(
        reason(&method.trust(), &chain, day(4, 1)),
        Some(UnfitReason::AuthorityNotValid)
    );
    method.trust().refresh_at(day(4, 1));
    let faults = method.trust().summary(day(4, 1)).faults;
    assert!(
        faults.concat().contains("\"CN=Root\" has expired"),
        "{faults:?}"
    );
}

#[test]
fn what_is_no_authority_is_not_trusted() {
    let leaf = Ca::root_with(client("press-1"));
    let site = Site::new(&[&leaf]);
    let trust = site.trust_of(&site.settings());
    let forged = leaf.client("press-2");
    assert_eq!(
        reason(&trust, &[forged], day(2, 1)),
        Some(UnfitReason::UnknownIssuer)
    );
    let summary = trust.summary(day(2, 1));
    assert_eq!(summary.authorities, 0);
    assert!(
        summary
            .faults
            .concat()
            .contains("is not that of an authority")
    );
    assert!(summary.faults.concat().contains("nobody is trusted"));
}

#[test]
fn every_certificate_of_the_path_can_be_revoked() {
    let root = Ca::root("Root");
    let middle = root.below("Middle");
    let leaf = middle.client("press-1");
    let other = middle.client("press-2");
    let with = |leaf: &[u8]| [Box::from(leaf), middle.der()];
    for trusted in [&[&root][..], &[&middle], &[&root, &middle]] {
        let knows_root = trusted.len() == 2 || trusted[0].der() == root.der();
        let find = |lists: &[String]| {
            let site = Site::new(trusted);
            site.write("crl.pem", &lists.concat());
            let trust = site.trust_of(&site.settings_with_lists());
            [&leaf, &other].map(|leaf| reason(&trust, &with(leaf), day(2, 1)))
        };
        let revoked = Some(UnfitReason::Revoked);
        assert_eq!(find(&[middle.list(1, &[&leaf])]), [revoked, None]);
        // Whoever trusts the one in the middle and not the root does not listen to the root.
        let wanted = knows_root.then_some(UnfitReason::AuthorityRevoked);
        assert_eq!(find(&[root.list(1, &[&middle.der()])]), [wanted; 2]);
        let both = [middle.list(1, &[&leaf]), root.list(1, &[])];
        assert_eq!(find(&both), [revoked, None]);
    }
}

#[test]
fn a_list_counts_only_with_the_signature_of_its_issuer() {
    let root = Ca::root("Root");
    let leaf = root.client("press-1");
    let site = Site::new(&[&root]);
    let forged = [
        Ca::root("Root").list(2, &[&leaf]),
        Ca::root("Other").list(1, &[&leaf]),
    ];
    site.write("crl.pem", &forged.concat());
    let trust = site.trust_of(&site.settings_with_lists());
    assert_eq!(reason(&trust, std::slice::from_ref(&leaf), day(2, 1)), None);
    let faults = trust.summary(day(2, 1)).faults.join("\n");
    assert!(faults.contains("\"CN=Root\" is not signed by"), "{faults}");
    assert!(
        faults.contains("\"CN=Other\" is not among the trusted"),
        "{faults}"
    );
    // A forged list does not take the place of a true one, however new it is.
    site.write(
        "crl.pem",
        &[&forged.concat(), &*root.list(1, &[&leaf])].concat(),
    );
    trust.refresh_at(day(2, 1));
    let leaf = [leaf];
    let revoked = Some(UnfitReason::Revoked);
    assert_eq!(reason(&trust, &leaf, day(2, 1)), revoked);
    site.write("crl.pem", &forged.concat());
    trust.refresh_at(day(2, 1));
    assert_eq!(reason(&trust, &leaf, day(2, 1)), revoked);
    site.write("crl.pem", &root.list(2, &[]));
    trust.refresh_at(day(2, 1));
    assert_eq!(reason(&trust, &leaf, day(2, 1)), None);
}

#[test]
fn a_newer_list_takes_the_place_of_an_older_one_and_a_stale_one_stays() {
    let root = Ca::root("Root");
    let held = root.client("press-1");
    let gone = root.client("press-2");
    let site = Site::new(&[&root]);
    site.write("crl.pem", &root.list(1, &[&held, &gone]));
    let trust = site.trust_of(&site.settings_with_lists());
    let find = |leaf: &[u8]| reason(&trust, &[Box::from(leaf)], day(9, 1));
    assert_eq!(find(&held), Some(UnfitReason::Revoked));
    trust.refresh_at(day(9, 1));
    let summary = trust.summary(day(9, 1));
    assert!(summary.lists[0].is_stale);
    assert_eq!(summary.lists[0].revoked, 2);
    assert!(
        summary
            .faults
            .concat()
            .contains("should have been replaced")
    );
    assert_eq!(
        find(&gone),
        Some(UnfitReason::Revoked),
        "a stale list stays"
    );
    let both = [root.list(1, &[&held, &gone]), root.list(8, &[&gone])];
    site.write("crl.pem", &both.concat());
    trust.refresh_at(day(8, 15));
    assert_eq!(find(&held), None);
    assert_eq!(find(&gone), Some(UnfitReason::Revoked));
}

#[test]
fn the_user_name_is_the_part_that_the_settings_say() {
    let root = Ca::root("Root");
    let site = Site::new(&[&root]);
    let mut params = client("press-1");
    params
        .distinguished_name
        .push(DnType::OrganizationName, "Plant, Inc.");
    params.subject_alt_names = vec![
        SanType::IpAddress([127, 0, 0, 1].into()),
        SanType::URI("spiffe://plant/press-1".try_into().unwrap()),
        SanType::DnsName("press-1.plant".try_into().unwrap()),
        SanType::DnsName("other.plant".try_into().unwrap()),
        SanType::Rfc822Name("press-1@plant".try_into().unwrap()),
    ];
    let chain = [root.sign(&params)];
    let bare = [root.client("press-1")];
    for (identity, wanted, missing) in [
        (CertificateIdentity::CommonName, "press-1", None),
        (
            CertificateIdentity::Subject,
            "O=Plant\\, Inc.,CN=press-1",
            None,
        ),
        (CertificateIdentity::SanDns, "press-1.plant", Some("host")),
        (
            CertificateIdentity::SanUri,
            "spiffe://plant/press-1",
            Some("URI"),
        ),
        (
            CertificateIdentity::SanEmail,
            "press-1@plant",
            Some("e-mail"),
        ),
    ] {
        let settings = X509Settings {
            identity,
            ..site.settings()
        };
        let method = method(&site, &settings);
        let acceptance = accepted(begin(&method, &chain));
        assert_eq!(&*acceptance.principal.username, wanted);
        if let Some(missing) = missing {
            let said = sentence(begin(&method, &bare));
            assert!(
                said.contains("names no") && said.contains(missing),
                "{said}"
            );
        }
    }
}

#[test]
fn names_that_are_none_are_refused() {
    let root = Ca::root("Root");
    let site = Site::new(&[&root]);
    let method = method(&site, &site.settings());
    let named = |value: DnValue| {
        let mut params = client("");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, value);
        [root.sign(&params)]
    };
    let utf8 = |text: &str| named(DnValue::Utf8String(text.to_owned()));
    for (chain, wanted) in [
        (utf8(""), "is empty"),
        (utf8("  "), "is empty"),
        (utf8(&"x".repeat(257)), "longer than 256"),
        (utf8("a\nb"), "control characters"),
        (utf8("a\u{0}b"), "control characters"),
    ] {
        let said = sentence(begin(&method, &chain));
        assert!(said.contains(wanted), "{said}");
    }
    let mut nameless = client("");
    nameless.distinguished_name = rcgen::DistinguishedName::new();
    nameless
        .distinguished_name
        .push(DnType::OrganizationName, "Plant");
    let said = sentence(begin(&method, &[root.sign(&nameless)]));
    assert!(said.contains("no common name"), "{said}");
    let good = |chain: &[Box<[u8]>]| accepted(begin(&method, chain)).principal.username.clone();
    assert_eq!(&*good(&utf8(&"x".repeat(256))), "x".repeat(256));
    assert_eq!(&*good(&utf8("Jörg/+#")), "Jörg/+#");
    let wide = named(DnValue::BmpString("Jörg".try_into().unwrap()));
    assert_eq!(&*good(&wide), "Jörg");
}

fn entry(subject: &str, floor: &str) -> Entry {
    Entry {
        name: subject.into(),
        subject: subject.into(),
        attributes: [("floor".into(), floor.into())].into(),
    }
}

#[test]
fn the_first_subject_of_the_path_that_is_known_gives_the_attributes() {
    let root = Ca::root("Root");
    let middle = root.below("Middle");
    for trusted in [&[&root][..], &[&root, &middle]] {
        let site = Site::new(trusted);
        let settings = X509Settings {
            attributes: vec![
                entry("CN=Root", "root"),
                entry("CN = Middle", "middle"),
                entry("/CN=press-1", "leaf"),
                entry("CN=press-1", "never"),
            ],
            ..site.settings()
        };
        let method = method(&site, &settings);
        let floor = |chain: &[Box<[u8]>]| {
            let principal = accepted(begin(&method, chain)).principal;
            principal.attributes.get("floor").cloned()
        };
        let below = |name: &str| [middle.client(name), middle.der()];
        assert_eq!(floor(&below("press-1")).as_deref(), Some("leaf"));
        assert_eq!(floor(&below("press-2")).as_deref(), Some("middle"));
        assert_eq!(floor(&[root.client("press-2")]).as_deref(), Some("root"));
    }
}

#[test]
fn a_client_is_looked_at_again_when_something_changes() {
    let root = Ca::root("Root");
    let site = Site::new(&[&root]);
    site.write("crl.pem", &root.list(1, &[]));
    let x509 = method(&site, &site.settings_with_lists());
    let chain = [root.client("press-1")];
    let other = [root.client("press-2")];
    let acceptance = accepted(begin(&x509, &chain));
    let review =
        |method: &X509, wall| method.review_at(&acceptance.credential, &acceptance.principal, wall);
    assert_eq!(review(&x509, day(2, 1)), Standing::Same);
    let revoked = Standing::Gone("The certificate has been revoked");
    let expired = Standing::Gone("The certificate has expired");
    assert_eq!(review(&x509, day(14, 1)), expired);

    let mut changed = x509.trust().subscribe();
    site.write("crl.pem", &root.list(2, &[&chain[0]]));
    x509.trust().refresh_at(day(2, 1));
    assert!(changed.has_changed().unwrap());
    changed.mark_unchanged();
    assert_eq!(review(&x509, day(2, 1)), revoked);
    accepted(begin(&x509, &other));
    site.write("crl.pem", &root.list(3, &[]));
    x509.trust().refresh_at(day(2, 1));
    assert_eq!(review(&x509, day(2, 1)), Standing::Same);

    let settings = X509Settings {
        attributes: vec![entry("CN=Root", "1")],
        ..site.settings()
    };
    let with_attributes = method(&site, &settings);
    let Standing::Changed(principal) = review(&with_attributes, day(2, 1)) else {
        panic!("the attributes are new");
    };
    assert_eq!(principal.attributes.len(), 1);
    let settings = X509Settings {
        identity: CertificateIdentity::Subject,
        ..site.settings()
    };
    let renamed = review(&method(&site, &settings), day(2, 1));
    assert!(matches!(renamed, Standing::Gone(_)), "{renamed:?}");

    site.trust(&[&Ca::root("Other")]);
    x509.trust().refresh_at(day(2, 1));
    let gone = Standing::Gone("The certificate is not trusted any more");
    assert_eq!(review(&x509, day(2, 1)), gone);
    let lasting = x509.review_at(&Credential::Lasting, &Principal::default(), day(2, 1));
    assert!(matches!(lasting, Standing::Gone(_)));
}

#[test]
fn a_bad_file_changes_nothing_and_a_look_without_a_change_wakes_nobody() {
    let root = Ca::root("Root");
    let site = Site::new(&[&root]);
    let leaf = [root.client("press-1")];
    site.write("crl.pem", &root.list(1, &[&leaf[0]]));
    let trust = site.trust_of(&site.settings_with_lists());
    let changed = trust.subscribe();
    for (name, text) in [
        ("ca.pem", "no certificate"),
        (
            "crl.pem",
            "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
        ),
        ("crl.pem", ""),
    ] {
        site.write(name, text);
        trust.refresh_at(day(2, 1));
        let faults = trust.summary(day(2, 1)).faults.concat();
        assert!(
            faults.contains(name) && faults.contains("stays in force"),
            "{faults}"
        );
    }
    for name in ["ca.pem", "crl.pem"] {
        std::fs::remove_file(site.path(name)).unwrap();
        trust.refresh_at(day(2, 1));
        let faults = trust.summary(day(2, 1)).faults.concat();
        assert!(faults.contains("is gone"), "{faults}");
    }
    assert!(!changed.has_changed().unwrap());
    assert_eq!(reason(&trust, &leaf, day(2, 1)), Some(UnfitReason::Revoked));
}

#[test]
fn the_authority_of_the_gateway_is_found_below_the_state_folder() {
    let root = Ca::root("Root");
    let middle = root.below("Middle");
    let site = Site::new(&[]);
    let settings = X509Settings {
        trust: vec![TrustSource::DeviceCa],
        ..site.settings()
    };
    let trust = ClientTrust::new(&settings, site.0.path());
    trust.refresh_at(day(2, 1));
    let faults = trust.summary(day(2, 1)).faults;
    assert_eq!(faults.len(), 1, "{faults:?}");
    let leaves = [root.client("press-1"), middle.client("press-2")];
    std::fs::create_dir_all(site.path("ca")).unwrap();
    site.write("ca/issuers.pem", &(root.pem() + &middle.pem()));
    trust.refresh_at(day(2, 1));
    for leaf in &leaves {
        assert_eq!(reason(&trust, std::slice::from_ref(leaf), day(2, 1)), None);
    }
    site.write("ca/crl.pem", &root.list(1, &[&leaves[0]]));
    trust.refresh_at(day(2, 1));
    let found = leaves.map(|leaf| reason(&trust, &[leaf], day(2, 1)));
    assert_eq!(found, [Some(UnfitReason::Revoked), None]);
    let watched = trust.watched();
    for name in ["ca/issuers.pem", "ca/crl.pem"] {
        assert!(watched.contains(&site.path(name)), "{watched:?}");
    }
}
