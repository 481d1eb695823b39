//! Ends that others tell in the time of the wall clock.

use std::time::{Duration, UNIX_EPOCH};

use tokio::time::{self, Instant};

use crate::clock;

/// No connection lasts for a hundred years; arithmetic with times beyond could fail.
const HORIZON: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// When a time of the wall clock comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::auth) enum Until {
    /// It has been.
    Past,
    /// Then.
    At(Instant),
    /// Beyond everything that matters.
    Never,
}

impl Until {
    /// The wall clock is asked now and not again: a later jump of it moves nothing.
    pub(in crate::auth) fn unix_seconds(seconds: i64) -> Self {
        let Ok(seconds) = u64::try_from(seconds) else {
            return Self::Past;
        };
        let left = match UNIX_EPOCH.checked_add(Duration::from_secs(seconds)) {
            Some(end) => end.duration_since(clock::wall()).unwrap_or_default(),
            None => return Self::Never,
        };
        match left {
            Duration::ZERO => Self::Past,
            left if left > HORIZON => Self::Never,
            left => Self::At(time::Instant::now() + left),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_the_wall_clock_become_instants() {
        let now = i64::try_from(clock::wall_seconds()).unwrap();
        assert_eq!(Until::unix_seconds(now - 1), Until::Past);
        assert_eq!(Until::unix_seconds(-1), Until::Past);
        assert_eq!(Until::unix_seconds(i64::MIN), Until::Past);
        let Until::At(instant) = Until::unix_seconds(now + 100) else {
            panic!("in 100 seconds");
        };
        let left = instant.duration_since(time::Instant::now());
        assert!((98..=100).contains(&left.as_secs()), "{left:?}");
        for seconds in [now + 101 * 365 * 24 * 3600, i64::MAX] {
            assert_eq!(Until::unix_seconds(seconds), Until::Never);
        }
    }
}
