//! Metrics of who may connect, and who tries.

use super::{PORT, Row, each_port, row};
use crate::admin::{BackEndReport, Status};
use crate::metrics::{Kind, Samples};

const BACK_END: &[&str] = &["kind", "server"];

/// A counter or gauge of access, without labels.
macro_rules! access {
    ($name:literal, $kind:ident, $field:ident, $help:literal) => {
        row($name, Kind::$kind, &[], $help, |status, samples| {
            samples.add_count(&[], status.access.$field);
        })
    };
}

/// A counter of every back end.
macro_rules! back_end {
    ($name:literal, $field:ident, $help:literal) => {
        row($name, Kind::Counter, BACK_END, $help, |status, samples| {
            each_back_end(status, samples, |it| it.$field as f64);
        })
    };
}

fn each_back_end(status: &Status, samples: &mut Samples<'_>, value: fn(&BackEndReport) -> f64) {
    for back_end in &status.access.back_ends {
        samples.add(&[&back_end.kind, &back_end.server], value(back_end));
    }
}

/// Every family about access, in the order of the page.
pub(super) const ROWS: &[Row] = &[
    access!("users", Gauge, users, "Local users."),
    access!(
        "login_failures_total",
        Counter,
        login_failures,
        "Logins that failed because somebody is not who it says."
    ),
    access!(
        "login_refusals_delayed_total",
        Counter,
        refusals_delayed,
        "Refusals that were held back, because more failures had come before."
    ),
    row(
        "banned",
        Kind::Gauge,
        &["subject"],
        "Addresses and user names that are banned now.",
        |status, samples| {
            samples.add_count(&["address"], status.access.addresses_banned);
            samples.add_count(&["username"], status.access.usernames_banned);
        },
    ),
    row(
        "bans_total",
        Kind::Counter,
        &["subject"],
        "Bans of addresses and user names.",
        |status, samples| {
            samples.add_count(&["address"], status.access.address_bans);
            samples.add_count(&["username"], status.access.username_bans);
        },
    ),
    access!(
        "audit_events_total",
        Counter,
        audit_events,
        "Events of the audit log."
    ),
    access!(
        "audit_events_lost_total",
        Counter,
        audit_events_lost,
        "Events that have no row in the database because it was behind; the journal has them."
    ),
    row(
        "est_requests_total",
        Kind::Counter,
        &["operation", "outcome"],
        "Requests for enrolment and for the root over the network, by outcome: `done`, `refused`, `limited`, `invalid` or \
         `unavailable`.",
        |status, samples| {
            for requests in &status.est.requests {
                samples.add_count(&[&requests.operation, &requests.outcome], requests.count);
            }
        },
    ),
    row(
        "back_end_resting",
        Kind::Gauge,
        BACK_END,
        "1 while a server is not asked because it did not answer before.",
        |status, samples| {
            each_back_end(status, samples, |it| f64::from(u8::from(it.is_resting)));
        },
    ),
    back_end!(
        "back_end_questions_total",
        asked,
        "Questions that were sent to a server."
    ),
    back_end!(
        "back_end_allowed_total",
        allowed,
        "Questions that a server answered with yes."
    ),
    back_end!(
        "back_end_denied_total",
        denied,
        "Questions that a server answered with no."
    ),
    back_end!(
        "back_end_errors_total",
        errors,
        "Questions that a server did not answer, or that were not sent to it because it did not answer before."
    ),
    back_end!(
        "back_end_cache_hits_total",
        cache_hits,
        "Questions whose answer was known already."
    ),
    back_end!(
        "back_end_latency_seconds_total",
        latency_seconds,
        "Time that all answers of a server have taken together."
    ),
    row(
        "port_client_trust_not_after_timestamp_seconds",
        Kind::Gauge,
        PORT,
        "When the first of the authorities ends whose certificates clients may present, in seconds since 1970.",
        |status, samples| {
            each_port(status, |port, labels| {
                let trust = port.client_trust.as_ref();
                if let Some(seconds) = trust.and_then(|trust| trust.not_after_seconds) {
                    samples.add_count(labels, seconds);
                }
            });
        },
    ),
];
