//! What a gateway tells about enrolment over the network.

use serde::{Deserialize, Serialize};

use super::report::CertificateReport;

/// Enrolment over the network, and where everybody gets the root.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EstReport {
    /// Where devices enrol.
    pub https: EstDoorReport,
    /// The certificate of `https`.
    pub certificate: Option<CertificateReport>,
    /// Where the root and the revocation lists are served without TLS.
    pub http: EstDoorReport,
    /// Requests, by what was asked for and what became of it.
    pub requests: Vec<EstCount>,
}

/// One of the two addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EstDoorReport {
    /// The address, with the number that the system chose when the configuration says 0.
    pub address: Option<String>,
    /// In one word: `off`, `listening`, `awaiting-certificate` or `awaiting-address`.
    pub state: String,
    /// Why it does not listen yet.
    pub detail: Option<String>,
}

impl Default for EstDoorReport {
    fn default() -> Self {
        Self {
            address: None,
            state: "off".to_owned(),
            detail: None,
        }
    }
}

impl EstReport {
    /// What the door where devices enrol is called among ports.
    pub const NAME: &str = "est";
}

impl EstDoorReport {
    /// What it waits for, if it does.
    #[must_use]
    pub fn awaited(&self) -> Option<&str> {
        self.state.strip_prefix("awaiting-")
    }
}

/// Requests with the same outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EstCount {
    /// What was asked for.
    pub operation: String,
    /// `done`, `refused`, `limited`, `invalid` or `unavailable`.
    pub outcome: String,
    /// How many.
    pub count: u64,
}
