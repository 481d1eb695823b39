//! Every way in which a peer can break a rule of the standard.
//!
//! One definition serves three readers: the peer gets the reason code, the journal the sentence and the clause, a test the
//! variant. Clauses are those of MQTT 5.0 unless they begin with another version.

use std::fmt;

use super::ReasonCode;

/// Defines the violations once: name, reason code, clause, sentence.
macro_rules! violations {
    (
        format { $($name:ident $reason:ident $clause:literal $sentence:literal;)* }
        flow { $($flow_name:ident $flow_reason:ident $flow_clause:literal $flow_sentence:literal;)* }
    ) => {
        /// A rule of the standard that a peer has broken (4.13).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Violation {
            $(#[doc = concat!($sentence, ".")] $name,)*
            $(#[doc = concat!($flow_sentence, ".")] $flow_name,)*
        }

        impl Violation {
            /// Every violation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)* $(Self::$flow_name,)*];

            /// The violations that a single packet shows; the decoder finds these.
            pub const FORMAT: &'static [Self] = &[$(Self::$name,)*];

            /// The violations that only the state of the connection shows; the broker finds these.
            pub const FLOW: &'static [Self] = &[$(Self::$flow_name,)*];

            /// The clause that is broken, such as `MQTT-3.3.1-4`, or the section where the standard numbers no clause.
            pub const fn clause(self) -> &'static str {
                match self {
                    $(Self::$name => $clause,)*
                    $(Self::$flow_name => $flow_clause,)*
                }
            }

            /// What the peer has done, for the journal.
            pub const fn sentence(self) -> &'static str {
                match self {
                    $(Self::$name => $sentence,)*
                    $(Self::$flow_name => $flow_sentence,)*
                }
            }

            /// What a peer that speaks MQTT 5 is told.
            pub const fn reason(self) -> ReasonCode {
                match self {
                    $(Self::$name => ReasonCode::$reason,)*
                    $(Self::$flow_name => ReasonCode::$flow_reason,)*
                }
            }

            /// The name of the variant, for counters and tests.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                    $(Self::$flow_name => stringify!($flow_name),)*
                }
            }
        }
    };
}

violations! {
    format {
        // Fixed header and framing.
        ReservedPacketType MalformedPacket "MQTT 5.0 2.1.2"
            "The packet type is reserved";
        PacketFromWrongSide ProtocolError "MQTT 5.0 2.1.2"
            "This packet type is not sent in this direction";
        SecondConnect ProtocolError "MQTT-3.1.0-2"
            "A second CONNECT came on the same connection";
        FirstPacketNotConnect ProtocolError "MQTT-3.1.0-1"
            "The first packet is not a CONNECT";
        FixedHeaderFlagsReserved MalformedPacket "MQTT-2.1.3-1"
            "A reserved flag of the fixed header is set";
        PubRelFlagsInvalid MalformedPacket "MQTT-3.6.1-1"
            "The flags of a PUBREL are not 0010";
        SubscribeFlagsInvalid MalformedPacket "MQTT-3.8.1-1"
            "The flags of a SUBSCRIBE are not 0010";
        UnsubscribeFlagsInvalid MalformedPacket "MQTT-3.10.1-1"
            "The flags of an UNSUBSCRIBE are not 0010";
        DisconnectFlagsReserved MalformedPacket "MQTT-3.14.1-1"
            "A reserved flag of a DISCONNECT is set";
        AuthFlagsReserved MalformedPacket "MQTT-3.15.1-1"
            "A reserved flag of an AUTH is set";
        RemainingLengthTooLong MalformedPacket "MQTT 5.0 1.5.5"
            "The remaining length takes more than four bytes";
        RemainingLengthNotMinimal MalformedPacket "MQTT-1.5.5-1"
            "The remaining length takes more bytes than it needs";
        PacketTooLarge PacketTooLarge "MQTT-3.2.2-15"
            "The packet is larger than the maximum packet size";
        FieldTruncated MalformedPacket "MQTT 5.0 4.13.1"
            "A field runs past the end of the packet";
        TrailingBytes MalformedPacket "MQTT 5.0 4.13.1"
            "Bytes follow the last field of the packet";

        // Data representation.
        StringNotUtf8 MalformedPacket "MQTT-1.5.4-1"
            "A string is not well-formed UTF-8";
        StringHasNul MalformedPacket "MQTT-1.5.4-2"
            "A string contains U+0000";
        VariableByteIntegerTooLong MalformedPacket "MQTT 5.0 1.5.5"
            "A variable byte integer takes more than four bytes";
        VariableByteIntegerNotMinimal MalformedPacket "MQTT-1.5.5-1"
            "A variable byte integer takes more bytes than it needs";
        PacketIdZero ProtocolError "MQTT-2.2.1-3"
            "A packet identifier is zero";

        // Properties.
        PropertyLengthTooLong MalformedPacket "MQTT 5.0 2.2.2.1"
            "The property length runs past the end of the packet";
        PropertyTruncated MalformedPacket "MQTT 5.0 2.2.2.2"
            "A property runs past the property length";
        PropertyUnknown MalformedPacket "MQTT 5.0 2.2.2.2"
            "A property identifier is not in the standard";
        PropertyOfAnotherPacket MalformedPacket "MQTT 5.0 2.2.2.2"
            "A property does not belong to this packet";
        PropertyDuplicated ProtocolError "MQTT 5.0 2.2.2.2"
            "A property that may be there once is there twice";
        PayloadFormatIndicatorInvalid ProtocolError "MQTT 5.0 3.3.2.3.2"
            "A payload format indicator is neither 0 nor 1";
        ResponseTopicHasWildcard ProtocolError "MQTT-3.3.2-14"
            "A response topic contains a wildcard";
        ResponseTopicEmpty ProtocolError "MQTT-4.7.3-1"
            "A response topic is empty";
        SubscriptionIdentifierZero ProtocolError "MQTT 5.0 3.8.2.1.2"
            "A subscription identifier is zero";

        // CONNECT.
        ProtocolNameInvalid UnsupportedProtocolVersion "MQTT-3.1.2-1"
            "The protocol name is neither MQTT nor MQIsdp";
        ProtocolLevelUnsupported UnsupportedProtocolVersion "MQTT-3.1.2-2"
            "The protocol level is not 5, 4, or 3 with the name MQIsdp";
        ConnectFlagReserved MalformedPacket "MQTT-3.1.2-3"
            "The reserved flag of a CONNECT is set";
        WillQoSWithoutWill MalformedPacket "MQTT-3.1.2-11"
            "A will QoS is set without the will flag";
        WillRetainWithoutWill MalformedPacket "MQTT-3.1.2-13"
            "Will retain is set without the will flag";
        WillQoSInvalid MalformedPacket "MQTT-3.1.2-12"
            "The will QoS is 3";
        PasswordWithoutUsername ProtocolError "MQTT 3.1.1 MQTT-3.1.2-22"
            "A password is given without a user name, before MQTT 5";
        ReceiveMaximumZero ProtocolError "MQTT 5.0 3.1.2.11.3"
            "The receive maximum is zero";
        MaximumPacketSizeZero ProtocolError "MQTT 5.0 3.1.2.11.4"
            "The maximum packet size is zero";
        RequestResponseInformationInvalid ProtocolError "MQTT 5.0 3.1.2.11.6"
            "Request response information is neither 0 nor 1";
        RequestProblemInformationInvalid ProtocolError "MQTT 5.0 3.1.2.11.7"
            "Request problem information is neither 0 nor 1";
        AuthenticationDataWithoutMethod ProtocolError "MQTT 5.0 3.1.2.11.10"
            "Authentication data is given without an authentication method";
        ClientIdRequired ClientIdentifierNotValid "MQTT 3.1.1 MQTT-3.1.3-8"
            "The client identifier is empty where the version or clean session 0 requires one";
        ClientIdTooLong ClientIdentifierNotValid "MQTT 3.1 3.1"
            "The client identifier is longer than the 23 characters of MQTT 3.1";
        WillTopicEmpty TopicNameInvalid "MQTT-4.7.3-1"
            "The will topic is empty";
        WillTopicHasWildcard TopicNameInvalid "MQTT-3.3.2-2"
            "The will topic contains a wildcard";

        // CONNACK.
        ConnAckFlagsReserved MalformedPacket "MQTT-3.2.2-1"
            "A reserved acknowledge flag of a CONNACK is set";
        SessionPresentOnError ProtocolError "MQTT-3.2.2-6"
            "A CONNACK that refuses says that a session is present";
        ConnAckReasonInvalid ProtocolError "MQTT-3.2.2-8"
            "The reason code is not one of CONNACK";
        MaximumQoSInvalid ProtocolError "MQTT 5.0 3.2.2.3.4"
            "The maximum QoS is neither 0 nor 1";
        AvailabilityInvalid ProtocolError "MQTT 5.0 3.2.2.3"
            "A property that says whether something is available is neither 0 nor 1";

        // PUBLISH.
        PublishQoSInvalid MalformedPacket "MQTT-3.3.1-4"
            "The QoS of a PUBLISH is 3";
        PublishDupWithQoS0 MalformedPacket "MQTT-3.3.1-2"
            "DUP is set on a PUBLISH with QoS 0";
        TopicNameHasWildcard TopicNameInvalid "MQTT-3.3.2-2"
            "The topic name of a PUBLISH contains a wildcard";
        TopicNameEmpty ProtocolError "MQTT-4.7.3-1"
            "The topic name of a PUBLISH is empty and there is no topic alias";
        TopicAliasZero TopicAliasInvalid "MQTT-3.3.2-8"
            "A topic alias is zero";
        SubscriptionIdentifierFromClient ProtocolError "MQTT-3.3.4-6"
            "A client sent a PUBLISH with a subscription identifier";

        // PUBACK, PUBREC, PUBREL, PUBCOMP.
        PubAckReasonInvalid ProtocolError "MQTT-3.4.2-1"
            "The reason code is not one that this side sends in a PUBACK";
        PubRecReasonInvalid ProtocolError "MQTT-3.5.2-1"
            "The reason code is not one that this side sends in a PUBREC";
        PubRelReasonInvalid ProtocolError "MQTT-3.6.2-1"
            "The reason code is not one of PUBREL";
        PubCompReasonInvalid ProtocolError "MQTT-3.7.2-1"
            "The reason code is not one of PUBCOMP";

        // SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK.
        SubscribeEmpty ProtocolError "MQTT-3.8.3-2"
            "A SUBSCRIBE has no topic filter";
        SubscriptionOptionsReserved MalformedPacket "MQTT-3.8.3-5"
            "A reserved bit of the subscription options is set";
        SubscriptionQoSInvalid ProtocolError "MQTT 5.0 3.8.3.1"
            "The maximum QoS of a subscription is 3";
        RetainHandlingInvalid ProtocolError "MQTT 5.0 3.8.3.1"
            "The retain handling of a subscription is 3";
        NoLocalOnSharedSubscription ProtocolError "MQTT-3.8.3-4"
            "No local is set on a shared subscription";
        SubAckReasonInvalid ProtocolError "MQTT-3.9.3-2"
            "A reason code is not one of SUBACK";
        SubAckEmpty MalformedPacket "MQTT 5.0 3.9.3"
            "A SUBACK has no reason code";
        UnsubscribeEmpty ProtocolError "MQTT-3.10.3-2"
            "An UNSUBSCRIBE has no topic filter";
        UnsubAckReasonInvalid ProtocolError "MQTT-3.11.3-2"
            "A reason code is not one of UNSUBACK";
        UnsubAckEmpty MalformedPacket "MQTT 5.0 3.11.3"
            "An UNSUBACK has no reason code";

        // DISCONNECT, AUTH.
        DisconnectReasonInvalid ProtocolError "MQTT-3.14.2-1"
            "The reason code is not one that this side sends in a DISCONNECT";
        SessionExpiryFromServer ProtocolError "MQTT-3.14.2-2"
            "A server sent a DISCONNECT with a session expiry interval";
        AuthReasonInvalid ProtocolError "MQTT-3.15.2-1"
            "The reason code is not one that this side sends in an AUTH";
        AuthenticationMethodMissing ProtocolError "MQTT 5.0 3.15.2.2.2"
            "An AUTH has no authentication method";
    }
    flow {
        ConnectTimeout UnspecifiedError "MQTT 5.0 3.1.4"
            "No CONNECT came in time";
        KeepAliveTimeout KeepAliveTimeout "MQTT-3.1.2-22"
            "Nothing came for one and a half times the keep alive";
        ReceiveMaximumExceeded ReceiveMaximumExceeded "MQTT-3.3.4-7"
            "More publications are unacknowledged than the receive maximum allows";
        TopicAliasAboveMaximum TopicAliasInvalid "MQTT-3.3.2-9"
            "A topic alias is above the topic alias maximum";
        TopicAliasUnknown ProtocolError "MQTT 5.0 3.3.2.3.4"
            "A topic alias stands for no topic";
        QoSAboveMaximum QoSNotSupported "MQTT-3.2.2-11"
            "The QoS of a PUBLISH is above the maximum QoS";
        RetainNotAvailable RetainNotSupported "MQTT-3.2.2-14"
            "A PUBLISH is to be retained where retained messages are not available";
        WillQoSAboveMaximum QoSNotSupported "MQTT-3.2.2-12"
            "The QoS of the will is above the maximum QoS";
        WillRetainNotAvailable RetainNotSupported "MQTT-3.2.2-13"
            "The will is to be retained where retained messages are not available";
        SharedSubscriptionNotAvailable SharedSubscriptionsNotSupported "MQTT 5.0 3.2.2.3.13"
            "A shared subscription is asked for where none is available";
        SubscriptionIdentifierNotAvailable SubscriptionIdentifiersNotSupported "MQTT 5.0 3.2.2.3.12"
            "A subscription identifier is given where none is available";
        WildcardSubscriptionNotAvailable WildcardSubscriptionsNotSupported "MQTT 5.0 3.2.2.3.11"
            "A wildcard is subscribed to where none is available";
        SessionExpiryRaisedFromZero ProtocolError "MQTT 5.0 3.14.2.2.2"
            "A DISCONNECT sets a session expiry interval that was zero in CONNECT";
        AuthWithoutMethod ProtocolError "MQTT-4.12.0-7"
            "An AUTH came on a connection that has no authentication method";
        AuthenticationMethodChanged ProtocolError "MQTT-4.12.0-5"
            "The authentication method is not that of the CONNECT";
        AuthUnexpected ProtocolError "MQTT 5.0 4.12"
            "An AUTH came that answers nothing";
        PacketDuringAuthentication ProtocolError "MQTT-3.1.2-30"
            "A packet other than AUTH or DISCONNECT came before the authentication was complete";
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.sentence(), self.clause())
    }
}

impl std::error::Error for Violation {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn each_violation_is_one_sentence_of_its_own() {
        let sentences: HashSet<_> = Violation::ALL.iter().map(|v| v.sentence()).collect();
        assert_eq!(sentences.len(), Violation::ALL.len());
        assert!(Violation::ALL.iter().all(|v| !v.sentence().ends_with('.')));
    }

    #[test]
    fn each_violation_names_a_clause_and_an_error() {
        for violation in Violation::ALL {
            assert!(violation.clause().starts_with("MQTT"), "{violation:?}");
            assert!(violation.reason().is_error(), "{violation:?}");
        }
        assert_eq!(
            Violation::PublishQoSInvalid.to_string(),
            "The QoS of a PUBLISH is 3 [MQTT-3.3.1-4]"
        );
    }

    #[test]
    fn format_and_flow_are_all() {
        assert_eq!(
            Violation::FORMAT.len() + Violation::FLOW.len(),
            Violation::ALL.len()
        );
    }
}
