//! Resources as YAML: always the same text for the same resource.

use serde_json::{Map, Value};

/// Keys that people look for first; all others follow in the order of the alphabet.
const FIRST: &[&str] = &[
    "apiVersion",
    "kind",
    "metadata",
    "name",
    "namespace",
    "labels",
    "type",
];

/// Plain words that YAML takes for something else than text.
const WORDS: &[&str] = &["true", "false", "yes", "no", "on", "off", "y", "n", "null"];

/// The documents one after the other.
pub(super) fn render(documents: &[Value]) -> String {
    let mut text = String::new();
    for document in documents {
        if !text.is_empty() {
            text.push_str("---\n");
        }
        if let Value::Object(map) = document {
            push_map(&mut text, map, 0);
        }
    }
    text
}

fn push_map(text: &mut String, map: &Map<String, Value>, indent: usize) {
    let mut keys: Vec<&String> = map.keys().collect();
    let place = |key: &str| {
        FIRST
            .iter()
            .position(|first| *first == key)
            .unwrap_or(FIRST.len())
    };
    keys.sort_by(|one, other| (place(one), one).cmp(&(place(other), other)));
    for (index, key) in keys.into_iter().enumerate() {
        // The first key of a map in a list stands behind its dash.
        if index > 0 || !text.ends_with("- ") {
            push_indent(text, indent);
        }
        text.push_str(&scalar(key));
        text.push(':');
        if let Some(value) = map.get(key) {
            push_value(text, value, indent);
        }
    }
}

/// What follows a key, to the end of its line or lines.
fn push_value(text: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            text.push('\n');
            push_map(text, map, indent + 2);
        }
        Value::Array(items) if !items.is_empty() => {
            text.push('\n');
            for item in items {
                push_item(text, item, indent);
            }
        }
        Value::String(content) if is_block(content) => {
            text.push_str(" |\n");
            for line in content.lines() {
                if !line.is_empty() {
                    push_indent(text, indent + 2);
                    text.push_str(line);
                }
                text.push('\n');
            }
        }
        value => {
            text.push(' ');
            text.push_str(&flow(value));
            text.push('\n');
        }
    }
}

fn push_item(text: &mut String, item: &Value, indent: usize) {
    push_indent(text, indent);
    text.push_str("- ");
    match item {
        Value::Object(map) if !map.is_empty() => push_map(text, map, indent + 2),
        item => {
            text.push_str(&flow(item));
            text.push('\n');
        }
    }
}

/// A value in one line.
fn flow(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(flow).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(map) => {
            let entries = map
                .iter()
                .map(|(key, value)| format!("{}: {}", scalar(key), flow(value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(value) => value.to_string(),
    }
}

/// Whether a text can be a block of lines that comes out byte for byte.
fn is_block(text: &str) -> bool {
    let is_printable = |c: char| {
        c == '\n'
            || !(c.is_control()
                || matches!(
                    c,
                    '\u{feff}' | '\u{fffe}' | '\u{ffff}' | '\u{2028}' | '\u{2029}'
                ))
    };
    // A line of blanks would be taken for an empty one, and blanks at the beginning for more indentation.
    let is_whole = |line: &str| line.is_empty() || !line.chars().all(|c| c == ' ');
    text.ends_with('\n')
        && !text.ends_with("\n\n")
        && !text.starts_with([' ', '\n'])
        && text.chars().all(is_printable)
        && text.lines().all(is_whole)
}

/// A text in one line, in quotes where it has to be.
fn scalar(text: &str) -> String {
    let is_word = WORDS.iter().any(|word| word.eq_ignore_ascii_case(text));
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:".contains(c);
    let begins = |c: char| c.is_ascii_alphabetic() || c == '/';
    if text.starts_with(begins) && text.chars().all(is_plain) && !text.ends_with(':') && !is_word {
        return text.to_owned();
    }
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control()
                || ('\u{2028}'..='\u{2029}').contains(&c)
                || ('\u{d7ff}'..='\u{ffff}').contains(&c) =>
            {
                quoted.push_str(&format!("\\u{:04X}", u32::from(c)));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn push_indent(text: &mut String, indent: usize) {
    text.extend(std::iter::repeat_n(' ', indent));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_have_an_order() {
        let document = json!({
            "spec": {"ports": [{"port": 1, "name": "a"}, [1, "b"]], "empty": {}, "none": []},
            "kind": "X", "data": {"f": "a: 1\n\n  b\n"}, "apiVersion": "v1",
        });
        assert_eq!(
            render(&[document.clone(), document]).split("---\n").next(),
            Some(
                "apiVersion: v1\nkind: X\ndata:\n  f: |\n    a: 1\n\n      b\nspec:\n  empty: {}\n  none: []\n  ports:\n  - \
                 name: a\n    port: 1\n  - [1, b]\n"
            )
        );
    }

    #[test]
    fn texts_stay_texts() {
        for (text, written) in [
            ("a/b:c", "a/b:c"),
            ("1", "\"1\""),
            ("1e3", "\"1e3\""),
            ("No", "\"No\""),
            ("null", "\"null\""),
            ("", "\"\""),
            ("a: b", "\"a: b\""),
            ("a:", "\"a:\""),
            ("a #b", "\"a #b\""),
            ("*", "\"*\""),
            ("a\"\\\n\u{7f}", "\"a\\\"\\\\\\n\\u007F\""),
        ] {
            assert_eq!(scalar(text), written);
        }
    }

    #[test]
    fn every_text_comes_back_as_it_was() {
        for text in [
            "a = 1\n",
            "a\n\nb\n",
            "a\n\n",
            "a",
            " a\n",
            "\na\n",
            "a\n   \nb\n",
            "a\r\nb\r\n",
            "a\tb\n\tc\n",
            "ü €\u{85}\u{2028}\u{feff}\n",
            "# c\n  - x: y\n",
            "",
            "\n",
        ] {
            let rendered = render(&[json!({"data": {"f": text}, "z": "end"})]);
            let documents = crate::kubernetes::testing::parse(&rendered);
            assert_eq!(documents[0]["data"]["f"], json!(text), "{rendered}");
            assert_eq!(documents[0]["z"], json!("end"));
        }
    }
}
