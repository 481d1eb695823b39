use std::collections::BTreeSet;

use super::*;
use crate::admin::{
    AccessReport, AdminReport, AdminState, Alarm, AuthorityReport, BackEndReport, BrokerReport,
    CertificateReport, ClientTrustReport, ClusterReport, ConfigurationReport, EstCount, EstReport,
    LoginReport, ProcessReport, Rates, ReadinessReport, StoreReport, ViolationCount,
};
use crate::metrics;

#[test]
fn manual_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    let manual = metrics::manual(families());
    if std::env::var_os("FIELDGATE_BLESS").is_some() {
        std::fs::write(path, &manual).unwrap();
    }
    assert!(
        std::fs::read_to_string(path).unwrap() == manual,
        "run `just generate`"
    );
}

#[test]
fn page_has_every_family() {
    let page = render(&status());
    for family in families() {
        assert!(
            page.contains(&format!("\nfieldgate_{}{{", family.name))
                || page.contains(&format!("\nfieldgate_{} ", family.name)),
            "{}",
            family.name
        );
    }
}

#[test]
fn counters_are_called_total_and_names_are_unique() {
    let mut names = BTreeSet::new();
    for family in families() {
        let total = family.name.ends_with("_total");
        assert_eq!(total, family.kind == Kind::Counter, "{}", family.name);
        assert!(names.insert(family.name), "{}", family.name);
    }
}

fn authority() -> AuthorityReport {
    let text = r#"{"name": "gw", "id": "a", "algorithm": "ec-p256", "constraints": {}, "folder": "/s/ca",
        "trust_file": "/s/ca/trust.pem", "crl_file": "/s/ca/crl.pem", "next": null, "issued": 3, "revoked": 2,
        "provisional": 1, "now": 10, "clock": "behind", "problems": [], "certificates": [{"role": "root", "number": 1,
        "subject": "CN=root", "not_before": 1, "not_after": 20, "days_left": 0, "key": "file", "is_current": true,
        "since": null, "is_provisional": false, "is_imported": false, "fingerprint": ""}]}"#;
    AuthorityReport {
        status: Some(serde_json::from_str(text).unwrap()),
        fault: None,
    }
}

/// A gateway in which everything is there once.
fn est() -> EstReport {
    EstReport {
        requests: vec![EstCount {
            operation: "cacerts".to_owned(),
            outcome: "done".to_owned(),
            count: 2,
        }],
        ..EstReport::default()
    }
}

fn admin() -> AdminReport {
    AdminReport {
        address: None,
        state: AdminState::Off,
        detail: None,
    }
}

fn status() -> Status {
    let certificate = CertificateReport {
        subject: "CN=gw".to_owned(),
        issuer: "CN=ca".to_owned(),
        not_before_seconds: 1,
        not_after_seconds: 2,
        ..CertificateReport::default()
    };
    let port = PortReport {
        state: "listening".to_owned(),
        refused: [("port_full".to_owned(), 3)].into(),
        logins: vec![LoginReport {
            method: "password".to_owned(),
            outcome: "refused".to_owned(),
            count: 4,
        }],
        certificate: Some(certificate),
        client_trust: Some(ClientTrustReport {
            authorities: 1,
            not_after_seconds: Some(1),
            revocation_lists: Vec::new(),
            notes: Vec::new(),
        }),
        ..PortReport::default()
    };
    let alarm = Alarm {
        name: "near-bound".to_owned(),
        subject: "connections".to_owned(),
        text: String::new(),
    };
    Status {
        name: "gw".to_owned(),
        version: "1.2.3".to_owned(),
        pid: 1,
        uptime_seconds: 7,
        readiness: ReadinessReport::default(),
        alarms: vec![alarm],
        configuration: ConfigurationReport::default(),
        state_dir: "/s".into(),
        control_socket: "/s/control.sock".into(),
        admin: admin(),
        ports: vec![port],
        broker: BrokerReport {
            violations: vec![ViolationCount {
                clause: "MQTT-3.3.1-4".to_owned(),
                violation: "PublishQoSInvalid".to_owned(),
                count: 1,
            }],
            ..BrokerReport::default()
        },
        access: AccessReport {
            back_ends: vec![BackEndReport::default()],
            ..AccessReport::default()
        },
        est: est(),
        discovery: Vec::new(),
        cluster: Some(ClusterReport::default()),
        authority: authority(),
        store: StoreReport {
            commits: 9,
            bytes_written: 4096,
            ..StoreReport::default()
        },
        rates: Rates::default(),
        process: ProcessReport::default(),
    }
}
