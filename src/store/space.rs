//! Room on the volume of the state folder: how much is left, and a file that is given up when nothing is.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use nix::fcntl::posix_fallocate;
use nix::libc::off_t;
use nix::sys::statvfs::statvfs;

use super::fault::{About, StoreError};
use super::files;
use super::schema;
use crate::config::StoreSettings;

/// Name of the reserve in the state folder.
const FILE_NAME: &str = "gateway.reserve";

/// Part of its longest length that the write-ahead log needs at least.
const LOG_PART_MIN: u64 = 4;

/// How much room there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// As much as is asked for.
    Ample,
    /// Too little to queue more for clients that are away.
    Low,
}

/// Watches the volume of a state folder.
#[derive(Debug)]
pub struct Space {
    folder: PathBuf,
    reserve: PathBuf,
    reserve_bytes: u64,
    free_bytes_min: u64,
    wal_bytes_max: u64,
    free_bytes: u64,
    is_tight: bool,
    level: Level,
}

impl Space {
    /// Begins to watch; nothing is known before the first [`Space::look`].
    #[must_use]
    pub fn new(folder: &Path, settings: &StoreSettings) -> Self {
        Self {
            folder: folder.to_owned(),
            reserve: folder.join(FILE_NAME),
            reserve_bytes: settings.reserve_bytes,
            free_bytes_min: settings.free_bytes_min,
            wal_bytes_max: settings.wal_bytes_max,
            free_bytes: u64::MAX,
            is_tight: false,
            level: Level::Ample,
        }
    }

    /// Takes over other bounds.
    pub fn configure(&mut self, settings: &StoreSettings) {
        self.reserve_bytes = settings.reserve_bytes;
        self.free_bytes_min = settings.free_bytes_min;
        self.wal_bytes_max = settings.wal_bytes_max;
    }

    /// Sees how much room there is, and makes the reserve again when there is enough. A level that has become low stays so
    /// until there is a quarter more room than it takes.
    ///
    /// `unused_bytes` are those inside of the database that it will use again: a database does not shrink.
    pub fn look(&mut self, unused_bytes: u64) -> Result<Level, StoreError> {
        self.free_bytes = free_bytes(&self.folder)?;
        if self.free_bytes >= self.free_bytes_min {
            self.keep_reserve()?;
        }
        // What is free is first of all for the reserve and for the write-ahead log, which lies beside the database.
        let missing = if self.has_reserve() {
            0
        } else {
            self.reserve_bytes
        };
        let log = schema::beside(&self.folder.join(schema::FILE_NAME), "-wal");
        let log_bytes = log.metadata().map_or(0, |log| log.len());
        let left = self.free_bytes.saturating_sub(missing);
        let for_log = left.saturating_add(log_bytes);
        self.is_tight = for_log < self.wal_bytes_max;
        self.level = if for_log < self.wal_bytes_max / LOG_PART_MIN {
            Level::Low
        } else {
            let room = left.saturating_add(unused_bytes);
            level(self.level, room, self.free_bytes_min)
        };
        Ok(self.level)
    }

    /// What the last look has found.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    /// Free bytes of the volume at the last look.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        self.free_bytes
    }

    /// Whether the write-ahead log cannot become as long as it may: it has to be brought into the database after each commit.
    #[must_use]
    pub fn is_tight(&self) -> bool {
        self.is_tight
    }

    /// Whether the reserve is there.
    #[must_use]
    pub fn has_reserve(&self) -> bool {
        self.reserve.exists()
    }

    /// Gives up the reserve, so that what is pending can be written. Says whether there was one. From here on the level is
    /// low until a look finds otherwise.
    pub fn release_reserve(&mut self) -> Result<bool, StoreError> {
        self.level = Level::Low;
        release_reserve(&self.folder)
    }

    fn keep_reserve(&self) -> Result<(), StoreError> {
        let known = self.reserve.metadata().map_or(0, |metadata| metadata.len());
        if known == self.reserve_bytes {
            return Ok(());
        }
        files::remove(&self.reserve).about(&self.reserve, "remove")?;
        // Made only where it does not take the room that it is meant for.
        if self.reserve_bytes == 0 || self.free_bytes < self.reserve_bytes.saturating_mul(2) {
            return Ok(());
        }
        let length = off_t::try_from(self.reserve_bytes).unwrap_or(off_t::MAX);
        let made = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&self.reserve)
            .and_then(|file| posix_fallocate(&file, 0, length).map_err(Into::into));
        if made.is_err() {
            // A part of it is worse than nothing: it would look like the whole.
            files::remove(&self.reserve).about(&self.reserve, "remove")?;
        }
        made.about(&self.reserve, "make")
    }
}

/// Gives up the reserve of a state folder, if there is one.
pub(super) fn release_reserve(folder: &Path) -> Result<bool, StoreError> {
    let reserve = folder.join(FILE_NAME);
    let was_there = reserve.exists();
    files::remove(&reserve).about(&reserve, "remove")?;
    Ok(was_there)
}

/// Bytes of the volume of a folder that may still be written.
pub fn free_bytes(folder: &Path) -> Result<u64, StoreError> {
    let volume = statvfs(folder)
        .map_err(std::io::Error::from)
        .about(folder, "look at the volume of")?;
    #[expect(clippy::useless_conversion, reason = "the types differ by platform")]
    let (blocks, size) = (
        u64::from(volume.blocks_available()),
        u64::from(volume.fragment_size()),
    );
    Ok(blocks.saturating_mul(size))
}

fn level(before: Level, free: u64, min: u64) -> Level {
    let enough = match before {
        Level::Ample => min,
        Level::Low => min.saturating_add(min / 4),
    };
    if free < enough {
        Level::Low
    } else {
        Level::Ample
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn low_room_stays_low_until_there_is_a_quarter_more() {
        assert_eq!(level(Level::Ample, 100, 100), Level::Ample);
        assert_eq!(level(Level::Ample, 99, 100), Level::Low);
        assert_eq!(level(Level::Low, 124, 100), Level::Low);
        assert_eq!(level(Level::Low, 125, 100), Level::Ample);
        assert_eq!(level(Level::Ample, 0, 0), Level::Ample, "turned off");
    }

    #[test]
    fn reserve_is_made_given_up_and_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let settings = StoreSettings {
            reserve_bytes: 64 << 10,
            free_bytes_min: 0,
            ..StoreSettings::default()
        };
        let mut space = Space::new(folder.path(), &settings);
        assert_eq!(space.look(0).unwrap(), Level::Ample);
        assert!(space.free_bytes() < u64::MAX);
        let length = || folder.path().join(FILE_NAME).metadata().unwrap().len();
        assert_eq!(length(), 64 << 10);
        assert!(space.release_reserve().unwrap());
        assert_eq!((space.has_reserve(), space.level()), (false, Level::Low));
        assert!(!space.release_reserve().unwrap());
        space.look(0).unwrap();
        assert_eq!(length(), 64 << 10);
        let none = StoreSettings {
            reserve_bytes: 0,
            ..settings
        };
        space.configure(&none);
        space.look(0).unwrap();
        assert!(!space.has_reserve());
    }
}
