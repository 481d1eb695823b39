//! Every metric, in one table: what it is called, what it says and where its value comes from.

mod access;
mod authority;
mod cluster;

use super::{PortReport, Status};
use crate::metrics::{Family, Kind, Page, Samples};

/// A family and where its samples come from.
struct Row {
    family: Family,
    samples: fn(&Status, &mut Samples<'_>),
}

/// Every family, in the order of the page.
pub fn families() -> impl Iterator<Item = &'static Family> {
    rows().map(|row| &row.family)
}

fn rows() -> impl Iterator<Item = &'static Row> {
    let rows = ROWS.iter().chain(access::ROWS).chain(authority::ROWS);
    rows.chain(cluster::ROWS)
}

/// The page of `/metrics`.
#[must_use]
pub fn render(status: &Status) -> String {
    let mut page = Page::default();
    for row in rows() {
        (row.samples)(status, &mut page.family(&row.family));
    }
    page.finish()
}

const PORT: &[&str] = &["listener", "port"];

const fn row(
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    help: &'static str,
    samples: fn(&Status, &mut Samples<'_>),
) -> Row {
    Row {
        family: Family {
            name,
            kind,
            labels,
            help,
        },
        samples,
    }
}

/// A counter or gauge of the broker core, without labels.
macro_rules! broker {
    ($name:literal, $kind:ident, $field:ident, $help:literal) => {
        row($name, Kind::$kind, &[], $help, |status, samples| {
            samples.add_count(&[], status.broker.$field);
        })
    };
}

/// A counter or gauge of every port.
macro_rules! port {
    ($name:literal, $kind:ident, $field:ident, $help:literal) => {
        row($name, Kind::$kind, PORT, $help, |status, samples| {
            each_port(status, |port, labels| {
                samples.add_count(labels, port.$field)
            });
        })
    };
}

/// A number that the store reports.
macro_rules! store {
    ($name:literal, $kind:ident, $field:ident, $help:literal) => {
        row($name, Kind::$kind, &[], $help, |status, samples| {
            samples.add_count(&[], status.store.$field);
        })
    };
}

/// A counter of the broker core, by QoS.
macro_rules! by_qos {
    ($name:literal, $field:ident, $help:literal) => {
        row($name, Kind::Counter, &["qos"], $help, |status, samples| {
            for (qos, count) in ["0", "1", "2"].iter().zip(status.broker.$field) {
                samples.add_count(&[qos], count);
            }
        })
    };
}

fn each_port(status: &Status, mut each: impl FnMut(&PortReport, &[&str])) {
    for port in &status.ports {
        each(port, &[&port.listener, &port.endpoint]);
    }
}

const ROWS: &[Row] = &[
    row(
        "build_info",
        Kind::Gauge,
        &["version"],
        "Always 1; the version is in the label.",
        |status, samples| {
            samples.add(&[&status.version], 1.0);
        },
    ),
    row(
        "uptime_seconds",
        Kind::Gauge,
        &[],
        "Seconds since the process started.",
        |status, samples| {
            samples.add_count(&[], status.uptime_seconds);
        },
    ),
    row(
        "ready",
        Kind::Gauge,
        &[],
        "1 when everything is up or in a defined waiting state, as `/readyz` says.",
        |status, samples| samples.add_count(&[], u64::from(status.readiness.ready)),
    ),
    row(
        "alarm",
        Kind::Gauge,
        &["alarm", "subject"],
        "1 for each thing that needs attention; `fieldgate status` has the sentence.",
        |status, samples| {
            for alarm in &status.alarms {
                samples.add(&[&alarm.name, &alarm.subject], 1.0);
            }
        },
    ),
    row(
        "store_state",
        Kind::Gauge,
        &["state"],
        "1 for the state that the store is in; anything but `ready` needs attention.",
        |status, samples| samples.add(&[status.store.state.word()], 1.0),
    ),
    store!(
        "store_messages",
        Gauge,
        messages,
        "Messages stored for sessions."
    ),
    store!(
        "store_messages_bytes",
        Gauge,
        bytes,
        "What the stored messages count in their bound."
    ),
    store!(
        "store_database_bytes",
        Gauge,
        database_bytes,
        "Bytes of the database with its write-ahead log."
    ),
    store!(
        "store_free_bytes",
        Gauge,
        free_bytes,
        "Free bytes of the volume of the store."
    ),
    store!(
        "store_commits_total",
        Counter,
        commits,
        "Commits; the disk was synced for each."
    ),
    store!(
        "store_commit_failures_total",
        Counter,
        commit_failures,
        "Commits that failed."
    ),
    store!(
        "store_bytes_written_total",
        Counter,
        bytes_written,
        "Bytes written to the write-ahead log and to the database."
    ),
    store!(
        "store_checkpoints_total",
        Counter,
        checkpoints,
        "Times that the write-ahead log was brought into the database."
    ),
    row(
        "configuration_loaded_timestamp_seconds",
        Kind::Gauge,
        &[],
        "When the configuration in force was loaded, in seconds since 1970.",
        |status, samples| samples.add_count(&[], status.configuration.loaded_at_seconds),
    ),
    row(
        "configuration_reloads_total",
        Kind::Counter,
        &["outcome"],
        "Attempts to load the configuration again, `applied` or `refused`.",
        |status, samples| {
            samples.add_count(&["applied"], status.configuration.reloads_applied);
            samples.add_count(&["refused"], status.configuration.reloads_refused);
        },
    ),
    row(
        "port_state",
        Kind::Gauge,
        &["listener", "port", "state"],
        "1 for the state that a port is in; anything but `listening` waits for something.",
        |status, samples| {
            each_port(status, |port, _| {
                samples.add(&[&port.listener, &port.endpoint, &port.state], 1.0);
            });
        },
    ),
    port!(
        "port_connections",
        Gauge,
        connections,
        "Connections served now, those in their handshake included."
    ),
    port!(
        "port_connections_accepted_total",
        Counter,
        accepted,
        "Connections accepted."
    ),
    row(
        "port_connections_refused_total",
        Kind::Counter,
        &["listener", "port", "reason"],
        "Connections not taken because a bound was reached, by the bound.",
        |status, samples| {
            each_port(status, |port, _| {
                for (reason, count) in &port.refused {
                    samples.add_count(&[&port.listener, &port.endpoint, reason], *count);
                }
            });
        },
    ),
    row(
        "port_logins_total",
        Kind::Counter,
        &["listener", "port", "method", "outcome"],
        "Logins by the method that decided and by outcome: `accepted`, `refused`, `unavailable` or `banned`.",
        |status, samples| {
            each_port(status, |port, _| {
                for login in &port.logins {
                    samples.add_count(
                        &[
                            &port.listener,
                            &port.endpoint,
                            &login.method,
                            &login.outcome,
                        ],
                        login.count,
                    );
                }
            });
        },
    ),
    row(
        "port_handshakes_failed_total",
        Kind::Counter,
        &["listener", "port", "reason"],
        "PROXY, TLS and WebSocket handshakes that did not end well: `fault` or `timeout`.",
        |status, samples| {
            each_port(status, |port, _| {
                samples.add_count(
                    &[&port.listener, &port.endpoint, "fault"],
                    port.handshakes_failed,
                );
                samples.add_count(
                    &[&port.listener, &port.endpoint, "timeout"],
                    port.handshakes_timed_out,
                );
            });
        },
    ),
    port!(
        "port_accept_errors_total",
        Counter,
        accept_errors,
        "Times that the system gave no connection although one was waiting, as without descriptors."
    ),
    row(
        "port_certificate_not_after_timestamp_seconds",
        Kind::Gauge,
        PORT,
        "When the certificate that clients see ends, in seconds since 1970.",
        |status, samples| {
            each_port(status, |port, labels| {
                if let Some(certificate) = &port.certificate {
                    samples.add_count(labels, certificate.not_after_seconds);
                }
            });
        },
    ),
    broker!("connections", Gauge, connections, "Clients connected now."),
    broker!(
        "connections_max",
        Gauge,
        connections_max,
        "Bound of the connections."
    ),
    broker!(
        "connections_peak",
        Gauge,
        connections_peak,
        "The most clients connected at one time."
    ),
    broker!(
        "connections_total",
        Counter,
        connections_total,
        "Clients that connected."
    ),
    broker!(
        "sessions",
        Gauge,
        sessions,
        "Sessions now, connected or not."
    ),
    broker!(
        "sessions_max",
        Gauge,
        sessions_max,
        "Bound of the sessions."
    ),
    broker!(
        "sessions_expired_total",
        Counter,
        sessions_expired,
        "Sessions that ended because their expiry interval had passed."
    ),
    broker!(
        "subscriptions",
        Gauge,
        subscriptions,
        "Subscriptions of all sessions now."
    ),
    broker!(
        "subscriptions_max",
        Gauge,
        subscriptions_max,
        "Bound of the subscriptions."
    ),
    broker!(
        "retained_messages",
        Gauge,
        retained_messages,
        "Retained messages now."
    ),
    broker!(
        "retained_messages_max",
        Gauge,
        retained_messages_max,
        "Bound of the retained messages."
    ),
    broker!(
        "retained_bytes",
        Gauge,
        retained_bytes,
        "Bytes of the retained messages."
    ),
    broker!(
        "retained_bytes_max",
        Gauge,
        retained_bytes_max,
        "Bound of the bytes of the retained messages."
    ),
    broker!(
        "queued_messages",
        Gauge,
        queued_messages,
        "Messages queued or in flight for sessions now."
    ),
    broker!(
        "queued_bytes",
        Gauge,
        queued_bytes,
        "Bytes of the queued messages, each message counted once."
    ),
    broker!(
        "queued_bytes_max",
        Gauge,
        queued_bytes_max,
        "Bound of the bytes of the queued messages."
    ),
    broker!(
        "packets_received_total",
        Counter,
        packets_received,
        "Control packets from clients."
    ),
    broker!(
        "packets_sent_total",
        Counter,
        packets_sent,
        "Control packets to clients."
    ),
    broker!(
        "bytes_received_total",
        Counter,
        bytes_received,
        "Bytes from clients."
    ),
    broker!("bytes_sent_total", Counter, bytes_sent, "Bytes to clients."),
    by_qos!(
        "messages_received_total",
        messages_received,
        "PUBLISH packets from clients, by QoS."
    ),
    by_qos!(
        "messages_sent_total",
        messages_sent,
        "PUBLISH packets to clients, by QoS."
    ),
    broker!(
        "payload_bytes_received_total",
        Counter,
        payload_bytes_received,
        "Payload bytes from clients."
    ),
    broker!(
        "payload_bytes_sent_total",
        Counter,
        payload_bytes_sent,
        "Payload bytes to clients."
    ),
    broker!(
        "messages_dropped_total",
        Counter,
        messages_dropped,
        "Messages that a session should have got and did not, because a bound was reached."
    ),
    broker!(
        "messages_expired_total",
        Counter,
        messages_expired,
        "Messages that expired before they could be sent."
    ),
    broker!(
        "messages_too_large_total",
        Counter,
        messages_too_large,
        "Messages that were larger than their receiver takes."
    ),
    broker!(
        "quota_refusals_total",
        Counter,
        quota_refusals,
        "Publications and subscriptions that were refused because a bound was reached."
    ),
    broker!(
        "authorization_denials_total",
        Counter,
        authorization_denials,
        "Publications and subscriptions that the rules denied."
    ),
    row(
        "violations_total",
        Kind::Counter,
        &["clause", "violation"],
        "Connections that were ended or refused because the client broke this rule of the standard.",
        |status, samples| {
            for rule in &status.broker.violations {
                samples.add_count(&[&rule.clause, &rule.violation], rule.count);
            }
        },
    ),
    broker!(
        "publisher_pauses_total",
        Counter,
        publisher_pauses,
        "Times that a publisher was told to wait for a receiver."
    ),
    row(
        "process_resident_bytes",
        Kind::Gauge,
        &[],
        "Resident memory of the process.",
        |status, samples| {
            samples.add_count(&[], status.process.resident_bytes);
        },
    ),
    row(
        "process_cpu_seconds_total",
        Kind::Counter,
        &[],
        "Processor time of the process.",
        |status, samples| {
            samples.add(&[], status.process.cpu_seconds);
        },
    ),
    row(
        "process_descriptors",
        Kind::Gauge,
        &[],
        "Open descriptors of the process.",
        |status, samples| {
            samples.add_count(&[], status.process.descriptors);
        },
    ),
    row(
        "process_descriptors_max",
        Kind::Gauge,
        &[],
        "Descriptors that the process may open.",
        |status, samples| {
            samples.add_count(&[], status.process.descriptors_max);
        },
    ),
];

#[cfg(test)]
mod tests;
