//! Clients that break the standard: counted by rule, and reported so that one client cannot fill the journal.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::mqtt::Violation;

/// Faults of one address that are written to the journal in one [`WINDOW`].
const LINES_MAX: u32 = 10;

/// Time after which an address has its lines back.
const WINDOW: Duration = Duration::from_secs(60);

/// Addresses that are told apart. What is beyond shares the lines of one.
const ADDRESSES_MAX: usize = 1024;

/// What clients did wrong since the start.
#[derive(Debug, Default)]
pub struct Faults(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    counts: BTreeMap<Violation, u64>,
    addresses: Windows<IpAddr>,
}

/// Lines in the journal by whom they are about, so that one client cannot fill it.
#[derive(Debug)]
pub(super) struct Windows<K>(BTreeMap<Option<K>, Window>);

impl<K> Default for Windows<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

#[derive(Debug)]
struct Window {
    since: Instant,
    lines: u32,
    unlogged: u64,
}

impl Faults {
    /// How often each rule was broken, in the order of the rules.
    pub fn counts(&self) -> Vec<(Violation, u64)> {
        let state = self.lock();
        state.counts.iter().map(|(v, count)| (*v, *count)).collect()
    }

    /// Counts a fault. `Some` if it is to be logged, with the number of those of the address that were not.
    pub(super) fn note(
        &self,
        violation: Violation,
        address: Option<SocketAddr>,
        now: Instant,
    ) -> Option<u64> {
        *self.lock().counts.entry(violation).or_default() += 1;
        self.note_line(address, now)
    }

    /// Asks for a line in the journal. `None` if the address has had all of its own; else the number of those that were
    /// not logged since the last one.
    pub(super) fn note_line(&self, address: Option<SocketAddr>, now: Instant) -> Option<u64> {
        let address = address.map(|address| address.ip());
        self.lock().addresses.note_line(address, now)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Ord + Clone> Windows<K> {
    /// Asks for a line about somebody. `None` if all of its lines are used up; else the number of those that were not
    /// written since the last one.
    pub(super) fn note_line(&mut self, whom: Option<K>, now: Instant) -> Option<u64> {
        let is_over = |window: &Window| now.saturating_duration_since(window.since) >= WINDOW;
        if self.0.len() >= ADDRESSES_MAX {
            self.0.retain(|_, window| !is_over(window));
        }
        let room = self.0.len() < ADDRESSES_MAX;
        let key = whom.filter(|whom| room || self.0.contains_key(&Some(whom.clone())));
        let window = self.0.entry(key).or_insert(Window {
            since: now,
            lines: 0,
            unlogged: 0,
        });
        if is_over(window) {
            window.since = now;
            window.lines = 0;
        }
        if window.lines >= LINES_MAX {
            window.unlogged += 1;
            return None;
        }
        window.lines += 1;
        Some(std::mem::take(&mut window.unlogged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn address(last: u16) -> Option<SocketAddr> {
        let [high, low] = last.to_be_bytes();
        Some(SocketAddr::from(([10, 0, high, low], 1)))
    }

    #[test]
    fn one_address_gets_ten_lines_a_minute_and_every_fault_is_counted() {
        let faults = Faults::default();
        let start = clock::now();
        let note = |address, after| {
            let now = start + Duration::from_secs(after);
            faults.note(Violation::PacketTooLarge, address, now)
        };
        for _ in 0..10 {
            assert_eq!(note(address(1), 0), Some(0));
        }
        assert_eq!(note(address(1), 1), None);
        assert_eq!(note(address(1), 59), None);
        assert_eq!(
            note(address(2), 1),
            Some(0),
            "another address has its own lines"
        );
        assert_eq!(note(address(1), 60), Some(2));
        assert_eq!(faults.counts(), [(Violation::PacketTooLarge, 14)]);
    }

    #[test]
    fn the_table_of_addresses_is_bounded() {
        let faults = Faults::default();
        let now = clock::now();
        for last in 0..2000 {
            faults.note(Violation::PacketTooLarge, address(last), now);
        }
        assert!(faults.lock().addresses.0.len() <= ADDRESSES_MAX + 1);
        assert_eq!(faults.counts(), [(Violation::PacketTooLarge, 2000)]);
        let later = now + WINDOW;
        faults.note(Violation::PacketTooLarge, address(5000), later);
        assert_eq!(faults.lock().addresses.0.len(), 1);
    }
}
