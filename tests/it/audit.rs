//! `fieldgate audit`, with a gateway that runs and with one that is stopped.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::command::{Said, run_on};
use crate::support::{Connect, TestGateway, V5};

const CONFIG: &str = "
[[listener]]
name = \"test\"
[[listener.port]]
port = 0
bind = \"127.0.0.1\"
authentication = \"devices\"
authorization = \"none\"

[authentication.devices]
methods = [\"password\"]

[protection]
failures_per_address_max = 3
";

const BAD_USER_NAME_OR_PASSWORD: u8 = 0x86;

fn run(gateway: &TestGateway, args: &[&str]) -> Said {
    let said = run_on(&gateway.path("state"), args);
    assert_eq!(said.code, 0, "{args:?}: {said:?}");
    said
}

fn rows(gateway: &TestGateway, kind: &str) -> Vec<Value> {
    let said = run(gateway, &["audit", "--json", "--kind", kind]);
    serde_json::from_str(&said.stdout).expect("rows in JSON")
}

#[test]
fn an_attack_is_banned_told_and_lifted_by_an_operator() {
    let Some(mut gateway) = TestGateway::configured(CONFIG) else {
        return;
    };
    let made = run(&gateway, &["user", "add", "press-1", "--generate"]);
    let password = made.stdout.lines().next().expect("a password").to_owned();
    for _ in 0..3 {
        let wrong = Connect::new(V5, "thief").username("press-1");
        let mut client = gateway.open(V5);
        client.send(wrong.password(b"guessed").encode());
        client.expect_refused(BAD_USER_NAME_OR_PASSWORD);
    }
    let right = Connect::new(V5, "press-1").username("press-1");
    let right = right.password(password.as_bytes());
    let mut client = gateway.open(V5);
    client.send(right.encode());
    while client.receive_or_end().is_some() {}

    let bans = run(&gateway, &["audit", "bans"]);
    assert!(bans.stdout.contains("127.0.0.1"), "{bans:?}");
    assert_eq!(rows(&gateway, "ban").len(), 1);
    let refused = rows(&gateway, "login-refused");
    assert_eq!(refused[0]["subject"], "press-1");
    assert_eq!(refused[0]["peer"], "127.0.0.1");
    assert!(!refused[0].to_string().contains("guessed"));

    let lifted = run(&gateway, &["audit", "unban", "127.0.0.1"]);
    assert!(lifted.stdout.contains("is lifted"), "{lifted:?}");
    let again = run_on(&gateway.path("state"), &["audit", "unban", "127.0.0.1"]);
    assert_eq!(again.code, 1, "{again:?}");
    assert!(again.stderr.contains("is not banned"), "{again:?}");
    gateway.connect(&right);
    let by = rows(&gateway, "ban-lifted")[0]["actor"].to_string();
    assert!(by.starts_with("\"uid "), "{by}");
    assert_eq!(rows(&gateway, "login-accepted").len(), 1);

    gateway.signal(Signal::SIGTERM);
    gateway.await_end();
    let said = run(&gateway, &["audit", "--since", "1h"]);
    for kind in [
        "login-refused",
        "ban-lifted",
        "login-accepted",
        "user-added",
    ] {
        assert!(said.stdout.contains(kind), "{kind}: {said:?}");
    }
    let one = run(&gateway, &["audit", "--limit", "1", "--json"]);
    let one: Vec<Value> = serde_json::from_str(&one.stdout).expect("rows in JSON");
    assert_eq!(one.len(), 1);
}

#[test]
fn words_that_are_no_kinds_are_wrong() {
    let dir = tempfile::tempdir().expect("a folder");
    let said = run_on(dir.path(), &["audit", "--kind", "everything"]);
    assert_eq!(said.code, 64, "{said:?}");
    assert!(said.stderr.contains("login-refused"), "{said:?}");
    let said = run_on(dir.path(), &["audit", "--since", "yesterday"]);
    assert_eq!(said.code, 64, "{said:?}");
}
