//! Floor 4: enrolment over the network (EST, RFC 7030), and what everybody may have of the authority: its roots and
//! revocation lists.
//!
//! * `door`: the two addresses, bounded in everything.
//! * `respond`: from requests to answers.
//! * `enrol`: who gets a certificate.
//! * `request`: what clients send, pure.
//! * `pkcs7`: what they get, pure.
//! * `attempts`: who has to wait.
//! * `counters`: what became of requests.

mod attempts;
mod counters;
mod door;
mod enrol;
mod pkcs7;
mod request;
mod respond;

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ServerConfig;
use tokio::sync::watch;

pub use counters::{Operation, Outcome};
pub use door::DoorState;
pub use request::{Login, RequestBody, is_pkcs10, login};

use crate::auth::Access;
use crate::config::EstSettings;
use attempts::Attempts;
use counters::Counters;
use door::{Door, Shown};

/// The settings of TLS that newest connections get; `None` until there is a certificate.
pub type TlsReceiver = watch::Receiver<Option<Arc<ServerConfig>>>;

/// Serves enrolment and the public files, as the newest settings say.
#[derive(Debug)]
pub struct EstServer {
    /// Who issues, and who is let in: users, failures, bans, the audit log.
    access: Arc<Access>,
    settings: watch::Sender<EstSettings>,
    attempts: Attempts,
    counters: Counters,
    https: Shown,
    http: Shown,
}

/// Where one of the addresses stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DoorReport {
    /// The address, with the number that the system chose when the configuration says 0.
    pub address: Option<SocketAddr>,
    /// In one word.
    pub state: DoorState,
    /// Why it does not listen yet.
    pub detail: Option<String>,
}

/// What the server has to tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EstReport {
    /// Where devices enrol.
    pub https: DoorReport,
    /// Where the public files are served without TLS.
    pub http: DoorReport,
    /// Requests by operation and outcome, those that happened.
    pub requests: Vec<(Operation, Outcome, u64)>,
}

impl EstServer {
    /// One that does not serve yet.
    #[must_use]
    pub fn new(access: Arc<Access>, settings: &EstSettings) -> Self {
        Self {
            access,
            settings: watch::Sender::new(settings.clone()),
            attempts: Attempts::default(),
            counters: Counters::default(),
            https: Shown::default(),
            http: Shown::default(),
        }
    }

    /// Goes by other settings. An address that changes is left for the new one; what is being served there is finished.
    pub fn set(&self, settings: &EstSettings) {
        self.settings.send_if_modified(|current| {
            let is_changed = current != settings;
            current.clone_from(settings);
            is_changed
        });
    }

    /// Serves enrolment until dropped.
    pub async fn serve_https(self: Arc<Self>, tls: TlsReceiver) {
        Door::new(self, Some(tls)).run().await;
    }

    /// Serves the public files without TLS until dropped.
    pub async fn serve_http(self: Arc<Self>) {
        Door::new(self, None).run().await;
    }

    /// What is the case now.
    #[must_use]
    pub fn report(&self) -> EstReport {
        EstReport {
            https: self.https.report(),
            http: self.http.report(),
            requests: self.counters.all(),
        }
    }
}
