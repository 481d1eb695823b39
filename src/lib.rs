//! Fieldgate: an MQTT broker appliance for IoT edge hardware.
//!
//! The modules stand on floors; a module knows only the floors below its own.
//!
//! | floor | modules | purpose |
//! |---|---|---|
//! | 6 | `cli` (in the binary) | one file per subcommand |
//! | 5 | `gateway` | composition root: start order, readiness, reload, stop |
//! | 4 | `net`, `admin`, `est`, `discovery`, `controller` | bytes to packets to core; health, metrics, control; enrolment; mDNS; resources of a cluster |
//! | 3 | `appliance`, `auth`, `ca`, `store`, `systemd`, `metrics`, `logging`, `clock`, `import`, `kubernetes` | the machine and its factory reset, authenticators, the certificate authority, what outlives the process, the process model, metric names, the log, the clocks, configurations of other brokers, resources of a cluster |
//! | 2 | `config` | raw TOML to settings, report of all faults |
//! | 1 | `broker`, `policy`, `limits` | the sans-IO core, its rules and its bounds |
//! | 0 | `mqtt` | the standard: packets, codec, reason codes, violations |

// Tests drive tasks and clocks themselves; the bans of clippy.toml are for the product.
#![cfg_attr(test, allow(clippy::disallowed_methods))]

pub mod admin;
pub mod appliance;
pub mod auth;
pub mod broker;
pub mod ca;
pub mod clock;
pub mod config;
#[cfg(feature = "kube")]
pub mod controller;
pub mod discovery;
pub mod est;
pub mod gateway;
pub mod import;
pub mod kubernetes;
pub mod limits;
pub mod logging;
pub mod metrics;
pub mod mqtt;
pub mod net;
pub mod policy;
pub mod store;
pub mod systemd;
