//! The rules of the tree, checked on every `cargo test`. Each check also runs on a small bad sample, so that it is known to
//! go red.

mod floors;
mod links;
mod purity;
mod size;
mod source;
mod structure;
mod words;

use std::fmt;
use std::path::{Path, PathBuf};

use fieldgate::mqtt::Violation;
use source::Tree;

/// Something that breaks a rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Fault {
    path: PathBuf,
    line: usize,
    text: String,
}

impl Fault {
    fn new(path: &Path, line: usize, text: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            text: text.into(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path.display(), self.line, self.text)
    }
}

#[track_caller]
fn assert_clean(mut faults: Vec<Fault>) {
    faults.sort();
    let text: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert!(
        text.is_empty(),
        "{} faults\n{}",
        text.len(),
        text.join("\n")
    );
}

#[test]
fn modules_import_only_downward() {
    assert_clean(Tree::load().each(floors::check));
}

#[test]
fn core_is_pure() {
    assert_clean(Tree::load().each(purity::check));
}

#[test]
fn files_and_functions_are_short() {
    assert_clean(Tree::load().each(size::check));
}

#[test]
fn words_are_used_where_they_belong() {
    assert_clean(Tree::load().each(words::check));
}

#[test]
fn every_source_file_belongs_to_a_module() {
    assert_clean(structure::dead_files(&Tree::load()));
}

#[test]
fn links_in_documents_resolve() {
    assert_clean(Tree::load().each(links::check));
}

#[test]
fn every_violation_of_the_format_has_a_vector() {
    let names = Violation::FORMAT.iter().map(|violation| violation.name());
    assert_clean(structure::violations_without_vector(&Tree::load(), names));
}
