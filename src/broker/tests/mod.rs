//! The rules of MQTT, without sockets.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test looks for one answer among all"
)]

mod asking;
mod authorization;
mod authorized;
mod backlog;
mod delivery;
mod disk;
mod invariants;
mod ledger;
mod operations;
mod outage;
mod overload;
mod power;
mod restarting;
mod rights;
mod sessions;
mod storing;
mod world;
