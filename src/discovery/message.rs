//! Messages of DNS as they travel by multicast (RFC 1035, RFC 6762), pure.
//!
//! Names are kept as they travel, a byte of length before each label and a zero at the end, and never with pointers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Questions and records of one message that are looked at; one with more is not.
const ENTRIES_MAX: usize = 256;

/// Longest name, as it travels.
const NAME_BYTES_MAX: usize = 255;

/// Longest label.
const LABEL_BYTES_MAX: usize = 63;

/// Bytes of the header.
const HEADER_BYTES: usize = 12;

/// Class IN, and the bit beside it: "the cache is to forget the rest" in a record, "answer me alone" in a question.
const CLASS_IN: u16 = 1;
const CLASS_ANY: u16 = 255;
const TOP_BIT: u16 = 0x8000;

/// Types of records.
pub(super) mod rrtype {
    pub(in super::super) const A: u16 = 1;
    pub(in super::super) const PTR: u16 = 12;
    pub(in super::super) const TXT: u16 = 16;
    pub(in super::super) const AAAA: u16 = 28;
    pub(in super::super) const SRV: u16 = 33;
    pub(in super::super) const NSEC: u16 = 47;
    pub(in super::super) const ANY: u16 = 255;
}

/// A name; two are the same whatever the case of their letters.
#[derive(Clone, Debug, Default)]
pub(super) struct Name(Vec<u8>);

impl Name {
    /// `None` where a label is empty or too long, or the whole is.
    pub(super) fn of(labels: &[&[u8]]) -> Option<Self> {
        let mut bytes = Vec::new();
        for label in labels {
            let length = u8::try_from(label.len()).ok()?;
            if label.is_empty() || label.len() > LABEL_BYTES_MAX {
                return None;
            }
            bytes.push(length);
            bytes.extend_from_slice(label);
        }
        bytes.push(0);
        (bytes.len() <= NAME_BYTES_MAX).then_some(Self(bytes))
    }

    /// This name below another label.
    pub(super) fn below(&self, label: &[u8]) -> Option<Self> {
        let mut bytes = vec![u8::try_from(label.len()).ok()?];
        if label.is_empty() || label.len() > LABEL_BYTES_MAX {
            return None;
        }
        bytes.extend_from_slice(label);
        bytes.extend_from_slice(&self.0);
        (bytes.len() <= NAME_BYTES_MAX).then_some(Self(bytes))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq for Name {
    // Lengths of labels are below 64 and no letters, so they can be compared together with them.
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for Name {}

/// What a record says. Names inside are whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Data {
    Address(IpAddr),
    Pointer(Name),
    Service {
        port: u16,
        target: Name,
    },
    Text(Vec<u8>),
    /// The types that a name has, of those below 256.
    Types(Name, Vec<u16>),
    /// Something that is not ours, and may have our name.
    Other(u16, Vec<u8>),
}

impl Data {
    pub(super) fn rrtype(&self) -> u16 {
        match self {
            Self::Address(IpAddr::V4(_)) => rrtype::A,
            Self::Address(IpAddr::V6(_)) => rrtype::AAAA,
            Self::Pointer(_) => rrtype::PTR,
            Self::Service { .. } => rrtype::SRV,
            Self::Text(_) => rrtype::TXT,
            Self::Types(..) => rrtype::NSEC,
            Self::Other(kind, _) => *kind,
        }
    }

    /// The bytes of it without compression, by which two sets are compared when two want the same name.
    pub(super) fn plain(&self) -> Vec<u8> {
        match self {
            Self::Address(IpAddr::V4(ip)) => ip.octets().to_vec(),
            Self::Address(IpAddr::V6(ip)) => ip.octets().to_vec(),
            Self::Pointer(name) => name.0.clone(),
            Self::Service { port, target } => {
                let mut bytes = vec![0; 4];
                bytes.extend_from_slice(&port.to_be_bytes());
                bytes.extend_from_slice(&target.0);
                bytes
            }
            Self::Text(text) => text.clone(),
            Self::Types(next, types) => {
                let mut bits = [0_u8; 32];
                for kind in types {
                    let (byte, bit) = (usize::from(kind / 8), kind % 8);
                    if let Some(byte) = bits.get_mut(byte) {
                        *byte |= 0x80 >> bit;
                    }
                }
                let used = bits
                    .iter()
                    .rposition(|byte| *byte != 0)
                    .map_or(0, |at| at + 1);
                let mut bytes = next.0.clone();
                bytes.push(0);
                bytes.push(u8::try_from(used).unwrap_or(0));
                bytes.extend(bits.iter().take(used));
                bytes
            }
            Self::Other(_, bytes) => bytes.clone(),
        }
    }
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) name: Name,
    /// Seconds that it may be remembered; 0 says that it is gone.
    pub(super) ttl: u32,
    /// Whether nobody else has records of this name and type.
    pub(super) is_unique: bool,
    pub(super) data: Data,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) name: Name,
    pub(super) rrtype: u16,
    /// Whether the answer is for whoever asks alone.
    pub(super) is_unicast: bool,
}

/// A message that was received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) id: u16,
    pub(super) is_response: bool,
    pub(super) questions: Vec<Question>,
    pub(super) answers: Vec<Record>,
    /// What somebody who asks wants to have itself.
    pub(super) authorities: Vec<Record>,
    pub(super) additional: Vec<Record>,
}

/// Reads a message; `None` for one that is not understood to its end.
pub(super) fn parse(bytes: &[u8]) -> Option<Message> {
    let mut reader = Reader { bytes, at: 0 };
    let id = reader.u16()?;
    let flags = reader.u16()?;
    // Neither another operation nor an error.
    if flags & 0x780f != 0 {
        return None;
    }
    let mut counts = [0_usize; 4];
    for count in &mut counts {
        *count = usize::from(reader.u16()?);
    }
    if counts.iter().sum::<usize>() > ENTRIES_MAX {
        return None;
    }
    let [questions, answers, authorities, additional] = counts;
    let mut message = Message {
        id,
        is_response: flags & TOP_BIT != 0,
        ..Message::default()
    };
    for _ in 0..questions {
        message.questions.extend(reader.question()?);
    }
    for _ in 0..answers {
        message.answers.extend(reader.record()?);
    }
    for _ in 0..authorities {
        message.authorities.extend(reader.record()?);
    }
    for _ in 0..additional {
        message.additional.extend(reader.record()?);
    }
    Some(message)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(count)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    /// A name with its pointers followed. Each leads to before the one that it was found behind, so there is an end.
    fn name(&mut self) -> Option<Name> {
        let mut name = Vec::new();
        let mut at = self.at;
        let mut before = at;
        let mut end = None;
        loop {
            let length = *self.bytes.get(at)?;
            match length {
                0 => {
                    name.push(0);
                    self.at = end.unwrap_or(at + 1);
                    return (name.len() <= NAME_BYTES_MAX).then_some(Name(name));
                }
                1..=63 => {
                    let next = at + 1 + usize::from(length);
                    name.extend_from_slice(self.bytes.get(at..next)?);
                    if name.len() > NAME_BYTES_MAX {
                        return None;
                    }
                    at = next;
                }
                0xc0.. => {
                    let low = *self.bytes.get(at + 1)?;
                    end = end.or(Some(at + 2));
                    let target = usize::from(u16::from_be_bytes([length & 0x3f, low]));
                    if target >= before {
                        return None;
                    }
                    before = target;
                    at = target;
                }
                _ => return None,
            }
        }
    }

    /// `Some(None)` for one of another class.
    fn question(&mut self) -> Option<Option<Question>> {
        let name = self.name()?;
        let rrtype = self.u16()?;
        let class = self.u16()?;
        let is_ours = matches!(class & !TOP_BIT, CLASS_IN | CLASS_ANY);
        Some(is_ours.then_some(Question {
            name,
            rrtype,
            is_unicast: class & TOP_BIT != 0,
        }))
    }

    /// `Some(None)` for one of another class, or whose content is not what its type says.
    fn record(&mut self) -> Option<Option<Record>> {
        let name = self.name()?;
        let kind = self.u16()?;
        let class = self.u16()?;
        let ttl = self.u32()?;
        let length = usize::from(self.u16()?);
        let end = self.at.checked_add(length)?;
        // Names inside may point to anywhere before, so the content is read in its place.
        let mut inside = Reader {
            bytes: self.bytes.get(..end)?,
            at: self.at,
        };
        self.at = end;
        let data = inside.data(kind, length);
        let is_ours = class & !TOP_BIT == CLASS_IN;
        Some(data.filter(|_| is_ours).map(|data| Record {
            name,
            ttl,
            is_unique: class & TOP_BIT != 0,
            data,
        }))
    }

    fn data(&mut self, kind: u16, length: usize) -> Option<Data> {
        Some(match kind {
            rrtype::A => {
                let octets: [u8; 4] = self.take(length)?.try_into().ok()?;
                Data::Address(Ipv4Addr::from(octets).into())
            }
            rrtype::AAAA => {
                let octets: [u8; 16] = self.take(length)?.try_into().ok()?;
                Data::Address(Ipv6Addr::from(octets).into())
            }
            rrtype::PTR => Data::Pointer(self.name()?),
            rrtype::SRV => {
                self.take(4)?;
                let port = self.u16()?;
                let target = self.name()?;
                Data::Service { port, target }
            }
            rrtype::TXT => Data::Text(self.take(length)?.to_vec()),
            _ => Data::Other(kind, self.take(length)?.to_vec()),
        })
    }
}

/// Writes one message, and says when it is full.
#[derive(Debug)]
pub(super) struct Writer {
    bytes: Vec<u8>,
    counts: [u16; 4],
    bytes_max: usize,
    /// Ends of names that were written, and where.
    names: Vec<(Vec<u8>, u16)>,
}

/// Which part of a message a record goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Answer = 1,
    Authority = 2,
    Additional = 3,
}

impl Writer {
    /// `id` is that of the question for those who ask as they would ask any server, else 0.
    pub(super) fn new(id: u16, is_response: bool, bytes_max: usize) -> Self {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[..2].copy_from_slice(&id.to_be_bytes());
        // A response speaks for itself, "authoritative".
        bytes[2] = if is_response { 0x84 } else { 0 };
        Self {
            bytes,
            counts: [0; 4],
            bytes_max,
            names: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.counts.iter().all(|count| *count == 0)
    }

    pub(super) fn question(&mut self, question: &Question) -> bool {
        self.whole(0, |writer| {
            writer.name(&question.name);
            writer.bytes.extend(question.rrtype.to_be_bytes());
            let top = if question.is_unicast { TOP_BIT } else { 0 };
            writer.bytes.extend((CLASS_IN | top).to_be_bytes());
        })
    }

    /// Says whether there was room for it. `is_flushing`: others of the name and type are to be forgotten.
    pub(super) fn record(&mut self, section: Section, record: &Record, is_flushing: bool) -> bool {
        self.whole(section as usize, |writer| {
            writer.name(&record.name);
            writer.bytes.extend(record.data.rrtype().to_be_bytes());
            let top = if is_flushing { TOP_BIT } else { 0 };
            writer.bytes.extend((CLASS_IN | top).to_be_bytes());
            writer.bytes.extend(record.ttl.to_be_bytes());
            let at = writer.bytes.len();
            writer.bytes.extend([0, 0]);
            match &record.data {
                Data::Pointer(name) => writer.name(name),
                // RFC 6762, section 18.14: compressed here as well.
                Data::Service { port, target } => {
                    writer.bytes.extend([0; 4]);
                    writer.bytes.extend(port.to_be_bytes());
                    writer.name(target);
                }
                other => writer.bytes.extend(other.plain()),
            }
            let length = u16::try_from(writer.bytes.len() - at - 2).unwrap_or(u16::MAX);
            if let Some(place) = writer.bytes.get_mut(at..at + 2) {
                place.copy_from_slice(&length.to_be_bytes());
            }
        })
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        for (index, count) in self.counts.iter().enumerate() {
            let at = 4 + 2 * index;
            self.bytes[at..at + 2].copy_from_slice(&count.to_be_bytes());
        }
        self.bytes
    }

    /// Writes something, or nothing where there is no room.
    fn whole(&mut self, section: usize, write: impl FnOnce(&mut Self)) -> bool {
        let (bytes, names) = (self.bytes.len(), self.names.len());
        write(self);
        if self.bytes.len() > self.bytes_max {
            self.bytes.truncate(bytes);
            self.names.truncate(names);
            return false;
        }
        self.counts[section] += 1;
        true
    }

    fn name(&mut self, name: &Name) {
        let mut rest = name.bytes();
        while let [length, after @ ..] = rest
            && *length != 0
        {
            let known = |(other, _): &&(Vec<u8>, u16)| other.eq_ignore_ascii_case(rest);
            if let Some((_, at)) = self.names.iter().find(known) {
                self.bytes.extend((0xc000 | at).to_be_bytes());
                return;
            }
            if let Ok(at) = u16::try_from(self.bytes.len())
                && at < 0x4000
            {
                self.names.push((rest.to_vec(), at));
            }
            let (label, others) = after.split_at(usize::from(*length));
            self.bytes.push(*length);
            self.bytes.extend_from_slice(label);
            rest = others;
        }
        self.bytes.push(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(labels: &[&str]) -> Name {
        let labels: Vec<&[u8]> = labels.iter().map(|label| label.as_bytes()).collect();
        Name::of(&labels).unwrap()
    }

    fn records() -> Vec<Record> {
        let host = name(&["gw", "local"]);
        let kind = name(&["_mqtt", "_tcp", "local"]);
        let instance = kind.below(b"Hall 3").unwrap();
        let record = |name: &Name, data| Record {
            name: name.clone(),
            ttl: 120,
            is_unique: true,
            data,
        };
        let target = host.clone();
        vec![
            record(&host, Data::Address("192.0.2.7".parse().unwrap())),
            record(&host, Data::Address("fe80::7".parse().unwrap())),
            record(&kind, Data::Pointer(instance.clone())),
            record(&instance, Data::Service { port: 1883, target }),
            record(&instance, Data::Text(b"\x09txtvers=1".to_vec())),
        ]
    }

    fn message() -> Vec<u8> {
        let mut writer = Writer::new(0, true, 1_400);
        for record in records() {
            assert!(writer.record(Section::Answer, &record, true));
        }
        writer.finish()
    }

    #[test]
    fn what_is_written_is_read_and_names_are_written_once() {
        let bytes = message();
        let parsed = parse(&bytes).unwrap();
        assert!(parsed.is_response);
        assert_eq!(parsed.answers, records());
        let ends = bytes.windows(6).filter(|part| part == b"\x05local");
        assert_eq!(ends.count(), 1);
        let question = Question {
            name: name(&["GW", "Local"]),
            rrtype: rrtype::ANY,
            is_unicast: true,
        };
        let mut writer = Writer::new(7, false, 1_400);
        assert!(writer.question(&question));
        let parsed = parse(&writer.finish()).unwrap();
        assert_eq!((parsed.id, parsed.is_response), (7, false));
        assert_eq!(parsed.questions, [question]);
        assert_eq!(parsed.questions[0].name, name(&["gw", "local"]));
    }

    #[test]
    fn full_message_takes_nothing_more_and_is_whole() {
        let mut writer = Writer::new(0, true, 100);
        let taken: Vec<bool> = records()
            .iter()
            .map(|record| writer.record(Section::Answer, record, true))
            .collect();
        assert_eq!(taken, [true, true, true, false, false]);
        let parsed = parse(&writer.finish()).unwrap();
        assert_eq!(parsed.answers, records()[..3]);
    }

    #[test]
    fn types_of_a_name_are_bits() {
        let types = Data::Types(name(&["a"]), vec![rrtype::A, rrtype::AAAA]);
        assert_eq!(types.plain(), b"\x01a\0\0\x04\x40\0\0\x08");
    }

    #[test]
    fn bad_messages_are_none_and_never_more() {
        let bytes = message();
        for cut in 0..bytes.len() {
            assert_eq!(parse(&bytes[..cut]), None, "cut at {cut}");
        }
        for at in 0..bytes.len() {
            for value in [0, 1, 0x3f, 0x40, 0x80, 0xc0, 0xff] {
                let mut bad = bytes.clone();
                bad[at] = value;
                let _ = parse(&bad);
            }
        }
        // A name that points to itself, and one to what comes after it.
        let head = b"\0\0\0\0\0\x01\0\0\0\0\0\0";
        for tail in [
            &b"\xc0\x0c\0\x01\0\x01"[..],
            b"\xc0\x0e\xc0\x0c\0\x01\0\x01",
        ] {
            assert_eq!(parse(&[&head[..], tail].concat()), None);
        }
        let many = b"\0\0\0\0\xff\xff\0\0\0\0\0\0";
        assert_eq!(parse(many), None);
    }

    #[test]
    fn names_have_bounds() {
        assert_eq!(Name::of(&[&[b'a'; 64]]), None);
        assert_eq!(Name::of(&[b""]), None);
        let long = [b'a'; 63];
        assert_eq!(Name::of(&[&long, &long, &long, &long]), None);
        assert_eq!(Name::of(&[&long]).unwrap().below(b""), None);
    }
}
