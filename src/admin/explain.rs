//! Why a client may do something, or may not: the question and the answer, as programs read them.

use serde::{Deserialize, Serialize};

use crate::mqtt::{QoS, topic};
use crate::policy::{Action, By, Decision, Explanation};

/// What is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExplainedAction {
    /// To connect with the client identifier.
    Connect,
    /// To publish to a topic.
    Publish,
    /// To subscribe to a topic filter.
    Subscribe,
    /// To get a message of a topic.
    Read,
}

/// A question about a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainInput {
    /// The client identifier.
    pub client_id: String,
    /// What about.
    pub action: ExplainedAction,
    /// The topic name or topic filter; empty for `connect`.
    #[serde(default)]
    pub topic: String,
    /// The QoS of a message that is published.
    #[serde(default)]
    pub qos: u8,
    /// Whether such a message is to be retained.
    #[serde(default)]
    pub retain: bool,
}

/// The answer, for one client on one port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainReport {
    /// The port.
    pub port: String,
    /// Who the client is.
    pub principal: String,
    /// Its client identifier.
    pub client_id: String,
    /// What was asked about.
    pub action: ExplainedAction,
    /// The topic name or topic filter.
    pub topic: String,
    /// `allowed`, `denied` or `asked`: the last means that the back end of the port decides.
    pub decision: String,
    /// What decides, in words.
    pub by: String,
    /// Where the rule that decides is written.
    pub rule: Option<String>,
    /// Its pattern, as it is written.
    pub pattern: Option<String>,
    /// The same with what the client has for the tokens in it.
    pub filled: Option<String>,
    /// Highest QoS that a subscription is granted.
    pub granted_qos: Option<u8>,
    /// Of a subscription, only messages that the client may read are delivered.
    pub narrowed: bool,
}

impl ExplainInput {
    /// What the rules are asked.
    ///
    /// # Errors
    ///
    /// What is wrong with the question, in a sentence that continues "the topic" or the like.
    pub fn action(&self) -> Result<Action<'_>, String> {
        let name = || topic::check_name(&self.topic).map_err(|fault| fault.to_string());
        match self.action {
            ExplainedAction::Connect => Ok(Action::Connect),
            ExplainedAction::Publish => {
                name()?;
                let qos = QoS::from_u8(self.qos).ok_or("a QoS is 0, 1 or 2")?;
                Ok(Action::Publish {
                    topic: &self.topic,
                    qos,
                    retain: self.retain,
                })
            }
            ExplainedAction::Subscribe => {
                topic::check_filter(&self.topic).map_err(|fault| fault.to_string())?;
                let shared = topic::split_share(&self.topic);
                Ok(Action::Subscribe(
                    shared.map_or(&*self.topic, |(_, filter)| filter),
                ))
            }
            ExplainedAction::Read => {
                name()?;
                Ok(Action::Read(&self.topic))
            }
        }
    }

    /// The answer in words.
    #[must_use]
    pub fn report(&self, port: &str, principal: &str, said: Explanation) -> ExplainReport {
        let decision = match said.decision {
            Decision::Allowed => "allowed",
            Decision::Denied => "denied",
            Decision::Ask => "asked",
        };
        let by = match (said.by, said.decision) {
            (By::NoRule, Decision::Allowed) => "no rule is about connecting".to_owned(),
            (by, _) => by.to_string(),
        };
        ExplainReport {
            port: port.to_owned(),
            principal: principal.to_owned(),
            client_id: self.client_id.clone(),
            action: self.action,
            topic: self.topic.clone(),
            decision: decision.to_owned(),
            by,
            rule: said.place,
            pattern: said.pattern,
            filled: said.filled,
            granted_qos: said.qos.map(QoS::as_u8),
            narrowed: said.is_narrowed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(action: ExplainedAction, topic: &str) -> ExplainInput {
        ExplainInput {
            client_id: "c".to_owned(),
            action,
            topic: topic.to_owned(),
            qos: 1,
            retain: true,
        }
    }

    #[test]
    fn a_question_is_about_what_a_client_could_do() {
        let publish = input(ExplainedAction::Publish, "a/b");
        let expected = Action::Publish {
            topic: "a/b",
            qos: QoS::AtLeastOnce,
            retain: true,
        };
        assert_eq!(publish.action(), Ok(expected));
        assert!(input(ExplainedAction::Publish, "a/#").action().is_err());
        assert!(input(ExplainedAction::Read, "").action().is_err());
        let shared = input(ExplainedAction::Subscribe, "$share/g/a/#");
        assert_eq!(shared.action(), Ok(Action::Subscribe("a/#")));
        let qos = ExplainInput { qos: 3, ..publish };
        assert!(qos.action().is_err());
    }
}
