//! What clients were denied, in the journal: one line each, and so many of one client that it cannot fill the journal.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tracing::info;

use super::faults::Windows;
use crate::broker::Denial;

/// Bytes of a topic or a client identifier in a line.
const TEXT_BYTES_MAX: usize = 256;

/// Who has had how many lines.
#[derive(Debug, Default)]
pub(super) struct DenialLog(Mutex<Windows<Box<str>>>);

impl DenialLog {
    /// Writes denials down. `unnoted` of them are known by their number only.
    pub(super) fn write(&self, denials: &[Denial], unnoted: u64, now: Instant) {
        for denial in denials {
            let unlogged = {
                let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                windows.note_line(Some(denial.client_id.clone()), now)
            };
            if let Some(unlogged) = unlogged {
                write(denial, unlogged);
            }
        }
        if unnoted > 0 {
            info!(
                count = unnoted,
                "Further denials, too many to be written down"
            );
        }
    }
}

/// The beginning of a text that a client may have made as long as 64 KiB.
fn shown(text: &str) -> &str {
    text.get(..text.floor_char_boundary(TEXT_BYTES_MAX))
        .unwrap_or(text)
}

fn write(denial: &Denial, unlogged: u64) {
    let principal = denial.principal.as_ref();
    let principal = principal.map(|principal| &*principal.username);
    let by = denial.by.to_string();
    let rule = denial.rule.as_deref().unwrap_or(&by);
    info!(
        port = &*denial.port.endpoint,
        principal = principal.filter(|name| !name.is_empty()),
        client_id = shown(&denial.client_id),
        action = denial.action.as_str(),
        topic = shown(&denial.topic),
        rule,
        unlogged,
        "Denied"
    );
}
