//! Fields of a resource: each is read, or it is said why not.

use super::yaml::{Node, Value, shown_key};
use crate::config::{nearest, same};
use crate::import::report::{ImportReport, Spot, Verdict};

/// A field of a resource.
#[derive(Clone)]
pub(super) struct At<'n> {
    pub(super) node: &'n Node,
    pub(super) path: String,
    pub(super) line: usize,
}

/// The fields of a table that it may have and that are there.
pub(super) struct Fields<'n> {
    found: Vec<(&'static str, At<'n>)>,
    /// The table itself.
    pub(super) at: At<'n>,
}

impl<'n> Fields<'n> {
    pub(super) fn get(&self, key: &str) -> Option<&At<'n>> {
        let mut found = self.found.iter();
        found.find(|(name, _)| *name == key).map(|(_, at)| at)
    }

    /// Those that are there, in the order of the file.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, &At<'n>)> {
        self.found.iter().map(|(name, at)| (*name, at))
    }
}

/// Fields without which a port is open. One that says nothing is that of a template which was not filled in.
const CLOSING: &[&str] = &[
    "authenticationEnabled",
    "authenticationRef",
    "authorizationEnabled",
    "authorizationRef",
    "listenerRef",
    "tls",
];

/// A word of an enumeration, with the older words for the same.
pub(super) type Word = (&'static str, &'static [&'static str]);

/// What is said about the fields of one resource.
pub(super) struct Notes<'r> {
    report: &'r mut ImportReport,
    file: usize,
    /// Kind and name.
    subject: String,
}

impl<'r> Notes<'r> {
    pub(super) fn new(report: &'r mut ImportReport, file: usize, subject: String) -> Self {
        Self {
            report,
            file,
            subject,
        }
    }

    /// Number of the text that the resource stands in.
    pub(super) fn file(&self) -> usize {
        self.file
    }

    /// Whether something in a text could not be understood so far.
    pub(super) fn has_bad(&self, file: usize) -> bool {
        self.report.has_bad(file)
    }

    fn note(&mut self, at: &At<'_>, verdict: Verdict) {
        let spot = Spot {
            file: self.file,
            line: at.line,
        };
        let text = match at.path.is_empty() {
            true => self.subject.clone(),
            false => format!("{} {}", self.subject, at.path),
        };
        self.report.note(spot, text, verdict);
    }

    pub(super) fn translated(&mut self, at: &At<'_>, into: impl Into<String>) {
        self.note(at, Verdict::Translated { into: into.into() });
    }

    pub(super) fn differs(&mut self, at: &At<'_>, how: impl Into<String>) {
        self.note(at, Verdict::Differs { how: how.into() });
    }

    pub(super) fn not_needed(&mut self, at: &At<'_>, why: impl Into<String>) {
        self.note(at, Verdict::NotNeeded { why: why.into() });
    }

    pub(super) fn no_equivalent(&mut self, at: &At<'_>, why: impl Into<String>) {
        self.note(at, Verdict::NoEquivalent { why: why.into() });
    }

    pub(super) fn unreadable(&mut self, at: &At<'_>, why: impl Into<String>) {
        self.note(at, Verdict::Unreadable { why: why.into() });
    }

    /// Says that a field cannot be understood; then nothing is translated at all.
    pub(super) fn bad(&mut self, at: &At<'_>, why: impl Into<String>) {
        self.note(at, Verdict::Bad { why: why.into() });
    }

    /// A command to run next.
    pub(super) fn next(&mut self, command: String) {
        self.report.next(command);
    }

    /// The fields of a table. `keys` are what it may have, each with older names behind `|`; case, `_` and `-` do not matter.
    pub(super) fn fields<'n>(&mut self, at: &At<'n>, keys: &[&'static str]) -> Option<Fields<'n>> {
        let Value::Map(entries) = &at.node.value else {
            self.bad(
                at,
                format!("it takes a table, not {}", at.node.value.what()),
            );
            return None;
        };
        let mut fields = Fields {
            found: Vec::with_capacity(entries.len()),
            at: at.clone(),
        };
        for entry in entries {
            let below = At {
                node: &entry.node,
                path: join(&at.path, &shown_key(&entry.key)),
                line: entry.line,
            };
            let Some(name) = known(keys, &entry.key) else {
                self.unknown(&below, keys, &entry.key);
                continue;
            };
            if fields.get(name).is_some() {
                self.bad(&below, format!("`{name}` is there twice, under two names"));
            } else if matches!(below.node.value, Value::Null) {
                self.says_nothing(&below, name);
            } else {
                fields.found.push((name, below));
            }
        }
        Some(fields)
    }

    fn says_nothing(&mut self, at: &At<'_>, name: &str) {
        if CLOSING.contains(&name) {
            let why = "it says nothing, as where a template was not filled in; leave the key out if the port is meant to be \
                 without";
            self.bad(at, why);
        } else {
            self.differs(
                at,
                "it says nothing, and counts as if the key were not there",
            );
        }
    }

    fn unknown(&mut self, at: &At<'_>, keys: &[&'static str], typed: &str) {
        let names = keys.iter().flat_map(|key| key.split('|'));
        let why = match nearest(typed, names) {
            Some(meant) => format!("there is no such key; write `{}`", canonical(keys, meant)),
            None => {
                let names: Vec<&str> = keys
                    .iter()
                    .filter_map(|key| key.split('|').next())
                    .collect();
                format!("there is no such key; there are {}", names.join(", "))
            }
        };
        self.bad(at, why);
    }

    /// A text that is not empty.
    pub(super) fn text<'n>(&mut self, at: &At<'n>) -> Option<&'n str> {
        match &at.node.value {
            Value::Text(text) if !text.is_empty() => Some(text.as_str()),
            Value::Text(_) => {
                self.bad(at, "it is empty");
                None
            }
            other => {
                self.bad(at, format!("it takes a text, not {}", other.what()));
                None
            }
        }
    }

    /// A whole number within bounds.
    pub(super) fn number(&mut self, at: &At<'_>, min: u64, max: u64) -> Option<u64> {
        let typed = self.text(at)?;
        match typed.parse::<u64>() {
            Ok(number) if (min..=max).contains(&number) => Some(number),
            _ => {
                self.bad(at, format!("it takes a whole number from {min} to {max}"));
                None
            }
        }
    }

    /// One of several words, whatever its case.
    pub(super) fn word(&mut self, at: &At<'_>, words: &[Word]) -> Option<&'static str> {
        let typed = self.text(at)?;
        let is_meant = |(word, older): &&Word| {
            same(word, typed) || older.iter().any(|older| same(older, typed))
        };
        if let Some((word, _)) = words.iter().find(is_meant) {
            return Some(word);
        }
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let why = match nearest(typed, names.iter().copied()) {
            Some(meant) => format!("there is no such word; write `{meant}`"),
            None => format!("it takes {}", names.join(", ")),
        };
        self.bad(at, why);
        None
    }

    /// A switch.
    pub(super) fn switch(&mut self, at: &At<'_>) -> Option<bool> {
        const WORDS: &[Word] = &[("true", &["Enabled"]), ("false", &["Disabled"])];
        self.word(at, WORDS).map(|word| word == "true")
    }

    /// The items of a list.
    pub(super) fn list<'n>(&mut self, at: &At<'n>) -> Vec<At<'n>> {
        let Value::List(nodes) = &at.node.value else {
            self.bad(at, format!("it takes a list, not {}", at.node.value.what()));
            return Vec::new();
        };
        let items = nodes.iter().enumerate().map(|(index, node)| At {
            node,
            path: format!("{}[{index}]", at.path),
            line: node.line,
        });
        items.collect()
    }

    /// The texts of a list.
    pub(super) fn texts(&mut self, at: &At<'_>) -> Vec<String> {
        let items = self.list(at);
        let texts = items.iter().filter_map(|item| self.text(item));
        texts.map(ToOwned::to_owned).collect()
    }

    /// Texts under names that the file chooses.
    pub(super) fn pairs(&mut self, at: &At<'_>) -> Vec<(String, String)> {
        let entries = self.entries(at);
        let mut pairs = Vec::with_capacity(entries.len());
        for (name, below) in entries {
            match &below.node.value {
                Value::Text(text) => pairs.push((name, text.to_string())),
                Value::Null => {
                    self.differs(&below, "it says nothing, and is taken as an empty text");
                    pairs.push((name, String::new()));
                }
                other => self.bad(&below, format!("it takes a text, not {}", other.what())),
            }
        }
        pairs
    }

    /// Fields under names that the file chooses.
    pub(super) fn entries<'n>(&mut self, at: &At<'n>) -> Vec<(String, At<'n>)> {
        let Value::Map(entries) = &at.node.value else {
            self.bad(
                at,
                format!("it takes a table, not {}", at.node.value.what()),
            );
            return Vec::new();
        };
        let entries = entries.iter().map(|entry| {
            let below = At {
                node: &entry.node,
                path: join(&at.path, &shown_key(&entry.key)),
                line: entry.line,
            };
            (entry.key.clone(), below)
        });
        entries.collect()
    }

    /// Notes that a table has to have a field.
    pub(super) fn missing(&mut self, fields: &Fields<'_>, key: &str) {
        self.bad(&fields.at, format!("`{key}` is missing"));
    }
}

pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

/// The name of a key that was typed, whatever its case.
fn known(keys: &[&'static str], typed: &str) -> Option<&'static str> {
    let key = keys
        .iter()
        .find(|key| key.split('|').any(|name| same(name, typed)))?;
    key.split('|').next()
}

fn canonical(keys: &[&'static str], name: &str) -> String {
    known(keys, name).unwrap_or(name).to_owned()
}
