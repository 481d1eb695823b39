//! Jobs of other parts, done by the thread that writes.

use super::*;
use crate::limits::Limits;
use crate::store::{AuditRecord, audit, users};

fn user(name: &str) -> UserRecord {
    UserRecord {
        username: name.into(),
        hash: "".into(),
        generation: 1,
        attributes: std::collections::BTreeMap::new(),
        enabled: true,
        expires_at: None,
        note: "".into(),
        created_at: 1,
        last_seen_at: None,
    }
}

fn begin(found: Found) -> (Arc<Hub>, Storing) {
    let hub = Arc::new(Hub::new(Limits::default(), found.base()));
    let storing = Storing::begin(found, &hub, &StoreSettings::default());
    (hub, storing)
}

#[test]
fn jobs_are_done_until_the_store_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let mut found = Found::open(folder.path(), &StoreSettings::default());
    assert!(found.take_users().unwrap().is_empty());
    let jobs = found.jobs();
    // More than one round of them, from several threads, some of them before the writer runs.
    let callers: Vec<_> = (0..40)
        .map(|number| {
            let jobs = jobs.clone();
            thread::spawn(move || {
                let name = format!("u{number}");
                jobs.run(move |transaction| users::put(transaction, &user(&name)))
            })
        })
        .collect();
    let (_hub, storing) = begin(found);
    for caller in callers {
        caller.join().unwrap().unwrap();
    }
    let count = jobs
        .run(|transaction| {
            audit::append(transaction, &[AuditRecord::default()], 10)?;
            transaction.query_row("SELECT count(*) FROM user", [], |row| row.get::<_, i64>(0))
        })
        .unwrap();
    assert_eq!(count, 40);
    let wrong = jobs.run(|transaction| transaction.execute_batch("no SQL"));
    assert!(
        matches!(wrong, Err(StoreError::Corrupt { .. })),
        "{wrong:?}"
    );
    storing.finish();
    let late = jobs.run(|_| Ok(()));
    assert!(matches!(late, Err(StoreError::Closed { .. })), "{late:?}");
    let mut found = Found::open(folder.path(), &StoreSettings::default());
    assert_eq!(found.take_users().unwrap().len(), 40);
}

#[test]
fn jobs_without_a_store_are_answered() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let found = Found::open(&file, &StoreSettings::default());
    let jobs = found.jobs();
    let (_hub, storing) = begin(found);
    let refused = jobs.run(|_| Ok(()));
    assert!(
        matches!(refused, Err(StoreError::Closed { .. })),
        "{refused:?}"
    );
    storing.finish();
}
