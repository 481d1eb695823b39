//! One connection of a client of the ledger. That the gateway is gone is an everyday event here, not a failed test.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::stage::Place;
use crate::support::packet::{ConnAck, Connect, Received, Version, frame};

/// How long a gateway that is up may take for a CONNACK.
const CONNACK_DEADLINE: Duration = Duration::from_secs(20);

/// The connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone;

#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    version: Version,
    waiting: Vec<u8>,
    /// Which start of the gateway this connection is to.
    pub(crate) generation: u64,
}

impl Wire {
    /// Connects and takes the CONNACK.
    pub(crate) fn open(place: Place, connect: &Connect) -> Result<(Self, ConnAck), Gone> {
        let stream = TcpStream::connect(place.address).map_err(|_| Gone)?;
        stream.set_nodelay(true).map_err(|_| Gone)?;
        let mut wire = Self {
            stream,
            version: connect.version,
            waiting: Vec::new(),
            generation: place.generation,
        };
        wire.send(&connect.encode())?;
        match wire.hear(CONNACK_DEADLINE)? {
            Some(Received::ConnAck(connack)) if connack.code == 0 => Ok((wire, connack)),
            other => panic!("expected CONNACK, found {other:?}"),
        }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        self.stream.write_all(bytes).map_err(|_| Gone)
    }

    /// The next packet, or nothing in this time.
    pub(crate) fn hear(&mut self, limit: Duration) -> Result<Option<Received>, Gone> {
        let end = Instant::now() + limit;
        loop {
            if let Some(found) = self.next() {
                return Ok(Some(found));
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let limit = left.max(Duration::from_millis(1));
            self.stream
                .set_read_timeout(Some(limit))
                .map_err(|_| Gone)?;
            let mut buffer = [0; 65536];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(Gone),
                Ok(count) => self.waiting.extend(&buffer[..count]),
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) => {}
                Err(_) => return Err(Gone),
            }
        }
    }

    /// Says DISCONNECT and waits until the gateway has closed.
    pub(crate) fn disconnect(mut self) {
        if self.send(&frame(0xE0, &[])).is_ok() {
            while self
                .hear(CONNACK_DEADLINE)
                .is_ok_and(|found| found.is_some())
            {}
        }
    }

    fn next(&mut self) -> Option<Received> {
        let mut length = 0;
        for place in 0..4 {
            let byte = *self.waiting.get(1 + place)?;
            length |= usize::from(byte & 0x7F) << (7 * place);
            if byte & 0x80 == 0 {
                let end = 2 + place + length;
                let body = self.waiting.get(2 + place..end)?;
                let found = Received::decode(self.version, self.waiting[0], body);
                self.waiting.drain(..end);
                return Some(found);
            }
        }
        panic!("the gateway sent a packet length of more than four bytes");
    }
}
