//! Whom a port trusts to issue certificates of clients, as the newest files say.

use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use tokio::sync::{Notify, watch};
use tracing::{info, warn};

use super::anchors::{Anchors, CERTIFICATES, Path};
use super::crl::{REVOCATION_LISTS, RevocationList};
use super::files::Place;
use super::identity::{shown, shown_subject};
use super::moment::Moment;
use super::unfit::{UnfitCertificate, UnfitReason};
use crate::auth::Access;
use crate::ca::DeviceAuthority;
use crate::clock;
use crate::config::{TrustSource, X509Settings};
use crate::store::CertificateRecord;

/// Where the authority of this gateway has its certificates and its revocation list, below the state folder.
///
/// Its issuers and not its roots: one that was imported has others beside it below the root of the company.
const DEVICE_CA_FILE: &str = "ca/issuers.pem";
const DEVICE_CA_LIST: &str = "ca/crl.pem";

/// Whose certificates are trusted, and which of them are revoked, as the newest files say.
///
/// It trusts nobody until the first [`Self::refresh`], which whoever opens a port does. After that it is never without an
/// opinion: what cannot be read leaves in force what was read before.
#[derive(Debug)]
pub struct ClientTrust {
    files: Mutex<Files>,
    loaded: RwLock<Option<Arc<Loaded>>>,
    generation: watch::Sender<u64>,
    changed: Arc<Notify>,
    /// Knows what it has issued, and what time it is.
    device: Option<Arc<DeviceAuthority>>,
}

#[derive(Debug)]
struct Files {
    certificates: Vec<Place>,
    lists: Vec<Place>,
}

/// What the files said when they were looked at.
#[derive(Debug)]
struct Loaded {
    anchors: Arc<Anchors>,
    lists: Vec<Arc<RevocationList>>,
    faults: Vec<String>,
    /// Every list that is asked for was read.
    is_ready: bool,
}

/// What a person wants to know about whom a port trusts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustSummary {
    /// Number of trusted certificates, of roots and of intermediate authorities.
    pub authorities: usize,
    /// When the first of them ends.
    pub not_after: Option<SystemTime>,
    /// Every revocation list.
    pub lists: Vec<RevocationListSummary>,
    /// What is wrong with the files, or will be soon; one sentence each.
    pub faults: Vec<String>,
}

/// What a person wants to know about a revocation list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationListSummary {
    /// Whose list it is.
    pub issuer: String,
    /// When it was made.
    pub this_update: SystemTime,
    /// When there will be a newer one.
    pub next_update: Option<SystemTime>,
    /// Whether there should be a newer one by now. It stays in force.
    pub is_stale: bool,
    /// Certificates that it names.
    pub revoked: usize,
}

impl ClientTrust {
    /// Trust in what the settings name, by the clock of the machine.
    #[must_use]
    pub fn new(settings: &X509Settings, state_dir: &FilePath) -> Self {
        Self::with(settings, state_dir, Arc::default(), None)
    }

    /// The same, by the time of the gateway and with what its authority has revoked; somebody else hears of changes as well.
    #[must_use]
    pub fn notifying(settings: &X509Settings, access: &Access) -> Self {
        let (changed, device) = (
            Arc::clone(access.trust_changed()),
            Arc::clone(access.device()),
        );
        Self::with(settings, access.state_dir(), changed, Some(device))
    }

    fn with(
        settings: &X509Settings,
        state_dir: &FilePath,
        changed: Arc<Notify>,
        device: Option<Arc<DeviceAuthority>>,
    ) -> Self {
        let mut files = Files {
            certificates: Vec::new(),
            lists: Vec::new(),
        };
        for source in &settings.trust {
            match source {
                TrustSource::DeviceCa => {
                    let issuers = state_dir.join(DEVICE_CA_FILE);
                    files
                        .certificates
                        .push(Place::optional(issuers, &CERTIFICATES));
                    let list = state_dir.join(DEVICE_CA_LIST);
                    files.lists.push(Place::optional(list, &REVOCATION_LISTS));
                }
                TrustSource::Path(path) => {
                    let place = Place::new(path.clone(), &CERTIFICATES);
                    files.certificates.push(place);
                }
            }
        }
        for path in &settings.crls {
            files
                .lists
                .push(Place::new(path.clone(), &REVOCATION_LISTS));
        }
        Self {
            files: Mutex::new(files),
            loaded: RwLock::default(),
            generation: watch::Sender::default(),
            changed,
            device,
        }
    }

    /// Looks at all files and takes over what has changed. It reads from the disk, so it is not for a task of the runtime.
    pub fn refresh(&self) {
        self.refresh_at(self.moment().now);
    }

    pub(super) fn refresh_at(&self, now: SystemTime) {
        // Held to the end, so that two looks at once cannot end in the order new, old.
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let certificates_changed = look(&mut files.certificates);
        let lists_changed = look(&mut files.lists);
        let former = self.loaded();
        let anchors = match &former {
            Some(former) if !certificates_changed => Arc::clone(&former.anchors),
            _ => Arc::new(Anchors::new(contents(&files.certificates))),
        };
        let lists = match &former {
            Some(former) if !lists_changed => former.lists.clone(),
            _ => read_lists(&files.lists, &anchors, former.as_deref()),
        };
        let places = files.certificates.iter().chain(&files.lists);
        let mut faults: Vec<String> = places
            .flat_map(Place::faults)
            .map(ToOwned::to_owned)
            .collect();
        faults.extend(remarks(&anchors, &self.foreign(&lists), now));
        let is_changed = certificates_changed || lists_changed || former.is_none();
        // Who is revoked is not known before the lists were read once; after that the newest that was read counts.
        let former_is_there = former.as_ref().is_some_and(|former| former.is_ready);
        let said = former.map(|former| former.faults.clone());
        if !is_changed && said.as_ref() == Some(&faults) {
            return;
        }
        let said = said.unwrap_or_default();
        for fault in faults.iter().filter(|fault| !said.contains(fault)) {
            warn!("certificates of clients: {fault}");
        }
        let (authorities, revocation_lists) = (anchors.len(), lists.len());
        let is_ready = former_is_there || !files.lists.iter().any(Place::is_awaited);
        let loaded = Arc::new(Loaded {
            is_ready,
            anchors,
            lists,
            faults,
        });
        *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = Some(loaded);
        if is_changed {
            info!(
                authorities,
                revocation_lists, "trust in certificates of clients taken into use"
            );
            self.generation.send_modify(|generation| *generation += 1);
            self.changed.notify_one();
        }
    }

    /// The lists that are not of the authority of this gateway: that one looks after its own.
    fn foreign(&self, lists: &[Arc<RevocationList>]) -> Vec<Arc<RevocationList>> {
        let is_own = |list: &RevocationList| {
            let device = self.device.as_ref();
            device.is_some_and(|device| device.ca().any_issuer_key(|key| list.is_signed_by(key)))
        };
        let foreign = lists.iter().filter(|list| !is_own(list));
        foreign.cloned().collect()
    }

    /// Says when somebody else is trusted, or something else is revoked, so that clients are looked at again.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// The moment at which certificates are judged now.
    #[must_use]
    pub fn moment(&self) -> Moment {
        match &self.device {
            Some(device) => device.read().into(),
            None => clock::wall().into(),
        }
    }

    /// What the authority of this gateway knows of a client's certificate, if that is from it.
    pub(super) fn issued(&self, own: &[u8], path: &Path) -> Option<Arc<CertificateRecord>> {
        let ca = self.device.as_ref()?.ca();
        // Others may give their authorities the same name.
        ca.has_issuer_key(path.issuer_key())
            .then(|| ca.issued().find_certificate(own))?
    }

    /// Whether the certificates of a client, its own first, lead to a trusted authority now.
    ///
    /// # Errors
    ///
    /// If they do not, with the reason.
    pub fn check<'a>(
        &self,
        chain: impl Iterator<Item = &'a [u8]> + Clone,
        at: impl Into<Moment>,
    ) -> Result<(), UnfitCertificate> {
        self.judge(chain, at).map(drop)
    }

    /// The path from the certificate of a client to a trusted authority.
    pub(super) fn judge<'a>(
        &self,
        chain: impl Iterator<Item = &'a [u8]> + Clone,
        at: impl Into<Moment>,
    ) -> Result<Arc<Path>, UnfitCertificate> {
        let path = match self.loaded() {
            Some(loaded) if loaded.is_ready => {
                let (anchors, lists) = (&loaded.anchors, &loaded.lists);
                anchors.judge(chain.clone(), lists, at.into())?
            }
            Some(_) | None => {
                return Err(UnfitCertificate {
                    subject: None,
                    reason: UnfitReason::NotLoaded,
                });
            }
        };
        // Sooner than the list, which has to be written and read first.
        let own = chain.clone().next().unwrap_or_default();
        let issued = self.issued(own, &path);
        if issued.is_some_and(|record| record.revoked_at.is_some()) {
            return Err(UnfitCertificate {
                subject: shown_subject(own),
                reason: UnfitReason::Revoked,
            });
        }
        Ok(path)
    }

    /// What there is to tell at `now`.
    #[must_use]
    pub fn summary(&self, now: SystemTime) -> TrustSummary {
        let Some(loaded) = self.loaded() else {
            return TrustSummary::default();
        };
        let lists = loaded.lists.iter().map(|list| RevocationListSummary {
            issuer: shown(&list.issuer),
            this_update: list.this_update,
            next_update: list.next_update,
            is_stale: list.is_stale(now),
            revoked: list.len(),
        });
        TrustSummary {
            authorities: loaded.anchors.len(),
            not_after: loaded
                .anchors
                .members()
                .map(|member| member.not_after)
                .min(),
            lists: lists.collect(),
            faults: loaded.faults.clone(),
        }
    }

    /// Files in whose folders a change may change what is trusted.
    #[must_use]
    pub fn watched(&self) -> Vec<PathBuf> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let places = files.certificates.iter().chain(&files.lists);
        places.flat_map(Place::watched).collect()
    }

    fn loaded(&self) -> Option<Arc<Loaded>> {
        let loaded = self.loaded.read();
        loaded.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn look(places: &mut [Place]) -> bool {
    places
        .iter_mut()
        .fold(false, |changed, place| place.look() | changed)
}

fn contents(places: &[Place]) -> impl Iterator<Item = (&FilePath, &[u8])> {
    places.iter().flat_map(Place::contents)
}

/// Lists that were there before stay the same, so that their signatures are not verified again. As long as
/// there is one that nobody stands behind, which may be a damaged or forged one in the place of another, none goes without
/// a successor.
fn read_lists(
    places: &[Place],
    anchors: &Anchors,
    former: Option<&Loaded>,
) -> Vec<Arc<RevocationList>> {
    let mut lists: Vec<Arc<RevocationList>> = Vec::new();
    for (_, der) in contents(places) {
        if lists.iter().any(|list| list.der() == der) {
            continue;
        }
        let mut known = former.iter().flat_map(|former| &former.lists);
        if let Some(known) = known.find(|list| list.der() == der) {
            lists.push(Arc::clone(known));
        } else if let Ok(list) = RevocationList::new(der) {
            lists.push(Arc::new(list));
        }
    }
    let is_backed = |list: &Arc<RevocationList>| anchors.stand_behind(list).1;
    if lists.iter().all(is_backed) {
        return lists;
    }
    for former in former.iter().flat_map(|former| &former.lists) {
        let mut others = lists.iter();
        let has_successor = others
            .any(|list| list.der() == former.der() || (list.replaces(former) && is_backed(list)));
        if is_backed(former) && !has_successor {
            lists.push(Arc::clone(former));
        }
    }
    lists
}

/// What there is to say besides faults of files.
fn remarks(anchors: &Anchors, lists: &[Arc<RevocationList>], now: SystemTime) -> Vec<String> {
    let mut remarks = anchors.faults.clone();
    if anchors.len() == 0 {
        remarks.push("nobody is trusted, so that every certificate is refused".to_owned());
    }
    remarks.extend(anchors.remarks(now));
    for list in lists {
        let issuer = shown(&list.issuer);
        match anchors.stand_behind(list) {
            (true, true) => {}
            (true, false) => remarks.push(format!(
                "the revocation list of {issuer:?} is not signed by the trusted authority of that name, and is not used"
            )),
            (false, _) => remarks.push(format!(
                "the issuer of the revocation list of {issuer:?} is not among the trusted certificates; the list is used only \
                 for clients that present the certificate of that issuer"
            )),
        }
        let late = list
            .next_update
            .and_then(|next| now.duration_since(next).ok());
        if let Some(late) = late {
            // In steps of days, so that it is not a new remark with every look.
            let late = match late.as_secs() / (24 * 3600) {
                0 => "by now".to_owned(),
                days => format!("{days} days ago"),
            };
            remarks.push(format!(
                "the revocation list of {issuer:?} should have been replaced {late}; it stays in force"
            ));
        }
    }
    remarks
}
