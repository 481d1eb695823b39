//! What the time of the gateway makes of certificates, on a machine whose clock may begin in 1970.

use std::time::{SystemTime, UNIX_EPOCH};

use rcgen::date_time_ymd;

use super::testing::{Ca, Site, client, day};
use super::*;
use crate::ca::{ClockTrust, Reading};

fn reading(now: SystemTime, trust: ClockTrust) -> Reading {
    let now = now.duration_since(UNIX_EPOCH).unwrap().as_secs();
    Reading {
        now,
        trust,
        // A clock that is new was set far ahead.
        least: match trust {
            ClockTrust::New => now.saturating_sub(500 * 86_400),
            ClockTrust::Behind | ClockTrust::Settled => now,
        },
    }
}

fn reason(trust: &ClientTrust, chain: &[Box<[u8]>], reading: Reading) -> Option<UnfitReason> {
    let checked = trust.check(ders(chain), reading);
    checked.err().map(|unfit| unfit.reason)
}

#[test]
fn certificate_that_begins_later_is_good_while_the_clock_is_behind() {
    let root = Ca::root("Root");
    let site = Site::new(&[&root]);
    let trust = site.access();
    let trust = X509::new(&site.settings(), &trust).trust();
    trust.refresh_at(day(2, 1));
    let mut params = client("press-1");
    params.not_before = date_time_ymd(2026, 6, 1);
    let chain = [root.sign(&params)];
    for (now, clock, expected) in [
        (day(2, 1), ClockTrust::Behind, None),
        (day(2, 1), ClockTrust::New, Some(UnfitReason::NotYetValid)),
        (
            day(2, 1),
            ClockTrust::Settled,
            Some(UnfitReason::NotYetValid),
        ),
        (day(8, 1), ClockTrust::Settled, None),
        // What has ended at the least that the time can be has ended.
        (day(14, 1), ClockTrust::Behind, Some(UnfitReason::Expired)),
        (day(14, 1), ClockTrust::New, Some(UnfitReason::Expired)),
    ] {
        let found = reason(&trust, &chain, reading(now, clock));
        assert_eq!(found, expected, "{now:?} {clock:?}");
    }
}

#[test]
fn clocks_may_differ_by_a_day() {
    let root = Ca::root("Root");
    let site = Site::new(&[&root]);
    let trust = X509::new(&site.settings(), &site.access()).trust();
    trust.refresh_at(day(2, 1));
    let mut params = client("press-1");
    params.not_before = date_time_ymd(2026, 2, 2);
    let chain = [root.sign(&params)];
    let begins = UNIX_EPOCH + std::time::Duration::from_secs(1_769_990_400);
    let day = std::time::Duration::from_secs(86_400);
    let second = std::time::Duration::from_secs(1);
    let at = |now| reason(&trust, &chain, reading(now, ClockTrust::Settled));
    assert_eq!(at(begins - day), None);
    assert_eq!(at(begins - day - second), Some(UnfitReason::NotYetValid));
}

#[test]
fn nobody_is_dropped_because_the_clock_was_just_set() {
    let root = Ca::root("Root");
    let site = Site::new(&[&root]);
    let method = X509::new(&site.settings(), &site.access());
    method.trust().refresh_at(day(2, 1));
    let chain = [root.client("press-1")];
    let credentials = Credentials {
        certificates: &chain,
        ..Credentials::default()
    };
    let Outcome::Accepted(acceptance) = method.begin_at(&credentials, day(2, 1), clock::now())
    else {
        panic!("it is good");
    };
    let review = |now, clock| {
        let (credential, principal) = (&acceptance.credential, &acceptance.principal);
        method.review_at(credential, principal, reading(now, clock))
    };
    // Ten years forward for a moment, and back to 1970.
    assert_eq!(review(day(120, 1), ClockTrust::New), Standing::Same);
    assert_eq!(review(day(2, 1), ClockTrust::Behind), Standing::Same);
    let expired = Standing::Gone("The certificate has expired");
    assert_eq!(review(day(120, 1), ClockTrust::Settled), expired);
    // Nor is the end of the connection counted by it; a clock that is believed sets it.
    let end = |now, clock| {
        let at = reading(now, clock);
        let outcome = method.begin_at(&credentials, at, clock::now());
        match outcome {
            Outcome::Accepted(acceptance) => acceptance.expires_at,
            other => panic!("not accepted: {other:?}"),
        }
    };
    assert_eq!(end(day(2, 1), ClockTrust::New), None);
    assert!(end(day(2, 1), ClockTrust::Settled).is_some());
    assert!(end(day(2, 1), ClockTrust::Behind).is_some());
    // Who comes new is judged by the time that is shown.
    let outcome = method.begin_at(
        &credentials,
        reading(day(120, 1), ClockTrust::New),
        clock::now(),
    );
    assert!(matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
}
