//! Certificates and revocation lists in files and folders, as they were when they could last be read.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::{PemObject, SectionKind};

/// Files of one folder that are read.
const FOLDER_FILES_MAX: usize = 1000;

/// What a file holds, each thing in DER.
pub(super) type Contents = Vec<Box<[u8]>>;

/// What is looked for in files.
#[derive(Debug)]
pub(super) struct Kind {
    /// In the plural, for messages.
    pub(super) name: &'static str,
    /// What PEM has it under.
    pub(super) section: SectionKind,
    /// How names of files in a folder end.
    pub(super) endings: &'static [&'static str],
    /// Bytes of a file.
    pub(super) file_len_max: u64,
    /// Whether bytes are one of them in DER.
    pub(super) is_one: fn(&[u8]) -> bool,
    /// Whether one that was found can be used, so that the file takes the place of what it held before. The fault continues
    /// the name of the file.
    pub(super) check: fn(&[u8]) -> Result<(), &'static str>,
}

/// A file or folder, with what it held when it could last be read.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    kind: &'static Kind,
    /// Whether nothing is missing when it is not there.
    is_optional: bool,
    is_folder: bool,
    files: BTreeMap<PathBuf, Kept>,
    /// What is wrong with the place itself.
    fault: Option<String>,
}

/// One file.
#[derive(Debug, Default)]
struct Kept {
    seen: Option<Fingerprint>,
    contents: Contents,
    fault: Option<String>,
}

/// What tells one content of a file from another without reading it.
#[derive(Debug, PartialEq, Eq)]
struct Fingerprint([i64; 5]);

impl Fingerprint {
    fn new(metadata: &Metadata) -> Self {
        Self([
            metadata.dev() as i64,
            metadata.ino() as i64,
            metadata.size() as i64,
            metadata.ctime(),
            metadata.ctime_nsec(),
        ])
    }
}

impl Place {
    /// A place that has not been looked at.
    pub(super) fn new(path: PathBuf, kind: &'static Kind) -> Self {
        Self {
            path,
            kind,
            is_optional: false,
            is_folder: false,
            files: BTreeMap::new(),
            fault: None,
        }
    }

    /// One that need not be there.
    pub(super) fn optional(path: PathBuf, kind: &'static Kind) -> Self {
        Self {
            is_optional: true,
            ..Self::new(path, kind)
        }
    }

    /// Looks whether something has changed, and reads it then. What cannot be read, or is nothing of the kind, leaves what
    /// was read before in force.
    pub(super) fn look(&mut self) -> bool {
        let metadata = match fs::metadata(&self.path) {
            Ok(metadata) => metadata,
            Err(error) => {
                self.fault = self.absence(&error);
                return false;
            }
        };
        self.fault = None;
        let is_folder = metadata.is_dir();
        let was_folder = std::mem::replace(&mut self.is_folder, is_folder);
        if !is_folder {
            let others = self.files.len();
            self.files.retain(|path, _| *path == self.path);
            let lost = self.files.len() != others;
            let path = self.path.clone();
            return self.look_at(path) | lost;
        }
        match self.list() {
            Ok(paths) => {
                let others = self.files.len();
                self.files.retain(|path, _| paths.contains(path));
                let lost = self.files.len() != others;
                paths
                    .into_iter()
                    .fold(lost, |changed, path| self.look_at(path) | changed)
            }
            Err(error) => {
                self.is_folder = was_folder;
                self.fault = self.absence(&error);
                false
            }
        }
    }

    /// What was read, with the file that it was read from.
    pub(super) fn contents(&self) -> impl Iterator<Item = (&Path, &[u8])> {
        self.files.iter().flat_map(|(path, kept)| {
            let each = kept.contents.iter();
            each.map(move |der| (path.as_path(), &**der))
        })
    }

    /// Whether something has to be there and was never read.
    pub(super) fn is_awaited(&self) -> bool {
        let has_read = |kept: &Kept| !kept.contents.is_empty();
        !self.is_optional && !self.is_folder && !self.files.values().any(has_read)
    }

    /// What is wrong.
    pub(super) fn faults(&self) -> impl Iterator<Item = &str> {
        let of_files = self.files.values().map(|kept| &kept.fault);
        of_files
            .chain([&self.fault])
            .filter_map(|fault| fault.as_deref())
    }

    /// Files whose folders are to be watched so that a change is noticed.
    pub(super) fn watched(&self) -> impl Iterator<Item = PathBuf> {
        // The name of a file that may come stands for the folder.
        let inside = self.path.join("any");
        let of_folder = self.is_folder || self.is_optional;
        let files = self.files.keys().cloned();
        files
            .chain([self.path.clone()])
            .chain(of_folder.then_some(inside))
    }

    fn absence(&self, error: &io::Error) -> Option<String> {
        let path = self.path.display();
        let is_gone = matches!(
            error.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
        );
        let holds = self.files.values().any(|kept| !kept.contents.is_empty());
        match (is_gone, holds) {
            (true, false) if self.is_optional => None,
            (true, false) => Some(format!("{path} is not there")),
            (true, true) => Some(format!("{path} is gone; what it held stays in force")),
            (false, false) => Some(format!("{path} cannot be read: {}", error.kind())),
            (false, true) => Some(format!(
                "{path} cannot be read, and what it held stays in force: {}",
                error.kind()
            )),
        }
    }

    fn list(&self) -> io::Result<Vec<PathBuf>> {
        let mut paths = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let path = entry?.path();
            let is_wanted = path.extension().is_some_and(|ending| {
                let mut endings = self.kind.endings.iter();
                endings.any(|wanted| ending.eq_ignore_ascii_case(wanted))
            });
            if is_wanted {
                paths.push(path);
            }
            if paths.len() > FOLDER_FILES_MAX {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
        }
        paths.sort();
        Ok(paths)
    }

    /// Whether what the file holds has changed.
    fn look_at(&mut self, path: PathBuf) -> bool {
        let kept = self.files.entry(path.clone()).or_default();
        let seen = fs::metadata(&path).ok().map(|m| Fingerprint::new(&m));
        if seen.is_some() && kept.seen == seen {
            return false;
        }
        kept.seen = seen;
        match read(&path, self.kind) {
            Ok(contents) => {
                kept.fault = None;
                let changed = kept.contents != contents;
                kept.contents = contents;
                changed
            }
            Err(fault) => {
                let rest = match kept.contents.is_empty() {
                    true => "",
                    false => "; what it held before stays in force",
                };
                kept.fault = Some(format!("{} {fault}{rest}", path.display()));
                false
            }
        }
    }
}

/// Reads a file; the fault continues the name of the file.
fn read(path: &Path, kind: &Kind) -> Result<Contents, String> {
    let fault = |error: io::Error| format!("cannot be read: {}", error.kind());
    // A pipe would wait for a writer, for ever.
    if !fs::metadata(path).map_err(fault)?.is_file() {
        return Err("is no file".to_owned());
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(fault)?;
    let mut limited = file.take(kind.file_len_max + 1);
    limited.read_to_end(&mut bytes).map_err(fault)?;
    if bytes.len() as u64 > kind.file_len_max {
        let max = kind.file_len_max / (1024 * 1024);
        return Err(format!("is larger than {max} MiB"));
    }
    if (kind.is_one)(&bytes) {
        (kind.check)(&bytes)?;
        return Ok(vec![bytes.into()]);
    }
    let mut contents = Contents::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(&bytes) {
        let (found, der) = section.map_err(|_| "is damaged, or only half written".to_owned())?;
        if found == kind.section {
            contents.push(der.into());
        }
    }
    if contents.is_empty() {
        return Err(format!("holds no {}", kind.name));
    }
    contents.iter().try_for_each(|der| (kind.check)(der))?;
    Ok(contents)
}

#[cfg(test)]
mod tests {
    use super::*;

    static LETTERS: Kind = Kind {
        name: "letters",
        section: SectionKind::Certificate,
        endings: &["pem", "crt"],
        file_len_max: 1024 * 1024,
        is_one: |bytes| bytes.len() == 1,
        check: |bytes| match bytes {
            b"!" => Err("holds a mark"),
            _ => Ok(()),
        },
    };

    fn pem(text: &str) -> String {
        let each = text.bytes().map(|letter| {
            let text = data_encoding::BASE64.encode(&[letter]);
            format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
        });
        each.collect()
    }

    fn held(place: &Place) -> String {
        let letters = place.contents().flat_map(|(_, der)| der.iter());
        letters.map(|letter| char::from(*letter)).collect()
    }

    fn faults(place: &Place) -> String {
        place.faults().collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_file_that_is_damaged_or_gone_leaves_what_it_held() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        let mut place = Place::new(path.clone(), &LETTERS);
        assert!(!place.look());
        assert!(faults(&place).ends_with("ca.pem is not there"));
        fs::write(&path, pem("ab")).unwrap();
        assert!(place.look());
        assert_eq!((held(&place).as_str(), faults(&place).as_str()), ("ab", ""));
        assert!(!place.look(), "nothing has changed");
        let half = pem("cd");
        for (text, fault) in [
            (&half[..half.len() - 10], "half written"),
            ("", "holds no letters"),
            ("nothing", "holds no letters"),
            (&pem("a!"), "holds a mark"),
        ] {
            fs::write(&path, text).unwrap();
            assert!(!place.look());
            assert_eq!(held(&place), "ab");
            assert!(faults(&place).contains(fault), "{}", faults(&place));
            assert!(faults(&place).contains("stays in force"));
        }
        fs::remove_file(&path).unwrap();
        assert!(!place.look());
        assert_eq!(held(&place), "ab");
        assert!(faults(&place).contains("is gone"));
        fs::write(&path, "c").unwrap();
        assert!(place.look());
        assert_eq!((held(&place).as_str(), faults(&place).as_str()), ("c", ""));
    }

    #[test]
    fn a_folder_is_what_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("cas");
        let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
        let mut place = Place::new(folder.clone(), &LETTERS);
        fs::create_dir(&folder).unwrap();
        assert!(!place.look());
        write("b.crt", "b");
        write("a.PEM", &pem("a"));
        write("c.txt", "c");
        assert!(place.look());
        assert_eq!(held(&place), "ab");
        write("a.PEM", "no");
        assert!(!place.look());
        assert_eq!(held(&place), "ab");
        assert!(faults(&place).contains("a.PEM holds no letters"));
        fs::remove_file(folder.join("a.PEM")).unwrap();
        assert!(place.look(), "what is taken away is meant to be gone");
        assert_eq!((held(&place).as_str(), faults(&place).as_str()), ("b", ""));
        fs::rename(&folder, dir.path().join("away")).unwrap();
        assert!(!place.look());
        assert_eq!(held(&place), "b");
        assert!(faults(&place).contains("is gone"));
    }

    #[test]
    fn what_is_optional_is_not_missed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        let mut place = Place::optional(path.clone(), &LETTERS);
        assert!(!place.look());
        assert_eq!(faults(&place), "");
        fs::write(&path, "a").unwrap();
        assert!(place.look());
        fs::remove_file(&path).unwrap();
        assert!(!place.look());
        assert_eq!(held(&place), "a");
        assert!(faults(&place).contains("is gone"));
    }

    #[test]
    fn what_is_too_large_or_no_file_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("large.pem");
        fs::write(&path, vec![b'\n'; 1024 * 1024 + 1]).unwrap();
        let mut place = Place::new(path, &LETTERS);
        assert!(!place.look());
        assert!(faults(&place).contains("is larger than 1 MiB"));
        let folder = dir.path().join("folder.pem");
        fs::create_dir(&folder).unwrap();
        let mut place = Place::new(dir.path().to_owned(), &LETTERS);
        assert!(!place.look());
        assert!(faults(&place).contains("is no file"));
    }
}
