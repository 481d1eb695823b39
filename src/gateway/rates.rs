//! Rates over the last minute, from counters that are looked at now and then.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::admin::{BrokerReport, Rates};

/// Time that a rate is averaged over.
const WINDOW: Duration = Duration::from_secs(60);

/// Counters at a point in time.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    received: u64,
    sent: u64,
    dropped: u64,
}

/// The samples of the last minute, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct RateWindow {
    samples: VecDeque<Sample>,
}

impl RateWindow {
    /// Adds what the counters say now.
    pub(crate) fn sample(&mut self, at: Instant, broker: &BrokerReport) {
        self.samples.push_back(Sample::new(at, broker));
        // One sample older than the window stays, so that the window is always whole.
        while self
            .samples
            .get(1)
            .is_some_and(|second| at.duration_since(second.at) >= WINDOW)
        {
            self.samples.pop_front();
        }
    }

    /// The rates between the oldest sample and now.
    pub(crate) fn rates(&self, at: Instant, broker: &BrokerReport) -> Rates {
        let Some(first) = self.samples.front() else {
            return Rates::default();
        };
        let seconds = at.duration_since(first.at).as_secs_f64();
        if seconds <= 0.0 {
            return Rates::default();
        }
        let now = Sample::new(at, broker);
        let rate = |now: u64, first: u64| now.saturating_sub(first) as f64 / seconds;
        Rates {
            messages_received: rate(now.received, first.received),
            messages_sent: rate(now.sent, first.sent),
            messages_dropped: rate(now.dropped, first.dropped),
        }
    }
}

impl Sample {
    fn new(at: Instant, broker: &BrokerReport) -> Self {
        Self {
            at,
            received: broker.messages_received.iter().sum(),
            sent: broker.messages_sent.iter().sum(),
            dropped: broker.messages_dropped,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn counters(received: u64) -> BrokerReport {
        BrokerReport {
            messages_received: [received, 0, 0],
            ..BrokerReport::default()
        }
    }

    #[test]
    fn what_is_older_than_the_window_does_not_count() {
        let start = clock::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut window = RateWindow::default();
        assert_eq!(window.rates(start, &counters(9)), Rates::default());
        for (seconds, received) in [(0, 0), (30, 3000), (60, 3000), (90, 3000), (120, 3600)] {
            window.sample(after(seconds), &counters(received));
        }
        let rates = window.rates(after(120), &counters(3600));
        assert!((rates.messages_received - 10.0).abs() < 1e-9, "{rates:?}");
        assert_eq!(window.samples.len(), 3);
    }
}
