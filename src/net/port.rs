//! What the links of one port share.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::task::{Context, Poll, Waker};

use super::access_counters::LoginCounters;
use crate::auth::{Access, Acl, Authenticator};
use crate::broker::PortPolicy;
use crate::config::{self, ListenerName, PortSettings, Protocol};
use crate::limits::PortLimits;
use crate::policy;

/// One port as its links see it. Shared by all of them; what may change while the port is open is in [`PortTerms`].
#[derive(Debug)]
pub struct PortContext {
    endpoint: Box<str>,
    listener: ListenerName,
    protocol: Protocol,
    is_for_probes: bool,
    terms: RwLock<Arc<PortTerms>>,
    counters: PortCounters,
    end: EndSignal,
}

/// What a connection is served on: taken once when it is accepted, so that a change of the configuration concerns the
/// connections that come after it.
#[derive(Debug)]
pub struct PortTerms {
    /// Bounds of the port.
    pub limits: Arc<PortLimits>,
    /// The means of everything that says who may do what.
    pub access: Arc<Access>,
    /// Who says who a client is.
    pub authenticator: Arc<Authenticator>,
    /// Who is asked about topics that no rule decides.
    pub acl: Option<Arc<Acl>>,
    /// What the core goes by.
    pub policy: Arc<PortPolicy>,
}

impl PortTerms {
    /// The terms that the settings of a port ask for.
    pub fn new(settings: &PortSettings, access: &Arc<Access>) -> Self {
        let limits = Arc::new(settings.limits.clone());
        let mount_point = settings.mount_point.as_ref();
        Self {
            access: Arc::clone(access),
            authenticator: access.authenticator(&settings.authentication),
            acl: access.acl(&settings.authorization),
            policy: Arc::new(PortPolicy {
                endpoint: settings.endpoint.to_string().into(),
                limits: Arc::clone(&limits),
                mount_point: mount_point.map_or_else(Box::default, |prefix| prefix.as_str().into()),
                authorization: match &settings.authorization {
                    config::Authorization::None => policy::Authorization::None,
                    config::Authorization::Named(named) => {
                        policy::Authorization::Rules(access.rules(&named.rules))
                    }
                },
            }),
            limits,
        }
    }
}

impl PortContext {
    /// A port that has served nobody yet.
    pub fn new(settings: &PortSettings, access: &Arc<Access>) -> Self {
        Self {
            endpoint: settings.endpoint.to_string().into(),
            listener: settings.listener.clone(),
            protocol: settings.protocol,
            is_for_probes: false,
            terms: RwLock::new(Arc::new(PortTerms::new(settings, access))),
            counters: PortCounters::default(),
            end: EndSignal::default(),
        }
    }

    /// The inner way of the health gate: it listens nowhere, and lets in who has a ticket.
    pub fn for_probes(settings: &PortSettings, access: &Arc<Access>) -> Self {
        Self {
            endpoint: "control socket".into(),
            is_for_probes: true,
            ..Self::new(settings, access)
        }
    }

    /// Whether nobody is let in but probes.
    pub fn is_for_probes(&self) -> bool {
        self.is_for_probes
    }

    /// Name of the port in logs, metrics and status, `127.0.0.1:1883`.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The group that the port belongs to.
    pub fn listener(&self) -> &ListenerName {
        &self.listener
    }

    /// What is spoken above TCP or TLS.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The terms for a connection that is accepted now.
    pub fn terms(&self) -> Arc<PortTerms> {
        self.terms
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Changes the terms for the connections to come.
    pub fn set_terms(&self, terms: PortTerms) {
        *self.terms.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(terms);
    }

    /// What the port has counted.
    pub fn counters(&self) -> &PortCounters {
        &self.counters
    }

    /// Why the links of this port have to end, if they do. One atomic load.
    pub fn end(&self) -> Option<PortEnd> {
        self.end.get()
    }

    /// Completes when the links of this port have to end.
    ///
    /// Cheap to poll again and again: the waker is left behind once, after that a poll is one atomic load.
    pub fn ended(&self) -> Ended<'_> {
        Ended {
            signal: &self.end,
            left: None,
        }
    }

    /// Tells every link of this port to end. The first reason stays.
    pub fn finish(&self, reason: PortEnd) {
        self.end.set(reason);
    }
}

/// Why the links of a port have to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortEnd {
    /// The port is no longer in the configuration, or no longer the same: Administrative action (0x98).
    Removed,
    /// The gateway stops: Server shutting down (0x8B).
    Stopping,
}

/// Why a connection was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `connections_max` of the gateway.
    GatewayFull,
    /// `connections_max` of the port.
    PortFull,
    /// `connections_per_address_max` of the port.
    AddressFull,
    /// `connection_rate_per_address_max` of the port.
    AddressRate,
    /// The address is banned because logins from it failed too often.
    AddressBanned,
}

impl Refusal {
    /// Every reason.
    pub const ALL: [Self; 5] = [
        Self::GatewayFull,
        Self::PortFull,
        Self::AddressFull,
        Self::AddressRate,
        Self::AddressBanned,
    ];

    /// The word used in logs, metrics and status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GatewayFull => "gateway_full",
            Self::PortFull => "port_full",
            Self::AddressFull => "address_full",
            Self::AddressRate => "address_rate",
            Self::AddressBanned => "address_banned",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a port has counted since it was opened.
#[derive(Debug, Default)]
pub struct PortCounters {
    connections: AtomicU32,
    accepted: AtomicU64,
    refused: [AtomicU64; Refusal::ALL.len()],
    handshakes_failed: AtomicU64,
    handshakes_timed_out: AtomicU64,
    accept_errors: AtomicU64,
    logins: LoginCounters,
}

impl PortCounters {
    /// What became of logins.
    pub fn logins(&self) -> &LoginCounters {
        &self.logins
    }

    /// Connections served now, those in their handshake included.
    pub fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Connections taken in.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Connections not taken because a bound was reached.
    pub fn refused(&self, reason: Refusal) -> u64 {
        self.refused_cell(reason).load(Ordering::Relaxed)
    }

    /// PROXY, TLS and WebSocket handshakes that failed, without those that took too long.
    pub fn handshakes_failed(&self) -> u64 {
        self.handshakes_failed.load(Ordering::Relaxed)
    }

    /// Handshakes that took longer than `handshake_timeout`.
    pub fn handshakes_timed_out(&self) -> u64 {
        self.handshakes_timed_out.load(Ordering::Relaxed)
    }

    /// Times that the system gave us no connection although one was waiting.
    pub fn accept_errors(&self) -> u64 {
        self.accept_errors.load(Ordering::Relaxed)
    }

    pub(crate) fn connection_began(&self) -> u32 {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        self.connections.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn connection_ended(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn count_refused(&self, reason: Refusal) {
        self.refused_cell(reason).fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_handshake_failed(&self) {
        self.handshakes_failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_handshake_timed_out(&self) {
        self.handshakes_timed_out.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_accept_error(&self) {
        self.accept_errors.fetch_add(1, Ordering::Relaxed);
    }

    fn refused_cell(&self, reason: Refusal) -> &AtomicU64 {
        let [
            gateway_full,
            port_full,
            address_full,
            address_rate,
            address_banned,
        ] = &self.refused;
        match reason {
            Refusal::GatewayFull => gateway_full,
            Refusal::PortFull => port_full,
            Refusal::AddressFull => address_full,
            Refusal::AddressRate => address_rate,
            Refusal::AddressBanned => address_banned,
        }
    }
}

/// A reason that is given once, and the wakers of those who wait for it.
#[derive(Debug, Default)]
struct EndSignal {
    reason: AtomicU8,
    wakers: Mutex<WakerSlots>,
}

#[derive(Debug, Default)]
struct WakerSlots {
    slots: Vec<Option<Waker>>,
    free: Vec<u32>,
}

impl EndSignal {
    fn get(&self) -> Option<PortEnd> {
        match self.reason.load(Ordering::Acquire) {
            0 => None,
            1 => Some(PortEnd::Removed),
            _ => Some(PortEnd::Stopping),
        }
    }

    fn set(&self, reason: PortEnd) {
        let code = match reason {
            PortEnd::Removed => 1,
            PortEnd::Stopping => 2,
        };
        // The lock orders this against a waiter that has looked and is about to leave its waker.
        let wakers = {
            let mut slots = self.lock();
            let first = self
                .reason
                .compare_exchange(0, code, Ordering::AcqRel, Ordering::Acquire);
            if first.is_err() {
                return;
            }
            slots.take_all()
        };
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, WakerSlots> {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WakerSlots {
    fn insert(&mut self, waker: Waker) -> u32 {
        if let Some(index) = self.free.pop()
            && let Some(slot) = self.slots.get_mut(index as usize)
        {
            *slot = Some(waker);
            return index;
        }
        self.slots.push(Some(waker));
        (self.slots.len() - 1) as u32
    }

    fn remove(&mut self, index: u32) {
        if let Some(slot) = self.slots.get_mut(index as usize)
            && slot.take().is_some()
        {
            self.free.push(index);
        }
    }

    fn take_all(&mut self) -> Vec<Option<Waker>> {
        self.free = Vec::new();
        std::mem::take(&mut self.slots)
    }
}

/// Future of [`PortContext::ended`].
#[derive(Debug)]
pub struct Ended<'a> {
    signal: &'a EndSignal,
    left: Option<(u32, Waker)>,
}

impl Future for Ended<'_> {
    type Output = PortEnd;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<PortEnd> {
        if let Some(reason) = self.signal.get() {
            return Poll::Ready(reason);
        }
        if let Some((_, waker)) = &self.left
            && waker.will_wake(cx.waker())
        {
            return Poll::Pending;
        }
        let signal = self.signal;
        let mut slots = signal.lock();
        if let Some(reason) = signal.get() {
            return Poll::Ready(reason);
        }
        if let Some((index, _)) = self.left.take() {
            slots.remove(index);
        }
        let index = slots.insert(cx.waker().clone());
        self.left = Some((index, cx.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        if let Some((index, _)) = self.left.take() {
            self.signal.lock().remove(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    fn port() -> Arc<PortContext> {
        let settings = Settings::default();
        Arc::new(PortContext::new(
            settings.ports().next().unwrap(),
            &Access::for_tests(),
        ))
    }

    #[tokio::test]
    async fn every_waiter_hears_that_the_port_ends() {
        let port = port();
        let waiters: Vec<_> = (0..100)
            .map(|_| {
                let port = port.clone();
                tokio::spawn(async move { port.ended().await })
            })
            .collect();
        tokio::task::yield_now().await;
        port.finish(PortEnd::Removed);
        port.finish(PortEnd::Stopping);
        for waiter in waiters {
            assert_eq!(waiter.await.unwrap(), PortEnd::Removed);
        }
        assert_eq!(port.ended().await, PortEnd::Removed);
    }

    #[tokio::test]
    async fn a_waiter_that_goes_away_leaves_its_place() {
        let port = port();
        for _ in 0..100 {
            let ended = port.ended();
            assert!(
                tokio::time::timeout(std::time::Duration::ZERO, ended)
                    .await
                    .is_err()
            );
        }
        assert_eq!(port.end.lock().slots.len(), 1);
        assert_eq!(port.end.lock().free.len(), 1);
    }

    #[test]
    fn changed_terms_are_for_those_who_come_after() {
        let port = port();
        let before = port.terms();
        let mut settings = Settings::default().ports().next().unwrap().clone();
        settings.limits.receive_maximum = 7;
        port.set_terms(PortTerms::new(&settings, &Access::for_tests()));
        assert_eq!(before.limits.receive_maximum, 1024);
        assert_eq!(port.terms().limits.receive_maximum, 7);
    }
}
