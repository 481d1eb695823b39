//! What a command says when it fails, and the exit code it ends with.

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use fieldgate::config::Paint;

/// Exit codes of the process; the service unit relies on them (`RestartPreventExitStatus=64 78`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything asked for was done.
    Fine = 0,
    /// Something failed while running; trying again may help.
    Runtime = 1,
    /// The command line is wrong (`EX_USAGE`).
    Usage = 64,
    /// The configuration is wrong (`EX_CONFIG`).
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A command that did not succeed: what to print on stderr, and the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    text: Text,
    hint: Option<String>,
}

#[derive(Debug)]
enum Text {
    /// Printed as `error: …` with its causes below.
    Error(anyhow::Error),
    /// Already rendered for a person, printed as it is.
    Rendered(String),
    /// Nothing is left to say, or nobody is there to say it to.
    Silent,
}

impl Failure {
    /// A failure at run time.
    pub(crate) fn runtime(error: impl Into<anyhow::Error>) -> Self {
        Self {
            exit: Exit::Runtime,
            text: Text::Error(error.into()),
            hint: None,
        }
    }

    /// A failure whose whole text is already rendered, such as a report of configuration faults.
    pub(crate) fn rendered(exit: Exit, text: impl Display) -> Self {
        Self {
            exit,
            text: Text::Rendered(text.to_string()),
            hint: None,
        }
    }

    /// A failure about which everything was said on stdout, as data.
    pub(crate) fn silent(exit: Exit) -> Self {
        Self {
            exit,
            text: Text::Silent,
            hint: None,
        }
    }

    /// Adds the `hint:` line that says what to do.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Prints the failure to stderr and returns the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        let mut text = String::new();
        match &self.text {
            Text::Error(error) => {
                text.push_str(&label("error", "31"));
                text.push_str(&format!(" {error}\n"));
                for cause in error.chain().skip(1) {
                    text.push_str(&format!("  caused by: {cause}\n"));
                }
            }
            Text::Rendered(rendered) => {
                text.push_str(rendered.trim_end());
                text.push('\n');
            }
            Text::Silent => {}
        }
        if let Some(hint) = &self.hint {
            text.push_str(&format!("\n{} {hint}\n", label("hint", "36")));
        }
        // Nothing is left to report a failed stderr to.
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
        self.exit.into()
    }
}

/// A write to stdout that failed; a reader that went away is not a fault of ours.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self {
                exit: Exit::Fine,
                text: Text::Silent,
                hint: None,
            };
        }
        Self::runtime(anyhow::Error::new(error).context("cannot write to standard output"))
    }
}

/// Writes remarks to stderr; they do not make a command fail.
pub(crate) fn say(text: &str) {
    // Nothing is left to report a failed stderr to.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Whether reports on stderr may use colours.
pub(crate) fn paint() -> Paint {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if plain || !std::io::stderr().is_terminal() {
        Paint::Plain
    } else {
        Paint::Colour
    }
}

/// `name:`, in colour on a terminal.
fn label(name: &str, colour: &str) -> String {
    match paint() {
        Paint::Plain => format!("{name}:"),
        Paint::Colour => format!("\u{1b}[1;{colour}m{name}\u{1b}[0m\u{1b}[1m:\u{1b}[0m"),
    }
}
