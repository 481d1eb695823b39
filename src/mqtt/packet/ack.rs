//! PUBACK, PUBREC, PUBREL and PUBCOMP (3.4 to 3.7), which have one form.

use super::super::property::{PropertyReader, id};
use super::super::read::Reader;
use super::super::{DecodeOptions, PacketId, ReasonCode, Role, UserProperties, Violation};
use crate::mqtt::ProtocolVersion;
use crate::mqtt::encode::{Body, Properties, Sink};

/// Which of the four acknowledgements a packet is (2.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AckKind {
    /// Answer to QoS 1 (3.4).
    PubAck,
    /// First answer to QoS 2 (3.5).
    PubRec,
    /// Answer to PUBREC (3.6).
    PubRel,
    /// Answer to PUBREL (3.7).
    PubComp,
}

/// An acknowledgement of a PUBLISH or of another acknowledgement (3.4 to 3.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack<'a> {
    /// Identifier of the PUBLISH (2.2.1).
    pub packet_id: PacketId,
    /// Outcome; success before MQTT 5 (3.4.2.1).
    pub reason: ReasonCode,
    /// Empty before MQTT 5 (3.4.2.2).
    pub properties: AckProperties<'a>,
}

/// Properties of an acknowledgement (3.4.2.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AckProperties<'a> {
    /// The reason in words, for people (3.4.2.2.2).
    pub reason_string: Option<&'a str>,
    /// Pairs of the sender's own, in order (3.4.2.2.3).
    pub user_properties: UserProperties<'a>,
}

impl AckKind {
    /// The first byte of the packet.
    #[inline]
    pub(in crate::mqtt) const fn first_byte(self) -> u8 {
        match self {
            Self::PubAck => 0x40,
            Self::PubRec => 0x50,
            Self::PubRel => 0x62,
            Self::PubComp => 0x70,
        }
    }

    /// Whether `sender` may send `reason` (tables 3-4 to 3-7).
    fn allows(self, reason: ReasonCode, sender: Role) -> bool {
        use ReasonCode as R;
        match self {
            Self::PubAck | Self::PubRec => {
                matches!(
                    reason,
                    R::Success
                        | R::UnspecifiedError
                        | R::ImplementationSpecificError
                        | R::NotAuthorized
                        | R::TopicNameInvalid
                        | R::PacketIdentifierInUse
                        | R::QuotaExceeded
                        | R::PayloadFormatInvalid
                ) || (reason == R::NoMatchingSubscribers && sender == Role::Server)
            }
            Self::PubRel | Self::PubComp => {
                matches!(reason, R::Success | R::PacketIdentifierNotFound)
            }
        }
    }

    const fn reason_invalid(self) -> Violation {
        match self {
            Self::PubAck => Violation::PubAckReasonInvalid,
            Self::PubRec => Violation::PubRecReasonInvalid,
            Self::PubRel => Violation::PubRelReasonInvalid,
            Self::PubComp => Violation::PubCompReasonInvalid,
        }
    }
}

impl<'a> Ack<'a> {
    /// An acknowledgement without properties.
    #[inline]
    pub const fn new(packet_id: PacketId, reason: ReasonCode) -> Self {
        Self {
            packet_id,
            reason,
            properties: AckProperties {
                reason_string: None,
                user_properties: UserProperties::EMPTY,
            },
        }
    }

    /// The packet identifier, if there is nothing else: success, in every version.
    #[inline]
    pub(in crate::mqtt) fn decode_short(body: &[u8]) -> Option<PacketId> {
        let &bytes = body.as_array()?;
        PacketId::new(u16::from_be_bytes(bytes))
    }

    pub(in crate::mqtt) fn decode(
        kind: AckKind,
        body: &'a [u8],
        options: &DecodeOptions,
    ) -> Result<Self, Violation> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        if reader.is_empty() {
            return Ok(Self::new(packet_id, ReasonCode::Success));
        }
        if !options.version.is_v5() {
            return Err(Violation::TrailingBytes);
        }
        let reason = ReasonCode::from_u8(reader.u8()?)
            .filter(|reason| kind.allows(*reason, options.sender))
            .ok_or_else(|| kind.reason_invalid())?;
        let properties = AckProperties::decode(&mut reader)?;
        reader.finish()?;
        Ok(Self {
            packet_id,
            reason,
            properties,
        })
    }
}

impl<'a> AckProperties<'a> {
    /// Also those of SUBACK and UNSUBACK, which are the same (3.9.2.1, 3.11.2.1).
    pub(super) fn decode(packet: &mut Reader<'a>) -> Result<Self, Violation> {
        let mut reader = PropertyReader::open_optional(packet)?;
        let mut properties = Self::default();
        while let Some(id) = reader.next_id()? {
            match id {
                id::REASON_STRING => properties.reason_string = Some(reader.string(id)?),
                id::USER_PROPERTY => reader.user_property()?,
                _ => return Err(reader.refuse(id)),
            }
        }
        properties.user_properties = reader.user_properties();
        Ok(properties)
    }

    /// As [`Self::decode`], for packets in which the property length always stands (MQTT-2.2.2-1).
    pub(super) fn decode_required(packet: &mut Reader<'a>) -> Result<Self, Violation> {
        if packet.is_empty() {
            Err(Violation::FieldTruncated)
        } else {
            Self::decode(packet)
        }
    }

    /// Whether there is nothing to send.
    pub(super) fn is_empty(&self) -> bool {
        self.reason_string.is_none() && self.user_properties.is_empty()
    }
}

impl Properties for AckProperties<'_> {
    fn write<S: Sink>(&self, sink: &mut S) {
        sink.property_string(id::REASON_STRING, self.reason_string);
        sink.user_properties(self.user_properties);
    }
}

impl Body for Ack<'_> {
    fn write<S: Sink>(&self, sink: &mut S, version: ProtocolVersion) {
        sink.u16(self.packet_id.value());
        if !version.is_v5() {
            return;
        }
        let bare = self.properties.is_empty();
        if !bare || self.reason != ReasonCode::Success {
            sink.u8(self.reason.as_u8());
        }
        if !bare {
            sink.properties(&self.properties);
        }
    }
}
