//! The local users: names, password hashes, attributes.
//!
//! They are in the database and, as long as the gateway runs, in one bounded table in memory. They change in one way only,
//! [`Users::apply`]: first the database, with an entry of the audit log in the same transaction, then the table. A login
//! reads only the table, see [`Users::verify`].

mod change;
#[cfg(test)]
mod change_tests;
mod check;
mod expiry;
mod hash;
pub mod import;
mod request;
mod secret;
mod table;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::warn;

pub use check::Verdict;
pub use expiry::{ExpiryFault, parse_expiry, rfc3339};
pub use hash::{HASH_LEN_MAX, HashFault, PasswordHash};
pub use request::{
    Actor, Attributes, Expiry, ImportCounts, NewUser, RequestHash, UserFault, UserReply,
    UserReport, UserRequest, ValueFault, check_username,
};
pub use secret::{PASSWORD_LEN_MIN, Secret, SecretFault};

use super::Standing;
use crate::clock;
use crate::config::ProtectionSettings;
use crate::policy::Principal;
use crate::store::{Jobs, StoreError, UserRecord, users};
use check::Pool;
use table::Table;

/// Users that there may be. Twice the connections that a gateway serves by default, and about 12 MiB in memory.
pub const USERS_MAX: usize = 20_000;

/// Time after which it is stored who was seen: a login is not worth a write of its own.
const SEEN_INTERVAL: Duration = Duration::from_secs(60);

/// The local users, as they are in the database.
#[derive(Debug)]
pub struct Users {
    jobs: Jobs,
    table: Mutex<Table>,
    /// Held while the database and the table are changed.
    changing: Mutex<()>,
    /// Given to the next password.
    next_generation: AtomicU64,
    pool: Pool,
    /// What proofs are made with; it lives and dies with the process.
    key: hmac::Key,
    changed: Notify,
    audit_rows_max: AtomicU32,
    is_unreadable: bool,
}

impl Default for Users {
    /// No users, and no way to get any.
    fn default() -> Self {
        Self::new(Vec::new(), Jobs::none(std::path::Path::new("")))
    }
}

impl Users {
    /// The users that were found in the database, which `jobs` change from here on.
    #[must_use]
    pub fn new(records: Vec<UserRecord>, jobs: Jobs) -> Self {
        let generations = records.iter().map(|record| record.generation);
        let next_generation = generations.max().unwrap_or(0).saturating_add(1);
        let table = Table::new(records);
        for username in table.unusable() {
            warn!(%username, "the password hash of a user cannot be used; give the user a new password");
        }
        Self {
            jobs,
            table: Mutex::new(table),
            changing: Mutex::default(),
            next_generation: AtomicU64::new(next_generation),
            pool: Pool::default(),
            key: random_key(),
            changed: Notify::new(),
            audit_rows_max: AtomicU32::new(ProtectionSettings::default().audit_rows_max),
            is_unreadable: false,
        }
    }

    /// What the database holds could not be read: until the next start nobody can tell who a user is.
    #[must_use]
    pub fn unreadable(jobs: Jobs) -> Self {
        Self {
            is_unreadable: true,
            ..Self::new(Vec::new(), jobs)
        }
    }

    /// Keeps at most so many entries of the audit log from here on.
    pub fn set_audit_rows_max(&self, rows_max: u32) {
        self.audit_rows_max.store(rows_max, Ordering::Relaxed);
    }

    /// How many users there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table().len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Completes when users have changed, so that the clients that are connected can be looked at again. For one task: a
    /// change while nobody waits is not lost.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// What has become of a user who logged in with the password of a generation.
    #[must_use]
    pub fn review(&self, generation: u64, principal: &Principal) -> Standing {
        let Some(entry) = self.table().get(&principal.username) else {
            return Standing::Gone("The user was removed");
        };
        let record = entry.record();
        if !record.enabled {
            return Standing::Gone("The user was disabled");
        }
        if entry.is_expired(clock::wall_seconds()) {
            return Standing::Gone("The time of the user is over");
        }
        if record.generation != generation {
            return Standing::Gone("The password was changed");
        }
        if **entry.principal() == *principal {
            Standing::Same
        } else {
            Standing::Changed(Arc::clone(entry.principal()))
        }
    }

    /// Stores from time to time who was seen, until dropped.
    pub async fn keep_seen(self: Arc<Self>) {
        loop {
            sleep(SEEN_INTERVAL).await;
            let users = Arc::clone(&self);
            let stored = tokio::task::spawn_blocking(move || users.flush_seen());
            if let Ok(Err(fault)) = stored.await {
                warn!(hint = fault.hint(), "{fault}; who was seen is noted later");
            }
        }
    }

    /// Stores who was seen since the last time. Must not be called on a thread that runs tasks.
    pub fn flush_seen(&self) -> Result<(), StoreError> {
        let seen = self.table().take_seen();
        if seen.is_empty() {
            return Ok(());
        }
        let seen: Arc<[_]> = seen.into();
        let noted = Arc::clone(&seen);
        let stored = self
            .jobs
            .run(move |transaction| users::touch(transaction, &noted));
        if stored.is_err() {
            self.table().put_back_seen(&seen);
        }
        stored
    }

    /// Not to be held while waiting for anything.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn random_key() -> hmac::Key {
    let random = SystemRandom::new();
    let mut bytes = zeroize::Zeroizing::new([0; 32]);
    // A key that is known is no way in: what it makes is in the memory of this process, and nowhere else.
    if random.fill(&mut *bytes).is_err() {
        warn!("the system gives no random bytes");
    }
    hmac::Key::new(hmac::HMAC_SHA256, &*bytes)
}
