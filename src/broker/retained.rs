//! Retained messages: the last one of each topic (MQTT 5, 3.3.1.3).

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use super::message::Message;
use super::time::Timestamp;
use crate::mqtt::QoS;

/// A message under its topic.
#[derive(Debug)]
struct Entry(Arc<Message>);

impl Borrow<str> for Entry {
    fn borrow(&self) -> &str {
        &self.0.topic
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.0.topic == other.0.topic
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.topic.cmp(&other.0.topic)
    }
}

/// How far a new subscription has got with the retained messages that it is to receive.
#[derive(Debug)]
pub(crate) struct RetainedCursor {
    /// The filter, without a share name.
    pub(crate) filter: Box<str>,
    /// Bytes of the filter that the client does not know.
    mount_len: usize,
    pub(crate) qos: QoS,
    pub(crate) identifier: Option<u32>,
    /// The client may not read everything that the filter matches.
    pub(crate) is_narrowed: bool,
    /// The walk begins when this batch is stored, so that the SUBACK comes first.
    pub(crate) not_before: u64,
    /// Where the walk goes on.
    pub(crate) from: Bound<String>,
}

impl RetainedCursor {
    /// The beginning of a walk by a filter that begins with a mount point of this length.
    pub(crate) fn new(filter: String, mount_len: usize, qos: QoS, identifier: Option<u32>) -> Self {
        Self {
            mount_len,
            from: Bound::Included(literal_prefix(&filter).to_owned()),
            filter: filter.into(),
            qos,
            identifier,
            is_narrowed: false,
            not_before: 0,
        }
    }
}

/// The retained messages of all topics, in order of the topics.
#[derive(Debug, Default)]
pub(crate) struct Retained {
    entries: BTreeSet<Entry>,
    bytes: u64,
}

impl Retained {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn get(&self, topic: &str) -> Option<&Arc<Message>> {
        self.entries.get(topic).map(|entry| &entry.0)
    }

    /// Bytes that would be held if `message` took its place.
    pub(crate) fn bytes_with(&self, message: &Message) -> u64 {
        let replaced = self.get(&message.topic).map_or(0, |known| known.bytes());
        self.bytes - replaced + message.bytes()
    }

    pub(crate) fn set(&mut self, message: Arc<Message>) {
        self.bytes = self.bytes_with(&message);
        self.entries.replace(Entry(message));
    }

    /// Removes the message of a topic; false if there was none.
    pub(crate) fn clear(&mut self, topic: &str) -> bool {
        match self.entries.take(topic) {
            Some(entry) => {
                self.bytes -= entry.0.bytes();
                true
            }
            None => false,
        }
    }

    /// Removes all messages that have expired, and returns their topics.
    pub(crate) fn sweep(&mut self, now: Timestamp) -> Vec<Box<str>> {
        let mut freed = 0;
        let mut topics = Vec::new();
        self.entries.retain(|entry| {
            let keep = !entry.0.is_expired(now);
            if !keep {
                freed += entry.0.bytes();
                topics.push(entry.0.topic.clone());
            }
            keep
        });
        self.bytes -= freed;
        topics
    }

    /// The next message that the filter of `cursor` matches. Looks at no more topics than `steps` says, and takes off what
    /// it has looked at: whoever walks far must let others have their turn.
    pub(crate) fn next(&self, cursor: &mut RetainedCursor, steps: &mut u32) -> Walk<'_> {
        while *steps > 0 {
            *steps -= 1;
            let range = (as_str(&cursor.from), Bound::Unbounded);
            let Some(entry) = self.entries.range::<str, _>(range).next() else {
                return Walk::End;
            };
            let topic = &entry.0.topic;
            match step(&cursor.filter, cursor.mount_len, topic) {
                Step::Match => {
                    cursor.from = Bound::Excluded(topic.to_string());
                    return Walk::Found(&entry.0);
                }
                Step::Next => cursor.from = Bound::Excluded(topic.to_string()),
                Step::Seek(topic) => cursor.from = Bound::Included(topic),
                Step::End => return Walk::End,
            }
        }
        Walk::Later
    }
}

/// What a walk over retained messages has come to.
#[derive(Debug)]
pub(crate) enum Walk<'a> {
    /// A message; the cursor stands behind it.
    Found(&'a Arc<Message>),
    /// No steps are left; the cursor stands where the walk goes on.
    Later,
    /// Nothing more matches.
    End,
}

fn as_str(bound: &Bound<String>) -> Bound<&str> {
    match bound {
        Bound::Included(topic) => Bound::Included(topic),
        Bound::Excluded(topic) => Bound::Excluded(topic),
        Bound::Unbounded => Bound::Unbounded,
    }
}

/// What every topic that `filter` matches begins with.
fn literal_prefix(filter: &str) -> &str {
    let end = filter.find(['+', '#']).unwrap_or(filter.len());
    // `a/#` matches `a` as well.
    let prefix = filter.get(..end).unwrap_or_default();
    if filter.get(end..) == Some("#") {
        prefix.strip_suffix('/').unwrap_or(prefix)
    } else {
        prefix
    }
}

enum Step {
    Match,
    /// The next topic in order.
    Next,
    /// The first topic that is not before this text.
    Seek(String),
    End,
}

/// Compares a topic with a filter level by level and says where the next topic that may match can be.
fn step(filter: &str, mount_len: usize, topic: &str) -> Step {
    // A wildcard that is the first the client knows does not match a topic that begins with `$` (MQTT-4.7.2-1).
    if let (Some((mount_point, known)), Some((before, level))) = (
        filter.split_at_checked(mount_len),
        topic.split_at_checked(mount_len),
    ) && known.starts_with(['+', '#'])
        && level.starts_with('$')
        && before == mount_point
    {
        // `%` is the character after `$`.
        return Step::Seek(format!("{mount_point}%"));
    }
    let mut prefix_len = 0;
    let mut wildcard_end = None;
    let mut filter_levels = filter.split('/').peekable();
    let mut topic_levels = topic.split('/');
    loop {
        match (filter_levels.next(), topic_levels.next()) {
            (None, None) | (Some("#"), _) => return Step::Match,
            (Some("+"), Some(level)) => {
                prefix_len += level.len() + 1;
                wildcard_end = Some(prefix_len - 1);
            }
            (Some(wanted), Some(level)) if wanted == level => prefix_len += level.len() + 1,
            (Some(wanted), Some(_)) => {
                let at = topic.get(..prefix_len).unwrap_or_default();
                let mut target = format!("{at}{wanted}");
                if topic >= &*target && filter_levels.peek().is_some() {
                    target.push('/');
                }
                if topic < &*target {
                    return Step::Seek(target);
                }
                return past(topic, wildcard_end);
            }
            (None, Some(_)) => return past(topic, wildcard_end),
            // A topic that is shorter than the filter; longer ones follow it.
            (Some(_), None) => return Step::Next,
        }
    }
}

/// The first text behind all topics that share the last level that a `+` matched.
fn past(topic: &str, wildcard_end: Option<usize>) -> Step {
    match wildcard_end.and_then(|end| topic.get(..end)) {
        // `0` is the character after `/`.
        Some(levels) => Step::Seek(format!("{levels}0")),
        None => Step::End,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::topic;
    use bytes::Bytes;

    fn retained(topics: &[String]) -> Retained {
        let mut retained = Retained::default();
        for topic in topics {
            retained.set(Arc::new(Message::new(
                topic,
                Bytes::new(),
                Box::default(),
                QoS::AtMostOnce,
                Timestamp::default(),
                None,
            )));
        }
        retained
    }

    fn all<'a>(retained: &'a Retained, filter: &str) -> Vec<&'a str> {
        all_behind(retained, "", filter)
    }

    fn all_behind<'a>(retained: &'a Retained, mount_point: &str, filter: &str) -> Vec<&'a str> {
        let mounted = [mount_point, filter].concat();
        let mut cursor = RetainedCursor::new(mounted, mount_point.len(), QoS::AtMostOnce, None);
        let mut found: Vec<&str> = Vec::new();
        loop {
            // Three steps at a time, so that the walk is interrupted everywhere.
            match retained.next(&mut cursor, &mut 3) {
                Walk::Found(message) => found.push(&message.topic),
                Walk::Later => {}
                Walk::End => return found,
            }
        }
    }

    /// Levels whose order as text differs from their order as levels, because `-` sorts before `/` and `0` after it.
    const LEVELS: [&str; 7] = ["", "a", "a-b", "a0", "b", "$x", "é"];

    fn texts(levels: &[&str]) -> Vec<String> {
        let mut texts = Vec::new();
        for one in levels {
            texts.push((*one).to_owned());
            for two in levels {
                texts.push(format!("{one}/{two}"));
                for three in levels {
                    texts.push(format!("{one}/{two}/{three}"));
                }
            }
        }
        texts
    }

    #[test]
    fn a_walk_finds_what_a_naive_matcher_finds() {
        let topics: Vec<String> = texts(&LEVELS)
            .into_iter()
            .filter(|t| !t.is_empty())
            .collect();
        let retained = retained(&topics);
        let mut filters = texts(&["a", "a0", "+", ""]);
        filters.retain(|filter| !filter.is_empty());
        let hashes: Vec<String> = filters.iter().map(|filter| format!("{filter}/#")).collect();
        filters.extend(hashes);
        filters.push("#".to_owned());
        for filter in &filters {
            let mut naive: Vec<&str> = topics
                .iter()
                .map(String::as_str)
                .filter(|name| topic::matches(filter, name))
                .collect();
            naive.sort_unstable();
            assert_eq!(all(&retained, filter), naive, "filter {filter:?}");
        }
    }

    #[test]
    fn a_walk_behind_a_mount_point_finds_what_is_found_without_one() {
        let names: Vec<String> = texts(&LEVELS)
            .into_iter()
            .filter(|t| !t.is_empty())
            .collect();
        for mount_point in ["a/", "a/$x/", "é/b/"] {
            let neighbours = ["a", "a/b", "a0/$x", "b/$x", "a/$x", "$x/a"].map(str::to_owned);
            let topics: Vec<String> = names
                .iter()
                .map(|name| [mount_point, name].concat())
                .chain(neighbours)
                .collect();
            let retained = retained(&topics);
            for filter in ["#", "+", "+/#", "+/b", "$x/#", "$x/+", "$x", "a/#", "+/+/a"] {
                let mut naive: Vec<&str> = topics
                    .iter()
                    .filter_map(|topic| Some((topic, topic.strip_prefix(mount_point)?)))
                    .filter(|(_, name)| !name.is_empty() && topic::matches(filter, name))
                    .map(|(topic, _)| topic.as_str())
                    .collect();
                naive.sort_unstable();
                naive.dedup();
                let mut found = all_behind(&retained, mount_point, filter);
                // `a/#` matches `a` as well, which no client behind `a/` can see.
                found.retain(|topic| topic.starts_with(mount_point));
                assert_eq!(found, naive, "{mount_point} {filter}");
            }
        }
    }

    #[test]
    fn the_bytes_are_those_of_what_is_kept() {
        let mut retained = retained(&["a".to_owned(), "b".to_owned()]);
        let one = retained.bytes() / 2;
        assert!(retained.clear("a"));
        assert!(!retained.clear("a"));
        assert_eq!(retained.bytes(), one);
        assert_eq!(retained.len(), 1);
    }
}
