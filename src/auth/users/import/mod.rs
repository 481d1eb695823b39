//! Users from the files of other brokers, and from ours.

mod cluster;
mod csv;
mod dynamic_security;
mod exported;
mod mosquitto;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use super::hash::PasswordHash;
use super::request::{Attributes, NewUser, check_username};
use super::{HashFault, Secret};

/// The kinds of files that are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The password file of mosquitto: `user:hash` in each line. Also what [`to_lines`] writes.
    Mosquitto,
    /// The JSON of mosquitto's dynamic security plug-in.
    DynamicSecurity,
    /// The TOML user file of the cluster broker.
    Cluster,
    /// A table with a heading: `username`, and attributes. Passwords are made for its users.
    Csv,
    /// What an export of a gateway has written.
    Exported,
}

/// What a file says.
#[derive(Clone, Debug, Default)]
pub struct Import {
    /// Users with the hashes of their passwords.
    pub users: Vec<NewUser>,
    /// Users that are to get passwords.
    pub without_password: Vec<Unhashed>,
    /// What the file says and users cannot have.
    pub notes: Vec<Remark>,
    /// What is wrong with the file. Nothing of a file with faults is taken.
    pub faults: Vec<Remark>,
}

/// A user that is to get a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unhashed {
    /// The name.
    pub username: Box<str>,
    /// What rules may ask for.
    pub attributes: Attributes,
    /// When the user may log in no more, in seconds since 1970.
    pub expires_at: Option<u64>,
    /// For people.
    pub note: Box<str>,
}

/// Something to be said about a place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// Where.
    pub place: Place,
    /// What; never a secret.
    pub text: String,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The whole of it.
    File,
    /// A line, counted from 1.
    Line(usize),
    /// What is said about a user.
    User(Box<str>),
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::File => write!(f, "{}", self.text),
            Place::Line(line) => write!(f, "line {line}: {}", self.text),
            Place::User(name) => write!(f, "user `{}`: {}", name.escape_debug(), self.text),
        }
    }
}

impl Format {
    /// What a file seems to be, by the end of its name and by what is in it.
    #[must_use]
    pub fn guess(name: &str, text: &str) -> Self {
        let ends = |end: &str| name.to_ascii_lowercase().ends_with(end);
        if ends(".toml") {
            return Self::Cluster;
        }
        if ends(".csv") {
            return Self::Csv;
        }
        if !text.trim_start().starts_with('{') {
            return Self::Mosquitto;
        }
        if exported::is_one(text) {
            Self::Exported
        } else {
            Self::DynamicSecurity
        }
    }

    /// Reads a file. `wall` is the time that durations begin at, in seconds since 1970.
    #[must_use]
    pub fn parse(self, text: &str, wall: u64) -> Import {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut import = match self {
            Self::Mosquitto => mosquitto::parse(text),
            Self::DynamicSecurity => dynamic_security::parse(text),
            Self::Cluster => cluster::parse(text),
            Self::Csv => csv::parse(text, wall),
            Self::Exported => exported::parse(text),
        };
        import.refuse_doubles();
        import
    }
}

impl Import {
    fn fault(&mut self, place: Place, text: impl Into<String>) {
        self.faults.push(Remark {
            place,
            text: text.into(),
        });
    }

    fn note(&mut self, place: Place, text: impl Into<String>) {
        self.notes.push(Remark {
            place,
            text: text.into(),
        });
    }

    /// Takes a user, or says what is wrong with it.
    fn take(&mut self, place: Place, user: NewUser) {
        let fault = match check_username(&user.username) {
            Err(fault) => Some(fault.to_string()),
            Ok(()) => user.check().err().map(|fault| {
                // The place says which user it is.
                let text = fault.to_string();
                text.split_once("`: ")
                    .map_or(text.clone(), |(_, rest)| rest.to_owned())
            }),
        };
        match fault {
            Some(text) => self.fault(place, text),
            None => self.users.push(user),
        }
    }

    fn refuse_doubles(&mut self) {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        let hashed = self.users.iter().map(|user| &*user.username);
        let others = self.without_password.iter().map(|user| &*user.username);
        for name in hashed.chain(others) {
            *counts.entry(name).or_default() += 1;
        }
        let doubles: Vec<Remark> = counts
            .into_iter()
            .filter(|(_, count)| *count > 1)
            .map(|(name, count)| Remark {
                place: Place::User(name.into()),
                text: format!("is there {count} times"),
            })
            .collect();
        self.faults.extend(doubles);
    }
}

/// Gives passwords to users, on as many threads as there are processors. Returns both in the same order.
pub fn with_passwords(users: &[Unhashed]) -> Result<Vec<(NewUser, Secret)>, HashFault> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = users.len().div_ceil(threads).max(1);
    let made: Result<Vec<_>, HashFault> = std::thread::scope(|scope| {
        let workers: Vec<_> = users
            .chunks(share)
            .map(|users| scope.spawn(|| users.iter().map(with_password).collect::<Vec<_>>()))
            .collect();
        let mut made = Vec::new();
        for worker in workers {
            match worker.join() {
                Ok(part) => made.extend(part),
                Err(_) => return Err(HashFault::NoMemory),
            }
        }
        made.into_iter().collect()
    });
    made
}

fn with_password(user: &Unhashed) -> Result<(NewUser, Secret), HashFault> {
    let password = Secret::generate()?;
    let hash = PasswordHash::new(password.expose())?;
    Ok((user.with_hash(&hash), password))
}

impl Unhashed {
    /// The user with the hash of a password.
    #[must_use]
    pub fn with_hash(&self, hash: &PasswordHash) -> NewUser {
        NewUser {
            attributes: self.attributes.clone(),
            expires_at: self.expires_at,
            note: self.note.clone(),
            ..NewUser::new(&self.username, hash)
        }
    }
}

/// The hash of a password that nobody knows, for trying what an import would do.
pub fn stand_in() -> Result<PasswordHash, HashFault> {
    PasswordHash::new(Secret::generate()?.expose())
}

/// A text as a field of a CSV file.
#[must_use]
pub fn csv_field(text: &str) -> Cow<'_, str> {
    csv::field(text)
}

/// Users as a file that can be imported again, and that has everything.
pub fn to_json(users: &[NewUser]) -> serde_json::Result<String> {
    exported::render(users)
}

/// Names and hashes, `user:hash` in each line, as mosquitto has them. The names that this cannot say are returned, too.
#[must_use]
pub fn to_lines(users: &[NewUser]) -> (String, Vec<Box<str>>) {
    mosquitto::render(users)
}
