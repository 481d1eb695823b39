//! What the core knows of one network connection, from the accepted CONNECT to its end.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;

use super::clearance::Clearance;
use super::outbox::Outbox;
use super::pending::Withheld;
use super::time::Timestamp;
use super::{ConnectionId, SessionId};
use crate::limits::PortLimits;
use crate::mqtt::{Connect, ProtocolVersion, ReasonCode, Violation};
use crate::policy::{Authorization, Principal};

/// The settings of a port that the core goes by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortPolicy {
    /// The port's name in the journal and in listings, `127.0.0.1:1883` for one.
    pub endpoint: Box<str>,
    /// Its bounds.
    pub limits: Arc<PortLimits>,
    /// Prefix of every topic of its clients, who do not see it; empty for none.
    pub mount_point: Box<str>,
    /// Its rules.
    pub authorization: Authorization,
}

/// Aliases and counters that few connections need, or that are read seldom.
#[derive(Debug)]
pub(crate) struct Details {
    pub(crate) peer: Box<str>,
    pub(crate) transport: &'static str,
    pub(crate) keep_alive: u16,
    pub(crate) connected_at: Timestamp,
    pub(crate) received_messages: u64,
    /// Topics by the alias that the client has set, alias 1 first (MQTT 5, 3.3.2.3.4).
    pub(crate) incoming_aliases: Vec<Option<Box<str>>>,
    /// Aliases that we have set, by topic.
    pub(crate) outgoing_aliases: HashMap<Box<str>, u16, foldhash::fast::FixedState>,
    pub(crate) outgoing_aliases_max: u16,
    pub(crate) authentication_method: Option<Box<str>>,
}

/// One network connection of a client.
#[derive(Debug)]
pub struct Connection {
    pub(crate) session: SessionId,
    pub(crate) version: ProtocolVersion,
    pub(crate) problem_information: bool,
    /// The link was told that output waits and has not come for it yet.
    pub(crate) announced: bool,
    /// A walk over retained messages goes on in the next turn.
    pub(crate) is_walking: bool,
    /// Why the connection is ended from our side, if it is.
    pub(crate) ended_by: Option<EndedBy>,
    /// Nothing more is sent or handled; the link closes when it has written the outbox.
    pub(crate) closing: bool,
    /// Nothing is handed out before this batch is stored: the CONNACK of a session that is stored promises that it is.
    pub(crate) held_for: u64,
    /// Nothing is handed out before the first messages are read from the store, so that they follow the CONNACK.
    pub(crate) awaits_load: bool,
    /// The client is not read, because too much waits to be stored.
    pub(crate) stalled: bool,
    /// Answers that wait for their batch, in order.
    pub(crate) withheld: VecDeque<Withheld>,
    /// A publisher waited for this receiver in vain: nobody waits for it again until it has caught up.
    pub(crate) slow: bool,
    /// QoS 2 messages taken on this connection and not released; the quota is the connection's, not the session's (4.9).
    pub(crate) unreleased: u16,
    /// The smaller of the client's Receive Maximum and ours (3.1.2.11.3).
    pub(crate) send_quota: u16,
    /// The client's Maximum Packet Size (3.1.2.11.4).
    pub(crate) maximum_packet_size: usize,
    pub(crate) outbox: Outbox,
    pub(crate) port: Arc<PortPolicy>,
    /// What is known of the rights of the client; none where its port has no rules.
    pub(crate) clearance: Option<Box<Clearance>>,
    pub(crate) last_packet_at: Timestamp,
    pub(crate) keep_alive_at: Option<Timestamp>,
    pub(crate) credential_expires_at: Option<Timestamp>,
    /// Until when this publisher waits, and for whom.
    pub(crate) paused: Option<(Timestamp, ConnectionId)>,
    pub(crate) next_pause_from: Timestamp,
    /// Publishers that wait until this outbox has been taken.
    pub(crate) waiting: Vec<ConnectionId>,
    pub(crate) details: Box<Details>,
}

/// Why the broker ended a connection, for the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndedBy {
    /// What the client was told, if its version allows.
    pub reason: ReasonCode,
    /// The same in a sentence.
    pub sentence: &'static str,
    /// The rule that the client broke, if it did.
    pub violation: Option<Violation>,
}

/// A connection that the shell has authenticated and asks the core to serve.
#[derive(Debug)]
pub struct Admission<'a> {
    /// The CONNECT packet.
    pub connect: &'a Connect<'a>,
    /// The identifier to give to a client that sent none: unique, and of characters that every topic may hold.
    pub assigned_client_id: &'a str,
    /// Who was authenticated.
    pub principal: Arc<Principal>,
    /// What the back end of the port says about the topic of the will, where no rule decides.
    pub will_answer: Option<bool>,
    /// When the credential ends, if it does.
    pub expires_at: Option<Timestamp>,
    /// What the last step of an enhanced authentication has for the client (MQTT 5, 4.12).
    pub authentication_data: Option<&'a [u8]>,
    /// The port that the client came by.
    pub port: Arc<PortPolicy>,
    /// The client's address, for listings.
    pub peer: &'a str,
    /// How it came: `tcp`, `tls`, `websocket` and so on, for listings.
    pub transport: &'static str,
}

impl Connection {
    pub(crate) fn new(admission: &Admission<'_>, session: SessionId, now: Timestamp) -> Self {
        let connect = admission.connect;
        let limits = &admission.port.limits;
        let properties = &connect.properties;
        Self {
            session,
            version: connect.version,
            problem_information: properties.request_problem_information,
            announced: false,
            is_walking: false,
            ended_by: None,
            closing: false,
            held_for: 0,
            awaits_load: false,
            stalled: false,
            withheld: VecDeque::new(),
            slow: false,
            unreleased: 0,
            send_quota: properties.receive_maximum.min(limits.inflight_messages_max),
            maximum_packet_size: properties.maximum_packet_size.map_or(usize::MAX, |size| {
                usize::try_from(size).unwrap_or(usize::MAX)
            }),
            outbox: Outbox::default(),
            port: Arc::clone(&admission.port),
            clearance: None,
            last_packet_at: now,
            keep_alive_at: None,
            credential_expires_at: admission.expires_at,
            paused: None,
            next_pause_from: Timestamp::default(),
            waiting: Vec::new(),
            details: Box::new(Details {
                peer: admission.peer.into(),
                transport: admission.transport,
                keep_alive: connect.keep_alive,
                connected_at: now,
                received_messages: 0,
                incoming_aliases: Vec::new(),
                outgoing_aliases: HashMap::with_hasher(foldhash::fast::FixedState::default()),
                outgoing_aliases_max: properties
                    .topic_alias_maximum
                    .min(limits.outgoing_topic_aliases_max),
                authentication_method: properties.authentication_method.map(Into::into),
            }),
        }
    }

    /// The reason string for a packet, if the client wants any (3.1.2.11.7) and takes a packet that long (MQTT-3.14.2-3).
    pub(crate) fn reason_string(&self, text: &'static str) -> Option<&'static str> {
        // The most that surrounds the text in a packet that has no other property.
        const AROUND: usize = 16;
        let wanted = self.version.is_v5() && self.problem_information;
        (wanted && text.len() + AROUND <= self.maximum_packet_size).then_some(text)
    }

    /// Bytes that may wait before QoS 0 messages are dropped.
    #[inline]
    pub(crate) fn outbox_bytes_max(&self) -> usize {
        usize::try_from(self.port.limits.outbox_bytes_max).unwrap_or(usize::MAX)
    }

    /// When the client has been silent for too long, unless it speaks (3.1.2.10).
    pub(crate) fn keep_alive_deadline(&self) -> Option<Timestamp> {
        let millis = u64::from(self.details.keep_alive) * 1500;
        (millis > 0).then(|| Timestamp::from_millis(self.last_packet_at.as_millis() + millis))
    }
}
