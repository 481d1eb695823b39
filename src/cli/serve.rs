//! `fieldgate serve`: runs the gateway until it is told to stop.

use anyhow::Context;
use clap::ValueEnum;
use fieldgate::config::LogFormat;
use fieldgate::gateway::{self, Configuration, LockFault};
use fieldgate::logging::Log;
use fieldgate::net::PassedSockets;

use super::config_file::ConfigArgs;
use super::folders::FolderArgs;
use super::{Exit, Failure, failure};

/// Start the gateway and serve until SIGTERM or SIGINT
///
/// The configuration is checked whole before anything is started. SIGHUP, `fieldgate reload` and a change of the files
/// load it again; a second SIGTERM or SIGINT ends the process at once.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,

    #[command(flatten)]
    folders: FolderArgs,

    /// Form of the log, in place of the one in the configuration
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<Format>,
}

/// Form of the log.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// Fields of the journal under systemd, lines of text elsewhere
    Auto,
    /// Lines of text
    Text,
    /// One JSON object per line
    Json,
    /// Fields of the journal
    Journald,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let configuration = Configuration::load(args.config.file(), &args.folders.state_dir())
        .map_err(|report| Failure::rendered(Exit::Config, report.render(failure::paint())))?;
    let log = Log::init(
        &configuration.settings().log,
        args.log_format.map(LogFormat::from),
    )
    .map_err(Failure::runtime)?;
    let passed = PassedSockets::from_environment();
    let options = gateway::Options {
        state_dir: args.folders.state_dir(),
        runtime_dir: args.folders.runtime_dir(),
    };
    let runtime = crate::runtime()
        .context("cannot start the runtime")
        .map_err(Failure::runtime)?;
    let outcome = runtime.block_on(gateway::run(options, configuration, log, passed));
    // A thread that hangs, say in a file system, must not keep the process.
    runtime.shutdown_background();
    outcome.map_err(with_hint)
}

/// Says what to do about the faults of a start that a person can do something about.
fn with_hint(error: anyhow::Error) -> Failure {
    let hint = match error.downcast_ref() {
        Some(LockFault::Taken { .. }) => {
            Some("give each gateway a folder of its own with `--state-dir`")
        }
        Some(LockFault::Create { .. } | LockFault::File { .. }) => {
            Some("name a folder that this user may write with `--state-dir`")
        }
        None => None,
    };
    let failure = Failure::runtime(error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

impl From<Format> for LogFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Auto => Self::Auto,
            Format::Text => Self::Text,
            Format::Json => Self::Json,
            Format::Journald => Self::Journald,
        }
    }
}
