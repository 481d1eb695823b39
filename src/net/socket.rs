//! A connected socket: TCP or Unix.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use nix::sys::socket::{MsgFlags, recv};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// Implements the traits of a byte stream for an enum each of whose variants holds one.
macro_rules! delegate_io {
    ($type:ident { $($variant:ident),* }) => {
        impl AsyncRead for $type {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffer: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $(Self::$variant(stream) => Pin::new(stream).poll_read(cx, buffer),)*
                }
            }
        }

        impl AsyncWrite for $type {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    $(Self::$variant(stream) => Pin::new(stream).poll_write(cx, bytes),)*
                }
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                slices: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    $(Self::$variant(stream) => Pin::new(stream).poll_write_vectored(cx, slices),)*
                }
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $(Self::$variant(stream) => Pin::new(stream).poll_flush(cx),)*
                }
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    $(Self::$variant(stream) => Pin::new(stream).poll_shutdown(cx),)*
                }
            }
        }
    };
}

pub(super) use delegate_io;

/// The socket below every transport.
#[derive(Debug)]
pub(crate) enum Socket {
    /// Over IPv4 or IPv6.
    Tcp(TcpStream),
    /// On this machine.
    Unix(UnixStream),
}

impl Socket {
    /// Takes one read's worth of bytes into `buffer`. `Ok(0)` is the end of the stream.
    pub(crate) fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut read = ReadBuf::new(buffer);
        ready!(Pin::new(self).poll_read(cx, &mut read))?;
        Poll::Ready(Ok(read.filled().len()))
    }

    /// Fills `buffer`, without taking a byte more from the socket.
    pub(crate) async fn read_exact(&self, buffer: &mut [u8]) -> io::Result<()> {
        let mut have = 0;
        while have < buffer.len() {
            let room = buffer.get_mut(have..).unwrap_or_default();
            match self.receive(room, MsgFlags::empty()).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => have += read,
            }
        }
        Ok(())
    }

    /// Copies what has come to `buffer` and leaves it in the socket. `Ok(0)` is the end of the stream.
    pub(crate) async fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.receive(buffer, MsgFlags::MSG_PEEK).await
    }

    async fn receive(&self, buffer: &mut [u8], flags: MsgFlags) -> io::Result<usize> {
        let mut attempt = |fd: RawFd| Ok(recv(fd, buffer, flags)?);
        match self {
            Self::Tcp(stream) => {
                stream
                    .async_io(Interest::READABLE, || attempt(stream.as_raw_fd()))
                    .await
            }
            Self::Unix(stream) => {
                stream
                    .async_io(Interest::READABLE, || attempt(stream.as_raw_fd()))
                    .await
            }
        }
    }

    /// Writes from the front of `pending` until it is empty, and removes what was written.
    pub(crate) fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        pending: &mut Vec<u8>,
    ) -> Poll<io::Result<()>> {
        let mut written = 0;
        let outcome = loop {
            let rest = pending.get(written..).unwrap_or_default();
            if rest.is_empty() {
                break Poll::Ready(Ok(()));
            }
            match Pin::new(&mut *self).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => break Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(n)) => written += n,
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                Poll::Pending => break Poll::Pending,
            }
        };
        pending.drain(..written.min(pending.len()));
        outcome
    }
}

delegate_io!(Socket { Tcp, Unix });
