//! What must hold after every step, whatever has happened.

use std::collections::{BTreeMap, BTreeSet};

use super::world::World;
use crate::broker::session::Session;
use crate::broker::{Broker, SessionId};

impl World {
    /// Checks everything that one part of the broker says about another.
    pub(super) fn check(&self) {
        let broker = &self.broker;
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
            for delivery in session.queue.iter().map(|q| &q.delivery).chain(exchanged) {
                deliveries += 1;
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
        assert_eq!(broker.clients.budget.deliveries(), deliveries);
        assert_eq!(
            broker.clients.budget.bytes(),
            held.values().sum::<u64>() + places
        );
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
