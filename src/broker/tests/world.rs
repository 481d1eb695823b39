//! A broker with simulated clients and a clock that the test drives.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::power::Store;
use crate::broker::{
    Admission, Asked, Broker, ConnectionId, Denial, Effect, Next, PortPolicy, Refusal, Timestamp,
};
use crate::limits::{Limits, PortLimits};
use crate::mqtt::encode::{self, PublishParts};
use crate::mqtt::{
    self, AckKind, ConnectProperties, DecodeOptions, Disconnect, DisconnectProperties, Packet,
    PacketId, ProtocolVersion, PublishProperties, QoS, ReasonCode, RetainHandling, Role,
    SubscriptionOptions, Violation, Will,
};
use crate::policy::testing::principal;

/// A packet that a simulated client has received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Received {
    ConnAck {
        session_present: bool,
        reason: ReasonCode,
        expiry: Option<u32>,
        assigned: Option<String>,
    },
    Publish(Message),
    Ack(AckKind, u16, ReasonCode),
    SubAck(Vec<ReasonCode>),
    UnsubAck(Vec<ReasonCode>),
    PingResp,
    Disconnect(ReasonCode),
}

/// A PUBLISH that a simulated client has received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    pub(super) qos: u8,
    pub(super) retain: bool,
    pub(super) dup: bool,
    pub(super) packet_id: Option<u16>,
    pub(super) expiry: Option<u32>,
    pub(super) alias: Option<u16>,
    pub(super) identifiers: Vec<u32>,
}

/// What a simulated client says in its CONNECT.
#[derive(Clone)]
pub(super) struct Opening {
    pub(super) client_id: &'static str,
    pub(super) version: ProtocolVersion,
    pub(super) clean_start: bool,
    pub(super) keep_alive: u16,
    pub(super) properties: ConnectProperties<'static>,
    pub(super) will: Option<Will<'static>>,
    pub(super) principal: &'static str,
    /// Such as `floor:1+kind:x`.
    pub(super) attributes: &'static str,
}

impl Opening {
    pub(super) fn v5(client_id: &'static str) -> Self {
        Self {
            client_id,
            version: ProtocolVersion::V5,
            clean_start: true,
            keep_alive: 0,
            properties: ConnectProperties::default(),
            will: None,
            principal: "",
            attributes: "",
        }
    }

    pub(super) fn v3(client_id: &'static str) -> Self {
        Self {
            version: ProtocolVersion::V3_1_1,
            ..Self::v5(client_id)
        }
    }

    pub(super) fn principal(mut self, username: &'static str) -> Self {
        self.principal = username;
        self
    }

    /// A session that outlives its connection.
    pub(super) fn durable(mut self, seconds: u32) -> Self {
        self.clean_start = false;
        self.properties.session_expiry_interval = seconds;
        self
    }

    pub(super) fn receive_maximum(mut self, maximum: u16) -> Self {
        self.properties.receive_maximum = maximum;
        self
    }

    pub(super) fn will(mut self, topic: &'static str, delay_interval: u32) -> Self {
        self.will = Some(Will {
            topic,
            payload: b"gone",
            qos: QoS::AtLeastOnce,
            retain: false,
            delay_interval,
            properties: PublishProperties::default(),
        });
        self
    }
}

/// A broker, its clients by name, and the time.
pub(super) struct World {
    pub(super) broker: Broker,
    pub(super) now: Timestamp,
    pub(super) port: Arc<PortPolicy>,
    pub(super) links: BTreeMap<ConnectionId, Link>,
    /// Clients whose link does not come for its output.
    pub(super) stuck: BTreeSet<&'static str>,
    pub(super) paused: BTreeSet<&'static str>,
    pub(super) overflows: usize,
    pub(super) trace: Vec<Effect>,
    pub(super) limits: Limits,
    pub(super) store: Option<Store>,
    /// Pages that were read from the store.
    pub(super) reads: usize,
    /// So many effects are still carried out before the power is cut.
    pub(super) power: Option<u64>,
    pub(super) denials: Vec<Denial>,
    /// Questions that nobody has answered yet.
    pub(super) questions: Vec<(ConnectionId, Asked)>,
    /// Packets that wait for answers.
    pub(super) asking: BTreeMap<ConnectionId, Vec<u8>>,
    /// What the back end says about wills.
    pub(super) will_answer: Option<bool>,
}

pub(super) struct Link {
    name: &'static str,
    version: ProtocolVersion,
    announced: bool,
    pub(super) received: Vec<Received>,
    pub(super) closed: bool,
}

pub(super) fn world() -> World {
    World::new(Limits::default())
}

/// A world whose port has these bounds.
pub(super) fn world_with(change: impl FnOnce(&mut PortLimits)) -> World {
    let mut limits = Limits::default();
    change(&mut limits.port);
    World::new(limits)
}

impl World {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            port: Arc::new(PortPolicy {
                endpoint: "test".into(),
                limits: Arc::new(limits.port.clone()),
                ..PortPolicy::default()
            }),
            broker: Broker::new(limits.clone(), 7, "test"),
            limits,
            store: None,
            reads: 0,
            power: None,
            now: Timestamp::default(),
            links: BTreeMap::new(),
            stuck: BTreeSet::new(),
            paused: BTreeSet::new(),
            overflows: 0,
            trace: Vec::new(),
            denials: Vec::new(),
            questions: Vec::new(),
            asking: BTreeMap::new(),
            will_answer: None,
        }
    }

    /// Connects, and takes the CONNACK off.
    pub(super) fn connect(&mut self, opening: &Opening) -> ConnectionId {
        let id = self.try_connect(opening).unwrap();
        let connack = self.links.get_mut(&id).unwrap().received.remove(0);
        assert!(matches!(connack, Received::ConnAck { .. }), "{connack:?}");
        id
    }

    pub(super) fn try_connect(&mut self, opening: &Opening) -> Result<ConnectionId, Refusal> {
        let connect = mqtt::Connect {
            version: opening.version,
            client_id: opening.client_id,
            clean_start: opening.clean_start,
            keep_alive: opening.keep_alive,
            username: None,
            password: None,
            will: opening.will,
            properties: opening.properties,
        };
        let admission = Admission {
            connect: &connect,
            assigned_client_id: "assigned",
            principal: principal(opening.principal, opening.attributes),
            will_answer: self.will_answer,
            expires_at: None,
            authentication_data: None,
            port: Arc::clone(&self.port),
            peer: "peer",
            transport: "test",
        };
        let id = self.broker.handle_connect(&admission, self.now);
        if let Ok(id) = id {
            let link = Link {
                name: opening.client_id,
                version: opening.version,
                announced: false,
                received: Vec::new(),
                closed: false,
            };
            self.links.insert(id, link);
        }
        self.run();
        id
    }

    /// Carries out effects until none is left.
    pub(super) fn run(&mut self) {
        for step in 0.. {
            assert!(step < 100_000, "the world does not come to rest");
            if let Some(left) = &mut self.power {
                if *left == 0 {
                    return;
                }
                *left -= 1;
            }
            if let Some(effect) = self.broker.poll_effect() {
                self.carry_out(effect);
                continue;
            }
            let ready = self.links.iter().find(|(_, link)| {
                link.announced && !link.closed && !self.stuck.contains(link.name)
            });
            if let Some((&id, _)) = ready {
                self.collect(id);
            } else if !self.run_store() {
                break;
            }
        }
        self.check();
    }

    fn carry_out(&mut self, effect: Effect) {
        self.trace.push(effect);
        match effect {
            Effect::Send(id) => {
                if let Some(link) = self.links.get_mut(&id) {
                    link.announced = true;
                }
            }
            Effect::Close(id) => {
                self.collect(id);
                self.lose_link(id);
            }
            Effect::Pause(id) => {
                self.paused.insert(self.links[&id].name);
            }
            Effect::Resume(id) => {
                self.paused.remove(self.links[&id].name);
            }
            Effect::Overflow(_) => self.overflows += 1,
            Effect::Load(session) => self.want_read(session),
            Effect::Store => {}
            Effect::Denied => self.denials.extend(self.broker.take_denials().0),
            Effect::Ask(id) => self.take_questions(id),
        }
    }

    /// A link comes for its output and writes it.
    pub(super) fn collect(&mut self, id: ConnectionId) {
        let outbox = self.broker.take_outbox(id, self.now);
        let bytes = outbox.pieces().collect::<Vec<_>>().concat();
        let link = self.links.get_mut(&id).unwrap();
        link.announced = !bytes.is_empty() || self.broker.is_walking(id);
        let options = DecodeOptions {
            version: link.version,
            max_packet_size: u32::MAX,
            sender: Role::Server,
        };
        let mut bytes = &bytes[..];
        while !bytes.is_empty() {
            let (packet, used) = mqtt::decode(bytes, &options).unwrap().unwrap();
            link.received.push(received(&packet));
            bytes = &bytes[used..];
        }
    }

    fn lose_link(&mut self, id: ConnectionId) {
        if let Some(link) = self.links.get_mut(&id)
            && !std::mem::replace(&mut link.closed, true)
        {
            self.broker.handle_closed(id, self.now);
        }
    }

    /// All network connections are gone, with the process that had them.
    pub(super) fn forget_links(&mut self) {
        self.links.clear();
        self.questions.clear();
        self.asking.clear();
        self.stuck.clear();
        self.paused.clear();
    }

    /// The network connection breaks.
    pub(super) fn lose(&mut self, id: ConnectionId) {
        self.lose_link(id);
        self.run();
    }

    pub(super) fn is_closed(&self, id: ConnectionId) -> bool {
        self.links[&id].closed
    }

    pub(super) fn advance(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.broker.poll_timeout().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.broker.handle_timeout(self.now);
            self.run();
        }
        self.now = end;
    }

    /// What a client has received since the last call.
    pub(super) fn received(&mut self, id: ConnectionId) -> Vec<Received> {
        std::mem::take(&mut self.links.get_mut(&id).unwrap().received)
    }

    /// The messages among what a client has received.
    pub(super) fn messages(&mut self, id: ConnectionId) -> Vec<Message> {
        let publishes = |received| match received {
            Received::Publish(message) => Some(message),
            _ => None,
        };
        self.received(id)
            .into_iter()
            .filter_map(publishes)
            .collect()
    }

    pub(super) fn payloads(&mut self, id: ConnectionId) -> Vec<String> {
        let text = |message: Message| String::from_utf8(message.payload).unwrap();
        self.messages(id).into_iter().map(text).collect()
    }

    /// Encodes, decodes and hands over.
    pub(super) fn send(
        &mut self,
        id: ConnectionId,
        write: impl FnOnce(&mut Vec<u8>, ProtocolVersion),
    ) -> Result<Next, Violation> {
        let next = self.send_raw(id, write);
        self.run();
        next
    }

    /// The same, without a turn of any link.
    pub(super) fn send_raw(
        &mut self,
        id: ConnectionId,
        write: impl FnOnce(&mut Vec<u8>, ProtocolVersion),
    ) -> Result<Next, Violation> {
        let mut bytes = Vec::new();
        write(&mut bytes, self.links[&id].version);
        self.hand_over(id, &bytes)
    }

    pub(super) fn hand_over(&mut self, id: ConnectionId, bytes: &[u8]) -> Result<Next, Violation> {
        let version = self.links[&id].version;
        let options = DecodeOptions {
            version,
            max_packet_size: u32::MAX,
            sender: Role::Client,
        };
        let (packet, _) = mqtt::decode(bytes, &options).unwrap().unwrap();
        let next = self.broker.handle_packet(id, &packet, self.now);
        if next == Ok(Next::Ask) {
            self.asking.insert(id, bytes.to_vec());
        }
        next
    }

    pub(super) fn subscribe(&mut self, id: ConnectionId, filter: &str, qos: u8) -> ReasonCode {
        let options = SubscriptionOptions {
            qos: QoS::from_u8(qos).unwrap(),
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::SendAtSubscribe,
        };
        self.subscribe_with(id, filter, options, None)
    }

    pub(super) fn subscribe_with(
        &mut self,
        id: ConnectionId,
        filter: &str,
        options: SubscriptionOptions,
        identifier: Option<u32>,
    ) -> ReasonCode {
        self.send_subscribe(id, filter, options, identifier)
            .unwrap();
        let position = self.links[&id]
            .received
            .iter()
            .position(|received| matches!(received, Received::SubAck(_)))
            .unwrap();
        let suback = self.links.get_mut(&id).unwrap().received.remove(position);
        match suback {
            Received::SubAck(reasons) => reasons[0],
            _ => ReasonCode::UnspecifiedError,
        }
    }

    pub(super) fn send_subscribe(
        &mut self,
        id: ConnectionId,
        filter: &str,
        options: SubscriptionOptions,
        identifier: Option<u32>,
    ) -> Result<Next, Violation> {
        self.send(id, |out, version| {
            let properties = mqtt::UserProperties::default();
            let filters = [(filter, options)];
            encode::subscribe(out, version, packet_id(1), identifier, properties, filters);
        })
    }

    pub(super) fn unsubscribe(&mut self, id: ConnectionId, filter: &str) {
        self.send(id, |out, version| {
            let properties = mqtt::UserProperties::default();
            encode::unsubscribe(out, version, packet_id(2), properties, [filter]);
        })
        .unwrap();
    }

    pub(super) fn publish(
        &mut self,
        id: ConnectionId,
        topic: &str,
        payload: &str,
        qos: u8,
    ) -> Result<Next, Violation> {
        self.publish_with(id, topic, payload, qos, |_| {})
    }

    pub(super) fn publish_with(
        &mut self,
        id: ConnectionId,
        topic: &str,
        payload: &str,
        qos: u8,
        change: impl FnOnce(&mut PublishParts<'_>),
    ) -> Result<Next, Violation> {
        let mut parts = PublishParts {
            topic,
            payload: payload.as_bytes(),
            qos: QoS::from_u8(qos).unwrap(),
            retain: false,
            dup: false,
            packet_id: (qos > 0).then(|| packet_id(100)),
            message_expiry_interval: None,
            topic_alias: None,
            subscription_identifiers: &[],
            forwarded: &[],
        };
        change(&mut parts);
        self.send(id, |out, version| encode::publish(out, version, &parts))
    }

    pub(super) fn ack(&mut self, id: ConnectionId, kind: AckKind, packet: u16) {
        self.send(id, |out, version| {
            encode::ack(
                out,
                version,
                kind,
                packet_id(packet),
                ReasonCode::Success,
                None,
            );
        })
        .unwrap();
    }

    pub(super) fn disconnect(&mut self, id: ConnectionId, reason: ReasonCode) {
        let disconnect = Disconnect {
            reason,
            properties: DisconnectProperties::default(),
        };
        let _ = self.send(id, |out, version| {
            encode::disconnect(out, version, &disconnect)
        });
    }
}

pub(super) fn packet_id(value: u16) -> PacketId {
    PacketId::new(value).unwrap()
}

fn received(packet: &Packet<'_>) -> Received {
    match packet {
        Packet::ConnAck(connack) => Received::ConnAck {
            session_present: connack.session_present,
            reason: connack.reason,
            expiry: connack.properties.session_expiry_interval,
            assigned: connack
                .properties
                .assigned_client_identifier
                .map(str::to_owned),
        },
        Packet::Publish(publish) => Received::Publish(Message {
            topic: publish.topic.to_owned(),
            payload: publish.payload.to_vec(),
            qos: publish.qos.as_u8(),
            retain: publish.retain,
            dup: publish.dup,
            packet_id: publish.packet_id.map(PacketId::value),
            expiry: publish.properties.message_expiry_interval,
            alias: publish.properties.topic_alias,
            identifiers: publish.properties.subscription_identifiers().collect(),
        }),
        Packet::PubAck(ack) => Received::Ack(AckKind::PubAck, ack.packet_id.value(), ack.reason),
        Packet::PubRec(ack) => Received::Ack(AckKind::PubRec, ack.packet_id.value(), ack.reason),
        Packet::PubRel(ack) => Received::Ack(AckKind::PubRel, ack.packet_id.value(), ack.reason),
        Packet::PubComp(ack) => Received::Ack(AckKind::PubComp, ack.packet_id.value(), ack.reason),
        Packet::SubAck(suback) => Received::SubAck(suback.reason_codes.collect()),
        Packet::UnsubAck(unsuback) => Received::UnsubAck(unsuback.reason_codes.collect()),
        Packet::PingResp => Received::PingResp,
        Packet::Disconnect(disconnect) => Received::Disconnect(disconnect.reason),
        other => panic!("a server does not send {other:?}"),
    }
}
