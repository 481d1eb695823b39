//! The one place that reads the clocks of the machine; every other module takes time as an argument.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The monotonic clock.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is where the clock is read")]
pub fn now() -> Instant {
    Instant::now()
}

/// The wall clock, which may jump and, on a gateway without a clock chip, may be wrong.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is where the clock is read")]
pub fn wall() -> SystemTime {
    SystemTime::now()
}

/// The wall clock as seconds since 1970.
#[must_use]
pub fn wall_seconds() -> u64 {
    wall()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}
