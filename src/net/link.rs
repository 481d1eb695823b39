//! A link serves one connection from CONNECT to close.
//!
//! It has two parts: [`serve`] takes the CONNECT and asks who the client is, which may take a while and happens once;
//! then `Link` moves bytes, which must cost little and happens always. In one turn a link reads once, hands all
//! packets of that read to the core under one lock, and writes everything that waits for its client in one go.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::asking::{self, Asking};
use super::exchange::{Reauthentication, Step};
use super::hub::{Held, Hub};
use super::port::{Ended, PortContext, PortEnd};
use super::stream::Stream;
use super::{Peer, admit, journal};
use crate::broker::{ConnectionId, Next, Outbox};
use crate::clock;
use crate::mqtt::{self, Auth, DecodeOptions, Packet, ReasonCode, Violation};

/// Bytes that one read takes at most. One buffer per thread, so that an idle connection has none.
const READ_LEN: usize = 128 * 1024;

/// A packet of which at least this much is missing is read to where it will stand, instead of through the buffer.
const DIRECT_READ_MIN: usize = 16 * 1024;

/// Pieces that one write hands over at most.
const PIECES_MAX: usize = 64;

/// How long a client may take to get the last bytes and to close after us.
const LINGER: Duration = Duration::from_secs(2);

thread_local! {
    static READ_BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Serves a client until its connection has ended.
pub async fn serve(mut stream: Stream, port: Arc<PortContext>, peer: Peer, hub: Arc<Hub>) {
    // Only the steady part stays in memory while a client is connected.
    let Some(admitted) = Box::pin(admit::admit(&mut stream, &port, &peer, &hub)).await else {
        return stream.close(LINGER).await;
    };
    let served = Served {
        hub: &hub,
        id: admitted.id,
    };
    let mut link = Link::new(stream, admitted, &port, &hub);
    let end = poll_fn(|cx| link.poll_turn(cx)).await;
    let Link {
        stream,
        id,
        disconnected,
        ..
    } = link;
    journal::log_end(&end, &hub, id, &port, &peer);
    drop(served);
    match end {
        // Nothing more comes from the client, so nothing has to be waited for.
        End::ClosedByPeer => stream.finish(),
        End::Closed if disconnected => stream.finish(),
        // A peer that broke the rules of TLS or WebSocket still listens, and is told by the alert or the close frame.
        End::Broken(error) if error.kind() != io::ErrorKind::InvalidData => {}
        _ => Box::pin(stream.close(LINGER)).await,
    }
}

/// A client that the core serves.
pub(super) struct Admitted {
    pub(super) id: ConnectionId,
    pub(super) options: DecodeOptions,
    pub(super) packet_timeout: Duration,
    pub(super) send_timeout: Duration,
    /// Bytes that came after the CONNECT.
    pub(super) left_over: Vec<u8>,
    /// For a client that may authenticate again.
    pub(super) reauthentication: Option<Box<Reauthentication>>,
}

/// Tells the core that a connection is over, also if the link fails.
struct Served<'a> {
    hub: &'a Hub,
    id: ConnectionId,
}

impl Drop for Served<'_> {
    fn drop(&mut self) {
        self.hub.closed(self.id);
    }
}

/// Why a link ends.
#[derive(Debug)]
pub(super) enum End {
    /// The core said so, or the client with DISCONNECT; everything that waited is written.
    Closed,
    /// The client closed without DISCONNECT.
    ClosedByPeer,
    /// The client took too long for a packet.
    PacketTimeout,
    /// The client took nothing of what waited for it.
    SendTimeout,
    /// The network connection failed.
    Broken(io::Error),
}

struct Link<'a> {
    stream: Stream,
    hub: &'a Hub,
    port: &'a PortContext,
    port_ended: Ended<'a>,
    id: ConnectionId,
    options: DecodeOptions,
    /// The beginning of a packet, or packets that came before a pause.
    input: Vec<u8>,
    /// What the core gave for the client, and how much of it is written.
    output: Outbox,
    written: usize,
    /// What is written and goes back to the core with the next turn.
    spent: Outbox,
    /// The core wants the client to wait, or what came before a pause is still to be handled.
    paused: bool,
    /// The core wants the client to wait.
    told_to_pause: bool,
    /// The core wants the link to come again soon.
    again: bool,
    /// More waits for the client than it may leave unread: nothing is read from it meanwhile.
    congested: bool,
    close: bool,
    /// The client has sent DISCONNECT.
    disconnected: bool,
    /// Since when a packet is incomplete, and since when the socket takes nothing.
    packet_since: Option<Instant>,
    send_since: Option<Instant>,
    packet_timeout: Duration,
    send_timeout: Duration,
    watch: Option<Pin<Box<Sleep>>>,
    reauthentication: Option<Box<Reauthentication>>,
    /// Questions about topics, if there were any.
    asking: Option<Box<Asking>>,
}

impl<'a> Link<'a> {
    fn new(stream: Stream, admitted: Admitted, port: &'a PortContext, hub: &'a Hub) -> Self {
        Self {
            stream,
            hub,
            port,
            port_ended: port.ended(),
            id: admitted.id,
            options: admitted.options,
            input: admitted.left_over,
            output: Outbox::default(),
            written: 0,
            spent: Outbox::default(),
            // What came with the CONNECT is handled in the first turn, as after a pause.
            paused: true,
            told_to_pause: false,
            again: false,
            congested: false,
            close: false,
            disconnected: false,
            packet_since: None,
            send_since: None,
            packet_timeout: admitted.packet_timeout,
            send_timeout: admitted.send_timeout,
            watch: None,
            reauthentication: admitted.reauthentication,
            asking: None,
        }
    }

    /// One turn: write what is left, read once, hand over, write again.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if let Poll::Ready(reason) = Pin::new(&mut self.port_ended).poll(cx) {
            self.end_with_port(reason);
        }
        self.poll_reauthentication(cx);
        self.poll_answers(cx);
        if let Err(error) = self.poll_write(cx) {
            return Poll::Ready(End::Broken(error));
        }
        let not_read = self.paused || self.congested;
        let more = match self.poll_input(cx) {
            Ok(more) => more,
            Err(end) => return Poll::Ready(end),
        };
        if self.awaits_authenticator() {
            self.poll_reauthentication(cx);
            if !self.awaits_authenticator() {
                cx.waker().wake_by_ref();
            }
        }
        loop {
            if let Err(error) = self.poll_write(cx) {
                return Poll::Ready(End::Broken(error));
            }
            if !self.output.is_empty() {
                break;
            }
            // Everything is written: the core learns it, and may have more.
            self.take_turn(cx, |_, _| {});
            if self.output.is_empty() {
                if self.close {
                    return Poll::Ready(End::Closed);
                }
                break;
            }
        }
        // A link that did not read has left no waker at its socket, and whatever kept it from reading may be over.
        if more || self.again || (not_read && !self.is_kept_waiting()) {
            cx.waker().wake_by_ref();
        }
        self.poll_watch(cx)
    }

    /// Reads once and hands what came to the core. Says whether more may be waiting.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        if self.close {
            return Ok(false);
        }
        if self.paused || self.congested {
            return Ok(self.resume(cx));
        }
        let missing = self.missing();
        if missing >= DIRECT_READ_MIN {
            return self.poll_direct_read(cx, missing);
        }
        READ_BUFFER.with(|buffer| {
            let mut buffer = buffer.borrow_mut();
            buffer.resize(READ_LEN, 0);
            self.poll_read_through(cx, &mut buffer)
        })
    }

    /// Reads through the buffer of the thread. A read that does not fill it has emptied the socket; the second one then
    /// only leaves the waker there, and costs no system call.
    fn poll_read_through(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Result<bool, End> {
        for first in [true, false] {
            let mut read = ReadBuf::new(buffer);
            match Pin::new(&mut self.stream).poll_read(cx, &mut read) {
                Poll::Pending => {
                    if first {
                        self.take_turn(cx, |_, _| {});
                    }
                    return Ok(false);
                }
                Poll::Ready(Err(error)) => return Err(End::Broken(error)),
                Poll::Ready(Ok(())) if read.filled().is_empty() => return Err(End::ClosedByPeer),
                Poll::Ready(Ok(())) => {
                    let filled = read.filled();
                    self.take_turn(cx, |link, held| link.handle(filled, held));
                    if filled.len() == READ_LEN || self.paused || self.close || self.congested {
                        return Ok(!self.paused && !self.congested);
                    }
                }
            }
        }
        Ok(true)
    }

    /// Reads the rest of a large packet to where its beginning is.
    fn poll_direct_read(&mut self, cx: &mut Context<'_>, missing: usize) -> Result<bool, End> {
        // Never more than came before: a length that is only announced costs no memory.
        let room = missing.min(self.input.len().max(READ_LEN));
        self.input.reserve_exact(room);
        let read = pin!(self.stream.read_buf(&mut self.input)).poll(cx);
        match read {
            Poll::Pending => {
                self.take_turn(cx, |_, _| {});
                Ok(false)
            }
            Poll::Ready(Err(error)) => Err(End::Broken(error)),
            Poll::Ready(Ok(0)) => Err(End::ClosedByPeer),
            Poll::Ready(Ok(count)) => {
                self.take_turn(cx, |link, held| {
                    held.broker.note_received(count);
                    if !link.input_is_partial() {
                        let input = std::mem::take(&mut link.input);
                        link.decode_all(&input, held);
                    }
                });
                Ok(true)
            }
        }
    }

    /// After a pause: handles what had come before it.
    fn resume(&mut self, cx: &mut Context<'_>) -> bool {
        self.take_turn(cx, |link, held| {
            let waits = link.awaits_authenticator() || link.awaits_answers();
            if !held.paused && !held.congested && !waits && !link.close {
                link.paused = false;
                if let Some(asking) = &mut link.asking {
                    // In one turn with the packet, or they may be good no more.
                    let answers = asking.take_answers();
                    asking::tell(held.broker, link.id, &answers, held.now);
                }
                let input = std::mem::take(&mut link.input);
                link.decode_all(&input, held);
            }
        });
        !self.paused && !self.congested
    }

    /// Whether something still keeps the link from reading.
    fn is_kept_waiting(&self) -> bool {
        self.told_to_pause
            || self.congested
            || self.close
            || self.awaits_authenticator()
            || self.awaits_answers()
    }

    /// Whether a step of a re-authentication is with the authenticator; what the client sends meanwhile waits.
    fn awaits_authenticator(&self) -> bool {
        let pending = self.reauthentication.as_ref();
        pending.is_some_and(|pending| pending.is_asked())
    }

    /// Whether a packet of the client waits for answers about its topics; what comes after it waits as well.
    fn awaits_answers(&self) -> bool {
        let asking = self.asking.as_ref();
        asking.is_some_and(|asking| asking.awaits_answers())
    }

    /// Takes answers that have come since the last turn.
    fn poll_answers(&mut self, cx: &mut Context<'_>) {
        if let Some(asking) = &mut self.asking {
            let answers = asking.poll(cx);
            if !answers.is_empty() {
                let id = self.id;
                self.hub
                    .with(|broker, now| asking::tell(broker, id, &answers, now));
            }
        }
    }

    /// Tells the client what the authenticator said.
    fn poll_reauthentication(&mut self, cx: &mut Context<'_>) {
        let Some(Poll::Ready(step)) = self.reauthentication.as_mut().map(|r| r.poll_step(cx))
        else {
            return;
        };
        self.hub.with(|broker, now| match &step {
            Step::Done(acceptance) => {
                broker.send_auth(self.id, ReasonCode::Success, acceptance.data.as_deref());
                let expires_at = self.hub.timestamp(acceptance.expires_at);
                broker.handle_reauthenticated(self.id, expires_at);
                let principal = Arc::clone(&acceptance.principal);
                broker.handle_principal_changed(self.id, principal, now);
            }
            Step::Challenge(data) => {
                broker.send_auth(self.id, ReasonCode::ContinueAuthentication, data.as_deref());
            }
            Step::Refused(reason) => {
                broker.disconnect(self.id, *reason, "The client was not authenticated again");
            }
        });
    }

    /// Takes an AUTH from the client; whatever comes after it waits for the answer.
    fn handle_auth(&mut self, auth: &Auth<'_>, held: &mut Held<'_>) -> Result<Next, Violation> {
        let result = match &mut self.reauthentication {
            Some(reauthentication) => reauthentication.handle_auth(auth),
            None => Err(Violation::AuthWithoutMethod),
        };
        match result {
            Ok(()) => Ok(Next::Pause),
            Err(violation) => {
                held.broker.handle_violation(self.id, violation);
                Err(violation)
            }
        }
    }

    /// Goes to the core: `work` hands packets over, then the link takes what waits for it if it has written the rest.
    fn take_turn(&mut self, cx: &Context<'_>, work: impl FnOnce(&mut Self, &mut Held<'_>)) {
        let hub = self.hub;
        let take = self.output.is_empty();
        let spent = std::mem::take(&mut self.spent);
        let turn = hub.turn(self.id, take, cx, |mut held| {
            held.broker.return_outbox(spent);
            work(self, &mut held);
        });
        if take {
            self.output = turn.outbox;
            self.written = 0;
        }
        self.close |= turn.close;
        self.told_to_pause = turn.paused;
        self.paused |= turn.paused;
        self.congested = turn.congested;
        self.again = turn.again;
        if let Some(inquiry) = turn.inquiry {
            let asking = self.asking.get_or_insert_default();
            asking.take(inquiry, self.port);
            // They are asked at the beginning of the next turn.
            cx.waker().wake_by_ref();
        }
    }

    /// Hands bytes that were read to the core, completing the packet that came in part before.
    fn handle(&mut self, mut bytes: &[u8], held: &mut Held<'_>) {
        held.broker.note_received(bytes.len());
        if !self.input.is_empty() {
            while self.missing() > 0 {
                let count = self.missing().min(bytes.len());
                let Some((head, tail)) = bytes.split_at_checked(count).filter(|_| count > 0) else {
                    return;
                };
                self.input.extend_from_slice(head);
                bytes = tail;
            }
            let input = std::mem::take(&mut self.input);
            self.decode_all(&input, held);
            if self.paused || self.close {
                self.input.extend_from_slice(bytes);
                return;
            }
        }
        self.decode_all(bytes, held);
    }

    /// Decodes packets and hands them to the core until the bytes are used up or the core says stop.
    fn decode_all(&mut self, mut bytes: &[u8], held: &mut Held<'_>) {
        self.packet_since = None;
        while !bytes.is_empty() {
            let packet_on = bytes;
            let next = match mqtt::decode(bytes, &self.options) {
                Ok(Some((packet, used))) => {
                    bytes = bytes.get(used..).unwrap_or_default();
                    match &packet {
                        Packet::Auth(auth) => self.handle_auth(auth, held),
                        Packet::Disconnect(_) => {
                            self.disconnected = true;
                            held.broker.handle_packet(self.id, &packet, held.now)
                        }
                        _ => held.broker.handle_packet(self.id, &packet, held.now),
                    }
                }
                Ok(None) => {
                    self.input.extend_from_slice(bytes);
                    self.packet_since = Some(now());
                    return;
                }
                Err(violation) => {
                    held.broker.handle_violation(self.id, violation);
                    Err(violation)
                }
            };
            match next {
                Ok(Next::Continue) => {}
                Ok(Next::Pause) => {
                    self.paused = true;
                    self.input.extend_from_slice(bytes);
                    return;
                }
                Ok(Next::Ask) => {
                    self.paused = true;
                    self.input.extend_from_slice(packet_on);
                    return;
                }
                Ok(Next::Close) | Err(_) => {
                    self.close = true;
                    return;
                }
            }
        }
    }

    /// Bytes that the packet at the front of the input still lacks; at least 1 while its length is not known.
    fn missing(&self) -> usize {
        let max = usize::try_from(self.options.max_packet_size).unwrap_or(usize::MAX);
        match mqtt::packet_len(&self.input) {
            Ok(Some(len)) if len <= max => len.saturating_sub(self.input.len()),
            Ok(None) => 1,
            // The decoder will say what is wrong.
            Ok(Some(_)) | Err(_) => 0,
        }
    }

    fn input_is_partial(&self) -> bool {
        self.missing() > 0
    }

    /// Writes as much as the socket takes.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while !self.output.is_empty() {
            let count = match self.write_once(cx) {
                Poll::Pending => {
                    self.send_since.get_or_insert_with(now);
                    return Ok(());
                }
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => count,
                Poll::Ready(Err(error)) => return Err(error),
            };
            self.written += count;
            self.send_since = None;
            if self.written >= self.output.len() {
                self.spent = std::mem::take(&mut self.output);
                self.written = 0;
            }
        }
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Ready(result) => result,
            Poll::Pending => {
                self.send_since.get_or_insert_with(now);
                Ok(())
            }
        }
    }

    fn write_once(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let stream = Pin::new(&mut self.stream);
        let mut skip = self.written;
        let mut pieces = [IoSlice::new(&[]); PIECES_MAX];
        let mut count = 0;
        for piece in self.output.pieces() {
            if skip >= piece.len() {
                skip -= piece.len();
                continue;
            }
            let Some(slot) = pieces.get_mut(count) else {
                break;
            };
            *slot = IoSlice::new(piece.get(skip..).unwrap_or_default());
            skip = 0;
            count += 1;
        }
        match pieces.get(..count) {
            Some([one]) => stream.poll_write(cx, one),
            pieces => stream.poll_write_vectored(cx, pieces.unwrap_or_default()),
        }
    }

    /// Ends the link if the client has taken too long for a packet or for what waits for it.
    fn poll_watch(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            let packet = self.packet_since.map(|since| since + self.packet_timeout);
            let send = self.send_since.map(|since| since + self.send_timeout);
            let Some(first) = [packet, send].into_iter().flatten().min() else {
                // An alarm that is set may go off once in vain; that costs less than setting it for every packet.
                if let Some(watch) = &mut self.watch
                    && watch.as_mut().poll(cx).is_ready()
                {
                    self.watch = None;
                }
                return Poll::Pending;
            };
            let watch = self
                .watch
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(first)));
            if watch.deadline() > first {
                watch.as_mut().reset(first);
            }
            ready!(watch.as_mut().poll(cx));
            let now = now();
            if packet.is_some_and(|at| at <= now) {
                return Poll::Ready(End::PacketTimeout);
            }
            if send.is_some_and(|at| at <= now) {
                return Poll::Ready(End::SendTimeout);
            }
            watch.as_mut().reset(first);
        }
    }

    /// The port is closed: the client is told, and the link ends.
    fn end_with_port(&mut self, reason: PortEnd) {
        let (reason, text) = match reason {
            PortEnd::Removed => (
                ReasonCode::AdministrativeAction,
                "The port is no longer served",
            ),
            PortEnd::Stopping => (ReasonCode::ServerShuttingDown, "The gateway stops"),
        };
        self.hub
            .with(|broker, _| broker.disconnect(self.id, reason, text));
    }
}

fn now() -> Instant {
    clock::now().into()
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
