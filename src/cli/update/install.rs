//! `fieldgate update install`: a bundle into the slot that does not run.

use std::cmp::Ordering;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use fieldgate::admin::{Status, StoreState};
use fieldgate::appliance::rauc::{self, Bundle, Slots, compare_versions};
use fieldgate::appliance::{Appliance, KnownFaults};
use fieldgate::store;

use super::{failed, not_written};
use crate::cli::backup;
use crate::cli::failure::say;
use crate::cli::folders::RunningArgs;
use crate::cli::table::{bytes, printable};
use crate::cli::{Failure, Output};

/// Room that is left for the gateway beside a copy of its database.
const RESERVE_BYTES: u64 = 16 * 1024 * 1024;

/// Time that the gateway has to say how it is.
const STATUS_TIMEOUT: Duration = Duration::from_secs(10);

/// Install a signed bundle into the slot that does not run
///
/// The database is copied before. The next start tries the new image; if it does not prove good in three starts, the machine
/// goes back to the one that runs now.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The bundle, a file that ends in .raucb
    #[arg(value_name = "BUNDLE", value_hint = clap::ValueHint::FilePath)]
    bundle: PathBuf,

    /// Take a bundle that is older than what runs
    #[arg(long)]
    allow_downgrade: bool,

    /// Do not copy the database before
    #[arg(long)]
    no_copy: bool,

    #[command(flatten)]
    running: RunningArgs,
}

pub(super) fn run(args: &Args, appliance: &Appliance) -> Result<(), Failure> {
    let bundle = Bundle::read(&args.bundle).map_err(failed)?;
    let slots = Slots::read().map_err(failed)?;
    check_compatible(&bundle, &slots)?;
    check_slots(&slots, appliance)?;
    check_version(
        &bundle,
        &running_version(&slots, appliance),
        args.allow_downgrade,
    )?;
    if !args.no_copy {
        copy_state(appliance)?;
    }
    note_faults(&args.running, appliance)?;
    rauc::install(&args.bundle, |line| say(&format!("{}\n", printable(line)))).map_err(failed)?;
    let version = bundle.version.as_deref().unwrap_or("without a number");
    let mut output = Output::default();
    output.line(format!(
        "Version {} is installed; the next start tries it: systemctl reboot",
        printable(version)
    ));
    output.finish()
}

fn refused(text: String) -> Failure {
    Failure::runtime(anyhow::Error::msg(text))
}

fn check_compatible(bundle: &Bundle, slots: &Slots) -> Result<(), Failure> {
    let of_bundle = bundle.compatible.as_deref().unwrap_or_default();
    if of_bundle == slots.compatible {
        return Ok(());
    }
    let (of_bundle, own) = (printable(of_bundle), printable(&slots.compatible));
    Err(refused(format!(
        "the bundle is for `{of_bundle}`, this machine is `{own}`"
    ))
    .hint("take the bundle for this machine"))
}

/// The slot that does not run is overwritten, so it must not be the one that is needed yet.
fn check_slots(slots: &Slots, appliance: &Appliance) -> Result<(), Failure> {
    if let Some(waiting) = slots.waiting() {
        let name = printable(waiting.bootname.as_deref().unwrap_or_default());
        let version = printable(waiting.version().unwrap_or("without a number"));
        return Err(refused(format!(
            "an update waits already: version {version} in slot {name}"
        ))
        .hint("try it first: systemctl reboot; or drop it: rauc status mark-active booted"));
    }
    if !appliance.is_proven(&slots.booted) {
        let name = printable(&slots.booted);
        // What came with the device is no trial, and the other slot no way back from it.
        if appliance.is_delivered(&slots.booted) {
            say(&format!(
                "warning: slot {name}, which runs now as delivered, has not passed the health gate\n"
            ));
            return Ok(());
        }
        return Err(refused(format!(
            "slot {name}, which runs now, has not passed the health gate yet, and the other slot is the way back"
        ))
        .hint("wait for the gate, or try it now: fieldgate update mark-good"));
    }
    Ok(())
}

/// RAUC knows the version of what it has installed. An image that came with the device says itself which one it is.
fn running_version(slots: &Slots, appliance: &Appliance) -> String {
    let installed = slots.running().and_then(|slot| slot.version());
    installed
        .map(ToOwned::to_owned)
        .or_else(|| appliance.version())
        .unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned())
}

fn check_version(bundle: &Bundle, running: &str, allow_downgrade: bool) -> Result<(), Failure> {
    let Some(new) = bundle.version.as_deref() else {
        return Ok(());
    };
    let (shown, old) = (printable(new), printable(running));
    match compare_versions(new, running) {
        Some(Ordering::Equal) => say(&format!("warning: version {shown} is what runs now\n")),
        Some(Ordering::Less) if allow_downgrade => {
            say(&format!(
                "warning: version {shown} is older than {old}, which runs now\n"
            ));
        }
        Some(Ordering::Less) => {
            return Err(refused(format!(
                "version {shown} is older than {old}, which runs now"
            ))
            .hint("`--allow-downgrade` installs it; a database that it cannot read is replaced by the copy that was made before it was brought on"));
        }
        Some(Ordering::Greater) | None => {}
    }
    Ok(())
}

/// Writes down what is not in order now: the health gate is not to hold it against the new image.
fn note_faults(running: &RunningArgs, appliance: &Appliance) -> Result<(), Failure> {
    let known = match status(running) {
        Some(status) => known_faults(&status),
        None => {
            say(
                "warning: the gateway does not answer, so the new image is kept only if every port opens\n",
            );
            KnownFaults::default()
        }
    };
    appliance.set_known_faults(&known).map_err(not_written)
}

fn status(running: &RunningArgs) -> Option<Status> {
    let mut client = running.try_connect().ok()??;
    client.set_timeout(STATUS_TIMEOUT).ok()?;
    client.status().ok()
}

fn known_faults(status: &Status) -> KnownFaults {
    let mut known = KnownFaults::default();
    for port in &status.ports {
        if port.state == "listening" {
            continue;
        }
        let (name, state) = (printable(&port.endpoint), port.state.replace('-', " "));
        let detail = printable(port.detail.as_deref().unwrap_or("no reason is known"));
        say(&format!(
            "warning: port {name} is not open: {state}: {detail}; the new image need not open it\n"
        ));
        known.ports.push(port.endpoint.clone());
    }
    if status.store.state == StoreState::Full {
        let complaint = printable(&status.store.complaint().unwrap_or_default());
        say(&format!("warning: {complaint}\n"));
        known.store_full = true;
    }
    known
}

/// Copies the database to where the next copy takes its place.
fn copy_state(appliance: &Appliance) -> Result<(), Failure> {
    let state = appliance.home().join("state");
    let database = state.join(store::DATABASE);
    let Ok(size) = fs::metadata(&database).map(|file| file.len()) else {
        return Ok(());
    };
    let folder = appliance.home().join("update");
    fs::create_dir_all(&folder).map_err(Failure::runtime)?;
    let free = store::free_bytes(&folder).map_err(backup::failed)?;
    // The new version makes a copy of its own before it changes the database.
    if free < size.saturating_mul(2).saturating_add(RESERVE_BYTES) {
        return Err(refused(format!(
            "there is no room for two copies of the database: it has {}, and {} are free",
            bytes(size),
            bytes(free)
        ))
        .hint("make room on the data partition, or leave the first copy out with `--no-copy`"));
    }
    store::backup(&state, &folder.join("before.db")).map_err(backup::failed)?;
    Ok(())
}
