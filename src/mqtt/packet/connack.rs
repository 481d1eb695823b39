//! CONNACK (3.2).

use super::super::property::{PropertyReader, id};
use super::super::read::Reader;
use super::super::{DecodeOptions, QoS, ReasonCode, UserProperties, Violation};
use crate::mqtt::ProtocolVersion;
use crate::mqtt::encode::{Body, Properties, Sink};

/// Answer to a CONNECT (3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnAck<'a> {
    /// The server goes on with a session that it has kept; never in MQTT 3.1 (3.2.2.1.1).
    pub session_present: bool,
    /// Accepted or why not (3.2.2.2); before MQTT 5 a return code is made of it.
    pub reason: ReasonCode,
    /// Empty before MQTT 5 (3.2.2.3).
    pub properties: ConnAckProperties<'a>,
}

/// Properties of a CONNACK (3.2.2.3). What is `None` is not sent, and the default of the standard holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnAckProperties<'a> {
    /// The session expiry interval in seconds, if it is not that of the CONNECT (3.2.2.3.2).
    pub session_expiry_interval: Option<u32>,
    /// How many QoS 1 and 2 publications the server handles at a time, never 0 (3.2.2.3.3).
    pub receive_maximum: Option<u16>,
    /// Highest QoS that the server takes: 0 or 1 (3.2.2.3.4).
    pub maximum_qos: Option<QoS>,
    /// Whether retained messages are available (3.2.2.3.5).
    pub retain_available: Option<bool>,
    /// Largest packet that the server takes, never 0 (3.2.2.3.6).
    pub maximum_packet_size: Option<u32>,
    /// The client identifier that the server has chosen (3.2.2.3.7).
    pub assigned_client_identifier: Option<&'a str>,
    /// Highest topic alias that the server takes (3.2.2.3.8).
    pub topic_alias_maximum: Option<u16>,
    /// The reason in words, for people (3.2.2.3.9).
    pub reason_string: Option<&'a str>,
    /// Pairs of the server's own, in order (3.2.2.3.10).
    pub user_properties: UserProperties<'a>,
    /// Whether wildcards are available (3.2.2.3.11).
    pub wildcard_subscription_available: Option<bool>,
    /// Whether subscription identifiers are available (3.2.2.3.12).
    pub subscription_identifiers_available: Option<bool>,
    /// Whether shared subscriptions are available (3.2.2.3.13).
    pub shared_subscription_available: Option<bool>,
    /// The keep alive that the client has to use, in seconds (3.2.2.3.14).
    pub server_keep_alive: Option<u16>,
    /// The base of response topics (3.2.2.3.15).
    pub response_information: Option<&'a str>,
    /// Another server that the client can use (3.2.2.3.16).
    pub server_reference: Option<&'a str>,
    /// Name of the authentication method of the CONNECT (3.2.2.3.17).
    pub authentication_method: Option<&'a str>,
    /// What the method exchanges (3.2.2.3.18).
    pub authentication_data: Option<&'a [u8]>,
}

impl<'a> ConnAck<'a> {
    /// Whether a CONNACK may carry `reason` (table 3-1).
    pub const fn may_carry(reason: ReasonCode) -> bool {
        is_connack_code(reason)
    }

    /// A CONNACK that refuses, without properties.
    pub fn refusal(reason: ReasonCode) -> Self {
        Self {
            session_present: false,
            reason,
            properties: ConnAckProperties::default(),
        }
    }

    pub(in crate::mqtt) fn decode(
        body: &'a [u8],
        options: &DecodeOptions,
    ) -> Result<Self, Violation> {
        let mut reader = Reader::new(body);
        let flags = reader.u8()?;
        // The byte is reserved as a whole in MQTT 3.1.
        let v3_1 = options.version == ProtocolVersion::V3_1;
        if flags > 1 && !v3_1 {
            return Err(Violation::ConnAckFlagsReserved);
        }
        let session_present = flags == 1 && !v3_1;
        let code = reader.u8()?;
        let reason = if options.version.is_v5() {
            ReasonCode::from_u8(code).filter(|reason| is_connack_code(*reason))
        } else {
            ReasonCode::from_v3_return_code(code)
        };
        let reason = reason.ok_or(Violation::ConnAckReasonInvalid)?;
        if session_present && reason.is_error() {
            return Err(Violation::SessionPresentOnError);
        }
        let properties = if options.version.is_v5() {
            ConnAckProperties::decode(&mut reader)?
        } else {
            ConnAckProperties::default()
        };
        reader.finish()?;
        Ok(Self {
            session_present,
            reason,
            properties,
        })
    }
}

/// Table 3-1.
const fn is_connack_code(reason: ReasonCode) -> bool {
    use ReasonCode as R;
    matches!(
        reason,
        R::Success
            | R::UnspecifiedError
            | R::MalformedPacket
            | R::ProtocolError
            | R::ImplementationSpecificError
            | R::UnsupportedProtocolVersion
            | R::ClientIdentifierNotValid
            | R::BadUserNameOrPassword
            | R::NotAuthorized
            | R::ServerUnavailable
            | R::ServerBusy
            | R::Banned
            | R::BadAuthenticationMethod
            | R::TopicNameInvalid
            | R::PacketTooLarge
            | R::QuotaExceeded
            | R::PayloadFormatInvalid
            | R::RetainNotSupported
            | R::QoSNotSupported
            | R::UseAnotherServer
            | R::ServerMoved
            | R::ConnectionRateExceeded
    )
}

impl<'a> ConnAckProperties<'a> {
    fn decode(packet: &mut Reader<'a>) -> Result<Self, Violation> {
        let mut reader = PropertyReader::open(packet)?;
        let mut properties = Self::default();
        while let Some(id) = reader.next_id()? {
            match id {
                id::ASSIGNED_CLIENT_IDENTIFIER => {
                    properties.assigned_client_identifier = Some(reader.string(id)?);
                }
                id::REASON_STRING => properties.reason_string = Some(reader.string(id)?),
                id::USER_PROPERTY => reader.user_property()?,
                id::RESPONSE_INFORMATION => {
                    properties.response_information = Some(reader.string(id)?);
                }
                id::SERVER_REFERENCE => properties.server_reference = Some(reader.string(id)?),
                id::AUTHENTICATION_METHOD => {
                    properties.authentication_method = Some(reader.string(id)?);
                }
                id::AUTHENTICATION_DATA => {
                    properties.authentication_data = Some(reader.binary(id)?);
                }
                _ => properties.decode_number(&mut reader, id)?,
            }
        }
        properties.user_properties = reader.user_properties();
        Ok(properties)
    }

    fn decode_number(&mut self, reader: &mut PropertyReader<'a>, id: u8) -> Result<(), Violation> {
        const AVAILABILITY: Violation = Violation::AvailabilityInvalid;
        match id {
            id::SESSION_EXPIRY_INTERVAL => self.session_expiry_interval = Some(reader.u32(id)?),
            id::RECEIVE_MAXIMUM => self.receive_maximum = Some(receive_maximum(reader, id)?),
            id::MAXIMUM_QOS => {
                let one = reader.boolean(id, Violation::MaximumQoSInvalid)?;
                self.maximum_qos = Some(if one {
                    QoS::AtLeastOnce
                } else {
                    QoS::AtMostOnce
                });
            }
            id::RETAIN_AVAILABLE => {
                self.retain_available = Some(reader.boolean(id, AVAILABILITY)?);
            }
            id::MAXIMUM_PACKET_SIZE => {
                self.maximum_packet_size = Some(maximum_packet_size(reader, id)?);
            }
            id::TOPIC_ALIAS_MAXIMUM => self.topic_alias_maximum = Some(reader.u16(id)?),
            id::WILDCARD_SUBSCRIPTION_AVAILABLE => {
                self.wildcard_subscription_available = Some(reader.boolean(id, AVAILABILITY)?);
            }
            id::SUBSCRIPTION_IDENTIFIER_AVAILABLE => {
                self.subscription_identifiers_available = Some(reader.boolean(id, AVAILABILITY)?);
            }
            id::SHARED_SUBSCRIPTION_AVAILABLE => {
                self.shared_subscription_available = Some(reader.boolean(id, AVAILABILITY)?);
            }
            id::SERVER_KEEP_ALIVE => self.server_keep_alive = Some(reader.u16(id)?),
            _ => return Err(reader.refuse(id)),
        }
        Ok(())
    }
}

/// Receive maximum of a CONNECT or a CONNACK (3.1.2.11.3).
pub(super) fn receive_maximum(reader: &mut PropertyReader<'_>, id: u8) -> Result<u16, Violation> {
    match reader.u16(id)? {
        0 => Err(Violation::ReceiveMaximumZero),
        value => Ok(value),
    }
}

/// Maximum packet size of a CONNECT or a CONNACK (3.1.2.11.4).
pub(super) fn maximum_packet_size(
    reader: &mut PropertyReader<'_>,
    id: u8,
) -> Result<u32, Violation> {
    match reader.u32(id)? {
        0 => Err(Violation::MaximumPacketSizeZero),
        value => Ok(value),
    }
}

impl Properties for ConnAckProperties<'_> {
    fn write<S: Sink>(&self, sink: &mut S) {
        sink.property_u32(id::SESSION_EXPIRY_INTERVAL, self.session_expiry_interval);
        sink.property_u16(id::RECEIVE_MAXIMUM, self.receive_maximum);
        // QoS 2 is what the absence of the property says.
        let maximum_qos = self.maximum_qos.filter(|qos| *qos != QoS::ExactlyOnce);
        sink.property_u8(id::MAXIMUM_QOS, maximum_qos.map(QoS::as_u8));
        sink.property_bool(id::RETAIN_AVAILABLE, self.retain_available);
        sink.property_u32(id::MAXIMUM_PACKET_SIZE, self.maximum_packet_size);
        sink.property_string(
            id::ASSIGNED_CLIENT_IDENTIFIER,
            self.assigned_client_identifier,
        );
        sink.property_u16(id::TOPIC_ALIAS_MAXIMUM, self.topic_alias_maximum);
        sink.property_string(id::REASON_STRING, self.reason_string);
        sink.user_properties(self.user_properties);
        sink.property_bool(
            id::WILDCARD_SUBSCRIPTION_AVAILABLE,
            self.wildcard_subscription_available,
        );
        sink.property_bool(
            id::SUBSCRIPTION_IDENTIFIER_AVAILABLE,
            self.subscription_identifiers_available,
        );
        sink.property_bool(
            id::SHARED_SUBSCRIPTION_AVAILABLE,
            self.shared_subscription_available,
        );
        sink.property_u16(id::SERVER_KEEP_ALIVE, self.server_keep_alive);
        sink.property_string(id::RESPONSE_INFORMATION, self.response_information);
        sink.property_string(id::SERVER_REFERENCE, self.server_reference);
        sink.property_string(id::AUTHENTICATION_METHOD, self.authentication_method);
        sink.property_binary(id::AUTHENTICATION_DATA, self.authentication_data);
    }
}

impl Body for ConnAck<'_> {
    fn write<S: Sink>(&self, sink: &mut S, version: ProtocolVersion) {
        match version {
            ProtocolVersion::V3_1 => sink.u8(0),
            ProtocolVersion::V3_1_1 | ProtocolVersion::V5 => {
                sink.u8(u8::from(self.session_present && !self.reason.is_error()));
            }
        }
        if version.is_v5() {
            sink.u8(self.reason.as_u8());
            sink.properties(&self.properties);
        } else {
            sink.u8(self.reason.v3_return_code());
        }
    }
}
