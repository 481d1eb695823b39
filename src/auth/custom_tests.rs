use std::time::Duration;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use serde_json::{Value, json};

use super::super::Challenge;
use super::super::backend::testing::{Seen, Server, settings};
use super::*;

fn custom_settings(server: &Server) -> CustomSettings {
    CustomSettings {
        server: server.settings(),
        backend: settings(),
    }
}

/// Says the same to everybody.
async fn says(status: u16, body: &str) -> Server {
    let body = body.to_owned();
    Server::start(move |_| (status, body.clone())).await
}

fn body(seen: &Seen) -> Value {
    serde_json::from_str(&seen.body).unwrap()
}

const PRESS: Credentials<'_> = Credentials {
    client_id: "c",
    username: Some("press-1"),
    password: Some(b"\x00\xffsecret"),
    method: None,
    data: None,
    certificates: &[],
    address: None,
    principal: None,
};

const TOKEN: Credentials<'_> = Credentials {
    username: None,
    password: None,
    method: Some("TOKEN"),
    data: Some(b"data"),
    ..PRESS
};

async fn outcome(status: u16, body: &str) -> Outcome {
    let server = says(status, body).await;
    Custom::new(&custom_settings(&server)).begin(&PRESS).await
}

#[tokio::test]
async fn a_question_holds_what_the_client_has_sent() {
    let server = says(200, "{}").await;
    let custom = Custom::new(&custom_settings(&server));
    custom.begin(&PRESS).await;
    custom.begin(&TOKEN).await;
    custom.begin(&Credentials::default()).await;
    let certificate: Box<[u8]> = vec![7; 100].into();
    let chain = [certificate.clone(), certificate];
    let with_chain = Credentials {
        certificates: &chain,
        ..Credentials::default()
    };
    custom.begin(&with_chain).await;
    let seen = server.seen();
    assert_eq!(seen[0].line, "POST /?api-version=0.5.0");
    assert_eq!(seen[0].headers["content-type"], "application/json");
    assert_eq!(
        seen[0].body,
        r#"{"type":"connect","username":"press-1","password":"AP9zZWNyZXQ="}"#
    );
    assert_eq!(
        seen[1].body,
        r#"{"type":"connect","enhancedAuthentication":{"method":"TOKEN","data":"ZGF0YQ=="}}"#
    );
    assert_eq!(seen[2].body, r#"{"type":"connect"}"#);
    let certs = body(&seen[3])["certs"].as_str().unwrap().to_owned();
    assert_eq!(certs.matches("-----BEGIN CERTIFICATE-----\n").count(), 2);
    assert!(certs.lines().all(|line| line.len() <= 64));
}

#[tokio::test]
async fn an_acceptance_brings_attributes_and_an_end() {
    let answer = json!({"expiry": "2090-05-08T20:04:16+02:00", "attributes": {"group": "g1"}});
    let Outcome::Accepted(acceptance) = outcome(200, &answer.to_string()).await else {
        panic!("not accepted");
    };
    assert_eq!(&*acceptance.principal.username, "press-1");
    assert_eq!(&*acceptance.principal.attributes["group"], "g1");
    let left = acceptance
        .expires_at
        .unwrap()
        .duration_since(crate::clock::now());
    let expected = 3_797_949_856 - crate::clock::wall_seconds();
    assert!(left.as_secs().abs_diff(expected) <= 1, "{left:?}");
    let Outcome::Accepted(acceptance) = outcome(200, "{}").await else {
        panic!("not accepted");
    };
    assert_eq!(acceptance.expires_at, None);
}

#[tokio::test]
async fn a_refusal_brings_its_reason_where_the_standard_has_it() {
    let reason = async |status, body: &str| match outcome(status, body).await {
        Outcome::Refused(refused) => (refused.reason, refused.sentence.into_owned()),
        other => panic!("{other:?}"),
    };
    let banned = reason(403, r#"{"reason":138,"message":"go\naway"}"#).await;
    let sentence = "the server says: go away".to_owned();
    assert_eq!(banned, (ReasonCode::Banned, sentence));
    for body in [
        r#"{"reason":135}"#,
        r#"{"reason":0}"#,
        r#"{"reason":3}"#,
        r#"{"reason":141}"#,
        r#"{"reason":300}"#,
        r#"{"message":"no"}"#,
        "no",
        "",
    ] {
        assert_eq!(
            reason(403, body).await.0,
            ReasonCode::NotAuthorized,
            "{body}"
        );
    }
    let expired = reason(200, r#"{"expiry":"2020-05-08T20:04:16+00:00"}"#).await;
    assert_eq!(expired.0, ReasonCode::NotAuthorized);
    let long = format!(r#"{{"reason":135,"message":"{}"}}"#, "x".repeat(5000));
    assert!(reason(403, &long).await.1.len() < 300);
}

#[tokio::test]
async fn what_is_no_answer_is_not_held_against_the_client() {
    for (status, body) in [
        (200, ""),
        (200, "[]"),
        (200, r#"{"expiry":"tomorrow"}"#),
        (200, r#"{"attributes":{"a":1}}"#),
        (201, "{}"),
        (204, ""),
        (301, ""),
        (400, "bad request"),
        (401, ""),
        (404, ""),
        (405, "not allowed"),
        (422, r#"{"supportedVersions":["1.0.0"]}"#),
        (422, "no"),
        (429, ""),
        (500, r#"{"reason":135}"#),
        (503, ""),
    ] {
        let outcome = outcome(status, body).await;
        assert!(
            matches!(outcome, Outcome::Unavailable(_)),
            "{status} {body}: {outcome:?}"
        );
    }
}

#[tokio::test]
async fn a_server_of_several_versions_is_asked_again() {
    let server = Server::start(|seen| match seen.connection {
        0 => (422, r#"{"supportedVersions":["0.4.0","0.5.0"]}"#.to_owned()),
        _ => (500, String::new()),
    })
    .await;
    let custom = Custom::new(&custom_settings(&server));
    let outcome = custom.begin(&PRESS).await;
    assert!(matches!(outcome, Outcome::Unavailable(_)), "{outcome:?}");
    assert_eq!(server.seen().len(), 2, "once more, and not for ever");
}

#[tokio::test]
async fn answers_about_passwords_are_remembered_and_about_exchanges_are_not() {
    let server = says(200, "{}").await;
    let mut settings = custom_settings(&server);
    settings.backend.cache_time = Duration::from_secs(60);
    let custom = Custom::new(&settings);
    for _ in 0..2 {
        custom.begin(&PRESS).await;
        custom.begin(&TOKEN).await;
    }
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn a_client_may_prove_again_who_it_is() {
    let server = Server::start(|seen| match body(seen) {
        body if body["enhancedAuthentication"]["data"] == "bmV3" => {
            (200, r#"{"attributes":{"group":"g2"}}"#.to_owned())
        }
        body if body["enhancedAuthentication"]["data"] == "YmFk" => {
            (403, r#"{"reason":134}"#.to_owned())
        }
        _ => (503, String::new()),
    })
    .await;
    let custom = Custom::new(&custom_settings(&server));
    let principal = Principal {
        username: "press-1".into(),
        ..Principal::default()
    };
    let again = |data: &'static [u8]| Credentials {
        principal: Some(&principal),
        data: Some(data),
        ..TOKEN
    };
    let Outcome::Accepted(acceptance) = custom.begin(&again(b"new")).await else {
        panic!("not accepted");
    };
    assert_eq!(&*acceptance.principal.username, "press-1");
    assert_eq!(&*acceptance.principal.attributes["group"], "g2");
    assert_eq!(
        server.seen()[0].body,
        r#"{"type":"auth","enhancedAuthentication":{"method":"TOKEN","data":"bmV3"}}"#
    );
    let Outcome::Refused(refused) = custom.begin(&again(b"bad")).await else {
        panic!("not refused");
    };
    // A DISCONNECT cannot say that a password is bad.
    assert_eq!(refused.reason, ReasonCode::NotAuthorized);
    let outcome = custom.begin(&again(b"who")).await;
    let Outcome::Continue(Challenge { exchange, .. }) = outcome else {
        panic!("the client is not asked to try again: {outcome:?}");
    };
    let super::super::State::Again(state) = exchange.state else {
        panic!("another exchange");
    };
    let outcome = custom.resume(state, Some(b"new")).await;
    assert!(matches!(outcome, Outcome::Accepted(_)), "{outcome:?}");
}

#[test]
fn a_name_is_never_what_nobody_has_looked_at() {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, "press-7");
    let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    let chain = [Box::<[u8]>::from(certificate.der().as_ref())];
    let with_chain = Credentials {
        certificates: &chain,
        ..TOKEN
    };
    assert_eq!(&*name(&PRESS), "press-1");
    assert_eq!(&*name(&with_chain), "press-7");
    assert_eq!(&*name(&TOKEN), "TOKEN");
    let nothing = Credentials {
        client_id: "admin",
        ..Credentials::default()
    };
    assert_eq!(&*name(&nothing), NAMELESS);
}

#[test]
fn the_version_stands_behind_the_path() {
    let path = |text: &str| {
        let mut url = super::super::backend::testing::server("a", 443, true).url;
        url.path = text.into();
        path(&url)
    };
    assert_eq!(path("/"), "/?api-version=0.5.0");
    assert_eq!(path("/auth"), "/auth/?api-version=0.5.0");
    assert_eq!(path("/auth/?site=7"), "/auth/?site=7&api-version=0.5.0");
}
