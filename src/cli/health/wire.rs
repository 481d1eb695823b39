//! How the gate reaches a port: a socket of this machine, and TLS whose certificate must be the one that the gateway says it
//! shows.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use fieldgate::admin::ProbePort;
use fieldgate::net::tls::fingerprint;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error,
    SignatureScheme, StreamOwned,
};

/// What a proxy says that connects on its own behalf.
const PROXY_HEADER: &[u8] = b"PROXY UNKNOWN\r\n";

/// Bytes of an answer to a WebSocket request.
const HTTP_ANSWER_MAX: usize = 4096;

/// A connection to a port, with or without TLS.
pub(super) type Wire = Box<dyn Duplex>;

/// What packets travel on.
pub(super) trait Duplex: Read + Write + fmt::Debug {}

impl<T: Read + Write + fmt::Debug> Duplex for T {}

/// What came of an attempt to reach a port.
#[derive(Debug)]
pub(super) enum Reached {
    /// MQTT or WebSocket may follow.
    Open(Wire),
    /// It accepts and closes before anything was said.
    Cut,
    /// It listens where nobody on this machine can connect.
    Elsewhere(String),
}

/// Connects to a port, within `time` for each step.
pub(super) fn reach(port: &ProbePort, time: Duration) -> io::Result<Reached> {
    if let Some(interface) = &port.interface {
        let why = format!("it is bound to {interface}, where only others can connect");
        return Ok(Reached::Elsewhere(why));
    }
    let socket = match (&port.path, &port.address) {
        (Some(path), _) => unix(UnixStream::connect(path)?, time)?,
        (None, Some(address)) => tcp(address, time)?,
        (None, None) => {
            let why = "its socket came from the service manager and has no address".to_owned();
            return Ok(Reached::Elsewhere(why));
        }
    };
    match open(socket, port) {
        Err(error) if is_cut(&error) => Ok(Reached::Cut),
        opened => opened.map(Reached::Open),
    }
}

/// Whether a ticket that goes by a port comes from loopback or a Unix socket, as it has to.
pub(super) fn is_on_loopback(port: &ProbePort) -> bool {
    let address = port.address.as_deref().unwrap_or_default();
    let is_loopback = |address: SocketAddr| {
        let mut addresses = local_addresses(address).into_iter();
        addresses.all(|address| address.ip().to_canonical().is_loopback())
    };
    port.path.is_some() || address.parse().is_ok_and(is_loopback)
}

fn is_cut(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}

/// Everything that comes before MQTT.
fn open(mut socket: Wire, port: &ProbePort) -> io::Result<Wire> {
    if port.proxy_protocol {
        socket.write_all(PROXY_HEADER)?;
    }
    if port.tls {
        socket = shake(socket, port)?;
    }
    if let Some(path) = &port.websocket_path {
        upgrade(&mut *socket, path)?;
    }
    Ok(socket)
}

/// Asks for a WebSocket. What would follow in its frames goes by another port.
fn upgrade(socket: &mut dyn Duplex, path: &str) -> io::Result<()> {
    write!(
        socket,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n",
        BASE64.encode(&[0; 16])
    )?;
    socket.flush()?;
    let mut answer = Vec::new();
    let mut bytes = [0; 512];
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
        let count = socket.read(&mut bytes)?;
        if count == 0 || answer.len() > HTTP_ANSWER_MAX {
            break;
        }
        answer.extend_from_slice(bytes.get(..count).unwrap_or_default());
    }
    if answer.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if answer.starts_with(b"HTTP/1.1 101 ") {
        return Ok(());
    }
    let line = answer.split(|byte| *byte == b'\r').next();
    let line = String::from_utf8_lossy(line.unwrap_or_default()).into_owned();
    Err(io::Error::other(format!("no WebSocket: `{line}`")))
}

fn unix(socket: UnixStream, time: Duration) -> io::Result<Wire> {
    socket.set_read_timeout(Some(time))?;
    socket.set_write_timeout(Some(time))?;
    Ok(Box::new(socket))
}

fn tcp(address: &str, time: Duration) -> io::Result<Wire> {
    let address: SocketAddr = address.parse().map_err(io::Error::other)?;
    let mut fault = None;
    for address in local_addresses(address) {
        match TcpStream::connect_timeout(&address, time) {
            Ok(socket) => {
                socket.set_read_timeout(Some(time))?;
                socket.set_write_timeout(Some(time))?;
                socket.set_nodelay(true)?;
                return Ok(Box::new(socket));
            }
            Err(error) => fault = Some(error),
        }
    }
    Err(fault.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()))
}

/// Where this machine reaches a port: what accepts on every address is asked on loopback.
fn local_addresses(bound: SocketAddr) -> Vec<SocketAddr> {
    let on = |address: IpAddr| SocketAddr::new(address, bound.port());
    match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => vec![on(Ipv4Addr::LOCALHOST.into())],
        IpAddr::V6(ip) if ip.is_unspecified() => vec![
            on(Ipv6Addr::LOCALHOST.into()),
            on(Ipv4Addr::LOCALHOST.into()),
        ],
        _ => vec![bound],
    }
}

fn shake(mut socket: Wire, port: &ProbePort) -> io::Result<Wire> {
    let expected = port.certificate_sha256.as_deref().unwrap_or_default();
    let expected = HEXLOWER_PERMISSIVE
        .decode(expected.as_bytes())
        .map_err(io::Error::other)?;
    let provider = Arc::new(ring::default_provider());
    let shown = Arc::new(Shown {
        expected,
        provider: Arc::clone(&provider),
    });
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(shown)
        .with_no_client_auth();
    let name = ServerName::IpAddress(IpAddr::from(Ipv4Addr::LOCALHOST).into());
    let mut connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut socket)?;
    }
    Ok(Box::new(StreamOwned::new(connection, socket)))
}

/// Takes one certificate, that of the port: who says which one that is, is asked over a socket that is only root's. Names and
/// times are the business of clients; a gateway that does not know the time yet serves as well as it can.
#[derive(Debug)]
struct Shown {
    expected: Vec<u8>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Shown {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if fingerprint(end_entity) != *self.expected {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_on_every_address_are_reached_on_loopback() {
        let of = |text: &str| -> Vec<String> {
            let addresses = local_addresses(text.parse().unwrap());
            addresses.iter().map(ToString::to_string).collect()
        };
        assert_eq!(of("0.0.0.0:8883"), ["127.0.0.1:8883"]);
        assert_eq!(of("[::]:8883"), ["[::1]:8883", "127.0.0.1:8883"]);
        assert_eq!(of("192.0.2.7:1883"), ["192.0.2.7:1883"]);
    }

    #[test]
    fn ticket_is_shown_only_where_it_comes_from_loopback() {
        let at = |address: &str| ProbePort {
            address: Some(address.to_owned()),
            ..ProbePort::default()
        };
        for address in ["0.0.0.0:1883", "[::]:1883", "127.0.0.2:1883", "[::1]:1883"] {
            assert!(is_on_loopback(&at(address)), "{address}");
        }
        for address in ["192.0.2.7:1883", "[fe80::1]:1883", ""] {
            assert!(!is_on_loopback(&at(address)), "{address}");
        }
        let path = Some("/run/x.sock".into());
        assert!(is_on_loopback(&ProbePort {
            path,
            ..ProbePort::default()
        }));
    }

    #[test]
    fn port_that_closes_before_tls_or_a_web_socket_is_told_apart() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Some(listener.local_addr().unwrap().to_string());
        std::thread::spawn(move || listener.incoming().for_each(drop));
        for (tls, websocket_path) in [(true, None), (false, Some("/m".to_owned()))] {
            let port = ProbePort {
                address: address.clone(),
                tls,
                websocket_path,
                ..ProbePort::default()
            };
            let reached = reach(&port, Duration::from_secs(5)).unwrap();
            assert!(matches!(reached, Reached::Cut), "{reached:?}");
        }
    }
}
