//! The power fails between any two steps, and every cause counts once.

use super::*;

/// More steps than a reset of these trees takes.
const STEPS_MAX: usize = 200;

/// A machine with everything that an owner leaves behind.
struct Machine {
    dir: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let machine = Self {
            // In memory where there is one: every step waits for the disk.
            dir: tempfile::tempdir_in("/dev/shm")
                .or_else(|_| tempfile::tempdir())
                .unwrap(),
        };
        machine.fill();
        machine
    }

    fn fill(&self) {
        for (path, text) in [
            (Appliance::FILE, "FIELDGATE_DISK=/dev/vda\n"),
            ("proc/cmdline", "console=ttyAMA0 rauc.slot=A\n"),
            ("boot/fieldgate/gateway.toml", "# dropped\n"),
            ("data/rauc/central.raucs", "[slot.rootfs.0]\n"),
            ("data/fieldgate/.provisioned", ""),
            ("data/fieldgate/hostname", "press\n"),
            ("data/fieldgate/proven/A", "slot A\n"),
            ("data/fieldgate/proven/notes", "of somebody\n"),
            ("data/fieldgate/etc/gateway.toml", "# of the owner\n"),
            ("data/fieldgate/etc/server.key", "a private key\n"),
            ("data/fieldgate/etc/both.txt", "-----BEGIN PRIVATE KEY-----"),
            ("data/fieldgate/etc/tls/a.p12.import", "another\n"),
            ("data/fieldgate/etc/.import/new/0", "of the card\n"),
            ("data/fieldgate/etc/.import/new/users.json", "[]\n"),
            ("data/fieldgate/state/gateway.db", "users and messages\n"),
            ("data/fieldgate/state/gateway.db-wal", "more of them\n"),
            (
                "data/fieldgate/state/ca/root-1.key",
                "the key of the root\n",
            ),
            ("data/fieldgate/state/ca/state.json", "{}\n"),
            ("data/fieldgate/journal/abc/system.journal", "lines\n"),
            ("data/fieldgate/systemd/credential.secret", "a secret\n"),
            ("data/fieldgate/update/before.db", "a copy\n"),
        ] {
            self.write(path, text);
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn appliance(&self) -> Appliance {
        Appliance::new(self.dir.path())
    }

    fn run(&self) -> Outcome {
        run(&self.appliance()).unwrap()
    }

    /// The power fails before a step. `None` if the reset takes fewer.
    fn cut_at(&self, step: usize) -> Option<PathBuf> {
        let (mut left, mut place) = (step, None);
        let cut = run_with(&self.appliance(), &mut |path| {
            if left == 0 {
                place = Some(path.to_owned());
                return Err(io::ErrorKind::Other.into());
            }
            left -= 1;
            Ok(())
        });
        assert_eq!(cut.is_err(), place.is_some());
        place
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn left(&self) -> Vec<String> {
        let (mut left, mut folders) = (Vec::new(), vec![self.dir.path().to_owned()]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(self.dir.path()).unwrap();
                match path.is_dir() && !path.is_symlink() {
                    true => folders.push(path),
                    false => left.push(name.to_str().unwrap().to_owned()),
                }
            }
        }
        left.sort();
        left
    }

    #[track_caller]
    fn assert_as_delivered(&self, more: &[&str]) {
        let mut expected = vec![
            "boot/fieldgate/before-reset/gateway.toml",
            "data/fieldgate/proven/A",
            "data/rauc/central.raucs",
            "proc/cmdline",
            Appliance::FILE,
        ];
        expected.extend(more);
        expected.sort_unstable();
        assert_eq!(self.left(), expected);
        let folders: Vec<_> = fs::read_dir(self.path("data/fieldgate"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(folders, ["proven"]);
    }
}

#[test]
fn nobody_asked() {
    let machine = Machine::new();
    let before = machine.left();
    assert_eq!(machine.run(), Outcome::NotAsked);
    assert_eq!(machine.left(), before);
}

#[test]
fn command_resets_once() {
    let machine = Machine::new();
    ask(&machine.appliance()).unwrap();
    assert_eq!(machine.run(), Outcome::Done(Cause::Command));
    machine.assert_as_delivered(&[]);
    machine.fill();
    assert_eq!(machine.run(), Outcome::NotAsked);
}

#[test]
fn file_on_the_boot_partition_resets_and_goes() {
    let machine = Machine::new();
    fs::write(machine.path("boot/fieldgate/factory-reset"), "").unwrap();
    assert_eq!(machine.run(), Outcome::Done(Cause::BootFile));
    machine.assert_as_delivered(&[]);
}

#[test]
fn argument_that_stays_resets_once() {
    let machine = Machine::new();
    let argument = |text: &str| fs::write(machine.path("proc/cmdline"), text).unwrap();
    argument("quiet fieldgate.factory-reset\n");
    assert_eq!(machine.run(), Outcome::Done(Cause::CommandLine));
    machine.assert_as_delivered(&["data/factory-reset.done"]);
    machine.fill();
    argument("quiet fieldgate.factory-reset\n");
    assert_eq!(machine.run(), Outcome::NotAsked);
    // Gone once, it counts again.
    argument("quiet\n");
    assert_eq!(machine.run(), Outcome::NotAsked);
    assert!(!machine.path("data/factory-reset.done").exists());
    argument("quiet fieldgate.factory-reset\n");
    assert_eq!(machine.run(), Outcome::Done(Cause::CommandLine));
}

#[test]
fn cut_between_any_two_steps_it_completes_at_the_next_start() {
    for step in 0..STEPS_MAX {
        let machine = Machine::new();
        fs::write(machine.path("boot/fieldgate/factory-reset"), "").unwrap();
        let Some(place) = machine.cut_at(step) else {
            assert!(step > 20, "{step} steps");
            return;
        };
        let name = place.display();
        match machine.run() {
            Outcome::Done(_) => {}
            Outcome::NotAsked => panic!("cut before {name}"),
        }
        machine.assert_as_delivered(&[]);
        assert_eq!(machine.run(), Outcome::NotAsked, "cut before {name}");
    }
    panic!("a reset takes more than {STEPS_MAX} steps");
}

#[test]
fn cut_again_and_again_it_completes() {
    let machine = Machine::new();
    ask(&machine.appliance()).unwrap();
    // Each start gets a little further than the one before.
    for step in 0..STEPS_MAX {
        if machine.cut_at(step).is_none() {
            break;
        }
    }
    machine.assert_as_delivered(&[]);
}

#[test]
fn keys_go_first() {
    let machine = Machine::new();
    machine.write("boot/fieldgate/factory-reset", "");
    ask(&machine.appliance()).unwrap();
    let mut places = Vec::new();
    run_with(&machine.appliance(), &mut |path| {
        places.push(path.to_owned());
        Ok(())
    })
    .unwrap();
    let at = |name: &str| {
        let path = machine.path(name);
        places.iter().position(|place| *place == path).unwrap()
    };
    assert_eq!(at("data/factory-reset"), 0);
    let first = at("data/fieldgate/etc/gateway.toml");
    for name in [
        "data/fieldgate/state/ca/root-1.key",
        "data/fieldgate/state/gateway.db",
        "data/fieldgate/state/gateway.db-wal",
        "data/fieldgate/etc/server.key",
        "data/fieldgate/systemd/credential.secret",
        "data/fieldgate/update/before.db",
    ] {
        assert!(at(name) < first, "{name}");
    }
    let marker = machine.path("data/factory-reset");
    assert_eq!(places.last(), Some(&marker));
    let boot_file = at("boot/fieldgate/factory-reset");
    assert!(boot_file > at("data/fieldgate/hostname"));
}

#[test]
fn card_of_the_former_owner_is_not_imported_again() {
    let machine = Machine::new();
    for name in [
        "ca/clients.pem",
        "ca/key.pem",
        "hostname",
        "Users.txt",
        "tls/server.key",
    ] {
        machine.write(&format!("boot/fieldgate/{name}"), "of the former owner\n");
    }
    machine.write("boot/fieldgate/before-reset/gateway.toml", "# older\n");
    ask(&machine.appliance()).unwrap();
    assert_eq!(machine.run(), Outcome::Done(Cause::Command));
    machine.assert_as_delivered(&[
        "boot/fieldgate/before-reset/ca/clients.pem",
        "boot/fieldgate/before-reset/hostname",
    ]);
    let kept = machine.path("boot/fieldgate/before-reset/gateway.toml");
    assert_eq!(fs::read_to_string(kept).unwrap(), "# dropped\n");
}

#[test]
fn slot_that_proved_good_is_not_on_trial_again() {
    let machine = Machine::new();
    let status = "[slot.rootfs.0]\nsha256=ab\ninstalled.timestamp=2026\n";
    machine.write("data/rauc/central.raucs", status);
    machine.appliance().set_proven("A").unwrap();
    ask(&machine.appliance()).unwrap();
    assert_eq!(machine.run(), Outcome::Done(Cause::Command));
    assert!(!machine.appliance().is_delivered("A"));
    assert!(machine.appliance().is_proven("A"));
    machine.assert_as_delivered(&[]);
}

#[test]
fn other_services_of_the_data_partition_are_reset_as_well() {
    let machine = Machine::new();
    machine.write("data/k3s/lib/server/token", "a token\n");
    machine.write("data/k3s/etc/k3s/k3s.yaml", "a key\n");
    machine.write("data/lost+found/#12", "a database that a check has found\n");
    machine.write("data/notes", "of the owner\n");
    ask(&machine.appliance()).unwrap();
    assert_eq!(machine.run(), Outcome::Done(Cause::Command));
    machine.assert_as_delivered(&[]);
    assert!(
        machine.path("data/lost+found").is_dir(),
        "the next check needs it"
    );
}

#[test]
fn file_that_windows_names_asks_as_well() {
    for name in ["factory-reset.txt", "FACTORY-RESET.TXT"] {
        let machine = Machine::new();
        machine.write(&format!("boot/fieldgate/{name}"), "");
        assert_eq!(machine.run(), Outcome::Done(Cause::BootFile), "{name}");
        machine.assert_as_delivered(&[]);
        assert_eq!(machine.run(), Outcome::NotAsked, "{name}");
    }
}

#[test]
fn cause_that_cannot_be_forgotten_stops_no_start() {
    let machine = Machine::new();
    machine.write("proc/cmdline", "rauc.slot=A fieldgate.factory-reset\n");
    machine.write("data/factory-reset.done", "boot-file\ncommand-line\n");
    machine.write("data/factory-reset.done.new/in-the-way", "");
    assert_eq!(machine.run(), Outcome::NotAsked);
}

#[test]
fn link_in_the_place_of_the_marks_is_removed() {
    let machine = Machine::new();
    let (marks, elsewhere) = (machine.path("data/fieldgate/proven"), machine.path("other"));
    fs::remove_dir_all(&marks).unwrap();
    machine.write("other/A", "");
    std::os::unix::fs::symlink(&elsewhere, &marks).unwrap();
    ask(&machine.appliance()).unwrap();
    assert_eq!(machine.run(), Outcome::Done(Cause::Command));
    assert!(fs::symlink_metadata(&marks).is_err());
    assert!(elsewhere.join("A").exists(), "it leads to what is not ours");
}

#[test]
fn marker_that_cannot_be_written_keeps_nothing() {
    let machine = Machine::new();
    machine.write("boot/fieldgate/factory-reset", "");
    machine.write("data/factory-reset.new/in-the-way", "");
    assert_eq!(machine.run(), Outcome::Done(Cause::BootFile));
    machine.assert_as_delivered(&[]);
}

/// A program that runs cannot be written over, whoever tries.
fn put_running(path: &Path) -> std::process::Child {
    // Not by this process: a child that another test starts would hold the file open for writing, and then nothing runs it.
    let copied = Command::new("cp").arg("/bin/sleep").arg(path).status();
    assert!(copied.unwrap().success());
    Command::new(path).arg("60").spawn().unwrap()
}

#[test]
fn file_that_cannot_be_written_over_goes_with_all_others() {
    // Not in memory, where nothing may be run.
    let machine = Machine {
        dir: tempfile::tempdir().unwrap(),
    };
    machine.fill();
    let mut program = put_running(&machine.path("data/fieldgate/state/ca/a.key"));
    ask(&machine.appliance()).unwrap();
    let outcome = run(&machine.appliance());
    program.kill().unwrap();
    program.wait().unwrap();
    assert_eq!(outcome.unwrap(), Outcome::Done(Cause::Command));
    machine.assert_as_delivered(&[]);
}

#[test]
fn operator_is_told_what_could_not_be_written_over() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("gateway.db"), "users").unwrap();
    let key = dir.path().join("a.key");
    let mut program = put_running(&key);
    let wiped = wipe(dir.path(), &[]);
    program.kill().unwrap();
    program.wait().unwrap();
    let fault = wiped.unwrap_err();
    assert_eq!(
        fault.to_string(),
        format!("cannot overwrite `{}`", key.display())
    );
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn secret_is_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let (path, other) = (dir.path().join("a.key"), dir.path().join("other"));
    fs::write(&path, "x".repeat(100_000)).unwrap();
    // Another name shows what became of the bytes.
    fs::hard_link(&path, &other).unwrap();
    wipe(dir.path(), &["other"]).unwrap();
    assert!(!path.exists());
    assert!(fs::read(&other).unwrap() == vec![0; 100_000]);
}

#[test]
fn folder_that_becomes_a_link_is_not_followed() {
    let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let precious = outside.path().join("precious.key");
    fs::write(&precious, "x").unwrap();
    let folder = dir.path().join("z");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("precious.key"), "y").unwrap();
    // Whoever the gateway runs as puts a link there while root is at work.
    let mut seam = |path: &Path| {
        if path == folder.join("precious.key") {
            fs::rename(&folder, dir.path().join("moved"))?;
            std::os::unix::fs::symlink(outside.path(), &folder)?;
        }
        Ok(())
    };
    let mut removal = Removal::new(&mut seam);
    let top = removal.open(dir.path()).unwrap();
    removal.contents(&top, &[]).unwrap();
    assert_eq!(fs::read(&precious).unwrap(), b"x");
    assert!(!dir.path().join("moved/precious.key").exists());
}

#[test]
fn links_are_removed_and_not_followed() {
    let machine = Machine::new();
    let outside = tempfile::tempdir().unwrap();
    let file = outside.path().join("precious.key");
    fs::write(&file, "x").unwrap();
    let link = |name: &str, to: &Path| std::os::unix::fs::symlink(to, machine.path(name)).unwrap();
    link("data/fieldgate/state/ca/link.key", &file);
    link("data/fieldgate/state/folder", outside.path());
    ask(&machine.appliance()).unwrap();
    assert_eq!(machine.run(), Outcome::Done(Cause::Command));
    machine.assert_as_delivered(&[]);
    assert_eq!(fs::read(&file).unwrap(), b"x");
}

#[test]
fn state_of_a_service_is_wiped_but_its_lock() {
    let machine = Machine::new();
    let state = machine.path("data/fieldgate/state");
    fs::write(state.join("fieldgate.lock"), "").unwrap();
    for _ in 0..2 {
        wipe(&state, &["fieldgate.lock"]).unwrap();
        let left: Vec<_> = fs::read_dir(&state)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["fieldgate.lock"]);
    }
    wipe(&machine.path("nowhere"), &[]).unwrap();
}

#[test]
fn what_came_from_a_card_is_written_over() {
    let machine = Machine::new();
    let names = [
        "both.txt",
        "tls/a.p12.import",
        ".import/new/0",
        ".import/new/users.json",
    ];
    // Other names show what became of the bytes.
    let bytes = |at: usize| machine.path(&format!("bytes-{at}"));
    for (at, name) in names.iter().enumerate() {
        fs::hard_link(machine.path("data/fieldgate/etc").join(name), bytes(at)).unwrap();
    }
    ask(&machine.appliance()).unwrap();
    assert_eq!(machine.run(), Outcome::Done(Cause::Command));
    let is_left = |at: &usize| fs::read(bytes(*at)).unwrap().iter().any(|byte| *byte != 0);
    let left: Vec<_> = (0..names.len())
        .filter(is_left)
        .map(|at| names[at])
        .collect();
    assert_eq!(left, [""; 0]);
}

#[test]
fn key_of_the_card_is_destroyed_whatever_its_file_is_called() {
    let machine = Machine::new();
    let text = "-----BEGIN CERTIFICATE-----\n-----BEGIN EC PRIVATE KEY-----\nMC4\n";
    let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    machine.write("boot/fieldgate/tls/server.pem", text);
    machine.write("boot/fieldgate/notes", "");
    fs::write(machine.path("boot/fieldgate/notes"), &wide).unwrap();
    machine.write(
        "boot/fieldgate/tls/clients.pem",
        "-----BEGIN PUBLIC KEY-----\n",
    );
    // Another name shows what became of the bytes.
    let bytes = machine.path("bytes");
    fs::hard_link(machine.path("boot/fieldgate/tls/server.pem"), &bytes).unwrap();
    ask(&machine.appliance()).unwrap();
    assert_eq!(machine.run(), Outcome::Done(Cause::Command));
    machine.assert_as_delivered(&["boot/fieldgate/before-reset/tls/clients.pem", "bytes"]);
    assert_eq!(fs::read(bytes).unwrap(), vec![0; text.len()]);
}

#[test]
fn key_is_found_wherever_it_begins() {
    let mark = b"-----BEGIN PRIVATE KEY-----";
    for before in (65_500..65_560).chain([0, 200_000]) {
        let mut content = vec![b'x'; before];
        content.extend(mark);
        assert!(holds_key(&content[..]).unwrap(), "{before}");
        content.pop();
        assert!(!holds_key(&content[..]).unwrap(), "{before}");
    }
}
