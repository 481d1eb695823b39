//! The few things that are done to files, each a step between which the power may fail.

use std::fmt::Debug;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use zeroize::Zeroizing;

use super::error::CaError;

/// Bytes of a file that are read at most. A bundle of roots and a revocation list for all certificates stay below.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Begins the name of a file that is being written.
pub(super) const NEW: &str = ".new-";

/// For whom a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    /// The gateway alone.
    Private,
    /// Whoever may enter the folder.
    Public,
}

impl Audience {
    fn mode(self) -> u32 {
        match self {
            Self::Private => 0o600,
            Self::Public => 0o644,
        }
    }
}

/// Changes to a file system. Each is done or not done when the power fails, but for [`Files::write_new`], which may be half
/// done. Names are lasting when [`Files::sync_folder`] has returned.
pub(super) trait Files: Debug + Send + Sync {
    /// Makes a folder that only the gateway may enter.
    fn make_folder(&self, path: &Path) -> io::Result<()>;
    /// Makes a file, or begins one anew, and has the disk take its content.
    fn write_new(&self, path: &Path, content: &[u8], audience: Audience) -> io::Result<()>;
    /// Gives a file or folder another name; what had that name is gone.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Has the disk take the names of a folder.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes a folder with everything in it.
    fn remove_folder(&self, path: &Path) -> io::Result<()>;
}

/// The file system of the machine.
#[derive(Debug, Default)]
pub(super) struct Disk;

impl Files for Disk {
    fn make_folder(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(path)
    }

    fn write_new(&self, path: &Path, content: &[u8], audience: Audience) -> io::Result<()> {
        // What an interrupted attempt has left may have another owner or mode.
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(audience.mode())
            .open(path)?;
        file.write_all(content)?;
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }
}

/// Puts a file in the place of the one with its name, or beside the others.
pub(super) fn replace(
    files: &dyn Files,
    path: &Path,
    content: &[u8],
    audience: Audience,
) -> Result<(), CaError> {
    let new = beside(path);
    let fault = |error| CaError::io(path, "write", error);
    files.write_new(&new, content, audience).map_err(fault)?;
    files.rename(&new, path).map_err(fault)
}

/// Where a file is written before it gets its name. Sealed keys are written outside of their folder, from which systemd takes
/// everything.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let folder = path.parent().unwrap_or(Path::new(""));
    let folder = match folder.file_name() {
        Some(last) if last == super::layout::SEALED => folder.parent().unwrap_or(folder),
        _ => folder,
    };
    folder.join(format!("{NEW}{name}"))
}

/// Reads a file as far as any of ours is long.
pub(super) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, CaError> {
    let fault = |error| CaError::io(path, "read", error);
    // A pipe in the place of a file would be waited for, for ever.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(path)
        .map_err(fault)?;
    let metadata = file.metadata().map_err(fault)?;
    if !metadata.is_file() {
        let error = io::Error::new(io::ErrorKind::InvalidInput, "it is no file");
        return Err(fault(error));
    }
    let length = metadata.len().min(FILE_BYTES_MAX);
    // All at once, so that no copy of a key is left behind where the memory was before it grew.
    let mut content = Zeroizing::new(Vec::with_capacity(usize::try_from(length).unwrap_or(0) + 1));
    file.take(FILE_BYTES_MAX)
        .read_to_end(&mut content)
        .map_err(fault)?;
    Ok(content)
}

/// Reads a file that need not be there.
pub(super) fn read_if_there(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, CaError> {
    match read(path) {
        Ok(content) => Ok(Some(content)),
        Err(CaError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// The names in a folder, in order.
pub(super) fn names(folder: &Path) -> Result<Vec<String>, CaError> {
    let fault = |error| CaError::io(folder, "read", error);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(fault)? {
        // A name that is no text is none of ours.
        names.extend(entry.map_err(fault)?.file_name().into_string().ok());
    }
    names.sort();
    Ok(names)
}

/// The power fails after so many steps.
#[cfg(test)]
pub(super) mod power {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A file system whose power fails.
    #[derive(Debug)]
    pub(in crate::ca) struct Failing {
        disk: Disk,
        left: AtomicUsize,
        /// Whether a file that is being written when the power fails is there by half.
        is_torn: bool,
    }

    impl Failing {
        pub(in crate::ca) fn after(steps: usize, is_torn: bool) -> Self {
            Self {
                disk: Disk,
                left: AtomicUsize::new(steps),
                is_torn,
            }
        }

        /// Whether the power has failed.
        pub(in crate::ca) fn is_off(&self) -> bool {
            self.left.load(Ordering::Relaxed) == 0
        }

        fn step(&self) -> io::Result<()> {
            let take = |left: usize| left.checked_sub(1);
            match self
                .left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            {
                Ok(left) if left > 1 => Ok(()),
                _ => Err(io::Error::other("the power has failed")),
            }
        }
    }

    impl Files for Failing {
        fn make_folder(&self, path: &Path) -> io::Result<()> {
            self.step()?;
            self.disk.make_folder(path)
        }

        fn write_new(&self, path: &Path, content: &[u8], audience: Audience) -> io::Result<()> {
            let was_off = self.is_off();
            let step = self.step();
            if step.is_err() && self.is_torn && !was_off {
                self.disk
                    .write_new(path, &content[..content.len() / 2], audience)?;
            }
            step?;
            self.disk.write_new(path, content, audience)
        }

        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.step()?;
            self.disk.rename(from, to)
        }

        fn sync_folder(&self, path: &Path) -> io::Result<()> {
            self.step()?;
            self.disk.sync_folder(path)
        }

        fn remove_file(&self, path: &Path) -> io::Result<()> {
            self.step()?;
            self.disk.remove_file(path)
        }

        fn remove_folder(&self, path: &Path) -> io::Result<()> {
            self.step()?;
            self.disk.remove_folder(path)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn pipe_in_the_place_of_a_file_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("issuing-2.key");
        let mode = nix::sys::stat::Mode::from_bits_truncate(0o600);
        nix::unistd::mkfifo(&path, mode).unwrap();
        let fault = read(&path).unwrap_err().to_string();
        assert!(fault.contains("issuing-2.key"), "{fault}");
        assert!(fault.contains("no file"), "{fault}");
    }

    #[test]
    fn file_takes_the_place_of_another_one_with_its_own_mode() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        for (content, audience, mode) in [
            (b"one", Audience::Public, 0o644),
            (b"two", Audience::Private, 0o600),
        ] {
            replace(&Disk, &path, content, audience).unwrap();
            assert_eq!(read(&path).unwrap().as_slice(), content);
            let found = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            assert_eq!(found & !0o077, mode & !0o077);
            assert_eq!(found & 0o022, 0);
        }
        assert_eq!(names(folder.path()).unwrap(), ["a.key"]);
        assert!(read_if_there(&folder.path().join("b")).unwrap().is_none());
        let missing = read(&folder.path().join("b")).unwrap_err();
        assert!(missing.hint().contains("backup"), "{missing}");
    }
}
