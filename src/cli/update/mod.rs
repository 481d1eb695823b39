//! `fieldgate update`: another image for an appliance, and whether it is good.

mod install;
mod status;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use fieldgate::appliance::Appliance;
use fieldgate::appliance::rauc::{self, RaucFault, Slots};
use fieldgate::store;

use super::folders::RunningArgs;
use super::table::printable;
use super::{Failure, Output, backup, health};

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
    /// Remove what was kept for the way back, once the image that runs has proved good
    #[command(hide = true)]
    Settle,
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
        Command::Settle => settle(&Slots::read().map_err(failed)?.booted, &appliance),
    }
}

fn mark_good(args: MarkGoodArgs, appliance: &Appliance) -> Result<(), Failure> {
    let slots = Slots::read().map_err(failed)?;
    if !args.force {
        health::gate(args.running, GATE_TIME, Some(&appliance.known_faults()))?;
    }
    rauc::mark_good().map_err(failed)?;
    let name = slots.booted;
    appliance.set_proven(&name).map_err(not_written)?;
    settle(&name, appliance)?;
    let mut output = Output::default();
    output.line(format!("Slot {name} is good"));
    output.finish()
}

/// An update that has proved good needs no way back: a later fall back to a state of long ago would bring users and passwords
/// back that are gone.
fn settle(booted: &str, appliance: &Appliance) -> Result<(), Failure> {
    if !appliance.is_proven(booted) {
        let message = format!("slot {} has not proved good", printable(booted));
        return Err(Failure::runtime(anyhow::Error::msg(message))
            .hint("try it: fieldgate update mark-good"));
    }
    store::drop_copies(&appliance.home().join("state")).map_err(backup::failed)?;
    appliance.drop_known_faults().map_err(not_written)
}

fn not_written(error: io::Error) -> Failure {
    Failure::runtime(error).hint("run as root; the data partition has to be there")
}

fn failed(fault: RaucFault) -> Failure {
    let hint = fault.hint();
    Failure::runtime(fault).hint(hint)
}
