//! Password files of mosquitto: `user:hash`, one in each line.

use super::{Import, NewUser, Place};
use crate::auth::users::request::Attributes;

pub(super) fn parse(text: &str) -> Import {
    let mut import = Import::default();
    for (index, line) in text.lines().enumerate() {
        let place = Place::Line(index + 1);
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((username, hash)) = line.split_once(':') else {
            import.fault(place, "there is no `:` between a user name and a hash");
            continue;
        };
        let hash = hash.trim();
        if !hash.starts_with('$') {
            let text =
                "the password is not hashed; `mosquitto_passwd -U FILE` hashes all of a file";
            import.fault(place, text);
            continue;
        }
        let user = NewUser {
            username: username.trim().into(),
            hash: hash.into(),
            attributes: Attributes::new(),
            enabled: true,
            expires_at: None,
            note: Box::default(),
        };
        import.take(place, user);
    }
    import
}

/// A user name that would be read as something else is left out.
pub(super) fn render(users: &[NewUser]) -> (String, Vec<Box<str>>) {
    let (mut text, mut left_out) = (String::new(), Vec::new());
    for user in users {
        let name = &*user.username;
        if name.contains(':') || name.starts_with('#') || name.trim() != name {
            left_out.push(user.username.clone());
            continue;
        }
        text.push_str(&format!("{name}:{}\n", user.hash));
    }
    (text, left_out)
}
