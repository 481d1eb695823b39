//! DISCONNECT (3.14).

use super::super::property::{PropertyReader, id};
use super::super::read::Reader;
use super::super::{DecodeOptions, ReasonCode, Role, UserProperties, Violation};
use crate::mqtt::ProtocolVersion;
use crate::mqtt::encode::{Body, Properties, Sink};

/// The last packet of a connection (3.14).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnect<'a> {
    /// Why; success before MQTT 5 (3.14.2.1).
    pub reason: ReasonCode,
    /// Empty before MQTT 5 (3.14.2.2).
    pub properties: DisconnectProperties<'a>,
}

/// Properties of a DISCONNECT (3.14.2.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DisconnectProperties<'a> {
    /// New session expiry interval in seconds; only from a client (3.14.2.2.2).
    pub session_expiry_interval: Option<u32>,
    /// The reason in words, for people (3.14.2.2.3).
    pub reason_string: Option<&'a str>,
    /// Pairs of the sender's own, in order (3.14.2.2.4).
    pub user_properties: UserProperties<'a>,
    /// Another server that the client can use (3.14.2.2.5).
    pub server_reference: Option<&'a str>,
}

impl<'a> Disconnect<'a> {
    /// Whether the DISCONNECT of a server may carry `reason` (table 3-10).
    pub const fn server_may_carry(reason: ReasonCode) -> bool {
        allows(reason, Role::Server)
    }

    /// A DISCONNECT without properties.
    pub const fn new(reason: ReasonCode) -> Self {
        Self {
            reason,
            properties: DisconnectProperties {
                session_expiry_interval: None,
                reason_string: None,
                user_properties: UserProperties::EMPTY,
                server_reference: None,
            },
        }
    }

    pub(in crate::mqtt) fn decode(
        body: &'a [u8],
        options: &DecodeOptions,
    ) -> Result<Self, Violation> {
        let mut reader = Reader::new(body);
        if reader.is_empty() {
            return Ok(Self::new(ReasonCode::Success));
        }
        if !options.version.is_v5() {
            return Err(Violation::TrailingBytes);
        }
        let reason = ReasonCode::from_u8(reader.u8()?)
            .filter(|reason| allows(*reason, options.sender))
            .ok_or(Violation::DisconnectReasonInvalid)?;
        let properties = DisconnectProperties::decode(&mut reader, options.sender)?;
        reader.finish()?;
        Ok(Self { reason, properties })
    }
}

/// Whether `sender` may end a connection with `reason` (table 3-10).
const fn allows(reason: ReasonCode, sender: Role) -> bool {
    use ReasonCode as R;
    let both = matches!(
        reason,
        R::Success
            | R::UnspecifiedError
            | R::MalformedPacket
            | R::ProtocolError
            | R::ImplementationSpecificError
            | R::TopicNameInvalid
            | R::ReceiveMaximumExceeded
            | R::TopicAliasInvalid
            | R::PacketTooLarge
            | R::MessageRateTooHigh
            | R::QuotaExceeded
            | R::AdministrativeAction
            | R::PayloadFormatInvalid
    );
    let one = match sender {
        Role::Client => matches!(reason, R::DisconnectWithWillMessage),
        Role::Server => matches!(
            reason,
            R::NotAuthorized
                | R::ServerBusy
                | R::ServerShuttingDown
                | R::BadAuthenticationMethod
                | R::KeepAliveTimeout
                | R::SessionTakenOver
                | R::TopicFilterInvalid
                | R::RetainNotSupported
                | R::QoSNotSupported
                | R::UseAnotherServer
                | R::ServerMoved
                | R::SharedSubscriptionsNotSupported
                | R::ConnectionRateExceeded
                | R::MaximumConnectTime
                | R::SubscriptionIdentifiersNotSupported
                | R::WildcardSubscriptionsNotSupported
        ),
    };
    both || one
}

impl<'a> DisconnectProperties<'a> {
    fn decode(packet: &mut Reader<'a>, sender: Role) -> Result<Self, Violation> {
        let mut reader = PropertyReader::open_optional(packet)?;
        let mut properties = Self::default();
        while let Some(id) = reader.next_id()? {
            match id {
                id::SESSION_EXPIRY_INTERVAL => {
                    if sender == Role::Server {
                        return Err(Violation::SessionExpiryFromServer);
                    }
                    properties.session_expiry_interval = Some(reader.u32(id)?);
                }
                id::REASON_STRING => properties.reason_string = Some(reader.string(id)?),
                id::USER_PROPERTY => reader.user_property()?,
                id::SERVER_REFERENCE => properties.server_reference = Some(reader.string(id)?),
                _ => return Err(reader.refuse(id)),
            }
        }
        properties.user_properties = reader.user_properties();
        Ok(properties)
    }

    fn is_empty(&self) -> bool {
        self.session_expiry_interval.is_none()
            && self.reason_string.is_none()
            && self.server_reference.is_none()
            && self.user_properties.is_empty()
    }
}

impl Properties for DisconnectProperties<'_> {
    fn write<S: Sink>(&self, sink: &mut S) {
        sink.property_u32(id::SESSION_EXPIRY_INTERVAL, self.session_expiry_interval);
        sink.property_string(id::REASON_STRING, self.reason_string);
        sink.user_properties(self.user_properties);
        sink.property_string(id::SERVER_REFERENCE, self.server_reference);
    }
}

impl Body for Disconnect<'_> {
    fn write<S: Sink>(&self, sink: &mut S, version: ProtocolVersion) {
        let bare = self.properties.is_empty();
        if !version.is_v5() || (bare && self.reason == ReasonCode::Success) {
            return;
        }
        sink.u8(self.reason.as_u8());
        if !bare {
            sink.properties(&self.properties);
        }
    }
}
