//! The table of commands: name, role, handler with its typed input.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::task::spawn_blocking;

use super::audit::{self, AuditQuery, UnbanInput};
use super::protocol::{ClientsInput, CommandFault, FaultKind, NoInput, Request};
use super::{ExplainInput, Source};
use crate::auth::users::{Actor, UserFault, UserRequest};
use crate::ca::{Asker, CaError, CaRequest};

/// The command after which a connection carries MQTT. It is in no table, because it ends the talk.
pub(super) const PROBE_LINK: &str = "probe_link";

/// Who may give a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// May look: whoever the permissions of the socket let in.
    Viewer,
    /// May change: root and the user that the gateway runs as.
    Operator,
}

/// One row of the table.
struct Command<S> {
    name: &'static str,
    role: Role,
    handler: fn(Arc<S>, Value, Peer) -> Answer,
}

/// Who gives a command.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    pub(super) role: Role,
    /// The user of the system, where it is known.
    pub(super) uid: Option<u32>,
}

impl Peer {
    fn actor(self) -> Actor {
        let name = self
            .uid
            .map_or_else(|| "unknown".to_owned(), |uid| format!("uid {uid}"));
        Actor {
            name: name.into(),
            peer: "control socket".into(),
        }
    }
}

type Answer = Pin<Box<dyn Future<Output = Result<Value, CommandFault>> + Send>>;

fn table<S: Source>() -> [Command<S>; 11] {
    [
        Command {
            name: "ping",
            role: Role::Viewer,
            handler: ping,
        },
        Command {
            name: "status",
            role: Role::Viewer,
            handler: status,
        },
        Command {
            name: "clients",
            role: Role::Viewer,
            handler: clients,
        },
        Command {
            name: "authz_explain",
            role: Role::Viewer,
            handler: explain,
        },
        Command {
            name: "user",
            role: Role::Operator,
            handler: user,
        },
        // It names users and addresses.
        Command {
            name: "audit",
            role: Role::Operator,
            handler: audit_log,
        },
        Command {
            name: "bans",
            role: Role::Operator,
            handler: bans,
        },
        Command {
            name: "unban",
            role: Role::Operator,
            handler: unban,
        },
        Command {
            name: "ca",
            role: Role::Operator,
            handler: ca,
        },
        Command {
            name: "probe",
            role: Role::Operator,
            handler: probe,
        },
        Command {
            name: "reload",
            role: Role::Operator,
            handler: reload,
        },
    ]
}

/// Whether a line asks that the connection become one of MQTT, for the health gate. Only for who may ask for a ticket.
pub(super) fn is_probe_link(peer: Peer, line: &[u8]) -> bool {
    let request: Result<Request, _> = serde_json::from_slice(line);
    peer.role == Role::Operator && request.is_ok_and(|request| request.command == PROBE_LINK)
}

/// Carries out one line from a peer.
pub(super) async fn carry_out<S: Source>(
    source: &Arc<S>,
    peer: Peer,
    line: &[u8],
) -> Result<Value, CommandFault> {
    let request: Request = serde_json::from_slice(line)
        .map_err(|error| fault(FaultKind::BadRequest, format!("not a request: {error}")))?;
    let table = table::<S>();
    let Some(command) = table.iter().find(|command| command.name == request.command) else {
        let names: Vec<_> = table.iter().map(|command| command.name).collect();
        let message = format!(
            "no command `{}`; there are {}",
            request.command,
            names.join(", ")
        );
        return Err(fault(FaultKind::UnknownCommand, message));
    };
    if peer.role < command.role {
        let message = format!(
            "`{}` is for root and the user that the gateway runs as",
            command.name
        );
        return Err(fault(FaultKind::NotPermitted, message));
    }
    (command.handler)(Arc::clone(source), request.input, peer).await
}

fn ping<S: Source>(source: Arc<S>, input: Value, _: Peer) -> Answer {
    Box::pin(async move {
        let NoInput {} = parse(input)?;
        if source.heartbeat().await {
            render(&"pong")
        } else {
            Err(fault(
                FaultKind::Internal,
                "the broker core does not answer".to_owned(),
            ))
        }
    })
}

fn status<S: Source>(source: Arc<S>, input: Value, _: Peer) -> Answer {
    Box::pin(async move {
        let NoInput {} = parse(input)?;
        render(&source.status())
    })
}

fn clients<S: Source>(source: Arc<S>, input: Value, _: Peer) -> Answer {
    Box::pin(async move {
        let ClientsInput { prefix } = parse(input)?;
        // A hundred thousand clients take a while to sort and write, and links run on the threads of this task.
        let listing = spawn_blocking(move || render(&source.clients(&prefix)));
        listing.await.unwrap_or_else(|error| {
            let message = format!("the listing could not be made: {error}");
            Err(fault(FaultKind::Internal, message))
        })
    })
}

fn audit_log<S: Source>(source: Arc<S>, input: Value, _: Peer) -> Answer {
    Box::pin(async move {
        let query: AuditQuery = parse(input)?;
        render(&audit::read(source.access(), &query).await?)
    })
}

fn bans<S: Source>(source: Arc<S>, input: Value, _: Peer) -> Answer {
    Box::pin(async move {
        let NoInput {} = parse(input)?;
        render(&audit::bans(source.access()))
    })
}

fn unban<S: Source>(source: Arc<S>, input: Value, peer: Peer) -> Answer {
    Box::pin(async move {
        let UnbanInput { subject } = parse(input)?;
        render(&audit::unban(source.access(), &subject, &peer.actor()))
    })
}

fn explain<S: Source>(source: Arc<S>, input: Value, _: Peer) -> Answer {
    Box::pin(async move {
        let input: ExplainInput = serde_json::from_value(input).map_err(|error| {
            let message = format!("not the input of this command: {error}");
            fault(FaultKind::BadInput, message)
        })?;
        // All sessions are looked through.
        let explained = spawn_blocking(move || source.explain(&input)).await;
        match explained {
            Ok(Ok(reports)) => render(&reports),
            Ok(Err(message)) => Err(fault(FaultKind::BadInput, message)),
            Err(error) => {
                let message = format!("the question could not be answered: {error}");
                Err(fault(FaultKind::Internal, message))
            }
        }
    })
}

fn probe<S: Source>(source: Arc<S>, input: Value, _: Peer) -> Answer {
    Box::pin(async move {
        let NoInput {} = parse(input)?;
        let report = source.probe();
        render(&report.map_err(|message| fault(FaultKind::Internal, message))?)
    })
}

fn reload<S: Source>(source: Arc<S>, input: Value, peer: Peer) -> Answer {
    Box::pin(async move {
        let NoInput {} = parse(input)?;
        render(&source.reload(peer.actor()).await)
    })
}

fn user<S: Source>(source: Arc<S>, input: Value, peer: Peer) -> Answer {
    Box::pin(async move {
        // What was wrong with the input is not said: it may be a hash.
        let request: UserRequest = serde_json::from_value(input).map_err(|_| {
            let message = "not the input of this command".to_owned();
            fault(FaultKind::BadInput, message)
        })?;
        let reply = source.user(request, peer.actor()).await;
        render(&reply.map_err(|refused| user_fault(&refused))?)
    })
}

fn user_fault(refused: &UserFault) -> CommandFault {
    let kind = match refused {
        UserFault::Store(_) => FaultKind::Internal,
        _ => FaultKind::BadInput,
    };
    let message = match refused.hint() {
        Some(hint) => format!("{refused}; {hint}"),
        None => refused.to_string(),
    };
    fault(kind, message)
}

fn ca<S: Source>(source: Arc<S>, input: Value, peer: Peer) -> Answer {
    Box::pin(async move {
        // What was wrong with the input is not said: it may be a key.
        let request: CaRequest = serde_json::from_value(input).map_err(|_| {
            let message = "not the input of this command".to_owned();
            fault(FaultKind::BadInput, message)
        })?;
        let Actor { name, peer } = peer.actor();
        let reply = source.ca(request, Asker { name, peer }).await;
        render(&reply.map_err(|refused| ca_fault(&refused))?)
    })
}

fn ca_fault(refused: &CaError) -> CommandFault {
    let kind = if refused.is_passing() {
        FaultKind::Internal
    } else {
        FaultKind::BadInput
    };
    fault(kind, format!("{refused}; {}", refused.hint()))
}

/// Absent input is the input with every default.
fn parse<T: DeserializeOwned + Default>(input: Value) -> Result<T, CommandFault> {
    if input.is_null() {
        return Ok(T::default());
    }
    serde_json::from_value(input).map_err(|error| {
        fault(
            FaultKind::BadInput,
            format!("not the input of this command: {error}"),
        )
    })
}

fn render(answer: &impl Serialize) -> Result<Value, CommandFault> {
    serde_json::to_value(answer).map_err(|error| {
        fault(
            FaultKind::Internal,
            format!("the answer cannot be written: {error}"),
        )
    })
}

fn fault(kind: FaultKind, message: String) -> CommandFault {
    CommandFault { kind, message }
}
