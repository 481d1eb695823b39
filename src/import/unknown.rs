//! Directives of mosquitto that the gateway has nothing like, or needs nothing for.

use super::report::Verdict;

/// Whether a directive is about the `connection` above it.
pub(super) fn is_of_bridge(key: &str) -> bool {
    const KEYS: &[&str] = &[
        "address",
        "addresses",
        "cleansession",
        "clientid",
        "idle_timeout",
        "keepalive_interval",
        "local_cleansession",
        "local_clientid",
        "local_password",
        "local_username",
        "notification_topic",
        "notifications",
        "notifications_local_only",
        "password",
        "remote_clientid",
        "remote_password",
        "remote_username",
        "restart_timeout",
        "round_robin",
        "start_type",
        "threshold",
        "topic",
        "try_private",
        "username",
    ];
    key.starts_with("bridge_") || KEYS.contains(&key)
}

/// What is to be said about a directive that is not translated. `None` for all others.
pub(super) fn without_equivalent(key: &str, value: &str) -> Option<Verdict> {
    let no_equivalent = |why: &str| {
        Some(Verdict::NoEquivalent {
            why: why.to_owned(),
        })
    };
    if key == "queue_qos0_messages" && value == "true" {
        return no_equivalent(
            "messages of QoS 0 are never queued; publish with QoS 1 what a client that is away must get",
        );
    }
    if key == "persistence" && value == "false" {
        return no_equivalent(
            "sessions, queued and retained messages are always stored; clients that need none of it connect with a clean start",
        );
    }
    if key == "allow_zero_length_clientid" && value == "false" {
        return no_equivalent(
            "a client without an identifier is always given one; a rule whose connect has no `*` lets it not in",
        );
    }
    if key == "check_retain_source" && value == "false" {
        return Some(not_needed(
            "retained messages are delivered to whoever may read them, whoever has published them",
        ));
    }
    if let Some((_, why)) = NO_EQUIVALENT.iter().find(|(known, _)| *known == key) {
        return no_equivalent(why);
    }
    let found = NOT_NEEDED.iter().find(|(known, _)| *known == key);
    found.map(|(_, why)| not_needed(why))
}

fn not_needed(why: &str) -> Verdict {
    Verdict::NotNeeded {
        why: why.to_owned(),
    }
}

const NO_EQUIVALENT: &[(&str, &str)] = &[
    (
        "accept_protocol_versions",
        "every port serves MQTT 3.1, 3.1.1 and 5.0",
    ),
    (
        "auto_id_prefix",
        "identifiers that the gateway gives out have a form of their own; do not rely on them in rules",
    ),
    (
        "auth_plugin_deny_special_chars",
        "user names with + and # never get into a topic of a rule, so they need not be refused",
    ),
    (
        "ciphers",
        "the cipher suites are those of rustls, all of which are current",
    ),
    (
        "ciphers_tls1.3",
        "the cipher suites are those of rustls, all of which are current",
    ),
    (
        "disable_client_cert_date_checks",
        "a certificate that has expired is never taken",
    ),
    (
        "enable_control_api",
        "users and rules are managed on the device: `fieldgate user`, `fieldgate reload`",
    ),
    ("http_dir", "files are not served; have a web server do it"),
    (
        "listener_auto_id_prefix",
        "identifiers that the gateway gives out have a form of their own; do not rely on them in rules",
    ),
    (
        "max_inflight_bytes",
        "only messages under way are counted, not their bytes: inflight_messages_max, and outbox_bytes_max for what is ready to be sent",
    ),
    (
        "memory_limit",
        "each queue and table has a bound of its own in [limits]; see docs/defaults.md",
    ),
    (
        "psk_file",
        "there is no TLS with keys that are known beforehand; give the clients certificates",
    ),
    (
        "retain_expiry_interval",
        "retained messages end with the expiry that their publisher gives them",
    ),
    ("tls_engine", "keys are read from PEM files"),
    ("tls_engine_kpass_sha1", "keys are read from PEM files"),
    ("tls_keyform", "keys are read from PEM files"),
    (
        "upgrade_outgoing_qos",
        "a message is delivered with the lower of the two QoS, as the standard has it",
    ),
    (
        "websockets_origin",
        "the origin of a web page is not looked at; ask for a password",
    ),
];

const NOT_NEEDED: &[(&str, &str)] = &[
    (
        "allow_duplicate_messages",
        "a client with several subscriptions that fit gets what the standard says",
    ),
    ("allow_zero_length_clientid", "this is always so"),
    (
        "autosave_interval",
        "everything is stored before it is acknowledged",
    ),
    (
        "autosave_on_changes",
        "everything is stored before it is acknowledged",
    ),
    (
        "check_retain_source",
        "whether a retained message may be published was checked when it came",
    ),
    (
        "connection_messages",
        "logins and refusals are in the journal and in `fieldgate audit`",
    ),
    ("dhparamfile", "keys are agreed on with elliptic curves"),
    (
        "log_dest",
        "the log goes to the journal under systemd and to the terminal elsewhere",
    ),
    ("log_facility", "the log goes to the journal"),
    ("log_timestamp", "the journal notes the time"),
    ("log_timestamp_format", "the journal notes the time"),
    (
        "packet_buffer_size",
        "buffers are as large as they need to be",
    ),
    ("persistence", "this is always so"),
    (
        "persistence_file",
        "the database is gateway.db in the state folder",
    ),
    (
        "persistence_location",
        "the database is in the state folder, /var/lib/fieldgate",
    ),
    ("pid_file", "systemd knows the process"),
    ("queue_qos0_messages", "this is always so"),
    (
        "retry_interval",
        "messages are sent again when a client connects again",
    ),
    ("set_tcp_nodelay", "this is always so"),
    (
        "store_clean_interval",
        "what nobody waits for is removed at once",
    ),
    ("user", "the service runs as a user of its own"),
    (
        "websockets_headers_size",
        "a request has a bound that suits every browser",
    ),
    ("websockets_log_level", "log.level is for everything"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_in_order_and_say_each_directive_once() {
        let mut seen: Vec<&str> = Vec::new();
        for (key, why) in NO_EQUIVALENT.iter().chain(NOT_NEEDED) {
            assert!(!seen.contains(key), "{key}");
            assert!(!why.ends_with('.'), "{key}");
            seen.push(key);
        }
    }
}
