//! Properties (2.2.2).

use std::fmt;

use super::encode::Sink;
use super::read::Reader;
use super::{TopicName, Violation, topic};

/// Property identifiers (2.2.2.2, table 2-4).
#[allow(missing_docs, reason = "the names are those of the table")]
pub mod id {
    pub const PAYLOAD_FORMAT_INDICATOR: u8 = 0x01;
    pub const MESSAGE_EXPIRY_INTERVAL: u8 = 0x02;
    pub const CONTENT_TYPE: u8 = 0x03;
    pub const RESPONSE_TOPIC: u8 = 0x08;
    pub const CORRELATION_DATA: u8 = 0x09;
    pub const SUBSCRIPTION_IDENTIFIER: u8 = 0x0B;
    pub const SESSION_EXPIRY_INTERVAL: u8 = 0x11;
    pub const ASSIGNED_CLIENT_IDENTIFIER: u8 = 0x12;
    pub const SERVER_KEEP_ALIVE: u8 = 0x13;
    pub const AUTHENTICATION_METHOD: u8 = 0x15;
    pub const AUTHENTICATION_DATA: u8 = 0x16;
    pub const REQUEST_PROBLEM_INFORMATION: u8 = 0x17;
    pub const WILL_DELAY_INTERVAL: u8 = 0x18;
    pub const REQUEST_RESPONSE_INFORMATION: u8 = 0x19;
    pub const RESPONSE_INFORMATION: u8 = 0x1A;
    pub const SERVER_REFERENCE: u8 = 0x1C;
    pub const REASON_STRING: u8 = 0x1F;
    pub const RECEIVE_MAXIMUM: u8 = 0x21;
    pub const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
    pub const TOPIC_ALIAS: u8 = 0x23;
    pub const MAXIMUM_QOS: u8 = 0x24;
    pub const RETAIN_AVAILABLE: u8 = 0x25;
    pub const USER_PROPERTY: u8 = 0x26;
    pub const MAXIMUM_PACKET_SIZE: u8 = 0x27;
    pub const WILDCARD_SUBSCRIPTION_AVAILABLE: u8 = 0x28;
    pub const SUBSCRIPTION_IDENTIFIER_AVAILABLE: u8 = 0x29;
    pub const SHARED_SUBSCRIPTION_AVAILABLE: u8 = 0x2A;
}

/// The user properties of a packet, in the order in which they were sent (2.2.2.2; MQTT-3.1.3-10, MQTT-3.3.2-18).
///
/// A view on the bytes of the packet: it is its own iterator, and cloning it starts from where it stands.
#[derive(Clone, Copy, Default)]
pub struct UserProperties<'a> {
    /// Validated properties, of which those that are not user properties are passed over.
    raw: &'a [u8],
}

impl<'a> UserProperties<'a> {
    /// No user properties.
    pub const EMPTY: Self = Self { raw: &[] };

    /// Whether there is none (left).
    pub fn is_empty(&self) -> bool {
        self.clone().next().is_none()
    }
}

impl<'a> Iterator for UserProperties<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.raw.is_empty() {
            let mut reader = Reader::new(self.raw);
            let id = reader.u8().ok()?;
            if id == id::USER_PROPERTY {
                let pair = (reader.string().ok()?, reader.string().ok()?);
                self.raw = reader.rest();
                return Some(pair);
            }
            skip_value(&mut reader, id).ok()?;
            self.raw = reader.rest();
        }
        None
    }
}

impl PartialEq for UserProperties<'_> {
    fn eq(&self, other: &Self) -> bool {
        (*self).eq(*other)
    }
}

impl Eq for UserProperties<'_> {}

impl fmt::Debug for UserProperties<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(*self).finish()
    }
}

/// Properties to be sent, in the order in which they are pushed.
///
/// What is beyond the 65,535 bytes of an MQTT string or of binary data is cut off (1.5.4, 1.5.6).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PropertiesBuf {
    raw: Vec<u8>,
}

impl PropertiesBuf {
    /// No properties yet.
    pub const fn new() -> Self {
        Self { raw: Vec::new() }
    }

    /// Says whether the payload is UTF-8 (3.3.2.3.2).
    pub fn push_payload_format_indicator(&mut self, is_utf8: bool) {
        self.raw
            .property_bool(id::PAYLOAD_FORMAT_INDICATOR, Some(is_utf8));
    }

    /// The topic for a response (3.3.2.3.5).
    pub fn push_response_topic(&mut self, topic: &TopicName) {
        self.raw
            .property_string(id::RESPONSE_TOPIC, Some(topic.as_str()));
    }

    /// What tells a requester which request a response is for (3.3.2.3.6).
    pub fn push_correlation_data(&mut self, data: &[u8]) {
        self.raw.property_binary(id::CORRELATION_DATA, Some(data));
    }

    /// What the payload is (3.3.2.3.9).
    pub fn push_content_type(&mut self, content_type: &str) {
        self.raw
            .property_string(id::CONTENT_TYPE, Some(content_type));
    }

    /// A user property (2.2.2.2).
    pub fn push_user_property(&mut self, name: &str, value: &str) {
        self.raw.u8(id::USER_PROPERTY);
        self.raw.string(name);
        self.raw.string(value);
    }

    /// The properties as they stand in a packet, without the property length.
    pub fn as_bytes(&self) -> &[u8] {
        &self.raw
    }

    /// The user properties among them, as packets carry them.
    pub fn user_properties(&self) -> UserProperties<'_> {
        UserProperties { raw: &self.raw }
    }

    /// All of them, as a PUBLISH or a will carries them.
    pub fn forwarded(&self) -> ForwardedProperties<'_> {
        ForwardedProperties {
            raw: &self.raw,
            length: self.raw.len(),
        }
    }
}

/// The subscription identifiers of a PUBLISH from a server (3.3.2.3.8). It is its own iterator.
#[derive(Clone, Copy, Default)]
pub struct SubscriptionIdentifiers<'a> {
    raw: &'a [u8],
}

impl SubscriptionIdentifiers<'_> {
    /// None.
    pub const EMPTY: Self = Self { raw: &[] };
}

impl<'a> ForwardedProperties<'a> {
    /// The subscription identifiers that stand among the properties.
    pub(super) const fn subscription_identifiers(&self) -> SubscriptionIdentifiers<'a> {
        SubscriptionIdentifiers { raw: self.raw }
    }
}

impl Iterator for SubscriptionIdentifiers<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        while !self.raw.is_empty() {
            let mut reader = Reader::new(self.raw);
            let id = reader.u8().ok()?;
            if id == id::SUBSCRIPTION_IDENTIFIER {
                let value = reader.variable_byte_integer().ok();
                self.raw = reader.rest();
                return value;
            }
            skip_value(&mut reader, id).ok()?;
            self.raw = reader.rest();
        }
        None
    }
}

impl PartialEq for SubscriptionIdentifiers<'_> {
    fn eq(&self, other: &Self) -> bool {
        (*self).eq(*other)
    }
}

impl Eq for SubscriptionIdentifiers<'_> {}

impl fmt::Debug for SubscriptionIdentifiers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(*self).finish()
    }
}

/// The properties of a PUBLISH that a broker passes on unaltered and in order: payload format indicator, response topic,
/// correlation data, content type, user properties (MQTT-3.3.2-4, -15, -16, -17, -18, -20).
///
/// A view on validated bytes: where the publisher sent nothing else, one piece and no copy.
#[derive(Clone, Copy, Default)]
pub struct ForwardedProperties<'a> {
    raw: &'a [u8],
    /// Length of the properties that are passed on.
    length: usize,
}

impl<'a> ForwardedProperties<'a> {
    /// None.
    pub const EMPTY: Self = Self {
        raw: &[],
        length: 0,
    };

    /// Whether there is nothing to pass on.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// How many bytes [`Self::append_to`] appends.
    #[inline]
    pub const fn len(&self) -> usize {
        self.length
    }

    /// The bytes, if they stand together in the packet as they do when the publisher sent nothing else.
    #[inline]
    pub const fn as_slice(&self) -> Option<&'a [u8]> {
        if self.length == self.raw.len() {
            Some(self.raw)
        } else if self.length == 0 {
            Some(&[])
        } else {
            None
        }
    }

    /// The bytes, piece by piece.
    pub fn pieces(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let whole = self.as_slice();
        let mut raw = if whole.is_some() { &[] } else { self.raw };
        whole.into_iter().chain(std::iter::from_fn(move || {
            while !raw.is_empty() {
                let mut reader = Reader::new(raw);
                let id = reader.u8().ok()?;
                skip_value(&mut reader, id).ok()?;
                let piece = raw.get(..raw.len() - reader.rest().len());
                raw = reader.rest();
                if is_forwarded(id) {
                    return piece;
                }
            }
            None
        }))
    }

    /// 1 says that the payload is UTF-8 (3.3.2.3.2).
    pub fn payload_format_indicator(&self) -> Option<u8> {
        self.value(id::PAYLOAD_FORMAT_INDICATOR)?.u8().ok()
    }

    /// Topic name for a response: not empty, no wildcards (3.3.2.3.5).
    pub fn response_topic(&self) -> Option<&'a str> {
        self.value(id::RESPONSE_TOPIC)?.string().ok()
    }

    /// What tells a requester which request a response is for (3.3.2.3.6).
    pub fn correlation_data(&self) -> Option<&'a [u8]> {
        self.value(id::CORRELATION_DATA)?.binary().ok()
    }

    /// What the payload is (3.3.2.3.9).
    pub fn content_type(&self) -> Option<&'a str> {
        self.value(id::CONTENT_TYPE)?.string().ok()
    }

    /// Pairs of the publisher's own, in order (3.3.2.3.7).
    pub const fn user_properties(&self) -> UserProperties<'a> {
        UserProperties { raw: self.raw }
    }

    /// A reader that stands at the value of property `wanted`.
    fn value(&self, wanted: u8) -> Option<Reader<'a>> {
        let mut reader = Reader::new(self.raw);
        while !reader.is_empty() {
            let id = reader.u8().ok()?;
            if id == wanted {
                return Some(reader);
            }
            skip_value(&mut reader, id).ok()?;
        }
        None
    }

    /// Appends the bytes to `out`.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        self.pieces().for_each(|piece| out.extend_from_slice(piece));
    }
}

impl PartialEq for ForwardedProperties<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.length == other.length && self.pieces().flatten().eq(other.pieces().flatten())
    }
}

impl Eq for ForwardedProperties<'_> {}

impl fmt::Debug for ForwardedProperties<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.length)
    }
}

const fn is_forwarded(id: u8) -> bool {
    matches!(
        id,
        id::PAYLOAD_FORMAT_INDICATOR
            | id::RESPONSE_TOPIC
            | id::CORRELATION_DATA
            | id::CONTENT_TYPE
            | id::USER_PROPERTY
    )
}

/// Reads the properties of one packet, each with the method for its type, and remembers which it has seen.
pub(super) struct PropertyReader<'a> {
    all: &'a [u8],
    reader: Reader<'a>,
    seen: u64,
    forwarded: usize,
}

impl<'a> PropertyReader<'a> {
    /// Takes the property length and the properties off `packet` (2.2.2.1).
    #[inline]
    pub(super) fn open(packet: &mut Reader<'a>) -> Result<Self, Violation> {
        let length = packet.variable_byte_integer()?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let all = packet
            .bytes(length)
            .map_err(|_| Violation::PropertyLengthTooLong)?;
        Ok(Self {
            all,
            reader: Reader::new(all),
            seen: 0,
            forwarded: 0,
        })
    }

    /// As [`Self::open`], for packets that may end before the property length (3.4.2.1 and its like).
    pub(super) fn open_optional(packet: &mut Reader<'a>) -> Result<Self, Violation> {
        if packet.is_empty() {
            return Ok(Self {
                all: &[],
                reader: Reader::new(&[]),
                seen: 0,
                forwarded: 0,
            });
        }
        Self::open(packet)
    }

    /// The identifier of the next property; the value must be read before the next call.
    #[inline]
    pub(super) fn next_id(&mut self) -> Result<Option<u8>, Violation> {
        if self.reader.is_empty() {
            return Ok(None);
        }
        self.reader.u8().map(Some)
    }

    /// What is wrong with an identifier that the packet does not have.
    #[cold]
    pub(super) const fn refuse(&self, id: u8) -> Violation {
        if value_kind(id).is_some() {
            Violation::PropertyOfAnotherPacket
        } else {
            Violation::PropertyUnknown
        }
    }

    fn once(&mut self, id: u8) -> Result<(), Violation> {
        let bit = 1_u64.checked_shl(u32::from(id)).unwrap_or(0);
        if self.seen & bit != 0 {
            return Err(Violation::PropertyDuplicated);
        }
        self.seen |= bit;
        Ok(())
    }

    pub(super) fn u8(&mut self, id: u8) -> Result<u8, Violation> {
        self.once(id)?;
        self.reader.u8().map_err(truncated)
    }

    /// A byte that is 0 or 1, or else `fault`.
    pub(super) fn boolean(&mut self, id: u8, fault: Violation) -> Result<bool, Violation> {
        match self.u8(id)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(fault),
        }
    }

    pub(super) fn u16(&mut self, id: u8) -> Result<u16, Violation> {
        self.once(id)?;
        self.reader.u16().map_err(truncated)
    }

    pub(super) fn u32(&mut self, id: u8) -> Result<u32, Violation> {
        self.once(id)?;
        self.reader.u32().map_err(truncated)
    }

    pub(super) fn binary(&mut self, id: u8) -> Result<&'a [u8], Violation> {
        self.once(id)?;
        self.reader.binary().map_err(truncated)
    }

    pub(super) fn string(&mut self, id: u8) -> Result<&'a str, Violation> {
        self.once(id)?;
        self.reader.string().map_err(truncated)
    }

    /// The subscription identifier of a SUBSCRIBE (3.8.2.1.2).
    pub(super) fn subscription_identifier(&mut self, id: u8) -> Result<u32, Violation> {
        self.once(id)?;
        self.repeated_subscription_identifier()
    }

    /// A subscription identifier of a PUBLISH, which may have several (3.3.2.3.8).
    pub(super) fn repeated_subscription_identifier(&mut self) -> Result<u32, Violation> {
        match self.reader.variable_byte_integer().map_err(truncated)? {
            0 => Err(Violation::SubscriptionIdentifierZero),
            value => Ok(value),
        }
    }

    /// The response topic of a PUBLISH or a will (3.3.2.3.5).
    pub(super) fn response_topic(&mut self, id: u8) -> Result<&'a str, Violation> {
        let bytes = self.binary(id)?;
        let name = topic::decode_name(bytes, Violation::ResponseTopicHasWildcard)?;
        if name.is_empty() {
            Err(Violation::ResponseTopicEmpty)
        } else {
            Ok(name)
        }
    }

    /// Checks a user property (MQTT-1.5.7-1); the view on all of them comes from [`Self::user_properties`].
    pub(super) fn user_property(&mut self) -> Result<(), Violation> {
        self.reader.string().map_err(truncated)?;
        self.reader.string().map_err(truncated)?;
        self.seen |= 1 << id::USER_PROPERTY;
        Ok(())
    }

    /// The user properties that were read.
    #[inline]
    pub(super) const fn user_properties(&self) -> UserProperties<'a> {
        if self.seen & (1 << id::USER_PROPERTY) == 0 {
            UserProperties::EMPTY
        } else {
            UserProperties { raw: self.all }
        }
    }

    /// Bytes not read yet; the difference before and after a property is its length.
    pub(super) const fn left(&self) -> usize {
        self.reader.rest().len()
    }

    /// Counts `bytes` of a property that is passed on.
    pub(super) const fn count_forwarded(&mut self, bytes: usize) {
        self.forwarded += bytes;
    }

    pub(super) const fn forwarded(&self) -> ForwardedProperties<'a> {
        ForwardedProperties {
            raw: self.all,
            length: self.forwarded,
        }
    }
}

/// Within the properties a field can only run past the property length.
const fn truncated(violation: Violation) -> Violation {
    if matches!(violation, Violation::FieldTruncated) {
        Violation::PropertyTruncated
    } else {
        violation
    }
}

/// Types of property values (table 2-4).
enum ValueKind {
    U8,
    U16,
    U32,
    VariableByteInteger,
    LengthPrefixed,
    Pair,
}

const fn value_kind(id: u8) -> Option<ValueKind> {
    match id {
        id::PAYLOAD_FORMAT_INDICATOR
        | id::REQUEST_PROBLEM_INFORMATION
        | id::REQUEST_RESPONSE_INFORMATION
        | id::MAXIMUM_QOS
        | id::RETAIN_AVAILABLE
        | id::WILDCARD_SUBSCRIPTION_AVAILABLE
        | id::SUBSCRIPTION_IDENTIFIER_AVAILABLE
        | id::SHARED_SUBSCRIPTION_AVAILABLE => Some(ValueKind::U8),
        id::SERVER_KEEP_ALIVE | id::RECEIVE_MAXIMUM | id::TOPIC_ALIAS_MAXIMUM | id::TOPIC_ALIAS => {
            Some(ValueKind::U16)
        }
        id::MESSAGE_EXPIRY_INTERVAL
        | id::SESSION_EXPIRY_INTERVAL
        | id::WILL_DELAY_INTERVAL
        | id::MAXIMUM_PACKET_SIZE => Some(ValueKind::U32),
        id::SUBSCRIPTION_IDENTIFIER => Some(ValueKind::VariableByteInteger),
        id::CONTENT_TYPE
        | id::RESPONSE_TOPIC
        | id::CORRELATION_DATA
        | id::ASSIGNED_CLIENT_IDENTIFIER
        | id::AUTHENTICATION_METHOD
        | id::AUTHENTICATION_DATA
        | id::RESPONSE_INFORMATION
        | id::SERVER_REFERENCE
        | id::REASON_STRING => Some(ValueKind::LengthPrefixed),
        id::USER_PROPERTY => Some(ValueKind::Pair),
        _ => None,
    }
}

fn skip_value(reader: &mut Reader<'_>, id: u8) -> Result<(), Violation> {
    match value_kind(id).ok_or(Violation::PropertyUnknown)? {
        ValueKind::U8 => reader.u8().map(drop),
        ValueKind::U16 => reader.u16().map(drop),
        ValueKind::U32 => reader.u32().map(drop),
        ValueKind::VariableByteInteger => reader.variable_byte_integer().map(drop),
        ValueKind::LengthPrefixed => reader.binary().map(drop),
        ValueKind::Pair => reader.binary().and_then(|_| reader.binary()).map(drop),
    }
}
