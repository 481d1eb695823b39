//! `[authentication.NAME.http]`

use serde_json::json;

use super::*;

fn seed(dir: &Path) -> AuthServer {
    let script = json!({"users": {"press 1": "se&cret"}});
    AuthServer::start(dir, "seed_auth_server", &script, &[])
}

fn config(port: u16, more: &str) -> String {
    ports(&format!(
        "[authentication.devices]\nmethods = [\"http\"]\n[authentication.devices.http]\n\
         url = \"http://127.0.0.1:{port}\"\ngetuser_path = \"/auth\"\n{more}\n"
    ))
}

/// A gateway and the server that it asks.
fn start(more: &str) -> Option<(TestGateway, AuthServer)> {
    let mut gateway = TestGateway::unstarted("")?;
    let server = seed(&gateway.path(""));
    gateway.write_config(&config(server.port, more));
    gateway.run();
    Some((gateway, server))
}

#[test]
fn the_server_says_who_may_come_in() {
    let Some((gateway, server)) = start("") else {
        return;
    };
    for version in [V3_1_1, V5] {
        let good = user(version, "press 1", "se&cret");
        assert_eq!(code(&gateway, &good, version), 0);
    }
    assert_eq!(
        code(&gateway, &user(V5, "press 1", "guess"), V5),
        BAD_PASSWORD
    );
    assert_eq!(code(&gateway, &user(V3_1_1, "press 2", "guess"), V3_1_1), 4);
    let nameless = Connect::new(V5, "client-1");
    assert_eq!(code(&gateway, &nameless, V5), NOT_AUTHORIZED);
    let requests = server.requests();
    assert_eq!(
        requests.len(),
        4,
        "nobody asks about a client without a name"
    );
    assert_eq!(requests[0].line(), "POST /auth");
    assert_eq!(
        requests[0].body(),
        "username=press%201&password=se%26cret&topic=&acc=-1&clientid="
    );
    let basic = requests[0].header("authorization");
    assert_eq!(basic, Some("Basic cHJlc3MgMTpzZSZjcmV0"));
    let media_type = requests[0].header("content-type");
    assert_eq!(media_type, Some("application/x-www-form-urlencoded"));
    assert_eq!(requests[0].header("expect"), None);
    assert!(!gateway.log().contains("se&cret"), "{}", gateway.log());
}

#[test]
fn a_server_with_errors_is_no_reason_to_give_up() {
    let Some((gateway, server)) = start("retries = 2\nbreaker_errors = 1000") else {
        return;
    };
    for status in [500, 502, 503] {
        server.script(&json!({"status": status}));
        let found = code(&gateway, &user(V5, "press 1", "se&cret"), V5);
        assert_eq!(found, UNAVAILABLE, "{status}");
    }
    assert_eq!(server.requests().len(), 9, "each was tried three times");
    assert_eq!(
        code(&gateway, &user(V3_1_1, "press 1", "se&cret"), V3_1_1),
        3
    );
    server.script(&json!({"status": 401}));
    assert_eq!(
        code(&gateway, &user(V5, "press 1", "se&cret"), V5),
        BAD_PASSWORD
    );
    // The refusal is remembered for a while, for this password.
    server.script(&json!({"status": 204}));
    assert_eq!(code(&gateway, &user(V5, "press 1", "other"), V5), 0);
}

#[test]
fn a_server_that_is_down_delays_no_other_port() {
    let Some((gateway, server)) = start("timeout = \"10 s\"\nretries = 0") else {
        return;
    };
    server.script(&json!({"hang": true}));
    let mut waiting: Vec<_> = (0..20)
        .map(|number| {
            let mut client = gateway.open(V5);
            let connect = user(V5, &format!("press {number}"), "se&cret");
            client.send(connect.encode());
            client
        })
        .collect();
    let asked = Instant::now();
    let stream = TcpStream::connect(gateway.address_of(1)).expect("connect to the other port");
    let mut other = TestClient::new(stream, V5);
    assert_eq!(other.connect(&Connect::new(V5, "other")).code, 0);
    assert!(
        asked.elapsed() < Duration::from_secs(5),
        "{:?}",
        asked.elapsed()
    );
    for client in &mut waiting {
        assert_eq!(client.connack().code, UNAVAILABLE);
    }
    assert!(asked.elapsed() > Duration::from_secs(5), "they have waited");
}

#[test]
fn a_server_that_comes_back_is_asked_again() {
    let Some((gateway, server)) = start("breaker_errors = 2\nbreaker_pause = \"6 s\"") else {
        return;
    };
    let good = user(V5, "press 1", "se&cret");
    server.script(&json!({"status": 503}));
    for _ in 0..2 {
        assert_eq!(code(&gateway, &good, V5), UNAVAILABLE);
    }
    let asked = server.requests().len();
    assert_eq!(asked, 4, "twice, with one more try");
    server.script(&json!({"users": {"press 1": "se&cret"}}));
    assert_eq!(code(&gateway, &good, V5), UNAVAILABLE);
    assert_eq!(server.requests().len(), asked, "it is left alone");
    eventually("the server is asked again", || {
        code(&gateway, &good, V5) == 0
    });
    let start_again = server.stop();
    assert_eq!(code(&gateway, &good, V5), UNAVAILABLE);
    let _server = start_again();
    eventually("the connection to it is made again", || {
        code(&gateway, &good, V5) == 0
    });
    assert!(gateway.log().contains("left alone"), "{}", gateway.log());
    assert!(gateway.log().contains("answers again"), "{}", gateway.log());
}
