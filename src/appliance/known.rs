//! What was wrong before an update. It is not held against the new image, which could not mend it either.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Appliance;
use super::reset::write_durably;

/// Bytes that are read.
const LEN_MAX: u64 = 1024 * 1024;

/// What the gateway did not do before an update.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KnownFaults {
    /// Ports that were not open, by their names.
    pub ports: Vec<String>,
    /// Whether the volume of the store was full.
    pub store_full: bool,
}

impl KnownFaults {
    /// What is written down; nothing where there is no file.
    pub fn read(path: &Path) -> io::Result<Self> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        serde_json::from_reader(file.take(LEN_MAX)).map_err(io::Error::other)
    }
}

impl Appliance {
    /// Where the faults of before the last update are written down, for the health gate of the next start.
    #[must_use]
    pub fn known_faults(&self) -> PathBuf {
        self.home().join("update/known")
    }

    /// Writes them down in the place of those of the update before.
    pub fn set_known_faults(&self, known: &KnownFaults) -> io::Result<()> {
        let path = self.known_faults();
        fs::create_dir_all(self.home().join("update"))?;
        write_durably(&path, &serde_json::to_string(known)?)
    }

    /// Forgets them: the update is over.
    pub fn drop_known_faults(&self) -> io::Result<()> {
        match fs::remove_file(self.known_faults()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_before_an_update_are_read_back_until_it_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let appliance = Appliance::new(dir.path());
        let path = appliance.known_faults();
        assert_eq!(KnownFaults::read(&path).unwrap(), KnownFaults::default());
        let known = KnownFaults {
            ports: vec!["192.168.1.5:8883".to_owned()],
            store_full: true,
        };
        appliance.set_known_faults(&known).unwrap();
        assert_eq!(KnownFaults::read(&path).unwrap(), known);
        appliance.drop_known_faults().unwrap();
        appliance.drop_known_faults().unwrap();
        assert_eq!(KnownFaults::read(&path).unwrap(), KnownFaults::default());
        fs::write(&path, "{").unwrap();
        assert!(KnownFaults::read(&path).is_err());
    }
}
