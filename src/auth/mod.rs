//! Floor 3: who is a client? A closed set of authenticators; no plug-ins.
//!
//! A link asks with [`Authenticator::begin`] what to do with the [`Credentials`] of a CONNECT, or of an AUTH that begins
//! a re-authentication (MQTT 5, 4.12.1). As long as the answer is [`Outcome::Continue`] it passes the challenge on to the
//! client and hands the client's answer to [`Authenticator::resume`] (4.12).

mod access;
mod acl;
mod again;
mod anonymous;
mod audit;
mod authenticator;
mod backend;
mod custom;
mod guard;
mod http;
mod mosquitto;
mod password;
mod probe;
#[cfg(test)]
pub mod scripted;
mod service_account_token;
mod token_review;
pub mod users;
mod x509;

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::mqtt::ReasonCode;
use crate::policy::Principal;

use again::Again;

pub use access::{Access, Changed};
pub use acl::{Acl, Answer, Question, TopicAccess};
pub use audit::{Audit, AuditEvent, AuditKind, AuditStatistics};
pub use authenticator::{Authenticator, Proof};
pub use backend::{BackendReport, BackendStatistics, LATENCY_BOUNDS_MS};
#[cfg(feature = "kube")]
pub(crate) use backend::{Fault as HttpFault, HttpClient, Request as HttpRequest, read_secret};
pub use guard::{Ban, BanSubject, Consequence, Guard, GuardStatistics, Prefix};
pub use probe::{NoChance, PROBE_USERNAME, Probe, ProbeTicket, Probes};
pub use service_account_token::TOKEN_USERNAME;
#[cfg(feature = "kube")]
pub(crate) use service_account_token::cluster_means;
pub use users::Users;
pub use x509::{
    ClientTrust, Moment, RevocationListSummary, TrustSummary, UnfitCertificate, UnfitReason,
};

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
    /// The credentials are of a kind that is not known here; the next method is asked, and after the last one the client
    /// is refused: Not authorized (0x87).
    NotMine,
    /// The client is who it says.
    Accepted(Acceptance),
    /// The client is not who it says, or may not come in.
    Refused(Refused),
    /// Nobody can tell at the moment: Server unavailable (0x88), so that the client tries again.
    Unavailable(Unavailable),
    /// The client has to answer first.
    Continue(Challenge),
}

/// A client that is not who it says.
#[derive(Debug)]
pub struct Refused {
    /// What the client is told.
    pub reason: ReasonCode,
    /// What the journal is told; one sentence without secrets.
    pub sentence: Cow<'static, str>,
    /// Which method refused: the key of the configuration.
    pub method: &'static str,
}

impl Refused {
    /// A refusal of a method, which the chain names.
    pub fn new(reason: ReasonCode, sentence: impl Into<Cow<'static, str>>) -> Self {
        Self {
            reason,
            sentence: sentence.into(),
            method: "",
        }
    }
}

impl From<Refused> for Outcome {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

/// Why nobody can tell who a client is.
#[derive(Debug)]
pub struct Unavailable {
    /// What the journal is told; one sentence without secrets.
    pub sentence: Cow<'static, str>,
    /// Which method could not tell: the key of the configuration.
    pub method: &'static str,
}

impl Unavailable {
    /// The answer of a method that cannot tell, which the chain names.
    pub fn new(sentence: impl Into<Cow<'static, str>>) -> Self {
        Self {
            sentence: sentence.into(),
            method: "",
        }
    }
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
    /// What was proven, so that it can be looked at again when something changes.
    pub credential: Credential,
    /// Which method accepted: the key of the configuration.
    pub method: &'static str,
}

impl From<Principal> for Acceptance {
    fn from(principal: Principal) -> Self {
        Self {
            principal: Arc::new(principal),
            expires_at: None,
            data: None,
            credential: Credential::Lasting,
            method: "",
        }
    }
}

/// What a client has proven. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// Nothing that could change while the port keeps its authentication.
    Lasting,
    /// The password of a local user.
    Password {
        /// Counts the changes of the password.
        generation: u64,
    },
    /// A certificate, with what came with it, in DER.
    Certificate(Arc<[Box<[u8]>]>),
}

/// What has become of a credential after something changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is as good as before, and the principal is the same.
    Same,
    /// It is as good as before, and the principal has other attributes.
    Changed(Arc<Principal>),
    /// It is good no more: Not authorized (0x87). One sentence for the client.
    Gone(&'static str),
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
pub struct Exchange {
    /// Place of the method in its chain.
    method: usize,
    state: State,
}

/// Where an exchange is, by method.
#[derive(Debug)]
enum State {
    /// The client authenticates again, and nobody could tell so far.
    Again(Again),
    #[cfg(test)]
    Scripted(scripted::Progress),
}
