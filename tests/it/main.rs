//! The one integration binary: a real gateway, real sockets, bytes by hand.

#![expect(
    clippy::disallowed_methods,
    reason = "a test measures with the clock of the machine"
)]

mod access;
mod admin;
mod audit;
mod automatic;
mod backends;
mod boot;
mod ca;
mod check;
mod cli;
mod clients;
mod conformance;
#[cfg(feature = "kube")]
mod controller;
mod est;
mod factory_reset;
mod gate;
mod import;
mod k3s;
mod kubernetes;
mod lifecycle;
mod logging;
mod persistence;
mod reload;
mod robustness;
mod setup;
mod store;
mod support;
mod systemd;
mod update;
mod users;
