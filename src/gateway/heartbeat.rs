//! Whether the core answers: for the watchdog of the service manager and for `/livez`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::error;

use crate::systemd::Notifier;

/// Time that a round trip may take. Under full load it takes microseconds.
const DEADLINE: Duration = Duration::from_secs(2);

/// Makes round trips through the core.
pub(crate) struct Heartbeat {
    /// Returns when the core has answered; may hang.
    ask: Arc<dyn Fn() + Send + Sync>,
    /// One round trip at a time: while one hangs, those who ask wait for it and do not add a thread each.
    turn: Arc<Semaphore>,
}

impl Heartbeat {
    /// `ask` returns when the core has answered; it may hang.
    pub(crate) fn new(ask: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            ask: Arc::new(ask),
            turn: Arc::new(Semaphore::new(1)),
        }
    }

    /// A round trip through the core; `false` when it did not answer in time.
    pub(crate) async fn beat(&self) -> bool {
        self.beat_within(DEADLINE).await
    }

    async fn beat_within(&self, deadline: Duration) -> bool {
        timeout(deadline, self.round_trip()).await.unwrap_or(false)
    }

    /// On a thread of its own, because a core that hangs would take the thread with it.
    async fn round_trip(&self) -> bool {
        let Ok(turn) = Arc::clone(&self.turn).acquire_owned().await else {
            return false;
        };
        let ask = Arc::clone(&self.ask);
        let trip = tokio::task::spawn_blocking(move || {
            ask();
            drop(turn);
        });
        trip.await.is_ok()
    }
}

impl fmt::Debug for Heartbeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heartbeat").finish_non_exhaustive()
    }
}

/// Feeds the watchdog of the service manager as long as the core answers.
pub(crate) async fn feed_watchdog(heartbeat: &Heartbeat, notifier: Notifier) {
    let Some(pause) = notifier.watchdog_interval() else {
        return std::future::pending().await;
    };
    let mut beats = interval(pause);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beats.tick().await;
        if heartbeat.beat().await {
            notifier.watchdog().await;
        } else {
            error!("the broker core does not answer; the watchdog is not fed");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const SOON: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn core_that_answers_beats() {
        assert!(Heartbeat::new(|| {}).beat().await);
    }

    #[tokio::test]
    async fn core_that_hangs_does_not_and_costs_one_thread() {
        let (answer, core) = std::sync::mpsc::channel::<()>();
        let core = Mutex::new(core);
        let asked = Arc::new(AtomicU32::new(0));
        let heartbeat = Heartbeat::new({
            let asked = Arc::clone(&asked);
            move || {
                asked.fetch_add(1, Ordering::Relaxed);
                // Hangs until the other end is gone.
                let _ = core.lock().unwrap().recv();
            }
        });
        assert!(!heartbeat.beat_within(SOON).await);
        // The thread may begin later than that.
        let begun = async {
            while asked.load(Ordering::Relaxed) == 0 {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(20), begun).await.unwrap();
        assert!(!heartbeat.beat_within(SOON).await);
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        drop(answer);
        assert!(
            heartbeat.beat().await,
            "it beats again when the core answers again"
        );
    }

    #[tokio::test]
    async fn core_that_panics_does_not_beat() {
        assert!(!Heartbeat::new(|| panic!("broken")).beat().await);
    }
}
