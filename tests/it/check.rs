//! `fieldgate check` and `fieldgate config`, as a person and as a program see them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use crate::support::command::binary;

const PORT: &str = "authentication = \"none\"\nauthorization = \"none\"\n";

fn fieldgate(args: &[&str]) -> Output {
    binary()
        .args(args)
        .env_remove("FIELDGATE_CONFIG")
        .output()
        .expect("run it")
}

fn check(file: &Path, more: &[&str]) -> Output {
    let mut args = vec!["check", "--config", file.to_str().expect("a name")];
    args.extend(more);
    fieldgate(&args)
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("text")
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("text")
}

fn file_of_the_project(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn written(dir: &tempfile::TempDir, text: &str) -> PathBuf {
    let file = dir.path().join("gateway.toml");
    fs::write(&file, text).expect("write");
    file
}

#[test]
fn a_right_file_is_told_with_its_ports() {
    let file = file_of_the_project("config/gateway.toml");
    let output = check(&file, &[]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(stderr(&output), "");
    let expected = format!(
        "ok: {}\n\n\
         LISTENER  PORT            SPEAKS                        AUTHENTICATION  AUTHORIZATION\n\
         default   127.0.0.1:1883  MQTT                          none            none\n\
         [admin]   127.0.0.1:9600  health and metrics over HTTP  none            none\n",
        file.display()
    );
    assert_eq!(stdout(&output), expected);
}

#[test]
fn every_example_is_right() {
    for name in [
        "cluster-tokens",
        "devices-with-certificates",
        "http-back-end",
        "many-ports",
        "plain-lan",
        "tls-only",
        "websocket-dashboard",
    ] {
        let output = check(
            &file_of_the_project(&format!("config/examples/{name}.toml")),
            &[],
        );
        assert_eq!(output.status.code(), Some(0), "{name}: {}", stderr(&output));
        assert!(stdout(&output).starts_with("ok: "), "{name}");
    }
}

#[test]
fn a_wrong_file_is_told_on_stderr_without_colours() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = written(&dir, "[limits]\nmaximum_qos = 3\n");
    let output = check(&file, &[]);
    assert_eq!(output.status.code(), Some(78));
    assert_eq!(stdout(&output), "");
    let expected = format!(
        "error: there is no listener, so no client could connect\n\
         \u{20}--> {file}\n\
         hint: add a line [[listener]] with a name, and below it [[listener.port]] with port = 1883\n\n\
         error: `maximum_qos` takes a number from 0 to 2, not 3\n\
         \u{20}--> {file}:2:15\n  |\n2 | maximum_qos = 3\n  |               ^\n\n\
         2 errors: {file}\n",
        file = file.display()
    );
    assert_eq!(stderr(&output), expected);
}

#[test]
fn a_file_that_is_named_and_not_there_is_wrong() {
    let dir = tempfile::tempdir().expect("a folder");
    let output = check(&dir.path().join("gateway.toml"), &[]);
    assert_eq!(output.status.code(), Some(78));
    assert!(stderr(&output).contains("it does not exist"));
}

#[test]
fn programs_read_what_is_wrong() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = written(&dir, "[limits]\nmaximum_qos = 3\n");
    let output = check(&file, &["--json"]);
    assert_eq!(output.status.code(), Some(78));
    assert_eq!(stderr(&output), "");
    let told: Value = serde_json::from_str(stdout(&output)).expect("JSON");
    assert_eq!(told["ok"], false);
    assert_eq!(told["errors"][1]["code"], "bad-value");
    assert_eq!(told["errors"][1]["key"], "limits.maximum_qos");
    assert_eq!(told["errors"][1]["place"]["line"], 2);
    assert_eq!(told["ports"], Value::Array(Vec::new()));
}

#[test]
fn programs_read_what_would_be_opened() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = written(
        &dir,
        &format!(
            "[[listener]]\nname = \"plant\"\n[[listener.port]]\nport = 8883\n{PORT}\
             tls = {{ mode = \"Manual\", cert = \"/nowhere/server.crt\", key = \"/nowhere/server.key\" }}\n\
             [admin]\nhttp = \"off\"\n"
        ),
    );
    let output = check(&file, &["--json"]);
    assert_eq!(output.status.code(), Some(0));
    let told: Value = serde_json::from_str(stdout(&output)).expect("JSON");
    assert_eq!(told["ok"], true);
    assert_eq!(told["sources"][0], file.to_str().expect("a name"));
    assert_eq!(told["admin_http"], Value::Null);
    let port = &told["ports"][0];
    assert_eq!(port["endpoint"], "*:8883");
    assert_eq!(port["listener"], "plant");
    assert_eq!(port["tls"], true);
    assert_eq!(port["certificate"]["state"], "awaited");
}

#[test]
fn access_is_told_with_its_methods_and_rules() {
    let file = file_of_the_project("config/examples/devices-with-certificates.toml");
    let output = check(&file, &[]);
    let told = stdout(&output);
    assert!(told.contains("devices: x509, password"), "{told}");
    assert!(told.contains("plant-rules: 3 rules"), "{told}");
    let output = check(&file, &["--json"]);
    let told: Value = serde_json::from_str(stdout(&output)).expect("JSON");
    let port = &told["ports"][0];
    assert_eq!(port["authentication"], "devices");
    assert_eq!(port["methods"], serde_json::json!(["x509", "password"]));
    assert_eq!(port["authorization"], "plant-rules");
    assert_eq!(port["rules"], 3);

    let file = file_of_the_project("config/examples/http-back-end.toml");
    let output = check(&file, &[]);
    assert!(stdout(&output).contains("auth-server: a server"));
}

#[test]
fn a_certificate_that_cannot_be_used_is_mentioned_and_no_fault_of_the_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let cert = dir.path().join("server.crt");
    fs::write(&cert, "no certificate\n").expect("write");
    let file = written(
        &dir,
        &format!(
            "[[listener]]\nname = \"plant\"\n[[listener.port]]\nport = 8883\n{PORT}\
             tls = {{ mode = \"Manual\", cert = \"{0}\", key = \"{0}\" }}\n",
            cert.display()
        ),
    );
    let output = check(&file, &[]);
    assert_eq!(output.status.code(), Some(0));
    let told = stderr(&output);
    assert!(told.starts_with("warning: port *:8883: "), "{told}");
    assert!(
        told.contains("server.crt") && told.contains("\nhint: "),
        "{told}"
    );
    assert!(stdout(&output).contains("MQTT over TLS"));
}

#[test]
fn the_default_and_the_reference_are_the_committed_files() {
    for (what, name) in [
        ("default", "config/gateway.toml"),
        ("reference", "docs/configuration.md"),
    ] {
        let output = fieldgate(&["config", what]);
        assert_eq!(output.status.code(), Some(0));
        let file = fs::read_to_string(file_of_the_project(name)).expect("read");
        assert!(stdout(&output) == file, "{name} is not what is printed");
    }
}
