use std::fs;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::super::backend::testing::{self, Server};
use super::super::{Challenge, State};
use super::*;
use crate::clock;

const REVIEWS: &str = "POST /apis/authentication.k8s.io/v1/tokenreviews";
const ACCOUNT: &str = "GET /api/v1/namespaces/plant/serviceaccounts/press";

/// A token with claims; nobody looks at its signature here.
fn token(seconds_left: i64) -> String {
    let exp = i64::try_from(clock::wall_seconds()).unwrap() + seconds_left;
    let claims = BASE64URL_NOPAD.encode(format!(r#"{{"exp":{exp}}}"#).as_bytes());
    format!("e30.{claims}.c2ln")
}

fn review(status: Value) -> (u16, String) {
    (
        201,
        json!({"kind": "TokenReview", "status": status}).to_string(),
    )
}

fn good() -> Value {
    json!({
        "authenticated": true,
        "user": {"username": "system:serviceaccount:plant:press"},
        "audiences": ["fieldgate"],
    })
}

fn account() -> (u16, String) {
    let annotations = json!({
        "aio-broker-auth/floor": "1",
        "aio-broker-auth/": "nothing",
        "other": "2",
    });
    (
        200,
        json!({"metadata": {"annotations": annotations}}).to_string(),
    )
}

struct Cluster {
    server: Server,
    dir: TempDir,
}

impl Cluster {
    /// Answers to reviews, and to questions about the account.
    async fn new(review: (u16, String), account: (u16, String)) -> Self {
        let answers = move |line: &str| match line {
            REVIEWS => review.clone(),
            ACCOUNT => account.clone(),
            line => panic!("{line}"),
        };
        Self::with(move |seen| answers(&seen.line)).await
    }

    async fn with(
        answers: impl Fn(&testing::Seen) -> (u16, String) + Send + Sync + 'static,
    ) -> Self {
        let cluster = Self {
            server: Server::start(answers).await,
            dir: tempfile::tempdir().unwrap(),
        };
        cluster.rotate("own-1");
        cluster
    }

    fn rotate(&self, token: &str) {
        fs::write(self.dir.path().join("token"), token).unwrap();
    }

    fn settings(&self) -> ServiceAccountTokenSettings {
        ServiceAccountTokenSettings {
            audiences: vec!["other".into(), "fieldgate".into()],
            api_server: Some(self.server.settings()),
            token_file: Some(self.dir.path().join("token")),
            backend: testing::settings(),
        }
    }

    fn method(&self) -> ServiceAccountToken {
        ServiceAccountToken::new(&self.settings())
    }
}

fn enhanced(token: &str) -> Credentials<'_> {
    Credentials {
        client_id: "c",
        method: Some("K8S-SAT"),
        data: Some(token.as_bytes()),
        ..Credentials::default()
    }
}

#[tokio::test]
async fn a_good_token_is_accepted_with_the_attributes_of_its_account() {
    let cluster = Cluster::new(review(good()), account()).await;
    let token = token(600);
    let simple = Credentials {
        username: Some("K8S-SAT"),
        password: Some(token.as_bytes()),
        ..Credentials::default()
    };
    for credentials in [enhanced(&token), simple] {
        let outcome = cluster.method().begin(&credentials).await;
        let Outcome::Accepted(acceptance) = outcome else {
            panic!("{outcome:?}");
        };
        let principal = &acceptance.principal;
        assert_eq!(&*principal.username, "system:serviceaccount:plant:press");
        assert_eq!(
            principal.attributes,
            BTreeMap::from([("floor".into(), "1".into())])
        );
        let left = acceptance.expires_at.unwrap().duration_since(clock::now());
        assert!((598..=600).contains(&left.as_secs()), "{left:?}");
    }
    let seen = cluster.server.seen();
    let question: Value = serde_json::from_str(&seen[0].body).unwrap();
    assert_eq!(
        question,
        json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": ["other", "fieldgate"]},
        })
    );
    assert_eq!(seen[0].headers["authorization"], "Bearer own-1");
    assert_eq!(seen[1].headers["authorization"], "Bearer own-1");
}

#[tokio::test]
async fn other_credentials_are_not_looked_at() {
    let cluster = Cluster::new(review(good()), account()).await;
    let scram = Credentials {
        method: Some("SCRAM"),
        username: Some("K8S-SAT"),
        ..Credentials::default()
    };
    let user = Credentials {
        username: Some("press"),
        password: Some(b"secret"),
        ..Credentials::default()
    };
    for credentials in [scram, user, Credentials::default()] {
        let outcome = cluster.method().begin(&credentials).await;
        assert!(matches!(outcome, Outcome::NotMine), "{outcome:?}");
    }
    assert!(cluster.server.seen().is_empty());
}

#[tokio::test]
async fn a_bad_token_is_refused() {
    let with = |key: &str, value: Value| {
        let mut status = good();
        status[key] = value;
        review(status)
    };
    let (good, account) = (review(good()), account());
    for (token, review, account, why) in [
        (
            token(600),
            with("authenticated", json!(false)),
            &account,
            "unknown",
        ),
        (
            token(600),
            review(json!({})),
            &account,
            "unknown, in few words",
        ),
        (
            token(600),
            with("audiences", json!(["api"])),
            &account,
            "another audience",
        ),
        (
            token(600),
            with("audiences", json!([])),
            &account,
            "no audience",
        ),
        (token(-1), good.clone(), &account, "expired"),
        (
            token(600),
            with("user", json!({"username": "system:node:a"})),
            &account,
            "no service account",
        ),
        (
            token(600),
            good.clone(),
            &(404, String::new()),
            "no such account",
        ),
        (String::new(), good.clone(), &account, "empty"),
        ("a\nb".to_owned(), good.clone(), &account, "no text"),
        ("a".repeat(20_000), good.clone(), &account, "long"),
    ] {
        let cluster = Cluster::new(review, account.clone()).await;
        let outcome = cluster.method().begin(&enhanced(&token)).await;
        let Outcome::Refused(refused) = outcome else {
            panic!("{why}: {outcome:?}");
        };
        assert_eq!(refused.reason, ReasonCode::NotAuthorized, "{why}");
    }
}

#[tokio::test]
async fn what_is_wrong_on_our_side_is_not_held_against_the_client() {
    let nothing = String::new;
    for (review, account) in [
        ((401, nothing()), account()),
        ((403, nothing()), account()),
        ((500, nothing()), account()),
        ((200, "{}".to_owned()), account()),
        (review(good()), (401, nothing())),
        (review(good()), (403, nothing())),
        (review(good()), (503, nothing())),
    ] {
        let cluster = Cluster::new(review, account).await;
        let outcome = cluster.method().begin(&enhanced(&token(600))).await;
        assert!(matches!(outcome, Outcome::Unavailable(_)), "{outcome:?}");
    }
    let cluster = Cluster::new(review(good()), account()).await;
    fs::remove_file(cluster.dir.path().join("token")).unwrap();
    let outcome = cluster.method().begin(&enhanced(&token(600))).await;
    assert!(matches!(outcome, Outcome::Unavailable(_)), "{outcome:?}");
    let nowhere = ServiceAccountToken::with_server(&cluster.settings(), None);
    let outcome = nowhere.begin(&enhanced(&token(600))).await;
    assert!(matches!(outcome, Outcome::Unavailable(_)), "{outcome:?}");
}

#[tokio::test]
async fn our_own_token_is_read_again_when_it_is_replaced() {
    let cluster = Cluster::with(|seen| match (&*seen.line, &seen.headers["authorization"]) {
        (_, own) if own != "Bearer own-2" => (401, String::new()),
        (REVIEWS, _) => review(good()),
        _ => account(),
    })
    .await;
    let method = cluster.method();
    let outcome = method.begin(&enhanced(&token(600))).await;
    assert!(matches!(outcome, Outcome::Unavailable(_)), "{outcome:?}");
    cluster.rotate("own-2\n");
    let outcome = method.begin(&enhanced(&token(600))).await;
    assert!(matches!(outcome, Outcome::Accepted(_)), "{outcome:?}");
}

#[tokio::test]
async fn a_client_that_proves_again_who_it_is_stays_while_nobody_can_tell() {
    let cluster = Cluster::with(|seen| match &*seen.line {
        REVIEWS if seen.body.contains("e30") => review(good()),
        REVIEWS => (503, String::new()),
        _ => account(),
    })
    .await;
    let principal = Principal {
        username: "system:serviceaccount:plant:press".into(),
        ..Principal::default()
    };
    let again = Credentials {
        principal: Some(&principal),
        ..enhanced("token")
    };
    let outcome = cluster.method().begin(&again).await;
    let Outcome::Continue(Challenge { exchange, .. }) = outcome else {
        panic!("{outcome:?}");
    };
    let State::Again(state) = exchange.state else {
        panic!("another exchange");
    };
    let fresh = token(600);
    let outcome = cluster.method().resume(state, Some(fresh.as_bytes())).await;
    assert!(matches!(outcome, Outcome::Accepted(_)), "{outcome:?}");
    let mut settings = cluster.settings();
    settings.backend.when_unavailable = WhenUnavailable::NextMethod;
    let outcome = ServiceAccountToken::new(&settings).begin(&again).await;
    assert!(matches!(outcome, Outcome::Unavailable(_)), "{outcome:?}");
}

#[tokio::test]
async fn a_judgement_is_remembered_by_its_token() {
    let cluster = Cluster::new(review(good()), account()).await;
    let mut settings = cluster.settings();
    settings.backend.cache_time = Duration::from_secs(60);
    let method = ServiceAccountToken::new(&settings);
    let (one, other) = (token(600), token(700));
    for token in [&one, &other, &one, &other] {
        let outcome = method.begin(&enhanced(token)).await;
        assert!(matches!(outcome, Outcome::Accepted(_)), "{outcome:?}");
    }
    let reviews = cluster.server.seen().into_iter();
    assert_eq!(reviews.filter(|seen| seen.line == REVIEWS).count(), 2);
}

#[test]
fn a_pod_finds_its_server_by_the_environment() {
    let text = |text: &str| Some(text.to_owned());
    let server = in_cluster(text("10.43.0.1"), text("443")).unwrap();
    assert!(server.url.is_tls);
    assert_eq!((&*server.url.host, server.url.port), ("10.43.0.1", 443));
    assert!(in_cluster(None, text("443")).is_none());
    assert!(in_cluster(text(""), text("443")).is_none());
    assert!(in_cluster(text("a"), text("x")).is_none());
}
