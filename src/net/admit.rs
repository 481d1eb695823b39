//! The first part of a link: the CONNECT packet, who the client is, and the answer.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};
use tracing::info;

use super::Peer;
use super::access_counters::LoginOutcome;
use super::exchange::{Denial, Reauthentication, authenticate};
use super::hub::{Hub, Reviewed, random};
use super::identity::{Identity, note_review};
use super::link::Admitted;
use super::port::{PortContext, PortTerms};
use super::stream::Stream;
use crate::auth::{
    Acceptance, AuditEvent, AuditKind, Ban, PROBE_USERNAME, Probe, Refused, TOKEN_USERNAME,
};
use crate::broker::{Admission, ConnectionId, Refusal, RefusalCause};
use crate::clock;
use crate::config::ClientIdBinding;
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
    port: &Arc<PortContext>,
    peer: &Peer,
    hub: &Hub,
) -> Option<Admitted> {
    tokio::select! {
        admitted = admit_on(stream, port, peer, hub) => admitted,
        _ = port.ended() => None,
    }
}

async fn admit_on(
    stream: &mut Stream,
    port: &Arc<PortContext>,
    peer: &Peer,
    hub: &Hub,
) -> Option<Admitted> {
    let first = port.terms();
    let mut admitting = Admitting {
        port,
        terms: &first,
        reviews: 0,
        peer,
        hub,
    };
    let mut input = Vec::new();
    let used = admitting.read(stream, &mut input).await?;
    // A client may take its time for the CONNECT, and is judged by what holds when it comes. Reviews that begin from here on
    // are caught up with.
    let reviews = first.access.reviews();
    let newest = port.terms();
    admitting.reviews = reviews;
    admitting.terms = &newest;
    admitting.admit(stream, input, used).await
}

/// What a client is admitted by.
struct Admitting<'a> {
    port: &'a Arc<PortContext>,
    terms: &'a PortTerms,
    /// How often connections had been looked at again when the terms were taken.
    reviews: u64,
    peer: &'a Peer,
    hub: &'a Hub,
}

impl Admitting<'_> {
    /// Reads the CONNECT, and returns its length.
    async fn read(&self, stream: &mut Stream, input: &mut Vec<u8>) -> Option<usize> {
        let limits = &self.terms.limits;
        let connect_max = limits.max_packet_size.min(CONNECT_BYTES_MAX);
        let read = read_connect(stream, input, connect_max);
        match timeout(limits.connect_timeout, read).await {
            Ok(Ok(used)) => Some(used),
            Ok(Err(ConnectError::Closed)) => None,
            Ok(Err(ConnectError::Fault(fault))) => {
                let answer = fault.version.zip(fault.connack_reason());
                refuse(stream, answer, Some(fault.violation.sentence())).await;
                self.log_violation(fault.violation);
                None
            }
            Err(_) => {
                self.log_violation(Violation::ConnectTimeout);
                None
            }
        }
    }

    async fn admit(
        &self,
        stream: &mut Stream,
        mut input: Vec<u8>,
        used: usize,
    ) -> Option<Admitted> {
        let limits = &self.terms.limits;
        let mut left_over = input.split_off(used);
        let Ok(Some((connect, _))) = mqtt::decode_connect(&input, CONNECT_BYTES_MAX) else {
            return None;
        };
        let options = DecodeOptions {
            version: connect.version,
            max_packet_size: limits.max_packet_size,
            sender: Role::Client,
        };
        if let Some(probe) = self.probe(&connect) {
            return self
                .admit_probe(stream, left_over, &connect, &probe, options)
                .await;
        }
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
        match self.connect_to_core(&connect, &acceptance, stream).await {
            Ok(id) => {
                self.catch_up(id, &connect, &acceptance);
                Some(Admitted {
                    id,
                    options,
                    packet_timeout: limits.packet_timeout,
                    send_timeout: limits.send_timeout,
                    left_over,
                    reauthentication: Reauthentication::new(
                        self.port,
                        &connect,
                        &acceptance.principal,
                        self.peer,
                    ),
                })
            }
            Err(refusal) => {
                let answer = Some((connect.version, refusal.reason));
                let wanted = connect.properties.request_problem_information;
                refuse(stream, answer, wanted.then_some(refusal.sentence)).await;
                self.log_refusal(&connect, &acceptance, &refusal);
                None
            }
        }
    }

    /// What a probe of the health gate is let in with, if this is one with a ticket.
    fn probe(&self, connect: &Connect<'_>) -> Option<Probe> {
        let is_one = connect.username == Some(PROBE_USERNAME) && self.peer.is_local();
        let secret = connect.password.filter(|_| is_one)?;
        let probes = self.terms.access.probes();
        probes.redeem(secret, clock::now())
    }

    /// Whether a client wants in that only a ticket would have let in.
    fn is_without_ticket(&self, connect: &Connect<'_>) -> bool {
        connect.username == Some(PROBE_USERNAME) || self.port.is_for_probes()
    }

    /// Serves a probe like any client, but by its own bounds and rights, and without a word in the audit log.
    async fn admit_probe(
        &self,
        stream: &mut Stream,
        left_over: Vec<u8>,
        connect: &Connect<'_>,
        probe: &Probe,
        options: DecodeOptions,
    ) -> Option<Admitted> {
        let limits = &probe.policy.limits;
        let connected = self.hub.connect(&Admission {
            connect,
            assigned_client_id: "",
            principal: Arc::clone(&probe.principal),
            will_answer: None,
            expires_at: None,
            authentication_data: None,
            port: Arc::clone(&probe.policy),
            peer: &self.peer.to_string(),
            transport: stream.transport().as_str(),
        });
        match connected {
            Ok(id) => Some(Admitted {
                id,
                options: DecodeOptions {
                    max_packet_size: limits.max_packet_size,
                    ..options
                },
                packet_timeout: limits.packet_timeout,
                send_timeout: limits.send_timeout,
                left_over,
                reauthentication: None,
            }),
            Err(refusal) => {
                let answer = Some((connect.version, refusal.reason));
                refuse(stream, answer, Some(refusal.sentence)).await;
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
        let username = guarded_username(connect);
        let checked = guard.check(address, username, clock::now());
        let result = match checked {
            Err(ban) => Err(Denial::Banned(ban)),
            Ok(()) if self.is_without_ticket(connect) => Err(without_ticket()),
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
            // Only who has proven that it has this name makes its address known for it.
            let proven = username.filter(|name| is_proven(name, &acceptance));
            match guard.note_success(address, proven, clock::now()) {
                Ok(()) => Ok(acceptance),
                Err(ban) => Err(Denial::Banned(ban)),
            }
        });
        self.count(&result);
        match &result {
            Ok(acceptance) => self.note_accepted(connect, acceptance),
            Err(denial) => {
                self.note_denial(connect, denial);
                if denial.is_failed_login() {
                    let failed = guard.note_failure(address, username, clock::now());
                    self.note_bans(connect, &failed.bans);
                    sleep(failed.delay).await;
                }
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

    async fn connect_to_core(
        &self,
        connect: &Connect<'_>,
        acceptance: &Acceptance,
        stream: &Stream,
    ) -> Result<ConnectionId, Refusal> {
        let assigned = match connect.client_id {
            "" => self.assigned_client_id(&acceptance.principal.username),
            _ => String::new(),
        };
        let client_id = match connect.client_id {
            "" => &assigned,
            client_id => client_id,
        };
        let will_answer = self.ask_about_will(connect, acceptance, client_id).await;
        self.hub.connect(&Admission {
            connect,
            assigned_client_id: &assigned,
            principal: Arc::clone(&acceptance.principal),
            will_answer,
            expires_at: self.hub.timestamp(acceptance.expires_at),
            authentication_data: acceptance.data.as_deref(),
            port: Arc::clone(&self.terms.policy),
            peer: &self.peer.to_string(),
            transport: stream.transport().as_str(),
        })
    }

    /// What the back end of the port says about the topic of a will, where no rule decides.
    async fn ask_about_will(
        &self,
        connect: &Connect<'_>,
        acceptance: &Acceptance,
        client_id: &str,
    ) -> Option<bool> {
        let (will, acl) = (connect.will.as_ref()?, self.terms.acl.as_ref()?);
        let principal = &acceptance.principal;
        let authorization = &self.terms.policy.authorization;
        let rights = authorization.rights(principal, client_id)?;
        let verdict = rights.publish(will.topic, will.qos, will.retain);
        if verdict.decision != Decision::Ask {
            return None;
        }
        let question = Question {
            access: TopicAccess::Write,
            topic: will.topic.into(),
        };
        Some(acl.ask(principal, client_id, &question).await.allowed == Some(true))
    }

    /// Catches up with what has changed since the client began to log in: it was not there to be looked at.
    fn catch_up(&self, id: ConnectionId, connect: &Connect<'_>, acceptance: &Acceptance) {
        let authenticator = &self.terms.authenticator;
        let identity = Identity::new(self.port, authenticator, connect.client_id, acceptance);
        self.hub.identify(id, identity.clone());
        let audit = self.terms.access.audit();
        let newest = self.port.terms().policy.clone();
        if !Arc::ptr_eq(&newest, &self.terms.policy) {
            let review = self
                .hub
                .with(|broker, now| broker.handle_policy_outdated(id, &newest, now));
            note_review(audit, self.port.endpoint(), &review);
        }
        if self.terms.access.reviews() != self.reviews
            && let Some(Reviewed::Changed(review)) = self.hub.review(id, identity)
        {
            note_review(audit, self.port.endpoint(), &review);
        }
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

    fn log_refusal(&self, connect: &Connect<'_>, acceptance: &Acceptance, refusal: &Refusal) {
        if let Some(violation) = refusal.violation {
            return self.log_violation(violation);
        }
        match refusal.cause {
            // Written down with the rule that says so.
            RefusalCause::NotAllowed => {}
            RefusalCause::SessionOfAnother => {
                let username = &acceptance.principal.username;
                let event = self.event(AuditKind::TakeoverRefused, username, connect);
                self.terms.access.audit().note(event.actor(username));
            }
            RefusalCause::Violation | RefusalCause::NoRoom => info!(
                port = self.port.endpoint(),
                peer = %self.peer,
                client_id = connect.client_id,
                reason = %refusal.reason,
                "Client refused: {}",
                refusal.sentence
            ),
        }
    }

    fn note_accepted(&self, connect: &Connect<'_>, acceptance: &Acceptance) {
        // Whoever opens a port to everybody does not want to be told who comes.
        if acceptance.method.is_empty() {
            return;
        }
        let username = &acceptance.principal.username;
        let event = self.event(AuditKind::LoginAccepted, username, connect);
        let event = event.actor(username).detail(acceptance.method);
        self.terms.access.audit().note(event);
    }

    fn note_denial(&self, connect: &Connect<'_>, denial: &Denial) {
        let (kind, detail) = match denial {
            Denial::Violation(violation) => return self.log_violation(*violation),
            Denial::Gone => return,
            Denial::Refused(refused) => {
                let detail = told(&refused.sentence, refused.method, refused.reason);
                (AuditKind::LoginRefused, detail)
            }
            Denial::Unavailable(fault) => {
                let reason = ReasonCode::ServerUnavailable;
                let detail = told(&fault.sentence, fault.method, reason);
                (AuditKind::LoginUnavailable, detail)
            }
            Denial::Banned(ban) => {
                let detail = told(
                    &format!("{} is banned", ban.subject),
                    "",
                    ReasonCode::Banned,
                );
                (AuditKind::LoginRefused, detail)
            }
        };
        let event = self.event(kind, connect.username.unwrap_or_default(), connect);
        self.terms.access.audit().note(event.detail(&detail));
    }

    fn note_bans(&self, connect: &Connect<'_>, bans: &[Ban]) {
        for ban in bans {
            let left = ban.until.saturating_duration_since(clock::now());
            let event = self.event(AuditKind::Ban, &ban.subject.to_string(), connect);
            let event = event.detail(&format!("for {} s", left.as_secs()));
            self.terms.access.audit().note(event);
        }
    }

    fn event(&self, kind: AuditKind, subject: &str, connect: &Connect<'_>) -> AuditEvent {
        let address = self.peer.address.map(|address| address.ip());
        AuditEvent::new(kind, subject).client(self.port.endpoint(), address, connect.client_id)
    }
}

/// The user name that failures are counted for. All clients with tokens of a cluster share theirs, which says nothing of any.
fn guarded_username<'a>(connect: &Connect<'a>) -> Option<&'a str> {
    connect.username.filter(|name| *name != TOKEN_USERNAME)
}

fn without_ticket() -> Denial {
    let sentence = "it is no probe that the gateway has asked for";
    let mut refused = Refused::new(ReasonCode::NotAuthorized, sentence);
    refused.method = "probe";
    Denial::Refused(refused)
}

fn is_proven(username: &str, acceptance: &Acceptance) -> bool {
    let is_anybodys = matches!(acceptance.method, "" | "anonymous");
    !is_anybodys && *acceptance.principal.username == *username
}

/// What the audit is told about a refusal.
fn told(sentence: &str, method: &str, reason: ReasonCode) -> String {
    match method {
        "" => format!("{sentence} ({reason})"),
        method => format!("{sentence} ({method}, {reason})"),
    }
}
