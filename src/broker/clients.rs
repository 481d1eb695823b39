//! Sessions and connections, and the way of a message to them.

use super::arena::Arena;
use super::connection::Connection;
use super::effect::Effect;
use super::form::{Form, append_image};
use super::inflight::Awaiting;
use super::message::{Delivery, QueueBudget};
use super::outbox::{BufferPool, SHARED_PAYLOAD_MIN};
use super::pending::Pending;
use super::publication::{Images, Publication};
use super::route::Target;
use super::session::{Queued, Session};
use super::shared::GroupId;
use super::statistics::Statistics;
use super::time::Timestamp;
use super::timers::Timers;
use super::{ConnectionId, SessionId};
use crate::limits::ENCODE_AHEAD_BYTES;
use crate::mqtt::{PacketId, QoS};

/// What became of a message for one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivered {
    /// It is on its way, or queued, or the session does not want it in its state.
    Yes,
    /// It was dropped because a bound was reached.
    Dropped,
    /// The client may not read its topic.
    Forbidden,
}

/// Everybody the broker knows, and what waits for them.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    pub(crate) sessions: Arena<Session>,
    pub(crate) connections: Arena<Connection>,
    pub(crate) budget: QueueBudget,
    pub(crate) queue_bytes_max: u64,
    pub(crate) stored_bytes_max: u64,
    /// Bytes in the outboxes of all connections; bounded like the queues.
    pub(crate) outbox_bytes: usize,
    pub(crate) statistics: Statistics,
    pub(crate) effects: Vec<Effect>,
    pub(crate) timers: Timers,
    pub(crate) images: Images,
    pub(crate) buffers: BufferPool,
    pub(crate) pending: Pending,
    /// Messages of shared subscriptions whose member may not read them, for another member.
    pub(crate) misdirected: Vec<Delivery>,
}

impl Clients {
    /// How much waits for a session, as shared subscriptions compare it; `None` if it cannot take a message now.
    pub(crate) fn load(&self, session: SessionId, online: bool, qos: QoS) -> Option<u64> {
        let session = self.sessions.get(session)?;
        match session.connection.and_then(|id| self.connections.get(id)) {
            Some(connection) if online => {
                let waiting = u64::try_from(connection.outbox.len()).unwrap_or(u64::MAX);
                Some(session.load().saturating_mul(256).saturating_add(waiting))
            }
            None if !online && qos > QoS::AtMostOnce && session.is_durable() => {
                Some(session.load())
            }
            _ => None,
        }
    }

    /// Bytes that may wait for one connection now: as many as its port allows while there is room, else a fair part of what
    /// the gateway has.
    pub(crate) fn outbox_share(&self) -> usize {
        let max = usize::try_from(self.queue_bytes_max).unwrap_or(usize::MAX);
        if self.outbox_bytes < max {
            usize::MAX
        } else {
            max / self.connections.len().max(1)
        }
    }

    /// Sends or queues a publication for one session.
    pub(crate) fn deliver(
        &mut self,
        target: &Target,
        publication: &mut Publication<'_>,
        group: Option<GroupId>,
    ) -> Delivered {
        let Some(session) = self.sessions.get(target.session) else {
            return Delivered::Yes;
        };
        let Some(id) = session.connection else {
            let qos = publication.qos.min(target.qos);
            if qos == QoS::AtMostOnce || !session.is_durable() {
                return Delivered::Yes;
            }
            if session.store.is_some() {
                return self.deliver_stored(target, publication, qos, group, false);
            }
            return self.enqueue(target, publication, group);
        };
        if session.rights.is_some() {
            let connection = self.connections.get(id);
            let clearance = connection.and_then(|connection| connection.clearance.as_ref());
            if clearance.is_some_and(|clearance| target.is_narrowed || clearance.is_holding()) {
                return self.deliver_cleared(target, publication, group, id);
            }
        }
        self.deliver_online(target, publication, group, id)
    }

    /// Sends or queues a publication for a session that is connected, and whose client may read it.
    #[inline]
    pub(super) fn deliver_online(
        &mut self,
        target: &Target,
        publication: &mut Publication<'_>,
        group: Option<GroupId>,
        id: ConnectionId,
    ) -> Delivered {
        let qos = publication.qos.min(target.qos);
        let share = self.outbox_share();
        let (Some(session), Some(connection)) = (
            self.sessions.get_mut(target.session),
            self.connections.get_mut(id),
        ) else {
            return Delivered::Yes;
        };
        // As for a client that is away: QoS 0 is not kept for it, and nothing for a session that ends.
        if connection.closing && (qos == QoS::AtMostOnce || !session.is_durable()) {
            return Delivered::Yes;
        }
        let waiting = connection.outbox.len();
        if qos == QoS::AtMostOnce {
            let bound = connection.outbox_bytes_max();
            if (waiting >= bound / 2 || waiting > share / 2) && !connection.slow {
                publication.behind = Some(id);
            }
            if waiting >= bound || waiting > share {
                self.drop_for(target.session);
                return Delivered::Dropped;
            }
            self.transmit(target, publication, id, None);
            return Delivered::Yes;
        }
        if session.store.is_some() {
            return self.deliver_stored(target, publication, qos, group, false);
        }
        let quota = usize::from(connection.send_quota);
        let keeps = session.is_durable() || group.is_some();
        let now = session.queue.is_empty()
            && !session.outgoing.holds_back()
            && session.outgoing.len() < quota
            && waiting < ENCODE_AHEAD_BYTES
            && !connection.closing
            && waiting <= share
            && (!keeps
                || self.budget.fits(
                    session,
                    publication.cost(target.identifiers.len()),
                    self.queue_bytes_max,
                ));
        if now {
            self.begin_exchange(target, publication, id, qos, group);
            return Delivered::Yes;
        }
        if session.held_bytes >= connection.port.limits.queue_bytes_per_client_max / 2
            && !connection.slow
        {
            publication.behind = Some(id);
        }
        self.enqueue(target, publication, group)
    }

    /// Counts a message that a session should have got, and reports the first of a burst.
    pub(super) fn drop_for(&mut self, session: SessionId) {
        self.statistics.messages_dropped += 1;
        if let Some(entry) = self.sessions.get_mut(session) {
            entry.dropped += 1;
            if !entry.overflowing {
                entry.overflowing = true;
                self.effects.push(Effect::Overflow(session));
            }
        }
    }

    /// Sends a QoS 1 or 2 publication at once.
    fn begin_exchange(
        &mut self,
        target: &Target,
        publication: &mut Publication<'_>,
        id: ConnectionId,
        qos: QoS,
        group: Option<GroupId>,
    ) {
        let Some(session) = self.sessions.get_mut(target.session) else {
            return;
        };
        // A session that ends with its connection never sends again; another member of a group may have to.
        let kept = (session.is_durable() || group.is_some()).then(|| {
            let message = publication.keep();
            let delivery = Delivery {
                message,
                qos,
                retain: publication.retain && target.retain_as_published,
                identifiers: target.identifiers.clone(),
                group,
                stored: None,
            };
            self.budget.hold(session, &delivery);
            Box::new(delivery)
        });
        let Some(packet_id) = session.outgoing.begin(awaiting(qos), kept) else {
            return;
        };
        // A message larger than the client takes counts as delivered (MQTT-3.1.2-25).
        if !self.transmit(target, publication, id, Some(packet_id)) {
            self.end_exchange(target.session, packet_id, awaiting(qos));
        }
    }

    /// Ends an exchange that waits for `awaiting`, and returns what it has held; false if there is none.
    #[inline]
    pub(crate) fn end_exchange(
        &mut self,
        session: SessionId,
        packet_id: PacketId,
        awaiting: Awaiting,
    ) -> bool {
        let Some(entry) = self.sessions.get_mut(session) else {
            return false;
        };
        let Some(exchange) = entry.outgoing.end(packet_id, awaiting) else {
            return false;
        };
        match exchange.delivery {
            Some(delivery) => {
                self.budget.release(entry, &delivery);
                self.write_off_delivery(session, &delivery);
            }
            None if exchange.number > 0 => self.write_off_released(session, exchange.number),
            None => {}
        }
        true
    }

    /// Encodes a publication into the outbox of a connection; false if the client does not take a packet that large.
    pub(super) fn transmit(
        &mut self,
        target: &Target,
        publication: &mut Publication<'_>,
        id: ConnectionId,
        packet_id: Option<PacketId>,
    ) -> bool {
        let Some(connection) = self.connections.get_mut(id) else {
            return true;
        };
        let Some(topic) = connection.unmounted(publication.topic) else {
            return false;
        };
        let form = Form {
            topic,
            qos: publication.qos.min(target.qos),
            retain: publication.retain && target.retain_as_published,
            dup: false,
            message_expiry_interval: publication.message_expiry_interval,
            identifiers: &target.identifiers,
            forwarded: publication.forwarded,
        };
        let parts = form.parts(packet_id, publication.payload);
        let Some(len) = connection.fitting(&parts) else {
            self.statistics.messages_too_large += 1;
            return false;
        };
        self.statistics
            .count_sent(form.qos, len, publication.payload.len());
        connection.lend_buffer(&mut self.buffers);
        let before = connection.outbox.len();
        let share = publication.fans_out && publication.payload.len() >= SHARED_PAYLOAD_MIN;
        let plain = publication.fans_out
            && form.identifiers.is_empty()
            && connection.details.outgoing_aliases_max == 0
            && connection.port.mount_point.is_empty();
        if plain {
            append_image(&mut self.images, connection, &parts, publication, share);
        } else {
            let shared = share.then(|| publication.shared_payload());
            connection.append(&form, packet_id, publication.payload, shared);
        }
        self.outbox_bytes += connection.outbox.len() - before;
        connection.announce(id, &mut self.effects);
        true
    }

    /// Puts a publication into the queue of a session.
    pub(super) fn enqueue(
        &mut self,
        target: &Target,
        publication: &mut Publication<'_>,
        group: Option<GroupId>,
    ) -> Delivered {
        let message = publication.keep();
        let delivery = Delivery {
            qos: publication.qos.min(target.qos),
            retain: publication.retain && target.retain_as_published,
            identifiers: target.identifiers.clone(),
            group,
            stored: None,
            message,
        };
        self.enqueue_delivery(target.session, delivery, publication.received_at)
    }

    pub(crate) fn enqueue_delivery(
        &mut self,
        session: SessionId,
        delivery: Delivery,
        now: Timestamp,
    ) -> Delivered {
        let Some(entry) = self.sessions.get_mut(session) else {
            return Delivered::Dropped;
        };
        let limits = &entry.port.limits;
        let messages_max = usize::try_from(limits.queue_messages_per_client_max).unwrap_or(0);
        let cost = QueueBudget::cost(&delivery.message, delivery.identifiers.len());
        if entry.queue.len() >= messages_max || !self.budget.fits(entry, cost, self.queue_bytes_max)
        {
            self.drop_for(session);
            return Delivered::Dropped;
        }
        self.budget.hold(entry, &delivery);
        entry.enqueued += 1;
        entry.queue.push_back(Queued {
            delivery,
            since: now,
        });
        Delivered::Yes
    }

    /// Takes the first queued message that has not expired.
    pub(super) fn dequeue(&mut self, session: SessionId, now: Timestamp) -> Option<Delivery> {
        self.expire_first(session, now);
        let entry = self.sessions.get_mut(session)?;
        let Some(queued) = entry.queue.pop_front() else {
            entry.queue.shrink_to_fit();
            return None;
        };
        self.budget.release(entry, &queued.delivery);
        Some(queued.delivery)
    }

    /// Takes away what has expired at the beginning of the queue.
    pub(super) fn expire_first(&mut self, session: SessionId, now: Timestamp) {
        while let Some(entry) = self.sessions.get_mut(session)
            && let kept_for = entry.port.limits.max_message_expiry
            && let Some(queued) = entry.queue.pop_front_if(|queued| {
                // What was sent once does not expire any more (MQTT-4.3.3-7).
                let is_new = queued.delivery.stored.is_none_or(|stored| !stored.again);
                let is_over = kept_for.is_some_and(|time| queued.since + time <= now);
                is_new && (queued.delivery.message.is_expired(now) || is_over)
            })
        {
            self.budget.release(entry, &queued.delivery);
            self.statistics.messages_expired += 1;
            self.write_off_delivery(session, &queued.delivery);
        }
    }

    /// Sends queued messages as far as the client's quota and the outbox allow.
    pub(crate) fn fill(&mut self, id: ConnectionId, now: Timestamp) {
        self.resend(id, now);
        self.fill_from_queue(id, now);
        self.read_ahead(id);
    }

    fn fill_from_queue(&mut self, id: ConnectionId, now: Timestamp) {
        let Some(connection) = self.connections.get(id) else {
            return;
        };
        let session = connection.session;
        if connection.clearance.is_some() {
            return self.fill_cleared(id, now);
        }
        while self.can_fill(id) && self.is_ready(session) {
            let Some(delivery) = self.dequeue(session, now) else {
                return;
            };
            self.send_delivery(id, session, delivery, now);
        }
    }

    /// Whether the first message of the queue may be sent, as far as quota and outbox go.
    pub(super) fn can_fill(&self, id: ConnectionId) -> bool {
        let Some(connection) = self.connections.get(id).filter(|c| !c.closing) else {
            return false;
        };
        let Some(session) = self.sessions.get(connection.session) else {
            return false;
        };
        let waiting = connection.outbox.len();
        !session.queue.is_empty()
            && !session.outgoing.holds_back()
            && session.outgoing.len() < usize::from(connection.send_quota)
            && waiting <= self.outbox_share()
            && waiting < ENCODE_AHEAD_BYTES
    }

    /// Sends one kept message to a connection whose quota allows it.
    pub(crate) fn send_delivery(
        &mut self,
        id: ConnectionId,
        session: SessionId,
        mut delivery: Delivery,
        now: Timestamp,
    ) {
        let Some(entry) = self.sessions.get_mut(session) else {
            return;
        };
        let mut packet_id = None;
        if delivery.qos > QoS::AtMostOnce && entry.store.is_some() {
            if delivery.stored.is_none() {
                let waits = delivery.qos == QoS::ExactlyOnce || !entry.queue.is_empty();
                delivery.stored = self.write_down(session, &delivery, false);
                if delivery.stored.is_none() {
                    self.drop_for(session);
                    return;
                }
                if waits {
                    self.park(session, delivery, now);
                    return;
                }
            }
            packet_id = self.begin_numbered(session, delivery.clone());
            if packet_id.is_none() {
                return;
            }
        } else if delivery.qos > QoS::AtMostOnce {
            let kept = (entry.is_durable() || delivery.group.is_some()).then(|| {
                self.budget.hold(entry, &delivery);
                Box::new(delivery.clone())
            });
            packet_id = entry.outgoing.begin(awaiting(delivery.qos), kept);
            if packet_id.is_none() {
                return;
            }
        }
        let again = delivery.stored.is_some_and(|stored| stored.again);
        if !self.write_delivery(id, &delivery, packet_id, again, now)
            && let Some(packet_id) = packet_id
        {
            self.end_exchange(session, packet_id, awaiting(delivery.qos));
        }
    }

    /// Encodes one kept message; false if the client does not take a packet that large.
    pub(super) fn write_delivery(
        &mut self,
        id: ConnectionId,
        delivery: &Delivery,
        packet_id: Option<PacketId>,
        dup: bool,
        now: Timestamp,
    ) -> bool {
        let Some(connection) = self.connections.get_mut(id) else {
            return true;
        };
        let message = &delivery.message;
        let Some(topic) = connection.unmounted(&message.topic) else {
            return false;
        };
        let form = Form {
            topic,
            qos: delivery.qos,
            retain: delivery.retain,
            dup,
            message_expiry_interval: message.expiry_left(now),
            identifiers: &delivery.identifiers,
            forwarded: &message.forwarded,
        };
        let Some(len) = connection.fitting(&form.parts(packet_id, &message.payload)) else {
            self.statistics.messages_too_large += 1;
            return false;
        };
        self.statistics
            .count_sent(form.qos, len, message.payload.len());
        connection.lend_buffer(&mut self.buffers);
        let before = connection.outbox.len();
        let shared = (message.payload.len() >= SHARED_PAYLOAD_MIN).then(|| message.payload.clone());
        connection.append(&form, packet_id, &message.payload, shared);
        self.outbox_bytes += connection.outbox.len() - before;
        connection.announce(id, &mut self.effects);
        true
    }

    /// Marks a connection as ending: the link writes what waits for it and closes.
    pub(crate) fn close(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(id)
            && !connection.closing
        {
            connection.closing = true;
            self.effects.push(Effect::Close(id));
        }
    }

    /// Drops everything that a session waits for.
    pub(crate) fn discard_messages(&mut self, session: &mut Session) {
        let store = session.store.as_mut();
        let recent = store.map(|store| std::mem::take(&mut store.recent));
        let queue = std::mem::take(&mut session.queue);
        for queued in queue.into_iter().chain(recent.unwrap_or_default()) {
            self.budget.release(session, &queued.delivery);
        }
        for exchange in session.outgoing.take_all() {
            if let Some(delivery) = exchange.delivery {
                self.budget.release(session, &delivery);
            }
        }
    }

    /// What of a session's messages another member of a group may take: all that was not sent yet, and, when the session
    /// is over, QoS 1 messages that were sent and not acknowledged (MQTT 5, 4.8.2). What stays behind in the store keeps the
    /// rest there, or the order would be lost.
    pub(crate) fn take_shared(
        &mut self,
        session: SessionId,
        over: bool,
        is_wanted: impl Fn(GroupId) -> bool,
    ) -> Vec<Delivery> {
        let Some(entry) = self.sessions.get_mut(session) else {
            return Vec::new();
        };
        let has_gap = entry.store.as_ref().is_some_and(|store| store.gap > 0);
        if (entry.groups.is_empty() || has_gap) && !over {
            return Vec::new();
        }
        let mut taken = Vec::new();
        if over {
            for exchange in entry.outgoing.iter_mut() {
                let is_shared = |delivery: &Delivery| {
                    delivery.group.is_some() && delivery.qos == QoS::AtLeastOnce
                };
                if exchange.delivery.as_deref().is_some_and(is_shared)
                    && let Some(delivery) = exchange.delivery.take()
                {
                    taken.push(*delivery);
                }
            }
        }
        let mut kept = std::collections::VecDeque::new();
        for queued in std::mem::take(&mut entry.queue) {
            if queued.delivery.group.is_some_and(&is_wanted) {
                taken.push(queued.delivery);
            } else {
                kept.push_back(queued);
            }
        }
        for delivery in &taken {
            self.budget.release(entry, delivery);
        }
        entry.queue = kept;
        for delivery in &mut taken {
            self.write_off_delivery(session, delivery);
            delivery.stored = None;
        }
        taken
    }
}

pub(super) fn awaiting(qos: QoS) -> Awaiting {
    match qos {
        QoS::ExactlyOnce => Awaiting::PubRec,
        QoS::AtMostOnce | QoS::AtLeastOnce => Awaiting::PubAck,
    }
}
