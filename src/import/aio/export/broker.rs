//! Bounds, log and metrics.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{BROKER, Export};
use crate::config::{AdminSettings, LogFormat, LogLevel, ProtectionSettings, StoreSettings};
use crate::limits::{Limits, PortLimits, QueueOverflow};

impl Export<'_> {
    /// The Broker; none where it would say nothing.
    pub(super) fn broker(&mut self) -> Option<Value> {
        let mut spec = Map::new();
        let clients = self.clients();
        if !clients.is_empty() {
            spec.insert("advanced".to_owned(), json!({"clients": clients}));
        }
        let (limits, default) = (&self.settings.limits, Limits::default());
        if limits.stored_bytes_max != default.stored_bytes_max {
            let kilobytes = limits.stored_bytes_max.div_ceil(1000);
            spec.insert(
                "diskBackedMessageBuffer".to_owned(),
                json!({"maxSize": format!("{kilobytes}K")}),
            );
        }
        let diagnostics = self.diagnostics();
        if !diagnostics.is_empty() {
            spec.insert("diagnostics".to_owned(), Value::Object(diagnostics));
        }
        self.others();
        if spec.is_empty() {
            return None;
        }
        Some(self.resource("Broker", BROKER, &Value::Object(spec)))
    }

    fn clients(&mut self) -> Map<String, Value> {
        let (limits, default) = (&self.settings.limits.port, PortLimits::default());
        let mut clients = Map::new();
        let mut set = |key: &str, is_default: bool, value: Value| {
            if !is_default {
                clients.insert(key.to_owned(), value);
            }
        };
        let seconds =
            |time: Option<Duration>| time.map_or(u64::from(u32::MAX), |time| time.as_secs());
        set(
            "maxSessionExpirySeconds",
            limits.max_session_expiry == default.max_session_expiry,
            json!(seconds(limits.max_session_expiry).max(1)),
        );
        set(
            "maxMessageExpirySeconds",
            limits.max_message_expiry == default.max_message_expiry,
            json!(seconds(limits.max_message_expiry)),
        );
        set(
            "maxPacketSizeBytes",
            limits.max_packet_size == default.max_packet_size,
            json!(limits.max_packet_size),
        );
        set(
            "maxReceiveMaximum",
            limits.inflight_messages_max == default.inflight_messages_max,
            json!(limits.inflight_messages_max),
        );
        set(
            "maxKeepAliveSeconds",
            limits.max_keep_alive == default.max_keep_alive,
            json!(limits.max_keep_alive),
        );
        let mut queue = Map::new();
        if limits.queue_messages_per_client_max != default.queue_messages_per_client_max {
            queue.insert(
                "length".to_owned(),
                json!(limits.queue_messages_per_client_max),
            );
        }
        if limits.queue_overflow == QueueOverflow::DropOldest {
            queue.insert("strategy".to_owned(), json!("DropOldest"));
        }
        set(
            "subscriberQueueLimit",
            queue.is_empty(),
            Value::Object(queue),
        );
        clients
    }

    fn diagnostics(&mut self) -> Map<String, Value> {
        let mut diagnostics = Map::new();
        let level = match self.settings.log.level {
            LogLevel::Error => Some("error"),
            LogLevel::Warn => Some("warn"),
            LogLevel::Info => None,
            LogLevel::Debug => Some("debug"),
            LogLevel::Trace => Some("trace"),
        };
        if let Some(level) = level {
            diagnostics.insert("logs".to_owned(), json!({"level": level}));
        }
        let (http, default) = (self.settings.admin.http, AdminSettings::default().http);
        if http != default {
            let port = http.map_or(0, |http| http.port());
            diagnostics.insert("metrics".to_owned(), json!({"prometheusPort": port}));
            if http.is_some_and(|http| Some(http.ip()) != default.map(|default| default.ip())) {
                self.note(
                    "admin.http",
                    "metrics are read by the collectors of the cluster, whatever the address",
                );
            }
        }
        diagnostics
    }

    /// What is said here and cannot be said there.
    fn others(&mut self) {
        let settings = self.settings;
        let mut limits = settings.limits.clone();
        let default = Limits::default();
        limits.stored_bytes_max = default.stored_bytes_max;
        limits.port = exported(&limits.port);
        if limits != default {
            self.note(
                "limits",
                "all other bounds are fixed there, or follow from memoryProfile",
            );
        }
        if settings.limits.port.max_session_expiry == Some(Duration::ZERO) {
            self.note("limits.max_session_expiry", "the least is one second there");
        }
        if !settings.limits.stored_bytes_max.is_multiple_of(1000)
            && settings.limits.stored_bytes_max != default.stored_bytes_max
        {
            self.note(
                "limits.stored_bytes_max",
                "sizes are whole kilobytes there; it is rounded up",
            );
        }
        if settings.admin.control_socket.is_some() {
            self.note("admin.control_socket", "there is no control socket");
        }
        if settings.store != StoreSettings::default() {
            self.note("store", "how messages are stored is fixed there");
        }
        if settings.log.format != LogFormat::Auto {
            self.note(
                "log.format",
                "the cluster broker chooses the form of its log",
            );
        }
        if settings.protection != ProtectionSettings::default() {
            self.note("protection", "nobody is banned there after failed logins");
        }
    }
}

/// Bounds of ports as they are without those that a Broker says.
fn exported(limits: &PortLimits) -> PortLimits {
    let default = PortLimits::default();
    PortLimits {
        max_session_expiry: default.max_session_expiry,
        max_message_expiry: default.max_message_expiry,
        max_packet_size: default.max_packet_size,
        inflight_messages_max: default.inflight_messages_max,
        max_keep_alive: default.max_keep_alive,
        queue_messages_per_client_max: default.queue_messages_per_client_max,
        queue_overflow: default.queue_overflow,
        ..limits.clone()
    }
}
