use std::net::IpAddr;

use super::super::message::Name;
use super::*;
use crate::config::Network;

const GW: &str = "192.0.2.7";
const MQTT: Service = Service {
    kind: ServiceKind::Mqtt,
    port: 1883,
};
const SECURE: Service = Service {
    kind: ServiceKind::SecureMqtt,
    port: 8883,
};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn peer() -> SocketAddr {
    "192.0.2.99:5353".parse().unwrap()
}

fn terms(services: &[Service]) -> Terms {
    Terms {
        host: "gw".to_owned(),
        instance: "Hall 3".to_owned(),
        addresses: vec![ip(GW), ip("fe80::7")],
        machine: vec![ip(GW), ip("fe80::7"), ip("198.51.100.7")],
        networks: vec![Network {
            address: ip("192.0.2.0"),
            prefix: 24,
        }],
        services: services.to_vec(),
    }
}

/// A responder with its time.
struct World {
    responder: Responder,
    now: Instant,
}

impl World {
    #[expect(clippy::disallowed_methods, reason = "a time to begin with")]
    fn new(services: &[Service]) -> Self {
        let now = Instant::now();
        Self {
            responder: Responder::new(terms(services), 7, now),
            now,
        }
    }

    fn settled(services: &[Service]) -> Self {
        let mut world = Self::new(services);
        world.pass(10_000);
        world
    }

    /// Everything sent while the time passes.
    fn pass(&mut self, ms: u64) -> Vec<(Destination, Message)> {
        let end = self.now + Duration::from_millis(ms);
        let mut sent = self.sent();
        while let Some(next) = self.responder.poll_timeout().filter(|next| *next <= end) {
            self.now = next.max(self.now);
            self.responder.handle_timeout(self.now);
            sent.extend(self.sent());
        }
        self.now = end;
        sent
    }

    fn sent(&mut self) -> Vec<(Destination, Message)> {
        std::iter::from_fn(|| self.responder.poll_transmit())
            .map(|(to, bytes)| (to, parse(&bytes).unwrap()))
            .collect()
    }

    fn hear(&mut self, from: SocketAddr, writer: Writer) {
        self.responder
            .handle_packet(from, &writer.finish(), self.now);
    }

    fn ask(&mut self, from: &str, labels: &[&str], kind: u16, is_unicast: bool) {
        let mut writer = Writer::new(9, false, 1_400);
        writer.question(&Question {
            name: name(labels),
            rrtype: kind,
            is_unicast,
        });
        self.hear(from.parse().unwrap(), writer);
    }

    fn names(&self) -> Vec<String> {
        self.responder.names.iter().map(label).collect()
    }
}

fn name(labels: &[&str]) -> Name {
    let labels: Vec<&[u8]> = labels.iter().map(|label| label.as_bytes()).collect();
    Name::of(&labels).unwrap()
}

/// A message of somebody who has a name, or wants it.
fn claim(section: Section, name: &Name, data: Data) -> Writer {
    let mut writer = Writer::new(0, section == Section::Answer, 1_400);
    let record = Record {
        name: name.clone(),
        ttl: 120,
        is_unique: true,
        data,
    };
    writer.record(section, &record, true);
    writer
}

fn types(records: &[Record]) -> Vec<u16> {
    records.iter().map(|record| record.data.rrtype()).collect()
}

#[test]
fn names_are_asked_for_three_times_then_announced_twice() {
    let mut world = World::new(&[MQTT]);
    let sent = world.pass(10_000);
    let probes: Vec<_> = sent.iter().filter(|(_, sent)| !sent.is_response).collect();
    assert_eq!(probes.len(), 2 * 3, "the host and one service");
    assert!(
        probes
            .iter()
            .all(|(_, probe)| probe.questions[0].rrtype == rrtype::ANY)
    );
    assert_eq!(types(&probes[0].1.authorities), [rrtype::A, rrtype::AAAA]);
    let announcements: Vec<_> = sent.iter().filter(|(_, sent)| sent.is_response).collect();
    assert_eq!(announcements.len(), 2);
    let records = &announcements[0].1.answers;
    let expected = [
        rrtype::A,
        rrtype::AAAA,
        rrtype::PTR,
        rrtype::SRV,
        rrtype::TXT,
    ];
    assert_eq!(types(records), expected);
    let unique: Vec<bool> = records.iter().map(|record| record.is_unique).collect();
    assert_eq!(unique, [true, true, false, true, true]);
    assert_eq!(world.responder.settled().unwrap(), ["gw", "Hall 3"]);
    assert!(world.pass(100_000).is_empty(), "then there is silence");
}

#[test]
fn questions_are_answered_with_what_is_asked_for_next() {
    let mut world = World::settled(&[MQTT, SECURE]);
    world.ask(
        "192.0.2.99:5353",
        &["_secure-mqtt", "_tcp", "local"],
        rrtype::PTR,
        false,
    );
    assert!(world.sent().is_empty(), "others may have an answer as well");
    let sent = world.pass(120);
    let [(Destination::Group, answer)] = sent.as_slice() else {
        panic!("{sent:?}")
    };
    let instance = name(&["Hall 3", "_secure-mqtt", "_tcp", "local"]);
    assert_eq!(answer.answers[0].data, Data::Pointer(instance.clone()));
    let more = [rrtype::SRV, rrtype::TXT, rrtype::A, rrtype::AAAA];
    assert_eq!(types(&answer.additional), more);
    let target = name(&["gw", "local"]);
    assert_eq!(
        answer.additional[0].data,
        Data::Service { port: 8883, target }
    );

    world.ask(
        "192.0.2.99:5353",
        &["_services", "_dns-sd", "_udp", "local"],
        rrtype::PTR,
        false,
    );
    let sent = world.pass(120);
    assert_eq!(sent[0].1.answers.len(), 2, "both kinds");

    world.ask("192.0.2.99:5353", &["GW", "local"], rrtype::A, true);
    let sent = world.sent();
    assert_eq!(sent[0].0, Destination::One(peer()));
    assert_eq!(sent[0].1.answers[0].data, Data::Address(ip(GW)));

    world.ask("192.0.2.99:5353", &["other", "local"], rrtype::A, true);
    world.ask(
        "192.0.2.99:5353",
        &["Hall 3", "_mqtt", "_tcp", "local"],
        rrtype::A,
        false,
    );
    assert!(world.pass(1_000).is_empty());
}

#[test]
fn missing_kind_of_address_is_said_to_be_missing() {
    let mut world = World::settled(&[MQTT]);
    let mut terms = terms(&[MQTT]);
    terms.addresses.pop();
    world.responder.set(terms, world.now);
    world.pass(5_000);
    world.ask("192.0.2.99:5353", &["gw", "local"], rrtype::AAAA, true);
    let sent = world.sent();
    assert_eq!(types(&sent[0].1.answers), [rrtype::NSEC]);
}

#[test]
fn those_who_know_nothing_of_multicast_get_their_question_back() {
    let mut world = World::settled(&[MQTT]);
    world.ask("192.0.2.99:4711", &["gw", "local"], rrtype::A, false);
    let sent = world.sent();
    let (to, answer) = &sent[0];
    assert_eq!(*to, Destination::One("192.0.2.99:4711".parse().unwrap()));
    assert_eq!((answer.id, answer.questions.len()), (9, 1));
    assert!(answer.answers[0].ttl <= 10 && !answer.answers[0].is_unique);
}

#[test]
fn what_is_known_or_was_just_said_is_not_said_again() {
    let mut world = World::settled(&[MQTT]);
    let labels = ["_mqtt", "_tcp", "local"];
    world.ask("192.0.2.99:5353", &labels, rrtype::PTR, false);
    assert_eq!(world.pass(200).len(), 1);
    world.ask("192.0.2.99:5353", &labels, rrtype::PTR, false);
    assert!(world.pass(200).is_empty(), "said a moment ago");
    world.pass(2_000);
    for (ttl, expected) in [(4_000, 0), (100, 1)] {
        let mut writer = Writer::new(0, false, 1_400);
        writer.question(&Question {
            name: name(&labels),
            rrtype: rrtype::PTR,
            is_unicast: false,
        });
        let known = Record {
            ttl,
            ..world.responder.records(Slot::Pointer(MQTT)).remove(0)
        };
        writer.record(Section::Answer, &known, false);
        world.hear(peer(), writer);
        assert_eq!(world.pass(200).len(), expected, "known for {ttl} s");
    }
}

#[test]
fn flood_of_questions_gets_few_answers() {
    let mut world = World::settled(&[MQTT]);
    for _ in 0..1_000 {
        world.ask("192.0.2.99:4711", &["gw", "local"], rrtype::A, false);
    }
    assert_eq!(world.sent().len(), 50);
    world.pass(1_000);
    for _ in 0..1_000 {
        world.ask("192.0.2.99:4711", &["gw", "local"], rrtype::A, false);
    }
    assert_eq!(world.sent().len(), 25);
}

#[test]
fn ports_that_open_and_close_are_announced_and_withdrawn_alone() {
    let mut world = World::settled(&[MQTT]);
    world.responder.set(terms(&[SECURE]), world.now);
    let sent = world.sent();
    let goodbye = &sent[0].1;
    assert!(goodbye.answers.iter().all(|record| record.ttl == 0));
    assert_eq!(
        types(&goodbye.answers),
        [rrtype::PTR, rrtype::SRV, rrtype::TXT]
    );
    let target = name(&["gw", "local"]);
    assert_eq!(
        goodbye.answers[1].data,
        Data::Service { port: 1883, target }
    );
    let sent = world.pass(10_000);
    let probes = sent.iter().filter(|(_, sent)| !sent.is_response);
    assert_eq!(probes.count(), 3, "the host keeps its name");

    world.responder.withdraw();
    let sent = world.sent();
    assert!(sent[0].1.answers.iter().all(|record| record.ttl == 0));
    assert_eq!(
        sent[0].1.answers.len(),
        3,
        "the address stays that of the host"
    );
    world.ask("192.0.2.99:5353", &["gw", "local"], rrtype::A, true);
    assert!(world.pass(1_000).is_empty());
}

#[test]
fn new_address_is_announced_at_once_and_others_are_flushed() {
    let mut world = World::settled(&[MQTT]);
    let mut terms = terms(&[MQTT]);
    terms.addresses = vec![ip("192.0.2.8")];
    world.responder.set(terms, world.now);
    let sent = world.pass(0);
    let record = &sent[0].1.answers[0];
    assert_eq!(record.data, Data::Address(ip("192.0.2.8")));
    assert!(record.is_unique);
}

#[test]
fn name_of_somebody_else_is_left_to_it() {
    let mut world = World::new(&[MQTT]);
    world.pass(250);
    let instance = name(&["Hall 3", "_mqtt", "_tcp", "local"]);
    let target = name(&["other", "local"]);
    let theirs = Data::Service { port: 1883, target };
    world.hear(peer(), claim(Section::Answer, &instance, theirs.clone()));
    world.hear(
        peer(),
        claim(
            Section::Answer,
            &name(&["gw", "local"]),
            Data::Address(ip("192.0.2.66")),
        ),
    );
    assert_eq!(world.names(), ["gw-2", "Hall 3 (2)"]);
    let renamed = world.responder.poll_renaming().unwrap();
    assert_eq!(
        (renamed.from.as_str(), renamed.to.as_str()),
        ("Hall 3", "Hall 3 (2)")
    );
    world.pass(10_000);
    let place = &world.responder.records(Slot::Place(MQTT))[0];
    assert_eq!(
        place.data,
        Data::Service {
            port: 1883,
            target: name(&["gw-2", "local"])
        }
    );

    // Later, somebody comes from another network: the name is asked for again, and whoever answers keeps it.
    let instance = name(&["Hall 3 (2)", "_mqtt", "_tcp", "local"]);
    world.hear(peer(), claim(Section::Answer, &instance, theirs.clone()));
    assert_eq!(world.names(), ["gw-2", "Hall 3 (2)"]);
    assert_eq!(world.responder.settled(), None);
    world.pass(250);
    world.hear(peer(), claim(Section::Answer, &instance, theirs));
    assert_eq!(world.names(), ["gw-2", "Hall 3 (3)"]);
}

#[test]
fn service_is_told_once_the_name_of_its_host_is_certain() {
    let mut world = World::new(&[MQTT]);
    let mut asked = 0;
    while asked < 6 {
        asked += world.pass(50).len();
    }
    // To the last question, when the service has had all of its own.
    let theirs = Data::Address(ip("192.0.2.66"));
    let host = name(&["gw", "local"]);
    world.hear(peer(), claim(Section::Answer, &host, theirs.clone()));
    let sent = world.pass(10_000);
    let (_, first) = sent.iter().find(|(_, sent)| sent.is_response).unwrap();
    let target = name(&["gw-2", "local"]);
    let place = Data::Service { port: 1883, target };
    assert!(first.answers.iter().any(|record| record.data == place));
    assert_eq!(types(&first.answers[..2]), [rrtype::A, rrtype::AAAA]);

    // Somebody else seems to have it after all: nobody is led there while it is asked for again.
    let host = name(&["gw-2", "local"]);
    world.hear(peer(), claim(Section::Answer, &host, theirs));
    assert_eq!(world.responder.settled(), None);
    let kind = ["_mqtt", "_tcp", "local"];
    world.ask("192.0.2.99:5353", &kind, rrtype::PTR, true);
    let sent = world.sent();
    assert_eq!(types(&sent[0].1.additional), [rrtype::SRV, rrtype::TXT]);
}

#[test]
fn flood_of_conflicts_does_not_make_names_pass() {
    let mut world = World::new(&[MQTT]);
    for _ in 0..600 {
        let host = world
            .responder
            .name(&world.responder.names[0].clone())
            .unwrap();
        for _ in 0..20 {
            let theirs = Data::Address(ip("192.0.2.66"));
            world.hear(peer(), claim(Section::Answer, &host, theirs));
        }
        world.pass(100);
    }
    let number = world.responder.names[0].number;
    // Some at once, and then one in five seconds of this minute.
    assert!((15..=30).contains(&number), "{number}");
    let renaming = world.responder.poll_renaming().unwrap();
    assert_eq!(renaming.from, "gw");
    assert_eq!(renaming.to, format!("gw-{number}"));
    assert_eq!(
        world.responder.poll_renaming(),
        None,
        "one line for all of them"
    );
}

#[test]
fn question_is_looked_at_once_however_often_it_is_asked() {
    let message = |names: &[String]| {
        let mut writer = Writer::new(0, false, 9_000);
        for host in names {
            writer.question(&Question {
                name: name(&[host.as_str(), "local"]),
                rrtype: rrtype::PTR,
                is_unicast: false,
            });
        }
        parse(&writer.finish()).unwrap()
    };
    let same = message(&vec!["a".to_owned(); 128]);
    assert_eq!((same.questions.len(), asked(&same).len()), (128, 1));
    let names: Vec<String> = (0..128).map(|count| format!("a{count}")).collect();
    let different = message(&names);
    assert_eq!(different.questions.len(), 128);
    assert_eq!(asked(&different).len(), 32);
}

#[test]
fn nobody_beyond_the_link_is_answered_alone() {
    let mut world = World::settled(&[MQTT]);
    world.ask("203.0.113.9:4711", &["gw", "local"], rrtype::A, false);
    assert!(world.pass(1_000).is_empty());
    // Another network on the same wire is told with everybody else.
    world.ask("203.0.113.9:5353", &["gw", "local"], rrtype::A, true);
    let sent = world.pass(1_000);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].0, Destination::Group);
    world.ask("169.254.3.4:5353", &["gw", "local"], rrtype::A, true);
    world.ask("[fe80::9]:5353", &["gw", "local"], rrtype::A, true);
    assert_eq!(world.sent().len(), 2);
}

#[test]
fn other_programs_of_this_machine_and_goodbyes_are_no_conflict() {
    let mut world = World::new(&[MQTT]);
    world.pass(250);
    let host = name(&["gw", "local"]);
    world.hear(
        peer(),
        claim(Section::Answer, &host, Data::Address(ip("198.51.100.7"))),
    );
    let own = world.responder.records(Slot::Place(MQTT)).remove(0);
    world.hear(peer(), claim(Section::Answer, &own.name, own.data.clone()));
    let mut writer = Writer::new(0, true, 1_400);
    let gone = Record {
        ttl: 0,
        data: Data::Text(b"\x01x".to_vec()),
        ..own
    };
    writer.record(Section::Answer, &gone, false);
    world.hear(peer(), writer);
    let stranger = claim(Section::Answer, &host, Data::Address(ip("192.0.2.66")));
    world.hear("192.0.2.99:4711".parse().unwrap(), stranger);
    assert_eq!(world.names(), ["gw", "Hall 3"]);
}

#[test]
fn tie_is_won_by_the_later_records() {
    for (theirs, waits) in [("192.0.2.6", false), ("192.0.2.8", true)] {
        let mut world = World::new(&[]);
        world.pass(300);
        let claim = claim(
            Section::Authority,
            &name(&["gw", "local"]),
            Data::Address(ip(theirs)),
        );
        world.hear(peer(), claim);
        let next = world.responder.poll_timeout().unwrap();
        assert_eq!(next == world.now + TIE_PAUSE, waits, "{theirs}");
        assert_eq!(world.names(), ["gw"]);
    }
}

#[test]
fn name_that_is_asked_for_by_another_is_defended_at_once() {
    let mut world = World::settled(&[MQTT]);
    let bytes = {
        let mut probe = Writer::new(0, false, 1_400);
        probe.question(&Question {
            name: name(&["gw", "local"]),
            rrtype: rrtype::ANY,
            is_unicast: false,
        });
        let record = Record {
            name: name(&["gw", "local"]),
            ttl: 120,
            is_unique: false,
            data: Data::Address(ip("192.0.2.8")),
        };
        probe.record(Section::Authority, &record, false);
        probe.finish()
    };
    world.responder.handle_packet(peer(), &bytes, world.now);
    let sent = world.pass(0);
    assert_eq!(types(&sent[0].1.answers), [rrtype::A, rrtype::AAAA]);
}

#[test]
fn second_port_of_a_kind_has_its_number_in_its_name() {
    let other = Service {
        kind: ServiceKind::Mqtt,
        port: 1884,
    };
    let world = World::new(&[MQTT, SECURE, other]);
    assert_eq!(world.names(), ["gw", "Hall 3", "Hall 3", "Hall 3 (1884)"]);
    let long = "é".repeat(31);
    assert_eq!(
        with_end(&long, " (1884)"),
        format!("{} (1884)", "é".repeat(28))
    );
}

#[test]
fn many_ports_are_announced_in_messages_that_fit() {
    let services: Vec<Service> = (0..32)
        .map(|port| Service {
            kind: ServiceKind::Mqtt,
            port: 2_000 + port,
        })
        .collect();
    let mut world = World::new(&services);
    let mut pointers = 0;
    while let Some(next) = world.responder.poll_timeout() {
        world.now = next;
        world.responder.handle_timeout(next);
        while let Some((_, bytes)) = world.responder.poll_transmit() {
            assert!(bytes.len() <= MESSAGE_BYTES_MAX);
            let sent = parse(&bytes).unwrap();
            pointers += types(&sent.answers)
                .iter()
                .filter(|kind| **kind == rrtype::PTR)
                .count();
        }
    }
    assert_eq!(pointers, 2 * 32);
}
