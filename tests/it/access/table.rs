//! A gateway with many ports, and what each says to each credential, action and topic: the expectation comes from a few
//! lines here that know the configuration, not from the broker.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::json;

use super::{PASSWORD, add_user};
use crate::backends::AuthServer;
use crate::support::command::run_on;
use crate::support::tls::{Authority, Identity, Tls};
use crate::support::websocket::WebSocket;
use crate::support::{Connect, Publish, Received, TestClient, TestGateway, V3_1_1, V5, Version};

/// How clients reach a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tcp,
    Tls,
    Web,
    SecureWeb,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Tcp, Self::Tls, Self::Web, Self::SecureWeb];

    fn has_tls(self) -> bool {
        matches!(self, Self::Tls | Self::SecureWeb)
    }

    fn lines(self) -> String {
        let mut lines = String::new();
        if self.has_tls() {
            lines += "tls = { mode = \"Manual\", cert = \"{dir}/server.crt\", key = \"{dir}/server.key\" }\n";
        }
        if matches!(self, Self::Web | Self::SecureWeb) {
            lines += "protocol = \"WebSockets\"\n";
        }
        lines
    }
}

/// The chains of the configuration below, by name.
const CHAINS: [(&str, &[&str]); 7] = [
    ("people", &["password"]),
    ("machines", &["x509"]),
    ("devices", &["x509", "password"]),
    ("guests", &["anonymous"]),
    ("mixed", &["password", "anonymous"]),
    ("servers", &["http"]),
    // Nobody listens there.
    ("gone", &["http that is down"]),
];

const ACCESS: &str = r#"
[authentication.people]
methods = ["password"]

[authentication.machines]
methods = ["x509"]
[authentication.machines.x509]
trust = ["{dir}/ca.pem"]

[authentication.devices]
methods = ["x509", "password"]
[authentication.devices.x509]
trust = ["{dir}/ca.pem"]

[authentication.guests]
methods = ["anonymous"]
[authentication.guests.anonymous]
username = "guest"

[authentication.servers]
methods = ["http"]
[authentication.servers.http]
url = "http://127.0.0.1:SEED_PORT"
getuser_path = "/auth"

[authentication.gone]
methods = ["http"]
[authentication.gone.http]
url = "http://127.0.0.1:1"
getuser_path = "/auth"

[authentication.mixed]
methods = ["password", "anonymous"]
[authentication.mixed.anonymous]
username = "guest"
"#;

/// What a client brings along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Credential {
    Nothing,
    Username,
    Password,
    WrongPassword,
    UnknownUser,
    DisabledUser,
    ExpiredUser,
    Certificate,
    CertificateAndPassword,
    ForeignCertificate,
    Method,
}

impl Credential {
    const ALL: [Self; 11] = [
        Self::Nothing,
        Self::Username,
        Self::Password,
        Self::WrongPassword,
        Self::UnknownUser,
        Self::DisabledUser,
        Self::ExpiredUser,
        Self::Certificate,
        Self::CertificateAndPassword,
        Self::ForeignCertificate,
        Self::Method,
    ];

    fn needs_tls(self) -> bool {
        matches!(
            self,
            Self::Certificate | Self::CertificateAndPassword | Self::ForeignCertificate
        )
    }

    fn connect(self, version: Version, client_id: &str) -> Connect {
        let connect = Connect::new(version, client_id);
        match self {
            Self::Nothing | Self::Certificate | Self::ForeignCertificate => connect,
            Self::Username => connect.username("press-1"),
            Self::Password | Self::CertificateAndPassword => {
                connect.username("press-1").password(PASSWORD.as_bytes())
            }
            Self::WrongPassword => connect.username("press-1").password(b"another one"),
            Self::UnknownUser => connect.username("press-9").password(PASSWORD.as_bytes()),
            Self::DisabledUser => connect.username("disabled").password(PASSWORD.as_bytes()),
            Self::ExpiredUser => connect.username("expired").password(PASSWORD.as_bytes()),
            Self::Method => connect.with(crate::support::property::AUTHENTICATION_METHOD, "X"),
        }
    }
}

/// What becomes of a CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// Accepted, under this name.
    Accepted(&'static str),
    /// A reason code of version 5.
    Refused(u8),
    /// The TLS handshake fails.
    NoHandshake,
}

/// What a method says, as the issue of rights has it.
fn judge(method: &str, credential: Credential) -> Option<Answer> {
    use Credential::*;
    match (method, credential) {
        ("password", Password | CertificateAndPassword) => Some(Answer::Accepted("press-1")),
        ("password", WrongPassword | UnknownUser | DisabledUser | ExpiredUser) => {
            Some(Answer::Refused(0x86))
        }
        ("http", Password | CertificateAndPassword) => Some(Answer::Accepted("press-1")),
        ("http" | "http that is down", Username) => Some(Answer::Refused(0x86)),
        ("http", WrongPassword | UnknownUser | DisabledUser | ExpiredUser) => {
            Some(Answer::Refused(0x86))
        }
        (
            "http that is down",
            Password
            | CertificateAndPassword
            | WrongPassword
            | UnknownUser
            | DisabledUser
            | ExpiredUser,
        ) => Some(Answer::Refused(0x88)),
        ("x509", Certificate | CertificateAndPassword) => Some(Answer::Accepted("press-cert")),
        ("anonymous", Method) => None,
        ("anonymous", _) => Some(Answer::Accepted("guest")),
        _ => None,
    }
}

fn expected(methods: &[&str], credential: Credential) -> Answer {
    if credential == Credential::ForeignCertificate && methods.contains(&"x509") {
        return Answer::NoHandshake;
    }
    let said = methods.iter().find_map(|method| judge(method, credential));
    let nobody = match credential {
        Credential::Method => 0x8C,
        _ => 0x87,
    };
    said.unwrap_or(Answer::Refused(nobody))
}

/// The code of version 3.1.1 for a reason of version 5.
fn code(version: Version, reason: u8) -> u8 {
    match (version, reason) {
        (V5, reason) => reason,
        (_, 0x86) => 4,
        (_, 0x88) => 3,
        _ => 5,
    }
}

struct Site {
    gateway: TestGateway,
    authority: Authority,
    client: Identity,
    foreign: Identity,
    _seed: AuthServer,
}

impl Site {
    /// `ports` are lines of a `[[listener.port]]` each.
    fn new(access: &str, ports: impl Iterator<Item = String>) -> Option<Self> {
        let mut config = "[[listener]]\nname = \"site\"\n".to_owned();
        for (number, port) in ports.enumerate() {
            // Port 0 gives no number to tell ports apart, so each has an address of its own.
            let address = number + 1;
            config += &format!("[[listener.port]]\nport = 0\nbind = \"127.0.0.{address}\"\n{port}");
        }
        config += access;
        config += "[protection]\nnever_banned = [\"127.0.0.0/8\"]\n";
        let authority = Authority::new("site");
        let mut gateway = TestGateway::unstarted("")?;
        let script = json!({"users": {"press-1": PASSWORD}});
        let seed = AuthServer::start(&gateway.path(""), "seed_auth_server", &script, &[]);
        config += "[admin]\nhttp = \"127.0.0.1:0\"\n";
        gateway.write_config(&config.replace("SEED_PORT", &seed.port.to_string()));
        authority.prepare(&gateway.path(""));
        let state = gateway.path("state");
        add_user(&state, "expired", &["--expires", "1s"]);
        let expired = Instant::now() + Duration::from_secs(2);
        add_user(&state, "press-1", &["--attr", "floor=1"]);
        add_user(&state, "disabled", &[]);
        assert_eq!(run_on(&state, &["user", "disable", "disabled"]).code, 0);
        gateway.run();
        // A user cannot be made who is over already, and nobody turns the clock of the machine.
        while let Some(left) = expired.checked_duration_since(Instant::now()) {
            std::thread::park_timeout(left);
        }
        Some(Self {
            client: authority.client("press-cert"),
            foreign: Authority::new("foreign").client("press-cert"),
            authority,
            gateway,
            _seed: seed,
        })
    }

    /// A connection to a port; `None` if the handshake fails.
    fn open(
        &self,
        address: SocketAddr,
        kind: Kind,
        credential: Credential,
        version: Version,
    ) -> Option<TestClient> {
        let identity = match credential {
            Credential::Certificate | Credential::CertificateAndPassword => Some(&self.client),
            Credential::ForeignCertificate => Some(&self.foreign),
            _ => None,
        };
        let plain = || TcpStream::connect(address).expect("connect to the port");
        let secure = || Tls::connect(address, &self.authority.client_config(identity)).ok();
        Some(match kind {
            Kind::Tcp => TestClient::new(plain(), version),
            Kind::Web => TestClient::new(WebSocket::upgrade(plain()), version),
            Kind::Tls => TestClient::new(secure()?, version),
            Kind::SecureWeb => TestClient::new(WebSocket::upgrade_or_end(secure()?)?, version),
        })
    }

    fn principal_of(&self, client_id: &str) -> String {
        let said = run_on(
            &self.gateway.path("state"),
            &["clients", client_id, "--json"],
        );
        let clients: serde_json::Value = serde_json::from_str(&said.stdout).expect("JSON");
        clients[0]["principal"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

fn answer(site: &Site, address: SocketAddr, kind: Kind, credential: Credential) -> Vec<Answer> {
    let mut answers = Vec::new();
    // A session belongs to the identity that opened it, so each client has a name of its own.
    let client_id = format!("t-{address}-{credential:?}");
    for version in [V5, V3_1_1] {
        if version == V3_1_1 && credential == Credential::Method {
            continue;
        }
        let Some(mut client) = site.open(address, kind, credential, version) else {
            answers.push(Answer::NoHandshake);
            continue;
        };
        client.send(credential.connect(version, &client_id).encode());
        answers.push(match client.receive_or_end() {
            None => Answer::NoHandshake,
            Some(Received::ConnAck(connack)) if connack.code == 0 => {
                let name = site.principal_of(&client_id);
                let known = ["press-1", "press-cert", "guest"];
                let name = known.into_iter().find(|known| *known == name);
                Answer::Accepted(name.expect("a name of this test"))
            }
            Some(Received::ConnAck(connack)) => {
                client.expect_closed();
                Answer::Refused(connack.code)
            }
            Some(other) => panic!("expected CONNACK, found {other:?}"),
        });
    }
    answers
}

#[test]
fn every_port_judges_every_credential_by_its_own_chain() {
    let rows: Vec<_> = CHAINS
        .iter()
        .flat_map(|(name, methods)| Kind::ALL.map(|kind| (*name, *methods, kind)))
        .filter(|(_, methods, kind)| kind.has_tls() || !methods.contains(&"x509"))
        .collect();
    let ports = rows.iter().map(|(name, _, kind)| {
        format!(
            "authentication = \"{name}\"\nauthorization = \"none\"\n{}",
            kind.lines()
        )
    });
    let Some(site) = Site::new(ACCESS, ports) else {
        return;
    };
    let mut wrong = Vec::new();
    for (number, (name, methods, kind)) in rows.iter().enumerate() {
        let address = site.gateway.address_of(number);
        for credential in Credential::ALL {
            if credential.needs_tls() && !kind.has_tls() {
                continue;
            }
            let found = answer(&site, address, *kind, credential);
            for (found, version) in found.into_iter().zip([V5, V3_1_1]) {
                let wanted = match expected(methods, credential) {
                    Answer::Refused(reason) => Answer::Refused(code(version, reason)),
                    other => other,
                };
                if found != wanted {
                    wrong.push(format!(
                        "{name} over {kind:?}, {credential:?}, {version:?}: {found:?}, not {wanted:?}"
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Rules of the table of rights, and what each gives whom.
const RULES: &str = r#"
[[authorization.RULES.rule]]
principals = { usernames = ["press-1"] }
connect   = ["t*", "press-*"]
publish   = ["plant/{principal.username}/#", "by-id/{principal.clientId}"]
subscribe = ["plant/+/state"]

[[authorization.RULES.rule]]
principals = { attributes = [{ floor = "1" }] }
publish = ["floor/{principal.attributes.floor}/x"]
qos = 1
retain = false

[[authorization.RULES.rule]]
effect = "deny"
principals = { everyone = true }
publish = ["plant/press-1/secret"]
subscribe = ["plant/9/state"]
"#;

/// Rules that are about nobody here.
const NOBODY: &str = r#"
[[authorization.nothing.rule]]
principals = { usernames = ["nobody"] }
connect = ["*"]
"#;

/// Topics to publish to: QoS, RETAIN, and whether the rules allow it.
const PUBLICATIONS: [(&str, u8, bool, bool); 9] = [
    ("plant/press-1/x", 1, false, true),
    ("plant/press-1", 2, true, true),
    ("plant/press-2/x", 1, false, false),
    ("plant/press-1/secret", 1, false, false),
    ("by-id/t", 1, false, true),
    ("by-id/u", 1, false, false),
    ("floor/1/x", 1, false, true),
    ("floor/1/x", 2, false, false),
    ("floor/1/x", 1, true, false),
];

/// Topic filters to subscribe to, and whether the rules allow it.
const SUBSCRIPTIONS: [(&str, bool); 7] = [
    ("plant/1/state", true),
    ("$share/g/plant/1/state", true),
    ("plant/9/state", false),
    ("plant/+/state", false),
    ("plant/#", false),
    ("#", false),
    ("plant/press-1/x", false),
];

#[test]
fn every_port_goes_by_its_own_rules() {
    let rules = |name: &str, more: &str| {
        format!(
            "[authorization.{name}]\n{more}{}",
            RULES.replace("RULES", name)
        )
    };
    let strict = rules("strict", "");
    let closing = rules("closing", "denied_publish = \"disconnect\"\n");
    let access = format!("{ACCESS}{strict}{closing}{NOBODY}");
    let names = ["strict", "closing", "nothing", "none"];
    let rows: Vec<_> = names
        .iter()
        .flat_map(|name| Kind::ALL.map(|kind| (*name, kind)))
        .collect();
    let ports = rows.iter().map(|(name, kind)| {
        format!(
            "authentication = \"people\"\nauthorization = \"{name}\"\n{}",
            kind.lines()
        )
    });
    let Some(site) = Site::new(&access, ports) else {
        return;
    };
    for (number, (name, kind)) in rows.iter().enumerate() {
        let address = site.gateway.address_of(number);
        for version in [V5, V3_1_1] {
            let connect = Credential::Password.connect(version, "t");
            let open = || {
                let client = site.open(address, *kind, Credential::Password, version);
                client.expect("the handshake")
            };
            let mut client = open();
            if *name == "nothing" {
                client.send(connect.encode());
                client.expect_refused(code(version, 0x87));
                continue;
            }
            assert_eq!(client.connect(&connect).code, 0, "{name} {kind:?}");
            check_subscriptions(&mut client, name);
            for publication in PUBLICATIONS {
                let is_closed = check_publication(&mut client, name, publication);
                if is_closed {
                    client = open();
                    assert_eq!(client.connect(&connect).code, 0);
                }
            }
        }
    }
}

/// `name` is that of the rules.
#[track_caller]
fn check_subscriptions(client: &mut TestClient, name: &str) {
    let refused = if client.version == V5 { 0x87 } else { 0x80 };
    for (filter, allowed) in SUBSCRIPTIONS {
        let allowed = allowed || name == "none";
        let wanted = if allowed { 1 } else { refused };
        let what = format!("{name} {:?} {filter}", client.version);
        assert_eq!(client.subscribe(filter, 1), wanted, "{what}");
        if allowed {
            client.unsubscribe(&[filter]);
        }
    }
}

/// Whether the connection is closed, which is what rules may ask for.
#[track_caller]
fn check_publication(
    client: &mut TestClient,
    name: &str,
    (topic, qos, retain, allowed): (&str, u8, bool, bool),
) -> bool {
    let version = client.version;
    let allowed = allowed || name == "none";
    let what = format!("{name} {version:?} {topic} {qos} {retain}");
    let mut publish = Publish::new(topic, "x").qos(qos, 7);
    if retain {
        publish = publish.retain();
    }
    client.send(publish.encode(version));
    if !allowed && version == V3_1_1 && name == "closing" {
        client.expect_closed();
        return true;
    }
    let reason = match client.receive() {
        Received::PubAck(ack) | Received::PubRec(ack) => ack.reason,
        other => panic!("{what}: {other:?}"),
    };
    let wanted = allowed || version == V3_1_1;
    assert_eq!(reason < 0x80, wanted, "{what}: {reason:#04x}");
    if !wanted {
        assert_eq!(reason, 0x87, "{what}");
    } else if qos == 2 {
        client.send(crate::support::packet::ack(0x62, 7));
        client.pubcomp();
    }
    if retain && allowed {
        // Nothing is left for the subscriptions of the next client.
        client.publish(&Publish::new(topic, "").qos(1, 8).retain());
    }
    false
}
