//! Words that belong to some files only.

use super::Fault;
use super::source::{SourceFile, Tree, line_of, words};

/// A word of code, where it may stand, and what to do instead.
struct Rule {
    word: &'static str,
    allowed: &'static [&'static str],
    instead: &'static str,
}

const RULES: [Rule; 12] = [
    Rule {
        word: "println",
        allowed: &["cli"],
        instead: "only cli prints",
    },
    Rule {
        word: "print",
        allowed: &["cli"],
        instead: "only cli prints",
    },
    Rule {
        word: "eprintln",
        allowed: &["cli"],
        instead: "only cli prints; elsewhere use tracing",
    },
    Rule {
        word: "eprint",
        allowed: &["cli"],
        instead: "only cli prints; elsewhere use tracing",
    },
    Rule {
        word: "dbg",
        allowed: &[],
        instead: "use tracing",
    },
    Rule {
        word: "stdout",
        allowed: &["cli"],
        instead: "only cli prints",
    },
    Rule {
        word: "sd_notify",
        allowed: &["systemd.rs"],
        instead: "only systemd.rs talks to the service manager",
    },
    Rule {
        word: "toml",
        allowed: &["config"],
        instead: "only config reads configuration",
    },
    Rule {
        word: "tokio::spawn",
        allowed: &["gateway"],
        instead: "only gateway spawns long-lived tasks; use the spawner it hands out",
    },
    Rule {
        word: "Instant::now",
        allowed: &["clock.rs"],
        instead: "ask `clock`, or take time as an argument",
    },
    Rule {
        word: "SystemTime::now",
        allowed: &["clock.rs"],
        instead: "ask `clock`, or take time as an argument",
    },
    Rule {
        word: "anyhow",
        allowed: &["cli", "gateway", "main.rs"],
        instead: "a module has an error type of its own",
    },
];

/// Words that mark unfinished work.
const UNFINISHED: [&str; 4] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("HA", "CK"),
];

pub(crate) fn check(_: &Tree, file: &SourceFile) -> Vec<Fault> {
    let mut faults = unfinished(file);
    let Some(below) = file.below_src().filter(|_| !file.is_test()) else {
        return faults;
    };
    for rule in &RULES {
        if rule.allowed.iter().any(|place| below.starts_with(place)) {
            continue;
        }
        for offset in words(&file.product, rule.word) {
            // A method, a field or a value of this name is something else, and so is tokio's own clock, which tests drive.
            let before = &file.product[..offset];
            let after = &file.product[offset + rule.word.len()..];
            let own =
                before.ends_with('.') || before.ends_with("time::") || before.ends_with("fn ");
            let used = after.starts_with("::") || after.starts_with('!') || after.starts_with('(');
            if used && !own {
                let text = format!("`{}`: {}", rule.word, rule.instead);
                faults.push(Fault::new(&file.path, line_of(&file.product, offset), text));
            }
        }
    }
    faults
}

/// Unfinished work is on the list of issues, or it is forgotten.
fn unfinished(file: &SourceFile) -> Vec<Fault> {
    let mut faults = Vec::new();
    for word in UNFINISHED {
        for offset in words(&file.text, word) {
            let after = &file.text[offset + word.len()..];
            let number = after
                .strip_prefix("(#")
                .and_then(|rest| rest.split_once(')'));
            let numbered = number.is_some_and(|(number, _)| number.parse::<u32>().is_ok());
            if !numbered {
                let text = format!("`{word}` without the number of an issue, as in `{word}(#1)`");
                faults.push(Fault::new(&file.path, line_of(&file.text, offset), text));
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(path: &str, text: &str) -> usize {
        Tree::of(&[(path, text)]).each(check).len()
    }

    #[test]
    fn printing_outside_the_command_line_is_a_fault() {
        assert_eq!(faults("src/net/link.rs", "fn f() { println!(\"x\"); }"), 1);
        assert_eq!(
            faults("src/net/link.rs", "fn f() { std::io::stdout(); }"),
            1
        );
        assert_eq!(
            faults("src/cli/status.rs", "fn f() { println!(\"x\"); }"),
            0
        );
        assert_eq!(faults("tests/it/main.rs", "fn f() { println!(\"x\"); }"), 0);
    }

    #[test]
    fn tasks_and_clocks_have_their_place() {
        assert_eq!(
            faults("src/net/link.rs", "fn f() { tokio::spawn(g()); }"),
            1
        );
        assert_eq!(
            faults("src/gateway/mod.rs", "fn f() { tokio::spawn(g()); }"),
            0
        );
        assert_eq!(
            faults("src/net/link.rs", "fn f() { std::time::Instant::now(); }"),
            0,
            "clippy has the path"
        );
        assert_eq!(faults("src/net/link.rs", "fn f() { Instant::now(); }"), 1);
        assert_eq!(
            faults("src/net/link.rs", "fn f() { tokio::time::Instant::now(); }"),
            0
        );
    }

    #[test]
    fn unfinished_work_needs_a_number() {
        let word = UNFINISHED[0];
        assert_eq!(
            faults("src/net/x.rs", &format!("// {word} later\nfn f() {{}}")),
            1
        );
        assert_eq!(faults("docs/x.md", &format!("{word}: write this")), 1);
        assert_eq!(
            faults(
                "src/net/x.rs",
                &format!("// {word}(#12) later\nfn f() {{}}")
            ),
            0
        );
    }
}
