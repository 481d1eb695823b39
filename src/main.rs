//! Arguments in, exit code out.

mod cli;

use std::process::ExitCode;

/// Threads that run tasks; 1 stands for a runtime on the thread of `main`.
const WORKER_THREADS: usize = 2;

fn main() -> ExitCode {
    cli::run(std::env::args_os())
}

/// The runtime of the gateway.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let mut builder = if WORKER_THREADS > 1 {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(WORKER_THREADS);
        builder
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    builder.thread_name("fieldgate").enable_all().build()
}
