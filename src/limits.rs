//! Every bound of the broker and every default, with its reason.
//!
//! A bound that a peer can run into is a field here, has a default constant with the reason beside it, and is set by the
//! key of the same name in `[limits]` of the configuration file (for the whole gateway) or in the `limits` table of a
//! port. Reaching a bound is counted and answered with the reason code that the standard names for it.

use std::time::Duration;

use crate::mqtt::QoS;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// Bounds of the whole gateway, `[limits]` of the configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Network connections served at one time over all ports.
    ///
    /// Default 10,000: below the descriptor limit that the service unit sets, with room for files and sockets of our own.
    pub connections_max: u32,
    /// Sessions kept at one time, connected or not.
    ///
    /// Default 100,000: about 50 MiB of session records at worst, and ten times the connections.
    pub sessions_max: u32,
    /// Subscriptions of all sessions together, each member of a shared one counted.
    ///
    /// The index of their topic filters is bounded with them: filters that are long or deep fill it earlier, see
    /// `FILTER_INDEX_BYTES_PER_SUBSCRIPTION`.
    ///
    /// Default 500,000: about 140 MiB at the 284 bytes that one was measured to cost, which a board with 512 MiB has to spare.
    pub subscriptions_max: u32,
    /// Bytes of messages queued for all sessions together.
    ///
    /// What is encoded for connections and not yet taken by their sockets has the same bound, apart from this one.
    ///
    /// Default 64 MiB: leaves a board with 256 MiB of memory room for everything else.
    pub queue_bytes_max: u64,
    /// Retained messages kept at one time.
    ///
    /// Default 100,000: about 70 MiB at 64 bytes of payload.
    pub retained_messages_max: u32,
    /// Bytes of all retained messages: topic, properties and payload.
    ///
    /// Default 64 MiB: for the same reason as `queue_bytes_max`.
    pub retained_bytes_max: u64,
    /// Bytes of messages stored for all sessions together.
    ///
    /// Default 1 GiB: a day of a plant that sends 100 messages a second, and an eighth of the smallest storage of a gateway.
    pub stored_bytes_max: u64,
    /// Time between two publications of the `$SYS` topics; zero turns them off.
    ///
    /// Default 10 s: as in mosquitto, whose topic names these are.
    pub sys_interval: Duration,
    /// Time that a graceful stop may take before connections are cut.
    ///
    /// Default 5 s: well below the 90 s after which systemd kills.
    pub stop_timeout: Duration,
    /// What a port may set for itself; the values here are the defaults of every port.
    pub port: PortLimits,
}

/// Bounds of one port; `[limits]` holds the default for every port, `limits = { … }` of a port its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortLimits {
    /// Highest QoS that a client may publish with or is granted (MQTT 5, 3.2.2.3.4).
    ///
    /// Default 2: nothing of the standard is held back.
    pub maximum_qos: QoS,
    /// Whether retained messages are served (3.2.2.3.5).
    ///
    /// Default true: clients expect it, and `retained_messages_max` bounds what it costs.
    pub retain_available: bool,
    /// Whether `+` and `#` may be used in a subscription (3.2.2.3.11).
    ///
    /// Default true: clients expect it.
    pub wildcard_subscription_available: bool,
    /// Whether subscription identifiers may be used (3.2.2.3.12).
    ///
    /// Default true: clients expect it.
    pub subscription_identifiers_available: bool,
    /// Whether `$share/…` may be used (3.2.2.3.13).
    ///
    /// Default true: clients expect it.
    pub shared_subscription_available: bool,
    /// Topic filters that no client may subscribe to, written exactly so or inside of `$share/…`; answered with 0x80, which
    /// gives no reason away (3.9.3). A wider filter is not refused.
    ///
    /// Default []: who may read what is the business of `authorization`.
    pub refused_filters: Vec<Box<str>>,
    /// Largest control packet taken from a client, in bytes with its fixed header (3.2.2.3.6).
    ///
    /// A CONNECT packet may have 256 KiB at most, `CONNECT_BYTES_MAX`, because everybody may send one.
    ///
    /// Default 1 MiB: firmware chunks fit, and a hundred clients sending their largest packet at once do not end the board.
    pub max_packet_size: u32,
    /// QoS 1 and 2 publishes that a client may have unacknowledged towards us (3.2.2.3.3).
    ///
    /// Default 1,024: far above what devices use, and bounds the packet identifiers kept per client.
    pub receive_maximum: u16,
    /// QoS 1 and 2 publishes that we have unacknowledged towards one client, whatever it allows.
    ///
    /// Default 1,024: for the same reason as `receive_maximum`.
    pub inflight_messages_max: u16,
    /// Topic aliases that a client may set (3.2.2.3.8).
    ///
    /// Default 32: bounds the aliases of a client to 32 topic names.
    pub topic_alias_maximum: u16,
    /// Topic aliases that we set towards one client, whatever it allows (3.1.2.11.5).
    ///
    /// Default 32: a device reads few topics often, and each alias keeps a topic name on both sides.
    pub outgoing_topic_aliases_max: u16,
    /// Longest keep alive in seconds; a client that asks for more, or for none, is told this one. 0 lets clients choose (3.2.2.3.14).
    ///
    /// Only MQTT 5 has a way to tell: a client of an older version keeps what it asked for, none included, because it would be
    /// disconnected without having broken a rule that it knows.
    ///
    /// Default unlimited (0): the client knows its power budget.
    pub max_keep_alive: u16,
    /// Longest session expiry; `None` lets sessions last for ever (3.2.2.3.2).
    ///
    /// Default 7 days: a device that was away longer starts anew, and its queue is not kept for ever.
    pub max_session_expiry: Option<Duration>,
    /// Longest time that a message is kept for sessions that are away; `None` means as long as the session.
    ///
    /// Default unlimited: the session's own expiry bounds it.
    pub max_message_expiry: Option<Duration>,
    /// Subscriptions of one client.
    ///
    /// Default 10,000: ten times what a dashboard of a whole plant uses.
    pub subscriptions_per_client_max: u32,
    /// Messages queued for one session.
    ///
    /// Default 100,000: what a sensor at one message a second sends in a day.
    pub queue_messages_per_client_max: u32,
    /// Bytes of messages queued for one session.
    ///
    /// Default 16 MiB: a quarter of the budget of the gateway, so that one absent client cannot use all of it.
    pub queue_bytes_per_client_max: u64,
    /// What happens to a message for a session whose queue is full.
    ///
    /// Default RejectNewest: the publisher is told, and what was acknowledged stays.
    pub queue_overflow: QueueOverflow,
    /// Bytes encoded for one connection and not yet taken by its socket. QoS 0 messages above it are dropped and counted.
    ///
    /// Default 1 MiB: a second of a good radio link. One packet may exceed it, so that a large message still passes.
    pub outbox_bytes_max: u32,
    /// Connections served at one time on this port; `None` leaves the bound of the gateway alone.
    ///
    /// Default unlimited: the bound of the gateway holds.
    pub connections_max: Option<u32>,
    /// Connections from one address at one time on this port; 0 means no bound of its own.
    ///
    /// Default unlimited (0): field networks often put hundreds of devices behind one address.
    pub connections_per_address_max: u32,
    /// New connections per second from one address on this port, averaged over ten seconds; 0 means no bound.
    ///
    /// Default unlimited (0): for the same reason as `connections_per_address_max`.
    pub connection_rate_per_address_max: u32,
    /// Time from accept to the end of the TLS, WebSocket and PROXY handshakes.
    ///
    /// Default 10 s: a slow device signs in two, on a link that loses packets.
    pub handshake_timeout: Duration,
    /// Time from the end of the handshakes to a complete CONNECT packet.
    ///
    /// Default 10 s: clients send it at once, and one that does not holds a connection for nothing.
    pub connect_timeout: Duration,
    /// Time that a packet may take from its first to its last byte. A client that trickles bytes costs only this long.
    ///
    /// Default 1 min: a packet of 1 MiB on a link of 200 kbit/s still passes.
    pub packet_timeout: Duration,
    /// Time that a client may take no byte of what waits for it before it is disconnected.
    ///
    /// Default 1 min: longer than any handover between radio cells, and short enough that its queue is not held for long.
    pub send_timeout: Duration,
}

/// What happens to a message for a session whose queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QueueOverflow {
    /// The new message is refused.
    RejectNewest,
    /// The oldest message makes room.
    DropOldest,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            sessions_max: 100_000,
            subscriptions_max: 500_000,
            queue_bytes_max: 64 * MIB,
            retained_messages_max: 100_000,
            retained_bytes_max: 64 * MIB,
            stored_bytes_max: 1024 * MIB,
            sys_interval: Duration::from_secs(10),
            stop_timeout: Duration::from_secs(5),
            port: PortLimits::default(),
        }
    }
}

impl Default for PortLimits {
    fn default() -> Self {
        Self {
            maximum_qos: QoS::ExactlyOnce,
            retain_available: true,
            wildcard_subscription_available: true,
            subscription_identifiers_available: true,
            shared_subscription_available: true,
            refused_filters: Vec::new(),
            max_packet_size: MIB as u32,
            receive_maximum: 1024,
            inflight_messages_max: 1024,
            topic_alias_maximum: 32,
            outgoing_topic_aliases_max: 32,
            max_keep_alive: 0,
            max_session_expiry: Some(Duration::from_secs(7 * 24 * 3600)),
            max_message_expiry: None,
            subscriptions_per_client_max: 10_000,
            queue_messages_per_client_max: 100_000,
            queue_bytes_per_client_max: 16 * MIB,
            queue_overflow: QueueOverflow::RejectNewest,
            outbox_bytes_max: MIB as u32,
            connections_max: None,
            connections_per_address_max: 0,
            connection_rate_per_address_max: 0,
            handshake_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(10),
            packet_timeout: Duration::from_secs(60),
            send_timeout: Duration::from_secs(60),
        }
    }
}

// Bounds that no key sets: nobody who runs a gateway has a reason to choose another value.

/// Largest CONNECT packet, where `max_packet_size` allows more. What comes before the client is known is buffered for
/// everybody who can open a connection. A will and credentials of 64 KiB each fit, and user properties besides.
pub(crate) const CONNECT_BYTES_MAX: u32 = 256 * 1024;

/// Connections above a bound that are told so at one time; the others are closed at once. A field that comes back after a
/// power cut is told in a few seconds, and a flood costs sixty-four sockets and a megabyte.
pub(crate) const REFUSALS_ANSWERED_MAX: usize = 64;

/// Time that such an answer may take, from accept to close: a client sends its CONNECT as soon as it is connected.
pub(crate) const REFUSAL_TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes that are read of the CONNECT of such a client. Of a larger one the beginning says in which version to answer.
pub(crate) const REFUSED_CONNECT_BYTES_MAX: u32 = 16 * 1024;

/// Bytes of topic filters that one client may have: ten thousand filters of a hundred bytes.
pub(crate) const FILTER_BYTES_PER_CLIENT_MAX: usize = 1024 * 1024;

/// Deepest topic filter that is stored. Each level costs memory, and nobody's plant has two hundred floors.
pub(crate) const FILTER_LEVELS_MAX: usize = 200;

/// Bytes that the index of topic filters may take for each subscription that `subscriptions_max` allows: four levels that no
/// other filter shares. Without it, a few clients with filters of a hundred levels would take a hundred times the memory
/// that the number of subscriptions lets one expect.
pub(crate) const FILTER_INDEX_BYTES_PER_SUBSCRIPTION: u64 = 256;

/// Bytes up to which queued messages are encoded ahead of the socket. What is beyond stays in the queue of the session,
/// where it can expire, and where a packet costs a pointer.
pub(crate) const ENCODE_AHEAD_BYTES: usize = 256 * 1024;

/// Retained topics that a client's subscriptions may look at in one turn of its link: less than a millisecond.
pub(crate) const RETAINED_STEPS_PER_TURN: u32 = 2000;

/// Topics whose routes are remembered; ten thousand data points of a plant fit.
pub(crate) const ROUTE_CACHE_SLOTS: u64 = 16_384;

/// Targets of all remembered routes together: four for each topic, 3 MiB at most.
pub(crate) const ROUTE_CACHE_TARGETS_MAX: usize = 65_536;

/// Longest topic whose route is remembered, so that the topics of the cache are bounded in bytes as well.
pub(crate) const ROUTE_CACHE_TOPIC_LEN_MAX: usize = 256;

/// Longest time that a publisher waits for a receiver that is behind: long enough for a receiver that reads to catch up,
/// too short for a person to notice.
pub(crate) const PAUSE_MAX: Duration = Duration::from_millis(50);

/// Shortest time between two waits of a publisher of which the first was in vain, so that slow receivers cost it at most
/// a twentieth of its time.
pub(crate) const PAUSE_INTERVAL: Duration = Duration::from_secs(1);

/// Answers of one back end that are remembered: every topic of a plant with ten thousand data points, or all clients of a
/// full gateway.
pub(crate) const BACKEND_CACHE_ENTRIES_MAX: usize = 10_000;

/// Bytes that they take together.
pub(crate) const BACKEND_CACHE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of one answer of a back end. Attributes of a client fit many times over; a server gone mad fills no memory.
pub(crate) const BACKEND_ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Connections to one back end that are kept open between questions.
pub(crate) const BACKEND_IDLE_CONNECTIONS_MAX: usize = 8;

/// Time after which such a connection is closed. Servers commonly close theirs after one minute.
pub(crate) const BACKEND_IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Rules of all `[authorization.NAME]` together: two for each connection, at about 1 KiB each.
pub(crate) const AUTHORIZATION_RULES_MAX: usize = 20_000;

/// Topics of a connection whose publishing rights are remembered: a device publishes to a few.
pub(crate) const DECISION_CACHE_SLOTS: u64 = 8;

/// Answers of an ACL back end that a connection remembers. The back end's own cache has the rest.
pub(crate) const ACL_ANSWERS_MAX: usize = 256;

/// Longest time that a connection remembers such an answer, whatever the cache time of the back end.
pub(crate) const ACL_ANSWER_TIME_MAX: Duration = Duration::from_secs(60);

/// Questions about messages for one client that are open at one time. Further messages wait behind those.
pub(crate) const ACL_QUESTIONS_MAX: usize = 32;

/// How long a connection waits before it asks again about messages that nobody could tell about; twice as long each time, up
/// to [`ACL_PAUSE_MAX`].
pub(crate) const ACL_PAUSE_MIN: Duration = Duration::from_secs(1);

/// Longest such pause.
pub(crate) const ACL_PAUSE_MAX: Duration = Duration::from_secs(30);

/// QoS 0 messages that one client may have waiting for an answer; those beyond are dropped and counted. QoS 1 and 2 messages
/// wait in the queue of the session.
pub(crate) const HELD_MESSAGES_MAX: usize = 1000;

/// Bytes of the same.
pub(crate) const HELD_BYTES_MAX: usize = 256 * 1024;

/// Denials that are written down for the journal between two looks of the shell; those beyond are counted only.
pub(crate) const DENIALS_NOTED_MAX: usize = 64;
