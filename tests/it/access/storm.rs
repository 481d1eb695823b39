//! Many at once: a brute-force attack, a thousand clients after a power cut, ten thousand malformed credentials.

use std::net::TcpStream;

use super::{PASSWORD, add_user};
use crate::support::command::run_on;
use crate::support::{Connect, Received, TestClient, TestGateway, V3_1_1, V5, allow_descriptors};

/// Failed logins after which an address is banned in these tests.
const TRIES: usize = 5;

fn config(never_banned: &str) -> String {
    format!(
        r#"
[[listener]]
name = "site"
[[listener.port]]
port = 0
authentication = "people"
authorization = "none"
[authentication.people]
methods = ["password"]
[protection]
failures_per_address_max = {TRIES}
ban_time = "1 h"
never_banned = [{never_banned}]
"#
    )
}

fn gateway(never_banned: &str) -> Option<TestGateway> {
    let mut gateway = TestGateway::unstarted(&config(never_banned))?;
    add_user(&gateway.path("state"), "press-1", &[]);
    gateway.run();
    Some(gateway)
}

/// A connection from an address of loopback of its own: who is banned is an address.
fn open_from(gateway: &TestGateway, last: u8, version: crate::support::Version) -> TestClient {
    open_from_address(gateway, [127, 0, 0, last], version)
}

fn open_from_address(
    gateway: &TestGateway,
    address: [u8; 4],
    version: crate::support::Version,
) -> TestClient {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    let from: std::net::SocketAddr = (address, 0).into();
    socket.bind(&from.into()).expect("an address of loopback");
    let to: std::net::SocketAddr = ([127, 0, 0, 1], gateway.address().port()).into();
    socket.connect(&to.into()).expect("connect to the gateway");
    TestClient::new(TcpStream::from(socket), version)
}

fn good(client_id: &str) -> Connect {
    Connect::new(V5, client_id)
        .username("press-1")
        .password(PASSWORD.as_bytes())
}

#[test]
fn brute_force_is_banned_within_its_tries_and_the_others_are_served() {
    let Some(gateway) = gateway("") else { return };
    let mut other = open_from(&gateway, 7, V5);
    assert_eq!(other.connect(&good("other")).code, 0);
    let mut codes = Vec::new();
    for number in 0..TRIES + 1 {
        let mut attacker = open_from(&gateway, 66, V5);
        let guess = Connect::new(V5, "attacker").username("press-1");
        attacker.send(
            guess
                .password(format!("guess {number}").as_bytes())
                .encode(),
        );
        codes.push(match attacker.receive_or_end() {
            Some(Received::ConnAck(connack)) => connack.code,
            None => 0x8A,
            Some(other) => panic!("{other:?}"),
        });
    }
    assert_eq!(codes[..TRIES], [0x86; TRIES]);
    assert_eq!(codes[TRIES], 0x8A, "banned");

    let mut attacker = open_from(&gateway, 66, V5);
    attacker.send(good("attacker").encode());
    match attacker.receive_or_end() {
        Some(Received::ConnAck(connack)) => assert_eq!(connack.code, 0x8A),
        None => {}
        Some(other) => panic!("{other:?}"),
    }
    assert!(other.ping().is_empty(), "who is connected stays");
    let mut again = open_from(&gateway, 7, V5);
    assert_eq!(again.connect(&good("again")).code, 0, "and comes again");
    let mut neighbour = open_from(&gateway, 8, V5);
    assert_eq!(neighbour.connect(&good("neighbour")).code, 0);

    let state = gateway.path("state");
    let bans = run_on(&state, &["audit", "bans"]);
    assert!(bans.stdout.contains("127.0.0.66"), "{bans:?}");
    assert_eq!(run_on(&state, &["audit", "unban", "127.0.0.66"]).code, 0);
    let mut forgiven = open_from(&gateway, 66, V5);
    assert_eq!(forgiven.connect(&good("forgiven")).code, 0);
    let kinds = run_on(&state, &["audit", "--json"]).stdout;
    for kind in ["login-refused", "ban", "login-accepted"] {
        assert!(kinds.contains(&format!("\"{kind}\"")), "no {kind}: {kinds}");
    }
}

#[test]
fn thousand_clients_with_one_password_come_back_at_once() {
    allow_descriptors(4_000);
    let Some(gateway) = gateway("\"127.0.0.0/8\"") else {
        return;
    };
    let begin = |number: usize| {
        let mut client = open_from(&gateway, 1, V5);
        client.send(good(&format!("c{number}")).encode());
        client
    };
    let mut clients: Vec<_> = (0..1000).map(begin).collect();
    for client in &mut clients {
        assert_eq!(client.connack().code, 0);
    }
    drop(clients);
    let mut clients: Vec<_> = (0..1000).map(begin).collect();
    for client in &mut clients {
        assert_eq!(client.connack().code, 0);
    }
}

#[test]
fn ten_thousand_malformed_credentials_are_refused_and_others_are_served() {
    let Some(gateway) = gateway("\"127.0.0.0/8\"") else {
        return;
    };
    let mut other = open_from(&gateway, 7, V5);
    assert_eq!(other.connect(&good("other")).code, 0);
    let mut random = 0x2545_F491_4F6C_DD1D_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    for number in 0..10_000 {
        let version = if number % 2 == 0 { V5 } else { V3_1_1 };
        let good = Connect::new(version, "x")
            .username("press-1")
            .password(b"wrong")
            .encode();
        let mut bytes = good;
        // Flags and lengths of what stands in the packet; now and then its texts, which cost a look at the password.
        let lengths = match version {
            V5 => [9, 12, 13, 14, 16, 17, 25, 26],
            _ => [9, 9, 12, 13, 15, 16, 24, 25],
        };
        let place = match number % 100 {
            0 => bytes.len() - 1 - next() as usize % 12,
            _ => lengths[next() as usize % lengths.len()],
        };
        bytes[place] = bytes[place].wrapping_add(1 + (next() % 255) as u8);
        // Each from an address of its own, so that no answer is held back for long.
        let address = [127, 9, (number / 250) as u8, (number % 250) as u8 + 1];
        let mut client = open_from_address(&gateway, address, version);
        client.send(&bytes);
        match client.receive_or_end() {
            None | Some(Received::Disconnect(_)) => {}
            Some(Received::ConnAck(connack)) => assert_ne!(connack.code, 0, "{bytes:02x?}"),
            Some(found) => panic!("{found:?}"),
        }
        if number % 1000 == 0 {
            assert!(other.ping().is_empty());
        }
    }
    assert!(other.ping().is_empty());
}
