//! Client identifiers (3.1.3.1).

use std::fmt;

/// Identifier of a client, under which its session is kept.
///
/// It is a type of its own so that an empty identifier, which asks the server to assign one, cannot be taken for the name
/// of a session, and so that it cannot be mixed up with a user name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(Box<str>);

/// Why a text is not a client identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ClientIdFault {
    /// Zero bytes long: the server has to assign one (3.1.3.1).
    #[error("a client identifier has at least one character")]
    Empty,
    /// Longer than an MQTT string can be (1.5.4).
    #[error("a client identifier is at most 65,535 bytes long")]
    TooLong,
    /// It contains U+0000 (1.5.4).
    #[error("a client identifier does not contain U+0000")]
    HasNul,
}

impl ClientId {
    /// Checks and keeps a client identifier.
    pub fn new(text: &str) -> Result<Self, ClientIdFault> {
        if text.is_empty() {
            Err(ClientIdFault::Empty)
        } else if text.len() > usize::from(u16::MAX) {
            Err(ClientIdFault::TooLong)
        } else if text.bytes().any(|byte| byte == 0) {
            Err(ClientIdFault::HasNul)
        } else {
            Ok(Self(text.into()))
        }
    }

    /// The text.
    #[inline]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for ClientId {
    type Error = ClientIdFault;

    fn try_from(text: &str) -> Result<Self, Self::Error> {
        Self::new(text)
    }
}

impl AsRef<str> for ClientId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for ClientId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_a_session_can_be_named() {
        for text in ["a", "näme/with any #+ character", "\u{10FFFF}"] {
            assert_eq!(
                ClientId::new(text).map(|id| id.to_string()),
                Ok(text.to_owned())
            );
        }
        assert!(ClientId::new(&"x".repeat(65_535)).is_ok());
    }

    #[test]
    fn refuses_what_is_no_name() {
        assert_eq!(ClientId::new(""), Err(ClientIdFault::Empty));
        assert_eq!(ClientId::new("a\0"), Err(ClientIdFault::HasNul));
        assert_eq!(
            ClientId::new(&"x".repeat(65_536)),
            Err(ClientIdFault::TooLong)
        );
    }
}
