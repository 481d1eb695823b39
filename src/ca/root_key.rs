//! Where the keys of the authority are: on this device or not, sealed or not.

use std::path::Path;

use super::audit_kind;
use super::authority::{Asker, CertificateAuthority};
use super::error::CaError;
use super::files::{self, Audience};
use super::hierarchy::{self, Hierarchy};
use super::layout::{self, KeyPlace, Role};
use super::pem;
use super::time::Reading;

impl CertificateAuthority {
    /// Removes the keys of all roots from this device.
    pub(super) fn remove_root_keys(&self, reading: Reading, asker: &Asker) -> Result<(), CaError> {
        let _changing = self.changing();
        self.change(|hierarchy| {
            let mut state = hierarchy.state.clone();
            for root in &mut state.roots {
                root.key = KeyPlace::Absent;
            }
            self.shop().commit(&state)
        })?;
        self.look(|hierarchy| self.shop().publish(hierarchy, reading.now))?;
        self.note(audit_kind::ROOT_KEY, "", "removed", reading, asker);
        Ok(())
    }

    /// Brings the key of a root back to this device.
    pub(super) fn restore_root_key(
        &self,
        key: &[u8],
        file: &Path,
        reading: Reading,
        asker: &Asker,
    ) -> Result<(), CaError> {
        let _changing = self.changing();
        let keys = pem::private_keys(key, file)?;
        self.change(|hierarchy| {
            let mut state = hierarchy.state.clone();
            let mut last = None;
            for key in &keys {
                match self.put_root_key(hierarchy, key, file) {
                    Ok((number, place)) => {
                        let mut entries = state.roots.iter_mut();
                        if let Some(entry) = entries.find(|entry| entry.number == number) {
                            entry.key = place;
                        }
                    }
                    Err(fault) => last = Some(fault),
                }
            }
            let is_changed = state.roots != hierarchy.state.roots;
            match last {
                // A key of a root that has ended meanwhile is in the file as well.
                Some(fault) if !is_changed => Err(fault),
                _ => self.shop().commit(&state),
            }
        })?;
        self.note(audit_kind::ROOT_KEY, "", "restored", reading, asker);
        Ok(())
    }

    /// Writes a key beside the root that it belongs to; says which one that is, and where the key is now.
    fn put_root_key(
        &self,
        hierarchy: &Hierarchy,
        key: &[u8],
        file: &Path,
    ) -> Result<(u32, KeyPlace), CaError> {
        let mut first = None;
        for root in hierarchy.roots.iter().rev() {
            let number = root.entry.number;
            let certificate_file = layout::certificate_file(&self.folder, Role::Root, number);
            match root.certificate.read_key(key, file, &certificate_file) {
                Ok(key) => {
                    let place = self.shop().put_key(Role::Root, number, &key)?;
                    return Ok((number, place));
                }
                Err(fault) => first = first.or(Some(fault)),
            }
        }
        Err(first.unwrap_or(CaError::RootKeyAbsent))
    }

    /// Seals the keys that are in plain files; says how many.
    pub(super) fn seal(&self, reading: Reading, asker: &Asker) -> Result<u32, CaError> {
        let _changing = self.changing();
        let sealed = self.change(|hierarchy| {
            let mut state = hierarchy.state.clone();
            let roots = state
                .roots
                .iter_mut()
                .map(|root| (Role::Root, root.number, &mut root.key));
            let issuers = state
                .issuers
                .iter_mut()
                .map(|issuer| (Role::Issuing, issuer.number, &mut issuer.key));
            let mut sealed = 0;
            for (role, number, place) in roots.chain(issuers) {
                if *place == KeyPlace::File {
                    self.seal_one(role, number)?;
                    *place = KeyPlace::Sealed;
                    sealed += 1;
                }
            }
            self.shop().commit(&state)?;
            Ok(sealed)
        })?;
        self.look(|hierarchy| self.shop().publish(hierarchy, reading.now))?;
        self.note(
            audit_kind::SEALED,
            "",
            &format!("{sealed} keys"),
            reading,
            asker,
        );
        Ok(sealed)
    }

    fn seal_one(&self, role: Role, number: u32) -> Result<(), CaError> {
        let what = (role, number, KeyPlace::File);
        let (text, _) = hierarchy::read_key_text(&self.folder, self.sealing(), what)?;
        let file = layout::sealed_file(&self.folder, role, number);
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let sealed = self
            .sealing()
            .seal(&name, &text)
            .ok_or_else(|| CaError::Sealed {
                file: file.clone(),
                detail: "systemd-creds cannot seal anything here".to_owned(),
            })?;
        files::replace(self.files(), &file, &sealed, Audience::Private)
    }
}
