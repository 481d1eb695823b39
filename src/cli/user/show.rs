//! `fieldgate user show` and `fieldgate user list`.

use fieldgate::auth::users::{UserReply, UserReport, UserRequest, rfc3339};
use fieldgate::clock;

use super::foreign;
use super::session::SessionArgs;
use crate::cli::table::{Table, printable};
use crate::cli::{Failure, Output};

#[derive(Debug, clap::Args)]
pub(super) struct ShowArgs {
    /// Name of the user
    username: String,

    #[command(flatten)]
    session: SessionArgs,

    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    session: SessionArgs,

    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn show(args: &ShowArgs) -> Result<(), Failure> {
    let username = args.username.as_str().into();
    let reply = args
        .session
        .open_existing()?
        .ask(&UserRequest::Show { username })?;
    let UserReply::User(user) = reply else {
        return Err(foreign(reply));
    };
    let mut output = Output::default();
    if args.json {
        output.json(&user)?;
        return output.finish();
    }
    let when = |at: Option<u64>| at.map_or_else(|| "never".to_owned(), rfc3339);
    let mut line = |name: &str, value: &str| {
        output.line(format!("{name:<10} {}", printable(value)).trim_end());
    };
    line("user", &user.username);
    line("state", state(&user));
    for (index, (name, value)) in user.attributes.iter().enumerate() {
        let title = if index == 0 { "attributes" } else { "" };
        line(title, &format!("{name}={value}"));
    }
    line("expires", &when(user.expires_at));
    line("created", &rfc3339(user.created_at));
    line("last seen", &when(user.last_seen_at));
    if user.has_foreign_hash {
        line("hash", "as it was imported; replaced when the user logs in");
    }
    if !user.note.is_empty() {
        line("note", &user.note);
    }
    output.finish()
}

pub(super) fn list(args: &ListArgs) -> Result<(), Failure> {
    let reply = args.session.open_existing()?.ask(&UserRequest::List {})?;
    let UserReply::Users(users) = reply else {
        return Err(foreign(reply));
    };
    let mut output = Output::default();
    if args.json {
        output.json(&users)?;
        return output.finish();
    }
    let mut table = Table::new([
        "USER",
        "STATE",
        "ATTRIBUTES",
        "EXPIRES",
        "LAST SEEN",
        "NOTE",
    ]);
    let when = |at: Option<u64>| at.map_or_else(|| "-".to_owned(), rfc3339);
    for user in users {
        let attributes = user.attributes.iter();
        let attributes: Vec<_> = attributes
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        table.row([
            user.username.to_string(),
            state(&user).to_owned(),
            attributes.join(" "),
            when(user.expires_at),
            when(user.last_seen_at),
            user.note.to_string(),
        ]);
    }
    table.print(&mut output);
    output.finish()
}

fn state(user: &UserReport) -> &'static str {
    let is_over = user
        .expires_at
        .is_some_and(|at| at <= clock::wall_seconds());
    match (user.enabled, is_over) {
        (false, _) => "disabled",
        (true, true) => "expired",
        (true, false) => "enabled",
    }
}
