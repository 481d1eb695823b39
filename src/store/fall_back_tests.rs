//! A version to come, as far as this one sees it: its format, and what it has changed.

use std::os::unix::fs::MetadataExt;

use super::*;
use crate::store::files::PARTIAL;
use crate::store::schema::beside;
use crate::store::tests::Rig;
use crate::store::{Condition, Opened, UserRecord, backup, put, users};

/// What the version to come does to the database that this one has left.
fn bring_on(rig: &Rig, readable_since: i64) {
    let path = rig.path().join(schema::FILE_NAME);
    let connection = schema::open_writing(&path).unwrap();
    let from = schema::version(&connection).unwrap();
    backup::copy(&connection, &schema::copy_of(&path, from)).unwrap();
    connection
        .execute_batch("CREATE TABLE later (a); INSERT INTO later VALUES (7)")
        .unwrap();
    connection
        .pragma_update(None, "user_version", schema::VERSION + 1)
        .unwrap();
    put::write_meta(&connection, schema::READABLE_KEY, readable_since).unwrap();
}

/// A database of this version with one user, brought on by the version to come, in which there is another one.
fn newer(readable_since: i64) -> Rig {
    let rig = Rig::new();
    add_user(&mut rig.open(), "before");
    bring_on(&rig, readable_since);
    rig
}

fn add_user(store: &mut Opened, name: &str) {
    let record = UserRecord {
        username: name.into(),
        hash: "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaA".into(),
        generation: 1,
        attributes: [("floor".into(), "1".into())].into(),
        enabled: true,
        expires_at: None,
        note: "".into(),
        created_at: 1_780_000_000,
        last_seen_at: None,
    };
    let mut job = |transaction: &rusqlite::Transaction<'_>| users::put(transaction, &record);
    store.writer.run(&mut job).unwrap();
}

fn usernames(store: &Opened) -> Vec<&str> {
    store.users.iter().map(|user| &*user.username).collect()
}

fn kept(rig: &Rig) -> Vec<PathBuf> {
    folders(&rig.path().join(schema::FILE_NAME)).unwrap()
}

#[track_caller]
fn assert_fell_back(store: &Opened, rig: &Rig) {
    let Condition::FellBack(fell_back) = &store.condition else {
        panic!("{:?}", store.condition);
    };
    assert_eq!(fell_back.format, Some(schema::VERSION + 1));
    assert_eq!(kept(rig), std::slice::from_ref(&fell_back.moved_to));
    assert_eq!(usernames(store), ["before"]);
}

#[test]
fn database_that_was_only_added_to_is_used_as_it_is() {
    let rig = newer(schema::VERSION);
    let mut store = rig.open();
    assert_eq!(store.condition, Condition::Sound);
    add_user(&mut store, "meanwhile");
    drop(store);
    let path = rig.path().join(schema::FILE_NAME);
    let connection = schema::open_reading(&path).unwrap();
    // The version to come goes on where it was.
    assert_eq!(schema::version(&connection).unwrap(), schema::VERSION + 1);
    let later: i64 = connection
        .query_row("SELECT a FROM later", [], |row| row.get(0))
        .unwrap();
    assert_eq!(later, 7);
    drop(connection);
    assert_eq!(usernames(&rig.open()), ["before", "meanwhile"]);
    assert!(inspect::check_file(&path).unwrap().faults.is_empty());
}

#[test]
fn database_that_was_changed_gives_way_to_the_copy_of_before() {
    let rig = newer(schema::VERSION + 1);
    let store = rig.try_open().unwrap();
    assert_fell_back(&store, &rig);
    let text = store.condition.complaint().unwrap();
    assert!(text.contains("newer-"), "{text}");
    drop(store);
    let newer = kept(&rig)[0].join(schema::FILE_NAME);
    assert_eq!(format_of(&newer).unwrap(), schema::VERSION + 1);
    // It is said again as long as the folder is there.
    assert_fell_back(&rig.try_open().unwrap(), &rig);
    fs::remove_dir_all(&kept(&rig)[0]).unwrap();
    assert_eq!(rig.open().condition, Condition::Sound);
}

#[test]
fn number_that_is_not_sealed_says_nothing() {
    let rig = newer(schema::VERSION);
    let path = rig.path().join(schema::FILE_NAME);
    let connection = schema::open_writing(&path).unwrap();
    connection
        .execute_batch("UPDATE meta SET seal = seal + 1 WHERE key = 'readable_since'")
        .unwrap();
    drop(connection);
    assert_fell_back(&rig.try_open().unwrap(), &rig);
}

#[test]
fn one_newer_database_is_kept() {
    let rig = newer(schema::VERSION + 1);
    drop(rig.try_open().unwrap());
    bring_on(&rig, schema::VERSION + 1);
    let store = rig.try_open().unwrap();
    assert_fell_back(&store, &rig);
}

#[test]
fn copy_takes_the_place_without_room_for_another_one() {
    let rig = newer(schema::VERSION + 1);
    let path = rig.path().join(schema::FILE_NAME);
    let copy = schema::copy_of(&path, schema::VERSION);
    let file = fs::metadata(&copy).unwrap().ino();
    assert_fell_back(&rig.try_open().unwrap(), &rig);
    assert_eq!(fs::metadata(&path).unwrap().ino(), file, "moved");
    assert!(!copy.exists());
}

#[test]
fn former_kept_database_outlives_a_fall_back_that_fails() {
    let rig = newer(schema::VERSION + 1);
    let path = rig.path().join(schema::FILE_NAME);
    let former = rig.path().join("newer-20250101T000000Z");
    fs::create_dir(&former).unwrap();
    fs::write(former.join(schema::FILE_NAME), "kept").unwrap();
    // Every name for the folder is taken.
    let taken = format!("newer-{}", crate::store::time::stamp(0));
    fs::create_dir(rig.path().join(&taken)).unwrap();
    for count in 2..=1000 {
        fs::write(rig.path().join(format!("{taken}-{count}")), "").unwrap();
    }
    restore(&path, 0).unwrap_err();
    assert!(former.join(schema::FILE_NAME).exists());
    assert!(path.exists() && schema::copy_of(&path, schema::VERSION).exists());
}

#[test]
fn kept_database_that_cannot_be_read_is_told_all_the_same() {
    let rig = Rig::new();
    drop(rig.open());
    let folder = rig.path().join("newer-20260101T000000Z");
    // Not even root reads a folder as a file.
    fs::create_dir_all(folder.join(schema::FILE_NAME)).unwrap();
    let store = rig.try_open().unwrap();
    let Condition::FellBack(fell_back) = &store.condition else {
        panic!("{:?}", store.condition);
    };
    assert_eq!((fell_back.format, &fell_back.moved_to), (None, &folder));
    let text = store.condition.complaint().unwrap();
    assert!(text.contains("another format"), "{text}");
}

#[test]
fn copy_of_before_a_proven_update_does_not_come_back() {
    let rig = Rig::new();
    add_user(&mut rig.open(), "since");
    let path = rig.path().join(schema::FILE_NAME);
    let connection = schema::open_writing(&path).unwrap();
    for format in [1, schema::VERSION - 1, schema::VERSION] {
        backup::copy(&connection, &schema::copy_of(&path, format)).unwrap();
    }
    drop(connection);
    drop_copies(rig.path()).unwrap();
    let left = |format| schema::copy_of(&path, format).exists();
    assert!(!left(1) && !left(schema::VERSION - 1));
    assert!(left(schema::VERSION), "it is of a trial to come");
    drop_copies(rig.path()).unwrap();
    drop_copies(&rig.path().join("nowhere")).unwrap();
}

#[test]
fn without_a_sound_copy_nothing_is_touched() {
    for spoil in [true, false] {
        let rig = newer(schema::VERSION + 1);
        let path = rig.path().join(schema::FILE_NAME);
        let copy = schema::copy_of(&path, schema::VERSION);
        match spoil {
            true => fs::write(&copy, "no database").unwrap(),
            false => fs::remove_file(&copy).unwrap(),
        }
        let before = fs::read(&path).unwrap();
        let error = rig.try_open().unwrap_err();
        assert!(matches!(error, StoreError::Newer { .. }), "{error}");
        assert_eq!(fs::read(&path).unwrap(), before);
        assert!(kept(&rig).is_empty());
    }
}

#[test]
fn cut_at_any_step_the_next_start_has_the_copy() {
    fn place_copy(path: &Path, suffix: &str) {
        let copy = schema::copy_of(path, schema::VERSION);
        fs::copy(copy, beside(path, suffix)).unwrap();
    }
    let cut: [fn(&Path); 5] = [
        // While an older version copies the copy.
        |path| fs::write(beside(path, PARTIAL), "half of it").unwrap(),
        // When that is complete and not named so.
        |path| place_copy(path, PARTIAL),
        // Before the newer one is moved away.
        |path| place_copy(path, ".new"),
        // With a folder for it.
        |path| fs::create_dir(files::folder_of(path).join("newer-20260101T000000Z")).unwrap(),
        // When it is moved away, its log is not, and nothing is in its place.
        |path| {
            let folder = files::folder_of(path).join("newer-20260101T000000Z");
            fs::create_dir(&folder).unwrap();
            fs::rename(path, folder.join(schema::FILE_NAME)).unwrap();
            fs::write(beside(path, "-wal"), "a log of another database").unwrap();
        },
    ];
    for (step, cut) in cut.iter().enumerate() {
        let rig = newer(schema::VERSION + 1);
        cut(&rig.path().join(schema::FILE_NAME));
        let store = rig
            .try_open()
            .unwrap_or_else(|error| panic!("step {step}: {error}"));
        assert_fell_back(&store, &rig);
    }
}
