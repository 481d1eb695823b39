//! What can be done with users: one form for the control socket and for commands that have the database to themselves.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::hash::{HashFault, PasswordHash};
use super::{USERS_MAX, table::Entry};
use crate::store::StoreError;

/// Bytes of a user name.
const USERNAME_LEN_MAX: usize = 256;

/// Attributes of one user.
const ATTRIBUTES_MAX: usize = 32;

/// Bytes of the name of an attribute.
const ATTRIBUTE_NAME_LEN_MAX: usize = 64;

/// Bytes of its value.
const ATTRIBUTE_VALUE_LEN_MAX: usize = 256;

/// Bytes of a note.
const NOTE_LEN_MAX: usize = 512;

/// Names that a fault lists; more are only counted.
const LISTED_MAX: usize = 10;

/// Names and values of a user's attributes.
pub type Attributes = BTreeMap<Box<str>, Box<str>>;

/// A user to be made. Passwords are hashed before they come here.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// The name.
    pub username: Box<str>,
    /// The hash of the password, of any kind that is known.
    pub hash: Box<str>,
    /// What rules may ask for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: Attributes,
    /// Whether the user may log in.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// When the user may log in no more, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
    /// For people.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub note: Box<str>,
}

fn yes() -> bool {
    true
}

impl fmt::Debug for NewUser {
    /// Without the hash: this may end in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewUser")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

impl NewUser {
    /// An enabled user with a password.
    #[must_use]
    pub fn new(username: &str, hash: &PasswordHash) -> Self {
        Self {
            username: username.into(),
            hash: hash.as_str().into(),
            attributes: Attributes::new(),
            enabled: true,
            expires_at: None,
            note: Box::default(),
        }
    }

    /// Whether everything is as it has to be.
    pub fn check(&self) -> Result<(), UserFault> {
        let about = |fault| UserFault::Value {
            username: shown(&self.username),
            fault,
        };
        check_username(&self.username).map_err(about)?;
        check_attributes(&self.attributes).map_err(about)?;
        check_note(&self.note).map_err(about)?;
        PasswordHash::parse(&self.hash).map_err(|fault| UserFault::Hash {
            username: shown(&self.username),
            fault,
        })?;
        Ok(())
    }
}

/// Something to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum UserRequest {
    /// Make a user that is not there yet.
    Add {
        /// The user.
        user: NewUser,
    },
    /// Give a user another password.
    Password {
        /// The name.
        username: Box<str>,
        /// The hash of the password.
        hash: RequestHash,
    },
    /// Change what is said about a user.
    Set {
        /// The name.
        username: Box<str>,
        /// Attributes to be set.
        #[serde(default)]
        attributes: Attributes,
        /// Names of attributes to be taken away.
        #[serde(default)]
        without: Vec<Box<str>>,
        /// Another end, or none; absent for no change.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expiry: Option<Expiry>,
        /// Another note; absent for no change.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<Box<str>>,
    },
    /// Let a user log in, or not.
    Enable {
        /// The name.
        username: Box<str>,
        /// Whether the user may log in.
        enabled: bool,
    },
    /// Take a user away.
    Remove {
        /// The name.
        username: Box<str>,
    },
    /// Say what is known about a user.
    Show {
        /// The name.
        username: Box<str>,
    },
    /// Say what is known about all users.
    List {},
    /// Make many users, all or none.
    Import {
        /// The users.
        users: Vec<NewUser>,
        /// Whether users that are there already are replaced.
        replace: bool,
        /// Only say what would be done.
        dry_run: bool,
    },
    /// Give all users away, with the hashes of their passwords.
    Export {},
}

/// A hash that is given to a user.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestHash(pub Box<str>);

impl fmt::Debug for RequestHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RequestHash(..)")
    }
}

/// When a user may log in no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expiry {
    /// Not at any time.
    Never,
    /// At this time, in seconds since 1970.
    At(u64),
}

impl Expiry {
    /// As it is stored.
    #[must_use]
    pub fn at(self) -> Option<u64> {
        match self {
            Self::Never => None,
            Self::At(at) => Some(at),
        }
    }
}

/// What comes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UserReply {
    /// It is done.
    Done,
    /// What is known about a user.
    User(UserReport),
    /// What is known about all users, in the order of their names.
    Users(Vec<UserReport>),
    /// What an import has done, or would do.
    Imported(ImportCounts),
    /// All users, with the hashes of their passwords.
    Exported(Vec<NewUser>),
}

/// Users of an import.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportCounts {
    /// Users that were not there before.
    pub added: u64,
    /// Users that took the place of those with their names.
    pub replaced: u64,
}

/// What is known about a user, without the hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserReport {
    /// The name.
    pub username: Box<str>,
    /// Whether the user may log in.
    pub enabled: bool,
    /// What rules may ask for.
    pub attributes: Attributes,
    /// When the user may log in no more, in seconds since 1970.
    pub expires_at: Option<u64>,
    /// For people.
    pub note: Box<str>,
    /// When the user was made, in seconds since 1970.
    pub created_at: u64,
    /// When the user has last logged in, in seconds since 1970.
    pub last_seen_at: Option<u64>,
    /// Whether the hash of the password is still as it was imported.
    pub has_foreign_hash: bool,
}

impl UserReport {
    pub(super) fn new(entry: &Entry) -> Self {
        let record = entry.current();
        Self {
            username: record.username,
            enabled: record.enabled,
            attributes: record.attributes,
            expires_at: record.expires_at,
            note: record.note,
            created_at: record.created_at,
            last_seen_at: record.last_seen_at,
            has_foreign_hash: entry.hash().is_some_and(|hash| !hash.is_own()),
        }
    }
}

/// Who asks for something to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The name for the audit log: `uid 0`.
    pub name: Box<str>,
    /// Where the request comes from: `control socket`, `command line`.
    pub peer: Box<str>,
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum UserFault {
    /// There is a user with this name.
    #[error("there is a user `{0}` already")]
    Exists(Box<str>),
    /// There are users with these names.
    #[error("{count} of the users are there already: {listed}")]
    SomeExist {
        /// How many.
        count: usize,
        /// The first of them.
        listed: String,
    },
    /// There is no user with this name.
    #[error("there is no user `{0}`")]
    Unknown(Box<str>),
    /// An import names a user twice.
    #[error("the user `{0}` is there twice")]
    Twice(Box<str>),
    /// There would be too many.
    #[error("there would be more than {USERS_MAX} users")]
    TooMany,
    /// A value is not as it has to be.
    #[error("user `{username}`: {fault}")]
    Value {
        /// The name.
        username: Box<str>,
        /// What is wrong.
        fault: ValueFault,
    },
    /// A hash is not as it has to be.
    #[error("user `{username}`: {fault}")]
    Hash {
        /// The name.
        username: Box<str>,
        /// What is wrong.
        fault: HashFault,
    },
    /// The database does not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl UserFault {
    /// What to do about it, if that is not plain.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Exists(_) => Some(
                "`fieldgate user passwd` gives a new password, `fieldgate user set` changes the rest",
            ),
            Self::SomeExist { .. } => Some("`--replace` puts the new ones in their place"),
            Self::Unknown(_) => Some("`fieldgate user list` shows who is there"),
            Self::Hash { .. } => Some("docs/users.md says which hashes are understood"),
            Self::Store(fault) => Some(fault.hint()),
            Self::Twice(_) | Self::TooMany | Self::Value { .. } => None,
        }
    }

    /// That some users are there already.
    pub(super) fn some_exist(names: &[Box<str>]) -> Self {
        let listed: Vec<_> = names
            .iter()
            .take(LISTED_MAX)
            .map(|name| format!("`{name}`"))
            .collect();
        let mut listed = listed.join(", ");
        if names.len() > LISTED_MAX {
            listed.push_str(", …");
        }
        Self::SomeExist {
            count: names.len(),
            listed,
        }
    }
}

/// What is wrong with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueFault {
    /// A name without a character.
    #[error("the name is empty")]
    NameEmpty,
    /// A name that is too long.
    #[error("the name has more than {USERNAME_LEN_MAX} bytes")]
    NameLong,
    /// A name that would move a cursor.
    #[error("the name has a control character")]
    NameControl,
    /// Too many attributes.
    #[error("there are more than {ATTRIBUTES_MAX} attributes")]
    AttributesMany,
    /// The name of an attribute.
    #[error(
        "the name of an attribute has 1 to {ATTRIBUTE_NAME_LEN_MAX} bytes without control characters, `{{`, `}}` and `=`"
    )]
    AttributeName,
    /// The value of an attribute.
    #[error(
        "the value of an attribute has at most {ATTRIBUTE_VALUE_LEN_MAX} bytes without control characters"
    )]
    AttributeValue,
    /// The note.
    #[error("the note has at most {NOTE_LEN_MAX} bytes without control characters")]
    Note,
}

/// Whether a text can be the name of a user.
pub fn check_username(username: &str) -> Result<(), ValueFault> {
    if username.is_empty() {
        return Err(ValueFault::NameEmpty);
    }
    if username.len() > USERNAME_LEN_MAX {
        return Err(ValueFault::NameLong);
    }
    if username.chars().any(char::is_control) {
        return Err(ValueFault::NameControl);
    }
    Ok(())
}

pub(super) fn check_attributes(attributes: &Attributes) -> Result<(), ValueFault> {
    if attributes.len() > ATTRIBUTES_MAX {
        return Err(ValueFault::AttributesMany);
    }
    for (name, value) in attributes {
        let is_bad = |c: char| c.is_control() || matches!(c, '{' | '}' | '=');
        if name.is_empty() || name.len() > ATTRIBUTE_NAME_LEN_MAX || name.contains(is_bad) {
            return Err(ValueFault::AttributeName);
        }
        if value.len() > ATTRIBUTE_VALUE_LEN_MAX || value.contains(char::is_control) {
            return Err(ValueFault::AttributeValue);
        }
    }
    Ok(())
}

pub(super) fn check_note(note: &str) -> Result<(), ValueFault> {
    if note.len() > NOTE_LEN_MAX || note.contains(char::is_control) {
        return Err(ValueFault::Note);
    }
    Ok(())
}

/// A name in a fault, which may be anything.
fn shown(username: &str) -> Box<str> {
    let shown: String = username
        .chars()
        .take(64)
        .flat_map(char::escape_debug)
        .collect();
    shown.into()
}
