//! `fieldgate store`: whether the database is sound, and what is in it.

use fieldgate::store::{self, CheckReport, Stats};

use super::backup::failed;
use super::folders::StateArgs;
use super::table::bytes;
use super::{Exit, Failure, Output};

/// Check the database of a gateway, or show what is in it
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Read the whole database and say what is wrong with it
    ///
    /// Works while the gateway is running. The exit code is 1 if anything is wrong.
    Check(OneArgs),
    /// Show what the database holds and how much room it takes
    Stats(OneArgs),
}

#[derive(Debug, clap::Args)]
struct OneArgs {
    #[command(flatten)]
    state: StateArgs,

    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.what {
        What::Check(args) => check(args),
        What::Stats(args) => stats(args),
    }
}

fn check(args: &OneArgs) -> Result<(), Failure> {
    let report = store::check(&args.state.folder()).map_err(failed)?;
    let mut output = Output::default();
    if args.json {
        output.json(&report)?;
    } else {
        print_check(&report, &mut output);
    }
    output.finish()?;
    if report.faults.is_empty() {
        return Ok(());
    }
    let failure = Failure::silent(Exit::Runtime);
    Err(failure.hint(
        "restore a backup with `fieldgate restore FILE`, or start the gateway anew, which keeps what can be read",
    ))
}

fn print_check(report: &CheckReport, output: &mut Output) {
    if report.faults.is_empty() {
        output.line(format!("The database is sound: {}", report.rows));
        return;
    }
    output.line(format!(
        "The database is damaged; whole are {}",
        report.rows
    ));
    for fault in &report.faults {
        output.line(format!("  {fault}"));
    }
}

fn stats(args: &OneArgs) -> Result<(), Failure> {
    let stats = store::stats(&args.state.folder()).map_err(failed)?;
    let mut output = Output::default();
    if args.json {
        output.json(&stats)?;
    } else {
        print_stats(&stats, &mut output);
    }
    output.finish()
}

fn print_stats(stats: &Stats, output: &mut Output) {
    let rows = &stats.rows;
    output.line(format!(
        "sessions           {} with {} subscriptions",
        rows.sessions, rows.subscriptions
    ));
    output.line(format!(
        "queued messages    {} ({}), at most {} for one session",
        rows.deliveries,
        bytes(stats.delivery_bytes),
        stats.deliveries_of_one_max
    ));
    output.line(format!(
        "retained messages  {} ({})",
        rows.retained,
        bytes(stats.retained_bytes)
    ));
    output.line(format!(
        "users              {}, {} entries of the audit log",
        rows.users, rows.audit_rows
    ));
    output.line(format!("certificates       {}", rows.certificates));
    output.line(format!(
        "database           {}, of which {} are free for new rows; format {}",
        bytes(stats.database_bytes),
        bytes(stats.unused_bytes),
        stats.format
    ));
    output.line(format!("write-ahead log    {}", bytes(stats.wal_bytes)));
    output.line(format!(
        "volume             {} free",
        bytes(stats.volume_free_bytes)
    ));
}
