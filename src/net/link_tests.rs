use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::auth::scripted::Script;
use crate::auth::{Access, Authenticator};
use crate::broker::{PortPolicy, Timestamp};
use crate::config::Settings;
use crate::limits::Limits;
use crate::mqtt::encode;
use crate::mqtt::{AuthProperties, Connect, ConnectProperties, ProtocolVersion, Role};
use crate::net::PortTerms;
use crate::policy::testing::{authorization, rule_set};
use crate::policy::{Authorization, RuleSet};

struct Client {
    socket: TcpStream,
    input: Vec<u8>,
}

/// A client whose connection is served by a link, on a port with this authenticator.
async fn client(authenticator: Authenticator) -> Client {
    client_of(authenticator, Authorization::None).await
}

/// The same with rules.
async fn client_of(authenticator: Authenticator, authorization: Authorization) -> Client {
    let settings = Settings::default();
    let port_settings = settings.ports().next().unwrap();
    let port = Arc::new(PortContext::new(port_settings, &Access::for_tests()));
    port.set_terms(PortTerms {
        authenticator: Arc::new(authenticator),
        policy: Arc::new(PortPolicy {
            authorization,
            ..PortPolicy::default()
        }),
        ..PortTerms::new(port_settings, &Access::for_tests())
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let socket = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (served, _) = listener.accept().await.unwrap();
    let hub = Arc::new(Hub::new(Limits::default(), Timestamp::default()));
    tokio::spawn(serve(served.into(), port, Peer::default(), hub));
    Client {
        socket,
        input: Vec::new(),
    }
}

fn script() -> Script {
    Script::new("SCRIPT", &[b"hello", b"answer"])
}

impl Client {
    async fn connect(&mut self, method: Option<&str>, data: &[u8]) {
        let connect = Connect {
            version: ProtocolVersion::V5,
            client_id: "c",
            clean_start: true,
            keep_alive: 0,
            username: None,
            password: None,
            will: None,
            properties: ConnectProperties {
                authentication_method: method,
                authentication_data: method.map(|_| data),
                ..ConnectProperties::default()
            },
        };
        let mut out = Vec::new();
        encode::connect(&mut out, &connect);
        self.socket.write_all(&out).await.unwrap();
    }

    async fn auth(&mut self, reason: ReasonCode, method: &str, data: &[u8]) {
        let mut out = Vec::new();
        let properties = AuthProperties {
            authentication_method: Some(method),
            authentication_data: Some(data),
            ..AuthProperties::default()
        };
        encode::auth(&mut out, &Auth { reason, properties });
        // A packet behind it must not be lost while the authenticator thinks.
        encode::pingreq(&mut out);
        self.socket.write_all(&out).await.unwrap();
    }

    /// The next packet, in one line; an empty line at the end of the connection.
    async fn next(&mut self) -> String {
        let options = DecodeOptions {
            version: ProtocolVersion::V5,
            max_packet_size: u32::MAX,
            sender: Role::Server,
        };
        loop {
            if let Some((packet, used)) = mqtt::decode(&self.input, &options).unwrap() {
                let line = describe(&packet);
                self.input.drain(..used);
                return line;
            }
            let read = self.socket.read_buf(&mut self.input);
            let read = tokio::time::timeout(std::time::Duration::from_secs(10), read);
            if read.await.unwrap().unwrap_or(0) == 0 {
                return String::new();
            }
        }
    }
}

fn describe(packet: &Packet<'_>) -> String {
    let text = |data: Option<&[u8]>| String::from_utf8(data.unwrap_or_default().to_vec()).unwrap();
    match packet {
        Packet::ConnAck(connack) => {
            let data = text(connack.properties.authentication_data);
            format!("CONNACK {:?} {data}", connack.reason)
        }
        Packet::Auth(auth) => {
            let data = text(auth.properties.authentication_data);
            format!("AUTH {:?} {data}", auth.reason)
        }
        Packet::Disconnect(disconnect) => format!("DISCONNECT {:?}", disconnect.reason),
        Packet::PingResp => "PINGRESP".to_owned(),
        Packet::PubAck(ack) => format!("PUBACK {} {:?}", ack.packet_id.value(), ack.reason),
        Packet::SubAck(suback) => {
            format!("SUBACK {:?}", suback.reason_codes.collect::<Vec<_>>())
        }
        other => format!("{other:?}"),
    }
}

#[tokio::test]
async fn a_client_answers_a_challenge_and_authenticates_again() {
    let mut client = client(Authenticator::scripted(script())).await;
    client.connect(Some("SCRIPT"), b"hello").await;
    assert_eq!(
        client.next().await,
        "AUTH ContinueAuthentication challenge-1"
    );
    client
        .auth(ReasonCode::ContinueAuthentication, "SCRIPT", b"answer")
        .await;
    assert_eq!(client.next().await, "CONNACK Success welcome");
    assert_eq!(client.next().await, "PINGRESP");
    client
        .auth(ReasonCode::ReAuthenticate, "SCRIPT", b"hello")
        .await;
    assert_eq!(
        client.next().await,
        "AUTH ContinueAuthentication challenge-1"
    );
    assert_eq!(client.next().await, "PINGRESP");
    client
        .auth(ReasonCode::ContinueAuthentication, "SCRIPT", b"answer")
        .await;
    assert_eq!(client.next().await, "AUTH Success welcome");
    assert_eq!(client.next().await, "PINGRESP");
    client
        .auth(ReasonCode::ReAuthenticate, "SCRIPT", b"wrong")
        .await;
    assert_eq!(client.next().await, "DISCONNECT NotAuthorized");
    assert_eq!(client.next().await, "");
}

#[tokio::test]
async fn a_wrong_answer_is_refused() {
    let mut client = client(Authenticator::scripted(script())).await;
    client.connect(Some("SCRIPT"), b"hello").await;
    client.next().await;
    client
        .auth(ReasonCode::ContinueAuthentication, "SCRIPT", b"no")
        .await;
    assert_eq!(client.next().await, "CONNACK NotAuthorized ");
    assert_eq!(client.next().await, "");
}

#[tokio::test]
async fn an_authenticator_that_cannot_tell_is_not_a_refusal() {
    let unavailable = Script {
        unavailable: true,
        ..script()
    };
    let mut client = client(Authenticator::scripted(unavailable)).await;
    client.connect(Some("SCRIPT"), b"hello").await;
    assert_eq!(client.next().await, "CONNACK ServerUnavailable ");
}

#[tokio::test]
async fn the_method_cannot_change_and_nothing_else_is_taken_during_an_exchange() {
    let mut one = client(Authenticator::scripted(script())).await;
    one.connect(Some("SCRIPT"), b"hello").await;
    one.next().await;
    one.auth(ReasonCode::ContinueAuthentication, "OTHER", b"answer")
        .await;
    assert_eq!(one.next().await, "CONNACK ProtocolError ");
    let mut two = client(Authenticator::scripted(script())).await;
    two.connect(Some("SCRIPT"), b"hello").await;
    two.next().await;
    let mut out = Vec::new();
    encode::pingreq(&mut out);
    two.socket.write_all(&out).await.unwrap();
    assert_eq!(two.next().await, "CONNACK ProtocolError ");
}

#[tokio::test]
async fn a_port_without_authentication_knows_no_method_and_no_auth() {
    let mut one = client(Authenticator::none()).await;
    one.connect(Some("SCRIPT"), b"hello").await;
    assert_eq!(one.next().await, "CONNACK BadAuthenticationMethod ");
    let mut two = client(Authenticator::none()).await;
    two.connect(None, b"").await;
    assert_eq!(two.next().await, "CONNACK Success ");
    two.auth(ReasonCode::ReAuthenticate, "SCRIPT", b"hello")
        .await;
    assert_eq!(two.next().await, "DISCONNECT ProtocolError");
    assert_eq!(two.next().await, "");
}

#[tokio::test]
async fn a_length_above_the_maximum_is_refused_even_if_the_header_comes_in_two_parts() {
    let mut client = client(Authenticator::none()).await;
    client.connect(None, b"").await;
    client.next().await;
    client.socket.write_all(&[0x30]).await.unwrap();
    // The link reads the first byte alone: the runtime of the test has one thread.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    client
        .socket
        .write_all(&[0xFF, 0xFF, 0xFF, 0x7F])
        .await
        .unwrap();
    assert_eq!(client.next().await, "DISCONNECT PacketTooLarge");
}

/// Nobody is there to ask, which is a denial; that it was asked is what the test is about.
#[tokio::test]
async fn a_packet_waits_for_answers_and_what_comes_after_it_waits_behind() {
    let rules = authorization(RuleSet {
        asks: true,
        ..rule_set(&["allow publish=known subscribe=known"])
    });
    let mut client = client_of(Authenticator::none(), rules).await;
    client.connect(None, b"").await;
    assert_eq!(client.next().await, "CONNACK Success ");
    let version = ProtocolVersion::V5;
    let options = mqtt::SubscriptionOptions {
        qos: mqtt::QoS::AtLeastOnce,
        no_local: false,
        retain_as_published: false,
        retain_handling: mqtt::RetainHandling::SendAtSubscribe,
    };
    let mut out = Vec::new();
    for (number, topic) in [(1, "known"), (2, "asked"), (3, "known"), (4, "also/asked")] {
        let parts = encode::PublishParts {
            topic,
            payload: &[7; 5000],
            qos: mqtt::QoS::AtLeastOnce,
            retain: false,
            dup: false,
            packet_id: mqtt::PacketId::new(number),
            message_expiry_interval: None,
            topic_alias: None,
            subscription_identifiers: &[],
            forwarded: &[],
        };
        encode::publish(&mut out, version, &parts);
        encode::pingreq(&mut out);
        let filters = [("known", options), ("asked/#", options)];
        let packet_id = mqtt::PacketId::new(9).unwrap();
        let properties = mqtt::UserProperties::default();
        encode::subscribe(&mut out, version, packet_id, None, properties, filters);
    }
    // In pieces that end anywhere.
    for piece in out.chunks(3001) {
        client.socket.write_all(piece).await.unwrap();
        tokio::task::yield_now().await;
    }
    let suback = "SUBACK [GrantedQoS1, NotAuthorized]";
    let mut seen = Vec::new();
    while seen.len() < 12 {
        let line = client.next().await;
        assert!(!line.is_empty());
        if !line.starts_with("Publish") {
            seen.push(line);
        }
    }
    let expected = [
        ["PUBACK 1 NoMatchingSubscribers", "PINGRESP", suback],
        ["PUBACK 2 NotAuthorized", "PINGRESP", suback],
        ["PUBACK 3 Success", "PINGRESP", suback],
        ["PUBACK 4 NotAuthorized", "PINGRESP", suback],
    ];
    assert_eq!(seen, expected.concat());
}

/// What a login with a ticket of the health gate is answered, for somebody at `peer`.
async fn with_ticket(peer: Peer) -> String {
    let settings = Settings::default();
    let access = Access::for_tests();
    let ticket = access.probes().issue(crate::clock::now()).unwrap();
    let port = PortContext::new(settings.ports().next().unwrap(), &access);
    let (socket, served) = tokio::net::UnixStream::pair().unwrap();
    let hub = Arc::new(Hub::new(Limits::default(), Timestamp::default()));
    tokio::spawn(serve(served.into(), Arc::new(port), peer, hub));
    let connect = Connect {
        version: ProtocolVersion::V5,
        client_id: &ticket.client_id,
        clean_start: true,
        keep_alive: 0,
        username: Some("$fieldgate-probe"),
        password: Some(ticket.secret.as_bytes()),
        will: None,
        properties: ConnectProperties::default(),
    };
    let (mut reader, mut writer) = socket.into_split();
    let mut out = Vec::new();
    encode::connect(&mut out, &connect);
    writer.write_all(&out).await.unwrap();
    let mut input = Vec::new();
    let options = DecodeOptions {
        version: ProtocolVersion::V5,
        max_packet_size: u32::MAX,
        sender: Role::Server,
    };
    loop {
        if let Some((packet, _)) = mqtt::decode(&input, &options).unwrap() {
            return describe(&packet);
        }
        assert!(reader.read_buf(&mut input).await.unwrap() > 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_ticket_is_of_use_on_this_machine_only() {
    let at = |address: &str, proxy: Option<&str>| Peer {
        address: Some(address.parse().unwrap()),
        proxy: proxy.map(|proxy| proxy.parse().unwrap()),
        tls: None,
    };
    let local = [
        Peer::default(),
        at("127.0.0.1:9", None),
        at("[::1]:9", None),
        at("[::ffff:127.0.0.1]:9", None),
    ];
    for peer in local {
        let name = peer.to_string();
        assert_eq!(with_ticket(peer).await, "CONNACK Success ", "{name}");
    }
    let elsewhere = [
        at("192.0.2.7:9", None),
        at("[2001:db8::7]:9", None),
        at("127.0.0.1:9", Some("127.0.0.1:8")),
    ];
    for peer in elsewhere {
        let name = peer.to_string();
        assert_eq!(with_ticket(peer).await, "CONNACK NotAuthorized ", "{name}");
    }
}
