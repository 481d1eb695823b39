//! What packets are written to: first a counter, for the lengths that come before the fields, then the buffer.

use super::super::property::id;
use super::super::{ProtocolVersion, UserProperties};

/// Takes the fields of a packet one after the other (1.5).
pub(in crate::mqtt) trait Sink: Sized {
    fn bytes(&mut self, bytes: &[u8]);

    fn u8(&mut self, value: u8) {
        self.bytes(&[value]);
    }

    fn u16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    /// Variable Byte Integer (1.5.5).
    fn variable_byte_integer(&mut self, value: u32) {
        let mut left = value;
        loop {
            let [.., low] = left.to_be_bytes();
            left >>= 7;
            if left == 0 {
                return self.u8(low & 0x7F);
            }
            self.u8(low | 0x80);
        }
    }

    /// Binary Data (1.5.6), cut off at 65,535 bytes.
    fn binary(&mut self, bytes: &[u8]) {
        let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        self.u16(length);
        self.bytes(bytes.get(..usize::from(length)).unwrap_or_default());
    }

    /// UTF-8 Encoded String (1.5.4), cut off before the character that is too much.
    fn string(&mut self, text: &str) {
        self.binary(fitting(text).as_bytes());
    }

    /// A property length and the properties (2.2.2).
    fn properties(&mut self, properties: &impl Properties) {
        let mut counter = Counter(0);
        properties.write(&mut counter);
        self.variable_byte_integer(counter.0);
        properties.write(self);
    }

    fn property_u8(&mut self, id: u8, value: Option<u8>) {
        if let Some(value) = value {
            self.bytes(&[id, value]);
        }
    }

    fn property_bool(&mut self, id: u8, value: Option<bool>) {
        self.property_u8(id, value.map(u8::from));
    }

    fn property_u16(&mut self, id: u8, value: Option<u16>) {
        if let Some(value) = value {
            self.u8(id);
            self.u16(value);
        }
    }

    fn property_u32(&mut self, id: u8, value: Option<u32>) {
        if let Some(value) = value {
            self.u8(id);
            self.u32(value);
        }
    }

    fn property_string(&mut self, id: u8, value: Option<&str>) {
        if let Some(value) = value {
            self.u8(id);
            self.string(value);
        }
    }

    fn property_binary(&mut self, id: u8, value: Option<&[u8]>) {
        if let Some(value) = value {
            self.u8(id);
            self.binary(value);
        }
    }

    fn user_properties(&mut self, user_properties: UserProperties<'_>) {
        for (name, value) in user_properties {
            self.u8(id::USER_PROPERTY);
            self.string(name);
            self.string(value);
        }
    }
}

impl Sink for Vec<u8> {
    #[inline]
    fn bytes(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// As much of a text as an MQTT string holds.
#[inline]
pub(super) fn fitting(text: &str) -> &str {
    if text.len() <= usize::from(u16::MAX) {
        return text;
    }
    let end = text.floor_char_boundary(usize::from(u16::MAX));
    text.get(..end).unwrap_or_default()
}

/// Counts what would be written.
pub(super) struct Counter(pub(super) u32);

impl Sink for Counter {
    #[inline]
    fn bytes(&mut self, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.0 = self.0.saturating_add(length);
    }
}

/// Something with properties.
pub(in crate::mqtt) trait Properties {
    /// Writes each property, without the property length.
    fn write<S: Sink>(&self, sink: &mut S);
}

/// Something that follows a fixed header.
pub(in crate::mqtt) trait Body {
    /// Writes variable header and payload.
    fn write<S: Sink>(&self, sink: &mut S, version: ProtocolVersion);
}

/// Appends a whole packet.
pub(super) fn frame(out: &mut Vec<u8>, first: u8, body: &impl Body, version: ProtocolVersion) {
    let mut counter = Counter(0);
    body.write(&mut counter, version);
    out.u8(first);
    out.variable_byte_integer(counter.0);
    body.write(out, version);
}
