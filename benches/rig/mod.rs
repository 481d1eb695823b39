//! The core without sockets: clients that connect, subscribe and publish by their bytes.

use std::sync::Arc;

use fieldgate::broker::{Admission, Broker, ConnectionId, Effect, PortPolicy, Timestamp};
use fieldgate::limits::Limits;
use fieldgate::mqtt::encode::{self, PublishParts};
use fieldgate::mqtt::{
    self, Connect, ConnectProperties, DecodeOptions, PacketId, ProtocolVersion, QoS,
    RetainHandling, Role, SubscriptionOptions, UserProperties,
};

/// A broker and the settings that all its clients share.
pub(crate) struct Rig {
    broker: Broker,
    /// The settings of the port, for those who connect from here on.
    pub(crate) port: Arc<PortPolicy>,
    version: ProtocolVersion,
    now: Timestamp,
}

impl Rig {
    /// A broker whose clients speak `version`.
    pub(crate) fn new(version: ProtocolVersion) -> Self {
        Self {
            broker: Broker::new(Limits::default(), 7, "bench"),
            port: Arc::default(),
            version,
            now: Timestamp::default(),
        }
    }

    /// A client that is connected.
    pub(crate) fn connect(&mut self, client_id: &str) -> ConnectionId {
        let connect = Connect {
            version: self.version,
            client_id,
            clean_start: true,
            keep_alive: 0,
            username: None,
            password: None,
            will: None,
            properties: ConnectProperties {
                session_expiry_interval: 0,
                receive_maximum: u16::MAX,
                maximum_packet_size: None,
                topic_alias_maximum: 0,
                request_response_information: false,
                request_problem_information: true,
                authentication_method: None,
                authentication_data: None,
                user_properties: UserProperties::default(),
            },
        };
        let admission = Admission {
            connect: &connect,
            assigned_client_id: client_id,
            principal: Arc::default(),
            will_answer: None,
            expires_at: None,
            authentication_data: None,
            port: Arc::clone(&self.port),
            peer: "bench",
            transport: "tcp",
        };
        let id = self.broker.handle_connect(&admission, self.now);
        let id = id.expect("the broker has room");
        self.drain();
        id
    }

    /// Subscribes a client, with QoS 1.
    pub(crate) fn subscribe(&mut self, client: ConnectionId, filter: &str) {
        let options = SubscriptionOptions {
            qos: QoS::AtLeastOnce,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::default(),
        };
        let mut packet = Vec::new();
        let packet_id = PacketId::new(1).expect("not zero");
        let filters = [(filter, options)];
        let none = UserProperties::default();
        encode::subscribe(&mut packet, self.version, packet_id, None, none, filters);
        self.handle(client, &packet);
        self.drain();
    }

    /// A PUBLISH as a client sends it.
    pub(crate) fn publish_bytes(&self, topic: &str, payload: &[u8], qos: QoS) -> Vec<u8> {
        let parts = PublishParts {
            topic,
            payload,
            qos,
            retain: false,
            dup: false,
            packet_id: PacketId::new(1).filter(|_| qos > QoS::AtMostOnce),
            message_expiry_interval: None,
            topic_alias: None,
            subscription_identifiers: &[],
            forwarded: &[],
        };
        let mut packet = Vec::new();
        encode::publish(&mut packet, self.version, &parts);
        packet
    }

    /// What a link does with the bytes of a read.
    pub(crate) fn handle(&mut self, client: ConnectionId, mut bytes: &[u8]) {
        let options = DecodeOptions {
            version: self.version,
            max_packet_size: 1 << 20,
            sender: Role::Client,
        };
        while let Ok(Some((packet, used))) = mqtt::decode(bytes, &options) {
            let next = self.broker.handle_packet(client, &packet, self.now);
            next.expect("the packet is legal");
            bytes = &bytes[used..];
        }
        assert!(bytes.is_empty(), "the packets are whole");
    }

    /// Takes what waits for every client, as their links would; the bytes of it.
    pub(crate) fn drain(&mut self) -> usize {
        let mut bytes = 0;
        while let Some(effect) = self.broker.poll_effect() {
            if let Effect::Send(client) = effect {
                bytes += self.broker.take_outbox(client, self.now).len();
            }
        }
        bytes
    }
}
