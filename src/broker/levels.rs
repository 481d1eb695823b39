//! The levels of topic filters as numbers, each text kept once.

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

/// The level `+`.
pub(super) const PLUS: u32 = 0;

/// The level `#`.
pub(super) const HASH: u32 = 1;

/// A number as a place in a table; a table can have no entry at the place that this makes of one too large.
pub(super) fn at(index: u32) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
}

/// The number of the last place of a table of this length.
pub(super) fn next_index(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

#[derive(Debug)]
struct Level {
    text: Box<str>,
    uses: u32,
}

/// All levels that some filter has.
#[derive(Debug)]
pub(super) struct Levels {
    hasher: FixedState,
    levels: Vec<Level>,
    free: Vec<u32>,
    by_text: HashTable<u32>,
    text_bytes: usize,
}

impl Levels {
    pub(super) fn new(hasher: FixedState) -> Self {
        let wildcard = |text: &str| Level {
            text: text.into(),
            uses: 1,
        };
        Self {
            hasher,
            levels: vec![wildcard("+"), wildcard("#")],
            free: Vec::new(),
            by_text: HashTable::new(),
            text_bytes: 0,
        }
    }

    pub(super) fn text(&self, level: u32) -> &str {
        self.levels.get(at(level)).map_or("", |level| &level.text)
    }

    /// Bytes of the texts of all levels.
    pub(super) fn text_bytes(&self) -> usize {
        self.text_bytes
    }

    #[inline]
    pub(super) fn find(&self, text: &str) -> Option<u32> {
        match text {
            "+" => Some(PLUS),
            "#" => Some(HASH),
            _ => self
                .by_text
                .find(self.hasher.hash_one(text), |level| {
                    self.text(*level) == text
                })
                .copied(),
        }
    }

    /// The number of a level, which has no use yet if it is new.
    pub(super) fn intern(&mut self, text: &str) -> u32 {
        if let Some(level) = self.find(text) {
            return level;
        }
        let entry = Level {
            text: text.into(),
            uses: 0,
        };
        self.text_bytes += text.len();
        let level = match self.free.pop() {
            Some(level) => {
                if let Some(slot) = self.levels.get_mut(at(level)) {
                    *slot = entry;
                }
                level
            }
            None => {
                self.levels.push(entry);
                next_index(self.levels.len() - 1)
            }
        };
        let (levels, hasher) = (&self.levels, &self.hasher);
        self.by_text
            .insert_unique(hasher.hash_one(text), level, |level| {
                levels
                    .get(at(*level))
                    .map_or(0, |level| hasher.hash_one(&*level.text))
            });
        level
    }

    /// Counts one more use of a level.
    pub(super) fn hold(&mut self, level: u32) {
        if let Some(entry) = self.levels.get_mut(at(level)).filter(|_| level > HASH) {
            entry.uses += 1;
        }
    }

    /// Counts one use less, and forgets the level with its last one.
    pub(super) fn release(&mut self, level: u32) {
        if level <= HASH {
            return;
        }
        let Some(entry) = self.levels.get_mut(at(level)) else {
            return;
        };
        entry.uses = entry.uses.saturating_sub(1);
        if entry.uses > 0 {
            return;
        }
        let text = std::mem::take(&mut entry.text);
        self.text_bytes -= text.len();
        let hash = self.hasher.hash_one(&*text);
        if let Ok(found) = self.by_text.find_entry(hash, |other| *other == level) {
            found.remove();
        }
        self.free.push(level);
    }
}
