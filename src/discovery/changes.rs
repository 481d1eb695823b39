//! Says when interfaces or addresses of the machine come or go.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram as Datagrams;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, socket,
};
use tokio::net::UnixDatagram;
use tracing::debug;

/// Links, addresses of IPv4, addresses of IPv6: `RTMGRP_LINK`, `RTMGRP_IPV4_IFADDR`, `RTMGRP_IPV6_IFADDR`.
const GROUPS: u32 = 0x1 | 0x10 | 0x100;

/// What the kernel says about its interfaces. What exactly it says does not matter: they are looked at then.
#[derive(Debug)]
pub(super) struct Changes {
    /// A socket of netlink. The runtime has no type for one; it takes datagrams as this one does.
    socket: UnixDatagram,
}

impl Changes {
    /// `None` where the kernel tells nothing; then a look now and then has to do.
    pub(super) fn watch() -> Option<Self> {
        match open() {
            Ok(socket) => Some(Self { socket }),
            Err(error) => {
                debug!(%error, "changes of interfaces are not told");
                None
            }
        }
    }

    /// Returns when there was a change, or several; says whether there can be more. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> bool {
        let mut buffer = [0; 64];
        if let Err(error) = self.socket.recv(&mut buffer).await {
            // More came than the socket could hold, so something has changed.
            return error.raw_os_error() == Some(Errno::ENOBUFS as i32);
        }
        while self.socket.try_recv(&mut buffer).is_ok() {}
        true
    }
}

fn open() -> io::Result<UnixDatagram> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let protocol = SockProtocol::NetlinkRoute;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUPS))?;
    UnixDatagram::from_std(Datagrams::from(socket))
}
