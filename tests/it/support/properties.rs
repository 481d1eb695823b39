//! MQTT 5 properties, kept in the order in which they stand in the packet.

use super::hex::variable_length;
use super::reader::Reader;

pub(crate) const PAYLOAD_FORMAT_INDICATOR: u8 = 0x01;
pub(crate) const MESSAGE_EXPIRY_INTERVAL: u8 = 0x02;
pub(crate) const CONTENT_TYPE: u8 = 0x03;
pub(crate) const RESPONSE_TOPIC: u8 = 0x08;
pub(crate) const CORRELATION_DATA: u8 = 0x09;
pub(crate) const SUBSCRIPTION_IDENTIFIER: u8 = 0x0B;
pub(crate) const SESSION_EXPIRY_INTERVAL: u8 = 0x11;
pub(crate) const ASSIGNED_CLIENT_IDENTIFIER: u8 = 0x12;
pub(crate) const SERVER_KEEP_ALIVE: u8 = 0x13;
pub(crate) const AUTHENTICATION_METHOD: u8 = 0x15;
pub(crate) const AUTHENTICATION_DATA: u8 = 0x16;
pub(crate) const REQUEST_PROBLEM_INFORMATION: u8 = 0x17;
pub(crate) const WILL_DELAY_INTERVAL: u8 = 0x18;
pub(crate) const REQUEST_RESPONSE_INFORMATION: u8 = 0x19;
pub(crate) const RESPONSE_INFORMATION: u8 = 0x1A;
pub(crate) const SERVER_REFERENCE: u8 = 0x1C;
pub(crate) const RECEIVE_MAXIMUM: u8 = 0x21;
pub(crate) const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
pub(crate) const TOPIC_ALIAS: u8 = 0x23;
pub(crate) const MAXIMUM_QOS: u8 = 0x24;
pub(crate) const RETAIN_AVAILABLE: u8 = 0x25;
pub(crate) const USER_PROPERTY: u8 = 0x26;
pub(crate) const MAXIMUM_PACKET_SIZE: u8 = 0x27;
pub(crate) const WILDCARD_SUBSCRIPTION_AVAILABLE: u8 = 0x28;
pub(crate) const SUBSCRIPTION_IDENTIFIER_AVAILABLE: u8 = 0x29;
pub(crate) const SHARED_SUBSCRIPTION_AVAILABLE: u8 = 0x2A;

/// Value of a property, by its kind in the standard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Byte(u8),
    Two(u16),
    Four(u32),
    Variable(u32),
    Text(String),
    Bytes(Vec<u8>),
    Pair(String, String),
}

impl From<u8> for Value {
    fn from(value: u8) -> Self {
        Self::Byte(value)
    }
}

impl From<u16> for Value {
    fn from(value: u16) -> Self {
        Self::Two(value)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Four(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<&[u8]> for Value {
    fn from(value: &[u8]) -> Self {
        Self::Bytes(value.to_vec())
    }
}

impl From<(&str, &str)> for Value {
    fn from((name, value): (&str, &str)) -> Self {
        Self::Pair(name.to_owned(), value.to_owned())
    }
}

/// The properties of one packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Properties(pub(crate) Vec<(u8, Value)>);

impl Properties {
    pub(crate) fn with(mut self, id: u8, value: impl Into<Value>) -> Self {
        self.0.push((id, value.into()));
        self
    }

    pub(crate) fn has(&self, id: u8) -> bool {
        self.0.iter().any(|(each, _)| *each == id)
    }

    /// The number of a property, whatever its width.
    pub(crate) fn number(&self, id: u8) -> Option<u32> {
        self.numbers(id).first().copied()
    }

    pub(crate) fn numbers(&self, id: u8) -> Vec<u32> {
        let of_id = self.0.iter().filter(|(each, _)| *each == id);
        of_id
            .map(|(_, value)| match value {
                Value::Byte(value) => u32::from(*value),
                Value::Two(value) => u32::from(*value),
                Value::Four(value) | Value::Variable(value) => *value,
                Value::Text(_) | Value::Bytes(_) | Value::Pair(..) => {
                    panic!("property {id:#04x} is no number")
                }
            })
            .collect()
    }

    pub(crate) fn text(&self, id: u8) -> Option<&str> {
        self.0.iter().find_map(|(each, value)| match value {
            Value::Text(text) if *each == id => Some(text.as_str()),
            _ => None,
        })
    }

    pub(crate) fn bytes(&self, id: u8) -> Option<&[u8]> {
        self.0.iter().find_map(|(each, value)| match value {
            Value::Bytes(bytes) if *each == id => Some(bytes.as_slice()),
            _ => None,
        })
    }

    /// The user properties, in the order of the packet.
    pub(crate) fn user(&self) -> Vec<(&str, &str)> {
        let pairs = self.0.iter().filter_map(|(_, value)| match value {
            Value::Pair(name, value) => Some((name.as_str(), value.as_str())),
            _ => None,
        });
        pairs.collect()
    }

    /// Appends length and properties.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let mut body = Vec::new();
        for (id, value) in &self.0 {
            body.push(*id);
            match value {
                Value::Byte(value) => body.push(*value),
                Value::Two(value) => body.extend(value.to_be_bytes()),
                Value::Four(value) => body.extend(value.to_be_bytes()),
                Value::Variable(value) => variable_length(&mut body, *value as usize),
                Value::Text(text) => string(&mut body, text.as_bytes()),
                Value::Bytes(bytes) => string(&mut body, bytes),
                Value::Pair(name, value) => {
                    string(&mut body, name.as_bytes());
                    string(&mut body, value.as_bytes());
                }
            }
        }
        variable_length(out, body.len());
        out.extend(body);
    }

    /// Takes length and properties.
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Self {
        let length = reader.variable();
        let mut body = Reader::new(reader.take(length));
        let mut found = Vec::new();
        while !body.is_empty() {
            let id = body.byte();
            found.push((id, decode_value(id, &mut body)));
        }
        Self(found)
    }
}

fn decode_value(id: u8, body: &mut Reader<'_>) -> Value {
    match id {
        0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2A => Value::Byte(body.byte()),
        0x13 | 0x21 | 0x22 | 0x23 => Value::Two(body.two()),
        0x02 | 0x11 | 0x18 | 0x27 => Value::Four(body.four()),
        0x0B => Value::Variable(body.variable() as u32),
        0x03 | 0x08 | 0x12 | 0x15 | 0x1A | 0x1C | 0x1F => Value::Text(body.text()),
        0x09 | 0x16 => Value::Bytes(body.data().to_vec()),
        0x26 => Value::Pair(body.text(), body.text()),
        _ => panic!("the broker sent a property {id:#04x}, which the standard does not know"),
    }
}

/// Appends bytes with their two-byte length.
pub(crate) fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).expect("a string has at most 65,535 bytes");
    out.extend(length.to_be_bytes());
    out.extend(bytes);
}
