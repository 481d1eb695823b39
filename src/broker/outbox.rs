//! What is encoded for a connection and not yet taken by its link.

use bytes::Bytes;

/// Payloads from this size on are shared between receivers instead of copied.
pub(crate) const SHARED_PAYLOAD_MIN: usize = 2048;

/// Encoded packets in order: bytes of its own, and payloads shared with other outboxes that go between them.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    /// A shared payload and the offset in `bytes` before which it goes.
    shared: Vec<(usize, Bytes)>,
    shared_len: usize,
}

impl Outbox {
    /// Bytes that wait, shared payloads included.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.bytes.len() + self.shared_len
    }

    /// Whether nothing waits.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.shared.is_empty()
    }

    /// The buffer that packets are encoded to.
    #[inline]
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Whether the outbox owns no buffer, so that the next packet would have to allocate one.
    #[inline]
    pub(crate) fn has_no_buffer(&self) -> bool {
        self.bytes.capacity() == 0
    }

    /// Gives the outbox, which has none, a buffer to encode to.
    pub(crate) fn set_buffer(&mut self, buffer: Vec<u8>) {
        self.bytes = buffer;
    }

    /// The buffer, emptied, for another outbox.
    fn into_buffer(mut self) -> Vec<u8> {
        self.bytes.clear();
        self.bytes
    }

    pub(crate) fn push_shared(&mut self, payload: Bytes) {
        self.shared_len += payload.len();
        self.shared.push((self.bytes.len(), payload));
    }

    /// The pieces in the order in which they go to the socket.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let mut from = 0;
        let own = self
            .shared
            .iter()
            .map(|(offset, payload)| (*offset, Some(payload)))
            .chain([(self.bytes.len(), None)]);
        own.flat_map(move |(offset, payload)| {
            let own = self.bytes.get(from..offset).unwrap_or_default();
            from = offset;
            [own, payload.map_or(&[][..], |payload| payload)]
        })
        .filter(|piece| !piece.is_empty())
    }

    /// Whether the packets stand in one piece, which is then [`Outbox::pieces`]' only one.
    #[must_use]
    pub fn is_one_piece(&self) -> bool {
        self.shared.is_empty()
    }
}

/// Buffers of outboxes that have been written, for the next ones: a buffer that has grown is worth keeping, but not by a
/// connection that may be idle from now on.
#[derive(Debug, Default)]
pub(crate) struct BufferPool {
    buffers: Vec<Vec<u8>>,
}

impl BufferPool {
    const BUFFERS_MAX: usize = 16;
    const BYTES_MAX: usize = 256 * 1024;
    const BYTES_MIN: usize = 1024;

    #[inline]
    pub(crate) fn take(&mut self) -> Option<Vec<u8>> {
        self.buffers.pop()
    }

    pub(crate) fn give_back(&mut self, outbox: Outbox) {
        let buffer = outbox.into_buffer();
        let worth = (Self::BYTES_MIN..=Self::BYTES_MAX).contains(&buffer.capacity());
        if worth && self.buffers.len() < Self::BUFFERS_MAX {
            self.buffers.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_in_the_order_in_which_they_were_appended() {
        let mut outbox = Outbox::default();
        outbox.buffer().extend_from_slice(b"ab");
        outbox.push_shared(Bytes::from_static(b"CD"));
        outbox.push_shared(Bytes::from_static(b"EF"));
        outbox.buffer().extend_from_slice(b"gh");
        let pieces: Vec<&[u8]> = outbox.pieces().collect();
        assert_eq!(pieces.concat(), b"abCDEFgh");
        assert_eq!(pieces.len(), 4);
        assert_eq!(outbox.len(), 8);
    }
}
