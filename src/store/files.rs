//! Files of a database in the state folder, and how one takes the place of another.
//!
//! A new database is made as `gateway.db.partial`, is called `gateway.db.new` when it is complete, and takes its place when
//! the old one is out of the way: a power cut at any moment leaves one of the two.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::fault::{About, StoreError};
use super::schema::beside;
use super::time::stamp;

/// What is appended to the name of a database that is being made.
pub(super) const PARTIAL: &str = ".partial";

/// What is appended to the name of a complete one that is to take the place.
const COMPLETE: &str = ".new";

/// Files that belong to a database, by what is appended to its name.
const COMPANIONS: [&str; 2] = ["-wal", "-shm"];

/// Folders named after what is kept there and after one second, at most.
const FOLDERS_MAX: u32 = 1000;

/// Puts the database that was made as [`PARTIAL`] in the place of the one at `path`, which is moved to a folder named after
/// `what` and the time. Returns that folder, if there was a database.
pub(super) fn replace(path: &Path, what: &str, wall: u64) -> Result<Option<PathBuf>, StoreError> {
    let complete = beside(path, COMPLETE);
    let partial = beside(path, PARTIAL);
    remove_companions(&partial).about(&partial, "complete")?;
    fs::rename(&partial, &complete).about(&partial, "complete")?;
    sync_folder(folder_of(path))?;
    let moved_to = match path.exists() {
        true => Some(move_away(path, what, wall)?),
        false => None,
    };
    finish_interrupted(path)?;
    Ok(moved_to)
}

/// Moves a database to a folder named after `what` and the time, which is returned.
pub(super) fn move_away(path: &Path, what: &str, wall: u64) -> Result<PathBuf, StoreError> {
    let folder = folder_of(path);
    let moved_to = make_folder(folder, what, wall)?;
    for file in ["", "-wal", "-shm"].map(|suffix| beside(path, suffix)) {
        let name = file.file_name().unwrap_or_default();
        if file.exists() {
            fs::rename(&file, moved_to.join(name)).about(&file, "move away")?;
        }
    }
    sync_folder(&moved_to)?;
    sync_folder(folder)?;
    Ok(moved_to)
}

/// Gives a database that stands alone the place of one that is gone.
pub(super) fn put_in_place(other: &Path, path: &Path) -> Result<(), StoreError> {
    // A log that the old database has left behind must not meet the new one.
    remove_companions(path).about(path, "replace")?;
    fs::rename(other, path).about(path, "replace")?;
    sync_folder(folder_of(path))
}

/// Ends what a power cut has interrupted: a complete new database takes the place of one that is gone, and what is not
/// complete or has no place goes.
pub(super) fn finish_interrupted(path: &Path) -> Result<(), StoreError> {
    let (partial, complete) = (beside(path, PARTIAL), beside(path, COMPLETE));
    remove_database(&partial).about(&partial, "remove")?;
    if !complete.exists() {
        return Ok(());
    }
    if path.exists() {
        return remove_database(&complete).about(&complete, "remove");
    }
    put_in_place(&complete, path)
}

fn make_folder(parent: &Path, what: &str, wall: u64) -> Result<PathBuf, StoreError> {
    let stem = format!("{what}-{}", stamp(wall));
    let mut folder = parent.join(&stem);
    let mut count = 1;
    loop {
        match fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && count < FOLDERS_MAX => {
                count += 1;
                folder = parent.join(format!("{stem}-{count}"));
            }
            Err(error) => return Err(StoreError::system(&folder, "make", &error)),
        }
    }
}

/// Removes a database with what belongs to it, as far as it is there.
pub(super) fn remove_database(path: &Path) -> io::Result<()> {
    remove(path)?;
    remove(&beside(path, "-journal"))?;
    remove_companions(path)
}

fn remove_companions(path: &Path) -> io::Result<()> {
    COMPANIONS
        .iter()
        .try_for_each(|suffix| remove(&beside(path, suffix)))
}

pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The folder that a file is in.
pub(super) fn folder_of(path: &Path) -> &Path {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

/// Makes sure that names that were given or taken in a folder outlive a power cut.
pub(super) fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .about(folder, "write to")
}
