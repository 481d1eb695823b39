//! The one place that reads the clocks of the machine; every other module takes time as an argument.

use std::time::{Instant, SystemTime};

/// The monotonic clock.
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

/// The wall clock, which may jump and, on a gateway without a clock chip, may be wrong.
#[must_use]
pub fn wall() -> SystemTime {
    SystemTime::now()
}
