//! Ready when every latch is gone.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a start waits for; shared by who waits and who shows it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readiness {
    latches: Arc<Mutex<Vec<&'static str>>>,
}

/// Holds readiness back until it is dropped.
#[derive(Debug)]
pub(crate) struct Latch {
    name: &'static str,
    latches: Arc<Mutex<Vec<&'static str>>>,
}

impl Readiness {
    /// A latch that shows as `name` while it is there.
    #[must_use]
    pub(crate) fn latch(&self, name: &'static str) -> Latch {
        lock(&self.latches).push(name);
        Latch {
            name,
            latches: Arc::clone(&self.latches),
        }
    }

    /// Whether no latch is left.
    #[must_use]
    pub(crate) fn is_ready(&self) -> bool {
        lock(&self.latches).is_empty()
    }

    /// The names of the latches that are left.
    #[must_use]
    pub(crate) fn awaited(&self) -> Vec<&'static str> {
        lock(&self.latches).clone()
    }
}

impl Drop for Latch {
    fn drop(&mut self) {
        let mut latches = lock(&self.latches);
        if let Some(index) = latches.iter().position(|name| *name == self.name) {
            latches.remove(index);
        }
    }
}

fn lock<'a>(latches: &'a Mutex<Vec<&'static str>>) -> MutexGuard<'a, Vec<&'static str>> {
    latches.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_the_last_latch_goes() {
        let readiness = Readiness::default();
        let ports = readiness.latch("ports");
        let again = readiness.latch("ports");
        let control = readiness.latch("control socket");
        drop(ports);
        assert_eq!(readiness.awaited(), ["ports", "control socket"]);
        drop(control);
        assert!(!readiness.is_ready());
        drop(again);
        assert!(readiness.is_ready());
    }
}
