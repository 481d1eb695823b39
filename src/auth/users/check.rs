//! Whether a password is right: few at a time, because each costs memory and time, and at once for those that were right
//! before.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ring::hmac;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;
use tracing::warn;

use super::Users;
use super::hash::PasswordHash;
use super::secret::Secret;
use super::table::Entry;
use crate::clock;
use crate::policy::Principal;
use crate::store::UserRecord;

/// Passwords that are checked at one time, at most: 64 MiB each in the worst case.
const WORKERS_MAX: usize = 4;

/// Clients that may wait for their turn.
const WAITING_MAX: usize = 2048;

/// Time that they wait. A client is cut when it has not got through its CONNECT within ten seconds by default; before that it
/// is told that it may try again.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// What is known of a user name and a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The password is right.
    Right {
        /// Who the user is.
        principal: Arc<Principal>,
        /// Of which generation the password is.
        generation: u64,
        /// When the user may be logged in no more.
        expires_at: Option<Instant>,
    },
    /// There is no such user.
    UnknownUser,
    /// The password is wrong.
    WrongPassword,
    /// The password is right, but the user may not log in.
    Disabled,
    /// The password is right, but the time of the user is over.
    Expired,
    /// Nobody can tell at the moment. One sentence.
    Unavailable(&'static str),
}

/// Hands out turns.
#[derive(Debug)]
pub(super) struct Pool {
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
    checked: AtomicU64,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            turns: Arc::new(Semaphore::new(Self::workers())),
            waiting: AtomicUsize::new(0),
            checked: AtomicU64::new(0),
        }
    }
}

impl Pool {
    /// Half of the processors, so that the broker goes on while passwords are checked.
    pub(super) fn workers() -> usize {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        (processors / 2).clamp(1, WORKERS_MAX)
    }

    /// How many clients wait for their turn.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Waits for a turn; `None` if that would take too long.
    pub(super) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(turn) = Arc::clone(&self.turns).try_acquire_owned() {
            return Some(turn);
        }
        let place = Place::new(&self.waiting)?;
        let turn = timeout(WAIT_MAX, Arc::clone(&self.turns).acquire_owned()).await;
        drop(place);
        turn.ok()?.ok()
    }
}

/// A place among those who wait.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn new(waiting: &'a AtomicUsize) -> Option<Self> {
        let place = Self(waiting);
        (waiting.fetch_add(1, Ordering::Relaxed) < WAITING_MAX).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Users {
    /// How many passwords had to be checked with a hash so far.
    #[must_use]
    pub fn passwords_checked(&self) -> u64 {
        self.pool.checked.load(Ordering::Relaxed)
    }

    /// Whether a user has this password. Takes as long for users that there are as for others, until the password is right;
    /// who had the right one before and comes back with it does not wait.
    pub async fn verify(self: &Arc<Self>, username: &str, password: &[u8]) -> Verdict {
        if self.is_unreadable {
            return Verdict::Unavailable("the database of the users could not be read");
        }
        if let Some(verdict) = self.recognise(username, password) {
            return verdict;
        }
        let Some(turn) = self.pool.turn().await else {
            return Verdict::Unavailable("too many passwords wait to be checked");
        };
        // Another client with the same password may have been checked meanwhile.
        if let Some(verdict) = self.recognise(username, password) {
            return verdict;
        }
        let entry = self.table().get(username);
        let known = entry.as_ref().and_then(|entry| entry.hash().cloned());
        let hash = known.unwrap_or_else(|| self.hash_of_nobody(username));
        let secret = Secret::copy(password);
        let (reply, answer) = oneshot::channel();
        let (users, checked) = (Arc::clone(self), entry.clone());
        self.pool.checked.fetch_add(1, Ordering::Relaxed);
        tokio::task::spawn_blocking(move || {
            let is_right = hash.verify(secret.expose());
            // The client may be gone.
            let _ = reply.send(is_right);
            if let (Ok(true), Some(entry)) = (is_right, checked) {
                users.note_right(&entry, &hash, &secret, turn);
            }
        });
        match (answer.await, entry) {
            (Ok(Ok(true)), Some(entry)) => self.admit_again(&entry),
            (Ok(Ok(_)), Some(_)) => Verdict::WrongPassword,
            (Ok(Ok(_)), None) => Verdict::UnknownUser,
            (Ok(Err(_)), _) => Verdict::Unavailable("there is no memory to check passwords with"),
            (Err(_), _) => Verdict::Unavailable("passwords cannot be checked"),
        }
    }

    /// The verdict about a password that was right before.
    fn recognise(&self, username: &str, password: &[u8]) -> Option<Verdict> {
        let entry = self.table().get(username)?;
        let is_proven = entry.is_proven(&self.key, password);
        is_proven.then(|| self.admit(&entry))
    }

    /// The verdict about a password that was right when it began to be checked.
    fn admit_again(&self, checked: &Entry) -> Verdict {
        let checked = checked.record();
        match self.table().get(&checked.username) {
            Some(entry) if entry.record().generation == checked.generation => self.admit(&entry),
            Some(_) => Verdict::WrongPassword,
            None => Verdict::UnknownUser,
        }
    }

    /// The verdict about the right password.
    fn admit(&self, entry: &Entry) -> Verdict {
        let wall = clock::wall_seconds();
        let record = entry.record();
        if !record.enabled {
            return Verdict::Disabled;
        }
        if entry.is_expired(wall) {
            return Verdict::Expired;
        }
        entry.see(wall);
        Verdict::Right {
            principal: Arc::clone(entry.principal()),
            generation: record.generation,
            expires_at: end(record, wall),
        }
    }

    /// When the time of a user is over; `None` if it is not bounded.
    pub(crate) fn end(&self, username: &str) -> Option<Instant> {
        let entry = self.table().get(username)?;
        end(entry.record(), clock::wall_seconds())
    }

    /// Remembers the right password, and replaces a hash of others by one of ours.
    fn note_right(
        &self,
        entry: &Entry,
        hash: &PasswordHash,
        secret: &Secret,
        turn: OwnedSemaphorePermit,
    ) {
        entry.prove(&self.key, secret.expose());
        if hash.is_own() {
            return;
        }
        let own = PasswordHash::new(secret.expose());
        // The next password can be checked while this is stored.
        drop(turn);
        let username = &entry.record().username;
        match own.map(|own| self.replace_hash(entry.record(), &own)) {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => {
                warn!(%username, hint = fault.hint(), "{fault}; the hash of the user stays as it was imported");
            }
            Err(fault) => {
                warn!(%username, "{fault}; the hash of the user stays as it was imported");
            }
        }
    }

    /// A hash to be compared with the password of a user who does not exist.
    pub(super) fn hash_of_nobody(&self, username: &str) -> PasswordHash {
        let tag = hmac::sign(&self.key, username.as_bytes());
        let chance = tag.as_ref().first_chunk::<8>();
        let chance = chance.map_or(0, |bytes| u64::from_le_bytes(*bytes));
        PasswordHash::dummy(self.table().scheme_of_nobody(chance))
    }
}

/// When the time of a user is over, by the clock that links go by.
fn end(record: &UserRecord, wall: u64) -> Option<Instant> {
    let left = Duration::from_secs(record.expires_at?.saturating_sub(wall));
    clock::now().checked_add(left)
}
