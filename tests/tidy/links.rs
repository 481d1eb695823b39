//! Links between documents lead somewhere.

use std::path::{Component, Path, PathBuf};

use super::Fault;
use super::source::{SourceFile, Tree, line_of};

pub(crate) fn check(tree: &Tree, file: &SourceFile) -> Vec<Fault> {
    if file
        .path
        .extension()
        .is_none_or(|extension| extension != "md")
    {
        return Vec::new();
    }
    let text = without_code(&file.text);
    links(&text)
        .into_iter()
        .filter(|(_, target)| !resolves(tree, file, target))
        .map(|(offset, target)| {
            Fault::new(
                &file.path,
                line_of(&text, offset),
                format!("`{target}` leads nowhere"),
            )
        })
        .collect()
}

fn resolves(tree: &Tree, file: &SourceFile, target: &str) -> bool {
    if target.contains("://") || target.starts_with("mailto:") {
        return true;
    }
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let folder = file.path.parent().unwrap_or(Path::new(""));
    let path = if path.is_empty() {
        file.path.clone()
    } else {
        plain(&folder.join(path))
    };
    match tree.files.iter().find(|other| other.path == path) {
        Some(other) => anchor.is_empty() || anchors(&other.text).any(|known| known == anchor),
        None => anchor.is_empty() && tree.root.join(&path).exists(),
    }
}

/// The path without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

/// Targets of `[text](target)`.
fn links(text: &str) -> Vec<(usize, String)> {
    text.match_indices("](")
        .filter_map(|(offset, _)| {
            let rest = &text[offset + 2..];
            let target = &rest[..rest.find(')')?];
            let target = target.split_whitespace().next()?;
            Some((offset, target.to_owned()))
        })
        .collect()
}

/// The anchors of the headings.
fn anchors(text: &str) -> impl Iterator<Item = String> {
    text.lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            let heading = line.trim_start_matches('#').trim().to_lowercase();
            let kept = heading
                .chars()
                .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
}

/// The text with everything in backquotes blanked.
fn without_code(text: &str) -> String {
    let mut fenced = false;
    let lines = text.split('\n').map(|line| {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            return String::new();
        }
        if fenced {
            return String::new();
        }
        let parts = line.split('`').enumerate();
        parts
            .filter(|(index, _)| index % 2 == 0)
            .map(|(_, part)| part)
            .collect::<Vec<_>>()
            .join("``")
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<usize> {
        let tree = Tree::of(&[
            ("docs/a.md", text),
            ("docs/b.md", "# Two words, `code`"),
            ("README.md", ""),
        ]);
        tree.each(check)
            .into_iter()
            .map(|fault| fault.line)
            .collect()
    }

    #[test]
    fn links_to_nowhere_are_faults() {
        assert_eq!(faults("x\n[a](c.md)"), [2]);
        assert_eq!(faults("[a](b.md#three)"), [1]);
        assert_eq!(faults("[a](#none)"), [1]);
        assert!(faults("[a](b.md) [a](../README.md) [a](b.md#two-words-code)").is_empty());
        assert!(faults("[a](https://example.org) [a](mailto:a@example.org)").is_empty());
        assert!(faults("```\n[a](c.md)\n```\n`[a](c.md)`").is_empty());
    }
}
