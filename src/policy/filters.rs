//! Filters of many rules in one tree, level by level, so that a decision looks only at those that have to do with a topic.
//!
//! The tree has many roots, one for each set of filters that is asked about together. A level that a token fills is an edge
//! of its own, which is followed if the principal has the text for it: so one tree serves every client, and nothing is
//! made for a client when it comes.

use std::collections::BTreeMap;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::pattern::{FilterPattern, Level, Token};
use super::principal::Who;
use crate::mqtt::QoS;

/// No node, no rule.
pub(super) const NONE: u32 = u32::MAX;

const PLUS: u32 = 0;
const HASH: u32 = 1;
const FIRST_TEXT: u32 = 2;
/// Edges from here on are tokens, and come last among the edges of a node.
const FIRST_TOKEN: u32 = 1 << 31;

/// What the rules say about one topic: the numbers of the first rules that allow it, by QoS and RETAIN, and of the first one
/// that denies it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grants {
    /// By QoS; first without RETAIN, then with it.
    allow: [[u32; 2]; 3],
    deny: u32,
}

impl Grants {
    pub(super) const NOTHING: Self = Self {
        allow: [[NONE; 2]; 3],
        deny: NONE,
    };

    pub(super) fn of_deny(rule: u32) -> Self {
        Self {
            deny: rule,
            ..Self::NOTHING
        }
    }

    pub(super) fn of_allow(rule: u32, qos: QoS, retain: bool) -> Self {
        let mut grants = Self::NOTHING;
        let allowed = grants.allow.iter_mut().take(usize::from(qos.as_u8()) + 1);
        for [plain, retained] in allowed {
            *plain = rule;
            if retain {
                *retained = rule;
            }
        }
        grants
    }

    /// Adds what other rules say; of several that say the same the first one counts.
    pub(super) fn merge(&mut self, other: &Self) {
        for (own, other) in self
            .allow
            .iter_mut()
            .flatten()
            .zip(other.allow.iter().flatten())
        {
            *own = (*own).min(*other);
        }
        self.deny = self.deny.min(other.deny);
    }

    /// The first rule that denies.
    pub(super) fn deny(&self) -> Option<u32> {
        Some(self.deny).filter(|rule| *rule != NONE)
    }

    /// The first rule that allows this much.
    pub(super) fn allow(&self, qos: QoS, retain: bool) -> Option<u32> {
        let [plain, retained] = self.allow.get(usize::from(qos.as_u8()))?;
        Some(if retain { *retained } else { *plain }).filter(|rule| *rule != NONE)
    }

    /// The highest QoS that is allowed, with the first rule that allows it.
    pub(super) fn highest(&self) -> Option<(QoS, u32)> {
        [QoS::ExactlyOnce, QoS::AtLeastOnce, QoS::AtMostOnce]
            .into_iter()
            .find_map(|qos| Some((qos, self.allow(qos, false)?)))
    }

    fn allows_anything(&self) -> bool {
        self.allow(QoS::AtMostOnce, false).is_some()
    }
}

#[derive(Clone, Copy, Debug)]
struct Edge {
    code: u32,
    node: u32,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    /// Its edges, in order of their codes.
    from: u32,
    len: u32,
    /// What the filters that end here say.
    grants: u32,
    /// What filters below say, this node included, as far as no token leads there; at a root without topics that begin
    /// with `$`.
    below: u32,
    /// Whether a filter below allows or denies, whatever leads there.
    allows_below: bool,
    denies_below: bool,
    tokens_below: bool,
}

/// The tree, ready to be asked.
#[derive(Debug)]
pub(super) struct Filters {
    nodes: Vec<Node>,
    edges: Vec<Edge>,
    grants: Vec<Grants>,
    codes: HashMap<Box<str>, u32, FixedState>,
    /// By code, from [`FIRST_TEXT`] on: whether the text begins with `$`.
    begins_with_dollar: Vec<bool>,
    tokens: Vec<Token>,
}

/// What a search for common topics is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Allow,
    Deny,
}

impl Filters {
    /// What filters say that match a topic name.
    pub(super) fn matching(&self, root: u32, topic: &str, who: Who<'_>) -> Grants {
        let mut found = Grants::NOTHING;
        let walk = Walk {
            filters: self,
            who,
            wildcards_are_literal: false,
        };
        walk.cover(root, Some(topic), true, &mut found);
        found
    }

    /// What filters say that match every topic that `filter` matches.
    pub(super) fn covering(&self, root: u32, filter: &str, who: Who<'_>) -> Grants {
        let mut found = Grants::NOTHING;
        let walk = Walk {
            filters: self,
            who,
            wildcards_are_literal: true,
        };
        walk.cover(root, Some(filter), true, &mut found);
        found
    }

    /// What filters say that match at least one topic that `filter` matches. Of what is not `wanted` some may be missing.
    pub(super) fn overlapping(
        &self,
        root: u32,
        filter: &str,
        who: Who<'_>,
        wanted: Wanted,
    ) -> Grants {
        let mut found = Grants::NOTHING;
        let walk = Walk {
            filters: self,
            who,
            wildcards_are_literal: true,
        };
        walk.overlap(root, Some(filter), true, wanted, &mut found);
        found
    }

    fn node(&self, node: u32) -> Option<&Node> {
        self.nodes.get(place(node))
    }

    fn grants_at(&self, place_of: u32) -> Option<&Grants> {
        self.grants.get(place(place_of))
    }

    fn edges_of(&self, node: &Node) -> &[Edge] {
        let from = place(node.from);
        self.edges
            .get(from..from.saturating_add(place(node.len)))
            .unwrap_or_default()
    }

    /// The edges of a node that tokens fill, each with the text that this principal has for it.
    fn token_edges<'a>(
        &'a self,
        edges: &'a [Edge],
        who: Who<'a>,
        is_first: bool,
    ) -> impl Iterator<Item = (&'a str, u32)> {
        edges
            .iter()
            .rev()
            .take_while(|edge| edge.code >= FIRST_TOKEN)
            .filter_map(move |edge| {
                let token = self.tokens.get(place(edge.code - FIRST_TOKEN))?;
                Some((who.level(token, is_first)?, edge.node))
            })
    }

    fn is_dollar(&self, code: u32) -> bool {
        let known = code.checked_sub(FIRST_TEXT);
        let known = known.and_then(|at| self.begins_with_dollar.get(place(at)));
        known.copied().unwrap_or(false)
    }
}

/// One question to the tree.
#[derive(Clone, Copy)]
struct Walk<'a> {
    filters: &'a Filters,
    who: Who<'a>,
    /// The text that is walked along is a filter: its wildcards stand for all that they match.
    wildcards_are_literal: bool,
}

impl Walk<'_> {
    /// Collects filters that match a topic name, or everything that a filter matches: the same walk, but that a wildcard of
    /// the text is matched by its like alone.
    fn cover(&self, node: u32, rest: Option<&str>, is_first: bool, found: &mut Grants) {
        let filters = self.filters;
        let Some(entry) = filters.node(node) else {
            return;
        };
        let edges = filters.edges_of(entry);
        let plus = child(edges, PLUS);
        let hash = child(edges, HASH);
        let Some(rest) = rest else {
            self.add(node, found);
            if let Some(hash) = hash {
                self.add(hash, found);
            }
            return;
        };
        let (level, after) = split(rest);
        // A wildcard in the first level does not match a topic that begins with `$` (MQTT-4.7.2-1).
        let is_hidden = is_first && level.starts_with('$');
        if let Some(hash) = hash.filter(|_| !is_hidden) {
            self.add(hash, found);
        }
        if self.wildcards_are_literal && level == "#" {
            // Every topic has a first level, so `+/#` matches as much as `#`.
            if let Some(plus) = plus.filter(|_| is_first) {
                let below = filters.node(plus).map(|plus| filters.edges_of(plus));
                if let Some(hash) = below.and_then(|edges| child(edges, HASH)) {
                    self.add(hash, found);
                }
            }
            return;
        }
        if let Some(plus) = plus.filter(|_| !is_hidden) {
            self.cover(plus, after, false, found);
        }
        if self.wildcards_are_literal && level == "+" {
            return;
        }
        if let Some(node) = self.text_child(edges, level) {
            self.cover(node, after, false, found);
        }
        for (text, node) in filters.token_edges(edges, self.who, is_first) {
            if text == level {
                self.cover(node, after, false, found);
            }
        }
    }

    /// Collects filters that have a topic in common with a filter.
    fn overlap(
        &self,
        node: u32,
        rest: Option<&str>,
        is_first: bool,
        wanted: Wanted,
        found: &mut Grants,
    ) {
        let filters = self.filters;
        let Some(entry) = filters.node(node).filter(|node| node.has_below(wanted)) else {
            return;
        };
        let edges = filters.edges_of(entry);
        let hash = child(edges, HASH);
        let Some(rest) = rest else {
            self.add(node, found);
            if let Some(hash) = hash {
                self.add(hash, found);
            }
            return;
        };
        let (level, after) = split(rest);
        if level == "#" {
            return self.add_below(node, is_first, found);
        }
        let is_hidden = is_first && level.starts_with('$');
        if let Some(hash) = hash.filter(|_| !is_hidden) {
            self.add(hash, found);
        }
        if level == "+" {
            for edge in edges.iter().take_while(|edge| edge.code < FIRST_TOKEN) {
                let is_hidden = is_first && filters.is_dollar(edge.code);
                if edge.code != HASH && !is_hidden {
                    self.overlap(edge.node, after, false, wanted, found);
                }
            }
            for (_, node) in filters.token_edges(edges, self.who, is_first) {
                self.overlap(node, after, false, wanted, found);
            }
            return;
        }
        if let Some(plus) = child(edges, PLUS).filter(|_| !is_hidden) {
            self.overlap(plus, after, false, wanted, found);
        }
        if let Some(node) = self.text_child(edges, level) {
            self.overlap(node, after, false, wanted, found);
        }
        for (text, node) in filters.token_edges(edges, self.who, is_first) {
            if text == level {
                self.overlap(node, after, false, wanted, found);
            }
        }
    }

    /// Adds what all filters below say.
    fn add_below(&self, node: u32, is_first: bool, found: &mut Grants) {
        let filters = self.filters;
        let Some(entry) = filters.node(node) else {
            return;
        };
        if let Some(grants) = filters.grants_at(entry.below) {
            found.merge(grants);
        }
        if !entry.tokens_below {
            return;
        }
        let edges = filters.edges_of(entry);
        for edge in edges.iter().take_while(|edge| edge.code < FIRST_TOKEN) {
            let below = filters.node(edge.node);
            let is_hidden = is_first && filters.is_dollar(edge.code);
            if !is_hidden && below.is_some_and(|below| below.tokens_below) {
                self.add_below(edge.node, false, found);
            }
        }
        for (_, node) in filters.token_edges(edges, self.who, is_first) {
            self.add_below(node, false, found);
        }
    }

    fn add(&self, node: u32, found: &mut Grants) {
        let node = self.filters.node(node);
        if let Some(grants) = node.and_then(|node| self.filters.grants_at(node.grants)) {
            found.merge(grants);
        }
    }

    fn text_child(&self, edges: &[Edge], level: &str) -> Option<u32> {
        // Where there are only wildcards and tokens, no text has to be looked up.
        let has_text = |edge: &Edge| (FIRST_TEXT..FIRST_TOKEN).contains(&edge.code);
        if !edges.iter().take(3).any(has_text) {
            return None;
        }
        child(edges, *self.filters.codes.get(level)?)
    }
}

impl Node {
    fn has_below(&self, wanted: Wanted) -> bool {
        match wanted {
            Wanted::Allow => self.allows_below,
            Wanted::Deny => self.denies_below,
        }
    }
}

/// The tree while it grows.
#[derive(Debug, Default)]
pub(super) struct FiltersBuilder {
    nodes: u32,
    edges: BTreeMap<(u32, u32), u32>,
    grants: BTreeMap<u32, Grants>,
    roots: Vec<u32>,
    codes: HashMap<Box<str>, u32, FixedState>,
    begins_with_dollar: Vec<bool>,
    tokens: Vec<Token>,
}

impl FiltersBuilder {
    /// A root without filters.
    pub(super) fn root(&mut self) -> u32 {
        let root = self.new_node();
        self.roots.push(root);
        root
    }

    /// Adds what a rule says about the topics of a filter.
    pub(super) fn add(&mut self, root: u32, pattern: &FilterPattern, grants: &Grants) {
        let mut node = root;
        for level in pattern.levels() {
            let code = self.code(level);
            node = match self.edges.get(&(node, code)) {
                Some(child) => *child,
                None => {
                    let child = self.new_node();
                    self.edges.insert((node, code), child);
                    child
                }
            };
        }
        let known = self.grants.entry(node).or_insert(Grants::NOTHING);
        known.merge(grants);
    }

    /// The tree. Children have greater numbers than their parents, so that one way back through the nodes sums them up.
    pub(super) fn build(self) -> Filters {
        let mut nodes: Vec<Node> = (0..self.nodes).map(|_| Node::EMPTY).collect();
        let mut grants = Vec::new();
        for (node, said) in &self.grants {
            if let Some(entry) = nodes.get_mut(place(*node)) {
                entry.grants = next(grants.len());
                grants.push(*said);
            }
        }
        let mut edges = Vec::with_capacity(self.edges.len());
        for ((parent, code), child) in &self.edges {
            if let Some(entry) = nodes.get_mut(place(*parent)) {
                if entry.len == 0 {
                    entry.from = next(edges.len());
                }
                entry.len += 1;
            }
            edges.push(Edge {
                code: *code,
                node: *child,
            });
        }
        let mut filters = Filters {
            nodes,
            edges,
            grants,
            codes: self.codes,
            begins_with_dollar: self.begins_with_dollar,
            tokens: self.tokens,
        };
        for node in (0..self.nodes).rev() {
            filters.sum_up(node, self.roots.binary_search(&node).is_ok());
        }
        filters
    }

    fn new_node(&mut self) -> u32 {
        self.nodes += 1;
        self.nodes - 1
    }

    fn code(&mut self, level: &Level) -> u32 {
        let text = match level {
            Level::Any => return PLUS,
            Level::Rest => return HASH,
            Level::Token(token) => {
                let known = self.tokens.iter().position(|known| known == token);
                let at = known.unwrap_or_else(|| {
                    self.tokens.push(token.clone());
                    self.tokens.len() - 1
                });
                return FIRST_TOKEN + next(at);
            }
            Level::Text(text) => text,
        };
        if let Some(code) = self.codes.get(text) {
            return *code;
        }
        let code = FIRST_TEXT + next(self.begins_with_dollar.len());
        self.begins_with_dollar.push(text.starts_with('$'));
        self.codes.insert(text.clone(), code);
        code
    }
}

impl Filters {
    fn sum_up(&mut self, node: u32, is_root: bool) {
        let Some(mut entry) = self.node(node).copied() else {
            return;
        };
        let mut below = self.grants_at(entry.grants).copied();
        for edge in self.edges_of(&entry) {
            let Some(child) = self.node(edge.node) else {
                continue;
            };
            entry.allows_below |= child.allows_below;
            entry.denies_below |= child.denies_below;
            entry.tokens_below |= child.tokens_below || edge.code >= FIRST_TOKEN;
            let is_hidden = is_root && self.is_dollar(edge.code);
            let said = self.grants_at(child.below);
            if let Some(said) = said.filter(|_| edge.code < FIRST_TOKEN && !is_hidden) {
                below.get_or_insert(Grants::NOTHING).merge(said);
            }
        }
        if let Some(own) = self.grants_at(entry.grants) {
            entry.allows_below |= own.allows_anything();
            entry.denies_below |= own.deny().is_some();
        }
        if let Some(below) = below {
            // A leaf has nothing below but itself, and most nodes are leaves or lead to one.
            entry.below = match self.same_below(&entry, &below) {
                Some(known) => known,
                None => {
                    self.grants.push(below);
                    next(self.grants.len() - 1)
                }
            };
        }
        if let Some(slot) = self.nodes.get_mut(place(node)) {
            *slot = entry;
        }
    }

    /// Where the same is kept already, by the node itself or by its first child.
    fn same_below(&self, entry: &Node, below: &Grants) -> Option<u32> {
        let first = self.edges_of(entry).first();
        let first = first.and_then(|edge| Some(self.node(edge.node)?.below));
        [Some(entry.grants), first]
            .into_iter()
            .flatten()
            .find(|known| self.grants_at(*known) == Some(below))
    }
}

impl Node {
    const EMPTY: Self = Self {
        from: 0,
        len: 0,
        grants: NONE,
        below: NONE,
        allows_below: false,
        denies_below: false,
        tokens_below: false,
    };
}

fn child(edges: &[Edge], code: u32) -> Option<u32> {
    // Wildcards are the first two.
    if code < FIRST_TEXT {
        let found = edges.iter().take(2).find(|edge| edge.code == code);
        return found.map(|edge| edge.node);
    }
    let at = edges.binary_search_by_key(&code, |edge| edge.code).ok()?;
    edges.get(at).map(|edge| edge.node)
}

/// The first level of a topic, and the rest if there is any.
fn split(topic: &str) -> (&str, Option<&str>) {
    match topic.split_once('/') {
        Some((level, rest)) => (level, Some(rest)),
        None => (topic, None),
    }
}

fn place(index: u32) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}

fn next(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(NONE)
}
