use super::super::backend::testing::Server;
use super::super::mosquitto::tests::http_settings;
use super::*;
use crate::config::{HttpProtocol, HttpSettings};

const HOUR: Duration = Duration::from_secs(3600);

/// `press-1` may publish to `plant/1`; `boss` may do everything; `half` is known to nobody, and `lost` not to `/acl`.
async fn server() -> Server {
    Server::start(|seen| {
        let is = |text: &str| seen.body.contains(text);
        match &*seen.line {
            "POST /superuser" if is("username=boss&") => (200, String::new()),
            "POST /superuser" if is("username=half") => (503, String::new()),
            "POST /acl" if is("username=lost&") => (503, String::new()),
            "POST /acl" if is("topic=plant%2F1&acc=2&clientid=c") => (200, String::new()),
            _ => (403, String::new()),
        }
    })
    .await
}

fn settings(server: &Server) -> HttpSettings {
    let mut settings = http_settings(server, HttpProtocol::AuthPlug);
    settings.superusers = vec!["admin-*".into()];
    settings.backend.cache_time = HOUR;
    settings.backend.negative_cache_time = HOUR / 2;
    settings
}

async fn ask(acl: &Acl, username: &str, topic: &str) -> Answer {
    let principal = Principal {
        username: username.into(),
        ..Principal::default()
    };
    let question = Question {
        access: TopicAccess::Write,
        topic: topic.into(),
    };
    acl.ask(&principal, "c", &question).await
}

fn lines(server: &Server) -> Vec<String> {
    let seen = server.seen().into_iter();
    seen.map(|seen| seen.line.trim_start_matches("POST ").to_owned())
        .collect()
}

#[tokio::test]
async fn the_superuser_is_asked_for_before_the_topic() {
    let server = server().await;
    let acl = Acl::new(&settings(&server));
    let yes = ask(&acl, "press-1", "plant/1").await;
    assert!(
        yes.allowed == Some(true) && yes.good_for <= HOUR && yes.good_for > HOUR / 2,
        "{yes:?}"
    );
    assert_eq!(lines(&server), ["/superuser", "/acl"]);
    let no = ask(&acl, "press-1", "plant/2").await;
    assert!(
        no.allowed == Some(false) && no.good_for <= HOUR / 2 && !no.good_for.is_zero(),
        "{no:?}"
    );
    assert_eq!(lines(&server), ["/superuser", "/acl", "/acl"]);
    ask(&acl, "press-1", "plant/1").await;
    ask(&acl, "press-1", "plant/2").await;
    assert_eq!(server.seen().len(), 3, "both are remembered");
}

#[tokio::test]
async fn superusers_are_not_asked_about() {
    let server = server().await;
    let acl = Acl::new(&settings(&server));
    assert_eq!(ask(&acl, "boss", "plant/2").await.allowed, Some(true));
    assert_eq!(ask(&acl, "boss", "plant/3").await.allowed, Some(true));
    assert_eq!(lines(&server), ["/superuser"]);
    assert_eq!(ask(&acl, "admin-2", "plant/2").await.allowed, Some(true));
    assert_eq!(
        server.seen().len(),
        1,
        "a name of the settings needs no question"
    );
    let nobody = ask(&acl, "", "plant/1").await;
    assert_eq!(nobody.allowed, Some(false), "nobody is asked about nobody");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn what_nobody_can_tell_is_neither_a_yes_nor_a_no_and_not_remembered() {
    let server = server().await;
    let acl = Acl::new(&settings(&server));
    assert_eq!(ask(&acl, "lost", "plant/1").await, Answer::UNKNOWN);
    assert_eq!(ask(&acl, "lost", "plant/1").await, Answer::UNKNOWN);
    assert_eq!(lines(&server), ["/superuser", "/acl", "/acl"]);
    let statistics = acl.report().statistics;
    assert_eq!((statistics.errors, statistics.denied), (2, 1));
    // The one question was answered with yes, which is enough; the other was not, and it could be a superuser.
    assert_eq!(ask(&acl, "half", "plant/1").await.allowed, Some(true));
    assert_eq!(ask(&acl, "half", "plant/2").await, Answer::UNKNOWN);
}
