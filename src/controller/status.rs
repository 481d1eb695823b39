//! What the cluster is told about a resource.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use serde_json::{Map, Value, json};

/// Letters of a message.
const MESSAGE_CHARS_MAX: usize = 1024;

/// Bytes of the name of a resource that are in the names of its events, which are 253 at most.
const EVENT_ABOUT_MAX: usize = 200;

/// One of `status.conditions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) kind: &'static str,
    pub(super) is_true: bool,
    /// In one word.
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Condition {
    pub(super) fn new(
        kind: &'static str,
        is_true: bool,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            is_true,
            reason,
            message: message.into(),
        }
    }

    fn word(&self) -> &'static str {
        if self.is_true { "True" } else { "False" }
    }
}

/// Everything that is said about a resource.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Statement {
    pub(super) conditions: Vec<Condition>,
    /// Fields beside the conditions.
    pub(super) more: Map<String, Value>,
}

/// A change of a condition that somebody may want to know of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Transition {
    pub(super) is_warning: bool,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Statement {
    /// The status that an object should have. `now` is written where a condition has changed its mind.
    pub(super) fn status(&self, object: &Value, now: &str) -> Value {
        let generation = object.pointer("/metadata/generation").cloned();
        let generation = generation.unwrap_or(json!(0));
        let conditions = self.conditions.iter().map(|condition| {
            let former = former(object, condition.kind);
            let since = former
                .filter(|former| field(former, "status") == Some(condition.word()))
                .and_then(|former| field(former, "lastTransitionTime"));
            json!({
                "type": condition.kind,
                "status": condition.word(),
                "reason": condition.reason,
                "message": bounded(&condition.message),
                "observedGeneration": generation,
                "lastTransitionTime": since.unwrap_or(now),
            })
        });
        let conditions: Vec<Value> = conditions.collect();
        let mut status = self.more.clone();
        status.insert("observedGeneration".to_owned(), generation);
        status.insert("conditions".to_owned(), Value::Array(conditions));
        status.insert("runtimeStatus".to_owned(), self.runtime());
        Value::Object(status)
    }

    /// Whether what the resource says is in force as it stands.
    pub(super) fn is_accepted(&self) -> bool {
        let mut accepted = self.conditions.iter().filter(|it| it.kind == "Accepted");
        accepted.any(|condition| condition.is_true)
    }

    /// What tools read that know the resources of the cluster broker.
    fn runtime(&self) -> Value {
        let failing = self.conditions.iter().find(|condition| !condition.is_true);
        let status = match failing.map(|condition| condition.kind) {
            None => "Running",
            Some("Accepted") => "Failed",
            Some(_) => "Starting",
        };
        let told = failing.or(self.conditions.last());
        let description = told.map(|condition| bounded(&condition.message));
        json!({"status": status, "description": description.unwrap_or_default()})
    }

    /// Which conditions differ from those that an object has: each is worth one event. What is as it should be from the
    /// beginning is worth none, but that it is ready.
    pub(super) fn transitions(&self, object: &Value) -> Vec<Transition> {
        let changed = self.conditions.iter().filter(|condition| {
            let before = former(object, condition.kind);
            match before.and_then(|former| field(former, "status")) {
                Some(before) => before != condition.word(),
                None => !condition.is_true || condition.kind == "Ready",
            }
        });
        let mut transitions: Vec<Transition> = changed
            .map(|condition| Transition {
                is_warning: !condition.is_true,
                reason: condition.reason,
                message: bounded(&condition.message),
            })
            .collect();
        // What follows from another is not said twice.
        transitions.dedup_by(|one, other| {
            one.is_warning == other.is_warning && one.reason == other.reason
        });
        transitions
    }
}

fn former<'o>(object: &'o Value, kind: &str) -> Option<&'o Value> {
    let conditions = object.pointer("/status/conditions")?.as_array()?;
    let mut conditions = conditions.iter();
    conditions.find(|condition| field(condition, "type") == Some(kind))
}

fn field<'v>(value: &'v Value, key: &str) -> Option<&'v str> {
    value.get(key)?.as_str()
}

fn bounded(text: &str) -> String {
    if text.chars().count() <= MESSAGE_CHARS_MAX {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(MESSAGE_CHARS_MAX - 1).collect();
    short.push('…');
    short
}

/// Whether the status of an object is what it should be. Fields of others do not count.
pub(super) fn is_said(object: &Value, status: &Value) -> bool {
    let (Some(Value::Object(has)), Value::Object(should)) = (object.get("status"), status) else {
        return false;
    };
    should
        .iter()
        .all(|(key, value)| has.get(key) == Some(value))
}

/// An event about a resource.
pub(super) fn event(
    (api_version, kind): (&str, &str),
    object: &Value,
    transition: &Transition,
    (now, count): (&str, u64),
) -> Value {
    let metadata = |key: &str| super::cache::metadata(object, key).unwrap_or_default();
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": event_name(metadata("name"), &(metadata("uid"), transition, now, count)),
            "namespace": metadata("namespace"),
        },
        "involvedObject": {
            "apiVersion": api_version,
            "kind": kind,
            "name": metadata("name"),
            "namespace": metadata("namespace"),
            "uid": metadata("uid"),
            "resourceVersion": metadata("resourceVersion"),
        },
        "type": if transition.is_warning { "Warning" } else { "Normal" },
        "reason": transition.reason,
        "message": transition.message,
        "source": {"component": "fieldgate"},
        "reportingComponent": "fieldgate",
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    })
}

/// A name that no other event has, and that is the same when the event is written again.
fn event_name(about: &str, what: &impl Hash) -> String {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    let about = about.get(..EVENT_ABOUT_MAX).unwrap_or(about);
    let about = about.trim_end_matches(['-', '.']);
    format!("{about}.{:016x}", hasher.finish())
}

/// The time as resources write it.
pub(super) fn timestamp(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).unwrap_or_default();
    let time = time::OffsetDateTime::from_unix_timestamp(seconds).ok();
    let rfc = time::format_description::well_known::Rfc3339;
    time.and_then(|time| time.format(&rfc).ok())
        .unwrap_or_else(|| "1970-01-01T00:00:00Z".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(is_ready: bool) -> Statement {
        Statement {
            conditions: vec![
                Condition::new("Accepted", true, "Accepted", "it is good"),
                match is_ready {
                    true => Condition::new("Ready", true, "Listening", "port 8883 is open"),
                    false => Condition::new("Ready", false, "SecretNotFound", "no Secret x"),
                },
            ],
            more: Map::new(),
        }
    }

    #[test]
    fn the_time_of_a_condition_moves_only_when_it_changes() {
        let fresh = json!({"metadata": {"generation": 3}});
        let first = statement(false).status(&fresh, "T1");
        assert_eq!(first["conditions"][1]["lastTransitionTime"], "T1");
        assert_eq!(first["conditions"][1]["observedGeneration"], 3);
        assert_eq!(first["runtimeStatus"]["status"], "Starting");

        let seen = json!({"metadata": {"generation": 4}, "status": first});
        let second = statement(true).status(&seen, "T2");
        assert_eq!(second["conditions"][0]["lastTransitionTime"], "T1");
        assert_eq!(second["conditions"][0]["observedGeneration"], 4);
        assert_eq!(second["conditions"][1]["lastTransitionTime"], "T2");
        assert_eq!(second["runtimeStatus"]["status"], "Running");
    }

    #[test]
    fn a_transition_is_worth_one_event() {
        let fresh = json!({"metadata": {"generation": 1}});
        let reasons = |statement: &Statement, object: &Value| {
            let transitions = statement.transitions(object);
            let reasons = transitions.iter().map(|transition| transition.reason);
            reasons.collect::<Vec<_>>()
        };
        assert_eq!(reasons(&statement(false), &fresh), ["SecretNotFound"]);
        let waiting = json!({"status": statement(false).status(&fresh, "T1")});
        assert!(reasons(&statement(false), &waiting).is_empty());
        assert_eq!(reasons(&statement(true), &waiting), ["Listening"]);
        let ready = json!({"status": statement(true).status(&fresh, "T1")});
        assert!(reasons(&statement(true), &ready).is_empty());
    }

    #[test]
    fn fields_of_others_in_a_status_do_not_count() {
        let status = statement(true).status(&json!({}), "T1");
        let mut has = status.clone();
        has["provisioningStatus"] = json!({"status": "Succeeded"});
        assert!(is_said(&json!({"status": has}), &status));
        assert!(!is_said(&json!({}), &status));
        let other = statement(false).status(&json!({}), "T1");
        assert!(!is_said(&json!({"status": status}), &other));
    }

    #[test]
    fn an_event_has_a_name_of_its_own() {
        let name = event_name("plain", &("u1", 1));
        assert_eq!(name, event_name("plain", &("u1", 1)));
        assert_ne!(name, event_name("plain", &("u1", 2)));
        assert!(name.starts_with("plain.") && name.len() == "plain.".len() + 16);
        let long = format!("{}-{}", "a".repeat(EVENT_ABOUT_MAX - 1), "b".repeat(52));
        let name = event_name(&long, &1);
        assert!(name.len() <= 253 && !name.contains("-."), "{name}");
    }

    #[test]
    fn times_and_lengths() {
        assert_eq!(timestamp(0), "1970-01-01T00:00:00Z");
        assert_eq!(timestamp(1_900_000_000), "2030-03-17T17:46:40Z");
        assert_eq!(
            bounded(&"é".repeat(5000)).chars().count(),
            MESSAGE_CHARS_MAX
        );
    }
}
