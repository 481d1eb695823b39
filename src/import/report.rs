//! What an import says about each line that it has read.

use std::fmt::{self, Write};
use std::path::{Path, PathBuf};

/// Where a line stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Spot {
    /// Number of the file, in the order in which files were read.
    pub(super) file: usize,
    /// Number of the line, from 1.
    pub(super) line: usize,
}

/// What has become of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is in the result.
    Translated {
        /// As what.
        into: String,
    },
    /// It is in the result, and behaves otherwise in a way that somebody should know of.
    Differs {
        /// In which way.
        how: String,
    },
    /// There is nothing to do: the gateway does so anyway, or it has nothing to do with the gateway.
    NotNeeded {
        /// Why.
        why: String,
    },
    /// The gateway has nothing like it.
    NoEquivalent {
        /// Why, and what to do instead.
        why: String,
    },
    /// A file that it names cannot be read here.
    Unreadable {
        /// Which, and what to do about it.
        why: String,
    },
    /// It cannot be understood.
    Bad {
        /// Why.
        why: String,
    },
}

/// What is said about one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    spot: Spot,
    /// The line, without secrets.
    pub text: String,
    /// What has become of it.
    pub verdict: Verdict,
}

/// What an import has read, and what has become of each line.
#[derive(Clone, Debug, Default)]
pub struct ImportReport {
    files: Vec<PathBuf>,
    remarks: Vec<Remark>,
    /// Commands to run next, in order.
    next: Vec<String>,
}

/// How many lines have met which fate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportCounts {
    /// In the result.
    pub translated: usize,
    /// In the result, with a difference.
    pub differs: usize,
    /// Nothing to do.
    pub not_needed: usize,
    /// Nothing like it.
    pub no_equivalent: usize,
    /// Files that could not be read.
    pub unreadable: usize,
    /// Not understood.
    pub bad: usize,
}

impl ImportReport {
    pub(super) fn add_file(&mut self, path: &Path) -> usize {
        self.files.push(path.to_owned());
        self.files.len() - 1
    }

    pub(super) fn note(&mut self, spot: Spot, text: impl Into<String>, verdict: Verdict) {
        self.remarks.push(Remark {
            spot,
            text: text.into(),
            verdict,
        });
    }

    pub(super) fn next(&mut self, command: String) {
        if !self.next.contains(&command) {
            self.next.push(command);
        }
    }

    /// Whether this was said about a line already.
    pub(super) fn has(&self, spot: Spot, text: &str) -> bool {
        let mut remarks = self.remarks.iter();
        remarks.any(|remark| remark.spot == spot && remark.text == text)
    }

    pub(super) fn files_len(&self) -> usize {
        self.files.len()
    }

    /// `file:line` of a spot.
    pub(super) fn place(&self, spot: Spot) -> String {
        let file = self.files.get(spot.file).map(PathBuf::as_path);
        format!("{}:{}", file.unwrap_or(Path::new("")).display(), spot.line)
    }

    /// Remarks in the order of files and lines.
    pub fn remarks(&self) -> Vec<&Remark> {
        let mut remarks: Vec<&Remark> = self.remarks.iter().collect();
        remarks.sort_by_key(|remark| remark.spot);
        remarks
    }

    /// Remarks about one file, by its number in the order in which files were read, or about none in particular.
    #[must_use]
    pub fn remarks_of(&self, file: Option<usize>) -> Vec<&Remark> {
        let mut remarks = self.remarks();
        if let Some(file) = file {
            remarks.retain(|remark| remark.spot.file == file && remark.spot.line > 0);
        }
        remarks
    }

    /// Whether something in a file could not be understood.
    #[must_use]
    pub fn has_bad(&self, file: usize) -> bool {
        let remarks = self.remarks_of(Some(file));
        let mut verdicts = remarks.iter().map(|remark| &remark.verdict);
        verdicts.any(|verdict| matches!(verdict, Verdict::Bad { .. }))
    }

    /// Commands to run next.
    #[must_use]
    pub fn commands(&self) -> &[String] {
        &self.next
    }

    /// How many remarks there are of each kind.
    #[must_use]
    pub fn counts(&self) -> ImportCounts {
        let mut counts = ImportCounts::default();
        for remark in &self.remarks {
            match remark.verdict {
                Verdict::Translated { .. } => counts.translated += 1,
                Verdict::Differs { .. } => counts.differs += 1,
                Verdict::NotNeeded { .. } => counts.not_needed += 1,
                Verdict::NoEquivalent { .. } => counts.no_equivalent += 1,
                Verdict::Unreadable { .. } => counts.unreadable += 1,
                Verdict::Bad { .. } => counts.bad += 1,
            }
        }
        counts
    }

    /// The whole report for a person, one line for each.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        for remark in self.remarks() {
            let place = self.place(remark.spot);
            // Writing to a String does not fail.
            let _ = writeln!(text, "{place}: {}\n    {}", remark.text, remark.verdict);
        }
        let counts = self.counts();
        let _ = writeln!(
            text,
            "\n{} translated, {} behave otherwise, {} need nothing, {} have no equivalent, {} not understood",
            counts.translated, counts.differs, counts.not_needed, counts.no_equivalent, counts.bad
        );
        if !self.next.is_empty() {
            text.push_str("\nto do next:\n");
            for command in &self.next {
                let _ = writeln!(text, "    {command}");
            }
        }
        text
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Translated { into } => write!(f, "-> {into}"),
            Self::Differs { how } => write!(f, "differs: {how}"),
            Self::NotNeeded { why } => write!(f, "not needed: {why}"),
            Self::NoEquivalent { why } => write!(f, "no equivalent: {why}"),
            Self::Unreadable { why } => write!(f, "not readable: {why}"),
            Self::Bad { why } => write!(f, "not understood: {why}"),
        }
    }
}

/// A line as it may be shown: values that are secret are left out.
pub(super) fn shown(key: &str, value: &str) -> String {
    if value.is_empty() {
        return key.to_owned();
    }
    let key_lower = key.to_ascii_lowercase();
    let names_file = key_lower.ends_with("file") || key_lower.ends_with("_path");
    let is_secret = [
        "pass", "psk", "secret", "token", "auth_key", "api_key", "_dsn",
    ]
    .iter()
    .any(|word| key_lower.contains(word));
    if is_secret && !names_file && key_lower != "psk_hint" {
        return format!("{key} (its value is not shown)");
    }
    format!("{key} {value}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        for key in [
            "remote_password",
            "bridge_psk",
            "auth_opt_pass",
            "auth_opt_http_basic_auth_key",
            "plugin_opt_jwt_secret",
        ] {
            assert!(!shown(key, "hunter2").contains("hunter2"), "{key}");
        }
        assert_eq!(shown("password_file", "/a"), "password_file /a");
        assert_eq!(shown("port", "1"), "port 1");
        assert_eq!(shown("user", ""), "user");
    }
}
