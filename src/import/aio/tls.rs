//! `tls` of a port.

use super::fields::{At, Fields, Notes, Word};
use super::objects::Materials;
use crate::config::{DnsName, KeyAlgorithm};
use crate::import::text::{list, quote};

/// Names and addresses of one certificate.
const NAMES_MAX: usize = 32;

const MODES: &[Word] = &[("Automatic", &[]), ("Manual", &[])];

const ALGORITHMS: &[Word] = &[
    ("Ec256", &["ec-p256"]),
    ("Ec384", &["ec-p384"]),
    ("Ec521", &["ec-p521"]),
    ("Ed25519", &[]),
    ("Rsa2048", &[]),
    ("Rsa4096", &[]),
    ("Rsa8192", &[]),
];

/// How long a certificate may be valid, in seconds.
const DURATION: (u64, u64) = (3600, 5 * 365 * 86_400);

/// How long it is valid if nothing is said.
const DURATION_DEFAULT: u64 = 90 * 86_400;

/// A table in one line.
pub(super) struct TlsPlan(Table);

/// Keys and their values, in the order in which they are written.
type Table = Vec<(&'static str, String)>;

impl TlsPlan {
    pub(super) fn render(&self) -> String {
        let parts: Vec<String> = self
            .0
            .iter()
            .map(|(key, value)| format!("{key} = {value}"))
            .collect();
        format!("{{ {} }}", parts.join(", "))
    }
}

/// The table of a port; `None` where it cannot be told, which is noted.
pub(super) fn translate(
    notes: &mut Notes<'_>,
    at: &At<'_>,
    materials: &mut Materials,
    namespace: Option<&str>,
    chain: &mut Option<KeyAlgorithm>,
) -> Option<TlsPlan> {
    let keys = &["mode", "certManagerCertificateSpec|automatic", "manual"];
    let fields = notes.fields(at, keys)?;
    let (automatic, manual) = (
        fields.get("certManagerCertificateSpec"),
        fields.get("manual"),
    );
    let mode = match (fields.get("mode"), automatic, manual) {
        (Some(at), ..) => {
            let mode = notes.word(at, MODES)?;
            notes.translated(at, format!("tls.mode = \"{mode}\""));
            mode
        }
        (None, Some(_), None) => "Automatic",
        (None, None, Some(_)) => "Manual",
        (None, ..) => {
            notes.missing(&fields, "mode");
            return None;
        }
    };
    if mode == "Automatic" {
        if let Some(at) = manual {
            notes.bad(at, "it belongs to the mode Manual");
        }
        let mut table = vec![("mode", quote("Automatic"))];
        if let Some(at) = automatic {
            certificate(notes, at, chain, &mut table);
        }
        return Some(TlsPlan(table));
    }
    if let Some(at) = automatic {
        notes.bad(at, "it belongs to the mode Automatic");
    }
    let Some(at) = manual else {
        notes.missing(&fields, "manual");
        return None;
    };
    let below = notes.fields(at, &["secretRef|secretName", "secretNamespace|namespace"])?;
    if let Some(at) = below.get("secretNamespace") {
        notes.not_needed(at, "the certificate becomes a file");
    }
    let Some(at) = below.get("secretRef") else {
        notes.missing(&below, "secretRef");
        return None;
    };
    let (cert, key) = materials.key_pair(notes, at, namespace)?;
    Some(TlsPlan(vec![
        ("mode", quote("Manual")),
        ("cert", quote(&cert)),
        ("key", quote(&key)),
    ]))
}

/// What is wished of a certificate that is issued here.
fn certificate(
    notes: &mut Notes<'_>,
    at: &At<'_>,
    chain: &mut Option<KeyAlgorithm>,
    table: &mut Table,
) {
    let keys = &[
        "issuerRef|issuer",
        "secretName",
        "secretNamespace",
        "duration",
        "renewBefore",
        "privateKey",
        "san",
    ];
    let Some(fields) = notes.fields(at, keys) else {
        return;
    };
    for (key, below) in fields.iter() {
        match key {
            "issuerRef" => {
                if let Some(fields) = notes.fields(below, &["name", "kind", "group"])
                    && let Some(at) = fields.get("kind")
                {
                    notes.word(at, &[("Issuer", &[]), ("ClusterIssuer", &[])]);
                }
                let how = "the authority of the gateway issues the certificate; see docs/ca.md for one under your own";
                notes.differs(below, how);
            }
            "privateKey" => private_key(notes, below, chain, table),
            "san" => names(notes, below, table),
            "duration" | "renewBefore" => {}
            _ => notes.not_needed(below, "the certificate is kept in the state folder"),
        }
    }
    times(notes, &fields, table);
}

fn times(notes: &mut Notes<'_>, fields: &Fields<'_>, table: &mut Table) {
    let mut duration = DURATION_DEFAULT;
    if let Some(at) = fields.get("duration")
        && let Some(wanted) = seconds(notes, at)
    {
        duration = wanted.clamp(DURATION.0, DURATION.1);
        let value = quote(&shown_duration(duration));
        if duration == wanted {
            notes.translated(at, format!("tls.duration = {value}"));
        } else {
            notes.differs(
                at,
                format!("tls.duration = {value}, which is as far as it goes"),
            );
        }
        table.push(("duration", value));
    }
    if let Some(at) = fields.get("renewBefore")
        && let Some(wanted) = seconds(notes, at)
    {
        if (60..duration).contains(&wanted) {
            let value = quote(&shown_duration(wanted));
            notes.translated(at, format!("tls.renew_before = {value}"));
            table.push(("renew_before", value));
        } else {
            let how = "left out: it is not between a minute and the duration, so a third of that is taken";
            notes.differs(at, how);
        }
    }
}

fn seconds(notes: &mut Notes<'_>, at: &At<'_>) -> Option<u64> {
    let seconds = go_duration(notes.text(at)?);
    if seconds.is_none() {
        notes.bad(at, "it takes a duration such as 2160h or 30m");
    }
    seconds
}

fn private_key(
    notes: &mut Notes<'_>,
    at: &At<'_>,
    chain: &mut Option<KeyAlgorithm>,
    table: &mut Table,
) {
    let Some(fields) = notes.fields(at, &["algorithm", "rotationPolicy"]) else {
        return;
    };
    if let Some(at) = fields.get("algorithm")
        && let Some(word) = notes.word(at, ALGORITHMS)
    {
        let (ours, is_same) = match word {
            "Ec256" => (KeyAlgorithm::EcP256, true),
            "Ec384" => (KeyAlgorithm::EcP384, true),
            "Ec521" => (KeyAlgorithm::EcP384, false),
            "Ed25519" => (KeyAlgorithm::Ed25519, true),
            "Rsa2048" => (KeyAlgorithm::Rsa3072, false),
            "Rsa4096" => (KeyAlgorithm::Rsa4096, true),
            _ => (KeyAlgorithm::Rsa4096, false),
        };
        let first = *chain.get_or_insert(ours);
        let into = format!("tls.key_algorithm = \"{ours}\"");
        if first.family() != ours.family() {
            let how = format!(
                "left out: the authority has keys of the kind {first}, as an earlier port wants it, and so has this one"
            );
            notes.differs(at, how);
        } else {
            match is_same {
                true => notes.translated(at, into),
                false => notes.differs(at, format!("{into}, the nearest that is made here")),
            }
            table.push(("key_algorithm", quote(ours.word())));
        }
    }
    if let Some(at) = fields.get("rotationPolicy")
        && let Some(word) = notes.word(at, &[("Always", &[]), ("Never", &[])])
    {
        notes.translated(at, format!("tls.rotation_policy = \"{word}\""));
        table.push(("rotation_policy", quote(word)));
    }
}

fn names(notes: &mut Notes<'_>, at: &At<'_>, table: &mut Table) {
    let Some(fields) = notes.fields(at, &["dns", "ip"]) else {
        return;
    };
    let mut count = 0;
    for key in ["dns", "ip"] {
        let Some(at) = fields.get(key) else {
            continue;
        };
        let texts = notes.texts(at);
        let is_right = |text: &String| match key {
            "dns" => DnsName::parse(text).is_ok(),
            _ => text.parse::<std::net::IpAddr>().is_ok(),
        };
        count += texts.len();
        if count > NAMES_MAX {
            let why = format!("a certificate has room for {NAMES_MAX} names and addresses");
            notes.bad(at, why);
        }
        if let Some(wrong) = texts.iter().find(|text| !is_right(text)) {
            let what = if key == "dns" { "DNS name" } else { "address" };
            let why = format!("`{}` is no {what}", super::yaml::shown_key(wrong));
            notes.bad(at, why);
        }
        notes.translated(at, format!("tls.{key}"));
        if !texts.is_empty() {
            table.push((key, list(texts.iter().map(String::as_str))));
        }
    }
}

/// Seconds of a duration as Go writes it, of whole hours, minutes and seconds.
fn go_duration(text: &str) -> Option<u64> {
    let mut seconds: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest.get(..end)?.parse().ok()?;
        let unit = rest.get(end..)?.chars().next()?;
        let factor = match unit {
            'h' => 3600,
            'm' => 60,
            's' => 1,
            _ => return None,
        };
        seconds = seconds.checked_add(number.checked_mul(factor)?)?;
        rest = rest.get(end + 1..)?;
    }
    (seconds > 0).then_some(seconds)
}

/// A duration as the configuration writes it.
fn shown_duration(seconds: u64) -> String {
    for (unit, name) in [(86_400, "d"), (3600, "h"), (60, "min")] {
        if seconds.is_multiple_of(unit) {
            return format!("{} {name}", seconds / unit);
        }
    }
    format!("{seconds} s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_of_go() {
        for (text, seconds) in [
            ("2160h", Some("90 d")),
            ("1h30m", Some("90 min")),
            ("5h", Some("5 h")),
            ("61s", Some("61 s")),
            ("", None),
            ("0h", None),
            ("10", None),
            ("1d", None),
            ("h", None),
            ("99999999999999999999h", None),
            ("9999999999999999999h", None),
            ("1é", None),
        ] {
            let shown = go_duration(text).map(shown_duration);
            assert_eq!(shown.as_deref(), seconds, "{text}");
        }
    }
}
