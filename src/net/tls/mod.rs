//! TLS 1.2 and 1.3 for ports, from PEM files that may come late and may change.
//!
//! * `certificate`: reads and checks a chain and its key.
//! * `client_certificates`: asks clients for theirs, on ports that want them.
//! * `machine`: what this machine is called.
//! * `source`: the certificates of all ports, loaded when they appear and swapped when they change.
//! * `watch`: says when something in a folder may have changed.
//! * `stream`: the record layer over a socket.

mod certificate;
mod client_certificates;
mod machine;
mod source;
mod stream;
mod watch;

use std::path::Path;
use std::sync::{Arc, LazyLock};

use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::sign::SingleCertAndKey;
use rustls::{CipherSuite, ServerConfig};

pub use certificate::{CertificateFault, CertificateSummary, fingerprint};
pub(crate) use source::{CertificateSource, CertificateStore, SourceState};
pub(crate) use stream::TlsStream;

use crate::auth::ClientTrust;
use crate::config::TlsVersion;
use certificate::Identity;
use client_certificates::ClientCertificates;

/// The one crypto provider, passed explicitly wherever it is needed.
static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    let mut provider = ring::default_provider();
    provider
        .cipher_suites
        .sort_by_key(|suite| cost(suite.suite(), has_aes()));
    Arc::new(provider)
});

/// Place of a cipher suite in our order of preference. All of them are safe; this machine is the one that serves many.
fn cost(suite: CipherSuite, has_aes: bool) -> u8 {
    let name = suite.as_str().unwrap_or_default();
    let costs = match has_aes {
        true => [("AES_128", 0), ("AES_256", 1), ("CHACHA20", 2)],
        // Many boards have no instructions for AES (the Raspberry Pi before its fifth version, all of armv7).
        false => [("CHACHA20", 0), ("AES_128", 1), ("AES_256", 2)],
    };
    let cost = costs.iter().find(|(part, _)| name.contains(part));
    cost.map_or(u8::MAX, |(_, cost)| *cost)
}

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
fn has_aes() -> bool {
    std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq")
}

#[cfg(target_arch = "aarch64")]
fn has_aes() -> bool {
    std::arch::is_aarch64_feature_detected!("aes")
}

#[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
fn has_aes() -> bool {
    false
}

/// Reads and checks the certificate files of a port, as it will when it opens.
pub fn check(cert: &Path, key: &Path) -> Result<CertificateSummary, CertificateFault> {
    certificate::load(cert, key).map(|identity| identity.summary)
}

/// The settings of the TLS library for a port. Clients are asked for certificates where somebody is trusted to issue them.
fn server_config(
    identity: &Identity,
    min_version: TlsVersion,
    tickets: Option<&Arc<dyn ProducesTickets>>,
    trust: Option<&Arc<ClientTrust>>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let versions: &[_] = match min_version {
        TlsVersion::V1_2 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        TlsVersion::V1_3 => &[&rustls::version::TLS13],
    };
    let resolver = SingleCertAndKey::from(Arc::clone(&identity.certified));
    let builder = ServerConfig::builder_with_provider(Arc::clone(&PROVIDER))
        .with_protocol_versions(versions)?;
    let builder = match trust {
        Some(trust) => {
            let verifier = ClientCertificates::new(Arc::clone(trust));
            builder.with_client_cert_verifier(Arc::new(verifier))
        }
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(resolver));
    // A reconnect with a ticket costs no signature. The state is in the ticket, so nothing is kept here per client.
    if let Some(tickets) = tickets {
        config.ticketer = Arc::clone(tickets);
    }
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 1;
    config.ignore_client_order = true;
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cheapest_cipher_suite_comes_first() {
        let first = |has_aes| {
            let mut suites = ring::default_provider().cipher_suites;
            suites.sort_by_key(|suite| cost(suite.suite(), has_aes));
            suites.first().map(|suite| suite.suite())
        };
        assert_eq!(first(true), Some(CipherSuite::TLS13_AES_128_GCM_SHA256));
        assert_eq!(
            first(false),
            Some(CipherSuite::TLS13_CHACHA20_POLY1305_SHA256)
        );
    }
}
