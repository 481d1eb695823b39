//! Floor 4: how a running gateway is watched and steered. HTTP for probes and metrics, a Unix socket for commands.
//!
//! Both show what a [`Source`] knows; the composition root is the only one.

mod access_report;
mod address;
mod audit;
pub mod client;
mod commands;
pub mod control;
mod est_report;
mod explain;
pub mod http;
pub mod metrics;
mod probe;
mod protocol;
mod report;

use std::future::Future;
use std::sync::Arc;

pub use access_report::{AccessReport, BackEndReport};
pub use audit::{AUDIT_ROWS_MAX, AuditQuery, AuditRow, BanKind, BanReport};
pub use est_report::{EstCount, EstDoorReport, EstReport};
pub use explain::{ExplainInput, ExplainReport, ExplainedAction};
pub use probe::{ProbePort, ProbeReport};
pub use protocol::{CommandFault, FaultKind};
pub use report::*;

use tokio::net::UnixStream;

use crate::auth::Access;
use crate::auth::users::{Actor, UserFault, UserReply, UserRequest};
use crate::ca::{Asker, CaError, CaReply, CaRequest};

/// What probes, metrics and commands ask of the gateway.
pub trait Source: Send + Sync + 'static {
    /// Everything but the clients.
    fn status(&self) -> Status;

    /// Every client that has a session and whose client identifier begins with `prefix`, in order.
    fn clients(&self, prefix: &str) -> Vec<ClientReport>;

    /// Why the clients with an identifier may do something, or may not: one on each mount point. None is there whose rights
    /// are not known before it connects again. On a question that makes no sense, what is wrong with it.
    fn explain(&self, input: &ExplainInput) -> Result<Vec<ExplainReport>, String>;

    /// Whether the gateway is up, and what it waits for.
    fn readiness(&self) -> ReadinessReport;

    /// A round trip through the broker core; `false` when it did not answer in time.
    fn heartbeat(&self) -> impl Future<Output = bool> + Send;

    /// A way in for the health gate, or why there is none.
    fn probe(&self) -> Result<ProbeReport, String>;

    /// Serves a probe that comes by the control socket, until it goes.
    fn serve_probe(&self, stream: UnixStream) -> impl Future<Output = ()> + Send;

    /// Who may come in: the guard and the audit log are asked directly.
    fn access(&self) -> &Arc<Access>;

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

    /// Loads the configuration again and applies it, or refuses it whole. The actor is for the audit log.
    fn reload(&self, actor: Actor) -> impl Future<Output = ReloadReport> + Send;
}
