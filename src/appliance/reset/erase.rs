//! Files that go for good, as far as the medium lets them, and files that must be there after a power cut.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

/// Bytes that are written at one time.
static BLOCK: [u8; 64 * 1024] = [0; 64 * 1024];

/// Whether a file holds what opens something: private keys, hashes of passwords, tokens, and the database that has them.
pub(super) fn is_secret(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let below = |folder: &str| path.iter().any(|part| part == folder);
    let ends = [".key", ".pem", ".p12", ".pfx", ".token", ".bak", ".db"];
    ends.iter().any(|end| name.ends_with(end))
        || name.contains("gateway.db")
        || name.contains("password")
        || name == "users"
        // What sealed keys are sealed with.
        || name == "credential.secret"
        || below("ca")
        || below("update")
}

/// Every file below a folder that is one itself; links are not followed. No folder has none.
pub(super) fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for path in entries(&folder)? {
            let kind = fs::symlink_metadata(&path)?.file_type();
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// What is in a folder, in order; nothing if there is none.
pub(super) fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if is_gone(&error) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        found.push(entry?.path());
    }
    found.sort();
    Ok(found)
}

pub(super) fn is_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|file| file.is_dir())
}

/// Writes zeros over a file and removes it. One that has other names is only written over where it is.
pub(super) fn overwrite(path: &Path) -> io::Result<()> {
    let opened = OpenOptions::new()
        .write(true)
        .custom_flags(OFlag::O_NOFOLLOW.bits())
        .open(path);
    let mut file = match opened {
        Ok(file) => file,
        Err(error) if is_gone(&error) => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut left = file.metadata()?.size();
    while left > 0 {
        let count = BLOCK.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        file.write_all(BLOCK.get(..count).unwrap_or(&BLOCK))?;
        left = left.saturating_sub(count as u64);
    }
    file.sync_all()?;
    unlink(path)
}

/// Removes a file or an empty folder for good; it may be gone already.
pub(super) fn unlink(path: &Path) -> io::Result<()> {
    let removed = if is_folder(path) {
        fs::remove_dir(path)
    } else {
        fs::remove_file(path)
    };
    match removed {
        Ok(()) => sync_folder(path),
        Err(error) if is_gone(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Puts a file in place, whole or not at all.
pub(in crate::appliance) fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    sync_folder(path)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}
