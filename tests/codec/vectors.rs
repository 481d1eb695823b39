//! Packets as data: what is decoded from them, or which rule they break.
//!
//! A vector has `name`, `ver` (3, 4 or 5; none for the first packet of a client), `from` (client unless it says server)
//! and `hex`, and expects one of
//!
//! * `packet`: what is decoded, and that it is encoded to the same bytes again, or to those of `canonical`;
//! * `error` and `reason`: the violation, and what the peer is told; for a CONNECT also `answer`, the CONNACK that is sent
//!   or `null` for none;
//! * `incomplete`: that more bytes are asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use fieldgate::mqtt::{
    ConnAck, DecodeOptions, MAX_PACKET_SIZE, ProtocolVersion, Role, Violation, decode,
    decode_connect, encode, packet_len,
};
use serde::Deserialize;
use serde_json::Value;

use super::describe;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    name: String,
    ver: Option<u8>,
    #[serde(default)]
    from: From,
    #[serde(default = "max_packet_size")]
    max_packet_size: u32,
    hex: String,
    packet: Option<Value>,
    canonical: Option<String>,
    error: Option<String>,
    reason: Option<String>,
    answer: Option<String>,
    #[serde(default)]
    incomplete: bool,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum From {
    #[default]
    Client,
    Server,
}

const fn max_packet_size() -> u32 {
    MAX_PACKET_SIZE
}

/// What became of a vector, in the words of the vectors.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    packet: Option<Value>,
    canonical: Option<String>,
    error: Option<String>,
    reason: Option<String>,
    answer: Option<String>,
    incomplete: bool,
}

impl Vector {
    fn bytes(&self) -> Vec<u8> {
        bytes(&self.hex)
    }

    fn options(&self, version: u8) -> DecodeOptions {
        DecodeOptions {
            version: match version {
                3 => ProtocolVersion::V3_1,
                4 => ProtocolVersion::V3_1_1,
                5 => ProtocolVersion::V5,
                other => panic!("{}: ver {other}", self.name),
            },
            max_packet_size: self.max_packet_size,
            sender: match self.from {
                From::Client => Role::Client,
                From::Server => Role::Server,
            },
        }
    }

    fn expected(&self) -> Outcome {
        let canonical = self.canonical.as_ref().unwrap_or(&self.hex);
        Outcome {
            packet: self.packet.clone(),
            canonical: self
                .packet
                .as_ref()
                .map(|_| describe::hex(&bytes(canonical))),
            error: self.error.clone(),
            reason: self.reason.clone(),
            answer: self
                .answer
                .as_ref()
                .map(|answer| describe::hex(&bytes(answer))),
            incomplete: self.incomplete,
        }
    }

    fn outcome(&self, bytes: &[u8]) -> Outcome {
        match self.ver {
            Some(version) => outcome(bytes, &self.options(version)),
            None => connect_outcome(bytes, self.max_packet_size),
        }
    }
}

fn outcome(bytes: &[u8], options: &DecodeOptions) -> Outcome {
    match decode(bytes, options) {
        Ok(Some((packet, used))) => {
            assert_eq!(packet_len(bytes), Ok(Some(used)));
            let mut out = Vec::new();
            encode::packet(&mut out, options.version, &packet);
            assert_eq!(decode(&out, options), Ok(Some((packet, out.len()))));
            Outcome {
                packet: Some(describe::packet(&packet)),
                canonical: Some(describe::hex(&out)),
                ..Outcome::default()
            }
        }
        Ok(None) => Outcome {
            incomplete: true,
            ..Outcome::default()
        },
        Err(violation) => refused(violation, None),
    }
}

fn connect_outcome(bytes: &[u8], max_packet_size: u32) -> Outcome {
    match decode_connect(bytes, max_packet_size) {
        Ok(Some((connect, used))) => {
            assert_eq!(packet_len(bytes), Ok(Some(used)));
            let mut out = Vec::new();
            encode::connect(&mut out, &connect);
            assert_eq!(
                decode_connect(&out, MAX_PACKET_SIZE),
                Ok(Some((connect, out.len())))
            );
            Outcome {
                packet: Some(describe::connect(&connect)),
                canonical: Some(describe::hex(&out)),
                ..Outcome::default()
            }
        }
        Ok(None) => Outcome {
            incomplete: true,
            ..Outcome::default()
        },
        Err(fault) => {
            let answer = fault
                .version
                .zip(fault.connack_reason())
                .map(|(version, reason)| {
                    let mut out = Vec::new();
                    encode::connack(&mut out, version, &ConnAck::refusal(reason));
                    describe::hex(&out)
                });
            refused(fault.violation, answer)
        }
    }
}

fn refused(violation: Violation, answer: Option<String>) -> Outcome {
    Outcome {
        error: Some(violation.name().to_owned()),
        reason: Some(describe::reason(violation.reason())),
        answer,
        ..Outcome::default()
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: String = hex.split_whitespace().collect();
    assert!(digits.len().is_multiple_of(2), "half a byte in {hex:?}");
    digits
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).expect(hex))
        .collect()
}

fn all() -> BTreeMap<String, Vec<Vector>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let files = fs::read_dir(folder)
        .expect("tests/vectors")
        .map(|entry| entry.unwrap().path());
    let vectors = files.filter(|path| {
        path.extension()
            .is_some_and(|extension| extension == "json")
    });
    vectors
        .map(|path| {
            let text = fs::read_to_string(&path).expect("readable");
            let vectors = serde_json::from_str(&text)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (
                path.file_stem().unwrap().to_string_lossy().into_owned(),
                vectors,
            )
        })
        .collect()
}

#[test]
fn every_vector_has_its_outcome() {
    let mut faults = Vec::new();
    for (file, vectors) in all() {
        for vector in vectors {
            let (found, expected) = (vector.outcome(&vector.bytes()), vector.expected());
            if found != expected {
                faults.push(format!(
                    "{file}: {}\n  found    {found:?}\n  expected {expected:?}",
                    vector.name
                ));
            }
        }
    }
    assert!(
        faults.is_empty(),
        "{} vectors:\n{}",
        faults.len(),
        faults.join("\n")
    );
}

#[test]
fn names_are_given_once_and_vectors_are_many() {
    let mut names = BTreeSet::new();
    for (file, vectors) in all() {
        for vector in vectors {
            let name = format!("{file} {:?} {}", vector.ver, vector.name);
            assert!(names.insert(name.clone()), "twice: {name}");
        }
    }
    assert!(names.len() >= 250, "{} vectors", names.len());
}

#[test]
fn every_violation_of_a_packet_has_a_vector() {
    let seen: BTreeSet<_> = all()
        .into_values()
        .flatten()
        .filter_map(|vector| vector.error)
        .collect();
    let missing: Vec<_> = Violation::FORMAT
        .iter()
        .map(|violation| violation.name())
        .filter(|name| !seen.contains(*name))
        .collect();
    assert!(missing.is_empty(), "no vector for {missing:?}");
}

#[test]
fn a_packet_that_has_not_come_whole_is_waited_for() {
    for vector in all()
        .into_values()
        .flatten()
        .filter(|vector| vector.packet.is_some())
    {
        let bytes = vector.bytes();
        for length in 0..bytes.len() {
            let outcome = vector.outcome(&bytes[..length]);
            assert!(
                outcome.incomplete,
                "{} at {length}: {outcome:?}",
                vector.name
            );
        }
    }
}

#[test]
fn what_follows_a_packet_is_left_alone() {
    for vector in all()
        .into_values()
        .flatten()
        .filter(|vector| vector.packet.is_some())
    {
        let mut bytes = vector.bytes();
        bytes.extend_from_slice(&[0xFF; 3]);
        assert_eq!(vector.outcome(&bytes), vector.expected(), "{}", vector.name);
    }
}

/// Whatever becomes of a vector when it is damaged, it is not a panic.
#[test]
fn damaged_vectors_are_survived() {
    for vector in all().into_values().flatten() {
        let whole = vector.bytes();
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << bit;
                vector.outcome(&bytes);
            }
            let mut bytes = whole.clone();
            bytes.remove(at);
            vector.outcome(&bytes);
            // The same with a remaining length that agrees.
            if bytes.len() > 2 && bytes[1] < 0x80 {
                bytes[1] = u8::try_from(bytes.len() - 2).unwrap_or(0x7F).min(0x7F);
                vector.outcome(&bytes);
            }
        }
    }
}
