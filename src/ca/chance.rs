//! Chance, behind a seam: what is drawn here is the same again in a test.

use std::fmt::Debug;

use ring::rand::{SecureRandom, SystemRandom};

use super::error::CaError;

/// Bytes of a serial number: the most that RFC 5280 allows (4.1.2.2).
const SERIAL_BYTES: usize = 20;

/// Where serial numbers, tokens and keys come from; but keys of elliptic curves, which the library draws from the system.
pub trait Chance: Debug + Send + Sync {
    /// Fills the buffer with bytes that nobody can guess.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), CaError>;
}

/// The random source of the system.
#[derive(Debug)]
pub struct SystemChance(SystemRandom);

impl Default for SystemChance {
    fn default() -> Self {
        Self(SystemRandom::new())
    }
}

impl Chance for SystemChance {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), CaError> {
        self.0.fill(bytes).map_err(|_| CaError::Chance)
    }
}

/// A serial number: 159 bits, always of the same length.
pub(super) fn serial(chance: &dyn Chance) -> Result<[u8; SERIAL_BYTES], CaError> {
    let mut bytes = [0; SERIAL_BYTES];
    chance.fill(&mut bytes)?;
    if let Some(first) = bytes.first_mut() {
        // The number is positive, and no leading zero is cut from it.
        *first &= 0x7f;
        *first = (*first).max(1);
    }
    Ok(bytes)
}

/// `count` characters of `a` to `z` and `2` to `7`, five bits each.
pub(super) fn letters(chance: &dyn Chance, count: usize) -> Result<String, CaError> {
    let mut bytes = vec![0; count.div_ceil(8) * 5];
    chance.fill(&mut bytes)?;
    let mut text = data_encoding::BASE32_NOPAD.encode(&bytes);
    text.make_ascii_lowercase();
    text.truncate(count);
    Ok(text)
}

/// Chance that counts, for tests.
#[cfg(test)]
#[derive(Debug, Default)]
pub(super) struct Counting(std::sync::atomic::AtomicU64);

#[cfg(test)]
impl Chance for Counting {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), CaError> {
        use std::sync::atomic::Ordering;
        for chunk in bytes.chunks_mut(32) {
            let count = self.0.fetch_add(1, Ordering::Relaxed);
            let hash = ring::digest::digest(&ring::digest::SHA256, &count.to_be_bytes());
            chunk.copy_from_slice(&hash.as_ref()[..chunk.len()]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Always(u8);

    impl Chance for Always {
        fn fill(&self, bytes: &mut [u8]) -> Result<(), CaError> {
            bytes.fill(self.0);
            Ok(())
        }
    }

    #[test]
    fn serial_is_positive_and_of_full_length() {
        for byte in [0, 0x7f, 0x80, 0xff] {
            let serial = serial(&Always(byte)).unwrap();
            assert!((1..=0x7f).contains(&serial[0]), "{serial:?}");
        }
        let system = SystemChance::default();
        assert_ne!(serial(&system).unwrap(), serial(&system).unwrap());
    }

    #[test]
    fn letters_are_as_many_as_asked_for() {
        let text = letters(&SystemChance::default(), 6).unwrap();
        assert_eq!(text.len(), 6);
        assert!(
            text.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        );
        assert_eq!(letters(&SystemChance::default(), 32).unwrap().len(), 32);
    }
}
