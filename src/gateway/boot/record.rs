//! Which files were taken before: each is taken once, so that a card that stays in its slot does not undo what was changed since.

use std::fs;
use std::io;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use ring::digest::{Context, SHA256};
use ring::pbkdf2;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use super::BootFault;
use super::card::CardFile;
use super::install::List;

const FILE: &str = "taken.json";

/// What a record that cannot be understood is called from then on.
const DAMAGED: &str = "taken.json.damaged";

/// Files that are remembered; the oldest are forgotten.
const FILES_MAX: usize = 500;

/// Largest record.
const BYTES_MAX: u64 = 1 << 20;

/// Rounds for what holds passwords: whoever finds the record must not find them by it.
const ROUNDS: NonZeroU32 = NonZeroU32::new(200_000).expect("more than none");

const SALT_BYTES: usize = 16;

/// What was taken.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Record {
    salt: String,
    files: Vec<Taken>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Taken {
    name: String,
    digest: String,
    at: u64,
}

impl Record {
    pub(super) fn path(folder: &Path) -> PathBuf {
        folder.join(FILE)
    }

    /// The record, or a new one. One that cannot be understood is set aside, and what is said of it comes second: it would keep
    /// the gateway from taking anything for good.
    pub(super) fn load(folder: &Path) -> Result<(Self, Option<String>), BootFault> {
        let path = Self::path(folder);
        let fault = |error| BootFault::io(&path, error);
        let text = match read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok((Self::new()?, None));
            }
            read => read.map_err(fault)?,
        };
        let damage = match text.as_deref().map(serde_json::from_slice) {
            Some(Ok(record)) => return Ok((record, None)),
            Some(Err(error)) => error.to_string(),
            None => "it is too long".to_owned(),
        };
        let aside = folder.join(DAMAGED);
        fs::rename(&path, &aside).map_err(fault)?;
        let said = format!(
            "the record of what was taken before, `{}`, cannot be read ({damage}): it is now `{}`, and all files on the boot \
             partition count as new",
            path.display(),
            aside.display()
        );
        Ok((Self::new()?, Some(said)))
    }

    fn new() -> Result<Self, BootFault> {
        let mut salt = [0; SALT_BYTES];
        let filled = SystemRandom::new().fill(&mut salt);
        filled
            .map_err(|_| BootFault::io(Path::new(FILE), io::Error::other("no random numbers")))?;
        Ok(Self {
            salt: HEXLOWER.encode(&salt),
            files: Vec::new(),
        })
    }

    /// By what a file is known: its name and its content.
    pub(super) fn digest(&self, file: &CardFile) -> String {
        let mut context = Context::new(&SHA256);
        for part in [
            self.salt.as_bytes(),
            file.name.to_ascii_lowercase().as_bytes(),
        ] {
            context.update(part);
            context.update(&[0]);
        }
        if !file.is_secret() {
            context.update(&file.content);
            return HEXLOWER.encode(context.finish().as_ref());
        }
        let salt = context.finish();
        let mut digest = [0; 32];
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            ROUNDS,
            salt.as_ref(),
            &file.content,
            &mut digest,
        );
        HEXLOWER.encode(&digest)
    }

    pub(super) fn knows(&self, digest: &str) -> bool {
        self.files.iter().any(|taken| taken.digest == digest)
    }

    pub(super) fn add(&mut self, list: &List) {
        for (name, digest) in &list.taken {
            if !self.knows(digest) {
                self.files.push(Taken {
                    name: name.clone(),
                    digest: digest.clone(),
                    at: list.at,
                });
            }
        }
        let forgotten = self.files.len().saturating_sub(FILES_MAX);
        self.files.drain(..forgotten);
    }

    pub(super) fn render(&self) -> io::Result<Vec<u8>> {
        Ok(serde_json::to_vec(self)?)
    }
}

/// What the file holds; `None` where that is more than a record can be.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    if fs::metadata(path)?.len() > BYTES_MAX {
        return Ok(None);
    }
    fs::read(path).map(Some)
}
