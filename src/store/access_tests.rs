//! Users and the audit log: kept, brought on from the first format, saved from damage, and changed by jobs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;

use rusqlite::Connection;

use super::tests::{Rig, load, message, session};
use super::*;
use crate::broker::{Change, StoreId, Timestamp};

/// The tables as the first format had them, word for word. Never to be changed.
const FORMAT_1: &str = include_str!("format_1.sql");

fn user(name: &str, generation: u64) -> UserRecord {
    UserRecord {
        username: name.into(),
        hash: "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaA".into(),
        generation,
        attributes: [("floor".into(), "1".into()), ("role".into(), "x".into())].into(),
        enabled: !generation.is_multiple_of(2),
        expires_at: (generation > 3).then_some(2_000_000_000),
        note: "press in hall 2".into(),
        created_at: 1_780_000_000,
        last_seen_at: None,
    }
}

fn entry(kind: &str, subject: &str, at: u64) -> AuditRecord {
    AuditRecord {
        id: 0,
        at,
        kind: kind.into(),
        actor: "uid 0".into(),
        subject: subject.into(),
        port: "127.0.0.1:1883".into(),
        peer: "10.0.0.1".into(),
        detail: "".into(),
    }
}

fn put_users(store: &mut Opened, records: &[UserRecord]) {
    let mut job = |transaction: &rusqlite::Transaction<'_>| {
        records
            .iter()
            .try_for_each(|record| users::put(transaction, record))
    };
    store.writer.run(&mut job).unwrap();
}

fn append(store: &mut Opened, records: &[AuditRecord], rows_max: u32) {
    let mut job =
        |transaction: &rusqlite::Transaction<'_>| audit::append(transaction, records, rows_max);
    store.writer.run(&mut job).unwrap();
}

fn everything(rows_max: u32) -> AuditFilter {
    AuditFilter {
        rows_max,
        ..AuditFilter::default()
    }
}

#[test]
fn clients_cannot_push_out_what_operators_did() {
    let rig = Rig::new();
    let mut store = rig.open();
    append(&mut store, &[entry("user-added", "anna", 1)], 10);
    for at in 2..102 {
        append(&mut store, &[entry("login-accepted", "x", at)], 10);
    }
    let left = read_audit(rig.path(), &everything(100)).unwrap();
    let kinds: Vec<_> = left.iter().map(|entry| &*entry.kind).collect();
    assert_eq!(kinds[..5], ["login-accepted"; 5]);
    assert_eq!(kinds[5..], ["user-added"]);
}

#[test]
fn users_come_back_as_they_were_put() {
    let rig = Rig::new();
    let mut store = rig.open();
    assert!(store.users.is_empty());
    put_users(&mut store, &[user("b", 1), user("a", 4), user("gone", 5)]);
    let mut job = |transaction: &rusqlite::Transaction<'_>| {
        users::touch(transaction, &[("a".into(), 50), ("nobody".into(), 50)])?;
        users::touch(transaction, &[("a".into(), 40)])?;
        Ok((
            users::remove(transaction, "gone")?,
            users::remove(transaction, "nobody")?,
        ))
    };
    assert_eq!(store.writer.run(&mut job).unwrap(), (true, false));
    drop(store);
    let seen = UserRecord {
        last_seen_at: Some(50),
        ..user("a", 4)
    };
    assert_eq!(rig.open().users, [seen, user("b", 1)]);
    assert!(!format!("{:?}", user("a", 4)).contains("argon2id"));
}

#[test]
fn audit_log_is_bounded_and_read_from_the_end() {
    let rig = Rig::new();
    let mut store = rig.open();
    let entries: Vec<_> = (1..=7).map(|at| entry("login", "a", at)).collect();
    append(&mut store, &entries, 5);
    append(&mut store, &[entry("user-added", "b", 8)], 5);
    let read = |filter: &AuditFilter| -> Vec<(u64, u64)> {
        let records = read_audit(rig.path(), filter).unwrap();
        records
            .iter()
            .map(|record| (record.id, record.at))
            .collect()
    };
    assert_eq!(read(&everything(100)), [(8, 8), (7, 7), (6, 6), (5, 5)]);
    assert_eq!(read(&everything(2)), [(8, 8), (7, 7)]);
    let login = AuditFilter {
        kind: Some("login".into()),
        actor: Some("uid 0".into()),
        port: Some("127.0.0.1:1883".into()),
        since: Some(5),
        until: Some(6),
        ..everything(100)
    };
    assert_eq!(read(&login), [(6, 6), (5, 5)]);
    let page = AuditFilter {
        before_id: Some(6),
        subject: Some("a".into()),
        ..everything(100)
    };
    assert_eq!(read(&page), [(5, 5)]);
    let found = &read_audit(rig.path(), &everything(1)).unwrap()[0];
    let expected = AuditRecord {
        id: 8,
        ..entry("user-added", "b", 8)
    };
    assert_eq!(*found, expected);
}

/// A database of the first format, with a session, a message and its delivery, as that version has left it.
fn make_format_1(folder: &Path) {
    let mut rig = Rig::new();
    let mut store = rig.open();
    let shared = message(1, b"kept");
    rig.commit(
        &mut store,
        vec![session(1), super::tests::delivery(1, 1, &shared)],
    );
    // The pages behind those of the tables are taken by something else.
    for id in 2..20 {
        let large = message(id, &[7; 9000]);
        let waiting = super::tests::delivery(1, id, &large);
        rig.commit(&mut store, vec![waiting]);
    }
    store.writer.sort_in().unwrap();
    store.writer.close(Timestamp::from_millis(5000)).unwrap();
    let connection = Connection::open(folder.join(schema::FILE_NAME)).unwrap();
    connection.pragma_update(None, "page_size", 4096).unwrap();
    connection
        .pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))
        .unwrap();
    connection.execute_batch(FORMAT_1).unwrap();
    let current = rig.path().join(schema::FILE_NAME);
    connection
        .execute("ATTACH ?1 AS current", [current.to_str().unwrap()])
        .unwrap();
    for table in [
        "meta",
        "session",
        "subscription",
        "message",
        "delivery",
        "received",
        "retained",
        "arrival",
    ] {
        let sql = format!("INSERT INTO main.{table} SELECT * FROM current.{table}");
        connection.execute(&sql, []).unwrap();
    }
    connection
        .pragma_update(None, "application_id", schema::APPLICATION_ID)
        .unwrap();
    connection.pragma_update(None, "user_version", 1).unwrap();
    connection.execute("DETACH current", []).unwrap();
    connection.close().unwrap();
}

#[test]
fn database_of_the_first_format_is_inspected_backed_up_and_brought_on() {
    let rig = Rig::new();
    make_format_1(rig.path());
    let report = check(rig.path()).unwrap();
    assert_eq!(report.faults, Vec::<String>::new());
    assert_eq!((report.rows.sessions, report.rows.users), (1, 0));
    assert_eq!(stats(rig.path()).unwrap().format, 1);
    assert!(read_audit(rig.path(), &everything(1)).unwrap().is_empty());
    let file = rig.path().join("copy.db");
    backup(rig.path(), &file).unwrap();

    let mut store = rig.open();
    assert!(store.users.is_empty());
    assert_eq!(load(&store, 1).len(), 19);
    put_users(&mut store, &[user("a", 1)]);
    append(&mut store, &[entry("user-added", "a", 1)], 10);
    drop(store);
    let kept = rig.path().join("gateway.db.v1.bak");
    assert!(kept.exists(), "the older one was copied first");
    assert_eq!(rig.open().users, [user("a", 1)]);
    assert_eq!(stats(rig.path()).unwrap().format, schema::VERSION);

    restore(&file, rig.path(), 0).unwrap();
    let store = rig.open();
    assert!(store.users.is_empty(), "as the older backup has it");
    assert_eq!(load(&store, 1).len(), 19);
}

#[test]
fn backup_and_statistics_have_users_and_audit_log() {
    let rig = Rig::new();
    let mut store = rig.open();
    put_users(&mut store, &[user("a", 1), user("b", 2)]);
    append(&mut store, &[entry("login", "a", 1)], 10);
    let file = rig.path().join("copy.db");
    let report = backup(rig.path(), &file).unwrap();
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "for nobody else");
    assert_eq!(
        (report.content.rows.users, report.content.rows.audit_rows),
        (2, 1)
    );
    assert!(report.content.rows.to_string().ends_with("2 users"));
    let counts = stats(rig.path()).unwrap().rows;
    assert_eq!((counts.users, counts.audit_rows), (2, 1));
    let mut job = |transaction: &rusqlite::Transaction<'_>| users::remove(transaction, "a");
    store.writer.run(&mut job).unwrap();
    drop(store);
    restore(&file, rig.path(), 0).unwrap();
    assert_eq!(rig.open().users.len(), 2);
}

/// Enough users and entries that their tables have many pages.
fn many(store: &mut Opened) {
    let records: Vec<_> = (1..=400)
        .map(|at| user(&format!("user-{at}"), at))
        .collect();
    put_users(store, &records);
    let entries: Vec<_> = (1..=400)
        .map(|at| entry("login", &format!("user-{at}"), at))
        .collect();
    append(store, &entries, 1000);
}

#[test]
fn users_of_a_damaged_database_are_saved() {
    let mut rig = Rig::new();
    let mut store = rig.open();
    rig.commit(&mut store, vec![session(1)]);
    many(&mut store);
    store.writer.close(Timestamp::from_millis(5000)).unwrap();
    let path = rig.path().join(schema::FILE_NAME);
    let whole = fs::read(&path).unwrap();

    // A name in one row: that row is lost, and nothing else.
    let mut bytes = whole.clone();
    let at = find(&bytes, b"user-137$argon2id");
    bytes[at] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let faults = check(rig.path()).unwrap().faults;
    assert_eq!(
        faults.last().unwrap(),
        "1 rows of the table `user` are damaged"
    );
    let store = rig.try_open().unwrap();
    let Condition::Degraded(salvage) = &store.condition else {
        panic!("not noticed");
    };
    assert_eq!((salvage.saved.users, salvage.saved.audit_rows), (399, 400));
    assert_eq!((salvage.saved.sessions, salvage.damaged_rows), (1, 1));
    assert!(store.users.contains(&user("user-138", 138)));
    drop(store);
    assert_eq!(rig.open().users.len(), 399);

    // The first page, where it stands which tables there are and where they begin.
    for range in [0..4096, 100..108, 3000..4096] {
        let mut bytes = whole.clone();
        bytes[range.clone()].fill(0x55);
        fs::write(&path, &bytes).unwrap();
        let store = rig.try_open().unwrap();
        assert_eq!(store.users.len(), 400, "{range:?}");
        assert_eq!(
            read_audit(rig.path(), &everything(1000)).unwrap().len(),
            400
        );
    }
}

#[test]
fn users_are_saved_wherever_their_table_is() {
    let rig = Rig::new();
    make_format_1(rig.path());
    let mut rig_store = rig.open();
    many(&mut rig_store);
    rig_store
        .writer
        .close(Timestamp::from_millis(9000))
        .unwrap();
    let path = rig.path().join(schema::FILE_NAME);
    let mut bytes = fs::read(&path).unwrap();
    let at = find(&bytes, b"tableuseruser");
    bytes[at..at + 13].fill(0);
    fs::write(&path, &bytes).unwrap();
    let store = rig.try_open().unwrap();
    assert_ne!(store.condition, Condition::Sound);
    assert_eq!(store.users.len(), 400);
    assert_eq!(load(&store, 1).len(), 19, "what was there before");
}

fn find(bytes: &[u8], part: &[u8]) -> usize {
    let mut places = bytes.windows(part.len());
    places.position(|window| window == part).unwrap()
}

#[test]
fn job_is_whole_or_not_at_all_and_is_counted() {
    let rig = Rig::new();
    let mut store = rig.open();
    let before = store.writer.statistics();
    put_users(&mut store, &[user("a", 1)]);
    let after = store.writer.statistics();
    assert!(after.bytes > before.bytes && after.rows > before.rows);
    assert!(store.writer.is_in_place());
    let mut job = |transaction: &rusqlite::Transaction<'_>| {
        users::remove(transaction, "a")?;
        transaction.execute_batch("no SQL")
    };
    store.writer.run(&mut job).unwrap_err();
    assert_eq!(store.writer.statistics().failures, 1);
    store.writer.checkpoint().unwrap();
    put_users(&mut store, &[user("b", 1)]);
    assert!(store.writer.is_in_place());
    drop(store);
    assert_eq!(rig.open().users.len(), 2);
}

#[test]
fn jobs_wait_for_the_writer_and_learn_when_there_is_none() {
    let rig = Rig::new();
    let mut store = rig.open();
    let (jobs, queue) = Jobs::queue(rig.path());
    let (made, begun) = std::sync::mpsc::channel();
    let caller = jobs.clone();
    let waiting = thread::spawn(move || {
        made.send(()).unwrap();
        caller.run(|transaction| users::put(transaction, &user("a", 1)))
    });
    begun.recv().unwrap();
    queue.attend(thread::current());
    let mut job = loop {
        match queue.take() {
            Some(job) => break job,
            None => thread::park_timeout(std::time::Duration::from_secs(1)),
        }
    };
    job.attempt(&mut store.writer).unwrap();
    waiting.join().unwrap().unwrap();
    let caller = jobs.clone();
    let waiting = thread::spawn(move || caller.run(|_| Ok(())));
    let job = loop {
        match queue.take() {
            Some(job) => break job,
            None => thread::park_timeout(std::time::Duration::from_secs(1)),
        }
    };
    job.refuse(StoreError::Missing {
        path: rig.path().to_owned(),
    });
    let refused = waiting.join().unwrap();
    assert!(matches!(refused, Err(StoreError::Missing { .. })));
    drop(queue);
    let closed = jobs.run(|_| Ok(()));
    assert!(matches!(closed, Err(StoreError::Closed { .. })));
    let none = Jobs::none(rig.path()).run(|_| Ok(()));
    assert!(matches!(none, Err(StoreError::Closed { .. })));
    let own = Jobs::own(store.writer);
    own.run(|transaction| users::remove(transaction, "a"))
        .unwrap();
    drop(own);
    assert!(rig.open().users.is_empty());
}

#[tokio::test]
async fn queue_of_jobs_is_bounded_and_answers_those_that_wait_when_it_ends() {
    let rig = Rig::new();
    let (jobs, queue) = Jobs::queue(rig.path());
    let mut waiting = Vec::new();
    let mut overloaded = 0;
    for _ in 0..200 {
        let mut job = Box::pin(jobs.run_async(|_| Ok(())));
        match futures_poll(&mut job) {
            Some(Err(StoreError::Overloaded { .. })) => overloaded += 1,
            Some(other) => panic!("{other:?}"),
            None => waiting.push(job),
        }
    }
    assert_eq!((waiting.len(), overloaded), (128, 72));
    drop(queue);
    for job in waiting {
        assert!(matches!(job.await, Err(StoreError::Closed { .. })));
    }
}

/// Polls once.
fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::Pin::new(future).poll(&mut context) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

/// What the core has to store is not disturbed by jobs in between.
#[test]
fn batches_and_jobs_take_turns() {
    let mut rig = Rig::new();
    let mut store = rig.open();
    for round in 1..=20 {
        let id = StoreId::new(round);
        rig.commit(
            &mut store,
            vec![
                session(round),
                Change::Received(id, crate::mqtt::PacketId::MIN),
            ],
        );
        put_users(&mut store, &[user(&format!("u{round}"), round)]);
        store.writer.housekeeping(true).unwrap();
        assert!(store.writer.is_in_place());
    }
    drop(store);
    let store = rig.open();
    assert_eq!((store.restored.sessions.len(), store.users.len()), (20, 20));
}
