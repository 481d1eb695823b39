//! Bytes that are no MQTT, or nearly.

use std::time::Duration;

use crate::support::hex::bytes;
use crate::support::{Bystander, Connect, TestGateway, V3_1_1, V5, Version};

/// A generator of numbers that are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

const PACKETS: [&str; 12] = [
    "30 [ 'a/b' 00 `payload` ]",
    "34 [ 'a/b' 0001 [ 01 01 02 0000000A 03 'type' 08 'answer' 09 'data' 23 0001 26 'k' 'v' ] `payload` ]",
    "40 [ 0001 00 [ 1F 'reason' 26 'k' 'v' ] ]",
    "50 [ 0001 00 [ 1F 'reason' ] ]",
    "62 [ 0001 00 [ 1F 'reason' ] ]",
    "70 [ 0001 92 00 ]",
    "82 [ 0001 [ 0B 07 26 'k' 'v' ] 'a/+/b' 2D '$share/group/#' 02 ]",
    "A2 [ 0001 [ 26 'k' 'v' ] 'a/+/b' '#' ]",
    "C0 00",
    "E0 [ 04 [ 11 00000000 1F 'bye' ] ]",
    "F0 [ 19 [ 15 'method' 16 'data' ] ]",
    "10 [ 'MQTT' 05 C6 003C [ 11 0000000A 21 0005 ] 'again' [ 18 00000001 ] 'will' 'payload' 'user' 'password' ]",
];

fn connected(gateway: &TestGateway, version: Version, then: &[u8]) {
    let mut client = gateway.open(version);
    let mut sent = Connect::new(version, "odd").encode();
    sent.extend(then);
    client.send(sent);
    client.cut();
}

#[test]
fn random_bytes_disturb_nobody() {
    let gateway = TestGateway::start();
    let mut bystander = Bystander::new(&gateway);
    let mut numbers = Numbers(0x5EED_0001);
    for round in 0..1500 {
        let noise: Vec<u8> = (0..numbers.below(300))
            .map(|_| numbers.next() as u8)
            .collect();
        match round % 3 {
            0 => {
                let mut client = gateway.open(V5);
                client.send(&noise);
                client.cut();
            }
            1 => connected(&gateway, V5, &noise),
            _ => connected(&gateway, V3_1_1, &noise),
        }
        if round % 50 == 0 {
            bystander.is_served();
        }
    }
    bystander.is_served();
}

/// Every packet cut at every byte, the connection left open for the next client to take over.
#[test]
fn truncated_packets_disturb_nobody() {
    let gateway = TestGateway::start();
    let mut bystander = Bystander::new(&gateway);
    for packet in PACKETS {
        let packet = bytes(packet);
        for end in 0..packet.len() {
            connected(&gateway, V5, &packet[..end]);
        }
        bystander.is_served();
    }
    let connect = Connect::new(V5, "odd")
        .username("user")
        .password(b"password")
        .encode();
    for end in 0..connect.len() {
        let mut client = gateway.open(V5);
        client.send(&connect[..end]);
        client.cut();
    }
    bystander.is_served();
}

/// Every packet with a length that says less than there is, so that the rest is taken for the next packet.
#[test]
fn packets_with_a_wrong_length_are_survived() {
    let gateway = TestGateway::start();
    let mut bystander = Bystander::new(&gateway);
    for packet in PACKETS {
        let packet = bytes(packet);
        for length in 0..=packet.len().min(127) as u8 {
            let mut wrong = packet.clone();
            wrong[1] = length;
            connected(&gateway, V5, &wrong);
        }
        bystander.is_served();
    }
}

/// Every byte of every packet changed in some ways: thousands of packets that are nearly right.
#[test]
fn changed_bytes_are_survived() {
    let gateway = TestGateway::start();
    let mut bystander = Bystander::new(&gateway);
    for packet in PACKETS {
        let packet = bytes(packet);
        for at in 0..packet.len() {
            for change in [0x01, 0x80, 0xFF, packet[at]] {
                let mut wrong = packet.clone();
                wrong[at] ^= change;
                connected(&gateway, V5, &wrong);
            }
        }
        bystander.is_served();
    }
}

/// Sequences of whole packets in any order: every one is legal bytes, few are legal here.
#[test]
fn packets_in_any_order_are_survived() {
    let gateway = TestGateway::start();
    let mut bystander = Bystander::new(&gateway);
    let mut numbers = Numbers(0x5EED_0002);
    for round in 0..500 {
        let mut sequence = Vec::new();
        for _ in 0..numbers.below(30) {
            sequence.extend(bytes(PACKETS[numbers.below(9)]));
        }
        connected(&gateway, V5, &sequence);
        if round % 50 == 0 {
            bystander.is_served();
        }
    }
    bystander.is_served();
}

/// A client that sends CONNECT one byte at a time costs a deadline, however steadily it goes on.
#[test]
fn trickled_connect_ends_with_its_deadline() {
    let Some(gateway) = TestGateway::with_limits("connect_timeout = \"1 s\"") else {
        return;
    };
    let mut bystander = Bystander::new(&gateway);
    let mut slow: Vec<_> = (0..50).map(|_| gateway.open(V5)).collect();
    let silent = gateway.open(V5);
    let connect = Connect::new(V5, &"slow".repeat(20)).encode();
    for byte in &connect[..8] {
        for client in &mut slow {
            client.send([*byte]);
        }
        slow[0].wait_at_most(Duration::from_millis(100));
    }
    for mut client in slow.into_iter().chain([silent]) {
        client.expect_closed();
    }
    bystander.is_served();
}

/// A packet that never ends does, too.
#[test]
fn unfinished_packet_ends_with_its_deadline() {
    let Some(gateway) = TestGateway::with_limits("packet_timeout = \"1 s\"") else {
        return;
    };
    let mut bystander = Bystander::new(&gateway);
    let mut client = gateway.v5("unfinished");
    client.hex("30 7F 0003");
    while client.receive_or_end().is_some() {}
    bystander.is_served();
    let mut idle = gateway.v5("idle");
    idle.expect_silence(Duration::from_millis(1500));
    assert_eq!(
        idle.ping(),
        [],
        "an idle client is not in the middle of a packet"
    );
}
