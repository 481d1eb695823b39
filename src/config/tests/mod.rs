//! What reports say, what files mean, and that the documents agree with the code.

mod access;
mod bounds;
mod documents;
mod files;
mod reports;
mod values;

use std::path::PathBuf;

/// Where the sources of the project are.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Compares a committed file with what it should hold; writes it instead where `FIELDGATE_BLESS` is set.
fn compare(path: &str, expected: &str) {
    let file = root().join(path);
    if std::env::var_os("FIELDGATE_BLESS").is_some() {
        std::fs::write(&file, expected).unwrap();
        return;
    }
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(
        found, expected,
        "{path} is not what the code makes; FIELDGATE_BLESS=1 cargo test --lib config:: writes it"
    );
}
