//! A world with a store: the test decides what becomes of a batch, and when the power is cut.

use super::disk::Disk;
use super::world::{Opening, Received, World, packet_id};
use crate::broker::{Batch, Broker, ConnectionId, SessionId};
use crate::limits::Limits;
use crate::mqtt::ReasonCode;

/// The store of a world.
#[derive(Default)]
pub(super) struct Store {
    pub(super) disk: Disk,
    /// The batch that is being written.
    taken: Option<Batch>,
    /// Its commit has failed once.
    struck: bool,
    /// Batches are taken, written and confirmed as soon as somebody waits for them.
    pub(super) is_prompt: bool,
    /// Nothing is read until this is false.
    pub(super) is_reading_held: bool,
    reads: Vec<SessionId>,
}

/// A world whose store answers at once.
pub(super) fn stored_world() -> World {
    stored_world_with(|_| {})
}

/// The same with other bounds.
pub(super) fn stored_world_with(change: impl FnOnce(&mut Limits)) -> World {
    let mut limits = Limits::default();
    change(&mut limits);
    let mut world = World::new(limits);
    let store = Store {
        is_prompt: true,
        ..Store::default()
    };
    world.store = Some(store);
    world.start();
    world
}

impl World {
    pub(super) fn store(&mut self) -> &mut Store {
        self.store.as_mut().unwrap()
    }

    pub(super) fn disk(&self) -> &Disk {
        &self.store.as_ref().unwrap().disk
    }

    /// From here on the test says when a batch is taken and what becomes of it.
    pub(super) fn hold_store(&mut self) {
        self.store().is_prompt = false;
    }

    /// A process starts with what is on the disk.
    fn start(&mut self) {
        let restored = self.store().disk.restore();
        self.now = restored.now;
        self.broker = Broker::new(self.limits.clone(), 7, "test");
        self.broker.restore(restored);
        self.broker.handle_timeout(self.now);
        self.run();
    }

    /// The writer takes what is pending.
    pub(super) fn take_batch(&mut self) -> bool {
        let now = self.now;
        let store = self.store.as_mut().unwrap();
        assert!(store.taken.is_none(), "one batch at a time");
        store.struck = false;
        store.taken = self.broker.take_batch(now);
        store.taken.is_some()
    }

    pub(super) fn is_taken(&self) -> bool {
        self.store.as_ref().unwrap().taken.is_some()
    }

    /// The batch is on the disk, and the core is told so.
    pub(super) fn confirm(&mut self) {
        self.confirm_raw();
        self.run();
    }

    fn confirm_raw(&mut self) {
        let store = self.store.as_mut().unwrap();
        let batch = store.taken.take().unwrap();
        store.disk.apply(&batch);
        self.broker.handle_committed(batch.number, self.now);
    }

    /// The batch cannot be written; what is refusable is struck, and the rest will be tried again.
    pub(super) fn fail(&mut self) {
        let store = self.store.as_mut().unwrap();
        let batch = store.taken.as_mut().unwrap();
        if !std::mem::replace(&mut store.struck, true) {
            self.broker.handle_commit_failed(batch);
            batch.changes.retain(|change| !change.is_refusable());
        }
        self.run();
    }

    /// Takes and confirms until nothing is pending.
    pub(super) fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 1000, "there is always more to store");
            if self.is_taken() || self.take_batch() {
                self.confirm();
            } else {
                return;
            }
        }
    }

    /// The process dies; `is_written` says whether the batch that was taken has come to the disk.
    pub(super) fn crash(&mut self, is_written: bool) {
        let store = self.store.as_mut().unwrap();
        store.reads.clear();
        if let Some(batch) = store.taken.take()
            && is_written
        {
            store.disk.apply(&batch);
        }
        self.power = None;
        self.forget_links();
        self.start();
    }

    /// Stores everything, and lets the process die.
    pub(super) fn restart(&mut self) {
        self.settle();
        self.crash(true);
    }

    pub(super) fn want_read(&mut self, session: SessionId) {
        if let Some(store) = &mut self.store {
            store.reads.push(session);
        }
    }

    /// Lets the store do one thing; false if there is nothing to do.
    pub(super) fn run_store(&mut self) -> bool {
        let Some(store) = &mut self.store else {
            return false;
        };
        if !store.is_reading_held && !store.reads.is_empty() {
            let session = store.reads.remove(0);
            if let Some((request, load)) = self.broker.load_request(session) {
                let loaded = store.disk.load(&request);
                self.reads += 1;
                self.broker.handle_loaded(session, load, loaded, self.now);
            }
            return true;
        }
        if store.is_prompt && self.broker.is_store_awaited() && store.taken.is_none() {
            assert!(self.take_batch());
            self.confirm_raw();
            return true;
        }
        false
    }

    /// What is being read cannot be read.
    pub(super) fn fail_reads(&mut self) {
        for session in std::mem::take(&mut self.store().reads) {
            if let Some((_, load)) = self.broker.load_request(session) {
                self.broker.handle_load_failed(session, load);
            }
        }
    }

    /// The reader goes on.
    pub(super) fn release_reads(&mut self) {
        self.store().is_reading_held = false;
        self.run();
    }
}

/// Answers and messages, short enough to be compared at a glance.
pub(super) fn brief(received: &[Received]) -> Vec<String> {
    let text = |received: &Received| match received {
        Received::Publish(message) => {
            let dup = if message.dup { " again" } else { "" };
            let payload = String::from_utf8_lossy(&message.payload);
            format!("PUBLISH {payload}{dup}")
        }
        Received::Ack(kind, packet, ReasonCode::Success) => format!("{kind:?} {packet}"),
        Received::Ack(kind, packet, reason) => format!("{kind:?} {packet} {reason:?}"),
        Received::ConnAck {
            session_present, ..
        } => format!("CONNACK {session_present}"),
        Received::SubAck(_) => "SUBACK".to_owned(),
        Received::UnsubAck(_) => "UNSUBACK".to_owned(),
        Received::PingResp => "PINGRESP".to_owned(),
        Received::Disconnect(reason) => format!("DISCONNECT {reason:?}"),
    };
    received.iter().map(text).collect()
}

impl World {
    /// What a client has received since the last call, in brief.
    pub(super) fn brief(&mut self, id: ConnectionId) -> Vec<String> {
        brief(&self.received(id))
    }

    /// Publishes to `t`.
    pub(super) fn tell(&mut self, id: ConnectionId, payload: &str, qos: u8, packet: u16) {
        let _ = self.publish_with(id, "t", payload, qos, |parts| {
            parts.packet_id = (qos > 0).then(|| packet_id(packet));
        });
    }

    /// A client whose session is stored and that has subscribed to `t` at QoS 2.
    pub(super) fn subscriber(&mut self, opening: &Opening) -> ConnectionId {
        let id = self.connect(opening);
        self.subscribe(id, "t", 2);
        id
    }

    /// The same, gone.
    pub(super) fn absent_subscriber(&mut self, opening: &Opening) {
        let id = self.subscriber(opening);
        self.lose(id);
    }
}
