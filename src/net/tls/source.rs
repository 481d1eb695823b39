//! The certificates of all ports: loaded when they appear, swapped when they change. The files that say whose certificates
//! clients may present are looked at together with them.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::ring::Ticketer;
use rustls::server::ProducesTickets;
use tokio::sync::{Notify, watch};
use tokio::task::spawn_blocking;
use tracing::{error, info, warn};

use super::certificate::{self, CertificateFault, CertificateSummary, Identity};
use super::watch::FolderWatch;
use super::{machine, server_config};
use crate::auth::ClientTrust;
use crate::ca::{DeviceAuthority, PortCertificates};
use crate::clock;
use crate::config::{TlsMode, TlsSettings};

/// Time between a change in a folder and the look at the files, so that whoever writes two files has written both.
const SETTLE: Duration = Duration::from_millis(100);

/// Time between two looks at the files that nothing has asked for: some file systems announce no changes.
const POLL_INTERVAL: Duration = Duration::from_secs(30);

/// The same where the addresses of the machine matter. Asking for them costs less than a tenth of a millisecond.
const ADDRESS_INTERVAL: Duration = Duration::from_secs(5);

/// The same while changes cannot be announced at all.
const POLL_INTERVAL_BLIND: Duration = Duration::from_secs(2);

/// All certificate sources in use. Ports with the same files and the same trust in clients share one.
#[derive(Debug)]
pub(crate) struct CertificateStore {
    device: Arc<DeviceAuthority>,
    sources: Mutex<Vec<Weak<CertificateSource>>>,
    changed: Notify,
}

/// Where a certificate comes from, and the newest usable one that came.
///
/// Tickets are those of one source: what a client has shown on one port is not resumed on another that trusts others.
#[derive(Debug)]
pub(crate) struct CertificateSource {
    settings: TlsSettings,
    origin: Origin,
    /// Whose certificates clients may present; they are asked for none where absent.
    trust: Option<Arc<ClientTrust>>,
    tickets: Option<Arc<dyn ProducesTickets>>,
    state: watch::Sender<SourceState>,
}

/// What has to be looked at for changes.
#[derive(Debug)]
enum Origin {
    /// Two files, as they were when they were last read.
    Files(Mutex<Option<Fingerprint>>),
    /// The authority of the gateway.
    Authority {
        /// The name of the port that the certificate is for.
        port: String,
        device: Arc<DeviceAuthority>,
        certificates: Mutex<PortCertificates>,
    },
}

/// What a source has to offer now.
#[derive(Clone, Debug, Default)]
pub(crate) struct SourceState {
    /// The settings of the TLS library, once there has been a usable certificate.
    pub(crate) config: Option<Arc<ServerConfig>>,
    /// The certificate in `config`.
    pub(crate) summary: Option<Arc<CertificateSummary>>,
    /// Why there is nothing newer; `config` may still hold what there was before.
    pub(crate) fault: Option<Arc<CertificateFault>>,
    /// When it will be renewed, in seconds since 1970; absent where that is left to somebody else.
    pub(crate) renewal_at: Option<u64>,
}

impl CertificateStore {
    /// No source yet; those with mode `Automatic` will have their certificates from this authority.
    pub(crate) fn new(device: Arc<DeviceAuthority>) -> Self {
        Self {
            device,
            sources: Mutex::default(),
            changed: Notify::default(),
        }
    }

    /// The source with these settings, for the port with this name. It has been looked at once.
    pub(crate) async fn open(
        &self,
        port: &str,
        settings: &TlsSettings,
        trust: Option<Arc<ClientTrust>>,
    ) -> Arc<CertificateSource> {
        let source = self.find_or_add(port, settings, trust);
        source.check().await;
        self.changed.notify_one();
        source
    }

    /// Looks at all files again, soon.
    pub(crate) fn check_soon(&self) {
        self.changed.notify_one();
    }

    /// Keeps all sources up to date, for ever.
    pub(crate) async fn run(&self) {
        let mut folders = FolderWatch::new()
            .inspect_err(|error| {
                warn!(%error, "changed certificates are noticed only every two seconds");
            })
            .ok();
        loop {
            let sources = self.sources();
            if let Some(folders) = &mut folders {
                let files: Vec<_> = sources.iter().flat_map(|source| source.files()).collect();
                folders.set_files(files.iter().map(PathBuf::as_path));
            }
            for source in &sources {
                source.check().await;
            }
            drop(sources);
            self.wait(&mut folders).await;
            tokio::time::sleep(SETTLE).await;
        }
    }

    async fn wait(&self, folders: &mut Option<FolderWatch>) {
        let is_automatic =
            |source: &Arc<CertificateSource>| matches!(source.origin, Origin::Authority { .. });
        let interval = match folders {
            None => POLL_INTERVAL_BLIND,
            Some(_) if self.sources().iter().any(is_automatic) => ADDRESS_INTERVAL,
            Some(_) => POLL_INTERVAL,
        };
        let mut blind = false;
        tokio::select! {
            () = self.changed.notified() => {}
            () = tokio::time::sleep(interval) => {}
            outcome = async {
                match folders {
                    Some(folders) => folders.changed().await,
                    None => std::future::pending().await,
                }
            } => blind = outcome.is_err(),
        }
        if blind {
            *folders = None;
        }
    }

    fn find_or_add(
        &self,
        port: &str,
        settings: &TlsSettings,
        trust: Option<Arc<ClientTrust>>,
    ) -> Arc<CertificateSource> {
        let mut sources = self.lock();
        sources.retain(|source| source.strong_count() > 0);
        let known = sources
            .iter()
            .filter_map(Weak::upgrade)
            .find(|source| source.is_for(port, settings, trust.as_ref()));
        known.unwrap_or_else(|| {
            let source = CertificateSource::new(port, settings.clone(), trust, &self.device);
            let source = Arc::new(source);
            sources.push(Arc::downgrade(&source));
            source
        })
    }

    fn sources(&self) -> Vec<Arc<CertificateSource>> {
        self.lock().iter().filter_map(Weak::upgrade).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<CertificateSource>>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CertificateSource {
    fn new(
        port: &str,
        settings: TlsSettings,
        trust: Option<Arc<ClientTrust>>,
        device: &Arc<DeviceAuthority>,
    ) -> Self {
        let tickets = Ticketer::new()
            .inspect_err(|error| warn!(%error, "TLS sessions cannot be resumed"))
            .ok();
        let origin = match &settings.mode {
            TlsMode::Manual { .. } => Origin::Files(Mutex::default()),
            TlsMode::Automatic(wanted) => Origin::Authority {
                port: port.to_owned(),
                device: Arc::clone(device),
                certificates: Mutex::new(PortCertificates::new(port, wanted.clone())),
            },
        };
        Self {
            settings,
            origin,
            trust,
            tickets,
            state: watch::Sender::default(),
        }
    }

    /// What the source has to offer now, and when that changes.
    pub(crate) fn subscribe(&self) -> watch::Receiver<SourceState> {
        self.state.subscribe()
    }

    /// The settings for a connection that is accepted now.
    pub(crate) fn config(&self) -> Option<Arc<ServerConfig>> {
        self.state.borrow().config.clone()
    }

    /// Whether it is the source for this port with these settings, and for the same trust in clients.
    pub(crate) fn is_for(
        &self,
        port: &str,
        settings: &TlsSettings,
        trust: Option<&Arc<ClientTrust>>,
    ) -> bool {
        let same_trust = self.trust.as_ref().map(Arc::as_ptr) == trust.map(Arc::as_ptr);
        let same_port = match &self.origin {
            Origin::Files(_) => true,
            Origin::Authority { port: own, .. } => own == port,
        };
        same_trust && same_port && self.settings == *settings
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut files = match &self.settings.mode {
            TlsMode::Manual { cert, key } => vec![cert.clone(), key.clone()],
            TlsMode::Automatic(_) => Vec::new(),
        };
        files.extend(self.trust.iter().flat_map(|trust| trust.watched()));
        files
    }

    /// Looks whether there is something newer, and takes it over.
    async fn check(self: &Arc<Self>) {
        let source = Arc::clone(self);
        // Files may be on a disk that does not answer. If the runtime is going down there is nothing to do.
        let _ = spawn_blocking(move || source.check_now()).await;
    }

    fn check_now(&self) {
        self.look_for_newer();
        // Afterwards: the first certificate of a gateway comes with the authority that clients are to be trusted by.
        if let Some(trust) = &self.trust {
            trust.refresh();
        }
    }

    fn look_for_newer(&self) {
        match (&self.origin, &self.settings.mode) {
            (Origin::Files(seen), TlsMode::Manual { cert, key }) => {
                // Held to the end, so that two looks at once cannot end in the order new, old.
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                let now = Fingerprint::of([cert, key]);
                if seen.as_ref() == Some(&now) {
                    return;
                }
                *seen = Some(now);
                match certificate::load(cert, key) {
                    Ok(identity) => self.accept(identity, &cert.display().to_string(), None),
                    Err(fault) => self.refuse(fault),
                }
            }
            (
                Origin::Authority {
                    port,
                    device,
                    certificates,
                },
                _,
            ) => {
                let mut certificates = certificates.lock().unwrap_or_else(PoisonError::into_inner);
                self.renew(port, device, &mut certificates);
            }
            (Origin::Files(_), TlsMode::Automatic(_)) => {}
        }
    }

    fn renew(&self, port: &str, device: &DeviceAuthority, certificates: &mut PortCertificates) {
        let (is_changed, renewed) = device.renew_port(certificates, &machine::names());
        if let (true, Some(held)) = (is_changed, certificates.held()) {
            match certificate::issued(held.chain(), held.key().pkcs8()) {
                Ok(identity) => self.accept(identity, port, certificates.renewal_at()),
                Err(fault) => return self.refuse(fault),
            }
        }
        let fault = renewed.err().map(|fault| CertificateFault::NotIssued {
            reason: fault.to_string(),
            hint: fault.hint().to_owned(),
        });
        let former = self.state.borrow().fault.clone();
        match fault {
            Some(fault) if former.as_deref() != Some(&fault) => self.refuse(fault),
            None if former.is_some() => self.state.send_modify(|state| state.fault = None),
            _ => {}
        }
    }

    /// Takes a certificate into use; `place` says where it is from.
    fn accept(&self, identity: Identity, place: &str, renewal_at: Option<u64>) {
        let (tickets, trust) = (self.tickets.as_ref(), self.trust.as_ref());
        let config = match server_config(&identity, self.settings.min_version, tickets, trust) {
            Ok(config) => config,
            Err(_) => {
                return self.refuse(CertificateFault::KeyUnusable { file: place.into() });
            }
        };
        let summary = identity.summary;
        for note in &summary.notes {
            warn!(certificate = %place, "{note}");
        }
        if renewal_at.is_none()
            && let Some(note) = summary.validity_note(clock::wall())
        {
            warn!(certificate = %place, subject = summary.subject, "{note}");
        }
        info!(certificate = %place, subject = summary.subject, issuer = summary.issuer, "certificate taken into use");
        self.state.send_replace(SourceState {
            config: Some(config),
            summary: Some(Arc::new(summary)),
            fault: None,
            renewal_at,
        });
    }

    fn refuse(&self, fault: CertificateFault) {
        let hint = fault.hint().unwrap_or_default();
        let has_former = self.state.borrow().config.is_some();
        match (has_former, fault.is_missing()) {
            (true, _) => error!(hint, "the former certificate stays in use: {fault}"),
            (false, true) => warn!(hint, "awaiting certificate: {fault}"),
            (false, false) => error!(hint, "awaiting a usable certificate: {fault}"),
        }
        self.state
            .send_modify(|state| state.fault = Some(Arc::new(fault)));
    }
}

/// What tells one content of the two files from another without reading them.
#[derive(Debug, PartialEq, Eq)]
struct Fingerprint([Option<[i64; 5]>; 2]);

impl Fingerprint {
    fn of(files: [&PathBuf; 2]) -> Self {
        Self(files.map(|file| {
            let file = std::fs::metadata(file).ok()?;
            Some([
                file.dev() as i64,
                file.ino() as i64,
                file.size() as i64,
                file.ctime(),
                file.ctime_nsec(),
            ])
        }))
    }
}
