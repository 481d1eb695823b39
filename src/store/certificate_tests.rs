//! Certificates and enrolment tokens: kept, saved from damage, and changed by jobs.

use std::fs;

use rusqlite::Transaction;

use super::tests::Rig;
use super::*;
use crate::broker::Timestamp;

fn certificate(serial: u64) -> CertificateRecord {
    CertificateRecord {
        issuer: "0123456789abcdef".into(),
        serial: format!("{serial:04x}").into(),
        name: format!("pump-{serial}").into(),
        purpose: "client".into(),
        origin: "signed".into(),
        attributes: [("hall".into(), "2".into())].into(),
        not_before: 1_800_000_000,
        not_after: 1_800_000_000 + serial,
        issued_at: 1_800_000_100,
        provisional: serial.is_multiple_of(2),
        revoked_at: (serial == 3).then_some(1_800_000_200),
        reason: u8::from(serial == 3),
        der: [0x30, 1, 2].into(),
    }
}

fn token(name: &str, expires_at: u64) -> TokenRecord {
    TokenRecord {
        hash: format!("hash of {name}").into(),
        name: name.into(),
        attributes: [("hall".into(), "2".into())].into(),
        lifetime: Some(86_400),
        created_at: 5,
        expires_at,
    }
}

fn run<T>(store: &mut Opened, mut job: impl FnMut(&Transaction<'_>) -> rusqlite::Result<T>) -> T {
    store.writer.run(&mut job).unwrap()
}

fn put(store: &mut Opened, serials: std::ops::RangeInclusive<u64>) {
    run(store, |transaction| {
        serials
            .clone()
            .try_for_each(|serial| certificates::put(transaction, &certificate(serial)))
    });
}

#[test]
fn certificates_come_back_as_they_were_put() {
    let rig = Rig::new();
    let mut store = rig.open();
    assert!(store.certificates.is_empty());
    put(&mut store, 1..=3);
    let whole = run(&mut store, |transaction| {
        certificates::read(transaction, "0123456789abcdef", "0003")
    });
    assert_eq!(whole, Some(certificate(3)));
    let none = run(&mut store, |transaction| {
        certificates::read(transaction, "other", "0003")
    });
    assert_eq!(none, None);
    drop(store);
    let mut store = rig.open();
    let heads: Vec<_> = (1..=3)
        .map(|serial| CertificateRecord {
            der: Box::default(),
            ..certificate(serial)
        })
        .collect();
    assert_eq!(store.certificates, heads);
    let pruned = run(&mut store, |transaction| {
        certificates::prune(transaction, 1_800_000_003)
    });
    assert_eq!(pruned, 2);
    assert_eq!(stats(rig.path()).unwrap().rows.certificates, 1);
}

#[test]
fn token_is_removed_once_and_ends() {
    let rig = Rig::new();
    let mut store = rig.open();
    run(&mut store, |transaction| {
        certificates::put_token(transaction, &token("a", 100))?;
        certificates::put_token(transaction, &token("b", 200))
    });
    let read = |store: &mut Opened, hash: &str| {
        run(store, |transaction| {
            certificates::read_token(transaction, hash)
        })
    };
    assert_eq!(read(&mut store, "hash of a"), Some(token("a", 100)));
    assert_eq!(read(&mut store, "hash of c"), None);
    assert_eq!(
        run(&mut store, |transaction| certificates::prune_tokens(
            transaction,
            101
        )),
        1
    );
    assert_eq!(read(&mut store, "hash of a"), None);
    let remove = |store: &mut Opened| {
        run(store, |transaction| {
            certificates::remove_token(transaction, "hash of b")
        })
    };
    assert!(remove(&mut store));
    assert!(!remove(&mut store));
    assert!(!format!("{:?}", token("a", 1)).contains("hash of"));
}

#[test]
fn certificates_of_a_damaged_database_are_saved() {
    let rig = Rig::new();
    let mut store = rig.open();
    put(&mut store, 1..=300);
    run(&mut store, |transaction| {
        certificates::put_token(transaction, &token("a", 100))
    });
    store.writer.close(Timestamp::from_millis(5000)).unwrap();
    let path = rig.path().join(schema::FILE_NAME);
    let whole = fs::read(&path).unwrap();

    // A name in one row.
    let mut bytes = whole.clone();
    let at = bytes
        .windows(8)
        .position(|part| part == b"pump-137")
        .unwrap();
    bytes[at] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let faults = check(rig.path()).unwrap().faults;
    assert_eq!(faults, ["1 rows of the table `certificate` are damaged"]);
    let store = rig.try_open().unwrap();
    let Condition::Degraded(salvage) = &store.condition else {
        panic!("not noticed");
    };
    assert_eq!((salvage.saved.certificates, salvage.damaged_rows), (299, 1));
    drop(store);

    // The first page, where it stands where the tables are.
    let mut bytes = whole.clone();
    bytes[..4096].fill(0x55);
    fs::write(&path, &bytes).unwrap();
    let mut store = rig.try_open().unwrap();
    assert_eq!(store.certificates.len(), 300);
    let found = run(&mut store, |transaction| {
        certificates::read_token(transaction, "hash of a")
    });
    assert_eq!(found, Some(token("a", 100)));
    drop(store);

    // A token.
    let mut bytes = whole;
    let at = bytes
        .windows(9)
        .position(|part| part == b"hash of a")
        .unwrap();
    bytes[at] ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert_eq!(
        check(rig.path()).unwrap().faults,
        ["1 rows of the table `enrolment_token` are damaged"]
    );
    assert_eq!(rig.try_open().unwrap().certificates.len(), 300);
}

#[test]
fn backup_has_certificates() {
    let rig = Rig::new();
    let mut store = rig.open();
    put(&mut store, 1..=2);
    let file = rig.path().join("copy.db");
    let report = backup(rig.path(), &file).unwrap();
    assert_eq!(report.content.rows.certificates, 2);
    drop(store);
    restore(&file, rig.path(), 0).unwrap();
    assert_eq!(rig.open().certificates.len(), 2);
}
