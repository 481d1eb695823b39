//! The gateway in a cluster: what is translated, what is rendered, and what probes are told.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
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
    let definitions = run(["k8s", "crds"]).stdout;
    let committed = fs::read_to_string(root().join("k3s/fieldgate.yaml")).expect("the bundle");
    let (_, committed) = committed.split_once('\n').expect("a first line");
    let printed = format!("{definitions}---\n{}", said.stdout);
    assert!(printed == committed, "run scripts/k3s-bundle");
    // Two files are enough for a listener of the cluster: the kind is known, and somebody may follow it.
    assert!(committed.contains("kind: CustomResourceDefinition\n"));
    assert!(committed.contains("kind: RoleBinding\n"));
}

#[test]
fn a_manifest_for_a_namespace_of_others_does_not_have_it() {
    let committed = fs::read_to_string(root().join("k3s/from-mosquitto/fieldgate.yaml"));
    let committed = committed.expect("the manifest of the page");
    assert!(!committed.contains("kind: Namespace\n"));
    let config = root().join("k3s/gateway.toml");
    let args = [
        "k8s",
        "render",
        "--config",
        text(&config),
        "--namespace",
        "mqtt",
    ];
    let said = run(args);
    assert!(said.stdout.contains("kind: Namespace\n"), "{said:?}");
    let said = run([&args[..], &["--existing-namespace"]].concat());
    assert_eq!(said.code, 0, "{said:?}");
    assert!(!said.stdout.contains("kind: Namespace\n"), "{said:?}");
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
