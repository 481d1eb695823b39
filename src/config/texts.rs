//! Lists and tables of texts. Unlike a single value, each holds several faults, and each fault has its place.

use std::collections::BTreeMap;
use std::path::Path;

use super::faults::{Draft, Faults};
use super::nearest::{nearest, same};
use super::reader::Scope;
use super::report::FaultCode;
use super::secrets;
use super::source::quoted;
use super::tree::{Entry, Node, Table, Value};
use super::value::{Complaint, enumerate, text};

/// Bytes of all texts of one list or table together.
pub(super) const LIST_BYTES_MAX: usize = 64 << 10;

/// Bytes of a user name, a client identifier, or the value of an attribute.
pub(super) const NAME_BYTES_MAX: usize = 1024;

/// Attributes of one table.
const ATTRIBUTES_MAX: usize = 64;

/// Bytes of the name of an attribute.
const ATTRIBUTE_NAME_BYTES_MAX: usize = 128;

/// The items of a list that are right; `None` where no list is written. `parse` is given the folder of the file too.
pub(super) fn read_list<T>(
    scope: &Scope<'_>,
    key: &str,
    faults: &mut Faults,
    parse: impl Fn(&Value, &Path) -> Result<T, Complaint>,
) -> Option<Vec<T>> {
    let entry = scope.entry(key)?;
    let path = scope.path_of(key);
    let Value::List(items) = &entry.node.value else {
        let value = &entry.node.value;
        let hint = match value {
            Value::Text(text) => Some(format!("write [{}]", quoted(text))),
            Value::Table(_) => Some("write [{ … }], with brackets around it".to_owned()),
            _ => None,
        };
        let complaint = Complaint::wrong_type("a list", value).maybe_hint(hint);
        push(entry, &entry.node, path, complaint, faults);
        return None;
    };
    let bytes: usize = items.iter().map(|item| bytes_of(&item.value)).sum();
    if bytes > LIST_BYTES_MAX {
        let complaint = too_much(bytes);
        push(entry, &entry.node, path, complaint, faults);
        return None;
    }
    let mut right = Vec::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        match parse(&item.value, scope.folder(item.at)) {
            Ok(value) => right.push(value),
            Err(complaint) => push(entry, item, format!("{path}[{at}]"), complaint, faults),
        }
    }
    Some(right)
}

fn too_much(bytes: usize) -> Complaint {
    let most = LIST_BYTES_MAX >> 10;
    Complaint::bad(format!(
        "holds {bytes} bytes of text, and at most {most} KiB are taken"
    ))
}

fn bytes_of(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len(),
        Value::List(items) => items.iter().map(|item| bytes_of(&item.value)).sum(),
        Value::Table(table) => {
            let of = |entry: &Entry| entry.key.len() + bytes_of(&entry.node.value);
            table.entries.iter().map(of).sum()
        }
        _ => 0,
    }
}

fn push(entry: &Entry, node: &Node, path: String, complaint: Complaint, faults: &mut Faults) {
    let message = format!("`{}` {}", entry.key, complaint.message);
    faults.push(
        Draft::error(complaint.code, node.at, message)
            .key(path)
            .maybe_hint(complaint.hint),
    );
}

/// Indices of the words of an ordered list in which each stands once; case, `_` and `-` do not matter.
pub(super) fn read_words(
    scope: &Scope<'_>,
    key: &str,
    words: &'static [(&'static str, &'static str)],
    synonyms: &[(&str, &str)],
    faults: &mut Faults,
) -> Option<Vec<usize>> {
    let read = read_list(scope, key, faults, |value, _| word(value, words, synonyms))?;
    let entry = scope.entry(key)?;
    if let (Value::List(items), true) = (&entry.node.value, read.is_empty())
        && items.is_empty()
    {
        let complaint = Complaint::bad("is empty, so no client could come in")
            .hint(format!("write at least one of {}", listed(words)));
        push(entry, &entry.node, scope.path_of(key), complaint, faults);
    }
    let mut once: Vec<usize> = Vec::with_capacity(words.len());
    for index in read {
        if once.contains(&index) {
            let twice = words.get(index).map_or("", |(word, _)| *word);
            let message = format!("`{key}` has \"{twice}\" twice");
            faults.push(
                Draft::error(FaultCode::Duplicate, entry.node.at, message)
                    .key(scope.path_of(key))
                    .hint("each stands at most once: remove one of the two"),
            );
        } else {
            once.push(index);
        }
    }
    Some(once)
}

fn listed(words: &[(&str, &str)]) -> String {
    let quoted = words.iter().map(|(word, _)| format!("\"{word}\""));
    enumerate(&quoted.collect::<Vec<_>>())
}

fn word(
    value: &Value,
    words: &[(&'static str, &str)],
    synonyms: &[(&str, &str)],
) -> Result<usize, Complaint> {
    let list = listed(words);
    let typed = text(value, &list)?;
    if let Some(found) = words.iter().position(|(word, _)| same(word, typed)) {
        return Ok(found);
    }
    let meant = synonyms.iter().find(|(other, _)| same(other, typed));
    let meant = meant.map(|(_, word)| *word);
    let near = meant.or_else(|| nearest(typed, words.iter().map(|(word, _)| *word)));
    Err(
        Complaint::bad(format!("takes {list}, not {}", quoted(typed)))
            .maybe_hint(near.map(|word| format!("write \"{word}\""))),
    )
}

/// A name of a client or a user, which is compared as it is.
pub(super) fn plain(value: &Value) -> Result<Box<str>, Complaint> {
    let typed = text(value, "text in quotes")?;
    if typed.is_empty() {
        return Err(Complaint::bad("has an empty text, which is nobody's name"));
    }
    checked(typed).map(Into::into)
}

/// A text of bounded length without controls.
fn checked(typed: &str) -> Result<&str, Complaint> {
    if typed.len() > NAME_BYTES_MAX {
        let message = format!(
            "has a text of {} bytes, and at most {NAME_BYTES_MAX} are taken",
            typed.len()
        );
        return Err(Complaint::bad(message));
    }
    match typed.chars().find(|c| c.is_control()) {
        Some(found) => Err(Complaint::bad(format!(
            "has a text with the control character {found:?}"
        ))),
        None => Ok(typed),
    }
}

/// The attributes of a key; `None` where no table is written.
pub(super) fn read_pairs(
    scope: &Scope<'_>,
    key: &str,
    faults: &mut Faults,
) -> Option<BTreeMap<Box<str>, Box<str>>> {
    let entry = scope.entry(key)?;
    let path = scope.path_of(key);
    match &entry.node.value {
        Value::Table(table) => Some(pairs(entry, &entry.node, table, &path, faults)),
        value => {
            let complaint = Complaint::wrong_type("a table of texts", value).hint(format!(
                "write {key} = {{ floor = \"1\" }}, or whichever they are"
            ));
            push(entry, &entry.node, path, complaint, faults);
            None
        }
    }
}

/// The sets of attributes of a key; `None` where no list is written.
pub(super) fn read_sets(
    scope: &Scope<'_>,
    key: &str,
    faults: &mut Faults,
) -> Option<Vec<BTreeMap<Box<str>, Box<str>>>> {
    let entry = scope.entry(key)?;
    let path = scope.path_of(key);
    let example = "write [{ floor = \"1\" }], or whichever they are";
    let Value::List(items) = &entry.node.value else {
        let takes = "a list of tables of texts";
        let complaint = Complaint::wrong_type(takes, &entry.node.value).hint(example);
        push(entry, &entry.node, path, complaint, faults);
        return None;
    };
    let bytes: usize = items.iter().map(|item| bytes_of(&item.value)).sum();
    if bytes > LIST_BYTES_MAX {
        push(entry, &entry.node, path, too_much(bytes), faults);
        return None;
    }
    let mut sets = Vec::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        let path = format!("{path}[{at}]");
        let complaint = match &item.value {
            Value::Table(table) if table.entries.is_empty() => {
                Complaint::bad("has an empty table, which every client fits")
                    .hint("for every client write everyone = true")
            }
            Value::Table(table) => {
                sets.push(pairs(entry, item, table, &path, faults));
                continue;
            }
            value => Complaint::wrong_type("a list of tables of texts", value).hint(example),
        };
        push(entry, item, path, complaint, faults);
    }
    Some(sets)
}

fn pairs(
    owner: &Entry,
    node: &Node,
    table: &Table,
    path: &str,
    faults: &mut Faults,
) -> BTreeMap<Box<str>, Box<str>> {
    if table.entries.len() > ATTRIBUTES_MAX {
        let message = format!(
            "has {} attributes, and at most {ATTRIBUTES_MAX} are taken",
            table.entries.len()
        );
        push(
            owner,
            node,
            path.to_owned(),
            Complaint::bad(message),
            faults,
        );
        return BTreeMap::new();
    }
    let mut pairs = BTreeMap::new();
    for entry in &table.entries {
        if secrets::is_secret(&entry.key) {
            secrets::report(
                entry,
                format!("{path}.{}", entry.key),
                secrets::USER_HINT,
                faults,
            );
            continue;
        }
        let read = attribute_name(&entry.key).and_then(|name| {
            let value = text(&entry.node.value, "text in quotes").and_then(checked)?;
            Ok((name, value))
        });
        match read {
            Ok((name, value)) => {
                pairs.insert(name.into(), value.into());
            }
            Err(complaint) => {
                let path = format!("{path}.{}", entry.key);
                push(entry, &entry.node, path, complaint, faults);
            }
        }
    }
    pairs
}

/// A name that can stand in `{principal.attributes.NAME}`.
fn attribute_name(name: &str) -> Result<&str, Complaint> {
    let is_legal = |c: char| !c.is_control() && c != '{' && c != '}';
    if name.is_empty() || name.len() > ATTRIBUTE_NAME_BYTES_MAX || !name.chars().all(is_legal) {
        return Err(Complaint::bad(format!(
            "is no name of an attribute: 1 to {ATTRIBUTE_NAME_BYTES_MAX} bytes without braces and controls"
        )));
    }
    Ok(name)
}
