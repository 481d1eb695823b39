//! Standard output: data and nothing else, written once and checked.

use std::io::Write;

use serde::Serialize;

use super::Failure;

/// Collects what a command prints and writes it in one go.
#[derive(Debug, Default)]
pub(crate) struct Output {
    text: String,
}

impl Output {
    /// Adds one line.
    pub(crate) fn line(&mut self, line: impl AsRef<str>) {
        self.text.push_str(line.as_ref());
        self.text.push('\n');
    }

    /// Adds text that brings its own line ends.
    pub(crate) fn text(&mut self, text: impl AsRef<str>) {
        self.text.push_str(text.as_ref());
    }

    /// Adds data for programs, indented because people look at it, too.
    pub(crate) fn json(&mut self, data: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(data).map_err(Failure::runtime)?;
        self.line(text);
        Ok(())
    }

    /// Writes everything to stdout.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        write_all(self.text.as_bytes())
    }
}

/// Writes data to stdout.
pub(crate) fn write_all(data: &[u8]) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(data)?;
    stdout.flush()?;
    Ok(())
}
