//! `BrokerAuthorization`: rules that allow.

use super::fields::{At, Fields, Notes, Word};
use super::resources::Resource;
use crate::import::report::ImportReport;
use crate::import::rules::{Listed, RuleText, Whom};
use crate::policy::{ClientIdPattern, FilterPattern};

/// Bytes of a user name, a client identifier, or the value of an attribute.
const NAME_BYTES_MAX: usize = 1024;

/// Bytes of the name of an attribute.
const ATTRIBUTE_NAME_BYTES_MAX: usize = 128;

/// Bytes of all texts of one list.
const LIST_BYTES_MAX: usize = 60 << 10;

/// Attributes of one set.
pub(super) const ATTRIBUTES_MAX: usize = 64;

/// `[authorization.NAME]`
pub(super) struct AuthorizationPlan {
    /// Name of the resource.
    pub(super) resource: String,
    /// Listeners that it names itself, in the older shape.
    pub(super) listeners: Vec<String>,
    rules: Vec<RuleText>,
}

impl AuthorizationPlan {
    pub(super) fn render(&self, name: &str) -> String {
        let mut text = format!("[authorization.{name}]\n\n");
        for rule in &self.rules {
            text.push_str(&rule.render(name));
            text.push('\n');
        }
        text
    }
}

pub(super) fn translate(resource: &Resource, report: &mut ImportReport) -> AuthorizationPlan {
    let mut reading = Reading {
        notes: resource.notes(report),
        plan: AuthorizationPlan {
            resource: resource.name.clone(),
            listeners: Vec::new(),
            rules: Vec::new(),
        },
    };
    reading.spec(&resource.spec());
    if reading.plan.rules.is_empty() {
        reading.plan.rules.push(RuleText {
            denies: true,
            ..RuleText::connecting(
                &["*".to_owned()],
                "there are no rules, so nobody may do anything",
            )
        });
    }
    reading.plan
}

/// The listeners that an older resource names.
pub(super) fn listener_refs(notes: &mut Notes<'_>, at: &At<'_>) -> Vec<String> {
    let listeners = notes.texts(at);
    let into = format!("the ports of {}", listeners.join(", "));
    notes.translated(at, into);
    listeners
}

struct Reading<'r> {
    notes: Notes<'r>,
    plan: AuthorizationPlan,
}

impl Reading<'_> {
    fn spec(&mut self, spec: &At<'_>) {
        let keys = &["authorizationPolicies", "listenerRef", "brokerRef"];
        let Some(fields) = self.notes.fields(spec, keys) else {
            return;
        };
        for (key, at) in fields.iter() {
            match key {
                "brokerRef" => self.notes.not_needed(at, "there is one gateway"),
                "listenerRef" => self.plan.listeners = listener_refs(&mut self.notes, at),
                _ => self.policies(at),
            }
        }
        if fields.get("authorizationPolicies").is_none() {
            self.notes.missing(&fields, "authorizationPolicies");
        }
    }

    fn policies(&mut self, at: &At<'_>) {
        let Some(fields) = self.notes.fields(at, &["cache|enableCache", "rules"]) else {
            return;
        };
        if let Some(at) = fields.get("cache") {
            self.notes.switch(at);
            let why = "decisions are looked up in an index and not remembered";
            self.notes.not_needed(at, why);
        }
        if let Some(at) = fields.get("rules") {
            for rule in self.notes.list(at) {
                self.rule(&rule);
            }
        }
    }

    fn rule(&mut self, at: &At<'_>) {
        let keys = &["principals", "brokerResources", "stateStoreResources"];
        let Some(fields) = self.notes.fields(at, keys) else {
            return;
        };
        let principals = match fields.get("principals") {
            Some(at) => self.principals(at),
            None => {
                self.notes.missing(&fields, "principals");
                None
            }
        };
        let place = format!(
            "{} {}",
            self.plan.resource,
            at.path.trim_start_matches("spec.authorizationPolicies.")
        );
        let mut rule = RuleText::new(Whom::Everyone, place);
        if let Some(at) = fields.get("brokerResources") {
            for resource in self.notes.list(at) {
                self.resource(&resource, &mut rule);
            }
        }
        if let Some(at) = fields.get("stateStoreResources") {
            self.state_store(at);
        }
        let Some(listed) = principals else {
            return;
        };
        if listed.is_empty() {
            let why = "it names nobody, so it allows nothing; for every client write principals = { everyone = true } yourself";
            self.notes.no_equivalent(at, why);
            return;
        }
        rule.whom = Whom::Listed(listed);
        if !rule.is_empty() {
            self.plan.rules.push(rule);
        }
    }

    fn principals(&mut self, at: &At<'_>) -> Option<Listed> {
        let keys = &["usernames", "clientIds", "attributes"];
        let fields = self.notes.fields(at, keys)?;
        let mut listed = Listed::default();
        if let Some(at) = fields.get("usernames") {
            listed.usernames = self.names(at, "usernames");
        }
        if let Some(at) = fields.get("clientIds") {
            listed.client_ids = self.names(at, "client_ids");
        }
        if let Some(at) = fields.get("attributes") {
            listed.attributes = self.attributes(at);
        }
        Some(listed)
    }

    fn names(&mut self, at: &At<'_>, key: &str) -> Vec<String> {
        let names = self.notes.texts(at);
        if let Some(name) = names.iter().find(|name| !is_plain(name)) {
            let length = name.len();
            let why = format!("one of {length} bytes is too long, or has control characters");
            self.notes.bad(at, why);
        }
        self.bounded(at, &names);
        if names.iter().any(|name| name == "*") {
            let how = format!(
                "principals.{key}; `*` is a name there and no wildcard: for every client write everyone = true"
            );
            self.notes.differs(at, how);
        } else if key == "client_ids" {
            let how = "principals.client_ids; they prove nothing, because clients choose them";
            self.notes.differs(at, how);
        } else {
            self.notes.translated(at, format!("principals.{key}"));
        }
        names
    }

    /// Says where a list has more text than is taken.
    fn bounded(&mut self, at: &At<'_>, texts: &[String]) {
        if texts.iter().map(String::len).sum::<usize>() > LIST_BYTES_MAX {
            let why = format!(
                "all texts of one list have at most {} KiB; split the rule",
                LIST_BYTES_MAX >> 10
            );
            self.notes.bad(at, why);
        }
    }

    fn attributes(&mut self, at: &At<'_>) -> Vec<Vec<(String, String)>> {
        let mut sets = Vec::new();
        let mut texts = Vec::new();
        for item in self.notes.list(at) {
            let set = attributes(&mut self.notes, &item);
            if set.is_empty() {
                let why = "an empty set would fit every client; write principals = { everyone = true } yourself if that is meant";
                self.notes.no_equivalent(&item, why);
            } else {
                texts.extend(
                    set.iter()
                        .flat_map(|(name, value)| [name.clone(), value.clone()]),
                );
                sets.push(set);
            }
        }
        self.bounded(at, &texts);
        self.notes.translated(at, "principals.attributes");
        sets
    }

    fn resource(&mut self, at: &At<'_>, rule: &mut RuleText) {
        let keys = &["method", "clientIds", "topics"];
        let Some(fields) = self.notes.fields(at, keys) else {
            return;
        };
        const METHODS: &[Word] = &[("Connect", &[]), ("Publish", &[]), ("Subscribe", &[])];
        let Some(method) = fields.get("method") else {
            self.notes.missing(&fields, "method");
            return;
        };
        match self.notes.word(method, METHODS) {
            Some("Connect") => self.connect(&fields, method, rule),
            Some(word) => {
                let is_publish = word == "Publish";
                let key = if is_publish { "publish" } else { "subscribe" };
                self.notes.translated(method, key);
                let topics = self.topics(&fields, key);
                let topics_of = if is_publish {
                    &mut rule.publish
                } else {
                    &mut rule.subscribe
                };
                topics_of.extend(topics);
            }
            None => {}
        }
    }

    fn connect(&mut self, fields: &Fields<'_>, method: &At<'_>, rule: &mut RuleText) {
        if let Some(at) = fields.get("topics") {
            if self.notes.list(at).is_empty() {
                self.notes.not_needed(at, "it is empty");
            } else {
                self.notes.bad(at, "topics belong to Publish and Subscribe");
            }
        }
        let Some(at) = fields.get("clientIds") else {
            rule.connect.push("*".to_owned());
            self.notes.translated(method, "connect = [\"*\"]");
            return;
        };
        self.notes.translated(method, "connect");
        let texts = self.notes.texts(at);
        self.bounded(at, &texts);
        if texts.is_empty() {
            rule.connect.push("*".to_owned());
        }
        for text in texts {
            let pattern = canonical(&text);
            if let Err(fault) = ClientIdPattern::parse(&pattern) {
                self.notes
                    .bad(at, format!("the pattern `{}` {fault}", shown(&text)));
            } else {
                rule.connect.push(pattern);
            }
        }
        self.notes.translated(at, "connect");
    }

    fn topics(&mut self, fields: &Fields<'_>, key: &str) -> Vec<String> {
        if let Some(at) = fields.get("clientIds") {
            if self.notes.list(at).is_empty() {
                self.notes.not_needed(at, "it is empty");
            } else {
                let why = "client identifiers belong to Connect; name clients in `principals`";
                self.notes.bad(at, why);
            }
        }
        let Some(at) = fields.get("topics") else {
            self.notes.missing(fields, "topics");
            return Vec::new();
        };
        let texts = self.notes.texts(at);
        self.bounded(at, &texts);
        let mut topics = Vec::with_capacity(texts.len());
        for text in texts {
            let pattern = canonical(&text);
            match FilterPattern::parse(&pattern) {
                Ok(_) => topics.push(pattern),
                Err(fault) => self
                    .notes
                    .bad(at, format!("the topic `{}` {fault}", shown(&text))),
            }
        }
        self.notes.translated(at, key);
        topics
    }

    fn state_store(&mut self, at: &At<'_>) {
        for item in self.notes.list(at) {
            let Some(fields) = self.notes.fields(&item, &["keyType", "keys", "method"]) else {
                continue;
            };
            if let Some(at) = fields.get("keyType") {
                self.notes
                    .word(at, &[("Pattern", &[]), ("String", &[]), ("Binary", &[])]);
            }
            if let Some(at) = fields.get("method") {
                self.notes
                    .word(at, &[("Read", &[]), ("Write", &[]), ("ReadWrite", &[])]);
            }
            if let Some(at) = fields.get("keys") {
                self.notes.texts(at);
            }
        }
        self.notes.no_equivalent(at, super::NO_STATE_STORE);
    }
}

/// Attributes of a principal, as many and as long as a configuration may have.
pub(super) fn attributes(notes: &mut Notes<'_>, at: &At<'_>) -> Vec<(String, String)> {
    let pairs = notes.pairs(at);
    if pairs.len() > ATTRIBUTES_MAX {
        notes.bad(
            at,
            format!("there are more than {ATTRIBUTES_MAX} attributes"),
        );
    }
    let is_bad = |(name, value): &&(String, String)| {
        name.is_empty()
            || name.len() > ATTRIBUTE_NAME_BYTES_MAX
            || name.contains(['{', '}'])
            || crate::config::is_secret(name)
            || !is_plain(name)
            || !is_plain(value)
    };
    if let Some((name, _)) = pairs.iter().find(is_bad) {
        let why = format!(
            "the attribute `{}` has a name or a value that is not taken",
            shown(name)
        );
        notes.bad(at, why);
    }
    pairs
}

/// Whether a text may be a name.
pub(super) fn is_plain(text: &str) -> bool {
    text.len() <= NAME_BYTES_MAX && !text.chars().any(char::is_control)
}

fn shown(text: &str) -> String {
    super::yaml::shown_key(text)
}

/// A pattern with its tokens in the usual case.
fn canonical(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        result.push_str(before);
        result.push('{');
        let Some((token, tail)) = after.split_once('}') else {
            rest = after;
            continue;
        };
        let known = ["principal.username", "principal.clientId"];
        let meant = known
            .into_iter()
            .find(|known| known.eq_ignore_ascii_case(token));
        result.push_str(meant.unwrap_or(token));
        result.push('}');
        rest = tail;
    }
    result.push_str(rest);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_have_one_case() {
        for (text, meant) in [
            ("a/{principal.clientid}/b", "a/{principal.clientId}/b"),
            ("{PRINCIPAL.USERNAME}*", "{principal.username}*"),
            (
                "{principal.attributes.Floor}",
                "{principal.attributes.Floor}",
            ),
            ("a{b", "a{b"),
            ("{{", "{{"),
            ("", ""),
        ] {
            assert_eq!(canonical(text), meant);
        }
    }
}
