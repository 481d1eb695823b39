//! The certificate authority from the command line, with a gateway that runs and with one that is stopped.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::command::{Said, run, run_on};
use crate::support::gateway::TestGateway;

#[track_caller]
fn fine(said: Said) -> String {
    assert_eq!(said.code, 0, "{}", said.stderr);
    said.stdout
}

#[track_caller]
fn json(said: Said) -> Value {
    serde_json::from_str(&fine(said)).expect("JSON")
}

/// Runs openssl where it is installed.
fn openssl(folder: &Path, args: &[&str]) -> Option<(bool, String)> {
    let output = Command::new("openssl")
        .args(args)
        .current_dir(folder)
        .output()
        .ok()?;
    let text = [output.stdout, output.stderr].concat();
    Some((
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    ))
}

/// Everything that can be done with an authority, by the command line alone.
fn walk_through(state: &Path, files: &Path) {
    let ca = |args: &[&str]| {
        let mut all = vec!["ca"];
        all.extend(args);
        run_on(state, &all)
    };
    let path = |name: &str| files.join(name).to_str().expect("a plain name").to_owned();

    let said = ca(&["status"]);
    assert_eq!((said.code, said.stdout.as_str()), (1, ""));
    assert!(
        said.stderr
            .contains("hint: make one with `fieldgate ca init`"),
        "{}",
        said.stderr
    );
    let said = fine(ca(&["init", "--name", "gateway-7"]));
    assert!(
        said.contains("Made the certificate authority `gateway-7 ("),
        "{said}"
    );
    let again = ca(&["init", "--name", "gateway-7"]);
    assert!(
        again.code == 1 && again.stderr.contains("already"),
        "{}",
        again.stderr
    );

    let out = path("pump");
    let said = fine(ca(&[
        "issue", "pump-7", "--attr", "hall=2", "--days", "30", "--out", &out, "--host", "gw",
    ]));
    for part in [
        "mosquitto_sub -h gw",
        "tls_set(",
        "ESP-IDF",
        "certutil",
        "attributes  hall=2",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let key = files.join("pump/pump-7.key");
    assert_eq!(
        fs::metadata(&key).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let again = ca(&["issue", "pump-7", "--out", &out]);
    assert!(
        again.code == 1 && again.stderr.contains("there already"),
        "{}",
        again.stderr
    );
    let chain = [
        "verify",
        "-purpose",
        "sslclient",
        "-CAfile",
        "pump/ca.crt",
        "-untrusted",
        "pump/pump-7.crt",
        "pump/pump-7.crt",
    ];
    if let Some((success, said)) = openssl(files, &chain) {
        assert!(success, "{said}");
    }

    let p12 = path("fan.p12");
    let said = fine(ca(&["issue", "fan", "--p12", &p12]));
    let password = said
        .lines()
        .find_map(|line| line.strip_prefix("Its password: "))
        .expect("a password");
    let info = [
        "pkcs12",
        "-noout",
        "-info",
        "-in",
        &p12,
        "-passin",
        &format!("pass:{password}"),
    ];
    if let Some((success, said)) = openssl(files, &info) {
        assert!(success, "{said}");
    }

    let request = [
        "req",
        "-new",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        "own.key",
        "-out",
        "own.csr",
        "-subj",
        "/CN=press",
    ];
    if let Some((success, said)) = openssl(files, &request) {
        assert!(success, "{said}");
        let signed = fine(ca(&["sign", &path("own.csr")]));
        assert_eq!(signed.matches("BEGIN CERTIFICATE").count(), 2);
        let refused = ca(&["sign", &path("own.csr"), "--name", "other"]);
        assert!(
            refused.stderr.contains("not that of whoever asks"),
            "{}",
            refused.stderr
        );
    }
    fs::write(files.join("no.csr"), "nothing").unwrap();
    let refused = ca(&["sign", &path("no.csr")]);
    assert!(
        refused.stderr.contains("no PKCS#10 request"),
        "{}",
        refused.stderr
    );
    assert!(refused.stderr.contains("hint:"), "{}", refused.stderr);

    let renewed = path("renewed");
    fine(ca(&["renew", "pump-7", "--out", &renewed]));
    assert!(files.join("renewed/pump-7.crt").exists());
    assert!(
        !files.join("renewed/pump-7.key").exists(),
        "the client has it"
    );
    fine(ca(&["renew", "fan", "--new-key", "--out", &renewed]));
    assert!(files.join("renewed/fan.key").exists());

    let listed = json(ca(&["list", "--json"]));
    let names: Vec<_> = listed
        .as_array()
        .expect("a list")
        .iter()
        .map(|row| &row["name"])
        .collect();
    assert!(names.len() >= 4, "{listed}");
    let shown = json(ca(&["show", "pump-7", "--json"]));
    assert_eq!(shown.as_array().expect("a list").len(), 2);
    let serial = shown[0]["serial"]
        .as_str()
        .expect("a serial number")
        .to_owned();
    fine(ca(&["revoke", &serial, "--reason", "superseded"]));
    let said = fine(ca(&["revoke", "pump-7", "--reason", "key-compromise"]));
    assert_eq!(said.lines().count(), 1, "the other one: {said}");
    let wrong = ca(&["revoke", "pump-7", "--reason", "mood"]);
    assert!(
        wrong.code == 64 && wrong.stderr.contains("key-compromise"),
        "{}",
        wrong.stderr
    );
    let crl = fine(ca(&["crl"]));
    fs::write(files.join("ca.crl"), crl).unwrap();
    if let Some((_, said)) = openssl(files, &["crl", "-in", "ca.crl", "-noout", "-text"]) {
        assert_eq!(said.matches("Serial Number:").count(), 2, "{said}");
        let chain = [
            "verify",
            "-crl_check",
            "-CAfile",
            "pump/ca.crt",
            "-CRLfile",
            "ca.crl",
            "-untrusted",
            "pump/pump-7.crt",
            "pump/pump-7.crt",
        ];
        let (success, said) = openssl(files, &chain).expect("it was there before");
        assert!(!success && said.contains("revoked"), "{said}");
    }

    let pem = fine(ca(&["export-root"]));
    assert_eq!(pem, fs::read_to_string(state.join("ca/trust.pem")).unwrap());
    fine(ca(&["export-root", "--der", &path("root.der")]));
    assert_eq!(fs::read(files.join("root.der")).unwrap()[0], 0x30);
    let qr = fine(ca(&["export-root", "--qr"]));
    assert!(qr.contains('█') && qr.lines().count() > 30, "{qr}");

    let token = ca(&["token", "press-2", "--expires", "1h"]);
    assert!(
        token.stderr.contains("good for one enrolment until"),
        "{}",
        token.stderr
    );
    assert_eq!(fine(token).trim().len(), 32);
    let odd = ca(&["token", "press-2", "--expires", "soon"]);
    assert_eq!(odd.code, 64);

    let root_key = path("root.key");
    let unsure = ca(&["root-key", "remove"]);
    assert_eq!(unsure.code, 64);
    fine(ca(&["root-key", "export", &root_key]));
    fine(ca(&["root-key", "remove", "--exported"]));
    let status = json(ca(&["status", "--json"]));
    assert_eq!(status["certificates"][0]["key"], "absent");
    let gone = ca(&["root-key", "export", &path("again.key")]);
    assert!(
        gone.stderr.contains("not on this device"),
        "{}",
        gone.stderr
    );
    fine(ca(&["root-key", "restore", &root_key]));
    fine(ca(&["rollover"]));
    let status = json(ca(&["status", "--json"]));
    assert_eq!(status["certificates"].as_array().expect("a list").len(), 4);
    assert_eq!(status["clock"], "new");
    let said = fine(ca(&["status"]));
    assert!(
        said.contains("gateway-7 root 1") && said.contains("next"),
        "{said}"
    );
    let bundle = fine(ca(&["export-root"]));
    assert_eq!(bundle.matches("BEGIN CERTIFICATE").count(), 2);
}

#[test]
fn authority_of_a_stopped_gateway_does_everything() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    walk_through(&state, folder.path());
    let mode = |name: &str| fs::metadata(state.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("ca"), 0o700);
}

#[test]
fn authority_of_a_running_gateway_does_everything() {
    let Some(mut gateway) = TestGateway::configured(PLAIN) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let state = gateway.path("state");
    walk_through(&state, folder.path());
    // What was done is there when the gateway is stopped, and the time was noted.
    gateway.signal(Signal::SIGTERM);
    gateway.await_end();
    assert!(state.join("ca/floor").exists());
    let listed = json(run_on(&state, &["ca", "list", "--all", "--json"]));
    let revoked = listed.as_array().expect("a list").iter();
    assert_eq!(
        revoked.filter(|row| !row["revoked_at"].is_null()).count(),
        2
    );
    let audit = run_on(&state, &["audit", "--json"]);
    if audit.code == 0 {
        assert!(
            audit.stdout.contains("certificate-revoked"),
            "{}",
            audit.stdout
        );
    }
}

#[test]
fn files_that_do_not_fit_are_named_with_a_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let state_dir = state.to_str().expect("a plain name");
    let other = folder.path().join("other");
    for state in [&state, &other] {
        fine(run_on(state, &["ca", "init", "--name", "gateway-7"]));
    }
    let key = state.join("ca").join("issuing-2.key");
    if !key.exists() {
        // Sealed by systemd-creds: nothing to be put in its place.
        return;
    }
    fs::copy(other.join("ca/issuing-2.key"), &key).unwrap();
    let said = run_on(&state, &["ca", "issue", "pump-7", "--out", state_dir]);
    assert_eq!(said.code, 1);
    assert!(said.stderr.contains("issuing-2.key"), "{}", said.stderr);
    assert!(said.stderr.contains("does not belong"), "{}", said.stderr);
    assert!(said.stderr.contains("hint:"), "{}", said.stderr);
    assert!(
        !state.join("pump-7.key").exists(),
        "no key without a certificate"
    );
    fs::write(state.join("ca/state.json"), "{").unwrap();
    let said = run_on(&state, &["ca", "status"]);
    assert!(said.stderr.contains("state.json"), "{}", said.stderr);
    let said = run([
        "ca",
        "import",
        "/nowhere/chain.pem",
        "--key",
        "/nowhere/key",
        "--name",
        "x",
    ]);
    assert!(
        said.stderr.contains("/nowhere/chain.pem"),
        "{}",
        said.stderr
    );
}

const PLAIN: &str = r#"
[[listener]]
name = "test"

[[listener.port]]
port = 0
bind = "127.0.0.1"
authentication = "none"
authorization = "none"
"#;
