//! The gateway as the broker of a cluster: the real binary against an API server of `tests/backends`, with clients of MQTT.

mod bounds;
mod bundle;
mod certificates;
mod changes;
mod outages;
mod pod;
mod resources;
mod retries;
mod tokens;
mod trust;
mod written;

use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use serde_json::{Map, Value, json};

use super::backends::{AuthServer, eventually, put, tls};
use super::support::tls::{Authority, Tls};
use super::support::{Connect, TestClient, TestGateway, V5, free_port};

const GROUP: &str = "mqttbroker.fieldgate.io";

/// A machine that compiles beside the tests is slow.
const DEADLINE: Duration = Duration::from_secs(60);

/// A cluster and the gateway in it.
struct Cluster {
    gateway: TestGateway,
    server: Option<AuthServer>,
    script: Value,
}

impl Cluster {
    /// A cluster with nothing in it, and a gateway that watches it.
    fn start() -> Option<Self> {
        Self::with("", |_| {})
    }

    /// As [`Self::start`], with more of a configuration and with what the script is to hold.
    fn with(more: &str, prepare: impl FnOnce(&mut Value)) -> Option<Self> {
        let mut cluster = Self::unstarted(more, prepare)?;
        cluster.run();
        Some(cluster)
    }

    fn unstarted(more: &str, prepare: impl FnOnce(&mut Value)) -> Option<Self> {
        let gateway = TestGateway::unstarted("")?;
        let dir = gateway.path("");
        let mut script = json!({"own_tokens": ["own-1"], "groups": [GROUP], "objects": {}});
        prepare(&mut script);
        let server = AuthServer::start(&dir, "fake_cluster", &script, &tls(&dir));
        put(&dir.join("own-token"), "own-1\n");
        let cluster = Self {
            gateway,
            server: Some(server),
            script,
        };
        cluster.configure(more);
        Some(cluster)
    }

    /// Starts the gateway.
    fn run(&mut self) {
        self.gateway.run();
        self.gateway.close_notifications();
    }

    /// Writes the configuration file.
    fn configure(&self, more: &str) {
        let port = self.server().port;
        self.gateway.write_config(&format!(
            r#"
[kubernetes]
controller = true
namespace = "plant"
api_server = "https://127.0.0.1:{port}"
ca = "{{dir}}/ca.pem"
token_file = "{{dir}}/own-token"

[admin]
http = "127.0.0.1:0"

[protection]
never_banned = ["127.0.0.0/8"]
{more}
"#
        ));
    }

    fn server(&self) -> &AuthServer {
        self.server.as_ref().expect("the API server is there")
    }

    /// Changes what the script of the API server says.
    fn set(&mut self, key: &str, value: Value) {
        self.script[key] = value;
        self.publish();
    }

    fn publish(&self) {
        put(
            &self.gateway.path("fake_cluster.json"),
            &self.script.to_string(),
        );
    }

    /// Applies an object as a user does.
    fn apply(&mut self, path: &str, object: Value) {
        self.script["objects"][path] = object;
        self.publish();
    }

    fn delete(&mut self, path: &str) {
        let objects = self.script["objects"].as_object_mut().expect("objects");
        objects.remove(path);
        self.publish();
    }

    /// Everything that is there, by path.
    fn state(&self) -> Map<String, Value> {
        let text = fs::read(self.gateway.path("fake_cluster.state")).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    fn object(&self, path: &str) -> Option<Value> {
        self.state().get(path).cloned()
    }

    /// Waits until something holds of an object.
    #[track_caller]
    fn until(&self, path: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + DEADLINE;
        loop {
            let found = self.object(path);
            if let Some(found) = found.filter(|found| holds(found)) {
                return found;
            }
            assert!(
                Instant::now() < end,
                "in vain: {what} of {path}: {:#?}\n{}",
                self.object(path),
                self.gateway.log()
            );
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Waits until a condition of a resource has a reason.
    #[track_caller]
    fn condition(&self, path: &str, kind: &str, status: &str, reason: &str) -> Value {
        let found = self.until(path, &format!("{kind} {status} {reason}"), |object| {
            let found = condition(object, kind);
            found.is_some_and(|found| found["status"] == status && found["reason"] == reason)
        });
        condition(&found, kind).expect("it was there").clone()
    }

    /// Events about a resource: type and reason.
    fn events(&self, name: &str) -> Vec<(String, String)> {
        let state = self.state();
        let events = state
            .values()
            .filter(|object| object["kind"] == "Event" && object["involvedObject"]["name"] == name);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        events
            .map(|event| (text(&event["type"]), text(&event["reason"])))
            .collect()
    }

    /// The reasons of the events about a resource, sorted.
    fn reasons(&self, name: &str) -> Vec<String> {
        let events = self.events(name).into_iter();
        let mut reasons: Vec<String> = events.map(|(_, reason)| reason).collect();
        reasons.sort();
        reasons
    }

    /// How many requests have begun so.
    fn requests(&self, begin: &str) -> usize {
        let log = fs::read_to_string(self.gateway.path("fake_cluster.log")).unwrap_or_default();
        let needle = format!("\"line\": \"{begin}");
        log.lines().filter(|line| line.contains(&needle)).count()
    }
}

fn condition<'o>(object: &'o Value, kind: &str) -> Option<&'o Value> {
    let conditions = object["status"]["conditions"].as_array()?;
    conditions.iter().find(|one| one["type"] == kind)
}

/// The path of a resource.
fn path(plural: &str, name: &str) -> String {
    format!("/apis/{GROUP}/v1/namespaces/plant/{plural}/{name}")
}

fn listener_path(name: &str) -> String {
    path("brokerlisteners", name)
}

fn core_path(plural: &str, name: &str) -> String {
    format!("/api/v1/namespaces/plant/{plural}/{name}")
}

/// A resource with a specification.
fn resource(kind: &str, spec: Value) -> Value {
    json!({"apiVersion": format!("{GROUP}/v1"), "kind": kind, "spec": spec})
}

/// A listener with one port that asks nobody.
fn open(service_type: &str, port: u16) -> Value {
    let spec =
        json!({"brokerRef": "default", "serviceType": service_type, "ports": [{"port": port}]});
    resource("BrokerListener", spec)
}

/// A client at a port, which answers soon.
#[track_caller]
fn client(port: u16, client_id: &str) -> TestClient {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("the port is open");
    let mut client = TestClient::new(stream, V5);
    assert_eq!(client.connect(&Connect::new(V5, client_id)).code, 0);
    client
}

/// Whether a client is still served.
fn ping(client: &mut TestClient) {
    client.hex("C0 00");
    client.expect("D0 00");
}

fn is_closed(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_err()
}

/// A certificate for this machine as a Secret of the type `kubernetes.io/tls`, and a client that trusts its authority.
fn tls_secret() -> (Value, Arc<ClientConfig>) {
    let authority = Authority::new("plant");
    let server = authority.server();
    let encoded = |text: &str| data_encoding::BASE64.encode(text.as_bytes());
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "data": {"tls.crt": encoded(&server.chain_pem), "tls.key": encoded(&server.key_pem)},
    });
    (secret, authority.client_config(None))
}

/// A connection by TLS, if the port has a certificate that the client trusts.
fn secured(port: u16, config: &Arc<ClientConfig>) -> Option<Tls> {
    Tls::connect(([127, 0, 0, 1], port).into(), config).ok()
}

/// The folder in which the gateway keeps what the cluster has said.
fn kept(cluster: &Cluster) -> PathBuf {
    cluster.gateway.path("state/kubernetes")
}
