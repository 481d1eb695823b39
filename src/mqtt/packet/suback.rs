//! SUBACK (3.9).

use std::fmt;

use super::super::read::Reader;
use super::super::{DecodeOptions, PacketId, ReasonCode, Violation};
use super::AckProperties;
use crate::mqtt::ProtocolVersion;
use crate::mqtt::encode::{Body, Sink};

/// Answer to a SUBSCRIBE (3.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubAck<'a> {
    /// Identifier of the SUBSCRIBE.
    pub packet_id: PacketId,
    /// Empty before MQTT 5 (3.9.2.1).
    pub properties: AckProperties<'a>,
    /// One for each topic filter, in order (3.9.3).
    pub reason_codes: ReasonCodes<'a>,
}

/// The reason codes of a SUBACK or an UNSUBACK, in order. It is its own iterator.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct ReasonCodes<'a> {
    raw: &'a [u8],
}

impl<'a> ReasonCodes<'a> {
    /// Keeps `raw` if each byte is a reason code that `allowed` agrees to.
    pub(super) fn decode(
        raw: &'a [u8],
        allowed: impl Fn(ReasonCode) -> bool,
        fault: Violation,
    ) -> Result<Self, Violation> {
        let legal = |&byte| ReasonCode::from_u8(byte).is_some_and(&allowed);
        if raw.iter().all(legal) {
            Ok(Self { raw })
        } else {
            Err(fault)
        }
    }

    pub(super) const fn as_bytes(&self) -> &'a [u8] {
        self.raw
    }
}

impl Iterator for ReasonCodes<'_> {
    type Item = ReasonCode;

    fn next(&mut self) -> Option<ReasonCode> {
        let (&byte, rest) = self.raw.split_first()?;
        self.raw = rest;
        ReasonCode::from_u8(byte)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.raw.len(), Some(self.raw.len()))
    }
}

impl ExactSizeIterator for ReasonCodes<'_> {}

impl fmt::Debug for ReasonCodes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(*self).finish()
    }
}

impl<'a> SubAck<'a> {
    pub(in crate::mqtt) fn decode(
        body: &'a [u8],
        options: &DecodeOptions,
    ) -> Result<Self, Violation> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        let v5 = options.version.is_v5();
        let properties = if v5 {
            AckProperties::decode_required(&mut reader)?
        } else {
            AckProperties::default()
        };
        let allowed = if v5 {
            is_suback_code
        } else {
            is_v3_suback_code
        };
        let reason_codes =
            ReasonCodes::decode(reader.take_rest(), allowed, Violation::SubAckReasonInvalid)?;
        if reason_codes.len() == 0 {
            return Err(Violation::SubAckEmpty);
        }
        Ok(Self {
            packet_id,
            properties,
            reason_codes,
        })
    }
}

/// Table 3-8.
const fn is_suback_code(reason: ReasonCode) -> bool {
    use ReasonCode as R;
    matches!(
        reason,
        R::Success
            | R::GrantedQoS1
            | R::GrantedQoS2
            | R::UnspecifiedError
            | R::ImplementationSpecificError
            | R::NotAuthorized
            | R::TopicFilterInvalid
            | R::PacketIdentifierInUse
            | R::QuotaExceeded
            | R::SharedSubscriptionsNotSupported
            | R::SubscriptionIdentifiersNotSupported
            | R::WildcardSubscriptionsNotSupported
    )
}

/// MQTT 3.1.1, MQTT-3.9.3-2.
const fn is_v3_suback_code(reason: ReasonCode) -> bool {
    use ReasonCode as R;
    matches!(
        reason,
        R::Success | R::GrantedQoS1 | R::GrantedQoS2 | R::UnspecifiedError
    )
}

impl Body for SubAck<'_> {
    fn write<S: Sink>(&self, sink: &mut S, version: ProtocolVersion) {
        sink.u16(self.packet_id.value());
        if version.is_v5() {
            sink.properties(&self.properties);
        }
        sink.bytes(self.reason_codes.as_bytes());
    }
}
