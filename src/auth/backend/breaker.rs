//! Leaves a server alone that does not answer, so that clients hear at once that they have to come back.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use super::lock;

/// Counts failures in a row. After too many nobody is let through for a while; then one goes first, and the others follow
/// if it comes back with an answer.
#[derive(Debug)]
pub(super) struct Breaker {
    failures_max: u32,
    pause: Duration,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant },
    OnTrial,
}

/// What a result has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The server is left alone from now on.
    Opened,
    /// The server is asked again from now on.
    Closed,
}

impl Breaker {
    pub(super) fn new(failures_max: u32, pause: Duration) -> Self {
        Self {
            failures_max: failures_max.max(1),
            pause,
            state: Mutex::new(State::Closed { failures: 0 }),
        }
    }

    /// Whether a question would be turned away.
    pub(super) fn is_open(&self, now: Instant) -> bool {
        match *lock(&self.state) {
            State::Closed { .. } => false,
            State::Open { until } => now < until,
            State::OnTrial => true,
        }
    }

    /// Lets a question through, if it may. The pass must be told what became of it.
    pub(super) fn pass(&self, now: Instant) -> Option<Pass<'_>> {
        let mut state = lock(&self.state);
        let is_trial = match *state {
            State::Closed { .. } => false,
            State::Open { until } if now >= until => {
                *state = State::OnTrial;
                true
            }
            State::Open { .. } | State::OnTrial => return None,
        };
        Some(Pass {
            breaker: self,
            trial_since: is_trial.then_some(now),
        })
    }
}

/// The right to ask one question.
#[derive(Debug)]
#[must_use]
pub(super) struct Pass<'a> {
    breaker: &'a Breaker,
    trial_since: Option<Instant>,
}

impl Pass<'_> {
    /// The server is there.
    pub(super) fn succeeded(mut self) -> Option<Change> {
        self.trial_since = None;
        let mut state = lock(&self.breaker.state);
        let was = std::mem::replace(&mut *state, State::Closed { failures: 0 });
        (!matches!(was, State::Closed { .. })).then_some(Change::Closed)
    }

    /// The server did not answer.
    pub(super) fn failed(mut self, now: Instant) -> Option<Change> {
        let is_trial = self.trial_since.take().is_some();
        let mut state = lock(&self.breaker.state);
        let until = now + self.breaker.pause;
        match *state {
            State::Closed { failures } if failures + 1 >= self.breaker.failures_max => {
                *state = State::Open { until };
                Some(Change::Opened)
            }
            State::Closed { failures } => {
                *state = State::Closed {
                    failures: failures + 1,
                };
                None
            }
            State::OnTrial if is_trial => {
                *state = State::Open { until };
                None
            }
            // A question from before the pause says nothing new.
            State::Open { .. } | State::OnTrial => None,
        }
    }
}

impl Drop for Pass<'_> {
    /// Nobody waited for the trial: the next question is one.
    fn drop(&mut self) {
        let Some(until) = self.trial_since else {
            return;
        };
        let mut state = lock(&self.breaker.state);
        if *state == State::OnTrial {
            *state = State::Open { until };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(10);

    fn failed(breaker: &Breaker, now: Instant) -> Option<Change> {
        breaker.pass(now).expect("let through").failed(now)
    }

    #[test]
    fn opens_after_failures_in_a_row_only() {
        let (breaker, now) = (Breaker::new(3, PAUSE), Instant::now());
        assert_eq!(failed(&breaker, now), None);
        assert_eq!(failed(&breaker, now), None);
        assert_eq!(breaker.pass(now).unwrap().succeeded(), None);
        assert_eq!(failed(&breaker, now), None);
        assert_eq!(failed(&breaker, now), None);
        assert!(!breaker.is_open(now));
        assert_eq!(failed(&breaker, now), Some(Change::Opened));
        assert!(breaker.is_open(now));
        assert!(breaker.pass(now).is_none());
    }

    #[test]
    fn one_goes_first_after_the_pause() {
        let (breaker, now) = (Breaker::new(1, PAUSE), Instant::now());
        assert_eq!(failed(&breaker, now), Some(Change::Opened));
        let later = now + PAUSE;
        let trial = breaker.pass(later).expect("a trial");
        assert!(breaker.pass(later).is_none(), "only one goes first");
        assert_eq!(trial.failed(later), None);
        assert!(breaker.pass(later).is_none(), "the pause begins again");
        let trial = breaker.pass(later + PAUSE).expect("another trial");
        assert_eq!(trial.succeeded(), Some(Change::Closed));
        assert!(breaker.pass(later + PAUSE).is_some());
    }

    #[test]
    fn a_trial_that_nobody_waits_for_is_left_to_the_next() {
        let (breaker, now) = (Breaker::new(1, PAUSE), Instant::now());
        failed(&breaker, now);
        let later = now + PAUSE;
        drop(breaker.pass(later).expect("a trial"));
        assert!(breaker.pass(later).is_some(), "a trial again");
    }

    #[test]
    fn what_was_asked_before_the_pause_does_not_lengthen_it() {
        let (breaker, now) = (Breaker::new(1, PAUSE), Instant::now());
        let (first, second) = (breaker.pass(now).unwrap(), breaker.pass(now).unwrap());
        assert_eq!(first.failed(now), Some(Change::Opened));
        assert_eq!(second.failed(now + PAUSE / 2), None);
        assert!(breaker.pass(now + PAUSE).is_some());
    }
}
