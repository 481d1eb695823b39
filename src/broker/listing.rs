//! What the broker tells about itself and its clients.

use std::ops::Range;

use super::session::Session;
use super::time::Timestamp;
use super::{Broker, ClientInfo, ConnectionId, ConnectionInfo, EndedBy, SessionId, Statistics};
use crate::mqtt::ProtocolVersion;
use crate::policy::{Action, Explanation};

/// Why one client may do something, or may not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// The port of its last connection.
    pub port: Box<str>,
    /// Who it is.
    pub principal: Box<str>,
    /// The decision and its reasons.
    pub explanation: Explanation,
}

impl Broker {
    /// Counters and levels as they are now.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        let count = |len: usize| u64::try_from(len).unwrap_or(u64::MAX);
        Statistics {
            connections: count(self.clients.connections.len()),
            sessions: count(self.clients.sessions.len()),
            subscriptions: u64::from(self.subscriptions.len()),
            retained_messages: count(self.retained.len()),
            retained_bytes: self.retained.bytes(),
            queued_messages: self
                .clients
                .sessions
                .iter()
                .map(|(_, session)| session.load())
                .sum(),
            stored_messages: self.clients.pending.stored_deliveries,
            stored_bytes: self.clients.pending.stored_bytes,
            queued_bytes: self.clients.budget.bytes(),
            ..self.clients.statistics.clone()
        }
    }

    /// Every client that has a session, in no order that means anything.
    pub fn clients(&self, now: Timestamp) -> impl Iterator<Item = ClientInfo> {
        self.clients
            .sessions
            .iter()
            .map(move |(_, session)| self.client_info(session, now))
    }

    /// The clients with an identifier that begins with `prefix` whose sessions are in a range of places; `None` behind the
    /// last place. So that a long listing can be made in pieces, while clients are served in between: a session stays where
    /// it is for as long as it lasts.
    pub fn clients_in(
        &self,
        places: Range<usize>,
        prefix: &str,
        now: Timestamp,
    ) -> Option<impl Iterator<Item = ClientInfo>> {
        let sessions = &self.clients.sessions;
        (places.start < sessions.slots()).then(|| {
            sessions
                .iter_in(places)
                .filter(move |(_, session)| session.client_id.starts_with(prefix))
                .map(move |(_, session)| self.client_info(session, now))
        })
    }

    /// Why clients with an identifier may do something, or may not, as far as their sessions are in a range of places, like
    /// [`Broker::clients_in`]. Sessions whose client was not here since the start are left out: who it is shows when it
    /// connects.
    #[must_use]
    pub fn explain(
        &self,
        places: Range<usize>,
        client_id: &str,
        action: Action<'_>,
    ) -> Option<Vec<Explained>> {
        let sessions = &self.clients.sessions;
        let explain = |session: &Session| {
            let principal = session.principal.as_ref()?;
            Some(Explained {
                port: session.port.endpoint.clone(),
                principal: principal.username.clone(),
                explanation: match &session.rights {
                    Some(rights) => rights.explain(action),
                    None => Explanation::without_rules(action),
                },
            })
        };
        (places.start < sessions.slots()).then(|| {
            sessions
                .iter_in(places)
                .filter(|(_, session)| *session.client_id == *client_id)
                .filter_map(|(_, session)| explain(session))
                .collect()
        })
    }

    /// The client identifier of a session.
    #[must_use]
    pub fn client_id(&self, session: SessionId) -> Option<&str> {
        let session = self.clients.sessions.get(session)?;
        Some(&session.client_id)
    }

    /// The client identifier of the session that a connection serves.
    #[must_use]
    pub fn connection_client_id(&self, id: ConnectionId) -> Option<&str> {
        self.client_id(self.clients.connections.get(id)?.session)
    }

    /// Why the broker has ended a connection, if it has.
    #[must_use]
    pub fn ended_by(&self, id: ConnectionId) -> Option<EndedBy> {
        self.clients.connections.get(id)?.ended_by
    }

    /// Who opened the session that a connection serves; nobody on a port without authentication.
    #[must_use]
    pub fn connection_principal(&self, id: ConnectionId) -> Option<&str> {
        let connection = self.clients.connections.get(id)?;
        let session = self.clients.sessions.get(connection.session)?;
        Some(&*session.owner).filter(|name| !name.is_empty())
    }

    fn client_info(&self, session: &Session, now: Timestamp) -> ClientInfo {
        let connection = session
            .connection
            .and_then(|id| self.clients.connections.get(id))
            .map(|connection| ConnectionInfo {
                peer: connection.details.peer.to_string(),
                transport: connection.details.transport,
                protocol_version: match connection.version {
                    ProtocolVersion::V3_1 => "3.1",
                    ProtocolVersion::V3_1_1 => "3.1.1",
                    ProtocolVersion::V5 => "5.0",
                },
                connected_millis: u64::try_from(
                    now.since(connection.details.connected_at).as_millis(),
                )
                .unwrap_or(u64::MAX),
                keep_alive: connection.details.keep_alive,
                received_messages: connection.details.received_messages,
                outbox_bytes: connection.outbox.len(),
            });
        ClientInfo {
            client_id: session.client_id.to_string(),
            connection,
            principal: session.owner.to_string(),
            port: session.port.endpoint.to_string(),
            session_expiry_interval: session.expiry_interval,
            subscriptions: session.subscriptions(),
            inflight_messages: session.outgoing.len(),
            queued_messages: session.queued(),
            queued_bytes: session
                .store
                .as_ref()
                .map_or(session.held_bytes, |store| store.bytes),
            dropped_messages: session.dropped,
        }
    }
}
