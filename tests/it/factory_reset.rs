//! Factory reset with the real binary: on a tree of files that stands for an appliance, and on the state of a service.

use std::fs;
use std::path::PathBuf;

use crate::support::TestGateway;
use crate::support::command::{Said, fieldgate, write_script};

struct Machine {
    dir: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let machine = Self {
            dir: tempfile::tempdir().expect("a folder"),
        };
        for (name, text) in [
            (
                "usr/lib/fieldgate/appliance.conf",
                "FIELDGATE_DISK=/dev/vda\n",
            ),
            ("proc/cmdline", "rauc.slot=A\n"),
            ("data/rauc/central.raucs", "[slot.rootfs.0]\n"),
            ("data/fieldgate/.provisioned", ""),
            ("data/fieldgate/etc/gateway.toml", "# of the owner\n"),
            ("data/fieldgate/state/ca/root-1.key", "key\n"),
            ("data/fieldgate/state/gateway.db", "users\n"),
        ] {
            machine.write(name, text);
        }
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

    fn run(&self, args: &[&str]) -> Said {
        let path = std::env::var("PATH").unwrap_or_default();
        let output = fieldgate()
            .arg("factory-reset")
            .args(args)
            .arg("--root")
            .arg(self.dir.path())
            .env("PATH", format!("{}:{path}", self.path("bin").display()))
            .output();
        output.expect("run the binary").into()
    }

    #[track_caller]
    fn start(&self) -> Said {
        let said = self.run(&["--at-start"]);
        assert_eq!(said.code, 0, "{}", said.stderr);
        said
    }

    #[track_caller]
    fn assert_as_delivered(&self) {
        assert!(!self.path("data/fieldgate").exists());
        assert!(self.path("data/rauc/central.raucs").exists());
        assert!(!self.path("data/factory-reset").exists());
    }
}

#[test]
fn command_is_carried_out_by_the_next_start() {
    let machine = Machine::new();
    let said = machine.run(&["--yes", "--no-reboot"]);
    assert_eq!((said.code, said.stderr.as_str()), (0, ""));
    assert!(
        machine.path("data/fieldgate/state/gateway.db").exists(),
        "nothing is removed before"
    );
    let said = machine.start();
    assert!(
        said.stdout.contains("the command of an operator"),
        "{}",
        said.stdout
    );
    machine.assert_as_delivered();
    assert_eq!(machine.start().stdout, "", "it is made once");
}

#[test]
fn every_other_way_is_carried_out() {
    for (name, text, cause) in [
        ("boot/fieldgate/factory-reset", "", "the boot partition"),
        ("boot/fieldgate/factory-reset.txt", "", "the boot partition"),
        (
            "proc/cmdline",
            "rauc.slot=A fieldgate.factory-reset\n",
            "the boot loader",
        ),
    ] {
        let machine = Machine::new();
        machine.write(name, text);
        let said = machine.start();
        assert!(said.stdout.contains(cause), "{}", said.stdout);
        machine.assert_as_delivered();
        machine.write("data/fieldgate/state/gateway.db", "the next owner\n");
        assert_eq!(machine.start().stdout, "", "it is made once");
        assert!(machine.path("data/fieldgate/state/gateway.db").exists());
    }
}

#[test]
fn former_configuration_does_not_come_back_from_the_boot_partition() {
    let machine = Machine::new();
    let config = "[[listener]]\nname = \"former\"\n[[listener.port]]\nport = 0\nbind = \"127.0.0.1\"\nauthentication = \"none\"\nauthorization = \"none\"\n";
    machine.write("boot/fieldgate/gateway.toml", config);
    let import = || -> Said {
        let output = fieldgate()
            .args(["import", "boot"])
            .arg(machine.path("boot"))
            .arg("--etc-dir")
            .arg(machine.path("data/fieldgate/etc"))
            .arg("--state-dir")
            .arg(machine.path("data/fieldgate/state"))
            .output();
        output.expect("run the binary").into()
    };
    fs::remove_file(machine.path("data/fieldgate/state/gateway.db")).expect("no database yet");
    let said = import();
    assert_eq!(
        (said.stdout.as_str(), said.stderr.as_str()),
        ("Taken from the boot partition: gateway.toml\n", "")
    );
    assert_eq!(machine.run(&["--yes", "--no-reboot"]).code, 0);
    machine.start();
    machine.assert_as_delivered();
    assert_eq!(
        import().stdout,
        "There is nothing new on the boot partition\n"
    );
}

#[test]
fn start_forgets_the_machine_id_and_gives_blocks_back() {
    let machine = Machine::new();
    let log = machine.path("log").display().to_string();
    for name in ["fw_setenv", "fstrim"] {
        let program = machine.path(&format!("bin/{name}"));
        write_script(&program, &format!("echo \"{name} $*\" >>{log}"));
    }
    machine.write("etc/fw_env.config", "");
    machine.write("data/factory-reset", "button");
    assert!(machine.start().stdout.contains("the reset button"));
    let said = fs::read_to_string(log).expect("the log");
    let data = machine.path("data").display().to_string();
    assert_eq!(said, format!("fw_setenv machine_id\nfstrim {data}\n"));
}

#[test]
fn boot_partition_is_opened_once_there_is_a_cause() {
    let machine = Machine::new();
    let (log, boot) = (machine.path("log"), machine.path("boot/fieldgate"));
    let program = machine.path("usr/libexec/fieldgate/boot-partition");
    let (said, files) = (log.display(), boot.display());
    write_script(&program, &format!("echo $* $(ls {files}) >>{said}"));
    machine.write("boot/fieldgate/gateway.toml", "# of the owner\n");
    assert_eq!(machine.start().stdout, "");
    assert!(!log.exists(), "every start writes to the boot partition");
    machine.write("boot/fieldgate/factory-reset", "");
    machine.start();
    let said = fs::read_to_string(&log).expect("the log");
    assert_eq!(said, "open factory-reset gateway.toml\n");
    let left: Vec<_> = fs::read_dir(&boot)
        .expect("the folder")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(left, ["before-reset"]);
    assert_eq!(machine.start().stdout, "", "it is made once");
    let said = fs::read_to_string(&log).expect("the log");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn nobody_resets_by_accident() {
    let machine = Machine::new();
    let said = machine.run(&[]);
    assert_eq!(said.code, 64);
    assert!(said.stderr.contains("--yes"), "{}", said.stderr);
    assert!(!machine.path("data/factory-reset").exists());
    assert_eq!(machine.start().stdout, "");
    assert!(machine.path("data/fieldgate/state/gateway.db").exists());
}

#[test]
fn state_of_a_service_is_emptied_when_it_is_stopped() {
    let config = "[[listener]]\nname = \"site\"\n[[listener.port]]\nport = 0\nbind = \"127.0.0.1\"\nauthentication = \"none\"\nauthorization = \"none\"\ntls = { mode = \"Automatic\" }\n";
    let Some(mut gateway) = TestGateway::configured(config) else {
        return;
    };
    let state = gateway.path("state");
    let reset = || -> Said {
        let output = fieldgate()
            .args(["factory-reset", "--yes", "--state-dir"])
            .arg(&state)
            .output();
        output.expect("run the binary").into()
    };
    let said = reset();
    assert_eq!(said.code, 1);
    assert!(
        said.stderr.contains("stop the gateway first"),
        "{}",
        said.stderr
    );
    let root = fs::read(state.join("ca/trust.pem")).expect("the root");
    gateway.kill();
    let said = reset();
    assert_eq!((said.code, said.stderr.as_str()), (0, ""));
    let left: Vec<_> = fs::read_dir(&state)
        .expect("the folder")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(left, ["fieldgate.lock"]);
    gateway.run();
    assert!(fs::read(state.join("ca/trust.pem")).expect("another root") != root);
}
