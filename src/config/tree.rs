//! What was typed: tables and values with the place of each, from one file or merged from several.

use toml::de::{DeTable, DeValue};

use super::source::At;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) at: At,
    pub(super) value: Value,
}

/// A value as TOML knows it.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(String),
    /// `None` where the number does not fit.
    Integer {
        number: Option<i128>,
        radix: u32,
    },
    Float(String),
    Switch(bool),
    Date,
    List(Vec<Node>),
    Table(Table),
}

/// The entries of a table in the order of the file.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    pub(super) entries: Vec<Entry>,
}

/// One `key = value`.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_at: At,
    pub(super) node: Node,
}

impl Table {
    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    pub(super) fn get_mut(&mut self, key: &str) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.key == key)
    }

    /// Takes over a parsed table. The depth is bounded by the parser.
    pub(super) fn from_toml(source: usize, table: &DeTable<'_>) -> Self {
        let mut entries: Vec<Entry> = table
            .iter()
            .map(|(key, value)| Entry {
                key: key.get_ref().to_string(),
                key_at: At::new(source, key.span()),
                node: Node {
                    at: At::new(source, value.span()),
                    value: Value::from_toml(source, value.get_ref()),
                },
            })
            .collect();
        entries.sort_by_key(|entry| entry.key_at);
        Self { entries }
    }
}

impl Entry {
    /// Whether the value holds no others.
    pub(super) fn is_scalar(&self) -> bool {
        !matches!(self.node.value, Value::Table(_) | Value::List(_))
    }
}

impl Value {
    fn from_toml(source: usize, value: &DeValue<'_>) -> Self {
        match value {
            DeValue::String(text) => Self::Text(text.to_string()),
            DeValue::Integer(integer) => Self::Integer {
                number: i128::from_str_radix(integer.as_str(), integer.radix()).ok(),
                radix: integer.radix(),
            },
            DeValue::Float(float) => Self::Float(float.as_str().to_owned()),
            DeValue::Boolean(on) => Self::Switch(*on),
            DeValue::Datetime(_) => Self::Date,
            DeValue::Array(items) => Self::List(
                items
                    .iter()
                    .map(|item| Node {
                        at: At::new(source, item.span()),
                        value: Self::from_toml(source, item.get_ref()),
                    })
                    .collect(),
            ),
            DeValue::Table(table) => Self::Table(Table::from_toml(source, table)),
        }
    }

    /// What the value is, in the words of a report.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "text in quotes",
            Self::Integer { .. } => "a whole number",
            Self::Float(_) => "a number with a fraction",
            Self::Switch(true) => "true",
            Self::Switch(false) => "false",
            Self::Date => "a date",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}
