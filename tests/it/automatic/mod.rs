//! Ports whose certificates the gateway makes itself, and clients that have theirs from it.

mod clock;

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use rustls::ClientConfig;
use serde_json::Value;

use crate::access::reload;
use crate::support::command::{Said, run_on};
use crate::support::tls::{Authority, Tls, client_config_of_pem};
use crate::support::{Connect, Publish, Received, TestClient, TestGateway, V5, allow_descriptors};

/// Others that are connected while one is revoked.
const OTHERS: usize = 1_000;

/// Messages that each of them gets meanwhile at most.
const MESSAGES_MAX: u16 = 5_000;

const OPEN: &str = r#"
[[listener]]
name = "site"
[[listener.port]]
port = 0
bind = "127.0.0.1"
authentication = "none"
authorization = "none"
tls = { mode = "Automatic" }
[admin]
http = "off"
"#;

const DEVICES: &str = r#"
[[listener]]
name = "site"
[[listener.port]]
port = 0
bind = "127.0.0.1"
authentication = "devices"
authorization = "rules"
tls = { mode = "Automatic" }
[authentication.devices]
methods = ["x509"]
[authorization.rules]
[[authorization.rules.rule]]
principals = { everyone = true }
connect = ["*"]
publish = ["open"]
subscribe = ["open"]
[[authorization.rules.rule]]
principals = { attributes = [{ hall = "2" }] }
publish = ["hall/2"]
[protection]
never_banned = ["127.0.0.0/8"]
"#;

struct Site(TestGateway);

impl Site {
    fn new(config: &str) -> Option<Self> {
        TestGateway::configured(config).map(Self)
    }

    fn ca(&self, args: &[&str]) -> Said {
        let mut all = vec!["ca"];
        all.extend(args);
        run_on(&self.0.path("state"), &all)
    }

    #[track_caller]
    fn fine(&self, args: &[&str]) -> String {
        let said = self.ca(args);
        assert_eq!(said.code, 0, "{}", said.stderr);
        said.stdout
    }

    fn root(&self) -> String {
        self.fine(&["export-root"])
    }

    /// Has a certificate issued, and returns the settings of a client that presents it.
    fn issue(&self, name: &str, more: &[&str]) -> Arc<ClientConfig> {
        let out = self.0.path(name);
        let mut args = vec!["issue", name, "--out", out.to_str().expect("a plain name")];
        args.extend(more);
        self.fine(&args);
        let read = |ending: &str| {
            fs::read_to_string(out.join(format!("{name}.{ending}"))).expect("a file")
        };
        let roots = fs::read_to_string(out.join("ca.crt")).expect("a file");
        client_config_of_pem(&roots, Some((&read("crt"), &read("key"))))
    }

    fn tls(&self, config: &Arc<ClientConfig>) -> std::io::Result<Tls> {
        Tls::connect(self.0.address(), config)
    }

    fn presented(&self, config: &Arc<ClientConfig>) -> Vec<u8> {
        self.tls(config).expect("a handshake").server_certificate()
    }

    /// A client that is served; `None` if it is not let in.
    fn connect(&self, config: &Arc<ClientConfig>, client_id: &str) -> Option<TestClient> {
        let mut client = TestClient::new(self.tls(config).ok()?, V5);
        client.send(Connect::new(V5, client_id).encode());
        match client.receive_or_end()? {
            Received::ConnAck(connack) if connack.code == 0 => Some(client),
            Received::ConnAck(_) => None,
            other => panic!("expected CONNACK, found {other:?}"),
        }
    }

    /// Waits until another certificate is presented than `before`.
    fn await_other(&self, config: &Arc<ClientConfig>, before: &[u8]) -> Vec<u8> {
        self.0.await_status(|_| {
            let now = self.presented(config);
            (now != before).then_some(now)
        })
    }
}

#[test]
fn first_start_makes_everything_that_a_client_with_the_root_needs() {
    let Some(mut site) = Site::new(OPEN) else {
        return;
    };
    let root = site.root();
    let config = client_config_of_pem(&root, None);
    let mut client = site.connect(&config, "c").expect("it trusts the root");
    client.subscribe("a", 0);
    client.send_publish(&Publish::new("a", "hello"));
    assert_eq!(client.take().payload_text(), "hello");

    let status = site.0.control("status");
    let certificate = &status["ports"][0]["certificate"];
    let left = certificate["seconds_left"].as_i64().expect("a number");
    assert!(left > 89 * 86_400 && left <= 90 * 86_400, "{left}");
    assert!(certificate["renewal_seconds"].as_u64().unwrap() > 0);
    assert_eq!(certificate["notes"], Value::Array(Vec::new()));
    site.0
        .await_status(|status| status["authority"]["status"]["issued"].as_u64());
    let said = site.fine(&["status"]);
    assert!(
        said.contains("127.0.0.1:0") && said.contains("localhost"),
        "{said}"
    );

    // The next start presents the same.
    let before = site.presented(&config);
    drop(client);
    site.0.kill();
    site.0.run();
    assert_eq!(site.presented(&config), before);
    assert_eq!(site.root(), root);
}

#[test]
fn another_certificate_is_taken_into_use_without_dropping_a_connection() {
    let Some(site) = Site::new(OPEN) else {
        return;
    };
    let config = client_config_of_pem(&site.root(), None);
    let mut client = site.connect(&config, "c").expect("it trusts the root");
    let mut before = site.presented(&config);
    // A certificate of the port that was revoked is replaced at once.
    let list: Value = serde_json::from_str(&site.fine(&["list", "--json"])).expect("JSON");
    let serial = list[0]["serial"]
        .as_str()
        .expect("a serial number")
        .to_owned();
    site.fine(&["revoke", &serial, "--reason", "superseded"]);
    before = site.await_other(&config, &before);
    assert!(client.ping().is_empty());

    // A new root is published, and nothing else changes for a year.
    site.fine(&["rollover"]);
    assert_eq!(site.root().matches("BEGIN CERTIFICATE").count(), 2);
    assert_eq!(site.presented(&config), before);

    // Names that are added are in the next certificate.
    let named = OPEN.replace(
        "\"Automatic\"",
        "\"Automatic\", dns = [\"mqtt.plant.example\"]",
    );
    site.0.write_config(&named);
    reload(&site.0);
    before = site.await_other(&config, &before);
    assert!(client.ping().is_empty());

    // Files take the place of it, and it the place of files.
    let plant = Authority::new("Plant CA");
    plant.prepare(&site.0.path(""));
    let manual = "mode = \"Manual\", cert = \"{dir}/server.crt\", key = \"{dir}/server.key\"";
    site.0
        .write_config(&OPEN.replace("mode = \"Automatic\"", manual));
    reload(&site.0);
    let of_plant = plant.client_config(None);
    site.0.await_status(|_| site.tls(&of_plant).ok().map(drop));
    assert!(client.ping().is_empty());
    site.0.write_config(OPEN);
    reload(&site.0);
    site.0.await_status(|_| site.tls(&config).ok().map(drop));
    assert_ne!(
        site.presented(&config),
        before,
        "the name is not wanted any more"
    );
    assert!(client.ping().is_empty());
}

#[test]
fn device_has_the_attributes_that_its_certificate_was_issued_with() {
    let Some(site) = Site::new(DEVICES) else {
        return;
    };
    let pump = site.issue("pump-7", &["--attr", "hall=2"]);
    let fan = site.issue("fan-1", &[]);
    let mut pump = site.connect(&pump, "p").expect("a good certificate");
    assert_eq!(pump.publish(&Publish::new("hall/2", "x").qos(1, 1)), 0x10);
    let mut fan = site.connect(&fan, "f").expect("a good certificate");
    assert_eq!(fan.publish(&Publish::new("hall/2", "x").qos(1, 1)), 0x87);
    let nobody = client_config_of_pem(&site.root(), None);
    assert!(site.connect(&nobody, "n").is_none());
}

#[test]
fn revoked_device_is_gone_at_once_and_a_thousand_others_stay() {
    allow_descriptors(4 * OTHERS as u64);
    let Some(site) = Site::new(DEVICES) else {
        return;
    };
    let fleet = site.issue("fleet", &[]);
    let stolen = site.issue("stolen", &[]);
    let mut others: Vec<_> = (0..OTHERS)
        .map(|number| {
            let client_id = format!("o{number}");
            let mut other = site
                .connect(&fleet, &client_id)
                .expect("a good certificate");
            other.subscribe("open", 1);
            other
        })
        .collect();
    let mut thief = site.connect(&stolen, "thief").expect("a good certificate");
    let mut publisher = site
        .connect(&fleet, "publisher")
        .expect("a good certificate");
    let mut publish = |number: u16| {
        let message = Publish::new("open", number.to_string());
        assert_eq!(publisher.publish(&message.qos(1, number + 1)), 0);
    };
    // All of them get messages without a pause until the thief is gone.
    let is_gone = AtomicBool::new(false);
    let (begun, begins) = mpsc::channel();
    let published = thread::scope(|scope| {
        let publishing = scope.spawn(|| {
            let mut count = 0;
            while count < MESSAGES_MAX && !is_gone.load(Ordering::Relaxed) {
                publish(count);
                count += 1;
                // Nobody listens any more when the thief is gone.
                let _ = begun.send(());
            }
            count
        });
        begins.recv().expect("a message was published");
        let leaving = scope.spawn(|| thief.expect_disconnect(0x87));
        site.fine(&["revoke", "stolen", "--reason", "key-compromise"]);
        let left = leaving.join();
        is_gone.store(true, Ordering::Relaxed);
        left.expect("the thief is told");
        publishing.join().expect("nobody keeps it from publishing")
    });
    assert!(published < MESSAGES_MAX);
    assert!(site.connect(&stolen, "thief").is_none());
    for other in &mut others {
        for number in 0..published {
            let found = other.take();
            assert_eq!(found.payload_text(), number.to_string());
        }
    }
    let status = site.0.control("status");
    assert_eq!(
        status["broker"]["connections"].as_u64(),
        Some(OTHERS as u64 + 1)
    );
    let text = fs::read_to_string(site.0.path("state/ca/crl.pem")).expect("a list");
    assert!(text.contains("BEGIN X509 CRL"));
}

#[test]
fn what_cannot_be_issued_is_told_with_file_and_hint_and_comes_by_itself_when_it_can() {
    let Some(mut site) = Site::new(OPEN) else {
        return;
    };
    let config = client_config_of_pem(&site.root(), None);
    site.0.kill();
    // The certificate of the port is gone, and the authority cannot be read.
    let (state, ports) = (
        site.0.path("state/ca/state.json"),
        site.0.path("state/ca/ports"),
    );
    let whole = fs::read(&state).expect("a file");
    fs::write(&state, "{").expect("damage it");
    fs::remove_dir_all(ports).expect("remove it");
    site.0.run();
    let status = site.0.control("status");
    let port = &status["ports"][0];
    assert_eq!(port["state"], "awaiting-certificate");
    let detail = port["detail"].as_str().expect("a reason");
    assert!(detail.contains("state.json"), "{detail}");
    assert!(site.0.log().contains("hint="), "{}", site.0.log());
    let said = site.ca(&["status"]);
    assert!(
        said.stderr.contains("state.json") && said.stderr.contains("hint:"),
        "{}",
        said.stderr
    );
    fs::write(&state, whole).expect("mend it");
    site.0
        .await_status(|status| (status["ports"][0]["state"] == "listening").then_some(()));
    site.0.refresh_addresses();
    assert!(site.connect(&config, "c").is_some());
}
