//! Certificates that nobody meant: no panic, and none takes long.

use std::time::{Duration, Instant};

use rcgen::{DnType, SanType};
use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject;

use super::testing::{Ca, Site, client, day};
use super::*;
use crate::config::CertificateIdentity;

/// Certificates that are tried in all.
const TRIES: usize = 10_000;

/// What one try may take; a good certificate takes a millisecond in a build without optimization.
const TRY_TIME_MAX: Duration = Duration::from_secs(2);

/// The same numbers in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }
}

/// One change that a careless or a hostile program would make.
fn mutate(dice: &mut Dice, der: &mut Vec<u8>) {
    let at = dice.roll(der.len().max(1));
    match dice.roll(7) {
        0 if !der.is_empty() => der[at] ^= 1 << dice.roll(8),
        1 if !der.is_empty() => der[at] = dice.roll(256) as u8,
        2 => der.truncate(at),
        3 => der.insert(at.min(der.len()), dice.roll(256) as u8),
        4 if !der.is_empty() => {
            // A length that promises far more than there is.
            der.splice(at..at + 1, [0x84, 0x7F, 0xFF, 0xFF, 0xFF]);
        }
        5 if der.len() > 40 => {
            let from = dice.roll(der.len() - 32);
            let piece = der[from..from + 32].to_vec();
            der.splice(at.min(der.len())..at.min(der.len()), piece);
        }
        _ => der.extend_from_slice(&[0; 16]),
    }
}

/// Structures within structures, as deep as there is room.
fn nested(tag: u8, len: usize) -> Vec<u8> {
    let mut der = Vec::new();
    while der.len() < len {
        let inside = der.len() as u16;
        let mut outer = vec![tag, 0x82];
        outer.extend_from_slice(&inside.to_be_bytes());
        outer.append(&mut der);
        der = outer;
    }
    der
}

fn seeds(root: &Ca, middle: &Ca) -> Vec<Vec<u8>> {
    let mut crowded = client("crowded");
    crowded.subject_alt_names = (0..600)
        .map(|n| SanType::DnsName(format!("host-{n}").try_into().unwrap()))
        .collect();
    let mut rich = client("rich");
    for n in 0..200 {
        let kind = DnType::CustomDnType(vec![1, 2, 3, n]);
        rich.distinguished_name.push(kind, "x".repeat(20));
    }
    let mut odd = client("odd");
    odd.distinguished_name.push(
        DnType::OrganizationName,
        rcgen::DnValue::BmpString("Jörg".try_into().unwrap()),
    );
    let made = [
        root.client("press-1"),
        middle.client("press-2"),
        middle.der(),
        root.der(),
        root.sign(&crowded),
        middle.sign(&rich),
        root.sign(&odd),
    ];
    let made = made.into_iter().map(Vec::from);
    made.chain([nested(0x30, 12_000), nested(0x31, 3_000), Vec::new()])
        .collect()
}

fn methods(site: &Site) -> Vec<X509> {
    let identities = [
        CertificateIdentity::CommonName,
        CertificateIdentity::Subject,
        CertificateIdentity::SanDns,
        CertificateIdentity::SanUri,
        CertificateIdentity::SanEmail,
    ];
    let access = site.access();
    let each = identities.into_iter().map(|identity| {
        let settings = X509Settings {
            identity,
            ..site.settings_with_lists()
        };
        let method = X509::new(&settings, &access);
        method.trust().refresh_at(day(2, 1));
        method
    });
    each.collect()
}

#[test]
fn ten_thousand_malformed_certificates_are_judged_in_time() {
    let root = Ca::root("Root");
    let middle = root.below("Middle");
    let site = Site::new(&[&root]);
    site.write("crl.pem", &root.list(1, &[&middle.der()]));
    let methods = methods(&site);
    let seeds = seeds(&root, &middle);
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    let mut refused = 0;
    for number in 0..TRIES {
        let mut chain: Vec<Box<[u8]>> = Vec::new();
        for _ in 0..=dice.roll(8) {
            let mut der = match dice.roll(20) {
                0 => (0..dice.roll(2000)).map(|_| dice.roll(256) as u8).collect(),
                1 => vec![0x30; dice.roll(40_000)],
                _ => seeds[dice.roll(seeds.len())].clone(),
            };
            for _ in 0..dice.roll(4) {
                mutate(&mut dice, &mut der);
            }
            chain.push(der.into());
        }
        let credentials = Credentials {
            certificates: &chain,
            ..Credentials::default()
        };
        let begin = Instant::now();
        let method = &methods[number % methods.len()];
        match method.begin_at(&credentials, day(2, 1), begin) {
            Outcome::Refused(refusal) => {
                refused += 1;
                assert!(!refusal.sentence.chars().any(char::is_control));
                assert!(refusal.sentence.len() < 2000);
            }
            Outcome::Accepted(acceptance) => {
                let principal = &acceptance.principal;
                assert!(!principal.username.is_empty());
                let standing = method.review_at(&acceptance.credential, principal, day(2, 1));
                assert_eq!(standing, Standing::Same);
            }
            other => panic!("{other:?}"),
        }
        assert!(begin.elapsed() < TRY_TIME_MAX, "try {number}");
    }
    assert!(refused > TRIES / 2 && refused < TRIES, "{refused}");
}

#[test]
fn many_authorities_of_one_name_do_not_take_long() {
    let root = Ca::root("Root");
    let site = Site::new(&[&root]);
    let trust = site.trust_of(&site.settings());
    let same: Vec<Ca> = (0..5).map(|_| Ca::root("Same")).collect();
    let mut chain = vec![same[0].client("press-1")];
    let cross = same.iter().map(|ca| ca.below("Same").der());
    chain.extend(cross);
    let begin = Instant::now();
    for _ in 0..20 {
        let unfit = trust.check(ders(&chain), day(2, 1)).unwrap_err();
        assert_eq!(unfit.reason, UnfitReason::UnknownIssuer);
    }
    assert!(begin.elapsed() < TRY_TIME_MAX);
}

#[test]
fn files_of_noise_are_faults_and_nothing_else() {
    let root = Ca::root("Root");
    let site = Site::new(&[&root]);
    let leaf = root.client("press-1");
    let good = root.list(1, &[&leaf]);
    site.write("crl.pem", &good);
    let trust = site.trust_of(&site.settings_with_lists());
    let mut dice = Dice(7);
    let lists: Vec<_> = CertificateRevocationListDer::pem_slice_iter(good.as_bytes())
        .map(|der| der.unwrap().to_vec())
        .collect();
    for _ in 0..500 {
        let mut bytes = match dice.roll(2) {
            0 => good.clone().into_bytes(),
            _ => lists[0].clone(),
        };
        for _ in 0..=dice.roll(4) {
            mutate(&mut dice, &mut bytes);
        }
        std::fs::write(site.path("crl.pem"), bytes).unwrap();
        trust.refresh_at(day(2, 1));
        let unfit = trust.check([&*leaf].into_iter(), day(2, 1)).unwrap_err();
        assert_eq!(unfit.reason, UnfitReason::Revoked);
        assert!(trust.summary(day(2, 1)).lists.len() <= 2);
    }
}
