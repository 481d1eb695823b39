//! What lies on the boot partition. People put it there with whatever editor they have, so what editors do to files is undone
//! here; nothing of it is believed otherwise.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use zeroize::Zeroizing;

use super::Problem;
use super::notes::{ERRORS, IMPORTED};
use crate::appliance::reset;

/// Files that are read, and the bytes of one and of all.
const FILES_MAX: usize = 64;
const FILE_BYTES_MAX: usize = 8 << 20;
const ALL_BYTES_MAX: usize = 32 << 20;

/// Entries that are looked at, in all folders together.
const ENTRIES_MAX: usize = 1_000;

/// Folders in folders.
const DEPTH_MAX: usize = 3;

/// Longest name.
const NAME_BYTES_MAX: usize = 100;

/// Bytes that are overwritten at once.
const ERASE_BYTES: usize = 4_096;

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `gateway.toml`
    Configuration,
    /// `users`, in any form that is known.
    Users,
    /// `ca/chain.pem`, an intermediate with its issuers.
    Chain,
    /// `ca/key.pem`, its key.
    ChainKey,
    /// `hostname`
    HostName,
    /// Something that the configuration refers to.
    Other,
}

/// A file of the card.
pub(super) struct CardFile {
    /// Path below the folder, with `/`.
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) content: Zeroizing<Vec<u8>>,
    is_secret: bool,
    path: PathBuf,
}

impl CardFile {
    /// Whether it must not stay on a card that everybody can read.
    pub(super) fn is_secret(&self) -> bool {
        self.is_secret
    }

    /// The file as text of this system, or why it is none.
    pub(super) fn text(&self) -> Result<Zeroizing<String>, Problem> {
        decode(&self.content).map_err(|text| Problem::of(&self.name, text).hint(SAVE_AS_UTF8))
    }

    /// Overwrites it and takes it away.
    pub(super) fn erase(&self) -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(&self.path)?;
        let mut left = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        file.seek(SeekFrom::Start(0))?;
        let zeros = [0; ERASE_BYTES];
        while left > 0 {
            let part = zeros.get(..left.min(ERASE_BYTES)).unwrap_or(&zeros);
            file.write_all(part)?;
            left -= part.len();
        }
        file.sync_all()?;
        fs::remove_file(&self.path)?;
        super::install::sync_folder(self.path.parent().unwrap_or(Path::new("/")))
    }
}

const SAVE_AS_UTF8: &str = "save it as UTF-8, in Notepad by \"Save as\" and \"Encoding\"";

/// Reads everything that is there; `None` where there is no such folder.
pub(super) fn read(folder: &Path) -> io::Result<Option<(Vec<CardFile>, Vec<Problem>)>> {
    match fs::symlink_metadata(folder) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    let mut card = Card::default();
    card.list(folder, "", 0)?;
    card.files.sort_by(|a, b| a.name.cmp(&b.name));
    card.check_doubles();
    Ok(Some((card.files, card.problems)))
}

#[derive(Default)]
struct Card {
    files: Vec<CardFile>,
    problems: Vec<Problem>,
    bytes: usize,
    entries: usize,
}

impl Card {
    fn list(&mut self, folder: &Path, below: &str, depth: usize) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            self.entries += 1;
            if self.entries > ENTRIES_MAX {
                // What stands here is left in the middle of several folders; one of them says so.
                if self.entries == ENTRIES_MAX + 1 {
                    let text = format!("there are more than {ENTRIES_MAX} files and folders");
                    let problem = Problem::of(super::FOLDER, text);
                    self.problems
                        .push(problem.hint("take away what is not for the gateway"));
                }
                return Ok(());
            }
            let kind = entry.file_type()?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                let shown = format!("{below}{}", name.to_string_lossy());
                self.problems
                    .push(Problem::of(&shown, "the name is not UTF-8"));
                continue;
            };
            if is_noise(name) || below.is_empty() && is_ours(name) {
                continue;
            }
            let whole = format!("{below}{name}");
            if let Some(text) = name_fault(&whole) {
                self.problems.push(Problem::of(&whole, text).hint(
                    "call it by letters, digits, `.`, `-` and `_`, or take it away from here",
                ));
            } else if kind.is_dir() {
                if depth + 1 == DEPTH_MAX {
                    let text = "there are too many folders in folders";
                    self.problems.push(Problem::of(&whole, text));
                } else {
                    self.list(&entry.path(), &format!("{whole}/"), depth + 1)?;
                }
            } else if kind.is_file() {
                self.add(whole, entry.path())?;
            } else {
                let text = "this is no file";
                self.problems.push(Problem::of(&whole, text));
            }
        }
        Ok(())
    }

    fn add(&mut self, name: String, path: PathBuf) -> io::Result<()> {
        if self.files.len() == FILES_MAX {
            let text = format!("there are more than {FILES_MAX} files");
            let problem = Problem::of(super::FOLDER, text);
            if !self.problems.contains(&problem) {
                self.problems.push(problem);
            }
            return Ok(());
        }
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits())
            .open(&path)?;
        if !file.metadata()?.is_file() {
            self.problems.push(Problem::of(&name, "this is no file"));
            return Ok(());
        }
        let mut content = Zeroizing::new(Vec::new());
        let bytes_max = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX);
        file.take(bytes_max + 1).read_to_end(&mut content)?;
        self.bytes = self.bytes.saturating_add(content.len());
        if content.len() > FILE_BYTES_MAX || self.bytes > ALL_BYTES_MAX {
            let text = format!(
                "a file may have {} MiB, and all together {} MiB",
                FILE_BYTES_MAX >> 20,
                ALL_BYTES_MAX >> 20
            );
            self.problems.push(Problem::of(&name, text));
            return Ok(());
        }
        let kind = kind_of(&name);
        self.files.push(CardFile {
            is_secret: is_secret(&name, kind, &content),
            name,
            kind,
            content,
            path,
        });
        Ok(())
    }

    /// Two files for one purpose: nobody knows which of them is meant.
    fn check_doubles(&mut self) {
        let mut seen: Vec<&CardFile> = Vec::new();
        for file in &self.files {
            let other = seen.iter().find(|other| {
                other.kind == file.kind && file.kind != Kind::Other
                    || other.name.eq_ignore_ascii_case(&file.name)
            });
            if let Some(other) = other {
                let text = format!("`{}` is for the same", other.name);
                let problem = Problem::of(&file.name, text).hint("take one of them away");
                self.problems.push(problem);
            }
            seen.push(file);
        }
    }
}

fn kind_of(name: &str) -> Kind {
    let lower = name.to_ascii_lowercase();
    // Windows shows no ends of names that it knows, so people get a second one.
    match lower.strip_suffix(".txt").unwrap_or(&lower) {
        "gateway.toml" => Kind::Configuration,
        "users" | "users.json" | "users.toml" | "users.csv" => Kind::Users,
        "ca/chain.pem" => Kind::Chain,
        "ca/key.pem" => Kind::ChainKey,
        "hostname" => Kind::HostName,
        _ => Kind::Other,
    }
}

/// Whether it must not stay on the card: by its purpose, its name, or because a private key is in it.
fn is_secret(name: &str, kind: Kind, content: &[u8]) -> bool {
    let ends = [".key", ".p12", ".pfx"];
    let lower = name.to_ascii_lowercase();
    match kind {
        Kind::Users | Kind::ChainKey => true,
        Kind::Other if ends.iter().any(|end| lower.ends_with(end)) => true,
        // What lies in memory can be read.
        Kind::Other | Kind::Configuration | Kind::Chain => {
            reset::holds_key(content).unwrap_or(true)
        }
        Kind::HostName => false,
    }
}

/// What systems and editors leave behind.
fn is_noise(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let names = [
        "system volume information",
        "$recycle.bin",
        "thumbs.db",
        "desktop.ini",
    ];
    name.starts_with(['.', '~']) || lower.ends_with('~') || names.contains(&lower.as_str())
}

/// What is for others than the import.
fn is_ours(name: &str) -> bool {
    let ours = [ERRORS, IMPORTED, reset::BEFORE_RESET];
    ours.iter().any(|own| name.eq_ignore_ascii_case(own)) || reset::is_asked_by(name.as_ref())
}

fn name_fault(name: &str) -> Option<&'static str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/');
    if name.len() > NAME_BYTES_MAX || !name.chars().all(is_plain) {
        return Some("a file of this name cannot be taken");
    }
    let first = name.split('/').next().unwrap_or_default();
    if first.eq_ignore_ascii_case("conf.d") {
        return Some("files of `conf.d` are not taken from here; write it all into gateway.toml");
    }
    if first.to_ascii_lowercase().starts_with("factory-reset") {
        return Some("a reset is asked for by a file `factory-reset` or `factory-reset.txt`");
    }
    None
}

/// Text as it is written here: UTF-8, lines that end with one character.
pub(super) fn decode(bytes: &[u8]) -> Result<Zeroizing<String>, &'static str> {
    let wide = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let units: Zeroizing<Vec<u16>> = Zeroizing::new(
            bytes
                .chunks_exact(2)
                .filter_map(|pair| pair.try_into().ok().map(unit))
                .collect(),
        );
        String::from_utf16(&units)
            .map_err(|_| "the file is damaged: it begins as UTF-16 and is not")
    };
    let text = match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => plain(rest)?,
        [0xff, 0xfe, rest @ ..] => Zeroizing::new(wide(rest, u16::from_le_bytes)?),
        [0xfe, 0xff, rest @ ..] => Zeroizing::new(wide(rest, u16::from_be_bytes)?),
        bytes => plain(bytes)?,
    };
    if text.contains('\0') {
        return Err("this is no text, or text in an encoding that is not known");
    }
    // Never grows, so that no copy of a password is left anywhere.
    let mut lines = Zeroizing::new(String::with_capacity(text.len()));
    let mut before = None;
    for c in text.chars() {
        match c {
            '\n' if before == Some('\r') => {}
            '\r' => lines.push('\n'),
            c => lines.push(c),
        }
        before = Some(c);
    }
    Ok(lines)
}

fn plain(bytes: &[u8]) -> Result<Zeroizing<String>, &'static str> {
    let text = std::str::from_utf8(bytes).map_err(|_| "the text is not UTF-8")?;
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_editors_do_to_text_is_undone() {
        let expected = "name = \"Gerät\"\nx\n";
        let windows = "name = \"Gerät\"\r\nx\r\n";
        let le: Vec<u8> = windows.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let be: Vec<u8> = windows.encode_utf16().flat_map(u16::to_be_bytes).collect();
        for bytes in [
            expected.as_bytes().to_vec(),
            windows.as_bytes().to_vec(),
            [&b"\xef\xbb\xbf"[..], windows.as_bytes()].concat(),
            [&b"\xff\xfe"[..], &le].concat(),
            [&b"\xfe\xff"[..], &be].concat(),
        ] {
            assert_eq!(*decode(&bytes).unwrap(), expected);
        }
        for bytes in [&b"Ger\xe4t"[..], b"a\0b\0", b"\xff\xfe\x00\xd8"] {
            assert!(decode(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn files_are_known_by_their_names_as_windows_writes_them() {
        for (name, kind) in [
            ("gateway.toml", Kind::Configuration),
            ("Gateway.toml.txt", Kind::Configuration),
            ("USERS.TXT", Kind::Users),
            ("users.json", Kind::Users),
            ("ca/chain.pem", Kind::Chain),
            ("ca/key.pem", Kind::ChainKey),
            ("hostname", Kind::HostName),
            ("ca/clients.pem", Kind::Other),
        ] {
            assert_eq!(kind_of(name), kind, "{name}");
        }
    }

    #[test]
    fn strange_things_are_named_and_noise_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        };
        for name in [
            "gateway.toml",
            "gateway.toml.txt",
            "bad name.pem",
            "conf.d/10.toml",
            "a/b/c/d.pem",
            "System Volume Information/x",
            ".fseventsd/x",
            "errors.txt",
            "factory-reset.txt",
            "before-reset/users",
            "factory-reset-please",
        ] {
            put(name);
        }
        std::os::unix::fs::symlink("/etc/shadow", folder.path().join("users")).unwrap();
        let (files, problems) = read(folder.path()).unwrap().unwrap();
        let mut about: Vec<&str> = problems
            .iter()
            .map(|problem| problem.file.as_str())
            .collect();
        about.sort_unstable();
        assert_eq!(
            about,
            [
                "a/b/c",
                "bad name.pem",
                "conf.d",
                "factory-reset-please",
                "gateway.toml.txt",
                "users"
            ]
        );
        assert_eq!(files.len(), 2);
        assert!(read(&folder.path().join("none")).unwrap().is_none());
    }

    #[test]
    fn private_key_is_a_secret_in_every_encoding_and_place() {
        let pem = "-----BEGIN PRIVATE KEY-----\nMC4\n-----END PRIVATE KEY-----\n";
        let le: Vec<u8> = pem.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let be: Vec<u8> = pem.encode_utf16().flat_map(u16::to_be_bytes).collect();
        let names = ["tls/server.pem", "ca/chain.pem", "gateway.toml"];
        for name in names {
            for bytes in [
                pem.as_bytes(),
                &le,
                &[b"\xff\xfe", le.as_slice()].concat(),
                &[b"\xfe\xff", be.as_slice()].concat(),
            ] {
                assert!(is_secret(name, kind_of(name), bytes), "{name} {bytes:?}");
            }
            let public = b"-----BEGIN PUBLIC KEY-----";
            assert!(!is_secret(name, kind_of(name), public), "{name}");
        }
        for name in ["users", "ca/key.pem", "a.P12"] {
            assert!(is_secret(name, kind_of(name), b""), "{name}");
        }
    }

    #[test]
    fn full_card_is_one_problem() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            let inner = folder.path().join(name);
            fs::create_dir(&inner).unwrap();
            for count in 0..ENTRIES_MAX / 2 {
                fs::write(inner.join(format!(".{count}")), "").unwrap();
            }
        }
        let (files, problems) = read(folder.path()).unwrap().unwrap();
        let texts: Vec<_> = problems.iter().map(|problem| &problem.text).collect();
        assert_eq!(texts, ["there are more than 1000 files and folders"]);
        assert!(files.is_empty());
        let folder = tempfile::tempdir().unwrap();
        for count in 0..=FILES_MAX + 2 {
            fs::write(folder.path().join(format!("{count}.pem")), "x").unwrap();
        }
        let (files, problems) = read(folder.path()).unwrap().unwrap();
        assert_eq!((files.len(), problems.len()), (FILES_MAX, 1));
    }

    #[test]
    fn erased_file_is_overwritten_before_it_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users");
        fs::write(&path, "pump:secret").unwrap();
        fs::hard_link(&path, folder.path().join("other")).unwrap();
        let (files, _) = read(folder.path()).unwrap().unwrap();
        let file = files.iter().find(|file| file.kind == Kind::Users).unwrap();
        file.erase().unwrap();
        assert!(!path.exists());
        assert_eq!(fs::read(folder.path().join("other")).unwrap(), [0; 11]);
    }
}
