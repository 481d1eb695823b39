//! How often somebody may ask for a certificate.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::auth::Prefix;
use crate::config::EstSettings;

/// Time in which attempts are counted.
const WINDOW: Duration = Duration::from_secs(60);

/// Counts attempts: of each address, and of all. What is counted of addresses ends with the minute, and there are never more
/// of them than attempts that were let through, so the settings bound it.
#[derive(Debug, Default)]
pub(super) struct Attempts(Mutex<Minute>);

#[derive(Debug, Default)]
struct Minute {
    began: Option<Instant>,
    all: u32,
    addresses: BTreeMap<Prefix, u32>,
}

impl Attempts {
    /// Counts an attempt. On one too many, how long to wait.
    pub(super) fn note(
        &self,
        address: IpAddr,
        settings: &EstSettings,
        now: Instant,
    ) -> Result<(), Duration> {
        let mut minute = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let began = *minute.began.get_or_insert(now);
        let mut left = (began + WINDOW).saturating_duration_since(now);
        if left.is_zero() {
            *minute = Minute {
                began: Some(now),
                ..Minute::default()
            };
            left = WINDOW;
        }
        let prefix = Prefix::of(address);
        let own = minute.addresses.get(&prefix).copied().unwrap_or(0);
        if own >= settings.attempts_per_address_max || minute.all >= settings.attempts_max {
            return Err(left);
        }
        minute.all += 1;
        minute.addresses.insert(prefix, own + 1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn one_address_does_not_take_the_turn_of_all() {
        let settings = EstSettings {
            attempts_per_address_max: 2,
            attempts_max: 3,
            ..EstSettings::default()
        };
        let attempts = Attempts::default();
        let begin = clock::now();
        let note = |address: &str, seconds| {
            let now = begin + Duration::from_secs(seconds);
            attempts.note(address.parse().unwrap(), &settings, now)
        };
        note("192.0.2.1", 0).unwrap();
        note("::ffff:192.0.2.1", 1).unwrap();
        let wait = note("192.0.2.1", 10).unwrap_err();
        assert_eq!(wait, Duration::from_secs(50));
        note("2001:db8::1", 10).unwrap();
        note("192.0.2.3", 11).unwrap_err();
        assert_eq!(attempts.0.lock().unwrap().addresses.len(), 2);
        note("192.0.2.1", 60).unwrap();
        assert_eq!(attempts.0.lock().unwrap().addresses.len(), 1);
        // Whoever moves within the own network stays the same.
        note("2001:db8::1", 61).unwrap();
        note("2001:db8::2", 61).unwrap();
        note("2001:db8::3", 61).unwrap_err();
    }
}
