//! `fieldgate import`: what people have is translated, and what comes of it is a configuration.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::command::run;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/mosquitto")
        .join(name)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain name")
}

#[test]
fn every_configuration_is_translated_into_one_that_check_takes() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut count = 0;
    for entry in fs::read_dir(fixture("")).expect("the folder of fixtures") {
        let folder = entry.expect("an entry").path();
        let said = run(["import", "mosquitto", text(&folder.join("mosquitto.conf"))]);
        assert_eq!(said.code, 0, "{folder:?}: {said:?}");
        assert!(said.stderr.contains(" translated, "), "{said:?}");
        let file = dir.path().join("gateway.toml");
        fs::write(&file, &said.stdout).expect("write");
        let checked = run(["check", "--config", text(&file)]);
        assert_eq!(
            checked.code, 0,
            "{folder:?}: {}\n{}",
            checked.stderr, said.stdout
        );
        count += 1;
    }
    assert!(count >= 12);
}

#[test]
fn rules_are_translated_by_themselves() {
    let acl = fixture("password-and-acl/acl");
    let said = run(["import", "mosquitto-acl", text(&acl), "--name", "plant"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(
        said.stdout.contains("[[authorization.plant.rule]]"),
        "{said:?}"
    );
    assert!(
        said.stdout
            .contains("publish = [\"clients/{principal.clientId}/up\"]"),
        "{said:?}"
    );
    assert!(
        said.stderr.contains("acl:14: pattern readwrite dev-%u/x"),
        "{said:?}"
    );
    let said = run(["import", "mosquitto-acl", text(&acl), "--name", "None"]);
    assert_eq!(said.code, 64, "{said:?}");
}

#[test]
fn what_cannot_be_understood_at_all_is_told_by_the_exit_code() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("x.conf");
    fs::write(&file, "this is\nno configuration\n").expect("write");
    let said = run(["import", "mosquitto", text(&file)]);
    assert_eq!(said.code, 78, "{said:?}");
    assert_eq!(said.stdout, "");
    assert!(
        said.stderr.contains("x.conf:2: no configuration"),
        "{said:?}"
    );
    let said = run(["import", "mosquitto", text(&dir.path().join("absent"))]);
    assert_eq!(said.code, 1, "{said:?}");
    fs::write(&file, "listener 1883\nallow_anonymous true\nflux true\n").expect("write");
    let said = run(["import", "mosquitto", text(&file)]);
    assert_eq!(said.code, 0, "one bad line is reported: {said:?}");
    assert!(said.stderr.contains("x.conf:3: flux true"), "{said:?}");
}

#[test]
fn users_of_the_translated_configuration_come_in_by_the_command_that_is_told() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = fixture("password-and-acl/mosquitto.conf");
    let said = run(["import", "mosquitto", text(&file)]);
    let command = said
        .stderr
        .lines()
        .find_map(|line| line.trim().strip_prefix("fieldgate "))
        .expect("a command");
    let state = dir.path().join("state");
    let here = ["--state-dir", text(&state)];
    let said = run(command.split(' ').chain(here));
    assert_eq!(said.code, 0, "{said:?}");
    let said = run(["user", "list"].into_iter().chain(here));
    assert!(said.stdout.contains("line controller"), "{said:?}");
}
