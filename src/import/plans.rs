//! Authentications and authorizations as text, each written once and shared by the ports that have the same.

use super::plugin::Keys;
use super::rules::RuleText;
use super::text::{list, quote};

/// Plans under names.
#[derive(Debug)]
pub(super) struct Named<T>(Vec<(String, T)>);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: PartialEq> Named<T> {
    /// The name of a plan: that of an equal one, or a new one that begins with `label`.
    pub(super) fn name(&mut self, plan: T, label: &str) -> String {
        if let Some((name, _)) = self.0.iter().find(|(_, known)| *known == plan) {
            return name.clone();
        }
        let is_taken = |name: &str| self.0.iter().any(|(known, _)| known == name);
        let mut name = label.to_owned();
        let mut number = 1;
        while is_taken(&name) {
            number += 1;
            name = format!("{label}-{number}");
        }
        self.0.push((name.clone(), plan));
        name
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &T)> {
        self.0.iter().map(|(name, plan)| (name.as_str(), plan))
    }
}

/// `[authentication.NAME]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct AuthenticationPlan {
    pub(super) methods: Vec<&'static str>,
    pub(super) client_id_is_username: bool,
    /// Whether a user that the database does not have is asked of the next method.
    pub(super) unknown_user_goes_on: bool,
    pub(super) http: Option<Keys>,
    pub(super) x509: Option<X509Plan>,
    pub(super) anonymous_username: Option<String>,
}

/// `[authentication.NAME.x509]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct X509Plan {
    pub(super) trust: Vec<String>,
    pub(super) crls: Vec<String>,
    pub(super) identity: &'static str,
}

/// `[authorization.NAME]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct AuthorizationPlan {
    pub(super) rules: Vec<RuleText>,
    /// Whether subscriptions are granted that are wider than the rights, as mosquitto does.
    pub(super) is_narrow: bool,
    pub(super) http: Option<Keys>,
    /// Whether there are rules for users by name.
    pub(super) names_users: bool,
}

impl AuthenticationPlan {
    pub(super) fn render(&self, name: &str) -> String {
        let mut text = format!(
            "[authentication.{name}]\nmethods = {}\n",
            list(self.methods.iter().copied())
        );
        if self.client_id_is_username {
            text.push_str("client_id = \"username\"\n");
        }
        text.push('\n');
        if self.unknown_user_goes_on {
            text.push_str(&format!(
                "[authentication.{name}.password]\nunknown_user = \"next-method\"\n\n"
            ));
        }
        if let Some(x509) = &self.x509 {
            text.push_str(&format!(
                "[authentication.{name}.x509]\ntrust = {}\n",
                list(x509.trust.iter().map(String::as_str))
            ));
            if !x509.crls.is_empty() {
                let crls = list(x509.crls.iter().map(String::as_str));
                text.push_str(&format!("crls = {crls}\n"));
            }
            text.push_str(&format!("identity = {}\n\n", quote(x509.identity)));
        }
        if let Some(keys) = &self.http {
            text.push_str(&table(&format!("[authentication.{name}.http]"), keys));
        }
        if let Some(username) = &self.anonymous_username {
            text.push_str(&format!(
                "[authentication.{name}.anonymous]\nusername = {}\n\n",
                quote(username)
            ));
        }
        text
    }
}

impl AuthorizationPlan {
    pub(super) fn render(&self, name: &str) -> String {
        let mut text = format!("[authorization.{name}]\n");
        if self.is_narrow {
            text.push_str(
                "# As in mosquitto: a subscription is granted, and what the client may not read is not delivered.\n\
                 wide_subscription = \"narrow\"\n",
            );
        }
        text.push('\n');
        if let Some(keys) = &self.http {
            text.push_str(&table(&format!("[authorization.{name}.http]"), keys));
        }
        for rule in &self.rules {
            text.push_str(&rule.render(name));
            text.push('\n');
        }
        text
    }
}

fn table(header: &str, keys: &Keys) -> String {
    let mut text = format!("{header}\n");
    for (key, value) in keys {
        text.push_str(&format!("{key} = {value}\n"));
    }
    text.push('\n');
    text
}
