//! What connections above a bound are told, and how many.

use super::*;
use crate::clock;
use crate::limits::{REFUSAL_TIMEOUT, REFUSALS_ANSWERED_MAX, REFUSED_CONNECT_BYTES_MAX};

/// A port that serves one connection from one address.
fn narrow(bind: &str) -> PortSettings {
    let mut settings = port(bind);
    settings.limits.connections_per_address_max = 1;
    settings
}

#[tokio::test]
async fn bounds_of_an_address_are_answered() {
    let mut slow = port("127.0.0.2");
    slow.limits.connection_rate_per_address_max = 1;
    let world = World::with(vec![narrow("127.0.0.1"), slow]).await;
    let mut first = world.connect(0).await;
    line(&mut first).await;
    assert_eq!(answer(world.connect(0).await, 5).await, connack(0x97));
    assert_eq!(answer(world.connect(0).await, 4).await, [0x20, 2, 0, 3]);
    assert!(echoes(&mut first).await);

    for _ in 0..10 {
        line(&mut world.connect(1).await).await;
    }
    // One more each second may come in, and a busy machine takes its time.
    let mut told = Vec::new();
    for _ in 0..30 {
        told = answer(world.connect(1).await, 5).await;
        if told == connack(0x9F) {
            break;
        }
    }
    assert_eq!(told, connack(0x9F));
}

#[tokio::test]
async fn a_refused_client_has_no_place_while_it_is_told() {
    let world = World::with(vec![narrow("127.0.0.1")]).await;
    let first = world.connect(0).await;
    world.wait_for(0, |status| status.connections == 1).await;
    let silent = world.connect(0).await;
    world
        .wait_for(0, |status| {
            status.refused.contains(&(Refusal::AddressFull, 1))
        })
        .await;
    assert_eq!(world.status(0).connections, 1);
    drop(first);
    world.wait_for(0, |status| status.connections == 0).await;
    line(&mut world.connect(0).await).await;
    assert!(is_closed(silent).await);
}

#[tokio::test]
async fn few_are_told_at_one_time_and_not_for_long() {
    let world = World::with(vec![narrow("127.0.0.1")]).await;
    let mut first = world.connect(0).await;
    line(&mut first).await;
    let mut silent = Vec::new();
    for _ in 0..REFUSALS_ANSWERED_MAX {
        silent.push(world.connect(0).await);
    }
    let begin = clock::now();
    assert!(answer(world.connect(0).await, 5).await.is_empty());
    assert!(begin.elapsed() < REFUSAL_TIMEOUT, "closed at once");
    for connection in silent {
        assert!(is_closed(connection).await);
    }
    assert!(begin.elapsed() < 3 * REFUSAL_TIMEOUT, "not for long");
    let told = async { while answer(world.connect(0).await, 5).await != connack(0x97) {} };
    timeout(Duration::from_secs(20), told).await.unwrap();
    assert!(echoes(&mut first).await);
}

#[tokio::test]
async fn a_large_connect_is_answered_by_its_beginning() {
    let world = World::with(vec![narrow("127.0.0.1")]).await;
    let mut first = world.connect(0).await;
    line(&mut first).await;
    let mut large = world.connect(0).await;
    let mut connect = vec![
        0x10, 0xFF, 0xFF, 0x7F, 0, 4, b'M', b'Q', b'T', b'T', 5, 0x42, 0, 0, 0,
    ];
    connect.resize(REFUSED_CONNECT_BYTES_MAX as usize / 2, b'x');
    large.write_all(&connect).await.unwrap();
    let mut answer = [0; 5];
    large.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, connack(0x97));
}

#[tokio::test]
async fn handshakes_come_before_the_answer_and_tls_gets_none() {
    let authority = Authority::new("root", ECDSA);
    let files = files_of(&authority, "gw");
    let mut proxied = narrow("127.0.0.1");
    proxied.proxy_protocol = true;
    let mut websockets = narrow("127.0.0.2");
    websockets.protocol = Protocol::WebSockets;
    let mut tls = tls_port("127.0.0.3", files.settings());
    tls.limits.connections_per_address_max = 1;
    let world = World::with(vec![proxied, websockets, tls]).await;

    let from_proxy = async || {
        let mut socket = world.connect(0).await;
        let header = b"PROXY TCP4 192.0.2.7 198.51.100.1 5 1883\r\n";
        socket.write_all(header).await.unwrap();
        socket
    };
    let mut first = from_proxy().await;
    line(&mut first).await;
    assert_eq!(answer(from_proxy().await, 5).await, connack(0x97));
    let mut silent = from_proxy().await;
    world
        .wait_for(0, |status| {
            status.refused.contains(&(Refusal::AddressFull, 2)) && status.connections == 1
        })
        .await;
    let still_told = timeout(Duration::from_millis(50), silent.read_u8()).await;
    assert!(still_told.is_err(), "it was counted as long as it was told");

    let mut first = world.connect(1).await;
    assert_eq!(upgrade_and_echo(&mut first).await, "ws");
    let mut second = world.connect(1).await;
    upgrade(&mut second).await;
    let connect = b"\x10\x0E\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x01c";
    second
        .write_all(&client_frame(0x82, connect))
        .await
        .unwrap();
    let mut told = [0; 7];
    second.read_exact(&mut told).await.unwrap();
    assert_eq!(told[..2], [0x82, 5]);
    assert_eq!(told[2..], connack(0x97));

    let first = connect_tls(&fresh(&authority), world.connect(2).await).await;
    let mut first = first.unwrap();
    line(&mut first).await;
    let begin = clock::now();
    let second = connect_tls(&fresh(&authority), world.connect(2).await).await;
    assert!(second.is_err() && begin.elapsed() < REFUSAL_TIMEOUT);
    assert!(echoes(&mut first).await);
}
