//! A store on real files: what is committed comes back, whatever happened in between.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::broker::{
    Batch, Change, DeliveryRecord, LoadRequest, LoadedDelivery, Message, RestoredSession,
    SessionRecord, StoreId, SubscriptionRecord, Timestamp, WillRecord,
};
use crate::mqtt::{PacketId, QoS};

/// A wall clock that was set: some time in 2026.
const WALL: u64 = 1_780_000_000_000;

/// A state folder and a wall clock.
pub(super) struct Rig {
    pub(super) folder: TempDir,
    pub(super) wall: Arc<AtomicU64>,
    batches: u64,
}

/// A folder in memory where there is one: these tests are about content, and wait for no disk.
fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

impl Rig {
    pub(super) fn new() -> Self {
        Self {
            folder: folder(),
            wall: Arc::new(AtomicU64::new(WALL)),
            batches: 0,
        }
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn clock(&self) -> WallClock {
        let wall = Arc::clone(&self.wall);
        Arc::new(move || UNIX_EPOCH + Duration::from_millis(wall.load(Ordering::Relaxed)))
    }

    pub(super) fn try_open(&self) -> Result<Opened, StoreError> {
        Store::open(self.path(), &StoreSettings::default(), self.clock())
    }

    pub(super) fn open(&self) -> Opened {
        let opened = self.try_open().unwrap();
        assert_eq!(opened.condition, Condition::Sound);
        opened
    }

    pub(super) fn batch(&mut self, changes: Vec<Change>) -> Batch {
        self.batches += 1;
        Batch {
            number: self.batches,
            taken_at: Timestamp::from_millis(self.batches * 1000),
            changes,
        }
    }

    pub(super) fn commit(&mut self, store: &mut Opened, changes: Vec<Change>) {
        let batch = self.batch(changes);
        store.writer.commit(&batch).unwrap();
    }
}

pub(super) fn record(id: u64, client_id: &str) -> SessionRecord {
    SessionRecord {
        id: StoreId::new(id),
        client_id: client_id.into(),
        mount_point: "plant/".into(),
        owner: "someone".into(),
        endpoint: "127.0.0.1:1883".into(),
        expiry_interval: 3600,
        expires_at: None,
        sent_through: 7,
        window: 20,
        will: None,
    }
}

pub(super) fn session(id: u64) -> Change {
    Change::Session(Box::new(record(id, &format!("client-{id}"))))
}

pub(super) fn subscription(filter: &str) -> SubscriptionRecord {
    SubscriptionRecord {
        filter: filter.into(),
        qos: QoS::ExactlyOnce,
        no_local: true,
        retain_as_published: true,
        identifier: 268_435_455,
    }
}

pub(super) fn message(id: u64, payload: &[u8]) -> Arc<Message> {
    let message = Message::new(
        &format!("topic/{id}"),
        Bytes::copy_from_slice(payload),
        Box::from(*b"\x01\x01"),
        QoS::AtLeastOnce,
        Timestamp::from_millis(500 + id),
        Some(Timestamp::from_millis(900_000_000)),
    );
    Arc::new(message.with_store_id(id))
}

pub(super) fn delivery(session: u64, number: u64, message: &Arc<Message>) -> Change {
    Change::Delivery(Box::new(DeliveryRecord {
        session: StoreId::new(session),
        number,
        message: Arc::clone(message),
        qos: QoS::AtLeastOnce,
        retain: number.is_multiple_of(2),
        identifiers: (0..u32::try_from(number % 3).unwrap()).collect(),
        is_refusable: true,
    }))
}

fn end(session: u64, number: u64) -> Change {
    Change::DeliveryEnd(StoreId::new(session), number)
}

pub(super) fn all(session: u64) -> LoadRequest {
    LoadRequest {
        session: StoreId::new(session),
        after: 0,
        deliveries_max: u32::MAX,
        bytes_max: u64::MAX,
    }
}

pub(super) fn load(store: &Opened, session: u64) -> Vec<LoadedDelivery> {
    store.readers.open().unwrap().load(&all(session)).unwrap()
}

fn numbers(loaded: &[LoadedDelivery]) -> Vec<u64> {
    loaded.iter().map(|delivery| delivery.number).collect()
}

/// Messages with the number of deliveries that they say need them.
pub(super) fn messages(folder: &Path) -> Vec<(i64, i64)> {
    let connection = schema::open_reading(&folder.join(schema::FILE_NAME)).unwrap();
    let mut statement = connection
        .prepare("SELECT id, refs FROM message ORDER BY id")
        .unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.unwrap().map(Result::unwrap).collect()
}

fn only(restored: &Restored) -> &RestoredSession {
    assert_eq!(restored.sessions.len(), 1);
    &restored.sessions[0]
}

#[test]
fn session_comes_back_as_it_was() {
    let mut rig = Rig::new();
    let mut store = rig.open();
    let mut with_will = record(3, "pump/7 ü");
    with_will.expires_at = Some(Timestamp::from_millis(50_000_000));
    with_will.will = Some(WillRecord {
        topic: "plant/gone".into(),
        payload: Bytes::from_static(b"\0\xff"),
        forwarded: Box::from(*b"\x01\x01"),
        qos: QoS::ExactlyOnce,
        retain: true,
        expiry_interval: Some(5),
        delay_interval: 30,
        due_at: Some(Timestamp::from_millis(31_000)),
    });
    let changes = vec![
        session(3),
        Change::Session(Box::new(with_will.clone())),
        Change::Subscription(StoreId::new(3), Box::new(subscription("b/#"))),
        Change::Subscription(StoreId::new(3), Box::new(subscription("$share/x/a"))),
        Change::Subscription(StoreId::new(3), Box::new(subscription("gone"))),
        Change::SubscriptionEnd(StoreId::new(3), "gone".into()),
        Change::Received(StoreId::new(3), PacketId::MAX),
        Change::Received(StoreId::new(3), PacketId::MIN),
        Change::Received(StoreId::new(3), PacketId::new(8).unwrap()),
        Change::ReceivedEnd(StoreId::new(3), PacketId::new(8).unwrap()),
    ];
    rig.commit(&mut store, changes);
    drop(store);

    let store = rig.open();
    let session = only(&store.restored);
    assert_eq!(session.record, with_will);
    let subscriptions = [subscription("$share/x/a"), subscription("b/#")];
    assert_eq!(session.subscriptions, subscriptions);
    assert_eq!(session.received, [PacketId::MIN, PacketId::MAX]);
    assert_eq!((session.deliveries, session.last_number), (0, 0));
    assert!(store.restored.next_session > 3);
}

#[test]
fn deliveries_come_back_in_order_and_are_counted() {
    let mut rig = Rig::new();
    let mut store = rig.open();
    let (first, second) = (message(1, b"one"), message(2, b""));
    let changes = vec![
        session(1),
        session(2),
        delivery(1, 65_536, &second),
        delivery(1, 4, &first),
        delivery(2, 1, &first),
    ];
    rig.commit(&mut store, changes);
    rig.commit(&mut store, vec![delivery(2, 2, &second)]);
    assert_eq!(messages(rig.path()), [(1, 2), (2, 2)]);
    drop(store);

    let store = rig.open();
    let counted = &store.restored.sessions[0];
    assert_eq!((counted.deliveries, counted.last_number), (2, 65_536));
    assert_eq!(
        counted.delivery_bytes,
        first.stored_bytes() + second.stored_bytes()
    );
    assert_eq!(store.restored.next_message, 3);
    let loaded = load(&store, 1);
    assert_eq!(numbers(&loaded), [4, 65_536]);
    let back = loaded[0].message.as_ref().unwrap();
    assert_eq!((back.topic(), back.payload()), ("topic/1", &b"one"[..]));
    assert_eq!((back.store_id(), back.forwarded()), (1, first.forwarded()));
    assert_eq!(back.received_at(), first.received_at());
    assert_eq!(back.expires_at(), first.expires_at());
    assert_eq!(back.qos(), QoS::AtLeastOnce);
    assert_eq!(loaded[0].bytes, first.stored_bytes());
    assert!(loaded[0].retain);
    assert_eq!(*loaded[0].identifiers, [0]);
    assert_eq!(loaded[1].message.as_ref().unwrap().payload(), b"");
}

#[test]
fn message_goes_with_the_last_delivery_that_needs_it() {
    let mut rig = Rig::new();
    let mut store = rig.open();
    let shared = message(9, b"shared");
    let mut changes: Vec<Change> = (1..=4).map(session).collect();
    changes.extend((1..=3).map(|id| delivery(id, 1, &shared)));
    changes.push(end(3, 1));
    rig.commit(&mut store, changes);
    assert_eq!(messages(rig.path()), [(9, 2)]);
    rig.commit(&mut store, vec![delivery(4, 1, &shared), end(1, 1)]);
    assert_eq!(messages(rig.path()), [(9, 2)]);
    let released = Change::DeliveryReleased(StoreId::new(2), 1);
    rig.commit(&mut store, vec![released]);
    assert_eq!(messages(rig.path()), [(9, 1)]);
    rig.commit(&mut store, vec![end(4, 1)]);
    assert_eq!(messages(rig.path()), []);

    let loaded = load(&store, 2);
    assert_eq!(numbers(&loaded), [1]);
    assert!(loaded[0].message.is_none());
    assert_eq!(loaded[0].bytes, shared.stored_bytes());
    rig.commit(&mut store, vec![end(2, 1), end(2, 1)]);
    assert!(load(&store, 2).is_empty());
}

#[test]
fn message_that_comes_and_goes_in_one_batch_is_never_written() {
    let mut rig = Rig::new();
    let mut store = rig.open();
    let changes = vec![
        session(1),
        delivery(1, 1, &message(1, b"x")),
        end(1, 1),
        Change::Withdrawn,
    ];
    rig.commit(&mut store, changes);
    assert_eq!(messages(rig.path()), []);
}

#[test]
fn oldest_behind_a_number_makes_room() {
    let mut rig = Rig::new();
    let mut store = rig.open();
    let mut changes = vec![session(1)];
    changes.extend((1..=5).map(|number| delivery(1, number, &message(number, b"x"))));
    rig.commit(&mut store, changes);
    let dropped = |after| Change::OldestDropped(StoreId::new(1), after);
    rig.commit(
        &mut store,
        vec![dropped(2), dropped(2), dropped(0), dropped(9)],
    );
    assert_eq!(numbers(&load(&store, 1)), [2, 5]);
    assert_eq!(messages(rig.path()), [(2, 1), (5, 1)]);
}

#[test]
fn session_takes_all_that_belongs_to_it_along() {
    let mut rig = Rig::new();
    let mut store = rig.open();
    let shared = message(1, b"x");
    let changes = vec![
        session(1),
        session(2),
        Change::Subscription(StoreId::new(1), Box::new(subscription("a"))),
        Change::Received(StoreId::new(1), PacketId::MIN),
        delivery(1, 1, &shared),
        delivery(2, 1, &shared),
    ];
    rig.commit(&mut store, changes);
    rig.commit(&mut store, vec![Change::SessionEnd(StoreId::new(1))]);
    assert_eq!(messages(rig.path()), [(1, 1)]);
    rig.commit(&mut store, vec![Change::SessionEnd(StoreId::new(2))]);
    assert_eq!(messages(rig.path()), []);
    drop(store);

    let store = rig.open();
    assert!(store.restored.sessions.is_empty());
    assert!(store.restored.next_session > 2, "numbers are given once");
}

#[test]
fn last_word_about_a_topic_is_kept() {
    let mut rig = Rig::new();
    let mut store = rig.open();
    let gone = || Change::RetainedEnd("topic/1".into());
    let changes = vec![
        Change::Retained(message(1, b"old")),
        gone(),
        Change::Retained(message(1, b"new")),
        Change::Retained(message(2, b"kept")),
    ];
    rig.commit(&mut store, changes);
    rig.commit(&mut store, vec![Change::Retained(message(2, b""))]);
    drop(store);

    let mut store = rig.open();
    let mut retained: Vec<_> = store.restored.retained.iter().collect();
    retained.sort_by_key(|message| message.topic());
    assert_eq!(retained[0].payload(), b"new");
    assert_eq!(retained[1].payload(), b"");
    assert_eq!(retained[1].forwarded(), message(2, b"").forwarded());
    rig.commit(&mut store, vec![gone()]);
    drop(store);
    assert_eq!(rig.open().restored.retained.len(), 1);
}

#[test]
fn batch_that_fails_half_way_leaves_nothing() {
    let mut rig = Rig::new();
    let mut store = rig.open();
    rig.commit(
        &mut store,
        vec![session(1), delivery(1, 1, &message(1, b"before"))],
    );
    {
        let other = schema::open_writing(store.writer.path()).unwrap();
        other
            .execute_batch("ALTER TABLE retained RENAME TO hidden")
            .unwrap();
    }
    let changes = vec![
        session(2),
        delivery(1, 2, &message(2, b"lost")),
        end(1, 1),
        Change::Retained(message(3, b"x")),
    ];
    let batch = rig.batch(changes);
    store.writer.commit(&batch).unwrap_err();
    assert_eq!(numbers(&load(&store, 1)), [1]);
    assert_eq!(messages(rig.path()), [(1, 1)]);
    {
        let other = schema::open_writing(store.writer.path()).unwrap();
        other
            .execute_batch("ALTER TABLE hidden RENAME TO retained")
            .unwrap();
    }
    store.writer.commit(&batch).unwrap();
    assert_eq!(numbers(&load(&store, 1)), [2]);
    let statistics = store.writer.statistics();
    assert_eq!((statistics.commits, statistics.failures), (2, 1));
}

#[test]
fn load_takes_pages_by_number_and_bytes() {
    let mut rig = Rig::new();
    let mut store = rig.open();
    let mut changes = vec![
        session(1),
        session(2),
        delivery(2, 1, &message(100, b"other")),
    ];
    changes.extend((1..=10).map(|number| delivery(1, number, &message(number, &[7; 1000]))));
    rig.commit(&mut store, changes);
    let mut reader = store.readers.open().unwrap();
    let mut page = |after, deliveries_max, bytes_max| {
        let request = LoadRequest {
            after,
            deliveries_max,
            bytes_max,
            ..all(1)
        };
        numbers(&reader.load(&request).unwrap())
    };
    assert_eq!(page(0, 3, u64::MAX), [1, 2, 3]);
    assert_eq!(page(8, 3, u64::MAX), [9, 10]);
    assert_eq!(page(3, 100, 1), [4]);
    assert_eq!(page(3, 100, 2_000), [4, 5]);
    assert!(page(10, 100, 2_000).is_empty());
}

#[test]
fn reader_sees_what_is_committed_while_it_is_open() {
    let mut rig = Rig::new();
    let mut store = rig.open();
    let mut reader = store.readers.open().unwrap();
    assert!(reader.load(&all(1)).unwrap().is_empty());
    rig.commit(
        &mut store,
        vec![session(1), delivery(1, 1, &message(1, b"x"))],
    );
    assert_eq!(numbers(&reader.load(&all(1)).unwrap()), [1]);
    store.writer.checkpoint().unwrap();
    assert_eq!(numbers(&reader.load(&all(1)).unwrap()), [1]);
}

#[test]
fn large_messages_survive() {
    let mut rig = Rig::new();
    let mut store = rig.open();
    let payload: Vec<u8> = (0..3_000_000_u32).map(|n| (n >> 3) as u8).collect();
    rig.commit(
        &mut store,
        vec![session(1), delivery(1, 1, &message(1, &payload))],
    );
    rig.commit(&mut store, vec![Change::Retained(message(2, &payload))]);
    drop(store);
    let store = rig.open();
    assert_eq!(
        load(&store, 1)[0].message.as_ref().unwrap().payload(),
        payload
    );
    assert_eq!(store.restored.retained[0].payload(), payload);
}

#[test]
fn deliveries_are_the_same_before_and_after_they_are_sorted_in() {
    let mut rig = Rig::new();
    let mut store = rig.open();
    let mut reader = store.readers.open().unwrap();
    let mut changes = vec![session(1), session(2)];
    changes.extend((1..=6).map(|number| delivery(1, number, &message(number, b"early"))));
    rig.commit(&mut store, changes);
    rig.commit(&mut store, vec![delivery(2, 1, &message(7, b"other"))]);
    assert_eq!(numbers(&reader.load(&all(1)).unwrap()), [1, 2, 3, 4, 5, 6]);
    store.writer.sort_in().unwrap();
    assert_eq!(numbers(&reader.load(&all(1)).unwrap()), [1, 2, 3, 4, 5, 6]);

    let mut changes: Vec<Change> = (8..=10)
        .map(|number| delivery(1, number, &message(number + 10, b"late")))
        .collect();
    changes.extend([
        end(1, 2),
        end(1, 9),
        Change::OldestDropped(StoreId::new(1), 3),
    ]);
    changes.push(Change::OldestDropped(StoreId::new(1), 8));
    changes.extend([5, 8].map(|number| Change::DeliveryReleased(StoreId::new(1), number)));
    rig.commit(&mut store, changes);
    let loaded = reader.load(&all(1)).unwrap();
    assert_eq!(numbers(&loaded), [1, 3, 5, 6, 8]);
    let has_message: Vec<bool> = loaded.iter().map(|one| one.message.is_some()).collect();
    assert_eq!(has_message, [true, true, false, true, false]);
    let request = LoadRequest {
        after: 3,
        deliveries_max: 3,
        ..all(1)
    };
    assert_eq!(numbers(&reader.load(&request).unwrap()), [5, 6, 8]);
    assert_eq!(messages(rig.path()), [(1, 1), (3, 1), (6, 1), (7, 1)]);
    drop((store, reader));

    let mut store = rig.open();
    assert_eq!(numbers(&load(&store, 1)), [1, 3, 5, 6, 8]);
    assert_eq!(store.restored.sessions[0].deliveries, 5);
    rig.commit(&mut store, vec![Change::SessionEnd(StoreId::new(1))]);
    assert_eq!(messages(rig.path()), [(7, 1)]);
}

#[test]
fn batch_that_fails_leaves_the_places_of_deliveries_as_they_were() {
    let mut rig = Rig::new();
    let mut store = rig.open();
    rig.commit(
        &mut store,
        vec![session(1), delivery(1, 1, &message(1, b"x"))],
    );
    let other = schema::open_writing(store.writer.path()).unwrap();
    other
        .execute_batch("ALTER TABLE retained RENAME TO hidden")
        .unwrap();
    let changes = vec![
        end(1, 1),
        delivery(1, 2, &message(2, b"y")),
        Change::Retained(message(3, b"z")),
    ];
    let batch = rig.batch(changes);
    store.writer.commit(&batch).unwrap_err();
    store.writer.commit(&batch).unwrap_err();
    other
        .execute_batch("ALTER TABLE hidden RENAME TO retained")
        .unwrap();
    assert_eq!(numbers(&load(&store, 1)), [1]);
    store.writer.commit(&batch).unwrap();
    assert_eq!(numbers(&load(&store, 1)), [2]);
    store.writer.sort_in().unwrap();
    rig.commit(&mut store, vec![end(1, 2)]);
    assert_eq!(messages(rig.path()), []);
}

#[test]
fn files_that_are_taken_away_are_missed() {
    let mut rig = Rig::new();
    let mut store = rig.open();
    rig.commit(&mut store, vec![session(1)]);
    assert!(store.writer.is_in_place());

    let other = Connection::open(rig.path().join(schema::FILE_NAME)).unwrap();
    other
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    assert!(store.writer.is_in_place(), "all is in the database");

    rig.commit(&mut store, vec![session(2)]);
    let log = rig.path().join("gateway.db-wal");
    let file = std::fs::OpenOptions::new().write(true).open(&log).unwrap();
    let length = file.metadata().unwrap().len();
    file.set_len(0).unwrap();
    assert!(!store.writer.is_in_place(), "a log that was cut");
    file.set_len(length).unwrap();
    assert!(store.writer.is_in_place());

    std::fs::remove_file(rig.path().join(schema::FILE_NAME)).unwrap();
    assert!(!store.writer.is_in_place(), "a database that was removed");
}

#[test]
fn backup_takes_the_place_of_no_file_of_the_gateway() {
    let rig = Rig::new();
    let _store = rig.open();
    for name in [
        "gateway.db",
        "gateway.db-wal",
        "gateway.reserve",
        "fieldgate.lock",
    ] {
        let error = backup(rig.path(), &rig.path().join(name)).unwrap_err();
        assert!(
            matches!(error, StoreError::Target { .. }),
            "{name}: {error}"
        );
    }
    backup(rig.path(), &rig.path().join("mine.db")).unwrap();
}
