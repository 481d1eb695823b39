//! `fieldgate backup` and `fieldgate restore`: the database of a gateway into a file and back.

use std::path::PathBuf;

use fieldgate::clock;
use fieldgate::store::{self, StoreError};

use super::folders::{StateArgs, lock_stopped};
use super::table::bytes;
use super::{Failure, Output};

/// Copy sessions, queued and retained messages into a file
///
/// The copy is what was stored at one moment, whether the gateway is running or not. The file appears when it is complete
/// and was checked; one that is there already is replaced.
#[derive(Debug, clap::Args)]
pub(crate) struct BackupArgs {
    /// File to write
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: PathBuf,

    #[command(flatten)]
    state: StateArgs,
}

/// Bring a backup back while the gateway is stopped
///
/// The file is checked first. What the gateway had until then is moved to a folder `replaced-…` below the state folder.
#[derive(Debug, clap::Args)]
pub(crate) struct RestoreArgs {
    /// File that `fieldgate backup` has written
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: PathBuf,

    #[command(flatten)]
    state: StateArgs,
}

pub(crate) fn backup(args: &BackupArgs) -> Result<(), Failure> {
    let report = store::backup(&args.state.folder(), &args.file).map_err(failed)?;
    let mut output = Output::default();
    output.line(format!(
        "Wrote `{}` ({}): {}",
        args.file.display(),
        bytes(report.bytes),
        report.content.rows
    ));
    output.finish()
}

pub(crate) fn restore(args: &RestoreArgs) -> Result<(), Failure> {
    let folder = args.state.folder();
    let _lock = lock_stopped(&folder)?;
    let wall = clock::wall_seconds().saturating_mul(1000);
    let report = store::restore(&args.file, &folder, wall).map_err(failed)?;
    let mut output = Output::default();
    output.line(format!("Restored {}", report.content.rows));
    if let Some(replaced) = &report.replaced {
        output.line(format!(
            "The former database is in `{}`",
            replaced.display()
        ));
    }
    output.finish()
}

/// A fault of the store with the way out.
pub(super) fn failed(error: StoreError) -> Failure {
    let hint = error.hint();
    Failure::runtime(error).hint(hint)
}
