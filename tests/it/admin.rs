//! Probes, metrics and the control socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;

use crate::support::{Connect, TestGateway, V5, property, taken_port};

fn config(http: &str) -> String {
    format!(
        "[admin]\nhttp = \"{http}\"\n[[listener]]\nname = \"test\"\n[[listener.port]]\nport = 0\nbind = \"127.0.0.1\"\n\
         authentication = \"none\"\nauthorization = \"none\"\n"
    )
}

#[track_caller]
fn gateway() -> Option<TestGateway> {
    TestGateway::configured(&config("127.0.0.1:0"))
}

#[track_caller]
fn http(gateway: &TestGateway) -> TcpStream {
    let address = gateway.await_status(|status| {
        let address = status["admin"]["address"].as_str()?;
        (status["admin"]["state"] == "listening").then(|| address.to_owned())
    });
    let stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    stream
}

/// Sends a request as it stands and returns the head and the body of the answer.
#[track_caller]
fn request(gateway: &TestGateway, request: &str) -> (String, String) {
    let mut stream = http(gateway);
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    // A server that closes before it has read everything resets the connection.
    let _ = stream.read_to_string(&mut answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    (head.to_owned(), body.to_owned())
}

#[track_caller]
pub(crate) fn get(gateway: &TestGateway, path: &str) -> (String, String) {
    request(gateway, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"))
}

#[test]
fn probes_answer() {
    let Some(gateway) = gateway() else { return };
    for (path, said) in [("/livez", "live\n"), ("/readyz", "ready\n")] {
        let (head, body) = get(&gateway, path);
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert_eq!(body, said);
    }
}

#[test]
fn metrics_have_the_form_of_prometheus() {
    let Some(gateway) = gateway() else { return };
    let _client = gateway.v5("one");
    let (head, body) = get(&gateway, "/metrics");
    assert!(
        head.contains("content-type: text/plain; version=0.0.4"),
        "{head}"
    );
    for line in [
        "fieldgate_connections 1",
        "# TYPE fieldgate_messages_received_total counter",
        "fieldgate_messages_received_total{qos=\"0\"} 0",
        "fieldgate_port_connections{listener=\"test\",port=\"127.0.0.1:0\"} 1",
        "fieldgate_port_state{listener=\"test\",port=\"127.0.0.1:0\",state=\"listening\"} 1",
        "fieldgate_ready 1",
    ] {
        assert!(
            body.lines().any(|found| found == line),
            "{line} is missing:\n{body}"
        );
    }
    for line in body.lines() {
        let sample = line.starts_with("# ")
            || line
                .rsplit_once(' ')
                .is_some_and(|(_, value)| value.parse::<f64>().is_ok());
        assert!(
            line.starts_with("# ") || line.starts_with("fieldgate_"),
            "{line}"
        );
        assert!(sample, "{line}");
    }
}

#[test]
fn other_paths_and_methods_are_refused() {
    let Some(gateway) = gateway() else { return };
    assert!(get(&gateway, "/").0.starts_with("HTTP/1.1 404 "));
    let (head, _) = request(
        &gateway,
        "POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    );
    assert!(
        head.starts_with("HTTP/1.1 405 ") && head.contains("allow: GET, HEAD"),
        "{head}"
    );
}

#[test]
fn bad_requests_cost_nothing() {
    let Some(gateway) = gateway() else { return };
    let long = format!(
        "GET /livez HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n",
        "x".repeat(100_000)
    );
    let (head, _) = request(&gateway, &long);
    assert!(
        head.is_empty() || head.starts_with("HTTP/1.1 431 "),
        "{head}"
    );
    let (head, _) = request(&gateway, "\0\u{1}\r\n\r\n");
    assert!(
        head.is_empty() || head.starts_with("HTTP/1.1 400 "),
        "{head}"
    );
    // More silent connections than are served at one time; their deadline frees the places.
    let silent: Vec<TcpStream> = (0..40).map(|_| http(&gateway)).collect();
    assert_eq!(get(&gateway, "/livez").1, "live\n");
    drop(silent);
}

#[test]
fn address_that_is_taken_is_reported_and_tried_again() {
    let taken = taken_port([127, 0, 0, 1]);
    let address = taken.local_addr().unwrap().to_string();
    let Some(gateway) = TestGateway::configured(&config(&address)) else {
        return;
    };
    let _client = gateway.v5("served all the same");
    let status = gateway.await_status(|status| {
        (status["admin"]["state"] == "awaiting-address").then(|| status.clone())
    });
    assert_eq!(status["admin"]["address"], address);
    assert_eq!(status["alarms"][0]["name"], "admin-waiting");
    drop(taken);
    assert_eq!(get(&gateway, "/readyz").1, "ready\n");
}

fn ask(stream: &mut UnixStream, line: &[u8]) -> Value {
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    stream.write_all(line).unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    serde_json::from_str(&answer).unwrap()
}

#[test]
fn control_socket_answers_one_line_with_one_line() {
    let Some(gateway) = gateway() else { return };
    let mut stream = UnixStream::connect(gateway.path("state/control.sock")).unwrap();
    assert_eq!(ask(&mut stream, b"{\"command\":\"ping\"}\n")["ok"], "pong");
    for (line, kind) in [
        (&b"hello\n"[..], "bad-request"),
        (b"\n", "bad-request"),
        (b"{\"command\":\"ping\",\"more\":1}\n", "bad-request"),
        (b"{\"command\":\"halt\"}\n", "unknown-command"),
        (
            b"{\"command\":\"status\",\"input\":{\"x\":1}}\n",
            "bad-input",
        ),
        (
            b"{\"command\":\"clients\",\"input\":{\"prefix\":7}}\n",
            "bad-input",
        ),
        (b"\xFF\xFE\n", "bad-request"),
    ] {
        assert_eq!(
            ask(&mut stream, line)["error"]["kind"],
            kind,
            "{}",
            String::from_utf8_lossy(line)
        );
    }
    assert_eq!(
        ask(&mut stream, b"{\"command\":\"ping\"}\n")["ok"],
        "pong",
        "it still answers"
    );
}

#[test]
fn control_socket_bounds_a_request() {
    let Some(gateway) = gateway() else { return };
    let mut stream = UnixStream::connect(gateway.path("state/control.sock")).unwrap();
    // The rest of a request that is too long is not read, so writing it may fail.
    let _ = stream.write_all(&vec![b'x'; 1 << 20]);
    let mut answer = String::new();
    let _ = BufReader::new(stream).read_line(&mut answer);
    assert!(
        answer.is_empty() || answer.contains("bad-request"),
        "{answer}"
    );
    assert_eq!(gateway.control("ping"), "pong");
}

#[test]
fn long_listing_of_clients_is_complete_and_in_order() {
    let Some(gateway) = gateway() else { return };
    let names: Vec<String> = (0..1_100).map(|number| format!("c{number:04}")).collect();
    for name in &names {
        let durable = Connect::new(V5, name).with(property::SESSION_EXPIRY_INTERVAL, 600u32);
        gateway.connect(&durable).0.disconnect();
    }
    let clients = gateway.control("clients");
    let listed = clients.as_array().expect("a list");
    let listed: Vec<_> = listed
        .iter()
        .filter_map(|client| client["client_id"].as_str())
        .collect();
    assert_eq!(listed, names);
}
