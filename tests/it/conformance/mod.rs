//! The standards on the wire, by section. The doc of a test names the statements that it checks.

mod data;
mod every_version;
mod v3_1_1;
mod v5;
mod websocket;
