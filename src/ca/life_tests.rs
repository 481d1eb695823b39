//! Ten years of a gateway: a client that trusts what is published connects at every step.

use super::rig::{Rig, client_says, plan, server_order, server_says};
use super::time::DAY;
use super::*;
use crate::config::AutomaticCertificate;

const YEAR: u64 = 365 * DAY;

/// As in earnest, in a quarter of the time, so that roots follow one another within ten years.
fn quick() -> Lifetimes {
    Lifetimes {
        root: 5 * YEAR,
        root_lead: 2 * YEAR,
        overlap: YEAR / 4,
        issuing: YEAR + YEAR / 2,
        issuing_lead: 7 * YEAR / 12,
        client: YEAR / 4,
        leaf_max: YEAR,
    }
}

/// A gateway with a port, as its clocks show time to it.
struct Life {
    rig: Rig,
    time: TrustedTime,
    port: PortCertificates,
    renewals: u32,
    steps: Vec<Step>,
}

fn port() -> PortCertificates {
    PortCertificates::new("*:8883", AutomaticCertificate::default())
}

impl Life {
    fn begin(wall: u64) -> Self {
        let rig = Rig::empty(quick());
        let mut time = TrustedTime::new(None, 0);
        let reading = time.observe(wall, 0);
        let plan = plan(KeyAlgorithm::EcP256);
        rig.authority
            .init(&plan, reading, &Asker::default())
            .unwrap();
        Self {
            rig,
            time,
            port: port(),
            renewals: 0,
            steps: Vec::new(),
        }
    }

    /// The process begins anew, with the same files.
    fn restart(&mut self) {
        let empty = Rig::empty(quick());
        self.rig = std::mem::replace(&mut self.rig, empty).reopen();
        self.port = port();
    }

    /// A moment of the gateway's life, as its own clocks show it.
    fn live(&mut self, wall: u64, monotonic: u64) -> Reading {
        let reading = self.time.observe(wall, monotonic);
        self.steps
            .extend(self.rig.authority.maintain(reading).unwrap());
        let machine = MachineNames {
            host: "gw".to_owned(),
            addresses: ["192.0.2.7".parse().unwrap()].into(),
        };
        let (changed, done) = self
            .rig
            .authority
            .renew_port(&mut self.port, &machine, reading);
        done.unwrap();
        self.renewals += u32::from(changed);
        reading
    }

    fn port_chain(&self) -> String {
        let held = self.port.held().unwrap();
        pem::encode_chain(held.chain().iter().map(AsRef::as_ref))
    }

    fn is_provisional(&self) -> bool {
        let own = self.port.held().unwrap().chain().first().unwrap();
        let record = self.rig.authority.issued().find_certificate(own);
        record.unwrap().provisional
    }

    /// A client that has `bundle`, and whose clock shows `now`, connects by name and by address.
    #[track_caller]
    fn serves(&self, bundle: &str, now: u64) {
        for name in ["gw.local", "192.0.2.7"] {
            client_says(bundle, &self.port_chain(), name, now).unwrap();
        }
    }

    fn bundle(&self) -> String {
        std::fs::read_to_string(self.rig.authority.trust_file()).unwrap()
    }
}

#[test]
fn ten_years_with_two_new_roots_keep_every_client_connected() {
    // The first start is in 1970; clients know the time.
    let mut life = Life::begin(60);
    let mut today = life.time.least(0) + 200 * DAY;
    let mut monotonic = 0;
    assert_eq!(life.live(60, monotonic).trust, ClockTrust::Behind);
    let first = life.bundle();
    life.serves(&first, today);
    let provisional = life.port_chain();
    assert!(life.is_provisional());

    // The clock is set: a jump from 1970 to today.
    monotonic += 600;
    assert_eq!(life.live(today, monotonic).trust, ClockTrust::New);
    assert_ne!(life.port_chain(), provisional);
    assert!(!life.is_provisional());
    life.serves(&first, today);

    let mut client = None;
    let (mut bundle, mut fetched) = (first, today);
    for day in (0..10 * 365).step_by(3) {
        today += 3 * DAY;
        monotonic += 3 * DAY;
        let reading = life.live(today, monotonic);
        assert_eq!(reading.now, today);
        // A client reads what is published every two months.
        if today - fetched >= 60 * DAY {
            (bundle, fetched) = (life.bundle(), today);
        }
        life.serves(&bundle, today);
        // A client of the gateway renews its certificate like the port, and is let in.
        let is_old = client
            .as_ref()
            .is_none_or(|made: &IssuedCertificate| made.record.not_after < today + 30 * DAY);
        if is_old {
            client = Some(life.rig.sign("pump-7", today).unwrap());
        }
        let crl = std::fs::read_to_string(life.rig.authority.crl_file()).unwrap();
        let chain = client.as_ref().unwrap().chain_pem();
        server_says(&life.bundle(), &chain, &crl, today).unwrap();
        if day % 300 == 0 {
            life.restart();
        }
    }
    let count = |step| life.steps.iter().filter(|done| **done == step).count();
    assert!(count(Step::NewRoot) >= 2, "{:?}", life.steps);
    assert!(count(Step::NewIssuing) >= 4, "{:?}", life.steps);
    let retired = life
        .steps
        .iter()
        .filter(|step| matches!(step, Step::RetireRoot { .. }))
        .count();
    assert!(retired >= 1, "{:?}", life.steps);
    assert!(life.renewals > 55, "{}", life.renewals);
    // What there is stays small.
    assert!(
        life.rig
            .authority
            .status(Reading::settled(today))
            .unwrap()
            .certificates
            .len()
            <= 6
    );
}

#[test]
fn default_lifetimes_never_cut_a_certificate_short() {
    let lifetimes = Lifetimes::default();
    assert!(lifetimes.issuing_lead >= lifetimes.overlap + lifetimes.client);
    assert!(lifetimes.root_lead >= lifetimes.issuing + lifetimes.overlap);
    let quick = quick();
    assert!(quick.issuing_lead >= quick.overlap + quick.client);
    assert!(quick.root_lead >= quick.issuing + quick.overlap);
}

#[test]
fn hundreds_of_renewals_in_forty_years_of_the_default() {
    let rig = Rig::made(KeyAlgorithm::EcP256);
    let (key, mut bundle) = (rig::client_key(), String::new());
    let (mut renewals, mut now) = (0, rig::START);
    let (mut old_bundle, mut read_at) = (String::new(), 0);
    while now < rig::START + 40 * YEAR {
        let reading = Reading::settled(now);
        rig.authority.maintain(reading).unwrap();
        let order = server_order("gw.local", "192.0.2.7", 90 * DAY);
        let port = rig.authority.issue_for(&key, &order, reading).unwrap();
        assert_eq!(port.record.not_after, now + 90 * DAY, "not cut short");
        if now >= read_at + 300 * DAY {
            old_bundle = std::mem::replace(&mut bundle, rig.authority.trust_pem(reading).unwrap());
            read_at = now;
        }
        if !old_bundle.is_empty() && now < read_at + 30 * DAY {
            client_says(&old_bundle, &port.chain_pem(), "gw.local", now).unwrap();
        }
        client_says(&bundle, &port.chain_pem(), "gw.local", now).unwrap();
        renewals += 1;
        now += 60 * DAY;
    }
    assert!(renewals > 240, "{renewals}");
}

#[test]
fn clock_that_jumps_forward_and_back_ends_nothing() {
    let mut life = Life::begin(rig::START);
    life.live(rig::START, 0);
    life.live(rig::START + DAY, DAY);
    let before = life
        .rig
        .authority
        .status(Reading::settled(rig::START + DAY))
        .unwrap();
    let bundle = life.bundle();
    let client = life.rig.sign("pump-7", rig::START + DAY).unwrap();

    // Thirty years, for ten minutes.
    let far = rig::START + 30 * YEAR;
    let reading = life.live(far, DAY + 600);
    assert_eq!((reading.now, reading.trust), (far, ClockTrust::New));
    client_says(&life.bundle(), &life.port_chain(), "gw.local", far).unwrap();

    // And back.
    let today = rig::START + DAY + 1200;
    let reading = life.live(today, DAY + 1200);
    assert_eq!(reading.now, today);
    life.serves(&bundle, today);
    server_says(&life.bundle(), &client.chain_pem(), "", today).unwrap();
    life.live(today + 3 * DAY, 4 * DAY);
    let reading = life.live(today + 4 * DAY, 5 * DAY);
    assert_eq!(reading.trust, ClockTrust::Settled);
    life.serves(&bundle, today + 4 * DAY);
    server_says(&life.bundle(), &client.chain_pem(), "", today + 4 * DAY).unwrap();
    let after = life.rig.authority.status(reading).unwrap();
    assert_eq!(
        after.certificates.len(),
        before.certificates.len(),
        "what the jump has made is gone"
    );
    assert_eq!(life.bundle(), bundle);

    // Back behind the last time seen: judged by the last time seen, and nobody is dropped.
    let reading = life.live(60, 5 * DAY + 600);
    assert_eq!(reading.trust, ClockTrust::Behind);
    let at = reading.judging_at(client.record.not_before);
    server_says(&life.bundle(), &client.chain_pem(), "", at).unwrap();
    life.serves(&bundle, today + 5 * DAY);
}

#[test]
fn device_from_the_shelf_begins_with_what_it_has() {
    // Made in a factory without a clock, and switched on years later.
    let mut life = Life::begin(60);
    life.live(60, 0);
    let bundle = life.bundle();
    let built = life.time.least(0);
    life.restart();
    life.time = TrustedTime::new(Some(built + 3600), 0);
    let today = built + 4 * YEAR;
    // A client that knows the time connects before the gateway knows it.
    life.live(100, 10);
    life.serves(&bundle, today);
    life.live(today, 600);
    life.serves(&life.bundle(), today);
    let enrolled = life.rig.sign("pump-7", today).unwrap();
    server_says(&life.bundle(), &enrolled.chain_pem(), "", today).unwrap();
}

#[test]
fn device_that_was_off_for_fifteen_years_is_known_to_its_clients() {
    let rig = Rig::made(KeyAlgorithm::EcP256);
    let bundle = rig
        .authority
        .trust_pem(Reading::settled(rig::START))
        .unwrap();
    let today = rig::START + 15 * YEAR;
    rig.authority.maintain(Reading::settled(today)).unwrap();
    let order = server_order("gw.local", "192.0.2.7", 90 * DAY);
    let reading = Reading::settled(today);
    let port = rig
        .authority
        .issue_for(&rig::client_key(), &order, reading)
        .unwrap();
    client_says(&bundle, &port.chain_pem(), "gw.local", today).unwrap();
    assert_eq!(rig.authority.trusted_roots(reading).unwrap().len(), 2);
}
