//! Rules as text.

use super::text::{comment, list, quote};

/// The name that clients without a user name have here.
pub(super) const ANONYMOUS: &str = "anonymous";

/// Whom a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Whom {
    Everyone,
    Usernames(Vec<String>),
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RuleText {
    pub(super) whom: Whom,
    pub(super) denies: bool,
    pub(super) connect: Vec<String>,
    pub(super) publish: Vec<String>,
    pub(super) subscribe: Vec<String>,
    /// Where it comes from.
    pub(super) place: String,
}

impl RuleText {
    /// One that allows nothing yet.
    pub(super) fn new(whom: Whom, place: impl Into<String>) -> Self {
        Self {
            whom,
            denies: false,
            connect: Vec::new(),
            publish: Vec::new(),
            subscribe: Vec::new(),
            place: place.into(),
        }
    }

    /// Everybody may connect with any of these client identifiers.
    pub(super) fn connecting(patterns: &[String], place: impl Into<String>) -> Self {
        Self {
            connect: patterns.to_vec(),
            ..Self::new(Whom::Everyone, place)
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.connect.is_empty() && self.publish.is_empty() && self.subscribe.is_empty()
    }

    /// The rule as a table of the authorization `name`.
    pub(super) fn render(&self, name: &str) -> String {
        let mut text = format!("[[authorization.{name}.rule]]");
        if !self.place.is_empty() {
            text.push_str("  ");
            text.push_str(&comment(&self.place));
        }
        text.push('\n');
        text.push_str(&match &self.whom {
            Whom::Everyone => "principals = { everyone = true }\n".to_owned(),
            Whom::Usernames(names) => {
                let names = list(names.iter().map(String::as_str));
                format!("principals = {{ usernames = {names} }}\n")
            }
        });
        if self.denies {
            text.push_str("effect = \"deny\"\n");
        }
        for (key, patterns) in [
            ("connect", &self.connect),
            ("publish", &self.publish),
            ("subscribe", &self.subscribe),
        ] {
            text.push_str(&patterns_of(key, patterns));
        }
        text
    }
}

/// A key with a list of patterns: in one line where that is short.
fn patterns_of(key: &str, patterns: &[String]) -> String {
    match patterns {
        [] => String::new(),
        [one] => format!("{key} = [{}]\n", quote(one)),
        several => {
            let lines: Vec<String> = several
                .iter()
                .map(|pattern| format!("  {},\n", quote(pattern)))
                .collect();
            format!("{key} = [\n{}]\n", lines.concat())
        }
    }
}
