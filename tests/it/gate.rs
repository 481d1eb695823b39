//! The health gate: what passes, what does not and why, and that its way in is nobody else's.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::command::{Said, fieldgate};
use crate::support::tls::Authority;
use crate::support::{Connect, Publish, TestClient, TestGateway, V5, taken_port};

const LOOPBACK: &str = r#"
[[listener]]
name = "site"
[[listener.port]]
port = 0
bind = "127.0.0.1"
authentication = "none"
authorization = "none"
"#;

const TLS: &str = r#"
[[listener.port]]
port = 0
bind = "127.0.0.2"
authentication = "none"
authorization = "none"
tls = { mode = "Automatic" }
"#;

const X509: &str = r#"
[[listener]]
name = "site"
[[listener.port]]
port = 0
bind = "127.0.0.1"
authentication = "machines"
authorization = "rules"
tls = { mode = "Manual", cert = "{dir}/server.crt", key = "{dir}/server.key" }
[authentication.machines]
methods = ["x509"]
[authentication.machines.x509]
trust = ["{dir}/trust.pem"]
[authorization.rules]
[[authorization.rules.rule]]
principals = { everyone = true }
connect = ["pump-*"]
"#;

const PASSWORD: &str = r#"
[[listener]]
name = "site"
[[listener.port]]
port = 0
bind = "127.0.0.1"
mount_point = "hall/"
authentication = "people"
authorization = "rules"
[authentication.people]
methods = ["password"]
[authorization.rules]
[[authorization.rules.rule]]
principals = { usernames = ["nobody"] }
connect = ["*"]
"#;

/// Time that a gate which does not pass tries in these tests.
const SHORT: &str = "4s";

#[track_caller]
fn gate(gateway: &TestGateway, folder: &str) -> Said {
    gate_within(gateway, folder, "30s")
}

#[track_caller]
fn gate_within(gateway: &TestGateway, folder: &str, time: &str) -> Said {
    gate_that_knows(gateway, folder, time, "{}")
}

/// `known` is what was wrong before an update.
#[track_caller]
fn gate_that_knows(gateway: &TestGateway, folder: &str, time: &str, known: &str) -> Said {
    let file = gateway.path("known");
    fs::write(&file, known).expect("write a file");
    let output = fieldgate()
        .args(["health", "--gate", "--timeout", time, "--known"])
        .arg(file)
        .arg("--runtime-dir")
        .arg(gateway.path(folder))
        .output();
    output.expect("run the binary").into()
}

#[track_caller]
fn assert_passes(gateway: &TestGateway) -> String {
    let said = gate(gateway, "state");
    assert_eq!(
        (said.code, said.stderr.as_str()),
        (0, ""),
        "{}\n{}",
        said.stdout,
        gateway.log()
    );
    assert!(said.stdout.ends_with("passed\n"), "{}", said.stdout);
    said.stdout
}

#[track_caller]
fn assert_fails(said: &Said, with: &str) {
    assert_eq!(said.code, 1, "{}{}", said.stdout, said.stderr);
    assert!(said.stderr.contains("not passed: "), "{}", said.stderr);
    assert!(said.stderr.contains(with), "{}", said.stderr);
}

/// Nothing of a probe is left.
#[track_caller]
fn assert_clean(gateway: &TestGateway) {
    let status = gateway.await_status(|status| {
        (status["broker"]["sessions"] == 0 && status["broker"]["connections"] == 0)
            .then(|| status.clone())
    });
    let broker = &status["broker"];
    for count in [
        "subscriptions",
        "retained_messages",
        "queued_messages",
        "messages_dropped",
        "authorization_denials",
    ] {
        assert_eq!(broker[count], 0, "{count}");
    }
    assert_eq!(gateway.control("clients"), Value::Array(Vec::new()));
    assert!(
        !gateway.log().contains("fieldgate-probe"),
        "{}",
        gateway.log()
    );
    for port in status["ports"].as_array().expect("ports") {
        assert_eq!(port["logins"], Value::Array(Vec::new()), "no login counts");
    }
}

#[test]
fn loopback_default_passes_and_nothing_is_left() {
    let Some(gateway) = TestGateway::configured(LOOPBACK) else {
        return;
    };
    let said = assert_passes(&gateway);
    assert!(said.contains("without TLS"), "{said}");
    assert!(said.contains("stored, acknowledged, delivered"), "{said}");
    assert_clean(&gateway);
    assert_passes(&gateway);
    assert_clean(&gateway);
}

#[test]
fn message_goes_over_tls_where_a_port_has_it() {
    let Some(gateway) = TestGateway::configured(&format!("{LOOPBACK}{TLS}")) else {
        return;
    };
    let said = assert_passes(&gateway);
    assert!(said.contains(", over TLS: "), "{said}");
    assert_clean(&gateway);
}

#[test]
fn port_for_certificates_takes_the_probe_without_one() {
    let authority = Authority::new("Plant CA");
    let started = TestGateway::configured_with(X509, |folder| {
        authority.prepare(folder);
        fs::write(folder.join("trust.pem"), &authority.pem).expect("write the trust");
    });
    let Some(gateway) = started else { return };
    let said = assert_passes(&gateway);
    assert!(said.contains("TLS with its certificate"), "{said}");
    assert!(said.contains(", over TLS: "), "{said}");
    assert_clean(&gateway);
}

#[test]
fn port_for_passwords_that_lets_nobody_in_passes() {
    let Some(gateway) = TestGateway::configured(PASSWORD) else {
        return;
    };
    let said = assert_passes(&gateway);
    assert!(said.contains("message by port 127.0.0.1:0"), "{said}");
    assert_clean(&gateway);
}

#[test]
fn web_sockets_are_opened_and_the_message_goes_by_the_inner_way() {
    let web = "port = 0\nprotocol = \"WebSockets\"\nwebsocket_path = \"/m\"";
    let Some(gateway) = TestGateway::configured(&LOOPBACK.replace("port = 0", web)) else {
        return;
    };
    let said = assert_passes(&gateway);
    assert!(said.contains("accepts, WebSocket\n"), "{said}");
    assert!(said.contains("by the inner way"), "{said}");
    assert_clean(&gateway);
    let log = gateway.log();
    assert!(!log.contains("andshake"), "{log}");
}

#[test]
fn port_that_cannot_open_is_named_with_a_hint() {
    let taken = taken_port([127, 0, 0, 1]);
    let number = taken.local_addr().expect("its address").port();
    let config = format!(
        "{LOOPBACK}[[listener.port]]\nport = {number}\nbind = \"127.0.0.1\"\nauthentication = \"none\"\nauthorization = \"none\"\n"
    );
    let Some(gateway) = TestGateway::configured(&config) else {
        return;
    };
    let said = gate_within(&gateway, "state", SHORT);
    assert_fails(&said, &format!("port 127.0.0.1:{number} is not open"));
    assert!(
        said.stderr.contains("hint: another process"),
        "{}",
        said.stderr
    );
    let other = r#"{"ports":["127.0.0.1:1"],"store_full":true}"#;
    assert_fails(
        &gate_that_knows(&gateway, "state", SHORT, other),
        "is not open",
    );
    drop(taken);
    assert_passes(&gateway);
}

#[test]
fn port_that_was_not_open_before_an_update_does_not_undo_it() {
    let taken = taken_port([127, 0, 0, 1]);
    let number = taken.local_addr().expect("its address").port();
    let config = format!(
        "{LOOPBACK}[[listener.port]]\nport = {number}\nbind = \"127.0.0.1\"\nauthentication = \"none\"\nauthorization = \"none\"\n"
    );
    let Some(gateway) = TestGateway::configured(&config) else {
        return;
    };
    let known = format!(r#"{{"ports":["127.0.0.1:{number}"]}}"#);
    let said = gate_that_knows(&gateway, "state", "30s", &known);
    assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
    let text = format!("as before the update, port 127.0.0.1:{number} is not open");
    assert!(said.stdout.contains(&text), "{}", said.stdout);
    // What the file says is not believed where it says nothing.
    let said = gate_that_knows(&gateway, "state", SHORT, "nonsense");
    assert_fails(&said, "is not open");
    assert!(said.stderr.contains("cannot be read"), "{}", said.stderr);
}

#[test]
fn port_without_its_certificate_fails() {
    let config = LOOPBACK.to_owned()
        + "tls = { mode = \"Manual\", cert = \"{dir}/no.crt\", key = \"{dir}/no.key\" }\n";
    let Some(gateway) = TestGateway::configured(&config) else {
        return;
    };
    let said = gate_within(&gateway, "state", SHORT);
    assert_fails(&said, "port 127.0.0.1:0 is not open: awaiting certificate");
    assert!(said.stderr.contains("fieldgate check"), "{}", said.stderr);
}

#[test]
fn gateway_that_hangs_fails_in_time() {
    let Some(gateway) = TestGateway::configured(LOOPBACK) else {
        return;
    };
    gateway.signal(Signal::SIGSTOP);
    let said = gate_within(&gateway, "state", SHORT);
    gateway.signal(Signal::SIGCONT);
    assert_fails(&said, "answer");
    assert_passes(&gateway);
}

#[test]
fn no_gateway_fails() {
    let folder = tempfile::tempdir().expect("a folder");
    let said = fieldgate()
        .args(["health", "--gate", "--timeout", "1s", "--runtime-dir"])
        .arg(folder.path())
        .output();
    let said: Said = said.expect("run the binary").into();
    assert_fails(&said, "no gateway is running");
}

/// A state folder on a small volume; `None` where mounting is not allowed, which is a fault where FIELDGATE_TEST_MOUNTS is set.
fn on_volume() -> Option<(TestGateway, Unmount)> {
    let mut gateway = TestGateway::unstarted(LOOPBACK)?;
    let (state, run) = (gateway.path("state"), gateway.path("run"));
    for folder in [&state, &run] {
        fs::create_dir(folder).expect("a folder");
    }
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"])
        .arg(&state)
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        assert!(
            std::env::var_os("FIELDGATE_TEST_MOUNTS").is_none(),
            "FIELDGATE_TEST_MOUNTS is set, and mounting failed"
        );
        return None;
    }
    gateway.add_arg("--runtime-dir");
    gateway.add_arg(run);
    Some((gateway, Unmount(state)))
}

struct Unmount(PathBuf);

impl Unmount {
    fn remount(&self, option: &str) {
        let option = format!("remount,{option}");
        let status = Command::new("mount")
            .args(["-o", &option])
            .arg(&self.0)
            .status();
        assert!(status.expect("run mount").success());
    }
}

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn store_on_a_read_only_folder_fails() {
    let Some((mut gateway, volume)) = on_volume() else {
        return;
    };
    volume.remount("ro");
    gateway.run();
    assert_fails(&gate_within(&gateway, "run", SHORT), "the store: ");
    drop((gateway, volume));
}

#[test]
fn store_on_a_full_volume_fails() {
    let Some((mut gateway, volume)) = on_volume() else {
        return;
    };
    fill(&volume.0);
    gateway.run();
    assert_fails(&gate_within(&gateway, "run", SHORT), "the store: ");
    drop((gateway, volume));
}

#[test]
fn store_that_was_full_before_an_update_does_not_undo_it() {
    let Some((mut gateway, volume)) = on_volume() else {
        return;
    };
    gateway.run();
    fill(&volume.0);
    gateway.signal(Signal::SIGTERM);
    gateway.await_end();
    gateway.run();
    let said = gate_within(&gateway, "run", SHORT);
    assert_fails(&said, "the store: the volume of the store is nearly full");
    let known = r#"{"store_full":true}"#;
    let said = gate_that_knows(&gateway, "run", "30s", known);
    assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
    assert!(
        said.stdout.contains("store: as before the update, "),
        "{}",
        said.stdout
    );
    drop((gateway, volume));
}

#[test]
fn full_gateway_is_no_fault_where_tls_keeps_it_from_saying_so() {
    let config = format!("[limits]\nconnections_max = 1\n{LOOPBACK}{TLS}");
    let Some(gateway) = TestGateway::configured(&config) else {
        return;
    };
    let client = gateway.v5("the only one");
    let said = gate(&gateway, "state");
    assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
    let text = "port 127.0.0.2:0: listens; it takes no connection more";
    assert!(said.stdout.contains(text), "{}", said.stdout);
    client.disconnect();
}

#[test]
fn port_for_small_packets_is_no_fault() {
    let config = format!("{LOOPBACK}limits = {{ max_packet_size = \"64 B\" }}\n");
    let Some(gateway) = TestGateway::configured(&config) else {
        return;
    };
    let said = assert_passes(&gateway);
    assert!(said.contains("by the inner way"), "{said}");
}

fn fill(folder: &Path) {
    let mut file = fs::File::create(folder.join("filler")).expect("a file");
    while file.write_all(&[0; 4096]).is_ok() {}
}

/// A ticket, as somebody has it who may ask for one.
struct Ticket {
    secret: String,
    client_id: String,
    topic: String,
}

fn ticket(gateway: &TestGateway) -> Ticket {
    let probe = gateway.control("probe");
    let text = |key: &str| probe[key].as_str().expect("a text").to_owned();
    assert_eq!(probe["username"], "$fieldgate-probe");
    Ticket {
        secret: text("secret"),
        client_id: text("client_id"),
        topic: text("topic"),
    }
}

fn connect(ticket: &Ticket) -> Connect {
    Connect::new(V5, &ticket.client_id)
        .username("$fieldgate-probe")
        .password(ticket.secret.as_bytes())
}

#[track_caller]
fn assert_refused(gateway: &TestGateway, connect: &Connect) {
    let mut client = TestClient::new(TcpStream::connect(gateway.address()).expect("connect"), V5);
    client.send(connect.encode());
    client.expect_refused(0x87);
}

#[test]
fn tickets_cannot_be_guessed_nor_used_twice() {
    for config in [LOOPBACK, PASSWORD] {
        let Some(gateway) = TestGateway::configured(config) else {
            return;
        };
        let mut guessed = ticket(&gateway);
        let good = ticket(&gateway);
        guessed.secret = "0".repeat(64);
        assert_refused(&gateway, &connect(&guessed));
        let without = Connect::new(V5, &good.client_id).username("$fieldgate-probe");
        assert_refused(&gateway, &without);

        let (client, _) = gateway.connect(&connect(&good));
        assert_refused(&gateway, &connect(&good));
        client.disconnect();
        assert_refused(&gateway, &connect(&good));
    }
}

#[test]
fn ticket_lets_in_to_one_topic_only() {
    let Some(gateway) = TestGateway::configured(LOOPBACK) else {
        return;
    };
    let good = ticket(&gateway);
    let (mut client, connack) = gateway.connect(&connect(&good));
    assert_eq!(connack.properties.number(0x25), Some(0), "nothing retained");
    for filter in ["plant/1", "$fieldgate/probe/other"] {
        assert_eq!(client.subscribe(filter, 1), 0x87, "{filter}");
    }
    assert_eq!(
        client.publish(&Publish::new("plant/1", "x").qos(1, 7)),
        0x87
    );
    assert_eq!(client.subscribe(&good.topic, 1), 1);
    client.disconnect();

    let other = ticket(&gateway);
    let elsewhere = Connect::new(V5, "another-client")
        .username("$fieldgate-probe")
        .password(other.secret.as_bytes());
    assert_refused(&gateway, &elsewhere);
}

#[test]
fn inner_way_is_for_tickets_only() {
    let Some(gateway) = TestGateway::configured(LOOPBACK) else {
        return;
    };
    let open = || {
        let mut stream = UnixStream::connect(gateway.path("state/control.sock")).expect("connect");
        writeln!(stream, "{{\"command\":\"probe_link\"}}").expect("ask");
        let mut line = String::new();
        let mut reader = BufReader::with_capacity(1, stream);
        reader.read_line(&mut line).expect("an answer");
        assert_eq!(line, "{\"ok\":null}\n");
        TestClient::new(reader.into_inner(), V5)
    };
    let mut client = open();
    client.send(Connect::new(V5, "somebody").encode());
    client.expect_refused(0x87);

    let good = ticket(&gateway);
    let mut client = open();
    assert_eq!(client.connect(&connect(&good)).code, 0);
    assert_eq!(client.subscribe(&good.topic, 1), 1);
    client.disconnect();
}

#[test]
fn probe_that_is_killed_leaves_its_session_for_half_a_minute() {
    let Some(gateway) = TestGateway::configured(LOOPBACK) else {
        return;
    };
    let good = ticket(&gateway);
    let asked = connect(&good).with(0x11, 3600_u32);
    let (client, connack) = gateway.connect(&asked);
    assert_eq!(connack.properties.number(0x11), Some(30));
    client.cut();
}
