//! A program that finds a database which a newer one has changed: the copy that was made before the change takes its place.
//!
//! That happens where an update proved bad and the machine went back to the slot before. The newer database is kept in a folder
//! of its own, one at a time; as long as it is there the gateway says that it goes by an older state. When an update has proved
//! good, [`drop_copies`] takes the copies away: a state of long ago is no way back.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::fault::{About, StoreError};
use super::{files, inspect, schema};

/// What folders with a newer database begin with.
const NEWER: &str = "newer";

/// Where SQLite keeps the format in a file.
const FORMAT_PLACE: u64 = 60;

/// A database that was put aside because this version cannot read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FellBack {
    /// The format that it has, if that can be read.
    pub format: Option<i64>,
    /// The folder that it was moved to.
    pub moved_to: PathBuf,
}

impl fmt::Display for FellBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let format = match self.format {
            Some(format) => format!("format {format}"),
            None => "another format".to_owned(),
        };
        write!(
            f,
            "a newer version had brought the database to {format}, which this one cannot read: the state of before that is at work, and what came since is in `{}`; remove that folder when nobody needs it",
            self.moved_to.display()
        )
    }
}

/// Puts the newest copy that this version can read in the place of the database, without room for another one. `false` if
/// there is none. Cut at any moment, it is done again at the next start, or [`finish_interrupted`] ends it.
pub(super) fn restore(path: &Path, wall: u64) -> Result<bool, StoreError> {
    let Some(copy) = sound_copy(path) else {
        return Ok(false);
    };
    let former = folders(path).about(path, "look beside")?;
    files::move_away(path, NEWER, wall)?;
    files::put_in_place(&copy, path)?;
    // One at a time, and the one before until there is another one.
    for folder in former {
        fs::remove_dir_all(&folder).about(&folder, "remove")?;
    }
    Ok(true)
}

/// Ends what a power cut has interrupted: the newer database is moved away and nothing is in its place.
pub(super) fn finish_interrupted(path: &Path) -> Result<(), StoreError> {
    if path.exists() {
        return Ok(());
    }
    let name = path.file_name().unwrap_or_default();
    let folders = folders(path).about(path, "look beside")?;
    if !folders.iter().any(|folder| folder.join(name).exists()) {
        return Ok(());
    }
    match sound_copy(path) {
        Some(copy) => files::put_in_place(&copy, path),
        None => Ok(()),
    }
}

/// Removes the copies that were made before this version has changed the format of the database: it has proved good.
pub fn drop_copies(folder: &Path) -> Result<(), StoreError> {
    let path = folder.join(schema::FILE_NAME);
    for copy in (1..schema::VERSION).map(|format| schema::copy_of(&path, format)) {
        files::remove_database(&copy).about(&copy, "remove")?;
    }
    Ok(())
}

/// A newer database that was put aside by this version or an older one.
pub(super) fn found(path: &Path) -> Option<FellBack> {
    let name = path.file_name()?;
    let mut folders = folders(path).ok()?.into_iter().rev();
    folders.find_map(|moved_to| {
        let format = match format_of(&moved_to.join(name)) {
            Ok(format) => Some(format),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            // What only root can read is there all the same.
            Err(_) => None,
        };
        let is_newer = format.is_none_or(|format| format > schema::VERSION);
        is_newer.then_some(FellBack { format, moved_to })
    })
}

/// The newest copy of a format that this version knows in which nothing is wrong.
fn sound_copy(path: &Path) -> Option<PathBuf> {
    let formats = (1..=schema::VERSION).rev();
    formats
        .map(|format| schema::copy_of(path, format))
        .find(|copy| is_sound(copy))
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
