//! The other end of the control socket: what the command line asks a running gateway.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::address::SocketPath;
use super::audit::UnbanInput;
use super::commands::PROBE_LINK;
use super::protocol::{ClientsInput, CommandFault, Request, Response};
use super::{
    AuditQuery, AuditRow, BanReport, ClientReport, ExplainInput, ExplainReport, ProbeReport,
    ReloadReport, Status,
};
use crate::auth::users::{UserReply, UserRequest};
use crate::ca::{CaReply, CaRequest};

/// Time that a gateway may take to answer; a reload reads files that may be on a slow card.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// The same for a request that may make RSA keys, on a small board.
const KEYS_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// A connection to the control socket of a gateway.
#[derive(Debug)]
pub struct ControlClient {
    stream: BufReader<UnixStream>,
}

/// Why a gateway could not be asked, or did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientFault {
    /// Nobody listens there.
    #[error("no gateway listens on `{}`", path.display())]
    Absent {
        /// The control socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The permissions of the socket keep this user out.
    #[error("this user may not use the control socket `{}`", path.display())]
    Denied {
        /// The control socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the gateway did not answer")]
    Broken(#[source] io::Error),
    /// The answer is not of this version of the protocol.
    #[error("the gateway gave an answer that this version does not understand")]
    Foreign(#[source] serde_json::Error),
    /// The gateway refused.
    #[error(transparent)]
    Refused(CommandFault),
}

impl ControlClient {
    /// Connects to the gateway that listens on `path`.
    pub fn connect(path: &Path) -> Result<Self, ClientFault> {
        let connect = || UnixStream::connect(SocketPath::new(path)?.as_path());
        let stream = connect().map_err(|source| {
            let path = path.to_owned();
            if source.kind() == io::ErrorKind::PermissionDenied {
                ClientFault::Denied { path, source }
            } else {
                ClientFault::Absent { path, source }
            }
        })?;
        stream
            .set_read_timeout(Some(ANSWER_TIMEOUT))
            .map_err(ClientFault::Broken)?;
        stream
            .set_write_timeout(Some(ANSWER_TIMEOUT))
            .map_err(ClientFault::Broken)?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// Whether the core answers; a fault where it does not.
    pub fn ping(&mut self) -> Result<(), ClientFault> {
        self.ask::<String>("ping", Value::Null).map(drop)
    }

    /// Everything but the clients.
    pub fn status(&mut self) -> Result<Status, ClientFault> {
        self.ask("status", Value::Null)
    }

    /// Every session whose client identifier begins with `prefix`.
    pub fn clients(&mut self, prefix: &str) -> Result<Vec<ClientReport>, ClientFault> {
        let input = ClientsInput {
            prefix: prefix.to_owned(),
        };
        self.ask(
            "clients",
            serde_json::to_value(input).map_err(ClientFault::Foreign)?,
        )
    }

    /// Loads the configuration again and waits for what came of it.
    pub fn reload(&mut self) -> Result<ReloadReport, ClientFault> {
        self.ask("reload", Value::Null)
    }

    /// Why a client may do something, or may not.
    pub fn explain(&mut self, input: &ExplainInput) -> Result<Vec<ExplainReport>, ClientFault> {
        let input = serde_json::to_value(input).map_err(ClientFault::Foreign)?;
        self.ask("authz_explain", input)
    }

    /// Does something with the local users.
    pub fn user(&mut self, request: &UserRequest) -> Result<UserReply, ClientFault> {
        let input = serde_json::to_value(request).map_err(ClientFault::Foreign)?;
        self.ask("user", input)
    }

    /// Rows of the audit log, the newest first.
    pub fn audit(&mut self, query: &AuditQuery) -> Result<Vec<AuditRow>, ClientFault> {
        let input = serde_json::to_value(query).map_err(ClientFault::Foreign)?;
        self.ask("audit", input)
    }

    /// The bans in force.
    pub fn bans(&mut self) -> Result<Vec<BanReport>, ClientFault> {
        self.ask("bans", Value::Null)
    }

    /// Lifts the bans of an address or a user name and says which.
    pub fn unban(&mut self, subject: &str) -> Result<Vec<BanReport>, ClientFault> {
        let input = UnbanInput {
            subject: subject.to_owned(),
        };
        let input = serde_json::to_value(input).map_err(ClientFault::Foreign)?;
        self.ask("unban", input)
    }

    /// Does something with the certificate authority.
    pub fn ca(&mut self, request: &CaRequest) -> Result<CaReply, ClientFault> {
        let input = serde_json::to_value(request).map_err(ClientFault::Foreign)?;
        let stream = self.stream.get_ref();
        stream
            .set_read_timeout(Some(KEYS_TIMEOUT))
            .map_err(ClientFault::Broken)?;
        self.ask("ca", input)
    }

    /// A way in for the health gate.
    pub fn probe(&mut self) -> Result<ProbeReport, ClientFault> {
        self.ask("probe", Value::Null)
    }

    /// Makes the connection one of MQTT, for a probe.
    pub fn into_probe_link(mut self) -> Result<UnixStream, ClientFault> {
        self.ask::<()>(PROBE_LINK, Value::Null)?;
        Ok(self.stream.into_inner())
    }

    /// Has every answer come within this time.
    pub fn set_timeout(&mut self, time: Duration) -> Result<(), ClientFault> {
        let stream = self.stream.get_ref();
        stream
            .set_read_timeout(Some(time))
            .and_then(|()| stream.set_write_timeout(Some(time)))
            .map_err(ClientFault::Broken)
    }

    fn ask<T: DeserializeOwned>(&mut self, command: &str, input: Value) -> Result<T, ClientFault> {
        let request = Request {
            command: command.to_owned(),
            input,
        };
        let mut line = serde_json::to_vec(&request).map_err(ClientFault::Foreign)?;
        line.push(b'\n');
        self.stream
            .get_mut()
            .write_all(&line)
            .map_err(ClientFault::Broken)?;
        line.clear();
        self.stream
            .read_until(b'\n', &mut line)
            .map_err(ClientFault::Broken)?;
        if line.is_empty() {
            return Err(ClientFault::Broken(io::ErrorKind::UnexpectedEof.into()));
        }
        match serde_json::from_slice(&line).map_err(ClientFault::Foreign)? {
            Response::Ok(answer) => serde_json::from_value(answer).map_err(ClientFault::Foreign),
            Response::Error(fault) => Err(ClientFault::Refused(fault)),
        }
    }
}
