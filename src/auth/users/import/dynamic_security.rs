//! The file of mosquitto's dynamic security plug-in. Clients become users; what their roles allow has to be written as
//! rules.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Import, NewUser, Place};
use crate::auth::users::request::Attributes;

/// What is read of the file. What is not named here has nothing to do with users.
#[derive(Deserialize)]
struct File {
    clients: Vec<Client>,
    #[serde(default)]
    groups: Vec<Group>,
    #[serde(default)]
    roles: Vec<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Client {
    username: String,
    #[serde(default)]
    textname: String,
    #[serde(default)]
    textdescription: String,
    #[serde(default)]
    clientid: String,
    #[serde(default)]
    disabled: bool,
    #[serde(default)]
    roles: Vec<RoleOf>,
    /// From 2.1 on.
    encoded_password: Option<String>,
    password: Option<String>,
    salt: Option<String>,
    iterations: Option<u32>,
}

#[derive(Deserialize)]
struct RoleOf {
    rolename: String,
    #[serde(default = "no_priority")]
    priority: i64,
}

fn no_priority() -> i64 {
    -1
}

#[derive(Deserialize)]
struct Group {
    groupname: String,
    #[serde(default)]
    clients: Vec<Member>,
    #[serde(default)]
    roles: Vec<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Member {
    username: String,
    #[serde(default = "no_priority")]
    priority: i64,
}

/// Names with their priorities.
type Ranked = Vec<(i64, String)>;

pub(super) fn parse(text: &str) -> Import {
    let mut import = Import::default();
    let file: File = match serde_json::from_str(text) {
        Ok(file) => file,
        Err(error) => {
            let text = "this is not how dynamic security writes its file";
            import.fault(Place::Line(error.line()), text);
            return import;
        }
    };
    let mut groups: BTreeMap<&str, Ranked> = BTreeMap::new();
    for group in &file.groups {
        for member in &group.clients {
            let of_member = groups.entry(&member.username).or_default();
            of_member.push((member.priority, group.groupname.clone()));
        }
    }
    for client in &file.clients {
        let groups = groups.remove(client.username.as_str()).unwrap_or_default();
        take(&mut import, client, groups);
    }
    for name in groups.into_keys() {
        import.note(
            Place::User(name.into()),
            "is in a group and not among the clients; left out",
        );
    }
    let group_roles = file.groups.iter().filter(|group| !group.roles.is_empty());
    let (roles, group_roles) = (file.roles.len(), group_roles.count());
    if roles > 0 {
        let text = format!(
            "{roles} roles say what clients may do; write them as rules of `[authorization.NAME]` for the attribute `role`"
        );
        import.note(Place::File, text);
    }
    if group_roles > 0 {
        let text = format!(
            "{group_roles} groups have roles; write these as rules for the attribute `group`"
        );
        import.note(Place::File, text);
    }
    import
}

fn take(import: &mut Import, client: &Client, groups: Ranked) {
    let place = || Place::User(client.username.as_str().into());
    let hash = match hash(client) {
        Ok(Some(hash)) => hash,
        Ok(None) => {
            return import.note(place(), "has no password, so nobody could log in; left out");
        }
        Err(text) => return import.fault(place(), text),
    };
    if !client.clientid.is_empty() {
        let text = format!(
            "may use only the client identifier `{}`; say that with `client_id` of the method chain or with rules",
            client.clientid.escape_debug()
        );
        import.note(place(), text);
    }
    let mut attributes = Attributes::new();
    let roles = client.roles.iter();
    let roles = roles.map(|role| (role.priority, role.rolename.clone()));
    for (name, ranked) in [("role", roles.collect()), ("group", groups)] {
        if add_ranked(&mut attributes, name, ranked) {
            let text = format!(
                "has several of `{name}`; the first is the attribute `{name}`, the others are `{name}-2` and so on"
            );
            import.note(place(), text);
        }
    }
    let notes = [&*client.textname, &*client.textdescription];
    let notes: Vec<&str> = notes.into_iter().filter(|text| !text.is_empty()).collect();
    let user = NewUser {
        username: client.username.as_str().into(),
        hash: hash.into(),
        attributes,
        enabled: !client.disabled,
        expires_at: None,
        note: notes.join(": ").into(),
    };
    import.take(place(), user);
}

/// The hash in the form of the password file, if there is one.
fn hash(client: &Client) -> Result<Option<String>, &'static str> {
    if let Some(encoded) = &client.encoded_password {
        return Ok(Some(encoded.clone()));
    }
    match (&client.password, &client.salt, client.iterations) {
        (None, None, _) => Ok(None),
        (Some(password), Some(salt), Some(iterations)) => {
            Ok(Some(format!("$7${iterations}${salt}${password}")))
        }
        _ => Err("`password`, `salt` and `iterations` are not all there"),
    }
}

/// Makes attributes of names, those with the highest priority first. Says whether there are several.
fn add_ranked(attributes: &mut Attributes, name: &str, mut ranked: Ranked) -> bool {
    ranked.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    for (index, (_, value)) in ranked.iter().enumerate() {
        let name = match index {
            0 => name.to_owned(),
            _ => format!("{name}-{}", index + 1),
        };
        attributes.insert(name.into(), value.as_str().into());
    }
    ranked.len() > 1
}
