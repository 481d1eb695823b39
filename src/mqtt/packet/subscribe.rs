//! SUBSCRIBE (3.8).

use std::fmt;

use super::super::property::{PropertyReader, id};
use super::super::read::Reader;
use super::super::{DecodeOptions, PacketId, QoS, UserProperties, Violation, topic};
use crate::mqtt::ProtocolVersion;
use crate::mqtt::encode::{Body, Properties, Sink};

/// Request to be sent the messages of some topics (3.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// Identifier that the SUBACK repeats.
    pub packet_id: PacketId,
    /// To be sent along with each matching message, never 0 (3.8.2.1.2).
    pub subscription_identifier: Option<u32>,
    /// Pairs of the client's own, in order (3.8.2.1.3).
    pub user_properties: UserProperties<'a>,
    /// At least one (3.8.3).
    pub filters: SubscribeFilters<'a>,
}

/// How the messages of a subscription are to be sent (3.8.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SubscriptionOptions {
    /// Highest QoS of the messages.
    pub qos: QoS,
    /// Not the messages that this client itself publishes.
    pub no_local: bool,
    /// With the RETAIN flag of the publisher.
    pub retain_as_published: bool,
    /// When retained messages are sent.
    pub retain_handling: RetainHandling,
}

/// When the retained messages of a subscription are sent (3.8.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RetainHandling {
    /// At each SUBSCRIBE; the only way before MQTT 5.
    #[default]
    SendAtSubscribe,
    /// If the subscription did not exist before.
    SendIfNew,
    /// Never.
    DoNotSend,
}

/// The topic filters of a SUBSCRIBE with their options, in order. It is its own iterator.
///
/// The texts are strings as the standard wants them, but perhaps no topic filters:
/// [`TopicFilter::parse`](crate::mqtt::TopicFilter::parse) tells, and the SUBACK answers each by itself.
#[derive(Clone, Copy, Default)]
pub struct SubscribeFilters<'a> {
    raw: &'a [u8],
    left: usize,
    /// The bits of the options that mean something in this version.
    options_mask: u8,
}

impl<'a> Subscribe<'a> {
    pub(in crate::mqtt) fn decode(
        body: &'a [u8],
        options: &DecodeOptions,
    ) -> Result<Self, Violation> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        let mut subscription_identifier = None;
        let mut user_properties = UserProperties::EMPTY;
        if options.version.is_v5() {
            let mut properties = PropertyReader::open(&mut reader)?;
            while let Some(id) = properties.next_id()? {
                match id {
                    id::SUBSCRIPTION_IDENTIFIER => {
                        subscription_identifier = Some(properties.subscription_identifier(id)?);
                    }
                    id::USER_PROPERTY => properties.user_property()?,
                    _ => return Err(properties.refuse(id)),
                }
            }
            user_properties = properties.user_properties();
        }
        let filters = SubscribeFilters::decode(reader, options.version)?;
        Ok(Self {
            packet_id,
            subscription_identifier,
            user_properties,
            filters,
        })
    }
}

impl<'a> SubscribeFilters<'a> {
    fn decode(mut reader: Reader<'a>, version: ProtocolVersion) -> Result<Self, Violation> {
        let raw = reader.rest();
        let mut left = 0;
        while !reader.is_empty() {
            let filter = reader.string()?;
            let options = decode_subscription_options(reader.u8()?, version)?;
            if options.no_local && topic::is_shared(filter) {
                return Err(Violation::NoLocalOnSharedSubscription);
            }
            left += 1;
        }
        if left == 0 {
            return Err(Violation::SubscribeEmpty);
        }
        Ok(Self {
            raw,
            left,
            options_mask: options_mask(version),
        })
    }
}

impl<'a> Iterator for SubscribeFilters<'a> {
    type Item = (&'a str, SubscriptionOptions);

    fn next(&mut self) -> Option<Self::Item> {
        let mut reader = Reader::new(self.raw);
        let filter = reader.string().ok()?;
        let byte = reader.u8().ok()? & self.options_mask;
        let options = decode_subscription_options(byte, ProtocolVersion::V5).ok()?;
        self.raw = reader.rest();
        self.left = self.left.saturating_sub(1);
        Some((filter, options))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for SubscribeFilters<'_> {}

impl PartialEq for SubscribeFilters<'_> {
    fn eq(&self, other: &Self) -> bool {
        (*self).eq(*other)
    }
}

impl Eq for SubscribeFilters<'_> {}

impl fmt::Debug for SubscribeFilters<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(*self).finish()
    }
}

const fn options_mask(version: ProtocolVersion) -> u8 {
    match version {
        ProtocolVersion::V3_1 | ProtocolVersion::V3_1_1 => 0x03,
        ProtocolVersion::V5 => 0x3F,
    }
}

fn decode_subscription_options(
    byte: u8,
    version: ProtocolVersion,
) -> Result<SubscriptionOptions, Violation> {
    let mask = options_mask(version);
    // In MQTT 3.1 the upper bits are not used, which is not to say that they are 0.
    if byte & !mask != 0 && version != ProtocolVersion::V3_1 {
        return Err(Violation::SubscriptionOptionsReserved);
    }
    let byte = byte & mask;
    Ok(SubscriptionOptions {
        qos: QoS::from_u8(byte & 0x03).ok_or(Violation::SubscriptionQoSInvalid)?,
        no_local: byte & 0x04 != 0,
        retain_as_published: byte & 0x08 != 0,
        retain_handling: match byte >> 4 {
            0 => RetainHandling::SendAtSubscribe,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return Err(Violation::RetainHandlingInvalid),
        },
    })
}

/// The options byte of a SUBSCRIBE (3.8.3.1); before MQTT 5 the requested QoS.
fn encode_subscription_options(options: SubscriptionOptions, version: ProtocolVersion) -> u8 {
    let retain_handling = match options.retain_handling {
        RetainHandling::SendAtSubscribe => 0,
        RetainHandling::SendIfNew => 1,
        RetainHandling::DoNotSend => 2,
    };
    let byte = options.qos.as_u8()
        | u8::from(options.no_local) << 2
        | u8::from(options.retain_as_published) << 3
        | retain_handling << 4;
    byte & options_mask(version)
}

/// What a SUBSCRIBE is made of, from wherever its filters come.
pub(in crate::mqtt) struct SubscribeBody<'a, I> {
    pub(in crate::mqtt) packet_id: PacketId,
    pub(in crate::mqtt) subscription_identifier: Option<u32>,
    pub(in crate::mqtt) user_properties: UserProperties<'a>,
    pub(in crate::mqtt) filters: I,
}

impl<I> Properties for SubscribeBody<'_, I> {
    fn write<S: Sink>(&self, sink: &mut S) {
        if let Some(identifier) = self.subscription_identifier {
            sink.u8(id::SUBSCRIPTION_IDENTIFIER);
            sink.variable_byte_integer(identifier);
        }
        sink.user_properties(self.user_properties);
    }
}

impl<'f, I> Body for SubscribeBody<'_, I>
where
    I: Iterator<Item = (&'f str, SubscriptionOptions)> + Clone,
{
    fn write<S: Sink>(&self, sink: &mut S, version: ProtocolVersion) {
        sink.u16(self.packet_id.value());
        if version.is_v5() {
            sink.properties(self);
        }
        for (filter, options) in self.filters.clone() {
            sink.string(filter);
            sink.u8(encode_subscription_options(options, version));
        }
    }
}
