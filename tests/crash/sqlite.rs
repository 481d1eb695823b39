//! The layer itself is put to the test with SQLite, whose promises are known: with `synchronous=FULL` a commit survives
//! the cut, with `OFF` it does not.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::chance::Chance;
use crate::powercut::PowerCut;

/// Opens, checks, says how many rows there are, and goes on to write; says each commit.
const WRITER: &str = r#"
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA journal_mode=WAL")
database.execute("PRAGMA synchronous=" + sys.argv[2])
database.execute("PRAGMA wal_autocheckpoint=20")
database.execute("CREATE TABLE IF NOT EXISTS row(number INTEGER PRIMARY KEY, text TEXT)")
whole = database.execute("PRAGMA integrity_check").fetchone()[0]
count, last = database.execute("SELECT count(*), coalesce(max(number), 0) FROM row").fetchone()
print("found", whole.split()[0], count, last, flush=True)
for number in range(last + 1, last + 1 + int(sys.argv[3])):
    database.execute("INSERT INTO row VALUES (?, ?)", (number, str(number) * (number % 400)))
    print("stored", number, flush=True)
"#;

/// What a run of the writer has said.
#[derive(Debug, Default)]
struct Run {
    /// Whether the database was whole at the start, and the last row.
    found: Option<u64>,
    stored: u64,
}

fn write(database: &Path, synchronous: &str, rows: u64, variables: &[(&str, String)]) -> Run {
    let mut child = Command::new("python3")
        .args(["-c", WRITER])
        .arg(database)
        .args([synchronous, &rows.to_string()])
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("run python3");
    let mut run = Run::default();
    for line in BufReader::new(child.stdout.take().expect("its output")).lines() {
        let line = line.expect("text");
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["found", "ok", count, last] if count == last => run.found = last.parse().ok(),
            ["stored", number] => run.stored = number.parse().expect("a number"),
            _ => {}
        }
    }
    child.wait().expect("the end of python3");
    run
}

/// Cuts the power again and again; the number of cuts behind which something was missing.
fn losses(synchronous: &str, seed: u64, cuts: u64) -> u64 {
    let mut chance = Chance::new(seed);
    let mut losses = 0;
    for _ in 0..cuts {
        let dir = tempfile::tempdir().expect("a folder");
        let layer = PowerCut::new(&dir.path().join("data"), &dir.path().join("records"));
        let database = dir
            .path()
            .join("data")
            .canonicalize()
            .expect("there")
            .join("rows.db");
        let mut stored = 0;
        for _ in 0..2 {
            let variables = layer.arm().into_iter();
            let mut variables: Vec<_> = variables
                .map(|(name, value)| (name, value.into_string().expect("a plain path")))
                .collect();
            variables.push(("POWERCUT_AFTER", chance.between(1, 400).to_string()));
            let run = write(&database, synchronous, 200, &variables);
            if run.found.is_some_and(|found| found < stored)
                || run.found.is_none() && run.stored > 0
            {
                break;
            }
            stored = stored.max(run.stored);
            layer.strike(&mut chance);
        }
        let run = write(&database, synchronous, 0, &[]);
        losses += u64::from(run.found.is_none_or(|found| found < stored));
    }
    losses
}

#[test]
fn layer_keeps_what_is_synced() {
    assert_eq!(losses("FULL", 1, 15), 0, "acknowledged rows are lost");
}

#[test]
fn layer_loses_what_is_not_synced() {
    assert!(losses("OFF", 1, 10) >= 5, "the layer does not bite");
}
