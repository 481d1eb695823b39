//! The time of the core, which goes on over restarts, and the wall clock that tells how long the gateway was away.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::Connection;

use super::put::write_meta;
use super::rows::int;
use crate::broker::Timestamp;

/// Asks for the wall clock; in the gateway it is [`crate::clock::wall`].
pub type WallClock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// The beginning of 2026. A wall clock that shows less was never set.
const WALL_MIN_MILLIS: u64 = 1_767_225_600_000;

/// How old the saved time may become.
const SAVE_INTERVAL_MILLIS: u64 = 10_000;

/// A wall clock that runs off by so much was set.
const JUMP_MILLIS: u64 = 5_000;

/// The wall clock in milliseconds since 1970.
#[derive(Clone)]
pub(super) struct Clock(pub(super) WallClock);

impl Clock {
    pub(super) fn millis(&self) -> u64 {
        let since = (self.0)().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// What both clocks showed at one moment, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SavedTime {
    /// The time of the core.
    pub(super) time: u64,
    /// The wall clock.
    pub(super) wall: u64,
}

impl SavedTime {
    /// What a commit at this moment should save, if anything: it costs a page, so not every time.
    pub(super) fn at_commit(self, taken_at: Timestamp, wall: u64) -> Option<Self> {
        let time = taken_at.as_millis();
        let passed = time.saturating_sub(self.time);
        let expected = self.wall.saturating_add(passed);
        let is_due = passed >= SAVE_INTERVAL_MILLIS || wall.abs_diff(expected) > JUMP_MILLIS;
        is_due.then(|| self.now(taken_at, wall))
    }

    /// Both clocks now. The time of the core never runs backwards.
    pub(super) fn now(self, now: Timestamp, wall: u64) -> Self {
        Self {
            time: now.as_millis().max(self.time),
            wall,
        }
    }

    /// The time of the core at a start, when the wall clock shows `wall`: further by what the wall clock says has passed,
    /// if it can be believed.
    pub(super) fn resume(self, wall: u64) -> u64 {
        let is_set = self.wall >= WALL_MIN_MILLIS && wall >= self.wall;
        let away = if is_set { wall - self.wall } else { 0 };
        self.time.saturating_add(away)
    }

    pub(super) fn write(self, connection: &Connection) -> rusqlite::Result<()> {
        write_meta(connection, "time", int(self.time))?;
        write_meta(connection, "wall", int(self.wall))
    }
}

/// A wall clock in milliseconds as part of the name of a file: `20260131T235959Z`.
pub(super) fn stamp(wall: u64) -> String {
    let seconds = wall / 1000;
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// Year, month and day of a day after 1970-01-01.
fn date(days: u64) -> (u64, u64, u64) {
    // Years begin in March here, so that the day that some years have more is the last one. 400 years have 146,097 days.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let first = (153 * month + 2) / 5;
    let (month, later) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (era * 400 + year + later, month, day - first + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAVED: SavedTime = SavedTime {
        time: 60_000,
        wall: WALL_MIN_MILLIS + 1_000_000,
    };

    #[test]
    fn time_goes_on_by_what_the_wall_clock_says() {
        assert_eq!(SAVED.resume(SAVED.wall + 3_600_000), 3_660_000);
        assert_eq!(SAVED.resume(SAVED.wall), 60_000);
    }

    #[test]
    fn wall_clock_that_cannot_be_right_is_not_believed() {
        assert_eq!(SAVED.resume(SAVED.wall - 1), 60_000, "backwards");
        assert_eq!(SAVED.resume(5), 60_000, "no clock chip");
        let unset = SavedTime { wall: 5, ..SAVED };
        assert_eq!(unset.resume(SAVED.wall), 60_000, "set only now");
    }

    #[test]
    fn saved_at_most_every_ten_seconds_unless_the_clock_was_set() {
        let at = |time: u64, wall: u64| {
            SAVED.at_commit(Timestamp::from_millis(60_000 + time), SAVED.wall + wall)
        };
        assert_eq!(at(9_999, 9_999), None);
        assert_eq!(at(10_000, 10_000).map(|saved| saved.time), Some(70_000));
        assert!(at(100, 6_000_000).is_some(), "jumped");
    }

    #[test]
    fn stamp_is_the_date() {
        assert_eq!(stamp(0), "19700101T000000Z");
        assert_eq!(stamp(951_782_399_000), "20000228T235959Z");
        assert_eq!(stamp(951_868_799_999), "20000229T235959Z");
        assert_eq!(stamp(1_798_761_599_000), "20261231T235959Z");
        assert_eq!(stamp(4_107_542_400_000), "21000301T000000Z");
    }
}
