//! The `$SYS` topics, by the names that mosquitto gives them, so that tools made for it work.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::message::Message;
use super::time::Timestamp;
use super::timers::Timer;
use super::{Broker, Statistics};
use crate::mqtt::QoS;

/// Minutes over which the load averages go.
const WINDOWS: [(f64, &str); 3] = [(1.0, "1min"), (5.0, "5min"), (15.0, "15min")];

/// Counters of which load averages are kept.
const LOADS: [&str; 8] = [
    "messages/received",
    "messages/sent",
    "publish/received",
    "publish/sent",
    "publish/dropped",
    "bytes/received",
    "bytes/sent",
    "connections",
];

#[derive(Debug, Default, Clone, Copy)]
struct Load {
    last: u64,
    per_minute: [f64; 3],
}

/// What the `$SYS` topics said last, and what their averages are made of.
#[derive(Debug)]
pub(super) struct SysTopics {
    version: Box<str>,
    loads: [Load; 8],
    started_at: Timestamp,
    last_at: Timestamp,
    due_at: Option<Timestamp>,
}

impl SysTopics {
    pub(super) fn new(version: &str) -> Self {
        Self {
            version: format!("fieldgate version {version}").into(),
            loads: Default::default(),
            started_at: Timestamp::default(),
            last_at: Timestamp::default(),
            due_at: None,
        }
    }

    /// The time begins at `now`.
    pub(super) fn start(&mut self, now: Timestamp) {
        self.started_at = now;
        self.last_at = now;
    }

    /// Moves the averages on to `now`.
    fn advance(&mut self, statistics: &Statistics, now: Timestamp) {
        let minutes = now.since(self.last_at).as_secs_f64() / 60.0;
        if minutes <= 0.0 {
            return;
        }
        self.last_at = now;
        for (load, count) in self.loads.iter_mut().zip(load_counters(statistics)) {
            let rate = float(count.saturating_sub(load.last)) / minutes;
            load.last = count;
            for (average, (window, _)) in load.per_minute.iter_mut().zip(WINDOWS) {
                *average = rate + (*average - rate) * (-minutes / window).exp();
            }
        }
    }
}

fn load_counters(statistics: &Statistics) -> [u64; 8] {
    [
        statistics.packets_received,
        statistics.packets_sent,
        statistics.publishes_received_total(),
        statistics.publishes_sent_total(),
        statistics.messages_dropped,
        statistics.bytes_received,
        statistics.bytes_sent,
        statistics.connections_total,
    ]
}

/// A counter as a number to compute averages with; the precision lost above 2^53 does not matter there.
#[allow(clippy::as_conversions)]
fn float(count: u64) -> f64 {
    count as f64
}

fn topics(statistics: &Statistics, disconnected: u64) -> Vec<(&'static str, u64)> {
    let s = statistics;
    let connected = s.sessions.saturating_sub(disconnected);
    let stored = s.queued_messages + s.retained_messages;
    let stored_bytes = s.queued_bytes + s.retained_bytes;
    vec![
        ("clients/total", s.sessions),
        ("clients/connected", connected),
        ("clients/active", connected),
        ("clients/disconnected", disconnected),
        ("clients/inactive", disconnected),
        ("clients/maximum", s.connections_peak),
        ("clients/expired", s.sessions_expired),
        ("messages/received", s.packets_received),
        ("messages/sent", s.packets_sent),
        ("messages/stored", stored),
        ("store/messages/count", stored),
        ("store/messages/bytes", stored_bytes),
        ("publish/messages/received", s.publishes_received_total()),
        ("publish/messages/sent", s.publishes_sent_total()),
        ("publish/messages/dropped", s.messages_dropped),
        ("publish/bytes/received", s.payload_bytes_received),
        ("publish/bytes/sent", s.payload_bytes_sent),
        ("bytes/received", s.bytes_received),
        ("bytes/sent", s.bytes_sent),
        ("subscriptions/count", s.subscriptions),
        ("retained messages/count", s.retained_messages),
    ]
}

impl Broker {
    /// Sets the timer of the next publication.
    pub(super) fn arm_sys(&mut self, now: Timestamp) {
        if let Some(at) = self.sys.due_at.take() {
            self.clients.timers.disarm(at, Timer::Sys);
        }
        // Expired retained messages are swept by the same timer, so it runs even where `$SYS` is off.
        let interval = match self.limits.sys_interval {
            Duration::ZERO => Duration::from_secs(60),
            interval => interval,
        };
        let at = now + interval;
        self.sys.due_at = Some(at);
        self.clients.timers.arm(at, Timer::Sys);
    }

    /// Publishes the topics whose value has changed.
    pub(super) fn publish_sys_topics(&mut self, now: Timestamp) {
        if self.limits.sys_interval.is_zero() {
            return;
        }
        let statistics = self.statistics();
        self.sys.advance(&statistics, now);
        let disconnected = self
            .clients
            .sessions
            .iter()
            .filter(|(_, session)| session.connection.is_none())
            .count();
        let disconnected = u64::try_from(disconnected).unwrap_or(0);
        let version = self.sys.version.to_string();
        self.publish_sys("version", version, now);
        self.publish_sys(
            "uptime",
            format!("{} seconds", now.since(self.sys.started_at).as_secs()),
            now,
        );
        for (name, value) in topics(&statistics, disconnected) {
            self.publish_sys(name, value.to_string(), now);
        }
        let loads = self.sys.loads;
        for (load, name) in loads.iter().zip(LOADS) {
            for (average, (_, window)) in load.per_minute.iter().zip(WINDOWS) {
                self.publish_sys(
                    &format!("load/{name}/{window}"),
                    format!("{average:.2}"),
                    now,
                );
            }
        }
    }

    fn publish_sys(&mut self, name: &str, value: String, now: Timestamp) {
        let topic = format!("$SYS/broker/{name}");
        if let Some(known) = self.retained.get(&topic)
            && known.payload == value.as_bytes()
        {
            return;
        }
        let message = Arc::new(Message::new(
            &topic,
            Bytes::from(value),
            Box::default(),
            QoS::ExactlyOnce,
            now,
            None,
        ));
        self.retained.set(Arc::clone(&message));
        self.route_message(&message, false, now);
    }
}
