//! Enhanced authentication (MQTT 5, 4.12): the exchange of a CONNECT, and that of a client that authenticates again.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::Peer;
use super::access_counters::LoginOutcome;
use super::port::PortContext;
use super::stream::Stream;
use crate::auth::{
    Acceptance, AuditEvent, AuditKind, Authenticator, Ban, Credentials, Exchange, Outcome, Refused,
    Unavailable,
};
use crate::clock;
use crate::mqtt::encode;
use crate::mqtt::{
    self, Auth, AuthProperties, Connect, DecodeOptions, Disconnect, Packet, ReasonCode, Violation,
};
use crate::policy::Principal;

/// Why a client is not served.
#[derive(Debug)]
pub(super) enum Denial {
    /// It is not who it says.
    Refused(Refused),
    /// Nobody can tell.
    Unavailable(Unavailable),
    /// Logins from its address or with its user name failed too often.
    Banned(Ban),
    /// It broke a rule of the exchange.
    Violation(Violation),
    /// It went away, or said that it goes.
    Gone,
}

impl Denial {
    /// The reason code for the client; `None` if nobody is there to hear it.
    pub(super) fn reason(&self) -> Option<ReasonCode> {
        match self {
            Self::Refused(refused) => Some(refused.reason),
            // A device that hears this tries again; one that hears that it is not authorized may give up.
            Self::Unavailable(_) => Some(ReasonCode::ServerUnavailable),
            Self::Banned(_) => Some(ReasonCode::Banned),
            Self::Violation(violation) => Some(violation.reason()),
            Self::Gone => None,
        }
    }

    /// Whether somebody has tried to be who it is not. A client that brought nothing, or the wrong kind of thing, has not.
    pub(super) fn is_failed_login(&self) -> bool {
        match self {
            Self::Refused(refused) => {
                !refused.method.is_empty() && refused.reason != ReasonCode::ClientIdentifierNotValid
            }
            Self::Unavailable(_) | Self::Banned(_) | Self::Violation(_) | Self::Gone => false,
        }
    }
}

/// Asks who the client of a CONNECT is, and passes challenges and answers on until that is known. `input` holds what came
/// after the CONNECT; the client has `answer_timeout` for each answer. How long an authenticator may take is its own
/// business: a slow one is no fault of the client.
pub(super) async fn authenticate(
    stream: &mut Stream,
    input: &mut Vec<u8>,
    connect: &Connect<'_>,
    authenticator: &Authenticator,
    peer: &Peer,
    options: &DecodeOptions,
    answer_timeout: Duration,
) -> Result<Acceptance, Denial> {
    let properties = &connect.properties;
    let credentials = Credentials {
        client_id: connect.client_id,
        username: connect.username,
        password: connect.password,
        method: properties.authentication_method,
        data: properties.authentication_data,
        certificates: peer.tls.as_ref().map_or(&[], |tls| &tls.certificates),
        address: peer.address,
        principal: None,
    };
    let mut outcome = authenticator.begin(credentials).await;
    loop {
        let (data, exchange) = match judge(outcome)? {
            Judgement::Accepted(acceptance) => return Ok(acceptance),
            Judgement::Continue(data, exchange) => (data, exchange),
        };
        let Some(method) = properties.authentication_method else {
            // An authenticator has no business challenging a client that cannot answer.
            return Err(not_mine());
        };
        let mut out = Vec::new();
        encode::auth(&mut out, &challenge_packet(method, data.as_deref()));
        if stream.write_all(&out).await.is_err() {
            return Err(Denial::Gone);
        }
        let answer = read_answer(stream, input, method, options);
        let answer = timeout(answer_timeout, answer)
            .await
            .unwrap_or(Err(Denial::Violation(Violation::ConnectTimeout)))?;
        outcome = authenticator.resume(exchange, answer.as_deref()).await;
    }
}

enum Judgement {
    Accepted(Acceptance),
    Continue(Option<Vec<u8>>, Exchange),
}

fn judge(outcome: Outcome) -> Result<Judgement, Denial> {
    match outcome {
        Outcome::Accepted(acceptance) => Ok(Judgement::Accepted(acceptance)),
        Outcome::Continue(challenge) => Ok(Judgement::Continue(challenge.data, challenge.exchange)),
        Outcome::Refused(refused) => Err(Denial::Refused(refused)),
        Outcome::NotMine => Err(not_mine()),
        Outcome::Unavailable(fault) => Err(Denial::Unavailable(fault)),
    }
}

fn not_mine() -> Denial {
    let sentence = "no method of the port knows credentials of this kind";
    Denial::Refused(Refused::new(ReasonCode::NotAuthorized, sentence))
}

fn challenge_packet<'a>(method: &'a str, data: Option<&'a [u8]>) -> Auth<'a> {
    Auth {
        reason: ReasonCode::ContinueAuthentication,
        properties: AuthProperties {
            authentication_method: Some(method),
            authentication_data: data,
            ..AuthProperties::default()
        },
    }
}

/// Reads the AUTH that answers a challenge.
async fn read_answer(
    stream: &mut Stream,
    input: &mut Vec<u8>,
    method: &str,
    options: &DecodeOptions,
) -> Result<Option<Vec<u8>>, Denial> {
    loop {
        match mqtt::decode(input, options) {
            Err(violation) => return Err(Denial::Violation(violation)),
            Ok(Some((packet, used))) => {
                let answer = check_answer(&packet, method)?;
                input.drain(..used);
                return Ok(answer);
            }
            Ok(None) => {}
        }
        match stream.read_buf(input).await {
            Ok(0) | Err(_) => return Err(Denial::Gone),
            Ok(_) => {}
        }
    }
}

/// Before the exchange is over a client may send nothing but AUTH and DISCONNECT (MQTT-3.1.2-30).
fn check_answer(packet: &Packet<'_>, method: &str) -> Result<Option<Vec<u8>>, Denial> {
    match packet {
        Packet::Auth(auth) if auth.properties.authentication_method != Some(method) => {
            Err(Denial::Violation(Violation::AuthenticationMethodChanged))
        }
        Packet::Auth(auth) if auth.reason == ReasonCode::ContinueAuthentication => {
            Ok(auth.properties.authentication_data.map(<[u8]>::to_vec))
        }
        Packet::Auth(_) => Err(Denial::Violation(Violation::AuthUnexpected)),
        Packet::Disconnect(_) => Err(Denial::Gone),
        _ => Err(Denial::Violation(Violation::PacketDuringAuthentication)),
    }
}

/// What a connected client needs to authenticate again (4.12.1).
pub(super) struct Reauthentication {
    /// What holds there when the client authenticates again may be another authenticator than at its CONNECT.
    port: Arc<PortContext>,
    method: Box<str>,
    client_id: Box<str>,
    principal: Arc<Principal>,
    peer: Peer,
    asked: Option<Pin<Box<dyn Future<Output = Outcome> + Send>>>,
    exchange: Option<(Arc<Authenticator>, Exchange)>,
    /// Who is asked, or was last.
    authenticator: Arc<Authenticator>,
}

/// What became of a step of a re-authentication.
#[derive(Debug)]
pub(super) enum Step {
    /// The client has proved again who it is.
    Done(Acceptance),
    /// The client has to answer.
    Challenge(Option<Vec<u8>>),
    /// The client is not who it was, or nobody can tell: the connection ends.
    Refused(ReasonCode),
}

impl Reauthentication {
    /// `None` for a client that came without an authentication method: it sends no AUTH.
    pub(super) fn new(
        port: &Arc<PortContext>,
        connect: &Connect<'_>,
        principal: &Arc<Principal>,
        peer: &Peer,
    ) -> Option<Box<Self>> {
        let method = connect.properties.authentication_method?;
        Some(Box::new(Self {
            port: Arc::clone(port),
            authenticator: Arc::clone(&port.terms().authenticator),
            method: method.into(),
            client_id: connect.client_id.into(),
            principal: Arc::clone(principal),
            peer: peer.clone(),
            asked: None,
            exchange: None,
        }))
    }

    /// Takes an AUTH from the client. [`Self::poll_step`] says what becomes of it.
    pub(super) fn handle_auth(&mut self, auth: &Auth<'_>) -> Result<(), Violation> {
        if auth.properties.authentication_method != Some(&*self.method) {
            return Err(Violation::AuthenticationMethodChanged);
        }
        let data = auth.properties.authentication_data.map(<[u8]>::to_vec);
        self.asked = Some(match (auth.reason, self.exchange.take()) {
            (ReasonCode::ReAuthenticate, None) => {
                self.authenticator = Arc::clone(&self.port.terms().authenticator);
                self.begin(Arc::clone(&self.authenticator), data)
            }
            (ReasonCode::ContinueAuthentication, Some((authenticator, exchange))) => {
                Box::pin(async move { authenticator.resume(exchange, data.as_deref()).await })
            }
            _ => return Err(Violation::AuthUnexpected),
        });
        Ok(())
    }

    fn begin(
        &self,
        authenticator: Arc<Authenticator>,
        data: Option<Vec<u8>>,
    ) -> Pin<Box<dyn Future<Output = Outcome> + Send>> {
        let (method, client_id) = (self.method.clone(), self.client_id.clone());
        let (principal, peer) = (Arc::clone(&self.principal), self.peer.clone());
        Box::pin(async move {
            let credentials = Credentials {
                client_id: &client_id,
                method: Some(&method),
                data: data.as_deref(),
                certificates: peer.tls.as_ref().map_or(&[], |tls| &tls.certificates),
                address: peer.address,
                principal: Some(&principal),
                ..Credentials::default()
            };
            authenticator.begin(credentials).await
        })
    }

    /// Whether the authenticator has been asked and has not answered.
    pub(super) fn is_asked(&self) -> bool {
        self.asked.is_some()
    }

    /// The authenticator's answer, when it is there.
    pub(super) fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        let Some(asked) = &mut self.asked else {
            return Poll::Pending;
        };
        let Poll::Ready(outcome) = asked.as_mut().poll(cx) else {
            return Poll::Pending;
        };
        self.asked = None;
        Poll::Ready(match judge(outcome) {
            // A session belongs to the principal that opened it.
            Ok(Judgement::Accepted(acceptance))
                if acceptance.principal.username != self.principal.username =>
            {
                let sentence = "the client is another than before";
                self.refused(&Denial::Refused(Refused {
                    method: acceptance.method,
                    ..Refused::new(ReasonCode::NotAuthorized, sentence)
                }))
            }
            Ok(Judgement::Accepted(acceptance)) => {
                self.principal = Arc::clone(&acceptance.principal);
                Step::Done(acceptance)
            }
            Ok(Judgement::Continue(data, exchange)) => {
                self.exchange = Some((Arc::clone(&self.authenticator), exchange));
                Step::Challenge(data)
            }
            Err(denial) => self.refused(&denial),
        })
    }

    /// Counts and writes down that a client could not prove again who it is.
    fn refused(&self, denial: &Denial) -> Step {
        let access = Arc::clone(&self.port.terms().access);
        let address = self.peer.address.map(|address| address.ip());
        let username = &self.principal.username;
        let (kind, method, sentence) = match denial {
            Denial::Refused(refused) => {
                (AuditKind::LoginRefused, refused.method, &*refused.sentence)
            }
            Denial::Unavailable(fault) => {
                (AuditKind::LoginUnavailable, fault.method, &*fault.sentence)
            }
            Denial::Banned(_) | Denial::Violation(_) | Denial::Gone => {
                return Step::Refused(ReasonCode::NotAuthorized);
            }
        };
        if denial.is_failed_login() {
            access.guard().note_failure(address, None, clock::now());
        }
        let outcome = match kind {
            AuditKind::LoginUnavailable => LoginOutcome::Unavailable,
            _ => LoginOutcome::Refused,
        };
        self.port.counters().logins().note(method, outcome);
        let event = AuditEvent::new(kind, username).actor(username);
        let event = event.client(self.port.endpoint(), address, &self.client_id);
        access
            .audit()
            .note(event.detail(&format!("{sentence} ({method}, again)")));
        // The code of CONNACK that asks to come back has no place in a DISCONNECT; this one has.
        let reason = match denial.reason() {
            Some(ReasonCode::ServerUnavailable) => ReasonCode::ServerBusy,
            Some(reason) if Disconnect::server_may_carry(reason) => reason,
            Some(_) | None => ReasonCode::NotAuthorized,
        };
        Step::Refused(reason)
    }
}
