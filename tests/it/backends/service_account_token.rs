//! `[authentication.NAME.service_account_token]`

use std::time::SystemTime;

use data_encoding::BASE64URL_NOPAD;
use serde_json::json;

use super::super::support::{Received, property};
use super::*;

const CONFIG: &str = r#"
[authentication.devices]
methods = ["service_account_token"]
[authentication.devices.service_account_token]
audiences = ["fieldgate"]
api_server = "https://127.0.0.1:PORT"
ca = "{dir}/ca.pem"
token_file = "{dir}/own-token"
timeout = "TIMEOUT"
retries = 0
breaker_errors = 1000
"#;

fn start() -> Option<(TestGateway, AuthServer)> {
    start_with("10 s")
}

fn start_with(timeout: &str) -> Option<(TestGateway, AuthServer)> {
    let mut gateway = TestGateway::unstarted("")?;
    let dir = gateway.path("");
    let server = AuthServer::start(&dir, "fake_api_server", &json!({}), &tls(&dir));
    put(&dir.join("own-token"), "own-1\n");
    let config = CONFIG.replace("PORT", &server.port.to_string());
    gateway.write_config(&ports(&config.replace("TIMEOUT", timeout)));
    gateway.run();
    Some((gateway, server))
}

/// A token with an end; `name` makes it another one.
fn token(name: &str, seconds_left: i64) -> String {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("a clock");
    let exp = i64::try_from(now.as_secs()).expect("seconds") + seconds_left;
    let claims = json!({"exp": exp, "name": name}).to_string();
    format!("e30.{}.c2ln", BASE64URL_NOPAD.encode(claims.as_bytes()))
}

/// Good for these tokens.
fn knows(tokens: &[&str]) -> Value {
    let about =
        json!({"username": "system:serviceaccount:plant:press", "audiences": ["fieldgate"]});
    let tokens: serde_json::Map<String, Value> = tokens
        .iter()
        .map(|token| ((*token).to_owned(), about.clone()))
        .collect();
    json!({
        "own_tokens": ["own-1"],
        "tokens": tokens,
        "annotations": {"plant/press": {"aio-broker-auth/floor": "1"}},
    })
}

fn enhanced(token: &str) -> Connect {
    enhanced_as("client-1", token)
}

fn enhanced_as(client_id: &str, token: &str) -> Connect {
    Connect::new(V5, client_id)
        .with(property::AUTHENTICATION_METHOD, "K8S-SAT")
        .with(property::AUTHENTICATION_DATA, token.as_bytes())
}

#[test]
fn a_token_of_the_cluster_is_accepted_in_both_forms() {
    let Some((gateway, server)) = start() else {
        return;
    };
    let token = token("a", 600);
    server.script(&knows(&[&token]));
    assert_eq!(code(&gateway, &enhanced(&token), V5), 0);
    for version in [V3_1_1, V5] {
        let simple = user(version, "K8S-SAT", &token);
        assert_eq!(code(&gateway, &simple, version), 0);
    }
    let requests = server.requests();
    let review: Value = serde_json::from_str(requests[0].body()).expect("a review");
    assert_eq!(
        requests[0].line(),
        "POST /apis/authentication.k8s.io/v1/tokenreviews"
    );
    assert_eq!(
        review["spec"],
        json!({"token": token, "audiences": ["fieldgate"]})
    );
    assert_eq!(requests[0].header("authorization"), Some("Bearer own-1"));
    assert_eq!(
        requests[1].line(),
        "GET /api/v1/namespaces/plant/serviceaccounts/press"
    );
    assert!(!gateway.log().contains(&token));
}

#[test]
fn a_bad_token_is_refused() {
    let Some((gateway, server)) = start() else {
        return;
    };
    let with = |change: &dyn Fn(&mut Value, &str), token: &str| {
        let mut script = knows(&[token]);
        change(&mut script, token);
        server.script(&script);
        assert_eq!(
            code(&gateway, &enhanced(token), V5),
            NOT_AUTHORIZED,
            "{script}"
        );
        assert_eq!(code(&gateway, &user(V3_1_1, "K8S-SAT", token), V3_1_1), 5);
    };
    with(
        &|script, _| script["tokens"] = json!({}),
        &token("unknown", 600),
    );
    let audience = |script: &mut Value, token: &str| {
        script["tokens"][token]["audiences"] = json!(["https://kubernetes"]);
    };
    with(&audience, &token("wrong audience", 600));
    let ignores = |script: &mut Value, token: &str| {
        audience(script, token);
        script["ignores_audiences"] = json!(true);
    };
    with(&ignores, &token("audiences are not looked at", 600));
    with(&|_, _| {}, &token("expired", -10));
    let node = |script: &mut Value, token: &str| {
        script["tokens"][token]["username"] = json!("system:node:a");
    };
    with(&node, &token("no service account", 600));
    with(
        &|script, _| script["annotations"] = json!({}),
        &token("no such account", 600),
    );
    assert_eq!(code(&gateway, &Connect::new(V5, "c"), V5), NOT_AUTHORIZED);
    let other = Connect::new(V5, "c").with(property::AUTHENTICATION_METHOD, "SCRAM");
    assert_eq!(code(&gateway, &other, V5), 0x8C);
}

#[test]
fn a_cluster_that_cannot_be_asked_is_no_reason_to_give_up() {
    let Some((gateway, server)) = start() else {
        return;
    };
    let token = token("a", 600);
    let with = |script: &Value| {
        server.script(script);
        code(&gateway, &enhanced(&token), V5)
    };
    let (mut unauthorized, mut forbidden) = (knows(&[&token]), knows(&[&token]));
    unauthorized["own_tokens"] = json!(["own-2"]);
    forbidden["forbidden"] = json!(true);
    assert_eq!(with(&unauthorized), UNAVAILABLE);
    assert_eq!(with(&forbidden), UNAVAILABLE);
    assert_eq!(with(&json!({"status": 500})), UNAVAILABLE);
    put(&gateway.path("own-token"), "own-2");
    assert_eq!(with(&unauthorized), 0, "our own token was replaced");
    let _start_again = server.stop();
    assert_eq!(code(&gateway, &enhanced(&token), V5), UNAVAILABLE);
}

#[test]
fn a_cluster_that_hangs_is_no_reason_to_give_up() {
    let Some((gateway, server)) = start_with("1 s") else {
        return;
    };
    server.script(&json!({"hang": true}));
    let hung = code(&gateway, &enhanced(&token("a", 600)), V5);
    assert_eq!(hung, UNAVAILABLE);
}

#[test]
fn a_client_authenticates_again_before_its_token_ends() {
    let Some((gateway, server)) = start() else {
        return;
    };
    let (first, second, strange) = (
        token("first", 8),
        token("second", 600),
        token("strange", 600),
    );
    let mut script = knows(&[&first, &second, &strange]);
    script["tokens"][&strange]["username"] = json!("system:serviceaccount:plant:other");
    script["annotations"]["plant/other"] = json!({});
    server.script(&script);
    let begin = Instant::now();
    let (mut client, _) = gateway.connect(&enhanced(&first));
    let (mut silent, _) = gateway.connect(&enhanced_as("client-2", &first));
    client.send(auth(0x19, "K8S-SAT", second.as_bytes()));
    assert!(matches!(client.receive(), Received::Auth(found) if found.reason == 0));
    while silent.receive_or_end().is_some() {}
    assert!(
        begin.elapsed() < Duration::from_secs(20),
        "{:?}",
        begin.elapsed()
    );
    client.ping();
    client.send(auth(0x19, "K8S-SAT", strange.as_bytes()));
    client.expect_disconnect(NOT_AUTHORIZED);
}
