//! Nothing that was acknowledged is lost: the gateway is killed and the power is cut, again and again, and a ledger says
//! what was promised and what came.

#![expect(
    clippy::disallowed_methods,
    reason = "a test measures with the clock of the machine"
)]

mod chance;
mod powercut;
mod sqlite;
