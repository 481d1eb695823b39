//! What the controller keeps on the disk, so that a gateway starts without its cluster.
//!
//! `gateway.toml` is what the resources become, `files` what it names, `resources.json` the resources themselves as they were
//! when they were good. All of it can be made anew from the cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::import::ImportedFile;

/// A folder of its own below the state folder.
#[derive(Clone, Debug)]
pub(super) struct Folder(PathBuf);

/// A file that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write `{}`: {source}", path.display())]
pub(super) struct FolderFault {
    path: PathBuf,
    source: io::Error,
}

impl Folder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub(super) fn configuration(&self) -> PathBuf {
        self.0.join("gateway.toml")
    }

    /// Where the files are that the configuration names.
    pub(super) fn files(&self) -> PathBuf {
        self.0.join("files")
    }

    fn resources(&self) -> PathBuf {
        self.0.join("resources.json")
    }

    /// Resources that were good before; none where there are none, or where they cannot be read.
    pub(super) fn former(&self) -> BTreeMap<String, String> {
        let text = fs::read(self.resources()).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Puts everything in place that differs, the files before what names them. Returns whether anything did.
    pub(super) fn write(
        &self,
        text: &str,
        files: &[ImportedFile],
        documents: &BTreeMap<String, String>,
    ) -> Result<bool, FolderFault> {
        make_folder(&self.0)?;
        make_folder(&self.files())?;
        let mut changed = false;
        for file in files {
            changed |= replace(&self.files().join(&file.name), &file.content)?;
        }
        changed |= replace(&self.configuration(), text.as_bytes())?;
        let documents = serde_json::to_vec(documents).unwrap_or_default();
        replace(&self.resources(), &documents)?;
        Ok(changed)
    }

    /// Removes files that nothing names any more. What is awaited stays as it was.
    pub(super) fn tidy(&self, named: &BTreeSet<String>) {
        let entries = fs::read_dir(self.files()).into_iter().flatten().flatten();
        for entry in entries {
            let name = entry.file_name();
            let is_named = name.to_str().is_some_and(|name| named.contains(name));
            if !is_named {
                // It is tried again after the next change.
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

fn make_folder(path: &Path) -> Result<(), FolderFault> {
    let made = DirBuilder::new().mode(0o700).recursive(true).create(path);
    made.map_err(|source| fault(path, source))
}

fn fault(path: &Path, source: io::Error) -> FolderFault {
    FolderFault {
        path: path.to_owned(),
        source,
    }
}

/// Puts a file in place whole, unless it has this content already.
fn replace(path: &Path, content: &[u8]) -> Result<bool, FolderFault> {
    if zeroize::Zeroizing::new(fs::read(path).unwrap_or_default()).as_slice() == content
        && path.exists()
    {
        return Ok(false);
    }
    put(path, content)
        .map(|()| true)
        .map_err(|source| fault(path, source))
}

fn put(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new = folder.join(format!(".new-{name}"));
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use zeroize::Zeroizing;

    use super::*;

    fn file(name: &str, content: &str) -> ImportedFile {
        ImportedFile {
            name: name.to_owned(),
            content: Zeroizing::new(content.as_bytes().to_vec()),
            is_secret: true,
        }
    }

    #[test]
    fn what_is_written_is_read_again_and_tidied() {
        let state = tempfile::tempdir().unwrap();
        let folder = Folder::new(state.path().join("kubernetes"));
        assert!(folder.former().is_empty());
        let documents = BTreeMap::from([("a".to_owned(), "{}".to_owned())]);
        let files = [file("x.crt", "1"), file("x.key", "2")];

        assert!(folder.write("# one\n", &files, &documents).unwrap());
        assert!(!folder.write("# one\n", &files, &documents).unwrap());
        assert_eq!(folder.former(), documents);
        let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(folder.files().join("x.key")), 0o600);
        assert_eq!(mode(folder.files()), 0o700);

        let files = [file("x.key", "3")];
        assert!(folder.write("# one\n", &files, &documents).unwrap());
        folder.tidy(&BTreeSet::from(["x.key".to_owned()]));
        assert!(!folder.files().join("x.crt").exists());
        assert_eq!(fs::read(folder.files().join("x.key")).unwrap(), b"3");
    }
}
