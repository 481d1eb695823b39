//! SUBSCRIBE and UNSUBSCRIBE, and the retained messages that a new subscription receives.

use super::authorize::decide;
use super::denial::DeniedAction;
use super::message::Delivery;
use super::pending::{Answer, StoreCondition};
use super::persist::{Change, SubscriptionRecord};
use super::reading::Reading;
use super::retained::{RetainedCursor, Walk};
use super::session::Session;
use super::subscriptions::{Subscriber, Subscriptions};
use super::time::Timestamp;
use super::{Broker, ConnectionId, Effect, Next, SessionId};
use crate::limits::{
    ENCODE_AHEAD_BYTES, FILTER_BYTES_PER_CLIENT_MAX, PortLimits, RETAINED_STEPS_PER_TURN,
};
use crate::mqtt::encode;
use crate::mqtt::topic;
use crate::mqtt::{
    QoS, ReasonCode, RetainHandling, Subscribe, SubscriptionOptions, TopicFilter, Unsubscribe,
    Violation,
};
use crate::policy::{By, Decision, Question, Rights, SubscriptionVerdict, TopicAccess};

impl Broker {
    pub(super) fn handle_subscribe(
        &mut self,
        id: ConnectionId,
        subscribe: &Subscribe<'_>,
        now: Timestamp,
    ) -> Result<Next, Violation> {
        let Some(connection) = self.clients.connections.get(id) else {
            return Ok(Next::Close);
        };
        let (session, version) = (connection.session, connection.version);
        let is_asking = connection.clearance.is_some();
        if version.is_v5() {
            check_available(subscribe, &connection.port.limits)?;
        }
        if is_asking && self.asks_for_filters(id, subscribe, now) {
            self.clients.statistics.packets_received -= 1;
            return Ok(Next::Ask);
        }
        let mut reasons = Vec::with_capacity(subscribe.filters.len());
        let before = self.clients.pending.mark();
        for (filter, options) in subscribe.filters {
            let identifier = subscribe.subscription_identifier;
            let reason = self.subscribe((id, session), filter, options, identifier, now);
            if reason == ReasonCode::QuotaExceeded {
                self.clients.statistics.quota_refusals += 1;
            }
            reasons.push(reason);
        }
        let mut packet = Vec::new();
        encode::suback(&mut packet, version, subscribe.packet_id, &reasons, None);
        let promises = self.clients.pending.mark() > before;
        self.answer(id, Answer::Packet(packet.into()), promises);
        if is_asking {
            self.tidy_answers(id, now);
        }
        self.fill(id, now);
        Ok(self.stalled_if(promises, id))
    }

    /// Adds one subscription and returns the reason code of its place in the SUBACK (MQTT 5, 3.9.3).
    fn subscribe(
        &mut self,
        (id, session_id): (ConnectionId, SessionId),
        text: &str,
        options: SubscriptionOptions,
        identifier: Option<u32>,
        now: Timestamp,
    ) -> ReasonCode {
        let (filter, right) = match self.check_filter(id, text) {
            Ok(filter) => {
                let right = self.subscription_right(id, filter.filter(), now);
                (filter, right)
            }
            Err(reason) => return reason,
        };
        if !right.verdict.is_allowed() {
            self.deny(id, DeniedAction::Subscribe, text, right.verdict.by);
            return ReasonCode::NotAuthorized;
        }
        self.add_subscription((id, session_id), &filter, &right, options, identifier)
    }

    /// Adds a subscription that the client may have.
    fn add_subscription(
        &mut self,
        (id, session_id): (ConnectionId, SessionId),
        filter: &TopicFilter,
        right: &SubscriptionVerdict,
        options: SubscriptionOptions,
        identifier: Option<u32>,
    ) -> ReasonCode {
        let text = filter.as_str();
        let Some(connection) = self.clients.connections.get(id) else {
            return ReasonCode::UnspecifiedError;
        };
        let limits = &connection.port.limits;
        let share_name = filter.share_name();
        let subscriptions_max =
            usize::try_from(limits.subscriptions_per_client_max).unwrap_or(usize::MAX);
        let retain_available = limits.retain_available;
        let mounted = [&*connection.port.mount_point, filter.filter()].concat();
        let qos = options.qos.min(limits.maximum_qos).min(right.qos);
        let options = SubscriptionOptions { qos, ..options };
        let Some(session) = self.clients.sessions.get_mut(session_id) else {
            return ReasonCode::UnspecifiedError;
        };
        let mount_point = &*connection.port.mount_point;
        let mut subscriber =
            Subscriber::new(session_id, &options, identifier).behind(mount_point, filter.filter());
        subscriber.is_narrowed = right.is_narrowed;
        let mount_len = mount_point.len();
        let known = self.subscriptions.has(&mounted, share_name, session_id);
        if session.store.is_some() && self.clients.pending.condition() == StoreCondition::Failing {
            return ReasonCode::QuotaExceeded;
        }
        if !known
            && (self.subscriptions.is_full(self.limits.subscriptions_max)
                || session.subscriptions() >= subscriptions_max
                || session.filter_bytes + text.len() > FILTER_BYTES_PER_CLIENT_MAX)
        {
            return ReasonCode::QuotaExceeded;
        }
        if !add(
            &mut self.subscriptions,
            session,
            share_name,
            &mounted,
            subscriber,
        ) {
            return ReasonCode::QuotaExceeded;
        }
        if !known {
            session.filter_bytes += text.len();
        }
        session.checks_reads |= right.is_narrowed;
        if let Some(store) = &session.store {
            let filter = stored_filter(share_name, &mounted);
            let record = subscription_record(filter, &options, identifier);
            let change = Change::Subscription(store.id, record);
            self.clients.pending.add(change, &mut self.clients.effects);
        }
        if retain_available && share_name.is_none() && options.retain_handling.wants(!known) {
            let mut cursor = RetainedCursor::new(mounted, mount_len, qos, identifier);
            cursor.is_narrowed = right.is_narrowed;
            if session.store.is_some() {
                cursor.not_before = self.clients.pending.open_number;
            }
            session.begin_retained(cursor, known);
        }
        granted(qos)
    }

    /// The topic filter of a subscription, or the reason why the client may not have it.
    fn check_filter(&self, id: ConnectionId, text: &str) -> Result<TopicFilter, ReasonCode> {
        let Some(connection) = self.clients.connections.get(id) else {
            return Err(ReasonCode::UnspecifiedError);
        };
        let Ok(filter) = TopicFilter::parse(text) else {
            return Err(ReasonCode::TopicFilterInvalid);
        };
        let limits = &connection.port.limits;
        if filter.share_name().is_some() && !limits.shared_subscription_available {
            return Err(ReasonCode::SharedSubscriptionsNotSupported);
        }
        if filter.has_wildcard() && !limits.wildcard_subscription_available {
            return Err(ReasonCode::WildcardSubscriptionsNotSupported);
        }
        if limits
            .refused_filters
            .iter()
            .any(|refused| **refused == *filter.filter())
        {
            return Err(ReasonCode::UnspecifiedError);
        }
        Ok(filter)
    }

    /// What the rights of a client say to a subscription.
    fn subscription_right(
        &self,
        id: ConnectionId,
        filter: &str,
        now: Timestamp,
    ) -> SubscriptionVerdict {
        let connection = self.clients.connections.get(id);
        let session = connection.and_then(|c| self.clients.sessions.get(c.session));
        let rights = session.and_then(|session| session.rights.as_deref());
        let clearance = connection.and_then(|connection| connection.clearance.as_deref());
        let (Some(rights), Some(clearance)) = (rights, clearance) else {
            return SubscriptionVerdict::UNRESTRICTED;
        };
        let right = rights.subscribe(filter);
        let about = (TopicAccess::Subscribe, filter);
        SubscriptionVerdict {
            verdict: decide(right.verdict, clearance, about, now),
            ..right
        }
    }

    /// Asks about the filters that no rule decides, all of them if the answer to one is not known: then all are known when
    /// the packet comes again. False if nothing is to be asked.
    fn asks_for_filters(
        &mut self,
        id: ConnectionId,
        subscribe: &Subscribe<'_>,
        now: Timestamp,
    ) -> bool {
        let connection = self.clients.connections.get(id);
        let session = connection.and_then(|c| self.clients.sessions.get(c.session));
        let rights = session.and_then(|session| session.rights.as_deref());
        if !rights.is_some_and(Rights::asks) {
            return false;
        }
        let mut questions = Vec::new();
        let mut is_unknown = false;
        for (text, _) in subscribe.filters {
            let Ok(filter) = self.check_filter(id, text) else {
                continue;
            };
            let right = self.subscription_right(id, filter.filter(), now);
            is_unknown |= right.verdict.decision == Decision::Ask;
            if right.verdict.by == By::BackEnd {
                questions.push(Question {
                    access: TopicAccess::Subscribe,
                    topic: filter.filter().into(),
                });
            }
        }
        if is_unknown
            && let Some(connection) = self.clients.connections.get_mut(id)
            && let Some(clearance) = &mut connection.clearance
        {
            clearance.ask_for_packet(questions);
            self.clients.effects.push(Effect::Ask(id));
        }
        is_unknown
    }

    pub(super) fn handle_unsubscribe(
        &mut self,
        id: ConnectionId,
        unsubscribe: &Unsubscribe<'_>,
    ) -> Result<Next, Violation> {
        let Some(connection) = self.clients.connections.get(id) else {
            return Ok(Next::Close);
        };
        let (session, version) = (connection.session, connection.version);
        let mount_point = connection.port.clone();
        let mut reasons = Vec::new();
        let before = self.clients.pending.mark();
        for filter in unsubscribe.filters {
            reasons.push(self.unsubscribe(session, &mount_point.mount_point, filter));
        }
        let mut packet = Vec::new();
        encode::unsuback(&mut packet, version, unsubscribe.packet_id, &reasons, None);
        let promises = self.clients.pending.mark() > before;
        self.answer(id, Answer::Packet(packet.into()), promises);
        Ok(self.stalled_if(promises, id))
    }

    pub(super) fn unsubscribe(
        &mut self,
        id: SessionId,
        mount_point: &str,
        text: &str,
    ) -> ReasonCode {
        let Ok(filter) = TopicFilter::parse(text) else {
            return ReasonCode::TopicFilterInvalid;
        };
        let mounted = [mount_point, filter.filter()].concat();
        let Some(place) = self.subscriptions.find(&mounted) else {
            return ReasonCode::NoSubscriptionExisted;
        };
        let Some(session) = self.clients.sessions.get_mut(id) else {
            return ReasonCode::NoSubscriptionExisted;
        };
        let removed = match filter.share_name() {
            None => {
                session.remove_filter(place);
                session.retained.retain(|cursor| *cursor.filter != *mounted);
                self.subscriptions.unsubscribe(place, id)
            }
            Some(name) => match self.subscriptions.find_group(place, name) {
                Some(group) => {
                    session.groups.retain(|known| *known != group);
                    self.subscriptions.leave(group, id)
                }
                None => false,
            },
        };
        if removed {
            session.filter_bytes = session.filter_bytes.saturating_sub(text.len());
            if let Some(store) = &session.store {
                let filter = stored_filter(filter.share_name(), &mounted);
                let change = Change::SubscriptionEnd(store.id, filter);
                self.clients.pending.add(change, &mut self.clients.effects);
            }
            ReasonCode::Success
        } else {
            ReasonCode::NoSubscriptionExisted
        }
    }

    /// Sends retained messages that subscriptions of this client have still to get, as far as quota and outbox allow, and as
    /// many as one turn may look at.
    pub(super) fn fill_retained(&mut self, id: ConnectionId, now: Timestamp) {
        let mut steps = RETAINED_STEPS_PER_TURN;
        loop {
            let share = self.clients.outbox_share();
            let Some(connection) = self.clients.connections.get_mut(id) else {
                return;
            };
            connection.is_walking = false;
            let waiting = connection.outbox.len();
            if connection.closing || waiting >= ENCODE_AHEAD_BYTES || waiting > share {
                return;
            }
            let session_id = connection.session;
            let quota = usize::from(connection.send_quota);
            let Some(session) = self.clients.sessions.get_mut(session_id) else {
                return;
            };
            let held = self.clients.budget.bytes();
            let takes_more = takes_more(session, quota, held, self.limits.queue_bytes_max);
            let Some(cursor) = session.retained.front_mut() else {
                return;
            };
            let (wanted_qos, identifier) = (cursor.qos, cursor.identifier);
            let before = cursor.is_narrowed.then(|| cursor.from.clone());
            if cursor.not_before > self.clients.pending.stored {
                return;
            }
            // What the client has to acknowledge first makes room for the rest.
            if cursor.qos > QoS::AtMostOnce && !takes_more {
                return;
            }
            let message = match self.retained.next(cursor, &mut steps) {
                Walk::Found(message) => message,
                Walk::End => {
                    session.retained.pop_front();
                    continue;
                }
                Walk::Later => {
                    connection.is_walking = true;
                    return;
                }
            };
            if message.is_expired(now) {
                continue;
            }
            let topic = &message.topic;
            let reading = self.clients.clear_retained(session_id, topic, before, now);
            let qos_max = match reading {
                Reading::Yes(qos) => qos,
                Reading::No => continue,
                Reading::Unknown => return,
            };
            let delivery = Delivery {
                message: message.clone(),
                qos: message.qos.min(wanted_qos).min(qos_max),
                retain: true,
                identifiers: identifier.into_iter().collect(),
                group: None,
                stored: None,
            };
            self.clients.send_delivery(id, session_id, delivery, now);
        }
    }

    /// Whether a walk over retained messages was interrupted so that others have their turn: the link has to come again.
    #[must_use]
    pub fn is_walking(&self, id: ConnectionId) -> bool {
        let connection = self.clients.connections.get(id);
        connection.is_some_and(|connection| connection.is_walking)
    }
}

/// Whether a session may be given retained messages that its client has to acknowledge, when so many bytes are held for all.
fn takes_more(session: &Session, quota: usize, held: u64, held_max: u64) -> bool {
    // Stored messages that wait for their commit are on their way as well.
    let is_queued = match &session.store {
        Some(store) => store.gap > 0 || session.outgoing.len() + session.queue.len() >= quota,
        None => !session.queue.is_empty(),
    };
    let no_quota = session.outgoing.len() >= quota || session.outgoing.holds_back() || is_queued;
    let has_room = session.held_bytes < session.port.limits.queue_bytes_per_client_max / 2
        && (session.outgoing.is_empty() || held < held_max / 2);
    !no_quota && (!session.is_durable() || has_room)
}

/// Puts a subscription into the index and into its session; false if it does not fit.
pub(super) fn add(
    subscriptions: &mut Subscriptions,
    session: &mut Session,
    share_name: Option<&str>,
    filter: &str,
    subscriber: Subscriber,
) -> bool {
    let Some(name) = share_name else {
        let added = subscriptions.subscribe(filter, subscriber);
        return added.map(|(place, _)| session.add_filter(place)).is_some();
    };
    let joined = subscriptions.join(name, filter, subscriber);
    if let Some((group, false)) = joined {
        session.groups.push(group);
    }
    joined.is_some()
}

fn subscription_record(
    filter: Box<str>,
    options: &SubscriptionOptions,
    identifier: Option<u32>,
) -> Box<SubscriptionRecord> {
    Box::new(SubscriptionRecord {
        filter,
        qos: options.qos,
        no_local: options.no_local,
        retain_as_published: options.retain_as_published,
        identifier: identifier.unwrap_or(0),
    })
}

/// A subscription's filter as it is stored.
pub(super) fn stored_filter(share_name: Option<&str>, mounted: &str) -> Box<str> {
    match share_name {
        Some(name) => format!("$share/{name}/{mounted}").into(),
        None => mounted.into(),
    }
}

/// A client of MQTT 5 has been told what there is; to ask for more is an error (3.2.2.3.11 to 3.2.2.3.13).
fn check_available(subscribe: &Subscribe<'_>, limits: &PortLimits) -> Result<(), Violation> {
    if subscribe.subscription_identifier.is_some() && !limits.subscription_identifiers_available {
        return Err(Violation::SubscriptionIdentifierNotAvailable);
    }
    for (filter, _) in subscribe.filters {
        if topic::is_shared(filter) && !limits.shared_subscription_available {
            return Err(Violation::SharedSubscriptionNotAvailable);
        }
        if topic::has_wildcard(filter) && !limits.wildcard_subscription_available {
            return Err(Violation::WildcardSubscriptionNotAvailable);
        }
    }
    Ok(())
}

impl RetainHandling {
    /// Whether a subscription gets retained messages (3.8.3.1).
    fn wants(self, is_new: bool) -> bool {
        match self {
            Self::SendAtSubscribe => true,
            Self::SendIfNew => is_new,
            Self::DoNotSend => false,
        }
    }
}

/// The reason code of a subscription that was granted with `qos`.
fn granted(qos: QoS) -> ReasonCode {
    match qos {
        QoS::AtMostOnce => ReasonCode::Success,
        QoS::AtLeastOnce => ReasonCode::GrantedQoS1,
        QoS::ExactlyOnce => ReasonCode::GrantedQoS2,
    }
}
