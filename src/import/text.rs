//! Configuration as text.

use std::fmt::Write;

/// A value in quotes.
pub(super) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            c if c.is_control() => {
                // Writing to a String does not fail.
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A list of values in quotes, in one line.
pub(crate) fn list<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let texts: Vec<String> = texts.into_iter().map(quote).collect();
    format!("[{}]", texts.join(", "))
}

/// A key, in quotes where it has to be.
pub(super) fn key(text: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !text.is_empty() && text.chars().all(is_bare) {
        text.to_owned()
    } else {
        quote(text)
    }
}

/// A table of texts, in one line.
pub(super) fn pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let pairs: Vec<String> = pairs
        .into_iter()
        .map(|(name, value)| format!("{} = {}", key(name), quote(value)))
        .collect();
    format!("{{ {} }}", pairs.join(", "))
}

/// A comment that ends with its line, whatever it contains.
pub(super) fn comment(text: &str) -> String {
    let text: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    format!("# {text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_cannot_leave_their_quotes() {
        assert_eq!(quote("a\"b\\c\nd"), "\"a\\\"b\\\\c\\u000Ad\"");
        assert_eq!(list(["a", "b\""]), "[\"a\", \"b\\\"\"]");
        assert_eq!(
            pairs([("a", "1"), ("b c", "\"")]),
            "{ a = \"1\", \"b c\" = \"\\\"\" }"
        );
        assert_eq!(comment("a\nlistener = 1"), "# a listener = 1");
    }
}
