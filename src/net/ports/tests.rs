use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rustls::version::TLS13;
use std::net::IpAddr;
use std::process::Command;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::*;
use crate::config::{Endpoint, ListenerSettings, TlsSettings};
use crate::limits::PortLimits;
use crate::net::testing::{Authority, ECDSA, Files, connect_tls};
use crate::net::websocket::client_frame;
use crate::net::{Peer, Stream};

mod certificates;
mod refusals;

/// Sends back what it gets, after a line that says who the client is; at the end of the port it says why.
#[derive(Clone, Debug)]
struct Echo;

impl Serve for Echo {
    async fn serve(self, mut stream: Stream, port: Arc<PortContext>, peer: Peer) {
        let address = peer.address.map(|address| address.to_string());
        let greeting = format!("{} {}\n", stream.transport(), address.unwrap_or_default());
        if stream.write_all(greeting.as_bytes()).await.is_err() {
            return;
        }
        let mut buffer = [0; 1024];
        loop {
            let read = tokio::select! {
                read = stream.read(&mut buffer) => read,
                reason = port.ended() => {
                    let _ = stream.write_all(format!("{reason:?}\n").as_bytes()).await;
                    break;
                }
            };
            match read {
                Ok(read @ 1..) => {
                    stream.write_all(&buffer[..read]).await.unwrap();
                    stream.flush().await.unwrap();
                }
                Ok(0) | Err(_) => return stream.finish(),
            }
        }
        stream.close(Duration::from_secs(1)).await;
    }
}

struct World {
    ports: Ports<Echo>,
    settings: Settings,
}

fn port(bind: &str) -> PortSettings {
    let mut port = Settings::default().ports().next().unwrap().clone();
    port.endpoint = Endpoint::Tcp {
        port: 0,
        bind: Some(bind.parse().unwrap()),
        interface: None,
    };
    port
}

fn tls_port(bind: &str, tls: TlsSettings) -> PortSettings {
    PortSettings {
        tls: Some(tls),
        ..port(bind)
    }
}

impl World {
    fn new() -> Self {
        Self {
            ports: Ports::new(
                Echo,
                Handle::current(),
                PassedSockets::default(),
                crate::auth::Access::for_tests(),
            ),
            settings: Settings::default(),
        }
    }

    async fn with(ports: Vec<PortSettings>) -> Self {
        let mut world = Self::new();
        world.apply(ports).await;
        world
    }

    async fn apply(&mut self, ports: Vec<PortSettings>) {
        let listener = ListenerSettings {
            ports,
            ..self.settings.listeners[0].clone()
        };
        self.settings.listeners = vec![listener];
        self.ports.apply(&self.settings).await;
    }

    fn status(&self, at: usize) -> PortStatus {
        self.ports.status().swap_remove(at)
    }

    fn address(&self, at: usize) -> SocketAddr {
        self.status(at).address.unwrap()
    }

    /// Waits until the port shows what is wanted.
    async fn wait_for(&self, at: usize, wanted: impl Fn(&PortStatus) -> bool) -> PortStatus {
        let mut shown = self.ports.lock()[at].shown.clone();
        let waiting = async {
            loop {
                let status = self.status(at);
                if wanted(&status) {
                    return status;
                }
                // Counters are not announced.
                let _ = timeout(Duration::from_millis(5), shown.changed()).await;
            }
        };
        timeout(Duration::from_secs(20), waiting)
            .await
            .unwrap_or_else(|_| panic!("not in time: {:?}", self.status(at)))
    }

    async fn connect(&self, at: usize) -> TcpStream {
        TcpStream::connect(self.address(at)).await.unwrap()
    }
}

async fn line(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        match stream.read_u8().await {
            Ok(byte) => line.push(byte),
            Err(_) => return String::from_utf8(line).unwrap() + "(end)",
        }
    }
    line.pop();
    String::from_utf8(line).unwrap()
}

/// Whether the port answers on this connection.
async fn echoes(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> bool {
    let mut answer = [0; 4];
    stream.write_all(b"ping").await.is_ok()
        && stream.read_exact(&mut answer).await.is_ok()
        && &answer == b"ping"
}

async fn is_closed(mut stream: TcpStream) -> bool {
    matches!(stream.read(&mut [0; 16]).await, Ok(0) | Err(_))
}

/// Sends a CONNECT and returns what comes back until the connection ends.
async fn answer(mut stream: TcpStream, version: u8) -> Vec<u8> {
    let mut connect = vec![0x10, 0, 0, 4, b'M', b'Q', b'T', b'T', version, 2, 0, 0];
    if version == 5 {
        connect.push(0);
    }
    connect.extend_from_slice(&[0, 1, b'c']);
    connect[1] = u8::try_from(connect.len() - 2).unwrap();
    let mut answer = Vec::new();
    // A connection that is closed at once may be reset.
    let _ = stream.write_all(&connect).await;
    let _ = stream.shutdown().await;
    let _ = stream.read_to_end(&mut answer).await;
    answer
}

/// CONNACK of version 5 with a reason code and no property.
fn connack(reason: u8) -> [u8; 5] {
    [0x20, 3, 0, reason, 0]
}

fn awaits_certificate(status: &PortStatus) -> bool {
    matches!(status.state, PortState::AwaitingCertificate { .. })
}

fn listens(status: &PortStatus) -> bool {
    status.state == PortState::Listening
}

fn files_of(authority: &Authority, name: &str) -> Files {
    let leaf = authority.issue(name);
    Files::with(&leaf.cert, &leaf.key)
}

/// Every handshake is a full one, so that each shows a certificate.
fn fresh(authority: &Authority) -> TlsConnector {
    authority.connector(&[&TLS13])
}

#[tokio::test]
async fn every_transport_is_served() {
    let authority = Authority::new("root", ECDSA);
    let files = files_of(&authority, "gw");
    let websockets = |port| PortSettings {
        protocol: Protocol::WebSockets,
        ..port
    };
    let world = World::with(vec![
        port("127.0.0.1"),
        tls_port("127.0.0.2", files.settings()),
        websockets(port("127.0.0.3")),
        websockets(tls_port("127.0.0.4", files.settings())),
    ])
    .await;
    let connector = fresh(&authority);

    let mut plain = world.connect(0).await;
    assert_eq!(
        line(&mut plain).await,
        format!("tcp {}", plain.local_addr().unwrap())
    );
    assert!(echoes(&mut plain).await);

    let mut tls = connect_tls(&connector, world.connect(1).await)
        .await
        .unwrap();
    assert!(line(&mut tls).await.starts_with("tls 127.0.0.1:"));
    assert!(echoes(&mut tls).await);

    let mut websocket = world.connect(2).await;
    assert_eq!(upgrade_and_echo(&mut websocket).await, "ws");

    let mut secure = connect_tls(&connector, world.connect(3).await)
        .await
        .unwrap();
    assert_eq!(upgrade_and_echo(&mut secure).await, "wss");

    // Whoever says goodbye is answered in the words of the transport.
    tls.shutdown().await.unwrap();
    assert_eq!(tls.read(&mut [0]).await.unwrap(), 0);
    secure
        .write_all(&client_frame(0x88, &[0x03, 0xE8]))
        .await
        .unwrap();
    let mut close = [0; 4];
    secure.read_exact(&mut close).await.unwrap();
    assert_eq!(close, [0x88, 2, 0x03, 0xE8]);
    assert_eq!(secure.read(&mut [0]).await.unwrap(), 0);
    for at in 0..4 {
        world
            .wait_for(at, |status| status.connections == 1 - at as u32 % 2)
            .await;
    }

    for at in 0..4 {
        let status = world.status(at);
        assert_eq!((status.state, status.accepted), (PortState::Listening, 1));
    }
    assert_eq!(world.ports.connections(), 2);
    assert_eq!(world.status(1).certificate.unwrap().subject, "CN=gw");
}

/// The transport that the greeting names.
async fn upgrade(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    let request = "GET /mqtt HTTP/1.1\r\nHost: gw\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(line(stream).await, "HTTP/1.1 101 Switching Protocols\r");
    while line(stream).await != "\r" {}
}

async fn upgrade_and_echo(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> String {
    upgrade(stream).await;
    let mut header = [0; 2];
    stream.read_exact(&mut header).await.unwrap();
    let mut greeting = vec![0; usize::from(header[1])];
    stream.read_exact(&mut greeting).await.unwrap();
    stream
        .write_all(&client_frame(0x82, b"ping"))
        .await
        .unwrap();
    let mut echo = [0; 6];
    stream.read_exact(&mut echo).await.unwrap();
    assert_eq!(&echo, b"\x82\x04ping");
    let greeting = String::from_utf8(greeting).unwrap();
    greeting.split_once(' ').unwrap().0.to_owned()
}

#[tokio::test]
async fn a_port_behind_a_proxy_knows_its_clients() {
    let authority = Authority::new("root", ECDSA);
    let files = files_of(&authority, "gw");
    let mut settings = tls_port("127.0.0.1", files.settings());
    settings.proxy_protocol = true;
    settings.limits.connections_per_address_max = 1;
    let world = World::with(vec![settings]).await;

    let from = async |client: &str| {
        let mut socket = world.connect(0).await;
        let header = format!("PROXY TCP4 {client} 198.51.100.1 5 8883\r\n");
        socket.write_all(header.as_bytes()).await.unwrap();
        connect_tls(&fresh(&authority), socket).await
    };
    let mut first = from("192.0.2.7").await.unwrap();
    assert_eq!(line(&mut first).await, "tls 192.0.2.7:5");
    // The bound is per client, not per proxy.
    let mut second = from("192.0.2.8").await.unwrap();
    assert_eq!(line(&mut second).await, "tls 192.0.2.8:5");
    assert!(from("192.0.2.7").await.is_err());
    let refused = world.status(0).refused;
    assert!(refused.contains(&(Refusal::AddressFull, 1)), "{refused:?}");

    let bare = world.connect(0).await;
    assert!(connect_tls(&fresh(&authority), bare).await.is_err());
    assert_eq!(world.status(0).handshakes_failed, 1);
}

#[tokio::test]
async fn connections_above_a_bound_are_closed_and_counted() {
    let mut world = World::new();
    world.settings.limits.connections_max = 2;
    world.apply(vec![port("127.0.0.1")]).await;
    let mut first = world.connect(0).await;
    let mut second = world.connect(0).await;
    line(&mut first).await;
    line(&mut second).await;
    assert_eq!(answer(world.connect(0).await, 5).await, connack(0x97));
    let refused = world.status(0).refused;
    assert!(refused.contains(&(Refusal::GatewayFull, 1)), "{refused:?}");

    // More room, but not on this port.
    world.settings.limits.connections_max = 10;
    let mut settings = port("127.0.0.1");
    settings.limits.connections_max = Some(2);
    world.apply(vec![settings]).await;
    assert_eq!(answer(world.connect(0).await, 4).await, [0x20, 2, 0, 3]);
    assert!(world.status(0).refused.contains(&(Refusal::PortFull, 1)));
    assert!(echoes(&mut first).await && echoes(&mut second).await);

    drop(first);
    world.wait_for(0, |status| status.connections == 1).await;
    line(&mut world.connect(0).await).await;
}

#[tokio::test]
async fn a_handshake_that_takes_too_long_is_ended() {
    let authority = Authority::new("root", ECDSA);
    let files = files_of(&authority, "gw");
    let mut settings = tls_port("127.0.0.1", files.settings());
    settings.limits.handshake_timeout = Duration::from_millis(50);
    let world = World::with(vec![settings]).await;
    assert!(is_closed(world.connect(0).await).await);
    world
        .wait_for(0, |status| status.handshakes_timed_out == 1)
        .await;
    let mut trickle = world.connect(0).await;
    trickle.write_all(&[0x16, 3]).await.unwrap();
    assert!(is_closed(trickle).await);
    world.wait_for(0, |status| status.connections == 0).await;
}

#[tokio::test]
async fn an_address_in_use_is_tried_again() {
    // Below those that the kernel gives to others, who could have it before the port tries again.
    let first = 12_000 + u16::try_from(std::process::id() % 4_000).unwrap();
    let taken = (first..18_000)
        .find_map(|number| std::net::TcpListener::bind(("127.0.0.1", number)).ok())
        .unwrap();
    let mut settings = port("127.0.0.1");
    settings.endpoint = Endpoint::Tcp {
        port: taken.local_addr().unwrap().port(),
        bind: Some(IpAddr::from([127, 0, 0, 1])),
        interface: None,
    };
    let world = World::with(vec![settings, port("127.0.0.2")]).await;
    let PortState::AwaitingAddress { reason } = world.status(0).state else {
        panic!("{:?}", world.status(0));
    };
    assert_eq!(reason, "the address is in use by another program");
    line(&mut world.connect(1).await).await;
    drop(taken);
    world.wait_for(0, listens).await;
    line(&mut world.connect(0).await).await;
}

#[tokio::test]
async fn a_change_touches_only_whom_it_concerns() {
    let mut world = World::with(vec![
        port("127.0.0.1"),
        port("127.0.0.2"),
        port("127.0.0.3"),
    ])
    .await;
    let mut clients = [
        world.connect(0).await,
        world.connect(1).await,
        world.connect(2).await,
    ];
    for client in &mut clients {
        line(client).await;
    }
    let [mut unchanged, mut changed, mut removed] = clients;
    let before = [world.address(0), world.address(1)];

    let limits = PortLimits {
        connections_max: Some(1),
        ..PortLimits::default()
    };
    let changed_port = PortSettings {
        limits,
        ..port("127.0.0.2")
    };
    world
        .apply(vec![port("127.0.0.1"), changed_port, port("127.0.0.4")])
        .await;

    assert_eq!([world.address(0), world.address(1)], before);
    assert!(echoes(&mut unchanged).await && echoes(&mut changed).await);
    assert_eq!(answer(world.connect(1).await, 5).await, connack(0x97));
    assert_eq!(line(&mut removed).await, "Removed");
    let mut fresh = world.connect(2).await;
    assert!(line(&mut fresh).await.starts_with("tcp "));
    assert_eq!(world.ports.status().len(), 3);

    // TLS cannot be put under a connection: the port is closed and opened again.
    let files = Files::empty();
    world
        .apply(vec![tls_port("127.0.0.1", files.settings())])
        .await;
    assert_eq!(line(&mut unchanged).await, "Removed");
    assert!(awaits_certificate(&world.status(0)));
}

#[tokio::test]
async fn a_stop_ends_every_link() {
    let authority = Authority::new("root", ECDSA);
    let files = files_of(&authority, "gw");
    let world = World::with(vec![
        port("127.0.0.1"),
        tls_port("127.0.0.2", files.settings()),
    ])
    .await;
    let mut client = world.connect(0).await;
    line(&mut client).await;
    // In its handshake: it is dropped, there is nothing that could be said.
    let shaking = world.connect(1).await;
    world.wait_for(1, |status| status.connections == 1).await;
    let address = world.address(0);
    tokio::join!(world.ports.stop(), async {
        assert_eq!(line(&mut client).await, "Stopping");
        drop(client);
        assert!(is_closed(shaking).await);
    });
    assert_eq!(world.ports.connections(), 0);
    assert!(TcpStream::connect(address).await.is_err());
    assert_eq!(world.status(0).state, PortState::Closed);
}

/// The limit of descriptors is that of the process, so this test runs in one of its own.
#[test]
fn out_of_descriptors_is_a_state_and_no_end() {
    const CHILD: &str = "FIELDGATE_TEST_DESCRIPTORS";
    if std::env::var_os(CHILD).is_none() {
        let status = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "net::ports::tests::out_of_descriptors_is_a_state_and_no_end",
            ])
            .env(CHILD, "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let world = World::with(vec![port("127.0.0.1")]).await;
        let mut first = world.connect(0).await;
        line(&mut first).await;
        // One descriptor more than there are: enough for the client's end, not for ours.
        let used = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, used, hard).unwrap();
        let mut waiting = world.connect(0).await;
        world.wait_for(0, |status| status.accept_errors >= 3).await;
        assert!(echoes(&mut first).await);
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
        line(&mut waiting).await;
        assert!(echoes(&mut waiting).await);
        assert_eq!(world.status(0).state, PortState::Listening);
    });
}
