//! What a gateway tells about who may connect, and who tries.

use serde::{Deserialize, Serialize};

/// Who may connect, and who tries.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AccessReport {
    /// Local users.
    pub users: u64,
    /// Logins that failed because somebody is not who it says.
    pub login_failures: u64,
    /// Refusals that were held back.
    pub refusals_delayed: u64,
    /// Addresses that are banned now.
    pub addresses_banned: u64,
    /// User names that are banned now.
    pub usernames_banned: u64,
    /// Bans of addresses since the start.
    pub address_bans: u64,
    /// Bans of user names since the start.
    pub username_bans: u64,
    /// Events of the audit log since the start.
    pub audit_events: u64,
    /// Events that have no row in the database because it was behind.
    pub audit_events_lost: u64,
    /// Every server that is asked about clients or topics.
    pub back_ends: Vec<BackEndReport>,
}

/// A server that is asked about clients or topics.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BackEndReport {
    /// What it is asked for: `custom`, `http`, `service_account_token` or `acl`.
    pub kind: String,
    /// Its address, `https://host:port`.
    pub server: String,
    /// Whether it is left alone at the moment, because it did not answer.
    pub is_resting: bool,
    /// Questions that were sent.
    pub asked: u64,
    /// Those that were answered with yes.
    pub allowed: u64,
    /// Those that were answered with no.
    pub denied: u64,
    /// Questions without an answer.
    pub errors: u64,
    /// Questions whose answer was remembered, or that got the answer of the same one under way.
    pub cache_hits: u64,
    /// Seconds that all answers have taken together.
    pub latency_seconds: f64,
}
