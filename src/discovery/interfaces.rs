//! The network interfaces of this machine.

use std::collections::BTreeMap;
use std::net::IpAddr;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::{InterfaceFlags, if_nametoindex};

/// An interface that is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) index: u32,
    /// Whether others are on it with whom multicast is spoken.
    pub(super) is_usual: bool,
    pub(super) addresses: Vec<IpAddr>,
}

/// Every interface that is up. What the system does not tell is missing.
pub(super) fn interfaces() -> Vec<Interface> {
    let mut interfaces: BTreeMap<String, Interface> = BTreeMap::new();
    let Ok(addresses) = getifaddrs() else {
        return Vec::new();
    };
    for address in addresses {
        let flags = address.flags;
        if !flags.contains(InterfaceFlags::IFF_UP) {
            continue;
        }
        let Ok(index) = if_nametoindex(address.interface_name.as_str()) else {
            continue;
        };
        let apart = InterfaceFlags::IFF_LOOPBACK | InterfaceFlags::IFF_POINTOPOINT;
        let is_usual = flags.contains(InterfaceFlags::IFF_MULTICAST) && !flags.intersects(apart);
        let name = address.interface_name;
        let interface = interfaces.entry(name.clone()).or_insert(Interface {
            name,
            index,
            is_usual,
            addresses: Vec::new(),
        });
        let Some(address) = address.address else {
            continue;
        };
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
        let v6 = address.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip()));
        interface.addresses.extend(v4.or(v6));
    }
    let mut interfaces: Vec<Interface> = interfaces.into_values().collect();
    for interface in &mut interfaces {
        // The kernel's order differs from time to time.
        interface.addresses.sort();
    }
    interfaces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_there_and_not_usual() {
        let interfaces = interfaces();
        let lo = interfaces.iter().find(|one| one.name == "lo").unwrap();
        assert!(!lo.is_usual);
        assert!(lo.addresses.contains(&"127.0.0.1".parse().unwrap()));
    }
}
