//! Numbers for ports that have to be known before anybody listens on them.

use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Above what services of a machine use and below what the kernel gives to those who ask for any port
/// (`ip_local_port_range`, 32768 and up): a number of the kernel's own may be given again before its test uses it.
const FIRST: u16 = 18_000;
const COUNT: u16 = 14_000;

static GIVEN: AtomicU16 = AtomicU16::new(0);

/// A number that nobody listens on, given to nobody else in this process.
pub(crate) fn free_port() -> u16 {
    first(|number| is_free(number).then_some(number))
}

/// A listener that is in the way at this address. When it is dropped, nobody else takes its number.
pub(crate) fn taken_port(address: impl Into<IpAddr>) -> TcpListener {
    let address = address.into();
    first(|number| TcpListener::bind((address, number)).ok())
}

fn first<T>(found: impl Fn(u16) -> Option<T>) -> T {
    // Two processes of tests at one time begin far from each other.
    let start = (std::process::id().wrapping_mul(977) % u32::from(COUNT)) as u16;
    (0..COUNT)
        .find_map(|_| {
            let given = GIVEN.fetch_add(1, Ordering::Relaxed) % COUNT;
            found(FIRST + (start + given) % COUNT)
        })
        .unwrap_or_else(|| panic!("no port from {FIRST} on is free"))
}

/// Looks without listening: a child that another test starts has a copy of the socket until it runs its program, and
/// whoever got the number could not listen on it meanwhile.
fn is_free(number: u16) -> bool {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    socket.set_reuse_address(true).expect("an option");
    let address = std::net::SocketAddr::from((Ipv4Addr::UNSPECIFIED, number));
    socket.bind(&address.into()).is_ok()
}
