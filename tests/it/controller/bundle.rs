//! The configuration of the bundle, and the listener that every cluster broker has.

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

/// A cluster with what the bundle brings, at other ports.
fn installed(port: u16, devices: u16) -> Option<Cluster> {
    let text = fs::read_to_string(root().join("k3s/gateway.toml")).expect("the bundle");
    // The one number ends like the other.
    let text = text
        .replace("18883", "PORT")
        .replace("8883", &devices.to_string())
        .replace("PORT", &port.to_string());
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
    let after = cluster.object(&service).expect("the service stays");
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
    assert_eq!(after["spec"]["ports"][0]["port"], port);
}

#[test]
fn a_borrowed_service_is_given_back() {
    let (port, devices, another) = (free_port(), free_port(), free_port());
    let Some(mut cluster) = installed(port, devices) else {
        return;
    };
    let spec = json!({"serviceType": "LoadBalancer", "serviceName": "aio-broker", "ports": [{"port": another}]});
    let path = listener_path("default");
    cluster.apply(&path, resource("BrokerListener", spec));
    cluster.condition(&path, "Ready", "True", "Listening");
    ping(&mut client(another, "a"));
    assert!(is_closed(port), "nothing of the file's listener is left");
    let service = core_path("services", "aio-broker");
    cluster.until(&service, "the type of the resource", |service| {
        service["spec"]["type"] == "LoadBalancer" && service["spec"]["ports"][0]["port"] == another
    });
    cluster.delete(&path);
    eventually("the port closes", || is_closed(another));
    cluster.until(&service, "the type of the file", |service| {
        service["spec"]["type"] == "ClusterIP" && service["spec"]["ports"][0]["port"] == port
    });
    assert!(!is_closed(port));
}
