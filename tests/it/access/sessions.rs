//! A session belongs to the identity that opened it (MQTT 5, 5.4.2).

use super::{PASSWORD, add_user};
use crate::support::command::run_on;
use crate::support::{Connect, Publish, TestClient, TestGateway, V3_1_1, V5, Version};

const CONFIG: &str = r#"
[[listener]]
name = "site"
[[listener.port]]
port = 0
bind = "127.0.0.1"
authentication = "people"
authorization = "none"
[[listener.port]]
port = 0
bind = "127.0.0.2"
authentication = "bound"
authorization = "none"
[[listener.port]]
port = 0
bind = "127.0.0.3"
authentication = "prefixed"
authorization = "none"
[authentication.people]
methods = ["password"]
[authentication.bound]
methods = ["password"]
client_id = "username"
[authentication.prefixed]
methods = ["password"]
client_id = "username-prefix"
[protection]
never_banned = ["127.0.0.0/8"]
"#;

fn gateway() -> Option<TestGateway> {
    let mut gateway = TestGateway::unstarted(CONFIG)?;
    for name in ["anna", "bert"] {
        add_user(&gateway.path("state"), name, &[]);
    }
    gateway.run();
    Some(gateway)
}

fn connect(version: Version, client_id: &str, username: &str) -> Connect {
    let connect = Connect::new(version, client_id).username(username);
    let connect = connect.password(PASSWORD.as_bytes());
    match version {
        V5 => connect.with(crate::support::property::SESSION_EXPIRY_INTERVAL, 600_u32),
        _ => connect.resume(),
    }
}

fn open(gateway: &TestGateway, port: usize, version: Version) -> TestClient {
    let stream = std::net::TcpStream::connect(gateway.address_of(port)).expect("connect");
    TestClient::new(stream, version)
}

#[test]
fn another_identity_neither_takes_a_session_over_nor_resumes_it() {
    let Some(gateway) = gateway() else { return };
    for (version, code) in [(V5, 0x87), (V3_1_1, 5)] {
        let client_id = format!("pump-{version:?}");
        let mut anna = gateway.connect(&connect(version, &client_id, "anna")).0;
        anna.subscribe("pump/order", 1);

        let mut bert = open(&gateway, 0, version);
        bert.send(connect(version, &client_id, "bert").encode());
        bert.expect_refused(code);
        assert!(anna.ping().is_empty(), "anna is served as before");

        anna.disconnect();
        let mut bert = open(&gateway, 0, version);
        bert.send(connect(version, &client_id, "bert").encode());
        bert.expect_refused(code);

        let mut other = gateway.connect(&connect(version, "other", "bert")).0;
        other.publish(&Publish::new("pump/order", "stop").qos(1, 1));
        let (mut anna, connack) = gateway.connect(&connect(version, &client_id, "anna").resume());
        assert!(connack.session_present, "the session is anna's still");
        assert_eq!(anna.take().payload_text(), "stop");
        other.disconnect();
    }
    let said = run_on(
        &gateway.path("state"),
        &["audit", "--kind", "takeover-refused", "--json"],
    );
    assert_eq!(said.code, 0, "{said:?}");
    let events: serde_json::Value = serde_json::from_str(&said.stdout).expect("JSON");
    let subjects: Vec<_> = events
        .as_array()
        .expect("a list")
        .iter()
        .map(|event| event["subject"].as_str().expect("a subject"))
        .collect();
    assert_eq!(subjects, ["bert"; 4], "{events:#}");
}

#[test]
fn client_identifier_can_be_bound_to_the_identity() {
    let Some(gateway) = gateway() else { return };
    for (port, client_id, fits) in [
        (1, "anna", true),
        (1, "anna-2", false),
        (1, "bert", false),
        (2, "anna", true),
        (2, "anna-2", true),
        (2, "annabel", false),
        (2, "bert", false),
    ] {
        for (version, code) in [(V5, 0x85), (V3_1_1, 2)] {
            let mut client = open(&gateway, port, version);
            client.send(connect(version, client_id, "anna").encode());
            if fits {
                assert_eq!(client.connack().code, 0, "{client_id} on port {port}");
            } else {
                client.expect_refused(code);
            }
        }
    }
    let mut client = open(&gateway, 1, V5);
    let connack = client.connect(&connect(V5, "", "bert"));
    let assigned = crate::support::property::ASSIGNED_CLIENT_IDENTIFIER;
    assert_eq!(connack.properties.text(assigned), Some("bert"));
}
