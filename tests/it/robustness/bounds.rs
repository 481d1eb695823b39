//! Bounds that a peer can run into.

use std::time::Instant;

use crate::support::client::DEADLINE;
use crate::support::{
    Bystander, Connect, Publish, Received, TestClient, TestGateway, V3_1_1, V5, Will, property,
};

fn resident_kib(gateway: &TestGateway) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid()))
        .expect("status of the process");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .expect("resident memory");
    line.split_whitespace()
        .nth(1)
        .expect("a number")
        .parse()
        .expect("a number")
}

fn served(client: &mut TestClient) -> bool {
    matches!(client.try_raw_packet(DEADLINE), Ok(Some(found)) if found[0] == 0x20 && found[3] == 0)
}

#[test]
fn connection_flood_is_cut_off_and_passes() {
    let Some(gateway) = TestGateway::with_limits("connections_max = 40") else {
        return;
    };
    let mut bystander = Bystander::new(&gateway);
    for round in 0..3 {
        let mut flood: Vec<_> = (0..200)
            .map(|number| {
                let mut client = gateway.open(V5);
                client.send(Connect::new(V5, &format!("flood{number}")).encode());
                client
            })
            .collect();
        let count = flood
            .iter_mut()
            .filter_map(|client| served(client).then_some(()))
            .count();
        assert!(count <= 38, "{count} of 38 places, round {round}");
        assert!(round > 0 || count == 38, "{count} of 38 places were given");
        bystander.is_served();
        flood.into_iter().for_each(TestClient::cut);
    }
    let end = Instant::now() + DEADLINE;
    loop {
        let mut client = gateway.open(V5);
        client.send(Connect::new(V5, "afterwards").encode());
        if served(&mut client) {
            break;
        }
        assert!(Instant::now() < end, "the places are free again");
    }
}

#[test]
fn connections_of_one_address_are_bounded() {
    let Some(gateway) = TestGateway::with_limits("connections_per_address_max = 5") else {
        return;
    };
    let mut clients: Vec<_> = (0..5)
        .map(|number| gateway.v5(&format!("client{number}")))
        .collect();
    let mut sixth = gateway.open(V5);
    sixth.send(Connect::new(V5, "sixth").encode());
    assert!(!served(&mut sixth));
    for client in &mut clients {
        assert_eq!(client.ping(), []);
    }
}

/// The queue of a client that is away takes what it may; a publisher whose message nobody gets is told 0x97.
#[test]
fn queue_of_an_absent_client_is_bounded() {
    let Some(gateway) = TestGateway::with_limits("queue_messages_per_client_max = 10") else {
        return;
    };
    let durable = Connect::new(V5, "away")
        .resume()
        .with(property::SESSION_EXPIRY_INTERVAL, 600u32);
    let (mut away, _) = gateway.connect(&durable);
    away.subscribe("queue", 1);
    away.disconnect();
    let mut publisher = gateway.v5("publisher");
    let reasons: Vec<_> = (1..=15u16)
        .map(|number| publisher.publish(&Publish::new("queue", number.to_string()).qos(1, number)))
        .collect();
    assert_eq!(reasons[..10], [0; 10]);
    assert_eq!(reasons[10..], [0x97; 5]);
    let (mut away, _) = gateway.connect(&durable);
    for number in 1..=10 {
        assert_eq!(away.take().payload_text(), number.to_string());
    }
    assert_eq!(away.ping(), []);
    assert_eq!(
        publisher.publish(&Publish::new("queue", "again").qos(1, 1)),
        0
    );
    assert_eq!(away.take().payload_text(), "again");
    let status = gateway.control("status");
    assert_eq!(status["broker"]["messages_dropped"], 5, "drops are counted");
}

#[test]
fn bytes_of_a_queue_are_bounded() {
    let Some(gateway) = TestGateway::with_limits("queue_bytes_per_client_max = \"64 KiB\"") else {
        return;
    };
    let durable = Connect::new(V5, "away")
        .resume()
        .with(property::SESSION_EXPIRY_INTERVAL, 600u32);
    let (mut away, _) = gateway.connect(&durable);
    away.subscribe("queue", 1);
    away.disconnect();
    let mut publisher = gateway.v5("publisher");
    let accepted = (1..=100u16)
        .filter(|number| {
            publisher.publish(&Publish::new("queue", vec![0; 4096]).qos(1, *number)) == 0
        })
        .count();
    assert!(
        (10..=16).contains(&accepted),
        "{accepted} messages of 4 KiB in 64 KiB"
    );
}

#[test]
fn retained_messages_are_bounded() {
    let Some(gateway) = TestGateway::with_limits("retained_messages_max = 5") else {
        return;
    };
    let mut client = gateway.v5("client");
    for number in 1..=8u16 {
        let reason = client.publish(
            &Publish::new(&format!("kept/{number}"), "x")
                .qos(1, number)
                .retain(),
        );
        assert_eq!(
            reason,
            if number <= 5 { reason & 0x10 } else { 0x97 },
            "message {number}"
        );
    }
    let reason = client.publish(&Publish::new("kept/1", "replaced").qos(1, 1).retain());
    assert!(reason < 0x80, "replacing needs no room");
    client.publish(&Publish::new("kept/2", "").qos(1, 1).retain());
    let reason = client.publish(&Publish::new("kept/9", "x").qos(1, 1).retain());
    assert!(reason < 0x80, "removing makes room");
    client.subscribe("kept/#", 0);
    assert_eq!(client.ping().len(), 5);
}

#[test]
fn sessions_are_bounded() {
    let Some(gateway) = TestGateway::with_limits("sessions_max = 3") else {
        return;
    };
    for number in 0..3 {
        let durable = Connect::new(V5, &format!("kept{number}"))
            .with(property::SESSION_EXPIRY_INTERVAL, 600u32);
        gateway.connect(&durable).0.disconnect();
    }
    let mut fourth = gateway.open(V5);
    fourth.send(Connect::new(V5, "fourth").encode());
    fourth.expect_refused(0x97);
    gateway.connect(&Connect::new(V5, "kept1")).0.disconnect();
    gateway.connect(&Connect::new(V5, "fourth")).0.disconnect();
}

#[test]
fn subscriptions_of_all_clients_together_are_bounded() {
    let Some(gateway) = TestGateway::with_limits("subscriptions_max = 2") else {
        return;
    };
    let mut first = gateway.connect(&Connect::new(V5, "first")).0;
    assert_eq!(first.subscribe("a", 0), 0);
    assert_eq!(first.subscribe("b", 0), 0);
    assert_eq!(first.subscribe("c", 0), 0x97);
    let mut second = gateway.connect(&Connect::new(V3_1_1, "second")).0;
    assert_eq!(second.subscribe("c", 0), 0x80);
    first.unsubscribe(&["a"]);
    assert_eq!(second.subscribe("c", 0), 0);
}

/// A will and credentials as large as they can be are taken; what is larger is refused before it has come.
#[test]
fn connect_packets_are_bounded() {
    let Some(gateway) = TestGateway::with_limits("max_packet_size = \"16 MiB\"") else {
        return;
    };
    let mut large = Connect::new(V5, "large")
        .will(Will::new("will", vec![b'w'; 65_535]))
        .username(&"u".repeat(65_535))
        .password(&[b'p'; 65_535]);
    gateway.connect(&large).0.disconnect();
    for number in 0..2u16 {
        let text = "p".repeat(65_000);
        large = large.with(
            property::USER_PROPERTY,
            (number.to_string().as_str(), &*text),
        );
    }
    let bytes = large.encode();
    assert!(bytes.len() > 256 * 1024);
    let mut client = gateway.open(V5);
    client.send(&bytes[..100]);
    client.expect_refused(0x95);
}

/// A subscriber that does not read costs only itself, and a bounded amount of memory.
#[test]
fn subscriber_that_does_not_read_is_bounded() {
    let Some(gateway) = TestGateway::with_limits("outbox_bytes_max = \"256 KiB\"") else {
        return;
    };
    let mut bystander = Bystander::new(&gateway);
    let mut stuck = gateway.v5("stuck");
    stuck.subscribe("#", 0);
    let before = resident_kib(&gateway);
    let mut publisher = gateway.v5("publisher");
    let message = Publish::new("flood", vec![0; 64 * 1024]).encode(V5);
    for round in 0..1500 {
        publisher.send(&message);
        if round % 100 == 0 {
            bystander.is_served();
        }
    }
    assert_eq!(publisher.ping(), []);
    let grown = resident_kib(&gateway).saturating_sub(before);
    assert!(
        grown < 48 * 1024,
        "{grown} KiB more after 94 MiB for a client that does not read"
    );
    bystander.is_served();
    let mut count = 0;
    stuck.hex("C0 00");
    loop {
        match stuck.receive() {
            Received::PingResp => break,
            Received::Publish(_) => count += 1,
            other => panic!("unexpected {other:?}"),
        }
    }
    assert!(count < 1500, "what does not fit is dropped");
}

/// Many clients at once, each with its own messages: nothing is lost or mixed up.
#[test]
fn many_clients_are_served_together() {
    let gateway = TestGateway::start();
    let mut clients: Vec<_> = (0..300)
        .map(|number| gateway.v5(&format!("many{number}")))
        .collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.subscribe(&format!("many/{number}"), 1);
    }
    let mut publisher = gateway.v3("publisher");
    for round in 0..3 {
        let mut burst = Vec::new();
        for number in 0..300u16 {
            let topic = format!("many/{number}");
            burst.extend(
                Publish::new(&topic, format!("{round} {number}"))
                    .qos(1, number + 1)
                    .encode(publisher.version),
            );
        }
        publisher.send(burst);
        for number in 0..300u16 {
            assert_eq!(publisher.puback().packet_id, number + 1);
        }
    }
    for (number, client) in clients.iter_mut().enumerate() {
        for round in 0..3 {
            assert_eq!(client.take().payload_text(), format!("{round} {number}"));
        }
    }
}
