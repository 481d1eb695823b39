//! How the core and the store work together: batches out, confirmations and messages in.
//!
//! An answer that promises something is withheld until the batch with its changes is stored. The answers of a connection
//! keep their order, so one that promises nothing waits behind one that does.

use std::sync::Arc;

use super::message::{Delivery, Stored};
use super::pending::{Answer, Place, StoreCondition, Withheld};
use super::persist::{Batch, Change, DeliveryRecord, LoadRequest, LoadedDelivery};
use super::session::Queued;
use super::time::Timestamp;
use super::{Broker, ConnectionId, Effect, Next, SessionId};
use crate::mqtt::encode;
use crate::mqtt::{AckKind, PacketId, QoS, ReasonCode};

/// Bytes of messages that wait in memory to be stored, above which publishers wait.
const PENDING_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Answers that a client may have waiting before no more is read from it.
pub(super) const WITHHELD_MAX: usize = 4096;

/// What a publisher is told whose message was struck from a batch.
const NOT_STORED: &str = "The message could not be stored";

impl Broker {
    /// Tells the core what the store can take. [`StoreCondition::Absent`] is what a broker begins with.
    pub fn set_store_condition(&mut self, condition: StoreCondition) {
        self.clients.pending.set_condition(condition);
    }

    /// What the store can take, as far as the core was told.
    #[must_use]
    pub fn store_condition(&self) -> StoreCondition {
        self.clients.pending.condition()
    }

    /// Whether somebody waits for the changes that [`Broker::take_batch`] would give.
    #[must_use]
    pub fn is_store_awaited(&self) -> bool {
        self.clients.pending.is_forced()
    }

    /// How many changes [`Broker::take_batch`] would give.
    #[must_use]
    pub fn pending_changes(&self) -> usize {
        self.clients.pending.len()
    }

    /// Takes the changes that are to be stored next, all or none of them. The one before must have been confirmed.
    pub fn take_batch(&mut self, now: Timestamp) -> Option<Batch> {
        self.clients.pending.take(now)
    }

    /// A batch is stored: what it promises may be said.
    pub fn handle_committed(&mut self, number: u64, now: Timestamp) {
        let pending = &mut self.clients.pending;
        pending.note_stored(number);
        if pending.condition() == StoreCondition::Failing {
            pending.set_condition(StoreCondition::Ready);
        }
        for (_, id) in self.clients.pending.take_waiting(number) {
            self.release(id);
            self.fill(id, now);
        }
        for id in std::mem::take(&mut self.clients.pending.stalled) {
            if let Some(connection) = self.clients.connections.get_mut(id) {
                connection.stalled = false;
                connection.last_packet_at = now;
                self.clients.effects.push(Effect::Resume(id));
            }
        }
    }

    /// A batch could not be stored. It will be tried again without the changes that are refusable: who caused them is told so,
    /// and nothing more is taken until [`Broker::handle_committed`].
    pub fn handle_commit_failed(&mut self, batch: &Batch) {
        self.clients.pending.set_condition(StoreCondition::Failing);
        let ended = self.clients.pending.ended();
        // What came meanwhile is refused as well: it must not overtake what comes again.
        let struck = self.clients.pending.strike_open();
        let all = || batch.changes.iter().chain(&struck);
        for change in all() {
            if let Change::OldestDropped(id, _) = change
                && let Some(session) = self.sessions_by_store.get(&id.get()).copied()
            {
                self.clients.take_back_drop(session);
            }
        }
        for change in all() {
            if let Change::Delivery(delivery) = change
                && delivery.is_refusable
                && !ended.contains(&(delivery.session, delivery.number))
            {
                self.refuse(delivery);
            }
            if let Change::Received(id, packet_id) = change
                && let Some(session) = self.sessions_by_store.get(&id.get()).copied()
            {
                self.forget_received(session, *packet_id);
            }
        }
        for (batch, id) in self.clients.pending.take_waiting(u64::MAX) {
            self.refuse_answers(id, batch);
            // What is not refused is still to be stored.
            self.clients.pending.wait_for(batch, id);
        }
    }

    /// Says to a client what may be said now.
    fn release(&mut self, id: ConnectionId) {
        let stored = self.clients.pending.stored;
        while let Some(connection) = self.clients.connections.get_mut(id) {
            let next = connection
                .withheld
                .pop_front_if(|withheld| withheld.batch <= stored);
            let Some(withheld) = next else {
                break;
            };
            self.write_answer(id, withheld.answer);
        }
        let Some(connection) = self.clients.connections.get_mut(id) else {
            return;
        };
        if connection.withheld.is_empty() {
            connection.withheld.shrink_to(8);
        }
        if connection.held_for > 0 && connection.held_for <= stored {
            connection.held_for = 0;
            connection.awaits_load = true;
            self.clients.read_ahead(id);
            let session = self
                .session_of(id)
                .and_then(|session| session.store.as_ref());
            if session.is_none_or(|store| store.loading.is_none()) {
                self.let_go(id);
            }
        }
    }

    /// Hands out what waits for a connection from its beginning.
    fn let_go(&mut self, id: ConnectionId) {
        let connection = self.clients.connections.get_mut(id);
        if let Some(connection) = connection.filter(|connection| connection.awaits_load) {
            connection.awaits_load = false;
            connection.announced = false;
            connection.announce(id, &mut self.clients.effects);
        }
    }

    /// Tells a client that its publications of a batch could not be stored; before version 5 only the end of the connection
    /// says so. The answers keep their order.
    fn refuse_answers(&mut self, id: ConnectionId, number: u64) {
        let Some(connection) = self.clients.connections.get_mut(id) else {
            return;
        };
        let is_v5 = connection.version.is_v5();
        let mut refused = 0;
        let mut taken = Vec::new();
        let waiting = connection.withheld.iter_mut();
        for withheld in waiting.filter(|withheld| withheld.batch == number) {
            let promises = withheld.promises;
            let Answer::Ack {
                kind: kind @ (AckKind::PubAck | AckKind::PubRec),
                packet_id,
                reason,
                text,
            } = &mut withheld.answer
            else {
                if !promises {
                    withheld.batch = 0;
                }
                continue;
            };
            withheld.batch = 0;
            // A message that came again is refused with the first.
            if promises || taken.contains(packet_id) {
                refused += 1;
                *reason = ReasonCode::QuotaExceeded;
                *text = Some(NOT_STORED);
                if *kind == AckKind::PubRec {
                    taken.push(*packet_id);
                }
            }
        }
        self.clients.statistics.quota_refusals += refused;
        if refused > 0 && !is_v5 {
            self.disconnect(id, ReasonCode::QuotaExceeded, NOT_STORED);
            return;
        }
        // The client may use their identifiers for other messages.
        let session = self.clients.connections.get(id).map(|c| c.session);
        if let Some(session) = session {
            for packet_id in taken {
                self.forget_received(session, packet_id);
            }
        }
        self.release(id);
    }

    fn forget_received(&mut self, session: SessionId, packet_id: PacketId) {
        if let Some(session) = self.clients.sessions.get_mut(session)
            && session.incoming.remove(packet_id)
            && let Some(id) = session.connection
            && let Some(connection) = self.clients.connections.get_mut(id)
        {
            connection.unreleased = connection.unreleased.saturating_sub(1);
        }
    }

    /// Takes back a delivery that could not be stored, unless the client has it.
    fn refuse(&mut self, record: &DeliveryRecord) {
        let id = self.sessions_by_store.get(&record.session.get()).copied();
        let clients = &mut self.clients;
        let Some(session) = id else {
            return;
        };
        let Some(entry) = clients.sessions.get_mut(session) else {
            return;
        };
        let is_it = |queued: &Queued| {
            let stored = queued.delivery.stored;
            stored.is_some_and(|stored| stored.number == record.number)
        };
        let Some(store) = entry.store.as_mut() else {
            return;
        };
        if let Some(at) = entry.queue.iter().position(is_it) {
            if let Some(queued) = entry.queue.remove(at) {
                clients.budget.release(entry, &queued.delivery);
            }
        } else if let Some(at) = store.recent.iter().position(is_it) {
            if let Some(queued) = store.recent.remove(at) {
                clients.budget.release(entry, &queued.delivery);
            }
        } else if let Some(delivery) = entry.outgoing.find_delivery(record.number) {
            // The client has it, and that is all there is of it.
            delivery.stored = None;
        } else if record.number > store.loaded_through && store.gap > 0 {
            store.gap -= 1;
        } else {
            return;
        }
        clients.write_off(session, record.number, record.bytes());
    }

    /// Answers a client, behind everything that waits for the store; and only when everything that is pending now is
    /// stored, if the answer `promises` it.
    pub(super) fn answer(&mut self, id: ConnectionId, answer: Answer, promises: bool) {
        let Some(connection) = self.clients.connections.get_mut(id) else {
            return;
        };
        let behind = connection.withheld.back().map(|withheld| withheld.batch);
        let batch = match behind {
            _ if promises => self.clients.pending.wait(id, &mut self.clients.effects),
            Some(batch) => batch,
            None => return self.write_answer(id, answer),
        };
        connection.withheld.push_back(Withheld {
            batch,
            promises,
            answer,
        });
    }

    fn write_answer(&mut self, id: ConnectionId, answer: Answer) {
        match answer {
            Answer::Ack {
                kind,
                packet_id,
                reason,
                text,
            } => {
                let Some(connection) = self.clients.connections.get(id) else {
                    return;
                };
                let version = connection.version;
                let text = text.and_then(|text| connection.reason_string(text));
                self.write(id, |out| {
                    encode::ack(out, version, kind, packet_id, reason, text)
                });
            }
            Answer::Packet(packet) => self.write(id, |out| out.extend_from_slice(&packet)),
        }
    }

    /// Whether a session that is to be stored can be: nobody keeps a client from connecting again and again while the disk
    /// does not answer.
    pub(super) fn takes_sessions(&self) -> bool {
        let pending = &self.clients.pending;
        pending.condition() != StoreCondition::Failing && pending.bytes() <= 2 * PENDING_BYTES_MAX
    }

    /// Has a client that has added to what is pending wait while that is too much.
    pub(super) fn stalled_if(&mut self, has_added: bool, id: ConnectionId) -> Next {
        let pending = &mut self.clients.pending;
        if !has_added || pending.bytes() <= PENDING_BYTES_MAX {
            return Next::Continue;
        }
        let Some(connection) = self.clients.connections.get_mut(id) else {
            return Next::Close;
        };
        connection.stalled = true;
        pending.stalled.push(id);
        pending.wait(id, &mut self.clients.effects);
        self.clients.effects.push(Effect::Pause(id));
        self.clients.statistics.pauses += 1;
        Next::Pause
    }

    /// What is to be read after [`Effect::Load`], and the number of the read for [`Broker::handle_loaded`]; none if nobody
    /// waits for it any more.
    #[must_use]
    pub fn load_request(&mut self, session: SessionId) -> Option<(LoadRequest, u64)> {
        self.clients.load_request(session)
    }

    /// Takes what was read for [`Broker::load_request`], in order.
    pub fn handle_loaded(
        &mut self,
        session: SessionId,
        load: u64,
        loaded: Vec<LoadedDelivery>,
        now: Timestamp,
    ) {
        let Some(entry) = self.clients.sessions.get_mut(session) else {
            return;
        };
        let (Some(store), Some(id)) = (entry.store.as_mut(), entry.connection) else {
            return;
        };
        if store.loading != Some(load) {
            return;
        }
        store.loading = None;
        let end = store
            .recent
            .front()
            .and_then(|queued| queued.delivery.stored)
            .map_or(u64::MAX, |stored| stored.number);
        let mut is_empty = true;
        for delivery in loaded {
            // More than fits is read again later.
            let is_enough = !is_empty && self.clients.budget.bytes() > self.limits.queue_bytes_max;
            if delivery.number < end && !is_enough {
                is_empty = false;
                self.take_loaded(session, id, delivery, now);
            }
        }
        if is_empty {
            self.handle_nothing_loaded(session, id);
        }
        self.clients.close_gap(session);
        self.fill(id, now);
        self.let_go(id);
    }

    /// A delivery that was to be read is damaged, and over.
    pub fn handle_unreadable(&mut self, session: SessionId, number: u64) {
        let entry = self.clients.sessions.get_mut(session);
        let Some(store) = entry.and_then(|session| session.store.as_mut()) else {
            return;
        };
        store.gap = store.gap.saturating_sub(1);
        let change = Change::DeliveryEnd(store.id, number);
        self.clients.pending.add(change, &mut self.clients.effects);
        self.clients.write_off(session, number, 0);
        self.clients.statistics.messages_dropped += 1;
    }

    /// What [`Broker::load_request`] asks for could not be read; it is asked for again when the client does something.
    pub fn handle_load_failed(&mut self, session: SessionId, load: u64) {
        let Some(entry) = self.clients.sessions.get_mut(session) else {
            return;
        };
        if let Some(store) = &mut entry.store
            && store.loading == Some(load)
        {
            store.loading = None;
            if let Some(id) = entry.connection {
                self.let_go(id);
            }
        }
    }

    /// Nothing was found where something was expected: either it is not stored yet, or it is lost.
    fn handle_nothing_loaded(&mut self, session: SessionId, id: ConnectionId) {
        let clients = &mut self.clients;
        let entry = clients.sessions.get_mut(session);
        let Some(store) = entry.and_then(|session| session.store.as_mut()) else {
            return;
        };
        if !clients.pending.is_settled() {
            store.load_from = clients.pending.wait(id, &mut clients.effects);
            return;
        }
        if !store.finds_all {
            // What was looked for may have been stored since: it is read again.
            return;
        }
        let lost = std::mem::take(&mut store.gap);
        clients.count_out(session, lost, 0);
        clients.statistics.messages_dropped += lost;
    }

    fn take_loaded(
        &mut self,
        session: SessionId,
        id: ConnectionId,
        loaded: LoadedDelivery,
        now: Timestamp,
    ) {
        let Some(entry) = self.clients.sessions.get_mut(session) else {
            return;
        };
        let Some(store) = entry.store.as_mut() else {
            return;
        };
        store.gap = store.gap.saturating_sub(1);
        store.loaded_through = loaded.number;
        let again = loaded.number <= store.sent_through;
        let Some(message) = loaded.message else {
            if let Some(packet_id) = entry.outgoing.begin_released(loaded.number) {
                self.clients.send_pubrel(id, packet_id);
            }
            return;
        };
        let since = message.received_at();
        let delivery = Delivery {
            message: Arc::new(message),
            qos: loaded.qos,
            retain: loaded.retain,
            identifiers: loaded.identifiers,
            group: None,
            stored: Some(Stored {
                number: loaded.number,
                place: Place::default(),
                again,
            }),
        };
        if delivery.qos == QoS::AtMostOnce || delivery.message.is_expired(now) && !again {
            self.clients.statistics.messages_expired += 1;
            self.clients.write_off_delivery(session, &delivery);
            return;
        }
        self.clients.budget.hold(entry, &delivery);
        entry.queue.push_back(Queued { delivery, since });
    }
}
