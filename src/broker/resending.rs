//! What was under way when a connection ended, on the next one (MQTT 5, 4.4).

use super::ConnectionId;
use super::clients::Clients;
use super::inflight::Awaiting;
use super::reading::Reading;
use super::time::Timestamp;
use crate::mqtt::encode;
use crate::mqtt::{AckKind, PacketId, ReasonCode};

impl Clients {
    /// Sends again what was under way when the last connection ended, in its order (MQTT-4.4.0-1), and no more at a time
    /// than the client takes now (MQTT-3.3.4-9).
    pub(crate) fn resend(&mut self, id: ConnectionId, now: Timestamp) {
        while let Some(connection) = self.connections.get(id).filter(|c| !c.closing)
            && let is_checked = connection.clearance.is_some()
            && let session = connection.session
            && self
                .sessions
                .get(session)
                .is_some_and(|s| s.outgoing.holds_back())
        {
            match is_checked.then(|| self.clear_again(id, now)) {
                Some(Reading::Unknown) => return,
                Some(Reading::No) => continue,
                Some(Reading::Yes(_)) | None => {}
            }
            if !self.resend_next(id, now) {
                return;
            }
        }
    }

    /// Sends the next one again; false if there is none, or the client takes no more now.
    fn resend_next(&mut self, id: ConnectionId, now: Timestamp) -> bool {
        if let Some(connection) = self.connections.get(id)
            && let quota = usize::from(connection.send_quota)
            && let session = connection.session
            && let Some(entry) = self.sessions.get_mut(session)
            && let Some(exchange) = entry.outgoing.next_again(quota)
        {
            let (packet_id, awaiting) = (exchange.packet_id, exchange.awaiting);
            let delivery = exchange.delivery.as_deref().cloned();
            match (awaiting, delivery) {
                (Awaiting::PubComp, _) => self.send_pubrel(id, packet_id),
                (Awaiting::PubAck | Awaiting::PubRec, Some(delivery)) => {
                    if !self.write_delivery(id, &delivery, Some(packet_id), true, now) {
                        self.end_exchange(session, packet_id, awaiting);
                    }
                }
                (Awaiting::PubAck | Awaiting::PubRec, None) => {
                    self.end_exchange(session, packet_id, awaiting);
                }
            }
            return true;
        }
        false
    }

    pub(crate) fn send_pubrel(&mut self, id: ConnectionId, packet_id: PacketId) {
        if let Some(connection) = self.connections.get_mut(id) {
            let before = connection.outbox.len();
            encode::ack(
                connection.outbox.buffer(),
                connection.version,
                AckKind::PubRel,
                packet_id,
                ReasonCode::Success,
                None,
            );
            self.outbox_bytes += connection.outbox.len() - before;
            connection.announce(id, &mut self.effects);
        }
    }
}
