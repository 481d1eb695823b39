//! Sessions that outlive the process: their messages stand in the store, and in memory only as far as the client gets them.
//!
//! Every QoS 1 or 2 message for such a session is a numbered delivery. In the order of the numbers come those that are
//! under way (`Session::outgoing`), those that wait in memory (`Session::queue`), those that are only in the store (the gap),
//! and the newest ones, which are kept in memory while the gap is being read (`StoredSession::recent`). Without a connection
//! everything is gap.

use std::collections::VecDeque;
use std::sync::Arc;

use super::clients::{Clients, Delivered, awaiting};
use super::effect::Effect;
use super::message::{Delivery, QueueBudget, Stored};
use super::persist::{Change, DeliveryRecord, LoadRequest, StoreId};
use super::publication::Publication;
use super::route::Target;
use super::session::{Queued, Session};
use super::shared::GroupId;
use super::time::Timestamp;
use super::{ConnectionId, SessionId};
use crate::limits::{ENCODE_AHEAD_BYTES, QueueOverflow};
use crate::mqtt::QoS;

/// Messages of a session that are read from the store at a time, and kept in memory for a client that is connected.
const PAGE_MESSAGES: u32 = 1024;

/// Bytes of the same.
const PAGE_BYTES: u64 = 1024 * 1024;

/// A page while memory is short.
const PAGE_MESSAGES_MIN: u32 = 16;

/// What the store has of a session.
#[derive(Debug)]
pub(crate) struct StoredSession {
    pub(crate) id: StoreId,
    pub(crate) next_number: u64,
    /// Highest number that was sent, or may have been by the process before.
    pub(crate) sent_through: u64,
    /// Deliveries up to it that are not over.
    pub(crate) sent: u64,
    /// Deliveries that are not over, and what they count in the budgets.
    pub(crate) deliveries: u64,
    pub(crate) bytes: u64,
    /// Those of them that are only in the store.
    pub(crate) gap: u64,
    /// Everything up to this number is in memory or over; the gap begins behind it.
    pub(crate) loaded_through: u64,
    /// The newest deliveries, behind the gap.
    pub(crate) recent: VecDeque<Queued>,
    /// The read that is under way.
    pub(crate) loading: Option<u64>,
    loads: u64,
    /// When that read began everything was stored.
    pub(crate) finds_all: bool,
    /// Nothing is read before this batch is stored.
    pub(crate) load_from: u64,
    /// The connection is looked after when this batch is stored.
    awaited: u64,
}

impl StoredSession {
    pub(crate) fn new(id: StoreId) -> Self {
        Self {
            id,
            next_number: 1,
            sent_through: 0,
            sent: 0,
            deliveries: 0,
            bytes: 0,
            gap: 0,
            loaded_through: 0,
            recent: VecDeque::new(),
            loading: None,
            loads: 0,
            finds_all: false,
            load_from: 0,
            awaited: 0,
        }
    }

    /// Begins a read, and returns its number.
    fn begin_load(&mut self) -> u64 {
        self.loads += 1;
        self.loading = Some(self.loads);
        self.loads
    }
}

impl Clients {
    /// Takes a QoS 1 or 2 publication for a session that is stored. One that `waits` is not sent at once.
    pub(super) fn deliver_stored(
        &mut self,
        target: &Target,
        publication: &mut Publication<'_>,
        qos: QoS,
        group: Option<GroupId>,
        waits: bool,
    ) -> Delivered {
        let mut delivery = Delivery {
            qos,
            retain: publication.retain && target.retain_as_published,
            identifiers: target.identifiers.clone(),
            group,
            stored: None,
            message: publication.keep(),
        };
        let Some(stored) = self.write_down(target.session, &delivery, publication.is_refusable)
        else {
            self.drop_for(target.session);
            return Delivered::Dropped;
        };
        delivery.stored = Some(stored);
        let Some(id) = self.sessions.get(target.session).and_then(|s| s.connection) else {
            self.leave_in_store(target.session);
            return Delivered::Yes;
        };
        if self.is_behind(target.session, id) {
            publication.behind = Some(id);
        }
        // Exactly once cannot be promised for a message that the store may lose after the client has it.
        if qos == QoS::AtLeastOnce && !waits && self.can_send(target.session, id, stored.number) {
            self.begin_stored(target, publication, id, delivery);
        } else {
            self.park(target.session, delivery, publication.received_at);
        }
        Delivered::Yes
    }

    /// Notes that a session has to get a message; `None` if there is no room for it.
    pub(super) fn write_down(
        &mut self,
        session: SessionId,
        delivery: &Delivery,
        is_refusable: bool,
    ) -> Option<Stored> {
        let bytes = delivery.message.stored_bytes();
        let limits = &self.sessions.get(session)?.port.limits;
        if bytes > limits.queue_bytes_per_client_max.min(self.stored_bytes_max) {
            return None;
        }
        while !self.has_stored_room(session, bytes)? {
            let policy = self.sessions.get(session)?.port.limits.queue_overflow;
            if policy == QueueOverflow::RejectNewest || !self.drop_oldest(session) {
                return None;
            }
        }
        let entry = self.sessions.get_mut(session)?;
        let store = entry.store.as_mut()?;
        let number = store.next_number;
        store.next_number += 1;
        store.deliveries += 1;
        store.bytes += bytes;
        self.pending.stored_bytes += bytes;
        self.pending.stored_deliveries += 1;
        self.pending.number(&delivery.message);
        let record = DeliveryRecord {
            session: store.id,
            number,
            message: Arc::clone(&delivery.message),
            qos: delivery.qos,
            retain: delivery.retain,
            identifiers: delivery.identifiers.clone(),
            is_refusable,
        };
        let place = self
            .pending
            .add(Change::Delivery(Box::new(record)), &mut self.effects);
        Some(Stored {
            number,
            place,
            again: false,
        })
    }

    fn has_stored_room(&self, session: SessionId, bytes: u64) -> Option<bool> {
        let entry = self.sessions.get(session)?;
        let store = entry.store.as_ref()?;
        let limits = &entry.port.limits;
        let messages_max = usize::try_from(limits.queue_messages_per_client_max).unwrap_or(0);
        Some(
            entry.queued() < messages_max
                && store.bytes + bytes <= limits.queue_bytes_per_client_max
                && self.pending.stored_bytes + bytes <= self.stored_bytes_max,
        )
    }

    /// Makes room by dropping the oldest message that was not sent; false if there is none.
    fn drop_oldest(&mut self, session: SessionId) -> bool {
        let Some(entry) = self.sessions.get_mut(session) else {
            return false;
        };
        let is_unsent = |queued: &Queued| {
            let stored = queued.delivery.stored;
            stored.is_none_or(|stored| !stored.again)
        };
        if let Some(at) = entry.queue.iter().position(is_unsent) {
            if let Some(queued) = entry.queue.remove(at) {
                self.budget.release(entry, &queued.delivery);
                self.write_off_delivery(session, &queued.delivery);
            }
        } else if !self.drop_oldest_unseen(session) {
            return false;
        }
        self.drop_for(session);
        true
    }

    /// Drops the oldest message that is only in the store and was not sent; false if there is none.
    fn drop_oldest_unseen(&mut self, session: SessionId) -> bool {
        let Some(entry) = self.sessions.get_mut(session) else {
            return false;
        };
        let Some(store) = entry.store.as_mut() else {
            return false;
        };
        let recent = u64::try_from(store.recent.len()).unwrap_or(0);
        if store.gap == 0 || store.deliveries <= store.sent + recent {
            return false;
        }
        let after = store.loaded_through.max(store.sent_through);
        let bytes = store.bytes / store.deliveries;
        store.gap -= 1;
        let change = Change::OldestDropped(store.id, after);
        let place = self.pending.add(change, &mut self.effects);
        // A read that is under way may still find it.
        store.loading = None;
        store.load_from = place.batch;
        self.count_out(session, 1, bytes);
        self.look_after(session, place.batch);
        true
    }

    /// A message that was dropped unseen is there after all: the batch that said so was not stored.
    pub(super) fn take_back_drop(&mut self, session: SessionId) {
        let entry = self.sessions.get_mut(session);
        if let Some(store) = entry.and_then(|session| session.store.as_mut()) {
            let bytes = store.bytes / store.deliveries.max(1);
            store.gap += 1;
            store.deliveries += 1;
            store.bytes += bytes;
            self.pending.stored_deliveries += 1;
            self.pending.stored_bytes += bytes;
        }
    }

    /// Notes that a delivery is over, however it ended.
    pub(crate) fn write_off_delivery(&mut self, session: SessionId, delivery: &Delivery) {
        if let Some(stored) = delivery.stored {
            if !self.pending.withdraw(stored.place) {
                self.write_off_number(session, stored.number);
            }
            self.write_off(session, stored.number, delivery.message.stored_bytes());
        }
    }

    /// Counts one delivery out, and its message.
    pub(super) fn write_off(&mut self, session: SessionId, number: u64, bytes: u64) {
        let entry = self.sessions.get_mut(session);
        let store = entry.and_then(|session| session.store.as_mut());
        if let Some(store) = store.filter(|store| number <= store.sent_through) {
            store.sent = store.sent.saturating_sub(1);
        }
        self.count_out(session, 1, bytes);
    }

    /// Returns what deliveries and messages have taken of the budgets.
    pub(super) fn count_out(&mut self, session: SessionId, deliveries: u64, bytes: u64) {
        let entry = self.sessions.get_mut(session);
        if let Some(store) = entry.and_then(|session| session.store.as_mut()) {
            let deliveries = deliveries.min(store.deliveries);
            store.deliveries -= deliveries;
            store.sent = store.sent.min(store.deliveries);
            // The bytes of what was dropped unseen are a guess, which is made good with the last delivery.
            let is_last = store.deliveries == 0;
            let bytes = if is_last {
                store.bytes
            } else {
                bytes.min(store.bytes)
            };
            store.bytes -= bytes;
            let pending = &mut self.pending;
            pending.stored_deliveries = pending.stored_deliveries.saturating_sub(deliveries);
            pending.stored_bytes = pending.stored_bytes.saturating_sub(bytes);
        }
    }

    fn write_off_number(&mut self, session: SessionId, number: u64) {
        let entry = self.sessions.get(session);
        if let Some(id) = entry
            .and_then(|session| session.store.as_ref())
            .map(|s| s.id)
        {
            let change = Change::DeliveryEnd(id, number);
            self.pending.add(change, &mut self.effects);
        }
    }

    /// The client has a QoS 2 message: only its identifier remains (PUBREC).
    pub(super) fn write_release(&mut self, session: SessionId, number: u64, delivery: &Delivery) {
        self.count_out(session, 0, delivery.message.stored_bytes());
        let entry = self.sessions.get(session);
        if let Some(id) = entry
            .and_then(|session| session.store.as_ref())
            .map(|s| s.id)
        {
            let change = Change::DeliveryReleased(id, number);
            self.pending.add(change, &mut self.effects);
        }
    }

    /// The exchange of a message that the client has is over (PUBCOMP).
    pub(super) fn write_off_released(&mut self, session: SessionId, number: u64) {
        self.write_off_number(session, number);
        self.write_off(session, number, 0);
    }

    /// Whether a publisher should wait for this receiver, so that its messages need not be read back.
    fn is_behind(&self, session: SessionId, id: ConnectionId) -> bool {
        let (Some(entry), Some(connection)) =
            (self.sessions.get(session), self.connections.get(id))
        else {
            return false;
        };
        let has_gap = entry.store.as_ref().is_some_and(|store| store.gap > 0);
        !connection.slow
            && (has_gap || entry.held_bytes >= entry.port.limits.queue_bytes_per_client_max / 2)
    }

    /// Whether the next message of a session may be sent now.
    fn can_send(&self, session: SessionId, id: ConnectionId, number: u64) -> bool {
        let (Some(entry), Some(connection)) =
            (self.sessions.get(session), self.connections.get(id))
        else {
            return false;
        };
        let waiting = connection.outbox.len();
        let is_first =
            entry.queue.is_empty() && entry.store.as_ref().is_some_and(|store| store.gap == 0);
        is_first
            && !connection.closing
            && entry.outgoing.len() < usize::from(connection.send_quota)
            && entry.outgoing.is_free(number)
            && waiting < ENCODE_AHEAD_BYTES
            && waiting <= self.outbox_share()
    }

    /// Sends a publication that was written down at once.
    fn begin_stored(
        &mut self,
        target: &Target,
        publication: &mut Publication<'_>,
        id: ConnectionId,
        delivery: Delivery,
    ) {
        let qos = delivery.qos;
        let Some(packet_id) = self.begin_numbered(target.session, delivery) else {
            return;
        };
        if !self.transmit(target, publication, id, Some(packet_id)) {
            self.end_exchange(target.session, packet_id, awaiting(qos));
        }
    }

    /// Begins the exchange of a stored delivery.
    pub(super) fn begin_numbered(
        &mut self,
        session: SessionId,
        delivery: Delivery,
    ) -> Option<crate::mqtt::PacketId> {
        let entry = self.sessions.get_mut(session)?;
        let store = entry.store.as_mut()?;
        let number = delivery.stored?.number;
        if number > store.sent_through {
            store.sent_through = number;
            store.sent += 1;
        }
        store.loaded_through = store.loaded_through.max(number);
        let qos = delivery.qos;
        self.budget.hold(entry, &delivery);
        entry
            .outgoing
            .begin_numbered(awaiting(qos), number, Some(Box::new(delivery)))
    }

    /// Puts a delivery that was written down behind those that wait, in memory if there is room.
    pub(super) fn park(&mut self, session: SessionId, delivery: Delivery, since: Timestamp) {
        let Some(entry) = self.sessions.get_mut(session) else {
            return;
        };
        let cost = QueueBudget::cost(&delivery.message, delivery.identifiers.len());
        let has_room = entry.held_bytes < 2 * PAGE_BYTES
            && self.budget.fits(entry, cost, self.queue_bytes_max);
        let Some(store) = entry.store.as_mut() else {
            return;
        };
        let page = usize::try_from(PAGE_MESSAGES).unwrap_or(usize::MAX);
        let batch = delivery.stored.map_or(0, |stored| stored.place.batch);
        let mut waits = delivery.qos == QoS::ExactlyOnce;
        let queued = Queued { delivery, since };
        if store.gap == 0 && entry.queue.len() < page && has_room {
            store.loaded_through = queued.delivery.stored.map_or(0, |stored| stored.number);
            self.budget.hold(entry, &queued.delivery);
            entry.queue.push_back(queued);
        } else if store.gap > 0 && store.recent.len() < page && has_room {
            store.recent.push_back(queued);
            if let Some(queued) = store.recent.back() {
                let delivery = queued.delivery.clone();
                self.budget.hold(entry, &delivery);
            }
        } else {
            waits = true;
            self.forget_recent(session);
            self.leave_in_store(session);
        }
        if waits {
            self.look_after(session, batch);
        }
    }

    /// Has the client of a session looked after when a batch is stored.
    fn look_after(&mut self, session: SessionId, batch: u64) {
        let Some(entry) = self.sessions.get_mut(session) else {
            return;
        };
        let (Some(store), Some(id)) = (entry.store.as_mut(), entry.connection) else {
            return;
        };
        if store.awaited >= batch {
            return;
        }
        store.awaited = batch;
        if batch == self.pending.open_number {
            self.pending.wait(id, &mut self.effects);
        } else {
            self.pending.wait_for(batch, id);
        }
    }

    /// One more delivery is only in the store.
    fn leave_in_store(&mut self, session: SessionId) {
        let entry = self.sessions.get_mut(session);
        if let Some(store) = entry.and_then(|session| session.store.as_mut()) {
            store.gap += 1;
        }
    }

    /// The newest deliveries are read from the store later.
    fn forget_recent(&mut self, session: SessionId) {
        let Some(entry) = self.sessions.get_mut(session) else {
            return;
        };
        let Some(store) = entry.store.as_mut() else {
            return;
        };
        let recent = std::mem::take(&mut store.recent);
        store.gap += u64::try_from(recent.len()).unwrap_or(0);
        for queued in recent {
            self.budget.release(entry, &queued.delivery);
        }
    }

    /// Leaves everything of a session to the store: its client is gone.
    pub(super) fn unload(&mut self, session: SessionId) {
        self.forget_recent(session);
        let Some(entry) = self.sessions.get_mut(session) else {
            return;
        };
        if entry.store.is_none() {
            return;
        }
        for queued in std::mem::take(&mut entry.queue) {
            self.budget.release(entry, &queued.delivery);
        }
        for exchange in entry.outgoing.take_all() {
            if let Some(delivery) = exchange.delivery {
                self.budget.release(entry, &delivery);
            }
        }
        if let Some(store) = &mut entry.store {
            store.gap = store.deliveries;
            store.loaded_through = 0;
            store.loading = None;
            store.awaited = 0;
        }
    }

    /// What is to be read of a session, if a read was asked for and its client still waits; with the number of the read.
    pub(super) fn load_request(&mut self, session: SessionId) -> Option<(LoadRequest, u64)> {
        let is_settled = self.pending.is_settled();
        let entry = self.sessions.get_mut(session)?;
        let store = entry.store.as_mut()?;
        store.finds_all = is_settled;
        let is_short = self.budget.bytes() > self.queue_bytes_max / 2;
        let request = LoadRequest {
            session: store.id,
            after: store.loaded_through,
            deliveries_max: if is_short {
                PAGE_MESSAGES_MIN
            } else {
                PAGE_MESSAGES
            },
            bytes_max: PAGE_BYTES,
        };
        Some((request, store.loading?))
    }

    /// Asks for more of what is only in the store, when little of the session is left in memory.
    pub(super) fn read_ahead(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get(id).filter(|c| !c.closing) else {
            return;
        };
        let session = connection.session;
        let is_held = connection.held_for > self.pending.stored;
        let page = usize::try_from(PAGE_MESSAGES).unwrap_or(usize::MAX);
        let Some(entry) = self.sessions.get_mut(session) else {
            return;
        };
        let is_low = entry.queue.len() < page / 4;
        if let Some(store) = &mut entry.store
            && store.gap > 0
            && store.loading.is_none()
            && store.load_from <= self.pending.stored
            && !is_held
            && is_low
        {
            store.begin_load();
            self.effects.push(Effect::Load(session));
        }
    }

    /// What came from the store was the last: the newest deliveries follow.
    pub(super) fn close_gap(&mut self, session: SessionId) {
        let Some(entry) = self.sessions.get_mut(session) else {
            return;
        };
        if let Some(store) = entry.store.as_mut().filter(|store| store.gap == 0) {
            if let Some(last) = store.recent.back().and_then(|last| last.delivery.stored) {
                store.loaded_through = last.number;
            }
            entry.queue.append(&mut store.recent);
        }
    }

    /// Whether the first message of a queue may be sent: a QoS 2 message has to be stored first. Has the connection looked
    /// after when it is.
    pub(super) fn is_ready(&mut self, session: SessionId) -> bool {
        let Some(entry) = self.sessions.get(session) else {
            return false;
        };
        let first = entry.queue.front().map(|queued| &queued.delivery);
        let Some((delivery, stored)) = first.and_then(|d| Some((d, d.stored?))) else {
            return true;
        };
        if delivery.qos == QoS::ExactlyOnce && stored.place.batch > self.pending.stored {
            self.look_after(session, stored.place.batch);
            return false;
        }
        entry.outgoing.is_free(stored.number)
    }
}

/// Forgets what the budget counts for a stored session that is over.
pub(super) fn give_back(clients: &mut Clients, session: &Session) {
    if let Some(store) = &session.store {
        let pending = &mut clients.pending;
        pending.stored_bytes = pending.stored_bytes.saturating_sub(store.bytes);
        pending.stored_deliveries = pending.stored_deliveries.saturating_sub(store.deliveries);
    }
}
