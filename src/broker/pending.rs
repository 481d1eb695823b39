//! Changes that nobody has stored yet, and who waits for them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::ConnectionId;
use super::effect::Effect;
use super::message::Message;
use super::persist::{Batch, Change, SessionRecord, StoreId};
use super::time::Timestamp;
use crate::mqtt::{AckKind, PacketId, ReasonCode};

/// What the store can take, as the shell has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StoreCondition {
    /// There is none: everything is kept in memory only, and promised for no longer.
    #[default]
    Absent,
    /// There should be one and it cannot be used: what would have to be stored to be acknowledged is refused.
    Missing,
    /// It takes everything.
    Ready,
    /// Space is short: nothing more is stored for sessions that are away, and no further topic is retained.
    Full,
    /// The last batch could not be stored and is tried again.
    Failing,
}

/// An answer that waits until what it promises is stored.
#[derive(Debug)]
pub(crate) enum Answer {
    Ack {
        kind: AckKind,
        packet_id: PacketId,
        reason: ReasonCode,
        text: Option<&'static str>,
    },
    /// SUBACK or UNSUBACK, encoded.
    Packet(Box<[u8]>),
}

/// An answer that is not written yet.
#[derive(Debug)]
pub(crate) struct Withheld {
    /// It waits until this batch is stored.
    pub(crate) batch: u64,
    /// It says that something is stored; else it only keeps its place behind one that does.
    pub(crate) promises: bool,
    pub(crate) answer: Answer,
}

/// Where a change stands among those that are not stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) batch: u64,
    index: usize,
}

/// The changes that are not stored yet.
#[derive(Debug)]
pub(crate) struct Pending {
    condition: StoreCondition,
    open: Vec<Change>,
    /// How often something was noted.
    mark: u64,
    /// Changes of the open batch that a later one of the same session or topic takes the place of.
    sessions: BTreeMap<StoreId, Place>,
    retained: BTreeMap<Box<str>, Place>,
    /// Number of the batch that is open.
    pub(crate) open_number: u64,
    /// Number of the last batch that is stored.
    pub(crate) stored: u64,
    /// Somebody waits for the open batch.
    forced: bool,
    /// Bytes of the messages in the open batch, and in the one that is being stored.
    bytes: u64,
    taken_bytes: u64,
    next_session: u64,
    next_message: u64,
    /// What all stored deliveries count in the budget.
    pub(crate) stored_bytes: u64,
    pub(crate) stored_deliveries: u64,
    /// Who waits for which batch, in order.
    waiting: VecDeque<(u64, ConnectionId)>,
    /// Publishers that wait until less is pending.
    pub(crate) stalled: Vec<ConnectionId>,
}

impl Default for Pending {
    fn default() -> Self {
        Self {
            condition: StoreCondition::Absent,
            open: Vec::new(),
            mark: 0,
            sessions: BTreeMap::new(),
            retained: BTreeMap::new(),
            open_number: 1,
            stored: 0,
            forced: false,
            bytes: 0,
            taken_bytes: 0,
            next_session: 1,
            next_message: 1,
            stored_bytes: 0,
            stored_deliveries: 0,
            waiting: VecDeque::new(),
            stalled: Vec::new(),
        }
    }
}

impl Pending {
    pub(crate) fn condition(&self) -> StoreCondition {
        self.condition
    }

    pub(crate) fn set_condition(&mut self, condition: StoreCondition) {
        self.condition = condition;
    }

    /// Whether changes are collected at all.
    pub(crate) fn is_attached(&self) -> bool {
        match self.condition {
            StoreCondition::Absent | StoreCondition::Missing => false,
            StoreCondition::Ready | StoreCondition::Full | StoreCondition::Failing => true,
        }
    }

    pub(crate) fn go_on_from(&mut self, next_session: u64, next_message: u64) {
        self.next_session = next_session.max(1);
        self.next_message = next_message.max(1);
    }

    pub(crate) fn new_session(&mut self) -> StoreId {
        let id = StoreId::new(self.next_session);
        self.next_session += 1;
        id
    }

    /// Gives a message its number in the store.
    pub(crate) fn number(&mut self, message: &Message) {
        message.number(&mut self.next_message);
    }

    /// Notes a change for which nobody waits yet.
    pub(crate) fn add(&mut self, change: Change, effects: &mut Vec<Effect>) -> Place {
        if self.open.is_empty() {
            effects.push(Effect::Store);
        }
        self.mark += 1;
        self.bytes += bytes_of(&change);
        self.open.push(change);
        Place {
            batch: self.open_number,
            index: self.open.len() - 1,
        }
    }

    /// Notes the record of a session, in the place of one that was noted before.
    pub(crate) fn add_session(&mut self, record: Box<SessionRecord>, effects: &mut Vec<Effect>) {
        let id = record.id;
        let known = self.sessions.get(&id).copied();
        let change = Change::Session(record);
        match known {
            Some(place) => self.replace(place, change),
            None => {
                let place = self.add(change, effects);
                self.sessions.insert(id, place);
            }
        }
    }

    /// Notes what becomes of the retained message of a topic, in the place of what was noted before.
    pub(crate) fn add_retained(&mut self, change: Change, effects: &mut Vec<Effect>) {
        let topic: Box<str> = match &change {
            Change::Retained(message) => message.topic.clone(),
            Change::RetainedEnd(topic) => topic.clone(),
            Change::Withdrawn
            | Change::Session(_)
            | Change::SessionEnd(_)
            | Change::Subscription(..)
            | Change::SubscriptionEnd(..)
            | Change::Delivery(_)
            | Change::DeliveryReleased(..)
            | Change::DeliveryEnd(..)
            | Change::OldestDropped(..)
            | Change::Received(..)
            | Change::ReceivedEnd(..) => return,
        };
        match self.retained.get(&topic).copied() {
            Some(place) => self.replace(place, change),
            None => {
                let place = self.add(change, effects);
                self.retained.insert(topic, place);
            }
        }
    }

    fn replace(&mut self, place: Place, change: Change) {
        self.mark += 1;
        if let Some(known) = self.open.get_mut(place.index) {
            self.bytes = self.bytes.saturating_sub(bytes_of(known)) + bytes_of(&change);
            *known = change;
        }
    }

    /// Grows whenever something is noted; to see whether it was.
    pub(crate) fn mark(&self) -> u64 {
        self.mark
    }

    /// Takes a change back if nobody has taken it yet; false if it is too late for that.
    pub(crate) fn withdraw(&mut self, place: Place) -> bool {
        if place.batch != self.open_number {
            return false;
        }
        if let Some(change) = self.open.get_mut(place.index) {
            self.bytes = self.bytes.saturating_sub(bytes_of(change));
            *change = Change::Withdrawn;
        }
        true
    }

    /// How many changes are open.
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    /// Notes that somebody waits for the open batch, and returns its number.
    pub(crate) fn wait(&mut self, id: ConnectionId, effects: &mut Vec<Effect>) -> u64 {
        self.force(effects);
        self.wait_for(self.open_number, id);
        self.open_number
    }

    /// Has the open batch stored at once.
    pub(crate) fn force(&mut self, effects: &mut Vec<Effect>) {
        if !self.forced {
            self.forced = true;
            effects.push(Effect::Store);
        }
    }

    /// Has `id` looked after when a batch is stored.
    pub(crate) fn wait_for(&mut self, batch: u64, id: ConnectionId) {
        if self.waiting.back() != Some(&(batch, id)) {
            self.waiting.push_back((batch, id));
        }
    }

    /// Whoever waits for a batch up to `number`.
    pub(crate) fn take_waiting(&mut self, number: u64) -> Vec<(u64, ConnectionId)> {
        let mut due = Vec::new();
        self.waiting.retain(|waiting| {
            if waiting.0 <= number {
                due.push(*waiting);
            }
            waiting.0 > number
        });
        due
    }

    pub(crate) fn is_forced(&self) -> bool {
        self.forced
    }

    /// Deliveries that are over, as far as nobody has taken it to the store yet.
    pub(crate) fn ended(&self) -> BTreeSet<(StoreId, u64)> {
        let mut ended = BTreeSet::new();
        for change in &self.open {
            if let Change::DeliveryEnd(session, number) = change {
                ended.insert((*session, *number));
            }
        }
        ended
    }

    /// Takes the changes that may be refused out of the open batch.
    pub(crate) fn strike_open(&mut self) -> Vec<Change> {
        let mut struck = Vec::new();
        for change in &mut self.open {
            if change.is_refusable() {
                self.bytes = self.bytes.saturating_sub(bytes_of(change));
                struck.push(std::mem::replace(change, Change::Withdrawn));
            }
        }
        struck
    }

    /// Whether anything is not stored yet.
    pub(crate) fn is_settled(&self) -> bool {
        self.open.is_empty() && self.stored + 1 == self.open_number
    }

    /// Bytes of messages that wait in memory to be stored.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes + self.taken_bytes
    }

    pub(crate) fn take(&mut self, now: Timestamp) -> Option<Batch> {
        if self.open.is_empty() && !self.forced {
            return None;
        }
        let number = self.open_number;
        self.open_number += 1;
        self.forced = false;
        self.taken_bytes = std::mem::take(&mut self.bytes);
        self.sessions.clear();
        self.retained.clear();
        Some(Batch {
            number,
            taken_at: now,
            changes: std::mem::take(&mut self.open),
        })
    }

    pub(crate) fn note_stored(&mut self, number: u64) {
        self.stored = number;
        self.taken_bytes = 0;
    }
}

/// Bytes of memory that a change holds until it is stored.
fn bytes_of(change: &Change) -> u64 {
    /// A change that has nothing but numbers.
    const PLAIN: u64 = 64;
    let text = |text: &str| PLAIN + u64::try_from(text.len()).unwrap_or(u64::MAX / 2);
    match change {
        Change::Delivery(delivery) => delivery.bytes(),
        Change::Retained(message) => message.stored_bytes(),
        Change::Session(record) => record.bytes(),
        Change::Subscription(_, record) => PLAIN + text(&record.filter),
        Change::SubscriptionEnd(_, filter) => text(filter),
        Change::RetainedEnd(topic) => text(topic),
        Change::Withdrawn
        | Change::SessionEnd(_)
        | Change::DeliveryReleased(..)
        | Change::DeliveryEnd(..)
        | Change::OldestDropped(..)
        | Change::Received(..)
        | Change::ReceivedEnd(..) => PLAIN,
    }
}
