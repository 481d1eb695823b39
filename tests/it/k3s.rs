//! The scripts that put the bundle into k3s and take it out.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::command::{Said, write_script};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A machine as the scripts of the bundle see it.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        for folder in ["k3s/server", "bin", "bundle", "proc/net"] {
            fs::create_dir_all(dir.path().join(folder)).expect("a folder");
        }
        for file in ["install", "uninstall", "fieldgate.yaml"] {
            // By another process, for the reason that `write_script` has.
            let copied = Command::new("cp")
                .arg(root().join("k3s").join(file))
                .arg(dir.path().join("bundle").join(file))
                .status();
            assert!(copied.expect("run cp").success());
        }
        let machine = Self(dir);
        machine.program("systemctl", "exit 3");
        machine.program("uname", "echo aarch64");
        machine.archive("bundle", "oci");
        machine
    }

    /// An archive of an image of this version.
    fn archive(&self, folder: &str, kind: &str) {
        let joined = if kind == "oci" { "." } else { "-" };
        let name = format!("fieldgate-{VERSION}{joined}{kind}.tar");
        fs::create_dir_all(self.path(folder)).expect("a folder");
        fs::write(self.path(folder).join(name), kind).expect("write");
    }

    /// What lies where k3s looks for images.
    fn images(&self) -> Vec<String> {
        let folder = fs::read_dir(self.path("k3s/agent/images"))
            .into_iter()
            .flatten();
        let names = folder.map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn program(&self, name: &str, line: &str) {
        write_script(&self.path("bin").join(name), line);
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
    fs::create_dir_all(machine.path("k3s/agent/images")).expect("a folder");
    for name in ["fieldgate-0.0.1.oci.tar", "other.tar"] {
        fs::write(machine.path("k3s/agent/images").join(name), "old").expect("write");
    }
    let said = machine.run("install", &[]);
    assert_eq!(said.code, 0, "{said:?}");
    let installed = machine.path("k3s/server/manifests/fieldgate.yaml");
    assert_eq!(
        fs::read(&installed).unwrap(),
        fs::read(root().join("k3s/fieldgate.yaml")).unwrap()
    );
    let archive = format!("fieldgate-{VERSION}.oci.tar");
    assert_eq!(machine.images(), [archive.as_str(), "other.tar"]);
}

#[test]
fn of_several_archives_the_one_of_this_machine_is_taken() {
    let machine = Machine::new();
    fs::remove_file(machine.path(&format!("bundle/fieldgate-{VERSION}.oci.tar"))).expect("remove");
    for arch in ["amd64", "arm64", "armv7"] {
        machine.archive("bundle", arch);
    }
    assert_eq!(machine.run("install", &[]).code, 0);
    assert_eq!(machine.images(), [format!("fieldgate-{VERSION}-arm64.tar")]);
    machine.program("uname", "echo armv7l");
    assert_eq!(machine.run("install", &[]).code, 0);
    assert_eq!(machine.images(), [format!("fieldgate-{VERSION}-armv7.tar")]);
    machine.archive("bundle", "oci");
    assert_eq!(machine.run("install", &[]).code, 0);
    assert_eq!(machine.images(), [format!("fieldgate-{VERSION}.oci.tar")]);
}

#[test]
fn an_image_that_is_nowhere_is_missed() {
    let machine = Machine::new();
    fs::remove_file(machine.path(&format!("bundle/fieldgate-{VERSION}.oci.tar"))).expect("remove");
    machine.archive("bundle", "amd64");
    fs::write(machine.path("bundle/fieldgate-0.0.1.oci.tar"), "old").expect("write");
    let said = machine.run("install", &[]);
    assert_eq!(said.code, 1, "{said:?}");
    let image = format!("no archive has the image localhost/fieldgate:{VERSION}");
    assert!(said.stderr.contains(&image), "{said:?}");
    assert!(said.stderr.contains("hint: scripts/oci-image"), "{said:?}");
    let manifest = machine.path("k3s/server/manifests/fieldgate.yaml");
    assert!(!manifest.exists(), "nothing was changed");
    assert_eq!(machine.run("install", &["--force"]).code, 0);
    // It was copied before.
    machine.archive("k3s/agent/images", "arm64");
    assert_eq!(machine.run("install", &[]).code, 0);
    fs::remove_dir_all(machine.path("k3s/agent")).expect("remove");
    // A registry has it.
    let yaml = fs::read_to_string(machine.path("bundle/fieldgate.yaml")).expect("the bundle");
    let yaml = yaml.replace("image: localhost/", "image: registry.example/");
    fs::write(machine.path("bundle/fieldgate.yaml"), yaml).expect("write");
    fs::remove_file(machine.path("bundle/fieldgate-0.0.1.oci.tar")).expect("remove");
    assert_eq!(machine.run("install", &[]).code, 0);
    assert!(machine.images().is_empty());
}

/// What `kubectl` was asked, one line each, with the kinds of the documents that it was given.
fn asked(machine: &Machine) -> Vec<String> {
    let log = fs::read_to_string(machine.path("bin/k3s.log")).unwrap_or_default();
    log.lines().map(ToOwned::to_owned).collect()
}

/// A `k3s kubectl` that notes what it is asked. `others` is what it finds of other namespaces.
fn kubectl(machine: &Machine, others: &str) {
    let program = format!(
        "echo \"$*\" >>\"$0.log\"\ncase \"$*\" in *'-f -') grep '^kind: ' | sed 's/^/  /' >>\"$0.log\" ;;\n\
         *' -o name') echo '{others}' ;;\nesac"
    );
    machine.program("k3s", &program);
}

#[test]
fn what_was_made_for_resources_goes_with_the_bundle() {
    let machine = Machine::new();
    assert_eq!(machine.run("install", &[]).code, 0);
    kubectl(&machine, "");
    let said = machine.run("uninstall", &[]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(!machine.path("k3s/server/manifests/fieldgate.yaml").exists());
    assert!(machine.images().is_empty());
    let asked_for = asked(&machine);
    let at = |begin: &str| {
        let found = asked_for.iter().position(|line| line.starts_with(begin));
        found.unwrap_or_else(|| panic!("no `{begin}` in {asked_for:#?}"))
    };
    let resources = at("kubectl -n fieldgate delete brokerlisteners.mqttbroker.fieldgate.io,");
    let bundle = at("kubectl delete --ignore-not-found -f -");
    let made = "app.kubernetes.io/managed-by=fieldgate,app.kubernetes.io/instance=fieldgate";
    let rest = at("kubectl -n fieldgate delete services,networkpolicies");
    assert!(asked_for[rest].ends_with(made), "{asked_for:#?}");
    at("kubectl -n fieldgate delete certificates.cert-manager.io");
    assert!(resources < bundle && bundle < rest, "{asked_for:#?}");
    // Or k3s takes the same file for applied when it comes back.
    let addon = at("kubectl -n kube-system delete addons.k3s.cattle.io fieldgate");
    assert!(addon > rest && addon > at("kubectl -n fieldgate delete certificates"));
    at("  kind: Deployment");
    at("  kind: CustomResourceDefinition");
    for kept in ["PersistentVolumeClaim", "Namespace"] {
        assert!(!asked_for.contains(&format!("  kind: {kept}")), "{kept}");
    }
}

#[test]
fn a_cluster_that_is_no_k3s_has_no_addon() {
    let machine = Machine::new();
    let program = "echo \"$*\" >>\"$0.log\"\ncase \"$*\" in *'get crd addons'*) exit 1 ;; esac";
    machine.program("k3s", program);
    let said = machine.run("uninstall", &[]);
    assert_eq!(said.code, 0, "{said:?}");
    let asked_for = asked(&machine);
    let is_asked = |what: &str| asked_for.iter().any(|line| line.contains(what));
    assert!(is_asked("get crd addons.k3s.cattle.io"), "{asked_for:#?}");
    assert!(!is_asked("kube-system"), "{asked_for:#?}");
}

#[test]
fn definitions_that_others_use_stay() {
    let machine = Machine::new();
    kubectl(&machine, "brokerlistener.mqttbroker.fieldgate.io/default");
    let said = machine.run("uninstall", &["--data"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.stdout.contains("the definitions stay"), "{said:?}");
    let asked_for = asked(&machine);
    for (kind, goes) in [
        ("PersistentVolumeClaim", true),
        ("Namespace", true),
        ("CustomResourceDefinition", false),
    ] {
        assert_eq!(
            asked_for.contains(&format!("  kind: {kind}")),
            goes,
            "{kind}"
        );
    }
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

#[test]
fn a_port_of_another_service_is_noticed() {
    let machine = Machine::new();
    // As `kubectl` prints it: our own services are no others, and a port inside of the cluster is nobody else's.
    let services = |lines: &[&str]| {
        let lines = lines.join("\n");
        machine.program("k3s", &format!("cat <<'END'\n{lines}\nEND"));
    };
    let own = "fieldgate/mqtt LoadBalancer 8883:31000";
    services(&[
        own,
        "plant/web ClusterIP 8883:",
        "plant/web-2 NodePort 8883:31001",
    ]);
    let said = machine.run("install", &[]);
    assert_eq!(said.code, 0, "{said:?}");
    services(&[own, "plant/broker LoadBalancer 1883:31002 8883:31003"]);
    let said = machine.run("install", &[]);
    assert_eq!(said.code, 1, "{said:?}");
    let text = "port 8883 of this machine is that of the service plant/broker";
    assert!(said.stderr.contains(text), "{said:?}");
    assert_eq!(machine.run("install", &["--force"]).code, 0);

    // Ports of nodes, of which the bundle has none by itself.
    let yaml = fs::read_to_string(machine.path("bundle/fieldgate.yaml")).expect("the bundle");
    let yaml = yaml.replace("    port: 8883\n", "    port: 8883\n    nodePort: 31002\n");
    fs::write(machine.path("bundle/fieldgate.yaml"), yaml).expect("write");
    services(&[own, "plant/web NodePort 80:31002"]);
    let said = machine.run("install", &[]);
    assert!(
        said.stderr.contains("port 31002 of this machine"),
        "{said:?}"
    );
    // An API server that does not answer says nothing.
    machine.program("k3s", "exit 1");
    assert_eq!(machine.run("install", &[]).code, 0);
}
