//! `fieldgate factory-reset`: a gateway as it was before anybody had it.

use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use fieldgate::appliance::Appliance;
use fieldgate::appliance::reset::{self, Outcome, ResetFault};
use fieldgate::config::LogSettings;
use fieldgate::gateway::CONFIG_FILE;
use fieldgate::logging::Log;

use super::folders::{StateArgs, lock_stopped};
use super::{Exit, Failure, Output};

/// What has to be typed. Nobody types it by accident.
const WORD: &str = "reset";

/// File of the state folder that holds it for this process.
const LOCK: &str = "fieldgate.lock";

/// Time for the service manager to begin the restart before anything else of this start goes on.
const RESTART_TIME: Duration = Duration::from_secs(60);

/// Remove users, keys, messages and logs, and begin as on the first day
///
/// On an appliance the machine starts again and comes up as on its first start, with the slots that are installed now.
/// Elsewhere the service has to be stopped, and its state folder is emptied. Keys are destroyed first. What flash memory does
/// with blocks that were written over is told in docs/appliance.md.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Do not ask for confirmation
    #[arg(long)]
    yes: bool,

    /// On an appliance: leave it to the next start
    #[arg(long)]
    no_reboot: bool,

    /// Where there is no appliance: remove the configuration as well
    #[arg(long)]
    config_too: bool,

    /// Make the reset that was asked for, as the start of an appliance does
    #[arg(long, hide = true, conflicts_with_all = ["yes", "no_reboot", "config_too"])]
    at_start: bool,

    /// Where the root of the appliance is, for tests
    #[arg(long, hide = true, value_name = "DIR", default_value = "/")]
    root: PathBuf,

    #[command(flatten)]
    state: StateArgs,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let appliance = Appliance::new(&args.root);
    if args.at_start {
        return at_start(&appliance, args.root == Path::new("/"));
    }
    if appliance.is_one() && !args.state.is_given() {
        return of_appliance(args, &appliance);
    }
    of_service(args)
}

/// Does what was asked for, and has the machine start again where something was done: what runs already has the old machine id
/// and perhaps the old name.
fn at_start(appliance: &Appliance, is_real: bool) -> Result<(), Failure> {
    let _log = Log::init(&LogSettings::default(), None).map_err(Failure::runtime)?;
    let outcome = reset::run(appliance).map_err(failed)?;
    let mut output = Output::default();
    match outcome {
        Outcome::NotAsked => return Ok(()),
        Outcome::Done(cause) => output.line(format!(
            "Everything is as it was delivered, because of {}; the machine starts again",
            cause.in_words()
        )),
    }
    output.finish()?;
    if is_real {
        restart()?;
        // Nothing of this start is to lay out the data partition any more.
        thread::park_timeout(RESTART_TIME);
    }
    Ok(())
}

fn of_appliance(args: &Args, appliance: &Appliance) -> Result<(), Failure> {
    if args.config_too {
        let text = "error: a reset of an appliance always removes the configuration";
        return Err(Failure::rendered(Exit::Usage, text).hint("leave `--config-too` out"));
    }
    let what = "This removes every user, key, message, log and the configuration of this machine, and starts it again.";
    confirm(args.yes, what)?;
    reset::ask(appliance).map_err(failed)?;
    let mut output = Output::default();
    if args.no_reboot {
        output.line("The next start makes the reset");
        return output.finish();
    }
    output.line("The machine starts again and makes the reset");
    output.finish()?;
    restart()
}

fn of_service(args: &Args) -> Result<(), Failure> {
    if args.no_reboot {
        let text = "error: this is no appliance, so nothing is started again";
        return Err(Failure::rendered(Exit::Usage, text).hint("leave `--no-reboot` out"));
    }
    let folder = args.state.folder();
    let _lock = lock_stopped(&folder)?;
    let shown = folder.display();
    confirm(
        args.yes,
        &format!("This removes every user, key and message in `{shown}`."),
    )?;
    reset::wipe(&folder, &[LOCK]).map_err(failed)?;
    let mut output = Output::default();
    output.line(format!("`{shown}` is as before the first start"));
    if args.config_too {
        let config = Path::new(CONFIG_FILE);
        reset::destroy(config).map_err(failed)?;
        reset::destroy(&config.with_file_name("conf.d")).map_err(failed)?;
        output.line(format!("`{}` and its conf.d are gone", config.display()));
    }
    output.finish()
}

fn confirm(is_sure: bool, what: &str) -> Result<(), Failure> {
    if is_sure {
        return Ok(());
    }
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        let text = "error: there is no terminal to ask for confirmation on";
        return Err(Failure::rendered(Exit::Usage, text).hint("add `--yes`"));
    }
    let mut output = std::io::stderr();
    write!(output, "{what}\nType `{WORD}` to go on: ")?;
    output.flush()?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer)?;
    if answer.trim() == WORD {
        return Ok(());
    }
    Err(Failure::rendered(
        Exit::Runtime,
        "error: nothing was changed",
    ))
}

/// Asks the service manager; its answer comes before it begins.
fn restart() -> Result<(), Failure> {
    let asked = Command::new("systemctl")
        .args(["--no-block", "reboot"])
        .status();
    match asked {
        Ok(status) if status.success() => Ok(()),
        Ok(_) | Err(_) => {
            let message = anyhow::Error::msg("the machine cannot be started again from here");
            Err(Failure::runtime(message)
                .hint("start it again by hand; the reset is made or completed then"))
        }
    }
}

fn failed(fault: ResetFault) -> Failure {
    Failure::runtime(fault)
        .hint("run as root; what is left is removed when it is run again, or at the next start")
}
