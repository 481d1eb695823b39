//! Floors 0 and 1 see no runtime, socket, file, thread, clock or chance, and never iterate a hash map: same inputs, same
//! effects.

use super::Fault;
use super::source::{SourceFile, Tree, is_word, line_of, words};

/// Modules of floors 0 and 1.
const PURE: [&str; 4] = ["mqtt", "broker", "policy", "limits.rs"];

const FORBIDDEN: [(&str, &str); 16] = [
    ("tokio", "the shell owns the runtime"),
    ("async", "the core never waits"),
    ("await", "the core never waits"),
    ("std::net", "the core knows no sockets"),
    ("std::os", "the core knows no system"),
    ("std::fs", "the core knows no files"),
    ("std::env", "the core knows no environment"),
    ("std::process", "the core knows no processes"),
    ("std::thread", "the core has no threads"),
    ("std::sync::Mutex", "the shell holds the lock"),
    ("Instant", "time is an argument"),
    ("SystemTime", "time is an argument"),
    ("RandomState", "its order differs from run to run"),
    (
        "std::collections::HashMap",
        "its order differs from run to run; use hashbrown with a fixed hasher",
    ),
    ("rand", "chance is an argument"),
    ("getrandom", "chance is an argument"),
];

const ITERATING: [&str; 11] = [
    "iter",
    "iter_mut",
    "into_iter",
    "keys",
    "into_keys",
    "values",
    "values_mut",
    "into_values",
    "drain",
    "retain",
    "extract_if",
];

pub(crate) fn check(_: &Tree, file: &SourceFile) -> Vec<Fault> {
    let pure = file
        .below_src()
        .is_some_and(|below| PURE.iter().any(|name| below.starts_with(name)));
    if !pure || file.is_test() {
        return Vec::new();
    }
    let mut faults = Vec::new();
    for (word, reason) in FORBIDDEN {
        for offset in words(&file.product, word) {
            faults.push(Fault::new(
                &file.path,
                line_of(&file.product, offset),
                format!("`{word}`: {reason}"),
            ));
        }
    }
    for (offset, name) in iterations(&file.product) {
        let text =
            format!("`{name}` is a hash map; its order is nobody's, so it must not be iterated");
        faults.push(Fault::new(&file.path, line_of(&file.product, offset), text));
    }
    faults
}

/// Places where something is iterated that the same file declares as a hash map or set.
fn iterations(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for name in hash_maps(code) {
        for offset in words(code, &name) {
            let after = code[offset + name.len()..].trim_start();
            let iterated = after.strip_prefix('.').is_some_and(|call| {
                let called: String = call.chars().take_while(|c| is_word(*c)).collect();
                ITERATING.contains(&called.as_str())
            });
            let line = code[..offset].rsplit('\n').next().unwrap_or_default();
            let looped = line.trim_start().starts_with("for ")
                && line.contains(" in ")
                && (after.starts_with('{') || after.starts_with("\n"));
            if iterated || looped {
                found.push((offset, name.clone()));
            }
        }
    }
    found
}

/// Names of fields, arguments and variables that are declared as a hash map or set.
fn hash_maps(code: &str) -> Vec<String> {
    let mut names: Vec<String> = ["HashMap", "HashSet", "HashTable"]
        .iter()
        .flat_map(|kind| words(code, kind))
        .filter_map(|offset| declared(&code[..offset]))
        .collect();
    names.sort();
    names.dedup();
    names
}

/// The name before `name: …` or `let name = …`.
fn declared(before: &str) -> Option<String> {
    let line = before.rsplit('\n').next()?;
    let line = line.trim_end_matches(|c: char| {
        is_word(c) || matches!(c, ':' | '<' | '&' | '\'' | ' ') && c != ' '
    });
    let line = line.trim_end();
    let line = line.strip_suffix("mut").map_or(line, str::trim_end);
    let line = line.trim_end_matches(['&', ' ']);
    let name = line
        .strip_suffix(':')
        .or_else(|| line.strip_suffix('='))?
        .trim_end();
    let name: String = name.chars().rev().take_while(|c| is_word(*c)).collect();
    let name: String = name.chars().rev().collect();
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(path: &str, text: &str) -> Vec<String> {
        Tree::of(&[(path, text)])
            .each(check)
            .into_iter()
            .map(|fault| fault.text)
            .collect()
    }

    #[test]
    fn runtime_files_and_clocks_are_faults() {
        assert_eq!(faults("src/broker/x.rs", "use tokio::sync::mpsc;").len(), 1);
        assert_eq!(
            faults("src/mqtt/x.rs", "pub async fn f() { g().await }").len(),
            2
        );
        assert_eq!(
            faults(
                "src/policy/mod.rs",
                "use std::fs::File; use std::time::Instant;"
            )
            .len(),
            2
        );
        assert_eq!(
            faults("src/broker/x.rs", "// tokio\nfn f() -> &str { \"tokio\" }").len(),
            0
        );
        assert_eq!(faults("src/net/x.rs", "use tokio::sync::mpsc;").len(), 0);
        assert_eq!(
            faults(
                "src/broker/x.rs",
                "#[cfg(test)] mod tests { use std::fs::File; }"
            )
            .len(),
            0
        );
    }

    #[test]
    fn iterated_hash_maps_are_faults() {
        let map = "struct A { sessions: HashMap<u8, u8> }\n";
        let with = |code: &str| faults("src/broker/x.rs", &format!("{map}{code}")).len();
        assert_eq!(with("fn f(a: &A) { a.sessions.values().count(); }"), 1);
        assert_eq!(with("fn f(a: &A) {\n  for s in &a.sessions {\n  }\n}"), 1);
        assert_eq!(
            with("fn f(a: &A) { a.sessions\n    .retain(|_, _| true); }"),
            1
        );
        assert_eq!(
            with("fn f(a: &A) { a.sessions.get(&1); a.sessions.len(); }"),
            0
        );
        assert_eq!(
            faults(
                "src/broker/x.rs",
                "fn f() { let mut m = hashbrown::HashMap::new(); m.drain(); }"
            )
            .len(),
            1
        );
        assert_eq!(
            faults("src/broker/x.rs", "fn f(m: &mut HashSet<u8>) { m.iter(); }").len(),
            1
        );
    }
}
