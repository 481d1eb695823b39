//! Messages that outlive the packet that brought them, and the packets that carry them on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;

use super::session::Session;
use super::shared::GroupId;
use super::time::Timestamp;
use crate::mqtt::QoS;

/// A message that is kept: queued, in flight, retained or a will. Shared by everybody who waits for it.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) topic: Box<str>,
    pub(crate) payload: Bytes,
    /// The properties that are passed on unaltered, encoded, without their length (MQTT 5, 3.3.2.3).
    pub(crate) forwarded: Box<[u8]>,
    pub(crate) qos: QoS,
    pub(crate) expires_at: Option<Timestamp>,
    /// Deliveries that hold this message; the first one pays for its bytes in the budget, the last one returns them.
    holders: AtomicU32,
}

/// What a [`Message`] costs beside its text: the record itself, its place in a queue, and what the allocator adds.
pub(super) const MESSAGE_OVERHEAD: u64 = 160;

impl Message {
    pub(crate) fn new(
        topic: &str,
        payload: Bytes,
        forwarded: Box<[u8]>,
        qos: QoS,
        expires_at: Option<Timestamp>,
    ) -> Self {
        Self {
            topic: topic.into(),
            payload,
            forwarded,
            qos,
            expires_at,
            holders: AtomicU32::new(0),
        }
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
}

/// Bytes of messages that sessions hold, over all sessions, each message counted once.
#[derive(Debug, Default)]
pub(crate) struct QueueBudget {
    bytes: u64,
    messages: u64,
}

impl QueueBudget {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Deliveries held, each session's counted.
    pub(crate) fn deliveries(&self) -> u64 {
        self.messages
    }

    /// Bytes that one more holder of `message` would add.
    pub(crate) fn cost(message: &Message) -> u64 {
        if message.holders.load(Ordering::Relaxed) == 0 {
            message.bytes()
        } else {
            0
        }
    }

    /// Whether a session may hold a message of so many bytes, which adds so many to those of all sessions.
    pub(crate) fn fits(&self, session: &Session, (bytes, cost): (u64, u64), max: u64) -> bool {
        let session_max = session.port.limits.queue_bytes_per_client_max;
        session.held_bytes + bytes <= session_max && self.bytes + cost <= max
    }

    pub(crate) fn hold(&mut self, session: &mut Session, message: &Message) {
        session.held_bytes += message.bytes();
        self.messages += 1;
        if message.holders.fetch_add(1, Ordering::Relaxed) == 0 {
            self.bytes += message.bytes();
        }
    }

    pub(crate) fn release(&mut self, session: &mut Session, message: &Message) {
        session.held_bytes = session.held_bytes.saturating_sub(message.bytes());
        self.messages = self.messages.saturating_sub(1);
        if message.holders.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.bytes = self.bytes.saturating_sub(message.bytes());
        }
    }
}
