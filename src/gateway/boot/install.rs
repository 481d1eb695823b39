//! Puts what was checked into its places, all of it: until the list of it is there nothing has happened, and once it is there
//! everything in it is done, at the next start if the power goes away in between.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::unistd::{Gid, Uid, fchown, geteuid};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::plan::Plan;
use super::record::Record;
use super::{BootFault, BootImport, WORK_MODE};
use crate::appliance::reset;
use crate::auth::users::import::{self, Format};
use crate::auth::users::{Actor, NewUser, UserRequest, Users};
use crate::ca::{Asker, CaRequest, CertificateAuthority, Sealing, SecretText, TrustedClock};
use crate::clock;
use crate::config;
use crate::gateway::Offline;

/// What is done, and by whom, in the audit log.
const ACTOR: &str = "boot partition";

/// Largest list.
const LIST_BYTES_MAX: u64 = 1 << 20;

const LIST: &str = "list.json";
const STAGED: &str = "new";
const USERS: &str = "users.json";
const CHAIN: &str = "chain.pem";
const CHAIN_KEY: &str = "key.pem";

/// What is to be done, once it is decided.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct List {
    files: Vec<ListedFile>,
    has_users: bool,
    has_authority: bool,
    host_name: Option<String>,
    /// Names of the files of the card, with what they are known by from then on.
    pub(super) taken: Vec<(String, String)>,
    pub(super) at: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct ListedFile {
    to: String,
    is_secret: bool,
}

/// The folder in which an import is prepared, beside the files that it replaces.
pub(super) struct Workplace<'a> {
    import: &'a BootImport,
    folder: PathBuf,
}

impl<'a> Workplace<'a> {
    pub(super) fn open(import: &'a BootImport) -> io::Result<Self> {
        let folder = import.work_folder();
        import.step()?;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)?;
        import.let_gateway_read(&File::open(&folder)?, WORK_MODE)?;
        Ok(Self { import, folder })
    }

    /// Where a file lies until it is installed.
    pub(super) fn staged(&self, index: usize) -> PathBuf {
        self.folder.join(STAGED).join(index.to_string())
    }

    /// What was decided and is not finished.
    pub(super) fn unfinished(&self) -> io::Result<Option<List>> {
        let path = self.folder.join(LIST);
        match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
            Ok(found) if found.len() > LIST_BYTES_MAX => {
                let text = "the list of an import is too long";
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
            Ok(_) => {}
        }
        Ok(Some(serde_json::from_slice(&fs::read(path)?)?))
    }

    /// What was taken before. A new record is kept at once, because what files are known by depends on it.
    pub(super) fn record(&self, warnings: &mut Vec<String>) -> Result<Record, BootFault> {
        let (record, damage) = Record::load(&self.folder)?;
        warnings.extend(damage);
        let path = Record::path(&self.folder);
        if !path.exists() {
            let text = record.render();
            text.and_then(|text| self.replace(&path, &text, 0o600, None))
                .map_err(|error| BootFault::io(&path, error))?;
        }
        Ok(record)
    }

    /// Takes away what an import has prepared, and writes over it: keys are in it.
    pub(super) fn clear(&self) -> io::Result<()> {
        self.import.step()?;
        Ok(reset::destroy_secrets(&self.folder.join(STAGED))?)
    }

    /// Forgets what was decided: it can never be carried out.
    pub(super) fn give_up(&self) -> io::Result<()> {
        self.import.step()?;
        fs::remove_file(self.folder.join(LIST))?;
        sync_folder(&self.folder)?;
        self.clear()
    }

    /// Whether the database takes the users, as it does later.
    pub(super) fn try_users(&self, users: &[NewUser]) -> Result<(), BootFault> {
        if users.is_empty() {
            return Ok(());
        }
        let mut offline = Offline::open(&self.import.state_dir)?;
        put_users(&mut offline, users.to_vec(), true)
    }

    /// Prepares everything but users.
    pub(super) fn stage(&self, plan: &Plan) -> io::Result<()> {
        self.clear()?;
        let folder = self.folder.join(STAGED);
        DirBuilder::new().mode(0o700).create(&folder)?;
        for (index, file) in plan.files.iter().enumerate() {
            self.write(&self.staged(index), &file.content, 0o600)?;
        }
        if let Some((chain, key)) = &plan.authority {
            self.write(&folder.join(CHAIN), chain.as_bytes(), 0o600)?;
            self.write(&folder.join(CHAIN_KEY), key.as_bytes(), 0o600)?;
        }
        sync_folder(&folder)
    }

    /// Prepares the users.
    pub(super) fn stage_users(&self, users: &[NewUser]) -> io::Result<()> {
        if users.is_empty() {
            return Ok(());
        }
        let folder = self.folder.join(STAGED);
        let text = Zeroizing::new(import::to_json(users)?);
        self.write(&folder.join(USERS), text.as_bytes(), 0o600)?;
        sync_folder(&folder)
    }

    /// From here on it is going to happen.
    pub(super) fn decide(&self, plan: &Plan, taken: Vec<(String, String)>) -> io::Result<List> {
        let files = plan.files.iter().map(|file| ListedFile {
            to: file.to.clone(),
            is_secret: file.is_secret,
        });
        let list = List {
            files: files.collect(),
            has_users: !plan.users.is_empty(),
            has_authority: plan.authority.is_some(),
            host_name: plan.host_name.clone(),
            taken,
            at: clock::wall_seconds(),
        };
        let new = self.folder.join(format!("{LIST}.new"));
        self.write(&new, &serde_json::to_vec(&list)?, 0o600)?;
        self.import.step()?;
        fs::rename(&new, self.folder.join(LIST))?;
        sync_folder(&self.folder)?;
        Ok(list)
    }

    /// Does what was decided; done again from the beginning it comes to the same.
    pub(super) fn carry_out(
        &self,
        list: &List,
        warnings: &mut Vec<String>,
    ) -> Result<(), BootFault> {
        let staged = self.folder.join(STAGED);
        if list.has_users || list.has_authority {
            self.change_database(list, &staged)?;
        }
        for (index, file) in list.files.iter().enumerate() {
            let to = self.import.etc.join(&file.to);
            self.install(&self.staged(index), &to, file.is_secret)
                .map_err(|error| BootFault::io(&to, error))?;
        }
        if let (Some(name), Some(file)) = (&list.host_name, &self.import.host_name_file) {
            let line = format!("{name}\n");
            self.replace(file, line.as_bytes(), 0o644, None)
                .map_err(|error| BootFault::io(file, error))?;
        }
        let mut record = self.record(warnings)?;
        record.add(list);
        let finish = || {
            self.replace(&Record::path(&self.folder), &record.render()?, 0o600, None)?;
            self.import.step()?;
            fs::remove_file(self.folder.join(LIST))?;
            sync_folder(&self.folder)?;
            self.clear()
        };
        finish().map_err(|error| BootFault::io(&self.folder, error))
    }

    fn change_database(&self, list: &List, staged: &Path) -> Result<(), BootFault> {
        let step = || {
            self.import
                .step()
                .map_err(|error| BootFault::io(staged, error))
        };
        let read = |name: &str| {
            let path = staged.join(name);
            let text = fs::read_to_string(&path).map(Zeroizing::new);
            text.map_err(|error| BootFault::io(&path, error))
        };
        step()?;
        let state_dir = &self.import.state_dir;
        let mut offline = Offline::open(state_dir)?;
        if list.has_users {
            step()?;
            let parsed = Format::Exported.parse(&read(USERS)?, list.at);
            put_users(&mut offline, parsed.users, false)?;
        }
        if list.has_authority {
            step()?;
            let (chain, key) = (read(CHAIN)?, read(CHAIN_KEY)?);
            let records = offline.take_certificates();
            let sealing = Sealing::of_machine(state_dir, None).for_another();
            let jobs = offline.jobs();
            let authority = CertificateAuthority::new(state_dir, sealing, records, jobs);
            if !authority.issues_by(chain.as_bytes()) {
                let clock = TrustedClock::open(state_dir, authority.newest_begin());
                let main = self.import.main();
                let main = Some(main.as_path()).filter(|main| main.exists());
                let settings = config::load(main).map(|loaded| loaded.settings);
                let asker = Asker {
                    name: ACTOR.into(),
                    peer: "start".into(),
                };
                let request = CaRequest::Import {
                    chain: chain.to_string(),
                    chain_file: "ca/chain.pem".into(),
                    key: SecretText(key),
                    key_file: "ca/key.pem".into(),
                    name: settings.unwrap_or_default().gateway.name.to_string(),
                };
                authority.apply(&request, clock.read(), &asker)?;
            }
        }
        offline.give_away();
        step()
    }

    /// Brings a file to its place. It belongs to root: the gateway reads it and never writes it.
    fn install(&self, from: &Path, to: &Path, is_secret: bool) -> io::Result<()> {
        let content = Zeroizing::new(fs::read(from)?);
        let (mode, group) = match is_secret {
            true => (0o640, self.import.group),
            false => (0o644, None),
        };
        self.replace(to, &content, mode, group)
    }

    fn replace(&self, to: &Path, content: &[u8], mode: u32, group: Option<Gid>) -> io::Result<()> {
        let folder = to.parent().unwrap_or(Path::new("/"));
        self.import.step()?;
        make_folders(folder)?;
        let new = beside(to);
        let file = self.write(&new, content, mode)?;
        if geteuid().is_root() {
            fchown(&file, Some(Uid::from_raw(0)), group)?;
        }
        self.import.step()?;
        fs::rename(&new, to)?;
        sync_folder(folder)
    }

    /// Writes a file that is nobody else's yet, and waits until it is on the disk.
    fn write(&self, path: &Path, content: &[u8], mode: u32) -> io::Result<File> {
        match fs::symlink_metadata(path) {
            Ok(found) if found.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            // An import that was cut has left it, and it may be a key.
            Ok(_) => reset::destroy_secrets(path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        self.import.step()?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(path)?;
        file.write_all(content)?;
        // Whatever the mask of this process is.
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()?;
        self.import.step()?;
        Ok(file)
    }
}

fn put_users(offline: &mut Offline, users: Vec<NewUser>, dry_run: bool) -> Result<(), BootFault> {
    let actor = Actor {
        name: ACTOR.into(),
        peer: "start".into(),
    };
    let request = UserRequest::Import {
        users,
        replace: true,
        dry_run,
    };
    Users::new(offline.take_users(), offline.jobs()).apply(&request, &actor)?;
    Ok(())
}

/// Where a file is written until it takes its place.
pub(super) fn beside(to: &Path) -> PathBuf {
    let mut name = to.as_os_str().to_owned();
    name.push(reset::IMPORT);
    PathBuf::from(name)
}

/// Folders that everybody may enter, whatever the mask of this process is.
fn make_folders(folder: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|one| !one.exists()).collect();
    for one in missing.into_iter().rev() {
        fs::create_dir(one)?;
        fs::set_permissions(one, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// What a folder lists is on the disk, too.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
