//! Reads keys of a table against its specification.

use std::path::Path;

use super::faults::{Draft, Faults};
use super::nearest::{nearest, same};
use super::port_keys::{PORT, PORT_LIMITS_TABLE, TLS};
use super::report::FaultCode;
use super::schema::{self, Absence, KeySpec, Kind, TableSpec};
use super::secrets;
use super::source::{At, Source};
use super::tree::{Entry, Node, Table, Value};
use super::value::Complaint;

/// Unknown keys of one table for which a hint is looked for; more are not shown anyway.
const EXPLAINED_KEYS_MAX: usize = 100;

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

    /// Whether the table is there only because of what is below it, which is noted already.
    fn is_implied(&self) -> bool {
        let Some(at) = self.at else {
            return false;
        };
        let source = self.sources.get(at.source);
        self.path.ends_with(']') && source.is_some_and(|source| !source.is_header(at))
    }

    /// Whether an unknown key of the table was probably meant to be this one.
    pub(super) fn is_meant(&self, key: &str) -> bool {
        let unknown = |entry: &&Entry| self.spec.key(&entry.key).is_none();
        let unknown = self.table.entries.iter().filter(unknown);
        unknown
            .take(EXPLAINED_KEYS_MAX)
            .any(|entry| meant(self, &entry.key).is_some_and(|meant| meant.name == key))
    }

    /// The header of the table, with the names that were chosen for it and the tables around it.
    fn header(&self) -> String {
        let header = self.spec.header;
        match self.at.is_none() || !header.contains("NAME") {
            true => header.to_owned(),
            false => with_names(header, &self.path),
        }
    }

    /// The same of a table inside of this one.
    fn header_below(&self, key: &str, spec: &TableSpec) -> String {
        match self.at.is_none() || !spec.header.contains("NAME") {
            true => spec.header.to_owned(),
            false => with_names(spec.header, &self.path_of(key)),
        }
    }

    /// What a report calls the table: by its header, or by its key where it has none.
    pub(super) fn title(&self) -> String {
        let header = self.header();
        let Some(at) = self.at else {
            return header;
        };
        let text = self
            .sources
            .get(at.source)
            .map(|source| source.text.as_str());
        let begins = |sign: char| {
            let text = text.and_then(|text| text.get(at.start..));
            text.is_some_and(|text| text.starts_with(sign))
        };
        // A table under a name may be there by the header of what is below it alone.
        let has_header = begins('[') || (self.spec.header.contains("NAME") && !begins('{'));
        let key = self.path.rsplit('.').next().unwrap_or_default();
        if has_header || key.ends_with(']') {
            return header;
        }
        format!("`{key}`")
    }

    /// The folder of the file in which something is written.
    pub(super) fn folder(&self, at: At) -> &'a Path {
        let source = self.sources.get(at.source);
        let folder = source.and_then(|source| source.path.parent());
        folder.unwrap_or(Path::new(""))
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
                let message = match path.ends_with(']') {
                    true => format!("each {} is a table, not {}", entry.key, other.kind()),
                    false => format!("`{}` is a table, not {}", entry.key, other.kind()),
                };
                faults.push(
                    Draft::error(FaultCode::WrongType, node.at, message)
                        .key(path)
                        .hint(table_hint(self, &entry.key, spec)),
                );
                None
            }
        }
    }
}

/// A header with the names of a path such as `authorization.plant.rule[2]`.
fn with_names(header: &str, path: &str) -> String {
    let names = path.split('.');
    let names = names.map(|part| part.split('[').next().unwrap_or(part));
    let name = shown(&names.collect::<Vec<_>>().join("."));
    match header.starts_with("[[") {
        true => format!("[[{name}]]"),
        false => format!("[{name}]"),
    }
}

fn table_hint(scope: &Scope<'_>, key: &str, spec: &TableSpec) -> String {
    match key {
        "tls" => "write tls = { mode = \"Automatic\" }".to_owned(),
        "limits" if spec.header != "[limits]" => {
            "write limits = { max_packet_size = \"64 KiB\" }, or whichever it is".to_owned()
        }
        "port" => {
            "write a line [[listener.port]], and below it port = 1883 and the rest".to_owned()
        }
        "principals" => "write principals = { usernames = [\"press-1\"] }".to_owned(),
        "authentication" | "authorization" => format!(
            "write a line {} with a name for it, and its keys below; a [[listener.port]] names it",
            spec.header
        ),
        _ => format!(
            "write a line {}, and its keys below it",
            scope.header_below(key, spec)
        ),
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
        other => {
            let message = format!("each {key} is a table, not {}", other.kind());
            faults.push(
                Draft::error(FaultCode::WrongType, entry.node.at, message)
                    .key(scope.path_of(key))
                    .hint(table_hint(scope, key, spec)),
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

/// The tables under names that were chosen freely, with the entry of each.
pub(super) fn named_tables<'a>(
    scope: &Scope<'a>,
    key: &str,
    spec: &'static TableSpec,
    faults: &mut Faults,
) -> Vec<(&'a Entry, Scope<'a>)> {
    if let (None, Some(entry)) = (scope.at, scope.entry(key))
        && entry.is_scalar()
    {
        faults.push(
            Draft::error(
                FaultCode::UnknownKey,
                entry.key_at,
                format!("`{key}` stands above the first table"),
            )
            .key(key)
            .hint(format!("`{key}` is a key of {}", PORT.header)),
        );
        return Vec::new();
    }
    let Some(outer) = scope.table(key, spec, faults) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for entry in &outer.table.entries {
        let path = outer.path_of(&entry.key);
        if let Value::Table(table) = &entry.node.value {
            let inner = Scope {
                table,
                at: Some(entry.node.at),
                path,
                ..outer.clone()
            };
            found.push((entry, inner));
        } else if !secrets::refuse(&outer, entry, faults) {
            let header = outer.header_below(&entry.key, spec);
            let (message, hint) = if spec.key(&entry.key).is_some() {
                let general = outer.header_below("NAME", spec);
                (
                    format!(
                        "`{}` stands in no {general}: the name is missing",
                        entry.key
                    ),
                    format!("write {general} above it, with a name in place of NAME"),
                )
            } else {
                let hint = match &entry.node.value {
                    Value::List(_) => format!("write {header} in single brackets, once"),
                    _ => format!("write a line {header}, and its keys below it"),
                };
                let (key, kind) = (shown(&entry.key), entry.node.value.kind());
                (format!("`{key}` is a table, not {kind}"), hint)
            };
            faults.push(
                Draft::error(FaultCode::WrongType, entry.key_at, message)
                    .key(path)
                    .hint(hint),
            );
        }
    }
    found
}

/// The value of a key, if it is written and right. `parse` is given the folder of the file too.
pub(super) fn read<T>(
    scope: &Scope<'_>,
    key: &str,
    faults: &mut Faults,
    parse: impl FnOnce(&Value, &Path) -> Result<T, Complaint>,
) -> Option<T> {
    let entry = scope.entry(key)?;
    match parse(&entry.node.value, scope.folder(entry.node.at)) {
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

/// Index of the word that a key of kind [`Kind::Choice`] has.
pub(super) fn choose(scope: &Scope<'_>, key: &str, faults: &mut Faults) -> Option<usize> {
    let words: &[_] = match scope.spec.key(key).map(|key| key.kind) {
        Some(Kind::Choice(words)) => words,
        _ => &[],
    };
    read(scope, key, faults, |value, _| {
        super::value::choice(value, words)
    })
}

/// Notes that a key that must be written is not; but not where it was written with a typing error, which is noted already.
pub(super) fn missing(scope: &Scope<'_>, key: &str, faults: &mut Faults) {
    if scope.is_meant(key) || scope.is_implied() {
        return;
    }
    let hint = match scope.spec.key(key).map(|key| (key.absence, key.kind)) {
        Some((Absence::Fault(hint), Kind::Tables(spec))) => {
            Some(hint.replace(spec.header, &scope.header_below(key, spec)))
        }
        Some((Absence::Fault(hint), _)) => Some(hint.to_owned()),
        _ => None,
    };
    let message = match (key, scope.at) {
        ("listener", _) => "there is no listener, so no client could connect".to_owned(),
        ("port", _) => "this listener has no port".to_owned(),
        _ => format!("`{key}` is missing in {}", scope.title()),
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
    let is_unknown = |entry: &&Entry| scope.spec.key(&entry.key).is_none();
    for (nth, entry) in scope.table.entries.iter().filter(is_unknown).enumerate() {
        if secrets::refuse(scope, entry, faults) {
            continue;
        }
        let path = scope.path_of(&entry.key);
        if let Some((message, hint)) = not_available(scope.spec, entry) {
            faults.push(
                Draft::error(FaultCode::NotAvailable, entry.key_at, message)
                    .key(path)
                    .hint(hint),
            );
            continue;
        }
        let message = match scope.at {
            Some(_) => format!("{} has no key `{}`", scope.title(), shown(&entry.key)),
            None if entry.is_scalar() => {
                format!("`{}` stands above the first table", shown(&entry.key))
            }
            None => format!("there is no table [{}]", shown(&entry.key)),
        };
        faults.push(
            Draft::error(FaultCode::UnknownKey, entry.key_at, message)
                .key(path)
                .maybe_hint(if nth < EXPLAINED_KEYS_MAX {
                    hint_for(scope, entry)
                } else {
                    None
                }),
        );
    }
}

pub(super) fn shown(key: &str) -> String {
    super::source::quoted(key).trim_matches('"').to_owned()
}

/// What the cluster broker has under a name that has no meaning here.
fn not_available(spec: &TableSpec, entry: &Entry) -> Option<(String, &'static str)> {
    let root = spec.header == schema::ROOT.header;
    let tls = spec.header == TLS.header;
    let root = root && !entry.is_scalar();
    let what = match entry.key.as_str() {
        "bridge" | "bridges" if root => (
            "this version has no connections to other brokers",
            "remove the table",
        ),
        "ca" | "cafile" | "ca_file" | "capath" | "client_ca" | "require_certificate" if tls => (
            "`tls` is about the certificate of the gateway, not about those of clients",
            "write authentication = \"devices\" in the port, and [authentication.devices] with methods = [\"x509\"]; \
             [authentication.devices.x509] has `trust`",
        ),
        _ => return None,
    };
    Some((what.0.to_owned(), what.1))
}

/// The key of the same table that was probably meant by an unknown one.
fn meant(scope: &Scope<'_>, typed: &str) -> Option<&'static KeySpec> {
    let is_other_name = |key: &&KeySpec| has_name(key, typed);
    if let Some(key) = scope.spec.keys().find(is_other_name) {
        return Some(key);
    }
    if table_with(scope, |key| same(key.name, typed)).is_some() {
        return None;
    }
    let name = nearest(typed, scope.spec.keys().map(|key| key.name))?;
    scope.spec.key(name)
}

fn has_name(key: &KeySpec, typed: &str) -> bool {
    same(key.name, typed) || key.elsewhere.iter().any(|name| same(name, typed))
}

/// Another table with such a key, and the key; one of a listener for what stands in a listener, if there is one.
fn table_with(
    scope: &Scope<'_>,
    is_wanted: impl Fn(&KeySpec) -> bool,
) -> Option<(&'static TableSpec, &'static KeySpec)> {
    let others = schema::TABLES
        .iter()
        .filter(|t| t.header != scope.spec.header);
    let mut found = None;
    for table in others {
        let Some(key) = table.keys().find(|key| is_wanted(key)) else {
            continue;
        };
        if table.header.contains("listener") == scope.spec.header.contains("listener") {
            return Some((table, key));
        }
        found.get_or_insert((*table, key));
    }
    found
}

/// What to do about an unknown key.
fn hint_for(scope: &Scope<'_>, entry: &Entry) -> Option<String> {
    let typed = entry.key.as_str();
    if let Some(key) = meant(scope, typed) {
        return Some(write(scope, key, entry));
    }
    let fits = |key: &KeySpec| entry.is_scalar() != key.kind.is_table();
    let table = table_with(scope, |key| fits(key) && same(key.name, typed))
        .or_else(|| table_with(scope, |key| fits(key) && has_name(key, typed)));
    if let Some((table, key)) = table {
        return Some(elsewhere(key, table));
    }
    if scope.at.is_none() {
        let tables = "[gateway], [[listener]], [authentication.NAME], [authorization.NAME], [protection], [limits], \
                      [ca], [est], [admin], [store] and [log]";
        return Some(format!("the tables are {tables}"));
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

fn write(scope: &Scope<'_>, key: &KeySpec, entry: &Entry) -> String {
    // A switch of another broker, such as `allow_anonymous = true`.
    if let (Value::Switch(_), Kind::Choice(_) | Kind::Reference(_), Absence::Fault(how)) =
        (&entry.node.value, key.kind, key.absence)
    {
        return how.to_owned();
    }
    match (scope.at, key.kind) {
        (None, Kind::Table(spec) | Kind::Tables(spec) | Kind::Named(spec)) => {
            format!("write {}", spec.header)
        }
        (_, Kind::Tables(spec)) => format!("write {}", scope.header_below(key.name, spec)),
        (_, Kind::Table(spec)) if entry.is_scalar() => table_hint(scope, key.name, spec),
        _ => format!("write `{}`", key.name),
    }
}

fn elsewhere(key: &KeySpec, table: &TableSpec) -> String {
    if table.header == PORT_LIMITS_TABLE.header {
        return format!("write it as limits = {{ {} = … }}", key.name);
    }
    match key.kind {
        Kind::Table(spec) | Kind::Tables(spec) | Kind::Named(spec) => {
            format!("write {}", spec.header)
        }
        _ => format!("`{}` is a key of {}", key.name, table.header),
    }
}
