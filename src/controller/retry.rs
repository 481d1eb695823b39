//! What failed and is tried again, each thing by its own time: one that always fails holds up no other.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use tokio::time::{self, Instant};

use super::fault::ApiFault;

/// Pauses before something is tried again that failed.
const PAUSE_MIN: Duration = Duration::from_secs(2);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Pauses before anything is tried again where the API server did not answer. They are shorter, so that the others have had
/// their turn before the one that found out.
const OUTAGE_MIN: Duration = Duration::from_secs(1);
const OUTAGE_MAX: Duration = Duration::from_secs(15);

/// Time after which a round begins nothing more, so that what comes after it does not wait for long.
const ROUND: Duration = Duration::from_secs(5);

/// Time until the rest of a round has its turn.
const REST: Duration = Duration::from_secs(1);

/// A pause that grows.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    pause: Duration,
    at: Option<Instant>,
}

impl Backoff {
    /// Something failed; the other side may ask for a longer pause.
    pub(super) fn failed(&mut self, least: Option<Duration>) {
        self.extend(PAUSE_MIN, PAUSE_MAX, least);
    }

    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// When to try again, if anything failed.
    pub(super) fn at(&self) -> Option<Instant> {
        self.at
    }

    fn extend(&mut self, min: Duration, max: Duration, least: Option<Duration>) {
        self.pause = (self.pause * 2).clamp(min, max);
        let pause = self.pause.max(least.unwrap_or_default());
        self.at = Some(time::Instant::now() + pause);
    }

    fn is_over(&self) -> bool {
        self.at.is_none_or(|at| at <= time::Instant::now())
    }
}

/// How something failed.
#[derive(Debug)]
struct Failed {
    fault: ApiFault,
    backoff: Backoff,
    /// Tells what was wanted from other wishes.
    wish: u64,
    /// The last round in which it was wanted.
    round: u64,
}

/// Requests to the API server, some of which failed.
#[derive(Debug, Default)]
pub(super) struct Retries {
    failed: BTreeMap<String, Failed>,
    /// The fault that says that the API server is away, until something succeeds.
    outage: Option<ApiFault>,
    gate: Backoff,
    round: u64,
    round_end: Option<Instant>,
    /// Something has not had its turn.
    rest_at: Option<Instant>,
}

impl Retries {
    /// Begins a round.
    pub(super) fn begin(&mut self) {
        self.round += 1;
        self.round_end = Some(time::Instant::now() + ROUND);
        self.rest_at = None;
    }

    /// Makes a request, unless it failed just now or has to wait for its turn: then the fault is the one of before. A wish
    /// that is another than the one that failed is tried at once, but where the API server has asked for a pause.
    pub(super) async fn attempt<T>(
        &mut self,
        key: &str,
        wish: &impl Hash,
        request: impl Future<Output = Result<T, ApiFault>>,
    ) -> Result<T, ApiFault> {
        let mut hasher = DefaultHasher::new();
        wish.hash(&mut hasher);
        let wish = hasher.finish();
        self.admit(key, wish)?;
        let result = request.await;
        match &result {
            Ok(_) => {
                self.failed.remove(key);
                self.outage = None;
                self.gate.succeeded();
            }
            Err(fault) => self.note(key, wish, fault),
        }
        result
    }

    /// When something is to be tried again.
    pub(super) fn next(&self) -> Option<Instant> {
        let each = self.failed.values().filter_map(|failed| failed.backoff.at);
        let next = each.chain(self.rest_at).min()?;
        match &self.outage {
            Some(_) => Some(next.max(self.gate.at?)),
            None => Some(next),
        }
    }

    pub(super) fn is_due(&self) -> bool {
        self.next().is_some_and(|at| at <= time::Instant::now())
    }

    /// Ends a round: what was not wanted in it is not tried again.
    pub(super) fn end(&mut self) {
        self.failed.retain(|_, failed| failed.round == self.round);
    }

    fn admit(&mut self, key: &str, wish: u64) -> Result<(), ApiFault> {
        if let Some(failed) = self.failed.get_mut(key) {
            failed.round = self.round;
            let is_bound = failed.wish == wish || failed.fault.pause().is_some();
            if is_bound && !failed.backoff.is_over() {
                return Err(failed.fault.clone());
            }
        }
        if let Some(outage) = self.outage.as_ref().filter(|_| !self.gate.is_over()) {
            self.rest_at = self.gate.at;
            return Err(outage.clone());
        }
        let now = time::Instant::now();
        if self.round_end.is_some_and(|end| end <= now) {
            self.rest_at = Some(now + REST);
            return Err(ApiFault::Postponed);
        }
        Ok(())
    }

    fn note(&mut self, key: &str, wish: u64, fault: &ApiFault) {
        let failed = self.failed.remove(key);
        let backoff = failed.filter(|failed| failed.wish == wish);
        let mut backoff = backoff.map(|failed| failed.backoff).unwrap_or_default();
        backoff.failed(fault.pause());
        let failed = Failed {
            fault: fault.clone(),
            backoff,
            wish,
            round: self.round,
        };
        self.failed.insert(key.to_owned(), failed);
        if fault.is_outage() {
            self.outage = Some(fault.clone());
            self.gate.extend(OUTAGE_MIN, OUTAGE_MAX, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn refused() -> ApiFault {
        ApiFault::Status {
            status: 500,
            message: "no".to_owned(),
        }
    }

    /// Tries, and says whether a request went out.
    async fn is_asked(
        retries: &mut Retries,
        key: &str,
        wish: u32,
        fault: Option<ApiFault>,
    ) -> bool {
        let mut asked = false;
        let request = async {
            asked = true;
            ready(fault.map_or(Ok(()), Err)).await
        };
        let _ = retries.attempt(key, &wish, request).await;
        asked
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_and_hold_up_nobody_else() {
        let mut retries = Retries::default();
        retries.begin();
        assert!(is_asked(&mut retries, "a", 1, Some(refused())).await);
        assert!(!is_asked(&mut retries, "a", 1, None).await, "it pauses");
        assert!(is_asked(&mut retries, "b", 1, None).await);
        let mut last = Duration::ZERO;
        for _ in 0..10 {
            let next = retries.next().expect("it is tried again");
            let pause = next - time::Instant::now();
            assert!(pause >= last && pause <= PAUSE_MAX, "{pause:?}");
            last = pause;
            advance(pause).await;
            assert!(retries.is_due());
            retries.begin();
            assert!(is_asked(&mut retries, "a", 1, Some(refused())).await);
        }
        assert_eq!(last, PAUSE_MAX);
        assert!(is_asked(&mut retries, "a", 2, None).await, "another wish");
        assert_eq!(retries.next(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_wants_any_more_is_not_tried_again() {
        let mut retries = Retries::default();
        retries.begin();
        for key in ["a", "b"] {
            assert!(is_asked(&mut retries, key, 1, Some(refused())).await);
        }
        retries.begin();
        assert!(!is_asked(&mut retries, "a", 1, None).await);
        retries.end();
        let next = retries.next().expect("one is left");
        advance(next - time::Instant::now()).await;
        retries.begin();
        retries.end();
        assert_eq!(retries.next(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_that_is_asked_for_is_made() {
        let mut retries = Retries::default();
        retries.begin();
        let retry_after = Some(SECOND * 40);
        let busy = Some(ApiFault::Busy { retry_after });
        assert!(is_asked(&mut retries, "a", 1, busy).await);
        advance(SECOND * 39).await;
        retries.begin();
        assert!(!is_asked(&mut retries, "a", 2, None).await);
        assert!(is_asked(&mut retries, "b", 1, None).await);
        advance(SECOND).await;
        assert!(is_asked(&mut retries, "a", 2, None).await);
    }

    #[tokio::test(start_paused = true)]
    async fn of_a_server_that_is_away_one_finds_out_and_the_others_come_first() {
        let mut retries = Retries::default();
        for round in 0..6 {
            retries.begin();
            if round == 0 {
                assert!(is_asked(&mut retries, "a", 1, Some(ApiFault::Timeout)).await);
            }
            assert!(!is_asked(&mut retries, "a", 1, None).await);
            if !retries.gate.is_over() {
                assert!(!is_asked(&mut retries, "b", 1, None).await);
                let next = retries.next().expect("the others have a turn");
                advance(next - time::Instant::now()).await;
                retries.begin();
            }
            assert!(!is_asked(&mut retries, "a", 1, None).await, "{round}");
            assert!(is_asked(&mut retries, "b", 1, None).await, "{round}");
            let next = retries.next().expect("it is tried again");
            advance(next - time::Instant::now()).await;
            retries.begin();
            assert!(is_asked(&mut retries, "a", 1, Some(ApiFault::Timeout)).await);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_round_ends_and_the_rest_has_its_turn() {
        let mut retries = Retries::default();
        retries.begin();
        advance(ROUND).await;
        assert!(!is_asked(&mut retries, "a", 1, None).await);
        let next = retries.next().expect("its turn comes");
        advance(next - time::Instant::now()).await;
        retries.begin();
        assert!(is_asked(&mut retries, "a", 1, None).await);
        assert_eq!(retries.next(), None);
    }
}
