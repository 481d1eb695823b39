//! Floor 1: the broker as a machine without input and output.
//!
//! A [`Broker`] is told what happened and when, and answers with effects and with encoded packets. It knows no socket, no
//! task, no file, no clock and no randomness: the same inputs give the same effects, so every rule of MQTT can be tested
//! here.
//!
//! Its methods are of four kinds:
//!
//! * `handle_*` take an event from outside, with the time at which it happened.
//! * [`Broker::poll_effect`] gives what the shell has to do, in order, and [`Broker::poll_timeout`] when
//!   [`Broker::handle_timeout`] wants to be called.
//! * [`Broker::take_outbox`] hands over what is encoded for one connection.
//! * The rest look and change nothing.
//!
//! **Every `handle_*` must be followed by draining [`Broker::poll_effect`] before the caller waits for anything.** A link
//! may handle all packets of one read first: effects keep their order.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::unreachable,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::wildcard_enum_match_arm,
    clippy::match_wildcard_for_single_variants,
    clippy::as_conversions
)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::wildcard_enum_match_arm,
        clippy::as_conversions
    )
)]

mod arena;
mod authorize;
mod clearance;
mod clients;
mod commit;
mod connect;
mod connection;
mod denial;
mod effect;
mod ending;
mod form;
mod inflight;
mod levels;
mod listing;
mod message;
mod outbox;
mod pending;
mod persist;
mod publication;
mod publish;
mod reading;
mod resending;
mod restore;
mod retained;
mod review;
mod route;
mod session;
mod shared;
mod statistics;
mod stored;
mod subscribe;
mod subscriptions;
mod sys_topics;
#[cfg(test)]
mod tests;
mod time;
mod timers;

use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::limits::{Limits, PAUSE_INTERVAL, PAUSE_MAX, PortLimits};
use crate::mqtt::encode;
use crate::mqtt::{Ack, AckKind, Packet, PacketId, ReasonCode, Violation};
use clients::Clients;
use connection::Connection;
use inflight::Awaiting;
use pending::Answer;
use publication::Publication;
use retained::Retained;
use route::RouteCache;
use session::Session;
use subscriptions::Subscriptions;
use sys_topics::SysTopics;
use timers::Timer;

pub use arena::Id;
pub use clearance::{Asked, Inquiry};
pub use connect::{Refusal, RefusalCause};
pub use connection::{Admission, EndedBy, PortPolicy};
pub use denial::{Denial, DeniedAction};
pub use effect::{Effect, Next};
pub use listing::Explained;
pub use message::Message;
pub use outbox::Outbox;
pub use pending::StoreCondition;
pub use persist::{
    Batch, Change, DeliveryRecord, LoadRequest, LoadedDelivery, Restored, RestoredSession,
    SessionRecord, StoreId, SubscriptionRecord, WillRecord,
};
pub use review::Review;
pub use statistics::{ClientInfo, ConnectionInfo, Statistics};
pub use time::Timestamp;

/// Address of a network connection that the core serves.
pub type ConnectionId = Id<Connection>;

/// Address of a session.
pub type SessionId = Id<Session>;

/// The broker.
#[derive(Debug)]
pub struct Broker {
    limits: Limits,
    /// For sessions whose port is not known yet.
    default_limits: Arc<PortLimits>,
    clients: Clients,
    sessions_by_key: HashMap<Box<str>, SessionId, FixedState>,
    /// By the number of the session in the store.
    sessions_by_store: HashMap<u64, SessionId, FixedState>,
    subscriptions: Subscriptions,
    routes: RouteCache,
    retained: Retained,
    sys: SysTopics,
    effects_from: usize,
    denials: Vec<Denial>,
    denials_unnoted: u64,
}

impl Broker {
    /// A broker without clients. `seed` keys its hash tables, and should differ from start to start; `version` is what
    /// `$SYS/broker/version` says.
    #[must_use]
    pub fn new(limits: Limits, seed: u64, version: &str) -> Self {
        let mut broker = Self {
            clients: Clients {
                queue_bytes_max: limits.queue_bytes_max,
                stored_bytes_max: limits.stored_bytes_max,
                ..Clients::default()
            },
            sessions_by_key: HashMap::with_hasher(FixedState::with_seed(seed)),
            sessions_by_store: HashMap::with_hasher(FixedState::with_seed(seed)),
            subscriptions: Subscriptions::new(seed),
            routes: RouteCache::default(),
            retained: Retained::default(),
            sys: SysTopics::new(version),
            effects_from: 0,
            denials: Vec::new(),
            denials_unnoted: 0,
            default_limits: Arc::new(limits.port.clone()),
            limits,
        };
        broker.arm_sys(Timestamp::default());
        broker
    }

    /// Changes the bounds of the gateway. What a port sets for itself comes with each [`Admission`].
    pub fn set_limits(&mut self, limits: Limits, now: Timestamp) {
        let sys_changed = limits.sys_interval != self.limits.sys_interval;
        self.clients.queue_bytes_max = limits.queue_bytes_max;
        self.clients.stored_bytes_max = limits.stored_bytes_max;
        self.default_limits = Arc::new(limits.port.clone());
        self.limits = limits;
        if sys_changed {
            self.arm_sys(now);
        }
    }

    /// The next thing that the shell has to do.
    #[inline]
    pub fn poll_effect(&mut self) -> Option<Effect> {
        let effect = self.clients.effects.get(self.effects_from).copied();
        if effect.is_some() {
            self.effects_from += 1;
        } else if self.effects_from > 0 {
            self.clients.effects.clear();
            self.effects_from = 0;
        }
        effect
    }

    /// When [`Broker::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.clients.timers.next()
    }

    /// Does everything that is due at `now`.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        while let Some((at, timer)) = self.clients.timers.pop_due(now) {
            match timer {
                Timer::KeepAlive(id) => self.handle_keep_alive_timer(id, now),
                Timer::CredentialExpiry(id) => self.handle_credential_expiry(id),
                Timer::PauseEnd(id) => self.handle_pause_end(id, now),
                Timer::AskAgain(id) => self.handle_ask_again(id, now),
                Timer::SessionExpiry(id) => self.handle_session_expiry(id, at, now),
                Timer::WillDelay(id) => {
                    self.publish_will(id, now);
                    self.write_session(id);
                }
                Timer::Sys => {
                    for topic in self.retained.sweep(now) {
                        self.write_retained(Change::RetainedEnd(topic));
                    }
                    self.publish_sys_topics(now);
                    self.arm_sys(now);
                }
            }
        }
    }

    /// Hands over what is encoded for a connection, and encodes more if more waits. Called when the link has written all
    /// that it took before; that is what says that the client keeps up.
    pub fn take_outbox(&mut self, id: ConnectionId, now: Timestamp) -> Outbox {
        let Some(connection) = self.clients.connections.get_mut(id) else {
            return Outbox::default();
        };
        if connection.held_for > 0 || connection.awaits_load {
            connection.announced = false;
            return Outbox::default();
        }
        // The link is here: whatever is encoded below needs no announcement.
        connection.announced = true;
        let bound = connection.outbox_bytes_max();
        if connection.outbox.len() < bound / 2 {
            connection.slow = false;
            if let Some(session) = self.clients.sessions.get_mut(connection.session) {
                let queue_max = session.port.limits.queue_bytes_per_client_max;
                if session.overflowing && session.held_bytes < queue_max / 2 {
                    session.overflowing = false;
                }
            }
        }
        let waiting = std::mem::take(&mut connection.waiting);
        for publisher in waiting {
            self.resume(publisher);
        }
        self.fill(id, now);
        match self.clients.connections.get_mut(id) {
            Some(connection) => {
                connection.announced = false;
                self.clients.outbox_bytes -= connection.outbox.len();
                std::mem::take(&mut connection.outbox)
            }
            None => Outbox::default(),
        }
    }

    /// Takes back what [`Broker::take_outbox`] gave, when all of it is written.
    pub fn return_outbox(&mut self, outbox: Outbox) {
        self.clients.buffers.give_back(outbox);
    }

    /// Takes a packet from a client. On a violation the connection is already ending, and the client has been told if
    /// its version allows.
    ///
    /// # Errors
    ///
    /// The rule that the client broke, for the journal.
    #[inline]
    pub fn handle_packet(
        &mut self,
        id: ConnectionId,
        packet: &Packet<'_>,
        now: Timestamp,
    ) -> Result<Next, Violation> {
        let Some(connection) = self.clients.connections.get_mut(id) else {
            return Ok(Next::Close);
        };
        if connection.closing {
            return Ok(Next::Close);
        }
        connection.last_packet_at = now;
        self.clients.statistics.packets_received += 1;
        let result = match packet {
            Packet::Publish(publish) => self.handle_publish(id, publish, now),
            Packet::PubAck(ack) => {
                self.handle_acknowledgement(id, ack.packet_id, Awaiting::PubAck, now)
            }
            Packet::PubRec(ack) => self.handle_pubrec(id, ack, now),
            Packet::PubRel(ack) => self.handle_pubrel(id, ack),
            Packet::PubComp(ack) => {
                self.handle_acknowledgement(id, ack.packet_id, Awaiting::PubComp, now)
            }
            Packet::Subscribe(subscribe) => self.handle_subscribe(id, subscribe, now),
            Packet::Unsubscribe(unsubscribe) => self.handle_unsubscribe(id, unsubscribe),
            Packet::PingReq => {
                self.write(id, encode::pingresp);
                Ok(Next::Continue)
            }
            Packet::Disconnect(disconnect) => self.handle_disconnect(id, disconnect, now),
            // The link answers AUTH: the authenticator may take its time.
            Packet::Auth(_) => Err(Violation::AuthUnexpected),
            Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {
                Err(Violation::PacketFromWrongSide)
            }
        };
        if let Err(violation) = result {
            self.handle_violation(id, violation);
        }
        result
    }

    /// Ends the connection of a client that broke a rule, as the decoder or the link has found.
    pub fn handle_violation(&mut self, id: ConnectionId, violation: Violation) {
        self.disconnect(id, violation.reason(), violation.sentence());
        if let Some(connection) = self.clients.connections.get_mut(id)
            && let Some(ended_by) = &mut connection.ended_by
        {
            ended_by.violation.get_or_insert(violation);
        }
    }

    /// Whether so much waits for a client, acknowledgements and all, that no more packets should be taken from it.
    #[must_use]
    pub fn is_congested(&self, id: ConnectionId) -> bool {
        let connection = self.clients.connections.get(id);
        connection.is_some_and(|connection| {
            connection.outbox.len() > connection.outbox_bytes_max()
                || connection.withheld.len() > commit::WITHHELD_MAX
        })
    }

    /// Counts bytes that were read from a client.
    pub fn note_received(&mut self, bytes: usize) {
        self.clients.statistics.bytes_received += u64::try_from(bytes).unwrap_or(0);
    }

    /// Appends a packet to the outbox of a connection, unless it is larger than the client takes (MQTT-3.1.2-24).
    fn write(&mut self, id: ConnectionId, encode: impl FnOnce(&mut Vec<u8>)) {
        if let Some(connection) = self.clients.connections.get_mut(id) {
            connection.lend_buffer(&mut self.clients.buffers);
            let buffer = connection.outbox.buffer();
            let before = buffer.len();
            encode(buffer);
            let written = buffer.len() - before;
            if written > connection.maximum_packet_size {
                buffer.truncate(before);
                return;
            }
            self.clients.outbox_bytes += written;
            connection.announce(id, &mut self.clients.effects);
            self.clients.statistics.packets_sent += 1;
            self.clients.statistics.bytes_sent += u64::try_from(written).unwrap_or(0);
        }
    }

    #[inline]
    fn acknowledge(
        &mut self,
        id: ConnectionId,
        kind: AckKind,
        packet_id: PacketId,
        reason: ReasonCode,
        text: Option<&'static str>,
    ) {
        let answer = Answer::Ack {
            kind,
            packet_id,
            reason,
            text,
        };
        self.answer(id, answer, false);
    }

    /// PUBACK or PUBCOMP: an exchange is over.
    fn handle_acknowledgement(
        &mut self,
        id: ConnectionId,
        packet_id: PacketId,
        awaiting: Awaiting,
        now: Timestamp,
    ) -> Result<Next, Violation> {
        if let Some(session) = self.clients.connections.get(id).map(|c| c.session)
            && self.clients.end_exchange(session, packet_id, awaiting)
        {
            self.fill(id, now);
        }
        Ok(Next::Continue)
    }

    /// PUBREC: the client has the message; what remains is to release its identifier (MQTT 5, 4.3.3).
    fn handle_pubrec(
        &mut self,
        id: ConnectionId,
        ack: &Ack<'_>,
        now: Timestamp,
    ) -> Result<Next, Violation> {
        if ack.reason.is_error() {
            return self.handle_acknowledgement(id, ack.packet_id, Awaiting::PubRec, now);
        }
        let session = self.clients.connections.get(id).map(|c| c.session);
        let Some(session_id) = session else {
            return Ok(Next::Close);
        };
        let Some(session) = self.clients.sessions.get_mut(session_id) else {
            return Ok(Next::Close);
        };
        let before = self.clients.pending.mark();
        let known = match session.outgoing.find_mut(ack.packet_id) {
            Some(exchange) if exchange.awaiting != Awaiting::PubAck => {
                exchange.awaiting = Awaiting::PubComp;
                let (number, delivery) = (exchange.number, exchange.delivery.take());
                if let Some(delivery) = delivery {
                    self.clients.budget.release(session, &delivery);
                    if number > 0 {
                        self.clients.write_release(session_id, number, &delivery);
                    }
                }
                true
            }
            _ => false,
        };
        let reason = if known {
            ReasonCode::Success
        } else {
            ReasonCode::PacketIdentifierNotFound
        };
        // After PUBREL the client forgets the identifier: a restart must not send the message again.
        let answer = Answer::Ack {
            kind: AckKind::PubRel,
            packet_id: ack.packet_id,
            reason,
            text: None,
        };
        self.answer(id, answer, self.clients.pending.mark() > before);
        Ok(Next::Continue)
    }

    /// PUBREL: the client will not send this message again.
    fn handle_pubrel(&mut self, id: ConnectionId, ack: &Ack<'_>) -> Result<Next, Violation> {
        let Some(session) = self.session_of(id) else {
            return Ok(Next::Close);
        };
        let store = session.store.as_ref().map(|store| store.id);
        let is_known = session.incoming.remove(ack.packet_id);
        if let Some(store) = store.filter(|_| is_known) {
            let change = Change::ReceivedEnd(store, ack.packet_id);
            self.clients.pending.add(change, &mut self.clients.effects);
        }
        let reason = if is_known {
            if let Some(connection) = self.clients.connections.get_mut(id) {
                connection.unreleased = connection.unreleased.saturating_sub(1);
            }
            ReasonCode::Success
        } else {
            ReasonCode::PacketIdentifierNotFound
        };
        // After PUBCOMP the client may use the identifier for another message.
        let answer = Answer::Ack {
            kind: AckKind::PubComp,
            packet_id: ack.packet_id,
            reason,
            text: None,
        };
        self.answer(id, answer, is_known && store.is_some());
        Ok(Next::Continue)
    }

    fn session_of(&mut self, id: ConnectionId) -> Option<&mut Session> {
        let session = self.clients.connections.get(id)?.session;
        self.clients.sessions.get_mut(session)
    }

    /// Tells a publisher's link to wait for `receiver`, if it may still be asked to.
    fn pause(&mut self, publisher: ConnectionId, receiver: ConnectionId, now: Timestamp) -> Next {
        let Some(connection) = self.clients.connections.get_mut(publisher) else {
            return Next::Close;
        };
        if publisher == receiver || now < connection.next_pause_from {
            return Next::Continue;
        }
        let until = now + PAUSE_MAX;
        connection.paused = Some((until, receiver));
        self.clients.timers.arm(until, Timer::PauseEnd(publisher));
        if let Some(receiver) = self.clients.connections.get_mut(receiver) {
            receiver.waiting.push(publisher);
        }
        self.clients.statistics.pauses += 1;
        self.clients.effects.push(Effect::Pause(publisher));
        Next::Pause
    }

    fn resume(&mut self, publisher: ConnectionId) {
        if let Some(connection) = self.clients.connections.get_mut(publisher)
            && let Some((until, _)) = connection.paused.take()
        {
            self.clients
                .timers
                .disarm(until, Timer::PauseEnd(publisher));
            self.clients.effects.push(Effect::Resume(publisher));
        }
    }

    /// A publisher has waited long enough: its receiver is slow, and nobody waits for it until it has caught up.
    fn handle_pause_end(&mut self, publisher: ConnectionId, now: Timestamp) {
        let Some(connection) = self.clients.connections.get_mut(publisher) else {
            return;
        };
        let Some((_, receiver)) = connection.paused.take() else {
            return;
        };
        connection.next_pause_from = now + PAUSE_INTERVAL;
        self.clients.effects.push(Effect::Resume(publisher));
        if let Some(receiver) = self.clients.connections.get_mut(receiver) {
            receiver.slow = true;
            receiver.waiting.retain(|waiting| *waiting != publisher);
        }
    }

    /// Encodes queued and retained messages for a connection, as far as it may be sent more.
    fn fill(&mut self, id: ConnectionId, now: Timestamp) {
        self.clients.fill(id, now);
        self.fill_retained(id, now);
        if !self.clients.misdirected.is_empty() {
            let misdirected = std::mem::take(&mut self.clients.misdirected);
            self.redirect(misdirected, now);
        }
    }

    /// Routes a message of the broker itself or a will.
    fn route_message(&mut self, message: &Arc<message::Message>, retain: bool, now: Timestamp) {
        let mut publication = Publication::of(message, retain, now);
        self.route(&mut publication);
    }
}
