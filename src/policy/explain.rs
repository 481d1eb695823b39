//! Why a client may do something, or may not, for people.

use super::pattern::{ClientIdPattern, FilterPattern, Level, Piece, Token};
use super::principal::Who;
use super::rights::{By, Decision, Rights, Verdict};
use super::rule::Rule;
use super::{Action, is_reserved};
use crate::mqtt::{QoS, topic};

/// A verdict with its reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Yes or no, or that a back end is asked.
    pub decision: Decision,
    /// What decides.
    pub by: By,
    /// Where the rule is written that decides, if one does.
    pub place: Option<String>,
    /// The pattern of the rule that has to do with it, as it is written.
    pub pattern: Option<String>,
    /// The same with what the client has for its tokens.
    pub filled: Option<String>,
    /// Highest QoS that is granted, for a subscription that is.
    pub qos: Option<QoS>,
    /// A subscription is granted, and only messages that the client may read are delivered.
    pub is_narrowed: bool,
}

impl Explanation {
    /// What is said where a port has no rules.
    #[must_use]
    pub fn without_rules(action: Action<'_>) -> Self {
        let verdict = match action {
            Action::Publish { topic, .. } if is_reserved(topic) => {
                Verdict::new(Decision::Denied, By::Reserved)
            }
            Action::Publish { .. } | Action::Connect | Action::Subscribe(_) | Action::Read(_) => {
                Verdict::new(Decision::Allowed, By::Unrestricted)
            }
        };
        Self::of(verdict)
    }

    fn of(verdict: Verdict) -> Self {
        Self {
            decision: verdict.decision,
            by: verdict.by,
            place: None,
            pattern: None,
            filled: None,
            qos: None,
            is_narrowed: false,
        }
    }
}

impl Rights {
    /// Decides as the broker does, and says why.
    #[must_use]
    pub fn explain(&self, action: Action<'_>) -> Explanation {
        let mut explanation = match action {
            Action::Connect => Explanation::of(self.connect()),
            Action::Publish { topic, qos, retain } => {
                Explanation::of(self.publish(topic, qos, retain))
            }
            Action::Read(topic) => {
                Explanation::of(self.read(topic).verdict(QoS::AtMostOnce, false))
            }
            Action::Subscribe(filter) => {
                let answer = self.subscribe(filter);
                let is_granted = answer.verdict.is_allowed();
                Explanation {
                    qos: is_granted.then_some(answer.qos),
                    is_narrowed: is_granted && answer.is_narrowed,
                    ..Explanation::of(answer.verdict)
                }
            }
        };
        if let By::Rule(number) = explanation.by
            && let Some(rule) = self.rule(number)
        {
            explanation.place = Some(rule.place.to_string());
            if let Some((pattern, filled)) = self.pattern(rule, action) {
                explanation.pattern = Some(pattern.to_owned());
                explanation.filled = Some(filled);
            }
        }
        explanation
    }

    /// The pattern of a rule that has to do with an action, as it is written and filled.
    fn pattern<'a>(&self, rule: &'a Rule, action: Action<'_>) -> Option<(&'a str, String)> {
        let who = self.who();
        let first = |patterns: &'a [FilterPattern], is_it: &dyn Fn(&str) -> bool| {
            let filled = patterns
                .iter()
                .filter_map(|pattern| Some((pattern.as_str(), fill(pattern, who)?)));
            filled.into_iter().find(|(_, filled)| is_it(filled))
        };
        match action {
            Action::Connect => rule.connect.iter().find_map(|pattern| {
                let filled = fill_client_id(pattern, who)?;
                let is_it = match filled.strip_suffix('*').filter(|_| pattern.is_prefix()) {
                    Some(beginning) => who.client_id.starts_with(beginning),
                    None => who.client_id == filled,
                };
                is_it.then(|| (pattern.as_str(), filled))
            }),
            Action::Publish { topic, .. } => {
                first(&rule.publish, &|filter| topic::matches(filter, topic))
            }
            Action::Read(topic) => first(&rule.subscribe, &|filter| topic::matches(filter, topic)),
            Action::Subscribe(wanted) => first(&rule.subscribe, &|filter| covers(filter, wanted))
                .or_else(|| first(&rule.subscribe, &|filter| overlaps(filter, wanted))),
        }
    }
}

/// A pattern with what a client has for its tokens; `None` if it lacks something.
pub(super) fn fill(pattern: &FilterPattern, who: Who<'_>) -> Option<String> {
    let levels = pattern.levels().iter().enumerate();
    let levels: Option<Vec<&str>> = levels
        .map(|(at, level)| match level {
            Level::Text(text) => Some(&**text),
            Level::Any => Some("+"),
            Level::Rest => Some("#"),
            Level::Token(token) => who.level(token, at == 0),
        })
        .collect();
    levels.map(|levels| levels.join("/"))
}

fn fill_client_id(pattern: &ClientIdPattern, who: Who<'_>) -> Option<String> {
    let text = |token: &Token| who.text(token);
    let mut filled = String::new();
    for piece in pattern.pieces() {
        filled.push_str(match piece {
            Piece::Text(text) => text,
            Piece::Token(token) => text(token)?,
        });
    }
    if pattern.is_prefix() {
        filled.push('*');
    }
    Some(filled)
}

/// Whether a filter matches every topic that another one matches: level by level, as the standard tells what a filter
/// matches. The tree of filters is tested against this.
pub(super) fn covers(filter: &str, other: &str) -> bool {
    if other.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    // Every topic has a first level.
    if other == "#" && filter == "+/#" {
        return true;
    }
    let mut others = other.split('/');
    for level in filter.split('/') {
        if level == "#" {
            return true;
        }
        match others.next() {
            Some("#") | None => return false,
            Some(other) if level == "+" || level == other => {}
            Some(_) => return false,
        }
    }
    others.next().is_none()
}

/// Whether two filters have a topic in common.
pub(super) fn overlaps(filter: &str, other: &str) -> bool {
    let hides = |wild: &str, plain: &str| wild.starts_with(['+', '#']) && plain.starts_with('$');
    if hides(filter, other) || hides(other, filter) {
        return false;
    }
    let (mut one, mut two) = (filter.split('/'), other.split('/'));
    loop {
        match (one.next(), two.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (Some(a), Some(b)) if a == b || a == "+" || b == "+" => {}
            _ => return false,
        }
    }
}
