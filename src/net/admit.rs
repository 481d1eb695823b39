//! The first part of a link: the CONNECT packet, who the client is, and the answer.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};
use tracing::info;

use super::Peer;
use super::access_counters::LoginOutcome;
use super::exchange::{Denial, Reauthentication, authenticate};
use super::hub::{Hub, random};
use super::identity::Identity;
use super::link::Admitted;
use super::port::{PortContext, PortTerms};
use super::stream::Stream;
use crate::auth::Acceptance;
use crate::broker::{Admission, ConnectionId, Refusal};
use crate::clock;
use crate::config::ClientIdBinding;
use crate::limits::CONNECT_BYTES_MAX;
use crate::mqtt::encode;
use crate::mqtt::{
    self, ConnAck, ConnAckProperties, Connect, DecodeOptions, ProtocolVersion, ReasonCode, Role,
    Violation,
};

/// Time for the last words to a client that is not served.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Takes a client in. `None` if it is not served; it has been told why then, as far as its version allows.
pub(super) async fn admit(
    stream: &mut Stream,
    port: &Arc<PortContext>,
    peer: &Peer,
    hub: &Hub,
) -> Option<Admitted> {
    let terms = port.terms();
    let admitting = Admitting {
        port,
        terms: &terms,
        peer,
        hub,
    };
    tokio::select! {
        admitted = admitting.admit(stream) => admitted,
        _ = port.ended() => None,
    }
}

/// What a client is admitted by.
struct Admitting<'a> {
    port: &'a Arc<PortContext>,
    terms: &'a PortTerms,
    peer: &'a Peer,
    hub: &'a Hub,
}

impl Admitting<'_> {
    async fn admit(&self, stream: &mut Stream) -> Option<Admitted> {
        let limits = &self.terms.limits;
        let connect_max = limits.max_packet_size.min(CONNECT_BYTES_MAX);
        let mut input = Vec::new();
        let read = read_connect(stream, &mut input, connect_max);
        let used = match timeout(limits.connect_timeout, read).await {
            Ok(Ok(used)) => used,
            Ok(Err(ConnectError::Closed)) => return None,
            Ok(Err(ConnectError::Fault(fault))) => {
                let answer = fault.version.zip(fault.connack_reason());
                refuse(stream, answer, Some(fault.violation.sentence())).await;
                self.log_violation(fault.violation);
                return None;
            }
            Err(_) => {
                self.log_violation(Violation::ConnectTimeout);
                return None;
            }
        };
        let mut left_over = input.split_off(used);
        let Ok(Some((connect, _))) = mqtt::decode_connect(&input, connect_max) else {
            return None;
        };
        let options = DecodeOptions {
            version: connect.version,
            max_packet_size: limits.max_packet_size,
            sender: Role::Client,
        };
        let acceptance = match self
            .log_in(stream, &mut left_over, &connect, &options)
            .await
        {
            Ok(acceptance) => acceptance,
            Err(denial) => {
                let answer = denial.reason().map(|reason| (connect.version, reason));
                refuse(stream, answer, None).await;
                return None;
            }
        };
        match self.connect_to_core(&connect, &acceptance, stream) {
            Ok(id) => Some(Admitted {
                id,
                options,
                packet_timeout: limits.packet_timeout,
                send_timeout: limits.send_timeout,
                left_over,
                reauthentication: Reauthentication::new(
                    &self.terms.authenticator,
                    &connect,
                    &acceptance.principal,
                    self.peer,
                ),
            }),
            Err(refusal) => {
                let answer = Some((connect.version, refusal.reason));
                let wanted = connect.properties.request_problem_information;
                refuse(stream, answer, wanted.then_some(refusal.sentence)).await;
                self.log_refusal(&connect, &refusal);
                None
            }
        }
    }

    /// Asks who the client is. What comes of it is counted and written down, and a failure has its consequences.
    async fn log_in(
        &self,
        stream: &mut Stream,
        left_over: &mut Vec<u8>,
        connect: &Connect<'_>,
        options: &DecodeOptions,
    ) -> Result<Acceptance, Denial> {
        let guard = self.terms.access.guard();
        let address = self.peer.address.map(|address| address.ip());
        let checked = guard.check(address, connect.username, clock::now());
        let result = match checked {
            Err(ban) => Err(Denial::Banned(ban)),
            Ok(()) => {
                let authenticated = authenticate(
                    stream,
                    left_over,
                    connect,
                    &self.terms.authenticator,
                    self.peer,
                    options,
                    self.terms.limits.connect_timeout,
                );
                authenticated.await
            }
        };
        let result = result.and_then(|acceptance| {
            let username = Some(&*acceptance.principal.username);
            match guard.note_success(address, username, clock::now()) {
                Ok(()) => Ok(acceptance),
                Err(ban) => Err(Denial::Banned(ban)),
            }
        });
        self.count(&result);
        if let Err(denial) = &result {
            self.log_denial(connect, denial);
            if denial.is_failed_login() {
                let failed = guard.note_failure(address, connect.username, clock::now());
                sleep(failed.delay).await;
            }
        }
        result
    }

    fn count(&self, result: &Result<Acceptance, Denial>) {
        let (method, outcome) = match result {
            Ok(acceptance) => (acceptance.method, LoginOutcome::Accepted),
            Err(Denial::Refused(refused)) => (refused.method, LoginOutcome::Refused),
            Err(Denial::Unavailable(fault)) => (fault.method, LoginOutcome::Unavailable),
            Err(Denial::Banned(_)) => ("", LoginOutcome::Banned),
            Err(Denial::Violation(_) | Denial::Gone) => return,
        };
        self.port.counters().logins().note(method, outcome);
    }

    fn connect_to_core(
        &self,
        connect: &Connect<'_>,
        acceptance: &Acceptance,
        stream: &Stream,
    ) -> Result<ConnectionId, Refusal> {
        let assigned = match connect.client_id {
            "" => self.assigned_client_id(&acceptance.principal.username),
            _ => String::new(),
        };
        let id = self.hub.connect(&Admission {
            connect,
            assigned_client_id: &assigned,
            principal: Arc::clone(&acceptance.principal),
            expires_at: self.hub.timestamp(acceptance.expires_at),
            authentication_data: acceptance.data.as_deref(),
            port: Arc::clone(&self.terms.policy),
            peer: &self.peer.to_string(),
            transport: stream.transport().as_str(),
        })?;
        self.hub.identify(id, Identity::new(self.port, acceptance));
        Ok(id)
    }

    /// The identifier of a client that sent none.
    fn assigned_client_id(&self, username: &str) -> String {
        let unique = || format!("{:016x}{:016x}", random(), random());
        match self.terms.authenticator.client_id_binding() {
            ClientIdBinding::Username => username.to_owned(),
            ClientIdBinding::UsernamePrefix => format!("{username}-{}", unique()),
            ClientIdBinding::Any => format!("auto-{}", unique()),
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

impl Admitting<'_> {
    fn log_violation(&self, violation: Violation) {
        let (port, peer) = (self.port.endpoint(), self.peer);
        let noted = self
            .hub
            .faults()
            .note(violation, peer.address, clock::now());
        let Some(unlogged) = noted else {
            return;
        };
        info!(
            port,
            %peer,
            clause = violation.clause(),
            reason = %violation.reason(),
            unlogged,
            "Client refused: {}",
            violation.sentence()
        );
    }

    fn log_refusal(&self, connect: &Connect<'_>, refusal: &Refusal) {
        if let Some(violation) = refusal.violation {
            return self.log_violation(violation);
        }
        info!(
            port = self.port.endpoint(),
            peer = %self.peer,
            client_id = connect.client_id,
            reason = %refusal.reason,
            "Client refused: {}",
            refusal.sentence
        );
    }

    fn log_denial(&self, connect: &Connect<'_>, denial: &Denial) {
        let banned: Cow<'static, str>;
        let (reason, method, sentence) = match denial {
            Denial::Violation(violation) => return self.log_violation(*violation),
            Denial::Refused(refused) => (refused.reason, refused.method, &refused.sentence),
            Denial::Unavailable(fault) => {
                (ReasonCode::ServerUnavailable, fault.method, &fault.sentence)
            }
            Denial::Banned(ban) => {
                banned = format!("{} is banned", ban.subject).into();
                (ReasonCode::Banned, "", &banned)
            }
            Denial::Gone => return,
        };
        info!(
            port = self.port.endpoint(),
            peer = %self.peer,
            client_id = connect.client_id,
            username = connect.username,
            method,
            %reason,
            "Client refused: {sentence}"
        );
    }
}
