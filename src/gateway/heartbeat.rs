//! Whether the core answers: for the watchdog of the service manager and for `/livez`.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::error;

use super::serving::Serving;
use crate::systemd::Notifier;

/// Time that a round trip may take. Under full load it takes microseconds.
const DEADLINE: Duration = Duration::from_secs(2);

/// Makes round trips through the core.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    serving: Arc<Serving>,
    /// One round trip at a time: while one hangs, those who ask wait for it and do not add a thread each.
    turn: Arc<Semaphore>,
}

impl Heartbeat {
    pub(crate) fn new(serving: Arc<Serving>) -> Self {
        Self {
            serving,
            turn: Arc::new(Semaphore::new(1)),
        }
    }

    /// A round trip through the core; `false` when it did not answer in time.
    pub(crate) async fn beat(&self) -> bool {
        timeout(DEADLINE, self.round_trip()).await.unwrap_or(false)
    }

    /// On a thread of its own, because a core that hangs would take the thread with it.
    async fn round_trip(&self) -> bool {
        let Ok(turn) = Arc::clone(&self.turn).acquire_owned().await else {
            return false;
        };
        let serving = Arc::clone(&self.serving);
        let trip = tokio::task::spawn_blocking(move || {
            serving.round_trip();
            drop(turn);
        });
        trip.await.is_ok()
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
