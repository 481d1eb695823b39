//! The configuration of the bundle, and the listener that every cluster broker has.

use nix::sys::signal::Signal;

use super::*;
use crate::support::tls::client_config_of_pem;

#[path = "../../../src/kubernetes/testing.rs"]
mod yaml;

const ORIGINAL: &str = "mqttbroker.iotoperations.azure.com";

fn root() -> &'static std::path::Path {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A document of a file of this tree, with other ports.
fn document(file: &str, kind: &str, name: &str, port: u16) -> Value {
    let text = fs::read_to_string(root().join(file)).expect(file);
    let text = text.replace("18883", &port.to_string());
    let mut documents = yaml::parse(&text).into_iter();
    let document = documents.find(|one| one["kind"] == kind && one["metadata"]["name"] == name);
    document.unwrap_or_else(|| panic!("no {kind} {name} in {file}"))
}

/// The configuration of the bundle, at other ports.
pub(super) fn configuration(port: u16, devices: u16) -> String {
    let text = fs::read_to_string(root().join("k3s/gateway.toml")).expect("the bundle");
    // The one number ends like the other.
    text.replace("18883", "PORT")
        .replace("8883", &devices.to_string())
        .replace("PORT", &port.to_string())
}

/// A cluster with what the bundle brings, at other ports.
fn installed(port: u16, devices: u16) -> Option<Cluster> {
    let text = configuration(port, devices);
    let (before, after) = text
        .split_once("[kubernetes]\ncontroller = true\n")
        .expect("the bundle follows resources");
    // What a pod finds by itself is said by `Cluster`.
    let more = format!("{before}{after}");
    Cluster::with(&more, |script| {
        script["groups"] = json!([GROUP, ORIGINAL]);
        script["objects"][core_path("services", "aio-broker")] =
            document("k3s/fieldgate.yaml", "Service", "aio-broker", port);
    })
}

/// The names in the certificate of a port.
fn shows(cluster: &Cluster, port: u16, name: &str) -> bool {
    let root = fs::read_to_string(cluster.gateway.path("state/ca/trust.pem"));
    let trusting = client_config_of_pem(&root.expect("the root of the authority"), None);
    let Some(stream) = secured(port, &trusting) else {
        return false;
    };
    let shown = stream.server_certificate();
    shown
        .windows(name.len())
        .any(|window| window == name.as_bytes())
}

#[test]
fn the_listener_of_the_cluster_broker_takes_the_place_of_the_one_in_the_file() {
    let (port, devices) = (free_port(), free_port());
    let Some(mut cluster) = installed(port, devices) else {
        return;
    };
    // That of the file, whose certificate is for its own namespace.
    eventually("the port of the file", || {
        shows(&cluster, port, "aio-broker.fieldgate.svc")
    });
    let path = format!("/apis/{ORIGINAL}/v1/namespaces/plant/brokerlisteners/default");
    let applied = document(
        "tests/aio/listener-default.yaml",
        "BrokerListener",
        "default",
        port,
    );
    cluster.apply(&path, applied);
    cluster.condition(&path, "Ready", "True", "Listening");
    cluster.condition(&path, "Accepted", "True", "Accepted");
    eventually("the names of the resource", || {
        shows(&cluster, port, "aio-broker.plant.svc")
            && !shows(&cluster, port, "aio-broker.fieldgate.svc")
    });
    let service = core_path("services", "aio-broker");
    let before = cluster.object(&service).expect("the service");
    let addresses = cluster.object(&path).expect("it")["status"]["addresses"].to_string();
    assert!(addresses.contains("aio-broker.plant.svc"), "{addresses}");

    // Another listener has nothing of the file's.
    let other = listener_path("other");
    cluster.apply(&other, open("NodePort", devices));
    let accepted = cluster.condition(&other, "Accepted", "False", "Invalid");
    let message = accepted["message"].as_str().expect("a text");
    assert!(message.contains(&format!("port {devices}")), "{message}");

    // It goes, and the file counts again, with the service that it had.
    cluster.delete(&path);
    eventually("the port of the file", || {
        shows(&cluster, port, "aio-broker.fieldgate.svc")
    });
    assert_eq!(
        cluster.object(&service),
        Some(before),
        "nobody has written it"
    );
}

#[test]
fn the_service_of_the_file_is_not_written() {
    let (port, devices, another) = (free_port(), free_port(), free_port());
    let Some(mut cluster) = installed(port, devices) else {
        return;
    };
    let service = core_path("services", "aio-broker");
    let before = cluster.until(&service, "the service", |_| true);
    let ports = json!([{"port": another}]);
    let path = listener_path("default");
    let spec =
        |kind: &str| json!({"serviceType": kind, "serviceName": "aio-broker", "ports": ports});
    cluster.apply(&path, resource("BrokerListener", spec("LoadBalancer")));
    let ready = cluster.condition(&path, "Ready", "False", "ServiceFailed");
    let message = ready["message"].as_str().expect("a text");
    assert!(message.contains("another serviceName"), "{message}");
    ping(&mut client(another, "a"));
    assert!(is_closed(port), "nothing of the file's listener is left");
    assert_eq!(cluster.object(&service), Some(before));

    let spec = json!({"serviceType": "LoadBalancer", "serviceName": "own", "ports": ports});
    cluster.apply(&path, resource("BrokerListener", spec));
    cluster.condition(&path, "Ready", "True", "Listening");
    let own = core_path("services", "own");
    // What somebody else has made of it is put right.
    let found = cluster.object(&own).expect("the service");
    let mut changed = found.clone();
    changed["spec"]["type"] = json!("NodePort");
    changed["spec"]["ports"][0]["targetPort"] = json!(1);
    cluster.apply(&own, changed);
    cluster.until(&own, "what it should be", |own| {
        let is_changed = own["metadata"]["generation"] != found["metadata"]["generation"];
        is_changed && own["spec"] == found["spec"]
    });
    cluster.delete(&path);
    eventually("the port closes", || is_closed(another));
    eventually("the service goes", || cluster.object(&own).is_none());
    eventually("the port of the file", || !is_closed(port));
}

#[test]
fn a_resource_that_does_not_count_closes_the_listener_of_the_file() {
    let (port, devices) = (free_port(), free_port());
    let Some(mut cluster) = installed(port, devices) else {
        return;
    };
    let path = listener_path("default");
    let ports = json!([{"port": port, "authenticationRef": "tokens"}]);
    let tokens = path_of_tokens(&mut cluster);
    let spec = json!({"serviceName": "aio-broker", "ports": ports});
    cluster.apply(&path, resource("BrokerListener", spec));
    cluster.condition(&path, "Ready", "True", "Listening");
    cluster.delete(&tokens);
    cluster.condition(&path, "Accepted", "False", "Invalid");
    eventually("the port closes", || is_closed(port));
    assert!(!is_closed(devices), "the others serve");

    // Without an API server as well.
    drop(cluster.server.take());
    cluster.gateway.signal(Signal::SIGTERM);
    assert!(cluster.gateway.await_end().success());
    cluster.run();
    eventually("the others serve", || !is_closed(devices));
    assert!(is_closed(port));
}

/// Tokens of service accounts, as a resource.
fn path_of_tokens(cluster: &mut Cluster) -> String {
    let method = json!({"method": "ServiceAccountToken", "serviceAccountTokenSettings": {"audiences": ["plant"]}});
    let spec = json!({"authenticationMethods": [method]});
    let path = path("brokerauthentications", "tokens");
    cluster.apply(&path, resource("BrokerAuthentication", spec));
    path
}

#[test]
fn a_resource_does_not_say_who_comes_in_at_another_listener() {
    let (port, devices) = (free_port(), free_port());
    let more = format!(
        "[[listener]]\nname = \"devices\"\n[[listener.port]]\nport = {devices}\nauthentication = \"default\"\n\
         authorization = \"none\"\n[authentication.default]\nmethods = [\"password\"]\n"
    );
    let Some(mut cluster) = Cluster::with(&more, |_| {}) else {
        return;
    };
    let spec = json!({"serviceType": "NodePort", "ports": [{"port": port, "authenticationRef": "default"}]});
    let path = listener_path("other");
    cluster.apply(&path, resource("BrokerListener", spec));
    let accepted = cluster.condition(&path, "Accepted", "False", "Invalid");
    let message = accepted["message"].as_str().expect("a text");
    assert!(message.contains("authentication `default`"), "{message}");
    assert!(is_closed(port) && !is_closed(devices));
    let kept = fs::read_to_string(kept(&cluster).join("gateway.toml")).expect("it is kept");
    assert!(!kept.contains("[authentication"), "{kept}");
}
