//! `[authentication.NAME.custom]`

use std::time::SystemTime;

use serde_json::json;

use super::super::support::{Received, property};
use super::*;

const CONFIG: &str = r#"
[authentication.devices]
methods = ["custom"]
[authentication.devices.custom]
url = "https://localhost:PORT"
ca = "{dir}/ca.pem"
headers = { X-Site = "7", Authorization = { file = "{dir}/header" } }
breaker_errors = 1000
retries = 0
"#;

fn start(script: &Value) -> Option<(TestGateway, AuthServer)> {
    let mut gateway = TestGateway::unstarted("")?;
    let dir = gateway.path("");
    let server = AuthServer::start(&dir, "custom_auth_server", script, &tls(&dir));
    put(&dir.join("header"), "Bearer ours\n");
    gateway.write_config(&ports(&CONFIG.replace("PORT", &server.port.to_string())));
    gateway.run();
    Some((gateway, server))
}

fn answers(status: u16, body: Value) -> Value {
    json!({"answers": {"press-1": {"status": status, "body": body}}})
}

#[test]
fn each_answer_has_its_meaning() {
    let Some((gateway, server)) = start(&json!({})) else {
        return;
    };
    let press = user(V5, "press-1", "secret");
    for (status, body, expected) in [
        (200, json!({}), 0),
        (
            200,
            json!({"expiry": "2090-05-08T20:04:16+00:00", "attributes": {"a": "1"}}),
            0,
        ),
        (
            200,
            json!({"expiry": "2020-05-08T20:04:16+00:00"}),
            NOT_AUTHORIZED,
        ),
        (200, json!("no object"), UNAVAILABLE),
        (403, json!({"reason": 135, "message": "no"}), NOT_AUTHORIZED),
        (403, json!({"reason": 134}), BAD_PASSWORD),
        (403, json!({"reason": 138, "message": "go away"}), 0x8A),
        (403, json!({"reason": 1}), NOT_AUTHORIZED),
        (400, json!("bad request"), UNAVAILABLE),
        (405, json!("not allowed"), UNAVAILABLE),
        (404, json!(""), UNAVAILABLE),
        (422, json!({"supportedVersions": ["0.5.0"]}), UNAVAILABLE),
        (422, json!({"supportedVersions": ["1.0.0"]}), UNAVAILABLE),
        (500, json!({}), UNAVAILABLE),
        (503, json!(""), UNAVAILABLE),
    ] {
        server.script(&answers(status, body.clone()));
        // A refusal is remembered for a while, for these credentials.
        let fresh = press.clone().password(body.to_string().as_bytes());
        assert_eq!(code(&gateway, &fresh, V5), expected, "{status} {body}");
    }
    let requests = server.requests();
    let versions = requests
        .iter()
        .filter(|request| request.body().contains("supported"));
    // The one that lists our version was asked twice.
    assert_eq!((requests.len(), versions.count()), (16, 0));
    assert!(gateway.log().contains("go away"));
}

#[test]
fn the_question_is_that_of_the_cluster_broker() {
    let Some((gateway, server)) = start(&answers(200, json!({}))) else {
        return;
    };
    assert_eq!(
        code(&gateway, &user(V3_1_1, "press-1", "secret"), V3_1_1),
        0
    );
    let nameless = Connect::new(V5, "client-2");
    assert_eq!(code(&gateway, &nameless, V5), NOT_AUTHORIZED);
    let requests = server.requests();
    assert_eq!(requests[0].line(), "POST /?api-version=0.5.0");
    assert_eq!(
        requests[0].body(),
        r#"{"type":"connect","username":"press-1","password":"c2VjcmV0"}"#
    );
    assert_eq!(requests[0].header("content-type"), Some("application/json"));
    assert_eq!(requests[0].header("x-site"), Some("7"));
    assert_eq!(requests[0].header("authorization"), Some("Bearer ours"));
    assert_eq!(requests[1].body(), r#"{"type":"connect"}"#);
}

/// A time so far from now, as RFC 3339 writes it.
fn in_seconds(seconds: u64) -> String {
    let end = SystemTime::now() + Duration::from_secs(seconds);
    let seconds = end
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("a clock")
        .as_secs();
    // Days of the calendar, by the algorithm of proleptic years that begin in March.
    let (days, rest) = (
        i64::try_from(seconds / 86_400).expect("days") + 719_468,
        seconds % 86_400,
    );
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[test]
fn a_connection_ends_with_its_credential() {
    let Some((gateway, server)) = start(&json!({})) else {
        return;
    };
    // Well within the time that the client waits for the end, and long enough to come in before.
    server.script(&answers(200, json!({"expiry": in_seconds(10)})));
    let (mut client, _) = gateway.connect(&user(V5, "press-1", "secret"));
    while client.receive_or_end().is_some() {}
}

#[test]
fn a_client_authenticates_again_with_its_method() {
    let answer = |status| json!({"status": status, "body": {}});
    let script = json!({"answers": {"Zmlyc3Q=": answer(200), "c2Vjb25k": answer(200), "dGhpcmQ=": answer(503)}});
    let Some((gateway, server)) = start(&script) else {
        return;
    };
    let connect = Connect::new(V5, "client-1")
        .with(property::AUTHENTICATION_METHOD, "TOKEN")
        .with(property::AUTHENTICATION_DATA, &b"first"[..]);
    let (mut client, _) = gateway.connect(&connect);
    client.send(auth(0x19, "TOKEN", b"second"));
    assert!(matches!(client.receive(), Received::Auth(found) if found.reason == 0));
    client.send(auth(0x19, "TOKEN", b"third"));
    // Nobody can tell: the client stays, and may try again.
    assert!(matches!(client.receive(), Received::Auth(found) if found.reason == 0x18));
    client.send(auth(0x18, "TOKEN", b"second"));
    assert!(matches!(client.receive(), Received::Auth(found) if found.reason == 0));
    client.send(auth(0x19, "TOKEN", b"fourth"));
    client.expect_disconnect(NOT_AUTHORIZED);
    let requests = server.requests();
    assert_eq!(
        requests[0].body(),
        r#"{"type":"connect","enhancedAuthentication":{"method":"TOKEN","data":"Zmlyc3Q="}}"#
    );
    assert_eq!(
        requests[1].body(),
        r#"{"type":"auth","enhancedAuthentication":{"method":"TOKEN","data":"c2Vjb25k"}}"#
    );
}
