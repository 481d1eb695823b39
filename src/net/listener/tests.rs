use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UnixStream};

use super::*;

fn tcp(bind: Option<&str>, port: u16) -> Endpoint {
    Endpoint::Tcp {
        port,
        bind: bind.map(|address| address.parse().unwrap()),
        interface: None,
    }
}

fn unix(path: &Path, mode: u32) -> Endpoint {
    Endpoint::Unix {
        path: path.to_owned(),
        mode,
    }
}

fn open(endpoint: &Endpoint) -> Result<Listener, ListenFault> {
    Listener::open(endpoint, &PassedSockets::default())
}

#[tokio::test]
async fn every_address_is_served_in_both_families() {
    let listener = open(&tcp(None, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut families = vec!["127.0.0.1"];
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        families.push("::1");
    }
    for from in families {
        let address: IpAddr = from.parse().unwrap();
        let connecting = TcpStream::connect((address, port));
        let (client, accepted) = tokio::join!(connecting, listener.accept());
        let (_, peer) = accepted.unwrap();
        // An IPv4 client is shown as one, although the socket is of IPv6.
        assert_eq!(peer, Some(client.unwrap().local_addr().unwrap()));
    }
}

#[tokio::test]
async fn options_of_the_listening_socket_are_inherited() {
    let listener = open(&tcp(Some("127.0.0.1"), 0)).unwrap();
    let connecting = TcpStream::connect(listener.local_addr().unwrap());
    let (_client, accepted) = tokio::join!(connecting, listener.accept());
    let Ok((Socket::Tcp(stream), _)) = accepted else {
        panic!("not accepted");
    };
    let socket = SockRef::from(&stream);
    assert!(socket.tcp_nodelay().unwrap());
    assert!(socket.keepalive().unwrap());
    assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE_TIME);
}

#[tokio::test]
async fn a_port_in_use_is_a_fault() {
    let first = open(&tcp(Some("127.0.0.1"), 0)).unwrap();
    let port = first.local_addr().unwrap().port();
    for bind in [Some("127.0.0.1"), None] {
        assert!(matches!(open(&tcp(bind, port)), Err(ListenFault::InUse)));
    }
    drop(first);
    open(&tcp(Some("127.0.0.1"), port)).unwrap();
}

#[tokio::test]
async fn an_address_that_is_not_up_is_waited_for() {
    // From the block that is for documentation (RFC 5737), so that no machine has it.
    match open(&tcp(Some("192.0.2.77"), 0)) {
        Ok(mut listener) => {
            assert!(listener.needs_watch());
            let fault = listener.check_reachable().unwrap_err();
            assert_eq!(fault.to_string(), "no address 192.0.2.77 on this machine");
        }
        // Where the kernel does not let us bind in advance.
        Err(fault) => assert!(matches!(fault, ListenFault::NoAddress(_)), "{fault}"),
    }
    let mut here = open(&tcp(Some("127.0.0.1"), 0)).unwrap();
    assert!(!here.needs_watch());
    here.check_reachable().unwrap();
}

#[tokio::test]
async fn a_port_can_be_bound_to_an_interface() {
    let on = |interface: &str| {
        open(&Endpoint::Tcp {
            port: 0,
            bind: None,
            interface: Some(InterfaceName::try_from(interface).unwrap()),
        })
    };
    let fault = on("fieldgate0").unwrap_err();
    assert_eq!(
        fault.to_string(),
        "no network interface fieldgate0 on this machine"
    );
    match on("lo") {
        Ok(listener) => assert!(listener.needs_watch() && !listener.is_stale()),
        Err(fault) => assert!(matches!(fault, ListenFault::NotPermitted), "{fault}"),
    }
}

#[tokio::test]
async fn a_unix_socket_has_its_mode_and_goes_with_its_listener() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mqtt.sock");
    let listener = open(&unix(&path, 0o620)).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o620);
    Listener::set_mode(&unix(&path, 0o600)).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (client, accepted) = tokio::join!(UnixStream::connect(&path), listener.accept());
    client.unwrap().write_all(b"x").await.unwrap();
    let (socket, peer) = accepted.unwrap();
    assert_eq!(peer, None);
    socket.read_exact(&mut [0]).await.unwrap();
    drop(listener);
    assert!(!path.exists());
}

#[tokio::test]
async fn only_a_stale_socket_file_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mqtt.sock");
    // It never listens: a child that another test starts has a copy of it until it runs its program.
    let gone = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None);
    let address = socket2::SockAddr::unix(&path).unwrap();
    gone.unwrap().bind(&address).unwrap();
    assert!(path.exists());
    let first = open(&unix(&path, 0o600)).unwrap();
    assert!(matches!(open(&unix(&path, 0o600)), Err(ListenFault::InUse)));
    // Somebody else has put their own in the place.
    assert!(!first.is_stale());
    std::fs::remove_file(&path).unwrap();
    assert!(first.is_stale());
    std::fs::write(&path, "a file").unwrap();
    drop(first);
    assert!(path.exists());
    let fault = open(&unix(&path, 0o600)).unwrap_err();
    assert_eq!(fault.to_string(), "a file that is no socket is in the way");
}

#[tokio::test]
async fn sockets_of_systemd_are_found_by_name() {
    let socket = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let [one, two, other] = [socket(), socket(), socket()];
    let targets = [one.local_addr().unwrap(), two.local_addr().unwrap()];
    let passed = PassedSockets::of_test(vec![("mqtt", one), ("other", other), ("mqtt", two)]);
    assert_eq!(passed.names(), ["mqtt", "other", "mqtt"]);
    let endpoint = |name: &str| Endpoint::Systemd {
        name: name.try_into().unwrap(),
    };
    // Twice: a port that is removed and comes back gets its sockets again.
    for _ in 0..2 {
        let listener = Listener::open(&endpoint("mqtt"), &passed).unwrap();
        for target in targets {
            let (client, accepted) = tokio::join!(TcpStream::connect(target), listener.accept());
            assert_eq!(
                accepted.unwrap().1,
                Some(client.unwrap().local_addr().unwrap())
            );
        }
    }
    let fault = Listener::open(&endpoint("mqtts"), &passed).unwrap_err();
    assert!(matches!(fault, ListenFault::NotPassed));
}
