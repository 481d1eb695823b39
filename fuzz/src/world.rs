//! A broker core with clients that know what a server may send them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use fieldgate::broker::{Admission, Broker, ConnectionId, Effect, Next, PortPolicy, Timestamp};
use fieldgate::limits::Limits;
use fieldgate::mqtt::encode::{self, PublishParts};
use fieldgate::mqtt::{
    AckKind, Connect, ConnectProperties, DecodeOptions, Disconnect, MAX_PACKET_SIZE, Packet,
    PacketId, ProtocolVersion, Publish, QoS, ReasonCode, Role, SubscriptionOptions, UserProperties,
    Will, decode, decode_connect,
};
use fieldgate::policy::Principal;

/// What a client says in its CONNECT.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    pub version: ProtocolVersion,
    pub client_id: String,
    pub clean_start: bool,
    pub keep_alive: u16,
    pub session_expiry_interval: u32,
    pub receive_maximum: u16,
    pub maximum_packet_size: Option<u32>,
    pub topic_alias_maximum: u16,
    pub will: Option<(String, QoS, bool, u32)>,
}

impl ConnectOptions {
    /// MQTT 5 with the defaults of the standard.
    pub fn v5(client_id: &str) -> Self {
        Self {
            version: ProtocolVersion::V5,
            client_id: client_id.to_owned(),
            clean_start: true,
            keep_alive: 0,
            session_expiry_interval: 0,
            receive_maximum: u16::MAX,
            maximum_packet_size: None,
            topic_alias_maximum: 0,
            will: None,
        }
    }
}

/// A message that has arrived at a client.
#[derive(Clone, Debug)]
pub struct Message {
    pub topic: String,
    pub subscription_identifiers: Vec<u32>,
}

/// The broker, the clients and the time.
pub struct World {
    broker: Broker,
    port: Arc<PortPolicy>,
    principal: Arc<Principal>,
    now: Timestamp,
    clients: Vec<Client>,
}

/// A client, which checks all that it is sent.
struct Client {
    options: ConnectOptions,
    connection: Option<ConnectionId>,
    paused: bool,
    greeted: bool,
    ended: bool,
    aliases: BTreeMap<u16, String>,
    /// Publications of the server that are not acknowledged to the end.
    inflight: BTreeMap<PacketId, QoS>,
    /// What the client is to answer.
    owed: VecDeque<(AckKind, PacketId)>,
    messages: Vec<Message>,
    granted: bool,
}

impl World {
    pub fn new(limits: Limits) -> Self {
        let port = PortPolicy {
            endpoint: "fuzz".into(),
            limits: Arc::new(limits.port.clone()),
            ..PortPolicy::default()
        };
        Self {
            broker: Broker::new(limits, 7, "0.0.0"),
            port: Arc::new(port),
            principal: Arc::default(),
            now: Timestamp::default(),
            clients: Vec::new(),
        }
    }

    /// A new client, unless it is refused.
    pub fn connect(&mut self, options: &ConnectOptions) -> Option<usize> {
        self.clients.push(Client::new(options.clone()));
        let index = self.clients.len() - 1;
        self.reconnect(index, options);
        self.clients[index].connection.map(|_| index)
    }

    /// A new connection for a client; the one that it has is lost.
    pub fn reconnect(&mut self, index: usize, options: &ConnectOptions) {
        self.close(index);
        self.clients[index] = Client::new(options.clone());
        let mut bytes = Vec::new();
        encode::connect(&mut bytes, &connect(options));
        let Ok(Some((connect, _))) = decode_connect(&bytes, MAX_PACKET_SIZE) else {
            return;
        };
        let admission = Admission {
            connect: &connect,
            assigned_client_id: &format!("auto{index}"),
            principal: Arc::clone(&self.principal),
            will_answer: None,
            expires_at: None,
            authentication_data: None,
            port: Arc::clone(&self.port),
            peer: "fuzz",
            transport: "fuzz",
        };
        match self.broker.handle_connect(&admission, self.now) {
            Ok(connection) => self.clients[index].connection = Some(connection),
            Err(refusal) => assert!(refusal.reason.is_error()),
        }
        self.pump();
    }

    /// Bytes from a client, decoded and handled as a link does it.
    pub fn send(&mut self, index: usize, mut bytes: &[u8]) {
        let Some(connection) = self.clients[index]
            .connection
            .filter(|_| !self.clients[index].paused)
        else {
            return;
        };
        let version = self.clients[index].options.version;
        let options = DecodeOptions {
            version,
            max_packet_size: 1 << 20,
            sender: Role::Client,
        };
        while let Some(next) = match decode(bytes, &options) {
            Ok(Some((packet, used))) => {
                bytes = &bytes[used..];
                Some(self.broker.handle_packet(connection, &packet, self.now))
            }
            Ok(None) => None,
            Err(violation) => {
                self.broker.handle_violation(connection, violation);
                Some(Err(violation))
            }
        } {
            match next {
                Ok(Next::Continue) => {}
                Ok(Next::Pause) => {
                    self.clients[index].paused = true;
                    break;
                }
                // Nobody is asked: the port has no rules.
                Ok(Next::Ask | Next::Close) | Err(_) => break,
            }
        }
        self.pump();
    }

    /// Subscribes, and tells whether the server has granted it.
    pub fn subscribe(&mut self, index: usize, filter: &str, identifier: Option<u32>) -> bool {
        self.subscribe_with(index, filter, identifier, SubscriptionOptions::default());
        self.read(index);
        self.clients[index].granted
    }

    pub fn subscribe_with(
        &mut self,
        index: usize,
        filter: &str,
        identifier: Option<u32>,
        options: SubscriptionOptions,
    ) {
        self.clients[index].granted = false;
        let version = self.clients[index].options.version;
        let mut bytes = Vec::new();
        let (id, filters) = (PacketId::MIN, [(filter, options)]);
        encode::subscribe(
            &mut bytes,
            version,
            id,
            identifier,
            UserProperties::EMPTY,
            filters,
        );
        self.send(index, &bytes);
    }

    pub fn unsubscribe(&mut self, index: usize, filter: &str) {
        let mut bytes = Vec::new();
        let version = self.clients[index].options.version;
        encode::unsubscribe(
            &mut bytes,
            version,
            PacketId::MIN,
            UserProperties::EMPTY,
            [filter],
        );
        self.send(index, &bytes);
    }

    /// Publishes with QoS 0.
    pub fn publish(&mut self, index: usize, topic: &str, payload: &[u8], retain: bool) {
        let parts = PublishParts {
            topic,
            payload,
            qos: QoS::AtMostOnce,
            retain,
            dup: false,
            packet_id: None,
            message_expiry_interval: None,
            topic_alias: None,
            subscription_identifiers: &[],
            forwarded: &[],
        };
        self.publish_parts(index, &parts);
    }

    pub fn publish_parts(&mut self, index: usize, parts: &PublishParts<'_>) {
        let mut bytes = Vec::new();
        encode::publish(&mut bytes, self.clients[index].options.version, parts);
        self.send(index, &bytes);
    }

    /// Sends some of the acknowledgements that a client owes.
    pub fn acknowledge(&mut self, index: usize, count: usize) {
        for _ in 0..count {
            // What a client that the server does not read sends now stays in its socket: it is still owed.
            if self.clients[index].paused {
                return;
            }
            let Some((kind, id)) = self.clients[index].owed.pop_front() else {
                return;
            };
            if kind != AckKind::PubRec {
                self.clients[index].inflight.remove(&id);
            }
            self.acknowledge_with(index, kind, id, ReasonCode::Success);
        }
    }

    pub fn acknowledge_with(
        &mut self,
        index: usize,
        kind: AckKind,
        id: PacketId,
        reason: ReasonCode,
    ) {
        let mut bytes = Vec::new();
        encode::ack(
            &mut bytes,
            self.clients[index].options.version,
            kind,
            id,
            reason,
            None,
        );
        self.send(index, &bytes);
    }

    pub fn disconnect(&mut self, index: usize, reason: ReasonCode, session_expiry: Option<u32>) {
        let mut disconnect = Disconnect::new(reason);
        disconnect.properties.session_expiry_interval = session_expiry;
        let mut bytes = Vec::new();
        encode::disconnect(&mut bytes, self.clients[index].options.version, &disconnect);
        self.send(index, &bytes);
    }

    /// The connection of a client is lost.
    pub fn close(&mut self, index: usize) {
        if let Some(connection) = self.clients[index].connection.take() {
            self.broker.handle_closed(connection, self.now);
            self.pump();
        }
    }

    /// Time goes by.
    pub fn advance(&mut self, millis: u64) {
        self.now = Timestamp::from_millis(self.now.as_millis() + millis);
        self.broker.handle_timeout(self.now);
        self.pump();
    }

    /// What has arrived at a client since the last time.
    pub fn received(&mut self, index: usize) -> Vec<Message> {
        self.read(index);
        std::mem::take(&mut self.clients[index].messages)
    }

    /// A client reads all that waits for it.
    pub fn read(&mut self, index: usize) {
        while let Some(connection) = self.clients[index].connection {
            let outbox = self.broker.take_outbox(connection, self.now);
            let bytes: Vec<u8> = outbox.pieces().flatten().copied().collect();
            assert_eq!(bytes.len(), outbox.len());
            if bytes.is_empty() {
                break;
            }
            self.clients[index].take(&bytes);
        }
        self.pump();
    }

    /// Lets every client read and acknowledge until nothing moves, and sees to it that nothing is left over.
    pub fn settle(&mut self) {
        for _ in 0..10_000 {
            let mut moved = false;
            for index in 0..self.clients.len() {
                self.read(index);
                moved |= self.clients[index].can_answer();
                self.acknowledge(index, usize::MAX);
            }
            // One that waited for another to read may go on now.
            moved |= self.clients.iter().any(Client::can_answer);
            if !moved {
                break;
            }
        }
        for info in self.broker.clients(self.now) {
            // A publisher that waits for another cannot acknowledge.
            if info.connection.is_some() && self.clients.iter().all(|client| !client.paused) {
                assert_eq!(info.inflight_messages, 0, "{info:?}");
                assert_eq!(info.queued_messages, 0, "{info:?}");
            }
        }
    }

    /// The levels that the broker counts agree with its bounds.
    pub fn check_bounds(&self, limits: &Limits) {
        let statistics = self.broker.statistics();
        assert!(
            statistics.sessions <= u64::from(limits.sessions_max),
            "{statistics:?}"
        );
        assert!(
            statistics.subscriptions <= u64::from(limits.subscriptions_max),
            "{statistics:?}"
        );
        assert!(
            statistics.connections <= u64::from(limits.connections_max),
            "{statistics:?}"
        );
        assert!(
            statistics.retained_messages <= u64::from(limits.retained_messages_max),
            "{statistics:?}"
        );
        assert!(
            statistics.retained_bytes <= limits.retained_bytes_max,
            "{statistics:?}"
        );
        for info in self.broker.clients(self.now) {
            let port = &limits.port;
            assert!(
                info.inflight_messages <= usize::from(port.inflight_messages_max),
                "{info:?}"
            );
            assert!(
                info.subscriptions
                    <= usize::try_from(port.subscriptions_per_client_max).unwrap_or(0),
                "{info:?}"
            );
            assert!(
                info.queued_messages
                    <= usize::try_from(port.queue_messages_per_client_max).unwrap_or(0),
                "{info:?}"
            );
        }
    }

    /// Does what the core asks for, in order.
    fn pump(&mut self) {
        while let Some(effect) = self.broker.poll_effect() {
            match effect {
                Effect::Send(_)
                | Effect::Overflow(_)
                | Effect::Store
                | Effect::Load(_)
                | Effect::Ask(_) => {}
                Effect::Denied => drop(self.broker.take_denials()),
                Effect::Close(connection) => {
                    if let Some(index) = self.index_of(connection) {
                        let outbox = self.broker.take_outbox(connection, self.now);
                        let bytes: Vec<u8> = outbox.pieces().flatten().copied().collect();
                        self.clients[index].take(&bytes);
                        self.clients[index].connection = None;
                    }
                    self.broker.handle_closed(connection, self.now);
                }
                Effect::Pause(connection) => self.pause(connection, true),
                Effect::Resume(connection) => self.pause(connection, false),
            }
        }
    }

    fn pause(&mut self, connection: ConnectionId, paused: bool) {
        if let Some(index) = self.index_of(connection) {
            self.clients[index].paused = paused;
        }
    }

    fn index_of(&self, connection: ConnectionId) -> Option<usize> {
        self.clients
            .iter()
            .position(|client| client.connection == Some(connection))
    }
}

impl Client {
    fn new(options: ConnectOptions) -> Self {
        Self {
            options,
            connection: None,
            paused: false,
            greeted: false,
            ended: false,
            aliases: BTreeMap::new(),
            inflight: BTreeMap::new(),
            owed: VecDeque::new(),
            messages: Vec::new(),
            granted: false,
        }
    }

    /// Whether it owes an answer, and the server would read it.
    fn can_answer(&self) -> bool {
        self.connection.is_some() && !self.paused && !self.owed.is_empty()
    }

    /// Checks whole packets from the server.
    fn take(&mut self, mut bytes: &[u8]) {
        let options = DecodeOptions {
            version: self.options.version,
            max_packet_size: self.options.maximum_packet_size.unwrap_or(MAX_PACKET_SIZE),
            sender: Role::Server,
        };
        while !bytes.is_empty() {
            let decoded = decode(bytes, &options);
            let Ok(Some((packet, used))) = decoded else {
                panic!("{decoded:?} from the server: {bytes:02X?}");
            };
            bytes = &bytes[used..];
            self.take_packet(&packet);
        }
    }

    fn take_packet(&mut self, packet: &Packet<'_>) {
        assert!(!self.ended, "nothing comes after DISCONNECT: {packet:?}");
        let connack = matches!(packet, Packet::ConnAck(_));
        assert_eq!(
            connack, !self.greeted,
            "one CONNACK, and it comes first: {packet:?}"
        );
        match packet {
            Packet::ConnAck(connack) => {
                assert!(!connack.reason.is_error());
                self.greeted = true;
            }
            Packet::Publish(publish) => self.take_publish(publish),
            Packet::PubRel(ack) => self.owed.push_back((AckKind::PubComp, ack.packet_id)),
            Packet::PubRec(ack) if !ack.reason.is_error() => {
                self.owed.push_back((AckKind::PubRel, ack.packet_id));
            }
            Packet::SubAck(suback) => {
                self.granted = !suback.reason_codes.into_iter().any(ReasonCode::is_error);
            }
            Packet::Disconnect(_) => self.ended = true,
            _ => {}
        }
    }

    fn take_publish(&mut self, publish: &Publish<'_>) {
        let topic = match publish.properties.topic_alias {
            None => publish.topic.to_owned(),
            Some(alias) => {
                assert!(alias <= self.options.topic_alias_maximum, "alias {alias}");
                if publish.topic.is_empty() {
                    self.aliases
                        .get(&alias)
                        .expect("an alias that was set")
                        .clone()
                } else {
                    self.aliases.insert(alias, publish.topic.to_owned());
                    publish.topic.to_owned()
                }
            }
        };
        if let Some(id) = publish.packet_id {
            let known = self.inflight.insert(id, publish.qos);
            assert_eq!(known, None, "{id} is in use");
            assert!(self.inflight.len() <= usize::from(self.options.receive_maximum));
            let kind = match publish.qos {
                QoS::ExactlyOnce => AckKind::PubRec,
                _ => AckKind::PubAck,
            };
            self.owed.push_back((kind, id));
        }
        let subscription_identifiers = publish.properties.subscription_identifiers().collect();
        self.messages.push(Message {
            topic,
            subscription_identifiers,
        });
    }
}

fn connect(options: &ConnectOptions) -> Connect<'_> {
    let mut properties = ConnectProperties::default();
    if options.version.is_v5() {
        properties.session_expiry_interval = options.session_expiry_interval;
        properties.receive_maximum = options.receive_maximum.max(1);
        properties.maximum_packet_size = options.maximum_packet_size;
        properties.topic_alias_maximum = options.topic_alias_maximum;
    }
    Connect {
        version: options.version,
        client_id: &options.client_id,
        clean_start: options.clean_start,
        keep_alive: options.keep_alive,
        username: None,
        password: None,
        will: options
            .will
            .as_ref()
            .map(|(topic, qos, retain, delay)| Will {
                topic,
                payload: b"will",
                qos: *qos,
                retain: *retain,
                delay_interval: if options.version.is_v5() { *delay } else { 0 },
                properties: Default::default(),
            }),
        properties,
    }
}
