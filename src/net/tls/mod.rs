//! TLS 1.2 and 1.3 for ports, from PEM files that may come late and may change.
//!
//! * `certificate`: reads and checks a chain and its key.
//! * `source`: the certificates of all ports, loaded when they appear and swapped when they change.
//! * `watch`: says when something in a folder may have changed.
//! * `stream`: the record layer over a socket.

mod certificate;
mod source;
mod stream;
mod watch;

use std::sync::{Arc, LazyLock};

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::sign::SingleCertAndKey;

pub use certificate::{CertificateFault, CertificateSummary};
pub(crate) use source::{CertificateSource, CertificateStore, SourceState};
pub(crate) use stream::TlsStream;

use crate::config::{TlsSettings, TlsVersion};
use certificate::Identity;

/// The one crypto provider, passed explicitly wherever it is needed.
static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(ring::default_provider()));

/// Reads and checks the certificate files of a port, as it will when it opens.
pub fn check(settings: &TlsSettings) -> Result<CertificateSummary, CertificateFault> {
    certificate::load(&settings.cert, &settings.key).map(|identity| identity.summary)
}

/// The settings of the TLS library for a port.
///
/// Clients are not asked for certificates: no authenticator of today wants one.
fn server_config(
    identity: &Identity,
    min_version: TlsVersion,
    tickets: Option<&Arc<dyn ProducesTickets>>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let versions: &[_] = match min_version {
        TlsVersion::V1_2 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        TlsVersion::V1_3 => &[&rustls::version::TLS13],
    };
    let resolver = SingleCertAndKey::from(Arc::clone(&identity.certified));
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&PROVIDER))
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    // A reconnect with a ticket costs no signature. The state is in the ticket, so nothing is kept here per client.
    if let Some(tickets) = tickets {
        config.ticketer = Arc::clone(tickets);
    }
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}
