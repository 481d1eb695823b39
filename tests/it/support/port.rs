//! Numbers for ports that have to be known before anybody listens on them.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// Above what services of a machine use and below what the kernel gives to those who ask for any port
/// (`ip_local_port_range`, 32768 and up): a number of the kernel's own may be given again before its test uses it.
const FIRST: u16 = 18_000;
const COUNT: u16 = 14_000;

static GIVEN: AtomicU16 = AtomicU16::new(0);

/// A number that nobody listens on, given to nobody else in this process.
pub(crate) fn free_port() -> u16 {
    // Two processes of tests at one time begin far from each other.
    let start = (std::process::id().wrapping_mul(977) % u32::from(COUNT)) as u16;
    for _ in 0..COUNT {
        let number = FIRST + (start + GIVEN.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT;
        if TcpListener::bind(("0.0.0.0", number)).is_ok() {
            return number;
        }
    }
    panic!("no port from {FIRST} on is free");
}
