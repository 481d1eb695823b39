//! Updates of an appliance, with a stand-in for RAUC that says what version 1.8 said, and signatures with the real one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use fieldgate::gateway::StateLock;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::TestGateway;
use crate::support::command::{Said, fieldgate, write_script};

const COMPATIBLE: &str = "fieldgate-test";

/// An appliance of files, and programs in front of those of the machine.
struct Machine {
    dir: TempDir,
}

impl Machine {
    /// Slot A runs, was installed with version 1.2, and has proved good.
    fn new() -> Self {
        let machine = Self {
            dir: tempfile::tempdir().expect("a folder"),
        };
        machine.write(
            "usr/lib/fieldgate/appliance.conf",
            "FIELDGATE_DISK=/dev/vda\n",
        );
        machine.write(
            "data/rauc/central.raucs",
            "[slot.rootfs.0]\nsha256=ab\ninstalled.timestamp=2026-01-01T00:00:00Z\n",
        );
        machine.write(
            "data/fieldgate/proven/A",
            "slot A: sha256=ab\ninstalled.timestamp=2026-01-01T00:00:00Z\n",
        );
        machine.write("bundle.raucb", "a bundle");
        machine.write("etc/fw_env.config", "");
        machine.program(
            "fw_printenv",
            "[ \"$2\" = BOOT_A_LEFT ] && echo 3 || echo 0x2",
        );
        machine.rauc("rootfs.0", &bundle(COMPATIBLE, "1.3"), "exit 0");
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("make the folder");
        fs::write(path, text).expect("write a file");
    }

    fn program(&self, name: &str, script: &str) {
        write_script(&self.path("bin").join(name), script);
    }

    /// Slot A has what came with the device, and has not passed the gate.
    fn delivered(&self) {
        self.write("data/rauc/central.raucs", "");
        fs::remove_file(self.path("data/fieldgate/proven/A")).expect("remove the mark");
    }

    /// `primary` is the slot that the next start takes, `info` what is done for `rauc info`.
    fn rauc(&self, primary: &str, info: &str, install: &str) {
        let status = format!(
            r#"{{"compatible":"{COMPATIBLE}","variant":"","booted":"A","boot_primary":"{primary}","slots":[{{"rootfs.1":{{"class":"rootfs","device":"/dev/vda3","type":"ext4","bootname":"B","state":"inactive","parent":null,"mountpoint":null,"boot_status":"good","slot_status":{{"bundle":{{"compatible":null}}}}}}}},{{"rootfs.0":{{"class":"rootfs","device":"/dev/vda2","type":"ext4","bootname":"A","state":"booted","parent":null,"mountpoint":null,"boot_status":"good","slot_status":{{"bundle":{{"compatible":"{COMPATIBLE}","version":"1.2","description":null,"build":null}},"installed":{{"timestamp":"2026-01-01T00:00:00Z","count":1}}}}}}}}]}}"#
        );
        let log = self.path("rauc.log").display().to_string();
        self.program(
            "rauc",
            &format!(
                "echo \"$@\" >>{log}\ncase \"$1 $2\" in\n\"status mark-good\") echo 'rauc status: marked slot rootfs.0 as good' ;;\nstatus*) echo '{status}' ;;\ninfo*) {info} ;;\ninstall*) {install} ;;\nesac"
            ),
        );
    }

    fn run(&self, args: &[&str]) -> Said {
        let path = std::env::var("PATH").unwrap_or_default();
        self.run_with_path(args, &format!("{}:{path}", self.path("bin").display()))
    }

    fn run_with_path(&self, args: &[&str], path: &str) -> Said {
        let output = fieldgate()
            .arg("update")
            .args(args)
            .arg("--root")
            .arg(self.dir.path())
            .env("PATH", path)
            .output();
        output.expect("run the binary").into()
    }

    fn install(&self, more: &[&str]) -> Said {
        let bundle = self.path("bundle.raucb").display().to_string();
        let mut args = vec!["install", &bundle];
        args.extend(more);
        self.run(&args)
    }

    /// What RAUC was told.
    fn told(&self) -> String {
        fs::read_to_string(self.path("rauc.log")).unwrap_or_default()
    }

    #[track_caller]
    fn assert_refused(&self, said: &Said, text: &str, hint: &str) {
        assert_eq!(
            (said.code, said.stdout.as_str()),
            (1, ""),
            "{}",
            said.stderr
        );
        assert!(said.stderr.contains(text), "{}", said.stderr);
        assert!(said.stderr.contains("hint: "), "{}", said.stderr);
        assert!(said.stderr.contains(hint), "{}", said.stderr);
        assert!(!self.told().contains("install"), "{}", self.told());
    }
}

#[test]
fn what_was_wrong_before_is_written_down_for_the_trial() {
    let config = "[[listener]]\nname = \"site\"\n[[listener.port]]\nport = 0\nbind = \"127.0.0.1\"\nauthentication = \"none\"\nauthorization = \"none\"\ntls = { mode = \"Manual\", cert = \"{dir}/no.crt\", key = \"{dir}/no.key\" }\n";
    let Some(gateway) = TestGateway::configured(config) else {
        return;
    };
    let machine = Machine::new();
    let state = gateway.path("state").display().to_string();
    let said = machine.install(&["--runtime-dir", &state]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    let text = "warning: port 127.0.0.1:0 is not open: awaiting certificate";
    assert!(said.stderr.contains(text), "{}", said.stderr);
    let known = || fs::read_to_string(machine.path("data/fieldgate/update/known")).expect("a file");
    assert_eq!(known(), r#"{"ports":["127.0.0.1:0"],"store_full":false}"#);
    // The next update asks anew.
    let nowhere = machine.path("nowhere").display().to_string();
    let said = machine.install(&["--runtime-dir", &nowhere]);
    assert!(said.stderr.contains("does not answer"), "{}", said.stderr);
    assert_eq!(known(), r#"{"ports":[],"store_full":false}"#);
}

#[test]
fn device_whose_first_image_never_passed_takes_updates() {
    let machine = Machine::new();
    machine.delivered();
    let said = machine.install(&[]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(said.stderr.contains("as delivered"), "{}", said.stderr);
}

fn bundle(compatible: &str, version: &str) -> String {
    format!(
        r#"echo '{{"compatible":"{compatible}","version":"{version}","description":null,"build":null,"hooks":[],"images":[]}}'"#
    )
}

fn complaint(text: &str) -> String {
    format!("echo '{text}' >&2; exit 1")
}

#[test]
fn bundle_is_installed_after_the_state_was_copied() {
    let machine = Machine::new();
    let state = machine.path("data/fieldgate/state");
    drop(StateLock::acquire(&state).expect("a state folder"));
    let settings = fieldgate::config::StoreSettings::default();
    let clock = std::sync::Arc::new(fieldgate::clock::wall);
    drop(fieldgate::store::Store::open(&state, &settings, clock).expect("a database"));
    machine.rauc(
        "rootfs.0",
        &bundle(COMPATIBLE, "1.3"),
        "echo installing; echo '100% Installing done.'; echo idle",
    );
    let said = machine.install(&[]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(
        said.stdout.contains("Version 1.3 is installed"),
        "{}",
        said.stdout
    );
    assert!(
        said.stderr.contains("100% Installing done."),
        "{}",
        said.stderr
    );
    assert!(machine.path("data/fieldgate/update/before.db").exists());
    let bundle = machine.path("bundle.raucb").display().to_string();
    assert!(machine.told().contains(&format!("install {bundle}")));
    // One copy, which the next one replaces.
    assert_eq!(machine.install(&[]).code, 0);
    let copies = fs::read_dir(machine.path("data/fieldgate/update")).expect("the folder");
    let names = copies.map(|entry| entry.expect("an entry").file_name());
    assert_eq!(names.filter(|name| name != "known").count(), 1);
}

#[test]
fn room_for_one_copy_only_is_not_enough() {
    let machine = Machine::new();
    machine.write("data/fieldgate/state/gateway.db", "");
    let path = machine.path("data/fieldgate/state/gateway.db");
    let free = fieldgate::store::free_bytes(machine.dir.path()).expect("the volume");
    let file = fs::File::options().write(true).open(path);
    file.and_then(|file| file.set_len(free / 10 * 6))
        .expect("a file with a hole");
    let said = machine.install(&[]);
    machine.assert_refused(&said, "no room for two copies", "--no-copy");
}

#[test]
fn machine_that_is_no_appliance_is_told_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = fieldgate()
        .args(["update", "status", "--root"])
        .arg(folder.path())
        .output();
    let said: Said = output.expect("run the binary").into();
    assert_eq!(said.code, 1);
    assert!(
        said.stderr.contains("this is no appliance"),
        "{}",
        said.stderr
    );
}

#[test]
fn what_is_wrong_with_a_bundle_is_said() {
    let machine = Machine::new();
    for (complained, text, hint) in [
        (
            "signature verification failed: Verify error: unable to get local issuer certificate",
            "signed by nobody",
            "keyring",
        ),
        (
            "signature verification failed: error:0200008A:rsa routines::invalid padding",
            "not what was signed",
            "fetch it again",
        ),
        (
            "Invalid bundle format: Failed to seek to end of bundle: Error seeking in file: Invalid argument",
            "no bundle",
            "verity",
        ),
        (
            "Error retrieving slot status via D-Bus: error creating proxy",
            "does not answer",
            "systemctl status rauc",
        ),
        ("something new", "RAUC: something new", "journalctl"),
    ] {
        machine.rauc("rootfs.0", &complaint(complained), "exit 0");
        machine.assert_refused(&machine.install(&[]), text, hint);
    }
    fs::remove_file(machine.path("bundle.raucb")).expect("remove the bundle");
    machine.assert_refused(
        &machine.install(&[]),
        "cannot read the bundle",
        "a file that is there",
    );
}

#[test]
fn bundle_of_another_machine_is_refused() {
    let machine = Machine::new();
    machine.rauc("rootfs.0", &bundle("foreign", "1.3"), "exit 0");
    machine.assert_refused(
        &machine.install(&[]),
        "is for `foreign`",
        "for this machine",
    );
}

#[test]
fn older_bundle_needs_a_word() {
    let machine = Machine::new();
    machine.rauc("rootfs.0", &bundle(COMPATIBLE, "1.1"), "exit 0");
    machine.assert_refused(
        &machine.install(&[]),
        "1.1 is older than 1.2",
        "--allow-downgrade",
    );
    let said = machine.install(&["--allow-downgrade"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(said.stderr.contains("warning: "), "{}", said.stderr);
    machine.rauc("rootfs.0", &bundle(COMPATIBLE, "1.2"), "exit 0");
    let said = machine.install(&[]);
    assert_eq!(said.code, 0);
    assert!(said.stderr.contains("what runs now"), "{}", said.stderr);
}

#[test]
fn older_bundle_needs_a_word_on_a_device_as_delivered() {
    let machine = Machine::new();
    machine.delivered();
    machine.write("usr/lib/os-release", "ID=debian\nIMAGE_VERSION=1.2\n");
    machine.rauc("rootfs.0", &bundle(COMPATIBLE, "1.1"), "exit 0");
    let forget_version = |machine: &Machine| {
        let rauc = fs::read_to_string(machine.path("bin/rauc")).expect("the stand-in");
        machine.program("rauc", &rauc.replace("\"1.2\"", "null"));
    };
    forget_version(&machine);
    machine.assert_refused(
        &machine.install(&[]),
        "1.1 is older than 1.2",
        "--allow-downgrade",
    );
    fs::remove_file(machine.path("usr/lib/os-release")).expect("remove it");
    machine.rauc("rootfs.0", &bundle(COMPATIBLE, "0.0.1"), "exit 0");
    forget_version(&machine);
    machine.assert_refused(
        &machine.install(&[]),
        &format!("0.0.1 is older than {}", env!("CARGO_PKG_VERSION")),
        "--allow-downgrade",
    );
}

#[test]
fn way_back_is_not_written_over() {
    let machine = Machine::new();
    machine.rauc("rootfs.1", &bundle(COMPATIBLE, "1.3"), "exit 0");
    machine.assert_refused(&machine.install(&[]), "waits already", "systemctl reboot");
    machine.rauc("rootfs.0", &bundle(COMPATIBLE, "1.3"), "exit 0");
    fs::remove_file(machine.path("data/fieldgate/proven/A")).expect("remove the mark");
    machine.assert_refused(
        &machine.install(&[]),
        "has not passed the health gate",
        "mark-good",
    );
}

#[test]
fn installation_that_fails_is_put_into_words() {
    let machine = Machine::new();
    for (last, text) in [
        (
            "Failed mounting bundle: bundle payload is corrupted",
            "not what was signed",
        ),
        (
            "Failed updating slot rootfs.1: image is larger than the device",
            "not enough room",
        ),
    ] {
        let install = format!(
            "echo installing; echo 'LastError: {last}'; echo idle; echo 'Installing failed' >&2; exit 1"
        );
        machine.rauc("rootfs.0", &bundle(COMPATIBLE, "1.3"), &install);
        let said = machine.install(&[]);
        assert_eq!((said.code, said.stdout.as_str()), (1, ""));
        assert!(said.stderr.contains(text), "{}", said.stderr);
        assert!(said.stderr.contains("hint: "), "{}", said.stderr);
    }
}

#[test]
fn status_shows_the_slots() {
    let machine = Machine::new();
    machine.write(
        "data/fieldgate/update/gate",
        "slot A passed\nstill process 7\n",
    );
    let said = machine.run(&["status"]);
    assert_eq!((said.code, said.stderr.as_str()), (0, ""));
    for text in ["1.2", "as delivered", "slot A passed"] {
        assert!(said.stdout.contains(text), "{}", said.stdout);
    }
    let said = machine.run(&["status", "--json"]);
    let report: Value = serde_json::from_str(&said.stdout).expect("JSON");
    let [a, b] = [&report["slots"][0], &report["slots"][1]];
    assert_eq!(
        (&a["slot"], &a["running"], &a["proven"], &a["tries_left"]),
        (&"A".into(), &true.into(), &true.into(), &3.into())
    );
    assert_eq!(
        (&b["slot"], &b["running"], &b["proven"], &b["tries_left"]),
        (&"B".into(), &false.into(), &false.into(), &2.into())
    );
    assert_eq!(report["waiting"], Value::Null);
    machine.rauc("rootfs.1", &bundle(COMPATIBLE, "1.3"), "exit 0");
    let said = machine.run(&["status"]);
    assert!(
        said.stdout.contains("The next start tries slot B"),
        "{}",
        said.stdout
    );
}

#[test]
fn slot_is_called_good_after_the_gate_or_by_force() {
    let machine = Machine::new();
    fs::remove_file(machine.path("data/fieldgate/proven/A")).expect("remove the mark");
    let nowhere = machine.path("nowhere").display().to_string();
    let said = machine.run(&["mark-good", "--runtime-dir", &nowhere]);
    assert_eq!(said.code, 1);
    assert!(
        said.stderr.contains("not passed: no gateway is running"),
        "{}",
        said.stderr
    );
    assert!(!machine.told().contains("mark-good"));
    let copy = machine.path("data/fieldgate/state/gateway.db.v1.bak");
    machine.write("data/fieldgate/state/gateway.db.v1.bak", "a copy");
    machine.write("data/fieldgate/update/known", "{}");
    let said = machine.run(&["settle"]);
    assert!(
        said.stderr.contains("has not proved good"),
        "{}",
        said.stderr
    );
    assert!(copy.exists());
    let said = machine.run(&["mark-good", "--force"]);
    assert!(!copy.exists() && !machine.path("data/fieldgate/update/known").exists());
    assert_eq!(
        (said.code, said.stdout.as_str()),
        (0, "Slot A is good\n"),
        "{}",
        said.stderr
    );
    assert!(machine.told().contains("status mark-good"));
    assert_eq!(
        fs::read_to_string(machine.path("data/fieldgate/proven/A")).expect("the mark"),
        "slot A: sha256=ab\ninstalled.timestamp=2026-01-01T00:00:00Z\n"
    );
}

#[test]
fn machine_without_rauc_is_told_so() {
    let machine = Machine::new();
    let said = machine.run_with_path(&["status"], "/nowhere");
    assert_eq!(said.code, 1);
    assert!(
        said.stderr.contains("there is no `rauc`"),
        "{}",
        said.stderr
    );
}

/// Bundles that the real program has made and signed. `None` where it or openssl is not there.
fn signed(folder: &Path) -> Option<()> {
    let run = |program: &str, args: &str| -> Option<()> {
        let output = Command::new(program)
            .args(args.split(' '))
            .current_dir(folder)
            .output()
            .ok()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{program} {args}: {said}");
        Some(())
    };
    run("rauc", "--version")?;
    run("openssl", "version")?;
    let image = |seed: u32| -> Vec<u8> {
        (0..80_000_u32)
            .flat_map(|number| (number ^ seed).wrapping_mul(2_654_435_761).to_le_bytes())
            .collect()
    };
    fs::create_dir(folder.join("content")).expect("a folder");
    fs::write(folder.join("content/rootfs.img"), image(1)).expect("an image");
    fs::write(
        folder.join("content/manifest.raucm"),
        format!("[update]\ncompatible={COMPATIBLE}\nversion=1.3\n[bundle]\nformat=verity\n[image.rootfs]\nfilename=rootfs.img\n"),
    )
    .expect("a manifest");
    fs::write(
        folder.join("extensions"),
        "keyUsage=digitalSignature\nextendedKeyUsage=emailProtection\n",
    )
    .expect("a file");
    for name in ["own", "stranger"] {
        for args in [
            format!(
                "req -x509 -newkey rsa:2048 -nodes -keyout {name}-ca.key -out {name}-ca.crt -subj /CN={name}-ca -days 10"
            ),
            format!(
                "req -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}"
            ),
            format!(
                "x509 -req -in {name}.csr -CA {name}-ca.crt -CAkey {name}-ca.key -CAcreateserial -out {name}.crt -days 5 -extfile extensions"
            ),
        ] {
            run("openssl", &args)?;
        }
        run(
            "rauc",
            &format!("bundle --cert={name}.crt --key={name}.key content {name}.raucb"),
        )?;
    }
    Some(())
}

#[test]
fn real_bundles_are_told_apart() {
    let machine = Machine::new();
    let folder = machine.path("bundles");
    fs::create_dir(&folder).expect("a folder");
    signed(&folder).expect("rauc and openssl, which scripts/test installs");
    // The real one looks at the bundle, the stand-in does the rest.
    let keyring = folder.join("own-ca.crt").display().to_string();
    let real = ["/usr/bin/rauc", "/usr/local/bin/rauc"]
        .into_iter()
        .find(|path| Path::new(path).exists())
        .expect("where it is");
    let info = format!("shift; exec {real} --keyring={keyring} info \"$@\"");
    machine.rauc("rootfs.0", &info, "exit 0");
    let install = |name: &str| {
        let path = folder.join(name).display().to_string();
        machine.run(&["install", &path])
    };
    machine.assert_refused(&install("stranger.raucb"), "signed by nobody", "keyring");

    let whole = fs::read(folder.join("own.raucb")).expect("the bundle");
    let mut tampered = whole.clone();
    let place = tampered.len() - 200;
    tampered[place] ^= 1;
    fs::write(folder.join("tampered.raucb"), tampered).expect("write it");
    machine.assert_refused(
        &install("tampered.raucb"),
        "not what was signed",
        "fetch it again",
    );

    fs::write(folder.join("half.raucb"), &whole[..whole.len() / 2]).expect("write it");
    machine.assert_refused(&install("half.raucb"), "no bundle", "verity");

    let said = install("own.raucb");
    assert_eq!(said.code, 0, "{}", said.stderr);
}
