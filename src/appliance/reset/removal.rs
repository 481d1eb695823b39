//! Takes entries of folders away, and goes on where one of them cannot be: what is left then is less.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

use super::erase::Folder;
use super::{ResetFault, Seam};

/// Whether an entry of a folder holds a secret.
type Judge = fn(&Folder, &OsStr) -> io::Result<bool>;

/// A removal that is going on. What its methods return is only what ends it at once.
pub(super) struct Removal<'a> {
    seam: Seam<'a>,
    /// What could not be done first.
    fault: Option<ResetFault>,
}

impl<'a> Removal<'a> {
    pub(super) fn new(seam: Seam<'a>) -> Self {
        Self { seam, fault: None }
    }

    /// What could not be done, if anything.
    pub(super) fn end(self) -> Option<ResetFault> {
        self.fault
    }

    /// Overwrites and removes every file with a secret: one that is interrupted after this has nothing left that is worth
    /// stealing.
    pub(super) fn secrets(&mut self, folder: &Folder, is_secret: Judge) -> Result<(), ResetFault> {
        for name in self.names(folder) {
            self.secrets_of(folder, &name, is_secret)?;
        }
        Ok(())
    }

    /// The same for one entry of a folder.
    pub(super) fn secrets_of(
        &mut self,
        folder: &Folder,
        name: &OsStr,
        is_secret: Judge,
    ) -> Result<(), ResetFault> {
        let path = folder.path().join(name);
        match self.told("read", &path, folder.child(name)) {
            Some(Some(below)) => self.secrets(&below, is_secret)?,
            Some(None) => {
                // What cannot be read may be one.
                let judged = self.told("read", &path, is_secret(folder, name));
                if judged.unwrap_or(true) {
                    self.reach(&path)?;
                    self.told("overwrite", &path, folder.overwrite(name));
                    self.told("remove", &path, folder.unlink(name));
                    self.told("write", folder.path(), folder.sync());
                }
            }
            None => {}
        }
        Ok(())
    }

    /// Removes what is in a folder, but what is named.
    pub(super) fn contents(&mut self, folder: &Folder, keep: &[&str]) -> Result<(), ResetFault> {
        for name in self.names(folder) {
            if !keep.iter().any(|kept| name == *kept) {
                self.entry(folder, &name)?;
            }
        }
        self.told("write", folder.path(), folder.sync());
        Ok(())
    }

    /// Removes what is there, the deepest first, so that a step is one entry.
    pub(super) fn entry(&mut self, folder: &Folder, name: &OsStr) -> Result<(), ResetFault> {
        let path = folder.path().join(name);
        if let Some(Some(below)) = self.told("read", &path, folder.child(name)) {
            self.contents(&below, &[])?;
        }
        self.reach(&path)?;
        self.told("remove", &path, folder.unlink(name));
        Ok(())
    }

    /// Moves an entry into a folder beside it, where it takes the place of one with its name.
    pub(super) fn put_aside(
        &mut self,
        folder: &Folder,
        name: &OsStr,
        aside: &OsStr,
    ) -> Result<(), ResetFault> {
        let path = folder.path().join(name);
        let Some(aside) = self.told("read", &path, folder.make(aside)) else {
            return Ok(());
        };
        self.entry(&aside, name)?;
        self.reach(&path)?;
        self.told("move", &path, folder.move_to(name, &aside));
        Ok(())
    }

    /// The folder at a path; nothing where there is none.
    pub(super) fn open(&mut self, path: &Path) -> Option<Folder> {
        self.told("read", path, Folder::open(path)).flatten()
    }

    /// A folder in another one; nothing where there is none.
    pub(super) fn child(&mut self, folder: &Folder, name: &str) -> Option<Folder> {
        let path = folder.path().join(name);
        self.told("read", &path, folder.child(name.as_ref()))
            .flatten()
    }

    /// What is in a folder.
    pub(super) fn names(&mut self, folder: &Folder) -> Vec<OsString> {
        let names = self.told("read", folder.path(), folder.names());
        names.unwrap_or_default()
    }

    /// What came of something; a fault is remembered.
    fn told<T>(
        &mut self,
        operation: &'static str,
        path: &Path,
        result: io::Result<T>,
    ) -> Option<T> {
        let told = result.map_err(ResetFault::at(operation, path));
        told.map_err(|fault| self.fault.get_or_insert(fault)).ok()
    }

    fn reach(&mut self, path: &Path) -> Result<(), ResetFault> {
        (self.seam)(path).map_err(ResetFault::at("change", path))
    }
}
