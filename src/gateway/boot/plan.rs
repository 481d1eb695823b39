//! What is to become of the files of a card, checked as a whole.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::card::{CardFile, Kind};
use super::{BootImport, Problem, install};
use crate::auth::users::import::{Format, Place, Remark};
use crate::auth::users::{NewUser, PASSWORD_LEN_MIN, PasswordHash, Secret, check_username};
use crate::ca;
use crate::clock;
use crate::config::{self, Paint, Settings, TlsMode};
use crate::net::tls;

/// Passwords that are hashed here, a quarter of a second each.
const PASSWORDS_MAX: usize = 200;

/// The place of the configuration.
pub(super) const CONFIGURATION: &str = "gateway.toml";

const OTHER_NAME: &str = "give the file another name, or take away what is in its place";

/// Longest label of a name.
const LABEL_BYTES_MAX: usize = 63;

/// Everything that is to be done.
#[derive(Default)]
pub(super) struct Plan {
    /// Files with their places below the folder of the configuration.
    pub(super) files: Vec<PlannedFile>,
    pub(super) users: Vec<NewUser>,
    /// Users with passwords as people have written them.
    passwords: Vec<(String, Secret)>,
    /// Chain and key.
    pub(super) authority: Option<(Zeroizing<String>, Zeroizing<String>)>,
    pub(super) host_name: Option<String>,
}

/// A file to be installed.
pub(super) struct PlannedFile {
    pub(super) to: String,
    pub(super) is_secret: bool,
    pub(super) content: Zeroizing<Vec<u8>>,
}

impl Plan {
    /// Hashes the passwords. Each takes its time: nothing of a card that is refused is worth it.
    pub(super) fn hash_passwords(&mut self) -> Result<(), Problem> {
        for (name, password) in std::mem::take(&mut self.passwords) {
            let hash = PasswordHash::new(password.expose());
            let hash = hash.map_err(|wrong| Problem::of("users", wrong.to_string()))?;
            self.users.push(NewUser::new(&name, &hash));
        }
        Ok(())
    }

    /// Where a file is going to be that is not there yet.
    pub(super) fn position(&self, etc: &Path, path: &Path) -> Option<usize> {
        let below = path.strip_prefix(etc).ok()?;
        self.files
            .iter()
            .position(|file| Path::new(&file.to) == below)
    }
}

/// Makes a plan of the files that are new. `all` are those that are known as well, which may belong to them.
pub(super) fn plan(
    import: &BootImport,
    new: &[&CardFile],
    all: &[CardFile],
    problems: &mut Vec<Problem>,
) -> Plan {
    let mut plan = Plan::default();
    for file in new {
        problems.extend(place_fault(import, file));
        let done = match file.kind {
            Kind::Configuration => configuration(import, file, &mut plan, problems),
            Kind::Users => users(file, &mut plan, problems),
            Kind::HostName => host_name(import, file, &mut plan),
            Kind::Chain | Kind::ChainKey => authority(all, &mut plan),
            Kind::Other => {
                let content = match file.text() {
                    // Certificates that went through an editor; what is no text is taken as it is.
                    Ok(text) => Zeroizing::new(text.as_bytes().to_vec()),
                    Err(_) => file.content.clone(),
                };
                plan.files.push(PlannedFile {
                    to: file.name.clone(),
                    is_secret: file.is_secret(),
                    content,
                });
                Ok(())
            }
        };
        if let Err(problem) = done
            && !problems.contains(&problem)
        {
            problems.push(problem);
        }
    }
    let places: Vec<&Path> = plan.files.iter().map(|file| Path::new(&file.to)).collect();
    for place in &places {
        let is_above = |other: &&&Path| *other != place && other.starts_with(place);
        if let Some(other) = places.iter().find(is_above) {
            let text = format!("`{}` needs a folder of this name", other.display());
            problems.push(Problem::of(&place.display().to_string(), text).hint(OTHER_NAME));
        }
    }
    plan
}

/// Why a file cannot be brought to its place.
fn place_fault(import: &BootImport, file: &CardFile) -> Option<Problem> {
    let to = match file.kind {
        Kind::Configuration => CONFIGURATION,
        Kind::Other => &file.name,
        Kind::Users | Kind::Chain | Kind::ChainKey | Kind::HostName => return None,
    };
    let place = import.etc.join(to);
    let above = Path::new(to).ancestors().skip(1);
    let mut above = above.map(|folder| import.etc.join(folder));
    let text = match above.find(|folder| folder.exists() && !folder.is_dir()) {
        Some(blocked) => format!("`{}` is a file and no folder", blocked.display()),
        None if place.is_dir() => format!("`{}` is a folder", place.display()),
        None if install::beside(&place).is_dir() => {
            format!("`{}` is a folder", install::beside(&place).display())
        }
        None => return None,
    };
    Some(Problem::of(&file.name, text).hint(OTHER_NAME))
}

/// As `fieldgate check` judges it, in its place and with what is laid over it there.
fn configuration(
    import: &BootImport,
    file: &CardFile,
    plan: &mut Plan,
    problems: &mut Vec<Problem>,
) -> Result<(), Problem> {
    let text = file.text()?;
    let main = import.main();
    if let Err(report) = config::load_with(&main, &main, &text) {
        let rendered = report.render(Paint::Plain);
        let place = main.display().to_string();
        problems.push(Problem {
            file: file.name.clone(),
            text: rendered.trim_end().replace(&place, &file.name),
            hint: None,
            is_whole: true,
        });
    }
    plan.files.push(PlannedFile {
        to: CONFIGURATION.to_owned(),
        is_secret: file.is_secret(),
        content: Zeroizing::new(text.as_bytes().to_vec()),
    });
    Ok(())
}

fn users(file: &CardFile, plan: &mut Plan, problems: &mut Vec<Problem>) -> Result<(), Problem> {
    let text = file.text()?;
    let lower = file.name.to_ascii_lowercase();
    let name = lower.strip_suffix(".txt").unwrap_or(&lower);
    let format = Format::guess(name, &text);
    if format == Format::Csv {
        let text = "a table has no passwords, and nobody could be told those that are made";
        return Err(Problem::of(&file.name, text)
            .hint("write `name:password` in each line of a file `users`"));
    }
    let (plain, rest) = match format {
        Format::Mosquitto => split_plain(&text),
        _ => (Vec::new(), text),
    };
    let mut parsed = format.parse(&rest, clock::wall_seconds());
    if plain.len() > PASSWORDS_MAX {
        let text = format!("at most {PASSWORDS_MAX} passwords are taken as they are");
        return Err(Problem::of(&file.name, text).hint(
            "hash them with mosquitto_passwd, or import the users with `fieldgate user import`",
        ));
    }
    for (line, name, password) in plain {
        let fault = |text: String| Remark {
            place: Place::Line(line),
            text,
        };
        let is_there = parsed.users.iter().any(|user| *user.username == *name)
            || plan.passwords.iter().any(|(other, _)| *other == name);
        if let Err(wrong) = check_username(&name) {
            parsed.faults.push(fault(wrong.to_string()));
        } else if let Err(wrong) = password.check(false) {
            let text = format!("{wrong}; {PASSWORD_LEN_MIN} are the least");
            parsed.faults.push(fault(text));
        } else if is_there {
            parsed
                .faults
                .push(fault("the user is there twice".to_owned()));
        } else {
            plan.passwords.push((name, password));
        }
    }
    for fault in &parsed.faults {
        problems.push(Problem::of(&file.name, fault.to_string()));
    }
    if parsed.users.is_empty() && plan.passwords.is_empty() && parsed.faults.is_empty() {
        return Err(Problem::of(&file.name, "there is no user in it")
            .hint("write `name:password` in each line"));
    }
    plan.users = parsed.users;
    Ok(())
}

/// Lines `name:password` by themselves, with their numbers; in the rest they are empty.
fn split_plain(text: &str) -> (Vec<(usize, String, Secret)>, Zeroizing<String>) {
    let (mut plain, mut rest) = (
        Vec::new(),
        Zeroizing::new(String::with_capacity(text.len())),
    );
    for (index, line) in text.lines().enumerate() {
        let is_comment = line.trim().is_empty() || line.trim_start().starts_with('#');
        match line.split_once(':') {
            Some((name, password)) if !is_comment && !password.trim_start().starts_with('$') => {
                let secret = Secret::copy(password.trim().as_bytes());
                plain.push((index + 1, name.trim().to_owned(), secret));
            }
            _ => rest.push_str(line),
        }
        rest.push('\n');
    }
    (plain, rest)
}

fn host_name(import: &BootImport, file: &CardFile, plan: &mut Plan) -> Result<(), Problem> {
    let text = file.text()?;
    let name = text.trim();
    let is_inner = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let is_label = !name.is_empty()
        && name.len() <= LABEL_BYTES_MAX
        && name.chars().all(is_inner)
        && !name.starts_with('-')
        && !name.ends_with('-');
    if !is_label {
        return Err(Problem::of(&file.name, "this is no name of a machine")
            .hint("write one line of letters, digits and hyphens, at most 63"));
    }
    if import.host_name_file.is_none() {
        let text = "this machine does not take its name from here";
        return Err(Problem::of(&file.name, text).hint("name it with `hostnamectl hostname`"));
    }
    plan.host_name = Some(name.to_owned());
    Ok(())
}

fn authority(all: &[CardFile], plan: &mut Plan) -> Result<(), Problem> {
    let find = |kind: Kind| all.iter().find(|file| file.kind == kind);
    let (chain, key) = match (find(Kind::Chain), find(Kind::ChainKey)) {
        (Some(chain), Some(key)) => (chain, key),
        (Some(chain), None) => {
            return Err(Problem::of(&chain.name, "the key of the intermediate is missing")
                .hint("put it beside it as `key.pem`; certificates that clients are trusted by have another name"));
        }
        (_, key) => {
            let name = key.map_or("ca/key.pem", |key| key.name.as_str());
            return Err(Problem::of(name, "the certificate of this key is missing")
                .hint("put the intermediate and its issuers beside it as `chain.pem`"));
        }
    };
    let (chain_text, key_text) = (chain.text()?, key.text()?);
    let (chain_name, key_name) = (Path::new(&chain.name), Path::new(&key.name));
    let checked = ca::check_import(
        chain_text.as_bytes(),
        chain_name,
        key_text.as_bytes(),
        key_name,
    );
    if let Err(fault) = checked {
        return Err(Problem::of(&chain.name, fault.to_string()).hint(fault.hint()));
    }
    plan.authority = Some((chain_text, key_text));
    Ok(())
}

/// Looks at the certificates of ports of which a file is new; `staged` gives the place where it lies now.
pub(super) fn check_certificates(
    import: &BootImport,
    settings: &Settings,
    plan: &Plan,
    staged: &dyn Fn(usize) -> PathBuf,
    problems: &mut Vec<Problem>,
) {
    let mut seen = BTreeSet::new();
    let own = std::iter::once(&settings.est.tls);
    for tls in settings
        .ports()
        .filter_map(|port| port.tls.as_ref())
        .chain(own)
    {
        let TlsMode::Manual { cert, key } = &tls.mode else {
            continue;
        };
        let places = [cert, key].map(|path| plan.position(&import.etc, path));
        if places == [None, None] || !seen.insert((cert.clone(), key.clone())) {
            continue;
        }
        let now = |path: &PathBuf, place: Option<usize>| place.map_or_else(|| path.clone(), staged);
        let (cert_now, key_now) = (now(cert, places[0]), now(key, places[1]));
        let Err(fault) = tls::check(&cert_now, &key_now) else {
            continue;
        };
        let mut text = fault.to_string();
        let mut hint = fault.hint();
        for (now, path) in [(&cert_now, cert), (&key_now, key)] {
            let (now, path) = (now.display().to_string(), path.display().to_string());
            text = text.replace(&now, &path);
            hint = hint.map(|hint| hint.replace(&now, &path));
        }
        let file = places
            .iter()
            .flatten()
            .next()
            .and_then(|at| plan.files.get(*at));
        let mut problem = Problem::of(file.map_or("", |file| &file.to), text);
        problem.hint = hint;
        problems.push(problem);
    }
}
