//! 6 Using WebSocket as a network transport, the same in both standards.

use std::net::TcpStream;

use crate::support::hex::bytes;
use crate::support::websocket::{self, BINARY, CLOSE, PING, PONG, TEXT, WebSocket};
use crate::support::{Connect, Publish, TestClient, TestGateway, V5};

fn gateway() -> Option<TestGateway> {
    TestGateway::configured(
        r#"
[[listener]]
name = "web"
[[listener.port]]
port = 0
bind = "127.0.0.1"
protocol = "WebSockets"
authentication = "none"
authorization = "none"
"#,
    )
}

fn open(gateway: &TestGateway) -> WebSocket {
    WebSocket::upgrade(TcpStream::connect(gateway.address()).expect("connect"))
}

fn client(gateway: &TestGateway, client_id: &str) -> TestClient {
    let mut client = TestClient::new(open(gateway), V5);
    assert_eq!(client.connect(&Connect::new(V5, client_id)).code, 0);
    client
}

/// MQTT-6.0.0-1, MQTT-6.0.0-4
#[test]
fn mqtt_is_spoken_in_binary_frames() {
    let Some(gateway) = gateway() else { return };
    let mut subscriber = client(&gateway, "subscriber");
    subscriber.subscribe("ws/#", 2);
    let mut publisher = client(&gateway, "publisher");
    for (packet_id, size) in [
        (1, 0),
        (2, 100),
        (3, 125),
        (4, 126),
        (5, 65_530),
        (6, 65_540),
        (7, 1_000_000),
    ] {
        let payload = vec![b'w'; size];
        publisher.publish(&Publish::new("ws/x", &payload).qos(2, packet_id));
        assert!(subscriber.take().payload == payload, "{size} bytes");
    }
}

/// MQTT-6.0.0-2: packets and frames have nothing to do with each other.
#[test]
fn packets_need_not_align_with_frames() {
    let Some(gateway) = gateway() else { return };
    let mut socket = open(&gateway);
    let connect = Connect::new(V5, "client").encode();
    for byte in &connect {
        socket.frame(true, BINARY, &[*byte]);
    }
    let mut client = TestClient::new(socket, V5);
    assert_eq!(client.connack().code, 0);

    let mut socket = open(&gateway);
    let mut all = connect;
    all.extend(bytes(
        "82 [ 0001 00 't' 00 ] 30 [ 't' 00 `one` ] 30 [ 't' 00 `two` ] C0 00",
    ));
    let (first, second) = all.split_at(all.len() / 2);
    socket.frame(false, BINARY, first);
    socket.frame(true, PING, b"between");
    socket.frame(false, 0, &[]);
    socket.frame(true, 0, second);
    let mut client = TestClient::new(socket, V5);
    assert_eq!(client.connack().code, 0);
    assert_eq!(client.suback().codes, [0]);
    assert_eq!(client.take().payload_text(), "one");
    assert_eq!(client.take().payload_text(), "two");
    client.expect("D0 00");
}

/// MQTT-6.0.0-1
#[test]
fn text_frame_closes_the_connection() {
    let Some(gateway) = gateway() else { return };
    let mut socket = open(&gateway);
    socket.frame(true, TEXT, &Connect::new(V5, "client").encode());
    if let Some((opcode, _)) = socket.await_control() {
        assert_eq!(opcode, CLOSE);
    }
    assert_eq!(client(&gateway, "bystander").ping(), []);
}

#[test]
fn frames_of_control_are_answered() {
    let Some(gateway) = gateway() else { return };
    let mut socket = open(&gateway);
    socket.frame(true, PING, b"are you there");
    assert_eq!(
        socket.await_control(),
        Some((PONG, b"are you there".to_vec()))
    );
    socket.frame(true, PONG, b"unasked");
    socket.frame(true, CLOSE, &1000u16.to_be_bytes());
    let answer = socket.await_control();
    assert!(answer.is_none_or(|(opcode, _)| opcode == CLOSE));
}

/// MQTT-6.0.0-3, MQTT-6.0.0-4
#[test]
fn subprotocol_must_be_offered() {
    let Some(gateway) = gateway() else { return };
    let answer = |headers: &str| {
        let mut stream = TcpStream::connect(gateway.address()).expect("connect");
        websocket::request(&mut stream, "/mqtt", headers)
    };
    for offer in ["mqtt", "mqtt, chat", "chat, mqtt", "mqttv3.1, mqtt"] {
        let found = answer(&format!("Sec-WebSocket-Protocol: {offer}\r\n"));
        assert!(found.starts_with("http/1.1 101"), "{offer}: {found}");
        assert!(
            found.contains("sec-websocket-protocol: mqtt\r\n"),
            "{offer}: {found}"
        );
    }
    for headers in ["Sec-WebSocket-Protocol: chat\r\n", ""] {
        let found = answer(headers);
        assert!(!found.contains("sec-websocket-protocol: chat"), "{found}");
    }
}

/// What is no upgrade request, or no frame, costs only its own connection.
#[test]
fn broken_requests_and_frames_disturb_nobody() {
    let Some(gateway) = gateway() else { return };
    let mut bystander = client(&gateway, "bystander");
    bystander.subscribe("by", 0);
    for request in [
        "GET / HTTP/1.1\r\n\r\n",
        "POST /mqtt HTTP/1.1\r\n\r\n",
        "\r\n\r\n",
        "\u{0}\u{1}\u{2}\r\n\r\n",
        "GET /mqtt HTTP/9.9\r\n\r\n",
    ] {
        let mut raw = TestClient::new(TcpStream::connect(gateway.address()).expect("connect"), V5);
        raw.send(request);
        raw.cut();
    }
    for frame in [
        "82 00",
        "83 80 00000000",
        "C2 80 00000000",
        "8F 80 00000000",
        "82 FF FFFFFFFFFFFFFFFF 00000000",
        "89 FE 0100 00000000",
        "80 81 00000000 00",
    ] {
        let mut socket = open(&gateway);
        socket.raw(&bytes(frame));
        if let Some((opcode, _)) = socket.await_control() {
            assert_eq!(opcode, CLOSE, "{frame}");
        }
        bystander.send_publish(&Publish::new("by", frame));
        assert_eq!(bystander.take().payload_text(), frame);
    }
}
