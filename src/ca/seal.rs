//! Keys sealed by `systemd-creds`: only this machine, with its TPM2 or its host key, opens them again.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use zeroize::Zeroizing;

use super::error::CaError;

/// Where the program is on every distribution that has it.
const PROGRAM: &str = "/usr/bin/systemd-creds";

/// What credentials are called in a unit: `LoadCredentialEncrypted=fieldgate-ca:/var/lib/fieldgate/ca/sealed`, to which
/// systemd appends the name of each file.
const CREDENTIAL: &str = "fieldgate-ca_";

/// How keys are sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealing {
    /// The program; none where nothing is to be sealed.
    program: Option<PathBuf>,
    /// Where systemd has put what it has opened for this service.
    credentials: Option<PathBuf>,
    /// New keys are sealed without being asked for: whoever makes them is also the one who opens them.
    is_own: bool,
}

impl Sealing {
    /// As the machine has it, for a state folder. `credentials` is `$CREDENTIALS_DIRECTORY`.
    ///
    /// Keys that root makes for a gateway that runs as another user are not sealed without being asked for: on most systems
    /// only root opens them again.
    #[must_use]
    pub fn of_machine(state_dir: &Path, credentials: Option<PathBuf>) -> Self {
        let own = nix::unistd::geteuid().as_raw();
        let owner = std::fs::metadata(state_dir).map_or(own, |folder| folder.uid());
        Self {
            program: Some(PathBuf::from(PROGRAM)),
            credentials,
            is_own: owner == own,
        }
    }

    /// New keys are kept as they are: it is another user than this one who opens them.
    #[must_use]
    pub fn for_another(self) -> Self {
        Self {
            is_own: false,
            ..self
        }
    }

    /// Nothing is sealed.
    #[must_use]
    pub fn none() -> Self {
        Self {
            program: None,
            credentials: None,
            is_own: false,
        }
    }

    #[cfg(test)]
    pub(super) fn by(program: PathBuf, credentials: Option<PathBuf>) -> Self {
        Self {
            program: Some(program),
            credentials,
            is_own: true,
        }
    }

    /// Seals a new key, where that is done without being asked for.
    pub(super) fn seal_new(&self, name: &str, key: &[u8]) -> Option<Vec<u8>> {
        self.is_own.then(|| self.seal(name, key)).flatten()
    }

    /// Seals a key under the name of its file, and opens it again to see that this works. `None` where that is not to be had:
    /// without the program, without a key of the host, without the right to use it.
    pub(super) fn seal(&self, name: &str, key: &[u8]) -> Option<Vec<u8>> {
        let program = self.program.as_deref().filter(|program| program.exists())?;
        let option = format!("--name={CREDENTIAL}{name}");
        let sealed = run(program, &["encrypt", &option, "-", "-"], key).ok()?;
        if !sealed.status.success() || sealed.stdout.is_empty() {
            return None;
        }
        let opened = run(program, &["decrypt", &option, "-", "-"], &sealed.stdout).ok()?;
        let content = Zeroizing::new(opened.stdout);
        (opened.status.success() && content.as_slice() == key).then_some(sealed.stdout)
    }

    /// Opens a sealed key: systemd has done it for the service, or it is done here.
    pub(super) fn open(&self, file: &Path) -> Result<Zeroizing<Vec<u8>>, CaError> {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        if let Some(folder) = &self.credentials
            && let Some(content) =
                super::files::read_if_there(&folder.join(format!("{CREDENTIAL}{name}")))?
        {
            return Ok(content);
        }
        let fault = |detail: String| CaError::Sealed {
            file: file.to_owned(),
            detail,
        };
        let Some(program) = self.program.as_deref().filter(|program| program.exists()) else {
            return Err(fault(
                "there is no systemd-creds on this machine".to_owned(),
            ));
        };
        let sealed = super::files::read(file)?;
        let option = format!("--name={CREDENTIAL}{name}");
        let opened = run(program, &["decrypt", &option, "-", "-"], &sealed)
            .map_err(|error| fault(error.to_string()))?;
        let content = Zeroizing::new(opened.stdout);
        if opened.status.success() {
            return Ok(content);
        }
        let said = String::from_utf8_lossy(&opened.stderr);
        let last = said.lines().last().unwrap_or("systemd-creds failed");
        Err(fault(last.trim().to_owned()))
    }
}

/// Runs the program with something on its standard input, which is shorter than what a pipe holds.
fn run(program: &Path, args: &[&str], input: &[u8]) -> std::io::Result<Output> {
    let mut child = Command::new(program)
        .args(args)
        // Programs of systemd tell it of their own failures, and would do so in the name of the gateway.
        .env_remove("NOTIFY_SOCKET")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read says in its exit code what it thinks.
        let _ = stdin.write_all(input);
    }
    child.wait_with_output()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::rig::systemd_creds as script;
    use super::*;

    #[test]
    fn what_cannot_be_opened_again_is_not_sealed() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Sealing::none().seal("root-1", b"key"), None);
        let absent = Sealing::by(folder.path().join("absent"), None);
        assert_eq!(absent.seal("root-1", b"key"), None);
        let refusing = Sealing::by(script(folder.path(), "echo no >&2; exit 1"), None);
        assert_eq!(refusing.seal("root-1", b"key"), None);
        let lossy = Sealing::by(script(folder.path(), "echo lost"), None);
        assert_eq!(lossy.seal("root-1", b"key"), None);
    }

    #[test]
    fn key_is_sealed_under_the_name_that_systemd_gives_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("issuing-2");
        let program = script(
            folder.path(),
            "[ \"$2\" = --name=fieldgate-ca_issuing-2 ] || exit 1; exec tr a-z b-za",
        );
        // Shifted twice it would not come back, so this one is not taken.
        assert_eq!(Sealing::by(program, None).seal("issuing-2", b"abc"), None);
        let program = script(
            folder.path(),
            "[ \"$2\" = --name=fieldgate-ca_issuing-2 ] || { echo 'no such name' >&2; exit 1; }\n\
             if [ \"$1\" = encrypt ]; then exec tr a-z b-za; else exec tr b-za a-z; fi",
        );
        let sealing = Sealing::by(program.clone(), None);
        let sealed = sealing.seal("issuing-2", b"abc").unwrap();
        assert_eq!(sealed, b"bcd");
        fs::write(&file, &sealed).unwrap();
        assert_eq!(sealing.open(&file).unwrap().as_slice(), b"abc");

        let other = folder.path().join("issuing-3");
        fs::write(&other, &sealed).unwrap();
        let fault = sealing.open(&other).unwrap_err();
        assert!(fault.to_string().contains("no such name"), "{fault}");
        assert!(fault.to_string().contains("issuing-3"), "{fault}");

        let credentials = folder.path().join("credentials");
        fs::create_dir(&credentials).unwrap();
        fs::write(credentials.join("fieldgate-ca_issuing-3"), "given").unwrap();
        let given = Sealing::by(program, Some(credentials));
        assert_eq!(given.open(&other).unwrap().as_slice(), b"given");
        assert_eq!(given.open(&file).unwrap().as_slice(), b"abc");
    }
}
