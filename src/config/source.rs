//! The texts that a configuration was read from, and places in them.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::report::Place;

/// One text, with the name that reports call it by.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) text: String,
    /// Byte at which each line begins.
    lines: Vec<usize>,
    /// Whether the text holds a private key, so that its lines are not shown.
    holds_key: bool,
}

/// A range of bytes in one of the sources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    pub(super) source: usize,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl At {
    pub(super) fn new(source: usize, range: Range<usize>) -> Self {
        Self {
            source,
            start: range.start,
            end: range.end.max(range.start),
        }
    }

    pub(super) fn range(self) -> Range<usize> {
        self.start..self.end
    }
}

/// Columns of a line that are shown around a fault.
const SHOWN_COLUMNS_MAX: usize = 96;

impl Source {
    pub(super) fn new(path: &Path, text: String) -> Self {
        let newlines = text.bytes().enumerate().filter(|(_, b)| *b == b'\n');
        let lines = std::iter::once(0)
            .chain(newlines.map(|(at, _)| at + 1))
            .collect();
        let holds_key = text.contains("PRIVATE KEY");
        Self {
            path: path.to_owned(),
            text,
            lines,
            holds_key,
        }
    }

    /// Index of the line that holds the byte at `offset`.
    pub(super) fn line_of(&self, offset: usize) -> usize {
        self.lines.partition_point(|start| *start <= offset) - 1
    }

    /// Text of a line, without its end; empty past the last line.
    pub(super) fn line(&self, index: usize) -> &str {
        let Some(start) = self.lines.get(index).copied() else {
            return "";
        };
        let end = self.lines.get(index + 1).copied();
        let line = self.text.get(start..end.unwrap_or(self.text.len()));
        line.unwrap_or_default().trim_end_matches(['\n', '\r'])
    }

    /// Byte at which a line begins.
    pub(super) fn line_start(&self, index: usize) -> usize {
        self.lines.get(index).copied().unwrap_or(self.text.len())
    }

    /// The place to show for a range of bytes: its first line, with the range underlined as far as that line goes.
    pub(super) fn place(&self, range: Range<usize>) -> Place {
        self.place_of(range, false)
    }

    /// The same of a line whose value must not be shown.
    pub(super) fn place_without_value(&self, range: Range<usize>) -> Place {
        self.place_of(range, true)
    }

    fn place_of(&self, range: Range<usize>, is_hidden: bool) -> Place {
        let mut start = range.start.min(self.text.len());
        // A fault "at the end" of a text that ends with a newline belongs to the last line that holds something.
        if start == self.text.len() && start > 0 && self.text.ends_with('\n') {
            start -= 1;
        }
        while !self.text.is_char_boundary(start) {
            start -= 1;
        }
        let index = self.line_of(start);
        let line = self.line(index);
        let line_start = self.line_start(index);
        let from = (start - line_start).min(line.len());
        let to = range.end.saturating_sub(line_start).clamp(from, line.len());
        let column = line.get(..from).map_or(0, |s| s.chars().count());
        let (text, underline) = if is_hidden || self.is_secret(line) {
            mask(line, from..to)
        } else {
            excerpt(line, from..to)
        };
        Place {
            file: self.path.clone(),
            line: index + 1,
            column: column + 1,
            text,
            underline,
        }
    }

    /// Whether a table that is said to be here has a header of its own, and not only one of what is below it.
    pub(super) fn is_header(&self, at: At) -> bool {
        let text = self.text.get(at.start..);
        text.is_some_and(|text| text.starts_with(['[', '{']))
    }

    /// The place of the file as a whole.
    pub(super) fn whole(path: &Path) -> Place {
        Place {
            file: path.to_owned(),
            line: 0,
            column: 0,
            text: String::new(),
            underline: 0..0,
        }
    }

    fn is_secret(&self, line: &str) -> bool {
        names_a_secret(line) || shows_a_secret(line) || (self.holds_key && looks_like_base64(line))
    }
}

/// Whether a line gives a value to a key whose name says that it is secret, or holds one that shows it.
fn names_a_secret(line: &str) -> bool {
    const WORDS: &[&str] = &[
        "passw",
        "passphrase",
        "secret",
        "token",
        "psk",
        "pwd",
        "hash",
        "api_key",
        "api-key",
        "apikey",
        "basic_auth",
        "cookie",
    ];
    let lower = line.to_ascii_lowercase();
    let is_key = |word: &str| {
        lower.match_indices(word).any(|(at, _)| {
            let rest = lower.get(at..).unwrap_or_default();
            let rest = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
            let first = !lower
                .get(..at)
                .unwrap_or_default()
                .contains(['=', '#', ' ']);
            let follows = rest.trim_start_matches([' ', '"', '\'', '-']);
            follows.starts_with(['=', ':']) || (first && rest.starts_with(' '))
        })
    };
    lower.contains("private key") || WORDS.iter().any(|word| is_key(word))
}

/// Whether a line holds a URL with a user name in front of its host, a hash of a password, or header fields.
///
/// This sees lines that are not TOML too. A port has a key `authorization`, in lower case.
fn shows_a_secret(line: &str) -> bool {
    const MARKS: &[&str] = &[
        "bearer ", "basic ", "$argon2", "$pbkdf2", "$2a$", "$2b$", "$2y$",
    ];
    let lower = line.to_ascii_lowercase();
    let mut urls = lower.split("://").skip(1);
    let is_field = |name: &str| {
        let after = line.split_once(name).map(|(_, rest)| rest);
        let rest = after.map(|rest| rest.trim_start_matches([' ', '"', '\'']));
        rest.is_some_and(|rest| rest.starts_with(['=', ':']))
    };
    urls.any(|rest| rest.split(['"', '\'']).next().unwrap_or(rest).contains('@'))
        || MARKS.iter().any(|mark| lower.contains(mark))
        || (lower.contains("headers") && lower.contains("authorization"))
        || ["Authorization", "AUTHORIZATION"].into_iter().any(is_field)
}

fn looks_like_base64(line: &str) -> bool {
    let line = line.trim();
    line.len() >= 32
        && line
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=' | b'"' | b'\\'))
}

/// The key of a line whose value must not be shown; the whole line where no key is recognised.
fn mask(line: &str, range: Range<usize>) -> (String, Range<usize>) {
    let key_end = line.find('=').map_or(0, |at| at + 1);
    let key = line.get(..key_end).unwrap_or_default();
    if range.end <= key_end && key_end > 0 {
        let (mut text, underline) = excerpt(key, range);
        text.push_str(" …");
        return (text, underline);
    }
    let (mut text, _) = excerpt(key, 0..0);
    if !text.is_empty() {
        text.push(' ');
    }
    let start = columns(&text);
    text.push('…');
    (text, start..start + 1)
}

/// A line as it is shown: controls replaced, cut to a window around the range.
fn excerpt(line: &str, range: Range<usize>) -> (String, Range<usize>) {
    let near = neighbourhood(line, &range);
    let part = line.get(near.clone()).unwrap_or_default();
    let shown: Vec<(usize, String)> = part
        .char_indices()
        .map(|(at, c)| (near.start + at, shown_char(c)))
        .collect();
    let column = |byte: usize| -> usize {
        let before = shown.iter().take_while(|(at, _)| *at < byte);
        before.map(|(_, s)| columns(s)).sum()
    };
    let (from, to) = (column(range.start), column(range.end));
    let whole: usize = shown.iter().map(|(_, s)| columns(s)).sum();
    if whole <= SHOWN_COLUMNS_MAX && near == (0..line.len()) {
        let text: String = shown.into_iter().map(|(_, s)| s).collect();
        return (text, from..to);
    }
    let first = from.saturating_sub(SHOWN_COLUMNS_MAX / 3);
    let last = first + SHOWN_COLUMNS_MAX;
    let is_cut = first > 0 || near.start > 0;
    let mut text = String::from(if is_cut { "…" } else { "" });
    let lead = columns(&text);
    let (mut at, mut window_start) = (0, None);
    for (_, s) in &shown {
        if at >= first && at + columns(s) <= last {
            window_start.get_or_insert(at);
            text.push_str(s);
        }
        at += columns(s);
    }
    if whole > last || near.end < line.len() {
        text.push('…');
    }
    let shift = window_start.unwrap_or(first);
    let from = from.saturating_sub(shift) + lead;
    let to = (to.saturating_sub(shift) + lead).clamp(from, columns(&text).max(from));
    (text, from..to)
}

/// The part of a line from which the window is cut; a line may be as long as the file.
fn neighbourhood(line: &str, range: &Range<usize>) -> Range<usize> {
    let before = line.get(..range.start).unwrap_or_default();
    let after = line.get(range.start..).unwrap_or_default();
    let start = before.char_indices().rev().nth(SHOWN_COLUMNS_MAX - 1);
    let end = after.char_indices().nth(2 * SHOWN_COLUMNS_MAX);
    start.map_or(0, |(at, _)| at)..end.map_or(line.len(), |(at, _)| range.start + at)
}

/// What is shown for a character that a terminal would act on, or that could not be seen.
fn shown_char(c: char) -> String {
    match c {
        '\t' => "    ".to_owned(),
        c if is_unsafe(c) => format!("\\u{{{:x}}}", u32::from(c)),
        c => c.to_string(),
    }
}

/// Controls, and the characters that change the direction or the visibility of their neighbours.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// A sentence that may hold text of the file, without characters that a terminal would act on.
pub(super) fn printable(text: String) -> String {
    if text.chars().any(|c| c != '\n' && is_unsafe(c)) {
        text.chars()
            .map(|c| {
                if c == '\n' {
                    c.to_string()
                } else {
                    shown_char(c)
                }
            })
            .collect()
    } else {
        text
    }
}

/// A text of the file as it may stand in a sentence: quoted, cut, without controls.
pub(super) fn quoted(text: &str) -> String {
    const CHARACTERS_MAX: usize = 48;
    if text.contains("PRIVATE KEY") {
        return "a private key".to_owned();
    }
    let mut out = String::from("\"");
    for c in text.chars().take(CHARACTERS_MAX) {
        out.push_str(&match c {
            '\n' => "\\n".to_owned(),
            '\t' => "\\t".to_owned(),
            c => shown_char(c),
        });
    }
    if text.chars().nth(CHARACTERS_MAX).is_some() {
        out.push('…');
    }
    out.push('"');
    out
}

/// Columns that a text takes on a terminal.
fn columns(text: &str) -> usize {
    text.chars().map(width).sum()
}

fn width(c: char) -> usize {
    match u32::from(c) {
        0x300..=0x36f => 0,
        0x1100..=0x115f
        | 0x2e80..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1f64f
        | 0x1f900..=0x1f9ff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::new(Path::new("gateway.toml"), text.to_owned())
    }

    fn underlined(text: &str, range: Range<usize>) -> (String, usize, usize) {
        let place = source(text).place(range);
        (place.text, place.underline.start, place.underline.end)
    }

    #[test]
    fn a_place_is_counted_in_lines_and_characters() {
        let place = source("a = 1\r\nä = \"é\"\r\n").place(12..16);
        assert_eq!((place.line, place.column), (2, 5));
        assert_eq!(place.text, "ä = \"é\"");
        assert_eq!(place.underline, 4..7);
    }

    #[test]
    fn the_end_of_the_text_belongs_to_the_last_line() {
        let place = source("a = 1\nb = [\n").place(12..12);
        assert_eq!((place.line, place.column), (2, 6));
        assert_eq!(source("").place(0..0).line, 1);
    }

    #[test]
    fn a_range_over_several_lines_is_underlined_on_its_first() {
        assert_eq!(underlined("a = [1,\n2]\n", 4..10), ("a = [1,".into(), 4, 7));
    }

    #[test]
    fn tabs_wide_characters_and_controls_keep_the_underline_in_place() {
        assert_eq!(underlined("\ta = 1", 5..6), ("    a = 1".into(), 8, 9));
        assert_eq!(underlined("工 = 1", 6..7), ("工 = 1".into(), 5, 6));
        assert_eq!(
            underlined("a = \"\u{1b}[31m\"", 0..1),
            ("a = \"\\u{1b}[31m\"".into(), 0, 1)
        );
    }

    #[test]
    fn a_long_line_is_cut_around_the_underline() {
        let line = format!("{} = bad # {}", "k".repeat(500), "c".repeat(500));
        let (text, from, to) = underlined(&line, 503..506);
        let marked: String = text.chars().skip(from).take(to - from).collect();
        assert_eq!(marked, "bad");
        assert!(text.starts_with('…') && text.ends_with('…'));
        assert!(text.chars().count() <= SHOWN_COLUMNS_MAX + 2);
    }

    #[test]
    fn secrets_are_not_shown() {
        assert_eq!(
            underlined("password = \"hunter2\"", 0..8),
            ("password = …".into(), 0, 8)
        );
        assert_eq!(
            underlined("password = \"hunter2\"", 11..20),
            ("password = …".into(), 11, 12)
        );
        assert_eq!(underlined("password hunter2", 8..8).0, "…");
        let path = "cert = \"/run/secrets/tls.crt\"";
        assert_eq!(underlined(path, 0..4).0, path);
        let key = "key = \"\"\"-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcw\n";
        assert_eq!(underlined(key, 0..3).0, "key = …");
        assert_eq!(underlined(key, 40..45).0, "…");
    }

    #[test]
    fn secrets_in_values_are_not_shown() {
        for line in [
            "url = \"https://user:pw@host/x\"",
            "custom = { url = 'https://user@host' }",
            "custom = { headers = { Cookie = \"x\" } }",
            "headers = { \"authorization\" = \"x\" }",
            "Authorization = \"x\"",
            "\"Authorization\" = \"x\"",
            "key = \"Bearer x\"",
            "x = \"$argon2id$v=19$x\"",
            "api_key = \"x\"",
        ] {
            let (text, _, _) = underlined(line, 0..1);
            assert!(text.ends_with('…') && !text.ends_with("\"…"), "{text}");
        }
        for line in [
            "authorization = \"plant-rules\"",
            "url = \"https://host:8443/x\"",
            "[authentication.devices.custom.headers]",
        ] {
            assert_eq!(underlined(line, 0..1).0, line);
        }
    }

    #[test]
    fn a_quotation_is_short_and_harmless() {
        assert_eq!(quoted("a\nb\u{202e}"), "\"a\\nb\\u{202e}\"");
        assert_eq!(quoted(&"x".repeat(100)).chars().count(), 51);
        assert_eq!(quoted("-----BEGIN PRIVATE KEY-----"), "a private key");
    }
}
