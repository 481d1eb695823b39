//! What must hold after every step, whatever has happened.

use std::collections::{BTreeMap, BTreeSet};

use super::world::World;
use crate::broker::session::Session;
use crate::broker::{Broker, SessionId};

impl World {
    /// Checks everything that one part of the broker says about another.
    pub(super) fn check(&self) {
        let broker = &self.broker;
        // With a long queue not after each step.
        let is_long = broker.clients.pending.stored_deliveries > 200;
        if is_long && !self.trace.len().is_multiple_of(50) {
            return;
        }
        let mut held = BTreeMap::new();
        let mut deliveries = 0;
        let mut places = 0;
        let mut subscriptions = 0;
        for (id, session) in broker.clients.sessions.iter() {
            check_connection(broker, id, session);
            check_ids(session);
            let limits = &session.port.limits;
            assert!(session.queue.len() <= limits.queue_messages_per_client_max as usize);
            let mut held_bytes = 0;
            let exchanged = session
                .outgoing
                .iter()
                .filter_map(|e| e.delivery.as_deref());
            let here = session.queue.len() + session.outgoing.len();
            let stored = session.store.as_ref();
            deliveries += stored.map_or(here, |store| {
                session
                    .outgoing
                    .len()
                    .max(usize::try_from(store.deliveries).unwrap())
            }) as u64;
            let recent = stored.into_iter().flat_map(|store| &store.recent);
            let queued = session.queue.iter().chain(recent).map(|q| &q.delivery);
            for delivery in queued.chain(exchanged) {
                let message = &delivery.message;
                let place = 96 + 4 * u64::try_from(delivery.identifiers.len()).unwrap();
                held_bytes += message.bytes() + place;
                places += place;
                held.insert(std::ptr::from_ref(&**message), message.bytes());
            }
            assert_eq!(session.held_bytes, held_bytes);
            subscriptions += session.subscriptions();
            assert!(session.subscriptions() <= limits.subscriptions_per_client_max as usize);
        }
        assert_eq!(broker.statistics().queued_messages, deliveries);
        self.check_stored();
        assert_eq!(
            broker.clients.budget.bytes(),
            held.values().sum::<u64>() + places
        );
        self.check_held();
        let max = broker.limits.queue_bytes_max;
        assert!(broker.clients.budget.bytes() <= max + max / 4);
        let connections = broker.clients.connections.iter();
        let waiting: usize = connections
            .map(|(_, connection)| connection.outbox.len())
            .sum();
        assert_eq!(broker.clients.outbox_bytes, waiting);
        assert_eq!(broker.subscriptions.len() as usize, subscriptions);
        assert_eq!(broker.sessions_by_key.len(), broker.clients.sessions.len());
        assert!(broker.retained.bytes() <= broker.limits.retained_bytes_max);
    }
}

impl World {
    /// Nothing is held that nobody is asked about.
    fn check_held(&self) {
        for (id, connection) in self.broker.clients.connections.iter() {
            let clearance = connection
                .clearance
                .as_ref()
                .filter(|_| !connection.closing);
            let is_open = self.questions.iter().any(|(asked, _)| *asked == id);
            let is_holding = clearance.is_some_and(|clearance| clearance.first_held().is_some());
            let asks_again = clearance.is_some_and(|clearance| clearance.asks_again());
            assert!(
                is_open || asks_again || !is_holding,
                "a message waits for nothing"
            );
        }
    }

    /// What is counted of the store adds up, and is what is on the disk when nothing is pending.
    fn check_stored(&self) {
        let pending = &self.broker.clients.pending;
        let (mut deliveries, mut bytes) = (0, 0);
        for (_, session) in self.broker.clients.sessions.iter() {
            let Some(store) = &session.store else {
                continue;
            };
            deliveries += store.deliveries;
            bytes += store.bytes;
            let exchanges = session.outgoing.iter().filter(|exchange| {
                let delivery = exchange.delivery.as_deref();
                delivery.is_none_or(|delivery| delivery.stored.is_some())
            });
            let here = exchanges.count() + session.queue.len() + store.recent.len();
            assert_eq!(store.deliveries, store.gap + here as u64);
            if session.connection.is_none() {
                assert_eq!(here, 0, "nothing is in memory without a connection");
                assert_eq!(session.held_bytes, 0);
            }
            if store.deliveries == 0 {
                assert_eq!(store.bytes, 0);
            }
            if self.store.is_some() && pending.is_settled() && !self.is_taken() {
                let stored = &self.disk().sessions[&store.id.get()];
                assert_eq!(stored.deliveries.len() as u64, store.deliveries);
                assert_eq!(stored.subscriptions.len(), session.subscriptions());
                if store.deliveries < 100 {
                    let sent = stored.deliveries.range(..=store.sent_through).count();
                    assert_eq!(sent as u64, store.sent);
                }
            }
        }
        assert_eq!(pending.stored_deliveries, deliveries);
        assert_eq!(pending.stored_bytes, bytes);
    }
}

/// A connection and its session name each other, and the client's quota holds.
fn check_connection(broker: &Broker, id: SessionId, session: &Session) {
    assert_eq!(broker.sessions_by_key.get(&session.key), Some(&id));
    match session.connection {
        Some(connection) => {
            let connection = broker.clients.connections.get(connection).unwrap();
            assert_eq!(connection.session, id);
            assert!(session.expires_at.is_none());
        }
        None => assert!(
            session.is_durable(),
            "a session without anybody to come back"
        ),
    }
}

/// No packet identifier is used twice at one time (MQTT-2.2.1-4).
fn check_ids(session: &Session) {
    let ids: BTreeSet<_> = session.outgoing.iter().map(|e| e.packet_id).collect();
    assert_eq!(ids.len(), session.outgoing.len());
}
