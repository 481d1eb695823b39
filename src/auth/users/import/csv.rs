//! Tables of users: a heading with `username` and the names of attributes, then one user in each line.

use std::borrow::Cow;

use csv::{ReaderBuilder, StringRecord, Trim};

use super::{Import, Place, Unhashed};
use crate::auth::users::parse_expiry;
use crate::auth::users::request::{Attributes, check_attributes, check_note, check_username};

pub(super) fn parse(text: &str, wall: u64) -> Import {
    let mut import = Import::default();
    let mut reader = ReaderBuilder::new()
        .trim(Trim::All)
        .delimiter(delimiter(text))
        .from_reader(text.as_bytes());
    let heading = match reader.headers() {
        Ok(heading) => heading.clone(),
        Err(_) => {
            import.fault(Place::Line(1), "the heading cannot be read");
            return import;
        }
    };
    if let Err(text) = check_heading(&heading) {
        import.fault(Place::Line(1), text);
        return import;
    }
    for record in reader.records() {
        match record {
            Ok(record) => {
                let line = record.position().map_or(0, |position| position.line());
                let place = Place::Line(usize::try_from(line).unwrap_or(0));
                match user(&heading, &record, wall) {
                    Ok(user) => import.without_password.push(user),
                    Err(text) => import.fault(place, text),
                }
            }
            Err(error) => {
                let line = error.position().map_or(0, |position| position.line());
                let place = Place::Line(usize::try_from(line).unwrap_or(0));
                import.fault(
                    place,
                    "the line has another number of fields than the heading",
                );
            }
        }
    }
    import
}

/// What stands behind the first field of the heading: spreadsheets of some countries put a semicolon there.
fn delimiter(text: &str) -> u8 {
    let heading = text.lines().next().unwrap_or_default();
    if heading.contains(';') && !heading.contains(',') {
        b';'
    } else {
        b','
    }
}

/// A text as a field, in quotation marks where it has to be.
pub(super) fn field(text: &str) -> Cow<'_, str> {
    if text.contains([',', ';', '"']) || text.trim() != text {
        Cow::Owned(format!("\"{}\"", text.replace('"', "\"\"")))
    } else {
        Cow::Borrowed(text)
    }
}

fn check_heading(heading: &StringRecord) -> Result<(), String> {
    if heading.get(0) != Some("username") {
        return Err("the first field of the heading is not `username`".to_owned());
    }
    for (index, name) in heading.iter().enumerate() {
        if name.is_empty() {
            return Err(format!("field {} of the heading is empty", index + 1));
        }
        if name == "password" {
            return Err(
                "there is a field `password`; passwords are made here, and no file needs to have them"
                    .to_owned(),
            );
        }
        if heading.iter().take(index).any(|other| other == name) {
            return Err(format!("`{name}` is twice in the heading"));
        }
    }
    Ok(())
}

fn user(heading: &StringRecord, record: &StringRecord, wall: u64) -> Result<Unhashed, String> {
    let mut user = Unhashed {
        username: Box::default(),
        attributes: Attributes::new(),
        expires_at: None,
        note: Box::default(),
    };
    for (name, value) in heading.iter().zip(record) {
        match name {
            "username" => user.username = value.into(),
            _ if value.is_empty() => {}
            "note" => user.note = value.into(),
            "expires" => {
                let expiry = parse_expiry(value, wall).map_err(|fault| fault.to_string())?;
                user.expires_at = expiry.at();
            }
            name => {
                user.attributes.insert(name.into(), value.into());
            }
        }
    }
    check_username(&user.username)
        .and_then(|()| check_attributes(&user.attributes))
        .and_then(|()| check_note(&user.note))
        .map_err(|fault| fault.to_string())?;
    Ok(user)
}
