//! What was promised: every message that was sent, and when the gateway took it over.

use std::collections::BTreeMap;

/// Faults of a run that are kept in words.
const FAULTS_SHOWN_MAX: usize = 40;

/// A message: its publisher, and its number there.
pub(crate) type Key = (u16, u32);

/// A message as its publisher knows it.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) topic: String,
    pub(crate) qos: u8,
    /// Removes the retained message of its topic.
    pub(crate) clears: bool,
    /// PUBLISH packets that carried it.
    pub(crate) sends: u32,
    /// The start of the gateway that acknowledged it, by PUBACK or PUBREC.
    pub(crate) acknowledged: Option<u64>,
    /// The gateway said that it does not take it.
    pub(crate) is_refused: bool,
}

/// Floor and ceiling of a retained value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) topic: String,
    pub(crate) acknowledged: Option<u32>,
    pub(crate) sent: u32,
}

/// All messages, and what was found wrong.
#[derive(Debug, Default)]
pub(crate) struct Book {
    messages: BTreeMap<Key, Sent>,
    faults: Vec<String>,
    fault_count: usize,
    counts: BTreeMap<&'static str, u64>,
}

impl Book {
    /// A message goes out for the first time.
    pub(crate) fn send(&mut self, key: Key, topic: &str, qos: u8, clears: bool) {
        let sent = Sent {
            topic: topic.to_owned(),
            qos,
            clears,
            sends: 1,
            acknowledged: None,
            is_refused: false,
        };
        self.messages.insert(key, sent);
        self.count("sent");
    }

    /// It goes out again.
    pub(crate) fn resend(&mut self, key: Key) {
        self.message_mut(key).sends += 1;
        self.count("sent again");
    }

    pub(crate) fn acknowledge(&mut self, key: Key, generation: u64) {
        self.message_mut(key).acknowledged.get_or_insert(generation);
        self.count("acknowledged");
    }

    pub(crate) fn refuse(&mut self, key: Key, reason: u8) {
        self.message_mut(key).is_refused = true;
        self.fault(format!("{key:?} was refused with {reason:#04x}"));
    }

    fn message_mut(&mut self, key: Key) -> &mut Sent {
        self.messages.get_mut(&key).expect("a message of ours")
    }

    pub(crate) fn message(&self, key: Key) -> Option<&Sent> {
        self.messages.get(&key)
    }

    /// Whether the gateway of this start had promised to keep the message.
    pub(crate) fn is_kept(&self, key: Key, generation: u64) -> bool {
        self.message(key)
            .and_then(|sent| sent.acknowledged)
            .is_some_and(|acknowledged| acknowledged <= generation)
    }

    /// The acknowledged messages to topics below a prefix.
    pub(crate) fn owed<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = Key> + 'a {
        let owed = self.messages.iter().filter(move |(_, sent)| {
            sent.topic.starts_with(prefix) && sent.acknowledged.is_some() && !sent.is_refused
        });
        owed.map(|(key, _)| *key)
    }

    /// The messages that nobody has acknowledged.
    pub(crate) fn unacknowledged(&self) -> usize {
        let open = |sent: &&Sent| sent.acknowledged.is_none() && !sent.is_refused;
        self.messages.values().filter(open).count()
    }

    /// What the retained values of a publisher may be.
    pub(crate) fn spans(&self, publisher: u16) -> Vec<Span> {
        let mut spans: BTreeMap<&str, Span> = BTreeMap::new();
        for ((_, number), sent) in self.messages.range((publisher, 0)..=(publisher, u32::MAX)) {
            let span = spans.entry(&sent.topic).or_insert_with(|| Span {
                topic: sent.topic.clone(),
                acknowledged: None,
                sent: 0,
            });
            span.sent = *number;
            if sent.acknowledged.is_some() {
                span.acknowledged = Some(*number);
            }
        }
        spans.into_values().collect()
    }

    /// Whether a message between the two removed the retained message of its topic.
    pub(crate) fn clears_between(&self, publisher: u16, topic: &str, low: u32, high: u32) -> bool {
        let mut between = self.messages.range((publisher, low)..=(publisher, high));
        between.any(|(_, sent)| sent.clears && sent.topic == topic)
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        self.add(what, 1);
    }

    pub(crate) fn add(&mut self, what: &'static str, more: u64) {
        *self.counts.entry(what).or_default() += more;
    }

    pub(crate) fn counted(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or(0)
    }

    pub(crate) fn fault(&mut self, text: String) {
        self.fault_count += 1;
        if self.faults.len() < FAULTS_SHOWN_MAX {
            self.faults.push(text);
        }
    }

    pub(crate) fn fault_count(&self) -> usize {
        self.fault_count
    }

    /// Counts and faults, a line each.
    pub(crate) fn report(&self) -> String {
        let counts = self
            .counts
            .iter()
            .map(|(what, count)| format!("{what} {count}"));
        let counts: Vec<String> = counts.collect();
        let mut lines = vec![counts.join(", ")];
        lines.push(format!("faults {}", self.fault_count));
        lines.extend(self.faults.iter().map(|fault| format!("  {fault}")));
        lines.join("\n")
    }
}

/// The payload of a message: who and which, and filling that follows from it.
pub(crate) fn payload(key: Key, filling: usize) -> Vec<u8> {
    let mut bytes = format!("{} {} {filling} ", key.0, key.1).into_bytes();
    bytes.extend((0..filling).map(|place| fill(key, place)));
    bytes
}

/// The message that a payload is of, if nothing of it is damaged.
pub(crate) fn key_of(payload: &[u8]) -> Option<Key> {
    let mut parts = payload.splitn(4, |byte| *byte == b' ');
    let mut number = || std::str::from_utf8(parts.next()?).ok()?.parse::<u32>().ok();
    let key = (u16::try_from(number()?).ok()?, number()?);
    let filling = number()? as usize;
    let rest = parts.next()?;
    let whole = rest.len() == filling
        && rest
            .iter()
            .enumerate()
            .all(|(place, byte)| *byte == fill(key, place));
    whole.then_some(key)
}

fn fill(key: Key, place: usize) -> u8 {
    (key.1 as usize)
        .wrapping_mul(31)
        .wrapping_add(place.wrapping_mul(7))
        .wrapping_add(usize::from(key.0)) as u8
}
