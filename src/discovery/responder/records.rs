//! What there is to be said: records, and the answers that they make.

use std::net::IpAddr;

use super::super::message::{Data, Message, Name, Question, Record, Section, Writer, rrtype};
use super::super::{Service, ServiceKind};
use super::{
    Destination, HOST_TTL, LEGACY_TTL, MESSAGE_BYTES_MAX, OTHER_TTL, Owned, Responder, Slot, What,
    is_probing, label,
};

/// Different questions of one message that are looked at.
const QUESTIONS_MAX: usize = 32;

impl Responder {
    /// What there is for a question, of what is certain to be ours.
    pub(super) fn slots(&self, question: &Question) -> Vec<Slot> {
        let asks =
            |kind: u16| matches!(question.rrtype, asked if asked == kind || asked == rrtype::ANY);
        let mut slots = Vec::new();
        if question.name == kinds_name() && asks(rrtype::PTR) {
            let mut kinds: Vec<ServiceKind> = self.services().map(|service| service.kind).collect();
            kinds.dedup();
            slots.extend(kinds.into_iter().map(Slot::Kind));
        }
        for owned in self.names.iter().filter(|owned| !is_probing(owned)) {
            let is_named = self.name(owned).is_some_and(|name| name == question.name);
            match owned.what {
                What::Host if is_named => {
                    let has = |slot: &Slot| !self.records(*slot).is_empty();
                    let asked = [(rrtype::A, Slot::V4), (rrtype::AAAA, Slot::V6)];
                    let asked = asked.into_iter().filter(|(kind, _)| asks(*kind));
                    let asked: Vec<Slot> = asked.map(|(_, slot)| slot).collect();
                    if !asked.is_empty() && !asked.iter().any(has) {
                        slots.push(Slot::Types);
                    }
                    slots.extend(asked.into_iter().filter(has));
                }
                What::Service(service) => {
                    let of_kind = kind_name(service.kind) == Some(question.name.clone());
                    if of_kind && asks(rrtype::PTR) {
                        slots.push(Slot::Pointer(service));
                    }
                    if is_named && asks(rrtype::SRV) {
                        slots.push(Slot::Place(service));
                    }
                    if is_named && asks(rrtype::TXT) {
                        slots.push(Slot::Text(service));
                    }
                }
                What::Host => {}
            }
        }
        slots
    }

    /// Services whose names are certain, by kind.
    pub(super) fn services(&self) -> impl Iterator<Item = Service> {
        let certain = self.names.iter().filter(|owned| !is_probing(owned));
        let mut services: Vec<Service> = certain
            .filter_map(|owned| match owned.what {
                What::Service(service) => Some(service),
                What::Host => None,
            })
            .collect();
        services.sort();
        services.into_iter()
    }

    /// Whether somebody is on this link, by the address.
    pub(super) fn is_near(&self, ip: IpAddr) -> bool {
        let is_local = match ip {
            IpAddr::V4(ip) => ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        };
        let networks = &self.terms.networks;
        is_local || networks.iter().any(|network| network.contains(ip))
    }

    /// Whether whoever asks knows it already, and for long enough.
    pub(super) fn is_known(&self, slot: Slot, known: &[Record]) -> bool {
        let records = self.records(slot);
        let knows = |own: &Record| {
            known.iter().any(|other| {
                other.name == own.name && other.data == own.data && other.ttl >= own.ttl / 2
            })
        };
        !records.is_empty() && records.iter().all(knows)
    }

    pub(super) fn records(&self, slot: Slot) -> Vec<Record> {
        let host = self.names.iter().find(|owned| owned.what == What::Host);
        let host = host.and_then(|owned| self.name(owned));
        let instance = |service: Service| {
            let what = What::Service(service);
            let owned = self.names.iter().find(|owned| owned.what == what);
            owned.and_then(|owned| self.name(owned))
        };
        let record = |name: Option<Name>, ttl, data: Option<Data>| {
            let (is_unique, made) = (slot.is_unique(), name.zip(data));
            let made = made.map(|(name, data)| Record {
                name,
                ttl,
                is_unique,
                data,
            });
            made.into_iter().collect::<Vec<_>>()
        };
        match slot {
            Slot::V4 | Slot::V6 => {
                let of_kind = |ip: &&IpAddr| ip.is_ipv4() == (slot == Slot::V4);
                let addresses = self.terms.addresses.iter().filter(of_kind);
                let data = addresses.map(|ip| Some(Data::Address(*ip)));
                data.flat_map(|data| record(host.clone(), HOST_TTL, data))
                    .collect()
            }
            Slot::Types => {
                let mut types: Vec<u16> = self.terms.addresses.iter().map(address_type).collect();
                types.sort_unstable();
                types.dedup();
                let data = host.clone().map(|name| Data::Types(name, types));
                record(host, HOST_TTL, data)
            }
            Slot::Kind(kind) => record(
                Some(kinds_name()),
                OTHER_TTL,
                kind_name(kind).map(Data::Pointer),
            ),
            Slot::Pointer(service) => record(
                kind_name(service.kind),
                OTHER_TTL,
                instance(service).map(Data::Pointer),
            ),
            Slot::Place(service) => {
                let port = service.port;
                let data = host.map(|target| Data::Service { port, target });
                record(instance(service), HOST_TTL, data)
            }
            Slot::Text(service) => record(instance(service), OTHER_TTL, Some(text())),
        }
    }

    /// What a name is asked for with.
    pub(super) fn proposed(&self, owned: &Owned) -> Vec<Record> {
        let slots = match owned.what {
            What::Host => [Slot::V4, Slot::V6],
            What::Service(service) => [Slot::Place(service), Slot::Text(service)],
        };
        slots
            .into_iter()
            .flat_map(|slot| self.records(slot))
            .collect()
    }

    pub(super) fn name(&self, owned: &Owned) -> Option<Name> {
        let label = label(owned);
        match owned.what {
            What::Host => Name::of(&[label.as_bytes(), b"local"]),
            What::Service(service) => kind_name(service.kind)?.below(label.as_bytes()),
        }
    }

    /// What is likely to be asked for next.
    pub(super) fn additional(&self, slots: &[Slot]) -> Vec<Slot> {
        let mut more = Vec::new();
        for slot in slots {
            match slot {
                Slot::Pointer(service) => more.extend([
                    Slot::Place(*service),
                    Slot::Text(*service),
                    Slot::V4,
                    Slot::V6,
                ]),
                Slot::Place(_) | Slot::V4 | Slot::V6 => more.extend([Slot::V4, Slot::V6]),
                Slot::Types | Slot::Kind(_) | Slot::Text(_) => {}
            }
        }
        let is_sought = |owned: &Owned| owned.what == What::Host && is_probing(owned);
        let is_certain = !self.names.iter().any(is_sought);
        let mut seen: Vec<Slot> = slots.to_vec();
        more.retain(|slot| {
            let is_new = !seen.contains(slot);
            seen.push(*slot);
            is_new && (is_certain || !matches!(slot, Slot::V4 | Slot::V6))
        });
        more
    }

    pub(super) fn response(&self, slots: &[Slot]) -> Writer {
        let mut writer = Writer::new(0, true, MESSAGE_BYTES_MAX);
        self.fill(&mut writer, slots, |record| record);
        writer
    }

    /// An answer for those who ask as they would ask any server: with the question in it, for a short time.
    pub(super) fn legacy(&self, message: &Message, slots: &[Slot]) -> Writer {
        let mut writer = Writer::new(message.id, true, MESSAGE_BYTES_MAX);
        for question in &message.questions {
            writer.question(&Question {
                is_unicast: false,
                ..question.clone()
            });
        }
        self.fill(&mut writer, slots, |record| Record {
            ttl: record.ttl.min(LEGACY_TTL),
            is_unique: false,
            ..record
        });
        writer
    }

    pub(super) fn fill(
        &self,
        writer: &mut Writer,
        slots: &[Slot],
        form: impl Fn(Record) -> Record,
    ) {
        let more = self.additional(slots);
        for (section, slots) in [(Section::Answer, slots), (Section::Additional, &more)] {
            for record in slots.iter().flat_map(|slot| self.records(*slot)) {
                let record = form(record);
                writer.record(section, &record, record.is_unique);
            }
        }
    }

    /// Has everybody forget services; to be called while their names are still known.
    pub(super) fn say_goodbye(&mut self, gone: &[Owned]) {
        let mut records = Vec::new();
        for owned in gone.iter().filter(|owned| !is_probing(owned)) {
            if let What::Service(service) = owned.what {
                let slots = [
                    Slot::Pointer(service),
                    Slot::Place(service),
                    Slot::Text(service),
                ];
                records.extend(slots.into_iter().flat_map(|slot| self.records(slot)));
            }
        }
        let mut writer = Writer::new(0, true, MESSAGE_BYTES_MAX);
        for record in records {
            let record = Record { ttl: 0, ..record };
            if writer.record(Section::Answer, &record, false) {
                continue;
            }
            let full = std::mem::replace(&mut writer, Writer::new(0, true, MESSAGE_BYTES_MAX));
            self.send(Destination::Group, full);
            writer.record(Section::Answer, &record, false);
        }
        self.send(Destination::Group, writer);
    }
}

/// The questions of a message that are looked at, each once.
pub(super) fn asked(message: &Message) -> Vec<&Question> {
    let mut asked: Vec<&Question> = Vec::new();
    for question in &message.questions {
        if asked.len() == QUESTIONS_MAX {
            break;
        }
        if !asked.contains(&question) {
            asked.push(question);
        }
    }
    asked
}

fn address_type(ip: &IpAddr) -> u16 {
    if ip.is_ipv4() {
        rrtype::A
    } else {
        rrtype::AAAA
    }
}

pub(super) fn kind_name(kind: ServiceKind) -> Option<Name> {
    Name::of(&[kind.label().as_bytes(), b"_tcp", b"local"])
}

/// The name under which all kinds of services are found (RFC 6763, section 9).
pub(super) fn kinds_name() -> Name {
    Name::of(&[b"_services", b"_dns-sd", b"_udp", b"local"]).unwrap_or_default()
}

/// What a client is told before it connects: the form of this record, and the versions of MQTT.
fn text() -> Data {
    let mut bytes = Vec::new();
    for pair in ["txtvers=1", "mqtt=3.1.1,5.0"] {
        bytes.push(u8::try_from(pair.len()).unwrap_or(0));
        bytes.extend_from_slice(pair.as_bytes());
    }
    Data::Text(bytes)
}

/// What the records of a name look like in order, to be compared with those of somebody else.
pub(super) fn in_order<'a>(records: impl IntoIterator<Item = &'a Record>) -> Vec<(u16, Vec<u8>)> {
    let mut plain: Vec<(u16, Vec<u8>)> = records
        .into_iter()
        .map(|record| (record.data.rrtype(), record.data.plain()))
        .collect();
    plain.sort();
    plain
}
