//! Packets as the tests build them and as they find them. Written from the standards alone: nothing of the broker's own
//! codec is used, so that a fault there cannot hide behind the same fault here.

use super::hex::variable_length;
use super::properties::{Properties, Value, string};
use super::reader::Reader;

/// Protocol version, with the level that stands in CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V3_1,
    V3_1_1,
    V5,
}
pub(crate) use Version::{V3_1, V3_1_1, V5};

/// A CONNECT packet in the making.
#[derive(Clone, Debug)]
pub(crate) struct Connect {
    pub(crate) version: Version,
    client_id: String,
    clean: bool,
    keep_alive: u16,
    will: Option<Will>,
    username: Option<String>,
    password: Option<Vec<u8>>,
    properties: Properties,
}

/// A will in the making.
#[derive(Clone, Debug)]
pub(crate) struct Will {
    topic: String,
    payload: Vec<u8>,
    qos: u8,
    retain: bool,
    properties: Properties,
}

impl Will {
    pub(crate) fn new(topic: &str, payload: impl AsRef<[u8]>) -> Self {
        Self {
            topic: topic.to_owned(),
            payload: payload.as_ref().to_vec(),
            qos: 0,
            retain: false,
            properties: Properties::default(),
        }
    }

    pub(crate) fn qos(mut self, qos: u8) -> Self {
        self.qos = qos;
        self
    }

    pub(crate) fn retain(mut self) -> Self {
        self.retain = true;
        self
    }

    pub(crate) fn with(mut self, id: u8, value: impl Into<Value>) -> Self {
        self.properties = self.properties.with(id, value);
        self
    }
}

impl Connect {
    /// A clean session or clean start without keep alive.
    pub(crate) fn new(version: Version, client_id: &str) -> Self {
        Self {
            version,
            client_id: client_id.to_owned(),
            clean: true,
            keep_alive: 0,
            will: None,
            username: None,
            password: None,
            properties: Properties::default(),
        }
    }

    /// Continues the session if there is one.
    pub(crate) fn resume(mut self) -> Self {
        self.clean = false;
        self
    }

    pub(crate) fn keep_alive(mut self, seconds: u16) -> Self {
        self.keep_alive = seconds;
        self
    }

    pub(crate) fn will(mut self, will: Will) -> Self {
        self.will = Some(will);
        self
    }

    pub(crate) fn username(mut self, username: &str) -> Self {
        self.username = Some(username.to_owned());
        self
    }

    pub(crate) fn password(mut self, password: &[u8]) -> Self {
        self.password = Some(password.to_vec());
        self
    }

    pub(crate) fn with(mut self, id: u8, value: impl Into<Value>) -> Self {
        self.properties = self.properties.with(id, value);
        self
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let (name, level): (&[u8], u8) = match self.version {
            V3_1 => (b"MQIsdp", 3),
            V3_1_1 => (b"MQTT", 4),
            V5 => (b"MQTT", 5),
        };
        let mut flags = if self.clean { 0x02 } else { 0 };
        if let Some(will) = &self.will {
            flags |= 0x04 | will.qos << 3 | u8::from(will.retain) << 5;
        }
        flags |= u8::from(self.password.is_some()) << 6 | u8::from(self.username.is_some()) << 7;
        let mut body = Vec::new();
        string(&mut body, name);
        body.extend([level, flags]);
        body.extend(self.keep_alive.to_be_bytes());
        if self.version == V5 {
            self.properties.encode(&mut body);
        }
        string(&mut body, self.client_id.as_bytes());
        if let Some(will) = &self.will {
            if self.version == V5 {
                will.properties.encode(&mut body);
            }
            string(&mut body, will.topic.as_bytes());
            string(&mut body, &will.payload);
        }
        if let Some(username) = &self.username {
            string(&mut body, username.as_bytes());
        }
        if let Some(password) = &self.password {
            string(&mut body, password);
        }
        frame(0x10, &body)
    }
}

/// A PUBLISH packet, in the making or found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Publish {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) dup: bool,
    /// Zero with QoS 0.
    pub(crate) packet_id: u16,
    pub(crate) properties: Properties,
}

impl Publish {
    pub(crate) fn new(topic: &str, payload: impl AsRef<[u8]>) -> Self {
        Self {
            topic: topic.to_owned(),
            payload: payload.as_ref().to_vec(),
            ..Self::default()
        }
    }

    /// QoS 1 or 2 with a packet identifier.
    pub(crate) fn qos(mut self, qos: u8, packet_id: u16) -> Self {
        self.qos = qos;
        self.packet_id = packet_id;
        self
    }

    pub(crate) fn retain(mut self) -> Self {
        self.retain = true;
        self
    }

    pub(crate) fn dup(mut self) -> Self {
        self.dup = true;
        self
    }

    pub(crate) fn with(mut self, id: u8, value: impl Into<Value>) -> Self {
        self.properties = self.properties.with(id, value);
        self
    }

    pub(crate) fn encode(&self, version: Version) -> Vec<u8> {
        let mut body = Vec::new();
        string(&mut body, self.topic.as_bytes());
        if self.qos > 0 {
            body.extend(self.packet_id.to_be_bytes());
        }
        if version == V5 {
            self.properties.encode(&mut body);
        }
        body.extend(&self.payload);
        frame(
            0x30 | u8::from(self.dup) << 3 | self.qos << 1 | u8::from(self.retain),
            &body,
        )
    }

    pub(crate) fn payload_text(&self) -> &str {
        std::str::from_utf8(&self.payload).expect("the payload of this test is a text")
    }
}

/// A SUBSCRIBE packet: filters, each with its options byte.
pub(crate) fn subscribe(
    version: Version,
    packet_id: u16,
    identifier: Option<u32>,
    filters: &[(&str, u8)],
) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    if version == V5 {
        let identifier = identifier.map(|value| {
            (
                super::properties::SUBSCRIPTION_IDENTIFIER,
                Value::Variable(value),
            )
        });
        Properties(identifier.into_iter().collect()).encode(&mut body);
    }
    for (filter, options) in filters {
        string(&mut body, filter.as_bytes());
        body.push(*options);
    }
    frame(0x82, &body)
}

/// An UNSUBSCRIBE packet.
pub(crate) fn unsubscribe(version: Version, packet_id: u16, filters: &[&str]) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    if version == V5 {
        body.push(0);
    }
    for filter in filters {
        string(&mut body, filter.as_bytes());
    }
    frame(0xA2, &body)
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP in the two-byte form; `head` is the first byte.
pub(crate) fn ack(head: u8, packet_id: u16) -> Vec<u8> {
    frame(head, &packet_id.to_be_bytes())
}

pub(crate) const PUBACK: u8 = 0x40;
pub(crate) const PUBREC: u8 = 0x50;
pub(crate) const PUBREL: u8 = 0x62;
pub(crate) const PUBCOMP: u8 = 0x70;

/// A DISCONNECT packet of version 5 with reason and properties.
pub(crate) fn disconnect(reason: u8, properties: &Properties) -> Vec<u8> {
    let mut body = vec![reason];
    properties.encode(&mut body);
    frame(0xE0, &body)
}

/// First byte, length and body.
pub(crate) fn frame(head: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![head];
    variable_length(&mut out, body.len());
    out.extend(body);
    out
}

/// An acknowledgement that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ack {
    pub(crate) packet_id: u16,
    pub(crate) reason: u8,
    pub(crate) properties: Properties,
}

/// CONNACK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConnAck {
    pub(crate) session_present: bool,
    pub(crate) code: u8,
    pub(crate) properties: Properties,
}

/// SUBACK and UNSUBACK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Codes {
    pub(crate) packet_id: u16,
    pub(crate) codes: Vec<u8>,
    pub(crate) properties: Properties,
}

/// DISCONNECT and AUTH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reason {
    pub(crate) reason: u8,
    pub(crate) properties: Properties,
}

/// A packet from the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    ConnAck(ConnAck),
    Publish(Publish),
    PubAck(Ack),
    PubRec(Ack),
    PubRel(Ack),
    PubComp(Ack),
    SubAck(Codes),
    UnsubAck(Codes),
    PingResp,
    Disconnect(Reason),
    Auth(Reason),
}

impl Received {
    /// Takes a packet of the broker apart, strictly.
    pub(crate) fn decode(version: Version, head: u8, body: &[u8]) -> Self {
        let mut reader = Reader::new(body);
        let reserved = if head >> 4 == 6 { 2 } else { 0 };
        assert!(
            head >> 4 == 3 || head & 0x0F == reserved,
            "the broker set reserved flags: {head:#04x}"
        );
        let found = match head >> 4 {
            2 => Self::ConnAck(connack(version, &mut reader)),
            3 => Self::Publish(publish(version, head, &mut reader)),
            4 => Self::PubAck(acknowledgement(version, &mut reader)),
            5 => Self::PubRec(acknowledgement(version, &mut reader)),
            6 => Self::PubRel(acknowledgement(version, &mut reader)),
            7 => Self::PubComp(acknowledgement(version, &mut reader)),
            9 => Self::SubAck(codes(version, &mut reader)),
            11 => Self::UnsubAck(codes(version, &mut reader)),
            13 => Self::PingResp,
            14 | 15 if version != V5 => {
                panic!("the broker sent DISCONNECT or AUTH to a {version:?} client")
            }
            14 => Self::Disconnect(reason(&mut reader)),
            15 => Self::Auth(reason(&mut reader)),
            _ => panic!("the broker sent a packet that only clients send: {head:#04x}"),
        };
        reader.end();
        found
    }
}

fn properties(version: Version, reader: &mut Reader<'_>) -> Properties {
    if version == V5 {
        Properties::decode(reader)
    } else {
        Properties::default()
    }
}

fn connack(version: Version, reader: &mut Reader<'_>) -> ConnAck {
    let flags = reader.byte();
    assert!(
        flags <= 1,
        "the broker set reserved CONNACK flags: {flags:#04x}"
    );
    ConnAck {
        session_present: flags == 1,
        code: reader.byte(),
        properties: properties(version, reader),
    }
}

fn publish(version: Version, head: u8, reader: &mut Reader<'_>) -> Publish {
    let qos = head >> 1 & 3;
    assert!(qos < 3, "the broker sent a PUBLISH with QoS 3");
    assert!(qos > 0 || head & 0x08 == 0, "the broker set DUP with QoS 0");
    let topic = reader.text();
    let packet_id = if qos > 0 { reader.two() } else { 0 };
    assert!(
        qos == 0 || packet_id != 0,
        "the broker sent packet identifier 0"
    );
    let properties = properties(version, reader);
    Publish {
        topic,
        qos,
        retain: head & 1 == 1,
        dup: head & 8 == 8,
        packet_id,
        properties,
        payload: reader.remainder().to_vec(),
    }
}

fn acknowledgement(version: Version, reader: &mut Reader<'_>) -> Ack {
    let packet_id = reader.two();
    let (reason, properties) = if version == V5 {
        optional_reason(reader)
    } else {
        Default::default()
    };
    Ack {
        packet_id,
        reason,
        properties,
    }
}

fn optional_reason(reader: &mut Reader<'_>) -> (u8, Properties) {
    let reason = if reader.is_empty() { 0 } else { reader.byte() };
    let properties = if reader.is_empty() {
        Properties::default()
    } else {
        Properties::decode(reader)
    };
    (reason, properties)
}

fn codes(version: Version, reader: &mut Reader<'_>) -> Codes {
    Codes {
        packet_id: reader.two(),
        properties: properties(version, reader),
        codes: reader.remainder().to_vec(),
    }
}

fn reason(reader: &mut Reader<'_>) -> Reason {
    let (reason, properties) = optional_reason(reader);
    Reason { reason, properties }
}
