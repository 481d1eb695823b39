//! Floor 3: the gateway as a whole machine, with its data partition, its two slots and its buttons.
//!
//! An appliance is where [`Appliance::FILE`] stands; everywhere else the gateway is a service among others.

mod conf;
mod gpio;
mod known;
mod proven;
pub mod rauc;
pub mod reset;

use std::fs;
use std::path::{Path, PathBuf};

pub use conf::{Conf, ConfFault, ResetLine};
pub use known::KnownFaults;

/// Where things are on an appliance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appliance {
    root: PathBuf,
}

impl Appliance {
    /// Where the partitions are and what the machine has.
    pub const FILE: &str = "usr/lib/fieldgate/appliance.conf";

    /// The appliance below `root`, which is `/` but in tests.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// Whether this is one.
    #[must_use]
    pub fn is_one(&self) -> bool {
        self.root.join(Self::FILE).exists()
    }

    /// What its file says.
    pub fn conf(&self) -> Result<Conf, ConfFault> {
        Conf::read(&self.root.join(Self::FILE))
    }

    /// The data partition.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    /// Everything of ours on it.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.data().join("fieldgate")
    }

    /// The folder of ours on the boot partition, which a person can write with any computer.
    #[must_use]
    pub fn boot(&self) -> PathBuf {
        self.root.join("boot/fieldgate")
    }

    /// The program that makes the boot partition writable, which it is not otherwise.
    #[must_use]
    pub fn boot_program(&self) -> PathBuf {
        self.root.join("usr/libexec/fieldgate/boot-partition")
    }

    /// The version of the image that runs, as the image itself has it.
    #[must_use]
    pub fn version(&self) -> Option<String> {
        let files = ["etc/os-release", "usr/lib/os-release"];
        let mut texts = files
            .iter()
            .filter_map(|file| fs::read_to_string(self.root.join(file)).ok());
        image_version(&texts.next()?)
    }

    /// What the boot loader told the kernel.
    #[must_use]
    pub fn command_line(&self) -> PathBuf {
        self.root.join("proc/cmdline")
    }

    /// How the variables of U-Boot are reached; absent where there are none.
    #[must_use]
    pub fn boot_variables(&self) -> PathBuf {
        self.root.join("etc/fw_env.config")
    }
}

/// `IMAGE_VERSION`, or else the version of a system that is ours: that of another one is not that of the image.
fn image_version(os_release: &str) -> Option<String> {
    let value = |name: &str| {
        let mut lines = os_release.lines().filter_map(|line| line.split_once('='));
        let (_, value) = lines.find(|(key, _)| *key == name)?;
        let value = value.trim().trim_matches(['"', '\'']);
        (!value.is_empty()).then(|| value.to_owned())
    };
    let is_ours = || value("ID").is_some_and(|id| id == "fieldgate-os");
    value("IMAGE_VERSION").or_else(|| value("VERSION_ID").filter(|_| is_ours()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_that_of_the_image() {
        let of = |text: &str| image_version(text);
        let yocto = "ID=fieldgate-os\nVERSION_ID=1.2.0\n";
        assert_eq!(of(yocto).as_deref(), Some("1.2.0"));
        let debian = "ID=debian\nVERSION_ID=\"12\"\nIMAGE_VERSION='1.3'\n";
        assert_eq!(of(debian).as_deref(), Some("1.3"));
        assert_eq!(of("ID=debian\nVERSION_ID=\"12\"\n"), None);
    }
}
