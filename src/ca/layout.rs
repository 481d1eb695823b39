//! What stands where below the folder of the authority, and the file that says what there is.
//!
//! ```text
//! ca/state.json         what there is; written last, so that everything else is there when it names it
//! ca/root-1.crt         a root, and the issuers below it, each with its chain
//! ca/issuing-2.crt
//! ca/root-1.key         their keys, or
//! ca/sealed/root-1      the same, sealed by systemd-creds
//! ca/trust.pem          what others trust: one file, and one file for each root; made from the rest
//! ca/trust/…
//! ca/issuers.pem        whose certificates this gateway takes from clients; made from the rest
//! ca/crl.pem            a revocation list for each issuer
//! ca/floor              the last time seen
//! ```

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::certificate::NameConstraints;
use super::error::CaError;
use super::files;
use super::key::KeyAlgorithm;

/// The folder of the authority in the state folder.
pub(super) const FOLDER: &str = "ca";

/// The folder in which a new authority is made.
pub(super) const FOLDER_NEW: &str = "ca.new";

/// The folder of sealed keys.
pub(super) const SEALED: &str = "sealed";

/// The folder of trusted roots.
pub(super) const TRUST: &str = "trust";

/// The file of trusted roots.
pub(super) const BUNDLE: &str = "trust.pem";

/// The file of issuers: whose certificates this gateway takes. Below the roots of a company there are others.
pub(super) const ISSUERS: &str = "issuers.pem";

/// The file of revocation lists.
pub(super) const CRL: &str = "crl.pem";

/// The file with the last time seen.
pub(super) const FLOOR: &str = "floor";

const STATE: &str = "state.json";

/// The format that this version writes.
const FORMAT: u32 = 1;

/// Whether a folder has an authority, usable or not.
pub(super) fn has_state(folder: &Path) -> bool {
    folder.join(STATE).exists()
}

/// Refuses a folder in which no authority can be made. Returns the files that are in the way and mean nothing without one: the
/// last time seen, and what was being written when the power failed.
pub(super) fn check_vacant(folder: &Path) -> Result<Vec<PathBuf>, CaError> {
    if has_state(folder) {
        return Err(CaError::Present {
            folder: folder.to_owned(),
        });
    }
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let names = files::names(folder)?;
    let means_nothing = |name: &String| name == FLOOR || name.starts_with(files::NEW);
    if !names.iter().all(means_nothing) {
        return Err(CaError::LeftOver {
            folder: folder.to_owned(),
        });
    }
    Ok(names.iter().map(|name| folder.join(name)).collect())
}

/// What a certificate of the authority is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// What others trust.
    Root,
    /// Issues for clients and servers.
    Issuing,
}

impl Role {
    /// The word for it, also in names of files.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Issuing => "issuing",
        }
    }
}

/// Where the key of a certificate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyPlace {
    /// In a file that only the gateway may read.
    File,
    /// Sealed by `systemd-creds`.
    Sealed,
    /// Not on this device.
    Absent,
}

impl KeyPlace {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Sealed => "sealed",
            Self::Absent => "absent",
        }
    }
}

/// What there is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    format: u32,
    /// Tells this authority from those of other gateways.
    pub(super) id: String,
    /// The name of the gateway when the authority was made.
    pub(super) name: String,
    pub(super) algorithm: KeyAlgorithm,
    #[serde(default)]
    pub(super) constraints: NameConstraints,
    /// The number of the next certificate of the authority.
    pub(super) next_number: u32,
    /// In the order in which they were made.
    pub(super) roots: Vec<RootEntry>,
    /// In the order in which they were made; the last one that has begun issues.
    pub(super) issuers: Vec<IssuerEntry>,
}

/// A root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RootEntry {
    pub(super) number: u32,
    pub(super) key: KeyPlace,
}

/// An issuer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IssuerEntry {
    pub(super) number: u32,
    /// The number of its root.
    pub(super) root: u32,
    /// From when on it issues, in seconds since 1970: its root is published before that.
    pub(super) since: u64,
    pub(super) key: KeyPlace,
    /// Made before the time was known.
    #[serde(default)]
    pub(super) provisional: bool,
    /// Brought from elsewhere.
    #[serde(default)]
    pub(super) imported: bool,
}

impl State {
    pub(super) fn new(
        id: String,
        name: String,
        algorithm: KeyAlgorithm,
        constraints: NameConstraints,
    ) -> Self {
        Self {
            format: FORMAT,
            id,
            name,
            algorithm,
            constraints,
            next_number: 1,
            roots: Vec::new(),
            issuers: Vec::new(),
        }
    }

    /// Reads what there is in a folder.
    pub(super) fn load(folder: &Path) -> Result<Self, CaError> {
        if !folder.exists() {
            return Err(CaError::Absent {
                folder: folder.to_owned(),
            });
        }
        let file = folder.join(STATE);
        let text = files::read(&file)?;
        let damaged = |detail: String| CaError::State {
            file: file.clone(),
            detail,
        };
        let state: Self =
            serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        if state.format != FORMAT {
            let detail = format!(
                "it has format {}, this version knows {FORMAT}",
                state.format
            );
            return Err(damaged(detail));
        }
        let has_root =
            |issuer: &IssuerEntry| state.roots.iter().any(|root| root.number == issuer.root);
        if state.issuers.is_empty() || !state.issuers.iter().all(has_root) {
            return Err(damaged("an issuer or its root is missing".to_owned()));
        }
        Ok(state)
    }

    /// The file that it is read from, with its content.
    pub(super) fn file(&self, folder: &Path) -> Result<(PathBuf, Vec<u8>), CaError> {
        let mut text = serde_json::to_vec_pretty(self).map_err(CaError::crypto)?;
        text.push(b'\n');
        Ok((folder.join(STATE), text))
    }

    /// Gives the next number.
    pub(super) fn take_number(&mut self) -> u32 {
        let number = self.next_number;
        self.next_number = number.saturating_add(1);
        number
    }

    /// Whether a file of the folder, by its name, is one of a certificate or key that there is no more.
    pub(super) fn is_left_over(&self, name: &str) -> bool {
        if let Some(name) = name.strip_prefix(files::NEW) {
            // These are written whenever there is a reason, without regard to what else changes.
            return name != CRL && name != FLOOR;
        }
        let (stem, ending) = name.rsplit_once('.').unwrap_or((name, ""));
        if !matches!(ending, "crt" | "key" | "") {
            return false;
        }
        let Some((role, number)) = stem.split_once('-') else {
            return false;
        };
        let Ok(number) = number.parse::<u32>() else {
            return false;
        };
        let place = match role {
            "root" => self
                .roots
                .iter()
                .find(|root| root.number == number)
                .map(|root| root.key),
            "issuing" => self
                .issuers
                .iter()
                .find(|issuer| issuer.number == number)
                .map(|issuer| issuer.key),
            _ => return false,
        };
        match (place, ending) {
            (None, _) => true,
            (Some(_), "crt") => false,
            (Some(place), "key") => place != KeyPlace::File,
            (Some(place), _) => place != KeyPlace::Sealed,
        }
    }
}

/// The file of a certificate.
pub(super) fn certificate_file(folder: &Path, role: Role, number: u32) -> PathBuf {
    folder.join(format!("{}-{number}.crt", role.word()))
}

/// The file of a key that is not sealed.
pub(super) fn key_file(folder: &Path, role: Role, number: u32) -> PathBuf {
    folder.join(format!("{}-{number}.key", role.word()))
}

/// The file of a sealed key.
pub(super) fn sealed_file(folder: &Path, role: Role, number: u32) -> PathBuf {
    folder
        .join(SEALED)
        .join(format!("{}-{number}", role.word()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn left_over_is_what_the_state_does_not_name() {
        let mut state = State::new(
            "id".into(),
            "x".into(),
            KeyAlgorithm::EcP256,
            NameConstraints::default(),
        );
        let root = RootEntry {
            number: 1,
            key: KeyPlace::Absent,
        };
        let issuer = IssuerEntry {
            number: 2,
            root: 1,
            since: 0,
            key: KeyPlace::Sealed,
            provisional: false,
            imported: false,
        };
        state.roots.push(root);
        state.issuers.push(issuer);
        for name in [
            "root-1.crt",
            "issuing-2.crt",
            "issuing-2",
            "trust.pem",
            "crl.pem",
            "floor",
            "notes.txt",
            "root-x.crt",
        ] {
            assert!(!state.is_left_over(name), "{name}");
        }
        for name in [
            "root-1.key",
            "root-1",
            "issuing-2.key",
            "issuing-3.crt",
            "root-2.crt",
            ".new-state.json",
        ] {
            assert!(state.is_left_over(name), "{name}");
        }
    }

    #[test]
    fn state_that_cannot_be_understood_names_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let load = || State::load(folder.path()).unwrap_err();
        let absent = State::load(&folder.path().join("ca")).unwrap_err();
        assert!(matches!(absent, CaError::Absent { .. }));
        assert!(matches!(load(), CaError::Io { .. }));
        let mut state = State::new(
            "id".into(),
            "x".into(),
            KeyAlgorithm::EcP256,
            NameConstraints::default(),
        );
        let (file, text) = state.file(folder.path()).unwrap();
        std::fs::write(&file, &text).unwrap();
        assert!(load().to_string().contains("an issuer"));
        state.format = 2;
        std::fs::write(&file, state.file(folder.path()).unwrap().1).unwrap();
        assert!(load().to_string().contains("format 2"));
        std::fs::write(&file, "{").unwrap();
        assert!(load().to_string().contains("state.json"));
    }
}
