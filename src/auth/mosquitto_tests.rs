use super::super::backend::testing::{Seen, Server, settings};
use super::*;

const AUTH_PLUG: HttpProtocol = HttpProtocol::AuthPlug;

fn go_auth(params: HttpParams, response: HttpResponse, method: HttpMethod) -> HttpProtocol {
    HttpProtocol::GoAuth {
        params,
        response,
        method,
    }
}

pub(in crate::auth) fn http_settings(server: &Server, protocol: HttpProtocol) -> HttpSettings {
    HttpSettings {
        server: server.settings(),
        protocol,
        getuser_path: Some("/auth".into()),
        superuser_path: Some("/superuser".into()),
        aclcheck_path: Some("/acl".into()),
        superusers: Vec::new(),
        backend: settings(),
    }
}

const USER: Question<'_> = Question::User {
    username: "press 1",
    password: b"p&=%+\xc3\xa9",
    client_id: "c 1",
};

const TOPIC: Question<'_> = Question::Topic {
    username: "press-1",
    client_id: "c&1",
    topic: "plant/#",
    access: TopicAccess::Subscribe,
};

async fn seen(protocol: HttpProtocol, question: Question<'_>) -> Seen {
    let server = Server::start(|_| (200, r#"{"ok":true,"error":""}"#.to_owned())).await;
    let mut settings = http_settings(&server, protocol);
    settings.server.url.path = "/base/".into();
    let plugin = Plugin::new("http", &settings);
    assert!(plugin.ask("/ask", question).await.unwrap().verdict);
    let mut seen = server.seen();
    assert_eq!(seen.len(), 1);
    seen.remove(0)
}

#[tokio::test]
async fn auth_plug_posts_five_fields_in_order() {
    let user = seen(AUTH_PLUG, USER).await;
    assert_eq!(user.line, "POST /base/ask");
    assert_eq!(
        user.body,
        "username=press%201&password=p%26%3D%25%2B%C3%A9&topic=&acc=-1&clientid="
    );
    assert_eq!(
        user.headers["content-type"],
        "application/x-www-form-urlencoded"
    );
    let basic = user.headers["authorization"].to_str().unwrap();
    assert_eq!(basic, "Basic cHJlc3MgMTpwJj0lK8Op");
    let superuser = seen(AUTH_PLUG, Question::Superuser { username: "a" }).await;
    assert_eq!(
        superuser.body,
        "username=a&password=&topic=&acc=-1&clientid="
    );
    assert_eq!(superuser.headers["authorization"], "Basic YTo=");
    let topic = seen(AUTH_PLUG, TOPIC).await;
    assert_eq!(
        topic.body,
        "username=press-1&password=&topic=plant%2F%23&acc=4&clientid=c%261"
    );
}

#[tokio::test]
async fn the_numbers_are_those_of_mosquitto() {
    for (access, acc) in [
        (TopicAccess::Read, "acc=1&"),
        (TopicAccess::Write, "acc=2&"),
    ] {
        let question = Question::Topic {
            username: "a",
            client_id: "c",
            topic: "t",
            access,
        };
        assert!(seen(AUTH_PLUG, question).await.body.contains(acc));
    }
}

#[tokio::test]
async fn go_auth_sends_json_or_a_form() {
    let json = go_auth(HttpParams::Json, HttpResponse::Status, HttpMethod::Post);
    let user = seen(json, USER).await;
    assert_eq!(
        user.body,
        r#"{"clientid":"c 1","password":"p&=%+é","username":"press 1"}"#
    );
    assert_eq!(user.headers["content-type"], "application/json");
    assert!(!user.headers.contains_key("authorization"));
    let superuser = seen(json, Question::Superuser { username: "a" }).await;
    assert_eq!(superuser.body, r#"{"username":"a"}"#);
    let topic = seen(json, TOPIC).await;
    assert_eq!(
        topic.body,
        r#"{"acc":4,"clientid":"c&1","topic":"plant/#","username":"press-1"}"#
    );
    let form = go_auth(HttpParams::Form, HttpResponse::Json, HttpMethod::Put);
    let topic = seen(form, TOPIC).await;
    assert_eq!(topic.line, "PUT /base/ask");
    assert_eq!(
        topic.body,
        "acc=4&clientid=c%261&topic=plant%2F%23&username=press-1"
    );
}

#[tokio::test]
async fn go_auth_asks_by_get_with_json_in_the_body_or_a_form_in_the_query() {
    let json = go_auth(HttpParams::Json, HttpResponse::Status, HttpMethod::Get);
    let superuser = seen(json, Question::Superuser { username: "a" }).await;
    assert_eq!(superuser.line, "GET /base/ask");
    assert_eq!(superuser.body, r#"{"username":"a"}"#);
    let form = go_auth(HttpParams::Form, HttpResponse::Status, HttpMethod::Get);
    let superuser = seen(form, Question::Superuser { username: "a b" }).await;
    assert_eq!(superuser.line, "GET /base/ask?username=a%20b");
    assert_eq!(superuser.body, "");
}

#[test]
fn answers_are_read_as_the_settings_say() {
    let verdict = |response, status: u16, body: &'static str| {
        let protocol = go_auth(HttpParams::Json, response, HttpMethod::Post);
        let status = hyper::StatusCode::from_u16(status).unwrap();
        let body = Bytes::from_static(body.as_bytes());
        judge(protocol, &Reply { status, body })
    };
    use HttpResponse::{Json, Status, Text};
    assert_eq!(verdict(Status, 200, "no"), Ok(true));
    assert_eq!(verdict(Status, 204, ""), Ok(true));
    for status in [301, 400, 401, 403, 404] {
        assert_eq!(verdict(Status, status, "ok"), Ok(false));
        assert_eq!(verdict(Text, status, "ok"), Ok(false));
        assert_eq!(verdict(Json, status, r#"{"ok":true}"#), Ok(false));
    }
    assert_eq!(verdict(Text, 200, "ok"), Ok(true));
    assert_eq!(verdict(Text, 200, "ok\n"), Ok(false));
    assert_eq!(verdict(Json, 200, r#"{"ok":true,"error":""}"#), Ok(true));
    assert_eq!(verdict(Json, 200, r#"{"ok":false,"error":"x"}"#), Ok(false));
    assert_eq!(verdict(Json, 200, r#"{"error":"x"}"#), Ok(false));
    assert!(verdict(Json, 200, "ok").is_err());
}

#[test]
fn globs_have_two_wildcards() {
    for (pattern, text) in [
        ("admin", "admin"),
        ("admin*", "admin"),
        ("admin*", "admin-1"),
        ("*", ""),
        ("*", "a"),
        ("a?c", "aäc"),
        ("*-b-*", "a-b-b-c"),
        ("*ab", "aab"),
        ("**a**", "a"),
        ("a*b*c", "a-b-b-c"),
    ] {
        assert!(matches(pattern, text), "{pattern} {text}");
    }
    for (pattern, text) in [
        ("admin", "admin2"),
        ("admin", "Admin"),
        ("", "a"),
        ("?", ""),
        ("a?c", "ac"),
        ("*b", "ba"),
        ("a*b*c", "a-c-b"),
    ] {
        assert!(!matches(pattern, text), "{pattern} {text}");
    }
}

#[test]
fn a_long_glob_is_no_burden() {
    let (pattern, text) = ("a*".repeat(50) + "b", "a".repeat(1000));
    assert!(!matches(&pattern, &text));
}
