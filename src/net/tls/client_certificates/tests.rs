use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use rcgen::{CertificateParams, date_time_ymd};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use super::*;
use crate::ca::DeviceAuthority;
use crate::config::{CertificateIdentity, TrustSource, X509Settings};
use crate::net::socket::Socket;
use crate::net::testing::{Authority, ECDSA, Files, Issued, connect_tls, params, tcp_pair};
use crate::net::tls::{CertificateSource, CertificateStore, TlsStream};

type Client = tokio_rustls::client::TlsStream<tokio::net::TcpStream>;

struct Server {
    authority: Authority,
    files: Files,
    store: CertificateStore,
    /// A source that nobody has is forgotten, with its tickets.
    sources: Mutex<Vec<Arc<CertificateSource>>>,
}

impl Server {
    fn new() -> Self {
        let authority = Authority::new("root", ECDSA);
        let leaf = authority.issue("gw");
        let files = Files::with(&leaf.cert, &leaf.key);
        std::fs::write(files.path().join("ca.pem"), authority.pem()).unwrap();
        std::fs::create_dir(files.path().join("lists")).unwrap();
        Self {
            authority,
            files,
            store: CertificateStore::new(Arc::new(DeviceAuthority::none(Path::new("/nowhere")))),
            sources: Mutex::default(),
        }
    }

    /// A folder, which may be empty: a file that is named has to be there.
    fn lists(&self) -> PathBuf {
        self.files.path().join("lists")
    }

    fn trust(&self) -> Arc<ClientTrust> {
        let settings = X509Settings {
            trust: vec![TrustSource::Path(self.files.path().join("ca.pem"))],
            crls: vec![self.lists()],
            identity: CertificateIdentity::CommonName,
            attributes: Vec::new(),
        };
        Arc::new(ClientTrust::new(&settings, Path::new("/nowhere")))
    }

    /// What both ends of a handshake say, after the client has tried to read.
    async fn shake(
        &self,
        trust: Option<&Arc<ClientTrust>>,
        connector: &TlsConnector,
    ) -> (io::Result<Box<TlsStream>>, io::Result<Client>) {
        let source = self
            .store
            .open("a", &self.files.settings(), trust.cloned())
            .await;
        self.sources.lock().unwrap().push(Arc::clone(&source));
        let (accepted, socket) = tcp_pair().await;
        let server = async {
            let mut stream =
                TlsStream::accept(Socket::Tcp(accepted), source.config().unwrap()).await?;
            stream.write_all(b"!").await?;
            stream.flush().await?;
            Ok(stream)
        };
        let client = async {
            let mut client = connect_tls(connector, socket).await?;
            // In TLS 1.3 the client hears only now what became of its certificate.
            client.read_exact(&mut [0]).await?;
            Ok(client)
        };
        let both = async { tokio::join!(server, client) };
        tokio::time::timeout(Duration::from_secs(20), both)
            .await
            .expect("a handshake has an end")
    }

    fn connector(
        &self,
        version: &'static SupportedProtocolVersion,
        identity: Option<&Issued>,
    ) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(self.authority.pem().as_bytes()).unwrap();
        roots.add(root).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots);
        let config = match identity {
            Some(Issued { cert, key }) => {
                let chain = CertificateDer::pem_slice_iter(cert.as_bytes());
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                let chain = chain.map(Result::unwrap).collect();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        TlsConnector::from(Arc::new(config))
    }
}

fn alert(result: io::Result<Client>) -> AlertDescription {
    let error = result.unwrap_err();
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(Error::AlertReceived(alert)) => *alert,
        other => panic!("{error}: {other:?}"),
    }
}

fn until(year: i32) -> CertificateParams {
    let mut params = params("press-1");
    params.not_after = date_time_ymd(year, 1, 1);
    params
}

#[tokio::test]
async fn clients_with_a_trusted_certificate_and_with_none_are_let_through() {
    let server = Server::new();
    let trust = server.trust();
    let press = server.authority.issue("press-1");
    for version in [&TLS12, &TLS13] {
        let connector = server.connector(version, Some(&press));
        let (stream, client) = server.shake(Some(&trust), &connector).await;
        client.unwrap();
        let certificates = stream.unwrap().peer().certificates;
        let presented = CertificateDer::from_pem_slice(press.cert.as_bytes()).unwrap();
        assert_eq!(certificates, [Box::from(&presented[..])]);

        let connector = server.connector(version, None);
        let (stream, client) = server.shake(Some(&trust), &connector).await;
        client.unwrap();
        assert!(stream.unwrap().peer().certificates.is_empty());
    }
}

#[tokio::test]
async fn a_bad_certificate_ends_the_handshake_with_its_alert_and_the_journal_hears_whose_it_was() {
    let server = Server::new();
    let trust = server.trust();
    let revoked = server.authority.issue("press-1");
    let list = server.authority.revoke(&[&revoked]);
    std::fs::write(server.lists().join("crl.pem"), list).unwrap();
    for (identity, wanted, said) in [
        (
            Authority::new("other", ECDSA).issue("press-1"),
            AlertDescription::UnknownCA,
            "was issued by nobody who is trusted",
        ),
        (
            server.authority.issue_with(until(2020), ECDSA),
            AlertDescription::CertificateExpired,
            "has expired",
        ),
        (
            revoked,
            AlertDescription::CertificateRevoked,
            "has been revoked",
        ),
        (
            Authority::new("root", ECDSA).issue("press-1"),
            AlertDescription::DecryptError,
            "has a wrong signature",
        ),
    ] {
        for version in [&TLS12, &TLS13] {
            let connector = server.connector(version, Some(&identity));
            let (stream, client) = server.shake(Some(&trust), &connector).await;
            assert_eq!(alert(client), wanted);
            let error = stream.unwrap_err().to_string();
            assert!(error.contains("\"CN=press-1\""), "{error}");
            assert!(error.contains(said), "{error}");
        }
    }
}

#[tokio::test]
async fn a_port_that_asks_nobody_does_not_see_certificates() {
    let server = Server::new();
    let foreign = Authority::new("other", ECDSA).issue("press-1");
    let connector = server.connector(&TLS13, Some(&foreign));
    let (stream, client) = server.shake(None, &connector).await;
    client.unwrap();
    assert!(stream.unwrap().peer().certificates.is_empty());
}

#[tokio::test]
async fn a_resumed_handshake_brings_the_certificate_and_only_where_it_was_shown() {
    let server = Server::new();
    let (trust, other) = (server.trust(), server.trust());
    let press = server.authority.issue("press-1");
    for version in [&TLS12, &TLS13] {
        let connector = server.connector(version, Some(&press));
        let shake = async |trust| {
            let (stream, client) = server.shake(trust, &connector).await;
            client.unwrap();
            stream.unwrap().peer()
        };
        assert!(!shake(Some(&trust)).await.resumed);
        let again = shake(Some(&trust)).await;
        assert!(again.resumed && again.certificates.len() == 1, "{again:?}");
        assert!(!shake(Some(&other)).await.resumed);
        assert!(!shake(None).await.resumed);
    }
}

#[tokio::test]
async fn changed_files_count_for_the_next_handshake() {
    let server = Server::new();
    let trust = server.trust();
    let other = Authority::new("other", ECDSA);
    let connector = server.connector(&TLS13, Some(&other.issue("press-1")));
    let (_, client) = server.shake(Some(&trust), &connector).await;
    assert_eq!(alert(client), AlertDescription::UnknownCA);
    let both = [server.authority.pem(), other.pem()].concat();
    std::fs::write(server.files.path().join("ca.pem"), both).unwrap();
    let mut changed = trust.subscribe();
    changed.mark_unchanged();
    let watched = async {
        tokio::select! {
            () = server.store.run() => {}
            outcome = changed.changed() => outcome.unwrap(),
        }
    };
    tokio::time::timeout(Duration::from_secs(20), watched)
        .await
        .expect("a change is noticed");
    let (stream, client) = server.shake(Some(&trust), &connector).await;
    client.unwrap();
    assert_eq!(stream.unwrap().peer().certificates.len(), 1);
}
