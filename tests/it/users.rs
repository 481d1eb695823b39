//! `fieldgate user` with a gateway that is running and with one that is stopped.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::command::{Said, fieldgate, run_on};
use crate::support::{Connect, TestGateway, V3_1_1, V5};

/// A port that asks for passwords.
const ASKING: &str = r#"
[[listener]]
name = "test"

[[listener.port]]
port = 0
bind = "127.0.0.1"
authentication = "devices"
authorization = "none"

[authentication.devices]
methods = ["password"]

[protection]
never_banned = ["127.0.0.1"]
"#;

/// Folder with the files of other brokers.
const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/users/");

fn gateway() -> Option<TestGateway> {
    TestGateway::configured(ASKING)
}

/// Ends a gateway in good order.
#[track_caller]
fn stop(gateway: &mut TestGateway) {
    gateway.signal(Signal::SIGTERM);
    assert!(gateway.await_end().success());
}

/// Runs a command that reads a password from its standard input.
#[track_caller]
fn run_with(state: &Path, args: &[&str], input: &str) -> Said {
    let mut child = fieldgate()
        .args(args)
        .arg("--state-dir")
        .arg(state)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("run the binary");
    let mut stdin = child.stdin.take().expect("its standard input");
    // A command that does not want the password has gone already.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("its end").into()
}

#[track_caller]
fn fine(said: Said) -> String {
    assert_eq!((said.code, said.stderr.as_str()), (0, ""), "{said:?}");
    said.stdout
}

#[track_caller]
fn failed(said: &Said) -> &str {
    assert_eq!((said.code, said.stdout.as_str()), (1, ""), "{said:?}");
    &said.stderr
}

#[track_caller]
fn add(state: &Path, name: &str, password: &str) {
    fine(run_with(state, &["user", "add", name, "--stdin"], password));
}

#[track_caller]
fn json(state: &Path, args: &[&str]) -> Value {
    serde_json::from_str(&fine(run_on(state, args))).expect("JSON")
}

fn login(gateway: &TestGateway, name: &str, password: &str) -> u8 {
    let mut client = gateway.open(V5);
    let connect = Connect::new(V5, name)
        .username(name)
        .password(password.as_bytes());
    client.connect(&connect).code
}

/// MQTT 5 says 0x86 where MQTT 3.1.1 says 4.
#[track_caller]
fn assert_refused(gateway: &TestGateway, name: &str, password: &str) {
    for (version, code) in [(V5, 0x86), (V3_1_1, 4)] {
        let mut client = gateway.open(version);
        let connect = Connect::new(version, name)
            .username(name)
            .password(password.as_bytes());
        client.send(connect.encode());
        client.expect_refused(code);
    }
}

/// What everybody does first, then the same without a gateway.
fn manage(state: &Path) {
    let text = run_with(
        state,
        &["user", "add", "press", "--stdin"],
        "a good password\n",
    );
    assert_eq!(fine(text), "The user `press` is made\n");
    let again = run_with(
        state,
        &["user", "add", "press", "--stdin"],
        "a good password\n",
    );
    let said = failed(&again);
    assert!(said.contains("there is a user `press` already"), "{said}");
    assert!(said.contains("hint: "), "{said}");
    let args = [
        "user",
        "set",
        "press",
        "--attr",
        "floor=1",
        "--attr",
        "role=press",
        "--expires",
        "30d",
        "--note",
        "hall 2",
    ];
    fine(run_on(state, &args));
    let user = json(state, &["user", "show", "press", "--json"]);
    assert_eq!(user["attributes"]["floor"], "1");
    assert_eq!(user["note"], "hall 2");
    assert!(user["expires_at"].as_u64().expect("a time") > 1_700_000_000);
    fine(run_on(
        state,
        &[
            "user",
            "set",
            "press",
            "--no-attr",
            "role",
            "--expires",
            "never",
        ],
    ));
    let text = fine(run_on(state, &["user", "show", "press"]));
    assert!(text.contains("attributes floor=1\n"), "{text}");
    assert!(text.contains("expires    never\n"), "{text}");
    fine(run_on(state, &["user", "disable", "press"]));
    let text = fine(run_on(state, &["user", "list"]));
    let line = text.lines().nth(1).expect("a user");
    assert!(line.starts_with("press  disabled  floor=1"), "{text}");
    fine(run_on(state, &["user", "enable", "press"]));
    let users = json(state, &["user", "list", "--json"]);
    assert_eq!(users.as_array().expect("a list").len(), 1);
    assert!(!users.to_string().contains("argon2"), "no hashes: {users}");
    for args in [
        &["user", "show", "nobody"][..],
        &["user", "remove", "nobody"],
        &["user", "disable", "nobody"],
        &["user", "set", "nobody", "--note", "x"],
    ] {
        let said = run_on(state, args);
        let text = failed(&said);
        assert!(text.contains("there is no user `nobody`"), "{text}");
        assert!(text.contains("hint: `fieldgate user list`"), "{text}");
    }
}

#[test]
fn users_are_managed_while_the_gateway_runs() {
    let Some(gateway) = gateway() else { return };
    let state = gateway.path("state");
    manage(&state);
    assert_eq!(login(&gateway, "press", "a good password"), 0);
    assert_refused(&gateway, "press", "a bad password");
    assert_refused(&gateway, "nobody", "a good password");
    fine(run_with(
        &state,
        &["user", "passwd", "press", "--stdin"],
        "another password",
    ));
    assert_refused(&gateway, "press", "a good password");
    assert_eq!(login(&gateway, "press", "another password"), 0);
    let user = json(&state, &["user", "show", "press", "--json"]);
    assert!(user["last_seen_at"].as_u64().is_some(), "{user}");
    fine(run_on(&state, &["user", "disable", "press"]));
    assert_refused(&gateway, "press", "another password");
    fine(run_on(&state, &["user", "enable", "press"]));
    assert_eq!(login(&gateway, "press", "another password"), 0);
    fine(run_on(&state, &["user", "remove", "press"]));
    assert_refused(&gateway, "press", "another password");
    let log = gateway.log();
    for secret in ["a good password", "another password", "argon2id"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

#[test]
fn users_are_managed_while_the_gateway_is_stopped() {
    let Some(mut gateway) = gateway() else { return };
    let state = gateway.path("state");
    stop(&mut gateway);
    manage(&state);
    gateway.run();
    assert_eq!(login(&gateway, "press", "a good password"), 0);
    // Who was seen is kept over a stop.
    stop(&mut gateway);
    let user = json(&state, &["user", "show", "press", "--json"]);
    assert!(user["last_seen_at"].as_u64().is_some(), "{user}");
}

#[test]
fn first_user_is_made_before_the_first_start() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let said = run_on(&state, &["user", "list"]);
    let text = failed(&said);
    assert!(text.contains("there is no database in"), "{text}");
    assert!(!state.exists(), "looking makes nothing");
    add(&state, "first", "a good password");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&state.join("gateway.db")), 0o600);
    assert_eq!(mode(&state), 0o750);
    assert_eq!(
        json(&state, &["user", "list", "--json"])[0]["username"],
        "first"
    );
}

#[test]
fn folder_of_a_gateway_that_cannot_be_asked_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let _lock = fieldgate::gateway::StateLock::acquire(folder.path()).unwrap();
    let said = run_with(
        folder.path(),
        &["user", "add", "a", "--stdin"],
        "a good password",
    );
    let text = failed(&said);
    assert!(text.contains("in use by another gateway"), "{text}");
    assert!(text.contains("--runtime-dir"), "{text}");
    assert!(!folder.path().join("gateway.db").exists());
}

#[test]
fn passwords_come_from_stdin_or_are_made_and_never_from_arguments() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    for (password, expected) in [
        ("", "the password is empty"),
        ("\n", "the password is empty"),
        ("short\n", "less than 8 bytes"),
    ] {
        let said = run_with(&state, &["user", "add", "a", "--stdin"], password);
        assert!(failed(&said).contains(expected), "{said:?}");
    }
    let said = run_with(&state, &["user", "add", "a", "--stdin"], "short");
    assert!(said.stderr.contains("--allow-short"), "{said:?}");
    let args = ["user", "add", "a", "--stdin", "--allow-short"];
    fine(run_with(&state, &args, "short"));

    let said = run_on(&state, &["user", "add", "made", "--generate"]);
    assert_eq!(said.code, 0);
    assert_eq!(said.stdout.trim_end().len(), 23, "only the password");
    assert_eq!(said.stderr, "The user `made` is made\n");

    // There is no terminal to ask on.
    let said = run_on(&state, &["user", "add", "b"]);
    assert_eq!((said.code, said.stdout.as_str()), (64, ""));
    assert!(said.stderr.contains("`--stdin`"), "{said:?}");
    for args in [
        &["user", "add", "b", "--password", "x"][..],
        &["user", "add", "b", "secret"],
        &["user", "add", "b", "--stdin", "--generate"],
        &["user", "set", "a"],
        &["user", "set", "a", "--attr", "floor"],
    ] {
        assert_eq!(run_on(&state, args).code, 64, "{args:?}");
    }
    let said = run_with(
        &state,
        &["user", "add", "a\nb", "--stdin"],
        "a good password",
    );
    assert!(failed(&said).contains("control character"), "{said:?}");
    let args = ["user", "add", "b", "--stdin", "--expires", "soon"];
    let said = run_with(&state, &args, "a good password");
    assert!(failed(&said).contains("`soon` is neither"), "{said:?}");
}

fn import<'a>(file: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["user", "import", file], more].concat()
}

#[test]
fn files_of_other_brokers_are_imported_and_their_passwords_work() {
    let Some(gateway) = gateway() else { return };
    let state = gateway.path("state");
    let file = |name: &str| format!("{VECTORS}{name}");

    let passwd = file("mosquitto.passwd");
    let dry = fine(run_on(&state, &import(&passwd, &["--dry-run"])));
    assert_eq!(
        dry,
        "Would import 5 users: 5 new, 0 in the place of others\n"
    );
    assert_refused(&gateway, "old-plc", "plc-secret-9");
    let done = fine(run_on(&state, &import(&passwd, &[])));
    assert_eq!(done, "Imported 5 users: 5 new, 0 in the place of others\n");
    for (name, password) in [
        ("press-1", "correct horse 1"),
        ("pump 7", "ümläut-pass"),
        ("old-plc", "plc-secret-9"),
        ("new-plc", "plc-secret-10"),
        ("argon", "correct horse 1"),
    ] {
        assert_refused(&gateway, name, "wrong password");
        assert_eq!(login(&gateway, name, password), 0, "{name}");
    }
    // The better hash is stored a moment later, and works as the other one did.
    let foreign = || {
        let user = json(&state, &["user", "show", "old-plc", "--json"]);
        user["has_foreign_hash"].as_bool().expect("a truth")
    };
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while foreign() {
        assert!(std::time::Instant::now() < end, "still as it was imported");
    }
    assert_eq!(login(&gateway, "old-plc", "plc-secret-9"), 0);

    let dynamic = file("dynamic-security.json");
    let said = run_on(&state, &import(&dynamic, &[]));
    let text = failed(&said);
    assert!(
        text.contains("1 of the users are there already: `press-1`"),
        "{text}"
    );
    assert!(text.contains("--replace"), "{text}");
    let said = run_on(&state, &import(&dynamic, &["--replace"]));
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(
        said.stdout,
        "Imported 4 users: 3 new, 1 in the place of others\n"
    );
    assert!(
        said.stderr.contains("user `nopw`: has no password"),
        "{said:?}"
    );
    assert_eq!(login(&gateway, "pump-7", "pumping 7"), 0);
    assert_refused(&gateway, "lab", "laboratory");
    let press = json(&state, &["user", "show", "press-1", "--json"]);
    assert_eq!(press["attributes"]["role"], "press");
    assert_eq!(press["attributes"]["group"], "hall-2");

    let cluster = file("cluster.toml");
    fine(run_on(&state, &import(&cluster, &[])));
    assert_eq!(login(&gateway, "client1", "password1"), 0);
    assert_eq!(login(&gateway, "client 2", "pässword-2"), 0);
}

#[test]
fn table_of_users_gets_passwords_in_a_file_of_its_own() {
    let Some(gateway) = gateway() else { return };
    let state = gateway.path("state");
    let csv = format!("{VECTORS}users.csv");
    let out = gateway.path("passwords.csv");
    let said = run_on(&state, &import(&csv, &[]));
    assert_eq!(said.code, 64);
    assert!(said.stderr.contains("--passwords-out"), "{said:?}");
    let more = ["--passwords-out", out.to_str().unwrap()];
    let dry = fine(run_on(
        &state,
        &import(&csv, &[&more[..], &["--dry-run"]].concat()),
    ));
    assert!(dry.starts_with("Would import 3 users"), "{dry}");
    assert!(!out.exists());
    fine(run_on(&state, &import(&csv, &more)));
    let mode = fs::metadata(&out).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = fs::read_to_string(&out).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!((lines.len(), lines[0]), (4, "username,password"));
    let (name, password) = lines[2].split_once(',').unwrap();
    assert_eq!(login(&gateway, name, password), 0);
    assert!(lines[3].starts_with("\"press,3\","), "{text}");

    // Nothing is written over, and what came to nothing leaves nothing behind.
    let said = run_on(&state, &import(&csv, &[&more[..], &["--replace"]].concat()));
    assert!(failed(&said).contains("cannot make"), "{said:?}");
    assert_eq!(fs::read_to_string(&out).unwrap(), text);
    let other = gateway.path("other.csv");
    let said = run_on(
        &state,
        &import(&csv, &["--passwords-out", other.to_str().unwrap()]),
    );
    assert!(failed(&said).contains("are there already"), "{said:?}");
    assert!(!other.exists());
}

#[test]
fn file_with_faults_is_not_imported_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    add(&state, "keep", "a good password");
    let file = folder.path().join("bad.passwd");
    let good = fs::read_to_string(format!("{VECTORS}mosquitto.passwd")).unwrap();
    fs::write(&file, format!("{good}plain:a secret\nno colon\n")).unwrap();
    let said = run_on(&state, &import(file.to_str().unwrap(), &[]));
    let text = failed(&said);
    assert!(
        text.contains("bad.passwd: line 6: the password is not hashed"),
        "{text}"
    );
    assert!(
        text.contains("bad.passwd: line 7: there is no `:`"),
        "{text}"
    );
    assert!(text.contains("hint: nothing was imported"), "{text}");
    assert!(!text.contains("a secret"), "{text}");
    let users = json(&state, &["user", "list", "--json"]);
    assert_eq!(users.as_array().unwrap().len(), 1);
}

#[test]
fn export_goes_to_another_gateway() {
    let Some(gateway) = gateway() else { return };
    let state = gateway.path("state");
    add(&state, "press", "a good password");
    fine(run_on(
        &state,
        &["user", "set", "press", "--attr", "floor=1"],
    ));
    let file = gateway.path("users.json");
    let path = file.to_str().unwrap();
    fine(run_on(&state, &["user", "export", path]));
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let said = run_on(&state, &["user", "export", path]);
    assert!(failed(&said).contains("cannot make"), "{said:?}");
    let lines = fine(run_on(&state, &["user", "export", "--format", "lines"]));
    assert!(
        lines.starts_with("press:$argon2id$v=19$m=19456,t=2,p=1$"),
        "{lines}"
    );

    let Some(other) = self::gateway() else { return };
    fine(run_on(&other.path("state"), &import(path, &[])));
    assert_eq!(login(&other, "press", "a good password"), 0);
    let user = json(&other.path("state"), &["user", "show", "press", "--json"]);
    assert_eq!(user["attributes"]["floor"], "1");
}

#[test]
fn many_users_pass_through_the_control_socket() {
    let Some(gateway) = gateway() else { return };
    let state = gateway.path("state");
    let hash = fs::read_to_string(format!("{VECTORS}mosquitto.passwd")).unwrap();
    let (_, hash) = hash.lines().next().unwrap().split_once(':').unwrap();
    let users: String = (0..10_000)
        .map(|number| format!("user-{number}:{hash}\n"))
        .collect();
    let file = gateway.path("many.passwd");
    fs::write(&file, users).unwrap();
    let done = fine(run_on(&state, &import(file.to_str().unwrap(), &[])));
    assert!(done.starts_with("Imported 10000 users"), "{done}");
    assert_eq!(login(&gateway, "user-9999", "correct horse 1"), 0);
    let users = json(&state, &["user", "list", "--json"]);
    assert_eq!(users.as_array().unwrap().len(), 10_000);
}
