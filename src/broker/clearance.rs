//! What is known of the rights of one connection: decisions and answers that are remembered, rates, questions that are open,
//! and messages that wait for an answer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::message::Delivery;
use super::time::Timestamp;
use crate::limits::{
    ACL_ANSWER_TIME_MAX, ACL_ANSWERS_MAX, ACL_PAUSE_MAX, ACL_PAUSE_MIN, ACL_QUESTIONS_MAX,
    DECISION_CACHE_SLOTS, HELD_BYTES_MAX, HELD_MESSAGES_MAX, ROUTE_CACHE_TOPIC_LEN_MAX,
};
use crate::policy::{
    By, Decision, Principal, Question, Rights, Rule, RuleNumber, TopicAccess, TopicRights, Verdict,
};

/// What a connection has whose port has rules.
#[derive(Debug, Default)]
pub(crate) struct Clearance {
    published: Remembered,
    rates: Vec<(RuleNumber, Rates)>,
    answers: BTreeMap<TopicAccess, BTreeMap<Box<str>, Answer>>,
    /// Questions that the link has not taken yet.
    questions: Vec<Asked>,
    /// Topics of messages for the client about which a question is open.
    open: BTreeSet<Box<str>>,
    /// Those among them that nobody could tell about.
    unanswered: BTreeSet<Box<str>>,
    /// When they are open no more, so that what still waits asks again.
    again_at: Option<Timestamp>,
    /// How long the last such pause was; zero if the back end has answered since.
    pause: Duration,
    /// Counts changes of the rights: an answer to a question of before says nothing.
    generation: u64,
    /// QoS 0 messages that wait for an answer, or behind others that do.
    held: VecDeque<Held>,
    held_bytes: usize,
    /// The first message of the queue waits for an answer.
    pub(super) is_queue_waiting: bool,
    /// A packet of the client waits for answers.
    pub(super) is_packet_waiting: bool,
}

/// A question for the back end of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The question.
    pub question: Question,
    /// A packet of the client waits for the answer; else a message for the client.
    pub is_for_packet: bool,
    /// Of which rights of the client the question is; its answer is for them alone.
    pub generation: u64,
}

/// Questions about one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inquiry {
    /// Who the client is.
    pub principal: Arc<Principal>,
    /// Its client identifier.
    pub client_id: Box<str>,
    /// The questions.
    pub questions: Vec<Asked>,
}

/// A QoS 0 message that is held.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) delivery: Delivery,
    /// Messages of the queue up to this place come first.
    pub(super) behind: u64,
}

#[derive(Clone, Copy, Debug)]
struct Answer {
    is_allowed: bool,
    good_until: Timestamp,
}

/// What a message may cost of the rates of a rule.
#[derive(Debug)]
struct Rates {
    messages: Option<Bucket>,
    bytes: Option<Bucket>,
}

/// Fills up steadily to what one second allows. In thousandths, so that a millisecond counts.
#[derive(Debug)]
struct Bucket {
    per_second: i64,
    level: i64,
    filled_at: Timestamp,
}

/// The rights for the topics that were asked about last.
#[derive(Debug, Default)]
struct Remembered {
    slots: Vec<Option<(Box<str>, TopicRights)>>,
}

impl Clearance {
    /// Forgets everything that followed from other rights; what still waits has to ask again. Returns when it would have
    /// done so by itself.
    pub(super) fn forget(&mut self) -> Option<Timestamp> {
        self.published = Remembered::default();
        self.rates = Vec::new();
        self.answers.clear();
        self.generation += 1;
        self.open.clear();
        self.unanswered.clear();
        self.pause = Duration::ZERO;
        // What a packet waits for is asked all the same: by the new rights, as nobody has taken the question yet.
        self.questions.retain(|asked| asked.is_for_packet);
        for asked in &mut self.questions {
            asked.generation = self.generation;
        }
        self.again_at.take()
    }

    /// Whether a question is of the rights that the client has now.
    pub(super) fn is_current(&self, asked: &Asked) -> bool {
        asked.generation == self.generation
    }

    /// Nobody can tell whether the client may get messages of a topic: it stays open, and they wait. Returns when to come
    /// for [`Self::reopen`] if that was not to happen before.
    pub(super) fn leave_open(&mut self, topic: &str, now: Timestamp) -> Option<Timestamp> {
        self.unanswered.insert(topic.into());
        if self.again_at.is_some() {
            return None;
        }
        self.pause = (self.pause * 2).clamp(ACL_PAUSE_MIN, ACL_PAUSE_MAX);
        self.again_at = Some(now + self.pause);
        self.again_at
    }

    /// Whatever nobody could tell about can be asked again. Returns when that was to happen.
    pub(super) fn reopen(&mut self) -> Option<Timestamp> {
        for topic in std::mem::take(&mut self.unanswered) {
            self.open.remove(&topic);
        }
        self.again_at.take()
    }

    /// Whether something will be asked again.
    #[cfg(test)]
    pub(super) fn asks_again(&self) -> bool {
        self.again_at.is_some()
    }

    /// What the client may publish to a topic.
    #[inline]
    pub(super) fn publish_rights(
        &mut self,
        rights: &Rights,
        hash: u64,
        topic: &str,
    ) -> TopicRights {
        self.published
            .find(hash, topic, || rights.publish_to(topic))
    }

    /// Whether the rates of a rule allow one more message of this size; if so, it is counted.
    pub(super) fn takes(
        &mut self,
        number: RuleNumber,
        rule: &Rule,
        bytes: usize,
        now: Timestamp,
    ) -> bool {
        if rule.message_rate_max.is_none() && rule.byte_rate_max.is_none() {
            return true;
        }
        let known = self.rates.iter().position(|(known, _)| *known == number);
        let at = known.unwrap_or_else(|| {
            self.rates.push((number, Rates::new(rule, now)));
            self.rates.len() - 1
        });
        let rates = self.rates.get_mut(at);
        rates.is_none_or(|(_, rates)| rates.take(bytes, now))
    }

    /// Asks whether the client may get messages of a topic, unless that is asked already; true if there is something new
    /// to ask.
    pub(super) fn ask_to_read(&mut self, topic: &str) -> bool {
        let is_new = self.open.len() < ACL_QUESTIONS_MAX && self.open.insert(topic.into());
        if is_new {
            self.questions.push(Asked {
                question: Question {
                    access: TopicAccess::Read,
                    topic: topic.into(),
                },
                is_for_packet: false,
                generation: self.generation,
            });
        }
        is_new
    }

    /// The answer of the back end, if it is known.
    pub(super) fn answer(
        &self,
        access: TopicAccess,
        topic: &str,
        now: Timestamp,
    ) -> Option<Verdict> {
        let known = self.answers.get(&access)?.get(topic)?;
        let decision = match known.is_allowed {
            true => Decision::Allowed,
            false => Decision::Denied,
        };
        (known.good_until >= now).then_some(Verdict {
            decision,
            by: By::BackEnd,
        })
    }

    /// Asks for the sake of a packet that waits.
    pub(super) fn ask_for_packet(&mut self, questions: impl IntoIterator<Item = Question>) {
        self.is_packet_waiting = true;
        let generation = self.generation;
        let asked = questions.into_iter().map(|question| Asked {
            question,
            is_for_packet: true,
            generation,
        });
        self.questions.extend(asked);
    }

    pub(super) fn take_questions(&mut self) -> Vec<Asked> {
        std::mem::take(&mut self.questions)
    }

    /// Takes an answer. It is good now in any case, so that whatever waits for it can go on.
    pub(super) fn remember(
        &mut self,
        question: &Question,
        is_allowed: bool,
        good_for: Duration,
        now: Timestamp,
    ) {
        if question.access == TopicAccess::Read {
            self.open.remove(&question.topic);
            self.pause = Duration::ZERO;
        }
        let answer = Answer {
            is_allowed,
            good_until: now + good_for.min(ACL_ANSWER_TIME_MAX),
        };
        let answers = self.answers.entry(question.access).or_default();
        answers.insert(question.topic.clone(), answer);
    }

    /// Forgets answers that are good no more, and all if they are too many.
    pub(super) fn tidy(&mut self, now: Timestamp) {
        for answers in self.answers.values_mut() {
            if answers.len() > ACL_ANSWERS_MAX {
                answers.retain(|_, answer| answer.good_until > now);
                if answers.len() > ACL_ANSWERS_MAX {
                    answers.clear();
                }
            }
        }
    }

    /// Whether messages wait, so that others have to wait behind them.
    #[inline]
    pub(super) fn is_holding(&self) -> bool {
        self.is_queue_waiting || !self.held.is_empty()
    }

    /// Holds a message; false if there is no room for it.
    pub(super) fn hold(&mut self, held: Held) -> bool {
        let bytes = held.delivery.held_len();
        let has_room = self.held.len() < HELD_MESSAGES_MAX
            && self.held_bytes.saturating_add(bytes) <= HELD_BYTES_MAX;
        if has_room {
            self.held_bytes += bytes;
            self.held.push_back(held);
        }
        has_room
    }

    /// The message that has been held longest.
    pub(super) fn first_held(&self) -> Option<&Held> {
        self.held.front()
    }

    pub(super) fn release_first(&mut self) -> Option<Delivery> {
        let held = self.held.pop_front()?;
        self.held_bytes = self.held_bytes.saturating_sub(held.delivery.held_len());
        if self.held.is_empty() {
            self.held = VecDeque::new();
        }
        Some(held.delivery)
    }
}

impl Delivery {
    /// What a held message counts.
    fn held_len(&self) -> usize {
        usize::try_from(self.message.bytes()).unwrap_or(usize::MAX)
    }
}

impl Remembered {
    #[inline]
    fn find(
        &mut self,
        hash: u64,
        topic: &str,
        decide: impl FnOnce() -> TopicRights,
    ) -> TopicRights {
        let slot = usize::try_from(hash % DECISION_CACHE_SLOTS).unwrap_or(0);
        if let Some(Some((known, rights))) = self.slots.get(slot)
            && **known == *topic
        {
            return *rights;
        }
        let rights = decide();
        if topic.len() <= ROUTE_CACHE_TOPIC_LEN_MAX {
            if self.slots.len() <= slot {
                self.slots.resize(slot + 1, None);
            }
            if let Some(place) = self.slots.get_mut(slot) {
                *place = Some((topic.into(), rights));
            }
        }
        rights
    }
}

impl Rates {
    fn new(rule: &Rule, now: Timestamp) -> Self {
        Self {
            messages: rule.message_rate_max.map(|rate| Bucket::new(rate, now)),
            bytes: rule.byte_rate_max.map(|rate| Bucket::new(rate, now)),
        }
    }

    fn take(&mut self, bytes: usize, now: Timestamp) -> bool {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX / 1000);
        let mut parts = [(&mut self.messages, 1), (&mut self.bytes, bytes)];
        let has_room = parts.iter_mut().all(|(bucket, cost)| {
            let bucket = bucket.as_mut();
            bucket.is_none_or(|bucket| bucket.has_room(*cost, now))
        });
        if has_room {
            for (bucket, cost) in parts {
                if let Some(bucket) = bucket {
                    bucket.level -= cost.saturating_mul(1000);
                }
            }
        }
        has_room
    }
}

impl Bucket {
    fn new(per_second: u32, now: Timestamp) -> Self {
        let per_second = i64::from(per_second);
        Self {
            per_second,
            level: per_second * 1000,
            filled_at: now,
        }
    }

    /// A message of more than a second's bytes passes when the bucket is full, and is paid for afterwards.
    fn has_room(&mut self, cost: i64, now: Timestamp) -> bool {
        let full = self.per_second * 1000;
        let millis = now.since(self.filled_at).as_millis();
        let millis = i64::try_from(millis).unwrap_or(i64::MAX);
        let filled = self
            .level
            .saturating_add(millis.saturating_mul(self.per_second));
        self.level = filled.min(full);
        self.filled_at = now;
        self.level >= cost.saturating_mul(1000).min(full).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_allows_what_a_second_allows_and_then_as_much_as_time_passes() {
        let at = Timestamp::from_millis;
        let mut bucket = Bucket::new(2, at(0));
        let mut take = |cost: i64, now: u64| {
            let has_room = bucket.has_room(cost, at(now));
            if has_room {
                bucket.level -= cost * 1000;
            }
            has_room
        };
        assert!(take(1, 0) && take(1, 0));
        assert!(!take(1, 0));
        assert!(!take(1, 499));
        assert!(take(1, 500));
        assert!(take(2, 2000));
        // More than a second's worth passes once, and is paid for.
        assert!(take(6, 4000));
        assert!(!take(1, 6000));
        assert!(take(1, 6500));
    }

    #[test]
    fn a_rate_of_zero_lets_nothing_pass() {
        let mut bucket = Bucket::new(0, Timestamp::default());
        assert!(!bucket.has_room(0, Timestamp::from_millis(9)));
        assert!(!bucket.has_room(1, Timestamp::from_millis(9)));
    }
}
