//! The MQTT state of a client, which may outlive its connections (MQTT 5, 4.1).

use std::collections::VecDeque;
use std::sync::Arc;

use super::ConnectionId;
use super::connection::PortPolicy;
use super::inflight::{Incoming, Outgoing};
use super::message::{Delivery, Message};
use super::retained::RetainedCursor;
use super::shared::GroupId;
use super::stored::StoredSession;
use super::subscriptions::FilterId;
use super::time::Timestamp;
use crate::policy::{Principal, Rights};

/// A will that is to be published if the client goes without saying goodbye (3.1.2.5).
#[derive(Debug)]
pub(crate) struct PendingWill {
    pub(crate) message: Message,
    pub(crate) expiry_interval: Option<u32>,
    pub(crate) retain: bool,
    pub(crate) delay_interval: u32,
    /// When the delay ends, once the connection is gone.
    pub(crate) due_at: Option<Timestamp>,
}

/// A message in a queue, and since when.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) delivery: Delivery,
    pub(crate) since: Timestamp,
}

/// The state of one client.
#[derive(Debug)]
pub struct Session {
    /// The key in the table of sessions: the client identifier, under its mount point.
    pub(crate) key: Box<str>,
    pub(crate) client_id: Box<str>,
    /// The name of the principal that opened the session; nobody else may have it (5.4.2).
    pub(crate) owner: Box<str>,
    /// Who that was at the last connection; not known of a session that was restored.
    pub(crate) principal: Option<Arc<Principal>>,
    /// What the client may do; none where its port has no rules.
    pub(crate) rights: Option<Box<Rights>>,
    /// Messages may wait that the client may not read.
    pub(crate) checks_reads: bool,
    pub(crate) connection: Option<ConnectionId>,
    /// Seconds that the session stays after its connection, `u32::MAX` for ever.
    pub(crate) expiry_interval: u32,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) port: Arc<PortPolicy>,
    /// Sorted.
    pub(crate) filters: Vec<FilterId>,
    pub(crate) groups: Vec<GroupId>,
    pub(crate) filter_bytes: usize,
    pub(crate) will: Option<Box<PendingWill>>,
    pub(crate) outgoing: Outgoing,
    pub(crate) incoming: Incoming,
    pub(crate) queue: VecDeque<Queued>,
    /// How many messages were put into the queue, where they are not numbered by the store.
    pub(crate) enqueued: u64,
    /// Bytes of the messages that are queued or in flight.
    pub(crate) held_bytes: u64,
    /// Retained messages that new subscriptions have still to get.
    pub(crate) retained: VecDeque<RetainedCursor>,
    /// Messages that this session should have got and did not.
    pub(crate) dropped: u64,
    /// A drop was reported and the client has not caught up since.
    pub(crate) overflowing: bool,
    /// What is stored of the session, if it is.
    pub(crate) store: Option<Box<StoredSession>>,
}

impl Session {
    pub(crate) fn new(key: Box<str>, client_id: &str, owner: &str, port: Arc<PortPolicy>) -> Self {
        Self {
            key,
            client_id: client_id.into(),
            owner: owner.into(),
            principal: None,
            rights: None,
            checks_reads: false,
            enqueued: 0,
            connection: None,
            expiry_interval: 0,
            expires_at: None,
            port,
            filters: Vec::new(),
            groups: Vec::new(),
            filter_bytes: 0,
            will: None,
            outgoing: Outgoing::default(),
            incoming: Incoming::default(),
            queue: VecDeque::new(),
            held_bytes: 0,
            retained: VecDeque::new(),
            dropped: 0,
            overflowing: false,
            store: None,
        }
    }

    /// Whether the session outlives its connection.
    #[inline]
    pub(crate) fn is_durable(&self) -> bool {
        self.expiry_interval > 0
    }

    /// Subscriptions, shared ones included.
    pub(crate) fn subscriptions(&self) -> usize {
        self.filters.len() + self.groups.len()
    }

    /// What waits for the client, as a measure of its load.
    pub(crate) fn load(&self) -> u64 {
        u64::try_from(self.outgoing.len() + self.queued()).unwrap_or(u64::MAX)
    }

    /// Messages that wait to be sent, in memory or in the store.
    pub(crate) fn queued(&self) -> usize {
        match &self.store {
            Some(store) => usize::try_from(store.deliveries)
                .unwrap_or(usize::MAX)
                .saturating_sub(self.outgoing.len()),
            None => self.queue.len(),
        }
    }

    /// Begins to send retained messages; a walk by the same filter that is still under way begins anew.
    pub(crate) fn begin_retained(&mut self, cursor: RetainedCursor, is_known: bool) {
        if is_known {
            self.retained.retain(|known| known.filter != cursor.filter);
        }
        self.retained.push_back(cursor);
    }

    pub(crate) fn add_filter(&mut self, filter: FilterId) {
        if let Err(position) = self.filters.binary_search(&filter) {
            self.filters.insert(position, filter);
        }
    }

    pub(crate) fn remove_filter(&mut self, filter: FilterId) {
        if let Ok(position) = self.filters.binary_search(&filter) {
            self.filters.remove(position);
        }
    }
}
