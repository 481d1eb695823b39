//! `fieldgate import boot`: takes a configuration from the boot partition.

use std::path::PathBuf;

use fieldgate::gateway::{BootFault, BootImport, BootReport, CONFIG_FILE};

use super::folders::StateArgs;
use super::table::printable;
use super::{Exit, Failure, Output, failure};

/// Take configuration, users and certificates that were put on the boot partition
///
/// Reads the folder `fieldgate` in DIR: gateway.toml, users (`name:password` in each line, or any file that `fieldgate user
/// import` knows), hostname, ca/chain.pem with ca/key.pem, and files that gateway.toml refers to. Everything is checked first,
/// and all of it is taken or nothing. Each file is taken once. Secrets are taken off the boot partition; what is wrong is
/// written beside the files, to errors.txt. The gateway must not run meanwhile: the service does this before it starts.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where the boot partition is mounted
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    dir: PathBuf,

    /// Folder of the configuration
    ///
    /// Default: /etc/fieldgate.
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    etc_dir: Option<PathBuf>,

    /// File that this machine takes its name from
    ///
    /// Without it a `hostname` on the boot partition is refused.
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    hostname_file: Option<PathBuf>,

    #[command(flatten)]
    state: StateArgs,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let etc = args.etc_dir.clone().unwrap_or_else(etc_dir);
    let folder = args.state.folder();
    let import = BootImport::new(&args.dir, &etc, &folder, args.hostname_file.as_deref());
    let BootReport { taken, warnings } = import.run().map_err(failed)?;
    for warning in &warnings {
        failure::say(&format!("warning: {}\n", printable(warning)));
    }
    let mut output = Output::default();
    output.line(match taken.as_slice() {
        [] => "There is nothing new on the boot partition".to_owned(),
        taken => format!("Taken from the boot partition: {}", taken.join(", ")),
    });
    output.finish()
}

/// The folder of the configuration of the service.
pub(crate) fn etc_dir() -> PathBuf {
    let main = PathBuf::from(CONFIG_FILE);
    main.parent()
        .map_or_else(|| PathBuf::from("/"), PathBuf::from)
}

fn failed(fault: BootFault) -> Failure {
    match fault {
        BootFault::Refused(_) => {
            let text = fault.to_string();
            let lines: Vec<String> = text.lines().map(printable).collect();
            Failure::rendered(Exit::Config, lines.join("\n"))
        }
        other => Failure::runtime(other),
    }
}
