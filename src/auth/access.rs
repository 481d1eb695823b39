//! Everything that says who may connect and what they may do, as the newest configuration has it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::Notify;

use super::{Acl, Audit, Authenticator, BackendReport, Guard, Probes, Users};
use crate::ca::DeviceAuthority;
use crate::clock;
use crate::config::{
    Authentication, AuthenticationSettings, Authorization, HttpSettings, ProtectionSettings,
    Settings,
};
use crate::policy::{CompiledRules, RuleSet};

/// What has changed for clients that are connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// Local users.
    Users,
    /// Trusted certificates, or revocation lists.
    Trust,
}

/// The means of all authenticators, and the authenticators themselves: ports that refer to the same name share one, with
/// its caches and its knowledge of what is down.
#[derive(Debug)]
pub struct Access {
    state_dir: PathBuf,
    device: Arc<DeviceAuthority>,
    users: Arc<Users>,
    guard: Arc<Guard>,
    audit: Arc<Audit>,
    probes: Probes,
    reviews: AtomicU64,
    trust_changed: Arc<Notify>,
    open: Arc<Authenticator>,
    authenticators: Mutex<Vec<(Arc<AuthenticationSettings>, Arc<Authenticator>)>>,
    acls: Mutex<Vec<(HttpSettings, Arc<Acl>)>>,
    rules: Mutex<Vec<Weak<CompiledRules>>>,
}

impl Access {
    /// With the users and the certificate authority of the state folder.
    #[must_use]
    pub fn new(
        state_dir: &Path,
        users: Arc<Users>,
        device: Arc<DeviceAuthority>,
        protection: &ProtectionSettings,
    ) -> Self {
        Self {
            state_dir: state_dir.to_owned(),
            device,
            users,
            guard: Arc::new(Guard::new(protection)),
            audit: Arc::default(),
            probes: Probes::default(),
            reviews: AtomicU64::new(0),
            trust_changed: Arc::default(),
            open: Arc::new(Authenticator::none()),
            authenticators: Mutex::default(),
            acls: Mutex::default(),
            rules: Mutex::default(),
        }
    }

    /// One without users, for tests of what stands above.
    #[cfg(test)]
    pub fn for_tests() -> Arc<Self> {
        let device = Arc::new(DeviceAuthority::none(Path::new("")));
        let protection = ProtectionSettings::default();
        Arc::new(Self::new(
            Path::new(""),
            Arc::default(),
            device,
            &protection,
        ))
    }

    /// The state folder.
    #[must_use]
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// The certificate authority of the gateway.
    #[must_use]
    pub fn device(&self) -> &Arc<DeviceAuthority> {
        &self.device
    }

    /// How often connections were looked at again because something had changed. Whoever logs in meanwhile has to look at
    /// itself.
    #[must_use]
    pub fn reviews(&self) -> u64 {
        self.reviews.load(Ordering::Acquire)
    }

    /// Says that all connections there are will be looked at now.
    pub fn note_review(&self) {
        self.reviews.fetch_add(1, Ordering::AcqRel);
    }

    /// Goes by changed settings: what no port needs any more is given up, with its caches.
    pub fn set(&self, settings: &Settings) {
        let protection = &settings.protection;
        self.guard.set(protection, clock::now());
        self.audit.set(protection);
        self.users.set_audit_rows_max(protection.audit_rows_max);
        let authentications = &settings.authentications;
        self.authenticators
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|(known, _)| authentications.contains(known));
        let backends: Vec<_> = settings
            .authorizations
            .iter()
            .filter_map(|authorization| authorization.http.as_ref())
            .collect();
        self.acls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|(known, _)| backends.contains(&known));
    }

    /// Makes what the ports of changed settings will need, and reads their files, so that nobody is judged by what is not there
    /// yet. Not for a task of the runtime.
    pub fn prepare(&self, settings: &Settings) {
        for settings in &settings.authentications {
            let authentication = Authentication::Named(Arc::clone(settings));
            if let Some(trust) = self.authenticator(&authentication).client_trust() {
                trust.refresh();
            }
        }
    }

    /// Completes when users or trusted certificates have changed, so that the clients that are connected can be looked at
    /// again. For one task.
    pub async fn changed(&self) -> Changed {
        tokio::select! {
            () = self.users.changed() => Changed::Users,
            () = self.trust_changed.notified() => Changed::Trust,
        }
    }

    /// Told when somebody else is trusted to issue certificates, or another one is revoked.
    pub(super) fn trust_changed(&self) -> &Arc<Notify> {
        &self.trust_changed
    }

    /// The local users.
    #[must_use]
    pub fn users(&self) -> &Arc<Users> {
        &self.users
    }

    /// What repeated failures lead to.
    #[must_use]
    pub fn guard(&self) -> &Arc<Guard> {
        &self.guard
    }

    /// Where events go.
    #[must_use]
    pub fn audit(&self) -> &Arc<Audit> {
        &self.audit
    }

    /// The way in of the health gate.
    #[must_use]
    pub fn probes(&self) -> &Probes {
        &self.probes
    }

    /// The authenticator of a port; the same one as long as its settings are the same.
    #[must_use]
    pub fn authenticator(&self, authentication: &Authentication) -> Arc<Authenticator> {
        let settings = match authentication {
            Authentication::None => return Arc::clone(&self.open),
            Authentication::Named(settings) => settings,
        };
        let mut known = self
            .authenticators
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((_, found)) = known.iter().find(|(known, _)| known == settings) {
            return Arc::clone(found);
        }
        let made = Arc::new(Authenticator::new(settings, self));
        known.push((Arc::clone(settings), Arc::clone(&made)));
        made
    }

    /// Rules ready to be asked; sorted once for all ports that have them.
    #[must_use]
    pub fn rules(&self, rules: &Arc<RuleSet>) -> Arc<CompiledRules> {
        let mut known = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|known| known.strong_count() > 0);
        let mut same = known.iter().filter_map(Weak::upgrade);
        if let Some(found) = same.find(|known| known.rules() == &**rules) {
            return found;
        }
        let made = Arc::new(CompiledRules::new(rules));
        known.push(Arc::downgrade(&made));
        made
    }

    /// Who is asked about the topics of a port, if anybody is.
    #[must_use]
    pub fn acl(&self, authorization: &Authorization) -> Option<Arc<Acl>> {
        let settings = match authorization {
            Authorization::None => return None,
            Authorization::Named(settings) => settings.http.as_ref()?,
        };
        let mut known = self.acls.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, found)) = known.iter().find(|(known, _)| known == settings) {
            return Some(Arc::clone(found));
        }
        let made = Arc::new(Acl::new(settings));
        known.push((settings.clone(), Arc::clone(&made)));
        Some(made)
    }

    /// What the back ends of all ports have been asked, those that ask the same server for the same added up.
    #[must_use]
    pub fn back_ends(&self) -> Vec<BackendReport> {
        let known = self
            .authenticators
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut reports: Vec<_> = known.iter().flat_map(|(_, it)| it.back_ends()).collect();
        drop(known);
        let known = self.acls.lock().unwrap_or_else(PoisonError::into_inner);
        reports.extend(known.iter().map(|(_, known)| known.report()));
        drop(known);
        BackendReport::add_up(reports)
    }
}
