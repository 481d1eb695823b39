//! Where links meet the core: one lock, taken once for all packets of a read, and the wakers of the links.

use std::hash::{BuildHasher, RandomState};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::thread::Thread;
use std::time::Instant;

use tokio::sync::Notify;
use tracing::warn;

use super::denials::DenialLog;
use super::faults::Faults;
use super::identity::Identity;
use crate::auth::Standing;
use crate::broker::{
    Admission, Broker, ConnectionId, Denial, Effect, Inquiry, Outbox, PortPolicy, Refusal,
    Restored, Review, SessionId, Timestamp,
};
use crate::clock;
use crate::limits::Limits;
use crate::mqtt::ReasonCode;

/// Sessions that are reviewed before others have their turn: about a millisecond.
const SESSIONS_PER_REVIEW: usize = 128;

/// The core and the links that it serves.
#[derive(Debug)]
pub struct Hub {
    state: Mutex<State>,
    started: Instant,
    base: Timestamp,
    timer_moved: Notify,
    faults: Faults,
    denials: DenialLog,
}

#[derive(Debug)]
struct State {
    broker: Broker,
    /// By the slot of the connection.
    links: Vec<LinkState>,
    /// When the timer task wakes up by itself.
    timer_at: Option<Timestamp>,
    store: Option<StoreLink>,
    /// The writer of the store is wanted.
    store_wanted: bool,
    /// Clients whose messages are being dropped, to be reported when the lock is free: the journal may be slow.
    overflows: Vec<String>,
    /// What clients were denied, and how much more of that was not written down.
    denials: Vec<Denial>,
    denials_unnoted: u64,
}

/// The threads that store what the core keeps.
#[derive(Clone, Debug)]
pub struct StoreLink {
    /// Takes batches; is unparked when there are changes to store.
    pub writer: Thread,
    /// Takes sessions whose messages are to be read.
    pub loads: Sender<SessionId>,
}

/// What the core has for a link besides output.
#[derive(Debug, Default)]
struct LinkState {
    waker: Option<Waker>,
    close: bool,
    paused: bool,
    /// Who the client is; none before it is known, and after the connection is gone.
    identity: Option<(ConnectionId, Box<Identity>)>,
    /// There are questions about topics of the client.
    asks: bool,
}

/// What a link finds when it comes to the core.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// What to write.
    pub(super) outbox: Outbox,
    /// Close when everything is written.
    pub(super) close: bool,
    /// Do not read.
    pub(super) paused: bool,
    /// More waits for the client than it may leave unread.
    pub(super) congested: bool,
    /// Come again: the core has stopped in the middle, so that others have their turn.
    pub(super) again: bool,
    /// What somebody is to be asked about topics of the client.
    pub(super) inquiry: Option<Inquiry>,
}

/// What became of a client that was looked at again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reviewed {
    /// It is disconnected, for this reason.
    Gone(&'static str),
    /// It has other attributes, and what that has come to.
    Changed(Review),
}

/// The core during the turn of one link.
pub(super) struct Held<'a> {
    pub(super) broker: &'a mut Broker,
    pub(super) now: Timestamp,
    /// The link is still to pause.
    pub(super) paused: bool,
    /// More waits for the client than it may leave unread.
    pub(super) congested: bool,
}

impl Hub {
    /// A hub around a new broker, whose time begins at `base`.
    #[must_use]
    pub fn new(limits: Limits, base: Timestamp) -> Self {
        Self {
            state: Mutex::new(State {
                broker: Broker::new(limits, random(), env!("CARGO_PKG_VERSION")),
                links: Vec::new(),
                timer_at: None,
                store: None,
                store_wanted: false,
                overflows: Vec::new(),
                denials: Vec::new(),
                denials_unnoted: 0,
            }),
            started: clock::now(),
            base,
            timer_moved: Notify::new(),
            faults: Faults::default(),
            denials: DenialLog::default(),
        }
    }

    /// Takes up what a store has kept, and has changes stored from here on. To be called before there are links.
    pub fn restore(&self, restored: Restored, store: StoreLink) {
        let mut state = self.lock();
        state.store = Some(store);
        state.broker.restore(restored);
        state.carry_out(None);
        self.leave(state);
    }

    /// The time as the core counts it: milliseconds from the base that the hub was made with.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.base + clock::now().duration_since(self.started)
    }

    /// A point in time as the core counts it.
    pub(super) fn timestamp(&self, at: Option<Instant>) -> Option<Timestamp> {
        Some(self.base + at?.saturating_duration_since(self.started))
    }

    /// What clients did wrong.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// When the hub was made.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Gives the core something to do or asks it something, then carries out what it wants.
    pub fn with<T>(&self, work: impl FnOnce(&mut Broker, Timestamp) -> T) -> T {
        let now = self.now();
        let mut state = self.lock();
        let result = work(&mut state.broker, now);
        state.carry_out(None);
        self.leave(state);
        result
    }

    /// Runs the timers of the core. The composition root spawns this once.
    pub async fn run_timers(&self) {
        loop {
            let next = {
                let now = self.now();
                let mut state = self.lock();
                state.broker.handle_timeout(now);
                state.carry_out(None);
                let next = state.broker.poll_timeout();
                state.timer_at = next;
                self.leave(state);
                next
            };
            let moved = self.timer_moved.notified();
            match next {
                Some(at) => {
                    let at = self.started + at.since(self.base);
                    let _ = tokio::time::timeout_at(at.into(), moved).await;
                }
                None => moved.await,
            }
        }
    }

    /// Completes when the core has answered: the lock was free and the timers ran.
    pub fn round_trip(&self) {
        self.with(|broker, now| broker.handle_timeout(now));
    }

    /// Admits a connection; its link must call [`Hub::closed`] at its end.
    pub(super) fn connect(&self, admission: &Admission<'_>) -> Result<ConnectionId, Refusal> {
        let now = self.now();
        let mut state = self.lock();
        let admitted = state.broker.handle_connect(admission, now);
        if let Ok(id) = admitted {
            let slot = id.index();
            if state.links.len() <= slot {
                state.links.resize_with(slot + 1, LinkState::default);
            }
            if let Some(link) = state.links.get_mut(slot) {
                *link = LinkState::default();
            }
        }
        state.carry_out(None);
        self.leave(state);
        admitted
    }

    /// Remembers who the client of a connection is.
    pub fn identify(&self, id: ConnectionId, identity: Identity) {
        let mut state = self.lock();
        if state.broker.connection_principal(id).is_some()
            && let Some(link) = state.links.get_mut(id.index())
        {
            link.identity = Some((id, Box::new(identity)));
        }
    }

    /// Who the clients are now whose slots begin at `from`, at most `max` of them, and where to go on; `None` after the last
    /// one. A look at all of them at once would keep every client waiting.
    #[must_use]
    pub fn identities(
        &self,
        from: usize,
        max: usize,
    ) -> Option<(Vec<(ConnectionId, Identity)>, usize)> {
        let state = self.lock();
        let rest = state.links.get(from..).filter(|rest| !rest.is_empty())?;
        let links = rest.iter().take(max);
        let known = links.filter_map(|link| link.identity.as_ref());
        let known = known.map(|(id, identity)| (*id, (**identity).clone()));
        Some((known.collect(), from + max))
    }

    /// Looks at a client again, because something has changed: one whose credential is good no more is disconnected, one
    /// with other attributes keeps what it still may. Returns what became of it, if anything did.
    pub fn review(&self, id: ConnectionId, identity: Identity) -> Option<Reviewed> {
        let standing = identity.review();
        if !matches!(standing, Standing::Gone(_))
            && let Some(end) = identity.end()
        {
            let end = self.timestamp(end);
            self.with(|broker, _| broker.handle_reauthenticated(id, end));
        }
        match standing {
            Standing::Same => None,
            Standing::Gone(sentence) => {
                self.with(|broker, _| broker.banish(id, ReasonCode::NotAuthorized, sentence));
                Some(Reviewed::Gone(sentence))
            }
            Standing::Changed(principal) => {
                let review = self.with(|broker, now| {
                    broker.handle_principal_changed(id, Arc::clone(&principal), now)
                });
                self.identify(id, identity.with_principal(principal));
                Some(Reviewed::Changed(review))
            }
        }
    }

    /// The connection is closed.
    pub(super) fn closed(&self, id: ConnectionId) {
        let now = self.now();
        let mut state = self.lock();
        state.broker.handle_closed(id, now);
        if let Some(link) = state.links.get_mut(id.index()) {
            *link = LinkState::default();
        }
        state.carry_out(None);
        self.leave(state);
    }

    /// One turn of a link: `work` hands packets to the core; then, if `take` says that everything taken before has been
    /// written, the link takes what waits for it and leaves its waker behind.
    pub(super) fn turn(
        &self,
        id: ConnectionId,
        take: bool,
        cx: &Context<'_>,
        work: impl FnOnce(Held<'_>),
    ) -> Turn {
        let now = self.now();
        let mut state = self.lock();
        let paused = state.links.get(id.index()).is_some_and(|link| link.paused);
        let congested = state.broker.is_congested(id);
        work(Held {
            broker: &mut state.broker,
            now,
            paused,
            congested,
        });
        let mut turn = Turn::default();
        if take {
            turn.outbox = state.broker.take_outbox(id, now);
        }
        turn.congested = state.broker.is_congested(id);
        turn.again = take && state.broker.is_walking(id);
        // Effects for this link itself need no waker: it is here.
        state.carry_out(Some(id));
        let state_of_all = &mut *state;
        if let Some(link) = state_of_all.links.get_mut(id.index()) {
            turn.close = link.close;
            turn.paused = link.paused;
            if std::mem::take(&mut link.asks) {
                turn.inquiry = state_of_all.broker.take_questions(id);
            }
            match &mut link.waker {
                Some(waker) => waker.clone_from(cx.waker()),
                None => link.waker = Some(cx.waker().clone()),
            }
        }
        self.leave(state);
        turn
    }

    /// The rules of a port have changed: every client of it keeps what it still may. In pieces, so that others are served
    /// meanwhile. Ports must have their new terms already.
    pub async fn change_policy(&self, policy: &Arc<PortPolicy>) -> Review {
        let mut review = Review::default();
        for first in (0..).step_by(SESSIONS_PER_REVIEW) {
            let places = first..first + SESSIONS_PER_REVIEW;
            let endpoint = &policy.endpoint;
            let reviewed = self
                .with(|broker, now| broker.handle_policy_changed(endpoint, policy, places, now));
            match reviewed {
                Some(reviewed) => review.add(reviewed),
                None => break,
            }
            tokio::task::yield_now().await;
        }
        review
    }

    /// Ends a visit to the core: the timer task learns when it is wanted, and what there is to report is reported.
    fn leave(&self, mut state: MutexGuard<'_, State>) {
        self.rearm(&mut state);
        let writer = if std::mem::take(&mut state.store_wanted) {
            state.store.as_ref().map(|store| store.writer.clone())
        } else {
            None
        };
        if state.overflows.is_empty() && state.denials.is_empty() {
            drop(state);
            if let Some(writer) = writer {
                writer.unpark();
            }
            return;
        }
        if let Some(writer) = writer {
            writer.unpark();
        }
        let overflows = std::mem::take(&mut state.overflows);
        let denials = std::mem::take(&mut state.denials);
        let unnoted = std::mem::take(&mut state.denials_unnoted);
        drop(state);
        self.denials.write(&denials, unnoted, clock::now());
        for client_id in overflows {
            warn!(
                client_id,
                "Messages for a client are dropped: it takes them too slowly, or its queue is full"
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A link that panicked has closed its own connection; the state of the others is theirs.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the timer task if the core wants to be called earlier than it knows.
    fn rearm(&self, state: &mut State) {
        let next = state.broker.poll_timeout();
        if let Some(next) = next
            && state.timer_at.is_none_or(|at| next < at)
        {
            state.timer_at = Some(next);
            self.timer_moved.notify_one();
        }
    }
}

impl State {
    /// Carries out the effects of the core. `present` is the link that is taking its turn.
    fn carry_out(&mut self, present: Option<ConnectionId>) {
        while let Some(effect) = self.broker.poll_effect() {
            let id = match effect {
                Effect::Send(id) => id,
                Effect::Close(id) => {
                    self.update(id, |link| link.close = true);
                    id
                }
                Effect::Pause(id) => {
                    self.update(id, |link| link.paused = true);
                    id
                }
                Effect::Resume(id) => {
                    self.update(id, |link| link.paused = false);
                    id
                }
                Effect::Store => {
                    self.store_wanted = true;
                    continue;
                }
                Effect::Load(session) => {
                    if let Some(store) = &self.store {
                        // The reader is gone only when the gateway stops.
                        let _ = store.loads.send(session);
                    }
                    continue;
                }
                Effect::Denied => {
                    let (denials, unnoted) = self.broker.take_denials();
                    self.denials.extend(denials);
                    self.denials_unnoted += unnoted;
                    continue;
                }
                Effect::Ask(id) => {
                    self.update(id, |link| link.asks = true);
                    id
                }
                Effect::Overflow(session) => {
                    let client_id = self.broker.client_id(session).unwrap_or_default();
                    self.overflows.push(client_id.to_owned());
                    continue;
                }
            };
            if present != Some(id)
                && let Some(link) = self.links.get(id.index())
                && let Some(waker) = &link.waker
            {
                waker.wake_by_ref();
            }
        }
    }

    fn update(&mut self, id: ConnectionId, change: impl FnOnce(&mut LinkState)) {
        if let Some(link) = self.links.get_mut(id.index()) {
            change(link);
        }
    }
}

/// A number that differs from start to start and cannot be guessed from outside.
pub(super) fn random() -> u64 {
    RandomState::new().hash_one(0_u8)
}
