use std::time::Duration;

use super::super::backend::testing::Server;
use super::super::mosquitto::tests::http_settings;
use super::*;
use crate::config::HttpProtocol;

fn credentials<'a>(username: &'a str, password: &'a [u8]) -> Credentials<'a> {
    Credentials {
        client_id: "c",
        username: Some(username),
        password: Some(password),
        ..Credentials::default()
    }
}

/// Knows `press-1` and the superuser `boss`; does not know what to say about `who`.
async fn server() -> Server {
    Server::start(|seen| {
        let is = |text: &str| seen.body.contains(text);
        match &*seen.line {
            _ if is("username=who&") => (503, String::new()),
            "POST /auth" if is("username=press-1&password=secret&") => (200, String::new()),
            "POST /auth" if is("username=boss&password=secret&") => (200, String::new()),
            "POST /auth" if is("username=half&password=secret&") => (200, String::new()),
            "POST /superuser" if is("username=boss&") => (200, String::new()),
            "POST /superuser" if is("username=half&") => (500, String::new()),
            _ => (403, String::new()),
        }
    })
    .await
}

fn refusal(outcome: Outcome) -> ReasonCode {
    match outcome {
        Outcome::Refused(refused) => refused.reason,
        other => panic!("{other:?}"),
    }
}

fn principal(outcome: Outcome) -> Principal {
    match outcome {
        Outcome::Accepted(acceptance) => (*acceptance.principal).clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_server_decides() {
    let server = server().await;
    let users = HttpUsers::new(&http_settings(&server, HttpProtocol::AuthPlug));
    let press = principal(users.begin(&credentials("press-1", b"secret")).await);
    assert_eq!((&*press.username, press.is_superuser), ("press-1", false));
    let boss = principal(users.begin(&credentials("boss", b"secret")).await);
    assert!(boss.is_superuser);
    let wrong = users.begin(&credentials("press-1", b"guess")).await;
    assert_eq!(refusal(wrong), ReasonCode::BadUserNameOrPassword);
    for username in ["who", "half"] {
        let outcome = users.begin(&credentials(username, b"secret")).await;
        assert!(matches!(outcome, Outcome::Unavailable(_)), "{outcome:?}");
    }
}

#[tokio::test]
async fn what_is_not_for_the_server_never_reaches_it() {
    let server = server().await;
    let users = HttpUsers::new(&http_settings(&server, HttpProtocol::AuthPlug));
    let nameless = Credentials::default();
    let enhanced = Credentials {
        method: Some("SCRAM"),
        ..credentials("press-1", b"secret")
    };
    for credentials in [nameless, credentials("", b"secret"), enhanced] {
        let outcome = users.begin(&credentials).await;
        assert!(matches!(outcome, Outcome::NotMine), "{outcome:?}");
    }
    let without = Credentials {
        password: None,
        ..credentials("press-1", b"")
    };
    for credentials in [without, credentials("press-1", b"")] {
        let outcome = users.begin(&credentials).await;
        assert_eq!(refusal(outcome), ReasonCode::BadUserNameOrPassword);
    }
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_refusal_is_remembered_for_its_password_only() {
    let server = server().await;
    let mut settings = http_settings(&server, HttpProtocol::AuthPlug);
    settings.superuser_path = None;
    settings.backend.negative_cache_time = Duration::from_secs(60);
    let users = HttpUsers::new(&settings);
    for _ in 0..2 {
        let wrong = users.begin(&credentials("press-1", b"guess")).await;
        assert_eq!(refusal(wrong), ReasonCode::BadUserNameOrPassword);
    }
    assert_eq!(server.seen().len(), 1);
    principal(users.begin(&credentials("press-1", b"secret")).await);
    assert_eq!(server.seen().len(), 2);
}
