//! The command line: one file per subcommand. Prints, never decides.

mod audit;
mod authz;
mod backup;
mod boot;
mod ca;
mod check;
mod clients;
mod config;
mod config_file;
mod console;
mod export;
mod factory_reset;
mod failure;
mod folders;
mod generate;
mod health;
mod import;
mod k8s;
mod output;
mod reload;
mod serve;
mod setup;
mod status;
mod store;
mod table;
mod update;
mod user;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

pub(crate) use failure::{Exit, Failure};
pub(crate) use output::Output;

const AFTER_HELP: &str = "\
Examples:
  fieldgate serve                             Serve what /etc/fieldgate/gateway.toml says
  fieldgate serve --state-dir ./var           Serve on loopback with state below ./var
  fieldgate setup                             Make the first user and open a port for it
  fieldgate check --config gateway.toml       Check a file and show which ports it opens
  fieldgate config default                    Print the commented default configuration
  fieldgate status                            Show how the gateway fares that runs as a service
  fieldgate clients --state-dir ./var pump    List the clients of another one that begin with `pump`
  fieldgate backup /media/stick/gw.db         Copy sessions and messages while the gateway runs
  fieldgate user add press-1                  Make a user, whose password is asked for
  fieldgate ca issue pump-7 --attr hall=2     Make a key and a certificate for a client
  fieldgate audit --since 1h                  Show who logged in, who was refused and what was changed
  fieldgate import mosquitto mosquitto.conf   Translate the configuration of another broker
  fieldgate import boot /boot                 Take what was put on the boot partition
  fieldgate import aio listener.yaml          Translate resources of the cluster broker
  fieldgate k8s render --config gateway.toml  Print the resources of a cluster that runs a configuration
  fieldgate authz explain publish plant/1/t   Say whether a client may do that, and which rule says so
  fieldgate health --gate                     Send a message through everything that a client needs
  fieldgate update install image.raucb        Install another image on an appliance
  fieldgate reload                            Load the changed configuration and see what came of it

Exit codes:
   0  fine
   1  failed while running
  64  the command line is wrong
  78  the configuration is wrong; nothing was started";

/// MQTT broker appliance for IoT edge hardware
///
/// Fieldgate serves MQTT 3.1, 3.1.1 and 5.0 over TCP, TLS, WebSocket and Unix sockets. Its ports and bounds come from one
/// file, /etc/fieldgate/gateway.toml; without a file it serves on loopback only.
#[derive(Debug, Parser)]
#[command(
    name = "fieldgate",
    bin_name = "fieldgate",
    version,
    after_help = AFTER_HELP,
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Args),
    Setup(setup::Args),
    Check(check::Args),
    Config(config::Args),
    Status(status::Args),
    Console(console::Args),
    Health(health::Args),
    Clients(clients::Args),
    Authz(authz::Args),
    Reload(reload::Args),
    Update(update::Args),
    FactoryReset(factory_reset::Args),
    Backup(backup::BackupArgs),
    Restore(backup::RestoreArgs),
    Store(store::Args),
    User(user::Args),
    Audit(audit::Args),
    Ca(ca::Args),
    Import(import::Args),
    Export(export::Args),
    K8s(k8s::Args),
    Generate(generate::Args),
}

/// Runs the command that `args` name and returns the exit code of the process.
pub(crate) fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(refused) => return report_refused(&refused),
    };
    let result = match cli.command {
        Command::Serve(args) => serve::run(&args),
        Command::Setup(args) => setup::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Config(args) => config::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Console(args) => console::run(&args),
        Command::Health(args) => health::run(args),
        Command::Clients(args) => clients::run(&args),
        Command::Authz(args) => authz::run(&args),
        Command::Reload(args) => reload::run(&args),
        Command::Update(args) => update::run(args),
        Command::FactoryReset(args) => factory_reset::run(&args),
        Command::Backup(args) => backup::backup(&args),
        Command::Restore(args) => backup::restore(&args),
        Command::Store(args) => store::run(&args),
        Command::User(args) => user::run(&args),
        Command::Audit(args) => audit::run(&args),
        Command::Ca(args) => ca::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Export(args) => export::run(&args),
        Command::K8s(args) => k8s::run(&args),
        Command::Generate(args) => generate::run(&args),
    };
    match result {
        Ok(()) => Exit::Fine.into(),
        Err(failure) => failure.report(),
    }
}

/// Help and version are data and go to stdout; everything else is a fault of the command line.
fn report_refused(refused: &clap::Error) -> ExitCode {
    // A closed pipe must not turn help into a failure, so the result of the print is of no interest.
    let _ = refused.print();
    match refused.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::Fine.into(),
        _ => Exit::Usage.into(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    #[test]
    fn definition_is_consistent() {
        Cli::command().debug_assert();
    }
}
