//! What the broker counts.

use super::denial::DeniedAction;
use crate::mqtt::QoS;

/// Counters since the start, and levels as they are now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Control packets taken from clients.
    pub packets_received: u64,
    /// Control packets encoded for clients; acknowledgements and PUBLISH, and the rest.
    pub packets_sent: u64,
    /// Bytes read from clients.
    pub bytes_received: u64,
    /// Bytes encoded for clients.
    pub bytes_sent: u64,
    /// PUBLISH packets taken, by QoS.
    pub publishes_received: [u64; 3],
    /// PUBLISH packets encoded for clients, by QoS.
    pub publishes_sent: [u64; 3],
    /// Payload bytes of PUBLISH packets taken.
    pub payload_bytes_received: u64,
    /// Payload bytes of PUBLISH packets encoded for clients.
    pub payload_bytes_sent: u64,
    /// Messages that a session should have got and did not, because a bound was reached.
    pub messages_dropped: u64,
    /// Messages that expired before they could be sent (MQTT 5, 3.3.2.3.3).
    pub messages_expired: u64,
    /// Messages that were larger than their receiver takes (3.1.2.11.4).
    pub messages_too_large: u64,
    /// Publications and subscriptions that were refused because a bound was reached.
    pub quota_refusals: u64,
    /// What the rules, or who is asked instead, have denied: the sum of the four below.
    pub authorization_denials: u64,
    /// Connections that were denied.
    pub connect_denials: u64,
    /// Publications that were denied, and connections because of their will.
    pub publish_denials: u64,
    /// Subscriptions that were denied, or removed when rules changed.
    pub subscribe_denials: u64,
    /// Messages that a subscription has matched and its client may not read.
    pub read_denials: u64,
    /// Publications that were refused because a rule allows only so many.
    pub rate_refusals: u64,
    /// Times that a publisher was told to wait for a receiver.
    pub pauses: u64,
    /// Connections accepted by the core since the start.
    pub connections_total: u64,
    /// Connections now.
    pub connections: u64,
    /// The most connections that there were at one time.
    pub connections_peak: u64,
    /// Sessions now, connected or not.
    pub sessions: u64,
    /// Sessions that ended because their expiry interval had passed.
    pub sessions_expired: u64,
    /// Subscriptions now; every member of a shared one counts.
    pub subscriptions: u64,
    /// Retained messages now.
    pub retained_messages: u64,
    /// Bytes of the retained messages.
    pub retained_bytes: u64,
    /// Messages queued or in flight for sessions now.
    pub queued_messages: u64,
    /// Bytes of memory that queued messages take, each message counted once.
    pub queued_bytes: u64,
    /// Messages that are stored for sessions.
    pub stored_messages: u64,
    /// What they count in the budget of what is stored.
    pub stored_bytes: u64,
}

impl Statistics {
    /// Counts a PUBLISH that was encoded.
    #[inline]
    pub(crate) fn count_sent(&mut self, qos: QoS, packet: usize, payload: usize) {
        self.packets_sent += 1;
        self.bytes_sent += u64::try_from(packet).unwrap_or(0);
        self.payload_bytes_sent += u64::try_from(payload).unwrap_or(0);
        if let Some(count) = self.publishes_sent.get_mut(usize::from(qos.as_u8())) {
            *count += 1;
        }
    }

    /// Counts a PUBLISH that was taken.
    #[inline]
    pub(crate) fn count_received(&mut self, qos: QoS, payload: usize) {
        self.payload_bytes_received += u64::try_from(payload).unwrap_or(0);
        if let Some(count) = self.publishes_received.get_mut(usize::from(qos.as_u8())) {
            *count += 1;
        }
    }

    /// Takes a count back: the PUBLISH is handed over again.
    pub(crate) fn uncount_received(&mut self, qos: QoS, payload: usize) {
        self.packets_received -= 1;
        self.payload_bytes_received -= u64::try_from(payload).unwrap_or(0);
        if let Some(count) = self.publishes_received.get_mut(usize::from(qos.as_u8())) {
            *count -= 1;
        }
    }

    pub(crate) fn count_denial(&mut self, action: DeniedAction) {
        self.authorization_denials += 1;
        *match action {
            DeniedAction::Connect => &mut self.connect_denials,
            DeniedAction::Publish | DeniedAction::Will => &mut self.publish_denials,
            DeniedAction::Subscribe => &mut self.subscribe_denials,
            DeniedAction::Read => &mut self.read_denials,
        } += 1;
    }

    /// PUBLISH packets taken, of all QoS.
    #[must_use]
    pub fn publishes_received_total(&self) -> u64 {
        self.publishes_received.iter().sum()
    }

    /// PUBLISH packets encoded, of all QoS.
    #[must_use]
    pub fn publishes_sent_total(&self) -> u64 {
        self.publishes_sent.iter().sum()
    }
}

/// One client, for listings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientInfo {
    /// The client identifier.
    pub client_id: String,
    /// The connection, unless the session is without one.
    pub connection: Option<ConnectionInfo>,
    /// Who opened the session.
    pub principal: String,
    /// The port of the last connection.
    pub port: String,
    /// Seconds that the session stays without a connection; `u32::MAX` for ever.
    pub session_expiry_interval: u32,
    /// Subscriptions, shared ones included.
    pub subscriptions: usize,
    /// QoS 1 and 2 messages sent and not yet acknowledged.
    pub inflight_messages: usize,
    /// Messages in the queue.
    pub queued_messages: usize,
    /// Bytes of the messages in the queue and in flight.
    pub queued_bytes: u64,
    /// Messages that were dropped because a bound was reached.
    pub dropped_messages: u64,
}

/// The connection of a client, for listings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// The client's address.
    pub peer: String,
    /// `tcp`, `tls`, `websocket` and so on.
    pub transport: &'static str,
    /// The version as users write it: `3.1`, `3.1.1` or `5.0`.
    pub protocol_version: &'static str,
    /// Milliseconds since the connection was accepted.
    pub connected_millis: u64,
    /// The keep alive in force, in seconds.
    pub keep_alive: u16,
    /// PUBLISH packets taken from the client.
    pub received_messages: u64,
    /// Bytes that wait for its socket.
    pub outbox_bytes: usize,
}
