//! The local users: names, password hashes, attributes.

/// The local users, as they are in the database.
#[derive(Debug, Default)]
pub struct Users {}
