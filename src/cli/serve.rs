//! `fieldgate serve`: runs the gateway until it is told to stop.

use std::path::PathBuf;

use anyhow::Context;
use fieldgate::gateway;

use super::Failure;
use super::folders::FolderArgs;

/// Start the gateway and serve until SIGTERM or SIGINT
///
/// The configuration is checked whole before anything is started. SIGHUP, `fieldgate reload` and a change of the file
/// load it again; a second SIGTERM or SIGINT ends the process at once.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Configuration file
    ///
    /// Default: /etc/fieldgate/gateway.toml if there is one, else the text of `fieldgate config default`, which serves on
    /// loopback only.
    #[arg(
        long,
        short,
        value_name = "FILE",
        env = "FIELDGATE_CONFIG",
        hide_env_values = true
    )]
    config: Option<PathBuf>,

    #[command(flatten)]
    folders: FolderArgs,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let options = gateway::Options {
        config: args.config.clone(),
        state_dir: args.folders.state_dir(),
        runtime_dir: args.folders.runtime_dir(),
    };
    let runtime = crate::runtime()
        .context("cannot start the runtime")
        .map_err(Failure::runtime)?;
    runtime
        .block_on(gateway::run(options))
        .map_err(Failure::runtime)
}
