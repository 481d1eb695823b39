//! Looking again at who is connected, after users, trust, methods or rules have changed.

use std::sync::Arc;

use tracing::warn;

use super::Gateway;
use crate::admin::{AccessReport, BackEndReport};
use crate::auth::{Audit, AuditEvent, AuditKind, BackendReport, Changed};
use crate::broker::ConnectionId;
use crate::clock;
use crate::config::Settings;
use crate::net::{Hub, Identity, Reviewed, note_review};
use crate::store::AuditFilter;

/// Logins of before the start that are looked at.
const REMEMBERED_LOGINS_MAX: u32 = 5_000;

/// Clients that are fetched at one time; others have their turn in between.
const CLIENTS_PER_LOOK: usize = 500;

impl Gateway {
    /// Looks at all clients whenever users or trusted certificates have changed, until dropped.
    pub(super) async fn review_on_change(&self) {
        loop {
            let access = self.serving.access();
            if access.changed().await == Changed::Trust {
                let event = AuditEvent::new(AuditKind::TrustChanged, "certificates of clients");
                access.audit().note(event.actor("gateway"));
            }
            self.review_clients().await;
        }
    }

    /// Reads what the ports of changed settings will need.
    pub(super) async fn prepare_access(&self, settings: &Settings) {
        let (access, settings) = (Arc::clone(self.serving.access()), settings.clone());
        let prepared = tokio::task::spawn_blocking(move || access.prepare(&settings)).await;
        if let Err(error) = prepared {
            warn!(%error, "the files of the authentication could not be read");
        }
    }

    /// Has the means of access go by changed settings. The ports have theirs already.
    pub(super) async fn review_settings(&self, settings: &Settings) {
        self.serving.access().set(settings);
        for policy in self.serving.policies() {
            let review = self.serving.hub().change_policy(&policy).await;
            note_review(self.serving.access().audit(), &policy.endpoint, &review);
        }
        self.review_clients().await;
    }

    /// Looks at every client that is connected: one whose credential is good no more is disconnected.
    pub(super) async fn review_clients(&self) {
        self.serving.access().note_review();
        let (hub, audit) = (
            Arc::clone(self.serving.hub()),
            Arc::clone(self.serving.access().audit()),
        );
        // A certificate takes a while to judge, and there may be thousands.
        let reviewed = tokio::task::spawn_blocking(move || review_all(&hub, &audit)).await;
        if let Err(error) = reviewed {
            warn!(%error, "the clients could not be looked at again");
        }
    }
}

impl Gateway {
    /// What there is to say about who may connect, and who tries.
    pub(super) fn access_report(&self) -> AccessReport {
        let access = self.serving.access();
        let guard = access.guard().statistics(clock::now());
        let audit = access.audit().statistics();
        AccessReport {
            users: count(access.users().len()),
            login_failures: guard.failures,
            refusals_delayed: guard.delayed,
            addresses_banned: count(guard.banned_addresses),
            usernames_banned: count(guard.banned_usernames),
            address_bans: guard.address_bans,
            username_bans: guard.username_bans,
            audit_events: audit.events,
            audit_events_lost: audit.dropped,
            back_ends: access
                .back_ends()
                .into_iter()
                .map(back_end_report)
                .collect(),
        }
    }
}

fn back_end_report(report: BackendReport) -> BackEndReport {
    let BackendReport {
        kind,
        server,
        is_resting,
        statistics,
    } = report;
    BackEndReport {
        kind: kind.to_owned(),
        server: server.into(),
        is_resting,
        asked: statistics.asked,
        allowed: statistics.allowed,
        denied: statistics.denied,
        errors: statistics.errors + statistics.rested,
        cache_hits: statistics.cache_hits + statistics.shared,
        latency_seconds: statistics.latency_total.as_secs_f64(),
    }
}

fn count(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

impl Gateway {
    /// Tells the guard from where users have logged in before this start, so that nobody locks a device out by its name just
    /// because the power was cut.
    pub(super) async fn remember_logins(&self) {
        let access = self.serving.access();
        let filter = AuditFilter {
            kind: Some(AuditKind::LoginAccepted.as_str().into()),
            rows_max: REMEMBERED_LOGINS_MAX,
            ..AuditFilter::default()
        };
        let records = match access.audit().read(filter).await {
            Ok(records) => records,
            // Without a store there is nothing to remember, which is said elsewhere.
            Err(_) => return,
        };
        let proven = records.iter().rev().filter(|record| {
            let detail = &record.detail;
            detail.ends_with("password") || detail.ends_with("http") || detail.ends_with("custom")
        });
        for record in proven {
            if let Ok(address) = record.peer.parse() {
                access
                    .guard()
                    .remember(address, &record.subject, clock::now());
            }
        }
    }
}

fn review_all(hub: &Hub, audit: &Audit) {
    let mut place = 0;
    while let Some((clients, next)) = hub.identities(place, CLIENTS_PER_LOOK) {
        place = next;
        for (id, identity) in clients {
            review_one(hub, audit, id, identity);
        }
    }
}

fn review_one(hub: &Hub, audit: &Audit, id: ConnectionId, identity: Identity) {
    let port = identity.port().endpoint().to_owned();
    let username = identity.principal().username.clone();
    let client_id = hub.with(|broker, _| {
        let client_id = broker.connection_client_id(id).unwrap_or_default();
        client_id.to_owned()
    });
    match hub.review(id, identity) {
        None => {}
        Some(Reviewed::Gone(sentence)) => {
            let event = AuditEvent::new(AuditKind::RightGone, &username);
            audit.note(event.client(&port, None, &client_id).detail(sentence));
        }
        Some(Reviewed::Changed(review)) => note_review(audit, &port, &review),
    }
}
