//! A publisher: sends, notes what was acknowledged, and sends again what was not when it comes back.

use std::collections::VecDeque;
use std::time::Duration;

use crate::book::{Key, payload};
use crate::chance::Chance;
use crate::stage::{Phase, Stage, rest};
use crate::support::packet::{Ack, Connect, PUBREL, Publish, Received, V5, Version, ack};
use crate::support::property::SESSION_EXPIRY_INTERVAL;
use crate::wire::{Gone, Wire};

/// Few, so that identifiers are used again soon.
const PACKET_IDS: u16 = 300;

/// How long the gateway may take for an acknowledgement before it counts as lost.
const ACK_DEADLINE: Duration = Duration::from_secs(15);

/// PUBCOMP: the identifier is not known any more, which is the answer to a PUBREL that was sent again.
const PACKET_IDENTIFIER_NOT_FOUND: u8 = 0x92;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaiting {
    /// PUBACK, or PUBREC with QoS 2.
    First,
    PubComp,
}

/// A message under way.
#[derive(Clone, Debug)]
struct Flight {
    packet_id: u16,
    key: Key,
    publish: Publish,
    awaiting: Awaiting,
}

#[derive(Debug)]
pub(crate) struct Publisher {
    index: u16,
    version: Version,
    /// Retained updates, one at a time, of which some remove the retained message.
    is_retaining: bool,
    window: usize,
    chance: Chance,
    next_number: u32,
    next_packet_id: u16,
    flights: VecDeque<Flight>,
    has_session: bool,
}

impl Publisher {
    pub(crate) fn new(index: u16, version: Version, chance: &Chance) -> Self {
        let mut chance = chance.branch(1000 + u64::from(index));
        Self {
            index,
            version,
            is_retaining: false,
            window: chance.between(4, 30) as usize,
            chance,
            next_number: 1,
            next_packet_id: 1,
            flights: VecDeque::new(),
            has_session: false,
        }
    }

    pub(crate) fn retaining(mut self) -> Self {
        self.is_retaining = true;
        self.window = 1;
        self
    }

    /// Works until all is sent and acknowledged.
    pub(crate) fn run(mut self, stage: &Stage) {
        while stage.phase() < Phase::Load {
            rest(5);
        }
        while stage.phase() == Phase::Load || !self.flights.is_empty() {
            let Some(place) = stage.await_place() else {
                return;
            };
            let connect = self.connect();
            let Ok((mut wire, connack)) = Wire::open(place, &connect) else {
                rest(5);
                continue;
            };
            if self.has_session && !connack.session_present {
                let text = format!("publisher {} has no session any more", self.index);
                stage.book().fault(text);
            }
            self.has_session = true;
            if self.serve(&mut wire, stage).is_ok() {
                rest(self.chance.between(1, 100));
            }
        }
    }

    fn connect(&self) -> Connect {
        let connect = Connect::new(self.version, &format!("publisher-{}", self.index)).resume();
        if self.version == V5 {
            connect.with(SESSION_EXPIRY_INTERVAL, 3600_u32)
        } else {
            connect
        }
    }

    /// One connection.
    fn serve(&mut self, wire: &mut Wire, stage: &Stage) -> Result<(), Gone> {
        self.send_again(wire, stage)?;
        loop {
            if stage.phase() == Phase::Load && self.chance.percent(50) {
                for _ in 0..self.chance.between(1, 6) {
                    if self.flights.len() < self.window {
                        self.send_next(wire, stage)?;
                    }
                }
            }
            let limit = match stage.phase() {
                Phase::Load => Duration::from_millis(self.chance.between(1, 140)),
                _ if self.flights.is_empty() => return Ok(()),
                _ => ACK_DEADLINE,
            };
            let mut heard = wire.hear(limit)?;
            if heard.is_none() && stage.phase() == Phase::Drain && limit == ACK_DEADLINE {
                let text = format!("publisher {} waits in vain", self.index);
                stage.book().fault(text);
                return Err(Gone);
            }
            while let Some(packet) = heard {
                self.handle(packet, wire, stage)?;
                heard = wire.hear(Duration::ZERO)?;
            }
            // The network fails, too.
            if stage.phase() == Phase::Load && self.chance.below(400) == 0 {
                return Err(Gone);
            }
        }
    }

    fn send_again(&mut self, wire: &mut Wire, stage: &Stage) -> Result<(), Gone> {
        for flight in &self.flights {
            if flight.awaiting == Awaiting::PubComp {
                wire.send(&ack(PUBREL, flight.packet_id))?;
            } else {
                stage.book().resend(flight.key);
                wire.send(&flight.publish.clone().dup().encode(self.version))?;
            }
        }
        Ok(())
    }

    fn send_next(&mut self, wire: &mut Wire, stage: &Stage) -> Result<(), Gone> {
        let key = (self.index, self.next_number);
        let packet_id = self.free_packet_id();
        let qos = self.chance.between(1, 2) as u8;
        let folder = if self.is_retaining {
            "retained"
        } else {
            "load"
        };
        let topic = format!("{folder}/{}/{}", self.index, self.chance.below(3));
        let clears = self.is_retaining && self.chance.percent(10);
        let filling = match self.chance.below(20) {
            0 => self.chance.below(20_000),
            1..6 => self.chance.below(2_000),
            _ => self.chance.below(64),
        };
        let payload = if clears {
            Vec::new()
        } else {
            payload(key, filling as usize)
        };
        let mut publish = Publish::new(&topic, payload).qos(qos, packet_id);
        publish.retain = self.is_retaining;
        let bytes = publish.encode(self.version);
        self.next_number += 1;
        self.flights.push_back(Flight {
            packet_id,
            key,
            publish,
            awaiting: Awaiting::First,
        });
        stage.book().send(key, &topic, qos, clears);
        wire.send(&bytes)
    }

    fn free_packet_id(&mut self) -> u16 {
        loop {
            let packet_id = self.next_packet_id;
            self.next_packet_id = packet_id % PACKET_IDS + 1;
            if !self.flights.iter().any(|each| each.packet_id == packet_id) {
                return packet_id;
            }
        }
    }

    fn handle(&mut self, packet: Received, wire: &mut Wire, stage: &Stage) -> Result<(), Gone> {
        match packet {
            Received::PubAck(found) => self.handle_first(&found, 1, wire, stage),
            Received::PubRec(found) => self.handle_first(&found, 2, wire, stage),
            Received::PubComp(found) => {
                let flight = self.position(&found, 2);
                let known = flight.filter(|at| self.flights[*at].awaiting == Awaiting::PubComp);
                let reason = [0, PACKET_IDENTIFIER_NOT_FOUND].contains(&found.reason);
                match known.filter(|_| reason) {
                    Some(at) => drop(self.flights.remove(at)),
                    None => self.unexpected(&found, stage),
                }
                Ok(())
            }
            // The gateway stops, or a second connection took over.
            Received::Disconnect(_) => Err(Gone),
            other => panic!("publisher {} found {other:?}", self.index),
        }
    }

    /// PUBACK or PUBREC.
    fn handle_first(
        &mut self,
        found: &Ack,
        qos: u8,
        wire: &mut Wire,
        stage: &Stage,
    ) -> Result<(), Gone> {
        let Some(at) = self.position(found, qos) else {
            self.unexpected(found, stage);
            return Ok(());
        };
        let flight = &mut self.flights[at];
        if found.reason >= 0x80 {
            stage.book().refuse(flight.key, found.reason);
            self.flights.remove(at);
        } else if qos == 1 {
            stage.book().acknowledge(flight.key, wire.generation);
            self.flights.remove(at);
        } else {
            if flight.awaiting == Awaiting::First {
                flight.awaiting = Awaiting::PubComp;
                stage.book().acknowledge(flight.key, wire.generation);
            }
            wire.send(&ack(PUBREL, found.packet_id))?;
        }
        Ok(())
    }

    fn position(&self, found: &Ack, qos: u8) -> Option<usize> {
        let mut flights = self.flights.iter();
        flights.position(|each| each.packet_id == found.packet_id && each.publish.qos == qos)
    }

    fn unexpected(&self, found: &Ack, stage: &Stage) {
        let text = format!("publisher {} did not expect {found:?}", self.index);
        stage.book().fault(text);
    }
}
