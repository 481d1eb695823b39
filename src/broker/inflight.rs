//! QoS 1 and 2 exchanges that are under way (MQTT 5, 4.3).

use std::collections::VecDeque;

use super::message::Delivery;
use crate::mqtt::PacketId;

/// Packet identifiers that there are.
const ROUND: u64 = 65_535;

/// What an exchange that we began waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::enum_variant_names,
    reason = "these are the names of the packets"
)]
pub(crate) enum Awaiting {
    PubAck,
    PubRec,
    PubComp,
}

/// A message that was sent and is not yet acknowledged for good.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) packet_id: PacketId,
    pub(crate) awaiting: Awaiting,
    /// How often the packet identifiers had gone round when this one was taken.
    round: u32,
    /// The number of the delivery where it is stored, else 0.
    pub(crate) number: u64,
    /// The message, where it may have to be sent again: to a session that outlives its connection, or to another member
    /// of a shared subscription.
    pub(crate) delivery: Option<Box<Delivery>>,
}

/// The exchanges that we began, in the order in which they began.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    exchanges: VecDeque<Exchange>,
    last_id: u16,
    round: u32,
    /// Exchanges at the end that have not been sent again on the connection of now: its Receive Maximum is smaller than
    /// that of the connection before.
    held_back: usize,
}

impl Outgoing {
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.exchanges.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.exchanges.is_empty()
    }

    /// Begins an exchange. `None` if all identifiers are in use.
    #[inline]
    pub(crate) fn begin(
        &mut self,
        awaiting: Awaiting,
        delivery: Option<Box<Delivery>>,
    ) -> Option<PacketId> {
        let packet_id = self.free_id()?;
        self.exchanges.push_back(Exchange {
            packet_id,
            awaiting,
            round: self.round,
            number: 0,
            delivery,
        });
        Some(packet_id)
    }

    /// Begins the exchange of a stored delivery, whose packet identifier follows from its number: so the identifier is the
    /// same after a restart, without being written anywhere. `None` if an exchange of the round before still has it.
    pub(crate) fn begin_numbered(
        &mut self,
        awaiting: Awaiting,
        number: u64,
        delivery: Option<Box<Delivery>>,
    ) -> Option<PacketId> {
        let packet_id = numbered_id(number)?;
        if !self.is_free(number) {
            return None;
        }
        self.exchanges.push_back(Exchange {
            packet_id,
            awaiting,
            round: 0,
            number,
            delivery,
        });
        Some(packet_id)
    }

    /// Takes up the exchange of a stored delivery that waits for PUBCOMP.
    pub(crate) fn begin_released(&mut self, number: u64) -> Option<PacketId> {
        self.begin_numbered(Awaiting::PubComp, number, None)
    }

    /// Whether the identifier of a stored delivery is free. Numbers rise, so only an exchange that began a whole round ago
    /// can have it.
    pub(crate) fn is_free(&self, number: u64) -> bool {
        let oldest = self
            .exchanges
            .front()
            .map_or(number, |oldest| oldest.number);
        number < oldest + ROUND
    }

    /// The next identifier that no exchange uses. Identifiers are taken in turn, so one can be in use only if it was
    /// taken in an earlier round and is still not acknowledged.
    fn free_id(&mut self) -> Option<PacketId> {
        if self.exchanges.len() >= usize::from(u16::MAX) {
            return None;
        }
        for _ in 0..=u16::MAX {
            self.last_id = self.last_id.wrapping_add(1);
            let Some(packet_id) = PacketId::new(self.last_id) else {
                self.round = self.round.wrapping_add(1);
                continue;
            };
            let free = match self.exchanges.front() {
                Some(oldest) if oldest.round != self.round => !self.contains(packet_id),
                _ => true,
            };
            if free {
                return Some(packet_id);
            }
        }
        None
    }

    fn contains(&self, packet_id: PacketId) -> bool {
        self.position(packet_id).is_some()
    }

    #[inline]
    fn position(&self, packet_id: PacketId) -> Option<usize> {
        self.exchanges
            .iter()
            .position(|exchange| exchange.packet_id == packet_id)
    }

    /// Ends the exchange `packet_id` if it waits for `awaiting`.
    #[inline]
    pub(crate) fn end(&mut self, packet_id: PacketId, awaiting: Awaiting) -> Option<Exchange> {
        let position = self.position(packet_id)?;
        if self.exchanges.get(position)?.awaiting != awaiting {
            return None;
        }
        if position >= self.exchanges.len() - self.held_back {
            self.held_back -= 1;
        }
        self.exchanges.remove(position)
    }

    /// Begins to send everything again, `quota` exchanges at a time.
    pub(crate) fn hold_back_all(&mut self) {
        self.held_back = self.exchanges.len();
    }

    /// Whether exchanges wait for others to end before they are sent again.
    #[inline]
    pub(crate) fn holds_back(&self) -> bool {
        self.held_back > 0
    }

    /// What [`Self::next_again`] would give.
    pub(crate) fn peek_again(&self, quota: usize) -> Option<&Exchange> {
        let sent = self.exchanges.len() - self.held_back;
        let has_next = self.held_back > 0 && sent < quota;
        has_next.then(|| self.exchanges.get(sent))?
    }

    /// The next exchange to send again, if `quota` allows one more.
    pub(crate) fn next_again(&mut self, quota: usize) -> Option<&Exchange> {
        let sent = self.exchanges.len() - self.held_back;
        if self.held_back == 0 || sent >= quota {
            return None;
        }
        self.held_back -= 1;
        self.exchanges.get(sent)
    }

    /// The exchange `packet_id`.
    pub(crate) fn find_mut(&mut self, packet_id: PacketId) -> Option<&mut Exchange> {
        let position = self.position(packet_id)?;
        self.exchanges.get_mut(position)
    }

    /// The message of the exchange of a stored delivery.
    pub(crate) fn find_delivery(&mut self, number: u64) -> Option<&mut Delivery> {
        let mut exchanges = self.exchanges.iter_mut();
        let exchange = exchanges.find(|exchange| exchange.number == number)?;
        exchange.delivery.as_deref_mut()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Exchange> {
        self.exchanges.iter_mut()
    }

    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Exchange> {
        self.exchanges.iter()
    }

    /// Gives up all exchanges, in order.
    pub(crate) fn take_all(&mut self) -> VecDeque<Exchange> {
        self.held_back = 0;
        std::mem::take(&mut self.exchanges)
    }

    /// Returns memory that a burst has left behind.
    pub(crate) fn shrink(&mut self) {
        if self.exchanges.is_empty() {
            self.exchanges = VecDeque::new();
        }
    }
}

/// The packet identifier of the stored delivery with this number, which counts from 1.
fn numbered_id(number: u64) -> Option<PacketId> {
    let id = number.checked_sub(1)? % ROUND + 1;
    PacketId::new(u16::try_from(id).ok()?)
}

/// Identifiers of QoS 2 messages that a client has published and not yet released, sorted.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    unreleased: Vec<PacketId>,
}

impl Incoming {
    /// Notes an identifier; false if it is known, that is, the message was seen before.
    #[inline]
    pub(crate) fn insert(&mut self, packet_id: PacketId) -> bool {
        // Identifiers mostly come in rising order.
        if self.unreleased.last().is_none_or(|last| *last < packet_id) {
            self.unreleased.push(packet_id);
            return true;
        }
        match self.unreleased.binary_search(&packet_id) {
            Ok(_) => false,
            Err(position) => {
                self.unreleased.insert(position, packet_id);
                true
            }
        }
    }

    #[inline]
    pub(crate) fn contains(&self, packet_id: PacketId) -> bool {
        self.unreleased.binary_search(&packet_id).is_ok()
    }

    /// Forgets an identifier; false if it was not known.
    #[inline]
    pub(crate) fn remove(&mut self, packet_id: PacketId) -> bool {
        match self.unreleased.binary_search(&packet_id) {
            Ok(position) => {
                self.unreleased.remove(position);
                true
            }
            Err(_) => false,
        }
    }

    /// Returns memory that a burst has left behind.
    pub(crate) fn shrink(&mut self) {
        if self.unreleased.is_empty() {
            self.unreleased = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(value: u16) -> PacketId {
        PacketId::new(value).unwrap()
    }

    #[test]
    fn an_identifier_in_use_is_passed_over_when_the_numbers_go_round() {
        let mut outgoing = Outgoing::default();
        for _ in 0..5 {
            outgoing.begin(Awaiting::PubAck, None);
        }
        for value in [1, 2, 4, 5] {
            assert!(outgoing.end(id(value), Awaiting::PubAck).is_some());
        }
        let mut taken = Vec::new();
        for _ in 0..65_537 {
            let next = outgoing.begin(Awaiting::PubAck, None).unwrap();
            taken.push(next);
            outgoing.end(next, Awaiting::PubAck).unwrap();
        }
        assert!(!taken.contains(&id(3)));
        assert!(taken.contains(&id(2)));
        assert_eq!(outgoing.len(), 1);
    }

    #[test]
    fn all_identifiers_in_use_means_none_is_given() {
        let mut outgoing = Outgoing::default();
        for _ in 0..65_535 {
            assert!(outgoing.begin(Awaiting::PubRec, None).is_some());
        }
        assert!(outgoing.begin(Awaiting::PubRec, None).is_none());
        assert!(outgoing.end(id(77), Awaiting::PubAck).is_none());
        assert!(outgoing.end(id(77), Awaiting::PubRec).is_some());
        assert_eq!(outgoing.begin(Awaiting::PubRec, None), Some(id(77)));
    }

    #[test]
    fn a_message_is_new_until_its_identifier_is_released() {
        let mut incoming = Incoming::default();
        assert!(incoming.insert(id(9)));
        assert!(incoming.insert(id(3)));
        assert!(!incoming.insert(id(9)));
        assert!(!incoming.insert(id(3)));
        assert!(incoming.remove(id(9)));
        assert!(!incoming.remove(id(9)));
        assert!(incoming.insert(id(9)));
        assert_eq!(incoming.unreleased, [id(3), id(9)]);
    }
}
