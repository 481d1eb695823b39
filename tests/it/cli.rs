//! The command line: exit codes, data on stdout, everything else on stderr.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::command::{fieldgate, run, run_on};
use crate::support::{Connect, TestGateway, V5};

const BROKEN: &str =
    "[[listener]]\nname = \"plant\"\nport = 7\n[limits]\nmax_packet_sise = \"1 MiB\"\n";

#[test]
fn help_and_version_are_data() {
    let said = run(["--version"]);
    assert_eq!((said.code, said.stderr.as_str()), (0, ""));
    assert_eq!(
        said.stdout,
        concat!("fieldgate ", env!("CARGO_PKG_VERSION"), "\n")
    );
    for args in [
        &["--help"][..],
        &["-h"],
        &["serve", "--help"],
        &["status", "--help"],
        &["check", "--help"],
    ] {
        let said = run(args);
        assert_eq!((said.code, said.stderr.as_str()), (0, ""), "{args:?}");
        assert!(said.stdout.contains("Usage: fieldgate"), "{args:?}");
    }
}

#[test]
fn wrong_command_line_is_64() {
    for args in [
        &[][..],
        &["bogus"],
        &["serve", "--stat-dir", "x"],
        &["status", "--json=7"],
        &["generate", "completions", "x"],
    ] {
        let said = run(args);
        assert_eq!((said.code, said.stdout.as_str()), (64, ""), "{args:?}");
        assert!(!said.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn wrong_configuration_is_78_and_starts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    fs::write(&file, BROKEN).unwrap();
    let state = folder.path().join("state");

    let output = fieldgate()
        .arg("serve")
        .arg("--config")
        .arg(&file)
        .arg("--state-dir")
        .arg(&state)
        .output()
        .unwrap();

    assert_eq!(output.status.code(), Some(78));
    assert!(output.stdout.is_empty());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("gateway.toml:5:1"), "{said}");
    assert!(said.contains("max_packet_size"), "{said}");
    assert!(!state.exists());
}

#[test]
fn file_that_is_named_and_missing_is_78() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("none.toml");
    let output = fieldgate()
        .arg("serve")
        .env("FIELDGATE_CONFIG", &file)
        .arg("--state-dir")
        .arg(folder.path())
        .output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stderr).contains("none.toml"));
}

#[test]
fn state_folder_that_cannot_be_made_is_1() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let said = run_on(&file.join("state"), &["serve"]);
    assert_eq!((said.code, said.stdout.as_str()), (1, ""));
    assert!(
        said.stderr
            .starts_with("error: cannot make the state folder"),
        "{}",
        said.stderr
    );
    assert!(said.stderr.contains("hint: "), "{}", said.stderr);
}

#[test]
fn second_gateway_on_a_state_folder_learns_who_holds_it() {
    let Some(gateway) = TestGateway::configured(PLAIN) else {
        return;
    };
    let said = run_on(&gateway.path("state"), &["serve"]);
    assert_eq!(said.code, 1);
    let owner = format!("is in use by another gateway (process {})", gateway.pid());
    assert!(said.stderr.contains(&owner), "{}", said.stderr);
}

#[test]
fn asking_nobody_is_1_with_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    for command in ["status", "clients", "reload"] {
        let said = run_on(folder.path(), &[command]);
        assert_eq!((said.code, said.stdout.as_str()), (1, ""), "{command}");
        assert!(
            said.stderr.contains("no gateway listens on"),
            "{}",
            said.stderr
        );
        assert!(said.stderr.contains("hint: "), "{}", said.stderr);
    }
}

#[test]
fn closed_pipe_is_no_panic() {
    for args in [
        &["--help"][..],
        &["config", "default"],
        &["generate", "completions", "bash"],
    ] {
        let mut child = fieldgate()
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{args:?}");
    }
}

#[test]
fn packagers_get_man_pages_and_completions() {
    let folder = tempfile::tempdir().unwrap();
    let said = run([
        "generate".as_ref(),
        "man".as_ref(),
        folder.path().join("man").as_os_str(),
    ]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    for page in [
        "fieldgate.1",
        "fieldgate-serve.1",
        "fieldgate-status.1",
        "fieldgate-reload.1",
        "fieldgate-backup.1",
        "fieldgate-restore.1",
        "fieldgate-store-check.1",
    ] {
        assert!(folder.path().join("man").join(page).exists(), "{page}");
    }
    for shell in ["bash", "fish", "zsh"] {
        assert!(
            run(["generate", "completions", shell])
                .stdout
                .contains("fieldgate"),
            "{shell}"
        );
    }
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

#[test]
fn status_and_clients_are_for_people_and_programs() {
    let Some(gateway) = TestGateway::configured(PLAIN) else {
        return;
    };
    let state = gateway.path("state");
    let mut client = gateway.v5("pump\u{1b}[2J-7");
    client.subscribe("a/#", 1);
    let _other = gateway.connect(&Connect::new(V5, "valve-1"));

    let said = run_on(&state, &["status"]);
    assert_eq!((said.code, said.stderr.as_str()), (0, ""));
    assert!(said.stdout.contains("127.0.0.1:0"), "{}", said.stdout);
    assert!(said.stdout.contains("2 connected"), "{}", said.stdout);

    let said = run_on(&state, &["status", "--json"]);
    let status: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(status["broker"]["connections"], 2);
    assert_eq!(status["broker"]["subscriptions"], 1);
    assert_eq!(status["ports"][0]["state"], "listening");
    assert_eq!(status["pid"], gateway.pid());

    let said = run_on(&state, &["clients"]);
    assert!(said.stdout.contains("pump\\u{1b}[2J-7"), "{}", said.stdout);
    assert_eq!(said.stdout.lines().count(), 3, "{}", said.stdout);

    let said = run_on(&state, &["clients", "--json", "pump"]);
    let clients: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(clients.as_array().unwrap().len(), 1);
    assert_eq!(clients[0]["client_id"], "pump\u{1b}[2J-7");
    assert_eq!(clients[0]["subscriptions"], 1);
    assert_eq!(clients[0]["connection"]["protocol_version"], "5.0");
}

#[test]
fn control_socket_is_found_through_the_state_folder() {
    let Some(mut gateway) = TestGateway::unstarted(PLAIN) else {
        return;
    };
    gateway.add_arg("--runtime-dir");
    gateway.add_arg(gateway.path("run"));
    gateway.run();
    assert!(!gateway.path("state/control.sock").exists());
    let socket = gateway.path("run/control.sock");
    assert_eq!(
        fs::metadata(&socket).unwrap().permissions().mode() & 0o777,
        0o660
    );
    assert_eq!(run_on(&gateway.path("state"), &["status"]).code, 0);

    gateway.signal(Signal::SIGTERM);
    assert!(gateway.await_end().success());
    assert!(!socket.exists(), "the file goes with the gateway");
}

#[test]
fn socket_that_a_killed_gateway_left_is_replaced() {
    let Some(mut gateway) = TestGateway::configured(PLAIN) else {
        return;
    };
    gateway.kill();
    assert!(gateway.path("state/control.sock").exists());
    gateway.run();
    assert_eq!(run_on(&gateway.path("state"), &["status"]).code, 0);
}

#[test]
fn folders_of_the_service_manager_are_used() {
    let Some(gateway) = TestGateway::unstarted(PLAIN) else {
        return;
    };
    let (state, run) = (gateway.path("s"), gateway.path("run"));
    fs::create_dir(&state).unwrap();
    let mut child = fieldgate()
        .args(["serve", "--config"])
        .arg(gateway.path("gateway.toml"))
        .env("STATE_DIRECTORY", &state)
        .env("RUNTIME_DIRECTORY", &run)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = BufReader::new(child.stderr.take().unwrap());
    assert!(
        log.lines()
            .map_while(Result::ok)
            .any(|line| line.contains("ready: "))
    );
    assert!(state.join("fieldgate.lock").exists());
    assert!(run.join("control.sock").exists());
    child.kill().unwrap();
    child.wait().unwrap();
}
