//! Which connections are taken: bounds of the gateway, of a port, and of one address.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tracing::{debug, info, warn};

use super::handshake::HandshakeFault;
use super::port::{PortContext, PortTerms, Refusal};
use crate::clock;
use crate::limits::{PortLimits, REFUSALS_ANSWERED_MAX};

/// Addresses that a port keeps count of. Beyond that new addresses are served uncounted: whoever commands so many is
/// bounded by `connections_max` alone, and the others go on.
const ADDRESSES_MAX: usize = 16 * 1024;

/// Time over which the rate of an address is averaged.
const RATE_WINDOW: Duration = Duration::from_secs(10);

/// Time between two log entries about the same kind of trouble on a port.
const BURST: Duration = Duration::from_secs(10);

/// Connections of the whole gateway.
#[derive(Debug)]
pub(crate) struct Gate {
    connections: AtomicU32,
    max: AtomicU32,
    emptied: Notify,
    /// Places for connections that are told why they are not taken.
    answers: Arc<Semaphore>,
}

impl Gate {
    /// A gate that lets `max` connections in at one time.
    pub(crate) fn new(max: u32) -> Self {
        Self {
            connections: AtomicU32::new(0),
            max: AtomicU32::new(max),
            emptied: Notify::new(),
            answers: Arc::new(Semaphore::new(REFUSALS_ANSWERED_MAX)),
        }
    }

    /// Changes the bound; who is in stays in.
    pub(crate) fn set_max(&self, max: u32) {
        self.max.store(max, Ordering::Relaxed);
    }

    /// Connections that are in.
    pub(crate) fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Waits until nobody is in.
    pub(crate) async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.connections() == 0 {
                return;
            }
            emptied.await;
        }
    }

    fn enter(&self) -> bool {
        let before = self.connections.fetch_add(1, Ordering::Relaxed);
        let entered = before < self.max.load(Ordering::Relaxed);
        if !entered {
            self.leave();
        }
        entered
    }

    fn leave(&self) {
        if self.connections.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.emptied.notify_waiters();
        }
    }
}

/// What a port needs to judge a connection, and to say so when it was not taken.
#[derive(Debug)]
pub(crate) struct Admission {
    gate: Arc<Gate>,
    context: Arc<PortContext>,
    addresses: Mutex<AddressTable>,
    refusals: Burst,
    faults: Burst,
}

/// A place in the gateway and in its port, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    admission: Arc<Admission>,
    address: Option<AddressKey>,
}

impl Admission {
    /// The admission of one port.
    pub(crate) fn new(gate: Arc<Gate>, context: Arc<PortContext>) -> Self {
        Self {
            gate,
            context,
            addresses: Mutex::default(),
            refusals: Burst::default(),
            faults: Burst::default(),
        }
    }

    /// The port.
    pub(crate) fn context(&self) -> &Arc<PortContext> {
        &self.context
    }

    /// Counts and logs a connection that was not taken.
    pub(crate) fn note_refused(&self, reason: Refusal, peer: Option<SocketAddr>) {
        self.context.counters().count_refused(reason);
        if let Some(unlogged) = self.refusals.note(clock::now()) {
            let (port, peer) = (self.context.endpoint(), Shown(peer));
            warn!(port, %peer, %reason, unlogged = several(unlogged), "connection refused");
        }
    }

    /// A place for a connection that is told why it is not taken; none while too many are being told.
    pub(crate) fn place_to_answer(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.gate.answers).try_acquire_owned().ok()
    }

    /// Counts and logs a connection whose handshake failed.
    pub(crate) fn note_handshake_failed(&self, fault: &HandshakeFault, peer: Option<SocketAddr>) {
        self.context.counters().count_handshake_failed();
        let (port, peer) = (self.context.endpoint(), Shown(peer));
        if fault.is_silent_end() {
            debug!(port, %peer, "{fault}");
        } else if let Some(unlogged) = self.faults.note(clock::now()) {
            info!(port, %peer, unlogged = several(unlogged), "{fault}");
        }
    }

    /// Counts and logs a connection whose handshake took too long.
    pub(crate) fn note_handshake_timed_out(&self, peer: Option<SocketAddr>) {
        self.context.counters().count_handshake_timed_out();
        if let Some(unlogged) = self.faults.note(clock::now()) {
            let (port, peer) = (self.context.endpoint(), Shown(peer));
            info!(port, %peer, unlogged = several(unlogged), "the handshake took too long");
        }
    }

    /// Takes a connection in, or says which bound it would exceed.
    pub(crate) fn enter(self: &Arc<Self>, limits: &PortLimits) -> Result<Permit, Refusal> {
        let counters = self.context.counters();
        if !self.gate.enter() {
            return Err(Refusal::GatewayFull);
        }
        let on_port = counters.connection_began();
        let permit = Permit {
            admission: Arc::clone(self),
            address: None,
        };
        match limits.connections_max {
            Some(max) if on_port > max => Err(Refusal::PortFull),
            _ => Ok(permit),
        }
    }

    fn lock(&self) -> MutexGuard<'_, AddressTable> {
        self.addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A peer in a log entry.
struct Shown(Option<SocketAddr>);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("local"),
        }
    }
}

impl Permit {
    /// The admission that gave it.
    pub(crate) fn admission(&self) -> &Arc<Admission> {
        &self.admission
    }

    /// Judges the address that the connection comes from, once that is known.
    pub(crate) fn check_address(
        &mut self,
        address: IpAddr,
        terms: &PortTerms,
        now: Instant,
    ) -> Result<(), Refusal> {
        if terms.access.guard().is_address_banned(address, now) {
            return Err(Refusal::AddressBanned);
        }
        let limits = &terms.limits;
        if limits.connections_per_address_max == 0 && limits.connection_rate_per_address_max == 0 {
            return Ok(());
        }
        let key = AddressKey::new(address);
        if self.admission.lock().enter(key, limits, now)? {
            self.address = Some(key);
        }
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(key) = self.address.take() {
            self.admission.lock().leave(key);
        }
        self.admission.context.counters().connection_ended();
        self.admission.gate.leave();
    }
}

/// An address as far as it tells one party from another: of IPv6 the network, because a host has all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct AddressKey(IpAddr);

impl AddressKey {
    fn new(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
            v4 => v4,
        })
    }
}

/// Connections and credit of the addresses of a port.
#[derive(Debug, Default)]
struct AddressTable {
    addresses: HashMap<AddressKey, AddressState>,
    swept: Option<Instant>,
}

#[derive(Debug)]
struct AddressState {
    connections: u32,
    /// Thousandths of connections that may come now.
    credit: u64,
    at: Instant,
}

impl AddressState {
    fn refill(&mut self, rate: u64, now: Instant) {
        let elapsed = now.saturating_duration_since(self.at).as_millis();
        let earned = u64::try_from(elapsed)
            .unwrap_or(u64::MAX)
            .saturating_mul(rate);
        self.credit = self.credit.saturating_add(earned).min(full(rate));
        self.at = now;
    }
}

/// Credit of an address that has not been here for a while.
fn full(rate: u64) -> u64 {
    rate.saturating_mul(RATE_WINDOW.as_millis() as u64)
}

impl AddressTable {
    /// True if the connection is counted and must leave later.
    fn enter(
        &mut self,
        key: AddressKey,
        limits: &PortLimits,
        now: Instant,
    ) -> Result<bool, Refusal> {
        let rate = u64::from(limits.connection_rate_per_address_max);
        if !self.addresses.contains_key(&key) && !self.make_room(now) {
            return Ok(false);
        }
        let state = self.addresses.entry(key).or_insert(AddressState {
            connections: 0,
            credit: full(rate),
            at: now,
        });
        state.refill(rate, now);
        let max = limits.connections_per_address_max;
        if max > 0 && state.connections >= max {
            return Err(Refusal::AddressFull);
        }
        if rate > 0 {
            state.credit = state.credit.checked_sub(1000).ok_or(Refusal::AddressRate)?;
        }
        state.connections += 1;
        Ok(true)
    }

    fn leave(&mut self, key: AddressKey) {
        if let Some(state) = self.addresses.get_mut(&key) {
            state.connections = state.connections.saturating_sub(1);
        }
    }

    /// Forgets addresses that have no connection and no debt, if the table is full. At most once a second.
    fn make_room(&mut self, now: Instant) -> bool {
        if self.addresses.len() < ADDRESSES_MAX {
            return true;
        }
        let since = |then| now.saturating_duration_since(then);
        if self.swept.is_some_and(|then| since(then).as_secs() < 1) {
            return false;
        }
        self.swept = Some(now);
        self.addresses
            .retain(|_, state| state.connections > 0 || since(state.at) < RATE_WINDOW);
        self.addresses.len() < ADDRESSES_MAX
    }
}

/// Keeps a kind of trouble that comes a thousand times from being logged a thousand times.
#[derive(Debug, Default)]
pub(crate) struct Burst(Mutex<BurstState>);

#[derive(Debug, Default)]
struct BurstState {
    logged: Option<Instant>,
    unlogged: u64,
}

impl Burst {
    /// Whether to log this one; with the number of those that were not logged since.
    pub(crate) fn note(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let again = state
            .logged
            .is_none_or(|then| now.saturating_duration_since(then) >= BURST);
        if !again {
            state.unlogged += 1;
            return None;
        }
        state.logged = Some(now);
        Some(std::mem::take(&mut state.unlogged))
    }
}

/// A number of entries that were left out, if there were any.
pub(super) fn several(unlogged: u64) -> Option<u64> {
    (unlogged > 0).then_some(unlogged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    fn admission(gateway_max: u32) -> (Arc<Gate>, Arc<Admission>) {
        let settings = Settings::default();
        let context = Arc::new(PortContext::new(
            settings.ports().next().unwrap(),
            &crate::auth::Access::for_tests(),
        ));
        let gate = Arc::new(Gate::new(gateway_max));
        (Arc::clone(&gate), Arc::new(Admission::new(gate, context)))
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_place_is_given_back() {
        let (gate, admission) = admission(2);
        let limits = PortLimits::default();
        let first = admission.enter(&limits).unwrap();
        let _second = admission.enter(&limits).unwrap();
        assert_eq!(admission.enter(&limits).unwrap_err(), Refusal::GatewayFull);
        assert_eq!(gate.connections(), 2);
        drop(first);
        let _third = admission.enter(&limits).unwrap();
        gate.set_max(3);
        let _fourth = admission.enter(&limits).unwrap();
    }

    #[test]
    fn a_port_may_have_a_bound_of_its_own() {
        let (gate, admission) = admission(10);
        let limits = PortLimits {
            connections_max: Some(1),
            ..PortLimits::default()
        };
        let first = admission.enter(&limits).unwrap();
        assert_eq!(admission.enter(&limits).unwrap_err(), Refusal::PortFull);
        assert_eq!(gate.connections(), 1);
        drop(first);
        assert_eq!(admission.context.counters().connections(), 0);
        assert!(admission.enter(&limits).is_ok());
    }

    #[test]
    fn connections_of_a_banned_address_are_not_taken() {
        let (_, admission) = admission(10);
        let terms = admission.context().terms();
        let now = clock::now();
        let enter = |from| {
            let mut permit = admission.enter(&terms.limits).unwrap();
            permit.check_address(address(from), &terms, now)
        };
        assert!(enter("192.0.2.1").is_ok());
        for _ in 0..100 {
            let guard = terms.access.guard();
            guard.note_failure(Some(address("192.0.2.1")), None, now);
        }
        assert_eq!(enter("192.0.2.1"), Err(Refusal::AddressBanned));
        assert!(enter("192.0.2.2").is_ok());
    }

    #[test]
    fn connections_of_one_address_are_bounded() {
        let (_, admission) = admission(10);
        let now = clock::now();
        let mut settings = Settings::default().ports().next().unwrap().clone();
        settings.limits.connections_per_address_max = 1;
        let terms = PortTerms::new(&settings, &crate::auth::Access::for_tests());
        let enter = |from| {
            let mut permit = admission.enter(&terms.limits).unwrap();
            permit
                .check_address(address(from), &terms, now)
                .map(|()| permit)
        };
        let first = enter("192.0.2.1").unwrap();
        let same = enter("::ffff:192.0.2.1").unwrap_err();
        assert_eq!(same, Refusal::AddressFull);
        let _other = enter("192.0.2.2").unwrap();
        let _network = enter("2001:db8::1").unwrap();
        let neighbour = enter("2001:db8::ffff:1").unwrap_err();
        assert_eq!(neighbour, Refusal::AddressFull);
        drop(first);
        assert!(enter("192.0.2.1").is_ok());
    }

    #[test]
    fn the_rate_of_one_address_is_averaged() {
        let mut table = AddressTable::default();
        let begin = clock::now();
        let limits = PortLimits {
            connection_rate_per_address_max: 2,
            ..PortLimits::default()
        };
        let key = AddressKey::new(address("192.0.2.1"));
        let mut taken_at = |seconds: u64, tries: usize| {
            let now = begin + Duration::from_secs(seconds);
            (0..tries)
                .filter(|_| table.enter(key, &limits, now).is_ok())
                .count()
        };
        assert_eq!(taken_at(0, 100), 20);
        assert_eq!(taken_at(1, 100), 2);
        assert_eq!(taken_at(1000, 100), 20);
    }

    #[test]
    fn the_table_is_bounded_and_forgets() {
        let mut table = AddressTable::default();
        let begin = clock::now();
        let limits = PortLimits {
            connection_rate_per_address_max: 1,
            ..PortLimits::default()
        };
        let key = |n: u32| AddressKey::new(IpAddr::V4(n.into()));
        for n in 0..ADDRESSES_MAX as u32 {
            assert_eq!(table.enter(key(n), &limits, begin), Ok(true));
            table.leave(key(n));
        }
        assert_eq!(table.enter(key(u32::MAX), &limits, begin), Ok(false));
        assert_eq!(table.addresses.len(), ADDRESSES_MAX);
        let later = begin + 2 * RATE_WINDOW;
        assert_eq!(table.enter(key(u32::MAX), &limits, later), Ok(true));
        assert_eq!(table.addresses.len(), 1);
    }

    #[test]
    fn a_burst_is_logged_once() {
        let burst = Burst::default();
        let begin = clock::now();
        assert_eq!(burst.note(begin), Some(0));
        assert_eq!(burst.note(begin), None);
        assert_eq!(burst.note(begin + BURST / 2), None);
        assert_eq!(burst.note(begin + BURST), Some(2));
        assert_eq!(burst.note(begin + BURST), None);
    }
}
