//! The sockets that a port accepts on: opened here, or passed by systemd.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use nix::net::if_::if_nametoindex;
use socket2::{Domain, SockAddr, SockRef, Socket as RawSocket, TcpKeepalive, Type};
use tokio::net::{TcpListener, UnixListener};

use super::socket::Socket;
use crate::config::{Endpoint, InterfaceName};

/// Connections that may wait for us to accept them; the kernel has a bound of its own (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// TCP asks a peer that has been silent for so long whether it is still there, so that a connection without keep alive
/// of MQTT does not outlive its peer for ever.
const KEEPALIVE_TIME: Duration = Duration::from_secs(300);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(60);

/// The sockets of one port.
#[derive(Debug)]
pub(super) struct Listener {
    sockets: Vec<ListenerSocket>,
    /// What makes the sockets stale when it changes.
    interface: Option<Interface>,
    /// The address that is not on this machine yet, if the sockets wait for it.
    awaited: Option<IpAddr>,
    /// The file of a Unix socket.
    file: Option<SocketFile>,
}

#[derive(Debug)]
enum ListenerSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

#[derive(Debug)]
struct Interface {
    name: InterfaceName,
    index: u32,
}

/// Why a port cannot accept.
#[derive(Debug, thiserror::Error)]
pub(super) enum ListenFault {
    #[error("the address is in use by another program")]
    InUse,
    #[error("no address {0} on this machine")]
    NoAddress(IpAddr),
    #[error("no network interface {0} on this machine")]
    NoInterface(InterfaceName),
    #[error("this user may not open the port; ports below 1024 need CAP_NET_BIND_SERVICE")]
    NotPermitted,
    #[error("a file that is no socket is in the way")]
    FileInTheWay,
    #[error("systemd passes no listening socket of this name")]
    NotPassed,
    #[error("{0}")]
    Io(io::Error),
}

impl From<io::Error> for ListenFault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AddrInUse => Self::InUse,
            io::ErrorKind::PermissionDenied => Self::NotPermitted,
            _ => Self::Io(error),
        }
    }
}

impl Listener {
    /// Opens what the endpoint asks for.
    pub(super) fn open(endpoint: &Endpoint, passed: &PassedSockets) -> Result<Self, ListenFault> {
        match endpoint {
            Endpoint::Tcp {
                port,
                bind,
                interface,
            } => Self::open_tcp(*port, *bind, interface.as_ref()),
            Endpoint::Unix { path, mode } => Self::open_unix(path, *mode),
            Endpoint::Systemd { name } => {
                let sockets = passed.take_copies(name.as_str())?;
                if sockets.is_empty() {
                    return Err(ListenFault::NotPassed);
                }
                Ok(Self::new(sockets))
            }
        }
    }

    fn new(sockets: Vec<ListenerSocket>) -> Self {
        Self {
            sockets,
            interface: None,
            awaited: None,
            file: None,
        }
    }

    fn open_tcp(
        port: u16,
        bind: Option<IpAddr>,
        interface: Option<&InterfaceName>,
    ) -> Result<Self, ListenFault> {
        let interface = match interface {
            Some(name) => Some(Interface {
                index: index_of(name).ok_or_else(|| ListenFault::NoInterface(name.clone()))?,
                name: name.clone(),
            }),
            None => None,
        };
        let (socket, awaited) = match bind {
            Some(address) => bind_one(address, port, interface.as_ref())?,
            None => (bind_all(port, interface.as_ref())?, None),
        };
        socket.listen(BACKLOG)?;
        let socket = TcpListener::from_std(socket.into())?;
        Ok(Self {
            interface,
            awaited,
            ..Self::new(vec![ListenerSocket::Tcp(socket)])
        })
    }

    fn open_unix(path: &Path, mode: u32) -> Result<Self, ListenFault> {
        remove_stale(path)?;
        let socket = RawSocket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SockAddr::unix(path)?)?;
        let file = SocketFile::new(path)?;
        // Before `listen`, so that nobody gets in who may not.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
        socket.listen(BACKLOG)?;
        let socket = UnixListener::from_std(socket.into())?;
        Ok(Self {
            file: Some(file),
            ..Self::new(vec![ListenerSocket::Unix(socket)])
        })
    }

    /// The next connection, and where it comes from.
    pub(super) async fn accept(&self) -> io::Result<(Socket, Option<SocketAddr>)> {
        poll_fn(|cx| {
            for socket in &self.sockets {
                if let Poll::Ready(accepted) = socket.poll_accept(cx) {
                    return Poll::Ready(accepted);
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Where it accepts, if that is an address of the network; the first one of several.
    pub(super) fn local_addr(&self) -> Option<SocketAddr> {
        self.sockets.iter().find_map(|socket| match socket {
            ListenerSocket::Tcp(socket) => socket.local_addr().ok(),
            ListenerSocket::Unix(_) => None,
        })
    }

    /// Whether a connection can reach it now; if not, why.
    pub(super) fn check_reachable(&mut self) -> Result<(), ListenFault> {
        match self.awaited {
            Some(address) if !is_on_this_machine(address, self.interface.as_ref()) => {
                Err(ListenFault::NoAddress(address))
            }
            _ => {
                self.awaited = None;
                Ok(())
            }
        }
    }

    /// Whether the network interface went away or came back as another one, or somebody removed the file of the Unix
    /// socket: then nobody reaches the sockets any more.
    pub(super) fn is_stale(&self) -> bool {
        let interface = self.interface.as_ref();
        interface.is_some_and(|interface| index_of(&interface.name) != Some(interface.index))
            || self.file.as_ref().is_some_and(|file| !file.is_ours())
    }

    /// Whether it has to be looked at from time to time.
    pub(super) fn needs_watch(&self) -> bool {
        self.awaited.is_some() || self.interface.is_some() || self.file.is_some()
    }

    /// Applies changed permission bits.
    pub(super) fn set_mode(endpoint: &Endpoint) -> io::Result<()> {
        match endpoint {
            Endpoint::Unix { path, mode } => {
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(*mode))
            }
            Endpoint::Tcp { .. } | Endpoint::Systemd { .. } => Ok(()),
        }
    }
}

impl ListenerSocket {
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Socket, Option<SocketAddr>)>> {
        match self {
            Self::Tcp(socket) => socket.poll_accept(cx).map_ok(|(stream, address)| {
                let address = SocketAddr::new(address.ip().to_canonical(), address.port());
                (Socket::Tcp(stream), Some(address))
            }),
            Self::Unix(socket) => socket
                .poll_accept(cx)
                .map_ok(|(stream, _)| (Socket::Unix(stream), None)),
        }
    }
}

/// A socket for every address of this machine: one for IPv6 and IPv4, or for IPv4 alone where there is no IPv6.
fn bind_all(port: u16, interface: Option<&Interface>) -> Result<RawSocket, ListenFault> {
    let v6 = (|| {
        let socket = tcp_socket(Domain::IPV6, interface)?;
        socket.set_only_v6(false)?;
        socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into())?;
        Ok(socket)
    })();
    match v6 {
        Ok(socket) => Ok(socket),
        Err(ListenFault::InUse | ListenFault::NotPermitted | ListenFault::NoInterface(_)) => v6,
        Err(_) => {
            let socket = tcp_socket(Domain::IPV4, interface)?;
            socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
            Ok(socket)
        }
    }
}

/// A socket for one address; with the address if that is not up yet.
fn bind_one(
    address: IpAddr,
    port: u16,
    interface: Option<&Interface>,
) -> Result<(RawSocket, Option<IpAddr>), ListenFault> {
    let target = socket_addr(address, port, interface);
    let socket = tcp_socket(Domain::for_address(target), interface)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    match socket.bind(&target.into()) {
        Ok(()) => Ok((socket, None)),
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
            // The kernel lets us bind now and connects the two when the address comes.
            let freebind = match address {
                IpAddr::V4(_) => socket.set_freebind_v4(true),
                IpAddr::V6(_) => socket.set_freebind_v6(true),
            };
            freebind
                .and_then(|()| socket.bind(&target.into()))
                .map_err(|_| ListenFault::NoAddress(address))?;
            Ok((socket, Some(address)))
        }
        Err(error) => Err(error.into()),
    }
}

fn tcp_socket(domain: Domain, interface: Option<&Interface>) -> Result<RawSocket, ListenFault> {
    let socket = RawSocket::new(domain, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    if let Some(interface) = interface {
        socket
            .bind_device(Some(interface.name.as_str().as_bytes()))
            .map_err(|error| match error.kind() {
                io::ErrorKind::PermissionDenied => ListenFault::NotPermitted,
                _ => ListenFault::NoInterface(interface.name.clone()),
            })?;
    }
    set_connection_options(SockRef::from(&socket))?;
    Ok(socket)
}

/// What every accepted connection inherits from its listening socket, so that it costs no system calls of its own.
fn set_connection_options(socket: SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(KEEPALIVE_TIME)
            .with_interval(KEEPALIVE_INTERVAL),
    )
}

fn socket_addr(address: IpAddr, port: u16, interface: Option<&Interface>) -> SocketAddr {
    match address {
        IpAddr::V6(address) if address.is_unicast_link_local() => {
            let scope = interface.map_or(0, |interface| interface.index);
            SocketAddrV6::new(address, port, 0, scope).into()
        }
        address => SocketAddr::new(address, port),
    }
}

fn is_on_this_machine(address: IpAddr, interface: Option<&Interface>) -> bool {
    let target = socket_addr(address, 0, interface);
    RawSocket::new(Domain::for_address(target), Type::STREAM, None)
        .and_then(|socket| socket.bind(&target.into()))
        .is_ok()
}

fn index_of(name: &InterfaceName) -> Option<u32> {
    if_nametoindex(name.as_str()).ok()
}

/// Removes the file of a socket that nobody listens on any more.
fn remove_stale(path: &Path) -> Result<(), ListenFault> {
    let file = match std::fs::symlink_metadata(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if !file.file_type().is_socket() {
        return Err(ListenFault::FileInTheWay);
    }
    let probe = RawSocket::new(Domain::UNIX, Type::STREAM, None)?;
    probe.set_nonblocking(true)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            Ok(std::fs::remove_file(path)?)
        }
        // It answers, or its queue is full, or it is not ours to ask.
        _ => Err(ListenFault::InUse),
    }
}

/// The file of a Unix socket; removed at the end, unless it has become somebody else's.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        let file = std::fs::symlink_metadata(path)?;
        Ok(Self {
            path: path.to_owned(),
            identity: (file.dev(), file.ino()),
        })
    }

    fn is_ours(&self) -> bool {
        let file = std::fs::symlink_metadata(&self.path);
        file.is_ok_and(|file| (file.dev(), file.ino()) == self.identity)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.is_ours() {
            // Whoever comes next removes it as stale if we cannot.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// The listening sockets that systemd passed to this process, by name.
///
/// They are kept for as long as the process lives: a port that is removed and comes back gets its socket again.
#[derive(Debug, Default)]
pub struct PassedSockets(Mutex<Vec<(String, PassedSocket)>>);

#[derive(Debug)]
enum PassedSocket {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

impl PassedSockets {
    /// Takes over what systemd passed (`LISTEN_FDS`, `LISTEN_FDNAMES`). Must be called once, before there are threads.
    ///
    /// A descriptor that is no listening stream socket is left alone.
    #[must_use]
    pub fn from_environment() -> Self {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut passed = listenfd::ListenFd::from_env();
        let mut sockets = Vec::new();
        for at in 0..passed.len() {
            let name = names.next().unwrap_or_default().to_owned();
            if let Ok(Some(socket)) = passed.take_tcp_listener(at) {
                sockets.push((name, PassedSocket::Tcp(socket)));
            } else if let Ok(Some(socket)) = passed.take_unix_listener(at) {
                sockets.push((name, PassedSocket::Unix(socket)));
            }
        }
        Self(Mutex::new(sockets))
    }

    /// The names of the sockets.
    pub fn names(&self) -> Vec<String> {
        let sockets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sockets.iter().map(|(name, _)| name.clone()).collect()
    }

    #[cfg(test)]
    pub(super) fn of_test(sockets: Vec<(&str, std::net::TcpListener)>) -> Self {
        let sockets = sockets.into_iter();
        let named = sockets.map(|(name, socket)| (name.to_owned(), PassedSocket::Tcp(socket)));
        Self(Mutex::new(named.collect()))
    }

    fn take_copies(&self, wanted: &str) -> io::Result<Vec<ListenerSocket>> {
        let sockets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sockets
            .iter()
            .filter(|(name, _)| name == wanted)
            .map(|(_, socket)| match socket {
                PassedSocket::Tcp(socket) => {
                    let copy = socket.try_clone()?;
                    copy.set_nonblocking(true)?;
                    set_connection_options(SockRef::from(&copy))?;
                    Ok(ListenerSocket::Tcp(TcpListener::from_std(copy)?))
                }
                PassedSocket::Unix(socket) => {
                    let copy = socket.try_clone()?;
                    copy.set_nonblocking(true)?;
                    Ok(ListenerSocket::Unix(UnixListener::from_std(copy)?))
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
