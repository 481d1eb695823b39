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
            ("data/fieldgate/etc/gateway.toml", "# of the owner\n"),
            ("data/fieldgate/etc/server.key", "a private key\n"),
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
            let path = self.path(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
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

    fn left(&self) -> Vec<String> {
        let files = erase::files(self.dir.path()).unwrap();
        let names = files.iter().map(|path| {
            let name = path.strip_prefix(self.dir.path()).unwrap();
            name.to_str().unwrap().to_owned()
        });
        names.collect()
    }

    #[track_caller]
    fn assert_as_delivered(&self, more: &[&str]) {
        let mut expected = vec![
            "boot/fieldgate/gateway.toml",
            "data/rauc/central.raucs",
            "proc/cmdline",
            Appliance::FILE,
        ];
        expected.extend(more);
        expected.sort_unstable();
        assert_eq!(self.left(), expected);
        assert!(!self.path("data/fieldgate").exists());
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
    assert!(boot_file > at("data/fieldgate"));
}

#[test]
fn secret_is_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let (path, other) = (dir.path().join("a.key"), dir.path().join("other"));
    fs::write(&path, "x".repeat(100_000)).unwrap();
    // Another name shows what became of the bytes.
    fs::hard_link(&path, &other).unwrap();
    erase::overwrite(&path).unwrap();
    assert!(!path.exists());
    assert!(fs::read(&other).unwrap() == vec![0; 100_000]);
    erase::overwrite(&path).unwrap();
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
    wipe(&state, &["fieldgate.lock"]).unwrap();
    assert_eq!(
        erase::entries(&state).unwrap(),
        [state.join("fieldgate.lock")]
    );
    wipe(&state, &["fieldgate.lock"]).unwrap();
    wipe(&machine.path("nowhere"), &[]).unwrap();
}
