use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::ConnectionTrafficSecrets;
use rustls::version::{TLS12, TLS13};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use super::*;
use crate::config::TlsVersion;
use crate::net::testing::{Authority, ECDSA, Files, connect_tls, tcp_pair};
use crate::net::tls::{certificate, server_config};

type Client = tokio_rustls::client::TlsStream<tokio::net::TcpStream>;

struct Server {
    authority: Authority,
    config: Arc<ServerConfig>,
}

fn server(min_version: TlsVersion) -> Server {
    let authority = Authority::new("root", ECDSA);
    let leaf = authority.issue("gw");
    let files = Files::with(&leaf.cert, &leaf.key);
    let identity = certificate::load(&files.cert(), &files.key()).unwrap();
    let tickets = rustls::crypto::ring::Ticketer::new().unwrap();
    let config = server_config(&identity, min_version, Some(&tickets), None).unwrap();
    Server { authority, config }
}

impl Server {
    async fn connect(&self, connector: &TlsConnector) -> (Box<TlsStream>, Client) {
        let (accepted, socket) = tcp_pair().await;
        let accepted = Socket::Tcp(accepted);
        let (stream, client) = tokio::join!(
            TlsStream::accept(accepted, Arc::clone(&self.config)),
            connect_tls(connector, socket)
        );
        (stream.unwrap(), client.unwrap())
    }
}

async fn pair(version: &'static rustls::SupportedProtocolVersion) -> (Box<TlsStream>, Client) {
    let server = server(TlsVersion::V1_2);
    server
        .connect(&server.authority.connector(&[version]))
        .await
}

#[tokio::test]
async fn bytes_of_any_amount_pass_both_ways() {
    for version in [&TLS12, &TLS13] {
        let (stream, client) = pair(version).await;
        let sent: Vec<u8> = (0..1_000_000_u32).map(|i| (i % 251) as u8).collect();
        let (mut client_read, mut client_write) = tokio::io::split(client);
        let (mut read, mut write) = tokio::io::split(stream);
        let mut up = vec![0; sent.len()];
        let mut down = vec![0; sent.len()];
        let (a, b, c, d) = tokio::join!(
            async {
                client_write.write_all(&sent).await?;
                client_write.flush().await
            },
            async {
                write.write_all(&sent).await?;
                write.flush().await
            },
            read.read_exact(&mut up),
            client_read.read_exact(&mut down),
        );
        a.and(b).and(c).and(d).unwrap();
        assert!(up == sent && down == sent);
    }
}

#[tokio::test]
async fn a_small_buffer_loses_nothing() {
    let (mut stream, mut client) = pair(&TLS13).await;
    client.write_all(b"a record of some length").await.unwrap();
    client.write_all(b"!").await.unwrap();
    client.shutdown().await.unwrap();
    let mut all = Vec::new();
    loop {
        let mut one = [0; 5];
        match stream.read(&mut one).await.unwrap() {
            0 => break,
            n => all.extend_from_slice(&one[..n]),
        }
    }
    assert_eq!(all, b"a record of some length!");
}

#[tokio::test]
async fn pieces_of_one_write_become_one_record() {
    let (mut stream, mut client) = pair(&TLS13).await;
    let pieces = [
        IoSlice::new(b"one "),
        IoSlice::new(b""),
        IoSlice::new(b"two"),
    ];
    assert_eq!(stream.write_vectored(&pieces).await.unwrap(), 7);
    stream.flush().await.unwrap();
    // The client hands out one record per read.
    let mut read = [0; 64];
    assert_eq!(client.read(&mut read).await.unwrap(), 7);
    assert_eq!(&read[..7], b"one two");
}

#[tokio::test]
async fn nothing_is_kept_while_waiting() {
    let (mut stream, mut client) = pair(&TLS13).await;
    client.write_all(&[7; 30_000]).await.unwrap();
    let mut read = vec![0; 64 * 1024];
    let mut have = 0;
    while have < 30_000 {
        have += stream.read(&mut read).await.unwrap();
    }
    stream.write_all(&[7; 30_000]).await.unwrap();
    stream.flush().await.unwrap();
    let kept = [&stream.held, &stream.spilled, &stream.outgoing].map(Vec::capacity);
    assert_eq!(kept, [0, 0, 0]);
}

#[tokio::test]
async fn a_reader_that_stops_makes_the_writer_wait() {
    let (mut stream, client) = pair(&TLS13).await;
    let block = vec![7; 64 * 1024];
    let full = poll_fn(|cx| {
        for _ in 0..1000 {
            if Pin::new(&mut *stream).poll_write(cx, &block).is_pending() {
                return Poll::Ready(true);
            }
        }
        Poll::Ready(false)
    });
    assert!(full.await);
    assert!(stream.outgoing.len() <= WRITE_LEN_MAX + 8 * RECORD_OVERHEAD_MAX);
    drop(client);
}

#[tokio::test]
async fn the_end_of_the_client_is_the_end_of_the_stream() {
    for says_goodbye in [true, false] {
        let (mut stream, mut client) = pair(&TLS13).await;
        client.write_all(b"last").await.unwrap();
        if says_goodbye {
            client.shutdown().await.unwrap();
        } else {
            client.flush().await.unwrap();
            drop(client);
        }
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"last");
    }
}

#[tokio::test]
async fn our_end_is_said_before_it_happens() {
    for version in [&TLS12, &TLS13] {
        let (mut stream, mut client) = pair(version).await;
        stream.write_all(b"farewell").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut all = Vec::new();
        // An end that was not said would be an error.
        client.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"farewell");
    }
}

#[tokio::test]
async fn a_reconnect_resumes() {
    for version in [&TLS12, &TLS13] {
        let server = server(TlsVersion::V1_2);
        let connector = server.authority.connector(&[version]);
        let (mut stream, mut client) = server.connect(&connector).await;
        assert!(!stream.peer().resumed);
        // The ticket of TLS 1.3 comes with the first bytes.
        stream.write_all(b"x").await.unwrap();
        stream.flush().await.unwrap();
        client.read_exact(&mut [0]).await.unwrap();
        let (stream, _) = server.connect(&connector).await;
        assert!(stream.peer().resumed, "{version:?}");
    }
}

#[tokio::test]
async fn the_peer_is_described() {
    let (stream, _client) = pair(&TLS12).await;
    let peer = stream.peer();
    assert_eq!(peer.version, "TLSv1.2");
    assert!(peer.cipher.starts_with("TLS_ECDHE_ECDSA_WITH_"), "{peer:?}");
    assert_eq!(peer.certificates, Vec::<Box<[u8]>>::new());
    let (stream, _client) = pair(&TLS13).await;
    assert_eq!(stream.peer().version, "TLSv1.3");
}

#[tokio::test]
async fn an_old_version_gets_an_alert() {
    let server = server(TlsVersion::V1_3);
    let connector = server.authority.connector(&[&TLS12]);
    let (accepted, socket) = tcp_pair().await;
    let (stream, client) = tokio::join!(
        TlsStream::accept(Socket::Tcp(accepted), Arc::clone(&server.config)),
        connect_tls(&connector, socket)
    );
    assert!(stream.is_err());
    let error = client.unwrap_err().to_string();
    assert!(error.contains("ProtocolVersion"), "{error}");
}

#[tokio::test]
async fn what_is_no_tls_ends_the_handshake() {
    let server = server(TlsVersion::V1_2);
    for bytes in [
        &b"\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0"[..],
        b"GET / HTTP/1.1\r\n\r\n",
        &[0x16; 40_000],
    ] {
        let (accepted, mut client) = tcp_pair().await;
        client.write_all(bytes).await.unwrap();
        let stream = TlsStream::accept(Socket::Tcp(accepted), Arc::clone(&server.config)).await;
        assert!(stream.is_err());
    }
    let (accepted, client) = tcp_pair().await;
    drop(client);
    let stream = TlsStream::accept(Socket::Tcp(accepted), Arc::clone(&server.config)).await;
    assert_eq!(stream.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

/// A client that speaks TLS 1.3 by hand after the handshake.
struct Raw {
    socket: tokio::net::TcpStream,
    key: LessSafeKey,
    iv: [u8; 12],
    number: u64,
}

impl Raw {
    async fn connect() -> (Box<TlsStream>, Self) {
        let server = server(TlsVersion::V1_3);
        let connector = server.authority.connector(&[&TLS13]);
        let mut config = (**connector.config()).clone();
        config.enable_secret_extraction = true;
        let connector = TlsConnector::from(Arc::new(config));
        let (stream, client) = server.connect(&connector).await;
        let (socket, connection) = client.into_inner();
        let secrets = connection.dangerous_extract_secrets().unwrap();
        let (number, secret) = secrets.tx;
        let ConnectionTrafficSecrets::Aes128Gcm { key, iv } = secret else {
            panic!("another cipher suite");
        };
        let key = UnboundKey::new(&AES_128_GCM, key.as_ref()).unwrap();
        let raw = Self {
            socket,
            key: LessSafeKey::new(key),
            iv: iv.as_ref().try_into().unwrap(),
            number,
        };
        (stream, raw)
    }

    async fn send(&mut self, content: &[u8], kind: u8) {
        let mut record = [content, &[kind]].concat();
        let len = u16::try_from(record.len() + AES_128_GCM.tag_len()).unwrap();
        let header = [&[23, 3, 3][..], &len.to_be_bytes()].concat();
        let mut nonce = self.iv;
        for (byte, number) in nonce[4..].iter_mut().zip(self.number.to_be_bytes()) {
            *byte ^= number;
        }
        self.number += 1;
        self.key
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(&header),
                &mut record,
            )
            .unwrap();
        self.socket.write_all(&header).await.unwrap();
        self.socket.write_all(&record).await.unwrap();
    }
}

/// Content types of records.
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

#[tokio::test]
async fn a_message_of_the_protocol_may_come_in_pieces_while_we_write() {
    let (mut stream, mut client) = Raw::connect().await;
    client.send(b"one", APPLICATION_DATA).await;
    // The first byte of a KeyUpdate.
    client.send(&[24], HANDSHAKE).await;
    let mut read = [0; 16];
    assert_eq!(stream.read(&mut read).await.unwrap(), 3);
    // What is kept of the record is looked at with the next read, which does not end.
    let waits = tokio::time::timeout(Duration::from_millis(50), stream.read(&mut read)).await;
    assert!(waits.is_err());
    stream.write_all(b"answer").await.unwrap();
    stream.flush().await.unwrap();
    client.socket.read_exact(&mut read[..5]).await.unwrap();
    // The rest of it: nothing is asked for in return.
    client.send(&[0, 0, 1, 0], HANDSHAKE).await;
    let waits = tokio::time::timeout(Duration::from_millis(50), stream.read(&mut read)).await;
    assert!(waits.is_err());
    stream.write_all(b"answer").await.unwrap();
    stream.shutdown().await.unwrap();
}

#[tokio::test]
async fn after_a_failure_the_stream_only_ends() {
    let (mut stream, mut client) = Raw::connect().await;
    client.send(&[24], HANDSHAKE).await;
    // Nothing else may stand between the pieces of a message.
    client.send(b"one", APPLICATION_DATA).await;
    let mut read = [0; 16];
    assert!(stream.read(&mut read).await.is_err());
    assert!(stream.read(&mut read).await.is_err());
    assert!(stream.write_all(b"answer").await.is_err());
    stream.shutdown().await.unwrap();
}
