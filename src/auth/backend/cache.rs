//! Verdicts that are remembered for a while. The least recently used are forgotten where there are too many.

use hashlink::LruCache;
use ring::hmac;
use ring::rand::SystemRandom;
use tokio::time::Instant;

use super::{Answered, Verdict};
use crate::limits::{BACKEND_CACHE_BYTES_MAX, BACKEND_CACHE_ENTRIES_MAX};

/// Names a question without holding its secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::auth) struct Key([u8; 32]);

/// Makes keys with a secret of this process, so that a key that leaks cannot be tried passwords on.
pub(super) struct Keys(Option<hmac::Key>);

impl Keys {
    pub(super) fn new() -> Self {
        // Without chance nothing is remembered, and everything else works.
        Self(hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok())
    }

    /// `None` if there is no secret to make keys with.
    pub(super) fn key(&self, parts: &[&[u8]]) -> Option<Key> {
        let mut context = hmac::Context::with_key(self.0.as_ref()?);
        for part in parts {
            // With the length in front no two lists of parts read alike.
            context.update(&u64::try_from(part.len()).ok()?.to_be_bytes());
            context.update(part);
        }
        let tag = context.sign();
        tag.as_ref().try_into().ok().map(Key)
    }
}

/// Verdicts by the question that they answer.
pub(super) struct Cache<T> {
    entries: LruCache<Key, Remembered<T>>,
    bytes: usize,
}

struct Remembered<T> {
    verdict: T,
    until: Instant,
}

impl<T: Verdict> Cache<T> {
    pub(super) fn new() -> Self {
        Self {
            entries: LruCache::new_unbounded(),
            bytes: 0,
        }
    }

    /// The verdict on a question, while it is good.
    pub(super) fn find(&mut self, key: &Key, now: Instant) -> Option<Answered<T>> {
        let found = self.entries.get(key)?;
        if now < found.until {
            return Some(Answered {
                verdict: found.verdict.clone(),
                good_for: found.until.duration_since(now),
            });
        }
        let gone = self.entries.remove(key);
        self.release(gone.as_ref());
        None
    }

    /// Keeps a verdict as long as it is good.
    pub(super) fn remember(&mut self, key: Key, answered: &Answered<T>, now: Instant) {
        let until = now.checked_add(answered.good_for);
        let Some(until) = until.filter(|until| *until > now) else {
            return;
        };
        let remembered = Remembered {
            verdict: answered.verdict.clone(),
            until,
        };
        self.bytes += cost(&remembered);
        let gone = self.entries.insert(key, remembered);
        self.release(gone.as_ref());
        while self.entries.len() > BACKEND_CACHE_ENTRIES_MAX || self.bytes > BACKEND_CACHE_BYTES_MAX
        {
            let Some((_, gone)) = self.entries.remove_lru() else {
                return;
            };
            self.release(Some(&gone));
        }
    }

    fn release(&mut self, gone: Option<&Remembered<T>>) {
        self.bytes = self.bytes.saturating_sub(gone.map_or(0, cost));
    }
}

/// Bytes of an entry, with what the table and its order cost.
fn cost<T: Verdict>(remembered: &Remembered<T>) -> usize {
    const TABLE: usize = 64;
    size_of::<(Key, Remembered<T>)>() + TABLE + remembered.verdict.bytes()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn answered<T>(verdict: T, seconds: u64) -> Answered<T> {
        Answered {
            verdict,
            good_for: Duration::from_secs(seconds),
        }
    }

    #[derive(Clone)]
    struct Large;

    impl Verdict for Large {
        fn is_allowed(&self) -> bool {
            true
        }

        fn bytes(&self) -> usize {
            BACKEND_CACHE_BYTES_MAX / 10
        }
    }

    #[test]
    fn keys_differ_by_part_and_by_process() {
        let keys = Keys::new();
        let key = |parts: &[&[u8]]| keys.key(parts).unwrap();
        assert_eq!(key(&[b"a", b"b"]), key(&[b"a", b"b"]));
        assert_ne!(key(&[b"a", b"b"]), key(&[b"ab", b""]));
        assert_ne!(key(&[b"a"]), Keys::new().key(&[b"a"]).unwrap());
    }

    #[test]
    fn a_verdict_is_good_for_its_time() {
        let (mut cache, keys, now) = (Cache::new(), Keys::new(), Instant::now());
        let key = keys.key(&[b"a"]).unwrap();
        cache.remember(key, &answered(true, 10), now);
        let later = now + Duration::from_secs(4);
        assert_eq!(cache.find(&key, later), Some(answered(true, 6)));
        assert_eq!(cache.find(&key, now + Duration::from_secs(10)), None);
        assert_eq!((cache.entries.len(), cache.bytes), (0, 0));
        cache.remember(key, &answered(true, 0), now);
        assert_eq!(cache.find(&key, now), None, "no time, no memory");
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let (mut cache, keys, now) = (Cache::new(), Keys::new(), Instant::now());
        let key = |number: usize| keys.key(&[&number.to_be_bytes()]).unwrap();
        for number in 0..BACKEND_CACHE_ENTRIES_MAX {
            cache.remember(key(number), &answered(true, 10), now);
        }
        assert!(cache.find(&key(0), now).is_some());
        cache.remember(key(usize::MAX), &answered(true, 10), now);
        assert_eq!(cache.entries.len(), BACKEND_CACHE_ENTRIES_MAX);
        assert!(cache.find(&key(0), now).is_some(), "it was just asked for");
        assert!(cache.find(&key(1), now).is_none());
    }

    #[test]
    fn bytes_are_bounded() {
        let (mut cache, keys, now) = (Cache::new(), Keys::new(), Instant::now());
        for number in 0..100_u8 {
            let key = keys.key(&[&[number]]).unwrap();
            cache.remember(key, &answered(Large, 10), now);
            cache.remember(key, &answered(Large, 10), now);
            assert!(cache.bytes <= BACKEND_CACHE_BYTES_MAX);
        }
        assert_eq!(cache.entries.len(), 9);
    }
}
