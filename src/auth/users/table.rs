//! The table of users in memory.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use ring::hmac;

use super::hash::{OWN, PasswordHash, Scheme};
use crate::policy::Principal;
use crate::store::UserRecord;

/// A user with everything that a login needs. It is replaced when the user changes.
pub(super) struct Entry {
    record: UserRecord,
    /// None if what is in the database cannot be used.
    hash: Option<PasswordHash>,
    principal: Arc<Principal>,
    /// What the right password has left behind, for the next time.
    proof: OnceLock<hmac::Tag>,
    /// When the user was last seen, in seconds since 1970; zero for never.
    seen_at: AtomicU64,
    /// Whether that is still to be stored.
    is_seen_new: AtomicBool,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.record.fmt(f)
    }
}

impl Entry {
    fn new(record: UserRecord) -> Self {
        let principal = Principal {
            username: record.username.clone(),
            attributes: record.attributes.clone(),
            is_superuser: false,
        };
        Self {
            hash: PasswordHash::parse(&record.hash).ok(),
            principal: Arc::new(principal),
            proof: OnceLock::new(),
            seen_at: AtomicU64::new(record.last_seen_at.unwrap_or(0)),
            is_seen_new: AtomicBool::new(false),
            record,
        }
    }

    /// Takes over from the entry in whose place this one comes what was found out since that was made. The proof goes when
    /// the password has changed, or when the user may not log in.
    fn inherit(&self, former: &Self) {
        let is_same = self.record.generation == former.record.generation;
        if let (true, true, Some(proof)) = (is_same, self.record.enabled, former.proof.get()) {
            let _ = self.proof.set(*proof);
        }
        let seen_at = former.seen_at.load(Ordering::Relaxed);
        if self.seen_at.fetch_max(seen_at, Ordering::Relaxed) < seen_at {
            self.is_seen_new.store(true, Ordering::Release);
        }
    }

    /// Without what was seen since it was made, see [`Entry::current`].
    pub(super) fn record(&self) -> &UserRecord {
        &self.record
    }

    /// The record as it is now.
    pub(super) fn current(&self) -> UserRecord {
        let seen_at = self.seen_at.load(Ordering::Relaxed);
        UserRecord {
            last_seen_at: (seen_at > 0).then_some(seen_at),
            ..self.record.clone()
        }
    }

    pub(super) fn hash(&self) -> Option<&PasswordHash> {
        self.hash.as_ref()
    }

    pub(super) fn principal(&self) -> &Arc<Principal> {
        &self.principal
    }

    pub(super) fn is_expired(&self, wall: u64) -> bool {
        self.record.expires_at.is_some_and(|at| at <= wall)
    }

    pub(super) fn see(&self, wall: u64) {
        if self.seen_at.fetch_max(wall, Ordering::Relaxed) < wall {
            self.is_seen_new.store(true, Ordering::Release);
        }
    }

    /// Keeps that the right password was given.
    pub(super) fn prove(&self, key: &hmac::Key, password: &[u8]) {
        // Somebody else may have been first, with the same.
        let _ = self.proof.set(self.context(key, password).sign());
    }

    /// Whether this is the password that was right before.
    pub(super) fn is_proven(&self, key: &hmac::Key, password: &[u8]) -> bool {
        let Some(proof) = self.proof.get() else {
            return false;
        };
        let found = self.context(key, password).sign();
        subtle::ConstantTimeEq::ct_eq(found.as_ref(), proof.as_ref()).into()
    }

    /// Name, generation and password; nothing but the password is of a length that is not told.
    fn context(&self, key: &hmac::Key, password: &[u8]) -> hmac::Context {
        let name = self.record.username.as_bytes();
        let mut context = hmac::Context::with_key(key);
        context.update(&(name.len() as u64).to_le_bytes());
        context.update(name);
        context.update(&self.record.generation.to_le_bytes());
        context.update(password);
        context
    }
}

/// Every user by name.
#[derive(Debug, Default)]
pub(super) struct Table {
    users: BTreeMap<Box<str>, Arc<Entry>>,
    /// How many users have hashes of each scheme.
    schemes: BTreeMap<Scheme, usize>,
}

impl Table {
    pub(super) fn new(records: Vec<UserRecord>) -> Self {
        let mut table = Self::default();
        for record in records {
            table.put(record);
        }
        table
    }

    pub(super) fn len(&self) -> usize {
        self.users.len()
    }

    pub(super) fn get(&self, username: &str) -> Option<Arc<Entry>> {
        self.users.get(username).cloned()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.users.values()
    }

    /// Names of users whose hashes cannot be used.
    pub(super) fn unusable(&self) -> impl Iterator<Item = &str> {
        let unusable = self.users.values().filter(|entry| entry.hash.is_none());
        unusable.map(|entry| &*entry.record.username)
    }

    /// Adds a user or puts it in the place of the one with its name.
    pub(super) fn put(&mut self, record: UserRecord) {
        let username = record.username.clone();
        let entry = Entry::new(record);
        if let Some(former) = self.users.get(&username) {
            entry.inherit(former);
        }
        if let Some(hash) = &entry.hash {
            *self.schemes.entry(hash.scheme()).or_default() += 1;
        }
        let former = self.users.insert(username, Arc::new(entry));
        self.uncount(former);
    }

    pub(super) fn remove(&mut self, username: &str) {
        let former = self.users.remove(username);
        self.uncount(former);
    }

    fn uncount(&mut self, former: Option<Arc<Entry>>) {
        let Some(hash) = former.as_ref().and_then(|entry| entry.hash.as_ref()) else {
            return;
        };
        let scheme = hash.scheme();
        if let Some(count) = self.schemes.get_mut(&scheme) {
            *count -= 1;
            if *count == 0 {
                self.schemes.remove(&scheme);
            }
        }
    }

    /// What checking the password of a user costs who does not exist: as often as not what users who do exist cost, and
    /// always the same for one name. `chance` is made from the name.
    pub(super) fn scheme_of_nobody(&self, chance: u64) -> Scheme {
        let total: usize = self.schemes.values().sum();
        let Some(mut place) = chance.checked_rem(total as u64) else {
            return OWN;
        };
        for (scheme, count) in &self.schemes {
            match place.checked_sub(*count as u64) {
                None => return *scheme,
                Some(rest) => place = rest,
            }
        }
        OWN
    }

    /// Who was seen since the last time, and when.
    pub(super) fn take_seen(&self) -> Vec<(Box<str>, u64)> {
        let entries = self.users.values();
        let seen = entries.filter(|entry| entry.is_seen_new.swap(false, Ordering::AcqRel));
        seen.map(|entry| {
            let at = entry.seen_at.load(Ordering::Relaxed);
            (entry.record.username.clone(), at)
        })
        .collect()
    }

    /// What was taken is not stored yet.
    pub(super) fn put_back_seen(&self, seen: &[(Box<str>, u64)]) {
        for (username, _) in seen {
            if let Some(entry) = self.users.get(username) {
                entry.is_seen_new.store(true, Ordering::Release);
            }
        }
    }
}
