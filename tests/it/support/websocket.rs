//! A WebSocket client of a few lines, so that a test decides what is in which frame.

use std::io::{self, Read, Write};
use std::time::Duration;

use super::client::Transport;

pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xA;

/// A connection that was upgraded. As a [`Transport`] it writes one binary frame for each write.
pub(crate) struct WebSocket {
    stream: Box<dyn Transport>,
    /// Bytes of the stream that are not yet a whole frame.
    raw: Vec<u8>,
    /// Payload of data frames, not yet read.
    data: Vec<u8>,
    /// Frames of control that came, with their payload.
    pub(crate) control: Vec<(u8, Vec<u8>)>,
}

/// Status line and headers of the answer to an upgrade request, in small letters.
pub(crate) fn request(stream: &mut dyn Transport, path: &str, headers: &str) -> String {
    stream.read_timeout(super::client::DEADLINE);
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: gateway\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    );
    stream
        .write_all(request.as_bytes())
        .expect("send the request");
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
        answer.push(byte[0]);
    }
    String::from_utf8_lossy(&answer).to_lowercase()
}

impl WebSocket {
    /// Upgrades with the subprotocol `mqtt`.
    #[track_caller]
    pub(crate) fn upgrade(stream: impl Transport + 'static) -> Self {
        Self::upgrade_or_end(stream).expect("an answer to the upgrade")
    }

    /// As [`Self::upgrade`]; `None` if the connection is closed in place of an answer.
    #[track_caller]
    pub(crate) fn upgrade_or_end(mut stream: impl Transport + 'static) -> Option<Self> {
        let answer = request(&mut stream, "/mqtt", "Sec-WebSocket-Protocol: mqtt\r\n");
        if answer.is_empty() {
            return None;
        }
        assert!(answer.starts_with("http/1.1 101"), "{answer}");
        assert!(
            answer.contains("sec-websocket-protocol: mqtt\r\n"),
            "MQTT-6.0.0-4: {answer}"
        );
        assert!(
            answer.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="),
            "{answer}"
        );
        Some(Self {
            stream: Box::new(stream),
            raw: Vec::new(),
            data: Vec::new(),
            control: Vec::new(),
        })
    }

    /// Sends one frame, masked as a client must.
    pub(crate) fn frame(&mut self, fin: bool, opcode: u8, payload: &[u8]) {
        let mut frame = vec![u8::from(fin) << 7 | opcode];
        match payload.len() {
            short @ ..126 => frame.push(0x80 | short as u8),
            middle @ 126..=0xFFFF => {
                frame.push(0x80 | 126);
                frame.extend((middle as u16).to_be_bytes());
            }
            long => {
                frame.push(0x80 | 127);
                frame.extend((long as u64).to_be_bytes());
            }
        }
        let mask = [0x12, 0x34, 0x56, 0x78];
        frame.extend(mask);
        frame.extend(
            payload
                .iter()
                .zip(mask.iter().cycle())
                .map(|(byte, mask)| byte ^ mask),
        );
        let _ = self.stream.write_all(&frame);
    }

    /// Sends bytes as they are.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Takes whole frames out of the raw bytes.
    fn take_frames(&mut self) {
        loop {
            let Some(&[first, second]) = self.raw.first_chunk() else {
                return;
            };
            assert_eq!(second & 0x80, 0, "a server does not mask");
            let (length, start) = match second {
                126 if self.raw.len() >= 4 => (
                    usize::from(u16::from_be_bytes([self.raw[2], self.raw[3]])),
                    4,
                ),
                127 if self.raw.len() >= 10 => {
                    let bytes: [u8; 8] = self.raw[2..10].try_into().expect("eight bytes");
                    (u64::from_be_bytes(bytes) as usize, 10)
                }
                126 | 127 => return,
                short => (usize::from(short), 2),
            };
            if self.raw.len() < start + length {
                return;
            }
            let payload: Vec<_> = self.raw.drain(..start + length).skip(start).collect();
            match first & 0x0F {
                0x0 | BINARY => self.data.extend(payload),
                opcode @ CLOSE..=PONG => self.control.push((opcode, payload)),
                opcode => panic!("MQTT-6.0.0-1: the broker sent a frame with opcode {opcode}"),
            }
        }
    }

    /// Reads until a control frame has come, or the end.
    #[track_caller]
    pub(crate) fn await_control(&mut self) -> Option<(u8, Vec<u8>)> {
        self.read_timeout(super::client::DEADLINE);
        let mut buffer = [0; 4096];
        while self.control.is_empty() {
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(count) => self.raw.extend(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("no control frame: {error}"),
            }
            self.take_frames();
        }
        Some(self.control.remove(0))
    }
}

impl Read for WebSocket {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.data.is_empty() {
            let mut buffer = [0; 65536];
            let count = self.stream.read(&mut buffer)?;
            self.raw.extend(&buffer[..count]);
            self.take_frames();
            if count == 0 {
                return Ok(0);
            }
        }
        let count = into.len().min(self.data.len());
        into[..count].copy_from_slice(&self.data[..count]);
        self.data.drain(..count);
        Ok(count)
    }
}

impl Write for WebSocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.frame(true, BINARY, bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl Transport for WebSocket {
    fn read_timeout(&mut self, timeout: Duration) {
        self.stream.read_timeout(timeout);
    }

    fn shut(&mut self) {
        self.stream.shut();
    }
}
