//! What the health gate is told: how it gets in, and where.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use crate::auth::{PROBE_USERNAME, ProbeTicket};

/// A way in that is good once and for a few seconds, and the ports to look at.
#[derive(Serialize, Deserialize)]
pub struct ProbeReport {
    /// User name of the CONNECT.
    pub username: String,
    /// Password of the CONNECT.
    secret: String,
    /// Client identifier of the CONNECT.
    pub client_id: String,
    /// The one topic to publish and subscribe to.
    pub topic: String,
    /// Every port of the configuration.
    pub ports: Vec<ProbePort>,
}

/// A port, as somebody on this machine has to know it to connect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbePort {
    /// Its name.
    pub endpoint: String,
    /// As in the status.
    pub state: String,
    /// What it waits for.
    pub detail: Option<String>,
    /// Where it accepts, if that is an address of the network.
    pub address: Option<String>,
    /// Where it accepts, if that is a file.
    pub path: Option<PathBuf>,
    /// The network interface that it is bound to.
    pub interface: Option<String>,
    /// The path to ask for, where WebSockets are spoken.
    pub websocket_path: Option<String>,
    /// Whether TLS is spoken.
    pub tls: bool,
    /// Whether a PROXY header comes first.
    pub proxy_protocol: bool,
    /// SHA-256 of the certificate that clients see, in hexadecimal.
    pub certificate_sha256: Option<String>,
    /// What is wrong with the files of the certificate, although a former one may be in use.
    pub certificate_fault: Option<String>,
}

impl ProbeReport {
    /// What a ticket lets in to.
    #[must_use]
    pub fn new(ticket: &ProbeTicket, ports: Vec<ProbePort>) -> Self {
        Self {
            username: PROBE_USERNAME.to_owned(),
            secret: (*ticket.secret).clone(),
            client_id: ticket.client_id.clone(),
            topic: ticket.topic.clone(),
            ports,
        }
    }

    /// Password of the CONNECT.
    #[must_use]
    pub fn secret(&self) -> &[u8] {
        self.secret.as_bytes()
    }
}

impl Drop for ProbeReport {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl fmt::Debug for ProbeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProbeReport")
            .field("topic", &self.topic)
            .field("ports", &self.ports)
            .finish_non_exhaustive()
    }
}
