//! Who may do what: the rights of a client where it publishes, and the questions to somebody else where no rule decides.

use std::time::Duration;

use super::clearance::{Asked, Clearance, Inquiry};
use super::connection::Admission;
use super::denial::DeniedAction;
use super::time::Timestamp;
use super::timers::Timer;
use super::{Broker, ConnectionId, Effect, Refusal, RefusalCause};
use crate::mqtt::{Publish, ReasonCode, Will};
use crate::policy::{
    By, Decision, DeniedPublish, Question, Rights, TopicAccess, Verdict, is_reserved,
};

/// What the rights of a client say to a PUBLISH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permission {
    Granted,
    Denied(By),
    /// A rule allows it, and has allowed enough for now.
    TooMuch,
    /// Somebody has been asked.
    Asked,
}

impl Broker {
    /// Takes what is to be asked about the topics of a client.
    pub fn take_questions(&mut self, id: ConnectionId) -> Option<Inquiry> {
        let connection = self.clients.connections.get_mut(id)?;
        let questions = connection.clearance.as_mut()?.take_questions();
        let session = self.clients.sessions.get(connection.session)?;
        let principal = session.principal.clone()?;
        (!questions.is_empty()).then(|| Inquiry {
            principal,
            client_id: session.client_id.clone(),
            questions,
        })
    }

    /// The answer to a question of [`Broker::take_questions`], and for how long it is good; none if nobody can tell. Answers
    /// for a packet that waits must all be there before it is handed over again, and have the same `now`.
    ///
    /// What a packet asks for is denied if nobody can tell, and that is not remembered. Messages for the client wait on, and
    /// there is a new question after a pause. An answer by other rights than those of now says nothing.
    pub fn handle_acl_answer(
        &mut self,
        id: ConnectionId,
        asked: &Asked,
        is_allowed: Option<bool>,
        good_for: Duration,
        now: Timestamp,
    ) {
        let connection = self.clients.connections.get_mut(id);
        let Some(connection) = connection.filter(|connection| !connection.closing) else {
            return;
        };
        let Some(clearance) = &mut connection.clearance else {
            return;
        };
        if !clearance.is_current(asked) {
            return;
        }
        let question = &asked.question;
        let is_allowed = match is_allowed {
            None if !asked.is_for_packet => {
                if let Some(at) = clearance.leave_open(&question.topic, now) {
                    self.clients.timers.arm(at, Timer::AskAgain(id));
                }
                return;
            }
            known => known == Some(true),
        };
        clearance.remember(question, is_allowed, good_for, now);
        if question.access == TopicAccess::Read {
            self.fill(id, now);
            self.tidy_answers(id, now);
        }
    }

    /// The pause is over: whatever is first among what still waits asks again.
    pub(super) fn handle_ask_again(&mut self, id: ConnectionId, now: Timestamp) {
        if let Some(connection) = self.clients.connections.get_mut(id)
            && let Some(clearance) = &mut connection.clearance
        {
            clearance.reopen();
            self.fill(id, now);
        }
    }

    /// After a packet whose rights were asked for.
    pub(super) fn tidy_answers(&mut self, id: ConnectionId, now: Timestamp) {
        if let Some(connection) = self.clients.connections.get_mut(id)
            && let Some(clearance) = &mut connection.clearance
        {
            clearance.is_packet_waiting = false;
            clearance.tidy(now);
        }
    }

    /// What a client may do on a connection that begins; none where the port has no rules.
    pub(super) fn admit(
        &mut self,
        admission: &Admission<'_>,
        client_id: &str,
    ) -> Result<Option<Box<Rights>>, Refusal> {
        let port = &admission.port;
        let rights = port.authorization.rights(&admission.principal, client_id);
        let mut denied = None;
        if let Some(rights) = &rights {
            let verdict = rights.connect();
            if !verdict.is_allowed() {
                let sentence = "The client may not connect with this client identifier";
                denied = Some(((DeniedAction::Connect, "", verdict.by), sentence));
            }
        }
        if let (Some(will), None) = (&admission.connect.will, denied)
            && let Some(by) = will_denied_by(rights.as_ref(), will, admission.will_answer)
        {
            let sentence = "The client may not publish its will";
            denied = Some(((DeniedAction::Will, will.topic, by), sentence));
        }
        let Some((denied, sentence)) = denied else {
            return Ok(rights.map(Box::new));
        };
        let principal = &admission.principal;
        self.deny_admission(port, principal, client_id, denied, rights.as_ref());
        Err(Refusal {
            cause: RefusalCause::NotAllowed,
            ..Refusal::new(ReasonCode::NotAuthorized, sentence)
        })
    }

    /// Whether a client may publish. A right that is granted is used: it counts in the rates of its rule.
    pub(super) fn may_publish(
        &mut self,
        id: ConnectionId,
        publish: &Publish<'_>,
        topic: &str,
        now: Timestamp,
    ) -> Permission {
        if is_reserved(topic) {
            return Permission::Denied(By::Reserved);
        }
        let clients = &mut self.clients;
        let Some(connection) = clients.connections.get_mut(id) else {
            return Permission::Denied(By::NoRule);
        };
        let Some(clearance) = &mut connection.clearance else {
            return Permission::Granted;
        };
        let session = clients.sessions.get(connection.session);
        let Some(rights) = session.and_then(|session| session.rights.as_deref()) else {
            return Permission::Granted;
        };
        let hash = self.subscriptions.hash(topic);
        let known = clearance.publish_rights(rights, hash, topic);
        let verdict = decide(
            known.verdict(publish.qos, publish.retain),
            clearance,
            (TopicAccess::Write, topic),
            now,
        );
        if clearance.is_packet_waiting && verdict.decision != Decision::Ask {
            clearance.is_packet_waiting = false;
            clearance.tidy(now);
        }
        match (verdict.decision, verdict.by) {
            (Decision::Denied, by) => Permission::Denied(by),
            (Decision::Allowed, By::Rule(number)) => match rights.rule(number) {
                Some(rule) if !clearance.takes(number, rule, publish.payload.len(), now) => {
                    Permission::TooMuch
                }
                _ => Permission::Granted,
            },
            (Decision::Allowed, _) => Permission::Granted,
            (Decision::Ask, _) => {
                clearance.ask_for_packet([Question {
                    access: TopicAccess::Write,
                    topic: topic.into(),
                }]);
                clients.effects.push(Effect::Ask(id));
                Permission::Asked
            }
        }
    }

    /// Whether a PUBLISH that is not taken ends the connection: before version 5 there is no other way to say so.
    pub(super) fn closes_on_denial(&self, id: ConnectionId) -> bool {
        let connection = self.clients.connections.get(id);
        let Some(connection) = connection.filter(|connection| !connection.version.is_v5()) else {
            return false;
        };
        let session = self.clients.sessions.get(connection.session);
        let rights = session.and_then(|session| session.rights.as_deref());
        rights.is_some_and(|rights| rights.denied_publish() == DeniedPublish::Disconnect)
    }
}

/// A verdict of the rules, or the answer of the back end in its place.
pub(super) fn decide(
    verdict: Verdict,
    clearance: &Clearance,
    (access, topic): (TopicAccess, &str),
    now: Timestamp,
) -> Verdict {
    match verdict.decision {
        Decision::Ask => clearance.answer(access, topic, now).unwrap_or(verdict),
        Decision::Allowed | Decision::Denied => verdict,
    }
}

/// What denies a will, if anything does.
fn will_denied_by(rights: Option<&Rights>, will: &Will<'_>, answer: Option<bool>) -> Option<By> {
    let Some(rights) = rights else {
        return is_reserved(will.topic).then_some(By::Reserved);
    };
    let verdict = rights.publish(will.topic, will.qos, will.retain);
    match verdict.decision {
        Decision::Allowed => None,
        Decision::Denied => Some(verdict.by),
        Decision::Ask => (answer != Some(true)).then_some(verdict.by),
    }
}
