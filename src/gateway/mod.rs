//! Floor 5: the composition root. Builds everything in order, says when it is ready, reloads, stops.

mod lock;
mod readiness;
mod watch;

use std::path::PathBuf;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

pub use lock::{LockFault, Owner, StateLock};

/// Name of the control socket in the runtime folder.
pub const CONTROL_SOCKET: &str = "control.sock";

/// What the command line decides about a gateway.
#[derive(Clone, Debug)]
pub struct Options {
    /// Configuration file; `None` searches the usual place and falls back to the embedded default.
    pub config: Option<PathBuf>,
    /// Folder for everything that is kept.
    pub state_dir: PathBuf,
    /// Folder for the control socket.
    pub runtime_dir: PathBuf,
}

/// Runs a gateway until it is told to stop.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let _lock = StateLock::acquire(&options.state_dir)?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
