//! The database of a gateway that is not running, for commands that change it.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use nix::unistd::{Gid, Uid, fchownat};

use super::lock::{LockFault, StateLock};
use crate::clock;
use crate::config::StoreSettings;
use crate::store::{CertificateRecord, Condition, Jobs, Store, StoreError, UserRecord};

/// Beginnings of the names that are ours in a state folder.
const OWN_NAMES: [&str; 5] = ["gateway.", "fieldgate.", "corrupt-", "newer-", "replaced-"];

/// The folder of the certificate authority, with everything in it.
const OWN_FOLDER: &str = "ca";

/// The database of a state folder, which no gateway uses as long as the value lives.
#[derive(Debug)]
pub struct Offline {
    state_dir: PathBuf,
    jobs: Jobs,
    users: Vec<UserRecord>,
    certificates: Vec<CertificateRecord>,
    condition: Condition,
    _lock: StateLock,
}

/// Why the database of a state folder cannot be changed.
#[derive(Debug, thiserror::Error)]
pub enum OfflineFault {
    /// The folder cannot be used, most often because a gateway does.
    #[error(transparent)]
    Lock(#[from] LockFault),
    /// The database cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Offline {
    /// Whether there is a database in a state folder.
    #[must_use]
    pub fn is_there(state_dir: &Path) -> bool {
        Store::is_there(state_dir)
    }

    /// Takes a state folder and opens its database as a start of the gateway does: one of an older version is brought on, one
    /// that is damaged is replaced by what can be read of it, and what is missing is made.
    pub fn open(state_dir: &Path) -> Result<Self, OfflineFault> {
        let lock = StateLock::acquire(state_dir)?;
        let opened = Store::open(state_dir, &StoreSettings::default(), Arc::new(clock::wall))?;
        give_away(state_dir);
        Ok(Self {
            state_dir: state_dir.to_owned(),
            jobs: Jobs::own(opened.writer),
            users: opened.users,
            certificates: opened.certificates,
            condition: opened.condition,
            _lock: lock,
        })
    }

    /// Where jobs for the database are handed over.
    #[must_use]
    pub fn jobs(&self) -> Jobs {
        self.jobs.clone()
    }

    /// Gives files that were made meanwhile to the user that the gateway runs as.
    pub fn give_away(&self) {
        give_away(&self.state_dir);
    }

    /// The local users as they were found, given once.
    #[must_use]
    pub fn take_users(&mut self) -> Vec<UserRecord> {
        std::mem::take(&mut self.users)
    }

    /// What the authority has issued, as it was found, given once.
    #[must_use]
    pub fn take_certificates(&mut self) -> Vec<CertificateRecord> {
        std::mem::take(&mut self.certificates)
    }

    /// In which condition the database was found.
    #[must_use]
    pub fn condition(&self) -> &Condition {
        &self.condition
    }
}

pub(super) fn give_away(state_dir: &Path) {
    if nix::unistd::geteuid().is_root()
        && let Err(error) = give_to_owner(state_dir)
    {
        // The gateway may run as root; if it does not, it says at its start what it may not write.
        tracing::warn!(%error, "cannot give the files to the owner of `{}`", state_dir.display());
    }
}

/// Files that root has made belong to the owner of the folder, who is the user that the gateway runs as: it could not open
/// them otherwise.
fn give_to_owner(folder: &Path) -> io::Result<()> {
    let handle = open(
        folder,
        OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?;
    let owner = fstat(&handle)?;
    if owner.st_uid == 0 {
        return Ok(());
    }
    give_named(&handle, &owner, &|name| {
        name == OWN_FOLDER || OWN_NAMES.iter().any(|own| name.starts_with(own))
    })
}

/// By handles and never by paths: a process of that user may put something else in the place of what was just looked at.
fn give_named(
    folder: &OwnedFd,
    owner: &FileStat,
    is_ours: &dyn Fn(&str) -> bool,
) -> io::Result<()> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut listed = Dir::openat(folder, ".", flags, Mode::empty())?;
    for entry in listed.iter() {
        let entry = entry?;
        let name = entry.file_name();
        let text = name.to_string_lossy();
        if text == "." || text == ".." || !is_ours(&text) {
            continue;
        }
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let handle = match openat(folder, name, flags, Mode::empty()) {
            // The database takes its own files away.
            Err(Errno::ENOENT) => continue,
            opened => opened?,
        };
        let found = fstat(&handle)?;
        let kind = SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT;
        // Who may write to the folder must not get a file that is elsewhere as well.
        let is_one = kind == SFlag::S_IFDIR || kind == SFlag::S_IFREG && found.st_nlink == 1;
        if !is_one {
            continue;
        }
        if kind == SFlag::S_IFDIR {
            // First what is in it: while it is root's nobody else can put anything there.
            give_named(&handle, owner, &|_| true)?;
        }
        if found.st_uid == 0 {
            let (user, group) = (Uid::from_raw(owner.st_uid), Gid::from_raw(owner.st_gid));
            fchownat(&handle, "", Some(user), Some(group), AtFlags::AT_EMPTY_PATH)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, lchown, symlink};

    use super::*;
    use crate::store::users;

    #[test]
    fn folder_is_taken_while_its_database_is_changed() {
        let folder = tempfile::tempdir().unwrap();
        let state_dir = folder.path().join("state");
        let mut offline = Offline::open(&state_dir).unwrap();
        assert!(offline.take_users().is_empty());
        assert_eq!(*offline.condition(), Condition::Sound);
        let taken = Offline::open(&state_dir).unwrap_err();
        assert!(matches!(taken, OfflineFault::Lock(LockFault::Taken { .. })));
        let record = UserRecord {
            username: "a".into(),
            hash: "".into(),
            generation: 1,
            attributes: std::collections::BTreeMap::new(),
            enabled: true,
            expires_at: None,
            note: "".into(),
            created_at: 1,
            last_seen_at: None,
        };
        let jobs = offline.jobs();
        jobs.run(move |transaction| users::put(transaction, &record))
            .unwrap();
        drop((offline, jobs));
        assert!(!state_dir.join("gateway.db-wal").exists(), "closed");
        assert_eq!(Offline::open(&state_dir).unwrap().take_users().len(), 1);
    }

    #[test]
    fn files_of_root_are_given_to_the_owner_of_the_folder() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        lchown(folder.path(), Some(1234), Some(4321)).unwrap();
        fs::write(folder.path().join("other"), "").unwrap();
        fs::write(folder.path().join("twice"), "").unwrap();
        fs::hard_link(folder.path().join("twice"), folder.path().join("gateway.x")).unwrap();
        symlink("/etc/hostname", folder.path().join("gateway.y")).unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        fs::write(elsewhere.path().join("secret"), "").unwrap();
        symlink(elsewhere.path(), folder.path().join("gateway.z")).unwrap();
        let offline = Offline::open(folder.path()).unwrap();
        fs::create_dir_all(folder.path().join("ca/sealed")).unwrap();
        fs::write(folder.path().join("ca/sealed/root-1"), "").unwrap();
        // Where `fieldgate restore` and an older version put the database that was there.
        for aside in ["newer-20260101T000000Z", "replaced-20260101T000000Z"] {
            fs::create_dir(folder.path().join(aside)).unwrap();
            fs::write(folder.path().join(aside).join("gateway.db"), "").unwrap();
        }
        offline.give_away();
        let owner = |name: &str| {
            let metadata = fs::symlink_metadata(folder.path().join(name)).unwrap();
            (metadata.uid(), metadata.gid())
        };
        for name in [
            "gateway.db",
            "gateway.db-wal",
            "gateway.db-shm",
            "fieldgate.lock",
            "ca",
            "ca/sealed",
            "ca/sealed/root-1",
            "newer-20260101T000000Z",
            "newer-20260101T000000Z/gateway.db",
            "replaced-20260101T000000Z",
            "replaced-20260101T000000Z/gateway.db",
        ] {
            assert_eq!(owner(name), (1234, 4321), "{name}");
        }
        for name in ["other", "gateway.x", "gateway.y"] {
            assert_eq!(owner(name).0, 0, "{name}");
        }
        let secret = fs::metadata(elsewhere.path().join("secret")).unwrap();
        assert_eq!(secret.uid(), 0, "what is elsewhere stays root's");
        drop(offline);
    }
}
