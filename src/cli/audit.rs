//! `fieldgate audit`: who did what, who is banned, and how a ban ends.

use std::time::Duration;

use fieldgate::admin::client::{ClientFault, ControlClient};
use fieldgate::admin::{AUDIT_ROWS_MAX, AuditQuery, AuditRow, BanKind, BanReport};
use fieldgate::auth::AuditKind;
use fieldgate::auth::users::rfc3339;
use fieldgate::ca::audit_kind;
use fieldgate::clock;
use fieldgate::config;
use fieldgate::store;

use super::backup::failed;
use super::folders::RunningArgs;
use super::table::{Table, duration, printable};
use super::{Failure, Output};

/// Rows that are shown without `--limit`.
const LIMIT: u32 = 100;

/// Pause between two looks at the log with `--follow`.
const FOLLOW_PAUSE: Duration = Duration::from_secs(1);

const KINDS: &str = "What happened: login-accepted, login-refused, login-unavailable, ban, ban-lifted, takeover-refused, \
     enrolment-accepted, enrolment-refused, right-gone, subscription-removed, user-added, user-password, user-changed, user-enabled, user-disabled, user-removed, \
     users-imported, users-exported, configuration-changed, configuration-refused, trust-changed, ca-made, ca-changed, \
     ca-imported, ca-root-key, ca-sealed, certificate-issued, certificate-revoked, enrolment-token, lost";

/// Show who did what: logins, failures, bans, changes of users and rules
///
/// With a gateway that is running its control socket is asked, which root and the user of the gateway may do, because the log
/// names users; with one that is stopped the database is read. The oldest entries make room for new ones, see
/// `audit_rows_max` in [protection].
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: Option<What>,

    #[command(flatten)]
    log: LogArgs,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// List the addresses and user names that are banned
    Bans(BansArgs),
    /// Lift the ban of an address or a user name
    Unban(UnbanArgs),
}

#[derive(Debug, clap::Args)]
struct LogArgs {
    /// Only what happened in this time, such as 1h or 7d
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Duration>,

    /// Only what is of this kind
    #[arg(long, value_name = "KIND", value_parser = kind, long_help = KINDS)]
    kind: Option<&'static str>,

    /// Only what happened to this user name or address
    #[arg(long, value_name = "SUBJECT")]
    subject: Option<String>,

    /// Only what happened on this port, as `fieldgate status` calls it
    #[arg(long, value_name = "PORT")]
    port: Option<String>,

    /// At most so many entries, the newest
    #[arg(long, value_name = "N", default_value_t = LIMIT, value_parser = clap::value_parser!(u32).range(1..=i64::from(AUDIT_ROWS_MAX)))]
    limit: u32,

    /// Go on with what happens from now on, until Ctrl-C
    #[arg(long, conflicts_with = "json")]
    follow: bool,

    #[command(flatten)]
    running: RunningArgs,

    /// Print the entries as JSON, the newest first
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct BansArgs {
    #[command(flatten)]
    running: RunningArgs,

    /// Print the bans as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct UnbanArgs {
    /// An address, a network of IPv6 such as 2001:db8::/64, or a user name
    #[arg(value_name = "ADDRESS|USER")]
    subject: String,

    #[command(flatten)]
    running: RunningArgs,
}

fn time(text: &str) -> Result<Duration, String> {
    config::parse_duration(text).ok_or_else(|| "it is a time such as 30min, 1h or 7d".to_owned())
}

fn kind(text: &str) -> Result<&'static str, String> {
    let words: Vec<_> = kinds().collect();
    let found = words.iter().find(|word| **word == text);
    found
        .copied()
        .ok_or_else(|| format!("there are {}", words.join(", ")))
}

fn kinds() -> impl Iterator<Item = &'static str> {
    let of_authority = audit_kind::ALL.iter().copied();
    AuditKind::ALL
        .iter()
        .map(|kind| kind.as_str())
        .chain(of_authority)
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.what {
        None => log(&args.log),
        Some(What::Bans(args)) => bans(args),
        Some(What::Unban(args)) => unban(args),
    }
}

fn log(args: &LogArgs) -> Result<(), Failure> {
    let now = clock::wall_seconds();
    let query = AuditQuery {
        kind: args.kind.map(Into::into),
        subject: args.subject.as_deref().map(Into::into),
        port: args.port.as_deref().map(Into::into),
        since: args.since.map(|since| now.saturating_sub(since.as_secs())),
        limit: Some(args.limit),
    };
    if args.follow {
        return follow(args.running.connect()?, query);
    }
    let rows = match args.running.try_connect()? {
        Some(mut client) => client.audit(&query).map_err(Failure::runtime)?,
        None => {
            let records = store::read_audit(&args.running.state_folder(), &query.filter());
            let records = records.map_err(failed)?;
            records.into_iter().map(AuditRow::from).collect()
        }
    };
    let mut output = Output::default();
    if args.json {
        output.json(&rows)?;
    } else {
        print(&rows, &mut output);
    }
    output.finish()
}

/// A table with the newest entry last, next to the prompt.
fn print(rows: &[AuditRow], output: &mut Output) {
    let mut table = Table::new(["TIME", "KIND", "SUBJECT", "ACTOR", "PORT", "PEER", "DETAIL"]);
    for row in rows.iter().rev() {
        let shown = |text: &str| if text.is_empty() { "-" } else { text }.to_owned();
        table.row([
            rfc3339(row.at),
            row.kind.to_string(),
            shown(&row.subject),
            shown(&row.actor),
            shown(&row.port),
            shown(&row.peer),
            shown(&row.detail),
        ]);
    }
    table.print(output);
}

/// One line for each entry, as it comes.
fn follow(mut client: ControlClient, mut query: AuditQuery) -> Result<(), Failure> {
    let mut seen = 0;
    loop {
        let rows = client.audit(&query).map_err(|fault| match fault {
            ClientFault::Broken(_) => {
                Failure::runtime(fault).hint("the gateway may have been stopped")
            }
            _ => Failure::runtime(fault),
        })?;
        let mut output = Output::default();
        for row in rows.iter().rev().filter(|row| row.id > seen) {
            output.line(line(row));
        }
        output.finish()?;
        if let Some(newest) = rows.first() {
            seen = seen.max(newest.id);
            query.since = Some(newest.at);
        }
        query.limit = None;
        std::thread::park_timeout(FOLLOW_PAUSE);
    }
}

fn line(row: &AuditRow) -> String {
    let mut line = format!("{}  {}", rfc3339(row.at), row.kind);
    for (name, value) in [
        ("subject", &row.subject),
        ("actor", &row.actor),
        ("port", &row.port),
        ("peer", &row.peer),
        ("detail", &row.detail),
    ] {
        if !value.is_empty() {
            line.push_str(&format!("  {name}={}", printable(value)));
        }
    }
    line
}

fn bans(args: &BansArgs) -> Result<(), Failure> {
    let bans = args.running.connect()?.bans().map_err(Failure::runtime)?;
    let mut output = Output::default();
    if args.json {
        output.json(&bans)?;
        return output.finish();
    }
    if bans.is_empty() {
        output.line("Nobody is banned");
        return output.finish();
    }
    let mut table = Table::new(["KIND", "BANNED", "ENDS IN", "BANS IN A ROW"]);
    for ban in &bans {
        table.row([
            word(ban).to_owned(),
            ban.subject.clone(),
            duration(ban.remaining_seconds),
            ban.number.to_string(),
        ]);
    }
    table.print(&mut output);
    output.finish()
}

fn unban(args: &UnbanArgs) -> Result<(), Failure> {
    let mut client = args.running.connect()?;
    let lifted = client.unban(&args.subject).map_err(Failure::runtime)?;
    if lifted.is_empty() {
        let message = format!("`{}` is not banned", printable(&args.subject));
        return Err(Failure::runtime(anyhow::Error::msg(message))
            .hint("`fieldgate audit bans` lists who is"));
    }
    let mut output = Output::default();
    for ban in &lifted {
        let subject = printable(&ban.subject);
        output.line(format!("The ban of the {} {subject} is lifted", word(ban)));
    }
    output.finish()
}

fn word(ban: &BanReport) -> &'static str {
    match ban.kind {
        BanKind::Address => "address",
        BanKind::Username => "user name",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_names_every_kind() {
        let words: Vec<_> = KINDS.split([' ', ',']).collect();
        for word in kinds() {
            assert!(words.contains(&word), "{word}");
            assert_eq!(kind(word), Ok(word));
        }
        assert!(kind("nothing").unwrap_err().contains("certificate-revoked"));
    }
}
