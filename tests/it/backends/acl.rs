//! `[authorization.NAME.http]`

use serde_json::json;

use super::super::support::Publish;
use super::*;

const CONFIG: &str = r#"
[[listener]]
name = "test"

[[listener.port]]
port = 0
bind = "127.0.0.1"
authentication = "devices"
authorization = "topics"

[admin]
http = "127.0.0.1:0"

[authentication.devices]
methods = ["http"]
[authentication.devices.http]
url = "http://127.0.0.1:PORT"
getuser_path = "/auth"

[authorization.topics.http]
url = "http://127.0.0.1:PORT"
superuser_path = "/superuser"
aclcheck_path = "/acl"
superusers = ["admin-*"]
cache_time = "1 min"
negative_cache_time = "10 min"
breaker_errors = 1000
retries = 0
"#;

fn script() -> Value {
    json!({
        "users": {"press-1": "a", "boss": "a", "admin-1": "a"},
        "superusers": ["boss"],
        "acl": [
            ["press-1", "plant/1", 2],
            ["press-1", "plant/1", 1],
            ["press-1", "plant/#", 4],
        ],
    })
}

fn start() -> Option<(TestGateway, AuthServer)> {
    let mut gateway = TestGateway::unstarted("")?;
    let server = AuthServer::start(&gateway.path(""), "seed_auth_server", &script(), &[]);
    gateway.write_config(&CONFIG.replace("PORT", &server.port.to_string()));
    gateway.run();
    Some((gateway, server))
}

fn client(gateway: &TestGateway, name: &str) -> TestClient {
    let connect = Connect::new(V5, &format!("client&{name}"))
        .username(name)
        .password(b"a");
    gateway.connect(&connect).0
}

/// What a publication is answered.
#[track_caller]
fn publish(client: &mut TestClient, topic: &str) -> u8 {
    let id = client.packet_id();
    client.publish(&Publish::new(topic, "x").qos(1, id))
}

/// The bodies of the questions at `path`.
fn asked(server: &AuthServer, path: &str) -> Vec<String> {
    let requests = server.requests().into_iter();
    requests
        .filter(|request| request.line() == format!("POST {path}"))
        .map(|request| request.body().to_owned())
        .collect()
}

#[test]
fn a_publication_is_asked_for_once() {
    let Some((gateway, server)) = start() else {
        return;
    };
    let mut press = client(&gateway, "press-1");
    assert!(publish(&mut press, "plant/1") < 0x80);
    assert!(publish(&mut press, "plant/1") < 0x80);
    assert_eq!(publish(&mut press, "plant/2"), NOT_AUTHORIZED);
    assert_eq!(
        asked(&server, "/superuser"),
        ["username=press-1&password=&topic=&acc=-1&clientid="]
    );
    assert_eq!(
        asked(&server, "/acl"),
        [
            "username=press-1&password=&topic=plant%2F1&acc=2&clientid=client%26press-1",
            "username=press-1&password=&topic=plant%2F2&acc=2&clientid=client%26press-1",
        ]
    );
}

#[test]
fn a_subscription_and_each_topic_of_a_delivery_are_asked_for() {
    let Some((gateway, server)) = start() else {
        return;
    };
    let mut press = client(&gateway, "press-1");
    assert_eq!(press.subscribe("plant/#", 1), 1);
    assert_eq!(press.subscribe("other/#", 1), NOT_AUTHORIZED);
    let mut boss = client(&gateway, "boss");
    for topic in ["plant/2", "plant/1", "plant/2", "plant/1"] {
        assert!(publish(&mut boss, topic) < 0x80);
    }
    for _ in 0..2 {
        assert_eq!(
            press.take().topic,
            "plant/1",
            "what it may not read does not come"
        );
    }
    let questions = asked(&server, "/acl");
    let subscribing = questions.iter().filter(|body| body.contains("acc=4"));
    let reading = questions.iter().filter(|body| body.contains("acc=1&"));
    assert_eq!((subscribing.count(), reading.count()), (2, 2));
    assert!(!questions.iter().any(|body| body.contains("username=boss")));
}

#[test]
fn deliveries_stay_in_order_while_the_answer_is_awaited() {
    let Some((gateway, server)) = start() else {
        return;
    };
    let mut all = script();
    for number in 0..50 {
        let acl = all["acl"].as_array_mut().expect("a list");
        acl.push(json!(["press-1", format!("plant/{number}"), 1]));
    }
    server.script(&all);
    let mut press = client(&gateway, "press-1");
    assert_eq!(press.subscribe("plant/#", 1), 1);
    let mut admin = client(&gateway, "admin-1");
    for number in 0..50 {
        assert!(publish(&mut admin, &format!("plant/{number}")) < 0x80);
    }
    for number in 0..50 {
        assert_eq!(press.take().topic, format!("plant/{number}"));
    }
    assert!(
        !asked(&server, "/superuser")
            .iter()
            .any(|body| body.contains("admin-1"))
    );
}

#[test]
fn what_nobody_can_tell_is_denied_and_asked_again() {
    let Some((gateway, server)) = start() else {
        return;
    };
    let mut press = client(&gateway, "press-1");
    server.script(&json!({"status": 503}));
    assert_eq!(publish(&mut press, "plant/1"), NOT_AUTHORIZED);
    server.script(&script());
    // The core counts in milliseconds, and in the one in which an answer comes it goes by it.
    eventually("it is asked again", || {
        publish(&mut press, "plant/1") < 0x80
    });
}
