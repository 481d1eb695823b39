//! What is said on one link, and when: a machine without sockets and clocks.
//!
//! Each name that must be unique is asked for three times before it is used, is announced twice, and then answered for. Who has
//! a name that is wanted here keeps it; the other one takes the next number.

mod records;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::message::{Data, Message, Question, Record, Section, Writer, parse, rrtype};
use super::{Service, ServiceKind, Terms};
use records::{asked, in_order};

/// The port that all of them speak from and to.
pub(super) const PORT: u16 = 5353;

/// Largest message: it goes through every link that carries IPv6.
const MESSAGE_BYTES_MAX: usize = 1_232;

/// Seconds for which what depends on the address of the machine may be remembered, and everything else (RFC 6762, section 10).
const HOST_TTL: u32 = 120;
const OTHER_TTL: u32 = 4_500;

/// The same for those who know nothing of multicast.
const LEGACY_TTL: u32 = 10;

const PROBES: u8 = 3;
const PROBE_PAUSE: Duration = Duration::from_millis(250);
const ANNOUNCEMENTS: u8 = 2;
const ANNOUNCE_PAUSE: Duration = Duration::from_secs(1);

/// Time for which the same is not said again to all, and to defend a name.
const REPEAT_PAUSE: Duration = Duration::from_secs(1);
const DEFENCE_PAUSE: Duration = Duration::from_millis(250);

/// Whoever loses a tie waits this long for the winner to announce itself.
const TIE_PAUSE: Duration = Duration::from_secs(1);

/// Conflicts in a row after which names are tried more slowly.
const CONFLICTS_MAX: u32 = 15;
const CONFLICT_PAUSE: Duration = Duration::from_secs(5);

/// Answers that can be given at once, and one more each of this.
const ANSWERS_MAX: u32 = 50;
const ANSWER_PAUSE: Duration = Duration::from_millis(40);

/// Messages that may wait to be sent.
const OUT_MAX: usize = 64;

/// Where a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Destination {
    /// Everybody on the link.
    Group,
    /// Whoever asked.
    One(SocketAddr),
}

/// A name that somebody else has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Renaming {
    pub(super) from: String,
    pub(super) to: String,
}

/// What a name is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Host,
    Service(Service),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Probing { sent: u8, next: Instant },
    Announcing { sent: u8, next: Instant },
    Settled,
}

#[derive(Clone, Debug)]
struct Owned {
    what: What,
    base: String,
    /// Part of the name from 2 on.
    number: u32,
    conflicts: u32,
    phase: Phase,
}

/// Records that are answered with together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    V4,
    V6,
    /// Which types of addresses there are, where one is missing.
    Types,
    Kind(ServiceKind),
    Pointer(Service),
    Place(Service),
    Text(Service),
}

impl Slot {
    fn is_unique(self) -> bool {
        !matches!(self, Self::Kind(_) | Self::Pointer(_))
    }
}

/// Speaks for this machine on one link.
#[derive(Debug)]
pub(super) struct Responder {
    terms: Terms,
    names: Vec<Owned>,
    /// What is to be said to all, and when.
    pending: Option<(Instant, Vec<Slot>)>,
    said: Vec<(Slot, Instant)>,
    out: VecDeque<(Destination, Vec<u8>)>,
    renamings: VecDeque<Renaming>,
    answers_left: u32,
    answers_at: Instant,
    seed: u64,
}

impl Responder {
    /// `seed` only spreads what several of them do at the same moment.
    pub(super) fn new(terms: Terms, seed: u64, now: Instant) -> Self {
        let mut responder = Self {
            terms: Terms::default(),
            names: Vec::new(),
            pending: None,
            said: Vec::new(),
            out: VecDeque::new(),
            renamings: VecDeque::new(),
            answers_left: ANSWERS_MAX,
            answers_at: now,
            seed: seed | 1,
        };
        responder.set(terms, now);
        responder
    }

    /// Takes over what is to be said from now on, and withdraws what is not any more.
    pub(super) fn set(&mut self, terms: Terms, now: Instant) {
        let wanted = wanted(&terms);
        let is_gone = |owned: &Owned| {
            let same = |(what, base): &(What, String)| *what == owned.what && *base == owned.base;
            !wanted.iter().any(same)
        };
        let gone: Vec<Owned> = self
            .names
            .iter()
            .filter(|owned| is_gone(owned))
            .cloned()
            .collect();
        self.say_goodbye(&gone);
        let start = self.start(now);
        let mut host_moves = false;
        let has_moved = terms.addresses != self.terms.addresses;
        let mut names = Vec::with_capacity(wanted.len());
        for (what, base) in wanted {
            let old = self
                .names
                .iter()
                .find(|owned| owned.what == what && owned.base == base);
            let mut owned = old.cloned().unwrap_or_else(|| {
                host_moves |= what == What::Host;
                Owned {
                    what,
                    base,
                    number: 1,
                    conflicts: 0,
                    phase: start,
                }
            });
            if what == What::Host && has_moved && !is_probing(&owned) {
                owned.phase = announcing(now);
            }
            names.push(owned);
        }
        self.names = names;
        self.terms = terms;
        if host_moves {
            self.announce_places(now);
        }
        // What waits may be about what is gone; who asked asks again.
        self.pending = None;
        self.said.clear();
    }

    /// Withdraws the services. The addresses stay those of the machine, whoever answers for them next.
    pub(super) fn withdraw(&mut self) {
        let gone = self.names.clone();
        self.say_goodbye(&gone);
        self.names.clear();
        self.pending = None;
    }

    /// The names in use, of the host and of the services.
    pub(super) fn settled(&self) -> Option<Vec<String>> {
        let is_ready = self.names.iter().all(|owned| !is_probing(owned));
        is_ready.then(|| self.names.iter().map(label).collect())
    }

    pub(super) fn has_renaming(&self) -> bool {
        !self.renamings.is_empty()
    }

    /// Names that were given up; several of one after the other are one.
    pub(super) fn poll_renaming(&mut self) -> Option<Renaming> {
        self.renamings.pop_front()
    }

    pub(super) fn poll_transmit(&mut self) -> Option<(Destination, Vec<u8>)> {
        self.out.pop_front()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let names = self.names.iter().filter_map(|owned| match owned.phase {
            Phase::Probing { next, .. } | Phase::Announcing { next, .. } => Some(next),
            Phase::Settled => None,
        });
        names.chain(self.pending.as_ref().map(|(at, _)| *at)).min()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.probe(now);
        self.announce(now);
        if self.pending.as_ref().is_some_and(|(at, _)| *at <= now)
            && let Some((_, slots)) = self.pending.take()
            && self.may_answer(now)
        {
            self.tell_all(&slots, now);
        }
    }

    /// Takes a message of whoever it was. What is not understood is nothing.
    pub(super) fn handle_packet(&mut self, from: SocketAddr, bytes: &[u8], now: Instant) {
        let Some(message) = parse(bytes) else { return };
        if message.is_response {
            // Answers that come from elsewhere are no answers (RFC 6762, section 6).
            if from.port() == PORT {
                self.look_for_conflicts(&message, now);
            }
            return;
        }
        self.break_ties(&message, now);
        self.answer(from, &message, now);
    }

    fn probe(&mut self, now: Instant) {
        let mut due = Vec::new();
        // The host, which comes first, and the time of its next step.
        let mut host_next = None;
        for owned in &mut self.names {
            if let Phase::Probing { sent, next } = &mut owned.phase
                && *next <= now
            {
                if *sent == PROBES {
                    // A service is at a host: while the name of that is not certain, nobody could be told where it is.
                    match host_next {
                        Some(later) => *next = later,
                        None => {
                            owned.phase = announcing(now);
                            owned.conflicts = 0;
                        }
                    }
                    continue;
                }
                *sent += 1;
                *next = now + PROBE_PAUSE;
                due.push(owned.clone());
            }
            if owned.what == What::Host
                && let Phase::Probing { next, .. } = owned.phase
            {
                host_next = Some(next);
            }
        }
        // One message each, so that the question and what is wanted are never in different ones.
        for owned in &due {
            let Some(name) = self.name(owned) else {
                continue;
            };
            let mut writer = Writer::new(0, false, MESSAGE_BYTES_MAX);
            // Answered to all: what comes to this machine alone is not heard by a socket that is bound to the group.
            writer.question(&Question {
                name,
                rrtype: rrtype::ANY,
                is_unicast: false,
            });
            for record in self.proposed(owned) {
                writer.record(Section::Authority, &record, false);
            }
            self.send(Destination::Group, writer);
        }
    }

    fn announce(&mut self, now: Instant) {
        let mut slots = Vec::new();
        for owned in &mut self.names {
            if let Phase::Announcing { sent, next } = &mut owned.phase
                && *next <= now
            {
                *sent += 1;
                *next = now + ANNOUNCE_PAUSE;
                if *sent == ANNOUNCEMENTS {
                    owned.phase = Phase::Settled;
                }
                match owned.what {
                    What::Host => slots.extend([Slot::V4, Slot::V6]),
                    What::Service(service) => slots.extend([
                        Slot::Pointer(service),
                        Slot::Place(service),
                        Slot::Text(service),
                    ]),
                }
            }
        }
        if !slots.is_empty() {
            self.tell_all(&slots, now);
        }
    }

    /// Gives up or asks again for what somebody else says it has.
    fn look_for_conflicts(&mut self, message: &Message, now: Instant) {
        let records = message.answers.iter().chain(&message.additional);
        let records: Vec<&Record> = records.filter(|record| record.ttl > 0).collect();
        for index in 0..self.names.len() {
            let Some(owned) = self.names.get(index) else {
                continue;
            };
            let Some(name) = self.name(owned) else {
                continue;
            };
            let is_foreign =
                |record: &&&Record| record.name == name && self.is_foreign(owned, &record.data);
            // Whoever has a name answers the first question for it. Until that is asked nothing is in conflict with it, and a
            // flood of answers does not make the next names pass faster.
            let is_asked = !matches!(owned.phase, Phase::Probing { sent: 0, .. });
            if is_asked && records.iter().any(|record| is_foreign(&record)) {
                self.yield_name(index, now);
            }
        }
    }

    fn is_foreign(&self, owned: &Owned, data: &Data) -> bool {
        match (owned.what, data) {
            // Another program of this machine may answer for its addresses, on whichever of its links.
            (What::Host, Data::Address(ip)) => !self.terms.machine.contains(ip),
            (What::Service(_), Data::Service { .. } | Data::Text(_)) => {
                !self.proposed(owned).iter().any(|own| own.data == *data)
            }
            _ => false,
        }
    }

    fn yield_name(&mut self, index: usize, now: Instant) {
        let start = self.start(now);
        let Some(owned) = self.names.get_mut(index) else {
            return;
        };
        if !is_probing(owned) {
            // Somebody may have come from another network; who was first is found out by asking again.
            owned.phase = start;
            return;
        }
        let from = label(owned);
        owned.number = owned.number.saturating_add(1);
        owned.conflicts = owned.conflicts.saturating_add(1);
        owned.phase = match owned.conflicts >= CONFLICTS_MAX {
            true => Phase::Probing {
                sent: 0,
                next: now + CONFLICT_PAUSE,
            },
            false => start,
        };
        let (to, is_host) = (label(owned), owned.what == What::Host);
        let has_room = self.renamings.len() < OUT_MAX;
        match self.renamings.iter_mut().find(|known| known.to == from) {
            Some(known) => known.to = to,
            None if has_room => {
                self.renamings.push_back(Renaming { from, to });
            }
            None => {}
        }
        if is_host {
            self.announce_places(now);
        }
    }

    /// Where two ask for one name at the same moment, the one whose records come later has it.
    fn break_ties(&mut self, message: &Message, now: Instant) {
        for index in 0..self.names.len() {
            let Some(owned) = self.names.get(index).filter(|owned| is_probing(owned)) else {
                continue;
            };
            let Some(name) = self.name(owned) else {
                continue;
            };
            let theirs: Vec<&Record> = message
                .authorities
                .iter()
                .filter(|record| record.name == name)
                .collect();
            let are_foreign = theirs
                .iter()
                .any(|record| self.is_foreign(owned, &record.data));
            if !are_foreign {
                continue;
            }
            let ours = self.proposed(owned);
            if in_order(theirs) > in_order(ours.iter())
                && let Some(owned) = self.names.get_mut(index)
            {
                owned.phase = Phase::Probing {
                    sent: 0,
                    next: now + TIE_PAUSE,
                };
            }
        }
    }

    fn answer(&mut self, from: SocketAddr, message: &Message, now: Instant) {
        let is_legacy = from.port() != PORT;
        let is_probe = !message.authorities.is_empty();
        // An answer to one alone leaves the link where its address is elsewhere, and that address is easily forged.
        let is_near = self.is_near(from.ip());
        if is_legacy && !is_near {
            return;
        }
        let (mut to_all, mut to_one, mut known) = (Vec::new(), Vec::new(), Vec::new());
        for question in asked(message) {
            let is_alone = is_legacy || question.is_unicast && is_near;
            for slot in self.slots(question) {
                let list = if is_alone { &mut to_one } else { &mut to_all };
                if list.contains(&slot) || known.contains(&slot) {
                    continue;
                }
                match self.is_known(slot, &message.answers) {
                    true => known.push(slot),
                    false => list.push(slot),
                }
            }
        }
        if !to_one.is_empty() && self.may_answer(now) {
            let writer = match is_legacy {
                true => self.legacy(message, &to_one),
                false => self.response(&to_one),
            };
            self.send(Destination::One(from), writer);
        }
        let pause = if is_probe {
            DEFENCE_PAUSE
        } else {
            REPEAT_PAUSE
        };
        to_all.retain(|slot| !self.was_said(*slot, pause, now));
        if to_all.is_empty() {
            return;
        }
        // Several may answer for what is shared, and not all at once.
        let is_shared = !is_probe && to_all.iter().any(|slot| !slot.is_unique());
        let wait = if is_shared { 20 + self.chance(100) } else { 0 };
        let due = now + Duration::from_millis(wait);
        let (at, slots) = self.pending.get_or_insert_with(|| (due, Vec::new()));
        *at = due.min(*at);
        for slot in to_all {
            if !slots.contains(&slot) {
                slots.push(slot);
            }
        }
    }

    /// Says it to everybody, in as many messages as it takes.
    fn tell_all(&mut self, slots: &[Slot], now: Instant) {
        let mut writer = Writer::new(0, true, MESSAGE_BYTES_MAX);
        for slot in slots {
            for record in self.records(*slot) {
                if writer.record(Section::Answer, &record, record.is_unique) {
                    continue;
                }
                let full = std::mem::replace(&mut writer, Writer::new(0, true, MESSAGE_BYTES_MAX));
                self.send(Destination::Group, full);
                writer.record(Section::Answer, &record, record.is_unique);
            }
        }
        for slot in self.additional(slots) {
            for record in self.records(slot) {
                writer.record(Section::Additional, &record, record.is_unique);
            }
        }
        self.send(Destination::Group, writer);
        self.said.retain(|(slot, _)| !slots.contains(slot));
        self.said.extend(slots.iter().map(|slot| (*slot, now)));
    }

    fn was_said(&self, slot: Slot, pause: Duration, now: Instant) -> bool {
        let mut said = self.said.iter().filter(|(other, _)| *other == slot);
        said.any(|(_, at)| now.saturating_duration_since(*at) < pause)
    }

    /// Says again where the services are, because the name of the host is another.
    fn announce_places(&mut self, now: Instant) {
        for owned in &mut self.names {
            if owned.what != What::Host && !is_probing(owned) {
                owned.phase = announcing(now);
            }
        }
    }

    /// Whether one more answer can be given now; a flood of questions is not answered by another one.
    fn may_answer(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.answers_at).as_millis();
        let more = u32::try_from(passed / ANSWER_PAUSE.as_millis()).unwrap_or(u32::MAX);
        if more > 0 {
            self.answers_left = self.answers_left.saturating_add(more).min(ANSWERS_MAX);
            self.answers_at = now;
        }
        match self.answers_left.checked_sub(1) {
            Some(left) => {
                self.answers_left = left;
                true
            }
            None => false,
        }
    }

    fn send(&mut self, to: Destination, writer: Writer) {
        if !writer.is_empty() && self.out.len() < OUT_MAX {
            self.out.push_back((to, writer.finish()));
        }
    }

    /// The first question comes a little later, so that machines that were switched on together do not ask together.
    fn start(&mut self, now: Instant) -> Phase {
        let wait = Duration::from_millis(self.chance(250));
        Phase::Probing {
            sent: 0,
            next: now + wait,
        }
    }

    /// A number below `bound` (xorshift).
    fn chance(&mut self, bound: u64) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed % bound
    }
}

fn is_probing(owned: &Owned) -> bool {
    matches!(owned.phase, Phase::Probing { .. })
}

fn announcing(now: Instant) -> Phase {
    Phase::Announcing { sent: 0, next: now }
}

/// Names that are to be ours, without their numbers.
fn wanted(terms: &Terms) -> Vec<(What, String)> {
    let mut wanted = vec![(What::Host, terms.host.clone())];
    let mut kinds = Vec::new();
    for service in &terms.services {
        let is_first = !kinds.contains(&service.kind);
        kinds.push(service.kind);
        let base = match is_first {
            true => terms.instance.clone(),
            false => with_end(&terms.instance, &format!(" ({})", service.port)),
        };
        wanted.push((What::Service(*service), base));
    }
    wanted
}

fn label(owned: &Owned) -> String {
    let end = match (owned.number, owned.what) {
        (..=1, _) => String::new(),
        (number, What::Host) => format!("-{number}"),
        (number, What::Service(_)) => format!(" ({number})"),
    };
    with_end(&owned.base, &end)
}

/// A label of DNS, cut where it would be too long.
fn with_end(base: &str, end: &str) -> String {
    let mut kept = base.len().min(63_usize.saturating_sub(end.len()));
    while !base.is_char_boundary(kept) {
        kept -= 1;
    }
    format!("{}{end}", base.get(..kept).unwrap_or_default())
}

#[cfg(test)]
#[path = "responder_tests.rs"]
mod tests;
