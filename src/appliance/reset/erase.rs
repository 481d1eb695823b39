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

/// Whether a file holds what opens something: private keys, hashes of passwords, tokens, and the database that has them.
pub(super) fn is_secret(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let below = |folder: &str| path.iter().any(|part| part == folder);
    let ends = [
        ".key",
        ".pem",
        ".p12",
        ".pfx",
        "token",
        ".bak",
        ".kubeconfig",
    ];
    ends.iter().any(|end| name.ends_with(end))
        || name.contains(".db")
        || name.contains("passw")
        || name == "users"
        // What sealed keys are sealed with.
        || name == "credential.secret"
        // Of k3s, for its administrators.
        || name == "k3s.yaml"
        // Names of files in there say nothing any more.
        || ["ca", "update", "cred", "lost+found"].into_iter().any(below)
}

/// Whether people have put a secret on the boot partition under this name: users, and keys of ports and authorities.
pub(super) fn is_secret_of_card(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.to_ascii_lowercase();
    let stem = name.split('.').next().unwrap_or_default();
    let ends = [".p12", ".pfx"];
    let is_key = stem.ends_with("key") || name.contains(".key");
    stem == "users" || is_key || ends.iter().any(|end| name.ends_with(end))
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
        let flags = OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let mut file = match openat(&self.handle, name, flags, Mode::empty()) {
            Ok(handle) => File::from(handle),
            Err(Errno::ENOENT | Errno::ELOOP | Errno::ENXIO) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        };
        let found = file.metadata()?;
        if !found.is_file() {
            return Ok(());
        }
        io::copy(&mut io::repeat(0).take(found.size()), &mut file)?;
        file.sync_all()
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
