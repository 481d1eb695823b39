//! Hashes of passwords: argon2id for those that are made here, and the kinds that other brokers write.
//!
//! | written | kind | from |
//! |---|---|---|
//! | `$argon2id$v=19$m=…,t=…,p=…$SALT$HASH` | argon2id | here, mosquitto 2.1, most others |
//! | `$7$ITERATIONS$SALT$HASH` | PBKDF2 with SHA-512 | mosquitto 1.6 to 2.1 |
//! | `$6$SALT$HASH` | SHA-512 of password and salt | mosquitto before 1.6 |
//! | `$pbkdf2-sha512$i=…,l=…$SALT$HASH`, and sha256 | PBKDF2 | the cluster broker |
//!
//! SALT and HASH are base64, with or without padding. What a hash may cost is bounded: the numbers come from files that
//! others wrote.

use std::fmt;
use std::num::NonZeroU32;

use std::sync::{Mutex, PoisonError};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use data_encoding::{BASE64, BASE64_NOPAD};
use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, pbkdf2};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Memory of a hash that is made here, in KiB: 19 MiB, which OWASP names as the least with two passes, and which a board
/// with 256 MiB has to spare for the one or two that are computed at a time.
const MEMORY_KIB: u32 = 19_456;

/// Passes over it.
const PASSES: u32 = 2;

/// Parts of it that could be filled side by side; they are not.
const LANES: u32 = 1;

/// Bytes of the salt and of the result.
const SALT_LEN: usize = 16;
const DIGEST_LEN: usize = 32;

/// The most memory that a hash of others may take, in KiB: mosquitto's take 46 MiB, the usual default elsewhere is 64 MiB.
const MEMORY_KIB_MAX: u32 = 65_536;

/// The most memory times passes: a quarter of a second on a desktop processor, and a second or two on a small board.
const WORK_KIB_MAX: u32 = 4 * MEMORY_KIB_MAX;

/// The most lanes; they cost nothing here, because they are filled one after the other.
const LANES_MAX: u32 = 16;

/// The most iterations of PBKDF2, which take as long: the cluster broker has 100,000, and OWASP recommends 210,000 for
/// SHA-512.
const ITERATIONS_MAX: u32 = 300_000;

/// Bytes that a salt and a result may have.
const SALT_LENS: std::ops::RangeInclusive<usize> = 8..=128;
const DIGEST_LENS: std::ops::RangeInclusive<usize> = 16..=64;

/// Characters of a hash, far above the longest that keeps to the bounds.
pub const HASH_LEN_MAX: usize = 512;

/// A hash that can be compared with a password.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    text: Box<str>,
    scheme: Scheme,
    salt: Vec<u8>,
    digest: Vec<u8>,
}

/// How a hash is computed, which is also what it costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scheme {
    Argon2id {
        memory_kib: u32,
        passes: u32,
        lanes: u32,
    },
    Pbkdf2Sha512 {
        iterations: NonZeroU32,
    },
    Pbkdf2Sha256 {
        iterations: NonZeroU32,
    },
    Sha512,
}

/// Why a text is no hash that can be used, or why there is no hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashFault {
    /// It does not begin as any of the kinds.
    #[error("the hash is of no known kind")]
    UnknownKind,
    /// It begins as one of them, and does not go on so.
    #[error("the hash is not written as its kind is")]
    Malformed,
    /// It would take more memory or time than a gateway has.
    #[error("the hash costs more to check than is allowed here")]
    TooCostly,
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    NoRandom,
    /// The system gives no memory.
    #[error("there is not enough memory to compute a hash")]
    NoMemory,
}

impl fmt::Debug for PasswordHash {
    /// Only the kind: this ends in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordHash")
            .field("scheme", &self.scheme)
            .finish_non_exhaustive()
    }
}

impl PasswordHash {
    /// Hashes a password as those that are made here.
    pub fn new(password: &[u8]) -> Result<Self, HashFault> {
        let mut salt = vec![0; SALT_LEN];
        SystemRandom::new()
            .fill(&mut salt)
            .map_err(|_| HashFault::NoRandom)?;
        let digest = OWN.compute(password, &salt, DIGEST_LEN)?;
        let text = format!(
            "$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}${}${}",
            BASE64_NOPAD.encode(&salt),
            BASE64_NOPAD.encode(&digest),
        );
        Ok(Self {
            text: text.into(),
            scheme: OWN,
            salt,
            digest: digest.to_vec(),
        })
    }

    /// A hash that no password has, and that costs what others of its scheme cost.
    pub(super) fn dummy(scheme: Scheme) -> Self {
        Self {
            text: Box::default(),
            scheme,
            salt: vec![0x5a; SALT_LEN],
            digest: vec![0; DIGEST_LEN],
        }
    }

    /// Reads a hash of any kind.
    pub fn parse(text: &str) -> Result<Self, HashFault> {
        if text.len() > HASH_LEN_MAX {
            return Err(HashFault::Malformed);
        }
        let rest = text.strip_prefix('$').ok_or(HashFault::UnknownKind)?;
        let (kind, rest) = rest.split_once('$').ok_or(HashFault::UnknownKind)?;
        let (scheme, rest) = match kind {
            "argon2id" => argon2id(rest)?,
            "pbkdf2-sha512" => {
                let (iterations, length, rest) = pbkdf2_parameters(rest)?;
                (Scheme::Pbkdf2Sha512 { iterations }, (rest, length))
            }
            "pbkdf2-sha256" => {
                let (iterations, length, rest) = pbkdf2_parameters(rest)?;
                (Scheme::Pbkdf2Sha256 { iterations }, (rest, length))
            }
            "7" => {
                let (iterations, rest) = rest.split_once('$').ok_or(HashFault::Malformed)?;
                let iterations = bounded_iterations(iterations)?;
                (Scheme::Pbkdf2Sha512 { iterations }, (rest, None))
            }
            "6" => (Scheme::Sha512, (rest, None)),
            _ => return Err(HashFault::UnknownKind),
        };
        let (rest, length) = rest;
        let (salt, digest) = rest.split_once('$').ok_or(HashFault::Malformed)?;
        let (salt, digest) = (base64(salt)?, base64(digest)?);
        let is_whole = scheme != Scheme::Sha512 || digest.len() == digest::SHA512_OUTPUT_LEN;
        let has_length = length.is_none_or(|length| length == digest.len());
        if !SALT_LENS.contains(&salt.len())
            || !DIGEST_LENS.contains(&digest.len())
            || !is_whole
            || !has_length
        {
            return Err(HashFault::Malformed);
        }
        Ok(Self {
            text: text.into(),
            scheme,
            salt,
            digest,
        })
    }

    /// The hash as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is the hash of `password`. Takes as long as the scheme does, whatever the answer.
    pub fn verify(&self, password: &[u8]) -> Result<bool, HashFault> {
        let found = self
            .scheme
            .compute(password, &self.salt, self.digest.len())?;
        Ok(bool::from(found.ct_eq(&self.digest)))
    }

    /// Whether it is as those that are made here; the others are replaced at the next login.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.scheme == OWN
    }

    pub(super) fn scheme(&self) -> Scheme {
        self.scheme
    }
}

/// What is made here.
pub(super) const OWN: Scheme = Scheme::Argon2id {
    memory_kib: MEMORY_KIB,
    passes: PASSES,
    lanes: LANES,
};

impl Scheme {
    fn compute(
        self,
        password: &[u8],
        salt: &[u8],
        length: usize,
    ) -> Result<Zeroizing<Vec<u8>>, HashFault> {
        let mut out = Zeroizing::new(vec![0; length]);
        match self {
            Self::Argon2id {
                memory_kib,
                passes,
                lanes,
            } => {
                let params = Params::new(memory_kib, passes, lanes, Some(length))
                    .map_err(|_| HashFault::Malformed)?;
                let mut memory = Memory::take(params.block_count());
                let hashed = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
                    .hash_password_into_with_memory(password, salt, &mut out, &mut memory.0);
                memory.give_back();
                hashed.map_err(|error| match error {
                    argon2::Error::OutOfMemory => HashFault::NoMemory,
                    _ => HashFault::Malformed,
                })?;
            }
            Self::Pbkdf2Sha512 { iterations } => {
                let algorithm = pbkdf2::PBKDF2_HMAC_SHA512;
                pbkdf2::derive(algorithm, iterations, salt, password, &mut out);
            }
            Self::Pbkdf2Sha256 { iterations } => {
                let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
                pbkdf2::derive(algorithm, iterations, salt, password, &mut out);
            }
            Self::Sha512 => {
                let mut context = digest::Context::new(&digest::SHA512);
                context.update(password);
                context.update(salt);
                let found = context.finish();
                for (to, from) in out.iter_mut().zip(found.as_ref()) {
                    *to = *from;
                }
            }
        }
        Ok(out)
    }
}

/// What is left of a hash behind its parameters, and how long the result has to be, if that is written.
type Rest<'a> = (&'a str, Option<usize>);

/// `v=19$m=…,t=…,p=…$`
/// What argon2id works in. It is kept for the next password: freed and taken again, blocks of this size stay with the process
/// as holes in its heap, one for each thread that ever had one.
struct Memory(Vec<Block>);

/// Kept memory; never more than there were passwords under way at one time.
static KEPT: Mutex<Vec<Memory>> = Mutex::new(Vec::new());

/// Blocks of kept memory: those of a hash of our own, of 1 KiB each.
const KEPT_BLOCKS_MAX: usize = MEMORY_KIB as usize;

impl Memory {
    fn take(blocks: usize) -> Self {
        let kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut memory = kept.unwrap_or(Self(Vec::new()));
        memory.0.resize(blocks, Block::default());
        memory
    }

    fn give_back(mut self) {
        if self.0.capacity() > KEPT_BLOCKS_MAX {
            return;
        }
        // What passwords have left in it is not needed any more.
        self.0.fill(Block::default());
        KEPT.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(self);
    }
}

fn argon2id(rest: &str) -> Result<(Scheme, Rest<'_>), HashFault> {
    let rest = rest.strip_prefix("v=19$").ok_or(HashFault::Malformed)?;
    let (parameters, rest) = rest.split_once('$').ok_or(HashFault::Malformed)?;
    let (mut memory_kib, mut passes, mut lanes) = (None, None, None);
    for parameter in parameters.split(',') {
        let (name, value) = parameter.split_once('=').ok_or(HashFault::Malformed)?;
        let place = match name {
            "m" => &mut memory_kib,
            "t" => &mut passes,
            "p" => &mut lanes,
            _ => return Err(HashFault::Malformed),
        };
        if place.replace(number(value)?).is_some() {
            return Err(HashFault::Malformed);
        }
    }
    let (Some(memory_kib), Some(passes), Some(lanes)) = (memory_kib, passes, lanes) else {
        return Err(HashFault::Malformed);
    };
    let work = memory_kib.checked_mul(passes);
    if memory_kib > MEMORY_KIB_MAX
        || lanes > LANES_MAX
        || work.is_none_or(|work| work > WORK_KIB_MAX)
    {
        return Err(HashFault::TooCostly);
    }
    // What the standard of the scheme allows is known by who computes it.
    Params::new(memory_kib, passes, lanes, None).map_err(|_| HashFault::Malformed)?;
    let scheme = Scheme::Argon2id {
        memory_kib,
        passes,
        lanes,
    };
    Ok((scheme, (rest, None)))
}

/// `i=…,l=…$`; the length may be missing.
fn pbkdf2_parameters(rest: &str) -> Result<(NonZeroU32, Option<usize>, &str), HashFault> {
    let (parameters, rest) = rest.split_once('$').ok_or(HashFault::Malformed)?;
    let (iterations, length) = match parameters.split_once(',') {
        Some((iterations, length)) => (iterations, Some(length)),
        None => (parameters, None),
    };
    let iterations = iterations.strip_prefix("i=").ok_or(HashFault::Malformed)?;
    let length = match length {
        Some(length) => {
            let length = length.strip_prefix("l=").ok_or(HashFault::Malformed)?;
            Some(usize::try_from(number(length)?).map_err(|_| HashFault::Malformed)?)
        }
        None => None,
    };
    Ok((bounded_iterations(iterations)?, length, rest))
}

fn bounded_iterations(text: &str) -> Result<NonZeroU32, HashFault> {
    let iterations = NonZeroU32::new(number(text)?).ok_or(HashFault::Malformed)?;
    if iterations.get() > ITERATIONS_MAX {
        return Err(HashFault::TooCostly);
    }
    Ok(iterations)
}

/// A number without a sign; one that is too large for any bound is too costly, too.
fn number(text: &str) -> Result<u32, HashFault> {
    if text.is_empty() || !text.bytes().all(|c| c.is_ascii_digit()) {
        return Err(HashFault::Malformed);
    }
    text.parse().map_err(|_| HashFault::TooCostly)
}

fn base64(text: &str) -> Result<Vec<u8>, HashFault> {
    let encoding = if text.ends_with('=') {
        BASE64
    } else {
        BASE64_NOPAD
    };
    encoding
        .decode(text.as_bytes())
        .map_err(|_| HashFault::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by `mosquitto_passwd` 2.0.11, `argon2` 20171227 and Python's `hashlib`, with the password that each is for.
    const FOREIGN: [(&str, &str); 8] = [
        (
            "correct horse 1",
            "$7$101$YoIjNZVCa8v6LNED$dVIRbc24IBWWUMqktglovbeRSNpFxcgcSQMPtGKUQY4BLNy7PhxLM9GgdFP/Q+iPx4z9/pX/j0sPM0K+wf83tw==",
        ),
        (
            "ümläut-pass",
            "$7$101$z9BcIhaAOuMFmggh$sqoD3qIXlK0p51vafu3NoiSkrZ1xO/HOz0tBcxZmpezTMcFLX7rQJkk/n8bwWl062q5xcWt65LQoqauvaJ/CbQ==",
        ),
        (
            "plc-secret-9",
            "$6$IOiD9nazDTBod1EL$1L9Ajg+6t4hU8MyhviAUwyEFKSskxGaTXkNlRQSMR4Qmpgeo5zGvndU3PhxXiTl6l55BZ5DLIRS733eZTPfkYw==",
        ),
        (
            "correct horse 1",
            "$argon2id$v=19$m=47104,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZg$+t/UzeMDr9rmItrmK+FCLyBseun59jJPPN3NwWixkWntI81cXR9Owf5iLSps17dB0lVy2jTer8LWbxcd/wCaZg",
        ),
        (
            "password1",
            "$pbkdf2-sha512$i=100000,l=64$CxTVAaWURCoBxoWVQbyz6A==$8apYUb2L4kuY2ussZs0C80dQ3TCO1FQNKilFfqxI3QadAaMGjXdSIVbHexv+oYem/rqOjx7jXnmOuh/jChk01w==",
        ),
        (
            "pässword-2",
            "$pbkdf2-sha512$i=1000,l=64$NptRzVg9ceaFqFNJuegCZQ==$hCJq2TCS8/MOUIaJgJgWC1ydr8JskNbaDZSfTbAdEzINBMswq/YExxTQE8cLNco4v+sk+9oSLv8TH8xXbgVTVA==",
        ),
        (
            "pässword-2",
            "$pbkdf2-sha512$i=1000$NptRzVg9ceaFqFNJuegCZQ$hCJq2TCS8/MOUIaJgJgWC1ydr8JskNbaDZSfTbAdEzINBMswq/YExxTQE8cLNco4v+sk+9oSLv8TH8xXbgVTVA",
        ),
        (
            "password-256",
            "$pbkdf2-sha256$i=1000,l=32$c2FsdHNhbHRzYWx0c2FsdA$7wU+8+5qpiwIwHHYFedxSUKZHjC4Lov9iCmI5V42ExA",
        ),
    ];

    const BAD: [(&str, HashFault); 24] = [
        ("", HashFault::UnknownKind),
        ("plain text", HashFault::UnknownKind),
        ("$", HashFault::UnknownKind),
        ("$2b$12$abcdefghijklmnopqrstuv", HashFault::UnknownKind),
        (
            "$argon2i$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaA",
            HashFault::UnknownKind,
        ),
        (
            "$argon2id$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaA",
            HashFault::Malformed,
        ),
        (
            "$argon2id$v=19$m=19456,t=2$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA",
            HashFault::Malformed,
        ),
        (
            "$argon2id$v=19$m=19456,t=2,p=1,t=2$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA",
            HashFault::Malformed,
        ),
        (
            "$argon2id$v=19$m=1,t=2,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA",
            HashFault::Malformed,
        ),
        (
            "$argon2id$v=19$m=19456,t=0,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA",
            HashFault::Malformed,
        ),
        (
            "$argon2id$v=19$m=65537,t=1,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA",
            HashFault::TooCostly,
        ),
        (
            "$argon2id$v=19$m=65536,t=5,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA",
            HashFault::TooCostly,
        ),
        (
            "$argon2id$v=19$m=8,t=4294967295,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA",
            HashFault::TooCostly,
        ),
        (
            "$argon2id$v=19$m=99999999999,t=1,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA",
            HashFault::TooCostly,
        ),
        (
            "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaGhhc2hoYXNoaGFzaA",
            HashFault::Malformed,
        ),
        (
            "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$aGFzaA",
            HashFault::Malformed,
        ),
        (
            "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0",
            HashFault::Malformed,
        ),
        (
            "$7$0$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA",
            HashFault::Malformed,
        ),
        (
            "$7$-5$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA",
            HashFault::Malformed,
        ),
        (
            "$7$300001$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA",
            HashFault::TooCostly,
        ),
        (
            "$6$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA",
            HashFault::Malformed,
        ),
        ("$6$c2FsdHNhbHRzYWx0$not base64", HashFault::Malformed),
        (
            "$pbkdf2-sha512$i=1000,l=64$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA",
            HashFault::Malformed,
        ),
        (
            "$pbkdf2-sha512$1000$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA",
            HashFault::Malformed,
        ),
    ];

    #[test]
    fn own_hash_is_that_of_its_password_only() {
        let hash = PasswordHash::new(b"a good password").unwrap();
        assert!(hash.is_own());
        let again = PasswordHash::parse(hash.as_str()).unwrap();
        assert!(again == hash);
        assert_eq!(again.verify(b"a good password"), Ok(true));
        assert_eq!(again.verify(b"a good passwore"), Ok(false));
        assert_eq!(again.verify(b""), Ok(false));
        let other = PasswordHash::new(b"a good password").unwrap();
        assert_ne!(other.as_str(), hash.as_str(), "the salt differs");
        assert!(!format!("{hash:?}").contains(&hash.as_str()[40..]));
    }

    #[test]
    fn hashes_of_others_are_understood() {
        for (password, text) in FOREIGN {
            let hash = PasswordHash::parse(text).unwrap();
            assert!(!hash.is_own(), "{text}");
            assert_eq!(hash.verify(password.as_bytes()), Ok(true), "{text}");
            assert_eq!(hash.verify(b"wrong"), Ok(false), "{text}");
            assert_eq!(hash.as_str(), text);
        }
    }

    #[test]
    fn what_is_no_hash_is_refused() {
        for (text, expected) in BAD {
            assert_eq!(PasswordHash::parse(text), Err(expected), "{text}");
        }
        let long = format!("$6$c2FsdHNhbHRzYWx0${}", "A".repeat(HASH_LEN_MAX));
        assert_eq!(PasswordHash::parse(&long), Err(HashFault::Malformed));
    }

    #[test]
    fn dummy_is_the_hash_of_nothing() {
        let scheme = Scheme::Pbkdf2Sha512 {
            iterations: NonZeroU32::MIN,
        };
        for scheme in [OWN, scheme, Scheme::Sha512] {
            assert_eq!(PasswordHash::dummy(scheme).verify(b""), Ok(false));
        }
    }
}
