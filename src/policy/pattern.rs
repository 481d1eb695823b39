//! Patterns of rules: topic filters and client identifiers in which parts of the principal may stand.

use std::fmt;

use crate::limits::FILTER_LEVELS_MAX;
use crate::mqtt::topic::{self, TopicFault};

/// Part of a principal that may stand in a pattern, as in `{principal.username}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Token {
    /// `{principal.username}`
    Username,
    /// `{principal.clientId}`
    ClientId,
    /// `{principal.attributes.NAME}`
    Attribute(Box<str>),
}

/// Why a text is not a pattern.
///
/// The sentence of its `Display` continues "the pattern …".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatternFault {
    /// Nothing was written.
    Empty,
    /// It would be no topic filter, whatever stands for its tokens.
    Topic(TopicFault),
    /// It begins with `$share/`, which is a way to subscribe and no topic.
    Shared,
    /// A `{` that begins no known token.
    Token {
        /// The text from `{` on, to `}` where there is one.
        found: Box<str>,
    },
    /// A token shares its level with other characters.
    TokenNotAlone {
        /// The level.
        level: Box<str>,
    },
    /// It has more levels than a filter can have that somebody subscribes to.
    TooDeep,
    /// A `*` that is not the last character of a client identifier pattern.
    WildcardNotLast,
}

impl fmt::Display for PatternFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("is empty"),
            Self::Topic(fault) => write!(f, "is no topic filter: {fault}"),
            Self::Shared => f.write_str("begins with $share/, which is no topic"),
            Self::Token { found } => write!(
                f,
                "contains `{found}`; the tokens are {{principal.username}}, {{principal.clientId}} and {{principal.attributes.NAME}}"
            ),
            Self::TokenNotAlone { level } => write!(
                f,
                "has a token in the level `{level}`, where it must be the only text"
            ),
            Self::TooDeep => write!(f, "has more than {FILTER_LEVELS_MAX} levels"),
            Self::WildcardNotLast => f.write_str("has `*` where it is not the last character"),
        }
    }
}

impl std::error::Error for PatternFault {}

/// One level of a [`FilterPattern`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Level {
    /// This text.
    Text(Box<str>),
    /// `+`
    Any,
    /// `#`
    Rest,
    /// What the principal has.
    Token(Token),
}

/// A topic filter in whose levels tokens may stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterPattern {
    text: Box<str>,
    levels: Box<[Level]>,
}

impl FilterPattern {
    /// Checks and keeps a pattern such as `plant/{principal.username}/#`.
    pub fn parse(text: &str) -> Result<Self, PatternFault> {
        if text.is_empty() {
            return Err(PatternFault::Empty);
        }
        if topic::is_shared(text) {
            return Err(PatternFault::Shared);
        }
        topic::check_filter(text).map_err(PatternFault::Topic)?;
        if text.split('/').count() > FILTER_LEVELS_MAX {
            return Err(PatternFault::TooDeep);
        }
        let levels = text.split('/').map(level).collect::<Result<_, _>>()?;
        Ok(Self {
            text: text.into(),
            levels,
        })
    }

    /// The text as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its levels, in order.
    #[must_use]
    pub fn levels(&self) -> &[Level] {
        &self.levels
    }
}

fn level(text: &str) -> Result<Level, PatternFault> {
    match text {
        "+" => return Ok(Level::Any),
        "#" => return Ok(Level::Rest),
        _ => {}
    }
    let Some((before, rest)) = text.split_once('{') else {
        return Ok(Level::Text(text.into()));
    };
    let (token, after) = split_token(rest)?;
    if before.is_empty() && after.is_empty() {
        Ok(Level::Token(token))
    } else {
        Err(PatternFault::TokenNotAlone { level: text.into() })
    }
}

/// A token and what follows it, from the text behind its `{`.
fn split_token(rest: &str) -> Result<(Token, &str), PatternFault> {
    let unknown = |found: &str| PatternFault::Token {
        found: format!("{{{found}").into(),
    };
    let Some((name, after)) = rest.split_once('}') else {
        return Err(unknown(rest));
    };
    let token = match name {
        "principal.username" => Token::Username,
        "principal.clientId" => Token::ClientId,
        _ => match name.strip_prefix("principal.attributes.") {
            Some(attribute) if !attribute.is_empty() => Token::Attribute(attribute.into()),
            _ => return Err(unknown(&format!("{name}}}"))),
        },
    };
    Ok((token, after))
}

/// A piece of a [`ClientIdPattern`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Piece {
    /// This text.
    Text(Box<str>),
    /// What the principal has.
    Token(Token),
}

/// A client identifier in which tokens may stand, and whose end `*` leaves open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdPattern {
    text: Box<str>,
    pieces: Box<[Piece]>,
    is_prefix: bool,
}

impl ClientIdPattern {
    /// Checks and keeps a pattern such as `press-*` or `{principal.attributes.building}*`.
    pub fn parse(text: &str) -> Result<Self, PatternFault> {
        if text.is_empty() {
            return Err(PatternFault::Empty);
        }
        let (body, is_prefix) = match text.strip_suffix('*') {
            Some(body) => (body, true),
            None => (text, false),
        };
        if body.contains('*') {
            return Err(PatternFault::WildcardNotLast);
        }
        let mut pieces = Vec::new();
        let mut rest = body;
        while let Some((before, inside)) = rest.split_once('{') {
            if !before.is_empty() {
                pieces.push(Piece::Text(before.into()));
            }
            let (token, after) = split_token(inside)?;
            pieces.push(Piece::Token(token));
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.into()));
        }
        Ok(Self {
            text: text.into(),
            pieces: pieces.into(),
            is_prefix,
        })
    }

    /// The text as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What it is made of, in order, without the `*`.
    #[must_use]
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Whether anything may follow.
    #[must_use]
    pub fn is_prefix(&self) -> bool {
        self.is_prefix
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_fill_whole_levels() {
        let pattern = FilterPattern::parse("a/{principal.username}/+/{principal.attributes.x}/#");
        assert_eq!(
            pattern.unwrap().levels(),
            [
                Level::Text("a".into()),
                Level::Token(Token::Username),
                Level::Any,
                Level::Token(Token::Attribute("x".into())),
                Level::Rest,
            ]
        );
        for refused in [
            "",
            "a/b{principal.username}",
            "a/{principal.username}b",
            "a/{principal.usernam}",
            "a/{principal.attributes.}",
            "a/{",
            "a/#/b",
            "$share/g/a",
            &"a/".repeat(FILTER_LEVELS_MAX),
        ] {
            assert!(FilterPattern::parse(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn client_id_patterns_may_be_open_at_the_end() {
        let pattern = ClientIdPattern::parse("x-{principal.username}-{principal.clientId}*");
        let pattern = pattern.unwrap();
        assert!(pattern.is_prefix());
        assert_eq!(pattern.pieces().len(), 4);
        assert!(ClientIdPattern::parse("*").unwrap().pieces().is_empty());
        for refused in ["", "a*b", "**", "{principal.x}", "{principal.username"] {
            assert!(ClientIdPattern::parse(refused).is_err(), "{refused}");
        }
    }
}
