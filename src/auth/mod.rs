//! Floor 3: who is a client? A closed set of authenticators; no plug-ins.
//!
//! A link asks with [`Authenticator::begin`] what to do with the [`Credentials`] of a CONNECT, or of an AUTH that begins
//! a re-authentication (MQTT 5, 4.12.1). As long as the answer is [`Outcome::Continue`] it passes the challenge on to the
//! client and hands the client's answer to [`Authenticator::resume`] (4.12).

#[cfg(test)]
pub mod scripted;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::config::Authentication;
use crate::mqtt::ReasonCode;
use crate::policy::Principal;

/// Who says who a client is.
#[derive(Debug)]
pub enum Authenticator {
    /// Nobody is asked: every client is served, whatever user name and password it sends. Enhanced authentication is
    /// refused, because the client would take our silence for proof of who we are.
    None,
    /// Follows a script.
    #[cfg(test)]
    Scripted(scripted::Script),
}

/// What a client says about itself.
#[derive(Clone, Copy, Default)]
pub struct Credentials<'a> {
    /// Client identifier of the CONNECT; empty if the broker assigns one.
    pub client_id: &'a str,
    /// User name of the CONNECT (3.1.3.5).
    pub username: Option<&'a str>,
    /// Password of the CONNECT (3.1.3.6).
    pub password: Option<&'a [u8]>,
    /// Authentication method (3.1.2.11.9).
    pub method: Option<&'a str>,
    /// Authentication data (3.1.2.11.10).
    pub data: Option<&'a [u8]>,
    /// Certificates that the client presented in the TLS handshake, its own first, in DER.
    pub certificates: &'a [Box<[u8]>],
    /// Where the client connects from.
    pub address: Option<SocketAddr>,
    /// Who the client is so far, if it authenticates again.
    pub principal: Option<&'a Principal>,
}

impl fmt::Debug for Credentials<'_> {
    /// Without password and data: this ends in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("client_id", &self.client_id)
            .field("username", &self.username)
            .field("method", &self.method)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// What an authenticator says.
#[derive(Debug)]
pub enum Outcome {
    /// The credentials are of a kind that the port does not know: Not authorized (0x87).
    NotMine,
    /// The client is who it says.
    Accepted(Acceptance),
    /// The client is not who it says, or may not come in. The reason is for the client.
    Refused(ReasonCode),
    /// Nobody can tell at the moment: Server unavailable (0x88), so that the client tries again.
    Unavailable,
    /// The client has to answer first.
    Continue(Challenge),
}

/// Who the client is.
#[derive(Debug)]
pub struct Acceptance {
    /// Its identity.
    pub principal: Arc<Principal>,
    /// When the credential ends, and the connection with it; `None` if it does not.
    pub expires_at: Option<Instant>,
    /// Last word of the exchange, for the CONNACK or the AUTH with Success.
    pub data: Option<Vec<u8>>,
}

impl From<Principal> for Acceptance {
    fn from(principal: Principal) -> Self {
        Self {
            principal: Arc::new(principal),
            expires_at: None,
            data: None,
        }
    }
}

/// A question to the client.
#[derive(Debug)]
pub struct Challenge {
    /// Authentication data of the AUTH with Continue authentication (0x18).
    pub data: Option<Vec<u8>>,
    /// What the authenticator needs to know when the answer comes.
    pub exchange: Exchange,
}

/// An exchange that waits for the client. It is used up by the answer.
#[derive(Debug)]
pub struct Exchange(State);

/// Where an exchange is, by authenticator. Today's need no exchange.
#[derive(Debug)]
enum State {
    #[cfg(test)]
    Scripted(scripted::Progress),
}

impl Authenticator {
    /// The authenticator that a port asks for.
    pub fn new(authentication: &Authentication) -> Self {
        match authentication {
            Authentication::None => Self::None,
        }
    }

    /// Judges credentials.
    #[expect(
        clippy::unused_async,
        reason = "authenticators that ask others have to wait"
    )]
    pub async fn begin(&self, credentials: Credentials<'_>) -> Outcome {
        match self {
            Self::None if credentials.method.is_some() => {
                Outcome::Refused(ReasonCode::BadAuthenticationMethod)
            }
            Self::None => Outcome::Accepted(Principal::default().into()),
            #[cfg(test)]
            Self::Scripted(script) => script.begin(credentials),
        }
    }

    /// Goes on with an exchange when the client has answered with `data`.
    #[expect(
        clippy::unused_async,
        reason = "authenticators that ask others have to wait"
    )]
    #[cfg_attr(
        not(test),
        expect(unused_variables, reason = "no authenticator of today has an exchange")
    )]
    pub async fn resume(&self, exchange: Exchange, data: Option<&[u8]>) -> Outcome {
        match exchange.0 {
            #[cfg(test)]
            State::Scripted(progress) => progress.resume(data),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_authentication_everybody_is_served() {
        let credentials = Credentials {
            client_id: "a",
            username: Some("nobody"),
            password: Some(b"secret"),
            ..Credentials::default()
        };
        let none = Authenticator::new(&Authentication::None);
        let Outcome::Accepted(acceptance) = none.begin(credentials).await else {
            panic!("not served");
        };
        assert_eq!(*acceptance.principal, Principal::default());
        assert!(!format!("{credentials:?}").contains("secret"));
    }

    #[tokio::test]
    async fn without_authentication_there_are_no_methods() {
        let credentials = Credentials {
            method: Some("SCRAM-SHA-256"),
            ..Credentials::default()
        };
        let outcome = Authenticator::None.begin(credentials).await;
        assert!(matches!(
            outcome,
            Outcome::Refused(ReasonCode::BadAuthenticationMethod)
        ));
    }
}
