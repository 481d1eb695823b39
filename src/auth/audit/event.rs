//! What can happen that an auditor asks about.

use std::net::IpAddr;

use crate::store::AuditRecord;

/// Bytes of a text of an event. Client identifiers and user names may be as long as 64 KiB, and nobody reads that.
const TEXT_BYTES_MAX: usize = 256;

/// What has happened. Changes of users are written by [`Users`](crate::auth::Users) itself, together with the change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AuditKind {
    /// A client has proven who it is.
    LoginAccepted,
    /// A client is not who it says, or may not come in.
    LoginRefused,
    /// Nobody could tell who a client is.
    LoginUnavailable,
    /// An address or a user name is banned.
    Ban,
    /// A ban was lifted by an operator.
    BanLifted,
    /// A client wanted the session of another identity.
    TakeoverRefused,
    /// A device or a user got a certificate over the network.
    EnrolmentAccepted,
    /// A device or a user got no certificate over the network.
    EnrolmentRefused,
    /// A connection was ended because its right is gone.
    RightGone,
    /// A subscription was removed because its right is gone.
    SubscriptionRemoved,
    /// A user was added.
    UserAdded,
    /// A user has another password.
    UserPassword,
    /// A user was changed: attributes, expiry, note.
    UserChanged,
    /// A user may log in again.
    UserEnabled,
    /// A user may log in no more.
    UserDisabled,
    /// A user was removed.
    UserRemoved,
    /// Users were imported.
    UsersImported,
    /// Users were given away, with the hashes of their passwords.
    UsersExported,
    /// The configuration was changed, rules included.
    ConfigurationChanged,
    /// A changed configuration was refused.
    ConfigurationRefused,
    /// Trusted certificates or revocation lists have changed.
    TrustChanged,
    /// Events that are not in this log because the database was behind.
    Lost,
}

impl AuditKind {
    /// All kinds, in the order of the manual.
    pub const ALL: [Self; 22] = [
        Self::LoginAccepted,
        Self::LoginRefused,
        Self::LoginUnavailable,
        Self::Ban,
        Self::BanLifted,
        Self::TakeoverRefused,
        Self::EnrolmentAccepted,
        Self::EnrolmentRefused,
        Self::RightGone,
        Self::SubscriptionRemoved,
        Self::UserAdded,
        Self::UserPassword,
        Self::UserChanged,
        Self::UserEnabled,
        Self::UserDisabled,
        Self::UserRemoved,
        Self::UsersImported,
        Self::UsersExported,
        Self::ConfigurationChanged,
        Self::ConfigurationRefused,
        Self::TrustChanged,
        Self::Lost,
    ];

    /// The word in the table and in the journal.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LoginAccepted => "login-accepted",
            Self::LoginRefused => "login-refused",
            Self::LoginUnavailable => "login-unavailable",
            Self::Ban => "ban",
            Self::BanLifted => "ban-lifted",
            Self::TakeoverRefused => "takeover-refused",
            Self::EnrolmentAccepted => "enrolment-accepted",
            Self::EnrolmentRefused => "enrolment-refused",
            Self::RightGone => "right-gone",
            Self::SubscriptionRemoved => "subscription-removed",
            Self::UserAdded => "user-added",
            Self::UserChanged => "user-changed",
            Self::UserPassword => "user-password",
            Self::UserEnabled => "user-enabled",
            Self::UserDisabled => "user-disabled",
            Self::UserRemoved => "user-removed",
            Self::UsersImported => "users-imported",
            Self::UsersExported => "users-exported",
            Self::ConfigurationChanged => "configuration-changed",
            Self::ConfigurationRefused => "configuration-refused",
            Self::TrustChanged => "trust-changed",
            Self::Lost => "lost",
        }
    }

    /// The kind of this word.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// The sentence of the journal.
    pub(super) fn sentence(self) -> &'static str {
        match self {
            Self::LoginAccepted => "Login accepted",
            Self::LoginRefused => "Login refused",
            Self::LoginUnavailable => "Login not decided",
            Self::Ban => "Banned",
            Self::BanLifted => "Ban lifted",
            Self::TakeoverRefused => "Takeover of a session refused",
            Self::EnrolmentAccepted => "Enrolled",
            Self::EnrolmentRefused => "Enrolment refused",
            Self::RightGone => "Disconnected because the right is gone",
            Self::SubscriptionRemoved => "Subscription removed because the right is gone",
            Self::UserAdded => "User added",
            Self::UserChanged => "User changed",
            Self::UserPassword => "Password changed",
            Self::UserEnabled => "User enabled",
            Self::UserDisabled => "User disabled",
            Self::UserRemoved => "User removed",
            Self::UsersImported => "Users imported",
            Self::UsersExported => "Users exported",
            Self::ConfigurationChanged => "Configuration changed",
            Self::ConfigurationRefused => "Changed configuration refused",
            Self::TrustChanged => "Trusted certificates or revocation lists changed",
            Self::Lost => "Events not kept",
        }
    }

    /// Whether events of this kind are caused by clients alone, who may cause as many as they like.
    pub(super) fn is_of_clients(self) -> bool {
        match self {
            Self::LoginAccepted
            | Self::LoginRefused
            | Self::LoginUnavailable
            | Self::Ban
            | Self::TakeoverRefused
            | Self::EnrolmentAccepted
            | Self::EnrolmentRefused
            | Self::RightGone
            | Self::SubscriptionRemoved => true,
            Self::BanLifted
            | Self::UserAdded
            | Self::UserPassword
            | Self::UserChanged
            | Self::UserEnabled
            | Self::UserDisabled
            | Self::UserRemoved
            | Self::UsersImported
            | Self::UsersExported
            | Self::ConfigurationChanged
            | Self::ConfigurationRefused
            | Self::TrustChanged
            | Self::Lost => false,
        }
    }

    /// Whether an event is written at once: somebody has changed something.
    pub(super) fn is_urgent(self) -> bool {
        !self.is_of_clients()
    }
}

/// Something that an auditor asks about. Holds no secret: whoever makes one puts none into `detail`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEvent {
    /// What has happened.
    pub kind: AuditKind,
    /// Who has done it: the user name of a client, `uid 0`, or `gateway`; empty if nobody is known.
    pub actor: Box<str>,
    /// To whom or to what it happened: a user name, an address, a topic filter.
    pub subject: Box<str>,
    /// The port of the client; empty if it was none.
    pub port: Box<str>,
    /// Where the client is.
    pub peer: Option<IpAddr>,
    /// The client identifier; empty if there is none.
    pub client_id: Box<str>,
    /// One sentence more.
    pub detail: Box<str>,
}

impl AuditEvent {
    /// An event with nothing known but its kind and its subject.
    #[must_use]
    pub fn new(kind: AuditKind, subject: &str) -> Self {
        Self {
            kind,
            actor: "".into(),
            subject: bounded(subject),
            port: "".into(),
            peer: None,
            client_id: "".into(),
            detail: "".into(),
        }
    }

    /// With who has done it.
    #[must_use]
    pub fn actor(mut self, actor: &str) -> Self {
        self.actor = bounded(actor);
        self
    }

    /// With the port, the address and the identifier of the client.
    #[must_use]
    pub fn client(mut self, port: &str, peer: Option<IpAddr>, client_id: &str) -> Self {
        self.port = bounded(port);
        self.peer = peer;
        self.client_id = bounded(client_id);
        self
    }

    /// With a sentence.
    #[must_use]
    pub fn detail(mut self, detail: &str) -> Self {
        self.detail = bounded(detail);
        self
    }

    /// The row of the table. The table has no column for the client identifier, which most events lack.
    pub(super) fn to_record(&self, at: u64) -> AuditRecord {
        let detail: Box<str> = match (self.client_id.as_ref(), self.detail.as_ref()) {
            ("", _) => self.detail.clone(),
            (client_id, "") => format!("client {client_id}").into(),
            (client_id, detail) => format!("client {client_id}: {detail}").into(),
        };
        AuditRecord {
            id: 0,
            at,
            kind: self.kind.as_str().into(),
            actor: self.actor.clone(),
            subject: self.subject.clone(),
            port: self.port.clone(),
            peer: self
                .peer
                .map(|peer| peer.to_canonical().to_string())
                .unwrap_or_default()
                .into(),
            detail,
        }
    }
}

/// A text that is kept; of a long one the beginning.
fn bounded(text: &str) -> Box<str> {
    let end = text.floor_char_boundary(TEXT_BYTES_MAX);
    match text.get(..end) {
        Some(part) if end < text.len() => format!("{part}…").into(),
        _ => text.into(),
    }
}
