//! The user file of the cluster broker.

use super::{Import, NewUser, Place};
use crate::config::parse_user_file;

pub(super) fn parse(text: &str) -> Import {
    let mut import = Import::default();
    let (users, faults) = parse_user_file(text);
    for fault in faults {
        import.fault(Place::Line(fault.line), fault.text);
    }
    for user in users {
        let new = NewUser {
            username: user.username.into(),
            hash: user.password.into(),
            attributes: user.attributes,
            enabled: true,
            expires_at: None,
            note: Box::default(),
        };
        import.take(Place::Line(user.line), new);
    }
    import
}
