//! Patterns of client identifiers of many rules, found by the text that they begin with.

use std::collections::BTreeMap;

use super::filters::NONE;
use super::pattern::{ClientIdPattern, Piece};
use super::principal::Who;
use super::rule::{Effect, Rule};

/// What rules say about one client identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClientIdGrants {
    allow: u32,
    deny: u32,
}

impl ClientIdGrants {
    pub(super) const NOTHING: Self = Self {
        allow: NONE,
        deny: NONE,
    };

    fn of(effect: Effect, rule: u32) -> Self {
        match effect {
            Effect::Allow => Self {
                allow: rule,
                ..Self::NOTHING
            },
            Effect::Deny => Self {
                deny: rule,
                ..Self::NOTHING
            },
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.allow = self.allow.min(other.allow);
        self.deny = self.deny.min(other.deny);
    }

    /// The first rule that allows.
    pub(super) fn allow(&self) -> Option<u32> {
        Some(self.allow).filter(|rule| *rule != NONE)
    }

    /// The first rule that denies.
    pub(super) fn deny(&self) -> Option<u32> {
        Some(self.deny).filter(|rule| *rule != NONE)
    }
}

/// What follows the text that a pattern begins with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tail {
    /// Nothing.
    End,
    /// Anything.
    Open,
    /// Tokens, and text between them.
    Pieces { pieces: Box<[Piece]>, is_open: bool },
}

/// Patterns by the text that they begin with.
#[derive(Debug, Default)]
pub(super) struct ClientIds {
    by_head: BTreeMap<Box<str>, BTreeMap<Tail, ClientIdGrants>>,
    /// Lengths of these texts, sorted.
    lengths: Vec<usize>,
}

impl ClientIds {
    /// Adds the patterns of a rule.
    pub(super) fn add(&mut self, number: u32, rule: &Rule) {
        for pattern in &rule.connect {
            let (head, tail) = parts(pattern);
            if let Err(at) = self.lengths.binary_search(&head.len()) {
                self.lengths.insert(at, head.len());
            }
            let tails = self.by_head.entry(head.into()).or_default();
            let known = tails.entry(tail).or_insert(ClientIdGrants::NOTHING);
            known.merge(ClientIdGrants::of(rule.effect, number));
        }
    }

    /// What the patterns say that match the identifier of a client.
    pub(super) fn matching(&self, who: Who<'_>) -> ClientIdGrants {
        let mut found = ClientIdGrants::NOTHING;
        let longest = who.client_id.len();
        for length in self.lengths.iter().take_while(|length| **length <= longest) {
            let Some((head, rest)) = who.client_id.split_at_checked(*length) else {
                continue;
            };
            for (tail, grants) in self.by_head.get(head).into_iter().flatten() {
                if tail.matches(rest, who) {
                    found.merge(*grants);
                }
            }
        }
        found
    }
}

impl Tail {
    fn matches(&self, rest: &str, who: Who<'_>) -> bool {
        match self {
            Self::End => rest.is_empty(),
            Self::Open => true,
            Self::Pieces { pieces, is_open } => {
                let mut rest = rest;
                for part in pieces {
                    let text = match part {
                        Piece::Text(text) => Some(&**text),
                        Piece::Token(token) => who.text(token),
                    };
                    let Some(after) = text.and_then(|text| rest.strip_prefix(text)) else {
                        return false;
                    };
                    rest = after;
                }
                *is_open || rest.is_empty()
            }
        }
    }
}

/// The text that a pattern begins with, and what follows it.
fn parts(pattern: &ClientIdPattern) -> (&str, Tail) {
    let (head, rest) = match pattern.pieces() {
        [Piece::Text(head), rest @ ..] => (&**head, rest),
        rest => ("", rest),
    };
    let tail = match (rest.is_empty(), pattern.is_prefix()) {
        (true, false) => Tail::End,
        (true, true) => Tail::Open,
        (false, is_open) => Tail::Pieces {
            pieces: rest.into(),
            is_open,
        },
    };
    (head, tail)
}
