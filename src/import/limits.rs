//! Directives that are bounds or switches of the whole gateway or of a port.

use super::conf::{Conf, Listener};
use super::directives::{bad, into, log_level, not_a_switch, switch};
use super::report::Verdict;
use super::text::quote;
use crate::policy::ClientIdPattern;

/// Largest packet that MQTT has.
const PACKET_BYTES_MAX: u64 = 268_435_455;

/// Bytes of a packet beside its payload, at most: header, topic, and properties of a usual size.
const PACKET_REST_BYTES: u64 = 66 * 1024;

const UNLIMITED: &str = "\"unlimited\"";

/// What 0 means in mosquitto.
enum Zero {
    /// What this number means here.
    Means(u64),
    /// Nothing that there is here.
    Nothing(&'static str),
}

/// Directives of the whole broker that are numbers: their key here, what 0 means, and the bounds here.
const NUMBERS: &[(&str, &str, Zero, u64, u64)] = &[
    (
        "max_inflight_messages",
        "inflight_messages_max",
        Zero::Means(65_535),
        1,
        65_535,
    ),
    (
        "max_queued_messages",
        "queue_messages_per_client_max",
        Zero::Means(100_000_000),
        1,
        100_000_000,
    ),
    (
        "max_queued_bytes",
        "queue_bytes_per_client_max",
        Zero::Nothing(
            "there is no queue without a bound; the default of 16 MiB for one client counts",
        ),
        1024,
        1 << 40,
    ),
    (
        "max_packet_size",
        "max_packet_size",
        Zero::Nothing(
            "a packet has a bound; the default of 1 MiB counts, max_packet_size in [limits] changes it",
        ),
        32,
        PACKET_BYTES_MAX,
    ),
    (
        "global_max_connections",
        "connections_max",
        Zero::Nothing("a bound of 0 would let nobody in"),
        1,
        1_000_000,
    ),
    (
        "global_max_clients",
        "sessions_max",
        Zero::Nothing("a bound of 0 would let nobody in"),
        1,
        10_000_000,
    ),
];

/// Directives of the whole broker. `None` for others.
pub(super) fn gateway(conf: &mut Conf, key: &str, value: &str) -> Option<Verdict> {
    if let Some((_, own, zero, min, max)) = NUMBERS.iter().find(|(known, ..)| *known == key) {
        return Some(number(&mut conf.limits, own, value, |number| {
            match (number, zero) {
                (0, Zero::Means(number)) => Ok(*number),
                (0, Zero::Nothing(why)) => Err(why),
                (number, _) => Ok(number.clamp(*min, *max)),
            }
        }));
    }
    let verdict = match key {
        "message_size_limit" => message_size(&mut conf.limits, value),
        "max_keepalive" => keep_alive(&mut conf.limits, value),
        "persistent_client_expiration" => {
            let Some(expiry) = expiry(value) else {
                return Some(bad("it is a number with h, d, w, m or y"));
            };
            put(&mut conf.limits, "max_session_expiry", quote(&expiry));
            conf.has_session_expiry = true;
            into("max_session_expiry")
        }
        "sys_interval" => sys_interval(&mut conf.limits, value),
        "retain_available" => match switch(value) {
            Some(is_on) => {
                put(&mut conf.limits, "retain_available", is_on.to_string());
                into("retain_available")
            }
            None => not_a_switch(),
        },
        "clientid_prefixes" if ClientIdPattern::parse(&format!("{value}*")).is_err() => {
            bad("such identifiers cannot be in a rule: a prefix has no `*` and no braces")
        }
        "clientid_prefixes" => {
            conf.clientid_prefixes.push(value.to_owned());
            into("client identifiers that may connect, in the rules")
        }
        "log_type" => match log_level(value) {
            Some(level) => {
                // Lines add up, so the one that asks for most counts.
                conf.log_level = conf.log_level.max(Some(level));
                into("log.level")
            }
            None => bad("there is no such type of entry"),
        },
        _ => return None,
    };
    Some(verdict)
}

fn keep_alive(limits: &mut Vec<(String, String)>, value: &str) -> Verdict {
    let keep_alive = match value.parse::<u64>() {
        Ok(0 | 65_535) => UNLIMITED.to_owned(),
        Ok(seconds @ 1..65_535) => quote(&format!("{seconds} s")),
        _ => return bad("it is a number of seconds, 0 to 65535"),
    };
    put(limits, "max_keep_alive", keep_alive);
    into("max_keep_alive")
}

fn sys_interval(limits: &mut Vec<(String, String)>, value: &str) -> Verdict {
    let interval = match value.parse::<u64>() {
        Ok(0) => "off".to_owned(),
        Ok(seconds) => format!("{} s", seconds.min(86_400)),
        Err(_) => return bad("it is a number of seconds"),
    };
    put(limits, "sys_interval", quote(&interval));
    into("sys_interval")
}

/// Directives of one listener. `None` for others.
pub(super) fn port(listener: &mut Listener, key: &str, value: &str) -> Option<Verdict> {
    let limits = &mut listener.limits;
    let verdict = match key {
        "max_connections" => match value.parse::<i64>() {
            Ok(number) if number <= 0 => into("no bound but that of the gateway"),
            Ok(number) => {
                put(limits, "connections_max", number.min(1_000_000).to_string());
                into("limits.connections_max of the port")
            }
            Err(_) => bad("it is a number"),
        },
        "max_qos" | "maximum_qos" => number(limits, "maximum_qos", value, |number| match number {
            0..=2 => Ok(number),
            _ => Err("it is 0, 1 or 2"),
        }),
        "max_topic_alias" => number(limits, "topic_alias_maximum", value, |n| Ok(n.min(65_535))),
        "max_topic_alias_broker" => number(limits, "outgoing_topic_aliases_max", value, |n| {
            Ok(n.min(65_535))
        }),
        _ => return None,
    };
    Some(verdict)
}

/// Takes a number over, or says why not.
fn number(
    limits: &mut Vec<(String, String)>,
    key: &str,
    value: &str,
    convert: impl FnOnce(u64) -> Result<u64, &'static str>,
) -> Verdict {
    match value.parse::<u64>() {
        Err(_) if value == "-1" => into("the default"),
        Err(_) => bad("it is a number"),
        Ok(number) => match convert(number) {
            Ok(number) => {
                put(limits, key, number.to_string());
                into(key)
            }
            Err(why) => Verdict::NoEquivalent {
                why: why.to_owned(),
            },
        },
    }
}

fn message_size(limits: &mut Vec<(String, String)>, value: &str) -> Verdict {
    let Ok(payload) = value.parse::<u64>() else {
        return bad("it is a number of bytes");
    };
    let bytes = match payload {
        0 => PACKET_BYTES_MAX,
        payload => payload
            .saturating_add(PACKET_REST_BYTES)
            .min(PACKET_BYTES_MAX),
    };
    if limits.iter().any(|(key, _)| key == "max_packet_size") {
        let why = "max_packet_size, which is written as well, bounds the payload too";
        return Verdict::NotNeeded { why: why.into() };
    }
    put(limits, "max_packet_size", bytes.to_string());
    Verdict::Differs {
        how: format!(
            "max_packet_size = {bytes}: it counts the whole packet, so there is room for the longest topic"
        ),
    }
}

/// `2h`, `14d`, `8w`, `6m`, `1y` as a time of ours; months have 30 days and years 365, as mosquitto counts them.
fn expiry(value: &str) -> Option<String> {
    let unit = value.chars().last()?;
    let number: u64 = value.strip_suffix(unit)?.trim().parse().ok()?;
    let hours = match unit {
        'h' => number,
        'd' => number.checked_mul(24)?,
        'w' => number.checked_mul(24 * 7)?,
        'm' => number.checked_mul(24 * 30)?,
        'y' => number.checked_mul(24 * 365)?,
        _ => return None,
    };
    // The longest time that MQTT has is 136 years.
    let hours = hours.min(1_193_046);
    Some(if hours % 24 == 0 {
        format!("{} d", hours / 24)
    } else {
        format!("{hours} h")
    })
}

/// The last line counts.
fn put(limits: &mut Vec<(String, String)>, key: &str, value: String) {
    limits.retain(|(known, _)| known != key);
    limits.push((key.to_owned(), value));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expiry_has_the_units_of_mosquitto() {
        assert_eq!(expiry("2h").as_deref(), Some("2 h"));
        assert_eq!(expiry("14d").as_deref(), Some("14 d"));
        assert_eq!(expiry("1m").as_deref(), Some("30 d"));
        assert_eq!(expiry("900y").as_deref(), Some("1193046 h"));
        for wrong in ["", "d", "1", "1s", "-1d", "99999999999999999999d"] {
            assert_eq!(expiry(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_last_line_counts() {
        let mut conf = Conf::default();
        gateway(&mut conf, "max_inflight_messages", "20");
        gateway(&mut conf, "max_inflight_messages", "0");
        assert_eq!(
            conf.limits,
            [("inflight_messages_max".to_owned(), "65535".to_owned())]
        );
    }
}
