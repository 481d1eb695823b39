//! Databases that are damaged, full or half done: a store opens, and what it holds is what was stored.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::tests::{Rig, all, delivery, load, message, record, session, subscription};
use super::*;
use crate::broker::{Change, Message, StoreId, Timestamp};
use crate::mqtt::{PacketId, QoS};

const SESSIONS: u64 = 12;
const MESSAGES: u64 = 400;

/// A payload that can be told from every other and that says itself whether it is whole.
fn payload(id: u64) -> Vec<u8> {
    let length = if id.is_multiple_of(50) {
        9000
    } else {
        40 + id % 200
    };
    let mut payload: Vec<u8> = (0..length).map(|at| (at * 31 + id * 7) as u8).collect();
    payload.extend(id.to_le_bytes());
    payload.extend(checksum(&payload).to_le_bytes());
    payload
}

fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(2_166_136_261, |sum: u32, byte| {
        (sum ^ u32::from(*byte)).wrapping_mul(16_777_619)
    })
}

fn is_whole(id: u64, found: &[u8]) -> bool {
    let (rest, sum) = found.split_last_chunk::<4>().unwrap();
    found == payload(id) && checksum(rest) == u32::from_le_bytes(*sum)
}

fn retained(number: u64, payload: &[u8]) -> Change {
    Change::Retained(Arc::new(Message::new(
        &format!("kept/{number}"),
        Bytes::copy_from_slice(payload),
        Box::default(),
        QoS::AtLeastOnce,
        Timestamp::from_millis(number),
        None,
    )))
}

/// The files of a gateway that was killed: a part is in the database, a part only in the log.
fn killed() -> (Vec<u8>, Vec<u8>) {
    let mut rig = Rig::new();
    let mut store = rig.open();
    for id in 1..=SESSIONS {
        let changes = vec![
            session(id),
            Change::Subscription(StoreId::new(id), Box::new(subscription(&format!("a/{id}")))),
            Change::Received(StoreId::new(id), PacketId::MIN),
        ];
        rig.commit(&mut store, changes);
    }
    for id in 1..=MESSAGES {
        let shared = message(id, &payload(id));
        let mut changes = vec![delivery(id % SESSIONS + 1, id, &shared)];
        if id.is_multiple_of(5) {
            changes.push(delivery((id + 1) % SESSIONS + 1, id, &shared));
        }
        if id > 100 && id.is_multiple_of(3) {
            let old = id - 100;
            changes.push(Change::DeliveryEnd(StoreId::new(old % SESSIONS + 1), old));
        }
        changes.push(retained(id % 60, &payload(id % 60)));
        rig.commit(&mut store, changes);
        if id == MESSAGES * 3 / 4 {
            store.writer.checkpoint().unwrap();
        }
    }
    let path = store.writer.path();
    let log = schema::beside(path, "-wal");
    (fs::read(path).unwrap(), fs::read(log).unwrap())
}

/// A generator whose cases can be repeated.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(end).unwrap()).unwrap()
    }
}

fn put(folder: &Path, database: &[u8], log: &[u8]) {
    fs::write(folder.join(schema::FILE_NAME), database).unwrap();
    if !log.is_empty() {
        fs::write(folder.join("gateway.db-wal"), log).unwrap();
    }
}

/// Everything that a store gives back was stored. Returns how many deliveries it gave.
fn assert_only_what_was_stored(store: &Opened, case: &str) -> u64 {
    let mut count = 0;
    let mut reader = store.readers.open().unwrap();
    for session in &store.restored.sessions {
        let id = session.record.id.get();
        assert_eq!(
            session.record,
            record(id, &format!("client-{id}")),
            "{case}"
        );
        for found in &session.subscriptions {
            assert_eq!(*found, subscription(&format!("a/{id}")), "{case}");
        }
        assert!(
            session.received.iter().all(|found| *found == PacketId::MIN),
            "{case}"
        );
        let loaded = reader
            .load(&all(id))
            .unwrap_or_else(|error| panic!("{case}: {error}"));
        for delivery in &loaded {
            let message = delivery.message.as_ref().unwrap();
            assert_eq!(message.store_id(), delivery.number, "{case}");
            assert!(is_whole(delivery.number, message.payload()), "{case}");
            let is_its = [id, (id + 10) % SESSIONS + 1].contains(&(delivery.number % SESSIONS + 1));
            assert!(is_its, "{case}: {} of session {id}", delivery.number);
        }
        count += loaded.len() as u64;
    }
    for message in &store.restored.retained {
        let number: u64 = message
            .topic()
            .strip_prefix("kept/")
            .unwrap()
            .parse()
            .unwrap();
        assert!(is_whole(number, message.payload()), "{case}");
    }
    count
}

#[test]
fn flipped_bytes_never_keep_a_store_from_opening() {
    let (database, log) = killed();
    let mut kept = Vec::new();
    for case in 0..200_u64 {
        let mut chance = Chance(0x9e37_79b9_7f4a_7c15 ^ (case + 1));
        let (mut database, mut log) = (database.clone(), log.clone());
        for _ in 0..=chance.below(12) {
            // Every fourth case hits the first pages, where the tables are named.
            let end = if case % 4 == 0 { 8192 } else { database.len() };
            let at = chance.below(end);
            database[at] ^= 1 << chance.below(8);
            if case % 10 == 9 {
                let at = chance.below(log.len());
                log[at] = chance.below(256) as u8;
            }
        }
        if case % 20 == 19 {
            database.truncate(chance.below(database.len()));
        }
        let mut rig = Rig::new();
        put(rig.path(), &database, &log);
        let text = format!("case {case}");
        let mut store = rig
            .try_open()
            .unwrap_or_else(|error| panic!("{text}: {error}"));
        kept.push(assert_only_what_was_stored(&store, &text));
        // It can be written to, and is whole from here on.
        let next = store.restored.next_session;
        rig.commit(
            &mut store,
            vec![session(next), delivery(next, 1, &message(9999, b"new"))],
        );
        assert_eq!(load(&store, next).len(), 1, "{text}");
        let was_damaged = store.condition != Condition::Sound;
        drop(store);
        let store = rig.try_open().unwrap();
        if was_damaged {
            assert_eq!(store.condition, Condition::Sound, "{text}");
        }
        assert!(
            store
                .restored
                .sessions
                .iter()
                .any(|session| session.record.id.get() == next)
        );
    }
    kept.sort_unstable();
    let most = *kept.last().unwrap();
    assert_eq!(most, 380, "what was not hit is all there");
    assert!(
        kept[100] > most * 3 / 4,
        "most of the rest as well: {kept:?}"
    );
}

#[test]
fn one_bad_page_costs_only_its_rows() {
    let mut rig = Rig::new();
    let (database, log) = killed();
    put(rig.path(), &database, &log);
    drop(rig.open());
    let path = rig.path().join(schema::FILE_NAME);
    let whole = fs::read(&path).unwrap();
    let mut database = whole.clone();
    // A leaf of messages: the first page that begins as one, behind those of the tables.
    let page = (9..database.len() / 4096)
        .find(|page| database[page * 4096] == 13 && database[page * 4096 + 4] > 5)
        .unwrap();
    database[page * 4096..(page + 1) * 4096].fill(0xee);
    fs::write(&path, &database).unwrap();

    let mut store = rig.try_open().unwrap();
    let Condition::Degraded(salvage) = &store.condition else {
        panic!("the damage was not noticed");
    };
    assert_eq!(salvage.damaged_pages, 1, "{salvage}");
    assert_eq!(salvage.saved.sessions, SESSIONS);
    assert_eq!(salvage.saved.retained, 60);
    assert!(salvage.saved.deliveries > 300, "{salvage}");
    let moved = salvage.moved_to.clone();
    assert!(
        moved
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("corrupt-2026")
    );
    assert_eq!(fs::read(moved.join(schema::FILE_NAME)).unwrap(), database);
    assert!(salvage.to_string().contains(moved.to_str().unwrap()));
    assert_only_what_was_stored(&store, "one page");
    assert!(check(rig.path()).unwrap().faults.is_empty());
    rig.commit(&mut store, vec![session(99)]);
}

#[test]
fn file_that_is_no_database_is_moved_away() {
    for content in [
        &b"not a database at all, but long enough to look like one"[..],
        &[0; 9000],
    ] {
        let rig = Rig::new();
        put(rig.path(), content, b"");
        let store = rig.try_open().unwrap();
        let Condition::Degraded(salvage) = &store.condition else {
            panic!("taken for a database");
        };
        assert_eq!(salvage.saved, Counts::default());
        assert_eq!(
            fs::read(salvage.moved_to.join(schema::FILE_NAME)).unwrap(),
            content
        );
    }
}

#[test]
fn database_of_another_program_is_moved_away() {
    let rig = Rig::new();
    let path = rig.path().join(schema::FILE_NAME);
    let other = rusqlite::Connection::open(&path).unwrap();
    other
        .execute_batch("CREATE TABLE session (id INTEGER PRIMARY KEY, x); PRAGMA user_version = 1")
        .unwrap();
    drop(other);
    let store = rig.try_open().unwrap();
    assert!(matches!(store.condition, Condition::Degraded(_)));
    assert!(store.restored.sessions.is_empty());
}

#[test]
fn replacement_that_was_interrupted_is_ended() {
    let mut rig = Rig::new();
    let mut store = rig.open();
    rig.commit(&mut store, vec![session(1)]);
    drop(store);
    let path = rig.path().join(schema::FILE_NAME);
    let whole = fs::read(&path).unwrap();
    // Complete, and the old one is out of the way but for its log.
    fs::rename(&path, schema::beside(&path, ".new")).unwrap();
    fs::write(schema::beside(&path, "-wal"), b"old").unwrap();
    assert_eq!(rig.open().restored.sessions.len(), 1);
    // Not needed any more, or never complete.
    for left in [".new", ".partial", ".partial-wal"] {
        fs::write(schema::beside(&path, left), b"x").unwrap();
        assert_eq!(rig.open().restored.sessions.len(), 1);
        assert!(!schema::beside(&path, left).exists() || left == ".partial-wal");
    }
    assert!(fs::read(&path).unwrap().len() >= whole.len());
}

#[test]
fn backup_of_a_store_in_use_can_be_restored() {
    let mut rig = Rig::new();
    let mut store = rig.open();
    rig.commit(
        &mut store,
        vec![session(1), delivery(1, 1, &message(1, b"kept"))],
    );
    let file = rig.path().join("backup.db");
    let report = backup(rig.path(), &file).unwrap();
    assert_eq!(
        (report.content.rows.sessions, report.content.rows.deliveries),
        (1, 1)
    );
    assert_eq!(report.bytes, file.metadata().unwrap().len());
    rig.commit(
        &mut store,
        vec![session(2), Change::DeliveryEnd(StoreId::new(1), 1)],
    );
    store.writer.close(Timestamp::from_millis(9_000)).unwrap();
    let names = |folder: &Path| -> BTreeSet<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    };
    assert_eq!(
        names(rig.path()),
        ["backup.db", "gateway.db"].map(str::to_owned).into()
    );

    let other = tempfile::tempdir().unwrap();
    let restored = restore(&file, &other.path().join("state"), 0).unwrap();
    assert_eq!(restored.replaced, None);
    let restored = restore(&file, rig.path(), 1_790_000_000_000).unwrap();
    let replaced = restored.replaced.unwrap();
    assert!(
        replaced.ends_with("replaced-20260921T141320Z"),
        "{replaced:?}"
    );
    assert_eq!(check(&replaced).unwrap().rows.sessions, 2);
    let store = rig.open();
    assert_eq!(store.restored.sessions.len(), 1);
    assert_eq!(
        load(&store, 1)[0].message.as_ref().unwrap().payload(),
        b"kept"
    );
}

#[test]
fn backup_that_is_damaged_is_not_restored() {
    let mut rig = Rig::new();
    let mut store = rig.open();
    rig.commit(
        &mut store,
        vec![session(1), delivery(1, 1, &message(1, &[7; 500]))],
    );
    let file = rig.path().join("backup.db");
    backup(rig.path(), &file).unwrap();
    drop(store);
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.windows(20).position(|part| part == [7; 20]).unwrap();
    bytes[at] = 8;
    fs::write(&file, &bytes).unwrap();
    let before = fs::read(rig.path().join(schema::FILE_NAME)).unwrap();
    let error = restore(&file, rig.path(), 0).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains("backup.db"), "{error}");
    let missing = restore(&rig.path().join("nowhere"), rig.path(), 0).unwrap_err();
    assert!(missing.to_string().contains("no such file"), "{missing}");
    assert_eq!(
        fs::read(rig.path().join(schema::FILE_NAME)).unwrap(),
        before
    );
    let itself = backup(rig.path(), &rig.path().join(schema::FILE_NAME)).unwrap_err();
    assert!(itself.to_string().contains("itself"), "{itself}");
}

#[test]
fn check_and_stats_say_what_is_there() {
    let mut rig = Rig::new();
    let mut store = rig.open();
    let shared = message(1, b"x");
    let changes = vec![
        session(1),
        session(2),
        delivery(1, 1, &shared),
        delivery(2, 1, &shared),
        delivery(2, 2, &message(2, b"y")),
        retained(1, b"1234"),
    ];
    rig.commit(&mut store, changes);
    let stats = stats(rig.path()).unwrap();
    let expected = Counts {
        sessions: 2,
        subscriptions: 0,
        retained: 1,
        messages: 2,
        deliveries: 3,
        ..Counts::default()
    };
    assert_eq!(stats.rows, expected);
    assert_eq!(
        (
            stats.format,
            stats.retained_bytes,
            stats.deliveries_of_one_max
        ),
        (schema::VERSION, 4, 2)
    );
    assert_eq!(stats.delivery_bytes, 3 * shared.stored_bytes());
    let report = check(rig.path()).unwrap();
    assert_eq!((report.rows, report.faults.len()), (expected, 0));

    let other = schema::open_writing(store.writer.path()).unwrap();
    other.execute_batch("UPDATE message SET payload = x'00' WHERE id = 1; DELETE FROM message WHERE id = 2; DELETE FROM session WHERE id = 2").unwrap();
    let faults = check(rig.path()).unwrap().faults;
    assert_eq!(faults.len(), 3, "{faults:?}");
    let mut reader = store.readers.open().unwrap();
    let request = crate::broker::LoadRequest {
        session: StoreId::new(2),
        after: 0,
        deliveries_max: 10,
        bytes_max: 1000,
    };
    assert!(reader.load(&request).unwrap().is_empty());
    assert_eq!(
        reader.take_unreadable(),
        [(StoreId::new(2), 1), (StoreId::new(2), 2)]
    );
}

#[test]
fn folder_that_cannot_be_made_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let folder = file.path().join("state");
    let clock: WallClock = Arc::new(crate::clock::wall);
    let error = Store::open(&folder, &StoreSettings::default(), clock).unwrap_err();
    assert!(
        error.to_string().contains(folder.to_str().unwrap()),
        "{error}"
    );
    assert!(!error.hint().is_empty());
}
