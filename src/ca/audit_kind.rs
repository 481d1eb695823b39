//! What the authority writes into the audit log, one word each.

/// An authority was made.
pub const MADE: &str = "ca-made";
/// A root or an issuer was made, or has ended.
pub const CHANGED: &str = "ca-changed";
/// An intermediate of another authority was taken.
pub const IMPORTED: &str = "ca-imported";
/// The key of the root was removed or brought back.
pub const ROOT_KEY: &str = "ca-root-key";
/// Keys were sealed.
pub const SEALED: &str = "ca-sealed";
/// A certificate was issued.
pub const ISSUED: &str = "certificate-issued";
/// A certificate was revoked.
pub const REVOKED: &str = "certificate-revoked";
/// A token was made with which a device may enrol.
pub const TOKEN: &str = "enrolment-token";

/// Every one of them.
pub const ALL: [&str; 8] = [
    MADE, CHANGED, IMPORTED, ROOT_KEY, SEALED, ISSUED, REVOKED, TOKEN,
];
