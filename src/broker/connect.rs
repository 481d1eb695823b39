//! An admitted CONNECT: the session is found or made, and the client is told what it may do.

use std::sync::Arc;

use super::connection::{Admission, Connection};
use super::message::Message;
use super::publish::collect_forwarded;
use super::session::{PendingWill, Session};
use super::time::Timestamp;
use super::timers::Timer;
use super::{Broker, ConnectionId, SessionId};
use crate::limits::PortLimits;
use crate::mqtt::encode;
use crate::mqtt::{ConnAck, ConnAckProperties, QoS, ReasonCode, Violation, Will};

/// Why an admitted CONNECT is not accepted after all. The link answers with the reason code and closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reason code of the CONNACK.
    pub reason: ReasonCode,
    /// One sentence for the journal.
    pub sentence: &'static str,
    /// The rule that the client broke, if it did.
    pub violation: Option<Violation>,
    /// Whose business it is.
    pub cause: RefusalCause,
}

/// What kind of refusal it is, for whoever keeps a record of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalCause {
    /// The client broke a rule of the standard.
    Violation,
    /// The session belongs to another principal (MQTT 5, 5.4.2): a mistake, or an attempt to take it over.
    SessionOfAnother,
    /// The rules of the port do not allow it. [`Broker::take_denials`] has the details.
    NotAllowed,
    /// A bound is reached, or the store cannot be written.
    NoRoom,
}

impl Refusal {
    pub(super) fn new(reason: ReasonCode, sentence: &'static str) -> Self {
        Self {
            reason,
            sentence,
            violation: None,
            cause: RefusalCause::NoRoom,
        }
    }
}

impl From<Violation> for Refusal {
    fn from(violation: Violation) -> Self {
        Self {
            reason: violation.reason(),
            sentence: violation.sentence(),
            violation: Some(violation),
            cause: RefusalCause::Violation,
        }
    }
}

impl Broker {
    /// Serves a client that the shell has authenticated. The CONNACK is in the outbox of the connection that this
    /// returns.
    ///
    /// # Errors
    ///
    /// The reason code for the CONNACK, if the client is not served; nothing has changed then.
    pub fn handle_connect(
        &mut self,
        admission: &Admission<'_>,
        now: Timestamp,
    ) -> Result<ConnectionId, Refusal> {
        let connect = admission.connect;
        let limits = &admission.port.limits;
        if let Some(will) = &connect.will {
            check_will(will, limits)?;
        }
        let client_id = match connect.client_id {
            "" => admission.assigned_client_id,
            client_id => client_id,
        };
        let rights = self.admit(admission, client_id)?;
        let key = session_key(&admission.port.mount_point, client_id);
        let known = self.sessions_by_key.get(&*key).copied();
        let owner = known.and_then(|id| Some(&*self.clients.sessions.get(id)?.owner));
        let is_own = owner.is_none_or(|owner| *owner == *admission.principal.username);
        let gives_way = owner.is_some_and(gives_way);
        if !is_own && !gives_way {
            let sentence = "The session belongs to another principal";
            return Err(Refusal {
                cause: RefusalCause::SessionOfAnother,
                ..Refusal::new(ReasonCode::NotAuthorized, sentence)
            });
        }
        let expiry = capped_expiry(connect.properties.session_expiry_interval, limits);
        if expiry > 0 && !self.takes_sessions() {
            self.clients.statistics.quota_refusals += 1;
            let sentence = "The session cannot be stored now";
            return Err(Refusal::new(ReasonCode::ServerUnavailable, sentence));
        }
        let sessions_max = usize::try_from(self.limits.sessions_max).unwrap_or(usize::MAX);
        if known.is_none() && self.clients.sessions.len() >= sessions_max {
            self.clients.statistics.quota_refusals += 1;
            let sentence = "No room for another session";
            return Err(Refusal::new(ReasonCode::QuotaExceeded, sentence));
        }
        let known_store = known.and_then(|id| self.clients.sessions.get(id)?.store.as_ref());
        let was_stored = known_store.is_some();
        if let Some(session) = known {
            self.take_over(session, now);
            if connect.clean_start || !is_own {
                self.end_session(session, now);
            }
        }
        // A session without an expiry interval has ended with its connection.
        let resumed = self.sessions_by_key.get(&*key).copied();
        let session = resumed.unwrap_or_else(|| self.begin_session(key, client_id, admission));
        let id = self
            .clients
            .connections
            .insert(Connection::new(admission, session, now));
        self.attach(session, id, admission, expiry);
        self.grant(session, id, rights, resumed.is_some());
        self.write_session(session);
        if was_stored && resumed.is_none() {
            self.hold(id);
        }
        self.arm_connection_timers(id, admission, now);
        self.write_connack(id, admission, client_id, resumed.is_some(), expiry);
        if let Some(session) = self.clients.sessions.get_mut(session) {
            session.outgoing.hold_back_all();
        }
        self.fill(id, now);
        self.count_connection();
        Ok(id)
    }

    fn count_connection(&mut self) {
        let statistics = &mut self.clients.statistics;
        statistics.connections_total += 1;
        statistics.packets_received += 1;
        let connections = u64::try_from(self.clients.connections.len()).unwrap_or(0);
        statistics.connections_peak = statistics.connections_peak.max(connections);
    }

    /// Ends the connection that a session has, for another one (MQTT-3.1.4-3).
    fn take_over(&mut self, session: SessionId, now: Timestamp) {
        if let Some(connection) = self
            .clients
            .sessions
            .get(session)
            .and_then(|session| session.connection)
        {
            let text = "Another client connected with this client identifier";
            self.disconnect(connection, ReasonCode::SessionTakenOver, text);
            self.detach(connection, now);
        }
    }

    fn begin_session(
        &mut self,
        key: Box<str>,
        client_id: &str,
        admission: &Admission<'_>,
    ) -> SessionId {
        let session = Session::new(
            key.clone(),
            client_id,
            &admission.principal.username,
            Arc::clone(&admission.port),
        );
        let id = self.clients.sessions.insert(session);
        self.sessions_by_key.insert(key, id);
        id
    }

    /// Gives a session its connection.
    fn attach(
        &mut self,
        session_id: SessionId,
        id: ConnectionId,
        admission: &Admission<'_>,
        expiry: u32,
    ) {
        let Some(session) = self.clients.sessions.get_mut(session_id) else {
            return;
        };
        session.connection = Some(id);
        session.principal = Some(Arc::clone(&admission.principal));
        session.expiry_interval = expiry;
        session.port = Arc::clone(&admission.port);
        if let Some(at) = session.expires_at.take() {
            self.clients
                .timers
                .disarm(at, Timer::SessionExpiry(session_id));
        }
        // A will whose delay is still running is not published any more (MQTT-3.1.3-9).
        let old = session.will.take();
        if let Some(at) = old.and_then(|will| will.due_at) {
            self.clients.timers.disarm(at, Timer::WillDelay(session_id));
        }
        session.will = admission
            .connect
            .will
            .as_ref()
            .map(|will| Box::new(pending_will(will, &admission.port.mount_point)));
    }

    fn arm_connection_timers(
        &mut self,
        id: ConnectionId,
        admission: &Admission<'_>,
        now: Timestamp,
    ) {
        let Some(connection) = self.clients.connections.get_mut(id) else {
            return;
        };
        if connection.version.is_v5() {
            let asked = admission.connect.keep_alive;
            connection.details.keep_alive =
                server_keep_alive(asked, &admission.port.limits).unwrap_or(asked);
        }
        connection.last_packet_at = now;
        connection.keep_alive_at = connection.keep_alive_deadline();
        if let Some(at) = connection.keep_alive_at {
            self.clients.timers.arm(at, Timer::KeepAlive(id));
        }
        if let Some(at) = connection.credential_expires_at {
            self.clients.timers.arm(at, Timer::CredentialExpiry(id));
        }
    }

    fn write_connack(
        &mut self,
        id: ConnectionId,
        admission: &Admission<'_>,
        client_id: &str,
        session_present: bool,
        expiry: u32,
    ) {
        let connect = admission.connect;
        let limits = &admission.port.limits;
        let asked = &connect.properties;
        let information = asked
            .request_response_information
            .then(|| response_information(client_id))
            .flatten();
        let mut properties = ConnAckProperties::default();
        if connect.version.is_v5() {
            let unless = |available: bool| (!available).then_some(false);
            properties = ConnAckProperties {
                session_expiry_interval: (expiry != asked.session_expiry_interval)
                    .then_some(expiry),
                receive_maximum: Some(limits.receive_maximum),
                maximum_qos: (limits.maximum_qos < QoS::ExactlyOnce).then_some(limits.maximum_qos),
                retain_available: unless(limits.retain_available),
                maximum_packet_size: Some(limits.max_packet_size),
                assigned_client_identifier: connect.client_id.is_empty().then_some(client_id),
                topic_alias_maximum: (limits.topic_alias_maximum > 0)
                    .then_some(limits.topic_alias_maximum),
                wildcard_subscription_available: unless(limits.wildcard_subscription_available),
                subscription_identifiers_available: unless(
                    limits.subscription_identifiers_available,
                ),
                shared_subscription_available: unless(limits.shared_subscription_available),
                server_keep_alive: server_keep_alive(connect.keep_alive, limits),
                response_information: information.as_deref(),
                authentication_method: asked.authentication_method,
                authentication_data: admission.authentication_data,
                ..ConnAckProperties::default()
            };
        }
        let mut connack = ConnAck {
            session_present,
            reason: ReasonCode::Success,
            properties,
        };
        let mut packet = Vec::new();
        encode::connack(&mut packet, connect.version, &connack);
        let max = asked.maximum_packet_size.unwrap_or(u32::MAX);
        if packet.len() > usize::try_from(max).unwrap_or(usize::MAX) {
            // What the client could do without; the rest it has to know.
            connack.properties.response_information = None;
            packet.clear();
            encode::connack(&mut packet, connect.version, &connack);
        }
        let before = self.clients.statistics.packets_sent;
        self.write(id, |out| out.extend_from_slice(&packet));
        if self.clients.statistics.packets_sent == before {
            // A client that does not take its CONNACK cannot be served.
            self.clients.close(id);
        }
    }
}

fn check_will(will: &Will<'_>, limits: &PortLimits) -> Result<(), Refusal> {
    if will.qos > limits.maximum_qos {
        return Err(Violation::WillQoSAboveMaximum.into());
    }
    if will.retain && !limits.retain_available {
        return Err(Violation::WillRetainNotAvailable.into());
    }
    Ok(())
}

/// What nobody has opened gives way to somebody, who gets nothing of it: else an open port could keep devices out of the others,
/// and whoever turns authentication on would keep out all that had come before.
fn gives_way(owner: &str) -> bool {
    owner.is_empty()
}

/// The key of a session: clients of different mount points do not know of each other, whatever their identifiers.
pub(super) fn session_key(mount_point: &str, client_id: &str) -> Box<str> {
    // An identifier cannot contain U+0000, so the key is unambiguous.
    [mount_point, "\0", client_id].concat().into()
}

/// The keep alive that the client has to use instead of its own (3.2.2.3.14).
fn server_keep_alive(asked: u16, limits: &PortLimits) -> Option<u16> {
    let max = limits.max_keep_alive;
    (max > 0 && (asked == 0 || asked > max)).then_some(max)
}

/// The session expiry interval that is granted, in seconds.
pub(super) fn capped_expiry(asked: u32, limits: &PortLimits) -> u32 {
    match limits.max_session_expiry {
        Some(max) => asked.min(u32::try_from(max.as_secs()).unwrap_or(u32::MAX)),
        None => asked,
    }
}

/// The base of response topics for a client (3.2.2.3.15); none if its identifier is no part of a topic.
fn response_information(client_id: &str) -> Option<String> {
    (!client_id.contains(['+', '#', '/'])).then(|| format!("response/{client_id}/"))
}

fn pending_will(will: &Will<'_>, mount_point: &str) -> PendingWill {
    let topic = [mount_point, will.topic].concat();
    let payload = bytes::Bytes::copy_from_slice(will.payload);
    let forwarded = collect_forwarded(&will.properties);
    PendingWill {
        message: Message::new(
            &topic,
            payload,
            forwarded.into(),
            will.qos,
            Timestamp::default(),
            None,
        ),
        expiry_interval: will.properties.message_expiry_interval,
        retain: will.retain,
        delay_interval: will.delay_interval,
        due_at: None,
    }
}
