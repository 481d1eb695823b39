//! How much a file may say about access, and what no report repeats of it.

use super::access::{port, settings};
use crate::config::{FaultCode, parse};
use crate::limits::AUTHORIZATION_RULES_MAX;

fn fault(text: &str) -> crate::config::Fault {
    let text = format!("[[listener]]\nname = \"plant\"\n{text}");
    let report = parse(&text).unwrap_err();
    assert_eq!(report.faults.len(), 1, "{report}");
    report.faults[0].clone()
}

#[test]
fn lists_are_bounded_in_bytes() {
    let ports = port(8883, "none", "rules");
    let rule = |publish: &str| {
        format!(
            "{ports}[[authorization.rules.rule]]\nprincipals = {{ everyone = true }}\nconnect = [\"*\"]\npublish = [{publish}]\n"
        )
    };
    let longest = format!("\"{}\"", "a".repeat(65_535));
    settings(&rule(&longest));
    let long = fault(&rule(&format!("{longest}, \"bb\"")));
    assert_eq!(long.code, FaultCode::BadValue);
    assert!(
        long.message
            .contains("65537 bytes of text, and at most 64 KiB")
    );

    let named = |name: &str| {
        let text = format!(
            "{ports}[[authorization.rules.rule]]\nprincipals = {{ usernames = [\"{name}\"] }}\nconnect = [\"*\"]\n"
        );
        text.replace("\"none\"", "\"devices\"")
            + "[authentication.devices]\nmethods = [\"password\"]\n"
    };
    settings(&named(&"u".repeat(1024)));
    let long = fault(&named(&"u".repeat(1025)));
    assert!(long.message.contains("at most 1024"), "{}", long.message);
    let control = fault(&named("a\\tb"));
    assert!(control.message.contains("control character"));
}

#[test]
fn attributes_are_bounded_in_number() {
    let guest = |count: usize| {
        let attributes: String = (0..count).map(|n| format!("a{n} = \"\"\n")).collect();
        format!(
            "{}[authentication.devices]\nmethods = [\"anonymous\"]\n[authentication.devices.anonymous.attributes]\n{attributes}",
            port(8883, "devices", "none")
        )
    };
    settings(&guest(64));
    let many = fault(&guest(65));
    assert!(many.message.contains("at most 64"), "{}", many.message);
}

#[test]
fn rules_are_bounded_over_all_tables() {
    let rules = |name: &str, count: usize| {
        format!("[[authorization.{name}.rule]]\nprincipals={{everyone=true}}\nconnect=[\"*\"]\n")
            .repeat(count)
    };
    let ports = port(8883, "none", "one") + &port(8884, "none", "two");
    let half = AUTHORIZATION_RULES_MAX / 2;
    let text = format!("{ports}{}{}", rules("one", half), rules("two", half));
    let whole = settings(&text);
    let counts = whole.authorizations.iter();
    let counts: Vec<usize> = counts.map(|named| named.rules.rules.len()).collect();
    assert_eq!(counts, [half, half]);
    let last = &whole.authorizations[1].rules.rules[half - 1];
    let line = 2 + ports.lines().count() + 3 * (2 * half - 1) + 1;
    assert_eq!(*last.place, format!("gateway.toml:{line}"));

    let beyond = fault(&format!("{text}{}", rules("two", 1)));
    assert!(beyond.message.contains("more than 20000 rules"));
    assert_eq!(beyond.key, format!("authorization.two.rule[{half}]"));
}

/// What an editor or a full disk may leave behind.
#[test]
fn no_part_of_a_file_is_a_reason_to_panic() {
    for text in [
        include_str!("../../../config/examples/devices-with-certificates.toml"),
        include_str!("../../../config/examples/http-back-end.toml"),
        include_str!("../../../config/examples/cluster-tokens.toml"),
    ] {
        for end in (0..text.len()).step_by(7) {
            if let Some(part) = text.get(..end) {
                let _ = parse(part).map_err(|report| report.to_string());
            }
        }
        for skip in (0..text.len()).step_by(11) {
            let mut mangled = text.as_bytes().to_vec();
            mangled.remove(skip);
            if let Ok(mangled) = String::from_utf8(mangled) {
                let _ = parse(&mangled).map_err(|report| report.to_string());
            }
        }
    }
}

/// Whatever else is wrong in a file, no report shows what must not be there.
#[test]
fn no_report_shows_a_secret() {
    let port = port(8883, "devices", "none");
    for line in [
        "password = \"hunter2\"",
        "Password = 'hunter2'",
        "passwd = \"hunter2\"",
        "hash = \"hunter2\"",
        "password-hash = \"hunter2\"",
        "api_key = \"hunter2\"",
        "apiKey = \"hunter2\"",
        "token = [\"hunter2\"]",
        "secret = { a = \"hunter2\" }",
        "users = { press-1 = \"hunter2\" }",
        "users = [{ name = \"press-1\", pwd = \"hunter2\" }]",
        "custom = { url = \"https://a:hunter2@b\", colour = 1 }",
        "custom = { url = \"https://b\", headers = { Authorization = \"hunter2\" }, colour = 1 }",
        "http = { url = \"http://a:hunter2@b\", getuser_path = 7, cache_time = \"soon\" }",
        "anonymous = { attributes = { password = \"hunter2\", floor = 1 } }",
        "custom = { url = \"https://b\", headers = { Cookie = 'hunter2 } }",
        "custom = { url = \"https://a:hunter2@b }",
        "custom = { headers = { Cookie = 'hunter2 } }",
        "Authorization = hunter2",
        "password = hunter2",
    ] {
        let text = format!(
            "[[listener]]\nname = \"plant\"\n{port}[authentication.devices]\nmethods = [\"custom\"]\n{line}\n"
        );
        let Err(report) = parse(&text) else {
            panic!("{line} is taken");
        };
        assert!(!report.to_string().contains("hunter2"), "{report}");
        let json = serde_json::to_string(&report).unwrap();
        assert!(!json.contains("hunter2"), "{json}");
    }
}
