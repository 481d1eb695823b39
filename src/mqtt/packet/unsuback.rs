//! UNSUBACK (3.11).

use super::super::read::Reader;
use super::super::{DecodeOptions, PacketId, ReasonCode, Violation};
use super::{AckProperties, ReasonCodes};
use crate::mqtt::ProtocolVersion;
use crate::mqtt::encode::{Body, Sink};

/// Answer to an UNSUBSCRIBE (3.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnsubAck<'a> {
    /// Identifier of the UNSUBSCRIBE.
    pub packet_id: PacketId,
    /// Empty before MQTT 5 (3.11.2.1).
    pub properties: AckProperties<'a>,
    /// One for each topic filter, in order; none before MQTT 5 (3.11.3).
    pub reason_codes: ReasonCodes<'a>,
}

impl<'a> UnsubAck<'a> {
    pub(in crate::mqtt) fn decode(
        body: &'a [u8],
        options: &DecodeOptions,
    ) -> Result<Self, Violation> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        if !options.version.is_v5() {
            reader.finish()?;
            let properties = AckProperties::default();
            return Ok(Self {
                packet_id,
                properties,
                reason_codes: ReasonCodes::default(),
            });
        }
        let properties = AckProperties::decode_required(&mut reader)?;
        let reason_codes = ReasonCodes::decode(
            reader.take_rest(),
            is_unsuback_code,
            Violation::UnsubAckReasonInvalid,
        )?;
        if reason_codes.len() == 0 {
            return Err(Violation::UnsubAckEmpty);
        }
        Ok(Self {
            packet_id,
            properties,
            reason_codes,
        })
    }
}

/// Table 3-9.
const fn is_unsuback_code(reason: ReasonCode) -> bool {
    use ReasonCode as R;
    matches!(
        reason,
        R::Success
            | R::NoSubscriptionExisted
            | R::UnspecifiedError
            | R::ImplementationSpecificError
            | R::NotAuthorized
            | R::TopicFilterInvalid
            | R::PacketIdentifierInUse
    )
}

impl Body for UnsubAck<'_> {
    fn write<S: Sink>(&self, sink: &mut S, version: ProtocolVersion) {
        sink.u16(self.packet_id.value());
        if version.is_v5() {
            sink.properties(&self.properties);
            sink.bytes(self.reason_codes.as_bytes());
        }
    }
}
