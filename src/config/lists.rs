//! Makes one table written where there can be several the only one of a list, and says how it is written.
//!
//! This comes before files are laid over each other, so that a slip in one file does not hide what the others say.

use super::faults::{Draft, Faults};
use super::report::FaultCode;
use super::source::Source;
use super::tree::{Node, Table, Value};

/// Mends `listener` and the `port` of each listener, and the `rule` of each authorization.
pub(super) fn mend(root: &mut Table, source: &Source, faults: &mut Faults) {
    if let Some(entry) = root.get_mut("authorization")
        && let Value::Table(sections) = &mut entry.node.value
    {
        for section in &mut sections.entries {
            if let Value::Table(table) = &mut section.node.value {
                let header = format!("[[authorization.{}.rule]]", section.key);
                mend_key(table, "rule", &header, source, faults);
            }
        }
    }
    mend_key(root, "listener", "[[listener]]", source, faults);
    let Some(entry) = root.get_mut("listener") else {
        return;
    };
    if let Value::List(listeners) = &mut entry.node.value {
        for listener in listeners {
            if let Value::Table(listener) = &mut listener.value {
                mend_key(listener, "port", "[[listener.port]]", source, faults);
            }
        }
    }
}

fn mend_key(table: &mut Table, key: &str, header: &str, source: &Source, faults: &mut Faults) {
    let Some(entry) = table.get_mut(key) else {
        return;
    };
    if !matches!(entry.node.value, Value::Table(_)) {
        return;
    }
    let at = entry.node.at;
    let draft = match (source.is_header(at), key) {
        (false, "listener") => {
            let message = "this belongs to no listener: there is none above it";
            let hint = "add a line [[listener]] with a name above it; in conf.d, with the name of the listener that it belongs to";
            Draft::error(FaultCode::MissingKey, at, message).hint(hint)
        }
        _ => {
            let message = format!("there can be several: `{key}` is written in double brackets");
            Draft::error(FaultCode::WrongType, at, message).hint(format!("write {header}"))
        }
    };
    faults.push(draft.key(key));
    let only = Node {
        at,
        value: std::mem::replace(&mut entry.node.value, Value::List(Vec::new())),
    };
    entry.node.value = Value::List(vec![only]);
}
