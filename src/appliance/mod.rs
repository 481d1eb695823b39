//! Floor 3: the gateway as a whole machine, with its data partition, its two slots and its buttons.
//!
//! An appliance is where [`Appliance::FILE`] stands; everywhere else the gateway is a service among others.

mod conf;
mod gpio;
mod known;
mod proven;
pub mod rauc;
pub mod reset;

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
