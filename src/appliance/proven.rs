//! Which slots have passed the health gate: marks on the data partition, which the gate of the start writes as well.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Command;

use super::Appliance;
use super::reset::write_durably;

/// Folder of the marks. Nothing of an owner is in them.
pub(super) const FOLDER: &str = "proven";

/// What is in it: a file for each slot, by its name for the boot loader.
pub(super) const SLOTS: [&str; 2] = ["A", "B"];

/// What is said of a slot whose image came with the device.
const DELIVERED: &str = "as delivered";

/// What RAUC keeps about the slots.
const STATUS: &str = "rauc/central.raucs";

/// What the health gate said last.
const SAID: &str = "update/gate";

impl Appliance {
    /// Whether what is installed in a slot, by the name that the boot loader has for it, has passed.
    #[must_use]
    pub fn is_proven(&self, bootname: &str) -> bool {
        let mark = fs::read_to_string(self.mark(bootname)).unwrap_or_default();
        mark == self.installed(bootname)
    }

    /// Writes down that it has.
    pub fn set_proven(&self, bootname: &str) -> io::Result<()> {
        let mark = self.mark(bootname);
        fs::create_dir_all(self.home().join(FOLDER))?;
        write_durably(&mark, &self.installed(bootname))
    }

    /// Whether the image in a slot came with the device, so that no update has to be judged.
    #[must_use]
    pub fn is_delivered(&self, bootname: &str) -> bool {
        self.installed(bootname).trim_end().ends_with(DELIVERED)
    }

    /// What the gate said last.
    #[must_use]
    pub fn gate_said(&self) -> Option<String> {
        fs::read_to_string(self.home().join(SAID)).ok()
    }

    /// Tries that the boot loader has left for a slot; none where it does not tell.
    #[must_use]
    pub fn tries_left(&self, bootname: &str) -> Option<u32> {
        if !self.boot_variables().exists() {
            return None;
        }
        let output = Command::new("fw_printenv")
            .args(["-n", &format!("BOOT_{bootname}_LEFT")])
            .output()
            .ok()
            .filter(|output| output.status.success())?;
        let text = String::from_utf8_lossy(&output.stdout);
        // U-Boot counts in hexadecimal.
        u32::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok()
    }

    fn mark(&self, bootname: &str) -> PathBuf {
        self.home().join(FOLDER).join(bootname)
    }

    /// The hash and the time of the installation, or that the image came with the device; as the program of the gate writes it.
    fn installed(&self, bootname: &str) -> String {
        let section = match bootname {
            "A" => "[slot.rootfs.0]",
            _ => "[slot.rootfs.1]",
        };
        let status = fs::read_to_string(self.data().join(STATUS)).unwrap_or_default();
        let mut is_inside = false;
        let mut found = Vec::new();
        for line in status.lines() {
            if line.starts_with('[') {
                is_inside = line == section;
            } else if is_inside
                && (line.starts_with("sha256=") || line.starts_with("installed.timestamp="))
            {
                found.push(line);
            }
        }
        let found = match found.is_empty() {
            true => DELIVERED.to_owned(),
            false => found.join("\n"),
        };
        format!("slot {bootname}: {found}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mark_is_of_what_is_installed() {
        let dir = tempfile::tempdir().unwrap();
        let appliance = Appliance::new(dir.path());
        assert!(!appliance.is_proven("A"));
        appliance.set_proven("A").unwrap();
        assert!(appliance.is_proven("A") && !appliance.is_proven("B"));
        let mark = fs::read_to_string(dir.path().join("data/fieldgate/proven/A")).unwrap();
        assert_eq!(mark, "slot A: as delivered\n");
        assert!(appliance.is_delivered("A"));

        let status = dir.path().join("data").join(STATUS);
        fs::create_dir_all(status.parent().unwrap()).unwrap();
        let text = "[slot.rootfs.0]\nstatus=ok\nsha256=ab\ninstalled.timestamp=2026\n\n[slot.rootfs.1]\nsha256=other\n";
        fs::write(&status, text).unwrap();
        assert!(!appliance.is_proven("A"), "another image is in the slot");
        assert!(!appliance.is_delivered("A"));
        appliance.set_proven("A").unwrap();
        let mark = fs::read_to_string(dir.path().join("data/fieldgate/proven/A")).unwrap();
        assert_eq!(mark, "slot A: sha256=ab\ninstalled.timestamp=2026\n");
    }
}
