//! What the journal says about the end of a link.

use std::fmt;

use tracing::{debug, info};

use super::Peer;
use super::hub::Hub;
use super::link::End;
use super::port::PortContext;
use crate::broker::{ConnectionId, EndedBy};
use crate::clock;
use crate::mqtt::{ReasonCode, Violation};

/// The client of a link, for the journal.
struct Who<'a> {
    client_id: String,
    principal: Option<String>,
    port: &'a str,
    peer: &'a Peer,
}

/// Says why a link has ended, unless its address has said too much already.
pub(super) fn log_end(end: &End, hub: &Hub, id: ConnectionId, port: &PortContext, peer: &Peer) {
    let (client_id, principal, ended_by) = hub.with(|broker, _| {
        let client_id = broker.connection_client_id(id).unwrap_or_default();
        let principal = broker.connection_principal(id).map(str::to_owned);
        (client_id.to_owned(), principal, broker.ended_by(id))
    });
    let who = Who {
        client_id,
        principal,
        port: port.endpoint(),
        peer,
    };
    let sentence = match (end, ended_by) {
        (End::PacketTimeout, _) => "a packet took too long to come",
        (End::SendTimeout, _) => "it took nothing that was sent to it",
        (_, Some(ended_by)) => return log_ended_by(&ended_by, hub, &who),
        (End::Closed, None) => return who.debug("Client disconnected"),
        (End::ClosedByPeer, None) => return who.debug("Client closed without DISCONNECT"),
        (End::Broken(error), None) => return who.debug(format_args!("Connection lost: {error}")),
    };
    if let Some(unlogged) = hub.faults().note_line(peer.address, clock::now()) {
        who.info(None, None, unlogged, sentence);
    }
}

fn log_ended_by(ended_by: &EndedBy, hub: &Hub, who: &Who<'_>) {
    let EndedBy {
        reason,
        sentence,
        violation,
    } = ended_by;
    // Whoever stops the gateway or closes a port knows, and does not want a line for each of a thousand clients.
    if matches!(
        reason,
        ReasonCode::ServerShuttingDown | ReasonCode::AdministrativeAction
    ) {
        return who.debug(format_args!("Client disconnected: {sentence}"));
    }
    let unlogged = match violation {
        Some(violation) => hub
            .faults()
            .note(*violation, who.peer.address, clock::now()),
        None => hub.faults().note_line(who.peer.address, clock::now()),
    };
    if let Some(unlogged) = unlogged {
        who.info(
            violation.map(Violation::clause),
            Some(*reason),
            unlogged,
            sentence,
        );
    }
}

impl Who<'_> {
    fn debug(&self, text: impl fmt::Display) {
        let Self {
            client_id,
            principal,
            port,
            peer,
        } = self;
        debug!(client_id, principal, port, %peer, "{text}");
    }

    fn info(
        &self,
        clause: Option<&str>,
        reason: Option<ReasonCode>,
        unlogged: u64,
        sentence: &str,
    ) {
        let Self {
            client_id,
            principal,
            port,
            peer,
        } = self;
        let reason = reason.map(tracing::field::display);
        info!(client_id, principal, port, %peer, clause, reason, unlogged, "Client disconnected: {sentence}");
    }
}
