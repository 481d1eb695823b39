//! Networks as they are written: an address, or an address with the length of its prefix.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::access::Network;

/// Why a text is not a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkFault {
    /// It does not begin with an IP address.
    Address,
    /// What follows `/` is not the length of a prefix of such an address.
    Prefix {
        /// The longest prefix.
        max: u8,
    },
    /// The address has bits beyond the prefix.
    HostBits {
        /// What was probably meant.
        network: Network,
    },
    /// An IPv4 network in the form of an IPv6 one.
    Mapped {
        /// The same as IPv4 writes it; absent where it is more than all of IPv4.
        network: Option<Network>,
    },
}

impl fmt::Display for NetworkFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address => f.write_str("is no IP address and no network such as 10.0.0.0/8"),
            Self::Prefix { max } => {
                write!(f, "has a prefix that is not a number from 0 to {max}")
            }
            Self::HostBits { .. } => f.write_str("has bits beyond its prefix"),
            Self::Mapped { .. } => f.write_str("is an IPv4 network in the form of an IPv6 one"),
        }
    }
}

impl std::error::Error for NetworkFault {}

impl TryFrom<&str> for Network {
    type Error = NetworkFault;

    fn try_from(text: &str) -> Result<Self, NetworkFault> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NetworkFault::Address)?;
        let max = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => max,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                let number = digits.parse().ok().filter(|prefix| *prefix <= max);
                number.ok_or(NetworkFault::Prefix { max })?
            }
            Some(_) => return Err(NetworkFault::Prefix { max }),
        };
        if let IpAddr::V6(v6) = address
            && let Some(v4) = v6.to_ipv4_mapped()
        {
            let network = prefix.checked_sub(96).map(|prefix| Self {
                address: masked(v4.into(), prefix),
                prefix,
            });
            return Err(NetworkFault::Mapped { network });
        }
        let network = Self {
            address: masked(address, prefix),
            prefix,
        };
        if network.address == address {
            Ok(network)
        } else {
            Err(NetworkFault::HostBits { network })
        }
    }
}

/// As it is written, with the prefix only where it is shorter than the address.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let max = if self.address.is_ipv4() { 32 } else { 128 };
        match self.prefix == max {
            true => write!(f, "{}", self.address),
            false => write!(f, "{}/{}", self.address, self.prefix),
        }
    }
}

/// The address with zeros beyond the prefix.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    let prefix = u32::from(prefix);
    match address {
        IpAddr::V4(v4) => {
            let ones = u32::MAX.checked_shl(32_u32.saturating_sub(prefix));
            Ipv4Addr::from_bits(v4.to_bits() & ones.unwrap_or(0)).into()
        }
        IpAddr::V6(v6) => {
            let ones = u128::MAX.checked_shl(128_u32.saturating_sub(prefix));
            Ipv6Addr::from_bits(v6.to_bits() & ones.unwrap_or(0)).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        Network::try_from(text).unwrap_or_else(|fault| panic!("{text}: {fault}"))
    }

    #[test]
    fn network_is_written_back_as_it_was() {
        for text in [
            "192.168.1.0/24",
            "10.0.0.0/8",
            "192.0.2.7",
            "0.0.0.0/0",
            "::/0",
            "fd00::/8",
            "2001:db8::1",
            "2001:db8:0:1::/64",
        ] {
            assert_eq!(network(text).to_string(), text);
        }
        assert_eq!(network("192.0.2.7/32"), network("192.0.2.7"));
    }

    #[test]
    fn text_that_is_no_network_is_refused() {
        for text in [
            "",
            "plant",
            "192.168.1",
            "192.168.1.0.0",
            "/8",
            "10.0.0.0:80",
            "localhost",
        ] {
            assert_eq!(
                Network::try_from(text),
                Err(NetworkFault::Address),
                "{text}"
            );
        }
        for text in [
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "10.0.0.0/8/8",
        ] {
            let fault = Network::try_from(text).unwrap_err();
            assert_eq!(fault, NetworkFault::Prefix { max: 32 }, "{text}");
        }
        let fault = Network::try_from("fd00::/129").unwrap_err();
        assert_eq!(fault, NetworkFault::Prefix { max: 128 });
    }

    #[test]
    fn what_was_meant_is_told() {
        let meant = |text: &str| match Network::try_from(text).unwrap_err() {
            NetworkFault::HostBits { network } => network.to_string(),
            NetworkFault::Mapped { network } => network.map_or(String::new(), |n| n.to_string()),
            fault => panic!("{text}: {fault}"),
        };
        assert_eq!(meant("192.168.1.7/24"), "192.168.1.0/24");
        assert_eq!(meant("10.1.2.3/0"), "0.0.0.0/0");
        assert_eq!(meant("fd00::1/64"), "fd00::/64");
        assert_eq!(meant("::ffff:10.1.2.3"), "10.1.2.3");
        assert_eq!(meant("::ffff:10.1.2.3/104"), "10.0.0.0/8");
        assert_eq!(meant("::ffff:10.1.2.3/64"), "");
    }

    #[test]
    fn addresses_in_the_network_and_outside_of_it() {
        for (text, inside, outside) in [
            ("192.168.1.0/24", "192.168.1.0", "192.168.2.0"),
            ("192.168.1.0/24", "192.168.1.255", "192.168.0.255"),
            ("192.168.1.128/25", "192.168.1.128", "192.168.1.127"),
            ("10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("fd00::/8", "fdff::1", "fe00::"),
            ("2001:db8:0:1::/64", "2001:db8:0:1:ffff::", "2001:db8:0:2::"),
            ("2001:db8::1", "2001:db8::1", "2001:db8::2"),
        ] {
            let network = network(text);
            let has = |address: &str| network.contains(address.parse().unwrap());
            assert!(has(inside), "{text} has {inside}");
            assert!(!has(outside), "{text} has no {outside}");
        }
    }

    /// A socket that takes IPv4 and IPv6 names IPv4 peers in the form of IPv6 addresses.
    #[test]
    fn mapped_addresses_are_those_of_ipv4() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let plant = network("192.168.1.0/24");
        assert!(plant.contains(address("::ffff:192.168.1.9")));
        assert!(!plant.contains(address("::ffff:192.168.2.9")));
        assert!(!network("::/0").contains(address("::ffff:192.168.1.9")));
        assert!(!network("::/0").contains(address("192.168.1.9")));
    }

    #[test]
    fn whole_families_keep_apart() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(network("0.0.0.0/0").contains(address("203.0.113.9")));
        assert!(!network("0.0.0.0/0").contains(address("::1")));
        assert!(!network("0.0.0.0/0").contains(address("cb00::1")));
        assert!(network("::/0").contains(address("cb00::1")));
    }
}
