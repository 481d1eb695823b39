//! `fieldgate health`: a probe for whoever runs the gateway, such as a cluster.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

mod gate;
mod round_trip;
mod wire;

use fieldgate::appliance::KnownFaults;
use fieldgate::config;

use super::failure::say;
use super::folders::RunningArgs;
use super::table::printable;
use super::{Exit, Failure, Output};

/// Time after which a gateway that does not answer counts as one that is not there.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// Say in one line whether a running gateway is well
///
/// The exit code is 0 if it is and 1 if it is not, or does not answer within 3 seconds. For probes of containers, which run a
/// command where there is no shell. Without --live it is asked whether clients are served.
///
/// With --gate it is tried: every port is connected to, and a message goes through the gateway and its store and comes back.
/// That takes root, or the user that the gateway runs as.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    running: RunningArgs,

    /// Ask whether every port serves, or waits for something that it may wait for
    #[arg(long, conflicts_with = "live")]
    ready: bool,

    /// Ask only whether the core answers; if it does not, a restart helps
    #[arg(long)]
    live: bool,

    /// Try everything that a client needs, as after an update
    #[arg(long, conflicts_with_all = ["live", "ready"])]
    gate: bool,

    /// How long to try, with --gate
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "30s", requires = "gate")]
    timeout: Duration,

    /// Pass over what FILE names: faults of before an update, as `fieldgate update install` writes them down
    #[arg(long, value_name = "FILE", requires = "gate", value_hint = clap::ValueHint::FilePath)]
    known: Option<PathBuf>,
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    if args.gate {
        return gate(args.running, args.timeout, args.known.as_deref());
    }
    let (sender, receiver) = mpsc::channel();
    // A gateway that hangs would hold back the answer, so somebody else waits for it.
    let asking = thread::Builder::new().spawn(move || {
        // Nobody listens any more when the time is over.
        let _ = sender.send(ask(&args));
    });
    asking.map_err(Failure::runtime)?;
    let said = receiver
        .recv_timeout(ANSWER_TIMEOUT)
        .unwrap_or_else(|_| Err(unwell("the gateway does not answer")));
    let mut output = Output::default();
    output.line(said?);
    output.finish()
}

fn ask(args: &Args) -> Result<String, Failure> {
    let mut client = match args.running.try_connect() {
        Ok(Some(client)) => client,
        Ok(None) => return Err(unwell("no gateway is running")),
        Err(_) => return Err(unwell("this user may not ask the gateway")),
    };
    if args.live {
        return match client.ping() {
            Ok(()) => Ok("live".to_owned()),
            Err(fault) => Err(unwell(&fault.to_string())),
        };
    }
    let readiness = match client.status() {
        Ok(status) => status.readiness,
        Err(fault) => return Err(unwell(&fault.to_string())),
    };
    let awaiting = readiness.awaiting.join(", ");
    match (readiness.ready, readiness.degraded) {
        (true, None) => Ok("ready".to_owned()),
        (true, Some(degraded)) => Ok(format!("ready, degraded: {degraded}")),
        (false, _) if awaiting.is_empty() => Err(unwell("not ready")),
        (false, _) => Err(unwell(&format!("not ready: awaiting {awaiting}"))),
    }
}

/// Puts a gateway to the test, as `health --gate` does.
pub(super) fn gate(
    running: RunningArgs,
    time: Duration,
    known: Option<&Path>,
) -> Result<(), Failure> {
    // A file that cannot be read must not make the judgement milder, nor keep it from being made.
    let known = known.map_or_else(|| Ok(KnownFaults::default()), KnownFaults::read);
    let known = known.unwrap_or_else(|error| {
        let error = printable(&error.to_string());
        say(&format!(
            "warning: what was wrong before the update cannot be read: {error}\n"
        ));
        KnownFaults::default()
    });
    gate::run(running, known, time)
}

fn time(text: &str) -> Result<Duration, String> {
    config::parse_duration(text).ok_or_else(|| "it is a time such as 30s or 2min".to_owned())
}

fn unwell(text: &str) -> Failure {
    Failure::rendered(Exit::Runtime, printable(text))
}
