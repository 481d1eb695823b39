//! The service manager: notifications, watchdog, and the units that are shipped.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::backends::eventually;
use crate::support::{Publish, TestGateway, V3_1_1, V5};

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
fn start_reload_and_stop_are_announced() {
    let Some(mut gateway) = TestGateway::configured(PLAIN) else {
        return;
    };

    gateway.signal(Signal::SIGHUP);
    let reloading = gateway.await_notification("RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    let ready = gateway.await_notification("READY=1");
    assert!(ready.contains("STATUS=serving 1 port"), "{ready}");

    gateway.signal(Signal::SIGTERM);
    let stopping = gateway.await_notification("STOPPING=1");
    assert!(stopping.contains("STATUS=stopping"), "{stopping}");
    assert!(
        stopping.contains("EXTEND_TIMEOUT_USEC=10000000"),
        "{stopping}"
    );
    assert!(gateway.await_end().success());
}

#[test]
fn manager_waits_while_keys_are_made() {
    let config = format!("{PLAIN}[est]\nhttps = \"127.0.0.1:0\"\n[ca]\nalgorithm = \"rsa3072\"\n");
    let Some(mut gateway) = TestGateway::unstarted(&config) else {
        return;
    };
    gateway.begin();
    let starting = gateway.await_notification("EXTEND_TIMEOUT_USEC=60000000");
    assert!(
        starting.contains("STATUS=starting: keys and certificates are made"),
        "{starting}"
    );
    // It is ready when they are there.
    gateway.await_notification("READY=1");
    let log = gateway.log();
    assert!(log.contains("a certificate authority was made"), "{log}");
}

#[test]
fn refused_file_shows_in_the_status() {
    let Some(mut gateway) = TestGateway::configured(PLAIN) else {
        return;
    };
    gateway.write_config("[[listener]\n");
    gateway.signal(Signal::SIGHUP);
    let ready = gateway.await_notification("READY=1");
    assert!(
        ready.contains("the changed configuration is not in force"),
        "{ready}"
    );
}

/// Its socket holds a few messages; the next one blocked the reload, and every one after it, for good.
#[test]
fn service_manager_that_does_not_read_keeps_nobody_waiting() {
    let Some(mut gateway) = TestGateway::configured(PLAIN) else {
        return;
    };
    let unread = "does not read what it is told";
    let mut reloads = 0;
    while !gateway.log().contains(unread) {
        gateway.control("reload");
        reloads += 1;
        assert!(reloads < 1000, "the socket takes everything");
    }
    gateway.control("reload");
    let mut client = gateway.v5("press-1");
    assert_eq!(client.ping(), []);
    gateway.signal(Signal::SIGTERM);
    assert!(gateway.await_end().success());
}

#[test]
fn clients_are_told_of_the_stop() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let Some(mut gateway) = TestGateway::configured(PLAIN) else {
            return;
        };
        let mut v5 = gateway.open(V5);
        let mut v3 = gateway.open(V3_1_1);
        v5.connect(&crate::support::Connect::new(V5, "five"));
        v3.connect(&crate::support::Connect::new(V3_1_1, "three"));
        gateway.signal(signal);
        v5.expect_disconnect(0x8B);
        v5.expect_closed();
        v3.expect_closed();
        assert!(gateway.await_end().success());
    }
}

#[test]
fn second_signal_ends_at_once() {
    let Some(mut gateway) = TestGateway::with_limits("stop_timeout = \"10 min\"") else {
        return;
    };
    let mut stuck = gateway.v5("stuck");
    stuck.subscribe("flood", 0);
    let mut publisher = gateway.v5("publisher");
    for _ in 0..200 {
        publisher.send_publish(&Publish::new("flood", vec![0; 60_000]));
    }
    assert_eq!(publisher.ping(), []);
    gateway.signal(Signal::SIGTERM);
    gateway.await_notification("STOPPING=1");
    gateway.signal(Signal::SIGINT);
    assert!(gateway.await_end().success());
    assert!(
        gateway.log().contains("because of a second SIGINT"),
        "{}",
        gateway.log()
    );
}

#[test]
fn watchdog_is_fed_while_the_core_answers() {
    let Some(mut gateway) = TestGateway::unstarted(PLAIN) else {
        return;
    };
    gateway.add_variable("WATCHDOG_USEC", "200000");
    gateway.run();
    for _ in 0..3 {
        gateway.await_notification("WATCHDOG=1");
    }
}

/// Waits until no thread runs any more; the signal reaches each of them in its own time.
fn await_stop(pid: u32) {
    // Behind the name of the program, which may hold anything. A thread may end while we look.
    let is_stopped = |task: fs::DirEntry| {
        fs::read_to_string(task.path().join("stat")).is_ok_and(|stat| {
            stat.rsplit_once(") ")
                .is_some_and(|(_, state)| state.starts_with('T'))
        })
    };
    eventually("the process stops", || {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("its threads");
        tasks.map(|task| task.expect("a thread")).all(is_stopped)
    });
}

#[test]
fn stopped_process_does_not_feed_the_watchdog() {
    let Some(mut gateway) = TestGateway::unstarted(PLAIN) else {
        return;
    };
    gateway.add_variable("WATCHDOG_USEC", "200000");
    gateway.run();
    gateway.await_notification("WATCHDOG=1");
    gateway.signal(Signal::SIGSTOP);
    await_stop(gateway.pid());
    gateway.forget_notifications();
    assert_eq!(
        gateway.notification_within(Duration::from_millis(600)),
        None
    );
    gateway.signal(Signal::SIGCONT);
    gateway.await_notification("WATCHDOG=1");
}

#[test]
fn unit_is_sandboxed() {
    let said = systemd_analyze(&[
        "security",
        "--offline=true",
        "--threshold=15",
        "systemd/fieldgate.service",
    ]);
    let text = String::from_utf8_lossy(&said.stdout);
    assert!(
        said.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&said.stderr)
    );
}

#[test]
fn units_are_understood() {
    let tree = tempfile::tempdir().unwrap();
    let at = |path: &str| tree.path().join(path);
    fs::create_dir_all(at("usr/bin")).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_fieldgate"), at("usr/bin/fieldgate")).unwrap();
    copy_folder(
        Path::new("/lib/systemd/system"),
        &at("usr/lib/systemd/system"),
    );
    for unit in ["fieldgate.service", "fieldgate.socket"] {
        fs::copy(
            Path::new("systemd").join(unit),
            at("usr/lib/systemd/system").join(unit),
        )
        .unwrap();
        let root = format!("--root={}", tree.path().display());
        let said = systemd_analyze(&["verify", "--man=no", &root, unit]);
        let text = String::from_utf8_lossy(&said.stderr);
        let ours: Vec<_> = text
            .lines()
            .filter(|line| line.contains("fieldgate"))
            .collect();
        assert!(said.status.success() && ours.is_empty(), "{unit}: {text}");
    }
}

/// Runs Debian's systemd-analyze; scripts/test installs it.
fn systemd_analyze(args: &[&str]) -> Output {
    Command::new("systemd-analyze")
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("systemd-analyze of the package systemd")
}

/// The unit files right in a folder.
fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).expect("the units of systemd") {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
}
