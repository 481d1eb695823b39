//! The lines of a mosquitto.conf and of the files that it includes.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::report::{ImportReport, Spot, Verdict, shown};

/// Bytes of one file; a configuration is a thousand times smaller.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Files that one configuration may consist of.
const FILES_MAX: usize = 256;

/// A line that says something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) spot: Spot,
    pub(super) key: String,
    /// The rest of the line; empty if there is none.
    pub(super) value: String,
}

/// All lines in the order in which mosquitto reads them. Files that cannot be read are reported; the first one is not,
/// because without it there is nothing to import.
pub(super) fn read(path: &Path, report: &mut ImportReport) -> io::Result<Vec<Line>> {
    let text = read_text(path)?;
    let mut lines = Vec::new();
    add(path, &text, &mut lines, report);
    Ok(lines)
}

fn add(path: &Path, text: &str, lines: &mut Vec<Line>, report: &mut ImportReport) {
    let file = report.add_file(path);
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let spot = Spot {
            file,
            line: index + 1,
        };
        let (key, value) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let value = value.trim();
        if key == "include_dir" {
            include(path, spot, value, lines, report);
            continue;
        }
        lines.push(Line {
            spot,
            key: key.to_owned(),
            value: value.to_owned(),
        });
    }
}

/// Adds the files of an `include_dir`. A folder in it is passed over by mosquitto, and so is one here.
fn include(path: &Path, spot: Spot, value: &str, lines: &mut Vec<Line>, report: &mut ImportReport) {
    let line = shown("include_dir", value);
    let folder = beside(path, value);
    let files = match files_of(&folder) {
        Ok(files) => files,
        Err(error) => {
            let why = format!(
                "`{}` is not there for this user ({error}); import where it is, or put its lines into this file",
                folder.display()
            );
            report.note(spot, line, Verdict::Unreadable { why });
            return;
        }
    };
    let into = format!("the lines of {} files in it", files.len());
    report.note(spot, line, Verdict::Translated { into });
    for file in files {
        if report.files_len() >= FILES_MAX {
            let why = format!("a configuration has at most {FILES_MAX} files");
            report.note(spot, shown("include_dir", value), Verdict::Bad { why });
            return;
        }
        match read_text(&file) {
            Ok(text) => add(&file, &text, lines, report),
            Err(error) => {
                let why = format!("`{}`: {error}", file.display());
                report.note(
                    spot,
                    shown("include_dir", value),
                    Verdict::Unreadable { why },
                );
            }
        }
    }
}

/// Files whose names end with `.conf`, by name without regard to case, capitals first where that is the only difference.
fn files_of(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "conf") && path.is_file() {
            files.push(path);
        }
    }
    files.sort_by_key(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        (name.to_lowercase(), name.into_owned())
    });
    Ok(files)
}

/// A path as it is written, or beside the file that names it: mosquitto takes it from the folder that it was started in,
/// which nobody knows.
pub(super) fn beside(file: &Path, name: &str) -> PathBuf {
    let folder = file.parent().unwrap_or(Path::new(""));
    let path = folder.join(name);
    std::path::absolute(&path).unwrap_or(path)
}

/// The text of a file, with marks in place of bytes that are none.
pub(super) fn read_text(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other("it is larger than 4 MiB"));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
