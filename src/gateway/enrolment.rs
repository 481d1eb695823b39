//! Enrolment over the network in a running gateway: where its certificate comes from, and what there is to report.

use std::convert::Infallible;
use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ServerConfig;
use tokio::sync::watch;

use super::serving::{Serving, certificate_report};
use crate::admin::{Alarm, EstCount, EstDoorReport, EstReport, PortReport};
use crate::auth::{Access, ClientTrust};
use crate::config::{CertificateIdentity, EstSettings, TlsSettings, TrustSource, X509Settings};
use crate::est::{DoorReport, DoorState, EstServer};
use crate::net::tls::CertificateSource;

/// What its certificate is called where ports have their names.
const NAME: &str = EstReport::NAME;

/// The server with what its TLS needs.
#[derive(Debug)]
pub(super) struct Enrolment {
    server: Arc<EstServer>,
    /// What the settings say about the certificate, while devices may enrol.
    wanted: watch::Sender<Option<TlsSettings>>,
    /// Where the certificate comes from now.
    source: Mutex<Option<Arc<CertificateSource>>>,
    tls: watch::Sender<Option<Arc<ServerConfig>>>,
    /// Devices show certificates of the gateway's own authority when they come again.
    trust: Arc<ClientTrust>,
}

impl Enrolment {
    pub(super) fn new(access: Arc<Access>, settings: &EstSettings) -> Self {
        let own_clients = X509Settings {
            trust: vec![TrustSource::DeviceCa],
            crls: Vec::new(),
            identity: CertificateIdentity::default(),
            attributes: Vec::new(),
        };
        let trust = ClientTrust::notifying(&own_clients, &access);
        Self {
            server: Arc::new(EstServer::new(access, settings)),
            wanted: watch::Sender::new(wanted_tls(settings)),
            source: Mutex::default(),
            tls: watch::Sender::new(None),
            trust: Arc::new(trust),
        }
    }

    /// Goes by other settings.
    pub(super) fn set(&self, settings: &EstSettings) {
        self.wanted.send_if_modified(|wanted| {
            let tls = wanted_tls(settings);
            let is_changed = *wanted != tls;
            *wanted = tls;
            is_changed
        });
        self.server.set(settings);
    }

    pub(super) async fn serve_https(&self) {
        let server = Arc::clone(&self.server);
        server.serve_https(self.tls.subscribe()).await;
    }

    pub(super) async fn serve_http(&self) {
        Arc::clone(&self.server).serve_http().await;
    }

    /// Looks for the certificate once, so that nobody waits for one that is there.
    pub(super) async fn prepare(&self, serving: &Serving) {
        let settings = self.wanted.borrow().clone();
        if let Some(settings) = settings {
            let source = self.open(&settings, serving).await;
            self.tls.send_replace(source.config());
        }
    }

    /// Keeps the certificate up to date.
    pub(super) async fn keep_certificate(&self, serving: &Serving) {
        let mut wanted = self.wanted.subscribe();
        loop {
            let settings = wanted.borrow_and_update().clone();
            tokio::select! {
                changed = wanted.changed() => if changed.is_err() {
                    // Nobody is left to say something else.
                    pending::<()>().await;
                },
                never = self.follow(settings, serving) => match never {}
            }
        }
    }

    /// Passes on what a source has, whenever that changes.
    async fn follow(&self, settings: Option<TlsSettings>, serving: &Serving) -> Infallible {
        let Some(settings) = settings else {
            self.note_source(None);
            self.tls.send_replace(None);
            return pending().await;
        };
        let mut state = self.open(&settings, serving).await.subscribe();
        loop {
            self.tls
                .send_replace(state.borrow_and_update().config.clone());
            if state.changed().await.is_err() {
                return pending().await;
            }
        }
    }

    async fn open(&self, settings: &TlsSettings, serving: &Serving) -> Arc<CertificateSource> {
        let trust = Arc::clone(&self.trust);
        let source = serving.open_certificate(NAME, settings, trust).await;
        self.note_source(Some(Arc::clone(&source)));
        source
    }

    fn note_source(&self, source: Option<Arc<CertificateSource>>) {
        *self.source.lock().unwrap_or_else(PoisonError::into_inner) = source;
    }

    /// The door where devices enrol as one port among others, for whoever looks at certificates.
    pub(super) fn as_port(&self, now: u64) -> PortReport {
        PortReport {
            listener: EstReport::NAME.to_owned(),
            endpoint: EstReport::NAME.to_owned(),
            certificate: self.report(now).certificate,
            ..PortReport::default()
        }
    }

    /// What is the case at a time.
    pub(super) fn report(&self, now: u64) -> EstReport {
        let report = self.server.report();
        let mut https = door_report(report.https);
        let source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        let state = source.as_ref().map(|source| source.subscribe());
        let state = state.map(|state| state.borrow().clone());
        let fault = state.as_ref().and_then(|state| state.fault.as_ref());
        if let Some(fault) = fault {
            https.detail = Some(fault.to_string());
        }
        let certificate = state.as_ref().and_then(|state| {
            let summary = state.summary.as_ref()?;
            Some(certificate_report(summary, state.renewal_at, None, now))
        });
        let requests = report.requests.into_iter();
        EstReport {
            https,
            certificate,
            http: door_report(report.http),
            requests: requests
                .map(|(operation, outcome, count)| EstCount {
                    operation: operation.word().to_owned(),
                    outcome: outcome.word().to_owned(),
                    count,
                })
                .collect(),
        }
    }
}

/// The certificate that is needed while there is an address for it.
fn wanted_tls(settings: &EstSettings) -> Option<TlsSettings> {
    settings.https.map(|_| settings.tls.clone())
}

fn door_report(report: DoorReport) -> EstDoorReport {
    EstDoorReport {
        address: report.address.map(|address| address.to_string()),
        state: report.state.word().to_owned(),
        detail: report
            .detail
            .filter(|_| report.state != DoorState::Listening),
    }
}

/// What needs attention.
pub(super) fn alarms(report: &EstReport) -> impl Iterator<Item = Alarm> {
    let doors = [
        ("enrolment", &report.https),
        ("the root certificate", &report.http),
    ];
    let notes = report
        .certificate
        .iter()
        .flat_map(|certificate| &certificate.notes);
    let notes = notes.map(|note| Alarm {
        name: "certificate".to_owned(),
        subject: EstReport::NAME.to_owned(),
        text: format!("enrolment: {note}"),
    });
    let waiting = doors.into_iter().filter_map(|(what, door)| {
        let is_serving = door.state == DoorState::Listening.word();
        if door.state == DoorState::Off.word() || (is_serving && door.detail.is_none()) {
            return None;
        }
        let address = door.address.clone().unwrap_or_default();
        let detail = door.detail.as_deref().unwrap_or_default();
        let text = match is_serving {
            true => format!("{what} on {address}: {detail}"),
            false => format!("{what} is not served on {address}: {detail}"),
        };
        Some(Alarm {
            name: "est-waiting".to_owned(),
            subject: address,
            text,
        })
    });
    waiting.chain(notes)
}

/// What is awaited, one line each.
pub(super) fn awaited(report: &EstReport) -> impl Iterator<Item = String> {
    let doors = [("enrolment", &report.https), ("the root", &report.http)];
    doors.into_iter().filter_map(|(what, door)| {
        let awaited = door.awaited()?.to_owned();
        Some(format!("{awaited} for {what}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door(state: &str, detail: Option<&str>) -> EstDoorReport {
        EstDoorReport {
            address: Some("127.0.0.1:8443".to_owned()),
            state: state.to_owned(),
            detail: detail.map(str::to_owned),
        }
    }

    #[test]
    fn what_is_awaited_is_said_and_nothing_else() {
        let fine = EstReport {
            https: door("listening", None),
            ..EstReport::default()
        };
        assert_eq!(alarms(&fine).count() + awaited(&fine).count(), 0);
        let taken = EstReport {
            http: door("awaiting-address", Some("taken")),
            ..fine
        };
        let texts: Vec<_> = alarms(&taken).map(|alarm| alarm.text).collect();
        let text = "the root certificate is not served on 127.0.0.1:8443: taken";
        assert_eq!(texts, [text]);
        assert_eq!(
            awaited(&taken).collect::<Vec<_>>(),
            ["address for the root"]
        );
        let renewal_fails = EstReport {
            https: door("listening", Some("no key")),
            ..EstReport::default()
        };
        let texts: Vec<_> = alarms(&renewal_fails).map(|alarm| alarm.text).collect();
        assert_eq!(texts, ["enrolment on 127.0.0.1:8443: no key"]);
        assert_eq!(awaited(&renewal_fails).count(), 0);
    }
}
