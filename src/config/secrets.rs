//! Secrets do not stand in a configuration file: it is copied, sent around and put under version control.

use super::authentication_keys::PASSWORD;
use super::faults::{Draft, Faults};
use super::nearest::same;
use super::reader::{Scope, shown};
use super::report::FaultCode;
use super::schema;
use super::tree::{Entry, Value};

/// Keys whose value would be a secret.
const KEYS: &[&str] = &[
    "access_token",
    "api_key",
    "basic_auth",
    "bearer_token",
    "client_secret",
    "credential",
    "credentials",
    "hash",
    "hashed_password",
    "http_basic_auth_key",
    "pass",
    "passphrase",
    "passwd",
    "password",
    "password_hash",
    "private_key",
    "pwd",
    "secret",
    "token",
];

/// Keys and tables under which other programs keep users.
const USERS: &[&str] = &[
    "account",
    "accounts",
    "password_file",
    "passwords",
    "user",
    "user_file",
    "users",
];

/// Where a user and a password belong.
pub(super) const USER_HINT: &str =
    "`fieldgate user add NAME` asks for the password and keeps it in the database of the gateway";

/// Where many users come from.
const USERS_HINT: &str = "`fieldgate user add NAME` puts a user into the database of the gateway, and `fieldgate user import FILE` \
     those of another broker";

/// Where a secret of a back end belongs.
pub(super) const HEADER_HINT: &str = "put the value of the header field into a file that only the gateway can read, and name it: \
     headers = { Authorization = { file = \"/etc/fieldgate/auth.header\" } }";

/// Whether a key names a secret, however it is spelled.
pub(crate) fn is_secret(key: &str) -> bool {
    KEYS.iter().any(|word| same(word, key))
}

/// Whether the value of a header field is one.
pub(crate) fn is_secret_header(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let words = ["auth", "cookie", "key", "token", "secret", "passw"];
    words.iter().any(|word| name.contains(word))
}

/// Notes a key that a table does not have and that holds a secret or users, and says whether it is one.
pub(super) fn refuse(scope: &Scope<'_>, entry: &Entry, faults: &mut Faults) -> bool {
    let header = scope.spec.header;
    let is_root = header == schema::ROOT.header;
    let is_access = header.contains("NAME") || header == schema::PROTECTION.header;
    let is_place = is_access || header == super::port_keys::PORT.header;
    let path = scope.path_of(&entry.key);
    if is_place && is_secret(&entry.key) {
        let is_server = ["http", "custom", "token"]
            .iter()
            .any(|kind| header.contains(kind));
        let hint = if is_server { HEADER_HINT } else { USER_HINT };
        report(entry, path, hint, faults);
        return true;
    }
    // A user in place of a setting.
    let is_user = header == PASSWORD.header && matches!(entry.node.value, Value::Text(_));
    let holds_users = is_user || USERS.iter().any(|word| same(word, &entry.key));
    let is_list_of_names = header == super::authorization_keys::PRINCIPALS.header;
    if holds_users && (is_place || is_root) && !is_list_of_names {
        let message = format!(
            "`{}`: no users stand in this file, because their passwords would",
            shown(&entry.key)
        );
        // A header holds no secret.
        if entry.node.at.start > entry.key_at.start {
            faults.hide(entry.key_at, entry.node.at);
        }
        faults.push(
            Draft::error(FaultCode::Secret, entry.key_at, message)
                .key(path)
                .hint(USERS_HINT),
        );
        return true;
    }
    false
}

/// Notes a key that holds a secret, and keeps its line out of the report.
pub(super) fn report(entry: &Entry, path: String, hint: &str, faults: &mut Faults) {
    let message = format!(
        "`{}` is a secret, and no secret stands in this file",
        shown(&entry.key)
    );
    faults.hide(entry.key_at, entry.node.at);
    faults.push(
        Draft::error(FaultCode::Secret, entry.key_at, message)
            .key(path)
            .hint(hint),
    );
}
