//! The first part of a link: the CONNECT packet, who the client is, and the answer.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tracing::info;

use super::Peer;
use super::exchange::{Denial, Reauthentication, authenticate};
use super::hub::{Hub, random};
use super::link::Admitted;
use super::port::{PortContext, PortTerms};
use super::stream::Stream;
use crate::auth::Acceptance;
use crate::broker::{Admission, Refusal, RefusalCause};
use crate::clock;
use crate::limits::CONNECT_BYTES_MAX;
use crate::mqtt::encode;
use crate::mqtt::{
    self, ConnAck, ConnAckProperties, Connect, DecodeOptions, ProtocolVersion, ReasonCode, Role,
    Violation,
};
use crate::policy::{Decision, Question, TopicAccess};

/// Time for the last words to a client that is not served.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Takes a client in. `None` if it is not served; it has been told why then, as far as its version allows.
pub(super) async fn admit(
    stream: &mut Stream,
    port: &PortContext,
    peer: &Peer,
    hub: &Hub,
) -> Option<Admitted> {
    let terms = port.terms();
    let admitted = tokio::select! {
        admitted = timeout(terms.limits.connect_timeout, admit_on(stream, port, &terms, peer, hub)) => admitted,
        _ = port.ended() => return None,
    };
    if admitted.is_err() {
        log_violation(port, peer, hub, Violation::ConnectTimeout);
    }
    admitted.ok().flatten()
}

async fn admit_on(
    stream: &mut Stream,
    port: &PortContext,
    terms: &PortTerms,
    peer: &Peer,
    hub: &Hub,
) -> Option<Admitted> {
    let max_packet_size = terms.limits.max_packet_size;
    let connect_max = max_packet_size.min(CONNECT_BYTES_MAX);
    let mut input = Vec::new();
    let used = match read_connect(stream, &mut input, connect_max).await {
        Ok(used) => used,
        Err(ConnectError::Closed) => return None,
        Err(ConnectError::Fault(fault)) => {
            let answer = fault.version.zip(fault.connack_reason());
            refuse(stream, answer, Some(fault.violation.sentence())).await;
            log_violation(port, peer, hub, fault.violation);
            return None;
        }
    };
    let mut left_over = input.split_off(used);
    let Ok(Some((connect, _))) = mqtt::decode_connect(&input, connect_max) else {
        return None;
    };
    let options = DecodeOptions {
        version: connect.version,
        max_packet_size,
        sender: Role::Client,
    };
    let authenticator = &terms.authenticator;
    let authenticated = authenticate(
        stream,
        &mut left_over,
        &connect,
        authenticator,
        peer,
        &options,
    );
    let acceptance = match authenticated.await {
        Ok(acceptance) => acceptance,
        Err(denial) => {
            let answer = denial.reason().map(|reason| (connect.version, reason));
            refuse(stream, answer, None).await;
            log_denial(port, peer, hub, &connect, denial);
            return None;
        }
    };
    let admitted = connect_to_core(&connect, &acceptance, terms, peer, stream, hub).await;
    if let Ok(id) = admitted {
        let newest = port.terms().policy.clone();
        if !Arc::ptr_eq(&newest, &terms.policy) {
            // Rules have changed while the client was being asked who it is.
            hub.with(|broker, now| broker.handle_policy_outdated(id, &newest, now));
        }
    }
    match admitted {
        Ok(id) => Some(Admitted {
            id,
            options,
            packet_timeout: terms.limits.packet_timeout,
            send_timeout: terms.limits.send_timeout,
            left_over,
            reauthentication: Reauthentication::new(
                authenticator,
                &connect,
                &acceptance.principal,
                peer,
            ),
        }),
        Err(refusal) => {
            let answer = Some((connect.version, refusal.reason));
            let wanted = connect.properties.request_problem_information;
            refuse(stream, answer, wanted.then_some(refusal.sentence)).await;
            log_refusal(port, peer, hub, &connect, &refusal);
            None
        }
    }
}

/// Why there is no CONNECT.
pub(super) enum ConnectError {
    Closed,
    Fault(mqtt::ConnectFault),
}

/// Reads until a CONNECT is complete; returns its length.
pub(super) async fn read_connect(
    stream: &mut Stream,
    input: &mut Vec<u8>,
    max_packet_size: u32,
) -> Result<usize, ConnectError> {
    loop {
        match mqtt::decode_connect(input, max_packet_size) {
            Ok(Some((_, used))) => return Ok(used),
            Ok(None) => {}
            Err(fault) => return Err(ConnectError::Fault(fault)),
        }
        match stream.read_buf(input).await {
            Ok(0) | Err(_) => return Err(ConnectError::Closed),
            Ok(_) => {}
        }
    }
}

async fn connect_to_core(
    connect: &Connect<'_>,
    acceptance: &Acceptance,
    terms: &PortTerms,
    peer: &Peer,
    stream: &Stream,
    hub: &Hub,
) -> Result<crate::broker::ConnectionId, Refusal> {
    let assigned = match connect.client_id {
        "" => format!("auto-{:016x}{:016x}", random(), random()),
        _ => String::new(),
    };
    let client_id = match connect.client_id {
        "" => &assigned,
        client_id => client_id,
    };
    let will_answer = ask_about_will(connect, acceptance, terms, client_id).await;
    hub.connect(&Admission {
        connect,
        assigned_client_id: &assigned,
        principal: Arc::clone(&acceptance.principal),
        will_answer,
        expires_at: hub.timestamp(acceptance.expires_at),
        authentication_data: acceptance.data.as_deref(),
        port: Arc::clone(&terms.policy),
        peer: &peer.to_string(),
        transport: stream.transport().as_str(),
    })
}

/// What the back end of the port says about the topic of a will, where no rule decides.
async fn ask_about_will(
    connect: &Connect<'_>,
    acceptance: &Acceptance,
    terms: &PortTerms,
    client_id: &str,
) -> Option<bool> {
    let (will, acl) = (connect.will.as_ref()?, terms.acl.as_ref()?);
    let principal = &acceptance.principal;
    let rights = terms.policy.authorization.rights(principal, client_id)?;
    let verdict = rights.publish(will.topic, will.qos, will.retain);
    if verdict.decision != Decision::Ask {
        return None;
    }
    let question = Question {
        access: TopicAccess::Write,
        topic: will.topic.into(),
    };
    Some(acl.ask(principal, client_id, &question).await.allowed)
}

/// Answers with a CONNACK that refuses, if there is one for the version.
pub(super) async fn refuse(
    stream: &mut Stream,
    answer: Option<(ProtocolVersion, ReasonCode)>,
    reason_string: Option<&str>,
) {
    let Some((version, reason)) = answer else {
        return;
    };
    let connack = ConnAck {
        session_present: false,
        reason,
        properties: ConnAckProperties {
            reason_string,
            ..ConnAckProperties::default()
        },
    };
    let mut out = Vec::new();
    encode::connack(&mut out, version, &connack);
    // The connection ends whether or not this arrives.
    let _ = timeout(ANSWER_TIMEOUT, stream.write_all(&out)).await;
}

fn log_violation(port: &PortContext, peer: &Peer, hub: &Hub, violation: Violation) {
    let Some(unlogged) = hub.faults().note(violation, peer.address, clock::now()) else {
        return;
    };
    info!(
        port = port.endpoint(),
        %peer,
        clause = violation.clause(),
        reason = %violation.reason(),
        unlogged,
        "Client refused: {}",
        violation.sentence()
    );
}

fn log_refusal(
    port: &PortContext,
    peer: &Peer,
    hub: &Hub,
    connect: &Connect<'_>,
    refusal: &Refusal,
) {
    if let Some(violation) = refusal.violation {
        return log_violation(port, peer, hub, violation);
    }
    if refusal.cause == RefusalCause::NotAllowed {
        // Written down with the rule that says so.
        return;
    }
    info!(
        port = port.endpoint(),
        %peer,
        client_id = connect.client_id,
        reason = %refusal.reason,
        "Client refused: {}",
        refusal.sentence
    );
}

fn log_denial(port: &PortContext, peer: &Peer, hub: &Hub, connect: &Connect<'_>, denial: Denial) {
    match denial {
        Denial::Violation(violation) => log_violation(port, peer, hub, violation),
        Denial::Refused(refused) => info!(
            port = port.endpoint(),
            %peer,
            client_id = connect.client_id,
            username = connect.username,
            method = refused.method,
            reason = %refused.reason,
            "Client refused: {}",
            refused.sentence
        ),
        Denial::Unavailable(fault) => info!(
            port = port.endpoint(),
            %peer,
            client_id = connect.client_id,
            username = connect.username,
            method = fault.method,
            reason = %ReasonCode::ServerUnavailable,
            "Client refused: {}",
            fault.sentence
        ),
        Denial::Gone => {}
    }
}
