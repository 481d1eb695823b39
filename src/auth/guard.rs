//! What repeated failures lead to: answers that are late, then bans of addresses and user names.
//!
//! Whoever lets clients in asks [`Guard::is_address_banned`] when a connection comes and [`Guard::check`] when its client
//! says who it is, and tells what came of it by [`Guard::note_failure`] or [`Guard::note_success`]. A back end that could
//! not be asked is neither. Time is an argument; nothing here waits.

mod table;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use self::table::{Table, Term, Terms};
use crate::config::ProtectionSettings;

/// Addresses whose failures are remembered, IPv6 addresses by network.
const ADDRESSES_MAX: usize = 8192;

/// User names whose failures are remembered.
const USERNAMES_MAX: usize = 4096;

/// User names whose addresses are remembered.
const KNOWN_USERNAMES_MAX: usize = 8192;

/// Addresses that are remembered for one user name: a machine that moves between a few networks.
const KNOWN_ADDRESSES_MAX: usize = 8;

/// Bytes of a user name that tell it from others here.
const USERNAME_BYTES_MAX: usize = 256;

/// How long the answer to the first failure is held back; to each further one twice as long.
const FIRST_DELAY: Duration = Duration::from_millis(250);

/// The longest time that an answer is held back.
const DELAY_MAX: Duration = Duration::from_secs(4);

/// Answers that are held back at one time; an attacker must not fill the gateway with connections that wait. More are given
/// at once.
const DELAYED_MAX: usize = 256;

/// Counts failures, says how long an answer is to be held back, and bans those who fail too often.
#[derive(Debug)]
pub struct Guard {
    /// Whether anybody may be banned, so that connections take no lock as long as nobody is.
    any_bans: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    settings: ProtectionSettings,
    /// From where the parts of the window are counted: the first time that anything happened.
    epoch: Option<Instant>,
    addresses: Table<Prefix>,
    usernames: Table<Box<str>>,
    known: Known,
    /// When the answers that are held back will be given.
    delayed: BinaryHeap<Reverse<Instant>>,
    statistics: GuardStatistics,
}

/// What a guard has done since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GuardStatistics {
    /// Failed logins.
    pub failures: u64,
    /// Bans of addresses.
    pub address_bans: u64,
    /// Bans of user names.
    pub username_bans: u64,
    /// Connections and logins that were refused because the address is banned.
    pub address_refusals: u64,
    /// Logins that were refused because the user name is banned.
    pub username_refusals: u64,
    /// Bans that an operator has lifted.
    pub lifted: u64,
    /// Refusals that were held back.
    pub delayed: u64,
    /// Refusals that were given at once because too many were held back already.
    pub undelayed: u64,
    /// Addresses and user names that were forgotten because others needed their place.
    pub evicted: u64,
    /// Addresses that are banned.
    pub banned_addresses: usize,
    /// User names that are banned.
    pub banned_usernames: usize,
}

/// An address as bans see it: IPv4 whole, of IPv6 the 64 bits that a network has, because the rest is free to choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefix(IpAddr);

/// Who is banned.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BanSubject {
    /// Everybody at an address.
    Address(Prefix),
    /// Everybody who gives this user name, except from where it has logged in before.
    Username(Box<str>),
}

/// A ban in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// Who is banned.
    pub subject: BanSubject,
    /// When it ends.
    pub until: Instant,
    /// Which one in a row this is; each is twice as long as the one before.
    pub number: u32,
}

/// What a failure leads to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Consequence {
    /// How long the refusal is to be held back.
    pub delay: Duration,
    /// Bans that begin with this failure, for the audit: of the address, of the user name, or of both.
    pub bans: Vec<Ban>,
}

impl Guard {
    /// One that has seen nobody fail.
    #[must_use]
    pub fn new(settings: &ProtectionSettings) -> Self {
        Self {
            any_bans: AtomicBool::new(false),
            state: Mutex::new(State {
                settings: settings.clone(),
                epoch: None,
                addresses: Table::new(ADDRESSES_MAX),
                usernames: Table::new(USERNAMES_MAX),
                known: Known::default(),
                delayed: BinaryHeap::new(),
                statistics: GuardStatistics::default(),
            }),
        }
    }

    /// Goes on with other settings. Bans stay as they are, except those of addresses that are never banned now.
    pub fn set(&self, settings: &ProtectionSettings, now: Instant) {
        let mut state = self.lock();
        let state = &mut *state;
        if state.settings.failure_window != settings.failure_window {
            state.addresses.forget_failures();
            state.usernames.forget_failures();
        }
        state.settings = settings.clone();
        let bans = state.addresses.bans(now);
        let free: Vec<Prefix> = bans
            .map(|(prefix, _)| *prefix)
            .filter(|prefix| state.settings.never_bans(prefix.0))
            .collect();
        for prefix in free {
            state.addresses.forget(&prefix, now);
        }
    }

    /// Whether connections from an address are to be closed without a word. Cheap, for every connection that comes.
    #[must_use]
    pub fn is_address_banned(&self, address: IpAddr, now: Instant) -> bool {
        if !self.any_bans.load(Ordering::Relaxed) {
            return false;
        }
        let mut state = self.lock();
        let is_banned = state.address_ban(Some(address), now).is_some();
        if is_banned {
            state.statistics.address_refusals += 1;
        }
        is_banned
    }

    /// Whether somebody at an address may try to log in with a user name. Asked before any work is done for it.
    pub fn check(
        &self,
        address: Option<IpAddr>,
        username: Option<&str>,
        now: Instant,
    ) -> Result<(), Ban> {
        if !self.any_bans.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.lock().check(address, username, now)
    }

    /// Notes that somebody was refused who is not who it says. Not for back ends that could not be asked.
    pub fn note_failure(
        &self,
        address: Option<IpAddr>,
        username: Option<&str>,
        now: Instant,
    ) -> Consequence {
        let mut state = self.lock();
        let consequence = state.fail(address, username, now);
        if !consequence.bans.is_empty() {
            self.any_bans.store(true, Ordering::Relaxed);
        }
        consequence
    }

    /// Notes that somebody has proven who it is, and remembers from where. Fails if a ban has begun since the check: then the
    /// client is refused all the same, so that many tries at one time bring no more than tries in a row.
    pub fn note_success(
        &self,
        address: Option<IpAddr>,
        username: Option<&str>,
        now: Instant,
    ) -> Result<(), Ban> {
        let mut state = self.lock();
        if self.any_bans.load(Ordering::Relaxed) {
            state.check(address, username, now)?;
        }
        if let Some(username) = username.filter(|username| !username.is_empty()) {
            state
                .known
                .note(name_of(username), address.map(Prefix::of), now);
        }
        Ok(())
    }

    /// Remembers from where a user name has logged in before this guard was made.
    pub fn remember(&self, address: IpAddr, username: &str, now: Instant) {
        let known = &mut self.lock().known;
        known.note(name_of(username), Some(Prefix::of(address)), now);
    }

    /// All bans in force: of addresses, then of user names, those that end first in front.
    #[must_use]
    pub fn list(&self, now: Instant) -> Vec<Ban> {
        let state = self.lock();
        let addresses = state.addresses.bans(now).map(|(prefix, term)| {
            let subject = BanSubject::Address(*prefix);
            term.of(subject)
        });
        let usernames = state.usernames.bans(now).map(|(username, term)| {
            let subject = BanSubject::Username(username.clone());
            term.of(subject)
        });
        addresses.chain(usernames).collect()
    }

    /// Ends the bans of an address, of a network as [`Prefix`] writes it, and of a user name of this text, and forgets the
    /// failures that led to them. Returns who was banned.
    pub fn lift(&self, text: &str, now: Instant) -> Vec<BanSubject> {
        let mut state = self.lock();
        let mut lifted = Vec::new();
        let address = text.strip_suffix("/64").unwrap_or(text).parse().ok();
        if let Some(prefix) = address.map(Prefix::of)
            && state.addresses.forget(&prefix, now)
        {
            lifted.push(BanSubject::Address(prefix));
        }
        let username = name_of(text);
        if state.usernames.forget(&username, now) {
            lifted.push(BanSubject::Username(username));
        }
        state.statistics.lifted += lifted.len() as u64;
        lifted
    }

    /// What was done so far, and how many are banned.
    #[must_use]
    pub fn statistics(&self, now: Instant) -> GuardStatistics {
        let mut state = self.lock();
        state.addresses.end_bans(now);
        state.usernames.end_bans(now);
        let banned_addresses = state.addresses.bans_len();
        let banned_usernames = state.usernames.bans_len();
        let any_bans = banned_addresses + banned_usernames > 0;
        self.any_bans.store(any_bans, Ordering::Relaxed);
        GuardStatistics {
            evicted: state.addresses.evicted() + state.usernames.evicted(),
            banned_addresses,
            banned_usernames,
            ..state.statistics
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn check(
        &mut self,
        address: Option<IpAddr>,
        username: Option<&str>,
        now: Instant,
    ) -> Result<(), Ban> {
        if let Some(ban) = self.address_ban(address, now) {
            self.statistics.address_refusals += 1;
            return Err(ban);
        }
        if let Some(ban) = self.username_ban(address, username, now) {
            self.statistics.username_refusals += 1;
            return Err(ban);
        }
        Ok(())
    }

    fn address_ban(&self, address: Option<IpAddr>, now: Instant) -> Option<Ban> {
        let prefix = Prefix::of(address?);
        let term = self.addresses.ban(&prefix, now)?;
        Some(term.of(BanSubject::Address(prefix)))
    }

    fn username_ban(
        &self,
        address: Option<IpAddr>,
        username: Option<&str>,
        now: Instant,
    ) -> Option<Ban> {
        let username = name_of(username?);
        let term = self.usernames.ban(&username, now)?;
        let is_exempt = self.settings.never_bans_any(address)
            || self.known.has(&username, address.map(Prefix::of));
        (!is_exempt).then(|| term.of(BanSubject::Username(username)))
    }

    fn fail(
        &mut self,
        address: Option<IpAddr>,
        username: Option<&str>,
        now: Instant,
    ) -> Consequence {
        self.statistics.failures += 1;
        let epoch = *self.epoch.get_or_insert(now);
        let is_allowed = self.settings.never_bans_any(address);
        let mut failures = 1;
        let mut bans = Vec::new();
        if let Some(address) = address {
            let max = self.settings.failures_per_address_max;
            let terms = self.settings.terms(if is_allowed { 0 } else { max });
            let prefix = Prefix::of(address);
            let failed = self.addresses.fail(&prefix, &terms, epoch, now);
            failures = failures.max(failed.failures);
            if let Some(term) = failed.banned {
                self.statistics.address_bans += 1;
                bans.push(term.of(BanSubject::Address(prefix)));
            }
        }
        // Failures from where nobody is banned must not ban the name for everybody else.
        if let Some(username) = username.filter(|name| !name.is_empty() && !is_allowed) {
            let terms = self.settings.terms(self.settings.failures_per_username_max);
            let username = name_of(username);
            let failed = self.usernames.fail(&username, &terms, epoch, now);
            failures = failures.max(failed.failures);
            if let Some(term) = failed.banned {
                self.statistics.username_bans += 1;
                bans.push(term.of(BanSubject::Username(username)));
            }
        }
        let delay = match is_allowed {
            true => Duration::ZERO,
            false => self.delay(failures, now),
        };
        Consequence { delay, bans }
    }

    /// How long the answer to the last of so many failures is held back.
    fn delay(&mut self, failures: u32, now: Instant) -> Duration {
        while self.delayed.peek().is_some_and(|end| end.0 <= now) {
            self.delayed.pop();
        }
        if self.delayed.len() >= DELAYED_MAX {
            self.statistics.undelayed += 1;
            return Duration::ZERO;
        }
        let doublings = failures.saturating_sub(1).min(16);
        let delay = FIRST_DELAY.saturating_mul(1 << doublings).min(DELAY_MAX);
        self.delayed.push(Reverse(now + delay));
        self.statistics.delayed += 1;
        delay
    }
}

impl ProtectionSettings {
    fn terms(&self, failures_max: u32) -> Terms {
        Terms {
            failures_max,
            window: self.failure_window,
            ban_time: self.ban_time,
            ban_time_max: self.ban_time_max,
        }
    }

    fn never_bans(&self, address: IpAddr) -> bool {
        let mut networks = self.never_banned.iter();
        networks.any(|network| network.contains(address))
    }

    fn never_bans_any(&self, address: Option<IpAddr>) -> bool {
        address.is_some_and(|address| self.never_bans(address))
    }
}

impl Term {
    fn of(self, subject: BanSubject) -> Ban {
        Ban {
            subject,
            until: self.until,
            number: self.number,
        }
    }
}

impl Prefix {
    /// The part of an address that bans see.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = address.to_bits() >> 64 << 64;
                Self(Ipv6Addr::from_bits(network).into())
            }
            address @ IpAddr::V4(_) => Self(address),
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => write!(f, "{address}"),
            IpAddr::V6(address) => write!(f, "{address}/64"),
        }
    }
}

impl fmt::Display for BanSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(prefix) => prefix.fmt(f),
            Self::Username(username) => f.write_str(username),
        }
    }
}

/// The beginning of a user name that stands for it: nobody fills memory with long ones.
fn name_of(username: &str) -> Box<str> {
    let end = username.floor_char_boundary(USERNAME_BYTES_MAX);
    username.get(..end).unwrap_or(username).into()
}

/// From where user names have logged in, by the newest login. `None` is a client on this machine that has no address.
#[derive(Debug, Default)]
struct Known {
    usernames: BTreeMap<Box<str>, (Instant, VecDeque<Option<Prefix>>)>,
    order: BTreeSet<(Instant, Box<str>)>,
}

impl Known {
    fn has(&self, username: &str, address: Option<Prefix>) -> bool {
        let known = self.usernames.get(username);
        known.is_some_and(|(_, addresses)| addresses.contains(&address))
    }

    fn note(&mut self, username: Box<str>, address: Option<Prefix>, now: Instant) {
        let mut addresses = match self.usernames.remove(&username) {
            Some((since, addresses)) => {
                self.order.remove(&(since, username.clone()));
                addresses
            }
            None => VecDeque::new(),
        };
        if self.usernames.len() >= KNOWN_USERNAMES_MAX
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.usernames.remove(&oldest);
        }
        addresses.retain(|known| *known != address);
        addresses.truncate(KNOWN_ADDRESSES_MAX - 1);
        addresses.push_front(address);
        self.order.insert((now, username.clone()));
        self.usernames.insert(username, (now, addresses));
    }
}
