//! The audit log and the bans, over the control socket.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::protocol::{CommandFault, FaultKind};
use crate::auth::users::Actor;
use crate::auth::{Access, AuditEvent, AuditKind, Ban, BanSubject};
use crate::clock;
use crate::store::{AuditFilter, AuditRecord};

/// Rows that one answer has at most.
pub const AUDIT_ROWS_MAX: u32 = 10_000;

/// Which rows of the audit log are asked for; an absent condition holds for all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditQuery {
    /// Of this kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<Box<str>>,
    /// About this subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<Box<str>>,
    /// On this port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<Box<str>>,
    /// Not before this time, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// At most so many, the newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// A row of the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRow {
    /// Its number.
    pub id: u64,
    /// When it happened, in seconds since 1970.
    pub at: u64,
    /// What happened.
    pub kind: Box<str>,
    /// Who did it; empty if nobody was known.
    pub actor: Box<str>,
    /// To whom or to what.
    pub subject: Box<str>,
    /// The port that it happened on; empty if it was none.
    pub port: Box<str>,
    /// Where the actor came from; empty if from nowhere.
    pub peer: Box<str>,
    /// What else there is to know.
    pub detail: Box<str>,
}

/// What is banned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BanKind {
    /// An address, or a network of IPv6.
    Address,
    /// A user name.
    Username,
}

/// A ban in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BanReport {
    /// What is banned.
    pub kind: BanKind,
    /// The address or the user name.
    pub subject: String,
    /// Seconds until it ends.
    pub remaining_seconds: u64,
    /// Which one in a row it is.
    pub number: u32,
}

/// Input of `unban`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UnbanInput {
    pub(super) subject: String,
}

impl AuditQuery {
    /// The conditions as the database takes them.
    #[must_use]
    pub fn filter(&self) -> AuditFilter {
        AuditFilter {
            kind: self.kind.clone(),
            subject: self.subject.clone(),
            port: self.port.clone(),
            since: self.since,
            rows_max: self.limit.unwrap_or(AUDIT_ROWS_MAX).min(AUDIT_ROWS_MAX),
            ..AuditFilter::default()
        }
    }
}

impl From<AuditRecord> for AuditRow {
    fn from(record: AuditRecord) -> Self {
        let AuditRecord {
            id,
            at,
            kind,
            actor,
            subject,
            port,
            peer,
            detail,
        } = record;
        Self {
            id,
            at,
            kind,
            actor,
            subject,
            port,
            peer,
            detail,
        }
    }
}

/// Rows of the log, the newest first.
pub(super) async fn read(
    access: &Arc<Access>,
    query: &AuditQuery,
) -> Result<Vec<AuditRow>, CommandFault> {
    let records = access.audit().read(query.filter()).await;
    let records = records.map_err(|fault| CommandFault {
        kind: FaultKind::Internal,
        message: format!("{fault}; {}", fault.hint()),
    })?;
    Ok(records.into_iter().map(AuditRow::from).collect())
}

/// The bans in force.
pub(super) fn bans(access: &Access) -> Vec<BanReport> {
    let now = clock::now();
    let bans = access.guard().list(now).into_iter();
    bans.map(|ban| {
        let remaining = ban.until.saturating_duration_since(now);
        let Ban {
            subject, number, ..
        } = ban;
        let (kind, subject) = named(subject);
        BanReport {
            kind,
            subject,
            remaining_seconds: remaining.as_secs() + u64::from(remaining.subsec_nanos() > 0),
            number,
        }
    })
    .collect()
}

/// Lifts bans and notes who wanted it.
pub(super) fn unban(access: &Access, subject: &str, actor: &Actor) -> Vec<BanReport> {
    let lifted = access.guard().lift(subject, clock::now()).into_iter();
    lifted
        .map(|lifted| {
            let (kind, subject) = named(lifted);
            let event = AuditEvent::new(AuditKind::BanLifted, &subject).actor(&actor.name);
            access.audit().note(event);
            BanReport {
                kind,
                subject,
                remaining_seconds: 0,
                number: 0,
            }
        })
        .collect()
}

fn named(subject: BanSubject) -> (BanKind, String) {
    let text = subject.to_string();
    match subject {
        BanSubject::Address(_) => (BanKind::Address, text),
        BanSubject::Username(_) => (BanKind::Username, text),
    }
}
