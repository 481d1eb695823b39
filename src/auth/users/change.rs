//! How users change: first in the database, then in the table.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use tracing::info;

use super::hash::PasswordHash;
use super::request::{check_attributes, check_note};
use super::{
    Actor, Attributes, Expiry, ImportCounts, NewUser, USERS_MAX, UserFault, UserReply, UserReport,
    UserRequest, Users, ValueFault,
};
use crate::clock;
use crate::store::{AuditRecord, StoreError, UserRecord, audit, users};

/// What is written at once.
#[derive(Default)]
struct Change {
    put: Vec<UserRecord>,
    remove: Option<Box<str>>,
    audit: AuditRecord,
}

impl Users {
    /// Does what is asked for, and notes in the audit log who wanted it. Must not be called on a thread that runs tasks.
    pub fn apply(&self, request: &UserRequest, actor: &Actor) -> Result<UserReply, UserFault> {
        match request {
            UserRequest::Show { username } => {
                let entry = self.table().get(username);
                let entry = entry.ok_or_else(|| UserFault::Unknown(username.clone()))?;
                Ok(UserReply::User(UserReport::new(&entry)))
            }
            UserRequest::List {} => {
                let table = self.table();
                let reports = table.iter().map(|entry| UserReport::new(entry));
                Ok(UserReply::Users(reports.collect()))
            }
            UserRequest::Import {
                users,
                replace,
                dry_run,
            } => self.import(users, *replace, *dry_run, actor),
            UserRequest::Export {} => self.export(actor),
            _ => self.change_one(request, actor),
        }
    }

    fn change_one(&self, request: &UserRequest, actor: &Actor) -> Result<UserReply, UserFault> {
        let _changing = self.changing();
        let (kind, username, detail, put) = match request {
            UserRequest::Add { user } => {
                let record = self.added(user)?;
                ("user-added", &user.username, String::new(), Some(record))
            }
            UserRequest::Password { username, hash } => {
                let mut record = self.existing(username)?;
                parse(username, &hash.0)?;
                record.hash = hash.0.clone();
                record.generation = self.next_generation();
                ("user-password", username, String::new(), Some(record))
            }
            UserRequest::Set {
                username,
                attributes,
                without,
                expiry,
                note,
            } => {
                let mut record = self.existing(username)?;
                let said = set(&mut record, attributes, without, *expiry, note.as_deref())?;
                ("user-changed", username, said, Some(record))
            }
            UserRequest::Enable { username, enabled } => {
                let mut record = self.existing(username)?;
                record.enabled = *enabled;
                let kind = if *enabled {
                    "user-enabled"
                } else {
                    "user-disabled"
                };
                (kind, username, String::new(), Some(record))
            }
            UserRequest::Remove { username } => {
                self.existing(username)?;
                ("user-removed", username, String::new(), None)
            }
            // These are no changes of one user.
            UserRequest::Show { .. }
            | UserRequest::List {}
            | UserRequest::Import { .. }
            | UserRequest::Export {} => return Ok(UserReply::Done),
        };
        let change = Change {
            remove: put.is_none().then(|| username.clone()),
            put: put.into_iter().collect(),
            audit: entry(kind, username, detail, actor),
        };
        self.write(change)?;
        Ok(UserReply::Done)
    }

    fn import(
        &self,
        new: &[NewUser],
        replace: bool,
        dry_run: bool,
        actor: &Actor,
    ) -> Result<UserReply, UserFault> {
        let _changing = self.changing();
        let mut names = BTreeSet::new();
        let (mut put, mut existing) = (Vec::new(), Vec::new());
        for user in new {
            user.check()?;
            if !names.insert(&user.username) {
                return Err(UserFault::Twice(user.username.clone()));
            }
            let known = self
                .table()
                .get(&user.username)
                .map(|entry| entry.current());
            existing.extend(known.as_ref().map(|known| known.username.clone()));
            put.push(self.record(user, known));
        }
        if !replace && !existing.is_empty() {
            return Err(UserFault::some_exist(&existing));
        }
        let counts = ImportCounts {
            added: count(put.len() - existing.len()),
            replaced: count(existing.len()),
        };
        if self.len() + put.len() - existing.len() > USERS_MAX {
            return Err(UserFault::TooMany);
        }
        if !dry_run && !put.is_empty() {
            let detail = format!("{} added, {} replaced", counts.added, counts.replaced);
            self.write(Change {
                put,
                remove: None,
                audit: entry("users-imported", "", detail, actor),
            })?;
        }
        Ok(UserReply::Imported(counts))
    }

    fn export(&self, actor: &Actor) -> Result<UserReply, UserFault> {
        let _changing = self.changing();
        let users: Vec<_> = self.table().iter().map(|entry| entry.current()).collect();
        let detail = format!("{} with their hashes", users.len());
        self.write(Change {
            audit: entry("users-exported", "", detail, actor),
            ..Change::default()
        })?;
        let users = users.into_iter().map(|record| NewUser {
            username: record.username,
            hash: record.hash,
            attributes: record.attributes,
            enabled: record.enabled,
            expires_at: record.expires_at,
            note: record.note,
        });
        Ok(UserReply::Exported(users.collect()))
    }

    /// Puts one of our hashes in the place of one that was imported, unless the user has changed meanwhile. The password is
    /// the same, so its generation is, too.
    pub(super) fn replace_hash(
        &self,
        checked: &UserRecord,
        own: &PasswordHash,
    ) -> Result<(), StoreError> {
        let _changing = self.changing();
        let Some(entry) = self.table().get(&checked.username) else {
            return Ok(());
        };
        let mut record = entry.current();
        if record.generation != checked.generation || record.hash != checked.hash {
            return Ok(());
        }
        record.hash = own.as_str().into();
        let stored = record.clone();
        self.jobs
            .run(move |transaction| users::put(transaction, &stored))?;
        self.table().put(record);
        Ok(())
    }

    /// Writes a change, and takes it over when it is written.
    fn write(&self, change: Change) -> Result<(), StoreError> {
        let change = Arc::new(change);
        let rows_max = self.audit_rows_max.load(Ordering::Relaxed);
        let written = Arc::clone(&change);
        self.jobs.run(move |transaction| {
            for record in &written.put {
                users::put(transaction, record)?;
            }
            if let Some(username) = &written.remove {
                users::remove(transaction, username)?;
            }
            audit::append(transaction, std::slice::from_ref(&written.audit), rows_max)
        })?;
        let mut table = self.table();
        for record in &change.put {
            table.put(record.clone());
        }
        if let Some(username) = &change.remove {
            table.remove(username);
        }
        drop(table);
        let AuditRecord {
            kind,
            actor,
            subject,
            detail,
            ..
        } = &change.audit;
        info!(%kind, %actor, user = %subject, %detail, "users have changed");
        self.changed.notify_one();
        Ok(())
    }

    fn added(&self, user: &NewUser) -> Result<UserRecord, UserFault> {
        user.check()?;
        if self.table().get(&user.username).is_some() {
            return Err(UserFault::Exists(user.username.clone()));
        }
        if self.len() >= USERS_MAX {
            return Err(UserFault::TooMany);
        }
        Ok(self.record(user, None))
    }

    /// The record of a new user, in the place of one that is known.
    fn record(&self, user: &NewUser, known: Option<UserRecord>) -> UserRecord {
        let same = known.as_ref().filter(|known| known.hash == user.hash);
        UserRecord {
            username: user.username.clone(),
            hash: user.hash.clone(),
            generation: same.map_or_else(|| self.next_generation(), |known| known.generation),
            attributes: user.attributes.clone(),
            enabled: user.enabled,
            expires_at: user.expires_at,
            note: user.note.clone(),
            created_at: known
                .as_ref()
                .map_or_else(clock::wall_seconds, |known| known.created_at),
            last_seen_at: known.and_then(|known| known.last_seen_at),
        }
    }

    fn existing(&self, username: &str) -> Result<UserRecord, UserFault> {
        let entry = self.table().get(username);
        entry
            .map(|entry| entry.current())
            .ok_or_else(|| UserFault::Unknown(username.into()))
    }

    fn next_generation(&self) -> u64 {
        self.next_generation.fetch_add(1, Ordering::Relaxed)
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Changes what is said about a user; returns it in words.
fn set(
    record: &mut UserRecord,
    attributes: &Attributes,
    without: &[Box<str>],
    expiry: Option<Expiry>,
    note: Option<&str>,
) -> Result<String, UserFault> {
    let mut said = Vec::new();
    for name in without {
        if record.attributes.remove(name).is_some() {
            said.push(format!("without {name}"));
        }
    }
    for (name, value) in attributes {
        record.attributes.insert(name.clone(), value.clone());
        said.push(format!("{name}={value}"));
    }
    if let Some(expiry) = expiry {
        record.expires_at = expiry.at();
        said.push(match expiry {
            Expiry::Never => "without end".to_owned(),
            Expiry::At(at) => format!("until {at}"),
        });
    }
    if let Some(note) = note {
        record.note = note.into();
        said.push("note".to_owned());
    }
    let about = |fault: ValueFault| UserFault::Value {
        username: record.username.clone(),
        fault,
    };
    check_attributes(&record.attributes).map_err(about)?;
    check_note(&record.note).map_err(about)?;
    Ok(said.join(", "))
}

fn parse(username: &str, hash: &str) -> Result<PasswordHash, UserFault> {
    PasswordHash::parse(hash).map_err(|fault| UserFault::Hash {
        username: username.into(),
        fault,
    })
}

fn entry(kind: &str, subject: &str, detail: String, actor: &Actor) -> AuditRecord {
    AuditRecord {
        id: 0,
        at: clock::wall_seconds(),
        kind: kind.into(),
        actor: actor.name.clone(),
        subject: subject.into(),
        port: Box::default(),
        peer: actor.peer.clone(),
        detail: detail.into(),
    }
}

fn count(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
