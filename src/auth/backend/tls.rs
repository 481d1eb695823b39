//! Whom an HTTPS server must prove to be, and who we are to it.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use zeroize::Zeroizing;

use crate::config::HttpServer;

/// Bytes of a file that are read at most. A bundle with all public authorities has about 250 KiB.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The settings of the TLS library for a server, from files as they are now.
pub(super) fn client_config(server: &HttpServer) -> Result<ClientConfig, String> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| error.to_string())?
        .with_root_certificates(match server.url.is_tls {
            true => roots(server.ca.as_deref())?,
            // Without TLS there is nobody to trust.
            false => RootCertStore::empty(),
        });
    let Some((chain, key)) = &server.client_certificate else {
        return Ok(builder.with_no_client_auth());
    };
    let certificates = certificates(chain)?;
    let text = read(key)?;
    let private = PrivateKeyDer::from_pem_slice(&text)
        .map_err(|_| format!("no private key in {}", key.display()))?;
    builder
        .with_client_auth_cert(certificates, private)
        .map_err(|error| format!("{} and {}: {error}", chain.display(), key.display()))
}

/// Authorities that the server may have its certificate from: those of the file, else those of the system.
fn roots(ca: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let Some(file) = ca else {
        let found = rustls_native_certs::load_native_certs();
        // Of the many authorities of a system some may be of a form that is not supported.
        let (added, _) = roots.add_parsable_certificates(found.certs);
        return match added {
            0 => Err("no `ca` is given, and the system has no certificate authorities".to_owned()),
            _ => Ok(roots),
        };
    };
    for certificate in certificates(file)? {
        roots
            .add(certificate)
            .map_err(|error| format!("{}: {error}", file.display()))?;
    }
    Ok(roots)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = read(file)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(format!("no certificate in {}", file.display())),
        Err(_) => Err(format!("{} is damaged", file.display())),
    }
}

/// All of a file, if it is one and not too large.
pub(super) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let fault = |error: std::io::Error| format!("{} cannot be read: {error}", path.display());
    let about = path.metadata().map_err(fault)?;
    // A pipe would never end.
    if !about.is_file() || about.len() > FILE_BYTES_MAX {
        return Err(format!("{} is no file, or too large", path.display()));
    }
    let room = usize::try_from(about.len()).unwrap_or_default() + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    let file = File::open(path).map_err(fault)?;
    file.take(FILE_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(fault)?;
    Ok(bytes)
}

/// The files that TLS with a server depends on.
pub(super) fn files(server: &HttpServer) -> Vec<PathBuf> {
    let pair = server.client_certificate.iter();
    let pair = pair.flat_map(|(chain, key)| [chain, key]);
    server.ca.iter().chain(pair).cloned().collect()
}
