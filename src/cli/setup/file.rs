//! The file that a setup writes: one port, with an authentication and an authorization of its own.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use fieldgate::config::{self, Settings, SetupCertificate, SetupPort, SetupTls};

use crate::cli::{Exit, Failure, failure};

/// Name of the file in `conf.d`.
const FILE_NAME: &str = "50-setup.toml";

/// How a file begins that a setup has written.
const HEAD: &str = "# Written by `fieldgate setup`.";

/// Everybody reads it: no secret stands in it, and the gateway runs as a user of its own.
const MODE: u32 = 0o644;

/// Where the file goes.
pub(super) struct Target {
    main: PathBuf,
    path: PathBuf,
    is_there: bool,
    /// What the gateway would run on without the file; none where the configuration is wrong.
    settings: Option<Settings>,
}

/// A file that was tried out and is not in place yet.
pub(super) struct Draft<'a> {
    target: &'a Target,
    text: String,
}

impl Target {
    /// Beside the main file, or the main file itself where there is none.
    pub(super) fn new(main: &Path) -> Result<Self, Failure> {
        let has_main = main.try_exists().map_err(|error| {
            let context = format!("cannot look for `{}`", main.display());
            Failure::runtime(anyhow::Error::new(error).context(context))
        })?;
        let folder = main.parent().unwrap_or(Path::new("")).join("conf.d");
        let beside = folder.join(FILE_NAME);
        let is_ours =
            has_main && fs::read(main).is_ok_and(|text| text.starts_with(HEAD.as_bytes()));
        let is_beside = has_main && !is_ours || beside.exists();
        let path = if is_beside { beside } else { main.to_owned() };
        let is_there = path.exists();
        let loaded = config::load(has_main.then_some(main)).ok();
        Ok(Self {
            main: main.to_owned(),
            path,
            is_there,
            settings: loaded.map(|loaded| loaded.settings),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn is_there(&self) -> bool {
        self.is_there
    }

    /// Writes the text and tries it out together with what is there.
    pub(super) fn draft(&self, port: &SetupPort) -> Result<Draft<'_>, Failure> {
        let text = self.text(port);
        match config::load_with(&self.main, &self.path, &text) {
            Ok(_) => Ok(Draft { target: self, text }),
            Err(report) => Err(
                Failure::rendered(Exit::Config, report.render(failure::paint())).hint(
                    "nothing was changed; take another port, or mend the configuration first",
                ),
            ),
        }
    }

    fn text(&self, port: &SetupPort) -> String {
        let settings = self.settings.as_ref().filter(|_| self.path != self.main);
        let is_taken = |name: &str| {
            settings.is_some_and(|settings| {
                let authentications = settings.authentications.iter();
                let authorizations = settings.authorizations.iter();
                settings
                    .listeners
                    .iter()
                    .any(|listener| listener.name.as_str() == name)
                    || authentications
                        .clone()
                        .any(|known| known.name.as_str() == name)
                    || authorizations
                        .clone()
                        .any(|known| known.name.as_str() == name)
            })
        };
        let free = |name: &str| {
            let numbered = (2..).map(|number| format!("{name}-{number}"));
            let mut names = std::iter::once(name.to_owned()).chain(numbered);
            names.find(|name| !is_taken(name)).unwrap_or_default()
        };
        render(port, &free("setup"), &free("local"))
    }
}

impl Draft<'_> {
    /// Puts the file in place, whole or not at all, and never in the place of another.
    pub(super) fn put_in_place(self) -> Result<(), Failure> {
        let path = &self.target.path;
        let context = || format!("cannot write `{}`", path.display());
        write_new(path, self.text.as_bytes())
            .with_context(context)
            .map_err(|error| Failure::runtime(error).hint("run as root"))
    }
}

fn write_new(path: &Path, text: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new(""));
    fs::create_dir_all(folder)?;
    // Begins with a dot, so that nobody takes it for a part of the configuration.
    let draft = folder.join(format!(".{FILE_NAME}.{}", std::process::id()));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(MODE)
        .open(&draft)
        .and_then(|mut file| {
            file.write_all(text)?;
            file.sync_all()
        })
        // A link fails where there is a file already; a rename would take its place.
        .and_then(|()| fs::hard_link(&draft, path));
    let removed = fs::remove_file(&draft);
    written?;
    removed?;
    fs::File::open(folder)?.sync_all()
}

fn render(port: &SetupPort, listener: &str, name: &str) -> String {
    let mut text = format!(
        "{HEAD} It is yours now: change it as you like, no setup writes it again.\n\
         # `fieldgate check` says whether it is right, `fieldgate reload` takes it over.\n\n\
         [[listener]]\nname = {}\n\n[[listener.port]]\nport = {}\n",
        quote(listener),
        port.port
    );
    if let Some(bind) = &port.bind {
        text.push_str(&format!("bind = {}\n", quote(bind)));
    }
    text.push_str(&format!(
        "authentication = {0}\nauthorization = {0}\n",
        quote(name)
    ));
    match &port.tls {
        Some(SetupTls::Automatic(_)) => text.push_str(
            "# The gateway makes the certificate; clients trust what `fieldgate ca export-root` prints.\n\
             tls = { mode = \"Automatic\" }\n",
        ),
        Some(SetupTls::Files(SetupCertificate { cert, key })) => text.push_str(&format!(
            "tls = {{ mode = \"Manual\", cert = {}, key = {} }}\n",
            quote(&cert.display().to_string()),
            quote(&key.display().to_string())
        )),
        None => {}
    }
    text.push_str(&format!(
        "\n# Users are managed by `fieldgate user`.\n[authentication.{name}]\nmethods = [\"password\"]\n\
         # Client identifiers are the name of the user, or begin with it and a hyphen.\n\
         client_id = \"username-prefix\"\n\n\
         # Each user has the topics below its name.\n\
         [[authorization.{name}.rule]]\nprincipals = {{ everyone = true }}\n\
         connect = [\"{{principal.username}}\", \"{{principal.username}}-*\"]\npublish = [\"{{principal.username}}/#\"]\n\
         subscribe = [\"{{principal.username}}/#\"]\n\n\
         # Who may see and say everything: take away the # and write the names.\n\
         #[[authorization.{name}.rule]]\n#principals = {{ usernames = [\"dashboard\"] }}\n#publish = [\"#\"]\n\
         #subscribe = [\"#\", \"$SYS/#\"]\n"
    ));
    text
}

/// A value in quotes.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(number: u16) -> SetupPort {
        SetupPort {
            port: number,
            bind: None,
            tls: None,
        }
    }

    #[test]
    fn names_of_a_person_are_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("gateway.toml");
        let text = "[[listener]]\nname = \"setup\"\n[[listener.port]]\nport = 1883\nauthentication = \"local\"\n\
                    authorization = \"none\"\n[authentication.local]\nmethods = [\"anonymous\"]\n";
        fs::write(&main, text).unwrap();
        let target = Target::new(&main).ok().unwrap();
        let draft = target.draft(&port(1884)).ok().unwrap();
        assert!(draft.text.contains("name = \"setup-2\""));
        assert!(draft.text.contains("[authentication.local-2]"));
        draft.put_in_place().ok().unwrap();
        let settings = config::load(Some(&main)).unwrap().settings;
        assert_eq!(settings.ports().count(), 2);
        assert_eq!(fs::read_to_string(&main).unwrap(), text);
    }

    #[test]
    fn a_port_that_is_taken_is_refused_before_anything_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("gateway.toml");
        fs::write(&main, config::DEFAULT_TEXT).unwrap();
        let target = Target::new(&main).ok().unwrap();
        assert!(target.draft(&port(1883)).is_err());
        assert!(!folder.path().join("conf.d").exists());
    }

    #[test]
    fn a_file_that_came_in_between_stays() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("gateway.toml");
        let target = Target::new(&main).ok().unwrap();
        let draft = target.draft(&port(1883)).ok().unwrap();
        fs::write(&main, "mine").unwrap();
        assert!(draft.put_in_place().is_err());
        assert_eq!(fs::read_to_string(&main).unwrap(), "mine");
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "the draft is gone");
    }

    #[test]
    fn values_stay_in_their_quotes() {
        assert_eq!(quote("a\"\\\n"), "\"a\\\"\\\\\\u000A\"");
    }
}
