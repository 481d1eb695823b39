//! What clients were denied, for the journal.

use std::sync::Arc;

use super::connection::PortPolicy;
use super::{Broker, ConnectionId, Effect, SessionId};
use crate::limits::DENIALS_NOTED_MAX;
use crate::policy::{By, Principal, Rights};

/// What a client wanted and was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeniedAction {
    /// To connect with its client identifier.
    Connect,
    /// To publish.
    Publish,
    /// To connect with a will.
    Will,
    /// To subscribe, or to stay subscribed.
    Subscribe,
    /// To get a message. Counted, and not noted for each message.
    Read,
}

impl DeniedAction {
    /// The word for the journal and for metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Publish => "publish",
            Self::Will => "will",
            Self::Subscribe => "subscribe",
            Self::Read => "read",
        }
    }
}

/// One denial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The port, for its name.
    pub port: Arc<PortPolicy>,
    /// Who was denied.
    pub principal: Option<Arc<Principal>>,
    /// Its client identifier.
    pub client_id: Box<str>,
    /// What was denied.
    pub action: DeniedAction,
    /// The topic name or topic filter, as the client knows it; empty where there is none.
    pub topic: Box<str>,
    /// Where the rule is written that denies it; `None` if that is not a rule.
    pub rule: Option<Box<str>>,
    /// What denies it.
    pub by: By,
}

impl Broker {
    /// What was denied since the last call, and how many denials were not noted because they were too many.
    pub fn take_denials(&mut self) -> (Vec<Denial>, u64) {
        let unnoted = std::mem::take(&mut self.denials_unnoted);
        (std::mem::take(&mut self.denials), unnoted)
    }

    /// Notes a denial that concerns no connection, or none yet.
    pub(super) fn deny_admission(
        &mut self,
        port: &Arc<PortPolicy>,
        principal: &Arc<Principal>,
        client_id: &str,
        denied: (DeniedAction, &str, By),
        rights: Option<&Rights>,
    ) {
        let (action, topic, by) = denied;
        let rule = rights.and_then(|rights| rights.place(by)).map(Into::into);
        self.note_denial(action, || Denial {
            port: Arc::clone(port),
            principal: Some(Arc::clone(principal)),
            client_id: client_id.into(),
            action,
            topic: topic.into(),
            rule,
            by,
        });
    }

    /// Notes a denial of a client that is connected.
    pub(super) fn deny(&mut self, id: ConnectionId, action: DeniedAction, topic: &str, by: By) {
        if let Some(session) = self.clients.connections.get(id).map(|c| c.session) {
            self.deny_session(session, action, topic, by);
        }
    }

    /// Notes a denial of a client that may be away.
    pub(super) fn deny_session(
        &mut self,
        id: SessionId,
        action: DeniedAction,
        topic: &str,
        by: By,
    ) {
        let Some(session) = self.clients.sessions.get(id) else {
            return;
        };
        let (port, principal) = (Arc::clone(&session.port), session.principal.clone());
        let client_id = session.client_id.clone();
        let rights = session.rights.as_deref();
        let rule = rights.and_then(|rights| rights.place(by)).map(Into::into);
        self.note_denial(action, || Denial {
            port,
            principal,
            client_id,
            action,
            topic: topic.into(),
            rule,
            by,
        });
    }

    fn note_denial(&mut self, action: DeniedAction, denial: impl FnOnce() -> Denial) {
        self.clients.statistics.count_denial(action);
        if self.denials.len() >= DENIALS_NOTED_MAX {
            self.denials_unnoted += 1;
            return;
        }
        if self.denials.is_empty() {
            self.clients.effects.push(Effect::Denied);
        }
        self.denials.push(denial());
    }
}
