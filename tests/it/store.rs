//! The store from the command line: backup, restore, check, statistics.

use std::path::Path;
use std::sync::Arc;

use fieldgate::broker::{Batch, Change, SessionRecord, StoreId, Timestamp};
use fieldgate::config::StoreSettings;
use fieldgate::gateway::StateLock;
use fieldgate::store::{Opened, Store};
use serde_json::Value;

use crate::support::command::run_on;

fn open(folder: &Path) -> Opened {
    let clock = Arc::new(fieldgate::clock::wall);
    Store::open(folder, &StoreSettings::default(), clock).expect("open the store")
}

fn add_session(store: &mut Opened, id: u64) {
    let record = SessionRecord {
        id: StoreId::new(id),
        client_id: format!("client-{id}").into(),
        mount_point: "".into(),
        owner: "".into(),
        endpoint: "127.0.0.1:1883".into(),
        expiry_interval: u32::MAX,
        expires_at: None,
        sent_through: 0,
        window: 0,
        will: None,
    };
    let batch = Batch {
        number: id,
        taken_at: Timestamp::from_millis(id),
        changes: vec![Change::Session(Box::new(record))],
    };
    store.writer.commit(&batch).expect("commit");
}

fn sessions(folder: &Path) -> u64 {
    let said = run_on(folder, &["store", "stats", "--json"]);
    assert_eq!((said.code, said.stderr.as_str()), (0, ""));
    let stats: Value = serde_json::from_str(&said.stdout).expect("JSON");
    stats["sessions"].as_u64().expect("a number")
}

#[test]
fn backup_is_made_while_the_store_is_in_use_and_restored_when_it_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let file = folder.path().join("gw.db");
    let path = file.to_str().unwrap();
    let lock = StateLock::acquire(&state).unwrap();
    let mut store = open(&state);
    add_session(&mut store, 1);
    let said = run_on(&state, &["backup", path]);
    assert_eq!((said.code, said.stderr.as_str()), (0, ""));
    assert!(said.stdout.contains("1 sessions"), "{}", said.stdout);
    add_session(&mut store, 2);
    assert_eq!(sessions(&state), 2);

    let said = run_on(&state, &["restore", path]);
    assert_eq!((said.code, said.stdout.as_str()), (1, ""));
    assert!(said.stderr.contains("in use"), "{}", said.stderr);
    assert!(
        said.stderr.contains("hint: stop the gateway"),
        "{}",
        said.stderr
    );

    drop((store, lock));
    let said = run_on(&state, &["restore", path]);
    assert_eq!((said.code, said.stderr.as_str()), (0, ""));
    assert!(said.stdout.contains("replaced-"), "{}", said.stdout);
    assert_eq!(sessions(&state), 1);
}

#[test]
fn check_tells_sound_from_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    add_session(&mut store, 1);
    store.writer.close(Timestamp::from_millis(5)).unwrap();
    let said = run_on(folder.path(), &["store", "check"]);
    assert_eq!((said.code, said.stderr.as_str()), (0, ""));
    assert!(said.stdout.starts_with("The database is sound: 1 sessions"));
    let said = run_on(folder.path(), &["store", "stats"]);
    assert!(
        said.stdout
            .contains("sessions           1 with 0 subscriptions"),
        "{}",
        said.stdout
    );

    let path = folder.path().join("gateway.db");
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes
        .windows(8)
        .position(|part| part == b"client-1")
        .unwrap();
    bytes[at] = b'C';
    std::fs::write(&path, bytes).unwrap();
    let said = run_on(folder.path(), &["store", "check", "--json"]);
    assert_eq!(said.code, 1);
    let report: Value = serde_json::from_str(&said.stdout).expect("JSON");
    let fault = report["faults"][0].as_str().expect("a text");
    assert_eq!(fault, "1 rows of the table `session` are damaged");
    assert!(said.stderr.contains("hint:"), "{}", said.stderr);
}

#[test]
fn commands_about_no_store_say_so() {
    let folder = tempfile::tempdir().unwrap();
    for args in [
        &["store", "check"][..],
        &["store", "stats"],
        &["backup", "/tmp/never"],
    ] {
        let said = run_on(folder.path(), args);
        assert_eq!((said.code, said.stdout.as_str()), (1, ""), "{args:?}");
        assert!(said.stderr.contains("gateway.db"), "{}", said.stderr);
        assert!(said.stderr.contains("no such file"), "{}", said.stderr);
    }
}
