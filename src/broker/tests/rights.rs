//! What a world knows of rights: rules that change, and a back end that is asked.

use std::sync::Arc;
use std::time::Duration;

use super::world::{Message, Received, World};
use crate::broker::{ConnectionId, PortPolicy, Review};
use crate::policy::testing::authorization;
use crate::policy::{Question, RuleSet};

impl World {
    /// Clients that connect from here on have these rules; those that are there keep theirs.
    pub(super) fn set_rules(&mut self, rules: RuleSet) {
        self.port = Arc::new(PortPolicy {
            authorization: authorization(rules),
            ..PortPolicy::clone(&self.port)
        });
    }

    /// Everybody has these rules now.
    pub(super) fn change_rules(&mut self, rules: RuleSet) -> Review {
        self.set_rules(rules);
        let mut review = Review::default();
        for first in 0.. {
            let port = Arc::clone(&self.port);
            let places = first..first + 1;
            let piece = self
                .broker
                .handle_policy_changed("test", &port, places, self.now);
            match piece {
                Some(piece) => review.add(piece),
                None => break,
            }
        }
        self.run();
        review
    }

    pub(super) fn take_questions(&mut self, id: ConnectionId) {
        let inquiry = self.broker.take_questions(id);
        let questions = inquiry.into_iter().flat_map(|inquiry| inquiry.questions);
        self.questions.extend(questions.map(|asked| (id, asked)));
    }

    /// Whether a packet of a client waits for answers.
    pub(super) fn is_asking(&self, id: ConnectionId) -> bool {
        self.asking.contains_key(&id)
    }

    /// The back end answers everything that it has been asked so far.
    pub(super) fn answer(&mut self, good_for: u64, allows: impl Fn(&Question) -> bool) {
        self.bring_answers(good_for, |question| Some(allows(question)));
    }

    /// Nobody can tell anything of what has been asked so far; returns how much that was.
    pub(super) fn cannot_tell(&mut self) -> usize {
        let asked = self.questions.len();
        self.bring_answers(0, |_| None);
        asked
    }

    fn bring_answers(&mut self, good_for: u64, allows: impl Fn(&Question) -> Option<bool>) {
        let good_for = Duration::from_secs(good_for);
        for (id, asked) in std::mem::take(&mut self.questions) {
            let is_allowed = allows(&asked.question);
            let now = self.now;
            self.broker
                .handle_acl_answer(id, &asked, is_allowed, good_for, now);
        }
        for (id, bytes) in std::mem::take(&mut self.asking) {
            if self.links.get(&id).is_some_and(|link| !link.closed) {
                self.hand_over(id, &bytes).unwrap();
            }
        }
        self.run();
    }

    /// The messages that a client has received and that nobody has looked at.
    pub(super) fn peek_messages(&self, id: ConnectionId) -> Vec<Message> {
        let publishes = |received: &Received| match received {
            Received::Publish(message) => Some(message.clone()),
            _ => None,
        };
        self.links[&id]
            .received
            .iter()
            .filter_map(publishes)
            .collect()
    }
}
