//! What is written beside the files, for whoever takes the card out again.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::OFlag;

use super::Problem;

/// What is wrong.
pub(super) const ERRORS: &str = "errors.txt";

/// What was taken.
pub(super) const IMPORTED: &str = "imported.txt";

/// Problems that are written down; more are only counted.
const PROBLEMS_MAX: usize = 100;

/// All problems as they are told everywhere.
pub(super) fn render(problems: &[Problem]) -> String {
    let mut text =
        String::from("Nothing of these files was taken; the gateway goes on with what it had.\n\n");
    for problem in problems.iter().take(PROBLEMS_MAX) {
        text.push_str(&problem.to_string());
        text.push_str("\n\n");
    }
    if problems.len() > PROBLEMS_MAX {
        let more = problems.len() - PROBLEMS_MAX;
        text.push_str(&format!("and {more} more\n"));
    }
    text
}

/// Writes a note, with lines as Windows ends them.
pub(super) fn write(folder: &Path, name: &str, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .custom_flags(OFlag::O_NOFOLLOW.bits())
        .open(folder.join(name))?;
    file.write_all(text.replace('\n', "\r\n").as_bytes())?;
    file.sync_all()
}

/// Takes a note away that does not hold any more.
pub(super) fn remove(folder: &Path, name: &str) -> io::Result<()> {
    match fs::remove_file(folder.join(name)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
