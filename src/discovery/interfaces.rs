//! The network interfaces of this machine.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::{InterfaceFlags, if_nametoindex};
use nix::sys::socket::SockaddrStorage;

use crate::config::Network;

/// An interface that is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) index: u32,
    /// Whether others are on it with whom multicast is spoken.
    pub(super) is_usual: bool,
    pub(super) addresses: Vec<IpAddr>,
    /// The networks of these addresses.
    pub(super) networks: Vec<Network>,
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
            networks: Vec::new(),
        });
        let Some(ip) = address.address.as_ref().and_then(ip) else {
            continue;
        };
        interface.addresses.push(ip);
        let mask = address.netmask.as_ref().and_then(self::ip);
        interface
            .networks
            .extend(mask.and_then(|mask| network(ip, mask)));
    }
    let mut interfaces: Vec<Interface> = interfaces.into_values().collect();
    for interface in &mut interfaces {
        // The kernel's order differs from time to time.
        interface.addresses.sort();
        let order = |network: &Network| (network.address, network.prefix);
        interface.networks.sort_by_key(order);
        interface.networks.dedup();
    }
    interfaces
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
    let v6 = address.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip()));
    v4.or(v6)
}

/// The network of an address with its mask.
fn network(ip: IpAddr, mask: IpAddr) -> Option<Network> {
    let (address, ones) = match (ip, mask) {
        (IpAddr::V4(ip), IpAddr::V4(mask)) => {
            let address = Ipv4Addr::from_bits(ip.to_bits() & mask.to_bits());
            (IpAddr::from(address), mask.to_bits().leading_ones())
        }
        (IpAddr::V6(ip), IpAddr::V6(mask)) => {
            let address = Ipv6Addr::from_bits(ip.to_bits() & mask.to_bits());
            (IpAddr::from(address), mask.to_bits().leading_ones())
        }
        (IpAddr::V4(_) | IpAddr::V6(_), _) => return None,
    };
    let prefix = u8::try_from(ones).ok()?;
    Some(Network { address, prefix })
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
        let network = Network {
            address: "127.0.0.0".parse().unwrap(),
            prefix: 8,
        };
        assert!(lo.networks.contains(&network), "{:?}", lo.networks);
    }
}
