//! The keys of `[limits]` and of the `limits` table of a port, each with the field of `limits.rs` that it sets.
//!
//! Name of the key = name of the field. The defaults are those of `limits.rs`; what is here is what a technician needs.

use std::time::Duration;

use super::schema::{Absence, Bounds, KeySpec, Kind};
use crate::limits::{Limits, QueueOverflow};
use crate::mqtt::QoS;

/// A bound that the file may set.
#[derive(Debug)]
pub(super) struct LimitSpec {
    pub(super) key: KeySpec,
    /// The field of a [`Limits`]; that of a port is reached through `Limits::port`.
    pub(super) field: fn(&mut Limits) -> Field<'_>,
}

/// A field of `limits.rs`.
#[derive(Debug)]
pub(super) enum Field<'a> {
    U16(&'a mut u16),
    U32(&'a mut u32),
    U64(&'a mut u64),
    Switch(&'a mut bool),
    Filters(&'a mut Vec<Box<str>>),
    QoS(&'a mut QoS),
    /// The words of its key are in the order of [`OVERFLOWS`].
    Overflow(&'a mut QueueOverflow),
    Time(&'a mut Duration),
    /// `None` is no bound.
    MaybeU32(&'a mut Option<u32>),
    /// In seconds, as MQTT carries it; `None` is no bound.
    MaybeTime(&'a mut Option<Duration>),
}

/// What a field holds, in the unit of its key; `Number(None)` is no bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Setting {
    Switch(bool),
    Filters(Vec<Box<str>>),
    /// Which of the words of the key.
    Word(usize),
    /// Bytes, pieces, milliseconds, or seconds where the standard counts in them.
    Number(Option<u64>),
}

impl Field<'_> {
    /// Sets the field; a number that does not fit is cut to the largest that does, which the bounds of the key exclude.
    pub(super) fn set(self, setting: Setting) {
        match (self, setting) {
            (Self::Switch(field), Setting::Switch(on)) => *field = on,
            (Self::Filters(field), Setting::Filters(filters)) => *field = filters,
            (Self::Overflow(field), Setting::Word(at)) => {
                *field = OVERFLOWS.get(at).copied().unwrap_or(*field);
            }
            (Self::MaybeU32(field), Setting::Number(n)) => *field = n.map(narrow),
            (Self::MaybeTime(field), Setting::Number(n)) => *field = n.map(Duration::from_secs),
            (field, Setting::Number(n)) => field.set_number(n.unwrap_or(0)),
            (_, Setting::Switch(_) | Setting::Filters(_) | Setting::Word(_)) => {
                debug_assert!(false, "a number was declared as something else");
            }
        }
    }

    fn set_number(self, n: u64) {
        match self {
            Self::U16(field) => *field = u16::try_from(n).unwrap_or(u16::MAX),
            Self::U32(field) => *field = narrow(n),
            Self::U64(field) => *field = n,
            Self::Time(field) => *field = Duration::from_millis(n),
            Self::QoS(field) => {
                *field = match n {
                    0 => QoS::AtMostOnce,
                    1 => QoS::AtLeastOnce,
                    _ => QoS::ExactlyOnce,
                }
            }
            Self::Switch(_)
            | Self::Filters(_)
            | Self::Overflow(_)
            | Self::MaybeU32(_)
            | Self::MaybeTime(_) => {
                debug_assert!(false, "handled above");
            }
        }
    }

    /// What the field holds.
    pub(super) fn setting(&self) -> Setting {
        let millis = |time: &Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        match self {
            Self::Switch(field) => Setting::Switch(**field),
            Self::Filters(field) => Setting::Filters((**field).clone()),
            Self::Overflow(field) => {
                let at = OVERFLOWS.iter().position(|overflow| overflow == *field);
                Setting::Word(at.unwrap_or(0))
            }
            Self::U16(field) => Setting::Number(Some((**field).into())),
            Self::U32(field) => Setting::Number(Some((**field).into())),
            Self::U64(field) => Setting::Number(Some(**field)),
            Self::QoS(field) => Setting::Number(Some(**field as u64)),
            Self::Time(field) => Setting::Number(Some(millis(field))),
            Self::MaybeU32(field) => Setting::Number(field.map(u64::from)),
            Self::MaybeTime(field) => Setting::Number(field.map(|time| time.as_secs())),
        }
    }
}

const OVERFLOWS: [QueueOverflow; 2] = [QueueOverflow::RejectNewest, QueueOverflow::DropOldest];

fn narrow(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;
const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// Largest number of seconds that MQTT carries; the next one means "for ever".
const EXPIRY_MAX: u64 = u32::MAX as u64 - 1;

macro_rules! limit {
    ($name:literal, $kind:expr, $field:expr, $doc:literal) => {
        limit!($name, $kind, $field, $doc, [])
    };
    ($name:literal, $kind:expr, $field:expr, $doc:literal, [$($elsewhere:literal),*]) => {
        LimitSpec {
            key: KeySpec {
                name: $name,
                kind: $kind,
                absence: Absence::Limit,
                doc: $doc,
                elsewhere: &[$($elsewhere),*],
            },
            field: $field,
        }
    };
}

const fn count(min: u64, max: u64) -> Kind {
    Kind::Count(Bounds::new(min, max))
}

const fn count_or_unlimited(min: u64, max: u64) -> Kind {
    Kind::Count(Bounds::new(min, max).or_zero("unlimited"))
}

const fn size(min: u64, max: u64) -> Kind {
    Kind::Size(Bounds::new(min, max))
}

const fn time(min: u64, max: u64) -> Kind {
    Kind::Time(Bounds::new(min, max))
}

/// Bounds of the gateway, only in `[limits]`.
pub(super) static GATEWAY_LIMITS: &[LimitSpec] = &[
    limit!(
        "connections_max",
        count(1, 1_000_000),
        |l| Field::U32(&mut l.connections_max),
        "Connections at one time over all ports.",
        ["max_connections", "connection_limit"]
    ),
    limit!(
        "sessions_max",
        count(1, 10_000_000),
        |l| Field::U32(&mut l.sessions_max),
        "Sessions kept at one time, their clients connected or away.",
        ["max_sessions"]
    ),
    limit!(
        "subscriptions_max",
        count(1, 100_000_000),
        |l| Field::U32(&mut l.subscriptions_max),
        "Subscriptions of all clients together; topic filters that are long or deep count for more.",
        ["max_total_subscriptions"]
    ),
    limit!(
        "queue_bytes_max",
        size(64 * KIB, TIB),
        |l| Field::U64(&mut l.queue_bytes_max),
        "Bytes of the messages that wait for all clients together.",
        ["memory_limit", "max_queue_bytes"]
    ),
    limit!(
        "retained_messages_max",
        count(0, 100_000_000),
        |l| Field::U32(&mut l.retained_messages_max),
        "Retained messages kept at one time.",
        ["max_retained_messages"]
    ),
    limit!(
        "retained_bytes_max",
        size(0, TIB),
        |l| Field::U64(&mut l.retained_bytes_max),
        "Bytes of all retained messages.",
        ["max_retained_bytes"]
    ),
    limit!(
        "stored_bytes_max",
        size(64 * KIB, TIB),
        |l| Field::U64(&mut l.stored_bytes_max),
        "Bytes of the messages that are stored for all clients together."
    ),
    limit!(
        "sys_interval",
        Kind::Time(Bounds::new(SECOND, DAY).or_zero("off")),
        |l| Field::Time(&mut l.sys_interval),
        "Time between two publications of the `$SYS` topics; `\"off\"` publishes none.",
        ["sys_topic_interval"]
    ),
    limit!(
        "stop_timeout",
        time(0, 10 * MINUTE),
        |l| Field::Time(&mut l.stop_timeout),
        "Time that a stop may take before connections are cut."
    ),
];

/// Bounds that only a port has.
pub(super) static PORT_OWN_LIMITS: &[LimitSpec] = &[limit!(
    "connections_max",
    Kind::Count(Bounds::new(1, 1_000_000).or("unlimited")),
    |l| Field::MaybeU32(&mut l.port.connections_max),
    "Connections at one time on this port; `\"unlimited\"` leaves the bound of the gateway alone.",
    ["max_connections", "connection_limit"]
)];

/// Bounds of a port, whose defaults `[limits]` sets.
pub(super) static PORT_LIMITS: &[LimitSpec] = &[
    limit!(
        "maximum_qos",
        count(0, 2),
        |l| Field::QoS(&mut l.port.maximum_qos),
        "Highest QoS that a client may publish with or is granted.",
        ["max_qos", "qos"]
    ),
    limit!(
        "retain_available",
        Kind::Switch,
        |l| Field::Switch(&mut l.port.retain_available),
        "Whether clients may publish retained messages.",
        ["retain"]
    ),
    limit!(
        "wildcard_subscription_available",
        Kind::Switch,
        |l| Field::Switch(&mut l.port.wildcard_subscription_available),
        "Whether clients may subscribe with `+` and `#`.",
        ["wildcard"]
    ),
    limit!(
        "subscription_identifiers_available",
        Kind::Switch,
        |l| Field::Switch(&mut l.port.subscription_identifiers_available),
        "Whether clients may give subscriptions an identifier."
    ),
    limit!(
        "shared_subscription_available",
        Kind::Switch,
        |l| Field::Switch(&mut l.port.shared_subscription_available),
        "Whether clients may share a subscription (`$share/…`)."
    ),
    limit!(
        "refused_filters",
        Kind::Filters,
        |l| Field::Filters(&mut l.port.refused_filters),
        "Topic filters that no client may subscribe to, written exactly so; the answer is 0x80, which gives no reason."
    ),
    limit!(
        "max_packet_size",
        size(32, 256 * MIB - 1),
        |l| Field::U32(&mut l.port.max_packet_size),
        "Largest packet taken from a client; a CONNECT may have 256 KiB at most.",
        [
            "maximum_packet_size",
            "message_size_limit",
            "max_message_size",
            "max_packet_size_bytes"
        ]
    ),
    limit!(
        "receive_maximum",
        count(1, 65_535),
        |l| Field::U16(&mut l.port.receive_maximum),
        "QoS 1 and 2 messages that a client may send before the first is acknowledged.",
        ["max_receive_maximum"]
    ),
    limit!(
        "inflight_messages_max",
        count(1, 65_535),
        |l| Field::U16(&mut l.port.inflight_messages_max),
        "QoS 1 and 2 messages sent to a client before it acknowledges the first.",
        ["max_inflight_messages", "max_inflight"]
    ),
    limit!(
        "topic_alias_maximum",
        count(0, 65_535),
        |l| Field::U16(&mut l.port.topic_alias_maximum),
        "Topic aliases that a client may set.",
        ["max_topic_alias"]
    ),
    limit!(
        "outgoing_topic_aliases_max",
        count(0, 65_535),
        |l| Field::U16(&mut l.port.outgoing_topic_aliases_max),
        "Topic aliases that the gateway sets towards a client."
    ),
    limit!(
        "max_keep_alive",
        Kind::Seconds(Bounds::new(1, 65_535).or_zero("unlimited")),
        |l| Field::U16(&mut l.port.max_keep_alive),
        "Longest keep alive; a client that asks for more, or for none, is given this one. A client of MQTT 3.1 or 3.1.1 cannot be told and keeps what it asked for. `\"unlimited\"` lets clients choose.",
        ["maximum_keepalive", "keep_alive", "max_keep_alive_seconds"]
    ),
    limit!(
        "max_session_expiry",
        Kind::Seconds(Bounds::new(0, EXPIRY_MAX).or("unlimited")),
        |l| Field::MaybeTime(&mut l.port.max_session_expiry),
        "Longest time that the session of a client that is away is kept.",
        [
            "persistent_client_expiration",
            "session_expiry",
            "max_session_expiry_seconds"
        ]
    ),
    limit!(
        "max_message_expiry",
        Kind::Seconds(Bounds::new(1, EXPIRY_MAX).or("unlimited")),
        |l| Field::MaybeTime(&mut l.port.max_message_expiry),
        "Longest time that a message is kept for a client that is away.",
        ["message_expiry", "max_message_expiry_seconds"]
    ),
    limit!(
        "subscriptions_per_client_max",
        count(1, 10_000_000),
        |l| Field::U32(&mut l.port.subscriptions_per_client_max),
        "Subscriptions of one client.",
        ["max_subscriptions"]
    ),
    limit!(
        "queue_messages_per_client_max",
        count(1, 100_000_000),
        |l| Field::U32(&mut l.port.queue_messages_per_client_max),
        "Messages that wait for one client.",
        ["max_queued_messages", "subscriber_queue_limit"]
    ),
    limit!(
        "queue_bytes_per_client_max",
        size(KIB, TIB),
        |l| Field::U64(&mut l.port.queue_bytes_per_client_max),
        "Bytes of the messages that wait for one client.",
        ["max_queued_bytes"]
    ),
    limit!(
        "queue_overflow",
        Kind::Choice(&[
            (
                "RejectNewest",
                "the new message is refused, and its publisher is told"
            ),
            ("DropOldest", "the oldest message makes room"),
        ]),
        |l| Field::Overflow(&mut l.port.queue_overflow),
        "What happens to a message for a client whose queue is full.",
        ["overflow", "overflow_policy", "drop_policy"]
    ),
    limit!(
        "outbox_bytes_max",
        size(4 * KIB, 256 * MIB),
        |l| Field::U32(&mut l.port.outbox_bytes_max),
        "Bytes that are ready for one client and not yet taken by its connection; QoS 0 messages above it are dropped and counted."
    ),
    limit!(
        "connections_per_address_max",
        count_or_unlimited(1, 1_000_000),
        |l| Field::U32(&mut l.port.connections_per_address_max),
        "Connections at one time from one address."
    ),
    limit!(
        "connection_rate_per_address_max",
        count_or_unlimited(1, 1_000_000),
        |l| Field::U32(&mut l.port.connection_rate_per_address_max),
        "New connections per second from one address.",
        ["max_connection_rate", "max_conn_rate"]
    ),
    limit!(
        "handshake_timeout",
        time(100, 10 * MINUTE),
        |l| Field::Time(&mut l.port.handshake_timeout),
        "Time that the TLS, WebSocket and PROXY handshakes may take."
    ),
    limit!(
        "connect_timeout",
        time(100, 10 * MINUTE),
        |l| Field::Time(&mut l.port.connect_timeout),
        "Time from then until the client has sent its CONNECT packet."
    ),
    limit!(
        "packet_timeout",
        time(100, DAY),
        |l| Field::Time(&mut l.port.packet_timeout),
        "Time that one packet may take from its first to its last byte."
    ),
    limit!(
        "send_timeout",
        time(100, DAY),
        |l| Field::Time(&mut l.port.send_timeout),
        "Time that a client may take nothing of what waits for it before it is disconnected."
    ),
];
