//! What a back end has been asked and what became of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the classes in which the time to an answer is counted, in milliseconds; slower ones are above the last.
pub const LATENCY_BOUNDS_MS: [u64; 9] = [1, 5, 10, 50, 100, 500, 1_000, 5_000, 10_000];

/// What became of the questions to a back end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackendStatistics {
    /// Questions that were sent, each counted once however often it was tried.
    pub asked: u64,
    /// Those that were answered with yes.
    pub allowed: u64,
    /// Those that were answered with no.
    pub denied: u64,
    /// Questions without an answer, sent or not.
    pub errors: u64,
    /// Questions that were not sent, because the back end did not answer before.
    pub rested: u64,
    /// Questions whose answer was remembered.
    pub cache_hits: u64,
    /// Questions that got the answer of the same one under way.
    pub shared: u64,
    /// Questions that were sent, by the time to their end: one for each of [`LATENCY_BOUNDS_MS`], and one above.
    pub latencies: [u64; LATENCY_BOUNDS_MS.len() + 1],
    /// Those times together.
    pub latency_total: Duration,
}

impl BackendStatistics {
    pub(super) fn add(&mut self, other: &Self) {
        self.asked += other.asked;
        self.allowed += other.allowed;
        self.denied += other.denied;
        self.errors += other.errors;
        self.rested += other.rested;
        self.cache_hits += other.cache_hits;
        self.shared += other.shared;
        for (sum, more) in self.latencies.iter_mut().zip(other.latencies) {
            *sum += more;
        }
        self.latency_total += other.latency_total;
    }
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    asked: AtomicU64,
    allowed: AtomicU64,
    denied: AtomicU64,
    errors: AtomicU64,
    rested: AtomicU64,
    cache_hits: AtomicU64,
    shared: AtomicU64,
    latencies: [AtomicU64; LATENCY_BOUNDS_MS.len() + 1],
    latency_total_us: AtomicU64,
}

impl Counters {
    pub(super) fn note_asked(&self) {
        count(&self.asked);
    }

    pub(super) fn note_verdict(&self, allowed: bool) {
        count(if allowed { &self.allowed } else { &self.denied });
    }

    pub(super) fn note_error(&self) {
        count(&self.errors);
    }

    pub(super) fn note_rested(&self) {
        count(&self.rested);
    }

    pub(super) fn note_cache_hit(&self) {
        count(&self.cache_hits);
    }

    pub(super) fn note_shared(&self) {
        count(&self.shared);
    }

    pub(super) fn note_latency(&self, latency: Duration) {
        let above = |bound: &&u64| Duration::from_millis(**bound) < latency;
        let class = LATENCY_BOUNDS_MS.iter().take_while(above).count();
        if let Some(counter) = self.latencies.get(class) {
            count(counter);
        }
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.latency_total_us.fetch_add(micros, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> BackendStatistics {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        BackendStatistics {
            asked: read(&self.asked),
            allowed: read(&self.allowed),
            denied: read(&self.denied),
            errors: read(&self.errors),
            rested: read(&self.rested),
            cache_hits: read(&self.cache_hits),
            shared: read(&self.shared),
            latencies: self.latencies.each_ref().map(read),
            latency_total: Duration::from_micros(read(&self.latency_total_us)),
        }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_counted_in_the_class_that_it_does_not_exceed() {
        let counters = Counters::default();
        for millis in [0, 1, 2, 10_000, 10_001] {
            counters.note_latency(Duration::from_millis(millis));
        }
        let statistics = counters.read();
        assert_eq!(statistics.latencies, [2, 1, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(statistics.latency_total, Duration::from_millis(20_004));
    }
}
