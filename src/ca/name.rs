//! Names that go into certificates, and attributes that go with them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use crate::config::DnsName;

/// Characters of a common name (RFC 5280, appendix A.1: `ub-common-name`).
const COMMON_NAME_CHARS_MAX: usize = 64;

/// Attributes of one certificate, and bytes of a name and of a value.
const ATTRIBUTES_MAX: usize = 32;
const ATTRIBUTE_NAME_BYTES_MAX: usize = 64;
const ATTRIBUTE_VALUE_BYTES_MAX: usize = 1024;

/// What to do about a name that cannot be used.
pub(super) const HINT: &str = "a common name has 1 to 64 characters and none that cannot be seen; a DNS name has letters, digits, hyphens and dots";

/// The common name of a client or server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CommonName(Box<str>);

impl CommonName {
    /// Checks a name.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() {
            return Err("it is empty");
        }
        if text.chars().count() > COMMON_NAME_CHARS_MAX {
            return Err("it has more than 64 characters");
        }
        if text.chars().any(is_unseen) {
            return Err("it has characters that cannot be seen");
        }
        if text.trim() != text {
            return Err("it begins or ends with a space");
        }
        Ok(Self(text.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CommonName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for CommonName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        Self::parse(text)
    }
}

impl TryFrom<String> for CommonName {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        Self::parse(&text)
    }
}

impl From<CommonName> for String {
    fn from(name: CommonName) -> Self {
        name.0.into()
    }
}

/// What rules may ask for, carried by the row of a certificate.
pub type Attributes = BTreeMap<Box<str>, Box<str>>;

/// Says what is wrong with attributes.
pub(super) fn check_attributes(attributes: &Attributes) -> Result<(), &'static str> {
    if attributes.len() > ATTRIBUTES_MAX {
        return Err("there are more than 32 attributes");
    }
    for (name, value) in attributes {
        if name.is_empty() || name.len() > ATTRIBUTE_NAME_BYTES_MAX {
            return Err("the name of an attribute has 1 to 64 bytes");
        }
        if value.len() > ATTRIBUTE_VALUE_BYTES_MAX {
            return Err("the value of an attribute has at most 1024 bytes");
        }
        if name.chars().chain(value.chars()).any(is_unseen) {
            return Err("an attribute has characters that cannot be seen");
        }
    }
    Ok(())
}

/// An address as it stands in a certificate.
pub(super) fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(four).into());
    }
    let sixteen = <[u8; 16]>::try_from(bytes).ok()?;
    Some(Ipv6Addr::from(sixteen).into())
}

/// Characters that a person cannot see, or that move what stands around them: a name is read by people.
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_names_are_for_people_to_read() {
        for name in ["pump-7", "Halle 2 / Presse", "ü", &"x".repeat(64)] {
            assert_eq!(CommonName::parse(name).unwrap().as_str(), name);
        }
        for name in ["", " a", "a\n", "a\u{202e}b", &"x".repeat(65)] {
            CommonName::parse(name).unwrap_err();
        }
    }

    #[test]
    fn dns_names_are_names_and_not_addresses() {
        for name in [
            "gateway",
            "a.b-c.local",
            "*.plant.example",
            "xn--bcher-kva.example",
            "1a",
        ] {
            assert_eq!(DnsName::parse(name).unwrap().as_str(), name);
        }
        assert_eq!(
            DnsName::parse("GateWay.Local").unwrap().as_str(),
            "gateway.local"
        );
        for name in [
            "",
            ".",
            "a..b",
            "-a",
            "a-",
            "a b",
            "ü",
            "10.0.0.1",
            "*",
            "*.",
            "a.*.b",
            "a/b",
            &"x".repeat(64),
            &"x.".repeat(130),
        ] {
            assert!(DnsName::parse(name).is_err(), "{name}");
        }
    }

    #[test]
    fn attributes_are_bounded() {
        let one = |name: &str, value: &str| Attributes::from([(name.into(), value.into())]);
        check_attributes(&one("hall", "2")).unwrap();
        check_attributes(&one("hall", "")).unwrap();
        check_attributes(&one("", "2")).unwrap_err();
        check_attributes(&one("hall\n", "2")).unwrap_err();
        check_attributes(&one("hall", &"x".repeat(1025))).unwrap_err();
        let many = (0..33).map(|n| (n.to_string().into(), "".into())).collect();
        check_attributes(&many).unwrap_err();
    }

    #[test]
    fn addresses_have_four_or_sixteen_bytes() {
        assert_eq!(address(&[127, 0, 0, 1]), Some(Ipv4Addr::LOCALHOST.into()));
        assert_eq!(
            address(&Ipv6Addr::LOCALHOST.octets()),
            Some(Ipv6Addr::LOCALHOST.into())
        );
        assert_eq!(address(&[127, 0, 0]), None);
    }
}
