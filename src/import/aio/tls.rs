//! `tls` of a port.

use super::fields::{At, Fields, Notes, Word};
use super::objects::{Materials, WantedCertificate};
use crate::config::{DnsName, KeyAlgorithm};
use crate::import::text::{list, quote};

/// Names and addresses of one certificate.
const NAMES_MAX: usize = 32;

const MODES: &[Word] = &[("Automatic", &[]), ("Manual", &[])];

pub(super) const ALGORITHMS: &[Word] = &[
    ("Ec256", &["ec-p256"]),
    ("Ec384", &["ec-p384"]),
    ("Ec521", &["ec-p521"]),
    ("Ed25519", &[]),
    ("Rsa2048", &[]),
    ("Rsa4096", &[]),
    ("Rsa8192", &[]),
];

pub(super) const ROTATION_POLICIES: &[Word] = &[("Always", &[]), ("Never", &[])];

/// What may be wished of a certificate.
const WISHES: &[&str] = &[
    "issuerRef|issuer",
    "secretName",
    "secretNamespace",
    "duration",
    "renewBefore",
    "privateKey",
    "san",
];

/// Group of the issuers of cert-manager.
const CERT_MANAGER: &str = "cert-manager.io";

/// Kinds of them.
const ISSUERS: &[Word] = &[("Issuer", &[]), ("ClusterIssuer", &[])];

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

/// The port that a table belongs to.
pub(super) struct Place<'p> {
    pub(super) listener: &'p str,
    pub(super) service: Option<&'p str>,
    pub(super) port: u16,
    pub(super) namespace: Option<&'p str>,
    pub(super) materials: &'p mut Materials,
    /// The kind of the keys that the gateway makes.
    pub(super) chain: &'p mut Option<KeyAlgorithm>,
}

impl Place<'_> {
    /// The names under which pods reach the port, where it is in a cluster.
    fn names(&self) -> Vec<String> {
        let service = self.service.unwrap_or(self.listener);
        let cluster = self.materials.cluster.as_ref();
        cluster.map_or_else(Vec::new, |cluster| {
            crate::kubernetes::service_names(service, &cluster.namespace)
        })
    }

    /// Whether cert-manager issues certificates here.
    fn has_cert_manager(&self) -> bool {
        let cluster = self.materials.cluster.as_ref();
        cluster.is_some_and(|cluster| cluster.has_cert_manager)
    }
}

/// The table of a port; `None` where it cannot be told, which is noted.
pub(super) fn translate(
    notes: &mut Notes<'_>,
    at: &At<'_>,
    mut place: Place<'_>,
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
        return automatically(notes, automatic, &mut place);
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
        place.materials.secret_namespace(notes, at);
    }
    let Some(at) = below.get("secretRef") else {
        notes.missing(&below, "secretRef");
        return None;
    };
    let (cert, key) = place.materials.key_pair(notes, at, place.namespace)?;
    Some(from_files(&cert, &key))
}

fn from_files(cert: &str, key: &str) -> TlsPlan {
    TlsPlan(vec![
        ("mode", quote("Manual")),
        ("cert", quote(cert)),
        ("key", quote(key)),
    ])
}

/// A certificate of cert-manager, where that is there and an issuer is named, else one of the gateway's own authority.
fn automatically(
    notes: &mut Notes<'_>,
    wishes: Option<&At<'_>>,
    place: &mut Place<'_>,
) -> Option<TlsPlan> {
    if let Some(at) = wishes
        && place.has_cert_manager()
        && let Some(fields) = notes.fields(at, WISHES)
        && let Some(issuer) = fields.get("issuerRef")
    {
        let (cert, key) = issued(notes, &fields, issuer, place)?;
        return Some(from_files(&cert, &key));
    }
    let mut table = vec![("mode", quote("Automatic"))];
    let mut dns = place.names();
    match wishes {
        Some(at) => certificate(notes, at, place, &mut table, dns),
        None if dns.is_empty() => {}
        None => {
            dns.dedup();
            table.push(("dns", list(dns.iter().map(String::as_str))));
        }
    }
    Some(TlsPlan(table))
}

/// The certificate that cert-manager is asked for, and the files that it comes in.
fn issued(
    notes: &mut Notes<'_>,
    fields: &Fields<'_>,
    issuer: &At<'_>,
    place: &mut Place<'_>,
) -> Option<(String, String)> {
    let Issuer { name, kind, group } = named_issuer(notes, issuer)?;
    let mut wanted = WantedCertificate {
        texts: vec![notes.file()],
        secret: format!("{}-{}", place.listener, place.port),
        issuer: name,
        issuer_kind: kind,
        issuer_group: group,
        dns: place.names(),
        ip: Vec::new(),
        times: [None, None],
        algorithm: None,
        rotation_policy: None,
    };
    if let Some(at) = fields.get("secretNamespace") {
        place.materials.secret_namespace(notes, at);
    }
    let mut secret_at = issuer.clone();
    if let Some(at) = fields.get("secretName") {
        wanted.secret = super::objects::object_name(notes, at)?.to_owned();
        secret_at = at.clone();
    }
    for (key, slot) in ["duration", "renewBefore"].into_iter().zip(0..) {
        if let Some(at) = fields.get(key) {
            seconds(notes, at)?;
            wanted.times[slot] = notes.text(at).map(ToOwned::to_owned);
            notes.translated(at, format!("{key} of the Certificate"));
        }
    }
    wished_key(notes, fields, &mut wanted);
    if let Some(at) = fields.get("san") {
        let mut table = Table::new();
        let (dns, ip) = names(notes, at, &mut table, wanted.dns.clone());
        (wanted.dns, wanted.ip) = (dns, ip);
    }
    notes.translated(
        issuer,
        format!(
            "a Certificate of cert-manager, in the Secret {}",
            wanted.secret
        ),
    );
    let named = wanted.secret.clone();
    ask_for(notes, &secret_at, wanted, &mut place.materials.certificates)?;
    Some(
        place
            .materials
            .key_pair_of(notes, &secret_at, &named, place.namespace),
    )
}

/// Asks for a certificate. Where another port has the same Secret, the one that it asks for is for these names as well: two
/// would take turns in it without an end.
fn ask_for(
    notes: &mut Notes<'_>,
    at: &At<'_>,
    wanted: WantedCertificate,
    all: &mut Vec<WantedCertificate>,
) -> Option<()> {
    // What is of faulty texts alone goes with them.
    let known = all.iter_mut().find(|known| {
        known.secret == wanted.secret && known.texts.iter().any(|text| !notes.has_bad(*text))
    });
    let Some(known) = known else {
        all.push(wanted);
        return Some(());
    };
    if let Some(field) = difference(known, &wanted) {
        let why = format!(
            "the Secret {} is that of another port with another {field}; write the same there, or give this port a `secretName` of its own",
            wanted.secret
        );
        notes.bad(at, why);
        return None;
    }
    for (all, more) in [(&mut known.dns, wanted.dns), (&mut known.ip, wanted.ip)] {
        for name in more {
            if !all.contains(&name) {
                all.push(name);
            }
        }
    }
    known.texts.extend(wanted.texts);
    known.texts.sort_unstable();
    known.texts.dedup();
    Some(())
}

/// The field in which two certificates differ that cannot be both.
fn difference(one: &WantedCertificate, other: &WantedCertificate) -> Option<&'static str> {
    let issuer = |wanted: &WantedCertificate| {
        let WantedCertificate {
            issuer,
            issuer_kind,
            issuer_group,
            ..
        } = wanted;
        [issuer, issuer_kind, issuer_group].map(String::clone)
    };
    let times = |wanted: &WantedCertificate| {
        let times = wanted.times.each_ref();
        times.map(|time| time.as_deref().and_then(go_duration))
    };
    let rotation_policy = |wanted: &WantedCertificate| wanted.rotation_policy.unwrap_or("Always");
    if issuer(one) != issuer(other) {
        return Some("issuerRef");
    }
    if times(one) != times(other) {
        return Some("duration or renewBefore");
    }
    let is_same_key =
        one.algorithm == other.algorithm && rotation_policy(one) == rotation_policy(other);
    (!is_same_key).then_some("privateKey")
}

/// Who issues a certificate.
struct Issuer {
    name: String,
    kind: String,
    group: String,
}

/// An issuer as cert-manager looks it up, which knows one spelling of each word. Those of other groups are called as those like.
fn named_issuer(notes: &mut Notes<'_>, at: &At<'_>) -> Option<Issuer> {
    let fields = notes.fields(at, &["name", "kind", "group"])?;
    let Some(name) = fields.get("name") else {
        notes.missing(&fields, "name");
        return None;
    };
    let name = super::objects::object_name(notes, name)?.to_owned();
    let group = match fields.get("group") {
        Some(at) => notes.text(at)?.to_ascii_lowercase(),
        None => CERT_MANAGER.to_owned(),
    };
    let kind = match fields.get("kind") {
        Some(at) if group == CERT_MANAGER => notes.word(at, ISSUERS)?,
        Some(at) => notes.text(at)?,
        None => "Issuer",
    };
    Some(Issuer {
        name,
        kind: kind.to_owned(),
        group,
    })
}

/// What cert-manager is told about the key.
fn wished_key(notes: &mut Notes<'_>, fields: &Fields<'_>, wanted: &mut WantedCertificate) {
    let Some(at) = fields.get("privateKey") else {
        return;
    };
    let Some(below) = notes.fields(at, &["algorithm", "rotationPolicy"]) else {
        return;
    };
    if let Some(at) = below.get("algorithm") {
        wanted.algorithm = notes.word(at, ALGORITHMS);
    }
    if let Some(at) = below.get("rotationPolicy") {
        wanted.rotation_policy = notes.word(at, ROTATION_POLICIES);
    }
    notes.translated(at, "privateKey of the Certificate");
}

/// What is wished of a certificate that is issued here.
fn certificate(
    notes: &mut Notes<'_>,
    at: &At<'_>,
    place: &mut Place<'_>,
    table: &mut Table,
    mut own: Vec<String>,
) {
    let Some(fields) = notes.fields(at, WISHES) else {
        return;
    };
    for (key, below) in fields.iter() {
        match key {
            "issuerRef" => {
                named_issuer(notes, below);
                let how = "the authority of the gateway issues the certificate; see docs/ca.md for one under your own";
                notes.differs(below, how);
            }
            "privateKey" => private_key(notes, below, place.chain, table),
            "san" => drop(names(notes, below, table, std::mem::take(&mut own))),
            "duration" | "renewBefore" => {}
            // With cert-manager it would be refused there, and may come any day.
            "secretNamespace" => drop(place.materials.secret_namespace(notes, below)),
            _ => notes.not_needed(below, "the certificate is kept in the state folder"),
        }
    }
    if !own.is_empty() {
        table.push(("dns", list(own.iter().map(String::as_str))));
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

pub(super) fn seconds(notes: &mut Notes<'_>, at: &At<'_>) -> Option<u64> {
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
                "left out: the keys of the authority are {first}, and so is that of this port: one chain has keys of one kind"
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
        && let Some(word) = notes.word(at, ROTATION_POLICIES)
    {
        notes.translated(at, format!("tls.rotation_policy = \"{word}\""));
        table.push(("rotation_policy", quote(word)));
    }
}

/// The names of a certificate, `own` before all others, and its addresses.
fn names(
    notes: &mut Notes<'_>,
    at: &At<'_>,
    table: &mut Table,
    own: Vec<String>,
) -> (Vec<String>, Vec<String>) {
    let (mut dns, mut ip) = (own, Vec::new());
    let Some(fields) = notes.fields(at, &["dns", "ip"]) else {
        return (dns, ip);
    };
    let mut count = dns.len();
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
        let all = if key == "dns" { &mut dns } else { &mut ip };
        for text in texts {
            if !all.contains(&text) {
                all.push(text);
            }
        }
    }
    for (key, all) in [("dns", &dns), ("ip", &ip)] {
        if !all.is_empty() {
            table.push((key, list(all.iter().map(String::as_str))));
        }
    }
    (dns, ip)
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
