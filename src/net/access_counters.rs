//! What a port has counted of logins.

use std::sync::atomic::{AtomicU64, Ordering};

/// Keys of methods as the configuration has them; the first stands for a port without authentication, and for credentials
/// that no method knows.
const METHODS: [&str; 8] = [
    "none",
    "password",
    "x509",
    "service_account_token",
    "custom",
    "http",
    "anonymous",
    "probe",
];

/// What becomes of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginOutcome {
    /// The client is who it says.
    Accepted,
    /// It is not, or may not come in.
    Refused,
    /// Nobody could tell.
    Unavailable,
    /// Nobody was asked, because its address or its user name is banned.
    Banned,
}

impl LoginOutcome {
    /// Every outcome.
    pub const ALL: [Self; 4] = [
        Self::Accepted,
        Self::Refused,
        Self::Unavailable,
        Self::Banned,
    ];

    /// The word for labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
            Self::Banned => "banned",
        }
    }

    fn place(self) -> usize {
        match self {
            Self::Accepted => 0,
            Self::Refused => 1,
            Self::Unavailable => 2,
            Self::Banned => 3,
        }
    }
}

/// Logins by method and outcome.
#[derive(Debug, Default)]
pub struct LoginCounters([[AtomicU64; LoginOutcome::ALL.len()]; METHODS.len()]);

impl LoginCounters {
    /// Counts a login that `method` has decided about.
    pub(crate) fn note(&self, method: &str, outcome: LoginOutcome) {
        let found = METHODS.iter().position(|known| *known == method);
        if let Some(cell) = self.cell(found.unwrap_or(0), outcome) {
            cell.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Method, outcome and count of everything that has happened.
    #[must_use]
    pub fn counts(&self) -> Vec<(&'static str, LoginOutcome, u64)> {
        let mut counts = Vec::new();
        for (place, method) in METHODS.iter().enumerate() {
            for outcome in LoginOutcome::ALL {
                let cell = self.cell(place, outcome);
                let count = cell.map_or(0, |cell| cell.load(Ordering::Relaxed));
                if count > 0 {
                    counts.push((*method, outcome, count));
                }
            }
        }
        counts
    }

    fn cell(&self, method: usize, outcome: LoginOutcome) -> Option<&AtomicU64> {
        self.0.get(method)?.get(outcome.place())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_counted_by_method_and_outcome() {
        let counters = LoginCounters::default();
        counters.note("password", LoginOutcome::Accepted);
        counters.note("password", LoginOutcome::Refused);
        counters.note("password", LoginOutcome::Refused);
        counters.note("", LoginOutcome::Refused);
        assert_eq!(
            counters.counts(),
            [
                ("none", LoginOutcome::Refused, 1),
                ("password", LoginOutcome::Accepted, 1),
                ("password", LoginOutcome::Refused, 2),
            ]
        );
    }
}
