//! What all clients of a run share: where the gateway is, what is going on, and the book.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::book::Book;

/// The gateway, as long as it is up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) address: SocketAddr,
    /// Counts the starts.
    pub(crate) generation: u64,
}

/// What the clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Subscribers make their subscriptions.
    Begin,
    /// Everybody is at work, and the gateway is killed.
    Load,
    /// Nothing new is sent; what is under way is brought to its end.
    Drain,
    /// Over.
    End,
}

#[derive(Debug)]
pub(crate) struct Stage {
    place: Mutex<Option<Place>>,
    phase: AtomicU8,
    book: Mutex<Book>,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self {
            place: Mutex::new(None),
            phase: AtomicU8::new(0),
            book: Mutex::new(Book::default()),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::SeqCst) {
            0 => Phase::Begin,
            1 => Phase::Load,
            2 => Phase::Drain,
            _ => Phase::End,
        }
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::SeqCst);
    }

    pub(crate) fn place(&self) -> Option<Place> {
        *lock(&self.place)
    }

    pub(crate) fn set_place(&self, place: Option<Place>) {
        *lock(&self.place) = place;
    }

    /// Where the gateway is, once it is up; nothing at the end.
    pub(crate) fn await_place(&self) -> Option<Place> {
        while self.phase() < Phase::End {
            if let Some(place) = self.place() {
                return Some(place);
            }
            rest(5);
        }
        None
    }

    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        lock(&self.book)
    }
}

/// Lets time pass.
pub(crate) fn rest(milliseconds: u64) {
    std::thread::park_timeout(Duration::from_millis(milliseconds));
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
