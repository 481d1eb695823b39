//! `fieldgate user`: the users of the local database, whether the gateway is running or not.

mod exchange;
pub(super) mod password;
pub(super) mod session;
mod show;

use fieldgate::auth::users::{
    Attributes, Expiry, NewUser, PasswordHash, RequestHash, UserReply, UserRequest, parse_expiry,
};
use fieldgate::clock;

use super::failure::say;
use super::{Failure, Output};
use password::{Given, PasswordArgs};
use session::{Session, SessionArgs};

/// Manage the users that log in with a password
///
/// They are in the database of the gateway. With a gateway that is running its control socket is asked, which root and the
/// user of the gateway may do; with one that is stopped the database is changed. A port asks for them where the methods of
/// its `authentication` have `password`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Make a user
    Add(AddArgs),
    /// Give a user another password
    ///
    /// Clients that are connected with the old one are disconnected.
    Passwd(PasswdArgs),
    /// Change the attributes, the end or the note of a user
    Set(SetArgs),
    /// Show what is known about a user
    Show(show::ShowArgs),
    /// List all users
    List(show::ListArgs),
    /// Let a user no longer log in
    ///
    /// Clients that are connected as this user are disconnected. Everything about the user is kept.
    Disable(NameArgs),
    /// Let a user log in again
    Enable(NameArgs),
    /// Take a user away for good
    ///
    /// Clients that are connected as this user are disconnected.
    Remove(NameArgs),
    /// Make users of the file of another broker, or of an export
    ///
    /// All users of the file are taken or none. Hashes of other brokers are taken as they are, and replaced by better ones
    /// when their users log in.
    Import(exchange::ImportArgs),
    /// Write all users into a file, with the hashes of their passwords
    Export(exchange::ExportArgs),
}

#[derive(Debug, clap::Args)]
struct NameArgs {
    /// Name of the user
    username: String,

    #[command(flatten)]
    session: SessionArgs,
}

#[derive(Debug, clap::Args)]
struct AddArgs {
    /// Name of the user
    username: String,

    #[command(flatten)]
    password: PasswordArgs,

    /// Attribute for rules, as NAME=VALUE; may be given several times
    #[arg(long = "attr", value_name = "NAME=VALUE", value_parser = attribute)]
    attributes: Vec<(String, String)>,

    /// When the user may log in no more: a time such as 2027-01-31T18:00:00Z, or a duration such as 30d
    #[arg(long, value_name = "WHEN")]
    expires: Option<String>,

    /// Anything that people should know about the user
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,

    /// Make the user without letting it log in yet
    #[arg(long)]
    disabled: bool,

    #[command(flatten)]
    session: SessionArgs,
}

#[derive(Debug, clap::Args)]
struct PasswdArgs {
    /// Name of the user
    username: String,

    #[command(flatten)]
    password: PasswordArgs,

    #[command(flatten)]
    session: SessionArgs,
}

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
struct SetArgs {
    /// Name of the user
    username: String,

    /// Attribute to set, as NAME=VALUE; may be given several times
    #[arg(long = "attr", value_name = "NAME=VALUE", value_parser = attribute, group = "change")]
    attributes: Vec<(String, String)>,

    /// Attribute to take away; may be given several times
    #[arg(long = "no-attr", value_name = "NAME", group = "change")]
    without: Vec<String>,

    /// When the user may log in no more: a time such as 2027-01-31T18:00:00Z, a duration such as 30d, or `never`
    #[arg(long, value_name = "WHEN", group = "change")]
    expires: Option<String>,

    /// Anything that people should know about the user
    #[arg(long, value_name = "TEXT", group = "change")]
    note: Option<String>,

    #[command(flatten)]
    session: SessionArgs,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.what {
        What::Add(args) => add(args),
        What::Passwd(args) => passwd(args),
        What::Set(args) => set(args),
        What::Show(args) => show::show(args),
        What::List(args) => show::list(args),
        What::Disable(args) => enable(args, false),
        What::Enable(args) => enable(args, true),
        What::Remove(args) => remove(args),
        What::Import(args) => exchange::import(args),
        What::Export(args) => exchange::export(args),
    }
}

fn add(args: &AddArgs) -> Result<(), Failure> {
    let expires_at = expiry(args.expires.as_deref())?.and_then(Expiry::at);
    let mut session = args.session.open()?;
    let given = args.password.get()?;
    let user = NewUser {
        attributes: attributes(&args.attributes),
        enabled: !args.disabled,
        expires_at,
        note: args.note.clone().unwrap_or_default().into(),
        ..NewUser::new(&args.username, &hash(&given)?)
    };
    session.ask(&UserRequest::Add { user })?;
    told(&args.username, "is made", &given)
}

fn passwd(args: &PasswdArgs) -> Result<(), Failure> {
    let mut session = args.session.open()?;
    let given = args.password.get()?;
    let hash = RequestHash(hash(&given)?.as_str().into());
    let username = args.username.as_str().into();
    session.ask(&UserRequest::Password { username, hash })?;
    told(&args.username, "has another password", &given)
}

fn set(args: &SetArgs) -> Result<(), Failure> {
    let request = UserRequest::Set {
        username: args.username.as_str().into(),
        attributes: attributes(&args.attributes),
        without: args
            .without
            .iter()
            .map(|name| name.as_str().into())
            .collect(),
        expiry: expiry(args.expires.as_deref())?,
        note: args.note.as_deref().map(Into::into),
    };
    done(args.session.open()?, &request, &args.username, "is changed")
}

fn enable(args: &NameArgs, enabled: bool) -> Result<(), Failure> {
    let username = args.username.as_str().into();
    let request = UserRequest::Enable { username, enabled };
    let what = if enabled {
        "may log in"
    } else {
        "may not log in"
    };
    done(args.session.open()?, &request, &args.username, what)
}

fn remove(args: &NameArgs) -> Result<(), Failure> {
    let username = args.username.as_str().into();
    let request = UserRequest::Remove { username };
    done(args.session.open()?, &request, &args.username, "is gone")
}

fn done(
    mut session: Session,
    request: &UserRequest,
    username: &str,
    what: &str,
) -> Result<(), Failure> {
    session.ask(request)?;
    let mut output = Output::default();
    output.line(sentence(username, what));
    output.finish()
}

/// Says what was done; a password that was made is all that goes to stdout.
fn told(username: &str, what: &str, given: &Given) -> Result<(), Failure> {
    let mut output = Output::default();
    match given.generated() {
        Some(password) => {
            say(&format!("{}\n", sentence(username, what)));
            return super::output::write_all(&password);
        }
        None => output.line(sentence(username, what)),
    }
    output.finish()
}

fn sentence(username: &str, what: &str) -> String {
    format!("The user `{}` {what}", super::table::printable(username))
}

fn hash(given: &Given) -> Result<PasswordHash, Failure> {
    PasswordHash::new(given.secret().expose()).map_err(Failure::runtime)
}

fn attributes(pairs: &[(String, String)]) -> Attributes {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| (name.as_str().into(), value.as_str().into()))
        .collect()
}

pub(crate) fn attribute(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("an attribute is written as NAME=VALUE".to_owned()),
    }
}

fn expiry(text: Option<&str>) -> Result<Option<Expiry>, Failure> {
    let parse = |text| parse_expiry(text, clock::wall_seconds());
    text.map(parse).transpose().map_err(Failure::runtime)
}

/// What a request of another kind would have been answered with.
fn foreign(_: UserReply) -> Failure {
    Failure::runtime(anyhow::Error::msg(
        "the gateway gave an answer that this version does not understand",
    ))
}
