use std::future::poll_fn;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::spawn_blocking;
use tungstenite::client::IntoClientRequest;
use tungstenite::{Bytes, Message};

use super::super::frame::tests::client_frame;
use super::*;
use crate::net::testing::tcp_pair;

fn pair(size: usize) -> (WebSocketStream<DuplexStream>, DuplexStream) {
    let (server, client) = tokio::io::duplex(size);
    (WebSocketStream::new(server, Vec::new()), client)
}

#[tokio::test]
async fn packets_need_not_align_with_frames() {
    let (mut stream, mut client) = pair(4096);
    let frames = [
        client_frame(0x82, b"\x30"),
        client_frame(0x02, b"\x03\0\x01"),
        client_frame(0x80, b"a\xC0\0\xC0"),
        client_frame(0x82, b""),
        client_frame(0x82, b"\0"),
    ];
    client.write_all(&frames.concat()).await.unwrap();
    let mut read = [0; 8];
    stream.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"\x30\x03\0\x01a\xC0\0\xC0");
    stream.read_exact(&mut read[..1]).await.unwrap();
    assert_eq!(read[0], 0);
}

#[tokio::test]
async fn bytes_behind_the_request_are_not_lost() {
    let (server, mut client) = tokio::io::duplex(4096);
    let early = client_frame(0x82, b"early");
    let mut stream = WebSocketStream::new(server, early);
    client
        .write_all(&client_frame(0x82, b" and late"))
        .await
        .unwrap();
    let mut read = [0; 14];
    stream.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"early and late");
}

#[tokio::test]
async fn a_write_is_one_frame_even_if_it_goes_out_in_pieces() {
    // Room for fewer bytes than the header has.
    let (mut stream, mut client) = pair(3);
    let content = [7; 1000];
    let writing = async {
        let pieces = [IoSlice::new(&content[..400]), IoSlice::new(&content[400..])];
        let mut written = stream.write_vectored(&pieces).await.unwrap();
        while written < content.len() {
            written += stream.write(&content[written..]).await.unwrap();
        }
        stream.flush().await.unwrap();
    };
    let mut frame = [0; 1004];
    let (_, read) = tokio::join!(writing, client.read_exact(&mut frame));
    read.unwrap();
    assert_eq!(frame[..4], [0x82, 126, 3, 232]);
    assert_eq!(frame[4..], content);
}

#[tokio::test]
async fn a_ping_is_answered_between_two_frames() {
    let (mut stream, mut client) = pair(5);
    // A frame of ours is under way, and its client wants to know whether we are there.
    assert_eq!(stream.write(b"12345678").await.unwrap(), 3);
    let ping = client_frame(0x89, b"?");
    let (head, tail) = ping.split_at(5);
    client.write_all(head).await.unwrap();
    let mut none = [0; 1];
    let mut poll_read = async |stream: &mut WebSocketStream<_>| {
        poll_fn(|cx| {
            let mut buffer = ReadBuf::new(&mut none);
            Poll::Ready(
                Pin::new(&mut *stream)
                    .poll_read(cx, &mut buffer)
                    .is_pending(),
            )
        })
        .await
    };
    assert!(poll_read(&mut stream).await);
    client.write_all(tail).await.unwrap();
    assert!(poll_read(&mut stream).await);
    let rest = async {
        stream.write_all(b"45678").await.unwrap();
        stream.flush().await.unwrap();
    };
    let mut read = [0; 13];
    let (_, outcome) = tokio::join!(rest, client.read_exact(&mut read));
    outcome.unwrap();
    assert_eq!(&read, b"\x82\x0812345678\x8a\x01?");
}

#[tokio::test(start_paused = true)]
async fn pings_of_a_client_that_reads_nothing_have_a_bound() {
    let (mut stream, mut client) = pair(64);
    let flood = async {
        let ping = client_frame(0x89, &[b'?'; 125]);
        loop {
            client.write_all(&ping).await.unwrap();
        }
    };
    let mut one = [0; 4096];
    tokio::select! {
        () = flood => {}
        _ = stream.read(&mut one) => panic!("there is nothing to read"),
        () = tokio::time::sleep(std::time::Duration::from_secs(1)) => {}
    }
    let waiting = stream.controls.len() + stream.outgoing.len();
    assert!(waiting <= 2 * (CONTROLS_LEN_MAX + 4096), "{waiting}");
}

#[tokio::test]
async fn a_text_frame_closes_with_its_code() {
    let (mut stream, mut client) = pair(4096);
    client
        .write_all(&client_frame(0x81, b"text"))
        .await
        .unwrap();
    let mut read = [0; 16];
    let error = stream.read(&mut read).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, [0x88, 2, 0x03, 0xEB]);
}

#[tokio::test]
async fn a_close_is_echoed_and_ends_the_stream() {
    let (mut stream, mut client) = pair(4096);
    let frames = [
        client_frame(0x82, b"last"),
        client_frame(0x88, &[0x03, 0xE9]),
    ];
    client.write_all(&frames.concat()).await.unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, b"last");
    let error = stream.write(b"more").await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, [0x88, 2, 0x03, 0xE9]);
}

/// Another implementation, so that an error here cannot hide behind the same error in the test.
#[tokio::test]
async fn a_foreign_client_is_served() {
    let (server, client) = tcp_pair().await;
    let client = client.into_std().unwrap();
    client.set_nonblocking(false).unwrap();
    let client = spawn_blocking(move || {
        let mut request = "ws://localhost/mqtt".into_client_request().unwrap();
        request
            .headers_mut()
            .insert("Sec-WebSocket-Protocol", "mqtt".parse().unwrap());
        let (mut socket, response) = tungstenite::client(request, client).unwrap();
        assert_eq!(response.headers()["Sec-WebSocket-Protocol"], "mqtt");
        socket
            .send(Message::Binary(Bytes::from(vec![7; 200_000])))
            .unwrap();
        socket.send(Message::Ping("?".into())).unwrap();
        let echo = socket.read().unwrap();
        let pong = socket.read().unwrap();
        socket.send(Message::Binary("!".into())).unwrap();
        let end = loop {
            if let Message::Close(frame) = socket.read().unwrap() {
                break frame;
            }
        };
        (
            echo.into_data().len(),
            pong,
            end.map(|frame| u16::from(frame.code)),
        )
    });
    let mut stream = WebSocketStream::accept(server, Some("/mqtt"))
        .await
        .unwrap();
    let mut read = vec![0; 200_000];
    stream.read_exact(&mut read).await.unwrap();
    assert_eq!(read, [7; 200_000]);
    assert_eq!(stream.write(b"echo").await.unwrap(), 4);
    stream.flush().await.unwrap();
    // Reading on is what answers the ping.
    assert_eq!(stream.read(&mut read).await.unwrap(), 1);
    stream.shutdown().await.unwrap();
    let (echo, pong, end) = client.await.unwrap();
    assert_eq!(echo, 4);
    assert_eq!(pong, Message::Pong("?".into()));
    assert_eq!(end, Some(1000));
}
