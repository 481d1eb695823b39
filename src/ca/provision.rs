//! How certificates and keys of the authority are made and put in place: whole or not at all, whenever the power fails.
//!
//! What is new is written beside what there is, under names that nothing refers to yet, and is on the disk before the state
//! file names it. What others read (`trust.pem` and the folder `trust`) is made from the rest, at each start again where it
//! differs. What the state file names no more is removed last.

use std::path::{Path, PathBuf};

use super::certificate::{AuthorityOrder, CaCertificate, NameConstraints, Validity};
use super::chance::{self, Chance};
use super::error::CaError;
use super::files::{self, Audience, Files};
use super::hierarchy::{Hierarchy, Lifetimes, Root, Step, read_key};
use super::key::{KeyAlgorithm, SecretKey};
use super::layout::{self, IssuerEntry, KeyPlace, Role, RootEntry, State};
use super::pem;
use super::seal::Sealing;
use super::time::{BACKDATE, Reading};
use crate::config::Settings;

/// Characters that tell the authorities of two gateways from one another.
const ID_LETTERS: usize = 6;

/// Characters of the name of a gateway that fit into a name beside the rest.
const NAME_CHARS_MAX: usize = 36;

/// What a new authority is to be like.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The name of the gateway.
    pub name: String,
    /// The kind of all keys.
    pub algorithm: KeyAlgorithm,
    /// What may be issued.
    pub constraints: NameConstraints,
}

impl Plan {
    /// What a configuration asks for.
    #[must_use]
    pub fn of(settings: &Settings) -> Self {
        let ca = &settings.ca;
        let networks = ca.permit_ip.iter();
        Self {
            name: settings.gateway.name.to_string(),
            algorithm: ca.algorithm,
            constraints: NameConstraints {
                dns: ca.permit_dns.clone(),
                ip: networks
                    .map(|network| format!("{}/{}", network.address, network.prefix))
                    .collect(),
            },
        }
    }
}

/// What is needed to make something: the folder, and what it is made with.
#[derive(Clone, Copy)]
pub(super) struct Workshop<'a> {
    pub(super) folder: &'a Path,
    pub(super) files: &'a dyn Files,
    pub(super) chance: &'a dyn Chance,
    pub(super) sealing: &'a Sealing,
    pub(super) lifetimes: &'a Lifetimes,
}

/// Keys that were made before anything is locked or written, which may take a while.
#[derive(Debug)]
pub(super) struct NewKeys {
    root: Option<SecretKey>,
    issuing: SecretKey,
}

impl NewKeys {
    pub(super) fn make(
        with_root: bool,
        algorithm: KeyAlgorithm,
        chance: &dyn Chance,
    ) -> Result<Self, CaError> {
        let root = with_root.then(|| SecretKey::generate(algorithm, chance));
        Ok(Self {
            root: root.transpose()?,
            issuing: SecretKey::generate(algorithm, chance)?,
        })
    }
}

/// Makes a new authority in a state folder, whole or not at all.
pub(super) fn provision(
    state_dir: &Path,
    shop: Workshop<'_>,
    plan: &Plan,
    keys: &NewKeys,
    reading: Reading,
) -> Result<(), CaError> {
    provision_with(state_dir, shop, plan, reading, |shop, state| {
        shop.add_root(state, keys, reading, reading.now)
    })
}

/// Makes a new authority, filled by `fill`.
pub(super) fn provision_with(
    state_dir: &Path,
    shop: Workshop<'_>,
    plan: &Plan,
    reading: Reading,
    fill: impl FnOnce(Workshop<'_>, &mut State) -> Result<(), CaError>,
) -> Result<(), CaError> {
    let (folder, new) = (
        state_dir.join(layout::FOLDER),
        state_dir.join(layout::FOLDER_NEW),
    );
    let in_the_way = layout::check_vacant(&folder)?;
    let fault = |path: &Path, error| CaError::io(path, "write", error);
    if new.exists() {
        shop.files
            .remove_folder(&new)
            .map_err(|error| fault(&new, error))?;
    }
    let shop = Workshop {
        folder: &new,
        ..shop
    };
    for path in [
        new.clone(),
        new.join(layout::SEALED),
        new.join(layout::TRUST),
    ] {
        shop.files
            .make_folder(&path)
            .map_err(|error| fault(&path, error))?;
    }
    let mut state = State::new(
        chance::letters(shop.chance, ID_LETTERS)?,
        plan.name.clone(),
        plan.algorithm,
        plan.constraints.clone(),
    );
    fill(shop, &mut state)?;
    // Nothing reads this folder yet, so the order in it does not matter.
    shop.commit(&state)?;
    let made = Hierarchy::load(&new, shop.sealing)?;
    shop.publish(&made, reading.now)?;
    for path in [
        new.join(layout::SEALED),
        new.join(layout::TRUST),
        new.clone(),
    ] {
        shop.files
            .sync_folder(&path)
            .map_err(|error| fault(&path, error))?;
    }
    for path in in_the_way {
        shop.files
            .remove_file(&path)
            .map_err(|error| fault(&path, error))?;
    }
    shop.files
        .rename(&new, &folder)
        .map_err(|error| fault(&folder, error))?;
    shop.files
        .sync_folder(state_dir)
        .map_err(|error| fault(state_dir, error))
}

impl Workshop<'_> {
    /// Does what is due. The keys are those that the step needs.
    pub(super) fn perform(
        self,
        hierarchy: &Hierarchy,
        step: Step,
        keys: Option<&NewKeys>,
        reading: Reading,
    ) -> Result<(), CaError> {
        let mut state = hierarchy.state.clone();
        match (step, keys) {
            (Step::NewRoot, Some(keys)) => {
                let since = hierarchy.begin_of_next(reading.now, self.lifetimes);
                self.add_root(&mut state, keys, reading, since)?;
            }
            (Step::NewIssuing, Some(keys)) => {
                self.add_issuer_below_newest(&mut state, hierarchy, keys, reading)?;
            }
            (Step::RetireIssuing { number }, _) => {
                state.issuers.retain(|issuer| issuer.number != number);
            }
            (Step::RetireRoot { number }, _) => {
                state.roots.retain(|root| root.number != number);
            }
            (Step::NewRoot | Step::NewIssuing, None) => return Err(CaError::Chance),
        }
        self.commit(&state)
    }

    /// A root with an issuer below it, which issues from `since` on.
    pub(super) fn add_root(
        self,
        state: &mut State,
        keys: &NewKeys,
        reading: Reading,
        since: u64,
    ) -> Result<(), CaError> {
        let key = keys.root.as_ref().ok_or(CaError::Chance)?;
        let number = state.take_number();
        let validity = Validity {
            not_before: reading.now.saturating_sub(BACKDATE),
            not_after: reading.now.saturating_add(self.lifetimes.root),
        };
        let order = AuthorityOrder {
            name: &authority_name(state, "root", number),
            serial: &chance::serial(self.chance)?,
            validity,
            path_len: 1,
            constraints: &state.constraints,
        };
        let der = order.self_signed(key)?;
        let file = layout::certificate_file(self.folder, Role::Root, number);
        let certificate = CaCertificate::parse(der.into(), &file)?;
        self.put_certificates(Role::Root, number, [&certificate])?;
        let place = self.put_key(Role::Root, number, key)?;
        state.roots.push(RootEntry { number, key: place });
        self.add_issuer(
            state,
            number,
            &certificate,
            key,
            &keys.issuing,
            reading,
            since,
        )
    }

    /// The newest root of those whose time has come, with its key.
    fn newest_root(
        self,
        hierarchy: &Hierarchy,
        reading: Reading,
    ) -> Result<(&Root, SecretKey), CaError> {
        let roots = hierarchy.roots.iter().rev();
        let mut begun = roots.filter(|root| root.certificate.validity.not_before <= reading.now);
        let root = begun.next().ok_or(CaError::RootKeyAbsent)?;
        let what = (Role::Root, root.entry.number, root.entry.key);
        let key = read_key(self.folder, self.sealing, what, &root.certificate)?;
        Ok((root, key))
    }

    /// Whether an issuer can be made now.
    pub(super) fn check_root_key(
        self,
        hierarchy: &Hierarchy,
        reading: Reading,
    ) -> Result<(), CaError> {
        self.newest_root(hierarchy, reading).map(drop)
    }

    fn add_issuer_below_newest(
        self,
        state: &mut State,
        hierarchy: &Hierarchy,
        keys: &NewKeys,
        reading: Reading,
    ) -> Result<(), CaError> {
        let (root, root_key) = self.newest_root(hierarchy, reading)?;
        let (number, now) = (root.entry.number, reading.now);
        self.add_issuer(
            state,
            number,
            &root.certificate,
            &root_key,
            &keys.issuing,
            reading,
            now,
        )
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "a root with its key, and an issuer with its own"
    )]
    fn add_issuer(
        self,
        state: &mut State,
        root: u32,
        root_certificate: &CaCertificate,
        root_key: &SecretKey,
        key: &SecretKey,
        reading: Reading,
        since: u64,
    ) -> Result<(), CaError> {
        let number = state.take_number();
        let (validity, provisional) =
            reading.validity(self.lifetimes.issuing, root_certificate.validity);
        let order = AuthorityOrder {
            name: &authority_name(state, "issuing", number),
            serial: &chance::serial(self.chance)?,
            validity,
            path_len: 0,
            constraints: &state.constraints,
        };
        let der = order.signed_by(key, root_certificate, root_key)?;
        let file = layout::certificate_file(self.folder, Role::Issuing, number);
        let certificate = CaCertificate::parse(der.into(), &file)?;
        self.put_certificates(Role::Issuing, number, [&certificate])?;
        let place = self.put_key(Role::Issuing, number, key)?;
        state.issuers.push(IssuerEntry {
            number,
            root,
            since,
            key: place,
            provisional,
            imported: false,
        });
        Ok(())
    }

    pub(super) fn put_certificates<'a>(
        self,
        role: Role,
        number: u32,
        chain: impl IntoIterator<Item = &'a CaCertificate>,
    ) -> Result<(), CaError> {
        let file = layout::certificate_file(self.folder, role, number);
        let text = pem::encode_chain(
            chain
                .into_iter()
                .map(|certificate| certificate.der.as_ref()),
        );
        files::replace(self.files, &file, text.as_bytes(), Audience::Public)
    }

    /// Writes a key: sealed where that is to be had, else for the gateway alone.
    pub(super) fn put_key(
        self,
        role: Role,
        number: u32,
        key: &SecretKey,
    ) -> Result<KeyPlace, CaError> {
        let text = key.pem();
        let sealed_file = layout::sealed_file(self.folder, role, number);
        let name = sealed_file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        let (file, content, place) = match self.sealing.seal_new(&name, text.as_bytes()) {
            Some(sealed) => (sealed_file.clone(), sealed.into(), KeyPlace::Sealed),
            None => {
                let file = layout::key_file(self.folder, role, number);
                let content = zeroize::Zeroizing::new(text.as_bytes().to_vec());
                (file, content, KeyPlace::File)
            }
        };
        files::replace(self.files, &file, &content, Audience::Private)?;
        Ok(place)
    }

    /// Has the disk take what was written, and then the state that names it.
    pub(super) fn commit(self, state: &State) -> Result<(), CaError> {
        self.announce(state)?;
        self.sync(&self.folder.join(layout::SEALED))?;
        self.sync(self.folder)?;
        let (file, text) = state.file(self.folder)?;
        files::replace(self.files, &file, &text, Audience::Public)?;
        self.sync(self.folder)
    }

    /// Adds the roots of a new state to what others trust, before anything is issued below them: whenever the power fails,
    /// others trust at least what there is.
    fn announce(self, state: &State) -> Result<(), CaError> {
        let (bundle, trust) = (
            self.folder.join(layout::BUNDLE),
            self.folder.join(layout::TRUST),
        );
        for folder in [&trust, &self.folder.join(layout::SEALED)] {
            // Backups leave out folders that are empty.
            if !folder.exists() {
                self.files
                    .make_folder(folder)
                    .map_err(|error| CaError::io(folder, "write", error))?;
            }
        }
        let there = files::read_if_there(&bundle)?;
        let there = there.and_then(|text| String::from_utf8(text.to_vec()).ok());
        let mut text = there.unwrap_or_default();
        let before = text.len();
        for root in &state.roots {
            let file = layout::certificate_file(self.folder, Role::Root, root.number);
            let own = pem::certificates(&files::read(&file)?, &file)?;
            let own = pem::encode_chain(own.iter().take(1).map(AsRef::as_ref));
            if text.contains(&own) {
                continue;
            }
            let name = format!("{}-{}.crt", state.id, root.number);
            files::replace(
                self.files,
                &trust.join(name),
                own.as_bytes(),
                Audience::Public,
            )?;
            text.push_str(&own);
        }
        if text.len() == before {
            return Ok(());
        }
        self.sync(&trust)?;
        files::replace(self.files, &bundle, text.as_bytes(), Audience::Public)
    }

    /// Brings what others read in line with what there is, and removes what there is no more. Says whether others have to
    /// read it again.
    pub(super) fn publish(self, hierarchy: &Hierarchy, now: u64) -> Result<bool, CaError> {
        let trusted = hierarchy.trusted(now);
        self.announce(&hierarchy.state)?;
        let bundle = pem::encode_chain(trusted.iter().map(|root| root.certificate.der.as_ref()));
        let trust = self.folder.join(layout::TRUST);
        let issuers = hierarchy
            .issuers
            .iter()
            .map(|issuer| issuer.certificate.der.as_ref());
        let mut wanted: Vec<(PathBuf, String)> = vec![
            (self.folder.join(layout::BUNDLE), bundle),
            (
                self.folder.join(layout::ISSUERS),
                pem::encode_chain(issuers),
            ),
        ];
        for root in &trusted {
            let name = format!("{}-{}.crt", hierarchy.state.id, root.entry.number);
            let text = pem::encode_chain([root.certificate.der.as_ref()]);
            wanted.push((trust.join(name), text));
        }
        let mut is_changed = false;
        for (file, text) in &wanted {
            let there = files::read_if_there(file)?;
            if there
                .as_ref()
                .is_none_or(|there| there.as_slice() != text.as_bytes())
            {
                files::replace(self.files, file, text.as_bytes(), Audience::Public)?;
                is_changed = true;
            }
        }
        for name in files::names(&trust)? {
            let file = trust.join(name);
            if !wanted.iter().any(|(wanted, _)| *wanted == file) {
                self.remove(&file)?;
                is_changed = true;
            }
        }
        if is_changed {
            self.sync(&trust)?;
            self.sync(self.folder)?;
        }
        self.clean(&hierarchy.state)?;
        Ok(is_changed)
    }

    /// Removes what an interrupted change has left, and what there is no more.
    fn clean(self, state: &State) -> Result<(), CaError> {
        for folder in [self.folder.to_owned(), self.folder.join(layout::SEALED)] {
            let mut is_changed = false;
            for name in files::names(&folder)? {
                if state.is_left_over(&name) {
                    self.remove(&folder.join(name))?;
                    is_changed = true;
                }
            }
            if is_changed {
                self.sync(&folder)?;
            }
        }
        Ok(())
    }

    fn remove(self, file: &Path) -> Result<(), CaError> {
        self.files
            .remove_file(file)
            .map_err(|error| CaError::io(file, "remove", error))
    }

    pub(super) fn sync(self, folder: &Path) -> Result<(), CaError> {
        self.files
            .sync_folder(folder)
            .map_err(|error| CaError::io(folder, "write", error))
    }
}

/// `gateway-7 root 1 (k7m2qa)`: names the gateway, and tells two of the same name from one another.
fn authority_name(state: &State, role: &str, number: u32) -> String {
    let name: String = state.name.chars().take(NAME_CHARS_MAX).collect();
    format!("{} {role} {number} ({})", name.trim(), state.id)
}

#[cfg(test)]
#[path = "provision_tests.rs"]
mod tests;
