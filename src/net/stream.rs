//! One byte stream for every transport.
//!
//! A link reads and writes MQTT packets on a [`Stream`] and does not know what carries them.
//!
//! * A read goes straight into the caller's buffer; offer 64 KiB or more. A stream that waits holds no buffer.
//! * Collect everything that one turn brings and write it with one `poll_write_vectored`: over TLS it becomes full
//!   records, over WebSocket one frame.
//! * A write that took fewer bytes than it was offered must be followed by the bytes that it left: a WebSocket frame
//!   announces its length before its content.
//! * Over TLS and WebSocket a write may return before the socket has taken the last byte. `poll_flush` until it is ready,
//!   else the end stays behind. On plain sockets that costs nothing.
//! * [`Stream::close`] lets the peer read our last packet: closing a socket with unread input would reset the connection
//!   and throw that packet away. [`Stream::finish`] is for a peer that has said its last word.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::scratch;
use super::socket::{Socket, delegate_io};
use super::tls::TlsStream;
use super::websocket::WebSocketStream;

/// A connection to a client after its handshakes.
#[derive(Debug)]
pub struct Stream(Inner);

#[derive(Debug)]
enum Inner {
    Carrier(Carrier),
    WebSocket(Box<WebSocketStream<Carrier>>),
}

/// What MQTT packets or WebSocket frames travel on.
#[derive(Debug)]
pub(super) enum Carrier {
    Plain(Socket),
    Tls(Box<TlsStream>),
}

impl Carrier {
    fn socket_mut(&mut self) -> &mut Socket {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.socket_mut(),
        }
    }
}

/// What carries a [`Stream`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// A Unix socket.
    Unix,
    /// TLS.
    Tls,
    /// WebSocket over plain text.
    WebSocket,
    /// WebSocket over TLS.
    SecureWebSocket,
}

impl Transport {
    /// The word used in logs, metrics and status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Unix => "unix",
            Self::Tls => "tls",
            Self::WebSocket => "ws",
            Self::SecureWebSocket => "wss",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Carrier::Plain(Socket::Tcp(stream)).into()
    }
}

impl From<UnixStream> for Stream {
    fn from(stream: UnixStream) -> Self {
        Carrier::Plain(Socket::Unix(stream)).into()
    }
}

impl From<Carrier> for Stream {
    fn from(carrier: Carrier) -> Self {
        Self(Inner::Carrier(carrier))
    }
}

impl From<WebSocketStream<Carrier>> for Stream {
    fn from(stream: WebSocketStream<Carrier>) -> Self {
        Self(Inner::WebSocket(Box::new(stream)))
    }
}

impl Stream {
    /// What carries the stream.
    pub fn transport(&self) -> Transport {
        match &self.0 {
            Inner::Carrier(Carrier::Plain(Socket::Tcp(_))) => Transport::Tcp,
            Inner::Carrier(Carrier::Plain(Socket::Unix(_))) => Transport::Unix,
            Inner::Carrier(Carrier::Tls(_)) => Transport::Tls,
            Inner::WebSocket(stream) => match stream.carrier() {
                Carrier::Plain(_) => Transport::WebSocket,
                Carrier::Tls(_) => Transport::SecureWebSocket,
            },
        }
    }

    /// Ends the stream so that the peer gets everything that was written: flushes, says goodbye in the words of the
    /// transport, then throws away what still comes until the peer closes or `linger` is over.
    ///
    /// A peer that has already gone is no error.
    pub async fn close(mut self, linger: Duration) {
        let goodbye = async {
            if self.shutdown().await.is_ok() {
                self.discard_input().await;
            }
        };
        // Running out of time ends the same way as the peer's close: the socket is dropped.
        let _ = tokio::time::timeout(linger, goodbye).await;
    }

    /// Ends a stream whose peer has said its last word: says goodbye in the words of the transport as far as the socket
    /// takes them, and closes without waiting. With no input left to come there is nothing that could reset the
    /// connection.
    pub fn finish(mut self) {
        if matches!(self.0, Inner::Carrier(Carrier::Plain(_))) {
            return;
        }
        let mut cx = Context::from_waker(Waker::noop());
        // Whether it succeeds or would have to wait: the peer has gone or is going.
        let _ = Pin::new(&mut self).poll_shutdown(&mut cx);
    }

    async fn discard_input(&mut self) {
        poll_fn(|cx| {
            scratch::with_incoming(|buffer| {
                // Bounded per turn, so that a peer that floods does not keep the thread.
                for _ in 0..8 {
                    match self.socket_mut().poll_recv(cx, buffer) {
                        Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                        Poll::Ready(Ok(_)) => {}
                        Poll::Pending => return Poll::Pending,
                    }
                }
                cx.waker().wake_by_ref();
                Poll::Pending
            })
        })
        .await;
    }

    fn socket_mut(&mut self) -> &mut Socket {
        match &mut self.0 {
            Inner::Carrier(carrier) => carrier.socket_mut(),
            Inner::WebSocket(stream) => stream.carrier_mut().socket_mut(),
        }
    }
}

delegate_io!(Carrier { Plain, Tls });
delegate_io!(Inner { Carrier, WebSocket });

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;

    async fn tcp_pair() -> (Stream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        (accepted.unwrap().0.into(), client.unwrap())
    }

    #[tokio::test]
    async fn bytes_pass_both_ways_over_tcp() {
        let (mut stream, mut client) = tcp_pair().await;
        client.write_all(b"ping").await.unwrap();
        let mut read = [0; 16];
        let n = stream.read(&mut read).await.unwrap();
        assert_eq!(&read[..n], b"ping");
        let written = stream
            .write_vectored(&[IoSlice::new(b"po"), IoSlice::new(b"ng")])
            .await
            .unwrap();
        assert_eq!(written, 4);
        client.read_exact(&mut read[..4]).await.unwrap();
        assert_eq!(&read[..4], b"pong");
        assert_eq!(stream.transport(), Transport::Tcp);
    }

    #[tokio::test]
    async fn bytes_pass_over_a_unix_socket() {
        let (server, mut client) = UnixStream::pair().unwrap();
        let mut stream = Stream::from(server);
        stream.write_all(b"pong").await.unwrap();
        let mut read = [0; 4];
        client.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"pong");
        assert_eq!(stream.transport(), Transport::Unix);
    }

    #[tokio::test]
    async fn the_last_packet_arrives_although_input_was_left_unread() {
        let (mut stream, mut client) = tcp_pair().await;
        client.write_all(&vec![0; 100_000]).await.unwrap();
        stream.write_all(b"farewell").await.unwrap();
        let closing = tokio::spawn(stream.close(Duration::from_secs(10)));
        let mut read = Vec::new();
        client.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"farewell");
        drop(client);
        closing.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_never_closes_costs_the_linger_only() {
        let (stream, _client) = tcp_pair().await;
        stream.close(Duration::from_secs(1)).await;
    }
}
