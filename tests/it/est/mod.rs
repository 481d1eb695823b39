//! Enrolment over the network by curl and openssl, and everything that a stranger may try.

mod devices;
mod strangers;

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
const SOON: Duration = Duration::from_secs(30);

/// A gateway that enrols, and a folder of files beside it.
pub(crate) struct Site {
    pub(crate) gateway: TestGateway,
    /// What clients trust when they connect.
    root: String,
}

/// What a server has answered.
#[derive(Debug)]
pub(crate) struct Answered {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answered {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn expect(self, status: u16, word: &str) -> Self {
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

    /// With a gateway that runs and has its certificate from itself. `None` where the tools are not installed.
    pub(crate) fn of(gateway: TestGateway) -> Option<Self> {
        find_tools()?;
        let mut site = Self {
            gateway,
            root: String::new(),
        };
        site.root = site.fine(&["ca", "export-root"]);
        fs::write(site.gateway.path("ca.pem"), &site.root).expect("write");
        Some(site)
    }

    fn without_authority(config: &str) -> Option<Self> {
        find_tools()?;
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
    pub(crate) fn request(&self, name: &str, subject: &str) {
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
    pub(crate) fn enrolled(&self, name: &str) {
        self.request(name, &format!("/CN={name}"));
        let user = format!("{name}:{}", self.token(name));
        let answered = self.enrol(&user, &format!("{name}.b64")).expect(200, "");
        self.keep(name, &answered);
    }

    #[track_caller]
    pub(crate) fn keep(&self, name: &str, answered: &Answered) {
        let own = self.certificates(answered);
        assert_eq!(own.matches("BEGIN CERTIFICATE").count(), 1, "{own}");
        let issuers = self.curl(&[&self.est("cacerts")]).expect(200, "");
        let chain = format!("{own}{}", self.certificates(&issuers));
        fs::write(self.gateway.path(&format!("{name}.crt")), chain).expect("write");
    }

    pub(crate) fn again(&self, certificate: &str, file: &str) -> Answered {
        let (url, data) = (self.est("simplereenroll"), format!("@{file}.b64"));
        let (crt, key) = (format!("{certificate}.crt"), format!("{certificate}.key"));
        let data = ["-H", REQUEST, "--data-binary", &data, &url];
        let mut args = vec!["--cert", &crt, "--key", &key];
        args.extend(data);
        self.curl(&args)
    }

    /// Whether a certificate is refused in the handshake.
    fn hears_an_alert(&self, certificate: &str) -> bool {
        let (crt, key) = (format!("{certificate}.crt"), format!("{certificate}.key"));
        let url = self.est("simplereenroll");
        let mut args = vec!["-sS", "-i", "--cacert", "ca.pem", "--data", "x"];
        args.extend(["--cert", &crt, "--key", &key, &url]);
        let output = self.in_folder("curl", &args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        output.stdout.is_empty() && said.contains("alert")
    }

    fn serial(&self, name: &str) -> String {
        let file = format!("{name}.crt");
        let said = self.openssl(&["x509", "-in", &file, "-noout", "-serial"]);
        said.trim().replace("serial=", "")
    }

    /// Whether the port takes the certificate.
    pub(crate) fn connects(&self, name: &str) -> bool {
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
    pub(crate) fn await_audit(&self, kind: &str, subject: &str, word: &str) {
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

fn find_tools() -> Option<()> {
    for tool in ["curl", "openssl"] {
        Command::new(tool).arg("version").output().ok()?;
    }
    Some(())
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
