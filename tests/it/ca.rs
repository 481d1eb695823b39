//! The certificate authority from the command line, with a gateway that runs and with one that is stopped.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
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

/// A gateway, by its state folder, and a folder for files.
struct Site<'a> {
    state: &'a Path,
    files: &'a Path,
}

impl Site<'_> {
    fn ca(&self, args: &[&str]) -> Said {
        let mut all = vec!["ca"];
        all.extend(args);
        run_on(self.state, &all)
    }

    fn path(&self, name: &str) -> String {
        self.files
            .join(name)
            .to_str()
            .expect("a plain name")
            .to_owned()
    }

    fn openssl(&self, args: &[&str]) -> Option<(bool, String)> {
        openssl(self.files, args)
    }

    /// Everything that can be done with an authority, by the command line alone.
    fn walk_through(&self) {
        self.make();
        self.issue();
        self.pack();
        self.sign();
        self.renew();
        self.revoke();
        self.export();
        self.make_tokens();
        self.change_roots();
    }

    fn make(&self) {
        let said = self.ca(&["status"]);
        assert_eq!((said.code, said.stdout.as_str()), (1, ""));
        let hint = "hint: make one with `fieldgate ca init`";
        assert!(said.stderr.contains(hint), "{}", said.stderr);
        let said = fine(self.ca(&["init", "--name", "gateway-7"]));
        let made = "Made the certificate authority `gateway-7 (";
        assert!(said.contains(made), "{said}");
        let again = self.ca(&["init", "--name", "gateway-7"]);
        assert_eq!(again.code, 1);
        assert!(again.stderr.contains("already"), "{}", again.stderr);
    }

    fn issue(&self) {
        let out = self.path("pump");
        let said = fine(self.ca(&[
            "issue", "pump-7", "--attr", "hall=2", "--days", "30", "--out", &out, "--host", "gw",
        ]));
        let lines = [
            "mosquitto_sub -h gw",
            "tls_set(",
            "ESP-IDF",
            "certutil",
            "attributes  hall=2",
        ];
        for part in lines {
            assert!(said.contains(part), "{part}: {said}");
        }
        let key = self.files.join("pump/pump-7.key");
        let mode = fs::metadata(&key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = self.ca(&["issue", "pump-7", "--out", &out]);
        assert_eq!(again.code, 1);
        assert!(again.stderr.contains("there already"), "{}", again.stderr);
        if let Some((success, said)) = self.verify(&["-purpose", "sslclient"]) {
            assert!(success, "{said}");
        }
    }

    /// Has openssl look at the certificate of `pump-7`.
    fn verify(&self, more: &[&str]) -> Option<(bool, String)> {
        let mut args = vec!["verify", "-CAfile", "pump/ca.crt"];
        args.extend(more);
        args.extend(["-untrusted", "pump/pump-7.crt", "pump/pump-7.crt"]);
        self.openssl(&args)
    }

    fn pack(&self) {
        let p12 = self.path("fan.p12");
        let said = fine(self.ca(&["issue", "fan", "--p12", &p12]));
        let mut lines = said.lines();
        let password = lines.find_map(|line| line.strip_prefix("Its password: "));
        let password = format!("pass:{}", password.expect("a password"));
        let info = [
            "pkcs12", "-noout", "-info", "-in", &p12, "-passin", &password,
        ];
        if let Some((success, said)) = self.openssl(&info) {
            assert!(success, "{said}");
        }
    }

    fn sign(&self) {
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
        if let Some((success, said)) = self.openssl(&request) {
            assert!(success, "{said}");
            let own = self.path("own.csr");
            let signed = fine(self.ca(&["sign", &own]));
            assert_eq!(signed.matches("BEGIN CERTIFICATE").count(), 2);
            let refused = self.ca(&["sign", &own, "--name", "other"]);
            let why = "not that of whoever asks";
            assert!(refused.stderr.contains(why), "{}", refused.stderr);
        }
        fs::write(self.files.join("no.csr"), "nothing").unwrap();
        let refused = self.ca(&["sign", &self.path("no.csr")]);
        let why = "no PKCS#10 request";
        assert!(refused.stderr.contains(why), "{}", refused.stderr);
        assert!(refused.stderr.contains("hint:"), "{}", refused.stderr);
    }

    fn renew(&self) {
        let out = self.path("renewed");
        fine(self.ca(&["renew", "pump-7", "--out", &out]));
        assert!(self.files.join("renewed/pump-7.crt").exists());
        let key = self.files.join("renewed/pump-7.key");
        assert!(!key.exists(), "the client has it");
        fine(self.ca(&["renew", "fan", "--new-key", "--out", &out]));
        assert!(self.files.join("renewed/fan.key").exists());
        let listed = json(self.ca(&["list", "--json"]));
        let count = listed.as_array().expect("a list").len();
        assert!(count >= 4, "{listed}");
    }

    fn revoke(&self) {
        let shown = json(self.ca(&["show", "pump-7", "--json"]));
        assert_eq!(shown.as_array().expect("a list").len(), 2);
        let serial = shown[0]["serial"].as_str().expect("a serial number");
        fine(self.ca(&["revoke", serial, "--reason", "superseded"]));
        let said = fine(self.ca(&["revoke", "pump-7", "--reason", "key-compromise"]));
        assert_eq!(said.lines().count(), 1, "the other one: {said}");
        let wrong = self.ca(&["revoke", "pump-7", "--reason", "mood"]);
        assert_eq!(wrong.code, 64);
        assert!(wrong.stderr.contains("key-compromise"), "{}", wrong.stderr);
        fs::write(self.files.join("ca.crl"), fine(self.ca(&["crl"]))).unwrap();
        let text = ["crl", "-in", "ca.crl", "-noout", "-text"];
        if let Some((_, said)) = self.openssl(&text) {
            assert_eq!(said.matches("Serial Number:").count(), 2, "{said}");
            let more = ["-crl_check", "-CRLfile", "ca.crl"];
            let (success, said) = self.verify(&more).expect("it was there before");
            assert!(!success && said.contains("revoked"), "{said}");
        }
    }

    fn export(&self) {
        let pem = fine(self.ca(&["export-root"]));
        let bundle = fs::read_to_string(self.state.join("ca/trust.pem"));
        assert_eq!(pem, bundle.unwrap());
        fine(self.ca(&["export-root", "--der", &self.path("root.der")]));
        assert_eq!(fs::read(self.files.join("root.der")).unwrap()[0], 0x30);
        let qr = fine(self.ca(&["export-root", "--qr"]));
        assert!(qr.contains('█') && qr.lines().count() > 30, "{qr}");
    }

    fn make_tokens(&self) {
        let token = self.ca(&["token", "press-2", "--expires", "1h"]);
        let note = "good for one enrolment until";
        assert!(token.stderr.contains(note), "{}", token.stderr);
        assert_eq!(fine(token).trim().len(), 32);
        let odd = self.ca(&["token", "press-2", "--expires", "soon"]);
        assert_eq!(odd.code, 64);
    }

    fn change_roots(&self) {
        let unsure = self.ca(&["root-key", "remove"]);
        assert_eq!(unsure.code, 64);
        let file = self.path("root.key");
        fine(self.ca(&["root-key", "export", &file]));
        fine(self.ca(&["root-key", "remove", "--exported"]));
        let status = json(self.ca(&["status", "--json"]));
        assert_eq!(status["certificates"][0]["key"], "absent");
        let gone = self.ca(&["root-key", "export", &self.path("again.key")]);
        let why = "not on this device";
        assert!(gone.stderr.contains(why), "{}", gone.stderr);
        fine(self.ca(&["root-key", "restore", &file]));
        fine(self.ca(&["rollover"]));
        let status = json(self.ca(&["status", "--json"]));
        assert_eq!(status["certificates"].as_array().expect("a list").len(), 4);
        assert_eq!(status["clock"], "new");
        let said = fine(self.ca(&["status"]));
        assert!(
            said.contains("gateway-7 root 1") && said.contains("next"),
            "{said}"
        );
        let bundle = fine(self.ca(&["export-root"]));
        assert_eq!(bundle.matches("BEGIN CERTIFICATE").count(), 2);
    }
}

#[test]
fn authority_of_a_stopped_gateway_does_everything() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let (state, files) = (state.as_path(), folder.path());
    Site { state, files }.walk_through();
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
    let site = Site {
        state: &state,
        files: folder.path(),
    };
    site.walk_through();
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
fn sealing_for_a_gateway_of_another_user_asks_to_stop_it_first() {
    let Some(gateway) = TestGateway::configured(PLAIN) else {
        return;
    };
    let state = gateway.path("state");
    if chown(&state, Some(1234), None).is_err() {
        // Only root gives folders away.
        return;
    }
    fine(run_on(&state, &["ca", "init", "--name", "gateway-7"]));
    let said = run_on(&state, &["ca", "seal"]);
    assert_eq!(said.code, 1, "{}", said.stderr);
    assert!(
        said.stderr.contains("systemctl stop fieldgate"),
        "{}",
        said.stderr
    );
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
    // Sealed where systemd-creds does that.
    let names = ["issuing-2.key", "sealed/issuing-2"];
    let key = names.map(|name| Path::new("ca").join(name));
    let key = key.iter().find(|name| state.join(name).exists());
    let key = key.expect("a key");
    fs::copy(other.join(key), state.join(key)).unwrap();
    let said = run_on(&state, &["ca", "issue", "pump-7", "--out", state_dir]);
    assert_eq!(said.code, 1);
    assert!(
        said.stderr.contains(key.to_str().unwrap()),
        "{}",
        said.stderr
    );
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
