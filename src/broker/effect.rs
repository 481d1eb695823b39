//! What the core asks of the shell.

use super::{ConnectionId, SessionId};

/// Something that the shell must do. Effects come in the order in which they must be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Output waits for this connection: take it with [`Broker::take_outbox`](super::Broker::take_outbox).
    Send(ConnectionId),
    /// Write what waits for this connection, then close it, then call
    /// [`Broker::handle_closed`](super::Broker::handle_closed).
    Close(ConnectionId),
    /// Do not read from this connection until [`Effect::Resume`]: a receiver of its publications is behind.
    Pause(ConnectionId),
    /// Read again from this connection, which was told to pause.
    Resume(ConnectionId),
    /// Changes wait to be stored: take them with [`Broker::take_batch`](super::Broker::take_batch), at once if
    /// [`Broker::is_store_awaited`](super::Broker::is_store_awaited).
    Store,
    /// Messages of this session are to be read from the store: see
    /// [`Broker::load_request`](super::Broker::load_request).
    Load(SessionId),
    /// Messages for this session are being dropped because a bound is reached: the first of a burst, for the journal.
    Overflow(SessionId),
    /// Clients were denied something: take what is to be said of it with
    /// [`Broker::take_denials`](super::Broker::take_denials).
    Denied,
    /// Somebody is to be asked about topics of this client: take the questions with
    /// [`Broker::take_questions`](super::Broker::take_questions).
    Ask(ConnectionId),
}

/// What the link does after a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Decode the next packet.
    Continue,
    /// Stop reading until [`Effect::Resume`]: a receiver of this publisher is behind.
    Pause,
    /// The packet was not handled: hand it over again when the questions of [`Effect::Ask`] are answered.
    Ask,
    /// Handle no further packet: the connection ends.
    Close,
}
