//! The configuration of mosquitto's dynamic security plug-in: its roles as rules. Its users go another way, see
//! `fieldgate user import`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;

use super::report::{ImportReport, Spot, Verdict};
use super::rules::{ANONYMOUS, RuleText, Whom};
use crate::policy::FilterPattern;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct File {
    clients: Vec<Client>,
    groups: Vec<Group>,
    roles: Vec<Role>,
    default_acl_access: BTreeMap<String, bool>,
    anonymous_group: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Client {
    username: String,
    roles: Vec<RoleRef>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Group {
    groupname: String,
    roles: Vec<RoleRef>,
    clients: Vec<ClientRef>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RoleRef {
    rolename: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ClientRef {
    username: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Role {
    rolename: String,
    acls: Vec<Acl>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Acl {
    acltype: String,
    topic: String,
    allow: bool,
}

/// Rules for the roles of a file, and for what it allows by default.
pub(super) fn translate(
    text: &str,
    path: &Path,
    report: &mut ImportReport,
) -> Result<Vec<RuleText>, serde_json::Error> {
    let content: File = serde_json::from_str(text)?;
    let file = report.add_file(path);
    let spot = Spot { file, line: 1 };
    let members = members(&content);
    let mut rules = defaults(&content.default_acl_access);
    for role in &content.roles {
        let Some(usernames) = members.get(&role.rolename) else {
            let why = "nobody has it".to_owned();
            report.note(
                spot,
                format!("role {}", role.rolename),
                Verdict::NotNeeded { why },
            );
            continue;
        };
        let place = format!("role {} of {}", role.rolename, path.display());
        let whom = Whom::Usernames(usernames.iter().cloned().collect());
        let mut allow = RuleText::new(whom.clone(), place.clone());
        let mut deny = RuleText {
            denies: true,
            ..RuleText::new(whom, place)
        };
        for acl in &role.acls {
            let rule = if acl.allow { &mut allow } else { &mut deny };
            let verdict = add(acl, rule);
            let text = format!(
                "role {}: {} {} {}",
                role.rolename,
                if acl.allow { "allow" } else { "deny" },
                acl.acltype,
                acl.topic
            );
            report.note(spot, text, verdict);
        }
        rules.extend([allow, deny].into_iter().filter(|rule| !rule.is_empty()));
    }
    Ok(rules)
}

/// User names by role, their own and those of their groups.
fn members(content: &File) -> BTreeMap<String, BTreeSet<String>> {
    let mut members: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut add = |role: &RoleRef, username: &str| {
        let usernames = members.entry(role.rolename.clone()).or_default();
        usernames.insert(username.to_owned());
    };
    for client in &content.clients {
        for role in &client.roles {
            add(role, &client.username);
        }
    }
    for group in &content.groups {
        let is_anonymous = content.anonymous_group.as_deref() == Some(&group.groupname);
        for role in &group.roles {
            for client in &group.clients {
                add(role, &client.username);
            }
            if is_anonymous {
                add(role, ANONYMOUS);
            }
        }
    }
    members
}

/// What everybody may do where no role says otherwise. What is received is bounded by what is subscribed to here.
fn defaults(access: &BTreeMap<String, bool>) -> Vec<RuleText> {
    let is_on = |kind: &str| access.get(kind).copied().unwrap_or(false);
    let mut rule = RuleText::new(Whom::Everyone, "defaultACLAccess");
    if is_on("publishClientSend") {
        rule.publish.push("#".to_owned());
    }
    if is_on("subscribe") {
        rule.subscribe.push("#".to_owned());
    }
    if rule.is_empty() {
        Vec::new()
    } else {
        vec![rule]
    }
}

fn add(acl: &Acl, rule: &mut RuleText) -> Verdict {
    let is_send = match acl.acltype.as_str() {
        "publishClientSend" => true,
        "subscribeLiteral" | "subscribePattern" => false,
        "publishClientReceive" => {
            return Verdict::NotNeeded {
                why: "what a client may subscribe to it may receive, and nothing else".to_owned(),
            };
        }
        "unsubscribeLiteral" | "unsubscribePattern" => {
            return Verdict::NotNeeded {
                why: "everybody may unsubscribe".to_owned(),
            };
        }
        _ => {
            return Verdict::NoEquivalent {
                why: "there is no such kind of right".to_owned(),
            };
        }
    };
    let filter = match filter(&acl.topic) {
        Ok(filter) => filter,
        Err(why) => return Verdict::NoEquivalent { why },
    };
    let (list, word) = if is_send {
        (&mut rule.publish, "publish")
    } else {
        (&mut rule.subscribe, "subscribe")
    };
    let into = format!("{word} {filter}");
    if !list.contains(&filter) {
        list.push(filter);
    }
    if rule.denies {
        return Verdict::Differs {
            how: format!("{into} is denied whatever other roles allow; priorities are not kept"),
        };
    }
    Verdict::Translated { into }
}

fn filter(topic: &str) -> Result<String, String> {
    if topic.contains(['{', '}']) {
        return Err("braces stand for parts of the principal here".to_owned());
    }
    let mut levels = Vec::new();
    for level in topic.split('/') {
        levels.push(match level {
            "%u" => "{principal.username}",
            "%c" => "{principal.clientId}",
            level if level.contains("%u") || level.contains("%c") => {
                return Err("%u and %c can only stand for a whole level here".to_owned());
            }
            level => level,
        });
    }
    let filter = levels.join("/");
    FilterPattern::parse(&filter)
        .map(|_| filter)
        .map_err(|fault| format!("the topic {fault}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_become_rules_of_whoever_has_them() {
        let text = r##"{
            "defaultACLAccess": {"publishClientSend": false, "publishClientReceive": true, "subscribe": false},
            "clients": [{"username": "admin", "roles": [{"rolename": "all", "priority": -1}]}],
            "groups": [{"groupname": "g", "roles": [{"rolename": "sensor"}], "clients": [{"username": "s1"}, {"username": "s2"}]}],
            "roles": [
                {"rolename": "all", "acls": [{"acltype": "subscribePattern", "topic": "#", "allow": true}]},
                {"rolename": "sensor", "acls": [
                    {"acltype": "publishClientSend", "topic": "up/%u/#", "allow": true},
                    {"acltype": "publishClientSend", "topic": "up/%u/secret", "allow": false},
                    {"acltype": "publishClientReceive", "topic": "#", "allow": true}]},
                {"rolename": "idle", "acls": []}]
        }"##;
        let mut report = ImportReport::default();
        let rules = translate(text, Path::new("d.json"), &mut report).unwrap();
        assert_eq!(rules.len(), 3);
        assert_eq!(rules[0].whom, Whom::Usernames(vec!["admin".into()]));
        assert_eq!(rules[0].subscribe, ["#"]);
        assert_eq!(
            rules[1].whom,
            Whom::Usernames(vec!["s1".into(), "s2".into()])
        );
        assert_eq!(rules[1].publish, ["up/{principal.username}/#"]);
        assert!(rules[2].denies);
        let counts = report.counts();
        assert_eq!(
            (counts.translated, counts.differs, counts.not_needed),
            (2, 1, 2)
        );
        assert!(translate("{", Path::new("d.json"), &mut report).is_err());
    }
}
