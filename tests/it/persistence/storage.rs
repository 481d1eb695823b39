//! Disks that are full or cannot be written, and databases that are damaged or too new: the gateway starts, says what it
//! lacks, and serves.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Ending, absent, begin, durable, end, message, publish, restart, resume};
use crate::support::{Bystander, Publish, TestGateway, V5, command};

const CONFIG: &str = r#"
[[listener]]
name = "test"

[[listener.port]]
port = 0
bind = "127.0.0.1"
authentication = "none"
authorization = "none"

[admin]
http = "127.0.0.1:0"
"#;

/// Small enough for a volume of 4 MiB.
const SMALL: &str = r#"
[store]
wal_bytes_max = "256 KiB"
reserve_bytes = "128 KiB"
free_bytes_min = "512 KiB"
"#;

#[track_caller]
fn unstarted(more: &str) -> Option<TestGateway> {
    let mut gateway = TestGateway::unstarted(&format!("{CONFIG}{more}"))?;
    // The state folder may be read-only.
    let runtime = gateway.path("run");
    fs::create_dir(&runtime).expect("a folder for the control socket");
    gateway.add_arg("--runtime-dir");
    gateway.add_arg(runtime);
    Some(gateway)
}

/// What the gateway answers on a path over HTTP.
#[track_caller]
fn get(gateway: &TestGateway, path: &str) -> String {
    let address = gateway.await_status(|status| {
        let address = status["admin"]["address"].as_str()?;
        (status["admin"]["state"] == "listening").then(|| address.to_owned())
    });
    let mut stream = TcpStream::connect(address).expect("connect to the admin port");
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    .expect("ask");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

/// What `fieldgate status` says.
#[track_caller]
fn status(gateway: &TestGateway) -> String {
    let output = command::fieldgate()
        .args(["status", "--runtime-dir"])
        .arg(gateway.path("run"))
        .output();
    let said: command::Said = output.expect("run the binary").into();
    assert_eq!(said.code, 0, "{}", said.stderr);
    said.stdout
}

/// It serves, and does not keep what is wrong to itself.
#[track_caller]
fn assert_degraded(gateway: &TestGateway) {
    let answer = get(gateway, "/readyz");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("degraded"), "{answer}");
    let said = status(gateway);
    assert!(said.contains("degraded"), "{said}");
    assert_serves_qos_0(gateway);
}

#[track_caller]
fn assert_whole(gateway: &TestGateway) {
    let answer = get(gateway, "/readyz");
    assert!(!answer.contains("degraded"), "{answer}");
}

#[track_caller]
fn assert_serves_qos_0(gateway: &TestGateway) {
    let mut subscriber = gateway.v5("listener");
    subscriber.subscribe("zero", 0);
    gateway.v3("speaker").say("zero", "text");
    assert_eq!(subscriber.take().payload_text(), "text");
}

/// A file system of its own on a folder, for as long as this lives.
struct Volume(PathBuf);

impl Volume {
    /// `None` where mounting is not allowed.
    fn mount(folder: &Path, options: &str) -> Option<Self> {
        fs::create_dir_all(folder).expect("make the folder");
        let volume = Self(folder.to_owned());
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(folder)
            .status();
        let mounted = status.is_ok_and(|status| status.success());
        if !mounted {
            let _ = writeln!(
                std::io::stderr(),
                "passed over: mounting is not allowed here"
            );
        }
        mounted.then_some(volume)
    }

    #[track_caller]
    fn change(&self, options: &str) {
        let status = Command::new("mount")
            .args(["-o", &format!("remount,{options}")])
            .arg(&self.0)
            .status();
        assert!(status.expect("run mount").success());
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A gateway whose state lies on a volume of 4 MiB. The volume has to live longer than the gateway.
#[track_caller]
fn small() -> Option<(Volume, TestGateway)> {
    let mut gateway = unstarted(SMALL)?;
    let volume = Volume::mount(&gateway.path("state"), "size=4m")?;
    gateway.run();
    Some((volume, gateway))
}

/// Publishes to a client that is away until the gateway takes no more; gives what it took.
#[track_caller]
fn fill(gateway: &TestGateway, topic: &str) -> Vec<String> {
    let mut client = gateway.v5("filler");
    let mut taken = Vec::new();
    for number in 0..2_000 {
        let text = format!("{number:0>8000}");
        match client.publish(&message(topic, &text)) {
            0 => taken.push(text),
            reason => {
                assert_eq!(reason, 0x97, "the quota is exceeded");
                client.disconnect();
                return taken;
            }
        }
    }
    panic!("4 MiB have taken 16 MB");
}

#[test]
fn full_disk_refuses_what_it_cannot_keep_and_recovers() {
    let Some((volume, gateway)) = small() else {
        return;
    };
    absent(&gateway, V5, "away", "a", 1);
    let mut retain = gateway.v5("retain");
    assert!(retain.publish(&message("kept", "old").retain()) < 0x80);
    let taken = fill(&gateway, "a");
    assert!(taken.len() > 20, "{} messages have used 4 MiB", taken.len());
    assert_degraded(&gateway);
    let mut bystander = Bystander::new(&gateway);
    bystander.is_served();
    assert!(
        retain.publish(&message("kept", "new").retain()) < 0x80,
        "an update of what is there"
    );
    // Everything that was acknowledged comes, and makes room.
    let mut client = resume(&gateway, &durable(V5, "away"));
    for text in &taken {
        assert!(client.take().payload_text() == text);
    }
    client.disconnect();
    gateway.await_status(|_| (!get(&gateway, "/readyz").contains("degraded")).then_some(()));
    publish(&gateway, [message("a", "again")]);
    bystander.is_served();
    drop((gateway, volume));
}

/// Users of a gateway, as its database has them.
fn users(gateway: &TestGateway) -> Vec<String> {
    let said = command::run_on(&gateway.path("state"), &["user", "list", "--json"]);
    assert_eq!(said.code, 0, "{said:?}");
    let users: serde_json::Value = serde_json::from_str(&said.stdout).expect("JSON");
    let users = users.as_array().expect("a list").iter();
    users
        .map(|user| user["username"].as_str().expect("a name").to_owned())
        .collect()
}

#[test]
fn users_change_on_a_full_disk_or_are_as_before() {
    let Some((volume, mut gateway)) = small() else {
        return;
    };
    absent(&gateway, V5, "away", "a", 1);
    fill(&gateway, "a");
    let state = gateway.path("state");
    let said = command::run_on(&state, &["user", "add", "first", "--generate"]);
    assert_eq!(
        said.code, 0,
        "messages were refused before this was: {said:?}"
    );
    // Whatever room is left is taken by others.
    let _ = fs::write(gateway.path("state/foreign"), vec![1; 4 << 20]);
    let mut known = vec!["first".to_owned()];
    for number in 0..200 {
        let name = format!("user-{number:0>3}");
        let note = "x".repeat(500);
        let said = command::run_on(
            &state,
            &["user", "add", &name, "--generate", "--note", &note],
        );
        if said.code == 0 {
            known.push(name);
        } else {
            assert!(said.stderr.contains("no space left"), "{said:?}");
            break;
        }
    }
    assert_eq!(users(&gateway), known);
    restart(&mut gateway, Ending::Killed);
    assert_eq!(users(&gateway), known);
    drop((gateway, volume));
}

#[test]
fn gateway_that_was_killed_on_a_full_disk_starts() {
    let Some((volume, mut gateway)) = small() else {
        return;
    };
    absent(&gateway, V5, "away", "a", 1);
    let taken = fill(&gateway, "a");
    // Whatever room is left is taken by others.
    let _ = fs::write(gateway.path("state/foreign"), vec![1; 4 << 20]);
    for ending in [Ending::Killed, Ending::Stopped, Ending::Killed] {
        restart(&mut gateway, ending);
        assert_degraded(&gateway);
    }
    fs::remove_file(gateway.path("state/foreign")).expect("make room");
    restart(&mut gateway, Ending::Killed);
    let mut client = resume(&gateway, &durable(V5, "away"));
    for text in &taken {
        assert!(client.take().payload_text() == text);
    }
    drop((gateway, volume));
}

/// The state folder is gone full by others, from the first start on.
#[test]
fn gateway_starts_without_any_space() {
    let Some(mut gateway) = unstarted(SMALL) else {
        return;
    };
    let Some(volume) = Volume::mount(&gateway.path("state"), "size=1m") else {
        return;
    };
    let _ = fs::write(gateway.path("state/foreign"), vec![1; 1 << 20]);
    gateway.run();
    assert_degraded(&gateway);
    drop((gateway, volume));
}

#[test]
fn read_only_state_folder_is_named() {
    let Some(mut gateway) = unstarted("") else {
        return;
    };
    let Some(volume) = Volume::mount(&gateway.path("state"), "size=256m") else {
        return;
    };
    gateway.run();
    absent(&gateway, V5, "away", "a", 1);
    end(&mut gateway, Ending::Stopped);
    volume.change("ro");
    gateway.run();
    assert_degraded(&gateway);
    let folder = gateway.path("state").display().to_string();
    assert!(
        gateway.log().contains(&folder),
        "the journal names the folder"
    );
    end(&mut gateway, Ending::Stopped);
    volume.change("rw");
    gateway.run();
    assert_whole(&gateway);
    resume(&gateway, &durable(V5, "away"));
    drop((gateway, volume));
}

#[test]
fn missing_state_folder_is_made() {
    let Some(mut gateway) = unstarted("") else {
        return;
    };
    gateway.run();
    assert_whole(&gateway);
    absent(&gateway, V5, "away", "a", 1);
    restart(&mut gateway, Ending::Killed);
    resume(&gateway, &durable(V5, "away"));
}

fn database(gateway: &TestGateway) -> PathBuf {
    gateway.path("state/gateway.db")
}

/// A stopped gateway with a session, a queued and a retained message in its database.
#[track_caller]
fn stored() -> Option<TestGateway> {
    let mut gateway = unstarted("")?;
    gateway.run();
    absent(&gateway, V5, "away", "a", 1);
    publish(&gateway, [message("a", "queued")]);
    gateway
        .v5("writer")
        .publish(&message("r", "retained").retain());
    end(&mut gateway, Ending::Stopped);
    Some(gateway)
}

/// Takes from a database what tells older versions that they can read it.
const UNREADABLE: &str = "DELETE FROM meta WHERE key = 'readable_since'";

/// What a version to come does to a database.
#[track_caller]
fn bring_on(path: &Path, change: &str) {
    let database = rusqlite::Connection::open(path).expect("the database");
    database.execute_batch(change).expect("change it");
    database
        .pragma_update(None, "user_version", 9_999)
        .expect("change the format");
    database
        .pragma_update_and_check(None, "wal_checkpoint", "TRUNCATE", |_| Ok(()))
        .expect("write it down");
}

#[test]
fn database_that_a_newer_version_has_added_to_goes_on() {
    let Some(mut gateway) = stored() else { return };
    bring_on(&database(&gateway), "CREATE TABLE later (a)");
    gateway.run();
    assert_whole(&gateway);
    let mut client = resume(&gateway, &durable(V5, "away"));
    assert_eq!(client.take().payload_text(), "queued");
}

#[test]
fn database_that_a_newer_version_has_changed_gives_way_to_the_copy_of_before() {
    let Some(mut gateway) = stored() else { return };
    let path = database(&gateway);
    let known = rusqlite::Connection::open(&path)
        .and_then(|database| database.pragma_query_value(None, "user_version", |row| row.get(0)));
    let known: i64 = known.expect("the format");
    fs::copy(
        &path,
        gateway.path(&format!("state/gateway.db.v{known}.bak")),
    )
    .expect("the copy");
    let change = "UPDATE meta SET value = 9999 WHERE key = 'readable_since'; DELETE FROM session";
    bring_on(&path, change);
    gateway.run();
    assert_degraded(&gateway);
    assert!(
        status(&gateway).contains("newer-"),
        "the status names the folder"
    );
    assert!(gateway.log().contains("format 9999"), "the journal says so");
    let mut client = resume(&gateway, &durable(V5, "away"));
    assert_eq!(client.take().payload_text(), "queued");
    end(&mut gateway, Ending::Stopped);
    let kept = fs::read_dir(gateway.path("state")).expect("the state folder");
    let kept: Vec<_> = kept
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.join("gateway.db").exists())
        .collect();
    assert_eq!(kept.len(), 1);
    fs::remove_dir_all(&kept[0]).expect("remove what was kept");
    gateway.run();
    assert_whole(&gateway);
}

#[test]
fn database_of_a_newer_version_is_left_alone() {
    let Some(mut gateway) = stored() else { return };
    let path = database(&gateway);
    let whole = fs::read(&path).expect("the database");
    bring_on(&path, UNREADABLE);
    let newer = fs::read(&path).expect("the database");
    gateway.run();
    assert_degraded(&gateway);
    assert!(
        gateway.log().contains("9999"),
        "the journal names the version"
    );
    end(&mut gateway, Ending::Stopped);
    assert!(
        fs::read(&path).expect("the database") == newer,
        "nothing is touched"
    );
    fs::write(&path, &whole).expect("change the version back");
    gateway.run();
    assert_whole(&gateway);
    let mut client = resume(&gateway, &durable(V5, "away"));
    assert_eq!(client.take().payload_text(), "queued");
}

/// Starts over a damaged database: it is put aside, and a new one is at work.
#[track_caller]
fn assert_begins_anew(mut gateway: TestGateway, damaged: &[u8]) {
    fs::write(database(&gateway), damaged).expect("damage the database");
    for name in ["state/gateway.db-wal", "state/gateway.db-shm"] {
        let _ = fs::remove_file(gateway.path(name));
    }
    gateway.run();
    assert_degraded(&gateway);
    let aside = fs::read_dir(gateway.path("state"))
        .expect("the state folder")
        .map(|entry| entry.expect("an entry").path())
        .find(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("corrupt-"))
        })
        .expect("a folder for what is corrupt");
    assert!(fs::read(aside.join("gateway.db")).expect("the old file") == damaged);
    begin(&gateway, &durable(V5, "new")).subscribe("n", 1);
    restart(&mut gateway, Ending::Killed);
    publish(&gateway, [message("n", "text")]);
    restart(&mut gateway, Ending::Killed);
    let mut client = resume(&gateway, &durable(V5, "new"));
    assert_eq!(client.take().payload_text(), "text");
}

#[test]
fn garbage_is_put_aside() {
    let Some(gateway) = stored() else { return };
    let garbage: Vec<u8> = (0_u32..40_000)
        .flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    assert_begins_anew(gateway, &garbage);
}

#[test]
fn text_is_put_aside() {
    let Some(gateway) = stored() else { return };
    assert_begins_anew(gateway, "this is no database\n".repeat(500).as_bytes());
}

#[test]
fn half_a_database_is_put_aside() {
    let Some(gateway) = stored() else { return };
    let whole = fs::read(database(&gateway)).expect("the database");
    assert_begins_anew(gateway, &whole[..whole.len() / 2 + 100]);
}

/// An empty file is a new database to SQLite.
#[test]
fn empty_file_is_a_new_database() {
    let Some(mut gateway) = stored() else { return };
    fs::write(database(&gateway), []).expect("empty the database");
    gateway.run();
    assert_serves_qos_0(&gateway);
    absent(&gateway, V5, "new", "n", 1);
    restart(&mut gateway, Ending::Killed);
    resume(&gateway, &durable(V5, "new"));
}

/// What is about connections alone needs no store.
#[test]
fn degraded_gateway_serves_clients_that_are_there() {
    let Some(mut gateway) = stored() else { return };
    bring_on(&database(&gateway), UNREADABLE);
    gateway.run();
    let mut bystander = Bystander::new(&gateway);
    (0..5).for_each(|_| bystander.is_served());
    let mut client = gateway.v5("two");
    client.subscribe("two", 2);
    publish(&gateway, [Publish::new("two", "text").qos(2, 1)]);
    assert_eq!(client.take().payload_text(), "text");
}
