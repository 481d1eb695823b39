//! `fieldgate setup`: the first user, a port for it, and what to do next.

mod ask;
mod file;
mod next;

use std::path::{Path, PathBuf};

use fieldgate::admin::ReloadOutcome;
use fieldgate::auth::users::{
    Attributes, NewUser, PasswordHash, Secret, UserReply, UserRequest, check_username,
};
use fieldgate::config::{SetupFile, SetupPort, SetupUser};
use fieldgate::gateway::{BootImport, CONFIG_FILE, find_config};
use zeroize::Zeroizing;

use super::config_file::ConfigArgs;
use super::failure::say;
use super::output::write_all;
use super::table::printable;
use super::user::password::{prompt, weak};
use super::user::session::{Session, SessionArgs};
use super::{Exit, Failure, Output};

/// Make the first user, and open a port for it
///
/// A gateway that was just installed has no user and no port beyond this machine. This asks for a user name and a password
/// and whether to open a port to the network, makes the user, writes a file `conf.d/50-setup.toml` beside the
/// configuration, has a running gateway take it over, and says what to do next. What is there already is left as it is, so a
/// second run does no harm. With `--from` nothing is asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// File that says what is to be made, for a setup without questions
    ///
    /// A TOML file with [user] (name, and one of password_file, hash and generate = true) and [port] (port, bind, tls).
    /// No password stands in it.
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    from: Option<PathBuf>,

    #[command(flatten)]
    config: ConfigArgs,

    #[command(flatten)]
    session: SessionArgs,
}

/// What is to be made.
struct Plan {
    user: Option<PlannedUser>,
    port: Option<SetupPort>,
}

struct PlannedUser {
    name: String,
    attributes: Attributes,
    password: Password,
}

/// Where the password of the first user comes from.
enum Password {
    /// It was typed or read from a file.
    Known(Secret),
    /// Its hash was given.
    Hash(PasswordHash),
    /// It is made, and printed once.
    Made,
}

/// Whoever has put files on the boot partition expects that they count.
fn tell_of_boot_partition(main: &Path) {
    let etc = main.parent().unwrap_or(Path::new("/"));
    match BootImport::last_errors(etc) {
        Ok(Some(errors)) => {
            say("note: there are files on the boot partition, and they were not taken\n");
            for line in errors.lines() {
                say(&format!("  {}\n", printable(line)));
            }
        }
        Ok(None) => {}
        Err(error) => say(&format!(
            "note: it is not known whether files on the boot partition were refused: {error}\n"
        )),
    }
}

/// What has come of a setup.
struct Outcome {
    user: Option<String>,
    /// A file that holds the password, for the lines to paste.
    password_file: Option<PathBuf>,
    /// The port that the user comes in by.
    port: Option<SetupPort>,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let main = main_file(args);
    tell_of_boot_partition(&main);
    let mut session = args.session.open()?;
    let users = names(&mut session)?;
    let written = file::Target::new(&main)?;
    let told = args.from.as_deref().map(load).transpose()?;
    let password_file = told
        .as_ref()
        .and_then(|told| told.user.as_ref()?.password_file.clone());
    let plan = match told {
        Some(told) => plan_of(told)?,
        None => ask::plan(&users, &written)?,
    };
    let mut output = Output::default();
    // The file is tried out before anything is made.
    let draft = match &plan.port {
        Some(port) if !written.is_there() => Some(written.draft(port)?),
        Some(_) | None => None,
    };
    let user = match plan.user {
        Some(user) => Some(make_user(&mut session, &users, user, &mut output)?),
        None => None,
    };
    // The lock of a gateway that is stopped is given back before anybody is told to start one.
    drop(session);
    if let Some(draft) = draft {
        draft.put_in_place()?;
        output.line(format!("wrote {}", shown(written.path())));
        reload(args, &mut output)?;
    } else if written.is_there() {
        let path = shown(written.path());
        output.line(format!("{path} is there already and was left as it is"));
    }
    let outcome = Outcome {
        user,
        password_file,
        port: plan.port,
    };
    next::print(&outcome, &main, &mut output);
    output.finish()
}

/// The main configuration file, which may not be there yet.
fn main_file(args: &Args) -> PathBuf {
    let found = find_config(args.config.file());
    let path = found.unwrap_or_else(|| PathBuf::from(CONFIG_FILE));
    std::path::absolute(&path).unwrap_or(path)
}

fn load(path: &Path) -> Result<SetupFile, Failure> {
    SetupFile::load(path).map_err(|fault| {
        let hint = fault.hint();
        match hint {
            Some(hint) => {
                let text = format!("error: {}", printable(&fault.to_string()));
                Failure::rendered(Exit::Config, text).hint(hint)
            }
            None => Failure::runtime(fault),
        }
    })
}

fn plan_of(told: SetupFile) -> Result<Plan, Failure> {
    let user = told.user.map(planned).transpose()?;
    Ok(Plan {
        user,
        port: told.port,
    })
}

fn planned(user: SetupUser) -> Result<PlannedUser, Failure> {
    check_username(&user.name).map_err(Failure::runtime)?;
    let password = match (&user.password_file, &user.hash) {
        (Some(path), _) => Password::Known(read_password(path)?),
        (None, Some(hash)) => {
            let hash = PasswordHash::parse(hash).map_err(Failure::runtime)?;
            Password::Hash(hash)
        }
        (None, None) => Password::Made,
    };
    let attributes = user.attributes.into_iter();
    Ok(PlannedUser {
        name: user.name,
        attributes: attributes
            .map(|(name, value)| (name.into(), value.into()))
            .collect(),
        password,
    })
}

/// The first line of a file.
fn read_password(path: &Path) -> Result<Secret, Failure> {
    let bytes = std::fs::read(path).map(Zeroizing::new).map_err(|error| {
        let context = format!("cannot read the password from `{}`", path.display());
        Failure::runtime(anyhow::Error::new(error).context(context))
    })?;
    let line = bytes
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    let secret = Secret::copy(line.strip_suffix(b"\r").unwrap_or(line));
    secret.check(false).map_err(weak)?;
    Ok(secret)
}

/// Names of the users that are there.
fn names(session: &mut Session) -> Result<Vec<Box<str>>, Failure> {
    match session.ask(&UserRequest::List {})? {
        UserReply::Users(users) => Ok(users.into_iter().map(|user| user.username).collect()),
        UserReply::Done | UserReply::User(_) | UserReply::Imported(_) | UserReply::Exported(_) => {
            Ok(Vec::new())
        }
    }
}

/// Makes the user, unless there is one of this name, and returns the name.
fn make_user(
    session: &mut Session,
    users: &[Box<str>],
    user: PlannedUser,
    output: &mut Output,
) -> Result<String, Failure> {
    let name = user.name;
    if users.iter().any(|known| **known == *name) {
        output.line(format!(
            "the user {} is there already; its password was not changed",
            printable(&name)
        ));
        return Ok(name);
    }
    let (hash, made) = match user.password {
        Password::Hash(hash) => (hash, None),
        Password::Known(secret) => (hashed(&secret)?, None),
        Password::Made => {
            let secret = Secret::generate().map_err(Failure::runtime)?;
            (hashed(&secret)?, Some(secret))
        }
    };
    let user = NewUser {
        attributes: user.attributes,
        note: "made by fieldgate setup".into(),
        ..NewUser::new(&name, &hash)
    };
    session.ask(&UserRequest::Add { user })?;
    output.line(format!("made the user {}", printable(&name)));
    if let Some(secret) = made {
        // Written by itself, so that no copy of it stays in a buffer.
        write_all(format!("password of {}, shown only now: ", printable(&name)).as_bytes())?;
        write_all(secret.expose())?;
        write_all(b"\n")?;
    }
    Ok(name)
}

fn hashed(secret: &Secret) -> Result<PasswordHash, Failure> {
    PasswordHash::new(secret.expose()).map_err(Failure::runtime)
}

/// Has a running gateway take the file over.
fn reload(args: &Args, output: &mut Output) -> Result<(), Failure> {
    let Some(mut client) = args.session.gateway().try_connect()? else {
        output.line("no gateway is running; it takes the file over when it starts");
        return Ok(());
    };
    let report = client.reload().map_err(Failure::runtime)?;
    match report.outcome {
        ReloadOutcome::Applied => output.line("the running gateway has taken it over"),
        ReloadOutcome::Unchanged => output.line(
            "the running gateway sees no change: it may run on another configuration, see `fieldgate status`",
        ),
        ReloadOutcome::Refused => {
            say(&report.faults.unwrap_or_default());
            output.line("the running gateway has refused it; see above");
        }
    }
    Ok(())
}

/// Asks for a password; an empty line is one that is to be made.
fn ask_password() -> Result<Password, Failure> {
    let secret = prompt()?;
    if secret.expose().is_empty() {
        return Ok(Password::Made);
    }
    secret.check(false).map_err(weak)?;
    Ok(Password::Known(secret))
}

fn shown(path: &Path) -> String {
    printable(&path.display().to_string())
}
