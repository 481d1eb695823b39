//! Who a client is and what it may do, asked over HTTP: the real binary against servers that are programs of their own, in
//! `tests/backends`.

mod acl;
mod custom;
mod http;
mod service_account_token;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::support::{
    Connect, TestClient, TestGateway, V3_1_1, V5, Version, free_port, hex, property,
};

/// What a client is told that nobody can say anything about.
const UNAVAILABLE: u8 = 0x88;
const NOT_AUTHORIZED: u8 = 0x87;
const BAD_PASSWORD: u8 = 0x86;

/// A Python program that answers HTTP. Ends with the test.
pub(crate) struct AuthServer {
    child: Child,
    _stdout: BufReader<ChildStdout>,
    pub(crate) port: u16,
    name: &'static str,
    dir: PathBuf,
    arguments: Vec<String>,
}

impl AuthServer {
    /// Starts `tests/backends/NAME.py`, which answers as `script` says.
    pub(crate) fn start(
        dir: &Path,
        name: &'static str,
        script: &Value,
        arguments: &[String],
    ) -> Self {
        put(&dir.join(format!("{name}.json")), &script.to_string());
        Self::run(dir.to_owned(), name, free_port(), arguments.to_vec())
    }

    fn run(dir: PathBuf, name: &'static str, port: u16, arguments: Vec<String>) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/backends");
        let mut child = Command::new("python3")
            .arg("-B")
            .arg(folder.join(format!("{name}.py")))
            .args(["--port", &port.to_string()])
            .arg("--log")
            .arg(dir.join(format!("{name}.log")))
            .arg("--script")
            .arg(dir.join(format!("{name}.json")))
            .args(&arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start python3");
        let mut stdout = BufReader::new(child.stdout.take().expect("its output"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("read its port");
        Self {
            child,
            _stdout: stdout,
            port: line.trim().parse().expect("a port"),
            name,
            dir,
            arguments,
        }
    }

    /// Answers differently from now on.
    pub(crate) fn script(&self, script: &Value) {
        put(
            &self.dir.join(format!("{}.json", self.name)),
            &script.to_string(),
        );
    }

    /// Ends the server, and says how to start it again.
    pub(crate) fn stop(mut self) -> impl FnOnce() -> Self {
        self.end();
        let (dir, name) = (self.dir.clone(), self.name);
        let (port, arguments) = (self.port, self.arguments.clone());
        move || Self::run(dir, name, port, arguments)
    }

    fn end(&mut self) {
        self.child.kill().expect("end the server");
        self.child.wait().expect("wait for its end");
    }

    /// All requests so far.
    fn requests(&self) -> Vec<Request> {
        let log = fs::read_to_string(self.dir.join(format!("{}.log", self.name)));
        let log = log.unwrap_or_default();
        let entries = log.lines().map(|line| Request {
            entry: serde_json::from_str(line).expect("a line of JSON"),
        });
        entries.collect()
    }
}

impl Drop for AuthServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Request {
    entry: Value,
}

impl Request {
    fn line(&self) -> &str {
        self.entry["line"].as_str().expect("a line")
    }

    fn body(&self) -> &str {
        self.entry["body"].as_str().expect("a body")
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.entry["headers"].as_array().expect("headers").iter();
        headers.find(|header| header[0] == name)?[1].as_str()
    }
}

/// Puts a file in place whole, so that nobody reads half of it.
pub(crate) fn put(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).expect("write a file");
    fs::rename(&new, path).expect("put it in place");
}

/// Certificates for `localhost` and 127.0.0.1 in `ca.pem`, `server.pem` and `server.key`; the arguments that make a server
/// use them.
pub(crate) fn tls(dir: &Path) -> Vec<String> {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    fs::write(dir.join("ca.pem"), made.cert.pem()).expect("write a certificate");
    fs::write(dir.join("server.pem"), made.cert.pem()).expect("write a certificate");
    fs::write(dir.join("server.key"), made.signing_key.serialize_pem()).expect("write a key");
    let file = |name: &str| dir.join(name).to_str().expect("a plain name").to_owned();
    vec![
        "--cert".to_owned(),
        file("server.pem"),
        "--key".to_owned(),
        file("server.key"),
    ]
}

/// A port at 127.0.0.1 with authentication `devices`, and one at 127.0.0.2 without any; `more` says what `devices` is.
fn ports(more: &str) -> String {
    format!(
        r#"
[[listener]]
name = "test"

[[listener.port]]
port = 0
bind = "127.0.0.1"
authentication = "devices"
authorization = "none"

[[listener.port]]
port = 0
bind = "127.0.0.2"
authentication = "none"
authorization = "none"

[admin]
http = "127.0.0.1:0"

[protection]
never_banned = ["127.0.0.0/8"]

{more}
"#
    )
}

/// What a client is answered: the code of CONNACK. A client that is accepted goes again.
#[track_caller]
fn code(gateway: &TestGateway, connect: &Connect, version: Version) -> u8 {
    TestClient::new(from_elsewhere(gateway), version)
        .connect(connect)
        .code
}

/// A connection from an address of its own, because answers to those who have failed before are held back.
#[track_caller]
fn from_elsewhere(gateway: &TestGateway) -> TcpStream {
    static LAST: AtomicU8 = AtomicU8::new(0);
    let number = LAST.fetch_add(1, Ordering::Relaxed);
    let own = SocketAddr::from(([127, 0, 1, number], 0));
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    socket.bind(&own.into()).expect("an address of its own");
    let address = gateway.address();
    socket
        .connect(&address.into())
        .expect("connect to the broker");
    socket.into()
}

/// An AUTH packet of a client.
pub(crate) fn auth(reason: u8, method: &str, data: &[u8]) -> Vec<u8> {
    let mut body = vec![reason];
    property::Properties::default()
        .with(property::AUTHENTICATION_METHOD, method)
        .with(property::AUTHENTICATION_DATA, data)
        .encode(&mut body);
    let mut packet = vec![0xF0];
    hex::variable_length(&mut packet, body.len());
    packet.extend(body);
    packet
}

fn user(version: Version, username: &str, password: &str) -> Connect {
    Connect::new(version, "client-1")
        .username(username)
        .password(password.as_bytes())
}

/// Tries until something holds; for what happens within a time that nobody else tells the end of.
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < end, "in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
