//! AUTH (3.15).

use super::super::property::{PropertyReader, id};
use super::super::read::Reader;
use super::super::{DecodeOptions, ReasonCode, Role, UserProperties, Violation};
use crate::mqtt::ProtocolVersion;
use crate::mqtt::encode::{Body, Properties, Sink};

/// A step of enhanced authentication (3.15, 4.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Auth<'a> {
    /// Which step (3.15.2.1).
    pub reason: ReasonCode,
    /// What is exchanged (3.15.2.2).
    pub properties: AuthProperties<'a>,
}

/// Properties of an AUTH (3.15.2.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuthProperties<'a> {
    /// Name of the method; absent only in a bare success (3.15.2.2.2).
    pub authentication_method: Option<&'a str>,
    /// What the method exchanges (3.15.2.2.3).
    pub authentication_data: Option<&'a [u8]>,
    /// The reason in words, for people (3.15.2.2.4).
    pub reason_string: Option<&'a str>,
    /// Pairs of the sender's own, in order (3.15.2.2.5).
    pub user_properties: UserProperties<'a>,
}

impl<'a> Auth<'a> {
    pub(in crate::mqtt) fn decode(
        body: &'a [u8],
        options: &DecodeOptions,
    ) -> Result<Self, Violation> {
        let mut reader = Reader::new(body);
        let bare = reader.is_empty();
        let reason = if bare {
            Some(ReasonCode::Success)
        } else {
            ReasonCode::from_u8(reader.u8()?)
        };
        let reason = reason
            .filter(|reason| allows(*reason, options.sender))
            .ok_or(Violation::AuthReasonInvalid)?;
        let properties = AuthProperties::decode(&mut reader)?;
        reader.finish()?;
        if properties.authentication_method.is_none() && !bare {
            return Err(Violation::AuthenticationMethodMissing);
        }
        Ok(Self { reason, properties })
    }
}

/// Whether `sender` may send `reason` (table 3-11).
const fn allows(reason: ReasonCode, sender: Role) -> bool {
    match sender {
        Role::Client => {
            matches!(
                reason,
                ReasonCode::ContinueAuthentication | ReasonCode::ReAuthenticate
            )
        }
        Role::Server => matches!(
            reason,
            ReasonCode::Success | ReasonCode::ContinueAuthentication
        ),
    }
}

impl<'a> AuthProperties<'a> {
    fn decode(packet: &mut Reader<'a>) -> Result<Self, Violation> {
        let mut reader = PropertyReader::open_optional(packet)?;
        let mut properties = Self::default();
        while let Some(id) = reader.next_id()? {
            match id {
                id::AUTHENTICATION_METHOD => {
                    properties.authentication_method = Some(reader.string(id)?);
                }
                id::AUTHENTICATION_DATA => {
                    properties.authentication_data = Some(reader.binary(id)?);
                }
                id::REASON_STRING => properties.reason_string = Some(reader.string(id)?),
                id::USER_PROPERTY => reader.user_property()?,
                _ => return Err(reader.refuse(id)),
            }
        }
        properties.user_properties = reader.user_properties();
        Ok(properties)
    }

    fn is_empty(&self) -> bool {
        self.authentication_method.is_none()
            && self.authentication_data.is_none()
            && self.reason_string.is_none()
            && self.user_properties.is_empty()
    }
}

impl Properties for AuthProperties<'_> {
    fn write<S: Sink>(&self, sink: &mut S) {
        sink.property_string(id::AUTHENTICATION_METHOD, self.authentication_method);
        sink.property_binary(id::AUTHENTICATION_DATA, self.authentication_data);
        sink.property_string(id::REASON_STRING, self.reason_string);
        sink.user_properties(self.user_properties);
    }
}

impl Body for Auth<'_> {
    fn write<S: Sink>(&self, sink: &mut S, _version: ProtocolVersion) {
        if self.reason == ReasonCode::Success && self.properties.is_empty() {
            return;
        }
        sink.u8(self.reason.as_u8());
        sink.properties(&self.properties);
    }
}
