//! `fieldgate reload`: loads the configuration again and says what came of it.

use fieldgate::admin::{ReloadOutcome, ReloadReport};

use super::folders::RunningArgs;
use super::{Exit, Failure, Output};

/// Load the configuration of a running gateway again and wait for the result
///
/// The files are checked whole first. A bad file changes nothing; its faults are printed as `fieldgate check` prints them,
/// and the exit code is 78.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    running: RunningArgs,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let report = args.running.connect()?.reload().map_err(Failure::runtime)?;
    let mut output = Output::default();
    if args.json {
        output.json(&report)?;
    } else {
        print(&report, &mut output);
    }
    output.finish()?;
    match report.outcome {
        ReloadOutcome::Applied | ReloadOutcome::Unchanged => Ok(()),
        ReloadOutcome::Refused => {
            let faults = report.faults.unwrap_or_default();
            Err(Failure::rendered(Exit::Config, faults)
                .hint("the old configuration stays in force"))
        }
    }
}

fn print(report: &ReloadReport, output: &mut Output) {
    match report.outcome {
        ReloadOutcome::Applied => output.line("The configuration is in force"),
        ReloadOutcome::Unchanged => output.line("The configuration says what it said before"),
        ReloadOutcome::Refused => return,
    }
    for change in &report.changes {
        output.line(format!("  {change}"));
    }
    for warning in &report.warnings {
        output.line(format!("  warning: {warning}"));
    }
}
