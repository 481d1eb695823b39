//! The `acl_file` of mosquitto.
//!
//! Lines `topic` before the first `user` are for clients without a user name, those after it for that user, and `pattern`
//! is for all. What such a file does not name is denied; connecting is never restricted by it, and neither is subscribing:
//! messages are sorted out when they are delivered.

use super::report::{ImportReport, Spot, Verdict, shown};
use super::rules::{ANONYMOUS, RuleText, Whom};
use crate::config::MountPoint;
use crate::policy::FilterPattern;

/// What a file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Acl {
    pub(super) rules: Vec<RuleText>,
    /// Whether there are rules for named users.
    pub(super) names_users: bool,
    /// Whether there are rules for clients without a user name.
    pub(super) names_nobody: bool,
}

/// What a line allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Read,
    Write,
    ReadWrite,
    Deny,
}

/// Translates a file. With a mount point the topics of the file begin with it, and those of the result do not.
pub(super) fn translate(
    text: &str,
    file: usize,
    mount_point: Option<&MountPoint>,
    report: &mut ImportReport,
) -> Acl {
    let mut translation = Translation {
        acl: Acl::default(),
        whom: Whom::Usernames(vec![ANONYMOUS.to_owned()]),
        mount_point,
        report,
    };
    for (index, line) in text.lines().enumerate() {
        let spot = Spot {
            file,
            line: index + 1,
        };
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        translation.line(spot, key, value.trim());
    }
    let mut acl = translation.acl;
    acl.rules.retain(|rule| !rule.is_empty());
    acl
}

struct Translation<'a> {
    acl: Acl,
    /// Whom a `topic` is about.
    whom: Whom,
    mount_point: Option<&'a MountPoint>,
    report: &'a mut ImportReport,
}

impl Translation<'_> {
    fn line(&mut self, spot: Spot, key: &str, value: &str) {
        let verdict = match key {
            "user" if value.is_empty() => Verdict::Bad {
                why: "a user has a name".to_owned(),
            },
            "user" => {
                self.whom = Whom::Usernames(vec![value.to_owned()]);
                Verdict::Translated {
                    into: format!("rules of the user name {value}"),
                }
            }
            "topic" | "pattern" => self.topic(spot, key == "pattern", value),
            _ => Verdict::Bad {
                why: "lines begin with user, topic or pattern".to_owned(),
            },
        };
        self.report.note(spot, shown(key, value), verdict);
    }

    fn topic(&mut self, spot: Spot, is_pattern: bool, value: &str) -> Verdict {
        let Some((access, topic)) = access_of(value) else {
            let why = "after the word come read, write, readwrite or deny, and a topic";
            return Verdict::Bad { why: why.into() };
        };
        let mut widened = None;
        let filter = match self.filter(is_pattern, topic) {
            Ok(filter) => filter,
            // Closed rather than open: more is denied than the line says.
            Err(why) if access == Access::Deny => match self.filter(false, &wider(topic)) {
                Ok(filter) => {
                    widened = Some(format!(
                        "{why}; everything of {filter} is denied in its place"
                    ));
                    filter
                }
                Err(_) => {
                    widened = Some(format!("{why}; everything is denied in its place"));
                    "#".to_owned()
                }
            },
            Err(why) => return Verdict::NoEquivalent { why },
        };
        let whom = if is_pattern {
            Whom::Everyone
        } else {
            self.whom.clone()
        };
        let is_nobody = whom == Whom::Usernames(vec![ANONYMOUS.to_owned()]);
        self.acl.names_nobody |= is_nobody;
        self.acl.names_users |= !is_pattern && !is_nobody;
        let rule = self.rule(whom, access == Access::Deny, spot);
        let mut into = Vec::new();
        if access != Access::Read {
            rule.publish.push(filter.clone());
            into.push("publish");
        }
        if access != Access::Write {
            rule.subscribe.push(filter.clone());
            into.push("subscribe");
        }
        let into = into.join(" and ");
        if let Some(how) = widened {
            return Verdict::Differs { how };
        }
        if access == Access::Deny && is_pattern {
            let how = format!(
                "{into} of {filter} are denied to everybody, also where a user has a topic line for it, which would win in mosquitto"
            );
            return Verdict::Differs { how };
        }
        let word = if access == Access::Deny { "deny " } else { "" };
        Verdict::Translated {
            into: format!("{word}{into} {filter}"),
        }
    }

    /// The rule that lines of this kind go into: one for each subject and effect.
    fn rule(&mut self, whom: Whom, denies: bool, spot: Spot) -> &mut RuleText {
        let rules = &mut self.acl.rules;
        let found = rules
            .iter()
            .position(|rule| rule.whom == whom && rule.denies == denies);
        let index = found.unwrap_or_else(|| {
            let place = self.report.place(spot);
            rules.push(RuleText {
                denies,
                ..RuleText::new(whom, place)
            });
            rules.len() - 1
        });
        &mut rules[index]
    }

    /// The topic as a pattern of ours.
    fn filter(&self, is_pattern: bool, topic: &str) -> Result<String, String> {
        if topic.contains(['{', '}']) {
            return Err("braces stand for parts of the principal here".to_owned());
        }
        let topic = match self.mount_point {
            Some(mount_point) => below(mount_point.as_str(), topic).ok_or_else(|| {
                format!("no client of this port reaches it, because the port has the mount point {mount_point}")
            })?,
            None => topic.to_owned(),
        };
        let levels: Vec<&str> = topic
            .split('/')
            .map(|level| match level {
                "%u" if is_pattern => Ok("{principal.username}"),
                "%c" if is_pattern => Ok("{principal.clientId}"),
                level if is_pattern && (level.contains("%u") || level.contains("%c")) => {
                    Err("%u and %c can only stand for a whole level here; have the clients use such topics, \
                         or give each user an attribute for it")
                }
                level => Ok(level),
            })
            .collect::<Result<_, _>>()?;
        let filter = levels.join("/");
        match FilterPattern::parse(&filter) {
            Ok(_) => Ok(filter),
            Err(fault) => Err(format!("the topic {fault}")),
        }
    }
}

fn access_of(value: &str) -> Option<(Access, &str)> {
    let Some((word, topic)) = value.split_once([' ', '\t']) else {
        return (!value.is_empty()).then_some((Access::ReadWrite, value));
    };
    let access = match word {
        "read" => Access::Read,
        "write" => Access::Write,
        "readwrite" => Access::ReadWrite,
        "deny" => Access::Deny,
        _ => return None,
    };
    Some((access, topic.trim_start()))
}

/// What of a topic filter lies below a mount point, as clients of the port see it.
fn below(mount_point: &str, filter: &str) -> Option<String> {
    let mut levels = filter.split('/');
    for expected in mount_point.trim_end_matches('/').split('/') {
        match levels.next()? {
            "#" => return Some("#".to_owned()),
            "+" => {}
            level if level == expected => {}
            _ => return None,
        }
    }
    let rest: Vec<&str> = levels.collect();
    (!rest.is_empty()).then(|| rest.join("/"))
}

/// A filter that has all that a topic line could mean: each level that cannot be written here is any level.
fn wider(topic: &str) -> String {
    let level = |level: &str| match level {
        "+" | "#" => level.to_owned(),
        text if text.contains(['+', '#', '%', '{', '}', '*']) => "+".to_owned(),
        text => text.to_owned(),
    };
    let levels: Vec<_> = topic.split('/').map(level).collect();
    levels.join("/")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn acl(text: &str) -> (Acl, ImportReport) {
        let mut report = ImportReport::default();
        let file = report.add_file(Path::new("acl"));
        (translate(text, file, None, &mut report), report)
    }

    fn rule<'a>(acl: &'a Acl, username: &str) -> &'a RuleText {
        let whom = Whom::Usernames(vec![username.to_owned()]);
        acl.rules.iter().find(|rule| rule.whom == whom).unwrap()
    }

    #[test]
    fn topics_belong_to_whom_they_stand_below() {
        let (acl, report) = acl(
            "# first\ntopic read public/#\n\nuser press-1\ntopic plant/1\ntopic write up/#\r\n\
             topic read down\nuser two words\ntopic readwrite a b\npattern read $SYS/#\n",
        );
        assert_eq!(rule(&acl, ANONYMOUS).subscribe, ["public/#"]);
        assert!(rule(&acl, ANONYMOUS).publish.is_empty());
        assert_eq!(rule(&acl, "press-1").publish, ["plant/1", "up/#"]);
        assert_eq!(rule(&acl, "press-1").subscribe, ["plant/1", "down"]);
        assert_eq!(rule(&acl, "two words").publish, ["a b"]);
        assert_eq!(acl.rules[3].whom, Whom::Everyone);
        assert!(acl.names_users && acl.names_nobody);
        assert_eq!(report.counts().translated, 8);
        assert_eq!(report.remarks().len(), 8);
    }

    #[test]
    fn patterns_fill_whole_levels() {
        let (acl, report) = acl(
            "pattern a/%u/b/%c\npattern write dev-%u/x\npattern deny dev-%c/x\npattern deny x/%u\ntopic %u/literal\n",
        );
        assert_eq!(
            acl.rules[0].publish,
            ["a/{principal.username}/b/{principal.clientId}"]
        );
        assert!(acl.rules[1].denies);
        assert_eq!(acl.rules[1].subscribe, ["+/x", "x/{principal.username}"]);
        assert_eq!(acl.rules[2].publish, ["%u/literal"]);
        let counts = report.counts();
        assert_eq!((counts.no_equivalent, counts.differs), (1, 2));
        let text = report.render();
        assert!(text.contains("acl:3: pattern deny dev-%c/x"), "{text}");
        assert!(
            text.contains("everything of +/x is denied in its place"),
            "{text}"
        );
    }

    #[test]
    fn lines_that_are_none_are_told_with_their_number() {
        let (acl, report) = acl("user\ntopics a\ntopic\ntopic foo bar\ntopic a/#/b\ntopic a/{x}\n");
        assert!(acl.rules.is_empty());
        let counts = report.counts();
        assert_eq!((counts.bad, counts.no_equivalent), (4, 2));
        assert!(report.render().contains("acl:4: topic foo bar"));
    }

    #[test]
    fn topics_lose_the_mount_point() {
        for (filter, expected) in [
            ("site/a/x", Some("x")),
            ("site/+/x/#", Some("x/#")),
            ("#", Some("#")),
            ("site/#", Some("#")),
            ("+/#", Some("#")),
            ("site/a", None),
            ("site/b/x", None),
            ("other/#", None),
        ] {
            assert_eq!(below("site/a/", filter).as_deref(), expected, "{filter}");
        }
    }
}
