//! How connections and sessions end, and what happens to wills.

use super::commit::WITHHELD_MAX;
use super::connect::capped_expiry;
use super::connection::EndedBy;
use super::persist::Change;
use super::publication::Publication;
use super::session::PendingWill;
use super::shared::GroupId;
use super::time::Timestamp;
use super::timers::Timer;
use super::{Broker, ConnectionId, Next, SessionId, stored};
use crate::mqtt::encode;
use crate::mqtt::{Auth, AuthProperties, Disconnect, DisconnectProperties, ReasonCode, Violation};

impl Broker {
    /// The network connection is gone, whoever ended it. The id is not valid after this.
    pub fn handle_closed(&mut self, id: ConnectionId, now: Timestamp) {
        self.detach(id, now);
        if let Some(connection) = self.clients.connections.remove(id) {
            self.clients.outbox_bytes -= connection.outbox.len();
        }
    }

    /// Ends a connection from our side: the client is told why if its version allows, and the link closes. The session
    /// is detached when the link reports the close.
    pub fn disconnect(&mut self, id: ConnectionId, reason: ReasonCode, text: &'static str) {
        let connection = self.clients.connections.get_mut(id);
        let Some(connection) = connection.filter(|connection| !connection.closing) else {
            return;
        };
        connection.ended_by = Some(EndedBy {
            reason,
            sentence: text,
            violation: None,
        });
        let version = connection.version;
        if version.is_v5() {
            let disconnect = Disconnect {
                reason,
                properties: DisconnectProperties {
                    reason_string: connection.reason_string(text),
                    ..DisconnectProperties::default()
                },
            };
            self.write(id, |out| encode::disconnect(out, version, &disconnect));
        }
        self.clients.close(id);
    }

    /// Sends an AUTH packet on a connection that was opened with enhanced authentication (MQTT 5, 4.12.1).
    pub fn send_auth(&mut self, id: ConnectionId, reason: ReasonCode, data: Option<&[u8]>) {
        let connection = self.clients.connections.get(id);
        let Some(connection) = connection.filter(|connection| !connection.closing) else {
            return;
        };
        let Some(method) = connection.details.authentication_method.clone() else {
            return;
        };
        let auth = Auth {
            reason,
            properties: AuthProperties {
                authentication_method: Some(&method),
                authentication_data: data,
                ..AuthProperties::default()
            },
        };
        self.write(id, |out| encode::auth(out, &auth));
    }

    /// The client has authenticated again: its credential now ends at `expires_at`.
    pub fn handle_reauthenticated(&mut self, id: ConnectionId, expires_at: Option<Timestamp>) {
        let Some(connection) = self.clients.connections.get_mut(id) else {
            return;
        };
        let old = std::mem::replace(&mut connection.credential_expires_at, expires_at);
        let timers = &mut self.clients.timers;
        if let Some(at) = old {
            timers.disarm(at, Timer::CredentialExpiry(id));
        }
        if let Some(at) = expires_at {
            timers.arm(at, Timer::CredentialExpiry(id));
        }
    }

    /// DISCONNECT from a client (3.14).
    pub(super) fn handle_disconnect(
        &mut self,
        id: ConnectionId,
        disconnect: &Disconnect<'_>,
        now: Timestamp,
    ) -> Result<Next, Violation> {
        let Some(session) = self.session_of(id) else {
            return Ok(Next::Close);
        };
        if let Some(asked) = disconnect.properties.session_expiry_interval {
            if session.expiry_interval == 0 && asked > 0 {
                return Err(Violation::SessionExpiryRaisedFromZero);
            }
            session.expiry_interval = capped_expiry(asked, &session.port.limits);
        }
        // Only a normal disconnection takes the will away (MQTT-3.14.4-3).
        if disconnect.reason == ReasonCode::Success {
            let had_will = session.will.take().is_some();
            if had_will && session.store.is_some() {
                // A will that was taken back must not be published after a restart.
                self.clients.pending.force(&mut self.clients.effects);
            }
        }
        self.clients.close(id);
        self.detach(id, now);
        Ok(Next::Close)
    }

    /// Takes a connection from its session: the session goes on alone, or ends.
    pub(super) fn detach(&mut self, id: ConnectionId, now: Timestamp) {
        let Some(connection) = self.clients.connections.get_mut(id) else {
            return;
        };
        let timers = &mut self.clients.timers;
        if let Some(at) = connection.keep_alive_at.take() {
            timers.disarm(at, Timer::KeepAlive(id));
        }
        if let Some(at) = connection.credential_expires_at.take() {
            timers.disarm(at, Timer::CredentialExpiry(id));
        }
        let clearance = connection.clearance.as_mut();
        if let Some(at) = clearance.and_then(|clearance| clearance.reopen()) {
            timers.disarm(at, Timer::AskAgain(id));
        }
        if let Some((at, receiver)) = connection.paused.take() {
            timers.disarm(at, Timer::PauseEnd(id));
            if let Some(receiver) = self.clients.connections.get_mut(receiver) {
                receiver.waiting.retain(|waiting| *waiting != id);
            }
        }
        let Some(connection) = self.clients.connections.get_mut(id) else {
            return;
        };
        let session_id = connection.session;
        for publisher in std::mem::take(&mut connection.waiting) {
            self.resume(publisher);
        }
        let Some(session) = self.clients.sessions.get_mut(session_id) else {
            return;
        };
        if session.connection != Some(id) {
            return;
        }
        session.connection = None;
        session.outgoing.shrink();
        session.incoming.shrink();
        let expiry = session.expiry_interval;
        let delay = session
            .will
            .as_ref()
            .map(|will| will.delay_interval.min(expiry));
        match delay {
            Some(0) => self.publish_will(session_id, now),
            Some(delay) => self.arm_will(session_id, now.plus_secs(delay)),
            None => {}
        }
        if expiry == 0 {
            self.end_session(session_id, now);
            return;
        }
        if expiry < u32::MAX
            && let Some(session) = self.clients.sessions.get_mut(session_id)
        {
            let at = now.plus_secs(expiry);
            session.expires_at = Some(at);
            self.clients
                .timers
                .arm(at, Timer::SessionExpiry(session_id));
        }
        let groups = self.groups_with_others(session_id);
        let shared = self
            .clients
            .take_shared(session_id, false, |group| groups.contains(&group));
        self.clients.unload(session_id);
        self.write_session(session_id);
        self.redistribute(shared, now);
    }

    /// The shared subscriptions of a session that have another member who is connected.
    fn groups_with_others(&mut self, id: SessionId) -> Vec<GroupId> {
        let clients = &self.clients;
        let Some(session) = clients.sessions.get(id) else {
            return Vec::new();
        };
        let is_there = |other: SessionId| {
            let other = clients.sessions.get(other).filter(|_| other != id);
            other.is_some_and(|other| other.connection.is_some())
        };
        let mut groups = session.groups.clone();
        groups.retain(|group| {
            let members = self.subscriptions.group_mut(*group);
            members.is_some_and(|members| members.sessions().any(is_there))
        });
        groups
    }

    fn arm_will(&mut self, id: SessionId, at: Timestamp) {
        if let Some(session) = self.clients.sessions.get_mut(id)
            && let Some(will) = &mut session.will
        {
            will.due_at = Some(at);
            self.clients.timers.arm(at, Timer::WillDelay(id));
        }
    }

    /// Publishes the will of a session, if it has one.
    pub(super) fn publish_will(&mut self, id: SessionId, now: Timestamp) {
        let Some(session) = self.clients.sessions.get_mut(id) else {
            return;
        };
        let Some(will) = session.will.take() else {
            return;
        };
        let PendingWill {
            message,
            expiry_interval,
            retain,
            due_at,
            ..
        } = *will;
        if let Some(at) = due_at {
            self.clients.timers.disarm(at, Timer::WillDelay(id));
        }
        let mut publication = Publication::new(
            &message.topic,
            &message.payload,
            &message.forwarded,
            message.qos,
            retain,
            now,
        );
        publication.message_expiry_interval = expiry_interval;
        publication.publisher = Some(id);
        if retain && !self.retain(&mut publication) {
            self.clients.statistics.quota_refusals += 1;
        }
        self.route(&mut publication);
    }

    /// Ends a session: its will is published, its subscriptions go, and what it had of shared subscriptions goes to
    /// other members (MQTT 5, 3.1.2.5 and 4.8.2).
    pub(super) fn end_session(&mut self, id: SessionId, now: Timestamp) {
        self.publish_will(id, now);
        let Some(session) = self.clients.sessions.get_mut(id) else {
            return;
        };
        if let Some(at) = session.expires_at.take() {
            self.clients.timers.disarm(at, Timer::SessionExpiry(id));
        }
        for filter in std::mem::take(&mut session.filters) {
            self.subscriptions.unsubscribe(filter, id);
        }
        for group in std::mem::take(&mut session.groups) {
            self.subscriptions.leave(group, id);
        }
        let shared = self.clients.take_shared(id, true, |_| true);
        if let Some(mut session) = self.clients.sessions.remove(id) {
            self.sessions_by_key.remove(&session.key);
            if let Some(store) = &session.store {
                self.sessions_by_store.remove(&store.id.get());
                let change = Change::SessionEnd(store.id);
                self.clients.pending.add(change, &mut self.clients.effects);
            }
            stored::give_back(&mut self.clients, &session);
            self.clients.discard_messages(&mut session);
        }
        self.redistribute(shared, now);
    }

    pub(super) fn handle_session_expiry(&mut self, id: SessionId, at: Timestamp, now: Timestamp) {
        let Some(session) = self.clients.sessions.get_mut(id) else {
            return;
        };
        if session.expires_at == Some(at) {
            session.expires_at = None;
            self.clients.statistics.sessions_expired += 1;
            self.end_session(id, now);
        }
    }

    pub(super) fn handle_keep_alive_timer(&mut self, id: ConnectionId, now: Timestamp) {
        let Some(connection) = self.clients.connections.get_mut(id) else {
            return;
        };
        // A client that is not read, because the disk or somebody who is asked is slow, cannot be heard.
        let clearance = connection.clearance.as_ref();
        let is_asking = clearance.is_some_and(|clearance| clearance.is_packet_waiting);
        if connection.stalled || is_asking || connection.withheld.len() > WITHHELD_MAX {
            connection.last_packet_at = now;
        }
        let Some(deadline) = connection.keep_alive_deadline() else {
            return;
        };
        if deadline > now {
            connection.keep_alive_at = Some(deadline);
            self.clients.timers.arm(deadline, Timer::KeepAlive(id));
            return;
        }
        connection.keep_alive_at = None;
        self.handle_violation(id, Violation::KeepAliveTimeout);
    }

    /// The credential of a client has run out. The cluster's broker closes without a word; a DISCONNECT that says why
    /// costs nothing and spares a search.
    pub(super) fn handle_credential_expiry(&mut self, id: ConnectionId) {
        if let Some(connection) = self.clients.connections.get_mut(id) {
            connection.credential_expires_at = None;
        }
        self.disconnect(id, ReasonCode::NotAuthorized, "The credential has expired");
    }
}
