//! A program that finds a database which a newer one has changed: the copy that was made before the change takes its place.
//!
//! That happens where an update proved bad and the machine went back to the slot before. The newer database is kept in a folder
//! of its own, one at a time; as long as it is there the gateway says that it goes by an older state.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::fault::{About, StoreError};
use super::files::{self, PARTIAL};
use super::schema::{self, beside};
use super::{backup, inspect};

/// What folders with a newer database begin with.
const NEWER: &str = "newer";

/// Where SQLite keeps the format in a file.
const FORMAT_PLACE: u64 = 60;

/// A database that was put aside because this version cannot read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FellBack {
    /// The format that it has.
    pub format: i64,
    /// The folder that it was moved to.
    pub moved_to: PathBuf,
}

impl fmt::Display for FellBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a newer version had brought the database to format {}, which this one cannot read: the state of before that is at work, and what came since is in `{}`; remove that folder when nobody needs it",
            self.format,
            self.moved_to.display()
        )
    }
}

/// Puts the newest copy that this version can read in the place of the database. `false` if there is none. Cut at any moment,
/// it is done again at the next start, or is complete.
pub(super) fn restore(path: &Path, wall: u64) -> Result<bool, StoreError> {
    let copies = (1..=schema::VERSION)
        .rev()
        .map(|format| schema::copy_of(path, format));
    let Some(copy) = copies.into_iter().find(|copy| is_sound(copy)) else {
        return Ok(false);
    };
    // One at a time, and room for what comes.
    for folder in folders(path).about(path, "look beside")? {
        fs::remove_dir_all(&folder).about(&folder, "remove")?;
    }
    let partial = beside(path, PARTIAL);
    let source = inspect::open(&copy)?;
    backup::copy(&source, &partial)?;
    files::replace(path, NEWER, wall)?;
    Ok(true)
}

/// A newer database that was put aside by this version or an older one.
pub(super) fn found(path: &Path) -> Option<FellBack> {
    let name = path.file_name()?;
    let mut folders = folders(path).ok()?.into_iter();
    folders.find_map(|moved_to| {
        let format = format_of(&moved_to.join(name)).ok()?;
        (format > schema::VERSION).then_some(FellBack { format, moved_to })
    })
}

fn is_sound(copy: &Path) -> bool {
    copy.exists() && inspect::check_file(copy).is_ok_and(|report| report.faults.is_empty())
}

fn folders(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(files::folder_of(path))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_one = name
            .strip_prefix(NEWER)
            .is_some_and(|rest| rest.starts_with('-'));
        if is_one && path.is_dir() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The format of a database that is not opened: SQLite would write beside it.
fn format_of(path: &Path) -> io::Result<i64> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(FORMAT_PLACE))?;
    let mut bytes = [0; 4];
    file.read_exact(&mut bytes)?;
    Ok(i64::from(i32::from_be_bytes(bytes)))
}

#[cfg(test)]
#[path = "fall_back_tests.rs"]
mod tests;
