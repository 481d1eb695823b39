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

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustls::ServerConfig;
use tokio::sync::watch;

pub use counters::{Operation, Outcome};
pub use door::DoorState;
pub use request::{Login, RequestBody, is_pkcs10, login};

use crate::auth::{Access, AuditEvent, AuditKind, UnfitCertificate};
use crate::config::EstSettings;
use attempts::Attempts;
use counters::Counters;
use door::{Door, Shown};

/// What the audit log and the guard have in place of the port.
const PORT: &str = "est";

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

    /// Writes down that a certificate was refused in the handshake, with the name that it claims.
    fn note_unfit(&self, unfit: &UnfitCertificate, address: IpAddr) {
        let subject = unfit.subject.as_deref().unwrap_or_default();
        let detail = format!("the certificate {}", unfit.reason);
        self.note(AuditKind::EnrolmentRefused, subject, address, &detail);
    }

    /// Writes down what came of an attempt. The audit log summarises what comes too often from one address.
    fn note(&self, kind: AuditKind, subject: &str, address: IpAddr, detail: &str) {
        let event = AuditEvent::new(kind, subject)
            .client(PORT, Some(address), "")
            .detail(detail);
        let event = match kind {
            AuditKind::EnrolmentAccepted => event.actor(subject),
            _ => event,
        };
        self.access.audit().note(event);
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
