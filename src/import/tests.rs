//! Configurations as people have them: each folder of `tests/mosquitto` holds one, with what becomes of it and what is said.

use std::path::{Path, PathBuf};

use super::*;
use crate::config;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mosquitto")
}

fn imported(name: &str) -> Import {
    let path = root().join(name).join("mosquitto.conf");
    mosquitto(&path, &MosquittoOptions::default()).unwrap()
}

/// Compares a committed file with what it should hold; writes it instead where `FIELDGATE_BLESS` is set.
fn compare(name: &str, file: &str, expected: &str) {
    let folder = root().join(name);
    let here = folder.display().to_string();
    let expected = expected.replace(&here, "/etc/mosquitto");
    let path = folder.join(file);
    if std::env::var_os("FIELDGATE_BLESS").is_some() {
        std::fs::write(&path, &expected).unwrap();
        return;
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        found, expected,
        "{name}/{file} is not what comes out; FIELDGATE_BLESS=1 cargo test --lib import:: writes it"
    );
}

#[test]
fn every_configuration_becomes_one_that_is_accepted() {
    let mut names: Vec<String> = std::fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert!(names.len() >= 12, "{names:?}");
    for name in names {
        let import = imported(&name);
        if let Err(report) = config::parse(&import.text) {
            panic!("{name}: {report}\n{}", import.text);
        }
        compare(&name, "gateway.toml", &import.text);
        compare(&name, "report.txt", &import.report.render());
    }
}

#[test]
fn no_secret_of_a_configuration_is_shown() {
    for (name, secret) in [
        ("bridge", "hunter2"),
        ("bridge", "0123456789abcdef"),
        ("jwt-plugin", "c2VjcmV0"),
        ("dynamic-security", "cGFzcw=="),
        ("go-auth", "PBKDF2"),
    ] {
        let import = imported(name);
        assert!(!import.text.contains(secret), "{name}");
        assert!(!import.report.render().contains(secret), "{name}");
    }
}

#[test]
fn what_cannot_be_translated_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let port = |text: &str| {
        let path = folder.path().join("mosquitto.conf");
        std::fs::write(&path, text).unwrap();
        let import = mosquitto(&path, &MosquittoOptions::default()).unwrap();
        let settings = config::parse(&import.text).unwrap();
        settings
            .ports()
            .map(|port| port.endpoint.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(port("listener 1\nlistener 2\npsk_hint x\n"), ["*:1"]);
    assert_eq!(port("listener 1\nlistener 2\nkeyfile /k\n"), ["*:1"]);
    assert_eq!(port("listener 1\nlistener 2\ncafile /c\n"), ["*:1"]);
    assert_eq!(port("listener 1\nlistener 2\nmount_point a/+/\n"), ["*:1"]);
    assert_eq!(port("listener 2\nprotocol mqttsn\n"), ["127.0.0.1:1883"]);
    assert_eq!(port("listener 2 gw.local\n"), ["127.0.0.1:2"]);
}

#[test]
fn what_is_no_configuration_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    let import = || mosquitto(&path, &MosquittoOptions::default());
    assert!(matches!(import(), Err(ImportFault::Unreadable { .. })));
    std::fs::write(&path, [0xff, 0x00, 0xfe, b'\n', 0x80]).unwrap();
    assert!(matches!(import(), Err(ImportFault::Foreign { .. })));
    std::fs::write(&path, "[[listener]]\nname = \"x\"\n").unwrap();
    assert!(matches!(import(), Err(ImportFault::Foreign { .. })));
    std::fs::write(&path, "").unwrap();
    let import = import().unwrap();
    assert!(
        config::parse(&import.text).is_ok(),
        "an empty file has the defaults"
    );
}

const KEYS: &[&str] = &[
    "listener",
    "port",
    "bind_address",
    "bind_interface",
    "socket_domain",
    "protocol",
    "mount_point",
    "max_connections",
    "max_qos",
    "max_topic_alias",
    "certfile",
    "tls_version",
    "allow_anonymous",
    "use_username_as_clientid",
    "max_inflight_messages",
    "max_queued_messages",
    "max_queued_bytes",
    "max_packet_size",
    "message_size_limit",
    "max_keepalive",
    "persistent_client_expiration",
    "sys_interval",
    "retain_available",
    "global_max_connections",
    "global_max_clients",
    "clientid_prefixes",
    "log_type",
    "acl_file",
    "password_file",
    "plugin",
    "connection",
    "enable_proxy_protocol",
];

const VALUES: &[&str] = &[
    "",
    "0",
    "1",
    "-1",
    "65535",
    "65536",
    "99999999999",
    "true",
    "a",
    "a/+/#",
    "\"",
    "::1",
    "10.0.0.1",
    "fe80::1%eth0",
    "0 /x",
    "0 rel",
    "1883 *",
    "999999999y",
    "5d",
    "{principal.username}",
    "a*b",
    "/x y",
    "an-interface-with-a-long-name",
];

#[test]
fn no_line_makes_a_wrong_configuration() {
    // Every directive with values that fit it and that do not, alone: whatever comes of it is accepted.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mosquitto.conf");
    for key in KEYS {
        for value in VALUES {
            std::fs::write(
                &path,
                format!("listener 1884\nallow_anonymous true\n{key} {value}\n"),
            )
            .unwrap();
            let import = mosquitto(&path, &MosquittoOptions::default()).unwrap();
            if let Err(report) = config::parse(&import.text) {
                panic!("{key} {value}: {report}\n{}", import.text);
            }
        }
    }
}
