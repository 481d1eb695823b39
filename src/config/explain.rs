//! Says in plain words why a line is not TOML.
//!
//! What the parser says is exact and written for people who know TOML. This module looks at the text around and says what
//! was probably meant.

use std::ops::Range;

use toml::de::Error;

use super::report::FaultCode;
use super::source::{Source, quoted};

/// One fault in words.
pub(super) struct Explained {
    pub(super) code: FaultCode,
    pub(super) range: Range<usize>,
    pub(super) message: String,
    pub(super) hint: Option<String>,
    pub(super) related: Option<(Range<usize>, &'static str)>,
    /// Whether what follows may belong to another table than it seems.
    pub(super) breaks_structure: bool,
    /// Whether a key may stand in what was not understood.
    pub(super) hides_key: bool,
}

/// A fault of the parser, and the text in which it was found.
pub(super) struct Explainer<'a> {
    pub(super) source: &'a Source,
    pub(super) error: &'a Error,
}

impl Explainer<'_> {
    pub(super) fn explain(&self) -> Explained {
        let message = self.error.message();
        let says = |start: &str| message.starts_with(start);
        if self.line().contains('\r') {
            self.carriage_return()
        } else if says("duplicate key") {
            self.duplicate()
        } else if says("unclosed array table") || says("unclosed table") {
            self.header()
        } else if says("unclosed") || says("invalid multi-line") {
            self.unclosed()
        } else if self.line().trim_start().starts_with('[') && !self.is_inside_value() {
            self.header()
        } else if says("key with no value") || says("invalid unquoted key") {
            self.no_value()
        } else if says("string values must be quoted") {
            self.unquoted()
        } else if says("invalid basic string, expected `\"`")
            || says("invalid literal string, expected `'`")
        {
            self.open_quote()
        } else if says("missing escaped value") || message.contains("unicode") {
            self.escape()
        } else if says("unexpected key or value") {
            self.rest_of_line()
        } else {
            self.other()
        }
    }

    fn span(&self) -> Range<usize> {
        let len = self.source.text.len();
        let span = self.error.span().unwrap_or(len..len);
        span.start.min(len)..span.end.min(len)
    }

    /// Index of the line where the fault was noticed.
    fn line_index(&self) -> usize {
        let start = self.span().start;
        // A fault at the end of a line belongs to that line.
        self.source.line_of(start)
    }

    fn line(&self) -> &str {
        self.source.line(self.line_index())
    }

    fn line_start(&self) -> usize {
        self.source.line_start(self.line_index())
    }

    /// Range of the line without spaces around it and without a comment.
    fn content(&self) -> Range<usize> {
        let line = without_comment(self.line());
        let from = line.len() - line.trim_start().len();
        let start = self.line_start();
        start + from..start + line.trim_end().len().max(from)
    }

    fn text(&self, range: &Range<usize>) -> &str {
        self.source.text.get(range.clone()).unwrap_or_default()
    }

    /// Whether the fault stands to the right of a `=` in its line.
    fn is_inside_value(&self) -> bool {
        let before = self
            .text(&(self.line_start()..self.span().start))
            .to_owned();
        before.contains('=')
    }

    fn fault(&self, range: Range<usize>, message: impl Into<String>) -> Explained {
        Explained {
            code: FaultCode::Syntax,
            range,
            message: message.into(),
            hint: None,
            related: None,
            breaks_structure: false,
            hides_key: true,
        }
    }

    /// "write …" with text of the file, unless that text may be secret.
    fn write(&self, text: &str) -> Option<String> {
        let shown = self.source.place(self.content());
        if shown.text.ends_with('…') {
            return None;
        }
        Some(format!("write {text}"))
    }

    fn duplicate(&self) -> Explained {
        let range = self.span();
        let key = self.text(&range).to_owned();
        let is_header = self.line().trim_start().starts_with('[');
        let message = if is_header {
            format!("the table `{key}` is begun a second time")
        } else {
            format!("`{key}` is written a second time")
        };
        let hint = match (is_header, key.as_str()) {
            (true, "listener") => "each listener begins with [[listener]], in double brackets",
            (true, "port") => "each port begins with [[listener.port]], in double brackets",
            (true, _) => "put all its keys under one header",
            (false, _) => "keep one of the two",
        };
        let first = self.first_of(&key, is_header);
        Explained {
            code: FaultCode::Duplicate,
            hint: Some(hint.to_owned()),
            related: first.map(|range| (range, "first written here")),
            ..self.fault(range, message)
        }
    }

    /// Where a key or header stands for the first time above the line of the fault.
    fn first_of(&self, key: &str, is_header: bool) -> Option<Range<usize>> {
        let header = self.line().trim().trim_matches(['[', ']']).to_owned();
        let mut found = None;
        for index in (0..self.line_index()).rev() {
            let line = self.source.line(index);
            let start = self.source.line_start(index) + line.len() - line.trim_start().len();
            let line = line.trim_start();
            if is_header {
                let name = without_comment(line).trim().trim_matches(['[', ']']);
                if line.starts_with('[') && (name == header || name == key) {
                    found = Some(start..start + without_comment(line).trim_end().len());
                }
            } else if line.starts_with('[') {
                break;
            } else if let Some(rest) = line.strip_prefix(key)
                && rest.trim_start().starts_with(['=', '.'])
            {
                found = Some(start..start + key.len());
            }
        }
        found
    }

    fn header(&self) -> Explained {
        let range = self.content();
        let text = self.text(&range).to_owned();
        let name: String = text
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-'))
            .collect();
        let listed = text.starts_with("[[") || matches!(&*name, "listener" | "listener.port");
        let hint = match listed {
            _ if name.is_empty() => "write a name between the brackets".to_owned(),
            true => format!("write [[{name}]] on a line of its own"),
            false => format!("write [{name}] on a line of its own"),
        };
        Explained {
            hint: Some(hint),
            breaks_structure: true,
            ..self.fault(range, "this header of a table is not complete")
        }
    }

    fn carriage_return(&self) -> Explained {
        let at = self.line_start() + self.line().find('\r').unwrap_or(0);
        Explained {
            hint: Some("save the file with Unix line ends".to_owned()),
            ..self.fault(at..at + 1, "a line ends with a carriage return alone")
        }
    }

    fn unclosed(&self) -> Explained {
        let message = self.error.message();
        let (open, close, what): (&str, &str, _) = if message.contains("array") {
            ("[", "]", "list")
        } else if message.contains("inline table") {
            ("{", "}", "table")
        } else if message.contains("literal") {
            ("'''", "'''", "text")
        } else {
            ("\"\"\"", "\"\"\"", "text")
        };
        let end = self.span().start;
        let before = self.text(&(0..end)).to_owned();
        let start = last_unmatched(&before, open, close).unwrap_or(end);
        Explained {
            hint: Some(format!("write {close} where the {what} ends")),
            breaks_structure: true,
            ..self.fault(
                start..start + open.len(),
                format!("the {what} that begins here is not closed"),
            )
        }
    }

    fn no_value(&self) -> Explained {
        let range = self.content();
        let text = self.text(&range).to_owned();
        if text.starts_with("//") || text.starts_with("/*") || text.starts_with(';') {
            return Explained {
                hint: Some("a comment begins with #".to_owned()),
                ..self.fault(range, "this is not a comment")
            };
        }
        if text.starts_with('-') {
            return Explained {
                hint: Some(SEE_DEFAULT.to_owned()),
                ..self.fault(range, "a line holds `key = value`")
            };
        }
        let key_len = text
            .find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.')))
            .unwrap_or(text.len());
        let (key, rest) = text.split_at(key_len);
        let rest = rest.trim();
        let (message, hint) = if is_of_mosquitto(key, rest) {
            (
                "this is how mosquitto is configured",
                Some(SEE_DEFAULT.to_owned()),
            )
        } else if key.is_empty() {
            ("a line holds `key = value`", Some(SEE_DEFAULT.to_owned()))
        } else if let Some(value) = rest.strip_prefix(':') {
            let value = value.trim();
            let is_plain = value.starts_with(|c: char| c.is_ascii_digit() || "\"'[{".contains(c))
                || matches!(value, "true" | "false");
            let line = match value {
                "" => format!("{key} = …"),
                value if is_plain => format!("{key} = {value}"),
                value => format!("{key} = {}", quoted(value)),
            };
            ("there is `:` where `=` should be", self.write(&line))
        } else if rest.is_empty() {
            ("the key has no value", self.write(&format!("{key} = …")))
        } else if rest.contains('=') && !key.is_ascii() {
            (
                "a key holds only the letters a to z, digits, `_` and `-`",
                None,
            )
        } else if rest.contains('=') {
            let name = text.split('=').next().unwrap_or_default().trim();
            let name = name.replace(' ', "_");
            let hint = name.is_ascii().then(|| self.write(&name)).flatten();
            ("a key holds no spaces and no signs but `_` and `-`", hint)
        } else if rest.contains(' ') && !rest.starts_with(['"', '\'', '[', '{']) {
            (
                "a line holds `key = value`",
                Some("a comment begins with #".to_owned()),
            )
        } else {
            let line = format!("{key} = {rest}");
            ("there is no `=` between key and value", self.write(&line))
        };
        Explained {
            hint,
            ..self.fault(range, message)
        }
    }

    fn unquoted(&self) -> Explained {
        let range = self.span();
        let text = self.text(&range).trim().to_owned();
        if text.is_empty() {
            let line = self.content();
            return Explained {
                hides_key: false,
                hint: Some("write the value, or # in front of the line".to_owned()),
                ..self.fault(line, "there is no value after `=`")
            };
        }
        if text.contains(['“', '”', '„', '‘', '’', '«', '»']) {
            let plain = text.trim_matches(['“', '”', '„', '‘', '’', '«', '»', '"']);
            return Explained {
                hint: self.write(&quoted(plain)),
                hides_key: false,
                ..self.fault(
                    range,
                    "these are typographic quotes, and TOML takes straight ones",
                )
            };
        }
        if let Some(explained) = self.after_number(&range, &text) {
            return explained;
        }
        let plain = text.trim_matches(['"', '\'', '`', ',', ';', ' ']);
        let (message, hint) = match text.to_ascii_lowercase().as_str() {
            "yes" | "on" => ("a switch is true or false", self.write("true")),
            "no" | "off" => (
                "a switch is true or false, and a word stands in quotes",
                self.write("false, or \"off\" if the key takes that word"),
            ),
            _ => ("text must be in quotes", self.write(&quoted(plain))),
        };
        Explained {
            hint,
            hides_key: false,
            ..self.fault(range, message)
        }
    }

    /// A number, or true or false, with something behind it that is no unit.
    fn after_number(&self, range: &Range<usize>, text: &str) -> Option<Explained> {
        let end = text.find([',', ';', ' '])?;
        let (first, rest) = text.split_at(end);
        let is_number = first.bytes().all(|b| b.is_ascii_digit());
        let is_value = is_number || matches!(first, "true" | "false");
        if !is_value || rest.trim_start().starts_with(char::is_alphabetic) {
            return None;
        }
        let skipped = rest.len() - rest.trim_start().len();
        let start = range.start + end + skipped;
        Some(Explained {
            hint: Some(format!("remove {}", rest.trim())),
            hides_key: false,
            ..self.fault(start..range.end, "the line goes on after the value")
        })
    }

    fn open_quote(&self) -> Explained {
        let end = self.span().start;
        let line_start = self.line_start();
        let before = self.text(&(line_start..end)).to_owned();
        let quote = if self.error.message().contains('"') {
            '"'
        } else {
            '\''
        };
        let start = before.rfind(quote).map_or(end, |at| line_start + at);
        let inner = self
            .text(&(start + 1..end.max(start + 1)))
            .trim()
            .to_owned();
        Explained {
            hint: self.write(&quoted(without_comment(&inner).trim())),
            hides_key: false,
            ..self.fault(start..end, "the text has no closing quote")
        }
    }

    fn escape(&self) -> Explained {
        let before = self
            .text(&(self.line_start()..self.span().start))
            .to_owned();
        let at = before.rfind('\\').unwrap_or(before.len());
        let start = self.line_start() + at;
        Explained {
            hint: Some("write the text in single quotes, where \\ has no meaning".to_owned()),
            hides_key: false,
            ..self.fault(
                start..start + 2,
                "`\\` begins an escape here, and this is none",
            )
        }
    }

    fn rest_of_line(&self) -> Explained {
        let start = self.span().start;
        let line_end = self.line_start() + self.line().len();
        let rest = without_comment(self.text(&(start..line_end)));
        let skipped = rest.len() - rest.trim_start().len();
        let rest = rest.trim().to_owned();
        let range = start + skipped..start + skipped + rest.len();
        let hint = match rest.as_str() {
            "," | ";" => format!("remove the `{rest}`"),
            r if r.starts_with("//") => "a comment begins with #".to_owned(),
            _ => "each `key = value` has a line of its own".to_owned(),
        };
        Explained {
            hint: Some(hint),
            ..self.fault(range, "the line goes on after the value")
        }
    }

    fn other(&self) -> Explained {
        let message = self.error.message();
        let token = self.token();
        let text = self.text(&token).to_owned();
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if message.starts_with("unexpected leading zero") && is_number(&text) {
            let number = text.trim_start_matches('0');
            let hint = if self.line().trim_start().starts_with("mode") {
                format!("write \"{text}\" in quotes, or 0o{number}")
            } else {
                format!("write {number}")
            };
            return Explained {
                hint: Some(hint),
                hides_key: false,
                ..self.fault(token, "a number does not begin with 0")
            };
        }
        if message.starts_with("invalid boolean") {
            return Explained {
                hint: self.write(&text.to_ascii_lowercase()),
                hides_key: false,
                ..self.fault(token, "true and false are written in lower case")
            };
        }
        if message.contains("float") || message.contains("date") || message.contains("number") {
            let is_word = text.starts_with(char::is_alphabetic);
            let message = match is_word {
                true => "text must be in quotes",
                false => "this is not a number, and text must be in quotes",
            };
            return Explained {
                hint: self.write(&quoted(&text)),
                hides_key: false,
                ..self.fault(token, message)
            };
        }
        if message.contains("recurs") {
            return Explained {
                breaks_structure: true,
                ..self.fault(self.span(), "this is nested too deeply")
            };
        }

        if message.contains("comma") || message.contains("assignment") {
            return Explained {
                hint: Some("put `,` between the entries".to_owned()),
                ..self.fault(self.span(), "there is no `,` between two entries")
            };
        }
        if message.contains("visible characters") || message.contains("control") {
            let message = "there is a control character here, which cannot be seen";
            return Explained {
                hint: Some("remove it and type the text anew".to_owned()),
                ..self.fault(self.span(), message)
            };
        }
        let cause = message.split(", expected").next().unwrap_or_default();
        Explained {
            hint: Some(SEE_DEFAULT.to_owned()),
            ..self.fault(self.span(), format!("this is not TOML: {cause}"))
        }
    }

    /// The word around the fault.
    fn token(&self) -> Range<usize> {
        let span = self.span();
        let is_word = |c: char| c.is_alphanumeric() || "_.:+-/%".contains(c);
        let before = self.text(&(self.line_start()..span.start)).to_owned();
        let word = before.len() - before.trim_end_matches(is_word).len();
        let after = self.text(&(span.start..self.line_start() + self.line().len()));
        let rest = after.len() - after.trim_start_matches(is_word).len();
        span.start - word..span.start + rest
    }
}

const SEE_DEFAULT: &str = "`fieldgate config default` shows how a file is written";

/// Whether a line without `=` is one of mosquitto's configuration.
fn is_of_mosquitto(key: &str, rest: &str) -> bool {
    const KEYS: &[&str] = &[
        "acl_file",
        "allow_anonymous",
        "bind_address",
        "cafile",
        "certfile",
        "include_dir",
        "keyfile",
        "listener",
        "log_dest",
        "log_type",
        "max_connections",
        "password_file",
        "per_listener_settings",
        "persistence",
        "persistence_location",
        "pid_file",
        "port",
        "protocol",
        "require_certificate",
        "socket_domain",
    ];
    !rest.is_empty()
        && !rest.starts_with([':', '"', '\''])
        && !rest.contains('=')
        && KEYS.contains(&key)
}

/// A line without its comment; a `#` in quotes is none.
fn without_comment(line: &str) -> &str {
    let mut quote = None;
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (None, '#') => return line.get(..at).unwrap_or_default(),
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
    }
    line
}

/// Where the last bracket stands that was opened and not closed.
fn last_unmatched(text: &str, open: &str, close: &str) -> Option<usize> {
    if open == close {
        return text.rfind(open);
    }
    let mut depth = 0_usize;
    for (at, found) in text.rmatch_indices([open.chars().next()?, close.chars().next()?]) {
        if found == close {
            depth += 1;
        } else if depth == 0 {
            return Some(at);
        } else {
            depth -= 1;
        }
    }
    None
}
