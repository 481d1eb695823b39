//! A client that shows and takes bytes. Every wait has a deadline; nothing sleeps.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use super::hex::{self, show};
use super::packet::{
    self, Ack, Codes, ConnAck, Connect, PUBACK, PUBCOMP, PUBREC, PUBREL, Publish, Received, Version,
};
use super::properties::{Properties, Value};

/// How long the broker may take for anything that it owes at once. Long, because other tests run at the same time.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Anything that carries bytes both ways and can give up waiting.
pub(crate) trait Transport: Read + Write + Send {
    fn read_timeout(&mut self, timeout: Duration);
    fn shut(&mut self);
}

impl Transport for std::os::unix::net::UnixStream {
    fn read_timeout(&mut self, timeout: Duration) {
        let timeout = timeout.max(Duration::from_millis(1));
        self.set_read_timeout(Some(timeout))
            .expect("set a read timeout");
    }

    fn shut(&mut self) {
        let _ = self.shutdown(Shutdown::Both);
    }
}

impl Transport for TcpStream {
    fn read_timeout(&mut self, timeout: Duration) {
        let timeout = timeout.max(Duration::from_millis(1));
        self.set_read_timeout(Some(timeout))
            .expect("set a read timeout");
    }

    fn shut(&mut self) {
        let _ = self.shutdown(Shutdown::Both);
    }
}

/// One network connection to the broker, with what came over it and was not looked at yet.
pub(crate) struct TestClient {
    transport: Box<dyn Transport>,
    pub(crate) version: Version,
    waiting: Vec<u8>,
    next_packet_id: u16,
}

/// What a wait ended with.
#[derive(Debug)]
enum Wait {
    Packet(u8, Vec<u8>),
    Closed,
    Nothing,
}

impl TestClient {
    pub(crate) fn new(transport: impl Transport + 'static, version: Version) -> Self {
        Self {
            transport: Box::new(transport),
            version,
            waiting: Vec::new(),
            next_packet_id: 0,
        }
    }

    /// A packet identifier that this client has not used.
    pub(crate) fn packet_id(&mut self) -> u16 {
        self.next_packet_id += 1;
        self.next_packet_id
    }

    /// Sends bytes; a broker that closed already is noticed by the next wait.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.transport.write_all(bytes.as_ref());
        let _ = self.transport.flush();
    }

    /// Sends bytes in the notation of [`hex`].
    #[track_caller]
    pub(crate) fn hex(&mut self, text: &str) {
        self.send(hex::bytes(text));
    }

    fn wait(&mut self, limit: Duration) -> Wait {
        let end = Instant::now() + limit;
        loop {
            if let Some((head, body, used)) = split(&self.waiting) {
                self.waiting.drain(..used);
                return Wait::Packet(head, body);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Wait::Nothing;
            }
            self.transport.read_timeout(left);
            let mut buffer = [0; 65536];
            match self.transport.read(&mut buffer) {
                Ok(0) => return Wait::Closed,
                Ok(count) => self.waiting.extend(&buffer[..count]),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Wait::Closed,
            }
        }
    }

    /// The next packet.
    #[track_caller]
    pub(crate) fn receive(&mut self) -> Received {
        match self.wait(DEADLINE) {
            Wait::Packet(head, body) => Received::decode(self.version, head, &body),
            Wait::Closed => panic!(
                "the broker closed the connection; rest: {}",
                show(&self.waiting)
            ),
            Wait::Nothing => panic!(
                "the broker sent nothing in time; rest: {}",
                show(&self.waiting)
            ),
        }
    }

    /// The next packet, or nothing once the connection is closed.
    #[track_caller]
    pub(crate) fn receive_or_end(&mut self) -> Option<Received> {
        match self.wait(DEADLINE) {
            Wait::Packet(head, body) => Some(Received::decode(self.version, head, &body)),
            Wait::Closed => None,
            Wait::Nothing => panic!("the broker neither answered nor closed the connection"),
        }
    }

    /// The bytes of the next packet, or nothing once the connection is closed.
    #[track_caller]
    pub(crate) fn raw_packet(&mut self) -> Option<Vec<u8>> {
        self.try_raw_packet(DEADLINE)
            .expect("the broker answers or closes the connection")
    }

    /// As [`Self::raw_packet`], with silence as a finding.
    pub(crate) fn try_raw_packet(&mut self, limit: Duration) -> Result<Option<Vec<u8>>, String> {
        match self.wait(limit) {
            Wait::Packet(head, body) => Ok(Some(packet::frame(head, &body))),
            Wait::Closed => Ok(None),
            Wait::Nothing => Err(format!("nothing came in {limit:?}")),
        }
    }

    /// The next packet is exactly these bytes.
    #[track_caller]
    pub(crate) fn expect(&mut self, text: &str) {
        let expected = hex::bytes(text);
        match self.wait(DEADLINE) {
            Wait::Packet(head, body) => {
                let found = packet::frame(head, &body);
                assert!(
                    found == expected,
                    "expected {}\n   found {}",
                    show(&expected),
                    show(&found)
                );
            }
            other => panic!("expected {}, found {other:?}", show(&expected)),
        }
    }

    /// Lets time pass unless something comes; what came stays for later.
    pub(crate) fn wait_at_most(&mut self, time: Duration) {
        if let Wait::Packet(head, body) = self.wait(time) {
            let mut waiting = packet::frame(head, &body);
            waiting.append(&mut self.waiting);
            self.waiting = waiting;
        }
    }

    /// Nothing comes for this long, and the connection stays open. Only for what no other packet can show.
    #[track_caller]
    pub(crate) fn expect_silence(&mut self, time: Duration) {
        match self.wait(time) {
            Wait::Nothing => {}
            other => panic!("expected silence, found {other:?}"),
        }
    }

    /// The broker closes the connection without another packet.
    #[track_caller]
    pub(crate) fn expect_closed(&mut self) {
        match self.receive_or_end() {
            None => {}
            Some(found) => panic!("expected the connection to be closed, found {found:?}"),
        }
    }

    /// The connection is closed for `reason`: version 5 is told, the older ones are not.
    #[track_caller]
    pub(crate) fn expect_disconnect(&mut self, reason: u8) -> Properties {
        let mut properties = Properties::default();
        if self.version == packet::V5 {
            match self.receive_or_end() {
                Some(Received::Disconnect(found)) => {
                    assert_eq!(
                        found.reason, reason,
                        "reason of DISCONNECT {:#04x}",
                        found.reason
                    );
                    properties = found.properties;
                }
                found => panic!("expected DISCONNECT {reason:#04x}, found {found:?}"),
            }
        }
        self.expect_closed();
        properties
    }

    /// The connection is ended by a DISCONNECT, with this reason.
    #[track_caller]
    pub(crate) fn disconnect_reason(&mut self) -> u8 {
        match self.receive_or_end() {
            Some(Received::Disconnect(found)) => {
                self.expect_closed();
                found.reason
            }
            found => panic!("expected DISCONNECT, found {found:?}"),
        }
    }

    /// Sends CONNECT and takes the answer.
    #[track_caller]
    pub(crate) fn connect(&mut self, connect: &Connect) -> ConnAck {
        self.send(connect.encode());
        self.connack()
    }

    #[track_caller]
    pub(crate) fn connack(&mut self) -> ConnAck {
        match self.receive() {
            Received::ConnAck(found) => found,
            other => panic!("expected CONNACK, found {other:?}"),
        }
    }

    /// CONNECT is refused with `code`, and the connection is closed.
    #[track_caller]
    pub(crate) fn expect_refused(&mut self, code: u8) -> Properties {
        let found = self.connack();
        assert_eq!(found.code, code, "code of CONNACK {:#04x}", found.code);
        assert!(
            !found.session_present,
            "a refusal says that no session is present"
        );
        self.expect_closed();
        found.properties
    }

    #[track_caller]
    pub(crate) fn suback(&mut self) -> Codes {
        match self.receive() {
            Received::SubAck(found) => found,
            other => panic!("expected SUBACK, found {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn unsuback(&mut self) -> Codes {
        match self.receive() {
            Received::UnsubAck(found) => found,
            other => panic!("expected UNSUBACK, found {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn puback(&mut self) -> Ack {
        match self.receive() {
            Received::PubAck(found) => found,
            other => panic!("expected PUBACK, found {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn pubrec(&mut self) -> Ack {
        match self.receive() {
            Received::PubRec(found) => found,
            other => panic!("expected PUBREC, found {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn pubrel(&mut self) -> Ack {
        match self.receive() {
            Received::PubRel(found) => found,
            other => panic!("expected PUBREL, found {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn pubcomp(&mut self) -> Ack {
        match self.receive() {
            Received::PubComp(found) => found,
            other => panic!("expected PUBCOMP, found {other:?}"),
        }
    }

    /// Subscribes to one filter and takes the SUBACK, which must come next.
    #[track_caller]
    pub(crate) fn subscribe(&mut self, filter: &str, options: u8) -> u8 {
        self.subscribe_with(None, &[(filter, options)]).codes[0]
    }

    #[track_caller]
    pub(crate) fn subscribe_with(
        &mut self,
        identifier: Option<u32>,
        filters: &[(&str, u8)],
    ) -> Codes {
        let packet_id = self.packet_id();
        self.send(packet::subscribe(
            self.version,
            packet_id,
            identifier,
            filters,
        ));
        let found = self.suback();
        assert_eq!(
            found.packet_id, packet_id,
            "SUBACK carries the identifier of SUBSCRIBE"
        );
        assert_eq!(
            found.codes.len(),
            filters.len(),
            "SUBACK has one code for each filter"
        );
        found
    }

    #[track_caller]
    pub(crate) fn unsubscribe(&mut self, filters: &[&str]) -> Codes {
        let packet_id = self.packet_id();
        self.send(packet::unsubscribe(self.version, packet_id, filters));
        let found = self.unsuback();
        assert_eq!(
            found.packet_id, packet_id,
            "UNSUBACK carries the identifier of UNSUBSCRIBE"
        );
        found
    }

    /// Sends a PUBLISH and nothing more.
    pub(crate) fn send_publish(&mut self, publish: &Publish) {
        self.send(publish.encode(self.version));
    }

    /// Publishes and goes through the acknowledgements, which must come next. QoS 0 waits for a PINGRESP, so that the
    /// broker has taken the message when this returns.
    #[track_caller]
    pub(crate) fn publish(&mut self, publish: &Publish) -> u8 {
        self.send_publish(publish);
        match publish.qos {
            0 => {
                assert_eq!(
                    self.ping(),
                    [],
                    "a publisher of QoS 0 gets nothing but its PINGRESP"
                );
                0
            }
            1 => {
                let found = self.puback();
                assert_eq!(found.packet_id, publish.packet_id);
                found.reason
            }
            _ => {
                let found = self.pubrec();
                assert_eq!(found.packet_id, publish.packet_id);
                if found.reason < 0x80 {
                    self.send(packet::ack(PUBREL, publish.packet_id));
                    assert_eq!(self.pubcomp().packet_id, publish.packet_id);
                }
                found.reason
            }
        }
    }

    /// Publishes a text to a topic.
    #[track_caller]
    pub(crate) fn say(&mut self, topic: &str, text: &str) {
        assert_eq!(self.publish(&Publish::new(topic, text)), 0);
    }

    /// The next packet is a PUBLISH; it is not acknowledged.
    #[track_caller]
    pub(crate) fn next_publish(&mut self) -> Publish {
        match self.receive() {
            Received::Publish(found) => found,
            other => panic!("expected PUBLISH, found {other:?}"),
        }
    }

    /// The next packet is a PUBLISH; it is acknowledged to the end.
    #[track_caller]
    pub(crate) fn take(&mut self) -> Publish {
        let found = self.next_publish();
        self.acknowledge(&found);
        found
    }

    /// Goes through the acknowledgements of a PUBLISH of the broker.
    #[track_caller]
    pub(crate) fn acknowledge(&mut self, publish: &Publish) {
        match publish.qos {
            0 => {}
            1 => self.send(packet::ack(PUBACK, publish.packet_id)),
            _ => {
                self.send(packet::ack(PUBREC, publish.packet_id));
                assert_eq!(self.pubrel().packet_id, publish.packet_id);
                self.send(packet::ack(PUBCOMP, publish.packet_id));
            }
        }
    }

    /// As [`Self::acknowledge`], with other PUBLISH packets on the way kept for later.
    #[track_caller]
    pub(crate) fn acknowledge_collecting(&mut self, publish: &Publish, later: &mut Vec<Publish>) {
        if publish.qos < 2 {
            return self.acknowledge(publish);
        }
        self.send(packet::ack(PUBREC, publish.packet_id));
        loop {
            match self.receive() {
                Received::Publish(found) => later.push(found),
                Received::PubRel(found) if found.packet_id == publish.packet_id => break,
                other => panic!("expected PUBREL, found {other:?}"),
            }
        }
        self.send(packet::ack(PUBCOMP, publish.packet_id));
    }

    /// Asks for a PINGRESP and gives the PUBLISH packets that came before it: all that the broker had for this client.
    #[track_caller]
    pub(crate) fn ping(&mut self) -> Vec<Publish> {
        self.hex("C0 00");
        let mut found = Vec::new();
        loop {
            match self.receive() {
                Received::PingResp => return found,
                Received::Publish(publish) => found.push(publish),
                other => panic!("expected PINGRESP, found {other:?}"),
            }
        }
    }

    /// Says DISCONNECT and waits until the broker has closed.
    #[track_caller]
    pub(crate) fn disconnect(mut self) {
        self.hex("E0 00");
        self.expect_closed();
    }

    /// Says DISCONNECT with a reason and a property, and waits until the broker has closed.
    #[track_caller]
    pub(crate) fn disconnect_with(mut self, reason: u8, property: Option<(u8, Value)>) {
        self.send(packet::disconnect(
            reason,
            &Properties(property.into_iter().collect()),
        ));
        self.expect_closed();
    }

    /// Cuts the connection without a word.
    pub(crate) fn cut(mut self) {
        self.transport.shut();
    }
}

/// First byte, body and whole length of the packet at the head of `bytes`, if it is complete.
fn split(bytes: &[u8]) -> Option<(u8, Vec<u8>, usize)> {
    let mut length = 0;
    for place in 0..4 {
        let byte = *bytes.get(1 + place)?;
        length |= usize::from(byte & 0x7F) << (7 * place);
        if byte & 0x80 == 0 {
            let start = 2 + place;
            let body = bytes.get(start..start + length)?;
            return Some((bytes[0], body.to_vec(), start + length));
        }
    }
    panic!(
        "the broker sent a packet length of more than four bytes: {}",
        show(bytes)
    );
}
