//! Everything that will happen by itself, in one ordered table.

use std::collections::BTreeSet;

use super::time::Timestamp;
use super::{ConnectionId, SessionId};

/// What happens when a timer runs out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// No packet for one and a half times the keep alive (MQTT 5, 3.1.2.10).
    KeepAlive(ConnectionId),
    /// The credential of the connection is no longer valid.
    CredentialExpiry(ConnectionId),
    /// The publisher has waited long enough for a slow receiver.
    PauseEnd(ConnectionId),
    /// The back end is asked again about messages for the client that nobody could tell about.
    AskAgain(ConnectionId),
    /// The session has been without a connection for its expiry interval (3.1.2.11.2).
    SessionExpiry(SessionId),
    /// The will delay interval has passed (3.1.3.2.2).
    WillDelay(SessionId),
    /// The `$SYS` topics are due, and expired retained messages are swept.
    Sys,
}

/// A table of timers; the owner of a timer keeps the time it set, and gives it to disarm it.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    armed: BTreeSet<(Timestamp, Timer)>,
}

impl Timers {
    pub(crate) fn arm(&mut self, at: Timestamp, timer: Timer) {
        self.armed.insert((at, timer));
    }

    pub(crate) fn disarm(&mut self, at: Timestamp, timer: Timer) {
        self.armed.remove(&(at, timer));
    }

    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.armed.first().map(|(at, _)| *at)
    }

    /// Takes the first timer that is due at `now`.
    pub(crate) fn pop_due(&mut self, now: Timestamp) -> Option<(Timestamp, Timer)> {
        let first = *self.armed.first()?;
        if first.0 > now {
            return None;
        }
        self.armed.remove(&first);
        Some(first)
    }
}
