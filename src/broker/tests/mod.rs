//! The rules of MQTT, without sockets.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test looks for one answer among all"
)]

mod delivery;
mod invariants;
mod operations;
mod overload;
mod sessions;
mod world;
