//! Messages that outlive the packet that brought them, and the packets that carry them on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use bytes::Bytes;

use super::pending::Place;
use super::session::Session;
use super::shared::GroupId;
use super::time::Timestamp;
use crate::mqtt::QoS;

/// A message that is kept: queued, in flight, retained or a will. Shared by everybody who waits for it.
#[derive(Debug)]
pub struct Message {
    pub(crate) topic: Box<str>,
    pub(crate) payload: Bytes,
    /// The properties that are passed on unaltered, encoded, without their length (MQTT 5, 3.3.2.3).
    pub(crate) forwarded: Box<[u8]>,
    pub(crate) qos: QoS,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) received_at: Timestamp,
    /// Deliveries that hold this message; the first one pays for its bytes in the budget, the last one returns them.
    holders: AtomicU32,
    /// Its number in the store; 0 as long as no delivery of it is to be stored.
    store_id: AtomicU64,
}

/// What a [`Message`] costs beside its text: the record itself, its place in a queue, and what the allocator adds.
const MESSAGE_OVERHEAD: u64 = 160;

/// What a stored delivery costs beside its text: two rows with their keys.
const STORED_OVERHEAD: u64 = 64;

/// Bytes up to which a connected client counts as one that holds little.
const CONNECTED_RESERVE: u64 = 64 * 1024;

/// A [`Delivery`] in a queue or in flight.
const DELIVERY_OVERHEAD: u64 = 96;

impl Message {
    /// A message as it was published, its topic with the mount point of the publisher.
    #[must_use]
    pub fn new(
        topic: &str,
        payload: Bytes,
        forwarded: Box<[u8]>,
        qos: QoS,
        received_at: Timestamp,
        expires_at: Option<Timestamp>,
    ) -> Self {
        Self {
            topic: topic.into(),
            payload,
            forwarded,
            qos,
            expires_at,
            received_at,
            holders: AtomicU32::new(0),
            store_id: AtomicU64::new(0),
        }
    }

    /// The same message with the number that the store knows it by.
    #[must_use]
    pub fn with_store_id(self, store_id: u64) -> Self {
        Self {
            store_id: AtomicU64::new(store_id),
            ..self
        }
    }

    /// The topic name, with the mount point of the publisher.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The payload.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The properties that are passed on unaltered, encoded, without their length (MQTT 5, 3.3.2.3).
    #[must_use]
    pub fn forwarded(&self) -> &[u8] {
        &self.forwarded
    }

    /// The QoS that it was published with.
    #[must_use]
    pub fn qos(&self) -> QoS {
        self.qos
    }

    /// When it came.
    #[must_use]
    pub fn received_at(&self) -> Timestamp {
        self.received_at
    }

    /// When it expires, if it does.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }

    /// Its number in the store, 0 if it has none.
    #[must_use]
    pub fn store_id(&self) -> u64 {
        self.store_id.load(Ordering::Relaxed)
    }

    /// Gives it a number, unless it has one.
    pub(crate) fn number(&self, next: &mut u64) {
        if self.store_id() == 0 {
            self.store_id.store(*next, Ordering::Relaxed);
            *next += 1;
        }
    }

    /// Bytes that one delivery of it counts in the budgets of what is stored.
    pub(crate) fn stored_bytes(&self) -> u64 {
        let text = self.topic.len() + self.payload.len() + self.forwarded.len();
        u64::try_from(text).unwrap_or(u64::MAX) + STORED_OVERHEAD
    }

    /// Bytes of memory that the message takes, as the budgets count them.
    pub(crate) fn bytes(&self) -> u64 {
        let text = self.topic.len() + self.payload.len() + self.forwarded.len();
        u64::try_from(text).unwrap_or(u64::MAX) + MESSAGE_OVERHEAD
    }

    pub(crate) fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// Seconds left, for the Message Expiry Interval of a copy that is sent now (MQTT-3.3.2-6).
    pub(crate) fn expiry_left(&self, now: Timestamp) -> Option<u32> {
        self.expires_at.map(|at| {
            let millis = at.since(now).as_millis();
            u32::try_from(millis.div_ceil(1000)).unwrap_or(u32::MAX)
        })
    }
}

/// One message on its way to one session.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) message: Arc<Message>,
    /// The minimum of the QoS of the message and of the subscription (3.8.4).
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) identifiers: Box<[u32]>,
    /// The shared subscription that chose this session, so that another member can take its place.
    pub(crate) group: Option<GroupId>,
    /// What the store knows of it, if it does.
    pub(crate) stored: Option<Stored>,
}

/// A delivery that is stored, or about to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored {
    /// Its place in the order of the session.
    pub(crate) number: u64,
    /// The change that says so.
    pub(crate) place: Place,
    /// It may have been sent before.
    pub(crate) again: bool,
}

/// Bytes of messages that sessions hold, over all sessions; each message counted once, each place for it as well.
#[derive(Debug, Default)]
pub(crate) struct QueueBudget {
    bytes: u64,
}

impl QueueBudget {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What one more delivery of `message` with so many identifiers would cost.
    pub(crate) fn cost(message: &Message, identifiers: usize) -> Cost {
        let is_held = message.holders.load(Ordering::Relaxed) > 0;
        let delivery = delivery_bytes(identifiers);
        Cost {
            session: message.bytes() + delivery,
            gateway: if is_held { 0 } else { message.bytes() } + delivery,
        }
    }

    /// The same for a message that is not kept yet, with so many bytes of text.
    pub(crate) fn cost_of_new(text: usize, identifiers: usize) -> Cost {
        let message = u64::try_from(text).unwrap_or(u64::MAX) + MESSAGE_OVERHEAD;
        let bytes = message + delivery_bytes(identifiers);
        Cost {
            session: bytes,
            gateway: bytes,
        }
    }

    /// Whether a session may hold one more delivery at this cost. Sessions that are away share three quarters of `max`, and
    /// connected clients that hold little have a quarter of it for themselves on top: they keep up, and those who do not
    /// must not cost them anything.
    pub(crate) fn fits(&self, session: &Session, cost: Cost, max: u64) -> bool {
        let session_max = session.port.limits.queue_bytes_per_client_max;
        let held = session.held_bytes + cost.session;
        let is_connected = session.connection.is_some();
        let max = if is_connected { max } else { max / 4 * 3 };
        let bytes = self.bytes + cost.gateway;
        let is_light = is_connected && held <= CONNECTED_RESERVE && bytes <= max + max / 4;
        let has_room = bytes <= max;
        held <= session_max && (has_room || is_light)
    }

    pub(crate) fn hold(&mut self, session: &mut Session, delivery: &Delivery) {
        let cost = Self::cost(&delivery.message, delivery.identifiers.len());
        delivery.message.holders.fetch_add(1, Ordering::Relaxed);
        session.held_bytes += cost.session;
        self.bytes += cost.gateway;
    }

    pub(crate) fn release(&mut self, session: &mut Session, delivery: &Delivery) {
        delivery.message.holders.fetch_sub(1, Ordering::Relaxed);
        let cost = Self::cost(&delivery.message, delivery.identifiers.len());
        session.held_bytes = session.held_bytes.saturating_sub(cost.session);
        self.bytes = self.bytes.saturating_sub(cost.gateway);
    }
}

/// What a delivery costs in bytes, as the budgets count them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// In the budget of the session.
    session: u64,
    /// In the budget of the gateway, where a message counts once however many sessions hold it.
    gateway: u64,
}

/// What a session's place for a message costs, with the identifiers of its subscriptions.
fn delivery_bytes(identifiers: usize) -> u64 {
    DELIVERY_OVERHEAD + 4 * u64::try_from(identifiers).unwrap_or(u64::MAX / 8)
}
