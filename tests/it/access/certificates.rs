//! Certificates of clients: who is taken, and what happens while they are connected when files change or time passes.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rcgen::{CertificateParams, date_time_ymd};
use rustls::ClientConfig;
use rustls::version::{TLS12, TLS13};

use super::{add_user, reload};
use crate::support::tls::{Authority, Identity, Tls, subject};
use crate::support::websocket::WebSocket;
use crate::support::{Connect, Publish, Received, TestClient, TestGateway, V5};

const PORTS: &str = r#"
[[listener]]
name = "site"
[[listener.port]]
port = 0
bind = "127.0.0.1"
authentication = "machines"
authorization = "rules"
tls = { mode = "Manual", cert = "{dir}/server.crt", key = "{dir}/server.key" }
[[listener.port]]
port = 0
bind = "127.0.0.2"
protocol = "WebSockets"
authentication = "machines"
authorization = "rules"
tls = { mode = "Manual", cert = "{dir}/server.crt", key = "{dir}/server.key" }
[authorization.rules]
[[authorization.rules.rule]]
principals = { everyone = true }
connect = ["*"]
publish = ["open"]
subscribe = ["open"]
[[authorization.rules.rule]]
principals = { attributes = [{ floor = "1" }] }
publish = ["floor/1"]
[protection]
never_banned = ["127.0.0.0/8"]
"#;

const MACHINES: &str = r#"
[authentication.machines]
methods = ["x509"]
[authentication.machines.x509]
trust = ["{dir}/trust"]
crls = ["{dir}/crls"]
[authentication.machines.x509.attributes.first-floor]
subject = "CN = First Floor CA"
attributes = { floor = "1" }
"#;

/// How long a change may take, with room for a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(30);

struct Site {
    gateway: TestGateway,
    authority: Authority,
}

impl Site {
    fn new() -> Option<Self> {
        Self::with(MACHINES)
    }

    fn with(authentication: &str) -> Option<Self> {
        let authority = Authority::new("Plant CA");
        let mut gateway = TestGateway::unstarted(&format!("{PORTS}{authentication}"))?;
        authority.prepare(&gateway.path(""));
        for folder in ["trust", "crls"] {
            fs::create_dir(gateway.path(folder)).expect("a folder");
        }
        let site = |name: &str| gateway.path(name);
        fs::write(site("trust/plant.pem"), &authority.pem).expect("write the trust");
        gateway.run();
        Some(Self { gateway, authority })
    }

    /// Puts a file in its place as a careful program does.
    fn put(&self, name: &str, text: &str) {
        let new = self.gateway.path("new");
        fs::write(&new, text).expect("write a file");
        fs::rename(new, self.gateway.path(name)).expect("move it");
    }

    fn connect(&self, identity: &Identity, client_id: &str) -> Option<TestClient> {
        self.connect_with(&self.authority.client_config(Some(identity)), client_id)
    }

    /// A client that is served; `None` if its certificate is not taken.
    fn connect_with(&self, config: &Arc<ClientConfig>, client_id: &str) -> Option<TestClient> {
        let tls = Tls::connect(self.gateway.address(), config).ok()?;
        let mut client = TestClient::new(tls, V5);
        client.send(Connect::new(V5, client_id).encode());
        match client.receive_or_end()? {
            Received::ConnAck(connack) if connack.code == 0 => Some(client),
            // The handshake counts whole seconds.
            Received::ConnAck(connack) => {
                assert_eq!(connack.code, 0x87);
                None
            }
            other => panic!("expected CONNACK, found {other:?}"),
        }
    }

    fn await_log(&self, text: &str) {
        self.gateway
            .await_status(|_| self.gateway.log().contains(text).then_some(()));
    }
}

fn until(name: &str, end: SystemTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = subject(name);
    let since_epoch = end.duration_since(UNIX_EPOCH).expect("a time of today");
    params.not_after = date_time_ymd(1970, 1, 1) + Duration::from_secs(since_epoch.as_secs());
    params
}

#[test]
fn certificate_is_taken_by_every_version_of_tls_and_over_websocket() {
    let Some(site) = Site::new() else {
        return;
    };
    let press = site.authority.client("press-1");
    for version in [&TLS12, &TLS13] {
        let config = site.authority.client_config_of(&[version], Some(&press));
        let mut client = site.connect_with(&config, "c").expect("a good certificate");
        assert!(client.ping().is_empty());
        // The second time the handshake resumes the first one.
        let mut again = site.connect_with(&config, "c").expect("a good certificate");
        assert_eq!(client.disconnect_reason(), 0x8E);
        assert!(again.ping().is_empty());
        let web = Tls::connect(site.gateway.address_of(1), &config).expect("a handshake");
        let mut web = TestClient::new(WebSocket::upgrade(web), V5);
        assert_eq!(web.connect(&Connect::new(V5, "w")).code, 0);
        // Foreign certificates are refused by TLS itself, whatever its version.
        let foreign = Authority::new("Plant CA").client("press-1");
        let config = site.authority.client_config_of(&[version], Some(&foreign));
        assert!(site.connect_with(&config, "c").is_none());
    }
    site.await_log("CN=press-1");
}

#[test]
fn client_that_is_revoked_is_disconnected_and_nobody_else() {
    let Some(site) = Site::new() else {
        return;
    };
    let identities = ["press-1", "press-2", "press-3"].map(|name| site.authority.client(name));
    let mut clients = identities
        .each_ref()
        .map(|identity| site.connect(identity, &identity.common_name).expect("good"));
    let since = Instant::now();
    site.put("crls/plant.pem", &site.authority.revoke(&[&identities[1]]));
    clients[1].wait_at_most(SOON);
    clients[1].expect_disconnect(0x87);
    assert!(since.elapsed() < SOON);
    for at in [0, 2] {
        assert!(clients[at].ping().is_empty());
        assert_eq!(
            clients[at].publish(&Publish::new("open", "x").qos(1, 1)),
            0x10
        );
    }
    assert!(site.connect(&identities[1], "again").is_none());
    // A list that cannot be read changes nothing.
    site.put("crls/plant.pem", "nothing");
    site.await_log("plant.pem holds no revocation list");
    assert!(site.connect(&identities[1], "again").is_none());
    site.put("crls/plant.pem", &site.authority.revoke(&[]));
    let since = Instant::now();
    while site.connect(&identities[1], "again").is_none() {
        assert!(since.elapsed() < SOON, "the certificate is good again");
    }
}

#[test]
fn revoked_client_does_not_come_back_with_a_ticket() {
    let Some(site) = Site::new() else {
        return;
    };
    let press = site.authority.client("press-1");
    let config = site.authority.client_config(Some(&press));
    let mut client = site.connect_with(&config, "c").expect("good");
    site.put("crls/plant.pem", &site.authority.revoke(&[&press]));
    client.expect_disconnect(0x87);
    // TLS looks at no certificate when it resumes; the method does.
    let tls = Tls::connect(site.gateway.address(), &config).expect("a resumed handshake");
    let mut client = TestClient::new(tls, V5);
    client.send(Connect::new(V5, "c").encode());
    client.expect_refused(0x87);
}

#[test]
fn trust_that_changes_counts_for_clients_that_come_and_those_that_are_there() {
    let Some(site) = Site::new() else {
        return;
    };
    let other = Authority::new("Other CA");
    let (ours, theirs) = (site.authority.client("press-1"), other.client("press-2"));
    let theirs_config = site.authority.client_config(Some(&theirs));
    let mut client = site.connect(&ours, "ours").expect("good");
    assert!(site.connect_with(&theirs_config, "theirs").is_none());
    site.put("trust/other.pem", &other.pem);
    let since = Instant::now();
    let mut theirs = loop {
        if let Some(theirs) = site.connect_with(&theirs_config, "theirs") {
            break theirs;
        }
        assert!(since.elapsed() < SOON, "the other authority is trusted");
    };
    assert!(client.ping().is_empty());
    fs::remove_file(site.gateway.path("trust/plant.pem")).expect("remove it");
    client.expect_disconnect(0x87);
    assert!(theirs.ping().is_empty());
}

#[test]
fn connection_ends_with_its_certificate() {
    let Some(site) = Site::new() else {
        return;
    };
    let end = SystemTime::now() + Duration::from_secs(6);
    let brief = site.authority.sign(until("press-1", end));
    let mut lasting = site
        .connect(&site.authority.client("press-2"), "l")
        .expect("good");
    let mut client = site.connect(&brief, "b").expect("good for a while");
    client.wait_at_most(Duration::from_secs(30));
    client.expect_disconnect(0x87);
    assert!(lasting.ping().is_empty());
    assert!(site.connect(&brief, "b").is_none(), "it has expired");
}

#[test]
fn attributes_come_from_the_authority_that_issued_the_certificate() {
    let Some(site) = Site::new() else {
        return;
    };
    let floor = site.authority.below("First Floor CA");
    let mut first = site.connect(&floor.client("press-1"), "1").expect("good");
    let mut second = site
        .connect(&site.authority.client("press-2"), "2")
        .expect("good");
    let publish = Publish::new("floor/1", "x").qos(1, 1);
    assert_eq!(first.publish(&publish), 0x10);
    assert_eq!(second.publish(&publish), 0x87);
}

#[test]
fn port_begins_to_ask_for_certificates_without_closing() {
    let people = "[authentication.machines]\nmethods = [\"password\"]\n";
    let Some(site) = Site::with(people) else {
        return;
    };
    add_user(&site.gateway.path("state"), "anna", &[]);
    let press = site.authority.client("press-1");
    let config = site.authority.client_config(Some(&press));
    let open = || TestClient::new(Tls::connect(site.gateway.address(), &config).unwrap(), V5);
    let anna = Connect::new(V5, "anna").username("anna");
    let anna = anna.password(super::PASSWORD.as_bytes());
    let mut client = open();
    assert_eq!(client.connect(&anna).code, 0);
    let mut refused = open();
    refused.send(Connect::new(V5, "press-1").encode());
    refused.expect_refused(0x87);

    let both = MACHINES.replace("[\"x509\"]", "[\"x509\", \"password\"]");
    let admin = "[admin]\nhttp = \"127.0.0.1:0\"\n";
    site.gateway.write_config(&format!("{PORTS}{both}{admin}"));
    reload(&site.gateway);
    assert!(client.ping().is_empty());
    let mut machine = open();
    assert_eq!(machine.connect(&Connect::new(V5, "press-1")).code, 0);
}
