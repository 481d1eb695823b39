//! Passwords, while they are in memory.

use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use super::hash::HashFault;

/// Characters of a generated password: none that is taken for another one.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// Random characters of a generated password, 5 bits each: more than anybody tries.
const GENERATED_LEN: usize = 20;

/// Characters between two hyphens.
const GROUP_LEN: usize = 5;

/// Bytes that a password needs.
pub const PASSWORD_LEN_MIN: usize = 8;

/// Bytes that MQTT has for a password (3.1.3.6).
const PASSWORD_LEN_MAX: usize = 65_535;

/// A password. It is overwritten when it goes, and there is no way to print it by accident.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

/// Why a text does not do as a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretFault {
    /// It has no bytes.
    #[error("the password is empty")]
    Empty,
    /// It is short enough to be tried.
    #[error("the password has less than {PASSWORD_LEN_MIN} bytes")]
    Short,
    /// No client could send it.
    #[error(
        "the password has more than {PASSWORD_LEN_MAX} bytes, which is all that MQTT has room for"
    )]
    Long,
}

impl Secret {
    /// Takes a password over.
    #[must_use]
    pub fn new(password: Vec<u8>) -> Self {
        Self(Zeroizing::new(password))
    }

    /// Copies a password.
    #[must_use]
    pub fn copy(password: &[u8]) -> Self {
        Self(Zeroizing::new(password.to_vec()))
    }

    /// A new password that nobody can guess: `xxxxx-xxxxx-xxxxx-xxxxx`, 100 random bits.
    pub fn generate() -> Result<Self, HashFault> {
        let mut random = Zeroizing::new([0; GENERATED_LEN]);
        SystemRandom::new()
            .fill(&mut *random)
            .map_err(|_| HashFault::NoRandom)?;
        let mut password = Zeroizing::new(Vec::with_capacity(GENERATED_LEN * 2));
        for (at, byte) in random.iter().enumerate() {
            if at > 0 && at % GROUP_LEN == 0 {
                password.push(b'-');
            }
            // 256 is a multiple of 32, so every character is as likely as any other.
            let character = ALPHABET.get(usize::from(byte % 32));
            password.extend(character);
        }
        Ok(Self(password))
    }

    /// The password itself.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Whether it does as a new password. `is_short_allowed` is the word of somebody who knows why.
    pub fn check(&self, is_short_allowed: bool) -> Result<(), SecretFault> {
        match self.0.len() {
            0 => Err(SecretFault::Empty),
            length if length > PASSWORD_LEN_MAX => Err(SecretFault::Long),
            length if length < PASSWORD_LEN_MIN && !is_short_allowed => Err(SecretFault::Short),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_passwords_differ_and_can_be_read_out() {
        let (one, other) = (Secret::generate().unwrap(), Secret::generate().unwrap());
        assert_ne!(one.expose(), other.expose());
        let text = std::str::from_utf8(one.expose()).unwrap();
        assert_eq!(text.len(), 23);
        for group in text.split('-') {
            assert_eq!(group.len(), 5);
            assert!(group.bytes().all(|c| ALPHABET.contains(&c)), "{text}");
        }
        let mut characters = *ALPHABET;
        characters.sort_unstable();
        assert!(characters.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn empty_and_short_passwords_are_refused() {
        let check = |text: &str, allow| Secret::copy(text.as_bytes()).check(allow);
        assert_eq!(check("", true), Err(SecretFault::Empty));
        assert_eq!(check("1234567", false), Err(SecretFault::Short));
        assert_eq!(check("1234567", true), Ok(()));
        assert_eq!(check("12345678", false), Ok(()));
        assert_eq!(check(&"x".repeat(65_536), true), Err(SecretFault::Long));
    }
}
