//! Failures by address or by user name, and the bans that they have led to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Parts of the window in which failures are counted. A failure is forgotten when the window is over, at the latest one
/// part later.
const PARTS: usize = 8;

/// How one kind of subject is judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// Failures within the window that lead to a ban; 0 for never.
    pub(super) failures_max: u32,
    pub(super) window: Duration,
    pub(super) ban_time: Duration,
    pub(super) ban_time_max: Duration,
}

/// A bounded table of subjects that have failed. Whoever has been quiet for the longest time makes room; subjects that are
/// banned go last, so that nobody gets free by having many others fail.
#[derive(Debug)]
pub(super) struct Table<K> {
    records: BTreeMap<K, Record>,
    /// Subjects that are not banned, by the time since which they are quiet.
    quiet: BTreeSet<(Instant, K)>,
    /// Subjects that are banned, by the end of the ban.
    banned: BTreeSet<(Instant, K)>,
    records_max: usize,
    bans_max: usize,
    evicted: u64,
}

#[derive(Debug)]
struct Record {
    failures: Failures,
    /// Its place in `quiet`, or in `banned` if it is banned.
    place: Instant,
    is_banned: bool,
    /// Bans so far that are not forgotten.
    bans: u32,
}

/// What a failure has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failed {
    /// Failures within the window.
    pub(super) failures: u32,
    /// The ban that begins with this failure.
    pub(super) banned: Option<Term>,
}

/// The term of a ban.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Term {
    pub(super) until: Instant,
    /// Which one in a row.
    pub(super) number: u32,
}

impl<K: Ord + Clone> Table<K> {
    /// One that holds at most `records_max` subjects, of which three of four may be banned: the others must still be
    /// counted.
    pub(super) fn new(records_max: usize) -> Self {
        Self {
            records: BTreeMap::new(),
            quiet: BTreeSet::new(),
            banned: BTreeSet::new(),
            records_max,
            bans_max: records_max / 4 * 3,
            evicted: 0,
        }
    }

    /// The ban that a subject is under.
    pub(super) fn ban(&self, key: &K, now: Instant) -> Option<Term> {
        let record = self.records.get(key)?;
        let is_in_force = record.is_banned && record.place > now;
        is_in_force.then_some(Term {
            until: record.place,
            number: record.bans,
        })
    }

    /// All bans in force, those that end first in front.
    pub(super) fn bans(&self, now: Instant) -> impl Iterator<Item = (&K, Term)> {
        let banned = self.banned.iter();
        banned.filter_map(move |(_, key)| Some((key, self.ban(key, now)?)))
    }

    /// Bans that were not found to be over yet.
    pub(super) fn bans_len(&self) -> usize {
        self.banned.len()
    }

    /// Subjects that are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert_eq!(self.records.len(), self.quiet.len() + self.banned.len());
        self.records.len()
    }

    /// Subjects that were forgotten because others needed their place.
    pub(super) fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Counts a failure. One that comes while the subject is banned, because it was under way before, changes nothing.
    pub(super) fn fail(&mut self, key: &K, terms: &Terms, epoch: Instant, now: Instant) -> Failed {
        self.end_bans(now);
        let part = part_of(terms.window, epoch, now);
        let mut record = match self.records.remove(key) {
            Some(record) if record.is_banned => {
                self.records.insert(key.clone(), record);
                return Failed {
                    failures: terms.failures_max,
                    banned: None,
                };
            }
            Some(mut record) => {
                self.quiet.remove(&(record.place, key.clone()));
                let quiet = now.saturating_duration_since(record.place);
                record.bans = record.bans.saturating_sub(times(quiet, terms.ban_time_max));
                record
            }
            None => {
                self.make_room();
                Record {
                    failures: Failures::default(),
                    place: now,
                    is_banned: false,
                    bans: 0,
                }
            }
        };
        let failures = record.failures.add(part);
        let is_banned = terms.failures_max > 0 && failures >= terms.failures_max;
        let mut banned = None;
        record.place = now;
        record.is_banned = is_banned;
        if is_banned {
            record.bans = record.bans.saturating_add(1);
            record.failures = Failures::default();
            record.place = now + ban_time(record.bans, terms);
            banned = Some(Term {
                until: record.place,
                number: record.bans,
            });
            self.make_room_for_ban();
            self.banned.insert((record.place, key.clone()));
        } else {
            self.quiet.insert((now, key.clone()));
        }
        self.records.insert(key.clone(), record);
        Failed { failures, banned }
    }

    /// Forgets a subject, its ban included. Whether there was one in force.
    pub(super) fn forget(&mut self, key: &K, now: Instant) -> bool {
        let was_banned = self.ban(key, now).is_some();
        self.remove(key);
        was_banned
    }

    /// Forgets all failures that have not led to a ban, as the parts of the window have another length now.
    pub(super) fn forget_failures(&mut self) {
        for record in self.records.values_mut() {
            record.failures = Failures::default();
        }
    }

    /// Moves subjects whose ban is over to those that are not banned.
    pub(super) fn end_bans(&mut self, now: Instant) {
        while let Some((until, key)) = self.banned.first().filter(|(until, _)| *until <= now) {
            let (until, key) = (*until, key.clone());
            self.banned.pop_first();
            if let Some(record) = self.records.get_mut(&key) {
                record.is_banned = false;
                self.quiet.insert((until, key));
            }
        }
    }

    fn make_room(&mut self) {
        while self.records.len() >= self.records_max {
            let oldest = self.quiet.first().or_else(|| self.banned.first());
            let Some((_, key)) = oldest else { return };
            let key = key.clone();
            self.remove(&key);
            self.evicted = self.evicted.saturating_add(1);
        }
    }

    fn make_room_for_ban(&mut self) {
        while self.banned.len() >= self.bans_max {
            let Some((_, key)) = self.banned.first().cloned() else {
                return;
            };
            self.remove(&key);
            self.evicted = self.evicted.saturating_add(1);
        }
    }

    fn remove(&mut self, key: &K) {
        if let Some(record) = self.records.remove(key) {
            let order = if record.is_banned {
                &mut self.banned
            } else {
                &mut self.quiet
            };
            order.remove(&(record.place, key.clone()));
        }
    }
}

/// The time of a ban: each is twice as long as the one before.
fn ban_time(number: u32, terms: &Terms) -> Duration {
    let doublings = number.saturating_sub(1).min(31);
    terms
        .ban_time
        .saturating_mul(1 << doublings)
        .min(terms.ban_time_max.max(terms.ban_time))
}

/// How often `part` fits into `whole`.
fn times(whole: Duration, part: Duration) -> u32 {
    let times = whole.as_millis().checked_div(part.as_millis());
    times.map_or(u32::MAX, |times| u32::try_from(times).unwrap_or(u32::MAX))
}

/// The number of the part of the window that `now` is in, counted from `epoch`.
fn part_of(window: Duration, epoch: Instant, now: Instant) -> u64 {
    let length = window.as_millis().div_ceil(PARTS as u128).max(1);
    let part = now.saturating_duration_since(epoch).as_millis() / length;
    u64::try_from(part).unwrap_or(u64::MAX)
}

/// Failures by part of the window: the newest part and as many before it as the window has.
#[derive(Clone, Copy, Debug, Default)]
struct Failures {
    newest: u64,
    counts: [u32; PARTS + 1],
}

impl Failures {
    /// Counts one and returns how many there are within the window.
    fn add(&mut self, part: u64) -> u32 {
        let passed = part.saturating_sub(self.newest);
        let shift = usize::try_from(passed).unwrap_or(usize::MAX);
        let shift = shift.min(PARTS + 1);
        self.counts.rotate_right(shift);
        for count in self.counts.iter_mut().take(shift) {
            *count = 0;
        }
        self.newest = part.max(self.newest);
        self.counts[0] = self.counts[0].saturating_add(1);
        self.counts.iter().fold(0, |sum, n| sum.saturating_add(*n))
    }
}
