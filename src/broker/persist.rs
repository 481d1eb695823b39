//! What of the core's state is to be stored, in which order, and what a store gives back.
//!
//! The core knows no store. It collects [`Change`]s; the shell takes them as a [`Batch`], stores the whole batch or nothing of
//! it, and reports which. Answers that promise something wait in the core until the batch with their changes is stored.

use std::sync::Arc;

use super::message::Message;
use super::time::Timestamp;
use crate::mqtt::{PacketId, QoS};

/// Number of a session in the store. Given once and never again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreId(u64);

impl StoreId {
    /// The id that a store has kept as a number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The id as a number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// One change to what is stored.
#[derive(Clone, Debug)]
pub enum Change {
    /// Nothing: what stood here was over before anybody stored it.
    Withdrawn,
    /// A session is new, or its record has changed. What belongs to the session stays.
    Session(Box<SessionRecord>),
    /// A session is over, with its subscriptions, its deliveries and the identifiers it has received.
    SessionEnd(StoreId),
    /// A subscription is new, or its options have changed.
    Subscription(StoreId, Box<SubscriptionRecord>),
    /// A subscription is over; its filter as in [`SubscriptionRecord::filter`].
    SubscriptionEnd(StoreId, Box<str>),
    /// A session has to get a message.
    Delivery(Box<DeliveryRecord>),
    /// The client has a QoS 2 message (PUBREC): what remains is to release its identifier. The message is not needed for this
    /// session any more, the number is.
    DeliveryReleased(StoreId, u64),
    /// A delivery is over, however it ended.
    DeliveryEnd(StoreId, u64),
    /// The oldest delivery of the session behind this number was dropped to make room.
    OldestDropped(StoreId, u64),
    /// A QoS 2 message with this identifier was taken from the client of the session.
    Received(StoreId, PacketId),
    /// The client has released the identifier (PUBREL).
    ReceivedEnd(StoreId, PacketId),
    /// The retained message of a topic is new.
    Retained(Arc<Message>),
    /// A topic has no retained message any more.
    RetainedEnd(Box<str>),
}

impl Change {
    /// Whether this is struck when the batch could not be stored, because whoever caused it is told so.
    #[must_use]
    pub fn is_refusable(&self) -> bool {
        match self {
            Self::Delivery(delivery) => delivery.is_refusable,
            // It made room for what is refused.
            Self::Received(..) | Self::OldestDropped(..) => true,
            Self::Withdrawn
            | Self::Session(_)
            | Self::SessionEnd(_)
            | Self::Subscription(..)
            | Self::SubscriptionEnd(..)
            | Self::DeliveryReleased(..)
            | Self::DeliveryEnd(..)
            | Self::ReceivedEnd(..)
            | Self::Retained(_)
            | Self::RetainedEnd(_) => false,
        }
    }
}

/// Changes to be stored together, in order.
#[derive(Debug, Default)]
pub struct Batch {
    /// Counts up from 1.
    pub number: u64,
    /// The time of the core when the batch was taken.
    pub taken_at: Timestamp,
    /// The changes.
    pub changes: Vec<Change>,
}

/// A session as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRecord {
    /// Its number.
    pub id: StoreId,
    /// The client identifier.
    pub client_id: Box<str>,
    /// The mount point of its port; together with the client identifier it names the session.
    pub mount_point: Box<str>,
    /// The principal that owns the session.
    pub owner: Box<str>,
    /// The port of the last connection, as in listings.
    pub endpoint: Box<str>,
    /// Seconds that the session stays without a connection, `u32::MAX` for ever, 0 if it ends with the connection.
    pub expiry_interval: u32,
    /// When the session ends, unless it is connected or stays for ever.
    pub expires_at: Option<Timestamp>,
    /// Highest number of a delivery that may have been sent, as far as it was stored.
    pub sent_through: u64,
    /// How many deliveries at a time may be on the way to the client; 0 while it is not connected.
    pub window: u16,
    /// The will.
    pub will: Option<WillRecord>,
}

impl SessionRecord {
    /// Bytes of memory that the record takes, as far as they depend on a peer.
    pub(crate) fn bytes(&self) -> u64 {
        let will = self.will.as_ref();
        let will = will.map_or(0, |will| {
            will.topic.len() + will.payload.len() + will.forwarded.len()
        });
        let text = self.client_id.len() + self.owner.len() + will;
        u64::try_from(text).unwrap_or(u64::MAX) + RECORD_OVERHEAD
    }
}

/// What a record costs beside its text.
const RECORD_OVERHEAD: u64 = 256;

/// A will as it is stored (MQTT 5, 3.1.2.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WillRecord {
    /// The topic, with the mount point.
    pub topic: Box<str>,
    /// The payload.
    pub payload: bytes::Bytes,
    /// The properties that are passed on, encoded.
    pub forwarded: Box<[u8]>,
    /// The QoS.
    pub qos: QoS,
    /// Whether the will is to be retained.
    pub retain: bool,
    /// Message Expiry Interval, seconds from its publication.
    pub expiry_interval: Option<u32>,
    /// Will Delay Interval in seconds.
    pub delay_interval: u32,
    /// When the delay ends, if the connection is gone.
    pub due_at: Option<Timestamp>,
}

/// A subscription as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionRecord {
    /// The topic filter with the mount point, behind `$share/NAME/` if the subscription is shared.
    pub filter: Box<str>,
    /// The QoS that was granted.
    pub qos: QoS,
    /// No Local (3.8.3.1).
    pub no_local: bool,
    /// Retain As Published (3.8.3.1).
    pub retain_as_published: bool,
    /// Subscription Identifier (3.8.2.1.2), 0 for none.
    pub identifier: u32,
}

/// A message on its way to one session, as it is stored.
#[derive(Clone, Debug)]
pub struct DeliveryRecord {
    /// The session.
    pub session: StoreId,
    /// Place in the order of the session; the packet identifier follows from it.
    pub number: u64,
    /// The message; its [`Message::store_id`] is given.
    pub message: Arc<Message>,
    /// The QoS of the delivery.
    pub qos: QoS,
    /// The RETAIN flag of the delivery.
    pub retain: bool,
    /// Subscription identifiers.
    pub identifiers: Box<[u32]>,
    /// Whether a publisher waits for the batch and is told if it fails.
    pub is_refusable: bool,
}

impl DeliveryRecord {
    /// Bytes that the delivery counts in the budgets of what is stored.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.message.stored_bytes()
    }
}

/// What the core wants to read of a session's deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadRequest {
    /// The session in the store.
    pub session: StoreId,
    /// Only deliveries with a greater number.
    pub after: u64,
    /// At most so many.
    pub deliveries_max: u32,
    /// No more once their messages have so many bytes; at least one is read, whatever its size.
    pub bytes_max: u64,
}

/// A delivery that was read from the store.
#[derive(Debug)]
pub struct LoadedDelivery {
    /// Its number.
    pub number: u64,
    /// The message; none if the client has it and only its identifier is to be released.
    pub message: Option<Message>,
    /// The QoS of the delivery.
    pub qos: QoS,
    /// The RETAIN flag of the delivery.
    pub retain: bool,
    /// Subscription identifiers.
    pub identifiers: Box<[u32]>,
    /// Bytes that the delivery counts in the budgets, as [`DeliveryRecord::bytes`] said.
    pub bytes: u64,
}

/// Everything that a store knows at the start.
#[derive(Debug, Default)]
pub struct Restored {
    /// The time of the core from which to go on.
    pub now: Timestamp,
    /// The sessions.
    pub sessions: Vec<RestoredSession>,
    /// The retained messages.
    pub retained: Vec<Message>,
    /// Greater than every number of a session that was ever given.
    pub next_session: u64,
    /// Greater than every [`Message::store_id`] that is in use.
    pub next_message: u64,
}

/// A session and what belongs to it, but for its messages, which are read when the client comes.
#[derive(Debug)]
pub struct RestoredSession {
    /// Its record.
    pub record: SessionRecord,
    /// Its subscriptions.
    pub subscriptions: Vec<SubscriptionRecord>,
    /// Identifiers of QoS 2 messages that were taken and not released, in order.
    pub received: Vec<PacketId>,
    /// How many deliveries are stored.
    pub deliveries: u32,
    /// Their bytes, as [`DeliveryRecord::bytes`] counts them.
    pub delivery_bytes: u64,
    /// The greatest number among them, 0 if there is none.
    pub last_number: u64,
    /// How many of them may have been sent: those up to [`SessionRecord::sent_through`], and all if the client was connected:
    /// it may have acknowledged any number of messages since that was written.
    pub sent: u32,
    /// Highest number that may have been sent.
    pub sent_through: u64,
}

impl RestoredSession {
    /// A session that has nothing yet.
    #[must_use]
    pub fn new(record: SessionRecord) -> Self {
        Self {
            sent_through: record.sent_through,
            record,
            subscriptions: Vec::new(),
            received: Vec::new(),
            deliveries: 0,
            delivery_bytes: 0,
            last_number: 0,
            sent: 0,
        }
    }

    /// Notes a delivery that is stored; to be called in the order of their numbers.
    pub fn add_delivery(&mut self, number: u64, bytes: u64) {
        if self.record.window > 0 {
            self.sent_through = self.sent_through.max(number);
        }
        if number <= self.sent_through {
            self.sent = self.sent.saturating_add(1);
        }
        self.deliveries = self.deliveries.saturating_add(1);
        self.delivery_bytes = self.delivery_bytes.saturating_add(bytes);
        self.last_number = self.last_number.max(number);
    }
}
