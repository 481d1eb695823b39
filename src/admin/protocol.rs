//! What passes over the control socket: one JSON object per line each way.
//!
//! ```text
//! {"command":"clients","input":{"prefix":"pump"}}
//! {"ok":[{"client_id":"pump-7", …}]}
//! {"command":"halt"}
//! {"error":{"kind":"unknown-command","message":"…"}}
//! ```

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Longest request; the longest that makes sense is a client identifier and a few words.
pub(super) const REQUEST_BYTES_MAX: usize = 128 * 1024;

/// Longest request of somebody who may change something: all users of an import, each with a name, a hash and attributes.
pub(super) const OPERATOR_REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A command and what it takes, as one line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    pub(super) command: String,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub(super) input: Value,
}

/// What comes back, as one line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Response {
    Ok(Value),
    Error(CommandFault),
}

/// A command that was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct CommandFault {
    /// For programs.
    pub kind: FaultKind,
    /// For people.
    pub message: String,
}

/// Why a command was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// The line is not a request.
    BadRequest,
    /// The table has no such command.
    UnknownCommand,
    /// The command does not take this input.
    BadInput,
    /// The command needs another role.
    NotPermitted,
    /// The gateway has a fault of its own.
    Internal,
}

/// Input of commands that take none.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoInput {}

/// Input of `clients`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientsInput {
    #[serde(default)]
    pub(super) prefix: String,
}
