//! Parses a text as far as it is TOML, and notes where it is not.

use toml::de::DeTable;

use super::explain::{Explained, Explainer};
use super::faults::{Damage, Draft};
use super::report::FaultCode;
use super::source::{At, Source};
use super::tree::Table;

/// Syntax faults that are explained; a text with more is not TOML at all.
const EXPLAINED_MAX: usize = 100;

/// A text as far as it could be understood.
pub(super) struct Parsed {
    pub(super) table: Table,
    /// Present where the text is not TOML throughout.
    pub(super) damage: Option<(Damage, Vec<Draft>)>,
}

/// Parses the source with this index.
pub(super) fn parse(index: usize, source: &Source) -> Parsed {
    let (table, errors) = DeTable::parse_recoverable(&source.text);
    let table = Table::from_toml(index, table.get_ref());
    if errors.is_empty() {
        return Parsed {
            table,
            damage: None,
        };
    }
    let mut explained: Vec<Explained> = errors
        .iter()
        .take(EXPLAINED_MAX)
        .map(|error| Explainer { source, error }.explain())
        .collect();
    drop_consequences(&mut explained, source);
    let damage = Damage {
        lines: explained
            .iter()
            .map(|e| source.line_of(e.range.start))
            .collect(),
        from: explained
            .iter()
            .filter(|e| e.breaks_structure)
            .map(|e| e.range.start)
            .min(),
        hides_keys: explained.iter().any(|e| e.breaks_structure || e.hides_key),
    };
    let drafts = explained.into_iter().map(|e| e.draft(index)).collect();
    Parsed {
        table,
        damage: Some((damage, drafts)),
    }
}

impl Explained {
    fn draft(self, source: usize) -> Draft {
        let at = At::new(source, self.range);
        let draft = Draft::error(self.code, at, self.message).maybe_hint(self.hint);
        match self.related {
            Some((range, message)) => draft.related(At::new(source, range), message),
            None => draft,
        }
    }
}

/// Keeps the first fault of each line, and of something that is never closed only its beginning.
fn drop_consequences(explained: &mut Vec<Explained>, source: &Source) {
    let open = explained
        .iter()
        .filter(|e| e.breaks_structure)
        .map(|e| e.range.start)
        .min();
    explained.sort_by_key(|e| e.range.start);
    // Below a header that is there twice its keys are there twice too.
    let mut below_duplicate = false;
    explained.retain(|e| {
        if source
            .line(source.line_of(e.range.start))
            .trim_start()
            .starts_with('[')
        {
            below_duplicate = e.code == FaultCode::Duplicate;
            return true;
        }
        !(below_duplicate && e.code == FaultCode::Duplicate)
    });
    if let Some(open) = open {
        explained.retain(|e| e.range.start <= open || e.breaks_structure);
    }
    explained.dedup_by_key(|e| source.line_of(e.range.start));
}
