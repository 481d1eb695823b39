//! Files that belong to nothing, and violations that nothing proves.

use std::path::{Path, PathBuf};

use super::Fault;
use super::source::{Tree, is_word, words};

/// Source files that no module names; the compiler does not see them and neither does anybody else.
pub(crate) fn dead_files(tree: &Tree) -> Vec<Fault> {
    let mut faults = Vec::new();
    for file in tree.files.iter().filter(|file| file.is_rust()) {
        if is_root(&file.path) {
            continue;
        }
        let (name, folder, parents) = place(&file.path);
        let mut named = tree.files.iter().filter(|other| {
            let beside = is_root(&other.path) && other.path.parent() == Some(folder);
            beside || parents.contains(&other.path)
        });
        let declared = named.any(|parent| declares(&parent.code, &name));
        if !declared && !has_path(tree, &file.path) {
            faults.push(Fault::new(
                &file.path,
                1,
                format!("no module says `mod {name};`"),
            ));
        }
    }
    faults
}

/// Files that the build tool finds by itself.
fn is_root(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    let folder = path.parent().and_then(Path::file_name).unwrap_or_default();
    name == "main.rs"
        || name == "lib.rs"
        || name == "build.rs"
        || ["tests", "benches", "examples", "fuzz_targets", "bin"]
            .iter()
            .any(|root| folder == *root)
}

/// The name of the module that a file is, the folder that it belongs to, and the files that may declare it.
fn place(path: &Path) -> (String, &Path, Vec<PathBuf>) {
    let folder = path.parent().unwrap_or(Path::new(""));
    let name_of = |path: &Path| {
        path.file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    let (name, folder) = if path.ends_with("mod.rs") {
        (name_of(folder), folder.parent().unwrap_or(Path::new("")))
    } else {
        (name_of(path), folder)
    };
    let parents = vec![folder.join("mod.rs"), folder.with_extension("rs")];
    (name, folder, parents)
}

/// Whether a file of the same folder takes this one in by `#[path = "…"]`.
fn has_path(tree: &Tree, path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let attribute = format!("#[path = \"{name}\"]");
    let mut beside = tree
        .files
        .iter()
        .filter(|file| file.path.parent() == path.parent());
    beside.any(|file| file.path != path && file.text.contains(&attribute))
}

fn declares(code: &str, name: &str) -> bool {
    words(code, "mod").any(|offset| {
        let rest = code[offset + 3..].trim_start();
        rest.strip_prefix(name)
            .is_some_and(|rest| !rest.starts_with(is_word) && rest.trim_start().starts_with(';'))
    })
}

/// Violations that no packet of `tests/vectors` shows.
pub(crate) fn violations_without_vector<'a>(
    tree: &Tree,
    names: impl IntoIterator<Item = &'a str>,
) -> Vec<Fault> {
    let vectors = Path::new("tests/vectors");
    let shown: Vec<&str> = tree
        .files
        .iter()
        .filter(|file| file.path.starts_with(vectors))
        .map(|file| file.text.as_str())
        .collect();
    names
        .into_iter()
        .filter(|name| {
            !shown
                .iter()
                .any(|text| text.contains(&format!("\"{name}\"")))
        })
        .map(|name| Fault::new(vectors, 1, format!("no packet shows `Violation::{name}`")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dead(samples: &[(&str, &str)]) -> Vec<PathBuf> {
        dead_files(&Tree::of(samples))
            .into_iter()
            .map(|fault| fault.path)
            .collect()
    }

    #[test]
    fn file_that_no_module_names_is_dead() {
        let samples = [
            ("src/lib.rs", "pub mod a;\n// mod stray;\nmod b;"),
            ("src/a/mod.rs", "mod c;"),
            ("src/a/c.rs", "mod d;"),
            ("src/a/c/d.rs", "fn f() {}"),
            ("src/b.rs", "#[path = \"b_tests.rs\"]\nmod tests;"),
            ("src/b_tests.rs", "fn f() {}"),
            ("benches/fan_out.rs", "mod rig;"),
            ("benches/rig/mod.rs", "fn f() {}"),
            ("src/stray.rs", "fn f() {}"),
            ("src/a/stray.rs", "fn f() {}"),
        ];
        assert_eq!(
            dead(&samples),
            [
                PathBuf::from("src/stray.rs"),
                PathBuf::from("src/a/stray.rs")
            ]
        );
    }

    #[test]
    fn violation_that_no_packet_shows_is_a_fault() {
        let tree = Tree::of(&[
            (
                "tests/vectors/publish.json",
                "[{\"violation\": \"TopicNameEmpty\"}]",
            ),
            ("src/mqtt/x.rs", "\"Other\""),
        ]);
        assert!(violations_without_vector(&tree, ["TopicNameEmpty"]).is_empty());
        assert_eq!(
            violations_without_vector(&tree, ["Topic", "Other"]).len(),
            2
        );
    }
}
