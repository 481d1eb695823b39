//! What the tests of this module share: an authority that issues certificates, and clients.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
    DistinguishedName, DnType, IsCa, Issuer, KeyIdMethod, KeyPair, PKCS_ECDSA_P256_SHA256,
    PKCS_ED25519, RevokedCertParams, SerialNumber, SignatureAlgorithm, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::{TlsMode, TlsSettings, TlsVersion};

pub(crate) static ECDSA: &SignatureAlgorithm = &PKCS_ECDSA_P256_SHA256;
pub(crate) static ED25519: &SignatureAlgorithm = &PKCS_ED25519;

/// A certificate authority.
pub(crate) struct Authority(pub(crate) CertifiedIssuer<'static, KeyPair>);

/// A certificate that an authority issued.
pub(crate) struct Issued {
    pub(crate) cert: String,
    pub(crate) key: String,
}

/// The begin of every certificate of the tests.
pub(crate) fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

impl Authority {
    pub(crate) fn new(name: &str, algorithm: &'static SignatureAlgorithm) -> Self {
        let key = KeyPair::generate_for(algorithm).unwrap();
        Self(CertifiedIssuer::self_signed(authority_params(name), key).unwrap())
    }

    /// An authority below this one.
    pub(crate) fn below(&self, name: &str, algorithm: &'static SignatureAlgorithm) -> Self {
        let key = KeyPair::generate_for(algorithm).unwrap();
        Self(CertifiedIssuer::signed_by(authority_params(name), key, self.issuer()).unwrap())
    }

    fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.0
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn issue(&self, name: &str) -> Issued {
        self.issue_with(params(name), ECDSA)
    }

    pub(crate) fn issue_with(
        &self,
        params: CertificateParams,
        algorithm: &'static SignatureAlgorithm,
    ) -> Issued {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let cert = params.signed_by(&key, self.issuer()).unwrap();
        Issued {
            cert: cert.pem(),
            key: key.serialize_pem(),
        }
    }

    /// A revocation list that names these certificates.
    pub(crate) fn revoke(&self, revoked: &[&Issued]) -> String {
        let serial = |issued: &&Issued| {
            let der = CertificateDer::from_pem_slice(issued.cert.as_bytes()).unwrap();
            let (_, certificate) = x509_parser::parse_x509_certificate(&der).unwrap();
            SerialNumber::from_slice(certificate.raw_serial())
        };
        let revoked = revoked.iter().map(|issued| RevokedCertParams {
            serial_number: serial(issued),
            revocation_time: date_time_ymd(2026, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 1, 1),
            next_update: date_time_ymd(4000, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(self.issuer()).unwrap().pem().unwrap()
    }

    /// A client that trusts this authority.
    pub(crate) fn connector(
        &self,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from(self.0.der().to_vec()))
            .unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        TlsConnector::from(Arc::new(config))
    }
}

/// Completes a handshake as a client that calls the server `localhost`.
pub(crate) async fn connect_tls(
    connector: &TlsConnector,
    socket: TcpStream,
) -> std::io::Result<TlsStream<TcpStream>> {
    connector
        .connect("localhost".try_into().unwrap(), socket)
        .await
}

/// A folder with `server.crt` and `server.key`.
pub(crate) struct Files(pub(crate) tempfile::TempDir);

impl Files {
    pub(crate) fn empty() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn with(cert: &str, key: &str) -> Self {
        let files = Self::empty();
        files.write(cert, key);
        files
    }

    pub(crate) fn write(&self, cert: &str, key: &str) {
        std::fs::write(self.key(), key).unwrap();
        std::fs::write(self.cert(), cert).unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn cert(&self) -> PathBuf {
        self.path().join("server.crt")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.path().join("server.key")
    }

    pub(crate) fn settings(&self) -> TlsSettings {
        TlsSettings {
            mode: TlsMode::Manual {
                cert: self.cert(),
                key: self.key(),
            },
            min_version: TlsVersion::V1_2,
        }
    }
}

/// A socket pair over the loopback: the server's end and the client's.
pub(crate) async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    (accepted.unwrap().0, client.unwrap())
}

/// Byte strings that have nothing to do with any protocol, or begin like it; the same ones in every run.
pub(crate) fn noise(begins: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..20_000)
        .map(|_| {
            let begin = begins[next() as usize % begins.len()];
            let mut bytes = begin[..next() as usize % (begin.len() + 1)].to_vec();
            let len = next() as usize % 64;
            bytes.extend((0..len).map(|_| next() as u8));
            bytes
        })
        .collect()
}
