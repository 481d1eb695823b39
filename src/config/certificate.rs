//! `tls = { … }` and `[ca]`: where certificates of ports come from, and what the authority of the gateway is like.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use super::access::Network;
use super::certificate_names::{DnsName, KeyAlgorithm};
use super::conflicts;
use super::faults::{Draft, Faults};
use super::limit_keys::Setting;
use super::reader::{Scope, choose, missing, read, unknown_keys};
use super::report::FaultCode;
use super::settings::{
    AutomaticCertificate, CaSettings, RotationPolicy, TlsMode, TlsSettings, TlsVersion,
};
use super::source::quoted;
use super::texts::read_list;
use super::tree::Value;
use super::units::render_time;
use super::value::{self, Complaint};

/// Names and addresses of a port that may be written; the certificate has room for those of the machine besides.
pub(super) const EXTRA_NAMES_MAX: usize = 32;

/// Keys that belong to one mode only.
const MANUAL_KEYS: [&str; 2] = ["cert", "key"];
const AUTOMATIC_KEYS: [&str; 6] = [
    "dns",
    "ip",
    "key_algorithm",
    "rotation_policy",
    "duration",
    "renew_before",
];

/// Reads the table `tls` of a port.
pub(super) fn tls(scope: &Scope<'_>, faults: &mut Faults) -> Option<TlsSettings> {
    unknown_keys(scope, faults);
    let mode = choose(scope, "mode", faults);
    let min_version = match choose(scope, "min_version", faults) {
        Some(1) => TlsVersion::V1_3,
        _ => TlsVersion::V1_2,
    };
    let mode = match mode {
        Some(1) => {
            for key in MANUAL_KEYS {
                conflicts::refuse(
                    scope,
                    key,
                    "means nothing with mode = \"Automatic\"",
                    faults,
                );
            }
            Some(TlsMode::Automatic(automatic(scope, faults)))
        }
        _ => {
            for key in AUTOMATIC_KEYS.iter().filter(|_| mode.is_some()) {
                conflicts::refuse(scope, key, "means nothing with mode = \"Manual\"", faults);
            }
            manual(scope, faults)
        }
    };
    Some(TlsSettings {
        mode: mode?,
        min_version,
    })
}

fn manual(scope: &Scope<'_>, faults: &mut Faults) -> Option<TlsMode> {
    for key in ["mode", "cert", "key"] {
        if scope.entry(key).is_none() {
            missing(scope, key, faults);
        }
    }
    let file = |v: &Value, beside: &Path| value::path(v, beside);
    let cert = read(scope, "cert", faults, file);
    let key = read(scope, "key", faults, file);
    Some(TlsMode::Manual {
        cert: cert?,
        key: key?,
    })
}

fn automatic(scope: &Scope<'_>, faults: &mut Faults) -> AutomaticCertificate {
    let mut wanted = AutomaticCertificate::default();
    let dns = read_list(scope, "dns", faults, |value, _| dns_name(value));
    wanted.dns = dns.unwrap_or_default().into_iter().collect();
    let ip = read_list(scope, "ip", faults, |value, _| ip(value));
    wanted.ip = ip.unwrap_or_default().into_iter().collect();
    check_count(scope, &wanted, faults);
    wanted.key_algorithm =
        choose(scope, "key_algorithm", faults).and_then(|at| KeyAlgorithm::ALL.get(at).copied());
    if choose(scope, "rotation_policy", faults) == Some(1) {
        wanted.rotation_policy = RotationPolicy::Never;
    }
    for (key, time) in [
        ("duration", &mut wanted.duration),
        ("renew_before", &mut wanted.renew_before),
    ] {
        if let Some(millis) = time_of(scope, key, faults) {
            *time = Duration::from_millis(millis);
        }
    }
    // A short-lived certificate is renewed after two thirds, as the long-lived one is by default.
    if scope.entry("renew_before").is_none() {
        wanted.renew_before = wanted.renew_before.min(wanted.duration / 3);
    }
    check_times(scope, &wanted, faults);
    wanted
}

fn time_of(scope: &Scope<'_>, key: &str, faults: &mut Faults) -> Option<u64> {
    let kind = scope.spec.key(key)?.kind;
    match read(scope, key, faults, |v, _| value::setting(v, kind)) {
        Some(Setting::Number(number)) => number,
        _ => None,
    }
}

fn check_count(scope: &Scope<'_>, wanted: &AutomaticCertificate, faults: &mut Faults) {
    let count = wanted.dns.len() + wanted.ip.len();
    let written = ["ip", "dns"].map(|key| scope.entry(key));
    if let (true, Some(entry)) = (
        count > EXTRA_NAMES_MAX,
        written.into_iter().flatten().next(),
    ) {
        let message =
            format!("there are {count} names and addresses, and at most {EXTRA_NAMES_MAX} fit");
        faults.push(
            Draft::error(FaultCode::BadValue, entry.node.at, message)
                .key(scope.path_of(&entry.key))
                .hint("addresses of this machine and its host name need not be written"),
        );
    }
}

/// A certificate that is to be renewed before it is made would be made again and again.
fn check_times(scope: &Scope<'_>, wanted: &AutomaticCertificate, faults: &mut Faults) {
    if wanted.renew_before < wanted.duration {
        return;
    }
    let Some(entry) = scope.entry("renew_before") else {
        return;
    };
    let shown = |time: Duration| render_time(time.as_millis().try_into().unwrap_or(u64::MAX));
    let message = format!(
        "`renew_before` is {}, and `duration` {}: the certificate would be renewed as soon as it is made",
        shown(wanted.renew_before),
        shown(wanted.duration)
    );
    faults.push(
        Draft::error(FaultCode::Conflict, entry.node.at, message)
            .key(scope.path_of("renew_before"))
            .hint("make `renew_before` shorter than `duration`; a third of it is usual"),
    );
}

/// Reads `[ca]`.
pub(super) fn ca(scope: Option<&Scope<'_>>, faults: &mut Faults) -> CaSettings {
    let mut ca = CaSettings::default();
    let Some(scope) = scope else {
        return ca;
    };
    unknown_keys(scope, faults);
    if let Some(algorithm) =
        choose(scope, "algorithm", faults).and_then(|at| KeyAlgorithm::ALL.get(at).copied())
    {
        ca.algorithm = algorithm;
    }
    let dns = read_list(scope, "permit_dns", faults, |value, _| dns_name(value));
    ca.permit_dns = unique(dns);
    let ip = read_list(scope, "permit_ip", faults, |value, _| {
        permitted_network(value)
    });
    ca.permit_ip = ip.unwrap_or_default();
    ca
}

/// Notes ports whose key cannot be of the kind that they ask for.
pub(super) fn check_algorithm(
    scope: &Scope<'_>,
    algorithm: Option<KeyAlgorithm>,
    ca: &CaSettings,
    faults: &mut Faults,
) {
    let (Some(wanted), Some(entry)) = (algorithm, scope.entry("key_algorithm")) else {
        return;
    };
    if wanted.family() == ca.algorithm.family() {
        return;
    }
    let message = format!(
        "the key of the port is {wanted}, and those of the authority are {}: one chain has keys of one kind",
        ca.algorithm
    );
    faults.push(
        Draft::error(FaultCode::Conflict, entry.node.at, message)
            .key(scope.path_of("key_algorithm"))
            .hint(format!(
                "remove the key, or write [ca] with algorithm = \"{wanted}\" before the authority is made"
            )),
    );
}

fn unique<T: Ord>(list: Option<Vec<T>>) -> Vec<T> {
    let set: BTreeSet<T> = list.unwrap_or_default().into_iter().collect();
    set.into_iter().collect()
}

fn dns_name(value: &Value) -> Result<DnsName, Complaint> {
    let typed = value::text(value, "a DNS name in quotes")?;
    DnsName::parse(typed.trim()).map_err(|problem| {
        let complaint = Complaint::bad(format!("has {}: {problem}", quoted(typed)));
        match typed.trim().parse::<IpAddr>() {
            Ok(_) => complaint.hint("write addresses under `ip`"),
            Err(_) => complaint,
        }
    })
}

fn ip(value: &Value) -> Result<IpAddr, Complaint> {
    let typed = value::text(value, "an address in quotes")?;
    let typed = typed.trim();
    typed.parse().map_err(|_| {
        let complaint = Complaint::bad(format!("has {}, which is no address", quoted(typed)));
        let is_name = DnsName::parse(typed).is_ok();
        complaint.maybe_hint(is_name.then(|| "write names under `dns`".to_owned()))
    })
}

fn permitted_network(value: &Value) -> Result<Network, Complaint> {
    let typed = value::text(value, "a network in quotes, such as \"10.0.0.0/8\"")?;
    Network::try_from(typed.trim())
        .map_err(|fault| Complaint::bad(format!("has {}, which {fault}", quoted(typed))))
}
