//! The inner way of the health gate: a connection to the control socket that has become one of MQTT.

use std::sync::Arc;

use tokio::net::UnixStream;

use super::hub::Hub;
use super::port::PortContext;
use super::{Peer, link};
use crate::auth::Access;
use crate::config::Settings;

/// Serves a probe until it goes. Nobody without a ticket is let in.
pub async fn serve_probe(stream: UnixStream, access: &Arc<Access>, hub: Arc<Hub>) {
    let settings = Settings::default();
    if let Some(settings) = settings.ports().next() {
        let port = Arc::new(PortContext::for_probes(settings, access));
        link::serve(stream.into(), port, Peer::default(), hub).await;
    }
}
