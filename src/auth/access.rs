//! Everything that says who may connect and what they may do, as the newest configuration has it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Acl, Audit, Authenticator, BackendReport, Guard, Users};
use crate::config::{
    Authentication, AuthenticationSettings, Authorization, HttpSettings, ProtectionSettings,
};

/// The means of all authenticators, and the authenticators themselves: ports that refer to the same name share one, with
/// its caches and its knowledge of what is down.
#[derive(Debug)]
pub struct Access {
    state_dir: PathBuf,
    users: Arc<Users>,
    guard: Arc<Guard>,
    audit: Arc<Audit>,
    open: Arc<Authenticator>,
    authenticators: Mutex<Vec<(Arc<AuthenticationSettings>, Arc<Authenticator>)>>,
    acls: Mutex<Vec<(HttpSettings, Arc<Acl>)>>,
}

impl Access {
    /// With the users of the state folder.
    #[must_use]
    pub fn new(state_dir: &Path, users: Arc<Users>, protection: &ProtectionSettings) -> Self {
        Self {
            state_dir: state_dir.to_owned(),
            users,
            guard: Arc::new(Guard::new(protection)),
            audit: Arc::default(),
            open: Arc::new(Authenticator::none()),
            authenticators: Mutex::default(),
            acls: Mutex::default(),
        }
    }

    /// One without users, for tests of what stands above.
    #[cfg(test)]
    pub fn for_tests() -> Self {
        Self::new(
            Path::new(""),
            Arc::default(),
            &ProtectionSettings::default(),
        )
    }

    /// The state folder.
    #[must_use]
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
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

    /// What the back ends of all ports have been asked.
    #[must_use]
    pub fn back_ends(&self) -> Vec<BackendReport> {
        let known = self
            .authenticators
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let methods = known.iter().flat_map(|(_, known)| known.back_ends());
        let mut reports: Vec<_> = methods.collect();
        let known = self.acls.lock().unwrap_or_else(PoisonError::into_inner);
        reports.extend(known.iter().map(|(_, known)| known.report()));
        reports
    }
}
