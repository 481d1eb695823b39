//! The committed documents and files agree with the code.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

use super::{compare, root};
use crate::config::authentication_keys::CUSTOM;
use crate::config::limit_keys::{GATEWAY_LIMITS, LimitSpec, PORT_LIMITS, PORT_OWN_LIMITS};
use crate::config::manual::default_of;
use crate::config::schema::{Absence, Kind, PROTECTION, ROOT, TABLES};
use crate::config::{
    Authentication, Authorization, DEFAULT_TEXT, GatewayName, InstanceName, ServiceName, Settings,
    load, parse, reference,
};

#[test]
fn the_default_text_means_the_default_settings() {
    assert_eq!(parse(DEFAULT_TEXT).unwrap(), Settings::default());
}

/// Takes away the `#` in front of every key and header.
fn uncommented(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let is_key = line.strip_prefix('#').is_some_and(|rest| {
            rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[')
                && (rest.starts_with('[') || rest.contains(" = "))
        });
        out.push_str(if is_key {
            line.trim_start_matches('#')
        } else {
            line
        });
        out.push('\n');
    }
    out
}

#[test]
fn what_is_commented_out_in_the_default_text_is_the_default() {
    let settings = parse(&uncommented(DEFAULT_TEXT)).unwrap_or_else(|report| panic!("{report}"));
    let mut expected = Settings::default();
    // These have no default that could be written.
    expected.gateway.name = GatewayName::try_from("gw-01").unwrap();
    expected.discovery.instance = Some(InstanceName::try_from("Hall 3").unwrap());
    expected.listeners[0].service_name = Some(ServiceName::try_from("default").unwrap());
    expected.admin.control_socket = Some("/run/fieldgate/control.sock".into());
    // Neither have these: they are an example.
    expected
        .authentications
        .clone_from(&settings.authentications);
    expected.authorizations.clone_from(&settings.authorizations);
    let tls = settings.listeners[0].ports[1].clone();
    let names = (&tls.authentication, &tls.authorization);
    let Authentication::Named(devices) = names.0 else {
        panic!("the example asks nobody");
    };
    let Authorization::Named(rules) = names.1 else {
        panic!("the example has no rules");
    };
    assert_eq!(expected.authentications, [Arc::clone(devices)]);
    assert_eq!(expected.authorizations, [Arc::clone(rules)]);
    assert_eq!(tls.endpoint.to_string(), "*:8883");
    assert!(tls.tls.is_some());
    expected.listeners[0].ports.push(tls);
    assert_eq!(settings, expected);
}

#[test]
fn the_default_text_names_every_key() {
    let has = |key: &str| {
        DEFAULT_TEXT.lines().any(|line| {
            let line = line.trim_start_matches(['#', ' ']);
            line.strip_prefix(key)
                .is_some_and(|rest| rest.starts_with(" ="))
        })
    };
    // Those under a name of their own have no defaults that the file could show; it has an example.
    for table in TABLES.iter().filter(|table| !table.header.contains("NAME")) {
        for key in table.keys() {
            let is_table = matches!(key.kind, Kind::Tables(_)) || key.name == "tls";
            // Keys of `tls` stand in one line.
            let inline = ["\"", "["].iter().any(|begin| {
                let written = format!(" {} = {begin}", key.name);
                DEFAULT_TEXT.contains(&written)
            });
            assert!(
                is_table || inline || has(key.name),
                "{} is not shown",
                key.name
            );
        }
    }
}

#[test]
fn the_default_text_shows_the_defaults_of_the_code() {
    for limit in GATEWAY_LIMITS.iter().chain(PORT_LIMITS) {
        let line = format!("#{} = {}\n", limit.key.name, default_of(limit));
        assert!(DEFAULT_TEXT.contains(&line), "{line}");
    }
}

#[test]
fn every_example_is_right_and_says_nothing_surprising() {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(root().join("config/examples")).unwrap() {
        let path = entry.unwrap().path();
        // A folder has files that belong to a walk-through.
        if path.is_dir() {
            continue;
        }
        let loaded = load(Some(&path)).unwrap_or_else(|report| panic!("{report}"));
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
        found.insert(path.file_name().unwrap().to_string_lossy().into_owned());
    }
    let expected = [
        "cluster-tokens.toml",
        "devices-with-certificates.toml",
        "http-back-end.toml",
        "many-ports.toml",
        "plain-lan.toml",
        "tls-only.toml",
        "websocket-dashboard.toml",
    ];
    assert_eq!(found, expected.map(str::to_owned).into());
}

#[test]
fn the_reference_is_the_committed_one() {
    compare("docs/configuration.md", &reference());
}

#[test]
fn the_reference_holds_every_key_and_its_links_lead_somewhere() {
    let text = reference();
    for table in TABLES {
        assert!(text.contains(&format!("### `{}`", table.header)));
        for key in table.keys() {
            assert!(
                text.contains(&format!("| `{}` |", key.name)),
                "{}",
                key.name
            );
        }
    }
    assert!(ROOT.keys().all(|key| key.kind.is_table()));
}

#[test]
fn no_name_for_a_key_stands_for_two() {
    for table in TABLES {
        let mut seen = BTreeSet::new();
        for key in table.keys() {
            for name in std::iter::once(&key.name).chain(key.elsewhere) {
                assert!(seen.insert(*name), "{name} in {}", table.header);
            }
        }
    }
}

/// The documentation of each field of a struct in `limits.rs`.
fn reasons(source: &str, name: &str) -> BTreeMap<String, String> {
    let start = source.find(&format!("pub struct {name} {{")).unwrap();
    let mut reasons = BTreeMap::new();
    let mut doc = String::new();
    for line in source[start..].lines().skip(1) {
        let line = line.trim();
        if line == "}" {
            break;
        }
        if let Some(text) = line.strip_prefix("///") {
            doc.push_str(text.trim());
            doc.push('\n');
        } else if let Some(field) = line.strip_prefix("pub ") {
            let field = field.split(':').next().unwrap().to_owned();
            reasons.insert(field, std::mem::take(&mut doc));
        }
    }
    reasons
}

/// The paragraph that gives the reason for a default, without the default itself.
fn reason_for(doc: &str) -> String {
    let paragraphs: Vec<String> = doc
        .split("\n\n")
        .map(|paragraph| paragraph.trim().replace('\n', " "))
        .collect();
    let default = paragraphs.iter().position(|p| p.starts_with("Default "));
    match default {
        Some(at) => paragraphs[at].clone(),
        None => String::new(),
    }
}

fn rows(out: &mut String, limits: &[LimitSpec], reasons: &BTreeMap<String, String>) {
    for limit in limits {
        let reason = reason_for(&reasons[limit.key.name]);
        let default = default_of(limit);
        assert!(
            states(&reason, &default),
            "limits.rs says of {}: {reason}; it is {default}",
            limit.key.name
        );
        let reason = reason.split_once(": ").map_or("", |(_, why)| why);
        writeln!(out, "| `{}` | `{default}` | {reason} |", limit.key.name).unwrap();
    }
}

/// The defaults of `[protection]` and of servers that are asked.
fn access_rows(out: &mut String, head: &str) {
    let source = std::fs::read_to_string(root().join("src/config/access.rs")).unwrap();
    for (title, table, name) in [
        ("Failed logins", &PROTECTION, "ProtectionSettings"),
        ("Servers that are asked", &CUSTOM, "BackendSettings"),
    ] {
        let reasons = reasons(&source, name);
        write!(out, "\n## {title}\n\n{head}").unwrap();
        for (field, doc) in &reasons {
            let key = table
                .key(field)
                .unwrap_or_else(|| panic!("{field} is no key"));
            let Absence::Default(default) = key.absence else {
                panic!("{field} has no default");
            };
            let reason = reason_for(doc);
            if matches!(key.kind, Kind::Choice(_) | Kind::Texts(_)) {
                continue;
            }
            assert!(
                states(&reason, default),
                "access.rs says of {field}: {reason}; it is {default}"
            );
            let reason = reason.split_once(": ").map_or("", |(_, why)| why);
            writeln!(out, "| `{field}` | `{default}` | {reason} |").unwrap();
        }
    }
}

/// Whether a text that begins "Default 10,000: …" names this default.
fn states(reason: &str, default: &str) -> bool {
    let plain = |text: &str| text.replace(['"', '_', ',', ' ', '`'], "").to_lowercase();
    let head = reason.split([':', '.']).next().unwrap_or_default();
    let head = plain(head.strip_prefix("Default ").unwrap_or_default());
    head.starts_with(&plain(default))
}

#[test]
fn every_default_has_its_reason() {
    let source = std::fs::read_to_string(root().join("src/limits.rs")).unwrap();
    let (gateway, port) = (reasons(&source, "Limits"), reasons(&source, "PortLimits"));
    let named = |limits: &[&[LimitSpec]]| -> BTreeSet<String> {
        let all = limits.iter().flat_map(|group| group.iter());
        all.map(|limit| limit.key.name.to_owned()).collect()
    };
    let mut gateway_fields: BTreeSet<String> = gateway.keys().cloned().collect();
    gateway_fields.remove("port");
    assert_eq!(named(&[GATEWAY_LIMITS]), gateway_fields);
    let port_fields: BTreeSet<String> = port.keys().cloned().collect();
    assert_eq!(named(&[PORT_LIMITS, PORT_OWN_LIMITS]), port_fields);

    let mut out = String::from(
        "# Why each default is what it is\n\n\
         <!-- Made from src/limits.rs by a test, FIELDGATE_BLESS=1 cargo test --lib config::. Change the source, not this file. -->\n\n\
         Every bound of the gateway is a key of `[limits]` in the [configuration file](configuration.md); those of a port can be \
         set for one port alone. Defaults of `[protection]` and of servers that judge clients follow. A bound that is reached is counted, and answered with the reason code that the standard names.\n",
    );
    let head = "| key | default | why |\n|---|---|---|\n";
    write!(out, "\n## The whole gateway\n\n{head}").unwrap();
    rows(&mut out, GATEWAY_LIMITS, &gateway);
    write!(out, "\n## Every port\n\n{head}").unwrap();
    rows(&mut out, PORT_LIMITS, &port);
    write!(out, "\n## One port alone\n\n{head}").unwrap();
    rows(&mut out, PORT_OWN_LIMITS, &port);
    access_rows(&mut out, head);
    compare("docs/defaults.md", &out);
}
