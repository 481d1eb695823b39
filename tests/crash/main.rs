//! Nothing that was acknowledged is lost: the gateway is killed and the power is cut, again and again, and a ledger says
//! what was promised and what came.
//!
//! | variable | meaning |
//! |---|---|
//! | `FIELDGATE_CRASH_KILLS` | kills of a run, 3 without it |
//! | `FIELDGATE_CRASH_CUTS` | power cuts of a run, half the number of kills without it |
//! | `FIELDGATE_CRASH_STOPS` | stops of a run, a tenth of the number of kills without it |
//! | `FIELDGATE_CRASH_FLIPS` | damaged databases |
//! | `FIELDGATE_CRASH_SEED` | the first seed; a run prints its own |
//! | `FIELDGATE_CRASH_UPTIME_MS` | the longest time between a start and a kill |
//! | `FIELDGATE_TEST_BROKER` | `mosquitto`: the ledger itself is put to the test |
//! | `FIELDGATE_CRASH_IGNORE_SYNC` | set: syncs do nothing, so the power cuts must be found out |

#![expect(
    clippy::disallowed_methods,
    reason = "a test measures with the clock of the machine"
)]

mod book;
mod chance;
mod churn;
mod flips;
mod other;
mod powercut;
mod publisher;
mod retained;
mod rig;
mod sqlite;
mod stage;
mod subscriber;
#[allow(
    dead_code,
    unused_imports,
    reason = "made for the wire tests, which use all of it"
)]
#[path = "../it/support/mod.rs"]
mod support;
mod wire;

use std::sync::{Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use chance::Chance;
use rig::{Death, Plan};

/// Runs take the machine for themselves, so that a kill hits a gateway under load.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable)
        .ok()
        .map(|text| text.parse().expect("a number"))
}

/// A run with the given kills, if the environment does not say otherwise.
#[track_caller]
fn run(death: Death, kills: u64) {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let now = UNIX_EPOCH.elapsed().expect("a clock behind 1970");
    rig::run(Plan {
        kills,
        seed: number("FIELDGATE_CRASH_SEED").unwrap_or(now.as_micros() as u64),
        death,
        uptime_ms_max: number("FIELDGATE_CRASH_UPTIME_MS").unwrap_or(1_200),
    });
}

fn kills() -> u64 {
    number("FIELDGATE_CRASH_KILLS").unwrap_or(3)
}

/// Cuts take longer than kills, because each of them is played from a log.
fn cuts() -> u64 {
    number("FIELDGATE_CRASH_CUTS").unwrap_or(kills().div_ceil(2))
}

fn stops() -> u64 {
    number("FIELDGATE_CRASH_STOPS").unwrap_or(kills().div_ceil(10))
}

#[test]
fn nothing_is_lost_while_the_gateway_lives() {
    run(Death::Process, 0);
}

#[test]
fn nothing_is_lost_when_the_gateway_is_killed() {
    run(Death::Process, kills());
}

#[test]
fn nothing_is_lost_when_the_power_is_cut() {
    run(Death::Power, cuts());
}

#[test]
fn nothing_is_lost_when_the_gateway_is_restarted() {
    run(Death::Stop, stops());
}

#[test]
fn gateway_starts_over_any_damage() {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let seed = number("FIELDGATE_CRASH_SEED").unwrap_or(1);
    flips::run(
        number("FIELDGATE_CRASH_FLIPS").unwrap_or(6),
        Chance::new(seed),
    );
}
