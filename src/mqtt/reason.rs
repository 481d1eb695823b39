//! Reason codes (2.4, table 2-6) and the return codes of MQTT 3 that stand for them.

use std::fmt;

/// Defines the reason codes once: name, value, text.
macro_rules! reason_codes {
    ($($(#[$doc:meta])* $name:ident = $value:literal $text:literal;)*) => {
        /// Outcome of an operation, or reason of an end (2.4).
        ///
        /// The value alone does not say which packets may carry a code; the decoder knows (for DISCONNECT also from which
        /// side), and refuses the others.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum ReasonCode {
            $($(#[$doc])* $name = $value,)*
        }

        impl ReasonCode {
            /// Every reason code, in the order of the standard.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The code with this value, if the standard has one.
            #[inline]
            pub const fn from_u8(value: u8) -> Option<Self> {
                match value {
                    $($value => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The value on the wire.
            #[inline]
            pub const fn as_u8(self) -> u8 {
                match self {
                    $(Self::$name => $value,)*
                }
            }

            /// The name that the standard gives the code.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

reason_codes! {
    /// Success; also Normal disconnection (DISCONNECT) and Granted QoS 0 (SUBACK).
    Success = 0x00 "Success";
    /// SUBACK: subscribed with at most QoS 1.
    GrantedQoS1 = 0x01 "Granted QoS 1";
    /// SUBACK: subscribed with at most QoS 2.
    GrantedQoS2 = 0x02 "Granted QoS 2";
    /// DISCONNECT of a client that wants its will published.
    DisconnectWithWillMessage = 0x04 "Disconnect with Will Message";
    /// PUBACK, PUBREC of a server: accepted, and nobody has subscribed.
    NoMatchingSubscribers = 0x10 "No matching subscribers";
    /// UNSUBACK: there was no such subscription.
    NoSubscriptionExisted = 0x11 "No subscription existed";
    /// AUTH: the exchange goes on.
    ContinueAuthentication = 0x18 "Continue authentication";
    /// AUTH of a client: a new exchange begins.
    ReAuthenticate = 0x19 "Re-authenticate";
    /// The sender does not say why.
    UnspecifiedError = 0x80 "Unspecified error";
    /// The packet cannot be parsed.
    MalformedPacket = 0x81 "Malformed Packet";
    /// The packet can be parsed and is not allowed.
    ProtocolError = 0x82 "Protocol Error";
    /// Valid, and not processed by this receiver.
    ImplementationSpecificError = 0x83 "Implementation specific error";
    /// CONNACK: the server does not speak this version.
    UnsupportedProtocolVersion = 0x84 "Unsupported Protocol Version";
    /// CONNACK: the client identifier is valid and not allowed here.
    ClientIdentifierNotValid = 0x85 "Client Identifier not valid";
    /// CONNACK: the user name or the password is wrong.
    BadUserNameOrPassword = 0x86 "Bad User Name or Password";
    /// The client may not do this.
    NotAuthorized = 0x87 "Not authorized";
    /// CONNACK: try later.
    ServerUnavailable = 0x88 "Server unavailable";
    /// Try later.
    ServerBusy = 0x89 "Server busy";
    /// CONNACK: this client has been banned by an operator.
    Banned = 0x8A "Banned";
    /// DISCONNECT: the server is going down.
    ServerShuttingDown = 0x8B "Server shutting down";
    /// The authentication method is unknown or has changed.
    BadAuthenticationMethod = 0x8C "Bad authentication method";
    /// DISCONNECT: nothing came for one and a half times the keep alive.
    KeepAliveTimeout = 0x8D "Keep Alive timeout";
    /// DISCONNECT: another connection with the same client identifier has come.
    SessionTakenOver = 0x8E "Session taken over";
    /// The topic filter is correctly formed and not accepted.
    TopicFilterInvalid = 0x8F "Topic Filter invalid";
    /// The topic name is correctly formed and not accepted.
    TopicNameInvalid = 0x90 "Topic Name invalid";
    /// The packet identifier is already in use.
    PacketIdentifierInUse = 0x91 "Packet Identifier in use";
    /// PUBREL, PUBCOMP: the packet identifier is not known.
    PacketIdentifierNotFound = 0x92 "Packet Identifier not found";
    /// More unacknowledged publications than the receive maximum.
    ReceiveMaximumExceeded = 0x93 "Receive Maximum exceeded";
    /// The topic alias is zero or above the maximum.
    TopicAliasInvalid = 0x94 "Topic Alias invalid";
    /// The packet is larger than the receiver wants.
    PacketTooLarge = 0x95 "Packet too large";
    /// Too much data for the receiver.
    MessageRateTooHigh = 0x96 "Message rate too high";
    /// A limit that an administrator has set is reached.
    QuotaExceeded = 0x97 "Quota exceeded";
    /// DISCONNECT: an operator wants it so.
    AdministrativeAction = 0x98 "Administrative action";
    /// The payload is not what the payload format indicator says.
    PayloadFormatInvalid = 0x99 "Payload format invalid";
    /// The server does not keep retained messages.
    RetainNotSupported = 0x9A "Retain not supported";
    /// A QoS above the maximum of the server.
    QoSNotSupported = 0x9B "QoS not supported";
    /// The client should use another server for now.
    UseAnotherServer = 0x9C "Use another server";
    /// The client should use another server from now on.
    ServerMoved = 0x9D "Server moved";
    /// The server does not serve shared subscriptions.
    SharedSubscriptionsNotSupported = 0x9E "Shared Subscriptions not supported";
    /// Too many connections at once.
    ConnectionRateExceeded = 0x9F "Connection rate exceeded";
    /// DISCONNECT: the connection has lasted as long as it may.
    MaximumConnectTime = 0xA0 "Maximum connect time";
    /// The server does not serve subscription identifiers.
    SubscriptionIdentifiersNotSupported = 0xA1 "Subscription Identifiers not supported";
    /// The server does not serve wildcards in subscriptions.
    WildcardSubscriptionsNotSupported = 0xA2 "Wildcard Subscriptions not supported";
}

impl ReasonCode {
    /// Whether the operation failed: 0x80 and above (2.4).
    #[inline]
    pub const fn is_error(self) -> bool {
        self.as_u8() >= 0x80
    }

    /// The reason code of SUBACK that grants `qos` (3.9.3).
    #[inline]
    pub const fn granted(qos: super::QoS) -> Self {
        match qos {
            super::QoS::AtMostOnce => Self::Success,
            super::QoS::AtLeastOnce => Self::GrantedQoS1,
            super::QoS::ExactlyOnce => Self::GrantedQoS2,
        }
    }

    /// The return code of a CONNACK in MQTT 3.1 and 3.1.1 (MQTT 3.1.1, table 3.1).
    ///
    /// What the table cannot say becomes 3, server unavailable: the one code that asks a client to try again.
    pub const fn v3_return_code(self) -> u8 {
        if !self.is_error() {
            0
        } else if matches!(self, Self::UnsupportedProtocolVersion) {
            1
        } else if matches!(self, Self::ClientIdentifierNotValid) {
            2
        } else if matches!(self, Self::BadUserNameOrPassword) {
            4
        } else if matches!(
            self,
            Self::NotAuthorized | Self::Banned | Self::BadAuthenticationMethod
        ) {
            5
        } else {
            3
        }
    }

    /// The reason that a CONNACK of MQTT 3.1 or 3.1.1 gives (MQTT 3.1.1, table 3.1).
    pub const fn from_v3_return_code(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::Success),
            1 => Some(Self::UnsupportedProtocolVersion),
            2 => Some(Self::ClientIdentifierNotValid),
            3 => Some(Self::ServerUnavailable),
            4 => Some(Self::BadUserNameOrPassword),
            5 => Some(Self::NotAuthorized),
            _ => None,
        }
    }

    /// The return code of a SUBACK in MQTT 3.1.1: the QoS granted, or 0x80 (MQTT 3.1.1, 3.9.3).
    pub const fn v3_suback_code(self) -> u8 {
        if self.is_error() { 0x80 } else { self.as_u8() }
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (0x{:02X})", self.text(), self.as_u8())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_comes_back_from_its_value() {
        for &code in ReasonCode::ALL {
            assert_eq!(ReasonCode::from_u8(code.as_u8()), Some(code));
        }
        assert_eq!(
            (0..=255).filter_map(ReasonCode::from_u8).count(),
            ReasonCode::ALL.len()
        );
        assert_eq!(ReasonCode::ALL.len(), 43);
    }

    #[test]
    fn version_3_return_codes_come_back() {
        for value in 0..=5 {
            let code = ReasonCode::from_v3_return_code(value);
            assert_eq!(code.map(ReasonCode::v3_return_code), Some(value));
        }
        assert_eq!(ReasonCode::from_v3_return_code(6), None);
    }

    #[test]
    fn version_3_suback_knows_one_failure() {
        assert_eq!(ReasonCode::GrantedQoS2.v3_suback_code(), 2);
        assert_eq!(ReasonCode::TopicFilterInvalid.v3_suback_code(), 0x80);
    }
}
