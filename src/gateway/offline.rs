//! The database of a gateway that is not running, for commands that change it.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::lock::{LockFault, StateLock};
use crate::clock;
use crate::config::StoreSettings;
use crate::store::{CertificateRecord, Condition, Jobs, Store, StoreError, UserRecord};

/// Beginnings of the names that are ours in a state folder.
const OWN_NAMES: [&str; 3] = ["gateway.", "fieldgate.", "corrupt-"];

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

fn give_away(state_dir: &Path) {
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
    let owner = fs::metadata(folder)?;
    give_named(folder, &owner, &|name| {
        name == OWN_FOLDER || OWN_NAMES.iter().any(|own| name.starts_with(own))
    })
}

fn give_named(
    folder: &Path,
    owner: &fs::Metadata,
    is_ours: &dyn Fn(&str) -> bool,
) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let metadata = entry.metadata()?;
        // Who may write to the folder must not get a file that is elsewhere as well.
        let is_one = metadata.is_dir() || metadata.is_file() && metadata.nlink() == 1;
        if !is_ours(&name) || !is_one || owner.uid() == 0 {
            continue;
        }
        if metadata.is_dir() {
            // First what is in it: while it is root's nobody else can put anything there.
            give_named(&entry.path(), owner, &|_| true)?;
        }
        if metadata.uid() == 0 {
            lchown(entry.path(), Some(owner.uid()), Some(owner.gid()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
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
        std::os::unix::fs::symlink("/etc/hostname", folder.path().join("gateway.y")).unwrap();
        let offline = Offline::open(folder.path()).unwrap();
        fs::create_dir_all(folder.path().join("ca/sealed")).unwrap();
        fs::write(folder.path().join("ca/sealed/root-1"), "").unwrap();
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
        ] {
            assert_eq!(owner(name), (1234, 4321), "{name}");
        }
        for name in ["other", "gateway.x", "gateway.y"] {
            assert_eq!(owner(name).0, 0, "{name}");
        }
        drop(offline);
    }
}
