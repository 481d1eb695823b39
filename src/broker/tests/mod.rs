//! The rules of MQTT, without sockets.

mod delivery;
mod invariants;
mod operations;
mod overload;
mod sessions;
mod world;
