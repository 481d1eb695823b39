//! TLS over a socket, with no buffer of its own while it waits.
//!
//! The record layer works on buffers that belong to the thread: one read takes up to 64 KiB from the socket, all whole
//! records in it are decrypted there and go to the caller. Only the begin of a record whose end has not come yet, and
//! what the socket would not take, stay with the connection.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError,
    UnbufferedStatus,
};
use rustls::{HandshakeKind, ProtocolVersion, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::auth::UnfitCertificate;
use crate::net::TlsPeer;
use crate::net::scratch::{self, SCRATCH_LEN};
use crate::net::socket::Socket;

/// Plain bytes that one write takes at most.
const WRITE_LEN_MAX: usize = SCRATCH_LEN;

/// Bytes that a record adds to its content at most: header, explicit nonce, tag, content type, and some to spare.
const RECORD_OVERHEAD_MAX: usize = 64;

/// Content of a full record.
const RECORD_CONTENT_MAX: usize = 16 * 1024;

/// Encrypted bytes that may wait for the socket before reading stops: answers to a peer that only talks and never listens.
const ANSWERS_LEN_MAX: usize = 64 * 1024;

/// Bytes of an unfinished handshake message, and of an unfinished record, that one connection may make us keep.
const HELD_LEN_MAX: usize = 32 * 1024;

/// A TLS connection to a client.
pub(crate) struct TlsStream {
    socket: Socket,
    connection: UnbufferedServerConnection,
    /// The begin of a record whose end has not come yet.
    held: Vec<u8>,
    /// Decrypted bytes that the caller had no room for.
    spilled: Vec<u8>,
    /// Encrypted bytes that the socket has not taken yet.
    outgoing: Vec<u8>,
    /// Whether `outgoing` may wait for the next write: the session tickets after a handshake, which nobody waits for.
    outgoing_may_wait: bool,
    peer_closed: bool,
    close_notify_sent: bool,
    /// Whether the connection has failed. The library must not be asked anything after that: it may panic over what it has
    /// noted about records that it did not get to.
    has_failed: bool,
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

impl TlsStream {
    /// Performs the handshake. The caller sets the deadline.
    pub(crate) async fn accept(socket: Socket, config: Arc<ServerConfig>) -> io::Result<Box<Self>> {
        let connection = UnbufferedServerConnection::new(config).map_err(io::Error::other)?;
        let mut stream = Box::new(Self {
            socket,
            connection,
            held: Vec::new(),
            spilled: Vec::new(),
            outgoing: Vec::new(),
            outgoing_may_wait: false,
            peer_closed: false,
            close_notify_sent: false,
            has_failed: false,
        });
        let outcome = poll_fn(|cx| stream.poll_handshake(cx)).await;
        if let Err(error) = outcome {
            stream.send_alert().await;
            return Err(error);
        }
        Ok(stream)
    }

    /// What the handshake settled about the peer.
    pub(crate) fn peer(&self) -> TlsPeer {
        let connection = &self.connection;
        TlsPeer {
            version: match connection.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                _ => "TLSv1.3",
            },
            cipher: connection
                .negotiated_cipher_suite()
                .and_then(|suite| suite.suite().as_str())
                .unwrap_or("unknown"),
            resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
            certificates: connection
                .peer_certificates()
                .unwrap_or_default()
                .iter()
                .map(|certificate| certificate.as_ref().into())
                .collect(),
        }
    }

    /// The socket below.
    pub(crate) fn socket_mut(&mut self) -> &mut Socket {
        &mut self.socket
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.connection.is_handshaking() {
            ready!(self.socket.poll_drain(cx, &mut self.outgoing))?;
            let mut none = ReadBuf::new(&mut []);
            if !ready!(self.poll_feed(cx, &mut none))? {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        // In TLS 1.3 the client speaks last and what is left are tickets; in TLS 1.2 it waits for our last word.
        if self.connection.protocol_version() == Some(ProtocolVersion::TLSv1_3) {
            self.outgoing_may_wait = true;
            return Poll::Ready(Ok(()));
        }
        self.socket.poll_drain(cx, &mut self.outgoing)
    }

    /// Tells the peer why its handshake failed, if the socket takes it at once.
    async fn send_alert(&mut self) {
        poll_fn(|cx| {
            // A peer that does not listen learns nothing; nothing else depends on it.
            let _ = self.socket.poll_drain(cx, &mut self.outgoing);
            let _ = Pin::new(&mut self.socket).poll_shutdown(cx);
            Poll::Ready(())
        })
        .await;
    }

    /// Reads once from the socket and handles what came. False at the end of the stream.
    fn poll_feed(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<bool>> {
        if self.has_failed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        scratch::with_incoming(|scratch| {
            let held = self.held.len();
            // What fits the caller's buffer need not be copied twice; a record is read whole in any case.
            let wanted = (held + buffer.remaining().max(RECORD_CONTENT_MAX)).min(scratch.len());
            let (Some(front), true) = (scratch.get_mut(..held), held < HELD_LEN_MAX) else {
                return Poll::Ready(Err(invalid("a TLS message is too large")));
            };
            front.copy_from_slice(&self.held);
            let read = ready!(
                self.socket
                    .poll_recv(cx, scratch.get_mut(held..wanted).unwrap_or_default())
            )?;
            if read == 0 {
                return Poll::Ready(Ok(false));
            }
            let filled = scratch.get_mut(..held + read).unwrap_or_default();
            let used = self.handle_records(filled, buffer)?;
            let rest = filled.get(used..).unwrap_or_default();
            self.held.clear();
            if rest.is_empty() {
                self.held = Vec::new();
            } else {
                self.held.reserve_exact(rest.len());
                self.held.extend_from_slice(rest);
            }
            Poll::Ready(Ok(true))
        })
    }

    /// Handles all whole records at the front of `records`; returns how many bytes they were.
    fn handle_records(
        &mut self,
        records: &mut [u8],
        buffer: &mut ReadBuf<'_>,
    ) -> io::Result<usize> {
        let mut used = 0;
        loop {
            let rest = records.get_mut(used..).unwrap_or_default();
            let UnbufferedStatus { discard, state } = self.connection.process_tls_records(rest);
            used += discard;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(io::Error::other)?;
                        used += record.discard;
                        deliver(record.payload, buffer, &mut self.spilled);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(encoder)) => {
                    encode(encoder, &mut self.outgoing)?;
                    self.outgoing_may_wait = false;
                }
                Ok(ConnectionState::TransmitTlsData(transmit)) => transmit.done(),
                Ok(ConnectionState::PeerClosed) => self.peer_closed = true,
                Ok(ConnectionState::Closed) => {
                    self.peer_closed = true;
                    return Ok(used);
                }
                Ok(_) => return Ok(used),
                Err(error) => {
                    self.has_failed = true;
                    let rest = records.get_mut(used..).unwrap_or_default();
                    collect_alert(&mut self.connection, rest, &mut self.outgoing);
                    return Err(match UnfitCertificate::take_refused() {
                        Some(unfit) => io::Error::new(io::ErrorKind::InvalidData, unfit),
                        None => io::Error::new(io::ErrorKind::InvalidData, error),
                    });
                }
            }
        }
    }

    /// Encrypts `plain` onto the end of `out`.
    fn encrypt(&mut self, plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        if self.has_failed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut size = plain.len() + (plain.len() / RECORD_CONTENT_MAX + 1) * RECORD_OVERHEAD_MAX;
        loop {
            // The library has notes about the place of what it has seen and not used yet, so it must be given that again.
            let status = self.connection.process_tls_records(&mut self.held);
            let UnbufferedStatus { discard, state } = status;
            let mut is_done = false;
            match state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    let begin = out.len();
                    out.resize(begin + size, 0);
                    let room = out.get_mut(begin..).unwrap_or_default();
                    let outcome = traffic.encrypt(plain, room);
                    out.truncate(begin + *outcome.as_ref().unwrap_or(&0));
                    match outcome {
                        Ok(_) => is_done = true,
                        Err(EncryptError::InsufficientSize(InsufficientSizeError {
                            required_size,
                        })) if required_size > size => size = required_size,
                        Err(error) => return Err(io::Error::other(error)),
                    }
                }
                Ok(ConnectionState::EncodeTlsData(encoder)) => encode(encoder, out)?,
                Ok(ConnectionState::TransmitTlsData(transmit)) => transmit.done(),
                Ok(_) => return Err(io::ErrorKind::BrokenPipe.into()),
                Err(error) => {
                    self.has_failed = true;
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
            }
            self.held.drain(..discard.min(self.held.len()));
            if is_done {
                return Ok(());
            }
        }
    }

    fn poll_write_plain(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if !self.outgoing_may_wait {
            ready!(self.socket.poll_drain(cx, &mut self.outgoing))?;
        }
        self.outgoing_may_wait = false;
        scratch::with_outgoing(|records| {
            records.append(&mut self.outgoing);
            let taken = match slices {
                [only] if only.len() <= WRITE_LEN_MAX => {
                    self.encrypt(only, records)?;
                    only.len()
                }
                _ => scratch::with_incoming(|plain| {
                    let gathered = gather(slices, plain);
                    self.encrypt(gathered, records)?;
                    io::Result::Ok(gathered.len())
                })?,
            };
            if !records.is_empty() {
                let written = match Pin::new(&mut self.socket).poll_write(cx, records) {
                    Poll::Ready(Ok(written)) => written,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => 0,
                };
                self.outgoing = records.get(written..).unwrap_or_default().to_vec();
            }
            Poll::Ready(Ok(taken))
        })
    }

    fn poll_read_plain(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.spilled.is_empty() {
            let spilled = std::mem::take(&mut self.spilled);
            deliver(&spilled, buffer, &mut self.spilled);
            return Poll::Ready(Ok(()));
        }
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        while buffer.filled().len() == before && !self.peer_closed {
            self.poll_answers(cx)?;
            if self.outgoing.len() > ANSWERS_LEN_MAX {
                return Poll::Pending;
            }
            if !ready!(self.poll_feed(cx, buffer))? {
                self.peer_closed = true;
            }
        }
        // Answers to what has just been read; their waker is left if the socket is full.
        self.poll_answers(cx)?;
        Poll::Ready(Ok(()))
    }

    /// Sends what the protocol itself has to say, as far as the socket takes it.
    fn poll_answers(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.outgoing.is_empty() || self.outgoing_may_wait {
            return Ok(());
        }
        match self.socket.poll_drain(cx, &mut self.outgoing) {
            Poll::Ready(outcome) => {
                self.outgoing = Vec::new();
                outcome
            }
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.get_mut().poll_read_plain(cx, buffer)
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_write_plain(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_write_plain(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.outgoing_may_wait = false;
        ready!(this.socket.poll_drain(cx, &mut this.outgoing))?;
        this.outgoing = Vec::new();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.close_notify_sent {
            self.close_notify_sent = true;
            self.queue_close_notify();
        }
        ready!(self.as_mut().poll_flush(cx))?;
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

impl TlsStream {
    fn queue_close_notify(&mut self) {
        // What was queued before, and the bound that keeps a surprise of the library from becoming a loop.
        for _ in 0..8 {
            if self.has_failed {
                return;
            }
            match self.connection.process_tls_records(&mut self.held).state {
                Ok(ConnectionState::EncodeTlsData(encoder)) => {
                    self.has_failed = encode(encoder, &mut self.outgoing).is_err();
                }
                Ok(ConnectionState::TransmitTlsData(transmit)) => transmit.done(),
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    let begin = self.outgoing.len();
                    self.outgoing.resize(begin + 2 * RECORD_OVERHEAD_MAX, 0);
                    let room = self.outgoing.get_mut(begin..).unwrap_or_default();
                    let written = traffic.queue_close_notify(room).unwrap_or(0);
                    self.outgoing.truncate(begin + written);
                    return;
                }
                _ => return,
            }
        }
    }
}

/// Collects the alert that explains a failure to the peer. `records` is what is not used yet.
///
/// It is what is queued last. After it the library would look at records again, and fail again.
fn collect_alert(
    connection: &mut UnbufferedServerConnection,
    records: &mut [u8],
    outgoing: &mut Vec<u8>,
) {
    for _ in 0..8 {
        let begin = outgoing.len();
        match connection.process_tls_records(records).state {
            Ok(ConnectionState::EncodeTlsData(encoder)) => {
                let encoded = encode(encoder, outgoing);
                if encoded.is_err() || is_alert(outgoing.get(begin..).unwrap_or_default()) {
                    return;
                }
            }
            Ok(ConnectionState::TransmitTlsData(transmit)) => transmit.done(),
            _ => return,
        }
    }
}

/// Whether this record of ours is an alert. TLS 1.3 has it as two bytes with their type and a tag in an encrypted record, and
/// no other record is as short.
fn is_alert(record: &[u8]) -> bool {
    match record {
        [21, ..] => true,
        [23, _, _, len @ ..] => len.starts_with(&[0, 2 + 1 + 16]),
        _ => false,
    }
}

/// Hands bytes to the caller, and keeps what it has no room for.
fn deliver(payload: &[u8], buffer: &mut ReadBuf<'_>, spilled: &mut Vec<u8>) {
    let room = match spilled.is_empty() {
        true => buffer.remaining().min(payload.len()),
        false => 0,
    };
    let (now, later) = payload.split_at(room);
    buffer.put_slice(now);
    spilled.extend_from_slice(later);
}

/// Copies as much of `slices` as fits into one piece.
fn gather<'a>(slices: &[IoSlice<'_>], into: &'a mut [u8]) -> &'a [u8] {
    let mut len = 0;
    for slice in slices {
        let room = into.get_mut(len..).unwrap_or_default();
        let part = slice.len().min(room.len());
        let (Some(room), Some(bytes)) = (room.get_mut(..part), slice.get(..part)) else {
            break;
        };
        room.copy_from_slice(bytes);
        len += part;
    }
    into.get(..len).unwrap_or_default()
}

/// Puts a message of the protocol itself onto the end of `out`.
fn encode<Data>(mut encoder: EncodeTlsData<'_, Data>, out: &mut Vec<u8>) -> io::Result<()> {
    let begin = out.len();
    let size = match encoder.encode(&mut []) {
        Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) => {
            required_size
        }
        Ok(_) => return Ok(()),
        Err(error) => return Err(io::Error::other(error)),
    };
    out.resize(begin + size, 0);
    let room = out.get_mut(begin..).unwrap_or_default();
    encoder.encode(room).map_err(io::Error::other)?;
    Ok(())
}

fn invalid(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests;
