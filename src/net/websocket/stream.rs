//! A byte stream over the frames of a WebSocket.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frame::{Control, FrameReader, append_close, append_pong, binary_header};

/// Pieces of one vectored write that are passed on at most.
const SLICES_MAX: usize = 64;

/// Bytes of pongs that may wait for a client that does not read them, before we read no more from it.
const CONTROLS_LEN_MAX: usize = 16 * 1024;

/// Normal closure (RFC 6455, 7.4.1).
const CLOSE_NORMAL: u16 = 1000;

/// The server's end of a WebSocket.
#[derive(Debug)]
pub(crate) struct WebSocketStream<C> {
    carrier: C,
    reader: FrameReader,
    /// Bytes that came together with the upgrade request.
    early: Vec<u8>,
    /// Begin of a frame that the carrier has not taken yet.
    outgoing: Vec<u8>,
    /// Control frames that may go only between two of our frames.
    controls: Vec<u8>,
    /// Content that the header of our last frame announced and that is still to come.
    frame_left: u64,
    close_sent: bool,
    peer_closed: bool,
}

impl<C: AsyncRead + AsyncWrite + Unpin> WebSocketStream<C> {
    /// A WebSocket whose upgrade has been answered; `early` is what came behind the request.
    pub(crate) fn new(carrier: C, early: Vec<u8>) -> Self {
        Self {
            carrier,
            reader: FrameReader::default(),
            early,
            outgoing: Vec::new(),
            controls: Vec::new(),
            frame_left: 0,
            close_sent: false,
            peer_closed: false,
        }
    }

    /// What carries the frames.
    pub(crate) fn carrier(&self) -> &C {
        &self.carrier
    }

    /// What carries the frames.
    pub(crate) fn carrier_mut(&mut self) -> &mut C {
        &mut self.carrier
    }

    fn poll_read_content(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            self.try_send_controls(cx)?;
            if self.peer_closed || buffer.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            if self.controls.len() > CONTROLS_LEN_MAX {
                return Poll::Pending;
            }
            let mut raw = ReadBuf::new(buffer.initialize_unfilled());
            if self.early.is_empty() {
                ready!(Pin::new(&mut self.carrier).poll_read(cx, &mut raw))?;
            } else {
                let part = self.early.len().min(raw.remaining());
                raw.put_slice(self.early.get(..part).unwrap_or_default());
                self.early.drain(..part);
                self.early.shrink_to_fit();
            }
            if raw.filled().is_empty() {
                self.peer_closed = true;
                return Poll::Ready(Ok(()));
            }
            let mut controls = Vec::new();
            let outcome = self.reader.decode(raw.filled_mut(), &mut controls);
            self.answer(controls);
            match outcome {
                Ok(0) => {}
                Ok(kept) => {
                    buffer.advance(kept);
                    self.try_send_controls(cx)?;
                    return Poll::Ready(Ok(()));
                }
                Err(fault) => {
                    self.queue_close(Some(fault.close_code()));
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, fault)));
                }
            }
        }
    }

    fn answer(&mut self, controls: Vec<Control>) {
        for control in controls {
            match control {
                Control::Ping(content) if !self.close_sent => {
                    append_pong(&content, &mut self.controls);
                }
                Control::Ping(_) => {}
                Control::Close(code) => {
                    self.peer_closed = true;
                    self.queue_close(code);
                }
            }
        }
    }

    fn queue_close(&mut self, code: Option<u16>) {
        if !self.close_sent {
            self.close_sent = true;
            append_close(code, &mut self.controls);
        }
    }

    /// Sends control frames as far as they may go and the carrier takes them.
    fn try_send_controls(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.outgoing.is_empty() && self.controls.is_empty() {
            return Ok(());
        }
        match self.poll_send_controls(cx) {
            Poll::Ready(Ok(())) => match Pin::new(&mut self.carrier).poll_flush(cx) {
                Poll::Ready(outcome) => outcome,
                Poll::Pending => Ok(()),
            },
            Poll::Ready(Err(error)) => Err(error),
            Poll::Pending => Ok(()),
        }
    }

    fn poll_send_controls(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(poll_drain(&mut self.carrier, cx, &mut self.outgoing))?;
        if self.frame_left > 0 || self.controls.is_empty() {
            return Poll::Ready(Ok(()));
        }
        self.outgoing = std::mem::take(&mut self.controls);
        poll_drain(&mut self.carrier, cx, &mut self.outgoing)
    }

    fn poll_write_content(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.close_sent && self.frame_left == 0 {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        ready!(self.poll_send_controls(cx))?;
        let mut pieces = [IoSlice::new(&[]); SLICES_MAX + 1];
        if self.frame_left > 0 {
            let count = limit_slices(slices, self.frame_left, &mut pieces).0;
            let pieces = pieces.get(..count).unwrap_or_default();
            let written = ready!(Pin::new(&mut self.carrier).poll_write_vectored(cx, pieces))?;
            self.frame_left = self.frame_left.saturating_sub(written as u64);
            return Poll::Ready(Ok(written));
        }
        let (head, body) = pieces.split_at_mut(1);
        let (count, len) = limit_slices(slices, u64::MAX, body);
        if len == 0 {
            return Poll::Ready(Ok(0));
        }
        let (header, header_len) = binary_header(len);
        let header = header.get(..header_len).unwrap_or_default();
        if let [head] = head {
            *head = IoSlice::new(header);
        }
        let pieces = pieces.get(..=count).unwrap_or_default();
        let written = ready!(Pin::new(&mut self.carrier).poll_write_vectored(cx, pieces))?;
        // From here on the frame is announced and must be completed.
        self.frame_left = len;
        match written.checked_sub(header_len) {
            Some(content) if content > 0 => {
                self.frame_left -= content as u64;
                Poll::Ready(Ok(content))
            }
            _ => {
                self.outgoing = header.get(written..).unwrap_or_default().to_vec();
                self.poll_write_content(cx, slices)
            }
        }
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocketStream<C> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.get_mut().poll_read_content(cx, buffer)
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocketStream<C> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut()
            .poll_write_content(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_write_content(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send_controls(cx))?;
        Pin::new(&mut this.carrier).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.queue_close(Some(CLOSE_NORMAL));
        ready!(this.poll_send_controls(cx))?;
        Pin::new(&mut this.carrier).poll_shutdown(cx)
    }
}

/// Copies the begin of `slices` to `into`, up to `limit` bytes; returns the number of pieces and of bytes.
fn limit_slices<'a>(
    slices: &'a [IoSlice<'a>],
    limit: u64,
    into: &mut [IoSlice<'a>],
) -> (usize, u64) {
    let mut count = 0;
    let mut len = 0;
    for (slice, place) in slices.iter().zip(into) {
        let part = usize::try_from(limit - len).map_or(slice.len(), |left| left.min(slice.len()));
        if part == 0 && len == limit {
            break;
        }
        *place = IoSlice::new(slice.get(..part).unwrap_or_default());
        count += 1;
        len += part as u64;
    }
    (count, len)
}

fn poll_drain<C: AsyncWrite + Unpin>(
    carrier: &mut C,
    cx: &mut Context<'_>,
    pending: &mut Vec<u8>,
) -> Poll<io::Result<()>> {
    while !pending.is_empty() {
        let written = ready!(Pin::new(&mut *carrier).poll_write(cx, pending))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        pending.drain(..written.min(pending.len()));
    }
    *pending = Vec::new();
    Poll::Ready(Ok(()))
}

#[cfg(test)]
mod tests;
