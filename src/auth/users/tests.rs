//! Users on a real database: what is checked, what waits, what is kept.

use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::config::StoreSettings;
use crate::store::{AuditFilter, Opened, Store, read_audit};

/// mosquitto's hash of `plc-secret-9`, which costs nothing to check.
pub(super) const CHEAP: &str = "$6$IOiD9nazDTBod1EL$1L9Ajg+6t4hU8MyhviAUwyEFKSskxGaTXkNlRQSMR4Qmpgeo5zGvndU3PhxXiTl6l55BZ5DLIRS733eZTPfkYw==";
const CHEAP_PASSWORD: &[u8] = b"plc-secret-9";

pub(super) struct Rig {
    pub(super) folder: TempDir,
    pub(super) users: Arc<Users>,
}

fn open(folder: &Path) -> Users {
    let clock = Arc::new(clock::wall);
    let Opened { writer, users, .. } =
        Store::open(folder, &StoreSettings::default(), clock).unwrap();
    Users::new(users, Jobs::own(writer))
}

pub(super) fn actor() -> Actor {
    Actor {
        name: "uid 7".into(),
        peer: "test".into(),
    }
}

impl Rig {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir_in("/dev/shm")
            .or_else(|_| tempfile::tempdir())
            .unwrap();
        let users = Arc::new(open(folder.path()));
        Self { folder, users }
    }

    /// Closes the database and opens it again, as a start does.
    pub(super) fn reopen(mut self) -> Self {
        drop(std::mem::take(&mut self.users));
        self.users = Arc::new(open(self.folder.path()));
        self
    }

    pub(super) fn apply(&self, request: &UserRequest) -> Result<UserReply, UserFault> {
        self.users.apply(request, &actor())
    }

    pub(super) fn add(&self, user: NewUser) {
        self.apply(&UserRequest::Add { user }).unwrap();
    }

    pub(super) fn add_with(&self, username: &str, password: &[u8]) {
        self.add(NewUser::new(
            username,
            &PasswordHash::new(password).unwrap(),
        ));
    }

    pub(super) fn enable(&self, username: &str, enabled: bool) {
        let username = username.into();
        self.apply(&UserRequest::Enable { username, enabled })
            .unwrap();
    }

    pub(super) fn passwd(&self, username: &str, hash: &str) {
        let (username, hash) = (username.into(), RequestHash(hash.into()));
        self.apply(&UserRequest::Password { username, hash })
            .unwrap();
    }

    pub(super) fn set(&self, username: &str, name: &str, value: &str) {
        self.apply(&UserRequest::Set {
            username: username.into(),
            attributes: [(name.into(), value.into())].into(),
            without: Vec::new(),
            expiry: None,
            note: None,
        })
        .unwrap();
    }

    pub(super) fn remove(&self, username: &str) {
        let username = username.into();
        self.apply(&UserRequest::Remove { username }).unwrap();
    }

    pub(super) fn report(&self, username: &str) -> UserReport {
        let username = username.into();
        match self.apply(&UserRequest::Show { username }).unwrap() {
            UserReply::User(report) => report,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn audited(&self) -> Vec<(String, String, String)> {
        let filter = AuditFilter {
            rows_max: 100,
            ..AuditFilter::default()
        };
        let rows = read_audit(self.folder.path(), &filter).unwrap();
        rows.into_iter()
            .rev()
            .map(|row| {
                assert_eq!((&*row.actor, &*row.peer), ("uid 7", "test"));
                let detail = row.detail.to_string();
                (row.kind.to_string(), row.subject.to_string(), detail)
            })
            .collect()
    }
}

pub(super) fn cheap(username: &str) -> NewUser {
    NewUser::new(username, &PasswordHash::parse(CHEAP).unwrap())
}

pub(super) fn rig_record() -> UserRecord {
    UserRecord {
        username: "a".into(),
        hash: CHEAP.into(),
        generation: 7,
        attributes: Attributes::new(),
        enabled: true,
        expires_at: None,
        note: "".into(),
        created_at: 1,
        last_seen_at: None,
    }
}

fn is_right(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Right { .. })
}

/// Takes every turn, so that no password can be checked.
async fn all_turns(users: &Users) -> Vec<tokio::sync::OwnedSemaphorePermit> {
    let mut turns = Vec::new();
    for _ in 0..Pool::workers() {
        turns.push(users.pool.turn().await.unwrap());
    }
    turns
}

#[tokio::test]
async fn right_and_wrong_passwords_are_told_apart() {
    let rig = Rig::new();
    rig.add_with("press", b"a good password");
    let users = &rig.users;
    assert_eq!(
        users.verify("press", b"a bad password").await,
        Verdict::WrongPassword
    );
    assert_eq!(users.verify("press", b"").await, Verdict::WrongPassword);
    assert_eq!(
        users.verify("Press", b"a good password").await,
        Verdict::UnknownUser
    );
    let verdict = users.verify("press", b"a good password").await;
    let Verdict::Right {
        principal,
        expires_at,
        ..
    } = verdict
    else {
        panic!("{verdict:?}");
    };
    assert_eq!(&*principal.username, "press");
    assert_eq!((principal.is_superuser, expires_at), (false, None));
    assert_eq!(
        users.verify("press", b"a bad password").await,
        Verdict::WrongPassword,
        "after the right one"
    );
}

#[tokio::test(start_paused = true)]
async fn storm_of_reconnects_needs_no_turn() {
    let rig = Rig::new();
    for number in 0..20 {
        rig.add_with(
            &format!("u{number}"),
            format!("password {number}").as_bytes(),
        );
    }
    for number in 0..20 {
        let password = format!("password {number}");
        let name = format!("u{number}");
        assert!(is_right(
            &rig.users.verify(&name, password.as_bytes()).await
        ));
    }
    let turns = all_turns(&rig.users).await;
    let mut storm = tokio::task::JoinSet::new();
    for number in 0..1000 {
        let users = Arc::clone(&rig.users);
        storm.spawn(async move {
            let (name, password) = (
                format!("u{}", number % 20),
                format!("password {}", number % 20),
            );
            users.verify(&name, password.as_bytes()).await
        });
    }
    let verdicts = storm.join_all().await;
    assert_eq!(
        verdicts.iter().filter(|verdict| is_right(verdict)).count(),
        1000
    );
    drop(turns);
}

#[tokio::test]
async fn clients_that_share_a_user_are_checked_once() {
    let rig = Rig::new();
    rig.add_with("shared", b"a good password");
    let turns = all_turns(&rig.users).await;
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let users = Arc::clone(&rig.users);
        waiting.spawn(async move { users.verify("shared", b"a good password").await });
    }
    // All of them wait before the first is checked.
    while rig.users.pool.waiting() < 200 {
        tokio::task::yield_now().await;
    }
    drop(turns);
    let verdicts = waiting.join_all().await;
    assert!(verdicts.iter().all(is_right));
    let checked = rig.users.passwords_checked();
    assert!(checked <= Pool::workers() as u64, "{checked} for 200");
}

#[tokio::test(start_paused = true)]
async fn who_would_wait_too_long_is_told_to_come_again() {
    let rig = Rig::new();
    rig.add(cheap("known"));
    rig.add(NewUser {
        enabled: false,
        ..cheap("disabled")
    });
    rig.add(NewUser {
        expires_at: Some(5),
        ..cheap("expired")
    });
    let _turns = all_turns(&rig.users).await;
    // Nothing is found out without a turn, whoever it is.
    for username in ["known", "disabled", "expired", "unknown"] {
        let began = tokio::time::Instant::now();
        let verdict = rig.users.verify(username, CHEAP_PASSWORD).await;
        assert!(matches!(verdict, Verdict::Unavailable(_)), "{verdict:?}");
        assert_eq!(began.elapsed().as_secs(), 5, "{username}");
    }
    assert_eq!(rig.users.pool.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn queue_before_the_check_is_bounded() {
    let rig = Rig::new();
    let _turns = all_turns(&rig.users).await;
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..3000 {
        let users = Arc::clone(&rig.users);
        waiting.spawn(async move {
            let began = tokio::time::Instant::now();
            let verdict = users.verify("nobody", b"x").await;
            assert!(matches!(verdict, Verdict::Unavailable(_)), "{verdict:?}");
            began.elapsed().is_zero()
        });
    }
    let at_once = waiting.join_all().await;
    assert_eq!(
        at_once.iter().filter(|at_once| **at_once).count(),
        3000 - 2048
    );
}

#[tokio::test]
async fn disabled_and_expired_are_known_only_to_who_has_the_password() {
    let rig = Rig::new();
    rig.add(cheap("a"));
    rig.add(NewUser {
        expires_at: Some(5),
        ..cheap("b")
    });
    let users = &rig.users;
    assert!(is_right(&users.verify("a", CHEAP_PASSWORD).await));
    rig.enable("a", false);
    assert_eq!(users.verify("a", b"wrong").await, Verdict::WrongPassword);
    assert_eq!(users.verify("a", CHEAP_PASSWORD).await, Verdict::Disabled);
    assert_eq!(users.verify("b", b"wrong").await, Verdict::WrongPassword);
    assert_eq!(users.verify("b", CHEAP_PASSWORD).await, Verdict::Expired);
    rig.enable("a", true);
    assert!(is_right(&users.verify("a", CHEAP_PASSWORD).await));
}

#[tokio::test]
async fn end_of_a_user_is_the_end_of_the_connection() {
    let rig = Rig::new();
    let wall = clock::wall_seconds();
    rig.add(NewUser {
        expires_at: Some(wall + 3600),
        ..cheap("a")
    });
    let verdict = rig.users.verify("a", CHEAP_PASSWORD).await;
    let Verdict::Right {
        expires_at: Some(at),
        ..
    } = verdict
    else {
        panic!("{verdict:?}");
    };
    let left = at.duration_since(clock::now()).as_secs();
    assert!((3590..=3600).contains(&left), "{left}");
}

#[tokio::test(start_paused = true)]
async fn proof_lives_as_long_as_the_password() {
    let rig = Rig::new();
    rig.add_with("a", b"a good password");
    let users = &rig.users;
    assert!(is_right(&users.verify("a", b"a good password").await));
    let other = PasswordHash::new(b"another password").unwrap();
    // Without a turn only what is proven is accepted.
    let turns = all_turns(users).await;
    rig.set("a", "floor", "2");
    let verdict = users.verify("a", b"a good password").await;
    let Verdict::Right { principal, .. } = verdict else {
        panic!("attributes do not concern the password: {verdict:?}");
    };
    assert_eq!(&*principal.attributes["floor"], "2");
    rig.passwd("a", other.as_str());
    for password in [&b"a good password"[..], b"another password"] {
        let verdict = users.verify("a", password).await;
        assert!(matches!(verdict, Verdict::Unavailable(_)), "{verdict:?}");
    }
    drop(turns);
    assert!(is_right(&users.verify("a", b"another password").await));
    let turns = all_turns(users).await;
    assert!(is_right(&users.verify("a", b"another password").await));
    rig.enable("a", false);
    rig.enable("a", true);
    let verdict = users.verify("a", b"another password").await;
    assert!(matches!(verdict, Verdict::Unavailable(_)), "{verdict:?}");
    drop(turns);
    assert!(is_right(&users.verify("a", b"another password").await));
    let turns = all_turns(users).await;
    rig.remove("a");
    rig.add(NewUser::new("a", &other));
    let verdict = users.verify("a", b"another password").await;
    assert!(matches!(verdict, Verdict::Unavailable(_)), "{verdict:?}");
    drop(turns);
}

#[tokio::test]
async fn hash_of_others_is_replaced_at_the_login() {
    let rig = Rig::new();
    rig.add(cheap("old"));
    let before = rig.users.table().get("old").unwrap().record().generation;
    assert!(rig.report("old").has_foreign_hash);
    assert_eq!(
        rig.users.verify("old", b"wrong").await,
        Verdict::WrongPassword
    );
    assert!(rig.report("old").has_foreign_hash);
    let verdict = rig.users.verify("old", CHEAP_PASSWORD).await;
    let Verdict::Right { generation, .. } = verdict else {
        panic!("{verdict:?}");
    };
    while rig.report("old").has_foreign_hash {
        tokio::task::yield_now().await;
    }
    assert_eq!(generation, before);
    let principal = Arc::clone(rig.users.table().get("old").unwrap().principal());
    assert_eq!(
        rig.users.review(generation, &principal),
        Standing::Same,
        "the client that is connected stays"
    );
    let rig = rig.reopen();
    let hash = rig
        .users
        .table()
        .get("old")
        .unwrap()
        .hash()
        .unwrap()
        .clone();
    assert!(hash.is_own());
    assert!(is_right(&rig.users.verify("old", CHEAP_PASSWORD).await));
}

#[test]
fn hash_is_not_replaced_after_the_password_was() {
    let rig = Rig::new();
    rig.add(cheap("old"));
    let checked = rig.users.table().get("old").unwrap().record().clone();
    let newer = PasswordHash::new(b"a newer password").unwrap();
    rig.passwd("old", newer.as_str());
    let own = PasswordHash::new(CHEAP_PASSWORD).unwrap();
    rig.users.replace_hash(&checked, &own).unwrap();
    let hash = rig
        .users
        .table()
        .get("old")
        .unwrap()
        .hash()
        .unwrap()
        .clone();
    assert!(hash == newer);
    rig.remove("old");
    rig.users.replace_hash(&checked, &own).unwrap();
    assert!(rig.users.is_empty());
}

#[test]
fn nobody_costs_what_users_cost() {
    let rig = Rig::new();
    assert_eq!(rig.users.hash_of_nobody("x").scheme(), hash::OWN);
    for number in 0..30 {
        rig.add(cheap(&format!("cheap-{number}")));
    }
    let own = PasswordHash::new(b"a good password").unwrap();
    for number in 0..10 {
        rig.add(NewUser::new(&format!("own-{number}"), &own));
    }
    let scheme = |name: &str| rig.users.hash_of_nobody(name).scheme();
    let names: Vec<_> = (0..1000).map(|number| format!("nobody-{number}")).collect();
    let cheap = names
        .iter()
        .filter(|name| scheme(name) == hash::Scheme::Sha512);
    let share = cheap.count();
    assert!((650..850).contains(&share), "{share} of 1000, 750 expected");
    assert!(names.iter().all(|name| scheme(name) == scheme(name)));
    for number in 0..30 {
        rig.remove(&format!("cheap-{number}"));
    }
    assert!(names.iter().all(|name| scheme(name) == hash::OWN));
}

#[test]
fn review_says_what_has_become_of_a_login() {
    let rig = Rig::new();
    rig.add(cheap("a"));
    let entry = rig.users.table().get("a").unwrap();
    let (generation, principal) = (entry.record().generation, Arc::clone(entry.principal()));
    let review = || rig.users.review(generation, &principal);
    let is_gone = || matches!(review(), Standing::Gone(_));
    assert_eq!(review(), Standing::Same);
    rig.set("a", "floor", "2");
    let Standing::Changed(changed) = review() else {
        panic!("attributes differ");
    };
    assert_eq!(&*changed.attributes["floor"], "2");
    rig.enable("a", false);
    assert!(is_gone());
    rig.enable("a", true);
    assert!(!is_gone());
    rig.passwd("a", CHEAP);
    assert!(is_gone(), "the same password, but given anew");
    rig.remove("a");
    assert!(is_gone());
    rig.add(cheap("a"));
    assert!(is_gone(), "another user with the same name");
}

#[tokio::test]
async fn last_login_is_stored_in_bulk() {
    let rig = Rig::new();
    rig.add(cheap("a"));
    rig.add(cheap("b"));
    let before = clock::wall_seconds();
    assert_eq!(rig.report("a").last_seen_at, None);
    rig.users.flush_seen().unwrap();
    assert!(is_right(&rig.users.verify("a", CHEAP_PASSWORD).await));
    let seen = rig.report("a").last_seen_at.unwrap();
    assert!(seen >= before);
    // Changes in between do not lose it.
    rig.set("a", "floor", "1");
    assert_eq!(rig.report("a").last_seen_at, Some(seen));
    rig.users.flush_seen().unwrap();
    let rig = rig.reopen();
    assert_eq!(rig.report("a").last_seen_at, Some(seen));
    assert_eq!(rig.report("b").last_seen_at, None);

    let users = Arc::new(Users::new(vec![rig_record()], Jobs::none(Path::new("/x"))));
    assert!(is_right(&users.verify("a", CHEAP_PASSWORD).await));
    users.flush_seen().unwrap_err();
    assert_eq!(users.table().take_seen().len(), 1, "kept for the next time");
}

#[tokio::test]
async fn changes_are_told() {
    let rig = Rig::new();
    rig.add(cheap("a"));
    // One that nobody waited for.
    rig.users.changed().await;
    let users = Arc::clone(&rig.users);
    let told = tokio::spawn(async move { users.changed().await });
    tokio::task::yield_now().await;
    assert!(!told.is_finished());
    rig.remove("a");
    told.await.unwrap();
}

#[test]
fn hash_that_cannot_be_used_lets_nobody_in() {
    let record = UserRecord {
        hash: "$argon2id$v=19$m=4000000,t=9,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA".into(),
        ..rig_record()
    };
    let users = Arc::new(Users::new(vec![record], Jobs::none(Path::new("/x"))));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let verdict = runtime.block_on(users.verify("a", b"x"));
    assert_eq!(verdict, Verdict::WrongPassword);
}
