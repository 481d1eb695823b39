//! `fieldgate update status`: what is in the slots.

use fieldgate::appliance::Appliance;
use fieldgate::appliance::rauc::Slots;
use serde::Serialize;

use super::failed;
use crate::cli::table::{Table, printable};
use crate::cli::{Failure, Output};

/// Show the slots: what is installed, what runs and what has proved good
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    compatible: String,
    slots: Vec<SlotReport>,
    /// The slot that the next start tries, if that is another one.
    waiting: Option<String>,
    /// What the health gate said last.
    gate: Option<String>,
}

#[derive(Debug, Serialize)]
struct SlotReport {
    slot: String,
    version: Option<String>,
    installed_at: Option<String>,
    running: bool,
    /// Whether it has passed the health gate.
    proven: bool,
    /// What the boot loader makes of it.
    boot_status: Option<String>,
    tries_left: Option<u32>,
}

pub(super) fn run(args: &Args, appliance: &Appliance) -> Result<(), Failure> {
    let report = report(&Slots::read().map_err(failed)?, appliance);
    let mut output = Output::default();
    if args.json {
        output.json(&report)?;
        return output.finish();
    }
    let mut table = Table::new([
        "SLOT",
        "VERSION",
        "INSTALLED",
        "RUNS",
        "PROVEN",
        "TRIES LEFT",
    ]);
    for slot in &report.slots {
        let text = |text: Option<&str>, none: &str| printable(text.unwrap_or(none));
        let word = |is: bool| if is { "yes" } else { "no" }.to_owned();
        table.row([
            printable(&slot.slot),
            text(slot.version.as_deref(), "as delivered"),
            text(slot.installed_at.as_deref(), ""),
            word(slot.running),
            word(slot.proven),
            slot.tries_left
                .map_or_else(String::new, |left| left.to_string()),
        ]);
    }
    table.print(&mut output);
    if let Some(waiting) = &report.waiting {
        output.line(format!(
            "\nThe next start tries slot {}",
            printable(waiting)
        ));
    }
    if let Some(said) = &report.gate {
        output.line("\nThe health gate said last:");
        for line in said.lines() {
            output.line(format!("  {}", printable(line)));
        }
    }
    output.finish()
}

fn report(slots: &Slots, appliance: &Appliance) -> Report {
    let mut found: Vec<_> = slots
        .startable()
        .map(|(_, slot)| {
            let name = slot.bootname.clone().unwrap_or_default();
            SlotReport {
                version: slot.version().map(ToOwned::to_owned),
                installed_at: slot.installed_at().map(ToOwned::to_owned),
                running: slot.state == "booted",
                proven: appliance.is_proven(&name),
                boot_status: slot.boot_status.clone(),
                tries_left: appliance.tries_left(&name),
                slot: name,
            }
        })
        .collect();
    found.sort_by(|a, b| a.slot.cmp(&b.slot));
    Report {
        compatible: slots.compatible.clone(),
        waiting: slots.waiting().and_then(|slot| slot.bootname.clone()),
        slots: found,
        gate: appliance.gate_said(),
    }
}
