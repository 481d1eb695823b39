//! Files that go for good, as far as the medium lets them, and files that must be there after a power cut.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat, renameat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, fsync, unlinkat};
use zeroize::Zeroizing;

/// Bytes in which a key is looked for at once.
const PART_BYTES: usize = 64 << 10;

/// Whether a file holds what opens something: private keys, hashes of passwords, tokens, and the database that has them.
pub(super) fn is_secret(folder: &Folder, name: &OsStr) -> io::Result<bool> {
    let text = name.to_string_lossy();
    // One that an import has left in the middle.
    let text = text.strip_suffix(super::IMPORT).unwrap_or(&text);
    let path = folder.path.join(name);
    let below = |above: &str| path.iter().any(|part| part == above);
    let ends = [
        ".key",
        ".pem",
        ".p12",
        ".pfx",
        "token",
        ".bak",
        ".kubeconfig",
    ];
    let is_known = ends.iter().any(|end| text.ends_with(end))
        || text.contains(".db")
        || text.contains("passw")
        || text == "users"
        // What sealed keys are sealed with.
        || text == "credential.secret"
        // Of k3s, for its administrators.
        || text == "k3s.yaml"
        // Names of files in there say nothing any more.
        || ["ca", "update", "cred", "lost+found", super::IMPORT].into_iter().any(below);
    // People have given names to files there, on the card that they came from.
    Ok(is_known || below("etc") && folder.holds_key(name)?)
}

/// Whether people have put a secret on the boot partition: users, and keys of ports and authorities, by their names or because a
/// private key is in them.
pub(super) fn is_secret_of_card(folder: &Folder, name: &OsStr) -> io::Result<bool> {
    let text = name.to_string_lossy().to_ascii_lowercase();
    let stem = text.split('.').next().unwrap_or_default();
    let ends = [".p12", ".pfx"];
    let is_key = stem.ends_with("key") || text.contains(".key");
    let is_known = stem == "users" || is_key || ends.iter().any(|end| text.ends_with(end));
    Ok(is_known || folder.holds_key(name)?)
}

/// Whether a private key is in it, in whatever encoding.
pub(crate) fn holds_key(mut content: impl Read) -> io::Result<bool> {
    let mark: &[u8] = b"PRIVATE KEY-----";
    let mut part: Zeroizing<Vec<u8>> = Zeroizing::new(Vec::with_capacity(PART_BYTES));
    // With the end of what came before. Neither of them grows, so that no copy of a key is left anywhere.
    let mut letters: Zeroizing<Vec<u8>> =
        Zeroizing::new(Vec::with_capacity(PART_BYTES + mark.len()));
    let part_bytes = u64::try_from(PART_BYTES).unwrap_or(u64::MAX);
    loop {
        part.clear();
        if content.by_ref().take(part_bytes).read_to_end(&mut part)? == 0 {
            return Ok(false);
        }
        // In UTF-16, with a mark and without one, each of these letters has a zero beside it.
        letters.extend(part.iter().filter(|byte| **byte != 0));
        if letters.windows(mark.len()).any(|found| found == mark) {
            return Ok(true);
        }
        let known = letters.len().saturating_sub(mark.len() - 1);
        letters.drain(..known);
    }
}

/// A folder that is open: whoever may write around it cannot put another one in its place. Its path only names it.
pub(super) struct Folder {
    handle: OwnedFd,
    path: PathBuf,
}

impl Folder {
    /// `None` where there is none.
    pub(super) fn open(path: &Path) -> io::Result<Option<Self>> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Self::opened(open(path, flags, Mode::empty()), || path.to_owned())
    }

    /// A folder in this one; links are none.
    pub(super) fn child(&self, name: &OsStr) -> io::Result<Option<Self>> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let opened = openat(&self.handle, name, flags, Mode::empty());
        Self::opened(opened, || self.path.join(name))
    }

    fn opened(
        opened: nix::Result<OwnedFd>,
        path: impl FnOnce() -> PathBuf,
    ) -> io::Result<Option<Self>> {
        match opened {
            Ok(handle) => Ok(Some(Self {
                handle,
                path: path(),
            })),
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What is in it, in order.
    pub(super) fn names(&self) -> io::Result<Vec<OsString>> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut listed = Dir::openat(&self.handle, ".", flags, Mode::empty())?;
        let mut names = Vec::new();
        for entry in listed.iter() {
            let name = OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// Writes zeros over a file. Links and what else is no file have nothing to be written over.
    pub(super) fn overwrite(&self, name: &OsStr) -> io::Result<()> {
        let Some(mut file) = self.file(name, OFlag::O_WRONLY)? else {
            return Ok(());
        };
        let size = file.metadata()?.size();
        io::copy(&mut io::repeat(0).take(size), &mut file)?;
        file.sync_all()
    }

    /// Whether a private key is in a file.
    fn holds_key(&self, name: &OsStr) -> io::Result<bool> {
        self.file(name, OFlag::O_RDONLY)?
            .map_or(Ok(false), holds_key)
    }

    /// A file in it; links and what else is no file are none.
    fn file(&self, name: &OsStr, access: OFlag) -> io::Result<Option<File>> {
        let flags = access | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = match openat(&self.handle, name, flags, Mode::empty()) {
            Ok(handle) => File::from(handle),
            Err(Errno::ENOENT | Errno::ELOOP | Errno::ENXIO) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        Ok(file.metadata()?.is_file().then_some(file))
    }

    /// Removes a file or an empty folder; it may be gone already.
    pub(super) fn unlink(&self, name: &OsStr) -> io::Result<()> {
        let removed = match unlinkat(&self.handle, name, UnlinkatFlags::NoRemoveDir) {
            Err(Errno::EISDIR) => unlinkat(&self.handle, name, UnlinkatFlags::RemoveDir),
            removed => removed,
        };
        match removed {
            Err(Errno::ENOENT) => Ok(()),
            removed => Ok(removed?),
        }
    }

    /// A folder in this one, made where there is none.
    pub(super) fn make(&self, name: &OsStr) -> io::Result<Self> {
        match mkdirat(&self.handle, name, Mode::S_IRWXU) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        let made = self.child(name)?;
        made.ok_or_else(|| io::ErrorKind::NotADirectory.into())
    }

    /// Moves an entry to another folder for good, under its name.
    pub(super) fn move_to(&self, name: &OsStr, to: &Self) -> io::Result<()> {
        renameat(&self.handle, name, &to.handle, name)?;
        to.sync()?;
        self.sync()
    }

    /// What it lists is so after a power cut as well.
    pub(super) fn sync(&self) -> io::Result<()> {
        Ok(fsync(&self.handle)?)
    }
}

/// Removes a file for good; it may be gone already.
pub(super) fn unlink(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Ok(()) => sync_folder(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
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
