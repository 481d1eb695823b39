//! `fieldgate user import` and `fieldgate user export`.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use fieldgate::auth::users::import::{self, Format, Import};
use fieldgate::auth::users::{ImportCounts, NewUser, Secret, UserReply, UserRequest};
use fieldgate::clock;
use zeroize::Zeroizing;

use super::foreign;
use super::session::SessionArgs;
use crate::cli::failure::say;
use crate::cli::{Exit, Failure, Output};

/// Bytes of a file that is imported: more than all users that there may be.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Faults that are printed one by one.
const FAULTS_MAX: usize = 100;

#[derive(Debug, clap::Args)]
pub(super) struct ImportArgs {
    /// File to read
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: PathBuf,

    /// What kind of file it is; seen by its name and its content where absent
    #[arg(long, value_enum)]
    format: Option<FormatArg>,

    /// Put the users of the file in the place of users with the same names
    #[arg(long)]
    replace: bool,

    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,

    /// File for the passwords that are made for the users of a CSV file; it must not be there yet
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    passwords_out: Option<PathBuf>,

    #[command(flatten)]
    session: SessionArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct ExportArgs {
    /// File to write; it must not be there yet, and only its owner may read it
    ///
    /// Without it everything goes to standard output.
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: Option<PathBuf>,

    /// How the file is written
    #[arg(long, value_enum, default_value_t = ExportFormat::Json)]
    format: ExportFormat,

    #[command(flatten)]
    session: SessionArgs,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum FormatArg {
    /// The password file of mosquitto
    Mosquitto,
    /// The JSON file of mosquitto's dynamic security plug-in
    DynamicSecurity,
    /// The TOML user file of the cluster broker
    Cluster,
    /// A table with a heading: username, attributes; passwords are made
    Csv,
    /// An export of a gateway
    Json,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum ExportFormat {
    /// Everything, to be imported again
    Json,
    /// Names and hashes, one user in each line, as mosquitto has them
    Lines,
}

impl From<FormatArg> for Format {
    fn from(format: FormatArg) -> Self {
        match format {
            FormatArg::Mosquitto => Self::Mosquitto,
            FormatArg::DynamicSecurity => Self::DynamicSecurity,
            FormatArg::Cluster => Self::Cluster,
            FormatArg::Csv => Self::Csv,
            FormatArg::Json => Self::Exported,
        }
    }
}

pub(super) fn import(args: &ImportArgs) -> Result<(), Failure> {
    let text = read(&args.file)?;
    let name = args.file.display().to_string();
    let format = args
        .format
        .map_or_else(|| Format::guess(&name, &text), Format::from);
    let parsed = format.parse(&text, clock::wall_seconds());
    if !parsed.faults.is_empty() {
        return Err(faulty(&name, &parsed));
    }
    for note in &parsed.notes {
        say(&format!("note: {name}: {note}\n"));
    }
    let mut session = args.session.open()?;
    let (users, passwords) = with_passwords(args, parsed)?;
    let request = UserRequest::Import {
        users,
        replace: args.replace,
        dry_run: args.dry_run,
    };
    let reply = session.ask(&request).inspect_err(|_| {
        if let Some(file) = args.passwords_out.as_ref().filter(|_| passwords) {
            // Nobody has these passwords.
            let _ = std::fs::remove_file(file);
        }
    })?;
    let UserReply::Imported(counts) = reply else {
        return Err(foreign(reply));
    };
    print(counts, args)
}

fn print(counts: ImportCounts, args: &ImportArgs) -> Result<(), Failure> {
    let mut output = Output::default();
    let would = if args.dry_run {
        "Would import"
    } else {
        "Imported"
    };
    output.line(format!(
        "{would} {} users: {} new, {} in the place of others",
        counts.added + counts.replaced,
        counts.added,
        counts.replaced
    ));
    output.finish()
}

/// Users with hashes. Says whether a file with passwords was written for them.
fn with_passwords(args: &ImportArgs, parsed: Import) -> Result<(Vec<NewUser>, bool), Failure> {
    if parsed.without_password.is_empty() {
        return Ok((parsed.users, false));
    }
    if args.dry_run {
        // Something that passes for a hash; nothing of it is kept.
        let hash = import::stand_in().map_err(Failure::runtime)?;
        let users = parsed.without_password.iter();
        return Ok((users.map(|user| user.with_hash(&hash)).collect(), false));
    }
    let Some(file) = &args.passwords_out else {
        let message =
            "error: the file has no passwords, and there is no file for those that would be made\n";
        return Err(Failure::rendered(Exit::Usage, message)
            .hint("name a new file for them with `--passwords-out FILE`"));
    };
    let mut out = create(file)?;
    let made = import::with_passwords(&parsed.without_password).map_err(Failure::runtime);
    let written = made.and_then(|made| write_passwords(&mut out, &made).map(|()| made));
    match written {
        Ok(made) => Ok((made.into_iter().map(|(user, _)| user).collect(), true)),
        Err(failure) => {
            let _ = std::fs::remove_file(file);
            Err(failure)
        }
    }
}

fn write_passwords(out: &mut File, made: &[(NewUser, Secret)]) -> Result<(), Failure> {
    let mut text = Zeroizing::new(Vec::with_capacity(made.len() * 400 + 64));
    text.extend_from_slice(b"username,password\n");
    for (user, password) in made {
        text.extend_from_slice(import::csv_field(&user.username).as_bytes());
        text.push(b',');
        text.extend_from_slice(password.expose());
        text.push(b'\n');
    }
    let written = out.write_all(&text).and_then(|()| out.sync_all());
    written
        .context("cannot write the passwords")
        .map_err(Failure::runtime)
}

pub(super) fn export(args: &ExportArgs) -> Result<(), Failure> {
    let mut session = args.session.open_existing()?;
    let reply = session.ask(&UserRequest::Export {})?;
    let UserReply::Exported(users) = reply else {
        return Err(foreign(reply));
    };
    let text = match args.format {
        ExportFormat::Json => import::to_json(&users).map_err(Failure::runtime)?,
        ExportFormat::Lines => {
            let (text, left_out) = import::to_lines(&users);
            for name in left_out {
                let name = name.escape_debug();
                say(&format!(
                    "note: the user `{name}` is left out, because the name cannot be written in such a line\n"
                ));
            }
            text
        }
    };
    let Some(path) = &args.file else {
        return crate::cli::output::write_all(text.as_bytes());
    };
    let mut file = create(path)?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .with_context(|| format!("cannot write `{}`", path.display()))
        .map_err(Failure::runtime)?;
    let mut output = Output::default();
    output.line(format!(
        "Exported {} users to `{}`",
        users.len(),
        path.display()
    ));
    output.finish()
}

/// A file that is not there yet, for nobody else to read.
fn create(path: &Path) -> Result<File, Failure> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot make `{}`", path.display()))
        .map_err(Failure::runtime)
}

fn read(path: &Path) -> Result<String, Failure> {
    let read = || {
        let length = std::fs::metadata(path)?.len();
        if length > FILE_BYTES_MAX {
            return Err(std::io::Error::other("the file is too large"));
        }
        std::fs::read_to_string(path)
    };
    read()
        .with_context(|| format!("cannot read `{}`", path.display()))
        .map_err(Failure::runtime)
}

fn faulty(name: &str, parsed: &Import) -> Failure {
    let mut text = String::new();
    for fault in parsed.faults.iter().take(FAULTS_MAX) {
        text.push_str(&format!("error: {name}: {fault}\n"));
    }
    if parsed.faults.len() > FAULTS_MAX {
        let more = parsed.faults.len() - FAULTS_MAX;
        text.push_str(&format!("error: {name}: and {more} more\n"));
    }
    Failure::rendered(Exit::Runtime, text)
        .hint("nothing was imported; all users of a file are taken or none")
}
