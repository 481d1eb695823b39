//! Reads keys of a table against its specification.

use std::path::Path;

use super::faults::{Draft, Faults};
use super::nearest::{nearest, same};
use super::report::FaultCode;
use super::schema::{self, Absence, KeySpec, Kind, TableSpec};
use super::source::{At, Source};
use super::tree::{Entry, Node, Table, Value};
use super::value::Complaint;

/// A table that was typed, with what it may hold and where it is.
#[derive(Clone)]
pub(super) struct Scope<'a> {
    pub(super) table: &'a Table,
    /// `None` for the file as a whole.
    pub(super) at: Option<At>,
    pub(super) spec: &'static TableSpec,
    /// As in `listener[0].port[1]`.
    pub(super) path: String,
    pub(super) sources: &'a [Source],
}

impl<'a> Scope<'a> {
    pub(super) fn entry(&self, key: &str) -> Option<&'a Entry> {
        debug_assert!(
            self.spec.key(key).is_some(),
            "{key} is read and not declared in {}",
            self.spec.header
        );
        self.table.get(key)
    }

    pub(super) fn place(&self) -> At {
        self.at.unwrap_or_default()
    }

    pub(super) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// A table inside this one, if it is written.
    pub(super) fn table(
        &self,
        key: &str,
        spec: &'static TableSpec,
        faults: &mut Faults,
    ) -> Option<Scope<'a>> {
        let entry = self.entry(key)?;
        let path = self.path_of(key);
        self.scope_of(&entry.node, spec, path, faults, entry)
    }

    fn scope_of(
        &self,
        node: &'a Node,
        spec: &'static TableSpec,
        path: String,
        faults: &mut Faults,
        entry: &Entry,
    ) -> Option<Scope<'a>> {
        match &node.value {
            Value::Table(table) => Some(Scope {
                table,
                at: Some(node.at),
                spec,
                path,
                sources: self.sources,
            }),
            other => {
                let message = format!("`{}` is a table, not {}", entry.key, other.kind());
                faults.push(
                    Draft::error(FaultCode::WrongType, node.at, message)
                        .key(path)
                        .hint(table_hint(&entry.key, spec)),
                );
                None
            }
        }
    }
}

fn table_hint(key: &str, spec: &TableSpec) -> String {
    match key {
        "tls" => "write tls = { mode = \"Manual\", cert = \"…\", key = \"…\" }".to_owned(),
        "limits" if spec.header != "[limits]" => {
            "write limits = { max_packet_size = \"64 KiB\" }, or whichever it is".to_owned()
        }
        _ => format!("write a line {} and its keys below it", spec.header),
    }
}

/// The tables of a key that there can be several of; a fault where there is none.
pub(super) fn tables<'a>(
    scope: &Scope<'a>,
    key: &str,
    spec: &'static TableSpec,
    faults: &mut Faults,
) -> Vec<Scope<'a>> {
    let Some(entry) = scope.entry(key) else {
        missing(scope, key, faults);
        return Vec::new();
    };
    let nodes: &[Node] = match &entry.node.value {
        Value::List(nodes) if nodes.is_empty() => {
            missing(scope, key, faults);
            &[]
        }
        Value::List(nodes) => nodes,
        Value::Table(_) => {
            let message = format!("there can be several: `{key}` is written in double brackets");
            faults.push(
                Draft::error(FaultCode::WrongType, entry.node.at, message)
                    .key(scope.path_of(key))
                    .hint(format!("write {}", spec.header)),
            );
            std::slice::from_ref(&entry.node)
        }
        other => {
            let message = format!("`{key}` is not {} here", other.kind());
            faults.push(
                Draft::error(FaultCode::WrongType, entry.node.at, message)
                    .key(scope.path_of(key))
                    .hint(format!(
                        "write a line {} and its keys below it",
                        spec.header
                    )),
            );
            &[]
        }
    };
    let base = scope.path_of(key);
    nodes
        .iter()
        .enumerate()
        .filter_map(|(i, node)| scope.scope_of(node, spec, format!("{base}[{i}]"), faults, entry))
        .collect()
}

/// The value of a key, if it is written and right. `parse` is given the folder of the file too.
pub(super) fn read<T>(
    scope: &Scope<'_>,
    key: &str,
    faults: &mut Faults,
    parse: impl FnOnce(&Value, &Path) -> Result<T, Complaint>,
) -> Option<T> {
    let entry = scope.entry(key)?;
    let source = scope.sources.get(entry.node.at.source);
    let folder = source.and_then(|source| source.path.parent());
    match parse(&entry.node.value, folder.unwrap_or(Path::new(""))) {
        Ok(value) => Some(value),
        Err(complaint) => {
            let message = format!("`{key}` {}", complaint.message);
            faults.push(
                Draft::error(complaint.code, entry.node.at, message)
                    .key(scope.path_of(key))
                    .maybe_hint(complaint.hint),
            );
            None
        }
    }
}

/// Notes that a key that must be written is not.
pub(super) fn missing(scope: &Scope<'_>, key: &str, faults: &mut Faults) {
    let hint = match scope.spec.key(key).map(|key| key.absence) {
        Some(Absence::Fault(hint)) => Some(hint.to_owned()),
        _ => None,
    };
    let message = match (key, scope.at) {
        ("listener", _) => "there is no listener, so no client could connect".to_owned(),
        ("port", _) => "this listener has no port".to_owned(),
        _ => format!("`{key}` is missing in {}", scope.spec.header),
    };
    let draft = match (scope.at, scope.sources.first()) {
        (None, Some(main)) => Draft::of_file(
            super::report::Severity::Error,
            FaultCode::MissingKey,
            main.path.clone(),
            message,
        ),
        _ => Draft::error(FaultCode::MissingKey, scope.place(), message),
    };
    faults.push(draft.key(scope.path_of(key)).maybe_hint(hint));
}

/// Notes every key that the table does not have.
pub(super) fn unknown_keys(scope: &Scope<'_>, faults: &mut Faults) {
    for entry in &scope.table.entries {
        if scope.spec.key(&entry.key).is_some() {
            continue;
        }
        let path = scope.path_of(&entry.key);
        if let Some((message, hint)) = not_available(scope.spec, &entry.key) {
            faults.push(
                Draft::error(FaultCode::NotAvailable, entry.key_at, message)
                    .key(path)
                    .hint(hint),
            );
            continue;
        }
        let message = match scope.at {
            Some(_) => format!("{} has no key `{}`", scope.spec.header, shown(&entry.key)),
            None if matches!(entry.node.value, Value::Table(_) | Value::List(_)) => {
                format!("there is no table [{}]", shown(&entry.key))
            }
            None => format!("`{}` belongs to no table", shown(&entry.key)),
        };
        faults.push(
            Draft::error(FaultCode::UnknownKey, entry.key_at, message)
                .key(path)
                .maybe_hint(hint_for(scope, entry)),
        );
    }
}

fn shown(key: &str) -> String {
    super::source::quoted(key).trim_matches('"').to_owned()
}

/// What the cluster broker has under a name that has no meaning here.
fn not_available(spec: &TableSpec, key: &str) -> Option<(String, &'static str)> {
    const ONLY_NONE: &str =
        "write authentication = \"none\" and authorization = \"none\" in each [[listener.port]]";
    let root = spec.header == schema::ROOT.header;
    let tls = spec.header == schema::TLS.header;
    let what = match key {
        "authentication" | "authorization" if root => ("named checks of clients", ONLY_NONE),
        "bridge" | "bridges" if root => ("connections to other brokers", "remove the table"),
        "ca" | "cafile" | "ca_file" | "client_ca" if tls => (
            "certificates of clients",
            "remove the key: the port asks clients for no certificate",
        ),
        _ => return None,
    };
    Some((format!("this version has no {}: `{key}`", what.0), what.1))
}

/// What was probably meant by an unknown key.
fn hint_for(scope: &Scope<'_>, entry: &Entry) -> Option<String> {
    let typed = entry.key.as_str();
    let is_meant = |key: &&KeySpec| {
        same(key.name, typed) || key.elsewhere.iter().any(|name| same(name, typed))
    };
    if let Some(key) = scope.spec.keys().find(is_meant) {
        return Some(write(scope, key));
    }
    let others = schema::TABLES
        .iter()
        .filter(|table| table.header != scope.spec.header);
    let exact = |table: &&&TableSpec| table.keys().any(|key| same(key.name, typed));
    let alias = |table: &&&TableSpec| table.keys().any(|key| is_meant(&key));
    let nearby = |table: &&&TableSpec| table.header.contains("listener") == in_listener(scope);
    let table = others
        .clone()
        .filter(nearby)
        .find(exact)
        .or_else(|| others.clone().find(exact));
    if let Some(table) = table {
        let key = table.keys().find(|key| same(key.name, typed));
        return key.map(|key| elsewhere(key, table));
    }
    if let Some(name) = nearest(typed, scope.spec.keys().map(|key| key.name)) {
        return scope.spec.key(name).map(|key| write(scope, key));
    }
    if let Some(table) = others.clone().filter(nearby).find(alias) {
        let key = table.keys().find(|key| is_meant(key));
        return key.map(|key| elsewhere(key, table));
    }
    let names: Vec<String> = scope.spec.keys().map(|k| format!("`{}`", k.name)).collect();
    Some(if names.len() > 16 {
        format!(
            "`fieldgate config default` lists the keys of {}",
            scope.spec.header
        )
    } else {
        format!("it can have {}", super::value::enumerate(&names))
    })
}

fn in_listener(scope: &Scope<'_>) -> bool {
    scope.spec.header.contains("listener")
}

fn write(scope: &Scope<'_>, key: &KeySpec) -> String {
    match (scope.at, key.kind) {
        (None, Kind::Table(spec) | Kind::Tables(spec)) => format!("write {}", spec.header),
        (_, Kind::Tables(spec)) => format!("write {}", spec.header),
        _ => format!("write `{}`", key.name),
    }
}

fn elsewhere(key: &KeySpec, table: &TableSpec) -> String {
    if table.header == schema::PORT_LIMITS_TABLE.header {
        return format!("write it as limits = {{ {} = … }}", key.name);
    }
    format!("`{}` is a key of {}", key.name, table.header)
}
