//! What a store makes of the time that has passed, and of a database that it must not touch.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::tests::{Rig, delivery, message, messages, record, session};
use super::*;
use crate::broker::{Change, Message, Timestamp, WillRecord};
use crate::mqtt::QoS;

#[test]
fn time_goes_on_over_restarts() {
    let mut rig = Rig::new();
    let mut store = rig.open();
    assert_eq!(store.restored.now, Timestamp::default());
    rig.commit(&mut store, vec![session(1)]);
    store.writer.close(Timestamp::from_millis(5_000)).unwrap();
    rig.wall.fetch_add(60_000, Ordering::Relaxed);
    let store = rig.open();
    assert_eq!(store.restored.now, Timestamp::from_millis(65_000));
    // Killed here: the wall clock is the only witness, unless it runs backwards.
    drop(store);
    rig.wall.fetch_sub(30_000, Ordering::Relaxed);
    assert_eq!(rig.open().restored.now, Timestamp::from_millis(35_000));
    rig.wall.fetch_sub(60_000, Ordering::Relaxed);
    assert_eq!(rig.open().restored.now, Timestamp::from_millis(5_000));
}

#[test]
fn time_is_never_before_the_last_message() {
    let mut rig = Rig::new();
    let mut store = rig.open();
    let late = Message::new(
        "t",
        Bytes::new(),
        Box::default(),
        QoS::AtMostOnce,
        Timestamp::from_millis(7_777),
        None,
    );
    rig.commit(&mut store, vec![Change::Retained(Arc::new(late))]);
    drop(store);
    rig.wall.store(0, Ordering::Relaxed);
    assert_eq!(rig.open().restored.now, Timestamp::from_millis(7_777));
}

#[test]
fn what_is_over_at_the_start_is_gone() {
    let mut rig = Rig::new();
    let mut store = rig.open();
    let expiring = |id, will: bool| {
        let mut record = record(id, &format!("client-{id}"));
        record.expires_at = Some(Timestamp::from_millis(20_000));
        record.will = will.then(|| WillRecord {
            topic: "t".into(),
            payload: Bytes::new(),
            forwarded: Box::default(),
            qos: QoS::AtMostOnce,
            retain: false,
            expiry_interval: None,
            delay_interval: 0,
            due_at: None,
        });
        Change::Session(Box::new(record))
    };
    let brief = Message::new(
        "brief",
        Bytes::new(),
        Box::default(),
        QoS::AtMostOnce,
        Timestamp::default(),
        Some(Timestamp::from_millis(20_000)),
    );
    let changes = vec![
        expiring(1, false),
        expiring(2, true),
        session(3),
        delivery(1, 1, &message(1, b"x")),
        delivery(77, 1, &message(2, b"belongs to nobody")),
        Change::Retained(Arc::new(brief)),
    ];
    rig.commit(&mut store, changes);
    store.writer.close(Timestamp::from_millis(2_000)).unwrap();

    rig.wall.fetch_add(60_000, Ordering::Relaxed);
    let store = rig.open();
    let ids = |restored: &Restored| -> Vec<u64> {
        restored
            .sessions
            .iter()
            .map(|session| session.record.id.get())
            .collect()
    };
    assert_eq!(
        ids(&store.restored),
        [2, 3],
        "a will has still to be published"
    );
    assert!(store.restored.retained.is_empty());
    assert_eq!(messages(rig.path()), []);
}

#[test]
fn newer_database_is_left_alone() {
    let rig = Rig::new();
    drop(rig.open());
    let path = rig.path().join(schema::FILE_NAME);
    let connection = schema::open_writing(&path).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    super::put::write_meta(&connection, schema::READABLE_KEY, 99).unwrap();
    drop(connection);
    let before = std::fs::read(&path).unwrap();
    let error = rig.try_open().unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::Newer {
                found: 99,
                known: schema::VERSION,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains("gateway.db"));
    assert_eq!(std::fs::read(&path).unwrap(), before);
}
