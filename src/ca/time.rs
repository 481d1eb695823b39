//! What time it is, on a machine whose clock may begin in 1970.
//!
//! Three things bound the time from below: when the program was built, the last time seen, which a file keeps, and how long
//! the gateway has been running since. A clock that shows less is *behind*: it is known to be wrong. One that shows more is
//! believed at once for everything that can be taken back, and after a while for what cannot: a clock that was set wrongly
//! for a moment must not end anything for good.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::certificate::Validity;
use super::error::CaError;
use super::files::{self, Audience, Disk, Files};
use super::layout::{FLOOR, FOLDER, has_state};
use crate::clock;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
pub(super) const DAY: u64 = 24 * HOUR;

/// How far before their making certificates begin. A day: for clocks of clients that are behind, or set to the local time.
pub const BACKDATE: u64 = DAY;

/// When the program was built, at the latest: as the build says, else when this was written.
const BUILT: u64 = match option_env!("SOURCE_DATE_EPOCH") {
    Some(text) => seconds(text, WRITTEN),
    None => WRITTEN,
};

/// 2026-11-22.
const WRITTEN: u64 = 1_795_305_600;

/// No program is this old: a clock that shows more is wrong.
const AGE_MAX: u64 = 40 * 365 * DAY;

/// Differences that are no jump.
const SLACK: u64 = 5 * MINUTE;

/// How long a clock must go on without a jump until it is believed for good.
const HOLD: u64 = HOUR;

/// The same after a jump of more than [`FAR`]: a device that was on a shelf, or a clock that was set wrongly.
const HOLD_FAR: u64 = DAY;
const FAR: u64 = 400 * DAY;

/// Time between two notes of the last time seen.
const SAVE_INTERVAL: u64 = HOUR;

/// Digits of a decimal number, for the time of the build.
const fn seconds(text: &str, otherwise: u64) -> u64 {
    let bytes = text.as_bytes();
    let (mut at, mut number) = (0, 0_u64);
    while at < bytes.len() {
        if !bytes[at].is_ascii_digit() || number > u64::MAX / 16 {
            return otherwise;
        }
        number = number * 10 + (bytes[at] - b'0') as u64;
        at += 1;
    }
    // A build that hides its time says 0 or 1980.
    if number < otherwise {
        otherwise
    } else {
        number
    }
}

/// How far a clock is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClockTrust {
    /// It shows less than is possible, or more. The time is the least that it can be.
    Behind,
    /// It is believed for what can be taken back: it has been set, or the gateway has started, not long ago.
    New,
    /// It is believed.
    Settled,
}

/// What time it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Seconds since 1970: what the clock shows, or the least that it can be.
    pub now: u64,
    /// How far that is believed.
    pub trust: ClockTrust,
    /// The least that it can be.
    pub least: u64,
}

impl Reading {
    /// A time that is believed, for tests and for commands that have no better.
    #[must_use]
    pub fn settled(now: u64) -> Self {
        Self {
            now,
            trust: ClockTrust::Settled,
            least: now,
        }
    }

    /// Whether the clock can be right.
    #[must_use]
    pub fn is_plausible(&self) -> bool {
        self.trust != ClockTrust::Behind
    }

    /// Whether what ends now may end for good.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.trust == ClockTrust::Settled
    }

    /// Whether the clock has been set so far ahead, and so recently, that nobody may lose anything by it yet.
    #[must_use]
    pub fn is_doubtful(&self) -> bool {
        self.trust == ClockTrust::New && self.now > self.least.saturating_add(FAR)
    }

    /// The time at which a chain is to be judged whose newest certificate begins at `not_before`.
    ///
    /// What has expired now has expired. What begins later is as good as valid within [`BACKDATE`], because clocks differ; and
    /// whenever it begins while the clock is behind: that a trusted authority has issued it shows that the time has come.
    #[must_use]
    pub fn judging_at(&self, not_before: u64) -> u64 {
        let latest = match self.trust {
            ClockTrust::Behind => u64::MAX,
            ClockTrust::New | ClockTrust::Settled => self.now.saturating_add(BACKDATE),
        };
        self.now.max(not_before.min(latest))
    }

    /// The same for a port. While the clock is new it may have been set to a wrong time, and the clients know the right one:
    /// the certificate is valid from the least that the time can be.
    #[must_use]
    pub(super) fn validity_of_port(&self, seconds: u64, issuer: Validity) -> (Validity, bool) {
        let (validity, provisional) = self.validity(seconds, issuer);
        let begin = self.least.saturating_sub(BACKDATE).max(issuer.not_before);
        let validity = Validity {
            not_before: validity.not_before.min(begin),
            ..validity
        };
        (validity, provisional)
    }

    /// From when to when a certificate is valid that is made now, and whether that is provisional.
    ///
    /// While the clock is behind, a certificate is valid as long as its issuer: whatever the time is, it is not outside. It
    /// is made anew when the time is known.
    #[must_use]
    pub(super) fn validity(&self, seconds: u64, issuer: Validity) -> (Validity, bool) {
        if !self.is_plausible() {
            return (issuer, true);
        }
        let begin = self.now.saturating_sub(BACKDATE).max(issuer.not_before);
        let end = self.now.saturating_add(seconds).min(issuer.not_after);
        let validity = Validity {
            not_before: begin,
            not_after: end.max(begin),
        };
        (validity, false)
    }
}

/// Makes readings out of what the two clocks of a machine show. Pure: both are arguments, in seconds.
#[derive(Clone, Debug)]
pub struct TrustedTime {
    built: u64,
    /// The time was at least this …
    floor: u64,
    /// … when the monotonic clock showed this.
    floor_at: u64,
    /// What the clocks showed last: wall, monotonic.
    last: Option<(u64, u64)>,
    /// Since when the wall clock goes on without a jump, by the monotonic one, and for how long it must.
    held: Option<(u64, u64)>,
    saved: u64,
}

impl TrustedTime {
    /// Begins with the last time seen, as far as that is known, when the monotonic clock shows `monotonic`.
    #[must_use]
    pub fn new(floor: Option<u64>, monotonic: u64) -> Self {
        Self::with_build(BUILT, floor, monotonic)
    }

    fn with_build(built: u64, floor: Option<u64>, monotonic: u64) -> Self {
        Self {
            built,
            floor: floor.unwrap_or(0).max(built),
            floor_at: monotonic,
            last: None,
            held: None,
            saved: floor.unwrap_or(0),
        }
    }

    /// What time it is when the wall clock shows `wall` and the monotonic clock `monotonic`.
    pub fn observe(&mut self, wall: u64, monotonic: u64) -> Reading {
        let floor = self.least(monotonic);
        let last = self.last.replace((wall, monotonic));
        let latest = self.built.saturating_add(AGE_MAX);
        if wall.saturating_add(BACKDATE) < floor || wall > latest {
            self.held = None;
            return Reading {
                now: floor,
                trust: ClockTrust::Behind,
                least: floor,
            };
        }
        let expected = last.map(|(wall, then)| wall + monotonic.saturating_sub(then));
        let goes_on = expected.is_some_and(|expected| wall.abs_diff(expected) <= SLACK);
        let (since, hold) = match self.held {
            Some(held) if goes_on => held,
            _ => {
                let is_far = wall > floor.saturating_add(FAR);
                (monotonic, if is_far { HOLD_FAR } else { HOLD })
            }
        };
        self.held = Some((since, hold));
        let is_settled = monotonic.saturating_sub(since) >= hold;
        if is_settled {
            self.floor = wall.max(floor);
            self.floor_at = monotonic;
        }
        Reading {
            now: wall.max(floor),
            least: if is_settled { wall.max(floor) } else { floor },
            trust: if is_settled {
                ClockTrust::Settled
            } else {
                ClockTrust::New
            },
        }
    }

    /// The least that the time can be: it goes on while the gateway runs.
    #[must_use]
    pub fn least(&self, monotonic: u64) -> u64 {
        self.floor
            .saturating_add(monotonic.saturating_sub(self.floor_at))
    }

    /// What to note as the last time seen, if the last note is old enough or the gateway stops.
    #[must_use]
    pub fn to_save(&self, monotonic: u64, is_stop: bool) -> Option<u64> {
        let least = self.least(monotonic);
        let interval = if is_stop { 1 } else { SAVE_INTERVAL };
        (least >= self.saved.saturating_add(interval)).then_some(least)
    }

    /// The last time seen was noted.
    pub fn saved(&mut self, floor: u64) {
        self.saved = floor;
    }
}

/// The trusted time of a running gateway.
#[derive(Debug)]
pub struct TrustedClock {
    time: Mutex<TrustedTime>,
    started: Instant,
    /// The file with the last time seen; none where nothing is kept.
    file: Option<PathBuf>,
}

impl TrustedClock {
    /// Begins with what the state folder knows. `newest` is when the newest certificate of the authority begins, for a folder
    /// whose note is gone.
    #[must_use]
    pub fn open(state_dir: &Path, newest: Option<u64>) -> Self {
        let file = state_dir.join(FOLDER).join(FLOOR);
        let floor = match files::read_if_there(&file) {
            Ok(text) => text.and_then(|text| std::str::from_utf8(&text).ok()?.trim().parse().ok()),
            Err(fault) => {
                warn!(hint = fault.hint(), "{fault}");
                None
            }
        };
        Self {
            time: Mutex::new(TrustedTime::new(floor.or(newest), 0)),
            started: clock::now(),
            file: Some(file),
        }
    }

    /// One that keeps nothing, for tests of what stands above and for whoever has no state folder.
    #[must_use]
    pub fn unkept() -> Self {
        Self {
            time: Mutex::new(TrustedTime::new(None, 0)),
            started: clock::now(),
            file: None,
        }
    }

    /// What time it is.
    #[must_use]
    pub fn read(&self) -> Reading {
        let monotonic = self.monotonic();
        self.lock().observe(clock::wall_seconds(), monotonic)
    }

    /// Notes the last time seen, at most once an hour and at a stop. Does nothing where there is no authority.
    pub fn keep(&self, is_stop: bool) -> Result<(), CaError> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        let monotonic = self.monotonic();
        let Some(floor) = self.lock().to_save(monotonic, is_stop) else {
            return Ok(());
        };
        if save(&Disk, file, floor)? {
            self.lock().saved(floor);
        }
        Ok(())
    }

    fn monotonic(&self) -> u64 {
        clock::now().duration_since(self.started).as_secs()
    }

    fn lock(&self) -> MutexGuard<'_, TrustedTime> {
        self.time.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says whether there is an authority beside which it is kept.
fn save(files: &dyn Files, file: &Path, floor: u64) -> Result<bool, CaError> {
    let Some(folder) = file.parent().filter(|folder| has_state(folder)) else {
        return Ok(false);
    };
    files::replace(
        files,
        file,
        format!("{floor}\n").as_bytes(),
        Audience::Public,
    )?;
    files
        .sync_folder(folder)
        .map_err(|error| CaError::io(folder, "write", error))?;
    Ok(true)
}

#[cfg(test)]
#[path = "time_tests.rs"]
mod tests;
