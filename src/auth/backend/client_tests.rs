use std::collections::BTreeMap;
use std::fs;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use tempfile::TempDir;

use super::super::testing::{self, Seen, Server};
use super::*;

fn question() -> Request {
    let mut headers = HeaderMap::new();
    headers.insert("x-own", HeaderValue::from_static("ours"));
    Request {
        method: Method::POST,
        path: "/a?b=c".to_owned(),
        headers,
        body: Bytes::from_static(b"body"),
    }
}

fn yes(_: &Seen) -> (u16, String) {
    (200, "yes".to_owned())
}

/// An authority, and a server and a client with certificates of it.
struct Pki {
    dir: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { dir, issuer }
    }

    fn leaf(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    fn server(&self, asks_for_certificate: bool) -> ServerConfig {
        let provider = Arc::new(default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match asks_for_certificate {
            true => {
                let mut roots = rustls::RootCertStore::empty();
                roots.add(self.issuer.der().clone()).unwrap();
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
            false => builder.with_no_client_auth(),
        };
        let (certificate, key) = self.leaf("localhost");
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        builder
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap()
    }

    fn settings(&self, port: u16) -> HttpServer {
        HttpServer {
            ca: Some(self.dir.path().join("ca.pem")),
            ..testing::server("localhost", port, true)
        }
    }
}

#[tokio::test]
async fn a_question_comes_as_it_was_meant_and_connections_are_kept() {
    let server = Server::start(yes).await;
    let client = HttpClient::new(&server.settings());
    for _ in 0..3 {
        let reply = client.send(&question()).await.unwrap();
        assert_eq!((reply.status.as_u16(), &*reply.body), (200, &b"yes"[..]));
    }
    let seen = server.seen();
    assert_eq!(seen[0].line, "POST /a?b=c");
    assert_eq!(seen[0].body, "body");
    assert_eq!(
        seen[0].headers["host"],
        format!("127.0.0.1:{}", server.port)
    );
    assert!(
        seen[0].headers["user-agent"]
            .to_str()
            .unwrap()
            .starts_with("fieldgate/")
    );
    assert!(!seen[0].headers.contains_key("expect"));
    assert_eq!(
        seen[2].connection, 0,
        "the third question needs no new connection"
    );
}

#[tokio::test]
async fn header_fields_of_the_settings_hold_and_are_read_again() {
    let server = Server::start(yes).await;
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    fs::write(&secret, "Basic one\nsecond line\n").unwrap();
    let client = HttpClient::new(&HttpServer {
        headers: BTreeMap::from([
            ("Host".into(), Configured::Text("auth-server".into())),
            ("X-Own".into(), Configured::Text("theirs".into())),
            ("Authorization".into(), Configured::File(secret.clone())),
        ]),
        ..server.settings()
    });
    client.send(&question()).await.unwrap();
    fs::write(&secret, "Basic two").unwrap();
    client.send(&question()).await.unwrap();
    fs::remove_file(&secret).unwrap();
    let fault = client.send(&question()).await.err().unwrap();
    assert!(matches!(fault, Fault::Setup(_)), "{fault}");
    let seen = server.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].headers["host"], "auth-server");
    assert_eq!(seen[0].headers["x-own"], "theirs");
    assert_eq!(seen[0].headers["authorization"], "Basic one");
    assert_eq!(seen[1].headers["authorization"], "Basic two");
}

#[tokio::test]
async fn errors_of_the_server_and_long_answers_are_faults() {
    let server = Server::start(|seen| match &*seen.line {
        "GET /503" => (503, String::new()),
        "GET /301" => (301, String::new()),
        _ => (200, "x".repeat(BACKEND_ANSWER_BYTES_MAX + 1)),
    })
    .await;
    let client = HttpClient::new(&server.settings());
    let get = |path: &str| Request {
        method: Method::GET,
        path: path.to_owned(),
        ..question()
    };
    assert_eq!(
        client.send(&get("/503")).await.err(),
        Some(Fault::Status(503))
    );
    let moved = client.send(&get("/301")).await.unwrap();
    assert_eq!(moved.status.as_u16(), 301, "nobody follows");
    let long = client.send(&get("/long")).await.err();
    assert_eq!(long, Some(Fault::Answer("more than 64 KiB")));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unreachable() {
    let port = Server::start(yes).await.port;
    let client = HttpClient::new(&testing::server("127.0.0.1", port, false));
    let fault = client.send(&question()).await.err().unwrap();
    assert!(matches!(&fault, Fault::Unreachable(_)), "{fault}");
}

#[tokio::test]
async fn a_server_proves_who_it_is_by_the_authority_of_the_settings() {
    let (ours, strange) = (Pki::new(), Pki::new());
    let server = Server::start_with(Some(ours.server(false)), yes).await;
    let client = HttpClient::new(&ours.settings(server.port));
    assert!(client.send(&question()).await.is_ok());
    let client = HttpClient::new(&strange.settings(server.port));
    let fault = client.send(&question()).await.err().unwrap();
    assert!(fault.to_string().contains("certificate"), "{fault}");
    let other_name = HttpServer {
        url: testing::server("127.0.0.1", server.port, true).url,
        ..ours.settings(server.port)
    };
    let client = HttpClient::new(&other_name);
    assert!(client.send(&question()).await.is_err(), "another name");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn changed_files_are_used_and_useless_ones_are_not() {
    let pki = Pki::new();
    let server = Server::start_with(Some(pki.server(true)), yes).await;
    let (chain, key) = (pki.dir.path().join("c.pem"), pki.dir.path().join("k.pem"));
    let settings = HttpServer {
        client_certificate: Some((chain.clone(), key.clone())),
        ..pki.settings(server.port)
    };
    let client = HttpClient::new(&settings);
    let fault = client.send(&question()).await.err().unwrap();
    assert!(
        matches!(fault, Fault::Setup(_)),
        "no certificate yet: {fault}"
    );
    let put = |(certificate, pair): (rcgen::Certificate, KeyPair)| {
        fs::write(&chain, certificate.pem()).unwrap();
        fs::write(&key, pair.serialize_pem()).unwrap();
    };
    put(pki.leaf("gateway"));
    assert!(client.send(&question()).await.is_ok(), "it has come");
    put(Pki::new().leaf("gateway"));
    assert!(
        client.send(&question()).await.is_err(),
        "of a strange authority"
    );
    put(pki.leaf("gateway"));
    assert!(client.send(&question()).await.is_ok());
    fs::write(&chain, "nothing").unwrap();
    assert!(
        client.send(&question()).await.is_ok(),
        "what worked is kept"
    );
}

#[test]
fn addresses_of_version_6_stand_in_brackets() {
    let text = |host| origin(&testing::server(host, 443, true).url);
    assert_eq!(text("::1"), "https://[::1]:443");
    assert_eq!(text("a.example"), "https://a.example:443");
}
