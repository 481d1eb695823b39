//! PUBLISH (3.3).

use super::super::property::{PropertyReader, id};
use super::super::read::Reader;
use super::super::{
    DecodeOptions, ForwardedProperties, PacketId, QoS, Role, SubscriptionIdentifiers,
    UserProperties, Violation, topic,
};
use crate::mqtt::ProtocolVersion;
use crate::mqtt::encode::{Body, Properties, Sink};

/// A message on its way from a publisher or to a subscriber (3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// The packet may have been sent before (3.3.1.1).
    pub dup: bool,
    /// Quality of service (3.3.1.2).
    pub qos: QoS,
    /// To be retained, or sent because it is retained (3.3.1.3).
    pub retain: bool,
    /// Topic name without wildcards; empty only together with a topic alias (3.3.2.1).
    pub topic: &'a str,
    /// Present exactly with QoS 1 and 2 (3.3.2.2).
    pub packet_id: Option<PacketId>,
    /// Empty before MQTT 5 (3.3.2.3).
    pub properties: PublishProperties<'a>,
    /// The message (3.3.3).
    pub payload: &'a [u8],
}

/// Properties of a PUBLISH (3.3.2.3) or of a will (3.1.3.2).
///
/// Those that a broker acts on are fields; those that it passes on are read from the bytes of the packet by whoever asks.
#[derive(Clone, Copy, Debug, Default)]
pub struct PublishProperties<'a> {
    /// Lifetime in seconds (3.3.2.3.3).
    pub message_expiry_interval: Option<u32>,
    /// Number that stands for the topic name on this connection, never 0 (3.3.2.3.4).
    pub topic_alias: Option<u16>,
    /// The properties that a broker passes on unaltered and in order.
    pub forwarded: ForwardedProperties<'a>,
}

impl<'a> Publish<'a> {
    #[inline(always)]
    pub(in crate::mqtt) fn decode(
        flags: u8,
        body: &'a [u8],
        options: &DecodeOptions,
    ) -> Result<Self, Violation> {
        let mut reader = Reader::new(body);
        let topic = topic::decode_name(reader.binary()?, Violation::TopicNameHasWildcard)?;
        let qos = QoS::from_u8((flags >> 1) & 0x03).ok_or(Violation::PublishQoSInvalid)?;
        let packet_id = match qos {
            QoS::AtMostOnce => None,
            QoS::AtLeastOnce | QoS::ExactlyOnce => Some(reader.packet_id()?),
        };
        let mut properties = PublishProperties::default();
        if options.version.is_v5() {
            match reader.rest().split_first() {
                Some((0, rest)) => reader = Reader::new(rest),
                _ => properties = PublishProperties::decode(&mut reader, options.sender)?,
            }
        }
        if topic.is_empty() && properties.topic_alias.is_none() {
            return Err(Violation::TopicNameEmpty);
        }
        Ok(Self {
            dup: flags & 0x08 != 0 && packet_id.is_some(),
            qos,
            retain: flags & 0x01 != 0,
            topic,
            packet_id,
            properties,
            payload: reader.take_rest(),
        })
    }

    /// Whether the first byte of a PUBLISH is legal; it is known before the rest has come (3.3.1).
    #[inline]
    pub(in crate::mqtt) const fn check_flags(
        flags: u8,
        version: ProtocolVersion,
    ) -> Result<(), Violation> {
        match flags & 0x0E {
            0x06 | 0x0E => Err(Violation::PublishQoSInvalid),
            // MQTT 3.1 only says that DUP means nothing with QoS 0.
            0x08 if !matches!(version, ProtocolVersion::V3_1) => Err(Violation::PublishDupWithQoS0),
            _ => Ok(()),
        }
    }
}

impl<'a> PublishProperties<'a> {
    #[inline(never)]
    fn decode(packet: &mut Reader<'a>, sender: Role) -> Result<Self, Violation> {
        let mut reader = PropertyReader::open(packet)?;
        let mut properties = Self::default();
        loop {
            let before = reader.left();
            let Some(id) = reader.next_id()? else { break };
            match id {
                id::MESSAGE_EXPIRY_INTERVAL => {
                    properties.message_expiry_interval = Some(reader.u32(id)?);
                }
                id::TOPIC_ALIAS => {
                    properties.topic_alias = match reader.u16(id)? {
                        0 => return Err(Violation::TopicAliasZero),
                        alias => Some(alias),
                    };
                }
                id::SUBSCRIPTION_IDENTIFIER => {
                    if sender == Role::Client {
                        return Err(Violation::SubscriptionIdentifierFromClient);
                    }
                    reader.repeated_subscription_identifier()?;
                }
                _ => decode_forwarded(&mut reader, id, before)?,
            }
        }
        properties.forwarded = reader.forwarded();
        Ok(properties)
    }

    /// 1 says that the payload is UTF-8 (3.3.2.3.2).
    pub fn payload_format_indicator(&self) -> Option<u8> {
        self.forwarded.payload_format_indicator()
    }

    /// Topic name for a response: not empty, no wildcards (3.3.2.3.5).
    pub fn response_topic(&self) -> Option<&'a str> {
        self.forwarded.response_topic()
    }

    /// Tells a requester which request a response is for (3.3.2.3.6).
    pub fn correlation_data(&self) -> Option<&'a [u8]> {
        self.forwarded.correlation_data()
    }

    /// What the payload is (3.3.2.3.9).
    pub fn content_type(&self) -> Option<&'a str> {
        self.forwarded.content_type()
    }

    /// Pairs of the publisher's own, in order (3.3.2.3.7).
    pub const fn user_properties(&self) -> UserProperties<'a> {
        self.forwarded.user_properties()
    }

    /// Identifiers of the subscriptions that matched; only from a server (3.3.2.3.8).
    pub const fn subscription_identifiers(&self) -> SubscriptionIdentifiers<'a> {
        self.forwarded.subscription_identifiers()
    }
}

/// Checks a property that is the same in a PUBLISH and in a will, and is passed on with the message.
///
/// `before` is what was left of the properties before its identifier.
pub(super) fn decode_forwarded(
    reader: &mut PropertyReader<'_>,
    id: u8,
    before: usize,
) -> Result<(), Violation> {
    match id {
        id::PAYLOAD_FORMAT_INDICATOR => {
            reader.boolean(id, Violation::PayloadFormatIndicatorInvalid)?;
        }
        id::CONTENT_TYPE => {
            reader.string(id)?;
        }
        id::RESPONSE_TOPIC => {
            reader.response_topic(id)?;
        }
        id::CORRELATION_DATA => {
            reader.binary(id)?;
        }
        id::USER_PROPERTY => reader.user_property()?,
        _ => return Err(reader.refuse(id)),
    }
    reader.count_forwarded(before - reader.left());
    Ok(())
}

impl PartialEq for PublishProperties<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.message_expiry_interval == other.message_expiry_interval
            && self.topic_alias == other.topic_alias
            && self.forwarded == other.forwarded
            && self.subscription_identifiers() == other.subscription_identifiers()
    }
}

impl Eq for PublishProperties<'_> {}

impl Properties for PublishProperties<'_> {
    fn write<S: Sink>(&self, sink: &mut S) {
        sink.property_u32(id::MESSAGE_EXPIRY_INTERVAL, self.message_expiry_interval);
        sink.property_u16(id::TOPIC_ALIAS, self.topic_alias);
        for identifier in self.subscription_identifiers() {
            sink.u8(id::SUBSCRIPTION_IDENTIFIER);
            sink.variable_byte_integer(identifier);
        }
        self.forwarded.pieces().for_each(|piece| sink.bytes(piece));
    }
}

impl Body for Publish<'_> {
    fn write<S: Sink>(&self, sink: &mut S, version: ProtocolVersion) {
        sink.string(self.topic);
        if let Some(packet_id) = self.packet_id {
            sink.u16(packet_id.value());
        }
        if version.is_v5() {
            sink.properties(&self.properties);
        }
        sink.bytes(self.payload);
    }
}
