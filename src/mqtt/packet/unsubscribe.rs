//! UNSUBSCRIBE (3.10).

use std::fmt;

use super::super::property::{PropertyReader, id};
use super::super::read::Reader;
use super::super::{DecodeOptions, PacketId, UserProperties, Violation};
use crate::mqtt::ProtocolVersion;
use crate::mqtt::encode::{Body, Properties, Sink};

/// Request to end some subscriptions (3.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// Identifier that the UNSUBACK repeats.
    pub packet_id: PacketId,
    /// Pairs of the client's own, in order (3.10.2.1.2).
    pub user_properties: UserProperties<'a>,
    /// At least one (3.10.3).
    pub filters: UnsubscribeFilters<'a>,
}

/// The topic filters of an UNSUBSCRIBE, in order. It is its own iterator.
///
/// The texts are strings as the standard wants them, but perhaps no topic filters.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct UnsubscribeFilters<'a> {
    raw: &'a [u8],
    left: usize,
}

impl<'a> Unsubscribe<'a> {
    pub(in crate::mqtt) fn decode(
        body: &'a [u8],
        options: &DecodeOptions,
    ) -> Result<Self, Violation> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        let mut user_properties = UserProperties::EMPTY;
        if options.version.is_v5() {
            let mut properties = PropertyReader::open(&mut reader)?;
            while let Some(id) = properties.next_id()? {
                match id {
                    id::USER_PROPERTY => properties.user_property()?,
                    _ => return Err(properties.refuse(id)),
                }
            }
            user_properties = properties.user_properties();
        }
        let filters = UnsubscribeFilters::decode(reader)?;
        Ok(Self {
            packet_id,
            user_properties,
            filters,
        })
    }
}

impl<'a> UnsubscribeFilters<'a> {
    fn decode(mut reader: Reader<'a>) -> Result<Self, Violation> {
        let raw = reader.rest();
        let mut left = 0;
        while !reader.is_empty() {
            reader.string()?;
            left += 1;
        }
        if left == 0 {
            Err(Violation::UnsubscribeEmpty)
        } else {
            Ok(Self { raw, left })
        }
    }
}

impl<'a> Iterator for UnsubscribeFilters<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let mut reader = Reader::new(self.raw);
        let filter = reader.string().ok()?;
        self.raw = reader.rest();
        self.left = self.left.saturating_sub(1);
        Some(filter)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for UnsubscribeFilters<'_> {}

impl fmt::Debug for UnsubscribeFilters<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(*self).finish()
    }
}

/// What an UNSUBSCRIBE is made of, from wherever its filters come.
pub(in crate::mqtt) struct UnsubscribeBody<'a, I> {
    pub(in crate::mqtt) packet_id: PacketId,
    pub(in crate::mqtt) user_properties: UserProperties<'a>,
    pub(in crate::mqtt) filters: I,
}

impl<I> Properties for UnsubscribeBody<'_, I> {
    fn write<S: Sink>(&self, sink: &mut S) {
        sink.user_properties(self.user_properties);
    }
}

impl<'f, I> Body for UnsubscribeBody<'_, I>
where
    I: Iterator<Item = &'f str> + Clone,
{
    fn write<S: Sink>(&self, sink: &mut S, version: ProtocolVersion) {
        sink.u16(self.packet_id.value());
        if version.is_v5() {
            sink.properties(self);
        }
        for filter in self.filters.clone() {
            sink.string(filter);
        }
    }
}
