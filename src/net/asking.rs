//! Questions to the ACL back end of a port, asked by the link so that the core never waits.
//!
//! A question comes from the core with the turn of a link, and its answer goes back with a later one. A packet that waits for
//! answers is handed over again when all of them are there; answers about messages for the client go back at once. That nobody
//! can tell goes back as well: the core asks again after a pause.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::port::PortContext;
use crate::auth::{Acl, Answer};
use crate::broker::{Asked, Broker, ConnectionId, Inquiry, Timestamp};
use crate::policy::Principal;

/// Questions of one link that are with the back end at one time.
const UNDER_WAY_MAX: usize = 8;

type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// The questions of one link.
#[derive(Default)]
pub(super) struct Asking {
    waiting: VecDeque<Waiting>,
    under_way: Vec<(Asked, Answering)>,
    /// Answers for the packet that waits.
    answered: Vec<(Asked, Answer)>,
}

/// A question that is not asked yet.
struct Waiting {
    acl: Option<Arc<Acl>>,
    principal: Arc<Principal>,
    client_id: Arc<str>,
    asked: Asked,
}

impl Asking {
    /// Takes questions of the core.
    pub(super) fn take(&mut self, inquiry: Inquiry, port: &PortContext) {
        // Rules may have changed since the link began.
        let acl = port.terms().acl.clone();
        let client_id: Arc<str> = inquiry.client_id.into();
        if let Some(newest) = inquiry.questions.last() {
            self.forget_older(newest.generation);
        }
        for asked in inquiry.questions {
            self.waiting.push_back(Waiting {
                acl: acl.clone(),
                principal: Arc::clone(&inquiry.principal),
                client_id: Arc::clone(&client_id),
                asked,
            });
        }
    }

    /// Does not ask for messages by rights of before any more. What a packet waits for is asked, or the link would not know
    /// when to hand it over again.
    fn forget_older(&mut self, generation: u64) {
        self.waiting
            .retain(|Waiting { asked, .. }| asked.is_for_packet || asked.generation == generation);
    }

    /// Whether a packet of the client waits for answers.
    pub(super) fn awaits_answers(&self) -> bool {
        let waiting = self.waiting.iter().map(|waiting| &waiting.asked);
        let under_way = self.under_way.iter().map(|(asked, _)| asked);
        waiting.chain(under_way).any(|asked| asked.is_for_packet)
    }

    /// Goes on asking. Returns the answers that came about messages for the client; those for a packet are kept for
    /// [`Self::take_answers`].
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Vec<(Asked, Answer)> {
        let mut come = Vec::new();
        loop {
            while self.under_way.len() < UNDER_WAY_MAX
                && let Some(waiting) = self.waiting.pop_front()
            {
                self.under_way.push(waiting.ask());
            }
            let before = self.under_way.len();
            let mut left = Vec::with_capacity(before);
            for (asked, mut answering) in self.under_way.drain(..) {
                match answering.as_mut().poll(cx) {
                    Poll::Pending => left.push((asked, answering)),
                    Poll::Ready(answer) if asked.is_for_packet => {
                        self.answered.push((asked, answer));
                    }
                    Poll::Ready(answer) => come.push((asked, answer)),
                }
            }
            self.under_way = left;
            if self.waiting.is_empty() || self.under_way.len() == before {
                return come;
            }
        }
    }

    /// The answers for the packet that has waited.
    pub(super) fn take_answers(&mut self) -> Vec<(Asked, Answer)> {
        std::mem::take(&mut self.answered)
    }
}

/// Tells the core what was answered.
pub(super) fn tell(
    broker: &mut Broker,
    id: ConnectionId,
    answers: &[(Asked, Answer)],
    now: Timestamp,
) {
    for (asked, answer) in answers {
        let Answer { allowed, good_for } = *answer;
        broker.handle_acl_answer(id, asked, allowed, good_for, now);
    }
}

impl Waiting {
    fn ask(self) -> (Asked, Answering) {
        let Self {
            acl,
            principal,
            client_id,
            asked,
        } = self;
        let question = asked.question.clone();
        let answering: Answering = Box::pin(async move {
            match acl {
                Some(acl) => acl.ask(&principal, &client_id, &question).await,
                None => Answer::UNKNOWN,
            }
        });
        (asked, answering)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;
    use crate::policy::{Question, TopicAccess};

    fn asked(topic: &str, is_for_packet: bool) -> Asked {
        Asked {
            question: Question {
                access: TopicAccess::Read,
                topic: topic.into(),
            },
            is_for_packet,
            generation: 0,
        }
    }

    fn waiting(asked: Asked) -> Waiting {
        Waiting {
            acl: None,
            principal: Arc::default(),
            client_id: "c".into(),
            asked,
        }
    }

    fn ask(asking: &mut Asking, topic: &str, is_for_packet: bool) -> oneshot::Sender<Answer> {
        let (sender, receiver) = oneshot::channel();
        let asked = asked(topic, is_for_packet);
        let answering: Answering = Box::pin(async { receiver.await.unwrap() });
        asking.under_way.push((asked, answering));
        sender
    }

    #[test]
    fn a_packet_waits_for_all_of_its_answers_and_messages_for_none_but_theirs() {
        let yes = Answer {
            allowed: Some(true),
            good_for: Duration::from_secs(9),
        };
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut asking = Asking::default();
        let one = ask(&mut asking, "one", true);
        let two = ask(&mut asking, "two", true);
        let message = ask(&mut asking, "message", false);
        assert!(asking.poll(&mut cx).is_empty());
        two.send(yes).unwrap();
        message.send(Answer::UNKNOWN).unwrap();
        let come = asking.poll(&mut cx);
        assert_eq!(come, [(asked("message", false), Answer::UNKNOWN)]);
        assert!(asking.awaits_answers());
        one.send(yes).unwrap();
        assert!(asking.poll(&mut cx).is_empty());
        assert!(!asking.awaits_answers());
        let answers = asking.take_answers();
        assert_eq!(
            answers,
            [(asked("two", true), yes), (asked("one", true), yes)]
        );
    }

    #[test]
    fn nobody_is_asked_for_messages_by_rights_of_before() {
        let newer = Asked {
            generation: 1,
            ..asked("message", false)
        };
        let mut asking = Asking::default();
        for asked in [
            asked("message", false),
            asked("packet", true),
            newer.clone(),
        ] {
            asking.waiting.push_back(waiting(asked));
        }
        asking.forget_older(1);
        let left = asking.waiting.iter().map(|waiting| &waiting.asked);
        assert!(left.eq([&asked("packet", true), &newer]));
    }

    #[test]
    fn only_so_many_questions_are_with_the_back_end() {
        let mut asking = Asking::default();
        let senders: Vec<_> = (0..UNDER_WAY_MAX)
            .map(|number| ask(&mut asking, &number.to_string(), false))
            .collect();
        asking.waiting.push_back(waiting(asked("later", true)));
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(asking.poll(&mut cx).is_empty());
        assert!(asking.awaits_answers());
        for sender in senders {
            sender.send(Answer::UNKNOWN).unwrap();
        }
        assert_eq!(asking.poll(&mut cx).len(), UNDER_WAY_MAX);
        assert!(
            !asking.awaits_answers(),
            "nobody is there to ask, and says so at once"
        );
    }
}
