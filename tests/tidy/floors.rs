//! A module knows only the floors below its own.

use std::path::Path;

use super::Fault;
use super::source::{SourceFile, Tree, is_word, line_of, words};

/// The floor of every module of the library.
const FLOORS: &[(&str, u8)] = &[
    ("mqtt", 0),
    ("broker", 1),
    ("limits", 1),
    ("policy", 1),
    ("clock", 2),
    ("config", 2),
    ("appliance", 3),
    ("auth", 3),
    ("ca", 3),
    ("import", 3),
    ("kubernetes", 3),
    ("logging", 3),
    ("metrics", 3),
    ("store", 3),
    ("systemd", 3),
    ("admin", 4),
    ("controller", 4),
    ("discovery", 4),
    ("est", 4),
    ("net", 4),
    ("gateway", 5),
];

/// Who may know a module of the same floor: the core is one thing in three parts.
const NEIGHBOURS: &[(&str, &str)] = &[
    ("auth", "ca"),
    ("auth", "store"),
    ("broker", "limits"),
    ("broker", "policy"),
    ("ca", "store"),
    ("import", "kubernetes"),
    ("policy", "limits"),
];

pub(crate) fn check(_: &Tree, file: &SourceFile) -> Vec<Fault> {
    let Some(below) = file.below_src() else {
        return Vec::new();
    };
    let Some(own) = top(below).filter(|name| !matches!(name.as_str(), "lib" | "main" | "cli"))
    else {
        return Vec::new();
    };
    let Some(floor) = floor_of(&own) else {
        let text = format!(
            "module `{own}` has no floor; give it one in tests/tidy/floors.rs and in src/lib.rs"
        );
        return vec![Fault::new(&file.path, 1, text)];
    };
    let mut faults = Vec::new();
    for (offset, name) in imports(&file.product, below) {
        if name == own || NEIGHBOURS.contains(&(own.as_str(), name.as_str())) {
            continue;
        }
        let Some(other) = floor_of(&name) else {
            continue;
        };
        if other >= floor {
            let text = format!("`{own}` (floor {floor}) knows `{name}` (floor {other})");
            faults.push(Fault::new(&file.path, line_of(&file.product, offset), text));
        }
    }
    faults
}

fn floor_of(module: &str) -> Option<u8> {
    FLOORS
        .iter()
        .find(|(name, _)| *name == module)
        .map(|(_, floor)| *floor)
}

/// The module right below the crate that a path belongs to.
fn top(below: &Path) -> Option<String> {
    let first = below
        .components()
        .next()?
        .as_os_str()
        .to_string_lossy()
        .into_owned();
    Some(first.trim_end_matches(".rs").to_owned())
}

/// Names right below the crate that the code mentions, with their place.
fn imports(code: &str, below: &Path) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for offset in words(code, "crate") {
        names_after(code, offset + "crate".len(), &mut found);
    }
    for offset in words(code, "super") {
        // Only the last `super` of a row is followed by something else.
        let after = offset + "super".len();
        if code[after..].starts_with("::super") {
            continue;
        }
        let mut before = &code[..offset];
        let mut levels = 1;
        while let Some(rest) = before.strip_suffix("super::") {
            before = rest;
            levels += 1;
        }
        if levels == depth(below) {
            names_after(code, after, &mut found);
        }
    }
    found
}

/// How many modules lie between a file and the crate.
fn depth(below: &Path) -> usize {
    let parts = below.components().count();
    if below.ends_with("mod.rs") {
        parts - 1
    } else {
        parts
    }
}

/// Names that follow `::` or stand at the first level of `::{…}`.
fn names_after(code: &str, offset: usize, found: &mut Vec<(usize, String)>) {
    let Some(rest) = code[offset..].strip_prefix("::") else {
        return;
    };
    let from = offset + 2;
    let Some(group) = rest.strip_prefix('{') else {
        found.push((from, rest.chars().take_while(|c| is_word(*c)).collect()));
        return;
    };
    let mut depth = 1;
    let mut expected = true;
    for (index, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => expected = true,
            c if depth == 1 && expected && is_word(c) => {
                let name = group[index..].chars().take_while(|c| is_word(*c)).collect();
                found.push((from + 1 + index, name));
                expected = false;
            }
            _ => {}
        }
        if depth == 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(path: &str, text: &str) -> usize {
        let tree = Tree::of(&[(path, text)]);
        tree.each(check).len()
    }

    #[test]
    fn upward_and_sideways_imports_are_faults() {
        assert_eq!(
            faults("src/broker/session.rs", "use crate::net::Stream;"),
            1
        );
        assert_eq!(faults("src/admin/mod.rs", "use crate::net::Stream;"), 1);
        assert_eq!(
            faults(
                "src/net/mod.rs",
                "use crate::{config::{A, B}, gateway::C, admin};"
            ),
            2
        );
        assert_eq!(
            faults(
                "src/net/tls/x.rs",
                "fn f() { super::super::super::gateway::run() }"
            ),
            1
        );
        assert_eq!(faults("src/policy/mod.rs", "use super::broker::Broker;"), 1);
        assert_eq!(faults("src/mqtt/codec.rs", "use crate::limits::Limits;"), 1);
    }

    #[test]
    fn downward_imports_are_none() {
        assert_eq!(
            faults(
                "src/net/link.rs",
                "use crate::broker::Broker; use super::port::PortContext;"
            ),
            0
        );
        assert_eq!(
            faults("src/broker/mod.rs", "use crate::{limits, policy::Rules};"),
            0
        );
        assert_eq!(
            faults("src/gateway/mod.rs", "use crate::net::Ports; // crate::cli"),
            0
        );
        assert_eq!(
            faults(
                "src/config/x.rs",
                "#[cfg(test)] mod tests { use crate::net::X; }"
            ),
            0
        );
    }

    #[test]
    fn module_without_a_floor_is_a_fault() {
        assert_eq!(faults("src/stray.rs", ""), 0, "an empty file is not code");
        assert_eq!(faults("src/stray.rs", "fn f() {}"), 1);
    }
}
