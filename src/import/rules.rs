//! Rules as text.

use super::text::{comment, list, pairs, quote};

/// The name that clients without a user name have here.
pub(super) const ANONYMOUS: &str = "anonymous";

/// Whom a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Whom {
    Everyone,
    Usernames(Vec<String>),
    Listed(Listed),
}

/// Alternatives: one that fits is enough.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) usernames: Vec<String>,
    pub(super) client_ids: Vec<String>,
    /// Sets of attributes; all of one set must fit.
    pub(super) attributes: Vec<Vec<(String, String)>>,
}

impl Listed {
    pub(super) fn is_empty(&self) -> bool {
        self.usernames.is_empty() && self.client_ids.is_empty() && self.attributes.is_empty()
    }

    fn render(&self) -> String {
        let mut parts = Vec::new();
        for (key, names) in [
            ("usernames", &self.usernames),
            ("client_ids", &self.client_ids),
        ] {
            if !names.is_empty() {
                parts.push(format!(
                    "{key} = {}",
                    list(names.iter().map(String::as_str))
                ));
            }
        }
        if !self.attributes.is_empty() {
            let sets: Vec<String> = self
                .attributes
                .iter()
                .map(|set| {
                    pairs(
                        set.iter()
                            .map(|(name, value)| (name.as_str(), value.as_str())),
                    )
                })
                .collect();
            parts.push(format!("attributes = [{}]", sets.join(", ")));
        }
        format!("principals = {{ {} }}\n", parts.join(", "))
    }
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
            Whom::Listed(listed) => listed.render(),
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
