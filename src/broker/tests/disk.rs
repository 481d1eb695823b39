//! A model of the store: what a process would find on the disk after a power cut.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::broker::{
    Batch, Change, DeliveryRecord, LoadRequest, LoadedDelivery, Message, Restored, RestoredSession,
    SessionRecord, StoreId, SubscriptionRecord, Timestamp,
};
use crate::mqtt::{PacketId, QoS};

/// A delivery on the disk.
#[derive(Clone)]
pub(super) struct Row {
    /// None when the client has the message.
    pub(super) message: Option<u64>,
    qos: QoS,
    retain: bool,
    identifiers: Box<[u32]>,
    pub(super) bytes: u64,
}

/// A session on the disk, with what belongs to it.
#[derive(Clone)]
pub(super) struct DiskSession {
    pub(super) record: SessionRecord,
    pub(super) subscriptions: BTreeMap<Box<str>, SubscriptionRecord>,
    pub(super) deliveries: BTreeMap<u64, Row>,
    pub(super) received: BTreeSet<PacketId>,
    /// The greatest number that this process has given.
    highest: u64,
}

/// What is stored.
#[derive(Clone, Default)]
pub(super) struct Disk {
    pub(super) sessions: BTreeMap<u64, DiskSession>,
    messages: BTreeMap<u64, (Arc<Message>, usize)>,
    pub(super) retained: BTreeMap<Box<str>, Arc<Message>>,
    pub(super) now: Timestamp,
    next_session: u64,
    last_batch: u64,
    /// Messages that were ever written.
    pub(super) written: u64,
}

impl Disk {
    /// Stores all of a batch, and checks that it makes sense.
    pub(super) fn apply(&mut self, batch: &Batch) {
        assert_eq!(batch.number, self.last_batch + 1, "batches come in order");
        assert!(batch.taken_at >= self.now, "time runs backwards");
        self.last_batch = batch.number;
        self.now = batch.taken_at;
        for change in &batch.changes {
            self.apply_change(change);
        }
        // In a long queue not after each message.
        if self.messages.len() < 100 || batch.number.is_multiple_of(200) {
            self.check_references();
        }
    }

    fn apply_change(&mut self, change: &Change) {
        match change {
            Change::Withdrawn => {}
            Change::Session(record) => self.put_session(record),
            Change::SessionEnd(id) => {
                let ended = self
                    .sessions
                    .remove(&id.get())
                    .expect("a session ends once");
                for row in ended.deliveries.into_values() {
                    self.need_less(row.message);
                }
            }
            Change::Subscription(id, record) => {
                let filter = record.filter.clone();
                let record = SubscriptionRecord::clone(record);
                self.session(*id).subscriptions.insert(filter, record);
            }
            Change::SubscriptionEnd(id, filter) => {
                let removed = self.session(*id).subscriptions.remove(filter);
                assert!(removed.is_some(), "no subscription to {filter}");
            }
            Change::Delivery(record) => self.put_delivery(record),
            Change::DeliveryReleased(id, number) => {
                let row = self.session(*id).deliveries.get_mut(number);
                let row = row.expect("what is released was stored");
                assert_eq!(row.qos, QoS::ExactlyOnce);
                row.bytes = 0;
                let message = row.message.take();
                self.need_less(message);
            }
            Change::DeliveryEnd(id, number) => {
                if let Some(row) = self.session(*id).deliveries.remove(number) {
                    self.need_less(row.message);
                }
            }
            Change::OldestDropped(id, after) => {
                let deliveries = &mut self.session(*id).deliveries;
                let oldest = deliveries.range(after + 1..).next();
                if let Some(number) = oldest.map(|(number, _)| *number) {
                    let row = deliveries.remove(&number).unwrap();
                    self.need_less(row.message);
                }
            }
            Change::Received(id, packet_id) => {
                let is_new = self.session(*id).received.insert(*packet_id);
                assert!(is_new, "{packet_id:?} is taken twice");
            }
            // Nothing is known of it if it was taken in a batch that was refused.
            Change::ReceivedEnd(id, packet_id) => {
                self.session(*id).received.remove(packet_id);
            }
            Change::Retained(message) => {
                self.retained
                    .insert(message.topic().into(), Arc::clone(message));
            }
            Change::RetainedEnd(topic) => {
                self.retained.remove(topic);
            }
        }
    }

    fn session(&mut self, id: StoreId) -> &mut DiskSession {
        let session = self.sessions.get_mut(&id.get());
        session.expect("a change for a session that is not known")
    }

    fn put_session(&mut self, record: &SessionRecord) {
        let id = record.id.get();
        self.next_session = self.next_session.max(id + 1);
        if let Some(known) = self.sessions.get_mut(&id) {
            assert_eq!(known.record.client_id, record.client_id);
            known.record = record.clone();
            return;
        }
        let session = DiskSession {
            record: record.clone(),
            subscriptions: BTreeMap::new(),
            deliveries: BTreeMap::new(),
            received: BTreeSet::new(),
            highest: 0,
        };
        self.sessions.insert(id, session);
        let names = self
            .sessions
            .values()
            .map(|s| (&s.record.mount_point, &s.record.client_id));
        let names: BTreeSet<_> = names.collect();
        assert_eq!(names.len(), self.sessions.len(), "two sessions of a name");
    }

    fn put_delivery(&mut self, record: &DeliveryRecord) {
        assert!(record.qos > QoS::AtMostOnce);
        let number = record.message.store_id();
        assert!(number > 0, "a message without a number");
        let entry = self.messages.entry(number);
        let (message, references) = entry.or_insert_with(|| (Arc::clone(&record.message), 0));
        assert_eq!(message.topic(), record.message.topic());
        assert_eq!(message.payload(), record.message.payload());
        *references += 1;
        let row = Row {
            message: Some(number),
            qos: record.qos,
            retain: record.retain,
            identifiers: record.identifiers.clone(),
            bytes: record.bytes(),
        };
        self.written += 1;
        let session = self.session(record.session);
        assert!(record.number > session.highest, "numbers rise");
        session.highest = record.number;
        session.deliveries.insert(record.number, row);
    }

    fn need_less(&mut self, message: Option<u64>) {
        let Some(number) = message else { return };
        let (_, references) = self.messages.get_mut(&number).unwrap();
        *references -= 1;
        if *references == 0 {
            self.messages.remove(&number);
        }
    }

    fn check_references(&self) {
        let mut needed: BTreeMap<u64, usize> = BTreeMap::new();
        for row in self.sessions.values().flat_map(|s| s.deliveries.values()) {
            if let Some(message) = row.message {
                *needed.entry(message).or_default() += 1;
            }
        }
        let kept = self.messages.iter().map(|(id, (_, count))| (*id, *count));
        assert!(needed.into_iter().eq(kept), "a message nobody waits for");
    }

    /// Answers what the core asks for.
    pub(super) fn load(&self, request: &LoadRequest) -> Vec<LoadedDelivery> {
        let mut bytes = 0;
        let mut loaded = Vec::new();
        let Some(session) = self.sessions.get(&request.session.get()) else {
            return loaded;
        };
        for (number, row) in session.deliveries.range(request.after + 1..) {
            if loaded.len() >= request.deliveries_max as usize
                || !loaded.is_empty() && bytes >= request.bytes_max
            {
                break;
            }
            bytes += row.bytes;
            loaded.push(LoadedDelivery {
                number: *number,
                message: row
                    .message
                    .map(|id| copied(&self.messages[&id].0).with_store_id(id)),
                qos: row.qos,
                retain: row.retain,
                identifiers: row.identifiers.clone(),
                bytes: row.bytes,
            });
        }
        loaded
    }

    /// A process starts with what is stored; batches are counted anew.
    pub(super) fn restore(&mut self) -> Restored {
        self.last_batch = 0;
        for session in self.sessions.values_mut() {
            session.highest = session.deliveries.keys().next_back().copied().unwrap_or(0);
        }
        let last_message = self.messages.keys().next_back().copied().unwrap_or(0);
        Restored {
            now: self.now,
            sessions: self.sessions.values().map(restored).collect(),
            retained: self.retained.values().map(|m| copied(m)).collect(),
            next_session: self.next_session,
            next_message: last_message + 1,
        }
    }

    /// A part of the disk is damaged.
    pub(super) fn lose_deliveries(&mut self, client_id: &str) {
        let mut sessions = self.sessions.values_mut();
        let session = sessions.find(|session| *session.record.client_id == *client_id);
        for row in std::mem::take(&mut session.unwrap().deliveries).into_values() {
            self.need_less(row.message);
        }
    }

    /// The session of a client.
    pub(super) fn of(&self, client_id: &str) -> Option<&DiskSession> {
        let mut sessions = self.sessions.values();
        sessions.find(|session| *session.record.client_id == *client_id)
    }

    /// Payloads that wait for a client.
    pub(super) fn payloads(&self, client_id: &str) -> Vec<String> {
        let Some(session) = self.of(client_id) else {
            return Vec::new();
        };
        let messages = session.deliveries.values().filter_map(|row| row.message);
        messages
            .map(|id| String::from_utf8(self.messages[&id].0.payload().to_vec()).unwrap())
            .collect()
    }
}

fn restored(session: &DiskSession) -> RestoredSession {
    let mut restored = RestoredSession::new(session.record.clone());
    restored.subscriptions = session.subscriptions.values().cloned().collect();
    restored.received = session.received.iter().copied().collect();
    for (number, row) in &session.deliveries {
        restored.add_delivery(*number, row.bytes);
    }
    restored
}

fn copied(message: &Message) -> Message {
    Message::new(
        message.topic(),
        Bytes::copy_from_slice(message.payload()),
        message.forwarded().into(),
        message.qos(),
        message.received_at(),
        message.expires_at(),
    )
}
