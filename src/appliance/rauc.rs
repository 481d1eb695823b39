//! RAUC, which puts bundles into slots, by its command line: versions 1.8 to 1.15 say the same there.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Bytes of what it says that are kept.
const SAID_MAX: u64 = 64 * 1024;

/// What `rauc status --detailed` says.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Slots {
    /// Which machines the bundles are for.
    pub compatible: String,
    /// The slot that runs, by the name that the boot loader has for it.
    pub booted: String,
    /// The slot that the next start takes, by its own name.
    pub boot_primary: Option<String>,
    slots: Vec<BTreeMap<String, Slot>>,
}

/// One slot.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Slot {
    /// What the boot loader calls it; absent where it does not start it.
    pub bootname: Option<String>,
    /// `booted`, `active` or `inactive`.
    pub state: String,
    /// `good` or `bad`, where the boot loader knows.
    pub boot_status: Option<String>,
    slot_status: SlotStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct SlotStatus {
    bundle: Bundle,
    installed: Installed,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Installed {
    timestamp: Option<String>,
}

/// What a bundle says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Bundle {
    /// Which machines it is for.
    pub compatible: Option<String>,
    /// Its version.
    pub version: Option<String>,
}

/// Why an update is not made.
#[derive(Debug, thiserror::Error)]
pub enum RaucFault {
    /// There is no RAUC.
    #[error("there is no `rauc` on this machine")]
    Missing,
    /// It could not be run.
    #[error("cannot run `rauc`")]
    Run(#[source] io::Error),
    /// The bundle is not there or cannot be read.
    #[error("cannot read the bundle `{}`", path.display())]
    Bundle {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Someone else has signed it.
    #[error("the bundle is signed by nobody that this machine trusts")]
    Stranger,
    /// The certificate of its signer is not valid now.
    #[error("the certificate that the bundle is signed with is not valid now")]
    OutOfTime,
    /// It is not what was signed.
    #[error("the bundle is not what was signed: it was changed or damaged")]
    Tampered,
    /// It is no bundle, or one whose blocks are not checked.
    #[error("this is no bundle that this machine takes")]
    Format,
    /// The bundle is larger than the slot, or there is no room for what RAUC needs.
    #[error("there is not enough room for the bundle")]
    Room,
    /// The service that RAUC installs by does not answer.
    #[error("the service of RAUC does not answer")]
    Service,
    /// Something else.
    #[error("RAUC: {0}")]
    Other(String),
    /// It says something that is not understood.
    #[error("RAUC says what this version does not understand")]
    Foreign(#[source] serde_json::Error),
}

impl RaucFault {
    /// What to do.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Missing => {
                "updates are for images of the appliance; elsewhere the package manager brings them"
            }
            Self::Run(_) | Self::Service => "`systemctl status rauc` says how it fares",
            Self::Bundle { .. } => "name a file that is there, as root",
            Self::Stranger => {
                "bundles are signed with the key whose certificate is in the keyring of the image: take one of the maker of this image"
            }
            Self::OutOfTime => "`date` shows the time of this machine; the bundle may be too old",
            Self::Tampered => "fetch it again and compare its checksum",
            Self::Format => "a bundle ends in .raucb and has the format verity",
            Self::Room => "take a bundle for the size of the slots of this machine",
            Self::Other(_) | Self::Foreign(_) => "`journalctl -u rauc` has the details",
        }
    }

    /// What RAUC said, in our words where there are any.
    fn of(said: &str) -> Self {
        let has = |texts: &[&str]| texts.iter().any(|text| said.contains(text));
        if has(&[
            "unable to get local issuer",
            "self-signed certificate",
            "self signed certificate",
            "unable to get issuer",
            "unsuitable certificate purpose",
        ]) {
            Self::Stranger
        } else if has(&["certificate has expired", "certificate is not yet valid"]) {
            Self::OutOfTime
        } else if has(&[
            "signature verification failed",
            "Failed to verify signature",
            "payload is corrupted",
            "digest failure",
            "dm-verity",
        ]) {
            Self::Tampered
        } else if has(&[
            "Invalid bundle format",
            "Bundle format",
            "not supported (bundle",
        ]) {
            Self::Format
        } else if has(&[
            "No space left",
            "is larger than",
            "too large",
            "does not fit",
        ]) {
            Self::Room
        } else if has(&["D-Bus", "Could not connect", "creating proxy"]) {
            Self::Service
        } else {
            Self::Other(last_line(said))
        }
    }
}

impl Slots {
    /// Asks RAUC.
    pub fn read() -> Result<Self, RaucFault> {
        json(&["status", "--detailed", "--output-format=json"])
    }

    /// Every slot that can be started, by its name.
    pub fn startable(&self) -> impl Iterator<Item = (&str, &Slot)> {
        let slots = self.slots.iter().flatten();
        slots
            .filter(|(_, slot)| slot.bootname.is_some())
            .map(|(name, slot)| (&**name, slot))
    }

    /// The slot that runs.
    #[must_use]
    pub fn running(&self) -> Option<&Slot> {
        let mut slots = self.startable();
        slots
            .find(|(_, slot)| slot.state == "booted")
            .map(|(_, slot)| slot)
    }

    /// The slot that waits for a restart, if that is another one than the one that runs.
    #[must_use]
    pub fn waiting(&self) -> Option<&Slot> {
        let primary = self.boot_primary.as_deref()?;
        let mut slots = self.startable();
        let (_, slot) = slots.find(|(name, _)| *name == primary)?;
        (slot.state != "booted").then_some(slot)
    }
}

impl Slot {
    /// The version of what is installed; none where the image came with the device.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.slot_status.bundle.version.as_deref()
    }

    /// When it was installed, as RAUC has it.
    #[must_use]
    pub fn installed_at(&self) -> Option<&str> {
        self.slot_status.installed.timestamp.as_deref()
    }
}

impl Bundle {
    /// Checks the signature of a bundle and reads what it is. Its payload is checked while it is installed.
    pub fn read(path: &Path) -> Result<Self, RaucFault> {
        let fault = |source| RaucFault::Bundle {
            path: path.to_owned(),
            source,
        };
        let file = fs::metadata(path).map_err(fault)?;
        if !file.is_file() {
            return Err(fault(io::ErrorKind::InvalidInput.into()));
        }
        let path = path
            .to_str()
            .ok_or_else(|| fault(io::ErrorKind::InvalidFilename.into()))?;
        json(&["info", "--output-format=json", path])
    }
}

/// Installs a bundle into the slot that does not run. `progress` is told each line.
pub fn install(path: &Path, progress: impl FnMut(&str)) -> Result<(), RaucFault> {
    let mut child = rauc()
        .arg("install")
        .arg(path)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(cannot_run)?;
    // Read at the same time, or one that is full would keep it from writing to the other.
    let errors = child.stderr.take().map(|stderr| {
        thread::spawn(move || {
            let mut text = Vec::new();
            // What is beyond is read and dropped, so that it can go on.
            let mut stderr = stderr;
            let _ = (&mut stderr).take(SAID_MAX).read_to_end(&mut text);
            let _ = io::copy(&mut stderr, &mut io::sink());
            String::from_utf8_lossy(&text).into_owned()
        })
    });
    let said = child.stdout.take().map(|stdout| follow(stdout, progress));
    let status = child.wait().map_err(RaucFault::Run)?;
    if status.success() {
        return Ok(());
    }
    let last = said.flatten();
    let errors = errors.and_then(|errors| errors.join().ok());
    Err(RaucFault::of(
        &last.or(errors).unwrap_or_else(|| status.to_string()),
    ))
}

/// Says that the slot that runs is good.
pub fn mark_good() -> Result<(), RaucFault> {
    run(&["status", "mark-good"]).map(drop)
}

/// Which version comes first; `None` where one is no row of numbers.
#[must_use]
pub fn compare_versions(a: &str, b: &str) -> Option<Ordering> {
    let numbers = |text: &str| -> Option<Vec<u64>> {
        let text = text.trim().trim_start_matches('v');
        // A build is not an order: 1.2.3+g1234567.
        let text = text.split(['+', '-', '~']).next()?;
        let mut numbers: Vec<u64> = text
            .split('.')
            .map(|part| part.parse().ok())
            .collect::<Option<_>>()?;
        while numbers.last() == Some(&0) {
            numbers.pop();
        }
        Some(numbers)
    };
    Some(numbers(a)?.cmp(&numbers(b)?))
}

/// Passes lines on and keeps what went wrong. Read to the end whatever it says: nobody to read would end it.
fn follow(stdout: impl Read, mut progress: impl FnMut(&str)) -> Option<String> {
    let mut stdout = BufReader::new(stdout);
    let mut last_error = None;
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut stdout).take(SAID_MAX).read_until(b'\n', &mut line);
        if !read.is_ok_and(|count| count > 0) {
            return last_error;
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches(['\n', '\r']);
        match text.strip_prefix("LastError: ") {
            Some(error) => last_error = Some(error.to_owned()),
            None => progress(text),
        }
    }
}

fn json<T: DeserializeOwned>(arguments: &[&str]) -> Result<T, RaucFault> {
    let output = run(arguments)?;
    serde_json::from_slice(&output.stdout).map_err(RaucFault::Foreign)
}

fn run(arguments: &[&str]) -> Result<Output, RaucFault> {
    let output = rauc().args(arguments).output().map_err(cannot_run)?;
    if output.status.success() {
        return Ok(output);
    }
    Err(RaucFault::of(&String::from_utf8_lossy(&output.stderr)))
}

fn rauc() -> Command {
    let mut command = Command::new("rauc");
    // What it says is looked at.
    command.env("LC_ALL", "C").stdin(Stdio::null());
    command
}

fn cannot_run(error: io::Error) -> RaucFault {
    match error.kind() {
        io::ErrorKind::NotFound => RaucFault::Missing,
        _ => RaucFault::Run(error),
    }
}

/// The last line that says something.
fn last_line(said: &str) -> String {
    let mut lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.next_back().unwrap_or("it failed").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What version 1.8 says on a machine whose first slot is as delivered.
    const STATUS: &str = r#"{"compatible":"fieldgate-qemuarm64","variant":"","booted":"A","boot_primary":"rootfs.1","slots":[
        {"rootfs.1":{"class":"rootfs","device":"/dev/vda3","type":"ext4","bootname":"B","state":"inactive","parent":null,"mountpoint":null,"boot_status":"good","slot_status":{"bundle":{"compatible":"fieldgate-qemuarm64","version":"1.2","description":null,"build":null},"checksum":{"sha256":"ab","size":1},"installed":{"timestamp":"2026-01-01T00:00:00Z","count":1},"activated":{"timestamp":"2026-01-01T00:00:00Z","count":1},"status":"ok"}}},
        {"rootfs.0":{"class":"rootfs","device":"/dev/vda2","type":"ext4","bootname":"A","state":"booted","parent":null,"mountpoint":"/","boot_status":"good","slot_status":{"bundle":{"compatible":null}}}},
        {"spare.0":{"class":"spare","device":"/dev/vda9","type":"raw","bootname":null,"state":"inactive","parent":null,"mountpoint":null}}]}"#;

    #[test]
    fn slots_are_understood() {
        let slots: Slots = serde_json::from_str(STATUS).unwrap();
        assert_eq!(slots.startable().count(), 2);
        let running = slots.running().unwrap();
        assert_eq!(
            (running.bootname.as_deref(), running.version()),
            (Some("A"), None)
        );
        let waiting = slots.waiting().unwrap();
        assert_eq!(waiting.version(), Some("1.2"));
        assert_eq!(waiting.installed_at(), Some("2026-01-01T00:00:00Z"));
    }

    #[test]
    fn what_it_said_is_put_into_words() {
        let of = |said: &str| RaucFault::of(said);
        assert!(matches!(
            of(
                "signature verification failed: Verify error: unable to get local issuer certificate"
            ),
            RaucFault::Stranger
        ));
        assert!(matches!(
            of("signature verification failed: error:0200008A:rsa routines::invalid padding"),
            RaucFault::Tampered
        ));
        assert!(matches!(
            of("signature verification failed: Verify error: certificate has expired"),
            RaucFault::OutOfTime
        ));
        assert!(matches!(
            of(
                "Invalid bundle format: Failed to seek to end of bundle: Error seeking in file: Invalid argument"
            ),
            RaucFault::Format
        ));
        assert!(matches!(
            of(
                "Error retrieving slot status via D-Bus: error creating proxy: Could not connect: No such file or directory"
            ),
            RaucFault::Service
        ));
        assert!(
            matches!(of("rauc-Message: x\nsomething else\n\n"), RaucFault::Other(said) if said == "something else")
        );
    }

    #[test]
    fn line_that_is_not_utf8_does_not_cut_off_what_follows() {
        let said = b"one\n\xff two\r\nLastError: no\xfe room\nthree";
        let mut lines = Vec::new();
        let error = follow(&said[..], |line| lines.push(line.to_owned()));
        assert_eq!(lines, ["one", "\u{fffd} two", "three"]);
        assert_eq!(error.as_deref(), Some("no\u{fffd} room"));
    }

    #[test]
    fn versions_are_compared_by_their_numbers() {
        for (a, b, order) in [
            ("1.10", "1.9", Some(Ordering::Greater)),
            ("v1.2.0", "1.2", Some(Ordering::Equal)),
            ("1.2.3+g1", "1.2.3-2", Some(Ordering::Equal)),
            ("0.9", "1.0", Some(Ordering::Less)),
            ("nightly", "1.0", None),
        ] {
            assert_eq!(compare_versions(a, b), order, "{a} {b}");
        }
    }
}
