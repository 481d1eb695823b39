//! Frames: the header of RFC 6455, 5.2, and what a client may send in which order.

/// Bytes of the longest frame header of a client: two, eight of length, four of mask.
const HEADER_LEN_MAX: usize = 14;

/// Bytes of content in a control frame (RFC 6455, 5.5).
const CONTROL_LEN_MAX: u64 = 125;

const FINAL: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

/// A frame of a client that the standard forbids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameFault {
    /// RFC 6455, 5.5
    #[error("a control frame is too long or in fragments")]
    ControlFrame,
    /// RFC 6455, 5.5.1
    #[error("the content of a close frame is malformed")]
    CloseContent,
    /// RFC 6455, 5.4
    #[error("a message begins or continues where it may not")]
    FragmentOrder,
    /// RFC 6455, 5.2
    #[error("the length of a frame is written in a forbidden form")]
    Length,
    /// RFC 6455, 5.2
    #[error("a frame of an unknown kind")]
    Opcode,
    /// RFC 6455, 5.2
    #[error("a reserved bit is set, although no extension was agreed on")]
    ReservedBit,
    /// MQTT-6.0.0-1
    #[error("MQTT packets must be in binary frames")]
    Text,
    /// RFC 6455, 5.1
    #[error("a frame of a client is not masked")]
    Unmasked,
}

impl FrameFault {
    /// Status code of our close frame (RFC 6455, 7.4.1).
    pub fn close_code(self) -> u16 {
        match self {
            Self::Text => 1003,
            Self::ControlFrame
            | Self::CloseContent
            | Self::FragmentOrder
            | Self::Length
            | Self::Opcode
            | Self::ReservedBit
            | Self::Unmasked => 1002,
        }
    }
}

/// What the frames of a client say besides their content.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Control {
    /// Answer with a pong that carries the same bytes.
    Ping(Vec<u8>),
    /// The client wants to end; the code is to be echoed.
    Close(Option<u16>),
}

/// Takes frames apart as their bytes come, in whatever pieces.
#[derive(Debug, Default)]
pub(super) struct FrameReader {
    header: [u8; HEADER_LEN_MAX],
    header_len: u8,
    /// The frame whose content is being read.
    frame: Option<Frame>,
    /// Content of a control frame so far.
    control: Vec<u8>,
    in_message: bool,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    opcode: u8,
    left: u64,
    mask: [u8; 4],
}

impl FrameReader {
    /// Takes `bytes` apart. The content of data frames is moved to the front of `bytes`; returns its length.
    ///
    /// Ends early behind a close frame: what a client sends after it is not read.
    pub(super) fn decode(
        &mut self,
        bytes: &mut [u8],
        controls: &mut Vec<Control>,
    ) -> Result<usize, FrameFault> {
        let mut read = 0;
        let mut kept = 0;
        while read < bytes.len() {
            let Some(mut frame) = self.frame.take() else {
                let rest = bytes.get(read..).unwrap_or_default();
                read += self.read_header(rest)?;
                if self.frame.is_some_and(|frame| frame.left == 0) && self.end_frame(controls)? {
                    break;
                }
                continue;
            };
            let available = bytes.len() - read;
            let part = usize::try_from(frame.left).map_or(available, |left| left.min(available));
            let content = bytes.get_mut(read..read + part).unwrap_or_default();
            unmask(content, frame.mask);
            frame.mask.rotate_left(part % 4);
            frame.left -= part as u64;
            if frame.opcode & 0x8 != 0 {
                self.control.extend_from_slice(content);
            } else {
                bytes.copy_within(read..read + part, kept);
                kept += part;
            }
            read += part;
            let ends = frame.left == 0;
            self.frame = Some(frame);
            if ends && self.end_frame(controls)? {
                break;
            }
        }
        Ok(kept)
    }

    /// Collects a header; returns how many bytes it took. `self.frame` is set once it is whole.
    fn read_header(&mut self, bytes: &[u8]) -> Result<usize, FrameFault> {
        let have = usize::from(self.header_len);
        let fresh = bytes.len().min(HEADER_LEN_MAX - have);
        if let (Some(to), Some(from)) =
            (self.header.get_mut(have..have + fresh), bytes.get(..fresh))
        {
            to.copy_from_slice(from);
        }
        let whole = self.header.get(..have + fresh).unwrap_or_default();
        let Some((first, frame, len)) = parse_header(whole)? else {
            self.header_len = (have + fresh) as u8;
            return Ok(fresh);
        };
        self.header_len = 0;
        self.check_order(first, frame.opcode, frame.left)?;
        self.frame = Some(frame);
        Ok(len - have)
    }

    fn check_order(&mut self, first: u8, opcode: u8, len: u64) -> Result<(), FrameFault> {
        let is_final = first & FINAL != 0;
        match opcode {
            CLOSE | PING | PONG if !is_final || len > CONTROL_LEN_MAX => {
                Err(FrameFault::ControlFrame)
            }
            CLOSE | PING | PONG => Ok(()),
            TEXT => Err(FrameFault::Text),
            BINARY | CONTINUATION if (opcode == CONTINUATION) != self.in_message => {
                Err(FrameFault::FragmentOrder)
            }
            BINARY | CONTINUATION => {
                self.in_message = !is_final;
                Ok(())
            }
            _ => Err(FrameFault::Opcode),
        }
    }

    /// Ends the frame that is being read; true if nothing may follow it.
    fn end_frame(&mut self, controls: &mut Vec<Control>) -> Result<bool, FrameFault> {
        let Some(frame) = self.frame.take() else {
            return Ok(false);
        };
        let content = std::mem::take(&mut self.control);
        match frame.opcode {
            PING => controls.push(Control::Ping(content)),
            CLOSE => {
                controls.push(Control::Close(close_code(&content)?));
                return Ok(true);
            }
            _ => {}
        }
        Ok(false)
    }
}

/// The first byte, the frame and the length of the header; none while bytes are missing.
fn parse_header(bytes: &[u8]) -> Result<Option<(u8, Frame, usize)>, FrameFault> {
    let &[first, second, ref rest @ ..] = bytes else {
        return Ok(None);
    };
    // Judged before the rest of the header is there, so that a client of another protocol hears of it at once.
    if first & RESERVED != 0 {
        return Err(FrameFault::ReservedBit);
    }
    if second & MASKED == 0 {
        return Err(FrameFault::Unmasked);
    }
    let (left, rest, len) = match (second & !MASKED, rest) {
        (126, &[a, b, ref rest @ ..]) => (u64::from(u16::from_be_bytes([a, b])), rest, 8),
        (127, &[a, b, c, d, e, f, g, h, ref rest @ ..]) => {
            (u64::from_be_bytes([a, b, c, d, e, f, g, h]), rest, 14)
        }
        (126 | 127, _) => return Ok(None),
        (short, rest) => (u64::from(short), rest, 6),
    };
    let shortest = match len {
        8 => left > 125,
        14 => left > u64::from(u16::MAX) && left <= i64::MAX as u64,
        _ => true,
    };
    if !shortest {
        return Err(FrameFault::Length);
    }
    let &[a, b, c, d, ..] = rest else {
        return Ok(None);
    };
    let frame = Frame {
        opcode: first & 0x0F,
        left,
        mask: [a, b, c, d],
    };
    Ok(Some((first, frame, len)))
}

fn close_code(content: &[u8]) -> Result<Option<u16>, FrameFault> {
    let (code, reason) = match content {
        [] => return Ok(None),
        &[high, low, ref reason @ ..] => (u16::from_be_bytes([high, low]), reason),
        [_] => return Err(FrameFault::CloseContent),
    };
    let known = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
    if !known || std::str::from_utf8(reason).is_err() {
        return Err(FrameFault::CloseContent);
    }
    Ok(Some(code))
}

fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut chunks = bytes.chunks_exact_mut(8);
    for chunk in &mut chunks {
        if let Ok(eight) = <[u8; 8]>::try_from(&*chunk) {
            chunk.copy_from_slice(&(u64::from_ne_bytes(eight) ^ wide).to_ne_bytes());
        }
    }
    for (byte, key) in chunks.into_remainder().iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

/// Header of a binary frame of ours with `len` bytes of content: the bytes and how many of them count.
pub(super) fn binary_header(len: u64) -> ([u8; 10], usize) {
    header(BINARY, len)
}

/// Appends a pong with the content of the ping.
pub(super) fn append_pong(content: &[u8], out: &mut Vec<u8>) {
    append(PONG, content, out);
}

/// Appends a close frame.
pub(super) fn append_close(code: Option<u16>, out: &mut Vec<u8>) {
    match code {
        Some(code) => append(CLOSE, &code.to_be_bytes(), out),
        None => append(CLOSE, &[], out),
    }
}

fn append(opcode: u8, content: &[u8], out: &mut Vec<u8>) {
    let (bytes, len) = header(opcode, content.len() as u64);
    out.extend_from_slice(bytes.get(..len).unwrap_or_default());
    out.extend_from_slice(content);
}

fn header(opcode: u8, len: u64) -> ([u8; 10], usize) {
    let first = FINAL | opcode;
    if len <= 125 {
        return ([first, len as u8, 0, 0, 0, 0, 0, 0, 0, 0], 2);
    }
    if let Ok(short) = u16::try_from(len) {
        let [a, b] = short.to_be_bytes();
        return ([first, 126, a, b, 0, 0, 0, 0, 0, 0], 4);
    }
    let [a, b, c, d, e, f, g, h] = len.to_be_bytes();
    ([first, 127, a, b, c, d, e, f, g, h], 10)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A frame as a client sends it.
    pub(crate) fn client_frame(first: u8, content: &[u8]) -> Vec<u8> {
        let mask = [0x37, 0xFA, 0x21, 0x3D];
        let (mut bytes, len) = header(0, content.len() as u64);
        bytes[0] = first;
        bytes[1] |= MASKED;
        let mut frame = bytes[..len].to_vec();
        frame.extend_from_slice(&mask);
        let begin = frame.len();
        frame.extend_from_slice(content);
        unmask(&mut frame[begin..], mask);
        frame
    }

    fn decode_in_pieces(bytes: &[u8], piece: usize) -> Result<(Vec<u8>, Vec<Control>), FrameFault> {
        let mut reader = FrameReader::default();
        let mut content = Vec::new();
        let mut controls = Vec::new();
        for part in bytes.chunks(piece) {
            let mut part = part.to_vec();
            let kept = reader.decode(&mut part, &mut controls)?;
            content.extend_from_slice(&part[..kept]);
        }
        Ok((content, controls))
    }

    fn decode(bytes: &[u8]) -> Result<(Vec<u8>, Vec<Control>), FrameFault> {
        let whole = decode_in_pieces(bytes, bytes.len().max(1));
        for piece in [1, 2, 3, 7, 13] {
            assert_eq!(
                decode_in_pieces(bytes, piece),
                whole,
                "in pieces of {piece}"
            );
        }
        whole
    }

    #[test]
    fn content_of_any_length_comes_through() {
        for len in [0, 1, 3, 4, 7, 8, 9, 125, 126, 127, 65_535, 65_536, 70_000] {
            let content: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            let mut bytes = client_frame(FINAL | BINARY, &content);
            bytes.extend(client_frame(FINAL | BINARY, b"next"));
            let mut want = content.clone();
            want.extend_from_slice(b"next");
            assert_eq!(decode(&bytes), Ok((want, vec![])), "{len}");
        }
    }

    #[test]
    fn a_ping_between_two_fragments_is_found() {
        let mut bytes = client_frame(BINARY, b"one ");
        bytes.extend(client_frame(FINAL | PING, b"are you there"));
        bytes.extend(client_frame(FINAL | PONG, b""));
        bytes.extend(client_frame(CONTINUATION, b"two "));
        bytes.extend(client_frame(FINAL | CONTINUATION, b"three"));
        let (content, controls) = decode(&bytes).unwrap();
        assert_eq!(content, b"one two three");
        assert_eq!(controls, [Control::Ping(b"are you there".to_vec())]);
    }

    #[test]
    fn nothing_is_read_behind_a_close_frame() {
        let mut bytes = client_frame(FINAL | CLOSE, &[0x03, 0xE8, b'o', b'k']);
        bytes.extend(client_frame(FINAL | TEXT, b"?"));
        let mut reader = FrameReader::default();
        let mut controls = vec![];
        assert_eq!(reader.decode(&mut bytes, &mut controls), Ok(0));
        assert_eq!(controls, [Control::Close(Some(1000))]);
        assert_eq!(
            decode(&client_frame(FINAL | CLOSE, b"")),
            Ok((vec![], vec![Control::Close(None)]))
        );
    }

    #[test]
    fn every_forbidden_frame_has_its_fault() {
        let long = [0; 126];
        let mut unmasked = client_frame(FINAL | BINARY, b"x");
        unmasked[1] &= !MASKED;
        let cases: [(Vec<u8>, FrameFault); 14] = [
            (client_frame(FINAL | TEXT, b"x"), FrameFault::Text),
            (unmasked, FrameFault::Unmasked),
            (
                client_frame(FINAL | 0x40 | BINARY, b"x"),
                FrameFault::ReservedBit,
            ),
            (client_frame(FINAL | 0x3, b"x"), FrameFault::Opcode),
            (client_frame(FINAL | 0xB, b"x"), FrameFault::Opcode),
            (
                client_frame(FINAL | CONTINUATION, b"x"),
                FrameFault::FragmentOrder,
            ),
            (
                [
                    client_frame(BINARY, b"x"),
                    client_frame(FINAL | BINARY, b"y"),
                ]
                .concat(),
                FrameFault::FragmentOrder,
            ),
            (client_frame(PING, b"x"), FrameFault::ControlFrame),
            (client_frame(FINAL | PING, &long), FrameFault::ControlFrame),
            (client_frame(FINAL | CLOSE, b"x"), FrameFault::CloseContent),
            (
                client_frame(FINAL | CLOSE, &[0x03, 0xED]),
                FrameFault::CloseContent,
            ),
            (
                client_frame(FINAL | CLOSE, &[0x03, 0xE8, 0xFF]),
                FrameFault::CloseContent,
            ),
            (vec![0x82, 0xFE, 0, 5, 0, 0, 0, 0], FrameFault::Length),
            (
                vec![0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
                FrameFault::Length,
            ),
        ];
        for (bytes, fault) in cases {
            assert_eq!(decode(&bytes), Err(fault), "{bytes:02x?}");
        }
    }

    #[test]
    fn our_headers_have_the_shortest_form() {
        assert_eq!(binary_header(125).1, 2);
        assert_eq!(binary_header(126).1, 4);
        assert_eq!(binary_header(65_535).1, 4);
        assert_eq!(binary_header(65_536).1, 10);
    }

    #[test]
    fn noise_is_judged_the_same_in_whatever_pieces() {
        let frame = client_frame(FINAL | BINARY, b"content");
        let ping = client_frame(FINAL | PING, b"?");
        for bytes in crate::net::testing::noise(&[&frame, &ping, b"\x82\xff", b""]) {
            let whole = decode_in_pieces(&bytes, bytes.len().max(1));
            let pieces = decode_in_pieces(&bytes, 3);
            // Behind a close frame nothing is read, and pieces may come behind it.
            let closes = |outcome: &Result<(_, Vec<Control>), _>| {
                outcome.as_ref().is_ok_and(|(_, controls)| {
                    controls.iter().any(|c| matches!(c, Control::Close(_)))
                })
            };
            assert!(closes(&whole) || whole == pieces, "{bytes:02x?}");
        }
    }
}
