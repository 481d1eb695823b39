//! Topic names and topic filters (4.7, 4.8.2).

use std::fmt;

use super::Violation;
use super::read::decode_utf8;

/// Longest topic name or topic filter in bytes (4.7.3, MQTT-4.7.3-3).
pub const TOPIC_BYTES_MAX: usize = 65_535;

/// Prefix of a shared subscription (4.8.2).
const SHARE_PREFIX: &str = "$share/";

/// Why a text is not a topic name or not a topic filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TopicFault {
    /// Zero bytes long.
    Empty,
    /// Longer than [`TOPIC_BYTES_MAX`].
    TooLong,
    /// It contains U+0000.
    HasNul,
    /// A topic name contains `+` or `#`.
    NameHasWildcard,
    /// `#` is not the last character of the topic filter.
    MultiLevelWildcardNotLast,
    /// `#` shares its level with other characters.
    MultiLevelWildcardNotAlone,
    /// `+` shares its level with other characters.
    SingleLevelWildcardNotAlone,
    /// The share name after `$share/` is empty.
    ShareNameEmpty,
    /// The share name contains `+` or `#`.
    ShareNameHasWildcard,
    /// Nothing follows the share name.
    ShareFilterMissing,
}

impl TopicFault {
    /// The clause of MQTT 5.0 that the text breaks.
    pub const fn clause(self) -> &'static str {
        match self {
            Self::Empty => "MQTT-4.7.3-1",
            Self::HasNul => "MQTT-4.7.3-2",
            Self::TooLong => "MQTT-4.7.3-3",
            Self::NameHasWildcard => "MQTT-4.7.0-1",
            Self::MultiLevelWildcardNotLast | Self::MultiLevelWildcardNotAlone => "MQTT-4.7.1-1",
            Self::SingleLevelWildcardNotAlone => "MQTT-4.7.1-2",
            Self::ShareNameEmpty => "MQTT-4.8.2-1",
            Self::ShareNameHasWildcard | Self::ShareFilterMissing => "MQTT-4.8.2-2",
        }
    }

    /// The fault in words.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Empty => "a topic has at least one character",
            Self::TooLong => "a topic is at most 65,535 bytes long",
            Self::HasNul => "a topic does not contain U+0000",
            Self::NameHasWildcard => "a topic name does not contain '+' or '#'",
            Self::MultiLevelWildcardNotLast => "'#' is the last character of a topic filter",
            Self::MultiLevelWildcardNotAlone => "'#' occupies a whole level of a topic filter",
            Self::SingleLevelWildcardNotAlone => "'+' occupies a whole level of a topic filter",
            Self::ShareNameEmpty => "a share name has at least one character",
            Self::ShareNameHasWildcard => "a share name does not contain '+' or '#'",
            Self::ShareFilterMissing => "a topic filter follows the share name",
        }
    }
}

impl fmt::Display for TopicFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

impl std::error::Error for TopicFault {}

/// A topic that a message can be published to: not empty, no wildcards (4.7).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Box<str>);

impl TopicName {
    /// Checks and keeps a topic name.
    pub fn new(name: &str) -> Result<Self, TopicFault> {
        check_name(name)?;
        Ok(Self(name.into()))
    }

    /// The text.
    #[inline]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A pattern that selects topics, with or without `$share/NAME/` before it (4.7.1, 4.8.2).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicFilter(Box<str>);

impl TopicFilter {
    /// Checks and keeps a topic filter.
    pub fn parse(filter: &str) -> Result<Self, TopicFault> {
        check_filter(filter)?;
        Ok(Self(filter.into()))
    }

    /// The text as the client sent it.
    #[inline]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The share name of a shared subscription (4.8.2).
    pub fn share_name(&self) -> Option<&str> {
        split_share(&self.0).map(|(share_name, _)| share_name)
    }

    /// The part that is matched against topic names: all of it, or what follows `$share/NAME/`.
    pub fn filter(&self) -> &str {
        split_share(&self.0).map_or(&self.0, |(_, filter)| filter)
    }

    /// Whether the filter contains `+` or `#`.
    pub fn has_wildcard(&self) -> bool {
        has_wildcard(&self.0)
    }
}

macro_rules! text_type {
    ($name:ident, $new:ident) => {
        impl TryFrom<&str> for $name {
            type Error = TopicFault;

            fn try_from(text: &str) -> Result<Self, Self::Error> {
                Self::$new(text)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_type!(TopicName, new);
text_type!(TopicFilter, parse);

/// Whether `name` can be published to (4.7.1, 4.7.3).
pub fn check_name(name: &str) -> Result<(), TopicFault> {
    check_length(name)?;
    match scan(name.as_bytes()) {
        Scan::Clean => Ok(()),
        Scan::Nul => Err(TopicFault::HasNul),
        Scan::Wildcard => Err(TopicFault::NameHasWildcard),
    }
}

/// Whether `filter` can be subscribed to (4.7.1, 4.7.3, 4.8.2).
pub fn check_filter(filter: &str) -> Result<(), TopicFault> {
    check_length(filter)?;
    if filter.bytes().any(|byte| byte == 0) {
        return Err(TopicFault::HasNul);
    }
    let Some(shared) = filter.strip_prefix(SHARE_PREFIX) else {
        return check_levels(filter);
    };
    let (share_name, filter) = shared.split_once('/').unwrap_or((shared, ""));
    if share_name.is_empty() {
        Err(TopicFault::ShareNameEmpty)
    } else if has_wildcard(share_name) {
        Err(TopicFault::ShareNameHasWildcard)
    } else if filter.is_empty() {
        Err(TopicFault::ShareFilterMissing)
    } else {
        check_levels(filter)
    }
}

/// The share name and the filter proper of `$share/NAME/FILTER` (4.8.2).
pub fn split_share(filter: &str) -> Option<(&str, &str)> {
    filter.strip_prefix(SHARE_PREFIX)?.split_once('/')
}

/// Whether a filter asks for a shared subscription, well formed or not (4.8.2).
pub fn is_shared(filter: &str) -> bool {
    filter.starts_with(SHARE_PREFIX)
}

/// Whether `text` contains `+` or `#`.
pub fn has_wildcard(text: &str) -> bool {
    text.bytes().any(|byte| matches!(byte, b'+' | b'#'))
}

/// Whether a topic filter (without `$share/NAME/`) selects a topic name (4.7).
///
/// This is the reference that faster matchers are tested against: level by level, as the standard tells it.
pub fn matches(filter: &str, name: &str) -> bool {
    if name.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut name_levels = name.split('/');
    for filter_level in filter.split('/') {
        if filter_level == "#" {
            return true;
        }
        match name_levels.next() {
            Some(name_level) if filter_level == "+" || filter_level == name_level => {}
            Some(_) | None => return false,
        }
    }
    name_levels.next().is_none()
}

/// Reads a topic name off the wire: UTF-8 without U+0000 and without wildcards, possibly empty.
#[inline]
pub(crate) fn decode_name(bytes: &[u8], wildcard: Violation) -> Result<&str, Violation> {
    match scan(bytes) {
        Scan::Clean => decode_utf8(bytes),
        Scan::Nul => Err(Violation::StringHasNul),
        Scan::Wildcard => Err(wildcard),
    }
}

fn check_length(topic: &str) -> Result<(), TopicFault> {
    if topic.is_empty() {
        Err(TopicFault::Empty)
    } else if topic.len() > TOPIC_BYTES_MAX {
        Err(TopicFault::TooLong)
    } else {
        Ok(())
    }
}

fn check_levels(filter: &str) -> Result<(), TopicFault> {
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        if level.contains('#') {
            if level != "#" {
                return Err(TopicFault::MultiLevelWildcardNotAlone);
            }
            if levels.peek().is_some() {
                return Err(TopicFault::MultiLevelWildcardNotLast);
            }
        }
        if level.contains('+') && level != "+" {
            return Err(TopicFault::SingleLevelWildcardNotAlone);
        }
    }
    Ok(())
}

/// What the first forbidden byte of a topic name is.
enum Scan {
    Clean,
    Nul,
    Wildcard,
}

/// Looks for U+0000, `+` and `#`, eight bytes at a time; the last eight may overlap those before.
#[inline]
fn scan(bytes: &[u8]) -> Scan {
    let suspicious = if let Some(last) = bytes.last_chunk::<8>() {
        let (words, _) = bytes.as_chunks::<8>();
        let words = words.iter().chain(std::iter::once(last));
        words.fold(false, |found, word| {
            found | suspicious(u64::from_le_bytes(*word))
        })
    } else if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
        suspicious(u64::from(first) << 32 | u64::from(last))
    } else {
        bytes.iter().any(|byte| matches!(byte, 0 | b'+' | b'#'))
    };
    if suspicious {
        classify(bytes)
    } else {
        Scan::Clean
    }
}

/// Whether a byte of `word` is 0x00, 0x23 or 0x2B; the latter two differ in one bit.
#[inline]
const fn suspicious(word: u64) -> bool {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let wildcard = (word | (LOW << 3)) ^ (LOW * 0x2B);
    let nul = word.wrapping_sub(LOW) & !word;
    let wildcard = wildcard.wrapping_sub(LOW) & !wildcard;
    (nul | wildcard) & HIGH != 0
}

#[cold]
fn classify(bytes: &[u8]) -> Scan {
    match bytes.iter().find(|byte| matches!(byte, 0 | b'+' | b'#')) {
        None => Scan::Clean,
        Some(0) => Scan::Nul,
        Some(_) => Scan::Wildcard,
    }
}

#[cfg(test)]
#[path = "topic_tests.rs"]
mod tests;
