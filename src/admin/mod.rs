//! Floor 4: how a running gateway is watched and steered. HTTP for probes and metrics, a Unix socket for commands.
//!
//! Both show what a [`Source`] knows; the composition root is the only one.

mod address;
pub mod client;
mod commands;
pub mod control;
pub mod http;
pub mod metrics;
mod protocol;
mod report;

use std::future::Future;

pub use protocol::{CommandFault, FaultKind};
pub use report::*;

use crate::auth::users::{Actor, UserFault, UserReply, UserRequest};
use crate::ca::{Asker, CaError, CaReply, CaRequest};

/// What probes, metrics and commands ask of the gateway.
pub trait Source: Send + Sync + 'static {
    /// Everything but the clients.
    fn status(&self) -> Status;

    /// Every client that has a session and whose client identifier begins with `prefix`, in order.
    fn clients(&self, prefix: &str) -> Vec<ClientReport>;

    /// Whether the gateway is up, and what it waits for.
    fn readiness(&self) -> ReadinessReport;

    /// A round trip through the broker core; `false` when it did not answer in time.
    fn heartbeat(&self) -> impl Future<Output = bool> + Send;

    /// Does something with the local users, for whoever asks for it.
    fn user(
        &self,
        request: UserRequest,
        actor: Actor,
    ) -> impl Future<Output = Result<UserReply, UserFault>> + Send;

    /// Does something with the certificate authority, for whoever asks for it.
    fn ca(
        &self,
        request: CaRequest,
        asker: Asker,
    ) -> impl Future<Output = Result<CaReply, CaError>> + Send;

    /// Loads the configuration again and applies it, or refuses it whole.
    fn reload(&self) -> impl Future<Output = ReloadReport> + Send;
}
