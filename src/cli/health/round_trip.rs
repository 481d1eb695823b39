//! One message to the gateway and back, as a client would send it.

use std::io::{self, Read, Write};

use fieldgate::admin::ProbeReport;
use fieldgate::mqtt::encode::{self, PublishParts};
use fieldgate::mqtt::{
    self, AckKind, Connect, ConnectProperties, DecodeOptions, Disconnect, Packet, PacketId,
    ProtocolVersion, QoS, ReasonCode, Role, SubscriptionOptions, UserProperties,
};

/// How long the session may outlive a gate that is killed. One that comes to its end takes it along.
const SESSION_SECONDS: u32 = 30;

/// Largest packet that is taken; the gateway has nothing large to say.
const PACKET_BYTES_MAX: u32 = 64 * 1024;

/// What came of a round trip.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Trip {
    /// The message was stored, acknowledged and delivered.
    Whole,
    /// The gateway has no place for one more client, and says so.
    Full(String),
    /// Not by this port, which may be in order all the same.
    NotHere(String),
}

/// Why there was none.
#[derive(Debug, thiserror::Error)]
pub(super) enum TripFault {
    #[error("{step}: {source}")]
    Broken {
        step: &'static str,
        source: io::Error,
    },
    #[error("{step}: the gateway answers with what is not MQTT")]
    Malformed { step: &'static str },
    #[error("{step}: refused, {reason}")]
    Refused { step: &'static str, reason: String },
}

/// Connects, subscribes, publishes, receives and goes.
pub(super) fn round_trip(
    wire: &mut (impl Read + Write + ?Sized),
    probe: &ProbeReport,
) -> Result<Trip, TripFault> {
    let mut talk = Talk {
        wire,
        input: Vec::new(),
        step: "CONNECT",
    };
    if let Some(trip) = talk.connect(probe)? {
        return Ok(trip);
    }
    talk.step = "SUBSCRIBE";
    talk.subscribe(probe)?;
    talk.step = "PUBLISH";
    talk.publish(probe)?;
    talk.step = "DISCONNECT";
    talk.disconnect()?;
    Ok(Trip::Whole)
}

struct Talk<'a, W: ?Sized> {
    wire: &'a mut W,
    input: Vec<u8>,
    step: &'static str,
}

impl<W: Read + Write + ?Sized> Talk<'_, W> {
    /// `None` if the gateway has taken the client in.
    fn connect(&mut self, probe: &ProbeReport) -> Result<Option<Trip>, TripFault> {
        let mut out = Vec::new();
        let connect = Connect {
            version: ProtocolVersion::V5,
            client_id: &probe.client_id,
            clean_start: true,
            keep_alive: 30,
            username: Some(&probe.username),
            password: Some(probe.secret()),
            will: None,
            properties: ConnectProperties {
                session_expiry_interval: SESSION_SECONDS,
                ..ConnectProperties::default()
            },
        };
        encode::connect(&mut out, &connect);
        let answered = self.send(&out).and_then(|()| {
            self.next(|packet| match packet {
                Packet::ConnAck(connack) => Some((
                    connack.reason,
                    connack.properties.reason_string.map(ToOwned::to_owned),
                )),
                _ => None,
            })
        });
        let (reason, said) = match answered {
            Ok(answer) => answer,
            Err(TripFault::Broken { source, .. })
                if matches!(
                    source.kind(),
                    io::ErrorKind::UnexpectedEof
                        | io::ErrorKind::ConnectionReset
                        | io::ErrorKind::BrokenPipe
                ) =>
            {
                let why = "it takes no connection more".to_owned();
                return Ok(Some(Trip::NotHere(why)));
            }
            Err(fault) => return Err(fault),
        };
        Ok(match reason {
            ReasonCode::Success => None,
            ReasonCode::QuotaExceeded | ReasonCode::ServerBusy => {
                Some(Trip::Full(said.unwrap_or_else(|| reason.to_string())))
            }
            ReasonCode::NotAuthorized
            | ReasonCode::Banned
            | ReasonCode::ConnectionRateExceeded
            // It takes packets that are smaller still.
            | ReasonCode::PacketTooLarge => {
                Some(Trip::NotHere(format!("it answers {reason}")))
            }
            reason => return Err(self.refused(reason, said)),
        })
    }

    fn subscribe(&mut self, probe: &ProbeReport) -> Result<(), TripFault> {
        let options = SubscriptionOptions {
            qos: QoS::AtLeastOnce,
            ..SubscriptionOptions::default()
        };
        let mut out = Vec::new();
        let filters = [(&*probe.topic, options)];
        let (version, none) = (ProtocolVersion::V5, UserProperties::EMPTY);
        encode::subscribe(&mut out, version, PacketId::MIN, None, none, filters);
        self.send(&out)?;
        let granted = self.next(|packet| match packet {
            Packet::SubAck(suback) => suback.reason_codes.into_iter().next(),
            _ => None,
        })?;
        match granted {
            ReasonCode::GrantedQoS1 => Ok(()),
            reason => Err(self.refused(reason, None)),
        }
    }

    /// Publishes and waits for both, the acknowledgement and the message, in whichever order they come.
    fn publish(&mut self, probe: &ProbeReport) -> Result<(), TripFault> {
        let mut out = Vec::new();
        let payload = probe.client_id.as_bytes();
        let parts = PublishParts {
            topic: &probe.topic,
            payload,
            qos: QoS::AtLeastOnce,
            retain: false,
            dup: false,
            packet_id: Some(PacketId::MAX),
            message_expiry_interval: Some(SESSION_SECONDS),
            topic_alias: None,
            subscription_identifiers: &[],
            forwarded: &[],
        };
        encode::publish(&mut out, ProtocolVersion::V5, &parts);
        self.send(&out)?;
        let (mut is_stored, mut arrived) = (false, None);
        while !is_stored || arrived.is_none() {
            enum Came {
                Acknowledged(ReasonCode),
                Message(PacketId),
            }
            let came = self.next(|packet| match packet {
                Packet::PubAck(ack) => Some(Came::Acknowledged(ack.reason)),
                Packet::Publish(publish) if publish.payload == payload => {
                    publish.packet_id.map(Came::Message)
                }
                _ => None,
            })?;
            match came {
                Came::Acknowledged(ReasonCode::Success) => is_stored = true,
                Came::Acknowledged(reason) => return Err(self.refused(reason, None)),
                Came::Message(id) => arrived = Some(id),
            }
        }
        let Some(id) = arrived else {
            return Ok(());
        };
        out.clear();
        let (version, reason) = (ProtocolVersion::V5, ReasonCode::Success);
        encode::ack(&mut out, version, AckKind::PubAck, id, reason, None);
        self.send(&out)
    }

    /// Goes, takes the session along and waits until the gateway has closed.
    fn disconnect(&mut self) -> Result<(), TripFault> {
        let mut disconnect = Disconnect::new(ReasonCode::Success);
        disconnect.properties.session_expiry_interval = Some(0);
        let mut out = Vec::new();
        encode::disconnect(&mut out, ProtocolVersion::V5, &disconnect);
        self.send(&out)?;
        match self.next(|packet| matches!(packet, Packet::Disconnect(_)).then_some(())) {
            // However it closes: everything that was to be shown has been shown.
            Ok(()) | Err(TripFault::Broken { .. }) => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    fn send(&mut self, packet: &[u8]) -> Result<(), TripFault> {
        let sent = self.wire.write_all(packet);
        let step = self.step;
        sent.and_then(|()| self.wire.flush())
            .map_err(|source| TripFault::Broken { step, source })
    }

    /// The next packet in which `wanted` finds what it looks for. DISCONNECT is a refusal, unless it is wanted.
    fn next<T>(&mut self, wanted: impl Fn(&Packet<'_>) -> Option<T>) -> Result<T, TripFault> {
        let options = DecodeOptions {
            version: ProtocolVersion::V5,
            max_packet_size: PACKET_BYTES_MAX,
            sender: Role::Server,
        };
        let step = self.step;
        loop {
            let decoded = mqtt::decode(&self.input, &options);
            match decoded.map_err(|_| TripFault::Malformed { step })? {
                Some((packet, used)) => {
                    let found = wanted(&packet);
                    let ended = match &packet {
                        Packet::Disconnect(disconnect) => Some((
                            disconnect.reason,
                            disconnect.properties.reason_string.map(ToOwned::to_owned),
                        )),
                        _ => None,
                    };
                    self.input.drain(..used);
                    match (found, ended) {
                        (Some(found), _) => return Ok(found),
                        (None, Some((reason, said))) => return Err(self.refused(reason, said)),
                        (None, None) => {}
                    }
                }
                None => self.read()?,
            }
        }
    }

    fn read(&mut self) -> Result<(), TripFault> {
        let step = self.step;
        let broken = |source| TripFault::Broken { step, source };
        let mut bytes = [0; 1024];
        match self.wire.read(&mut bytes) {
            Ok(0) => Err(broken(io::ErrorKind::UnexpectedEof.into())),
            Ok(count) => {
                self.input
                    .extend_from_slice(bytes.get(..count).unwrap_or_default());
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(broken(io::Error::other("the gateway does not answer")))
            }
            Err(error) => Err(broken(error)),
        }
    }

    fn refused(&self, reason: ReasonCode, said: Option<String>) -> TripFault {
        TripFault::Refused {
            step: self.step,
            reason: said.unwrap_or_else(|| reason.to_string()),
        }
    }
}
