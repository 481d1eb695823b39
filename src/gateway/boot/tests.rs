use std::fs;
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::*;
use crate::gateway::Offline;

const OPEN: &str = "[admin]\nhttp = \"off\"\n[[listener]]\nname = \"hall\"\n[[listener.port]]\nport = 1883\n\
                    authentication = \"none\"\nauthorization = \"none\"\n";

/// A user whose password was hashed elsewhere: hashing it here, at every step, would take its time.
const HASHED: &str = "press-1:$7$101$YoIjNZVCa8v6LNED$dVIRbc24IBWWUMqktglovbeRSNpFxcgcSQMPtGKUQY4BLNy7PhxLM9GgdFP/Q+iPx4z9/pX/j0sPM0K+wf83tw==\n";

/// A machine with a card in it.
struct World(TempDir);

impl World {
    fn new() -> Self {
        let world = Self(tempfile::tempdir().unwrap());
        for folder in ["boot/fieldgate", "etc", "state"] {
            fs::create_dir_all(world.path(folder)).unwrap();
        }
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn card(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path("boot/fieldgate").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn on_card(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.path("boot/fieldgate").join(name)).ok()
    }

    fn installed(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.path("etc").join(name)).ok()
    }

    fn import(&self) -> BootImport {
        let name = self.path("hostname");
        BootImport::new(
            &self.path("boot"),
            &self.path("etc"),
            &self.path("state"),
            Some(&name),
        )
    }

    #[track_caller]
    fn takes(&self) -> Vec<String> {
        let report = self.import().run().unwrap();
        assert_eq!(report.warnings, [""; 0]);
        report.taken
    }

    /// The problems, one text each.
    #[track_caller]
    fn refuses(&self) -> Vec<String> {
        match self.import().run() {
            Err(BootFault::Refused(problems)) => problems.iter().map(ToString::to_string).collect(),
            other => panic!("not refused: {other:?}"),
        }
    }

    fn users(&self) -> Vec<String> {
        if !Offline::is_there(&self.path("state")) {
            return Vec::new();
        }
        let mut offline = Offline::open(&self.path("state")).unwrap();
        let users = offline.take_users();
        users.iter().map(|user| user.username.to_string()).collect()
    }
}

#[test]
fn everything_is_taken_once_and_secrets_leave_the_card() {
    let world = World::new();
    world.card(
        "Gateway.toml.txt",
        format!("\u{feff}{}", OPEN.replace('\n', "\r\n")),
    );
    world.card(
        "users.txt",
        "# who\r\npump-1:correct horse\r\npump-2:battery staple\r\n",
    );
    world.card("hostname", "press-hall\r\n");
    world.card("tls/server.key", "-----BEGIN PRIVATE KEY-----\n");
    assert_eq!(
        world.takes(),
        [
            "Gateway.toml.txt",
            "hostname",
            "tls/server.key",
            "users.txt"
        ]
    );
    assert_eq!(world.installed("gateway.toml").unwrap(), OPEN);
    assert_eq!(
        fs::read_to_string(world.path("hostname")).unwrap(),
        "press-hall\n"
    );
    assert_eq!(world.users(), ["pump-1", "pump-2"]);
    let key = fs::metadata(world.path("etc/tls/server.key")).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o640);
    let folder = fs::metadata(world.path("etc/tls")).unwrap();
    assert_eq!(folder.permissions().mode() & 0o777, 0o755);
    assert_eq!(world.on_card("users.txt"), None);
    assert_eq!(world.on_card("tls/server.key"), None);
    let note = world.on_card("imported.txt").unwrap();
    assert!(
        note.contains("  users.txt, and taken away from here\r\n"),
        "{note}"
    );
    assert!(note.contains("  Gateway.toml.txt\r\n"), "{note}");

    // What was changed on the gateway since stays, whatever the card says.
    fs::write(world.path("etc/gateway.toml"), "changed").unwrap();
    assert_eq!(world.takes(), [""; 0]);
    world.card("users", "pump-3:correct horse\n");
    fs::remove_file(world.path("etc/gateway.toml")).unwrap();
    assert_eq!(world.takes(), ["users"]);
    assert_eq!(world.installed("gateway.toml"), None);
    assert_eq!(world.users(), ["pump-1", "pump-2", "pump-3"]);

    // The same users again are an old card; they only leave it.
    world.card("users", "pump-3:correct horse\n");
    assert_eq!(world.takes(), [""; 0]);
    assert_eq!(world.on_card("users"), None);
    let record = world.installed(".import/taken.json").unwrap();
    assert!(!record.contains("horse"), "{record}");

    world.card("Gateway.toml.txt", format!("{OPEN}# anew\n"));
    assert_eq!(world.takes(), ["Gateway.toml.txt"]);
    assert_eq!(
        world.installed("gateway.toml").unwrap(),
        format!("{OPEN}# anew\n")
    );
}

/// It kept the gateway from taking anything, for good.
#[test]
fn record_that_is_damaged_is_set_aside_and_said() {
    for damage in ["", "{\"salt\":", &" ".repeat((1 << 20) + 1)] {
        let world = World::new();
        world.card("gateway.toml", OPEN);
        assert_eq!(world.takes(), ["gateway.toml"]);
        fs::write(world.path("etc/.import/taken.json"), damage).unwrap();
        world.card("hostname", "press-hall");

        let report = world.import().run().unwrap();
        assert_eq!(report.taken, ["gateway.toml", "hostname"]);
        let [warning] = &report.warnings[..] else {
            panic!("{:?}", report.warnings);
        };
        assert!(warning.contains("taken.json`, cannot be read"), "{warning}");
        assert_eq!(
            world.installed(".import/taken.json.damaged").unwrap(),
            damage
        );
        assert_eq!(world.takes(), [""; 0], "each is taken once again");
    }
}

#[test]
fn one_fault_and_nothing_is_taken() {
    let world = World::new();
    world.card("gateway.toml", OPEN.replace("port = 1883", "port = 188300"));
    world.card("users", "pump-1:correct horse\npump-2\npump-3:short\n");
    world.card("hostname", "press hall");
    world.card("ca/key.pem", "x");
    let problems = world.refuses().join("\n");
    for expected in [
        "error: ca/key.pem: the certificate of this key is missing",
        "gateway.toml:6",
        "error: hostname: this is no name of a machine",
        "error: users: line 2: there is no `:`",
        "error: users: line 3: the password has less than 8 bytes",
    ] {
        assert!(problems.contains(expected), "{expected} in\n{problems}");
    }
    let place = world.path("etc").display().to_string();
    assert!(!problems.contains(&place), "{problems}");
    let errors = world.on_card("errors.txt").unwrap();
    assert!(
        errors.starts_with("Nothing of these files was taken"),
        "{errors}"
    );
    assert!(errors.lines().count() > 8 && !errors.replace("\r\n", "").contains('\n'));
    assert!(
        BootImport::last_errors(&world.path("etc"))
            .unwrap()
            .unwrap()
            .contains("188300")
    );
    assert_eq!(
        (world.installed("gateway.toml"), world.users().len()),
        (None, 0)
    );
    assert!(
        world.on_card("users").is_some(),
        "secrets of a refused card stay to be mended"
    );

    world.card("gateway.toml", OPEN);
    world.card("users", "pump-1:correct horse\n");
    world.card("hostname", "press-hall");
    fs::remove_file(world.path("boot/fieldgate/ca/key.pem")).unwrap();
    assert_eq!(world.takes().len(), 3);
    assert_eq!(world.on_card("errors.txt"), None);
    assert_eq!(BootImport::last_errors(&world.path("etc")).unwrap(), None);
}

/// Its blocks would be on the medium until they are needed, and no reset would find them.
#[test]
fn what_was_prepared_is_written_over() {
    let root = crate::ca::intermediate_of_tests();
    let world = World::new();
    world.card("users", HASHED);
    world.card("tls/server.key", "-----BEGIN PRIVATE KEY-----\n");
    world.card("ca/chain.pem", &root.0);
    world.card("ca/key.pem", &root.1);
    // Cut once it is decided, so that everything lies there.
    for steps in 0.. {
        let import = world.import();
        import.power.set(Some(steps));
        assert!(import.run().is_err(), "it is decided before it is done");
        if world.path("etc/.import/list.json").exists() {
            break;
        }
    }
    // And another import was cut while it brought the key to its place.
    fs::create_dir_all(world.path("etc/tls")).unwrap();
    fs::write(world.path("etc/tls/server.key.import"), "a key").unwrap();
    // Another name shows what becomes of the bytes.
    let kept = world.path("kept");
    fs::create_dir(&kept).unwrap();
    for (folder, names) in [
        (
            "etc/.import/new",
            &["0", "chain.pem", "key.pem", "users.json"][..],
        ),
        ("etc/tls", &["server.key.import"]),
    ] {
        for name in names {
            fs::hard_link(world.path(folder).join(name), kept.join(name)).unwrap();
        }
    }
    world.takes();
    assert!(!world.path("etc/.import/new").exists());
    for entry in fs::read_dir(&kept).unwrap() {
        let path = entry.unwrap().path();
        let left = fs::read(&path).unwrap();
        assert!(left.iter().all(|byte| *byte == 0), "{}", path.display());
        assert!(!left.is_empty(), "{}", path.display());
    }
}

#[test]
fn certificate_and_key_that_do_not_fit_are_refused() {
    let world = World::new();
    let make = || rcgen::generate_simple_self_signed(["gw.example".to_owned()]).unwrap();
    let (one, other) = (make(), make());
    let etc = world.path("etc").display().to_string();
    let tls = format!(
        "tls = {{ mode = \"Manual\", cert = \"{etc}/tls/server.crt\", key = \"{etc}/tls/server.key\" }}\n"
    );
    world.card("gateway.toml", format!("{OPEN}{tls}"));
    world.card("tls/server.crt", one.cert.pem());
    world.card("tls/server.key", other.signing_key.serialize_pem());
    let problems = world.refuses();
    assert!(problems[0].contains("tls/server."), "{problems:?}");
    assert!(!problems[0].contains(".import"), "{problems:?}");
    assert_eq!(world.installed("tls/server.crt"), None);
    world.card("tls/server.key", one.signing_key.serialize_pem());
    assert_eq!(world.takes().len(), 3);
}

#[test]
fn table_and_nameless_passwords_are_explained() {
    for (name, content, expected) in [
        ("users.csv", "username\npump\n", "nobody could be told"),
        ("users", "\n", "there is no user in it"),
        ("users", ":correct horse\n", "line 1"),
        (
            "users",
            "a:correct horse\na:correct horse\n",
            "line 2: the user is there twice",
        ),
        ("gateway.toml", "\u{0}\u{1}", "this is no text"),
    ] {
        let world = World::new();
        world.card(name, content);
        let problems = world.refuses().join("\n");
        assert!(problems.contains(expected), "{name}: {problems}");
    }
}

#[test]
fn place_that_is_taken_is_refused_before_anything_is_decided() {
    for (there, is_folder, on_card, expected) in [
        (
            "tls",
            false,
            "tls/server.crt",
            "etc/tls` is a file and no folder",
        ),
        (
            "tls/server.crt",
            true,
            "tls/server.crt",
            "server.crt` is a folder",
        ),
        ("a.pem.import", true, "a.pem", "a.pem.import` is a folder"),
        (
            "gateway.toml",
            true,
            "Gateway.toml.txt",
            "gateway.toml` is a folder",
        ),
        ("x", false, "gateway.toml/x", "needs a folder of this name"),
    ] {
        let world = World::new();
        let path = world.path("etc").join(there);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match is_folder {
            true => fs::create_dir(path).unwrap(),
            false => fs::write(path, "").unwrap(),
        }
        world.card(on_card, OPEN);
        if on_card == "gateway.toml/x" {
            world.card("Gateway.toml.txt", OPEN);
        }
        let problems = world.refuses().join("\n");
        assert!(problems.contains(expected), "{on_card}: {problems}");
        assert!(!world.path("etc/.import/list.json").exists(), "{on_card}");
    }
}

#[test]
fn import_that_can_never_be_finished_does_not_keep_the_next_from_being_taken() {
    let world = World::new();
    world.card("tls/server.crt", "x");
    let list = world.path("etc/.import/list.json");
    for steps in 0.. {
        let import = world.import();
        import.power.set(Some(steps));
        let cut = import.run();
        if list.exists() {
            break;
        }
        assert!(cut.is_err(), "it is decided before it is done");
    }
    fs::create_dir_all(world.path("etc/tls/server.crt")).unwrap();
    let problems = world.refuses().join("\n");
    assert!(problems.contains("server.crt` is a folder"), "{problems}");
    let errors = world.on_card("errors.txt").unwrap();
    assert!(
        errors.contains("cannot be finished and is given up"),
        "{errors}"
    );
    fs::remove_dir_all(world.path("boot/fieldgate/tls")).unwrap();
    world.card("gateway.toml", OPEN);
    assert_eq!(world.takes(), ["gateway.toml"]);

    fs::write(&list, "{").unwrap();
    world.card("hostname", "press-hall");
    let report = world.import().run().unwrap();
    assert_eq!(report.taken, ["hostname"]);
    assert_eq!(report.warnings.len(), 1, "{:?}", report.warnings);
}

#[test]
fn more_users_than_there_may_be_are_refused_before_anything_is_decided() {
    let world = World::new();
    world.card("users", HASHED);
    assert_eq!(world.takes(), ["users"]);
    let hash = HASHED.split_once(':').unwrap().1;
    let many = (0..crate::auth::users::USERS_MAX).map(|count| format!("more-{count}:{hash}"));
    world.card("users", many.collect::<String>());
    let problems = world.refuses();
    assert_eq!(
        problems,
        ["error: users: there would be more than 20000 users"]
    );
    assert!(!world.path("etc/.import/list.json").exists());
    world.card("users", HASHED.replace("press-1", "press-2"));
    assert_eq!(world.takes(), ["users"]);
}

#[test]
fn passwords_are_not_hashed_before_everything_else_is_right() {
    let world = World::new();
    world.card("users", "pump-1:correct horse\npump-1:correct horse\n");
    let read = || card::read(&world.path("boot/fieldgate")).unwrap().unwrap();
    let (files, mut problems) = read();
    let new: Vec<&CardFile> = files.iter().collect();
    let plan = plan::plan(&world.import(), &new, &files, &mut problems);
    assert_eq!((problems.len(), plan.users.len()), (1, 0));
    world.card("users", "pump-1:correct horse\n");
    let (files, mut problems) = read();
    let new: Vec<&CardFile> = files.iter().collect();
    let mut plan = plan::plan(&world.import(), &new, &files, &mut problems);
    assert_eq!((problems.len(), plan.users.len()), (0, 0));
    plan.hash_passwords().unwrap();
    assert_eq!(plan.users.len(), 1);
}

#[test]
fn fault_that_is_in_no_file_of_the_card_is_told_on_it() {
    let world = World::new();
    world.card("gateway.toml", OPEN);
    fs::remove_dir(world.path("etc")).unwrap();
    fs::write(world.path("etc"), "").unwrap();
    assert!(matches!(world.import().run(), Err(BootFault::Io { .. })));
    let errors = world.on_card("errors.txt").unwrap();
    assert!(errors.contains("cannot use"), "{errors}");
}

#[test]
fn machine_without_files_is_left_alone() {
    let world = World::new();
    fs::remove_dir_all(world.path("boot")).unwrap();
    assert_eq!(world.takes(), [""; 0]);
    assert_eq!(world.users(), [""; 0]);
}

#[test]
fn power_cut_at_any_step_leaves_the_old_or_leads_to_the_new() {
    let root = crate::ca::intermediate_of_tests();
    let mut steps = 0;
    loop {
        let world = World::new();
        fs::write(world.path("etc/gateway.toml"), "old").unwrap();
        world.card("gateway.toml", OPEN);
        world.card("users", HASHED);
        world.card("tls/server.crt", "x");
        world.card("hostname", "press-hall");
        world.card("ca/chain.pem", &root.0);
        world.card("ca/key.pem", &root.1);
        let import = world.import();
        import.power.set(Some(steps));
        let cut = import.run();
        let is_decided = world.path("etc/.import/list.json").exists();
        let is_done = cut.is_ok();
        let record = world.installed(".import/taken.json").unwrap_or_default();
        if !is_decided && !is_done && !record.contains("gateway.toml") {
            assert_eq!(
                world.installed("gateway.toml").unwrap(),
                "old",
                "cut at step {steps}"
            );
            assert_eq!(world.users(), [""; 0], "cut at step {steps}");
            assert!(world.on_card("users").is_some(), "cut at step {steps}");
        }
        let again = world.import().run().unwrap();
        assert_eq!(again.warnings, [""; 0], "cut at step {steps}");
        assert_eq!(
            world.installed("gateway.toml").unwrap(),
            OPEN,
            "cut at step {steps}"
        );
        assert_eq!(
            world.installed("tls/server.crt").unwrap(),
            "x",
            "cut at step {steps}"
        );
        assert_eq!(world.users(), ["press-1"], "cut at step {steps}");
        assert_eq!(
            fs::read_to_string(world.path("hostname")).unwrap(),
            "press-hall\n"
        );
        assert!(
            world.path("state/ca/trust.pem").exists(),
            "cut at step {steps}"
        );
        for gone in ["users", "ca/key.pem", "errors.txt"] {
            assert_eq!(world.on_card(gone), None, "cut at step {steps}");
        }
        let left = fs::read_dir(world.path("etc/.import")).unwrap();
        assert_eq!(
            left.count(),
            1,
            "cut at step {steps}: only the record is left"
        );
        let issuers = fs::read_to_string(world.path("state/ca/issuers.pem")).unwrap();
        assert_eq!(
            issuers.matches("BEGIN CERTIFICATE").count(),
            1,
            "cut at step {steps}"
        );
        if is_done && import.power.get() != Some(0) {
            break;
        }
        steps += 1;
    }
    assert!(steps > 30, "every step was cut: {steps}");
}
