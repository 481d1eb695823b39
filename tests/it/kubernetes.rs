//! The gateway in a cluster: what is translated, what is rendered, what probes are told, and the scripts of the bundle.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::TestGateway;
use crate::support::command::{Said, run, run_on};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sample(name: &str) -> PathBuf {
    root().join("tests/aio").join(name)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain name")
}

#[test]
fn resources_become_a_configuration_that_check_takes() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join("files");
    let said = run([
        "import",
        "aio",
        text(&sample("objects.yaml")),
        "--out-dir",
        text(&out),
    ]);
    assert_eq!(said.code, 0, "{said:?}");
    let file = dir.path().join("gateway.toml");
    fs::write(&file, &said.stdout).expect("write");
    let checked = run(["check", "--config", text(&file)]);
    assert_eq!(checked.code, 0, "{checked:?}");
    let mode = |name: &str| {
        let metadata = fs::metadata(out.join(name)).expect("it is written");
        metadata.permissions().mode() & 0o777
    };
    assert_eq!(mode("server-tls.key"), 0o600);
    assert_eq!(
        fs::read(out.join("server-tls.key")).unwrap(),
        b"hunter2-secret"
    );
    assert!(
        said.stdout.contains(text(&out.join("server-tls.key"))),
        "{said:?}"
    );
    assert!(!said.stderr.contains("hunter2"), "{said:?}");
    // Another time the files are replaced.
    let again = run([
        "import",
        "aio",
        text(&sample("objects.yaml")),
        "--out-dir",
        text(&out),
        "--gateway-dir",
        "/etc/plant",
    ]);
    assert_eq!(again.code, 0, "{again:?}");
    assert!(
        again.stdout.contains("\"/etc/plant/server-tls.key\""),
        "{again:?}"
    );
    assert_eq!(
        fs::read_dir(&out).unwrap().count(),
        3,
        "nothing else is left there"
    );
}

#[test]
fn what_is_misspelled_is_refused_whole() {
    let said = run(["import", "aio", text(&sample("listener-misspelled.yaml"))]);
    assert_eq!(said.code, 78, "{said:?}");
    assert_eq!(said.stdout, "");
    assert!(
        said.stderr.contains("write `authenticationRef`"),
        "{said:?}"
    );
    assert!(said.stderr.contains("hint: "), "{said:?}");
    let said = run(["import", "aio", text(&sample("none-of-ours.yaml"))]);
    assert_eq!(said.code, 78, "{said:?}");
    let said = run(["import", "aio", "/nowhere.yaml"]);
    assert_eq!(said.code, 1, "{said:?}");
    let sample = sample("listener-open.yaml");
    let said = run(["import", "aio", text(&sample), "--gateway-dir", "relative"]);
    assert_eq!(said.code, 64, "{said:?}");
}

#[test]
fn several_files_are_one_import() {
    let dir = tempfile::tempdir().expect("a folder");
    let all = fs::read_to_string(sample("listener-manual-tls.yaml")).expect("a sample");
    let (listener, authentication) = all.split_once("---\n").expect("two documents");
    let files = [listener, authentication].map(|content| {
        let path = dir.path().join(format!("{}.yaml", content.len()));
        fs::write(&path, content).expect("write");
        path
    });
    let said = run(["import", "aio", text(&files[0]), text(&files[1])]);
    assert_eq!(said.code, 0, "{said:?}");
    let said = run(["import", "aio", text(&files[0])]);
    assert_eq!(
        said.code, 78,
        "what it names is in the other file: {said:?}"
    );
}

#[test]
fn what_is_exported_is_imported_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let first = run(["import", "aio", text(&sample("authorization-tokens.yaml"))]);
    let file = dir.path().join("gateway.toml");
    fs::write(&file, &first.stdout).expect("write");
    let said = run(["export", "aio", "--config", text(&file)]);
    assert_eq!((said.code, said.stderr.as_str()), (0, ""), "{said:?}");
    let resources = dir.path().join("resources.yaml");
    fs::write(&resources, &said.stdout).expect("write");
    let second = run(["import", "aio", text(&resources)]);
    let without_source = |text: &str| text.split_once('\n').map(|(_, rest)| rest.to_owned());
    assert_eq!(
        without_source(&first.stdout),
        without_source(&second.stdout)
    );
    let config = root().join("k3s/gateway.toml");
    let said = run(["export", "aio", "--config", text(&config)]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(
        said.stderr
            .contains("authentication.devices.password\n    no equivalent: there are no users"),
        "{said:?}"
    );
}

#[test]
fn the_bundle_is_what_the_command_prints() {
    let config = root().join("k3s/gateway.toml");
    let said = run([
        "k8s",
        "render",
        "--config",
        text(&config),
        "--storage-class",
        "local-path",
    ]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(said.stderr, "", "nothing has to be there besides");
    let committed = fs::read_to_string(root().join("k3s/fieldgate.yaml")).expect("the bundle");
    let (_, committed) = committed.split_once('\n').expect("a first line");
    assert!(said.stdout == committed, "run scripts/k3s-bundle");
}

#[test]
fn files_of_conf_d_come_along() {
    let dir = tempfile::tempdir().expect("a folder");
    let main = dir.path().join("gateway.toml");
    fs::write(
        &main,
        "[[listener]]\nname = \"plant\"\n[[listener.port]]\nport = 1883\nauthentication = \"none\"\nauthorization = \"none\"\n",
    )
    .expect("write");
    fs::create_dir(dir.path().join("conf.d")).expect("a folder");
    let site = dir.path().join("conf.d/50-site.toml");
    fs::write(&site, "[log]\nlevel = \"debug\"\n").expect("write");
    let said = run(["k8s", "render", "--config", text(&main)]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(
        said.stdout
            .contains("  conf.d.50-site.toml: |\n    [log]\n"),
        "{said:?}"
    );
    assert!(
        said.stdout.contains("path: conf.d/50-site.toml"),
        "{said:?}"
    );
    fs::rename(&site, dir.path().join("conf.d/50 site.toml")).expect("rename");
    let said = run(["k8s", "render", "--config", text(&main)]);
    assert_eq!(said.code, 78, "{said:?}");
}

#[test]
fn what_cannot_run_in_a_pod_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("gateway.toml");
    let default = run(["config", "default"]);
    fs::write(&file, default.stdout).expect("write");
    let said = run(["k8s", "render", "--config", text(&file)]);
    assert_eq!(said.code, 78, "{said:?}");
    assert_eq!(said.stdout, "");
    assert!(
        said.stderr.contains("no port accepts from outside"),
        "{said:?}"
    );
    fs::write(&file, "listener = 1\n").expect("write");
    let said = run(["k8s", "render", "--config", text(&file)]);
    assert_eq!(said.code, 78, "{said:?}");
    let said = run(["k8s", "render", "--namespace", "No"]);
    assert_eq!(said.code, 64, "{said:?}");
}

fn health(state_dir: &Path, what: &[&str]) -> Said {
    let args: Vec<&str> = ["health"].iter().chain(what).copied().collect();
    run_on(state_dir, &args)
}

#[test]
fn a_probe_is_told_how_the_gateway_fares() {
    let config = "[[listener]]\nname = \"test\"\n[[listener.port]]\nport = 0\nbind = \"127.0.0.1\"\n\
                  authentication = \"none\"\nauthorization = \"none\"\n";
    let Some(mut gateway) = TestGateway::configured(config) else {
        return;
    };
    let state_dir = gateway.path("state");
    for (what, word) in [
        (&[][..], "ready\n"),
        (&["--ready"], "ready\n"),
        (&["--live"], "live\n"),
    ] {
        let said = health(&state_dir, what);
        assert_eq!((said.code, said.stdout.as_str()), (0, word), "{said:?}");
        assert_eq!(said.stderr, "");
    }
    gateway.kill();
    for what in ["--ready", "--live"] {
        let said = health(&state_dir, &[what]);
        assert_eq!((said.code, said.stdout.as_str()), (1, ""), "{said:?}");
        assert_eq!(said.stderr, "no gateway is running\n");
    }
    assert_eq!(health(&state_dir, &["--ready", "--live"]).code, 64);
}

#[test]
fn a_gateway_that_hangs_is_not_well() {
    let config = "[[listener]]\nname = \"test\"\n[[listener.port]]\nport = 0\nbind = \"127.0.0.1\"\n\
                  authentication = \"none\"\nauthorization = \"none\"\n";
    let Some(gateway) = TestGateway::configured(config) else {
        return;
    };
    gateway.signal(Signal::SIGSTOP);
    let begun = Instant::now();
    let said = health(&gateway.path("state"), &["--live"]);
    gateway.signal(Signal::SIGCONT);
    assert_eq!(said.code, 1, "{said:?}");
    assert_eq!(said.stderr, "the gateway does not answer\n");
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    // Nor is one that takes no connection.
    let dir = tempfile::tempdir().expect("a folder");
    let _listener = UnixListener::bind(dir.path().join("control.sock")).expect("a socket");
    assert_eq!(health(dir.path(), &["--ready"]).code, 1);
}

/// A machine as the scripts of the bundle see it.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        for folder in ["k3s/server", "bin", "bundle", "proc/net"] {
            fs::create_dir_all(dir.path().join(folder)).expect("a folder");
        }
        for file in ["install", "uninstall", "fieldgate.yaml"] {
            let copied = fs::copy(
                root().join("k3s").join(file),
                dir.path().join("bundle").join(file),
            );
            copied.expect("a copy");
        }
        let machine = Self(dir);
        machine.program("systemctl", "exit 3");
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn program(&self, name: &str, line: &str) {
        let path = self.path("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{line}\n")).expect("write");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
    }

    fn run(&self, script: &str, args: &[&str]) -> Said {
        let path = format!("{}:/usr/bin:/bin", self.path("bin").display());
        let output = Command::new(self.path("bundle").join(script))
            .args(args)
            .env("PATH", path)
            .env("K3S_DIR", self.path("k3s"))
            .env("PROC_DIR", self.path("proc"))
            .output();
        output.expect("run the script").into()
    }
}

#[test]
fn the_bundle_is_installed_by_copying() {
    let machine = Machine::new();
    fs::write(machine.path("bundle/fieldgate-2.oci.tar"), "new").expect("write");
    fs::create_dir_all(machine.path("k3s/agent/images")).expect("a folder");
    fs::write(machine.path("k3s/agent/images/fieldgate-1.oci.tar"), "old").expect("write");
    let said = machine.run("install", &[]);
    assert_eq!(said.code, 0, "{said:?}");
    let installed = machine.path("k3s/server/manifests/fieldgate.yaml");
    assert_eq!(
        fs::read(&installed).unwrap(),
        fs::read(root().join("k3s/fieldgate.yaml")).unwrap()
    );
    let images: Vec<_> = fs::read_dir(machine.path("k3s/agent/images"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(images, ["fieldgate-2.oci.tar"]);
    machine.program("k3s", "cat >\"$0.in\"; echo \"$@\" >\"$0.args\"");
    let said = machine.run("uninstall", &[]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(!installed.exists());
    let deleted = fs::read_to_string(machine.path("bin/k3s.in")).unwrap();
    assert!(deleted.contains("\nkind: Deployment\n"), "{deleted}");
    assert!(
        !deleted.contains("\nkind: PersistentVolumeClaim\n"),
        "{deleted}"
    );
    assert!(!deleted.contains("\nkind: Namespace\n"), "{deleted}");
    machine.run("uninstall", &["--data"]);
    let args = fs::read_to_string(machine.path("bin/k3s.args")).unwrap();
    assert!(args.contains("delete --ignore-not-found -f /"), "{args}");
}

#[test]
fn a_gateway_that_is_there_already_is_noticed() {
    let machine = Machine::new();
    let manifest = machine.path("k3s/server/manifests/fieldgate.yaml");
    machine.program("systemctl", "[ \"$1 $3\" = 'is-active fieldgate.service' ]");
    let said = machine.run("install", &[]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(
        said.stderr
            .contains("fieldgate.service runs on this machine already"),
        "{said:?}"
    );
    assert!(said.stderr.contains("hint: "), "{said:?}");
    machine.program("systemctl", "[ \"$1 $3\" = 'is-enabled fieldgate.socket' ]");
    let said = machine.run("install", &[]);
    assert!(
        said.stderr
            .contains("fieldgate.socket starts with this machine"),
        "{said:?}"
    );
    assert!(!manifest.exists(), "nothing was changed");
    assert_eq!(machine.run("install", &["--force"]).code, 0);
    assert!(manifest.exists());
    assert_eq!(machine.run("install", &["--farce"]).code, 64);
}

#[test]
fn a_port_that_is_taken_is_noticed() {
    let machine = Machine::new();
    // 8883 of the bundle, as the system shows it, and one that it does not want from the machine: 18883 is inside.
    let line = |port: u16, state: &str| {
        format!("   0: 00000000:{port:04X} 00000000:0000 {state} 00000000:00000000\n")
    };
    fs::write(
        machine.path("proc/net/tcp"),
        line(18883, "0A") + &line(8883, "01"),
    )
    .expect("write");
    let said = machine.run("install", &[]);
    assert_eq!(said.code, 0, "{said:?}");
    fs::write(machine.path("proc/net/tcp6"), line(8883, "0A")).expect("write");
    let said = machine.run("install", &[]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.stderr.contains("port 8883 is taken"), "{said:?}");
    // And as this system shows it.
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let yaml = fs::read_to_string(machine.path("bundle/fieldgate.yaml")).expect("the bundle");
    let yaml = yaml.replace("    port: 8883\n", &format!("    port: {port}\n"));
    fs::write(machine.path("bundle/fieldgate.yaml"), yaml).expect("write");
    fs::remove_dir_all(machine.path("proc")).expect("remove");
    std::os::unix::fs::symlink("/proc", machine.path("proc")).expect("a link");
    let said = machine.run("install", &[]);
    assert!(
        said.stderr.contains(&format!("port {port} is taken")),
        "{said:?}"
    );
}

#[test]
fn a_machine_without_k3s_is_told_so() {
    let machine = Machine::new();
    fs::remove_dir_all(machine.path("k3s/server")).expect("remove");
    let said = machine.run("install", &[]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(
        said.stderr.contains("no k3s server runs on this machine"),
        "{said:?}"
    );
}
