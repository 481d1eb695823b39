//! What a pod finds by itself: the API server by variables, its token, authority and namespace in a folder. The configuration
//! names none of them, as that of the bundle does not.

use std::ffi::OsString;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use super::tokens::{about, connect, token};
use super::*;
use crate::support::tls::client_config_of_pem;

/// Lays a folder where pods have theirs, for one command and what it starts. The arguments are the folder and the command.
const MOUNT: &str = r#"
run=$(readlink -f /var/run)
mount -t tmpfs tmpfs "$run"
mkdir -p "$run/secrets/kubernetes.io/serviceaccount"
mount --bind "$0" /var/run/secrets/kubernetes.io/serviceaccount
exec "$@"
"#;

/// A command that starts another one with a folder in the place of a pod's; `None` where mounting is not allowed, which is a fault
/// where FIELDGATE_TEST_MOUNTS is set.
fn in_a_pod(folder: &Path) -> Option<Vec<OsString>> {
    for options in [&["--mount"][..], &["--map-root-user", "--mount"]] {
        let mut words: Vec<OsString> = vec!["unshare".into()];
        words.extend(options.iter().map(OsString::from));
        words.extend(["sh", "-euc", MOUNT].map(OsString::from));
        words.push(folder.into());
        let tried = Command::new("unshare")
            .args(&words[1..])
            .arg("true")
            .output();
        if tried.is_ok_and(|tried| tried.status.success()) {
            return Some(words);
        }
    }
    assert!(
        std::env::var_os("FIELDGATE_TEST_MOUNTS").is_none(),
        "FIELDGATE_TEST_MOUNTS is set, and mounting failed"
    );
    None
}

/// Puts a token into the folder of a pod as kubelets do: all files at once, by one link that is another one then.
fn give(folder: &Path, token: &str) {
    let files = folder.join(format!("..{token}"));
    fs::create_dir_all(&files).expect("a folder");
    let authority = fs::read_to_string(folder.join("../ca.pem")).expect("the authority");
    for (name, content) in [
        ("token", token),
        ("ca.crt", &authority),
        ("namespace", "plant"),
    ] {
        fs::write(files.join(name), content).expect("write");
        let link = folder.join(name);
        if link.symlink_metadata().is_err() {
            symlink(Path::new("..data").join(name), link).expect("a link");
        }
    }
    symlink(format!("..{token}"), folder.join("..data_tmp")).expect("a link");
    let former = fs::read_link(folder.join("..data"));
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).expect("rename");
    if let Ok(former) = former {
        fs::remove_dir_all(folder.join(former)).expect("remove");
    }
}

/// A gateway in a pod, with the configuration of the bundle at other ports.
fn pod(port: u16, devices: u16) -> Option<(Cluster, PathBuf)> {
    let mut cluster = Cluster::unstarted("", |_| {})?;
    let folder = cluster.gateway.path("serviceaccount");
    give(&folder, "own-1");
    let config = bundle::configuration(port, devices);
    let alone = "\n[admin]\nhttp = \"127.0.0.1:0\"\n";
    cluster.gateway.write_config(&format!("{config}{alone}"));
    let number = cluster.server().port.to_string();
    cluster.gateway.start_by(in_a_pod(&folder)?);
    let gateway = &mut cluster.gateway;
    gateway.add_variable("KUBERNETES_SERVICE_HOST", "127.0.0.1");
    gateway.add_variable("KUBERNETES_SERVICE_PORT", number);
    Some((cluster, folder))
}

#[test]
fn a_pod_needs_nothing_but_what_its_cluster_gives_it() {
    let (port, devices, another) = (free_port(), free_port(), free_port());
    let Some((mut cluster, folder)) = pod(port, devices) else {
        return;
    };
    let [first, second] = ["first", "second"].map(|name| token(name, 600));
    cluster.set(
        "tokens",
        json!({first.as_str(): about("fieldgate"), second.as_str(): about("fieldgate")}),
    );
    cluster.set("annotations", json!({"plant/press": {}}));
    cluster.run();

    // Of the namespace that the folder names, and with the token in it.
    let path = listener_path("another");
    cluster.apply(&path, open("NodePort", another));
    cluster.condition(&path, "Ready", "True", "Listening");
    ping(&mut client(another, "a"));
    // The listener of the file asks the same server.
    let root = fs::read_to_string(cluster.gateway.path("state/ca/trust.pem")).expect("a root");
    let trusting = client_config_of_pem(&root, None);
    let enter = |client_id: &str, token: &str| {
        let stream = secured(port, &trusting).expect("TLS with the authority of the gateway");
        let mut client = TestClient::new(stream, V5);
        client.connect(&connect(client_id, token)).code
    };
    assert_eq!(enter("pod-1", &first), 0);
    assert_eq!(enter("pod-9", "nonsense"), 0x87);

    // A token is replaced before it ends, and the one before is worth nothing then.
    give(&folder, "own-2");
    cluster.set("own_tokens", json!(["own-2"]));
    cluster.set("drop", json!(1));
    cluster.delete(&path);
    eventually("the port closes", || is_closed(another));
    assert_eq!(enter("pod-2", &second), 0);
}
