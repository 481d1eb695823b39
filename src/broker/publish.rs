//! PUBLISH from a client, and the way of every message to its receivers.

use std::sync::Arc;

use super::authorize::Permission;
use super::clients::Delivered;
use super::denial::DeniedAction;
use super::message::Delivery;
use super::pending::{Answer, StoreCondition};
use super::persist::Change;
use super::publication::Publication;
use super::route::Target;
use super::shared::GroupId;
use super::subscriptions::Subscriber;
use super::time::Timestamp;
use super::{Broker, ConnectionId, Next, SessionId};
use crate::mqtt::{AckKind, PacketId, Publish, PublishProperties, QoS, ReasonCode, Violation};
use crate::policy::{By, is_reserved};

/// How many receivers a message had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Routed {
    /// Sessions and shared subscriptions with a matching filter.
    matched: u32,
    /// Those of them that could not take the message.
    dropped: u32,
}

impl Broker {
    #[inline]
    pub(super) fn handle_publish(
        &mut self,
        id: ConnectionId,
        publish: &Publish<'_>,
        now: Timestamp,
    ) -> Result<Next, Violation> {
        let result = self.take_publish(id, publish, now);
        if result == Ok(Next::Ask) {
            // It comes again, and counts then.
            let statistics = &mut self.clients.statistics;
            statistics.uncount_received(publish.qos, publish.payload.len());
            if let Some(connection) = self.clients.connections.get_mut(id) {
                connection.details.received_messages -= 1;
            }
        }
        result
    }

    #[inline]
    fn take_publish(
        &mut self,
        id: ConnectionId,
        publish: &Publish<'_>,
        now: Timestamp,
    ) -> Result<Next, Violation> {
        let statistics = &mut self.clients.statistics;
        statistics.count_received(publish.qos, publish.payload.len());
        let Some(connection) = self.clients.connections.get_mut(id) else {
            return Ok(Next::Close);
        };
        connection.details.received_messages += 1;
        let limits = &connection.port.limits;
        if publish.qos > limits.maximum_qos {
            return Err(Violation::QoSAboveMaximum);
        }
        if publish.retain && !limits.retain_available {
            return Err(Violation::RetainNotAvailable);
        }
        let Some(alias) = publish.properties.topic_alias else {
            return self.accept(id, publish, publish.topic, now);
        };
        if alias > limits.topic_alias_maximum {
            return Err(Violation::TopicAliasAboveMaximum);
        }
        // The decoder has seen to it that an alias is not zero.
        let slot = usize::from(alias.saturating_sub(1));
        let aliases = &mut connection.details.incoming_aliases;
        if !publish.topic.is_empty() {
            if aliases.len() <= slot {
                aliases.resize(slot + 1, None);
            }
            if let Some(known) = aliases.get_mut(slot) {
                *known = Some(publish.topic.into());
            }
            return self.accept(id, publish, publish.topic, now);
        }
        let topic = aliases.get_mut(slot).and_then(Option::take);
        let Some(topic) = topic else {
            return Err(Violation::TopicAliasUnknown);
        };
        let result = self.accept(id, publish, &topic, now);
        if let Some(connection) = self.clients.connections.get_mut(id)
            && let Some(known) = connection.details.incoming_aliases.get_mut(slot)
        {
            *known = Some(topic);
        }
        result
    }

    /// Takes a PUBLISH whose topic is known: rules, QoS 2 bookkeeping, routing, acknowledgement.
    fn accept(
        &mut self,
        id: ConnectionId,
        publish: &Publish<'_>,
        topic: &str,
        now: Timestamp,
    ) -> Result<Next, Violation> {
        let Some(connection) = self.clients.connections.get(id) else {
            return Ok(Next::Close);
        };
        let v5 = connection.version.is_v5();
        let is_quota_used = connection.unreleased >= connection.port.limits.receive_maximum;
        let session = connection.session;
        let has_rules = connection.clearance.is_some();
        if publish.qos == QoS::ExactlyOnce
            && let Some(packet_id) = publish.packet_id
            && let Some(session) = self.clients.sessions.get(session)
        {
            if session.incoming.contains(packet_id) {
                self.acknowledge(id, AckKind::PubRec, packet_id, ReasonCode::Success, None);
                return Ok(Next::Continue);
            }
            if v5 && is_quota_used {
                return Err(Violation::ReceiveMaximumExceeded);
            }
        }
        let permission = match has_rules {
            true => self.may_publish(id, publish, topic, now),
            false if is_reserved(topic) => Permission::Denied(By::Reserved),
            false => Permission::Granted,
        };
        let before = self.clients.pending.mark();
        let (reason, text, next) = match permission {
            Permission::Granted => self.route_mounted(id, publish, topic, now),
            Permission::Asked => return Ok(Next::Ask),
            Permission::Denied(_) | Permission::TooMuch => {
                self.refuse_publish(id, topic, permission)
            }
        };
        if next == Next::Close {
            return Ok(next);
        }
        self.acknowledge_publish(id, publish, reason, text, before);
        // QoS 0 waits for no disk; what of it is stored is one message for each topic.
        let has_added = publish.qos > QoS::AtMostOnce && self.clients.pending.mark() > before;
        if next == Next::Continue {
            return Ok(self.stalled_if(has_added, id));
        }
        Ok(next)
    }

    /// Says why a PUBLISH is not taken.
    fn refuse_publish(
        &mut self,
        id: ConnectionId,
        topic: &str,
        permission: Permission,
    ) -> (ReasonCode, &'static str, Next) {
        let (reason, text) = match permission {
            Permission::Denied(by) => {
                self.deny(id, DeniedAction::Publish, topic, by);
                let text = "not allowed to publish to this topic";
                (ReasonCode::NotAuthorized, text)
            }
            Permission::TooMuch | Permission::Granted | Permission::Asked => {
                self.clients.statistics.rate_refusals += 1;
                let text = "more messages than the rules allow";
                (ReasonCode::QuotaExceeded, text)
            }
        };
        if self.closes_on_denial(id) {
            self.disconnect(id, reason, text);
            return (reason, text, Next::Close);
        }
        (reason, text, Next::Continue)
    }

    /// Puts the mount point of the publisher before the topic of its message.
    #[inline]
    fn route_mounted(
        &mut self,
        id: ConnectionId,
        publish: &Publish<'_>,
        topic: &str,
        now: Timestamp,
    ) -> (ReasonCode, &'static str, Next) {
        let connection = self.clients.connections.get(id);
        match connection.map_or("", |connection| &connection.port.mount_point) {
            "" => self.route_publish(id, publish, topic, now),
            mount_point => {
                let topic = [mount_point, topic].concat();
                self.route_publish(id, publish, &topic, now)
            }
        }
    }

    /// Retains and routes what a client has published.
    fn route_publish(
        &mut self,
        id: ConnectionId,
        publish: &Publish<'_>,
        topic: &str,
        now: Timestamp,
    ) -> (ReasonCode, &'static str, Next) {
        let pieces;
        let forwarded = match publish.properties.forwarded.as_slice() {
            Some(slice) => slice,
            None => {
                pieces = collect_forwarded(&publish.properties);
                &pieces
            }
        };
        let mut publication = Publication::new(
            topic,
            publish.payload,
            forwarded,
            publish.qos,
            publish.retain,
            now,
        );
        publication.message_expiry_interval = publish.properties.message_expiry_interval;
        let mut v5 = false;
        if let Some(connection) = self.clients.connections.get(id) {
            publication.publisher = Some(connection.session);
            v5 = connection.version.is_v5();
        }
        publication.is_refusable = publish.qos > QoS::AtMostOnce;
        if publication.is_refusable && self.is_unstorable(&publication) {
            self.clients.statistics.quota_refusals += 1;
            let text = "the message cannot be stored now";
            if v5 {
                return (ReasonCode::QuotaExceeded, text, Next::Continue);
            }
            // An acknowledgement would promise what cannot be kept, and there is no other answer.
            self.disconnect(id, ReasonCode::QuotaExceeded, text);
            return (ReasonCode::QuotaExceeded, text, Next::Close);
        }
        if publish.retain && !self.retain(&mut publication) {
            self.clients.statistics.quota_refusals += 1;
            if v5 && publish.qos > QoS::AtMostOnce {
                let text = "no room for another retained message";
                return (ReasonCode::QuotaExceeded, text, Next::Continue);
            }
        }
        let routed = self.route(&mut publication);
        let next = match publication.behind {
            Some(receiver) => self.pause(id, receiver, now),
            None => Next::Continue,
        };
        if routed.matched == 0 {
            return (ReasonCode::NoMatchingSubscribers, "", next);
        }
        if routed.dropped == routed.matched {
            // At QoS 0 nobody is refused: the message was dropped, and counted as that.
            if publish.qos > QoS::AtMostOnce {
                self.clients.statistics.quota_refusals += 1;
            }
            let text = "no receiver has room for the message";
            return (ReasonCode::QuotaExceeded, text, next);
        }
        (ReasonCode::Success, "", next)
    }

    /// PUBACK or PUBREC. Versions before 5 know no refusal: what was not taken is acknowledged and counted.
    #[inline]
    fn acknowledge_publish(
        &mut self,
        id: ConnectionId,
        publish: &Publish<'_>,
        reason: ReasonCode,
        text: &'static str,
        before: u64,
    ) {
        let Some(packet_id) = publish.packet_id else {
            return;
        };
        let text = (!text.is_empty()).then_some(text);
        let mut kind = AckKind::PubAck;
        if publish.qos == QoS::ExactlyOnce {
            kind = AckKind::PubRec;
            self.receive(id, packet_id, reason.is_error());
        }
        let answer = Answer::Ack {
            kind,
            packet_id,
            reason,
            text,
        };
        let promises = self.clients.pending.mark() > before;
        self.answer(id, answer, promises);
    }

    /// Notes the identifier of a QoS 2 message, so that it is taken once, unless the client is told that it was refused.
    fn receive(&mut self, id: ConnectionId, packet_id: PacketId, is_refused: bool) {
        let clients = &mut self.clients;
        if let Some(connection) = clients.connections.get_mut(id)
            && !(is_refused && connection.version.is_v5())
            && let Some(session) = clients.sessions.get_mut(connection.session)
        {
            session.incoming.insert(packet_id);
            connection.unreleased = connection.unreleased.saturating_add(1);
            if let Some(store) = &session.store {
                let change = Change::Received(store.id, packet_id);
                clients.pending.add(change, &mut clients.effects);
            }
        }
    }

    /// Whether a QoS 1 or 2 message would have to be stored to be acknowledged, and cannot be.
    fn is_unstorable(&mut self, publication: &Publication<'_>) -> bool {
        let condition = self.clients.pending.condition();
        let is_failing = match condition {
            StoreCondition::Absent | StoreCondition::Ready => return false,
            StoreCondition::Missing | StoreCondition::Full => false,
            StoreCondition::Failing => true,
        };
        if publication.retain {
            let is_new = self.retained.get(publication.topic).is_none();
            let grows = is_new && !publication.payload.is_empty();
            if condition != StoreCondition::Full || grows {
                return true;
            }
        }
        let hash = self.subscriptions.hash(publication.topic);
        let topic = publication.topic;
        let cached = self.routes.take(&mut self.subscriptions, hash, topic);
        let clients = &self.clients;
        let needs_store = |session: SessionId| {
            let session = clients.sessions.get(session);
            session.is_some_and(|s| s.is_durable() && (is_failing || s.connection.is_none()))
        };
        let is_direct = |target: &Target| {
            publication.qos.min(target.qos) > QoS::AtMostOnce && needs_store(target.session)
        };
        let mut unstorable = cached.route.targets.iter().any(is_direct);
        for group in &cached.route.groups {
            if let Some(members) = self.subscriptions.group_mut(*group) {
                unstorable |= members.sessions().all(needs_store);
            }
        }
        self.routes.put_back(hash, cached);
        unstorable
    }

    /// Sets or clears the retained message of a topic; false if there is no room for it (MQTT 5, 3.3.1.3).
    pub(super) fn retain(&mut self, publication: &mut Publication<'_>) -> bool {
        if publication.payload.is_empty() {
            if self.retained.clear(publication.topic) {
                self.write_retained(Change::RetainedEnd(publication.topic.into()));
            }
            return true;
        }
        let message = publication.keep();
        let replaces = self.retained.get(publication.topic).is_some();
        let count = u64::try_from(self.retained.len()).unwrap_or(u64::MAX);
        let is_full = self.clients.pending.condition() == StoreCondition::Full;
        let room = replaces || !is_full && count < u64::from(self.limits.retained_messages_max);
        if !room || self.retained.bytes_with(&message) > self.limits.retained_bytes_max {
            return false;
        }
        self.write_retained(Change::Retained(Arc::clone(&message)));
        self.retained.set(message);
        true
    }

    pub(super) fn write_retained(&mut self, change: Change) {
        if self.clients.pending.is_attached() {
            self.clients
                .pending
                .add_retained(change, &mut self.clients.effects);
        }
    }

    /// Gives a message to everybody who has subscribed to its topic.
    pub(super) fn route(&mut self, publication: &mut Publication<'_>) -> Routed {
        let hash = self.subscriptions.hash(publication.topic);
        let cached = self
            .routes
            .take(&mut self.subscriptions, hash, publication.topic);
        let route = &cached.route;
        let mut routed = Routed::default();
        publication.fans_out = route.targets.len() + route.groups.len() > 1;
        self.clients.images.clear();
        for target in &route.targets {
            let delivered = if target.no_local && publication.publisher == Some(target.session) {
                match self.target_without_no_local(target, publication.topic) {
                    Some(target) => self.clients.deliver(&target, publication, None),
                    None => continue,
                }
            } else {
                self.clients.deliver(target, publication, None)
            };
            routed.count(delivered);
        }
        for group in &route.groups {
            routed.count(self.deliver_shared(*group, publication, false));
        }
        self.routes.put_back(hash, cached);
        routed
    }

    /// What is left of a target when its subscriptions with no local do not count (3.8.3.1).
    fn target_without_no_local(&mut self, target: &Target, topic: &str) -> Option<Target> {
        let wanted = target.session;
        let route = self.subscriptions.route_where(topic, |subscriber| {
            subscriber.session == wanted && !subscriber.no_local
        });
        route.targets.into_iter().next()
    }

    /// Gives a message to the least loaded member of a shared subscription: one that is connected, else one that comes
    /// back for its queue. Only one of which it is known that it may read the topic, if it must be `sure`.
    fn deliver_shared(
        &mut self,
        group: GroupId,
        publication: &mut Publication<'_>,
        sure: bool,
    ) -> Delivered {
        let clients = &self.clients;
        let Some(members) = self.subscriptions.group_mut(group) else {
            return Delivered::Yes;
        };
        let (topic, qos, now) = (publication.topic, publication.qos, publication.received_at);
        let load = |member: &Subscriber, online, is_sure| {
            let may_have = member.sees(topic)
                && (!member.is_narrowed || clients.may_get(member.session, topic, now, is_sure));
            may_have.then(|| clients.load(member.session, online, qos.min(member.qos)))?
        };
        // One of whom it must be asked whether it may read the topic comes after those who may.
        let member = members
            .choose(|member| load(member, true, true))
            .or_else(|| members.choose(|member| load(member, true, sure)))
            .or_else(|| members.choose(|member| load(member, false, sure)));
        match member {
            Some(member) => {
                let target = Target::from(&member);
                self.clients.deliver(&target, publication, Some(group))
            }
            None => Delivered::Yes,
        }
    }

    /// Gives messages of a shared subscription to another member, after the one that had them is gone.
    pub(super) fn redistribute(&mut self, deliveries: Vec<Delivery>, now: Timestamp) {
        self.give_to_others(deliveries, false, now);
    }

    /// The same after the one that had them turned out not to be allowed to read them. Nobody is asked about them again.
    pub(super) fn redirect(&mut self, deliveries: Vec<Delivery>, now: Timestamp) {
        self.give_to_others(deliveries, true, now);
    }

    fn give_to_others(&mut self, deliveries: Vec<Delivery>, sure: bool, now: Timestamp) {
        for delivery in deliveries {
            if delivery.message.is_expired(now) {
                self.clients.statistics.messages_expired += 1;
                continue;
            }
            let Some(group) = delivery.group else {
                continue;
            };
            let mut publication = Publication::of(&delivery.message, delivery.retain, now);
            self.deliver_shared(group, &mut publication, sure);
        }
    }
}

impl Routed {
    #[inline]
    fn count(&mut self, delivered: Delivered) {
        match delivered {
            Delivered::Yes => self.matched += 1,
            Delivered::Dropped => {
                self.matched += 1;
                self.dropped += 1;
            }
            Delivered::Forbidden => {}
        }
    }
}

/// The properties to pass on, where they do not stand together in the packet.
pub(super) fn collect_forwarded(properties: &PublishProperties<'_>) -> Vec<u8> {
    let mut pieces = Vec::with_capacity(properties.forwarded.len());
    properties.forwarded.append_to(&mut pieces);
    pieces
}
