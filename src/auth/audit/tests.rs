use std::sync::Arc;

use super::*;
use crate::config::StoreSettings;
use crate::store::Store;

const WALL: u64 = 1_790_000_000;

struct Rig {
    audit: Audit,
    start: Instant,
    _folder: tempfile::TempDir,
}

fn rig() -> Rig {
    let folder = tempfile::tempdir().unwrap();
    let wall = Arc::new(clock::wall);
    let opened = Store::open(folder.path(), &StoreSettings::default(), wall).unwrap();
    let audit = Audit::default();
    audit.attach(Jobs::own(opened.writer));
    Rig {
        audit,
        start: clock::now(),
        _folder: folder,
    }
}

impl Rig {
    fn note(&self, event: AuditEvent, seconds: u64) {
        let now = self.start + Duration::from_secs(seconds);
        self.audit.note_at(event, WALL + seconds, now);
    }

    async fn rows(&self) -> Vec<AuditRecord> {
        let filter = AuditFilter {
            rows_max: u32::MAX,
            ..AuditFilter::default()
        };
        self.audit.read(filter).await.unwrap()
    }
}

fn refused(last: u32) -> AuditEvent {
    let peer = std::net::Ipv4Addr::from_bits(0xc000_0200 + last);
    AuditEvent::new(AuditKind::LoginRefused, "press-1")
        .client("*:1883", Some(peer.into()), "c1")
        .detail("the password is wrong")
}

fn accepted(number: u32) -> AuditEvent {
    let name = format!("press-{number}");
    AuditEvent::new(AuditKind::LoginAccepted, &name)
        .actor(&name)
        .client("*:1883", None, &name)
}

#[tokio::test]
async fn an_event_becomes_a_row() {
    let rig = rig();
    rig.note(refused(66), 0);
    rig.note(
        AuditEvent::new(AuditKind::UserRemoved, "press-2").actor("uid 0"),
        1,
    );
    let rows = rig.rows().await;
    assert_eq!(rows.len(), 2);
    assert_eq!(&*rows[0].kind, "user-removed");
    assert_eq!(&*rows[0].actor, "uid 0");
    assert_eq!(rows[1].at, WALL);
    assert_eq!(&*rows[1].peer, "192.0.2.66");
    assert_eq!(&*rows[1].detail, "client c1: the password is wrong");
}

#[tokio::test]
async fn refusals_of_one_address_are_summarised() {
    let rig = rig();
    for _ in 0..10_000 {
        rig.note(refused(66), 0);
    }
    rig.note(refused(67), 0);
    assert_eq!(
        rig.rows().await.len(),
        6,
        "five, and one of another address"
    );
    rig.note(refused(66), 61);
    let rows = rig.rows().await;
    assert_eq!(rows.len(), 8);
    assert_eq!(&*rows[1].detail, "9995 more within a minute");
    assert_eq!(&*rows[1].peer, "192.0.2.66");
    assert_eq!(rig.audit.statistics().summarised, 9995);
}

#[tokio::test]
async fn refusals_of_a_million_addresses_make_few_rows() {
    let rig = rig();
    for minute in 0..3 {
        for last in 0..100_000 {
            rig.note(refused(last), minute * 61);
        }
    }
    rig.audit.flush().await.unwrap();
    let rows = rig.rows().await;
    assert!(rows.len() <= 3 * (60 + 60 + 1), "{}", rows.len());
    let counted: u64 = rows
        .iter()
        .map(|row| match row.detail.split_once(" more ") {
            Some((count, _)) => count.parse::<u64>().unwrap(),
            None => 1,
        })
        .sum();
    assert_eq!(counted, 300_000, "nothing is lost from the count");
}

#[tokio::test]
async fn logins_of_a_thousand_devices_after_a_power_cut_are_all_kept() {
    let rig = rig();
    for number in 0..1500 {
        rig.note(accepted(number), 0);
    }
    for _ in 0..100 {
        rig.note(accepted(7), 1);
    }
    rig.audit.flush().await.unwrap();
    let rows = rig.rows().await;
    assert_eq!(
        rows.len(),
        1500 + 4 + 1,
        "one client that connects again and again"
    );
    assert_eq!(&*rows[0].detail, "client press-7: 96 more within a minute");
}

#[tokio::test]
async fn changes_of_operators_are_never_summarised() {
    let rig = rig();
    for number in 0..300 {
        let name = format!("u{number}");
        rig.note(AuditEvent::new(AuditKind::UserAdded, &name), 0);
    }
    assert_eq!(rig.rows().await.len(), 300);
}

#[tokio::test]
async fn the_table_is_bounded_and_keeps_the_newest() {
    let rig = rig();
    let settings = ProtectionSettings {
        audit_rows_max: 100,
        ..ProtectionSettings::default()
    };
    rig.audit.set(&settings);
    for number in 0..2000 {
        rig.note(
            AuditEvent::new(AuditKind::UserAdded, &number.to_string()),
            0,
        );
    }
    let rows = rig.rows().await;
    // The other half is for what clients do.
    assert_eq!(rows.len(), 50);
    assert_eq!(&*rows[0].subject, "1999");
}

#[tokio::test]
async fn without_a_database_memory_is_bounded_and_what_is_lost_is_told() {
    let audit = Audit::default();
    let now = clock::now();
    let folder = tempfile::tempdir().unwrap();
    audit.attach(Jobs::none(folder.path()));
    for _ in 0..PENDING_MAX + 10 {
        audit.note_at(AuditEvent::new(AuditKind::UserAdded, "x"), WALL, now);
    }
    assert!(audit.flush().await.is_err());
    assert_eq!(audit.lock().pending.len(), PENDING_MAX);
    let wall = Arc::new(clock::wall);
    let opened = Store::open(folder.path(), &StoreSettings::default(), wall).unwrap();
    audit.attach(Jobs::own(opened.writer));
    let filter = AuditFilter {
        kind: Some("lost".into()),
        rows_max: 10,
        ..AuditFilter::default()
    };
    let rows = audit.read(filter).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert!(rows[0].detail.starts_with("1"), "{}", rows[0].detail);
}

#[tokio::test(start_paused = true)]
async fn logins_are_written_in_bulk_and_changes_soon() {
    let rig = rig();
    let audit = Arc::new(rig.audit);
    let running = Arc::clone(&audit);
    let task = tokio::spawn(async move { running.run().await });
    audit.note(accepted(1));
    sleep(Duration::from_secs(4)).await;
    assert_eq!(audit.statistics().rows, 0);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(audit.statistics().rows, 1);
    audit.note(AuditEvent::new(AuditKind::UserAdded, "x"));
    sleep(Duration::from_millis(300)).await;
    assert_eq!(audit.statistics().rows, 2);
    task.abort();
}

#[test]
fn words_of_kinds_are_theirs_alone() {
    for kind in AuditKind::ALL {
        assert_eq!(AuditKind::of(kind.as_str()), Some(kind));
    }
    assert_eq!(AuditKind::of("nothing"), None);
    // Those that `Users` writes.
    for word in ["user-password", "user-enabled", "users-exported"] {
        assert!(AuditKind::of(word).is_some(), "{word}");
    }
}

#[test]
fn texts_are_bounded() {
    let event = AuditEvent::new(AuditKind::Ban, &"é".repeat(60_000)).detail(&"x".repeat(70_000));
    assert!(event.subject.len() <= 260);
    assert!(event.detail.ends_with('…'));
}
