//! From files to settings.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::faults::{Damage, Draft, Faults};
use super::lists;
use super::merge::{merge, merge_in_place};
use super::report::{FaultCode, Report, Severity};
use super::resolve::resolve;
use super::source::{At, Source};
use super::syntax;
use super::tree::{Entry, Table, Value};
use super::{DEFAULT_TEXT, Loaded};

/// Bytes of one file: as many rules as there may be. A file for technicians is hundreds of times smaller.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Files in `conf.d`.
const FOLDER_FILES_MAX: usize = 256;

/// Loads a main file and what lies in `conf.d` beside it; the embedded default where there is none.
pub(super) fn load(main: Option<&Path>) -> Result<Loaded, Report> {
    let mut reading = Reading::default();
    match main {
        None => reading.add_text(Path::new("the embedded default"), DEFAULT_TEXT),
        Some(path) => {
            reading.add_file(path);
            let folder = path.parent().unwrap_or(Path::new("")).join("conf.d");
            for path in reading.files_of(&folder) {
                reading.add_file(&path);
            }
        }
    }
    let mut loaded = reading.finish()?;
    if main.is_none() {
        loaded.sources.clear();
    }
    Ok(loaded)
}

/// Loads a main file and what lies in `conf.d` beside it, with one file more that is there only as text.
pub(super) fn load_with(main: &Path, added: &Path, text: &str) -> Result<Loaded, Report> {
    let mut reading = Reading::default();
    let folder = main.parent().unwrap_or(Path::new("")).join("conf.d");
    let mut files = reading.files_of(&folder);
    if added != main {
        files.push(added.to_owned());
        files.sort();
    }
    files.insert(0, main.to_owned());
    for path in files {
        if path == added {
            reading.add_text(&path, text);
        } else {
            reading.add_file(&path);
        }
    }
    reading.finish()
}

/// Loads a main file and what lies in `conf.d` beside it, and lays a text over both. Of a listener that the text has, too,
/// nothing is left; who may come in and what he may do is never made of both.
pub(super) fn load_over(main: &Path, added: &Path, text: &str) -> Result<Loaded, Report> {
    let mut reading = Reading::default();
    reading.add_file(main);
    let folder = main.parent().unwrap_or(Path::new("")).join("conf.d");
    for path in reading.files_of(&folder) {
        reading.add_file(&path);
    }
    let over = reading.parsed(added, text);
    reading.refuse_twins(&over);
    merge_in_place(&mut reading.merged, over);
    reading.finish()
}

/// Loads one text.
pub(super) fn load_text(path: &Path, text: &str) -> Result<Loaded, Report> {
    let mut reading = Reading::default();
    reading.add_text(path, text);
    reading.finish()
}

/// The named sections of a kind.
fn sections<'a>(table: &'a Table, kind: &str) -> &'a [Entry] {
    match table.get(kind).map(|entry| &entry.node.value) {
        Some(Value::Table(sections)) => &sections.entries,
        _ => &[],
    }
}

/// The files read so far, laid over each other.
#[derive(Default)]
struct Reading {
    sources: Vec<Source>,
    merged: Table,
    faults: Faults,
}

impl Reading {
    fn add_file(&mut self, path: &Path) {
        match read_file(path) {
            Ok(text) => self.add_text(path, &text),
            Err(Unread::Whole {
                code,
                message,
                hint,
            }) => {
                // Keeps the order of sources, so that the main file is always the first.
                self.sources.push(Source::new(path, String::new()));
                self.faults.push_unread(
                    Draft::of_file(Severity::Error, code, path.to_owned(), message)
                        .maybe_hint(hint),
                );
            }
            Err(Unread::NotText {
                text,
                at,
                message,
                hint,
            }) => {
                let index = self.sources.len();
                self.sources.push(Source::new(path, text));
                let draft = Draft::error(FaultCode::NotText, At::new(index, at..at + 1), message);
                let damage = Damage {
                    from: Some(0),
                    hides_keys: true,
                    ..Damage::default()
                };
                self.faults
                    .push_damage(index, damage, vec![draft.hint(hint)]);
            }
        }
    }

    fn add_text(&mut self, path: &Path, text: &str) {
        let table = self.parsed(path, text);
        merge(&mut self.merged, table);
    }

    /// Notes sections that a text has and that are there already.
    fn refuse_twins(&mut self, over: &Table) {
        for kind in ["authentication", "authorization"] {
            let base = sections(&self.merged, kind);
            for twin in sections(over, kind) {
                if base.iter().any(|entry| entry.key == twin.key) {
                    let message = format!("the files have an {kind} `{}` already", twin.key);
                    let draft = Draft::error(FaultCode::Conflict, twin.key_at, message);
                    self.faults.push(draft);
                }
            }
        }
    }

    /// A text as a table, which is not merged yet.
    fn parsed(&mut self, path: &Path, text: &str) -> Table {
        let index = self.sources.len();
        let source = Source::new(path, text.to_owned());
        let mut parsed = syntax::parse(index, &source);
        lists::mend(&mut parsed.table, &source, &mut self.faults);
        if let Some((damage, drafts)) = parsed.damage {
            self.faults.push_damage(index, damage, drafts);
        }
        self.sources.push(source);
        parsed.table
    }

    /// The files of `conf.d` in the order of their names; none where there is no such folder.
    fn files_of(&mut self, folder: &Path) -> Vec<PathBuf> {
        let names = match list(folder) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
            // A file that is called conf.d is none of ours.
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Vec::new(),
            Err(error) => {
                let message = format!("the folder cannot be read: {}", plain(&error));
                self.faults.push_unread(Draft::of_file(
                    Severity::Error,
                    FaultCode::Unreadable,
                    folder.to_owned(),
                    message,
                ));
                return Vec::new();
            }
        };
        let mut files = Vec::new();
        for name in names {
            let path = folder.join(&name);
            let text = name.to_string_lossy();
            if text.starts_with('.') {
                continue;
            }
            if text.ends_with(".toml") {
                files.push(path);
            } else if seems_meant(&text) {
                self.faults.push(
                    Draft::of_file(
                        Severity::Warning,
                        FaultCode::NoEffect,
                        path,
                        "this file is not read: its name does not end with .toml",
                    )
                    .hint("rename it, or move it elsewhere"),
                );
            }
        }
        files.sort();
        if files.len() > FOLDER_FILES_MAX {
            let message = format!(
                "there are {} files here, and at most {FOLDER_FILES_MAX} are read",
                files.len()
            );
            self.faults.push_unread(Draft::of_file(
                Severity::Error,
                FaultCode::Unreadable,
                folder.to_owned(),
                message,
            ));
            files.truncate(FOLDER_FILES_MAX);
        }
        files
    }

    fn finish(mut self) -> Result<Loaded, Report> {
        let settings = resolve(&self.merged, &self.sources, &mut self.faults);
        let is_usable = self.faults.is_usable();
        let report = self.faults.into_report(&self.sources);
        if !is_usable {
            return Err(report);
        }
        Ok(Loaded {
            settings,
            warnings: report.faults,
            sources: self.sources.into_iter().map(|source| source.path).collect(),
        })
    }
}

/// Whether a name looks like that of a file that somebody expects to be read.
fn seems_meant(name: &str) -> bool {
    const ENDS: &[&str] = &[
        "toml", "conf", "cfg", "config", "tml", "ini", "yaml", "yml", "json",
    ];
    let extension = name.rsplit_once('.').map(|(_, extension)| extension);
    extension.is_some_and(|e| ENDS.contains(&e.to_ascii_lowercase().as_str()))
}

fn list(folder: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    std::fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect()
}

/// Why a file is no text.
enum Unread {
    /// Nothing of it can be shown.
    Whole {
        code: FaultCode,
        message: String,
        hint: Option<String>,
    },
    /// The text with marks in place of what is none.
    NotText {
        text: String,
        at: usize,
        message: String,
        hint: &'static str,
    },
}

impl Unread {
    fn whole(code: FaultCode, message: impl Into<String>) -> Self {
        Self::Whole {
            code,
            message: message.into(),
            hint: None,
        }
    }
}

fn read_file(path: &Path) -> Result<String, Unread> {
    let bytes = read_bytes(path).map_err(|error| unreadable(path, &error))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let message = "the file is larger than 4 MiB, so it is not a configuration";
        return Err(Unread::whole(FaultCode::Unreadable, message));
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(Unread::Whole {
            code: FaultCode::NotText,
            message: "the file is UTF-16, which some editors call \"Unicode\"".to_owned(),
            hint: Some("save it as UTF-8".to_owned()),
        });
    }
    String::from_utf8(bytes).map_err(|error| not_text(&error))
}

fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn unreadable(path: &Path, error: &io::Error) -> Unread {
    let hint = match error.kind() {
        io::ErrorKind::NotFound => Some(format!(
            "`fieldgate config default > {}` writes one to begin with",
            path.display()
        )),
        io::ErrorKind::PermissionDenied => Some(format!(
            "the user that runs fieldgate must be able to read it: see `ls -l {}`",
            path.display()
        )),
        io::ErrorKind::IsADirectory => Some(format!(
            "name the file in it: {}",
            path.join("gateway.toml").display()
        )),
        _ => None,
    };
    Unread::Whole {
        code: FaultCode::Unreadable,
        message: format!("the file cannot be read: {}", plain(error)),
        hint,
    }
}

/// What went wrong, without numbers.
fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "it does not exist".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::IsADirectory => "it is a folder".to_owned(),
        io::ErrorKind::NotADirectory => "a part of its path is not a folder".to_owned(),
        kind => kind.to_string(),
    }
}

fn not_text(error: &std::string::FromUtf8Error) -> Unread {
    let bytes = error.as_bytes();
    let good = error.utf8_error().valid_up_to();
    let found = bytes.get(good).copied().unwrap_or_default();
    let hint = if bytes.contains(&0) {
        "this is not a text file"
    } else {
        "save the file as UTF-8; editors on Windows often save in another encoding"
    };
    Unread::NotText {
        text: String::from_utf8_lossy(bytes).into_owned(),
        at: good,
        message: format!("the file is not UTF-8: byte {} is 0x{found:02X}", good + 1),
        hint,
    }
}
