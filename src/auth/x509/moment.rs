//! The moment at which certificates are judged.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::ca::Reading;

/// What time it is, as far as certificates go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// What ends before has ended.
    pub(super) now: SystemTime,
    /// What begins until then has begun.
    pub(super) begun: SystemTime,
    /// Whether the clock has just been set far ahead: it may be wrong, and is looked at again when it is believed.
    pub(super) is_new: bool,
}

impl From<SystemTime> for Moment {
    /// A clock that is believed.
    fn from(now: SystemTime) -> Self {
        Self {
            now,
            begun: now,
            is_new: false,
        }
    }
}

impl From<Reading> for Moment {
    fn from(reading: Reading) -> Self {
        Self {
            now: time(reading.now),
            begun: time(reading.judging_at(u64::MAX)),
            is_new: reading.is_doubtful(),
        }
    }
}

/// A second since 1970; what the system cannot represent is as late as it can.
fn time(seconds: u64) -> SystemTime {
    // The end of the year 9999, which is the latest that a certificate can say (RFC 5280, 4.1.2.5).
    const LATEST: u64 = 253_402_300_799;
    UNIX_EPOCH + Duration::from_secs(seconds.min(LATEST))
}
