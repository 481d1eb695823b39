//! `Broker`: what it bounds becomes bounds of the gateway; how it is spread over a cluster has no meaning for one process.

use std::fmt::Write;

use super::fields::{At, Fields, Notes, Word};
use super::resources::Resource;
use super::shape::{
    CARDINALITY, DYNAMIC_SETTINGS, EXPORTS, INTERNAL_CERTS, MODE, RESOURCE_LIMITS, RETAIN,
    SELF_CHECK, STATE_STORE, SUBSCRIBER_QUEUE, TRACES,
};
use super::yaml::Value;
use crate::import::report::ImportReport;
use crate::import::text::quote;

/// Largest packet of the standard.
const PACKET_BYTES_MAX: u64 = 268_435_455;

/// Most messages that may wait for one client.
const QUEUE_MESSAGES_MAX: u64 = 100_000_000;

/// What the persistence of the cluster broker has to be larger than.
const PERSISTENCE_BYTES: u64 = 100_000_000;

/// Bounds of `stored_bytes_max`.
const STORED_BYTES: (u64, u64) = (64 << 10, 1 << 40);

/// `[limits]`, `[admin]` and `[log]` as far as a Broker says something about them.
#[derive(Default)]
pub(super) struct BrokerPlan {
    limits: Vec<(&'static str, String)>,
    stored_bytes: Option<u64>,
    admin_http: Option<String>,
    log_level: Option<&'static str>,
}

impl BrokerPlan {
    /// The port of `[admin] http`.
    pub(super) fn metrics_port(&self) -> Option<u16> {
        let (_, port) = self.admin_http.as_ref()?.rsplit_once(':')?;
        port.parse().ok()
    }

    pub(super) fn render(&self) -> String {
        let mut text = String::new();
        let stored = self
            .stored_bytes
            .map(|bytes| ("stored_bytes_max", bytes.to_string()));
        let limits: Vec<(&str, String)> = self.limits.iter().cloned().chain(stored).collect();
        // Writing to a String does not fail.
        if !limits.is_empty() {
            text.push_str("[limits]\n");
            for (key, value) in limits {
                let _ = writeln!(text, "{key} = {value}");
            }
            text.push('\n');
        }
        if let Some(http) = &self.admin_http {
            let _ = writeln!(text, "[admin]\nhttp = {}\n", quote(http));
        }
        if let Some(level) = self.log_level {
            let _ = writeln!(text, "[log]\nlevel = {}\n", quote(level));
        }
        text
    }
}

pub(super) fn translate(resource: &Resource, report: &mut ImportReport) -> BrokerPlan {
    let mut reading = Reading {
        notes: resource.notes(report),
        plan: BrokerPlan::default(),
    };
    reading.spec(&resource.spec());
    reading.plan
}

struct Reading<'r> {
    notes: Notes<'r>,
    plan: BrokerPlan,
}

impl Reading<'_> {
    fn spec(&mut self, spec: &At<'_>) {
        let keys = &[
            "memoryProfile",
            "cardinality",
            "advanced",
            "diskBackedMessageBuffer|diskBackedMessageBufferSettings",
            "persistence",
            "diagnostics",
            "generateResourceLimits",
            "mode",
            "authImage",
            "brokerImage",
            "healthManagerImage",
            "brokerNodeTolerations",
            "encryptInternalTraffic",
            "internalCerts",
        ];
        let Some(fields) = self.notes.fields(spec, keys) else {
            return;
        };
        for (key, at) in fields.iter() {
            match key {
                "memoryProfile" => self.memory_profile(at),
                "cardinality" => {
                    self.notes.check(at, CARDINALITY);
                    let why =
                        "the gateway is one process, which uses the processors that it is given";
                    self.notes.not_needed(at, why);
                }
                "advanced" => self.advanced(at),
                "diskBackedMessageBuffer" => self.buffer(at),
                "persistence" => self.persistence(at),
                "diagnostics" => self.diagnostics(at),
                "generateResourceLimits" => {
                    self.notes.check(at, RESOURCE_LIMITS);
                    let why = "requests of the pod are written by `fieldgate k8s render`; a service has those of its unit";
                    self.notes.not_needed(at, why);
                }
                "encryptInternalTraffic" | "internalCerts" => self.internal(key, at),
                _ => {
                    let why = "it is about the images and pods of the cluster broker";
                    self.notes.not_needed(at, why);
                }
            }
        }
    }

    fn memory_profile(&mut self, at: &At<'_>) {
        const PROFILES: &[Word] = &[("Tiny", &[]), ("Low", &[]), ("Medium", &[]), ("High", &[])];
        let Some(profile) = self.notes.word(at, PROFILES) else {
            return;
        };
        let megabytes = match profile {
            "Tiny" => 4,
            "Low" => 16,
            "Medium" => 64,
            _ => 256,
        };
        let how = format!(
            "memory is bounded by [limits]; packets of up to 1 MiB are taken where the cluster broker takes {megabytes} MB: \
             write max_packet_size there if messages are larger"
        );
        self.notes.differs(at, how);
    }

    fn internal(&mut self, key: &str, at: &At<'_>) {
        if key == "internalCerts" {
            self.notes.check(at, INTERNAL_CERTS);
        } else if at_is_table(at) {
            self.notes.check(at, MODE);
        } else {
            self.notes.switch(at);
        }
        let why = "one process has no traffic between its parts";
        self.notes.not_needed(at, why);
    }

    fn advanced(&mut self, at: &At<'_>) {
        let keys = &["clients", "encryptInternalTraffic", "internalCerts"];
        let Some(fields) = self.notes.fields(at, keys) else {
            return;
        };
        for (key, below) in fields.iter() {
            match key {
                "clients" => self.clients(below),
                _ => self.internal(key, below),
            }
        }
    }

    fn clients(&mut self, at: &At<'_>) {
        let keys = &[
            "maxSessionExpirySeconds",
            "maxMessageExpirySeconds",
            "maxPacketSizeBytes",
            "maxReceiveMaximum",
            "maxKeepAliveSeconds",
            "subscriberQueueLimit",
        ];
        let Some(fields) = self.notes.fields(at, keys) else {
            return;
        };
        for (key, below) in fields.iter() {
            match key {
                "maxSessionExpirySeconds" => self.seconds(below, "max_session_expiry"),
                "maxMessageExpirySeconds" => self.seconds(below, "max_message_expiry"),
                "maxPacketSizeBytes" => {
                    let Some(bytes) = self.notes.number(below, 1, PACKET_BYTES_MAX + 1) else {
                        continue;
                    };
                    let taken = bytes.clamp(32, PACKET_BYTES_MAX);
                    self.limit(below, "max_packet_size", taken.to_string(), taken == bytes);
                }
                "maxReceiveMaximum" => {
                    if let Some(messages) = self.notes.number(below, 1, 65535) {
                        self.limit(below, "inflight_messages_max", messages.to_string(), true);
                    }
                }
                "maxKeepAliveSeconds" => match self.notes.number(below, 0, 65535) {
                    Some(0) => self.limit(below, "max_keep_alive", "\"unlimited\"".into(), true),
                    Some(seconds) => self.limit(below, "max_keep_alive", seconds.to_string(), true),
                    None => {}
                },
                _ => self.queue_limit(below),
            }
        }
    }

    fn seconds(&mut self, at: &At<'_>, key: &'static str) {
        let most = u64::from(u32::MAX);
        match self.notes.number(at, 1, most) {
            Some(seconds) if seconds == most => self.limit(at, key, "\"unlimited\"".into(), true),
            Some(seconds) => self.limit(at, key, seconds.to_string(), true),
            None => {}
        }
    }

    fn limit(&mut self, at: &At<'_>, key: &'static str, value: String, is_exact: bool) {
        if is_exact {
            self.notes.translated(at, format!("limits.{key} = {value}"));
        } else {
            let how = format!("limits.{key} = {value}, which is as far as it goes");
            self.notes.differs(at, how);
        }
        self.plan.limits.push((key, value));
    }

    fn queue_limit(&mut self, at: &At<'_>) {
        let Some(fields) = self.notes.fields(at, &["length", "strategy"]) else {
            return;
        };
        if let Some(at) = fields.get("length")
            && let Some(length) = self.notes.number(at, 1, i64::MAX as u64)
        {
            let taken = length.min(QUEUE_MESSAGES_MAX);
            let key = "queue_messages_per_client_max";
            self.limit(at, key, taken.to_string(), taken == length);
        }
        const STRATEGIES: &[Word] = &[("None", &[]), ("DropOldest", &[])];
        let Some(at) = fields.get("strategy") else {
            return;
        };
        match self.notes.word(at, STRATEGIES) {
            Some("DropOldest") => self.limit(at, "queue_overflow", "\"DropOldest\"".into(), true),
            Some(_) => {
                let how = "no queue grows for ever: what does not fit is refused, and its publisher is told";
                self.notes.differs(at, how);
            }
            None => {}
        }
    }

    fn buffer(&mut self, at: &At<'_>) {
        let keys = &[
            "maxSize",
            "ephemeralVolumeClaimSpec",
            "persistentVolumeClaimSpec",
        ];
        let Some(fields) = self.notes.fields(at, keys) else {
            return;
        };
        self.volume(
            &fields,
            None,
            "messages that wait are stored on the disk, and survive a restart",
        );
    }

    fn volume(&mut self, fields: &Fields<'_>, above: Option<u64>, how: &str) {
        if let Some(at) = fields.get("maxSize")
            && let Some(typed) = self.notes.text(at)
        {
            match quantity(typed) {
                Some(bytes) if above.is_some_and(|above| bytes <= above) => {
                    self.notes.bad(at, "it takes a size of more than 100M");
                }
                Some(bytes) => {
                    let taken = bytes.clamp(STORED_BYTES.0, STORED_BYTES.1);
                    self.plan.stored_bytes = self.plan.stored_bytes.max(Some(taken));
                    let into = format!("limits.stored_bytes_max = {taken}; {how}");
                    self.notes.differs(at, into);
                }
                None => self.notes.bad(at, "it takes a size such as 500M or 2Gi"),
            }
        }
        for key in ["ephemeralVolumeClaimSpec", "persistentVolumeClaimSpec"] {
            if let Some(at) = fields.get(key) {
                let why = "everything is stored in the state folder; `fieldgate k8s render` writes one claim for it";
                self.notes.not_needed(at, why);
            }
        }
    }

    fn persistence(&mut self, at: &At<'_>) {
        let keys = &[
            "maxSize",
            "persistentVolumeClaimSpec",
            "encryption",
            "retain",
            "subscriberQueue",
            "stateStore",
            "dynamicSettings",
        ];
        let Some(fields) = self.notes.fields(at, keys) else {
            return;
        };
        self.volume(
            &fields,
            Some(PERSISTENCE_BYTES),
            "whatever was acknowledged is stored",
        );
        for (key, below) in fields.iter() {
            match key {
                "encryption" => {
                    self.notes.check(below, MODE);
                    let why =
                        "the database is not encrypted; encrypt the volume of the state folder";
                    self.notes.no_equivalent(below, why);
                }
                "retain" => {
                    self.notes.check(below, RETAIN);
                    let how = "all retained messages are stored, whatever their topic";
                    self.notes.differs(below, how);
                }
                "subscriberQueue" => {
                    self.notes.check(below, SUBSCRIBER_QUEUE);
                    let how = "the queues of all sessions are stored that outlive their connection";
                    self.notes.differs(below, how);
                }
                "stateStore" => {
                    self.notes.check(below, STATE_STORE);
                    self.notes.no_equivalent(below, super::NO_STATE_STORE);
                }
                "dynamicSettings" => {
                    self.notes.check(below, DYNAMIC_SETTINGS);
                    let why = "everything is stored without being asked for";
                    self.notes.not_needed(below, why);
                }
                _ => {}
            }
        }
    }

    fn diagnostics(&mut self, at: &At<'_>) {
        let keys = &["logs", "metrics", "selfCheck", "traces"];
        let Some(fields) = self.notes.fields(at, keys) else {
            return;
        };
        for (key, below) in fields.iter() {
            match key {
                "logs" => self.logs(below),
                "metrics" => self.metrics(below),
                "selfCheck" => {
                    self.notes.check(below, SELF_CHECK);
                    let why = "the gateway checks itself all the time; /livez and /readyz say what came of it";
                    self.notes.not_needed(below, why);
                }
                _ => {
                    self.notes.check(below, TRACES);
                    let why =
                        "there are no traces; [log] level = \"debug\" and the metrics come closest";
                    self.notes.no_equivalent(below, why);
                }
            }
        }
    }

    fn logs(&mut self, at: &At<'_>) {
        const OTHERS: &[&str] = &["opentelemetryExportConfig", "exportLogLevel"];
        let keys = &["level", "opentelemetryExportConfig", "exportLogLevel"];
        let Some(fields) = self.notes.fields(at, keys) else {
            return;
        };
        const LEVELS: &[Word] = &[
            ("error", &[]),
            ("warn", &["warning"]),
            ("info", &[]),
            ("debug", &[]),
            ("trace", &[]),
        ];
        if let Some(at) = fields.get("level")
            && let Some(typed) = self.notes.text(at)
        {
            // Levels of single modules may follow.
            let (level, rest) = typed
                .split_once(',')
                .map_or((typed, ""), |(one, rest)| (one, rest));
            let level = level.trim();
            let found = LEVELS.iter().find(|(word, older)| {
                word.eq_ignore_ascii_case(level)
                    || older.iter().any(|o| o.eq_ignore_ascii_case(level))
            });
            match found {
                Some((word, _)) if rest.is_empty() => {
                    self.plan.log_level = Some(word);
                    self.notes.translated(at, format!("log.level = \"{word}\""));
                }
                Some((word, _)) => {
                    self.plan.log_level = Some(word);
                    let how =
                        format!("log.level = \"{word}\"; there are no levels for single modules");
                    self.notes.differs(at, how);
                }
                None => self
                    .notes
                    .bad(at, "it takes error, warn, info, debug or trace"),
            }
        }
        self.exports(&fields, OTHERS);
    }

    fn metrics(&mut self, at: &At<'_>) {
        let keys = &["prometheusPort", "opentelemetryExportConfig", "mode"];
        let Some(fields) = self.notes.fields(at, keys) else {
            return;
        };
        if let Some(at) = fields.get("prometheusPort")
            && let Some(port) = self.notes.number(at, 0, 65535)
        {
            if port == 0 {
                self.plan.admin_http = Some("off".to_owned());
                self.notes.translated(at, "admin.http = \"off\"");
            } else {
                let http = format!("127.0.0.1:{port}");
                let how = format!(
                    "admin.http = \"{http}\": metrics are for this machine only unless you write another address"
                );
                self.notes.differs(at, how);
                self.plan.admin_http = Some(http);
            }
        }
        self.exports(&fields, &["opentelemetryExportConfig", "mode"]);
    }

    fn exports(&mut self, fields: &Fields<'_>, keys: &[&str]) {
        for (key, at) in keys.iter().filter_map(|key| Some((key, fields.get(key)?))) {
            self.notes.check_field(key, at, EXPORTS);
            let why = "nothing is sent to a collector; the journal and /metrics are read by one";
            self.notes.no_equivalent(at, why);
        }
    }
}

fn at_is_table(at: &At<'_>) -> bool {
    matches!(at.node.value, Value::Map(_))
}

/// Bytes of a quantity such as `500M` and `2Gi`.
fn quantity(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" => 1,
        "k" | "K" => 1000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "P" => 1_000_000_000_000_000,
        "E" => 1_000_000_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        "Pi" => 1 << 50,
        "Ei" => 1 << 60,
        _ => return None,
    };
    let number: u64 = digits.parse().ok()?;
    Some(number.saturating_mul(unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        for (text, bytes) in [
            ("5", Some(5)),
            ("500M", Some(500_000_000)),
            ("2Gi", Some(2 << 30)),
            ("1E", Some(1_000_000_000_000_000_000)),
            ("99E", Some(u64::MAX)),
            ("", None),
            ("G", None),
            ("1.5G", None),
            ("-1", None),
            ("1Gb", None),
            ("1é", None),
        ] {
            assert_eq!(quantity(text), bytes, "{text}");
        }
    }
}
