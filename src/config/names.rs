//! Names that cannot be bad: each type is built only from text that was checked.

use std::fmt;

/// Why a text is not a name.
///
/// The sentence of its `Display` continues "the name …", so that a report can put the kind of name in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameFault {
    /// Nothing was written.
    Empty,
    /// The word means something else.
    Reserved,
    /// Fewer characters than the shortest legal name.
    TooShort {
        /// Fewest characters allowed.
        min: usize,
    },
    /// More characters than the longest legal name.
    TooLong {
        /// Most characters allowed.
        max: usize,
    },
    /// A character that this kind of name does not have.
    Character {
        /// The first such character.
        found: char,
        /// What is allowed, in words.
        allowed: &'static str,
    },
    /// The first character may not stand there.
    Start {
        /// What it must begin with, in words.
        allowed: &'static str,
    },
    /// The last character may not stand there.
    End {
        /// What it must end with, in words.
        allowed: &'static str,
    },
}

impl fmt::Display for NameFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("is empty"),
            Self::Reserved => f.write_str("is a word with a meaning of its own"),
            Self::TooShort { min } => write!(f, "is shorter than {min} characters"),
            Self::TooLong { max } => write!(f, "is longer than {max} characters"),
            Self::Character { found, allowed } => {
                write!(f, "contains {found:?}; allowed are {allowed}")
            }
            Self::Start { allowed } => write!(f, "must begin with {allowed}"),
            Self::End { allowed } => write!(f, "must end with {allowed}"),
        }
    }
}

impl std::error::Error for NameFault {}

macro_rules! checked_name {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// The text as it was checked.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<&str> for $name {
            type Error = NameFault;

            fn try_from(text: &str) -> Result<Self, NameFault> {
                $check(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

checked_name! {
    /// Name of a listener: 3 to 63 lower-case letters, digits and hyphens, no hyphen at either end.
    ///
    /// The rule is that of resource names in a cluster, so that every listener can be exported as a resource.
    ListenerName, check_listener_name
}
checked_name! {
    /// Name of an authentication or an authorization: 2 to 63 lower-case letters, digits and hyphens, no hyphen at either
    /// end, and not `none`.
    ResourceName, check_resource_name
}
checked_name! {
    /// Name of a service in a cluster: a DNS label of at most 63 characters that begins with a letter.
    ServiceName, check_service_name
}
checked_name! {
    /// Name of the gateway: 1 to 64 letters, digits, `.`, `-` and `_`.
    ///
    /// No character of it has a meaning in a topic, a label or a file name.
    GatewayName, check_gateway_name
}
checked_name! {
    /// Name of a network interface: 1 to 15 characters, as the kernel allows.
    InterfaceName, check_interface_name
}
checked_name! {
    /// Name of a socket that systemd passes (`FileDescriptorName=`).
    SocketName, check_socket_name
}
checked_name! {
    /// Topic prefix of every client of a port. Always ends with `/`, holds no wildcard and does not begin with `$`.
    MountPoint, check_mount_point
}
checked_name! {
    /// Path of the WebSocket request; begins with `/`, holds no query and no fragment.
    WebSocketPath, check_websocket_path
}

checked_name! {
    /// Name of a service instance of DNS-SD: 1 to 63 bytes for people to read.
    InstanceName, check_instance_name
}

impl ListenerName {
    /// Name of the listener of the embedded default file.
    pub(super) fn fallback() -> Self {
        Self("default".into())
    }
}

impl ServiceName {
    /// The name that a gateway has in a cluster if nobody gives it another.
    pub(super) fn of_the_program() -> Self {
        Self("fieldgate".into())
    }
}

impl GatewayName {
    /// Name of a gateway that is given none: the host name of the machine, or `gateway` where that cannot be read.
    pub fn of_this_machine() -> Self {
        // Not from /proc, of which the sandbox of the service shows the processes alone.
        nix::unistd::gethostname()
            .ok()
            .and_then(|name| Self::try_from(name.to_str()?).ok())
            .unwrap_or_else(|| Self("gateway".into()))
    }
}

fn check_instance_name(text: &str) -> Result<Box<str>, NameFault> {
    length(text, 1, 63)?;
    if text.len() > 63 {
        return Err(NameFault::TooLong { max: 63 });
    }
    characters(text, "all but control characters", |c| !c.is_control())?;
    Ok(text.into())
}

fn check_listener_name(text: &str) -> Result<Box<str>, NameFault> {
    const ALLOWED: &str = "lower-case letters, digits and hyphens";
    const ENDS: &str = "a lower-case letter or a digit";
    length(text, 3, 63)?;
    characters(text, ALLOWED, |c| {
        c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
    })?;
    if text.starts_with('-') {
        return Err(NameFault::Start { allowed: ENDS });
    }
    if text.ends_with('-') {
        return Err(NameFault::End { allowed: ENDS });
    }
    Ok(text.into())
}

fn check_resource_name(text: &str) -> Result<Box<str>, NameFault> {
    const ENDS: &str = "a lower-case letter or a digit";
    length(text, 2, 63)?;
    characters(text, "lower-case letters, digits and hyphens", |c| {
        c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
    })?;
    if text == "none" {
        return Err(NameFault::Reserved);
    }
    if text.starts_with('-') {
        return Err(NameFault::Start { allowed: ENDS });
    }
    if text.ends_with('-') {
        return Err(NameFault::End { allowed: ENDS });
    }
    Ok(text.into())
}

fn check_service_name(text: &str) -> Result<Box<str>, NameFault> {
    length(text, 1, 63)?;
    characters(text, "lower-case letters, digits and hyphens", |c| {
        c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
    })?;
    if !text.starts_with(|c: char| c.is_ascii_lowercase()) {
        return Err(NameFault::Start {
            allowed: "a lower-case letter",
        });
    }
    if text.ends_with('-') {
        return Err(NameFault::End {
            allowed: "a lower-case letter or a digit",
        });
    }
    Ok(text.into())
}

fn check_gateway_name(text: &str) -> Result<Box<str>, NameFault> {
    length(text, 1, 64)?;
    characters(text, "letters, digits, '.', '-' and '_'", |c| {
        c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')
    })?;
    if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err(NameFault::Start {
            allowed: "a letter or a digit",
        });
    }
    Ok(text.into())
}

fn check_interface_name(text: &str) -> Result<Box<str>, NameFault> {
    length(text, 1, 15)?;
    characters(text, "printable ASCII characters but '/' and ':'", |c| {
        c.is_ascii_graphic() && c != '/' && c != ':'
    })?;
    if text == "." || text == ".." {
        return Err(NameFault::Start {
            allowed: "a letter",
        });
    }
    Ok(text.into())
}

fn check_socket_name(text: &str) -> Result<Box<str>, NameFault> {
    length(text, 1, 255)?;
    characters(text, "printable ASCII characters but ':'", |c| {
        c.is_ascii_graphic() && c != ':'
    })?;
    Ok(text.into())
}

fn check_mount_point(text: &str) -> Result<Box<str>, NameFault> {
    // Longer prefixes would leave clients too little of the 65,535 bytes of a topic.
    length(text, 1, 1024)?;
    characters(
        text,
        "all but the wildcards '+' and '#' and controls",
        |c| !c.is_control() && c != '+' && c != '#',
    )?;
    if text.starts_with('$') {
        return Err(NameFault::Start {
            allowed: "something else than '$', which marks topics of the broker",
        });
    }
    if text.ends_with('/') {
        Ok(text.into())
    } else {
        Ok(format!("{text}/").into())
    }
}

fn check_websocket_path(text: &str) -> Result<Box<str>, NameFault> {
    length(text, 1, 255)?;
    if !text.starts_with('/') {
        return Err(NameFault::Start { allowed: "'/'" });
    }
    characters(text, "printable ASCII characters but '?' and '#'", |c| {
        c.is_ascii_graphic() && c != '?' && c != '#'
    })?;
    Ok(text.into())
}

fn length(text: &str, min: usize, max: usize) -> Result<(), NameFault> {
    match text.chars().count() {
        0 => Err(NameFault::Empty),
        n if n < min => Err(NameFault::TooShort { min }),
        n if n > max => Err(NameFault::TooLong { max }),
        _ => Ok(()),
    }
}

fn characters(
    text: &str,
    allowed: &'static str,
    legal: impl Fn(char) -> bool,
) -> Result<(), NameFault> {
    match text.chars().find(|c| !legal(*c)) {
        Some(found) => Err(NameFault::Character { found, allowed }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts<'a, T: TryFrom<&'a str>>(texts: &[&'a str]) {
        for text in texts {
            assert!(T::try_from(text).is_ok(), "{text:?} should be accepted");
        }
    }

    fn refuses<'a, T: TryFrom<&'a str>>(texts: &[&'a str]) {
        for text in texts {
            assert!(T::try_from(text).is_err(), "{text:?} should be refused");
        }
    }

    #[test]
    fn listener_name() {
        let longest = "a".repeat(63);
        accepts::<ListenerName>(&["abc", "plant", "0-9", "a--b", &longest]);
        let too_long = "a".repeat(64);
        refuses::<ListenerName>(&[
            "", "a", "ab", &too_long, "Plant", "a_b", "-ab", "ab-", "a.b", "größe", "a b",
        ]);
    }

    #[test]
    fn service_name() {
        accepts::<ServiceName>(&["a", "aio-broker", "mqtt2"]);
        refuses::<ServiceName>(&["", "2mqtt", "-a", "a-", "A", "a.b"]);
    }

    #[test]
    fn gateway_name() {
        accepts::<GatewayName>(&["gw-01", "gw_01.example.org", "G", "7"]);
        refuses::<GatewayName>(&["", "-gw", "gw 01", "gw/01", "gw+", "gw#", "gé"]);
        refuses::<GatewayName>(&[&"g".repeat(65)]);
    }

    #[test]
    fn interface_name() {
        accepts::<InterfaceName>(&["eth0", "wlan0", "eth0.100", "br-12345678901"]);
        refuses::<InterfaceName>(&["", "a/b", "eth0:1", "sixteen-chars-xy", ".", "..", "e th"]);
    }

    #[test]
    fn instance_name() {
        accepts::<InstanceName>(&["Hall 3", "Gerät.7", &"x".repeat(63)]);
        refuses::<InstanceName>(&["", "a\nb", &"x".repeat(64), &"é".repeat(32)]);
    }

    #[test]
    fn socket_name() {
        accepts::<SocketName>(&["mqtt", "fieldgate.socket"]);
        refuses::<SocketName>(&["", "a:b", "a b"]);
    }

    #[test]
    fn mount_point_always_ends_with_a_slash() {
        assert_eq!(MountPoint::try_from("site/a").unwrap().as_str(), "site/a/");
        assert_eq!(MountPoint::try_from("site/a/").unwrap().as_str(), "site/a/");
        refuses::<MountPoint>(&["", "site/+/", "site/#", "$SYS/", "a\0b"]);
    }

    #[test]
    fn websocket_path() {
        accepts::<WebSocketPath>(&["/", "/mqtt", "/a/b-c"]);
        refuses::<WebSocketPath>(&["", "mqtt", "/mqtt?x=1", "/a#b", "/a b"]);
    }

    #[test]
    fn name_of_this_machine_is_legal() {
        let name = GatewayName::of_this_machine();
        assert!(GatewayName::try_from(name.as_str()).is_ok());
    }
}
