//! Collects faults while the configuration is read; becomes a [`Report`] at the end.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::report::{Fault, FaultCode, Related, Report, Severity};
use super::source::{At, Source, printable};

/// Faults that are shown; a file with more is not the file that was meant.
const SHOWN_FAULTS_MAX: usize = 100;

/// A fault whose place is still a range of bytes.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    severity: Severity,
    code: FaultCode,
    whereabouts: Whereabouts,
    key: String,
    message: String,
    hint: Option<String>,
    related: Vec<(At, String)>,
}

#[derive(Clone, Debug)]
enum Whereabouts {
    At(At),
    File(PathBuf),
}

impl Draft {
    pub(super) fn error(code: FaultCode, at: At, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, Whereabouts::At(at), message.into())
    }

    pub(super) fn warning(code: FaultCode, at: At, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, Whereabouts::At(at), message.into())
    }

    /// A fault of a file as a whole.
    pub(super) fn of_file(
        severity: Severity,
        code: FaultCode,
        path: PathBuf,
        message: impl Into<String>,
    ) -> Self {
        Self::new(severity, code, Whereabouts::File(path), message.into())
    }

    fn new(severity: Severity, code: FaultCode, whereabouts: Whereabouts, message: String) -> Self {
        Self {
            severity,
            code,
            whereabouts,
            key: String::new(),
            message,
            hint: None,
            related: Vec::new(),
        }
    }

    pub(super) fn key(mut self, key: impl Into<String>) -> Self {
        self.key = key.into();
        self
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }

    pub(super) fn related(mut self, at: At, message: impl Into<String>) -> Self {
        self.related.push((at, message.into()));
        self
    }

    fn place_in_order(&self) -> (usize, usize) {
        match &self.whereabouts {
            Whereabouts::File(_) => (0, 0),
            Whereabouts::At(at) => (at.source + 1, at.start),
        }
    }

    fn build(self, sources: &[Source], hidden: &BTreeSet<(usize, usize)>) -> Fault {
        let place = |at: At| {
            let source = sources.get(at.source)?;
            let is_hidden = hidden.contains(&(at.source, source.line_of(at.start)));
            Some(match is_hidden {
                true => source.place_without_value(at.range()),
                false => source.place(at.range()),
            })
        };
        Fault {
            severity: self.severity,
            code: self.code,
            key: printable(self.key),
            message: printable(self.message),
            place: match self.whereabouts {
                Whereabouts::At(at) => place(at),
                Whereabouts::File(path) => Some(Source::whole(&path)),
            },
            related: self
                .related
                .into_iter()
                .filter_map(|(at, message)| {
                    place(at).map(|place| Related {
                        message: printable(message),
                        place,
                    })
                })
                .collect(),
            hint: self.hint.map(printable),
        }
    }
}

/// What is left of a file whose text is not TOML throughout.
#[derive(Clone, Debug, Default)]
pub(super) struct Damage {
    /// Lines that could not be understood; what was made of them means nothing.
    pub(super) lines: BTreeSet<usize>,
    /// Byte from which the structure is guessed.
    pub(super) from: Option<usize>,
    /// Whether keys may stand in what could not be understood.
    pub(super) hides_keys: bool,
}

/// The faults found so far.
#[derive(Debug, Default)]
pub(super) struct Faults {
    drafts: Vec<Draft>,
    /// Syntax faults, which are never doubted.
    certain: Vec<Draft>,
    /// Damage by source; empty while every file is whole.
    damage: Vec<(usize, Damage)>,
    /// What must not be shown.
    hidden: Vec<At>,
}

impl Faults {
    pub(super) fn push(&mut self, draft: Draft) {
        self.drafts.push(draft);
    }

    /// Keeps the lines of a key and of its value out of the report, whatever is wrong there.
    pub(super) fn hide(&mut self, key: At, value: At) {
        self.hidden.extend([key, value]);
    }

    /// Takes the faults of a text that is not TOML.
    ///
    /// From here on, faults that may be consequences of them are left out of the report.
    pub(super) fn push_damage(&mut self, source: usize, damage: Damage, drafts: Vec<Draft>) {
        self.certain.extend(drafts);
        self.damage.push((source, damage));
    }

    /// Takes the fault of a file that could not be read, so that what it holds counts as unknown.
    pub(super) fn push_unread(&mut self, draft: Draft) {
        self.certain.push(draft);
        let damage = Damage {
            hides_keys: true,
            ..Damage::default()
        };
        self.damage.push((usize::MAX, damage));
    }

    /// Whether nothing forbids to use the configuration.
    pub(super) fn is_usable(&self) -> bool {
        let is_error = |draft: &Draft| draft.severity == Severity::Error;
        !self.drafts.iter().chain(&self.certain).any(is_error)
    }

    pub(super) fn into_report(self, sources: &[Source]) -> Report {
        let doubtful = |draft: &Draft| self.is_doubtful(draft, sources);
        let mut drafts: Vec<Draft> = self
            .drafts
            .iter()
            .filter(|draft| !doubtful(draft))
            .chain(&self.certain)
            .cloned()
            .collect();
        drafts.sort_by_key(Draft::place_in_order);
        let omitted = drafts.len().saturating_sub(SHOWN_FAULTS_MAX);
        // Warnings go first, so that an error is never hidden behind them.
        let is_error = |draft: &Draft| draft.severity == Severity::Error;
        let errors = drafts.iter().filter(|draft| is_error(draft)).count();
        let mut warnings_left = SHOWN_FAULTS_MAX.saturating_sub(errors);
        drafts.retain(|draft| {
            let is_kept = is_error(draft) || warnings_left > 0;
            if is_kept && !is_error(draft) {
                warnings_left -= 1;
            }
            is_kept
        });
        drafts.truncate(SHOWN_FAULTS_MAX);
        let hidden = self.hidden_lines(sources);
        let drafts = drafts.into_iter();
        Report {
            faults: drafts.map(|d| d.build(sources, &hidden)).collect(),
            omitted,
        }
    }

    /// Source and index of every line that must not be shown.
    fn hidden_lines(&self, sources: &[Source]) -> BTreeSet<(usize, usize)> {
        let mut lines = BTreeSet::new();
        for at in &self.hidden {
            if let Some(source) = sources.get(at.source) {
                let last = source.line_of(at.end.max(at.start));
                lines.extend((source.line_of(at.start)..=last).map(|line| (at.source, line)));
            }
        }
        lines
    }

    /// Whether a fault may be a consequence of text that could not be understood.
    fn is_doubtful(&self, draft: &Draft, sources: &[Source]) -> bool {
        if self.damage.is_empty() {
            return false;
        }
        // What is missing may stand in the part that could not be read.
        if draft.code == FaultCode::MissingKey && self.damage.iter().any(|(_, d)| d.hides_keys) {
            return true;
        }
        let Whereabouts::At(at) = draft.whereabouts else {
            return false;
        };
        let Some((_, damage)) = self.damage.iter().find(|(s, _)| *s == at.source) else {
            return false;
        };
        let line = sources.get(at.source).map(|s| s.line_of(at.start));
        line.is_some_and(|line| damage.lines.contains(&line))
            || damage.from.is_some_and(|from| at.start >= from)
    }
}
