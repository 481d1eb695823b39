//! CONNECT (3.1).

use super::super::property::{PropertyReader, id};
use super::super::read::Reader;
use super::super::{ConnectFault, QoS, UserProperties, Violation, topic};
use super::PublishProperties;
use super::connack::{maximum_packet_size, receive_maximum};
use super::publish::decode_forwarded;
use crate::mqtt::ProtocolVersion;
use crate::mqtt::encode::{Body, Properties, Sink};

/// Longest client identifier of MQTT 3.1, in characters (MQTT 3.1, 3.1).
const V3_1_CLIENT_ID_CHARACTERS_MAX: usize = 23;

/// The first packet of a client (3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect<'a> {
    /// The version that both sides speak from now on (3.1.2.2).
    pub version: ProtocolVersion,
    /// Empty if the server is to choose one (3.1.3.1).
    pub client_id: &'a str,
    /// Forget what is left of an earlier session (3.1.2.4); clean session 1 before MQTT 5.
    pub clean_start: bool,
    /// Longest silence in seconds; 0 is without limit (3.1.2.10).
    pub keep_alive: u16,
    /// User name (3.1.3.5).
    pub username: Option<&'a str>,
    /// Password, or any other secret (3.1.3.6).
    pub password: Option<&'a [u8]>,
    /// Message to be published when the client is lost (3.1.2.5).
    pub will: Option<Will<'a>>,
    /// Before MQTT 5 the defaults, apart from the session expiry interval (3.1.2.11).
    pub properties: ConnectProperties<'a>,
}

/// Properties of a CONNECT (3.1.2.11), with the defaults of the standard filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectProperties<'a> {
    /// How long the session outlives the connection, in seconds (3.1.2.11.2). `u32::MAX` is for ever.
    ///
    /// Clean session 0 of MQTT 3 is `u32::MAX`, clean session 1 is 0.
    pub session_expiry_interval: u32,
    /// How many QoS 1 and 2 publications the client handles at a time, never 0 (3.1.2.11.3).
    pub receive_maximum: u16,
    /// Largest packet that the client takes, never 0 (3.1.2.11.4).
    pub maximum_packet_size: Option<u32>,
    /// Highest topic alias that the client takes (3.1.2.11.5).
    pub topic_alias_maximum: u16,
    /// The client asks for response information (3.1.2.11.6).
    pub request_response_information: bool,
    /// Reason strings and user properties may be sent with any packet (3.1.2.11.7).
    pub request_problem_information: bool,
    /// Name of the method of enhanced authentication (3.1.2.11.9).
    pub authentication_method: Option<&'a str>,
    /// What the method exchanges (3.1.2.11.10).
    pub authentication_data: Option<&'a [u8]>,
    /// Pairs of the client's own, in order (3.1.2.11.8).
    pub user_properties: UserProperties<'a>,
}

/// The message that a server publishes when it loses a client (3.1.2.5, 3.1.3.2 to 3.1.3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Will<'a> {
    /// Topic name without wildcards, not empty.
    pub topic: &'a str,
    /// The message.
    pub payload: &'a [u8],
    /// Quality of service.
    pub qos: QoS,
    /// To be retained.
    pub retain: bool,
    /// Seconds between the loss and the publication (3.1.3.2.2).
    pub delay_interval: u32,
    /// Properties of the publication; no topic alias, no subscription identifiers.
    pub properties: PublishProperties<'a>,
}

impl Default for ConnectProperties<'_> {
    fn default() -> Self {
        Self {
            session_expiry_interval: 0,
            receive_maximum: u16::MAX,
            maximum_packet_size: None,
            topic_alias_maximum: 0,
            request_response_information: false,
            request_problem_information: true,
            authentication_method: None,
            authentication_data: None,
            user_properties: UserProperties::EMPTY,
        }
    }
}

impl<'a> Connect<'a> {
    /// `flags` are those of the fixed header; `minimal_length` says whether the remaining length took no byte too many.
    pub(in crate::mqtt) fn decode(
        flags: u8,
        minimal_length: bool,
        body: &'a [u8],
    ) -> Result<Self, ConnectFault> {
        let mut reader = Reader::new(body);
        let version = decode_version(&mut reader)?;
        let fault = |violation| ConnectFault {
            violation,
            version: Some(version),
        };
        // MQTT 3.1 does not use the flags of a CONNECT, which is not to say that they are 0.
        if flags != 0 && version != ProtocolVersion::V3_1 {
            return Err(fault(Violation::FixedHeaderFlagsReserved));
        }
        if !minimal_length && version.is_v5() {
            return Err(fault(Violation::RemainingLengthNotMinimal));
        }
        Self::decode_rest(reader, version).map_err(fault)
    }

    fn decode_rest(mut reader: Reader<'a>, version: ProtocolVersion) -> Result<Self, Violation> {
        let flags = Flags(reader.u8()?);
        flags.check(version)?;
        let keep_alive = reader.u16()?;
        let clean_start = flags.has(Flags::CLEAN_START);
        let properties = if version.is_v5() {
            ConnectProperties::decode(&mut reader)?
        } else {
            let session_expiry_interval = if clean_start { 0 } else { u32::MAX };
            ConnectProperties {
                session_expiry_interval,
                ..ConnectProperties::default()
            }
        };
        let client_id = reader.string()?;
        check_client_id(client_id, clean_start, version)?;
        let will = if flags.has(Flags::WILL) {
            Some(Will::decode(&mut reader, flags, version)?)
        } else {
            None
        };
        // In MQTT 3.1 the remaining length takes precedence over these two flags.
        let may_end = version == ProtocolVersion::V3_1;
        let username = if flags.has(Flags::USERNAME) && !(may_end && reader.is_empty()) {
            Some(reader.string()?)
        } else {
            None
        };
        let password = if flags.has(Flags::PASSWORD) && !(may_end && reader.is_empty()) {
            Some(reader.binary()?)
        } else {
            None
        };
        reader.finish()?;
        Ok(Self {
            version,
            client_id,
            clean_start,
            keep_alive,
            username,
            password,
            will,
            properties,
        })
    }
}

/// Reads protocol name and level (3.1.2.1, 3.1.2.2).
fn decode_version(reader: &mut Reader<'_>) -> Result<ProtocolVersion, ConnectFault> {
    let unreadable = |violation| ConnectFault {
        violation,
        version: None,
    };
    let name = reader.binary().map_err(unreadable)?;
    let level = reader.u8().map_err(unreadable);
    match name {
        b"MQTT" => match level? {
            4 => Ok(ProtocolVersion::V3_1_1),
            5 => Ok(ProtocolVersion::V5),
            _ => Err(level_unsupported()),
        },
        b"MQIsdp" => match level? {
            3 => Ok(ProtocolVersion::V3_1),
            _ => Err(level_unsupported()),
        },
        _ => Err(unreadable(Violation::ProtocolNameInvalid)),
    }
}

/// A refusal in the form of MQTT 3.1.1, which demands one (MQTT 3.1.1, MQTT-3.1.2-2); MQTT 5 only permits it (3.1.2.2).
///
/// It is also the form that bridges understand which first try a private dialect, with the highest bit of the level set.
const fn level_unsupported() -> ConnectFault {
    ConnectFault {
        violation: Violation::ProtocolLevelUnsupported,
        version: Some(ProtocolVersion::V3_1_1),
    }
}

/// MQTT 3.1, 3.1 and MQTT 3.1.1, MQTT-3.1.3-7, MQTT-3.1.3-8.
fn check_client_id(
    client_id: &str,
    clean_start: bool,
    version: ProtocolVersion,
) -> Result<(), Violation> {
    match version {
        ProtocolVersion::V3_1 if client_id.is_empty() => Err(Violation::ClientIdRequired),
        ProtocolVersion::V3_1 if client_id.chars().count() > V3_1_CLIENT_ID_CHARACTERS_MAX => {
            Err(Violation::ClientIdTooLong)
        }
        ProtocolVersion::V3_1_1 if client_id.is_empty() && !clean_start => {
            Err(Violation::ClientIdRequired)
        }
        ProtocolVersion::V3_1 | ProtocolVersion::V3_1_1 | ProtocolVersion::V5 => Ok(()),
    }
}

/// The connect flags (3.1.2.3).
#[derive(Clone, Copy)]
struct Flags(u8);

impl Flags {
    const RESERVED: u8 = 0x01;
    const CLEAN_START: u8 = 0x02;
    const WILL: u8 = 0x04;
    const WILL_QOS: u8 = 0x18;
    const WILL_RETAIN: u8 = 0x20;
    const PASSWORD: u8 = 0x40;
    const USERNAME: u8 = 0x80;

    const fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }

    const fn will_qos(self) -> Option<QoS> {
        QoS::from_u8((self.0 & Self::WILL_QOS) >> 3)
    }

    const fn check(self, version: ProtocolVersion) -> Result<(), Violation> {
        if self.has(Self::PASSWORD) && !self.has(Self::USERNAME) && !version.is_v5() {
            return Err(Violation::PasswordWithoutUsername);
        }
        if self.has(Self::WILL) && self.will_qos().is_none() {
            return Err(Violation::WillQoSInvalid);
        }
        // MQTT 3.1 disregards the reserved flag, and those of the will where there is none.
        if matches!(version, ProtocolVersion::V3_1) {
            return Ok(());
        }
        if self.has(Self::RESERVED) {
            return Err(Violation::ConnectFlagReserved);
        }
        if !self.has(Self::WILL) && self.has(Self::WILL_QOS) {
            return Err(Violation::WillQoSWithoutWill);
        }
        if !self.has(Self::WILL) && self.has(Self::WILL_RETAIN) {
            return Err(Violation::WillRetainWithoutWill);
        }
        Ok(())
    }
}

impl<'a> ConnectProperties<'a> {
    fn decode(packet: &mut Reader<'a>) -> Result<Self, Violation> {
        let mut reader = PropertyReader::open(packet)?;
        let mut properties = Self::default();
        while let Some(id) = reader.next_id()? {
            match id {
                id::SESSION_EXPIRY_INTERVAL => {
                    properties.session_expiry_interval = reader.u32(id)?
                }
                id::RECEIVE_MAXIMUM => {
                    properties.receive_maximum = receive_maximum(&mut reader, id)?;
                }
                id::MAXIMUM_PACKET_SIZE => {
                    properties.maximum_packet_size = Some(maximum_packet_size(&mut reader, id)?);
                }
                id::TOPIC_ALIAS_MAXIMUM => properties.topic_alias_maximum = reader.u16(id)?,
                id::REQUEST_RESPONSE_INFORMATION => {
                    properties.request_response_information =
                        reader.boolean(id, Violation::RequestResponseInformationInvalid)?;
                }
                id::REQUEST_PROBLEM_INFORMATION => {
                    properties.request_problem_information =
                        reader.boolean(id, Violation::RequestProblemInformationInvalid)?;
                }
                id::USER_PROPERTY => reader.user_property()?,
                id::AUTHENTICATION_METHOD => {
                    properties.authentication_method = Some(reader.string(id)?);
                }
                id::AUTHENTICATION_DATA => {
                    properties.authentication_data = Some(reader.binary(id)?);
                }
                _ => return Err(reader.refuse(id)),
            }
        }
        if properties.authentication_data.is_some() && properties.authentication_method.is_none() {
            return Err(Violation::AuthenticationDataWithoutMethod);
        }
        properties.user_properties = reader.user_properties();
        Ok(properties)
    }
}

impl<'a> Will<'a> {
    fn decode(
        packet: &mut Reader<'a>,
        flags: Flags,
        version: ProtocolVersion,
    ) -> Result<Self, Violation> {
        let mut delay_interval = 0;
        let mut properties = PublishProperties::default();
        if version.is_v5() {
            let mut reader = PropertyReader::open(packet)?;
            loop {
                let before = reader.left();
                let Some(id) = reader.next_id()? else { break };
                match id {
                    id::WILL_DELAY_INTERVAL => delay_interval = reader.u32(id)?,
                    id::MESSAGE_EXPIRY_INTERVAL => {
                        properties.message_expiry_interval = Some(reader.u32(id)?);
                    }
                    _ => decode_forwarded(&mut reader, id, before)?,
                }
            }
            properties.forwarded = reader.forwarded();
        }
        let topic = topic::decode_name(packet.binary()?, Violation::WillTopicHasWildcard)?;
        if topic.is_empty() {
            return Err(Violation::WillTopicEmpty);
        }
        let payload = packet.binary()?;
        Ok(Self {
            topic,
            payload,
            qos: flags.will_qos().ok_or(Violation::WillQoSInvalid)?,
            retain: flags.has(Flags::WILL_RETAIN),
            delay_interval,
            properties,
        })
    }
}

impl Properties for ConnectProperties<'_> {
    fn write<S: Sink>(&self, sink: &mut S) {
        let receive_maximum = Some(self.receive_maximum).filter(|value| *value != u16::MAX);
        let session_expiry = Some(self.session_expiry_interval).filter(|value| *value != 0);
        let topic_alias_maximum = Some(self.topic_alias_maximum).filter(|value| *value != 0);
        sink.property_u32(id::SESSION_EXPIRY_INTERVAL, session_expiry);
        sink.property_u16(id::RECEIVE_MAXIMUM, receive_maximum);
        sink.property_u32(id::MAXIMUM_PACKET_SIZE, self.maximum_packet_size);
        sink.property_u16(id::TOPIC_ALIAS_MAXIMUM, topic_alias_maximum);
        let asks = self.request_response_information.then_some(true);
        sink.property_bool(id::REQUEST_RESPONSE_INFORMATION, asks);
        let refuses = (!self.request_problem_information).then_some(false);
        sink.property_bool(id::REQUEST_PROBLEM_INFORMATION, refuses);
        sink.user_properties(self.user_properties);
        sink.property_string(id::AUTHENTICATION_METHOD, self.authentication_method);
        sink.property_binary(id::AUTHENTICATION_DATA, self.authentication_data);
    }
}

impl Properties for Will<'_> {
    fn write<S: Sink>(&self, sink: &mut S) {
        let delay_interval = Some(self.delay_interval).filter(|value| *value != 0);
        sink.property_u32(id::WILL_DELAY_INTERVAL, delay_interval);
        Properties::write(&self.properties, sink);
    }
}

impl Body for Connect<'_> {
    fn write<S: Sink>(&self, sink: &mut S, version: ProtocolVersion) {
        let mut flags = 0;
        let mut set = |condition: bool, flag: u8| flags |= if condition { flag } else { 0 };
        set(self.clean_start, Flags::CLEAN_START);
        set(self.username.is_some(), Flags::USERNAME);
        set(self.password.is_some(), Flags::PASSWORD);
        if let Some(will) = &self.will {
            set(true, Flags::WILL | will.qos.as_u8() << 3);
            set(will.retain, Flags::WILL_RETAIN);
        }
        sink.string(version.protocol_name());
        sink.u8(version.level());
        sink.u8(flags);
        sink.u16(self.keep_alive);
        if version.is_v5() {
            sink.properties(&self.properties);
        }
        sink.string(self.client_id);
        if let Some(will) = &self.will {
            if version.is_v5() {
                sink.properties(will);
            }
            sink.string(will.topic);
            sink.binary(will.payload);
        }
        if let Some(username) = self.username {
            sink.string(username);
        }
        if let Some(password) = self.password {
            sink.binary(password);
        }
    }
}
