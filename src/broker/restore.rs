//! Sessions on their way into the store and back.

use std::sync::Arc;

use bytes::Bytes;

use super::connection::PortPolicy;
use super::message::Message;
use super::pending::StoreCondition;
use super::persist::{Change, Restored, RestoredSession, SessionRecord, WillRecord};
use super::session::{PendingWill, Session};
use super::stored::StoredSession;
use super::subscriptions::Subscriber;
use super::time::Timestamp;
use super::timers::Timer;
use super::{Broker, ConnectionId, SessionId, subscribe};
use crate::mqtt::{RetainHandling, SubscriptionOptions, TopicFilter};

impl Broker {
    /// Takes up what a store has kept, before the first connection. From here on changes are collected for the store.
    ///
    /// A session that was connected when the last process ended has lost its connection now: its will is due after its
    /// delay, and its expiry interval begins.
    pub fn restore(&mut self, restored: Restored) {
        let now = restored.now;
        let pending = &mut self.clients.pending;
        pending.set_condition(StoreCondition::Ready);
        pending.go_on_from(restored.next_session, restored.next_message);
        for message in restored.retained {
            self.retained.set(Arc::new(message));
        }
        for session in restored.sessions {
            self.restore_session(session, now);
        }
        self.sys.start(now);
        self.arm_sys(now);
    }

    fn restore_session(&mut self, restored: RestoredSession, now: Timestamp) {
        let record = restored.record;
        if record.expiry_interval == 0 {
            let change = Change::SessionEnd(record.id);
            self.clients.pending.add(change, &mut self.clients.effects);
            return;
        }
        let port = Arc::new(PortPolicy {
            endpoint: record.endpoint.clone(),
            limits: Arc::clone(&self.default_limits),
            mount_point: record.mount_point.clone(),
            ..PortPolicy::default()
        });
        let key = super::connect::session_key(&record.mount_point, &record.client_id);
        let mut session = Session::new(key.clone(), &record.client_id, &record.owner, port);
        session.expiry_interval = record.expiry_interval;
        let mut store = StoredSession::new(record.id);
        // A number that was sent is not given to another message, which would be taken for the same again.
        store.next_number = restored.last_number.max(restored.sent_through) + 1;
        store.sent_through = restored.sent_through;
        store.sent = u64::from(restored.sent);
        store.deliveries = u64::from(restored.deliveries);
        store.bytes = restored.delivery_bytes;
        store.gap = store.deliveries;
        self.clients.pending.stored_bytes += store.bytes;
        self.clients.pending.stored_deliveries += store.deliveries;
        session.store = Some(Box::new(store));
        for packet_id in restored.received {
            session.incoming.insert(packet_id);
        }
        let id = self.clients.sessions.insert(session);
        self.sessions_by_key.insert(key, id);
        self.sessions_by_store.insert(record.id.get(), id);
        for subscription in &restored.subscriptions {
            let options = SubscriptionOptions {
                qos: subscription.qos,
                no_local: subscription.no_local,
                retain_as_published: subscription.retain_as_published,
                retain_handling: RetainHandling::SendAtSubscribe,
            };
            let identifier = Some(subscription.identifier).filter(|identifier| *identifier > 0);
            let subscriber = Subscriber::new(id, &options, identifier);
            self.restore_subscription(id, &subscription.filter, subscriber);
        }
        self.restore_ends(id, &record, now);
    }

    fn restore_subscription(&mut self, id: SessionId, text: &str, subscriber: Subscriber) {
        let Ok(filter) = TopicFilter::parse(text) else {
            return;
        };
        let Some(session) = self.clients.sessions.get_mut(id) else {
            return;
        };
        let mount_point = &session.port.mount_point;
        let text_len = text.len().saturating_sub(mount_point.len());
        let unmounted = filter.filter().get(mount_point.len()..).unwrap_or_default();
        let subscriber = subscriber.behind(mount_point, unmounted);
        let (name, filter) = (filter.share_name(), filter.filter());
        if subscribe::add(&mut self.subscriptions, session, name, filter, subscriber) {
            session.filter_bytes += text_len;
        }
    }

    /// When the session ends and its will is due.
    fn restore_ends(&mut self, id: SessionId, record: &SessionRecord, now: Timestamp) {
        let was_connected = record.window > 0;
        let expiry = record.expiry_interval;
        let expires_at = match record.expires_at {
            Some(at) => Some(at),
            None if expiry == u32::MAX => None,
            None => Some(now.plus_secs(expiry)),
        };
        let timers = &mut self.clients.timers;
        let Some(session) = self.clients.sessions.get_mut(id) else {
            return;
        };
        session.expires_at = expires_at;
        if let Some(at) = expires_at {
            timers.arm(at, Timer::SessionExpiry(id));
        }
        if let Some(will) = &record.will {
            let delay = will.delay_interval.min(expiry);
            let due_at = will.due_at.unwrap_or_else(|| now.plus_secs(delay));
            timers.arm(due_at, Timer::WillDelay(id));
            session.will = Some(Box::new(restored_will(will, due_at)));
        }
        if was_connected {
            self.write_session(id);
        }
    }

    /// Has the record of a session stored, if the session is to be stored; one that is connected waits for it.
    pub(super) fn write_session(&mut self, id: SessionId) {
        self.note_session(id);
        let session = self.clients.sessions.get(id);
        let session = session.filter(|session| session.store.is_some());
        if let Some(id) = session.and_then(|session| session.connection) {
            self.hold(id);
        }
    }

    /// The same without anybody waiting for it.
    pub(super) fn note_session(&mut self, id: SessionId) {
        let clients = &mut self.clients;
        let Some(session) = clients.sessions.get_mut(id) else {
            return;
        };
        if session.store.is_none() {
            if !session.is_durable() || !clients.pending.is_attached() {
                return;
            }
            let number = clients.pending.new_session();
            self.sessions_by_store.insert(number.get(), id);
            session.store = Some(Box::new(StoredSession::new(number)));
        }
        let Some(store) = &mut session.store else {
            return;
        };
        let connection = session
            .connection
            .and_then(|id| clients.connections.get(id));
        let record = SessionRecord {
            id: store.id,
            client_id: session.client_id.clone(),
            mount_point: session.port.mount_point.clone(),
            owner: session.owner.clone(),
            endpoint: session.port.endpoint.clone(),
            expiry_interval: session.expiry_interval,
            expires_at: session.expires_at,
            sent_through: store.sent_through,
            window: connection.map_or(0, |connection| connection.send_quota.max(1)),
            will: session.will.as_deref().map(will_record),
        };
        clients
            .pending
            .add_session(Box::new(record), &mut clients.effects);
    }

    /// Hands out nothing to a connection before everything that is pending now is stored.
    pub(super) fn hold(&mut self, id: ConnectionId) {
        let clients = &mut self.clients;
        let batch = clients.pending.wait(id, &mut clients.effects);
        if let Some(connection) = clients.connections.get_mut(id) {
            connection.held_for = batch;
        }
    }
}

fn will_record(will: &PendingWill) -> WillRecord {
    WillRecord {
        topic: will.message.topic.clone(),
        payload: will.message.payload.clone(),
        forwarded: will.message.forwarded.clone(),
        qos: will.message.qos,
        retain: will.retain,
        expiry_interval: will.expiry_interval,
        delay_interval: will.delay_interval,
        due_at: will.due_at,
    }
}

fn restored_will(will: &WillRecord, due_at: Timestamp) -> PendingWill {
    PendingWill {
        message: Message::new(
            &will.topic,
            Bytes::clone(&will.payload),
            will.forwarded.clone(),
            will.qos,
            Timestamp::default(),
            None,
        ),
        expiry_interval: will.expiry_interval,
        retain: will.retain,
        delay_interval: will.delay_interval,
        due_at: Some(due_at),
    }
}
