//! `fieldgate update`: another image for an appliance, and whether it is good.

mod install;
mod status;

use std::path::PathBuf;
use std::time::Duration;

use fieldgate::appliance::Appliance;
use fieldgate::appliance::rauc::{self, RaucFault, Slots};

use super::folders::RunningArgs;
use super::{Failure, Output, health};

/// Install images on an appliance, and see what is installed
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,

    /// Where the root of the appliance is, for tests
    #[arg(
        long,
        hide = true,
        global = true,
        value_name = "DIR",
        default_value = "/"
    )]
    root: PathBuf,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Install(install::Args),
    Status(status::Args),
    MarkGood(MarkGoodArgs),
}

/// Say that the image that runs now is good, after it has been tried
///
/// An appliance does this by itself at each start. A start that nobody calls good costs the image one of its tries.
#[derive(Debug, clap::Args)]
struct MarkGoodArgs {
    /// Do not try it
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    running: RunningArgs,
}

/// Time that the gateway has for the health gate when a person waits.
const GATE_TIME: Duration = Duration::from_secs(30);

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let appliance = Appliance::new(&args.root);
    if !appliance.is_one() {
        let message = format!("this is no appliance: there is no /{}", Appliance::FILE);
        return Err(Failure::runtime(anyhow::Error::msg(message)).hint(
            "updates of images are for appliances; elsewhere the package manager brings new versions",
        ));
    }
    match args.command {
        Command::Install(args) => install::run(&args, &appliance),
        Command::Status(args) => status::run(&args, &appliance),
        Command::MarkGood(args) => mark_good(args, &appliance),
    }
}

fn mark_good(args: MarkGoodArgs, appliance: &Appliance) -> Result<(), Failure> {
    let slots = Slots::read().map_err(failed)?;
    if !args.force {
        health::gate(args.running, GATE_TIME, Some(&appliance.known_faults()))?;
    }
    rauc::mark_good().map_err(failed)?;
    let name = slots.booted;
    appliance.set_proven(&name).map_err(|error| {
        Failure::runtime(error).hint("run as root; the data partition has to be there")
    })?;
    let mut output = Output::default();
    output.line(format!("Slot {name} is good"));
    output.finish()
}

fn failed(fault: RaucFault) -> Failure {
    let hint = fault.hint();
    Failure::runtime(fault).hint(hint)
}
