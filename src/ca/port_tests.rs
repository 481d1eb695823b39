use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use super::*;
use crate::ca::files::Disk;
use crate::ca::files::power::Failing;
use crate::ca::hierarchy::Lifetimes;
use crate::ca::rig::{self, Rig, START, client_says};
use crate::ca::time::DAY;
use crate::ca::{Asker, ClockTrust, RevocationReason, Sealing};

const PORT: &str = "*:8883";

fn machine(host: &str, addresses: &[&str]) -> MachineNames {
    MachineNames {
        host: host.to_owned(),
        addresses: addresses.iter().map(|ip| ip.parse().unwrap()).collect(),
    }
}

fn usual() -> MachineNames {
    machine("gw7.plant.example", &["192.0.2.7", "2001:db8::7"])
}

fn port() -> PortCertificates {
    PortCertificates::new(PORT, AutomaticCertificate::default())
}

#[track_caller]
fn renew(rig: &Rig, port: &mut PortCertificates, machine: &MachineNames, now: u64) -> bool {
    let (changed, done) = rig
        .authority
        .renew_port(port, machine, Reading::settled(now));
    done.unwrap();
    changed
}

fn chain_text(port: &PortCertificates) -> String {
    let held = port.held().unwrap();
    pem::encode_chain(held.chain().iter().map(AsRef::as_ref))
}

fn serial(port: &PortCertificates) -> Vec<u8> {
    port.held().unwrap().leaf.serial.clone()
}

fn file(rig: &Rig) -> PathBuf {
    rig.dir.path().join("ca/ports/_2a_3a8883.pem")
}

#[test]
fn port_is_reached_by_every_name_and_address_of_the_machine() {
    let rig = Rig::made(KeyAlgorithm::EcP256);
    let wanted = AutomaticCertificate {
        dns: [DnsName::parse("mqtt.plant.example").unwrap()].into(),
        ip: ["203.0.113.9".parse().unwrap()].into(),
        ..AutomaticCertificate::default()
    };
    let mut port = PortCertificates::new(PORT, wanted);
    assert!(renew(&rig, &mut port, &usual(), START));
    let bundle = fs::read_to_string(rig.authority.trust_file()).unwrap();
    for name in [
        "gw7.plant.example",
        "gw7",
        "gw7.local",
        "localhost",
        "mqtt.plant.example",
        "192.0.2.7",
        "2001:db8::7",
        "127.0.0.1",
        "::1",
        "203.0.113.9",
    ] {
        client_says(&bundle, &chain_text(&port), name, START).unwrap();
    }
    client_says(&bundle, &chain_text(&port), "other", START).unwrap_err();
    let mode = fs::metadata(file(&rig)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(port.renewal_at(), Some(START + 60 * DAY));
}

#[test]
fn certificate_outlives_the_process_and_is_renewed_in_time() {
    let rig = Rig::made(KeyAlgorithm::EcP256);
    let mut port_1 = port();
    assert!(renew(&rig, &mut port_1, &usual(), START));
    let rig = rig.reopen();
    let mut port_2 = port();
    assert!(
        renew(&rig, &mut port_2, &usual(), START + DAY),
        "it is read"
    );
    assert_eq!(serial(&port_1), serial(&port_2));
    assert!(!renew(&rig, &mut port_2, &usual(), START + 60 * DAY - 1));
    assert!(renew(&rig, &mut port_2, &usual(), START + 60 * DAY));
    assert_ne!(serial(&port_1), serial(&port_2));
    let keys = [&port_1, &port_2].map(|port| port.held().unwrap().key().public_key());
    assert_ne!(keys[0], keys[1], "each has a key of its own");
}

#[test]
fn key_stays_where_it_is_to_stay() {
    let rig = Rig::made(KeyAlgorithm::EcP256);
    let wanted = AutomaticCertificate {
        rotation_policy: RotationPolicy::Never,
        ..AutomaticCertificate::default()
    };
    let mut port = PortCertificates::new(PORT, wanted.clone());
    renew(&rig, &mut port, &usual(), START);
    let key = port.held().unwrap().key().public_key();
    let rig = rig.reopen();
    let mut port = PortCertificates::new(PORT, wanted);
    renew(&rig, &mut port, &usual(), START + 80 * DAY);
    assert_eq!(port.held().unwrap().key().public_key(), key);
    assert!(port.held().unwrap().not_after() > START + 100 * DAY);
}

#[test]
fn new_address_is_named_within_a_minute_and_one_that_comes_and_goes_costs_one_certificate() {
    let rig = Rig::made(KeyAlgorithm::EcP256);
    let mut port = port();
    renew(&rig, &mut port, &machine("gw7", &["192.0.2.7"]), START);
    // Nothing to do when one is gone: it may be back.
    assert!(!renew(&rig, &mut port, &machine("gw7", &[]), START + 5));
    let other = machine("gw7", &["192.0.2.8"]);
    assert!(renew(&rig, &mut port, &other, START + 10));
    let bundle = fs::read_to_string(rig.authority.trust_file()).unwrap();
    for name in ["192.0.2.7", "192.0.2.8"] {
        client_says(&bundle, &chain_text(&port), name, START).unwrap();
    }
    for second in 20..200 {
        let now = machine("gw7", &[["192.0.2.7", "192.0.2.8"][second as usize % 2]]);
        assert!(!renew(&rig, &mut port, &now, START + second));
    }
    // The third waits until a minute is over.
    let third = machine("gw7", &["192.0.2.9"]);
    assert!(renew(&rig, &mut port, &third, START + 200));
    let fourth = machine("gw7", &["192.0.2.10"]);
    assert!(!renew(&rig, &mut port, &fourth, START + 210));
    assert!(renew(&rig, &mut port, &fourth, START + 261));
    // With the next renewal those are gone that the machine has no more.
    renew(&rig, &mut port, &fourth, START + 80 * DAY);
    let bundle = fs::read_to_string(rig.authority.trust_file()).unwrap();
    client_says(&bundle, &chain_text(&port), "192.0.2.10", START + 80 * DAY).unwrap();
    client_says(&bundle, &chain_text(&port), "192.0.2.7", START + 80 * DAY).unwrap_err();
}

#[test]
fn machine_with_very_many_addresses_has_a_certificate() {
    let rig = Rig::made(KeyAlgorithm::EcP256);
    let addresses: Vec<String> = (0..300)
        .map(|n| format!("10.0.{}.{}", n / 250, n % 250))
        .collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let mut port = port();
    assert!(renew(&rig, &mut port, &machine("gw7", &addresses), START));
    assert_eq!(
        port.held().unwrap().leaf.ip.len() + 3,
        ALTERNATIVE_NAMES_MAX
    );
    for minute in 1..10 {
        let same = machine("gw7", &addresses);
        assert!(!renew(&rig, &mut port, &same, START + 120 * minute));
    }
}

#[test]
fn change_of_name_or_configuration_takes_effect_at_once() {
    let rig = Rig::made(KeyAlgorithm::EcP256);
    let mut port_1 = port();
    renew(&rig, &mut port_1, &usual(), START);
    assert!(renew(&rig, &mut port_1, &machine("gw8", &[]), START + 1));
    for wanted in [
        AutomaticCertificate {
            duration: Duration::from_secs(7 * DAY),
            renew_before: Duration::from_secs(2 * DAY),
            ..AutomaticCertificate::default()
        },
        AutomaticCertificate {
            dns: [DnsName::parse("mqtt.plant.example").unwrap()].into(),
            ..AutomaticCertificate::default()
        },
    ] {
        let mut port = PortCertificates::new(PORT, wanted);
        let before = serial(&port_1);
        assert!(renew(&rig, &mut port, &machine("gw8", &[]), START + 2));
        assert_ne!(serial(&port), before);
        let settled = serial(&port);
        assert!(!renew(&rig, &mut port, &machine("gw8", &[]), START + 3));
        assert_eq!(serial(&port), settled);
    }
}

#[test]
fn port_whose_key_is_of_another_kind_than_the_authority_says_so() {
    let rig = Rig::made(KeyAlgorithm::EcP256);
    let wanted = AutomaticCertificate {
        key_algorithm: Some(KeyAlgorithm::Ed25519),
        ..AutomaticCertificate::default()
    };
    let mut port = PortCertificates::new(PORT, wanted);
    let reading = Reading::settled(START);
    let (changed, done) = rig.authority.renew_port(&mut port, &usual(), reading);
    let fault = done.unwrap_err();
    assert!(!changed && fault.to_string().contains("Ed25519"), "{fault}");
    assert!(!fault.hint().is_empty());
}

#[test]
fn only_what_is_permitted_is_named() {
    let rig = Rig::empty(Lifetimes::default());
    let mut plan = rig::plan(KeyAlgorithm::EcP256);
    plan.constraints.dns = vec![DnsName::parse("plant.example").unwrap()];
    plan.constraints.ip = vec!["192.0.2.0/24".to_owned()];
    let reading = Reading::settled(START);
    rig.authority
        .init(&plan, reading, &Asker::default())
        .unwrap();
    let mut port_1 = port();
    renew(&rig, &mut port_1, &usual(), START);
    let leaf = &port_1.held().unwrap().leaf;
    let dns: Vec<_> = leaf.dns.iter().map(DnsName::as_str).collect();
    assert_eq!(dns, ["gw7.plant.example"]);
    assert_eq!(leaf.ip, ["192.0.2.7".parse::<IpAddr>().unwrap()]);
    let bundle = fs::read_to_string(rig.authority.trust_file()).unwrap();
    client_says(&bundle, &chain_text(&port_1), "gw7.plant.example", START).unwrap();
    for wanted in [
        AutomaticCertificate {
            dns: [DnsName::parse("notplant.example").unwrap()].into(),
            ..AutomaticCertificate::default()
        },
        AutomaticCertificate {
            ip: ["198.51.100.1".parse().unwrap()].into(),
            ..AutomaticCertificate::default()
        },
    ] {
        let mut port = PortCertificates::new("other", wanted);
        let (_, done) = rig.authority.renew_port(&mut port, &usual(), reading);
        let fault = done.unwrap_err().to_string();
        assert!(fault.contains("permit_dns"), "{fault}");
    }
}

#[test]
fn revoked_certificate_of_a_port_is_replaced() {
    let rig = Rig::made(KeyAlgorithm::EcP256);
    let mut port = port();
    renew(&rig, &mut port, &usual(), START);
    let serial_text = crate::ca::issued::serial_text(&serial(&port));
    let reading = Reading::settled(START + 60);
    let reason = RevocationReason::KeyCompromise;
    rig.authority
        .revoke(&serial_text, reason, reading, &Asker::default())
        .unwrap();
    let before = serial(&port);
    assert!(renew(&rig, &mut port, &usual(), START + 61));
    assert_ne!(serial(&port), before);
}

#[test]
fn what_was_made_in_1970_is_made_anew_once_when_the_time_is_known() {
    let rig = Rig::made(KeyAlgorithm::EcP256);
    let mut port = port();
    let behind = Reading {
        now: START,
        trust: ClockTrust::Behind,
        least: START,
    };
    let (_, done) = rig.authority.renew_port(&mut port, &usual(), behind);
    done.unwrap();
    let today = START + 300 * DAY;
    let bundle = fs::read_to_string(rig.authority.trust_file()).unwrap();
    client_says(&bundle, &chain_text(&port), "gw7", today).unwrap();
    let (changed, done) = rig.authority.renew_port(&mut port, &usual(), behind);
    assert!(!changed && done.is_ok());
    let new = Reading {
        now: today,
        trust: ClockTrust::New,
        least: START + 600,
    };
    let (changed, _) = rig.authority.renew_port(&mut port, &usual(), new);
    assert!(changed);
    // Whether the clock was set rightly is not known yet: clients of both times connect.
    for now in [START + 600, today] {
        client_says(&bundle, &chain_text(&port), "gw7", now).unwrap();
    }
    let (changed, _) = rig.authority.renew_port(&mut port, &usual(), new);
    assert!(!changed);
    assert!(renew(&rig, &mut port, &usual(), today + 3600));
    assert_eq!(port.held().unwrap().not_after(), today + 3600 + 90 * DAY);
    assert!(!renew(&rig, &mut port, &usual(), today + 7200));
}

#[test]
fn port_keeps_what_it_has_when_the_authority_cannot_be_read() {
    let rig = Rig::made(KeyAlgorithm::EcP256);
    let mut port_1 = port();
    renew(&rig, &mut port_1, &usual(), START);
    fs::write(rig.dir.path().join("ca/state.json"), "{").unwrap();
    let rig = rig.reopen();
    let mut port_2 = port();
    let reading = Reading::settled(START + DAY);
    let (changed, done) = rig.authority.renew_port(&mut port_2, &usual(), reading);
    assert!(changed, "what is in the file is used");
    assert!(done.unwrap_err().to_string().contains("state.json"));
    assert_eq!(serial(&port_1), serial(&port_2));
}

#[test]
fn damaged_file_is_replaced() {
    let rig = Rig::made(KeyAlgorithm::EcP256);
    let mut port_1 = port();
    renew(&rig, &mut port_1, &usual(), START);
    let whole = fs::read_to_string(file(&rig)).unwrap();
    let other_key = rig::client_key().pem();
    let chain_at = whole.find("-----BEGIN CERTIFICATE").unwrap();
    for text in [
        String::new(),
        whole[..whole.len() / 2].to_owned(),
        whole[chain_at..].to_owned(),
        format!("{}{}", *other_key, &whole[chain_at..]),
    ] {
        fs::write(file(&rig), text).unwrap();
        let mut port = port();
        assert!(renew(&rig, &mut port, &usual(), START + 1));
        assert_ne!(serial(&port), serial(&port_1));
    }
}

#[test]
fn issuer_that_ends_first_is_not_asked_again_and_again() {
    let lifetimes = Lifetimes {
        issuing: 40 * DAY,
        issuing_lead: DAY,
        ..Lifetimes::default()
    };
    let rig = Rig::empty(lifetimes);
    let plan = rig::plan(KeyAlgorithm::EcP256);
    let reading = Reading::settled(START);
    rig.authority
        .init(&plan, reading, &Asker::default())
        .unwrap();
    let mut port = port();
    assert!(renew(&rig, &mut port, &usual(), START));
    for day in 1..39 {
        assert!(
            !renew(&rig, &mut port, &usual(), START + day * DAY),
            "day {day}"
        );
    }
}

#[test]
fn port_has_a_certificate_when_the_database_takes_nothing() {
    let rig = Rig::made(KeyAlgorithm::EcP256);
    let jobs = crate::store::Jobs::none(rig.dir.path());
    let authority = CertificateAuthority::new(rig.dir.path(), Sealing::none(), Vec::new(), jobs);
    let mut port = port();
    let (changed, done) = authority.renew_port(&mut port, &usual(), Reading::settled(START));
    done.unwrap();
    assert!(changed);
    let bundle = fs::read_to_string(authority.trust_file()).unwrap();
    client_says(&bundle, &chain_text(&port), "gw7", START).unwrap();
}

#[test]
fn key_and_certificate_are_of_one_another_whenever_the_power_fails() {
    let later = START + 70 * DAY;
    let mut cuts = 0;
    for is_torn in [false, true] {
        for has_former in [false, true] {
            for steps in 1.. {
                let rig = Rig::made(KeyAlgorithm::EcP256);
                let mut former = port();
                if has_former {
                    renew(&rig, &mut former, &usual(), START);
                }
                let Rig { dir, authority } = rig;
                drop(authority);
                let files = Box::new(Failing::after(steps, is_torn));
                let cut = rig::open_on(dir.path(), Sealing::none(), Lifetimes::default(), files);
                let mut port_1 = port();
                let reading = Reading::settled(later);
                let (_, done) = cut.renew_port(&mut port_1, &usual(), reading);
                assert!(
                    port_1.held().is_some(),
                    "what cannot be kept is used all the same"
                );
                drop(cut);

                let files = Box::new(Disk);
                let after = rig::open_on(dir.path(), Sealing::none(), Lifetimes::default(), files);
                let mut port_2 = port();
                let found = read_held(&after.port_file(PORT)).unwrap();
                match (&found, has_former) {
                    (None, true) => panic!("the former one is gone after {steps} steps"),
                    (Some(found), true) if found.leaf.serial == serial(&former) => {}
                    (Some(found), _) => assert_eq!(found.leaf.serial, serial(&port_1)),
                    (None, false) => assert!(done.is_err()),
                }
                let (_, renewed) = after.renew_port(&mut port_2, &usual(), reading);
                renewed.unwrap();
                let bundle = fs::read_to_string(after.trust_file()).unwrap();
                client_says(&bundle, &chain_text(&port_2), "gw7", later).unwrap();
                if done.is_ok() {
                    break;
                }
                cuts += 1;
            }
        }
    }
    assert!(cuts >= 10, "{cuts}");
}

#[test]
fn no_two_ports_share_a_file() {
    let names = [
        "*:8883",
        "127.0.0.1:8883",
        "[::1]:8883",
        "*%eth0:8883",
        "unix:/run/a.sock",
        "unix:/run/a_sock",
        "systemd:mqtt",
    ];
    let files: BTreeSet<_> = names.iter().map(|name| file_name(name)).collect();
    assert_eq!(files.len(), names.len());
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    assert!(files.iter().all(|name| name.chars().all(plain)));
    let long = format!("unix:/{}", "x/".repeat(50));
    assert!(file_name(&long).len() < 110);
}

#[test]
fn only_the_newest_certificates_of_ports_stay_on_record() {
    let rig = Rig::made(KeyAlgorithm::EcP256);
    let mut port = port();
    for minute in 0..520_u64 {
        let host = format!("gw{minute}");
        renew(&rig, &mut port, &machine(&host, &[]), START + minute);
    }
    assert_eq!(rig.authority.issued().len(), 500);
    let rig = rig.reopen();
    assert_eq!(rig.authority.issued().len(), 500);
    let (issuer, serial) = {
        let leaf = &port.held().unwrap().leaf;
        (leaf.issuer_der.clone(), leaf.serial.clone())
    };
    assert!(rig.authority.issued().find(&issuer, &serial).is_some());
}
