//! Enrolment over the network by curl and openssl, and everything that a stranger may try.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Command, Output};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;

use crate::access::{PASSWORD, add_user, reload};
use crate::support::command::{Said, run_on};
use crate::support::tls::{Authority, Tls};
use crate::support::{Connect, TestClient, TestGateway, V5};

const PORT: &str = r#"
[[listener]]
name = "site"
[[listener.port]]
port = 0
bind = "127.0.0.1"
authentication = "machines"
authorization = "none"
tls = { mode = "Manual", cert = "{dir}/server.crt", key = "{dir}/server.key" }
[authentication.machines]
methods = ["x509"]
[authentication.machines.x509]
trust = ["device-ca"]
"#;

const EST: &str = r#"
[est]
https = "127.0.0.1:0"
http = "127.0.0.1:0"
tls = { mode = "Manual", cert = "{dir}/server.crt", key = "{dir}/server.key" }
"#;

const NEVER_BANNED: &str = "[protection]\nnever_banned = [\"127.0.0.0/8\"]\n";

const REQUEST: &str = "Content-Type: application/pkcs10";

/// How long a change may take, with room for a machine that is busy with other tests.
const SOON: Duration = Duration::from_secs(10);

/// A gateway that enrols, and a folder of files beside it.
struct Site {
    gateway: TestGateway,
    /// What clients trust when they connect.
    root: String,
}

/// What a server has answered.
#[derive(Debug)]
struct Answered {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answered {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    fn expect(self, status: u16, word: &str) -> Self {
        assert_eq!(self.status, status, "{}\n{}", self.head, self.text());
        assert!(self.text().contains(word), "{word}: {}", self.text());
        self
    }

    #[track_caller]
    fn expect_header(self, header: &str) -> Self {
        let head = self.head.to_ascii_lowercase();
        assert!(head.contains(&header.to_ascii_lowercase()), "{}", self.head);
        self
    }
}

impl Site {
    fn new() -> Option<Self> {
        Self::with(&format!("{PORT}{EST}{NEVER_BANNED}"))
    }

    /// `None` where another broker is under test, or where the tools are not installed.
    fn with(config: &str) -> Option<Self> {
        let site = Self::without_authority(config)?;
        let end = Instant::now() + SOON;
        while site.run(&["ca", "status"]).code != 0 {
            assert!(Instant::now() < end, "the authority is made");
        }
        Some(site)
    }

    fn without_authority(config: &str) -> Option<Self> {
        for tool in ["curl", "openssl"] {
            Command::new(tool).arg("version").output().ok()?;
        }
        let authority = Authority::new("Site CA");
        let mut gateway = TestGateway::unstarted(config)?;
        authority.prepare(&gateway.path(""));
        gateway.run();
        let root = authority.pem;
        Some(Self { gateway, root })
    }

    fn run(&self, args: &[&str]) -> Said {
        run_on(&self.gateway.path("state"), args)
    }

    #[track_caller]
    fn fine(&self, args: &[&str]) -> String {
        let said = self.run(args);
        assert_eq!(said.code, 0, "{}", said.stderr);
        said.stdout
    }

    #[track_caller]
    fn token(&self, name: &str) -> String {
        let said = self.fine(&["ca", "token", name, "--expires", "1h", "--attr", "hall=2"]);
        let token = said.lines().next().unwrap_or_default();
        assert_eq!(token.len(), 32, "{said}");
        token.to_owned()
    }

    /// The address of `https` or `http`, as soon as it is served.
    fn door(&self, scheme: &str) -> SocketAddr {
        self.gateway.await_status(|status| {
            let door = &status["est"][scheme];
            (door["state"] == "listening").then(|| door["address"].as_str()?.parse().ok())?
        })
    }

    fn url(&self, path: &str) -> String {
        format!("https://{}/{path}", self.door("https"))
    }

    fn est(&self, operation: &str) -> String {
        self.url(&format!(".well-known/est/{operation}"))
    }

    fn in_folder(&self, command: &str, args: &[&str]) -> Output {
        Command::new(command)
            .args(args)
            .current_dir(self.gateway.path(""))
            .output()
            .expect("run a tool")
    }

    #[track_caller]
    fn openssl(&self, args: &[&str]) -> String {
        let output = self.in_folder("openssl", args);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {error}");
        String::from_utf8(output.stdout).expect("text")
    }

    fn curl(&self, args: &[&str]) -> Answered {
        let mut all = vec!["-sS", "-i", "--max-time", "20", "--cacert", "ca.pem"];
        all.extend(args);
        let output = self.in_folder("curl", &all);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        answered(&output.stdout).unwrap_or_else(|| panic!("{args:?}: {error}"))
    }

    /// Makes a key and a request in DER, PEM and Base64: `NAME.key`, `NAME.der`, `NAME.csr`, `NAME.b64`.
    fn request(&self, name: &str, subject: &str) {
        let (key, der, pem, base64) = (
            format!("{name}.key"),
            format!("{name}.der"),
            format!("{name}.csr"),
            format!("{name}.b64"),
        );
        self.openssl(&[
            "req",
            "-new",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-keyout",
            &key,
            "-subj",
            subject,
            "-out",
            &pem,
        ]);
        self.openssl(&["req", "-in", &pem, "-outform", "DER", "-out", &der]);
        self.openssl(&["base64", "-in", &der, "-out", &base64]);
    }

    fn enrol(&self, user: &str, file: &str) -> Answered {
        let (url, data) = (self.est("simpleenroll"), format!("@{file}"));
        self.curl(&["--user", user, "-H", REQUEST, "--data-binary", &data, &url])
    }

    /// The certificates of an answer, as PEM text.
    #[track_caller]
    fn certificates(&self, answered: &Answered) -> String {
        fs::write(self.gateway.path("answer.b64"), &answered.body).expect("write");
        self.openssl(&["base64", "-d", "-in", "answer.b64", "-out", "answer.p7"]);
        self.openssl(&[
            "pkcs7",
            "-inform",
            "DER",
            "-in",
            "answer.p7",
            "-print_certs",
        ])
    }

    /// Enrols with a token; afterwards there are `NAME.key`, and `NAME.crt` with the issuers behind it.
    #[track_caller]
    fn enrolled(&self, name: &str) {
        self.request(name, &format!("/CN={name}"));
        let user = format!("{name}:{}", self.token(name));
        let answered = self.enrol(&user, &format!("{name}.b64")).expect(200, "");
        self.keep(name, &answered);
    }

    #[track_caller]
    fn keep(&self, name: &str, answered: &Answered) {
        let own = self.certificates(answered);
        assert_eq!(own.matches("BEGIN CERTIFICATE").count(), 1, "{own}");
        let issuers = self.curl(&[&self.est("cacerts")]).expect(200, "");
        let chain = format!("{own}{}", self.certificates(&issuers));
        fs::write(self.gateway.path(&format!("{name}.crt")), chain).expect("write");
    }

    fn again(&self, certificate: &str, file: &str) -> Answered {
        let (url, data) = (self.est("simplereenroll"), format!("@{file}.b64"));
        let (crt, key) = (format!("{certificate}.crt"), format!("{certificate}.key"));
        let data = ["-H", REQUEST, "--data-binary", &data, &url];
        let mut args = vec!["--cert", &crt, "--key", &key];
        args.extend(data);
        self.curl(&args)
    }

    fn serial(&self, name: &str) -> String {
        let file = format!("{name}.crt");
        let said = self.openssl(&["x509", "-in", &file, "-noout", "-serial"]);
        said.trim().replace("serial=", "")
    }

    /// Whether the port takes the certificate.
    fn connects(&self, name: &str) -> bool {
        let read = |file: String| fs::read(self.gateway.path(&file)).expect("a file");
        let chain = CertificateDer::pem_slice_iter(&read(format!("{name}.crt")))
            .map(|der| der.expect("a certificate"))
            .collect();
        let key = PrivateKeyDer::from_pem_slice(&read(format!("{name}.key"))).expect("a key");
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(self.root.as_bytes());
        roots.add(root.expect("a root")).expect("a root");
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions of TLS")
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .expect("a certificate with its key");
        let Ok(tls) = Tls::connect(self.gateway.address(), &Arc::new(config)) else {
            return false;
        };
        let mut client = TestClient::new(tls, V5);
        client.send(Connect::new(V5, name).encode());
        client.receive_or_end().is_some() && client.ping().is_empty()
    }

    /// Waits until a row of the audit log has a kind, a subject and a word.
    fn await_audit(&self, kind: &str, subject: &str, word: &str) {
        let end = Instant::now() + SOON;
        loop {
            let said = self.fine(&["audit", "--json"]);
            let rows: Value = serde_json::from_str(&said).expect("JSON");
            let mut rows = rows.as_array().expect("rows").iter();
            let found = rows.any(|row| {
                let detail = row["detail"].as_str().unwrap_or_default();
                row["kind"] == kind && row["subject"] == subject && detail.contains(word)
            });
            if found {
                return;
            }
            assert!(Instant::now() < end, "{kind} {subject} {word}: {said}");
        }
    }

    fn counted(&self, operation: &str, outcome: &str) -> u64 {
        let status = self.gateway.control("status");
        let requests = status["est"]["requests"].as_array().expect("counts");
        let mut found = requests
            .iter()
            .filter(|row| row["operation"] == operation && row["outcome"] == outcome);
        found
            .next()
            .map_or(0, |row| row["count"].as_u64().unwrap_or(0))
    }
}

fn answered(bytes: &[u8]) -> Option<Answered> {
    let end = bytes.windows(4).position(|part| part == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let body = bytes[end + 4..].to_vec();
    // What comes before a body is awaited is no answer.
    match status {
        100 => answered(&body),
        _ => Some(Answered { status, head, body }),
    }
}

#[test]
fn device_has_its_certificate_from_first_to_last() {
    let Some(site) = Site::new() else { return };
    let issuers = site
        .curl(&[&site.est("cacerts")])
        .expect(200, "")
        .expect_header("content-type: application/pkcs7-mime")
        .expect_header("content-transfer-encoding: base64");
    let issuers = site.certificates(&issuers);
    assert_eq!(issuers.matches("BEGIN CERTIFICATE").count(), 2, "{issuers}");
    let root = site.fine(&["ca", "export-root"]);
    fs::write(site.gateway.path("root.pem"), &root).expect("write");
    let body: String = root.lines().skip(1).take(3).collect();
    assert!(
        issuers.replace('\n', "").contains(&body),
        "the root is there"
    );

    let wanted = site
        .curl(&[&site.est("csrattrs")])
        .expect(200, "")
        .expect_header("content-type: application/csrattrs");
    fs::write(site.gateway.path("attrs.b64"), &wanted.body).expect("write");
    site.openssl(&["base64", "-d", "-in", "attrs.b64", "-out", "attrs.der"]);
    let args = ["asn1parse", "-inform", "DER", "-in", "attrs.der"];
    assert!(site.openssl(&args).contains("prime256v1"));

    site.enrolled("pump-7");
    let args = [
        "verify",
        "-CAfile",
        "root.pem",
        "-untrusted",
        "pump-7.crt",
        "pump-7.crt",
    ];
    site.openssl(&args);
    assert!(site.connects("pump-7"));
    let list: Value = serde_json::from_str(&site.fine(&["ca", "list", "--json"])).expect("JSON");
    let text = list.to_string();
    assert!(
        text.contains("\"enrolled\"") && text.contains("\"hall\":\"2\""),
        "{text}"
    );

    // With another key; the first certificate is good until it ends.
    site.request("next", "/CN=pump-7");
    let answered = site.again("pump-7", "next").expect(200, "");
    site.keep("next", &answered);
    assert!(site.connects("next") && site.connects("pump-7"));
    assert_ne!(site.serial("next"), site.serial("pump-7"));
    site.again("next", "pump-7").expect(200, "");

    site.await_audit("enrolment-accepted", "pump-7", "by token");
    let former = site.serial("pump-7").to_lowercase();
    site.await_audit(
        "enrolment-accepted",
        "pump-7",
        &format!("by certificate {former}"),
    );
    site.await_audit("certificate-issued", "pump-7", "enrolled");
    assert_eq!(site.counted("simpleenroll", "done"), 1);
    assert_eq!(site.counted("simplereenroll", "done"), 2);
}

#[test]
fn certificate_that_is_revoked_gets_no_other() {
    let Some(site) = Site::new() else { return };
    site.enrolled("pump-7");
    site.enrolled("fan");
    site.request("other", "/CN=fan");
    site.again("pump-7", "other").expect(403, "own name");
    site.await_audit("enrolment-refused", "pump-7", "own name");
    let url = site.est("simplereenroll");
    let plain = ["-H", REQUEST, "--data-binary", "@other.b64", &url];
    site.curl(&plain).expect(403, "certificate");
    site.fine(&["ca", "revoke", "pump-7"]);
    // The handshake knows it when it has seen the list, and the authority knows it at once.
    let (data, key) = (
        ["--cert", "pump-7.crt", "--key", "pump-7.key"],
        "@pump-7.b64",
    );
    let mut args = vec!["-sS", "-i", "--cacert", "ca.pem"];
    args.extend(data);
    args.extend(["-H", REQUEST, "--data-binary", key, &url]);
    let output = site.in_folder("curl", &args);
    if let Some(answered) = answered(&output.stdout) {
        answered.expect(403, "revoked");
    }
    assert!(!site.connects("pump-7") && site.connects("fan"));
    site.again("fan", "other").expect(200, "");
    assert_eq!(site.counted("simplereenroll", "done"), 1);
}

#[test]
fn token_that_twenty_have_at_one_time_gives_one_certificate() {
    let config = format!("{PORT}{EST}connections_max = 64\n{NEVER_BANNED}");
    let Some(site) = Site::with(&config) else {
        return;
    };
    site.request("pump-7", "/CN=pump-7");
    let user = format!("pump-7:{}", site.token("pump-7"));
    let statuses: Vec<u16> = thread::scope(|scope| {
        let enrolling: Vec<_> = (0..20)
            .map(|_| scope.spawn(|| site.enrol(&user, "pump-7.b64").status))
            .collect();
        enrolling
            .into_iter()
            .map(|one| one.join().expect("an answer"))
            .collect()
    });
    let count = |status| statuses.iter().filter(|found| **found == status).count();
    assert_eq!((count(200), count(401)), (1, 19), "{statuses:?}");
    let list: Value = serde_json::from_str(&site.fine(&["ca", "list", "--json"])).expect("JSON");
    assert_eq!(list.to_string().matches("\"serial\"").count(), 1, "{list}");
    assert_eq!(site.counted("simpleenroll", "refused"), 19);
}

#[test]
fn request_is_taken_in_every_form() {
    let Some(site) = Site::new() else { return };
    site.request("pump-7", "/CN=pump-7");
    let base64 = fs::read_to_string(site.gateway.path("pump-7.b64")).expect("a file");
    let one_line: String = base64.lines().collect();
    fs::write(site.gateway.path("pump-7.one"), one_line).expect("write");
    fs::write(
        site.gateway.path("pump-7.crlf"),
        base64.replace('\n', "\r\n"),
    )
    .expect("write");
    for form in ["der", "csr", "one", "crlf"] {
        let user = format!("pump-7:{}", site.token("pump-7"));
        site.enrol(&user, &format!("pump-7.{form}")).expect(200, "");
    }
    // Without a name of its own it gets that of the token.
    site.request("unnamed", "/O=Plant");
    let user = format!("fan:{}", site.token("fan"));
    let answered = site.enrol(&user, "unnamed.b64").expect(200, "");
    assert!(site.certificates(&answered).contains("CN = fan"));
}

#[test]
fn whoever_may_not_enrol_is_told_what_to_do() {
    let Some(site) = Site::new() else { return };
    site.request("pump-7", "/CN=pump-7");
    let token = site.token("pump-7");
    let url = site.est("simpleenroll");
    let post = |args: &[&str]| {
        let mut all = vec!["-H", REQUEST, "--data-binary", "@pump-7.b64"];
        all.extend(args);
        all.push(&url);
        site.curl(&all)
    };
    post(&[])
        .expect(401, "token")
        .expect_header("www-authenticate: basic realm");
    post(&["-H", "Authorization: Bearer x"]).expect(401, "Basic");
    post(&["--user", "pump-7:wrong"]).expect(401, "token is wrong");
    post(&["--user", &format!("fan:{token}")]).expect(403, "own name");
    site.request("fan", "/CN=fan");
    site.enrol(&format!("fan:{token}"), "fan.b64")
        .expect(403, "own name");
    let san = [
        "req",
        "-new",
        "-key",
        "pump-7.key",
        "-subj",
        "/CN=pump-7",
        "-addext",
    ];
    let mut args = san.to_vec();
    args.extend(["subjectAltName=DNS:fan", "-out", "named.csr"]);
    site.openssl(&args);
    let user = format!("pump-7:{token}");
    site.enrol(&user, "named.csr")
        .expect(403, "alternative name");
    fs::write(site.gateway.path("garbage"), [0xff; 500]).expect("write");
    fs::write(site.gateway.path("large"), [b'A'; 70_000]).expect("write");
    fs::write(site.gateway.path("empty"), "").expect("write");
    site.enrol(&user, "garbage").expect(400, "PKCS#10");
    site.enrol(&user, "empty").expect(400, "PKCS#10");
    site.enrol(&user, "large").expect(413, "longer");
    let plain = ["--user", &user, "--data-binary", "@pump-7.b64", &url];
    site.curl(&plain).expect(415, "application/pkcs10");
    site.curl(&["--user", &user, &url])
        .expect(405, "POST")
        .expect_header("allow: POST");
    let cacerts = site.est("cacerts");
    let posted = site.curl(&["--data", "x", &cacerts]).expect(405, "GET");
    posted.expect_header("allow: GET, HEAD");
    let head = site.curl(&["--head", &cacerts]).expect(200, "");
    assert!(head.body.is_empty());
    for path in ["serverkeygen", "label/cacerts", ""] {
        site.curl(&[&site.est(path)]).expect(404, "cacerts");
    }
    site.await_audit("enrolment-refused", "pump-7", "token is not good");
    site.await_audit("enrolment-refused", "fan", "own name");
    let log = site.gateway.log();
    assert!(!log.contains(&token), "no token is written down");
    // All the while the token was not used up.
    site.enrol(&user, "pump-7.b64").expect(200, "");
}

#[test]
fn whoever_asks_too_often_waits() {
    let config = format!("{PORT}{EST}attempts_per_address_max = 3\n{NEVER_BANNED}");
    let Some(site) = Site::with(&config) else {
        return;
    };
    site.request("pump-7", "/CN=pump-7");
    for _ in 0..3 {
        site.enrol("pump-7:wrong", "pump-7.b64").expect(401, "");
    }
    let user = format!("pump-7:{}", site.token("pump-7"));
    site.enrol(&user, "pump-7.b64")
        .expect(429, "later")
        .expect_header("retry-after:");
    site.curl(&[&site.est("cacerts")]).expect(200, "");
    let (url, other) = (site.est("simpleenroll"), ["--interface", "127.0.0.9"]);
    let mut args = other.to_vec();
    args.extend([
        "--user",
        &user,
        "-H",
        REQUEST,
        "--data-binary",
        "@pump-7.b64",
        &url,
    ]);
    site.curl(&args).expect(200, "");
    assert_eq!(site.counted("simpleenroll", "limited"), 1);
}

#[test]
fn whoever_guesses_is_banned_as_on_every_port() {
    let config = format!("{PORT}{EST}[protection]\nfailures_per_address_max = 3\n");
    let Some(site) = Site::with(&config) else {
        return;
    };
    site.request("pump-7", "/CN=pump-7");
    for _ in 0..3 {
        site.enrol("pump-7:wrong", "pump-7.b64").expect(401, "");
    }
    let (url, port) = (site.est("cacerts"), site.gateway.address());
    let output = site.in_folder("curl", &["-sS", "--cacert", "ca.pem", &url]);
    assert!(!output.status.success() && output.stdout.is_empty());
    let mut port = TcpStream::connect(port).expect("a connection");
    assert_eq!(
        port.read(&mut [0; 1]).unwrap_or(0),
        0,
        "closed without a word"
    );
    site.await_audit("ban", "127.0.0.1", "for");
    site.fine(&["audit", "unban", "127.0.0.1"]);
    site.curl(&[&url]).expect(200, "");
}

#[test]
fn user_enrols_with_a_password_where_that_is_allowed() {
    let config = format!("{PORT}{EST}users = true\n{NEVER_BANNED}");
    let Some(site) = Site::with(&config) else {
        return;
    };
    add_user(&site.gateway.path("state"), "anna", &["--attr", "floor=1"]);
    site.request("anna", "/CN=anna");
    site.request("pump-7", "/CN=pump-7");
    let user = format!("anna:{PASSWORD}");
    let answered = site.enrol(&user, "anna.b64").expect(200, "");
    site.keep("anna", &answered);
    assert!(site.connects("anna"));
    let list = site.fine(&["ca", "list", "--json"]);
    assert!(list.contains("floor"), "{list}");
    site.enrol(&user, "pump-7.b64").expect(403, "own name");
    site.enrol("anna:wrong", "anna.b64").expect(401, "");
    site.enrol("nobody:wrong", "anna.b64")
        .expect(403, "own name");
    site.await_audit("enrolment-accepted", "anna", "by password");
    site.await_audit("enrolment-refused", "anna", "password is wrong");
    let with_token = format!("pump-7:{}", site.token("pump-7"));
    site.enrol(&with_token, "pump-7.b64").expect(200, "");
    // Where only tokens are good, the right password is as wrong as any other.
    site.gateway.write_config(&format!(
        "{PORT}{EST}{NEVER_BANNED}[admin]\nhttp = \"off\"\n"
    ));
    reload(&site.gateway);
    site.enrol(&user, "anna.b64").expect(401, "token");
}

#[test]
fn everybody_gets_the_root_and_nothing_else_without_tls() {
    let Some(site) = Site::new() else { return };
    let root = site.fine(&["ca", "export-root"]);
    let plain = format!("http://{}", site.door("http"));
    let secure = format!("https://{}", site.door("https"));
    for base in [&plain, &secure] {
        let pem = site
            .curl(&[&format!("{base}/ca.crt")])
            .expect(200, "BEGIN CERTIFICATE")
            .expect_header("content-type: application/x-x509-ca-cert");
        assert_eq!(pem.text().trim(), root.trim());
        let der = site
            .curl(&[&format!("{base}/ca.der")])
            .expect(200, "")
            .expect_header("content-type: application/x-x509-ca-cert");
        fs::write(site.gateway.path("root.der"), &der.body).expect("write");
        let pem = site.openssl(&["x509", "-inform", "DER", "-in", "root.der"]);
        assert!(root.contains(pem.lines().nth(3).expect("a line")));
        let list = site.curl(&[&format!("{base}/crl.pem")]).expect(200, "");
        list.expect(200, "BEGIN X509 CRL")
            .expect_header("content-type: application/x-pem-file");
        let head = site
            .curl(&["--head", &format!("{base}/ca.crt")])
            .expect(200, "");
        assert!(head.body.is_empty());
    }
    for path in [
        "/.well-known/est/cacerts",
        "/.well-known/est/simpleenroll",
        "/",
        "/metrics",
    ] {
        site.curl(&[&format!("{plain}{path}")])
            .expect(404, "/ca.crt");
    }
    site.curl(&["--data", "x", &format!("{plain}/ca.crt")])
        .expect(405, "GET");
    let said = site.fine(&["status"]);
    assert!(said.contains(&secure) && said.contains(&plain), "{said}");
}

#[test]
fn without_an_authority_there_is_nothing_to_give_yet() {
    let config = format!("{PORT}[est]\nhttp = \"127.0.0.1:0\"\n{NEVER_BANNED}");
    let Some(site) = Site::without_authority(&config) else {
        return;
    };
    let plain = format!("http://{}", site.door("http"));
    for path in ["ca.crt", "ca.der", "crl.pem"] {
        site.curl(&[&format!("{plain}/{path}")])
            .expect(503, "no certificate authority yet")
            .expect_header("retry-after:");
    }
    site.fine(&["ca", "init", "--name", "gateway-7"]);
    for path in ["ca.crt", "ca.der", "crl.pem"] {
        site.curl(&[&format!("{plain}/{path}")]).expect(200, "");
    }
}

#[test]
fn nothing_but_two_addresses_has_to_be_written() {
    let manual = "{ mode = \"Manual\", cert = \"{dir}/server.crt\", key = \"{dir}/server.key\" }";
    let port = PORT.replace(manual, "{ mode = \"Automatic\" }");
    let est = "[est]\nhttps = \"127.0.0.1:0\"\nhttp = \"127.0.0.1:0\"\n";
    let Some(mut site) = Site::with(&format!("{port}{est}")) else {
        return;
    };
    let root = site.curl(&[&format!("http://{}/ca.crt", site.door("http"))]);
    fs::write(site.gateway.path("ca.pem"), &root.body).expect("write");
    site.root = root.text();
    // The gateway proves itself to everybody who trusts its root.
    site.enrolled("pump-7");
    let port = site.door("https").port();
    let url = format!("https://localhost:{port}/.well-known/est/cacerts");
    site.curl(&[&url]).expect(200, "");
    site.request("next", "/CN=pump-7");
    let answered = site.again("pump-7", "next").expect(200, "");
    site.keep("next", &answered);
    assert!(site.connects("pump-7") && site.connects("next"));
}

#[test]
fn reload_moves_the_addresses() {
    let Some(site) = Site::new() else { return };
    let (https, http) = (site.door("https"), site.door("http"));
    let admin = "[admin]\nhttp = \"off\"\n";
    let moved = EST.replace("127.0.0.1:0", "127.0.0.2:0");
    site.gateway
        .write_config(&format!("{PORT}{moved}{NEVER_BANNED}{admin}"));
    reload(&site.gateway);
    site.gateway.await_status(|status| {
        let address = status["est"]["https"]["address"].as_str()?;
        address.starts_with("127.0.0.2:").then_some(())
    });
    site.curl(&[&site.est("cacerts")]).expect(200, "");
    for former in [https, http] {
        let end = Instant::now() + SOON;
        while TcpStream::connect(former).is_ok() {
            assert!(Instant::now() < end, "{former} is closed");
        }
    }
    // One that is taken is said and tried again.
    let taken = std::net::TcpListener::bind("127.0.0.3:0").expect("a port");
    let address = taken.local_addr().expect("its number").to_string();
    let moved = EST.replacen("127.0.0.1:0", &address, 1);
    site.gateway
        .write_config(&format!("{PORT}{moved}{NEVER_BANNED}{admin}"));
    reload(&site.gateway);
    let alarm = site.gateway.await_status(|status| {
        let alarms = status["alarms"].as_array()?;
        let found = alarms.iter().find(|alarm| alarm["name"] == "est-waiting")?;
        found["text"].as_str().map(str::to_owned)
    });
    assert!(alarm.contains(&address), "{alarm}");
    assert!(site.fine(&["status"]).contains("awaiting address"));
    drop(taken);
    assert_eq!(site.door("https").to_string(), address);
    site.gateway
        .write_config(&format!("{PORT}{NEVER_BANNED}{admin}"));
    reload(&site.gateway);
    site.gateway.await_status(|status| {
        let is_off = |door: &str| status["est"][door]["state"] == "off";
        (is_off("https") && is_off("http")).then_some(())
    });
}

/// Sends bytes without TLS and reads until the end.
fn raw(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    // The server may have had enough before everything is sent.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said);
    said
}

#[test]
fn strangers_bytes_change_nothing() {
    let Some(site) = Site::new() else { return };
    let (https, http) = (site.door("https"), site.door("http"));
    // Without TLS there is no HTTP on the one, and none but its own on the other.
    assert!(answered(&raw(https, b"GET /ca.crt HTTP/1.1\r\nHost: x\r\n\r\n")).is_none());
    for garbage in [
        &[0_u8; 3000][..],
        &[0xff; 3000],
        b"\r\n\r\n",
        b"GET",
        &[0x16, 3, 1, 255, 255],
    ] {
        raw(https, garbage);
        let said = raw(http, garbage);
        assert!(
            answered(&said).is_none_or(|it| it.status == 400),
            "{said:?}"
        );
    }
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(20_000));
    let said = answered(&raw(http, long.as_bytes()));
    assert!(said.is_none_or(|it| matches!(it.status, 414 | 431)));
    let many = format!(
        "GET / HTTP/1.1\r\nHost: x\r\n{}\r\n",
        "X: y\r\n".repeat(200)
    );
    let said = answered(&raw(http, many.as_bytes()));
    assert!(said.is_none_or(|it| it.status == 431));
    // One connection has one answer, however many requests come behind each other.
    let request = "GET /ca.crt HTTP/1.1\r\nHost: x\r\n\r\n";
    let said = String::from_utf8_lossy(&raw(http, request.repeat(50).as_bytes())).into_owned();
    assert_eq!(said.matches("HTTP/1.1 200").count(), 1, "{said}");
    // A body that says to be longer than it is, and one in pieces without end.
    let promised = b"POST /ca.crt HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999\r\n\r\nabc";
    assert_eq!(
        answered(&raw(http, promised)).expect("an answer").status,
        405
    );
    let mut pieces =
        b"POST /ca.crt HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    pieces.extend(
        b"1000\r\n"
            .iter()
            .chain(&[b'a'; 0x1000])
            .chain(b"\r\n")
            .copied()
            .cycle()
            .take(3 << 20),
    );
    raw(http, &pieces);
    site.curl(&[&site.url("ca.crt")]).expect(200, "BEGIN");
}

#[test]
fn whoever_says_nothing_keeps_nobody_else_out() {
    let config = format!("{PORT}{EST}connections_max = 8\n{NEVER_BANNED}");
    let Some(site) = Site::with(&config) else {
        return;
    };
    let address = site.door("https");
    // One address gets half of the connections, however many it opens.
    let silent: Vec<TcpStream> = (0..30)
        .map(|_| TcpStream::connect(address).expect("a connection"))
        .collect();
    let url = site.est("cacerts");
    site.curl(&["--interface", "127.0.0.9", &url])
        .expect(200, "");
    // Those that are let in are closed after a while, and then the address is served again.
    let end = Instant::now() + 3 * SOON;
    loop {
        let output = site.in_folder("curl", &["-sS", "-i", "--cacert", "ca.pem", &url]);
        if answered(&output.stdout).is_some_and(|it| it.status == 200) {
            break;
        }
        assert!(Instant::now() < end, "the connections are closed");
    }
    drop(silent);
}
