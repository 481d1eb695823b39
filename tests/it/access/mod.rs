//! Who may connect and what they may do: ports that differ, credentials that fail, rights that change.

mod certificates;
mod live;
mod sessions;
mod storm;
mod table;

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use crate::support::TestGateway;
use crate::support::command::{Said, fieldgate};

/// A password that is long enough.
pub(crate) const PASSWORD: &str = "correct horse";

/// Adds a user to the gateway of a state folder, running or not.
#[track_caller]
pub(crate) fn add_user(state_dir: &Path, name: &str, more: &[&str]) {
    let said = with_password(state_dir, &["user", "add", name, "--stdin"], more, PASSWORD);
    assert_eq!(said.code, 0, "{said:?}");
}

/// Runs a command that takes a password on stdin.
#[track_caller]
pub(crate) fn with_password(
    state_dir: &Path,
    command: &[&str],
    more: &[&str],
    password: &str,
) -> Said {
    let mut child = fieldgate()
        .args(command)
        .args(more)
        .arg("--state-dir")
        .arg(state_dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("run the binary");
    let mut stdin = child.stdin.take().expect("its input");
    writeln!(stdin, "{password}").expect("give the password");
    drop(stdin);
    child.wait_with_output().expect("its output").into()
}

/// Loads a changed configuration.
#[track_caller]
pub(crate) fn reload(gateway: &TestGateway) {
    let said = crate::support::command::run_on(&gateway.path("state"), &["reload"]);
    assert_eq!(said.code, 0, "{said:?}");
}
