//! A message while it is being routed, and its encoded images.

use std::sync::Arc;

use bytes::Bytes;

use super::message::{Cost, Message, QueueBudget};
use super::time::Timestamp;
use super::{ConnectionId, SessionId};
use crate::mqtt::QoS;

/// A message on its way through the broker, borrowed from the packet that brought it as long as nobody has to keep it.
#[derive(Debug)]
pub(crate) struct Publication<'a> {
    /// The topic with the mount point of the publisher.
    pub(crate) topic: &'a str,
    pub(crate) payload: &'a [u8],
    pub(crate) forwarded: &'a [u8],
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) message_expiry_interval: Option<u32>,
    /// The session that published, if a client did.
    pub(crate) publisher: Option<SessionId>,
    pub(crate) received_at: Timestamp,
    /// More than one session gets it: large payloads are worth sharing, and encoded images worth keeping.
    pub(crate) fans_out: bool,
    /// The publisher waits for an answer, and is told if the message cannot be stored.
    pub(crate) is_refusable: bool,
    /// A receiver that is behind, for which the publisher should wait.
    pub(crate) behind: Option<ConnectionId>,
    kept: Option<Arc<Message>>,
    shared_payload: Option<Bytes>,
}

impl<'a> Publication<'a> {
    pub(crate) fn new(
        topic: &'a str,
        payload: &'a [u8],
        forwarded: &'a [u8],
        qos: QoS,
        retain: bool,
        received_at: Timestamp,
    ) -> Self {
        Self {
            topic,
            payload,
            forwarded,
            qos,
            retain,
            message_expiry_interval: None,
            publisher: None,
            received_at,
            fans_out: false,
            is_refusable: false,
            behind: None,
            kept: None,
            shared_payload: None,
        }
    }

    /// The publication of a message that is kept already.
    pub(crate) fn of(message: &'a Arc<Message>, retain: bool, now: Timestamp) -> Self {
        let mut publication = Self::new(
            &message.topic,
            &message.payload,
            &message.forwarded,
            message.qos,
            retain,
            now,
        );
        publication.message_expiry_interval = message.expiry_left(now);
        publication.kept = Some(Arc::clone(message));
        publication
    }

    /// What one more delivery with so many identifiers would cost.
    pub(crate) fn cost(&self, identifiers: usize) -> Cost {
        if let Some(message) = &self.kept {
            return QueueBudget::cost(message, identifiers);
        }
        let text = self.topic.len() + self.payload.len() + self.forwarded.len();
        QueueBudget::cost_of_new(text, identifiers)
    }

    /// The message to keep; made once, however many keep it.
    pub(crate) fn keep(&mut self) -> Arc<Message> {
        if let Some(message) = &self.kept {
            return Arc::clone(message);
        }
        let payload = self.shared_payload();
        let message = Arc::new(Message::new(
            self.topic,
            payload,
            self.forwarded.into(),
            self.qos,
            self.received_at,
            self.message_expiry_interval
                .map(|seconds| self.received_at.plus_secs(seconds)),
        ));
        self.kept = Some(Arc::clone(&message));
        message
    }

    /// The payload in a form that outboxes can share.
    pub(crate) fn shared_payload(&mut self) -> Bytes {
        if let Some(message) = &self.kept {
            return message.payload.clone();
        }
        self.shared_payload
            .get_or_insert_with(|| Bytes::copy_from_slice(self.payload))
            .clone()
    }
}

/// One encoded form of a publication, to be copied to every receiver that takes this form.
#[derive(Debug, Default)]
pub(crate) struct Image {
    pub(crate) bytes: Vec<u8>,
    /// Where the packet identifier of the receiver goes.
    pub(crate) packet_id_offset: Option<usize>,
    /// The payload follows the bytes, shared.
    pub(crate) payload_follows: bool,
    valid: bool,
}

/// The encoded forms of the publication that is being routed: by version, QoS and RETAIN.
#[derive(Debug, Default)]
pub(crate) struct Images {
    slots: [Image; 12],
    used: bool,
}

impl Images {
    /// The image for a form, and whether it has to be made.
    pub(crate) fn slot(&mut self, v5: bool, qos: QoS, retain: bool) -> Option<(&mut Image, bool)> {
        let index = usize::from(qos.as_u8()) * 4 + usize::from(v5) * 2 + usize::from(retain);
        self.used = true;
        let image = self.slots.get_mut(index)?;
        let make = !image.valid;
        if make {
            image.valid = true;
            image.bytes.clear();
        }
        Some((image, make))
    }

    /// Forgets all images before the next publication.
    pub(crate) fn clear(&mut self) {
        if self.used {
            self.used = false;
            for image in &mut self.slots {
                image.valid = false;
                if image.bytes.capacity() > 64 * 1024 {
                    image.bytes = Vec::new();
                }
            }
        }
    }
}
