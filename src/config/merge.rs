//! Lays one file over another.
//!
//! Tables are merged key by key, and of a value that both have the later counts. Listeners are the same where their names
//! are, and ports of a listener are the same where they accept at the same place; others are added, and so are the rules of an
//! authorization, which are never the same. What one file writes
//! twice stays there twice, so that it is reported.

use std::collections::HashMap;

use super::tree::{Entry, Node, Table, Value};

/// Lays `over` over `base`.
pub(super) fn merge(base: &mut Table, over: Table) {
    merge_table(base, over, Items::Listeners);
}

/// Names of listeners that are left out of what this text is laid over: a key of the text, not of a configuration.
pub const LEFT_OUT: &str = "left_out";

/// As [`merge`], but a listener takes the whole place of one with its name: none of its ports are left. Nor is anything left of
/// those that are named as [`LEFT_OUT`].
pub(super) fn merge_in_place(base: &mut Table, mut over: Table) {
    let items = Items::Listeners;
    let mut gone = Vec::new();
    if let Some(at) = over.entries.iter().position(|entry| entry.key == LEFT_OUT)
        && let Value::List(names) = over.entries.remove(at).node.value
    {
        gone.extend(names.into_iter().filter_map(|name| match name.value {
            Value::Text(name) => Some(format!("name {name}")),
            _ => None,
        }));
    }
    if let Some(Value::List(new)) = over.get("listener").map(|entry| &entry.node.value) {
        gone.extend(new.iter().filter_map(|node| items.identity(node)));
    }
    base.entries
        .retain_mut(|entry| match &mut entry.node.value {
            Value::List(old) if entry.key == "listener" && !old.is_empty() => {
                old.retain(|node| items.identity(node).is_none_or(|id| !gone.contains(&id)));
                !old.is_empty()
            }
            _ => true,
        });
    merge(base, over);
}

/// Which key of a table holds tables that are matched by identity.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Items {
    Listeners,
    Ports,
    Rules,
    None,
}

impl Items {
    fn key(self) -> Option<&'static str> {
        match self {
            Self::Listeners => Some("listener"),
            Self::Ports => Some("port"),
            Self::Rules => Some("rule"),
            Self::None => None,
        }
    }

    fn below(self) -> Self {
        match self {
            Self::Listeners => Self::Ports,
            Self::Ports | Self::Rules | Self::None => Self::None,
        }
    }

    /// What makes an item the same as another; `None` where nothing does.
    fn identity(self, node: &Node) -> Option<String> {
        let Value::Table(table) = &node.value else {
            return None;
        };
        let text = |key: &str| match table.get(key).map(|entry| &entry.node.value) {
            Some(Value::Text(text)) => Some(format!("{key} {text}")),
            _ => None,
        };
        match self {
            Self::Listeners => text("name"),
            Self::Ports => match table.get("port").map(|entry| &entry.node.value) {
                // Port 0 is another number each time.
                Some(Value::Integer {
                    number: Some(0), ..
                }) => None,
                Some(Value::Integer { number, .. }) => number.map(|n| format!("port {n}")),
                _ => text("path").or_else(|| text("systemd")),
            },
            Self::Rules | Self::None => None,
        }
    }
}

fn merge_table(base: &mut Table, over: Table, items: Items) {
    for entry in over.entries {
        let Some(below) = base.get_mut(&entry.key) else {
            base.entries.push(entry);
            continue;
        };
        let is_root = items == Items::Listeners;
        let are_items = items.key() == Some(entry.key.as_str());
        match (&mut below.node.value, entry.node.value) {
            (Value::List(base), Value::List(over)) if are_items => {
                merge_items(base, over, items);
            }
            (Value::Table(base), Value::Table(over)) if is_root && entry.key == "authorization" => {
                merge_sections(base, over);
            }
            (Value::Table(base), Value::Table(over)) => merge_table(base, over, Items::None),
            (_, value) => {
                below.key_at = entry.key_at;
                below.node = Node {
                    at: entry.node.at,
                    value,
                };
            }
        }
    }
}

/// Merges tables under names, whose rules are added to each other.
fn merge_sections(base: &mut Table, over: Table) {
    for entry in over.entries {
        match (base.get_mut(&entry.key), entry) {
            (
                Some(Entry {
                    node:
                        Node {
                            value: Value::Table(base),
                            ..
                        },
                    ..
                }),
                Entry {
                    node:
                        Node {
                            value: Value::Table(over),
                            ..
                        },
                    ..
                },
            ) => merge_table(base, over, Items::Rules),
            (Some(below), entry) => *below = entry,
            (None, entry) => base.entries.push(entry),
        }
    }
}

fn merge_items(base: &mut Vec<Node>, over: Vec<Node>, items: Items) {
    let mut known: HashMap<String, usize> = HashMap::new();
    for (index, node) in base.iter().enumerate() {
        if let Some(identity) = items.identity(node) {
            known.entry(identity).or_insert(index);
        }
    }
    for node in over {
        // Taken out, so that a second one of the same file is added and reported.
        let index = items.identity(&node).and_then(|id| known.remove(&id));
        let same = index.and_then(|index| base.get_mut(index));
        match (same, node) {
            (
                Some(Node {
                    value: Value::Table(base),
                    ..
                }),
                Node {
                    value: Value::Table(over),
                    ..
                },
            ) => merge_table(base, over, items.below()),
            (_, node) => base.push(node),
        }
    }
}
