//! What is wrong with a configuration, in a form for people and in one for programs.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// Everything that was found wrong with a configuration, in the order of the files.
///
/// A report holds at least one fault with [`Severity::Error`] where it is handed out as an error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Errors and warnings.
    pub faults: Vec<Fault>,
    /// Faults that were found and left out, because nobody reads more than the others.
    pub omitted: usize,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Whether the configuration can be used all the same.
    pub severity: Severity,
    /// What kind of fault it is, for programs.
    pub code: FaultCode,
    /// The key that it is about, as in `listener[0].port[1].bind`; empty where it is about none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// What is wrong, for people.
    pub message: String,
    /// Where it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// Other places that have to do with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub related: Vec<Related>,
    /// How to mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Whether a configuration with this fault can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It cannot.
    Error,
    /// It can, and probably does not do what was meant.
    Warning,
}

/// Kind of a fault; its text in the machine form never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultCode {
    /// A file or folder cannot be read.
    Unreadable,
    /// A file is not text.
    NotText,
    /// The text is not TOML.
    Syntax,
    /// No such key in this table.
    UnknownKey,
    /// The value has another type than the key takes.
    WrongType,
    /// The value has the right type, and is not one that the key takes.
    BadValue,
    /// A key that must be written is absent.
    MissingKey,
    /// Something that may exist once is there twice.
    Duplicate,
    /// A name that nothing has.
    MissingReference,
    /// Two keys that exclude each other, or one without another that it needs.
    Conflict,
    /// The cluster broker has this; the gateway does not.
    NotAvailable,
    /// A secret, where none may stand.
    Secret,
    /// It is legal and has no effect.
    NoEffect,
    /// It is legal and will surprise.
    Surprising,
}

/// A place in a file, with the text that stands there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The file, as it was named.
    #[serde(serialize_with = "readable")]
    pub file: PathBuf,
    /// Line, counted from 1; 0 where the fault is about the file as a whole.
    #[serde(skip_serializing_if = "is_zero")]
    pub line: usize,
    /// Column in characters, counted from 1.
    #[serde(skip_serializing_if = "is_zero")]
    pub column: usize,
    /// What is shown of the line. Never holds a secret or a character that a terminal would act on.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// The part of `text` to underline, in columns of a terminal.
    #[serde(skip)]
    pub underline: Range<usize>,
}

/// Another place that has to do with a fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Related {
    /// What is there.
    pub message: String,
    /// Where it is.
    pub place: Place,
}

/// Whether a report may use the colours of a terminal. The words are the same in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// For files, pipes and the journal.
    Plain,
    /// For terminals.
    Colour,
}

impl Report {
    /// The faults that forbid to use the configuration.
    pub fn errors(&self) -> impl Iterator<Item = &Fault> {
        self.with(Severity::Error)
    }

    /// The faults that do not.
    pub fn warnings(&self) -> impl Iterator<Item = &Fault> {
        self.with(Severity::Warning)
    }

    fn with(&self, severity: Severity) -> impl Iterator<Item = &Fault> {
        self.faults.iter().filter(move |f| f.severity == severity)
    }

    /// The whole report for people, with the text of the files.
    pub fn render(&self, paint: Paint) -> String {
        let mut out = String::new();
        for fault in &self.faults {
            out.push_str(&fault.render(paint));
            out.push('\n');
        }
        if self.omitted > 0 {
            out.push_str(&format!("… and {} more\n\n", self.omitted));
        }
        out.push_str(&self.summary());
        out.push('\n');
        out
    }

    /// One line that says how many faults there are.
    pub fn summary(&self) -> String {
        let errors = self.errors().count();
        let warnings = self.warnings().count();
        let mut parts = Vec::new();
        if errors > 0 || warnings == 0 {
            parts.push(counted(errors, "error"));
        }
        if warnings > 0 {
            parts.push(counted(warnings, "warning"));
        }
        parts.join(" and ")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Paint::Plain))
    }
}

impl std::error::Error for Report {}

impl Fault {
    /// The fault for people, over several lines, with the text of the file.
    pub fn render(&self, paint: Paint) -> String {
        let (word, colour) = match self.severity {
            Severity::Error => ("error", Colour::Red),
            Severity::Warning => ("warning", Colour::Yellow),
        };
        let mut out = format!(
            "{}{}\n",
            paint.apply(colour, word),
            paint.apply(Colour::Bold, &format!(": {}", self.message))
        );
        if let Some(place) = &self.place {
            place.render(paint, colour, &mut out);
        }
        for related in &self.related {
            out.push_str(&format!(
                "{}: {}\n",
                paint.apply(Colour::Blue, "note"),
                related.message
            ));
            related.place.render(paint, Colour::Blue, &mut out);
        }
        if let Some(hint) = &self.hint {
            out.push_str(&format!("{}: {hint}\n", paint.apply(Colour::Cyan, "hint")));
        }
        out
    }
}

/// One line, for the journal: `gateway.toml:3:1: message (hint: …)`.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, " (hint: {hint})")?;
        }
        Ok(())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        Ok(())
    }
}

impl Place {
    fn render(&self, paint: Paint, colour: Colour, out: &mut String) {
        let number = self.line.to_string();
        let gutter = " ".repeat(number.len());
        let bar = paint.apply(Colour::Blue, "|");
        let arrow = paint.apply(Colour::Blue, "-->");
        out.push_str(&format!("{gutter}{arrow} {self}\n"));
        if self.line == 0 {
            return;
        }
        let number = paint.apply(Colour::Blue, &number);
        let indent = " ".repeat(self.underline.start);
        let carets = "^".repeat(self.underline.len().max(1));
        let carets = paint.apply(colour, &carets);
        out.push_str(&format!("{gutter} {bar}\n"));
        out.push_str(format!("{number} {bar} {}", self.text).trim_end());
        out.push_str(&format!("\n{gutter} {bar} {indent}{carets}\n"));
    }
}

#[derive(Clone, Copy)]
enum Colour {
    Bold,
    Red,
    Yellow,
    Blue,
    Cyan,
}

impl Paint {
    fn apply(self, colour: Colour, text: &str) -> String {
        let code = match colour {
            Colour::Bold => "1",
            Colour::Red => "1;31",
            Colour::Yellow => "1;33",
            Colour::Blue => "1;34",
            Colour::Cyan => "1;36",
        };
        match self {
            Self::Plain => text.to_owned(),
            Self::Colour => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }
}

/// The name of a file in the machine form, where names that are not UTF-8 must not be a fault of their own.
fn readable<S: serde::Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

fn counted(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}
