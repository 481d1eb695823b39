//! Who did what: logins, failures, bans, changes of users and rules.

/// Something that an auditor asks about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEvent {}

/// Takes events, writes them to the journal and to the bounded table of the database.
#[derive(Debug, Default)]
pub struct Audit {}
