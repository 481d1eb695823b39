//! What this machine is called, and where others reach it.

use std::net::IpAddr;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::SockaddrStorage;
use nix::unistd::gethostname;

use crate::ca::MachineNames;

/// The names of this machine now. What the system does not tell is missing.
pub(super) fn names() -> MachineNames {
    let host = gethostname().ok().and_then(|name| name.into_string().ok());
    let mut names = MachineNames {
        host: host.unwrap_or_default(),
        ..MachineNames::default()
    };
    if let Ok(interfaces) = getifaddrs() {
        let up = interfaces.filter(|interface| interface.flags.contains(InterfaceFlags::IFF_UP));
        let addresses = up.filter_map(|interface| ip(&interface.address?));
        names.addresses = addresses.filter(|ip| is_reached(*ip)).collect();
    }
    names
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(v4.ip().into());
    }
    address.as_sockaddr_in6().map(|v6| v6.ip().into())
}

/// Whether a client can name the address: not if it means something only together with an interface.
fn is_reached(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_unspecified(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unspecified() && !v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_has_a_name_and_only_addresses_that_others_can_use() {
        let names = names();
        assert!(!names.host.is_empty());
        assert!(names.addresses.iter().all(|ip| is_reached(*ip)));
    }

    #[test]
    fn address_that_needs_an_interface_is_none() {
        for (text, expected) in [
            ("192.0.2.7", true),
            ("169.254.7.7", true),
            ("127.0.0.1", false),
            ("0.0.0.0", false),
            ("2001:db8::7", true),
            ("fd00::7", true),
            ("fe80::7", false),
            ("::1", false),
            ("::", false),
        ] {
            assert_eq!(is_reached(text.parse().unwrap()), expected, "{text}");
        }
    }
}
