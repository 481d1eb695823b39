//! Runs the binary as a person would.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The binary under test: the one that cargo has built for the tests, or the one that `FIELDGATE_TEST_BINARY` names. The
/// emulator for a binary of another machine, with its arguments, is in `FIELDGATE_TEST_RUNNER`.
pub(crate) fn binary() -> Command {
    let binary = std::env::var_os("FIELDGATE_TEST_BINARY")
        .unwrap_or_else(|| env!("CARGO_BIN_EXE_fieldgate").into());
    let runner = std::env::var("FIELDGATE_TEST_RUNNER").unwrap_or_default();
    let mut words = runner.split_whitespace();
    let Some(program) = words.next() else {
        return Command::new(binary);
    };
    let mut command = Command::new(program);
    command.args(words).arg(binary);
    command
}

/// The binary, started by another command that has its command line as its last arguments.
pub(crate) fn binary_by(around: &[OsString]) -> Command {
    let binary = binary();
    let Some((program, args)) = around.split_first() else {
        return binary;
    };
    let mut command = Command::new(program);
    command.args(args);
    command.arg(binary.get_program()).args(binary.get_args());
    command
}

/// The binary, with nothing around it that could change what it does.
pub(crate) fn fieldgate() -> Command {
    let mut command = binary();
    for variable in [
        "FIELDGATE_CONFIG",
        "FIELDGATE_LOG",
        "JOURNAL_STREAM",
        "NOTIFY_SOCKET",
        "RUNTIME_DIRECTORY",
        "STATE_DIRECTORY",
        "WATCHDOG_USEC",
    ] {
        command.env_remove(variable);
    }
    command.stdin(Stdio::null());
    command
}

/// Makes a script for the shell. Another process writes it: a child that another test starts would hold the file open for
/// writing, and the kernel runs nothing that anybody has open so.
#[track_caller]
pub(crate) fn write_script(path: &Path, script: &str) {
    let mut install = Command::new("install")
        .args(["-D", "-m", "755", "/dev/stdin"])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .expect("run install");
    let mut input = install.stdin.take().expect("its input");
    write!(input, "#!/bin/sh\n{script}\n").expect("hand over the script");
    drop(input);
    assert!(install.wait().expect("its end").success());
}

/// What a finished command has said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs the binary to its end.
#[track_caller]
pub(crate) fn run<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Said {
    let output = fieldgate().args(args).output().expect("run the binary");
    output.into()
}

/// Runs a command about a running gateway.
#[track_caller]
pub(crate) fn run_on(state_dir: &Path, args: &[&str]) -> Said {
    let output = fieldgate()
        .args(args)
        .arg("--state-dir")
        .arg(state_dir)
        .output();
    output.expect("run the binary").into()
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().expect("the binary was not killed"),
            stdout: String::from_utf8(output.stdout).expect("text on stdout"),
            stderr: String::from_utf8(output.stderr).expect("text on stderr"),
        }
    }
}
