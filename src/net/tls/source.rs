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

use super::certificate::{self, CertificateFault, CertificateSummary};
use super::server_config;
use super::watch::FolderWatch;
use crate::auth::ClientTrust;
use crate::clock;
use crate::config::TlsSettings;

/// Time between a change in a folder and the look at the files, so that whoever writes two files has written both.
const SETTLE: Duration = Duration::from_millis(100);

/// Time between two looks at the files that nothing has asked for: some file systems announce no changes.
const POLL_INTERVAL: Duration = Duration::from_secs(30);

/// The same while changes cannot be announced at all.
const POLL_INTERVAL_BLIND: Duration = Duration::from_secs(2);

/// All certificate sources in use. Ports with the same settings and the same trust in clients share one.
#[derive(Debug, Default)]
pub(crate) struct CertificateStore {
    sources: Mutex<Vec<Weak<CertificateSource>>>,
    changed: Notify,
}

/// A pair of files, and the newest usable certificate that they held.
///
/// Tickets are those of one source: what a client has shown on one port is not resumed on another that trusts others.
#[derive(Debug)]
pub(crate) struct CertificateSource {
    settings: TlsSettings,
    /// Whose certificates clients may present; they are asked for none where absent.
    trust: Option<Arc<ClientTrust>>,
    tickets: Option<Arc<dyn ProducesTickets>>,
    seen: Mutex<Option<Fingerprint>>,
    state: watch::Sender<SourceState>,
}

/// What a source has to offer now.
#[derive(Clone, Debug, Default)]
pub(crate) struct SourceState {
    /// The settings of the TLS library, once there has been a usable certificate.
    pub(crate) config: Option<Arc<ServerConfig>>,
    /// The certificate in `config`.
    pub(crate) summary: Option<Arc<CertificateSummary>>,
    /// Why the files cannot be used now; `config` may still hold what they were before.
    pub(crate) fault: Option<Arc<CertificateFault>>,
}

impl CertificateStore {
    /// The source with these settings. It has looked at its files once.
    pub(crate) async fn open(
        &self,
        settings: &TlsSettings,
        trust: Option<Arc<ClientTrust>>,
    ) -> Arc<CertificateSource> {
        let source = self.find_or_add(settings, trust);
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
        let interval = match folders {
            Some(_) => POLL_INTERVAL,
            None => POLL_INTERVAL_BLIND,
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
        settings: &TlsSettings,
        trust: Option<Arc<ClientTrust>>,
    ) -> Arc<CertificateSource> {
        let mut sources = self.lock();
        sources.retain(|source| source.strong_count() > 0);
        let known = sources
            .iter()
            .filter_map(Weak::upgrade)
            .find(|source| source.is_for(settings, trust.as_ref()));
        known.unwrap_or_else(|| {
            let source = Arc::new(CertificateSource::new(settings.clone(), trust));
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
    fn new(settings: TlsSettings, trust: Option<Arc<ClientTrust>>) -> Self {
        let tickets = Ticketer::new()
            .inspect_err(|error| warn!(%error, "TLS sessions cannot be resumed"))
            .ok();
        Self {
            settings,
            trust,
            tickets,
            seen: Mutex::new(None),
            state: watch::Sender::default(),
        }
    }

    /// What the source has to offer now, and when that changes.
    pub(crate) fn subscribe(&self) -> watch::Receiver<SourceState> {
        self.state.subscribe()
    }

    /// What is wrong with the files now.
    pub(crate) fn fault(&self) -> Option<String> {
        let state = self.state.borrow();
        state.fault.as_ref().map(ToString::to_string)
    }

    /// The settings for a connection that is accepted now.
    pub(crate) fn config(&self) -> Option<Arc<ServerConfig>> {
        self.state.borrow().config.clone()
    }

    /// Whether it is the source for these settings, and for the same trust in clients.
    pub(crate) fn is_for(&self, settings: &TlsSettings, trust: Option<&Arc<ClientTrust>>) -> bool {
        let same_trust = self.trust.as_ref().map(Arc::as_ptr) == trust.map(Arc::as_ptr);
        same_trust && self.settings == *settings
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut files = vec![self.settings.cert.clone(), self.settings.key.clone()];
        files.extend(self.trust.iter().flat_map(|trust| trust.watched()));
        files
    }

    /// Looks at the files and takes them over if they have changed.
    async fn check(self: &Arc<Self>) {
        let source = Arc::clone(self);
        // Files may be on a disk that does not answer. If the runtime is going down there is nothing to do.
        let _ = spawn_blocking(move || source.check_now()).await;
    }

    fn check_now(&self) {
        if let Some(trust) = &self.trust {
            trust.refresh();
        }
        // Held to the end, so that two looks at once cannot end in the order new, old.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Fingerprint::of(&self.settings);
        if seen.as_ref() == Some(&now) {
            return;
        }
        *seen = Some(now);
        match self.load() {
            Ok((config, summary)) => self.accept(config, summary),
            Err(fault) => self.refuse(fault),
        }
    }

    fn load(&self) -> Result<(Arc<ServerConfig>, CertificateSummary), CertificateFault> {
        let TlsSettings {
            mode: _,
            cert,
            key,
            min_version,
        } = &self.settings;
        let identity = certificate::load(cert, key)?;
        let (tickets, trust) = (self.tickets.as_ref(), self.trust.as_ref());
        let config = server_config(&identity, *min_version, tickets, trust)
            .map_err(|_| CertificateFault::KeyUnusable { file: key.clone() })?;
        Ok((config, identity.summary))
    }

    fn accept(&self, config: Arc<ServerConfig>, summary: CertificateSummary) {
        let file = self.settings.cert.display();
        for note in &summary.notes {
            warn!(certificate = %file, "{note}");
        }
        if let Some(note) = summary.validity_note(clock::wall()) {
            warn!(certificate = %file, subject = summary.subject, "{note}");
        }
        info!(certificate = %file, subject = summary.subject, issuer = summary.issuer, "certificate taken into use");
        self.state.send_replace(SourceState {
            config: Some(config),
            summary: Some(Arc::new(summary)),
            fault: None,
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
    fn of(settings: &TlsSettings) -> Self {
        Self([&settings.cert, &settings.key].map(|file| {
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
