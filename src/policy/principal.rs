//! Who a client is, and what of it fills the tokens of rules.

use std::collections::BTreeMap;

use super::pattern::Token;

/// What is known of a principal besides its name.
pub(super) type Attributes = BTreeMap<Box<str>, Box<str>>;

/// Who was authenticated on a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Principal {
    /// The name that rules and the journal use, and that owns sessions; empty for a client of a port without
    /// authentication.
    pub username: Box<str>,
    /// What is known of it besides, for rules.
    pub attributes: BTreeMap<Box<str>, Box<str>>,
    /// Rules do not hold it back; what only the broker does stays the broker's.
    pub is_superuser: bool,
}

/// A principal with its client identifier: what tokens are filled from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Who<'a> {
    pub(super) principal: &'a Principal,
    pub(super) client_id: &'a str,
}

impl<'a> Who<'a> {
    /// What the client has for a token, if it has anything.
    pub(super) fn text(self, token: &Token) -> Option<&'a str> {
        let text = match token {
            Token::Username => &self.principal.username,
            Token::ClientId => self.client_id,
            Token::Attribute(name) => self.principal.attributes.get(name)?,
        };
        Some(text).filter(|text| !text.is_empty())
    }

    /// The same as a level of a topic filter: nobody gets further than one level by what is in a name. In the first level a
    /// `$` would lead to the topics of the broker.
    pub(super) fn level(self, token: &Token, is_first: bool) -> Option<&'a str> {
        let text = self.text(token)?;
        let is_level = !text.contains(['/', '+', '#', '\0']);
        (is_level && !(is_first && text.starts_with('$'))).then_some(text)
    }
}
