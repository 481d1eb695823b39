//! What the store costs: time and bytes of a commit, and the time of a start with much in it.
//!
//! `cargo bench --bench store [-- FOLDER [MESSAGES PER COMMIT]…]`; the folder has to be on a real disk for the bytes to mean anything.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use fieldgate::broker::{
    Batch, Change, DeliveryRecord, LoadRequest, Message, SessionRecord, StoreId,
    SubscriptionRecord, Timestamp,
};
use fieldgate::config::StoreSettings;
use fieldgate::mqtt::QoS;
use fieldgate::store::{Opened, Store};

const SESSIONS: u64 = 20;

#[expect(
    clippy::print_stdout,
    reason = "a measurement by hand prints what it measured"
)]
fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        // Run as a test: there is nothing to check.
        return;
    }
    let folder = arguments.iter().find(|argument| !argument.starts_with('-'));
    let root = folder.map_or_else(|| PathBuf::from("target"), PathBuf::from);
    println!("fsync of 4 KiB        {:>9.0} us", fsync_micros(&root));
    let only: Vec<u64> = arguments
        .iter()
        .filter_map(|text| text.parse().ok())
        .collect();
    if !only.is_empty() {
        for per_commit in only {
            println!("{}", commits(&root, per_commit, false));
            println!("{}", commits(&root, per_commit, true));
        }
        return;
    }
    for per_commit in [1, 10, 100, 500, 2000] {
        println!("{}", commits(&root, per_commit, false));
    }
    println!("{}", commits(&root, 500, true));
    println!("{}", start(&root));
    println!("{}", retained(&root));
}

fn folder(root: &Path) -> tempfile::TempDir {
    tempfile::Builder::new()
        .prefix("store-bench")
        .tempdir_in(root)
        .unwrap()
}

fn open(folder: &Path) -> Opened {
    let clock = Arc::new(fieldgate::clock::wall);
    Store::open(folder, &StoreSettings::default(), clock).unwrap()
}

/// The middle of 200 appended blocks, each on the disk before the next.
fn fsync_micros(root: &Path) -> f64 {
    use std::io::Write;
    let folder = folder(root);
    let mut file = std::fs::File::create(folder.path().join("x")).unwrap();
    let mut times: Vec<f64> = (0..200)
        .map(|_| {
            let start = fieldgate::clock::now();
            file.write_all(&[1; 4096]).unwrap();
            file.sync_data().unwrap();
            micros(start)
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[100]
}

fn micros(start: Instant) -> f64 {
    fieldgate::clock::now().duration_since(start).as_secs_f64() * 1e6
}

/// Bytes that this process has had written to disks.
fn written() -> u64 {
    let text = std::fs::read_to_string("/proc/self/io").unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes: "));
    line.unwrap().parse().unwrap()
}

fn session(id: u64) -> Change {
    Change::Session(Box::new(SessionRecord {
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
    }))
}

fn message(id: u64) -> Arc<Message> {
    let message = Message::new(
        &format!("bench/topic/{}", id % 100),
        Bytes::from_static(&[b'x'; 64]),
        Box::default(),
        QoS::AtLeastOnce,
        Timestamp::from_millis(id / 50),
        None,
    );
    Arc::new(message.with_store_id(id))
}

fn delivery(session: u64, number: u64, message: Arc<Message>) -> Change {
    Change::Delivery(Box::new(DeliveryRecord {
        session: StoreId::new(session),
        number,
        message,
        qos: QoS::AtLeastOnce,
        retain: false,
        identifiers: Box::default(),
        is_refusable: true,
    }))
}

fn batch(number: u64, changes: Vec<Change>) -> Batch {
    Batch {
        number,
        taken_at: Timestamp::from_millis(number * 10),
        changes,
    }
}

/// Messages for sessions that are away; with `drained`, each batch also ends what came some batches earlier.
fn commits(root: &Path, per_commit: u64, drained: bool) -> String {
    let folder = folder(root);
    let mut store = open(folder.path());
    let sessions = (1..=SESSIONS).map(session).collect();
    store.writer.commit(&batch(1, sessions)).unwrap();
    let total = (per_commit * 2000).min(400_000);
    let end = |id: u64| Change::DeliveryEnd(StoreId::new(id % SESSIONS + 1), id / SESSIONS + 1);
    let before = written();
    let mut id = 0;
    let mut times = Vec::new();
    let start = fieldgate::clock::now();
    while id < total {
        let first = id;
        let mut changes: Vec<Change> = (first..first + per_commit)
            .map(|id| delivery(id % SESSIONS + 1, id / SESSIONS + 1, message(id + 1)))
            .collect();
        if let Some(old) = first.checked_sub(10 * per_commit).filter(|_| drained) {
            changes.extend((old..old + per_commit).map(end));
        }
        id += per_commit;
        let batch = batch(id, changes);
        let begun = fieldgate::clock::now();
        store.writer.commit(&batch).unwrap();
        times.push(micros(begun));
        store.writer.housekeeping(false).unwrap();
    }
    let took = micros(start) / 1e6;
    let statistics = store.writer.close(Timestamp::default()).unwrap();
    times.sort_by(f64::total_cmp);
    format!(
        "commit of {per_commit:>4}{} {:>9.0} messages/s, {:>6.0} B/message on the device, {:>6.0} counted, commit p50 {:.0} us, p99 {:.0} us, {} checkpoints, file {} KiB",
        if drained { ", drained" } else { "         " },
        total as f64 / took,
        (written() - before) as f64 / total as f64,
        statistics.bytes as f64 / total as f64,
        times[times.len() / 2],
        times[times.len() * 99 / 100],
        statistics.checkpoints,
        statistics.database_bytes / 1024,
    )
}

/// A start with 100,000 sessions of two subscriptions and 1,000,000 messages, and the load of one session.
fn start(root: &Path) -> String {
    let folder = folder(root);
    let mut store = open(folder.path());
    let (sessions, messages) = (100_000, 1_000_000);
    let mut number = 1;
    for first in (1..=sessions).step_by(10_000) {
        let mut changes = Vec::new();
        for id in first..first + 10_000 {
            changes.push(session(id));
            for filter in ["a", "b"] {
                let subscription = SubscriptionRecord {
                    filter: format!("site/{id}/{filter}/#").into(),
                    qos: QoS::AtLeastOnce,
                    no_local: false,
                    retain_as_published: false,
                    identifier: 0,
                };
                changes.push(Change::Subscription(
                    StoreId::new(id),
                    Box::new(subscription),
                ));
            }
        }
        number += 1;
        store.writer.commit(&batch(number, changes)).unwrap();
        store.writer.housekeeping(false).unwrap();
    }
    for first in (0..messages).step_by(10_000) {
        let changes = (first..first + 10_000)
            .map(|id| delivery(id % sessions + 1, id / sessions + 1, message(id + 1)))
            .collect();
        number += 1;
        store.writer.commit(&batch(number, changes)).unwrap();
        store.writer.housekeeping(false).unwrap();
    }
    drop(store);
    let begun = fieldgate::clock::now();
    let store = open(folder.path());
    let took = micros(begun) / 1e6;
    let restored: u32 = store
        .restored
        .sessions
        .iter()
        .map(|session| session.deliveries)
        .sum();
    assert_eq!(
        (store.restored.sessions.len(), restored),
        (100_000, 1_000_000)
    );
    let mut reader = store.readers.open().unwrap();
    let begun = fieldgate::clock::now();
    let mut loaded = 0;
    for id in 1..=2_000 {
        let request = LoadRequest {
            session: StoreId::new(id),
            after: 0,
            deliveries_max: 1000,
            bytes_max: 1 << 20,
        };
        loaded += reader.load(&request).unwrap().len();
    }
    format!(
        "start with 100,000 sessions and 1,000,000 deliveries: {took:.2} s; loading: {:.0} deliveries/s",
        loaded as f64 / micros(begun) * 1e6
    )
}

fn retained(root: &Path) -> String {
    let folder = folder(root);
    let mut store = open(folder.path());
    for first in (0..100_000).step_by(1000) {
        let changes = (first..first + 1000)
            .map(|id: u64| {
                let message = Message::new(
                    &format!("site/{}/sensor/{id}", id % 1000),
                    Bytes::from_static(&[b'x'; 64]),
                    Box::default(),
                    QoS::AtLeastOnce,
                    Timestamp::from_millis(id),
                    None,
                );
                Change::Retained(Arc::new(message))
            })
            .collect();
        store.writer.commit(&batch(first + 1, changes)).unwrap();
        store.writer.housekeeping(false).unwrap();
    }
    drop(store);
    let begun = fieldgate::clock::now();
    let store = open(folder.path());
    assert_eq!(store.restored.retained.len(), 100_000);
    format!(
        "start with 100,000 retained messages: {:.2} s",
        micros(begun) / 1e6
    )
}
