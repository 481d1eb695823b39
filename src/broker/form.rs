//! PUBLISH packets as they go to one connection.

use bytes::Bytes;

use super::ConnectionId;
use super::connection::Connection;
use super::effect::Effect;
use super::outbox::BufferPool;
use super::publication::{Images, Publication};
use crate::mqtt::encode::{self, PublishParts};
use crate::mqtt::{PacketId, QoS};

/// A message in the form in which one connection gets it.
pub(super) struct Form<'a> {
    pub(super) topic: &'a str,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) dup: bool,
    pub(super) message_expiry_interval: Option<u32>,
    pub(super) identifiers: &'a [u32],
    pub(super) forwarded: &'a [u8],
}

impl Connection {
    /// Tells the link that output waits, once until it has come for it.
    #[inline]
    pub(super) fn announce(&mut self, id: ConnectionId, effects: &mut Vec<Effect>) {
        if !self.announced {
            self.announced = true;
            effects.push(Effect::Send(id));
        }
    }

    /// Sees to it that there is a buffer to encode to.
    #[inline]
    pub(super) fn lend_buffer(&mut self, buffers: &mut BufferPool) {
        if self.outbox.has_no_buffer()
            && let Some(buffer) = buffers.take()
        {
            self.outbox.set_buffer(buffer);
        }
    }

    /// The topic as the client knows it; `None` if it lies outside its mount point.
    #[inline]
    pub(super) fn unmounted<'t>(&self, topic: &'t str) -> Option<&'t str> {
        // Most ports have none, and comparing with an empty text is not free.
        if self.port.mount_point.is_empty() {
            return Some(topic);
        }
        topic.strip_prefix(&*self.port.mount_point)
    }

    /// Bytes of a PUBLISH with a payload of this length, or `None` if the client does not take one that large.
    #[inline]
    pub(super) fn fitting(&self, parts: &PublishParts<'_>) -> Option<usize> {
        let len = encode::publish_len(self.version, parts);
        (len <= self.maximum_packet_size).then_some(len)
    }

    /// Appends a PUBLISH. `payload` is shared with the message if it is large.
    pub(super) fn append(
        &mut self,
        form: &Form<'_>,
        packet_id: Option<PacketId>,
        payload: &[u8],
        shared: Option<Bytes>,
    ) {
        let mut parts = form.parts(packet_id, payload);
        if self.details.outgoing_aliases_max > 0 {
            self.set_alias(&mut parts);
        }
        match shared {
            None => encode::publish(self.outbox.buffer(), self.version, &parts),
            Some(payload) => {
                encode::publish_head(self.outbox.buffer(), self.version, &parts, payload.len());
                self.outbox.push_shared(payload);
            }
        }
    }

    /// Replaces the topic by an alias if it has one, or gives it one while there are any (MQTT 5, 3.3.2.3.4); not if the packet
    /// would be larger than the client takes for it (MQTT-3.1.2-24).
    fn set_alias(&mut self, parts: &mut PublishParts<'_>) {
        let aliases = &mut self.details.outgoing_aliases;
        let known = aliases.get(parts.topic).copied();
        let alias = match known {
            Some(alias) => alias,
            None => u16::try_from(aliases.len() + 1).unwrap_or(u16::MAX),
        };
        if alias > self.details.outgoing_aliases_max {
            return;
        }
        let topic = parts.topic;
        parts.topic_alias = Some(alias);
        if known.is_some() {
            parts.topic = "";
        }
        if encode::publish_len(self.version, parts) > self.maximum_packet_size {
            parts.topic_alias = None;
            parts.topic = topic;
        } else if known.is_none() {
            aliases.insert(topic.into(), alias);
        }
    }
}

impl<'a> Form<'a> {
    pub(super) fn parts<'p>(
        &self,
        packet_id: Option<PacketId>,
        payload: &'p [u8],
    ) -> PublishParts<'p>
    where
        'a: 'p,
    {
        PublishParts {
            topic: self.topic,
            payload,
            qos: self.qos,
            retain: self.retain,
            dup: self.dup,
            packet_id,
            message_expiry_interval: self.message_expiry_interval,
            topic_alias: None,
            subscription_identifiers: self.identifiers,
            forwarded: self.forwarded,
        }
    }
}

/// Copies the encoded form of a publication that many receivers have in common, and puts the packet identifier in.
pub(super) fn append_image(
    images: &mut Images,
    connection: &mut Connection,
    parts: &PublishParts<'_>,
    publication: &mut Publication<'_>,
    share: bool,
) {
    let version = connection.version;
    let Some((image, make)) = images.slot(version.is_v5(), parts.qos, parts.retain) else {
        return;
    };
    if make {
        if share {
            encode::publish_head(&mut image.bytes, version, parts, parts.payload.len());
        } else {
            encode::publish(&mut image.bytes, version, parts);
        }
        image.packet_id_offset = parts
            .packet_id
            .and_then(|_| encode::publish_packet_id_offset(version, parts));
        image.payload_follows = share;
    }
    let buffer = connection.outbox.buffer();
    let start = buffer.len();
    buffer.extend_from_slice(&image.bytes);
    if let Some(packet_id) = parts.packet_id
        && let Some(offset) = image.packet_id_offset
        && let Some(field) = buffer.get_mut(start + offset..start + offset + 2)
    {
        field.copy_from_slice(&packet_id.value().to_be_bytes());
    }
    if image.payload_follows {
        connection.outbox.push_shared(publication.shared_payload());
    }
}
