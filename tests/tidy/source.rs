//! The files of the tree, and Rust text with everything blanked that is not code.

use std::path::{Path, PathBuf};

use super::Fault;

/// Folders that hold nothing of ours.
const FOREIGN: [&str; 8] = [
    "target",
    ".git",
    "var",
    "node_modules",
    "__pycache__",
    ".tools",
    "corpus",
    "artifacts",
];

/// Every text file of the repository.
pub(crate) struct Tree {
    pub(crate) root: PathBuf,
    pub(crate) files: Vec<SourceFile>,
}

/// One file.
pub(crate) struct SourceFile {
    /// Path from the root of the repository.
    pub(crate) path: PathBuf,
    /// The text as it is.
    pub(crate) text: String,
    /// Rust only: the text with comments and literals blanked; the lines stay where they are.
    pub(crate) code: String,
    /// Rust only: the code with `#[cfg(test)]` modules blanked, too.
    pub(crate) product: String,
}

impl Tree {
    pub(crate) fn load() -> Self {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let mut files = Vec::new();
        collect(&root, &root, &mut files);
        assert!(files.len() > 10, "the tree is not where it is expected");
        Self { root, files }
    }

    pub(crate) fn each(&self, check: impl Fn(&Self, &SourceFile) -> Vec<Fault>) -> Vec<Fault> {
        self.files
            .iter()
            .flat_map(|file| check(self, file))
            .collect()
    }

    /// A tree of samples, for the tests of the checks.
    #[cfg(test)]
    pub(crate) fn of(samples: &[(&str, &str)]) -> Self {
        let files = samples
            .iter()
            .map(|(path, text)| SourceFile::new(path, (*text).to_owned()));
        Self {
            root: PathBuf::from("/nowhere"),
            files: files.collect(),
        }
    }
}

impl SourceFile {
    pub(crate) fn new(path: impl AsRef<Path>, text: String) -> Self {
        let path = path.as_ref().to_owned();
        let rust = path.extension().is_some_and(|extension| extension == "rs");
        let code = if rust { blank(&text) } else { String::new() };
        let product = without_tests(&code);
        Self {
            path,
            text,
            code,
            product,
        }
    }

    pub(crate) fn is_rust(&self) -> bool {
        !self.code.is_empty()
    }

    /// Whether the whole file is a test.
    pub(crate) fn is_test(&self) -> bool {
        let names = ["tests", "benches", "fuzz", "tests.rs", "testing.rs"];
        self.path
            .components()
            .map(|part| part.as_os_str().to_string_lossy())
            .any(|part| part.ends_with("_tests.rs") || names.iter().any(|name| part == *name))
    }

    /// The path below `src/`, if it is there.
    pub(crate) fn below_src(&self) -> Option<&Path> {
        self.path
            .strip_prefix("src")
            .ok()
            .filter(|_| self.is_rust())
    }
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<SourceFile>) {
    let entries = std::fs::read_dir(folder).expect("the tree can be read");
    for entry in entries {
        let path = entry.expect("the tree can be read").path();
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        if path.is_dir() {
            if !FOREIGN.contains(&name.as_str()) {
                collect(root, &path, files);
            }
        } else if let Ok(text) = std::fs::read_to_string(&path) {
            let path = path.strip_prefix(root).expect("below the root");
            files.push(SourceFile::new(path, text));
        }
    }
}

/// The 1-based line of a byte offset.
pub(crate) fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
        + 1
}

/// Offsets of `word` where it stands alone.
pub(crate) fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    text.match_indices(word)
        .map(|(offset, _)| offset)
        .filter(move |offset| {
            let before = text[..*offset].chars().next_back();
            let after = text[offset + word.len()..].chars().next();
            !before.is_some_and(is_word) && !after.is_some_and(is_word)
        })
}

pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Offset behind the brace that closes the one at `open`.
pub(crate) fn block_end(code: &str, open: usize) -> usize {
    let mut depth = 0;
    for (offset, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    return offset + 1;
                }
            }
            _ => {}
        }
    }
    code.len()
}

/// Blanks comments and the inside of string and character literals.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => line_end(bytes, at),
            b'/' if bytes.get(at + 1) == Some(&b'*') => comment_end(bytes, at),
            b'"' => string_end(bytes, at),
            b'r' | b'b' | b'c' if starts_literal(bytes, at) => prefixed_end(bytes, at),
            b'\'' => match character_end(text, at) {
                Some(end) => end,
                None => {
                    at += 1;
                    continue;
                }
            },
            _ => {
                at += 1;
                continue;
            }
        };
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    String::from_utf8(out).expect("whole characters are blanked")
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..]
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or(bytes.len(), |length| at + length)
}

fn comment_end(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 0;
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    bytes.len()
}

fn string_end(bytes: &[u8], open: usize) -> usize {
    let mut at = open + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// `r"`, `r#"`, `b"`, `br#"`, `b'`, `c"` and the like, but not an identifier that ends so, and not `r#type`.
fn starts_literal(bytes: &[u8], at: usize) -> bool {
    if at > 0 && is_word(char::from(bytes[at - 1])) {
        return false;
    }
    let mut rest = bytes[at..]
        .iter()
        .skip_while(|byte| matches!(byte, b'r' | b'b' | b'c'));
    match rest.next() {
        Some(b'"') => true,
        Some(b'\'') => bytes[at] == b'b',
        Some(b'#') => rest.find(|byte| **byte != b'#') == Some(&b'"'),
        _ => false,
    }
}

fn prefixed_end(bytes: &[u8], at: usize) -> usize {
    let open = at
        + bytes[at..]
            .iter()
            .take_while(|byte| matches!(byte, b'r' | b'b' | b'c'))
            .count();
    let raw = bytes[at..open].contains(&b'r');
    let hashes = bytes[open..]
        .iter()
        .take_while(|byte| **byte == b'#')
        .count();
    match bytes.get(open + hashes) {
        Some(b'"') if raw => {
            let close: Vec<u8> = std::iter::once(b'"')
                .chain(std::iter::repeat_n(b'#', hashes))
                .collect();
            let from = open + hashes + 1;
            let inside = bytes[from..]
                .windows(close.len())
                .position(|window| window == close);
            inside.map_or(bytes.len(), |length| from + length + close.len())
        }
        Some(b'"') => string_end(bytes, open),
        _ => bytes[open + 1..]
            .iter()
            .enumerate()
            .find(|(index, byte)| {
                **byte == b'\'' && *index > 0 && bytes[open + index] != b'\\' || *index > 3
            })
            .map_or(bytes.len(), |(index, _)| open + index + 2),
    }
}

/// The end of a character literal; none for a lifetime.
fn character_end(text: &str, open: usize) -> Option<usize> {
    let mut characters = text[open + 1..].char_indices();
    let (_, first) = characters.next()?;
    if first == '\\' {
        let escaped = &text[open + 3..];
        return escaped.find('\'').map(|length| open + 3 + length + 1);
    }
    match characters.next()? {
        (length, '\'') => Some(open + 1 + length + 1),
        _ => None,
    }
}

/// Blanks every module below `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    let mut out = code.to_owned();
    let mut from = 0;
    while let Some(found) = out[from..].find("#[cfg(test)]") {
        let start = from + found;
        let rest = &out[start..];
        let open = rest.find('{').map(|length| start + length);
        let semicolon = rest.find(';').map_or(usize::MAX, |length| start + length);
        let end = match open {
            Some(open) if open < semicolon => block_end(&out, open),
            _ => semicolon.min(out.len()),
        };
        let blanked: String = out[start..end]
            .chars()
            .map(|c| if c == '\n' { '\n' } else { ' ' })
            .collect();
        let blanked: String = blanked.chars().take(end - start).collect();
        out.replace_range(start..end, &blanked);
        from = start + blanked.len();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> String {
        SourceFile::new("src/x.rs", text.to_owned())
            .code
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn only_code_is_left() {
        assert_eq!(code("a // b\nc /* d /* e */ f */ g"), "a c g");
        assert_eq!(
            code(r#"a("b \" c", 'd', '\'', '\u{1}', "é") e"#),
            "a( , , , , ) e"
        );
        assert_eq!(
            code("r#\"a \" b\"# c br\"d\" b'e' b'\\'' f<'g>('h, 'i')"),
            "c f<'g>('h, )"
        );
        assert_eq!(
            code("fn r#type() {} for x in y"),
            "fn r#type() {} for x in y"
        );
        assert_eq!(
            code("let q = '\"'; let s = \"'\"; z"),
            "let q = ; let s = ; z"
        );
    }

    #[test]
    fn tests_are_not_part_of_the_product() {
        let file = SourceFile::new(
            "src/x.rs",
            "a\n#[cfg(test)]\nmod tests { b {} }\nc\n#[cfg(test)]\nmod d;\ne".to_owned(),
        );
        assert_eq!(
            file.product.split_whitespace().collect::<Vec<_>>(),
            ["a", "c", ";", "e"]
        );
        assert_eq!(file.product.lines().count(), 7);
    }
}
