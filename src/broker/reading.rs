//! Messages that a client may get only if it may read their topics: by a subscription that is wider than its rights, by one
//! that somebody else than the rules has granted, or from a queue that is older than the rules.
//!
//! Where the answer is not known yet, messages wait in order: QoS 1 and 2 in the queue of the session, QoS 0 beside it, each
//! with its place behind the queue. So they do while nobody can tell: a back end that is away costs no message that was
//! acknowledged. The bounds of both queues hold, and QoS 0 that finds no room is dropped and counted.

use std::ops::Bound;
use std::sync::Arc;

use super::clearance::Held;
use super::clients::{Clients, Delivered};
use super::denial::DeniedAction;
use super::effect::Effect;
use super::inflight::Awaiting;
use super::message::Delivery;
use super::publication::Publication;
use super::route::Target;
use super::session::Session;
use super::shared::GroupId;
use super::time::Timestamp;
use super::{ConnectionId, SessionId};
use crate::mqtt::QoS;
use crate::policy::{Decision, TopicAccess};

/// Whether a client may get the messages of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// Yes, with this QoS at most.
    Yes(QoS),
    No,
    /// Somebody has to be asked.
    Unknown,
}

impl Clients {
    /// Whether the client of a session may get messages of a topic, given with its mount point.
    pub(super) fn reading(&self, session: SessionId, topic: &str, now: Timestamp) -> Reading {
        let Some(entry) = self.sessions.get(session) else {
            return Reading::No;
        };
        let Some(rights) = &entry.rights else {
            return Reading::Yes(QoS::ExactlyOnce);
        };
        let Some(topic) = topic.strip_prefix(&*entry.port.mount_point) else {
            return Reading::No;
        };
        let known = rights.read(topic);
        let verdict = known.verdict(QoS::AtMostOnce, false);
        let answer = || {
            let connection = self.connections.get(entry.connection?)?;
            let clearance = connection.clearance.as_ref()?;
            clearance.answer(TopicAccess::Read, topic, now)
        };
        let decision = match verdict.decision {
            Decision::Ask => answer().map_or(Decision::Ask, |answer| answer.decision),
            Decision::Allowed => return Reading::Yes(known.qos_max()),
            Decision::Denied => Decision::Denied,
        };
        match decision {
            Decision::Allowed => Reading::Yes(QoS::ExactlyOnce),
            Decision::Denied => Reading::No,
            Decision::Ask => Reading::Unknown,
        }
    }

    /// Whether a member of a shared subscription may be given a message; where that has to be asked, only if it need not be
    /// sure.
    pub(super) fn may_get(
        &self,
        session: SessionId,
        topic: &str,
        now: Timestamp,
        is_sure: bool,
    ) -> bool {
        match self.reading(session, topic, now) {
            Reading::Yes(_) => true,
            Reading::No => false,
            Reading::Unknown => !is_sure,
        }
    }

    /// Delivers to a client with narrowed subscriptions, or for whom messages are held.
    #[inline(never)]
    pub(super) fn deliver_cleared(
        &mut self,
        target: &Target,
        publication: &mut Publication<'_>,
        group: Option<GroupId>,
        id: ConnectionId,
    ) -> Delivered {
        let reading = match target.is_narrowed {
            true => self.reading(target.session, publication.topic, publication.received_at),
            false => Reading::Yes(QoS::ExactlyOnce),
        };
        let connection = self.connections.get(id);
        let clearance = connection.and_then(|connection| connection.clearance.as_ref());
        let is_holding = clearance.is_some_and(|clearance| clearance.is_holding());
        let lowered;
        let target = match reading {
            Reading::No => {
                self.statistics.count_denial(DeniedAction::Read);
                return Delivered::Forbidden;
            }
            Reading::Yes(qos) if qos < target.qos => {
                lowered = Target {
                    qos,
                    ..target.clone()
                };
                &lowered
            }
            Reading::Yes(_) => target,
            Reading::Unknown => {
                self.ask_to_read(target.session, publication.topic);
                target
            }
        };
        if reading != Reading::Unknown && !is_holding {
            return self.deliver_online(target, publication, group, id);
        }
        self.hold_back(target, publication, group, id)
    }

    /// Has a message wait behind those that wait for an answer.
    fn hold_back(
        &mut self,
        target: &Target,
        publication: &mut Publication<'_>,
        group: Option<GroupId>,
        id: ConnectionId,
    ) -> Delivered {
        let qos = publication.qos.min(target.qos);
        let (Some(session), Some(connection)) = (
            self.sessions.get_mut(target.session),
            self.connections.get_mut(id),
        ) else {
            return Delivered::Yes;
        };
        let Some(clearance) = &mut connection.clearance else {
            return Delivered::Yes;
        };
        if connection.closing && (qos == QoS::AtMostOnce || !session.is_durable()) {
            return Delivered::Yes;
        }
        if qos > QoS::AtMostOnce {
            clearance.is_queue_waiting = true;
            return match session.store {
                Some(_) => self.deliver_stored(target, publication, qos, group, true),
                None => self.enqueue(target, publication, group),
            };
        }
        let held = Held {
            behind: session.next_place(),
            delivery: Delivery {
                message: publication.keep(),
                qos,
                retain: publication.retain && target.retain_as_published,
                identifiers: target.identifiers.clone(),
                group,
                stored: None,
            },
        };
        if clearance.hold(held) {
            return Delivered::Yes;
        }
        self.drop_for(target.session);
        Delivered::Dropped
    }

    /// Has the link ask whether the client of a session may read a topic, given with its mount point.
    pub(super) fn ask_to_read(&mut self, session: SessionId, topic: &str) {
        let Some(entry) = self.sessions.get(session) else {
            return;
        };
        let topic = topic.strip_prefix(&*entry.port.mount_point);
        if let (Some(topic), Some(id)) = (topic, entry.connection)
            && let Some(connection) = self.connections.get_mut(id)
            && let Some(clearance) = &mut connection.clearance
            && clearance.ask_to_read(topic)
        {
            self.effects.push(Effect::Ask(id));
        }
    }

    /// Sends queued messages and those that are held, in order, as far as rights are known and quota and outbox allow.
    pub(super) fn fill_cleared(&mut self, id: ConnectionId, now: Timestamp) {
        let Some(connection) = self.connections.get_mut(id).filter(|c| !c.closing) else {
            return;
        };
        let session = connection.session;
        if let Some(clearance) = &mut connection.clearance {
            clearance.is_queue_waiting = false;
        }
        loop {
            if self.release_held(id, session, now, true) {
                return;
            }
            if !self.can_fill(id) || !self.is_ready(session) {
                break;
            }
            match self.clear_first(session, now) {
                Reading::Yes(_) => {}
                Reading::No => continue,
                Reading::Unknown => {
                    if let Some(connection) = self.connections.get_mut(id)
                        && let Some(clearance) = &mut connection.clearance
                    {
                        clearance.is_queue_waiting = true;
                    }
                    return;
                }
            }
            let Some(delivery) = self.dequeue(session, now) else {
                break;
            };
            self.send_delivery(id, session, delivery, now);
        }
        // What still waits in the queue waits for the client, and QoS 0 does not wait for that.
        self.release_held(id, session, now, false);
    }

    /// Lets held messages go whose turn it is, or all; true if one of them waits for an answer.
    fn release_held(
        &mut self,
        id: ConnectionId,
        session: SessionId,
        now: Timestamp,
        in_turn: bool,
    ) -> bool {
        loop {
            let (Some(entry), Some(connection)) =
                (self.sessions.get(session), self.connections.get(id))
            else {
                return false;
            };
            let clearance = connection.clearance.as_ref();
            let Some(held) = clearance.and_then(|clearance| clearance.first_held()) else {
                return false;
            };
            if in_turn && held.behind > entry.first_place() {
                return false;
            }
            let message = Arc::clone(&held.delivery.message);
            let reading = self.reading(session, &message.topic, now);
            if reading == Reading::Unknown {
                self.ask_to_read(session, &message.topic);
                return true;
            }
            let connection = self.connections.get_mut(id);
            let clearance = connection.and_then(|connection| connection.clearance.as_mut());
            let Some(delivery) = clearance.and_then(|clearance| clearance.release_first()) else {
                return false;
            };
            if reading == Reading::No {
                self.forbid(delivery);
            } else if self.has_room_for_qos_0(id) {
                self.send_delivery(id, session, delivery, now);
            } else {
                self.drop_for(session);
            }
        }
    }

    fn has_room_for_qos_0(&self, id: ConnectionId) -> bool {
        let share = self.outbox_share();
        self.connections.get(id).is_some_and(|connection| {
            let waiting = connection.outbox.len();
            waiting < connection.outbox_bytes_max() && waiting <= share
        })
    }

    /// Whether the first message of the queue may be read; one that may not is dropped.
    fn clear_first(&mut self, session: SessionId, now: Timestamp) -> Reading {
        let all = Reading::Yes(QoS::ExactlyOnce);
        // Else what comes behind could be sent by the answer about what has expired.
        self.expire_first(session, now);
        let Some(entry) = self.sessions.get(session).filter(|s| s.checks_reads) else {
            return all;
        };
        let Some(first) = entry.queue.front() else {
            return all;
        };
        let message = Arc::clone(&first.delivery.message);
        let reading = self.reading(session, &message.topic, now);
        match reading {
            Reading::Yes(_) => {}
            Reading::Unknown => self.ask_to_read(session, &message.topic),
            Reading::No => {
                let entry = self.sessions.get_mut(session);
                let Some(entry) = entry else {
                    return Reading::Unknown;
                };
                if let Some(queued) = entry.queue.pop_front() {
                    self.budget.release(entry, &queued.delivery);
                    self.write_off_delivery(session, &queued.delivery);
                    self.forbid(queued.delivery);
                }
            }
        }
        reading
    }

    /// Whether what was under way when the last connection ended may be sent again; what may not is over.
    pub(super) fn clear_again(&mut self, id: ConnectionId, now: Timestamp) -> Reading {
        let all = Reading::Yes(QoS::ExactlyOnce);
        let Some(connection) = self.connections.get(id) else {
            return all;
        };
        let (session, quota) = (connection.session, usize::from(connection.send_quota));
        let entry = self.sessions.get(session).filter(|s| s.checks_reads);
        let Some(exchange) = entry.and_then(|entry| entry.outgoing.peek_again(quota)) else {
            return all;
        };
        let (packet_id, awaiting) = (exchange.packet_id, exchange.awaiting);
        let Some(delivery) = exchange
            .delivery
            .as_ref()
            .filter(|_| awaiting != Awaiting::PubComp)
        else {
            return all;
        };
        let message = Arc::clone(&delivery.message);
        let reading = self.reading(session, &message.topic, now);
        match reading {
            Reading::Yes(_) => {}
            Reading::Unknown => self.ask_to_read(session, &message.topic),
            Reading::No => {
                self.statistics.count_denial(DeniedAction::Read);
                self.end_exchange(session, packet_id, awaiting);
            }
        }
        reading
    }

    /// Whether a retained message may be sent; if that has to be asked, the walk goes back to `before`.
    pub(super) fn clear_retained(
        &mut self,
        session: SessionId,
        topic: &str,
        before: Option<Bound<String>>,
        now: Timestamp,
    ) -> Reading {
        let Some(before) = before else {
            return Reading::Yes(QoS::ExactlyOnce);
        };
        let reading = self.reading(session, topic, now);
        match reading {
            Reading::Yes(_) => {}
            Reading::No => self.statistics.count_denial(DeniedAction::Read),
            Reading::Unknown => {
                self.ask_to_read(session, topic);
                let entry = self.sessions.get_mut(session);
                if let Some(cursor) = entry.and_then(|entry| entry.retained.front_mut()) {
                    cursor.from = before;
                }
            }
        }
        reading
    }

    /// A message whose client may not read it. Another member of a shared subscription may.
    fn forbid(&mut self, mut delivery: Delivery) {
        self.statistics.count_denial(DeniedAction::Read);
        if delivery.group.is_some() {
            delivery.stored = None;
            self.misdirected.push(delivery);
        }
    }
}

impl Session {
    /// The place of the first message of the queue, which counts up; none comes after all.
    fn first_place(&self) -> u64 {
        let length = u64::try_from(self.queue.len()).unwrap_or(0);
        match &self.store {
            None if self.queue.is_empty() => u64::MAX,
            None => self.enqueued.saturating_sub(length),
            Some(store) => {
                let first = self.queue.front().or_else(|| store.recent.front());
                let first = first.and_then(|queued| queued.delivery.stored);
                match first {
                    _ if self.queue.is_empty() && store.gap > 0 => store.loaded_through + 1,
                    Some(stored) => stored.number,
                    None => u64::MAX,
                }
            }
        }
    }

    /// The place that the next message of the queue will have.
    fn next_place(&self) -> u64 {
        match &self.store {
            Some(store) => store.next_number,
            None => self.enqueued,
        }
    }
}
