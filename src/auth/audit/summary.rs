//! Events that come too often: the first ones of a minute have a line each, the others are counted in one.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::event::{AuditEvent, AuditKind};

/// Time after which everybody has lines again.
const WINDOW: Duration = Duration::from_secs(60);

/// Lines of one kind that one source has in a window.
const LINES_PER_SOURCE_MAX: u32 = 5;

/// Lines of one kind that all sources have in a window: refusals need fewer than the logins of a thousand devices after a
/// power cut.
const REFUSALS_MAX: u32 = 60;
const LOGINS_MAX: u32 = 3000;

/// Sources that are told apart in one window. What is beyond is counted together.
const SOURCES_MAX: usize = 1024;

/// Whether an event has a line of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Own,
    Summarised,
}

/// Who causes events: clients that prove something by who they are, others by where they are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Client(Box<str>, Box<str>),
    Address(Option<IpAddr>),
}

/// What was counted in the window.
#[derive(Debug, Default)]
pub(super) struct Summaries {
    since: Option<Instant>,
    lines: BTreeMap<AuditKind, u32>,
    sources: BTreeMap<(AuditKind, Source), Count>,
    /// Events of sources that found no place.
    others: BTreeMap<AuditKind, u64>,
}

#[derive(Debug, Default)]
struct Count {
    lines: u32,
    summarised: u64,
    port: Box<str>,
}

impl Summaries {
    /// Says whether an event has a line, and counts it if not.
    pub(super) fn turn(&mut self, event: &AuditEvent, now: Instant) -> Turn {
        if !event.kind.is_of_clients() {
            return Turn::Own;
        }
        self.since.get_or_insert(now);
        let lines = self.lines.entry(event.kind).or_default();
        let lines_max = match event.kind {
            AuditKind::LoginAccepted | AuditKind::SubscriptionRemoved | AuditKind::RightGone => {
                LOGINS_MAX
            }
            _ => REFUSALS_MAX,
        };
        let key = (event.kind, source(event));
        if self.sources.len() >= SOURCES_MAX && !self.sources.contains_key(&key) {
            // A login of a client that nobody counts is a login all the same.
            if event.kind == AuditKind::LoginAccepted && *lines < lines_max {
                *lines += 1;
                return Turn::Own;
            }
            *self.others.entry(event.kind).or_default() += 1;
            return Turn::Summarised;
        }
        let count = self.sources.entry(key).or_default();
        if count.lines < LINES_PER_SOURCE_MAX && *lines < lines_max {
            *lines += 1;
            count.lines += 1;
            return Turn::Own;
        }
        count.summarised += 1;
        count.port.clone_from(&event.port);
        Turn::Summarised
    }

    /// The summaries of a window that is over.
    pub(super) fn poll(&mut self, now: Instant) -> Vec<AuditEvent> {
        let is_over = |since: Instant| now.saturating_duration_since(since) >= WINDOW;
        if self.since.is_some_and(is_over) {
            self.finish()
        } else {
            Vec::new()
        }
    }

    /// Ends the window, and returns one event for each source with more events than lines, for so many sources as there
    /// are lines, and one of each kind for all others.
    pub(super) fn finish(&mut self) -> Vec<AuditEvent> {
        let mut summaries = Vec::new();
        let mut others = std::mem::take(&mut self.others);
        for ((kind, source), count) in std::mem::take(&mut self.sources) {
            match count.summarised {
                0 => {}
                more if summaries.len() < REFUSALS_MAX as usize => {
                    summaries.push(summary(kind, &source, &count.port, more));
                }
                more => *others.entry(kind).or_default() += more,
            }
        }
        for (kind, more) in others {
            let detail = format!("{more} more within a minute, from many places");
            summaries.push(AuditEvent::new(kind, "").detail(&detail));
        }
        self.lines.clear();
        self.since = None;
        summaries
    }
}

fn source(event: &AuditEvent) -> Source {
    match event.kind {
        AuditKind::LoginAccepted | AuditKind::SubscriptionRemoved | AuditKind::RightGone => {
            Source::Client(event.subject.clone(), event.client_id.clone())
        }
        _ => Source::Address(event.peer),
    }
}

fn summary(kind: AuditKind, source: &Source, port: &str, more: u64) -> AuditEvent {
    let detail = format!("{more} more within a minute");
    match source {
        Source::Client(subject, client_id) => AuditEvent::new(kind, subject)
            .client(port, None, client_id)
            .detail(&detail),
        Source::Address(peer) => AuditEvent::new(kind, "")
            .client(port, *peer, "")
            .detail(&detail),
    }
}
