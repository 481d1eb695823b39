//! The fixed header (2.1), and bytes to packets.

use std::fmt;

use super::packet::{
    Ack, AckKind, Auth, ConnAck, Connect, Disconnect, Packet, Publish, SubAck, Subscribe, UnsubAck,
    Unsubscribe,
};
use super::{ProtocolVersion, ReasonCode, Role, Violation};

/// Largest packet that can be written down: five bytes of fixed header and a remaining length of 268,435,455 (2.1.4).
pub const MAX_PACKET_SIZE: u32 = 268_435_460;

/// What a decoder has to know of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeOptions {
    /// The version that the CONNECT has named.
    pub version: ProtocolVersion,
    /// Largest packet that we take, fixed header included (3.2.2.3.6).
    pub max_packet_size: u32,
    /// Who has sent the bytes; it tells which packets and reason codes are legal.
    pub sender: Role,
}

/// Why a CONNECT is not accepted, and in which version to say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectFault {
    /// What is wrong.
    pub violation: Violation,
    /// The version for the answer; `None` where the CONNECT is too broken to tell.
    pub version: Option<ProtocolVersion>,
}

impl ConnectFault {
    /// The reason code of the CONNACK to send before closing; `None` where the standard has nothing but closing.
    ///
    /// MQTT 3 has return codes for an unsupported level and for a client identifier (MQTT 3.1.1, MQTT-3.1.2-2,
    /// MQTT-3.1.3-8); a client that breaks any other rule is cut off without an answer (MQTT 3.1.1, MQTT-3.1.4-1).
    pub fn connack_reason(&self) -> Option<ReasonCode> {
        let reason = self.violation.reason();
        let answered = match self.version? {
            ProtocolVersion::V5 => true,
            ProtocolVersion::V3_1 | ProtocolVersion::V3_1_1 => matches!(
                reason,
                ReasonCode::UnsupportedProtocolVersion | ReasonCode::ClientIdentifierNotValid
            ),
        };
        answered.then_some(reason)
    }
}

impl fmt::Display for ConnectFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.violation, f)
    }
}

impl std::error::Error for ConnectFault {}

/// Decodes the packet at the front of `buf`.
///
/// `None` asks for more bytes. The second value is how many bytes the packet takes. What can be known from the first
/// bytes is refused before the rest has come: packet type, flags, and a size above `options.max_packet_size`.
#[inline]
pub fn decode<'a>(
    buf: &'a [u8],
    options: &DecodeOptions,
) -> Result<Option<(Packet<'a>, usize)>, Violation> {
    let Some((&first, rest)) = buf.split_first() else {
        return Ok(None);
    };
    match first {
        0x40 | 0x50 | 0x62 | 0x70 => {}
        0x30..=0x3F => Publish::check_flags(first & 0x0F, options.version)?,
        _ => check_first_byte(first, options)?,
    }
    let Some(header) = Header::decode(rest)? else {
        return Ok(None);
    };
    if header.packet_len() > to_usize(options.max_packet_size) {
        return Err(Violation::PacketTooLarge);
    }
    if !header.minimal && options.version.is_v5() {
        return Err(Violation::RemainingLengthNotMinimal);
    }
    let Some(body) = rest
        .get(header.length_bytes..)
        .and_then(|rest| rest.get(..header.remaining))
    else {
        return Ok(None);
    };
    let packet_len = header.packet_len();
    // The packets of which there are many are built in their place in the result: a move would take as long as the rest.
    match first >> 4 {
        0x3 => match Publish::decode(first & 0x0F, body, options) {
            Ok(publish) => Ok(Some((Packet::Publish(publish), packet_len))),
            Err(violation) => Err(violation),
        },
        kind @ 0x4..=0x7 => {
            if let Some(packet_id) = Ack::decode_short(body) {
                let ack = Ack::new(packet_id, ReasonCode::Success);
                return Ok(Some((ack_packet(kind, ack), packet_len)));
            }
            decode_long_ack(kind, body, options, packet_len)
        }
        _ => decode_rare(first, body, options, packet_len),
    }
}

/// Decodes the first packet of a client, when the version is not known yet (3.1).
pub fn decode_connect(
    buf: &[u8],
    max_packet_size: u32,
) -> Result<Option<(Connect<'_>, usize)>, ConnectFault> {
    let fault = |violation| ConnectFault {
        violation,
        version: None,
    };
    let Some((&first, rest)) = buf.split_first() else {
        return Ok(None);
    };
    match first >> 4 {
        0x1 => {}
        0x0 => return Err(fault(Violation::ReservedPacketType)),
        _ => return Err(fault(Violation::FirstPacketNotConnect)),
    }
    let flags = first & 0x0F;
    let Some(header) = Header::decode(rest).map_err(fault)? else {
        return Ok(None);
    };
    let body = rest.get(header.length_bytes..).unwrap_or_default();
    if header.packet_len() > to_usize(max_packet_size) {
        // What has come so far is likely to hold the version, and with it the right to an answer.
        let version = match Connect::decode(flags, header.minimal, body) {
            Ok(connect) => Some(connect.version),
            Err(fault) => fault.version,
        };
        return Err(ConnectFault {
            violation: Violation::PacketTooLarge,
            version,
        });
    }
    let Some(body) = body.get(..header.remaining) else {
        return Ok(None);
    };
    let connect = Connect::decode(flags, header.minimal, body)?;
    Ok(Some((connect, header.packet_len())))
}

/// The length of the packet at the front of `buf` from its fixed header alone; `None` asks for more bytes.
///
/// The packet need not have come; its type and flags are not looked at.
#[inline]
pub fn packet_len(buf: &[u8]) -> Result<Option<usize>, Violation> {
    match buf.split_first() {
        Some((_, rest)) => Ok(Header::decode(rest)?.map(|header| header.packet_len())),
        None => Ok(None),
    }
}

/// The remaining length (2.1.4).
struct Header {
    remaining: usize,
    /// How many bytes the remaining length itself takes.
    length_bytes: usize,
    minimal: bool,
}

impl Header {
    #[inline]
    fn decode(rest: &[u8]) -> Result<Option<Self>, Violation> {
        match rest.first() {
            Some(&byte) if byte < 0x80 => Ok(Some(Self {
                remaining: usize::from(byte),
                length_bytes: 1,
                minimal: true,
            })),
            Some(_) => Self::decode_long(rest),
            None => Ok(None),
        }
    }

    fn decode_long(rest: &[u8]) -> Result<Option<Self>, Violation> {
        let mut remaining = 0;
        let mut shift = 0;
        let mut length_bytes = 0;
        for &byte in rest.iter().take(4) {
            remaining |= usize::from(byte & 0x7F) << shift;
            shift += 7;
            length_bytes += 1;
            if byte < 0x80 {
                return Ok(Some(Self {
                    remaining,
                    length_bytes,
                    minimal: byte != 0,
                }));
            }
        }
        if length_bytes == 4 {
            Err(Violation::RemainingLengthTooLong)
        } else {
            Ok(None)
        }
    }

    #[inline]
    const fn packet_len(&self) -> usize {
        1 + self.length_bytes + self.remaining
    }
}

/// Packet type, direction and flags (2.1.2, 2.1.3).
#[inline(never)]
fn check_first_byte(first: u8, options: &DecodeOptions) -> Result<(), Violation> {
    let from_client = options.sender == Role::Client;
    let v5 = options.version.is_v5();
    let right_side = match first >> 4 {
        0x4..=0x7 => true,
        0x1 if from_client => return Err(Violation::SecondConnect),
        0x8 | 0xA | 0xC => from_client,
        0x1 => false,
        0x2 | 0x9 | 0xB | 0xD => !from_client,
        0xE => v5 || from_client,
        0xF if v5 => true,
        _ => return Err(Violation::ReservedPacketType),
    };
    if !right_side {
        return Err(Violation::PacketFromWrongSide);
    }
    let (expected, fault) = match first >> 4 {
        0x6 => (2, Violation::PubRelFlagsInvalid),
        0x8 => (2, Violation::SubscribeFlagsInvalid),
        0xA => (2, Violation::UnsubscribeFlagsInvalid),
        0xE => (0, Violation::DisconnectFlagsReserved),
        0xF => (0, Violation::AuthFlagsReserved),
        _ => (0, Violation::FixedHeaderFlagsReserved),
    };
    // MQTT 3.1 has flags that are not used, and DUP on a repeated PUBREL, SUBSCRIBE and UNSUBSCRIBE.
    if first & 0x0F == expected || options.version == ProtocolVersion::V3_1 {
        Ok(())
    } else {
        Err(fault)
    }
}

#[inline]
const fn ack_packet(kind: u8, ack: Ack<'_>) -> Packet<'_> {
    match kind {
        0x4 => Packet::PubAck(ack),
        0x5 => Packet::PubRec(ack),
        0x6 => Packet::PubRel(ack),
        _ => Packet::PubComp(ack),
    }
}

#[inline(never)]
fn decode_long_ack<'a>(
    kind: u8,
    body: &'a [u8],
    options: &DecodeOptions,
    packet_len: usize,
) -> Result<Option<(Packet<'a>, usize)>, Violation> {
    let ack_kind = match kind {
        0x4 => AckKind::PubAck,
        0x5 => AckKind::PubRec,
        0x6 => AckKind::PubRel,
        _ => AckKind::PubComp,
    };
    let ack = Ack::decode(ack_kind, body, options)?;
    Ok(Some((ack_packet(kind, ack), packet_len)))
}

#[inline(never)]
fn decode_rare<'a>(
    first: u8,
    body: &'a [u8],
    options: &DecodeOptions,
    packet_len: usize,
) -> Result<Option<(Packet<'a>, usize)>, Violation> {
    let empty = |packet| {
        if body.is_empty() {
            Ok(packet)
        } else {
            Err(Violation::TrailingBytes)
        }
    };
    let packet = match first >> 4 {
        0x2 => Packet::ConnAck(ConnAck::decode(body, options)?),
        0x8 => Packet::Subscribe(Subscribe::decode(body, options)?),
        0x9 => Packet::SubAck(SubAck::decode(body, options)?),
        0xA => Packet::Unsubscribe(Unsubscribe::decode(body, options)?),
        0xB => Packet::UnsubAck(UnsubAck::decode(body, options)?),
        0xC => empty(Packet::PingReq)?,
        0xD => empty(Packet::PingResp)?,
        0xE => Packet::Disconnect(Disconnect::decode(body, options)?),
        0xF => Packet::Auth(Auth::decode(body, options)?),
        _ => return Err(Violation::ReservedPacketType),
    };
    Ok(Some((packet, packet_len)))
}

/// A size on the wire as a size in memory, which is not smaller on any machine that this runs on.
#[inline]
fn to_usize(size: u32) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX)
}
