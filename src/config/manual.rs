//! The reference manual, made from the schema.

use super::limit_keys::{LimitSpec, Setting};
use super::schema::{Absence, Bounds, KeySpec, Kind, LIMITS, TABLES, TableSpec};
use super::units::{render_size, render_time};
use crate::limits::Limits;

/// `docs/configuration.md`: every table and key of the configuration file, with defaults and meanings.
pub fn reference() -> String {
    let mut out = String::from(include_str!("reference_head.md"));
    out.push_str("\n## Tables\n");
    for table in TABLES {
        out.push_str(&section(table));
    }
    out
}

/// The default of a bound, as it would be written in the file.
pub(super) fn default_of(limit: &LimitSpec) -> String {
    let mut defaults = Limits::default();
    match (limit.key.kind, (limit.field)(&mut defaults).setting()) {
        (_, Setting::Switch(on)) => on.to_string(),
        (_, Setting::Filters(filters)) => {
            let filters: Vec<_> = filters.iter().map(|filter| in_quotes(filter)).collect();
            format!("[{}]", filters.join(", "))
        }
        (Kind::Choice(words), Setting::Word(at)) => {
            in_quotes(words.get(at).map_or("", |(word, _)| *word))
        }
        (_, Setting::Word(_)) => String::new(),
        (kind, Setting::Number(number)) => written(kind, number),
    }
}

/// A number as it would be written for a key of this kind.
fn written(kind: Kind, number: Option<u64>) -> String {
    let (bounds, text) = match kind {
        Kind::Size(bounds) => (bounds, number.map(|n| in_quotes(&render_size(n)))),
        Kind::Time(bounds) => (bounds, number.map(|n| in_quotes(&render_time(n)))),
        Kind::Seconds(bounds) => {
            let text = number.map(|n| in_quotes(&render_time(n.saturating_mul(1000))));
            (bounds, text)
        }
        Kind::Count(bounds) => (bounds, number.map(grouped)),
        _ => (Bounds::new(0, 0), number.map(grouped)),
    };
    let is_none = number.is_none() || (number == Some(0) && bounds.zero_is_none);
    match (is_none, bounds.none, text) {
        (true, Some(word), _) => in_quotes(word),
        (_, _, Some(text)) => text,
        (_, _, None) => String::new(),
    }
}

fn in_quotes(text: &str) -> String {
    format!("\"{text}\"")
}

/// A number with `_` between its thousands, as TOML allows; those of up to four digits are read without.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    if digits.len() <= 4 {
        return digits;
    }
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push('_');
        }
        out.push(digit);
    }
    out
}

fn section(table: &TableSpec) -> String {
    let mut out = format!("\n### `{}`\n\n{}\n\n", table.header, table.doc);
    out.push_str("| key | takes | where it is absent | what it does |\n|---|---|---|---|\n");
    for key in table.own_keys {
        out.push_str(&row(key, None));
    }
    for limit in table.limits.iter().flat_map(|group| group.iter()) {
        let default = if table.header == LIMITS.header || is_own(table, limit) {
            format!("`{}`", default_of(limit))
        } else {
            "as in `[limits]`".to_owned()
        };
        out.push_str(&row(&limit.key, Some(&default)));
    }
    out
}

/// Whether the bound is one that only this table has.
fn is_own(table: &TableSpec, limit: &LimitSpec) -> bool {
    // By what they say: of one table there may be two copies in a program.
    let is_same =
        |other: &LimitSpec| (other.key.name, other.key.doc) == (limit.key.name, limit.key.doc);
    let elsewhere = LIMITS.limits.iter().flat_map(|group| group.iter());
    table.header != LIMITS.header && !elsewhere.into_iter().any(is_same)
}

fn row(key: &KeySpec, default: Option<&str>) -> String {
    let absence = match (default, key.absence) {
        (Some(default), _) => default.to_owned(),
        (None, Absence::Fault(_)) => "must be written".to_owned(),
        (None, Absence::Default(value)) => format!("`{value}`"),
        (None, Absence::Means(what)) => what.to_owned(),
        (None, Absence::Limit) => String::new(),
    };
    let mut doc = key.doc.to_owned();
    if let Kind::Choice(words) | Kind::Words(words) = key.kind {
        let meanings = words
            .iter()
            .map(|(word, meaning)| format!("`\"{word}\"`: {meaning}"));
        doc = format!("{doc} {}.", meanings.collect::<Vec<_>>().join("; "));
    }
    let cells = [format!("`{}`", key.name), takes(key.kind), absence, doc];
    let cells = cells.map(|cell| cell.replace('|', "\\|"));
    format!("| {} |\n", cells.join(" | "))
}

fn takes(kind: Kind) -> String {
    let range = |bounds: Bounds| {
        let part = |n: u64| match kind {
            // Port numbers and their like are read without grouping.
            Kind::Count(_) if n <= 65_535 => n.to_string(),
            _ => written(kind, Some(n)).trim_matches('"').to_owned(),
        };
        // The word for "no bound" is not the smallest number, even where 0 is written for it.
        let none = bounds.none.map(|word| format!(", or `\"{word}\"`"));
        let none = none.unwrap_or_default();
        format!("{} to {}{none}", part(bounds.min), part(bounds.max))
    };
    match kind {
        Kind::Table(table) => format!("a table: {}", link(table)),
        Kind::Tables(table) => format!("tables: {}", link(table)),
        Kind::Named(table) => format!("tables under names: {}", link(table)),
        Kind::Text(rule) | Kind::Texts(rule) | Kind::Pairs(rule) => rule.to_owned(),
        Kind::Reference(key) => {
            format!("`\"none\"`, or the NAME of a [`[{key}.NAME]`](#{key}name)")
        }
        Kind::Words(words) => {
            let words = words.iter().map(|(word, _)| format!("`\"{word}\"`"));
            let words = super::value::enumerate(&words.collect::<Vec<_>>());
            format!("a list of {words}")
        }
        Kind::Choice(words) => {
            let words = words.iter().map(|(word, _)| format!("`\"{word}\"`"));
            super::value::enumerate(&words.collect::<Vec<_>>())
        }
        Kind::Switch => "`true` or `false`".to_owned(),
        Kind::Filters => "a list of topic filters".to_owned(),
        Kind::Count(bounds) => format!("a whole number, {}", range(bounds)),
        Kind::Size(bounds) => format!("a size, {}", range(bounds)),
        Kind::Time(bounds) => format!("a time, {}", range(bounds)),
        Kind::Seconds(bounds) => format!("a time in whole seconds, {}", range(bounds)),
        Kind::Path => "a path that begins with `/`".to_owned(),
        Kind::Mode => "permission bits".to_owned(),
        Kind::Address => "an IP address, or `\"*\"`".to_owned(),
        Kind::SocketAddress => "an IP address and a port number, or `\"off\"`".to_owned(),
    }
}

/// A link to the section of a table, whose anchor is its header in lower case, without brackets and dots.
fn link(table: &TableSpec) -> String {
    let anchor: String = table
        .header
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '_')
        .map(|c| c.to_ascii_lowercase())
        .collect();
    format!("[`{}`](#{anchor})", table.header)
}
