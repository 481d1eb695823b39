//! Databases that are damaged at random: the gateway starts over each of them, serves, and what it says it has is whole.

use std::fs;
use std::path::PathBuf;

use nix::sys::signal::Signal;

use crate::book::{key_of, payload};
use crate::chance::Chance;
use crate::rig::CONFIG;
use crate::support::property::SESSION_EXPIRY_INTERVAL;
use crate::support::{Connect, Publish, TestGateway, V5};

const QUEUED: u32 = 60;
const RETAINED: u32 = 40;

fn durable(client_id: &str) -> Connect {
    Connect::new(V5, client_id)
        .resume()
        .with(SESSION_EXPIRY_INTERVAL, 3600_u32)
}

/// The files of a state folder that belong to the database.
fn database(gateway: &TestGateway) -> Vec<PathBuf> {
    let entries = fs::read_dir(gateway.path("state")).expect("the state folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let named = |path: &PathBuf| path.to_string_lossy().contains("gateway.db");
    let mut paths: Vec<_> = paths.filter(|path| path.is_file() && named(path)).collect();
    paths.sort();
    paths
}

/// A database with sessions, queued and retained messages, stopped or killed.
fn filled(is_killed: bool) -> (TestGateway, Vec<(PathBuf, Vec<u8>)>) {
    let mut gateway = TestGateway::here(CONFIG);
    gateway.run();
    for client_id in ["first", "second"] {
        let (mut client, _) = gateway.connect(&durable(client_id));
        client.subscribe("queued", 1);
        client.disconnect();
    }
    let mut writer = gateway.v5("writer");
    for number in 0..QUEUED {
        let message = Publish::new("queued", payload((1, number), number as usize * 9)).qos(1, 1);
        assert!(writer.publish(&message) < 0x80);
    }
    for number in 0..RETAINED {
        let topic = format!("retained/{number}");
        let message = Publish::new(&topic, payload((2, number), 100)).qos(1, 1);
        assert!(writer.publish(&message.retain()) < 0x80);
    }
    if is_killed {
        gateway.kill();
    } else {
        gateway.signal(Signal::SIGTERM);
        assert!(gateway.await_end().success());
    }
    let files = database(&gateway).into_iter();
    let files = files.map(|path| {
        let bytes = fs::read(&path).expect("a file of the database");
        (path, bytes)
    });
    let files = files.collect();
    (gateway, files)
}

/// Damages bytes, pages or the length of a file.
fn damage(bytes: &mut Vec<u8>, chance: &mut Chance) {
    let length = bytes.len() as u64;
    if length == 0 {
        return;
    }
    match chance.below(5) {
        0 => bytes.truncate(chance.below(length) as usize),
        1 => {
            let page = (chance.below(length) / 4096 * 4096) as usize;
            let end = bytes.len().min(page + 4096);
            bytes[page..end].fill(0);
        }
        2 => bytes[chance.below(length.min(200)) as usize] ^= 1 << chance.below(8),
        _ => {
            for _ in 0..chance.between(1, 40) {
                bytes[chance.below(length) as usize] ^= 1 << chance.below(8);
            }
        }
    }
}

/// Starts, serves both old and new clients, and gives nothing that nobody sent.
fn assert_serves(gateway: &mut TestGateway) {
    gateway.run();
    let (mut reader, _) = gateway.connect(&Connect::new(V5, "reader"));
    reader.subscribe("retained/#", 0);
    for found in reader.ping() {
        assert!(
            found.retain && found.topic.starts_with("retained/"),
            "{found:?}"
        );
    }
    let (mut client, connack) = gateway.connect(&durable("first"));
    if !connack.session_present {
        client.subscribe("queued", 1);
    }
    let clean = Connect::new(V5, "new").with(SESSION_EXPIRY_INTERVAL, 3600_u32);
    let (mut other, _) = gateway.connect(&clean);
    other.subscribe("queued", 1);
    let mut writer = gateway.v5("writer");
    let last = payload((3, 0), 10);
    let reason = writer.publish(&Publish::new("queued", &last).qos(1, 1));
    assert!(reason < 0x80, "a new message is taken, {reason:#04x}");
    while other.take().payload != last {}
    if !connack.session_present {
        while client.take().payload != last {}
    }
    assert!(key_of(&last).is_some());
}

/// By the number of damaged databases, half of them after a kill, with a write-ahead log beside the database.
pub(crate) fn run(count: u64, mut chance: Chance) {
    let mut samples = [filled(false), filled(true)];
    assert!(!samples[0].1.is_empty(), "there is a database");
    for number in 0..count {
        let (gateway, files) = &mut samples[(number % 2) as usize];
        let state = gateway.path("state");
        fs::remove_dir_all(&state).expect("remove the state");
        fs::create_dir(&state).expect("a new state folder");
        let victim = chance.below(files.len() as u64) as usize;
        for (at, (path, bytes)) in files.iter().enumerate() {
            let mut bytes = bytes.clone();
            if at == victim || chance.percent(20) {
                damage(&mut bytes, &mut chance);
            }
            fs::write(path, bytes).expect("write a file of the database");
        }
        assert_serves(gateway);
        gateway.kill();
        // What it has made of it is whole.
        assert_serves(gateway);
        gateway.kill();
    }
}
