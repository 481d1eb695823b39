//! MQTT over WebSocket (RFC 6455; MQTT 5, 6): the upgrade request, the frames, and a byte stream over them.
//!
//! Frames need not align with packets, so their content is a stream: it is unmasked in the caller's buffer as it comes,
//! and no message is ever collected. Compression is not offered.

mod frame;
mod stream;
mod upgrade;

pub use frame::FrameFault;
pub(crate) use stream::WebSocketStream;
pub use upgrade::UpgradeFault;

#[cfg(test)]
pub(crate) use frame::tests::client_frame;
