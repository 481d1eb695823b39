//! The user file of the cluster broker's user name and password server: a TOML table per user, with a hash and attributes.
//!
//! ```toml
//! [client1]
//! password = "$pbkdf2-sha512$i=100000,l=64$…$…"
//! [client1.attributes]
//! floor = "floor1"
//! ```

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A user of the file. Nothing but the form was checked.
#[derive(Clone, PartialEq, Eq)]
pub struct UserFileEntry {
    /// The line that names the user.
    pub line: usize,
    /// The name.
    pub username: String,
    /// The hash of the password.
    pub password: String,
    /// The attributes.
    pub attributes: BTreeMap<Box<str>, Box<str>>,
}

/// Something that is wrong with the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserFileFault {
    /// The line.
    pub line: usize,
    /// What is wrong; never a value, which may be secret.
    pub text: String,
}

/// Reads a user file: the users that are whole, and what is wrong with the others.
#[must_use]
pub fn parse_user_file(text: &str) -> (Vec<UserFileEntry>, Vec<UserFileFault>) {
    let lines = Lines(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let faults = errors.iter().map(|error| UserFileFault {
            line: lines.of(error.span().map_or(0, |span| span.start)),
            text: error.message().to_owned(),
        });
        return (Vec::new(), faults.collect());
    }
    let (mut users, mut faults) = (Vec::new(), Vec::new());
    for (name, value) in table.get_ref() {
        let line = lines.of(name.span().start);
        match user(line, name.get_ref(), value, &lines) {
            Ok(user) => users.push(user),
            Err(fault) => faults.push(fault),
        }
    }
    users.sort_by_key(|user| user.line);
    faults.sort_by_key(|fault| fault.line);
    (users, faults)
}

fn user(
    line: usize,
    name: &str,
    value: &Spanned<DeValue<'_>>,
    lines: &Lines<'_>,
) -> Result<UserFileEntry, UserFileFault> {
    let fault = |line, text: String| UserFileFault { line, text };
    let DeValue::Table(table) = value.get_ref() else {
        let text = format!("`{name}` is not a table with the `password` of a user");
        return Err(fault(line, text));
    };
    let (mut password, mut attributes) = (None, BTreeMap::new());
    for (key, value) in table {
        let at = lines.of(key.span().start);
        match (&**key.get_ref(), value.get_ref()) {
            ("password", DeValue::String(text)) => password = Some(text.to_string()),
            ("attributes", DeValue::Table(table)) => {
                for (key, value) in table {
                    let DeValue::String(value) = value.get_ref() else {
                        let line = lines.of(key.span().start);
                        let text = format!("the attribute `{}` is not a text", key.get_ref());
                        return Err(fault(line, text));
                    };
                    attributes.insert((&**key.get_ref()).into(), (&**value).into());
                }
            }
            ("password", _) => return Err(fault(at, "`password` is not a text".to_owned())),
            ("attributes", _) => return Err(fault(at, "`attributes` is not a table".to_owned())),
            (key, _) => {
                let text = format!("`{key}` is neither `password` nor `attributes`");
                return Err(fault(at, text));
            }
        }
    }
    let Some(password) = password else {
        return Err(fault(line, format!("`{name}` has no `password`")));
    };
    Ok(UserFileEntry {
        line,
        username: name.to_owned(),
        password,
        attributes,
    })
}

/// Attributes by subject, from a file of the cluster broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttributeFileEntry {
    /// For people.
    pub name: String,
    /// A distinguished name.
    pub subject: String,
    /// The attributes.
    pub attributes: BTreeMap<Box<str>, Box<str>>,
}

/// Reads a file of attributes, a table for each subject:
///
/// ```toml
/// [intermediate]
/// subject = "CN = Contoso Intermediate CA"
/// attributes = { floor = "floor1" }
/// ```
pub fn parse_attribute_file(text: &str) -> Result<Vec<AttributeFileEntry>, UserFileFault> {
    let lines = Lines(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    if let Some(error) = errors.first() {
        return Err(UserFileFault {
            line: lines.of(error.span().map_or(0, |span| span.start)),
            text: error.message().to_owned(),
        });
    }
    let mut entries = Vec::new();
    for (name, value) in table.get_ref() {
        let line = lines.of(name.span().start);
        let fault = || UserFileFault {
            line,
            text: format!(
                "`{}` is no table with `subject` and `attributes`",
                name.get_ref()
            ),
        };
        let DeValue::Table(table) = value.get_ref() else {
            return Err(fault());
        };
        let (mut subject, mut attributes) = (None, BTreeMap::new());
        for (key, value) in table {
            match (&**key.get_ref(), value.get_ref()) {
                ("subject", DeValue::String(text)) => subject = Some(text.to_string()),
                ("attributes", DeValue::Table(table)) => {
                    for (key, value) in table {
                        let DeValue::String(value) = value.get_ref() else {
                            return Err(fault());
                        };
                        attributes.insert((&**key.get_ref()).into(), (&**value).into());
                    }
                }
                _ => return Err(fault()),
            }
        }
        let subject = subject.ok_or_else(fault)?;
        entries.push((
            line,
            AttributeFileEntry {
                name: name.get_ref().to_string(),
                subject,
                attributes,
            },
        ));
    }
    entries.sort_by_key(|(line, _)| *line);
    Ok(entries.into_iter().map(|(_, entry)| entry).collect())
}

/// The lines of a text.
struct Lines<'a>(&'a str);

impl Lines<'_> {
    /// The number of the line that a byte is on.
    fn of(&self, offset: usize) -> usize {
        let before = self.0.bytes().take(offset);
        before.filter(|byte| *byte == b'\n').count() + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_by_subject() {
        let text =
            "[b]\nsubject = \"CN = B\"\n[b.attributes]\nx = \"1\"\n[a]\nsubject = \"CN = A\"\n";
        let entries = parse_attribute_file(text).unwrap();
        let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["b", "a"]);
        assert_eq!(entries[0].subject, "CN = B");
        assert_eq!(entries[0].attributes["x"], "1".into());
        for text in [
            "x",
            "a = 1",
            "[a]",
            "[a]\nsubject = 1",
            "[a]\nsubject=\"\"\n[a.attributes]\nx = 1",
        ] {
            assert!(parse_attribute_file(text).is_err(), "{text}");
        }
    }

    #[test]
    fn users_are_read_with_their_attributes() {
        let text = "\
# as in a secret of the cluster
[client1]
password = \"$pbkdf2-sha512$i=1,l=2$a$b\"
[client1.attributes]
floor = \"floor1\"

[\"client 2\"]
password = \"$x\"
";
        let (users, faults) = parse_user_file(text);
        assert!(faults.is_empty());
        let found: Vec<_> = users
            .iter()
            .map(|user| (user.line, user.username.as_str(), user.password.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                (2, "client1", "$pbkdf2-sha512$i=1,l=2$a$b"),
                (7, "client 2", "$x")
            ]
        );
        assert_eq!(users[0].attributes["floor"], "floor1".into());
        assert!(users[1].attributes.is_empty());
    }

    #[test]
    fn every_fault_is_told_with_its_line_and_without_secrets() {
        let text = "\
top = 1
[a]
pasword = \"secret\"
[b]
[c]
password = \"secret\"
attributes = { floor = 1 }
[d]
password = [\"secret\"]
[e]
password = \"secret\"
attributes = \"secret\"
";
        let (users, faults) = parse_user_file(text);
        assert!(users.is_empty());
        let lines: Vec<_> = faults.iter().map(|fault| fault.line).collect();
        assert_eq!(lines, [1, 3, 4, 7, 9, 12]);
        assert!(faults.iter().all(|fault| !fault.text.contains("secret")));
        let (users, faults) = parse_user_file("[a]\npassword = \"secret\n[b]\npassword = 'x'\n");
        assert!(users.is_empty());
        assert_eq!(faults[0].line, 2);
        assert!(!faults[0].text.contains("secret"));
    }
}
