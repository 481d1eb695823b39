//! Exports of a gateway: everything that is known about its users.

use serde::{Deserialize, Serialize};

use super::{Import, NewUser, Place};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exported<T> {
    users: T,
}

/// Only what tells the two kinds of JSON apart.
#[derive(Deserialize)]
struct Probe {
    #[serde(default)]
    users: Option<serde::de::IgnoredAny>,
}

pub(super) fn is_one(text: &str) -> bool {
    serde_json::from_str::<Probe>(text).is_ok_and(|probe| probe.users.is_some())
}

pub(super) fn parse(text: &str) -> Import {
    let mut import = Import::default();
    match serde_json::from_str::<Exported<Vec<NewUser>>>(text) {
        Ok(exported) => {
            for user in exported.users {
                import.take(Place::User(user.username.clone()), user);
            }
        }
        Err(error) => import.fault(
            Place::Line(error.line()),
            "this is not how an export is written",
        ),
    }
    import
}

pub(super) fn render(users: &[NewUser]) -> serde_json::Result<String> {
    let mut text = serde_json::to_string_pretty(&Exported { users })?;
    text.push('\n');
    Ok(text)
}
